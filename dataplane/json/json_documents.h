/*
 * HOT. Arrays and single documents from tapes, written once for all vector variants: they include it
 * behind json_lines.h and their stage 1, and their own
 *
 *   uint32_t lines_drop(uint32_t *pos, uint8_t *kind, uint32_t from, uint32_t n)
 *                         takes the KIND_LINEs out of the tokens from..n; how many there are then
 *
 * Stage 1 ends lines; here a line feed is white space, so its tokens are taken out behind it. (One inside
 * of a string is an error, which stage 1 has marked.)
 *
 *   array            '[' and the commas and ']' that stand directly in it become KIND_LINE: its elements
 *                    are then read as lines are
 *   document         all its tokens are one line, unless they are too many to be kept
 *   large document   grammar and picked members chunk by chunk, with nothing kept; so are those with
 *                    more members than json_colons holds
 *
 * What begins no value may have any kind on the tape, even that of a comma; it is marked then. Nothing is
 * decided here that is not valid: the scalar scanner goes on at the element in doubt, or where
 * the array is none, and says what is wrong and where.
 */
#ifndef PENSTOCK_JSON_DOCUMENTS_H
#define PENSTOCK_JSON_DOCUMENTS_H

#include "dataplane/json/json_lines.h"
#include "dataplane/json/json_nest.h"

/* ---- chunks in which line feeds are white space ---- */

/* The line feeds among the tokens from `first` on are no tokens. */
static inline void chunk_drop_lines(struct json_vectors *v, uint32_t first)
{
    struct json_tape *t = &v->tape;
    const uint32_t n = t->n_tokens, unchecked = n - t->token_checked;

    first += line_search(v->kind + first);
    if (likely(first >= n))
        return;
    t->breaks = true;
    t->n_tokens = lines_drop(v->pos, v->kind, first, n);
    /* What is not checked yet is one number or literal, at the end; or nobody asks. */
    t->token_checked = unchecked < t->n_tokens ? t->n_tokens - unchecked : 0;
}

/* Two tokens that end whatever looks beyond the last one. */
static inline void chunk_end(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;

    ASSERT_HOT(t->n_tokens + 2 <= TAPE_TOKENS);
    for (uint32_t i = t->n_tokens; i < t->n_tokens + 2; i++) {
        v->kind[i] = KIND_LINE;
        v->pos[i] = t->len;
    }
}

/* Scans the next chunk; tokens in front of token_next are gone then. @return the first new token. */
static __attribute__((noinline)) uint32_t chunk_next(struct json_vectors *v)
{
    struct json_tape *t = &v->tape;
    uint32_t first;

    ASSERT_HOT(!t->ended);
    tape_carry(v);
    first = t->n_tokens;
    scan_chunk(v, t->len - t->scanned > CHUNK_BYTES ? t->scanned + CHUNK_BYTES : t->len);
    t->ended = t->scanned == t->len;
    if (unlikely(t->ended && t->in_string != 0))
        tape_mark(t, t->len, MARK_RESCAN);
    t->listed = false;
    chunk_end(v);
    chunk_drop_lines(v, first);
    chunk_end(v);
    return first;
}

/* ---- arrays ---- */

/* The first n tokens are all that can be made elements of; the scalar scanner goes on at t->resume. */
static inline void elements_stop(struct json_vectors *v, uint32_t n)
{
    v->tape.stopped = true;
    v->tape.n_tokens = n;
    chunk_end(v);
}

/* Ends an element behind each of the tokens in bits. */
static inline void elements_end(struct json_vectors *v, uint32_t base, uint64_t bits)
{
    for (; bits != 0; bits &= bits - 1) {
        const uint32_t i = base + (uint32_t)__builtin_ctzll(bits);

        v->kind[i] = KIND_LINE;
        v->tape.resume = v->pos[i];
    }
}

/* The array is closed by token i; `empty`: nothing stands in front of that. */
static COLD_PATH void elements_closed(struct json_vectors *v, uint32_t i, bool empty)
{
    if (empty || v->kind[i] != KIND_ARRAY_END) { /* perhaps [], or what is wrong */
        elements_stop(v, i);
        return;
    }
    elements_end(v, i, 1);
    elements_stop(v, i + 1);
}

/* Finds the commas of the array itself among 64 tokens. Brackets are taken one by one, and of what kind
 * they are in the elements does not matter: each element's grammar is checked later. */
