/* HOT. Sums for checksums, 64 bytes a step: see headers.c. */
#include "dataplane/packet/headers_internal.h"

#ifdef __x86_64__
#include <immintrin.h>

__attribute__((target("avx2"))) uint64_t packet_words_avx2(const uint8_t *p, size_t len)
{
    const __m256i low = _mm256_set1_epi64x(0xffffffff);
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    uint64_t sum[4];

    ASSERT_HOT(len % PACKET_WORDS_BYTES == 0);
    for (; len > 0; p += PACKET_WORDS_BYTES, len -= PACKET_WORDS_BYTES) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)p);
        const __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));

        a = _mm256_add_epi64(a, _mm256_and_si256(x, low));
        b = _mm256_add_epi64(b, _mm256_srli_epi64(x, 32));
        c = _mm256_add_epi64(c, _mm256_and_si256(y, low));
        d = _mm256_add_epi64(d, _mm256_srli_epi64(y, 32));
    }
    a = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
    _mm256_storeu_si256((__m256i *)(void *)sum, a);
    return sum[0] + sum[1] + sum[2] + sum[3];
}
#endif
