/* HOT. See gen_conn.h. */
#include "tools/gen/gen_conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tools/gen/gen_assert.h"

void gen_conn_init(struct gen_conn *c)
{
    c->state = GEN_CONN_CLOSED;
    c->error = 0;
    c->_fd = -1;
    c->_out = NULL;
    c->_out_bytes = 0;
    gen_response_reset(&c->response);
}

void gen_conn_close(struct gen_conn *c)
{
    if (c->_fd >= 0) {
        close(c->_fd);
    }
    c->_fd = -1;
    c->_out = NULL;
    c->_out_bytes = 0;
    c->state = GEN_CONN_CLOSED;
}

__attribute__((cold, noinline)) static enum gen_conn_event broken(struct gen_conn *c, int error)
{
    c->error = error;
    gen_conn_close(c);
    return GEN_CONN_BROKEN;
}

enum gen_conn_event gen_conn_open(struct gen_conn *c, const struct gen_address *address,
                                  int epoll_fd, void *tag)
{
    const int on = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = tag};
    GEN_ASSERT(c->state == GEN_CONN_CLOSED && c->_fd < 0);
    c->_scheme = address->scheme;
    c->_lines = c->_confirmed = c->_number = 0;
    int type = address->scheme == GEN_UDP ? SOCK_DGRAM : SOCK_STREAM;
    c->_fd = socket(address->addr.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->_fd < 0) {
        return broken(c, errno);
    }
    /* Not fatal: without it a request that needs two sends may wait for an acknowledgement. */
    if (address->scheme != GEN_UDP) {
        (void)setsockopt(c->_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    int rc = connect(c->_fd, (const struct sockaddr *)&address->addr, address->addr_bytes);
    if (rc != 0 && errno != EINPROGRESS) {
        return broken(c, errno);
    }
    c->state = rc == 0 ? GEN_CONN_IDLE : GEN_CONN_CONNECTING;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->_fd, &event) != 0) {
        return broken(c, errno);
    }
    return rc == 0 ? GEN_CONN_CONNECTED : GEN_CONN_NOTHING;
}

/* Sends what the socket takes. Edge-triggered: EAGAIN means that an EPOLLOUT event will follow. */
static enum gen_conn_event push(struct gen_conn *c)
{
    while (c->_out_bytes > 0) {
        ssize_t sent = send(c->_fd, c->_out, c->_out_bytes, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) {
                continue;
            }
            /* A server that refuses a body answers and closes: the answer may be there to read, and
             * the event that reports the end will read it. */
            if (errno == EAGAIN || errno == EPIPE || errno == ECONNRESET) {
                break;
            }
            return broken(c, errno);
        }
        c->_out += sent;
        c->_out_bytes -= (size_t)sent;
    }
    if (c->_out_bytes == 0 && (c->_scheme == GEN_TCP || c->_scheme == GEN_UDP)) {
        c->state = GEN_CONN_IDLE;
        return GEN_CONN_ANSWERED;
    }
    return GEN_CONN_NOTHING;
}

enum gen_conn_event gen_conn_send(struct gen_conn *c, const char *bytes, size_t count,
                                  uint32_t lines)
{
    GEN_ASSERT(c->state == GEN_CONN_IDLE);
    GEN_ASSERT(count > 0);
    gen_response_reset(&c->response);
    c->state = GEN_CONN_BUSY;
    c->_lines += lines;
    c->_out = bytes;
    c->_out_bytes = count;
    return push(c);
}

static enum gen_conn_event finish_connect(struct gen_conn *c, uint32_t events)
{
    int error = 0;
    socklen_t error_bytes = sizeof(error);
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
        return GEN_CONN_NOTHING;
    }
    if (getsockopt(c->_fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) != 0 || error != 0) {
        return broken(c, error != 0 ? error : errno);
    }
    c->state = GEN_CONN_IDLE;
    return GEN_CONN_CONNECTED;
}

