/*
 * HOT. The public side: framing (lines, array, single document), trimming, and what an event
 * reports. The bytes of a document are read by a scanner variant, see json_internal.h.
 */
#include "dataplane/json/json.h"

#include <errno.h>

#include "dataplane/json/json_internal.h"

static const char *const error_texts[] = {
#define X(symbol, text) text,
    JSON_ERROR_LIST(X)
#undef X
};

const char *json_error_text(enum json_error error)
{
    ASSERT((size_t)error < ARRAY_LEN(error_texts));
    return error_texts[error];
}

/* Cuts text into keys. @return their number, or -EINVAL. */
static int path_parse(struct json_path *path, const char *text)
{
    path->n_keys = 0;
    for (;;) {
        const size_t len = strcspn(text, ".");

        if (len == 0 || len > UINT8_MAX || path->n_keys == JSON_PATH_KEYS_MAX)
            return -EINVAL;
        path->key[path->n_keys] = text;
        path->key_len[path->n_keys] = (uint8_t)len;
        path->n_keys++;
        if (text[len] == '\0')
            return path->n_keys;
        text += len + 1;
    }
}

static bool path_equal(const struct json_path *a, const struct json_path *b)
{
    if (a->n_keys != b->n_keys)
        return false;
    for (int i = 0; i < a->n_keys; i++) {
        if (a->key_len[i] != b->key_len[i] || memcmp(a->key[i], b->key[i], a->key_len[i]) != 0)
            return false;
    }
    return true;
}

int json_paths_add(struct json_paths *paths, const char *text)
{
    struct json_path path = {0};
    int rc;

    ASSERT(paths != NULL && text != NULL);
    ASSERT(paths->n <= JSON_PATHS_MAX);
    rc = path_parse(&path, text);
    if (rc < 0)
        return rc;
    for (int i = 0; i < paths->n; i++) {
        if (path_equal(&paths->path[i], &path))
            return i;
    }
    if (paths->n == JSON_PATHS_MAX)
        return -ENOSPC;
    paths->path[paths->n] = path;
    return paths->n++;
}

/* Scans the value at scan->doc and takes anything after it but white space for an error. */
static inline bool scan_document(struct json_scan *scan)
{
    const char *past;

    if (unlikely(!json_scalar_scan(scan)))
        return false;
    if (likely(scan->at == scan->end))
        return true;
    past = skip_leading(scan->at, scan->end);
    return past == scan->end ? true : json_scan_fail(scan, past, JSON_ERROR_TRAILING);
}

static inline void clear_fields(struct json_event *ev, const struct json_pick *pick)
{
    if (pick == NULL)
        return;
    for (int i = 0; i < pick->paths->n; i++)
        ev->field[i] = (struct json_field){0};
}

void json_fill_event(struct json_event *ev, const struct json_scan *scan)
{
    ev->ptr = scan->doc;
    ev->error = scan->error;
    ev->n_tokens = 0;
    ev->token = NULL;
    ev->shape = 0;
    if (likely(scan->error == JSON_ERROR_NONE)) {
        ev->len = (uint32_t)(scan->at - scan->doc);
        ev->error_offset = 0;
        ev->type = scan->type;
        ev->flags = scan->flags;
        return;
    }
    ev->len = (uint32_t)(scan->end - scan->doc);
    ev->error_offset = (uint32_t)(scan->at - scan->doc);
    ev->type = JSON_ABSENT;
    ev->flags = 0;
    clear_fields(ev, scan->pick);
}

/* Reads the trimmed bytes from..end as one document. */
void json_read_document(struct json_event *ev, const char *from, const char *end,
                        const struct json_pick *pick)
{
    struct json_scan scan = {.doc = from, .end = end, .pick = pick, .field = ev->field};

    ASSERT_HOT(from < end);
    clear_fields(ev, pick);
    scan_document(&scan);
    json_fill_event(ev, &scan);
}

enum json_error json_validate(const char *buf, size_t len, size_t *offset)
{
    struct json_scan scan = {0};

    ASSERT(offset != NULL);
    *offset = len;
    if (len == 0)
        return JSON_ERROR_EMPTY;
    scan.end = buf + len;
    scan.doc = skip_leading(buf, scan.end);
    if (scan.doc == scan.end)
        return JSON_ERROR_EMPTY;
    if (scan_document(&scan))
        return JSON_ERROR_NONE;
    *offset = (size_t)(scan.at - buf);
    return (enum json_error)scan.error;
}

/*
 * Whether the first line cannot go on behind its newline: nothing follows, or it ends with '}' and the next
 * begins with '{', which no single document has side by side, and no string has a newline in it. So most
 * bodies and datagrams are spared a validation of their first line.
 */
