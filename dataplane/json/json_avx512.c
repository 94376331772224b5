/*
 * HOT. The AVX-512 variant: stage 1 in steps of 64 bytes with VBMI and VBMI2, see json_tape.h.
 *
 * One table look-up (vpermi2b) gives the class of every byte, one carry-less multiplication which
 * bytes lie in strings, and vpcompressb puts kinds and positions of tokens in rows. Numbers are
 * checked where they stand, with additions that carry through runs of digits; those that cross the
 * block and literals go to a list. Compressing in registers and storing whole vectors is meant: with
 * a memory operand vpcompressb takes over 100 cycles on Zen 4.
 */
#include <immintrin.h>

#include "dataplane/json/json_tape.h"

/* What json_isa_usable() asks for. GCC takes no macro here. */
#ifdef __clang__
#pragma clang attribute push(                                                                             \
    __attribute__((target(                                                                                \
        "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,gfni,vaes,aes,pclmul,bmi,bmi2,lzcnt,popcnt"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,gfni,vaes,aes,pclmul,bmi,bmi2,lzcnt,popcnt")
#endif

#define INLINE static inline __attribute__((always_inline))

/* ---- kinds of tokens ---- */

INLINE struct kind_masks kinds_load(const uint8_t *kind)
{
    const __m512i k = _mm512_loadu_si512(kind);
    const __m512i k1 = _mm512_loadu_si512(kind + 1);
    const __m512i k2 = _mm512_loadu_si512(kind + 2);
#define IS(v, what) _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(what))
    return (struct kind_masks){
        .object = IS(k, KIND_OBJECT),
        .object_end = IS(k, KIND_OBJECT_END),
        .array = IS(k, KIND_ARRAY),
        .array_end = IS(k, KIND_ARRAY_END),
        .string = IS(k, KIND_STRING),
        .plain = IS(k, KIND_PLAIN),
        .comma = IS(k, KIND_COMMA),
        .colon = IS(k, KIND_COLON),
        .next_string = IS(k1, KIND_STRING),
        .next_colon = IS(k1, KIND_COLON),
        .next_next_colon = IS(k2, KIND_COLON),
    };
#undef IS
}

INLINE __mmask64 first_bits(uint32_t n)
{
    return _bzhi_u64(~UINT64_C(0), n);
}

INLINE uint64_t kinds_hash(const uint8_t *kind, uint32_t n)
{
    __m512i h = _mm512_set1_epi32((int)(0x9E3779B9u + n));
    __m128i a, b;

    for (; n > 64; n -= 64, kind += 64)
        h = _mm512_aesenc_epi128(h, _mm512_loadu_si512(kind));
    h = _mm512_aesenc_epi128(h, _mm512_maskz_loadu_epi8(first_bits(n), kind));
    a = _mm_aesenc_si128(_mm512_castsi512_si128(h), _mm512_extracti32x4_epi32(h, 1));
    b = _mm_aesenc_si128(_mm512_extracti32x4_epi32(h, 2), _mm512_extracti32x4_epi32(h, 3));
    a = _mm_aesenc_si128(_mm_aesenc_si128(a, b), b);
    return (uint64_t)_mm_cvtsi128_si64(a);
}

/* shape is filled up with zeros. */
INLINE bool kinds_equal(const uint8_t *kind, const uint8_t *shape, uint32_t n)
{
    for (; n > 64; n -= 64, kind += 64, shape += 64) {
        if (_mm512_cmpneq_epi8_mask(_mm512_loadu_si512(kind), _mm512_load_si512(shape)) != 0)
            return false;
    }
    return _mm512_cmpneq_epi8_mask(_mm512_maskz_loadu_epi8(first_bits(n), kind),
                                   _mm512_load_si512(shape)) == 0;
}

static void scan_chunk(struct json_vectors *v, uint32_t to);

#include "dataplane/json/json_lines.h"

/* ---- stage 1 ---- */

/* One block: what its bytes are, one bit each. */
struct block {
    __m512i bytes;
    uint64_t quote, op, not_plain, digit, point, minus, zero, line, backslash, control, other;
    uint64_t in_string; /* opening quotes included, closing ones not */
    uint64_t plain;     /* of numbers and literals */
    uint64_t start;     /* their first ones */
    uint64_t token;
};

/* Where stage 1 is: what goes from block to block, kept in registers by the fast loop. */
struct at {
    uint64_t in_string, in_plain, escaped;
    uint32_t n_tokens, n_lines, n_odd, n_escapes, n_others;
};

/* What stays in registers. */
struct constants {
    __m512i class_low, class_high, kind_low, kind_high;
    __m512i select, reverse, gather, numbers, high_bit;
};

INLINE struct constants constants_load(void)
{
    uint8_t gather[64], numbers[64];

    for (unsigned i = 0; i < 64; i++) {
        gather[i] = (uint8_t)(i % 8 * 8 + i / 8);
        numbers[i] = (uint8_t)i;
    }
    return (struct constants){
        .class_low = _mm512_load_si512(json_class),
        .class_high = _mm512_load_si512(json_class + 64),
        .kind_low = _mm512_load_si512(json_kind),
        .kind_high = _mm512_load_si512(json_kind + 64),
        .select = _mm512_set1_epi64((long long)0x8040201008040201), /* byte i: bit i */
        .reverse = _mm512_set1_epi64((long long)0x8040201008040201),
        .gather = _mm512_loadu_si512(gather),
        .numbers = _mm512_loadu_si512(numbers),
        .high_bit = _mm512_set1_epi8((char)0x80),
    };
}

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

/* Bits at the bytes where UTF-8 breaks a rule of table 3-7 of the Unicode standard, after Keiser and
 * Lemire, "Validating UTF-8 in less than one instruction per byte". */
INLINE uint64_t utf8_errors(const char *p, __m512i v, bool first)
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
#define R4(...) _mm512_broadcast_i32x4(_mm_setr_epi8(__VA_ARGS__))
#define B(x)    (char)(x)
    const __m512i high_1 = R4(TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
                              TOO_LONG, B(TWO_CONTS), B(TWO_CONTS), B(TWO_CONTS), B(TWO_CONTS),
                              TOO_SHORT | OVERLONG_2, TOO_SHORT, TOO_SHORT | OVERLONG_3 | SURROGATE,
                              TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4);
    const __m512i low_1 =
        R4(B(CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4), B(CARRY | OVERLONG_2), B(CARRY),
           B(CARRY), B(CARRY | TOO_LARGE), B(CARRY | TOO_LARGE | TOO_LARGE_1000),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000 | SURROGATE),
           B(CARRY | TOO_LARGE | TOO_LARGE_1000), B(CARRY | TOO_LARGE | TOO_LARGE_1000));
    const __m512i high_2 =
        R4(TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
           B(TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE_1000 | OVERLONG_4),
           B(TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE),
           B(TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE),
           B(TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE), TOO_SHORT, TOO_SHORT,
           TOO_SHORT, TOO_SHORT);
    const __m512i low4 = _mm512_set1_epi8(0x0F);
    __m512i before[3], special, must;

    for (int i = 0; i < 3; i++) /* no byte in front of the buffer is read */
        before[i] = first ? _mm512_maskz_loadu_epi8(~UINT64_C(0) << (i + 1), p - i - 1)
                          : _mm512_loadu_si512(p - i - 1);
    special = _mm512_and_si512(
        _mm512_shuffle_epi8(high_1, _mm512_and_si512(_mm512_srli_epi16(before[0], 4), low4)),
        _mm512_and_si512(
            _mm512_shuffle_epi8(low_1, _mm512_and_si512(before[0], low4)),
            _mm512_shuffle_epi8(high_2, _mm512_and_si512(_mm512_srli_epi16(v, 4), low4))));
    must = _mm512_or_si512(_mm512_subs_epu8(before[1], _mm512_set1_epi8((char)(0xE0 - 0x80))),
                           _mm512_subs_epu8(before[2], _mm512_set1_epi8((char)(0xF0 - 0x80))));
    must = _mm512_and_si512(must, _mm512_set1_epi8((char)0x80));
    return _mm512_test_epi8_mask(_mm512_xor_si512(must, special), _mm512_xor_si512(must, special));
#undef R4
#undef B
}

/* A sequence that the block's end cuts off. */
INLINE bool utf8_open(__m512i v)
{
    const uint64_t lead = _mm512_cmpge_epu8_mask(v, _mm512_set1_epi8((char)0xC0));
    const uint64_t three = _mm512_cmpge_epu8_mask(v, _mm512_set1_epi8((char)0xE0));
    const uint64_t four = _mm512_cmpge_epu8_mask(v, _mm512_set1_epi8((char)0xF0));

    return (lead >> 63 | three >> 62 | four >> 61) != 0;
}

INLINE struct at at_load(const struct json_tape *t)
{
    return (struct at){.in_string = t->in_string,
                       .in_plain = t->in_plain,
                       .escaped = t->escaped,
                       .n_tokens = t->n_tokens,
                       .n_lines = t->n_lines,
                       .n_odd = t->n_odd,
                       .n_escapes = t->n_escapes,
                       .n_others = t->n_others};
}

INLINE void at_store(struct json_tape *t, const struct at *at)
{
    t->in_string = at->in_string;
    t->in_plain = at->in_plain;
    t->escaped = at->escaped;
    t->n_tokens = at->n_tokens;
    t->n_lines = at->n_lines;
    t->n_odd = at->n_odd;
    t->n_escapes = at->n_escapes;
    t->n_others = at->n_others;
}

/* Appends the tokens in `token` and the lines in `line` to the tape. */
INLINE void put_tokens(struct json_vectors *v, struct at *at, const struct constants *c,
                       __m512i bytes, uint32_t off, uint64_t token, uint64_t line)
{
    const __m512i index = _mm512_maskz_compress_epi8(token, c->numbers);
    const __m512i base = _mm512_set1_epi32((int)off);
    const __m512i kind = _mm512_permutex2var_epi8(
        c->kind_low, _mm512_maskz_compress_epi8(token, bytes), c->kind_high);
    const uint32_t count = (uint32_t)__builtin_popcountll(token);
    uint32_t *pos = v->pos + at->n_tokens;

#define PUT(i)           \
    _mm512_storeu_si512( \
        pos + 16 * i,    \
        _mm512_add_epi32(base, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(index, i))))
    _mm512_storeu_si512(v->kind + at->n_tokens, kind);
    PUT(0);
    PUT(1);
    if (unlikely(count > 32)) {
        PUT(2);
        PUT(3);
    }
#undef PUT
    /* One line or none without a branch, more of them in a loop. */
    v->line[at->n_lines] =
        at->n_tokens + (uint32_t)__builtin_popcountll(token & (_blsi_u64(line) - 1));
    at->n_lines += line != 0;
    for (line = _blsr_u64(line); unlikely(line != 0); line = _blsr_u64(line))
        v->line[at->n_lines++] =
            at->n_tokens + (uint32_t)__builtin_popcountll(token & (_blsi_u64(line) - 1));
    at->n_tokens += count;
}