/* The whole answer is in: keep the connection unless either side has to give it up. */
static enum gen_conn_event answered(struct gen_conn *c, bool more_bytes)
{
    bool cut_short = c->_out_bytes > 0; /* answered before the request was sent: 413, 503 */
    c->state = GEN_CONN_IDLE;
    c->_out = NULL;
    if (c->response.close || cut_short || more_bytes) {
        gen_conn_close(c);
    }
    return GEN_CONN_ANSWERED;
}

/* The server has closed, or reset when error is not 0. */
static enum gen_conn_event ended(struct gen_conn *c, int error)
{
    if (c->state == GEN_CONN_IDLE) {
        gen_conn_close(c);
        return GEN_CONN_ENDED;
    }
    if (error == 0 && gen_response_end(&c->response)) {
        c->response.close = true;
        return answered(c, false);
    }
    return broken(c, error);
}

/* Counts of durable lines, one a line, of which only the last one matters. */
static bool feed_counts(struct gen_conn *c, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n') {
            c->_confirmed = c->_number;
            c->_number = 0;
        } else if (bytes[i] >= '0' && bytes[i] <= '9') {
            c->_number = c->_number * 10 + (uint64_t)(bytes[i] - '0');
        } else {
            return false;
        }
    }
    return c->_confirmed <= c->_lines;
}

/* The other protocols' side of pull(): bytes that came. */
static enum gen_conn_event take_counts(struct gen_conn *c, const char *bytes, size_t count)
{
    if (c->_scheme != GEN_TCP_ACKED || !feed_counts(c, bytes, count)) {
        return broken(c, EPROTO);
    }
    if (c->state != GEN_CONN_BUSY || c->_out_bytes > 0 || c->_confirmed < c->_lines) {
        return GEN_CONN_NOTHING;
    }
    c->state = GEN_CONN_IDLE;
    c->response.status = 200;
    return GEN_CONN_ANSWERED;
}

static enum gen_conn_event pull(struct gen_conn *c, bool expect_end,
                                struct gen_conn_scratch *scratch)
{
    for (;;) {
        ssize_t got = recv(c->_fd, scratch->bytes, sizeof(scratch->bytes), 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && errno == EAGAIN) {
            return GEN_CONN_NOTHING;
        }
        if (got <= 0) {
            return ended(c, got < 0 ? errno : 0);
        }
        if (c->_scheme != GEN_HTTP) {
            enum gen_conn_event event = take_counts(c, scratch->bytes, (size_t)got);
            if (event != GEN_CONN_NOTHING) {
                return event;
            }
            continue;
        }
        if (c->state == GEN_CONN_IDLE) {
            return ended(c, 0); /* bytes that answer nothing, such as a 408 before a close */
        }
        size_t taken = gen_response_feed(&c->response, scratch->bytes, (size_t)got);
        if (c->response.state == GEN_RESPONSE_BAD) {
            return broken(c, EPROTO);
        }
        if (c->response.state == GEN_RESPONSE_DONE) {
            c->response.close |= expect_end;
            return answered(c, taken < (size_t)got);
        }
        /* A short read has emptied the socket; a new edge tells of more, but an end already
         * reported has to be read now. */
        if ((size_t)got < sizeof(scratch->bytes) && !expect_end) {
            return GEN_CONN_NOTHING;
        }
    }
}

enum gen_conn_event gen_conn_on_events(struct gen_conn *c, uint32_t events,
                                       struct gen_conn_scratch *scratch)
{
    bool end = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (c->state == GEN_CONN_CLOSED) {
        return GEN_CONN_NOTHING;
    }
    if (c->state == GEN_CONN_CONNECTING) {
        return finish_connect(c, events);
    }
    if ((events & EPOLLOUT) != 0 && c->_out_bytes > 0 && !end) {
        enum gen_conn_event result = push(c);
        if (result != GEN_CONN_NOTHING) {
            return result;
        }
    }
    if ((events & EPOLLIN) != 0 || end) {
        return pull(c, end, scratch);
    }
    return GEN_CONN_NOTHING;
}
