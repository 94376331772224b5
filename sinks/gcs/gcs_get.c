/*
 * COLD. Reads an object of ours back, range by range, so that no answer is large. Its size is not
 * asked for: a range that is answered short, or not satisfiable (416), was the last.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sinks/gcs/gcs_internal.h"

#define GET_TIMEOUT_MS  120000
#define GET_RANGE_BYTES ((uint64_t)2 << 20)

struct get_op {
    struct gcs *gcs;
    struct gcs_get *get;
    struct get_op *prev, *next;
    struct request request;
    uint64_t offset;
    char range[RANGE_HEADER_BYTES];
    const char *headers[3];
};

void get_op_destroy(struct get_op *op)
{
    ASSERT(op->get->_op == op);
    op->get->_op = NULL;
    request_fini(&op->request);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        op->gcs->gets = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    free(op);
}

static void get_run(struct get_op *op)
{
    struct request *r = &op->request;
    struct text *url = request_reset(r, "GET");

    ASSERT(op->get->_op == op);
    object_url(url, op->gcs->config, op->get->name);
    text_adds(url, "?alt=media");
    snprintf(op->range, sizeof(op->range), "Range: bytes=%" PRIu64 "-%" PRIu64, op->offset,
             op->offset + GET_RANGE_BYTES - 1);
    op->headers[0] = op->range;
    /* Stored gzip would be unpacked for whoever does not accept it, and ranges would not hold. */
    op->headers[1] = "Accept-Encoding: gzip";
    op->headers[2] = NULL;
    r->headers = op->headers;
    r->timeout_ms = GET_TIMEOUT_MS;
    request_send(r);
}

static void get_finish(struct get_op *op, enum gcs_result result, const char *text)
{
    struct gcs_get *get = op->get;

    ASSERT(get->done != NULL);
    get_op_destroy(op);
    get->done(get, result, text); /* may free get */
}

static void get_taken(struct get_op *op, const struct http_answer *a)
{
    bool last = a->status != 206 || a->body.len < GET_RANGE_BYTES;

    if (a->status != 206 && op->offset > 0) {
        get_finish(op, GCS_PERMANENT, "a range was asked for, and all of the object came");
        return;
    }
    op->offset += a->body.len;
    request_progress(&op->request);
    if (a->body.len > 0 && !op->get->take(op->get, a->body))
        get_finish(op, GCS_PERMANENT, "what was read cannot be used");
    else if (last)
        get_finish(op, GCS_DONE, "");
    else
        get_run(op);
}

static void get_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct get_op *op = container_of(r, struct get_op, request);
    char text[REASON_TEXT_BYTES];

    ASSERT(op->get->_op == op);
    if (c == ANSWER_OK) {
        get_taken(op, a);
    } else if (a->status == 416) {
        get_finish(op, GCS_DONE, ""); /* the object ended with the range before, or is empty */
    } else if (c == ANSWER_TRANSIENT || c == ANSWER_QUOTA) {
        request_later(r, c, a);
    } else {
        answer_describe(a, text);
        get_finish(op, GCS_PERMANENT, text);
    }
}

static void get_resume(struct request *r)
{
    get_run(container_of(r, struct get_op, request));
}

int gcs_get_start(struct gcs *g, struct gcs_get *get)
{
    struct get_op *op = calloc(1, sizeof(*op));

    ASSERT(get->done != NULL && get->take != NULL && get->name != NULL && get->_op == NULL);
    if (op == NULL)
        return -ENOMEM;
    op->gcs = g;
    op->get = get;
    op->request.answered = get_answered;
    op->request.resume = get_resume;
    op->request.waiting = &get->waiting;
    request_init(&op->request, &g->env);
    get->waiting = NULL;
    get->_op = op;
    op->next = g->gets;
    if (op->next != NULL)
        op->next->prev = op;
    g->gets = op;
    get_run(op);
    return 0;
}
