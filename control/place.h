/*
 * The place a daemon lives in: its data directory with a lock, the machine's identity, and the
 * process limits.
 *
 *     DATA_DIR/lock           flock()ed; holds the pid
 *     DATA_DIR/owner          where it is, and who may deliver (sinks/owner/owner_file.h)
 *     DATA_DIR/machine-id     only where /etc/machine-id is missing
 *     DATA_DIR/journal/NN/    one journal each
 *     DATA_DIR/delivery/      delivery log and ledger
 *     DATA_DIR/columns/       versions of tables whose columns are inferred or added
 *     DATA_DIR/dlq.db         what became of dead letters (dlq_db.h)
 *     DATA_DIR/penstock.sock  CLI socket, unless configured elsewhere
 */
#ifndef PENSTOCK_CONTROL_PLACE_H
#define PENSTOCK_CONTROL_PLACE_H

#include "dataplane/base/compiler.h"

#define PLACE_PATH_BYTES  4352
#define PLACE_ID_BYTES    40
#define PLACE_ERROR_BYTES 1024

struct place_dir {
    int lock_fd;
    char machine_id[PLACE_ID_BYTES];
    char delivery_dir[PLACE_PATH_BYTES];
    char columns_dir[PLACE_PATH_BYTES];
    char dedupe_dir[PLACE_PATH_BYTES];
    char spool_dir[PLACE_PATH_BYTES];
};

/**
 * Creates the data directory and its folders (mode 0700), locks it, and reads the machine's
 * identity. Thread: init.  Owner: caller, until place_close().
 * @param error one sentence: what, where, why, and what to do.
 * @return 0; -EBUSY when another daemon holds the lock; -errno.
 */
int place_open(const char *data_dir, struct place_dir *out, char *error,
               size_t error_len) WARN_UNUSED;

/** Gives the lock up. */
void place_close(struct place_dir *p);

/** Path of journal `index`. out holds PLACE_PATH_BYTES. */
void place_journal(const char *data_dir, uint32_t index, char *out);

/** Numbers of the journal directories that exist, ascending. @return how many, at most max; -errno.
 */
int place_journals(const char *data_dir, uint32_t *out, uint32_t max) WARN_UNUSED;

/**
 * Sees to it that a directory is used either with sinks.discard or without: what is thrown away
 * is in no ledger. One that is new is marked, durably.
 * Thread: init, with the lock.
 * @return 0; -EPERM when it is of the other kind; another -errno: it cannot be marked. error says it.
 */
int place_mark_discard(const char *data_dir, bool discard, char *error,
                       size_t error_len) WARN_UNUSED;

/** Free bytes where the data directory is; UINT64_MAX when unknown. */
uint64_t place_free_bytes(const char *data_dir);

/**
 * Tries whether a thread of this process may be pinned to a core. Thread: init; where it may run is
 * as before afterwards.
 * @param error one sentence: which core, and which there are.
 * @return 0; -EINVAL when it may not.
 */
int place_check_core(int core, char *error, size_t error_len) WARN_UNUSED;

/** Raises the limits on open files and locked memory as far as the system allows. */
void place_raise_limits(void);

#endif
