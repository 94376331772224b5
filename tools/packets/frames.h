/*
 * The packets that penstock-packets sends: UDP over IPv4 or IPv6 with right checksums, in DPDK's buffers.
 * Thread: main.
 */
#ifndef PENSTOCK_PACKETS_FRAMES_H
#define PENSTOCK_PACKETS_FRAMES_H

#include <rte_mbuf.h>

#include "tools/packets/options.h"

struct frames;

/** A packet to be sent. */
struct frame {
    struct rte_mbuf *mbuf;
    uint32_t len, events;
    bool corrupt; /* its UDP checksum is wrong, on purpose */
};

/** Makes them; options are borrowed. @return 0; -errno. */
int frames_create(const struct options *o, struct frames **out);

/** Frees them. */
void frames_destroy(struct frames *f);

/** Packet number n, ready to be sent, n going up by one from 0. Owner of its mbuf: the port.
 * @return 1; 0: there are no more; -EAGAIN: all buffers are with the port, ask again; another -errno: the
 * file cannot be read, or has a packet's worth of events that is too long. */
int frames_next(struct frames *f, uint64_t n, struct frame *out);

/** Where received packets may go. */
struct rte_mempool *frames_pool(const struct frames *f);

#endif
