/*
 * COLD. Deletes a staging object after its load. 404 is success: an earlier answer may have been
 * lost. Transient failures are retried for ever, as everywhere.
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
};

void delete_op_destroy(struct delete_op *op)
{
    ASSERT(op->del->_op == op);
    op->del->_op = NULL;
    request_fini(&op->request);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        op->gcs->deletes = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    free(op);
}

static void delete_finish(struct delete_op *op, enum gcs_result result, const struct http_answer *a)
{
    struct gcs_delete *del = op->del;
    char text[REASON_TEXT_BYTES] = "";

    ASSERT(result != GCS_CONFLICT);
    if (result == GCS_PERMANENT) {
        answer_describe(a, text);
        stat_add(&op->gcs->stats->permanent, 1);
    }
    delete_op_destroy(op);
    del->done(del, result, text); /* may free del */
}

static void delete_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct delete_op *op = container_of(r, struct delete_op, request);

    ASSERT(op->del->_op == op);
    if (c == ANSWER_OK || c == ANSWER_NOT_FOUND)
        delete_finish(op, GCS_DONE, a);
    else if (c == ANSWER_TRANSIENT || c == ANSWER_QUOTA)
        request_later(r, c, a);
    else
        delete_finish(op, GCS_PERMANENT, a);
}

static void delete_resume(struct request *r)
{
    ASSERT(r->url.len > 0);
    request_send(r);
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
    op->next = g->deletes;
    if (op->next != NULL)
        op->next->prev = op;
    g->deletes = op;
    object_url(request_reset(&op->request, "DELETE"), g->config, d->name);
    op->request.timeout_ms = DELETE_TIMEOUT_MS;
    if (text_failed(&op->request.url)) {
        delete_op_destroy(op);
        return -ENOMEM;
    }
    request_send(&op->request);
    return 0;
}
