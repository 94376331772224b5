/*
 * COLD. BigQuery tables that take their rows by insertAll: who sends next, and what a failure means
 * for the table. See the state pictures in sink_internal.h; what happens to the rows of one plan is
 * in insert_job.c.
 *
 * Tables that may send stand in one queue and send one request each in turn, so none holds the
 * slots; a table that waits or is parked is not in it. Its plans wait without their bytes when
 * memory is short, and get fewer and larger the more of them there are.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "sinks/sink_internal.h"

/* ---- tables ---- */

static struct insert_table *table_new(struct sink *s, const char *name, enum insert_form form,
                                      const struct type_config *config)
{
    struct insert_table *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->columns = form == INSERT_ROWS ? columns_get(s, name, config) : NULL;
    if (form == INSERT_ROWS && t->columns == NULL) {
        free(t);
        return NULL;
    }
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->sink = s;
    t->form = (uint8_t)form;
    t->config = config;
    table_spec_fill(&t->spec, t->name, s->types, config, form != INSERT_PLAIN);
    delivery_list_init(&t->waiting);
    t->next = s->insert_tables;
    s->insert_tables = t;
    return t;
}

enum insert_form insert_form_of(const struct plan_key *key)
{
    ASSERT(key->encoding == ENCODING_INSERT && key->kind == PLAN_EVENTS);
    if ((key->flags & PLAN_ROWS) != 0)
        return INSERT_ROWS;
    return key->schema_hash == 0 ? INSERT_WRAPPED : INSERT_PLAIN;
}

struct insert_table *insert_table_of(struct sink *s, const struct plan_key *key)
{
    struct span type = {key->type, key->type_len};
    struct type_route *route = route_get(s, type);
    char name[TABLE_NAME_BYTES_MAX];
    enum insert_form form = insert_form_of(key);
    struct insert_table *t;

    if (route == NULL || route->inserts[form] != NULL)
        return route == NULL ? NULL : route->inserts[form];
    type_table(s->types, type, name, sizeof(name));
    for (t = s->insert_tables; t != NULL; t = t->next) {
        if (t->form == form && strcmp(t->name, name) == 0)
            break;
    }
    if (t == NULL)
        t = table_new(s, name, form, route->config);
    route->inserts[form] = t;
    return t;
}

void inserts_destroy(struct sink *s)
{
    while (s->insert_tables != NULL) {
        struct insert_table *t = s->insert_tables;
        struct delivery *d;

        s->insert_tables = t->next;
        while ((d = delivery_first(&t->waiting)) != NULL) {
            d->version = NULL; /* the plan will want it at the next start */
            delivery_finish(d, &t->waiting);
        }
        loop_timer_cancel(s->loop, &t->timer);
        free(t);
    }
}

/* ---- whose turn it is ---- */

uint32_t insert_limit(const struct insert_table *t)
{
    return t->probing ? 1 : t->sink->config.table_inserts_max;
}

static bool may_send(const struct insert_table *t)
{
    return t->waiting.n > 0 && !t->waits && t->state != INSERT_PARKED &&
           t->state != INSERT_ENSURING && t->sending + t->reading < insert_limit(t);
}

static void enqueue(struct insert_table *t)
{
    struct sink *s = t->sink;

    if (t->queued || !may_send(t))
        return;
    ASSERT(t->next_queued == NULL);
    ASSERT((s->insert_first == NULL) == (s->insert_last == NULL));
    t->queued = true;
    if (s->insert_last != NULL)
        s->insert_last->next_queued = t;
    else
        s->insert_first = t;
    s->insert_last = t;
}

static struct insert_table *dequeue(struct sink *s)
{
    struct insert_table *t = s->insert_first;

    if (t == NULL)
        return NULL;
    ASSERT(t->queued && (t->next_queued != NULL) == (t != s->insert_last));
    s->insert_first = t->next_queued;
    if (s->insert_first == NULL)
        s->insert_last = NULL;
    t->next_queued = NULL;
    t->queued = false;
    return t;
}

/* Whether what it has is of no use before a timer, a person, or the end of a pause. */
bool insert_is_stopped(const struct insert_table *t)
{
    return t->waits || t->state == INSERT_PARKED || t->sink->bigquery_paused;
}

bool insert_is_behind(const struct insert_table *t)
{
    return insert_is_stopped(t) || t->waiting.n >= t->sink->config.table_inserts_max;
}

/* The more plans wait, the more each holds and the longer it gathers. When many tables are behind,
 * theirs gather until they are large or their memory is needed: plans are few, and when there are too
 * many the archive stands still as well. */
