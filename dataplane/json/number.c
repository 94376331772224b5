/*
 * HOT. Numbers of validated documents, and the same text inside strings, so the grammar is checked
 * again. Any length is fine: a number is its significant digits times a power of ten.
 *
 * Nearly all numbers are short (up to 19 digits, perhaps a point, an exponent of up to three
 * digits): they are read in one pass, eight digits at a time. Doubles take Clinger's exact path
 * when digits and power allow it, then Eisel and Lemire's: one or two 64-bit products with 128
 * bits of the power of five (powers_internal.h) decide the rounding, or say that they cannot. Of a
 * number with more than 19 digits both neighbours of its first 19 must round to the same double.
 *
 * What is left, one in millions, goes to strtod() as a bounded copy "<digits>e<exponent>": it
 * holds no decimal point, so no locale can change its meaning. 768 digits decide any rounding; of
 * a longer number the copy keeps 800 and one that says whether something else than zeros followed.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "dataplane/json/json_internal.h"
#include "dataplane/json/powers_internal.h"
#include "dataplane/json/walk.h"

#define DIGITS_KEPT_MAX   800
#define EXPONENT_CLAMP    (INT64_C(1) << 60) /* beyond the length of any number */
#define UINT64_DIGITS_MAX 19                 /* always fit */
#define CLINGER_POWER_MAX 22 /* 10^22 is the last power that a double holds exactly */
#define CLINGER_DIGITS    (UINT64_C(1) << 53)
#define DECIMAL_TOP_MAX   310  /* 10^309 is past the largest double */
#define DECIMAL_TOP_MIN   -330 /* 10^-330 is far below half the smallest */
#define SHORT_BYTES_MAX   26   /* '-', 19 digits, '.', "e-308" */

/* A double: 1 sign bit, 11 exponent bits, 52 bits of the mantissa behind a hidden one. */
#define MANTISSA_BITS   52
#define EXPONENT_BIAS   1023
#define EXPONENT_INF    2047
#define TIE_POWER_MIN   (-4) /* only between these powers of ten can the product be a tie */
#define TIE_POWER_MAX   23
#define EXACT_POWER_MIN (-27) /* between these no product needs more than 128 bits */
#define EXACT_POWER_MAX 55

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

/* The first UINT64_DIGITS_MAX digits as an integer. */
static uint64_t digits_value(const struct decimal *d)
{
    uint64_t v = 0;
    unsigned n = 0;

    for (const char *p = d->first; p < d->past && n < UINT64_DIGITS_MAX; p++) {
        if (*p != '.') {
            v = v * 10 + (uint64_t)(*p - '0');
            n++;
        }
    }
    return v;
}

/* A short number: (-1)^negative * digits * 10^power. */
struct short_number {
    uint64_t digits;
    int power;
    bool negative;
};

/* Whether all eight bytes are digits: their high halves are 3, also after adding 6 to the low. */
static inline bool eight_digits(uint64_t w)
{
    return ((w & BYTES(0xF0)) | ((w + BYTES(6)) & BYTES(0xF0)) >> 4) == BYTES(0x33);
}

/* Pairs, then fours, then all eight, each by one multiplication. */
static inline uint64_t eight_digits_value(uint64_t w)
{
    w -= BYTES('0');
    w = w * 10 + (w >> 8);
    return ((w & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x000F424000000064) +
            (w >> 16 & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x0000271000000001)) >>
           32;
}

/* Reads digits on top of *v, which overflows silently: the caller counts them. */
static inline const char *read_digits(const char *p, const char *end, uint64_t *v)
{
    uint64_t n = *v;

    while (end - p >= 8 && eight_digits(load64(p))) {
        n = n * 100000000 + eight_digits_value(load64(p));
        p += 8;
    }
    for (; p < end && is_digit(*p); p++)
        n = n * 10 + (uint64_t)(*p - '0');
    *v = n;
    return p;
}

