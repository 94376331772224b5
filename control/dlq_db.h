/*
 * What has become of each dead letter: DATA_DIR/dlq.db, SQLite with synchronous=FULL. A letter
 * without a row is new.
 *
 *     new, dropped ── INTENT ──> replaying ── stored ──> replayed
 *                                    └── not stored ──> as before
 *     new ── DROP ──> dropped
 *
 * INTENT rows name the session and sequence number of the batch that takes the letters in, and are
 * committed before the batch is handed over. Whether the batch was stored, its mark tells (inject.h),
 * also after a restart: so no crash can store a letter twice or lose it.
 *
 * Objects that are deleted on purpose are noted here before the deletion, for verify. What objects
 * hold is noted too, so that those of which every letter is dealt with need not be read again; that
 * part is only a cache.
 *
 * Thread: any; each call is one transaction under the database's own lock.
 */
#ifndef PENSTOCK_CONTROL_DLQ_DB_H
#define PENSTOCK_CONTROL_DLQ_DB_H

#include "control/dlq_options.h"

#define DLQ_SESSION_BYTES 16
#define DLQ_RANGES_MAX    32 /* journals in one object; one with more is odd */

struct dlq_db;

/** What is known of one letter. */
struct dlq_mark {
    enum dlq_state state;
    int64_t at_us;                  /* of the latest change */
    uint32_t uid;                   /* who asked for it */
    char outcome[DLQ_REASON_BYTES]; /* replayed: "accepted", a reason, or "stored" when a crash hid
                                       which */
};

/** A letter to mark. */
struct dlq_entry {
    struct dlq_id id;
    const char *object; /* name of its first line's object */
    const char *outcome;
};

/** Counts, ever. */
struct dlq_counts {
    uint64_t replaying, replayed, dropped, objects_deleted;
};

/** The LSNs of one journal in one object. */
struct dlq_object_range {
    struct journal_uuid journal;
    lsn_t least, most;
};

/** What one object holds. */
struct dlq_object_fact {
    const char *name;
    int64_t generation;
    uint64_t letters; /* that begin in it */
    bool odd; /* lines that are no letters, or parts of letters that begin or go on elsewhere */
    uint32_t n_ranges;
    struct dlq_object_range range[DLQ_RANGES_MAX];
};

/**
 * Opens or creates the database. A damaged one is never begun anew: it would forget what was
 * replayed. Thread: init. Owner: caller, until dlq_db_close(). @return 0; -errno with one sentence.
 */
int dlq_db_open(const char *path, struct dlq_db **out, char *error, size_t error_len) WARN_UNUSED;

/** Closes it. NULL is allowed. */
void dlq_db_close(struct dlq_db *db);

/** The session that all replays of this data directory use: DLQ_SESSION_BYTES, random, kept. */
const uint8_t *dlq_db_session(const struct dlq_db *db);

/** Why the latest call failed, for people; valid until the caller's next call. */
void dlq_db_message(struct dlq_db *db, char *out, size_t out_len);

/** What is known of a letter. @return 0 or -errno. */
int dlq_db_mark(struct dlq_db *db, const struct dlq_id *id, struct dlq_mark *out) WARN_UNUSED;

/**
 * Durably notes that the letters go into batch seq. All must be new or dropped.
 * @return 0; -EEXIST when one is replayed, or on its way (nothing is noted then); -errno.
 * Letters of which nobody can know may go again.
 */
int dlq_db_intend(struct dlq_db *db, uint64_t seq, const struct dlq_entry *e, uint32_t n,
                  uint32_t uid) WARN_UNUSED;

/** Durably notes that batch seq was stored, and each letter's outcome. @return 0 or -errno. */
int dlq_db_done(struct dlq_db *db, uint64_t seq, const struct dlq_entry *e, uint32_t n) WARN_UNUSED;

/**
 * Settles what a crash left open: batches up to last_seq were stored, later ones were not.
 * @param stored, returned receive how many letters were found replayed, and how many are as before.
 * @return 0; -ERANGE when last_seq lies below a batch that is known to be stored: the session was
 * forgotten, and nothing is settled; -errno.
 */
int dlq_db_settle(struct dlq_db *db, uint64_t last_seq, uint64_t *stored,
                  uint64_t *returned) WARN_UNUSED;

/**
 * Begins a new session after the old one was forgotten. Letters whose replay was cut off under the
 * old one stay "replaying", outcome "unknown": nobody can know any more. They may be dropped, or
 * replayed all the same. @return 0 or -errno.
 */
int dlq_db_renew(struct dlq_db *db, uint64_t *unknown) WARN_UNUSED;

/**
 * Durably marks letters as dropped that are new or of which nobody can know; others stay as they
 * are.
 * @param dropped receives how many were marked. @return 0 or -errno.
 */
int dlq_db_drop(struct dlq_db *db, const struct dlq_entry *e, uint32_t n, uint32_t uid,
                uint64_t *dropped) WARN_UNUSED;

/** The counts. Thread: any, without waiting. */
void dlq_db_counts(const struct dlq_db *db, struct dlq_counts *out);

/** Notes what objects hold, all in one transaction; nothing is written when it is known. @return 0
 * or -errno. */
int dlq_db_objects_put(struct dlq_db *db, const struct dlq_object_fact *fact,
                       uint32_t n) WARN_UNUSED;

/**
 * Whether this version of an object is known to hold nothing that is wanted: only letters that are
 * replayed or dropped or, when ids are given, none of these.
 */
bool dlq_db_object_skip(struct dlq_db *db, const char *name, int64_t generation,
                        const struct dlq_filter *f);

/** Visits the names of objects that are known to hold a letter's LSN. @return 0 or -errno. */
int dlq_db_find(struct dlq_db *db, const struct dlq_id *id,
                void (*visit)(void *ctx, const char *name), void *ctx) WARN_UNUSED;

/** Durably notes that an object is about to be deleted on purpose. @return 0 or -errno. */
int dlq_db_delete_begin(struct dlq_db *db, const char *name, uint64_t letters,
                        uint32_t uid) WARN_UNUSED;

/** Notes that it is gone; or, when done is false, that it stays. @return 0 or -errno. */
int dlq_db_delete_end(struct dlq_db *db, const char *name, bool done) WARN_UNUSED;

/** Visits the objects that were deleted on purpose or are about to be. @return 0 or -errno. */
int dlq_db_each_deleted(struct dlq_db *db,
                        void (*visit)(void *ctx, const char *name, uint64_t letters),
                        void *ctx) WARN_UNUSED;

#endif
