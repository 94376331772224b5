/*
 * COLD. Plans on their way: PLAN is durable before anything is sent, CONFIRM before anything is
 * freed. See the state picture in sink_internal.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/canary.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "dataplane/event/timeval.h"
#include "sinks/shelf.h"

#define MINUTE_US         INT64_C(60000000)
#define OBJECT_TYPE_BYTES 200 /* of the type in an object's last part: its folder has all of it */
#define OBJECT_TAIL_BYTES 128 /* node, log, id */

static_assert(sizeof("dead_letter/YYYY/MM/DD/HH/MM/dead_letter_YYYYMMDDHHMM_late_") +
                      TYPE_ESCAPED_BYTES_MAX + OBJECT_TYPE_BYTES + OBJECT_TAIL_BYTES <
                  1024,
              "object names fit Cloud Storage's limit");

/* ---- lists ---- */

void delivery_list_init(struct delivery_list *l)
{
    l->head.prev = l->head.next = &l->head;
    l->n = 0;
}

struct delivery *delivery_first(const struct delivery_list *l)
{
    ASSERT((l->n == 0) == (l->head.next == &l->head));
    return l->n > 0 ? l->head.next : NULL;
}

static void list_remove(struct delivery_list *l, struct delivery *d)
{
    ASSERT(l->n > 0 && d->next != NULL);
    d->prev->next = d->next;
    d->next->prev = d->prev;
    d->prev = d->next = NULL;
    l->n--;
}

void delivery_move(struct delivery *d, struct delivery_list *from, struct delivery_list *to,
                   uint8_t state)
{
    ASSERT(from != NULL || d->next == NULL); /* it is in one list */
    if (from != NULL)
        list_remove(from, d);
    d->state = state;
    d->next = &to->head;
    d->prev = to->head.prev;
    d->prev->next = d;
    to->head.prev = d;
    to->n++;
}

void delivery_to_front(struct delivery *d, struct delivery_list *l)
{
    ASSERT(l->n > 0 && d->next != NULL);
    d->prev->next = d->next;
    d->next->prev = d->prev;
    d->next = l->head.next;
    d->prev = &l->head;
    d->next->prev = d;
    l->head.next = d;
}

/* ---- records ---- */

static void pending_free(struct pending_record *p)
{
    free((void *)(uintptr_t)p->record.text);
    free(p);
}

void record_submit(struct sink *s, const struct record *r,
                   void (*durable)(struct sink *s, void *ctx), void *ctx)
{
    struct pending_record *p = calloc(1, sizeof(*p));

    ASSERT(p != NULL); /* a few hundred bytes: without them nothing can go on */
    p->record = *r;
    p->record.text = r->text != NULL ? strdup(r->text) : NULL;
    p->durable = durable;
    p->ctx = ctx;
    s->n_pending_records++;
    if (s->backlog_first == NULL && dlog_submit(s->port, &p->record, p) == 0)
        return;
    if (s->backlog_last != NULL)
        s->backlog_last->next = p;
    else
        s->backlog_first = p;
    s->backlog_last = p;
}

void records_run(struct sink *s)
{
    void *cookie[64];
    int n;

    while (s->backlog_first != NULL &&
           dlog_submit(s->port, &s->backlog_first->record, s->backlog_first) == 0) {
        s->backlog_first = s->backlog_first->next;
        if (s->backlog_first == NULL)
            s->backlog_last = NULL;
    }
    while ((n = dlog_reap(s->port, cookie, (int)ARRAY_LEN(cookie))) > 0) {
        for (int i = 0; i < n; i++) {
            struct pending_record *p = cookie[i];

            ASSERT(s->n_pending_records > 0);

            s->n_pending_records--;
            p->durable(s, p->ctx);
            pending_free(p);
        }
    }
}

/* ---- planning ---- */

/* "YYYY/MM/DD/HH/MM" and "YYYYMMDDHHMM" of a minute. */
static void minute_text(int32_t minute, char path[17], char compact[13])
{
    char t[TIME_TEXT_BYTES + 1] = "";

    time_format((int64_t)minute * MINUTE_US, t);
    snprintf(path, 17, "%.4s/%.2s/%.2s/%.2s/%.2s", t, t + 5, t + 8, t + 11, t + 14);
    snprintf(compact, 13, "%.4s%.2s%.2s%.2s%.2s", t, t + 5, t + 8, t + 11, t + 14);
}

static void tail_text(const struct sink *s, uint64_t id, const char *suffix, char *out)
{
    int n = snprintf(out, OBJECT_TAIL_BYTES, "%.64s_%.8s_%08llx.json%s", s->config.node,
                     dlog_id(s->dlog), (unsigned long long)id, suffix);

    ASSERT(n > 0 && n < OBJECT_TAIL_BYTES);
}

