/* COLD. The memory plan: what is taken at start, as a sum with one line for each term. */
#include <inttypes.h>

#include "control/daemon.h"
#include "control/eal.h"
#include "control/knobs.h"
#include "dataplane/base/log.h"
#include "sinks/dedupe/idwindow.h"

#define GZIP_BYTES   ((uint64_t)300 << 10) /* zlib's state at any level */
#define UPLOAD_BYTES ((uint64_t)256 << 10) /* libcurl's buffers of one connection, both ways */

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
    log_info("memory", "sum %.1f MiB, taken at start and kept", (double)sum / (1 << 20));
    return sum;
}
