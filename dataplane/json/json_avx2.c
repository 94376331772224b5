/*
 * HOT. The AVX2 variant: stage 1 in steps of 64 bytes, two vectors of 32, see json_tape.h.
 *
 * A chunk is gone through in short loops, each of which keeps what it needs in registers:
 *   masks_put()     bytes to masks: structural characters by pshufb as a table by low nibbles, strings by
 *                   one carry-less multiplication; leaves where the tokens of each block are
 *   put_blocks()    masks to positions and first bytes: in place of vpcompressb, tables of the bits in a
 *                   byte put the tokens of 16 bytes in a row
 *   put_kinds()     first bytes to kinds, in the dense row; lists numbers and literals
 *   check_numbers() four of them at once, by additions that carry through runs of digits; what is not as
 *                   usual stays in the list, to be checked one by one
 * None of them branches on what cannot be foreseen.
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

#define FEW \
    192u /* tokens that are handled without a branch on how many there are; few lines have more */

/* Which of the 32 tokens from `from` on are among the first n, which are FEW at most. */
INLINE __m256i among(uint32_t from, uint32_t n)
{
#define I4(i)  (i) - 128, (i)-127, (i)-126, (i)-125
#define I16(i) I4(i), I4((i) + 4), I4((i) + 8), I4((i) + 12)
#define I64(i) I16(i), I16((i) + 16), I16((i) + 32), I16((i) + 48)
    static const int8_t index[FEW] __attribute__((aligned(32))) = {I64(0), I64(64), I64(128)};
#undef I4
#undef I16
#undef I64
    const __m256i i = _mm256_load_si256((const __m256i *)(index + from));

    return _mm256_cmpgt_epi8(_mm256_set1_epi8((char)(n - 128)), i);
}

INLINE uint64_t kinds_hash(const uint8_t *kind, uint32_t n)
{
    __m128i h0 = _mm_set1_epi32((int)(0x9E3779B9u + n)), h1 = h0, h2 = h0, h3 = h0;

#define LOAD(from) _mm_loadu_si128((const __m128i *)(kind + (from)))
#define PAIR(from) _mm256_loadu_si256((const __m256i *)(kind + (from)))
#define UPPER(v)   _mm256_extracti128_si256(v, 1)
    for (; unlikely(n > FEW); n -= 64, kind += 64) {
        h0 = _mm_aesenc_si128(h0, LOAD(0));
        h1 = _mm_aesenc_si128(h1, LOAD(16));
        h2 = _mm_aesenc_si128(h2, LOAD(32));
        h3 = _mm_aesenc_si128(h3, LOAD(48));
    }
    for (uint32_t from = 0; from < FEW; from += 64) {
        const __m256i a = _mm256_and_si256(PAIR(from), among(from, n));
        const __m256i b = _mm256_and_si256(PAIR(from + 32), among(from + 32, n));

        h0 = _mm_aesenc_si128(h0, _mm256_castsi256_si128(a));
        h1 = _mm_aesenc_si128(h1, UPPER(a));
        h2 = _mm_aesenc_si128(h2, _mm256_castsi256_si128(b));
        h3 = _mm_aesenc_si128(h3, UPPER(b));
    }
#undef LOAD
#undef PAIR
#undef UPPER
    h0 = _mm_aesenc_si128(h0, h1);
    h2 = _mm_aesenc_si128(h2, h3);
    h0 = _mm_aesenc_si128(_mm_aesenc_si128(h0, h2), h2);
    return (uint64_t)_mm_cvtsi128_si64(h0);
}

/* Bits at which 32 tokens differ from a shape's. */
INLINE __m256i kinds_differ(const uint8_t *kind, const uint8_t *shape)
{
    return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)kind),
                            _mm256_load_si256((const __m256i *)shape));
}

