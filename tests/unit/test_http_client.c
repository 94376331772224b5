/*
 * Goal: calls end exactly once with what came back, connections are kept, bodies go out whole from
 * many parts, and bad answers, silence and cancellation do no harm. Method: the scripted server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <curl/curl.h>

/* The client under test on a curl that fails on demand; the library's own copy is not linked then.
 */
static bool curl_fails;

static CURLMcode socket_action(CURLM *m, curl_socket_t s, int what, int *running)
{
    if (curl_fails) {
        curl_fails = false;
        *running = 0;
        return CURLM_OUT_OF_MEMORY;
    }
    return curl_multi_socket_action(m, s, what, running);
}

#define curl_multi_socket_action socket_action
#include "sinks/engine/http.c"
#undef curl_multi_socket_action

#include "dataplane/base/clock.h"
#include "sinks/engine/http.h"
#include "tests/unit/tcloud_bed.h"
#include "tests/unit/tcloud_server.h"

#define CALLS_MAX 64

struct one {
    struct http_call call;
    char url[128];
    uint32_t n;
    int status;
    int64_t retry_after_s;
    char error[256];
    char body[256];
    char location[128];
    char range[128];
    struct one *cancels;
    struct one *starts;
};

static struct tcloud_bed bed;
static struct tcloud_server *server;
static struct one calls[CALLS_MAX];
static bool over;
static uint32_t left;

static void keep(struct span s, char *out, size_t size)
{
    size_t n = s.len < size - 1 ? s.len : size - 1;

    if (n > 0)
        memcpy(out, s.ptr, n);
    out[n] = '\0';
}

static void on_done(struct http_call *c, const struct http_answer *a)
{
    struct one *o = container_of(c, struct one, call);

    o->n++;
    o->status = a->status;
    o->retry_after_s = a->retry_after_s;
    assert_true((a->status == 0) == (a->error != NULL));
    snprintf(o->error, sizeof(o->error), "%s", a->error != NULL ? a->error : "");
    keep(a->body, o->body, sizeof(o->body));
    keep(a->location, o->location, sizeof(o->location));
    keep(a->range, o->range, sizeof(o->range));
    if (a->body.ptr != NULL)
        assert_int_equal(a->body.ptr[a->body.len + 63], 0); /* padding is readable */
    if (o->cancels != NULL)
        http_call_cancel(bed.http, &o->cancels->call);
    if (o->starts != NULL)
        assert_int_equal(http_call_start(bed.http, &o->starts->call), 0);
    over = --left == 0;
}

static struct one *prepare(uint32_t i, const char *method, const char *path)
{
    struct one *o = &calls[i];

    *o = (struct one){.call = {.method = method, .url = o->url, .done = on_done}};
    snprintf(o->url, sizeof(o->url), "%s%s", tcloud_server_url(server), path);
    return o;
}

static void begin(const struct tcloud_step *steps, uint32_t n, uint32_t stall_ms)
{
    server = tcloud_server_start(steps, n);
    tcloud_bed_init(&bed, stall_ms);
    over = false;
    left = 1;
}

static void end(void)
{
    tcloud_bed_fini(&bed);
    tcloud_server_stop(server);
}

static struct one *run_one(struct one *o)
{
    over = false;
    left = 1;
    assert_int_equal(http_call_start(bed.http, &o->call), 0);
    assert_true(tcloud_bed_run(&bed, &over));
    assert_int_equal(o->n, 1);
    assert_null(o->call._handle);
    return o;
}

