/*
 * Goal: a count on an acknowledged TCP stream never precedes the flush that covers it; streams that
 * find no room hold what they have read, hold up nobody else, and lose nothing; those that meet a refused
 * type hold nothing; a worker allocates nothing for them.
 *
 * Method: a real worker, real sockets, and a disk that holds each journal write until the test lets
 * it go, so that "not durable yet" lasts as long as the test wants. What is in the journal is read
 * back at the end.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/live.h"
#include "dataplane/base/log.h"
#include "tests/unit/tcore_bed.h"

#define QUIET_MS  25
#define ANSWER_MS 10000
#define CLIENTS   24 /* three times the receive buffers */
#define LINES     600
#define BIG_BYTES 70000 /* more than a block, and more than a receive buffer */

/* Reads counts until one is at least want. @return the last one. */
static uint64_t read_count(int fd, uint64_t want)
{
    uint64_t count = 0, value = 0;

    while (count < want) {
        char c;

        assert_true(tcore_readable(fd, ANSWER_MS));
        assert_int_equal(recv(fd, &c, 1, 0), 1);
        if (c == '\n') {
            assert_true(value > count); /* it only rises */
            count = value;
            value = 0;
        } else {
            assert_true(c >= '0' && c <= '9');
            value = value * 10 + (uint64_t)(c - '0');
        }
    }
    return count;
}

static void send_line(int fd, size_t bytes, const char *end)
{
    char *line = malloc(bytes + 100);
    int n = snprintf(line, 60, "{\"event_type\":\"click\",\"pad\":\"");

    memset(line + n, 'x', bytes);
    n += (int)bytes;
    n += snprintf(line + n, 30, "\"}%s", end);
    assert_true(tcore_send(fd, line, (size_t)n));
    free(line);
}

static void wait_held(struct tcore_bed *b, unsigned n)
{
    int64_t end_us = clock_monotonic_us() + ANSWER_MS * 1000;

    while (tcore_held(b->disk) < n) {
        assert_true(clock_monotonic_us() < end_us);
        usleep(300);
    }
}

static void count_event(void *ctx, const struct block_view *v, const struct block_run *run,
                        const struct block_entry *e)
{
    (void)v;
    (void)e;
    *(uint64_t *)ctx += run->kind == BLOCK_EVENT;
}

static uint64_t events_in_journal(struct tcore_bed *b)
{
    uint64_t n = 0;

    tcore_bed_stop(b);
    assert_true(tcore_bed_read(b, count_event, &n) >= 0);
    return n;
}

static void test_no_count_while_held(void **state)
{
    struct tcore_bed b;
    int fd;

    (void)state;
    tcore_bed_init(&b, true);
    tcore_bed_start(&b);
    fd = tcore_connect_port(b.acked_port);
    for (uint64_t i = 0; i < 20; i++) {
        tcore_hold(b.disk, true);
        send_line(fd, 20, "\n");
        wait_held(&b, 1);
        assert_false(tcore_readable(fd, QUIET_MS));
        tcore_release_all(b.disk);
        assert_int_equal(read_count(fd, i + 1), i + 1);
    }
    close(fd);
    assert_int_equal(events_in_journal(&b), 20);
    tcore_bed_fini(&b);
}

/* The second write ends first: there is a hole in front of it. Empty lines wait with the line before
 * them. */
static void test_hole(void **state)
{
    struct tcore_bed b;
    int fd;

    (void)state;
    tcore_bed_init(&b, true);
    tcore_bed_start(&b);
    fd = tcore_connect_port(b.acked_port);
    send_line(fd, 20, "\n");
    assert_int_equal(read_count(fd, 1), 1);
    tcore_hold(b.disk, true);
    send_line(fd, 20, "\n\n\n");
    wait_held(&b, 1);
    send_line(fd, BIG_BYTES, "\n");
    wait_held(&b, 2);
    tcore_release(b.disk, 1);
    assert_false(tcore_readable(fd, QUIET_MS));
    tcore_release_all(b.disk);
    assert_int_equal(read_count(fd, 5), 5);
    tcore_bed_fini(&b);
    close(fd);
}

