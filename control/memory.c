/*
 * COLD. The memory plan: what is taken at start, as a sum with one line for each term; and taking it.
 *
 * Workers take the pages of what every event passes through themselves, before they serve. The rest is
 * touched by a thread that starts before them and ends when all is there, so that a start does not take
 * longer the more there is, and hardly anybody finds a page that is not there yet.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "control/daemon.h"
#include "control/eal.h"
#include "control/knobs.h"
#include "control/process.h"
#include "dataplane/base/log.h"
#include "sinks/dedupe/idwindow.h"

#define GZIP_BYTES   ((uint64_t)300 << 10) /* zlib's state at any level */
#define UPLOAD_BYTES ((uint64_t)256 << 10) /* libcurl's buffers of one connection, both ways */
#define OTHER_BYTES  ((uint64_t)64 << 20) /* code and libraries 30 MiB, stacks, plans, the ledger */
#define LATER_NICE   10 /* who maps memory waits for a page of the thread's at most: not 19 */

static uint64_t term(const char *name, uint64_t count, uint64_t each)
{
    struct textbuf size = {0};
    uint64_t sum;

    if (__builtin_mul_overflow(count, each, &sum))
        sum = UINT64_MAX;
    ASSERT(name != NULL);
    textbuf_add(&size, "%.1f MiB", (double)sum / (1 << 20));
    log_info("memory", "%-22s %4" PRIu64 " x %10" PRIu64 " B = %12s", name, count, each,
             textbuf_str(&size));
    textbuf_fini(&size);
    return sum;
}

uint64_t memory_plan(const struct daemon *d)
{
    const struct config *c = d->config;
    bool inserts = c->types.insert_all;
    uint64_t sum = 0, ids = 0;

    ASSERT(d->n_workers > 0);
    for (uint32_t i = 0; i < c->types.n_types; i++)
        inserts |= type_inserts(&c->types, &c->types.type[i]);
    for (uint32_t i = 0; i < c->types.n_types; i++)
        ids += c->types.type[i].dedupe_field != NULL
                   ? id_window_bytes(c->types.type[i].dedupe_ids_max)
                   : 0;
    sum += term("worker", d->n_workers, worker_memory_bytes(&d->worker_config[0]));
    sum += term("sink thread: groups", d->n_sinks, c->group_memory);
    sum += term("sink thread: uploads", d->n_sinks * c->gcs_concurrency, UPLOAD_BYTES);
    sum += term("sink thread: inserts", inserts ? d->n_sinks * c->insert_concurrency : 0,
                c->insert_bytes);
    sum += term("sink thread: gzip", d->n_sinks, GZIP_BYTES);
    if (ids > 0)
        sum += term("ids of dedupe", 1, ids);
    if (d->nics != NULL && eal_huge())
        sum += term("packet buffers", d->n_workers, nics_pool_bytes(&d->nics_config));
    sum += term("DPDK heap", 1, eal_heap_bytes());
    sum += term("code, libraries, heap", 1, OTHER_BYTES);
    log_info("memory", "sum %.1f MiB, taken at start and kept", (double)sum / (1 << 20));
    return sum;
}

bool memory_fits(const struct daemon *d, uint64_t sum)
{
    uint64_t left = process_memory_left(), here = process_rss();
    uint64_t wanted = sum > here ? sum - here : 0;

    ASSERT(d->n_workers > 0);
    if (wanted <= left)
        return true;
    log_warn("memory",
             "%.1f MiB are left here, with the limits of control groups, and %.1f MiB are wanted: "
             "memory is taken bit by bit as it is needed, answers wait for it, and the kernel may "
             "end penstockd when nothing is left; set group.memory, block.count, "
             "http.connections_max or workers lower",
             (double)left / (1 << 20), (double)wanted / (1 << 20));
    return false;
}

static void *later_main(void *ctx)
{
    struct daemon *d = ctx;
    int rc = 0;

    pthread_setname_np(pthread_self(), "memory");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), LATER_NICE); /* only a wish */
    ASSERT(d->n_workers > 0);
    for (uint32_t i = 0; rc == 0 && i < d->n_workers; i++)
        rc = worker_populate(d->worker[i], &d->memory_stop);
    for (uint32_t i = 0; rc == 0 && i < d->n_sinks; i++)
        rc = sink_populate(d->sink[i].sink, &d->memory_stop);
    if (rc < 0)
        log_warn("memory",
                 "cannot take all of the sum now: %s; the rest is taken as it is needed, if it is "
                 "there then",
                 strerror(-rc));
    return NULL;
}

int memory_start(struct daemon *d)
{
    int rc;

    if (!d->memory_fits)
        return 0;
    ASSERT(!d->memory_running);
    rc = pthread_create(&d->memory, NULL, later_main, d);
    d->memory_running = rc == 0;
    return -rc;
}

void memory_stop(struct daemon *d)
{
    if (!d->memory_running)
        return;
    ASSERT(d->memory_fits);
    atomic_store(&d->memory_stop, true);
    pthread_join(d->memory, NULL);
    d->memory_running = false;
}
