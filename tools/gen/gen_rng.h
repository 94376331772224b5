/*
 * HOT. Random numbers per event. The state is a function of (seed, sequence number) alone, so an
 * event has the same contents whichever thread makes it and in whatever order. splitmix64: one
 * multiply-xor chain a draw, no state to share.
 */
#ifndef GEN_RNG_H
#define GEN_RNG_H

#include <stdint.h>

struct gen_rng {
    uint64_t _state;
};

/**
 * Starts the stream of event number seq under seed.
 * Thread: any.  Alloc: none.
 */
static inline struct gen_rng gen_rng_at(uint64_t seed, uint64_t seq);

/**
 * Next 64 random bits.
 * Thread: the owner of r.  Alloc: none.
 */
static inline uint64_t gen_rng_next(struct gen_rng *r);

/**
 * Uniform number in 0..n-1; n is at least 1. Costs one draw.
 * Thread: the owner of r.  Alloc: none.
 */
static inline uint32_t gen_rng_below(struct gen_rng *r, uint32_t n);

/** Scrambles the bits of x. Thread: any. */
static inline uint64_t gen_rng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline struct gen_rng gen_rng_at(uint64_t seed, uint64_t seq)
{
    /* Two mixes, so that neighbouring seeds do not give shifted copies of one stream. */
    return (struct gen_rng){gen_rng_mix(gen_rng_mix(seed + UINT64_C(0x9e3779b97f4a7c15)) ^ seq)};
}

static inline uint64_t gen_rng_next(struct gen_rng *r)
{
    r->_state += UINT64_C(0x9e3779b97f4a7c15);
    return gen_rng_mix(r->_state);
}

static inline uint32_t gen_rng_below(struct gen_rng *r, uint32_t n)
{
    return (uint32_t)(((gen_rng_next(r) >> 32) * n) >> 32);
}

#endif
