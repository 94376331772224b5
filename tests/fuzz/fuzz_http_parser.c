/*
 * COLD. Fuzzes request heads, chunked bodies and path segments.
 * Goal: no over-read, no answer that depends on how input was cut into pieces, no head that holds
 * what a stricter server would read in another way, and the same payload as a slow decoder that
 * shares no code. Method: the first byte picks the limit and the cuts; the rest is a head and then,
 * again, a body.
 */
#include "dataplane/input/http_parser.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- Heads ---- */

static bool span_inside(struct span s, const char *buf, size_t len)
{
    return s.len == 0 || (s.ptr >= buf && s.ptr + s.len <= buf + len);
}

static void check_head(const char *buf, size_t len, size_t head_max, const struct http_request *r)
{
    ASSERT(r->head_len <= len && r->head_len <= head_max && r->head_len >= 16);
    ASSERT(memcmp(buf + r->head_len - 4, "\r\n\r\n", 4) == 0);
    ASSERT(!(r->chunked && r->has_length));
    ASSERT(r->minor <= 1 && !(r->minor == 0 && r->chunked));
    ASSERT(r->content_length <= INT64_MAX && (r->has_length || r->content_length == 0));
    ASSERT(r->path.len > 0 && (r->path.ptr[0] == '/' || r->path.ptr[0] == '*'));
    ASSERT(span_inside(r->path, buf, r->head_len));
    ASSERT(span_inside(r->query, buf, r->head_len));
    ASSERT(span_inside(r->authorization, buf, r->head_len));
    ASSERT(span_inside(r->origin, buf, r->head_len));
    for (size_t i = 0; i < r->head_len; i++) {
        ASSERT(buf[i] != '\0');
        ASSERT(buf[i] != '\r' || buf[i + 1] == '\n');
        ASSERT(buf[i] != '\n' || (i > 0 && buf[i - 1] == '\r'));
        ASSERT(buf[i] != '\n' || i + 1 == r->head_len || (buf[i + 1] != ' ' && buf[i + 1] != '\t'));
    }
}

static bool same_span(struct span a, const char *base_a, struct span b, const char *base_b)
{
    return a.len == b.len && (a.len == 0 || a.ptr - base_a == b.ptr - base_b);
}

static void check_same(const char *buf_a, const struct http_request *a, const char *buf_b,
                       const struct http_request *b)
{
    ASSERT(a->method == b->method && a->media == b->media && a->coding == b->coding);
    ASSERT(a->minor == b->minor && a->keep_alive == b->keep_alive && a->chunked == b->chunked);
    ASSERT(a->expect_continue == b->expect_continue && a->has_length == b->has_length);
    ASSERT(a->content_length == b->content_length && a->head_len == b->head_len);
    ASSERT(same_span(a->path, buf_a, b->path, buf_b));
    ASSERT(same_span(a->query, buf_a, b->query, buf_b));
    ASSERT(same_span(a->authorization, buf_a, b->authorization, buf_b));
    ASSERT(same_span(a->origin, buf_a, b->origin, buf_b));
}

/* Feeds growing prefixes, each in its own allocation, until one is answered. */
static void check_prefixes(const char *buf, size_t len, size_t head_max, size_t step)
{
    struct http_request whole;
    int rc = http_parse_head(buf, len, head_max, &whole);

    if (rc == 0)
        check_head(buf, len, head_max, &whole);
    for (size_t n = 0;; n = len - n < step ? len : n + step) {
        char *copy = malloc(n + 1);
        struct http_request part;
        int part_rc;

        ASSERT(copy != NULL);
        memcpy(copy + 1, buf, n);
        part_rc = http_parse_head(copy + 1, n, head_max, &part);
        if (part_rc == 0)
            check_same(buf, &whole, copy + 1, &part);
        free(copy);
        if (part_rc != -EAGAIN || n == len) {
            ASSERT(part_rc == rc);
            return;
        }
    }
}

/* ---- Chunked bodies: the slow decoder, by the grammar of RFC 9112, 7.1 ---- */

enum { SLOW_MORE = 0, SLOW_END = 1, SLOW_BAD = -EINVAL };

struct slow {
    const unsigned char *in;
    size_t len;
    size_t at;
    unsigned char *out;
    size_t out_len;
};

/* The next byte, or -1 at the end of the input. */
static int slow_peek(const struct slow *s)
{
    return s->at < s->len ? s->in[s->at] : -1;
}

