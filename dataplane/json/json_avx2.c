/*
 * HOT. The AVX2 variant: stage 1 in steps of 64 bytes, two vectors of 32, see json_tape.h.
 *
 * Structural characters and white space are found by pshufb, as tables by their low nibbles; which
 * bytes lie in strings tells one carry-less multiplication. Without vpcompressb tokens are taken out
 * of their mask one by one, and numbers and literals are all listed to be checked one by one.
 */
#include <immintrin.h>

#include "dataplane/json/json_tape.h"

/* What json_isa_usable() asks for. GCC takes no macro here. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,aes,pclmul,bmi,bmi2,lzcnt,popcnt"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,aes,pclmul,bmi,bmi2,lzcnt,popcnt")
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

/* One block: what its bytes are, one bit each. */
struct block {
    struct pair bytes;
    uint64_t quote, op, space, line, backslash, control, other;
    uint64_t in_string; /* opening quotes included, closing ones not */
    uint64_t plain;     /* of numbers and literals */
    uint64_t start;     /* their first ones */
    uint64_t token;
    uint64_t escaped;
};

/* Where stage 1 is: what goes from block to block. */
struct at {
    uint64_t in_string, in_plain, escaped;
    uint32_t n_tokens, n_plain, n_escapes, n_others;
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

INLINE struct at at_load(const struct json_tape *t)
{
    return (struct at){.in_string = t->in_string,
                       .in_plain = t->in_plain,
                       .escaped = t->escaped,
                       .n_tokens = t->n_tokens,
                       .n_plain = t->n_plain,
                       .n_escapes = t->n_escapes,
                       .n_others = t->n_others};
}

INLINE void at_store(struct json_tape *t, const struct at *at)
{
    t->in_string = at->in_string;
    t->in_plain = at->in_plain;
    t->escaped = at->escaped;
    t->n_tokens = at->n_tokens;
    t->n_plain = at->n_plain;
    t->n_escapes = at->n_escapes;
    t->n_others = at->n_others;
}

/* Takes tokens, and the first bytes of numbers and literals, out of their masks. */
INLINE void put_tokens(struct json_vectors *v, struct at *at, uint32_t off, uint64_t token,
                       uint64_t start)
{
    const uint8_t *bytes = (const uint8_t *)v->tape.buf + off;
    uint32_t *pos = v->pos + at->n_tokens, *plain = v->plain + at->n_plain;
    uint8_t *kind = v->kind + at->n_tokens;

    at->n_tokens += (uint32_t)_mm_popcnt_u64(token);
    at->n_plain += (uint32_t)_mm_popcnt_u64(start);
#define PUT(i)                                                 \
    do {                                                       \
        const uint32_t bit = (uint32_t)_tzcnt_u64(token) & 63; \
                                                               \
        pos[i] = off + bit;                                    \
        kind[i] = json_class[bytes[bit]];                      \
        token = _blsr_u64(token);                              \
    } while (0)
    for (; token != 0; pos += 8, kind += 8) { /* the last ones in vain: a branch each costs more */
        PUT(0);
        PUT(1);
        PUT(2);
        PUT(3);
        PUT(4);
        PUT(5);
        PUT(6);
        PUT(7);
    }
#undef PUT
    for (; start != 0; plain += 2) {
        plain[0] = off + (uint32_t)_tzcnt_u64(start);
        start = _blsr_u64(start);
        plain[1] = off + (uint32_t)_tzcnt_u64(start);
        start = _blsr_u64(start);
    }
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
INLINE void block_classify(struct block *b, struct pair bytes, struct at *at)
{
#define R2(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))
    const __m256i spaces = R2(' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', '\n', 0, 0, '\r', 0, 0);
    const __m256i ops = R2(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ':', '{', ',', '}', 0, 0);
    const __m256i bit5 = _mm256_set1_epi8(0x20), last_control = _mm256_set1_epi8(0x1F);
#undef R2
#define EACH(f)    pair_bits(f(bytes.low), f(bytes.high))
#define OP(v)      _mm256_cmpeq_epi8(_mm256_or_si256(v, bit5), _mm256_shuffle_epi8(ops, v))
#define SPACE(v)   _mm256_cmpeq_epi8(v, _mm256_shuffle_epi8(spaces, v))
#define CONTROL(v) _mm256_cmpeq_epi8(_mm256_min_epu8(v, last_control), v)
#define ITSELF(v)  (v)
    b->bytes = bytes;
    b->quote = pair_equal(bytes, '"');
    b->backslash = pair_equal(bytes, '\\');
    b->line = pair_equal(bytes, '\n');
    b->op = EACH(OP);
    b->space = EACH(SPACE);
    b->control = EACH(CONTROL) & ~b->line;
    b->other = EACH(ITSELF);
#undef EACH
#undef OP
#undef SPACE
#undef CONTROL
#undef ITSELF
    b->escaped = 0;
    if (unlikely((b->backslash | at->escaped) != 0)) {
        b->escaped = escaped_bytes(b->backslash, &at->escaped);
        b->quote &= ~b->escaped;
    }
}

/* What is unusual in a block: escapes and bytes that are not ASCII are listed, what may be wrong is
 * marked. `within` are the bytes in front of where a line is cut. */
static __attribute__((noinline)) void block_special(struct json_vectors *v, const struct block *b,
                                                    struct at *at, uint32_t off, uint64_t within)
{
    struct json_tape *t = &v->tape;
    const uint64_t ret = pair_equal(b->bytes, '\r'), tab = pair_equal(b->bytes, '\t');
    uint64_t escaped = b->escaped & within;

    if ((((b->other | b->backslash) & ~b->in_string) |
         (b->control & (b->in_string | ~(tab | ret)))) != 0)
        tape_mark(t, off, MARK_RESCAN);
    if ((ret & ~b->in_string) != 0)
        tape_mark(t, off, MARK_RETURN);
    if ((b->other & within) != 0)
        v->other[at->n_others++] = off;
    for (; escaped != 0; escaped = _blsr_u64(escaped))
        v->escape[at->n_escapes++] = off + (uint32_t)_tzcnt_u64(escaped);
}

/* The line of the string that a line feed cuts: its token, and a mark. Stage 1 goes on behind it. */
static COLD_PATH void cut_line(struct json_vectors *v, struct at *at, const struct block *b,
                               uint32_t off)
{
    struct json_tape *t = &v->tape;
    const unsigned bit = (unsigned)_tzcnt_u64(b->line & b->in_string);
    const uint64_t within = _bzhi_u64(~UINT64_C(0), bit);

    block_special(v, b, at, off, within);
    put_tokens(v, at, off, b->token & within, b->start & within);
    v->kind[at->n_tokens] = KIND_LINE;
    v->pos[at->n_tokens++] = off + bit;
    at_store(t, at);
    tape_mark(t, off, MARK_RESCAN);
    tape_resume(t, off + bit + 1);
}

/* @return false when stage 1 has to go on elsewhere. */
INLINE bool scan_block(struct json_vectors *v, struct at *at, struct pair bytes, uint32_t off)
{
    struct block b;

    block_classify(&b, bytes, at);
    block_tokens(&b, at);
    if (unlikely((b.line & b.in_string) != 0)) {
        const struct block copy = b;

        cut_line(v, at, &copy, off);
        return false;
    }
    if (unlikely((b.control | b.other | b.backslash | b.escaped) != 0)) {
        const struct block copy = b; /* so that b itself stays in registers */

        block_special(v, &copy, at, off, ~UINT64_C(0));
    }
    put_tokens(v, at, off, b.token, b.start);
    at->in_string = (uint64_t)((int64_t)b.in_string >> 63);
    at->in_plain = b.plain >> 63;
    return true;
}

/* Whole blocks. */
static __attribute__((noinline)) void scan_whole(struct json_vectors *v, uint32_t to)
{
    struct json_tape *t = &v->tape;
    struct at at = at_load(t);
    uint32_t off = t->scanned;

    for (; off < to; off += BLOCK_BYTES) {
        _mm_prefetch(t->buf + off + 2048, _MM_HINT_T0);
        if (!scan_block(v, &at, pair_load(t->buf + off), off))
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
    struct at at = at_load(t);
    char bytes[BLOCK_BYTES];

    ASSERT_HOT(t->len - off < BLOCK_BYTES);
    memset(bytes, ' ', sizeof(bytes));
    memcpy(bytes, t->buf + off, t->len - off);
    if (!scan_block(v, &at, pair_load(bytes), off))
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

int json_avx2_lines(struct json_parser *p, struct json_event *out, int max)
{
    ASSERT_HOT(p->vectors != NULL && p->isa == JSON_ISA_AVX2);
    return lines_next(p, out, max);
}

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
