/*
 * Goal: timers fire in order, watches are level-triggered and may change anywhere, reads are whole,
 * other threads wake the loop, and the loop may be made on one thread and run on another. Method:
 * pipes, temporary files and real time in milliseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/loop.h"

#define TIMERS 1000
#define PAGE   4096

static struct loop *loop;
static int order[TIMERS];
static int n_fired;
static int64_t last_due_us;

struct numbered {
    struct loop_timer timer;
    int number;
    struct numbered *cancels;
    bool again;
};

static int setup(void **state)
{
    (void)state;
    n_fired = 0;
    return loop_create(&loop);
}

static int teardown(void **state)
{
    (void)state;
    loop_destroy(loop);
    return 0;
}

static void run_ms(int ms)
{
    int64_t end_us = clock_monotonic_us() + (int64_t)ms * 1000;

    while (clock_monotonic_us() < end_us)
        (void)loop_run_once(loop,
                            end_us - clock_monotonic_us() > 0 ? end_us - clock_monotonic_us() : 0);
}

static void on_numbered(struct loop_timer *t)
{
    struct numbered *n = container_of(t, struct numbered, timer);

    assert_int_equal(t->_heap_index, 0);
    assert_true(t->_due_us >= last_due_us);
    last_due_us = t->_due_us;
    order[n_fired++] = n->number;
    if (n->cancels != NULL)
        loop_timer_cancel(loop, &n->cancels->timer);
    if (n->again) {
        n->again = false;
        loop_timer_set(loop, t, 1000);
    }
}

static void test_timer_order(void **state)
{
    static struct numbered t[TIMERS];
    unsigned seed = 7;

    (void)state;
    for (int i = 0; i < TIMERS; i++) {
        int delay = (i * 373) % TIMERS; /* all different */

        t[i] = (struct numbered){.timer.fire = on_numbered, .number = delay};
        loop_timer_set(loop, &t[i].timer, 20000 + delay * 50);
    }
    for (int i = 0; i < TIMERS; i++) { /* re-arm a third, cancel a tenth */
        if (i % 3 == 0)
            loop_timer_set(loop, &t[i].timer, 20000 + t[i].number * 50);
        if (rand_r(&seed) % 10 == 0) {
            loop_timer_cancel(loop, &t[i].timer);
            loop_timer_cancel(loop, &t[i].timer);
            t[i].number = -1;
        }
    }
    run_ms(100);
    for (int i = 0; i < TIMERS; i++)
        n_fired -= t[i].number >= 0;
    assert_int_equal(n_fired, 0);
}

static void test_timer_exact_order(void **state)
{
    struct numbered t[5];
    static const int delay_ms[5] = {8, 2, 6, 4, 0};

    (void)state;
    for (int i = 0; i < 5; i++) {
        t[i] = (struct numbered){.timer.fire = on_numbered, .number = delay_ms[i]};
        loop_timer_set(loop, &t[i].timer, delay_ms[i] * 1000);
    }
    run_ms(20);
    assert_int_equal(n_fired, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(order[i], 2 * i);
}

static void test_timer_in_callback(void **state)
{
    struct numbered victim = {.timer.fire = on_numbered, .number = 2};
    struct numbered killer = {
        .timer.fire = on_numbered, .number = 1, .cancels = &victim, .again = true};

    (void)state;
    loop_timer_set(loop, &killer.timer, 1000);
    loop_timer_set(loop, &victim.timer, 1001);
    usleep(5000); /* both are due in the same turn */
    run_ms(10);
    assert_int_equal(n_fired, 2);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 1);
}

static void test_run_waits(void **state)
{
    int64_t start_us = clock_monotonic_us();

    (void)state;
    assert_int_equal(loop_run_once(loop, 0), 0);
    assert_true(clock_monotonic_us() - start_us < 5000);
    assert_int_equal(loop_run_once(loop, 20000), 0);
    assert_true(clock_monotonic_us() - start_us >= 20000);
}

static void *waker(void *ctx)
{
    uint64_t one = 1;

    (void)ctx;
    usleep(10000);
    assert_int_equal(write(loop_wake_fd(loop), &one, sizeof(one)), sizeof(one));
    return NULL;
}

static void test_wake(void **state)
{
    pthread_t thread;

    (void)state;
    for (int i = 0; i < 3; i++) {
        int64_t start_us = clock_monotonic_us();

        pthread_create(&thread, NULL, waker, NULL);
        (void)loop_run_once(loop, 5000000);
        assert_true(clock_monotonic_us() - start_us < 2000000);
        pthread_join(thread, NULL);
    }
    assert_int_equal(loop_run_once(loop, 0), 0); /* the wake-up does not stay */
}

static void test_wake_before_run(void **state)
{
    int64_t start_us = clock_monotonic_us();
    uint64_t one = 1;

    (void)state;
    assert_int_equal(write(loop_wake_fd(loop), &one, sizeof(one)), sizeof(one));
    (void)loop_run_once(loop, 5000000);
    assert_true(clock_monotonic_us() - start_us < 2000000);
}

