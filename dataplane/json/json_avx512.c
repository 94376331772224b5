/*
 * HOT. The AVX-512 variant: stage 1 in steps of 64 bytes with VBMI and VBMI2, see json_tape.h.
 *
 * One table look-up (vpermi2b) gives the class of every byte, one carry-less multiplication which
 * bytes lie in strings, and vpcompressb puts kinds and positions of tokens in rows. Numbers and
 * literals go to a dense row, which is checked 64 bytes at a time, with additions that carry through runs
 * of digits. Compressing in registers and storing whole vectors is meant: with a memory operand
 * vpcompressb takes over 100 cycles on Zen 4.
 */
#include <immintrin.h>

#include "dataplane/json/json_tape.h"

/* What json_isa_usable() asks for. GCC takes no macro here. */
#ifdef __clang__
#pragma clang attribute push(                                                                        \
    __attribute__((target(                                                                           \
        "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,vaes,aes,pclmul,bmi,bmi2,lzcnt,popcnt"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC optimize("no-tree-slp-vectorize") /* it would pack masks into vectors, to no use */
/* tune: or it halves stores of 32 bytes */
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,vaes,aes,pclmul,bmi,bmi2,lzcnt,popcnt,tune=haswell")
#endif

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

#define FEW \
    192u /* tokens that are handled without a branch on how many there are; few lines have more */

/* Which of the tokens from `from` on are among the first n. */
INLINE __mmask64 bits_from(uint32_t from, uint32_t n)
{
    return first_bits(n > from ? n - from : 0);
}

INLINE uint64_t kinds_hash(const uint8_t *kind, uint32_t n)
{
    __m512i h = _mm512_set1_epi32((int)(0x9E3779B9u + n));
    __m128i a, b;

    for (; n > FEW; n -= 64, kind += 64)
        h = _mm512_aesenc_epi128(h, _mm512_loadu_si512(kind));
    h = _mm512_aesenc_epi128(h, _mm512_maskz_loadu_epi8(first_bits(n), kind));
    h = _mm512_aesenc_epi128(h, _mm512_maskz_loadu_epi8(bits_from(64, n), kind + 64));
    h = _mm512_aesenc_epi128(h, _mm512_maskz_loadu_epi8(bits_from(128, n), kind + 128));
    a = _mm_aesenc_si128(_mm512_castsi512_si128(h), _mm512_extracti32x4_epi32(h, 1));
    b = _mm_aesenc_si128(_mm512_extracti32x4_epi32(h, 2), _mm512_extracti32x4_epi32(h, 3));
    a = _mm_aesenc_si128(_mm_aesenc_si128(a, b), b);
    return (uint64_t)_mm_cvtsi128_si64(a);
}

/* Of the tokens from `from` on, those among the first n that are not as in the shape. */
INLINE __mmask64 kinds_differ(const uint8_t *kind, const uint8_t *shape, uint32_t from, uint32_t n)
{
    return _mm512_mask_cmpneq_epi8_mask(bits_from(from, n), _mm512_loadu_si512(kind + from),
                                        _mm512_load_si512(shape + from));
}

INLINE bool kinds_equal(const uint8_t *kind, const uint8_t *shape, uint32_t n)
{
    for (; n > FEW; n -= 64, kind += 64, shape += 64) {
        if (_mm512_cmpneq_epi8_mask(_mm512_loadu_si512(kind), _mm512_load_si512(shape)) != 0)
            return false;
    }
    return (kinds_differ(kind, shape, 0, n) | kinds_differ(kind, shape, 64, n) |
            kinds_differ(kind, shape, 128, n)) == 0;
}

INLINE uint64_t line_bits(const uint8_t *kind)
{
    return _cvtmask64_u64(
        _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(kind), _mm512_set1_epi8(KIND_LINE)));
}

/* kind ends with a KIND_LINE. */
INLINE uint32_t line_search(const uint8_t *kind)
{
    const uint64_t a = line_bits(kind), b = line_bits(kind + 64), c = line_bits(kind + 128);

    if (likely((a | b | c) != 0)) {
        const uint32_t n = (uint32_t)_tzcnt_u64(a), m = (uint32_t)_tzcnt_u64(b);

        /* 64, when there is none, is the bit that lets the next one count */
        return n + ((m + ((uint32_t)_tzcnt_u64(c) & -(m >> 6))) & -(n >> 6));
    }
    for (uint32_t i = FEW;; i += 64) {
        const uint64_t line = line_bits(kind + i);

        if (line != 0)
            return i + (uint32_t)_tzcnt_u64(line);
    }
}

INLINE uint32_t line_length(const struct json_vectors *v, uint32_t first)
{
    return line_search(v->kind + first);
}

static void scan_chunk(struct json_vectors *v, uint32_t to);

#include "dataplane/json/json_lines.h"

/* ---- stage 1 ---- */

/* One block: what its bytes are, one bit each. */
struct block {
    __m512i bytes, class;
    uint64_t quote, op, not_plain, line;
    uint64_t special;   /* control characters, backslashes, bytes that are not ASCII */
    uint64_t in_string; /* opening quotes included, closing ones not */
    uint64_t plain;     /* of numbers and literals */
    uint64_t token;
};

/* Where stage 1 is: what goes from block to block, kept in registers by the fast loop. */
struct at {
    uint64_t in_string, in_plain, escaped;
    uint32_t n_tokens, n_dense, n_escapes, n_others;
};

/* Bits of a mask register in a general one. The compiler would else take what follows back into mask
 * registers, where it is slower. */
INLINE uint64_t bits_of(__mmask64 mask)
{
    uint64_t bits = _cvtmask64_u64(mask);

    __asm__("" : "+r"(bits));
    return bits;
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

/* A table of 16 bytes, four times. */
INLINE __m512i table_64(const uint8_t table[16])
{
    return _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)table));
}

