/*
 * HOT. NDJSON in UDP datagrams. Received in batches through the worker's io_uring: one multishot
 * recvmsg where the kernel has it (6.0), some plain ones where not; which it is, the first completion
 * tells.
 *
 * When commit blocks are short for a moment, datagrams wait in their buffers, and then in the
 * socket's. What is dropped is counted where it happens: by the kernel (socket buffer full), or here,
 * by reason.
 */
#include <errno.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/log.h"
#include "dataplane/worker_internal.h"

#define WAIT_US 1000000 /* for commit blocks, as HTTP requests do */

/* ---- set-up ---- */

/* Of one buffer: the largest datagram, and in front of it what multishot puts there. */
static uint32_t buffer_bytes(const struct worker_config *c)
{
    uint64_t bytes =
        c->datagram_bytes_max + sizeof(struct io_uring_recvmsg_out) + sizeof(struct sockaddr_in6);

    ASSERT(c->datagram_bytes_max > 0);
    return (uint32_t)align_up(bytes, 64);
}

uint64_t udp_memory_bytes(const struct worker_config *c)
{
    if (c->udp_address.ss_family == AF_UNSPEC)
        return 0;
    return receive_pool_memory(c->datagram_buffers, buffer_bytes(c)) +
           (uint64_t)c->datagram_buffers * sizeof(struct udp_waiting);
}

/* Beyond net.core.rmem_max only with the right to (CAP_NET_ADMIN). */
static void set_receive_buffer(const struct worker_config *c, int fd)
{
    int bytes = (int)c->udp_socket_bytes, got = 0;
    socklen_t len = sizeof(got);

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0)
        got = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &len) == 0 && got / 2 < bytes && c->index == 0)
        log_warn("start",
                 "udp.receive_buffer: the kernel gives %d of %d bytes; raise net.core.rmem_max, or "
                 "give penstockd CAP_NET_ADMIN",
                 got / 2, bytes);
}

static int socket_open(const struct worker_config *c)
{
    const struct sockaddr_storage *a = &c->udp_address;
    int fd = socket(a->ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1, rc;

    if (fd < 0)
        return -errno;
    set_receive_buffer(c, fd);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0 &&
        bind(fd, (const struct sockaddr *)a, peer_len(a)) == 0)
        return fd;
    rc = -errno;
    ASSERT(rc < 0);
    close(fd);
    return rc;
}

int udp_create(struct worker *w, char *error, size_t error_len)
{
    const struct worker_config *c = &w->config;
    struct udp *u = &w->udp;

    u->fd = -1;
    if (c->udp_address.ss_family == AF_UNSPEC)
        return 0;
    u->waiting = calloc(c->datagram_buffers, sizeof(*u->waiting));
    if (u->waiting == NULL ||
        receive_pool_create(GROUP_UDP, c->datagram_buffers, buffer_bytes(c), 0, &u->receive) < 0) {
        snprintf(error, error_len, "udp.receive_buffers: out of memory");
        return -ENOMEM;
    }
    u->fd = socket_open(c);
    if (u->fd < 0) {
        int rc = u->fd;

        snprintf(error, error_len, "udp.listen: cannot listen: %s", strerror(-rc));
        return rc;
    }
    u->msg.msg_namelen = sizeof(struct sockaddr_in6);
    u->multishot = !c->udp_plain;
    for (uint32_t i = 0; i < UDP_RECEIVES; i++)
        u->idle[u->n_idle++] = i;
    ASSERT(u->n_idle == UDP_RECEIVES);
    return 0;
}

void udp_destroy(struct worker *w)
{
    ASSERT(w != NULL);
    if (w->udp.fd >= 0)
        close(w->udp.fd);
    receive_pool_destroy(&w->udp.receive);
    free(w->udp.waiting);
}

/* ---- receiving ---- */