/* A failed write promises nothing, and its lines are confirmed when they are durable elsewhere. */
static void test_write_fails(void **state)
{
    struct tcore_bed b;
    int fd;

    (void)state;
    tcore_bed_init(&b, true);
    tcore_bed_start(&b);
    fd = tcore_connect_port(b.acked_port);
    send_line(fd, 20, "\n");
    assert_int_equal(read_count(fd, 1), 1);
    tcore_hold(b.disk, true);
    tcore_fail_async(b.disk, 1, 1, TCORE_FAILED);
    send_line(fd, 20, "\n");
    wait_held(&b, 1);
    tcore_release(b.disk, 0);
    wait_held(&b, 1); /* the successor's header */
    send_line(fd, 20, "\n");
    assert_false(tcore_readable(fd, QUIET_MS));
    tcore_release_all(b.disk);
    assert_int_equal(read_count(fd, 3), 3);
    close(fd);
    assert_int_equal(events_in_journal(&b), 3);
    tcore_bed_fini(&b);
}

/* More streams than buffers, all with long lines, while nothing becomes durable: all wait, none is
 * closed, HTTP goes on, and afterwards everything is there. */
static void test_no_room(void **state)
{
    struct tcore_bed b;
    int fd[CLIENTS], http;

    (void)state;
    tcore_bed_init(&b, true);
    b.config.blocks = 8;
    b.config.lane_blocks_max = 1;
    tcore_bed_start(&b);
    http = tcore_connect(&b);
    tcore_hold(b.disk, true);
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = tcore_connect_port(i % 2 ? b.acked_port : b.tcp_port);
        for (int j = 0; j < 3; j++)
            send_line(fd[i], BIG_BYTES / 2, "\n");
        send_line(fd[i], 10, i % 3 ? "\n" : "");
    }
    assert_true(tcore_wait(&worker_stats(b.worker)->tcp_waiting, 1, ANSWER_MS));
    tcore_post(http, "/v2", "{}", 2); /* is still heard */
    assert_int_equal(tcore_answer(http, NULL, 0, ANSWER_MS), 404);
    for (int i = 0; i < CLIENTS; i++) /* also of those whose bytes wait in the kernel */
        assert_int_equal(shutdown(fd[i], SHUT_WR), 0);
    tcore_release_all(b.disk);
    for (int i = 1; i < CLIENTS; i += 2)
        assert_int_equal(read_count(fd[i], 4), 4);
    assert_true(tcore_wait(&worker_stats(b.worker)->durable_events, 4 * CLIENTS, ANSWER_MS));
    assert_int_equal(atomic_load(&worker_stats(b.worker)->tcp_waiting), 0);
    for (int i = 0; i < CLIENTS; i++)
        close(fd[i]);
    close(http);
    assert_int_equal(events_in_journal(&b), 4 * CLIENTS);
    tcore_bed_fini(&b);
}

/* ---- turns ---- */

#define MODEST       63
#define MODEST_LINES 100
#define LINE_BYTES   1000
#define TURN_BYTES   65536 /* that a receive brings at most */
#define TURNS_MAX    8

/* One line of LINE_BYTES. */
static void line_write(char *out, const char *type)
{
    char text[LINE_BYTES + 1];
    int head = snprintf(text, sizeof(text), "{\"event_type\":\"%s\",\"pad\":\"", type);

    memset(text + head, 'x', (size_t)(LINE_BYTES - head));
    memcpy(text + LINE_BYTES - 3, "\"}\n", 3);
    memcpy(out, text, LINE_BYTES);
}

/* Sends as fast as it can until the other side is gone. */
static void *send_greedily(void *arg)
{
    static char lines[64 * LINE_BYTES];

    for (int i = 0; i < 64; i++)
        line_write(lines + (size_t)i * LINE_BYTES, "greedy");
    while (tcore_send(*(const int *)arg, lines, sizeof(lines)))
        ;
    return NULL;
}

/* Where lines lie in the journal. */
static struct {
    lsn_t first, last; /* of the modest ones */
    unsigned n;
    lsn_t greedy[100000];
    unsigned n_greedy;
} places;

static void note_place(void *ctx, const struct block_view *v, const struct block_run *run,
                       const struct block_entry *e)
{
    lsn_t at = v->header->lsn + e->offset;

    (void)ctx;
    if (run->kind != BLOCK_EVENT) /* a line of the greedy one that its end has cut */
        return;
    if (span_equal(block_run_name(v, run), span_of("greedy"))) {
        assert_true(places.n_greedy < ARRAY_LEN(places.greedy));
        places.greedy[places.n_greedy++] = at;
        return;
    }
    places.first = places.n == 0 || at < places.first ? at : places.first;
    places.last = at > places.last ? at : places.last;
    places.n++;
}

