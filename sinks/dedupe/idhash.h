/*
 * SipHash-2-4 with 128 bits of output, for ids of events. Keyed, so that nobody who sends events can
 * make two ids collide and have another's event removed as a duplicate.
 *
 * Thread: any.  Alloc: none.
 */
#ifndef PENSTOCK_DEDUPE_IDHASH_H
#define PENSTOCK_DEDUPE_IDHASH_H

#include <stdint.h>

#include "dataplane/base/span.h"

#define ID_KEY_BYTES 16

/** What is kept of an id. */
struct id_hash {
    uint64_t lo, hi;
};

/** The hash of text under a key. */
struct id_hash id_hash(const uint8_t key[ID_KEY_BYTES], struct span text);

/** Whether two hashes are equal. Thread: any. */
static inline bool id_hash_equal(struct id_hash a, struct id_hash b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

#endif
