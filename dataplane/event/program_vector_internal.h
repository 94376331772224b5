/*
 * HOT. Numbers and times by AVX-512, for the steps of plans: no branch depends on what they look like,
 * because with events of many producers it could not be foreseen.
 */
#ifndef PENSTOCK_EVENT_PROGRAM_VECTOR_INTERNAL_H
#define PENSTOCK_EVENT_PROGRAM_VECTOR_INTERNAL_H

#include "dataplane/event/program_plan_internal.h"
#include "dataplane/event/program_put_internal.h"
#include "dataplane/event/timeval_internal.h"

#define NUMBER_CHARS_MAX 16
#define LANE(b)          ((int64_t)EVERY_BYTE(b))

/* The numbers of an event: for integers int64, for the others doubles. */
struct plan_numbers {
    alignas(64) uint64_t value[PROGRAM_NUMBERS];
    uint64_t bad; /* a bit for each that is to be read in another way */
};

/* Four numbers, each in 16 bytes: digits by their values, right-aligned, zeros in front. */
struct four_numbers {
    __m512i digits;
    uint64_t points;    /* of each 16 bits: where its point was */
    uint64_t negatives; /* where its sign was */
    uint64_t others;    /* where something else was */
};

/* The lowest bit of each 16 that are not 0 (the highest one of them is not looked at). */
ALWAYS_INLINE uint64_t any_of_sixteen(uint64_t bits)
{
    const uint64_t low = UINT64_C(0x7FFF7FFF7FFF7FFF);

    return ((bits & low) + low) >> 15 & UINT64_C(0x0001000100010001);
}

/*
 * text: each from its first byte on; lens: 16 bytes of each are its length less 16. In a number the
 * point is neither first nor last, and the sign is first.
 */
ALWAYS_INLINE struct four_numbers digits_of_four(__m512i text, __m512i lens)
{
    const __m512i iota = _mm512_set4_epi32(0x0F0E0D0C, 0x0B0A0908, 0x07060504, 0x03020100);
    struct four_numbers f;
    uint64_t moved;
    __m512i d;

    /* Right-aligned: byte i comes from i + length - 16; where that is negative vpshufb gives 0. */
    d = _mm512_shuffle_epi8(_mm512_sub_epi8(text, _mm512_set1_epi8('0')),
                            _mm512_add_epi8(iota, lens));
    f.points = _mm512_cmpeq_epi8_mask(d, _mm512_set1_epi8((char)('.' - '0'))) &
               UINT64_C(0x7FFF7FFF7FFF7FFF);
    f.negatives = _mm512_cmpeq_epi8_mask(d, _mm512_set1_epi8((char)('-' - '0')));
    f.others = _mm512_cmpgt_epu8_mask(d, _mm512_set1_epi8(9)) & ~(f.points | f.negatives);
    d = _mm512_maskz_mov_epi8(~f.negatives, d);
    /* Digits in front of a point go one up, over it. */
    moved = (f.points << 1) - any_of_sixteen(f.points);
    f.digits = _mm512_mask_blend_epi8(moved, d, _mm512_bslli_epi128(d, 1));
    return f;
}

/* Whether each of eight numbers has one of the bits: a is about the even ones, b about the others. */
ALWAYS_INLINE uint8_t eight_have(uint64_t a, uint64_t b)
{
    return (uint8_t)(_pext_u64(any_of_sixteen(a) | any_of_sixteen(b) << 1,
                               UINT64_C(0x0003000300030003)));
}

/* Ten to the power of the digits behind a point, by a number that is different for each place of the
 * point; 1 for no point. */
