/*
 * HOT. Which events a sampled type keeps.
 *
 * Thread: any.  Alloc: none.
 */
#ifndef PENSTOCK_SAMPLING_H
#define PENSTOCK_SAMPLING_H

#include "dataplane/base/crc32c.h"
#include "dataplane/base/live.h"

/**
 * Whether ppm of a million events include this one. It follows from its bytes: the same event has the same
 * fate on every worker and when a client sends it again, and what a tenth keeps a fifth keeps too.
 */
static inline bool sampling_keeps(uint32_t ppm, struct span event)
{
    uint32_t h = crc32c(0, event.ptr, event.len);

    ASSERT_HOT(ppm <= LIVE_SAMPLING_ALL);
    h = (h ^ (h >> 16)) * 0x85ebca6bu; /* a CRC is linear: this is murmur's last step */
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    h ^= h >> 16;
    return ((uint64_t)h * LIVE_SAMPLING_ALL) >> 32 < ppm;
}

#endif
