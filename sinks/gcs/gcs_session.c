/*
 * COLD. Large objects go up chunk by chunk in a resumable session, so that an interruption costs
 * what is left of a chunk and not the whole object. Thread: the loop's.
 *
 *     OPEN --200 and a good address----------------> CHUNK
 *      |---200 without one ------------------------> wait --> CHECK
 *      |---412 ------------------------------------> CHECK
 *      |---transient ------------------------------> wait --> OPEN
 *      `---the rest, or an address of another origin -----------------------------> PERMANENT
 *
 *     CHUNK --308, Range: bytes=0-K, K grew -------> CHUNK from K+1
 *      |---308, no progress (no Range: nothing) ---> wait --> CHUNK; 3 times: a new session;
 *      |                                             6 times: PERMANENT
 *      |---200, 201: size and crc right -----------------------------------------> DONE
 *      |---no answer, 5xx, 408, 429, quota --------> wait --> ASK
 *      |---404, 410 (the session is gone) ---------> wait --> OPEN, from the first byte
 *      |---412 ------------------------------------> CHECK
 *      `---the rest: 400 is a checksum or a total that differs ------------------> PERMANENT
 *
 *     ASK: an empty PUT; what it answers counts as for CHUNK, and 200 or 201 here means that the
 *     answer to the last chunk was lost (recognised). CHECK is in gcs_put.c.
 *
 * Only bytes that no session had reached before start the delays anew, so a server that gives a
 * new session each time and loses it is asked ever more seldom. A session is not kept over a
 * restart: the plan starts again from the first byte, which ifGenerationMatch=0 and the metadata
 * make safe, and the old session ends by itself within a week.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "sinks/gcs/gcs_internal.h"

#define STUCK_RENEW      3 /* answers without progress, then another session is tried */
#define CANCEL_TRIES_MAX 3

static_assert(STUCK_RENEW < ANSWER_TRIES_MAX, "another session is tried before giving up");

/* ---- giving a session up ---- */

/** A session's end that nobody waits for: without it the session would end by itself in a week. */
struct cancel_op {
    struct gcs *gcs;
    struct cancel_op *prev, *next;
    struct request request;
    struct text url;
    uint32_t tries;
};

static void url_forget(struct text *url)
{
    ASSERT(url != NULL);
    if (url->ptr != NULL)
        explicit_bzero(url->ptr, url->len);
    text_fini(url);
}

void cancel_op_destroy(struct cancel_op *op)
{
    ASSERT(op->gcs != NULL);
    request_fini(&op->request);
    url_forget(&op->url);
    if (op->prev != NULL)
        op->prev->next = op->next;
    else
        op->gcs->cancels = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    free(op);
}

static void cancel_send(struct request *r)
{
    static const char *const headers[] = {"Content-Length: 0", NULL};
    struct cancel_op *op = container_of(r, struct cancel_op, request);

    ASSERT(op->url.len > 0);
    op->tries++;
    text_adds(request_reset(r, "DELETE"), op->url.ptr);
    r->headers = headers;
    r->timeout_ms = BASE_TIMEOUT_MS;
    request_send(r);
}

/* 499 says that it is cancelled, 404 and 410 that it is gone; the rest changes nothing for us. */
static void cancel_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct cancel_op *op = container_of(r, struct cancel_op, request);

    ASSERT(op->tries > 0);
    if (c == ANSWER_TRANSIENT && op->tries < CANCEL_TRIES_MAX)
        request_later(r, c, a);
    else
        cancel_op_destroy(op);
}

static void cancel_start(struct gcs *g, struct text *url)
{
    struct cancel_op *op = calloc(1, sizeof(*op));

    ASSERT(url->len > 0);
    if (op == NULL)
        return;
    op->gcs = g;
    op->url = *url;
    *url = (struct text){0};
    op->request.answered = cancel_answered;
    op->request.resume = cancel_send;
    request_init(&op->request, &g->env);
    op->next = g->cancels;
    if (op->next != NULL)
        op->next->prev = op;
    g->cancels = op;
    cancel_send(&op->request);
}

void session_fini(struct put_session *s)
{
    ASSERT(s != NULL);
    url_forget(&s->url);
}

void session_drop(struct put_op *op, bool cancel)
{
    struct put_session *s = &op->session;

    ASSERT(s->offset <= op->put->bytes);
    if (cancel && s->url.len > 0 && !text_failed(&s->url))
        cancel_start(op->gcs, &s->url);
    url_forget(&s->url);
    s->offset = s->reached = 0;
    s->interrupted = false;
}

