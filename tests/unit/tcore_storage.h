/*
 * A replaceable disk for tests of blocks, journals and workers: real files behind struct
 * storage_ops, where every operation is recorded, the n-th of a kind can fail, asynchronous writes
 * can be held, and the power can be cut: then only what was flushed is certain to be there; every
 * other 512-byte sector is there or not, by the seed, and so is every creation or rename that no
 * sync_dir() has followed.
 *
 * Asynchronous writes go one of two ways. TCORE_RING: through the io_uring of the caller, a held
 * one behind a read of an eventfd that tcore_release() writes. TCORE_QUEUE: into a queue (the ring
 * may be NULL) from which tcore_finish() takes them in any order with any outcome, so that a
 * schedule is a function of its seed.
 *
 * Thread: any; calls are serialised by a lock.
 */
#ifndef PENSTOCK_TESTS_TCORE_STORAGE_H
#define PENSTOCK_TESTS_TCORE_STORAGE_H

#include "dataplane/base/storage.h"

enum tcore_op {
    TCORE_OPEN,
    TCORE_CLOSE,
    TCORE_PREAD,
    TCORE_PWRITE,
    TCORE_SYNC,
    TCORE_SYNC_DIR,
    TCORE_ALLOCATE,
    TCORE_RENAME,
    TCORE_UNLINK,
    TCORE_MKDIR,
    TCORE_WRITE_ASYNC,
    TCORE_OPS
};

enum tcore_mode { TCORE_RING, TCORE_QUEUE };

/* What becomes of an asynchronous write. */
enum tcore_outcome {
    TCORE_DONE,
    TCORE_FAILED,  /* an error, and nothing was written */
    TCORE_REACHED, /* an error, and yet all of it is on the disk */
    TCORE_TORN,    /* an error, and some sectors were written; queue only */
    TCORE_SHORT,   /* half of it was written, without an error */
};

/** One recorded operation. */
struct tcore_record {
    enum tcore_op op;
    char path[64]; /* last part of the file's name; empty for descriptors that are not known */
    uint64_t offset, len;
    int64_t result;
};

struct tcore_storage;

/** A disk. Owner: caller, until tcore_storage_destroy(). */
struct tcore_storage *tcore_storage_create(enum tcore_mode mode);
void tcore_storage_destroy(struct tcore_storage *s);

/** What goes into journal_open(); valid as long as s. */
const struct storage *tcore_storage_ops(const struct tcore_storage *s);

/**
 * Fails times operations of a kind, from the n-th (1: the next) on, with -error; of WRITE_ASYNC see
 * tcore_fail_async().
 */
void tcore_fail(struct tcore_storage *s, enum tcore_op op, unsigned n, unsigned times, int error);

/** TCORE_RING: gives times asynchronous writes, from the n-th on, this outcome; failures are
 * ENOSPC. */
void tcore_fail_async(struct tcore_storage *s, unsigned n, unsigned times,
                      enum tcore_outcome outcome);

/** Lets every operation succeed again. */
void tcore_heal(struct tcore_storage *s);

/** Flips one bit of what the n-th read from now on returns. */
void tcore_corrupt_read(struct tcore_storage *s, unsigned n);

/** The same, at this byte of what is read. */
void tcore_corrupt_read_byte(struct tcore_storage *s, unsigned n, size_t byte);

/** Operations of a kind so far, and the i-th of all (from 0; the last 65,536 are kept). */
unsigned tcore_count(struct tcore_storage *s, enum tcore_op op);
unsigned tcore_records(struct tcore_storage *s);
struct tcore_record tcore_record_at(struct tcore_storage *s, unsigned i);

/* ---- TCORE_RING ---- */

/** From now on asynchronous writes wait for tcore_release(). */
void tcore_hold(struct tcore_storage *s, bool hold);

/** Writes that are being held. */
unsigned tcore_held(struct tcore_storage *s);

/** Lets the i-th oldest held write go. */
void tcore_release(struct tcore_storage *s, unsigned i);

/** Lets all held writes go and holds no more. */
void tcore_release_all(struct tcore_storage *s);

/* ---- TCORE_QUEUE ---- */

/** Writes that wait. */
unsigned tcore_pending(struct tcore_storage *s);

/** Ends the i-th oldest waiting write. @return its user_data, with its result in *result. */
uint64_t tcore_finish(struct tcore_storage *s, unsigned i, enum tcore_outcome outcome, int error,
                      int *result);

/* ---- the end of a machine ---- */

/** The process dies: waiting writes happen or not, by the seed. What was written stays. */
void tcore_kill(struct tcore_storage *s, uint64_t seed);

/** The power is cut. Descriptors must have been closed. */
void tcore_power_cut(struct tcore_storage *s, uint64_t seed);

/* ---- helpers ---- */

/** Next pseudo-random number. */
uint64_t tcore_random(uint64_t *state);

/** The seed of a random test: PENSTOCK_SEED, or fallback. Prints it. */
uint64_t tcore_seed(const char *test, uint64_t fallback);

/** A new directory, in memory where there is such a file system and memory is true. Owner: caller.
 */
char *tcore_mkdir(bool memory);

/** Removes a directory of tcore_mkdir() with all that is in it, and frees its name. */
void tcore_rmdir(char *dir);

/** Removes everything inside of a directory. */
void tcore_clear_dir(const char *dir);

#endif
