/*
 * COLD. Creates one object, exactly once: in one multipart request, or, when it is large, in a
 * resumable session (gcs_session.c). Thread: the loop's.
 *
 *     PUT --2xx, size and crc right----------------------------------------------> DONE
 *      |---2xx that cannot be believed, 412 --------> CHECK
 *      |---no answer, 5xx, 408 (outcome unknown) ---> wait --> CHECK
 *      |---429, 403 rate or quota (not stored) -----> wait --> PUT
 *      `---the rest -------------------------------------------------------------> PERMANENT
 *
 *     CHECK --200, ours: plan, log, crc and size ----------------------------> recognised, DONE
 *      |---200, another's -------------------------------------------------------> CONFLICT
 *      |---404 ------------------------------------> PUT, or a new session; after 412 with a wait
 *      |---transient, or no object resource -------> wait --> CHECK
 *      `---the rest -------------------------------------------------------------> PERMANENT
 *
 * ifGenerationMatch=0 makes PUT safe to repeat: at most one attempt stores anything.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "sinks/engine/answer.h"
#include "sinks/gcs/gcs_internal.h"

#define BYTES_PER_MS_MIN 128 /* an upload slower than 128 KB/s is given up */
#define BOUNDARY_BYTES   48

void put_op_destroy(struct put_op *op)
{
    ASSERT(op->put->_op == op);
    op->put->_op = NULL;
    request_fini(&op->request);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        op->gcs->puts = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    text_fini(&op->head);
    text_fini(&op->tail);
    session_fini(&op->session);
    free(op->parts);
    free(op);
}

static void put_finish(struct put_op *op, enum gcs_result result, int64_t generation)
{
    struct gcs_put *put = op->put;
    struct gcs_stats *stats = op->gcs->stats;
    char text[REASON_TEXT_BYTES];

    ASSERT(put->_op == op);
    switch (result) {
    case GCS_DONE:
        stat_add(&stats->objects, 1);
        stat_add(&stats->bytes, put->bytes);
        break;
    case GCS_CONFLICT:
        stat_add(&stats->conflicts, 1);
        break;
    case GCS_PERMANENT:
        stat_add(&stats->permanent, 1);
        break;
    }
    memcpy(text, op->text, sizeof(text));
    put_op_destroy(op);
    put->done(put, result, generation, text); /* may free put */
}

void put_fail_because(struct put_op *op, const char *why)
{
    ASSERT(why != NULL);
    snprintf(op->text, sizeof(op->text), "bucket %.222s: %.280s", op->gcs->config->bucket, why);
    put_finish(op, GCS_PERMANENT, 0);
}

void put_fail(struct put_op *op, const char *before, const struct http_answer *a)
{
    char why[REASON_TEXT_BYTES], all[2 * REASON_TEXT_BYTES];

    ASSERT(a != NULL && before != NULL);
    answer_describe(a, why);
    snprintf(all, sizeof(all), "%s%s", before, why);
    put_fail_because(op, all);
}

/* An answer that is no object resource, or a wrong one. A server that keeps giving them needs a
 * person. */
void put_odd_answer(struct put_op *op, const char *what)
{
    ASSERT(what != NULL);
    op->state = PUT_CHECK;
    op->odd_answers++;
    if (op->odd_answers > ANSWER_TRIES_MAX) {
        snprintf(op->text, sizeof(op->text), "%s, %u times in a row", what, op->odd_answers);
        put_finish(op, GCS_PERMANENT, 0);
        return;
    }
    request_later_because(&op->request, what);
}

static bool facts_match(const struct put_op *op, const struct object_facts *f)
{
    ASSERT(f != NULL);
    return f->bytes >= 0 && (uint64_t)f->bytes == op->put->bytes && strcmp(f->crc32c, op->crc) == 0;
}

void put_check_now(struct put_op *op)
{
    ASSERT(op->state != PUT_CHECK);
    op->state = PUT_CHECK;
    op->at_once = true;
    put_run(op);
}

void put_stored(struct put_op *op, const struct http_answer *a, bool recognised)
{
    struct object_facts facts;

    ASSERT(op->state != PUT_CHECK);
    if (!object_facts_read(a->body, &facts)) {
        put_odd_answer(op, "the upload's answer is no object resource");
    } else if (!facts_match(op, &facts)) {
        put_odd_answer(op, "the upload's answer has another size or crc32c than was sent");
    } else {
        stat_add(&op->gcs->stats->recognised, recognised ? 1 : 0);
        put_finish(op, GCS_DONE, facts.generation);
    }
}

static void sent_answered(struct put_op *op, enum answer_class c, const struct http_answer *a)
{
    ASSERT(op->state == PUT_SEND);
    switch (c) {
    case ANSWER_OK:
        put_stored(op, a, false);
        break;
    case ANSWER_PRECONDITION:
        put_check_now(op);
        break;
    case ANSWER_TRANSIENT:
        if (a->status != 429 &&
            a->status != 403) /* those two are refused before anything is stored */
            op->state = PUT_CHECK;
        request_later(&op->request, c, a);
        break;
    case ANSWER_QUOTA:
        request_later(&op->request, c, a);
        break;
    case ANSWER_AUTH:
    case ANSWER_NOT_FOUND:
    case ANSWER_CONFLICT:
    case ANSWER_PERMANENT:
        put_fail(op, "", a);
        break;
    }
}