void dead_object_name(const struct sink *s, struct span type, int32_t minute, uint64_t id,
                      const char *suffix, char *out)
{
    char escaped[TYPE_ESCAPED_BYTES_MAX + 1] = "_x_unknown", tail[OBJECT_TAIL_BYTES], path[17],
                                          compact[13];
    int n;

    if (type.len > 0)
        name_escape(type, escaped);
    minute_text(minute, path, compact);
    tail_text(s, id, suffix, tail);
    n = snprintf(out, OBJECT_NAME_BYTES_MAX, "dead_letter/%s/%s/dead_letter_%s_%s", escaped, path,
                 compact, tail);
    ASSERT(n > 0 && n < OBJECT_NAME_BYTES_MAX);
}

/*
 * The name holds node, delivery log and plan id, so it is never used twice:
 * In the last part, long type names are cut.
 *   output/TYPE/YYYY/MM/DD/HH/MM/TYPE_YYYYMMDDHHMM[_late]_NODE_LOG_ID.json      events, by event
 * time dead_letter/TYPE/YYYY/MM/DD/HH/MM/dead_letter_YYYYMMDDHHMM_NODE_LOG_ID.json dead letters, by
 * receive time staging/TYPE/TYPE_NODE_LOG_ID.json                                          removed
 * after its load. A plan for insertAll has the name that its refused rows get, as dead letters of the
 * minute of planning. Dead letters without a type go to dead_letter/_x_unknown/, which no escaped type
 * name can be.
 */
static void object_name(const struct sink *s, struct plan *p)
{
    char type[TYPE_ESCAPED_BYTES_MAX + 1], tail[OBJECT_TAIL_BYTES], path[17], compact[13];
    const char *suffix = p->gzip ? ".gz" : "";
    struct span raw = {p->key.type, p->key.type_len};
    bool inserts = p->key.encoding == ENCODING_INSERT;
    int n;

    if (p->key.kind == PLAN_DEAD || inserts) {
        dead_object_name(s, raw, inserts ? time_minute(p->planned_us) : p->key.minute, p->id,
                         suffix, p->object);
        return;
    }
    name_escape(raw, type);
    minute_text(p->key.minute, path, compact);
    tail_text(s, p->id, suffix, tail);
    if (encoding_is_staged(p->key.encoding))
        n = snprintf(p->object, sizeof(p->object), "staging/%s/%.*s_%s", type, OBJECT_TYPE_BYTES,
                     type, tail);
    else
        n = snprintf(p->object, sizeof(p->object), "output/%s/%s/%.*s_%s%s_%s", type, path,
                     OBJECT_TYPE_BYTES, type, compact, (p->key.flags & PLAN_LATE) ? "_late" : "",
                     tail);
    ASSERT(n > 0 && (size_t)n < sizeof(p->object));
}

static void plan_fill(struct sink *s, const struct group *g, struct plan *p)
{
    p->id = dlog_next_id(s->dlog);
    p->key = g->key;
    p->events = g->events;
    p->removed = g->removed;
    p->lines = g->lines;
    p->bytes = g->bytes;
    p->crc32c = group_crc32c(g);
    p->planned_us = clock_wall_us();
    p->gzip = s->config.gzip && g->lines > 0 &&
              g->key.encoding != ENCODING_INSERT; /* which has no object */
    p->to_load = s->config.bigquery_enabled && g->lines > 0 && g->key.kind == PLAN_EVENTS &&
                 g->key.encoding != ENCODING_INSERT && (g->key.flags & PLAN_INSERT) == 0 &&
                 (encoding_is_staged(g->key.encoding) || g->key.schema_hash != 0);
    for (uint32_t j = 0; j < g->n_journals; j++) {
        const struct chain *c = &g->chain[j];

        if (chain_used(c))
            p->range[p->n_ranges++] = (struct plan_range){
                .journal = *journal_uuid(s->feed[j].journal),
                .from = c->from,
                .to = c->to,
                .skips = c->skips.pairs,
                .skips_len = c->skips.len,
            };
    }
    ASSERT(p->n_ranges > 0 && p->lines + p->removed > 0);
    ASSERT((p->lines > 0) == (p->bytes > 0) && p->events <= p->lines);
    if (g->lines > 0)
        object_name(s, p);
}

/* The delivery's own copy of what its plan says of lines that are left out. @return false without
 * memory. */
