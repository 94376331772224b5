/*
 * COLD. Loads that BigQuery refused: cut into parts until what is at fault stands alone, so that all
 * the rest is loaded. See the picture in sink_internal.h.
 *
 * What a table is for is decided by what it takes, not by what it refuses: a table that refuses
 * everything must not turn its events into dead letters. So a row is only given up when its table has
 * taken others since its load was refused, and refuses it once more after that; and a table that
 * refuses REFUSALS_MAX jobs in a row gets one job each park_retry, of something new if there is any.
 *
 * BigQuery allows 1,500 load jobs a table and day, failed ones included. Jobs of parts are paid from
 * bigquery.split_jobs, a bucket that a day fills; when it is empty they wait, and new loads go on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "sinks/sink_internal.h"

#define DAY_US         INT64_C(86400000000)
#define REFUSALS_SMALL 8u /* in a row: the smallest part next, because it is most likely taken */

/* ---- the list ---- */

static void part_free(struct part *p)
{
    debt_list_free(&p->loading);
    free(p->load.plan_id);
    free(p);
}

static void cut_free(struct cut *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < LOAD_PARTS_MAX; i++) {
        free(c->plan_id[i]);
        debt_list_free(&c->debts[i]);
    }
    free(c);
}

void parts_free(struct table *t)
{
    while (t->parts != NULL) {
        struct part *p = t->parts;

        t->parts = p->next;
        part_free(p);
    }
    cut_free(t->cut);
    t->cut = NULL;
}

/* A part for a load; its plans are moved. */
static struct part *part_push(struct table *t, const struct load *load, struct debt_list *plans)
{
    struct part *p = calloc(1, sizeof(*p));

    ASSERT(p != NULL && plans->n == load->n_plans); /* a few hundred bytes; a restart finds it */
    p->load = *load;
    p->loading = *plans;
    *plans = (struct debt_list){0};
    p->due_us = t->sink->now_us;
    p->next = t->parts;
    t->parts = p;
    return p;
}

int part_take_over(struct table *t, const struct load *load, struct debt_list *plans, bool parked,
                   const char *text)
{
    struct load copy = *load;
    struct part *p;

    ASSERT(load->n_plans > 0 && load->id != 0);
    copy.plan_id = calloc(load->n_plans, sizeof(*copy.plan_id));
    if (copy.plan_id == NULL)
        return -ENOMEM;
    memcpy(copy.plan_id, load->plan_id, load->n_plans * sizeof(*copy.plan_id));
    p = part_push(t, &copy, plans);
    p->parked = parked;
    p->suspect = parked && load->rows == 1;
    if (parked)
        p->due_us += t->sink->config.park_retry_us;
    snprintf(p->text, sizeof(p->text), "%s", text != NULL ? text : "");
    return 0;
}

bool parts_have_plan(const struct table *t, uint64_t plan_id)
{
    ASSERT(plan_id != 0);
    for (const struct part *p = t->parts; p != NULL; p = p->next) {
        if (p->load.piece && p->load.plan_id[0] == plan_id)
            return true;
    }
    return false;
}

/* Jobs that count against the budget: what was used is forgotten at the pace at which a day refills. */
static double budget_used(const struct table *t)
{
    double left = t->split_used - (double)(t->sink->now_us - t->split_used_us) *
                                      t->sink->config.split_jobs / (double)DAY_US;

    ASSERT(t->split_used >= 0);
    return left > 0 ? left : 0;
}

static bool budget_left(const struct table *t)
{
    const uint32_t jobs = t->sink->config.split_jobs;

    ASSERT(t->sink != NULL);
    return jobs == 0 ||
           budget_used(t) + 1 <= jobs; /* 0: nothing is cut any more, what was goes on */
}

struct parts_report parts_report(const struct table *t)
{
    struct parts_report r = {.text = "", .since_us = t->sink->now_us};

    for (const struct part *p = t->parts; p != NULL; p = p->next) {
        if (p->loading.first->since_us < r.since_us)
            r.since_us = p->loading.first->since_us;
        r.events += p->load.rows;
        r.objects += p->load.piece ? 0 : p->load.n_plans;
        r.n++;
        if (p->parked && r.parked++ == 0)
            r.text = p->text;
    }
    r.unpaid = r.n > 0 && !budget_left(t);
    return r;
}

/* ---- whose turn it is ---- */

static bool part_pays(const struct part *p)
{
    ASSERT(p->load.id != 0);
    return p->load.root != 0 || p->parked;
}

