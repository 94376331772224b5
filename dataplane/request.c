/*
 * HOT. HTTP requests: heads, bodies, admission, and what is answered. A request that arrives in one
 * piece is parsed in the shared receive buffer where it lies; one that does not is gathered in a
 * lease. Nothing of a request is stored before all of it is here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "dataplane/json/walk.h"
#include "dataplane/worker_internal.h"

#define EVENTS_PATH  "/v1/events"
#define HEALTH_PATH  "/healthz" /* for load balancers */
#define STALL_US     1000000    /* a request waits at most this long for room, then hears 503 */
#define DETAIL_BYTES 200

void request_refuse(struct worker *w, struct connection *c, enum reason reason, const char *detail)
{
    /* What is left of the request is not read: the connection cannot go on. */
    c->close_after = true;
    c->linger = true;
    c->len = 0;
    lease_release(w->leases, &c->lease);
    answer_refused(w, c, reason, detail);
    connection_send(w, c);
}

/* Drops the request's bytes; what follows them is the next request's beginning. */
static bool request_consume(struct worker *w, struct connection *c, uint32_t used)
{
    ASSERT_HOT(used <= c->len);
    if (c->len == used) {
        c->len = 0;
        lease_release(w->leases, &c->lease);
        return true;
    }
    if (c->lease.buf == NULL) {
        c->buf += used;
        c->len -= used;
        return connection_gather(w, c, c->len);
    }
    memmove(c->buf, c->buf + used, c->len - used);
    c->len -= used;
    return true;
}

/* The event type in the path, decoded into out; empty without one. */
static enum reason path_type(struct span path, char *out, struct span *type)
{
    static const size_t prefix = sizeof(EVENTS_PATH) - 1;
    char quoted[6 * TYPE_NAME_BYTES_MAX + 2 + JSON_PADDING_BYTES];
    size_t at, len;
    int n;

    *type = (struct span){out, 0};
    if (path.len < prefix || memcmp(path.ptr, EVENTS_PATH, prefix) != 0)
        return REASON_NOT_FOUND;
    if (path.len == prefix)
        return REASON_NONE;
    if (path.ptr[prefix] != '/' ||
        memchr(path.ptr + prefix + 1, '/', path.len - prefix - 1) != NULL)
        return REASON_NOT_FOUND;
    path = (struct span){path.ptr + prefix + 1, path.len - prefix - 1};
    if (path.len == 0 || path.len > 3 * TYPE_NAME_BYTES_MAX)
        return REASON_BAD_PATH_TYPE;
    n = http_decode_segment(path, out);
    if (n <= 0 || n > TYPE_NAME_BYTES_MAX)
        return REASON_BAD_PATH_TYPE;
    type->len = (size_t)n;
    quoted[0] = '"'; /* only the JSON validator knows UTF-8 */
    len = json_escape(*type, quoted + 1);
    quoted[len + 1] = '"';
    return json_validate(quoted, len + 2, &at) == JSON_ERROR_NONE ? REASON_NONE
                                                                  : REASON_BAD_PATH_TYPE;
}

/* A whole request waits, in a lease. False when there is none. */
static bool request_hold(struct worker *w, struct connection *c)
{
    const char *base = c->buf;

    ASSERT_HOT(c->have_head);
    if (!connection_gather(w, c, c->len))
        return false;
    c->request.path.ptr = c->buf + (c->request.path.ptr - base);
    return true;
}

/* There will be room soon: the request waits. False when it cannot. */
static bool request_stall(struct worker *w, struct connection *c, uint32_t body_len, uint32_t used)
{
    if (c->state == CONNECTION_STALLED)
        return w->now_us < c->deadline_us;
    if (!request_hold(w, c))
        return false;
    c->held_body = body_len;
    c->held_used = used;
    c->state = CONNECTION_STALLED;
    c->deadline_us = w->now_us + STALL_US;
    c->next = NULL;
    if (w->stalled_last != NULL)
        w->stalled_last->next = c;
    else
        w->stalled_first = c;
    w->stalled_last = c;
    return true;
}

/* The name of a type, as it may stand in an answer; one that is too long there is left out. */
static void type_detail(struct span type, char detail[DETAIL_BYTES])
{
    char escaped[6 * TYPE_NAME_BYTES_MAX];
    size_t len = json_escape(type, escaped);

    if (type.len == 0)
        snprintf(detail, DETAIL_BYTES, "dead letters of no known type");
    else if (len < DETAIL_BYTES - 8)
        snprintf(detail, DETAIL_BYTES, "type %.*s", (int)len, escaped);
}

