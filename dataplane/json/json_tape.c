/*
 * HOT. What the vector variants share and needs no vectors: numbers and literals one by one, the keys
 * that lead to picked members, and the cache of shapes.
 *
 * The cache has sets of SHAPE_WAYS; a shape is learned when it is seen the second time (seen[] keeps
 * hashes), so that a stream of ever new shapes costs one store an event and pushes nothing out.
 */
#include "dataplane/json/json_tape.h"

#include <emmintrin.h>
#include <stdlib.h>

#include "dataplane/json/walk.h"

/* clang-format off */
#define X CLASS_SPECIAL
const uint8_t json_class[256] __attribute__((aligned(64))) = {
    X, X, X, X, X, X, X, X, X, X, KIND_LINE, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    [' '] = KIND_SPACE, ['"'] = KIND_STRING, ['\\'] = X, [':'] = KIND_COLON, [','] = KIND_COMMA,
    ['{'] = KIND_OBJECT, ['}'] = KIND_OBJECT_END, ['['] = KIND_ARRAY, [']'] = KIND_ARRAY_END,
};
#undef X
/* clang-format on */

/* What may be wrong with two bytes of UTF-8, a bit each. */
enum {
    TOO_SHORT = 1, /* a first byte, and then no continuation */
    TOO_LONG = 2,  /* ASCII, and then a continuation */
    OVERLONG_3 = 4,
    TOO_LARGE = 8,
    SURROGATE = 16,
    OVERLONG_2 = 32,
    TOO_LARGE_1000 = 64, /* F5 and more, and then 8x */
    OVERLONG_4 = 64,
    TWO_CONTS = 128, /* wrong but behind the first bytes of three and four */
    CARRY = TOO_SHORT | TOO_LONG | TWO_CONTS,
    LARGE = CARRY | TOO_LARGE | TOO_LARGE_1000,
};

const uint8_t json_utf8[3][16] __attribute__((aligned(16))) = {
    {TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TWO_CONTS,
     TWO_CONTS, TWO_CONTS, TWO_CONTS, TOO_SHORT | OVERLONG_2, TOO_SHORT,
     TOO_SHORT | OVERLONG_3 | SURROGATE, TOO_SHORT | TOO_LARGE | TOO_LARGE_1000 | OVERLONG_4},
    {CARRY | OVERLONG_3 | OVERLONG_2 | OVERLONG_4, CARRY | OVERLONG_2, CARRY, CARRY,
     CARRY | TOO_LARGE, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE | SURROGATE,
     LARGE, LARGE},
    {TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
     TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE_1000 | OVERLONG_4,
     TOO_LONG | OVERLONG_2 | TWO_CONTS | OVERLONG_3 | TOO_LARGE,
     TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE,
     TOO_LONG | OVERLONG_2 | TWO_CONTS | SURROGATE | TOO_LARGE, TOO_SHORT, TOO_SHORT, TOO_SHORT,
     TOO_SHORT},
};

/* ---- numbers, literals, escapes ---- */

#define FAR_DIGITS 300 /* as in the scalar scanner */

static const bool ends_plain_table[256] = {
    [' '] = true, ['\t'] = true, ['\n'] = true, ['\r'] = true, [','] = true, [':'] = true,
    ['"'] = true, ['{'] = true,  ['}'] = true,  ['['] = true,  [']'] = true,
};

static inline bool ends_plain(const char *p, const char *end)
{
    return p >= end || ends_plain_table[(uint8_t)*p];
}

static inline const char *digits_end(const char *p, const char *end)
{
    while (p < end && is_digit(*p))
        p++;
    return p;
}

static bool exponent_ok(const char *p, const char *end)
{
    const char *first;

    ASSERT_HOT(p < end);
    if ((*p | 0x20) != 'e')
        return false;
    p++;
    if (p < end && (*p == '+' || *p == '-'))
        p++;
    first = p;
    p = digits_end(p, end);
    return p > first && ends_plain(p, end);
}

static bool number_ok(const char *p, const char *end, bool *far)
{
    const char *first;

    ASSERT_HOT(p < end);
    if (*p == '-')
        p++;
    first = p;
    p = digits_end(p, end);
    if (p == first || (*first == '0' && p > first + 1))
        return false;
    *far = p - first >= FAR_DIGITS;
    if (p < end && *p == '.') {
        first = p + 1;
        p = digits_end(first, end);
        if (p == first)
            return false;
    }
    if (ends_plain(p, end))
        return true;
    *far = true;
    return exponent_ok(p, end);
}