INLINE bool kinds_equal(const uint8_t *kind, const uint8_t *shape, uint32_t n)
{
    __m256i differ = _mm256_setzero_si256();

    for (; unlikely(n > FEW); n -= 32, kind += 32, shape += 32)
        differ = _mm256_or_si256(differ, kinds_differ(kind, shape));
    for (uint32_t from = 0; from < FEW; from += 32)
        differ = _mm256_or_si256(
            differ, _mm256_and_si256(kinds_differ(kind + from, shape + from), among(from, n)));
    return _mm256_testz_si256(differ, differ) != 0;
}

/* kind ends with a KIND_LINE. */
INLINE uint32_t line_search(const uint8_t *kind)
{
    for (uint32_t i = 0;; i += 64) {
        const uint64_t line = pair_equal(pair_load(kind + i), KIND_LINE);

        if (line != 0)
            return i + (uint32_t)_tzcnt_u64(line);
    }
}

INLINE uint32_t line_length(struct json_vectors *v, uint32_t first)
{
    struct json_tape *t = &v->tape;

    if (unlikely(!t->listed))
        return line_search(v->kind + first);
    if (likely(t->line_next < t->n_lines))
        return t->line_first + v->line[t->line_next++] - first;
    return t->n_tokens - t->ended - first;
}

static void scan_chunk(struct json_vectors *v, uint32_t to);

#include "dataplane/json/json_lines.h"

/* ---- stage 1 ---- */

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

/* A table of 16 bytes in both halves. */
INLINE __m256i table_32(const uint8_t table[16])
{
    return _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)table));
}

/* Whether 32 bytes, and those in front, break a rule of table 3-7 of the Unicode standard; see
 * json_utf8. */
INLINE bool utf8_bad(const char *p, __m256i v)
{
    const __m256i low4 = _mm256_set1_epi8(0x0F);
    __m256i before[3], special, must;

    for (int i = 0; i < 3; i++)
        before[i] = _mm256_loadu_si256((const __m256i *)(p - i - 1));
    special = _mm256_and_si256(
        _mm256_shuffle_epi8(table_32(json_utf8[0]),
                            _mm256_and_si256(_mm256_srli_epi16(before[0], 4), low4)),
        _mm256_and_si256(
            _mm256_shuffle_epi8(table_32(json_utf8[1]), _mm256_and_si256(before[0], low4)),
            _mm256_shuffle_epi8(table_32(json_utf8[2]),
                                _mm256_and_si256(_mm256_srli_epi16(v, 4), low4))));
    must = _mm256_or_si256(_mm256_subs_epu8(before[1], _mm256_set1_epi8((char)(0xE0 - 0x80))),
                           _mm256_subs_epu8(before[2], _mm256_set1_epi8((char)(0xF0 - 0x80))));
    must = _mm256_and_si256(must, _mm256_set1_epi8((char)0x80));
    must = _mm256_xor_si256(must, special);
    return _mm256_testz_si256(must, must) == 0;
}