/* Begins again from the first byte, after a wait. */
static void session_renew(struct put_op *op, const char *why, bool cancel)
{
    ASSERT(why != NULL);
    stat_add(&op->gcs->stats->sessions_lost, 1);
    session_drop(op, cancel);
    op->state = PUT_OPEN;
    request_later_because(&op->request, why);
}

/* ---- sending ---- */

static void open_send(struct put_op *op)
{
    const struct gcs_config *config = op->gcs->config;
    struct put_session *s = &op->session;
    struct request *r = &op->request;
    struct text *url = request_reset(r, "POST");

    ASSERT(s->url.len == 0);
    text_adds(url, config->endpoint);
    text_adds(url, "/upload/storage/v1/b/");
    text_add_url(url, config->bucket);
    text_adds(url, "/o?uploadType=resumable&ifGenerationMatch=0");
    request_body(r, &op->head);
    snprintf(s->header[0], sizeof(s->header[0]), "X-Upload-Content-Type: %s",
             op->put->content_type);
    snprintf(s->header[1], sizeof(s->header[1]), "X-Upload-Content-Length: %llu",
             (unsigned long long)op->put->bytes);
    s->headers[0] = s->header[0];
    s->headers[1] = s->header[1];
    s->headers[2] = NULL;
    r->headers = s->headers;
    r->timeout_ms = BASE_TIMEOUT_MS;
    request_send(r);
}

/* The slices of [from, from + n) of the body; nothing is copied. */
static uint32_t slice(const struct gcs_put *p, uint64_t from, uint64_t n, struct iovec *out)
{
    uint32_t parts = 0;

    ASSERT(from + n <= p->bytes);
    for (uint32_t i = 0; n > 0; i++) {
        uint64_t len = p->body[i].iov_len, take;

        ASSERT(i < p->body_parts);
        if (from >= len) {
            from -= len;
            continue;
        }
        take = len - from < n ? len - from : n;
        out[parts++] =
            (struct iovec){.iov_base = (char *)p->body[i].iov_base + from, .iov_len = (size_t)take};
        n -= take;
        from = 0;
    }
    return parts;
}

/* A PUT to the session; range is what Content-Range says. */
static struct request *session_put(struct put_op *op, const char *range)
{
    struct put_session *s = &op->session;
    struct request *r = &op->request;

    ASSERT(s->url.len > 0);
    text_adds(request_reset(r, "PUT"), s->url.ptr);
    snprintf(s->header[0], sizeof(s->header[0]), "Content-Range: bytes %s", range);
    s->headers[0] = s->header[0];
    s->headers[1] = NULL;
    r->headers = s->headers;
    r->content_type = op->put->content_type;
    return r;
}

static void chunk_send(struct put_op *op)
{
    struct put_session *s = &op->session;
    uint64_t total = op->put->bytes, n = total - s->offset;
    char range[RANGE_HEADER_BYTES];
    struct request *r;

    ASSERT(s->offset < total);
    if (n > op->gcs->config->chunk_bytes)
        n = op->gcs->config->chunk_bytes;
    snprintf(range, sizeof(range), "%llu-%llu/%llu", (unsigned long long)s->offset,
             (unsigned long long)(s->offset + n - 1), (unsigned long long)total);
    r = session_put(op, range);
    r->body = op->parts;
    r->body_parts = slice(op->put, s->offset, n, op->parts);
    r->body_bytes = n;
    r->timeout_ms = put_timeout_ms(n);
    if (s->interrupted) {
        stat_add(&op->gcs->stats->resumed, 1);
        s->interrupted = false;
    }
    request_send(r);
}

static void ask_send(struct put_op *op)
{
    char range[RANGE_HEADER_BYTES];
    struct request *r;

    snprintf(range, sizeof(range), "*/%llu", (unsigned long long)op->put->bytes);
    r = session_put(op, range);
    ASSERT(r->body_parts == 0);
    r->timeout_ms = BASE_TIMEOUT_MS;
    request_send(r);
}

void session_run(struct put_op *op)
{
    ASSERT(op->resumable);
    if (op->state == PUT_OPEN)
        open_send(op);
    else if (op->state == PUT_CHUNK)
        chunk_send(op);
    else
        ask_send(op);
}

/* ---- answers ---- */

static void opened(struct put_op *op, const struct http_answer *a)
{
    struct put_session *s = &op->session;

    ASSERT(s->url.len == 0);
    if (a->location.len == 0) {
        put_odd_answer(op, "the opening of an upload session was answered without its address");
        return;
    }
    if (!session_url_good(op->gcs->config->endpoint, a->location)) {
        put_fail_because(op, "the upload session's address belongs neither to gcs.endpoint nor to "
                             "Google: nothing is sent there");
        return;
    }
    text_add(&s->url, a->location);
    if (text_failed(&s->url)) {
        session_renew(op, "out of memory", false);
        return;
    }
    stat_add(&op->gcs->stats->sessions, 1);
    op->state = PUT_CHUNK;
    put_run(op);
}

