/*
 * A sink thread's event loop: one io_uring that carries socket polls (for libcurl's multi
 * interface), timers, journal reads and wake-ups. Everything on a loop runs on its thread;
 * callbacks may start and cancel anything.
 */
#ifndef PENSTOCK_ENGINE_LOOP_H
#define PENSTOCK_ENGINE_LOOP_H

#include <stdint.h>

#include "dataplane/base/compiler.h"

struct loop;

/** A timer, embedded in its owner; zero it before first use. */
struct loop_timer {
    void (*fire)(struct loop_timer *t);
    int64_t _due_us;
    uint32_t _heap_index; /* 1-based; 0: not armed */
};

/** A read or a write, embedded in its owner. */
struct loop_read {
    void (*done)(struct loop_read *r,
                 int result); /* bytes read (short at the end of file) or written, or -errno */
    int fd;
    void *buf;
    uint32_t len;
    uint64_t offset;
    uint32_t _got; /* bytes so far: a short one goes on until len or the end of the file */
    bool _writes;
};

/** A watched descriptor, embedded in its owner; zero it before first use. */
struct loop_watch {
    void (*ready)(struct loop_watch *w, uint32_t events); /* POLLIN, POLLOUT, POLLERR, POLLHUP */
    int fd;
    uint32_t _events;
    uint32_t _slot; /* 1-based; 0: not watched */
};

/**
 * Creates a loop with its io_uring.
 * Thread: init; then only the thread that runs it.
 * @return 0 or -errno.
 */
int loop_create(struct loop **out) WARN_UNUSED;

/**
 * Frees the loop; nothing may be watched any more. Waits for reads that are under way (their done
 * does not run). Thread: the one that ran it, or any once that one has ended. NULL is allowed.
 */
void loop_destroy(struct loop *l);

/** The descriptor that wakes the loop when written to (eventfd, 8 bytes). Thread: any may write it.
 */
int loop_wake_fd(const struct loop *l);

/**
 * Waits for at most timeout_us (0: not at all) until something is due or the wake descriptor was
 * written, then runs what is due. The first call ties the loop to its thread.
 * @return callbacks run.
 */
int loop_run_once(struct loop *l, int64_t timeout_us);

/** Arms or re-arms a timer. */
void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t delay_us);

/** Disarms a timer; a timer that is not armed is fine. */
void loop_timer_cancel(struct loop *l, struct loop_timer *t);

/** Starts a read. @return 0; or -errno, and done never runs. Never cancelled: the buffer stays
 * until done. */
int loop_read_start(struct loop *l, struct loop_read *r) WARN_UNUSED;

/** Starts a write that is durable when done is called with len. @return and rest as for a read. */
int loop_write_start(struct loop *l, struct loop_read *r) WARN_UNUSED;

/**
 * Watches w->fd for events (0 stops); level-triggered. A stopped watch may be freed at once, also
 * inside ready.
 * @return 0 or -ENOMEM; stopping cannot fail.
 */
int loop_watch_set(struct loop *l, struct loop_watch *w, uint32_t events) WARN_UNUSED;

#endif
