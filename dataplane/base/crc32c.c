/*
 * HOT. CRC-32C: long inputs by folding where the CPU can (crc32c_fold.c), else with the SSE4.2
 * instruction. That takes three cycles but one can start each cycle, so long inputs run as three
 * streams that are joined by multiplying with x^(8n) modulo the polynomial.
 */
#include "dataplane/base/crc32c.h"
#include "dataplane/base/crc32c_internal.h"

#include <nmmintrin.h>
#include <string.h>

#include "dataplane/base/compiler.h"

#define POLYNOMIAL   0x82f63b78u /* Castagnoli, bit-reflected */
#define STREAM_BYTES 1024u       /* of each of the three streams; a multiple of 8 */
#define PERIOD       31u /* x^(2^31) = x, for the polynomial is (x + 1) times one of degree 31 */

static uint32_t power_of_two[32]; /* x^(2^k) modulo the polynomial */
static uint32_t shift[4][256];    /* a CRC, byte by byte, times x^(8 * STREAM_BYTES) */
static uint64_t fold_by_lane[2];
static bool can_fold;

/* a * b modulo the polynomial; a is not 0. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t mask = 1u << 31;
    uint32_t product = 0;

    for (;;) {
        if (a & mask) {
            product ^= b;
            if ((a & (mask - 1)) == 0)
                return product;
        }
        mask >>= 1;
        b = (b & 1) ? (b >> 1) ^ POLYNOMIAL : b >> 1;
    }
}

/* x^(8 * bytes) modulo the polynomial. */
static uint32_t power_of_bytes(uint64_t bytes)
{
    uint32_t p = 1u << 31;

    for (unsigned k = 3; bytes != 0; bytes >>= 1, k++) {
        if (bytes & 1)
            p = multiply(power_of_two[k % PERIOD], p);
    }
    return p;
}

__attribute__((constructor)) static void tables_init(void)
{
    uint32_t p = 1u << 30; /* x^1 */
    uint32_t op;

    for (int k = 0; k < 32; k++) {
        power_of_two[k] = p;
        p = multiply(p, p);
    }
    op = power_of_bytes(STREAM_BYTES);
    for (int i = 0; i < 4; i++) {
        for (uint32_t b = 1; b < 256; b++)
            shift[i][b] = multiply(b << (8 * i), op);
    }
    fold_by_lane[0] = (uint64_t)power_of_bytes(CRC32C_FOLD_BYTES + 4) << 1;
    fold_by_lane[1] = (uint64_t)power_of_bytes(CRC32C_FOLD_BYTES - 4) << 1;
    can_fold = crc32c_can_fold();
}

static uint32_t shift_stream(uint32_t crc)
{
    return shift[0][crc & 255] ^ shift[1][(crc >> 8) & 255] ^ shift[2][(crc >> 16) & 255] ^
           shift[3][crc >> 24];
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static uint32_t three_streams(uint32_t crc, const uint8_t *p)
{
    uint64_t a = crc, b = 0, c = 0;

    for (size_t i = 0; i < STREAM_BYTES; i += 8) {
        a = _mm_crc32_u64(a, load64(p + i));
        b = _mm_crc32_u64(b, load64(p + STREAM_BYTES + i));
        c = _mm_crc32_u64(c, load64(p + 2 * STREAM_BYTES + i));
    }
    return shift_stream(shift_stream((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

uint32_t crc32c_streams(uint32_t state, const uint8_t *p, size_t len)
{
    for (; len >= 3 * STREAM_BYTES; p += 3 * STREAM_BYTES, len -= 3 * STREAM_BYTES)
        state = three_streams(state, p);
    for (; len >= 8; p += 8, len -= 8)
        state = (uint32_t)_mm_crc32_u64(state, load64(p));
    for (; len > 0; p++, len--)
        state = _mm_crc32_u8(state, *p);
    return state;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t state = ~crc;

    ASSERT_HOT(data != NULL || len == 0);
    if (can_fold && len >= 2 * CRC32C_FOLD_BYTES) {
        size_t whole = len - len % CRC32C_FOLD_BYTES;

        state = crc32c_fold(state, p, whole, fold_by_lane);
        p += whole;
        len -= whole;
    }
    return ~crc32c_streams(state, p, len);
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b)
{
    if (len_b == 0)
        return crc_a;
    return multiply(power_of_bytes(len_b), crc_a) ^ crc_b;
}
