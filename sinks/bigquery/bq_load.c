/*
 * COLD. One load job, from jobs.insert to DONE. Thread: the loop's.
 *
 *     INSERT --200--> POLL
 *      |---409, duplicate ---------------------------> FIND
 *      |---no answer, 5xx (outcome unknown) --> wait --> FIND
 *      |---429, 403 rate or quota -----------> wait --> INSERT
 *      `---the rest -------------------------------------------------> PERMANENT
 *
 *     FIND --200, ours --> POLL       another's ---------------------> CONFLICT
 *      `---404 ------------------------------> wait --> INSERT
 *
 *     POLL --PENDING, RUNNING --> pause (0.2 s, doubled up to 10 s) --> POLL
 *      |---DONE ----------------------------------> DONE, JOB_FAILED or JOB_REFUSED
 *      `---404 -----------------------------> wait --> INSERT (409 if it is there after all)
 *
 * The id makes INSERT safe to repeat: at most one job of an id ever exists. Answers are asked for
 * in part only, because a job repeats its URIs, megabytes of them; FIND asks for them while they
 * fit into an answer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "sinks/bigquery/bq_internal.h"
#include "sinks/engine/answer.h"

#define POLL_US_FIRST  ((int64_t)200000)
#define POLL_US_MAX    ((int64_t)10000000)
#define LOST_MAX       10                /* 409, then 404, in turn: it is in another location */
#define URIS_BYTES_MAX ((size_t)3 << 20) /* more are not asked for: the label stands for them */
#define FIELDS         "fields=jobReference,status,statistics"

enum load_state { LOAD_INSERT, LOAD_FIND, LOAD_POLL };

struct load_op {
    struct bq *bq;
    struct bq_load *load;
    struct load_op *prev, *next;
    struct request request;
    enum load_state state;
    bool exists;   /* told so by 409 */
    uint32_t lost; /* 404 in spite of that */
    uint32_t odd_answers;
    int64_t poll_us;
    size_t uris_bytes;
    struct text body;
    char location[BQ_LOCATION_BYTES]; /* configured, or learned from an answer */
    char uris_label[40];
    char text[REASON_TEXT_BYTES];
};

static void load_run(struct load_op *op);

void load_op_destroy(struct load_op *op)
{
    ASSERT(op->load->_op == op);
    op->load->_op = NULL;
    request_fini(&op->request);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        op->bq->loads = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    text_fini(&op->body);
    free(op);
}

static void load_finish(struct load_op *op, enum bq_result result, uint64_t rows)
{
    struct bq_load *l = op->load;
    char text[REASON_TEXT_BYTES];

    ASSERT(l->_op == op);
    if (result == BQ_DONE)
        stat_add(&op->bq->stats->rows, rows);
    else
        stat_add(&op->bq->stats->jobs_failed, 1);
    memcpy(text, op->text, sizeof(text));
    load_op_destroy(op);
    l->done(l, result, rows, text); /* may free l */
}

static void load_fail(struct load_op *op, const struct http_answer *a)
{
    char why[REASON_TEXT_BYTES];

    ASSERT(a != NULL);
    answer_describe(a, why);
    snprintf(op->text, sizeof(op->text), "%s: %.480s",
             op->state == LOAD_INSERT ? "jobs.insert" : "jobs.get", why);
    load_finish(op, BQ_PERMANENT, 0);
}

static void load_odd_answer(struct load_op *op, const char *what)
{
    ASSERT(what != NULL);
    op->state = LOAD_FIND;
    op->odd_answers++;
    if (op->odd_answers > BQ_ODD_MAX) {
        snprintf(op->text, sizeof(op->text), "%s, %u times in a row", what, op->odd_answers);
        load_finish(op, BQ_PERMANENT, 0);
        return;
    }
    request_later_because(&op->request, what);
}

static void job_done(struct load_op *op, const struct job_facts *job)
{
    ASSERT(job->done);
    if (job->has_error) {
        memcpy(op->text, job->text, sizeof(op->text));
        op->load->refusal = job->refusal;
        load_finish(op, job->error_transient ? BQ_JOB_FAILED : BQ_JOB_REFUSED, 0);
    } else if (!job->has_rows) {
        load_odd_answer(op, "the job is done, but does not tell its rows");
    } else {
        load_finish(op, BQ_DONE, (uint64_t)job->rows);
    }
}

/* A job resource of ours. */
static void job_seen(struct load_op *op, const struct http_answer *a)
{
    struct job_facts job;

    ASSERT(op->load->_op == op);
    if (!bq_job_read(a->body, &job)) {
        load_odd_answer(op, "the answer is no job");
        return;
    }
    if (job.location[0] != '\0')
        memcpy(op->location, job.location, sizeof(op->location));
    if (job.done) {
        job_done(op, &job);
        return;
    }
    op->odd_answers = 0;
    op->lost = 0;
    op->state = LOAD_POLL;
    request_progress(&op->request);
    request_pause(&op->request, op->poll_us, NULL);
    op->poll_us = 2 * op->poll_us < POLL_US_MAX ? 2 * op->poll_us : POLL_US_MAX;
}

