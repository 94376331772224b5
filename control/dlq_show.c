/* COLD. `penstock dlq show`: everything about one letter; its bytes escaped for a terminal, or as
 * they came. */
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/dlq_internal.h"
#include "control/protocol.h"
#include "dataplane/base/reason.h"
#include "dataplane/event/timeval.h"

#define SHOWN_BYTES   16384 /* of the original; --raw writes all */
#define CARET_COLUMNS 60    /* shown in front of the error and behind it */
#define NAME_BYTES    64

struct show {
    struct dlq_command *c;
    bool found, failed;
};

/* Length of the printable character at p; 0 when it must be escaped. */
static size_t printable_length(const char *p, size_t left)
{
    unsigned char c = (unsigned char)p[0];
    size_t n = c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;

    ASSERT(left > 0);
    if (n == 0 || n > left || c < 0x20 || c == 0x7F)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)p[i] & 0xC0) != 0x80)
            return 0;
    }
    return c == 0xC2 && (unsigned char)p[1] < 0xA0 ? 0 : n; /* C1 controls */
}

/* Writes one character. @return bytes of text taken; *columns grows by its width. */
static size_t put_shown(struct textbuf *b, const char *p, size_t left, bool keep_lines,
                        size_t *columns)
{
    size_t n = printable_length(p, left);

    ASSERT(columns != NULL);
    if (n > 0) {
        textbuf_bytes(b, p, n);
        *columns += 1;
        return n;
    }
    if (*p == '\n' && keep_lines) {
        textbuf_add(b, "\n");
        return 1;
    }
    textbuf_add(b,
                *p == '\n'   ? "\\n"
                : *p == '\t' ? "\\t"
                : *p == '\r' ? "\\r"
                             : "\\x%02x",
                (unsigned char)*p);
    *columns += *p == '\n' || *p == '\t' || *p == '\r' ? 2 : 4;
    return 1;
}

/* Steps back to the start of a character. */
static size_t character_start(struct span raw, size_t at)
{
    ASSERT(at <= raw.len);
    for (int i = 0; i < 3 && at > 0 && at < raw.len && ((unsigned char)raw.ptr[at] & 0xC0) == 0x80;
         i++)
        at--;
    return at;
}

/* A line of what surrounds the error, and a caret below it. */
static void put_caret(const struct dlq_letter *l, struct textbuf *b)
{
    size_t offset = l->line.error_offset, columns = 0, ignored = 0;
    size_t from = offset > CARET_COLUMNS ? character_start(l->raw, offset - CARET_COLUMNS) : 0;

    ASSERT(offset <= l->raw.len);
    textbuf_add(b, "  at byte %zu:\n    ", offset);
    if (from > 0) {
        textbuf_add(b, "...");
        columns = 3;
    }
    for (size_t at = from; at < offset;)
        at += put_shown(b, l->raw.ptr + at, l->raw.len - at, false, &columns);
    for (size_t at = offset; at < l->raw.len && ignored < CARET_COLUMNS;)
        at += put_shown(b, l->raw.ptr + at, l->raw.len - at, false, &ignored);
    textbuf_add(b, "\n    %*s^\n", (int)columns, "");
}

static void put_raw(const struct dlq_letter *l, struct textbuf *b)
{
    size_t end = l->raw.len < SHOWN_BYTES ? l->raw.len : character_start(l->raw, SHOWN_BYTES);
    size_t columns = 0;

    ASSERT(end <= l->raw.len);
    for (size_t at = 0; at < end;)
        at += put_shown(b, l->raw.ptr + at, l->raw.len - at, true, &columns);
    textbuf_add(b, "\n");
    if (end < l->raw.len)
        textbuf_add(b, "... %zu more bytes; --raw writes all of them\n", l->raw.len - end);
}

static void user_name(uint32_t uid, char *out, size_t out_len)
{
    struct passwd entry, *found = NULL;
    char room[4096];

    ASSERT(out_len > 0);
    if (getpwuid_r((uid_t)uid, &entry, room, sizeof(room), &found) == 0 && found != NULL)
        snprintf(out, out_len, "%s", entry.pw_name);
    else
        snprintf(out, out_len, "uid %" PRIu32, uid);
}

static void put_state(const struct dlq_letter *l, struct textbuf *b)
{
    char at[TIME_TEXT_BYTES + 1], name[NAME_BYTES];

    ASSERT(l->mark.state < DLQ_STATES);
    textbuf_add(b, "state         %s", dlq_state_name(l->mark.state));
    if (l->mark.state != DLQ_NEW) {
        dlq_time_text(l->mark.at_us, at);
        user_name(l->mark.uid, name, sizeof(name));
        textbuf_add(b, " at %s by %s", at, name);
    }
    if (l->mark.outcome[0] != '\0')
        textbuf_add(b, ": %s", l->mark.outcome);
    textbuf_add(b, "\n");
    if (!l->complete)
        textbuf_add(b,
                    "INCOMPLETE    %" PRIu32 " of %" PRIu32 " parts are in the bucket; the others "
                    "are on their way, or its request was never acknowledged\n",
                    l->parts_found, l->line.parts);
}

