/*
 * COLD by intent, but a flood of bad events runs it: linear in the bytes of the letter, no
 * allocation, no printf. See dead.h.
 *
 * A line is head, raw, tail. The head's length is bounded before any line is written, so that all
 * parts of a letter agree on what is left for raw.
 */
#include "dataplane/event/dead.h"

#include "dataplane/event/text_internal.h"
#include "dataplane/event/timeval.h"

#define LINE_BYTES_MIN   4096
#define TYPE_BYTES_MAX   128 /* raw bytes that are shown of these three */
#define SOURCE_BYTES_MAX 128
#define UUID_DIGITS      32
#define NUMBER_BYTES_MAX 10
#define REASON_NAME_MAX  31 /* bytes */
#define ESCAPE_MAX       6
#define FIXED_BYTES_MAX  512 /* names, punctuation, numbers, times and penstock_id of one line */

static_assert(FIXED_BYTES_MAX +
                      ESCAPE_MAX * (CHECK_DETAIL_BYTES + TYPE_BYTES_MAX + SOURCE_BYTES_MAX) <
                  LINE_BYTES_MIN - 512,
              "room for raw in the shortest line");

static_assert(FIXED_BYTES_MAX +
                      ESCAPE_MAX * (CHECK_DETAIL_BYTES + TYPE_BYTES_MAX + SOURCE_BYTES_MAX) <=
                  DEAD_HEAD_BYTES_MAX,
              "raw_room() leaves the rest of a line to raw");
static_assert(FIXED_BYTES_MAX + 2 * (CHECK_DETAIL_BYTES + TYPE_BYTES_MAX + SOURCE_BYTES_MAX) <=
                  DEAD_FRAME_BYTES_MAX,
              "put_shown() escapes one byte by two at most");

#define NAME_FITS(symbol, name, text) \
    static_assert(sizeof(name) - 1 <= REASON_NAME_MAX, "as DEAD_FIXED_BYTES_MAX counts it");
REASON_DEAD_LIST(NAME_FITS)

/* A part of raw. */
struct piece {
    size_t from;
    size_t len;
};

static char *put(char *p, const char *text)
{
    size_t len = strlen(text);

    memcpy(p, text, len);
    return p + len;
}

/* Bytes that one raw byte takes in a JSON string; 0 for a control character that sends raw to
 * base64. */
static size_t escaped_bytes(char c)
{
    if (c == '"' || c == '\\' || c == '\t' || c == '\n' || c == '\r')
        return 2;
    return (unsigned char)c < 0x20 ? 0 : 1;
}

static char *put_escaped(char *p, char c)
{
    if (escaped_bytes(c) == 1) {
        *p++ = c;
        return p;
    }
    *p++ = '\\';
    *p++ = c == '\t' ? 't' : c == '\n' ? 'n' : c == '\r' ? 'r' : c;
    return p;
}

/* Writes at most max bytes of text as a string body; what is not UTF-8 or is a control character
 * becomes '?'. */
static char *put_shown(char *p, struct span text, size_t max)
{
    size_t i = 0;

    while (i < text.len) {
        size_t n = text_utf8_length(text.ptr + i, text.len - i);
        bool shown = n > 0 && escaped_bytes(text.ptr[i]) > 0;

        n = n == 0 ? 1 : n;
        if (i + n > max)
            break;
        for (size_t k = 0; k < n && shown; k++)
            p = put_escaped(p, text.ptr[i + k]);
        if (!shown)
            *p++ = '?';
        i += n;
    }
    return p;
}

static bool is_text(struct span raw)
{
    size_t i = 0;

    while (i < raw.len) {
        size_t n = text_utf8_length(raw.ptr + i, raw.len - i);

        if (n == 0 || escaped_bytes(raw.ptr[i]) == 0)
            return false;
        i += n;
    }
    return true;
}

/* Bytes of a line that are left for raw, whichever part it is. */
static size_t raw_room(const struct dead_letter *d, size_t line_max)
{
    size_t head = FIXED_BYTES_MAX;
    size_t detail = strlen(d->detail), source = strlen(d->source);

    head += ESCAPE_MAX * (detail < CHECK_DETAIL_BYTES ? detail : CHECK_DETAIL_BYTES);
    head += ESCAPE_MAX * (source < SOURCE_BYTES_MAX ? source : SOURCE_BYTES_MAX);
    head += ESCAPE_MAX * (d->event_type.len < TYPE_BYTES_MAX ? d->event_type.len : TYPE_BYTES_MAX);
    ASSERT(line_max >= LINE_BYTES_MIN && head < line_max);
    return line_max - head;
}

/* The piece of text that starts at from: as many whole characters as fit in room. */
static struct piece text_piece(struct span raw, size_t from, size_t room)
{
    struct piece piece = {from, 0};
    size_t used = 0;

    while (from + piece.len < raw.len) {
        const char *c = raw.ptr + from + piece.len;
        size_t n = text_utf8_length(c, raw.len - from - piece.len);
        size_t cost = n > 1 ? n : escaped_bytes(*c);

        ASSERT(n > 0);
        if (used + cost > room)
            break;
        used += cost;
        piece.len += n;
    }
    return piece;
}

