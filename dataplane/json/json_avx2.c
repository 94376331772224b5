/*
 * HOT. The AVX2 variant: stage 1 in steps of 64 bytes, two vectors of 32, see json_tape.h.
 *
 * Structural characters and white space are found by pshufb, as tables by their low nibbles; which
 * bytes lie in strings tells one carry-less multiplication. In place of vpcompressb, tables of the
 * bits in a byte put the tokens of 16 bytes in a row. Numbers are checked where they stand, with
 * additions that carry through runs of digits and from block to block; literals, negative numbers and
 * whatever is not plain are listed and checked one by one.
 */
#include <immintrin.h>

#include "dataplane/json/json_tape.h"

/* What json_isa_usable() asks for. GCC takes no macro here. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,aes,pclmul,bmi,bmi2,lzcnt,popcnt"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,aes,pclmul,bmi,bmi2,lzcnt,popcnt,tune=haswell") /* or it halves loads */
#pragma GCC optimize("no-tree-slp-vectorize") /* it would pack masks into vectors, to no use */
#endif

#define INLINE static inline __attribute__((always_inline))

/* 64 bytes. */
struct pair {
    __m256i low, high;
};

INLINE struct pair pair_load(const void *p)
{
    return (struct pair){.low = _mm256_loadu_si256(p),
                         .high = _mm256_loadu_si256((const __m256i *)p + 1)};
}

INLINE uint64_t pair_bits(__m256i low, __m256i high)
{
    uint64_t bits =
        (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;

    __asm__("" : "+r"(bits)); /* the compiler would else pack several into vectors */
    return bits;
}

INLINE uint64_t pair_equal(struct pair p, char c)
{
    const __m256i v = _mm256_set1_epi8(c);

    return pair_bits(_mm256_cmpeq_epi8(p.low, v), _mm256_cmpeq_epi8(p.high, v));
}

/* ---- kinds of tokens ---- */

INLINE struct kind_masks kinds_load(const uint8_t *kind)
{
    const struct pair k = pair_load(kind), k1 = pair_load(kind + 1), k2 = pair_load(kind + 2);

    return (struct kind_masks){
        .object = pair_equal(k, KIND_OBJECT),
        .object_end = pair_equal(k, KIND_OBJECT_END),
        .array = pair_equal(k, KIND_ARRAY),
        .array_end = pair_equal(k, KIND_ARRAY_END),
        .string = pair_equal(k, KIND_STRING),
        .plain = pair_equal(k, KIND_PLAIN),
        .comma = pair_equal(k, KIND_COMMA),
        .colon = pair_equal(k, KIND_COLON),
        .next_string = pair_equal(k1, KIND_STRING),
        .next_colon = pair_equal(k1, KIND_COLON),
        .next_next_colon = pair_equal(k2, KIND_COLON),
    };
}

/* The first n bytes, the others 0. n is 64 at most. */
INLINE struct pair pair_first(const uint8_t *p, uint32_t n)
{
    static const uint8_t ones_zeros[128] = {[0 ... 63] = 0xFF};
    const struct pair all = pair_load(p), mask = pair_load(ones_zeros + 64 - n);

    return (struct pair){.low = _mm256_and_si256(all.low, mask.low),
                         .high = _mm256_and_si256(all.high, mask.high)};
}

INLINE uint64_t kinds_hash(const uint8_t *kind, uint32_t n)
{
    __m128i h[4];
    struct pair p;

    for (unsigned i = 0; i < 4; i++)
        h[i] = _mm_set1_epi32((int)(0x9E3779B9u * (i + 1) + n));
    for (; n > 64; n -= 64, kind += 64) {
        for (unsigned i = 0; i < 4; i++)
            h[i] = _mm_aesenc_si128(h[i], _mm_loadu_si128((const __m128i *)kind + i));
    }
    p = pair_first(kind, n);
    h[0] = _mm_aesenc_si128(h[0], _mm256_castsi256_si128(p.low));
    h[1] = _mm_aesenc_si128(h[1], _mm256_extracti128_si256(p.low, 1));
    h[2] = _mm_aesenc_si128(h[2], _mm256_castsi256_si128(p.high));
    h[3] = _mm_aesenc_si128(h[3], _mm256_extracti128_si256(p.high, 1));
    h[0] = _mm_aesenc_si128(h[0], h[1]);
    h[2] = _mm_aesenc_si128(h[2], h[3]);
    h[0] = _mm_aesenc_si128(_mm_aesenc_si128(h[0], h[2]), h[2]);
    return (uint64_t)_mm_cvtsi128_si64(h[0]);
}

INLINE bool pair_same(struct pair a, struct pair b)
{
    const __m256i differ =
        _mm256_or_si256(_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high));

    return _mm256_testz_si256(differ, differ) != 0;
}

