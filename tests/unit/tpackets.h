/*
 * Frames for tests: Ethernet, VLAN tags, IPv4 or IPv6 with options or extension headers, UDP, with right
 * checksums; made byte by byte, sharing nothing with what reads them.
 */
#ifndef PENSTOCK_TESTS_TPACKETS_H
#define PENSTOCK_TESTS_TPACKETS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TPACKETS_BYTES_MAX 2048

/** What to build. Zeros: an IPv4 datagram without anything special. */
struct tpackets_form {
    uint16_t to, from; /* UDP ports */
    uint32_t tags;     /* VLAN tags */
    uint32_t options;  /* IPv4: 32-bit words of options */
    bool v6;
    uint8_t extension[12]; /* IPv6: their numbers; 44 is a fragment alone */
    uint32_t n_extensions;
    bool no_sum;       /* UDP checksum 0 */
    uint32_t padding;  /* bytes behind the IP packet */
    uint32_t trailing; /* bytes of the IP packet behind the datagram */
};

static inline uint32_t tpackets_put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return 2;
}

/** The Internet checksum of RFC 1071 in its plainest form. */
static inline uint16_t tpackets_sum(uint32_t start, const uint8_t *p, uint32_t len)
{
    uint32_t sum = start;

    for (uint32_t i = 0; i < len; i++) {
        sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

static inline uint32_t tpackets_udp(const struct tpackets_form *f, uint8_t *udp,
                                    const uint8_t *addresses, uint32_t address_bytes,
                                    const void *payload, uint32_t len)
{
    uint32_t n = 8 + len, sum;

    tpackets_put16(udp, f->from);
    tpackets_put16(udp + 2, f->to);
    tpackets_put16(udp + 4, n);
    tpackets_put16(udp + 6, 0);
    memcpy(udp + 8, payload, len);
    sum = tpackets_sum(17 + n, addresses, address_bytes);
    sum = 0xffffu & ~(uint32_t)tpackets_sum(sum, udp, n);
    if (!f->no_sum)
        tpackets_put16(udp + 6, sum == 0 ? 0xffff : sum);
    memset(udp + n, 0x5a, f->trailing);
    return n + f->trailing;
}

static inline uint32_t tpackets_v4(const struct tpackets_form *f, uint8_t *ip, const void *payload,
                                   uint32_t len)
{
    uint32_t header = 20 + 4 * f->options, total;

    memset(ip, 0, header);
    ip[0] = (uint8_t)(0x40 | header / 4);
    ip[8] = 64;
    ip[9] = 17;
    memcpy(ip + 12, "\x0a\x00\x00\x01\x0a\x00\x00\x02", 8);
    memset(ip + 20, 1, 4 * f->options); /* no operation */
    total = header + tpackets_udp(f, ip + header, ip + 12, 8, payload, len);
    tpackets_put16(ip + 2, total);
    tpackets_put16(ip + 10, 0xffffu & ~(uint32_t)tpackets_sum(0, ip, header));
    return total;
}

static inline uint32_t tpackets_v6(const struct tpackets_form *f, uint8_t *ip, const void *payload,
                                   uint32_t len)
{
    uint32_t at = 40;

    memset(ip, 0, 40);
    ip[0] = 0x60;
    ip[6] = f->n_extensions > 0 ? f->extension[0] : 17;
    ip[7] = 64;
    for (int i = 8; i < 40; i++)
        ip[i] = (uint8_t)(i * 7);
    for (uint32_t i = 0; i < f->n_extensions; i++) {
        uint32_t bytes = f->extension[i] == 44 ? 8 : 8 * (1 + i % 3);

        memset(ip + at, 0, bytes);
        ip[at] = i + 1 < f->n_extensions ? f->extension[i + 1] : 17;
        ip[at + 1] = (uint8_t)(f->extension[i] == 44   ? 0
                               : f->extension[i] == 51 ? bytes / 4 - 2
                                                       : bytes / 8 - 1);
        at += bytes;
    }
    at += tpackets_udp(f, ip + at, ip + 8, 32, payload, len);
    tpackets_put16(ip + 4, at - 40);
    return at;
}

/** Builds a frame in out, which holds TPACKETS_BYTES_MAX. @return its length. */
static inline uint32_t tpackets_build(const struct tpackets_form *f, const void *payload,
                                      uint32_t len, uint8_t *out)
{
    uint32_t at = 12;

    memcpy(out, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01", 12);
    for (uint32_t i = 0; i < f->tags; i++) {
        at += tpackets_put16(out + at, i + 1 < f->tags ? 0x88a8 : 0x8100);
        at += tpackets_put16(out + at, 100 + i);
    }
    at += tpackets_put16(out + at, f->v6 ? 0x86dd : 0x0800);
    at += f->v6 ? tpackets_v6(f, out + at, payload, len) : tpackets_v4(f, out + at, payload, len);
    memset(out + at, 0, f->padding);
    return at + f->padding;
}

#endif
