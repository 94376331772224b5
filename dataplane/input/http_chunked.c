/*
 * HOT. Chunked bodies (RFC 9112, 7.1), squeezed in place: payload moves down over the framing by
 * memmove, framing is read byte by byte. Extensions and trailers are checked, skipped and limited;
 * bare CR and bare LF are refused.
 *
 *     SIZE_FIRST -> SIZE -> [SIZE_SPACE ->] [EXTENSION ->] SIZE_LF -> DATA -> DATA_CR -> DATA_LF
 *         ^                                                   |                          |
 *         |                                                   | size 0                   |
 *         `---------------------------------------------------+--------------------------'
 *                                                             v
 *     .-> TRAILER_FIRST -> TRAILER_NAME -> TRAILER_VALUE -> TRAILER_LF -.   (entered at FIRST)
 *     |         `-> (CR) END_LF -> DONE                                 |
 *     `-----------------------------------------------------------------'
 */
#include "dataplane/input/http_internal.h"

#include <errno.h>
#include <string.h>

/* A size line with its extensions: room for 16 digits and a signature, but not for padding a body
 * 1000-fold. */
#define CHUNK_LINE_BYTES_MAX 256

/* All trailers of a body together. */
#define TRAILER_BYTES_MAX 4096

enum chunk_state {
    STATE_SIZE_FIRST, /* zero: the state of a zeroed struct */
    STATE_SIZE,
    STATE_SIZE_SPACE,
    STATE_EXTENSION,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_FIRST,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_END_LF,
    STATE_DONE,
    STATE_BAD, /* a refused body stays refused */
};

static enum chunk_state size_digit(struct http_chunked *c, char byte)
{
    int digit = http_hex_digit(byte);

    /* Sizes stay below 2^63, so that sums with a buffer's length cannot wrap. */
    if (digit < 0 || (c->left >> 59) != 0)
        return STATE_BAD;
    c->left = c->left << 4 | (uint64_t)digit;
    return STATE_SIZE;
}

static enum chunk_state size_byte(struct http_chunked *c, char byte)
{
    if (++c->line_len > CHUNK_LINE_BYTES_MAX)
        return STATE_BAD;
    switch ((enum chunk_state)c->state) {
    case STATE_SIZE_FIRST:
        return size_digit(c, byte);
    case STATE_SIZE:
        if (byte == '\r')
            return STATE_SIZE_LF;
        if (byte == ';')
            return STATE_EXTENSION;
        if (byte == ' ' || byte == '\t')
            return STATE_SIZE_SPACE;
        return size_digit(c, byte);
    case STATE_SIZE_SPACE:
        /* White space may only lead to an extension: "5 \r\n" is read in two ways by real servers.
         */
        if (byte == ';')
            return STATE_EXTENSION;
        return byte == ' ' || byte == '\t' ? STATE_SIZE_SPACE : STATE_BAD;
    case STATE_EXTENSION:
        if (byte == '\r')
            return STATE_SIZE_LF;
        return http_is(byte, HTTP_CLASS_VALUE) ? STATE_EXTENSION : STATE_BAD;
    default: /* STATE_SIZE_LF */
        if (byte != '\n')
            return STATE_BAD;
        c->line_len = 0;
        return c->left == 0 ? STATE_TRAILER_FIRST : STATE_DATA;
    }
}

static enum chunk_state trailer_byte(struct http_chunked *c, char byte)
{
    if (++c->line_len > TRAILER_BYTES_MAX)
        return STATE_BAD;
    switch ((enum chunk_state)c->state) {
    case STATE_TRAILER_FIRST:
        if (byte == '\r')
            return STATE_END_LF;
        return http_is(byte, HTTP_CLASS_TOKEN) ? STATE_TRAILER_NAME : STATE_BAD;
    case STATE_TRAILER_NAME:
        if (byte == ':')
            return STATE_TRAILER_VALUE;
        return http_is(byte, HTTP_CLASS_TOKEN) ? STATE_TRAILER_NAME : STATE_BAD;
    case STATE_TRAILER_VALUE:
        if (byte == '\r')
            return STATE_TRAILER_LF;
        return http_is(byte, HTTP_CLASS_VALUE) ? STATE_TRAILER_VALUE : STATE_BAD;
    case STATE_TRAILER_LF:
        return byte == '\n' ? STATE_TRAILER_FIRST : STATE_BAD;
    default: /* STATE_END_LF */
        return byte == '\n' ? STATE_DONE : STATE_BAD;
    }
}

static enum chunk_state framing_byte(struct http_chunked *c, char byte)
{
    if (c->state == STATE_DATA_CR)
        return byte == '\r' ? STATE_DATA_LF : STATE_BAD;
    if (c->state == STATE_DATA_LF)
        return byte == '\n' ? STATE_SIZE_FIRST : STATE_BAD;
    if (c->state <= STATE_SIZE_LF)
        return size_byte(c, byte);
    return trailer_byte(c, byte);
}

int http_chunked_squeeze(struct http_chunked *c, char *dst, const char *raw, size_t len,
                         size_t *consumed, size_t *payload)
{
    const char *at = raw;
    const char *end = raw + len;
    char *out = dst;

    ASSERT_HOT(dst <= raw);
    ASSERT_HOT(c->state <= STATE_BAD);
    while (at < end && c->state < STATE_DONE) {
        if (c->state == STATE_DATA) {
            size_t room = (size_t)(end - at);
            size_t n = c->left < room ? (size_t)c->left : room;

            if (out != at)
                memmove(out, at, n);
            out += n;
            at += n;
            c->left -= n;
            if (c->left == 0)
                c->state = STATE_DATA_CR;
        } else {
            c->state = (uint8_t)framing_byte(c, *at++);
        }
    }
    ASSERT_HOT(out <= at);
    *consumed = (size_t)(at - raw);
    *payload = (size_t)(out - dst);
    if (c->state == STATE_BAD)
        return -EINVAL;
    return c->state == STATE_DONE;
}
