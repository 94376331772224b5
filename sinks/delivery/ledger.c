/*
 * COLD. The ledger's schema and its writing side. One transaction per batch, committed with the
 * sequence number of its last record, so each record counts once. Totals are views over the
 * objects: there are no counters to drift.
 *
 * synchronous is FULL, not NORMAL: the log drops records once the ledger shows them, so the ledger
 * may not lose a commit to a power cut. At a few commits a second this costs less than the log's
 * own writes.
 */
#include "sinks/delivery/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/delivery/ledger_internal.h"

#define BUSY_TIMEOUT_MS 5000
#define LEDGER_VERSION  4 /* as in schema_sql */

static const char schema_sql[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS meta(id INTEGER PRIMARY KEY CHECK(id = 1), log BLOB, applied_seq "
    "INTEGER NOT NULL);"
    "INSERT OR IGNORE INTO meta VALUES(1, NULL, 0);"
    "CREATE TABLE IF NOT EXISTS objects("
    " plan_id INTEGER PRIMARY KEY, type TEXT NOT NULL, kind INTEGER NOT NULL, encoding INTEGER NOT "
    "NULL,"
    " flags INTEGER NOT NULL, minute INTEGER NOT NULL, name TEXT NOT NULL, events INTEGER NOT NULL,"
    " lines INTEGER NOT NULL, bytes INTEGER NOT NULL, crc32c INTEGER NOT NULL, to_load INTEGER NOT "
    "NULL,"
    " state TEXT NOT NULL, planned_us INTEGER NOT NULL, confirmed_us INTEGER NOT NULL DEFAULT 0,"
    " loaded_us INTEGER NOT NULL DEFAULT 0, load_id INTEGER NOT NULL DEFAULT 0,"
    " generation INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',"
    " removed INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX IF NOT EXISTS objects_load ON objects(load_id) WHERE load_id > 0;"
    "CREATE TABLE IF NOT EXISTS loads("
    " load_id INTEGER PRIMARY KEY, table_name TEXT NOT NULL, rows_expected INTEGER NOT NULL,"
    " rows_loaded INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, state TEXT NOT "
    "NULL,"
    " created_us INTEGER NOT NULL, loaded_us INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL "
    "DEFAULT '', piece_of INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX IF NOT EXISTS loads_piece ON loads(piece_of) WHERE piece_of > 0;"
    "CREATE TABLE IF NOT EXISTS rejects("
    " load_id INTEGER PRIMARY KEY, plan_id INTEGER NOT NULL, table_name TEXT NOT NULL, rows "
    "INTEGER "
    "NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL, crc32c INTEGER NOT NULL, rejected_us "
    "INTEGER NOT NULL, reason TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS rejects_plan ON rejects(plan_id);"
    "CREATE TABLE IF NOT EXISTS inserts("
    " plan_id INTEGER PRIMARY KEY, table_name TEXT NOT NULL, rows INTEGER NOT NULL,"
    " refused INTEGER NOT NULL, objects INTEGER NOT NULL, dead_bytes INTEGER NOT NULL,"
    " dead_crc32c INTEGER NOT NULL, inserted_us INTEGER NOT NULL);"
    "DROP VIEW IF EXISTS minutes;"
    "CREATE VIEW minutes AS"
    " SELECT type, kind, minute, 'gcs' AS sink, sum(events) AS planned,"
    "  sum(CASE WHEN state IN ('stored', 'loaded', 'deleted') THEN events ELSE 0 END) AS delivered,"
    "  sum(removed) AS duplicates_removed"
    "  FROM objects WHERE encoding = 0 GROUP BY type, kind, minute"
    " UNION ALL"
    " SELECT type, kind, minute, 'bigquery', sum(events),"
    "  sum(CASE WHEN state = 'inserted' THEN coalesce(i.rows, 0)"
    "   WHEN state IN ('loaded', 'deleted') THEN events - coalesce((SELECT sum(r.rows) FROM "
    "rejects r"
    "    WHERE r.plan_id = o.plan_id), 0) ELSE 0 END), 0"
    "  FROM objects o LEFT JOIN inserts i ON i.plan_id = o.plan_id"
    "  WHERE to_load = 1 OR encoding = 3 GROUP BY type, kind, minute;"
    "PRAGMA user_version = 4;"
    "COMMIT;";

static const char *const statement_sql[STMT_COUNT] = {
    [STMT_PLAN] = "INSERT OR IGNORE INTO objects(plan_id, type, kind, encoding, flags, minute, "
                  "name, events, lines,"
                  " bytes, crc32c, to_load, state, planned_us, removed)"
                  " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,"
                  " CASE WHEN ?9 > 0 THEN 'planned' ELSE 'removed' END, ?13, ?14)",
    [STMT_CONFIRM] =
        "UPDATE objects SET state = 'stored', confirmed_us = ?2, generation = ?3, reason = ''"
        " WHERE plan_id = ?1 AND state IN ('planned', 'parked')",
    [STMT_PARKED] = "UPDATE objects SET state = 'parked', reason = ?2"
                    " WHERE plan_id = ?1 AND state IN ('planned', 'parked')",
    [STMT_RESUMED] =
        "UPDATE objects SET state = 'planned', reason = '' WHERE plan_id = ?1 AND state = 'parked'",
    [STMT_LOAD] =
        "INSERT OR IGNORE INTO loads(load_id, table_name, rows_expected, state, created_us)"
        " VALUES(?1, ?2, ?3, 'pending', ?4)",
    [STMT_LOAD_PLAN] = "UPDATE objects SET load_id = ?2 WHERE plan_id = ?1 AND load_id = 0",
    [STMT_ATTEMPT] = "UPDATE loads SET attempts = max(attempts, ?2) WHERE load_id = ?1",
    [STMT_ATTEMPT_FAILED] = "UPDATE loads SET attempts = max(attempts, ?2), reason = ?3"
                            " WHERE load_id = ?1 AND state <> 'loaded'",
    [STMT_LOADED] =
        "UPDATE loads SET state = 'loaded', rows_loaded = ?2, loaded_us = ?3, reason = ''"
        " WHERE load_id = ?1 AND state <> 'loaded'",
    [STMT_LOADED_PLANS] = "UPDATE objects SET state = 'loaded', loaded_us = ?2"
                          " WHERE load_id = ?1 AND load_id > 0 AND state = 'stored'",
    [STMT_LOAD_PARKED] =
        "UPDATE loads SET state = 'parked', reason = ?2 WHERE load_id = ?1 AND state <> 'loaded'",
    [STMT_LOAD_RESUMED] =
        "UPDATE loads SET state = 'pending', reason = '' WHERE load_id = ?1 AND state = 'parked'",
    [STMT_STAGING_GONE] =
        "UPDATE objects SET state = 'deleted' WHERE plan_id = ?1 AND state = 'loaded'",
    [STMT_INSERTED] = "INSERT OR IGNORE INTO inserts VALUES(?1, ?3, ?4, ?5, ?6, ?7, ?8, ?2)",
    [STMT_INSERTED_PLAN] =
        "UPDATE objects SET state = 'inserted', confirmed_us = ?2, loaded_us = ?2, reason = ''"
        " WHERE plan_id = ?1 AND state IN ('planned', 'parked')",
    [STMT_SPLIT] = "UPDATE loads SET state = 'split', reason = ?2 WHERE load_id = ?1",
    [STMT_PART] = "INSERT OR IGNORE INTO loads(load_id, table_name, rows_expected, state, "
                  "created_us, piece_of)"
                  " VALUES(?1, coalesce((SELECT table_name FROM loads WHERE load_id = ?2), ''), "
                  "?3, 'pending',"
                  " ?4, ?5)",
    [STMT_PART_PLAN] = "UPDATE objects SET load_id = ?2 WHERE plan_id = ?1",
    [STMT_LOADED_PIECES] =
        "UPDATE objects SET state = 'loaded', loaded_us = ?2"
        " WHERE plan_id = (SELECT piece_of FROM loads WHERE load_id = ?1) AND state = 'stored'"
        " AND NOT EXISTS (SELECT 1 FROM loads p WHERE p.piece_of = objects.plan_id AND p.piece_of "
        "> 0"
        "  AND p.state IN ('pending', 'parked'))",
    [STMT_REJECTED] = "UPDATE loads SET state = 'rejected', reason = ?2, loaded_us = ?3"
                      " WHERE load_id = ?1",
    [STMT_REJECT] =
        "INSERT OR IGNORE INTO rejects VALUES(?1, ?2,"
        " coalesce((SELECT table_name FROM loads WHERE load_id = ?1), ''), 1, ?3, ?4, ?5, ?6, ?7)",
    [STMT_REBUILD_PLAN] =
        "UPDATE objects SET state = ?2, reason = ?3, load_id = ?4, generation = ?5"
        " WHERE plan_id = ?1",
    [STMT_REBUILD_LOAD] = "UPDATE loads SET state = ?2, reason = ?3, attempts = ?4, piece_of = ?5"
                          " WHERE load_id = ?1",
};

int ledger_errno(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return -EBADMSG;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_CANTOPEN:
        return -ENOENT;
    default:
        return -EIO;
    }
}

const char *ledger_message(const struct ledger *l)
{
    ASSERT(l != NULL);
    return sqlite3_errmsg(l->db);
}

static int exec(struct ledger *l, const char *sql)
{
    ASSERT(l != NULL && sql != NULL);
    return ledger_errno(sqlite3_exec(l->db, sql, NULL, NULL, NULL));
}

static int read_version(void *ctx, int columns, char **value, char **name)
{
    (void)name;
    *(int *)ctx = columns == 1 && value[0] != NULL ? (int)strtol(value[0], NULL, 10) : 0;
    return 0;
}

/* Versions before knew no duplicates, and no pieces. Looked for, not concluded from the version: an
 * upgrade may have been cut off. */
static int upgrade(struct ledger *l)
{
    int rc = 0;

    if (exec(l, "SELECT removed FROM objects LIMIT 0") != 0)
        rc = exec(l, "ALTER TABLE objects ADD COLUMN removed INTEGER NOT NULL DEFAULT 0");
    if (rc == 0 && exec(l, "SELECT piece_of FROM loads LIMIT 0") != 0)
        rc = exec(l, "ALTER TABLE loads ADD COLUMN piece_of INTEGER NOT NULL DEFAULT 0");
    return rc;
}

/* A reader of a ready database must not ask for the write lock: look before creating. */
static int ensure_schema(struct ledger *l)
{
    int version = 0;
    int rc = ledger_errno(sqlite3_exec(l->db, "PRAGMA user_version", read_version, &version, NULL));

    if (rc != 0 || version == LEDGER_VERSION)
        return rc;
    rc = exec(l, "PRAGMA journal_mode = WAL");
    if (rc == 0 && version > 0)
        rc = upgrade(l);
    if (rc == 0)
        rc = exec(l, schema_sql);
    if (rc != 0 && sqlite3_get_autocommit(l->db) == 0)
        ledger_rollback(l);
    return rc;
}

int ledger_open(const char *path, struct ledger **out, char *error, size_t error_len)
{
    struct ledger *l = calloc(1, sizeof(*l));
    int rc;

    ASSERT(path != NULL && out != NULL);
    if (l == NULL)
        return -ENOMEM;
    rc = ledger_errno(
        sqlite3_open_v2(path, &l->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL));
    if (rc == 0) {
        sqlite3_busy_timeout(l->db, BUSY_TIMEOUT_MS);
        rc = ensure_schema(l);
    }
    if (rc == 0)
        rc = exec(l, "PRAGMA synchronous = FULL");
    if (rc != 0) {
        snprintf(error, error_len, "the ledger %s cannot be opened: %s", path,
                 l->db == NULL ? "no memory" : sqlite3_errmsg(l->db));
        ledger_close(l);
        return rc;
    }
    *out = l;
    return 0;
}

void ledger_close(struct ledger *l)
{
    int rc;

    if (l == NULL)
        return;
    for (int i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(l->stmt[i]);
    rc = sqlite3_close(l->db);
    ASSERT(rc == SQLITE_OK); /* a statement was left open */
    free(l);
}

/* ---- writing ---- */

static sqlite3_stmt *statement(struct ledger *l, enum ledger_statement which)
{
    ASSERT(which < STMT_COUNT);
    if (l->stmt[which] == NULL &&
        sqlite3_prepare_v3(l->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                           &l->stmt[which], NULL) != SQLITE_OK)
        return NULL;
    return l->stmt[which];
}

static int run(struct ledger *l, sqlite3_stmt *st)
{
    int rc;

    ASSERT(sqlite3_get_autocommit(l->db) == 0); /* part of a batch, with its position */
    rc = sqlite3_step(st);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return ledger_errno(rc);
}

static void bind_text(sqlite3_stmt *st, int at, const char *text, size_t len)
{
    ASSERT(len <= INT32_MAX);
    sqlite3_bind_text(st, at, len == 0 ? "" : text, (int)len, SQLITE_TRANSIENT);
}

static int insert_plan(struct ledger *l, const struct plan *p)
{
    sqlite3_stmt *st = statement(l, STMT_PLAN);

    if (st == NULL)
        return ledger_errno(sqlite3_errcode(l->db));
    sqlite3_bind_int64(st, 1, (sqlite3_int64)p->id);
    bind_text(st, 2, p->key.type, p->key.type_len);
    sqlite3_bind_int(st, 3, p->key.kind);
    sqlite3_bind_int(st, 4, p->key.encoding);
    sqlite3_bind_int(st, 5, p->key.flags | (p->gzip ? LEDGER_FLAG_GZIP : 0));
    sqlite3_bind_int(st, 6, p->key.minute);
    bind_text(st, 7, p->object, strnlen(p->object, sizeof(p->object)));
    sqlite3_bind_int64(st, 8, (sqlite3_int64)p->events);
    sqlite3_bind_int64(st, 9, (sqlite3_int64)p->lines);
    sqlite3_bind_int64(st, 10, (sqlite3_int64)p->bytes);
    sqlite3_bind_int64(st, 11, p->crc32c);
    sqlite3_bind_int(st, 12, p->to_load);
    sqlite3_bind_int64(st, 13, p->planned_us);
    sqlite3_bind_int64(st, 14, (sqlite3_int64)p->removed);
    return run(l, st);
}

static int insert_load(struct ledger *l, const struct load *load, int64_t created_us)
{
    sqlite3_stmt *st = statement(l, STMT_LOAD);

    if (st == NULL)
        return ledger_errno(sqlite3_errcode(l->db));
    sqlite3_bind_int64(st, 1, (sqlite3_int64)load->id);
    bind_text(st, 2, load->table, strnlen(load->table, sizeof(load->table)));
    sqlite3_bind_int64(st, 3, (sqlite3_int64)load->rows);
    sqlite3_bind_int64(st, 4, created_us);
    return run(l, st);
}

static int take_plan(struct ledger *l, enum ledger_statement which, uint64_t plan_id,
                     uint64_t load_id)
{
    sqlite3_stmt *st = statement(l, which);

    if (st == NULL)
        return ledger_errno(sqlite3_errcode(l->db));
    sqlite3_bind_int64(st, 1, (sqlite3_int64)plan_id);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)load_id);
    return run(l, st);
}

