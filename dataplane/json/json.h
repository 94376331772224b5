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
 * allocated but by json_parser_create(). A parser and its streams belong to one thread at a time; all
 * other functions may run on any thread.
 */
#ifndef PENSTOCK_JSON_H
#define PENSTOCK_JSON_H

#include <stdint.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

#define JSON_PADDING_BYTES    64
#define JSON_DEPTH_MAX        64 /* objects and arrays open at once; the root object is depth 1 */
#define JSON_PATHS_MAX        16
#define JSON_PATH_KEYS_MAX    4           /* "a.b.c.d" */
#define JSON_SHAPES_MAX       256         /* kept by a parser at once */
#define JSON_BUFFERS_MAX      64          /* of one stream */
#define JSON_BUFFER_BYTES_MAX (16u << 10) /* of each, when they are several */

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

/* What a parser runs on. All find the same documents, fields and errors; scalar is the reference. */
enum json_isa {
    JSON_ISA_SCALAR,
    JSON_ISA_AVX2, /* AVX2, BMI1, BMI2, PCLMULQDQ: Haswell, Zen and later */
    JSON_ISA_AVX512, /* AVX-512 F, BW, VL, VBMI, VBMI2, GFNI and the above: Ice Lake, Zen 4 and later */
};

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

/**
 * One document of a buffer, valid or not.
 *
 * Tokens. A parser may hand over where the tokens of a valid document are: one token for each of
 * { } [ ] : , outside of strings, one for each string, key or value, at its opening quote, and one
 * for each number, true, false and null at its first byte. They are in the order of the bytes;
 * which one it is says the byte itself. Token i is at ev->ptr + (token[i] - token[0]), and
 * token[n_tokens], one more than counted, is a place behind the document's last byte with nothing
 * but white space between. They live until the next json_next() of this parser or the start of
 * another stream. token is NULL when the parser has none at hand: always for invalid events and for
 * the scalar variant, and now and then for any other event. Walk the document then.
 *
 * Shape. Two events of one parser with the same shape, not 0, have equally many tokens, and tokens
 * of the same kind in the same order (all numbers and literals are one kind; what keys and strings
 * hold may differ). So what has been worked out for one of them in terms of token numbers holds
 * for the other, once the keys have been compared. A shape is never used again for anything else,
 * and those that are in use at the same time differ modulo JSON_SHAPES_MAX: an array of so many
 * entries, indexed by shape % JSON_SHAPES_MAX with the shape kept in the entry, is a complete
 * cache. 0: unknown; it is not worth learning.
 */
struct json_event {
    const char *ptr;       /* first byte, white space trimmed; into the buffer */
    uint32_t len;          /* white space trimmed; for an invalid line the whole trimmed line */
    uint32_t error_offset; /* from ptr; set when error is not NONE */
    uint8_t error;         /* enum json_error */
    uint8_t type;          /* enum json_type of the root; when valid */
    uint8_t flags;         /* JSON_HAS_LINE_BREAK, JSON_EMPTY_OBJECT, JSON_FAR_NUMBER */
    uint8_t buffer;        /* of a stream of several: which of them it is in; else unset */
    uint32_t n_tokens;     /* 0 without tokens */
    const uint32_t *token; /* see above; or NULL */
    uint64_t shape;        /* see above; or 0 */
    struct json_field
        field[JSON_PATHS_MAX]; /* by path index; of the LAST member when a key repeats */
};

/** Memory of the variant in use: where tokens are put, and the shapes that were seen. */
struct json_parser;

/** What a parser has done since it was created. */
struct json_parser_stats {
    uint64_t events;     /* valid and invalid ones */
    uint64_t shape_hits; /* of these, whose shape was known */
    uint64_t shape_news; /* shapes learned; the newest JSON_SHAPES_MAX at most are kept */
    uint64_t rescans;    /* events that the scalar scanner has read, other than by choice of it */
};

