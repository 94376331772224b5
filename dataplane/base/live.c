/* COLD. The publisher's side of live.h; readers only load and store. */
#include "dataplane/base/live.h"

#include <errno.h>
#include <stdlib.h>

#define LEFT UINT64_MAX /* _seen of a thread that reads no more */

/* A version that some reader may still use. */
struct live_retired {
    struct live_retired *next;
    struct live_settings *settings;
};

int live_create(struct live_settings *first, struct live **out)
{
    struct live *l = aligned_alloc(CACHE_LINE_BYTES, align_up(sizeof(*l), CACHE_LINE_BYTES));

    ASSERT(first != NULL && out != NULL);
    if (l == NULL)
        return -ENOMEM;
    memset(l, 0, sizeof(*l));
    first->version = 1;
    atomic_store_explicit(&l->_current, first, memory_order_release); /* partner: live_read() */
    *out = l;
    return 0;
}

/* The oldest version that a reader may use: what it said last, or something newer. */
static uint64_t oldest_used(const struct live *l)
{
    uint64_t oldest = live_current(l)->version;

    ASSERT(oldest > 0);
    for (uint32_t i = 0; i < l->_n_readers; i++) {
        /* partner: live_read() */
        uint64_t seen = atomic_load_explicit(&l->_reader[i]._seen, memory_order_acquire);

        oldest = seen < oldest ? seen : oldest;
    }
    return oldest;
}

/* Frees retired versions below one. */
static void free_below(struct live *l, uint64_t version)
{
    struct live_retired **at = &l->_retired;

    ASSERT(version > 0);
    while (*at != NULL) {
        struct live_retired *r = *at;

        if (r->settings->version >= version) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        free(r->settings);
        free(r);
    }
}

void live_destroy(struct live *l)
{
    if (l == NULL)
        return;
    free_below(l, UINT64_MAX);
    ASSERT(l->_retired == NULL);
    free((void *)(uintptr_t)live_current(l));
    free(l);
}

struct live_reader *live_join(struct live *l)
{
    struct live_reader *r;

    ASSERT(l != NULL);
    if (l->_n_readers == LIVE_READERS_MAX)
        return NULL;
    r = &l->_reader[l->_n_readers++];
    r->_live = l;
    atomic_store_explicit(&r->_seen, live_current(l)->version, memory_order_relaxed);
    return r;
}

void live_leave(struct live_reader *r)
{
    ASSERT(r->_live != NULL);
    atomic_store_explicit(&r->_seen, LEFT, memory_order_release); /* partner: live_publish() */
}

void live_publish(struct live *l, struct live_settings *next)
{
    struct live_retired *r = malloc(sizeof(*r));
    const struct live_settings *last = live_current(l);

    ASSERT(r != NULL); /* 16 bytes */
    ASSERT(next != last);
    next->version = last->version + 1;
    *r = (struct live_retired){.next = l->_retired, .settings = (void *)(uintptr_t)last};
    l->_retired = r;
    atomic_store_explicit(&l->_current, next, memory_order_release); /* partner: live_read() */
    free_below(l, oldest_used(l));
}

const struct live_settings *live_current(const struct live *l)
{
    const struct live_settings *s = atomic_load_explicit(&l->_current, memory_order_relaxed);

    ASSERT(s != NULL);
    return s;
}

uint32_t live_behind(const struct live *l)
{
    uint64_t version = live_current(l)->version;
    uint32_t n = 0;

    ASSERT(l->_n_readers <= LIVE_READERS_MAX);
    for (uint32_t i = 0; i < l->_n_readers; i++)
        n += atomic_load_explicit(&l->_reader[i]._seen, memory_order_acquire) < version;
    return n;
}

uint32_t live_kept(const struct live *l)
{
    uint32_t n = 1;

    ASSERT(l != NULL);
    for (const struct live_retired *r = l->_retired; r != NULL; r = r->next)
        n++;
    return n;
}

static int name_compare(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;

    return c != 0 ? c : a.len < b.len ? -1 : a.len > b.len;
}

const struct live_type *live_type_find(const struct live_settings *s, struct span name)
{
    uint32_t low = 0, high = s->n_types;

    ASSERT(s->n_types == 0 || s->type != NULL);
    while (low < high) {
        uint32_t at = low + (high - low) / 2;
        int c = name_compare(s->type[at].name, name);

        if (c == 0)
            return &s->type[at];
        if (c < 0)
            low = at + 1;
        else
            high = at;
    }
    return NULL;
}
