/*
 * COLD. Plans that are parked while a journal is in need: their lines move to the spool, so that the
 * journal can go on for the others. What is left of such a plan in memory is a small entry on the
 * *shelf* of its type and the way it goes; it comes back from its file when its way is tried again.
 *
 *     PARKED, HELD by a pause of its type, or waiting for an insertAll table that is stopped
 *        └─ a journal is half full ─> (read again) ─> SPOOLING ─ file and SPOOLED durable ─> on its shelf
 *     on its shelf ─ its turn ─> read from its file ─> READY ... ─ CONFIRM, INSERTED ─> file removed
 *                                                        └─ refused again ─> on its shelf
 *
 * A shelf is closed until one of its plans is stored: then one at a time is tried, each park_retry. An
 * open shelf sends all it has, oldest first, beside what is new. A plan of which insertAll has taken
 * some rows keeps its delivery, which knows them; only its lines move.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "sinks/shelf.h"

#define SPOOLING_MAX 64u /* plans on their way to the spool */
#define FETCHES_MAX  64u /* plans being read back */
#ifndef PARKED_MANY      /* the simulation's is small */
#define PARKED_MANY 1024u
#endif
#define LOOK_US         50000
#define STOPPED_US      10000000 /* that a plan has waited for a stopped insertAll table */
#define WRITE_AGAIN_US  15000000 /* after a file that could not be written: then one is tried */
#define FAILING_US      20000000 /* for so long a plan counts that could not be written */
#define FAILING_LOOK_US 1000000  /* how often those are looked for */

static_assert(SPOOLING_MAX + FETCHES_MAX < SPOOL_JOBS_MAX, "all of them fit, and removals too");

/** A plan being read from its file. */
struct fetch {
    struct fetch *prev, *next;
    struct sink *sink;
    struct spooled *entry;
    struct delivery *d; /* that has kept what it knows, or NULL: one is made */
    struct group *content;
    struct iovec *iov;
    struct plan plan;
    struct spool_job job;
};

/** A file being removed. */
struct removal {
    struct removal *next;
    struct sink *sink;
    bool submitted;
    struct spool_job job;
};

/* ---- shelves ---- */

static uint8_t shelf_kind(const struct plan_key *key)
{
    if (key->encoding == ENCODING_INSERT)
        return (uint8_t)(SHELF_INSERT + insert_form_of(key));
    if (key->kind == PLAN_DEAD)
        return SHELF_DEAD;
    return encoding_is_staged(key->encoding) ? SHELF_STAGING : SHELF_OUTPUT;
}

/* The shelf that a plan belongs to; NULL when it has none, or without memory. */
static struct shelf *shelf_of(struct sink *s, const struct plan_key *key, bool make)
{
    struct type_route *route = route_get(s, (struct span){key->type, key->type_len});
    uint8_t kind = shelf_kind(key);
    struct shelf *h;

    ASSERT(kind < SHELF_KINDS);
    if (route == NULL || route->shelf[kind] != NULL || !make)
        return route == NULL ? NULL : route->shelf[kind];
    h = aligned_alloc(CACHE_LINE_BYTES, align_up(sizeof(*h), CACHE_LINE_BYTES));
    if (h == NULL)
        return NULL;
    memset(h, 0, sizeof(*h));
    h->sink = s;
    h->route = route;
    h->kind = kind;
    h->inserts = kind >= SHELF_INSERT ? insert_table_of(s, key) : NULL;
    if (kind >= SHELF_INSERT && h->inserts == NULL) {
        free(h);
        return NULL;
    }
    memcpy(h->stats.type, route->name, route->name_len);
    h->stats.type_len = route->name_len;
    h->stats.way = kind >= SHELF_INSERT   ? "insert_all"
                   : kind == SHELF_DEAD   ? "dead_letter"
                   : kind == SHELF_OUTPUT ? "output"
                                          : "staging";
    h->next = atomic_load_explicit(&s->shelves, memory_order_relaxed);
    route->shelf[kind] = h;
    atomic_store_explicit(&s->shelves, h, memory_order_release); /* partner: sink_spool_next() */
    return h;
}

