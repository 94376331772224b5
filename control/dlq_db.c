/* COLD. The database of dead letters' fates; see dlq_db.h. */
#include "control/dlq_db.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include <sqlite3.h>

#include "dataplane/base/clock.h"

#define BUSY_TIMEOUT_MS 5000
#define UNKNOWN_SEQ     "9223372036854775807" /* of letters whose session was forgotten */
#define MESSAGE_BYTES   512

static const char schema_sql[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS meta(id INTEGER PRIMARY KEY CHECK(id = 1), session BLOB NOT NULL,"
    " stored_seq INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS letters(journal BLOB NOT NULL, lsn INTEGER NOT NULL,"
    " state INTEGER NOT NULL, was INTEGER NOT NULL, at_us INTEGER NOT NULL, uid INTEGER NOT NULL,"
    " seq INTEGER NOT NULL, object INTEGER NOT NULL, outcome TEXT NOT NULL,"
    " PRIMARY KEY(journal, lsn)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS letters_intent ON letters(seq) WHERE state = 1;"
    "CREATE INDEX IF NOT EXISTS letters_object ON letters(object);"
    "CREATE TABLE IF NOT EXISTS objects(object INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " generation INTEGER NOT NULL DEFAULT 0, letters INTEGER NOT NULL DEFAULT 0,"
    " odd INTEGER NOT NULL DEFAULT 1);"
    "CREATE TABLE IF NOT EXISTS ranges(object INTEGER NOT NULL, journal BLOB NOT NULL,"
    " least INTEGER NOT NULL, most INTEGER NOT NULL, PRIMARY KEY(object, journal)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS ranges_journal ON ranges(journal, least);"
    "CREATE TABLE IF NOT EXISTS deletions(name TEXT PRIMARY KEY, letters INTEGER NOT NULL,"
    " at_us INTEGER NOT NULL, uid INTEGER NOT NULL, done INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT OR IGNORE INTO meta VALUES(1, randomblob(16), 0);"
    "PRAGMA user_version = 1;"
    "COMMIT;";

enum statement {
    MARK,
    INTEND,
    INTEND_DROPPED,
    INTEND_UNKNOWN,
    DONE,
    STORED_SEQ,
    SETTLE_CHECK,
    SETTLE_STORED,
    SETTLE_BACK,
    SETTLE_NEW,
    DROP,
    DROP_UNKNOWN,
    RENEW,
    RENEW_LETTERS,
    OBJECT_ADD,
    OBJECT_ID,
    OBJECT_KNOWN,
    OBJECT_PUT,
    RANGES_GONE,
    RANGE_PUT,
    OBJECT_FACT,
    OBJECT_HANDLED,
    OBJECT_RANGE,
    FIND,
    DELETE_BEGIN,
    DELETE_DONE,
    DELETE_UNDO,
    DELETED,
    COUNTS,
    STATEMENTS
};

static const char *const statement_sql[STATEMENTS] = {
    [MARK] = "SELECT state, at_us, uid, outcome FROM letters WHERE journal = ?1 AND lsn = ?2",
    [INTEND] = "INSERT OR IGNORE INTO letters VALUES(?1, ?2, 1, 0, ?3, ?4, ?5, ?6, '')",
    [INTEND_DROPPED] = "UPDATE letters SET state = 1, was = 3, at_us = ?3, uid = ?4, seq = ?5,"
                       " object = ?6 WHERE journal = ?1 AND lsn = ?2 AND state = 3",
    [INTEND_UNKNOWN] =
        "UPDATE letters SET was = 0, at_us = ?3, uid = ?4, seq = ?5, object = ?6,"
        " outcome = '' WHERE journal = ?1 AND lsn = ?2 AND state = 1 AND seq = " UNKNOWN_SEQ,
    [DONE] = "UPDATE letters SET state = 2, at_us = ?3, outcome = ?4"
             " WHERE journal = ?1 AND lsn = ?2 AND state = 1 AND seq = ?5",
    [STORED_SEQ] = "UPDATE meta SET stored_seq = max(stored_seq, ?1)",
    [SETTLE_CHECK] = "SELECT stored_seq FROM meta",
    [SETTLE_STORED] = "UPDATE letters SET state = 2, at_us = ?2, outcome = 'stored' WHERE state = "
                      "1 AND seq <= ?1",
    [SETTLE_BACK] = "UPDATE letters SET state = 3, seq = 0"
                    " WHERE state = 1 AND was = 3 AND seq < " UNKNOWN_SEQ,
    [SETTLE_NEW] = "DELETE FROM letters WHERE state = 1 AND seq < " UNKNOWN_SEQ,
    [DROP] = "INSERT OR IGNORE INTO letters VALUES(?1, ?2, 3, 0, ?3, ?4, 0, ?5, '')",
    [DROP_UNKNOWN] = "UPDATE letters SET state = 3, at_us = ?3, uid = ?4, seq = 0, outcome = ''"
                     " WHERE journal = ?1 AND lsn = ?2 AND state = 1 AND seq = " UNKNOWN_SEQ,
    [RENEW] = "UPDATE meta SET session = randomblob(16), stored_seq = 0",
    [RENEW_LETTERS] =
        "UPDATE letters SET seq = " UNKNOWN_SEQ ", outcome = 'unknown' WHERE state = 1",
    [OBJECT_ADD] = "INSERT INTO objects(name) VALUES(?1)",
    [OBJECT_ID] = "SELECT object FROM objects WHERE name = ?1",
    [OBJECT_KNOWN] = "SELECT 1 FROM objects"
                     " WHERE name = ?1 AND generation = ?2 AND letters = ?3 AND odd = ?4",
    [OBJECT_PUT] = "UPDATE objects SET generation = ?2, letters = ?3, odd = ?4 WHERE object = ?1",
    [RANGES_GONE] = "DELETE FROM ranges WHERE object = ?1",
    [RANGE_PUT] = "INSERT OR REPLACE INTO ranges VALUES(?1, ?2, ?3, ?4)",
    [OBJECT_FACT] = "SELECT object, letters FROM objects"
                    " WHERE name = ?1 AND generation = ?2 AND odd = 0",
    [OBJECT_HANDLED] = "SELECT count(*) FROM letters WHERE object = ?1 AND state >= 2",
    [OBJECT_RANGE] = "SELECT 1 FROM ranges WHERE object = ?1 AND journal = ?2 AND least <= ?3"
                     " AND most >= ?3",
    [FIND] = "SELECT name FROM ranges JOIN objects USING(object)"
             " WHERE journal = ?1 AND least <= ?2 AND most >= ?2",
    [DELETE_BEGIN] = "INSERT OR REPLACE INTO deletions VALUES(?1, ?2, ?3, ?4, 0)",
    [DELETE_DONE] = "UPDATE deletions SET done = 1 WHERE name = ?1",
    [DELETE_UNDO] = "DELETE FROM deletions WHERE name = ?1 AND done = 0",
    [DELETED] = "SELECT name, letters FROM deletions ORDER BY name",
    [COUNTS] = "SELECT (SELECT count(*) FROM letters WHERE state = 1),"
               " (SELECT count(*) FROM letters WHERE state = 2),"
               " (SELECT count(*) FROM letters WHERE state = 3),"
               " (SELECT count(*) FROM deletions WHERE done = 1)",
};

struct dlq_db {
    sqlite3 *db;
    sqlite3_stmt *stmt[STATEMENTS];
    pthread_mutex_t lock;
    uint8_t session[DLQ_SESSION_BYTES];
    char message[MESSAGE_BYTES]; /* of the latest failure */
    _Atomic uint64_t replaying, replayed, dropped, objects_deleted;
};

static int db_errno(int rc)
{
    ASSERT(rc != SQLITE_OK);
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return -EBADMSG;
    case SQLITE_READONLY:
        return -EROFS;
    default:
        return -EIO;
    }
}

static int fail(struct dlq_db *db, int rc)
{
    ASSERT(db->db != NULL);
    snprintf(db->message, sizeof(db->message), "%s", sqlite3_errmsg(db->db));
    return db_errno(rc);
}

static int exec(struct dlq_db *db, const char *sql)
{
    int rc = sqlite3_exec(db->db, sql, NULL, NULL, NULL);

    ASSERT(sql != NULL);
    return rc == SQLITE_OK ? 0 : fail(db, rc);
}

/* ---- transactions: begin() takes the lock, end() gives it back ---- */

static int begin(struct dlq_db *db)
{
    int rc;

    pthread_mutex_lock(&db->lock);
    ASSERT(sqlite3_get_autocommit(db->db));
    rc = exec(db, "BEGIN IMMEDIATE");
    if (rc != 0)
        pthread_mutex_unlock(&db->lock);
    return rc;
}

/* ---- statements; under the lock ---- */

static sqlite3_stmt *prepare(struct dlq_db *db, enum statement which)
{
    ASSERT(which < STATEMENTS && statement_sql[which] != NULL);
    if (db->stmt[which] == NULL &&
        sqlite3_prepare_v3(db->db, statement_sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                           &db->stmt[which], NULL) != SQLITE_OK)
        return NULL;
    return db->stmt[which];
}

static void bind_number(sqlite3_stmt *st, int index, int64_t v)
{
    ASSERT(index > 0);
    if (st != NULL)
        sqlite3_bind_int64(st, index, v);
}

static void bind_text(sqlite3_stmt *st, int index, const char *text)
{
    ASSERT(text != NULL);
    if (st != NULL)
        sqlite3_bind_text(st, index, text, -1, SQLITE_TRANSIENT);
}

static void bind_journal(sqlite3_stmt *st, int index, const struct journal_uuid *journal)
{
    ASSERT(journal != NULL);
    if (st != NULL)
        sqlite3_bind_blob(st, index, journal->byte, sizeof(journal->byte), SQLITE_TRANSIENT);
}

static void bind_id(sqlite3_stmt *st, const struct dlq_id *id)
{
    bind_journal(st, 1, &id->journal);
    bind_number(st, 2, (int64_t)id->lsn);
}

/* Runs a statement that changes something. @return rows changed, or -errno. */
static int run(struct dlq_db *db, sqlite3_stmt *st)
{
    int rc = st != NULL ? sqlite3_step(st) : sqlite3_errcode(db->db);
    int changed = 0;

    ASSERT(rc != SQLITE_ROW);
    if (rc == SQLITE_DONE)
        changed = sqlite3_changes(db->db);
    else
        changed = fail(db, rc);
    if (st != NULL)
        sqlite3_reset(st);
    return changed;
}

/* Takes a row. @return 1; 0 when there is none; -errno. The caller resets. */
static int step(struct dlq_db *db, sqlite3_stmt *st)
{
    int rc = st != NULL ? sqlite3_step(st) : sqlite3_errcode(db->db);

    ASSERT(db->db != NULL);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : fail(db, rc);
}

static void reset(sqlite3_stmt *st)
{
    if (st != NULL)
        sqlite3_reset(st);
}

/* ---- life ---- */

static int count_all(struct dlq_db *db)
{
    sqlite3_stmt *st = prepare(db, COUNTS);
    int rc = step(db, st);

    ASSERT(rc <= 1);
    if (rc == 1) {
        atomic_store(&db->replaying, (uint64_t)sqlite3_column_int64(st, 0));
        atomic_store(&db->replayed, (uint64_t)sqlite3_column_int64(st, 1));
        atomic_store(&db->dropped, (uint64_t)sqlite3_column_int64(st, 2));
        atomic_store(&db->objects_deleted, (uint64_t)sqlite3_column_int64(st, 3));
    }
    reset(st);
    return rc == 1 ? 0 : rc < 0 ? rc : -EBADMSG;
}

static int read_session(struct dlq_db *db)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->db, "SELECT session FROM meta", -1, &st, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW && sqlite3_column_bytes(st, 0) == DLQ_SESSION_BYTES)
        memcpy(db->session, sqlite3_column_blob(st, 0), DLQ_SESSION_BYTES);
    else
        rc = rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
    ASSERT(rc != SQLITE_OK);
    if (rc != SQLITE_ROW)
        rc = fail(db, rc);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? 0 : rc;
}

