/*
 * COLD. What the kernel has lost for the ports that are sockets: af_packet and af_xdp tell DPDK nothing of a
 * full ring (22.11), so their sockets are asked themselves. They are found among the process's descriptors:
 * nobody else here has sockets of these families.
 */
#include "dataplane/packet/nics_internal.h"

#include <dirent.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int family_of(int fd)
{
    int family = 0;
    socklen_t len = sizeof(family);

    ASSERT(fd >= 0);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 ? family : AF_UNSPEC;
}

static bool is_known(const struct nics *n, int fd)
{
    for (uint32_t i = 0; i < n->n; i++) {
        for (uint32_t k = 0; k < n->nic[i].n_sockets; k++) {
            if (n->nic[i].socket[k] == fd)
                return true;
        }
    }
    ASSERT(n->n <= NICS_MAX);
    return false;
}

void nic_find_sockets(const struct nics *n, struct nic *nic)
{
    bool packet = strcmp(nic->info.driver_name, "net_af_packet") == 0;
    DIR *d = opendir("/proc/self/fd");
    const struct dirent *e;

    ASSERT(nic->info.driver_name != NULL);
    while (d != NULL && (e = readdir(d)) != NULL) {
        char *end;
        int fd = (int)strtol(e->d_name, &end, 10), family;

        if (end == e->d_name || nic->n_sockets == ARRAY_LEN(nic->socket) || is_known(n, fd))
            continue;
        family = family_of(fd);
        if (family == AF_XDP || (packet && family == AF_PACKET))
            nic->socket[nic->n_sockets++] = fd;
    }
    if (d != NULL)
        closedir(d);
}

/* Begins anew at each look. */
static uint64_t packet_drops(int fd)
{
    struct tpacket_stats s = {0};
    socklen_t len = sizeof(s);

    ASSERT(fd >= 0);
    return getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &s, &len) == 0 ? s.tp_drops : 0;
}

/* Beside what the driver tells: it counts rx_dropped. */
static uint64_t xdp_drops(int fd)
{
    struct xdp_statistics s = {0};
    socklen_t len = sizeof(s);

    ASSERT(fd >= 0);
    return getsockopt(fd, SOL_XDP, XDP_STATISTICS, &s, &len) == 0 ? s.rx_ring_full : 0;
}

uint64_t nic_socket_drops(struct nic *nic)
{
    uint64_t now = 0;

    ASSERT(nic->n_sockets <= ARRAY_LEN(nic->socket));
    for (uint32_t i = 0; i < nic->n_sockets; i++) {
        if (family_of(nic->socket[i]) == AF_PACKET)
            nic->socket_drops += packet_drops(nic->socket[i]);
        else
            now += xdp_drops(nic->socket[i]);
    }
    return nic->socket_drops + now;
}
