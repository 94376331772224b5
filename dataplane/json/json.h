/*
 * JSON: finds, fully validates and picks apart the documents of a buffer, in place and without a
 * DOM.
 *
 * Validation is complete: RFC 8259 grammar, numbers, escapes, surrogate pairs, UTF-8, nesting
 * depth, trailing bytes. A document that passes can be walked with walk.h without any further
 * check.
 *
 * Buffers must be readable for JSON_PADDING_BYTES past their end (the value of those bytes does not
 * matter): the SIMD variants read whole vectors. Nothing is written to the buffer, and nothing is
 * allocated. Thread: every function may run on any thread; a stream belongs to one thread.
 */
#ifndef PENSTOCK_JSON_H
#define PENSTOCK_JSON_H

#include <stdint.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

#define JSON_PADDING_BYTES 64
#define JSON_DEPTH_MAX     64 /* objects and arrays open at once; the root object is depth 1 */
#define JSON_PATHS_MAX     16
#define JSON_PATH_KEYS_MAX 4 /* "a.b.c.d" */

/* X(symbol, text) */
#define JSON_ERROR_LIST(X)                                       \
    X(NONE, "valid")                                             \
    X(EMPTY, "no document")                                      \
    X(SYNTAX, "a character that cannot stand here")              \
    X(TRUNCATED, "the document ends early")                      \
    X(STRING, "a control character or a bad escape in a string") \
    X(SURROGATE, "an unpaired surrogate escape")                 \
    X(UTF8, "bytes that are not UTF-8")                          \
    X(NUMBER, "a malformed number")                              \
    X(LITERAL, "neither true, false nor null")                   \
    X(DEPTH, "nested too deep")                                  \
    X(TRAILING, "bytes after the document")

enum json_error {
#define X(symbol, text) JSON_ERROR_##symbol,
    JSON_ERROR_LIST(X)
#undef X
};

enum json_type {
    JSON_ABSENT = 0,
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

/* Flags of an event. */
#define JSON_HAS_LINE_BREAK 0x01 /* CR or LF outside strings: must become spaces in NDJSON */
#define JSON_FAR_NUMBER \
    0x04 /* a number with an exponent or 300 digits: perhaps no double holds it */
#define JSON_EMPTY_OBJECT 0x02 /* {} : an added member needs no comma */

/* How a buffer holds its documents. */
enum json_framing {
    JSON_FRAMING_LINES,  /* NDJSON: each line stands alone; CR LF and empty lines are fine */
    JSON_FRAMING_ARRAY,  /* one array whose elements are the documents */
    JSON_FRAMING_SINGLE, /* one document over any number of lines */
};

/** The set of members to pick out of each document; fixed memory, may be copied. */
struct json_paths {
    uint8_t n;
    struct json_path {
        uint8_t n_keys;
        uint8_t key_len[JSON_PATH_KEYS_MAX];
        const char *key[JSON_PATH_KEYS_MAX]; /* borrowed, unescaped */
    } path[JSON_PATHS_MAX];
};

/** A picked member: its raw value, quotes included. type is JSON_ABSENT when the document lacks it.
 */
struct json_field {
    uint32_t offset; /* from the start of the document */
    uint32_t len;
    uint8_t type; /* enum json_type */
};

/** One document of a buffer, valid or not. */
struct json_event {
    const char *ptr;       /* first byte, white space trimmed; into the buffer */
    uint32_t len;          /* white space trimmed; for an invalid line the whole trimmed line */
    uint32_t error_offset; /* from ptr; set when error is not NONE */
    uint8_t error;         /* enum json_error */
    uint8_t type;          /* enum json_type of the root; when valid */
    uint8_t flags;         /* JSON_HAS_LINE_BREAK, JSON_EMPTY_OBJECT, JSON_FAR_NUMBER */
    struct json_field
        field[JSON_PATHS_MAX]; /* by path index; of the LAST member when a key repeats */
};

/** Where a buffer has been read to. Private but for the embedding. */
struct json_stream {
    const char *_buf;
    size_t _len;
    size_t _pos;
    const struct json_paths *_paths;
    enum json_framing _framing;
};

/**
 * Adds a path such as "event_type" or "metadata.session_id" (dots separate keys).
 * Keys are compared with the unescaped key of the document.
 * Thread: init.  Owner: text is borrowed and must outlive paths.
 * @return its index; -EINVAL for an empty key, too many keys or a key over 255 bytes; -ENOSPC when
 * the set is full. An equal path is found and not added again.
 */
int json_paths_add(struct json_paths *paths, const char *text) WARN_UNUSED;

/**
 * Tells how a body holds its documents: an array when its first byte that is not white space is
 * '['; a single document when it starts with '{' and the first line alone is truncated while the
 * whole buffer is one valid document; lines otherwise.
 */
enum json_framing json_detect(const char *buf, size_t len);

/**
 * Validates one whole buffer as one document.
 * @return JSON_ERROR_NONE, or the first error with its offset from buf in *offset.
 */
enum json_error json_validate(const char *buf, size_t len, size_t *offset);

/**
 * Starts reading the documents of buf. paths may be NULL.
 * With JSON_FRAMING_ARRAY the caller must have seen json_validate() pass.
 * Owner: buf and paths are borrowed until the stream is dropped; len is below 2^32.
 */
void json_stream_init(struct json_stream *s, const char *buf, size_t len,
                      const struct json_paths *paths, enum json_framing framing);

/**
 * Fills up to max events in order, invalid ones included; empty lines are passed over.
 * @return the number filled; 0 at the end.
 */
int json_next(struct json_stream *s, struct json_event *out, int max) WARN_UNUSED;

/** A short text for people. */
const char *json_error_text(enum json_error error);

#endif
