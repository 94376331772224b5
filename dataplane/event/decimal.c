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

/* An unsigned integer of 256 bits, lowest limb first. */
struct wide {
    uint64_t limb[4];
};

static void wide_multiply_add(struct wide *w, uint64_t factor, uint64_t more)
{
    for (size_t i = 0; i < ARRAY_LEN(w->limb); i++) {
        unsigned __int128 v = (unsigned __int128)w->limb[i] * factor + more;

        w->limb[i] = (uint64_t)v;
        more = (uint64_t)(v >> 64);
    }
    ASSERT_HOT(more == 0);
}

size_t decimal_binary(const struct decimal *d, bool big, char *out)
{
    size_t n = d->whole.len + d->fraction.len, first = 0, len = DECIMAL_BINARY_BYTES;
    int64_t zeros = (big ? BIG_FRACTION_DIGITS : NUMERIC_FRACTION_DIGITS) -
                    (int64_t)d->fraction.len + d->exponent;
    uint64_t chunk = 0, factor = 1;
    struct wide w = {0};
    uint8_t sign = d->negative ? 0xFF : 0;

    while (first < n && decimal_digit(d, first) == 0)
        first++;
    if (first == n) {
        out[0] = 0;
        return 1;
    }
    ASSERT_HOT(zeros >= 0 &&
               (int64_t)(n - first) + zeros <= BIG_WHOLE_DIGITS + BIG_FRACTION_DIGITS);
    n += (size_t)zeros;
    for (size_t i = first; i < n; i++) { /* 18 digits at a time */
        chunk = chunk * 10 + (i < n - (size_t)zeros ? (uint64_t)decimal_digit(d, i) : 0);
        factor *= 10;
        if (factor == UINT64_C(1000000000000000000) || i + 1 == n) {
            wide_multiply_add(&w, factor, chunk);
            chunk = 0;
            factor = 1;
        }
    }
    for (size_t i = 0, carry = 1; d->negative && i < ARRAY_LEN(w.limb); i++) {
        w.limb[i] = ~w.limb[i] + carry;
        carry = carry != 0 && w.limb[i] == 0;
    }
    memcpy(out, w.limb, DECIMAL_BINARY_BYTES); /* little-endian: json_internal.h asserts it */
    while (len > 1 && (uint8_t)out[len - 1] == sign &&
           ((uint8_t)out[len - 2] & 0x80) == (sign & 0x80))
        len--;
    return len;
}