ALWAYS_INLINE __m512d powers_of_points(uint64_t a, uint64_t b)
{
    static const double power[16] = {
        /* by the upper four bits of the point's bit times 0x09AF */
        [0] = 1,    [1] = 1e14, [2] = 1e13, [4] = 1e12, [9] = 1e11, [3] = 1e10,
        [6] = 1e9,  [13] = 1e8, [10] = 1e7, [5] = 1e6,  [11] = 1e5, [7] = 1e4,
        [15] = 1e3, [14] = 1e2, [12] = 1e1, [8] = 1};
    const __m128i bits =
        _mm_unpacklo_epi16(_mm_cvtsi64_si128((int64_t)a), _mm_cvtsi64_si128((int64_t)b));
    const __m128i index = _mm_srli_epi16(_mm_mullo_epi16(bits, _mm_set1_epi16(0x09AF)), 12);

    return _mm512_permutex2var_pd(_mm512_loadu_pd(power), _mm512_cvtepu16_epi64(index),
                                  _mm512_loadu_pd(power + 8));
}

/* Token t and the one behind it. */
ALWAYS_INLINE __m128i two_tokens(const uint32_t *token, const uint16_t *t)
{
    return _mm_castps_si128(
        _mm_loadh_pi(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(const void *)&token[t[0]])),
                     (const __m64 *)(const void *)&token[t[1]]));
}

/* The lengths of eight values, white space behind them included. */
ALWAYS_INLINE __m256i eight_lengths(const uint32_t *token, const uint16_t *t)
{
    const __m256 low =
        _mm256_castsi256_ps(_mm256_set_m128i(two_tokens(token, t + 4), two_tokens(token, t)));
    const __m256 high =
        _mm256_castsi256_ps(_mm256_set_m128i(two_tokens(token, t + 6), two_tokens(token, t + 2)));

    return _mm256_sub_epi32(_mm256_castps_si256(_mm256_shuffle_ps(low, high, 0xDD)),
                            _mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88)));
}

ALWAYS_INLINE __m512i four_texts(const char *origin, const uint32_t *token, const uint16_t *t)
{
#define TEXT(i) _mm_loadu_si128((const __m128i *)(const void *)(origin + token[t[i]]))
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(TEXT(2), TEXT(0))),
                              _mm256_set_m128i(TEXT(6), TEXT(4)), 1);
#undef TEXT
}

/*
 * Reads the numbers of a plan, eight at a time: those of up to 16 characters, without an exponent.
 * Their digits are below 2^53 when there is a point, and exact integers when there is none, so that
 * one rounding, by division or by conversion, is the right one.
 */
ALWAYS_INLINE void numbers_read(const struct program_plan *plan, const char *origin,
                                const uint32_t *token, struct plan_numbers *out)
{
    const __m512i bytes = _mm512_set_epi64(LANE(24), LANE(24), LANE(16), LANE(16), LANE(8), LANE(8),
                                           LANE(0), LANE(0)); /* of the even lengths */
    out->bad = 0;
    for (uint32_t i = 0; i < plan->n_numbers; i += 8) {
        const uint16_t *t = plan->number + i;
        const __m256i lens =
            _mm256_sub_epi32(eight_lengths(token, t), _mm256_set1_epi32(NUMBER_CHARS_MAX));
        const __m512i all = _mm512_castsi256_si512(lens);
        const struct four_numbers a =
            digits_of_four(four_texts(origin, token, t), _mm512_permutexvar_epi8(bytes, all));
        const struct four_numbers b = digits_of_four(
            four_texts(origin, token, t + 1),
            _mm512_permutexvar_epi8(_mm512_add_epi8(bytes, _mm512_set1_epi8(4)), all));
        const uint8_t integers = (uint8_t)(plan->integers >> i);
        const uint8_t negative = eight_have(a.negatives, b.negatives);
        const __m512i tens = _mm512_set1_epi16(0x010A), hundreds = _mm512_set1_epi32(0x00010064);
        __m512i low, high, whole;
        __m512d real;

        /* Pairs of digits, fours, and eights: of a number its upper eight digits, then the lower. */
        low = _mm512_madd_epi16(_mm512_maddubs_epi16(a.digits, tens), hundreds);
        high = _mm512_madd_epi16(_mm512_maddubs_epi16(b.digits, tens), hundreds);
        whole = _mm512_madd_epi16(_mm512_packus_epi32(low, high), _mm512_set1_epi32(0x00012710));
        whole = _mm512_add_epi64(_mm512_mul_epu32(whole, _mm512_set1_epi64(100000000)),
                                 _mm512_srli_epi64(whole, 32));
        real = _mm512_div_pd(_mm512_cvtepi64_pd(whole), powers_of_points(a.points, b.points));
        whole = _mm512_mask_sub_epi64(whole, negative, _mm512_setzero_si512(), whole);
        real = _mm512_mask_xor_pd(real, negative, real, _mm512_set1_pd(-0.0));
        _mm512_store_si512(&out->value[i],
                           _mm512_mask_blend_epi64(integers, _mm512_castpd_si512(real), whole));
        out->bad |=
            (uint64_t)(uint8_t)(_mm256_cmpgt_epi32_mask(lens, _mm256_setzero_si256()) |
                                eight_have(a.others | a.others >> 1, b.others | b.others >> 1) |
                                (eight_have(a.points, b.points) & integers))
            << i;
    }
}

