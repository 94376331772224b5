/* HOT. INTERVAL columns: BigQuery's canonical text. */
#include "dataplane/event/check_internal.h"

#define MONTHS_MAX  120000 /* 10,000 years */
#define DAYS_MAX    3660000
#define SECONDS_MAX INT64_C(316224000000) /* 87,840,000 hours */
#define DIGITS_MAX  9

struct reader {
    const char *p, *end;
};

static bool take(struct reader *r, char c)
{
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

/* One to DIGITS_MAX digits. @return their number; -1 when there are none, or it is above max. */
static int64_t number(struct reader *r, int64_t max)
{
    const char *start = r->p;
    int64_t n = 0;

    ASSERT_HOT(max >= 0);
    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9' && r->p - start <= DIGITS_MAX; r->p++)
        n = n * 10 + (*r->p - '0');
    return r->p == start || r->p - start > DIGITS_MAX || n > max ? -1 : n;
}

static void sign(struct reader *r)
{
    if (!take(r, '-'))
        (void)take(r, '+');
}

/* Microseconds: one to six digits. */
static bool fraction(struct reader *r, bool *any)
{
    const char *start = r->p;

    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++)
        *any |= *r->p != '0';
    return r->p > start && r->p - start <= 6;
}

bool check_interval(struct span text)
{
    struct reader r = {text.ptr, text.ptr + text.len};
    int64_t years, months, hours, minutes, seconds;
    bool more = false;

    sign(&r);
    years = number(&r, MONTHS_MAX / 12);
    months = years >= 0 && take(&r, '-') ? number(&r, 11) : -1;
    if (months < 0 || years * 12 + months > MONTHS_MAX || !take(&r, ' '))
        return false;
    sign(&r);
    if (number(&r, DAYS_MAX) < 0 || !take(&r, ' '))
        return false;
    sign(&r);
    hours = number(&r, SECONDS_MAX / 3600);
    minutes = hours >= 0 && take(&r, ':') ? number(&r, 59) : -1;
    seconds = minutes >= 0 && take(&r, ':') ? number(&r, 59) : -1;
    if (seconds < 0 || (take(&r, '.') && !fraction(&r, &more)))
        return false;
    seconds += hours * 3600 + minutes * 60;
    return r.p == r.end && (seconds < SECONDS_MAX || (seconds == SECONDS_MAX && !more));
}
