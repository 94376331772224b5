// Role: SQLite connections and short statements. synchronous=OFF: a killed process loses nothing
// that was committed, a dead machine may; that is enough for a development server.
#include "tools/localcloud/db.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/util.h"

enum { BUSY_MS_MAX = 60000 };

sqlite3 *lc_db_open(const char *dir, const char *name, const char *schema, char *err,
                    size_t err_size)
{
    char *path = lc_format("%s/%s", dir, name);
    sqlite3 *db = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
    int rc = sqlite3_open_v2(path, &db, flags, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db, BUSY_MS_MAX);
        rc = sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF", NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, schema, NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        snprintf(err, err_size, "%s: %s", path, db ? sqlite3_errmsg(db) : "out of memory");
        sqlite3_close(db);
        db = NULL;
    }
    free(path);
    return db;
}

sqlite3 *lc_db_open_readonly(const char *dir, const char *name)
{
    char *path = lc_format("%s/%s", dir, name);
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_FULLMUTEX, NULL);
    free(path);
    if (rc != SQLITE_OK) {
        sqlite3_close(db);
        return NULL;
    }
    sqlite3_busy_timeout(db, BUSY_MS_MAX);
    return db;
}

bool lc_db_exec(sqlite3 *db, const char *sql)
{
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) == SQLITE_OK)
        return true;
    fprintf(stderr, "localcloud: database: %s in: %.200s\n", message ? message : "error", sql);
    sqlite3_free(message);
    return false;
}

static sqlite3_stmt *query(sqlite3 *db, const char *sql, const char *kinds, va_list ap)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) {
        fprintf(stderr, "localcloud: database: %s in: %s\n", sqlite3_errmsg(db), sql);
        abort();
    }
    for (int i = 1; *kinds; kinds++, i++) {
        assert(*kinds == 's' || *kinds == 'i');
        if (*kinds == 's')
            sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
        else
            sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
    }
    return st;
}

sqlite3_stmt *lc_db_query(sqlite3 *db, const char *sql, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    sqlite3_stmt *st = query(db, sql, kinds, ap);
    va_end(ap);
    return st;
}

bool lc_db_run(sqlite3 *db, const char *sql, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    sqlite3_stmt *st = query(db, sql, kinds, ap);
    va_end(ap);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW)
        ;
    if (rc != SQLITE_DONE)
        fprintf(stderr, "localcloud: database: %s in: %s\n", sqlite3_errmsg(db), sql);
    sqlite3_finalize(st);
    return rc == SQLITE_DONE;
}

int64_t lc_db_i64(sqlite3 *db, int64_t fallback, const char *sql, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    sqlite3_stmt *st = query(db, sql, kinds, ap);
    va_end(ap);
    int64_t v = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : fallback;
    sqlite3_finalize(st);
    return v;
}

const char *lc_db_text(sqlite3_stmt *st, int column)
{
    const unsigned char *s = sqlite3_column_text(st, column);
    return s ? (const char *)s : "";
}
