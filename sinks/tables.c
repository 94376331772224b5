/*
 * COLD. BigQuery tables: what is owed to each, and the load jobs that pay it. LOAD is durable
 * before a job is prepared, ATTEMPT before jobs.insert, LOADED before the debt is forgotten. See
 * the state picture in sink_internal.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"
#include "sinks/sink_internal.h"

#define MINUTES_A_DAY 1440
static_assert(STAGED_MINUTES / MINUTES_A_DAY + 1 <= LOAD_PARTITION_MAX, "any object fits a job");

#define ENSURE_US 2000000 /* between two changes of a table: BigQuery allows 5 in 10 s */

static void load_ensure(struct table *t);

/* ---- tables ---- */

void table_spec_fill(struct bq_table_spec *spec, const char *name, const struct type_set *set,
                     const struct type_config *c, bool wrapped)
{
    wrapped |= c == NULL || c->schema == NULL;
    spec->table = name;
    spec->schema = wrapped ? set->json_schema : c->schema;
    spec->description =
        c != NULL && c->description != NULL ? c->description : "Events written by Penstock";
    ASSERT(spec->schema != NULL);
    if (wrapped)
        return;
    spec->n_clustering = c->n_clustering;
    for (uint32_t i = 0; i < c->n_clustering; i++)
        spec->clustering[i] = c->clustering[i];
}

/* Clustering is left to columns that are there: BigQuery would refuse the others for good. */
void table_spec_renew(struct bq_table_spec *spec, struct columns *c,
                      const struct type_config *config, struct columns_version **ensures)
{
    ASSERT(c->newest != NULL); /* its rows were planned */
    c->newest->refs++;
    if (*ensures != NULL)
        columns_release(c, *ensures);
    *ensures = c->newest;
    spec->schema = c->newest->rows->schema;
    spec->n_clustering = 0;
    for (uint32_t i = 0; config != NULL && i < config->n_clustering; i++) {
        const struct schema_field *f = schema_find(spec->schema, span_of(config->clustering[i]));

        if (f != NULL && schema_may_cluster(f))
            spec->clustering[spec->n_clustering++] = config->clustering[i];
    }
}

bool table_owned(const struct sink *s, const char *name)
{
    ASSERT(s->config.index < s->config.n_threads);
    return crc32c(0, name, strlen(name)) % s->config.n_threads == s->config.index;
}

struct table *table_get(struct sink *s, const char *name, enum plan_encoding encoding,
                        const struct type_config *config)
{
    struct table *t;

    ASSERT(table_owned(s, name));
    for (t = s->tables; t != NULL; t = t->next) {
        if (t->encoding == encoding && strcmp(t->name, name) == 0)
            return t;
    }
    t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->encoding = (uint8_t)encoding;
    t->sink = s;
    t->columns = encoding == ENCODING_ROWS ? columns_get(s, name, config) : NULL;
    if (encoding == ENCODING_ROWS && t->columns == NULL) {
        free(t);
        return NULL;
    }
    t->config = config;
    table_spec_fill(&t->spec, t->name, s->types, config, encoding != ENCODING_ARCHIVE);
    t->next = s->tables;
    s->tables = t;
    return t;
}

struct table *route_table(struct sink *s, const struct type_route *route,
                          enum plan_encoding encoding)
{
    struct span type = {route->name, route->name_len};
    char name[TABLE_NAME_BYTES_MAX];

    type_table(s->types, type, name, sizeof(name));
    return table_get(s, name, encoding, route->config);
}

void table_owe(struct table *t, const struct plan *plan)
{
    struct debt *d = debt_new(t->sink, plan);

    ASSERT(d != NULL); /* a few hundred bytes; a restart finds the debt in the log */
    ASSERT(d->encoding == t->encoding);
    debt_push(&t->debts, d);
    t->debt_events += d->events;
    t->flush |= d->plan_id < t->sink->flush_id;
}

static void uris_free(struct table *t)
{
    ASSERT(t->uris == NULL || t->load.n_plans > 0);
    for (uint32_t i = 0; t->uris != NULL && i < t->load.n_plans; i++)
        free(t->uris[i]);
    free(t->uris);
    t->uris = NULL;
}

void load_forget(struct table *t)
{
    ASSERT(t->loading.n == 0);
    uris_free(t);
    free(t->load.plan_id);
    memset(&t->load, 0, sizeof(t->load));
    t->recorded = t->held = t->piece_stored = t->suspect = false;
    t->text[0] = 0;
    t->state = TABLE_IDLE;
}

