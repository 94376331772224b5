/*
 * Drives lines.h with an input in pieces of any sizes, receiving into the stream's own buffers as a
 * worker does, and compares what comes out with the input itself: every byte once, in order, whole
 * lines only, and of a line that is too long its head. For the unit test and the fuzz target.
 */
#ifndef PENSTOCK_TESTS_TLINES_H
#define PENSTOCK_TESTS_TLINES_H

#include <stdlib.h>
#include <string.h>

#include "dataplane/input/lines.h"

/** One run. next gives the size of the next piece, at least 1. */
struct tlines {
    const char *input;
    uint32_t len, own_room, line_max;
    uint32_t (*next)(void *ctx);
    void *ctx;
    uint32_t cursor; /* what has come out: input[0..cursor) */
    uint32_t n_taken, n_heads, n_copied, n_grown;
};

static inline uint32_t tlines_line_end(const struct tlines *t)
{
    const char *newline = memchr(t->input + t->cursor, '\n', t->len - t->cursor);

    return newline != NULL ? (uint32_t)(newline + 1 - t->input) : t->len;
}

static inline void tlines_take(struct tlines *t, struct lines *l, const struct lines_piece *p)
{
    uint32_t n = p->len;

    ASSERT(n > 0 && t->cursor + n <= t->len);
    ASSERT(memcmp(p->ptr, t->input + t->cursor, n) == 0);
    ASSERT(p->ptr[n - 1] == '\n' || t->cursor + n == t->len);
    if (p->copied) {
        ASSERT(t->cursor + n == tlines_line_end(t) && n <= t->line_max + 1);
        t->n_copied++;
    } else if (t->next(t->ctx) % 3 == 0) { /* as when there is room for the first line only */
        n = tlines_line_end(t) - t->cursor;
    }
    lines_taken(l, n);
    t->cursor += n;
    t->n_taken++;
}

/* Acts until all that was fed is taken or kept. bigger: the buffer of lines_move(), or NULL. */
static inline void tlines_act(struct tlines *t, struct lines *l, char **bigger)
{
    struct lines_piece p, again;
    enum lines_want want;

    while ((want = lines_next(l, &p)) != LINES_RECEIVE) {
        char *old = *bigger;

        if (want == LINES_TAKE) {
            ASSERT(lines_next(l, &again) == want && again.ptr == p.ptr && again.len == p.len);
            tlines_take(t, l, &p);
        } else if (want == LINES_HEAD) {
            ASSERT(p.len == t->line_max && memcmp(p.ptr, t->input + t->cursor, p.len) == 0);
            lines_taken(l, p.len);
            t->n_heads++;
        } else if (want == LINES_PASSED) {
            ASSERT(tlines_line_end(t) - t->cursor > t->line_max);
            t->cursor = tlines_line_end(t);
        } else {
            ASSERT(want == LINES_GROW && p.len <= t->line_max + 1);
            *bigger = malloc(p.len);
            lines_move(l, *bigger, p.len);
            free(old);
            t->n_grown++;
        }
    }
}

/** Runs all of the input through. */
static inline void tlines_run(struct tlines *t)
{
    char *own = malloc(t->own_room), *bigger = NULL;
    struct lines l;
    uint32_t at = 0;

    lines_init(&l, own, t->own_room, t->line_max);
    while (at < t->len) {
        uint32_t n = t->next(t->ctx), room = UINT32_MAX;
        char *shared = NULL, *to = lines_target(&l, &room);

        n = n > t->len - at ? t->len - at : n;
        n = n > room ? room : n;
        if (to == NULL) /* of exactly this size: reading past its end is seen */
            to = shared = malloc(n);
        memcpy(to, t->input + at, n);
        at += n;
        lines_feed(&l, to, n);
        tlines_act(t, &l, &bigger);
        free(shared);
    }
    lines_end(&l);
    tlines_act(t, &l, &bigger);
    ASSERT(t->cursor == t->len && !lines_partial(&l));
    free(bigger);
    free(own);
}

#endif
