/*
 * Times as events carry them: RFC 3339 and the other forms that BigQuery takes (columns TIMESTAMP
 * and DATE).
 * Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_EVENT_TIMEVAL_H
#define PENSTOCK_EVENT_TIMEVAL_H

#include <stdint.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

#define TIME_TEXT_BYTES 27 /* "2026-11-21T07:42:14.123456Z" */
#define DATE_TEXT_BYTES 10 /* "2026-11-21" */

/* BigQuery's range: 0001-01-01 to 9999-12-31. */
#define TIME_US_MIN INT64_C(-62135596800000000)
#define TIME_US_MAX INT64_C(253402300799999999)

/**
 * Reads YYYY-MM-DD, then space, 't' or 'T', HH:MM[:SS[.f{1,9}]], then nothing (UTC), 'Z', ' UTC',
 * or an offset
 * of at most 14 hours (+hh:mm, -hhmm, +hh). A date alone is midnight. Digits past microseconds are
 * cut off; a leap second (:60) is refused, as BigQuery does.
 * @return 0; -EINVAL for another form; -ERANGE outside BigQuery's range or for a day that does not
 * exist.
 */
int time_parse(struct span text, int64_t *us) WARN_UNUSED;

/**
 * Reads seconds since the epoch from a JSON number, exact to the microsecond. Numbers that only
 * make sense as milliseconds are -ERANGE here (a far-future second): the caller says so.
 */
int time_parse_seconds(struct span number, int64_t *us) WARN_UNUSED;

/** Reads YYYY-MM-DD (also Y-M-D with one-digit month or day) as days since 1970-01-01. @return as
 * time_parse(). */
int date_parse(struct span text, int32_t *days) WARN_UNUSED;

/** Writes exactly TIME_TEXT_BYTES, no NUL. */
void time_format(int64_t us, char *out);

/** Writes exactly DATE_TEXT_BYTES, no NUL. */
void date_format(int32_t days, char *out);

/** Days since the epoch of a time, rounded down also before 1970. */
static inline int32_t time_days(int64_t us)
{
    int64_t day = INT64_C(86400000000);

    return (int32_t)((us >= 0 ? us : us - day + 1) / day);
}

/** Minutes since the epoch of a time, rounded down also before 1970. */
static inline int32_t time_minute(int64_t us)
{
    int64_t minute = INT64_C(60000000);

    return (int32_t)((us >= 0 ? us : us - minute + 1) / minute);
}

#endif