/* Numbers of one block. */
struct numbers {
    uint64_t bad;      /* bits at errors, other than: */
    uint64_t exponent; /* what stands behind a number that is one so far */
    uint64_t literal;  /* first bytes of literals, or of something wrong */
    uint64_t tail;     /* first byte of what goes on behind the block, or 0 */
};

/*
 * Checks the numbers that lie in a block whole. An addition to the first digit of a run carries to
 * the byte behind the run. What went on from the block before has been listed there.
 */
INLINE struct numbers check_numbers(const struct block *b, uint64_t in_plain)
{
    const uint64_t head = b->plain & ~(b->plain + in_plain);
    const uint64_t body_end =
        ~UINT64_C(0) >> (_lzcnt_u64(~b->plain) & 63); /* without the last run */
    const uint64_t body = b->plain == ~UINT64_C(0) ? 0 : b->plain & ~head & body_end;
    const uint64_t whole = b->start & body;
    const uint64_t d = b->digit & body, negative = b->minus & whole;
    const uint64_t first = (whole & b->digit) | negative << 1;
    const uint64_t whole_end = (first + d) & ~d;
    const uint64_t p = b->point & body;
    const uint64_t part_end = ((p << 1 & d) + d) & ~d;
    struct numbers n;

    n.bad = (negative << 1) & ~d;          /* - without a digit */
    n.bad |= ((first & b->zero) << 1) & d; /* 01 */
    n.bad |= p & ~whole_end;               /* a point that no whole number stands in front of */
    n.bad |= (p << 1) & ~d;                /* 1. without a digit */
    n.exponent = ((whole_end & ~p) | part_end) & b->plain;
    n.literal = whole & ~(b->digit | b->minus);
    n.tail = b->start & ~body;
    return n;
}

