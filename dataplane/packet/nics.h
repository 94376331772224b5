/*
 * DPDK's ports: opening what the configuration names, one receive queue for each worker, and beside each
 * an exception port, by which the kernel gets and sends what is not ours. nics_*() sets up and tells; the
 * packets themselves are the workers' (dataplane/packet.c), who get a struct nic_share each.
 *
 *     NIC ── queue i ──> worker i ── datagrams ──> commit blocks
 *      ^                  │  ^
 *      └──── queue i ─────┘  └── queue i of the exception port ──> kernel: ARP, ping, ssh, HTTP
 *
 * Thread: init and control, but for the fast path that the shares name.
 */
#ifndef PENSTOCK_PACKET_NICS_H
#define PENSTOCK_PACKET_NICS_H

#include <stdatomic.h>
#include <string.h>

#include "dataplane/packet/headers.h"

#define NICS_MAX        8
#define NIC_WORKERS_MAX 64

struct rte_mempool;
struct nics;

/** What takes what is not ours. */
enum nic_exception { NIC_EXCEPTION_OFF, NIC_EXCEPTION_TAP, NIC_EXCEPTION_VIRTIO_USER };

struct nics_config {
    const char *const *device; /* "0000:00:04.0" or "net_memif0,role=client"; borrowed */
    uint32_t n_devices;
    enum nic_exception exception;
    const char *exception_interface; /* its name in the kernel, a number follows; borrowed */
    struct packet_udp_ports udp;
    uint32_t n_workers;
    const int *core;      /* of each worker; -1: not pinned */
    uint32_t mtu;         /* of a frame without its Ethernet header */
    uint32_t descriptors; /* of each queue */
    uint32_t waiting_max; /* datagrams of a worker that wait for commit blocks */
    uint32_t tail_bytes;  /* readable behind every frame */
    bool promiscuous;
    bool trust_checksums; /* they are not looked at */
    bool huge_pages;      /* as the EAL has them */
    uint32_t idle_us;     /* how long an idle worker sleeps at most */
};

/** A receive queue of a worker, and its way to the kernel. */
struct nic_queue {
    uint16_t nic, exception; /* DPDK's port numbers */
    uint16_t queue;          /* of both */
    bool has_exception;
};

/** Whether a worker is in a driver: odd while it is. One line each: written once a turn. */
struct nic_poll {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t turn; /* worker */
};

/** What one worker polls. */
struct nic_share {
    struct nic_poll *poll;
    uint32_t n_queues;
    struct nic_queue queue[NICS_MAX];
    struct rte_mempool *pool; /* of this worker's buffers */
    struct packet_udp_ports udp;
    uint32_t waiting_max;
    bool trust_checksums;
};

/** Counters of one NIC, as its driver tells them. */
struct nic_stats {
    const char *device, *driver;
    uint64_t received, received_bytes;
    uint64_t missed;    /* by the card or its driver: the queue was full */
    uint64_t errors;    /* refused by the card */
    uint64_t no_buffer; /* its pool was empty */
    uint64_t sent, send_errors;
    bool link_up;
    bool is_exception;
};

/** MiB that the EAL must have for it without huge pages. Thread: init. */
uint32_t nics_memory_mib(const struct nics_config *config);

/** Bytes of one worker's packet buffers. Thread: init. */
uint64_t nics_pool_bytes(const struct nics_config *config);

/** Whether a device of the configuration is on the PCI bus: the EAL must know of it. Thread: any. */
static inline bool nic_is_pci(const char *device)
{
    size_t head = strspn(device, "0123456789abcdefABCDEF:");

    return (head == 5 || head == 10) && device[head] == '.' && device[head - 3] == ':';
}

/** Opens and sets up everything; receives nothing yet. The EAL runs. Errors name key and fix.
 * Thread: init. Owner: caller, until nics_destroy(). @return 0; -errno with error. */
int nics_create(const struct nics_config *config, struct nics **out, char *error,
                size_t error_len) WARN_UNUSED;

/** Starts receiving. Thread: init, when workers are about to poll. @return 0; -errno with error. */
int nics_start(struct nics *n, char *error, size_t error_len) WARN_UNUSED;

/** Stops and closes everything; no worker polls any more. NULL is allowed. Thread: control. */
void nics_destroy(struct nics *n);

/** What worker i polls; valid as long as n. Thread: init. */
const struct nic_share *nics_share(const struct nics *n, uint32_t worker);

/**
 * Stands around everything that a worker does with its queues: what a port's other side has shared stays
 * until the end, even if that leaves meanwhile. Not nested. Thread: the share's worker. Alloc: none.
 */
static inline void nic_poll_begin(const struct nic_share *share)
{
    /* Sequentially consistent, once a turn: pairs with the fence in nics_leave_wait(). */
    uint32_t before = atomic_fetch_add_explicit(&share->poll->turn, 1, memory_order_seq_cst);

    ASSERT_HOT(before % 2 == 0);
    (void)before;
}

/** See nic_poll_begin(). Thread: the share's worker. Alloc: none. */
static inline void nic_poll_end(const struct nic_share *share)
{
    atomic_fetch_add_explicit(&share->poll->turn, 1, memory_order_release);
}

/**
 * munmap() for the whole process: the daemon's stands in front of the C library's and comes here. In the
 * EAL's interrupt thread it waits until no worker can be in what goes away. Thread: any. Alloc: none.
 * @return as munmap() does.
 */
int nics_unmap(void *address, size_t len);

/** How many NICs and exception ports there are. Thread: any. */
uint32_t nics_count(const struct nics *n);

/** Counters of the i-th of them, since start: a driver that begins anew (memif, when its other side leaves)
 * loses at most what came since the last look. Thread: control, several. */
void nics_stats(struct nics *n, uint32_t i, struct nic_stats *out);

/** Logs what is used, and what would make it faster. Thread: init. */
void nics_report(const struct nics *n);

#endif
