/* COLD. What the answers of the dead-letter commands share; see dlq_internal.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/dlq_internal.h"
#include "control/protocol.h"
#include "control/totals.h"
#include "dataplane/event/timeval.h"

#define TALLY_ROWS_MAX 10000 /* then types count together */

int dlq_fail(struct dlq_command *c, const char *format, ...)
{
    char text[DLQ_ERROR_BYTES];
    va_list args;

    ASSERT(c->body != NULL);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    textbuf_fini(c->body);
    if (c->options.json) {
        textbuf_add(c->body, "{\"error\":");
        textbuf_json(c->body, span_of(text));
        textbuf_add(c->body, "}\n");
    } else {
        textbuf_printable(c->body, span_of(text));
        textbuf_add(c->body, "\n");
    }
    return PROTOCOL_ERROR;
}

void dlq_time_text(int64_t us, char *out)
{
    ASSERT(us >= TIME_US_MIN && us <= TIME_US_MAX);
    time_format(us, out);
    out[TIME_TEXT_BYTES] = '\0';
}

void dlq_type_text(struct span type, struct textbuf *body)
{
    ASSERT(body != NULL);
    textbuf_printable(body, type.len > 0 ? type : span_of("(none)"));
}

/* ---- tallies ---- */

static struct dlq_tally_row *tally_row(struct dlq_tally *t, struct span type, const char *reason)
{
    struct dlq_tally_row *r;

    ASSERT(type.len <= TYPE_NAME_BYTES_MAX);
    for (size_t i = t->n; i > 0; i--) { /* the latest is mostly the one */
        r = &t->row[i - 1];
        if (r->type_len == type.len && memcmp(r->type, type.ptr, type.len) == 0 &&
            strcmp(r->reason, reason) == 0)
            return r;
    }
    if (t->n == t->room) {
        size_t room = t->room > 0 ? 2 * t->room : 64;

        r = room <= TALLY_ROWS_MAX ? realloc(t->row, room * sizeof(*r)) : NULL;
        if (r == NULL) {
            t->failed = true;
            return NULL;
        }
        t->row = r;
        t->room = room;
    }
    r = &t->row[t->n++];
    *r = (struct dlq_tally_row){
        .type_len = (uint8_t)type.len, .oldest_us = INT64_MAX, .newest_us = INT64_MIN};
    memcpy(r->type, type.ptr, type.len);
    snprintf(r->reason, sizeof(r->reason), "%s", reason);
    return r;
}

void dlq_tally_add(struct dlq_tally *t, const struct dlq_letter *l, const char *reason)
{
    struct dlq_tally_row *r = tally_row(t, l->type, reason);

    t->letters++;
    t->bytes += l->bytes;
    if (r == NULL)
        return;
    ASSERT(t->n <= t->room);
    r->letters++;
    r->bytes += l->bytes;
    r->oldest_us = l->time_us < r->oldest_us ? l->time_us : r->oldest_us;
    r->newest_us = l->time_us > r->newest_us ? l->time_us : r->newest_us;
}

static int compare_rows(const void *a, const void *b)
{
    const struct dlq_tally_row *x = a, *y = b;
    int by_type;

    if (x->letters != y->letters)
        return x->letters > y->letters ? -1 : 1;
    by_type = memcmp(x->type, y->type, x->type_len < y->type_len ? x->type_len : y->type_len);
    if (by_type != 0 || x->type_len != y->type_len)
        return by_type != 0 ? by_type : (int)x->type_len - (int)y->type_len;
    return strcmp(x->reason, y->reason);
}

static void row_write(const struct dlq_tally_row *r, bool json, bool first, struct textbuf *b)
{
    struct span type = {.ptr = r->type, .len = r->type_len};
    char oldest[TIME_TEXT_BYTES + 1], newest[TIME_TEXT_BYTES + 1];

    ASSERT(r->letters > 0);
    dlq_time_text(r->oldest_us, oldest);
    dlq_time_text(r->newest_us, newest);
    if (!json) {
        textbuf_add(b, "%10" PRIu64 " %12" PRIu64 "  %-20s  %.19sZ  %.19sZ  ", r->letters, r->bytes,
                    r->reason, oldest, newest);
        dlq_type_text(type, b);
        textbuf_add(b, "\n");
        return;
    }
    textbuf_add(b, "%s{\"type\":", first ? "" : ",");
    textbuf_json(b, type);
    textbuf_add(b, ",\"reason\":");
    textbuf_json(b, span_of(r->reason));
    textbuf_add(
        b, ",\"letters\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"oldest\":\"%s\",\"newest\":\"%s\"}",
        r->letters, r->bytes, oldest, newest);
}

