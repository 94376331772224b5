/* HOT. See headers.h. Every read is behind a comparison with what is left of the frame. */
#include "dataplane/packet/headers_internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define ETHERNET_BYTES   14
#define TAG_BYTES        4
#define IPV4_BYTES       20
#define IPV6_BYTES       40
#define UDP_BYTES        8
#define EXTENSIONS_MAX   8      /* more are the kernel's business */
#define IPV4_FRAGMENT    0x3fff /* more fragments, and the offset */
#define IPV6_FRAGMENT    0xfff9 /* the offset, and more fragments */
#define ETHERTYPE_V4     0x0800
#define ETHERTYPE_V6     0x86dd
#define ETHERTYPE_TAG    0x8100
#define ETHERTYPE_TAG_AD 0x88a8 /* 802.1ad: the outer tag of two */
#define ETHERTYPE_TAG_QQ 0x9100 /* what switches used for it before */

/* Next headers of IPv6. */
enum {
    NEXT_HOP_BY_HOP = 0,
    NEXT_ROUTING = 43,
    NEXT_FRAGMENT = 44,
    NEXT_AH = 51,
    NEXT_OPTIONS = 60,
    NEXT_MOBILITY = 135,
    NEXT_HIP = 139,
    NEXT_SHIM6 = 140,
};

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

/* ---- checksums ---- */

/* Partial sum of few 32-bit words in 64 bits: 2^32 of them cannot overflow it. */
static inline uint64_t sum_few(const uint8_t *p, size_t len)
{
    uint64_t sum = 0, pair;
    uint32_t w;

    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&pair, p, 8);
        sum += (pair & 0xffffffff) + (pair >> 32);
    }
    if (len >= 4) {
        memcpy(&w, p, 4);
        sum += w;
        p += 4;
        len -= 4;
    }
    if (len > 0) { /* the last bytes, as if zeros followed */
        w = 0;
        memcpy(&w, p, len);
        sum += w;
    }
    return sum;
}

#ifdef __x86_64__
/* The same of many. */
static uint64_t sum_avx2(const uint8_t *p, size_t len)
{
    const size_t whole = len - len % PACKET_WORDS_BYTES;

    ASSERT_HOT(whole <= len);
    return packet_words_avx2(p, whole) + sum_few(p + whole, len - whole);
}
#endif