static void test_get(void **state)
{
    static const struct tcloud_step steps[] = {
        {.status = 200, .body = "{\"a\":1}"},
        {.status = 308, .headers = "Range: bytes=0-41\r\nLocation:  http://x/y \r\n"},
        {.status = 503, .headers = "Retry-After: 17\r\n", .body = "busy"},
        {.status = 503, .headers = "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"},
    };
    static const char *const headers[] = {"X-One: 1", "X-Two: 2", NULL};
    struct one *o;

    (void)state;
    begin(steps, 4, 2000);
    o = prepare(0, "GET", "/a?b=c");
    o->call.headers = headers;
    run_one(o);
    assert_int_equal(o->status, 200);
    assert_string_equal(o->body, "{\"a\":1}");
    assert_int_equal(o->retry_after_s, -1);
    assert_string_equal(o->location, "");
    assert_string_equal(tcloud_server_seen(server, 0)->path, "/a?b=c");
    assert_non_null(strstr(tcloud_server_seen(server, 0)->headers, "X-Two: 2\r\n"));
    assert_non_null(
        strstr(tcloud_server_seen(server, 0)->headers, "User-Agent: penstock/test\r\n"));
    o = run_one(prepare(0, "GET", "/")); /* a redirect is an answer */
    assert_int_equal(o->status, 308);
    assert_string_equal(o->range, "bytes=0-41");
    assert_string_equal(o->location, "http://x/y");
    o = run_one(prepare(0, "GET", "/"));
    assert_int_equal(o->status, 503);
    assert_int_equal(o->retry_after_s, 17);
    assert_string_equal(o->location, "");
    o = run_one(prepare(0, "GET", "/"));
    assert_int_equal(o->retry_after_s, -1);
    assert_int_equal(tcloud_server_connections(server), 1); /* kept alive */
    end();
}

static void test_methods(void **state)
{
    static const struct tcloud_step steps[] = {
        {.status = 200}, {.status = 200}, {.status = 204}, {.status = 200}};
    struct iovec body = {.iov_base = (char *)"{}", .iov_len = 2};
    static const char *const methods[] = {"POST", "PATCH", "DELETE", "POST"};

    (void)state;
    begin(steps, 4, 2000);
    for (uint32_t i = 0; i < 4; i++) {
        struct one *o = prepare(0, methods[i], "/");

        if (i < 2) {
            o->call.body = &body;
            o->call.body_parts = 1;
            o->call.body_bytes = 2;
        }
        run_one(o);
        assert_int_equal(o->status, i == 2 ? 204 : 200);
        assert_string_equal(tcloud_server_seen(server, i)->method, methods[i]);
        assert_string_equal(tcloud_server_seen(server, i)->body, i < 2 ? "{}" : "");
    }
    end();
}

/* Many parts, empty ones too; larger than any buffer on the way. */
static void test_body_parts(void **state)
{
    static const struct tcloud_step steps[] = {{.status = 200}, {.status = 200}};
    static char page[100000];
    struct iovec body[50];
    struct one *o;

    (void)state;
    begin(steps, 2, 2000);
    o = prepare(0, "POST", "/");
    for (uint32_t i = 0; i < 50; i++) {
        body[i] = (struct iovec){.iov_base = page, .iov_len = i % 5 == 0 ? 0 : sizeof(page) - i};
        o->call.body_bytes += body[i].iov_len;
    }
    memset(page, 'p', sizeof(page));
    o->call.body = body;
    o->call.body_parts = 50;
    run_one(o);
    assert_int_equal(o->status, 200);
    assert_int_equal(tcloud_server_seen(server, 0)->body_len, o->call.body_bytes);
    assert_null(strcasestr(tcloud_server_seen(server, 0)->headers, "expect"));
    end();
}

/* The server closed a kept connection: curl rewinds and sends the body again on a new one. */
static void test_rewind(void **state)
{
    static const struct tcloud_step steps[] = {{.act = TCLOUD_CLOSE, .status = 200},
                                               {.status = 200}};
    struct iovec body[3] = {{.iov_base = (char *)"ab", .iov_len = 2},
                            {.iov_base = (char *)"cde", .iov_len = 3},
                            {.iov_base = (char *)"f", .iov_len = 1}};

    (void)state;
    begin(steps, 2, 2000);
    for (uint32_t i = 0; i < 2; i++) {
        struct one *o = prepare(0, "POST", "/");

        o->call.body = body;
        o->call.body_parts = 3;
        o->call.body_bytes = 6;
        run_one(o);
        assert_int_equal(o->status, 200);
        assert_string_equal(tcloud_server_seen(server, i)->body, "abcdef");
    }
    end();
}