static inline void elements_split_64(struct json_vectors *v, uint32_t base)
{
    struct json_tape *t = &v->tape;
    const struct kind_masks k = kinds_load(v->kind + base);
    const uint32_t n = t->n_tokens - base;
    const uint64_t valid = n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
    const uint64_t opening = k.object | k.array;
    uint64_t left = (opening | k.object_end | k.array_end) & valid;
    uint64_t commas = k.comma & valid, mine = 0, empty, low;
    uint32_t depth = t->depth;

    for (;;) {
        low = left & -left;
        mine |= depth == 1 ? commas & (low - 1) : 0; /* all of them behind the last bracket */
        commas &= ~(low - 1);
        if (low == 0)
            break;
        left ^= low;
        depth += (opening & low) != 0 ? 1 : UINT32_MAX;
        if (unlikely(depth == 0))
            break;
    }
    t->depth = depth;
    empty = mine & (mine << 1 | t->parted);
    if (unlikely(empty != 0)) {
        elements_end(v, base, mine & ((empty & -empty) - 1));
        elements_stop(v, base + (uint32_t)__builtin_ctzll(empty));
        return;
    }
    elements_end(v, base, mine);
    if (unlikely(depth == 0))
        elements_closed(v, base + (uint32_t)__builtin_ctzll(low),
                        (low & (mine << 1 | t->parted)) != 0);
    t->parted = mine >> ((n < 64 ? n : 64) - 1) & 1;
}

/* Makes lines of the elements among the tokens from `first` on. */
static __attribute__((noinline)) void elements_split(struct json_vectors *v, uint32_t first)
{
    struct json_tape *t = &v->tape;

    ASSERT_HOT(!t->stopped && first <= t->n_tokens);
    if (t->depth == 0 && first < t->n_tokens) { /* the first one of all */
        if (t->buf[v->pos[first]] != '[') {
            elements_stop(v, first);
            return;
        }
        v->kind[first++] = KIND_LINE;
        t->depth = 1;
        t->parted = 1;
    }
    for (uint32_t base = first; base < t->n_tokens && !t->stopped; base += 64)
        elements_split_64(v, base);
}

/* As it says; the canaries of tests/unit take any end. */
#ifndef SAME_END
#define SAME_END(same) (same)
#endif

/* Fills an event from an element. @return false when the scalar scanner goes on from there: what the element
 * is to it is not what was made of it here. */
static inline bool element_fill(struct json_stream *s, struct json_event *ev,
                                const struct line *line)
{
    struct json_parser *p = s->_parser;
    const uint32_t *pos = p->vectors->pos + line->first;
    const char *behind, *end = s->_buf + s->_len, *separator = s->_buf + pos[line->n];

    if (likely(event_vector(p, ev, line)))
        return true;
    p->stats.rescans++;
    behind = json_read_element(ev, s->_buf + pos[0], end, p->use);
    if (ev->error == JSON_ERROR_NONE && SAME_END(skip_leading(behind, end) == separator &&
                                                 (*separator == ',' || *separator == ']')))
        return true;
    s->_vectors = false;
    s->_pos = ev->error == JSON_ERROR_NONE ? (size_t)(behind - s->_buf) : s->_len;
    return false;
}

/* See json_elements_fn. */
static inline int elements_next(struct json_stream *s, struct json_event *out, int max)
{
    struct json_vectors *v = s->_parser->vectors;
    struct json_tape *t = &v->tape;
    struct line line[LINES_AHEAD];
    int n = 0;

    while (n < max) {
        const int want = max - n < LINES_AHEAD ? max - n : LINES_AHEAD;
        const int got = lines_ahead(v, line, want);

        for (int i = 0; i < got; i++) {
            if (unlikely(!element_fill(s, &out[n++], &line[i])))
                return n;
        }
        if (likely(got == want))
            continue;
        if (n > 0)
            break; /* the tokens of what is handed out are needed until the next call */
        if (t->stopped || t->ended || t->n_tokens - t->token_next > CARRY_MAX) {
            s->_vectors = false;
            s->_pos = t->resume;
            break;
        }
        elements_split(v, chunk_next(v));
    }
    return n;
}

/* ---- large documents ---- */

/* The key in front of the colon at token i, and the value behind it when that is no container. */
static inline void pick_member(struct json_scan *scan, struct nest *nest,
                               const struct json_vectors *v, uint32_t i)
{
    const char *buf = v->tape.buf;
    const char *key = buf + v->pos[i - 1] + 1, *key_end = buf + value_end(buf, v->pos[i]) - 1;
    const char *value = buf + v->pos[i + 1];

    ASSERT_HOT(key_end >= key && *key_end == '"');
    nest->found = 0;
    nest->under = 0;
    scan->escaped = memchr(key, '\\', (size_t)(key_end - key)) != NULL;
    nest_key(scan, nest, (struct span){.ptr = key, .len = (size_t)(key_end - key)});
    if (nest->found == 0 || *value == '{' || *value == '[')
        return;
    nest_fields(scan, nest->found, value, buf + value_end(buf, v->pos[i + 2]),
                *value == '"' ? JSON_STRING : plain_type(*value));
    nest->found = 0;
}

