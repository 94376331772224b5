/*
 * A disk in memory behind struct storage, for simulation: it keeps what is durable apart from what
 * was only written, per 512-byte sector and per name.
 *
 *     written ── flush ──> durable            written ── failed flush ──> some durable, some *lost*:
 *                                             still read back, no longer flushed by later flushes
 *
 * - An asynchronous write waits until disk_finish() ends it, in any order, with any outcome.
 * - A power cut keeps each unflushed sector or not, by the seed, and so each creation, renaming and
 *   removal of a name that no sync_dir() has followed.
 * - The n-th operation of a kind can fail; the disk can be full, read-only or dead; a read can
 *   return a flipped bit.
 *
 * Thread: one. Everything random comes from the seed of disk_seed().
 */
#ifndef PENSTOCK_TESTS_SIM_DISK_H
#define PENSTOCK_TESTS_SIM_DISK_H

#include "dataplane/base/storage.h"

enum disk_op {
    DISK_OPEN,
    DISK_PREAD,
    DISK_PWRITE,
    DISK_SYNC,
    DISK_SYNC_DIR,
    DISK_ALLOCATE,
    DISK_RENAME,
    DISK_UNLINK,
    DISK_MKDIR,
    DISK_LIST,
    DISK_WRITE_ASYNC,
    DISK_OPS
};

enum disk_mode { DISK_WELL, DISK_FULL, DISK_READ_ONLY, DISK_DEAD };

/* What becomes of an asynchronous write, or of a write that is made to fail. */
enum disk_outcome {
    DISK_DONE,
    DISK_NOTHING, /* an error, and nothing was written */
    DISK_REACHED, /* an error: written, but its flush failed */
    DISK_TORN,    /* an error: some sectors were written, and perhaps flushed */
    DISK_SHORT,   /* half of it is durable, without an error */
    DISK_OUTCOMES
};

struct disk;

/** An empty disk. Owner: caller, until disk_destroy(). */
struct disk *disk_create(void);
void disk_destroy(struct disk *d);

/** What the code under test gets; valid as long as d. */
const struct storage *disk_storage(const struct disk *d);

/** Everything random that follows is a function of this. */
void disk_seed(struct disk *d, uint64_t seed);

/** Fails `times` operations of a kind from the n-th on (1: the next) with -error. */
void disk_fail(struct disk *d, enum disk_op op, uint64_t n, uint64_t times, int error);

/** Flips one bit of what the n-th read from now on returns. */
void disk_flip_read(struct disk *d, uint64_t n);

/** Whether the last bit that was read wrongly was of a file below dir. Forgets it. */
bool disk_flipped(struct disk *d, const char *dir);

/** Changes what works at all. */
void disk_set_mode(struct disk *d, enum disk_mode mode);

/** Everything works again; what is lost stays lost. */
void disk_heal(struct disk *d);

/** Called for a file, with what reads would give. */
typedef void (*disk_visitor)(void *arg, const char *path, const uint8_t *data, size_t len);

/** Visits every file in a directory, without being an operation. */
void disk_look(const struct disk *d, const char *dir, disk_visitor visit, void *arg);

/** Operations of a kind so far. */
uint64_t disk_count(const struct disk *d, enum disk_op op);

/** Operations that failed, or read wrong bytes, because they were made to. */
uint64_t disk_hits(const struct disk *d);

/** Asynchronous writes that wait. */
uint32_t disk_pending(const struct disk *d);

/** Ends the i-th oldest waiting write. @return its user_data, with its result in *result. */
uint64_t disk_finish(struct disk *d, uint32_t i, enum disk_outcome outcome, int error, int *result);

/**
 * The process is gone: waiting writes happen, in part, or not. Every operation fails until
 * disk_boot().
 */
void disk_kill(struct disk *d);

/** From the n-th operation from now on (of any kind) nothing has an effect: the process is gone there. */
void disk_vanish(struct disk *d, uint64_t n);

/** Whether it is gone. */
bool disk_gone(const struct disk *d);

/** The next process may begin; after a power cut, with what is left. */
void disk_boot(struct disk *d, bool power_cut);

/** Names of operations and outcomes, for the event log. */
extern const char *const disk_op_name[DISK_OPS];
extern const char *const disk_outcome_name[DISK_OUTCOMES];

/** Next pseudo-random number. */
uint64_t sim_random(uint64_t *state);

#endif
