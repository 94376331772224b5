/*
 * Goal: no more objects a second than the bucket's ramp allows, in order, growing only after twenty
 * full minutes and falling when told. Method: made-up clocks; threads that take moments together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <pthread.h>

#include "sinks/gcs/gcs_ramp.h"

#define SECOND   INT64_C(1000000)
#define START_US (1000 * SECOND)

/* Objects that may go before end_us when somebody always has one. */
static uint64_t taken_until(struct gcs_ramp *r, int64_t *now_us, int64_t end_us)
{
    uint64_t n = 0;

    while (*now_us < end_us) {
        *now_us += gcs_ramp_take(r, *now_us); /* never early: the wait is rounded up */
        n++;
    }
    return n;
}

static void test_rate(void **state)
{
    struct gcs_ramp r;
    int64_t now_us = START_US;
    uint64_t n;

    (void)state;
    gcs_ramp_init(&r, 1000, now_us);
    for (int i = 0; i <= 250; i++) /* what the last quarter second left */
        assert_int_equal(gcs_ramp_take(&r, now_us), 0);
    assert_in_range(gcs_ramp_take(&r, now_us), 1, 1001);
    assert_in_range(gcs_ramp_take(&r, now_us), 1001, 2001); /* each behind the one before */
    n = taken_until(&r, &now_us, START_US + 10 * SECOND);
    assert_in_range(n, 9900, 10001);
    now_us += 3600 * SECOND; /* an idle hour saves up no more than a quarter second */
    n = 0;
    while (gcs_ramp_take(&r, now_us) == 0)
        n++;
    assert_in_range(n, 250, 252);
}

/* A minute in which so many objects were taken. */
static void minute(struct gcs_ramp *r, int64_t *now_us, uint64_t objects)
{
    for (uint64_t i = 0; i < objects; i++)
        (void)!gcs_ramp_take(r, *now_us + (int64_t)(i * 60 * SECOND / objects));
    *now_us += 60 * SECOND;
}

static void test_growth(void **state)
{
    struct gcs_ramp r;
    int64_t now_us = START_US;

    (void)state;
    gcs_ramp_init(&r, 10, now_us);
    for (int i = 0; i < 19; i++)
        minute(&r, &now_us, 600);
    minute(&r, &now_us, 539); /* not at the limit: twenty more */
    for (int i = 0; i < 20; i++)
        minute(&r, &now_us, 545);
    assert_int_equal(gcs_ramp_limit(&r), 10);
    minute(&r, &now_us, 1); /* the twentieth has ended */
    assert_int_equal(gcs_ramp_limit(&r), 20);
    for (int i = 0; i < 20; i++)
        minute(&r, &now_us, 1200);
    minute(&r, &now_us, 600);
    assert_int_equal(gcs_ramp_limit(&r), 40);
    for (int i = 0; i < 40; i++)
        minute(&r, &now_us, 1300); /* more than half of it: kept */
    assert_int_equal(gcs_ramp_limit(&r), 40);
    for (int i = 0; i < 22; i++)
        minute(&r, &now_us, 100);
    assert_int_equal(gcs_ramp_limit(&r), 20);
    now_us += 24 * 3600 * SECOND;
    minute(&r, &now_us, 1);
    assert_int_equal(gcs_ramp_limit(&r), 10);
}

static void test_refused(void **state)
{
    struct gcs_ramp r;
    int64_t now_us = START_US;

    (void)state;
    gcs_ramp_init(&r, 10, now_us);
    for (int doublings = 0; doublings < 3; doublings++) {
        for (int i = 0; i < 20; i++)
            minute(&r, &now_us, gcs_ramp_limit(&r) * 60);
        minute(&r, &now_us, gcs_ramp_limit(&r) * 40);
    }
    assert_int_equal(gcs_ramp_limit(&r), 80);
    for (int i = 0; i < 50; i++) /* one overload has many answers */
        gcs_ramp_refused(&r, now_us + i);
    assert_int_equal(gcs_ramp_limit(&r), 40);
    for (int i = 1; i < 6; i++)
        gcs_ramp_refused(&r, now_us + i * RAMP_FALL_US);
    assert_int_equal(gcs_ramp_limit(&r), 10);
}

#define THREADS 4
#define TAKES   20000

static struct gcs_ramp shared;
static uint64_t waits[THREADS];

static void *taker(void *arg)
{
    uint64_t *sum = arg;

    for (int i = 0; i < TAKES; i++)
        *sum += (uint64_t)gcs_ramp_take(&shared, START_US);
    return NULL;
}

/* All at one moment of the clock: every moment is given once, so the waits add up. */
static void test_threads(void **state)
{
    pthread_t thread[THREADS];
    uint64_t sum = 0, expected = 0;

    (void)state;
    gcs_ramp_init(&shared, 1000, START_US);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, taker, &waits[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        sum += waits[i];
    }
    for (uint64_t i = 251; i < (uint64_t)THREADS * TAKES; i++)
        expected += (i - 250) * 1000 + 1;
    assert_true(sum == expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
