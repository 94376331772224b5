/*
 * HOT. NDJSON over TCP: streams without answers, and streams whose client hears how many of its
 * lines are durable. Nothing that was read is dropped for want of room: a stream that finds none
 * holds its bytes and reads no more until there is, for as long as it takes. What it holds lies in
 * buffers of the TCP inputs' own, so that HTTP goes on.
 *
 * A type of which nothing is taken now may stay so for days. No stream waits for it: where nobody counts
 * lines, those of the type are dropped; an acked stream, whose client counts, ends in front of the first,
 * so that the client can send again from there.
 *
 * Whatever a stream holds or waits for, it cannot come to a standstill: who waits for a lease holds
 * receive buffers at most, and who has a lease receives into it and needs no buffer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/base/mem.h"
#include "dataplane/room.h"
#include "dataplane/worker_internal.h"

#define LINE_SLACK     64      /* white space around the largest event */
#define REFUSED_US     1000000 /* clients whose stream was ended for a type come again at once */
#define LINGER_US      1000000
#define BUFFERS_IN_USE 16       /* 1 MiB of 64 KiB each: 7 % more bytes a second than with all 64 */
#define ACK_US         30000000 /* for a client to take its last acknowledgement */

static void stream_run(struct worker *w, struct stream *s);

/* ---- set-up ---- */

static bool streams_on(const struct worker_config *c)
{
    return c->tcp_address.ss_family != AF_UNSPEC || c->tcp_acked_address.ss_family != AF_UNSPEC;
}

uint64_t streams_memory_bytes(const struct worker_config *c)
{
    if (!streams_on(c))
        return 0;
    return receive_pool_memory(c->stream_buffers, RECEIVE_BYTES) +
           (uint64_t)c->streams_max * (sizeof(struct stream) + STREAM_OWN_BYTES);
}

int streams_create(struct worker *w, char *error, size_t error_len)
{
    const struct worker_config *c = &w->config;
    struct streams *t = &w->streams;
    uint32_t fits = room_document_max(c->blocks, c->block_bytes, c->event_bytes_max);

    if (!streams_on(c))
        return 0;
    ASSERT(c->streams_max > 0 && c->stream_buffers > 0);
    t->line_max = c->event_bytes_max + LINE_SLACK;
    if (t->line_max > fits)
        t->line_max = fits;
    t->own_bytes = (uint64_t)c->streams_max * STREAM_OWN_BYTES + 4096; /* JSON padding */
    t->own = mem_reserve(t->own_bytes);
    t->stream = calloc(c->streams_max, sizeof(*t->stream));
    if (t->own == NULL || t->stream == NULL ||
        receive_pool_create(GROUP_TCP, c->stream_buffers, RECEIVE_BYTES, BUFFERS_IN_USE,
                            &t->receive) < 0) {
        snprintf(error, error_len, "tcp.connections_max: out of memory for connections");
        return -ENOMEM;
    }
    for (uint32_t i = c->streams_max; i-- > 0;) {
        t->stream[i].fd = -1;
        t->stream[i].next = t->free;
        t->free = &t->stream[i];
    }
    return 0;
}

void streams_destroy(struct worker *w)
{
    struct streams *t = &w->streams;

    for (uint32_t i = 0; t->stream != NULL && i < w->config.streams_max; i++) {
        if (t->stream[i].fd >= 0)
            close(t->stream[i].fd);
    }
    ASSERT(t->own != NULL || t->stream == NULL || t->receive.buffers == 0);
    receive_pool_destroy(&t->receive);
    mem_release(t->own, t->own_bytes);
    free(t->stream);
}

/* ---- queues: waiting streams, and those that found no buffer ---- */

static void queue_push(struct stream **first, struct stream **last, struct stream *s)
{
    ASSERT_HOT(s->next == NULL && s != *last);
    if (*first == NULL)
        *first = s;
    else
        (*last)->next = s;
    *last = s;
}

static struct stream *queue_pop(struct stream **first, struct stream **last)
{
    struct stream *s = *first;

    ASSERT_HOT(s != NULL);
    *first = s->next;
    if (*first == NULL)
        *last = NULL;
    s->next = NULL;
    return s;
}

/* ---- operations ---- */

