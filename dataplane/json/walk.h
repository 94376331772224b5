/*
 * Walks the values of a document that json.h has found valid: no checks, no allocation.
 * Thread: any; a walk belongs to one thread.
 */
#ifndef PENSTOCK_JSON_WALK_H
#define PENSTOCK_JSON_WALK_H

#include "dataplane/json/json.h"

/** A value in its raw bytes; strings with their quotes, containers with their brackets. */
struct json_value {
    const char *ptr;
    uint32_t len;
    uint8_t type; /* enum json_type */
};

/** A member of an object; key holds the raw bytes between the quotes. */
struct json_member {
    struct span key;
    bool key_escaped; /* key holds a backslash: compare after json_unescape() */
    struct json_value value;
};

struct json_walk {
    const char *_p;
    const char *_end;
};

/** The value that starts at ptr, white space skipped; len bytes are there. */
struct json_value json_value_at(const char *ptr, size_t len);

/** Starts a walk over the members of an object or the elements of an array. */
void json_walk_init(struct json_walk *w, struct json_value container);

/** Takes the next member. @return false at the end. */
bool json_walk_member(struct json_walk *w, struct json_member *out);

/** Takes the next element. @return false at the end. */
bool json_walk_element(struct json_walk *w, struct json_value *out);

/** How many elements an array has. */
uint32_t json_count(struct json_value array);

/** Finds a top-level member by its unescaped key (the last one if it repeats). @return false if absent. */
bool json_find(struct json_value object, struct span key, struct json_value *out);

/** Whether a raw key (or string body) equals text after unescaping. */
bool json_key_equal(struct span raw, bool escaped, struct span text);

/**
 * Unescapes the body of a string (without its quotes) into out, which holds at least raw.len bytes.
 * @return the length written, never more than raw.len.
 */
size_t json_unescape(struct span raw, char *out);

/** Appends text as the body of a JSON string (no quotes); out holds 6 * text.len. @return bytes written. */
size_t json_escape(struct span text, char *out);

/** The body of a string value, quotes cut off. */
static inline struct span json_string_body(struct json_value v)
{
    return (struct span){.ptr = v.ptr + 1, .len = v.len - 2u};
}

/**
 * Reads a JSON number, or the same text inside a string, as an integer. 1.0 and 1e3 count as integers.
 * @return 0; -ERANGE outside int64; -EINVAL when it is no number or has a fraction.
 */
int json_int64(struct span text, int64_t *out) WARN_UNUSED;

/** The same over the range of uint64. @return as json_int64(); -ERANGE below 0 too. */
int json_uint64(struct span text, uint64_t *out) WARN_UNUSED;

/**
 * Reads a JSON number, or the same text inside a string, as the nearest double.
 * @return 0; -ERANGE when it overflows; -EINVAL when it is no number.
 */
int json_double(struct span text, double *out) WARN_UNUSED;

#endif
