/* COLD. Who may deliver what is in the data directory: the daemon's side of sinks/owner/owner.h. */
#include <errno.h>
#include <time.h>

#include "control/daemon.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "sinks/delivery/state.h"

#define WORD_WAIT_US    1000000 /* for the bucket's word, before events are taken without it */
#define RELEASE_WAIT_US 1000000
#define POLL_NS         2000000

int ownership_check(struct daemon *d)
{
    char error[PLACE_ERROR_BYTES] = "";
    bool discard = d->config->sinks_discard;
    int rc = place_mark_discard(d->config->data_dir, discard, error, sizeof(error));

    if (rc != 0) {
        log_error("start", "%s", error);
        return rc;
    }
    if (discard) {
        log_warn("start", "sinks.discard: events are THROWN AWAY once they are in the journal");
        return 0;
    }
    rc = owner_file_open(d->config->data_dir, d->place.machine_id, d->adopt, &d->owner_file, error,
                         sizeof(error));
    if (rc == -EXDEV || rc == -EUCLEAN) {
        log_error("start", "%s", error);
        return rc;
    }
    if (rc != 0) /* such as a full disk: what waits must be delivered all the same */
        log_warn("start", "%s: copies of this data directory are not noticed", error);
    ASSERT(rc == 0 || d->owner_file == NULL);
    return 0;
}

static bool position(void *ctx, uint32_t i, struct owner_position *out)
{
    struct daemon *d = ctx;
    lsn_t floor;

    ASSERT(out != NULL);
    if (i >= d->n_journals)
        return false;
    floor = dlog_floor(d->dlog, journal_uuid(d->journal[i]));
    *out = (struct owner_position){
        .journal = *journal_uuid(d->journal[i]),
        .durable = journal_durable(d->journal[i]),
        .floor = floor > d->start_floor[i] ? floor : d->start_floor[i],
    };
    return true;
}

int ownership_create(struct daemon *d)
{
    struct owner_config config = {
        .bucket = d->config->gcs_bucket,
        .node = d->config->node,
        .log = dlog_id(d->dlog),
        .data_dir = d->config->data_dir,
        .renew_us = (int64_t)d->config->gcs_owner_renew,
        .adopt = d->adopt,
        .position = position,
        .ctx = d,
    };

    ASSERT(d->dlog != NULL && d->owner == NULL);
    if (!d->config->gcs_owner || d->owner_file == NULL)
        return 0;
    for (uint32_t i = 0; i < d->n_journals; i++)
        d->start_floor[i] = state_floor(dlog_state(d->dlog), journal_uuid(d->journal[i]));
    return owner_create(&config, d->owner_file, &d->owner);
}

static void moment(void)
{
    const struct timespec t = {.tv_nsec = POLL_NS};

    ASSERT(t.tv_nsec < 1000000000);
    nanosleep(&t, NULL);
}

int ownership_wait(struct daemon *d)
{
    int64_t end = clock_monotonic_us() + WORD_WAIT_US;

    ASSERT(d->sinks_running > 0);
    if (d->owner == NULL)
        return 0;
    while (owner_state(d->owner) == OWNER_ASKING && !owner_is_away(d->owner) &&
           clock_monotonic_us() < end)
        moment();
    return owner_state(d->owner) == OWNER_LOST ? -EXDEV : 0;
}

const char *ownership_state(const struct daemon *d, char *text)
{
    static const char *const names[] = {[OWNER_OFF] = "off",
                                        [OWNER_ASKING] = "asking",
                                        [OWNER_HELD] = "held",
                                        [OWNER_UNKNOWN] = "unknown",
                                        [OWNER_LOST] = "lost"};

    ASSERT(text != NULL);
    text[0] = '\0';
    if (d->owner == NULL)
        return names[OWNER_OFF];
    owner_text(d->owner, text);
    return names[owner_state(d->owner)];
}

void ownership_release(struct daemon *d)
{
    int64_t end = clock_monotonic_us() + RELEASE_WAIT_US;

    if (d->owner == NULL || d->sinks_running == 0)
        return;
    ASSERT(d->owner_file != NULL);
    owner_release(d->owner);
    while (!owner_released(d->owner) && clock_monotonic_us() < end)
        moment();
}

void ownership_destroy(struct daemon *d)
{
    ASSERT(d != NULL);
    if (d->owner != NULL) {
        owner_detach(d->owner);
        owner_destroy(d->owner);
    }
    d->owner = NULL;
    owner_file_close(d->owner_file);
    d->owner_file = NULL;
}
