/*
 * COLD. A worker's pages, taken before they are touched. A worker that serves would wait for each: the
 * kernel clears a large page in 0.2 ms, and where the machine is itself a guest whose host has to find
 * the memory first, in 4.6 ms. That was most of the tail of the answers' latency.
 *
 * What every event passes through is taken by the worker's thread before it opens its ears, so on the
 * NUMA node of its core, all workers at once. What only some requests need, and which may be far more
 * (a lease for each connection, leases of the largest body), is left to a thread that has time.
 */
#include "dataplane/base/mem.h"
#include "dataplane/worker_internal.h"

static int blocks_populate(struct worker *w)
{
    uint64_t entries = worker_entries_bytes(&w->config);
    int rc = mem_populate(w->block_memory, w->block_memory_bytes, NULL);

    ASSERT(w->entries != NULL);
    return rc < 0 ? rc : mem_populate(w->entries, entries, NULL);
}

/* Slots of clients. */
static int clients_populate(struct worker *w)
{
    const struct worker_config *c = &w->config;
    int rc = mem_populate(w->connection, c->connections_max * sizeof(*w->connection), NULL);

    ASSERT(w->connection != NULL);
    if (rc == 0 && w->streams.stream != NULL)
        rc = mem_populate(w->streams.stream, c->streams_max * sizeof(*w->streams.stream), NULL);
    return rc;
}

int worker_populate_first(struct worker *w)
{
    struct receive_pool *pool[] = {&w->receive, &w->wide, &w->streams.receive, &w->udp.receive};
    int rc = blocks_populate(w);

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(pool); i++)
        rc = receive_pool_populate(pool[i]);
    if (rc == 0)
        rc = clients_populate(w);
    ASSERT(w->ingest != NULL);
    return rc < 0 ? rc : ingest_populate(w->ingest);
}

int worker_populate(struct worker *w, const _Atomic bool *stop)
{
    int rc = lease_pool_populate(w->leases, stop);

    ASSERT(stop != NULL);
    if (rc == 0)
        rc = mem_populate(w->streams.own, w->streams.own_bytes, stop);
    if (rc == 0 && w->plain != NULL)
        rc = mem_populate(w->plain, secure_memory_bytes(&w->config), stop);
    if (rc == 0)
        rc = mem_populate(w->list_memory, (size_t)LISTS * LIST_BYTES, stop);
    return rc < 0 ? rc : expander_populate(w->expander, stop);
}