static int apply_load(struct ledger *l, const struct record_view *r)
{
    int rc = insert_load(l, &r->load, r->time_us);

    ASSERT(r->load.n_plans > 0);
    for (uint32_t i = 0; rc == 0 && i < r->load.n_plans; i++)
        rc = take_plan(l, STMT_LOAD_PLAN, record_load_id(r, i), r->load.id);
    return rc;
}

static int insert_part(struct ledger *l, const struct record_view *r, uint32_t i)
{
    const struct load_part *p = &r->split.part[i];
    sqlite3_stmt *st = statement(l, STMT_PART);
    int rc;

    ASSERT(i < r->split.n_parts);

    if (st == NULL)
        return ledger_errno(sqlite3_errcode(l->db));
    sqlite3_bind_int64(st, 1, (sqlite3_int64)p->id);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)r->load_id);
    sqlite3_bind_int64(st, 3, (sqlite3_int64)p->rows);
    sqlite3_bind_int64(st, 4, r->time_us);
    sqlite3_bind_int64(st, 5, p->piece ? (sqlite3_int64)record_part_id(r, i, 0) : 0);
    rc = run(l, st);
    for (uint32_t k = 0; rc == 0 && !p->piece && k < p->n_plans; k++)
        rc = take_plan(l, STMT_PART_PLAN, record_part_id(r, i, k), p->id);
    return rc;
}

