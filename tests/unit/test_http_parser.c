/*
 * COLD. HTTP request heads, chunked bodies and path segments.
 * Goal: every rule of http_parser.h, and that input in pieces is judged as input at once.
 * Method: tables of heads with their expected answer, each also fed in growing prefixes; bodies in
 * every split.
 */
#include "dataplane/input/http_parser.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD_MAX 8192

/* A request line and a Host, for cases that are about one field. */
#define POST_11 "POST /v1/events HTTP/1.1\r\nHost: a\r\n"
#define POST_10 "POST /v1/events HTTP/1.0\r\n"

/*
 * Parses a copy that ends at its last byte (a sanitizer sees an over-read), whole and in every
 * prefix: the prefix answers -EAGAIN until it answers as the whole does.
 */
static int parse_all_prefixes(const char *text, size_t len, size_t head_max,
                              struct http_request *out)
{
    int rc = http_parse_head(text, len, head_max, out);

    for (size_t n = 0; n <= len; n++) {
        struct http_request part;
        char *copy = malloc(n + 1);
        int part_rc;

        assert_non_null(copy);
        memcpy(copy + 1, text, n);
        part_rc = http_parse_head(copy + 1, n, head_max, &part);
        free(copy);
        if (part_rc == -EAGAIN) {
            assert_true(n < len || rc == -EAGAIN);
            continue;
        }
        if (part_rc != rc)
            print_error("prefix of %zu bytes of <%s>: %d, whole: %d\n", n, text, part_rc, rc);
        assert_int_equal(part_rc, rc);
        if (rc == 0) {
            assert_int_equal(part.head_len, out->head_len);
            assert_int_equal(part.content_length, out->content_length);
            assert_int_equal(part.keep_alive, out->keep_alive);
        }
    }
    return rc;
}

static int parse(const char *text, struct http_request *out)
{
    return parse_all_prefixes(text, strlen(text), HEAD_MAX, out);
}

static void assert_span(struct span s, const char *text)
{
    if (!span_equal(s, span_of(text)))
        print_error("<%.*s>, expected <%s>\n", (int)s.len, s.ptr, text);
    assert_true(span_equal(s, span_of(text)));
}

struct head_case {
    const char *text;
    int rc;
};

static void check_cases(const struct head_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct http_request r;
        int rc = parse(cases[i].text, &r);

        if (rc != cases[i].rc)
            print_error("<%s>: %d, expected %d\n", cases[i].text, rc, cases[i].rc);
        assert_int_equal(rc, cases[i].rc);
    }
}

static void test_whole_head(void **state)
{
    static const char text[] = "POST /v1/events/user%2Factivity?ack=1&x HTTP/1.1\r\n"
                               "Host: ingest.example.com:8080\r\n"
                               "User-Agent: curl/8.1\r\n"
                               "Authorization: Bearer abc.def \t\r\n"
                               "Content-Type: application/x-ndjson; charset=utf-8\r\n"
                               "Content-Encoding: gzip\r\n"
                               "Content-Length:  1234\r\n"
                               "Expect: 100-continue\r\n"
                               "\r\n"
                               "{}";
    struct http_request r;

    (void)state;
    assert_int_equal(parse(text, &r), 0);
    assert_int_equal(r.method, HTTP_METHOD_POST);
    assert_int_equal(r.media, HTTP_MEDIA_NDJSON);
    assert_int_equal(r.coding, HTTP_CODING_GZIP);
    assert_int_equal(r.minor, 1);
    assert_true(r.keep_alive && r.has_length && r.expect_continue && !r.chunked);
    assert_int_equal(r.content_length, 1234);
    assert_int_equal(r.head_len, sizeof(text) - 1 - 2);
    assert_span(r.path, "/v1/events/user%2Factivity");
    assert_span(r.query, "ack=1&x");
    assert_span(r.authorization, "Bearer abc.def");
}