/* A sequence that the end of 64 bytes cuts off. */
INLINE bool utf8_open(const char *p)
{
    const uint8_t *last = (const uint8_t *)p + BLOCK_BYTES - 1;

    return last[0] >= 0xC0 || last[-1] >= 0xE0 || last[-2] >= 0xF0;
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
#define COUNT(m)   (uint8_t) __builtin_popcount(m)
#define COUNT4(m)  COUNT(m), COUNT((m) + 1), COUNT((m) + 2), COUNT((m) + 3)
#define COUNT16(m) COUNT4(m), COUNT4((m) + 4), COUNT4((m) + 8), COUNT4((m) + 12)
#define COUNT64(m) COUNT16(m), COUNT16((m) + 16), COUNT16((m) + 32), COUNT16((m) + 48)
static const uint8_t bits_count[256]
    __attribute__((aligned(64))) = {COUNT64(0u), COUNT64(64u), COUNT64(128u), COUNT64(192u)};
#undef COUNT
#undef COUNT4
#undef COUNT16
#undef COUNT64
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
static __attribute__((noinline)) void put_close(uint32_t *pos, uint8_t *kind, const char *bytes,
                                                uint32_t off, uint64_t token)
{
    for (; token != 0; token = _blsr_u64(token)) {
        const uint32_t bit = (uint32_t)_tzcnt_u64(token);

        *pos++ = off + bit;
        *kind++ = (uint8_t)bytes[bit];
    }
}

/*
 * The tokens of 16 bytes, 8 at most: positions, and the bytes in place of kinds. mask points to their two
 * bytes of bits.
 * @return how many there are.
 */
INLINE size_t put_16(uint32_t *pos, uint8_t *kind, const char *bytes, __m256i off,
                     const uint8_t *mask)
{
    const size_t low = mask[0], high = mask[1];
    const size_t n_low = bits_count[low];
    __m128i row = _mm_loadl_epi64((const __m128i *)&bits_row[0][low]);

    row = _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(row), (const double *)&bits_row[1][high]));
    row = _mm_shuffle_epi8(row, _mm_loadu_si128((const __m128i *)join_row[n_low]));
    _mm_storel_epi64((__m128i *)kind,
                     _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)bytes), row));
    _mm256_storeu_si256((__m256i *)pos, _mm256_add_epi32(off, _mm256_cvtepu8_epi32(row)));
    return n_low + bits_count[high];
}

/* The tokens of some blocks, the first of which begins at off and is at bytes. */
static __attribute__((noinline)) void put_blocks(struct json_vectors *v, const char *bytes,
                                                 uint32_t off, uint32_t n_blocks)
{
    const uint64_t *token = v->block_tokens, *end = token + n_blocks;
    uint32_t *const pos = v->pos;
    uint8_t *const kind = v->kind;
    const __m256i step = _mm256_set1_epi32(16);
    __m256i base = _mm256_set1_epi32((int)off);
    size_t n = v->tape.n_tokens;

    ASSERT_HOT(n_blocks <= ARRAY_LEN(v->block_tokens));
    for (; token < end; token++, bytes += BLOCK_BYTES) {
        const size_t first = n;
        size_t most = 0;

        for (unsigned i = 0; i < 4; i++) {
            const size_t more =
                put_16(pos + n, kind + n, bytes + 16 * i, base, (const uint8_t *)token + 2 * i);

            n += more;
            most |= more;
            base = _mm256_add_epi32(base, step);
        }
        if (unlikely(most > 8)) /* or there are 8 and some, to no harm */
            put_close(pos + first, kind + first, bytes,
                      off + (uint32_t)(token - v->block_tokens) * BLOCK_BYTES, *token);
    }
    v->tape.n_tokens = (uint32_t)n;
}

/* What block_special() finds out. */
struct special {
    uint64_t token;
    uint64_t in_string, in_plain; /* for the next block */
    uint32_t cut;                 /* where a line feed in a string is, or BLOCK_BYTES */
};

/*
 * A block with something unusual: escapes and bytes that are not ASCII are listed, what may be wrong is
 * marked. Of a line that is cut only what stands in front of the cut is listed. s tells how the block
 * begins.
 */
