/*
 * Goal: memory that was populated is all there and unchanged, whatever the kernel is; who writes it
 * meanwhile loses nothing; a thread that is told to stop does; a machine that has no more is believed.
 *
 * Method: the kernel is asked which pages are there (mincore). mem.c is compiled in with an madvise()
 * that can refuse: as a kernel does that knows no MADV_POPULATE_WRITE, is interrupted, or is out of
 * memory.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int refusal;   /* errno of madvise(MADV_POPULATE_WRITE); 0: the kernel's own answer */
static int refusals;  /* how often; then it is the kernel's again */
static int populates; /* calls */

static int tmem_madvise(void *address, size_t len, int advice)
{
    if (advice == MADV_POPULATE_WRITE) {
        populates++;
        if (refusal != 0 && refusals-- > 0) {
            errno = refusal;
            return -1;
        }
    }
    return madvise(address, len, advice);
}

#define madvise tmem_madvise
#include "dataplane/base/mem.c"
#undef madvise

#define LEN ((size_t)6 << 20)

static atomic_bool go_on;

/* Pages of the region that are there. */
static size_t resident(void *ptr, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = len / page, n = 0;
    unsigned char *there = malloc(pages);

    assert_int_equal(mincore(ptr, len, there), 0);
    for (size_t i = 0; i < pages; i++)
        n += there[i] & 1;
    free(there);
    return n * page;
}

/* Small pages: a large one would come whole with its first byte. */
static char *fresh(void)
{
    char *p = mem_reserve(LEN);

    assert_non_null(p);
    assert_true((uintptr_t)p % HUGE_BYTES == 0);
    assert_int_equal(madvise(p, LEN, MADV_NOHUGEPAGE), 0);
    assert_int_equal(resident(p, LEN), 0);
    return p;
}

static int reset(void **state)
{
    (void)state;
    refusal = refusals = populates = 0;
    return 0;
}

static void test_all(void **state)
{
    const int refused[] = {0, EINVAL, EINTR, EAGAIN};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        for (int slowly = 0; slowly < 2; slowly++) {
            char *p = fresh();

            refusal = refused[i];
            refusals = refusal == EINVAL ? INT32_MAX : 3;
            memset(p + 4097, 'x', 8000);
            assert_int_equal(mem_populate(p, LEN, slowly ? &go_on : NULL), 0);
            assert_int_equal(resident(p, LEN), LEN);
            for (size_t at = 0; at < LEN; at++)
                assert_true(p[at] == (at >= 4097 && at < 12097 ? 'x' : 0));
            mem_release(p, LEN);
        }
    }
}

/* Any part of a region; nothing else is touched where the kernel cannot do it. */
static void test_part(void **state)
{
    const int refused[] = {0, EINVAL};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        char *p = fresh();

        refusal = refused[i];
        refusals = INT32_MAX;
        assert_int_equal(mem_populate(p + 5000, 1, NULL), 0);
        assert_int_equal(resident(p, LEN), 4096);
        assert_int_equal(mem_populate(p + 100000, 200000, &go_on), 0);
        assert_int_equal(resident(p, LEN), 4096 + align_up(300000, 4096) - 100000 / 4096 * 4096);
        assert_int_equal(mem_populate(p, 0, NULL), 0);
        mem_release(p, LEN);
    }
    assert_int_equal(mem_populate(NULL, 0, &go_on), 0);
}

static void test_stop(void **state)
{
    atomic_bool stop = true;
    char *p = fresh();

    (void)state;
    assert_int_equal(mem_populate(p, LEN, &stop), 0);
    assert_int_equal(resident(p, LEN), 0);
    assert_int_equal(populates, 0);
    assert_int_equal(mem_populate(p + 1, LEN - 1, &go_on), 0);
    assert_int_equal(populates, LEN / HUGE_BYTES); /* it looks before each step */
    mem_release(p, LEN);
}

static void test_refused(void **state)
{
    char *p = fresh();

    (void)state;
    refusal = ENOMEM;
    refusals = 1;
    assert_int_equal(mem_populate(p, LEN, NULL), -ENOMEM);
    refusals = 1;
    assert_int_equal(mem_populate(p, LEN, &go_on), -ENOMEM);
    assert_int_equal(populates, 2);
    assert_int_equal(resident(p, LEN), 0);
    mem_release(p, LEN);
}

/* Counts each byte of the region up by one, and again, until it is told to end. */
struct counter {
    char *p;
    atomic_bool end;
    int rounds;
};

static void *count(void *arg)
{
    struct counter *c = arg;

    while (!atomic_load(&c->end)) {
        for (size_t at = 0; at < LEN; at += 1024)
            __atomic_store_n(&c->p[at], (char)(__atomic_load_n(&c->p[at], __ATOMIC_RELAXED) + 1),
                             __ATOMIC_RELAXED);
        c->rounds++;
    }
    return NULL;
}

static void test_in_use(void **state)
{
    const int refused[] = {0, EINVAL};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct counter c = {.p = fresh()};
        pthread_t thread;

        refusal = refused[i];
        refusals = INT32_MAX;
        assert_int_equal(pthread_create(&thread, NULL, count, &c), 0);
        for (int n = 0; n < 20; n++)
            assert_int_equal(mem_populate(c.p + 512, LEN - 512, n % 2 ? &go_on : NULL), 0);
        atomic_store(&c.end, true);
        pthread_join(thread, NULL);
        for (size_t at = 0; at < LEN; at += 512)
            assert_int_equal(c.p[at], at % 1024 == 0 ? (char)c.rounds : 0);
        mem_release(c.p, LEN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_all, reset),    cmocka_unit_test_setup(test_part, reset),
        cmocka_unit_test_setup(test_stop, reset),   cmocka_unit_test_setup(test_refused, reset),
        cmocka_unit_test_setup(test_in_use, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
