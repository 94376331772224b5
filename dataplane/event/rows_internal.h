/*
 * What the files of rows share: columns by source name, what values show, which values fit. HOT but
 * for the names.
 */
#ifndef PENSTOCK_EVENT_ROWS_INTERNAL_H
#define PENSTOCK_EVENT_ROWS_INTERNAL_H

#include "dataplane/event/rows.h"
#include "dataplane/event/schema_internal.h"

#define ROWS_NAME_BYTES_MAX 300                                 /* BigQuery, of a column */
#define ROWS_RAW_NAME_MAX   ((size_t)6 * ROWS_SOURCE_BYTES_MAX) /* each byte written as \u00XX */

/* How much longer a column's name may be than the raw name in the event: see rows_name_make(). */
#define ROWS_NAME_GROWTH 11

/** One column and what an event calls it. */
struct rows_column {
    struct span source; /* unescaped */
    const struct schema_field *field;
    bool base;  /* configured: never retyped, takes what check.h takes */
    bool wide;  /* an INTEGER that held a number which no double holds */
    uint32_t n; /* columns of a RECORD that events fill; added ones are not among them */
    struct rows_column *child;
    uint16_t *by_source; /* positions in child, in the order of their sources */
};

/** The bytes of a line that the producer sent, and those that were added. */
struct rows_line {
    struct json_value object; /* the whole line */
    const char *added;        /* a member whose key starts here or later was added */
};

static inline struct rows_line rows_line_of(struct span line, uint16_t added)
{
    size_t len = line.len > 0 && line.ptr[line.len - 1] == '\n' ? line.len - 1 : line.len;

    ASSERT_HOT(len >= 2u + added && line.ptr[0] == '{' && line.ptr[len - 1] == '}');
    return (struct rows_line){.object = {line.ptr, (uint32_t)len, JSON_OBJECT},
                              .added = line.ptr + len - 1 - added};
}

/** Whether a member's unescaped name is short enough for a column. */
bool rows_source_fits(const struct json_member *m);

/** The unescaped name of a member. @param buf holds ROWS_RAW_NAME_MAX. @return false past the limit. */
bool rows_source(const struct json_member *m, char *buf, struct span *out);

/** The order of by_source: bytes, then length. */
int rows_source_compare(struct span a, struct span b);

/**
 * The column of a source name, or NULL.
 * @param next the position behind the last one found: events mostly repeat the columns' order.
 */
const struct rows_column *rows_find(const struct rows_column *record, struct span source,
                                    uint32_t *next);

/** How a number is kept. */
enum rows_number {
    ROWS_NUMBER_INTEGER, /* digits only, within int64 */
    ROWS_NUMBER_FLOAT,   /* a double gives all the digits back that were written */
    ROWS_NUMBER_TEXT,    /* neither: only its text loses nothing */
};

enum rows_number rows_number(struct span number);

/** Whether a double holds the integer of this text exactly. */
bool rows_integer_in_double(struct span integer);

/** Whether an integer of this text is within +-(2^53-1): all JSON readers agree on it. */
bool rows_integer_is_safe(struct span integer);

/** What the elements of an array have in common. */
enum rows_elements {
    ROWS_ELEMENTS_NONE,
    ROWS_ELEMENTS_SCALAR,
    ROWS_ELEMENTS_OBJECT,
    ROWS_ELEMENTS_MIXED, /* also with a null or an array among them */
};

enum rows_elements rows_elements(struct json_value array);

/**
 * How many columns a value needs at least, as a new column at this depth (1 is the top level).
 * @return 0 when it shows none: null, {} and [], and objects of nothing else.
 */
uint32_t rows_shows(struct json_value v, uint32_t depth);

/** Whether a value that is neither null nor an array of a REPEATED column fits the column's type. */
bool rows_fits(const struct rows_column *c, struct json_value v);

/** Whether a TIMESTAMP column takes the string. */
bool rows_is_time(struct json_value string);

/** A name that is being given: asked whether it is taken. */
typedef bool rows_taken_fn(const void *context, struct span name);

/**
 * Makes the column's name of a source name, by the rule of README.md.
 * @param out holds ROWS_NAME_BYTES_MAX + 1.
 * @return its length.
 */
size_t rows_name_make(struct span source, rows_taken_fn *taken, const void *context, char *out);

#endif
