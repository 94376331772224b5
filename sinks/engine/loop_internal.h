/* The parts of a loop: a ring, a heap of timers, a table of watches. Private to the engine. */
#ifndef PENSTOCK_ENGINE_LOOP_INTERNAL_H
#define PENSTOCK_ENGINE_LOOP_INTERNAL_H

#include <liburing.h>
#include <pthread.h>

#include "sinks/engine/loop.h"

#define LOOP_SQ_ENTRIES 512

/**
 * A watched descriptor as the ring knows it. A slot outlives its watch until the poll's completion
 * is in, so a late completion never meets another watch.
 */
struct watch_slot {
    struct loop_watch *watch; /* NULL: stopped, or free */
    int fd;
    uint32_t events;    /* wanted; 0: stopped */
    uint32_t armed;     /* events of the poll under way; 0: none */
    bool removing;      /* its removal has been asked for */
    bool dirty;         /* is in loop.dirty */
    uint32_t next_free; /* 1-based */
};

struct loop {
    struct io_uring ring;
    bool enabled; /* the ring belongs to thread */
    pthread_t thread;
    int wake_fd;
    bool wake_armed;
    uint32_t reads_queued; /* prepared, not submitted */
    uint32_t reads_flying; /* submitted, not complete */

    struct loop_timer **heap; /* heap[1..n_timers] */
    uint32_t n_timers;
    uint32_t heap_size;

    struct watch_slot *slot; /* slot[1..n_slots] */
    uint32_t n_slots;
    uint32_t slots_size;
    uint32_t free_slot; /* 1-based head */
    uint32_t n_watches;
    uint32_t *dirty; /* slots to bring in line with the ring; room for slots_size */
    uint32_t n_dirty;
};

/** An entry to fill, after handing full queues to the kernel; NULL when the kernel takes none now.
 */
struct io_uring_sqe *loop_sqe(struct loop *l);

/** Frees the heap. Timers stay their owners'. */
void loop_timers_fini(struct loop *l);

/** When the first timer is due, INT64_MAX without timers. */
int64_t loop_timers_next(const struct loop *l);

/** Fires what was due at now_us. @return callbacks run. */
int loop_timers_run(struct loop *l, int64_t now_us);

/** Frees the table. */
void loop_watches_fini(struct loop *l);

/** Tells the ring what changed since the last call. */
void loop_watches_flush(struct loop *l);

/** Takes a poll's completion. @return callbacks run. */
int loop_watch_complete(struct loop *l, uint32_t slot, int result);

/** user_data of a slot's poll. */
uint64_t loop_watch_tag(uint32_t slot);

/** user_data of entries whose completion is of no interest. */
uint64_t loop_ignore_tag(void);

#endif
