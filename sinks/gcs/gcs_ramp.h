/*
 * The bucket's ramp: how many objects a second may be written (uploads and deletions together). A
 * bucket takes about 1,000 to begin with and grows with use, at most double every 20 minutes; who
 * goes faster is answered 429 and slows the bucket's growth.
 *
 *     limit = base --20 minutes in a row at 90 % of the limit--> doubled, and so on
 *     limit --429, rateLimitExceeded (once in ten seconds)--> halved, not below base
 *     limit --20 minutes below half of it--> halved, not below base
 *
 * One for all sink threads of a process. Each object takes the next free moment, so nobody is
 * passed over and nobody polls.
 *
 * Thread: any sink thread, lock-free.  Alloc: none.
 */
#ifndef PENSTOCK_GCS_RAMP_H
#define PENSTOCK_GCS_RAMP_H

#include <stdatomic.h>
#include <stdint.h>

#include "dataplane/base/compiler.h"

#define RAMP_MINUTES   20
#define RAMP_MINUTE_US INT64_C(60000000)
#define RAMP_BURST_US  INT64_C(250000) /* unused moments of the last quarter second may be used */
#define RAMP_FALL_US   INT64_C(10000000)
#define RAMP_PER_S_MAX UINT64_C(1000000)

/** Its fields are its own. */
struct gcs_ramp {
    uint64_t base_per_s;
    _Atomic uint64_t per_s;
    _Atomic int64_t next_ns;   /* monotonic: the next free moment */
    _Atomic int64_t minute_us; /* monotonic: when the minute under way began */
    _Atomic uint64_t used;     /* moments taken in it */
    _Atomic uint32_t full;     /* minutes in a row at the limit */
    _Atomic uint32_t slack;    /* minutes in a row below half of it */
    _Atomic int64_t fell_us;   /* monotonic: last halving by an answer; 0: never */
};

/** Sets it up. Thread: init. */
void gcs_ramp_init(struct gcs_ramp *r, uint64_t base_per_s, int64_t now_us);

/** Takes the next free moment. @return microseconds until then; 0: now. */
int64_t gcs_ramp_take(struct gcs_ramp *r, int64_t now_us) WARN_UNUSED;

/** The bucket answered that it is too much. */
void gcs_ramp_refused(struct gcs_ramp *r, int64_t now_us);

/** Objects a second now. */
uint64_t gcs_ramp_limit(const struct gcs_ramp *r);

#endif