/* "e-12" and the like, up to three digits. @return past it, or NULL. */
static inline const char *read_exponent(const char *p, const char *end, int *power)
{
    const bool negative = p + 1 < end && p[1] == '-';
    const char *digits = p + 1 + (p + 1 < end && (p[1] == '-' || p[1] == '+') ? 1 : 0);
    int v = 0;

    if ((*p | 0x20) != 'e' || end - digits > 3 || end == digits)
        return NULL;
    for (p = digits; p < end && is_digit(*p); p++)
        v = v * 10 + (*p - '0');
    *power += negative ? -v : v;
    return p;
}

/* @return false for any other number, and for what is none. */
static inline bool read_short(struct span text, struct short_number *out)
{
    const char *p = text.ptr;
    const char *end = p + text.len;
    const char *whole;
    ptrdiff_t n;

    if (text.len == 0 || text.len > SHORT_BYTES_MAX)
        return false;
    out->negative = *p == '-';
    out->digits = 0;
    out->power = 0;
    whole = p += out->negative ? 1 : 0;
    p = read_digits(p, end, &out->digits);
    n = p - whole;
    if (n == 0 || (n > 1 && *whole == '0'))
        return false;
    if (p < end && *p == '.') {
        const char *fraction = p + 1;

        p = read_digits(fraction, end, &out->digits);
        if (p == fraction)
            return false;
        out->power = -(int)(p - fraction);
        n += p - fraction;
    }
    if (p < end)
        p = read_exponent(p, end, &out->power);
    return p == end && n <= UINT64_DIGITS_MAX;
}

/* The magnitude of a whole number. */
static int read_integer(struct span text, bool *negative, uint64_t *out)
{
    struct short_number s;
    struct decimal d;
    uint64_t v = 0;

    if (likely(read_short(text, &s) && s.power == 0)) {
        *negative = s.negative;
        *out = s.digits;
        return 0;
    }
    if (!parse_decimal(text, &d) || d.exponent < 0)
        return -EINVAL;
    if (d.n + d.exponent > UINT64_DIGITS_MAX + 1)
        return -ERANGE;
    for (const char *p = d.first; p < d.past; p++) {
        if (*p != '.' && (__builtin_mul_overflow(v, 10u, &v) ||
                          __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v)))
            return -ERANGE;
    }
    for (int64_t i = 0; i < d.exponent; i++) {
        if (__builtin_mul_overflow(v, 10u, &v))
            return -ERANGE;
    }
    *negative = d.negative;
    *out = v;
    return 0;
}

int json_int64(struct span text, int64_t *out)
{
    bool negative = false;
    uint64_t v = 0;
    int rc = read_integer(text, &negative, &v);

    if (unlikely(rc != 0))
        return rc;
    if (v > (uint64_t)INT64_MAX + negative)
        return -ERANGE;
    *out = (int64_t)(negative ? -v : v);
    return 0;
}

