/*
 * HOT. Appending text to a buffer that the caller has made large enough: fixed strings, decimal
 * numbers, cents and ISO 8601 times. Every gen_put_* returns the new end. No bounds are checked
 * here: the bound is GEN_EVENT_BYTES_MAX, asserted once per event in gen_event.c.
 */
#ifndef GEN_TEXT_H
#define GEN_TEXT_H

#include <stdint.h>
#include <string.h>

/* A string with its length, so that tables need no strlen. */
struct gen_str {
    const char *text;
    uint32_t bytes;
};

#define GEN_STR(literal)             \
    {                                \
        literal, sizeof(literal) - 1 \
    }

/* Appends a string literal. */
#define gen_put_lit(out, literal) \
    ((char *)memcpy((out), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)

/* Remembers the text of the day last formatted: successive events fall on the same one or two days.
 */
struct gen_day_cache {
    int64_t day;
    char text[10]; /* YYYY-MM-DD */
};

/**
 * Fills cache for the day of unix_s.
 * Thread: the owner of cache.  Alloc: none.
 */
void gen_day_cache_set(struct gen_day_cache *cache, int64_t day);

/**
 * Appends a time as ISO 8601 UTC with Z. fraction_digits is 0, 3 or 6; digits beyond are cut.
 * At most 27 bytes. unix_us lies in the years 1970 to 9999.
 * Thread: the owner of cache.  Alloc: none.
 */
char *gen_put_time(char *out, int64_t unix_us, unsigned fraction_digits,
                   struct gen_day_cache *cache);

/**
 * Appends an unsigned decimal number, at most 20 bytes.
 * Thread: any.  Alloc: none.
 */
char *gen_put_u64(char *out, uint64_t value);

/**
 * Appends an amount of cents as 123.45, at most 23 bytes.
 * Thread: any.  Alloc: none.
 */
char *gen_put_cents(char *out, uint64_t cents);

/* "00".."99", two bytes a number. */
extern const char gen_two_digits[201];

/** Copies s to out. Thread: any. @return behind it. */
static inline char *gen_put_str(char *out, struct gen_str s)
{
    memcpy(out, s.text, s.bytes);
    return out + s.bytes;
}

/* value is below 100. */
static inline char *gen_put_2(char *out, uint32_t value)
{
    memcpy(out, &gen_two_digits[value * 2], 2);
    return out + 2;
}

/* value is below 1,000. */
static inline char *gen_put_3(char *out, uint32_t value)
{
    *out = (char)('0' + value / 100);
    return gen_put_2(out + 1, value % 100);
}

#endif