static bool skips_copy(struct delivery *d)
{
    size_t len = 0, at = 0;

    for (uint32_t i = 0; i < d->plan.n_ranges; i++)
        len += d->plan.range[i].skips_len;
    ASSERT(len <= SKIPS_BYTES_MAX);
    d->skips = len > 0 ? malloc(len) : NULL;
    if (len > 0 && d->skips == NULL)
        return false;
    for (uint32_t i = 0; i < d->plan.n_ranges; i++) {
        struct plan_range *r = &d->plan.range[i];

        if (r->skips_len > 0)
            memcpy(d->skips + at, r->skips, r->skips_len);
        r->skips = r->skips_len > 0 ? d->skips + at : NULL;
        at += r->skips_len;
    }
    ASSERT(at == len);
    return true;
}

struct delivery *delivery_new(struct sink *s, const struct plan *plan)
{
    struct delivery *d = calloc(1, sizeof(*d));
    const struct type_route *route =
        route_get(s, (struct span){plan->key.type, plan->key.type_len});

    if (d == NULL || route == NULL)
        goto fail;
    ASSERT(route->owned && plan->id != 0);
    d->sink = s;
    d->route = route;
    d->plan = *plan;
    if (!skips_copy(d))
        goto fail;
    if (plan->to_load &&
        (d->table = route_table(s, route, (enum plan_encoding)plan->key.encoding)) == NULL)
        goto fail;
    if (plan->key.encoding == ENCODING_INSERT) {
        d->inserts = insert_table_of(s, &plan->key);
        if (d->inserts == NULL)
            goto fail;
        s->n_inserts++;
    }
    if (plan_has_rows(&plan->key)) {
        d->columns = d->inserts != NULL ? d->inserts->columns : d->table->columns;
        d->version = columns_find(d->columns, plan->key.schema_hash);
        ASSERT(d->version !=
               NULL); /* durable before the plan; looked for before it is taken over */
        d->version->refs++;
    }
    d->since_us = s->now_us;
    return d;
fail:
    if (d != NULL)
        free(d->skips);
    free(d);
    return NULL;
}

void delivery_cold(struct delivery *d, struct delivery_list *from)
{
    ASSERT(d->content == NULL);
    delivery_move(d, from, d->spooled != NULL ? &d->sink->fetching : &d->sink->cold, DELIVERY_COLD);
}

void deliver_ready(struct delivery *d, struct delivery_list *from)
{
    struct sink *s = d->sink;

    ASSERT(d->plan.lines > 0);
    if (d->to_spool)
        shelf_write(d, from);
    else if (delivery_paused(d))
        delivery_hold(d, from);
    else if (shelf_takes(d))
        shelf_take_new(d, from);
    else if (d->inserts != NULL && insert_job_has_letters(d))
        insert_job_finish(d, from); /* asks nothing of BigQuery: does not wait for its table */
    else if (d->inserts != NULL)
        insert_wait(d, from, false);
    else if (d->content == NULL)
        delivery_cold(d, from);
    else if (d->plan.gzip && !d->packed)
        delivery_move(d, from, &s->packing, DELIVERY_PACKING);
    else
        delivery_move(d, from, &s->ready, DELIVERY_READY);
}

static void plan_durable(struct sink *s, void *ctx)
{
    struct delivery *d = ctx;

    ASSERT(d->state == DELIVERY_PLANNING && (d->content != NULL || d->plan.lines == 0));
    if (d->plan.lines == 0) { /* all of it was removed */
        delivery_finish(d, &s->planning);
        return;
    }
    /* What cannot be sent soon must not take the memory of what can: it is read again. */
    if (d->inserts != NULL && s->pool.n_free < s->pool.n_total / 2 && insert_is_behind(d->inserts))
        content_drop(d);
    deliver_ready(d, &s->planning);
}

/* Of CANARY_PLAN_SYNC: it has been sent already. */
static void plan_unsynced(struct sink *s, void *ctx)
{
    ASSERT(s != NULL && ctx != NULL);
}

void plan_submit(struct delivery *d)
{
    struct record r = {.type = RECORD_PLAN, .plan_id = d->plan.id, .plan = &d->plan};

    ASSERT(d->state == DELIVERY_PLANNING);
    record_submit(d->sink, &r, CANARY(CANARY_PLAN_SYNC) ? plan_unsynced : plan_durable, d);
    if (CANARY(CANARY_PLAN_SYNC))
        plan_durable(d->sink, d);
}

struct group_table *groups_of(struct sink *s, const struct plan_key *key)
{
    return key->encoding == ENCODING_INSERT ? &s->insert_groups : &s->groups;
}