/* Whether a stored gzip file is of the same lines, however it was compressed. */
static bool plain_match(const struct gcs_put *p, const struct object_facts *f)
{
    ASSERT(p->gzip);
    return f->gzip && f->plain_bytes == p->plain_bytes && f->plain_crc32c == p->plain_crc32c;
}

static void check_found(struct put_op *op, const struct http_answer *a)
{
    struct object_facts f;
    bool named;

    ASSERT(op->state == PUT_CHECK);
    if (!object_facts_read(a->body, &f)) {
        put_odd_answer(op, "the object's metadata is no object resource");
        return;
    }
    named = strcmp(f.plan, op->plan) == 0 && strcmp(f.log, op->put->log_id) == 0;
    if (named && (op->put->gzip ? plain_match(op->put, &f) : facts_match(op, &f))) {
        stat_add(&op->gcs->stats->recognised, 1);
        put_finish(op, GCS_DONE, f.generation);
        return;
    }
    snprintf(op->text, sizeof(op->text),
             "an object of this name is there: %lld bytes, crc32c %s, plan \"%s\", log \"%s\"; "
             "ours has %llu bytes, "
             "crc32c %s, plan \"%s\", log \"%.40s\"",
             (long long)f.bytes, f.crc32c, f.plan, f.log, (unsigned long long)op->put->bytes,
             op->crc, op->plan, op->put->log_id);
    put_finish(op, GCS_CONFLICT, f.generation);
}

static void check_answered(struct put_op *op, enum answer_class c, const struct http_answer *a)
{
    ASSERT(op->state == PUT_CHECK);
    switch (c) {
    case ANSWER_OK:
        check_found(op, a);
        break;
    case ANSWER_NOT_FOUND:
        op->state = op->resumable ? PUT_OPEN : PUT_SEND;
        if (op->at_once)
            request_later(&op->request, ANSWER_TRANSIENT, a);
        else
            put_run(op); /* there was a wait before the question */
        break;
    case ANSWER_TRANSIENT:
    case ANSWER_QUOTA:
        request_later(&op->request, c, a);
        break;
    case ANSWER_AUTH:
    case ANSWER_CONFLICT:
    case ANSWER_PRECONDITION:
    case ANSWER_PERMANENT:
        put_fail(op, "", a);
        break;
    }
}

static void put_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct put_op *op = container_of(r, struct put_op, request);

    ASSERT(op->put->_op == op);
    ramp_heard(op->gcs, c, a);
    if (op->state == PUT_SEND)
        sent_answered(op, c, a);
    else if (op->state == PUT_CHECK)
        check_answered(op, c, a);
    else
        session_answered(op, c, a);
}

static void put_resume(struct request *r)
{
    struct put_op *op = container_of(r, struct put_op, request);

    ASSERT(op->put->_op == op);
    op->at_once = false;
    put_run(op);
}