static void insert_answered(struct load_op *op, enum answer_class c, const struct http_answer *a)
{
    ASSERT(op->state == LOAD_INSERT);
    if (c == ANSWER_OK) {
        stat_add(&op->bq->stats->jobs, 1);
        job_seen(op, a);
    } else if (c == ANSWER_CONFLICT) {
        op->exists = true;
        op->state = LOAD_FIND;
        load_run(op);
    } else if (c == ANSWER_TRANSIENT || c == ANSWER_QUOTA) {
        if (a->status != 429 && a->status != 403) /* those two are refused before a job is made */
            op->state = LOAD_FIND;
        request_later(&op->request, c, a);
    } else {
        load_fail(op, a);
    }
}

static void find_found(struct load_op *op, const struct http_answer *a)
{
    struct json_value root;
    const char *difference;

    ASSERT(op->state == LOAD_FIND);
    if (!answer_object(a->body, &root)) {
        load_odd_answer(op, "the answer is no job");
        return;
    }
    difference = bq_job_differs(a->body, op->bq->config, op->load, op->uris_label);
    if (difference != NULL) {
        snprintf(op->text, sizeof(op->text), "a job %.160s is there and is not ours: %s",
                 op->load->job_id, difference);
        load_finish(op, BQ_CONFLICT, 0);
        return;
    }
    job_seen(op, a);
}

/* jobs.get knows no such job. */
static void get_lost(struct load_op *op, const struct http_answer *a)
{
    ASSERT(op->state != LOAD_INSERT);
    op->state = LOAD_INSERT;
    if (op->exists && ++op->lost > LOST_MAX) {
        snprintf(op->text, sizeof(op->text),
                 "job %.160s exists, but not in location \"%s\": set the dataset's location in the "
                 "configuration",
                 op->load->job_id, op->location);
        load_finish(op, BQ_PERMANENT, 0);
        return;
    }
    request_later(&op->request, ANSWER_TRANSIENT, a);
}

static void load_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct load_op *op = container_of(r, struct load_op, request);

    ASSERT(op->load->_op == op);
    if (op->state == LOAD_INSERT)
        insert_answered(op, c, a);
    else if (c == ANSWER_OK && op->state == LOAD_FIND)
        find_found(op, a);
    else if (c == ANSWER_OK)
        job_seen(op, a);
    else if (c == ANSWER_NOT_FOUND)
        get_lost(op, a);
    else if (c == ANSWER_TRANSIENT || c == ANSWER_QUOTA)
        request_later(r, c, a);
    else
        load_fail(op, a);
}

static void load_resume(struct request *r)
{
    struct load_op *op = container_of(r, struct load_op, request);

    ASSERT(op->load->_op == op);
    load_run(op);
}

static void get_url(struct load_op *op)
{
    struct text *url = request_reset(&op->request, "GET");

    ASSERT(op->state != LOAD_INSERT);
    bq_project_url(url, op->bq->config);
    text_adds(url, "/jobs/");
    text_add_url(url, op->load->job_id);
    text_adds(url, "?" FIELDS);
    if (op->state == LOAD_FIND)
        text_adds(url, op->uris_bytes <= URIS_BYTES_MAX
                           ? ",configuration(labels,load(destinationTable,sourceUris))"
                           : ",configuration(labels,load(destinationTable))");
    if (op->location[0] != '\0') {
        text_adds(url, "&location=");
        text_add_url(url, op->location);
    }
}

/* Sends what the state asks for. The body is made anew each time: between jobs.insert and DONE it
 * would only lie. */
static void load_run(struct load_op *op)
{
    struct request *r = &op->request;
    struct text *url;

    ASSERT(op->load->n_uris > 0);
    r->timeout_ms = BQ_TIMEOUT_MS;
    if (op->state != LOAD_INSERT) {
        text_fini(&op->body);
        get_url(op);
    } else {
        url = request_reset(r, "POST");
        bq_project_url(url, op->bq->config);
        text_adds(url, "/jobs?" FIELDS);
        text_reset(&op->body);
        bq_load_json(&op->body, op->bq->config, op->load, op->uris_label);
        request_body(r, &op->body);
    }
    request_send(r);
}

int bq_load_start(struct bq *b, struct bq_load *l)
{
    const struct bq_config *config = b->config;
    struct load_op *op;

    ASSERT(l->done != NULL && l->job_id != NULL && l->table != NULL);
    ASSERT(l->n_uris > 0 && l->_op == NULL);
    op = calloc(1, sizeof(*op));
    if (op == NULL)
        return -ENOMEM;
    op->bq = b;
    op->load = l;
    op->poll_us = POLL_US_FIRST;
    op->request.answered = load_answered;
    op->request.resume = load_resume;
    op->request.waiting = &l->waiting;
    request_init(&op->request, &b->env);
    if (config->location != NULL)
        snprintf(op->location, sizeof(op->location), "%s", config->location);
    for (uint32_t i = 0; i < l->n_uris; i++)
        op->uris_bytes += strlen(l->uris[i]) + 8;
    bq_uris_label(config, l, op->uris_label);
    l->waiting = NULL;
    l->_op = op;
    op->next = b->loads;
    if (op->next != NULL)
        op->next->prev = op;
    b->loads = op;
    load_run(op);
    return 0;
}