/* Bytes of raw that one base64 line takes: whole groups of three, so that decoded parts only need
 * joining. */
static size_t binary_piece_bytes(size_t room)
{
    return room / 4 * 3;
}

/* Part `part` of text raw; NULL part counts them. */
static uint32_t walk_text(struct span raw, size_t room, uint32_t part, struct piece *out)
{
    struct piece piece = {0, 0};
    uint32_t n = 0;

    do {
        piece = text_piece(raw, piece.from + piece.len, room);
        if (out != NULL && n == part) {
            *out = piece;
            return n;
        }
        n++;
    } while (piece.from + piece.len < raw.len);
    ASSERT(out == NULL); /* part is below dead_parts() */
    return n;
}

uint32_t dead_parts(const struct dead_letter *d, size_t line_max)
{
    size_t room = raw_room(d, line_max);
    size_t bytes = binary_piece_bytes(room);

    if (is_text(d->raw))
        return walk_text(d->raw, room, 0, NULL);
    ASSERT(d->raw.len > 0);
    return (uint32_t)((d->raw.len + bytes - 1) / bytes);
}

static char *put_head(char *p, const struct dead_letter *d, uint32_t part, uint32_t parts)
{
    static_assert(sizeof("{\"reason\":\"\",\"detail\":\"\",\"event_type\":\"\",\"position\":,"
                         "\"error_offset\":,\"source\":\"\",\"received_at\":\"\",\"part\":,"
                         "\"parts\":,\"raw_base64\":\"\",\"" COLUMN_ID "\":\"\"}\n") +
                          REASON_NAME_MAX + 4 * NUMBER_BYTES_MAX + TIME_TEXT_BYTES +
                          EVENT_ID_BYTES <=
                      DEAD_FIXED_BYTES_MAX,
                  "as it is promised");
    p = put(p, "{\"reason\":\"");
    p = put(p, reason_name(d->reason));
    p = put(p, "\",\"detail\":\"");
    p = put_shown(p, span_of(d->detail), CHECK_DETAIL_BYTES);
    p = put(p, "\",\"event_type\":\"");
    p = put_shown(p, d->event_type, TYPE_BYTES_MAX);
    p = put(p, "\",\"position\":");
    p += digits_put(p, d->position);
    p = put(p, ",\"error_offset\":");
    p += digits_put(p, d->error_offset);
    p = put(p, ",\"source\":\"");
    p = put_shown(p, span_of(d->source), SOURCE_BYTES_MAX);
    p = put(p, "\",\"received_at\":\"");
    time_format(d->received_us, p);
    p += TIME_TEXT_BYTES;
    p = put(p, "\",\"part\":");
    p += digits_put(p, part + 1);
    p = put(p, ",\"parts\":");
    return p + digits_put(p, parts);
}

static char *put_text(char *p, struct span raw, struct piece piece)
{
    p = put(p, ",\"raw\":\"");
    for (size_t i = 0; i < piece.len; i++)
        p = put_escaped(p, raw.ptr[piece.from + i]);
    return p;
}

static char *put_base64(char *p, struct span raw, struct piece piece)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = (const unsigned char *)raw.ptr + piece.from;

    p = put(p, ",\"raw_base64\":\"");
    for (size_t i = 0; i < piece.len; i += 3) {
        size_t left = piece.len - i;
        uint32_t v = (uint32_t)b[i] << 16;

        v |= left > 1 ? (uint32_t)b[i + 1] << 8 : 0;
        v |= left > 2 ? b[i + 2] : 0;
        *p++ = digits[v >> 18];
        *p++ = digits[v >> 12 & 63];
        *p++ = left > 1 ? digits[v >> 6 & 63] : '=';
        *p++ = left > 2 ? digits[v & 63] : '=';
    }
    return p;
}

static char *put_tail(char *p, const char *journal_hex, uint64_t lsn)
{
    p = put(p, "\",\"" COLUMN_ID "\":\"");
    memcpy(p, journal_hex, UUID_DIGITS);
    p += UUID_DIGITS;
    *p++ = '-';
    text_hex_16(p, lsn);
    return put(p + 16, "\"}\n");
}

size_t dead_format(const struct dead_letter *d, uint32_t part, uint32_t parts, uint64_t lsn,
                   size_t line_max, char *out)
{
    size_t room = raw_room(d, line_max);
    size_t bytes = binary_piece_bytes(room);
    struct piece piece = {part * bytes, bytes};
    char *p = put_head(out, d, part, parts);

    ASSERT(part < parts && d->reason > REASON_NONE && d->reason < REASON_DEAD_END);
    if (is_text(d->raw)) {
        (void)walk_text(d->raw, room, part, &piece);
        p = put_text(p, d->raw, piece);
    } else {
        ASSERT(piece.from < d->raw.len);
        if (piece.len > d->raw.len - piece.from)
            piece.len = d->raw.len - piece.from;
        p = put_base64(p, d->raw, piece);
    }
    p = put_tail(p, d->journal_hex, lsn);
    ASSERT((size_t)(p - out) <= line_max);
    return (size_t)(p - out);
}
