/*
 * COLD. Makes sure that a table is there and takes our columns. Thread: the loop's.
 *
 *     GET --200--> compare: equal ------------------------------------------> DONE
 *      |              |---- columns missing --> PATCH (If-Match) --200------> DONE
 *      |              |                           |--412, 404, unknown--> wait --> GET
 *      |              `---- cannot take our rows ---------------------------> CONFLICT
 *      `--404--> INSERT TABLE --200-----------------------------------------> DONE
 *                   |--409: made meanwhile --> GET (404 there is lag: wait --> GET)
 *                   `--404: no dataset --> INSERT DATASET --200, 409--> INSERT TABLE
 *                                            (404 there now is lag: wait --> INSERT TABLE)
 *
 * Lag gets LAG_US in all; then, and for every answer that will not change by itself: PERMANENT.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/base/clock.h"
#include "sinks/bigquery/bq_internal.h"
#include "sinks/engine/answer.h"

#define LAG_US     ((int64_t)600 * 1000000) /* how long a thing just made may stay invisible */
#define ETAG_BYTES 256

enum ensure_state { ENSURE_GET, ENSURE_INSERT_TABLE, ENSURE_INSERT_DATASET, ENSURE_PATCH };

struct ensure_op {
    struct bq *bq;
    struct bq_ensure *ensure;
    struct ensure_op *prev, *next;
    struct request request;
    enum ensure_state state;
    bool dataset_made;   /* or there: 404 of tables.insert is lag */
    bool table_made;     /* or there: 404 of tables.get is lag */
    int64_t lag_from_us; /* first such 404, or 0 */
    uint32_t odd_answers;
    struct text body;
    char if_match[ETAG_BYTES + 16];
    char text[REASON_TEXT_BYTES];
};

static void ensure_run(struct ensure_op *op);

void ensure_op_destroy(struct ensure_op *op)
{
    ASSERT(op->ensure->_op == op);
    op->ensure->_op = NULL;
    request_fini(&op->request);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        op->bq->ensures = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    text_fini(&op->body);
    free(op);
}

static void ensure_finish(struct ensure_op *op, enum bq_result result)
{
    struct bq_ensure *e = op->ensure;
    char text[REASON_TEXT_BYTES];

    ASSERT(e->_op == op);
    memcpy(text, op->text, sizeof(text));
    ensure_op_destroy(op);
    e->done(e, result, text); /* may free e */
}

static void ensure_fail(struct ensure_op *op, const struct http_answer *a)
{
    static const char *const what[] = {"tables.get", "tables.insert", "datasets.insert",
                                       "tables.patch"};
    char why[REASON_TEXT_BYTES];

    ASSERT(op->state < ARRAY_LEN(what));
    answer_describe(a, why);
    snprintf(op->text, sizeof(op->text), "%s: %.480s", what[op->state], why);
    ensure_finish(op, BQ_PERMANENT);
}

/* A 404 of something that was made: waits for it, but not for ever. */
static void ensure_lag(struct ensure_op *op, const struct http_answer *a)
{
    int64_t now_us = clock_monotonic_us();

    ASSERT(op->dataset_made || op->table_made);
    if (op->lag_from_us == 0)
        op->lag_from_us = now_us;
    if (now_us - op->lag_from_us > LAG_US)
        ensure_fail(op, a);
    else
        request_later(&op->request, ANSWER_TRANSIENT, a);
}

static void ensure_next(struct ensure_op *op, enum ensure_state state)
{
    ASSERT(op->request._call._handle == NULL);
    op->state = state;
    ensure_run(op);
}

static void ensure_odd_answer(struct ensure_op *op, const char *what)
{
    ASSERT(what != NULL);
    op->odd_answers++;
    if (op->odd_answers > BQ_ODD_MAX) {
        snprintf(op->text, sizeof(op->text), "%s, %u times in a row", what, op->odd_answers);
        ensure_finish(op, BQ_PERMANENT);
        return;
    }
    request_later_because(&op->request, what);
}

static void patch_prepare(struct ensure_op *op, struct json_value table, const char *fields)
{
    char etag[ETAG_BYTES];

    ASSERT(fields != NULL);
    text_reset(&op->body);
    text_adds(&op->body, "{\"schema\":{\"fields\":");
    text_adds(&op->body, fields);
    text_adds(&op->body, "}}");
    op->if_match[0] = '\0';
    if (answer_string(table, "etag", etag, sizeof(etag)) && strpbrk(etag, "\r\n") == NULL)
        snprintf(op->if_match, sizeof(op->if_match), "If-Match: %s", etag);
}

static void table_compare(struct ensure_op *op, struct span body)
{
    static const char none[] = "[]";
    struct json_value table, fields;
    char *patch = NULL;
    int rc;

    ASSERT(op->state == ENSURE_GET);
    if (!answer_object(body, &table)) {
        ensure_odd_answer(op, "the answer of tables.get is no table");
        return;
    }
    if (!answer_find(table, "schema.fields", &fields))
        fields = (struct json_value){
            .ptr = none, .len = 2, .type = JSON_ARRAY}; /* a table without columns */
    if (fields.type != JSON_ARRAY) {
        ensure_odd_answer(op, "the answer of tables.get has no list of columns");
        return;
    }
    rc = schema_compare(op->ensure->spec->schema, fields, &patch, op->text, sizeof(op->text));
    if (rc == -ENOMEM) {
        request_later_because(&op->request, "out of memory");
    } else if (rc != 0) {
        ensure_finish(op, BQ_CONFLICT);
    } else if (patch == NULL) {
        op->text[0] = '\0';
        ensure_finish(op, BQ_DONE);
    } else {
        patch_prepare(op, table, patch);
        ensure_next(op, ENSURE_PATCH);
    }
    free(patch);
}

