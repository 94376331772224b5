/*
 * The packets that penstock-packets sends: UDP over IPv4 or IPv6 with right checksums, in DPDK's buffers.
 * Thread: main.
 */
#ifndef PENSTOCK_PACKETS_FRAMES_H
#define PENSTOCK_PACKETS_FRAMES_H

#include <rte_mbuf.h>

#include "tools/packets/options.h"

struct frames;

/** Makes them; options are borrowed. @return 0; -errno. */
int frames_create(const struct options *o, struct frames **out);

/** Frees them. */
void frames_destroy(struct frames *f);

/** Packet number n, ready to be sent; NULL when all buffers are with the port. Owner: the port. */
struct rte_mbuf *frames_next(struct frames *f, uint64_t n);

/** Length of packet number n. */
uint32_t frames_len(const struct frames *f, uint64_t n);

/** Events a packet. */
uint32_t frames_events(const struct frames *f);

/** Where received packets may go. */
struct rte_mempool *frames_pool(const struct frames *f);

#endif
