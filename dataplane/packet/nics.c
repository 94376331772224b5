/* COLD. Sets up DPDK's ports, see nics.h. */
#include "dataplane/packet/nics_internal.h"

#include <errno.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINK_BYTES    26   /* Ethernet, two tags, and a checksum that some cards leave there */
#define ROOM_BYTES    2048 /* many cards want this much */
#define CACHE_PACKETS 256
#define SPARE_PACKETS 1024 /* bursts, caches, what drivers hold for themselves */
#define EAL_MIB       32   /* rings of the dataplane, and small things */
#define NIC_MIB       16   /* of a driver */
#define TAP_QUEUES    16   /* more a tap has not */

/* ---- memory ---- */

static uint32_t room_bytes(const struct nics_config *c)
{
    uint32_t frame = c->mtu + LINK_BYTES + c->tail_bytes;

    ASSERT(c->mtu > 0);
    if (frame < ROOM_BYTES)
        frame = ROOM_BYTES;
    return RTE_PKTMBUF_HEADROOM + (uint32_t)align_up(frame, CACHE_LINE_BYTES);
}

/* For each queue full descriptors both ways, the same for its exception port, and those that wait. */
static uint32_t pool_packets(const struct nics_config *c)
{
    uint32_t ways = c->exception != NIC_EXCEPTION_OFF ? 4 : 2;

    ASSERT(c->n_devices > 0);
    return c->n_devices * ways * c->descriptors + c->waiting_max + SPARE_PACKETS;
}

uint64_t nics_pool_bytes(const struct nics_config *c)
{
    struct rte_mempool_objsz size;

    ASSERT(c->n_devices <= NICS_MAX);
    rte_mempool_calc_obj_size((uint32_t)sizeof(struct rte_mbuf) + room_bytes(c), 0, &size);
    return (uint64_t)pool_packets(c) * size.total_size;
}

uint32_t nics_memory_mib(const struct nics_config *c)
{
    uint64_t pools = nics_pool_bytes(c) * c->n_workers;

    ASSERT(c->n_workers > 0);
    return EAL_MIB + c->n_devices * NIC_MIB + (uint32_t)(pools >> 20) + c->n_workers;
}

static int pools_create(struct nics *n, char *error, size_t error_len)
{
    const struct nics_config *c = &n->config;
    int socket = rte_eth_dev_socket_id(n->nic[0].port);

    for (uint32_t i = 0; i < c->n_workers; i++) {
        char name[32];

        if (n->share[i].n_queues == 0)
            continue;
        snprintf(name, sizeof(name), "packets_%u", i);
        n->pool[i] = rte_pktmbuf_pool_create(name, pool_packets(c), CACHE_PACKETS, 0,
                                             (uint16_t)room_bytes(c), socket);
        if (n->pool[i] == NULL) {
            snprintf(error, error_len,
                     "no memory for the packets of worker %u (%.1f MiB): %s; give the system more "
                     "huge pages, or lower dpdk.descriptors, dpdk.waiting or dpdk.mtu",
                     i, (double)nics_pool_bytes(c) / (1 << 20), rte_strerror(rte_errno));
            return -ENOMEM;
        }
        n->share[i].pool = n->pool[i];
    }
    ASSERT(n->pool[0] != NULL);
    return 0;
}

/* ---- finding ports ---- */

/* Makes a virtual device, or finds a card that the EAL has opened. */
static int port_open(const char *device, uint16_t *port)
{
    struct rte_dev_iterator it;
    uint16_t id;
    int rc = nic_is_pci(device) ? 0 : rte_dev_probe(device);

    ASSERT(device[0] != '\0');
    if (rc < 0)
        return rc;
    RTE_ETH_FOREACH_MATCHING_DEV(id, device, &it)
    {
        *port = id;
        rte_eth_iterator_cleanup(&it);
        return 0;
    }
    return -ENODEV;
}