bool insert_group_due(struct sink *s, const struct group *g)
{
    const struct insert_table *t = insert_table_of(s, &g->key);
    const struct sink_config *c = &s->config;
    uint64_t n = t == NULL ? 1 : 1 + t->waiting.n / c->table_inserts_max;
    int64_t age = c->insert_age_us_max * (int64_t)n;
    uint64_t bytes = c->insert_bytes * n;

    if (t != NULL && s->n_inserts >= INSERTS_MAX / 4 && insert_is_behind(t))
        return g->bytes >= c->group_bytes_max;
    if (t != NULL && (t->waits || t->state == INSERT_PARKED))
        n *= 2;
    age = age < c->group_age_us_max ? age : c->group_age_us_max;
    bytes = bytes < c->group_bytes_max ? bytes : c->group_bytes_max;
    return g->lines >= c->insert_rows * n || g->bytes >= bytes || s->now_us - g->opened_us >= age;
}

void insert_read_over(struct delivery *d)
{
    if (d->inserts == NULL || d->to_spool ||
        (d->state != DELIVERY_COLD && d->state != DELIVERY_RELOADING))
        return;
    ASSERT(d->inserts->reading > 0);
    d->inserts->reading--;
    enqueue(d->inserts);
}

/* Whether what it has is not sent before something else happens: to the table, or to memory. */
static bool is_blocked(const struct insert_table *t)
{
    return insert_is_stopped(t) || t->state == INSERT_ENSURING ||
           (t->sending == 0 && t->reading >= insert_limit(t));
}

void inserts_free_memory(struct sink *s, uint64_t chunks)
{
    for (struct insert_table *t = s->insert_tables; t != NULL; t = t->next) {
        struct delivery *d = is_blocked(t) ? t->waiting.head.prev : &t->waiting.head;

        for (; d != &t->waiting.head && s->pool.n_free < chunks; d = d->prev)
            content_drop(d); /* the newest first, which are sent last */
    }
    ASSERT(s->pool.n_free <= s->pool.n_total);
}

void insert_wait(struct delivery *d, struct delivery_list *from, bool first)
{
    struct insert_table *t = d->inserts;

    ASSERT(t != NULL && d->plan.lines > 0 && insert_job_left(d) <= d->plan.lines);
    if (d->state == DELIVERY_RELOADING)
        first = true;
    insert_read_over(d);
    if (insert_is_stopped(t) && t->sink->pool.n_free < t->sink->pool.n_total / 4)
        content_drop(d); /* others can use the memory now */
    delivery_move(d, from, &t->waiting, DELIVERY_READY);
    if (first)
        delivery_to_front(d, &t->waiting);
    t->waiting_rows += insert_job_left(d);
    enqueue(t);
}

/* ---- trouble ---- */

static void table_resume(struct loop_timer *timer)
{
    struct insert_table *t = container_of(timer, struct insert_table, timer);

    ASSERT(t->waits);
    t->waits = false;
    t->probing = true;
    if (t->state == INSERT_PARKED) {
        t->state = INSERT_NEW;
        t->text[0] = '\0';
    }
    enqueue(t);
}

/* Nothing is sent to it for a while. Requests that fail together count as one failure. */
static void table_wait(struct insert_table *t, enum answer_class class, int64_t retry_after_s,
                       const char *text)
{
    struct http_answer asked = {.retry_after_s = retry_after_s};

    if (t->state == INSERT_PARKED)
        return;
    snprintf(t->text, sizeof(t->text), "%s", text);
    if (t->waits)
        return;
    t->waits = true;
    t->timer.fire = table_resume;
    loop_timer_set(t->sink->loop, &t->timer, retry_delay_us(&t->backoff, class, &asked));
}

/* Somebody must look: the table is tried again, from its beginnings, after park_retry. */
static void table_park(struct insert_table *t, const char *text)
{
    struct sink *s = t->sink;

    snprintf(t->text, sizeof(t->text), "%s", text);
    if (t->state == INSERT_PARKED)
        return;
    log_error("sink", "parked: inserts into table %s (%u plans wait): %s", t->name, t->waiting.n,
              text);
    t->state = INSERT_PARKED;
    t->lag_us = 0;
    t->waits = true;
    loop_timer_cancel(s->loop, &t->timer);
    t->timer.fire = table_resume;
    loop_timer_set(s->loop, &t->timer, s->config.park_retry_us);
}

/* insertAll does not find a table that is there: waited out, as the streaming path may be the last
 * to hear of it. Never made anew, which would be worse. */