static uint64_t op_data(enum worker_op op, const struct worker *w, const struct stream *s)
{
    return (uint64_t)op << OP_SHIFT | (uint64_t)(s - w->streams.stream);
}

static void receive_start(struct worker *w, struct stream *s)
{
    struct io_uring_sqe *sqe = worker_sqe(w);
    uint32_t room;
    char *to = s->state == STREAM_READING ? lines_target(&s->lines, &room) : NULL;

    ASSERT_HOT(!s->receive_busy && !s->wants_buffer && !s->holds_buffer);
    if (to != NULL) {
        io_uring_prep_recv(sqe, s->fd, to, room, 0);
    } else {
        io_uring_prep_recv(sqe, s->fd, NULL, RECEIVE_BYTES, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = GROUP_TCP;
    }
    sqe->user_data = op_data(OP_STREAM_RECEIVE, w, s);
    s->receive_busy = true;
}

static void receive_queue(struct worker *w, struct stream *s)
{
    ASSERT_HOT(!s->wants_buffer && !s->receive_busy);
    s->wants_buffer = true;
    queue_push(&w->streams.unserved, &w->streams.unserved_last, s);
}

/* A receive that found no buffer. */
static void receive_unserved(struct worker *w, struct stream *s)
{
    stat_add(&w->stats.recv_no_buffer, 1);
    receive_queue(w, s);
}

/* Receives more. Whoever has had a buffer goes behind those that wait for one: clients that never
 * stop sending would leave none to the others. */
static void receive_next(struct worker *w, struct stream *s)
{
    uint32_t room;

    if (w->streams.unserved == NULL ||
        (s->state == STREAM_READING && lines_target(&s->lines, &room) != NULL))
        receive_start(w, s);
    else
        receive_queue(w, s);
}

/* Receives that will find a buffer: completions that wait for the next turn may hold as many as there
 * are of them. A quarter is tried in any case, since they may be another input's. */
static uint32_t buffers_ready(struct worker *w)
{
    uint32_t ready = receive_pool_ready(&w->streams.receive);
    uint32_t taken = io_uring_cq_ready(&w->ring);

    ASSERT_HOT(ready <= w->config.stream_buffers);
    if (ready - ready / 4 <= taken)
        return (ready + 3) / 4;
    return ready - taken;
}

void streams_serve(struct worker *w)
{
    struct streams *t = &w->streams;
    uint32_t n = t->unserved != NULL ? buffers_ready(w) : 0;

    while (n > 0 && t->unserved != NULL) {
        struct stream *s = queue_pop(&t->unserved, &t->unserved_last);

        s->wants_buffer = false;
        if (s->state == STREAM_READING || s->state == STREAM_LINGERING) {
            receive_start(w, s);
            n--;
            continue;
        }
        ASSERT(s->state == STREAM_ENDING); /* a closed stream has left the queue */
    }
}

static void buffer_return(struct worker *w, uint32_t index)
{
    ASSERT_HOT(w->streams.receive.n_held > 0);
    receive_pool_return(&w->streams.receive, index);
}

static void buffer_drop(struct worker *w, struct stream *s)
{
    if (!s->holds_buffer)
        return;
    s->holds_buffer = false;
    buffer_return(w, s->buffer);
}

static void ack_send(struct worker *w, struct stream *s)
{
    struct io_uring_sqe *sqe = worker_sqe(w);

    ASSERT_HOT(!s->send_busy && s->out_sent < s->out_len);
    io_uring_prep_send(sqe, s->fd, s->out + s->out_sent, s->out_len - s->out_sent, MSG_NOSIGNAL);
    sqe->user_data = op_data(OP_STREAM_SEND, w, s);
    s->send_busy = true;
}

/* ---- the end of a stream ---- */

static void unserved_leave(struct streams *t, struct stream *s)
{
    struct stream **at = &t->unserved, *before = NULL;

    if (!s->wants_buffer)
        return;
    while (*at != s) {
        ASSERT(*at != NULL);
        before = *at;
        at = &before->next;
    }
    *at = s->next;
    if (t->unserved_last == s)
        t->unserved_last = before;
    s->next = NULL;
    s->wants_buffer = false;
}

/* Frees the slot once the kernel has let go of it and no list holds it. */
static void stream_reap(struct worker *w, struct stream *s)
{
    struct streams *t = &w->streams;

    if (s->state != STREAM_CLOSED || s->receive_busy || s->send_busy || s->marked)
        return;
    close(s->fd);
    s->fd = -1;
    lease_release(w->leases, &s->lease);
    s->state = STREAM_FREE;
    s->next = t->free;
    t->free = s;
    t->n_open--;
    stat_set(&w->stats.tcp_connections, t->n_open);
}

static void stream_close(struct worker *w, struct stream *s)
{
    ASSERT(s->state != STREAM_FREE && s->state != STREAM_WAITING);
    unserved_leave(&w->streams, s);
    s->state = STREAM_CLOSED;
    s->n_marks = 0;
    buffer_drop(w, s);
    if (s->receive_busy || s->send_busy)
        shutdown(s->fd, SHUT_RDWR); /* ends what is in the kernel */
    stream_reap(w, s);
}

/* Reads no more. What the client still sends is counted and dropped, so that closing does not reset
 * its acknowledgements away. */
static void linger_start(struct worker *w, struct stream *s)
{
    ASSERT(s->state == STREAM_ENDING);
    if (s->ended) { /* nothing can come */
        stream_close(w, s);
        return;
    }
    shutdown(s->fd, SHUT_WR);
    s->state = STREAM_LINGERING;
    s->deadline_us = w->now_us + LINGER_US;
    if (!s->receive_busy && !s->wants_buffer)
        receive_next(w, s);
}

/* Goes on towards the end when nothing is owed any more. */
static void stream_settle(struct worker *w, struct stream *s)
{
    ASSERT(s->state != STREAM_FREE);
    if (s->state == STREAM_ENDING && s->n_marks == 0 && s->confirmed == s->sent && !s->send_busy &&
        (w->now_us >= s->hold_us || worker_draining(w)))
        linger_start(w, s);
}

static void stream_end(struct worker *w, struct stream *s)
{
    ASSERT(s->state == STREAM_READING && !s->holds_buffer);
    s->state = STREAM_ENDING;
    s->deadline_us = s->send_busy ? w->now_us + ACK_US : INT64_MAX;
    if (!s->receive_busy) /* or the kernel may still write to it */
        lease_release(w->leases, &s->lease);
    stream_settle(w, s);
}

/* Lines that were received and are not taken. Those of an acked stream are not lost: its client knows. */
static void count_dropped(struct worker *w, const struct stream *s, enum reason reason,
                          uint32_t n_lines)
{
    ASSERT(reason > REASON_DEAD_END && reason < REASON_END);
    stat_add(&w->stats.reason[reason], n_lines);
    if (!s->acked)
        stat_add(&w->stats.tcp_dropped[reason], n_lines);
}

/* The stream is ended by us, in the middle of a line perhaps. */
static void stream_cut(struct worker *w, struct stream *s, enum reason reason)
{
    s->counted = lines_partial(&s->lines);
    s->cut_for = (uint8_t)reason;
    count_dropped(w, s, reason, s->counted ? 1 : 0);
    stream_end(w, s);
}

/*
 * Ends an acked stream in front of a line of a refused type. What the client has not heard of it has to
 * send again, so nothing is kept but the connection, for a while.
 */
static COLD_PATH void stream_refuse(struct worker *w, struct stream *s)
{
    ASSERT(s->acked && s->type_refused && !s->receive_busy);
    count_dropped(w, s, REASON_TYPE_PARKED, lines_drop(&s->lines, &s->counted));
    buffer_drop(w, s);
    s->cut_for = REASON_TYPE_PARKED;
    s->hold_us = w->now_us + REFUSED_US;
    stream_end(w, s);
}

/* ---- acknowledgements ---- */

static void ack_write(struct worker *w, struct stream *s)
{
    int n;

    if (s->send_busy || s->confirmed == s->sent)
        return;
    n = snprintf(s->out, sizeof(s->out), "%llu\n", (unsigned long long)s->confirmed);
    ASSERT(n > 0 && (size_t)n < sizeof(s->out));
    s->out_len = (uint32_t)n;
    s->out_sent = 0;
    s->sent = s->confirmed;
    if (s->state == STREAM_ENDING)
        s->deadline_us = w->now_us + ACK_US;
    ack_send(w, s);
}

/* Takes off what is durable. */
static void marks_confirm(struct worker *w, struct stream *s)
{
    uint64_t durable = w->config.durability_memory ? UINT64_MAX : w->durable_seq;
    uint32_t n = 0;

    while (n < s->n_marks && s->mark[n].seq <= durable)
        n++;
    if (n == 0)
        return;
    s->confirmed = s->mark[n - 1].lines;
    s->n_marks -= n;
    memmove(s->mark, s->mark + n, s->n_marks * sizeof(s->mark[0]));
    ASSERT_HOT(s->confirmed >= s->sent);
    ack_write(w, s);
}

/* What has been taken until now waits for the last block that holds any of it. */
static void mark_set(struct worker *w, struct stream *s)
{
    struct stream_mark *last = s->n_marks > 0 ? &s->mark[s->n_marks - 1] : NULL;
    struct stream_mark now = {.seq = s->last_seq, .lines = s->n_lines};

    if (!s->acked || s->n_lines == (last != NULL ? last->lines : s->confirmed))
        return;
    if (last != NULL && (last->seq == now.seq || s->n_marks == STREAM_MARKS))
        *last = now;
    else
        s->mark[s->n_marks++] = now;
    marks_confirm(w, s);
    if (s->n_marks == 0 || s->marked)
        return;
    s->marked = true;
    s->next_marked = w->streams.marked;
    w->streams.marked = s;
}

void streams_durable(struct worker *w)
{
    struct streams *t = &w->streams;
    struct stream **at = &t->marked;

    if (t->marked == NULL || t->confirmed_seq == w->durable_seq)
        return;
    t->confirmed_seq = w->durable_seq;
    while (*at != NULL) {
        struct stream *s = *at;

        ASSERT_HOT(s->marked);
        if (s->n_marks > 0)
            marks_confirm(w, s);
        if (s->n_marks > 0) {
            at = &s->next_marked;
            continue;
        }
        s->marked = false;
        *at = s->next_marked;
        stream_settle(w, s);
        stream_reap(w, s);
    }
}

void on_stream_send(struct worker *w, struct stream *s, int result)
{
    s->send_busy = false;
    if (s->state == STREAM_CLOSED) {
        stream_reap(w, s);
        return;
    }
    if (result <= 0) {
        if (s->state == STREAM_WAITING) { /* what it holds was read: it is taken first */
            s->acked = false;
            s->n_marks = 0;
            s->confirmed = s->sent;
            return;
        }
        if (lines_partial(&s->lines))
            stat_add(&w->stats.reason[REASON_TRUNCATED], 1);
        stream_close(w, s);
        return;
    }
    s->out_sent += (uint32_t)result;
    ASSERT_HOT(s->out_sent <= s->out_len);
    if (s->out_sent < s->out_len)
        ack_send(w, s);
    else
        ack_write(w, s);
    stream_settle(w, s);
}

/* ---- lines ---- */

static uint32_t count_lines(const char *p, uint32_t len)
{
    uint32_t n = (uint32_t)lines_breaks(p, len);

    ASSERT_HOT(len > 0);
    return p[len - 1] == '\n' ? n : n + 1;
}

/* Whole lines of at most max bytes; but one at least. */
static uint32_t shorten(const char *p, uint32_t len, uint32_t max)
{
    const char *newline;

    ASSERT_HOT(len > 0);
    if (len <= max)
        return len;
    newline = memrchr(p, '\n', max);
    if (newline == NULL)
        newline = memchr(p, '\n', len);
    return newline != NULL ? (uint32_t)(newline + 1 - p) : len;
}

static void count_taken(struct worker *w, struct stream *s, uint32_t n_lines)
{
    const struct ingest_result *r = &w->result;

    ASSERT_HOT(r->refused == REASON_NONE);
    s->n_events += r->accepted + r->sampled_out + r->dead_lettered;
    s->n_lines += n_lines;
    if (r->last_seq > s->last_seq)
        s->last_seq = r->last_seq;
    stat_add(&w->stats.tcp_lines, n_lines);
}

/*
 * Nothing was taken of a line, for want of room or because of its type. @return true when it is dropped
 * for its type. The next lines are tried one by one then, and again more and more at once: each look into
 * a piece with such a line costs a parse.
 */
static bool line_dropped(struct worker *w, struct stream *s)
{
    if (w->result.refused != REASON_TYPE_PARKED)
        return false;
    if (s->acked) {
        s->type_refused = true;
        return false;
    }
    ASSERT_HOT(w->result.last_seq == 0);
    count_dropped(w, s, REASON_TYPE_PARKED, 1);
    s->n_events++;
    s->step = 1;
    return true;
}

/* Takes as many whole lines as there is room for, or drops one that is refused. @return their bytes; 0: it
 * cannot go on. */
static uint32_t lines_ingest(struct worker *w, struct stream *s, const struct lines_piece *piece)
{
    struct ingest_body body = {.buf = piece->ptr,
                               .len = shorten(piece->ptr, piece->len, s->step),
                               .source = s->source,
                               .lines = true,
                               .position = s->n_events};

    for (;;) {
        uint32_t less;

        body.n_lines = count_lines(body.buf, (uint32_t)body.len);
        ingest_body(w->ingest, &body, &w->result);
        if (w->result.refused == REASON_NONE)
            break;
        less = shorten(body.buf, (uint32_t)body.len, (uint32_t)body.len / 2);
        if (less == body.len)
            return line_dropped(w, s) ? less : 0;
        body.len = less;
    }
    if (unlikely(s->step != UINT32_MAX))
        s->step = body.len > RECEIVE_BYTES ? UINT32_MAX : 2 * (uint32_t)body.len;
    count_taken(w, s, body.n_lines);
    return (uint32_t)body.len;
}

/* The head of a line that is too long becomes a dead letter; the line counts when it has passed. */
static bool head_ingest(struct worker *w, struct stream *s, const struct lines_piece *piece)
{
    struct ingest_body body = {
        .buf = piece->ptr, .len = piece->len, .source = s->source, .position = s->n_events};

    ingest_dead(w->ingest, &body, REASON_OVERSIZE, "only the head of the line is kept", &w->result);
    if (w->result.refused != REASON_NONE)
        return line_dropped(w, s);
    count_taken(w, s, 0);
    stat_add(&w->stats.tcp_lines, 1);
    return true;
}

/* A bigger buffer for a long line. */
static bool lease_grow(struct worker *w, struct stream *s, uint32_t need)
{
    struct lease lease;

    if (!lease_acquire(w->leases, need, &lease))
        return false;
    lines_move(&s->lines, lease.buf, lease.bytes);
    lease_release(w->leases, &s->lease);
    s->lease = lease;
    return true;
}

/* Takes what has been received. @return false when the stream has to wait, or to end (type_refused). */
static bool lines_take(struct worker *w, struct stream *s)
{
    struct lines_piece piece;
    uint32_t n;

    for (;;) {
        switch (lines_next(&s->lines, &piece)) {
        case LINES_RECEIVE:
            return true;
        case LINES_TAKE:
            s->wants_lease = false;
            n = lines_ingest(w, s, &piece);
            if (n == 0)
                return false;
            lines_taken(&s->lines, n);
            stat_add(&w->stats.tcp_straddled, piece.copied ? 1 : 0);
            break;
        case LINES_HEAD:
            s->wants_lease = false;
            if (!head_ingest(w, s, &piece))
                return false;
            lines_taken(&s->lines, piece.len);
            break;
        case LINES_PASSED:
            s->n_lines++;
            break;
        case LINES_GROW:
            s->wants_lease = true;
            if (!lease_grow(w, s, piece.len))
                return false;
            break;
        }
    }
}

/* Everything is taken or kept: reads on, or ends. */
static void stream_continue(struct worker *w, struct stream *s)
{
    buffer_drop(w, s);
    if (s->lease.buf != NULL && s->lines.tail != s->lease.buf)
        lease_release(w->leases, &s->lease);
    ASSERT_HOT(s->state == STREAM_READING);
    if (s->ended)
        stream_end(w, s);
    else if (worker_draining(w))
        stream_cut(w, s, REASON_DRAINING);
    else
        receive_next(w, s);
}

static void stream_run(struct worker *w, struct stream *s)
{
    struct streams *t = &w->streams;
    bool partial = lines_partial(&s->lines);
    bool done = lines_take(w, s);

    ASSERT_HOT(s->state == STREAM_READING);
    mark_set(w, s);
    if (unlikely(s->type_refused)) {
        stream_refuse(w, s);
        return;
    }
    if (!done) {
        s->state = STREAM_WAITING;
        queue_push(&t->stalled, &t->stalled_last, s);
        t->n_waiting++;
        stat_add(&w->stats.tcp_waits, 1);
        stat_set(&w->stats.tcp_waiting, t->n_waiting);
        return;
    }
    if (!partial)
        s->line_us = w->now_us;
    stream_continue(w, s);
}

/* One stream tries again. @return false when it still waits. */
static bool stream_unstall(struct worker *w, struct stream *s)
{
    bool done;

    ASSERT_HOT(s->state == STREAM_WAITING);
    done = lines_take(w, s);
    mark_set(w, s);
    if (!done && !s->type_refused)
        return false;
    s->state = STREAM_READING;
    if (s->type_refused) {
        stream_refuse(w, s);
        return true;
    }
    s->idle_us = s->line_us = w->now_us; /* the wait was ours */
    stream_continue(w, s);
    return true;
}

/* Each waiting stream in turn; once one has found no room, the others that want room need not try. */
bool streams_unstall(struct worker *w)
{
    struct streams *t = &w->streams;
    struct stream *s = t->stalled;
    bool no_room = false;

    t->stalled = t->stalled_last = NULL;
    while (s != NULL) {
        struct stream *next = s->next;

        s->next = NULL;
        if ((no_room && !s->wants_lease) || !stream_unstall(w, s)) {
            no_room |= !s->wants_lease;
            queue_push(&t->stalled, &t->stalled_last, s);
        } else {
            t->n_waiting--;
            stat_set(&w->stats.tcp_waiting, t->n_waiting);
        }
        s = next;
    }
    ASSERT_HOT((t->n_waiting == 0) == (t->stalled == NULL));
    return t->stalled != NULL;
}

/* ---- receiving ---- */

void stream_open(struct worker *w, int fd, bool acked)
{
    struct streams *t = &w->streams;
    struct stream *s = t->free;
    char *own;

    if (s == NULL || worker_draining(w)) {
        close(fd);
        stat_add(&w->stats.reason[s == NULL ? REASON_CONNECTIONS : REASON_DRAINING], 1);
        return;
    }
    t->free = s->next;
    own = t->own + (size_t)(s - t->stream) * STREAM_OWN_BYTES;
    *s = (struct stream){.fd = fd, .state = STREAM_READING, .acked = acked, .step = UINT32_MAX};
    lines_init(&s->lines, own, STREAM_OWN_BYTES < t->line_max ? STREAM_OWN_BYTES : t->line_max,
               t->line_max);
    s->idle_us = w->now_us;
    peer_text_of("tcp", fd, s->source);
    t->n_open++;
    stat_set(&w->stats.tcp_connections, t->n_open);
    stat_add(&w->stats.tcp_connections_total, 1);
    receive_start(w, s);
}

/* Bytes that come after the worker has ended the stream. A line counts once, in how many pieces it may
 * come. */
static void bytes_drop(struct worker *w, struct stream *s, const char *p, uint32_t len)
{
    ASSERT(s->state == STREAM_ENDING || s->state == STREAM_LINGERING);
    if (len == 0)
        return;
    count_dropped(w, s, (enum reason)s->cut_for, count_lines(p, len) - (s->counted ? 1 : 0));
    s->counted = p[len - 1] != '\n';
}

/* A receive ended that the stream does not want any more. */
static void receive_after_end(struct worker *w, struct stream *s, const struct io_uring_cqe *cqe)
{
    uint32_t index;

    ASSERT(s->state != STREAM_READING && s->state != STREAM_WAITING);
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        const char *p = receive_pool_take(&w->streams.receive, cqe, &index);

        if (s->state != STREAM_CLOSED && cqe->res > 0)
            bytes_drop(w, s, p, (uint32_t)cqe->res);
        buffer_return(w, index);
    } else if (s->lease.buf != NULL) {
        if (s->state != STREAM_CLOSED && cqe->res > 0)
            bytes_drop(w, s, s->lines.tail + s->lines.tail_len, (uint32_t)cqe->res);
        lease_release(w->leases, &s->lease);
    }
    if (s->state == STREAM_CLOSED) {
        stream_reap(w, s);
    } else if (cqe->res == -ENOBUFS) {
        if (s->state == STREAM_LINGERING)
            receive_unserved(w, s);
    } else if (cqe->res <= 0) {
        s->ended = true;
        if (s->state == STREAM_LINGERING || cqe->res < 0)
            stream_close(w, s);
    } else if (s->state == STREAM_LINGERING) {
        receive_next(w, s);
    }
}

