/*
 * Reads JSON answers of Google's APIs: values by dotted path, 64-bit integers as text or number.
 * Thread: any.  Alloc: none, but for strings longer than their room.
 */
#ifndef PENSTOCK_ENGINE_ANSWER_H
#define PENSTOCK_ENGINE_ANSWER_H

#include "dataplane/json/walk.h"

/** The body as a JSON object, fully validated. @return false when it is anything else. Bodies are
 * padded. */
bool answer_object(struct span body, struct json_value *out) WARN_UNUSED;

/** The value at "a.b.c". @return false when it is absent or null. */
bool answer_find(struct json_value object, const char *path, struct json_value *out) WARN_UNUSED;

/**
 * The string at path, unescaped and NUL-terminated.
 * @return false when it is absent, no string, or does not fit; out is "" then.
 */
bool answer_string(struct json_value object, const char *path, char *out, size_t out_len);

/** Whether the value at path is this string. */
bool answer_equals(struct json_value object, const char *path, const char *text) WARN_UNUSED;

/** Whether value is this string. */
bool answer_value_equals(struct json_value value, const char *text) WARN_UNUSED;

/** The integer at path, given as a number or a string. @return false when it is absent or none. */
bool answer_int64(struct json_value object, const char *path, int64_t *out) WARN_UNUSED;

/** As answer_string() for a value; cuts what does not fit. @return whether it was a string and
 * fitted. */
bool answer_copy(struct json_value value, char *out, size_t out_len);

#endif