/* Bits at the bytes where UTF-8 breaks a rule of table 3-7 of the Unicode standard; see json_utf8. */
INLINE uint64_t utf8_errors(const char *p, __m512i v, bool first)
{
    const __m512i low4 = _mm512_set1_epi8(0x0F);
    __m512i before[3], special, must;

    for (int i = 0; i < 3; i++) /* no byte in front of the buffer is read */
        before[i] = first ? _mm512_maskz_loadu_epi8(~UINT64_C(0) << (i + 1), p - i - 1)
                          : _mm512_loadu_si512(p - i - 1);
    special = _mm512_and_si512(
        _mm512_shuffle_epi8(table_64(json_utf8[0]),
                            _mm512_and_si512(_mm512_srli_epi16(before[0], 4), low4)),
        _mm512_and_si512(
            _mm512_shuffle_epi8(table_64(json_utf8[1]), _mm512_and_si512(before[0], low4)),
            _mm512_shuffle_epi8(table_64(json_utf8[2]),
                                _mm512_and_si512(_mm512_srli_epi16(v, 4), low4))));
    must = _mm512_or_si512(_mm512_subs_epu8(before[1], _mm512_set1_epi8((char)(0xE0 - 0x80))),
                           _mm512_subs_epu8(before[2], _mm512_set1_epi8((char)(0xF0 - 0x80))));
    must = _mm512_and_si512(must, _mm512_set1_epi8((char)0x80));
    return _mm512_test_epi8_mask(_mm512_xor_si512(must, special), _mm512_xor_si512(must, special));
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
                       .n_dense = t->n_dense,
                       .n_escapes = t->n_escapes,
                       .n_others = t->n_others};
}

INLINE void at_store(struct json_tape *t, const struct at *at)
{
    t->in_string = at->in_string;
    t->in_plain = at->in_plain;
    t->escaped = at->escaped;
    t->n_tokens = at->n_tokens;
    t->n_dense = at->n_dense;
    t->n_escapes = at->n_escapes;
    t->n_others = at->n_others;
}

/* Appends the tokens to the tape. */
INLINE void put_tokens(uint32_t *pos, uint8_t *kind, struct at *at, __m512i class, __m512i numbers,
                       uint32_t off, uint64_t token)
{
    const __mmask64 mask = _cvtu64_mask64(token);
    const __m512i index = _mm512_maskz_compress_epi8(mask, numbers);
    const __m512i base = _mm512_set1_epi32((int)off);
    const uint32_t count = (uint32_t)_mm_popcnt_u64(token);

    pos += at->n_tokens;
#define PUT(i)           \
    _mm512_storeu_si512( \
        pos + 16 * i,    \
        _mm512_add_epi32(base, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(index, i))))
    _mm512_storeu_si512(
        kind + at->n_tokens,
        _mm512_and_si512(_mm512_maskz_compress_epi8(mask, class), _mm512_set1_epi8(CLASS_KIND)));
    PUT(0);
    PUT(1);
    if (unlikely(count > 32)) {
        PUT(2);
        PUT(3);
    }
#undef PUT
    at->n_tokens += count;
}

/* Numbers and literals, each with the byte behind it, for the dense row. @return how many bytes. */
INLINE uint64_t dense_put(char *dense, const struct block *b, uint64_t in_plain)
{
    const uint64_t which = b->plain | b->plain << 1 | in_plain;
    const uint64_t n = (uint64_t)_mm_popcnt_u64(which);
    const __m512i row = _mm512_maskz_compress_epi8(_cvtu64_mask64(which), b->bytes);

    _mm256_storeu_si256((__m256i *)dense, _mm512_castsi512_si256(row));
    if (unlikely(n > 32))
        _mm512_storeu_si512(dense, row);
    return n;
}

/* A block of which it is known already whether it is special. */
struct ahead {
    __m512i bytes, class;
    uint64_t special;
};