static __attribute__((noinline)) void block_special(struct json_vectors *v, struct special *s,
                                                    const char *bytes, uint64_t quote, uint64_t op,
                                                    uint32_t off)
{
    struct json_tape *t = &v->tape;
    const struct pair p = pair_load(bytes);
    const __m256i last = _mm256_set1_epi8(0x1F);
    const uint64_t ret = pair_equal(p, '\r'), tab = pair_equal(p, '\t');
    const uint64_t backslash = pair_equal(p, '\\'), other = pair_bits(p.low, p.high);
    const uint64_t line = pair_equal(p, '\n'), space = pair_equal(p, ' ') | tab | ret;
    const uint64_t control = pair_bits(_mm256_cmpeq_epi8(_mm256_min_epu8(p.low, last), p.low),
                                       _mm256_cmpeq_epi8(_mm256_min_epu8(p.high, last), p.high)) &
                             ~line;
    uint64_t escaped = escaped_bytes(backslash, &t->escaped), in_string, cut, within, plain;

    quote &= ~escaped;
    in_string = prefix_xor(quote) ^ s->in_string;
    cut = line & in_string;
    within = cut == 0 ? ~UINT64_C(0) : _blsi_u64(cut) - 1;
    if ((((other | backslash) & ~in_string) | (control & (in_string | ~(tab | ret)))) != 0 ||
        cut != 0)
        tape_mark(t, off, MARK_RESCAN);
    if ((ret & ~in_string) != 0)
        tape_mark(t, off, MARK_RETURN);
    if ((other & within) != 0)
        v->other[t->n_others++] = off;
    for (escaped &= within; escaped != 0; escaped = _blsr_u64(escaped))
        v->escape[t->n_escapes++] = off + (uint32_t)_tzcnt_u64(escaped);
    plain = ~(op | space | quote | in_string);
    s->token =
        ((op & ~in_string) | (quote & in_string) | (plain & ~(plain << 1 | s->in_plain))) & within;
    s->in_string = (uint64_t)((int64_t)in_string >> 63);
    s->in_plain = plain >> 63;
    s->cut = (uint32_t)_tzcnt_u64(cut);
}

/* Lists a block in which all that is unusual is bytes that are not ASCII in strings, which `odd` are. */
INLINE bool only_listed(struct json_vectors *v, struct pair p, uint64_t odd, uint64_t in_string,
                        uint32_t off)
{
    struct json_tape *t = &v->tape;
    const uint64_t other = pair_bits(p.low, p.high);

    if (((odd & ~other) | (other & ~in_string) | t->escaped) != 0)
        return false;
    v->other[t->n_others++] = off;
    return true;
}

/* A constant that is made once: the compiler would else make it anew for each block. */
INLINE __m256i once(__m256i v)
{
    __asm__("" : "+x"(v));
    return v;
}

/*
 * The masks of the blocks from in to end, or up to one that is cut. s tells how the first begins, and
 * then how the one behind the last does.
 *
 * Structural characters and line feeds are bytes that are, with bits 4 and 5 set, equal to an entry by
 * their low nibble. That goes for other bytes, too ('*', '<', k, m, control characters): put_kinds()
 * makes what is no kind of these, or a literal that is wrong.
 * @return the number of blocks.
 */
INLINE uint32_t masks_put(struct json_vectors *v, const char *in, const char *end, uint32_t off,
                          struct special *s)
{
#define R32(c) once(_mm256_set1_epi8(c))
    const __m256i quotes = R32('"'), bits = R32(0x30), spaces = R32(' '), backslashes = R32('\\');
    const __m256i ops = once(_mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x3A, 0x7B, 0x3C, 0x7D, 0, 0)));