void tables_destroy(struct sink *s)
{
    while (s->tables != NULL) {
        struct table *t = s->tables;

        s->tables = t->next;
        loop_timer_cancel(s->loop, &t->timer);
        debt_list_free(&t->debts);
        debt_list_free(&t->loading);
        parts_free(t);
        uris_free(t);
        free(t->load.plan_id);
        free(t);
    }
}

/* ---- failing and parking ---- */

static void table_timer(struct loop_timer *timer)
{
    struct table *t = container_of(timer, struct table, timer);

    ASSERT(t->recorded);
    load_begin(t);
}

static void load_resumed(struct sink *s, void *ctx)
{
    struct table *t = ctx;

    ASSERT(t->state == TABLE_PARKED);
    (void)s;
    t->text[0] = 0;
    load_begin(t);
}

static void park_timer(struct loop_timer *timer)
{
    struct table *t = container_of(timer, struct table, timer);
    struct record r = {.type = RECORD_LOAD_RESUMED, .load_id = t->load.id};

    ASSERT(t->state == TABLE_PARKED);

    record_submit(t->sink, &r, load_resumed, t);
}

static void parked_durable(struct sink *s, void *ctx)
{
    struct table *t = ctx;

    ASSERT(t->state == TABLE_PARKED && t->load.id != 0);
    t->timer.fire = park_timer;
    loop_timer_set(s->loop, &t->timer, s->config.park_retry_us);
}

/* Somebody must look: shown in status, tried again after park_retry. The debt waits; other tables
 * go on. */
static void table_park(struct table *t, const char *text)
{
    struct record r = {.type = RECORD_LOAD_PARKED, .load_id = t->load.id, .text = text};

    ASSERT(t->recorded && t->load.id != 0);

    snprintf(t->text, sizeof(t->text), "%s", text);
    log_error("sink", "parked: table %s, load %llu of %u objects: %s", t->name,
              (unsigned long long)t->load.id, t->load.n_plans, text);
    t->state = TABLE_PARKED;
    t->ensured = false;
    record_submit(t->sink, &r, parked_durable, t);
}

static void attempt_failed_durable(struct sink *s, void *ctx)
{
    struct table *t = ctx;
    int64_t delay = retry_delay_us(&t->backoff, ANSWER_TRANSIENT, NULL);

    ASSERT(t->load.attempt_done && (t->state == TABLE_FAILING || t->state == TABLE_PARKED));

    if (t->state == TABLE_PARKED)
        return;
    t->timer.fire = table_timer;
    loop_timer_set(s->loop, &t->timer, delay);
}

/* The job is known to be over without effect: the next attempt gets another id. */
void attempt_failed(struct table *t, const char *text, bool parks)
{
    struct record r = {
        .type = RECORD_ATTEMPT_FAILED,
        .load_id = t->load.id,
        .attempt = t->load.attempt,
        .text = text,
    };

    ASSERT(t->load.attempt > 0);
    t->load.attempt_done = true;
    t->state = TABLE_FAILING;
    snprintf(t->text, sizeof(t->text), "%s", text);
    record_submit(t->sink, &r, attempt_failed_durable, t);
    if (parks)
        table_park(t, text);
    else
        log_warn("sink", "load job %s failed: %s; another attempt follows", t->job_id, text);
}

/* ---- the job ---- */

void load_over(struct table *t)
{
    struct debt *d;

    ASSERT(t->recorded && t->loading.n == t->load.n_plans);
    while ((d = debt_pop(&t->loading)) != NULL) {
        bool more = t->load.piece && parts_have_plan(t, d->plan_id);

        if (encoding_is_staged(d->encoding) && !more)
            staging_delete(t->sink, d);
        else
            free(d);
    }
    load_forget(t);
}

static void loaded_durable(struct sink *s, void *ctx)
{
    struct table *t = ctx;

    ASSERT(t->state == TABLE_FINISHING);
    stat_add(&s->stats.loaded_events, t->load.rows);
    parts_prove(t);
    load_over(t);
}

static void loaded_record(struct table *t)
{
    struct record r = {.type = RECORD_LOADED, .load_id = t->load.id, .rows = t->load.rows};

    ASSERT(t->state == TABLE_FINISHING);
    record_submit(t->sink, &r, loaded_durable, t);
}