INLINE struct ahead look_ahead(__m512i bytes, __m512i low, __m512i high)
{
    const __m512i class = _mm512_permutex2var_epi8(low, bytes, high);

    return (struct ahead){bytes, class,
                          bits_of(_mm512_movepi8_mask(_mm512_or_si512(class, bytes)))};
}

INLINE void block_classify(struct block *b, const struct ahead *ahead)
{
    const __m512i bytes = ahead->bytes;

    b->bytes = bytes;
    b->class = ahead->class;
    b->special = ahead->special;
    b->quote = bits_of(_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"')));
    b->line = bits_of(_mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\n')));
    b->op = bits_of(_mm512_test_epi8_mask(b->class, _mm512_set1_epi8(CLASS_OP)));
    b->not_plain = bits_of(_mm512_test_epi8_mask(b->class, _mm512_set1_epi8(CLASS_KIND)));
}

/* Where strings are, and what follows from it. */
INLINE void block_tokens(struct block *b, uint64_t in_string, uint64_t in_plain)
{
    b->in_string = prefix_xor(b->quote) ^ in_string;
    b->plain = ~(b->not_plain | b->in_string);
    b->token = (b->op & ~b->in_string) | (b->quote & b->in_string) |
               (b->plain & ~(b->plain << 1 | in_plain));
}

/*
 * Escapes and bytes that are not ASCII are listed, to be checked in loops of their own. The latter have the
 * class of other bytes, which does not matter in strings.
 * @return bits at what is wrong, or else in need of another look: control characters, and either of
 * the above outside of strings.
 */
INLINE uint64_t block_special(struct json_vectors *v, struct block *b, struct at *at, uint32_t off)
{
    const uint64_t other = bits_of(_mm512_movepi8_mask(b->bytes));
    const uint64_t backslash = bits_of(_mm512_cmpeq_epi8_mask(b->bytes, _mm512_set1_epi8('\\')));
    uint64_t escaped = escaped_bytes(backslash, &at->escaped);

    b->quote &= ~escaped;
    block_tokens(b, at->in_string, at->in_plain);
    v->other[at->n_others] = off;
    at->n_others += other != 0;
    /* mostly one, so that a loop would be foreseen wrongly now and then */
    v->escape[at->n_escapes] = off + (uint32_t)_tzcnt_u64(escaped);
    at->n_escapes += escaped != 0;
    for (escaped = _blsr_u64(escaped); unlikely(escaped != 0); escaped = _blsr_u64(escaped))
        v->escape[at->n_escapes++] = off + (uint32_t)_tzcnt_u64(escaped);
    return (b->special & ~(other | backslash)) | ((other | backslash) & ~b->in_string);
}

/* To the next block. */
INLINE void block_end(const struct block *b, struct at *at)
{
    at->in_string = (uint64_t)((int64_t)b->in_string >> 63);
    at->in_plain = b->plain >> 63;
}

INLINE __m512i numbers_64(void)
{
    return _mm512_set_epi8(63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46,
                           45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28,
                           27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10,
                           9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

/* White space other than spaces, and control characters where they may not stand. */
static COLD_PATH void block_controls(struct json_tape *t, struct block *b, const struct at *at,
                                     uint32_t off)
{
    const uint64_t tab = bits_of(_mm512_cmpeq_epi8_mask(b->bytes, _mm512_set1_epi8('\t')));
    const uint64_t ret = bits_of(_mm512_cmpeq_epi8_mask(b->bytes, _mm512_set1_epi8('\r')));
    const uint64_t control =
        bits_of(_mm512_cmplt_epu8_mask(b->bytes, _mm512_set1_epi8(' '))) & ~b->line;

    b->not_plain |= tab | ret;
    block_tokens(b, at->in_string, at->in_plain);
    if ((control & (b->in_string | ~(tab | ret))) != 0)
        tape_mark(t, off, MARK_RESCAN);
    if ((ret & ~b->in_string) != 0)
        tape_mark(t, off, MARK_RETURN);
}

/* The line of the string that a line feed cuts: its token, and a mark. Stage 1 goes on behind it, and
 * lists what stands there then: what it has listed already is taken back. */
static COLD_PATH void cut_line(struct json_vectors *v, struct at *at, struct block *b, uint32_t off)
{
    struct json_tape *t = &v->tape;
    const unsigned bit = (unsigned)_tzcnt_u64(b->line & b->in_string);

    while (at->n_escapes > t->n_escapes && v->escape[at->n_escapes - 1] > off + bit)
        at->n_escapes--;
    if ((bits_of(_mm512_movepi8_mask(b->bytes)) & first_bits(bit)) == 0)
        at->n_others = t->n_others;

    b->plain &= first_bits(bit);
    at->n_dense += (uint32_t)dense_put(v->dense + at->n_dense, b, at->in_plain);
    put_tokens(v->pos, v->kind, at, b->class, numbers_64(), off, b->token & first_bits(bit));
    v->kind[at->n_tokens] = KIND_LINE;
    v->pos[at->n_tokens++] = off + bit;
    at_store(t, at);
    tape_mark(t, off, MARK_RESCAN);
    tape_resume(t, off + bit + 1);
}

/* A block that the fast loop leaves alone: with something unusual, or at the end. */
static __attribute__((noinline)) void scan_slow(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    const uint32_t off = t->scanned, left = t->len - off;
    const uint64_t there = first_bits(left < BLOCK_BYTES ? left : BLOCK_BYTES);
    struct at at = at_load(t);
    struct ahead ahead;
    struct block b;

    ahead = look_ahead(_mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), there, t->buf + off),
                       _mm512_load_si512(json_class), _mm512_load_si512(json_class + 64));
    block_classify(&b, &ahead);
    block_tokens(&b, at.in_string, at.in_plain);
    if ((b.special | at.escaped) != 0) {
        const uint64_t other = bits_of(_mm512_movepi8_mask(b.bytes));
        uint64_t bad;

        b.op &= ~other; /* they have the class of another byte */
        b.not_plain &= ~other;
        b.class = _mm512_maskz_mov_epi8(_cvtu64_mask64(~other), b.class);
        bad = block_special(v, &b, &at, off);

        block_controls(t, &b, &at, off);
        bad &= other | bits_of(_mm512_cmpeq_epi8_mask(b.bytes, _mm512_set1_epi8('\\')));
        if (bad != 0)
            tape_mark(t, off, MARK_RESCAN);
    }
    if (unlikely((b.line & b.in_string) != 0)) {
        cut_line(v, &at, &b, off);
        return;
    }
    at.n_dense += (uint32_t)dense_put(v->dense + at.n_dense, &b, at.in_plain);
    put_tokens(v->pos, v->kind, &at, b.class, numbers_64(), off, b.token);
    block_end(&b, &at);
    at_store(t, &at);
    t->scanned = left < BLOCK_BYTES ? t->len : off + BLOCK_BYTES;
}

/*
 * The usual part of stage 1 for one block that begins at `off` (in each lane of base). Kinds are
 * taken as they stand: bytes with more than a kind in their class are no tokens here. No more is stored
 * than is mostly needed: a whole vector would cross into another cache line.
 * @return the number of tokens.
 */
INLINE uint32_t block_put(const struct block *b, __m512i numbers, __m512i base, uint32_t *pos,
                          uint8_t *kind)
{
    const __m512i index = _mm512_maskz_compress_epi8(_cvtu64_mask64(b->token), numbers);
    const __m512i kinds = _mm512_permutexvar_epi8(index, b->class);
    const __m128i first = _mm512_castsi512_si128(index);
    const uint32_t count = (uint32_t)_mm_popcnt_u64(b->token);

#define PUT_8(i, index)                                                                            \
    _mm256_storeu_si256((__m256i *)(pos + 8 * (i)), _mm256_add_epi32(_mm512_castsi512_si256(base), \
                                                                     _mm256_cvtepu8_epi32(index)))
#define PUT_16(i)        \
    _mm512_storeu_si512( \
        pos + 16 * (i),  \
        _mm512_add_epi32(base, _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(index, i))))
    _mm256_storeu_si256((__m256i *)kind, _mm512_castsi512_si256(kinds));
    PUT_8(0, first);
    PUT_8(1, _mm_srli_si128(first, 8));
    PUT_8(2, _mm512_extracti32x4_epi32(index, 1));
    if (unlikely(count > 24)) {
        _mm512_storeu_si512(kind, kinds);
        PUT_16(1);
        PUT_16(2);
        PUT_16(3);
    }
#undef PUT_8
#undef PUT_16
    return count;
}

/* Escapes and bytes that are not ASCII of the block at off. @return false when it is left alone. */
INLINE bool block_listed(struct json_vectors *v, struct block *b, uint64_t in_string,
                         uint64_t in_plain, uint32_t off)
{
    struct json_tape *t = &v->tape;
    struct at at = at_load(t);

    at.in_string = in_string;
    at.in_plain = in_plain;
    if (unlikely((block_special(v, b, &at, off) | (b->line & b->in_string)) != 0))
        return false;
    t->escaped = at.escaped;
    t->n_escapes = at.n_escapes;
    t->n_others = at.n_others;
    return true;
}

/*
 * Whole blocks, as long as nothing has to be marked in them. No calls, and few pointers: what does
 * not stay in registers goes through the vector units, which are what limits this loop. What is special
 * cannot be foreseen: it is known two blocks before the branch on it, so that little is thrown away.
 */
static __attribute__((noinline)) void scan_fast(struct json_vectors *v, uint32_t to)
{
    const __m512i low = _mm512_load_si512(json_class);
    const __m512i high = _mm512_load_si512(json_class + 64);
    const __m512i numbers = numbers_64();
    struct json_tape *t = &v->tape;
    const char *in = t->buf + t->scanned, *const end = t->buf + to;
    const char *const last = in + (to - t->scanned - 1) / BLOCK_BYTES * BLOCK_BYTES;
    __m512i base = _mm512_set1_epi32((int)t->scanned);
    uint32_t *pos = v->pos + t->n_tokens;
    uint8_t *kind = v->kind + t->n_tokens;
    char *dense = v->dense + t->n_dense;
    uint64_t in_string = t->in_string, in_plain = t->in_plain;
    struct ahead now = look_ahead(_mm512_loadu_si512(in), low, high);
    struct ahead next =
        look_ahead(_mm512_loadu_si512(in < last ? in + BLOCK_BYTES : last), low, high);

    ASSERT_HOT(t->scanned < to);
    for (; in < end; in += BLOCK_BYTES) {
        const char *at = last - in > 2 * (int)BLOCK_BYTES ? in + 2 * BLOCK_BYTES : last;
        const struct ahead far = look_ahead(_mm512_loadu_si512(at), low, high);
        struct block b;
        uint32_t count;

        _mm_prefetch(in + 2048, _MM_HINT_T0);
        block_classify(&b, &now);
        now = next;
        next = far;
        block_tokens(&b, in_string, in_plain);
        if (unlikely((b.special | t->escaped) != 0)) {
            if (!block_listed(v, &b, in_string, in_plain, (uint32_t)(in - t->buf)))
                break;
        } else if (unlikely((b.line & b.in_string) != 0)) {
            break;
        }
        dense += dense_put(dense, &b, in_plain);
        count = block_put(&b, numbers, base, pos, kind);
        pos += count;
        kind += count;
        base = _mm512_add_epi32(base, _mm512_set1_epi32(BLOCK_BYTES));
        in_string = (uint64_t)((int64_t)b.in_string >> 63);
        in_plain = b.plain >> 63;
    }
    t->in_string = in_string;
    t->in_plain = in_plain;
    t->n_tokens = (uint32_t)(pos - v->pos);
    t->n_dense = (uint32_t)(dense - v->dense);
    t->scanned = (uint32_t)(in - t->buf);
}

/* Marks the block at off, whose bytes these are, if its UTF-8 is wrong. What lies behind the buffer does not
 * matter: a sequence that runs out of it lies in a string that does. */
INLINE void check_other(struct json_tape *t, uint32_t off, __m512i bytes)
{
    const uint32_t left = t->len - off;
    const uint64_t bad = utf8_errors(t->buf + off, bytes, off - t->start < 3) &
                         first_bits(left < BLOCK_BYTES ? left : BLOCK_BYTES);

    if (unlikely(bad != 0))
        tape_mark(t, off, MARK_RESCAN);
}

/* UTF-8 of some of the blocks that have been listed, and of those that a sequence runs into. */
static void check_others(struct json_vectors *v, uint32_t first, uint32_t end)
{
    struct json_tape *t = &v->tape;

    for (uint32_t i = first; i < end; i++) {
        const uint32_t off = v->other[i], next = off + BLOCK_BYTES;
        const __m512i bytes = _mm512_loadu_si512(t->buf + off);

        check_other(t, off, bytes);
        if (unlikely(utf8_open(bytes)) && t->len - off > BLOCK_BYTES)
            check_other(t, next, _mm512_loadu_si512(t->buf + next));
    }
}

/* The bytes that are behind a number or literal. Control characters that may not be there are marked
 * all the same, and so are bytes that are not ASCII. */
INLINE uint64_t dense_ends(__m512i v)
{
    const __m512i class = _mm512_permutex2var_epi8(_mm512_load_si512(json_class), v,
                                                   _mm512_load_si512(json_class + 64));

    return bits_of(_mm512_test_epi8_mask(class, _mm512_set1_epi8(CLASS_KIND))) |
           bits_of(_mm512_cmple_epu8_mask(v, _mm512_set1_epi8(' ')));
}

/*
 * Exponents of numbers among v: `at` are the places behind mantissas, digit the digits. Notes their
 * ends in *far. @return bits at what is wrong.
 */
static __attribute__((noinline)) uint64_t dense_exponents(__m512i v, uint64_t at, uint64_t digit,
                                                          uint64_t behind, uint64_t *far)
{
#define IS(c) bits_of(_mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(c)))
    const uint64_t exponent = (IS('e') | IS('E')) & at;
    const uint64_t sign = (exponent << 1) & (IS('+') | IS('-'));
    const uint64_t first = (exponent << 1 & digit) | sign << 1;
    const uint64_t end = (first + digit) & ~digit;
#undef IS
    *far = end & behind;
    return (at & ~(behind | exponent)) | ((exponent << 1) & ~(digit | sign)) |
           ((sign << 1) & ~digit) | (end & ~behind);
}

/* Where true, false and null begin that end in front of one of the bytes behind. All at once: which
 * of them it is, and how many there are, cannot be foreseen. */
INLINE uint64_t dense_literals(__m512i v, uint64_t behind)
{
#define IS(c, i) (bits_of(_mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(c))) >> (i))
    const uint64_t e = IS('e', 3), l = IS('l', 2), u = IS('u', 1);
    const uint64_t is_true = IS('t', 0) & IS('r', 1) & u >> 1 & e & behind >> 4;
    const uint64_t is_null = IS('n', 0) & u & l & l >> 1 & behind >> 4;
    const uint64_t is_false = IS('f', 0) & IS('a', 1) & l & IS('s', 3) & e >> 1 & behind >> 5;
#undef IS
    return is_true | is_null | is_false;
}

/*
 * Whether the numbers and literals among the first bytes of v are well-formed; behind are the bytes
 * behind them, *far those of them whose number has an exponent. An addition to the first digit of a
 * run carries to the byte behind the run.
 */
INLINE bool dense_ok(__m512i v, uint64_t behind, uint64_t *far)
{
    const unsigned last = 63 - (unsigned)_lzcnt_u64(behind);
    const uint64_t valid = ~UINT64_C(0) >> (63 - last);
#define IS(c) bits_of(_mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8(c)))
    const uint64_t digit = bits_of(_mm512_cmple_epu8_mask(_mm512_sub_epi8(v, _mm512_set1_epi8('0')),
                                                          _mm512_set1_epi8(9))) &
                           valid;
    const uint64_t point = IS('.') & valid, zero = IS('0'), minus = IS('-') & valid;
    const uint64_t start = (behind << 1 | 1) & valid & ~behind;
    const uint64_t negative = minus & start;
    const uint64_t first = (start & digit) | negative << 1;
    const uint64_t whole_end = (first + digit) & ~digit;
    const uint64_t part_end = ((point << 1 & digit) + digit) & ~digit;
    const uint64_t literal = start & ~(digit | minus);
    uint64_t bad = (negative << 1) & ~digit; /* - without a digit */

    bad |= ((first & zero) << 1) & digit; /* 01 */
    bad |= point & ~whole_end & ~behind;  /* a point without a whole number before */
    bad |= (point << 1) & ~digit;         /* 1. without a digit */
    *far = 0;
    if (unlikely((((whole_end & ~point) | part_end) & ~behind) != 0))
        bad |= dense_exponents(v, (whole_end & ~point) | part_end, digit, behind, far);
#undef IS
    if (literal != 0)
        bad |= literal & ~dense_literals(v, behind);
    return bad == 0;
}

/* Checks numbers and literals of the tape one by one. */
static __attribute__((noinline)) void check_each(struct json_vectors *v, uint32_t first,
                                                 uint32_t end)
{
    struct json_tape *t = &v->tape;

    for (uint32_t i = first; i < end; i += 64) {
        const uint32_t left = end - i;
        uint64_t plain = bits_of(_mm512_cmpeq_epi8_mask(_mm512_loadu_si512(v->kind + i),
                                                        _mm512_set1_epi8(KIND_PLAIN))) &
                         first_bits(left < 64 ? left : 64);

        for (; plain != 0; plain = _blsr_u64(plain))
            v->plain[t->n_plain++] = v->pos[i + (uint32_t)_tzcnt_u64(plain)];
    }
    json_check_plain(v);
}

/* The same of all that have not been checked. */
static COLD_PATH void check_all(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    uint32_t first = t->token_checked;

    if (v->n_placed == 0) {
        check_each(v, first, t->n_tokens);
        return;
    }
    for (uint32_t i = 0; i < v->n_placed; i++) { /* each ends with a token of its own */
        uint32_t end = first;

        while (v->pos[end] < v->placed[i].to)
            end++;
        tape_enter(v, i);
        check_each(v, first, end);
        first = end + 1;
    }
    ASSERT(first == t->n_tokens);
}

/* Lists the numbers of the dense row with exponents that v->far[] tells by their order, by where they
 * are. @return false when it cannot be done: there are marks, so that the row may have parted what is
 * one token, or it has not as many numbers and literals as the tape. */
static __attribute__((noinline)) bool place_far(struct json_vectors *v, uint32_t n_row)
{
    struct json_tape *t = &v->tape;
    uint32_t seen = 0, next = 0;

    if (t->marked || (t->carried & ~MARK_FAR) != 0)
        return false;
    for (uint32_t i = t->token_checked; i < t->n_tokens; i += 64) {
        const uint32_t left = t->n_tokens - i;
        const uint64_t plain = bits_of(_mm512_cmpeq_epi8_mask(_mm512_loadu_si512(v->kind + i),
                                                              _mm512_set1_epi8(KIND_PLAIN))) &
                               first_bits(left < 64 ? left : 64);
        const uint32_t n = (uint32_t)_mm_popcnt_u64(plain);

        for (; next < t->n_far && v->far[next] - seen < n; next++) {
            const uint64_t bit = _pdep_u64(UINT64_C(1) << (v->far[next] - seen), plain);

            v->far[next] = v->pos[i + (uint32_t)_tzcnt_u64(bit)];
        }
        seen += n;
    }
    if (seen != n_row)
        return false;
    /* what began in front of the marks belongs to the line that was carried over */
    for (next = 0; next < t->n_far && v->far[next] < t->mark_base; next++)
        t->carried |= MARK_FAR;
    t->far_next = next;
    return true;
}

/* Checks the dense row, and one by one what is in the tape when something in it is not plain. What
 * goes on behind the chunk stays in the row. */
static void check_dense(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    uint32_t at = 0, n = t->n_dense, n_row = 0;
    bool ok = true;

    ASSERT_HOT(t->n_far == 0 && t->far_next == 0);
    if (t->scanned == t->len && t->in_plain != 0)
        v->dense[n++] = ' ';
    while (at < n) {
        const __m512i bytes = _mm512_loadu_si512(v->dense + at);
        const uint64_t behind = dense_ends(bytes) & first_bits(n - at < 64 ? n - at : 64);
        uint64_t far;

        if (unlikely(behind == 0)) {
            ok = ok && n - at < 64;
            break;
        }
        ok = dense_ok(bytes, behind, &far) && ok;
        for (; unlikely(far != 0); far = _blsr_u64(far))
            v->far[t->n_far++] = n_row + (uint32_t)_mm_popcnt_u64(behind & (_blsmsk_u64(far) >> 1));
        n_row += (uint32_t)_mm_popcnt_u64(behind);
        at += 64 - (uint32_t)_lzcnt_u64(behind);
    }
    if (unlikely(!ok || (t->n_far != 0 && !place_far(v, n_row + (n > at))))) {
        t->n_far = 0;
        check_all(v);
        at = n; /* also what goes on: it has been read to its end */
    }
    memmove(v->dense, v->dense + at, n - at);
    t->n_dense = n - at;
    t->token_checked = t->n_tokens - (n > at);
}

/* The bytes up to `to`. */
static void scan_blocks(struct json_vectors *v, uint32_t to)
{
    struct json_tape *t = &v->tape;
    const uint32_t whole = t->len - t->start < BLOCK_BYTES ? t->start : t->len - BLOCK_BYTES + 1;

    ASSERT(to <= t->len && t->scanned <= to);
    while (t->scanned < to) {
        if (t->scanned < whole) /* blocks begin before */
            scan_fast(v, to < whole ? to : whole);
        if (t->scanned < to)
            scan_slow(v);
    }
}

static void scan_chunk(struct json_vectors *v, uint32_t to)
{
    struct json_tape *t = &v->tape;

    scan_blocks(v, to);
    check_others(v, 0, t->n_others);
    json_check_escapes(v, 0, t->n_escapes);
    t->n_others = 0;
    t->n_escapes = 0;
    check_dense(v);
}

/* ---- several buffers ---- */

/* The block at off of a buffer, with spaces behind its last byte. */
INLINE struct ahead look_placed(const struct json_placed *b, uint32_t off, __m512i low,
                                __m512i high)
{
    const uint32_t left = b->to - off;
    const __mmask64 there = _cvtu64_mask64(first_bits(left < BLOCK_BYTES ? left : BLOCK_BYTES));

    return look_ahead(_mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), there, b->base + off), low,
                      high);
}

