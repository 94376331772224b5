/*
 * HOT. What the files of this folder share: the one interface that scanner variants implement, and
 * byte helpers. Included only from dataplane/json/.
 *
 * A variant is one function that validates one value and picks members from it in a single pass.
 * Framing, trimming and everything public stay in json.c, so variants can only differ in speed.
 * json_scalar.c is the reference: another variant has to report the same error at the same offset.
 */
#ifndef PENSTOCK_JSON_INTERNAL_H
#define PENSTOCK_JSON_INTERNAL_H

#include <string.h>

#include "dataplane/json/json.h"

/* Words of eight bytes are searched from their low end. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the byte searches assume little endian");
static_assert(JSON_DEPTH_MAX <= 64, "the open containers are one bit each in a uint64_t");
static_assert(JSON_PATHS_MAX <= 16, "sets of paths are uint16_t");

/* A variant is compiled for other instructions, or tuned otherwise, than the rest: then the compiler inlines
 * only what it must. */
#define INLINE static inline __attribute__((always_inline))

#define PICK_LENGTHS     16
#define VECTOR_BYTES_MAX (UINT32_MAX - (1u << 20)) /* larger buffers are read as scalar */

/** The paths of a parser, turned into sets (bit i is path i). */
struct json_pick {
    const struct json_paths *paths;
    uint16_t all;
    uint16_t by_len[JSON_PATH_KEYS_MAX][PICK_LENGTHS]; /* by the length of that key, modulo */
};

struct json_vectors;

struct json_scan;

/** Fills events of JSON_FRAMING_LINES, as json_next(). */
typedef int json_lines_fn(struct json_parser *p, struct json_event *out, int max);

/**
 * Fills events of JSON_FRAMING_ARRAY, as json_next(). At what it does not read, be it wrong or too large, and
 * at the end, it leaves the stream to the scalar scanner: s->_vectors is false then.
 */
typedef int json_elements_fn(struct json_stream *s, struct json_event *out, int max);

/** Reads from..end, trimmed and an object or array, as one document. @return false when it is left to the
 * scalar scanner. */
typedef bool json_single_fn(struct json_parser *p, struct json_event *ev, const char *from,
                            const char *end);

/** Fills events of a stream of several buffers, as json_next(). */
typedef int json_buffers_fn(struct json_stream *s, struct json_event *out, int max);

/** A json_scan_fn for all of an object or array, of any size. @return false when it is left to the scalar
 * scanner; then scan says nothing. */
typedef bool json_document_fn(struct json_parser *p, struct json_scan *scan);

/** A vector variant. Buffers are no larger than VECTOR_BYTES_MAX. */
struct json_variant {
    json_lines_fn *lines;
    json_elements_fn *elements;
    json_single_fn *single;
    json_document_fn *document;
    json_buffers_fn *buffers;
};

extern const struct json_variant json_avx512;
extern const struct json_variant json_avx2;

struct json_parser {
    struct json_paths paths;
    struct json_pick pick;       /* of paths */
    const struct json_pick *use; /* pick, or NULL when there are no paths */
    enum json_isa isa;
    struct json_parser_stats stats;
    struct json_vectors *vectors;       /* NULL: scalar */
    const struct json_variant *variant; /* NULL: scalar */
};

/** Starts stage 1 at the first byte of a buffer. */
void json_vectors_begin(struct json_vectors *v, const char *buf, uint32_t len);

/** One scan: the caller fills the first block, the variant the second. */
struct json_scan {
    const char *doc; /* first byte of the value: no white space; field offsets count from here */
    const char *end; /* readable for JSON_PADDING_BYTES more */
    const struct json_pick *pick; /* or NULL */
    struct json_field *field;     /* ABSENT at first; unused without pick */

    const char *at; /* past the value, or the place of the error */
    uint8_t error;
    uint8_t type;
    uint8_t flags;
    bool escaped; /* the variant's own: an escape was seen */
};

/**
 * Scans the one value at scan->doc; what follows it is not looked at.
 * Thread: any.  Alloc: none.
 * @return whether it is valid; error and at are set either way.
 */
typedef bool json_scan_fn(struct json_scan *scan);

json_scan_fn json_scalar_scan;

/**
 * Leaves a scan with an error. A byte that is not UTF-8 is UTF8 whatever else is wrong with it.
 * @return false.
 */
bool json_scan_fail(struct json_scan *scan, const char *at, enum json_error error) COLD_PATH;

/** Reads the trimmed bytes from..end, not empty, as one document with the scalar scanner. */
void json_read_document(struct json_event *ev, const char *from, const char *end,
                        const struct json_pick *pick);

/** Fills an event from a finished scan. An invalid one holds everything up to scan->end and no fields. */
void json_fill_event(struct json_event *ev, const struct json_scan *scan);

/**
 * Reads the value at `from` with the scalar scanner, whatever follows it up to `end`.
 * @return the place behind it; `end` when it is not valid.
 */
const char *json_read_element(struct json_event *ev, const char *from, const char *end,
                              const struct json_pick *pick);

INLINE uint64_t load64(const char *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof(w));
    return w;
}

#define BYTES(b) (UINT64_C(0x0101010101010101) * (uint8_t)(b))

INLINE bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *skip_leading(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

static inline const char *cut_trailing(const char *p, const char *end)
{
    while (end > p && is_space(end[-1]))
        end--;
    return end;
}

INLINE bool is_digit(char c)
{
    return (uint8_t)(c - '0') < 10;
}

static inline int hex_digit(char c)
{
    const char lower = (char)(c | 0x20);

    if (is_digit(c))
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static inline bool is_continuation(char c)
{
    return ((uint8_t)c & 0xC0) == 0x80;
}

/** The length of the well-formed UTF-8 sequence at p (RFC 3629), 0 when there is none before end.
 */
static inline size_t utf8_length(const char *p, const char *end)
{
    const size_t left = (size_t)(end - p);
    const uint8_t b0 = (uint8_t)p[0];
    uint8_t b1;

    if (b0 < 0x80)
        return 1;
    if (b0 < 0xC2 || b0 > 0xF4 || left < 2 || !is_continuation(p[1]))
        return 0;
    if (b0 < 0xE0)
        return 2;
    if (left < 3 || !is_continuation(p[2]))
        return 0;
    b1 = (uint8_t)p[1];
    if (b0 < 0xF0) /* E0: not overlong; ED: no surrogates */
        return (b0 == 0xE0 && b1 < 0xA0) || (b0 == 0xED && b1 > 0x9F) ? 0 : 3;
    if (left < 4 || !is_continuation(p[3]))
        return 0;
    return (b0 == 0xF0 && b1 < 0x90) || (b0 == 0xF4 && b1 > 0x8F) ? 0 : 4; /* F4: up to U+10FFFF */
}

#endif
