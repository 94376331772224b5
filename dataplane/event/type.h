/*
 * Event types as configured: how events of a type are recognised, timed, checked and stored. Filled
 * by control at start, immutable afterwards; any thread may read it.
 */
#ifndef PENSTOCK_EVENT_TYPE_H
#define PENSTOCK_EVENT_TYPE_H

#include "dataplane/event/names.h"
#include "dataplane/event/schema.h"

#define TYPE_CLUSTERING_MAX   4
#define TYPE_SAMPLING_DEFAULT (-1)

/* What happens to fields that a schema does not name. */
enum unknown_fields {
    UNKNOWN_OVERFLOW,   /* to COLUMN_OVERFLOW */
    UNKNOWN_ADD_COLUMN, /* a new column, inferred: the table grows */
    UNKNOWN_DEAD_LETTER,
};

/* What happens to events of types that the configuration does not name. */
enum unlisted_types {
    UNLISTED_JSON,  /* a table with one JSON column */
    UNLISTED_INFER, /* a table whose columns are inferred */
    UNLISTED_DEAD_LETTER,
};

/* How rows reach BigQuery. */
enum type_method { TYPE_METHOD_DEFAULT, TYPE_LOAD, TYPE_INSERT_ALL };

/** One configured type. */
struct type_config {
    const char *name;
    const char *table;      /* table id; NULL: the escaped name */
    const char *time_field; /* path of the event's time; NULL: type_set.time_field */
    const char *description;
    const char *clustering[TYPE_CLUSTERING_MAX];
    uint32_t n_clustering;
    const struct schema *schema; /* NULL: a table with one JSON column, unless infer */
    bool infer;                  /* columns are inferred from the events; schema is NULL */
    enum unknown_fields unknown;
    int32_t sampling_ppm; /* of its events are kept, in parts per million; TYPE_SAMPLING_DEFAULT: as
                             the settings say for all types */
    enum type_method method;
    const char *dedupe_field; /* path of the id by which duplicates are removed; NULL: none are */
    int64_t dedupe_window_us;
    uint32_t dedupe_ids_max;
};

/** All of them, and what holds for the rest. */
struct type_set {
    const char *type_field; /* path of the event type, such as "event_type" */
    const char *time_field; /* default path of the event's time; NULL: receive time */
    enum unlisted_types unlisted;
    bool insert_all;                  /* TYPE_METHOD_DEFAULT: by insertAll, not by load jobs */
    int64_t lateness_us;              /* allowed; older than the type's watermark by more is late */
    const struct schema *json_schema; /* of tables without a schema: schema_for_json() */
    uint32_t n_types;
    const struct type_config *type;
    const uint32_t *by_name; /* positions in the order of their names; NULL: any order */
};

/** The configured type of this raw name, or NULL. Thread: any. */
const struct type_config *type_find(const struct type_set *set, struct span name);

/**
 * Whether rows of a type (NULL: one that is not configured) are made by rows.h: all of its columns
 * inferred, or new ones added to those of its schema. Its events are kept as they came.
 * Thread: any.
 */
static inline bool type_has_rows(const struct type_set *set, const struct type_config *c)
{
    if (c == NULL)
        return set->unlisted == UNLISTED_INFER;
    return c->infer || (c->schema != NULL && c->unknown == UNKNOWN_ADD_COLUMN);
}

/** Whether rows of a type (NULL: one that is not configured) go by insertAll. Thread: any. */
static inline bool type_inserts(const struct type_set *set, const struct type_config *c)
{
    return c == NULL || c->method == TYPE_METHOD_DEFAULT ? set->insert_all
                                                         : c->method == TYPE_INSERT_ALL;
}

/** Writes a type's table id (out: TYPE_ESCAPED_BYTES_MAX + 1, or the configured one's length + 1).
 * Thread: any. */
void type_table(const struct type_set *set, struct span name, char *out, size_t out_len);

#endif
