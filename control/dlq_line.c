/* COLD. Takes lines of dead-letter objects apart; see dlq_line.h. */
#include "control/dlq_line.h"

#include <stdio.h>

#include "dataplane/event/timeval.h"
#include "dataplane/json/walk.h"

#define UUID_DIGITS 32
#define LSN_DIGITS  16

static_assert(DLQ_ID_BYTES == UUID_DIGITS + 1 + LSN_DIGITS, "an id");

/* The value of a lower-case hex digit, or -1. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool dlq_id_parse(struct span text, struct dlq_id *out)
{
    ASSERT(out != NULL);
    *out = (struct dlq_id){0};
    if (text.len != DLQ_ID_BYTES || text.ptr[UUID_DIGITS] != '-')
        return false;
    for (size_t i = 0; i < DLQ_ID_BYTES; i++) {
        if (i != UUID_DIGITS && hex_value(text.ptr[i]) < 0)
            return false;
    }
    for (size_t i = 0; i < sizeof(out->journal.byte); i++)
        out->journal.byte[i] =
            (uint8_t)(hex_value(text.ptr[2 * i]) * 16 + hex_value(text.ptr[2 * i + 1]));
    for (size_t i = UUID_DIGITS + 1; i < DLQ_ID_BYTES; i++)
        out->lsn = out->lsn << 4 | (lsn_t)hex_value(text.ptr[i]);
    return true;
}

void dlq_id_text(const struct dlq_id *id, char *out)
{
    ASSERT(out != NULL);
    journal_uuid_hex(&id->journal, out);
    snprintf(out + UUID_DIGITS, DLQ_ID_BYTES + 1 - UUID_DIGITS, "-%016llx",
             (unsigned long long)id->lsn);
}

bool dlq_id_equal(const struct dlq_id *a, const struct dlq_id *b)
{
    ASSERT(a != NULL && b != NULL);
    return a->lsn == b->lsn && memcmp(&a->journal, &b->journal, sizeof(a->journal)) == 0;
}

/* Copies a string member, cut to its room between characters. @return false when it is none. */
static bool text_member(struct json_value object, const char *name, char *out, size_t out_len)
{
    struct json_value v;
    struct span body;
    size_t n = 0;

    ASSERT(out_len > 1);
    out[0] = '\0';
    if (!json_find(object, span_of(name), &v) || v.type != JSON_STRING)
        return false;
    body = json_string_body(v);
    while (body.len >= out_len) { /* cut in front of an escape or a character, never inside one */
        size_t cut = out_len - 1;
        const char *escape = memchr(body.ptr, '\\', cut);

        if (escape != NULL)
            cut = (size_t)(escape - body.ptr);
        while (cut > 0 && ((unsigned char)body.ptr[cut] & 0xC0) == 0x80)
            cut--;
        body.len = cut;
    }
    n = json_unescape(body, out);
    for (size_t i = 0; i < n; i++)
        out[i] = out[i] == '\0' ? '?' : out[i];
    out[n] = '\0';
    return true;
}

static bool number_member(struct json_value object, const char *name, int64_t least, int64_t most,
                          uint32_t *out)
{
    struct json_value v;
    int64_t n;

    ASSERT(least >= 0 && most <= UINT32_MAX);
    if (!json_find(object, span_of(name), &v) || v.type != JSON_NUMBER ||
        json_int64((struct span){.ptr = v.ptr, .len = v.len}, &n) != 0 || n < least || n > most)
        return false;
    *out = (uint32_t)n;
    return true;
}

/* The value of a base64 digit, or -1. */
static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Whole groups of four digits, the last one perhaps padded. */
static bool base64_valid(struct span text)
{
    size_t digits = text.len;

    if (text.len % 4 != 0)
        return false;
    for (int i = 0; i < 2 && digits > 0 && text.ptr[digits - 1] == '='; i++)
        digits--;
    for (size_t i = 0; i < digits; i++) {
        if (base64_value(text.ptr[i]) < 0)
            return false;
    }
    ASSERT(text.len - digits <= 2);
    return true;
}

