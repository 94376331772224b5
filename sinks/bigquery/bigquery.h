/*
 * BigQuery as a sink: datasets and tables on demand, load jobs with deterministic ids.
 *
 * An operation retries transient failures by itself until it is done, permanent, or cancelled with
 * its client.
 */
#ifndef PENSTOCK_BIGQUERY_H
#define PENSTOCK_BIGQUERY_H

#include "dataplane/event/schema.h"
#include "sinks/engine/auth.h"
#include "sinks/engine/http.h"
#include "sinks/engine/retry.h"

#define BQ_CLUSTERING_MAX 4
#define BQ_LABELS_MAX     16

/** A label, both parts [a-z0-9_-]{1,63}. */
struct bq_label {
    const char *key;
    const char *value;
};

struct bq_config {
    const char *endpoint; /* "https://bigquery.googleapis.com", or an emulator's, without a path */
    const char *project;
    const char *dataset;
    const char *location;          /* "" leaves the choice to BigQuery */
    int64_t table_expiration_ms;   /* the dataset's default for new tables; 0: none */
    const struct bq_label *labels; /* of new datasets and tables */
    uint32_t n_labels;
    const char *user_project; /* or NULL */
};

/** What a table should look like; owned by the caller, kept while an operation uses it. */
struct bq_table_spec {
    const char *table;
    const struct schema *schema;
    const char *description;
    const char *clustering[BQ_CLUSTERING_MAX];
    uint32_t n_clustering;
};

/** Written by the sink thread, readable by any (relaxed). */
struct bq_stats {
    _Atomic uint64_t calls;
    _Atomic uint64_t retries;
    _Atomic uint64_t tables_created;
    _Atomic uint64_t tables_patched;
    _Atomic uint64_t jobs;
    _Atomic uint64_t jobs_failed;
    _Atomic uint64_t rows;
    _Atomic uint64_t insert_requests;
    _Atomic uint64_t insert_rows;    /* rows of these requests */
    _Atomic uint64_t insert_again;   /* rows that BigQuery stopped or failed for a moment */
    _Atomic uint64_t insert_refused; /* rows refused for good */
    _Atomic uint64_t insert_odd;     /* answers that made no sense */
};

enum bq_result {
    BQ_DONE,
    BQ_JOB_FAILED,  /* the job is done without effect, for a transient reason: a new attempt may be
                       made */
    BQ_JOB_REFUSED, /* the job is done without effect because of the data or the table: text says
                       why */
    BQ_CONFLICT,    /* a job of this id is another's, or the table cannot take our rows */
    BQ_PERMANENT,   /* refused for good (rights, names): text says why */
};

struct bq;

/** Makes sure that dataset and table exist and take our columns. Embedded; zero it before filling.
 */
struct bq_ensure {
    const struct bq_table_spec *spec;
    void (*done)(struct bq_ensure *e, enum bq_result result, const char *text);
    const char *waiting; /* while retrying: why; NULL otherwise */
    void *_op;
};

#define BQ_URI_BYTES_MAX 1200

/** What a refused job says of what it was to load. A hint: only another job proves it. */
struct bq_refusal {
    bool rows;                  /* about rows or files: others may be taken without them */
    bool missing;               /* a file is not there */
    char uri[BQ_URI_BYTES_MAX]; /* the file at fault, or "" */
    int64_t position;           /* byte at which the row at fault starts in it, or -1 */
};

/** One load job, from jobs.insert to DONE. Embedded; zero it before filling; everything pointed to
 * is kept. */
struct bq_load {
    const char *job_id; /* "penstock_..._a1" */
    const char *table;
    const char *const *uris; /* "gs://bucket/name" */
    uint32_t n_uris;
    void (*done)(struct bq_load *l, enum bq_result result, uint64_t rows, const char *text);
    struct bq_refusal refusal; /* with BQ_JOB_REFUSED */
    const char *waiting;
    void *_op;
};

/** Creates the client. config, http, auth and stats are borrowed. Thread: the loop's. */
int bq_create(struct loop *l, struct http_client *http, struct auth *auth,
              const struct bq_config *config, struct bq_stats *stats, struct bq **out) WARN_UNUSED;

/** Cancels every operation (done does not run; jobs go on at BigQuery) and frees. NULL is allowed.
 */
void bq_destroy(struct bq *b);

/** Starts ensuring a table: get; 404: insert dataset and table; existing: add missing columns by
 * patch. */
int bq_ensure_start(struct bq *b, struct bq_ensure *e) WARN_UNUSED;

/**
 * Starts a load job, or finds it again: insert with the id; on 409 or an unknown outcome get it,
 * and it counts only if destination, URIs and our label are the same; then poll until DONE. Asked
 * again with an id that ran before a crash, it reports that job's outcome.
 */
int bq_load_start(struct bq *b, struct bq_load *l) WARN_UNUSED;

/**
 * Counts the rows of a table by a query, blocking (for verify). @return 0; -ENOENT without the
 * table; -errno.
 */
int bq_count_rows(const struct bq_config *config, struct auth *auth, const char *table,
                  uint64_t *rows, char *error, size_t error_len) WARN_UNUSED;

#define BQ_CELLS_MAX 4

/** A row of an answer: values as text, at most BQ_CELLS_MAX; NULL is an empty text. False stops. */
typedef bool (*bq_row_visitor)(void *ctx, const struct span *cell, uint32_t n_cells);

/** A query on one table: select, then FROM the table, then rest. */
struct bq_query {
    const char *select; /* a list of expressions whose values are short */
    const char *table;
    const char *rest; /* WHERE and so on, or "" */
    bq_row_visitor row;
    void *ctx;
};

/**
 * Runs a query, page by page, blocking (for verify). Thread: control.
 * @return 0, also when the visitor stopped it; -ENOENT without the table; -EINVAL when BigQuery says
 * that the query is wrong; -errno; with error.
 */
int bq_query_run(const struct bq_config *config, struct auth *auth, const struct bq_query *query,
                 char *error, size_t error_len) WARN_UNUSED;

#endif
