/*
 * HOT. Lines from tapes, written once for all vector variants: json_avx512.c and json_avx2.c include
 * it behind their own
 *
 *   void scan_chunk(struct json_vectors *v, uint32_t to)      stage 1 up to `to` or a little further
 *   uint32_t line_search(const uint8_t *kind)                 tokens in front of the next KIND_LINE
 *   uint32_t line_length(struct json_vectors *v, uint32_t first)
 *                                     the same from first on, for each line once and in their order
 *   uint64_t kinds_hash(const uint8_t *kind, uint32_t n)
 *   bool kinds_equal(const uint8_t *kind, const uint8_t *shape, uint32_t n)
 *   struct kind_masks kinds_load(const uint8_t *kind)         64 tokens as bits, and those behind
 *
 * so that all of it is compiled for their instructions.
 */
#ifndef PENSTOCK_JSON_LINES_H
#define PENSTOCK_JSON_LINES_H

#include "dataplane/json/json_tape.h"

/* ---- the grammar, 64 tokens at a time ---- */

/* Between blocks of tokens. */
struct grammar {
    uint64_t kinds; /* open containers, bit 0 the innermost; 1 = object */
    int depth;
    bool done; /* the root is closed */
    uint64_t bad;
    /* The last token of the block before in bit 0, and of the one before that for the colon. */
    uint64_t object, array, comma, colon, string, ended;
    uint64_t opens_key; /* an object or comma stood two tokens ago: bit 0; one ago: bit 1 */
};

/* Rules about neighbours, for the tokens in `valid`. `next_string` and `next_colon` are about the
 * token behind, and the one behind that. A comma in an object is one that a string and a colon follow. */
static inline void grammar_neighbours(struct grammar *g, const struct kind_masks *k, uint64_t valid)
{
    const uint64_t value = k->object | k->array | k->string | k->plain;
    const uint64_t closing = k->object_end | k->array_end;
    const uint64_t ended = closing | k->string | k->plain;
    const uint64_t opens = k->object | k->comma;
    const uint64_t after_object = k->object << 1 | g->object;
    const uint64_t after_array = k->array << 1 | g->array;
    const uint64_t after_value_sign = (k->comma | k->colon) << 1 | g->comma | g->colon;
    const uint64_t after_end = ended << 1 | g->ended;
    const uint64_t after_string = k->string << 1 | g->string;
    const uint64_t two_after_opening = opens << 2 | g->opens_key;
    uint64_t bad = after_object & ~(k->string | k->object_end);

    bad |= after_object & k->string & ~k->next_colon;
    bad |= after_array & ~(value | k->array_end);
    bad |= after_value_sign & ~value;
    bad |= after_end & ~(k->comma | closing | k->colon);
    bad |= k->colon & ~(after_string & two_after_opening);
    g->bad |= bad & valid;
    g->object = k->object >> 63;
    g->array = k->array >> 63;
    g->comma = k->comma >> 63;
    g->colon = k->colon >> 63;
    g->string = k->string >> 63;
    g->ended = ended >> 63;
    g->opens_key = opens >> 62;
}

/*
 * Brackets, one by one: each closes what is open, and between two of them all commas are of the kind
 * of the container. last is the index of the event's last token among these 64, or 64.
 */
static inline void grammar_brackets(struct grammar *g, const struct kind_masks *k, uint64_t valid,
                                    unsigned last, unsigned levels,
                                    uint64_t level_colons[JSON_PATH_KEYS_MAX + 1])
{
    const uint64_t opening = k->object | k->array;
    const uint64_t objects = k->object | k->object_end;
    uint64_t in_object = k->comma & k->next_string & k->next_next_colon & valid;
    uint64_t in_array = k->comma & valid & ~in_object;
    uint64_t colons = k->colon & valid;
    uint64_t left = (opening | k->object_end | k->array_end) & valid;

    for (; left != 0; left &= left - 1) {
        const unsigned i = (unsigned)__builtin_ctzll(left);
        const uint64_t below = (left & -left) - 1;
        const uint64_t object = objects >> i & 1, open = opening >> i & 1;
        const unsigned level = (unsigned)g->depth - 1 < levels ? (unsigned)g->depth - 1 : levels;

        g->bad |= ((g->kinds & 1) != 0 ? in_array : in_object) & below;
        level_colons[level] |= colons & below;
        in_object &= ~below;
        in_array &= ~below;
        colons &= ~below;
        g->bad |= ~open & (g->kinds ^ object) & 1;
        g->kinds = open != 0 ? g->kinds << 1 | object : g->kinds >> 1;
        g->depth += open != 0 ? 1 : -1;
        g->bad |= (uint64_t)(g->depth > JSON_DEPTH_MAX);
        if (unlikely(g->depth <= 0)) {
            g->done = true;
            g->bad |= (uint64_t)(g->depth < 0 || i != last);
            return;
        }
    }
    g->bad |= (g->kinds & 1) != 0 ? in_array : in_object;
    level_colons[(unsigned)g->depth - 1 < levels ? (unsigned)g->depth - 1 : levels] |= colons;
}