static bool line_stands_alone(const char *line, const char *newline, const char *end)
{
    const char *next = skip_leading(newline, end), *last = newline - 1;

    ASSERT_HOT(line < newline);
    while (last > line && (*last == '\r' || *last == ' ' || *last == '\t'))
        last--;
    return next == end || (*last == '}' && *next == '{');
}

static inline bool is_container(char c)
{
    return c == '{' || c == '[';
}

/* As the two functions of the header do; p may be NULL. */
static enum json_error validate(struct json_parser *p, const char *buf, size_t len, size_t *offset)
{
    const char *end = cut_trailing(buf, buf + len);
    struct json_scan scan = {.doc = skip_leading(buf, end), .end = end};

    if (p != NULL && p->variant != NULL && len <= VECTOR_BYTES_MAX && scan.doc < end &&
        is_container(*scan.doc) && p->variant->document(p, &scan)) {
        *offset = len;
        return JSON_ERROR_NONE;
    }
    return json_validate(buf, len, offset);
}

enum json_error json_parser_validate(struct json_parser *p, const char *buf, size_t len,
                                     size_t *offset)
{
    ASSERT(p != NULL && offset != NULL);
    return validate(p, buf, len, offset);
}

static enum json_framing detect(struct json_parser *p, const char *buf, size_t len)
{
    const char *end = buf + len;
    const char *first = skip_leading(buf, end);
    const char *newline;
    size_t offset;

    if (first == end)
        return JSON_FRAMING_LINES;
    if (*first == '[')
        return JSON_FRAMING_ARRAY;
    newline = memchr(first, '\n', (size_t)(end - first));
    if (*first != '{' || newline == NULL || line_stands_alone(first, newline, end))
        return JSON_FRAMING_LINES;
    if (json_validate(first, (size_t)(newline - first), &offset) != JSON_ERROR_TRUNCATED)
        return JSON_FRAMING_LINES;
    return validate(p, first, (size_t)(end - first), &offset) == JSON_ERROR_NONE
               ? JSON_FRAMING_SINGLE
               : JSON_FRAMING_LINES;
}

enum json_framing json_detect(const char *buf, size_t len)
{
    return detect(NULL, buf, len);
}

enum json_framing json_parser_detect(struct json_parser *p, const char *buf, size_t len)
{
    ASSERT(p != NULL);
    return detect(p, buf, len);
}

void json_stream_init(struct json_stream *s, struct json_parser *p, const char *buf, size_t len,
                      enum json_framing framing)
{
    ASSERT(len <= UINT32_MAX);
    ASSERT(framing <= JSON_FRAMING_SINGLE);
    if (framing == JSON_FRAMING_ARRAY)
        len = (size_t)(cut_trailing(buf, buf + len) - buf);
    *s = (struct json_stream){._buf = buf, ._len = len, ._parser = p, ._framing = framing};
    s->_vectors = p->vectors != NULL && len <= VECTOR_BYTES_MAX;
    if (s->_vectors && framing != JSON_FRAMING_SINGLE)
        json_vectors_begin(p->vectors, buf, (uint32_t)len);
}

void json_stream_init_buffers(struct json_stream *s, struct json_parser *p,
                              const struct json_buffer *buffer, uint32_t n)
{
    ASSERT(n > 0 && n <= JSON_BUFFERS_MAX);
    *s = (struct json_stream){
        ._parser = p, ._vectors = p->vectors != NULL, ._buffers = buffer, ._n_buffers = n};
    if (s->_vectors)
        json_vectors_begin(p->vectors, NULL, 0);
}

static int next_lines(struct json_stream *s, struct json_event *out, int max,
                      const struct json_pick *pick)
{
    const char *p = s->_buf + s->_pos;
    const char *end = s->_buf + s->_len;
    int n = 0;

    while (n < max && p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *line_end = newline == NULL ? end : newline;
        const char *from = skip_leading(p, line_end);

        p = newline == NULL ? end : newline + 1;
        line_end = cut_trailing(from, line_end);
        if (from < line_end)
            json_read_document(&out[n++], from, line_end, pick);
    }
    s->_pos = (size_t)(p - s->_buf);
    return n;
}

static int next_single(struct json_stream *s, struct json_event *out, int max,
                       const struct json_pick *pick)
{
    struct json_parser *p = s->_parser;
    const char *end = s->_buf + s->_len;
    const char *from = skip_leading(s->_buf + s->_pos, end);

    if (max <= 0)
        return 0;
    s->_pos = s->_len;
    end = cut_trailing(from, end);
    if (from == end)
        return 0;
    if (s->_vectors && is_container(*from)) {
        if (p->variant->single(p, out, from, end))
            return 1;
        p->stats.rescans++;
    }
    json_read_document(out, from, end, pick);
    return 1;
}