/* shape is filled up with zeros. */
INLINE bool kinds_equal(const uint8_t *kind, const uint8_t *shape, uint32_t n)
{
    for (; n > 64; n -= 64, kind += 64, shape += 64) {
        if (!pair_same(pair_load(kind), pair_load(shape)))
            return false;
    }
    return pair_same(pair_first(kind, n), pair_load(shape));
}

/* kind ends with a KIND_LINE. */
INLINE uint32_t line_length(const uint8_t *kind)
{
    for (uint32_t i = 0;; i += 64) {
        const uint64_t line = pair_equal(pair_load(kind + i), KIND_LINE);

        if (line != 0)
            return i + (uint32_t)_tzcnt_u64(line);
    }
}

static void scan_chunk(struct json_vectors *v, uint32_t to);

#include "dataplane/json/json_lines.h"

/* ---- stage 1 ---- */

/* What bytes are compared with and looked up in, for scan_whole() in memory or registers. */
struct constants {
    __m256i quote, line, backslash, bit5, ops, spaces;
    __m256i digit_move, digit_below, point, zero;
    __m256i kind_lower, kind_upper, low4;
    __m256i step[4];
};

/* A constant that is made once: the compiler would else make it anew for each block. */
INLINE __m256i once(__m256i v)
{
    __asm__("" : "+x"(v));
    return v;
}

INLINE struct constants constants_get(void)
{
#define R2(...) once(_mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__)))
#define R32(c)  once(_mm256_set1_epi8(c))
    return (struct constants){
        .quote = R32('"'),
        .line = R32('\n'),
        .backslash = R32('\\'),
        .bit5 = R32(0x20),
        .ops = R2(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ':', '{', ',', '}', 0, 0),
        .spaces = R2(' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', '\n', 0, 0, '\r', 0, 0),
        /* Digits become the highest of signed bytes; those that are not ASCII end up below. */
        .digit_move = R32(0x7F - '9'),
        .digit_below = R32(0x7F - 10),
        .point = R32('.'),
        .zero = R32('0'),
        .kind_lower = R2(0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 27, 10, 23, 11, 0, 0),
        .kind_upper = R2(13, -1, 11, 14, -1, 0, -1, 2, -1, -1, -1, -1, -1, -1, -1, -1),
        .low4 = R32(0x0F),
        .step = {_mm256_setzero_si256(), once(_mm256_set1_epi32(16)), once(_mm256_set1_epi32(32)),
                 once(_mm256_set1_epi32(48))},
    };
#undef R2
#undef R32
}

INLINE uint64_t pair_is(struct pair p, __m256i v)
{
    return pair_bits(_mm256_cmpeq_epi8(p.low, v), _mm256_cmpeq_epi8(p.high, v));
}

/* One block: what its bytes are, one bit each. */
struct block {
    struct pair bytes;
    uint64_t quote, op, space, line;
    uint64_t special; /* control characters but line feeds, backslashes, bytes that are not ASCII */
    uint64_t in_string; /* opening quotes included, closing ones not */
    uint64_t plain;     /* of numbers and literals */
    uint64_t start;     /* their first ones */
    uint64_t token;
};