static void load_finished(struct table *t, uint64_t rows)
{
    char text[REASON_TEXT_BYTES];

    ASSERT(t->load.attempt > 0 && !t->load.attempt_done);
    if (rows != t->load.rows) {
        snprintf(text, sizeof(text),
                 "job %s loaded %llu rows where %llu were expected: not confirmed", t->job_id,
                 (unsigned long long)rows, (unsigned long long)t->load.rows);
        table_park(t, text);
        return;
    }
    t->loaded_rows += rows;
    t->backoff = (struct retry_state){0};
    t->state = TABLE_FINISHING;
    piece_delete(t, loaded_record);
}

static void job_done(struct bq_load *job, enum bq_result result, uint64_t rows, const char *text)
{
    struct table *t = container_of(job, struct table, job);

    ASSERT(t->state == TABLE_LOADING);
    if (result == BQ_DONE)
        load_finished(t, rows);
    else if (result == BQ_JOB_FAILED)
        attempt_failed(t, text, false);
    else if (result == BQ_JOB_REFUSED)
        load_refused(t, text);
    else
        table_park(t, text);
}

static void job_start(struct sink *s, void *ctx)
{
    struct table *t = ctx;

    /* A job's id is in the log before the job is anywhere. */
    ASSERT(t->load.attempt > 0 && !t->load.attempt_done && t->uris != NULL);
    snprintf(t->job_id, sizeof(t->job_id), "penstock_%s_%llu_a%u", dlog_id(s->dlog),
             (unsigned long long)t->load.id, t->load.attempt);
    t->job = (struct bq_load){
        .job_id = t->job_id,
        .table = t->name,
        .uris = (const char *const *)t->uris,
        .n_uris = t->load.n_plans,
        .done = job_done,
    };
    t->state = TABLE_LOADING;
    t->jobs++;
    if (bq_load_start(s->bq, &t->job) < 0) {
        t->timer.fire = table_timer;
        loop_timer_set(s->loop, &t->timer, 1000000);
    }
}

/* Makes the attempt durable before the job exists; an attempt from before a restart is found again
 * instead. */
static void attempt_begin(struct table *t)
{
    struct record r = {.type = RECORD_ATTEMPT, .load_id = t->load.id};

    ASSERT(t->ensured && t->recorded);

    if (t->load.attempt > 0 && !t->load.attempt_done) {
        job_start(t->sink, t);
        return;
    }
    t->load.attempt++;
    t->load.attempt_done = false;
    t->state = TABLE_ATTEMPTING;
    r.attempt = t->load.attempt;
    record_submit(t->sink, &r, job_start, t);
}

/* What can be done about a table that does not take inferred columns. */
static void park_conflict(struct table *t, const char *text)
{
    char more[REASON_TEXT_BYTES];

    ASSERT(t->columns != NULL);
    snprintf(
        more, sizeof(more),
        "%.240s; ours were inferred from the events: rename that column (ALTER TABLE ... RENAME "
        "COLUMN) or move the table away, and Penstock adds its own",
        text);
    table_park(t, more);
}

static void ensure_done(struct bq_ensure *e, enum bq_result result, const char *text)
{
    struct table *t = container_of(e, struct table, ensure);

    ASSERT(t->state == TABLE_ENSURING);
    t->next_ensure_us = t->sink->now_us + ENSURE_US;
    if (result == BQ_CONFLICT && t->columns != NULL) {
        park_conflict(t, text);
        return;
    }
    if (result != BQ_DONE) {
        table_park(t, text);
        return;
    }
    t->ensured = true;
    attempt_begin(t);
}

static void load_ensure(struct table *t)
{
    ASSERT(t->recorded && t->uris != NULL);
    t->state = TABLE_ENSURING;
    if (t->columns != NULL && t->columns->newest != t->ensures &&
        t->sink->now_us < t->next_ensure_us) {
        t->timer.fire = table_timer;
        loop_timer_set(t->sink->loop, &t->timer, t->next_ensure_us - t->sink->now_us);
        return;
    }
    if (t->columns != NULL && t->columns->newest != t->ensures) {
        t->ensured = false;
        table_spec_renew(&t->spec, t->columns, t->config, &t->ensures);
    }
    t->ensure = (struct bq_ensure){.spec = &t->spec, .done = ensure_done};
    if (t->ensured) {
        attempt_begin(t);
    } else if (bq_ensure_start(t->sink->bq, &t->ensure) < 0) {
        t->timer.fire = table_timer;
        loop_timer_set(t->sink->loop, &t->timer, 1000000);
    }
}

