/*
 * Injections: batches of documents that a control thread hands to a worker, for backfill and
 * replay. The worker takes them in its turn like request bodies, into its own blocks, and tells when
 * they are durable.
 *
 *     submitted ─ ring ─> queued ─ room ─> all in blocks ─ last block durable ─> done
 *                            └── cancelled, or draining: what was taken becomes durable, then done
 *
 * One whose documents find no room waits, without a limit of time; live requests keep a quarter of
 * the blocks.
 */
#ifndef PENSTOCK_INJECT_H
#define PENSTOCK_INJECT_H

#include <semaphore.h>

#include "dataplane/ingest.h"

struct worker;

/** One batch on its way. The submitter's memory, and the worker's until done is posted. */
struct injection {
    struct ingest_batch batch;   /* filled by the submitter; taken tells how many are stored */
    struct ingest_result result; /* of those that were taken */
    int status;          /* 0; -ECANCELED; -ESHUTDOWN; -EIO: the worker ended before it knew */
    _Atomic bool cancel; /* set by the submitter: take no more of it */
    sem_t done;          /* posted once, when batch, result and status are final */
    struct injection *_next;
};

/**
 * Hands a batch to a worker. Batches of one session go to one worker, where they are taken and
 * become durable in order.
 * Thread: control, several at once.  Alloc: none.  Owner: the worker, until done is posted.
 * @return 0; -EAGAIN when too many wait already.
 */
int worker_inject(struct worker *w, struct injection *i) WARN_UNUSED;

/** ingest_fits() for a worker with this configuration. Thread: any. */
uint32_t worker_inject_fits(const struct worker *w, const struct inject_doc *doc, uint32_t n_docs);

#endif