void dlq_tally_write(struct dlq_tally *t, bool json, struct textbuf *body)
{
    ASSERT(t->row != NULL || t->n == 0);
    if (t->n > 1)
        qsort(t->row, t->n, sizeof(*t->row), compare_rows);
    if (json)
        textbuf_add(body, "\"groups\":[");
    else if (t->n > 0)
        textbuf_add(body, "%10s %12s  %-20s  %-20s  %-20s  %s\n", "LETTERS", "BYTES", "REASON",
                    "OLDEST", "NEWEST", "TYPE");
    for (size_t i = 0; i < t->n; i++)
        row_write(&t->row[i], json, i == 0, body);
    textbuf_add(body, json ? "]" : "");
    if (!json && t->failed)
        textbuf_add(body, "(more kinds than %d: the others are only in the sum)\n", TALLY_ROWS_MAX);
}

void dlq_tally_fini(struct dlq_tally *t)
{
    ASSERT(t != NULL);
    free(t->row);
    *t = (struct dlq_tally){0};
}

/* ---- what stands below a list ---- */

bool dlq_problems_write(const struct dlq_scan *s, bool json, struct textbuf *body)
{
    const char *p = textbuf_str(&s->problems), *end;

    ASSERT(body != NULL);
    if (json)
        textbuf_add(body, ",\"problem_count\":%" PRIu64 ",\"problems\":[", s->n_problems);
    for (bool first = true; (end = strchr(p, '\n')) != NULL; p = end + 1, first = false) {
        struct span line = {.ptr = p, .len = (size_t)(end - p)};

        if (json) {
            textbuf_add(body, "%s", first ? "" : ",");
            textbuf_json(body, line);
            continue;
        }
        textbuf_add(body, "not read: ");
        textbuf_printable(body, line);
        textbuf_add(body, "\n");
    }
    textbuf_add(body, json ? "]" : "");
    if (!json && s->n_problems > DLQ_PROBLEMS_MAX)
        textbuf_add(body, "not read: %" PRIu64 " more of these\n",
                    s->n_problems - DLQ_PROBLEMS_MAX);
    if (!json && s->objects_others > 0)
        textbuf_add(body,
                    "%" PRIu64 " objects of other nodes or earlier data directories are left out; "
                    "--others shows them\n",
                    s->objects_others);
    return s->n_problems > 0;
}

void dlq_pending_write(struct daemon *d, bool json, struct textbuf *body)
{
    struct totals t;
    uint64_t planned, unplanned;

    ASSERT(d->dlog != NULL);
    dlog_ledger_sync(d->dlog);
    totals_collect(d, true, &t);
    planned = t.gcs_dead.planned - t.gcs_dead.delivered;
    unplanned = t.durable_ever - (t.gcs.planned + t.gcs_dead.planned);
    if (t.durable_ever < t.gcs.planned + t.gcs_dead.planned || !t.ledger_read)
        unplanned = 0;
    /* Without an earlier run, the workers know how many of these are dead letters. */
    if (t.durable == t.durable_ever && t.dead_letters >= t.gcs_dead.planned &&
        t.dead_letters - t.gcs_dead.planned < unplanned)
        unplanned = t.dead_letters - t.gcs_dead.planned;
    if (json)
        textbuf_add(body,
                    ",\"on_their_way\":{\"planned\":%" PRIu64 ",\"unplanned_max\":%" PRIu64 "}",
                    planned, unplanned);
    if (!json && planned + unplanned > 0) {
        textbuf_add(body, "on their way to the bucket, not listed yet: %" PRIu64 " dead letters",
                    planned);
        if (unplanned > 0)
            textbuf_add(body, " and up to %" PRIu64 " more in the journal", unplanned);
        textbuf_add(body, "; `penstock flush` brings them there\n");
    }
    totals_fini(&t);
}
