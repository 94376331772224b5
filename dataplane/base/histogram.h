/*
 * Durations in buckets that grow by an eighth of a power of two: a quantile is at most 12.5 % too
 * large. One thread adds, any reads (relaxed); a reader sums several into a copy of its own.
 */
#ifndef PENSTOCK_BASE_HISTOGRAM_H
#define PENSTOCK_BASE_HISTOGRAM_H

#include "dataplane/base/compiler.h"
#include "dataplane/base/stats.h"

#define HISTOGRAM_MAX     ((UINT64_C(1) << 37) - 1) /* larger values count as this: 38 hours of us */
#define HISTOGRAM_BUCKETS 280u

/** Written by one thread. */
struct histogram {
    _Atomic uint64_t _bucket[HISTOGRAM_BUCKETS];
    _Atomic uint64_t _sum;
};

/** A reader's sum of histograms. Zero it before use. */
struct histogram_copy {
    uint64_t bucket[HISTOGRAM_BUCKETS];
    uint64_t sum, n;
};

/** Adds what a histogram holds to a copy. Thread: any. */
void histogram_read(const struct histogram *h, struct histogram_copy *to);

/** Takes away what an earlier copy held: what was added in between is left. Thread: any. */
void histogram_since(struct histogram_copy *now, const struct histogram_copy *earlier);

/** The value that a part (0 to 1) of all does not exceed; 0 without any. Thread: any. */
uint64_t histogram_quantile(const struct histogram_copy *c, double part);

/** How many are below a power of two. Thread: any. */
uint64_t histogram_below(const struct histogram_copy *c, uint64_t power_of_two);

/** The bucket of a value. Thread: any. */
static inline uint32_t histogram_bucket(uint64_t v)
{
    uint32_t top;

    v = v < HISTOGRAM_MAX ? v : HISTOGRAM_MAX;
    if (v < 8)
        return (uint32_t)v;
    top = 63 - (uint32_t)__builtin_clzll(v); /* 3 to 36 */
    return (top - 2) * 8 + (uint32_t)(v >> (top - 3) & 7);
}

/** Adds a value. Thread: the histogram's writer.  Alloc: none. */
static inline void histogram_add(struct histogram *h, uint64_t v)
{
    stat_add(&h->_bucket[histogram_bucket(v)], 1);
    stat_add(&h->_sum, v);
}

#endif
