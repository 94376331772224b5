/* See frames.h. */
#include "tools/packets/frames.h"

#include <errno.h>
#include <inttypes.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MAX  16384
#define ROOM_BYTES  9216
#define FRAME_BYTES (ROOM_BYTES - 256)

struct frames {
    const struct options *o;
    struct rte_mempool *pool;
    uint32_t n; /* kept ones; 0: each is written anew */
    struct frame kept[FRAMES_MAX];
    FILE *file; /* of events */
    char *line;
    size_t line_room;
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

static bool is_corrupt(const struct options *o, uint64_t n)
{
    return o->corrupt > 0 && (n + 1) % o->corrupt == 0;
}

/* A checksum that is wrong, and not the one that means that there is none. */
static void corrupt(const struct options *o, uint8_t *frame)
{
    struct rte_udp_hdr *udp =
        (struct rte_udp_hdr *)(frame + RTE_ETHER_HDR_LEN +
                               (o->v6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr)));

    udp->dgram_cksum = (uint16_t)(udp->dgram_cksum == 0x5555 ? 0x5aaa : udp->dgram_cksum ^ 0x5555);
}

/* The payload as packet n. */
static void make(struct frames *f, uint64_t n, struct rte_mbuf *m, uint32_t len, uint32_t events,
                 struct frame *out)
{
    uint8_t *bytes = rte_pktmbuf_mtod(m, uint8_t *);
    uint32_t frame_len = put_frame(f->o, n, f->payload, len, bytes);

    *out = (struct frame){
        .mbuf = m, .len = frame_len, .events = events, .corrupt = is_corrupt(f->o, n)};
    if (out->corrupt)
        corrupt(f->o, bytes);
    m->data_len = (uint16_t)frame_len;
    m->pkt_len = frame_len;
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

/* The next events of the file as a payload. @return its length, 0 at the end; -errno. */
static int read_batch(struct frames *f, uint32_t *events)
{
    uint32_t at = 0;
    ssize_t n;

    *events = 0;
    errno = 0;
    while (*events < f->o->batch && (n = getline(&f->line, &f->line_room, f->file)) > 0) {
        if (at + (size_t)n > FRAME_BYTES)
            return -EMSGSIZE;
        memcpy(f->payload + at, f->line, (size_t)n);
        at += (uint32_t)n;
        (*events)++;
    }
    if (ferror(f->file))
        return errno > 0 ? -errno : -EIO;
    return (int)(at > 0 && f->payload[at - 1] == '\n' ? at - 1 : at);
}

/* Reads events into packets that stay; what does not fill the last one is left out. */
static int read_kept(struct frames *f)
{
    uint32_t events;
    int len = 0;

    while (f->n < FRAMES_MAX && (len = read_batch(f, &events)) > 0 && events == f->o->batch) {
        struct rte_mbuf *m = rte_pktmbuf_alloc(f->pool);

        if (m == NULL)
            return -ENOMEM;
        make(f, f->n, m, (uint32_t)len, events, &f->kept[f->n]);
        f->n++;
    }
    return len < 0 ? len : f->n > 0 ? 0 : -ENODATA;
}

/* The most that a packet holds: small ones lie close together, so that the caches hold many of them. */
static uint32_t room_bytes(struct frames *f)
{
    uint32_t most = f->o->batch * (f->o->size + 1), events;
    int len;

    if (f->file != NULL) {
        most = FRAME_BYTES;
        if (!f->o->once) {
            for (most = 0; (len = read_batch(f, &events)) > 0;)
                most = (uint32_t)len > most ? (uint32_t)len : most;
            rewind(f->file);
        }
    }
    return RTE_ALIGN_CEIL(most + ROOM_BYTES - FRAME_BYTES, RTE_CACHE_LINE_SIZE) +
           RTE_PKTMBUF_HEADROOM;
}

int frames_create(const struct options *o, struct frames **out)
{
    struct frames *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -ENOMEM;
    *out = f;
    f->o = o;
    if (o->events == NULL && (uint64_t)o->batch * (o->size + 1) > FRAME_BYTES)
        return -EMSGSIZE;
    if (o->events != NULL)
        f->file = strcmp(o->events, "-") == 0 ? stdin : fopen(o->events, "re");
    if (o->events != NULL && f->file == NULL)
        return -errno;
    f->pool = rte_pktmbuf_pool_create("frames", FRAMES_MAX + 8192, 256, 0, (uint16_t)room_bytes(f),
                                      SOCKET_ID_ANY);
    if (f->pool == NULL)
        return -ENOMEM;
    return o->events != NULL && !o->once ? read_kept(f) : 0;
}

void frames_destroy(struct frames *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        rte_pktmbuf_free(f->kept[i].mbuf);
    if (f->file != NULL)
        fclose(f->file);
    rte_mempool_free(f->pool);
    free(f->line);
    free(f);
}

int frames_next(struct frames *f, uint64_t n, struct frame *out)
{
    uint32_t events = f->o->batch;
    struct rte_mbuf *m;
    int len;

    if (f->n > 0) {
        *out = f->kept[n % f->n];
        rte_mbuf_refcnt_update(out->mbuf, 1); /* it stays when the port frees it */
        return 1;
    }
    m = rte_pktmbuf_alloc(f->pool);
    if (m == NULL)
        return -EAGAIN;
    len = f->file != NULL ? read_batch(f, &events) : (int)put_numbered(f, n);
    if (len <= 0) {
        rte_pktmbuf_free(m);
        return len;
    }
    make(f, n, m, (uint32_t)len, events, out);
    return 1;
}

struct rte_mempool *frames_pool(const struct frames *f)
{
    return f->pool;
}
