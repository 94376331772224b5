/* HOT. Whole lines out of received bytes, see lines.h. */
#include "dataplane/input/lines.h"

#include <string.h>

/* What a line is going through. */
enum {
    GATHERING,
    WHOLE,   /* tail is a line */
    LONG,    /* tail is the head of a line that is too long */
    PASSING, /* its rest is dropped */
};

typedef uint8_t bytes16 __attribute__((vector_size(16)));

#define LANES 4 /* vectors at a time */

static inline bytes16 bytes_at(const char *p)
{
    bytes16 v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static size_t bytes_sum(bytes16 v)
{
    size_t n = 0;

    for (size_t i = 0; i < sizeof(v); i++)
        n += v[i];
    return n;
}

/* Of a multiple of 64 bytes, at most 255 times as many: what a byte of a vector can count. The lanes have
 * names because gcc keeps an array of them in memory, which is a third as fast. */
static size_t breaks_in(const char *p, size_t len)
{
    bytes16 a = {0}, b = {0}, c = {0}, d = {0};
    const size_t step = sizeof(bytes16);

    ASSERT_HOT(len % (LANES * step) == 0 && len / (LANES * step) <= UINT8_MAX);
    for (const char *end = p + len; p < end; p += LANES * step) {
        a -= (bytes16)(bytes_at(p) == '\n'); /* true is -1 */
        b -= (bytes16)(bytes_at(p + step) == '\n');
        c -= (bytes16)(bytes_at(p + 2 * step) == '\n');
        d -= (bytes16)(bytes_at(p + 3 * step) == '\n');
    }
    return bytes_sum(a) + bytes_sum(b) + bytes_sum(c) + bytes_sum(d);
}

size_t lines_breaks(const char *p, size_t len)
{
    const size_t step = LANES * sizeof(bytes16);
    size_t n = 0;

    ASSERT_HOT(p != NULL || len == 0);
    while (len >= step) {
        size_t piece = len - len % step;

        if (piece > UINT8_MAX * step)
            piece = UINT8_MAX * step;
        n += breaks_in(p, piece);
        p += piece;
        len -= piece;
    }
    for (; len > 0; p++, len--)
        n += *p == '\n' ? 1 : 0;
    return n;
}

void lines_init(struct lines *l, char *own, uint32_t room, uint32_t line_max)
{
    ASSERT(room > 0 && room <= line_max && line_max < UINT32_MAX / 2);
    *l = (struct lines){
        .tail = own, ._tail_room = room, ._own = own, ._own_room = room, ._line_max = line_max};
}

void lines_feed(struct lines *l, const char *data, uint32_t len)
{
    ASSERT_HOT(l->_len == 0 && !l->_ended);
    l->_data = data;
    l->_len = len;
}

void lines_end(struct lines *l)
{
    ASSERT(l->_len == 0);
    l->_ended = true;
}

static void advance(struct lines *l, uint32_t n)
{
    ASSERT_HOT(n <= l->_len);
    l->_data += n;
    l->_len -= n;
}

/* Drops the rest of a line whose head was taken. */
static enum lines_want pass(struct lines *l)
{
    const char *newline = l->_len > 0 ? memchr(l->_data, '\n', l->_len) : NULL;

    ASSERT_HOT(l->tail_len == 0);
    advance(l, newline != NULL ? (uint32_t)(newline + 1 - l->_data) : l->_len);
    if (newline == NULL && !l->_ended)
        return LINES_RECEIVE;
    l->_phase = GATHERING;
    return LINES_PASSED;
}

static enum lines_want piece_of_tail(const struct lines *l, struct lines_piece *out)
{
    *out = (struct lines_piece){.ptr = l->tail, .len = l->tail_len, .copied = true};
    return l->_phase == LONG ? LINES_HEAD : LINES_TAKE;
}

/* Room for a line of at least need bytes; one that is not at its end will want more. */
static enum lines_want grow(const struct lines *l, uint32_t need, bool more,
                            struct lines_piece *out)
{
    uint64_t want = more ? 2 * (uint64_t)need : need;

    ASSERT_HOT(need <= l->_line_max + 1);
    *out = (struct lines_piece){.len = want > l->_line_max + 1 ? l->_line_max + 1 : (uint32_t)want};
    return LINES_GROW;
}

/* Adds to the tail what belongs to its line. */
static enum lines_want gather(struct lines *l, struct lines_piece *out)
{
    const char *newline = l->_len > 0 ? memchr(l->_data, '\n', l->_len) : NULL;
    uint32_t n = newline != NULL ? (uint32_t)(newline + 1 - l->_data) : l->_len;
    uint32_t room = l->_line_max + (newline != NULL ? 1 : 0) - l->tail_len;
    bool is_long = n > room;

    if (is_long)
        n = l->_line_max - l->tail_len;
    if (l->tail_len + n > l->_tail_room)
        return grow(l, l->tail_len + n, newline == NULL && !is_long, out);
    if (l->_data != l->tail + l->tail_len)
        memmove(l->tail + l->tail_len, l->_data, n);
    l->tail_len += n;
    advance(l, n);
    if (is_long)
        l->_phase = LONG;
    else if (newline != NULL || l->_ended)
        l->_phase = WHOLE;
    else if (l->tail_len == l->_tail_room && l->tail != l->_own) /* lines_target() has room */
        return grow(l, l->tail_len + 1, true, out);
    else
        return LINES_RECEIVE;
    return piece_of_tail(l, out);
}

/* The beginning of a line: back to the own buffer when it fits there. */
static enum lines_want keep(struct lines *l, struct lines_piece *out)
{
    ASSERT_HOT(l->tail_len == 0);
    if (l->_len <= l->_own_room) {
        l->tail = l->_own;
        l->_tail_room = l->_own_room;
    }
    return l->_len > 0 ? gather(l, out) : LINES_RECEIVE;
}

enum lines_want lines_next(struct lines *l, struct lines_piece *out)
{
    const char *last;

    ASSERT_HOT(l->_phase <= PASSING);
    *out = (struct lines_piece){0};
    if (l->_phase == PASSING)
        return pass(l);
    if (l->_phase != GATHERING)
        return piece_of_tail(l, out);
    if (l->tail_len > 0)
        return gather(l, out);
    last = l->_len > 0 ? memrchr(l->_data, '\n', l->_len) : NULL;
    if (last == NULL)
        return keep(l, out);
    *out = (struct lines_piece){.ptr = l->_data, .len = (uint32_t)(last + 1 - l->_data)};
    return LINES_TAKE;
}

void lines_taken(struct lines *l, uint32_t len)
{
    if (l->_phase == GATHERING) {
        ASSERT_HOT(l->tail_len == 0 && len > 0 && l->_data[len - 1] == '\n');
        advance(l, len);
        return;
    }
    ASSERT(l->_phase != PASSING && len == l->tail_len);
    l->tail_len = 0;
    l->_phase = l->_phase == LONG ? PASSING : GATHERING;
}

void lines_move(struct lines *l, char *buf, uint32_t room)
{
    ASSERT(room > l->tail_len && l->_phase == GATHERING);
    memcpy(buf, l->tail, l->tail_len);
    l->tail = buf;
    l->_tail_room = room;
}

char *lines_target(const struct lines *l, uint32_t *room)
{
    if (l->tail == l->_own)
        return NULL;
    *room = l->_tail_room - l->tail_len;
    ASSERT(*room > 0);
    return l->tail + l->tail_len;
}

uint32_t lines_drop(struct lines *l, bool *unfinished)
{
    uint32_t n = (uint32_t)lines_breaks(l->_data, l->_len) + (l->_phase == WHOLE ? 1 : 0);

    ASSERT(l->_phase != PASSING);
    *unfinished =
        l->_len > 0 ? l->_data[l->_len - 1] != '\n' : l->tail_len > 0 && l->_phase != WHOLE;
    lines_init(l, l->_own, l->_own_room, l->_line_max);
    return n + (*unfinished ? 1 : 0);
}

bool lines_partial(const struct lines *l)
{
    return l->tail_len > 0;
}