/* Answers a request that was taken, or refused as a whole; its bytes are not needed any more. */
static void request_answer(struct worker *w, struct connection *c, uint32_t used)
{
    char detail[DETAIL_BYTES] = "";

    lease_release(w->leases, &c->expanded);
    if (!request_consume(w, c, used)) {
        c->close_after = true;
        c->len = 0;
    }
    if (w->result.refused != REASON_NONE) {
        if (w->result.refused == REASON_BAD_ARRAY)
            snprintf(detail, sizeof(detail), "at byte %zu", w->result.error_offset);
        else if (w->result.refused == REASON_TYPE_REFUSED && w->result.n_errors > 0)
            snprintf(detail, sizeof(detail), "event %u", w->result.error[0].index);
        else if (w->result.refused == REASON_BAD_ENCODING)
            snprintf(detail, sizeof(detail), "%s", expand_error(w->expander));
        else if (w->result.refused == REASON_TYPE_PARKED)
            type_detail(w->result.refused_type, detail);
        answer_refused(w, c, w->result.refused, detail);
        connection_send(w, c);
        return;
    }
    answer_accepted(w, c, &w->result);
    if (w->result.last_seq > w->durable_seq && !w->config.durability_memory)
        connection_wait(w, c, w->result.last_seq);
    else
        connection_acknowledge(w, c);
}

/* Takes a body in, if its sender still may send it. */
static void body_take(struct worker *w, struct connection *c, struct ingest_body *body)
{
    enum reason reason = REASON_NONE;

    if (w->auth != NULL)
        reason = c->token != NULL ? auth_type(w, c, body->type) : REASON_BAD_TOKEN;
    if (unlikely(reason != REASON_NONE)) {
        w->result = (struct ingest_result){.refused = reason};
        return;
    }
    body->token = c->token;
    ingest_body(w->ingest, body, &w->result);
    if (c->token == NULL)
        return;
    if (w->result.refused == REASON_NONE)
        auth_charge(w, c,
                    (uint64_t)w->result.accepted + w->result.dead_lettered + w->result.sampled_out,
                    body->len);
    else if (w->result.refused == REASON_TYPE_REFUSED)
        auth_type_refused(w, c);
}

/*
 * A whole request is here: body_len bytes behind the head; used bytes in all. Also called again for
 * a stalled one. False when it waits for room.
 */
static bool request_take(struct worker *w, struct connection *c, uint32_t body_len, uint32_t used)
{
    char type[3 * TYPE_NAME_BYTES_MAX];
    struct ingest_body body = {
        .buf = c->buf + c->request.head_len,
        .len = body_len,
        .source = c->source,
    };
    bool draining = atomic_load_explicit(&w->draining, memory_order_relaxed);
    enum reason reason = path_type(c->request.path, type, &body.type);

    ASSERT(reason == REASON_NONE); /* seen by head_check() */
    if (c->state != CONNECTION_STALLED)
        c->taken_us = w->now_us;
    if (c->expanded.buf != NULL) {
        body.buf = c->expanded.buf;
        body.len = c->expanded_len;
    }
    if (c->expand_refused != REASON_NONE) {
        w->result = (struct ingest_result){.refused = (enum reason)c->expand_refused};
    } else if (draining) {
        w->result = (struct ingest_result){.refused = REASON_DRAINING};
    } else {
        body_take(w, c, &body);
        if (w->result.refused == REASON_BLOCKS_BUSY && request_stall(w, c, body_len, used))
            return false;
    }
    c->close_after = !c->request.keep_alive || draining;
    stat_add(&w->stats.requests, 1);
    stat_add(&w->stats.body_bytes, body_len);
    request_answer(w, c, used);
    return true;
}

bool connections_unstall(struct worker *w)
{
    struct connection *c;

    while ((c = w->stalled_first) != NULL) {
        struct connection *next = c->next;

        if (!request_take(w, c, c->held_body, c->held_used))
            return true;
        w->stalled_first = next; /* answered: it may be in the waiting queue by now */
        if (next == NULL)
            w->stalled_last = NULL;
    }
    return false;
}

/*
 * A whole request with a compressed body is here. What takes more than a slice, or finds another one
 * under way, waits in line.
 */