bool plan_group(struct sink *s, struct group *g)
{
    struct plan plan = {0};
    struct delivery *d;

    if (!columns_settle(s, g))
        return false;
    group_take(groups_of(s, &g->key), g);
    if (g->lines == 0 && g->removed == 0) {
        group_free(&s->pool, g);
        return true;
    }
    group_skips_end(g);
    plan_fill(s, g, &plan);
    d = delivery_new(s, &plan);
    ASSERT(d != NULL);
    d->content = g;
    stat_add(&s->stats.planned_events, plan.events);
    delivery_move(d, NULL, &s->planning, DELIVERY_PLANNING);
    if (!dedupe_hold(d))
        plan_submit(d);
    return true;
}

bool plan_due(struct sink *s, bool all)
{
    struct group *g, *next;
    bool planned = true;

    for (g = s->groups.oldest; g != NULL; g = next) {
        next = g->next;
        if (!all && s->now_us - g->opened_us < s->config.group_age_us_max)
            break;
        planned &= plan_group(s, g);
    }
    for (g = s->insert_groups.oldest; g != NULL; g = next) {
        next = g->next;
        if (!all && s->now_us - g->opened_us < s->config.insert_age_us_max)
            break;
        if (all || insert_group_due(s, g))
            planned &= plan_group(s, g);
    }
    return planned;
}

static uint64_t chunks_in(const struct group_table *t)
{
    uint64_t chunks = 0;

    for (const struct group *g = t->oldest; g != NULL; g = g->next)
        chunks += g->n_chunks;
    return chunks;
}

static void plan_larger(struct sink *s, struct group_table *t, uint64_t chunks)
{
    struct group *next;

    for (struct group *g = t->oldest; g != NULL; g = next) {
        next = g->next;
        if (g->n_chunks >= chunks)
            (void)plan_group(s, g); /* later, if not now */
    }
}

void plan_for_memory(struct sink *s)
{
    uint64_t chunks = chunks_in(&s->groups) + chunks_in(&s->insert_groups);

    held_free_memory(s);
    if (chunks < s->pool.n_total / 4)
        return; /* not groups but plans hold the memory: it comes back when they are sent */
    ASSERT(s->groups.n + s->insert_groups.n > 0);
    chunks /= s->groups.n + s->insert_groups.n;
    plan_larger(s, &s->groups, chunks);
    plan_larger(s, &s->insert_groups, chunks);
}

/* ---- compressing ---- */

/* The first plan's content is compressed; it must have been what was planned. */
static void pack_finish(struct sink *s, struct delivery *d, const struct pack_summary *sum)
{
    ASSERT(d == delivery_first(&s->packing) && d->plan.gzip && !d->packed);
    d->packed = true;
    d->pack = *sum;
    stat_add(&s->stats.gzip_plain_bytes, sum->plain_bytes);
    stat_add(&s->stats.gzip_bytes, sum->bytes);
    if (sum->plain_bytes == d->plan.bytes && sum->plain_crc32c == d->plan.crc32c)
        deliver_ready(d, &s->packing);
    else
        deliver_park(d, &s->packing, "the planned bytes changed in memory: nothing is sent", true);
}

bool pack_run(struct sink *s)
{
    struct delivery *d = delivery_first(&s->packing);
    struct pack_summary sum;
    enum pack_result result;

    if (d == NULL)
        return false;
    ASSERT(d->state == DELIVERY_PACKING && d->content != NULL);
    if (s->packer == NULL && packer_create(&s->pool, &s->packer) < 0)
        return false; /* without memory: at the next turn */
    if (!packer_busy(s->packer) && packer_begin(s->packer, d->content, s->config.gzip_level) < 0)
        return false;
    result = packer_step(s->packer, &sum);
    if (result == PACK_DONE)
        pack_finish(s, d, &sum);
    return result != PACK_WAIT && s->packing.n > 0;
}

/* ---- sending ---- */

void content_drop(struct delivery *d)
{
    insert_job_forget_content(d);
    group_free(&d->sink->pool, d->content);
    free(d->iov);
    d->content = NULL;
    d->iov = NULL;
    d->packed = false;
}

void delivery_finish(struct delivery *d, struct delivery_list *l)
{
    ASSERT(d->inserts == NULL || d->sink->n_inserts > 0);
    if (l != NULL)
        list_remove(l, d);
    content_drop(d);
    loop_timer_cancel(d->sink->loop, &d->retry);
    if (d->version != NULL)
        columns_release(d->columns, d->version);
    insert_job_free(d->job);
    free(d->skips);
    free(d->spooled);
    d->sink->n_inserts -= d->inserts != NULL ? 1 : 0;
    free(d);
}

