/* Numbers as text, where printf would be too slow or is not allowed. */
#ifndef PENSTOCK_BASE_DIGITS_H
#define PENSTOCK_BASE_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#define DIGITS_PUT_MAX 20 /* of 64 bits */

/** Writes v in decimal, without a NUL; up to DIGITS_PUT_MAX bytes. Thread: any. Alloc: none.
 * @return how many. */
static inline size_t digits_put(char *out, uint64_t v)
{
    char digits[DIGITS_PUT_MAX];
    size_t n = 0, len = 0;

    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    while (n > 0)
        out[len++] = digits[--n];
    return len;
}

#endif