static inline uint32_t load32(const char *p)
{
    uint32_t w;

    memcpy(&w, p, sizeof(w));
    return w;
}

#define WORD(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* How many of 8 bytes are digits before one that is not; 8 when all are. */
static inline unsigned leading_digits(const char *p)
{
    const uint64_t w = load64(p) ^ BYTES('0');
    const uint64_t other = ((w + BYTES(0x76)) | w) & BYTES(0x80); /* the lowest bit is exact */

    return other == 0 ? 8 : (unsigned)__builtin_ctzll(other) / 8;
}

/* Numbers as most are, without a sign and with less than 8 digits on each side of the point. */
static inline bool number_usual(const char *p, const char *end)
{
    const unsigned n = leading_digits(p);
    unsigned part;

    if (n == 0 || n == 8 || p + n > end || (*p == '0' && n > 1))
        return false;
    p += n;
    if (ends_plain(p, end))
        return true;
    if (*p != '.')
        return false;
    part = leading_digits(p + 1);
    return part > 0 && part < 8 && p + 1 + part <= end && ends_plain(p + 1 + part, end);
}

static inline bool plain_ok(const char *p, const char *end, bool *far)
{
    const uint32_t word = load32(p);

    ASSERT_HOT(p < end);
    if (likely(number_usual(p, end)))
        return true;
    if (word == WORD('t', 'r', 'u', 'e') || word == WORD('n', 'u', 'l', 'l'))
        return p + 4 <= end && ends_plain(p + 4, end);
    if (word == WORD('f', 'a', 'l', 's'))
        return p + 5 <= end && p[4] == 'e' && ends_plain(p + 5, end);
    return number_ok(p, end, far);
}

