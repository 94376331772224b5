/*
 * Goal: of any frame it is known whose it is, where its datagram lies and whether its checksums are right;
 * what is cut off or contradicts itself is told apart from what is for the kernel.
 *
 * Method: frames built byte by byte (tpackets.h) in every form; then each of their prefixes and each of
 * their flipped bits, in memory that ends with the frame, so that a byte too far is seen by ASan.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "dataplane/packet/headers.c"
#include "tests/unit/tpackets.h"

#define TO 8083

static const char text[] = "{\"event_type\":\"click\",\"n\":12345}";
#define TEXT_BYTES ((uint32_t)sizeof(text) - 1)

static struct packet_udp_ports ours(void)
{
    return (struct packet_udp_ports){.n = 2, .port = {htons(53), htons(TO)}};
}

/* In memory of its own, of exactly its length. */
static enum packet_kind parse(const uint8_t *frame, uint32_t len, struct packet_view *v, bool *sums)
{
    struct packet_udp_ports ports = ours();
    uint8_t *copy = malloc(len > 0 ? len : 1);
    enum packet_kind kind;

    assert_non_null(copy);
    memcpy(copy, frame, len);
    kind = packet_parse(copy, len, &ports, v);
    if (kind == PACKET_DATAGRAM) {
        assert_true(v->payload <= len && v->payload_len <= len - v->payload);
        *sums = packet_ip_sum_ok(copy, v) && packet_udp_sum_ok(copy, v);
    }
    free(copy);
    return kind;
}

static const struct tpackets_form forms[] = {
    {.to = TO, .from = 9},
    {.to = TO, .from = 9, .tags = 1},
    {.to = TO, .from = 9, .tags = 2, .options = 10},
    {.to = 53, .from = 9, .options = 1, .padding = 18},
    {.to = TO, .from = 9, .trailing = 5, .padding = 3},
    {.to = TO, .from = 9, .no_sum = true},
    {.to = TO, .from = 9, .v6 = true},
    {.to = TO, .from = 9, .v6 = true, .tags = 2, .padding = 7},
    {.to = TO,
     .from = 9,
     .v6 = true,
     .extension = {0, 60, 43, 44, 51, 60, 135, 140},
     .n_extensions = 8},
    {.to = TO, .from = 9, .v6 = true, .extension = {44}, .n_extensions = 1, .trailing = 2},
};

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        uint8_t frame[TPACKETS_BYTES_MAX];
        uint32_t len = tpackets_build(&forms[i], text, TEXT_BYTES, frame);
        struct sockaddr_storage from;
        struct packet_view v;
        bool sums = false;

        assert_int_equal(parse(frame, len, &v, &sums), PACKET_DATAGRAM);
        assert_true(sums);
        assert_int_equal(v.payload_len, TEXT_BYTES);
        assert_memory_equal(frame + v.payload, text, TEXT_BYTES);
        assert_int_equal(v.v6, forms[i].v6);
        packet_source(frame, &v, &from);
        if (forms[i].v6) {
            assert_int_equal(((struct sockaddr_in6 *)&from)->sin6_port, htons(9));
            assert_memory_equal(&((struct sockaddr_in6 *)&from)->sin6_addr, frame + v.ip + 8, 16);
        } else {
            assert_int_equal(((struct sockaddr_in *)&from)->sin_port, htons(9));
            assert_int_equal(((struct sockaddr_in *)&from)->sin_addr.s_addr, htonl(0x0a000001));
        }
    }
}

/* Without its last bytes a datagram is truncated, wherever it is cut. */
static void test_prefixes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        uint8_t frame[TPACKETS_BYTES_MAX];
        uint32_t len = tpackets_build(&forms[i], text, TEXT_BYTES, frame) - forms[i].padding;
        struct packet_view v;
        bool sums;

        for (uint32_t cut = 0; cut < len; cut++)
            assert_int_equal(parse(frame, cut, &v, &sums), PACKET_TRUNCATED);
    }
}

/* Bytes that no checksum covers, or that lead elsewhere: Ethernet; of IPv6 traffic class, flow label,
 * hop limit, and what extension headers hold; what lies behind the datagram. */
