/* COLD. What DPDK's ports are and have counted, and what would make them faster; see nics.h. */
#include "dataplane/packet/nics_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/log.h"

#define NODES_MAX 64

uint32_t nics_count(const struct nics *n)
{
    return n != NULL ? n->n + n->n_exceptions : 0;
}

static bool has_counted(const struct rte_eth_stats *s)
{
    return (s->ipackets | s->imissed | s->ierrors | s->rx_nombuf | s->opackets | s->oerrors) != 0;
}

/* Adds up what a driver has counted in all its lives. Nothing at all is what one says whose other side is
 * away (net_memif); it goes on from where it was. */
static void stats_add(struct nic *nic, struct rte_eth_stats *out)
{
    struct rte_eth_stats now = {0}, *sum = &nic->sum;

    if (rte_eth_stats_get(nic->port, &now) == 0 && has_counted(&now)) {
        if (now.ipackets < nic->last.ipackets || now.opackets < nic->last.opackets) {
            sum->ipackets += nic->last.ipackets;
            sum->ibytes += nic->last.ibytes;
            sum->imissed += nic->last.imissed;
            sum->ierrors += nic->last.ierrors;
            sum->rx_nombuf += nic->last.rx_nombuf;
            sum->opackets += nic->last.opackets;
            sum->oerrors += nic->last.oerrors;
        }
        nic->last = now;
    }
    ASSERT(out != NULL);
    *out = (struct rte_eth_stats){
        .ipackets = sum->ipackets + nic->last.ipackets,
        .ibytes = sum->ibytes + nic->last.ibytes,
        .imissed = sum->imissed + nic->last.imissed,
        .ierrors = sum->ierrors + nic->last.ierrors,
        .rx_nombuf = sum->rx_nombuf + nic->last.rx_nombuf,
        .opackets = sum->opackets + nic->last.opackets,
        .oerrors = sum->oerrors + nic->last.oerrors,
    };
}

void nics_stats(struct nics *n, uint32_t i, struct nic_stats *out)
{
    struct nic *nic = i < n->n ? &n->nic[i] : &n->exception[i - n->n];
    struct rte_eth_link link = {0};
    struct rte_eth_stats s;
    uint64_t drops;

    ASSERT(i < n->n + n->n_exceptions);
    pthread_mutex_lock(&n->looking);
    stats_add(nic, &s);
    drops = nic_socket_drops(nic);
    pthread_mutex_unlock(&n->looking);
    (void)rte_eth_link_get_nowait(nic->port, &link);
    *out = (struct nic_stats){
        .device = nic->device,
        .driver = nic->info.driver_name,
        .received = s.ipackets,
        .received_bytes = s.ibytes,
        .missed = s.imissed + drops,
        .errors = s.ierrors,
        .no_buffer = s.rx_nombuf,
        .sent = s.opackets,
        .send_errors = s.oerrors,
        .link_up = link.link_status == RTE_ETH_LINK_UP,
        .is_exception = i >= n->n,
    };
}

/* The NUMA node of a core; -1: not known. */
static int node_of(int core)
{
    char path[80];

    ASSERT(core >= 0);
    for (int node = 0; node < NODES_MAX; node++) {
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/node%d", core, node);
        if (access(path, F_OK) == 0)
            return node;
    }
    return -1;
}

static void report_nic(const struct nics *n, uint32_t i)
{
    const struct nic *nic = &n->nic[i];
    int node = rte_eth_dev_socket_id(nic->port);
    struct rte_ether_addr mac = {0};
    struct rte_eth_link link = {0};
    char where[32] = "any NUMA node", speed[32] = "";
    uint16_t mtu = 0;

    ASSERT(i < n->n);
    (void)rte_eth_macaddr_get(nic->port, &mac);
    (void)rte_eth_link_get_nowait(nic->port, &link);
    (void)rte_eth_dev_get_mtu(nic->port, &mtu);
    if (node >= 0)
        snprintf(where, sizeof(where), "NUMA node %d", node);
    if (link.link_status == RTE_ETH_LINK_UP && link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN)
        snprintf(speed, sizeof(speed), ", %u Mbit/s", link.link_speed);
    log_info("packets",
             "NIC %s: driver %s, " RTE_ETHER_ADDR_PRT_FMT
             ", link %s%s, MTU %u, %s, %u receive queue(s) of %u descriptors%s, checksums checked "
             "by %s, "
             "the rest to %s",
             nic->device, nic->info.driver_name, RTE_ETHER_ADDR_BYTES(&mac),
             link.link_status == RTE_ETH_LINK_UP ? "up" : "down", speed, mtu, where, nic->rx_queues,
             nic->rx_descriptors, nic->rss ? " with RSS" : "",
             n->config.trust_checksums ? "nobody"
             : nic->checksums          ? "the NIC"
                                       : "software",
             i < n->n_exceptions ? n->exception[i].name : "nobody");
}