/* Where a buffer ends: its token; a string that is open is marked, a number is closed in the dense row.
 * @return the place behind in that row. */
INLINE char *placed_end(struct json_tape *t, const struct json_placed *b, uint32_t *pos,
                        uint8_t *kind, char *dense, uint64_t in_string, uint64_t in_plain)
{
    *pos = b->to;
    *kind = KIND_LINE;
    if (unlikely((in_string | in_plain) != 0)) {
        if (in_string != 0)
            tape_mark(t, b->to, MARK_RESCAN);
        *dense = ' ';
        dense += in_plain;
        t->escaped = 0;
    }
    return dense;
}

/*
 * As scan_fast(), from one buffer to the next: what it looks at ahead goes on with the next one. Where that
 * is, a branch tells: worked out without one, it is a chain of latencies that is longer than all else.
 * @return the buffer that it leaves alone from t->scanned on, or their number.
 */
static __attribute__((noinline)) uint32_t placed_fast(struct json_vectors *v, uint32_t first)
{
    const __m512i low = _mm512_load_si512(json_class);
    const __m512i high = _mm512_load_si512(json_class + 64);
    const __m512i numbers = numbers_64();
    const struct json_placed *b_end = v->placed + v->n_placed, *at = v->placed + first,
                             *far_at = at;
    struct json_tape *t = &v->tape;
    uint32_t *pos = v->pos + t->n_tokens;
    uint8_t *kind = v->kind + t->n_tokens;
    char *dense = v->dense + t->n_dense;
    uint64_t in_string = 0, in_plain = 0;
    uint32_t off = at->from, far_off = off;
    struct ahead now, next;

#define LOOK(into)                                      \
    do {                                                \
        into = look_placed(far_at, far_off, low, high); \
        far_off += BLOCK_BYTES;                         \
        if (far_off >= far_at->to) {                    \
            far_at++;                                   \
            far_off = far_at->from;                     \
        }                                               \
    } while (0)
    LOOK(now);
    LOOK(next);
    while (at < b_end) {
        struct ahead far;
        struct block b;
        uint32_t count;

        LOOK(far);
        block_classify(&b, &now);
        now = next;
        next = far;
        block_tokens(&b, in_string, in_plain);
        if (unlikely((b.special | t->escaped) != 0)) {
            if (!block_listed(v, &b, in_string, in_plain, off))
                break;
        } else if (unlikely((b.line & b.in_string) != 0)) {
            break;
        }
        dense += dense_put(dense, &b, in_plain);
        count = block_put(&b, numbers, _mm512_set1_epi32((int)off), pos, kind);
        pos += count;
        kind += count;
        in_string = (uint64_t)((int64_t)b.in_string >> 63);
        in_plain = b.plain >> 63;
        off += BLOCK_BYTES;
        if (off >= at->to) {
            dense = placed_end(t, at, pos++, kind++, dense, in_string, in_plain);
            in_string = 0;
            in_plain = 0;
            at++;
            off = at->from;
        }
    }
#undef LOOK
    t->in_string = in_string;
    t->in_plain = in_plain;
    t->n_tokens = (uint32_t)(pos - v->pos);
    t->n_dense = (uint32_t)(dense - v->dense);
    t->scanned = off;
    return (uint32_t)(at - v->placed);
}