/* Where stage 1 is: what goes from block to block. */
struct at {
    uint64_t in_string;
    uint64_t in_plain;    /* 1: the last byte belongs to a number or literal, and it is: */
    uint64_t point, zero; /* 1: a point; a leading zero */
    uint8_t whole, part;  /* 1: one of the digits in front of the point; behind it */
    uint32_t listed;      /* a number or literal that may go on and is in plain[], or UINT32_MAX */
    uint32_t n_tokens, n_plain;
};

INLINE uint64_t prefix_xor(uint64_t bits)
{
    const __m128i v =
        _mm_clmulepi64_si128(_mm_set_epi64x(0, (long long)bits), _mm_set1_epi8((char)0xFF), 0);

    return (uint64_t)_mm_cvtsi128_si64(v);
}

/* Bytes that an odd number of backslashes stands in front of. */
INLINE uint64_t escaped_bytes(uint64_t backslash, uint64_t *carry)
{
    const uint64_t odd_bits = UINT64_C(0xAAAAAAAAAAAAAAAA);
    const uint64_t maybe_escaped = (backslash & ~*carry) << 1;
    const uint64_t escape_and_terminal =
        ((maybe_escaped | odd_bits) - (backslash & ~*carry)) ^ odd_bits;
    const uint64_t escaped = escape_and_terminal ^ (backslash | *carry);

    *carry = (escape_and_terminal & backslash) >> 63;
    return escaped;
}

/* Whether 32 bytes, and those in front, break a rule of table 3-7 of the Unicode standard, after Keiser and
 * Lemire, "Validating UTF-8 in less than one instruction per byte". */
INLINE bool utf8_bad(const char *p, __m256i v)
{
    enum {
        TOO_SHORT = 1,
        TOO_LONG = 2,
        OVERLONG_3 = 4,
        TOO_LARGE = 8,
        SURROGATE = 16,
        OVERLONG_2 = 32,
        TOO_LARGE_1000 = 64,
        OVERLONG_4 = 64,
        TWO_CONTS = 128,
        CARRY = TOO_SHORT | TOO_LONG | TWO_CONTS
    };
#define R4(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))
#define B(x)    (char)(x)
    const __m256i high_1 = R4(TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
                              TOO_LONG, B(TWO_CONTS), B(TWO_CONTS), B(TWO_CONTS), B(TWO_CONTS),
                              TOO_SHORT | OVERLONG_2, TOO_SHORT, TOO_SHORT | OVERLONG_3 | SURROGATE,
                              TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4);
    const __m256i low_1 =
        R4(B(CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4), B(CARRY | OVERLONG_2), B(CARRY),
           B(CARRY), B(CARRY | TOO_LARGE), B(CARRY | TOO_LARGE | TOO_LARGE_1000),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000 | SURROGATE),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000));
    const __m256i high_2 =
        R4(TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
           B(TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE_1000 | OVERLONG_4),
           B(TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE),
           B(TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE),
           B(TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE), TOO_SHORT, TOO_SHORT,
           TOO_SHORT, TOO_SHORT);
    const __m256i low4 = _mm256_set1_epi8(0x0F);
    __m256i before[3], special, must;

    for (int i = 0; i < 3; i++)
        before[i] = _mm256_loadu_si256((const __m256i *)(p - i - 1));
    special = _mm256_and_si256(
        _mm256_shuffle_epi8(high_1, _mm256_and_si256(_mm256_srli_epi16(before[0], 4), low4)),
        _mm256_and_si256(
            _mm256_shuffle_epi8(low_1, _mm256_and_si256(before[0], low4)),
            _mm256_shuffle_epi8(high_2, _mm256_and_si256(_mm256_srli_epi16(v, 4), low4))));
    must = _mm256_or_si256(_mm256_subs_epu8(before[1], _mm256_set1_epi8((char)(0xE0 - 0x80))),
                           _mm256_subs_epu8(before[2], _mm256_set1_epi8((char)(0xF0 - 0x80))));
    must = _mm256_and_si256(must, _mm256_set1_epi8((char)0x80));
    must = _mm256_xor_si256(must, special);
    return _mm256_testz_si256(must, must) == 0;
