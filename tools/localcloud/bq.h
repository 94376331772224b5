// BigQuery: datasets, tables, jobs and queries. DIR/catalog.db holds what the API describes,
// DIR/bigquery.db the rows: table N of the catalog is SQLite table "tN", made by its first load. So
// creating or changing a table never waits for a running load. Thread: any for the handlers; two
// job threads (loads, queries) inside.
#ifndef LOCALCLOUD_BQ_H
#define LOCALCLOUD_BQ_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct lc_bq;
struct lc_req;
struct lc_storage;

/** How a test wants it to behave. */
struct lc_bq_options {
    int64_t job_delay_ms;   // that a job stays PENDING and RUNNING at least
    int64_t table_delay_ms; // that insertAll does not find a new table
    int64_t dedupe_ms;      // that an insertId is remembered
};

/** Opens DIR and starts the job threads; unfinished jobs of an earlier run go on. Thread: init.
 *  Owner: caller, lc_bq_close. @return NULL with a reason in err. */
struct lc_bq *lc_bq_open(const char *dir, struct lc_storage *storage,
                         const struct lc_bq_options *options, char *err, size_t err_size);

/** Ends the job threads (a running load rolls back and runs again at the next start) and frees b.
 */
void lc_bq_close(struct lc_bq *b);

/** Adds tables, rows and load jobs by table to out. */
void lc_bq_stats(struct lc_bq *b, json_t *out);

/** Prints the rows of one query, as a table or as JSON lines. Works beside a running server.
 *  @return the exit code: 0, or 1 after a message on stderr. */
int lc_bq_print_query(const char *dir, const char *project, const char *sql, int as_json);

// Handlers, one per call of the REST API.

/** GET datasets. */
void lc_dataset_list(struct lc_req *r);

/** POST datasets. */
void lc_dataset_insert(struct lc_req *r);

/** GET datasets/{id}. */
void lc_dataset_get(struct lc_req *r);

/** PATCH datasets/{id}. */
void lc_dataset_patch(struct lc_req *r);

/** DELETE datasets/{id}, with deleteContents. */
void lc_dataset_delete(struct lc_req *r);

/** GET tables: a page. */
void lc_table_list(struct lc_req *r);

/** POST tables. */
void lc_table_insert(struct lc_req *r);

/** GET tables/{id}. */
void lc_table_get(struct lc_req *r);

/** PATCH tables/{id}: what is given changes. */
void lc_table_patch(struct lc_req *r);

/** PUT tables/{id}: what is not given goes away. */
void lc_table_update(struct lc_req *r);

/** DELETE tables/{id}. */
void lc_table_delete(struct lc_req *r);

/** POST tables/{id}/insertAll. */
void lc_insert_all(struct lc_req *r);

/** GET tables/{id}/data: a page of rows. */
void lc_tabledata_list(struct lc_req *r);

/** GET jobs, newest first. */
void lc_job_list(struct lc_req *r);

/** POST jobs: a load or query job. */
void lc_job_insert(struct lc_req *r);

/** POST and PUT upload jobs: a load job with its file. */
void lc_job_upload(struct lc_req *r);

/** GET jobs/{id}. */
void lc_job_get(struct lc_req *r);

/** POST jobs/{id}/cancel. */
void lc_job_cancel(struct lc_req *r);

/** POST queries: runs a query at once. */
void lc_query(struct lc_req *r);

/** GET queries/{id}: a page of a query job's rows. */
void lc_query_results(struct lc_req *r);

#endif
