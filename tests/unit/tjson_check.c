/*
 * Reads one buffer with every variant of the JSON parser, document by document, and compares what they
 * say with the scalar variant and, if asked for, with jansson and with a splitting into lines of its own.
 * Each variant takes another number of documents at a time, another one in each call, so that batches end
 * at different places.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dataplane/json/walk.h"
#include "tests/unit/tjson.h"
#include "tests/unit/tjson_oracle.h"

static_assert(JSON_NULL == 1 && JSON_TRUE == 3 && JSON_NUMBER == 4, "types as tjson_oracle.h says");
static_assert(JSON_STRING == 5 && JSON_ARRAY == 6 && JSON_OBJECT == 7, "types as it says");

#define BATCH_MAX 64

static const int batches[] = {BATCH_MAX, 7, 33, 1, 2};

/* ---- random numbers: splitmix64 ---- */

uint64_t tjson_next(struct tjson_rng *r)
{
    uint64_t z = r->state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint32_t tjson_below(struct tjson_rng *r, uint32_t n)
{
    ASSERT(n > 0);
    return (uint32_t)((tjson_next(r) >> 32) * n >> 32);
}

/* ---- guarded memory ---- */

void tjson_guard_init(struct tjson_guard *g, size_t room_bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t room = align_up(room_bytes, page);
    char *map =
        mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    ASSERT(map != MAP_FAILED);
    ASSERT(mprotect(map + page, room, PROT_READ | PROT_WRITE) == 0);
    *g = (struct tjson_guard){.map = map, .low = map + page, .high = map + page + room};
}

void tjson_guard_fini(struct tjson_guard *g)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    munmap(g->map, (size_t)(g->high - g->low) + 2 * page);
    *g = (struct tjson_guard){0};
}

static char *put(char *at, const char *text, size_t len, const char *padding)
{
    const size_t n = strlen(padding);

    if (len > 0)
        memmove(at, text, len);
    for (size_t i = 0; i < JSON_PADDING_BYTES; i++)
        at[len + i] = padding[i % n];
    return at;
}

char *tjson_guard_end(const struct tjson_guard *g, const char *text, size_t len,
                      const char *padding)
{
    ASSERT(len + JSON_PADDING_BYTES <= (size_t)(g->high - g->low));
    return put(g->high - JSON_PADDING_BYTES - len, text, len, padding);
}

char *tjson_guard_start(const struct tjson_guard *g, const char *text, size_t len,
                        const char *padding)
{
    ASSERT(len + JSON_PADDING_BYTES <= (size_t)(g->high - g->low));
    return put(g->low, text, len, padding);
}

/* ---- variants ---- */

void tjson_init(struct tjson *t, const char *const *paths, int n_paths)
{
    static const enum json_isa order[TJSON_ISAS_MAX] = {JSON_ISA_SCALAR, JSON_ISA_AVX2,
                                                        JSON_ISA_AVX512};

    memset(t, 0, sizeof(*t));
    for (int i = 0; i < n_paths; i++)
        ASSERT(json_paths_add(&t->paths, paths[i]) == i);
    for (int i = 0; i < TJSON_ISAS_MAX; i++) {
        if (!json_isa_usable(order[i]))
            continue;
        t->isa[t->n] = order[i];
        ASSERT(json_parser_create(&t->paths, order[i], &t->parser[t->n]) == 0);
        t->n++;
    }
    ASSERT(t->n > 0 && t->isa[0] == JSON_ISA_SCALAR);
}

void tjson_fini(struct tjson *t)
{
    for (int i = 0; i < t->n; i++)
        json_parser_destroy(t->parser[i]);
    memset(t, 0, sizeof(*t));
}

/* One variant's way through the buffer. */
struct reader {
    struct json_stream s;
    struct json_event ev[BATCH_MAX];
    int n, at, batch;
};