/* The four hex digits at p, or -1. */
static int hex_unit(const char *p)
{
    int unit = 0;

    for (int i = 0; i < 4; i++) {
        const int digit = hex_digit(p[i]);

        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* Whether a \u escape is well-formed, given those before; off is at its backslash. Reads at most 12
 * bytes: within the padding. A string that ends behind the buffer is refused for that. */
static bool unicode_ok(struct json_tape *t, uint32_t off)
{
    const char *p = t->buf + off;
    const int unit = hex_unit(p + 2);

    ASSERT_HOT(*p == '\\' && p[1] == 'u');
    if (unit < 0)
        return false;
    if ((unit & 0xF800) != 0xD800)
        return true;
    if (unit >= 0xDC00)
        return off == t->low_at;
    t->low_at = off + 6;
    return p[6] == '\\' && p[7] == 'u' && (hex_unit(p + 8) & ~0x3FF) == 0xDC00;
}

static const bool escape_table[256] = {
    ['"'] = true, ['\\'] = true, ['/'] = true, ['b'] = true,
    ['f'] = true, ['n'] = true,  ['r'] = true, ['t'] = true,
};

static inline bool escape_ok(struct json_tape *t, uint32_t off)
{
    const uint8_t c = (uint8_t)t->buf[off];

    return likely(escape_table[c]) || (c == 'u' && unicode_ok(t, off - 1));
}

/* Marks the line that off is in, which may have begun before the marks. */
static void mark_line(struct json_tape *t, uint32_t off, uint8_t what)
{
    if (off < t->mark_base)
        t->carried |= what;
    else
        tape_mark(t, off, what);
}

/* Takes true, false and null off the list, without a branch: which of them it is cannot be foreseen. */
static void check_literals(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    uint32_t kept = 0;

    ASSERT_HOT(t->n_plain <= TAPE_TOKENS);
    for (uint32_t i = 0; i < t->n_plain; i++) {
        const uint32_t at = v->plain[i];
        const uint64_t word = load64(t->buf + at);
        const uint32_t four = (uint32_t)word;
        const bool is_false = (four == WORD('f', 'a', 'l', 's')) & ((word >> 32 & 0xFF) == 'e');
        const bool is_literal =
            is_false | (four == WORD('t', 'r', 'u', 'e')) | (four == WORD('n', 'u', 'l', 'l'));
        const uint8_t behind = (uint8_t)(word >> (is_false ? 40 : 32));

        v->plain[kept] = at;
        kept += !(is_literal & ends_plain_table[behind] & (t->len - at > 5));
    }
    t->n_plain = kept;
}

void json_check_plain(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    const char *end = t->buf + t->len;

    check_literals(v);
    for (uint32_t i = 0; i < t->n_plain; i++) {
        const uint32_t at = v->plain[i];
        bool far = false;

        if (unlikely(!plain_ok(t->buf + at, end, &far)))
            mark_line(t, at, MARK_RESCAN);
        else if (unlikely(far) && at < t->mark_base)
            t->carried |= MARK_FAR;
        else if (unlikely(far))
            v->far[t->n_far++] = at;
    }
    t->n_plain = 0;
}

void json_check_escapes(struct json_vectors *v, uint32_t first, uint32_t end)
{
    struct json_tape *t = &v->tape;

    ASSERT_HOT(end <= t->n_escapes);
    for (uint32_t i = first; i < end; i++) {
        if (unlikely(!escape_ok(t, v->escape[i])))
            tape_mark(t, v->escape[i], MARK_RESCAN);
    }
}

/* ---- the first bytes of keys ---- */

/* Which of the first 8 bytes belong to a key and its closing quote. */
static inline uint64_t key_mask(uint32_t len)
{
    return ~UINT64_C(0) >> (len >= 7 ? 0 : 64 - 8 * (len + 1));
}

/* The first 8 bytes behind a key's quote, without those that do not belong to it. */
static inline uint64_t key_head(const char *key, uint32_t len)
{
    return load64(key) & key_mask(len);
}

/* ---- memory ---- */

size_t json_vectors_bytes(void)
{
    return align_up(sizeof(struct json_vectors) + TAPE_TOKENS * (sizeof(uint32_t) + 1) +
                        (TAPE_TOKENS + 3 * TAPE_HALF) * sizeof(uint32_t) + DENSE_BYTES,
                    BLOCK_BYTES);
}

/* What the keys of path i begin with. */
static void first_bytes_init(struct json_vectors *v, const struct json_path *path, unsigned i)
{
    for (unsigned level = 0; level < path->n_keys; level++) {
        ASSERT(path->key_len[level] > 0);
        v->by_first[level][(uint8_t)path->key[level][0]] |= (uint16_t)(1u << i);
    }
}

struct json_vectors *json_vectors_create(const struct json_paths *paths)
{
    struct json_vectors *v = aligned_alloc(BLOCK_BYTES, json_vectors_bytes());

    if (v == NULL)
        return NULL;
    memset(v, 0, json_vectors_bytes());
    v->pos = (uint32_t *)(v + 1);
    v->plain = v->pos + TAPE_TOKENS;
    v->far = v->plain + TAPE_TOKENS;
    v->escape = v->far + TAPE_HALF;
    v->other = v->escape + TAPE_HALF;
    v->kind = (uint8_t *)(v->other + TAPE_HALF);
    v->dense = (char *)(v->kind + TAPE_TOKENS);
    for (unsigned i = 0; i < paths->n; i++) {
        if (paths->path[i].n_keys > v->levels)
            v->levels = paths->path[i].n_keys;
        first_bytes_init(v, &paths->path[i], i);
    }
    ASSERT(v->levels <= JSON_PATH_KEYS_MAX);
    return v;
}

void json_vectors_destroy(struct json_vectors *v)
{
    free(v);
}

void json_vectors_begin(struct json_vectors *v, const char *buf, uint32_t len)
{
    struct json_tape *t = &v->tape;

    ASSERT_HOT(len <= VECTOR_BYTES_MAX);
    if (t->marked)
        memset(t->mark, 0, sizeof(t->mark));
    t->marked = false;
    t->carried = 0;
    t->buf = buf;
    t->len = len;
    t->start = 0;
    v->n_placed = 0;
    t->ended = false;
    t->scanned = 0;
    t->in_string = 0;
    t->in_plain = 0;
    t->escaped = 0;
    t->low_at = UINT32_MAX;
    t->mark_base = 0;
    t->n_tokens = 0;
    t->n_dense = 0;
    t->n_plain = 0;
    t->n_far = 0;
    t->n_escapes = 0;
    t->n_others = 0;
    t->token_next = 0;
    t->token_checked = 0;
    t->listed = false;
    t->far_next = 0;
    t->breaks = false;
    t->stopped = false;
    t->depth = 0;
    t->resume = 0;
    t->parted = 0;
}

/* ---- keys ---- */

/* What to look through for the members of one container. */
struct level {
    uint32_t first;       /* token of the event */
    uint32_t open, close; /* tokens of the container, from first on */
    unsigned level;
    uint16_t paths; /* that lead into it */
};

/* The token of the bracket that closes the container at token i. */
static uint32_t container_end(const uint8_t *kind, uint32_t i)
{
    uint32_t depth = 0;

    ASSERT_HOT(kind[i] == KIND_OBJECT || kind[i] == KIND_ARRAY);
    for (;; i++) {
        if (kind[i] < KIND_OBJECT || kind[i] > KIND_ARRAY_END)
            continue;
        if ((kind[i] & 1) == 0)
            depth++;
        else if (--depth == 0)
            return i;
    }
}

/* The key that begins behind `begin` and ends at `end`, but for white space. */
static inline struct span key_between(const char *begin, const char *end)
{
    do
        end--;
    while (unlikely(*end != '"'));
    ASSERT_HOT(end > begin);
    return (struct span){.ptr = begin + 1, .len = (size_t)(end - begin) - 1};
}

static void find_level(struct json_parser *p, const struct json_colons *colons,
                       const struct level *in);

/* Notes a member that paths end at or lead into. */
static void member_found(struct json_parser *p, const struct json_colons *colons,
                         const struct level *in, uint32_t value, uint16_t matched)
{
    struct json_vectors *v = p->vectors;
    const uint8_t *kind = v->kind + in->first;
    const bool container = kind[value] == KIND_OBJECT || kind[value] == KIND_ARRAY;
    const uint32_t end = container ? container_end(kind, value) : value;
    uint16_t under = 0;

    v->live.found &= (uint16_t)~matched; /* the last member counts, also on the way */
    for (uint16_t left = matched; left != 0; left &= (uint16_t)(left - 1)) {
        const unsigned i = (unsigned)__builtin_ctz(left);

        if (p->paths.path[i].n_keys > in->level + 1) {
            under |= (uint16_t)(1u << i);
            continue;
        }
        v->live.found |= (uint16_t)(1u << i);
        v->live.field_token[i] = value;
        v->live.field_end[i] = end;
    }
    if (under != 0 && kind[value] == KIND_OBJECT)
        find_level(p, colons,
                   &(struct level){.first = in->first,
                                   .open = value,
                                   .close = end,
                                   .level = in->level + 1,
                                   .paths = under});
}

/* The paths among `maybe` whose key at this level is this one. */
static uint16_t key_match(const struct json_parser *p, unsigned level, struct span raw,
                          bool escaped, uint16_t maybe)
{
    uint16_t matched = 0;

    ASSERT_HOT(level < JSON_PATH_KEYS_MAX);
    for (; maybe != 0; maybe &= (uint16_t)(maybe - 1)) {
        const unsigned i = (unsigned)__builtin_ctz(maybe);
        const struct json_path *path = &p->paths.path[i];
        const struct span key = {.ptr = path->key[level], .len = path->key_len[level]};

        if (json_key_equal(raw, escaped, key))
            matched |= (uint16_t)(1u << i);
    }
    return matched;
}

/* Whether a key, which is readable for 15 bytes more, has escapes. Most are no longer than 16. */
static inline bool has_backslash(const char *p, size_t len)
{
    for (size_t i = 0;; i += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(p + i));
        const unsigned marks =
            (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));

        if (likely(len - i <= 16))
            return (unsigned)__builtin_ctz(marks | 1u << 16) < len - i;
        if (marks != 0)
            return true;
    }
}

