/*
 * Checks a valid JSON object against a schema, as strictly as a BigQuery load would, so that no row
 * that we accept can fail a load job.
 *
 * Rules: REQUIRED columns present and not null; JSON types and value forms by column type (INTEGER
 * as number or string, exact int64; FLOAT as number or string, "NaN" and infinities as strings;
 * NUMERIC as string or number within range and scale; BOOLEAN true/false or "true"/"false";
 * TIMESTAMP as text or seconds; DATE, TIME, DATETIME text; BYTES base64; JSON anything; RECORD
 * object; REPEATED array without nulls; null REPEATED is empty); no key twice. Fields that the
 * schema does not name are listed as cuts, to be moved to COLUMN_OVERFLOW; added columns that the
 * producer sent (COLUMN_EVENT_DATE, COLUMN_PROCESSED, COLUMN_ID, COLUMN_OVERFLOW at the top level)
 * are listed as cuts to be dropped or moved, because ours replace them.
 *
 * Thread: any; a result belongs to one thread. Alloc: none.
 */
#ifndef PENSTOCK_EVENT_CHECK_H
#define PENSTOCK_EVENT_CHECK_H

#include "dataplane/base/reason.h"
#include "dataplane/event/schema.h"

#define CHECK_CUTS_MAX      64
#define CHECK_SCRATCH_BYTES 4096
#define CHECK_DETAIL_BYTES  200
#define CHECK_TIMES_MAX     4
#define CHECK_NAMES_SPARE   256 /* beside the event's own bytes: for names of unknown nested fields */

/** A member that must leave the object: "key":value, without its comma. */
struct event_cut {
    uint32_t offset; /* from the start of the document, of the key's opening quote */
    uint32_t len;    /* up to the end of the value */
    uint32_t value_offset;
    bool overflow;    /* goes to COLUMN_OVERFLOW under name; false: dropped for ours */
    struct span name; /* raw string body; nested: its path, "metadata.browser", "items[2].sku" */
};

/** A time that a check has read: whoever wants it need not read it again. */
struct check_time {
    uint32_t offset; /* from the start of the document, of the text behind its quote */
    int64_t us;      /* as time_parse() would have it */
};

/** What a check found. Large: keep one per thread. */
struct check_result {
    enum reason reason;              /* REASON_NONE when the event fits */
    uint32_t error_offset;           /* from the start of the document */
    char detail[CHECK_DETAIL_BYTES]; /* "items.price: expected FLOAT, found a string" */
    uint32_t n_cuts, n_times;
    struct check_time time[CHECK_TIMES_MAX]; /* the first ones, of an event that fits; or fewer */
    struct event_cut cut[CHECK_CUTS_MAX];    /* in document order, never one inside another */
    uint32_t scratch_used;
    /* Names of nested cuts, with their paths: no longer in all than the event and CHECK_NAMES_SPARE, so that
     * a line is bounded by its event. */
    char scratch[CHECK_SCRATCH_BYTES];
};

/** Begins a result without a finding. */
static inline void check_result_clear(struct check_result *out)
{
    out->reason = REASON_NONE;
    out->n_cuts = 0;
    out->n_times = 0;
}

/** The time whose text begins at offset, if the check has read it. @return false: it has not. */
static inline bool check_time_at(const struct check_result *check, uint32_t offset, int64_t *us)
{
    ASSERT_HOT(check->n_times <= CHECK_TIMES_MAX);
    for (uint32_t i = 0; i < check->n_times; i++) {
        if (check->time[i].offset == offset) {
            *us = check->time[i].us;
            return true;
        }
    }
    return false;
}

/** Checks one object. The result is valid until the next check into it; its spans point into doc
 * and scratch. */
void check_event(const struct schema *s, struct json_value doc, struct check_result *out);

/**
 * Checks one object of a type whose table takes new columns: known columns as check_event(), but
 * fields that the schema does not name stay where they are, however many and whatever they hold.
 */
void check_known(const struct schema *s, struct json_value doc, struct check_result *out);

/**
 * For an event whose columns are inferred: lists only top-level members that clash with the added
 * columns (COLUMN_EVENT_DATE, COLUMN_PROCESSED, COLUMN_ID) as cuts to be dropped.
 */
void check_names_only(struct json_value doc, struct check_result *out);

/**
 * For an event of a type without a schema: lists only top-level members that clash with the added
 * columns (COLUMN_EVENT_DATE, COLUMN_PROCESSED, COLUMN_ID) as cuts to be dropped, and refuses
 * numbers that a JSON column does not take. An object may name COLUMN_EVENT.
 */
void check_added_only(struct json_value doc, struct check_result *out);

#endif