static void arm_plain(struct worker *w)
{
    struct udp *u = &w->udp;
    uint32_t slot = u->idle[--u->n_idle];
    struct udp_receive *r = &u->plain[slot];
    struct io_uring_sqe *sqe = worker_sqe(w);

    r->iov = (struct iovec){.iov_len = w->config.datagram_bytes_max};
    r->msg = (struct msghdr){
        .msg_name = &r->from, .msg_namelen = sizeof(r->from), .msg_iov = &r->iov, .msg_iovlen = 1};
    io_uring_prep_recvmsg(sqe, u->fd, &r->msg, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP_UDP;
    sqe->user_data = (uint64_t)OP_DATAGRAM << OP_SHIFT | slot;
}

static void arm_multishot(struct worker *w)
{
    struct udp *u = &w->udp;
    struct io_uring_sqe *sqe = worker_sqe(w);

    ASSERT(u->n_armed == 0);
    io_uring_prep_recvmsg_multishot(sqe, u->fd, &u->msg, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP_UDP;
    sqe->user_data = (uint64_t)OP_DATAGRAM << OP_SHIFT;
}

/* Receives while there are buffers. Those that wait hold theirs: then the socket's has to do. */
void udp_arm(struct worker *w)
{
    struct udp *u = &w->udp;

    if (u->fd < 0 || u->again)
        return;
    while (u->n_armed < (u->multishot ? 1 : UDP_RECEIVES) &&
           u->receive.n_held + u->n_armed < u->receive.buffers) {
        if (u->multishot)
            arm_multishot(w);
        else
            arm_plain(w);
        u->n_armed++;
    }
}

static struct datagram datagram_of(struct worker *w, const struct sockaddr_storage *from)
{
    ASSERT_HOT(from != NULL);
    return (struct datagram){
        .input = "udp",
        .from = from,
        .dropped = w->stats.udp_dropped,
        .dropped_lines = &w->stats.udp_dropped_lines,
    };
}

/* Appends to those that wait. */
static void wait_push(struct worker *w, const struct datagram *d, uint32_t buffer)
{
    struct udp *u = &w->udp;
    struct udp_waiting *at = &u->waiting[(u->first + u->n_waiting) % u->receive.buffers];

    ASSERT(u->n_waiting < u->receive.buffers);
    *at =
        (struct udp_waiting){.buffer = buffer, .buf = d->buf, .len = d->len, .since_us = w->now_us};
    memcpy(&at->from, d->from, peer_len(d->from));
    u->n_waiting++;
    stat_set(&w->stats.udp_waiting, u->n_waiting);
}

bool udp_unstall(struct worker *w)
{
    struct udp *u = &w->udp;

    while (u->n_waiting > 0) {
        const struct udp_waiting *at = &u->waiting[u->first];
        struct datagram d = datagram_of(w, &at->from);

        d.buf = at->buf;
        d.len = at->len;
        if (!datagram_take(w, &d)) {
            if (w->now_us - at->since_us < WAIT_US)
                return true;
            datagram_drop(&d, REASON_BLOCKS_BUSY);
        }
        receive_pool_return(&u->receive, at->buffer);
        u->first = (u->first + 1) % u->receive.buffers;
        u->n_waiting--;
        stat_set(&w->stats.udp_waiting, u->n_waiting);
    }
    ASSERT_HOT(u->n_waiting == 0);
    return false;
}

static void datagram_arrived(struct worker *w, const struct datagram *d, uint32_t buffer,
                             bool truncated)
{
    struct udp *u = &w->udp;

    stat_add(&w->stats.udp_datagrams, 1);
    stat_add(&w->stats.udp_bytes, d->len);
    if (unlikely(truncated)) {
        datagram_drop(d, REASON_DATAGRAM_TOO_BIG);
    } else if (unlikely(u->n_waiting > 0 || !datagram_take(w, d))) {
        wait_push(w, d, buffer);
        return;
    }
    ASSERT_HOT(u->receive.n_held > 0);
    receive_pool_return(&u->receive, buffer);
}

/* In front of the datagram lies what recvmsg() returns otherwise. */
static void take_multishot(struct worker *w, const struct io_uring_cqe *cqe)
{
    struct udp *u = &w->udp;
    struct sockaddr_storage from = {0};
    uint32_t buffer;
    char *buf = receive_pool_take(&u->receive, cqe, &buffer);
    struct io_uring_recvmsg_out *o = io_uring_recvmsg_validate(buf, cqe->res, &u->msg);
    struct datagram d = datagram_of(w, &from);

    ASSERT(o != NULL);
    memcpy(&from, io_uring_recvmsg_name(o), sizeof(struct sockaddr_in6));
    d.buf = io_uring_recvmsg_payload(o, &u->msg);
    d.len = io_uring_recvmsg_payload_length(o, cqe->res, &u->msg);
    datagram_arrived(w, &d, buffer,
                     (o->flags & MSG_TRUNC) != 0 || d.len > w->config.datagram_bytes_max);
}

static void take_plain(struct worker *w, const struct io_uring_cqe *cqe, uint32_t slot)
{
    struct udp *u = &w->udp;
    struct udp_receive *r = &u->plain[slot];
    uint32_t buffer;
    struct datagram d = datagram_of(w, &r->from);

    d.buf = "";
    d.len = (uint32_t)cqe->res;
    if ((cqe->flags & IORING_CQE_F_BUFFER) == 0) { /* an empty one takes none */
        ASSERT(d.len == 0);
        stat_add(&w->stats.udp_datagrams, 1);
        datagram_drop(&d, REASON_EMPTY_BODY);
        return;
    }
    d.buf = receive_pool_take(&u->receive, cqe, &buffer);
    datagram_arrived(w, &d, buffer, (r->msg.msg_flags & MSG_TRUNC) != 0);
}

/* Ended without a datagram. */
static COLD_PATH void receive_failed(struct worker *w, int error)
{
    struct udp *u = &w->udp;

    if (error == -ENOBUFS)
        stat_add(&w->stats.recv_no_buffer, 1); /* armed again when one is free */
    else if (u->multishot && (error == -EINVAL || error == -EOPNOTSUPP))
        u->multishot = false;
    else
        u->again = true;
    ASSERT(error < 0);
}

void on_datagram(struct worker *w, uint32_t slot, const struct io_uring_cqe *cqe)
{
    struct udp *u = &w->udp;
    bool multishot = u->multishot;

    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        u->n_armed--;
    if (cqe->res < 0)
        receive_failed(w, cqe->res);
    else if (multishot)
        take_multishot(w, cqe);
    else
        take_plain(w, cqe, slot);
    if (!multishot)
        u->idle[u->n_idle++] = slot;
    ASSERT_HOT(u->n_idle <= UDP_RECEIVES);
}

/* ---- time ---- */

/* SO_MEMINFO tells what SO_RXQ_OVFL does, and needs no further datagram for it. */
void udp_tick(struct worker *w)
{
    struct udp *u = &w->udp;
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(info);

    if (u->fd < 0)
        return;
    u->again = false;
    if (getsockopt(u->fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0 ||
        len <= SK_MEMINFO_DROPS * sizeof(info[0]))
        return;
    stat_add(&w->stats.udp_kernel_drops, (uint32_t)(info[SK_MEMINFO_DROPS] - u->kernel_drops));
    u->kernel_drops = info[SK_MEMINFO_DROPS];
    ASSERT(len <= sizeof(info));
}

bool udp_quiet(const struct worker *w)
{
    ASSERT(w != NULL);
    return w->udp.n_waiting == 0;
}