static bool is_covered(const struct tpackets_form *f, const struct packet_view *v, uint32_t at)
{
    if (at < v->ip || at >= v->payload + v->payload_len)
        return false;
    if (!f->v6)
        return !f->no_sum || at < v->udp;
    return at >= v->udp || (at >= v->ip + 8 && at < v->ip + 40);
}

static void test_flips(void **state)
{
    uint64_t covered = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        uint8_t frame[TPACKETS_BYTES_MAX];
        uint32_t len = tpackets_build(&forms[i], text, TEXT_BYTES, frame);
        struct packet_udp_ports ports = ours();
        struct packet_view whole, v;

        assert_int_equal(packet_parse(frame, len, &ports, &whole), PACKET_DATAGRAM);
        for (uint32_t bit = 0; bit < len * 8; bit++) {
            bool sums = true;
            enum packet_kind kind;

            frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
            kind = parse(frame, len, &v, &sums);
            frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (!is_covered(&forms[i], &whole, bit / 8))
                continue;
            assert_true(kind != PACKET_DATAGRAM || !sums);
            covered++;
        }
    }
    assert_true(covered > 3000);
}

/* One byte changed in a plain frame, at an offset from the IP header. */
static enum packet_kind changed(const struct tpackets_form *f, uint32_t at, uint8_t value)
{
    uint8_t frame[TPACKETS_BYTES_MAX];
    uint32_t len = tpackets_build(f, text, TEXT_BYTES, frame);
    struct packet_view v;
    bool sums;

    frame[14 + 4 * f->tags + at] = value;
    return parse(frame, len, &v, &sums);
}

static void test_kinds(void **state)
{
    const struct tpackets_form v4 = {.to = TO}, v6 = {.to = TO, .v6 = true}, other = {.to = 123};
    const struct tpackets_form hop = {.to = TO, .v6 = true, .extension = {0}, .n_extensions = 1};
    const struct tpackets_form route = {.to = TO, .v6 = true, .extension = {43}, .n_extensions = 1};
    const struct tpackets_form frag = {.to = TO, .v6 = true, .extension = {44}, .n_extensions = 1};
    const struct tpackets_form many = {
        .to = TO, .v6 = true, .extension = {60, 60, 60, 60, 60, 60, 60, 60, 60}, .n_extensions = 9};

    (void)state;
    assert_int_equal(changed(&other, 1, 0), PACKET_FOREIGN);
    assert_int_equal(changed(&v4, 9, 6), PACKET_FOREIGN);       /* TCP */
    assert_int_equal(changed(&v4, 6, 0x20), PACKET_FRAGMENT);   /* more fragments */
    assert_int_equal(changed(&v4, 7, 1), PACKET_FRAGMENT);      /* an offset */
    assert_int_equal(changed(&v4, 6, 0x40), PACKET_DATAGRAM);   /* do not fragment */
    assert_int_equal(changed(&v4, 0, 0x55), PACKET_BAD_HEADER); /* version 5 */
    assert_int_equal(changed(&v4, 0, 0x44), PACKET_BAD_HEADER); /* a header of 16 bytes */
    assert_int_equal(changed(&v4, 2, 0xff), PACKET_TRUNCATED);  /* longer than the frame */
    assert_int_equal(changed(&v4, 3, 19), PACKET_BAD_HEADER);   /* shorter than its header */
    assert_int_equal(changed(&v4, 3, 27), PACKET_TRUNCATED);    /* no room for UDP */
    assert_int_equal(changed(&v4, 25, 7), PACKET_BAD_HEADER);   /* UDP shorter than its header */
    assert_int_equal(changed(&v4, 24, 1), PACKET_TRUNCATED);    /* UDP longer than the packet */
    assert_int_equal(changed(&v6, 0, 0x40), PACKET_BAD_HEADER);
    assert_int_equal(changed(&v6, 6, 58), PACKET_FOREIGN); /* ICMPv6 */
    assert_int_equal(changed(&v6, 4, 1), PACKET_TRUNCATED);
    assert_int_equal(changed(&hop, 41, 200), PACKET_TRUNCATED); /* an extension header too long */
    assert_int_equal(changed(&hop, 40, 59), PACKET_FOREIGN);    /* no next header */
    assert_int_equal(changed(&route, 43, 1), PACKET_FOREIGN);   /* segments left */
    assert_int_equal(changed(&frag, 43, 1), PACKET_FRAGMENT);
    assert_int_equal(changed(&frag, 42, 1), PACKET_FRAGMENT);
    assert_int_equal(changed(&many, 1, 0), PACKET_FOREIGN);
}