static void show_text(const struct dlq_letter *l, struct textbuf *b)
{
    char id[DLQ_ID_BYTES + 1], received[TIME_TEXT_BYTES + 1];
    enum reason reason = reason_from_name(l->line.reason);

    ASSERT(b != NULL);
    dlq_id_text(&l->line.id, id);
    dlq_time_text(l->line.received_us, received);
    textbuf_add(b, "id            %s\nreceived      %s\ntype          ", id, received);
    dlq_type_text(l->type, b);
    textbuf_add(b, "\nreason        ");
    textbuf_printable(b, span_of(l->line.reason));
    if (reason != REASON_NONE)
        textbuf_add(b, " (%s)", reason_text(reason));
    textbuf_add(b, "\nsource        ");
    textbuf_printable(b, span_of(l->line.source));
    textbuf_add(b, "\nposition      %" PRIu32 " in its request\n", l->line.position);
    put_state(l, b);
    textbuf_add(b, "object        ");
    textbuf_printable(b, span_of(l->object));
    textbuf_add(b, "\nbytes         %" PRIu64 "\ndetail        ", l->bytes);
    textbuf_printable(b, span_of(l->line.detail[0] != '\0' ? l->line.detail : "(none)"));
    textbuf_add(b, "\n");
    if (l->line.error_offset <= l->raw.len && l->raw.len > 0)
        put_caret(l, b);
    textbuf_add(b, "\n");
    put_raw(l, b);
}

static void put_base64(struct span raw, struct textbuf *b)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    textbuf_add(b, "\"");
    for (size_t i = 0; i < raw.len; i += 3) {
        size_t left = raw.len - i;
        uint32_t v = (uint32_t)(unsigned char)raw.ptr[i] << 16;
        char out[4];

        v |= left > 1 ? (uint32_t)(unsigned char)raw.ptr[i + 1] << 8 : 0;
        v |= left > 2 ? (unsigned char)raw.ptr[i + 2] : 0;
        out[0] = digits[v >> 18];
        out[1] = digits[v >> 12 & 63];
        out[2] = left > 1 ? digits[v >> 6 & 63] : '=';
        out[3] = left > 2 ? digits[v & 63] : '=';
        textbuf_bytes(b, out, sizeof(out));
    }
    ASSERT(b != NULL);
    textbuf_add(b, "\"");
}

static void show_json(const struct dlq_letter *l, struct textbuf *b)
{
    char id[DLQ_ID_BYTES + 1], received[TIME_TEXT_BYTES + 1], at[TIME_TEXT_BYTES + 1] = "";

    ASSERT(b != NULL);
    dlq_id_text(&l->line.id, id);
    dlq_time_text(l->line.received_us, received);
    if (l->mark.state != DLQ_NEW)
        dlq_time_text(l->mark.at_us, at);
    textbuf_add(b, "{\"id\":\"%s\",\"received_at\":\"%s\",\"type\":", id, received);
    textbuf_json(b, l->type);
    textbuf_add(b, ",\"reason\":");
    textbuf_json(b, span_of(l->line.reason));
    textbuf_add(b, ",\"detail\":");
    textbuf_json(b, span_of(l->line.detail));
    textbuf_add(b, ",\"source\":");
    textbuf_json(b, span_of(l->line.source));
    textbuf_add(b,
                ",\"position\":%" PRIu32 ",\"error_offset\":%" PRIu32 ",\"bytes\":%" PRIu64
                ",\"state\":\"%s\",\"state_at\":\"%s\",\"uid\":%" PRIu32 ",\"outcome\":",
                l->line.position, l->line.error_offset, l->bytes, dlq_state_name(l->mark.state), at,
                l->mark.uid);
    textbuf_json(b, span_of(l->mark.outcome));
    textbuf_add(b, ",\"parts\":%" PRIu32 ",\"parts_found\":%" PRIu32 ",\"object\":", l->line.parts,
                l->parts_found);
    textbuf_json(b, span_of(l->object));
    textbuf_add(b, l->line.base64 ? ",\"raw_base64\":" : ",\"raw\":");
    if (l->line.base64)
        put_base64(l->raw, b);
    else
        textbuf_json(b, l->raw);
    textbuf_add(b, "}\n");
}

static bool visit_letter(void *ctx, const struct dlq_letter *l)
{
    struct show *s = ctx;

    ASSERT(!s->found);
    s->found = true;
    if (s->c->options.raw && l->complete)
        textbuf_bytes(s->c->body, l->raw.ptr, l->raw.len);
    else if (s->c->options.raw)
        s->failed = true;
    else if (s->c->options.json)
        show_json(l, s->c->body);
    else
        show_text(l, s->c->body);
    return false;
}

int dlq_show(struct dlq_command *c)
{
    struct show show = {.c = c};
    struct dlq_scan s = {
        .d = c->d,
        .db = c->db,
        .filter = &c->options.filter,
        .newest_first = true,
        .want_raw = true,
        .others = c->options.others,
        .client_fd = c->client_fd,
        .letter = visit_letter,
        .ctx = &show,
    };
    char error[DLQ_ERROR_BYTES], id[DLQ_ID_BYTES + 1];
    int rc = dlq_scan_ids(&s, error, sizeof(error)), status = PROTOCOL_OK;

    ASSERT(c->options.filter.n_ids == 1);
    dlq_id_text(&c->options.filter.id[0], id);
    if (rc != 0)
        status = dlq_fail(c, "%s", error[0] != '\0' ? error : strerror(-rc));
    else if (show.failed)
        status = dlq_fail(c,
                          "%s: not all of its parts are in the bucket; without --raw, show tells "
                          "what is there",
                          id);
    else if (!show.found)
        status = dlq_fail(c, "%s: no such dead letter in the bucket%s%s", id,
                          s.n_problems > 0 ? "; not everything could be read: " : "",
                          s.n_problems > 0 ? textbuf_str(&s.problems) : "");
    dlq_scan_fini(&s);
    return status;
}
