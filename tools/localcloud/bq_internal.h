// Shared by the bq_*.c files only.
#ifndef LOCALCLOUD_BQ_INTERNAL_H
#define LOCALCLOUD_BQ_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "tools/localcloud/bq.h"
#include "tools/localcloud/bq_schema.h"
#include "tools/localcloud/db.h"
#include "tools/localcloud/http.h"

/** Column of every row table that keeps the load order; no user column can have a _PARTITION name.
 */
#define LC_ROW_COLUMN "_PARTITION_row"

enum lc_job_kind { LC_JOB_LOAD, LC_JOB_QUERY, LC_JOB_KINDS };

struct lc_bq {
    pthread_mutex_t lock; // guards catalog; taken for short steps only
    pthread_cond_t wake;  // a job came in, or the end
    sqlite3 *catalog;
    sqlite3 *rows; // read-only view of bigquery.db for counts, under lock
    char *dir;
    struct lc_storage *storage;
    struct lc_bq_options options;
    pthread_mutex_t write_lock; // one writer of bigquery.db at a time; taken before lock
    sqlite3 *stream;            // insertAll's connection, under write_lock
    bool stop;
    pthread_t threads[LC_JOB_KINDS];
    size_t thread_count;
    _Atomic int64_t cancel_seq; // job that is to stop, 0: none
};

/** One table of the catalog. Zero-initialise; lc_table_fini. */
struct lc_table {
    int64_t id; // 0: does not exist
    char *project;
    char *dataset;
    char *name;
    json_t *body;            // as the client gave it, normalised
    struct lc_schema schema; // empty when the table has none yet
    int64_t version;
    int64_t created_ms;
    int64_t modified_ms;
};

/** One job while it runs. */
struct lc_job {
    int64_t seq;
    char *project;
    char *job_id;
    json_t *body;  // the whole resource
    json_t *extra; // "input": file in DIR/loads, "job_reason", "job_rows": faults; or NULL
};

/** Why a job failed; also used for requests that fail at once. */
struct lc_problem {
    int http;
    char reason[40];
    char location[1200];
    char message[1600];
};

/** Fills p. */
void lc_problem_set(struct lc_problem *p, int http, const char *reason, const char *fmt, ...)
    LC_PRINTF(4, 5);

/** bq_catalog.c: all of these need the lock. */

/** @return the dataset's body, NULL when there is none. Owner: caller. */
json_t *lc_catalog_dataset(struct lc_bq *b, const char *project, const char *dataset);

/** Finds a table; one that is past its expirationTime is dropped and not found. Owner: caller,
 * lc_table_fini. */
bool lc_catalog_table(struct lc_bq *b, const char *project, const char *dataset, const char *name,
                      struct lc_table *t);

/** Frees what t holds and zeroes it. */
void lc_table_fini(struct lc_table *t);

/** Writes t->body as the new version of the table. */
void lc_catalog_save_table(struct lc_bq *b, struct lc_table *t);

/** Adds a table; id 0 takes the next. @return its id. */
int64_t lc_catalog_add_table(struct lc_bq *b, const char *project, const char *dataset,
                             const char *name, const json_t *body, int64_t id);

/** A table id no other table has or had. */
int64_t lc_catalog_next_id(struct lc_bq *b);

/** Removes a table; its rows go with the next load job or start. */
void lc_catalog_drop_table(struct lc_bq *b, int64_t id);

/** Rows and logical bytes of a table. */
void lc_catalog_counts(struct lc_bq *b, int64_t id, int64_t *rows, int64_t *bytes);

/** Full table resource. Owner: caller. */
json_t *lc_table_json(struct lc_bq *b, const struct lc_table *t, const char *host);

/**
 * Normalises and checks a table body given by a client (schema, partitioning, clustering, labels).
 * @return false with a reason in err.
 */
bool lc_table_check_body(json_t *body, struct lc_schema *schema, char err[LC_ERROR_BYTES]);