/* Of the day of YYYY-MM-DD, microseconds since 1970. Nearly all events are of a few days. @return false
 * in the years at the ends, where a zone may lead out of the range. */
ALWAYS_INLINE bool read_day(const char *p, int64_t *us)
{
    static _Thread_local struct recent {
        uint64_t text;
        int64_t us;
        uint16_t text_end;
    } kept[DAYS_KEPT];
    struct recent *recent;
    uint64_t text;
    uint16_t text_end;
    unsigned form;

    memcpy(&text, p, sizeof(text));
    memcpy(&text_end, p + 8, sizeof(text_end));
    recent = &kept[day_place(text_end)];
    if (unlikely(text != recent->text || text_end != recent->text_end)) {
        if (time_parse_form((struct span){p, 10}, us, &form) != 0 || *us < TIME_US_MIN + DAY_US ||
            *us > TIME_US_MAX - 2 * DAY_US)
            return false;
        *recent = (struct recent){.text = text, .us = *us, .text_end = text_end};
    }
    *us = recent->us;
    return true;
}

/*
 * YYYY-MM-DDTHH:MM:SS, up to six digits behind a point, then Z or +hh:mm: VECTOR_BYTES are readable.
 * Each text is brought into one order, as digits: HH MM SS -- ff -- ff ff, zone's HH MM.
 */
