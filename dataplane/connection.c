/*
 * HOT. HTTP connections of a worker: accepting, receiving, sending, waiting, ending. What the bytes
 * mean is in request.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/peer.h"
#include "dataplane/worker_internal.h"

#define LINGER_US  2000000
#define SLOW_US    1000000 /* a body has this long to come, then as long as it is fast enough */
#define SLOW_BYTES 65536   /* a second: slower ones hold no buffer that others need */

static uint64_t op_data(enum worker_op op, const struct worker *w, const struct connection *c)
{
    return (uint64_t)op << OP_SHIFT | (uint64_t)(c - w->connection);
}

/* ---- set-up ---- */

static int lists_create(struct worker *w)
{
    w->list_memory = malloc((size_t)LISTS * LIST_BYTES);
    w->free_list = calloc(LISTS, sizeof(*w->free_list));
    if (w->list_memory == NULL || w->free_list == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < LISTS; i++)
        w->free_list[w->n_free_lists++] = w->list_memory + (size_t)i * LIST_BYTES;
    return 0;
}

static int parts_create(struct worker *w)
{
    const struct worker_config *c = &w->config;

    w->connection = calloc(c->connections_max, sizeof(*w->connection));
    if (w->connection == NULL || lists_create(w) < 0 ||
        receive_pool_create(GROUP_HTTP, c->receive_buffers, RECEIVE_BYTES, 0, &w->receive) < 0 ||
        receive_pool_create(GROUP_WIDE, WIDE_BUFFERS, WIDE_BYTES, 0, &w->wide) < 0)
        return -ENOMEM;
    for (uint32_t i = c->connections_max; i-- > 0;) {
        w->connection[i].next = w->free_connection;
        w->free_connection = &w->connection[i];
    }
    return 0;
}

int connections_create(struct worker *w, char *error, size_t error_len)
{
    int rc = parts_create(w);

    if (rc < 0)
        snprintf(error, error_len, "http.connections_max: out of memory for connections");
    return rc;
}

void connections_destroy(struct worker *w)
{
    for (uint32_t i = 0; w->connection != NULL && i < w->config.connections_max; i++) {
        if (w->connection[i].state != CONNECTION_FREE && w->connection[i].fd >= 0)
            close(w->connection[i].fd);
        tls_destroy(w->connection[i].tls);
    }
    receive_pool_destroy(&w->receive);
    receive_pool_destroy(&w->wide);
    free(w->connection);
    free(w->list_memory);
    free(w->free_list);
}

/* ---- operations ---- */

void connection_receive(struct worker *w, struct connection *c)
{
    struct io_uring_sqe *sqe = worker_sqe(w);

    ASSERT_HOT(!c->receive_busy);
    ASSERT_HOT(c->state == CONNECTION_READING || c->state == CONNECTION_LINGERING);
    if (c->lease.buf != NULL && !c->secure) {
        io_uring_prep_recv(sqe, c->fd, c->lease.buf + c->len, c->lease.bytes - c->len, 0);
    } else {
        io_uring_prep_recv(sqe, c->fd, NULL, RECEIVE_BYTES, 0);
        if (c->wide) /* a receive takes as much as a buffer holds: the length is its upper bound */
            sqe->len = WIDE_BYTES;
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = c->wide ? GROUP_WIDE : GROUP_HTTP;
        c->receives_wide = c->wide;
    }
    sqe->user_data = op_data(OP_RECEIVE, w, c);
    c->receive_busy = true;
}