/* Adds the tokens of the colons in bits to the list of their level. */
static inline void colons_note(struct json_colons *c, unsigned level, uint64_t bits, uint32_t base)
{
    const uint32_t more = (uint32_t)__builtin_popcountll(bits);
    uint32_t *token = c->token[level] + c->n[level];

    if (unlikely(c->n[level] + more > COLONS_MAX)) {
        c->many = true;
        return;
    }
    c->n[level] += more;
    for (uint32_t i = 0; i < more; i += 4) {
        for (uint32_t k = i; k < i + 4; k++, bits &= bits - 1)
            token[k] = base + (uint32_t)__builtin_ctzll(bits | UINT64_C(1) << 63);
    }
}

/* Whether n tokens are one object or array by the grammar; collects its colons. */
static __attribute__((noinline)) bool grammar_check(struct json_vectors *v, uint32_t first,
                                                    uint32_t n)
{
    struct json_colons *c = &v->colons;
    struct grammar g = {.colon = 1};

    ASSERT_HOT(n >= 2);
    memset(c->n, 0, sizeof(c->n));
    c->many = false;
    for (uint32_t base = 0; base < n; base += 64) {
        const struct kind_masks k = kinds_load(v->kind + first + base);
        const uint32_t left = n - base;
        const uint64_t valid = left >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
        uint64_t level_colons[JSON_PATH_KEYS_MAX + 1] = {0};

        if (unlikely(g.done))
            return false;
        grammar_neighbours(&g, &k, valid);
        grammar_brackets(&g, &k, valid, left > 64 ? 64 : left - 1, v->levels, level_colons);
        for (unsigned level = 0; level < v->levels; level++)
            colons_note(c, level, level_colons[level], base);
        if (unlikely(g.bad != 0))
            return false;
    }
    return g.done;
}

/* ---- events ---- */

/* Where the value ends that is followed by white space up to next. */
static inline uint32_t value_end(const char *buf, uint32_t next)
{
    if (likely((uint8_t)buf[next - 1] > ' '))
        return next;
    while (is_space(buf[next - 1]))
        next--;
    return next;
}

/* The type of a valid value that is neither string nor container. */
static inline uint8_t plain_type(char c)
{
    return c == 't' ? JSON_TRUE : c == 'f' ? JSON_FALSE : c == 'n' ? JSON_NULL : JSON_NUMBER;
}

/* The field whose value is token i of the event at pos; end is the token of its closing bracket. */
static inline void field_set(struct json_field *f, const char *buf, const uint32_t *pos,
                             const uint8_t *kind, uint32_t i, uint32_t end)
{
    const uint32_t at = pos[i];
    uint32_t past;

    if (likely(kind[i] == KIND_STRING)) {
        f->type = JSON_STRING;
        past = value_end(buf, pos[i + 1]);
    } else if (kind[i] == KIND_PLAIN) {
        f->type = plain_type(buf[at]);
        past = value_end(buf, pos[i + 1]);
    } else {
        f->type = kind[i] == KIND_OBJECT ? JSON_OBJECT : JSON_ARRAY;
        past = pos[end] + 1;
    }
    f->offset = at - pos[0];
    f->len = past - at;
}

/* The members of these paths are not there. */
static inline void fields_clear(struct json_event *ev, uint16_t paths)
{
    for (; paths != 0; paths &= (uint16_t)(paths - 1))
        ev->field[__builtin_ctz(paths)] = (struct json_field){0};
}

/* A valid event of known shape. */
static inline void event_known(struct json_parser *p, struct json_event *ev,
                               const struct json_shape *s, uint32_t first)
{
    const struct json_vectors *v = p->vectors;

    ev->shape = s->id;
    fields_clear(ev, p->pick.all & (uint16_t)~s->found);
    for (uint16_t found = s->found; found != 0; found &= (uint16_t)(found - 1)) {
        const unsigned i = (unsigned)__builtin_ctz(found);

        field_set(&ev->field[i], v->tape.buf, v->pos + first, v->kind + first, s->field[i].token,
                  s->field[i].end);
    }
}