#undef R32
    uint64_t in_string = s->in_string, in_plain = s->in_plain, *token = v->block_tokens;

    s->cut = BLOCK_BYTES;
    for (; in < end; in += BLOCK_BYTES, off += BLOCK_BYTES) {
        const struct pair p = pair_load(in);
#define EACH(f)  pair_bits(f(p.low), f(p.high))
#define QUOTE(v) _mm256_cmpeq_epi8(v, quotes)
#define OP(v)    _mm256_cmpeq_epi8(_mm256_or_si256(v, bits), _mm256_shuffle_epi8(ops, v))
#define SPACE(v) _mm256_cmpeq_epi8(v, spaces)
#define ODD(v)   /* signed: what is not ASCII is less than any */ \
    _mm256_or_si256(_mm256_cmpgt_epi8(spaces, v), _mm256_cmpeq_epi8(v, backslashes))
        const uint64_t quote = EACH(QUOTE), op = EACH(OP), space = EACH(SPACE), odd = EACH(ODD);
#undef EACH
#undef QUOTE
#undef OP
#undef SPACE
#undef ODD
        const uint64_t inside = prefix_xor(quote) ^ in_string, outer = op & ~inside;
        uint64_t plain;

        _mm_prefetch(in + 2048, _MM_HINT_T0);
        if (unlikely(((odd & ~outer) | v->tape.escaped) != 0) &&
            !only_listed(v, p, odd & ~outer, inside, off)) {
            s->in_string = in_string;
            s->in_plain = in_plain;
            block_special(v, s, in, quote, op, off);
            in_string = s->in_string;
            in_plain = s->in_plain;
            *token++ = s->token;
            if (unlikely(s->cut < BLOCK_BYTES))
                break;
            continue;
        }
        plain = ~(op | space | quote | inside);
        *token++ = outer | (quote & inside) | (plain & ~(plain << 1 | in_plain));
        in_string = (uint64_t)((int64_t)inside >> 63);
        in_plain = plain >> 63;
    }
    s->in_string = in_string;
    s->in_plain = in_plain;
    return (uint32_t)(token - v->block_tokens);
}

/* Blocks that are at bytes and belong to off up to `to`; or less, when a line feed in a string cuts a
 * line: stage 1 begins again behind it. */
static __attribute__((noinline)) void scan_blocks(struct json_vectors *v, const char *bytes,
                                                  uint32_t off, uint32_t to)
{
    struct json_tape *t = &v->tape;
    struct special s = {.in_string = t->in_string, .in_plain = t->in_plain};
    const uint32_t n = masks_put(v, bytes, bytes + (to - off), off, &s);

    put_blocks(v, bytes, off, n);
    t->in_string = s.in_string;
    t->in_plain = s.in_plain;
    t->scanned = off + n * BLOCK_BYTES;
    if (unlikely(s.cut < BLOCK_BYTES)) {
        const uint32_t line = t->scanned - BLOCK_BYTES + s.cut;

        v->kind[t->n_tokens] = '\n';
        v->pos[t->n_tokens++] = line;
        tape_resume(t, line + 1);
    }
}

/* What is left at the end, filled up with spaces. */
static void scan_rest(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    const uint32_t off = t->scanned;
    char bytes[BLOCK_BYTES];

    ASSERT_HOT(t->len - off < BLOCK_BYTES);
    memset(bytes, ' ', sizeof(bytes));
    memcpy(bytes, t->buf + off, t->len - off);
    scan_blocks(v, bytes, off, off + BLOCK_BYTES);
    if (t->scanned > t->len)
        t->scanned = t->len;
}

/* ---- kinds ---- */

/*
 * By both nibbles: what the lower one stands for, less what the upper one does. Of bytes that are no
 * token's first one in any valid document some come out as a number or literal, which is checked, and
 * the others as no kind at all.
 */
INLINE __m256i kinds_of(__m256i lower, __m256i upper, __m256i bytes)
{
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(0x0F));

    return _mm256_subs_epu8(_mm256_shuffle_epi8(lower, bytes), _mm256_shuffle_epi8(upper, high));
}

/* Appends the positions of those of 64 tokens that bits are at. @return how many. */
INLINE uint32_t list_bits(uint32_t *list, const uint32_t *pos, uint64_t bits)
{
    const uint32_t n = (uint32_t)_mm_popcnt_u64(bits);

    for (unsigned i = 0; i < 8; i++, bits >>= 8) {
        const __m256i row =
            _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)&bits_row[0][bits & 0xFF]));

        _mm256_storeu_si256(
            (__m256i *)list,
            _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)pos + i), row));
        list += bits_count[bits & 0xFF];
    }
    return n;
}

