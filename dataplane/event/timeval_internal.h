/* What a time text looked like: check.c refuses the forms that time_parse() takes but a BigQuery
 * load does not. */
#ifndef PENSTOCK_EVENT_TIMEVAL_INTERNAL_H
#define PENSTOCK_EVENT_TIMEVAL_INTERNAL_H

#include "dataplane/event/timeval.h"

#define SECOND_US INT64_C(1000000)
#define MINUTE_US (60 * SECOND_US)
#define DAY_US    (1440 * MINUTE_US)

enum time_form {
    TIME_FORM_DATE_ONLY = 1 << 0,
    TIME_FORM_NO_SECONDS = 1 << 1,
    TIME_FORM_ZONE = 1 << 2,           /* 'Z', " UTC" or an offset */
    TIME_FORM_COMPACT_OFFSET = 1 << 3, /* +hhmm or +hh */
    TIME_FORM_NANOS = 1 << 4,          /* more than six fraction digits: BigQuery refuses them */
    TIME_FORM_LOWER_T = 1 << 5,
};

#define DAYS_KEPT 32 /* days that are remembered with their texts */

/**
 * Where a day is remembered, by the last two bytes of YYYY-MM-DD: those of one month each have a place, so
 * that events of several days, as around midnight, do not push each other's out. Thread: any.
 */
static inline unsigned day_place(uint16_t text_end)
{
    return ((text_end & 15u) * 10 + (text_end >> 8 & 15u)) % DAYS_KEPT;
}

/** As time_parse(); also tells the form, a set of enum time_form. */
int time_parse_form(struct span text, int64_t *us, unsigned *form) WARN_UNUSED;

/**
 * Reads HH:MM[:SS[.f{1,9}]] at the start of text.
 * @param used receives the bytes read.
 * @return microseconds of the day, or -EINVAL.
 */
int64_t time_of_day(struct span text, size_t *used, unsigned *form) WARN_UNUSED;

/** Microseconds of a day as BigQuery packs a TIME: hour, minute << 6 | second, 20 bits of fraction. */
int64_t time_pack_clock(int64_t us_of_day) WARN_UNUSED;

/** A time without a zone as BigQuery packs a DATETIME: year, month, day, and the above. */
int64_t time_pack_civil(int64_t us) WARN_UNUSED;

#endif