static void test_bad_answers(void **state)
{
    static const struct tcloud_step steps[] = {
        {.act = TCLOUD_LOSE},
        {.act = TCLOUD_TRUNCATE, .status = 200, .body = "{\"half\":"},
        {.act = TCLOUD_ENDLESS},
        {.act = TCLOUD_LOSE},
        {.status = 200, .body = "fine"}};
    struct one *o;

    (void)state;
    begin(steps, 5, 2000);
    for (int i = 0; i < 4; i++) {
        o = run_one(prepare(0, "GET", "/"));
        assert_int_equal(o->status, 0);
        assert_true(o->error[0] != '\0');
        if (i == 2)
            assert_string_equal(o->error, "the answer is longer than 4 MiB");
    }
    o = run_one(prepare(0, "GET", "/"));
    assert_string_equal(o->body, "fine");
    end();
}

static void test_reset_mid_upload(void **state)
{
    static const struct tcloud_step steps[] = {{.act = TCLOUD_RESET}, {.status = 200}};
    static char page[4 << 20];
    struct iovec body = {.iov_base = page, .iov_len = sizeof(page)};

    (void)state;
    begin(steps, 2, 2000);
    for (int i = 0; i < 2; i++) {
        struct one *o = prepare(0, "POST", "/");

        o->call.body = &body;
        o->call.body_parts = 1;
        o->call.body_bytes = sizeof(page);
        run_one(o);
        assert_int_equal(o->status, i == 0 ? 0 : 200);
    }
    assert_int_equal(tcloud_server_seen(server, 1)->body_len, sizeof(page));
    end();
}

static void test_refused(void **state)
{
    struct one *o;

    (void)state;
    begin(NULL, 0, 2000);
    o = prepare(0, "GET", "/");
    snprintf(o->url, sizeof(o->url), "http://127.0.0.1:1/");
    run_one(o);
    assert_int_equal(o->status, 0);
    assert_non_null(strcasestr(o->error, "connect"));
    o = prepare(0, "GET", "/");
    snprintf(o->url, sizeof(o->url), "ftp://127.0.0.1/");
    run_one(o);
    assert_int_equal(o->status, 0);
    end();
}

/* Environment proxies never stand between us and a local emulator. */
static void test_no_proxy_for_loopback(void **state)
{
    static const struct tcloud_step steps[] = {{.status = 200}};

    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    begin(steps, 1, 2000);
    assert_int_equal(run_one(prepare(0, "GET", "/"))->status, 200);
    end();
    unsetenv("http_proxy");
    unsetenv("all_proxy");
}

static void test_stall(void **state)
{
    static const struct tcloud_step steps[] = {{.act = TCLOUD_STALL},
                                               {.act = TCLOUD_SLOW, .status = 200}};
    int64_t start_us;
    struct one *o;

    (void)state;
    begin(steps, 2, 300);
    start_us = clock_monotonic_us();
    o = run_one(prepare(0, "GET", "/"));
    assert_int_equal(o->status, 0);
    assert_string_equal(o->error, "timed out: no byte for stall_timeout");
    assert_in_range(clock_monotonic_us() - start_us, 250000, 2000000);
    o = run_one(prepare(0, "GET", "/")); /* slow, but within the limit */
    assert_int_equal(o->status, 200);
    end();
}

static void test_whole_timeout(void **state)
{
    static const struct tcloud_step steps[] = {{.status = 200}, {.act = TCLOUD_STALL}};
    struct one *o;

    (void)state;
    begin(steps, 2, 5000);
    run_one(prepare(0, "GET", "/"));
    o = prepare(0, "GET", "/"); /* on a kept connection */
    o->call.timeout_ms = 100;
    run_one(o);
    assert_int_equal(o->status, 0);
    assert_non_null(strstr(o->error, "timed out"));
    end();
}