static uint64_t shelf_plans(const struct shelf *h)
{
    return (uint64_t)h->n + h->n_lost + h->under_way;
}

/* Whether nothing of it goes before a pause ends, or a stopped table's time comes. */
static bool shelf_is_stopped(const struct shelf *h)
{
    ASSERT((h->inserts != NULL) == (h->kind >= SHELF_INSERT));
    if (h->route->paused)
        return true;
    return h->inserts != NULL ? insert_is_stopped(h->inserts) : h->sink->gcs_paused;
}

static void shelf_stats(struct shelf *h)
{
    stat_set(&h->stats.plans, shelf_plans(h));
    stat_set(&h->stats.bytes, h->bytes);
    stat_set(&h->stats.events, h->events);
    stat_set(&h->stats.lost, h->n_lost);
    stat_set(&h->stats.open, h->open && !shelf_is_stopped(h) ? 1 : 0);
}

/* Behind all others: what was refused alone must not stand in front of what would be taken. */
static void shelf_put_last(struct shelf *h, struct spooled *e)
{
    e->next = NULL;
    if (h->last != NULL)
        h->last->next = e;
    else
        h->first = e;
    h->last = e;
    h->n++;
}

/* In order of ids: older plans first. They come nearly in order. */
static void shelf_put(struct shelf *h, struct spooled *e)
{
    struct spooled **at = &h->first;

    if (h->last != NULL && h->last->id < e->id)
        at = &h->last->next;
    while (*at != NULL && (*at)->id < e->id)
        at = &(*at)->next;
    e->next = *at;
    *at = e;
    if (e->next == NULL)
        h->last = e;
    h->n++;
}

static struct spooled *shelf_pop(struct shelf *h)
{
    struct spooled *e = h->first;

    ASSERT(e != NULL && h->n > 0);
    h->first = e->next;
    if (h->first == NULL)
        h->last = NULL;
    e->next = NULL;
    h->n--;
    return e;
}

static void shelf_close(struct shelf *h, const char *text)
{
    struct sink *s = h->sink;

    h->open = false;
    h->try_us = s->now_us + s->config.park_retry_us;
    snprintf(h->text, sizeof(h->text), "%s", text);
}

/* A new entry; with what its plan needs of its table's columns. */
static struct spooled *entry_new(struct sink *s, const struct plan *p, struct shelf *h)
{
    struct spooled *e = calloc(1, sizeof(*e));

    ASSERT(h != NULL && p->id != 0);
    if (e == NULL)
        return NULL;
    *e = (struct spooled){.shelf = h, .id = p->id, .bytes = p->bytes, .events = p->events};
    e->since_us = s->now_us;
    h->bytes += p->bytes;
    h->events += p->events;
    return e;
}

static void entry_version(struct spooled *e, struct columns *c, struct columns_version *v)
{
    ASSERT((c == NULL) == (v == NULL));
    e->columns = c;
    e->version = v;
    if (v != NULL)
        v->refs++;
}

static void entry_free(struct spooled *e)
{
    ASSERT(e->shelf->bytes >= e->bytes && e->shelf->events >= e->events);
    e->shelf->bytes -= e->bytes;
    e->shelf->events -= e->events;
    if (e->version != NULL)
        columns_release(e->columns, e->version);
    free(e);
}

/* ---- removing files ---- */

static void removal_done(struct spool_job *j)
{
    struct removal *r = container_of(j, struct removal, job), **at = &r->sink->removals;

    while (*at != r) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = r->next;
    free(r); /* a file that could not be removed is, at the next start */
}

static void removals_submit(struct sink *s)
{
    for (struct removal *r = s->removals; r != NULL && spool_ready(s->spool_port); r = r->next) {
        if (r->submitted)
            continue;
        r->submitted = true;
        spool_submit(s->spool_port, &r->job);
    }
}