/** One of several buffers that are read as one stream; readable for JSON_PADDING_BYTES past its end. */
struct json_buffer {
    const char *ptr;
    uint32_t len; /* JSON_BUFFER_BYTES_MAX at most */
};

/** Where a buffer has been read to. Private but for the embedding. */
struct json_stream {
    const char *_buf;
    size_t _len;
    size_t _pos;
    struct json_parser *_parser;
    enum json_framing _framing;
    bool _vectors;
    const struct json_buffer *_buffers; /* or NULL: one */
    uint32_t _n_buffers, _buffer;       /* the next one */
};

/** The fastest variant that this CPU runs. @return it. */
enum json_isa json_isa_best(void);

/** Whether this CPU (and system) runs a variant. */
bool json_isa_usable(enum json_isa isa);

/** "scalar", "avx2", "avx512". */
const char *json_isa_name(enum json_isa isa);

/**
 * Reads a name as above, or "auto" for the best one.
 * @return 0; -EINVAL for another name; -ENOTSUP when this CPU does not run it (*out is set).
 */
int json_isa_parse(const char *name, enum json_isa *out) WARN_UNUSED;

/**
 * Takes all memory that parsing will ever need. isa must be usable.
 * Thread: init.  Alloc: yes.  Owner: paths may be NULL and is copied; the texts it names are
 * borrowed and must outlive the parser. The caller owns *out until json_parser_destroy().
 * @return 0; -ENOMEM.
 */
int json_parser_create(const struct json_paths *paths, enum json_isa isa,
                       struct json_parser **out) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: the owner. */
void json_parser_destroy(struct json_parser *p);

/** What json_parser_create() takes. Thread: any. */
size_t json_parser_memory_bytes(enum json_isa isa);

/** Its variant. */
enum json_isa json_parser_isa(const struct json_parser *p);

/** What it has done so far. Thread: the owner. */
void json_parser_stats(const struct json_parser *p, struct json_parser_stats *out);

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
 * Validates one whole buffer as one document, with the scalar scanner: for texts that have no parser.
 * @return JSON_ERROR_NONE, or the first error with its offset from buf in *offset.
 */
enum json_error json_validate(const char *buf, size_t len, size_t *offset);

/** As json_detect(), with the variant of a parser, which drops its stream. Thread: the owner of p. */
enum json_framing json_parser_detect(struct json_parser *p, const char *buf, size_t len);

/** As json_validate(), with the variant of a parser, which drops its stream. Thread: the owner of p.
 * Alloc: none. */
enum json_error json_parser_validate(struct json_parser *p, const char *buf, size_t len,
                                     size_t *offset);

/**
 * Starts reading the documents of buf. A parser reads one stream at a time: this drops the one
 * before, finished or not.
 * With JSON_FRAMING_ARRAY the caller must have seen json_validate() pass.
 * Alloc: none.  Owner: buf and p are borrowed until the stream is dropped; len is below 2^32.
 */
void json_stream_init(struct json_stream *s, struct json_parser *p, const char *buf, size_t len,
                      enum json_framing framing);

/**
 * As json_stream_init() for the lines of n buffers, one after the other: the end of each ends its last line.
 * Small ones, such as datagrams, are read so as fast as if they lay side by side.
 * Alloc: none.  Owner: the buffers, their list and p are borrowed until the stream is dropped; n is 1 to
 * JSON_BUFFERS_MAX.
 */
void json_stream_init_buffers(struct json_stream *s, struct json_parser *p,
                              const struct json_buffer *buffer, uint32_t n);

/**
 * Fills up to max events in order, invalid ones included; empty lines are passed over. May stop
 * short of max before the end.
 * Alloc: none.
 * @return the number filled; 0 at the end.
 */
int json_next(struct json_stream *s, struct json_event *out, int max) WARN_UNUSED;

/** A short text for people. */
const char *json_error_text(enum json_error error);

#endif