/* The client's end, or a reset. */
static void receive_end(struct worker *w, struct stream *s, int result)
{
    ASSERT(s->state == STREAM_READING);
    if (result < 0) {
        if (lines_partial(&s->lines))
            stat_add(&w->stats.reason[REASON_TRUNCATED], 1);
        stream_close(w, s);
        return;
    }
    s->ended = true;
    lines_end(&s->lines);
    stream_run(w, s);
}

void on_stream_receive(struct worker *w, struct stream *s, const struct io_uring_cqe *cqe)
{
    const char *data;

    s->receive_busy = false;
    if (s->state != STREAM_READING) {
        receive_after_end(w, s, cqe);
        return;
    }
    if (cqe->res == -ENOBUFS) {
        receive_unserved(w, s);
        return;
    }
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        data = receive_pool_take(&w->streams.receive, cqe, &s->buffer);
        s->holds_buffer = true;
    } else {
        data = s->lines.tail + s->lines.tail_len; /* as lines_target() said */
    }
    if (cqe->res <= 0) {
        buffer_drop(w, s);
        receive_end(w, s, cqe->res);
        return;
    }
    s->idle_us = w->now_us;
    stat_add(&w->stats.tcp_bytes, (uint64_t)cqe->res);
    lines_feed(&s->lines, data, (uint32_t)cqe->res);
    stream_run(w, s);
}

