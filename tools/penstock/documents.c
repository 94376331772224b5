/*
 * Finds documents in a stream; see documents.h.
 *
 *     buf: [ taken | at: the document under way ... | end: free ]
 *
 * Bytes are taken in order, which keeps offset, line and CRC. A document longer than bytes_max is
 * taken as it goes by, and its head kept aside.
 */
#include "tools/penstock/documents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/json/json.h"

#define CHUNK_BYTES (256u << 10)
#define NESTING_MAX 4096 /* brackets are matched up to here; deeper they are only counted */

enum form { FORM_UNKNOWN, FORM_LINES, FORM_VALUES };

/* Where the scan of one value stands. */
struct value_scan {
    bool done, in_string, escaped, scalar;
    uint32_t depth;
    const char *wrong;                 /* what is wrong, or NULL */
    uint64_t square[NESTING_MAX / 64]; /* by depth: '[', not '{' */
};

struct documents {
    struct source *source;
    size_t bytes_max, cap;
    char *buf;
    size_t at, end; /* of what has been read and not taken */
    char *head;     /* of a document over bytes_max; NULL before the first */
    bool ended, unfinished;
    enum form form;
    bool in_array;
    uint64_t elements; /* of this array so far */
    uint64_t offset, line;
    uint32_t crc;
    struct value_scan scan;
};

int documents_open(const char *path, const struct documents_options *options,
                   struct documents **out, char *error, size_t error_len)
{
    struct documents *d = calloc(1, sizeof(*d));
    int rc;

