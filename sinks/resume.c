/*
 * COLD. Taking over from the run before: floors and plans of the delivery state become feeds,
 * deliveries and loads. Unconfirmed plans run again, byte for byte the same; lines that are planned
 * are not grouped again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "sinks/sink_internal.h"

/* What the visitors carry. */
struct resume {
    struct sink *sink;
    int rc;
    uint32_t plans, loads;
    struct delivery_list taken; /* plans that a load has taken, until that load is visited */
};

static int feed_of(const struct sink *s, const struct journal_uuid *uuid)
{
    for (uint32_t i = 0; i < s->n_feeds; i++) {
        if (memcmp(journal_uuid(s->feed[i].journal), uuid, sizeof(*uuid)) == 0)
            return (int)i;
    }
    return -1;
}

static bool key_owned(struct sink *s, const struct plan_key *key, int *rc)
{
    const struct type_route *route = route_get(s, (struct span){key->type, key->type_len});

    if (route == NULL) {
        *rc = -ENOMEM;
        return false;
    }
    return route->owned;
}

static void planned_visit(void *ctx, const struct plan_key *key, const struct journal_uuid *journal,
                          lsn_t to)
{
    struct resume *r = ctx;
    int feed = feed_of(r->sink, journal);

    if (r->rc == 0 && feed >= 0 && key_owned(r->sink, key, &r->rc))
        r->rc = planned_remember(r->sink, key, (uint32_t)feed, to);
}

static void plan_visit(void *ctx, const struct plan *plan, enum plan_status status,
                       uint64_t load_id, const char *text)
{
    struct resume *r = ctx;
    struct sink *s = r->sink;
    struct delivery *d;

    if (r->rc < 0 || !key_owned(s, &plan->key, &r->rc))
        return;
    d = delivery_new(s, plan);
    if (d == NULL) {
        r->rc = -ENOMEM;
        return;
    }
    r->plans++;
    d->load_id = load_id;
    snprintf(d->text, sizeof(d->text), "%s", text != NULL ? text : "");
    if (status == PLAN_CONFIRMED && load_id != 0)
        delivery_move(d, NULL, &r->taken, DELIVERY_LOADING);
    else if (status == PLAN_CONFIRMED)
        table_owe(d);
    else
        delivery_move(d, NULL, &s->cold, DELIVERY_COLD); /* parked ones are tried again at once */
}

/* A load that is done but for its staging objects. Its other plans have left the state. */
static void staging_resume(struct resume *r, uint64_t load_id)
{
    struct delivery *d, *next;

    for (d = r->taken.head.next; d != &r->taken.head; d = next) {
        next = d->next;
        if (d->load_id != load_id)
            continue;
        delivery_move(d, &r->taken, &r->sink->staged, DELIVERY_STAGED);
        staging_delete(d);
    }
}

/* A load that is not done: its plans go back to their table, in the order of the load. */
static struct table *loading_resume(struct resume *r, const struct load *load)
{
    struct table *t = NULL;
    struct delivery *d, *next;

    for (d = r->taken.head.next; d != &r->taken.head; d = next) {
        next = d->next;
        if (d->load_id != load->id)
            continue;
        t = d->table;
        delivery_move(d, &r->taken, &t->loading, DELIVERY_LOADING);
    }
    return t;
}

static void load_visit(void *ctx, const struct load *load, enum load_status status,
                       const char *text)
{
    struct resume *r = ctx;
    struct table *t;

    if (r->rc < 0)
        return;
    if (status == LOAD_DONE) {
        staging_resume(r, load->id);
        return;
    }
    t = loading_resume(r, load);
    if (t == NULL)
        return; /* another thread's */
    r->loads++;
    r->rc = table_take_over(t, load, status == LOAD_PARKED, text);
}

/* A parked plan is pending again for this run: the log hears of it with its next outcome. */
static int feeds_resume(struct sink *s, char *error, size_t error_len)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < s->n_feeds; i++) {
        const struct journal *j = s->feed[i].journal;
        lsn_t floor = state_floor(dlog_state(s->dlog), journal_uuid(j));

        if (dlog_is_new(s->dlog) && journal_durable(j) != 0) {
            snprintf(
                error, error_len,
                "journal %s holds events, but the delivery log that says which of them are "
                "delivered is gone: delivering them again could double them. Restore the delivery "
                "log, or move the journals away",
                journal_dir(j));
            return -EUCLEAN;
        }
        rc = feed_init(s, i, j, floor, error, error_len);
    }
    return rc;
}

int sink_resume(struct sink *s, char *error, size_t error_len)
{
    const struct delivery_state *state = dlog_state(s->dlog);
    struct resume r = {.sink = s};

    delivery_list_init(&r.taken);
    r.rc = feeds_resume(s, error, error_len);
    if (r.rc < 0)
        return r.rc;
    state_each_planned(state, planned_visit, &r);
    state_each_plan(state, plan_visit, &r);
    state_each_load(state, load_visit, &r);
    ASSERT(r.rc < 0 || r.taken.n == 0);
    if (r.rc < 0)
        snprintf(error, error_len, "out of memory while taking over the delivery state");
    else if (r.plans + r.loads > 0)
        log_info("sink", "thread %u takes over %u plans and %u loads", s->config.index, r.plans,
                 r.loads);
    return r.rc;
}
