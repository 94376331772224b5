/*
 * The settings of a simulated machine: numbers that each process draws for itself, and what somebody
 * changes while it runs, published to the sink threads as the daemon does. Pauses outlive a process.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/live.h"
#include "tests/fault/sim.h"

#define SPOOL_BYTES (1u << 30)

/* What can be paused, in byte order: dead letters, and every kind's type. */
static const char *const name[] = {"", "click", "meter", "order", "other", "pulse"};

static struct {
    struct live *live; /* NULL: no process */
    struct live_sink sink;
    bool paused[ARRAY_LEN(name)];
    uint64_t types_version;
} settings;

/* One allocation, as live_publish() wants it. */
static struct live_settings *settings_build(void)
{
    struct live_settings *s = calloc(1, sizeof(*s) + ARRAY_LEN(name) * sizeof(struct live_type));
    struct live_type *type;

    ASSERT(s != NULL);
    type = (struct live_type *)(s + 1);
    for (size_t i = 0; i < ARRAY_LEN(name); i++)
        type[i] = (struct live_type){.name = span_of(name[i]),
                                     .sampling_ppm = LIVE_SAMPLING_ALL,
                                     .paused = settings.paused[i]};
    s->sink = settings.sink;
    s->types_version = settings.types_version;
    s->n_types = ARRAY_LEN(name);
    s->type = type;
    return s;
}

static void numbers_draw(void)
{
    struct live_sink *l = &settings.sink;

    l->group_bytes_max = 2048u << sim_below(4);
    l->group_age_us_max = 100000 << sim_below(5);
    l->puts_max = 1 + sim_below(6);
    l->load_cadence_us = 200000 << sim_below(4);
    l->load_bytes_max = 8192u << sim_below(4);
    l->insert_rows = 1u << sim_below(6);
    l->insert_bytes = 2500u << sim_below(3);
    l->insert_age_us_max = 50000 << sim_below(5);
    l->inserts_max = 1 + sim_below(3);
    l->table_inserts_max = 1 + sim_below(2);
    l->spool_bytes = sim_below(8) == 0 ? 0 : SPOOL_BYTES;
    l->gzip_level = 1;
    l->split_jobs = 100000;
    l->insert_wait_us = 5000000;
    l->park_retry_us = 1000000;
}

void settings_reset(void)
{
    memset(&settings, 0, sizeof(settings)); /* what an aborted schedule had stays behind */
}

const struct live_sink *settings_begin(bool gzip)
{
    int rc;

    ASSERT(settings.live == NULL);
    numbers_draw();
    settings.sink.gzip = gzip;
    settings.types_version++;
    rc = live_create(settings_build(), &settings.live);
    ASSERT(rc == 0);
    return &settings.sink;
}

struct live_reader *settings_reader(void)
{
    struct live_reader *r = live_join(settings.live);

    ASSERT(r != NULL);
    return r;
}

void settings_resume(void)
{
    for (size_t i = 0; i < ARRAY_LEN(name); i++)
        settings.paused[i] = false;
    settings.sink.gcs_paused = settings.sink.bigquery_paused = false;
    settings.types_version++;
    live_publish(settings.live, settings_build());
    sim_trace("nothing is paused");
}

void settings_change(void)
{
    struct live_sink *l = &settings.sink;
    uint32_t what = sim_below(ARRAY_LEN(name) + 5);

    if (what < ARRAY_LEN(name)) {
        settings.paused[what] = !settings.paused[what];
        settings.types_version++;
        sim_trace("type '%s' is paused: %d", name[what], settings.paused[what]);
    } else if (what == ARRAY_LEN(name)) {
        l->gcs_paused = !l->gcs_paused;
        sim_trace("gcs is paused: %d", l->gcs_paused);
    } else if (what == ARRAY_LEN(name) + 1) {
        l->bigquery_paused = !l->bigquery_paused;
        sim_trace("bigquery is paused: %d", l->bigquery_paused);
    } else if (what == ARRAY_LEN(name) + 2) {
        l->spool_bytes = l->spool_bytes > 0 ? 0 : SPOOL_BYTES;
        sim_trace("the spool may hold %" PRIu64 " bytes", l->spool_bytes);
    } else if (what == ARRAY_LEN(name) + 3) {
        numbers_draw();
        sim_trace("other numbers: %u uploads, %u inserts, %u of a table", l->puts_max,
                  l->inserts_max, l->table_inserts_max);
    } else {
        settings_resume();
        return;
    }
    live_publish(settings.live, settings_build());
}

void settings_end(void)
{
    live_destroy(settings.live);
    settings.live = NULL;
}