static uint64_t sum_words(const uint8_t *p, size_t len)
{
#ifdef __x86_64__
    if (likely(__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw")) &&
        len <= PACKET_BYTES_MAX)
        return packet_bytes_avx512(p, len);
    if (len >= PACKET_WORDS_BYTES && __builtin_cpu_supports("avx2"))
        return sum_avx2(p, len);
#endif
    return sum_few(p, len);
}

static inline uint16_t fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint16_t packet_sum(uint64_t start, const uint8_t *bytes, size_t len)
{
    ASSERT_HOT(len < UINT32_MAX);
    return fold(start + sum_words(bytes, len));
}

bool packet_ip_sum_ok(const uint8_t *frame, const struct packet_view *v)
{
    ASSERT_HOT(v->v6 || v->ip_header >= IPV4_BYTES);
    return v->v6 || fold(sum_few(frame + v->ip, v->ip_header)) == 0xffff;
}

bool packet_udp_sum_ok(const uint8_t *frame, const struct packet_view *v)
{
    const uint8_t *udp = frame + v->udp;
    uint64_t pseudo = htons(IPPROTO_UDP); /* with the addresses and the length: RFC 768, RFC 8200 */

    ASSERT_HOT(v->udp_len >= UDP_BYTES);
    if (udp[6] == 0 && udp[7] == 0)
        return !v->v6;
    pseudo += htons((uint16_t)v->udp_len);
    pseudo += v->v6 ? sum_few(frame + v->ip + 8, 32) : sum_few(frame + v->ip + 12, 8);
    return packet_sum(pseudo, udp, v->udp_len) == 0xffff;
}

/* ---- headers ---- */

static bool port_is_ours(const uint8_t *udp, const struct packet_udp_ports *ports)
{
    uint16_t to;

    memcpy(&to, udp + 2, sizeof(to));
    ASSERT_HOT(ports->n <= PACKET_UDP_PORTS_MAX);
    for (uint32_t i = 0; i < ports->n; i++) {
        if (ports->port[i] == to)
            return true;
    }
    return false;
}

/* UDP at v->udp, in an IP packet that ends at end. */
static enum packet_kind parse_udp(const uint8_t *frame, uint32_t end,
                                  const struct packet_udp_ports *ports, struct packet_view *v)
{
    ASSERT_HOT(v->udp <= end);
    if (end - v->udp < UDP_BYTES)
        return PACKET_TRUNCATED;
    if (!port_is_ours(frame + v->udp, ports))
        return PACKET_FOREIGN;
    v->udp_len = be16(frame + v->udp + 4);
    if (v->udp_len < UDP_BYTES)
        return PACKET_BAD_HEADER;
    if (v->udp_len > end - v->udp)
        return PACKET_TRUNCATED;
    v->payload = v->udp + UDP_BYTES;
    v->payload_len = v->udp_len - UDP_BYTES;
    return PACKET_DATAGRAM;
}

static enum packet_kind parse_v4(const uint8_t *frame, uint32_t len,
                                 const struct packet_udp_ports *ports, struct packet_view *v)
{
    const uint8_t *ip = frame + v->ip;
    uint32_t total;

    ASSERT_HOT(v->ip <= len);
    if (len - v->ip < IPV4_BYTES)
        return PACKET_TRUNCATED;
    v->v6 = false;
    v->ip_header = (ip[0] & 15u) * 4;
    total = be16(ip + 2);
    if (ip[0] >> 4 != 4 || v->ip_header < IPV4_BYTES || total < v->ip_header)
        return PACKET_BAD_HEADER;
    if (total > len - v->ip) /* less is padding: a frame has 60 bytes at least */
        return PACKET_TRUNCATED;
    if (ip[9] != IPPROTO_UDP)
        return PACKET_FOREIGN;
    if ((be16(ip + 6) & IPV4_FRAGMENT) != 0)
        return PACKET_FRAGMENT;
    v->udp = v->ip + v->ip_header;
    return parse_udp(frame, v->ip + total, ports, v);
}

/*
 * Steps over one extension header.
 * @return PACKET_DATAGRAM to go on at *at with *next.
 */
static enum packet_kind step_extension(const uint8_t *frame, uint32_t end, uint32_t *at,
                                       uint8_t *next)
{
    const uint8_t *h = frame + *at;
    uint32_t bytes;

    ASSERT_HOT(*at <= end);
    if (end - *at < 8)
        return PACKET_TRUNCATED;
    bytes = *next == NEXT_AH ? (h[1] + 2u) * 4 : *next == NEXT_FRAGMENT ? 8 : (h[1] + 1u) * 8;
    if (bytes < 8)
        return PACKET_BAD_HEADER;
    if (bytes > end - *at)
        return PACKET_TRUNCATED;
    if (*next == NEXT_ROUTING && h[3] != 0) /* segments left: it goes on from here */
        return PACKET_FOREIGN;
    if (*next == NEXT_FRAGMENT && (be16(h + 2) & IPV6_FRAGMENT) != 0)
        return PACKET_FRAGMENT; /* one fragment alone is whole: RFC 6946 */
    *next = h[0];
    *at += bytes;
    return PACKET_DATAGRAM;
}

static bool is_extension(uint8_t next)
{
    switch (next) {
    case NEXT_HOP_BY_HOP:
    case NEXT_ROUTING:
    case NEXT_FRAGMENT:
    case NEXT_AH:
    case NEXT_OPTIONS:
    case NEXT_MOBILITY:
    case NEXT_HIP:
    case NEXT_SHIM6:
        return true;
    default:
        return false;
    }
}

static enum packet_kind parse_v6(const uint8_t *frame, uint32_t len,
                                 const struct packet_udp_ports *ports, struct packet_view *v)
{
    const uint8_t *ip = frame + v->ip;
    uint32_t end;
    uint8_t next;

    ASSERT_HOT(v->ip <= len);
    if (len - v->ip < IPV6_BYTES)
        return PACKET_TRUNCATED;
    if (ip[0] >> 4 != 6)
        return PACKET_BAD_HEADER;
    end = v->ip + IPV6_BYTES + be16(ip + 4);
    if (end > len)
        return PACKET_TRUNCATED;
    v->v6 = true;
    v->ip_header = IPV6_BYTES;
    v->udp = v->ip + IPV6_BYTES;
    next = ip[6];
    for (int i = 0; is_extension(next); i++) {
        enum packet_kind kind =
            i < EXTENSIONS_MAX ? step_extension(frame, end, &v->udp, &next) : PACKET_FOREIGN;

        if (kind != PACKET_DATAGRAM)
            return kind;
    }
    return next == IPPROTO_UDP ? parse_udp(frame, end, ports, v) : PACKET_FOREIGN;
}

enum packet_kind packet_parse(const uint8_t *frame, uint32_t len,
                              const struct packet_udp_ports *ports, struct packet_view *out)
{
    uint32_t type, at = ETHERNET_BYTES;

    ASSERT_HOT(len <= INT32_MAX);
    if (len < ETHERNET_BYTES)
        return PACKET_TRUNCATED;
    type = be16(frame + 12);
    for (int tags = 0;
         type == ETHERTYPE_TAG || type == ETHERTYPE_TAG_AD || type == ETHERTYPE_TAG_QQ; tags++) {
        if (tags == PACKET_TAGS_MAX)
            return PACKET_FOREIGN;
        if (len - at < TAG_BYTES)
            return PACKET_TRUNCATED;
        type = be16(frame + at + 2);
        at += TAG_BYTES;
    }
    out->ip = at;
    if (type == ETHERTYPE_V4)
        return parse_v4(frame, len, ports, out);
    return type == ETHERTYPE_V6 ? parse_v6(frame, len, ports, out) : PACKET_FOREIGN;
}

void packet_source(const uint8_t *frame, const struct packet_view *v, struct sockaddr_storage *out)
{
    const uint8_t *ip = frame + v->ip, *udp = frame + v->udp;

    ASSERT_HOT(v->udp > v->ip);
    if (v->v6) {
        struct sockaddr_in6 *a = (struct sockaddr_in6 *)out;

        *a = (struct sockaddr_in6){.sin6_family = AF_INET6};
        memcpy(&a->sin6_addr, ip + 8, 16);
        memcpy(&a->sin6_port, udp, 2);
    } else {
        struct sockaddr_in *a = (struct sockaddr_in *)out;

        *a = (struct sockaddr_in){.sin_family = AF_INET};
        memcpy(&a->sin_addr, ip + 12, 4);
        memcpy(&a->sin_port, udp, 2);
    }
}
