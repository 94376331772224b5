/*
 * COLD. `penstock dlq list`: newest first, because what arrives now is what an operator asks for;
 * replay goes the other way. Within a minute letters are sorted as they come by; never more than
 * two answers' worth of lines is held.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/dlq_internal.h"
#include "control/protocol.h"
#include "dataplane/event/timeval.h"

/* A line of the answer. */
struct row {
    int64_t time_us;
    struct dlq_id id;
    char *text; /* heap */
};

struct list {
    struct dlq_command *c;
    struct dlq_tally tally; /* --group */
    struct textbuf lines;   /* minutes that are complete */
    uint64_t n_lines;
    bool cut;
    int32_t minute;
    struct row *row; /* of the minute under way */
    size_t n, room;
    bool failed;
};

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int by_journal;

    if (x->time_us != y->time_us)
        return x->time_us > y->time_us ? -1 : 1;
    by_journal = memcmp(&x->id.journal, &y->id.journal, sizeof(x->id.journal));
    if (by_journal != 0)
        return by_journal;
    return x->id.lsn > y->id.lsn ? -1 : x->id.lsn < y->id.lsn;
}

/* Sorts the minute's rows and keeps as many as still fit into the answer. */
static void rows_sort(struct list *l)
{
    size_t left = (size_t)(l->c->options.limit - l->n_lines);

    ASSERT(l->n_lines <= l->c->options.limit);
    if (l->n > 1)
        qsort(l->row, l->n, sizeof(*l->row), compare_rows);
    while (l->n > left) {
        free(l->row[--l->n].text);
        l->cut = true;
    }
}

static void minute_end(struct list *l)
{
    rows_sort(l);
    for (size_t i = 0; i < l->n; i++) {
        if (l->c->options.json && l->n_lines > 0)
            textbuf_add(&l->lines, ",");
        textbuf_bytes(&l->lines, l->row[i].text, strlen(l->row[i].text));
        free(l->row[i].text);
        l->n_lines++;
    }
    ASSERT(l->n_lines <= l->c->options.limit);
    l->n = 0;
}

static void line_text(const struct dlq_letter *l, struct textbuf *b)
{
    char id[DLQ_ID_BYTES + 1], at[TIME_TEXT_BYTES + 1];

    ASSERT(b->len == 0);
    dlq_id_text(&l->line.id, id);
    dlq_time_text(l->time_us, at);
    textbuf_add(b, "%s  %.19sZ  ", id, at);
    textbuf_printable(b, span_of(l->line.reason));
    textbuf_add(b, "%*s  %9" PRIu64 "  %-9s  ",
                strlen(l->line.reason) < 20 ? (int)(20 - strlen(l->line.reason)) : 0, "", l->bytes,
                l->complete ? dlq_state_name(l->mark.state) : "partial");
    dlq_type_text(l->type, b);
    textbuf_add(b, "  ");
    textbuf_printable(b, span_of(l->line.source));
    textbuf_add(b, "\n");
}

static void line_json(const struct dlq_letter *l, struct textbuf *b)
{
    char id[DLQ_ID_BYTES + 1], received[TIME_TEXT_BYTES + 1], at[TIME_TEXT_BYTES + 1];

    ASSERT(b->len == 0);
    dlq_id_text(&l->line.id, id);
    dlq_time_text(l->line.received_us, received);
    dlq_time_text(l->time_us, at);
    textbuf_add(b, "{\"id\":\"%s\",\"time\":\"%s\",\"received_at\":\"%s\",\"type\":", id, at,
                received);
    textbuf_json(b, l->type);
    textbuf_add(b, ",\"reason\":");
    textbuf_json(b, span_of(l->line.reason));
    textbuf_add(b, ",\"detail\":");
    textbuf_json(b, span_of(l->line.detail));
    textbuf_add(b, ",\"source\":");
    textbuf_json(b, span_of(l->line.source));
    textbuf_add(b,
                ",\"position\":%" PRIu32 ",\"error_offset\":%" PRIu32 ",\"bytes\":%" PRIu64
                ",\"state\":\"%s\",\"outcome\":",
                l->line.position, l->line.error_offset, l->bytes, dlq_state_name(l->mark.state));
    textbuf_json(b, span_of(l->mark.outcome));
    textbuf_add(b, ",\"parts\":%" PRIu32 ",\"complete\":%s,\"object\":", l->line.parts,
                l->complete ? "true" : "false");
    textbuf_json(b, span_of(l->object));
    textbuf_add(b, "}");
}

