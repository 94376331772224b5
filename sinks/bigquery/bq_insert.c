/*
 * COLD. One insertAll request; its answer is taken apart in bq_insert_read.c. Thread: the loop's.
 *
 * Nothing is repeated here but the one refresh of a token: what a failure means for the rows is for
 * the owner to say. Only a well-formed answer says that a row is in.
 */
#include "sinks/bigquery/bq_insert.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/base/canary.h"
#include "sinks/bigquery/bq_internal.h"
#include "sinks/engine/answer.h"

#define LARGE_BYTES      (1u << 20) /* a cut connection may be about the request's size from here on */
#define BYTES_PER_MS_MIN 64         /* slower uploads are given up */

struct insert_op {
    struct bq *bq;
    struct bq_insert *insert;
    struct insert_op *prev, *next;
    struct request request;
};

void insert_op_destroy(struct insert_op *op)
{
    ASSERT(op->insert->_op == op);
    op->insert->_op = NULL;
    request_fini(&op->request);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        op->bq->inserts = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    free(op);
}

static void on_refused(void *ctx, uint32_t index, const char *text)
{
    struct bq_insert *i = ctx;

    ASSERT(index < i->n_rows);
    if (i->refused != NULL)
        i->refused(i, index, text);
}

static void count_verdicts(struct bq_stats *stats, const struct bq_insert *i)
{
    uint64_t again = 0, refused = 0;

    ASSERT(i->verdict != NULL);
    for (uint32_t row = 0; row < i->n_rows; row++) {
        again += i->verdict[row] == BQ_ROW_AGAIN;
        refused += i->verdict[row] == BQ_ROW_REFUSED;
    }
    stat_add(&stats->insert_again, again);
    stat_add(&stats->insert_refused, refused);
}

static void answer_read(struct insert_op *op, const struct http_answer *a,
                        struct bq_insert_result *out)
{
    struct bq_insert *i = op->insert;

    ASSERT(out->outcome == BQ_INSERT_ANSWERED);
    out->text = bq_insert_read(a->body, i->n_rows, i->verdict, on_refused, i);
    if (out->text == NULL || CANARY(CANARY_ODD_ANSWER)) {
        out->text = "";
        count_verdicts(op->bq->stats, i);
        return;
    }
    stat_add(&op->bq->stats->insert_odd, 1);
    out->outcome = BQ_INSERT_ODD;
}

/* Whether a 400 is BigQuery's own word about the request, and not something in between. */
static bool is_verdict(const struct http_answer *a)
{
    struct json_value root, error;

    ASSERT(a->status == 400);
    return answer_object(a->body, &root) && answer_find(root, "error.errors", &error) &&
           error.type == JSON_ARRAY && json_count(error) > 0;
}

static enum bq_insert_outcome outcome_of(enum answer_class c, const struct http_answer *a)
{
    ASSERT(a != NULL);
    if (a->status == 413)
        return BQ_INSERT_TOO_LARGE;
    switch (c) {
    case ANSWER_OK:
        return BQ_INSERT_ANSWERED;
    case ANSWER_TRANSIENT:
    case ANSWER_QUOTA:
        return BQ_INSERT_LATER;
    case ANSWER_NOT_FOUND:
        return BQ_INSERT_LAG;
    case ANSWER_AUTH:
    case ANSWER_CONFLICT:
    case ANSWER_PRECONDITION:
    case ANSWER_PERMANENT:
        break;
    }
    return a->status == 400 && is_verdict(a) ? BQ_INSERT_INVALID : BQ_INSERT_PERMANENT;
}

static void insert_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct insert_op *op = container_of(r, struct insert_op, request);
    struct bq_insert *i = op->insert;
    struct bq_insert_result result = {
        .outcome = outcome_of(c, a), .class = c, .retry_after_s = a->retry_after_s};
    char text[REASON_TEXT_BYTES];

    ASSERT(i->_op == op);
    if (result.outcome == BQ_INSERT_ANSWERED) {
        answer_read(op, a, &result);
    } else {
        answer_describe(a, text);
        result.text = text;
        result.cut = a->status == 0 && i->body->len >= LARGE_BYTES;
    }
    insert_op_destroy(op);
    i->done(i, &result); /* may free i */
}

static void insert_resume(struct request *r)
{
    ASSERT(r == NULL); /* nothing waits here */
}

int bq_insert_start(struct bq *b, struct bq_insert *i)
{
    struct insert_op *op;
    struct text *url;

    ASSERT(i->done != NULL && i->verdict != NULL && i->_op == NULL);
    ASSERT(i->n_rows > 0 && i->n_rows <= BQ_INSERT_ROWS_MAX);
    op = calloc(1, sizeof(*op));
    if (op == NULL)
        return -ENOMEM;
    op->bq = b;
    op->insert = i;
    op->request.answered = insert_answered;
    op->request.resume = insert_resume;
    op->request.waiting = &i->waiting;
    request_init(&op->request, &b->env);
    i->waiting = NULL;
    i->_op = op;
    op->next = b->inserts;
    if (op->next != NULL)
        op->next->prev = op;
    b->inserts = op;
    url = request_reset(&op->request, "POST");
    bq_table_url(url, b->config, i->table);
    text_adds(url, "/insertAll");
    request_body(&op->request, i->body);
    op->request.timeout_ms = BQ_TIMEOUT_MS + (uint32_t)(i->body->len / BYTES_PER_MS_MIN);
    stat_add(&b->stats->insert_requests, 1);
    stat_add(&b->stats->insert_rows, i->n_rows);
    request_send(&op->request);
    return 0;
}

void bq_insert_cancel(struct bq_insert *i)
{
    ASSERT(i != NULL);
    if (i->_op != NULL)
        insert_op_destroy(i->_op);
}