#undef R4
#undef B
}

/* A sequence that the end of 64 bytes cuts off. */
INLINE bool utf8_open(const char *p)
{
    const uint8_t *last = (const uint8_t *)p + BLOCK_BYTES - 1;

    return last[0] >= 0xC0 || last[-1] >= 0xE0 || last[-2] >= 0xF0;
}

/* Bits of in_plain in the tape, which is 0 at the first byte of a line. */
enum { IN_PLAIN, IN_POINT, IN_ZERO, IN_WHOLE, IN_PART, IN_LISTED = 32 };

INLINE struct at at_load(const struct json_tape *t)
{
    return (struct at){.in_string = t->in_string,
                       .in_plain = t->in_plain >> IN_PLAIN & 1,
                       .point = t->in_plain >> IN_POINT & 1,
                       .zero = t->in_plain >> IN_ZERO & 1,
                       .whole = t->in_plain >> IN_WHOLE & 1,
                       .part = t->in_plain >> IN_PART & 1,
                       .listed = (uint32_t)(t->in_plain >> IN_LISTED) - 1,
                       .n_tokens = t->n_tokens,
                       .n_plain = t->n_plain};
}

INLINE void at_store(struct json_tape *t, const struct at *at)
{
    t->in_string = at->in_string;
    t->in_plain = at->in_plain << IN_PLAIN | at->point << IN_POINT | at->zero << IN_ZERO |
                  (uint64_t)at->whole << IN_WHOLE | (uint64_t)at->part << IN_PART |
                  (uint64_t)(at->listed + 1) << IN_LISTED;
    t->n_tokens = at->n_tokens;
    t->n_plain = at->n_plain;
}

/* ---- tokens of a block ---- */

/* The bits that are set in a byte, in a row; the same of the upper one of two bytes. */
#define BIT(m, i) \
    ((m) >> (i)&1 ? (uint64_t)(i) << 8 * __builtin_popcount((m) & ((1u << (i)) - 1)) : 0)
#define ROW(m) \
    (BIT(m, 0) | BIT(m, 1) | BIT(m, 2) | BIT(m, 3) | BIT(m, 4) | BIT(m, 5) | BIT(m, 6) | BIT(m, 7))
#define ROW4(m, add) \
    ROW(m) + (add), ROW((m) + 1) + (add), ROW((m) + 2) + (add), ROW((m) + 3) + (add)
#define ROW16(m, add) ROW4(m, add), ROW4((m) + 4, add), ROW4((m) + 8, add), ROW4((m) + 12, add)
#define ROW64(m, add) \
    ROW16(m, add), ROW16((m) + 16, add), ROW16((m) + 32, add), ROW16((m) + 48, add)
#define ROW256(add) ROW64(0u, add), ROW64(64u, add), ROW64(128u, add), ROW64(192u, add)
static const uint64_t bits_row[2][256]
    __attribute__((aligned(64))) = {{ROW256(0)}, {ROW256(UINT64_C(0x0808080808080808))}};
#undef BIT
#undef ROW
#undef ROW4
#undef ROW16
#undef ROW64
#undef ROW256

/* How a row of n in the lower and one in the upper 8 bytes become one, of the first 8 in all. */
static const uint8_t join_row[10][8] __attribute__((aligned(16))) = {
    {8, 9, 10, 11, 12, 13, 14, 15}, {0, 8, 9, 10, 11, 12, 13, 14}, {0, 1, 8, 9, 10, 11, 12, 13},
    {0, 1, 2, 8, 9, 10, 11, 12},    {0, 1, 2, 3, 8, 9, 10, 11},    {0, 1, 2, 3, 4, 8, 9, 10},
    {0, 1, 2, 3, 4, 5, 8, 9},       {0, 1, 2, 3, 4, 5, 6, 8},      {0, 1, 2, 3, 4, 5, 6, 7}};

