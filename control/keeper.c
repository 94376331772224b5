/* COLD. The keeper: one thread that keeps spare segments ready and recycles what is delivered, for
 * all journals. */
#include <time.h>

#include "control/daemon.h"
#include "dataplane/base/log.h"

#define IDLE_NS 5000000 /* between looks when there was nothing to do */

static void *keeper_main(void *ctx)
{
    struct daemon *d = ctx;
    const struct timespec idle = {.tv_nsec = IDLE_NS};

    ASSERT(d->n_journals > 0);
    pthread_setname_np(pthread_self(), "keeper");
    while (atomic_load_explicit(&d->keeper_running, memory_order_acquire)) {
        int done = 0;

        for (uint32_t i = 0; i < d->n_journals; i++)
            done +=
                journal_keep(d->journal[i], dlog_free_lsn(d->dlog, journal_uuid(d->journal[i])));
        if (done <= 0)
            nanosleep(&idle, NULL);
    }
    return NULL;
}

int keeper_start(struct daemon *d)
{
    int rc;

    ASSERT(d->dlog != NULL);
    atomic_store_explicit(&d->keeper_running, true, memory_order_release);
    rc = pthread_create(&d->keeper, NULL, keeper_main, d);
    if (rc != 0)
        atomic_store_explicit(&d->keeper_running, false, memory_order_release);
    return -rc;
}

void keeper_stop(struct daemon *d)
{
    ASSERT(d != NULL);
    if (!atomic_load_explicit(&d->keeper_running, memory_order_acquire))
        return;
    atomic_store_explicit(&d->keeper_running, false, memory_order_release);
    pthread_join(d->keeper, NULL);
}
