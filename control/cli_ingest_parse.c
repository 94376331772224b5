/* COLD. Requests of ingest_protocol.h as bytes: nothing in them is believed. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "control/cli_ingest.h"

enum ingest_request ingest_parse_line(const char *line, size_t len, uint64_t *bytes)
{
    static const struct {
        const char *name;
        enum ingest_request request;
    } all[] = {{INGEST_SESSIONS " ", INGEST_REQUEST_SESSIONS},
               {INGEST_OPEN " ", INGEST_REQUEST_OPEN},
               {INGEST_BATCH " ", INGEST_REQUEST_BATCH}};

    ASSERT(bytes != NULL);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        size_t at = strlen(all[i].name);

        if (len <= at || len > at + 12 || memcmp(line, all[i].name, at) != 0)
            continue;
        for (*bytes = 0; at < len; at++) {
            if (line[at] < '0' || line[at] > '9')
                return INGEST_REQUEST_NONE;
            *bytes = 10 * *bytes + (uint64_t)(line[at] - '0');
        }
        return all[i].request;
    }
    return INGEST_REQUEST_NONE;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_session(struct span value, uint8_t *out)
{
    if (value.len != 2 * INGEST_SESSION_BYTES)
        return false;
    for (size_t i = 0; i < INGEST_SESSION_BYTES; i++) {
        int high = hex_digit(value.ptr[2 * i]), low = hex_digit(value.ptr[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool parse_field(struct span key, struct span value, struct ingest_open *out)
{
    ASSERT(key.ptr != NULL);
    if (span_equal(key, span_of("session")))
        return parse_session(value, out->session);
    if (span_equal(key, span_of("type"))) {
        if (value.len == 0 || value.len > sizeof(out->type))
            return false;
        memcpy(out->type, value.ptr, value.len);
        out->type_len = value.len;
        return true;
    }
    if (!span_equal(key, span_of("name")) || value.len > INGEST_NAME_BYTES_MAX ||
        memchr(value.ptr, 0, value.len) != NULL)
        return false;
    memcpy(out->source, "file ", 5);
    memcpy(out->source + 5, value.ptr, value.len);
    out->source[5 + value.len] = '\0';
    return true;
}

int ingest_parse_open(const char *body, size_t len, struct ingest_open *out, struct textbuf *error)
{
    static const uint8_t none[INGEST_SESSION_BYTES];
    const char *end = body + len;

    ASSERT(out != NULL);
    *out = (struct ingest_open){.source = "file"};
    while (body < end) {
        const char *line_end = memchr(body, '\n', (size_t)(end - body));
        const char *equals = line_end == NULL ? NULL : memchr(body, '=', (size_t)(line_end - body));

        if (equals == NULL ||
            !parse_field((struct span){body, (size_t)(equals - body)},
                         (struct span){equals + 1, (size_t)(line_end - equals) - 1}, out)) {
            textbuf_add(error, "a line of " INGEST_OPEN " is no session=, name= or type= as it "
                               "should be\n");
            return -EINVAL;
        }
        body = line_end + 1;
    }
    if (memcmp(out->session, none, sizeof(none)) != 0)
        return 0;
    textbuf_add(error, INGEST_OPEN " names no session\n");
    return -EINVAL;
}

int ingest_parse_batch(const char *body, size_t len, const struct ingest_open *open,
                       struct inject_doc *doc, uint32_t max)
{
    uint64_t seq = 0;
    uint32_t n = 0;

    ASSERT(open != NULL && doc != NULL);
    while (len > 0) {
        struct ingest_doc_header h;

        if (n == max || len < sizeof(h))
            return -EINVAL;
        memcpy(&h, body, sizeof(h));
        body += sizeof(h);
        len -= sizeof(h);
        if (le32toh(h.len) > len || le64toh(h.seq) <= seq || le64toh(h.whole) < le32toh(h.len))
            return -EINVAL;
        seq = le64toh(h.seq);
        doc[n++] = (struct inject_doc){
            .raw = {body, le32toh(h.len)},
            .type = {open->type, open->type_len},
            .source = open->source,
            .line = le64toh(h.line),
            .whole = le64toh(h.whole),
            .seq = seq,
            .note = le64toh(h.note),
        };
        body += le32toh(h.len);
        len -= le32toh(h.len);
    }
    return n > 0 ? (int)n : -EINVAL;
}
