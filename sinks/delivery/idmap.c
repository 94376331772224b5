/* COLD. See idmap.h. Kept at most half full, so that probes stay short. */
#include "sinks/delivery/idmap.h"

#include <stdlib.h>

#define SLOTS_MIN 64

void *must_malloc(size_t len)
{
    void *p = malloc(len > 0 ? len : 1);

    ASSERT(p != NULL);
    return p;
}

static size_t home(const struct idmap *m, uint64_t id)
{
    ASSERT(m->slots > 0 && (m->slots & (m->slots - 1)) == 0);
    return (size_t)hash_mix(id) & (m->slots - 1);
}

static size_t find(const struct idmap *m, uint64_t id)
{
    size_t i = home(m, id);

    while (m->slot[i].id != 0 && m->slot[i].id != id)
        i = (i + 1) & (m->slots - 1);
    return i;
}

void *idmap_get(const struct idmap *m, uint64_t id)
{
    size_t i;

    ASSERT(2 * m->count <= m->slots); /* or find() would not end */
    if (m->slots == 0 || id == 0)
        return NULL;
    i = find(m, id);
    return m->slot[i].id == id ? m->slot[i].value : NULL;
}

static void grow(struct idmap *m)
{
    struct idmap bigger = {.slots = m->slots == 0 ? SLOTS_MIN : 2 * m->slots, .count = m->count};

    bigger.slot = calloc(bigger.slots, sizeof(*bigger.slot));
    ASSERT(bigger.slot != NULL);
    for (size_t i = 0; i < m->slots; i++) {
        if (m->slot[i].id != 0)
            bigger.slot[find(&bigger, m->slot[i].id)] = m->slot[i];
    }
    free(m->slot);
    *m = bigger;
    ASSERT(2 * (m->count + 1) <= m->slots);
}

void idmap_put(struct idmap *m, uint64_t id, void *value)
{
    size_t i;

    ASSERT(id != 0 && value != NULL);
    if (2 * (m->count + 1) > m->slots)
        grow(m);
    i = find(m, id);
    ASSERT(m->slot[i].id == 0);
    m->slot[i] = (struct idmap_slot){.id = id, .value = value};
    m->count++;
}

/* Closes the gap: moves back every entry of the run that may not stay behind an empty slot. */
void idmap_remove(struct idmap *m, uint64_t id)
{
    size_t mask = m->slots - 1;
    size_t gap;

    ASSERT(m->count > 0);
    gap = find(m, id);
    ASSERT(m->slot[gap].id == id);
    for (size_t i = (gap + 1) & mask; m->slot[i].id != 0; i = (i + 1) & mask) {
        size_t want = home(m, m->slot[i].id);

        if (((i - want) & mask) >= ((i - gap) & mask)) {
            m->slot[gap] = m->slot[i];
            gap = i;
        }
    }
    m->slot[gap] = (struct idmap_slot){.id = 0, .value = NULL};
    m->count--;
}

static int by_id(const void *a, const void *b)
{
    const struct idmap_slot *x = a;
    const struct idmap_slot *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

void **idmap_sorted(const struct idmap *m)
{
    struct idmap_slot *all;
    void **out;
    size_t n = 0;

    if (m->count == 0)
        return NULL;
    all = must_malloc(m->count * sizeof(*all));
    for (size_t i = 0; i < m->slots; i++) {
        if (m->slot[i].id != 0)
            all[n++] = m->slot[i];
    }
    ASSERT(n == m->count);
    qsort(all, n, sizeof(*all), by_id);
    out = must_malloc(n * sizeof(*out));
    for (size_t i = 0; i < n; i++)
        out[i] = all[i].value;
    free(all);
    return out;
}

void idmap_fini(struct idmap *m)
{
    ASSERT(m != NULL);
    free(m->slot);
    *m = (struct idmap){0};
}
