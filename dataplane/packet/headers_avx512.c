/* HOT. Sums for checksums, 64 bytes an instruction: see headers.c. */
#include "dataplane/packet/headers_internal.h"

#ifdef __x86_64__
#include <immintrin.h>

#define STEP_BYTES 64

/* Every second byte: vpdpbusd multiplies by signed bytes, so that those that count 256 times have a sum of
 * their own. */
#define EVEN_BYTES 0x00010001
#define ODD_BYTES  0x01000100

static_assert((uint64_t)PACKET_BYTES_MAX / 2 * 255 * 257 <= UINT32_MAX, "the sum has 32 bits");

__attribute__((target("avx512f,avx512bw,avx512vnni,bmi2"))) uint64_t packet_bytes_avx512(
    const uint8_t *p, size_t len)
{
    const __m512i even = _mm512_set1_epi32(EVEN_BYTES), odd = _mm512_set1_epi32(ODD_BYTES);
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a, v;

    ASSERT_HOT(len <= PACKET_BYTES_MAX);
    for (; len >= 2 * (size_t)STEP_BYTES; p += 2 * STEP_BYTES, len -= 2 * (size_t)STEP_BYTES) {
        v = _mm512_loadu_si512(p);
        a = _mm512_dpbusd_epi32(a, v, even);
        b = _mm512_dpbusd_epi32(b, v, odd);
        v = _mm512_loadu_si512(p + STEP_BYTES);
        c = _mm512_dpbusd_epi32(c, v, even);
        d = _mm512_dpbusd_epi32(d, v, odd);
    }
    /* Up to two more, with zeros behind the last byte. */
    v = _mm512_maskz_loadu_epi8(_bzhi_u64(~UINT64_C(0), (uint32_t)len), p);
    a = _mm512_dpbusd_epi32(a, v, even);
    b = _mm512_dpbusd_epi32(b, v, odd);
    if (len > STEP_BYTES) {
        v = _mm512_maskz_loadu_epi8(_bzhi_u64(~UINT64_C(0), (uint32_t)len - STEP_BYTES),
                                    p + STEP_BYTES);
        c = _mm512_dpbusd_epi32(c, v, even);
        d = _mm512_dpbusd_epi32(d, v, odd);
    }
    a = _mm512_add_epi32(_mm512_add_epi32(a, c), _mm512_slli_epi32(_mm512_add_epi32(b, d), 8));
    return (uint32_t)_mm512_reduce_add_epi32(a);
}
#endif
