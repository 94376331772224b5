/*
 * Compresses the content of a group, in slices that leave the sink loop its turn, and in the
 * group's own memory: chunks that were read go back to the pool, and what comes out takes no more
 * than they did. So compressing needs one zlib state and PACK_CHUNKS free chunks, whatever the
 * plans are.
 *
 * Thread: the sink thread's.
 */
#ifndef PENSTOCK_PACK_H
#define PENSTOCK_PACK_H

#include "sinks/group.h"

#define PACK_CHUNKS     8u                  /* free chunks that others must leave it */
#define PACK_STEP_BYTES ((size_t)128 << 10) /* of input a step: one to four milliseconds */

struct packer;

enum pack_result {
    PACK_MORE, /* call again */
    PACK_WAIT, /* no chunk is free: call again when some are */
    PACK_DONE,
};

/** What one group became. */
struct pack_summary {
    uint64_t plain_bytes, bytes;
    uint32_t plain_crc32c, crc32c;
};

/** Takes the memory. Alloc: heap, 300 KiB. @return 0 or -ENOMEM. */
int packer_create(struct chunk_pool *pool, struct packer **out) WARN_UNUSED;

/** Frees it, and the output of a group that is not finished. NULL is allowed. */
void packer_destroy(struct packer *p);

/** Begins a group; its chunks are the packer's until PACK_DONE or packer_destroy(). @return 0 or
 * -ENOMEM. */
int packer_begin(struct packer *p, struct group *g, int level) WARN_UNUSED;

/** Whether a group is under way. */
bool packer_busy(const struct packer *p);

/**
 * Compresses up to PACK_STEP_BYTES.
 * @param out when done: sizes and checksums; the group then holds one gzip file in its first chain.
 */
enum pack_result packer_step(struct packer *p, struct pack_summary *out) WARN_UNUSED;

#endif
