/*
 * Rows from events whose columns are inferred, or grow: versions of a table's columns, each with the
 * names that the events use, and a pure function from (version, event) to a BigQuery row.
 *
 * A version is immutable; any thread may read it. Growing makes a new one. The same version and line
 * always give the same bytes, on any machine: plans are read again after a restart and must match.
 *
 * A value is either in its column or in COLUMN_OVERFLOW under its path ("a.b", "items[2].sku", keys
 * as the event spells them); a null that stands alone is no value and is nowhere. README.md has the
 * rules of types, names and numbers.
 */
#ifndef PENSTOCK_EVENT_ROWS_H
#define PENSTOCK_EVENT_ROWS_H

#include "dataplane/event/schema.h"

#define ROWS_SOURCE_BYTES_MAX 1000 /* of a field's name; longer ones stay in COLUMN_OVERFLOW */
#define ROWS_KEYS_MAX         8192 /* keys of COLUMN_OVERFLOW, and of the JSON objects open at one place */
#define ROWS_SUFFIX_MAX       99 /* "key#99": how often one key may repeat */

/* The key of COLUMN_OVERFLOW that holds the text of a whole event past these limits. */
#define ROWS_WHOLE_KEY ""

struct rows_column;

/** One version of a table's columns. */
struct rows {
    struct schema *schema; /* the columns, added ones included: for tables.insert and patch */
    char *text;            /* durable form (JSON), what rows_parse() takes; ends with '\n' */
    size_t text_len;
    uint32_t hash;                 /* of text; never 0: names the version in plan keys */
    uint32_t n_columns;            /* of schema, nested ones included */
    uint32_t columns_max;          /* as rows_start() was given */
    bool fixed_types;              /* no column changes its type any more: the table exists */
    char *time_path;               /* as rows_start() was given, or NULL */
    struct rows_column *_root;     /* the columns by the names that events use */
    struct rows_column *_children; /* memory of all columns */
    char *_names;                  /* memory of the events' names */
    uint16_t *_sorted;             /* memory of the look-up tables */
};

/** How a new table's columns begin. */
struct rows_start {
    const struct schema *base; /* configured columns, never retyped, or NULL */
    const char
        *time_path; /* of the event's time: a TIMESTAMP column where its texts fit; or NULL */
    uint32_t
        columns_max; /* nested and added ones included, at least 5, at most SCHEMA_FIELDS_MAX */
};

/**
 * Makes the first version.
 * Thread: init, sink, control.  Owner: caller, until rows_destroy(). start is not kept.
 * @return 0; -EINVAL when the time path or the base is not what rows can hold; -ENOMEM.
 */
int rows_start(const struct rows_start *start, struct rows **out) WARN_UNUSED;

/**
 * Reads a version's text, which may be damaged.
 * Thread: init, sink, control.  Owner: caller, until rows_destroy(). text is not kept.
 * @param error receives one sentence when the text is no version's.
 * @return 0; -EINVAL; -ENOMEM.
 */
int rows_parse(struct span text, struct rows **out, char *error, size_t error_len) WARN_UNUSED;

/** Frees everything. NULL is allowed. Thread: any, when no other uses it. */
void rows_destroy(struct rows *r);

/** A copy with fixed_types set. Thread: as rows_start(). @return 0 or -ENOMEM. */
int rows_fix(const struct rows *r, struct rows **out) WARN_UNUSED;

/**
 * A version beside another configuration: the columns of start->base first, what was learned behind
 * them; a configured column takes the place of a learned one of its name. What was configured before
 * and is not any more stays a column. Types stay fixed, or not.
 * Thread: as rows_start().  Owner: caller, until rows_destroy().
 * @return 0; -EALREADY when it would be the same version; -EINVAL when the columns together are more
 * than a table holds; -ENOMEM.
 */
int rows_rebase(const struct rows *r, const struct rows_start *start,
                struct rows **out) WARN_UNUSED;

enum rows_result {
    ROWS_OK,
    ROWS_GROWS, /* the event shows something that the version could take in: rows_grow(), then again */
};

/** What rows_encode_counted() adds to. */
struct rows_counts {
    uint64_t overflowed; /* values that went to COLUMN_OVERFLOW; a whole event is one */
    uint64_t normalized; /* repeated keys that were renamed, numbers that became text */
    uint64_t whole;      /* events whose text went to COLUMN_OVERFLOW as one value */
};

/** Upper bound of what rows_encode() writes to, its own scratch included, for a line of this length.
 * Thread: any. */
size_t rows_encoded_max(size_t line_len);

/**
 * Writes the row of an assembled line (event.h's event_assemble(): the producer's object with the
 * added fields of `added` bytes before its last '}'; 0 when it has none), final '\n' included.
 * The row is complete and right for this version with ROWS_GROWS too.
 * Thread: any.  Alloc: none.
 * @param out holds rows_encoded_max(line.len).
 * @param counts may be NULL.
 */
enum rows_result rows_encode_counted(const struct rows *r, struct span line, uint16_t added,
                                     char *out, size_t *out_len, struct rows_counts *counts);

/** As rows_encode_counted(), counting nothing. Thread: any.  Alloc: none. */
static inline enum rows_result rows_encode(const struct rows *r, struct span line, uint16_t added,
                                           char *out, size_t *out_len)
{
    return rows_encode_counted(r, line, added, out, out_len, NULL);
}

/**
 * Makes the next version, which takes in what this line shows: new columns, and while types are not
 * fixed wider types (INTEGER to FLOAT, anything that conflicts to JSON).
 * Thread: as rows_start().  Owner: caller, until rows_destroy().
 * @return 0; -EALREADY when it would be the same version; -ENOMEM.
 */
int rows_grow(const struct rows *r, struct span line, uint16_t added,
              struct rows **out) WARN_UNUSED;

#endif