/* An array that json_validate() would have refused: one event says so and ends the stream. */
static COLD_PATH void array_broken(struct json_event *ev, const char *at, const char *end,
                                   enum json_error error, const struct json_pick *pick)
{
    struct json_scan scan = {.doc = at, .end = end, .pick = pick};

    json_scan_fail(&scan, at, at == end ? JSON_ERROR_TRUNCATED : error);
    json_fill_event(ev, &scan);
}

/* Finds the element behind p, which is at the start of the array or behind an element. @return NONE
 * with *p at its first byte or, when there is none left, at end; else the error with *p at its
 * place. */
static inline enum json_error find_element(const char **p, const char *end, bool first)
{
    const char *q = skip_leading(*p, end);
    bool closed;

    *p = q;
    if (q == end)
        return first ? JSON_ERROR_NONE : JSON_ERROR_TRUNCATED;
    closed = !first && *q == ']';
    if (!closed) {
        if (*q != (first ? '[' : ','))
            return JSON_ERROR_SYNTAX;
        *p = q = skip_leading(q + 1, end);
        if (q == end)
            return JSON_ERROR_TRUNCATED;
        closed = first && *q == ']';
    }
    if (!closed)
        return JSON_ERROR_NONE;
    *p = skip_leading(q + 1, end);
    return *p == end ? JSON_ERROR_NONE : JSON_ERROR_TRAILING;
}

const char *json_read_element(struct json_event *ev, const char *from, const char *end,
                              const struct json_pick *pick)
{
    struct json_scan scan = {.doc = from, .end = end, .pick = pick, .field = ev->field};

    clear_fields(ev, pick);
    json_scalar_scan(&scan);
    json_fill_event(ev, &scan);
    return scan.error == JSON_ERROR_NONE ? scan.at : end;
}

static int next_elements(struct json_stream *s, struct json_event *out, int max,
                         const struct json_pick *pick)
{
    const char *p = s->_buf + s->_pos;
    const char *end = s->_buf + s->_len;
    int n = 0;

    while (n < max && p < end) {
        const enum json_error error = find_element(&p, end, p == s->_buf);

        if (unlikely(error != JSON_ERROR_NONE)) {
            array_broken(&out[n++], p, end, error, pick);
            p = end;
        } else if (p < end) {
            p = json_read_element(&out[n++], p, end, pick);
        }
    }
    s->_pos = (size_t)(p - s->_buf);
    return n;
}

/* Lines and elements as long as the variant has some; then its stream is at the end, or goes on as
 * scalar. */
static int next_vectors(struct json_stream *s, struct json_event *out, int max)
{
    struct json_parser *p = s->_parser;
    int n;

    if (s->_framing == JSON_FRAMING_ARRAY)
        return p->variant->elements(s, out, max);
    n = p->variant->lines(p, out, max);
    if (n == 0 && max > 0)
        s->_pos = s->_len;
    return n;
}

/* The lines of several buffers, one buffer at a time. */
static int next_buffers(struct json_stream *s, struct json_event *out, int max,
                        const struct json_pick *pick)
{
    int n = 0;

    while (n == 0 && max > 0) {
        if (s->_pos == s->_len) {
            if (s->_buffer == s->_n_buffers)
                break;
            s->_buf = s->_buffers[s->_buffer].ptr;
            s->_len = s->_buffers[s->_buffer].len;
            s->_pos = 0;
            s->_buffer++;
        }
        n = next_lines(s, out, max, pick);
    }
    for (int i = 0; i < n; i++)
        out[i].buffer = (uint8_t)(s->_buffer - 1);
    return n;
}

int json_next(struct json_stream *s, struct json_event *out, int max)
{
    struct json_parser *p = s->_parser;
    int n = 0;

    ASSERT(s->_pos <= s->_len);
    ASSERT_HOT(max >= 0);
    if (s->_buffers != NULL) {
        n = s->_vectors ? p->variant->buffers(s, out, max) : next_buffers(s, out, max, p->use);
        p->stats.events += (uint64_t)n;
        return n;
    }
    if (s->_pos == s->_len)
        return 0;
    if (s->_framing == JSON_FRAMING_SINGLE)
        n = next_single(s, out, max, p->use);
    else if (s->_vectors)
        n = next_vectors(s, out, max);
    if (n == 0 && !s->_vectors && s->_framing == JSON_FRAMING_LINES)
        n = next_lines(s, out, max, p->use);
    else if (n == 0 && !s->_vectors && s->_framing == JSON_FRAMING_ARRAY)
        n = next_elements(s, out, max, p->use);
    p->stats.events += (uint64_t)n;
    return n;
}
