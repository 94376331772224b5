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

/* The table whose load has taken this plan: the plan waits there, in load order. */
static void into_load(struct delivery *d)
{
    delivery_move(d, NULL, &d->table->loading, DELIVERY_LOADING);
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
    snprintf(d->text, sizeof(d->text), "%s", text != NULL ? text : "");
    if (status == PLAN_CONFIRMED && load_id != 0)
        into_load(d);
    else if (status == PLAN_CONFIRMED)
        table_owe(d);
    else
        delivery_move(d, NULL, &s->cold, DELIVERY_COLD); /* parked ones are tried again at once */
}

static void load_visit(void *ctx, const struct load *load, enum load_status status,
                       const char *text)
{
    struct resume *r = ctx;
    struct sink *s = r->sink;
    struct table *t = s->tables;
    struct delivery *d;

    while (t != NULL && strcmp(t->name, load->table) != 0)
        t = t->next;
    if (r->rc < 0 || t == NULL || t->loading.n == 0)
        return; /* another thread's */
    r->loads++;
    if (status != LOAD_DONE) {
        r->rc = table_take_over(s, load, status == LOAD_PARKED, text);
        return;
    }
    while ((d = delivery_first(&t->loading)) != NULL) { /* only its staging objects are left */
        delivery_move(d, &t->loading, &s->staged, DELIVERY_STAGED);
        staging_delete(d);
    }
}

/* A parked plan is pending again for this run: the log hears of it with its next outcome. */
static int feeds_resume(struct sink *s, char *error, size_t error_len)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < s->n_feeds; i++) {
        const struct journal *j = s->feed[i].journal;
        lsn_t floor = state_floor(dlog_state(s->dlog), journal_uuid(j));

        rc = feed_init(s, i, j, floor, error, error_len);
    }
    return rc;
}

int sink_resume(struct sink *s, char *error, size_t error_len)
{
    const struct delivery_state *state = dlog_state(s->dlog);
    struct resume r = {.sink = s};

    r.rc = feeds_resume(s, error, error_len);
    if (r.rc < 0)
        return r.rc;
    state_each_planned(state, planned_visit, &r);
    state_each_plan(state, plan_visit, &r);
    state_each_load(state, load_visit, &r);
    if (r.rc < 0)
        snprintf(error, error_len, "out of memory while taking over the delivery state");
    else if (r.plans + r.loads > 0)
        log_info("sink", "thread %u takes over %u plans and %u loads", s->config.index, r.plans,
                 r.loads);
    return r.rc;
}
