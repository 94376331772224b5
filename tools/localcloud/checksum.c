// Role: CRC-32C by slicing-by-8 (about 2 GB/s) and MD5 (RFC 1321).
#include "tools/localcloud/checksum.h"

#include <assert.h>
#include <string.h>

static uint32_t crc_table[8][256]; // written by lc_crc32c_init only

void lc_crc32c_init(void)
{
    const uint32_t reflected_polynomial = 0x82f63b78u;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? reflected_polynomial : 0);
        crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            crc_table[t][i] = crc_table[t - 1][i] >> 8 ^ crc_table[0][crc_table[t - 1][i] & 255];
}

uint32_t lc_crc32c(uint32_t crc, const void *p, size_t n)
{
    assert(crc_table[0][1]);
    const uint8_t *s = p;
    crc = ~crc;
    for (; n >= 8; n -= 8, s += 8) {
        uint32_t lo, hi;
        memcpy(&lo, s, 4);
        memcpy(&hi, s + 4, 4);
        lo ^= crc;
        crc = crc_table[7][lo & 255] ^ crc_table[6][lo >> 8 & 255] ^ crc_table[5][lo >> 16 & 255] ^
              crc_table[4][lo >> 24] ^ crc_table[3][hi & 255] ^ crc_table[2][hi >> 8 & 255] ^
              crc_table[1][hi >> 16 & 255] ^ crc_table[0][hi >> 24];
    }
    while (n--)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *s++) & 255];
    return ~crc;
}

static const uint32_t md5_sine[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

static void md5_block(uint32_t state[4], const uint8_t *p)
{
    static const int shift[4][4] = {
        {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    uint32_t w[16];
    memcpy(w, p, 64);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    for (unsigned i = 0; i < 64; i++) {
        uint32_t f;
        unsigned g;
        switch (i / 16) {
        case 0:
            f = (b & c) | (~b & d), g = i;
            break;
        case 1:
            f = (d & b) | (~d & c), g = (5 * i + 1) % 16;
            break;
        case 2:
            f = b ^ c ^ d, g = (3 * i + 5) % 16;
            break;
        default:
            f = c ^ (b | ~d), g = 7 * i % 16;
            break;
        }
        uint32_t x = a + f + md5_sine[i] + w[g];
        int r = shift[i / 16][i % 4];
        a = d, d = c, c = b;
        b += x << r | x >> (32 - r);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

void lc_md5_init(struct lc_md5 *m)
{
    *m = (struct lc_md5){.state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}};
}

void lc_md5_add(struct lc_md5 *m, const void *p, size_t n)
{
    const uint8_t *s = p;
    size_t used = m->bytes % 64;
    m->bytes += n;
    if (used) {
        size_t take = 64 - used < n ? 64 - used : n;
        memcpy(m->block + used, s, take);
        s += take, n -= take;
        if (used + take < 64)
            return;
        md5_block(m->state, m->block);
    }
    for (; n >= 64; n -= 64, s += 64)
        md5_block(m->state, s);
    if (n)
        memcpy(m->block, s, n);
}

void lc_md5_end(struct lc_md5 *m, uint8_t out[16])
{
    static const uint8_t pad[64] = {0x80};
    uint64_t bits = m->bytes * 8;
    size_t used = m->bytes % 64;
    lc_md5_add(m, pad, used < 56 ? 56 - used : 120 - used);
    lc_md5_add(m, &bits, 8);
    assert(m->bytes % 64 == 0);
    memcpy(out, m->state, 16);
}
