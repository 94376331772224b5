/*
 * Goal: every value has the bucket it belongs to, quantiles are at most an eighth too large and
 * never too small, and differences of copies are what came in between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/base/histogram.h"

static struct histogram h;

static int empty(void **state)
{
    (void)state;
    memset((void *)&h, 0, sizeof(h));
    return 0;
}

static void one_value(void **state)
{
    (void)state;
    for (uint64_t v = 0; v <= HISTOGRAM_MAX; v = v < 5000 ? v + 1 : v + v / 97) {
        struct histogram_copy c = {0};

        assert_true(histogram_bucket(v) < HISTOGRAM_BUCKETS);
        assert_true(histogram_bucket(v) <= histogram_bucket(v + 1));
        empty(NULL);
        histogram_add(&h, v);
        histogram_read(&h, &c);
        assert_true(histogram_quantile(&c, 0.5) >= v);
        assert_true(histogram_quantile(&c, 0.5) <= v + v / 8);
        assert_int_equal(c.sum, v);
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void many_values(void **state)
{
    struct histogram_copy c = {0}, before = {0};

    (void)state;
    assert_int_equal(histogram_quantile(&c, 0.99), 0);
    for (uint64_t v = 1; v <= 100000; v++)
        histogram_add(&h, v);
    histogram_read(&h, &c);
    assert_int_equal(c.n, 100000);
    assert_in_range(histogram_quantile(&c, 0.5), 50000, 56250);
    assert_in_range(histogram_quantile(&c, 0.99), 99000, 111400);
    assert_in_range(histogram_quantile(&c, 1), 100000, 112500);
    assert_int_equal(histogram_quantile(&c, 0), 1);
    assert_int_equal(histogram_below(&c, 1024), 1023);
    assert_int_equal(histogram_below(&c, 65536), 65535);
    assert_int_equal(histogram_below(&c, 1), 0);
    before = c;
    histogram_add(&h, 7);
    memset(&c, 0, sizeof(c));
    histogram_read(&h, &c);
    histogram_since(&c, &before);
    assert_int_equal(c.n, 1);
    assert_int_equal(histogram_quantile(&c, 0.999), 7);
    assert_int_equal(c.sum, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(one_value, empty),
        cmocka_unit_test_setup(many_values, empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
