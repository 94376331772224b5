/*
 * Table schemas in BigQuery's own JSON format (a bq CLI schema file, an array of fields, or the
 * "schema" object of tables.get), compiled into a tree that check.h walks.
 *
 * A compiled schema is immutable: any thread may read it. It lives until schema_destroy().
 */
#ifndef PENSTOCK_EVENT_SCHEMA_H
#define PENSTOCK_EVENT_SCHEMA_H

#include <stdint.h>

#include "dataplane/base/compiler.h"
#include "dataplane/json/walk.h"

#define SCHEMA_DEPTH_MAX  15    /* BigQuery */
#define SCHEMA_FIELDS_MAX 10000 /* BigQuery, nested ones included */

/* Columns that Penstock adds to every table, all NULLABLE. */
#define COLUMN_EVENT_DATE "event_date"          /* DATE, UTC day of the event's time */
#define COLUMN_PROCESSED  "processed_timestamp" /* TIMESTAMP */
#define COLUMN_ID         "penstock_id"         /* STRING: journal uuid and LSN */
#define COLUMN_OVERFLOW   "penstock_overflow"   /* JSON: fields that the schema does not name */
#define COLUMN_EVENT      "event" /* JSON: the whole event, in tables without a schema */

enum column_type {
    COLUMN_STRING,
    COLUMN_BYTES,
    COLUMN_INTEGER,
    COLUMN_FLOAT,
    COLUMN_BOOLEAN,
    COLUMN_TIMESTAMP,
    COLUMN_DATE,
    COLUMN_TIME,
    COLUMN_DATETIME,
    COLUMN_GEOGRAPHY,
    COLUMN_NUMERIC,
    COLUMN_BIGNUMERIC,
    COLUMN_JSON,
    COLUMN_RECORD,
    COLUMN_INTERVAL,
    COLUMN_RANGE,
};

enum column_mode { COLUMN_NULLABLE, COLUMN_REQUIRED, COLUMN_REPEATED };

/* Columns of ours, at the top level. */
enum column_added { COLUMN_ADDED_NONE, COLUMN_ADDED_ALWAYS, COLUMN_ADDED_OVERFLOW };

/** One column. */
struct schema_field {
    char *name; /* NUL-terminated */
    uint16_t name_len;
    uint8_t type; /* enum column_type */
    uint8_t mode; /* enum column_mode */
    uint32_t n_fields;
    struct schema_field *fields; /* of a RECORD */
    char *path;                  /* "items.price": for messages */
    uint32_t n_required;         /* REQUIRED ones among fields, those that Penstock adds left out */
    uint8_t added;               /* enum column_added */
    uint8_t precision;           /* of a NUMERIC or BIGNUMERIC; 0: no limit but the type's */
    uint8_t scale;
    uint8_t range; /* of a RANGE: its elements, COLUMN_DATE, COLUMN_DATETIME or COLUMN_TIMESTAMP */
    uint64_t max_length; /* characters of a STRING, bytes of BYTES; 0: none */
    uint16_t *_slots; /* hash index over fields: position + 1, 0 when free; NULL for few fields */
    uint32_t _slot_mask;
};

/** A table's columns; the root is a RECORD without a name. */
struct schema {
    struct schema_field root;
    char *fields_json;       /* the "fields" array for tables.insert, added columns included */
    uint32_t hash;           /* of fields_json: names the schema version in commit blocks */
    struct program *program; /* what is done with each column: see program.h */
    uint32_t _sharers;       /* holders beside the first */
};

/**
 * Compiles schema text: an array of fields, or an object with "fields". Adds the four added columns
 * (COLUMN_EVENT_DATE, COLUMN_PROCESSED, COLUMN_ID, COLUMN_OVERFLOW) at the end where they are
 * missing; where they are there, their types must fit.
 * Thread: init, control.  Owner: caller, until schema_destroy().
 * @param error on failure one sentence that names the field, such as "items.price: unknown type
 * FLOATY".
 * @return 0; -EINVAL; -ENOMEM.
 */
int schema_compile(struct span text, struct schema **out, char *error,
                   size_t error_len) WARN_UNUSED;

/** Reads and compiles a schema file. Errors name the file. Thread: init, control.  Owner: caller.
 * @return as schema_compile(), or the read's -errno. */
int schema_load(const char *file, struct schema **out, char *error, size_t error_len) WARN_UNUSED;

/** The schema of tables for types without one: COLUMN_EVENT and the added columns but
 * COLUMN_OVERFLOW. Thread: init, control.  Owner: caller. @return 0; -ENOMEM. */
int schema_for_json(struct schema **out) WARN_UNUSED;

/**
 * One more holder of a schema: types whose columns are equal share one, so that it and what a worker
 * remembers of its events stay in the cache however many types there are.
 * Thread: control.  Owner: the caller, until a schema_destroy() of its own. @return s.
 */
struct schema *schema_share(struct schema *s);

/** Whether two schemas are the same in everything: columns, descriptions, limits, order. Thread: any. */
bool schema_same(const struct schema *a, const struct schema *b);

/** Frees everything, unless others hold it. NULL is allowed. Thread: its holder's. */
void schema_destroy(struct schema *s);

/** The column of this name (exact case) in a RECORD, or NULL. Thread: any. */
const struct schema_field *schema_field_find(const struct schema_field *record, struct span name);

/** The top-level column of this name (exact case), or NULL. Thread: any. */
const struct schema_field *schema_find(const struct schema *s, struct span name);

/** Whether a table may be clustered by a top-level column. Thread: any. */
bool schema_may_cluster(const struct schema_field *f);

/** Whether a RANGE may have elements of this type. Thread: any. */
bool schema_may_range(int type);

/** BigQuery's legacy name of a type ("INTEGER", "RECORD", ...). Thread: any. */
const char *column_type_name(enum column_type type);

/**
 * Compares with the "fields" array of an existing table. Names compare without case, types through
 * their aliases. Thread: any.
 * @param patch receives the existing array with the missing NULLABLE or REPEATED columns added
 * (also nested), ready for tables.patch; heap memory that the caller frees; NULL when nothing is
 * missing.
 * @param error on -EEXIST one sentence: which column differs, and how.
 * @return 0 when equal or patchable; -EEXIST when a column has another type or mode that cannot
 * take our rows, or the table has a REQUIRED column that ours lacks; -ENOMEM.
 */
int schema_compare(const struct schema *want, struct json_value have_fields, char **patch,
                   char *error, size_t error_len) WARN_UNUSED;

#endif