/* Lists what has to be checked one by one: one of a kind without a branch. */
INLINE void put_odd(struct json_vectors *v, struct at *at, uint32_t off, const struct block *b,
                    const struct numbers *n, uint64_t escaped)
{
    uint64_t odd = n->literal | n->tail;

    v->odd[at->n_odd] = off + (uint32_t)_tzcnt_u64(odd);
    at->n_odd += odd != 0;
    for (odd = _blsr_u64(odd); unlikely(odd != 0); odd = _blsr_u64(odd))
        v->odd[at->n_odd++] = off + (uint32_t)_tzcnt_u64(odd);
    v->escape[at->n_escapes] = off + (uint32_t)_tzcnt_u64(escaped);
    at->n_escapes += escaped != 0;
    for (escaped = _blsr_u64(escaped); unlikely(escaped != 0); escaped = _blsr_u64(escaped))
        v->escape[at->n_escapes++] = off + (uint32_t)_tzcnt_u64(escaped);
    v->other[at->n_others] = off;
    at->n_others += b->other != 0;
}

/*
 * What the bytes are. Each has a class byte, and two affine transformations and a permutation turn
 * the 64 of them into 8 words of a bit each: half the work of 8 comparisons, whose way from mask
 * registers is narrow.
 */
INLINE void block_classify(struct block *b, __m512i bytes, const struct constants *c)
{
    const __mmask64 ascii = _mm512_testn_epi8_mask(bytes, c->high_bit);
    const __m512i class = _mm512_maskz_permutex2var_epi8(ascii, c->class_low, bytes, c->class_high);
    const __m512i turned = _mm512_gf2p8affine_epi64_epi8(c->select, class, 0);
    const __m512i planes =
        _mm512_permutexvar_epi8(c->gather, _mm512_gf2p8affine_epi64_epi8(turned, c->reverse, 0));
    uint64_t plane[8] __attribute__((aligned(64)));

    _mm512_store_si512(plane, planes);
    b->bytes = bytes;
    b->other = ~(uint64_t)ascii;
    b->quote = plane[0];
    b->op = plane[1];
    b->not_plain = plane[2];
    b->digit = plane[3];
    b->point = plane[4];
    b->minus = plane[5];
    b->backslash = plane[6];
    b->control = plane[7];
    b->line = b->op & b->digit;
    b->zero = b->minus & b->digit;
    b->minus &= ~b->digit;
}