static const char *parse_raw(struct json_value root, struct dlq_line *out)
{
    struct json_value text, binary;
    bool has_text = json_find(root, span_of("raw"), &text);
    bool has_binary = json_find(root, span_of("raw_base64"), &binary);
    const struct json_value *v = has_text ? &text : &binary;

    ASSERT(out != NULL);
    if (has_text == has_binary)
        return "needs either \"raw\" or \"raw_base64\"";
    if (v->type != JSON_STRING)
        return "its original bytes are no string";
    out->raw = json_string_body(*v);
    out->base64 = has_binary;
    return out->base64 && !base64_valid(out->raw) ? "\"raw_base64\" is not base64" : NULL;
}

static const char *parse_members(struct json_value root, struct dlq_line *out)
{
    char id[DLQ_ID_BYTES + 2], received[64];

    ASSERT(root.type == JSON_OBJECT);
    if (!text_member(root, "reason", out->reason, sizeof(out->reason)) || out->reason[0] == '\0')
        return "no \"reason\"";
    if (!text_member(root, "detail", out->detail, sizeof(out->detail)))
        return "no \"detail\"";
    if (!text_member(root, "event_type", out->event_type, sizeof(out->event_type)))
        return "no \"event_type\"";
    if (!text_member(root, "source", out->source, sizeof(out->source)))
        return "no \"source\"";
    if (!text_member(root, "received_at", received, sizeof(received)) ||
        time_parse(span_of(received), &out->received_us) != 0)
        return "\"received_at\" is no time";
    if (!number_member(root, "position", 0, UINT32_MAX, &out->position) ||
        !number_member(root, "error_offset", 0, UINT32_MAX, &out->error_offset))
        return "\"position\" or \"error_offset\" is no number";
    if (!number_member(root, "parts", 1, DLQ_PARTS_MAX, &out->parts) ||
        !number_member(root, "part", 1, out->parts, &out->part))
        return "\"part\" and \"parts\" do not make sense";
    if (!text_member(root, "penstock_id", id, sizeof(id)) || !dlq_id_parse(span_of(id), &out->id))
        return "\"penstock_id\" is no id";
    return parse_raw(root, out);
}

const char *dlq_line_parse(struct span line, struct dlq_line *out)
{
    size_t offset;
    enum json_error e;
    struct json_value root;

    ASSERT(out != NULL);
    *out = (struct dlq_line){0};
    if (line.len > UINT32_MAX)
        return "longer than 4 GiB";
    e = json_validate(line.ptr, line.len, &offset);
    if (e != JSON_ERROR_NONE)
        return e == JSON_ERROR_EMPTY ? "an empty line" : "not valid JSON";
    root = json_value_at(line.ptr, line.len);
    if (root.type != JSON_OBJECT)
        return "not a JSON object";
    return parse_members(root, out);
}

size_t dlq_line_raw(const struct dlq_line *line, char *out)
{
    size_t n = 0;

    if (!line->base64)
        return json_unescape(line->raw, out);
    ASSERT(line->raw.len % 4 == 0);
    for (size_t i = 0; i < line->raw.len; i += 4) {
        const char *p = line->raw.ptr + i;
        uint32_t v = (uint32_t)base64_value(p[0]) << 18 | (uint32_t)base64_value(p[1]) << 12;

        v |= p[2] == '=' ? 0 : (uint32_t)base64_value(p[2]) << 6;
        v |= p[3] == '=' ? 0 : (uint32_t)base64_value(p[3]);
        out[n++] = (char)(v >> 16);
        if (p[2] != '=')
            out[n++] = (char)(v >> 8);
        if (p[3] != '=')
            out[n++] = (char)v;
    }
    return n;
}