static void test_link(void **state)
{
    const struct tpackets_form tagged = {.to = TO, .tags = 2}, three = {.to = TO, .tags = 3};
    uint8_t frame[TPACKETS_BYTES_MAX] = {0};
    struct packet_view v;
    bool sums;

    (void)state;
    assert_int_equal(changed(&three, 1, 0), PACKET_FOREIGN);
    frame[12] = 0x08; /* ARP */
    frame[13] = 0x06;
    assert_int_equal(parse(frame, 60, &v, &sums), PACKET_FOREIGN);
    tpackets_build(&tagged, text, TEXT_BYTES, frame);
    frame[12] = 0x91;
    frame[13] = 0x00;
    assert_int_equal(parse(frame, 200, &v, &sums), PACKET_DATAGRAM);
}

static void test_checksums(void **state)
{
    struct packet_udp_ports ports = ours();
    const struct tpackets_form bare = {.to = TO, .v6 = true, .no_sum = true};
    uint8_t frame[TPACKETS_BYTES_MAX], bytes[600];
    struct packet_view v;
    uint32_t len = tpackets_build(&bare, text, TEXT_BYTES, frame);

    (void)state;
    assert_int_equal(packet_parse(frame, len, &ports, &v), PACKET_DATAGRAM);
    assert_false(packet_udp_sum_ok(frame, &v)); /* IPv6 may not leave it out */
    for (uint32_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i % 5 == 0 ? 0xff : rand());
    for (uint32_t at = 0; at < 40; at++) {
        for (uint32_t n = 0; n + at <= sizeof(bytes); n++)
            assert_int_equal(ntohs(packet_sum(0, bytes + at, n)), tpackets_sum(0, bytes + at, n));
    }
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(packet_sum(0, bytes, sizeof(bytes)), 0xffff);
    for (uint32_t i = 0; i < 3000; i++) { /* every length and sum of the datagrams themselves */
        struct tpackets_form f = {.to = TO, .from = (uint16_t)rand(), .v6 = i % 2 == 0};

        for (uint32_t k = 0; k < 64; k++)
            bytes[k] = (uint8_t)rand();
        len = tpackets_build(&f, bytes, i % 590, frame);
        assert_int_equal(packet_parse(frame, len, &ports, &v), PACKET_DATAGRAM);
        assert_true(packet_udp_sum_ok(frame, &v) && packet_ip_sum_ok(frame, &v));
    }
}

/* Each way to sum that this CPU has, in memory that ends with the last byte. */
static void test_sum_variants(void **state)
{
    static const uint32_t larger[] = {1023, 1024, 1500, 9000, 65535, 65536, 65537, 200001};

    (void)state;
    for (uint32_t i = 0; i < 700 + ARRAY_LEN(larger); i++) {
        uint32_t len = i < 700 ? i : larger[i - 700];
        uint8_t *bytes = malloc(len > 0 ? len : 1);

        assert_non_null(bytes);
        for (int all = 0; all < 2; all++) {
            uint16_t want;

            for (uint32_t k = 0; k < len; k++)
                bytes[k] = all == 1 ? 0xff : (uint8_t)rand();
            want = htons(tpackets_sum(0, bytes, len));
            assert_int_equal(packet_sum(0, bytes, len), want);
            assert_int_equal(fold(sum_few(bytes, len)), want);
            if (__builtin_cpu_supports("avx2"))
                assert_int_equal(fold(sum_avx2(bytes, len)), want);
            if (len <= PACKET_BYTES_MAX && __builtin_cpu_supports("avx512vnni"))
                assert_int_equal(fold(packet_bytes_avx512(bytes, len)), want);
        }
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_flips),        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_link),         cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_sum_variants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
