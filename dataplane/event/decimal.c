/* HOT. See decimal_internal.h. */
#include "dataplane/event/decimal_internal.h"

#include <errno.h>

#define NUMERIC_WHOLE_DIGITS    29
#define NUMERIC_FRACTION_DIGITS 9
#define BIG_WHOLE_DIGITS        39 /* the 39th only up to BIG_MAX */
#define BIG_FRACTION_DIGITS     38
#define EXPONENT_MAX            1000000000

/* 2^255 - 1: the largest BIGNUMERIC, in units of its last fraction digit. The smallest has a larger
 * last digit. */
static const char BIG_MAX[] =
    "57896044618658097711785492504343953926634992332820282019728792003956564819967";

static_assert(sizeof(BIG_MAX) - 1 == BIG_WHOLE_DIGITS + BIG_FRACTION_DIGITS, "digits of 2^255");

static size_t digits_at(struct span text, size_t pos)
{
    size_t n = pos;

    while (n < text.len && text.ptr[n] >= '0' && text.ptr[n] <= '9')
        n++;
    return n - pos;
}

/* Reads the exponent behind an 'e' at pos. @return the bytes read, 0 for another form. */
static size_t read_exponent(struct span text, size_t pos, int64_t *exponent)
{
    size_t start = pos;
    bool negative = false;
    size_t n;

    if (pos < text.len && (text.ptr[pos] == '+' || text.ptr[pos] == '-'))
        negative = text.ptr[pos++] == '-';
    n = digits_at(text, pos);
    if (n == 0)
        return 0;
    *exponent = 0;
    for (size_t i = 0; i < n && *exponent < EXPONENT_MAX; i++)
        *exponent = *exponent * 10 + (text.ptr[pos + i] - '0');
    if (negative)
        *exponent = -*exponent;
    return pos + n - start;
}

int decimal_read(struct span text, struct decimal *d)
{
    size_t pos = 0, n;

    *d = (struct decimal){.negative = text.len > 0 && text.ptr[0] == '-'};
    pos += d->negative ? 1 : 0;
    n = digits_at(text, pos);
    if (n == 0 || (n > 1 && text.ptr[pos] == '0'))
        return -EINVAL;
    d->whole = (struct span){text.ptr + pos, n};
    pos += n;
    d->fraction = (struct span){text.ptr + pos, 0};
    if (pos < text.len && text.ptr[pos] == '.') {
        n = digits_at(text, pos + 1);
        if (n == 0)
            return -EINVAL;
        d->fraction = (struct span){text.ptr + pos + 1, n};
        pos += n + 1;
    }
    if (pos < text.len && (text.ptr[pos] | 0x20) == 'e') {
        n = read_exponent(text, pos + 1, &d->exponent);
        if (n == 0)
            return -EINVAL;
        pos += n + 1;
    }
    return pos == text.len ? 0 : -EINVAL;
}

/* Whether digits first..last with `whole` of them before the point are at most BIG_MAX. */
static bool below_big_max(const struct decimal *d, size_t first, size_t last)
{
    for (size_t i = 0; i < sizeof(BIG_MAX) - 1; i++) {
        int digit = first + i <= last ? decimal_digit(d, first + i) : 0;

        if (digit != BIG_MAX[i] - '0')
            return digit < BIG_MAX[i] - '0';
    }
    return true;
}

bool decimal_fits(const struct decimal *d, bool big, unsigned precision, unsigned scale)
{
    int64_t fraction_max = big ? BIG_FRACTION_DIGITS : NUMERIC_FRACTION_DIGITS;
    int64_t whole_max = big ? BIG_WHOLE_DIGITS : NUMERIC_WHOLE_DIGITS;
    int64_t whole, fraction;
    size_t n = d->whole.len + d->fraction.len;
    size_t first = 0, last = n - 1;

    ASSERT_HOT(n > 0);
    if ((int64_t)d->fraction.len - d->exponent > fraction_max) /* BigQuery counts written zeros */
        return false;
    while (first < n && decimal_digit(d, first) == 0)
        first++;
    if (first == n)
        return true;
    while (decimal_digit(d, last) == 0)
        last--;
    whole = (int64_t)d->whole.len + d->exponent - (int64_t)first;
    fraction = (int64_t)last + 1 - (int64_t)d->whole.len - d->exponent;
    if (precision > 0) {
        fraction_max = scale;
        whole_max = (int64_t)precision - scale < whole_max ? (int64_t)precision - scale : whole_max;
    }
    if (whole > whole_max || fraction > fraction_max)
        return false;
    return whole < BIG_WHOLE_DIGITS || below_big_max(d, first, last);
}