/* Its job may be at work at BigQuery. */
static bool part_is_out(const struct part *p)
{
    ASSERT(p->load.id != 0);
    return p->load.attempt > 0 && !p->load.attempt_done;
}

bool table_distrusted(const struct table *t)
{
    ASSERT(t->sink != NULL);
    return t->refusals >= REFUSALS_MAX && t->sink->now_us < t->probe_us;
}

static bool part_may_go(const struct table *t, const struct part *p)
{
    if (part_is_out(p))
        return true;
    return !t->sink->bigquery_paused && p->due_us <= t->sink->now_us && !table_distrusted(t) &&
           (!part_pays(p) || budget_left(t));
}

bool parts_have_before(const struct table *t, uint64_t id)
{
    for (const struct part *p = t->parts; p != NULL; p = p->next) {
        if (!p->parked && part_may_go(t, p) && debt_has_before(&p->loading, id))
            return true;
    }
    return false;
}

/* Whether a goes before b. Large parts first: what they bring shows that the table takes rows. */
static bool goes_before(const struct table *t, const struct part *a, const struct part *b)
{
    ASSERT(a != b);
    if (part_is_out(a) != part_is_out(b))
        return part_is_out(a);
    if (t->refusals >= REFUSALS_SMALL)
        return a->load.rows < b->load.rows;
    return a->load.rows > b->load.rows;
}

static struct part *part_choose(struct table *t)
{
    struct part *best = NULL, **at = &t->parts;

    for (struct part *p = t->parts; p != NULL; p = p->next) {
        if (part_may_go(t, p) && (best == NULL || goes_before(t, p, best)))
            best = p;
    }
    while (best != NULL && *at != best) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    if (best != NULL)
        *at = best->next;
    return best;
}

static void part_resumed(struct sink *s, void *ctx)
{
    struct table *t = ctx;

    (void)s;
    ASSERT(t->state == TABLE_RECORDING);
    load_begin(t);
}

bool part_next(struct table *t)
{
    struct part *p = part_choose(t);
    struct record r = {.type = RECORD_LOAD_RESUMED};

    ASSERT(t->state == TABLE_IDLE && t->load.id == 0);
    if (p == NULL)
        return false;
    ASSERT(t->loading.n == 0 && p->loading.n == p->load.n_plans);
    if (part_pays(p) && !part_is_out(p)) {
        t->split_used = budget_used(t) + 1;
        t->split_used_us = t->sink->now_us;
    }
    t->part_was_last = true;
    t->load = p->load;
    t->loading = p->loading;
    t->recorded = true;
    t->state = TABLE_RECORDING;
    r.load_id = p->load.id;
    if (p->parked)
        record_submit(t->sink, &r, part_resumed, t);
    else
        load_begin(t);
    free(p);
    return true;
}

/* ---- set aside ---- */

static void nothing_durable(struct sink *s, void *ctx)
{
    (void)s, (void)ctx;
}

static void aside_durable(struct sink *s, void *ctx)
{
    ASSERT(((struct table *)ctx)->state == TABLE_CUTTING);
    struct table *t = ctx;
    struct load load = t->load;
    struct part *p = part_push(t, &load, &t->loading);

    ASSERT(load.attempt == 0 || load.attempt_done);
    p->parked = true;
    p->suspect = t->suspect;
    p->due_us = s->now_us + s->config.park_retry_us;
    snprintf(p->text, sizeof(p->text), "%s", t->text);
    t->load.plan_id = NULL;
    t->loading = (struct debt_list){0};
    load_forget(t);
}

void load_set_aside(struct table *t, const char *text, bool suspect)
{
    struct record failed = {
        .type = RECORD_ATTEMPT_FAILED,
        .load_id = t->load.id,
        .attempt = t->load.attempt,
        .text = text,
    };
    struct record parked = {.type = RECORD_LOAD_PARKED, .load_id = t->load.id, .text = text};

    ASSERT(t->recorded);
    if (t->load.attempt > 0 && !t->load.attempt_done)
        record_submit(t->sink, &failed, nothing_durable, NULL);
    t->load.attempt_done = t->load.attempt > 0;
    t->suspect = suspect;
    t->state = TABLE_CUTTING;
    memmove(t->text, text, strnlen(text, sizeof(t->text) - 1) + 1);
    t->text[sizeof(t->text) - 1] = '\0';
    log_error("sink", "parked: table %s, load %llu of %llu rows: %s", t->name,
              (unsigned long long)t->load.id, (unsigned long long)t->load.rows, t->text);
    record_submit(t->sink, &parked, aside_durable, t);
}