    ASSERT(options != NULL && out != NULL);
    snprintf(error, error_len, "out of memory");
    if (d == NULL)
        return -ENOMEM;
    d->line = 1;
    d->bytes_max = options->bytes_max > 0 ? options->bytes_max : DOCUMENTS_BYTES_MAX;
    d->unfinished = options->unfinished;
    d->cap = d->bytes_max + 3 * CHUNK_BYTES;
    d->buf = malloc(d->cap + JSON_PADDING_BYTES);
    rc = d->buf == NULL ? -ENOMEM : source_open(path, &d->source, error, error_len);
    if (rc != 0) {
        documents_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

void documents_close(struct documents *d)
{
    if (d == NULL)
        return;
    source_close(d->source);
    free(d->buf);
    free(d->head);
    free(d);
}

const struct source *documents_source(const struct documents *d)
{
    return d->source;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

bool documents_wait(const struct documents *d)
{
    size_t at = d->at;

    while (at < d->end && is_space(d->buf[at]))
        at++;
    ASSERT(at <= d->end);
    if (d->form == FORM_LINES && memchr(d->buf + at, '\n', d->end - at) != NULL)
        return false;
    return !d->ended && source_waits(d->source);
}

uint64_t documents_line(const struct documents *d)
{
    return d->line;
}

/* Reads more behind what is there. @return 0; -errno. Sets ended. */
static int fill(struct documents *d, char *error, size_t error_len)
{
    ssize_t n;

    ASSERT(d->at <= d->end && !d->ended);
    if (d->cap - d->end < CHUNK_BYTES) {
        memmove(d->buf, d->buf + d->at, d->end - d->at);
        d->end -= d->at;
        d->at = 0;
    }
    ASSERT(d->cap - d->end >= CHUNK_BYTES);
    n = source_read(d->source, d->buf + d->end, CHUNK_BYTES, error, error_len);
    if (n < 0)
        return (int)n;
    d->ended = n == 0;
    d->end += (size_t)n;
    return 0;
}

static uint64_t count_breaks(const char *p, size_t n)
{
    const char *end = p + n;
    uint64_t breaks = 0;

    for (; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        breaks++;
    return breaks;
}

/* breaks: there may be line breaks among them. */
static void take(struct documents *d, size_t n, bool breaks)
{
    ASSERT(n <= d->end - d->at);
    d->crc = crc32c(d->crc, d->buf + d->at, n);
    if (breaks)
        d->line += count_breaks(d->buf + d->at, n);
    d->offset += n;
    d->at += n;
}

/* Takes white space. @return 1 when something else follows, 0 at the end, -errno. */
static int skip_space(struct documents *d, char *error, size_t error_len)
{
    for (;;) {
        size_t n = 0;
        int rc;

        while (d->at + n < d->end && is_space(d->buf[d->at + n]))
            n++;
        take(d, n, true);
        if (d->at < d->end)
            return 1;
        if (d->ended)
            return 0;
        rc = fill(d, error, error_len);
        if (rc != 0)
            return rc;
    }
}

static int malformed(const struct documents *d, uint64_t line, const char *what, char *error,
                     size_t error_len)
{
    ASSERT(what != NULL && (d->form != FORM_LINES || d->unfinished));
    snprintf(error, error_len, "line %llu: %s", (unsigned long long)line, what);
    return -EBADMSG;
}

/* ---- where a value ends ---- */

static void open_bracket(struct value_scan *s, bool square)
{
    if (s->depth < NESTING_MAX) {
        uint64_t bit = UINT64_C(1) << (s->depth % 64);

        s->square[s->depth / 64] &= ~bit;
        s->square[s->depth / 64] |= square ? bit : 0;
    }
    s->depth++;
    ASSERT(s->depth > 0);
}

static void close_bracket(struct value_scan *s, bool square)
{
    ASSERT(s->depth > 0);
    s->depth--;
    if (s->depth < NESTING_MAX && (s->square[s->depth / 64] >> (s->depth % 64) & 1) != square)
        s->wrong = square ? "a ']' where '}' is missing" : "a '}' where ']' is missing";
    s->done = s->depth == 0;
}

/* One byte inside a string. */
static void string_byte(struct value_scan *s, char c)
{
    if (c == '\n') {
        s->wrong = "a line break inside a string";
    } else if (s->escaped) {
        s->escaped = false;
    } else if (c == '\\') {
        s->escaped = true;
    } else if (c == '"') {
        s->in_string = false;
        s->done = s->depth == 0;
    }
}

/* Looks at n more bytes of a value. @return those that belong to it; done or wrong may be set. */
static size_t scan_value(struct value_scan *s, const char *p, size_t n)
{
    size_t i = 0;

    ASSERT(!s->done && s->wrong == NULL);
    while (i < n && !s->done && s->wrong == NULL) {
        char c = p[i];

        if (s->in_string) {
            string_byte(s, c);
        } else if (s->scalar) { /* a number or a literal: up to what ends it */
            s->done = is_space(c) || strchr(",]}[{\":", c) != NULL;
            if (s->done)
                return i;
        } else if (c == '"') {
            s->in_string = true;
        } else if (c == '{' || c == '[') {
            open_bracket(s, c == '[');
        } else if ((c == '}' || c == ']') && s->depth == 0) {
            s->wrong = "a closing bracket too many";
        } else if (c == '}' || c == ']') {
            close_bracket(s, c == ']');
        } else if (s->depth == 0 && (c == ',' || c == ':')) {
            s->wrong = "a value is missing";
        } else if (s->depth == 0) {
            s->scalar = true;
        }
        i++;
    }
    return i;
}

/* Bytes up to the end of the line; done when it is in sight. */
static size_t scan_line(struct value_scan *s, const char *p, size_t n)
{
    const char *end = memchr(p, '\n', n);

    ASSERT(!s->done);
    s->done = end != NULL;
    return end != NULL ? (size_t)(end - p) : n;
}

/* ---- one document ---- */

/* Keeps the first bytes_max bytes of the document at `at`. */
static int keep_head(struct documents *d)
{
    if (d->head == NULL)
        d->head = malloc(d->bytes_max + JSON_PADDING_BYTES);
    if (d->head == NULL)
        return -ENOMEM;
    memcpy(d->head, d->buf + d->at, d->bytes_max);
    return 0;
}

/* Finds the end of the document at `at`. *seen: its bytes that are not taken yet; out->whole: those
 * that are, when it is longer than bytes_max. */
static int find_end(struct documents *d, struct document *out, size_t *seen, char *error,
                    size_t error_len)
{
    struct value_scan *s = &d->scan;
    int rc;

    *seen = 0;
    s->done = s->in_string = s->escaped = s->scalar = false;
    s->depth = 0;
    s->wrong = NULL;
    for (;;) {
        const char *p = d->buf + d->at + *seen;
        size_t n = d->end - d->at - *seen;

        *seen += d->form == FORM_LINES ? scan_line(s, p, n) : scan_value(s, p, n);
        if (s->done || s->wrong != NULL || d->ended)
            return 0;
        if (out->whole == 0 && *seen > d->bytes_max && keep_head(d) != 0) {
            snprintf(error, error_len, "out of memory");
            return -ENOMEM;
        }
        if (out->whole > 0 || *seen > d->bytes_max) {
            out->whole += *seen;
            take(d, *seen, d->form == FORM_VALUES);
            *seen = 0;
        }
        rc = fill(d, error, error_len);
        if (rc != 0)
            return rc;
    }
}

/* Whether the last line is cut off: somebody may be writing it. */
static bool is_unfinished(const struct documents *d, const char *p, size_t len)
{
    size_t offset;

    ASSERT(len > 0);
    return d->unfinished && d->form == FORM_LINES && !d->scan.done &&
           json_validate(p, len, &offset) == JSON_ERROR_TRUNCATED;
}

/* Hands out the document at `at`, whose first byte is no white space. */
static int hand_out(struct documents *d, struct document *out, char *error, size_t error_len)
{
    size_t seen;
    int rc;

    *out = (struct document){.line = d->line};
    rc = find_end(d, out, &seen, error, error_len);
    if (rc != 0)
        return rc;
    if (d->scan.wrong != NULL)
        return malformed(d, d->line + count_breaks(d->buf + d->at, seen - 1), d->scan.wrong, error,
                         error_len);
    if (d->form == FORM_VALUES && !d->scan.done && !d->scan.scalar)
        return malformed(d, out->line, "what begins here has no end", error, error_len);
    if (out->whole == 0) {
        while (seen > 0 && is_space(d->buf[d->at + seen - 1]))
            seen--;
        if (is_unfinished(d, d->buf + d->at, seen))
            return malformed(d, out->line, "the last line is cut off: no line end, no end of JSON",
                             error, error_len);
        out->ptr = d->buf + d->at;
        out->len = seen < d->bytes_max ? seen : d->bytes_max;
    } else {
        out->ptr = d->head;
        out->len = d->bytes_max;
    }
    ASSERT(out->whole > 0 || seen > 0);
    out->whole += seen;
    take(d, seen, d->form == FORM_VALUES);
    out->element = d->in_array ? ++d->elements : 0;
    out->end = d->offset;
    out->crc32c = d->crc;
    return 1;
}

/* ---- the form ---- */

/* Whether the object at `at`, whose first line is not whole, is one over several lines. */
static int is_spread(struct documents *d, bool *out, char *error, size_t error_len)
{
    struct value_scan *s = &d->scan;
    size_t seen = 0, offset;

    *s = (struct value_scan){0};
    for (;;) {
        int rc;

        seen += scan_value(s, d->buf + d->at + seen, d->end - d->at - seen);
        if (s->done || s->wrong != NULL || d->ended || seen > d->bytes_max)
            break;
        rc = fill(d, error, error_len);
        if (rc != 0)
            return rc;
    }
    ASSERT(seen <= d->end - d->at);
    *out = s->done && json_validate(d->buf + d->at, seen, &offset) == JSON_ERROR_NONE;
    return 0;
}

/* Looks at the first bytes; they are no white space. */
static int decide(struct documents *d, char *error, size_t error_len)
{
    const char *end;
    size_t offset;
    bool spread = false;
    int rc = 0;

    ASSERT(d->form == FORM_UNKNOWN && d->at < d->end);
    if (d->buf[d->at] == '[') {
        d->form = FORM_VALUES;
        return 0;
    }
    while ((end = memchr(d->buf + d->at, '\n', d->end - d->at)) == NULL && !d->ended &&
           d->end - d->at <= d->bytes_max) {
        rc = fill(d, error, error_len);
        if (rc != 0)
            return rc;
    }
    if (end != NULL && d->buf[d->at] == '{' &&
        json_validate(d->buf + d->at, (size_t)(end - d->buf) - d->at, &offset) ==
            JSON_ERROR_TRUNCATED)
        rc = is_spread(d, &spread, error, error_len);
    d->form = spread ? FORM_VALUES : FORM_LINES;
    return rc;
}

/* Takes a byte order mark; refuses the other kinds. */
static int take_mark(struct documents *d, char *error, size_t error_len)
{
    ASSERT(d->offset == 0);
    while (d->end - d->at < 3 && !d->ended) {
        int rc = fill(d, error, error_len);

        if (rc != 0)
            return rc;
    }
    if (d->end - d->at >= 3 && memcmp(d->buf + d->at, "\xEF\xBB\xBF", 3) == 0)
        take(d, 3, false);
    else if (d->end - d->at >= 2 && (memcmp(d->buf + d->at, "\xFF\xFE", 2) == 0 ||
                                     memcmp(d->buf + d->at, "\xFE\xFF", 2) == 0))
        return malformed(d, 1, "the text is UTF-16; UTF-8 is what JSON is read as", error,
                         error_len);
    return 0;
}

/* Between values: brackets and commas of arrays. @return 1 when a value follows, 0 at the end. */
static int next_value(struct documents *d, char *error, size_t error_len)
{
    for (;;) {
        bool comma = false;
        int rc = skip_space(d, error, error_len);

        if (rc < 0)
            return rc;
        if (rc == 0 && d->in_array)
            return malformed(d, d->line, "the array ends early: no ']'", error, error_len);
        if (rc == 0)
            return 0;
        if (!d->in_array && d->buf[d->at] != '[')
            return 1;
        if (!d->in_array) {
            take(d, 1, false);
            d->in_array = true;
            d->elements = 0;
        } else if (d->elements > 0 && d->buf[d->at] == ',') {
            take(d, 1, false);
            comma = true;
        } else if (d->elements > 0 && d->buf[d->at] != ']') {
            return malformed(d, d->line, "no ',' between two elements", error, error_len);
        }
        rc = skip_space(d, error, error_len);
        if (rc <= 0)
            return rc < 0 ? rc
                          : malformed(d, d->line, "the array ends early: no ']'", error, error_len);
        if (d->buf[d->at] != ']')
            return 1;
        if (comma)
            return malformed(d, d->line, "no element behind ','", error, error_len);
        take(d, 1, false);
        d->in_array = false;
    }
}

int documents_next(struct documents *d, struct document *out, char *error, size_t error_len)
{
    int rc = 0;

    ASSERT(out != NULL);
    if (d->form == FORM_UNKNOWN) {
        if (d->offset == 0)
            rc = take_mark(d, error, error_len);
        if (rc == 0)
            rc = skip_space(d, error, error_len);
        if (rc <= 0)
            return rc;
        rc = decide(d, error, error_len);
        if (rc != 0)
            return rc;
    }
    rc = d->form == FORM_LINES ? skip_space(d, error, error_len) : next_value(d, error, error_len);
    return rc <= 0 ? rc : hand_out(d, out, error, error_len);
}
