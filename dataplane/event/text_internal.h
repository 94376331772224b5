/*
 * Small text helpers of this folder: decoding JSON strings byte by byte, recognising UTF-8, hex
 * digits.
 * Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_EVENT_TEXT_INTERNAL_H
#define PENSTOCK_EVENT_TEXT_INTERNAL_H

#include <stdint.h>
#include <string.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/digits.h"
#include "dataplane/base/span.h"

#define TEXT_END (-1)

/** Reads the body of a valid JSON string as the UTF-8 bytes that it stands for. */
struct text_iter {
    const char *_p;
    const char *_end;
    uint8_t _pending[4]; /* the rest of an escape that stands for several bytes */
    uint8_t _n_pending;
    uint8_t _next;
};

/** Starts reading a string body without its quotes. */
void text_iter_init(struct text_iter *it, struct span raw);

/** The next byte, or TEXT_END. */
int text_iter_next(struct text_iter *it);

/** Whether two raw string bodies stand for the same text. */
bool text_equal(struct span a, struct span b);

/** Length of the UTF-8 sequence that p starts with, or 0 when it is not a valid one. left is at
 * least 1. */
size_t text_utf8_length(const char *p, size_t left);

/** Writes "[7]", a step of a path; up to 12 bytes. @return how many. */
static inline size_t text_index(char *out, uint32_t index)
{
    size_t len = 1 + digits_put(out + 1, index);

    out[0] = '[';
    out[len] = ']';
    return len + 1;
}

/** Writes v as n lower-case hex digits. */
static inline void text_hex(char *out, uint64_t v, unsigned n)
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < n; i++)
        out[i] = digits[(v >> (4 * (n - 1 - i))) & 15];
}

/** Writes v as 8 lower-case hex digits, all at once. */
static inline void text_hex_8(char *out, uint32_t v)
{
    uint64_t x = __builtin_bswap32(v), letters;

    x = (x | x << 16) & UINT64_C(0x0000FFFF0000FFFF);
    x = (x | x << 8) & UINT64_C(0x00FF00FF00FF00FF);
    x = (x >> 4 | x << 8) & UINT64_C(0x0F0F0F0F0F0F0F0F); /* a digit a byte, the highest first */
    letters = (x + UINT64_C(0x0606060606060606)) >> 4 & UINT64_C(0x0101010101010101);
    x += UINT64_C(0x3030303030303030) + letters * ('a' - '0' - 10);
    memcpy(out, &x, sizeof(x));
}

/** Writes v as 16 of them: for what every event has. */
static inline void text_hex_16(char *out, uint64_t v)
{
    text_hex_8(out, (uint32_t)(v >> 32));
    text_hex_8(out + 8, (uint32_t)v);
}

#endif
