/*
 * A worker's event types: a hash from names to slots, filled from the configuration at start and by
 * the events themselves afterwards, in memory that is fixed at start. No other thread writes it.
 */
#ifndef PENSTOCK_TYPES_H
#define PENSTOCK_TYPES_H

#include "dataplane/block/block.h"
#include "dataplane/worker.h"

/** One type: what is shared with readers, and what only the worker uses. */
struct type_slot {
    /* Of each event. */
    alignas(CACHE_LINE_BYTES) struct block_ring events;
    struct worker_type *shown;
    const struct schema *schema; /* its events are checked against; NULL: none */
    uint32_t sampling_ppm;       /* of its events are kept */
    int8_t time_path;            /* index of its time field in the JSON paths; -1: none */
    bool listed;                 /* it is configured */
    bool rows;                   /* type_has_rows() */
    bool strict;                 /* fields that the schema does not name: dead letter */
    /* Seldom. */
    const struct type_config *config; /* NULL: not configured */
    struct block_ring dead;
};
static_assert(offsetof(struct type_slot, config) == CACHE_LINE_BYTES, "one line an event");

#define TYPES_AT_ONCE_MAX 32

struct types;

/** Bytes that types_create() takes. Thread: init. */
uint64_t types_memory_bytes(uint32_t types_max);

/** Creates the table with all configured types in it. Thread: init. @return 0 or -ENOMEM. */
int types_create(const struct type_set *set, uint32_t types_max, struct types **out) WARN_UNUSED;

/** mem_populate() for it. Thread: worker, before its first event. */
int types_populate(struct types *t) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: control, when the worker has ended. */
void types_destroy(struct types *t);

/**
 * Finds a type, or adds it.
 * Thread: worker.  Alloc: none.
 * @param name 1 to TYPE_NAME_BYTES_MAX raw bytes.
 * @return NULL when it is new and the table is full.
 */
struct type_slot *types_get(struct types *t, struct span name);

/**
 * Finds many types at once. With thousands of them each look-up is a row of cache misses; side by side
 * they take little more time than one.
 * Thread: worker.  Alloc: none.
 * @param name 0 to TYPES_AT_ONCE_MAX of them, each 0 to TYPE_NAME_BYTES_MAX raw bytes.
 * @param out receives the slot of each; NULL where there is none yet.
 */
void types_find(const struct types *t, const struct span *name, uint32_t n, struct type_slot **out);

/** The slot for dead letters whose type is unknown. Thread: worker. */
struct type_slot *types_unknown(struct types *t);

/** Follows settings that changed; s stays valid until the next call. Thread: worker. */
void types_follow(struct types *t, const struct live_settings *s);

/** What is refused of each type; NULL when nothing is. Valid until types_follow(). Thread: worker. */
const struct live_settings *types_refusing(const struct types *t);

/** Shown slots for readers: *n are valid. Thread: any (acquire). */
const struct worker_type *types_shown(const struct types *t, uint32_t *n);

/** Sets the time path of every slot, configured ones by their own field. Thread: init. */
void types_set_time_path(struct types *t, int default_path,
                         int (*path_of)(void *ctx, const char *field), void *ctx);

#endif
