/*
 * Arbitrary frames, against a slow reader that shares no code with ours: it takes bytes off the front of
 * what is left, so it cannot read too far, and sums checksums a byte at a time. Frames are also repaired,
 * with right checksums, so that the fuzzer gets past them.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "dataplane/packet/headers.h"
#include "tests/unit/tpackets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define TO 8083

struct rest {
    const uint8_t *p;
    size_t n;
};

/* Takes n bytes; NULL when there are fewer. */
static const uint8_t *take(struct rest *r, size_t n)
{
    const uint8_t *p = r->p;

    if (r->n < n)
        return NULL;
    r->p += n;
    r->n -= n;
    return p;
}

static unsigned word(const uint8_t *p)
{
    return p[0] * 256u + p[1];
}

struct slow {
    enum packet_kind kind;
    const uint8_t *ip, *udp;
    bool v6;
};

static enum packet_kind slow_udp(struct rest r, struct slow *s)
{
    const uint8_t *udp = take(&r, 8);

    if (udp == NULL)
        return PACKET_TRUNCATED;
    if (word(udp + 2) != TO)
        return PACKET_FOREIGN;
    if (word(udp + 4) < 8)
        return PACKET_BAD_HEADER;
    s->udp = udp;
    return word(udp + 4) - 8 > r.n ? PACKET_TRUNCATED : PACKET_DATAGRAM;
}

static enum packet_kind slow_v4(struct rest r, struct slow *s)
{
    const uint8_t *h = r.p;
    unsigned header;

    if (take(&r, 20) == NULL)
        return PACKET_TRUNCATED;
    header = h[0] % 16 * 4u;
    if (h[0] / 16 != 4 || header < 20 || word(h + 2) < header)
        return PACKET_BAD_HEADER;
    if (word(h + 2) > r.n + 20)
        return PACKET_TRUNCATED;
    if (h[9] != 17)
        return PACKET_FOREIGN;
    if (word(h + 6) % 0x4000 != 0)
        return PACKET_FRAGMENT;
    s->ip = h;
    return slow_udp((struct rest){h + header, word(h + 2) - header}, s);
}

static enum packet_kind slow_v6(struct rest r, struct slow *s)
{
    const uint8_t *h = take(&r, 40);
    unsigned next, steps = 0;

    if (h == NULL)
        return PACKET_TRUNCATED;
    if (h[0] / 16 != 6)
        return PACKET_BAD_HEADER;
    if (word(h + 4) > r.n)
        return PACKET_TRUNCATED;
    r.n = word(h + 4);
    s->ip = h;
    s->v6 = true;
    for (next = h[6]; memchr("\x00\x2b\x2c\x33\x3c\x87\x8b\x8c", (int)next, 8) != NULL;) {
        const uint8_t *e = r.p;
        unsigned bytes;

        if (steps++ == 8)
            return PACKET_FOREIGN;
        if (r.n < 8)
            return PACKET_TRUNCATED;
        bytes = next == 44 ? 8 : next == 51 ? 4u * e[1] + 8 : 8u * e[1] + 8;
        if (take(&r, bytes) == NULL)
            return PACKET_TRUNCATED;
        if (next == 43 && e[3] > 0)
            return PACKET_FOREIGN;
        if (next == 44 && (word(e + 2) / 8 > 0 || e[3] % 2 == 1))
            return PACKET_FRAGMENT;
        next = e[0];
    }
    return next == 17 ? slow_udp(r, s) : PACKET_FOREIGN;
}

static struct slow slow_parse(const uint8_t *frame, size_t len)
{
    struct rest r = {frame, len};
    struct slow s = {.kind = PACKET_TRUNCATED};
    const uint8_t *type;

    if (take(&r, 12) == NULL || (type = take(&r, 2)) == NULL)
        return s;
    for (int tags = 0; word(type) == 0x8100 || word(type) == 0x88a8 || word(type) == 0x9100;
         tags++) {
        if (tags == 2) {
            s.kind = PACKET_FOREIGN;
            return s;
        }
        if (take(&r, 2) == NULL || (type = take(&r, 2)) == NULL)
            return s;
    }
    s.kind = word(type) == 0x0800   ? slow_v4(r, &s)
             : word(type) == 0x86dd ? slow_v6(r, &s)
                                    : PACKET_FOREIGN;
    return s;
}

static bool slow_sums(const struct slow *s)
{
    unsigned len = word(s->udp + 4), sum;

    if (!s->v6 && tpackets_sum(0, s->ip, s->ip[0] % 16 * 4u) != 0xffff)
        return false;
    if (word(s->udp + 6) == 0)
        return !s->v6;
    sum = s->v6 ? tpackets_sum(17 + len, s->ip + 8, 32) : tpackets_sum(17 + len, s->ip + 12, 8);
    return tpackets_sum(sum, s->udp, len) == 0xffff;
}

/* Both readers, in memory that ends with the frame. */
static void compare(const uint8_t *data, size_t len)
{
    const struct packet_udp_ports ports = {.n = 1, .port = {htons(TO)}};
    uint8_t *frame = malloc(len > 0 ? len : 1);
    struct sockaddr_storage from;
    struct packet_view v;
    struct slow s;

    memcpy(frame, data, len);
    s = slow_parse(frame, len);
    ASSERT(packet_parse(frame, (uint32_t)len, &ports, &v) == s.kind);
    if (s.kind == PACKET_DATAGRAM) {
        ASSERT(frame + v.ip == s.ip && frame + v.udp == s.udp && v.v6 == s.v6);
        ASSERT(frame + v.payload == s.udp + 8 && v.payload_len == word(s.udp + 4) - 8);
        ASSERT((packet_ip_sum_ok(frame, &v) && packet_udp_sum_ok(frame, &v)) == slow_sums(&s));
        packet_source(frame, &v, &from);
        ASSERT(from.ss_family == (v.v6 ? AF_INET6 : AF_INET));
    }
    free(frame);
}

/* The same frame with the checksums that it should have. */
static void repair(uint8_t *frame, size_t len)
{
    struct slow s = slow_parse(frame, len);
    unsigned bytes, sum;
    uint8_t *ip, *udp;

    if (s.kind != PACKET_DATAGRAM)
        return;
    ip = frame + (s.ip - frame);
    udp = frame + (s.udp - frame);
    bytes = word(udp + 4);
    udp[6] = udp[7] = 0;
    if (!s.v6) {
        ip[10] = ip[11] = 0;
        tpackets_put16(ip + 10, 0xffffu & ~(unsigned)tpackets_sum(0, ip, ip[0] % 16 * 4u));
    }
    sum = s.v6 ? tpackets_sum(17 + bytes, ip + 8, 32) : tpackets_sum(17 + bytes, ip + 12, 8);
    sum = 0xffffu & ~(unsigned)tpackets_sum(sum, udp, bytes);
    tpackets_put16(udp + 6, sum == 0 ? 0xffff : sum);
    s = slow_parse(frame, len);
    ASSERT(s.kind == PACKET_DATAGRAM && slow_sums(&s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t copy[70000];

    if (len > sizeof(copy))
        return 0;
    compare(data, len);
    memcpy(copy, data, len);
    repair(copy, len);
    compare(copy, len);
    return 0;
}