/* Makes kinds of the first bytes of tokens, from first on. Lists numbers and literals, and lines. */
static __attribute__((noinline)) void put_kinds(struct json_vectors *v, uint32_t first)
{
#define R2(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))
    const __m256i lower = R2(0, 0, 21, 0, 0, 0, 0, 0, 0, 0, 53, 10, 32, 11, 0, 0);
    const __m256i upper = R2(39, -1, 20, 40, -1, 0, -1, 2, -1, -1, -1, -1, -1, -1, -1, -1);
#undef R2
    struct json_tape *t = &v->tape;
    const uint32_t end = t->n_tokens;
    uint32_t n_plain = 0, n_lines = 0;

    for (uint32_t i = first; i < end; i += 64) {
        const uint64_t there = _bzhi_u64(~UINT64_C(0), end - i < 64 ? end - i : 64);
        struct pair p = pair_load(v->kind + i);
        uint64_t line;

        p.low = kinds_of(lower, upper, p.low);
        p.high = kinds_of(lower, upper, p.high);
        _mm256_storeu_si256((__m256i *)(v->kind + i), p.low);
        _mm256_storeu_si256((__m256i *)(v->kind + i) + 1, p.high);
        n_plain += list_bits(v->plain + n_plain, v->pos + i, pair_equal(p, KIND_PLAIN) & there);
        line = pair_equal(p, KIND_LINE) & there;
        v->line[n_lines] = (uint16_t)(i - first + (uint32_t)_tzcnt_u64(line));
        n_lines += line != 0;
        for (line = _blsr_u64(line); line != 0; line = _blsr_u64(line))
            v->line[n_lines++] = (uint16_t)(i - first + (uint32_t)_tzcnt_u64(line));
    }
    t->n_plain = n_plain;
    t->n_lines = n_lines;
    t->line_next = 0;
    t->line_first = first;
    t->listed = true;
}

/* ---- numbers and literals ---- */

/* Bits of the first bytes of four times 16. */
#define FIRSTS UINT64_C(0x0001000100010001)

/* The bytes of four numbers, and which of them are not as usual: nothing but an integer or a fraction of
 * less than 15 bytes, a byte behind it which says that it ends there. At least one bit of their 16. */
INLINE uint64_t numbers_unusual(const char *a, const char *b, const char *c, const char *d)
{
#define LOAD(x, y)                                                                         \
    _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(x))), \
                            _mm_loadu_si128((const __m128i *)(y)), 1)
    const struct pair p = {.low = LOAD(a, b), .high = LOAD(c, d)};
#undef LOAD
    const __m256i move = _mm256_set1_epi8(0x7F - '9'), below = _mm256_set1_epi8(0x7F - 10);
    const __m256i bit5 = _mm256_set1_epi8(0x20);
    /* A comma, a closing bracket or a space; two control characters also, which are marked. */
    const __m256i ends = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(' ', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ',', '}', 0, 0));
#define EACH(f)  pair_bits(f(p.low), f(p.high))
#define DIGIT(v) _mm256_cmpgt_epi8(_mm256_add_epi8(v, move), below)
#define END(v)   _mm256_cmpeq_epi8(_mm256_or_si256(v, bit5), _mm256_shuffle_epi8(ends, v))
    const uint64_t digit = EACH(DIGIT) & ~(FIRSTS << 15), end = EACH(END);
#undef EACH
#undef DIGIT
#undef END
    const uint64_t point = pair_equal(p, '.') & ~(FIRSTS << 15);
    const uint64_t minus = pair_equal(p, '-') & FIRSTS;
    const uint64_t first = FIRSTS + minus; /* digits: the first bytes, or those behind */
    const uint64_t zero = pair_equal(p, '0') & first;
    /* An addition to the first of a run of digits carries to the byte behind it. */
    const uint64_t whole_end = (digit + first) & ~digit;
    const uint64_t pointed = whole_end & point, all = digit | pointed;
    const uint64_t all_end = (all + first) & ~all;

    return (first & ~digit) | (all_end & ~end) | (pointed << 1 & all_end) | (zero << 1 & digit);
}