static int uri_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In name order: a job is found again by its URIs, whatever order its plans are taken over in. */
static int uris_fill(struct table *t)
{
    const char *bucket = t->sink->config.gcs.bucket, *piece = t->load.piece ? t->piece_name : NULL;
    uint32_t i = 0;

    t->uris = calloc(t->load.n_plans, sizeof(*t->uris));
    if (t->uris == NULL)
        return -ENOMEM;
    for (const struct debt *d = t->loading.first; d != NULL; d = d->next) {
        if (asprintf(&t->uris[i++], "gs://%s/%s", bucket, piece != NULL ? piece : d->object) < 0)
            return -ENOMEM;
    }
    ASSERT(i == t->load.n_plans);
    qsort(t->uris, i, sizeof(*t->uris), uri_compare);
    return 0;
}

/* Whether the object of the piece under way must be written first. */
static bool piece_is_missing(const struct table *t)
{
    ASSERT(t->load.id != 0);
    return t->load.piece && !t->piece_stored && (t->load.attempt == 0 || t->load.attempt_done);
}

/* The load's id is in it, which is never used again. */
static void piece_name_fill(struct table *t)
{
    int n = snprintf(t->piece_name, sizeof(t->piece_name), "staging/pieces/%s_%llu.json",
                     dlog_id(t->sink->dlog), (unsigned long long)t->load.id);

    ASSERT(n > 0 && (size_t)n < sizeof(t->piece_name));
}

void load_begin(struct table *t)
{
    ASSERT(t->recorded && t->loading.n == t->load.n_plans);
    t->held = load_paused(t);
    if (t->held)
        return; /* tables_run() goes on */
    piece_name_fill(t);
    if (piece_is_missing(t)) {
        rewrite_start(t, REWRITE_PIECE);
        return;
    }
    if (t->uris == NULL && uris_fill(t) < 0) {
        uris_free(t);
        t->timer.fire = table_timer;
        loop_timer_set(t->sink->loop, &t->timer, 1000000);
        return;
    }
    load_ensure(t);
}

/* ---- choosing what to load ---- */

static void load_durable(struct sink *s, void *ctx)
{
    struct table *t = ctx;

    ASSERT(t->state == TABLE_RECORDING && !t->recorded);
    (void)s;
    t->recorded = true;
    load_begin(t);
}

/* The days that the chosen objects touch: a hash set, because objects come in no order of event
 * time. */
struct day_set {
    uint32_t n;
    uint32_t used[2 * LOAD_PARTITION_MAX]; /* day + 1 by hash; 0: free */
};

/* Adds a day. False, without adding it, when that would be one too many. */
static bool day_add(struct day_set *set, int32_t day)
{
    uint32_t mark = (uint32_t)day + 1 == 0 ? 1 : (uint32_t)day + 1;
    uint32_t at = (mark * 2654435761u) % ARRAY_LEN(set->used);

    ASSERT(set->n <= LOAD_PARTITION_MAX);

    while (set->used[at] != 0 && set->used[at] != mark)
        at = (at + 1) % ARRAY_LEN(set->used);
    if (set->used[at] == mark)
        return true;
    if (set->n == LOAD_PARTITION_MAX)
        return false;
    set->used[at] = mark;
    set->n++;
    return true;
}

/* Adds the days that an object may touch: one, or all that a staging object spans. */
static bool days_add(struct day_set *set, const struct debt *d)
{
    int32_t first = d->minute / MINUTES_A_DAY - (d->minute % MINUTES_A_DAY < 0 ? 1 : 0);
    int32_t n = encoding_is_staged(d->encoding) ? STAGED_MINUTES / MINUTES_A_DAY + 1 : 1;

    for (int32_t i = 0; i < n; i++) {
        if (!day_add(set, first + i))
            return false;
    }
    return true;
}

/* Objects within the limits of one job, oldest first, all gzip or none as the oldest is (BigQuery
 * takes no mixture); the rest stays owed. */