/* Ends a transaction. After a failure, what is kept in memory is read again. */
static int end(struct dlq_db *db, int rc)
{
    if (rc == 0)
        rc = exec(db, "COMMIT");
    if (rc != 0) {
        char message[MESSAGE_BYTES];

        memcpy(message, db->message, sizeof(message));
        if (!sqlite3_get_autocommit(db->db))
            (void)sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
        (void)!count_all(db);
        (void)!read_session(db);
        memcpy(db->message, message, sizeof(message));
    }
    ASSERT(sqlite3_get_autocommit(db->db));
    pthread_mutex_unlock(&db->lock);
    return rc;
}

static int prepare_file(struct dlq_db *db)
{
    int rc = exec(db, "PRAGMA journal_mode = WAL");

    ASSERT(rc <= 0);
    sqlite3_busy_timeout(db->db, BUSY_TIMEOUT_MS);
    if (rc == 0)
        rc = exec(db, "PRAGMA synchronous = FULL");
    if (rc == 0)
        rc = exec(db, schema_sql);
    if (rc != 0 && !sqlite3_get_autocommit(db->db))
        (void)sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
    if (rc == 0)
        rc = read_session(db);
    return rc == 0 ? count_all(db) : rc;
}

int dlq_db_open(const char *path, struct dlq_db **out, char *error, size_t error_len)
{
    struct dlq_db *db = calloc(1, sizeof(*db));
    int rc;

    ASSERT(path != NULL && out != NULL);
    if (db == NULL) {
        snprintf(error, error_len, "%s: out of memory", path);
        return -ENOMEM;
    }
    pthread_mutex_init(&db->lock, NULL);
    rc = sqlite3_open_v2(path, &db->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (rc != SQLITE_OK && db->db == NULL)
        rc = -ENOMEM;
    else
        rc = rc != SQLITE_OK ? fail(db, rc) : prepare_file(db);
    if (rc != 0) {
        snprintf(error, error_len, "%s cannot be used: %s", path,
                 db->db != NULL ? db->message : "out of memory");
        dlq_db_close(db);
        return rc;
    }
    *out = db;
    return 0;
}

void dlq_db_close(struct dlq_db *db)
{
    if (db == NULL)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(db->stmt[i]);
    if (sqlite3_close(db->db) != SQLITE_OK)
        ASSERT(!"a statement was left open");
    pthread_mutex_destroy(&db->lock);
    free(db);
}

const uint8_t *dlq_db_session(const struct dlq_db *db)
{
    ASSERT(db != NULL);
    return db->session;
}

void dlq_db_message(struct dlq_db *db, char *out, size_t out_len)
{
    ASSERT(out_len > 0);
    pthread_mutex_lock(&db->lock);
    snprintf(out, out_len, "dlq.db: %s", db->message);
    pthread_mutex_unlock(&db->lock);
}

void dlq_db_counts(const struct dlq_db *db, struct dlq_counts *out)
{
    ASSERT(out != NULL);
    *out = (struct dlq_counts){
        .replaying = atomic_load_explicit(&db->replaying, memory_order_relaxed),
        .replayed = atomic_load_explicit(&db->replayed, memory_order_relaxed),
        .dropped = atomic_load_explicit(&db->dropped, memory_order_relaxed),
        .objects_deleted = atomic_load_explicit(&db->objects_deleted, memory_order_relaxed),
    };
}

/* The number of an object's name, made if new; -errno. Under the lock, in a transaction. */
static int64_t object_number(struct dlq_db *db, const char *name)
{
    sqlite3_stmt *st = prepare(db, OBJECT_ID);
    int64_t object = 0;
    int rc;

    ASSERT(name[0] != '\0');
    bind_text(st, 1, name);
    rc = step(db, st);
    if (rc == 1)
        object = sqlite3_column_int64(st, 0);
    reset(st);
    if (rc != 0)
        return rc == 1 ? object : rc;
    st = prepare(db, OBJECT_ADD);
    bind_text(st, 1, name);
    rc = run(db, st);
    return rc < 0 ? rc : sqlite3_last_insert_rowid(db->db);
}

/* ---- letters ---- */

int dlq_db_mark(struct dlq_db *db, const struct dlq_id *id, struct dlq_mark *out)
{
    sqlite3_stmt *st;
    int rc;

    ASSERT(out != NULL);
    *out = (struct dlq_mark){.state = DLQ_NEW};
    pthread_mutex_lock(&db->lock);
    st = prepare(db, MARK);
    bind_id(st, id);
    rc = step(db, st);
    if (rc == 1) {
        int state = sqlite3_column_int(st, 0);
        const unsigned char *outcome = sqlite3_column_text(st, 3);

        out->state = state > DLQ_NEW && state < DLQ_STATES ? (enum dlq_state)state : DLQ_INTENT;
        out->at_us = sqlite3_column_int64(st, 1);
        out->uid = (uint32_t)sqlite3_column_int64(st, 2);
        snprintf(out->outcome, sizeof(out->outcome), "%s",
                 outcome != NULL ? (const char *)outcome : "");
    }
    reset(st);
    pthread_mutex_unlock(&db->lock);
    return rc < 0 ? rc : 0;
}

static int intend_run(struct dlq_db *db, enum statement which, uint64_t seq,
                      const struct dlq_entry *e, int64_t object, uint32_t uid)
{
    sqlite3_stmt *st = prepare(db, which);

    ASSERT(seq > 0 && object > 0);
    bind_id(st, &e->id);
    bind_number(st, 3, clock_wall_us());
    bind_number(st, 4, uid);
    bind_number(st, 5, (int64_t)seq);
    bind_number(st, 6, object);
    return run(db, st);
}

/* @return 0; 1 when the letter was dropped before, or nobody knows what became of it; -errno. */
static int intend_one(struct dlq_db *db, uint64_t seq, const struct dlq_entry *e, uint32_t uid)
{
    int64_t object = object_number(db, e->object);
    int changed;

    ASSERT(e->object != NULL);
    if (object < 0)
        return (int)object;
    changed = intend_run(db, INTEND, seq, e, object, uid);
    if (changed != 0)
        return changed < 0 ? changed : 0;
    changed = intend_run(db, INTEND_DROPPED, seq, e, object, uid);
    if (changed == 0)
        changed = intend_run(db, INTEND_UNKNOWN, seq, e, object, uid);
    if (changed == 0)
        snprintf(db->message, sizeof(db->message), "a letter is replayed already");
    return changed == 0 ? -EEXIST : changed;
}

int dlq_db_intend(struct dlq_db *db, uint64_t seq, const struct dlq_entry *e, uint32_t n,
                  uint32_t uid)
{
    int rc = begin(db);
    bool odd = false; /* the counts must be taken again */

    ASSERT(n > 0);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; rc >= 0 && i < n; i++) {
        rc = intend_one(db, seq, &e[i], uid);
        odd = odd || rc > 0;
    }
    if (rc >= 0)
        rc = odd ? count_all(db) : 0;
    rc = end(db, rc);
    if (rc == 0 && !odd)
        atomic_fetch_add(&db->replaying, n);
    return rc;
}