static int insert_reject(struct ledger *l, const struct record_view *r)
{
    sqlite3_stmt *st = statement(l, STMT_REJECT);

    if (st == NULL)
        return ledger_errno(sqlite3_errcode(l->db));
    sqlite3_bind_int64(st, 1, (sqlite3_int64)r->load_id);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)r->plan_id);
    bind_text(st, 3, r->reject.object, strnlen(r->reject.object, sizeof(r->reject.object)));
    sqlite3_bind_int64(st, 4, (sqlite3_int64)r->reject.bytes);
    sqlite3_bind_int64(st, 5, r->reject.crc32c);
    sqlite3_bind_int64(st, 6, r->time_us);
    bind_text(st, 7, r->text, r->text_len);
    return run(l, st);
}

static void bind_outcome(sqlite3_stmt *st, const struct plan_outcome *o, int64_t time_us)
{
    ASSERT((o->refused > 0) == (o->objects > 0));
    sqlite3_bind_int64(st, 2, time_us);
    bind_text(st, 3, o->table, strnlen(o->table, sizeof(o->table)));
    sqlite3_bind_int64(st, 4, (sqlite3_int64)o->rows);
    sqlite3_bind_int64(st, 5, (sqlite3_int64)o->refused);
    sqlite3_bind_int64(st, 6, o->objects);
    sqlite3_bind_int64(st, 7, (sqlite3_int64)o->dead_bytes);
    sqlite3_bind_int64(st, 8, o->dead_crc32c);
}

