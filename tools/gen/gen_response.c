/*
 * HOT. See gen_response.h.
 *
 *   STATUS -> HEADER -> BODY -----------------------------> DONE
 *     ^          |----> BODY_CLOSE --(connection ends)----> DONE
 *     |          |----> CHUNK_SIZE -> CHUNK_DATA -> CHUNK_END -> CHUNK_SIZE ...
 *     |          |           `--(size 0)--> TRAILER -------> DONE
 *     `--(1xx)---'
 */
#include "tools/gen/gen_response.h"

#include <string.h>
#include <strings.h>

#include "tools/gen/gen_assert.h"

#define NUMBER_MAX UINT64_C(1000000000000)

void gen_response_reset(struct gen_response *r)
{
    /* Not the two buffers: they are 5 KiB, and their lengths say what is in them. */
    r->state = GEN_RESPONSE_STATUS;
    r->status = 0;
    r->close = false;
    r->retry_after_s = -1;
    r->body_kept_bytes = 0;
    r->_chunked = false;
    r->_has_length = false;
    r->_left = 0;
    r->_line_bytes = 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Decimal digits at text, ended by anything else. False when there are none or too many. */
static bool read_number(const char *text, uint64_t *value)
{
    *value = 0;
    if (!is_digit(*text)) {
        return false;
    }
    for (; is_digit(*text); text++) {
        *value = *value * 10 + (uint64_t)(*text - '0');
        if (*value > NUMBER_MAX) {
            return false;
        }
    }
    return true;
}

static void on_status(struct gen_response *r)
{
    uint64_t status;
    bool http_1 =
        strncmp(r->_line, "HTTP/1.", 7) == 0 && is_digit(r->_line[7]) && r->_line[8] == ' ';
    if (!http_1 || !read_number(r->_line + 9, &status) || status < 100 || status > 599) {
        r->state = GEN_RESPONSE_BAD;
        return;
    }
    r->status = (int)status;
    r->close = r->_line[7] == '0';
    r->state = GEN_RESPONSE_HEADER;
}

static void on_headers_end(struct gen_response *r)
{
    if (r->status < 200) {
        gen_response_reset(r); /* interim answer: the real one follows */
    } else if (r->_chunked) {
        r->state = GEN_RESPONSE_CHUNK_SIZE;
    } else if (r->status == 204 || r->status == 304 || (r->_has_length && r->_left == 0)) {
        r->state = GEN_RESPONSE_DONE;
    } else if (r->_has_length) {
        r->state = GEN_RESPONSE_BODY;
    } else {
        r->close = true;
        r->state = GEN_RESPONSE_BODY_CLOSE;
    }
}

/* The value of header `name` if the line is that header, else NULL. */
static const char *header_value(const char *line, const char *name)
{
    size_t name_bytes = strlen(name);
    if (strncasecmp(line, name, name_bytes) != 0 || line[name_bytes] != ':') {
        return NULL;
    }
    line += name_bytes + 1;
    return line + strspn(line, " \t");
}

static void on_header(struct gen_response *r)
{
    const char *value;
    uint64_t number;
    if (r->_line_bytes == 0) {
        on_headers_end(r);
    } else if ((value = header_value(r->_line, "Content-Length")) != NULL) {
        r->_has_length = read_number(value, &r->_left);
        if (!r->_has_length) {
            r->state = GEN_RESPONSE_BAD;
        }
    } else if ((value = header_value(r->_line, "Transfer-Encoding")) != NULL) {
        r->_chunked = strcasecmp(value, "chunked") == 0;
    } else if ((value = header_value(r->_line, "Connection")) != NULL) {
        if (strcasecmp(value, "close") == 0) {
            r->close = true;
        } else if (strcasecmp(value, "keep-alive") == 0) {
            r->close = false;
        }
    } else if ((value = header_value(r->_line, "Retry-After")) != NULL) {
        if (read_number(value, &number) && number <= 86400) {
            r->retry_after_s = (int)number;
        }
    }
}

static void on_chunk_size(struct gen_response *r)
{
    uint64_t size = 0;
    size_t digits = 0;
    for (const char *c = r->_line; *c != '\0' && *c != ';' && *c != ' '; c++, digits++) {
        unsigned digit = is_digit(*c) ? (unsigned)(*c - '0') : (unsigned)((*c | 0x20) - 'a') + 10;
        if (digit > 15 || size > NUMBER_MAX) {
            digits = 0;
            break;
        }
        size = size * 16 + digit;
    }
    if (digits == 0) {
        r->state = GEN_RESPONSE_BAD;
        return;
    }
    r->_left = size;
    r->state = size == 0 ? GEN_RESPONSE_TRAILER : GEN_RESPONSE_CHUNK_DATA;
}

static void on_line(struct gen_response *r)
{
    switch (r->state) {
    case GEN_RESPONSE_STATUS:
        on_status(r);
        break;
    case GEN_RESPONSE_HEADER:
        on_header(r);
        break;
    case GEN_RESPONSE_CHUNK_SIZE:
        on_chunk_size(r);
        break;
    case GEN_RESPONSE_CHUNK_END:
        r->state = r->_line_bytes == 0 ? GEN_RESPONSE_CHUNK_SIZE : GEN_RESPONSE_BAD;
        break;
    case GEN_RESPONSE_TRAILER:
        r->state = r->_line_bytes == 0 ? GEN_RESPONSE_DONE : GEN_RESPONSE_TRAILER;
        break;
    case GEN_RESPONSE_BODY:
    case GEN_RESPONSE_BODY_CLOSE:
    case GEN_RESPONSE_CHUNK_DATA:
    case GEN_RESPONSE_DONE:
    case GEN_RESPONSE_BAD:
    default:
        GEN_ASSERT(false && "a state that reads lines");
        break;
    }
    r->_line_bytes = 0;
}

/* Adds to the line; at its end acts on it. Returns bytes taken. */
static size_t feed_line(struct gen_response *r, const char *bytes, size_t count)
{
    const char *end = memchr(bytes, '\n', count);
    size_t part = end != NULL ? (size_t)(end - bytes) : count;
    if (r->_line_bytes + part >= sizeof(r->_line)) {
        r->state = GEN_RESPONSE_BAD;
        return part;
    }
    memcpy(r->_line + r->_line_bytes, bytes, part);
    r->_line_bytes += part;
    if (end == NULL) {
        return part;
    }
    if (r->_line_bytes > 0 && r->_line[r->_line_bytes - 1] == '\r') {
        r->_line_bytes--;
    }
    r->_line[r->_line_bytes] = '\0';
    on_line(r);
    return part + 1;
}

static size_t feed_body(struct gen_response *r, const char *bytes, size_t count)
{
    bool counted = r->state != GEN_RESPONSE_BODY_CLOSE;
    size_t part = counted && count > r->_left ? (size_t)r->_left : count;
    size_t room = sizeof(r->body) - r->body_kept_bytes;
    size_t kept = part < room ? part : room;
    memcpy(r->body + r->body_kept_bytes, bytes, kept);
    r->body_kept_bytes += kept;
    if (counted) {
        r->_left -= part;
        if (r->_left == 0) {
            r->state = r->state == GEN_RESPONSE_BODY ? GEN_RESPONSE_DONE : GEN_RESPONSE_CHUNK_END;
        }
    }
    return part;
}

size_t gen_response_feed(struct gen_response *r, const char *bytes, size_t count)
{
    size_t taken = 0;
    while (taken < count && r->state != GEN_RESPONSE_DONE && r->state != GEN_RESPONSE_BAD) {
        bool in_body = r->state == GEN_RESPONSE_BODY || r->state == GEN_RESPONSE_BODY_CLOSE ||
                       r->state == GEN_RESPONSE_CHUNK_DATA;
        taken += in_body ? feed_body(r, bytes + taken, count - taken)
                         : feed_line(r, bytes + taken, count - taken);
    }
    GEN_ASSERT(taken <= count);
    return taken;
}

bool gen_response_end(struct gen_response *r)
{
    if (r->state == GEN_RESPONSE_BODY_CLOSE) {
        r->state = GEN_RESPONSE_DONE;
    }
    return r->state == GEN_RESPONSE_DONE;
}

/* End of the string that starts after its quote; count when it has none. */
static size_t string_end(const char *text, size_t at, size_t count)
{
    while (at < count && text[at] != '"') {
        at += text[at] == '\\' ? 2 : 1;
    }
    return at < count ? at : count;
}

static uint64_t number_after_colon(const char *text, size_t at, size_t count)
{
    uint64_t value = 0;
    while (at < count && (text[at] == ' ' || text[at] == ':')) {
        at++;
    }
    for (; at < count && is_digit(text[at]) && value < NUMBER_MAX; at++) {
        value = value * 10 + (uint64_t)(text[at] - '0');
    }
    return value;
}

uint64_t gen_response_number(const struct gen_response *r, const char *key)
{
    size_t key_bytes = strlen(key);
    int depth = 0;
    for (size_t at = 0; at < r->body_kept_bytes; at++) {
        char c = r->body[at];
        if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (c == '"') {
            size_t start = at + 1;
            at = string_end(r->body, start, r->body_kept_bytes);
            if (depth == 1 && at - start == key_bytes &&
                memcmp(r->body + start, key, key_bytes) == 0) {
                return number_after_colon(r->body, at + 1, r->body_kept_bytes);
            }
        }
    }
    return 0;
}