/* Picks members among 64 tokens whose grammar has been checked. Colons count only where a path leads. */
static inline void pick_64(struct json_scan *scan, struct nest *nest, const struct json_vectors *v,
                           uint32_t base, const struct kind_masks *k, uint64_t valid)
{
    const uint64_t opening = k->object | k->array;
    const uint64_t brackets = opening | k->object_end | k->array_end;
    uint64_t left = valid, low;

    while ((low = (brackets | (nest->live != 0 ? k->colon : 0)) & left) != 0) {
        const unsigned bit = (unsigned)__builtin_ctzll(low);
        const char *at = v->tape.buf + v->pos[base + bit];

        left &= ~UINT64_C(1) << bit;
        if ((brackets >> bit & 1) == 0)
            pick_member(scan, nest, v, base + bit);
        else if ((opening >> bit & 1) != 0)
            nest_open(nest, at);
        else
            nest_close(scan, nest, at + 1);
    }
}

/* Where the grammar and the picking of a large document are. */
struct progress {
    struct grammar grammar;
    struct nest nest;
};

/* The tokens from..to, with two behind them to look at. @return false when something is wrong. */
static inline bool document_tokens(struct json_scan *scan, struct progress *g,
                                   const struct json_vectors *v, uint32_t from, uint32_t to)
{
    for (; from < to; from += 64) {
        const struct kind_masks k = kinds_load(v->kind + from);
        const uint32_t left = to - from;
        const uint64_t valid = left >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
        const bool last = left <= 64 && to == v->tape.n_tokens;
        uint64_t level_colons[JSON_PATH_KEYS_MAX + 1] = {0};

        if (unlikely(g->grammar.done))
            return false;
        grammar_neighbours(&g->grammar, &k, valid);
        grammar_brackets(&g->grammar, &k, valid, last ? left - 1 : 64, 0, level_colons);
        if (unlikely(g->grammar.bad != 0))
            return false;
        if (scan->pick != NULL)
            pick_64(scan, &g->nest, v, from, &k, valid);
    }
    return true;
}

/* Whether nothing in the chunk needs another look; notes what else the marks say. */
static inline bool chunk_clean(struct json_scan *scan, const struct json_tape *t)
{
    const uint8_t marks = t->carried | tape_marks(t, t->mark_base, t->scanned);

    if ((marks & MARK_RETURN) != 0 || t->breaks)
        scan->flags |= JSON_HAS_LINE_BREAK; /* all of the document's white space is inside */
    if ((marks & MARK_FAR) != 0 || t->n_far != 0)
        scan->flags |= JSON_FAR_NUMBER;
    return (marks & MARK_RESCAN) == 0;
}

/* See json_document_fn. */
static inline bool document_scan(struct json_parser *p, struct json_scan *scan)
{
    struct json_vectors *v = p->vectors;
    struct json_tape *t = &v->tape;
    struct progress g;
    uint32_t from = 0;

    ASSERT_HOT(scan->doc < scan->end && (*scan->doc == '{' || *scan->doc == '['));
    g.grammar = (struct grammar){.colon = 1};
    g.nest.kinds = 0;
    g.nest.depth = 0;
    g.nest.live = g.nest.found = 0;
    g.nest.under = scan->pick == NULL ? 0 : scan->pick->all;
    json_vectors_begin(v, scan->doc, (uint32_t)(scan->end - scan->doc));
    while (!t->ended) {
        uint32_t to;

        chunk_next(v);
        to = t->n_tokens;
        if (!t->ended) /* whole steps, and two tokens to look at behind them */
            to = to < from + 2 ? from : from + ((to - from - 2) & ~63u);
        if (unlikely(!chunk_clean(scan, t) || !document_tokens(scan, &g, v, from, to)))
            return false;
        t->token_next = to > 0 ? to - 1 : 0; /* a colon's key stands in front of it */
        from = to - t->token_next;
    }
    scan->at = scan->end;
    scan->error = JSON_ERROR_NONE;
    scan->type = *scan->doc == '{' ? JSON_OBJECT : JSON_ARRAY;
    return g.grammar.done;
}

/* ---- single documents ---- */

/* A document of more tokens or members than are kept. */
static __attribute__((noinline)) bool single_large(struct json_parser *p, struct json_event *ev,
                                                   const char *from, const char *end)
{
    struct json_scan scan = {.doc = from, .end = end, .pick = p->use, .field = ev->field};

    fields_clear(ev, p->pick.all);
    if (!document_scan(p, &scan))
        return false;
    json_fill_event(ev, &scan);
    return true;
}

/* See json_single_fn. */
static inline bool single_next(struct json_parser *p, struct json_event *ev, const char *from,
                               const char *end)
{
    struct json_vectors *v = p->vectors;
    struct json_tape *t = &v->tape;
    struct line line;

    json_vectors_begin(v, from, (uint32_t)(end - from));
    while (!t->ended && t->n_tokens <= CARRY_MAX)
        chunk_next(v);
    if (unlikely(t->n_tokens > CARRY_MAX))
        return single_large(p, ev, from, end);
    t->n_tokens++; /* the end of its line, which is there already */
    if (likely(lines_ahead(v, &line, 1) == 1 && event_vector(p, ev, &line)))
        return true;
    return v->colons.many &&
           single_large(p, ev, from, end); /* or they were in one before: a try more */
}

#endif
