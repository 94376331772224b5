/*
 * A lane: the rte_ring from one worker to one sink thread. It carries durable blocks in LSN order,
 * and is only a cache: a block that does not fit is skipped, and the sink thread reads it from the
 * journal.
 *
 * Life of a block: the worker pushes it to each lane with one reference each; a sink thread
 * releases it when consumed; the last release returns it to its worker through the worker's return
 * ring.
 */
#ifndef PENSTOCK_LANE_H
#define PENSTOCK_LANE_H

#include "dataplane/block/block.h"

struct lane;

/**
 * Creates a lane for up to blocks_max blocks.
 * Thread: init.  Owner: caller.
 * @param wake_fd eventfd of the sink thread, written when the lane was empty before a push.
 */
int lane_create(uint32_t blocks_max, int wake_fd, struct lane **out) WARN_UNUSED;

/** Frees an empty lane. NULL is allowed. Thread: control. */
void lane_destroy(struct lane *l);

/**
 * Pushes a durable block; the caller has counted the reference. Single producer.
 * Thread: the lane's worker.
 * @return false when full.
 */
bool lane_push(struct lane *l, struct block *b);

/** Wakes the sink thread if something was pushed since the last call. Thread: the lane's worker. */
void lane_wake(struct lane *l);

/** The oldest block without taking it, or NULL. Single consumer. Thread: the lane's sink thread. */
struct block *lane_peek(struct lane *l);

/** Takes the block that lane_peek() showed. Thread: the lane's sink thread. */
void lane_pop(struct lane *l);

#endif
