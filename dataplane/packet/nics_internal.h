/* Inside of nics.h, for its folder only. */
#ifndef PENSTOCK_PACKET_NICS_INTERNAL_H
#define PENSTOCK_PACKET_NICS_INTERNAL_H

#include <pthread.h>
#include <rte_ethdev.h>

#include "dataplane/packet/nics.h"

/** One DPDK port: a NIC or an exception port. */
struct nic {
    uint16_t port;
    const char *device; /* as configured; of an exception port: its interface */
    struct rte_eth_dev_info info;
    uint16_t rx_queues, tx_queues;
    uint16_t rx_descriptors, tx_descriptors;
    bool checksums; /* looked at by the card */
    bool rss;
    bool started;
    char name[32];               /* of an exception port: its interface */
    int socket[NIC_WORKERS_MAX]; /* of drivers that are sockets: the kernel's counts of drops */
    uint32_t n_sockets;
    uint64_t socket_drops;          /* of earlier looks, where a look begins them anew */
    struct rte_eth_stats last, sum; /* as the driver told last; of its earlier lives */
};

struct nics {
    pthread_mutex_t looking; /* guards last and sum of all */
    struct nics_config config;
    uint32_t n, n_exceptions; /* as many, or none */
    struct nic nic[NICS_MAX], exception[NICS_MAX];
    struct rte_mempool *pool[NIC_WORKERS_MAX];
    struct nic_share share[NIC_WORKERS_MAX];
};

/* ---- nics_leave.c ---- */

/** From now on nothing that a driver shares with others is unmapped under a worker. Thread: init.
 * @return 0; -errno when the EAL's interrupt thread does not answer. */
int nics_leave_watch(void) WARN_UNUSED;

/** What tells whether a worker is in a driver; lives as long as the process. Thread: any. */
struct nic_poll *nics_leave_poll(uint32_t worker);

/** Waits until every worker that is in a driver has left it. Thread: any but workers. */
void nics_leave_wait(void);

/* ---- nics_memif.c ---- */

/** Removes the socket's file of a memif's server that is gone; other devices are left alone. Thread: init. */
void nic_clear_socket(const char *device);

/* ---- nics_sockets.c ---- */

/** Finds the sockets that a port's driver has opened. Thread: init, when the port is set up. */
void nic_find_sockets(const struct nics *n, struct nic *nic);

/** What the kernel has dropped for it, and the driver does not tell. Thread: control, with the lock. */
uint64_t nic_socket_drops(struct nic *nic);

#endif