static void file_remove(struct sink *s, uint64_t id)
{
    struct removal *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return; /* the next start does */
    r->sink = s;
    r->job = (struct spool_job){.action = SPOOL_REMOVE, .id = id, .done = removal_done};
    r->next = s->removals;
    s->removals = r;
    removals_submit(s);
}

/* ---- into the spool ---- */

/* It goes on as if nothing had been: to be sent, to wait, to be parked. */
static void spooling_ends(struct delivery *d, struct delivery_list *from)
{
    ASSERT(d->to_spool && d->sink->n_to_spool > 0);
    d->to_spool = false;
    d->sink->n_to_spool--;
    deliver_ready(d, from);
}

void shelf_give_up(struct delivery *d)
{
    if (!d->to_spool)
        return;
    d->to_spool = false;
    d->sink->n_to_spool--;
    d->spool_after_us = d->sink->now_us + d->sink->config.park_retry_us;
}

/* What is left of it is the entry. */
static void demote(struct delivery *d, struct spooled *e, struct delivery_list *from, bool refused)
{
    struct shelf *h = e->shelf;

    ASSERT(d->job == NULL);
    if (refused)
        shelf_put_last(h, e);
    else
        shelf_put(h, e);
    d->spooled = NULL;
    delivery_finish(d, from);
}

static void spooled_durable(struct sink *s, void *ctx)
{
    struct delivery *d = ctx;
    struct shelf *h = shelf_of(s, &d->plan.key, true);
    struct spooled *e = entry_new(s, &d->plan, h);

    ASSERT(e != NULL); /* some bytes; a restart finds the plan in the log */
    d->to_spool = false;
    s->n_to_spool--;
    entry_version(e, d->columns, d->version);
    e->since_us = d->since_us;
    if (h->text[0] == '\0' || d->text[0] != '\0')
        snprintf(h->text, sizeof(h->text), "%s", d->text);
    if (shelf_plans(h) == 0) {
        h->open = false;
        h->try_us = delivery_paused(d) ? s->now_us : s->now_us + s->config.park_retry_us;
        log_warn("spool", "events of type %.*s (%s) are kept aside: %s", h->stats.type_len,
                 h->stats.type, h->stats.way,
                 h->text[0] != '\0' ? h->text : "their way is paused, or stopped");
    }
    if (d->job == NULL) {
        demote(d, e, &s->spooling, false);
    } else {
        h->under_way++;
        d->spooled = e;
        content_drop(d);
        deliver_ready(d, &s->spooling);
    }
    shelf_stats(h);
}

static void write_done(struct spool_job *j)
{
    struct delivery *d = container_of(j, struct delivery, spool_job);
    struct sink *s = d->sink;
    struct record r = {.type = RECORD_SPOOLED, .plan_id = d->plan.id};
    struct shelf *h;

    if (j->result == 0) {
        s->spool_failing = false;
        record_submit(s, &r, spooled_durable, d);
        return;
    }
    s->spool_failing = true;
    s->spool_again_us = s->now_us + WRITE_AGAIN_US;
    d->spool_after_us = s->spool_again_us;
    h = shelf_of(s, &d->plan.key, true);
    if (h != NULL)
        h->failed_us = s->now_us;
    spooling_ends(d, &s->spooling);
}

void shelf_write(struct delivery *d, struct delivery_list *from)
{
    struct sink *s = d->sink;

    ASSERT(d->to_spool && d->content != NULL && d->spooled == NULL && !d->packed);
    free(d->iov);
    d->iov = calloc(d->content->n_chunks, sizeof(*d->iov));
    delivery_move(d, from, &s->spooling, DELIVERY_SPOOLING);
    if (d->iov == NULL || !spool_ready(s->spool_port)) {
        shelf_give_up(d);
        deliver_ready(d, &s->spooling);
        return;
    }
    d->spool_job = (struct spool_job){.action = SPOOL_WRITE,
                                      .id = d->plan.id,
                                      .plan = &d->plan,
                                      .iov = d->iov,
                                      .n_iov = group_iovec(d->content, d->iov),
                                      .done = write_done};
    spool_submit(s->spool_port, &d->spool_job);
}