/* ---- time ---- */

static bool past(const struct worker *w, int64_t since_us, uint32_t timeout_ms)
{
    return timeout_ms != 0 && w->now_us - since_us >= (int64_t)timeout_ms * 1000;
}

static void reading_tick(struct worker *w, struct stream *s)
{
    const struct worker_config *c = &w->config;

    ASSERT(s->state == STREAM_READING);
    if (worker_draining(w))
        stream_cut(w, s, REASON_DRAINING);
    else if (s->wants_buffer) /* not the client's fault */
        s->idle_us = s->line_us = w->now_us;
    else if (past(w, s->idle_us, c->stream_idle_timeout_ms) ||
             (lines_partial(&s->lines) && past(w, s->line_us, c->stream_line_timeout_ms)))
        stream_cut(w, s, REASON_TIMEOUT);
}

static void ending_tick(struct worker *w, struct stream *s)
{
    ASSERT(s->state == STREAM_ENDING);
    if (s->send_busy && w->now_us >= s->deadline_us) {
        stat_add(&w->stats.reason[REASON_TIMEOUT], 1);
        stream_close(w, s);
        return;
    }
    stream_settle(w, s); /* it may have been held for a while */
}

void streams_tick(struct worker *w)
{
    struct streams *t = &w->streams;

    for (uint32_t i = 0; t->n_open > 0 && i < w->config.streams_max; i++) {
        struct stream *s = &t->stream[i];

        if (s->state == STREAM_READING)
            reading_tick(w, s);
        else if (s->state == STREAM_LINGERING && w->now_us >= s->deadline_us)
            stream_close(w, s);
        else if (s->state == STREAM_ENDING)
            ending_tick(w, s);
    }
    ASSERT_HOT(t->n_open <= w->config.streams_max);
}

bool streams_quiet(const struct worker *w)
{
    const struct streams *t = &w->streams;

    for (uint32_t i = 0; t->n_open > 0 && i < w->config.streams_max; i++) {
        if (t->stream[i].state != STREAM_FREE)
            return false;
    }
    return true;
}