static void confirm_durable(struct sink *s, void *ctx)
{
    struct delivery *d = ctx;

    ASSERT(d->state == DELIVERY_CONFIRMING && d->plan.to_load == (d->table != NULL));
    if (d->plan.key.encoding == ENCODING_ARCHIVE) {
        stat_add(&s->stats.confirmed_events, d->plan.events);
        stat_add(&s->stats.confirmed_dead, d->plan.key.kind == PLAN_DEAD ? d->plan.events : 0);
    }
    if (d->plan.to_load)
        table_owe(d->table, &d->plan);
    shelf_delivered(d);
    delivery_finish(d, &s->confirming);
}

static void parked_durable(struct sink *s, void *ctx)
{
    struct delivery *d = ctx;

    /* Not on its way to the spool by now; nor, from there, parked once more and tried again already. */
    if (d->state == DELIVERY_PARKED && !d->resuming)
        loop_timer_set(s->loop, &d->retry, s->config.park_retry_us);
}

static void resumed_durable(struct sink *s, void *ctx)
{
    struct delivery *d = ctx;

    ASSERT(d->resuming && d->state == DELIVERY_PARKED);
    d->resuming = false;
    deliver_ready(d, &s->parked);
}

static void parked_retry(struct loop_timer *t)
{
    struct delivery *d = container_of(t, struct delivery, retry);
    struct record r = {.type = RECORD_RESUMED, .plan_id = d->plan.id};

    d->resuming = true;
    record_submit(d->sink, &r, resumed_durable, d);
}

void deliver_park(struct delivery *d, struct delivery_list *from, const char *text, bool drop)
{
    struct sink *s = d->sink;
    struct record r = {.type = RECORD_PARKED, .plan_id = d->plan.id, .text = text};

    if (d->spooled != NULL) {
        shelf_park(d, from, text);
        return;
    }
    insert_read_over(d); /* before it is forgotten that it was read for the spool */
    shelf_give_up(d);
    snprintf(d->text, sizeof(d->text), "%s", text);
    log_error("sink", "parked: object %s (%llu events): %s", d->plan.object,
              (unsigned long long)d->plan.events, text);
    if (drop || s->pool.n_free < s->pool.n_total / 2)
        content_drop(d);
    d->retry.fire = parked_retry;
    delivery_move(d, from, &s->parked, DELIVERY_PARKED);
    record_submit(s, &r, parked_durable, d);
}

static void put_done(struct gcs_put *p, enum gcs_result result, int64_t generation,
                     const char *text)
{
    struct delivery *d = container_of(p, struct delivery, put);
    struct sink *s = d->sink;
    struct record r = {.type = RECORD_CONFIRM, .plan_id = d->plan.id, .generation = generation};

    ASSERT(d->state == DELIVERY_PUTTING && d->content != NULL);
    if (result != GCS_DONE) {
        deliver_park(d, &s->putting, text, false);
        return;
    }
    content_drop(d);
    delivery_move(d, &s->putting, &s->confirming, DELIVERY_CONFIRMING);
    record_submit(s, &r, confirm_durable, d);
}

static void put_start(struct sink *s, struct delivery *d)
{
    int rc = -ENOMEM;

    ASSERT(d->content != NULL && d->content->bytes == d->plan.bytes);
    ASSERT(d->packed == d->plan.gzip);
    free(d->iov);
    d->iov = calloc(d->content->n_chunks, sizeof(*d->iov));
    if (d->iov != NULL) {
        d->put = (struct gcs_put){
            .name = d->plan.object,
            .content_type = d->packed ? "application/gzip" : "application/x-ndjson",
            .body = d->iov,
            .body_parts = group_iovec(d->content, d->iov),
            .bytes = d->packed ? d->pack.bytes : d->plan.bytes,
            .crc32c = d->packed ? d->pack.crc32c : d->plan.crc32c,
            .gzip = d->packed,
            .plain_bytes = d->plan.bytes,
            .plain_crc32c = d->plan.crc32c,
            .plan_id = d->plan.id,
            .events = d->plan.events,
            .log_id = dlog_id(s->dlog),
            .done = put_done,
        };
        delivery_move(d, &s->ready, &s->putting, DELIVERY_PUTTING);
        rc = gcs_put_start(s->gcs, &d->put);
    }
    if (rc < 0)
        deliver_park(d, d->state == DELIVERY_PUTTING ? &s->putting : &s->ready, strerror(-rc),
                     false);
}

void deliver_start(struct sink *s)
{
    while (s->ready.n > 0 && s->putting.n < s->config.puts_max) {
        struct delivery *d = delivery_first(&s->ready);

        if (delivery_paused(d))
            delivery_hold(d, &s->ready);
        else
            put_start(s, d);
    }
}