static int done_one(struct dlq_db *db, uint64_t seq, const struct dlq_entry *e)
{
    sqlite3_stmt *st = prepare(db, DONE);
    int changed;

    ASSERT(e->outcome != NULL);
    bind_id(st, &e->id);
    bind_number(st, 3, clock_wall_us());
    bind_text(st, 4, e->outcome);
    bind_number(st, 5, (int64_t)seq);
    changed = run(db, st);
    return changed < 0 ? changed : 0;
}

static int note_stored(struct dlq_db *db, uint64_t seq)
{
    sqlite3_stmt *st = prepare(db, STORED_SEQ);
    int changed;

    ASSERT(seq <= INT64_MAX);
    bind_number(st, 1, (int64_t)seq);
    changed = run(db, st);
    return changed < 0 ? changed : 0;
}

int dlq_db_done(struct dlq_db *db, uint64_t seq, const struct dlq_entry *e, uint32_t n)
{
    int rc = begin(db);

    ASSERT(n > 0);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        rc = done_one(db, seq, &e[i]);
    if (rc == 0)
        rc = note_stored(db, seq);
    rc = end(db, rc);
    if (rc == 0) {
        atomic_fetch_sub(&db->replaying, n);
        atomic_fetch_add(&db->replayed, n);
    }
    return rc;
}

