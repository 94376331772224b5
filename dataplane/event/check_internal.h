/* What the files of the checker share. HOT. */
#ifndef PENSTOCK_EVENT_CHECK_INTERNAL_H
#define PENSTOCK_EVENT_CHECK_INTERNAL_H

#include "dataplane/event/check.h"

/**
 * Checks one value that is neither null nor an array of a REPEATED column against a column that is
 * no RECORD.
 * @param why receives a short text for people when the reason is BAD_VALUE.
 */
enum reason check_scalar(const struct schema_field *f, struct json_value v,
                         const char **why) WARN_UNUSED;

/** Whether a JSON column takes the value: every number in it is a finite double. */
bool check_json_numbers(struct json_value v);

/** Whether a GEOGRAPHY column takes the string body: well-formed WKT, or GeoJSON by its look. */
bool check_geography(struct span raw);

/**
 * Whether an INTERVAL column takes the text: [sign]Y-M [sign]D [sign]H:M:S[.F], each part within what
 * BigQuery documents, months, minutes and seconds as in the canonical form.
 */
bool check_interval(struct span text);

#endif
