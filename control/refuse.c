/*
 * COLD. The room of the spool. Past sinks.spool_bytes (or SPOOL_PLANS_MAX) the types that wait there are
 * refused, others never; they are taken again when an eighth of the room is free, or nothing of them is
 * left. The same holds while the spool cannot be written and a journal is in need. What was accepted
 * before is always kept.
 */
#include "control/refuse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "control/place.h"
#include "dataplane/base/log.h"

#define READ(counter) atomic_load_explicit(&(counter), memory_order_relaxed)

/* One type, one way, or all of its ways. */
struct waiting {
    struct tuning_refused type;
    uint64_t plans, bytes;
    bool closed, failing;
};

/* A growing list. */
struct waiting_list {
    struct waiting *item;
    uint32_t n, room;
};

static int compare(const struct tuning_refused *a, const struct tuning_refused *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int c = memcmp(a->name, b->name, n);

    return c != 0 ? c : (int)a->len - (int)b->len;
}

static int compare_waiting(const void *a, const void *b)
{
    return compare(&((const struct waiting *)a)->type, &((const struct waiting *)b)->type);
}

static void list_add(struct waiting_list *l, const struct sink_spool_stats *s)
{
    struct waiting *w;

    ASSERT(l->n <= l->room);
    if (l->n == l->room) {
        uint32_t room = l->room > 0 ? 2 * l->room : 64;
        struct waiting *larger = realloc(l->item, room * sizeof(*larger));

        if (larger == NULL)
            return; /* the next look finds it */
        l->item = larger;
        l->room = room;
    }
    w = &l->item[l->n++];
    *w = (struct waiting){
        .type = {.len = s->type_len},
        .plans = READ(s->plans),
        .bytes = READ(s->bytes),
        .closed = READ(s->open) == 0 && READ(s->plans) > 0,
        .failing = READ(s->failing) != 0,
    };
    memcpy(w->type.name, s->type, s->type_len);
}

/* All types that wait, by name. */
static struct waiting_list collect(const struct daemon *d)
{
    struct waiting_list l = {0};
    uint32_t kept = 0;

    for (uint32_t i = 0; i < d->n_sinks; i++) {
        const struct sink_spool_stats *s = NULL;

        while ((s = sink_spool_next(d->sink[i].sink, s)) != NULL)
            list_add(&l, s);
    }
    if (l.n > 0)
        qsort(l.item, l.n, sizeof(*l.item), compare_waiting);
    for (uint32_t i = 0; i < l.n; i++) {
        struct waiting *w = &l.item[i], *last = kept > 0 ? &l.item[kept - 1] : NULL;

        if (last == NULL || compare(&last->type, &w->type) != 0) {
            l.item[kept++] = *w;
            continue;
        }
        last->plans += w->plans;
        last->bytes += w->bytes;
        last->closed |= w->closed;
        last->failing |= w->failing;
    }
    l.n = kept;
    return l;
}

struct spool_total refuse_total(const struct daemon *d)
{
    struct spool_total t = {0};

    ASSERT(d != NULL);
    for (uint32_t i = 0; i < d->n_sinks; i++) {
        const struct sink_spool_stats *s = NULL;

        while ((s = sink_spool_next(d->sink[i].sink, s)) != NULL) {
            t.plans += READ(s->plans);
            t.bytes += READ(s->bytes);
            t.events += READ(s->events);
            t.lost += READ(s->lost);
        }
    }
    return t;
}

/* Whether a type is the next of a list, both being gone through in order. */
static bool is_next(const struct tuning_refused *list, uint32_t n, uint32_t *at,
                    const struct tuning_refused *type)
{
    while (*at < n && compare(&list[*at], type) < 0)
        ++*at;
    ASSERT(*at == 0 || compare(&list[*at - 1], type) < 0); /* types do not come twice */
    return *at < n && compare(&list[*at], type) == 0;
}

static void say(const struct waiting *w, bool refused, uint64_t limit)
{
    const char *name = w->type.len > 0 ? w->type.name : "(unknown)";
    int len = w->type.len > 0 ? w->type.len : 9;

    if (refused)
        log_warn("spool",
                 "events of type %.*s are refused from now on: %.1f MiB of them wait in the spool, "
                 "%s (sinks.spool_bytes: %.1f MiB)",
                 len, name, (double)w->bytes / (1 << 20),
                 w->failing ? "which cannot be written" : "which is full",
                 (double)limit / (1 << 20));
    else
        log_info("spool", "events of type %.*s are taken again", len, name);
}

/* The room that journals may still grow into is theirs. */
static void room_set(const struct daemon *d)
{
    uint64_t room = place_free_bytes(d->config->data_dir), taken = 0;
    uint64_t limit = d->config->journal_limit;

    for (uint32_t i = 0; i < d->n_journals; i++)
        taken += READ(journal_stats(d->journal[i])->total_bytes);
    limit = limit > taken ? limit - taken : 0;
    spool_set_room(d->spool, room > limit ? room - limit : 0);
}

void refuse_tick(struct daemon *d)
{
    uint64_t limit = tuning_number(d->tuning, "sinks.spool_bytes");
    struct spool_total total = refuse_total(d);
    bool full = limit > 0 && (total.bytes >= limit || total.plans >= SPOOL_PLANS_MAX);
    bool eased = total.bytes < limit - limit / 8 && total.plans < SPOOL_PLANS_MAX / 8 * 7;
    struct waiting_list l = collect(d);
    struct tuning_refused *was, *now = calloc(l.n + 1, sizeof(*now));
    uint32_t n_was = tuning_refusals(d->tuning, &was), at = 0, n = 0;

    ASSERT(d->spool != NULL);
    room_set(d);
    for (uint32_t i = 0; now != NULL && i < l.n; i++) {
        const struct waiting *w = &l.item[i];
        bool before = is_next(was, n_was, &at, &w->type);
        bool refused =
            limit > 0 && (w->failing || (w->plans > 0 && (before ? !eased : full && w->closed)));

        if (refused)
            now[n++] = w->type;
        if (refused != before)
            say(w, refused, limit);
    }
    if (now == NULL || tuning_refuse(d->tuning, now, n) != 0)
        log_warn("spool", "out of memory: what is refused does not change now");
    free(was);
    free(now);
    free(l.item);
}
