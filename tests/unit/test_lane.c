/*
 * Goal: a lane carries blocks in order between two threads, refuses when full, and gives each block
 * back once all holders have released it. Method: edges single-threaded; then a producer and two
 * consumers with 100,000 blocks (under TSan this is the test of the lane's orderings).
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <rte_ring.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/lane.h"

#define N_BLOCKS 8
#define N_PUSHES 100000
#define LANES    2

static struct rte_ring *returns_make(void)
{
    struct rte_ring *r = aligned_alloc(64, align_up((uint64_t)rte_ring_get_memsize(32), 64));

    assert_true(r != NULL && rte_ring_init(r, "returns", 32, RING_F_SC_DEQ) == 0);
    return r;
}

static void test_edges(void **state)
{
    struct block b[4] = {{.len = 1}, {.len = 1}, {.len = 1}, {.len = 1}};
    int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint64_t value = 0;
    struct lane *l;

    (void)state;
    assert_int_equal(lane_create(3, wake, &l), 0);
    assert_null(lane_peek(l));
    lane_wake(l); /* nothing pushed: nobody woken */
    assert_true(read(wake, &value, sizeof(value)) < 0);
    for (int i = 0; i < 3; i++)
        assert_true(lane_push(l, &b[i]));
    assert_false(lane_push(l, &b[3]));
    lane_wake(l);
    lane_wake(l);
    assert_int_equal(read(wake, &value, sizeof(value)), sizeof(value));
    assert_int_equal(value, 1);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(lane_peek(l), &b[i]);
        assert_ptr_equal(lane_peek(l), &b[i]); /* looking takes nothing */
        lane_pop(l);
    }
    assert_null(lane_peek(l));
    lane_destroy(l);
    lane_destroy(NULL);
    close(wake);
}

struct consumer {
    struct lane *lane;
    int wake;
    uint64_t next, seen;
    _Atomic bool stop;
    pthread_t thread;
    bool wrong;
};

static void *consume(void *arg)
{
    struct consumer *c = arg;
    struct pollfd p = {.fd = c->wake, .events = POLLIN};
    uint64_t value;

    for (;;) {
        struct block *b = lane_peek(c->lane);

        if (b != NULL) {
            c->wrong |= b->seq < c->next; /* in order; some went another way */
            c->next = b->seq + 1;
            c->seen++;
            lane_pop(c->lane);
            block_release(b);
        } else if (atomic_load(&c->stop)) {
            return NULL;
        } else if (poll(&p, 1, 10) > 0) {
            (void)!read(c->wake, &value, sizeof(value));
        }
    }
}

static void test_threads(void **state)
{
    struct rte_ring *returns = returns_make();
    struct block block[N_BLOCKS] = {0}, *free_block[N_BLOCKS];
    struct consumer c[LANES] = {0};
    uint64_t pushed[LANES] = {0}, seq = 0;
    unsigned n_free = 0;
    void *item;

    (void)state;
    for (int i = 0; i < LANES; i++) {
        c[i].wake = eventfd(0, EFD_CLOEXEC);
        assert_int_equal(lane_create(4, c[i].wake, &c[i].lane), 0);
        assert_int_equal(pthread_create(&c[i].thread, NULL, consume, &c[i]), 0);
    }
    for (int i = 0; i < N_BLOCKS; i++) {
        block[i]._returns = returns;
        block[i].len = 1;
        free_block[n_free++] = &block[i];
    }
    while (seq < N_PUSHES) {
        struct block *b;

        while (rte_ring_sc_dequeue(returns, &item) == 0)
            free_block[n_free++] = item;
        if (n_free == 0)
            continue;
        b = free_block[--n_free];
        b->seq = seq++;
        block_hold(b, LANES);
        for (int i = 0; i < LANES; i++) {
            if (lane_push(c[i].lane, b))
                pushed[i]++;
            else
                block_release(b);
            lane_wake(c[i].lane);
        }
    }
    for (int i = 0; i < LANES; i++) {
        atomic_store(&c[i].stop, true);
        pthread_join(c[i].thread, NULL);
        assert_false(c[i].wrong);
        assert_int_equal(c[i].seen, pushed[i]);
        lane_destroy(c[i].lane);
        close(c[i].wake);
    }
    while (rte_ring_sc_dequeue(returns, &item) == 0)
        n_free++;
    assert_int_equal(n_free, N_BLOCKS); /* each came back, once */
    free(returns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_edges),
                                       cmocka_unit_test(test_threads)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