/* ---- watches ---- */

struct counted {
    struct loop_watch watch;
    int n;
    uint32_t events;
    int stop_at;   /* stops itself */
    bool frees;    /* and frees its memory */
    uint32_t then; /* changes its events */
};

static void on_ready(struct loop_watch *w, uint32_t events)
{
    struct counted *c = container_of(w, struct counted, watch);

    c->n++;
    c->events = events;
    if (c->then != 0)
        assert_int_equal(loop_watch_set(loop, w, c->then), 0);
    if (c->n == c->stop_at) {
        assert_int_equal(loop_watch_set(loop, w, 0), 0);
        if (c->frees)
            free(c);
    }
}

static void test_watch_level(void **state)
{
    struct counted c = {.watch.ready = on_ready};
    int fds[2];
    char byte = 1;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    c.watch.fd = fds[0];
    assert_int_equal(loop_watch_set(loop, &c.watch, POLLIN), 0);
    run_ms(5);
    assert_int_equal(c.n, 0);
    assert_int_equal(write(fds[1], &byte, 1), 1);
    (void)loop_run_once(loop, 100000);
    (void)loop_run_once(loop, 100000);
    assert_int_equal(c.n, 2); /* not read: still ready */
    assert_int_equal(read(fds[0], &byte, 1), 1);
    c.n = 0;
    run_ms(5);
    assert_true(c.n <= 1); /* a poll armed before the read may have fired */
    close(fds[1]);
    c.n = 0;
    (void)loop_run_once(loop, 100000);
    assert_int_equal(c.n, 1);
    assert_true((c.events & POLLHUP) != 0);
    assert_int_equal(loop_watch_set(loop, &c.watch, 0), 0);
    assert_int_equal(loop_watch_set(loop, &c.watch, 0), 0);
    c.n = 0;
    run_ms(5);
    assert_int_equal(c.n, 0);
    close(fds[0]);
}

static void test_watch_change(void **state)
{
    struct counted c = {.watch.ready = on_ready};
    int fds[2];
    char byte = 1;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    c.watch.fd = fds[0];
    assert_int_equal(loop_watch_set(loop, &c.watch, POLLIN), 0);
    run_ms(3);
    assert_int_equal(loop_watch_set(loop, &c.watch, POLLOUT), 0); /* of an armed poll */
    (void)loop_run_once(loop, 100000);
    if (c.n == 0)
        (void)loop_run_once(loop, 100000);
    assert_true(c.n > 0);
    assert_int_equal(c.events, POLLOUT);
    c.then = POLLIN; /* inside the callback */
    (void)loop_run_once(loop, 100000);
    c.then = 0;
    c.n = 0;
    run_ms(5);
    assert_int_equal(c.n, 0);
    assert_int_equal(write(fds[1], &byte, 1), 1);
    (void)loop_run_once(loop, 100000);
    assert_true(c.n > 0);
    assert_int_equal(c.events, POLLIN);
    assert_int_equal(loop_watch_set(loop, &c.watch, 0), 0);
    close(fds[0]);
    close(fds[1]);
}

/* Stopping drops the ring's reference: the peer sees the end although a poll was armed. */
static void test_watch_stop_closes(void **state)
{
    struct counted c = {.watch.ready = on_ready};
    int fds[2];
    char byte;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    c.watch.fd = fds[0];
    assert_int_equal(loop_watch_set(loop, &c.watch, POLLIN), 0);
    run_ms(3);
    assert_int_equal(loop_watch_set(loop, &c.watch, 0), 0);
    close(fds[0]);
    run_ms(3);
    assert_int_equal(read(fds[1], &byte, 1), 0);
    assert_int_equal(c.n, 0);
    close(fds[1]);
}

/* Many watches that come and go, freed inside their callbacks; slots are used again. */
static void test_watch_churn(void **state)
{
    int fds[2];
    char byte = 1;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], &byte, 1), 1);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 150; i++) {
            struct counted *c = calloc(1, sizeof(*c));

            assert_non_null(c);
            *c = (struct counted){
                .watch = {.ready = on_ready, .fd = fds[0]}, .stop_at = 1 + i % 3, .frees = true};
            assert_int_equal(loop_watch_set(loop, &c->watch, POLLIN), 0);
        }
        for (int i = 0; i < 4; i++)
            (void)loop_run_once(loop, 1000);
    }
    for (int i = 0; i < 8; i++)
        (void)loop_run_once(loop, 0);
    close(fds[0]);
    close(fds[1]);
}

/* ---- reads ---- */

struct counted_read {
    struct loop_read read;
    int n;
    int result;
};

static void on_read(struct loop_read *r, int result)
{
    struct counted_read *c = container_of(r, struct counted_read, read);

    c->n++;
    c->result = result;
}

