/*
 * Goal: a worker allocates nothing after start, whatever it is given, and neither receive buffers
 * nor connections leak.
 *
 * Method: jemalloc's counter, which the worker samples on its own thread every 200 ms, does not
 * move over some 100,000 events on several connections: in Content-Length, chunked and compressed bodies,
 * arrays and lines, dead letters, new types, new connections, with lanes that are full (blocks then
 * go to sinks by way of the disk). Skipped in builds without jemalloc. Refusals are a table of
 * requests and statuses.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "tests/unit/tcore_bed.h"

#define CLIENTS    6
#define EVENTS     100
#define ROUNDS     180
#define BODY_BYTES 65536
#define ANSWER_MS  10000
#define CHURN      400

/* Takes blocks from a lane, slowly enough that it fills now and then. */
struct drain {
    struct lane *lane;
    _Atomic bool stop;
    pthread_t thread;
};

static void *drain_main(void *arg)
{
    struct drain *d = arg;
    struct block *b;

    while (!atomic_load(&d->stop)) {
        while ((b = lane_peek(d->lane)) != NULL) {
            lane_pop(d->lane);
            block_release(b);
        }
        usleep(20000);
    }
    while ((b = lane_peek(d->lane)) != NULL) {
        lane_pop(d->lane);
        block_release(b);
    }
    return NULL;
}

/* A body of EVENTS documents; kinds take turns. */
static size_t body_make(char *out, int round, int client)
{
    bool array = round % 3 == 1;
    size_t len = 0;

    if (array)
        out[len++] = '[';
    for (int i = 0; i < EVENTS; i++) {
        const char *end = array ? (i + 1 < EVENTS ? "," : "]") : "\n";

        if (!array && i == 7)
            len += (size_t)snprintf(out + len, BODY_BYTES - len, "{broken %d\n", i);
        else if (i == 11)
            len += (size_t)snprintf(out + len, BODY_BYTES - len,
                                    "{\"event_type\":\"order\",\"total\":\"x\"}%s", end);
        else if (i == 13)
            len += (size_t)snprintf(out + len, BODY_BYTES - len,
                                    "{\"event_type\":\"new-%d-%d\",\"event_date\":1}%s", round,
                                    client, end);
        else if (i % 2 == 0)
            len += (size_t)snprintf(
                out + len, BODY_BYTES - len,
                "{\"event_type\":\"order\",\"order_id\":\"%d\",\"more\":{\"a\":[1]}}%s", i, end);
        else
            len += (size_t)snprintf(out + len, BODY_BYTES - len,
                                    "{\"event_type\":\"click\",\"timestamp\":%d,\"url\":\"/%d\"}%s",
                                    1700000000 + round, i, end);
    }
    return len;
}

static void post_chunked(int fd, const char *body, size_t len)
{
    static const char head[] =
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    size_t piece = len / 3 + 1;
    char line[32];

    assert_true(tcore_send(fd, head, sizeof(head) - 1));
    for (size_t at = 0; at < len; at += piece) {
        size_t n = len - at < piece ? len - at : piece;

        snprintf(line, sizeof(line), "%zx\r\n", n);
        assert_true(tcore_send(fd, line, strlen(line)) && tcore_send(fd, body + at, n) &&
                    tcore_send(fd, "\r\n", 2));
    }
    assert_true(tcore_send(fd, "0\r\n\r\n", 5));
}

/* By zlib or zstd, which allocate on this thread, not on the worker. */
static void post_packed(int fd, const char *body, size_t len, bool zstd)
{
    char *packed = malloc(BODY_BYTES), head[200];
    z_stream z = {.next_in = (Bytef *)(uintptr_t)body,
                  .avail_in = (uInt)len,
                  .next_out = (Bytef *)packed,
                  .avail_out = BODY_BYTES};
    size_t n;

    assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    n = zstd ? ZSTD_compress(packed, BODY_BYTES, body, len, 1) : BODY_BYTES - z.avail_out;
    deflateEnd(&z);
    snprintf(head, sizeof(head),
             "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Encoding: %s\r\n"
             "Content-Length: %zu\r\n\r\n",
             zstd ? "zstd" : "gzip", n);
    assert_true(tcore_send(fd, head, strlen(head)) && tcore_send(fd, packed, n));
    free(packed);
}

