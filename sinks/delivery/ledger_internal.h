/*
 * The ledger's writing side. Included only in sinks/delivery/ and by the tests of it.
 *
 * Thread: the log's thread; init before it starts.
 */
#ifndef PENSTOCK_DELIVERY_LEDGER_INTERNAL_H
#define PENSTOCK_DELIVERY_LEDGER_INTERNAL_H

#include <sqlite3.h>

#include "sinks/delivery/ledger.h"
#include "sinks/delivery/state_internal.h"

#define LEDGER_FLAG_GZIP 0x80 /* in the column flags, beside those of the key */

enum ledger_statement {
    STMT_PLAN,
    STMT_CONFIRM,
    STMT_PARKED,
    STMT_RESUMED,
    STMT_LOAD,
    STMT_LOAD_PLAN,
    STMT_ATTEMPT,
    STMT_ATTEMPT_FAILED,
    STMT_LOADED,
    STMT_LOADED_PLANS,
    STMT_LOAD_PARKED,
    STMT_LOAD_RESUMED,
    STMT_STAGING_GONE,
    STMT_INSERTED,
    STMT_INSERTED_PLAN,
    STMT_SPLIT,
    STMT_PART,
    STMT_PART_PLAN,
    STMT_LOADED_PIECES,
    STMT_REJECTED,
    STMT_REJECT,
    STMT_REBUILD_PLAN,
    STMT_REBUILD_LOAD,
    STMT_COUNT
};

struct ledger {
    sqlite3 *db;
    sqlite3_stmt *stmt[STMT_COUNT]; /* prepared at first use */
};

/**
 * The log that the ledger belongs to and the last record it shows.
 * @return 0, with *bound false for a ledger that belongs to no log yet; -errno.
 */
int ledger_position(struct ledger *l, struct journal_uuid *log, bool *bound,
                    uint64_t *applied_seq) WARN_UNUSED;

/** Makes an unbound ledger belong to a log. */
int ledger_bind(struct ledger *l, const struct journal_uuid *log) WARN_UNUSED;

/** Begins a transaction. */
int ledger_begin(struct ledger *l) WARN_UNUSED;

/** Applies one record inside a transaction. Applying one that is shown already changes nothing. */
int ledger_apply(struct ledger *l, const struct record_view *r) WARN_UNUSED;

/** Ends the transaction; every record up to applied_seq is then shown, durably. On failure nothing
 * of it is. */
int ledger_commit(struct ledger *l, uint64_t applied_seq) WARN_UNUSED;

/** Gives the transaction up. */
void ledger_rollback(struct ledger *l);

/** Writes what the state still knows, after the ledger was lost or fell behind the log; then
 * applied_seq. */
int ledger_rebuild(struct ledger *l, const struct delivery_state *s,
                   uint64_t applied_seq) WARN_UNUSED;

/** What SQLite said last, for messages. */
const char *ledger_message(const struct ledger *l);

/** -errno for a result of SQLite; -EBADMSG when the file is damaged or no database. */
int ledger_errno(int rc);

#endif
