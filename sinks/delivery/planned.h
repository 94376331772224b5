/*
 * How far each key is planned in each journal. Entries at or below a journal's floor are dropped,
 * so the map holds only what the floor does not say already.
 *
 * Thread: its owner only.  Owner: the map owns its entries.
 */
#ifndef PENSTOCK_DELIVERY_PLANNED_H
#define PENSTOCK_DELIVERY_PLANNED_H

#include "sinks/delivery/plan.h"

struct planned_entry {
    uint64_t hash;
    lsn_t to;
    uint32_t journal; /* index in the state */
    struct plan_key key;
};

struct planned_map {
    struct planned_entry **slot;
    size_t slots; /* 0 or a power of two */
    size_t count;
};

/** The `to` of a key in a journal; 0 when unknown. */
lsn_t planned_get(const struct planned_map *m, const struct plan_key *key, uint32_t journal);

/** Raises the `to` of a key in a journal; never lowers it. */
void planned_raise(struct planned_map *m, const struct plan_key *key, uint32_t journal, lsn_t to);

/** Drops the entries of a journal whose `to` is at or below floor. */
void planned_drop(struct planned_map *m, uint32_t journal, lsn_t floor);

/** The entries in a fixed order (journal, then key bytes). @return an array of m->count, for
 * free(), or NULL. */
struct planned_entry **planned_sorted(const struct planned_map *m) WARN_UNUSED;

/** Frees the map with its entries. */
void planned_fini(struct planned_map *m);

#endif
