// From a JSON value of a row to what SQLite stores, with BigQuery's checks.
//
//   STRING, GEOGRAPHY, JSON          text            INTEGER            integer
//   BYTES                            base64 text     FLOAT              real ('NaN' as text)
//   NUMERIC, BIGNUMERIC              decimal text    BOOLEAN            0 or 1
//   DATE, TIME, DATETIME             ISO text        TIMESTAMP          integer, microseconds UTC
//   INTERVAL                         text            RANGE              text, "[start, end)"
//   RECORD, REPEATED                 JSON text whose members follow the same table (booleans true,
//   false)
//
// Thread: any.
#ifndef LOCALCLOUD_BQ_VALUE_H
#define LOCALCLOUD_BQ_VALUE_H

#include <jansson.h>
#include <sqlite3.h>

#include "tools/localcloud/bq_schema.h"
#include "tools/localcloud/util.h"

/** What the checks of one load need; one per thread. Zero-initialise, lc_value_ctx_fini at the end.
 */
struct lc_value_ctx {
    bool ignore_unknown;
    bool streaming;     // insertAll: JSON columns take text, BOOLEAN no numbers or words
    bool ints_as_reals; // the row had an integer beyond int64 and was parsed again with all numbers
                        // real
    struct lc_buf nested;
    char err[LC_ERROR_BYTES];
    const char *where;      // column of err, NULL: none; lives as long as row and schema
    uint64_t bytes;         // logical bytes of the values bound so far
    size_t partition_param; // in: parameter of the partition column, 0: none
    int64_t partition_us;   // out: its value in the last row, microseconds; INT64_MIN for NULL
};

/** Frees what c holds. */
void lc_value_ctx_fini(struct lc_value_ctx *c);

/**
 * Checks one row against the schema and binds field i to parameter i + 1 of st.
 * The row must live until the statement is stepped. @return false with a reason in c->err.
 */
bool lc_row_bind(struct lc_value_ctx *c, const struct lc_schema *s, const json_t *row,
                 sqlite3_stmt *st);

#endif
