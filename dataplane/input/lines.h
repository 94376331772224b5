/*
 * NDJSON from a stream: which of the received bytes are whole lines. Lines are taken where they lie;
 * only one that straddles two receives is copied, into the stream's own small buffer or, when it is
 * longer, into a bigger one that the caller finds. Knows neither sockets nor JSON.
 *
 *     lines_feed(bytes) ── lines_next() ── TAKE ── lines_taken() ──┐
 *                              ^  │                                │
 *                              │  ├─ GROW ── lines_move() ─────────┤
 *                              └──┴────────────────────────────────┘ ... RECEIVE: all is taken or kept
 *
 * lines_next() may be asked again at any time and gives the same answer until the caller has acted,
 * so a caller that cannot act now tries later.
 *
 * A line of more than line_max bytes does not stop the stream: its head is handed out (HEAD), the rest
 * up to its end is dropped (PASSED).
 *
 * Thread: any; a stream belongs to one. Alloc: none.
 */
#ifndef PENSTOCK_INPUT_LINES_H
#define PENSTOCK_INPUT_LINES_H

#include "dataplane/base/compiler.h"

/** What the caller has to do. */
enum lines_want {
    LINES_RECEIVE, /* everything is taken or kept */
    LINES_TAKE,    /* whole lines; at the end of the stream the last one may lack its newline */
    LINES_HEAD,    /* the first line_max bytes of a line that is longer */
    LINES_PASSED,  /* such a line has ended */
    LINES_GROW,    /* a buffer of `len` bytes for lines_move() */
};

/** What it is about. */
struct lines_piece {
    const char *ptr;
    uint32_t len;
    bool copied; /* one line that straddled two receives */
};

/** One stream. Private but for tail. */
struct lines {
    char *tail; /* where a line gathers: own, or the buffer of lines_move() */
    uint32_t tail_len;
    uint32_t _tail_room;
    char *_own;
    uint32_t _own_room;
    uint32_t _line_max;
    const char *_data; /* fed and not yet taken */
    uint32_t _len;
    uint8_t _phase;
    bool _ended;
};

/** Line breaks in len bytes; 60 GB a second, where memchr() from each to the next makes 8. */
size_t lines_breaks(const char *p, size_t len);

/** Sets a stream up. own: room bytes, and more than that readable; room <= line_max. */
void lines_init(struct lines *l, char *own, uint32_t room, uint32_t line_max);

/** Feeds received bytes; what was fed before is used up. They stay the caller's and must stay where
 * they are until LINES_RECEIVE. */
void lines_feed(struct lines *l, const char *data, uint32_t len);

/** The stream has ended in order: what is left is a line. */
void lines_end(struct lines *l);

/** What to do next. */
enum lines_want lines_next(struct lines *l, struct lines_piece *out);

/** The first len bytes of the piece of TAKE (whole lines), or all of HEAD, have been taken. */
void lines_taken(struct lines *l, uint32_t len);

/** Moves the gathering line to a buffer of room bytes. Owner: the caller, who may free the buffer
 * before. */
void lines_move(struct lines *l, char *buf, uint32_t room);

/** Where to receive to when a line gathers in a buffer of lines_move(): *room bytes, at least one; NULL
 * when it does not. What comes is fed from there. Only after LINES_RECEIVE. */
char *lines_target(const struct lines *l, uint32_t *room);

/**
 * Gives up all that was fed and is not taken. The buffer of lines_move() is not used any more. Not while
 * the rest of a long line passes.
 * @return how many lines that is; *unfinished: the end of the last one has not come.
 */
uint32_t lines_drop(struct lines *l, bool *unfinished);

/** True when part of a line is kept, and none of it has been handed out. */
bool lines_partial(const struct lines *l);

#endif