/* Sends a plan there, to be read again first if need be. */
static void spool_begin(struct delivery *d, struct delivery_list *from)
{
    struct sink *s = d->sink;

    ASSERT(!d->to_spool && d->spooled == NULL && !d->resuming);
    loop_timer_cancel(s->loop, &d->retry);
    if (d->packed)
        content_drop(d);
    d->to_spool = true;
    s->n_to_spool++;
    d->state = DELIVERY_COLD;
    if (d->content != NULL)
        shelf_write(d, from);
    else
        delivery_move(d, from, &s->cold, DELIVERY_COLD);
}

static bool may_begin(const struct sink *s)
{
    return s->spool_need && s->config.spool_bytes > 0 &&
           s->n_to_spool < (s->spool_failing ? 1 : SPOOLING_MAX) && s->now_us >= s->spool_again_us;
}

bool shelf_takes(struct delivery *d)
{
    struct sink *s = d->sink;
    const struct shelf *h;

    if (s->spool_port == NULL || d->spooled != NULL || d->to_spool || d->inserts != NULL ||
        d->resuming || !may_begin(s) || s->now_us < d->spool_after_us)
        return false;
    h = shelf_of(s, &d->plan.key, false);
    return h != NULL && !h->open && shelf_plans(h) > h->n_lost;
}

void shelf_take_new(struct delivery *d, struct delivery_list *from)
{
    ASSERT(shelf_takes(d));
    spool_begin(d, from);
}

static bool is_due(const struct delivery *d)
{
    return !d->resuming && d->spooled == NULL && d->sink->now_us >= d->spool_after_us;
}

/* Plans of a list that are due, oldest in the list first. */
static void list_spool(struct sink *s, struct delivery_list *l, bool paused_only)
{
    struct delivery *d = l->head.next, *next;

    for (; d != &l->head && may_begin(s); d = next) {
        next = d->next;
        if (is_due(d) && (!paused_only || d->route->paused))
            spool_begin(d, l);
    }
}

static void table_spool(struct sink *s, struct insert_table *t)
{
    struct delivery *d = t->waiting.head.next, *next;

    ASSERT(insert_is_stopped(t));
    for (; d != &t->waiting.head && may_begin(s); d = next) {
        next = d->next;
        if (!is_due(d) || s->now_us - d->since_us < STOPPED_US)
            continue;
        t->waiting_rows -= insert_job_left(d);
        snprintf(d->text, sizeof(d->text), "%s", t->text);
        spool_begin(d, &t->waiting);
    }
}

/* Whether what is parked must not stay in the journals. */
static bool in_need(const struct sink *s)
{
    if (s->parked.n > PARKED_MANY || s->n_inserts > INSERTS_MAX / 4 ||
        (!s->gcs_paused && s->held.n > HELD_MAX / 4))
        return true;
    for (uint32_t i = 0; i < s->n_feeds; i++) {
        if (journal_half_full(s->feed[i].journal))
            return true;
    }
    return false;
}

static void spool_out(struct sink *s)
{
    s->spool_need = in_need(s);
    if (!may_begin(s))
        return;
    list_spool(s, &s->parked, false);
    if (!s->gcs_paused)
        list_spool(s, &s->held, true);
    for (struct insert_table *t = s->insert_tables; t != NULL && may_begin(s); t = t->next) {
        if (insert_is_stopped(t))
            table_spool(s, t);
    }
}

/* Marks the shelves of plans that should be in the spool. @return whether there are any. */
static bool list_failing(struct sink *s, const struct delivery_list *l, bool paused_only)
{
    bool any = false;

    for (const struct delivery *d = l->head.next; d != &l->head; d = d->next) {
        struct shelf *h;

        if (d->spooled != NULL || (paused_only && !d->route->paused))
            continue;
        h = shelf_of(s, &d->plan.key, true);
        if (h != NULL)
            h->failed_us = s->now_us;
        any = true;
    }
    return any;
}

/* While files cannot be written and a journal is in need: all that should go to the spool counts, not
 * only what is tried; and what would go there next. */