static const struct json_event *reader_next(struct reader *r)
{
    if (r->at == r->n) {
        r->at = 0;
        r->n = json_next(&r->s, r->ev, r->batch);
        ASSERT(r->n >= 0 && r->n <= r->batch);
    }
    return r->n == 0 ? NULL : &r->ev[r->at++];
}

static bool differ(struct tjson *t, const char *format, ...) PRINTF(2, 3);

static bool differ(struct tjson *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(t->what, sizeof(t->what), format, args);
    va_end(args);
    return false;
}

static bool same_event(struct tjson *t, int variant, const struct json_event *want,
                       const struct json_event *got)
{
    const char *name = json_isa_name(t->isa[variant]);

    if (got == NULL || want == NULL)
        return differ(t, "%s: %s documents than scalar", name, got == NULL ? "fewer" : "more");
    if (got->error != want->error || got->error_offset != want->error_offset)
        return differ(t, "%s: error %u at %u, scalar: %u at %u", name, got->error,
                      got->error_offset, want->error, want->error_offset);
    if (got->ptr != want->ptr || got->len != want->len)
        return differ(t, "%s: %u bytes at %+td of scalar's %u", name, got->len,
                      got->ptr - want->ptr, want->len);
    if (got->type != want->type || got->flags != want->flags)
        return differ(t, "%s: type %u flags %#x, scalar: %u, %#x", name, got->type, got->flags,
                      want->type, want->flags);
    for (int i = 0; i < t->paths.n; i++) {
        const struct json_field *a = &want->field[i];
        const struct json_field *b = &got->field[i];

        if (a->type != b->type ||
            (a->type != JSON_ABSENT && (a->offset != b->offset || a->len != b->len)))
            return differ(t, "%s: path %d is %u at %u+%u, scalar: %u at %u+%u", name, i, b->type,
                          b->offset, b->len, a->type, a->offset, a->len);
    }
    return true;
}

/* ---- tokens and shapes, as json.h describes them ---- */

