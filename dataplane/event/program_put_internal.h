/*
 * HOT. Writing protobuf: what the encoder inlines. Every function writes at *out and moves it on; the
 * caller has made sure of room, PROGRAM_SLACK_BYTES included, because whole vectors are stored.
 */
#ifndef PENSTOCK_EVENT_PROGRAM_PUT_INTERNAL_H
#define PENSTOCK_EVENT_PROGRAM_PUT_INTERNAL_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "dataplane/event/program_internal.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define VARINT_BYTES_MAX 10
#define VECTOR_BYTES     16

/** Whether a name starts at p, closing quote included; PROGRAM_KEY_BYTES are readable. */
ALWAYS_INLINE bool key_starts(const char *p, const char *key, uint32_t mask)
{
#ifdef __SSE2__
    const __m128i low = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)p),
                                       _mm_loadu_si128((const __m128i *)(const void *)key));
    const __m128i high = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16)),
                                        _mm_loadu_si128((const __m128i *)(const void *)(key + 16)));
    const uint32_t equal = (uint32_t)_mm_movemask_epi8(low) | (uint32_t)_mm_movemask_epi8(high)
                                                                  << 16;

    return (equal & mask) == mask;
#else
    return memcmp(p, key, (size_t)__builtin_popcount(mask)) == 0;
#endif
}

/** Copies n bytes, reading and writing up to VECTOR_BYTES more. @return whether a '\\' is among them. */
ALWAYS_INLINE bool copy_text(char *to, const char *from, size_t n)
{
#ifdef __SSE2__
    const __m128i backslash = _mm_set1_epi8('\\');

    for (size_t i = 0; i < n; i += VECTOR_BYTES) {
        const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(from + i));
        const unsigned found = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, backslash));

        _mm_storeu_si128((__m128i *)(void *)(to + i), v);
        if (unlikely(found != 0) && i + (unsigned)__builtin_ctz(found) < n)
            return true;
    }
    return false;
#else
    memcpy(to, from, n);
    return memchr(from, '\\', n) != NULL;
#endif
}

#define EVERY_BYTE(b)     (UINT64_C(0x0101010101010101) * (b))
#define NUMBER_READ_BYTES 32 /* from a number's start on, by the readers of short ones */

/* The value of n digits, 1 to 8; eight bytes are readable. @return false when they are not digits. */
ALWAYS_INLINE bool read_digits(const char *p, unsigned n, uint64_t *out)
{
    uint64_t w;

    memcpy(&w, p, sizeof(w));
    w = w << (64 - 8 * n) | EVERY_BYTE('0') >> 4 * n >> 4 * n; /* zeros in front */
    if (((w & EVERY_BYTE(0xF0)) | ((w + EVERY_BYTE(6)) & EVERY_BYTE(0xF0)) >> 4) !=
        EVERY_BYTE(0x33))
        return false;
    w -= EVERY_BYTE('0');
    w = w * 10 + (w >> 8);
    *out = ((w & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x000F424000000064) +
            (w >> 16 & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x0000271000000001)) >>
           32;
    return true;
}

/** A whole number of up to 16 digits in a valid document. @return false: read it in another way. */
ALWAYS_INLINE bool read_short_integer(struct json_value v, int64_t *out)
{
    const bool negative = *v.ptr == '-';
    const char *p = v.ptr + negative;
    const unsigned n = v.len - negative;
    uint64_t high = 0, low;

    if (n > 16 || !read_digits(n > 8 ? p + n - 8 : p, n > 8 ? 8 : n, &low) ||
        (n > 8 && !read_digits(p, n - 8, &high)))
        return false;
    low += high * 100000000;
    *out = negative ? -(int64_t)low : (int64_t)low;
    return true;
}

/**
 * A number in a valid document with up to eight digits in front of the point and seven behind it, or
 * without a point: both parts together are below 2^53, so that one division rounds correctly.
 * @return false: read it in another way.
 */
ALWAYS_INLINE bool read_short_decimal(struct json_value v, double *out)
{
    static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7};
    static const uint32_t factors[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000};
    const bool negative = *v.ptr == '-';
    const char *p = v.ptr + negative;
    const unsigned n = v.len - negative;
    unsigned whole = 1, part = 0;
    uint64_t digits, fraction = 0;
    double real;

    while (whole < n && p[whole] != '.')
        whole++;
    if (whole < n)
        part = n - whole - 1;
    if (whole > 8 || part > 7 || !read_digits(p, whole, &digits) ||
        (part > 0 && !read_digits(p + whole + 1, part, &fraction)))
        return false;
    real = (double)(int64_t)(digits * factors[part] + fraction) / powers[part];
    *out = negative ? -real : real;
    return true;
}

ALWAYS_INLINE void put_tag(char **out, struct program_tag tag)
{
    memcpy(*out, &tag, sizeof(tag)); /* its length is written too, and then over */
    *out += tag.len;
}

/** Any 64-bit value; what has up to 56 bits is spread over eight bytes at once. */
ALWAYS_INLINE void put_varint(char **out, uint64_t v)
{
    unsigned n;

    if (v < 0x80) {
        *(*out)++ = (char)v;
        return;
    }
    if (unlikely(v >> 56 != 0)) {
        for (; v >= 0x80; v >>= 7)
            *(*out)++ = (char)(v | 0x80);
        *(*out)++ = (char)v;
        return;
    }
    n = (70 - (unsigned)__builtin_clzll(v)) / 7;
    v = (v & 0x000000000FFFFFFF) | (v & 0x00FFFFFFF0000000) << 4;
    v = (v & 0x00003FFF00003FFF) | (v & 0x0FFFC0000FFFC000) << 2;
    v = (v & 0x007F007F007F007F) | (v & 0x3F803F803F803F80) << 1;
    v |= UINT64_C(0x0080808080808080) >> (8 * (8 - n));
    memcpy(*out, &v, sizeof(v));
    *out += n;
}

/** The length of the message from start on, for which one byte was left in front of it. */
ALWAYS_INLINE void put_length(char **out, char *start)
{
    size_t len = (size_t)(*out - start);
    char *p = start - 1;

    if (unlikely(len >= 0x80)) {
        size_t more = (63 - (size_t)__builtin_clzll(len)) / 7;

        memmove(start + more, start, len);
        *out += more;
    }
    for (; len >= 0x80; len >>= 7)
        *p++ = (char)(len | 0x80);
    *p = (char)len;
}

#endif