static void failing_look(struct sink *s)
{
    bool any;

    if (!s->spool_failing || !s->spool_need || s->now_us < s->failing_look_us)
        return;
    ASSERT(s->spool_port != NULL);
    s->failing_look_us = s->now_us + FAILING_LOOK_US;
    any = list_failing(s, &s->parked, false);
    if (!s->gcs_paused)
        any |= list_failing(s, &s->held, true);
    for (struct insert_table *t = s->insert_tables; t != NULL; t = t->next) {
        const struct delivery *d = delivery_first(&t->waiting);

        if (d != NULL && insert_is_stopped(t) && s->now_us - d->since_us >= STOPPED_US)
            any |= list_failing(s, &t->waiting, false);
    }
    for (struct shelf *h = atomic_load_explicit(&s->shelves, memory_order_relaxed);
         any && h != NULL; h = h->next) {
        if (shelf_plans(h) > 0 && (!h->open || shelf_is_stopped(h)))
            h->failed_us = s->now_us;
    }
}

/* ---- back from the spool ---- */

static void fetch_free(struct fetch *f)
{
    struct sink *s = f->sink;

    ASSERT(s->n_fetches > 0);
    if (f->prev != NULL)
        f->prev->next = f->next;
    else
        s->fetches = f->next;
    if (f->next != NULL)
        f->next->prev = f->prev;
    s->n_fetches--;
    group_free(&s->pool, f->content);
    free(f->iov);
    free(f);
}

/* Its file is missing or damaged: named, set aside, and looked for again. */
static void entry_lost(struct spooled *e, const char *text)
{
    struct shelf *h = e->shelf;

    if (!e->alarmed)
        log_error(
            "spool",
            "%llu events of type %.*s (plan %016llx) cannot be read from the spool: %s; nothing "
            "is sent: restore the file",
            (unsigned long long)e->events, h->stats.type_len, h->stats.type,
            (unsigned long long)e->id, text);
    e->alarmed = true;
    e->next = h->lost;
    h->lost = e;
    h->n_lost++;
    snprintf(h->lost_text, sizeof(h->lost_text), "plan %016llx in the spool: %s",
             (unsigned long long)e->id, text);
}

static void fetch_failed(struct fetch *f)
{
    struct spooled *e = f->entry;

    ASSERT(f->job.result != 0);
    if (f->d != NULL) {
        shelf_park(f->d, &f->sink->fetching, f->job.text);
        return;
    }
    e->shelf->under_way--;
    entry_lost(e, f->job.text);
}

static void fetch_done(struct spool_job *j)
{
    struct fetch *f = container_of(j, struct fetch, job);
    struct sink *s = f->sink;
    struct shelf *h = f->entry->shelf;
    struct delivery *d = f->d;

    if (j->result != 0) {
        fetch_failed(f);
        shelf_stats(h);
        fetch_free(f);
        return;
    }
    if (d == NULL)
        d = delivery_new(s, &f->plan);
    if (d == NULL) { /* memory: later */
        h->under_way--;
        shelf_put(h, f->entry);
        fetch_free(f);
        return;
    }
    d->since_us = f->entry->since_us;
    d->spooled = f->entry;
    d->content = f->content;
    d->content->lines = d->plan.lines;
    d->content->events = d->plan.events;
    f->content = NULL;
    deliver_ready(d, f->d != NULL ? &s->fetching : NULL);
    fetch_free(f);
}

static uint64_t chunks_of(uint64_t bytes)
{
    return bytes / sizeof(((struct chunk *)NULL)->data) + 1;
}

/* Whether group memory has room for a plan beside what others need: a quarter of it is left to them,
 * unless this is the only one that is back. */
static bool fits(const struct sink *s, uint64_t bytes)
{
    uint64_t need = chunks_of(bytes) + PACK_CHUNKS + s->reload_reserved;

    ASSERT(s->pool.n_free <= s->pool.n_total);
    return need + (s->n_back > 0 ? s->pool.n_total / 4 : 0) <= s->pool.n_free;
}

