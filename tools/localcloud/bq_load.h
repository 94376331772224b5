// Shared by bq_load.c (plan and transaction) and bq_load_rows.c (rows of the files).
#ifndef LOCALCLOUD_BQ_LOAD_H
#define LOCALCLOUD_BQ_LOAD_H

#include "tools/localcloud/bq_internal.h"
#include "tools/localcloud/bq_value.h"

/** Everything one load job needs while it runs. */
struct lc_load {
    struct lc_bq *b;
    sqlite3 *db;
    int64_t seq;
    const json_t *config; // configuration.load
    json_t *uris;         // [{"uri","bucket","name","size"}], expanded
    int64_t table_id;
    json_t *create_body; // body of a table that this job makes, NULL when it exists
    json_t *new_schema;  // schema that replaces the table's, NULL: unchanged
    struct lc_schema schema;
    bool truncate;
    int64_t bad_max;
    const struct lc_field *partition; // NULL: none, or by ingestion time
    const char *partition_type;
    json_t *warnings; // row errors
    int64_t rows;
    int64_t bad;
    int64_t input_bytes;
    int64_t output_bytes;
    const char *bad_row, *bad_uri; // faults: text of rows and URIs that are found bad, or NULL
    bool silent;                   // ... without saying which
};

/** Inserts the rows of all files of l. Inside the caller's transaction. @return false with p set.
 */
bool lc_load_rows(struct lc_load *l, struct lc_problem *p);

#endif