static const struct worker_type *type_of(const struct tcore_bed *b, const char *type)
{
    uint32_t n;
    const struct worker_type *t = worker_types(b->worker, &n);

    for (uint32_t i = 0; i < n; i++) {
        if (span_equal((struct span){t[i].name, t[i].name_len}, span_of(type)))
            return &t[i];
    }
    return NULL;
}

static uint64_t events_of(const struct tcore_bed *b, const char *type)
{
    const struct worker_type *t = type_of(b, type);

    return t != NULL ? atomic_load(&t->events) : 0;
}

static uint64_t refused_of(const struct tcore_bed *b, const char *type)
{
    const struct worker_type *t = type_of(b, type);

    return t != NULL ? atomic_load(&t->refused) : 0;
}

static void modest_send(const struct tcore_bed *b, int fd[MODEST])
{
    static char lines[MODEST_LINES * LINE_BYTES];

    for (int i = 0; i < MODEST_LINES; i++)
        line_write(lines + (size_t)i * LINE_BYTES, "modest");
    for (int i = 0; i < MODEST; i++) {
        fd[i] = tcore_connect_port(b->tcp_port);
        assert_true(tcore_send(fd[i], lines, sizeof(lines)));
    }
}

/* One stream that never stops sending, 63 that each have some more than a receive takes, and a single
 * buffer: between the first and the last of the others' lines it had its turns and no more. */
static void test_turns(void **state)
{
    struct tcore_bed b;
    unsigned between = 0;
    pthread_t thread;
    int greedy, fd[MODEST];

    (void)state;
    memset(&places, 0, sizeof(places));
    tcore_bed_init(&b, true);
    b.config.stream_buffers = 1;
    b.config.blocks = 8;
    b.config.lane_blocks_max = 1;
    tcore_bed_start(&b);
    tcore_hold(b.disk, true);
    greedy = tcore_connect_port(b.tcp_port);
    assert_int_equal(pthread_create(&thread, NULL, send_greedily, &greedy), 0);
    assert_true(tcore_wait(&worker_stats(b.worker)->tcp_waiting, 1, ANSWER_MS));
    modest_send(&b, fd);
    assert_true(tcore_wait(&worker_stats(b.worker)->recv_no_buffer, MODEST, ANSWER_MS));
    tcore_release_all(b.disk);
    for (int64_t end = clock_monotonic_us() + ANSWER_MS * 1000;
         events_of(&b, "modest") < MODEST * MODEST_LINES && clock_monotonic_us() < end;)
        usleep(500);
    shutdown(greedy, SHUT_RDWR);
    pthread_join(thread, NULL);
    for (int i = 0; i < MODEST; i++)
        close(fd[i]);
    close(greedy);
    tcore_bed_stop(&b);
    assert_true(tcore_bed_read(&b, note_place, NULL) >= 0);
    assert_int_equal(places.n, MODEST * MODEST_LINES);
    for (unsigned i = 0; i < places.n_greedy; i++)
        between += places.greedy[i] > places.first && places.greedy[i] < places.last;
    assert_true(between > 0 && between * LINE_BYTES < TURNS_MAX * TURN_BYTES);
    tcore_bed_fini(&b);
}

/* Draining: what was read is confirmed, then the stream is closed by the worker. */
static void test_drain(void **state)
{
    struct tcore_bed b;
    char c;
    int fd;

    (void)state;
    tcore_bed_init(&b, true);
    tcore_bed_start(&b);
    fd = tcore_connect_port(b.acked_port);
    tcore_hold(b.disk, true);
    send_line(fd, 20, "\n{");
    wait_held(&b, 1);
    worker_drain(b.worker);
    assert_true(tcore_wait(&worker_stats(b.worker)->reason[REASON_DRAINING], 1, ANSWER_MS));
    assert_false(worker_drained(b.worker));
    tcore_release_all(b.disk);
    assert_int_equal(read_count(fd, 1), 1);
    assert_true(tcore_readable(fd, ANSWER_MS));
    assert_int_equal(recv(fd, &c, 1, 0), 0);
    close(fd);
    for (int i = 0; i < 2000 && !worker_drained(b.worker); i++)
        usleep(2000);
    assert_true(worker_drained(b.worker));
    tcore_bed_fini(&b);
}

/* ---- types of which nothing is taken ---- */

#define REFUSED 24 /* streams: three times the receive buffers */

/* Settings that refuse the type "bad", or none. */
static struct live_settings *settings_of(const struct tcore_bed *b, bool refuse)
{
    struct live_settings *s = calloc(1, sizeof(*s) + sizeof(struct live_type));
    struct live_type *type;