/** bq_rows.c */

/** Opens bigquery.db for a writer. @return NULL with a reason in err. */
sqlite3 *lc_rows_open(const char *dir, char *err, size_t err_size);

/** Makes or widens the row table of id so that it has every column. Inside the caller's
 * transaction. */
bool lc_rows_ensure(sqlite3 *db, int64_t id, const struct lc_schema *s);

/** @return true when row table id has the column. */
bool lc_rows_has_column(sqlite3 *db, int64_t id, const char *column);

/** @return true when row table id exists. */
bool lc_rows_exists(sqlite3 *db, int64_t id);

/** Statement that inserts one row: parameter i + 1 is field i. Owner: caller. */
sqlite3_stmt *lc_rows_insert(sqlite3 *db, int64_t id, const struct lc_schema *s);

/** Adds to the counts of a table. Inside the caller's transaction. */
bool lc_rows_count(sqlite3 *db, int64_t id, int64_t rows, int64_t bytes);

/** Appends "name" quoted for SQLite. */
void lc_rows_quote(struct lc_buf *sql, const char *name);

/** Drops row tables whose catalog entry is gone. Thread: the load thread, or init. */
void lc_rows_sweep(struct lc_bq *b, sqlite3 *db);

/**
 * One row of st as {"f":[{"v":...}]} with TIMESTAMP as integer microseconds.
 * Column i of st belongs to field i. Owner: caller.
 */
json_t *lc_rows_render(sqlite3_stmt *st, const struct lc_schema *s);

/** Rewrites the TIMESTAMP cells of a rendered row from microseconds to seconds like "1.7E9". */
void lc_rows_timestamps_to_seconds(json_t *row, const struct lc_schema *s);

/** @return true when the request asks for formatOptions.useInt64Timestamp (query parameter or
 * body). */
bool lc_wants_int64_timestamps(const struct lc_req *r, const json_t *body);

/** bq_load.c: runs one load job. done gets {"statistics", ...} for lc_load_finish.
 *  @return false with p set; nothing was changed then. Thread: load. */
bool lc_load_run(struct lc_bq *b, sqlite3 *db, struct lc_job *job, json_t *done, json_t *warnings,
                 struct lc_problem *p);

/** Applies the catalog part of a committed load (new table, new schema); safe to repeat. Takes the
 * lock. */
void lc_load_finish(struct lc_bq *b, const struct lc_job *job, const json_t *done);

/** bq_query.c: runs a query and stores its rows. @return false with p set. */
bool lc_query_run(struct lc_bq *b, struct lc_job *job, json_t *done, struct lc_problem *p);

/** bq_print.c: steps st to its end and prints the rows. @return the exit code. */
int lc_print_rows(sqlite3 *db, sqlite3_stmt *st, const struct lc_schema *s, bool as_json);

/**
 * bq_insert.c: checks a job resource and fills in what it leaves out. upload: its file comes with
 * it. @return false after answering.
 */
bool lc_job_check(struct lc_req *r, json_t *body, bool upload);

/** Checks and starts a job, and answers r. input: its file in DIR/loads, NULL: none. */
void lc_job_submit(struct lc_req *r, json_t *body, const char *input);

/** bq_job.c: a new job resource in state PENDING (or RUNNING when sync), stored and, if not sync,
 * queued.
 *  extra: see struct lc_job, NULL: none. @return its sequence number; 0 after answering r (409
 * duplicate, 400). */
int64_t lc_job_create(struct lc_req *r, const char *project, json_t *body, enum lc_job_kind kind,
                      bool sync, const json_t *extra, struct lc_job *job);

/** Stores the end of a job: statistics from done, or the problem. Takes the lock. */
void lc_job_end(struct lc_bq *b, struct lc_job *job, const json_t *done, const json_t *warnings,
                const struct lc_problem *p);

/** Frees what job holds. */
void lc_job_fini(struct lc_job *job);

#endif
