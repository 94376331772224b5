/*
 * COLD. Deletes a staging object after its load. 404 is success: an earlier answer may have been
 * lost. Transient failures are retried for ever, as everywhere. A load may leave thousands to
 * delete at once: they queue, so that uploads get their share of the connections and of the ramp.
 */
#include <errno.h>
#include <stdlib.h>

#include "sinks/gcs/gcs_internal.h"

#define DELETE_TIMEOUT_MS 60000

struct delete_op {
    struct gcs *gcs;
    struct gcs_delete *del;
    struct delete_op *prev, *next;
    struct request request;
    bool slot; /* the ramp has given this attempt its moment */
};

static void delete_run(struct delete_op *op)
{
    struct request *r = &op->request;

    ASSERT(op->del->_op == op);
    if (!ramp_pass(op->gcs, r, &op->slot))
        return;
    object_url(request_reset(r, "DELETE"), op->gcs->config, op->del->name);
    r->timeout_ms = DELETE_TIMEOUT_MS;
    request_send(r);
}

static void op_free(struct delete_op *op)
{
    ASSERT(op->del->_op == op);
    op->del->_op = NULL;
    request_fini(&op->request);
    free(op);
}

/* Takes the first of the queue up. */
static void queue_next(struct gcs *g)
{
    struct delete_op *op = g->queue;

    if (op == NULL || g->n_deletes == GCS_DELETES_MAX)
        return;
    g->queue = op->next;
    if (g->queue == NULL)
        g->queue_end = NULL;
    ASSERT(op->prev == NULL);
    op->next = g->deletes;
    if (op->next != NULL)
        op->next->prev = op;
    g->deletes = op;
    g->n_deletes++;
    delete_run(op);
}

static void delete_op_destroy(struct delete_op *op)
{
    struct gcs *g = op->gcs;

    ASSERT(g->n_deletes > 0);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        g->deletes = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    g->n_deletes--;
    op_free(op);
}

void deletes_destroy(struct gcs *g)
{
    while (g->queue != NULL) {
        struct delete_op *op = g->queue;

        g->queue = op->next;
        op_free(op);
    }
    while (g->deletes != NULL)
        delete_op_destroy(g->deletes);
    ASSERT(g->n_deletes == 0);
}

static void delete_finish(struct delete_op *op, enum gcs_result result, const struct http_answer *a)
{
    struct gcs_delete *del = op->del;
    struct gcs *g = op->gcs;
    char text[REASON_TEXT_BYTES] = "";

    ASSERT(result != GCS_CONFLICT);
    if (result == GCS_PERMANENT) {
        answer_describe(a, text);
        stat_add(&g->stats->permanent, 1);
    }
    delete_op_destroy(op);
    queue_next(g);
    del->done(del, result, text); /* may free del */
}

static void delete_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct delete_op *op = container_of(r, struct delete_op, request);

    ASSERT(op->del->_op == op);
    ramp_heard(op->gcs, c, a);
    if (c == ANSWER_OK || c == ANSWER_NOT_FOUND)
        delete_finish(op, GCS_DONE, a);
    else if (c == ANSWER_TRANSIENT || c == ANSWER_QUOTA)
        request_later(r, c, a);
    else
        delete_finish(op, GCS_PERMANENT, a);
}

static void delete_resume(struct request *r)
{
    delete_run(container_of(r, struct delete_op, request));
}

int gcs_delete_start(struct gcs *g, struct gcs_delete *d)
{
    struct delete_op *op;

    ASSERT(d->done != NULL && d->name != NULL);
    ASSERT(d->_op == NULL);
    op = calloc(1, sizeof(*op));
    if (op == NULL)
        return -ENOMEM;
    op->gcs = g;
    op->del = d;
    op->request.answered = delete_answered;
    op->request.resume = delete_resume;
    request_init(&op->request, &g->env);
    d->_op = op;
    if (g->queue_end != NULL)
        g->queue_end->next = op;
    else
        g->queue = op;
    g->queue_end = op;
    queue_next(g);
    return 0;
}
