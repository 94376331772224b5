/*
 * The writing side of a journal: group commit on the worker's io_uring.
 *
 *     open block ── sealed ──> queue ── at most two writes in flight ──> durable, in order
 *
 * Each write is O_DIRECT with RWF_DSYNC, so its completion is its flush. No timer unless asked for:
 * what gathers while one write is in flight becomes the next block, so batching follows the load by
 * itself. A worker that has more input at hand takes that first, for up to WRITER_GATHER_US: a write
 * costs it some 30 us whatever its size, which a busy one has better uses for; an idle one writes at
 * once. writer_set_age() trades latency for fewer, larger writes.
 *
 * After a failed or short write the segment is never written again: when nothing is in flight any
 * more, the blocks that are not durable move to a fresh segment whose header says where the failed
 * one ends.
 *
 * Thread: every function belongs to the worker.
 */
#ifndef PENSTOCK_JOURNAL_WRITER_H
#define PENSTOCK_JOURNAL_WRITER_H

#include "dataplane/block/block.h"
#include "dataplane/journal/journal.h"

#define WRITER_IN_FLIGHT_MAX 2
#define WRITER_GATHER_US     500

struct io_uring;
struct writer;

/** Called for each block that became durable, in order; the block is the callee's from then on. */
typedef void (*writer_durable)(void *ctx, struct block *b);

/** Written by the worker, readable by any (relaxed). */
struct writer_stats {
    _Atomic uint64_t blocks;
    _Atomic uint64_t bytes;
    _Atomic uint64_t errors;
    _Atomic uint64_t superseded; /* segments given up */
};

/**
 * Creates the writer of a journal.
 * Thread: init.
 * @param queue_max sealed blocks that may wait (all of the worker's).
 * @param block_bytes_max largest block.
 * @param user_data upper bits that mark its completions on the ring; the low 16 are the writer's.
 */
int writer_create(struct journal *j, uint32_t queue_max, uint32_t block_bytes_max,
                  uint64_t user_data, writer_durable durable, void *ctx,
                  struct writer **out) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: control, when the worker has ended. */
void writer_destroy(struct writer *w);

/** Bytes of new blocks that certainly fit before another segment must be prepared. */
uint64_t writer_room(const struct writer *w);

/** True from a failed write until its blocks are durable elsewhere. */
bool writer_failed(const struct writer *w);

/** Blocks sealed and not durable yet. */
uint32_t writer_queued(const struct writer *w);

/**
 * Opens a block at the journal's end. One block is open at a time.
 * @return 0; -ENOSPC when there is no segment for it.
 */
int writer_open(struct writer *w, struct block *b, uint64_t seq) WARN_UNUSED;

/** Seals the open block, which has lines, and queues it. Not while writer_failed(): its place is not
 * known then. */
void writer_seal(struct writer *w);

/** The open block, or NULL. */
struct block *writer_open_block(const struct writer *w);

/**
 * Starts what may be started: queued blocks, and the open one when nothing is in flight and it is due.
 * Call after each batch of input and completions, and about every 100 ms while writer_failed().
 * @param more there is more input at hand: call again soon.
 * @return whether writes were put into the ring. It should be submitted before more is: the kernel
 * gathers what one call submits and gives it to the disk in the end.
 */
bool writer_pump(struct writer *w, struct io_uring *ring, bool more);

/** From now on an open block that is not full waits this long for more lines; 0: only for what is at
 * hand. */
void writer_set_age(struct writer *w, int64_t age_us);

/** When the open block is due, by the monotonic clock; INT64_MAX when it does not wait. */
int64_t writer_due_us(const struct writer *w);

/** Takes a completion of this writer: its user_data and result. */
void writer_complete(struct writer *w, uint64_t user_data, int result);

/** Counters. Thread: any. */
const struct writer_stats *writer_stats(const struct writer *w);

#endif
