/* COLD. Listening sockets of a worker: one SO_REUSEPORT socket per input, all in its io_uring. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/peer.h"
#include "dataplane/worker_internal.h"

#define LISTEN_QUEUE  4096
#define ALIVE_IDLE_S  60 /* a TCP peer that vanished without a word is noticed after two minutes */
#define ALIVE_EVERY_S 10
#define ALIVE_PROBES  6

static const char *const knobs[LISTENERS] = {
    [LISTENER_HTTP] = "http.listen",
    [LISTENER_HTTPS] = "https.listen",
    [LISTENER_TCP] = "tcp.listen",
    [LISTENER_ACKED] = "tcp.acked_listen",
};

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value));
}

/* What accepted sockets inherit. */
static int set_stream_options(int fd, enum listener_kind kind)
{
    if (set(fd, IPPROTO_TCP, TCP_NODELAY, 1) < 0)
        return -1;
    if (kind == LISTENER_HTTP || kind == LISTENER_HTTPS) /* have timeouts of their own */
        return 0;
    return set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) < 0 ||
                   set(fd, IPPROTO_TCP, TCP_KEEPIDLE, ALIVE_IDLE_S) < 0 ||
                   set(fd, IPPROTO_TCP, TCP_KEEPINTVL, ALIVE_EVERY_S) < 0 ||
                   set(fd, IPPROTO_TCP, TCP_KEEPCNT, ALIVE_PROBES) < 0
               ? -1
               : 0;
}

static int listener_open(enum listener_kind kind, const struct sockaddr_storage *address)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc;

    ASSERT(kind < LISTENERS);
    if (fd < 0)
        return -errno;
    if (set(fd, SOL_SOCKET, SO_REUSEADDR, 1) == 0 && set(fd, SOL_SOCKET, SO_REUSEPORT, 1) == 0 &&
        set_stream_options(fd, kind) == 0 &&
        bind(fd, (const struct sockaddr *)address, peer_len(address)) == 0 &&
        listen(fd, LISTEN_QUEUE) == 0)
        return fd;
    rc = -errno;
    close(fd);
    return rc;
}

int listeners_create(struct worker *w, char *error, size_t error_len)
{
    const struct sockaddr_storage *address[LISTENERS] = {
        [LISTENER_HTTP] = &w->config.http_address,
        [LISTENER_HTTPS] = &w->config.https_address,
        [LISTENER_TCP] = &w->config.tcp_address,
        [LISTENER_ACKED] = &w->config.tcp_acked_address,
    };

    for (uint32_t i = 0; i < LISTENERS; i++) {
        int fd;

        if (address[i]->ss_family == AF_UNSPEC) /* this input is off */
            continue;
        fd = listener_open((enum listener_kind)i, address[i]);
        if (fd < 0) {
            snprintf(error, error_len, "%s: cannot listen: %s", knobs[i], strerror(-fd));
            return fd;
        }
        w->listener[i].fd = fd;
    }
    ASSERT(w->listener[LISTENER_HTTPS].fd < 0 || w->keys != NULL);
    return 0;
}

void listeners_destroy(struct worker *w)
{
    ASSERT(w != NULL);
    for (uint32_t i = 0; i < LISTENERS; i++) {
        if (w->listener[i].fd >= 0)
            close(w->listener[i].fd);
    }
}

void listeners_accept(struct worker *w)
{
    for (uint32_t i = 0; i < LISTENERS; i++) {
        struct listener *l = &w->listener[i];
        struct io_uring_sqe *sqe;

        if (l->fd < 0 || l->armed)
            continue;
        sqe = worker_sqe(w);
        io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
        sqe->user_data = (uint64_t)OP_ACCEPT << OP_SHIFT | i;
        l->armed = true;
    }
}

void on_accept(struct worker *w, enum listener_kind kind, const struct io_uring_cqe *cqe)
{
    ASSERT(kind < LISTENERS);
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        w->listener[kind].armed = false;
    if (cqe->res < 0)
        return;
    if (kind == LISTENER_HTTP || kind == LISTENER_HTTPS)
        connection_open(w, cqe->res, kind == LISTENER_HTTPS);
    else
        stream_open(w, cqe->res, kind == LISTENER_ACKED);
}