/* Starts to read a plan. @return false when that must be tried again later. */
static bool fetch_start(struct sink *s, struct spooled *e, struct delivery *d,
                        const struct plan_key *key)
{
    struct fetch *f;

    if (s->n_fetches >= FETCHES_MAX || !spool_ready(s->spool_port) || !fits(s, e->bytes))
        return false;
    f = calloc(1, sizeof(*f));
    if (f == NULL)
        return false;
    f->sink = s;
    f->entry = e;
    f->d = d;
    f->content = group_new(key, s->n_feeds);
    f->iov = calloc(chunks_of(e->bytes), sizeof(*f->iov));
    f->next = s->fetches;
    if (f->next != NULL)
        f->next->prev = f;
    s->fetches = f;
    s->n_fetches++;
    if (f->content == NULL || f->iov == NULL) {
        fetch_free(f);
        return false;
    }
    group_room(&s->pool, f->content, e->bytes);
    f->job = (struct spool_job){.action = SPOOL_READ,
                                .id = e->id,
                                .found = &f->plan,
                                .iov = f->iov,
                                .n_iov = group_iovec(f->content, f->iov),
                                .done = fetch_done};
    spool_submit(s->spool_port, &f->job);
    return true;
}

/* Deliveries that have kept what they know, and want their lines. */
static void fetch_kept(struct sink *s)
{
    struct delivery *d = s->fetching.head.next, *next;

    for (; d != &s->fetching.head; d = next) {
        next = d->next;
        if (d->state != DELIVERY_COLD)
            continue;
        if (!fetch_start(s, d->spooled, d, &d->plan.key))
            return;
        d->state = DELIVERY_RELOADING;
    }
}

/* How many of a shelf may be under way now. */
static uint32_t shelf_share(const struct shelf *h)
{
    const struct sink *s = h->sink;
    uint32_t share = s->config.puts_max / 4;

    if (shelf_is_stopped(h))
        return 0;
    if (h->inserts != NULL)
        return insert_limit(h->inserts);
    if (!s->may_send)
        return 0;
    if (!h->open)
        return s->now_us >= h->try_us ? 1 : 0;
    return share > 0 ? share : 1;
}

/* @return whether one was taken. */
static bool shelf_send(struct shelf *h)
{
    struct sink *s = h->sink;
    struct plan_key key;

    if (h->first == NULL || h->under_way >= shelf_share(h))
        return false;
    if (chunks_of(h->first->bytes) + PACK_CHUNKS > s->pool.n_total) {
        shelf_close(h, "an object in the spool is larger than group memory: raise group.memory");
        return false;
    }
    plan_key_init(&key, (struct span){h->route->name, h->route->name_len}, PLAN_EVENTS);
    if (!fetch_start(s, h->first, NULL, &key))
        return false;
    (void)shelf_pop(h);
    h->under_way++;
    s->n_back++;
    return true;
}

/* Somebody may have restored files. */
static void lost_look(struct shelf *h)
{
    struct sink *s = h->sink;

    if (h->lost == NULL || s->now_us < h->lost_us)
        return;
    h->lost_us = s->now_us + s->config.park_retry_us;
    while (h->lost != NULL) {
        struct spooled *e = h->lost;

        h->lost = e->next;
        h->n_lost--;
        shelf_put_last(h, e); /* however many are lost still: what is there goes first */
    }
}

static void shelves_look(struct sink *s)
{
    struct shelf *h = atomic_load_explicit(&s->shelves, memory_order_relaxed);
    uint64_t plans = 0;

    s->n_back = 0;
    for (; h != NULL; h = h->next) {
        s->n_back += h->under_way;
        lost_look(h);
        stat_set(&h->stats.failing, h->failed_us != 0 && s->spool_need && s->spool_failing &&
                                            s->now_us - h->failed_us < FAILING_US
                                        ? 1
                                        : 0);
        plans += shelf_plans(h);
        shelf_stats(h);
    }
    stat_set(&s->stats.plans_spooled, plans);
}