void parts_prove(struct table *t)
{
    bool distrusted = t->refusals >= REFUSALS_MAX;

    ASSERT(t->sink != NULL);
    t->refusals = 0;
    for (struct part *p = t->parts; p != NULL; p = p->next) {
        if (p->suspect || distrusted)
            p->due_us = t->sink->now_us;
        p->suspect = false;
        p->load.proven = true;
    }
}

/* ---- cutting ---- */

static void piece_deleted(struct gcs_delete *delete, enum gcs_result result, const char *text)
{
    struct table *t = container_of(delete, struct table, delete);

    /* Somebody who may not delete in this bucket: it is small, and its name never comes again. */
    if (result != GCS_DONE)
        log_warn("sink", "%s is done with and cannot be deleted: %s", t->piece_name, text);
    t->deleted(t);
}

void piece_delete(struct table *t, void (*then)(struct table *t))
{
    ASSERT(then != NULL);
    t->deleted = then;
    t->delete = (struct gcs_delete){.name = t->piece_name, .done = piece_deleted};
    if (!t->load.piece || gcs_delete_start(t->sink->gcs, &t->delete) < 0)
        then(t);
}

/* The parts take the place of what was refused. */
static void split_durable(struct sink *s, void *ctx)
{
    struct table *t = ctx;
    struct cut *c = t->cut;

    ASSERT(t->state == TABLE_CUTTING && c != NULL);
    for (uint32_t i = 0; i < c->split.n_parts; i++) {
        const struct load_part *from = &c->split.part[i];
        struct load load = t->load;

        load.id = from->id;
        load.rows = from->rows;
        load.attempt = 0;
        load.attempt_done = false;
        load.n_plans = from->n_plans;
        load.plan_id = c->plan_id[i];
        load.root = t->load.root != 0 ? t->load.root : t->load.id;
        load.piece = from->piece;
        load.first = from->first;
        c->plan_id[i] = NULL;
        (void)part_push(t, &load, &c->debts[i]);
    }
    t->cut = NULL;
    cut_free(c);
    debt_list_free(&t->loading);
    stat_add(&s->stats.loads_split, 1);
    load_forget(t);
}

static void split_record(struct table *t)
{
    struct record r = {
        .type = RECORD_LOAD_SPLIT,
        .load_id = t->load.id,
        .text = t->text,
        .split = &t->cut->split,
    };

    ASSERT(t->state == TABLE_CUTTING);
    record_submit(t->sink, &r, split_durable, t);
}

static void cut_start(struct table *t)
{
    struct load_split *split = &t->cut->split;
    uint64_t rows = 0;

    ASSERT(split->n_parts >= 2);
    for (uint32_t i = 0; i < split->n_parts; i++) {
        split->part[i].id = dlog_next_id(t->sink->dlog);
        split->part[i].plan_id = t->cut->plan_id[i];
        rows += split->part[i].rows;
    }
    ASSERT(rows == t->load.rows); /* each row is in one of them */
    log_warn("sink", "table %s: load %llu of %llu rows is refused and cut into %u parts: %s",
             t->name, (unsigned long long)t->load.id, (unsigned long long)t->load.rows,
             split->n_parts, t->text);
    t->state = TABLE_CUTTING;
    piece_delete(t, split_record);
}

/* Whether BigQuery named an object of the load. */
static bool debt_is_named(const struct table *t, const struct debt *d)
{
    const char *uri = t->job.refusal.uri, *bucket = t->sink->config.gcs.bucket;
    size_t len = strlen(bucket);

    ASSERT(d != NULL);
    return strncmp(uri, "gs://", 5) == 0 && strncmp(uri + 5, bucket, len) == 0 &&
           uri[5 + len] == '/' && strcmp(uri + 6 + len, d->object) == 0;
}

/* Which part an object goes to: the one that is named, and the rest; or halves. */
static void cut_give(struct cut *c, uint32_t i, struct debt *d)
{
    struct load_part *p = &c->split.part[i];

    ASSERT(i < LOAD_PARTS_MAX && d->plan_id != 0);
    c->plan_id[i][p->n_plans++] = d->plan_id;
    p->rows += d->events;
    debt_push(&c->debts[i], d);
}