/* A session that knows less than what is known to be stored was forgotten. */
static int settle_check(struct dlq_db *db, uint64_t last_seq)
{
    sqlite3_stmt *st = prepare(db, SETTLE_CHECK);
    int rc = step(db, st);

    ASSERT(rc <= 1);
    if (rc == 1 && (uint64_t)sqlite3_column_int64(st, 0) > last_seq) {
        snprintf(db->message, sizeof(db->message),
                 "batch %lld was stored, but the daemon knows of "
                 "%llu only",
                 (long long)sqlite3_column_int64(st, 0), (unsigned long long)last_seq);
        rc = -ERANGE;
    }
    reset(st);
    return rc == 1 ? 0 : rc == 0 ? -EBADMSG : rc;
}

static int settle_run(struct dlq_db *db, enum statement which, uint64_t last_seq, uint64_t *n)
{
    sqlite3_stmt *st = prepare(db, which);
    int changed;

    ASSERT(n != NULL);
    if (which == SETTLE_STORED) {
        bind_number(st, 1, (int64_t)last_seq);
        bind_number(st, 2, clock_wall_us());
    }
    changed = run(db, st);
    *n += changed > 0 ? (uint64_t)changed : 0;
    return changed < 0 ? changed : 0;
}

int dlq_db_settle(struct dlq_db *db, uint64_t last_seq, uint64_t *stored, uint64_t *returned)
{
    int rc = begin(db);

    ASSERT(stored != NULL && returned != NULL);
    *stored = *returned = 0;
    if (rc != 0)
        return rc;
    rc = settle_check(db, last_seq);
    if (rc == 0)
        rc = settle_run(db, SETTLE_STORED, last_seq, stored);
    if (rc == 0)
        rc = settle_run(db, SETTLE_BACK, 0, returned);
    if (rc == 0)
        rc = settle_run(db, SETTLE_NEW, 0, returned);
    if (rc == 0)
        rc = note_stored(db, last_seq);
    if (rc == 0)
        rc = count_all(db);
    return end(db, rc);
}

