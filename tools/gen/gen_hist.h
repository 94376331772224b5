/*
 * HOT. Latency histogram with buckets that grow with the value: 128 linear buckets per power of
 * two, so a reported percentile is at most 0.8 % too high, over any range, in fixed memory.
 */
#ifndef GEN_HIST_H
#define GEN_HIST_H

#include <stdbool.h>
#include <stdint.h>

enum {
    GEN_HIST_LINEAR_BITS = 7,
    GEN_HIST_VALUE_BITS = 42, /* 2^42 ns is 73 minutes; larger values count as this */
    GEN_HIST_BUCKETS = (GEN_HIST_VALUE_BITS - GEN_HIST_LINEAR_BITS + 1) << GEN_HIST_LINEAR_BITS,
};

struct gen_hist {
    uint64_t count;
    int64_t max_ns; /* exact */
    uint64_t _buckets[GEN_HIST_BUCKETS];
};

/**
 * Adds one value; negative counts as 0.
 * Thread: the owner of h.  Alloc: none.
 */
void gen_hist_add(struct gen_hist *h, int64_t ns);

/**
 * Adds everything in from to h.
 * Thread: the owner of both.  Alloc: none.
 */
void gen_hist_merge(struct gen_hist *h, const struct gen_hist *from);

/**
 * The value that percent of all values do not exceed; percent within 0..100.
 * Thread: the owner of h.  Alloc: none.
 * @return nanoseconds; 0 when h is empty.
 */
int64_t gen_hist_percentile(const struct gen_hist *h, double percent);

/** One step of a walk through a histogram. */
struct gen_hist_step {
    int64_t top_ns; /* the largest value that it stands for */
    uint64_t count; /* values above the step before, up to top_ns */
    uint32_t _bucket;
};

/**
 * Goes on to the next step that is not empty; there are eight a power of two. Begin with a step that
 * is all zero. Thread: the owner of h.  Alloc: none.
 * @return false at the end.
 */
bool gen_hist_next(const struct gen_hist *h, struct gen_hist_step *step);

#endif
