/* What a worker polls of DPDK's ports, for packet.c and struct worker only. */
#ifndef PENSTOCK_PACKET_INTERNAL_H
#define PENSTOCK_PACKET_INTERNAL_H

#include "dataplane/packet/nics.h"

struct rte_mbuf;

/** A datagram that waits for room in commit blocks, in its buffer. */
struct packet_waiting {
    struct rte_mbuf *mbuf;
    int64_t since_us;
};

/** Everything of a worker that has to do with DPDK. */
struct packets {
    const struct nic_share *share;  /* NULL: off */
    struct packet_waiting *waiting; /* a ring of share->waiting_max */
    uint32_t first, n_waiting;
    char *flat;          /* for one frame that lies in pieces */
    int64_t turn_us;     /* when the last turn began */
    uint32_t idle_turns; /* since the last one that brought something */
};

#endif