ALWAYS_INLINE bool usual_time(struct span text, int64_t *us)
{
#define EIGHT(a, b, c, d, e, f, g, h) a, b, c, d, e, f, g, h
    const __m256i places =
        _mm256_setr_epi8(EIGHT(11, 12, 14, 15, 17, 18, 0, 0), EIGHT(20, 21, 0, 0, 22, 23, 24, 25),
                         EIGHT(1, 2, 4, 5, 0, 0, 0, 0), EIGHT(0, 0, 0, 0, 0, 0, 0, 0));
    const __m256i marks =
        _mm256_setr_epi8(EIGHT(0, 0, 0, 0, '-', 0, 0, '-'), EIGHT(0, 0, 'T', 0, 0, ':', 0, 0),
                         EIGHT(':', 0, 0, '.', 0, 0, 0, 0), EIGHT(0, 0, 0, 0, 0, 0, 0, 0));
#undef EIGHT
    const __m256i most = _mm256_setr_epi16(23, 59, 59, 0, 99, 0, 99, 99, 13, 59, 0, 0, 0, 0, 0, 0);
    const __m256i weight =
        _mm256_setr_epi16(3600, 60, 1, 0, 10000, 0, 100, 1, 60, 1, 0, 0, 0, 0, 0, 0);
    const char *p = text.ptr;
    __m256i v, d, pairs, sums;
    unsigned at, digits;
    int64_t day, clock, micros, zone;
    uint32_t wanted;
    bool utc, good;

    if (unlikely(text.len - 20 > 12))
        return false;
    utc = p[text.len - 1] == 'Z';
    at = (unsigned)text.len - (utc ? 1 : 6); /* of the zone */
    digits = at - 20;                        /* of the fraction, or one less than none */
    wanted = 0x3F | (utc ? 0 : 0x000F0000);
    wanted |= _pdep_u32(_bzhi_u32(0x3F, digits + (at == 19)), 0xF300);
    good = at >= 19 && at <= 26 && at != 20 &&
           (utc || ((p[at] == '+' || p[at] == '-') && p[at + 3] == ':'));
    v = _mm256_loadu_si256((const __m256i *)(const void *)p);
    d = _mm256_mask_add_epi8(places, 0x000F0000, places, _mm256_set1_epi8((char)at));
    d = _mm256_maskz_permutexvar_epi8(wanted, d, _mm256_sub_epi8(v, _mm256_set1_epi8('0')));
    pairs = _mm256_maddubs_epi16(d, _mm256_set1_epi16(0x010A));
    good &= (_mm256_cmpgt_epu8_mask(d, _mm256_set1_epi8(9)) | _mm256_cmpgt_epu16_mask(pairs, most) |
             _mm256_mask_cmpneq_epi8_mask(at == 19 ? 0x012490 : 0x092490, v, marks)) == 0;
    if (unlikely(!good) || unlikely(!read_day(p, &day)))
        return false;
    sums = _mm256_madd_epi16(pairs, weight);
    sums = _mm256_add_epi32(sums, _mm256_srli_epi64(sums, 32)); /* the even ones count */
    clock = (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(sums));
    micros = (uint32_t)_mm_extract_epi32(_mm256_castsi256_si128(sums), 2);
    zone = (uint32_t)_mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1));
    zone = p[at] == '-' ? -zone : zone;
    *us = day + (clock - zone * 60) * SECOND_US + micros;
    return true;
}

ALWAYS_INLINE bool read_time(struct span text, int64_t *us)
{
    unsigned form;

    return likely(usual_time(text, us)) ||
           (time_parse_form(text, us, &form) == 0 &&
            (form & ~(unsigned)(TIME_FORM_ZONE | TIME_FORM_NO_SECONDS)) == 0);
}

/* What the character behind a backslash stands for; those that nothing stands for do not come here. */
static const char escape_meanings[128] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                          ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};

/*
 * As put_unescaped() for up to VECTOR_BYTES, all escapes at once: those that a character behind the
 * backslash tells; \u is for put_unescaped().
 */
static __attribute__((noinline)) char *put_escapes(char *out, struct span raw)
{
    const uint64_t odd = UINT64_C(0xAAAAAAAAAAAAAAAA), all = (UINT64_C(1) << raw.len) - 1;
    const __m512i v = _mm512_loadu_si512(raw.ptr);
    const uint64_t backslashes = _mm512_mask_cmpeq_epi8_mask(all, v, _mm512_set1_epi8('\\'));
    /* A carry runs through each row of backslashes: every other one of a row escapes. */
    const uint64_t carried = ((backslashes << 1 | odd) - backslashes) ^ odd;
    const uint64_t escape = carried & backslashes, escaped = carried ^ backslashes;
    const uint64_t kept = all & ~escape;
    const uint8_t len = (uint8_t)__builtin_popcountll(kept);
    __m512i meant;

    ASSERT_HOT(raw.len <= VECTOR_BYTES);
    if (unlikely(_mm512_mask_cmpeq_epi8_mask(escaped, v, _mm512_set1_epi8('u')) != 0))
        return put_unescaped(out, raw);
    meant = _mm512_permutex2var_epi8(_mm512_loadu_si512(escape_meanings), v,
                                     _mm512_loadu_si512(escape_meanings + 64));
    *out++ = (char)len;
    _mm512_storeu_si512(
        out, _mm512_maskz_compress_epi8(kept, _mm512_mask_blend_epi8(escaped, v, meant)));
    return out + len;
}

#endif