/* Takes the usual numbers off the list. */
static __attribute__((noinline)) void check_numbers(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    const char *buf = t->buf;
    uint32_t n = t->n_plain, kept = 0, i = 0;

    while (n > 0 && t->len - v->plain[n - 1] < 16) /* it ends the buffer, perhaps */
        n--;
    for (; i + 4 <= n; i += 4) {
        const uint32_t a = v->plain[i], b = v->plain[i + 1], c = v->plain[i + 2],
                       d = v->plain[i + 3];
        const uint64_t unusual = numbers_unusual(buf + a, buf + b, buf + c, buf + d);

        v->plain[kept] = a;
        kept += (unusual & 0xFFFF) != 0;
        v->plain[kept] = b;
        kept += (unusual & UINT64_C(0xFFFF) << 16) != 0;
        v->plain[kept] = c;
        kept += (unusual & UINT64_C(0xFFFF) << 32) != 0;
        v->plain[kept] = d;
        kept += (unusual & UINT64_C(0xFFFF) << 48) != 0;
    }
    memmove(v->plain + kept, v->plain + i, (t->n_plain - i) * sizeof(*v->plain));
    t->n_plain -= i - kept;
}

/* Whether a block and the 3 bytes in front of it break a rule. No byte in front of the buffer is read, and
 * those behind it do not matter. */
static bool block_utf8_bad(const struct json_tape *t, uint32_t off)
{
    const uint32_t before = off - t->start < 3 ? off - t->start : 3, left = t->len - off;
    char copy[32 + BLOCK_BYTES] = "";
    const char *p = t->buf + off;

    if (before < 3 || left < BLOCK_BYTES)
        p = (char *)memcpy(copy + 32 - before, p - before,
                           before + (left < BLOCK_BYTES ? left : BLOCK_BYTES)) +
            before;
    return utf8_bad(p, _mm256_loadu_si256((const __m256i *)p)) ||
           utf8_bad(p + 32, _mm256_loadu_si256((const __m256i *)(p + 32)));
}

/* UTF-8 of the blocks that have been listed, and of those that a sequence runs into. */
static void check_others(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;

    for (uint32_t i = 0; i < t->n_others; i++) {
        const uint32_t off = v->other[i];

        if (unlikely(block_utf8_bad(t, off)))
            tape_mark(t, off, MARK_RESCAN);
        if (unlikely(utf8_open(t->buf + off)) && t->len - off > BLOCK_BYTES &&
            block_utf8_bad(t, off + BLOCK_BYTES))
            tape_mark(t, off + BLOCK_BYTES, MARK_RESCAN);
    }
    t->n_others = 0;
}

static void scan_chunk(struct json_vectors *v, uint32_t to)
{
    struct json_tape *t = &v->tape;
    const uint32_t whole =
        t->len < BLOCK_BYTES ? 0 : t->len - BLOCK_BYTES + 1; /* blocks begin before */
    const uint32_t first = t->n_tokens;

    ASSERT(to <= t->len && t->scanned <= to);
    while (t->scanned < to) {
        if (t->scanned < whole)
            scan_blocks(v, t->buf + t->scanned, t->scanned, to < whole ? to : whole);
        else
            scan_rest(v);
    }
    put_kinds(v, first);
    check_others(v);
    json_check_escapes(v, 0, t->n_escapes);
    t->n_escapes = 0;
    check_numbers(v);
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

static void scan_buffers(struct json_vectors *v)
{
    for (uint32_t i = 0; i < v->n_placed; i++) {
        tape_enter(v, i);
        tape_resume(&v->tape, v->tape.start);
        if (v->tape.start < v->tape.len)
            scan_chunk(v, v->tape.len);
        tape_end(v);
    }
    v->tape.listed = false; /* but for those of the last one */
}

#include "dataplane/json/json_buffers.h"

const struct json_variant json_avx2 = {
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