static bool by_load(uint8_t type)
{
    return (type >= RECORD_LOAD && type < RECORD_STAGING_GONE) || type == RECORD_LOAD_SPLIT ||
           type == RECORD_LOAD_REJECTED;
}

/* One UPDATE by id with up to two further values; which of them follows from the type. */
static int apply_update(struct ledger *l, enum ledger_statement which, const struct record_view *r)
{
    sqlite3_stmt *st = statement(l, which);

    if (st == NULL)
        return ledger_errno(sqlite3_errcode(l->db));
    sqlite3_bind_int64(st, 1, (sqlite3_int64)(by_load(r->type) ? r->load_id : r->plan_id));
    switch (which) {
    case STMT_CONFIRM:
        sqlite3_bind_int64(st, 2, r->time_us);
        sqlite3_bind_int64(st, 3, r->generation);
        break;
    case STMT_PARKED:
    case STMT_LOAD_PARKED:
    case STMT_SPLIT:
        bind_text(st, 2, r->text, r->text_len);
        break;
    case STMT_ATTEMPT:
        sqlite3_bind_int64(st, 2, r->attempt);
        break;
    case STMT_ATTEMPT_FAILED:
        sqlite3_bind_int64(st, 2, r->attempt);
        bind_text(st, 3, r->text, r->text_len);
        break;
    case STMT_LOADED:
        sqlite3_bind_int64(st, 2, (sqlite3_int64)r->rows);
        sqlite3_bind_int64(st, 3, r->time_us);
        break;
    case STMT_REJECTED:
        bind_text(st, 2, r->text, r->text_len);
        sqlite3_bind_int64(st, 3, r->time_us);
        break;
    case STMT_LOADED_PLANS:
    case STMT_LOADED_PIECES:
    case STMT_INSERTED_PLAN:
        sqlite3_bind_int64(st, 2, r->time_us);
        break;
    case STMT_INSERTED:
        bind_outcome(st, &r->outcome, r->time_us);
        break;
    default:
        break;
    }
    return run(l, st);
}

