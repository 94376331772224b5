/* HOT. See idhash.h. The algorithm is that of Aumasson and Bernstein, as published. */
#include "sinks/dedupe/idhash.h"

#include <endian.h>
#include <string.h>

#include "dataplane/base/compiler.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t m)
{
    s->v3 ^= m;
    sip_round(s);
    sip_round(s);
    s->v0 ^= m;
}

static inline uint64_t sip_finish(struct sip *s)
{
    for (int i = 0; i < 4; i++)
        sip_round(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

static inline uint64_t load(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

struct id_hash id_hash(const uint8_t key[ID_KEY_BYTES], struct span text)
{
    uint64_t k0 = load(key), k1 = load(key + 8), last = 0;
    struct sip s = {
        .v0 = k0 ^ 0x736f6d6570736575u,
        .v1 = k1 ^ 0x646f72616e646f6du ^ 0xee,
        .v2 = k0 ^ 0x6c7967656e657261u,
        .v3 = k1 ^ 0x7465646279746573u,
    };
    struct id_hash out;
    size_t i = 0;

    for (; i + 8 <= text.len; i += 8)
        sip_word(&s, load(text.ptr + i));
    ASSERT_HOT(text.len - i < sizeof(last));
    if (i < text.len)
        memcpy(&last, text.ptr + i, text.len - i);
    sip_word(&s, le64toh(last) | (uint64_t)text.len << 56);
    s.v2 ^= 0xee;
    out.lo = sip_finish(&s);
    s.v1 ^= 0xdd;
    out.hi = sip_finish(&s);
    return out;
}