uint32_t put_timeout_ms(uint64_t bytes)
{
    uint64_t ms = BASE_TIMEOUT_MS + bytes / BYTES_PER_MS_MIN;

    ASSERT(bytes < UINT64_MAX / 2);
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static void multipart_send(struct put_op *op)
{
    const struct gcs_config *config = op->gcs->config;
    struct request *r = &op->request;
    struct text *url = request_reset(r, "POST");

    ASSERT(op->parts != NULL && !op->resumable);
    text_adds(url, config->endpoint);
    text_adds(url, "/upload/storage/v1/b/");
    text_add_url(url, config->bucket);
    text_adds(url, "/o?uploadType=multipart&ifGenerationMatch=0");
    r->content_type = op->content_type;
    r->body = op->parts;
    r->body_parts = op->n_parts;
    r->body_bytes = op->part_bytes;
    r->timeout_ms = put_timeout_ms(op->part_bytes);
    request_send(r);
}

void put_run(struct put_op *op)
{
    struct request *r = &op->request;

    ASSERT(op->put->_op == op);
    if ((op->state == PUT_SEND || op->state == PUT_OPEN) && !ramp_pass(op->gcs, r, &op->slot))
        return;
    if (op->state == PUT_SEND) {
        multipart_send(op);
    } else if (op->state == PUT_CHECK) {
        object_url(request_reset(r, "GET"), op->gcs->config, op->put->name);
        r->timeout_ms = BASE_TIMEOUT_MS;
        request_send(r);
    } else {
        session_run(op);
    }
}

static void add_member(struct text *t, const char *name, const char *value)
{
    ASSERT(name != NULL);
    text_add_json(t, name);
    text_adds(t, ":");
    text_add_json(t, value);
}

static void add_metadata(struct text *t, const struct put_op *op)
{
    const struct gcs_put *p = op->put;
    char crc[CRC_TEXT_BYTES];

    ASSERT(op->crc[0] != '\0');
    text_adds(t, "{");
    add_member(t, "name", p->name);
    text_adds(t, ",");
    add_member(t, "contentType", p->content_type);
    text_adds(t, ",");
    add_member(t, "crc32c", op->crc);
    text_adds(t, ",\"metadata\":{");
    add_member(t, "penstock-plan", op->plan);
    text_addf(t, ",\"penstock-events\":\"%llu\",", (unsigned long long)p->events);
    add_member(t, "penstock-node", op->gcs->config->node);
    text_adds(t, ",");
    add_member(t, "penstock-log", p->log_id);
    if (p->gzip) {
        crc_text(p->plain_crc32c, crc);
        text_addf(t, ",\"penstock-bytes\":\"%llu\",", (unsigned long long)p->plain_bytes);
        add_member(t, "penstock-crc32c", crc);
    }
    text_adds(t, "}}");
}

/* The parts around the body: metadata before, the closing boundary behind. */
static int multipart_frame(struct put_op *op)
{
    const struct gcs_put *p = op->put;
    char boundary[BOUNDARY_BYTES];
    uint64_t random[2] = {0};

    (void)!getrandom(random, sizeof(random),
                     GRND_NONBLOCK); /* the plan id alone would do nearly as well */
    snprintf(boundary, sizeof(boundary), "%016llx%016llx",
             (unsigned long long)(random[0] ^ p->plan_id), (unsigned long long)random[1]);
    snprintf(op->content_type, sizeof(op->content_type), "multipart/related; boundary=%s",
             boundary);
    text_addf(&op->head, "--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n", boundary);
    add_metadata(&op->head, op);
    text_addf(&op->head, "\r\n--%s\r\nContent-Type: ", boundary);
    text_adds(&op->head, p->content_type);
    text_adds(&op->head, "\r\n\r\n");
    text_addf(&op->tail, "\r\n--%s--\r\n", boundary);
    ASSERT(op->parts == NULL);
    return text_failed(&op->head) || text_failed(&op->tail) ? -ENOMEM : 0;
}

static int multipart_parts(struct put_op *op)
{
    const struct gcs_put *p = op->put;
    uint64_t bytes = 0;

    op->n_parts = p->body_parts + 2;
    op->parts = malloc(sizeof(*op->parts) * op->n_parts);
    if (op->parts == NULL)
        return -ENOMEM;
    op->parts[0] = (struct iovec){.iov_base = op->head.ptr, .iov_len = op->head.len};
    for (uint32_t i = 0; i < p->body_parts; i++) {
        op->parts[i + 1] = p->body[i];
        bytes += p->body[i].iov_len;
    }
    op->parts[op->n_parts - 1] = (struct iovec){.iov_base = op->tail.ptr, .iov_len = op->tail.len};
    ASSERT(bytes == p->bytes);
    op->part_bytes = op->head.len + bytes + op->tail.len;
    return 0;
}

/* A session's metadata, and room for the slices of a chunk. */
static int session_prepare(struct put_op *op)
{
    ASSERT(op->parts == NULL && op->resumable);
    add_metadata(&op->head, op);
    op->parts = malloc(sizeof(*op->parts) * op->put->body_parts);
    return op->parts == NULL || text_failed(&op->head) ? -ENOMEM : 0;
}

static int put_prepare(struct put_op *op)
{
    int rc;

    ASSERT(op->state == PUT_SEND);
    op->resumable =
        op->gcs->config->resumable_bytes > 0 && op->put->bytes > op->gcs->config->resumable_bytes;
    if (op->resumable) {
        op->state = PUT_OPEN;
        return session_prepare(op);
    }
    rc = multipart_frame(op);
    return rc == 0 ? multipart_parts(op) : rc;
}

int gcs_put_start(struct gcs *g, struct gcs_put *p)
{
    struct put_op *op;

    ASSERT(p->done != NULL && p->name != NULL && p->name[0] != '\0');
    ASSERT(p->content_type != NULL && p->log_id != NULL && p->_op == NULL);
    op = calloc(1, sizeof(*op));
    if (op == NULL)
        return -ENOMEM;
    op->gcs = g;
    op->put = p;
    op->request.answered = put_answered;
    op->request.resume = put_resume;
    op->request.waiting = &p->waiting;
    request_init(&op->request, &g->env);
    p->waiting = NULL;
    p->_op = op;
    op->next = g->puts;
    if (op->next != NULL)
        op->next->prev = op;
    g->puts = op;
    crc_text(p->crc32c, op->crc);
    snprintf(op->plan, sizeof(op->plan), "%llu", (unsigned long long)p->plan_id);
    if (put_prepare(op) != 0) {
        put_op_destroy(op);
        return -ENOMEM;
    }
    put_run(op);
    return 0;
}