/* Takes tokens out of their mask one by one, where they stand close. */
static __attribute__((noinline)) void put_dense(uint32_t *pos, uint8_t *kind, const uint8_t *bytes,
                                                uint32_t off, uint64_t token)
{
    for (; token != 0; token = _blsr_u64(token)) {
        const uint32_t bit = (uint32_t)_tzcnt_u64(token);

        *pos++ = off + bit;
        *kind++ = json_class[bytes[bit]];
    }
}

/* The tokens of 16 bytes, 8 at most. */
INLINE void put_16(uint32_t *pos, uint8_t *kind, __m128i kinds, __m256i off, uint32_t token)
{
    const uint32_t low = token & 0xFF, high = token >> 8 & 0xFF;
    __m128i row = _mm_loadl_epi64((const __m128i *)&bits_row[0][low]);

    row = _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(row), (const double *)&bits_row[1][high]));
    row = _mm_shuffle_epi8(
        row, _mm_loadu_si128((const __m128i *)join_row[(uint32_t)_mm_popcnt_u32(low)]));
    _mm_storel_epi64((__m128i *)kind, _mm_shuffle_epi8(kinds, row));
    _mm256_storeu_si256((__m256i *)pos, _mm256_add_epi32(off, _mm256_cvtepu8_epi32(row)));
}

/* By both nibbles: what the lower one stands for, less what the upper one does. For the first bytes of
 * tokens these are their kinds; no other byte comes out as a line feed. */
INLINE __m256i kinds_of(const struct constants *c, __m256i v)
{
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), c->low4);

    return _mm256_subs_epu8(_mm256_shuffle_epi8(c->kind_lower, v),
                            _mm256_shuffle_epi8(c->kind_upper, high));
}

/* Appends the tokens to the tape. */
INLINE void put_tokens(struct json_vectors *v, struct at *at, const struct constants *c,
                       uint32_t off, struct pair bytes, uint64_t token)
{
    const struct pair kinds = {.low = kinds_of(c, bytes.low), .high = kinds_of(c, bytes.high)};
    const uint32_t n0 = (uint32_t)_mm_popcnt_u64(token & 0xFFFF);
    const uint32_t n1 = (uint32_t)_mm_popcnt_u64(token & 0xFFFFFFFF);
    const uint32_t n3 = (uint32_t)_mm_popcnt_u64(token);
    const uint32_t last = (uint32_t)_mm_popcnt_u64(token >> 48), n2 = n3 - last;
    const __m256i base = _mm256_set1_epi32((int)off);
    uint32_t *pos = v->pos + at->n_tokens;
    uint8_t *kind = v->kind + at->n_tokens;

    at->n_tokens += n3;
    put_16(pos, kind, _mm256_castsi256_si128(kinds.low), base, (uint32_t)token);
    put_16(pos + n0, kind + n0, _mm256_extracti128_si256(kinds.low, 1),
           _mm256_add_epi32(base, c->step[1]), (uint32_t)(token >> 16));
    put_16(pos + n1, kind + n1, _mm256_castsi256_si128(kinds.high),
           _mm256_add_epi32(base, c->step[2]), (uint32_t)(token >> 32));
    put_16(pos + n2, kind + n2, _mm256_extracti128_si256(kinds.high, 1),
           _mm256_add_epi32(base, c->step[3]), (uint32_t)(token >> 48));
    if (unlikely((n0 | (n1 - n0) | (n2 - n1) | last) > 8)) /* or there are 8 and some, to no harm */
        put_dense(pos, kind, (const uint8_t *)v->tape.buf + off, off, token);
}