static void table_lags(struct insert_table *t, const struct bq_insert_result *r)
{
    const int64_t since = t->lag_us != 0 ? t->lag_us : t->sink->now_us;
    char text[REASON_TEXT_BYTES];

    t->lag_us = since;
    if (t->sink->now_us - since >= t->sink->config.insert_wait_us) {
        snprintf(text, sizeof(text), "insertAll does not find the table for %lld s: %.400s",
                 (long long)((t->sink->now_us - since) / 1000000), r->text);
        table_park(t, text);
    } else {
        table_wait(t, ANSWER_TRANSIENT, r->retry_after_s, r->text);
    }
}

static void table_good(struct insert_table *t)
{
    ASSERT(t->requests > 0);
    t->answered = true;
    t->probing = false;
    t->lag_us = 0;
    t->backoff = (struct retry_state){0};
    if (!t->waits && t->state == INSERT_OPEN)
        t->text[0] = '\0';
}

/* How a plan goes on behind a request; the table has heard of it already. */
static void delivery_next(struct delivery *d, enum insert_next next, const char *why)
{
    struct sink *s = d->sink;

    ASSERT(d->state == DELIVERY_INSERTING);
    if (next == INSERT_STUCK)
        deliver_park(d, &s->inserting, why, false);
    else if (insert_job_left(d) == 0)
        insert_job_finish(d, &s->inserting);
    else
        insert_wait(d, &s->inserting, true);
}

void insert_table_answered(struct delivery *d, const struct bq_insert_result *r)
{
    struct insert_table *t = d->inserts;
    char why[REASON_TEXT_BYTES];
    enum insert_next next = insert_job_settle(d, r, why);

    ASSERT(t->sending > 0);
    t->sending--;
    if (r->outcome == BQ_INSERT_ANSWERED)
        table_good(t);
    if (next == INSERT_STUCK)
        table_park(t, why);
    else if (r->outcome == BQ_INSERT_LAG)
        table_lags(t, r);
    else if (next == INSERT_WAITS)
        table_wait(t, r->outcome == BQ_INSERT_LATER ? r->class : ANSWER_TRANSIENT, r->retry_after_s,
                   why);
    delivery_next(d, next, why);
    enqueue(t);
}

/* ---- sending ---- */

static void ensure_done(struct bq_ensure *e, enum bq_result result, const char *text)
{
    struct insert_table *t = container_of(e, struct insert_table, ensure);

    ASSERT(t->state != INSERT_OPEN);
    if (result != BQ_DONE) {
        table_park(t, text);
        return;
    }
    t->ensured_us = t->sink->now_us;
    if (t->state == INSERT_PARKED)
        return; /* by a request that was under way: it has its own time */
    t->state = INSERT_OPEN;
    enqueue(t);
}

/* Whether the next plan may have columns that the table was not made to have yet. */
static bool lacks_columns(const struct insert_table *t)
{
    const struct delivery *d = delivery_first(&t->waiting);

    ASSERT(d != NULL);
    return t->columns != NULL && (t->ensures == NULL || d->version->number > t->ensures->number);
}

bool insert_columns_lag(const struct insert_table *t)
{
    ASSERT(t->requests > 0);
    return t->sink->now_us - t->ensured_us < t->sink->config.insert_wait_us;
}

static void table_ensure(struct insert_table *t)
{
    ASSERT(t->state == INSERT_NEW);
    if (t->ensure._op != NULL) { /* parked meanwhile by a request that was under way */
        t->state = INSERT_ENSURING;
        return;
    }
    if (t->ensures != NULL && t->sink->now_us - t->ensured_us < ENSURE_US) {
        table_wait(t, ANSWER_TRANSIENT, 1, "new columns: a table changes only so often");
        return;
    }
    if (t->columns != NULL)
        table_spec_renew(&t->spec, t->columns, t->config, &t->ensures);
    t->state = INSERT_ENSURING;
    t->ensure = (struct bq_ensure){.spec = &t->spec, .done = ensure_done};
    if (bq_ensure_start(t->sink->bq, &t->ensure) < 0) {
        t->state = INSERT_NEW;
        table_wait(t, ANSWER_TRANSIENT, -1, "out of memory");
    }
}