/* One of each shelf in turn, so that none starves the others. */
static void shelves_send(struct sink *s)
{
    bool more = true;

    while (more && s->n_fetches < FETCHES_MAX) {
        struct shelf *h = atomic_load_explicit(&s->shelves, memory_order_relaxed);

        for (more = false; h != NULL; h = h->next)
            more |= shelf_send(h);
    }
}

void shelves_run(struct sink *s)
{
    if (s->spool_port == NULL)
        return;
    spool_reap(s->spool_port);
    removals_submit(s);
    if (s->now_us < s->shelf_look_us)
        return;
    s->shelf_look_us = s->now_us + LOOK_US;
    spool_out(s);
    failing_look(s);
    shelves_look(s);
    fetch_kept(s);
    shelves_send(s);
}

/* ---- what becomes of those that came back ---- */

/* Back to its shelf. */
static void shelf_return(struct delivery *d, struct delivery_list *from, bool refused)
{
    struct spooled *e = d->spooled;

    ASSERT(e != NULL && e->shelf->under_way > 0);
    e->shelf->under_way--;
    insert_read_over(d);
    demote(d, e, from, refused);
    shelf_stats(e->shelf);
}

static void kept_retry(struct loop_timer *t)
{
    struct delivery *d = container_of(t, struct delivery, retry);

    ASSERT(d->state == DELIVERY_PARKED && d->spooled != NULL);
    deliver_ready(d, &d->sink->parked);
}

void shelf_park(struct delivery *d, struct delivery_list *from, const char *text)
{
    struct shelf *h = d->spooled->shelf;
    struct sink *s = d->sink;

    if (h->open || strcmp(h->text, text) != 0)
        log_error("sink", "parked: object %s (%llu events), kept in the spool: %s", d->plan.object,
                  (unsigned long long)d->plan.events, text);
    shelf_close(h, text);
    if (d->job == NULL) {
        shelf_return(d, from, true);
        return;
    }
    content_drop(d);
    insert_read_over(d);
    snprintf(d->text, sizeof(d->text), "%s", text);
    d->retry.fire = kept_retry;
    delivery_move(d, from, &s->parked, DELIVERY_PARKED);
    loop_timer_set(s->loop, &d->retry, s->config.park_retry_us);
}

bool shelf_holds(struct delivery *d, struct delivery_list *from)
{
    if (d->spooled == NULL || d->job != NULL)
        return false;
    ASSERT(!d->to_spool);
    shelf_return(d, from, false);
    return true;
}

void shelf_delivered(struct delivery *d)
{
    struct spooled *e = d->spooled;
    struct shelf *h = shelf_of(d->sink, &d->plan.key, false);

    /* Written before a crash, but not recorded: it went from the journals. */
    if (e == NULL && d->sink->spool_port != NULL && spool_has(d->sink->config.spool, d->plan.id))
        file_remove(d->sink, d->plan.id);
    if (h == NULL)
        return;
    if (!h->open && shelf_plans(h) > 0) {
        log_info("spool", "type %.*s (%s) is well again: %llu objects go out of the spool",
                 h->stats.type_len, h->stats.type, h->stats.way,
                 (unsigned long long)shelf_plans(h));
        h->open = true;
    }
    if (e == NULL)
        return;
    ASSERT(e->shelf == h && h->under_way > 0);
    h->under_way--;
    file_remove(d->sink, e->id);
    entry_free(e);
    d->spooled = NULL;
    if (shelf_plans(h) == 0)
        h->text[0] = '\0';
    shelf_stats(h);
    d->sink->shelf_look_us = 0; /* the next */
}

/* ---- what others ask ---- */

bool shelves_have_before(const struct sink *s, uint64_t id)
{
    const struct shelf *h = atomic_load_explicit(&s->shelves, memory_order_relaxed);

    for (; h != NULL; h = h->next) {
        if (h->open && h->first != NULL && h->first->id < id && shelf_share(h) > 0)
            return true;
    }
    return s->n_fetches > 0;
}

