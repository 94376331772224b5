// Role: see bq_time.h. Day numbers follow Howard Hinnant's civil-calendar formulas.
#include "tools/localcloud/bq_time.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

int64_t lc_floor_div(int64_t value, int64_t divisor)
{
    assert(divisor > 0);
    int64_t q = value / divisor;
    return value % divisor < 0 ? q - 1 : q;
}

int64_t lc_days_from_date(struct lc_date d)
{
    int64_t y = d.year - (d.month <= 2);
    int64_t era = lc_floor_div(y, 400);
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (d.month + (d.month > 2 ? -3 : 9)) + 2) / 5 + d.day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

struct lc_date lc_date_from_days(int64_t days)
{
    days += 719468;
    int64_t era = lc_floor_div(days, 146097);
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t mp = (5 * day_of_year + 2) / 153;
    struct lc_date d = {.month = (int)(mp < 10 ? mp + 3 : mp - 9),
                        .day = (int)(day_of_year - (153 * mp + 2) / 5 + 1)};
    d.year = year_of_era + era * 400 + (d.month <= 2);
    return d;
}

int lc_month_days(int64_t year, int month)
{
    static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    assert(month >= 1 && month <= 12);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

// Cursor over the text; the readers advance it and fail softly.
struct cursor {
    const char *p;
    const char *end;
};

static bool digits(struct cursor *c, int count, int *out)
{
    if (c->end - c->p < count)
        return false;
    int v = 0;
    for (int i = 0; i < count; i++, c->p++) {
        if (*c->p < '0' || *c->p > '9')
            return false;
        v = v * 10 + (*c->p - '0');
    }
    *out = v;
    return true;
}

static bool literal(struct cursor *c, char want)
{
    if (c->p == c->end || *c->p != want)
        return false;
    c->p++;
    return true;
}

static bool read_date(struct cursor *c, int64_t *days)
{
    int y, m, d;
    bool ok = digits(c, 4, &y) && literal(c, '-') && digits(c, 2, &m) && literal(c, '-') &&
              digits(c, 2, &d);
    if (!ok || y < 1 || m < 1 || m > 12 || d < 1 || d > lc_month_days(y, m))
        return false;
    *days = lc_days_from_date((struct lc_date){y, m, d});
    return true;
}

// Fraction after the point: one to six digits.
static bool read_fraction(struct cursor *c, int *us)
{
    int scale = 100000, v = 0, count = 0;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++, count++) {
        v += (*c->p - '0') * scale;
        scale /= 10;
    }
    *us = v;
    return count >= 1 && count <= 6;
}

static bool read_time(struct cursor *c, bool seconds_needed, int64_t *us)
{
    int h, m, s = 0, fraction = 0;
    if (!digits(c, 2, &h) || !literal(c, ':') || !digits(c, 2, &m))
        return false;
    if (literal(c, ':')) {
        if (!digits(c, 2, &s) || (literal(c, '.') && !read_fraction(c, &fraction)))
            return false;
    } else if (seconds_needed) {
        return false;
    }
    *us = ((int64_t)h * 3600 + m * 60 + s) * LC_US_PER_SECOND + fraction;
    return h < 24 && m < 60 && s < 60;
}

static bool read_zone(struct cursor *c, int64_t *offset_us)
{
    *offset_us = 0;
    if (c->p == c->end || literal(c, 'Z') || literal(c, 'z'))
        return true;
    if (c->end - c->p == 4 && memcmp(c->p, " UTC", 4) == 0) {
        c->p += 4;
        return true;
    }
    int sign = *c->p == '-' ? -1 : 1, h, m = 0;
    if (!literal(c, '+') && !literal(c, '-'))
        return false;
    if (!digits(c, 2, &h) || (literal(c, ':') && !digits(c, 2, &m)))
        return false;
    *offset_us = sign * ((int64_t)h * 3600 + m * 60) * LC_US_PER_SECOND;
    return h <= 14 && m < 60;
}

bool lc_parse_date(const char *s, size_t n, int64_t *days)
{
    struct cursor c = {s, s + n};
    return read_date(&c, days) && c.p == c.end;
}

bool lc_parse_time(const char *s, size_t n, int64_t *us)
{
    struct cursor c = {s, s + n};
    return read_time(&c, true, us) && c.p == c.end;
}

bool lc_parse_datetime(const char *s, size_t n, int64_t *us)
{
    struct cursor c = {s, s + n};
    int64_t days, time;
    if (!read_date(&c, &days) || (!literal(&c, ' ') && !literal(&c, 'T')) ||
        !read_time(&c, true, &time))
        return false;
    *us = days * LC_US_PER_DAY + time;
    return c.p == c.end;
}

bool lc_parse_timestamp(const char *s, size_t n, bool date_only, int64_t *us)
{
    struct cursor c = {s, s + n};
    int64_t days, time = 0, offset = 0;
    if (!read_date(&c, &days))
        return false;
    if (literal(&c, ' ') || literal(&c, 'T')) {
        if (!read_time(&c, false, &time))
            return false;
    } else if (!date_only) {
        return false;
    }
    if (!read_zone(&c, &offset) || c.p != c.end)
        return false;
    *us = days * LC_US_PER_DAY + time - offset;
    return *us >= LC_TIMESTAMP_MIN && *us <= LC_TIMESTAMP_LAST;
}

char *lc_date_text(int64_t days, char out[40])
{
    struct lc_date d = lc_date_from_days(days);
    snprintf(out, 40, "%04lld-%02d-%02d", (long long)d.year, d.month, d.day);
    return out;
}

char *lc_time_text(int64_t us, char out[40])
{
    assert(us >= 0 && us < LC_US_PER_DAY);
    int s = (int)(us / LC_US_PER_SECOND), fraction = (int)(us % LC_US_PER_SECOND);
    int n = snprintf(out, 40, "%02d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
    if (fraction) {
        n += snprintf(out + n, (size_t)(40 - n), ".%06d", fraction);
        while (out[n - 1] == '0')
            out[--n] = 0;
    }
    return out;
}

char *lc_datetime_text(int64_t us, char separator, char out[40])
{
    char date[40], time[40];
    int64_t days = lc_floor_div(us, LC_US_PER_DAY);
    lc_date_text(days, date);
    lc_time_text(us - days * LC_US_PER_DAY, time);
    snprintf(out, 40, "%.12s%c%.16s", date, separator, time);
    return out;
}