/* Sends rows of the oldest plan, or has it read first. */
static void table_send(struct insert_table *t)
{
    struct sink *s = t->sink;
    struct delivery *d = delivery_first(&t->waiting);
    int rc;

    ASSERT(d != NULL && t->state == INSERT_OPEN);
    ASSERT(t->waiting_rows >= insert_job_left(d));
    t->waiting_rows -= insert_job_left(d);
    if (delivery_paused(d)) {
        delivery_hold(d, &t->waiting);
        return;
    }
    if (insert_job_left(d) == 0) {
        insert_job_finish(d, &t->waiting);
        return;
    }
    if (d->content == NULL) {
        t->reading++;
        delivery_cold(d, &t->waiting);
        return;
    }
    delivery_move(d, &t->waiting, &s->inserting, DELIVERY_INSERTING);
    rc = insert_job_send(d);
    if (rc == 0) {
        t->sending++;
        t->requests++;
    } else if (rc == -EALREADY) {
        insert_job_finish(d, &s->inserting);
    } else {
        table_wait(t, ANSWER_TRANSIENT, -1, strerror(-rc));
        insert_wait(d, &s->inserting, true);
    }
}

/* Requests under way, for all tables. */
static uint32_t under_way(const struct sink *s)
{
    return s->inserting.n;
}

void inserts_run(struct sink *s)
{
    struct insert_table *t;

    if (!s->config.bigquery_enabled || s->bigquery_paused || s->letter_bytes > LETTERS_MAX)
        return;
    while (under_way(s) < s->config.inserts_max && (t = dequeue(s)) != NULL) {
        if (!may_send(t))
            continue;
        if (t->state == INSERT_OPEN && lacks_columns(t))
            t->state = INSERT_NEW;
        if (t->state == INSERT_NEW)
            table_ensure(t);
        else
            table_send(t);
        enqueue(t);
    }
}

/* ---- what others ask ---- */

bool inserts_have_before(const struct sink *s, uint64_t id)
{
    for (const struct insert_table *t = s->insert_tables; t != NULL; t = t->next) {
        if (t->state == INSERT_PARKED || s->bigquery_paused)
            continue;
        for (const struct delivery *d = t->waiting.head.next; d != &t->waiting.head; d = d->next) {
            if (d->plan.id < id)
                return true;
        }
    }
    return false;
}

int64_t inserts_oldest(const struct sink *s, int64_t now_us)
{
    int64_t oldest = now_us;

    for (const struct insert_table *t = s->insert_tables; t != NULL; t = t->next) {
        const struct delivery *d = delivery_first(&t->waiting);

        if (d != NULL && d->since_us < oldest)
            oldest = d->since_us;
    }
    return oldest;
}

uint64_t inserts_held(const struct sink *s)
{
    uint64_t n = 0;

    for (const struct insert_table *t = s->insert_tables; s->bigquery_paused && t != NULL;
         t = t->next)
        n += t->waiting.n > 0 ? 1 : 0;
    return n;
}

void inserts_gauges(struct sink *s)
{
    uint64_t parked = 0;

    for (const struct insert_table *t = s->insert_tables; t != NULL; t = t->next)
        parked += t->state == INSERT_PARKED ? 1 : 0;
    stat_set(&s->stats.inserts_parked, parked);
    stat_set(&s->stats.inserts_waiting, s->n_inserts);
}

static void report_one(const struct insert_table *t, struct sink_table_report *out)
{
    const char *why = t->text, *state = t->sending > 0 ? "inserting" : "idle";

    if (t->state == INSERT_ENSURING && t->ensure.waiting != NULL)
        why = t->ensure.waiting;
    if (t->waiting.n > 0 && t->sending == 0)
        state = "waiting";
    if (t->state == INSERT_ENSURING)
        state = "creating";
    if (t->state == INSERT_PARKED)
        state = "parked";
    if (t->sink->bigquery_paused && t->waiting.n > 0) {
        state = "paused";
        why = "bigquery is paused";
    }
    memset(out, 0, sizeof(*out));
    snprintf(out->table, sizeof(out->table), "%s", t->name);
    columns_report(t->columns, out);
    snprintf(out->state, sizeof(out->state), "%s", state);
    snprintf(out->text, sizeof(out->text), "%s", why);
    out->method = "insert_all";
    out->debt_events = t->waiting_rows;
    out->loaded_rows = t->rows;
    out->refused_rows = t->refused;
    out->jobs = t->requests;
}

void inserts_report(const struct sink *s, struct sink_report *out)
{
    for (const struct insert_table *t = s->insert_tables;
         t != NULL && out->n_tables < out->tables_max; t = t->next) {
        if (t->requests > 0 || t->waiting.n > 0 || t->text[0] != '\0')
            report_one(t, &out->table[out->n_tables++]);
    }
}
