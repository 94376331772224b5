/*
 * Tables whose columns are inferred, or grow: what a sink thread knows of each, and the row of a
 * line (rows.h) in the version of the columns that its plan names.
 *
 *     LEARNING ─ the first group is closed ─> version 1 durable, types fixed ─ new columns ─> 2, ...
 *
 * - While a table is learning, its lines wait in groups as they came (schema_hash 0), and every line
 *   may still widen a type. The first group that is closed ends that: all groups of the table become
 *   rows of version 1. So types are fixed, durably, before a plan or the table exists, and every
 *   version only adds columns to the one before.
 * - A version is durable before a line is grouped by it. Before the first line of a newer version is
 *   grouped, all groups of the older one are planned: so, in each journal, a plan of an older version
 *   lies in front of those of newer ones, and after a restart the furthest of them says what is
 *   planned, whichever version it names.
 *
 * Thread: the sink thread that owns the table.
 */
#ifndef PENSTOCK_COLUMNS_H
#define PENSTOCK_COLUMNS_H

#include "dataplane/block/block.h"
#include "dataplane/event/rows.h"
#include "dataplane/event/type.h"

struct sink;
struct sink_table_report;
struct group;
struct plan_key;

/** One durable version of a table's columns. */
struct columns_version {
    struct columns_version *older;
    struct rows *rows;
    uint32_t number;
    uint32_t refs; /* plans whose lines may be needed again, and operations on the table */
};

/** The columns of one table. */
struct columns {
    struct columns *next;
    struct sink *sink;
    bool configured;                /* what the configuration says of it is known */
    struct columns_version *newest; /* NULL: learning */
    struct rows *learning;          /* what has been learned so far */
    uint64_t learning_bytes;        /* that the rows of waiting lines need at most */
    uint32_t last_number;      /* given to a version, be it one whose writing failed half-way */
    int64_t retry_us;          /* monotonic: a version could not be written, not again before */
    uint32_t added;            /* columns, since start */
    struct rows_counts counts; /* since start */
    char text[512];            /* why no version can be written, or "" */
    char table[];              /* NUL-terminated */
};

/** A line on its way into a group. */
struct columns_line {
    const struct block_view *view; /* of its block: the lines behind it may teach new columns too */
    const struct block_run *run;
    uint32_t entry;       /* in the run */
    struct span out;      /* receives what the group takes; in s->wrap_buf */
    uint32_t schema_hash; /* receives the version, or 0 while learning */
};

/** Reads this thread's versions. Thread: init. @return 0; -errno with error. */
int columns_load(struct sink *s, char *error, size_t error_len) WARN_UNUSED;

/** Frees all. Thread: control. */
void columns_destroy(struct sink *s);

/** The columns of a table, made when new. @return NULL without memory. */
struct columns *columns_get(struct sink *s, const char *table, const struct type_config *c);

/** The version of this hash, or NULL. */
struct columns_version *columns_find(struct columns *c, uint32_t hash);

/** Says what is known of a table's columns; c may be NULL. */
void columns_report(const struct columns *c, struct sink_table_report *out);

/** Lets a version go that somebody held by refs++; versions that nobody needs leave the disk. */
void columns_release(struct columns *c, struct columns_version *v);

/**
 * Makes what a group takes of a line: its row, or while learning the line itself. May make a version
 * durable, and plan groups of an older one.
 * @return false when it must be tried again later: memory is short, or the disk refuses.
 */
bool columns_take(struct columns *c, struct columns_line *line) WARN_UNUSED;

/**
 * Ends the learning, if a group holds lines as they came: it holds rows of version 1 then.
 * @return false when that must be tried again later.
 */
bool columns_settle(struct sink *s, struct group *g) WARN_UNUSED;

/**
 * The row of one line in a version, in s->wrap_buf: the same bytes whenever it is asked for.
 * @return false without memory.
 */
bool columns_row(struct sink *s, const struct columns_version *v, const struct block_view *view,
                 const struct block_entry *e, struct span *row) WARN_UNUSED;

#endif