int64_t shelves_oldest(const struct sink *s, int64_t now_us)
{
    const struct shelf *h = atomic_load_explicit(&s->shelves, memory_order_relaxed);

    for (; h != NULL; h = h->next) {
        if (h->first != NULL && h->first->since_us < now_us)
            now_us = h->first->since_us;
        if (h->lost != NULL && h->lost->since_us < now_us)
            now_us = h->lost->since_us;
    }
    return now_us;
}

uint64_t shelves_parked(const struct sink *s)
{
    const struct shelf *h = atomic_load_explicit(&s->shelves, memory_order_relaxed);
    uint64_t n = 0;

    for (; h != NULL; h = h->next)
        n += h->open || h->route->paused ? h->n_lost : shelf_plans(h);
    return n;
}

static const char *shelf_why(const struct shelf *h)
{
    if (h->n_lost > 0)
        return h->lost_text;
    if (h->route->paused)
        return "the type is paused";
    if (h->inserts != NULL ? h->sink->bigquery_paused : h->sink->gcs_paused)
        return h->inserts != NULL ? "bigquery is paused" : "gcs is paused";
    if (h->inserts != NULL && shelf_is_stopped(h) && h->inserts->text[0] != '\0')
        return h->inserts->text;
    if (h->open && !shelf_is_stopped(h))
        return "being sent";
    return h->text[0] != '\0' ? h->text : "waits for its table";
}

void shelves_report(const struct sink *s, struct sink_report *out)
{
    const struct shelf *h = atomic_load_explicit(&s->shelves, memory_order_relaxed);

    for (; h != NULL && out->n_shelves < out->shelves_max; h = h->next) {
        struct sink_shelf_report *r;

        if (shelf_plans(h) == 0)
            continue;
        r = &out->shelf[out->n_shelves++];
        r->stats = &h->stats;
        snprintf(r->what, sizeof(r->what), "type %.*s (%s)", h->stats.type_len, h->stats.type,
                 h->stats.way);
        snprintf(r->text, sizeof(r->text), "%s", shelf_why(h));
    }
}

const struct sink_spool_stats *sink_spool_next(const struct sink *s,
                                               const struct sink_spool_stats *after)
{
    const struct shelf *h;

    if (after == NULL) /* partner: shelf_of() */
        h = atomic_load_explicit(&s->shelves, memory_order_acquire);
    else
        h = container_of(after, const struct shelf, stats)->next;
    ASSERT(h == NULL || h->sink == s);
    return h != NULL ? &h->stats : NULL;
}

/* ---- life ---- */

int shelf_resume(struct sink *s, const struct plan *plan, const char *text)
{
    struct shelf *h = shelf_of(s, &plan->key, true);
    struct spooled *e = h != NULL ? entry_new(s, plan, h) : NULL;

    if (e == NULL)
        return -ENOMEM;
    if (plan_has_rows(&plan->key)) {
        struct columns *c =
            route_columns(s, route_get(s, (struct span){h->route->name, h->route->name_len}));

        if (c == NULL)
            return -ENOMEM;
        entry_version(e, c, columns_find(c, plan->key.schema_hash));
    }
    if (h->text[0] == '\0')
        snprintf(h->text, sizeof(h->text), "%s", text);
    if (s->spool_port == NULL || !spool_has(s->config.spool, plan->id))
        entry_lost(e, "the file is missing");
    else
        shelf_put(h, e);
    shelf_stats(h);
    return 0;
}

static void entries_free(struct spooled *e)
{
    while (e != NULL) {
        struct spooled *next = e->next;

        free(e);
        e = next;
    }
}

void shelves_destroy(struct sink *s)
{
    while (s->fetches != NULL) {
        if (s->fetches->d == NULL)
            free(s->fetches->entry);
        fetch_free(s->fetches);
    }
    while (s->removals != NULL) {
        struct removal *r = s->removals;

        s->removals = r->next;
        free(r);
    }
    for (struct shelf *h = s->shelves, *next; h != NULL; h = next) {
        next = h->next;
        entries_free(h->first);
        entries_free(h->lost);
        free(h);
    }
    atomic_store_explicit(&s->shelves, NULL, memory_order_relaxed);
}
