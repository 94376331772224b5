/*
 * HOT. CRC-32C by folding with VPCLMULQDQ: four registers of 512 bits hold 256 bytes that have the
 * CRC of everything so far; each step multiplies them by x^2048 and adds the next 256 bytes. Measured
 * on Zen 4, GB/s: 46 in caches, 21 from memory; three streams of the instruction: 26, and 6.
 */
#include "dataplane/base/crc32c_internal.h"

#include "dataplane/base/compiler.h"

#include <immintrin.h>

#define FOLD_TARGET __attribute__((target("avx512f,vpclmulqdq,sse4.2")))
#define REGISTERS   4

static_assert(REGISTERS * sizeof(__m512i) == CRC32C_FOLD_BYTES, "one step");

bool crc32c_can_fold(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
}

FOLD_TARGET uint32_t crc32c_fold(uint32_t state, const uint8_t *p, size_t len,
                                 const uint64_t by_lane[2])
{
    __m512i k = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)by_lane));
    alignas(64) uint8_t rest[CRC32C_FOLD_BYTES];
    __m512i sum[REGISTERS];

    ASSERT_HOT(len >= 2 * CRC32C_FOLD_BYTES && len % CRC32C_FOLD_BYTES == 0);
    for (int i = 0; i < REGISTERS; i++)
        sum[i] = _mm512_loadu_si512(p + 64 * i);
    sum[0] = _mm512_xor_si512(sum[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)state)));
    for (size_t at = CRC32C_FOLD_BYTES; at < len; at += CRC32C_FOLD_BYTES) {
        for (int i = 0; i < REGISTERS; i++) {
            __m512i low = _mm512_clmulepi64_epi128(sum[i], k, 0x00);
            __m512i high = _mm512_clmulepi64_epi128(sum[i], k, 0x11);

            sum[i] = _mm512_ternarylogic_epi64(low, high, _mm512_loadu_si512(p + at + 64 * i),
                                               0x96); /* the sum of three */
        }
    }
    for (int i = 0; i < REGISTERS; i++)
        _mm512_store_si512(rest + 64 * i, sum[i]);
    return crc32c_streams(0, rest, sizeof(rest));
}