/* A shape that is not known. @return false when the scalar scanner has to read the event. */
static __attribute__((noinline)) bool event_new(struct json_parser *p, struct json_event *ev,
                                                uint32_t first, uint32_t n, uint64_t hash)
{
    struct json_vectors *v = p->vectors;
    const struct json_live *live = &v->live;
    const struct json_shape *s;

    if (!grammar_check(v, first, n) || !json_live_find(p, first, n, &v->colons))
        return false;
    s = json_shape_learn(p, hash, first, n);
    ev->shape = s == NULL ? 0 : s->id;
    fields_clear(ev, p->pick.all & (uint16_t)~live->found);
    for (uint16_t found = live->found; found != 0; found &= (uint16_t)(found - 1)) {
        const unsigned i = (unsigned)__builtin_ctz(found);

        field_set(&ev->field[i], v->tape.buf, v->pos + first, v->kind + first, live->field_token[i],
                  live->field_end[i]);
    }
    return true;
}

/* Both, always; tests/unit/tjson_canary.h takes less, and the proofs have to notice. */
#ifndef SHAPE_MATCHES
#define SHAPE_MATCHES(same_kinds, same_keys) ((same_kinds) && (same_keys))
#endif

/* 8 bytes from each of four places. */
static inline __m256i words_at(const char *a, const char *b, const char *c, const char *d)
{
    const __m128d low =
        _mm_loadh_pd(_mm_castsi128_pd(_mm_loadl_epi64((const __m128i *)a)), (const double *)b);
    const __m128d high =
        _mm_loadh_pd(_mm_castsi128_pd(_mm_loadl_epi64((const __m128i *)c)), (const double *)d);

    return _mm256_castpd_si256(_mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1));
}

/* Whether the live keys of an event are those of a shape. */
static inline bool shape_keys(const struct json_vectors *v, const struct json_shape *s,
                              uint32_t first)
{
    const char *buf = v->tape.buf + 1;
    const uint32_t *pos = v->pos + first;
    const uint32_t n_groups = s->n_keys / SHAPE_KEYS_STEP;
    __m256i wrong = _mm256_setzero_si256();
    uint64_t differ = 0;

    static_assert(SHAPE_KEYS_STEP == 4, "four words are a vector");
    for (uint32_t i = 0; i < n_groups; i++) {
        const uint16_t *token = s->keys[i].token;
        const __m256i words = words_at(buf + pos[token[0]], buf + pos[token[1]],
                                       buf + pos[token[2]], buf + pos[token[3]]);
        const __m256i same = _mm256_loadu_si256((const __m256i *)s->keys[i].bytes);
        const __m256i mask = _mm256_loadu_si256((const __m256i *)s->keys[i].mask);

        wrong = _mm256_or_si256(wrong, _mm256_and_si256(_mm256_xor_si256(words, same), mask));
    }
    for (uint32_t i = 0; i < s->n_full; i++)
        differ |= load64(buf + pos[s->full[i].token] + s->full[i].tail_at) ^ s->full[i].tail;
    return differ == 0 && _mm256_testz_si256(wrong, wrong) != 0 &&
           (likely(!s->long_keys) || json_shape_full(v, s, first));
}

/* The first shape of the set that a hash belongs to. */
static inline uint32_t shape_set(uint64_t hash)
{
    return (uint32_t)(hash % (JSON_SHAPES_MAX / SHAPE_WAYS)) * SHAPE_WAYS;
}

/* The ways of a set that have this hash, a bit each; no branch, since which one it is cannot be
 * foreseen. */
static inline uint32_t shape_ways(const struct json_vectors *v, uint32_t set, uint64_t hash)
{
    const __m256i *h = (const __m256i *)(v->hash + set);
    const __m256i key = _mm256_set1_epi64x((long long)hash);
    const __m256i a = _mm256_cmpeq_epi64(_mm256_loadu_si256(h), key);
    const __m256i b = _mm256_cmpeq_epi64(_mm256_loadu_si256(h + 1), key);

    static_assert(SHAPE_WAYS == 8, "two vectors are compared");
    return (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(a)) |
           (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(b)) << 4;
}

/* Whether an event has this shape. */
static inline bool shape_is(const struct json_vectors *v, const struct json_shape *s,
                            uint32_t first, uint32_t n)
{
    return s->n_tokens == n && s->id != 0 &&
           SHAPE_MATCHES(kinds_equal(v->kind + first, s->kind, n), shape_keys(v, s, first));
}

