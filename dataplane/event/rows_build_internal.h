/* The text of versions, as rows.c and rows_grow.c write it. COLD. */
#ifndef PENSTOCK_EVENT_ROWS_BUILD_INTERNAL_H
#define PENSTOCK_EVENT_ROWS_BUILD_INTERNAL_H

#include "dataplane/event/schema_internal.h"

/** What a version's text begins with. */
struct rows_head {
    const char *time_path; /* or NULL */
    uint32_t columns_max;
    bool fixed_types;
};

/** Writes everything before the array of fields. */
void rows_text_head(struct schema_text *t, const struct rows_head *head);

/** Writes a configured field's properties but its columns, without the closing brace. */
void rows_text_properties(struct schema_text *t, struct json_value field);

/** Writes an array of configured fields, marked as such. */
void rows_text_base(struct schema_text *t, struct json_value fields);

#endif