static void test_any_order_and_case(void **state)
{
    struct http_request r;

    (void)state;
    assert_int_equal(parse("POST / HTTP/1.1\r\ncontent-LENGTH:7\r\nAUTHORIZATION:\tx\r\n"
                           "X-A: \t \r\nhOsT:\r\ncontent-type:Application/JSON\r\n\r\n",
                           &r),
                     0);
    assert_int_equal(r.content_length, 7);
    assert_int_equal(r.media, HTTP_MEDIA_JSON);
    assert_span(r.authorization, "x");
    assert_int_equal(
        parse("POST / HTTP/1.1\r\nTRANSFER-encoding: Chunked\r\nHost: [::1]:80\r\n\r\n", &r), 0);
    assert_true(r.chunked && !r.has_length);
}

static void test_methods(void **state)
{
    static const struct {
        const char *line;
        enum http_method method;
    } cases[] = {
        {"GET /", HTTP_METHOD_GET},         {"HEAD /", HTTP_METHOD_HEAD},
        {"POST /", HTTP_METHOD_POST},       {"PUT /", HTTP_METHOD_PUT},
        {"DELETE /", HTTP_METHOD_DELETE},   {"OPTIONS /", HTTP_METHOD_OPTIONS},
        {"OPTIONS *", HTTP_METHOD_OPTIONS}, {"post /", HTTP_METHOD_OTHER},
        {"PATCH /", HTTP_METHOD_OTHER},     {"X-!#$%&'*+.^_`|~1 /", HTTP_METHOD_OTHER},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_request r;
        char text[128];

        snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: a\r\n\r\n", cases[i].line);
        assert_int_equal(parse(text, &r), 0);
        assert_int_equal(r.method, cases[i].method);
    }
}