static void load_choose(struct table *t)
{
    struct day_set *days = calloc(1, sizeof(*days));
    struct debt_list other = {0}; /* of the other form */
    bool gzip = t->debts.first->gzip;
    uint64_t bytes = 0;
    struct debt *d;
    uint32_t owed = t->debts.n;

    ASSERT(days != NULL); /* 32 KiB */
    ASSERT(owed > 0 && t->loading.n == 0 && t->load.rows == 0);
    while ((d = t->debts.first) != NULL) {
        bool fits;

        if (d->gzip != gzip) {
            debt_push(&other, debt_pop(&t->debts));
            continue;
        }
        fits = days_add(days, d) && t->loading.n < PLAN_OBJECTS_PER_LOAD &&
               bytes + d->bytes <= t->sink->config.load_bytes_max;
        if (!fits && t->loading.n > 0)
            break;
        bytes += d->bytes;
        t->load.rows += d->events;
        ASSERT(t->debt_events >= d->events);
        t->debt_events -= d->events;
        debt_push(&t->loading, debt_pop(&t->debts));
    }
    if (other.n > 0) {
        while ((d = debt_pop(&t->debts)) != NULL)
            debt_push(&other, d);
        t->debts = other;
    }
    ASSERT(t->loading.n > 0 && t->loading.n + t->debts.n == owed); /* each in one place */
    free(days);
}

static void load_record(struct table *t)
{
    struct record r = {.type = RECORD_LOAD};
    uint32_t i = 0;

    ASSERT(t->state == TABLE_IDLE && t->load.id == 0);
    load_choose(t);
    t->load.id = dlog_next_id(t->sink->dlog);
    snprintf(t->load.table, sizeof(t->load.table), "%s", t->name);
    t->load.n_plans = t->loading.n;
    t->load.plan_id = calloc(t->load.n_plans, sizeof(*t->load.plan_id));
    ASSERT(t->load.plan_id != NULL);
    for (const struct debt *d = t->loading.first; d != NULL; d = d->next)
        t->load.plan_id[i++] = d->plan_id;
    ASSERT(i == t->load.n_plans && i <= PLAN_OBJECTS_PER_LOAD);
    t->state = TABLE_RECORDING;
    t->flush = t->flush && t->debts.n > 0;
    t->next_load_us = t->sink->now_us + t->sink->config.load_cadence_us;
    r.load_id = t->load.id;
    r.load = &t->load;
    record_submit(t->sink, &r, load_durable, t);
}

/* When the list's first was stored, if that was earlier. */
static int64_t debt_oldest(const struct debt_list *l, int64_t us)
{
    return l->first != NULL && l->first->since_us < us ? l->first->since_us : us;
}

static bool load_is_due(const struct table *t)
{
    ASSERT(t->sink != NULL);
    return t->debts.n > 0 && (t->flush || t->sink->now_us >= t->next_load_us);
}

/* An idle table's next job: parts and what is new by turns. After many refusals something new shows
 * best whether the table takes rows. */
static void table_next(struct table *t)
{
    bool due = !t->sink->bigquery_paused && !table_distrusted(t) && load_is_due(t);

    ASSERT(t->state == TABLE_IDLE);
    if ((due && (t->part_was_last || t->refusals >= REFUSALS_MAX)) || (!part_next(t) && due)) {
        t->part_was_last = false;
        load_record(t);
    }
}

void tables_run(struct sink *s)
{
    uint64_t waiting = 0, parked = 0, held = 0, parts = 0;
    int64_t oldest = s->now_us;

    for (struct table *t = s->tables; t != NULL; t = t->next) {
        struct parts_report r;

        if (t->held && !load_paused(t))
            load_begin(t);
        if (t->state == TABLE_IDLE)
            table_next(t);
        r = parts_report(t);
        parts += r.n;
        held += load_waits(t) ? 1 : 0;
        oldest = debt_oldest(&t->loading, debt_oldest(&t->debts, oldest));
        oldest = r.since_us < oldest ? r.since_us : oldest;
        waiting += t->debts.n > 0 || t->loading.n > 0 || r.n > 0 ? 1 : 0;
        parked += t->state == TABLE_PARKED || r.parked > 0 ? 1 : 0;
    }
    rewrite_run(s);
    stat_set(&s->stats.load_parts, parts);
    stat_set(&s->stats.loads_waiting, waiting);
    stat_set(&s->stats.loads_parked, parked);
    stat_set(&s->stats.loads_held, held);
    stat_set(&s->stats.load_lag_us, (uint64_t)(s->now_us - oldest));
}