/* Where strings are, and what follows from it. @return the escaped bytes. */
INLINE uint64_t block_tokens(struct block *b, struct at *at)
{
    const uint64_t escaped = escaped_bytes(b->backslash, &at->escaped);

    b->quote &= ~escaped;
    b->in_string = prefix_xor(b->quote) ^ at->in_string;
    b->plain = ~(b->not_plain | b->in_string);
    b->start = b->plain & ~(b->plain << 1 | at->in_plain);
    b->token = (b->op & ~b->in_string) | (b->quote & b->in_string) | b->start;
    return escaped;
}

/* To the next block. */
INLINE void block_end(const struct block *b, struct at *at)
{
    at->in_string = (uint64_t)((int64_t)b->in_string >> 63);
    at->in_plain = b->plain >> 63;
}

/* The line of the string that a line feed cuts: its token, and a mark. Stage 1 goes on behind it. */
static COLD_PATH void cut_line(struct json_vectors *v, struct at *at, const struct constants *c,
                               const struct block *b, uint32_t off)
{
    struct json_tape *t = &v->tape;
    const unsigned bit = (unsigned)_tzcnt_u64(b->line & b->in_string);

    put_tokens(v, at, c, b->bytes, off, b->token & first_bits(bit), b->line & first_bits(bit));
    v->line[at->n_lines++] = at->n_tokens;
    v->kind[at->n_tokens] = KIND_LINE;
    v->pos[at->n_tokens++] = off + bit;
    at_store(t, at);
    tape_mark(t, off, MARK_RESCAN);
    tape_resume(t, off + bit + 1);
}

/* Exponents, or whatever stands behind what could be a number: marks what is wrong. */
static COLD_PATH void check_exponents(struct json_vectors *v, uint32_t off, uint64_t exponent)
{
    struct json_tape *t = &v->tape;

    for (; exponent != 0; exponent = _blsr_u64(exponent)) {
        const uint32_t at = off + (uint32_t)_tzcnt_u64(exponent);

        if (json_exponent_ok(t->buf + at, t->buf + t->len))
            v->far[t->n_far++] = at;
        else
            tape_mark(t, off, MARK_RESCAN);
    }
}

/* White space other than spaces, and control characters where they may not stand. The class of tabs
 * and carriage returns would take a bit of its own: they are rare. */
static COLD_PATH void block_controls(struct json_tape *t, struct block *b, struct at *at,
                                     uint32_t off)
{
    const uint64_t tab = _mm512_cmpeq_epi8_mask(b->bytes, _mm512_set1_epi8('\t'));
    const uint64_t ret = _mm512_cmpeq_epi8_mask(b->bytes, _mm512_set1_epi8('\r'));

    b->not_plain |= tab | ret;
    b->plain = ~(b->not_plain | b->in_string);
    b->start = b->plain & ~(b->plain << 1 | at->in_plain);
    b->token = (b->op & ~b->in_string) | (b->quote & b->in_string) | b->start;
    if ((b->control & (b->in_string | ~(tab | ret))) != 0)
        tape_mark(t, off, MARK_RESCAN);
    if ((ret & ~b->in_string) != 0)
        tape_mark(t, off, MARK_RETURN);
}