/* The rows of a load are settled: its objects are, when all of their lines are. */
static int apply_settled(struct ledger *l, enum ledger_statement which, const struct record_view *r)
{
    int rc = apply_update(l, which, r);

    ASSERT(which == STMT_LOADED || which == STMT_REJECTED);
    if (rc == 0 && which == STMT_REJECTED)
        rc = insert_reject(l, r);
    if (rc == 0)
        rc = apply_update(l, STMT_LOADED_PLANS, r);
    return rc != 0 ? rc : apply_update(l, STMT_LOADED_PIECES, r);
}

static int apply_split(struct ledger *l, const struct record_view *r)
{
    int rc = apply_update(l, STMT_SPLIT, r);

    for (uint32_t i = 0; rc == 0 && i < r->split.n_parts; i++)
        rc = insert_part(l, r, i);
    return rc;
}

int ledger_apply(struct ledger *l, const struct record_view *r)
{
    int rc;

    ASSERT(l != NULL && r != NULL && sqlite3_get_autocommit(l->db) == 0);
    switch (r->type) {
    case RECORD_PLAN:
        return insert_plan(l, &r->plan);
    case RECORD_CONFIRM:
        return apply_update(l, STMT_CONFIRM, r);
    case RECORD_PARKED:
        return apply_update(l, STMT_PARKED, r);
    case RECORD_RESUMED:
        return apply_update(l, STMT_RESUMED, r);
    case RECORD_LOAD:
        return apply_load(l, r);
    case RECORD_ATTEMPT:
        return apply_update(l, STMT_ATTEMPT, r);
    case RECORD_ATTEMPT_FAILED:
        return apply_update(l, STMT_ATTEMPT_FAILED, r);
    case RECORD_LOADED:
        return apply_settled(l, STMT_LOADED, r);
    case RECORD_LOAD_REJECTED:
        return apply_settled(l, STMT_REJECTED, r);
    case RECORD_LOAD_SPLIT:
        return apply_split(l, r);
    case RECORD_LOAD_PARKED:
        return apply_update(l, STMT_LOAD_PARKED, r);
    case RECORD_LOAD_RESUMED:
        return apply_update(l, STMT_LOAD_RESUMED, r);
    case RECORD_STAGING_GONE:
        return apply_update(l, STMT_STAGING_GONE, r);
    case RECORD_INSERTED:
        rc = apply_update(l, STMT_INSERTED, r);
        return rc != 0 ? rc : apply_update(l, STMT_INSERTED_PLAN, r);
    default:
        return 0; /* floors and marks are not its business */
    }
}

