/*
 * A frame's headers, from Ethernet to UDP: whose it is, and where its datagram lies. Plain bytes in, no
 * DPDK: the frame is one contiguous run, received from anybody, and nothing in it is trusted.
 *
 * Taken: Ethernet with up to two VLAN tags, IPv4 with options, IPv6 with extension headers, UDP to one of
 * our ports. What is broken for everybody is refused; what merely is not for us is foreign, and belongs
 * to the kernel behind the exception port: so are fragments, which only the kernel puts together.
 *
 * Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_PACKET_HEADERS_H
#define PENSTOCK_PACKET_HEADERS_H

#include <sys/socket.h>

#include "dataplane/base/compiler.h"

#define PACKET_UDP_PORTS_MAX 16
#define PACKET_TAGS_MAX      2

/** The UDP ports that are ours. */
struct packet_udp_ports {
    uint32_t n;
    uint16_t port[PACKET_UDP_PORTS_MAX]; /* network byte order */
};

/** What a frame is. */
enum packet_kind {
    PACKET_DATAGRAM,   /* UDP to one of our ports: look at its checksums */
    PACKET_FOREIGN,    /* well-formed as far as it was looked at, and not for us */
    PACKET_FRAGMENT,   /* of an IP packet */
    PACKET_TRUNCATED,  /* ends before its headers say */
    PACKET_BAD_HEADER, /* a header that contradicts itself */
};

/** Where things are in a datagram's frame: offsets from its first byte. */
struct packet_view {
    uint32_t ip;          /* the IP header */
    uint32_t ip_header;   /* IPv4: its length, options included */
    uint32_t udp;         /* the UDP header */
    uint32_t udp_len;     /* header and payload */
    uint32_t payload;     /* first byte of the payload */
    uint32_t payload_len; /* may be 0 */
    bool v6;
};

/** Tells what the frame is; out is complete for PACKET_DATAGRAM only. */
enum packet_kind packet_parse(const uint8_t *frame, uint32_t len,
                              const struct packet_udp_ports *ports, struct packet_view *out);

/** Whether the IPv4 header's checksum is right; true for IPv6, which has none. */
bool packet_ip_sum_ok(const uint8_t *frame, const struct packet_view *v);

/** Whether the UDP checksum is right. IPv4 may leave it out (0), IPv6 may not. */
bool packet_udp_sum_ok(const uint8_t *frame, const struct packet_view *v);

/** The sender's address and port, as recvfrom() would give it: as many bytes as its family has. */
void packet_source(const uint8_t *frame, const struct packet_view *v, struct sockaddr_storage *out);

/** Ones' complement sum of len bytes, folded to 16 bits, in memory order. */
uint16_t packet_sum(uint64_t start, const uint8_t *bytes, size_t len);

#endif