    assert_non_null(s);
    type = (struct live_type *)(s + 1);
    *type = (struct live_type){
        .name = span_of("bad"), .sampling_ppm = LIVE_SAMPLING_ALL, .refused = refuse};
    s->types_version = refuse ? 1 : 2;
    s->worker.sampling_ppm = LIVE_SAMPLING_ALL;
    s->worker.block_bytes = b->config.block_bytes;
    s->worker.lane_blocks = b->config.lane_blocks_max;
    s->worker.idle_ms = s->worker.request_ms = 60000;
    s->n_types = 1;
    s->n_refused = refuse;
    s->type = type;
    return s;
}

/* A worker that refuses the type "bad". */
static struct live *refusing_start(struct tcore_bed *b)
{
    struct live *live;

    assert_int_equal(live_create(settings_of(b, true), &live), 0);
    b->config.live = live_join(live);
    tcore_bed_start(b);
    return live;
}

static void refusing_end(struct tcore_bed *b, struct live *live)
{
    tcore_bed_fini(b);
    live_destroy(live);
}

/* n lines of LINE_BYTES. */
static void send_lines(int fd, const char *type, int n)
{
    char line[LINE_BYTES];

    line_write(line, type);
    for (int i = 0; i < n; i++)
        assert_true(tcore_send(fd, line, sizeof(line)));
}

/* One line, by way of a lease. */
static void send_long_bad(int fd)
{
    static const char head[] = "{\"event_type\" : \"\\u0062ad\",\"pad\":\"";

    assert_true(tcore_send(fd, head, sizeof(head) - 1));
    for (int i = 0; i < BIG_BYTES; i += 10)
        assert_true(tcore_send(fd, "0123456789", 10));
    assert_true(tcore_send(fd, "\"}\n", 3));
}

static void wait_closed(const struct tcore_bed *b, uint64_t open)
{
    const _Atomic uint64_t *now = &worker_stats(b->worker)->tcp_connections;
    int64_t end_us = clock_monotonic_us() + ANSWER_MS * 1000;

    while (atomic_load(now) != open) {
        assert_true(clock_monotonic_us() < end_us);
        usleep(1000);
    }
}

/* More streams than there are buffers that come to a line of a refused type: each hears what was taken
 * before it, then its end; a good stream is served meanwhile. */
static void test_refused_acked(void **state)
{
    struct tcore_bed b;
    struct live *live;
    const struct worker_stats *s;
    int good, fd[REFUSED];
    char c;

    (void)state;
    tcore_bed_init(&b, true);
    live = refusing_start(&b);
    s = worker_stats(b.worker);
    for (int i = 0; i < REFUSED; i++) {
        fd[i] = tcore_connect_port(b.acked_port);
        send_lines(fd[i], "fine", 2);
        if (i % 2 == 0)
            send_lines(fd[i], "bad", 1);
        else
            send_long_bad(fd[i]);
        send_lines(fd[i], "fine", 20);
        assert_int_equal(read_count(fd[i], 2), 2);
    }
    good = tcore_connect_port(b.acked_port);
    for (uint64_t i = 1; i <= 200; i++) {
        send_line(good, 3000, "\n");
        assert_int_equal(read_count(good, i), i);
    }
    assert_int_equal(atomic_load(&s->tcp_waiting), 0);
    for (int i = 0; i < REFUSED; i++) {
        assert_true(tcore_readable(fd[i], ANSWER_MS));
        assert_int_equal(recv(fd[i], &c, 1, 0), 0);
        assert_int_equal(shutdown(fd[i], SHUT_WR), 0);
    }
    wait_closed(&b, 1);
    for (int i = 0; i < REFUSED; i++)
        close(fd[i]);
    close(good);
    assert_int_equal(atomic_load(&s->tcp_dropped[REASON_TYPE_PARKED]), 0);
    assert_int_equal(refused_of(&b, "bad"), REFUSED);
    assert_int_equal(atomic_load(&s->reason[REASON_TYPE_PARKED]), REFUSED * 21);
    assert_int_equal(events_in_journal(&b), 200 + 2 * REFUSED);
    refusing_end(&b, live);
}

/* Without acknowledgements exactly the lines of the type are dropped, whatever they lie between, until it
 * is well. */