static void request_expand(struct worker *w, struct connection *c, uint32_t body_len, uint32_t used)
{
    enum reason reason = REASON_NO_LEASE;
    bool first = w->expanding_first == NULL;

    ASSERT(c->request.coding == HTTP_CODING_GZIP || c->request.coding == HTTP_CODING_ZSTD);
    if (first) {
        reason = compressed_start(w, c, c->buf + c->request.head_len, body_len);
        c->expand_refused = (uint8_t)reason;
        if (reason != REASON_NONE || compressed_slice(w, c, &reason)) {
            c->expand_refused = (uint8_t)reason;
            request_take(w, c, body_len, used);
            return;
        }
    }
    if (!request_hold(w, c)) {
        c->expand_refused = REASON_NO_LEASE;
        request_take(w, c, body_len, used);
        return;
    }
    if (first)
        expand_move(w->expander, c->buf + c->request.head_len);
    c->held_body = body_len;
    c->held_used = used;
    c->state = CONNECTION_EXPANDING;
    c->next = NULL;
    if (first)
        w->expanding_first = c;
    else
        w->expanding_last->next = c;
    w->expanding_last = c;
}

bool connections_expand(struct worker *w)
{
    struct connection *c = w->expanding_first;
    enum reason reason = REASON_NONE;

    if (c == NULL)
        return false;
    ASSERT_HOT(c->state == CONNECTION_EXPANDING);
    if (c->expanded.buf == NULL)
        reason = compressed_start(w, c, c->buf + c->request.head_len, c->held_body);
    if (reason == REASON_NONE && !compressed_slice(w, c, &reason))
        return true;
    w->expanding_first = c->next;
    c->next = NULL;
    c->expand_refused = (uint8_t)reason;
    request_take(w, c, c->held_body, c->held_used);
    return w->expanding_first != NULL;
}

/* A whole request is here. */
static void request_ready(struct worker *w, struct connection *c, uint32_t body_len, uint32_t used)
{
    ASSERT_HOT(c->state == CONNECTION_READING && c->expanded.buf == NULL);
    c->expand_refused = REASON_NONE;
    c->wide = used > RECEIVE_BYTES;
    if (c->request.coding == HTTP_CODING_IDENTITY)
        request_take(w, c, body_len, used);
    else
        request_expand(w, c, body_len, used);
}

/* The configured origin that the head names, or NULL. */
static const char *origin_find(const struct worker *w, struct span origin)
{
    const struct worker_cors *cors = &w->config.cors;

    if (cors->any)
        return "*";
    for (uint32_t i = 0; i < cors->n_origins; i++) {
        if (span_equal(origin, span_of(cors->origin[i])))
            return cors->origin[i];
    }
    return NULL;
}

/* Whether a page may send this. What is no page, or one of no configured origin where none is
 * configured, is not asked. */
static bool origin_allowed(const struct worker *w, struct connection *c)
{
    struct span origin = c->request.origin;

    c->origin = NULL;
    if (w->config.cors.n_origins == 0 || origin.len == 0)
        return true;
    c->origin = origin_find(w, origin);
    return c->origin != NULL;
}

/* Who sends, and whether that one may. */
static enum reason sender_check(struct worker *w, struct connection *c, struct span type)
{
    enum reason reason = auth_check(w, c);

    if (reason == REASON_NONE)
        reason = auth_type(w, c, type);
    return reason == REASON_NONE ? auth_rate(w, c) : reason;
}

/* What the head of a POST decides. */
static enum reason post_check(struct worker *w, struct connection *c, struct span type)
{
    const struct http_request *r = &c->request;
    enum reason reason = REASON_NONE;

    if (w->auth != NULL)
        reason = sender_check(w, c, type);
    if (reason != REASON_NONE)
        return reason;
    if (!r->has_length && !r->chunked)
        return REASON_BAD_LENGTH;
    if (r->media == HTTP_MEDIA_OTHER || r->coding == HTTP_CODING_OTHER)
        return REASON_BAD_MEDIA_TYPE;
    if (r->has_length && r->content_length > w->config.body_bytes_max)
        return REASON_BODY_TOO_BIG;
    return worker_draining(w) ? REASON_DRAINING : REASON_NONE;
}

/* What a head is to become: an answer at once, or a body to wait for. */
enum head_fate { HEAD_BODY, HEAD_OPTIONS, HEAD_HEALTH, HEAD_REFUSED };

static enum head_fate head_check(struct worker *w, struct connection *c, enum reason *reason)
{
    const struct http_request *r = &c->request;
    bool allowed = origin_allowed(w, c), get = r->method == HTTP_METHOD_GET;
    char type[3 * TYPE_NAME_BYTES_MAX];
    struct span named;

    if (r->path.ptr[0] == '*') /* only OPTIONS comes with it */
        return HEAD_OPTIONS;
    *reason = worker_draining(w) ? REASON_DRAINING : REASON_NONE;
    if ((get || r->method == HTTP_METHOD_HEAD) && span_equal(r->path, span_of(HEALTH_PATH)))
        return *reason == REASON_NONE ? HEAD_HEALTH : HEAD_REFUSED;
    *reason = path_type(r->path, type, &named);
    if (*reason != REASON_NONE)
        return HEAD_REFUSED;
    if (r->method == HTTP_METHOD_OPTIONS)
        return HEAD_OPTIONS;
    if (r->method != HTTP_METHOD_POST)
        *reason = REASON_BAD_METHOD;
    else
        *reason = allowed ? post_check(w, c, named) : REASON_ORIGIN_REFUSED;
    return *reason == REASON_NONE ? HEAD_BODY : HEAD_REFUSED;
}

