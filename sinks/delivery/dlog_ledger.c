/* COLD. Feeding the ledger from durable records: see ledger.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "sinks/delivery/dlog_internal.h"

void list_fini(struct submission_list *l)
{
    struct submission *s;

    ASSERT(l != NULL);
    while ((s = list_pop(l)) != NULL)
        free(s);
}

/* Moves a database that cannot be used out of the way; keeps it for people to look at. */
static int set_aside(const struct dlog *d, const char *why)
{
    char to[PATH_MAX + 64];
    char side[PATH_MAX + 32];

    ASSERT(d->ledger == NULL); /* nobody has it open */
    snprintf(to, sizeof(to), "%s.old-%lld", d->ledger_path, (long long)clock_wall_us());
    if (rename(d->ledger_path, to) != 0)
        return -errno;
    snprintf(side, sizeof(side), "%s-wal", d->ledger_path);
    if (remove(side) != 0 && errno != ENOENT)
        return -errno;
    snprintf(side, sizeof(side), "%s-shm", d->ledger_path);
    if (remove(side) != 0 && errno != ENOENT)
        return -errno;
    log_warn("ledger", "%s %s; it is now %s, and a new one is begun", d->ledger_path, why, to);
    return 0;
}

int dlog_ledger_open(struct dlog *d, char *error, size_t error_len)
{
    int rc = ledger_open(d->ledger_path, &d->ledger, error, error_len);

    ASSERT(d->ledger_path[0] != '\0');
    if (rc != -EBADMSG)
        return rc;
    rc = set_aside(d, "is damaged");
    return rc != 0 ? rc : ledger_open(d->ledger_path, &d->ledger, error, error_len);
}

int dlog_ledger_bind(struct dlog *d, char *error, size_t error_len)
{
    struct journal_uuid log;
    bool bound;
    int rc = ledger_position(d->ledger, &log, &bound, &d->ledger_seq);

    if (rc == 0 && bound && memcmp(&log, &d->id, sizeof(log)) != 0) {
        ledger_close(d->ledger);
        d->ledger = NULL;
        rc = set_aside(d, "belongs to another delivery log");
        if (rc == 0)
            rc = ledger_open(d->ledger_path, &d->ledger, error, error_len);
        bound = false;
    }
    if (rc == 0 && !bound) {
        d->ledger_seq = 0;
        rc = ledger_bind(d->ledger, &d->id);
    }
    if (rc != 0 && error[0] == '\0')
        snprintf(error, error_len, "the ledger %s cannot be used: %s", d->ledger_path,
                 d->ledger == NULL ? strerror(-rc) : ledger_message(d->ledger));
    return rc;
}

int dlog_ledger_catch_up(struct dlog *d, const struct delivery_state *s)
{
    int rc;

    ASSERT(d->ledger != NULL);
    if (d->ledger_seq >= s->counters.ledger_seq)
        return 0;
    log_warn("ledger",
             "%s shows records up to %llu, the delivery log needs it to show %llu: what is not "
             "delivered yet is "
             "written again, older rows stay as they are or are lost",
             d->ledger_path, (unsigned long long)d->ledger_seq,
             (unsigned long long)s->counters.ledger_seq);
    rc = ledger_rebuild(d->ledger, s, s->counters.ledger_seq);
    if (rc == 0)
        d->ledger_seq = s->counters.ledger_seq;
    return rc;
}

static int apply_all(struct dlog *d)
{
    int rc = ledger_begin(d->ledger);

    if (rc != 0)
        return rc;
    for (const struct submission *s = d->unshown.head; s != NULL && rc == 0; s = s->next) {
        rc = record_decode(s->bytes, s->len, &d->view);
        ASSERT(rc == 0);
        rc = ledger_apply(d->ledger, &d->view);
    }
    ASSERT(d->unshown.head == NULL || d->unshown.head->seq > d->ledger_seq); /* each counts once */
    if (rc != 0) {
        ledger_rollback(d->ledger);
        return rc;
    }
    return ledger_commit(d->ledger, d->last_seq);
}

static void tell_progress(struct dlog *d)
{
    pthread_mutex_lock(&d->ledger_lock);
    ASSERT(d->ledger_seq >= d->ledger_shown);
    d->ledger_shown = d->ledger_seq;
    pthread_cond_broadcast(&d->ledger_moved);
    pthread_mutex_unlock(&d->ledger_lock);
}

int dlog_ledger_flush(struct dlog *d)
{
    int rc;

    ASSERT(d->ledger_seq <= d->last_seq);
    d->ledger_at_us = 0;
    if (d->ledger_seq == d->last_seq) {
        ASSERT(d->unshown.count == 0);
        tell_progress(d);
        return 0;
    }
    rc = apply_all(d);
    if (rc != 0) {
        atomic_fetch_add_explicit(&d->stats.ledger_errors, 1, memory_order_relaxed);
        if (!d->ledger_warned)
            log_warn("ledger",
                     "cannot be written (%s); delivery goes on, its records are kept in the "
                     "delivery log",
                     ledger_message(d->ledger));
        d->ledger_warned = true;
        d->ledger_at_us = clock_monotonic_us() + DLOG_LEDGER_RETRY_US;
        return rc;
    }
    d->ledger_warned = false;
    d->ledger_seq = d->last_seq;
    list_fini(&d->unshown);
    atomic_store_explicit(&d->stats.ledger_lag, 0, memory_order_relaxed);
    tell_progress(d);
    return 0;
}

void dlog_ledger_queue(struct dlog *d, struct submission *s)
{
    uint8_t type = s->bytes[RECORD_TYPE_AT];

    ASSERT(s->seq > d->ledger_seq);
    if (type == RECORD_FLOOR || type == RECORD_MARK || type == RECORD_SPOOLED) {
        free(s); /* of no interest to it */
        return;
    }
    ASSERT(d->unshown.head == NULL ||
           container_of(d->unshown.tail, struct submission, next)->seq < s->seq);
    list_push(&d->unshown, s);
    if (d->ledger_at_us == 0)
        d->ledger_at_us = clock_monotonic_us() + DLOG_LEDGER_US;
    atomic_store_explicit(&d->stats.ledger_lag, d->unshown.count, memory_order_relaxed);
}

void dlog_ledger_tick(struct dlog *d, int64_t now_us)
{
    bool wanted = atomic_exchange_explicit(&d->sync_wanted, 0, memory_order_acq_rel) != 0;
    bool due = d->ledger_at_us != 0 && now_us >= d->ledger_at_us;

    if (wanted || due || (d->unshown.count >= DLOG_LEDGER_RECORDS && !d->ledger_warned))
        dlog_ledger_flush(d);
    ASSERT(d->ledger_seq <= d->last_seq);
}

/* The writer tells when the ledger moved; a ledger that cannot be written is not waited for
 * endlessly. */
void dlog_ledger_sync(struct dlog *d)
{
    uint64_t want = atomic_load_explicit(&d->durable_seq, memory_order_acquire);
    struct timespec until;
    int rc = 0;

    ASSERT(d != NULL);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DLOG_SYNC_WAIT_S;
    atomic_store_explicit(&d->sync_wanted, 1, memory_order_release);
    dlog_wake(d);
    pthread_mutex_lock(&d->ledger_lock);
    while (d->ledger_shown < want && !d->writer_ended && rc == 0)
        rc = pthread_cond_timedwait(&d->ledger_moved, &d->ledger_lock, &until);
    if (d->ledger_shown < want)
        log_warn("ledger", "shows records up to %llu of %llu", (unsigned long long)d->ledger_shown,
                 (unsigned long long)want);
    pthread_mutex_unlock(&d->ledger_lock);
}
