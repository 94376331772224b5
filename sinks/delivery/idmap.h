/*
 * A hash map from non-zero ids to pointers: open addressing, linear probing, no tombstones. Grows
 * with malloc.
 *
 * Thread: its owner only.  Owner: the map owns its table, never what the pointers lead to.
 */
#ifndef PENSTOCK_DELIVERY_IDMAP_H
#define PENSTOCK_DELIVERY_IDMAP_H

#include "dataplane/base/compiler.h"

struct idmap_slot {
    uint64_t id; /* 0: empty */
    void *value;
};

struct idmap {
    struct idmap_slot *slot;
    size_t slots; /* 0 or a power of two */
    size_t count;
};

/** The value of an id, or NULL. */
void *idmap_get(const struct idmap *m, uint64_t id);

/** Adds an id that is not there. */
void idmap_put(struct idmap *m, uint64_t id, void *value);

/** Removes an id that is there. */
void idmap_remove(struct idmap *m, uint64_t id);

/** Copies all values, by ascending id, into an array. @return it, for free(); NULL when the map is
 * empty. */
void **idmap_sorted(const struct idmap *m) WARN_UNUSED;

/** Frees the table. */
void idmap_fini(struct idmap *m);

/** malloc() that asserts: the delivery state cannot go on without its memory. */
void *must_malloc(size_t len) WARN_UNUSED;

/** 64-bit mix of an id or a hash. */
static inline uint64_t hash_mix(uint64_t v)
{
    v ^= v >> 33;
    v *= 0xff51afd7ed558ccdULL;
    v ^= v >> 33;
    v *= 0xc4ceb9fe1a85ec53ULL;
    return v ^ v >> 33;
}

#endif