static int nic_open(struct nic *nic, const char *device, char *error, size_t error_len)
{
    int rc;

    nic_clear_socket(device);
    rc = port_open(device, &nic->port);
    nic->device = device;
    if (rc == 0)
        rc = rte_eth_dev_info_get(nic->port, &nic->info);
    if (rc == 0)
        return 0;
    snprintf(
        error, error_len, "dpdk.ports: \"%s\": %s; %s", device, rte_strerror(-rc),
        nic_is_pci(device)
            ? "is the card bound to vfio-pci or igb_uio (dpdk-devbind.py --status), and is there a "
              "driver for it?"
            : "a DPDK device and its arguments, such as net_af_xdp0,iface=eth1; names must "
              "differ, and DPDK's own message says more");
    ASSERT(rc < 0);
    return rc;
}

/* ---- setting up ---- */

/* Frames larger than the default MTU need a driver that takes them; memory is there for them. */
static void conf_fill(const struct nics_config *c, struct nic *nic, struct rte_eth_conf *conf)
{
    const struct rte_eth_dev_info *info = &nic->info;
    uint64_t sums = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
    uint64_t hash = info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP);

    memset(conf, 0, sizeof(*conf));
    nic->checksums = (info->rx_offload_capa & sums) == sums;
    conf->rxmode.offloads = info->rx_offload_capa & sums;
    conf->rxmode.mtu = c->mtu;
    if (info->max_mtu > 0 && conf->rxmode.mtu > info->max_mtu)
        conf->rxmode.mtu = info->max_mtu;
    if (nic->rx_queues > 1 && hash != 0) {
        conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf->rx_adv_conf.rss_conf.rss_hf = hash;
        nic->rss = true;
    }
    ASSERT(nic->rx_queues > 0);
}

static int queues_set_up(const struct nics *n, struct nic *nic)
{
    int socket = rte_eth_dev_socket_id(nic->port), rc = 0;

    for (uint16_t q = 0; rc == 0 && q < nic->rx_queues; q++)
        rc = rte_eth_rx_queue_setup(nic->port, q, nic->rx_descriptors, (unsigned)socket, NULL,
                                    n->pool[q]);
    for (uint16_t q = 0; rc == 0 && q < nic->tx_queues; q++)
        rc = rte_eth_tx_queue_setup(nic->port, q, nic->tx_descriptors, (unsigned)socket, NULL);
    ASSERT(rc <= 0);
    return rc;
}

static int nic_set_up(const struct nics *n, struct nic *nic, char *error, size_t error_len)
{
    struct rte_eth_conf conf;
    int rc;

    conf_fill(&n->config, nic, &conf);
    nic->rx_descriptors = nic->tx_descriptors = (uint16_t)n->config.descriptors;
    rc = rte_eth_dev_configure(nic->port, nic->rx_queues, nic->tx_queues, &conf);
    if (rc == 0)
        rc =
            rte_eth_dev_adjust_nb_rx_tx_desc(nic->port, &nic->rx_descriptors, &nic->tx_descriptors);
    if (rc == 0)
        rc = queues_set_up(n, nic);
    if (rc == 0) {
        nic_find_sockets(n, nic);
        return 0;
    }
    snprintf(
        error, error_len,
        "dpdk.ports: \"%s\": %s does not take %u receive and %u send queues of %u descriptors, "
        "MTU %u: %s",
        nic->device, nic->info.driver_name, nic->rx_queues, nic->tx_queues, nic->rx_descriptors,
        conf.rxmode.mtu, rte_strerror(-rc));
    ASSERT(rc < 0);
    return rc;
}