static void send_start(struct worker *w, struct connection *c)
{
    struct io_uring_sqe *sqe = worker_sqe(w);

    ASSERT_HOT(!c->send_busy && c->out_sent < c->out_len);
    ASSERT_HOT(c->state == CONNECTION_SENDING);
    io_uring_prep_send(sqe, c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
    sqe->user_data = op_data(OP_SEND, w, c);
    c->send_busy = true;
}

void connection_send(struct worker *w, struct connection *c)
{
    ASSERT_HOT(c->state != CONNECTION_FREE && c->state != CONNECTION_CLOSED);
    c->state = CONNECTION_SENDING;
    c->deadline_us = w->now_us + (int64_t)w->config.request_timeout_ms * 1000;
    if (!c->secure || secure_seal(c))
        send_start(w, c);
    else
        connection_close(w, c);
}

void connection_flush(struct worker *w, struct connection *c, struct span out)
{
    ASSERT(c->secure && !c->flushing && c->state == CONNECTION_READING);
    c->state = CONNECTION_SENDING; /* within the time that it had */
    c->flushing = true;
    c->out = out.ptr;
    c->out_len = (uint32_t)out.len;
    c->out_sent = 0;
    send_start(w, c);
}

/* Frees the slot once the kernel has let go of it. */
static void connection_reap(struct worker *w, struct connection *c)
{
    if (c->state != CONNECTION_CLOSED || c->receive_busy || c->send_busy)
        return;
    ASSERT(w->n_connections > 0 && c->fd >= 0);
    close(c->fd);
    c->fd = -1;
    lease_release(w->leases, &c->lease);
    lease_release(w->leases, &c->expanded);
    answer_release(w, c);
    tls_destroy(c->tls);
    c->tls = NULL;
    c->state = CONNECTION_FREE;
    c->next = w->free_connection;
    w->free_connection = c;
    w->n_connections--;
    stat_set(&w->stats.connections, w->n_connections);
}

void connection_close(struct worker *w, struct connection *c)
{
    ASSERT_HOT(c->state != CONNECTION_FREE && c->state != CONNECTION_WAITING);
    if (unlikely(c->tls != NULL))
        secure_last(c, NULL, 0);
    c->state = CONNECTION_CLOSED;
    if (c->receive_busy || c->send_busy)
        shutdown(c->fd, SHUT_RDWR); /* ends what is in the kernel */
    connection_reap(w, c);
}

/* ---- accepting ---- */

/* Ready for the next request on this connection. */
static void request_reset(struct worker *w, struct connection *c)
{
    c->state = CONNECTION_READING;
    c->have_head = false;
    c->continue_sent = false;
    c->token = NULL;
    c->body = 0;
    c->raw = 0;
    c->chunked = (struct http_chunked){0};
    c->deadline_us = w->now_us + (int64_t)w->config.idle_timeout_ms * 1000;
}

void connection_open(struct worker *w, int fd, bool secure)
{
    struct connection *c = w->free_connection;

    if (c == NULL) {
        close(fd);
        stat_add(&w->stats.reason[REASON_CONNECTIONS], 1);
        return;
    }
    ASSERT(c->state == CONNECTION_FREE && !c->receive_busy && !c->send_busy);
    w->free_connection = c->next;
    w->n_connections++;
    stat_set(&w->stats.connections, w->n_connections);
    stat_add(&w->stats.connections_total, 1);
    c->fd = fd;
    c->next = NULL;
    c->len = 0;
    c->lease = c->expanded = (struct lease){0};
    c->list = NULL;
    c->close_after = false;
    c->linger = false;
    c->wide = false;
    c->origin = NULL;
    c->secure = secure;
    c->greeted = c->flushing = false;
    ASSERT(c->tls == NULL);
    peer_text_of(secure ? "https" : "http", fd, c->source);
    request_reset(w, c);
    if (secure)
        c->deadline_us = w->now_us + (int64_t)w->config.handshake_timeout_ms * 1000;
    connection_receive(w, c);
}

/* ---- requests ---- */

bool connection_gather(struct worker *w, struct connection *c, uint64_t need)
{
    struct lease lease;

    if (c->lease.buf != NULL && c->lease.bytes >= need)
        return true;
    if (!lease_acquire(w->leases, need, &lease)) {
        w->leases_short = true;
        return false;
    }
    ASSERT(c->len <= lease.bytes);
    memcpy(lease.buf, c->buf, c->len);
    lease_release(w->leases, &c->lease);
    c->lease = lease;
    c->buf = lease.buf;
    return true;
}

void connection_acknowledge(struct worker *w, struct connection *c)
{
    ASSERT_HOT(w->now_us >= c->taken_us);
    ASSERT(c->wait_seq <= w->durable_seq); /* of what it waited for */
    histogram_add(&w->stats.answer_us, (uint64_t)(w->now_us - c->taken_us));
    connection_send(w, c);
}

void connection_wait(struct worker *w, struct connection *c, uint64_t seq)
{
    ASSERT_HOT(seq > w->durable_seq);
    ASSERT_HOT(w->waiting_last == NULL || w->waiting_last->wait_seq <= seq); /* answered in order */
    c->state = CONNECTION_WAITING;
    c->wait_seq = seq;
    c->next = NULL;
    if (w->waiting_last != NULL)
        w->waiting_last->next = c;
    else
        w->waiting_first = c;
    w->waiting_last = c;
}

void connection_run(struct worker *w, struct connection *c)
{
    const char *base = c->buf;

    if (c->len > 0)
        request_step(w, c);
    if (c->state != CONNECTION_READING)
        return;
    if (c->len > 0) {
        if (!connection_gather(w, c, request_need(w, c))) {
            request_refuse(w, c, REASON_NO_LEASE, "");
            return;
        }
        if (c->have_head) /* of the head, only the path is used again */
            c->request.path.ptr = c->buf + (c->request.path.ptr - base);
    }
    if (c->have_head) /* there is memory for its body now */
        request_continue(c);
    if (!c->secure) /* secure_run() looks first whether it has more */
        connection_receive(w, c);
}

void connection_deadline(struct worker *w, struct connection *c, uint32_t before)
{
    if (before > 0 || c->len == 0)
        return;
    c->began_us = w->now_us;
    c->deadline_us = w->now_us + (int64_t)w->config.request_timeout_ms * 1000;
}

/* The pool that a completed receive has its buffer from. */
static struct receive_pool *pool_of(struct worker *w, const struct connection *c)
{
    ASSERT_HOT(!c->receive_busy); /* or it would be that of the next one */
    return c->receives_wide ? &w->wide : &w->receive;
}

static void receive_shared(struct worker *w, struct connection *c, const struct io_uring_cqe *cqe)
{
    struct receive_pool *pool = pool_of(w, c);
    uint32_t index;
    char *bytes = receive_pool_take(pool, cqe, &index);

    ASSERT_HOT(c->secure || (c->lease.buf == NULL && c->len == 0));
    if (c->secure) {
        secure_receive(w, c, bytes, (uint32_t)cqe->res);
    } else {
        c->buf = bytes;
        c->len = (uint32_t)cqe->res;
        connection_deadline(w, c, 0);
        connection_run(w, c);
    }
    receive_pool_return(pool, index); /* by now everything of it is taken or gathered */
}

/* The buffer of bytes that nobody wants. */
static void receive_drop(struct worker *w, const struct connection *c,
                         const struct io_uring_cqe *cqe)
{
    struct receive_pool *pool = pool_of(w, c);
    uint32_t index;

    ASSERT_HOT(cqe->user_data >> OP_SHIFT == OP_RECEIVE);
    if ((cqe->flags & IORING_CQE_F_BUFFER) == 0)
        return;
    (void)receive_pool_take(pool, cqe, &index);
    receive_pool_return(pool, index);
}

/* Drops what comes; the end, an error or the deadline closes. */
static void linger_receive(struct worker *w, struct connection *c, const struct io_uring_cqe *cqe)
{
    receive_drop(w, c, cqe);
    if (cqe->res <= 0 && cqe->res != -ENOBUFS)
        connection_close(w, c);
    else
        connection_receive(w, c);
}

void on_receive(struct worker *w, struct connection *c, const struct io_uring_cqe *cqe)
{
    ASSERT_HOT(c->receive_busy && c->state != CONNECTION_FREE);
    c->receive_busy = false;
    if (c->state == CONNECTION_CLOSED) {
        receive_drop(w, c, cqe);
        connection_reap(w, c);
        return;
    }
    if (c->state == CONNECTION_LINGERING) {
        linger_receive(w, c, cqe);
        return;
    }
    if (cqe->res == -ENOBUFS) {
        stat_add(&w->stats.recv_no_buffer, 1);
        connection_receive(w, c);
        return;
    }
    if (cqe->res <= 0) {
        if (c->len > 0)
            stat_add(&w->stats.reason[REASON_TRUNCATED], 1);
        else if (c->tls != NULL && !c->greeted)
            stat_add(&w->stats.reason[REASON_TLS_HANDSHAKE], 1);
        connection_close(w, c);
        return;
    }
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        receive_shared(w, c, cqe);
        return;
    }
    c->buf = c->lease.buf;
    c->len += (uint32_t)cqe->res;
    ASSERT_HOT(c->len <= c->lease.bytes);
    connection_deadline(w, c, c->len - (uint32_t)cqe->res);
    connection_run(w, c);
}

