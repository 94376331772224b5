/* See frames.h. */
#include "tools/packets/frames.h"

#include <errno.h>
#include <inttypes.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <stdio.h>
#include <stdlib.h>

#define FRAMES_MAX  16384
#define ROOM_BYTES  9216
#define FRAME_BYTES (ROOM_BYTES - 256)

struct frames {
    const struct options *o;
    struct rte_mempool *pool;
    uint32_t n; /* kept ones; 0: each is written anew */
    struct rte_mbuf *kept[FRAMES_MAX];
    uint32_t len[FRAMES_MAX];
    uint32_t plain_len; /* of those with sequence numbers */
    char payload[FRAME_BYTES];
};

static const uint8_t macs[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};

static void put_ip4(const struct options *o, struct rte_ipv4_hdr *ip, struct rte_udp_hdr *udp,
                    uint32_t udp_len)
{
    *ip = (struct rte_ipv4_hdr){
        .version_ihl = 0x45,
        .total_length = rte_cpu_to_be_16((uint16_t)(sizeof(*ip) + udp_len)),
        .fragment_offset = rte_cpu_to_be_16(RTE_IPV4_HDR_DF_FLAG),
        .time_to_live = 64,
        .next_proto_id = IPPROTO_UDP,
        .src_addr = rte_cpu_to_be_32(RTE_IPV4(10, 0, 0, 1)),
        .dst_addr = rte_cpu_to_be_32(RTE_IPV4(10, 0, 0, 2)),
    };
    ip->hdr_checksum = rte_ipv4_cksum(ip);
    if (!o->no_checksum)
        udp->dgram_cksum = rte_ipv4_udptcp_cksum(ip, udp);
}

static void put_ip6(struct rte_ipv6_hdr *ip, struct rte_udp_hdr *udp, uint32_t udp_len)
{
    *ip = (struct rte_ipv6_hdr){
        .vtc_flow = rte_cpu_to_be_32(6u << 28),
        .payload_len = rte_cpu_to_be_16((uint16_t)udp_len),
        .proto = IPPROTO_UDP,
        .hop_limits = 64,
        .src_addr = {0xfd, [15] = 1},
        .dst_addr = {0xfd, [15] = 2},
    };
    udp->dgram_cksum = rte_ipv6_udptcp_cksum(ip, udp);
}

/* The frame of a payload. @return its length. */
static uint32_t put_frame(const struct options *o, uint64_t n, const char *payload, uint32_t len,
                          uint8_t *out)
{
    uint32_t ip_bytes = o->v6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr);
    uint32_t udp_len = (uint32_t)sizeof(struct rte_udp_hdr) + len;
    void *ip = out + RTE_ETHER_HDR_LEN;
    struct rte_udp_hdr *udp = (struct rte_udp_hdr *)((char *)ip + ip_bytes);

    memcpy(out, macs, sizeof(macs));
    out[12] = o->v6 ? 0x86 : 0x08;
    out[13] = o->v6 ? 0xdd : 0x00;
    *udp = (struct rte_udp_hdr){
        .src_port = rte_cpu_to_be_16((uint16_t)(1024 + n % 60000)),
        .dst_port = rte_cpu_to_be_16(o->port),
        .dgram_len = rte_cpu_to_be_16((uint16_t)udp_len),
    };
    memcpy(udp + 1, payload, len);
    if (o->v6)
        put_ip6(ip, udp, udp_len);
    else
        put_ip4(o, ip, udp, udp_len);
    return RTE_ETHER_HDR_LEN + ip_bytes + udp_len;
}

static struct rte_mbuf *make(struct frames *f, uint64_t n, uint32_t len)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(f->pool);
    uint32_t bytes;

    if (m == NULL)
        return NULL;
    bytes = put_frame(f->o, n, f->payload, len, rte_pktmbuf_mtod(m, uint8_t *));
    m->data_len = (uint16_t)bytes;
    m->pkt_len = bytes;
    return m;
}

/* One event of o->size bytes. */
static uint32_t put_event(const struct options *o, uint64_t seq, char *out)
{
    int n =
        snprintf(out, o->size, "{\"event_type\":\"packet\",\"seq\":%" PRIu64 ",\"pad\":\"", seq);
    uint32_t at = (uint32_t)n;

    while (at < o->size - 2)
        out[at++] = 'x';
    out[at++] = '"';
    out[at++] = '}';
    return at;
}

static uint32_t put_numbered(struct frames *f, uint64_t n)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < f->o->batch; i++) {
        at += put_event(f->o, n * f->o->batch + i, f->payload + at);
        f->payload[at++] = '\n';
    }
    return at - 1;
}

/* Reads events, batch by batch, into packets that stay. */
static int read_events(struct frames *f)
{
    FILE *file = fopen(f->o->events, "re");
    char *line = NULL;
    size_t room = 0;
    uint32_t at = 0, events = 0;
    ssize_t n;
    int rc = 0;

    if (file == NULL)
        return -errno;
    while (rc == 0 && f->n < FRAMES_MAX && (n = getline(&line, &room, file)) > 0) {
        if (at + (size_t)n > FRAME_BYTES) {
            rc = -EMSGSIZE;
            break;
        }
        memcpy(f->payload + at, line, (size_t)n);
        at += (uint32_t)n;
        if (++events < f->o->batch)
            continue;
        at -= f->payload[at - 1] == '\n' ? 1 : 0;
        f->kept[f->n] = make(f, f->n, at);
        if (f->kept[f->n] == NULL) {
            rc = -ENOMEM;
            break;
        }
        f->len[f->n] = f->kept[f->n]->pkt_len;
        f->n++;
        at = events = 0;
    }
    free(line);
    fclose(file);
    return rc != 0 ? rc : f->n > 0 ? 0 : -ENODATA;
}

int frames_create(const struct options *o, struct frames **out)
{
    struct frames *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -ENOMEM;
    f->o = o;
    f->pool =
        rte_pktmbuf_pool_create("frames", FRAMES_MAX + 8192, 256, 0, ROOM_BYTES, SOCKET_ID_ANY);
    if (f->pool == NULL || (uint64_t)o->batch * (o->size + 1) > FRAME_BYTES) {
        frames_destroy(f);
        return o->batch > 1 ? -EMSGSIZE : -ENOMEM;
    }
    *out = f;
    if (o->events != NULL)
        return read_events(f);
    f->plain_len = RTE_ETHER_HDR_LEN + (o->v6 ? 40u : 20u) + 8 + put_numbered(f, 0);
    return 0;
}

void frames_destroy(struct frames *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        rte_pktmbuf_free(f->kept[i]);
    rte_mempool_free(f->pool);
    free(f);
}

struct rte_mbuf *frames_next(struct frames *f, uint64_t n)
{
    struct rte_mbuf *m;

    if (f->n == 0)
        return make(f, n, put_numbered(f, n));
    m = f->kept[n % f->n];
    rte_mbuf_refcnt_update(m, 1); /* it stays when the port frees it */
    return m;
}

uint32_t frames_len(const struct frames *f, uint64_t n)
{
    return f->n > 0 ? f->len[n % f->n] : f->plain_len;
}

uint32_t frames_events(const struct frames *f)
{
    return f->o->batch;
}

struct rte_mempool *frames_pool(const struct frames *f)
{
    return f->pool;
}
