/*
 * The spool: the lines of plans that cannot be sent for long, each plan in a file of its own, so that
 * the journals need not keep them. A thread of its own does all that may wait for the disk.
 *
 *     sink thread ── spool_submit() ──> job ring ──> thread: write, read or remove a file
 *          ^                                              │
 *          └── spool_reap(): job->done() <── done ring <──┘
 *
 * A file counts only once SPOOLED is durable in the delivery log, which is submitted after the file is.
 * docs/journal-format.md shows its bytes.
 */
#ifndef PENSTOCK_DELIVERY_SPOOL_H
#define PENSTOCK_DELIVERY_SPOOL_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "dataplane/base/storage.h"
#include "sinks/delivery/plan.h"

#define SPOOL_TEXT_BYTES 160
#define SPOOL_JOBS_MAX   256u /* of one port, submitted and not reaped */

struct delivery_state;
struct spool;
struct spool_port;

enum spool_action {
    SPOOL_WRITE, /* a durable file of a plan's lines; one that is there is replaced */
    SPOOL_READ,  /* lines and plan, as they were; anything else is an error */
    SPOOL_REMOVE /* the plan is finished */
};

/** One thing to do. Embedded; zero it before filling, keep it and what it points to until done. */
struct spool_job {
    enum spool_action action;
    uint64_t id;             /* of the plan */
    const struct plan *plan; /* SPOOL_WRITE */
    struct plan *found;      /* SPOOL_READ: room for it; it comes without skips */
    const struct iovec *iov; /* SPOOL_WRITE: the lines; SPOOL_READ: room for exactly them */
    uint32_t n_iov;
    void (*done)(struct spool_job *j); /* on the port's thread, by spool_reap() */
    int result; /* 0; -ENOENT: no such file; -EUCLEAN: it is not what was written; -errno */
    char text[SPOOL_TEXT_BYTES]; /* why not, for people */
    struct spool_port *_port;
};

/** Written by the spool's thread, readable by any (relaxed). */
struct spool_stats {
    _Atomic uint64_t written, written_bytes; /* files since start */
    _Atomic uint64_t read, removed;
    _Atomic uint64_t errors;  /* jobs that failed */
    _Atomic uint64_t damaged; /* of these: files that are missing or not what was written */
};

struct spool_config {
    const char *dir;    /* exists */
    const char *log_id; /* dlog_id(): part of the files' names */
    uint32_t ports_max; /* sink threads */
};

/**
 * Looks at what is there; changes nothing yet.
 * Thread: init.  Owner: caller, until spool_close().
 * @param state of the delivery log, which has not started: says which files still count. Borrowed for
 * the call.
 * @return 0; -errno with error.
 */
int spool_open(const struct spool_config *config, const struct storage *storage,
               const struct delivery_state *state, struct spool **out, char *error,
               size_t error_len) WARN_UNUSED;

/** Whether a plan's file was there at the start. Thread: any. */
bool spool_has(const struct spool *s, uint64_t id);

/** Removes files of plans that are finished, and unfinished files. Thread: init, when everything that
 * may refuse the start has been looked at. */
void spool_clean(struct spool *s);

/** A port for one sink thread; its event_fd is written when jobs are done. Thread: init, before
 * spool_start().  Owner: the spool. */
struct spool_port *spool_port(struct spool *s, int event_fd);

/** How many bytes more may be written before the next call: what the disk has that is nobody else's.
 * Thread: control. */
void spool_set_room(struct spool *s, uint64_t bytes);

/** Starts the thread. Thread: init. @return 0 or -errno. */
int spool_start(struct spool *s) WARN_UNUSED;

/** Ends the thread after the job under way; others are forgotten. Thread: control, when the sink
 * threads have ended. */
void spool_stop(struct spool *s);

/** Frees it. NULL is allowed. Thread: init, control, after spool_stop(). */
void spool_close(struct spool *s);

/** Whether another job may be submitted. Thread: the port's. */
bool spool_ready(const struct spool_port *p);

/** Hands a job over; spool_ready() said that there is room. Thread: the port's. */
void spool_submit(struct spool_port *p, struct spool_job *j);

/** Calls done() of jobs that are. Thread: the port's. */
void spool_reap(struct spool_port *p);

/** Does one job. @return whether there was one. Thread: the spool's. */
bool spool_step(struct spool *s);

/** Counters. Thread: any. */
const struct spool_stats *spool_stats(const struct spool *s);

#endif