int ledger_begin(struct ledger *l)
{
    return exec(l, "BEGIN IMMEDIATE");
}

void ledger_rollback(struct ledger *l)
{
    int rc = sqlite3_get_autocommit(l->db) ? 0 : exec(l, "ROLLBACK");

    (void)rc; /* a failed rollback leaves nothing committed either */
}

int ledger_commit(struct ledger *l, uint64_t applied_seq)
{
    char sql[96];
    int rc;

    ASSERT(sqlite3_get_autocommit(l->db) == 0); /* counts and position together */
    snprintf(sql, sizeof(sql), "UPDATE meta SET applied_seq = %llu",
             (unsigned long long)applied_seq);
    rc = exec(l, sql);
    if (rc == 0)
        rc = exec(l, "COMMIT");
    if (rc != 0)
        ledger_rollback(l);
    return rc;
}

int ledger_position(struct ledger *l, struct journal_uuid *log, bool *bound, uint64_t *applied_seq)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(l->db, "SELECT log, applied_seq FROM meta", -1, &st, NULL);

    ASSERT(log != NULL && bound != NULL && applied_seq != NULL);
    *bound = false;
    *applied_seq = 0;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *bound = sqlite3_column_bytes(st, 0) == (int)sizeof(log->byte);
        if (*bound)
            memcpy(log->byte, sqlite3_column_blob(st, 0), sizeof(log->byte));
        *applied_seq = (uint64_t)sqlite3_column_int64(st, 1);
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? -EBADMSG : ledger_errno(rc);
}