/* The rest of a buffer, as that of any. */
static void placed_rest(struct json_vectors *v, uint32_t i)
{
    struct json_tape *t = &v->tape;

    tape_enter(v, i);
    scan_blocks(v, t->len);
    if (t->in_plain != 0)
        v->dense[t->n_dense++] = ' ';
    tape_end(v);
    tape_resume(t, t->len);
}

/* Checks what has been listed, buffer by buffer. */
static __attribute__((noinline)) void check_listed(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    uint32_t escape = 0, other = 0;

    for (uint32_t i = 0; escape < t->n_escapes || other < t->n_others; i++) {
        const uint32_t to = v->placed[i].to, first_escape = escape, first_other = other;

        while (escape < t->n_escapes && v->escape[escape] <= to)
            escape++;
        while (other < t->n_others && v->other[other] < to)
            other++;
        tape_enter(v, i);
        json_check_escapes(v, first_escape, escape);
        check_others(v, first_other, other);
    }
    t->n_escapes = 0;
    t->n_others = 0;
}

static void scan_buffers(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;

    for (uint32_t i = 0; (i = placed_fast(v, i)) < v->n_placed; i++)
        placed_rest(v, i);
    if (t->n_escapes + t->n_others != 0)
        check_listed(v);
    check_dense(v);
}

