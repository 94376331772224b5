// Calendar arithmetic and the text forms of DATE, TIME, DATETIME and TIMESTAMP. UTC only.
// Thread: any, for every function here.
#ifndef LOCALCLOUD_BQ_TIME_H
#define LOCALCLOUD_BQ_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LC_US_PER_SECOND  1000000LL
#define LC_US_PER_DAY     86400000000LL
#define LC_TIMESTAMP_MIN  (-62135596800000000LL) // 0001-01-01 00:00:00
#define LC_TIMESTAMP_LAST 253402300799999999LL   // 9999-12-31 23:59:59.999999

struct lc_date {
    int64_t year;
    int month; // 1..12
    int day;   // 1..31
};

/** Days since 1970-01-01 of a date of the proleptic Gregorian calendar. */
int64_t lc_days_from_date(struct lc_date d);

/** Inverse of lc_days_from_date. */
struct lc_date lc_date_from_days(int64_t days);

/** Floor division. divisor > 0. */
int64_t lc_floor_div(int64_t value, int64_t divisor);

/** Days of a month. */
int lc_month_days(int64_t year, int month);

/** Reads YYYY-MM-DD, years 1 to 9999. @return false when s is anything else. */
bool lc_parse_date(const char *s, size_t n, int64_t *days);

/** Reads HH:MM:SS[.f to .ffffff]. @return false when s is anything else. */
bool lc_parse_time(const char *s, size_t n, int64_t *us);

/** Reads YYYY-MM-DD(space or T)HH:MM:SS[.ffffff] as microseconds, no zone. */
bool lc_parse_datetime(const char *s, size_t n, int64_t *us);

/**
 * Reads YYYY-MM-DD(space or T)HH:MM[:SS[.ffffff]] with optional Z, " UTC" or +hh[:mm].
 * date_only: also a bare date, as SQL literals allow. @return false: other text, or outside years 1
 * to 9999.
 */
bool lc_parse_timestamp(const char *s, size_t n, bool date_only, int64_t *us);

/** Writes YYYY-MM-DD. @return out. */
char *lc_date_text(int64_t days, char out[40]);

/** Writes HH:MM:SS[.ffffff], trailing zeros cut. us: of a day. @return out. */
char *lc_time_text(int64_t us, char out[40]);

/** Writes YYYY-MM-DD, separator, HH:MM:SS[.ffffff]. @return out. */
char *lc_datetime_text(int64_t us, char separator, char out[40]);

#endif