/* The shape of an event, or NULL. */
static __attribute__((noinline)) const struct json_shape *shape_find(const struct json_vectors *v,
                                                                     uint32_t first, uint32_t n,
                                                                     uint64_t hash)
{
    const uint32_t set = shape_set(hash);

    for (uint32_t ways = shape_ways(v, set, hash); ways != 0; ways &= ways - 1) {
        const struct json_shape *s = &v->shape[set + (uint32_t)__builtin_ctz(ways)];

        if (shape_is(v, s, first, n))
            return s;
    }
    return NULL;
}

/*
 * A line that will be an event. What its shape probably is, is worked out for some lines at once, and
 * only then are the events filled: the way from a line's tokens to its shape is one long chain of
 * latencies, and several of them run side by side.
 */
struct line {
    uint32_t first, n; /* its tokens */
    uint64_t hash;
    const struct json_shape *guess;
};

#define LINES_AHEAD 8

/* Takes whole lines off the tape. @return how many; less than max when there are no more. */
static inline int lines_ahead(struct json_vectors *v, struct line *line, int max)
{
    struct json_tape *t = &v->tape;
    int n = 0;

    while (n < max && likely(t->token_next < t->n_tokens)) {
        const uint32_t first = t->token_next, n_tokens = line_length(v, first);
        struct line *l = &line[n];

        if (unlikely(first + n_tokens >= t->n_tokens))
            break;
        t->token_next = first + n_tokens + 1;
        if (unlikely(n_tokens == 0))
            continue;
        l->first = first;
        l->n = n_tokens;
        l->hash = 0;
        l->guess = v->shape;
        if (likely(n_tokens <= SHAPE_TOKENS_MAX)) {
            uint32_t set, ways;

            l->hash = kinds_hash(v->kind + first, n_tokens);
            set = shape_set(l->hash);
            ways = shape_ways(v, set, l->hash) | 1u << (SHAPE_WAYS - 1);
            l->guess = &v->shape[set + (uint32_t)__builtin_ctz(ways)];
        }
        n++;
    }
    return n;
}

/* Whether there is a far number in front of `to`, and behind the lines before. */
static __attribute__((noinline)) bool far_numbers(struct json_vectors *v, uint32_t to)
{
    struct json_tape *t = &v->tape;
    bool far = false;

    for (; t->far_next < t->n_far && v->far[t->far_next] < to; t->far_next++)
        far = true;
    return far;
}

/* A line that the scalar scanner has to read. */
static COLD_PATH void event_rescan(struct json_parser *p, struct json_event *ev, uint32_t from,
                                   uint32_t to)
{
    const char *buf = p->vectors->tape.buf;

    p->stats.rescans++;
    json_read_document(ev, buf + from, buf + value_end(buf, to), p->use);
}

/* As it says; the canaries of tests/unit see none. */
#ifndef LINE_FEEDS_SEEN
#define LINE_FEEDS_SEEN(seen) (seen)
#endif

/* Whether a carriage return or a line feed stands in a valid document, so not in its strings. */
static inline bool line_breaks(const struct json_tape *t, uint8_t marks, const char *doc,
                               uint32_t len)
{
    return (unlikely((marks & MARK_RETURN) != 0) && memchr(doc, '\r', len) != NULL) ||
           (unlikely(LINE_FEEDS_SEEN(t->breaks)) && memchr(doc, '\n', len) != NULL);
}

/* The event of a line. @return false when the scalar scanner has to read it. */
static inline bool event_vector(struct json_parser *p, struct json_event *ev,
                                const struct line *line)
{
    struct json_vectors *v = p->vectors;
    struct json_tape *t = &v->tape;
    const uint32_t first = line->first, n = line->n;
    const uint32_t *pos = v->pos + first;
    const uint8_t *kind = v->kind + first;
    const char *doc = t->buf + pos[0];
    const uint32_t len = pos[n - 1] + 1 - pos[0];
    const uint8_t marks = t->marked || t->carried != 0 ? tape_marks(t, pos[0], pos[n]) : 0;
    const struct json_shape *s = line->guess;
    bool far = (marks & MARK_FAR) != 0;

    if (unlikely(t->far_next < t->n_far))
        far |= far_numbers(v, pos[n]);

    if (unlikely((marks & MARK_RESCAN) != 0 || n < 2 || (kind[0] & 0xFD) != KIND_OBJECT ||
                 (kind[n - 1] & 0xFD) != KIND_OBJECT_END))
        return false;
    if (unlikely(!shape_is(v, s, first, n)))
        s = shape_find(v, first, n, line->hash);
    if (likely(s != NULL)) {
        p->stats.shape_hits++;
        event_known(p, ev, s, first);
    } else if (!event_new(p, ev, first, n, line->hash)) {
        return false;
    }
    ev->ptr = doc;
    ev->len = len;
    ev->error = JSON_ERROR_NONE;
    ev->error_offset = 0;
    ev->type = kind[0] == KIND_OBJECT ? JSON_OBJECT : JSON_ARRAY;
    ev->flags = (uint8_t)((n == 2 && kind[0] == KIND_OBJECT ? JSON_EMPTY_OBJECT : 0) |
                          (far ? JSON_FAR_NUMBER : 0) |
                          (line_breaks(t, marks, doc, len) ? JSON_HAS_LINE_BREAK : 0));
    ev->n_tokens = n;
    ev->token = pos;
    return true;
}

