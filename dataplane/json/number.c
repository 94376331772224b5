/*
 * HOT. Numbers of validated documents, and the same text inside strings, so the grammar is checked
 * again. Any length is fine: a number is its significant digits times a power of ten.
 *
 * Doubles take Clinger's exact path when digits and power allow it. Otherwise strtod() gets a
 * bounded copy
 * "<digits>e<exponent>": it holds no decimal point, so no locale can change its meaning. 768 digits
 * decide any rounding; of a longer number the copy keeps 800 and one that says whether something
 * else than zeros followed.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "dataplane/json/json_internal.h"
#include "dataplane/json/walk.h"

#define DIGITS_KEPT_MAX   800
#define EXPONENT_CLAMP    (INT64_C(1) << 60) /* beyond the length of any number */
#define UINT64_DIGITS_MAX 19                 /* always fit */
#define CLINGER_POWER_MAX 22 /* 10^22 is the last power that a double holds exactly */
#define CLINGER_DIGITS    (UINT64_C(1) << 53)
#define DECIMAL_TOP_MAX   310  /* 10^309 is past the largest double */
#define DECIMAL_TOP_MIN   -330 /* 10^-330 is far below half the smallest */

/* A number: (-1)^negative * the digits between first and past (a '.' among them is skipped) *
 * 10^exponent. */
struct decimal {
    const char *first; /* the first digit that is not 0; equals past when the number is zero */
    const char *past;  /* behind the last digit that is not 0 */
    int64_t n;         /* digits between */
    int64_t exponent;
    bool negative;
};

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && is_digit(*p))
        p++;
    return p;
}

/* Reads an exponent behind its 'e'. @return whether it is one. */
static bool parse_exponent(const char *p, const char *end, int64_t *out)
{
    const bool negative = p < end && *p == '-';
    int64_t value = 0;

    if (p < end && (*p == '-' || *p == '+'))
        p++;
    if (p == end)
        return false;
    for (; p < end; p++) {
        if (!is_digit(*p))
            return false;
        if (value < EXPONENT_CLAMP / 16)
            value = value * 10 + (*p - '0');
    }
    *out = negative ? -value : value;
    return true;
}

/* Leaves out zeros on both sides. whole and fraction are the digits around the point. */
static void trim_zeros(struct decimal *d, struct span whole, struct span fraction)
{
    const char *begin = whole.ptr;
    const char *point = whole.ptr + whole.len;
    const char *p = begin;
    const char *q = fraction.len > 0 ? fraction.ptr + fraction.len : point;

    while (p < q && (*p == '0' || *p == '.'))
        p++;
    while (q > p && (q[-1] == '0' || q[-1] == '.'))
        q--;
    d->first = p;
    d->past = q;
    if (p == q) {
        d->n = 0;
        d->exponent = 0;
        return;
    }
    d->n = q - p - (p < point && q > point);
    /* the power of the last digit kept: over the point it is at least 0, behind it below */
    d->exponent += q <= point ? point - q : -(q - point - 1);
}

/* Reads text by the grammar of RFC 8259. @return whether it is a number. */
static bool parse_decimal(struct span text, struct decimal *d)
{
    const char *p = text.ptr;
    const char *end;
    struct span whole;
    struct span fraction = {0};

    if (text.len == 0)
        return false;
    end = p + text.len;
    d->exponent = 0;
    d->negative = p < end && *p == '-';
    if (d->negative)
        p++;
    whole.ptr = p;
    p = skip_digits(p, end);
    whole.len = (size_t)(p - whole.ptr);
    if (whole.len == 0 || (whole.len > 1 && whole.ptr[0] == '0'))
        return false;
    if (p < end && *p == '.') {
        fraction.ptr = p + 1;
        p = skip_digits(p + 1, end);
        fraction.len = (size_t)(p - fraction.ptr);
        if (fraction.len == 0)
            return false;
    }
    if (p < end) {
        if ((*p | 0x20) != 'e' || !parse_exponent(p + 1, end, &d->exponent))
            return false;
    }
    trim_zeros(d, whole, fraction);
    return true;
}

/* The digits as an integer; there are at most UINT64_DIGITS_MAX. */
static uint64_t digits_value(const struct decimal *d)
{
    uint64_t v = 0;

    ASSERT_HOT(d->n <= UINT64_DIGITS_MAX);
    for (const char *p = d->first; p < d->past; p++) {
        if (*p != '.')
            v = v * 10 + (uint64_t)(*p - '0');
    }
    return v;
}

int json_int64(struct span text, int64_t *out)
{
    struct decimal d;
    uint64_t v;

    if (!parse_decimal(text, &d) || d.exponent < 0)
        return -EINVAL;
    if (d.n + d.exponent > UINT64_DIGITS_MAX)
        return -ERANGE;
    v = digits_value(&d);
    for (int64_t i = 0; i < d.exponent; i++)
        v *= 10;
    if (v > (uint64_t)INT64_MAX + d.negative)
        return -ERANGE;
    *out = (int64_t)(d.negative ? -v : v);
    return 0;
}

/* Writes e<exponent>. @return its length. */
static size_t put_exponent(int exponent, char *out)
{
    unsigned rest = exponent < 0 ? (unsigned)-exponent : (unsigned)exponent;
    size_t n = 0;

    ASSERT_HOT(rest < 10000);
    out[n++] = 'e';
    out[n++] = exponent < 0 ? '-' : '+';
    for (unsigned unit = 1000; unit > 0; unit /= 10) {
        out[n++] = (char)('0' + rest / unit);
        rest %= unit;
    }
    return n;
}

/* Correctly rounded by strtod() from a bounded copy. */
static COLD_PATH double convert_slowly(const struct decimal *d)
{
    char copy[DIGITS_KEPT_MAX + 32];
    size_t n = 0;
    int64_t exponent = d->exponent;
    const char *p = d->first;

    for (; p < d->past && n < DIGITS_KEPT_MAX; p++) {
        if (*p != '.')
            copy[n++] = *p;
    }
    if ((int64_t)n < d->n) { /* the last digit left out is not 0 */
        exponent += d->n - (int64_t)n - 1;
        copy[n++] = '1';
    }
    n += put_exponent((int)exponent, copy + n);
    copy[n] = '\0';
    return strtod(copy, NULL);
}

/* The magnitude of d, infinity when it overflows. */
static double magnitude(const struct decimal *d)
{
    static const double powers[CLINGER_POWER_MAX + 1] = {
        1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

    if (d->n == 0 || d->n + d->exponent < DECIMAL_TOP_MIN)
        return 0.0;
    if (d->n + d->exponent > DECIMAL_TOP_MAX)
        return (double)INFINITY;
    if (d->n <= UINT64_DIGITS_MAX && d->exponent >= -CLINGER_POWER_MAX &&
        d->exponent <= CLINGER_POWER_MAX) {
        const uint64_t v = digits_value(d);

        if (v <= CLINGER_DIGITS)
            return d->exponent < 0 ? (double)v / powers[-d->exponent]
                                   : (double)v * powers[d->exponent];
    }
    return convert_slowly(d);
}

int json_double(struct span text, double *out)
{
    struct decimal d;
    double v;

    if (!parse_decimal(text, &d))
        return -EINVAL;
    v = magnitude(&d);
    if (isinf(v))
        return -ERANGE;
    *out = d.negative ? -v : v;
    return 0;
}
