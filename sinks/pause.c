/*
 * COLD. Paused sinks and types: their plans are held. They keep their bytes while memory is ample,
 * and are read again from the journals when not; the journal keeps their lines all the while. Loads
 * that a pause holds back wait with their table.
 */
#include "sinks/shelf.h"

bool delivery_paused(const struct delivery *d)
{
    ASSERT(d->route != NULL);
    if (d->to_spool) /* a pause keeps nothing from there */
        return false;
    if (d->inserts != NULL) /* a pause of bigquery holds its table: inserts_run() */
        return d->route->paused || (d->sink->gcs_paused && insert_job_has_letters(d));
    return d->sink->gcs_paused || d->route->paused;
}

void delivery_hold(struct delivery *d, struct delivery_list *from)
{
    struct sink *s = d->sink;

    ASSERT(delivery_paused(d));
    if (shelf_holds(d, from))
        return;
    insert_read_over(d);
    if (s->pool.n_free < s->pool.n_total / 2)
        content_drop(d);
    s->held_in_memory |= d->content != NULL;
    delivery_move(d, from, &s->held, DELIVERY_HELD);
}

void held_free_memory(struct sink *s)
{
    if (!s->held_in_memory)
        return;
    for (struct delivery *d = s->held.head.next; d != &s->held.head; d = d->next)
        content_drop(d);
    s->held_in_memory = false;
    ASSERT(s->pool.n_free <= s->pool.n_total);
}

bool held_too_many(const struct sink *s)
{
    return s->held.n > HELD_MAX;
}

bool load_paused(const struct table *t)
{
    const struct sink *s = t->sink;

    /* An attempt that may be at work at BigQuery is looked after to its end. */
    return s->bigquery_paused &&
           (t->state == TABLE_IDLE || t->load.attempt == 0 || t->load.attempt_done);
}

bool load_waits(const struct table *t)
{
    ASSERT(!t->held || t->loading.n > 0);
    return t->sink->bigquery_paused &&
           (t->held || (t->state == TABLE_IDLE && (t->debts.n > 0 || t->parts != NULL)));
}

/* What waits because of a pause goes on if it may. */
static void held_release(struct sink *s)
{
    struct delivery *d = s->held.head.next, *next;

    for (; d != &s->held.head; d = next) {
        next = d->next;
        if (delivery_paused(d))
            continue;
        deliver_ready(d, &s->held);
    }
    ASSERT(s->held.n == 0 || s->held.head.next != &s->held.head);
}

bool type_paused(const struct sink *s, struct span name)
{
    const struct live_type *t = s->settings != NULL ? live_type_find(s->settings, name) : NULL;

    return t != NULL && t->paused;
}

void pauses_take(struct sink *s)
{
    ASSERT(s->settings != NULL);
    s->gcs_paused = s->settings->sink.gcs_paused;
    s->bigquery_paused = s->settings->sink.bigquery_paused;
    if (s->types_version != s->settings->types_version) {
        s->types_version = s->settings->types_version;
        for (uint32_t i = 0; i < ROUTE_BUCKETS; i++) {
            for (struct type_route *r = s->route[i]; r != NULL; r = r->next)
                r->paused = type_paused(s, (struct span){r->name, r->name_len});
        }
    }
    held_release(s);
}