static int temp_file(size_t len, int flags)
{
    char name[] = "/var/tmp/penstock-test-XXXXXX";
    int fd = mkstemp(name);
    char page[PAGE];
    int again;

    assert_true(fd >= 0);
    for (size_t at = 0; at < len; at += sizeof(page)) {
        memset(page, (int)(at / PAGE) + 1, sizeof(page));
        assert_true(write(fd, page, len - at < PAGE ? len - at : PAGE) > 0);
    }
    again = open(name, O_RDONLY | flags);
    unlink(name);
    close(fd);
    return again;
}

static int read_at(int fd, void *buf, uint32_t len, uint64_t offset)
{
    struct counted_read c = {
        .read = {.done = on_read, .fd = fd, .buf = buf, .len = len, .offset = offset}};

    assert_int_equal(loop_read_start(loop, &c.read), 0);
    for (int i = 0; i < 100 && c.n == 0; i++)
        (void)loop_run_once(loop, 100000);
    assert_int_equal(c.n, 1);
    return c.result;
}

static void read_file(int flags)
{
    int fd = temp_file(3 * PAGE + 100, flags);
    unsigned char *buf = NULL;

    if (fd < 0)
        return; /* no O_DIRECT here */
    assert_int_equal(posix_memalign((void **)&buf, PAGE, 4 * PAGE), 0);
    assert_int_equal(read_at(fd, buf, 2 * PAGE, PAGE), 2 * PAGE);
    assert_int_equal(buf[0], 2);
    assert_int_equal(buf[2 * PAGE - 1], 3);
    assert_int_equal(read_at(fd, buf, 4 * PAGE, 0), 3 * PAGE + 100); /* short at the end */
    assert_int_equal(read_at(fd, buf, PAGE, 8 * PAGE), 0);
    free(buf);
    close(fd);
}

static void test_read(void **state)
{
    char byte;

    (void)state;
    read_file(0);
    read_file(O_DIRECT);
    assert_int_equal(read_at(-1, &byte, 1, 0), -EBADF);
}

/* More than the submission queue holds, while timers and watches go on. */
static void test_read_many(void **state)
{
    static struct counted_read c[2000];
    static char buf[2000][64];
    int fd = temp_file(PAGE, 0);
    int done = 0;

    (void)state;
    (void)loop_run_once(loop, 0);
    for (int i = 0; i < 2000; i++) {
        c[i] = (struct counted_read){
            .read = {.done = on_read, .fd = fd, .buf = buf[i], .len = 64, .offset = (uint64_t)i}};
        assert_int_equal(loop_read_start(loop, &c[i].read), 0);
    }
    for (int turn = 0; turn < 1000 && done < 2000; turn++) {
        (void)loop_run_once(loop, 10000);
        done = 0;
        for (int i = 0; i < 2000; i++)
            done += c[i].n;
    }
    assert_int_equal(done, 2000);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(c[i].result, 64);
    close(fd);
}

/* Before the loop has a thread, entries are only prepared, up to the queue's size. */
static void test_read_before_run(void **state)
{
    static struct counted_read c[600];
    static char buf[64];
    int fd = temp_file(PAGE, 0);
    int started = 0;

    (void)state;
    for (int i = 0; i < 600; i++) {
        c[i] = (struct counted_read){.read = {.done = on_read, .fd = fd, .buf = buf, .len = 64}};
        if (loop_read_start(loop, &c[i].read) == 0)
            started++;
    }
    assert_in_range(started, 100, 599);
    run_ms(50);
    for (int i = 0; i < 600; i++)
        started -= c[i].n;
    assert_int_equal(started, 0);
    close(fd);
}

static void *run_elsewhere(void *ctx)
{
    struct counted_read *pending = ctx;
    struct numbered t = {.timer.fire = on_numbered, .number = 1};

    loop_timer_set(loop, &t.timer, 1000);
    run_ms(5);
    assert_int_equal(n_fired, 1);
    assert_int_equal(loop_read_start(loop, &pending->read), 0);
    (void)loop_run_once(loop, 0);
    return NULL;
}

/* Made here, run there, destroyed here after that thread's end, with a read that may be under way.
 */
static void test_other_thread(void **state)
{
    int fd = temp_file(4 * PAGE, O_DIRECT);
    unsigned char *buf = NULL;
    struct counted_read pending = {.n = 0};
    pthread_t thread;

    (void)state;
    assert_int_equal(posix_memalign((void **)&buf, PAGE, 4 * PAGE), 0);
    if (fd < 0)
        fd = temp_file(4 * PAGE, 0);
    pending.read = (struct loop_read){.done = on_read, .fd = fd, .buf = buf, .len = 4 * PAGE};
    pthread_create(&thread, NULL, run_elsewhere, &pending);
    pthread_join(thread, NULL);
    loop_destroy(loop);
    loop = NULL;
    free(buf);
    close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_timer_order),
        TEST(test_timer_exact_order),
        TEST(test_timer_in_callback),
        TEST(test_run_waits),
        TEST(test_wake),
        TEST(test_wake_before_run),
        TEST(test_watch_level),
        TEST(test_watch_change),
        TEST(test_watch_stop_closes),
        TEST(test_watch_churn),
        TEST(test_read),
        TEST(test_read_many),
        TEST(test_read_before_run),
        TEST(test_other_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