/* ---- answers ---- */

/* Closing with unread input resets the connection, and the answer may be lost on the way. */
static void linger_start(struct worker *w, struct connection *c)
{
    ASSERT_HOT(!c->receive_busy && !c->send_busy);
    shutdown(c->fd, SHUT_WR);
    c->state = CONNECTION_LINGERING;
    c->deadline_us = w->now_us + LINGER_US;
    connection_receive(w, c);
}

void on_send(struct worker *w, struct connection *c, int result)
{
    ASSERT_HOT(c->send_busy && c->state != CONNECTION_FREE);
    c->send_busy = false;
    if (c->state == CONNECTION_CLOSED) {
        connection_reap(w, c);
        return;
    }
    if (result <= 0) {
        connection_close(w, c);
        return;
    }
    ASSERT_HOT((uint32_t)result <= c->out_len - c->out_sent);
    c->out_sent += (uint32_t)result;
    if (c->out_sent < c->out_len) {
        if (!c->flushing)
            c->deadline_us = w->now_us + (int64_t)w->config.request_timeout_ms * 1000;
        send_start(w, c);
        return;
    }
    if (c->secure && secure_sent(w, c))
        return;
    answer_release(w, c);
    if (c->close_after && c->linger) {
        linger_start(w, c);
        return;
    }
    if (c->close_after) {
        connection_close(w, c);
        return;
    }
    request_reset(w, c);
    c->buf = c->lease.buf;
    connection_deadline(w, c, 0);
    if (c->secure)
        secure_continue(w, c);
    else
        connection_run(w, c);
}