/* Where strings are, and what follows from it. */
INLINE void block_tokens(struct block *b, const struct at *at)
{
    b->in_string = prefix_xor(b->quote) ^ at->in_string;
    b->plain = ~(b->op | b->space | b->quote | b->in_string);
    b->start = b->plain & ~(b->plain << 1 | at->in_plain);
    b->token = ((b->op | b->line) & ~b->in_string) | (b->quote & b->in_string) | b->start;
}

/* By their low nibbles: a byte that is equal to its entry is white space, and one that is with bit 5
 * set is structural. Control characters that look so are marked anyway. */
INLINE void block_classify(struct block *b, const struct constants *c, struct pair bytes)
{
#define EACH(f)  pair_bits(f(bytes.low), f(bytes.high))
#define OP(v)    _mm256_cmpeq_epi8(_mm256_or_si256(v, c->bit5), _mm256_shuffle_epi8(c->ops, v))
#define SPACE(v) _mm256_cmpeq_epi8(v, _mm256_shuffle_epi8(c->spaces, v))
#define SPECIAL(v) \
    _mm256_or_si256(_mm256_cmpgt_epi8(c->bit5, v), _mm256_cmpeq_epi8(v, c->backslash))
    b->bytes = bytes;
    b->quote = pair_is(bytes, c->quote);
    b->line = pair_is(bytes, c->line);
    b->op = EACH(OP);
    b->space = EACH(SPACE);
    b->special = EACH(SPECIAL) & ~b->line; /* signed: those that are not ASCII are less than any */
#undef OP
#undef SPACE
#undef SPECIAL
}

/* ---- numbers of a block ---- */

/* What is to be checked one by one: literals and negative numbers, or all that is in the block, and
 * what began before it. */
static __attribute__((noinline)) void list_plain(struct json_vectors *v, struct at *at,
                                                 uint32_t off, uint64_t start, bool all)
{
    ASSERT_HOT(at->in_plain == 0 || at->n_tokens > 0);
    if (all && at->in_plain != 0) {
        const uint32_t first = v->pos[at->n_tokens - 1];

        if (first != at->listed) /* or a long one would be read again from each of its blocks */
            v->plain[at->n_plain++] = first;
        at->listed = first;
    }
    for (; start != 0; start = _blsr_u64(start)) {
        at->listed = off + (uint32_t)_tzcnt_u64(start);
        v->plain[at->n_plain++] = at->listed;
    }
}

/*
 * Checks the numbers of a block as far as it goes. An addition to the first digit of a run carries to
 * the byte behind the run, and out of the block if the run goes on there. Exponents, and blocks
 * without any other byte (numbers may be far from some length on), are left to list_plain(). The tape
 * must not have the tokens of the block yet.
 */
INLINE void block_numbers(struct json_vectors *v, struct at *at, const struct constants *c,
                          const struct block *b, uint32_t off)
{
#define DIGIT(v) _mm256_cmpgt_epi8(_mm256_add_epi8(v, c->digit_move), c->digit_below)
    const struct pair bytes = b->bytes;
    const uint64_t digit = EACH(DIGIT) & b->plain;
    const uint64_t point = pair_is(bytes, c->point) & b->plain;
    const uint64_t zero = pair_is(bytes, c->zero) & b->start;
#undef DIGIT
#undef EACH
    const uint64_t other = b->start & ~digit;
    const uint64_t behind_point = point << 1 | at->point;
    unsigned long long whole_end, part_end;
    uint64_t bad;

    at->whole = _addcarry_u64(at->whole, digit, b->start & digit, &whole_end);
    at->part = _addcarry_u64(at->part, digit, behind_point & digit, &part_end);
    whole_end &= ~digit;
    part_end &= ~digit;
    bad = point & ~whole_end;              /* a point without a whole number before */
    bad |= behind_point & ~digit;          /* 1. without a digit */
    bad |= (zero << 1 | at->zero) & digit; /* 01 */
    bad |= ((whole_end & ~point) | part_end) & b->plain;
    at->point = point >> 63;
    at->zero = zero >> 63;
    if (unlikely(bad != 0 || b->plain == ~UINT64_C(0))) {
        list_plain(v, at, off, b->start, true);
        return;
    }
    v->plain[at->n_plain] = off + (uint32_t)_tzcnt_u64(other);
    if (unlikely(_blsr_u64(other) != 0))
        list_plain(v, at, off, other, false);
    else
        at->n_plain += other != 0;
}

