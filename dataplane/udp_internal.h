/* The UDP socket of a worker, for udp.c and struct worker only. */
#ifndef PENSTOCK_UDP_INTERNAL_H
#define PENSTOCK_UDP_INTERNAL_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "dataplane/receive.h"

#define UDP_RECEIVES 16 /* in the kernel at once where there is no multishot */

/** A datagram in memory, wherever it came from. JSON padding is readable behind it. */
struct datagram {
    const char *buf;
    uint32_t len;
    const char *input; /* "udp", for dead letters */
    const struct sockaddr_storage *from;
    _Atomic uint64_t *dropped; /* its input's counters: by reason, and lines */
    _Atomic uint64_t *dropped_lines;
};

/** One that waits for room in commit blocks, in its receive buffer. */
struct udp_waiting {
    uint32_t buffer, len;
    const char *buf;
    int64_t since_us;
    struct sockaddr_storage from;
};

/** One plain receive. */
struct udp_receive {
    struct msghdr msg;
    struct iovec iov;
    struct sockaddr_storage from;
};

/** One SO_REUSEPORT socket. */
struct udp {
    int fd;         /* -1: off */
    bool multishot; /* one submission for many datagrams: kernel 6.0 */
    bool again;     /* a receive failed in an unexpected way: next tick */
    uint32_t n_armed;
    struct msghdr msg; /* what multishot reserves in each buffer */
    struct udp_receive plain[UDP_RECEIVES];
    uint32_t idle[UDP_RECEIVES]; /* of plain: not in the kernel */
    uint32_t n_idle;
    struct receive_pool receive;
    struct udp_waiting *waiting; /* a ring of as many as there are buffers */
    uint32_t first, n_waiting;
    uint32_t kernel_drops; /* the socket's counter when last seen */
};

#endif
