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
#pragma clang attribute push(                                                                    \
    __attribute__((target(                                                                       \
        "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,vaes,aes,pclmul,bmi,bmi2,lzcnt,popcnt"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,vaes,aes,pclmul,bmi,bmi2,lzcnt,popcnt")
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
    __m512i bytes, class;
    uint64_t quote, op, not_plain, line;
    uint64_t in_string; /* opening quotes included, closing ones not */
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

/* Escapes: marks bad ones. escaped are the bytes behind the backslashes that begin one. */
static void check_escapes(struct json_tape *t, __m512i v, uint32_t off, uint64_t escaped)
{
    const __m512i low = _mm512_load_si512(json_escape_ok);
    const __m512i high = _mm512_load_si512(json_escape_ok + 64);
    const __m512i ok = _mm512_permutex2var_epi8(low, v, high);
    uint64_t unicode = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('u')) & escaped;

    if ((escaped & (~_mm512_test_epi8_mask(ok, ok) | _mm512_movepi8_mask(v))) != 0)
        tape_mark(t, off, MARK_RESCAN);
    for (; unicode != 0; unicode &= unicode - 1) {
        if (!json_unicode_ok(t, off + (uint32_t)__builtin_ctzll(unicode) - 1))
            tape_mark(t, off, MARK_RESCAN);
    }
}

/*
 * A block with escapes, bytes that are not ASCII, or control characters; or behind one that leaves
 * something open. bytes behind the buffer are spaces in b->bytes.
 */
static __attribute__((noinline)) struct block scan_special(struct json_tape *t, struct block b,
                                                           uint32_t off)
{
    const uint64_t other = _mm512_movepi8_mask(b.bytes);
    const uint64_t backslash = _mm512_cmpeq_epi8_mask(b.bytes, _mm512_set1_epi8('\\'));
    const uint64_t control = _mm512_cmplt_epu8_mask(b.bytes, _mm512_set1_epi8(' ')) & ~b.line;
    const uint64_t tab = _mm512_cmpeq_epi8_mask(b.bytes, _mm512_set1_epi8('\t'));
    const uint64_t ret = _mm512_cmpeq_epi8_mask(b.bytes, _mm512_set1_epi8('\r'));
    const uint64_t escaped = escaped_bytes(backslash, &t->escaped);
    uint64_t bad;

    b.quote &= ~escaped;
    b.in_string = prefix_xor(b.quote) ^ t->in_string;
    b.not_plain = (b.not_plain & ~other) | tab | ret;
    b.op &= ~other;
    bad = (control & (b.in_string | ~(tab | ret))) | ((other | backslash) & ~b.in_string);
    t->pending = t->escaped != 0;
    if (other != 0 || t->utf8_open) {
        bad |= utf8_errors(t->buf + off, b.bytes, off < 3);
        t->utf8_open = utf8_open(b.bytes);
        t->pending |= t->utf8_open;
    }
    if (bad != 0)
        tape_mark(t, off, MARK_RESCAN);
    if ((ret & ~b.in_string) != 0)
        tape_mark(t, off, MARK_RETURN);
    if ((backslash | escaped) != 0) {
        tape_mark(t, off, MARK_ESCAPE);
        check_escapes(t, b.bytes, off, escaped);
    }
    return b;
}

/* Appends the tokens in `token` to the tape. */
INLINE void put_tokens(struct json_vectors *v, __m512i class, uint32_t off, uint64_t token,
                       uint32_t n)
{
    const __m512i numbers = _mm512_set_epi8(
        63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41,
        40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18,
        17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i index = _mm512_maskz_compress_epi8(token, numbers);
    const __m512i base = _mm512_set1_epi32((int)off);
    const __m512i kind =
        _mm512_and_si512(_mm512_maskz_compress_epi8(token, class), _mm512_set1_epi8(CLASS_KIND));
    uint32_t *pos = v->pos + n;

#define PUT(i)           \
    _mm512_storeu_si512( \
        pos + 16 * i,    \
        _mm512_add_epi32(base, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(index, i))))
    _mm512_storeu_si512(v->kind + n, kind);
    PUT(0);
    PUT(1);
    if (unlikely((uint32_t)__builtin_popcountll(token) > 32)) {
        PUT(2);
        PUT(3);
    }
#undef PUT
}

/* The line of the string that a line feed at bit `at` cuts: its token, and a mark. Stage 1 goes on
 * behind it. */
static COLD_PATH void cut_line(struct json_vectors *v, const struct block *b, uint32_t off,
                               uint64_t token, unsigned at)
{
    struct json_tape *t = &v->tape;
    uint64_t line = b->line & first_bits(at);

    token &= first_bits(at);
    put_tokens(v, b->class, off, token, t->n_tokens);
    for (; line != 0; line &= line - 1) {
        const uint64_t before = (line & -line) - 1;

        v->line[t->n_lines++] = t->n_tokens + (uint32_t)__builtin_popcountll(token & before);
    }
    t->n_tokens += (uint32_t)__builtin_popcountll(token);
    v->line[t->n_lines++] = t->n_tokens;
    v->kind[t->n_tokens] = KIND_LINE;
    v->pos[t->n_tokens++] = off + at;
    tape_mark(t, off, MARK_RESCAN);
    tape_resume(t, off + at + 1);
}

/*
 * Numbers that lie in this block; plain are the bytes of numbers and literals, start the first ones.
 * Literals, and what goes on behind the block, become odd. An addition to the first digit of a run
 * carries to the byte behind the run.
 * @return bits at errors, and at exponents.
 */
INLINE uint64_t check_numbers(struct json_vectors *v, const struct block *b, uint32_t off,
                              uint64_t plain, uint64_t start)
{
    struct json_tape *t = &v->tape;
    const uint64_t digit = _mm512_test_epi8_mask(b->class, _mm512_set1_epi8(CLASS_DIGIT));
    const uint64_t minus = _mm512_test_epi8_mask(b->class, _mm512_set1_epi8(CLASS_MINUS));
    const uint64_t point = _mm512_test_epi8_mask(b->class, _mm512_set1_epi8(CLASS_POINT));
    const uint64_t zero = _mm512_cmpeq_epi8_mask(b->bytes, _mm512_set1_epi8('0'));
    const uint64_t head = plain & ~(plain + t->in_plain); /* goes on from the block before */
    const unsigned over = (unsigned)_lzcnt_u64(~plain);   /* bytes that go on behind this one */
    const uint64_t tail = over == 0 ? 0 : ~UINT64_C(0) << (64 - over);
    const uint64_t body = plain & ~head & ~tail;
    const uint64_t whole = start & ~tail;
    const uint64_t d = digit & body, negative = minus & whole;
    const uint64_t first = (whole & digit) | negative << 1;
    const uint64_t whole_end = (first + d) & ~d;
    const uint64_t p = point & body;
    const uint64_t part_end = ((p << 1 & d) + d) & ~d;
    uint64_t literal = whole & ~(digit | minus);
    uint64_t bad;

    bad = (negative << 1) & ~d;       /* - without a digit */
    bad |= ((first & zero) << 1) & d; /* 01 */
    bad |= p & ~whole_end;            /* a point that no whole number stands in front of */
    bad |= (p << 1) & ~d;             /* 1. without a digit */
    bad |= whole_end & ~p & plain;    /* 1x, 1e5 */
    bad |= part_end & plain;          /* 1.5x, 1.5e5 */
    if ((start & tail) != 0)
        v->odd[t->n_odd++] = off + 64 - over;
    while (literal != 0) {
        v->odd[t->n_odd++] = off + (uint32_t)__builtin_ctzll(literal);
        literal &= literal - 1;
    }
    return bad;
}

/* @return false when stage 1 has to go on elsewhere. */
INLINE bool scan_block(struct json_vectors *v, __m512i bytes, uint32_t off, __m512i low,
                       __m512i high)
{
    struct json_tape *t = &v->tape;
    struct block b = {.bytes = bytes, .class = _mm512_permutex2var_epi8(low, bytes, high)};
    const uint64_t special = _mm512_movepi8_mask(_mm512_or_si512(b.class, bytes));
    uint64_t plain, start, token, cut;

    b.quote = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"'));
    b.line = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\n'));
    b.op = _mm512_test_epi8_mask(b.class, _mm512_set1_epi8(CLASS_OP));
    b.not_plain = _mm512_test_epi8_mask(b.class, _mm512_set1_epi8(CLASS_KIND));
    if (unlikely(special != 0 || t->pending))
        b = scan_special(t, b, off);
    else
        b.in_string = prefix_xor(b.quote) ^ t->in_string;
    plain = ~(b.not_plain | b.in_string);
    start = plain & ~(plain << 1 | t->in_plain);
    token = (b.op & ~b.in_string) | (b.quote & b.in_string) | start;
    cut = b.line & b.in_string;
    if (unlikely(cut != 0)) {
        cut_line(v, &b, off, token, (unsigned)__builtin_ctzll(cut));
        return false;
    }
    if (unlikely(check_numbers(v, &b, off, plain, start) != 0))
        tape_mark(t, off, MARK_RESCAN);
    put_tokens(v, b.class, off, token, t->n_tokens);
    for (; b.line != 0; b.line &= b.line - 1)
        v->line[t->n_lines++] =
            t->n_tokens + (uint32_t)__builtin_popcountll(token & ((b.line & -b.line) - 1));
    t->n_tokens += (uint32_t)__builtin_popcountll(token);
    t->in_string = (uint64_t)((int64_t)b.in_string >> 63);
    t->in_plain = plain >> 63;
    return true;
}

/* What is left at the end, filled up with spaces. */
static __attribute__((noinline)) void scan_rest(struct json_vectors *v, __m512i low, __m512i high)
{
    struct json_tape *t = &v->tape;

    while (t->scanned < t->len) {
        const uint32_t off = t->scanned;
        const uint64_t there = first_bits(t->len - off < 64 ? t->len - off : 64);
        const __m512i bytes = _mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), there, t->buf + off);

        if (scan_block(v, bytes, off, low, high))
            t->scanned = t->len - off < 64 ? t->len : off + 64;
    }
}

static void scan_chunk(struct json_vectors *v, uint32_t to)
{
    const __m512i low = _mm512_load_si512(json_class);
    const __m512i high = _mm512_load_si512(json_class + 64);
    struct json_tape *t = &v->tape;

    ASSERT(to <= t->len && t->scanned <= to);
    while (t->scanned < to && t->len - t->scanned >= BLOCK_BYTES) {
        const char *p = t->buf + t->scanned;

        _mm_prefetch(p + 2048, _MM_HINT_T0);
        if (scan_block(v, _mm512_loadu_si512(p), t->scanned, low, high))
            t->scanned += BLOCK_BYTES;
    }
    if (t->scanned < to && to == t->len)
        scan_rest(v, low, high);
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
