// Thin layer over SQLite. Statements are compile-time texts of ours, so a failing prepare is a bug
// and ends the process; a failing step is reported. Thread: as the connection (callers hold their
// lock).
#ifndef LOCALCLOUD_DB_H
#define LOCALCLOUD_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Opens or makes DIR/name in WAL mode and runs schema. @return NULL with a reason in err. */
sqlite3 *lc_db_open(const char *dir, const char *name, const char *schema, char *err,
                    size_t err_size);

/** Opens DIR/name for reading only. @return NULL when it cannot be opened. */
sqlite3 *lc_db_open_readonly(const char *dir, const char *name);

/** Runs one text of SQL. @return false and a line on stderr when it fails. */
bool lc_db_exec(sqlite3 *db, const char *sql);

/**
 * Prepares sql and binds the arguments by kinds: 's' const char * (NULL allowed, must outlive the
 * statement), 'i' int64_t. Owner: caller, sqlite3_finalize.
 */
sqlite3_stmt *lc_db_query(sqlite3 *db, const char *sql, const char *kinds, ...);

/** lc_db_query, stepped to its end and finalized. @return false and a line on stderr when it fails.
 */
bool lc_db_run(sqlite3 *db, const char *sql, const char *kinds, ...);

/** First column of the first row as int64, or fallback when there is no row. */
int64_t lc_db_i64(sqlite3 *db, int64_t fallback, const char *sql, const char *kinds, ...);

/** Text column, "" for NULL. Valid until the next step. */
const char *lc_db_text(sqlite3_stmt *st, int column);

#endif
