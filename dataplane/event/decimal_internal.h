/*
 * JSON numbers as exact decimals, without converting them: for NUMERIC columns and for seconds
 * since the epoch.
 * Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_EVENT_DECIMAL_INTERNAL_H
#define PENSTOCK_EVENT_DECIMAL_INTERNAL_H

#include <stdint.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

/** A number taken apart; the spans point into its text. */
struct decimal {
    bool negative;
    int64_t exponent; /* as written behind 'e', clamped */
    struct span whole;
    struct span fraction;
};

/** Takes a JSON number apart. @return 0; -EINVAL when text is none. */
int decimal_read(struct span text, struct decimal *d) WARN_UNUSED;

/** Digit i of whole and fraction together. */
static inline int decimal_digit(const struct decimal *d, size_t i)
{
    if (i < d->whole.len)
        return d->whole.ptr[i] - '0';
    return d->fraction.ptr[i - d->whole.len] - '0';
}

/**
 * Whether the value fits NUMERIC(precision, scale) exactly.
 * @param big whether the column is BIGNUMERIC: 38 fraction digits instead of 9.
 * @param precision 0 when the column does not limit it.
 */
bool decimal_fits(const struct decimal *d, bool big, unsigned precision, unsigned scale);

/* The largest BIGNUMERIC has 255 bits. */
#define DECIMAL_BINARY_BYTES 32

/**
 * The value times 10^9 (big: 10^38) as a signed integer: little-endian, two's complement, as few
 * bytes as hold it, at least one. It must fit the type: see decimal_fits().
 * @return how many of DECIMAL_BINARY_BYTES at out.
 */
size_t decimal_binary(const struct decimal *d, bool big, char *out);

#endif