static void get_answered(struct ensure_op *op, enum answer_class c, const struct http_answer *a)
{
    ASSERT(op->state == ENSURE_GET);
    if (c == ANSWER_OK)
        table_compare(op, a->body);
    else if (c == ANSWER_NOT_FOUND && op->table_made)
        ensure_lag(op, a);
    else if (c == ANSWER_NOT_FOUND)
        ensure_next(op, ENSURE_INSERT_TABLE);
    else
        ensure_fail(op, a);
}

static void insert_table_answered(struct ensure_op *op, enum answer_class c,
                                  const struct http_answer *a)
{
    ASSERT(op->state == ENSURE_INSERT_TABLE);
    if (c == ANSWER_OK) {
        stat_add(&op->bq->stats->tables_created, 1);
        ensure_finish(op, BQ_DONE);
    } else if (c == ANSWER_CONFLICT) {
        op->table_made = true;
        ensure_next(op, ENSURE_GET);
    } else if (c == ANSWER_NOT_FOUND && op->dataset_made) {
        ensure_lag(op, a);
    } else if (c == ANSWER_NOT_FOUND) {
        ensure_next(op, ENSURE_INSERT_DATASET);
    } else {
        ensure_fail(op, a);
    }
}

static void insert_dataset_answered(struct ensure_op *op, enum answer_class c,
                                    const struct http_answer *a)
{
    ASSERT(op->state == ENSURE_INSERT_DATASET);
    if (c == ANSWER_OK || c == ANSWER_CONFLICT) {
        op->dataset_made = true;
        ensure_next(op, ENSURE_INSERT_TABLE);
    } else {
        ensure_fail(op, a);
    }
}

static void patch_answered(struct ensure_op *op, enum answer_class c, const struct http_answer *a)
{
    ASSERT(op->state == ENSURE_PATCH);
    if (c == ANSWER_OK) {
        stat_add(&op->bq->stats->tables_patched, 1);
        op->text[0] = '\0';
        ensure_finish(op, BQ_DONE);
    } else if (c == ANSWER_PRECONDITION || c == ANSWER_NOT_FOUND || c == ANSWER_CONFLICT) {
        op->state = ENSURE_GET; /* somebody else changed it: look again */
        request_later(&op->request, ANSWER_TRANSIENT, a);
    } else {
        ensure_fail(op, a);
    }
}

static void ensure_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct ensure_op *op = container_of(r, struct ensure_op, request);

    ASSERT(op->ensure->_op == op);
    if (c == ANSWER_TRANSIENT || c == ANSWER_QUOTA) {
        if (op->state == ENSURE_PATCH)
            op->state = ENSURE_GET; /* it may have been done */
        request_later(r, c, a);
        return;
    }
    switch (op->state) {
    case ENSURE_GET:
        get_answered(op, c, a);
        break;
    case ENSURE_INSERT_TABLE:
        insert_table_answered(op, c, a);
        break;
    case ENSURE_INSERT_DATASET:
        insert_dataset_answered(op, c, a);
        break;
    case ENSURE_PATCH:
        patch_answered(op, c, a);
        break;
    }
}

static void ensure_resume(struct request *r)
{
    struct ensure_op *op = container_of(r, struct ensure_op, request);

    ASSERT(op->ensure->_op == op);
    ensure_run(op);
}

/* Sends what the state asks for. */
static void ensure_run(struct ensure_op *op)
{
    const struct bq_config *config = op->bq->config;
    const struct bq_table_spec *spec = op->ensure->spec;
    struct request *r = &op->request;

    ASSERT(spec != NULL);
    r->timeout_ms = BQ_TIMEOUT_MS;
    switch (op->state) {
    case ENSURE_GET:
        bq_table_url(request_reset(r, "GET"), config, spec->table);
        break;
    case ENSURE_INSERT_TABLE:
        bq_table_url(request_reset(r, "POST"), config, NULL);
        text_reset(&op->body);
        bq_table_json(&op->body, config, spec);
        request_body(r, &op->body);
        break;
    case ENSURE_INSERT_DATASET:
        bq_datasets_url(request_reset(r, "POST"), config);
        text_reset(&op->body);
        bq_dataset_json(&op->body, config);
        request_body(r, &op->body);
        break;
    case ENSURE_PATCH:
        bq_table_url(request_reset(r, "PATCH"), config, spec->table);
        request_body(r, &op->body);
        r->if_match = op->if_match[0] != '\0' ? op->if_match : NULL;
        break;
    }
    request_send(r);
}

int bq_ensure_start(struct bq *b, struct bq_ensure *e)
{
    struct ensure_op *op;

    ASSERT(e->done != NULL && e->spec != NULL);
    ASSERT(e->spec->table != NULL && e->spec->schema != NULL && e->_op == NULL);
    op = calloc(1, sizeof(*op));
    if (op == NULL)
        return -ENOMEM;
    op->bq = b;
    op->ensure = e;
    op->request.answered = ensure_answered;
    op->request.resume = ensure_resume;
    op->request.waiting = &e->waiting;
    request_init(&op->request, &b->env);
    e->waiting = NULL;
    e->_op = op;
    op->next = b->ensures;
    if (op->next != NULL)
        op->next->prev = op;
    b->ensures = op;
    ensure_run(op);
    return 0;
}