int dlq_db_renew(struct dlq_db *db, uint64_t *unknown)
{
    int rc = begin(db), changed = 0;

    ASSERT(unknown != NULL);
    *unknown = 0;
    if (rc != 0)
        return rc;
    changed = run(db, prepare(db, RENEW_LETTERS));
    rc = changed < 0 ? changed : run(db, prepare(db, RENEW));
    if (rc >= 0)
        rc = read_session(db);
    rc = end(db, rc);
    *unknown = rc == 0 ? (uint64_t)changed : 0;
    return rc;
}

static int drop_run(struct dlq_db *db, enum statement which, const struct dlq_entry *e,
                    int64_t object, uint32_t uid)
{
    sqlite3_stmt *st = prepare(db, which);

    ASSERT(object > 0);
    bind_id(st, &e->id);
    bind_number(st, 3, clock_wall_us());
    bind_number(st, 4, uid);
    if (which == DROP)
        bind_number(st, 5, object);
    return run(db, st);
}

/* @return 1 when it was dropped now; 0; -errno. */
static int drop_one(struct dlq_db *db, const struct dlq_entry *e, uint32_t uid, bool *odd)
{
    int64_t object = object_number(db, e->object);
    int changed;

    ASSERT(odd != NULL);
    if (object < 0)
        return (int)object;
    changed = drop_run(db, DROP, e, object, uid);
    if (changed != 0)
        return changed;
    changed = drop_run(db, DROP_UNKNOWN, e, object, uid);
    *odd = *odd || changed > 0;
    return changed;
}

