/* HOT. See idwindow.h. */
#include "sinks/dedupe/idwindow.h"

#include <errno.h>

#include "dataplane/base/mem.h"

#define AHEAD \
    16 /* evictions whose slot is fetched beforehand: one at a time each waits for memory */

/* A power of two that leaves at least a third of the slots free. */
static uint32_t index_bits(uint32_t ids_max)
{
    uint32_t bits = 4;

    while (((uint64_t)1 << bits) * 2 < (uint64_t)ids_max * 3)
        bits++;
    ASSERT(bits < 32);
    return bits;
}

uint64_t id_window_bytes(uint32_t ids_max)
{
    ASSERT(ids_max > 0 && ids_max <= ID_WINDOW_MAX);
    return (uint64_t)ids_max * sizeof(struct id_entry) +
           ((uint64_t)sizeof(uint64_t) << index_bits(ids_max));
}

static size_t ring_bytes(const struct id_window *w)
{
    return (size_t)w->ids_max * sizeof(*w->ring);
}

static size_t slots_bytes(const struct id_window *w)
{
    return sizeof(*w->slot) << w->bits;
}

int id_window_create(struct id_window *w, uint32_t ids_max, int64_t window_us)
{
    ASSERT(ids_max > 0 && ids_max <= ID_WINDOW_MAX && window_us > 0);
    *w =
        (struct id_window){.ids_max = ids_max, .window_us = window_us, .bits = index_bits(ids_max)};
    w->ring = mem_reserve(ring_bytes(w));
    w->slot = mem_reserve(slots_bytes(w));
    if (w->ring != NULL && w->slot != NULL)
        return 0;
    id_window_destroy(w);
    return -ENOMEM;
}

int id_window_populate(struct id_window *w, const _Atomic bool *stop)
{
    int rc = mem_populate(w->slot, slots_bytes(w), stop);

    ASSERT(w->ring != NULL && w->slot != NULL);
    return rc < 0 ? rc : mem_populate(w->ring, ring_bytes(w), stop);
}

void id_window_destroy(struct id_window *w)
{
    ASSERT(w->next - w->tail <= w->ids_max);
    mem_release(w->ring, ring_bytes(w));
    mem_release(w->slot, slots_bytes(w));
    w->ring = NULL;
    w->slot = NULL;
}

static inline uint32_t tag_of(struct id_hash h)
{
    return (uint32_t)(h.lo >> 32);
}

static inline uint64_t home_of(const struct id_window *w, uint32_t tag)
{
    return tag >> (32 - w->bits);
}

static inline uint64_t mask_of(const struct id_window *w)
{
    return ((uint64_t)1 << w->bits) - 1;
}

static inline uint32_t place_of(const struct id_window *w, uint64_t position)
{
    return (uint32_t)(position % w->ids_max);
}

void id_window_prefetch(const struct id_window *w, struct id_hash h)
{
    __builtin_prefetch(&w->slot[home_of(w, tag_of(h))], 1);
}

bool id_window_has(const struct id_window *w, struct id_hash h, int64_t time_us)
{
    uint32_t tag = tag_of(h);

    for (uint64_t i = home_of(w, tag); w->slot[i] != 0; i = (i + 1) & mask_of(w)) {
        const struct id_entry *e;
        int64_t apart;

        if ((uint32_t)(w->slot[i] >> 32) != tag)
            continue;
        e = &w->ring[(uint32_t)w->slot[i] - 1];
        ASSERT_HOT((uint32_t)w->slot[i] <= w->ids_max);
        apart = time_us > e->time_us ? time_us - e->time_us : e->time_us - time_us;
        if (id_hash_equal(e->hash, h) && apart < w->window_us)
            return true;
    }
    return false;
}

/* Closes the hole at i: what probed past it moves back. */
static void slot_remove(struct id_window *w, uint64_t i)
{
    uint64_t mask = mask_of(w);

    ASSERT_HOT(w->slot[i] != 0);
    for (uint64_t j = (i + 1) & mask; w->slot[j] != 0; j = (j + 1) & mask) {
        uint64_t home = home_of(w, (uint32_t)(w->slot[j] >> 32));

        if (((j - home) & mask) >= ((j - i) & mask)) {
            w->slot[i] = w->slot[j];
            i = j;
        }
    }
    w->slot[i] = 0;
}

static void evict(struct id_window *w)
{
    uint32_t place = place_of(w, w->tail);
    uint32_t tag = tag_of(w->ring[place].hash);
    uint64_t want = (uint64_t)tag << 32 | (place + 1u);
    uint64_t i = home_of(w, tag);

    ASSERT_HOT(w->tail < w->next);
    __builtin_prefetch(&w->slot[home_of(w, tag_of(w->ring[place_of(w, w->tail + AHEAD)].hash))], 1);
    while (w->slot[i] != want) {
        ASSERT_HOT(w->slot[i] != 0); /* each id of the ring is in the index */
        i = (i + 1) & mask_of(w);
    }
    slot_remove(w, i);
    w->tail++;
}

static void evict_counted(struct id_window *w, int64_t now_us)
{
    const struct id_entry *e = &w->ring[place_of(w, w->tail)];

    ASSERT_HOT(w->tail < w->next);
    if (now_us - e->time_us < w->window_us) {
        w->evicted++;
        w->evicted_us = e->time_us > w->evicted_us ? e->time_us : w->evicted_us;
    }
    evict(w);
}

void id_window_add(struct id_window *w, struct id_hash h, int64_t time_us, int64_t now_us)
{
    uint32_t tag = tag_of(h), place;
    uint64_t i;

    if (w->next - w->tail == w->ids_max)
        evict_counted(w, now_us);
    ASSERT_HOT(w->next - w->tail < w->ids_max);
    place = place_of(w, w->next++);
    w->ring[place] = (struct id_entry){.hash = h, .time_us = time_us};
    i = home_of(w, tag);
    while (w->slot[i] != 0)
        i = (i + 1) & mask_of(w);
    w->slot[i] = (uint64_t)tag << 32 | (place + 1u);
}

void id_window_drop(struct id_window *w, uint64_t to, int64_t now_us)
{
    ASSERT(to <= w->next);
    while (w->tail < to)
        evict_counted(w, now_us);
}

void id_window_expire(struct id_window *w, int64_t low_us)
{
    ASSERT(w->tail <= w->next);
    while (w->tail < w->next && low_us - w->ring[place_of(w, w->tail)].time_us >= w->window_us)
        evict(w);
}

int64_t id_window_oldest(const struct id_window *w)
{
    ASSERT(w->tail <= w->next);
    return w->tail < w->next ? w->ring[place_of(w, w->tail)].time_us : INT64_MAX;
}
