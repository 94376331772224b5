// Table schemas: reading and checking BigQuery's JSON form, and which changes are allowed.
// Thread: any; plain data.
#ifndef LOCALCLOUD_BQ_SCHEMA_H
#define LOCALCLOUD_BQ_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lc_type {
    LC_STRING,
    LC_BYTES,
    LC_INTEGER,
    LC_FLOAT,
    LC_BOOLEAN,
    LC_TIMESTAMP,
    LC_DATE,
    LC_TIME,
    LC_DATETIME,
    LC_GEOGRAPHY,
    LC_NUMERIC,
    LC_BIGNUMERIC,
    LC_JSON,
    LC_RECORD,
    LC_INTERVAL,
    LC_RANGE,
    LC_TYPE_COUNT,
};

enum lc_mode { LC_NULLABLE, LC_REQUIRED, LC_REPEATED };

enum { LC_ERROR_BYTES = 512 };

struct lc_field;

struct lc_schema {
    struct lc_field *fields;
    size_t count;
};

struct lc_field {
    char *name;
    enum lc_type type;
    enum lc_mode mode;
    int64_t length_max;   // 0: no limit; characters (STRING) or bytes (BYTES)
    enum lc_type range;   // RANGE only: DATE, DATETIME or TIMESTAMP
    struct lc_schema sub; // RECORD only
};

/** Legacy name of a type, as the API answers it: INTEGER, FLOAT, BOOLEAN, RECORD, ... */
const char *lc_type_name(enum lc_type type);

/** NULLABLE, REQUIRED or REPEATED. */
const char *lc_mode_name(enum lc_mode mode);

/**
 * Checks {"fields":[...]}, rewrites types and modes in it to the answered form, and fills out.
 * Owner: caller, lc_schema_fini. @return false with a reason in err (out is empty then).
 */
bool lc_schema_read(json_t *schema, struct lc_schema *out, char err[LC_ERROR_BYTES]);

/** Frees what s holds and empties it. */
void lc_schema_fini(struct lc_schema *s);

/** Field by name, case-insensitive. @return NULL when there is none. */
const struct lc_field *lc_schema_find(const struct lc_schema *s, const char *name);

/**
 * Checks that next is old plus NULLABLE or REPEATED fields and relaxed modes only.
 * @return false with a reason in err.
 */
bool lc_schema_check_change(const struct lc_schema *old, const struct lc_schema *next,
                            char err[LC_ERROR_BYTES]);

/**
 * Checks timePartitioning, clustering and labels of a table body against its schema.
 * @return false with a reason in err.
 */
bool lc_schema_check_table(const json_t *table, const struct lc_schema *s,
                           char err[LC_ERROR_BYTES]);

/** Checks a "labels" object (NULL allowed). @return false with a reason in err. */
bool lc_labels_check(const json_t *labels, char err[LC_ERROR_BYTES]);

#endif