int json_uint64(struct span text, uint64_t *out)
{
    bool negative = false;
    uint64_t v = 0;
    int rc = read_integer(text, &negative, &v);

    if (unlikely(rc != 0))
        return rc;
    if (negative && v > 0)
        return -ERANGE;
    *out = v;
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

static inline double double_of_bits(uint64_t mantissa, int exponent)
{
    const uint64_t bits = mantissa | (uint64_t)exponent << MANTISSA_BITS;
    double v;

    ASSERT_HOT(mantissa < UINT64_C(1) << MANTISSA_BITS && exponent >= 0);
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* w, with its top bit set, times the power of five: the top 128 bits, as many as the rounding needs. */
static inline void product(uint64_t w, const struct power_of_five *five, uint64_t *high,
                           uint64_t *low)
{
    const unsigned __int128 first = (unsigned __int128)w * five->high;

    *high = (uint64_t)(first >> 64);
    *low = (uint64_t)first;
    if ((*high & (UINT64_MAX >> (MANTISSA_BITS + 3))) == UINT64_MAX >> (MANTISSA_BITS + 3)) {
        const uint64_t more = (uint64_t)((unsigned __int128)w * five->low >> 64);

        *low += more;
        *high += *low < more ? 1 : 0;
    }
}

/* Eisel and Lemire: digits * 10^power, digits not 0. @return false when 128 bits do not decide. */
static bool by_product(uint64_t digits, int64_t power, double *out)
{
    uint64_t high, low, mantissa;
    int zeros, shift, exponent;

    ASSERT_HOT(digits != 0);
    *out = power < POWER_MIN ? 0.0 : (double)INFINITY;
    if (power < POWER_MIN || power > POWER_MAX)
        return true;
    zeros = __builtin_clzll(digits);
    product(digits << zeros, &powers_of_five[power - POWER_MIN], &high, &low);
    if (low == UINT64_MAX && (power < EXACT_POWER_MIN || power > EXACT_POWER_MAX))
        return false;
    shift = (int)(high >> 63) + 64 - MANTISSA_BITS - 3;
    mantissa = high >> shift; /* with one bit to round by */
    /* 217706 / 2^16 is log2(10): the exponent of 10^power */
    exponent = (int)(217706 * power >> 16) + 63 + (int)(high >> 63) - zeros + EXPONENT_BIAS;
    if (unlikely(exponent <= 0)) { /* below the normal doubles */
        mantissa = exponent > -63 ? mantissa >> (1 - exponent) : 0;
        mantissa = (mantissa + (mantissa & 1)) >> 1;
        exponent = mantissa >> MANTISSA_BITS != 0;
        *out = double_of_bits(mantissa & ((UINT64_C(1) << MANTISSA_BITS) - 1), exponent);
        return true;
    }
    if (low <= 1 && power >= TIE_POWER_MIN && power <= TIE_POWER_MAX && (mantissa & 3) == 1 &&
        mantissa << shift == high)
        mantissa--; /* a tie goes to the even one, here the lower */
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >> (MANTISSA_BITS + 1) != 0) {
        mantissa >>= 1;
        exponent++;
    }
    if (exponent < EXPONENT_INF)
        *out = double_of_bits(mantissa & ((UINT64_C(1) << MANTISSA_BITS) - 1), exponent);
    return true;
}

/* Clinger: digits and power are exact doubles, so that one operation rounds once. */
static inline bool by_one_operation(uint64_t digits, int64_t power, double *out)
{
    static const double powers[CLINGER_POWER_MAX + 1] = {
        1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

    if (digits > CLINGER_DIGITS || power < -CLINGER_POWER_MAX || power > CLINGER_POWER_MAX)
        return false;
    *out = power < 0 ? (double)digits / powers[-power] : (double)digits * powers[power];
    return true;
}

/* The magnitude of d, infinity when it overflows. */
static double magnitude(const struct decimal *d)
{
    int64_t power;
    uint64_t v;
    double out, above;

    if (d->n == 0 || d->n + d->exponent < DECIMAL_TOP_MIN)
        return 0.0;
    if (d->n + d->exponent > DECIMAL_TOP_MAX)
        return (double)INFINITY;
    v = digits_value(d);
    if (d->n <= UINT64_DIGITS_MAX) {
        if (by_one_operation(v, d->exponent, &out) || by_product(v, d->exponent, &out))
            return out;
        return convert_slowly(d);
    }
    power = d->exponent + d->n - UINT64_DIGITS_MAX;
    if (by_product(v, power, &out) && by_product(v + 1, power, &above) && out >= above)
        return out;
    return convert_slowly(d);
}

int json_double(struct span text, double *out)
{
    struct short_number s;
    struct decimal d;
    double v;

    if (likely(read_short(text, &s)) && (likely(by_one_operation(s.digits, s.power, &v)) ||
                                         (s.digits != 0 && by_product(s.digits, s.power, &v)))) {
        if (unlikely(isinf(v)))
            return -ERANGE;
        *out = s.negative ? -v : v;
        return 0;
    }
    if (!parse_decimal(text, &d))
        return -EINVAL;
    v = magnitude(&d);
    if (isinf(v))
        return -ERANGE;
    *out = d.negative ? -v : v;
    return 0;
}