static bool row_add(struct list *l, const struct dlq_letter *letter)
{
    struct textbuf text = {0};

    ASSERT(l->n <= l->room);
    if (l->n == l->room) {
        size_t room = l->room > 0 ? 2 * l->room : 256;
        struct row *row = realloc(l->row, room * sizeof(*row));

        if (row == NULL)
            return false;
        l->row = row;
        l->room = room;
    }
    if (l->c->options.json)
        line_json(letter, &text);
    else
        line_text(letter, &text);
    if (text.failed) {
        textbuf_fini(&text);
        return false;
    }
    l->row[l->n++] =
        (struct row){.time_us = letter->time_us, .id = letter->line.id, .text = text.ptr};
    return true;
}

static bool visit_row(void *ctx, const struct dlq_letter *letter)
{
    struct list *l = ctx;

    ASSERT(l->c->options.limit > 0);
    if (letter->minute != l->minute) {
        minute_end(l);
        l->minute = letter->minute;
    }
    if (l->n_lines == l->c->options.limit) {
        l->cut = true;
        return false;
    }
    if (!row_add(l, letter)) {
        l->failed = true;
        return false;
    }
    if (l->n >= 2 * (l->c->options.limit - l->n_lines))
        rows_sort(l);
    return true;
}

static bool visit_group(void *ctx, const struct dlq_letter *letter)
{
    struct list *l = ctx;

    ASSERT(l->c->options.group);
    dlq_tally_add(&l->tally, letter, letter->line.reason);
    return true;
}

static void write_json(struct list *l, const struct dlq_scan *s)
{
    struct textbuf *b = l->c->body;

    ASSERT(l->c->options.json);
    textbuf_add(b, "{");
    if (l->c->options.group) {
        textbuf_add(b, "\"letters\":%" PRIu64 ",\"bytes\":%" PRIu64 ",", l->tally.letters,
                    l->tally.bytes);
        dlq_tally_write(&l->tally, true, b);
    } else {
        textbuf_add(b, "\"letters\":[%s],\"cut\":%s", textbuf_str(&l->lines),
                    l->cut ? "true" : "false");
    }
    textbuf_add(b, ",\"objects_read\":%" PRIu64 ",\"objects_others\":%" PRIu64, s->objects_read,
                s->objects_others);
    dlq_pending_write(l->c->d, true, b);
    (void)dlq_problems_write(s, true, b);
    textbuf_add(b, "}\n");
}

static void write_text(struct list *l, const struct dlq_scan *s)
{
    struct textbuf *b = l->c->body;

    ASSERT(!l->c->options.json);
    if (l->c->options.group) {
        dlq_tally_write(&l->tally, false, b);
        textbuf_add(b, "%" PRIu64 " dead letters, %" PRIu64 " bytes\n", l->tally.letters,
                    l->tally.bytes);
    } else {
        if (l->n_lines > 0)
            textbuf_add(b, "%-49s  %-20s  %-20s  %9s  %-9s  %s\n%s", "ID", "TIME", "REASON",
                        "BYTES", "STATE", "TYPE  SOURCE", textbuf_str(&l->lines));
        else
            textbuf_add(b, "no dead letters match\n");
        if (l->cut)
            textbuf_add(b,
                        "there are more: these are the newest %" PRIu64
                        "; --limit N, filters or --group show the others\n",
                        l->n_lines);
    }
    dlq_pending_write(l->c->d, false, b);
    (void)dlq_problems_write(s, false, b);
}

int dlq_list(struct dlq_command *c)
{
    struct list l = {.c = c, .minute = INT32_MIN};
    struct dlq_scan s = {
        .d = c->d,
        .db = c->db,
        .filter = &c->options.filter,
        .newest_first = true,
        .others = c->options.others,
        .client_fd = c->client_fd,
        .letter = c->options.group ? visit_group : visit_row,
        .ctx = &l,
    };
    char error[DLQ_ERROR_BYTES];
    int rc = dlq_scan(&s, error, sizeof(error)), status = PROTOCOL_OK;

    minute_end(&l);
    ASSERT(l.n == 0);
    if (rc == 0 && (l.failed || l.lines.failed))
        snprintf(error, sizeof(error), "out of memory; ask for fewer with --limit");
    if (rc != 0 || l.failed || l.lines.failed) {
        status = dlq_fail(c, "%s", error);
    } else {
        if (c->options.json)
            write_json(&l, &s);
        else
            write_text(&l, &s);
        status = s.n_problems > 0 ? PROTOCOL_ERROR : PROTOCOL_OK;
    }
    free(l.row);
    textbuf_fini(&l.lines);
    dlq_tally_fini(&l.tally);
    dlq_scan_fini(&s);
    return status;
}
