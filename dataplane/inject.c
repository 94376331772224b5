/* HOT. Injections in a worker: see inject.h. */
#include "dataplane/inject.h"

#include <errno.h>
#include <rte_ring.h>
#include <stdlib.h>

#include "dataplane/base/ring.h"
#include "dataplane/worker_internal.h"

#define RING_ITEMS     256
#define BATCHES_A_TURN 2 /* so that connections get their share */

int injections_create(struct worker *w)
{
    w->injections = ring_create("injections", RING_ITEMS, RING_F_SC_DEQ);
    return w->injections != NULL ? 0 : -ENOMEM;
}

void injections_destroy(struct worker *w)
{
    ASSERT(w->inject_first == NULL && w->inject_waiting_first == NULL);
    free(w->injections);
}

int worker_inject(struct worker *w, struct injection *i)
{
    ASSERT(i->batch.n_docs > 0 && i->batch.taken == 0);
    i->_next = NULL;
    i->status = 0;
    if (rte_ring_mp_enqueue(w->injections, i) != 0)
        return -EAGAIN;
    worker_nudge(w);
    return 0;
}

uint32_t worker_inject_fits(const struct worker *w, const struct inject_doc *doc, uint32_t n_docs)
{
    return ingest_fits(w->config.event_bytes_max, w->block[0].capacity, doc, n_docs);
}

static void list_append(struct injection **first, struct injection **last, struct injection *i)
{
    ASSERT((*first == NULL) == (*last == NULL));
    i->_next = NULL;
    if (*first == NULL)
        *first = i;
    else
        (*last)->_next = i;
    *last = i;
}

static struct injection *list_take(struct injection **first, struct injection **last)
{
    struct injection *i = *first;

    ASSERT(i != NULL);
    *first = i->_next;
    if (*first == NULL)
        *last = NULL;
    return i;
}

static void finish(struct injection *i, int status)
{
    if (status != 0)
        i->status = status;
    ASSERT(i->status != 0 || i->batch.taken == i->batch.n_docs); /* all of it is durable */
    sem_post(&i->done); /* the last touch: it is the submitter's again */
}

/* Takes documents of a batch. @return whether it is done with. */
static bool batch_take(struct worker *w, struct injection *i)
{
    uint32_t before = i->batch.taken;
    bool all;

    if (worker_draining(w)) {
        i->status = -ESHUTDOWN;
        return true;
    }
    if (atomic_load_explicit(&i->cancel, memory_order_relaxed)) {
        i->status = -ECANCELED;
        return true;
    }
    all = ingest_documents(w->ingest, &i->batch, &i->result) == REASON_NONE;
    ASSERT(i->batch.taken >= before);
    stat_add(&w->stats.injected, i->batch.taken - before);
    return all;
}

void injections_run(struct worker *w)
{
    void *item;

    while (rte_ring_sc_dequeue(w->injections, &item) == 0)
        list_append(&w->inject_first, &w->inject_last, item);
    w->inject_more = false;
    for (int n = 0; w->inject_first != NULL; n++) {
        if (n == BATCHES_A_TURN) {
            w->inject_more = true;
            return;
        }
        if (!batch_take(w, w->inject_first))
            return;
        stat_add(&w->stats.injections, 1);
        list_append(&w->inject_waiting_first, &w->inject_waiting_last,
                    list_take(&w->inject_first, &w->inject_last));
    }
}

void injections_durable(struct worker *w)
{
    ASSERT(w->inject_waiting_first == NULL || w->inject_waiting_last != NULL);
    while (w->inject_waiting_first != NULL &&
           w->inject_waiting_first->result.last_seq <= w->durable_seq)
        finish(list_take(&w->inject_waiting_first, &w->inject_waiting_last), 0);
}

bool injections_quiet(const struct worker *w)
{
    return w->inject_first == NULL && w->inject_waiting_first == NULL &&
           rte_ring_count(w->injections) == 0;
}

void injections_end(struct worker *w)
{
    void *item;

    injections_durable(w);
    while (w->inject_waiting_first != NULL)
        finish(list_take(&w->inject_waiting_first, &w->inject_waiting_last), -EIO);
    while (w->inject_first != NULL) {
        struct injection *i = list_take(&w->inject_first, &w->inject_last);

        finish(i, i->batch.taken > 0 ? -EIO : -ESHUTDOWN);
    }
    while (rte_ring_sc_dequeue(w->injections, &item) == 0)
        finish(item, -ESHUTDOWN);
}
