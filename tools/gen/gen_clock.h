/* HOT. The monotonic clock. */
#ifndef GEN_CLOCK_H
#define GEN_CLOCK_H

#include <stdint.h>
#include <time.h>

#define GEN_NS_A_SECOND INT64_C(1000000000)
#define GEN_NS_A_MS     INT64_C(1000000)

/**
 * Nanoseconds of CLOCK_MONOTONIC.
 * Thread: any.  Alloc: none.
 */
static inline int64_t gen_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * GEN_NS_A_SECOND + now.tv_nsec;
}

#endif