static void test_refused_plain(void **state)
{
    struct tcore_bed b;
    struct live *live;
    const struct worker_stats *s;
    uint64_t good = 0, bad = 0;
    int fd;

    (void)state;
    tcore_bed_init(&b, true);
    live = refusing_start(&b);
    s = worker_stats(b.worker);
    fd = tcore_connect_port(b.tcp_port);
    for (int i = 0; i < 40; i++) {
        send_lines(fd, "fine", i);
        send_lines(fd, "bad", i % 7);
        assert_true(tcore_send(fd, "\n\n", 2));
        good += (uint64_t)i;
        bad += (uint64_t)(i % 7);
    }
    send_long_bad(fd);
    send_lines(fd, "fine", 1);
    assert_true(tcore_wait(&s->durable_events, good + 1, ANSWER_MS));
    assert_int_equal(atomic_load(&s->tcp_dropped[REASON_TYPE_PARKED]), bad + 1);
    assert_int_equal(atomic_load(&s->reason[REASON_TYPE_PARKED]), bad + 1);
    assert_int_equal(refused_of(&b, "bad"), bad + 1);
    assert_int_equal(atomic_load(&s->tcp_lines), good + 1 + 2 * 40);
    assert_int_equal(atomic_load(&s->tcp_waits), 0);
    live_publish(live, settings_of(&b, false));
    while (live_behind(live) > 0)
        usleep(1000);
    send_lines(fd, "bad", 100);
    assert_true(tcore_wait(&s->durable_events, good + 1 + 100, ANSWER_MS));
    assert_int_equal(atomic_load(&s->tcp_dropped[REASON_TYPE_PARKED]), bad + 1);
    close(fd);
    assert_int_equal(events_in_journal(&b), good + 1 + 100);
    refusing_end(&b, live);
}

/* Clients of refused streams that neither read nor close, or are gone, keep no slot; nor does a
 * drain wait for them. */
static void test_refused_mute(void **state)
{
    struct linger reset = {.l_onoff = 1};
    struct tcore_bed b;
    struct live *live;
    int fd[8];

    (void)state;
    tcore_bed_init(&b, true);
    b.config.streams_max = 4;
    live = refusing_start(&b);
    for (int i = 0; i < 4; i++) {
        fd[i] = tcore_connect_port(b.acked_port);
        send_lines(fd[i], "bad", 3);
    }
    assert_int_equal(setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    assert_true(tcore_wait(&worker_stats(b.worker)->reason[REASON_TYPE_PARKED], 12, ANSWER_MS));
    close(fd[0]);
    wait_closed(&b, 0);
    for (int i = 4; i < 8; i++) {
        fd[i] = tcore_connect_port(b.acked_port);
        send_lines(fd[i], "bad", 1);
    }
    assert_true(tcore_wait(&worker_stats(b.worker)->reason[REASON_TYPE_PARKED], 16, ANSWER_MS));
    worker_drain(b.worker);
    for (int i = 0; i < ANSWER_MS && !worker_drained(b.worker); i++)
        usleep(1000);
    assert_true(worker_drained(b.worker));
    for (int i = 1; i < 8; i++)
        close(fd[i]);
    refusing_end(&b, live);
}

static void send_mixed(int fd, int round)
{
    for (int i = 0; i < LINES; i++)
        send_line(fd, (size_t)((i * 37 + round) % 3000), i % 5 ? "\n" : "\n{broken\n");
    send_line(fd, BIG_BYTES, "\n");
}

static void test_no_malloc(void **state)
{
#ifdef PENSTOCK_NO_JEMALLOC
    (void)state;
    skip();
#else
    const uint64_t lines = LINES + LINES / 5 + 1;
    struct tcore_bed b;
    uint64_t before = 0;
    int fd;

    (void)state;
    tcore_bed_init(&b, false);
    b.journal_config.limit_bytes = 256u << 20;
    tcore_bed_start(&b);
    fd = tcore_connect_port(b.acked_port);
    for (int round = 0; round < 20; round++) {
        if (round == 2) {
            usleep(600000); /* the worker samples every 200 ms */
            before = atomic_load(&worker_stats(b.worker)->malloc_bytes);
        }
        send_mixed(fd, round);
        read_count(fd, lines * (uint64_t)(round + 1));
    }
    usleep(600000);
    assert_int_equal(atomic_load(&worker_stats(b.worker)->malloc_bytes), before);
    assert_true(atomic_load(&worker_stats(b.worker)->tcp_straddled) > 10);
    close(fd);
    tcore_bed_fini(&b);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_count_while_held),
        cmocka_unit_test(test_hole),
        cmocka_unit_test(test_write_fails),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_refused_acked),
        cmocka_unit_test(test_refused_plain),
        cmocka_unit_test(test_refused_mute),
        cmocka_unit_test(test_no_malloc),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
