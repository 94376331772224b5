/* What the files of the schema compiler share. COLD: init and control threads only. */
#ifndef PENSTOCK_EVENT_SCHEMA_INTERNAL_H
#define PENSTOCK_EVENT_SCHEMA_INTERNAL_H

#include "dataplane/event/schema.h"

/* Fields of a RECORD up to this number are searched one by one. */
#define SCHEMA_LINEAR_MAX 8

/* The test seam: all memory of the schema code comes from here, as from realloc(3). Freed with
 * free(3). */
extern void *(*schema_realloc)(void *ptr, size_t len);

/** Zeroed memory; len is at least 1. @return NULL when there is none. */
void *schema_zalloc(size_t len) WARN_UNUSED;

/** A growing text. After a failed allocation it takes nothing more and `failed` stays set. */
struct schema_text {
    char *ptr;
    size_t len;
    size_t _room;
    bool failed;
};

void schema_text_add(struct schema_text *t, struct span bytes);
void schema_text_adds(struct schema_text *t, const char *s);

/** Appends a JSON value without white space outside its strings. */
void schema_text_compact(struct schema_text *t, struct json_value v);

/**
 * Ends the text with zeros, JSON_PADDING_BYTES of them, so that it is a C string and can be walked.
 * Owner: the caller frees what is returned. @return NULL, and nothing is left, when an allocation
 * failed.
 */
char *schema_text_finish(struct schema_text *t) WARN_UNUSED;

/** Type of a name, aliases included, without case. @return enum column_type, or -1. */
int column_type_from_name(struct span name);

/** Mode of a name, without case. @return enum column_mode, or -1. */
int column_mode_from_name(struct span name);

const char *column_mode_name(enum column_mode mode);

/** Whether both are the same column name for BigQuery: ASCII without case. */
bool column_name_equal(struct span a, struct span b);

/** Builds the hash index of a RECORD's fields. @return 0 or -ENOMEM. */
int schema_index_fields(struct schema_field *record) WARN_UNUSED;

/** Writes one sentence, cut to error_len. error may be NULL. @return rc. */
int schema_error(char *error, size_t error_len, int rc, const char *format, ...) PRINTF(4, 5);

/** The property of a field object, of any type but null. @return false when absent or null. */
bool schema_property(struct json_value field, const char *key, struct json_value *out);

/** Its string body when it is a string without escapes, else an empty span. */
struct span schema_property_text(struct json_value field, const char *key);

/** The element type that a field object's "rangeElementType" names. @return enum column_type, -1 for
 * none or one that no RANGE has. */
int schema_range_element(struct json_value field);

/** A whole number, also one in a string, as Google's int64 are. @return 0, -ENOENT when absent, or
 * -EINVAL. */
int schema_property_int(struct json_value field, const char *key, int64_t *out) WARN_UNUSED;

/** Whether a column of ours has this name, without case. */
bool schema_name_is_added(struct span name);

/** Whether BigQuery reserves the name's beginning. */
bool schema_name_is_reserved(struct span name);

/** As schema_compile(), but takes an array without fields too. */
int schema_compile_any(struct span text, struct schema **out, char *error,
                       size_t error_len) WARN_UNUSED;

#endif
