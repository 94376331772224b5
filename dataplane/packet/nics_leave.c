/*
 * COLD. See nics_internal.h. A driver may free what its other side has shared as soon as that leaves, in the
 * EAL's interrupt thread, while a worker is reading there: net_memif clears a flag and unmaps the rings. The
 * flag comes first, so it is enough to hold up the unmapping until every worker that may have read the flag
 * before is out of the driver. There is no other place between the two that is ours than munmap() itself.
 *
 *   worker:     turn = odd;  flag? rings ...;  turn = even
 *   interrupt:  flag = 0;  every turn even or gone on?  munmap()
 */
#include <errno.h>
#include <rte_alarm.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/packet/nics_internal.h"

#define ALARM_WAIT_S 30

#ifdef __SANITIZE_THREAD__ /* it must hear of what goes away */
int __interceptor_munmap(void *address, size_t len);
#define UNMAP(address, len) __interceptor_munmap(address, len)
#else
#define UNMAP(address, len) (int)syscall(SYS_munmap, address, len)
#endif

static _Thread_local bool is_interrupt_thread;
static struct nic_poll
    polls[NIC_WORKERS_MAX]; /* of the process: whoever waits may outlive the ports */

/* Comes in the thread that calls drivers back. */
static void note_thread(void *told)
{
    ASSERT(told != NULL);
    is_interrupt_thread = true;
    sem_post(told);
}

int nics_leave_watch(void)
{
    static sem_t told; /* static: the alarm may come after we have given up */
    struct timespec end;
    int rc;

    sem_init(&told, 0, 0);
    rc = rte_eal_alarm_set(1, note_thread, &told);
    if (rc != 0)
        return rc;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += ALARM_WAIT_S;
    do
        rc = sem_timedwait(&told, &end) == 0 ? 0 : -errno;
    while (rc == -EINTR);
    ASSERT(rc == 0 || rc == -ETIMEDOUT);
    return rc;
}

struct nic_poll *nics_leave_poll(uint32_t worker)
{
    ASSERT(worker < NIC_WORKERS_MAX);
    return &polls[worker];
}

void nics_leave_wait(void)
{
    /* Pairs with the exchange in nic_poll_begin(): either we see that turn, or it sees the driver's flag. */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < NIC_WORKERS_MAX; i++) {
        const _Atomic uint32_t *turn = &polls[i].turn;
        uint32_t seen = atomic_load_explicit(turn, memory_order_acquire);

        while (seen % 2 != 0 && atomic_load_explicit(turn, memory_order_acquire) == seen)
            sched_yield();
        ASSERT_HOT(seen % 2 == 0 || atomic_load(turn) != seen);
    }
}

int nics_unmap(void *address, size_t len)
{
    if (is_interrupt_thread)
        nics_leave_wait();
    ASSERT_HOT(len > 0 || address == NULL);
    return UNMAP(address, len);
}
