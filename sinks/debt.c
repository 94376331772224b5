/*
 * COLD. Debts: confirmed objects that are still to be loaded, and staging objects that are to be
 * deleted after their load.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "sinks/sink_internal.h"

/** A staging object on its way out. */
struct staged {
    struct staged *prev, *next;
    struct sink *sink;
    struct debt *debt;
    struct gcs_delete delete;
    struct loop_timer retry;
};

struct debt *debt_new(const struct sink *s, const struct plan *plan)
{
    size_t name_len = strlen(plan->object);
    struct debt *d = calloc(1, sizeof(*d) + name_len + 1);

    ASSERT(name_len < sizeof(plan->object));
    if (d == NULL)
        return NULL;
    d->plan_id = plan->id;
    d->events = plan->events;
    d->bytes = plan->bytes;
    d->since_us = s->now_us;
    d->minute = plan->key.minute;
    d->crc32c = plan->crc32c;
    d->encoding = plan->key.encoding;
    d->gzip = plan->gzip;
    d->config = type_find(s->types, (struct span){plan->key.type, plan->key.type_len});
    memcpy(d->object, plan->object, name_len);
    return d;
}

void debt_push(struct debt_list *l, struct debt *d)
{
    ASSERT((l->last == NULL) == (l->n == 0));
    d->next = NULL;
    if (l->last != NULL)
        l->last->next = d;
    else
        l->first = d;
    l->last = d;
    l->n++;
}

struct debt *debt_pop(struct debt_list *l)
{
    struct debt *d = l->first;

    ASSERT((d == NULL) == (l->n == 0));
    if (d == NULL)
        return NULL;
    l->first = d->next;
    if (l->first == NULL)
        l->last = NULL;
    l->n--;
    d->next = NULL;
    return d;
}

struct debt *debt_copy(const struct debt *d)
{
    size_t bytes = sizeof(*d) + strlen(d->object) + 1;
    struct debt *copy = malloc(bytes);

    ASSERT(copy != NULL); /* a few hundred bytes; a restart finds the debt in the log */
    memcpy(copy, d, bytes);
    copy->next = NULL;
    return copy;
}

void debt_move_load(struct debt_list *from, struct debt_list *to, uint64_t load_id)
{
    struct debt_list all = *from;
    struct debt *d;
    const uint32_t n = from->n + to->n;

    *from = (struct debt_list){0};
    while ((d = debt_pop(&all)) != NULL)
        debt_push(d->load_id == load_id ? to : from, d);
    ASSERT(from->n + to->n == n);
}

bool debt_has_before(const struct debt_list *l, uint64_t id)
{
    for (const struct debt *d = l->first; d != NULL; d = d->next) {
        if (d->plan_id < id)
            return true;
    }
    return false;
}

void debt_list_free(struct debt_list *l)
{
    struct debt *d;

    while ((d = debt_pop(l)) != NULL)
        free(d);
}

/* ---- staging objects ---- */

static void staged_free(struct staged *g)
{
    ASSERT(g->prev != NULL || g->sink->staged == g);
    if (g->prev != NULL)
        g->prev->next = g->next;
    else
        g->sink->staged = g->next;
    if (g->next != NULL)
        g->next->prev = g->prev;
    loop_timer_cancel(g->sink->loop, &g->retry);
    free(g->debt);
    free(g);
}

static void gone_durable(struct sink *s, void *ctx)
{
    (void)s;
    staged_free(ctx);
}

static void delete_done(struct gcs_delete *delete, enum gcs_result result, const char *text)
{
    struct staged *g = container_of(delete, struct staged, delete);
    struct record r = {.type = RECORD_STAGING_GONE, .plan_id = g->debt->plan_id};

    ASSERT(delete->name == g->debt->object);

    if (result == GCS_DONE) {
        record_submit(g->sink, &r, gone_durable, g);
        return;
    }
    log_warn("sink", "staging object %s cannot be deleted: %s", g->debt->object, text);
    loop_timer_set(g->sink->loop, &g->retry, g->sink->config.park_retry_us);
}

static void delete_start(struct staged *g)
{
    ASSERT(encoding_is_staged(g->debt->encoding)); /* the archive stays */
    g->delete = (struct gcs_delete){.name = g->debt->object, .done = delete_done};
    if (gcs_delete_start(g->sink->gcs, &g->delete) < 0)
        loop_timer_set(g->sink->loop, &g->retry, g->sink->config.park_retry_us);
}

static void delete_retry(struct loop_timer *t)
{
    delete_start(container_of(t, struct staged, retry));
}

void staging_delete(struct sink *s, struct debt *d)
{
    struct staged *g = calloc(1, sizeof(*g));

    ASSERT(encoding_is_staged(d->encoding));
    ASSERT(g != NULL); /* a few hundred bytes; a restart finds the object in the log */
    g->sink = s;
    g->debt = d;
    g->retry.fire = delete_retry;
    g->next = s->staged;
    if (g->next != NULL)
        g->next->prev = g;
    s->staged = g;
    delete_start(g);
}

bool staging_has_before(const struct sink *s, uint64_t id)
{
    for (const struct staged *g = s->staged; g != NULL; g = g->next) {
        if (g->debt->plan_id < id)
            return true;
    }
    return false;
}

void staging_free(struct sink *s)
{
    while (s->staged != NULL)
        staged_free(s->staged);
}
