/*
 * HOT. Writing protobuf: what the encoder inlines. Every function writes at *out and moves it on; the
 * caller has made sure of room, PROGRAM_SLACK_BYTES included, because whole vectors are stored.
 */
#ifndef PENSTOCK_EVENT_PROGRAM_PUT_INTERNAL_H
#define PENSTOCK_EVENT_PROGRAM_PUT_INTERNAL_H

#ifdef __SSE2__
#include <immintrin.h>
#endif

#include "dataplane/event/program_internal.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define VARINT_BYTES_MAX 10
#define VECTOR_BYTES     32

/* Of what differs in keys, byte by byte, for any number of them: judged once. */
struct differences {
#ifdef PROGRAM_AVX512
    __m256i bytes;
#else
    uint32_t bytes;
#endif
};

/** Adds those between p and a column's name with its quote; PROGRAM_KEY_BYTES are readable. */
ALWAYS_INLINE void key_compare(struct differences *d, const char *p,
                               const struct program_column *col)
{
    const void *key = col->key;
#ifdef PROGRAM_AVX512
    const __m256i found = _mm256_maskz_loadu_epi8(col->key_mask, p);

    /* Of three, bytes | (found ^ key). */
    d->bytes = _mm256_ternarylogic_epi64(d->bytes, found, _mm256_loadu_si256(key), 0xF6);
#elif defined(PROGRAM_AVX2)
    const __m256i equal = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(const void *)p),
                                            _mm256_loadu_si256(key));

    d->bytes |= ~(uint32_t)_mm256_movemask_epi8(equal) & col->key_mask;
#elif defined(__SSE2__)
    const __m128i *at = (const __m128i *)(const void *)p, *want = key;
    const __m128i low = _mm_cmpeq_epi8(_mm_loadu_si128(at), _mm_loadu_si128(want));
    const __m128i high = _mm_cmpeq_epi8(_mm_loadu_si128(at + 1), _mm_loadu_si128(want + 1));
    const uint32_t equal = (uint32_t)_mm_movemask_epi8(low) | (uint32_t)_mm_movemask_epi8(high)
                                                                  << 16;

    d->bytes |= ~equal & col->key_mask;
#else
    d->bytes |= memcmp(p, key, (size_t)__builtin_popcount(col->key_mask)) != 0;
#endif
}

ALWAYS_INLINE bool any_differs(const struct differences *d)
{
#ifdef PROGRAM_AVX512
    return _mm256_testz_si256(d->bytes, d->bytes) == 0;
#else
    return d->bytes != 0;
#endif
}

/** Whether a column's name starts at p, closing quote included; PROGRAM_KEY_BYTES are readable. */
ALWAYS_INLINE bool key_starts(const char *p, const struct program_column *col)
{
    struct differences d = {0};

    key_compare(&d, p, col);
    return !any_differs(&d);
}

/* The backslashes among the VECTOR_BYTES at from, as bits; those bytes are copied. */
ALWAYS_INLINE uint32_t copy_vector(char *to, const char *from)
{
#ifdef PROGRAM_AVX2
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)from);

    _mm256_storeu_si256((__m256i *)(void *)to, v);
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\')));
#elif defined(__SSE2__)
    const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)from);
    const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(from + 16));
    const __m128i backslash = _mm_set1_epi8('\\');

    _mm_storeu_si128((__m128i *)(void *)to, low);
    _mm_storeu_si128((__m128i *)(void *)(to + 16), high);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(low, backslash)) |
           (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(high, backslash)) << 16;
#else
    uint32_t found = 0;

    for (unsigned i = 0; i < VECTOR_BYTES; i++) {
        found |= (uint32_t)(from[i] == '\\') << i;
        to[i] = from[i];
    }
    return found;
#endif
}

/* The n lowest bits of a vector's, 0 to VECTOR_BYTES. */
ALWAYS_INLINE uint32_t low_bits(uint32_t bits, uint32_t n)
{
#ifdef PROGRAM_AVX2
    return _bzhi_u32(bits, n);
#else
    return bits & (uint32_t)((UINT64_C(1) << n) - 1);
#endif
}

/**
 * Copies n bytes, reading and writing up to VECTOR_BYTES more. @return whether a '\\' is among them.
 * Nearly all texts take one vector, whatever their length, so that no branch depends on it.
 */
ALWAYS_INLINE bool copy_text(char *to, const char *from, size_t n)
{
    uint32_t found = copy_vector(to, from);

    while (unlikely(n > VECTOR_BYTES)) {
        if (found != 0)
            return true;
        to += VECTOR_BYTES;
        from += VECTOR_BYTES;
        n -= VECTOR_BYTES;
        found = copy_vector(to, from);
    }
    return low_bits(found, (uint32_t)n) != 0;
}

