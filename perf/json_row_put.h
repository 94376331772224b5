/*
 * What the peers' hand-written row encoders share: protobuf on the wire, and times. Rows are those of
 * perf/schemas/commerce.json: fields are numbered in its order from 1, in records likewise. C and C++.
 */
#ifndef PENSTOCK_JSON_ROW_PUT_H
#define PENSTOCK_JSON_ROW_PUT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "perf/json_peer.h"

#define ROW_BYTES_MAX (1u << 20)

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2 };

#define ROW_TAG(field, wire) ((uint8_t)((field) << 3 | (wire)))

static inline uint8_t *row_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

static inline uint8_t *row_int(uint8_t *out, int field, int64_t value)
{
    *out++ = ROW_TAG(field, WIRE_VARINT);
    return row_varint(out, (uint64_t)value);
}

static inline uint8_t *row_double(uint8_t *out, int field, double value)
{
    *out++ = ROW_TAG(field, WIRE_64);
    memcpy(out, &value, sizeof(value));
    return out + sizeof(value);
}

static inline uint8_t *row_bytes(uint8_t *out, int field, const char *text, size_t len)
{
    *out++ = ROW_TAG(field, WIRE_BYTES);
    out = row_varint(out, len);
    memcpy(out, text, len);
    return out + len;
}

/* A length that is known later: one byte is kept for it, and what follows moves when that is too few. */
static inline uint8_t *row_open(uint8_t *out, int field)
{
    *out++ = ROW_TAG(field, WIRE_BYTES);
    return out + 1;
}

static inline uint8_t *row_close(uint8_t *start, uint8_t *end)
{
    size_t len = (size_t)(end - start), more = 0;

    for (size_t rest = len >> 7; rest > 0; rest >>= 7)
        more++;
    if (more > 0)
        memmove(start + more, start, len);
    row_varint(start - 1, len);
    return end + more;
}

/* A row is whole. */
static inline void row_found(struct json_found *found, const uint8_t *row, const uint8_t *end)
{
    found->events++;
    found->bytes += (uint64_t)(end - row);
    if (found->want_sum)
        for (; row < end; row++)
            found->sum += *row;
}

static inline bool row_digits(const char *p, int n, unsigned *value)
{
    *value = 0;
    for (int i = 0; i < n; i++) {
        unsigned digit = (unsigned)(unsigned char)p[i] - '0';

        if (digit > 9)
            return false;
        *value = *value * 10 + digit;
    }
    return true;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar. */
static inline int64_t row_days(unsigned y, unsigned m, unsigned d)
{
    unsigned shifted = m > 2 ? m - 3 : m + 9, year = y - (m <= 2);

    return (int64_t)year * 365 + year / 4 - year / 100 + year / 400 + (153 * shifted + 2) / 5 + d -
           1 - 719468;
}

/* RFC 3339 with up to nine digits of a second, as microseconds since 1970. */
static inline bool row_time(const char *p, size_t len, int64_t *us)
{
    const char *end = p + len;
    unsigned y, mo, d, h, mi, s, oh = 0, om = 0;
    int64_t fraction = 0, scale = 1000000, offset = 0;

    if (len < 20 || !row_digits(p, 4, &y) || p[4] != '-' || !row_digits(p + 5, 2, &mo) ||
        p[7] != '-' || !row_digits(p + 8, 2, &d) || (p[10] != 'T' && p[10] != ' ') ||
        !row_digits(p + 11, 2, &h) || p[13] != ':' || !row_digits(p + 14, 2, &mi) || p[16] != ':' ||
        !row_digits(p + 17, 2, &s))
        return false;
    if (mo - 1 > 11 || d - 1 > 30 || h > 23 || mi > 59 || s > 59)
        return false;
    p += 19;
    if (*p == '.')
        for (p++; p < end && *p >= '0' && *p <= '9'; p++) {
            scale /= 10;
            fraction += (*p - '0') * scale;
        }
    if (p < end && *p == 'Z') {
        p++;
    } else {
        if (end - p != 6 || (*p != '+' && *p != '-') || !row_digits(p + 1, 2, &oh) ||
            !row_digits(p + 4, 2, &om))
            return false;
        offset = ((int64_t)oh * 60 + om) * (*p == '-' ? -60 : 60);
        p = end;
    }
    *us = ((row_days(y, mo, d) * 86400 + h * 3600 + mi * 60 + s) - offset) * 1000000 + fraction;
    return p == end;
}

#endif
