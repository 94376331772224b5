/*
 * HOT. Appending JSON members to a buffer that the caller has made large enough, in the manner of one
 * producer: with or without spaces, with or without characters outside ASCII. Every value is followed
 * by its separator; closing takes the last one back. Like gen_text.h nothing here checks bounds.
 */
#ifndef GEN_JSON_H
#define GEN_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tools/gen/gen_text.h"

struct gen_json {
    char *at;
    bool spaced; /* ", " and ": ", as Python writes */
    bool ascii;  /* other characters as \uXXXX */
};

/* The name of the member whose value follows; a literal without anything to escape. */
#define gen_json_key(j, literal) gen_json_key_text((j), (struct gen_str)GEN_STR(literal))

/* A string value from a literal without anything to escape. */
#define gen_json_lit(j, literal) gen_json_plain((j), (struct gen_str)GEN_STR(literal))

/** Appends a separator. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_next(struct gen_json *j)
{
    *j->at++ = ',';
    if (j->spaced) {
        *j->at++ = ' ';
    }
}

/** Appends a key of plain text, and the colon. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_key_text(struct gen_json *j, struct gen_str key)
{
    *j->at++ = '"';
    j->at = gen_put_str(j->at, key);
    *j->at++ = '"';
    *j->at++ = ':';
    if (j->spaced) {
        *j->at++ = ' ';
    }
}

/** Appends '{' or '['. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_open(struct gen_json *j, char bracket)
{
    *j->at++ = bracket;
}

/** Takes back the separator after the last value. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_end(struct gen_json *j)
{
    if (j->at[-1] != '{' && j->at[-1] != '[') {
        j->at -= j->spaced ? 2 : 1;
    }
}

/** Appends '}' or ']'. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_close(struct gen_json *j, char bracket)
{
    gen_json_end(j);
    *j->at++ = bracket;
    gen_json_next(j);
}

/** Appends a string without anything to escape. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_plain(struct gen_json *j, struct gen_str s)
{
    *j->at++ = '"';
    j->at = gen_put_str(j->at, s);
    *j->at++ = '"';
    gen_json_next(j);
}

/** Appends a number, literal or other text as it is. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_raw(struct gen_json *j, struct gen_str s)
{
    j->at = gen_put_str(j->at, s);
    gen_json_next(j);
}

/** Appends a whole number. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_u64(struct gen_json *j, uint64_t value)
{
    j->at = gen_put_u64(j->at, value);
    gen_json_next(j);
}

/** Appends an amount such as 12.5: zeros at the end are left out. Thread: the owner of j. */
static inline void gen_json_amount(struct gen_json *j, uint64_t cents)
{
    j->at = gen_put_cents(j->at, cents);
    j->at -= cents % 100 == 0 ? 1 : cents % 10 == 0;
    gen_json_next(j);
}

/** Appends true or false. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_bool(struct gen_json *j, bool value)
{
    j->at = value ? gen_put_lit(j->at, "true") : gen_put_lit(j->at, "false");
    gen_json_next(j);
}

/** Appends null. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_null(struct gen_json *j)
{
    j->at = gen_put_lit(j->at, "null");
    gen_json_next(j);
}

/**
 * Appends the inside of a string, UTF-8, escaped as JSON and this producer want it; no quotes.
 * Takes up to six bytes for each of text.
 * Thread: the owner of j.  Alloc: none.
 */
void gen_json_part(struct gen_json *j, struct gen_str text);

/** Appends a string of UTF-8, escaped. Thread: the owner of j.  Alloc: none. */
static inline void gen_json_text(struct gen_json *j, struct gen_str text)
{
    *j->at++ = '"';
    gen_json_part(j, text);
    *j->at++ = '"';
    gen_json_next(j);
}

#endif