/* The same, by whom it may be. */
static inline void event_fill(struct json_parser *p, struct json_event *ev, const struct line *line)
{
    const uint32_t *pos = p->vectors->pos + line->first;

    if (unlikely(!event_vector(p, ev, line)))
        event_rescan(p, ev, pos[0], pos[line->n]);
}

/* ---- the next chunk ---- */

/* Begins stage 1 at a line's first byte. */
static inline void tape_resume(struct json_tape *t, uint32_t at)
{
    t->scanned = at;
    t->in_string = 0;
    t->in_plain = 0;
    t->escaped = 0;
}

/* The document that goes on past the chunk moves to the front. */
static void tape_carry(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    const uint32_t n = t->n_tokens - t->token_next;

    t->carried = n == 0 ? 0 : tape_marks(t, v->pos[t->token_next], t->scanned);
    if (t->far_next < t->n_far)
        t->carried |= MARK_FAR;
    memmove(v->pos, v->pos + t->token_next, n * sizeof(*v->pos));
    memmove(v->kind, v->kind + t->token_next, n);
    if (t->marked)
        memset(t->mark, 0, sizeof(t->mark));
    t->marked = false;
    t->mark_base = t->scanned;
    t->n_tokens = n;
    t->token_checked -= t->token_checked < t->token_next ? t->token_checked : t->token_next;
    t->token_next = 0;
    t->n_far = 0;
    t->far_next = 0;
    t->n_others = 0;
}

/* A document of more tokens than are kept: the scalar scanner reads it, to its end. */
static COLD_PATH void long_line(struct json_parser *p, struct json_event *ev)
{
    struct json_vectors *v = p->vectors;
    struct json_tape *t = &v->tape;
    const uint32_t from = v->pos[0];
    const char *newline = memchr(t->buf + from, '\n', t->len - from);
    const uint32_t to = newline == NULL ? t->len : (uint32_t)(newline - t->buf);

    event_rescan(p, ev, from, to);
    t->n_tokens = 0;
    t->token_checked = 0;
    t->n_dense = 0;
    tape_resume(t, newline == NULL ? to : to + 1);
    t->ended = newline == NULL;
    tape_carry(v);
}

/* The end of the buffer ends the last line. */
static inline void tape_end(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;

    if (t->in_string != 0)
        tape_mark(t, t->len, MARK_RESCAN);
    v->kind[t->n_tokens] = KIND_LINE;
    v->pos[t->n_tokens++] = t->len;
    t->ended = true;
}

/* Scans the next chunk. @return false at the end. */
static __attribute__((noinline)) bool tape_refill(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    uint32_t to;

    if (t->ended)
        return false;
    tape_carry(v);
    to = t->len - t->scanned > CHUNK_BYTES ? t->scanned + CHUNK_BYTES : t->len;
    scan_chunk(v, to);
    if (t->scanned == t->len)
        tape_end(v);
    v->kind[t->n_tokens] = KIND_LINE; /* where line_length() stops at the latest */
    return true;
}

/* See json_lines_fn. */
static inline int lines_next(struct json_parser *p, struct json_event *out, int max)
{
    struct json_vectors *v = p->vectors;
    struct json_tape *t = &v->tape;
    struct line line[LINES_AHEAD];
    int n = 0;

    while (n < max) {
        const int want = max - n < LINES_AHEAD ? max - n : LINES_AHEAD;
        const int got = lines_ahead(v, line, want);

        for (int i = 0; i < got; i++)
            event_fill(p, &out[n++], &line[i]);
        if (likely(got == want))
            continue;
        if (n > 0)
            break; /* the tokens of what is handed out are needed until the next call */
        if (unlikely(t->n_tokens - t->token_next > CARRY_MAX)) {
            tape_carry(v);
            long_line(p, &out[n++]);
            continue;
        }
        if (!tape_refill(v))
            break;
    }
    return n;
}

#endif