static void cut_objects(struct table *t)
{
    struct cut *c = calloc(1, sizeof(*c));
    uint32_t n = t->load.n_plans, named = n, i = 0;
    struct debt *d;

    ASSERT(c != NULL && n > 1);
    t->cut = c;
    c->split.n_parts = 2;
    for (uint32_t k = 0; k < 2; k++) {
        c->plan_id[k] = calloc(n, sizeof(*c->plan_id[k]));
        ASSERT(c->plan_id[k] != NULL); /* 80 KiB at most */
    }
    for (d = t->loading.first; d != NULL; d = d->next, i++) {
        if (named == n && debt_is_named(t, d))
            named = i;
    }
    for (i = 0; (d = debt_pop(&t->loading)) != NULL; i++)
        cut_give(c, named < n ? i == named : i >= n / 2, d);
    ASSERT(i == n && t->loading.n == 0);
    cut_start(t);
}

/* A piece of the object under way. */
static void cut_lines(struct table *t, uint64_t first, uint64_t rows)
{
    struct cut *c = t->cut;
    uint32_t i = c->split.n_parts;

    if (rows == 0)
        return;
    ASSERT(i < LOAD_PARTS_MAX);
    c->split.n_parts++;
    c->split.part[i] =
        (struct load_part){.rows = rows, .piece = true, .first = first, .n_plans = 1};
    c->plan_id[i] = calloc(1, sizeof(*c->plan_id[i]));
    ASSERT(c->plan_id[i] != NULL);
    c->plan_id[i][0] = t->load.plan_id[0];
    debt_push(&c->debts[i], debt_copy(t->loading.first));
}

void load_located(struct table *t, int64_t row)
{
    uint64_t first = t->load.piece ? t->load.first : 0, end = first + t->load.rows, at;

    ASSERT(t->load.rows > 1 && t->loading.n == 1);
    t->cut = calloc(1, sizeof(*t->cut));
    ASSERT(t->cut != NULL);
    if (row >= 0 && (uint64_t)row >= first && (uint64_t)row < end) {
        at = (uint64_t)row;
        cut_lines(t, first, at - first);
        cut_lines(t, at, 1);
        cut_lines(t, at + 1, end - at - 1);
    } else {
        at = first + t->load.rows / 2;
        cut_lines(t, first, at - first);
        cut_lines(t, at, end - at);
    }
    cut_start(t);
}

/* ---- a refused row ---- */

static void rejected_durable(struct sink *s, void *ctx)
{
    struct table *t = ctx;

    ASSERT(t->load.rows == 1);
    stat_add(&s->stats.refused_events, 1);
    t->refused_rows++;
    load_over(t);
}

static void reject_record(struct table *t)
{
    struct record r = {
        .type = RECORD_LOAD_REJECTED,
        .load_id = t->load.id,
        .plan_id = t->load.plan_id[0],
        .text = t->text,
        .reject = &t->reject,
    };

    ASSERT(t->reject.object[0] != '\0');
    log_warn("sink", "table %s refuses a row, now in %s: %s", t->name, t->reject.object, t->text);
    record_submit(t->sink, &r, rejected_durable, t);
}

void load_rejected(struct table *t)
{
    ASSERT(t->load.rows == 1 && t->load.n_plans == 1);
    t->state = TABLE_FINISHING;
    piece_delete(t, reject_record);
}

static void only_row_refused(struct table *t)
{
    char more[REASON_TEXT_BYTES];

    ASSERT(t->load.rows == 1 && t->load.n_plans == 1);
    if (t->load.proven && t->refusals < REFUSALS_MAX && t->sink->config.split_jobs > 0) {
        rewrite_start(t, REWRITE_REJECT);
        return;
    }
    snprintf(more, sizeof(more), "%.400s; %s", t->text,
             t->sink->config.split_jobs == 0
                 ? "bigquery.split_jobs is 0, so it is no dead letter"
                 : "a dead letter only once the table has taken another row");
    load_set_aside(t, more, true);
}

void load_refused(struct table *t, const char *text)
{
    const struct bq_refusal *why = &t->job.refusal;
    const struct sink_config *c = &t->sink->config;
    bool cut = c->split_jobs > 0;

    ASSERT(t->state == TABLE_LOADING);
    if (!why->rows) {
        attempt_failed(t, text, true);
        return;
    }
    ASSERT(t->loading.n == t->load.n_plans);
    snprintf(t->text, sizeof(t->text), "%s", text);
    t->ensured = false; /* somebody may have changed the table */
    if (++t->refusals >= REFUSALS_MAX) {
        t->probe_us = t->sink->now_us + c->park_retry_us;
        cut = false;
    }
    if (t->load.n_plans > 1 && cut)
        cut_objects(t);
    else if (t->load.rows > 1 && !why->missing && cut)
        rewrite_start(t, REWRITE_LOCATE);
    else if (t->load.n_plans == 1 && t->load.rows == 1 && !why->missing)
        only_row_refused(t);
    else
        load_set_aside(t, text, false);
}