/* ---- advice ---- */

/* How a driver is told to have more queues. */
static const char *queues_argument(const char *driver)
{
    ASSERT(driver != NULL);
    if (strcmp(driver, "net_af_packet") == 0)
        return " (qpairs=N)";
    return strcmp(driver, "net_af_xdp") == 0 ? " (queue_count=N, if the interface has them)" : "";
}

static void advise_workers(const struct nics *n, const struct nic *nic)
{
    int node = rte_eth_dev_socket_id(nic->port);

    ASSERT(nic->rx_queues > 0);
    if (nic->rx_queues < n->config.n_workers)
        log_info("packets",
                 "faster: %s gives %u receive queue(s), so only the first %u of %u workers get its "
                 "packets; give it more queues%s",
                 nic->device, nic->rx_queues, nic->rx_queues, n->config.n_workers,
                 queues_argument(nic->info.driver_name));
    else if (nic->rx_queues > 1 && !nic->rss)
        log_info("packets",
                 "%s has no RSS that DPDK sets: its own rule spreads packets over the workers",
                 nic->device);
    for (uint32_t w = 0; w < nic->rx_queues; w++) {
        int core = n->config.core[w];

        if (core >= 0 && node >= 0 && node_of(core) >= 0 && node_of(core) != node)
            log_info(
                "packets",
                "faster: %s is on NUMA node %d, worker %u on core %d of node %d; name cores of "
                "node %d in workers",
                nic->device, node, w, core, node_of(core), node);
    }
}

static void advise_nic(const struct nics *n, const struct nic *nic)
{
    const char *driver = nic->info.driver_name;

    ASSERT(driver != NULL);
    advise_workers(n, nic);
    if (strcmp(driver, "net_af_packet") == 0)
        log_info("packets",
                 "faster: %s receives through the kernel; net_af_xdp on the same interface, or the "
                 "card bound to vfio-pci, does without (docs/dpdk.md)",
                 nic->device);
    if (strcmp(driver, "net_af_packet") == 0 && n->n_exceptions > 0)
        log_warn(
            "packets",
            "%s: the kernel sees these packets anyway, so that it would get each of them twice; "
            "set dpdk.exception: off",
            nic->device);
    if (strcmp(driver, "net_memif") == 0 && strstr(nic->device, "role=server") == NULL)
        log_warn("packets",
                 "%s is the client: when its server leaves, no packets come until penstockd is "
                 "started again; with role=server the other side may come and go",
                 nic->device);
    if (!nic->checksums && !n->config.trust_checksums)
        log_info("packets", "faster: %s leaves the checksums to the workers", nic->device);
    if (nic->rx_descriptors < n->config.descriptors)
        log_info("packets", "%s has at most %u descriptors of the %u in dpdk.descriptors",
                 nic->device, nic->rx_descriptors, n->config.descriptors);
}

static void advise(const struct nics *n)
{
    bool pinned = true;

    ASSERT(n->n > 0);
    for (uint32_t w = 0; w < n->config.n_workers; w++)
        pinned = pinned && n->config.core[w] >= 0;
    if (!pinned)
        log_info(
            "packets",
            "faster: workers are not pinned; name their cores, such as workers: [2, 3], and keep "
            "others off them (isolcpus)");
    if (!n->config.huge_pages)
        log_info("packets",
                 "faster: no huge pages; reserve some: echo %u > "
                 "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
                 nics_memory_mib(&n->config) / 2 + 64);
    if (n->config.idle_us > 0)
        log_info(
            "packets",
            "faster: an idle worker sleeps up to %u us between looks; dpdk.idle_sleep: 0 spins, "
            "for a whole core each",
            n->config.idle_us);
    for (uint32_t i = 0; i < n->n; i++)
        advise_nic(n, &n->nic[i]);
}

void nics_report(const struct nics *n)
{
    char cores[256] = "";
    size_t len = 0;

    ASSERT(n->n > 0);
    for (uint32_t i = 0; i < n->n; i++)
        report_nic(n, i);
    for (uint32_t w = 0; w < n->config.n_workers && len < sizeof(cores) - 16; w++) {
        if (n->share[w].n_queues > 0 && n->config.core[w] >= 0)
            len += (size_t)snprintf(cores + len, sizeof(cores) - len, " %d", n->config.core[w]);
        else if (n->share[w].n_queues > 0)
            len += (size_t)snprintf(cores + len, sizeof(cores) - len, " any");
    }
    log_info("packets", "polled on cores:%s; huge pages: %s; %.1f MiB of packet buffers a worker",
             cores, n->config.huge_pages ? "yes" : "no",
             (double)nics_pool_bytes(&n->config) / (1 << 20));
    advise(n);
}
