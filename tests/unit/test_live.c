/*
 * Goal: readers of live settings see whole versions, never older ones after newer ones, and nothing
 * that was freed; the publisher keeps no more than they may use.
 *
 * Method: threads read in a loop while one publishes; every field of a version is made from its
 * number, so that a torn or a freed one shows (and ASan and TSan watch).
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/base/live.h"

#define READERS  6
#define VERSIONS 20000

/* A version made from a number, with one type called by it. */
static struct live_settings *make(uint32_t number)
{
    struct live_settings *s = calloc(1, sizeof(*s) + sizeof(struct live_type) + 16);
    struct live_type *type = (struct live_type *)(s + 1);
    char *name = (char *)(type + 1);

    assert_non_null(s);
    s->worker.block_bytes = number;
    s->sink.group_bytes_max = (uint64_t)number * 3;
    s->types_version = number;
    s->n_types = 1;
    s->type = type;
    snprintf(name, 16, "type%u", number % 7);
    *type = (struct live_type){.name = span_of(name), .sampling_ppm = number % LIVE_SAMPLING_ALL};
    return s;
}

struct reading {
    struct live_reader *reader;
    pthread_t thread;
    _Atomic bool *stop;
    uint64_t turns, versions;
};

static void *read_all(void *ctx)
{
    struct reading *r = ctx;
    uint64_t last = 0;

    while (!atomic_load(r->stop)) {
        const struct live_settings *s = live_read(r->reader);
        uint32_t number = s->worker.block_bytes;
        char name[16];

        ASSERT(s->version >= last && s->version == (uint64_t)number + 1);
        r->versions += s->version != last;
        last = s->version;
        sched_yield(); /* it stays valid however long the turn takes */
        ASSERT(s->sink.group_bytes_max == (uint64_t)number * 3 && s->types_version == number);
        snprintf(name, sizeof(name), "type%u", number % 7);
        ASSERT(live_type_find(s, span_of(name))->sampling_ppm == number % LIVE_SAMPLING_ALL);
        r->turns++;
    }
    live_leave(r->reader);
    return NULL;
}

static void readers_under_publishing(void **state)
{
    struct reading r[READERS] = {0};
    _Atomic bool stop = false;
    struct live *l;

    (void)state;
    assert_int_equal(live_create(make(0), &l), 0);
    for (int i = 0; i < READERS; i++) {
        r[i] = (struct reading){.reader = live_join(l), .stop = &stop};
        assert_non_null(r[i].reader);
        assert_int_equal(pthread_create(&r[i].thread, NULL, read_all, &r[i]), 0);
    }
    for (uint32_t i = 1; i <= VERSIONS; i++) {
        live_publish(l, make(i));
        if (i % 16 == 0)
            sched_yield();
    }
    while (live_behind(l) > 0)
        sched_yield();
    live_publish(l, make(VERSIONS + 1));
    assert_true(live_kept(l) <= 2 + READERS);
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(r[i].thread, NULL);
        assert_true(r[i].turns > 0 && r[i].versions > 1);
    }
    assert_int_equal(live_behind(l), 0); /* those that left hold nothing back */
    live_publish(l, make(VERSIONS + 2));
    assert_int_equal(live_kept(l), 1);
    live_destroy(l);
}

static void reader_that_sleeps(void **state)
{
    const struct live_settings *held;
    struct live_reader *slow, *fast;
    struct live *l;

    (void)state;
    assert_int_equal(live_create(make(0), &l), 0);
    slow = live_join(l);
    fast = live_join(l);
    held = live_read(slow);
    for (uint32_t i = 1; i <= 10; i++) {
        live_publish(l, make(i));
        assert_int_equal(live_read(fast)->worker.block_bytes, i);
    }
    assert_int_equal(live_behind(l), 1);
    assert_int_equal(held->version, 1); /* still there */
    assert_int_equal(live_kept(l), 11);
    assert_int_equal(live_read(slow)->version, 11);
    live_publish(l, make(11));
    assert_int_equal(live_kept(l), 2);
    live_destroy(l);
}

static void readers_are_limited(void **state)
{
    struct live *l;

    (void)state;
    assert_int_equal(live_create(make(0), &l), 0);
    for (int i = 0; i < LIVE_READERS_MAX; i++)
        assert_non_null(live_join(l));
    assert_null(live_join(l));
    live_destroy(l);
}

static void types_are_found(void **state)
{
    static const char *const names[] = {"", "a", "aa", "ab", "b", "order", "orders"};
    struct live_type type[ARRAY_LEN(names)];
    struct live_settings s = {.n_types = ARRAY_LEN(names), .type = type};

    (void)state;
    for (uint32_t i = 0; i < ARRAY_LEN(names); i++)
        type[i] = (struct live_type){.name = span_of(names[i]), .sampling_ppm = i};
    for (uint32_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(live_type_find(&s, span_of(names[i]))->sampling_ppm, i);
    assert_null(live_type_find(&s, span_of("orde")));
    assert_null(live_type_find(&s, span_of("zz")));
    s.n_types = 0;
    assert_null(live_type_find(&s, span_of("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_under_publishing),
        cmocka_unit_test(reader_that_sleeps),
        cmocka_unit_test(readers_are_limited),
        cmocka_unit_test(types_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