#define EVERY_BYTE(b)     (UINT64_C(0x0101010101010101) * (b))
#define NUMBER_READ_BYTES 32 /* from a number's start on, by the readers of short ones */

/* The value of the first n bytes of w, 1 to 8. @return false when they are not digits. */
ALWAYS_INLINE bool read_digits_of(uint64_t w, unsigned n, uint64_t *out)
{
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

/* The same for eight bytes in memory. */
ALWAYS_INLINE bool read_digits(const char *p, unsigned n, uint64_t *out)
{
    uint64_t w;

    memcpy(&w, p, sizeof(w));
    return read_digits_of(w, n, out);
}

/** A whole number of up to 16 digits in a valid document. @return false: read it in another way. */
ALWAYS_INLINE bool read_short_integer(struct span v, int64_t *out)
{
    const bool negative = *v.ptr == '-';
    const char *p = v.ptr + negative;
    const unsigned n = (unsigned)v.len - negative;
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
ALWAYS_INLINE bool read_short_decimal(struct span v, double *out)
{
    static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7};
    static const uint32_t factors[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000};
    const bool negative = *v.ptr == '-';
    const char *p = v.ptr + negative;
    const unsigned n = (unsigned)v.len - negative;
    unsigned whole, part;
    uint64_t digits, fraction = 0, w;
    double real;

    if (likely(n <= 8)) { /* the digits behind the point move over it */
        memcpy(&w, p, sizeof(w));
        fraction = w ^ EVERY_BYTE('.');
        fraction = (fraction - EVERY_BYTE(1)) & ~fraction & EVERY_BYTE(0x80);
        whole = fraction == 0 ? 8 : (unsigned)__builtin_ctzll(fraction) >> 3;
        if (unlikely(whole >= n)) { /* no point */
            if (!read_digits(p, n, &digits))
                return false;
            real = (double)(int64_t)digits;
        } else {
            part = n - whole - 1;
            fraction = UINT64_MAX << (8 * whole);
            w = (w & ~fraction) | (w >> 8 & fraction);
            if (!read_digits_of(w, n - 1, &digits))
                return false;
            real = (double)(int64_t)digits / powers[part];
        }
        *out = negative ? -real : real;
        return true;
    }
    for (whole = 1; whole < n && p[whole] != '.'; whole++)
        ;
    part = whole < n ? n - whole - 1 : 0;
    if (whole > 8 || part > 7 || !read_digits(p, whole, &digits) ||
        (part > 0 && !read_digits(p + whole + 1, part, &fraction)))
        return false;
    real = (double)(int64_t)(digits * factors[part] + fraction) / powers[part];
    *out = negative ? -real : real;
    return true;
}

ALWAYS_INLINE void put_tag(char **out, const struct program_tag *tag)
{
    memcpy(*out, tag, sizeof(*tag)); /* its length is written too, and then over */
    *out += tag->len;
}

/** As put_varint(), but writes no byte more than it has. */
ALWAYS_INLINE void put_varint_short(char **out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *(*out)++ = (char)(v | 0x80);
    *(*out)++ = (char)v;
}

/** Any 64-bit value; what has up to 56 bits is spread over eight bytes at once. */
ALWAYS_INLINE void put_varint(char **out, uint64_t v)
{
    unsigned n;

#ifdef PROGRAM_AVX512 /* and so a fast pdep */
    if (unlikely(v >> 56 != 0)) {
        put_varint_short(out, v);
        return;
    }
    n = ((63 - (unsigned)__builtin_clzll(v | 1)) * 9 + 73) >> 6; /* bits / 7, rounded up */
    v = _pdep_u64(v, EVERY_BYTE(0x7F)) | _bzhi_u64(EVERY_BYTE(0x80), 8 * n - 8);
#else
    if (v < 0x80) {
        *(*out)++ = (char)v;
        return;
    }
    if (unlikely(v >> 56 != 0)) {
        put_varint_short(out, v);
        return;
    }
    n = ((63 - (unsigned)__builtin_clzll(v)) * 9 + 73) >> 6; /* bits / 7, rounded up */
    v = (v & 0x000000000FFFFFFF) | (v & 0x00FFFFFFF0000000) << 4;
    v = (v & 0x00003FFF00003FFF) | (v & 0x0FFFC0000FFFC000) << 2;
    v = (v & 0x007F007F007F007F) | (v & 0x3F803F803F803F80) << 1;
    v |= UINT64_C(0x0080808080808080) >> (8 * (8 - n));
#endif
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
    put_varint_short(&p, len);
}

#endif