/* DPDK's words for an exception port. */
static void exception_device(const struct nics *n, uint32_t i, const struct rte_ether_addr *mac,
                             char *out, size_t len)
{
    const char *name = n->exception[i].name;
    char address[32] = "";

    ASSERT(n->config.exception != NIC_EXCEPTION_OFF);
    if (!rte_is_zero_ether_addr(mac)) /* virtual ports may have none */
        snprintf(address, sizeof(address), ",mac=" RTE_ETHER_ADDR_PRT_FMT,
                 RTE_ETHER_ADDR_BYTES(mac));
    if (n->config.exception == NIC_EXCEPTION_TAP)
        snprintf(out, len, "net_tap_%s,iface=%s%s", name, name, address);
    else
        snprintf(out, len,
                 "net_virtio_user_%s,path=/dev/vhost-net,iface=%s%s,queues=%u,queue_size=1024",
                 name, name, address, n->nic[i].rx_queues);
}

/* The way to the kernel for one NIC, with its address: to the network both are one. */
static int exception_open(struct nics *n, uint32_t i, char *error, size_t error_len)
{
    struct nic *x = &n->exception[i];
    struct rte_ether_addr mac;
    char device[160];
    int rc = rte_eth_macaddr_get(n->nic[i].port, &mac);

    ASSERT(i < NICS_MAX);
    snprintf(x->name, sizeof(x->name), "%s%u", n->config.exception_interface, i);
    x->device = x->name;
    exception_device(n, i, &mac, device, sizeof(device));
    if (rc == 0)
        rc = port_open(device, &x->port);
    if (rc == 0)
        rc = rte_eth_dev_info_get(x->port, &x->info);
    if (rc == 0) {
        n->n_exceptions++;
        return 0;
    }
    snprintf(
        error, error_len,
        "dpdk.exception: cannot make the interface %s: %s; it takes root or CAP_NET_ADMIN, %s, "
        "and a name that is free (dpdk.exception_interface)",
        x->name, rte_strerror(-rc),
        n->config.exception == NIC_EXCEPTION_TAP ? "/dev/net/tun"
                                                 : "/dev/vhost-net (modprobe vhost-net)");
    return rc;
}

static uint16_t lesser(uint32_t a, uint32_t b)
{
    return (uint16_t)(a < b ? a : b);
}

/* As many queues as there are workers, if the card has them both ways. */
static void queues_choose(struct nics *n, struct nic *nic)
{
    bool both = n->config.exception != NIC_EXCEPTION_OFF;

    nic->rx_queues = lesser(n->config.n_workers, nic->info.max_rx_queues);
    if (both)
        nic->rx_queues = lesser(nic->rx_queues, TAP_QUEUES);
    if (both && nic->info.max_tx_queues > 0)
        nic->rx_queues = lesser(nic->rx_queues, nic->info.max_tx_queues);
    nic->tx_queues = lesser(nic->rx_queues, nic->info.max_tx_queues);
    ASSERT(nic->rx_queues > 0);
}

static void shares_fill(struct nics *n)
{
    for (uint32_t w = 0; w < n->config.n_workers; w++) {
        struct nic_share *s = &n->share[w];

        s->poll = nics_leave_poll(w);
        s->udp = n->config.udp;
        s->waiting_max = n->config.waiting_max;
        s->trust_checksums = n->config.trust_checksums;
        for (uint32_t i = 0; i < n->n; i++) {
            bool exception = n->n_exceptions > 0 && n->nic[i].tx_queues > w;

            if (w >= n->nic[i].rx_queues)
                continue;
            s->queue[s->n_queues++] = (struct nic_queue){
                .nic = n->nic[i].port,
                .exception = exception ? n->exception[i].port : 0,
                .queue = (uint16_t)w,
                .has_exception = exception,
            };
        }
        ASSERT(s->n_queues <= NICS_MAX);
    }
}

static int open_all(struct nics *n, char *error, size_t error_len)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < n->config.n_devices; i++) {
        rc = nic_open(&n->nic[i], n->config.device[i], error, error_len);
        if (rc != 0)
            break;
        n->n++;
        queues_choose(n, &n->nic[i]);
        if (n->config.exception != NIC_EXCEPTION_OFF)
            rc = exception_open(n, i, error, error_len);
    }
    ASSERT(rc <= 0);
    return rc;
}

