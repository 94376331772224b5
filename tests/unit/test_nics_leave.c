/* What a driver shares stays mapped while a worker is in it: the interrupt thread waits, others do not. */
#include "dataplane/packet/nics_leave.c"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>

#include <cmocka.h>

#define ROUNDS 200
#define BYTES  4096

struct driver {
    struct nic_share share;
    char *rings;
    _Atomic bool connected, going, in, stop;
    uint64_t reads;
};

static void *worker_main(void *arg)
{
    struct driver *d = arg;
    uint64_t sum = 0;

    while (!atomic_load(&d->stop)) {
        nic_poll_begin(&d->share);
        if (atomic_load_explicit(&d->connected, memory_order_relaxed)) {
            atomic_store(&d->in, true);
            while (!atomic_load(
                &d->going)) /* as if another thread had the core: past the flag, not out */
                sched_yield();
            for (int i = 0; i < 64; i++, d->reads++) {
                sum += (unsigned char)d->rings[i];
                sched_yield();
            }
        }
        nic_poll_end(&d->share);
    }
    assert_int_equal(sum, 0);
    return NULL;
}

/* The driver's own order: the flag, then the rings. */
static void *interrupt_main(void *arg)
{
    struct driver *d = arg;

    is_interrupt_thread = true;
    while (!atomic_load(&d->in))
        sched_yield();
    atomic_store_explicit(&d->connected, false, memory_order_relaxed);
    atomic_store(&d->going, true);
    assert_int_equal(nics_unmap(d->rings, BYTES), 0);
    return NULL;
}

static void test_waits_for_worker(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct driver d = {.share.poll = nics_leave_poll((uint32_t)i % NIC_WORKERS_MAX)};
        pthread_t worker, interrupt;

        d.rings = mmap(NULL, BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(d.rings != MAP_FAILED);
        atomic_store(&d.connected, true);
        assert_int_equal(pthread_create(&worker, NULL, worker_main, &d), 0);
        assert_int_equal(pthread_create(&interrupt, NULL, interrupt_main, &d), 0);
        pthread_join(interrupt, NULL);
        assert_int_equal(msync(d.rings, BYTES, MS_ASYNC), -1); /* nothing is there any more */
        atomic_store(&d.stop, true);
        pthread_join(worker, NULL);
        assert_int_equal(d.reads, 64);
    }
}

static void test_others_do_not_wait(void **state)
{
    struct nic_share share = {.poll = nics_leave_poll(3)};
    void *page = mmap(NULL, BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_true(page != MAP_FAILED);
    nic_poll_begin(&share); /* a worker itself, in a driver */
    assert_int_equal(nics_unmap(page, BYTES), 0);
    nic_poll_end(&share);
    errno = 0;
    assert_int_equal(nics_unmap((void *)1, BYTES), -1);
    assert_int_equal(errno, EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_worker),
        cmocka_unit_test(test_others_do_not_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