int dlq_db_drop(struct dlq_db *db, const struct dlq_entry *e, uint32_t n, uint32_t uid,
                uint64_t *dropped)
{
    int rc = begin(db);
    uint64_t changed = 0;
    bool odd = false;

    ASSERT(dropped != NULL);
    *dropped = 0;
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; rc >= 0 && i < n; i++) {
        rc = drop_one(db, &e[i], uid, &odd);
        changed += rc > 0 ? 1 : 0;
    }
    if (rc >= 0)
        rc = odd ? count_all(db) : 0;
    rc = end(db, rc);
    if (rc != 0)
        return rc;
    if (!odd)
        atomic_fetch_add(&db->dropped, changed);
    *dropped = changed;
    return 0;
}

/* ---- objects ---- */

static int put_range(struct dlq_db *db, int64_t object, const struct dlq_object_range *r)
{
    sqlite3_stmt *st = prepare(db, RANGE_PUT);

    ASSERT(r->least <= r->most);
    bind_number(st, 1, object);
    bind_journal(st, 2, &r->journal);
    bind_number(st, 3, (int64_t)r->least);
    bind_number(st, 4, (int64_t)r->most);
    return run(db, st);
}

static bool fact_known(struct dlq_db *db, const struct dlq_object_fact *f)
{
    sqlite3_stmt *st = prepare(db, OBJECT_KNOWN);
    bool known;

    ASSERT(f->name != NULL);
    bind_text(st, 1, f->name);
    bind_number(st, 2, f->generation);
    bind_number(st, 3, (int64_t)f->letters);
    bind_number(st, 4, f->odd);
    known = step(db, st) == 1;
    reset(st);
    return known;
}