/* "bytes=0-K"; no header at all: nothing is there. @return false when it is something else. */
static bool range_read(struct span header, uint64_t total, uint64_t *have)
{
    static const char before[] = "bytes=0-";
    const size_t n = sizeof(before) - 1;
    uint64_t last = 0;

    ASSERT(have != NULL);
    *have = 0;
    if (header.len == 0)
        return true;
    if (header.len <= n || header.len > n + 18 || memcmp(header.ptr, before, n) != 0)
        return false;
    for (size_t i = n; i < header.len; i++) {
        if (header.ptr[i] < '0' || header.ptr[i] > '9')
            return false;
        last = 10 * last + (uint64_t)(header.ptr[i] - '0');
    }
    *have = last + 1;
    return *have <= total;
}

/* The session is where it was: after a wait again, in the end in another session, or not at all. */
static void session_stuck(struct put_op *op)
{
    struct put_session *s = &op->session;
    char why[REASON_TEXT_BYTES];

    s->stuck++;
    snprintf(why, sizeof(why),
             "the server keeps %llu of %llu bytes of the upload and takes no more, %u times in a "
             "row",
             (unsigned long long)s->offset, (unsigned long long)op->put->bytes, s->stuck);
    ASSERT(s->stuck <= ANSWER_TRIES_MAX + 1);
    if (s->stuck > ANSWER_TRIES_MAX) {
        session_drop(op, true);
        put_fail_because(op, why);
    } else if (s->stuck == STUCK_RENEW) {
        session_renew(op, why, true);
    } else {
        request_later_because(&op->request, why);
    }
}

/* 308: what the server has, which may be less than was sent. */
static void incomplete(struct put_op *op, const struct http_answer *a)
{
    struct put_session *s = &op->session;
    uint64_t total = op->put->bytes, have;
    bool asked = op->state == PUT_ASK, moved;

    ASSERT(op->state == PUT_CHUNK || asked);
    if (!range_read(a->range, total, &have)) {
        session_drop(op, true);
        put_odd_answer(op, "the upload session's Range header makes no sense");
        return;
    }
    moved = have > s->reached;
    s->offset = have;
    op->state = have == total ? PUT_ASK : PUT_CHUNK; /* asked with the total, it completes */
    if (moved) {
        s->reached = have;
        s->stuck = 0;
    }
    if (have > s->best) {
        s->best = have;
        op->odd_answers = 0;
        request_progress(&op->request);
    }
    if (moved || (asked && have < total))
        put_run(op); /* what was asked for came after a wait */
    else
        session_stuck(op);
}

static void open_answered(struct put_op *op, enum answer_class c, const struct http_answer *a)
{
    ASSERT(op->state == PUT_OPEN);
    if (c == ANSWER_OK) {
        opened(op, a);
    } else if (c == ANSWER_PRECONDITION) {
        put_check_now(op);
    } else if (c == ANSWER_TRANSIENT || c == ANSWER_QUOTA) {
        request_later(&op->request, c, a);
    } else {
        put_fail(op, "", a);
    }
}

static void refused(struct put_op *op, const struct http_answer *a)
{
    ASSERT(a->status != 0);
    if (a->status == 400) { /* the session is over */
        session_drop(op, false);
        put_fail(op, "the server refuses the bytes of the upload: ", a);
    } else {
        session_drop(op, true);
        put_fail(op, "", a);
    }
}

void session_answered(struct put_op *op, enum answer_class c, const struct http_answer *a)
{
    char why[REASON_TEXT_BYTES];

    ASSERT(op->resumable);
    if (op->state == PUT_OPEN) {
        open_answered(op, c, a);
    } else if (a->status == 308) {
        incomplete(op, a);
    } else if (a->status == 404 || a->status == 410) {
        snprintf(why, sizeof(why), "the upload session is gone (%d): starting again", a->status);
        session_renew(op, why, false);
    } else if (c == ANSWER_OK) {
        session_drop(op, false);
        put_stored(op, a, op->state == PUT_ASK);
    } else if (c == ANSWER_PRECONDITION) {
        session_drop(op, false);
        put_check_now(op);
    } else if (c == ANSWER_TRANSIENT || c == ANSWER_QUOTA) {
        op->state = PUT_ASK;
        op->session.interrupted = true;
        request_later(&op->request, c, a);
    } else {
        refused(op, a);
    }
}