static bool slow_is_token(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c > 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Text of a field value or an extension, up to CR; *budget bounds it together with its CR LF. */
static int slow_text_crlf(struct slow *s, size_t *budget)
{
    for (;; s->at++) {
        int c = slow_peek(s);

        if (c < 0)
            return SLOW_MORE;
        if ((*budget)-- == 0)
            return SLOW_BAD;
        if (c == '\r')
            break;
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return SLOW_BAD;
    }
    s->at++;
    if (slow_peek(s) < 0)
        return SLOW_MORE;
    if ((*budget)-- == 0 || slow_peek(s) != '\n')
        return SLOW_BAD;
    s->at++;
    return SLOW_END;
}

static int slow_size(struct slow *s, uint64_t *size)
{
    static const char digits[] = "00112233445566778899aAbBcCdDeEfF";
    size_t budget = 256;
    size_t n = 0;
    bool spaced = false;

    *size = 0;
    for (;; s->at++) {
        int c = slow_peek(s);
        const char *digit = c > 0 ? strchr(digits, c) : NULL;

        if (c < 0)
            return SLOW_MORE;
        if (budget == 0)
            return SLOW_BAD;
        if (digit != NULL && !spaced) {
            if (*size >= UINT64_C(1) << 59)
                return SLOW_BAD;
            *size = *size * 16 + (uint64_t)(digit - digits) / 2;
            n++;
        } else if (n > 0 && (c == ' ' || c == '\t')) {
            spaced = true;
        } else if (n > 0 && (c == ';' || (c == '\r' && !spaced))) {
            return slow_text_crlf(s, &budget);
        } else {
            return SLOW_BAD;
        }
        budget--;
    }
}

static int slow_trailers(struct slow *s)
{
    size_t budget = 4096;

    for (;;) {
        size_t n = 0;
        int rc;

        if (slow_peek(s) == '\r')
            return slow_text_crlf(s, &budget);
        for (; slow_peek(s) != ':'; s->at++, n++) {
            if (slow_peek(s) < 0)
                return SLOW_MORE;
            if (budget-- == 0 || !slow_is_token(slow_peek(s)))
                return SLOW_BAD;
        }
        if (n == 0 || budget == 0)
            return SLOW_BAD;
        if ((rc = slow_text_crlf(s, &budget)) != SLOW_END)
            return rc;
    }
}

static int slow_decode(struct slow *s)
{
    for (;;) {
        uint64_t size;
        int rc = slow_size(s, &size);

        if (rc != SLOW_END)
            return rc;
        if (size == 0)
            return slow_trailers(s);
        while (size > 0 && slow_peek(s) >= 0) {
            s->out[s->out_len++] = s->in[s->at++];
            size--;
        }
        for (const char *p = "\r\n"; *p != '\0'; p++, s->at++) {
            if (slow_peek(s) < 0)
                return SLOW_MORE;
            if (slow_peek(s) != *p)
                return SLOW_BAD;
        }
    }
}

/* Squeezes a copy in pieces of step bytes (0: all at once) and compares with the slow decoder's
 * result. */
static void check_squeeze(const struct slow *slow, int slow_rc, size_t step)
{
    struct http_chunked c = {0};
    char *buf = malloc(slow->len + 1);
    size_t in = 0;
    size_t out = 0;
    int rc = 0;

    ASSERT(buf != NULL);
    memcpy(buf, slow->in, slow->len);
    while (rc == 0 && in < slow->len) {
        size_t left = slow->len - in;
        size_t n = step == 0 || step > left ? left : step;
        size_t consumed;
        size_t written;

        rc = http_chunked_squeeze(&c, buf + out, buf + in, n, &consumed, &written);
        ASSERT(consumed <= n && written <= consumed && (rc != 0 || consumed == n));
        in += consumed;
        out += written;
    }
    ASSERT(rc == slow_rc);
    ASSERT(out == slow->out_len);
    ASSERT(memcmp(buf, slow->out, out) == 0);
    ASSERT(rc != 1 || in == slow->at);
    free(buf);
}

static void check_body(const uint8_t *data, size_t size, size_t step)
{
    struct slow slow = {.in = data, .len = size, .out = malloc(size + 1)};
    int rc;

    ASSERT(slow.out != NULL);
    rc = slow_decode(&slow);
    check_squeeze(&slow, rc, 0);
    check_squeeze(&slow, rc, 1);
    check_squeeze(&slow, rc, step);
    free(slow.out);
}

/* ---- Path segments ---- */

static void check_segment(const uint8_t *data, size_t size)
{
    char *out = malloc(size + 1);
    int n;

    ASSERT(out != NULL);
    n = http_decode_segment((struct span){(const char *)data, size}, out);
    ASSERT(n == -EINVAL || (n >= 0 && (size_t)n <= size));
    for (int i = 0; i < n; i++)
        ASSERT((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step;
    size_t head_max;
    struct http_request r;

    if (size == 0)
        return 0;
    step = 1 + (data[0] & 7U);
    head_max = (data[0] & 8U) != 0 ? 128 : 8192;
    data++;
    size--;
    /* Prefixes cost the square of the length: wider steps for long input. */
    check_prefixes((const char *)data, size, head_max, size > 1024 ? size / 64 : step);
    check_body(data, size, step);
    if (http_parse_head((const char *)data, size, head_max, &r) == 0) {
        check_body(data + r.head_len, size - r.head_len, step);
        check_segment((const uint8_t *)r.path.ptr, r.path.len);
    }
    check_segment(data, size);
    return 0;
}
