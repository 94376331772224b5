/*
 * Goal: leases are what was asked for or larger, never overlap, never run over, and come back.
 * Method: all of them taken and filled; then random acquiring and releasing against a list. The
 * seed is printed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "dataplane/json/json.h"
#include "dataplane/lease.h"
#include "tests/unit/tcore_storage.h"

#define ALL 7

static const struct lease_config config = {.count = {4, 2, 1},
                                           .bytes = {4096, 8192, 65536, 65536, 65536}};

static void test_classes(void **state)
{
    struct lease_pool *p;
    struct lease l[ALL], more;

    (void)state;
    assert_true(lease_memory_bytes(&config) >=
                4 * 4096 + 2 * 8192 + 65536 + ALL * JSON_PADDING_BYTES);
    assert_int_equal(lease_pool_create(&config, &p), 0);
    assert_false(lease_acquire(p, 65537, &more));
    for (int i = 0; i < ALL; i++) { /* the small ones first, then whatever is larger */
        assert_true(lease_acquire(p, 100, &l[i]));
        assert_int_equal(l[i].bytes, i < 4 ? 4096 : i < 6 ? 8192 : 65536);
        memset(l[i].buf, i, l[i].bytes + JSON_PADDING_BYTES);
    }
    assert_false(lease_acquire(p, 1, &more));
    for (int i = 0; i < ALL; i++) {
        for (uint32_t k = 0; k < l[i].bytes; k++)
            assert_int_equal(l[i].buf[k], i);
        lease_release(p, &l[i]);
        assert_null(l[i].buf);
        lease_release(p, &l[i]); /* an empty one is fine */
    }
    assert_true(lease_acquire(p, 8192, &more));
    assert_int_equal(more.bytes, 8192);
    lease_release(p, &more);
    lease_pool_destroy(p);
    lease_pool_destroy(NULL);
}

static void test_none_of_a_class(void **state)
{
    struct lease_config none = {.count = {0, 1, 0}, .bytes = {4096, 8192, 65536, 65536, 65536}};
    struct lease_pool *p;
    struct lease l, more;

    (void)state;
    assert_int_equal(lease_pool_create(&none, &p), 0);
    assert_true(lease_acquire(p, 1, &l));
    assert_int_equal(l.bytes, 8192);
    assert_false(lease_acquire(p, 1, &more));
    lease_release(p, &l);
    assert_false(lease_acquire(p, 8193, &more));
    lease_pool_destroy(p);
}

static void test_random(void **state)
{
    uint64_t seed = tcore_seed("leases", 5);
    struct lease_pool *p;
    struct lease held[ALL] = {{0}};
    unsigned n = 0;

    (void)state;
    assert_int_equal(lease_pool_create(&config, &p), 0);
    for (int i = 0; i < 20000; i++) {
        unsigned at = (unsigned)(tcore_random(&seed) % ALL);

        if (held[at].buf != NULL) {
            assert_int_equal(held[at].buf[0], (char)at);
            assert_int_equal(held[at].buf[held[at].bytes - 1], (char)at);
            lease_release(p, &held[at]);
            n--;
        } else if (lease_acquire(p, tcore_random(&seed) % 9000, &held[at])) {
            memset(held[at].buf, (int)at, held[at].bytes);
            n++;
        } else {
            assert_true(n > 0);
        }
    }
    lease_pool_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_none_of_a_class),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
