/*
 * Goal: without memory, credentials are refused with -ENOMEM and a fetch is tried again; nothing
 * leaks (under ASan) and nothing is half made.
 * Method: the parts under test with an allocator that fails from the n-th call on; the library's own
 * copies are not linked.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/retry_internal.h"
#include "tests/unit/tauth_files.h"
#include "tests/unit/tcloud_bed.h"
#include "tests/unit/tcloud_server.h"

static int64_t allocations_left = INT64_MAX;

static bool allocation_fails(void)
{
    return allocations_left-- <= 0;
}

#define malloc(n)     (allocation_fails() ? NULL : malloc(n))
#define calloc(n, m)  (allocation_fails() ? NULL : calloc(n, m))
#define realloc(p, n) (allocation_fails() ? NULL : realloc(p, n))
#include "sinks/engine/auth_jwt.c"
#include "sinks/engine/auth_key.c"
#include "sinks/engine/text.c"
#undef malloc
#undef calloc
#undef realloc

#define TRIES_MAX 100

static void key_without_memory(void **state)
{
    char error[AUTH_ERROR_BYTES], path[256];
    struct auth_key *k = NULL;
    int n;

    (void)state;
    snprintf(path, sizeof(path), "%s", write_key("memory.json", ""));
    for (n = 0; n < TRIES_MAX; n++) {
        int rc;

        allocations_left = n;
        rc = auth_key_load(path, &k, error, sizeof(error));
        allocations_left = INT64_MAX;
        if (rc == 0)
            break;
        assert_int_equal(rc, -ENOMEM);
        assert_null(k);
        assert_non_null(strstr(error, "memory"));
    }
    assert_in_range(n, 2, TRIES_MAX - 1);
    auth_key_destroy(k);
}

static void form_without_memory(void **state)
{
    char error[AUTH_ERROR_BYTES];
    struct auth_key *k;
    int n;

    (void)state;
    assert_int_equal(auth_key_load(write_key("memory.json", ""), &k, error, sizeof(error)), 0);
    for (n = 0; n < TRIES_MAX; n++) {
        struct text t = {0};
        int rc;

        allocations_left = n;
        rc = auth_form(&t, k, 1700000000);
        allocations_left = INT64_MAX;
        auth_text_wipe(&t);
        if (rc == 0)
            break;
        assert_int_equal(rc, -ENOMEM);
    }
    assert_in_range(n, 2, TRIES_MAX - 1);
    auth_key_destroy(k);
}

static void fetch_without_memory(void **state)
{
    static const struct tcloud_step steps[] = {{TCLOUD_ANSWER, 200, NULL, TOKEN("one", 3600)}};
    struct tcloud_server *server = tcloud_server_start(steps, 1);
    int64_t end_us = clock_monotonic_us() + 5000000;
    struct auth_config c = {0};
    struct tcloud_bed bed;
    struct auth a;
    char error[AUTH_ERROR_BYTES], member[128];
    const char *header = NULL;
    uint64_t generation;

    (void)state;
    tcloud_bed_init(&bed, 2000);
    snprintf(member, sizeof(member), "\"token_uri\":\"%s/token\",", tcloud_server_url(server));
    c.key_file = write_key("memory.json", member);
    assert_int_equal(auth_init(&a, &c, error, sizeof(error)), 0);
    auth_bind(&a, bed.loop, bed.http);
    allocations_left = 0;
    assert_false(auth_take(&a, &header, &generation));
    allocations_left = INT64_MAX;
    assert_string_equal(auth_why(&a), "no access token: out of memory");
    assert_false(auth_is_refused(&a));
    while (!auth_take(&a, &header, &generation) && clock_monotonic_us() < end_us)
        (void)loop_run_once(bed.loop, 5000);
    assert_string_equal(header, "Authorization: Bearer one");
    auth_unbind(&a);
    auth_fini(&a);
    tcloud_bed_fini(&bed);
    tcloud_server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(key_without_memory, tauth_each),
        cmocka_unit_test_setup(form_without_memory, tauth_each),
        cmocka_unit_test_setup(fetch_without_memory, tauth_each),
    };

    return cmocka_run_group_tests(tests, tauth_setup, tauth_teardown);
}