static void run_rounds(struct tcore_bed *b, int *fd, int from, int to)
{
    char *body = malloc(BODY_BYTES);

    for (int round = from; round < to; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            size_t len = body_make(body, round, i);

            if (i % 3 == 2)
                post_chunked(fd[i], body, len);
            else if (i % 3 == 1)
                post_packed(fd[i], body, len, round % 2 == 0);
            else
                tcore_post(fd[i], "/v1/events", body, len);
        }
        for (int i = 0; i < CLIENTS; i++)
            assert_int_equal(tcore_answer(fd[i], NULL, 0, ANSWER_MS), 200);
        if (round % 10 == 0) {
            close(fd[0]);
            fd[0] = tcore_connect(b);
        }
    }
    free(body);
}

/* The counter after two more samples have surely been taken. */
static uint64_t malloc_sample(const struct tcore_bed *b)
{
    usleep(600000);
    return atomic_load(&worker_stats(b->worker)->malloc_bytes);
}

static void test_no_malloc(void **state)
{
#ifdef PENSTOCK_NO_JEMALLOC
    (void)state;
    print_message("built without jemalloc: its counter cannot be read\n");
    skip();
#else
    struct tcore_bed b;
    struct drain d = {0};
    const struct worker_stats *s;
    int fd[CLIENTS], wake = eventfd(0, EFD_CLOEXEC);
    uint64_t before, events;

    (void)state;
    tcore_bed_init(&b, false);
    b.config.lane_blocks_max = 3;
    b.config.types_max = 8192;
    b.journal_config.limit_bytes = 256u << 20;
    assert_int_equal(lane_create(2, wake, &d.lane), 0);
    b.lane[b.n_lanes++] = d.lane;
    tcore_bed_start(&b);
    assert_int_equal(pthread_create(&d.thread, NULL, drain_main, &d), 0);
    for (int i = 0; i < CLIENTS; i++)
        fd[i] = tcore_connect(&b);
    s = worker_stats(b.worker);
    run_rounds(&b, fd, 0, 5);
    before = malloc_sample(&b);
    events = atomic_load(&s->durable_events);
    assert_true(before > 0); /* the counter is alive: start-up allocates */
    run_rounds(&b, fd, 5, 5 + ROUNDS);
    assert_int_equal(malloc_sample(&b), before);
    assert_true(atomic_load(&s->durable_events) - events == (uint64_t)ROUNDS * CLIENTS * EVENTS);
    assert_true(atomic_load(&s->dead_letters) > 1000 && atomic_load(&s->lane_skips) > 0);
    for (int i = 0; i < CLIENTS; i++)
        close(fd[i]);
    worker_stop(b.worker);
    atomic_store(&d.stop, true);
    pthread_join(d.thread, NULL);
    tcore_bed_fini(&b);
    lane_destroy(d.lane);
    close(wake);
#endif
}

/* Many more connections and ends than there are receive buffers and slots. */
static void test_churn(void **state)
{
    static const char body[] = "{\"event_type\":\"click\"}";
    struct tcore_bed b;

    (void)state;
    tcore_bed_init(&b, false);
    b.config.receive_buffers = 4;
    b.config.connections_max = 8;
    tcore_bed_start(&b);
    for (int i = 0; i < CHURN; i++) {
        int fd = tcore_connect(&b);

        if (i % 3 == 0)
            tcore_post(fd, "/v1/events", body, sizeof(body) - 1);
        else if (i % 3 == 1)
            assert_true(tcore_send(fd, "POST /v1/ev", 11));
        if (i % 3 == 0)
            assert_int_equal(tcore_answer(fd, NULL, 0, ANSWER_MS), 200);
        close(fd);
        while (atomic_load(&worker_stats(b.worker)->connections) > 4)
            usleep(200);
    }
    assert_true(tcore_wait(&worker_stats(b.worker)->reason[REASON_TRUNCATED], CHURN / 3, 2000));
    assert_int_equal(atomic_load(&worker_stats(b.worker)->reason[REASON_CONNECTIONS]), 0);
    tcore_bed_fini(&b);
}