/* ---- the variant ---- */

INLINE uint32_t lines_drop(uint32_t *pos, uint8_t *kind, uint32_t from, uint32_t n)
{
    uint32_t to = from;

    for (; from < n; from += 64) {
        const uint64_t keep = ~line_bits(kind + from) & first_bits(n - from < 64 ? n - from : 64);
        const __m512i kinds = _mm512_loadu_si512(kind + from);
        __m512i p[4];

        for (unsigned i = 0; i < 4; i++) /* all of them before any is written over */
            p[i] = _mm512_loadu_si512(pos + from + 16 * i);
        _mm512_storeu_si512(kind + to, _mm512_maskz_compress_epi8(_cvtu64_mask64(keep), kinds));
        for (unsigned i = 0; i < 4; i++) {
            const __mmask16 mask = (__mmask16)(keep >> 16 * i);

            _mm512_storeu_si512(pos + to, _mm512_maskz_compress_epi32(mask, p[i]));
            to += (uint32_t)_mm_popcnt_u32(mask);
        }
    }
    return to;
}

#include "dataplane/json/json_documents.h"
#include "dataplane/json/json_buffers.h"

const struct json_variant json_avx512 = {
    .lines = lines_next,
    .elements = elements_next,
    .single = single_next,
    .document = document_scan,
    .buffers = buffers_next,
};

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