static int put_fact(struct dlq_db *db, const struct dlq_object_fact *f)
{
    int64_t object = object_number(db, f->name);
    sqlite3_stmt *st;
    int rc;

    ASSERT(f->n_ranges <= DLQ_RANGES_MAX);
    if (object < 0)
        return (int)object;
    if (fact_known(db, f))
        return 0;
    st = prepare(db, OBJECT_PUT);
    bind_number(st, 1, object);
    bind_number(st, 2, f->generation);
    bind_number(st, 3, (int64_t)f->letters);
    bind_number(st, 4, f->odd);
    rc = run(db, st);
    if (rc >= 0) {
        st = prepare(db, RANGES_GONE);
        bind_number(st, 1, object);
        rc = run(db, st);
    }
    for (uint32_t i = 0; rc >= 0 && i < f->n_ranges; i++)
        rc = put_range(db, object, &f->range[i]);
    return rc;
}

int dlq_db_objects_put(struct dlq_db *db, const struct dlq_object_fact *fact, uint32_t n)
{
    int rc = begin(db);

    ASSERT(fact != NULL);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; rc >= 0 && i < n; i++)
        rc = put_fact(db, &fact[i]);
    return end(db, rc < 0 ? rc : 0);
}

/* Whether an object's ranges hold one of the ids. Errors count as yes. Under the lock. */
static bool range_holds(struct dlq_db *db, int64_t object, const struct dlq_filter *f)
{
    ASSERT(f->n_ids > 0);
    for (uint32_t i = 0; i < f->n_ids; i++) {
        sqlite3_stmt *st = prepare(db, OBJECT_RANGE);
        int rc;

        bind_number(st, 1, object);
        bind_journal(st, 2, &f->id[i].journal);
        bind_number(st, 3, (int64_t)f->id[i].lsn);
        rc = step(db, st);
        reset(st);
        if (rc != 0)
            return true;
    }
    return false;
}