static void test_targets(void **state)
{
    static const struct {
        const char *target;
        const char *path; /* NULL: refused */
        const char *query;
    } cases[] = {
        {"/", "/", ""},
        {"/a/b", "/a/b", ""},
        {"/a?", "/a", ""},
        {"/a?b?c/d", "/a", "b?c/d"},
        {"//a", "//a", ""},
        {"http://host/a?q", "/a", "q"},
        {"HTTP://host:8080/a", "/a", ""},
        {"https://[::1]:8080/a", "/a", ""},
        {"http://host", "/", ""},
        {"http://host?q=1", "/", "q=1"},
        {"http://", NULL, NULL},
        {"http:///a", NULL, NULL},
        {"http://:80/a", NULL, NULL},
        {"http://user@host/", NULL, NULL},
        {"http://host:8x/", NULL, NULL},
        {"http://[::1/", NULL, NULL},
        {"ftp://host/", NULL, NULL},
        {"host:443", NULL, NULL},
        {"a", NULL, NULL},
        {"*", NULL, NULL}, /* only OPTIONS may */
        {"/a#b", NULL, NULL},
        {"/a\"b", NULL, NULL},
        {"/a\\b", NULL, NULL},
        {"/a{b}", NULL, NULL},
        {"/caf\xc3\xa9", NULL, NULL},
        {"/a\tb", NULL, NULL},
        {"/a\x7f", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_request r;
        char text[128];
        int rc;

        snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\nHost: a\r\n\r\n", cases[i].target);
        rc = parse(text, &r);
        assert_int_equal(rc, cases[i].path != NULL ? 0 : -EINVAL);
        if (rc != 0)
            continue;
        assert_span(r.path, cases[i].path);
        assert_span(r.query, cases[i].query);
        assert_true(r.path.ptr >= text && r.path.ptr + r.path.len <= text + r.head_len);
        assert_true(r.query.ptr >= text && r.query.ptr + r.query.len <= text + r.head_len);
    }
}

static void test_request_line(void **state)
{
    static const struct head_case cases[] = {
        {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0},
        {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", -EINVAL},
        {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", -EINVAL},
        {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.1\nHost: a\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.1\rHost: a\r\n\r\n", -EINVAL},
        {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET /\r\n", -EINVAL},
        {"GET\r\n", -EINVAL},
        {"GET / http/1.1\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET / HTTP/11\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", -EPROTONOSUPPORT},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", -EPROTONOSUPPORT},
        {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", -EPROTONOSUPPORT},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", -EPROTONOSUPPORT},
        {"\x16\x03\x01\x02", -EINVAL}, /* a TLS hello on the plain port: no wait for more */
        {"", -EAGAIN},
        {"GET / HTTP/1.1\r\nHost: a\r\n", -EAGAIN},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r", -EAGAIN},
    };

    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_fields(void **state)
{
    static const struct head_case cases[] = {
        {POST_11 "X-Empty:\r\n\r\n", 0},
        {POST_11 "X: a\tb \xff\x80 ~\r\n\r\n", 0},
        {POST_11 "X: a\r\n b\r\n\r\n", -EINVAL}, /* obs-fold */
        {POST_11 "X: a\r\n\tb\r\n\r\n", -EINVAL},
        {POST_11 " X: a\r\n\r\n", -EINVAL},
        {POST_11 "X : a\r\n\r\n", -EINVAL},
        {POST_11 "X\t: a\r\n\r\n", -EINVAL},
        {POST_11 ": a\r\n\r\n", -EINVAL},
        {POST_11 "X\r\n\r\n", -EINVAL},
        {POST_11 "X(: a\r\n\r\n", -EINVAL},
        {POST_11 "X\xc3\xa9: a\r\n\r\n", -EINVAL},
        {POST_11 "X: a\rb\r\n\r\n", -EINVAL},
        {POST_11 "X: a\r\r\n\r\n", -EINVAL},
        {POST_11 "X: a\nY: b\r\n\r\n", -EINVAL},
        {POST_11 "X: a\n\n", -EINVAL},
        {POST_11 "X: a\r\n\n", -EINVAL},
        {POST_11 "X: 12345678\x01\r\n\r\n", -EINVAL},
        {POST_11 "X: 1234567\x7f"
                 "89\r\n\r\n",
         -EINVAL},
        {POST_11 "X: 1\t345678901\t345678\x1f\r\n\r\n", -EINVAL},
        {POST_11 "\r\r\n", -EINVAL},
    };

    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_every_value_byte(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < 17; at++) {
            bool allowed = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
            char text[] = POST_11 "X:aaaaaaaaaaaaaaaaa\r\n\r\n";
            struct http_request r;

            text[sizeof(POST_11) - 1 + 2 + at] = (char)byte;
            assert_int_equal(http_parse_head(text, sizeof(text) - 1, HEAD_MAX, &r),
                             allowed ? 0 : -EINVAL);
        }
    }
}

static void test_host(void **state)
{
    static const struct head_case cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.0\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost: a.b:80\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost: [fe80::1]:80\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", -EINVAL},
        {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", -EINVAL},
    };

    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_length_and_transfer(void **state)
{
    static const struct head_case cases[] = {
        {POST_11 "Content-Length: 0\r\n\r\n", 0},
        {POST_11 "Content-Length: 0000000000000000000000000000012\r\n\r\n", 0},
        {POST_11 "Content-Length: 9223372036854775807\r\n\r\n", 0},
        {POST_11 "Content-Length: 9223372036854775808\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: 18446744073709551617\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: 99999999999999999999999\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: +1\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: -1\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: 1 2\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: 0x1\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: 1,1\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: 1.0\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length:\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", -EINVAL},
        {POST_11 "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", -EINVAL},
        {POST_11 "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", -EINVAL},
        {POST_11 "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", -EINVAL},
        {POST_11 "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", -EINVAL},
        {POST_11 "Transfer-Encoding: gzip, chunked\r\n\r\n", -ENOSYS},
        {POST_11 "Transfer-Encoding: chunked, chunked\r\n\r\n", -ENOSYS},
        {POST_11 "Transfer-Encoding: xchunked\r\n\r\n", -ENOSYS},
        {POST_11 "Transfer-Encoding: chunked;a=b\r\n\r\n", -ENOSYS},
        {POST_11 "Transfer-Encoding: identity\r\n\r\n", -ENOSYS},
        {POST_11 "Transfer-Encoding:\r\n\r\n", -EINVAL},
        {POST_11 "Transfer-Encoding : chunked\r\n\r\n", -EINVAL},
        {POST_10 "Transfer-Encoding: chunked\r\n\r\n", -EINVAL},
        {POST_11 "Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n", -EINVAL},
        {POST_11 "Authorization: a\r\nAuthorization: a\r\n\r\n", -EINVAL},
    };

    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_keep_alive(void **state)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {POST_11 "\r\n", true},
        {POST_10 "\r\n", false},
        {POST_11 "Connection: close\r\n\r\n", false},
        {POST_11 "Connection: Upgrade , CLOSE\r\n\r\n", false},
        {POST_11 "Connection: ,, close,\r\n\r\n", false},
        {POST_11 "Connection: keep-alive\r\nConnection: close\r\n\r\n", false},
        {POST_11 "Connection: close\r\nConnection: keep-alive\r\n\r\n", false},
        {POST_11 "Connection: closed, not-close\r\n\r\n", true},
        {POST_11 "Connection:\r\n\r\n", true},
        {POST_10 "Connection: Keep-Alive\r\n\r\n", true},
        {POST_10 "Connection: x, keep-alive\r\n\r\n", true},
        {POST_10 "Connection: keep-alive, close\r\n\r\n", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_request r;

        assert_int_equal(parse(cases[i].text, &r), 0);
        assert_int_equal(r.keep_alive, cases[i].keep_alive);
    }
}

static void test_media(void **state)
{
    static const struct {
        const char *value;
        enum http_media media;
    } cases[] = {
        {"application/json", HTTP_MEDIA_JSON},
        {"application/json;charset=UTF-8", HTTP_MEDIA_JSON},
        {"APPLICATION/Json \t; charset=utf-8", HTTP_MEDIA_JSON},
        {"application/x-ndjson", HTTP_MEDIA_NDJSON},
        {"application/ndjson; a=\"b;c\"", HTTP_MEDIA_NDJSON},
        {"application/jsonl", HTTP_MEDIA_NDJSON},
        {"application/x-jsonlines", HTTP_MEDIA_NDJSON},
        {"text/x-ndjson", HTTP_MEDIA_NDJSON},
        {"text/plain", HTTP_MEDIA_OTHER},
        {"application/x-www-form-urlencoded", HTTP_MEDIA_OTHER},
        {"application/json, text/plain", HTTP_MEDIA_OTHER},
        {"application/jsonx", HTTP_MEDIA_OTHER},
        {"application/jso", HTTP_MEDIA_OTHER},
        {"", HTTP_MEDIA_OTHER},
    };
    struct http_request r;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[256];

        snprintf(text, sizeof(text), POST_11 "Content-Type: %s\r\n\r\n", cases[i].value);
        assert_int_equal(parse(text, &r), 0);
        assert_int_equal(r.media, cases[i].media);
    }
    assert_int_equal(parse(POST_11 "\r\n", &r), 0);
    assert_int_equal(r.media, HTTP_MEDIA_NONE);
}

static void test_coding_and_expect(void **state)
{
    static const struct {
        const char *value;
        enum http_coding coding;
    } cases[] = {
        {"gzip", HTTP_CODING_GZIP},        {"X-Gzip", HTTP_CODING_GZIP},
        {"ZSTD", HTTP_CODING_ZSTD},        {"identity", HTTP_CODING_IDENTITY},
        {"", HTTP_CODING_IDENTITY},        {"br", HTTP_CODING_OTHER},
        {"gzip, gzip", HTTP_CODING_OTHER}, {"gzip\r\nContent-Encoding: gzip", HTTP_CODING_OTHER},
    };
    struct http_request r;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[256];

        snprintf(text, sizeof(text), POST_11 "Content-Encoding: %s\r\n\r\n", cases[i].value);
        assert_int_equal(parse(text, &r), 0);
        assert_int_equal(r.coding, cases[i].coding);
    }
    assert_int_equal(parse(POST_11 "Expect: 100-Continue\r\n\r\n", &r), 0);
    assert_true(r.expect_continue);
    assert_int_equal(parse(POST_10 "Expect: 100-continue\r\n\r\n", &r), 0);
    assert_false(r.expect_continue);
    assert_int_equal(parse(POST_11 "Expect: something\r\n\r\n", &r), 0);
    assert_false(r.expect_continue);
}

static void test_head_limit(void **state)
{
    static const char text[] = POST_11 "X: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
    const size_t len = sizeof(text) - 1;
    struct http_request r;

    (void)state;
    assert_int_equal(parse_all_prefixes(text, len, len, &r), 0);
    assert_int_equal(parse_all_prefixes(text, len, len - 1, &r), -EMSGSIZE);
    assert_int_equal(parse_all_prefixes(text, len, 10, &r), -EMSGSIZE);
    /* A fault past the limit is not looked at. */
    assert_int_equal(parse_all_prefixes(POST_11 "X: aaaaaaaa\n", sizeof(POST_11) + 10, 40, &r),
                     -EMSGSIZE);
}

static void test_pipelined(void **state)
{
    static const char text[] =
        POST_11 "Content-Length: 2\r\n\r\n{}" POST_11 "Content-Length: 3\r\n\r\n{ }";
    struct http_request r;
    size_t second;

    (void)state;
    assert_int_equal(http_parse_head(text, sizeof(text) - 1, HEAD_MAX, &r), 0);
    second = r.head_len + r.content_length;
    assert_int_equal(http_parse_head(text + second, sizeof(text) - 1 - second, HEAD_MAX, &r), 0);
    assert_int_equal(r.content_length, 3);
    assert_int_equal(second + r.head_len + r.content_length, sizeof(text) - 1);
}

/* ---- Chunked bodies ---- */

/* Squeezes text in steps of step bytes within one buffer. payload and *used receive what came out
 * and went in. */
static int squeeze(const char *text, size_t len, size_t step, char *payload, size_t *payload_len,
                   size_t *used)
{
    struct http_chunked c = {0};
    char *buf = malloc(len + 1);
    size_t out = 0;
    size_t in = 0;
    int rc = 0;

    assert_non_null(buf);
    memcpy(buf, text, len);
    while (rc == 0 && in < len) {
        size_t n = len - in < step ? len - in : step;
        size_t consumed;
        size_t written;

        rc = http_chunked_squeeze(&c, buf + out, buf + in, n, &consumed, &written);
        assert_true(consumed <= n && written <= consumed);
        assert_true(consumed == n || rc != 0);
        in += consumed;
        out += written;
    }
    memcpy(payload, buf, out);
    free(buf);
    *payload_len = out;
    *used = in;
    return rc;
}

/* Checks one body at every step width. */
static void check_body(const char *text, int rc, const char *payload, size_t rest)
{
    size_t len = strlen(text);

    for (size_t step = 1; step <= len; step++) {
        char out[8192];
        size_t n;
        size_t used;
        int got = squeeze(text, len, step, out, &n, &used);

        if (got != rc)
            print_error("<%s> by %zu: %d, expected %d\n", text, step, got, rc);
        assert_int_equal(got, rc);
        if (rc == -EINVAL)
            continue;
        assert_int_equal(used, len - rest);
        assert_int_equal(n, strlen(payload));
        assert_memory_equal(out, payload, n);
    }
}

static void test_chunked_good(void **state)
{
    (void)state;
    check_body("5\r\nhello\r\n0\r\n\r\n", 1, "hello", 0);
    check_body("5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\nPOST /", 1, "hello world", 6);
    check_body("0\r\n\r\n", 1, "", 0);
    check_body("000\r\n\r\n", 1, "", 0);
    check_body("00000000000000000000a\r\n0123456789\r\n0\r\n\r\n", 1, "0123456789", 0);
    check_body("aA\r\n", 0, "", 0);
    check_body("2\r\n\r\n\r\n0\r\n\r\n", 1, "\r\n", 0);
    check_body("3;a=b;c=\"d;\xff\"\r\nabc\r\n0;x\r\n\r\n", 1, "abc", 0);
    check_body("3 \t;a\r\nabc\r\n0\r\n\r\n", 1, "abc", 0);
    check_body("1\r\na\r\n0\r\nTrailer: b\r\nContent-Length: 5\r\nX:\r\n\r\nrest", 1, "a", 4);
    check_body("7fffffffffffffff\r\nabc", 0, "abc", 0);
    check_body("3\r\nab", 0, "ab", 0);
    check_body("3\r\nabc", 0, "abc", 0);
}

static void test_chunked_bad(void **state)
{
    static const char *const bodies[] = {
        "\r\n",
        ";a\r\n",
        " 1\r\na\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        "1\na\r\n",
        "1\r\r\n",
        "1 \r\na\r\n",
        "1 2\r\n",
        "1\t\r\n",
        "1;a\nb\r\n",
        "1;a\x01\r\n",
        "1;a\rb",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na\r0",
        "8000000000000000\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffffff\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "0\r\n folded\r\n",
        "0\r\nX : a\r\n",
        "0\r\nX\r\n",
        "0\r\nX: a\n",
        "0\r\nX: a\rb",
        "0\r\nX: \x7f\r\n",
        "0\r\n:a\r\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        check_body(bodies[i], -EINVAL, "", 0);
}

/* A body "head" + n times 'a' + tail. */
static int squeeze_padded(const char *head, size_t n, const char *tail)
{
    static char text[16384];
    char out[16];
    size_t used;
    size_t len = strlen(head);

    assert_true(len + n + strlen(tail) < sizeof(text));
    memcpy(text, head, len);
    memset(text + len, 'a', n);
    memcpy(text + len + n, tail, strlen(tail) + 1);
    len = strlen(text);
    return squeeze(text, len, 7, out, &n, &used);
}

static void test_chunked_limits(void **state)
{
    (void)state;
    assert_int_equal(squeeze_padded("1;", 252, "\r\nx\r\n0\r\n\r\n"), 1);
    assert_int_equal(squeeze_padded("1;", 253, "\r\nx\r\n0\r\n\r\n"), -EINVAL);
    assert_int_equal(squeeze_padded("0\r\nx:", 4096 - 6, "\r\n\r\n"), 1);
    assert_int_equal(squeeze_padded("0\r\nx:", 4096 - 5, "\r\n\r\n"), -EINVAL);
    assert_int_equal(squeeze_padded("0\r\ny:b\r\nx:", 4096 - 10, "\r\n\r\n"), -EINVAL);
}

static void test_chunked_stays(void **state)
{
    struct http_chunked c = {0};
    char bad[] = "x";
    char good[] = "0\r\n\r\nnext";
    size_t used;
    size_t n;

    (void)state;
    assert_int_equal(http_chunked_squeeze(&c, bad, bad, 1, &used, &n), -EINVAL);
    assert_int_equal(http_chunked_squeeze(&c, good, good, 5, &used, &n), -EINVAL);
    c = (struct http_chunked){0};
    assert_int_equal(http_chunked_squeeze(&c, good, good, 0, &used, &n), 0);
    assert_int_equal(http_chunked_squeeze(&c, good, good, 9, &used, &n), 1);
    assert_int_equal(used, 5);
    assert_int_equal(http_chunked_squeeze(&c, good, good + 5, 4, &used, &n), 1);
    assert_int_equal(used, 0);
}

static void test_decode_segment(void **state)
{
    static const struct {
        const char *in;
        const char *out; /* NULL: refused */
    } cases[] = {
        {"", ""},       {"order", "order"},     {"a%2Fb", "a/b"}, {"%41%6a%6A", "Ajj"},
        {"a+b", "a+b"}, {"%c3%A9", "\xc3\xa9"}, {"%25", "%"},     {"%", NULL},
        {"a%", NULL},   {"%4", NULL},           {"%4g", NULL},    {"%g4", NULL},
        {"%%41", NULL}, {"%00", NULL},          {"%0A", NULL},    {"%1f", NULL},
        {"%7F", NULL},  {"a\x01", NULL},        {"\x7f", NULL},   {"%20", " "},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].in);
        char *in = malloc(len + 1); /* no byte to spare after the segment */
        char *out = malloc(len + 1);
        int rc;

        assert_non_null(in);
        assert_non_null(out);
        memcpy(in + 1, cases[i].in, len);
        rc = http_decode_segment((struct span){in + 1, len}, out + 1);
        if (cases[i].out == NULL) {
            assert_int_equal(rc, -EINVAL);
        } else {
            assert_int_equal(rc, strlen(cases[i].out));
            assert_memory_equal(out + 1, cases[i].out, strlen(cases[i].out));
        }
        free(in);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_head),
        cmocka_unit_test(test_any_order_and_case),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_request_line),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_every_value_byte),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_length_and_transfer),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_media),
        cmocka_unit_test(test_coding_and_expect),
        cmocka_unit_test(test_head_limit),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_chunked_good),
        cmocka_unit_test(test_chunked_bad),
        cmocka_unit_test(test_chunked_limits),
        cmocka_unit_test(test_chunked_stays),
        cmocka_unit_test(test_decode_segment),
    };

    return cmocka_run_group_tests_name("http_parser", tests, NULL, NULL);
}