void connections_durable(struct worker *w)
{
    struct connection *c;

    while ((c = w->waiting_first) != NULL && c->wait_seq <= w->durable_seq) {
        w->waiting_first = c->next;
        if (c->next == NULL)
            w->waiting_last = NULL;
        c->next = NULL;
        connection_acknowledge(w, c);
    }
}

/* A request or its answer takes too long. The client hears so if it still listens; nothing waits
 * for that. */
static COLD_PATH void connection_late(struct worker *w, struct connection *c, enum reason reason)
{
    static const char text[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
                               "Content-Length: 0\r\n\r\n";

    ASSERT(c->state != CONNECTION_WAITING);
    if (c->secure && !c->greeted) {
        stat_add(&w->stats.reason[REASON_TLS_HANDSHAKE], 1);
        return;
    }
    stat_add(&w->stats.reason[reason], 1);
    if (c->state != CONNECTION_READING)
        return;
    stat_add(&w->stats.answers_4xx, 1);
    if (c->secure)
        secure_last(c, text, sizeof(text) - 1);
    else
        (void)send(c->fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/*
 * Somebody found no lease: whoever holds one and sends slowly loses it. What hears 503 until then may
 * come again after a second, and finds it.
 */
static COLD_PATH void slow_end(struct worker *w)
{
    w->leases_short = false;
    for (uint32_t i = 0; i < w->config.connections_max; i++) {
        struct connection *c = &w->connection[i];
        int64_t took_us = w->now_us - c->began_us;

        if (c->state != CONNECTION_READING || c->lease.buf == NULL || c->lease.class == 0 ||
            took_us < SLOW_US || (int64_t)c->len * 1000000 >= took_us * SLOW_BYTES)
            continue;
        ASSERT(c->len > 0);
        connection_late(w, c, REASON_SLOW);
        connection_close(w, c);
    }
}

void connections_tick(struct worker *w)
{
    if (unlikely(w->leases_short))
        slow_end(w);
    for (uint32_t i = 0; i < w->config.connections_max; i++) {
        struct connection *c = &w->connection[i];

        if ((c->state != CONNECTION_READING && c->state != CONNECTION_SENDING &&
             c->state != CONNECTION_LINGERING) ||
            w->now_us < c->deadline_us)
            continue;
        if (c->len > 0 || c->state == CONNECTION_SENDING || (c->tls != NULL && !c->greeted))
            connection_late(w, c, REASON_TIMEOUT);
        connection_close(w, c);
    }
}

bool connections_quiet(const struct worker *w)
{
    for (uint32_t i = 0; i < w->config.connections_max; i++) {
        const struct connection *c = &w->connection[i];

        if (c->state == CONNECTION_WAITING || c->state == CONNECTION_SENDING ||
            c->state == CONNECTION_STALLED || c->state == CONNECTION_EXPANDING)
            return false;
    }
    return true;
}