/* The number of colons of a level in front of a token: without looking at each, so that a thousand
 * wanted objects in one event cost no more each than one. */
static inline uint32_t colons_before(const struct json_colons *colons, unsigned level,
                                     uint32_t token)
{
    uint32_t low = 0, high = colons->n[level];

    while (low < high) {
        const uint32_t middle = (low + high) / 2;

        if (colons->token[level][middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Notes a key of a live container; head is what its shape would compare. */
static inline void live_note(struct json_live *live, uint32_t token, size_t len, bool escaped,
                             uint64_t head)
{
    live->hash = (live->hash ^ head) * UINT64_C(0x9E3779B97F4A7C15);
    live->all &= !escaped & (live->n < SHAPE_KEYS_MAX) & (len < SHAPE_TEXT_BYTES);
    if (likely(live->all))
        live->key[live->n++] = (struct json_live_key){.token = token, .len = (uint32_t)len};
}

static void find_level(struct json_parser *p, const struct json_colons *colons,
                       const struct level *in)
{
    struct json_vectors *v = p->vectors;
    const uint32_t *const list = colons->token[in->level], n = colons->n[in->level];
    const uint32_t *const pos = v->pos + in->first;
    const uint16_t *const by_len = p->pick.by_len[in->level];
    const uint16_t *const by_first = v->by_first[in->level];
    const char *const buf = v->tape.buf;

    ASSERT_HOT(in->level < JSON_PATH_KEYS_MAX);
    for (uint32_t k = colons_before(colons, in->level, in->open); k < n && list[k] <= in->close;
         k++) {
        const uint32_t colon = list[k];
        const struct span key = key_between(buf + pos[colon - 1], buf + pos[colon]);
        const uint64_t head = key_head(key.ptr, (uint32_t)key.len);
        const bool escaped = has_backslash(key.ptr, key.len);
        uint16_t matched = in->paths;

        live_note(&v->live, colon - 1, key.len, escaped, head);
        if (likely(!escaped)) /* hardly ever any is left that is not the one */
            matched &= by_len[key.len % PICK_LENGTHS] & by_first[head & 0xFF];
        if (likely(matched == 0))
            continue;
        matched = key_match(p, in->level, key, escaped, matched);
        if (matched != 0)
            member_found(p, colons, in, colon + 1, matched);
    }
}

bool json_live_find(struct json_parser *p, uint32_t first, uint32_t n_tokens,
                    const struct json_colons *colons)
{
    struct json_vectors *v = p->vectors;
    struct level root = {.first = first, .close = n_tokens, .paths = p->pick.all};

    v->live.n = 0;
    v->live.found = 0;
    v->live.all = true;
    v->live.hash = 0;
    if (colons->many)
        return false;
    if (root.paths != 0 && v->kind[first] == KIND_OBJECT)
        find_level(p, colons, &root);
    return true;
}

/* ---- shapes ---- */

/* Whether len bytes, 8 or more, are equal behind the first 8. */
static inline bool rest_equal(const char *a, const char *b, uint32_t len)
{
    uint64_t differ = load64(a + len - 8) ^ load64(b + len - 8);

    ASSERT_HOT(len >= 8);
    for (uint32_t i = 8; i + 8 < len; i += 8)
        differ |= load64(a + i) ^ load64(b + i);
    return differ == 0;
}

bool json_shape_full(const struct json_vectors *v, const struct json_shape *shape, uint32_t first)
{
    const char *buf = v->tape.buf + 1;
    const uint32_t *pos = v->pos + first;

    ASSERT_HOT(shape->n_full <= SHAPE_FULL_MAX);
    for (uint32_t i = 0; i < shape->n_full; i++) {
        const uint32_t at = pos[shape->full[i].token], len = shape->full[i].len;

        if (len > v->tape.len - 1 - at ||
            !rest_equal(buf + at, shape->text + shape->full[i].at, len))
            return false;
    }
    return true;
}

/* Whether 8 bytes do not tell a key from one that a path names. Shorter keys are compared whole,
 * with their closing quote; a path's key that is shorter differs from 8 bytes without a quote. */
static bool key_ambiguous(const struct json_paths *paths, const char *key, uint32_t len)
{
    if (len < 8)
        return false;
    for (unsigned i = 0; i < paths->n; i++) {
        for (unsigned k = 0; k < paths->path[i].n_keys; k++) {
            if (paths->path[i].key_len[k] >= 8 && memcmp(paths->path[i].key[k], key, 8) == 0)
                return true;
        }
    }
    return false;
}

/* Key i of a shape. */
static void shape_set_key(struct json_shape *s, uint32_t i, uint32_t token, uint64_t bytes,
                          uint64_t mask)
{
    const uint32_t group = i / SHAPE_KEYS_STEP, k = i % SHAPE_KEYS_STEP;

    ASSERT_HOT(i < SHAPE_KEYS_MAX && token < SHAPE_TOKENS_MAX);
    s->keys[group].bytes[k] = bytes;
    s->keys[group].mask[k] = mask;
    s->keys[group].token[k] = (uint16_t)token;
}

/* Puts the live keys into a shape. @return whether there is room. */
static bool shape_set_keys(struct json_parser *p, struct json_shape *s, uint32_t first)
{
    const struct json_vectors *v = p->vectors;
    uint32_t used = 0;

    s->n_full = 0;
    s->long_keys = false;
    for (uint32_t i = 0; i < v->live.n; i++) {
        const struct json_live_key *k = &v->live.key[i];
        const char *key = v->tape.buf + v->pos[first + k->token] + 1;

        shape_set_key(s, i, k->token, key_head(key, k->len), key_mask(k->len));
        if (!key_ambiguous(&p->paths, key, k->len))
            continue;
        if (s->n_full == SHAPE_FULL_MAX || used + k->len + 1 > SHAPE_TEXT_BYTES)
            return false;
        s->full[s->n_full].token = (uint16_t)k->token;
        s->full[s->n_full].at = (uint16_t)used;
        s->full[s->n_full].len = (uint16_t)(k->len + 1);
        s->n_full++;
        memcpy(s->text + used, key, k->len + 1);
        s->full[s->n_full - 1].tail_at = (uint16_t)(k->len + 1 < 16 ? k->len + 1 - 8 : 8);
        s->full[s->n_full - 1].tail = load64(key + s->full[s->n_full - 1].tail_at);
        s->long_keys = s->long_keys || k->len + 1 > 16;
        used += k->len + 1;
    }
    s->n_keys = (uint16_t)align_up(v->live.n, SHAPE_KEYS_STEP);
    for (uint32_t i = v->live.n; i < s->n_keys; i++)
        shape_set_key(s, i, 0, 0, 0);
    return true;
}

/* Whether this shape with these keys has been seen before; now it has. */
static bool seen_before(struct json_vectors *v, uint64_t hash)
{
    uint64_t h = (hash ^ v->live.hash ^ v->live.hash >> 32) * UINT64_C(0x9E3779B97F4A7C15);
    uint32_t tag, *slot;

    h ^= h >> 29;
    tag = (uint32_t)(h >> 32) | 1;
    slot = &v->seen[h % SHAPE_SEEN];
    if (*slot == tag)
        return true;
    *slot = tag;
    return false;
}

struct json_shape *json_shape_learn(struct json_parser *p, uint64_t hash, uint32_t first,
                                    uint32_t n_tokens)
{
    struct json_vectors *v = p->vectors;
    struct json_shape *s;
    uint32_t slot;

    if (!v->live.all || n_tokens > SHAPE_TOKENS_MAX || !seen_before(v, hash))
        return NULL;
    slot = (uint32_t)(hash % (JSON_SHAPES_MAX / SHAPE_WAYS)) * SHAPE_WAYS;
    for (uint32_t way = 0; way < SHAPE_WAYS && v->shape[slot].id != 0; way++)
        slot = slot - slot % SHAPE_WAYS + (slot + 1) % SHAPE_WAYS;
    if (v->shape[slot].id != 0)
        slot = slot - slot % SHAPE_WAYS + v->way++ % SHAPE_WAYS;
    s = &v->shape[slot];
    s->id = 0;
    if (!shape_set_keys(p, s, first))
        return NULL;
    v->hash[slot] = hash;
    s->n_tokens = n_tokens;
    s->found = v->live.found;
    for (unsigned i = 0; i < p->paths.n; i++) {
        s->field[i].token = (uint16_t)v->live.field_token[i];
        s->field[i].end = (uint16_t)v->live.field_end[i];
    }
    memcpy(s->kind, v->kind + first, n_tokens);
    memset(s->kind + n_tokens, 0, (size_t)align_up(n_tokens, BLOCK_BYTES) - n_tokens);
    s->id = ++v->generation * JSON_SHAPES_MAX + slot;
    p->stats.shape_news++;
    return s;
}