static int set_up_all(struct nics *n, char *error, size_t error_len)
{
    int rc = pools_create(n, error, error_len);

    ASSERT(n->n > 0);
    for (uint32_t i = 0; rc == 0 && i < n->n; i++) {
        rc = nic_set_up(n, &n->nic[i], error, error_len);
        if (rc == 0 && i < n->n_exceptions) {
            n->exception[i].rx_queues = n->exception[i].tx_queues = n->nic[i].rx_queues;
            rc = nic_set_up(n, &n->exception[i], error, error_len);
        }
    }
    return rc;
}

int nics_create(const struct nics_config *config, struct nics **out, char *error, size_t error_len)
{
    struct nics *n = calloc(1, sizeof(*n));
    int rc;

    ASSERT(config->n_devices > 0 && config->n_devices <= NICS_MAX);
    ASSERT(config->n_workers > 0 && config->n_workers <= NIC_WORKERS_MAX);
    snprintf(error, error_len, "out of memory");
    if (n == NULL)
        return -ENOMEM;
    n->config = *config;
    pthread_mutex_init(&n->looking, NULL);
    rc = nics_leave_watch();
    if (rc != 0)
        snprintf(error, error_len, "DPDK's interrupt thread does not answer: %s", strerror(-rc));
    else
        rc = open_all(n, error, error_len);
    if (rc == 0) {
        shares_fill(n);
        rc = set_up_all(n, error, error_len);
    }
    if (rc != 0) {
        nics_destroy(n);
        return rc;
    }
    *out = n;
    return 0;
}

/* ---- life ---- */

static int nic_start(const struct nics *n, struct nic *nic, bool exception, char *error,
                     size_t error_len)
{
    int rc = rte_eth_dev_start(nic->port);

    ASSERT(!nic->started);
    if (rc != 0) {
        snprintf(error, error_len, "dpdk.ports: \"%s\" does not start: %s%s", nic->device,
                 rte_strerror(-rc),
                 strcmp(nic->info.driver_name, "net_memif") == 0
                     ? "; a memif's client needs its server first, with role=server either may be"
                     : "");
        return rc;
    }
    nic->started = true;
    if (exception) {
        (void)rte_eth_dev_set_mtu(nic->port,
                                  (uint16_t)n->config.mtu); /* the kernel's is 1500 else */
        return 0;
    }
    if (n->config.promiscuous)
        (void)rte_eth_promiscuous_enable(nic->port);
    if (n->n_exceptions > 0) /* neighbour discovery comes by multicast */
        (void)rte_eth_allmulticast_enable(nic->port);
    return 0;
}

int nics_start(struct nics *n, char *error, size_t error_len)
{
    int rc = 0;

    ASSERT(n->n > 0);
    for (uint32_t i = 0; rc == 0 && i < n->n_exceptions; i++)
        rc = nic_start(n, &n->exception[i], true, error, error_len);
    for (uint32_t i = 0; rc == 0 && i < n->n; i++)
        rc = nic_start(n, &n->nic[i], false, error, error_len);
    return rc;
}

static void nic_close(struct nic *nic)
{
    ASSERT(nic->device != NULL);
    if (nic->started)
        (void)rte_eth_dev_stop(nic->port);
    (void)rte_eth_dev_close(nic->port);
}

void nics_destroy(struct nics *n)
{
    if (n == NULL)
        return;
    ASSERT(n->n <= NICS_MAX);
    for (uint32_t i = 0; i < n->n; i++)
        nic_close(&n->nic[i]);
    for (uint32_t i = 0; i < n->n_exceptions; i++)
        nic_close(&n->exception[i]);
    for (uint32_t i = 0; i < NIC_WORKERS_MAX; i++)
        rte_mempool_free(n->pool[i]);
    free(n);
}

const struct nic_share *nics_share(const struct nics *n, uint32_t worker)
{
    ASSERT(worker < n->config.n_workers);
    return &n->share[worker];
}