/* A block that the fast loop leaves alone: with something unusual, or at the end. */
static __attribute__((noinline)) void scan_slow(struct json_vectors *v)
{
    const struct constants c = constants_load();
    struct json_tape *t = &v->tape;
    const uint32_t off = t->scanned, left = t->len - off;
    const uint64_t there = first_bits(left < BLOCK_BYTES ? left : BLOCK_BYTES);
    struct at at = at_load(t);
    struct block b;
    struct numbers n;
    uint64_t escaped;

    block_classify(&b, _mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), there, t->buf + off), &c);
    escaped = block_tokens(&b, &at);
    if (b.control != 0)
        block_controls(t, &b, &at, off);
    if (((b.other | b.backslash) & ~b.in_string) != 0)
        tape_mark(t, off, MARK_RESCAN);
    n = check_numbers(&b, at.in_plain);
    put_odd(v, &at, off, &b, &n, escaped);
    if (unlikely((b.line & b.in_string) != 0)) {
        cut_line(v, &at, &c, &b, off);
        return;
    }
    if (n.bad != 0)
        tape_mark(t, off, MARK_RESCAN);
    if (n.exponent != 0)
        check_exponents(v, off, n.exponent);
    put_tokens(v, &at, &c, b.bytes, off, b.token, b.line);
    block_end(&b, &at);
    at_store(t, &at);
    t->scanned = left < BLOCK_BYTES ? t->len : off + BLOCK_BYTES;
}

/* Whole blocks, as long as nothing unusual is in them. No calls: constants stay in registers. */
static __attribute__((noinline)) void scan_fast(struct json_vectors *v, uint32_t to)
{
    const struct constants c = constants_load();
    struct json_tape *t = &v->tape;
    const char *buf = t->buf;
    struct at at = at_load(t);
    uint32_t off = t->scanned;

    for (; off < to; off += BLOCK_BYTES) {
        const uint64_t escaped_before = at.escaped;
        struct block b;
        struct numbers n;
        uint64_t escaped;

        _mm_prefetch(buf + off + 2048, _MM_HINT_T0);
        block_classify(&b, _mm512_loadu_si512(buf + off), &c);
        escaped = block_tokens(&b, &at);
        n = check_numbers(&b, at.in_plain);
        if (unlikely((b.control | (b.line & b.in_string) |
                      ((b.other | b.backslash) & ~b.in_string) | n.bad | n.exponent) != 0)) {
            at.escaped = escaped_before;
            break;
        }
        put_odd(v, &at, off, &b, &n, escaped);
        put_tokens(v, &at, &c, b.bytes, off, b.token, b.line);
        block_end(&b, &at);
    }
    at_store(t, &at);
    t->scanned = off;
}

/* UTF-8 of the blocks that have been listed, and of those that a sequence runs into. */
static void check_others(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;

    for (uint32_t i = 0; i < t->n_others; i++) {
        const uint32_t off = v->other[i];
        const __m512i bytes = _mm512_loadu_si512(t->buf + off);
        uint64_t bad = utf8_errors(t->buf + off, bytes, off < 3);

        if (unlikely(bad != 0))
            tape_mark(t, off, MARK_RESCAN);
        if (unlikely(utf8_open(bytes)) && t->len - off > BLOCK_BYTES) {
            bad = utf8_errors(t->buf + off + BLOCK_BYTES,
                              _mm512_loadu_si512(t->buf + off + BLOCK_BYTES), false);
            if (bad != 0)
                tape_mark(t, off + BLOCK_BYTES, MARK_RESCAN);
        }
    }
}

static void scan_chunk(struct json_vectors *v, uint32_t to)
{
    struct json_tape *t = &v->tape;
    const uint32_t whole =
        t->len < BLOCK_BYTES ? 0 : t->len - BLOCK_BYTES + 1; /* blocks begin before */

    ASSERT(to <= t->len && t->scanned <= to);
    while (t->scanned < to) {
        scan_fast(v, to < whole ? to : whole);
        if (t->scanned < to)
            scan_slow(v);
    }
    check_others(v);
}

int json_avx512_lines(struct json_parser *p, struct json_event *out, int max)
{
    ASSERT_HOT(p->vectors != NULL && p->isa == JSON_ISA_AVX512);
    return lines_next(p, out, max);
}

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