/*
 * What is unusual in a block: escapes and bytes that are not ASCII are listed, what may be wrong is
 * marked. Of a line that is cut only what stands in front of the cut is listed. before says whether
 * the block begins in a string.
 * @return the quotes that are not escaped.
 */
static __attribute__((noinline)) uint64_t block_special(struct json_vectors *v, const char *bytes,
                                                        uint64_t quote, uint64_t special,
                                                        uint64_t before, uint32_t off)
{
    struct json_tape *t = &v->tape;
    const struct pair p = pair_load(bytes);
    const uint64_t ret = pair_equal(p, '\r'), tab = pair_equal(p, '\t');
    const uint64_t backslash = pair_equal(p, '\\'), other = pair_bits(p.low, p.high);
    const uint64_t control = special & ~(other | backslash);
    uint64_t escaped = escaped_bytes(backslash, &t->escaped), in_string, cut, within;

    quote &= ~escaped;
    in_string = prefix_xor(quote) ^ before;
    cut = pair_equal(p, '\n') & in_string;
    within = cut == 0 ? ~UINT64_C(0) : _blsi_u64(cut) - 1;
    if ((((other | backslash) & ~in_string) | (control & (in_string | ~(tab | ret)))) != 0)
        tape_mark(t, off, MARK_RESCAN);
    if ((ret & ~in_string) != 0)
        tape_mark(t, off, MARK_RETURN);
    if ((other & within) != 0)
        v->other[t->n_others++] = off;
    for (escaped &= within; escaped != 0; escaped = _blsr_u64(escaped))
        v->escape[t->n_escapes++] = off + (uint32_t)_tzcnt_u64(escaped);
    return quote;
}

/* The line of the string that a line feed cuts: its token, and a mark, for which its numbers need no
 * check. Stage 1 goes on behind it. */
static COLD_PATH void cut_line(struct json_vectors *v, struct at *at, const struct constants *c,
                               const struct block *b, uint32_t off)
{
    struct json_tape *t = &v->tape;
    const unsigned bit = (unsigned)_tzcnt_u64(b->line & b->in_string);

    put_tokens(v, at, c, off, b->bytes, b->token & _bzhi_u64(~UINT64_C(0), bit));
    v->kind[at->n_tokens] = KIND_LINE;
    v->pos[at->n_tokens++] = off + bit;
    at_store(t, at);
    tape_mark(t, off, MARK_RESCAN);
    tape_resume(t, off + bit + 1);
}

/* @return false when stage 1 has to go on elsewhere. */
INLINE bool scan_block(struct json_vectors *v, struct at *at, const struct constants *c,
                       const char *p, uint32_t off)
{
    const struct pair bytes = pair_load(p);
    struct block b;

    block_classify(&b, c, bytes);
    if (unlikely((b.special | v->tape.escaped) != 0))
        b.quote = block_special(v, p, b.quote, b.special, at->in_string, off);
    block_tokens(&b, at);
    if (unlikely((b.line & b.in_string) != 0)) {
        const struct block copy = b;
        const struct constants constants = *c;
        struct at cut = *at;

        cut_line(v, &cut, &constants, &copy, off);
        return false;
    }
    block_numbers(v, at, c, &b, off);
    put_tokens(v, at, c, off, bytes, b.token);
    at->in_string = (uint64_t)((int64_t)b.in_string >> 63);
    at->in_plain = b.plain >> 63;
    return true;
}