static bool all_handled(struct dlq_db *db, int64_t object, int64_t letters)
{
    sqlite3_stmt *st = prepare(db, OBJECT_HANDLED);
    bool all = false;

    ASSERT(object > 0);
    bind_number(st, 1, object);
    if (step(db, st) == 1)
        all = sqlite3_column_int64(st, 0) >= letters;
    reset(st);
    return all;
}

bool dlq_db_object_skip(struct dlq_db *db, const char *name, int64_t generation,
                        const struct dlq_filter *f)
{
    sqlite3_stmt *st;
    int64_t object = 0, letters = 0;
    bool skip = false;

    ASSERT(name != NULL);
    pthread_mutex_lock(&db->lock);
    st = prepare(db, OBJECT_FACT);
    bind_text(st, 1, name);
    bind_number(st, 2, generation);
    if (step(db, st) == 1) {
        object = sqlite3_column_int64(st, 0);
        letters = sqlite3_column_int64(st, 1);
    }
    reset(st);
    if (object > 0 && f->n_ids > 0)
        skip = !range_holds(db, object, f);
    else if (object > 0 && (f->states & (1u << DLQ_REPLAYED | 1u << DLQ_DROPPED)) == 0)
        skip = all_handled(db, object, letters);
    pthread_mutex_unlock(&db->lock);
    return skip;
}

int dlq_db_find(struct dlq_db *db, const struct dlq_id *id,
                void (*visit)(void *ctx, const char *name), void *ctx)
{
    sqlite3_stmt *st;
    int rc;

    ASSERT(visit != NULL);
    pthread_mutex_lock(&db->lock);
    st = prepare(db, FIND);
    bind_id(st, id);
    while ((rc = step(db, st)) == 1)
        visit(ctx, (const char *)sqlite3_column_text(st, 0));
    reset(st);
    pthread_mutex_unlock(&db->lock);
    return rc;
}

/* ---- deletions ---- */

int dlq_db_delete_begin(struct dlq_db *db, const char *name, uint64_t letters, uint32_t uid)
{
    int rc = begin(db);
    sqlite3_stmt *st;

    ASSERT(name[0] != '\0');
    if (rc != 0)
        return rc;
    st = prepare(db, DELETE_BEGIN);
    bind_text(st, 1, name);
    bind_number(st, 2, (int64_t)letters);
    bind_number(st, 3, clock_wall_us());
    bind_number(st, 4, uid);
    rc = run(db, st);
    return end(db, rc < 0 ? rc : 0);
}

int dlq_db_delete_end(struct dlq_db *db, const char *name, bool done)
{
    int rc = begin(db);
    sqlite3_stmt *st;

    ASSERT(name[0] != '\0');
    if (rc != 0)
        return rc;
    st = prepare(db, done ? DELETE_DONE : DELETE_UNDO);
    bind_text(st, 1, name);
    rc = run(db, st);
    rc = end(db, rc < 0 ? rc : 0);
    if (rc == 0 && done)
        atomic_fetch_add(&db->objects_deleted, 1);
    return rc;
}

int dlq_db_each_deleted(struct dlq_db *db,
                        void (*visit)(void *ctx, const char *name, uint64_t letters), void *ctx)
{
    sqlite3_stmt *st;
    int rc;

    ASSERT(visit != NULL);
    pthread_mutex_lock(&db->lock);
    st = prepare(db, DELETED);
    while ((rc = step(db, st)) == 1)
        visit(ctx, (const char *)sqlite3_column_text(st, 0), (uint64_t)sqlite3_column_int64(st, 1));
    reset(st);
    pthread_mutex_unlock(&db->lock);
    return rc;
}