/* Three requests in one send, the last in two pieces: three answers in order. */
static void test_pipelining(void **state)
{
    static const char one[] =
        "POST /v1/events/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    static const char bad[] = "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n[1}";
    char text[3 * sizeof(one) + sizeof(bad)];
    size_t len;
    struct tcore_bed b;
    int fd;

    (void)state;
    tcore_bed_init(&b, false);
    tcore_bed_start(&b);
    fd = tcore_connect(&b);
    len = (size_t)snprintf(text, sizeof(text), "%s%s%s", one, bad, one);
    assert_true(tcore_send(fd, text, len - 9));
    assert_int_equal(tcore_answer(fd, NULL, 0, ANSWER_MS), 200);
    assert_int_equal(tcore_answer(fd, NULL, 0, ANSWER_MS), 400);
    usleep(20000);
    assert_true(tcore_send(fd, text + len - 9, 9));
    assert_int_equal(tcore_answer(fd, NULL, 0, ANSWER_MS), 200);
    close(fd);
    tcore_bed_fini(&b);
}

static const struct {
    const char *request;
    int status;
} refusals[] = {
    {"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", 405},
    {"POST /v1/event HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 404},
    {"POST /v1/events/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 404},
    {"POST /v1/events/%FF HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 400},
    {"POST /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", 411},
    {"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n", 413},
    {"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: text/html\r\nContent-Length: "
     "2\r\n\r\n{}",
     415},
    {"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
     415},
    {"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n  ", 400},
    {"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[1", 400},
    {"POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
    {"\x16\x03\x01\r\n\r\n", 400},
};

static void test_refusals(void **state)
{
    struct tcore_bed b;

    (void)state;
    tcore_bed_init(&b, false);
    tcore_bed_start(&b);
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        int fd = tcore_connect(&b);
        int status;

        assert_true(tcore_send(fd, refusals[i].request, strlen(refusals[i].request)));
        status = tcore_answer(fd, NULL, 0, ANSWER_MS);
        if (status != refusals[i].status)
            fail_msg("%s: %d", refusals[i].request, status);
        close(fd);
    }
    assert_int_equal(atomic_load(&worker_stats(b.worker)->durable_events), 0);
    tcore_bed_fini(&b);
}

/* The journal's limit is 429, and no longer one when space is freed. Draining is 503. */
static void test_full_and_draining(void **state)
{
    char *body = malloc(BODY_BYTES);
    struct tcore_bed b;
    int fd, status = 200, sent = 0;

    (void)state;
    memset(body, 'x', BODY_BYTES);
    memcpy(body, "{\"event_type\":\"click\",\"pad\":\"", 29);
    memcpy(body + BODY_BYTES - 2, "\"}", 2);
    tcore_bed_init(&b, false);
    b.journal_config.limit_bytes = 6 * TCORE_SEGMENT_BYTES;
    tcore_bed_start(&b);
    fd = tcore_connect(&b);
    for (; status != 429 && sent < 2000; sent++) {
        tcore_post(fd, "/v1/events", body, BODY_BYTES);
        status = tcore_answer(fd, NULL, 0, ANSWER_MS);
        if (status == 503) /* the keeper is at it */
            usleep(2000);
    }
    assert_int_equal(status, 429);
    assert_true(sent > 100);
    atomic_store(&b.free_lsn, journal_durable(b.journal));
    for (int i = 0; i < 500 && status != 200; i++) {
        usleep(2000);
        tcore_post(fd, "/v1/events", body, BODY_BYTES);
        status = tcore_answer(fd, NULL, 0, ANSWER_MS);
    }
    assert_int_equal(status, 200);
    worker_drain(b.worker);
    tcore_post(fd, "/v1/events", body, 100);
    assert_int_equal(tcore_answer(fd, NULL, 0, ANSWER_MS), 503);
    for (int i = 0; i < 1000 && !worker_drained(b.worker); i++)
        usleep(2000);
    assert_true(worker_drained(b.worker));
    close(fd);
    free(body);
    tcore_bed_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_malloc),         cmocka_unit_test(test_churn),
        cmocka_unit_test(test_pipelining),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_full_and_draining),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