/*
 * Answers a request by its head. The connection goes on when all of the request is here, or it has
 * no body; otherwise the rest would have to be read for nothing.
 */
static void head_answer(struct worker *w, struct connection *c, enum head_fate fate,
                        enum reason reason)
{
    const struct http_request *r = &c->request;
    bool whole =
        !r->chunked && reason != REASON_BAD_LENGTH && r->content_length <= c->len - r->head_len;
    uint32_t used = whole ? r->head_len + (uint32_t)r->content_length : c->len;

    ASSERT_HOT(fate != HEAD_BODY && c->len >= r->head_len);
    c->close_after = !whole || !r->keep_alive || worker_draining(w);
    c->linger = !whole;
    if (fate == HEAD_OPTIONS)
        answer_options(w, c);
    else if (fate == HEAD_HEALTH)
        answer_health(w, c);
    else
        answer_refused(w, c, reason, "");
    if (!request_consume(w, c, used)) {
        c->close_after = true;
        c->len = 0;
    }
    connection_send(w, c);
}

/* Parses the head when it is whole. @return false when the connection has been answered or needs
 * more. */
static bool head_take(struct worker *w, struct connection *c)
{
    int rc = http_parse_head(c->buf, c->len, w->config.header_bytes_max, &c->request);
    enum reason reason = REASON_NONE;
    enum head_fate fate;

    if (rc == -EAGAIN)
        return false;
    if (rc < 0) {
        request_refuse(w, c, rc == -EMSGSIZE ? REASON_HEADER_TOO_BIG : REASON_BAD_REQUEST,
                       rc == -EPROTONOSUPPORT ? "only HTTP/1.1 and HTTP/1.0" : "");
        return false;
    }
    fate = head_check(w, c, &reason);
    if (fate != HEAD_BODY) {
        head_answer(w, c, fate, reason);
        return false;
    }
    c->have_head = true;
    c->raw = c->request.head_len;
    return true;
}

/* Squeezes what came of a chunked body; takes the request when it ends. */
static void chunked_take(struct worker *w, struct connection *c)
{
    uint32_t head = c->request.head_len;
    size_t consumed = 0, payload = 0;
    int rc = http_chunked_squeeze(&c->chunked, c->buf + head + c->body, c->buf + c->raw,
                                  c->len - c->raw, &consumed, &payload);

    if (rc < 0) {
        request_refuse(w, c, REASON_BAD_REQUEST, "bad chunk");
        return;
    }
    c->body += (uint32_t)payload;
    c->raw += (uint32_t)consumed;
    if (c->body > w->config.body_bytes_max) {
        request_refuse(w, c, REASON_BODY_TOO_BIG, "");
    } else if (rc == 1) {
        request_ready(w, c, c->body, c->raw);
    } else {
        c->len = c->raw = head + c->body; /* framing is gone: go on right behind the payload */
    }
}

void request_continue(struct connection *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (!c->request.expect_continue || c->continue_sent)
        return;
    c->continue_sent = true;
    if (c->secure)
        tls_write(c->tls, text, sizeof(text) - 1); /* leaves before the next receive */
    else if (send(c->fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; /* a client that is gone shows at the next receive */
}

/* Bytes that the rest of the request needs in one place. */
uint64_t request_need(const struct worker *w, const struct connection *c)
{
    if (!c->have_head && c->len <= LEASE_HEAD_BYTES / 2)
        return LEASE_HEAD_BYTES;
    if (!c->have_head)
        return w->config.header_bytes_max > c->len ? w->config.header_bytes_max
                                                   : (uint64_t)c->len + 4096;
    if (!c->request.chunked)
        return c->request.head_len + c->request.content_length;
    return (uint64_t)c->len + (c->len < RECEIVE_BYTES / 2 ? RECEIVE_BYTES / 2 : 4096);
}

/* One step with what is in the buffer: at most one request is taken. */
void request_step(struct worker *w, struct connection *c)
{
    const struct http_request *r = &c->request;

    if (!c->have_head && !head_take(w, c))
        return;
    if (r->chunked)
        chunked_take(w, c);
    else if (c->len - r->head_len >= r->content_length)
        request_ready(w, c, (uint32_t)r->content_length, r->head_len + (uint32_t)r->content_length);
}
