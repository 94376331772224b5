/*
 * Goal: every datagram is accounted for: its events are in the journal, or it is counted, by place
 * and reason; with multishot receives and, as on older kernels, without; and nothing is allocated.
 *
 * Method: a real worker, a real socket, and a disk that holds each journal write, so that commit
 * blocks run short when the test wants. At the end: sent = events + dead letters + drops.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "tests/unit/tcore_bed.h"

#define WAIT_MS 10000

static int sender(const struct tcore_bed *b)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(b->udp_port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

/* One event of about bytes. */
static void send_event(int fd, size_t bytes)
{
    char text[9000] = "{\"event_type\":\"click\",\"pad\":\"";
    size_t n = strlen(text);

    memset(text + n, 'x', bytes);
    memcpy(text + n + bytes, "\"}", 3);
    send_text(fd, text);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load(counter);
}

/* Until the fate of every datagram is known. */
static void wait_fate(const struct worker_stats *s, uint64_t sent)
{
    int64_t end = clock_monotonic_us() + WAIT_MS * 1000;

    while (get(&s->udp_datagrams) + get(&s->udp_kernel_drops) < sent || get(&s->udp_waiting) > 0) {
        assert_true(clock_monotonic_us() < end);
        usleep(1000);
    }
    assert_int_equal(get(&s->udp_datagrams) + get(&s->udp_kernel_drops), sent);
}

static void test_forms(void **state)
{
    struct tcore_bed b;
    const struct worker_stats *s;
    int fd;

    tcore_bed_init(&b, true);
    b.config.udp_plain = *state != NULL;
    tcore_bed_start(&b);
    s = worker_stats(b.worker);
    fd = sender(&b);
    for (int i = 0; i < 20; i++) { /* more than there are buffers */
        send_text(fd, "{\"event_type\":\"a\"}");
        send_text(fd, "{\"event_type\":\"a\"}\n\r\n{\"event_type\":\"b\"}\n{bad\n");
        send_text(fd, "[{\"event_type\":\"a\"},\n{\"event_type\":\"b\"}]");
        send_text(fd, "{\n\"event_type\":\n\"pretty\"}");
        send_text(fd, "[{\"event_type\":\"a\"},"); /* a dead letter: nobody can be told */
        send_text(fd, "\n");
        send_event(fd, 8100);
        send_event(fd, 8500);
        assert_int_equal(send(fd, "", 0, 0), 0);
    }
    assert_true(tcore_wait(&s->udp_datagrams, 180, WAIT_MS));
    assert_true(tcore_wait(&s->durable_events, 20 * 9, WAIT_MS));
    assert_int_equal(get(&s->events), 20 * 7);
    assert_int_equal(get(&s->dead_letters), 20 * 2);
    assert_int_equal(get(&s->udp_dropped[REASON_EMPTY_BODY]), 40);
    assert_int_equal(get(&s->udp_dropped[REASON_DATAGRAM_TOO_BIG]), 20);
    assert_int_equal(get(&s->udp_dropped_lines), 20);
    close(fd);
    tcore_bed_fini(&b);
}

/* Blocks are short for a moment: datagrams wait in buffers and socket, and all are taken. */
static void test_wait(void **state)
{
    struct tcore_bed b;
    const struct worker_stats *s;
    uint64_t sent = 0;
    int fd;

    tcore_bed_init(&b, true);
    b.config.udp_plain = *state != NULL;
    b.config.blocks = 8;
    b.config.lane_blocks_max = 1;
    tcore_bed_start(&b);
    s = worker_stats(b.worker);
    fd = sender(&b);
    tcore_hold(b.disk, true);
    for (; get(&s->udp_waiting) == 0; sent++)
        send_event(fd, 8000);
    for (int i = 0; i < 30; i++, sent++)
        send_event(fd, 100);
    tcore_release_all(b.disk);
    wait_fate(s, sent);
    assert_true(tcore_wait(&s->durable_events, get(&s->udp_datagrams), WAIT_MS));
    assert_int_equal(get(&s->udp_dropped_lines), 0);
    assert_int_equal(get(&s->events), get(&s->udp_datagrams));
    close(fd);
    tcore_bed_fini(&b);
}

/* They are short for long: what waited a second is dropped, and what the socket cannot hold too. */
static void test_drops(void **state)
{
    struct tcore_bed b;
    const struct worker_stats *s;
    uint64_t sent = 0;
    int fd;

    tcore_bed_init(&b, true);
    b.config.udp_plain = *state != NULL;
    b.config.blocks = 6;
    b.config.lane_blocks_max = 1;
    b.config.udp_socket_bytes = 65536;
    tcore_bed_start(&b);
    s = worker_stats(b.worker);
    fd = sender(&b);
    tcore_hold(b.disk, true);
    for (int64_t end = clock_monotonic_us() + WAIT_MS * 1000;
         get(&s->udp_dropped[REASON_BLOCKS_BUSY]) == 0 || get(&s->udp_kernel_drops) == 0; sent++) {
        assert_true(clock_monotonic_us() < end);
        send_event(fd, 8000);
        usleep(sent > 200 ? 1000 : 0);
    }
    tcore_release_all(b.disk);
    wait_fate(s, sent);
    assert_int_equal(get(&s->events) + get(&s->udp_dropped[REASON_BLOCKS_BUSY]),
                     get(&s->udp_datagrams));
    worker_drain(b.worker);
    for (int i = 0; i < 5000 && !worker_drained(b.worker); i++)
        usleep(1000);
    assert_true(worker_drained(b.worker));
    send_event(fd, 10);
    assert_true(tcore_wait(&s->udp_dropped[REASON_DRAINING], 1, WAIT_MS));
    close(fd);
    tcore_bed_fini(&b);
}

static void test_no_malloc(void **state)
{
#ifdef PENSTOCK_NO_JEMALLOC
    (void)state;
    skip();
#else
    struct tcore_bed b;
    const struct worker_stats *s;
    uint64_t before;
    int fd;

    tcore_bed_init(&b, false);
    b.config.udp_plain = *state != NULL;
    tcore_bed_start(&b);
    s = worker_stats(b.worker);
    fd = sender(&b);
    send_text(fd, "{bad");
    send_event(fd, 100);
    assert_true(tcore_wait(&s->udp_datagrams, 2, WAIT_MS));
    usleep(600000); /* the worker samples every 200 ms */
    before = get(&s->malloc_bytes);
    for (int i = 0; i < 20000; i++) {
        send_event(fd, (size_t)i % 2000);
        if (i % 50 == 0)
            send_text(fd, "{bad");
    }
    wait_fate(s, 20402);
    usleep(600000);
    assert_int_equal(get(&s->malloc_bytes), before);
    close(fd);
    tcore_bed_fini(&b);
#endif
}

static int plain(void **state)
{
    static int yes;

    *state = &yes;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_drops),
        cmocka_unit_test(test_no_malloc),
    };
    int failed;

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    failed = cmocka_run_group_tests_name("multishot", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("plain", tests, plain, NULL);
}