int ledger_bind(struct ledger *l, const struct journal_uuid *log)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(l->db, "UPDATE meta SET log = ?1, applied_seq = 0", -1, &st, NULL);

    ASSERT(log != NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_blob(st, 1, log->byte, sizeof(log->byte), SQLITE_TRANSIENT);
        rc = sqlite3_step(st);
    }
    sqlite3_finalize(st);
    return ledger_errno(rc);
}

/* ---- rebuilding ---- */

struct rebuild {
    struct ledger *l;
    const struct delivery_state *s;
    int rc;
};

static void rebuild_load(void *ctx, const struct load *load, enum load_status status,
                         const char *text)
{
    static const char *const name[] = {
        [LOAD_PENDING] = "pending", [LOAD_PARKED] = "parked", [LOAD_DONE] = "loaded"};
    struct rebuild *b = ctx;
    sqlite3_stmt *st = statement(b->l, STMT_REBUILD_LOAD);

    ASSERT(status < ARRAY_LEN(name));
    if (b->rc == 0)
        b->rc = st == NULL ? -EIO : insert_load(b->l, load, 0);
    if (b->rc != 0)
        return;
    sqlite3_bind_int64(st, 1, (sqlite3_int64)load->id);
    bind_text(st, 2, name[status], strlen(name[status]));
    bind_text(st, 3, text, strlen(text));
    sqlite3_bind_int64(st, 4, load->attempt);
    sqlite3_bind_int64(st, 5, load->piece ? (sqlite3_int64)load->plan_id[0] : 0);
    b->rc = run(b->l, st);
}

static const char *object_state(const struct rebuild *b, enum plan_status status, uint64_t load_id,
                                const char *text)
{
    const struct state_load *load = idmap_get(&b->s->loads, load_id);

    if (load != NULL && load->status == LOAD_DONE)
        return "loaded";
    if (status == PLAN_CONFIRMED)
        return "stored";
    return status == PLAN_PARKED || text[0] != '\0' ? "parked" : "planned";
}

static void rebuild_plan(void *ctx, const struct plan *plan, enum plan_status status,
                         uint64_t load_id, const char *text)
{
    struct rebuild *b = ctx;
    sqlite3_stmt *st = statement(b->l, STMT_REBUILD_PLAN);
    const char *state = object_state(b, status, load_id, text);

    if (b->rc == 0)
        b->rc = st == NULL ? -EIO : insert_plan(b->l, plan);
    if (b->rc != 0)
        return;
    sqlite3_bind_int64(st, 1, (sqlite3_int64)plan->id);
    bind_text(st, 2, state, strlen(state));
    bind_text(st, 3, text, strlen(text));
    sqlite3_bind_int64(st, 4, (sqlite3_int64)load_id);
    sqlite3_bind_int64(st, 5, state_generation(b->s, plan->id));
    b->rc = run(b->l, st);
}

int ledger_rebuild(struct ledger *l, const struct delivery_state *s, uint64_t applied_seq)
{
    struct rebuild b = {.l = l, .s = s, .rc = ledger_begin(l)};

    ASSERT(s != NULL);
    if (b.rc != 0)
        return b.rc;
    state_each_plan(s, rebuild_plan, &b);
    state_each_load(s, rebuild_load, &b);
    if (b.rc != 0) {
        ledger_rollback(l);
        return b.rc;
    }
    return ledger_commit(l, applied_seq);
}
