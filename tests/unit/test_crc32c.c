/*
 * Goal: CRC-32C as everybody else computes it. Method: published vectors; every length to 4,000 at
 * every alignment to 8, and random long ones, against a bit-by-bit reference; splits and
 * combinations at every place. What folds is compared with what does not, where the CPU can do both.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/crc32c_internal.h"
#include "tests/unit/tcore_storage.h"

#define LENGTHS 4000
#define LONG    100000

static uint32_t bitwise(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;

    crc = ~crc;
    while (len-- > 0) {
        crc ^= *p++;
        for (int k = 0; k < 8; k++)
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return ~crc;
}

static uint8_t *random_bytes(size_t len, uint64_t seed)
{
    uint8_t *p = malloc(len);

    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)tcore_random(&seed);
    return p;
}

static void test_vectors(void **state)
{
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(crc32c(0, "", 0), 0);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof(bytes)); /* RFC 3720, B.4 */
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
}

static void test_lengths_and_alignments(void **state)
{
    uint8_t *bytes = random_bytes(LENGTHS + 8, 1);
    uint32_t want = 0;

    (void)state;
    for (size_t align = 0; align < 8; align++) {
        want = 0;
        for (size_t len = 0; len < LENGTHS; len++) {
            assert_int_equal(crc32c(0, bytes + align, len), want);
            want = bitwise(want, bytes + align + len, 1);
        }
    }
    free(bytes);
}

static void test_long_splits_and_combine(void **state)
{
    uint64_t seed = tcore_seed("crc32c", 7);
    uint8_t *bytes = random_bytes(LONG, seed);

    (void)state;
    for (int i = 0; i < 200; i++) {
        size_t len = tcore_random(&seed) % LONG;
        size_t at = len == 0 ? 0 : tcore_random(&seed) % len;
        uint32_t all = bitwise(0, bytes, len), a = crc32c(0, bytes, at),
                 b = crc32c(0, bytes + at, len - at);

        assert_int_equal(crc32c(0, bytes, len), all);
        assert_int_equal(crc32c(a, bytes + at, len - at), all);
        assert_int_equal(crc32c_combine(a, b, len - at), all);
    }
    free(bytes);
}

/* crc32c() folds where it can: then the other way is tested here, over the same bytes. */
static void test_variants_agree(void **state)
{
    uint64_t seed = tcore_seed("crc32c variants", 11);
    uint8_t *bytes = random_bytes(LONG, seed);

    (void)state;
    if (!crc32c_can_fold())
        print_message("this CPU cannot fold: one variant only\n");
    for (int i = 0; i < 2000; i++) {
        size_t at = tcore_random(&seed) % 4096;
        size_t len = tcore_random(&seed) % (i % 2 != 0 ? LONG - at : 4 * CRC32C_FOLD_BYTES);
        uint32_t crc = (uint32_t)tcore_random(&seed);

        assert_int_equal(crc32c(crc, bytes + at, len), ~crc32c_streams(~crc, bytes + at, len));
    }
    free(bytes);
}

/* CRCs of zero, and lengths past 32 bits: (A, n zero bytes) by doubling. */
static void test_combine_edges(void **state)
{
    uint32_t zeros = crc32c(0, "\0\0\0\0\0\0\0\0", 8);

    (void)state;
    assert_int_equal(crc32c_combine(0, 0, 0), 0);
    assert_int_equal(crc32c_combine(0x1234, 0, 0), 0x1234);
    assert_int_equal(crc32c_combine(0, 0x1234, 1000), 0x1234); /* nothing in front */
    for (uint64_t len = 8; len < (UINT64_C(1) << 40); len *= 2) {
        uint32_t twice = crc32c_combine(zeros, zeros, len);

        assert_int_equal(crc32c_combine(twice, zeros, len), crc32c_combine(zeros, twice, 2 * len));
        zeros = twice;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_lengths_and_alignments),
        cmocka_unit_test(test_long_splits_and_combine),
        cmocka_unit_test(test_variants_agree),
        cmocka_unit_test(test_combine_edges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