/* Whole blocks. */
static __attribute__((noinline)) void scan_whole(struct json_vectors *v, uint32_t to)
{
    struct json_tape *t = &v->tape;
    const struct constants c = constants_get();
    struct at at = at_load(t);
    uint32_t off = t->scanned;

    for (; off < to; off += BLOCK_BYTES) {
        _mm_prefetch(t->buf + off + 2048, _MM_HINT_T0);
        if (!scan_block(v, &at, &c, t->buf + off, off))
            return;
    }
    at_store(t, &at);
    t->scanned = off;
}

/* What is left at the end, filled up with spaces. */
static void scan_rest(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    const uint32_t off = t->scanned;
    const struct constants c = constants_get();
    struct at at = at_load(t);
    char bytes[BLOCK_BYTES];

    ASSERT_HOT(t->len - off < BLOCK_BYTES);
    memset(bytes, ' ', sizeof(bytes));
    memcpy(bytes, t->buf + off, t->len - off);
    if (!scan_block(v, &at, &c, bytes, off))
        return;
    at_store(t, &at);
    t->scanned = t->len;
}

/* Whether a block and the 3 bytes in front of it break a rule. No byte in front of the buffer is read. */
static bool block_utf8_bad(const char *buf, uint32_t off)
{
    char copy[32 + BLOCK_BYTES] = "";
    const char *p = buf + off;

    if (off < 3)
        p = memcpy(copy + 32, p, BLOCK_BYTES);
    return utf8_bad(p, _mm256_loadu_si256((const __m256i *)p)) ||
           utf8_bad(p + 32, _mm256_loadu_si256((const __m256i *)(p + 32)));
}

/* UTF-8 of the blocks that have been listed, and of those that a sequence runs into. */
static void check_others(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;

    for (uint32_t i = 0; i < t->n_others; i++) {
        const uint32_t off = v->other[i];

        if (unlikely(block_utf8_bad(t->buf, off)))
            tape_mark(t, off, MARK_RESCAN);
        if (unlikely(utf8_open(t->buf + off)) && t->len - off > BLOCK_BYTES &&
            block_utf8_bad(t->buf, off + BLOCK_BYTES))
            tape_mark(t, off + BLOCK_BYTES, MARK_RESCAN);
    }
    t->n_others = 0;
}

static void scan_chunk(struct json_vectors *v, uint32_t to)
{
    struct json_tape *t = &v->tape;
    const uint32_t whole =
        t->len < BLOCK_BYTES ? 0 : t->len - BLOCK_BYTES + 1; /* blocks begin before */

    ASSERT(to <= t->len && t->scanned <= to);
    while (t->scanned < to) {
        if (t->scanned < whole)
            scan_whole(v, to < whole ? to : whole);
        else
            scan_rest(v);
    }
    check_others(v);
    json_check_escapes(v);
    json_check_plain(v);
}

/* ---- the variant ---- */

INLINE uint32_t lines_drop(uint32_t *pos, uint8_t *kind, uint32_t from, uint32_t n)
{
    uint32_t to = from;

    for (; from < n; from += 8) { /* both are read before any of them is written over */
        const __m128i kinds = _mm_loadl_epi64((const __m128i *)(kind + from));
        const __m256i p = _mm256_loadu_si256((const __m256i *)(pos + from));
        const uint32_t line =
            (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(kinds, _mm_set1_epi8(KIND_LINE)));
        const uint32_t keep = ~line & _bzhi_u32(0xFF, n - from < 8 ? n - from : 8);
        const __m128i row = _mm_loadl_epi64((const __m128i *)&bits_row[0][keep]);

        _mm_storel_epi64((__m128i *)(kind + to), _mm_shuffle_epi8(kinds, row));
        _mm256_storeu_si256((__m256i *)(pos + to),
                            _mm256_permutevar8x32_epi32(p, _mm256_cvtepu8_epi32(row)));
        to += (uint32_t)_mm_popcnt_u32(keep);
    }
    return to;
}

#include "dataplane/json/json_documents.h"

const struct json_variant json_avx2 = {
    .lines = lines_next,
    .elements = elements_next,
    .single = single_next,
    .document = document_scan,
};

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