/* More calls than connections: they wait for their turn, and waiting does not count as a stall. */
static void test_many(void **state)
{
    static struct tcloud_step steps[40];

    (void)state;
    for (int i = 0; i < 40; i++)
        steps[i] = (struct tcloud_step){.act = TCLOUD_SLOW, .status = 200, .body = "ok"};
    begin(steps, 40, 400);
    left = 40;
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(http_call_start(bed.http, &prepare(i, "GET", "/")->call), 0);
    assert_true(tcloud_bed_run(&bed, &over));
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(calls[i].n, 1);
        assert_int_equal(calls[i].status, 200);
    }
    assert_true(tcloud_server_connections(server) <= 4);
    end();
}

/* done may cancel another call and start a new one. */
static void test_within_done(void **state)
{
    static const struct tcloud_step steps[] = {
        {.status = 200}, {.act = TCLOUD_STALL}, {.status = 201}, {.status = 201}};
    struct one *first, *victim, *next;

    (void)state;
    begin(steps, 4, 2000);
    run_one(prepare(3, "GET", "/"));
    victim = prepare(1, "GET", "/victim");
    next = prepare(2, "GET", "/next");
    first = prepare(0, "GET", "/first");
    first->cancels = victim;
    first->starts = next;
    assert_int_equal(http_call_start(bed.http, &victim->call), 0);
    for (int i = 0; i < 200 && tcloud_server_count(server) < 2; i++)
        (void)loop_run_once(bed.loop, 5000);
    over = false;
    left = 2;
    assert_int_equal(http_call_start(bed.http, &first->call), 0);
    assert_true(tcloud_bed_run(&bed, &over));
    assert_int_equal(victim->n, 0);
    assert_null(victim->call._handle);
    assert_int_equal(first->status, 201);
    assert_int_equal(next->status, 201);
    http_call_cancel(bed.http, &victim->call); /* again: fine */
    end();
}

/* The client goes away with calls in every phase. */
static void test_destroy(void **state)
{
    static const struct tcloud_step steps[8] = {{.act = TCLOUD_STALL}, {.act = TCLOUD_STALL},
                                                {.act = TCLOUD_STALL}, {.act = TCLOUD_STALL},
                                                {.act = TCLOUD_STALL}, {.act = TCLOUD_STALL}};

    (void)state;
    for (int turns = 0; turns < 8; turns++) {
        begin(steps, 8, 2000);
        for (uint32_t i = 0; i < 8; i++)
            assert_int_equal(http_call_start(bed.http, &prepare(i, "GET", "/")->call), 0);
        for (int i = 0; i < turns; i++)
            (void)loop_run_once(bed.loop, 2000);
        end();
        for (uint32_t i = 0; i < 8; i++)
            assert_int_equal(calls[i].n, 0);
    }
}

/* curl runs out of memory: every call under way ends, and the client goes on. */
static void test_curl_error(void **state)
{
    static const struct tcloud_step steps[] = {
        {.act = TCLOUD_STALL}, {.act = TCLOUD_STALL}, {.status = 200}, {.status = 200}};

    (void)state;
    begin(steps, 4, 2000);
    left = 3;
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(http_call_start(bed.http, &prepare(i, "GET", "/")->call), 0);
    calls[1].starts = prepare(2, "GET", "/"); /* within done: not one of those that end */
    for (int i = 0; i < 400 && tcloud_server_count(server) < 2; i++)
        (void)loop_run_once(bed.loop, 5000);
    curl_fails = true;
    assert_int_equal(http_call_start(bed.http, &prepare(3, "GET", "/")->call), 0);
    left = 4;
    assert_true(tcloud_bed_run(&bed, &over));
    assert_false(curl_fails);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(calls[i].n, 1);
        assert_int_equal(calls[i].status, i == 2 ? 200 : 0);
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),         cmocka_unit_test(test_methods),
        cmocka_unit_test(test_body_parts),  cmocka_unit_test(test_rewind),
        cmocka_unit_test(test_bad_answers), cmocka_unit_test(test_reset_mid_upload),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_no_proxy_for_loopback),
        cmocka_unit_test(test_stall),       cmocka_unit_test(test_whole_timeout),
        cmocka_unit_test(test_many),        cmocka_unit_test(test_within_done),
        cmocka_unit_test(test_destroy),     cmocka_unit_test(test_curl_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
