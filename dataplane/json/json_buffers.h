/*
 * HOT. The lines of several buffers as one stream, written once for all vector variants: they include it
 * behind json_lines.h, their stage 1, and their own
 *
 *   void scan_buffers(struct json_vectors *v)       stage 1 of all that v->placed lists
 *
 * The buffers have places on one tape, each from a whole block on and one block from the next, as if they lay
 * so in memory: positions rise and marks have blocks of their own, whatever the addresses are. Nothing but a
 * base address changes from one to the next. So events of many small buffers are looked up and filled side
 * by side as those of one large buffer are, and stage 1 need not end and begin anew between them.
 */
#ifndef PENSTOCK_JSON_BUFFERS_H
#define PENSTOCK_JSON_BUFFERS_H

#include "dataplane/json/json_lines.h"

static_assert(JSON_BUFFER_BYTES_MAX + 2 * BLOCK_BYTES <= CHUNK_BYTES, "the largest one fits");
static_assert(JSON_BUFFER_BYTES_MAX <= CARRY_MAX, "nor has it too many tokens to be kept");

/* Places as many of n buffers as one chunk holds. @return how many. */
static inline uint32_t buffers_place(struct json_vectors *v, const struct json_buffer *buffer,
                                     uint32_t n)
{
    static const char nothing[BLOCK_BYTES];
    uint32_t at = 0, i;

    for (i = 0; i < n; i++) {
        const uint32_t blocks = (buffer[i].len + BLOCK_BYTES - 1) / BLOCK_BYTES;
        const uint32_t next = at + (blocks > 0 ? blocks + 1 : 2) * BLOCK_BYTES;

        ASSERT(buffer[i].len <= JSON_BUFFER_BYTES_MAX);
        if (next > CHUNK_BYTES)
            break;
        v->placed[i] = (struct json_placed){.base = (const char *)((uintptr_t)buffer[i].ptr - at),
                                            .from = at,
                                            .to = at + buffer[i].len};
        at = next;
    }
    v->n_placed = i;
    for (uint32_t k = i; k < i + PLACED_BEHIND; k++, at += 2 * BLOCK_BYTES)
        v->placed[k] = (struct json_placed){
            .base = (const char *)((uintptr_t)nothing - at), .from = at, .to = at};
    return i;
}

/* Puts the next buffers on the tape. @return false at the end. */
static __attribute__((noinline)) bool buffers_refill(struct json_stream *s)
{
    struct json_vectors *v = s->_parser->vectors;

    if (s->_buffer == s->_n_buffers)
        return false;
    json_vectors_begin(v, NULL, 0);
    s->_buffer += buffers_place(v, s->_buffers + s->_buffer, s->_n_buffers - s->_buffer);
    ASSERT(v->n_placed > 0);
    v->placed_next = 0;
    scan_buffers(v);
    v->kind[v->tape.n_tokens] = KIND_LINE; /* where line_length() stops at the latest */
    tape_enter(v, 0);
    return true;
}

/* Reads the buffer that a line is in. */
static inline void buffer_of(struct json_vectors *v, const struct line *line)
{
    const uint32_t at = v->pos[line->first];

    if (likely(at < v->tape.len))
        return;
    do
        v->placed_next++;
    while (at >= v->placed[v->placed_next].to);
    tape_enter(v, v->placed_next);
}

/* See json_buffers_fn. */
static inline int buffers_next(struct json_stream *s, struct json_event *out, int max)
{
    struct json_parser *p = s->_parser;
    struct json_vectors *v = p->vectors;
    struct line line[LINES_AHEAD];
    int n = 0;

    while (n < max) {
        const int want = max - n < LINES_AHEAD ? max - n : LINES_AHEAD;
        const int got = lines_ahead(v, line, want);

        for (int i = 0; i < got; i++, n++) {
            buffer_of(v, &line[i]);
            event_fill(p, &out[n], &line[i]);
            out[n].buffer = (uint8_t)(s->_buffer - v->n_placed + v->placed_next);
        }
        if (likely(got == want))
            continue;
        if (n > 0 || !buffers_refill(s))
            break; /* the tokens of what is handed out are needed until the next call */
    }
    return n;
}

#endif
