/* Counters with one writer: plain adds that other threads may read at any time. */
#ifndef PENSTOCK_STATS_H
#define PENSTOCK_STATS_H

#include <stdatomic.h>
#include <stdint.h>

/** Adds to a counter that only this thread writes: no locked instruction. Thread: the counter's
 * writer. */
static inline void stat_add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

/** Sets a gauge. Thread: its writer. */
static inline void stat_set(_Atomic uint64_t *gauge, uint64_t v)
{
    atomic_store_explicit(gauge, v, memory_order_relaxed);
}

#endif