/* Whether a token starts at p, which is outside of strings. *behind is where the next one may start. */
static bool token_at(const char *p, const char *end, const char **behind)
{
    *behind = p + 1;
    if (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')
        return false;
    if (*p == '"') {
        for (p++; *p != '"'; p++)
            p += *p == '\\';
        *behind = p + 1;
    } else if (strchr("{}[]:,", *p) == NULL) { /* a number or a literal */
        while (*behind < end && strchr(" \t\r\n{}[]:,\"", **behind) == NULL)
            ++*behind;
    }
    return true;
}

static char kind_of(char c)
{
    return strchr("{}[]:,\"", c) != NULL ? c : '0';
}

/* Compares the tokens of a valid event with those found here, and makes a hash of their kinds. */
static bool same_tokens(struct tjson *t, const char *name, const struct json_event *ev,
                        uint64_t *kinds)
{
    const char *end = ev->ptr + ev->len;
    const char *p = ev->ptr;
    uint32_t n = 0;

    *kinds = 0;
    while (p < end) {
        const char *at = p;

        if (!token_at(at, end, &p))
            continue;
        if (n >= ev->n_tokens || ev->token[n] - ev->token[0] != (uint32_t)(at - ev->ptr))
            return differ(t, "%s: token %u of %u is not at %td", name, n, ev->n_tokens,
                          at - ev->ptr);
        *kinds = (*kinds ^ (uint8_t)kind_of(*at)) * UINT64_C(0x100000001B3) + 1;
        n++;
    }
    if (n != ev->n_tokens)
        return differ(t, "%s: %u tokens, there are %u", name, ev->n_tokens, n);
    if (ev->token[n] - ev->token[0] < ev->len)
        return differ(t, "%s: the token behind is inside", name);
    return true;
}

/* A shape stands for one sequence of kinds, for ever. */
static bool same_shape(struct tjson *t, int variant, const struct json_event *ev, uint64_t kinds)
{
    struct tjson_shape *known = &t->shapes[variant][ev->shape % JSON_SHAPES_MAX];
    const char *name = json_isa_name(t->isa[variant]);

    if (known->shape == ev->shape && (known->kinds != kinds || known->n_tokens != ev->n_tokens))
        return differ(t, "%s: shape %ju has two meanings", name, (uintmax_t)ev->shape);
    if (known->shape > ev->shape)
        return differ(t, "%s: shape %ju was forgotten and is back", name, (uintmax_t)ev->shape);
    *known = (struct tjson_shape){.shape = ev->shape, .kinds = kinds, .n_tokens = ev->n_tokens};
    return true;
}

static bool sound_tokens(struct tjson *t, int variant, const struct json_event *ev)
{
    const char *name = json_isa_name(t->isa[variant]);
    uint64_t kinds;

    if (ev->token == NULL)
        return (ev->n_tokens == 0 && ev->shape == 0) || differ(t, "%s: a shape, no tokens", name);
    if (ev->error != JSON_ERROR_NONE)
        return differ(t, "%s: tokens of an invalid document", name);
    return same_tokens(t, name, ev, &kinds) &&
           (ev->shape == 0 || same_shape(t, variant, ev, kinds));
}

/* ---- jansson ---- */

static bool same_text(struct span raw, const char *text, size_t len)
{
    char *out = malloc(raw.len + 1);
    size_t n;
    bool same;

    ASSERT(out != NULL);
    n = json_unescape(raw, out);
    same = n == len && memcmp(out, text, n) == 0;
    free(out);
    return same;
}

static bool same_field(struct tjson *t, const struct json_event *ev, int i,
                       const struct tjson_oracle *o, const char *path)
{
    const struct json_field *f = &ev->field[i];
    const struct span raw = {.ptr = ev->ptr + f->offset, .len = f->len};
    const struct tjson_found want = tjson_oracle_find(o, path);
    double number;

    if (f->type != want.type)
        return differ(t, "path %s: type %u, jansson: %u", path, f->type, want.type);
    if (!o->exact || f->type == JSON_ABSENT)
        return true;
    if (f->type == JSON_STRING) {
        const struct span body = {.ptr = raw.ptr + 1, .len = raw.len - 2};

        if (raw.ptr[0] != '"' || !same_text(body, want.text, want.text_len))
            return differ(t, "path %s: another text than jansson's", path);
    }
    if (f->type == JSON_NUMBER && (json_double(raw, &number) != 0 || !(number == want.number)))
        return differ(t, "path %s: another number than jansson's", path);
    return true;
}

/* The path as it was given: its keys lie one after the other. */
static const char *path_text(const struct tjson *t, int i)
{
    return t->paths.path[i].key[0];
}

static bool judged(struct tjson *t, const struct json_event *ev)
{
    struct tjson_oracle o;
    bool same;

    tjson_oracle_init(&o, ev->ptr, ev->len, JSON_DEPTH_MAX);
    same = (ev->error == JSON_ERROR_NONE) == o.valid;
    if (!same)
        differ(t, "error %u at %u, jansson: %s", ev->error, ev->error_offset,
               o.valid ? "valid" : "invalid");
    if (same && o.valid && ev->type != tjson_oracle_find(&o, NULL).type)
        same = differ(t, "type %u, jansson: %u", ev->type, tjson_oracle_find(&o, NULL).type);
    for (int i = 0; same && i < t->paths.n; i++)
        same = o.valid ? same_field(t, ev, i, &o, path_text(t, i))
                       : ev->field[i].type == JSON_ABSENT || differ(t, "fields of nothing");
    tjson_oracle_fini(&o);
    return same;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next document of buf from *pos on, cut out without the parser's help; arrays are not cut. */
static bool cut(const char *buf, size_t len, size_t *pos, enum json_framing framing,
                struct span *doc)
{
    while (*pos < len) {
        const char *from = buf + *pos;
        const char *end = buf + len;

        if (framing == JSON_FRAMING_LINES) {
            const char *newline = memchr(from, '\n', (size_t)(end - from));

            end = newline == NULL ? end : newline;
        }
        *pos = (size_t)(end - buf) + 1;
        while (from < end && blank(*from))
            from++;
        while (end > from && blank(end[-1]))
            end--;
        *doc = (struct span){.ptr = from, .len = (size_t)(end - from)};
        if (doc->len > 0)
            return true;
    }
    return false;
}

static bool same_cut(struct tjson *t, const struct json_event *ev, const char *buf, size_t len,
                     size_t *pos, enum json_framing framing)
{
    struct span doc;

    if (framing == JSON_FRAMING_ARRAY)
        return true;
    if (cut(buf, len, pos, framing, &doc) != (ev != NULL))
        return differ(t, "%s documents than there are", ev == NULL ? "fewer" : "more");
    if (ev != NULL && (ev->ptr != doc.ptr || ev->len != doc.len))
        return differ(t, "%u bytes at %td, not %zu at %td", ev->len, ev->ptr - buf, doc.len,
                      doc.ptr - buf);
    return true;
}

/* An array's elements: jansson counts them. */
static bool same_count(struct tjson *t, const char *buf, size_t len, int n)
{
    struct tjson_oracle o;
    bool same;

    tjson_oracle_init(&o, buf, len, JSON_DEPTH_MAX + 1);
    same = o.root == NULL || tjson_oracle_elements(&o) == (size_t)n;
    tjson_oracle_fini(&o);
    return same || differ(t, "%d elements are not what jansson finds", n);
}

/* What the variants say about the buffer as one document, which drops their streams. */
static bool same_verdict(struct tjson *t, const char *buf, size_t len, bool oracle)
{
    size_t want_at = 0;
    const enum json_error want = json_validate(buf, len, &want_at);
    const enum json_framing framing = json_detect(buf, len);
    struct tjson_oracle o;
    bool valid;

    for (int v = 0; v < t->n; v++) {
        size_t at = 0;
        const enum json_error got = json_parser_validate(t->parser[v], buf, len, &at);

        if (got != want || at != want_at)
            return differ(t, "%s: the whole is %u at %zu, scalar: %u at %zu",
                          json_isa_name(t->isa[v]), got, at, want, want_at);
        if (json_parser_detect(t->parser[v], buf, len) != framing)
            return differ(t, "%s: another framing than %u", json_isa_name(t->isa[v]), framing);
    }
    if (!oracle)
        return true;
    tjson_oracle_init(&o, buf, len, JSON_DEPTH_MAX);
    valid = o.valid;
    tjson_oracle_fini(&o);
    return valid == (want == JSON_ERROR_NONE) ||
           differ(t, "the whole is %u at %zu, not to jansson", want, want_at);
}

int tjson_check(struct tjson *t, const char *buf, size_t len, enum json_framing framing,
                unsigned flags)
{
    static _Thread_local struct reader r[TJSON_ISAS_MAX];
    const bool oracle = (flags & TJSON_ORACLE) != 0;
    size_t pos = 0;
    int n = 0;

    if (framing != JSON_FRAMING_LINES && !same_verdict(t, buf, len, oracle))
        return -1;
    for (int v = 0; v < t->n; v++) {
        json_stream_init(&r[v].s, t->parser[v], buf, len, framing);
        r[v].n = r[v].at = 0;
        r[v].batch = batches[((unsigned)v + t->turn) % ARRAY_LEN(batches)];
    }
    t->turn++;
    for (;; n++) {
        const struct json_event *first = reader_next(&r[0]);

        for (int v = 1; v < t->n; v++) {
            const struct json_event *ev = reader_next(&r[v]);

            if (first == NULL && ev == NULL)
                continue;
            if (!same_event(t, v, first, ev) || !sound_tokens(t, v, ev))
                return -1;
        }
        if (oracle && !same_cut(t, first, buf, len, &pos, framing))
            return -1;
        if (first == NULL)
            break;
        if (oracle && !judged(t, first))
            return -1;
    }
    if (oracle && framing == JSON_FRAMING_ARRAY && !same_count(t, buf, len, n))
        return -1;
    return n;
}

/* ---- several buffers ---- */

/* The next document by the scalar variant, one buffer at a time. Its parser has no state, so it may be in use
 * for another stream. */
static const struct json_event *alone_next(struct tjson *t, struct reader *r,
                                           const struct json_buffer *buffer, uint32_t n,
                                           uint32_t *next)
{
    const struct json_event *ev = reader_next(r);

    while (ev == NULL && *next < n) {
        json_stream_init(&r->s, t->parser[0], buffer[*next].ptr, buffer[*next].len,
                         JSON_FRAMING_LINES);
        ++*next;
        ev = reader_next(r);
    }
    return ev;
}

/* Whether all variants give this document next, of that buffer. */
static bool same_buffers(struct tjson *t, struct reader r[TJSON_ISAS_MAX],
                         const struct json_event *want, uint32_t buffer)
{
    for (int v = 0; v < t->n; v++) {
        const struct json_event *ev = reader_next(&r[v]);

        if (want == NULL && ev == NULL)
            continue;
        if (!same_event(t, v, want, ev))
            return false;
        if (ev->buffer != buffer)
            return differ(t, "%s: buffer %u, not %u", json_isa_name(t->isa[v]), ev->buffer, buffer);
        if (v > 0 && !sound_tokens(t, v, ev))
            return false;
    }
    return true;
}

int tjson_check_buffers(struct tjson *t, const struct json_buffer *buffer, uint32_t n)
{
    static _Thread_local struct reader r[TJSON_ISAS_MAX], alone;
    const struct json_event *want;
    uint32_t next = 0;
    int found = 0;

    for (int v = 0; v < t->n; v++) {
        json_stream_init_buffers(&r[v].s, t->parser[v], buffer, n);
        r[v].n = r[v].at = 0;
        r[v].batch = batches[((unsigned)v + t->turn) % ARRAY_LEN(batches)];
    }
    t->turn++;
    alone = (struct reader){.batch = BATCH_MAX};
    json_stream_init(&alone.s, t->parser[0], "", 0, JSON_FRAMING_LINES);
    for (;; found++) {
        want = alone_next(t, &alone, buffer, n, &next);
        if (!same_buffers(t, r, want, next - 1))
            return -1;
        if (want == NULL)
            return found;
    }
}

uint32_t tjson_cut(struct tjson_rng *r, const char *text, size_t len, const char *padding,
                   struct json_buffer buffer[JSON_BUFFERS_MAX])
{
    const size_t n_padding = strlen(padding);
    uint32_t n = 0;

    for (size_t at = 0; n < JSON_BUFFERS_MAX && (at < len || n == 0);) {
        const uint32_t how = tjson_below(r, 8);
        size_t bytes = how == 0 ? tjson_below(r, 200) : len - at;
        const char *newline = memchr(text + at, '\n', len - at);
        char *copy;

        if (how > 1 && newline != NULL) /* with its line feed or without it */
            bytes = (size_t)(newline - text) - at + how % 2;
        if (bytes > len - at)
            bytes = len - at;
        if (bytes > JSON_BUFFER_BYTES_MAX)
            bytes = JSON_BUFFER_BYTES_MAX;
        copy = malloc(bytes + JSON_PADDING_BYTES);
        ASSERT(copy != NULL);
        memcpy(copy, text + at, bytes);
        for (size_t i = 0; i < JSON_PADDING_BYTES; i++)
            copy[bytes + i] = padding[i % n_padding];
        buffer[n++] = (struct json_buffer){.ptr = copy, .len = (uint32_t)bytes};
        at += bytes;
    }
    return n;
}

void tjson_cut_free(struct json_buffer *buffer, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free((char *)(uintptr_t)buffer[i].ptr);
}
