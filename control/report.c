/* COLD. `penstock types` and `penstock sinks`, and asking sink threads; see report.h. */
#include "control/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "control/knobs.h"
#include "control/totals.h"
#include "dataplane/event/timeval.h"

#define ASK_TIMEOUT_US INT64_C(1000000)

#define READ(counter) atomic_load_explicit(&(counter), memory_order_relaxed)

int report_ask(struct daemon *d, uint32_t index, struct sink_report *out)
{
    int rc;

    ASSERT(out != NULL);
    *out = (struct sink_report){.tables_max = REPORT_TABLES_MAX, .shelves_max = REPORT_SHELVES_MAX};
    out->table = calloc(REPORT_TABLES_MAX, sizeof(*out->table));
    out->shelf = calloc(REPORT_SHELVES_MAX, sizeof(*out->shelf));
    if (out->table == NULL || out->shelf == NULL)
        return -ENOMEM;
    rc = daemon_sink_call(d, index, SINK_REPORT, out, ASK_TIMEOUT_US);
    if (rc != 0)
        out->n_tables = out->n_shelves = 0;
    ASSERT(out->n_tables <= REPORT_TABLES_MAX);
    return rc;
}

void report_free(struct sink_report *r)
{
    ASSERT(r != NULL);
    free(r->table);
    free(r->shelf);
}

static void json_total(struct textbuf *b, const char *name, const struct sink_total *t)
{
    ASSERT(name != NULL);
    textbuf_add(b,
                ",\"%s\":{\"planned\":%" PRIu64 ",\"delivered\":%" PRIu64 ",\"parked\":%" PRIu64
                ",\"refused\":%" PRIu64 "}",
                name, t->planned, t->delivered, t->parked, t->refused);
}

static void watermark_text(int64_t us, char *out)
{
    ASSERT(out != NULL);
    if (us == 0 || us < TIME_US_MIN || us > TIME_US_MAX) { /* 0: no event yet */
        memcpy(out, "-", 2);
        return;
    }
    time_format(us, out);
    out[TIME_TEXT_BYTES] = '\0';
}

/* What a type's events meet now: sampling and pause. */
static void json_tuning(struct daemon *d, const char *type, struct textbuf *b)
{
    struct tuning_pause pause;
    uint32_t ppm;
    bool paused = tuning_type_now(d->tuning, type, &ppm, &pause);

    ASSERT(ppm <= LIVE_SAMPLING_ALL);
    textbuf_add(b, ",\"sampling\":");
    knob_format(KNOB_FRACTION, ppm, b);
    textbuf_add(b, ",\"paused\":");
    if (paused)
        tuning_pause_json(&pause, b);
    else
        textbuf_add(b, "null");
}

static void text_tuning(struct daemon *d, const char *type, struct textbuf *b)
{
    struct tuning_pause pause;
    uint32_t ppm;
    bool paused = tuning_type_now(d->tuning, type, &ppm, &pause);

    if (ppm < LIVE_SAMPLING_ALL) {
        textbuf_add(b, "  sampling ");
        knob_format(KNOB_FRACTION, ppm, b);
    }
    if (paused) {
        textbuf_add(b, "  PAUSED since ");
        tuning_time(pause.since_us, b);
        textbuf_add(b, pause.until_us > 0 ? " until " : "");
        if (pause.until_us > 0)
            tuning_time(pause.until_us, b);
    }
    ASSERT(b != NULL);
    textbuf_add(b, "\n");
}

/* What is known of ids, where duplicates are removed. */
static void json_dedupe(const struct type_total *t, struct textbuf *b)
{
    const struct sink_dedupe_stats *s = t->dedupe;

    ASSERT(t->name[0] != '\0' || s == NULL);
    textbuf_add(b, ",\"duplicates_removed\":%" PRIu64 ",\"dedupe\":", t->gcs.removed);
    if (s == NULL) {
        textbuf_add(b, "null");
        return;
    }
    textbuf_add(b, "{\"field\":");
    textbuf_json(b, span_of(s->type->dedupe_field));
    textbuf_add(b,
                ",\"ids\":%" PRIu64 ",\"ids_max\":%" PRIu32
                ",\"window_s\":%.1f,\"window_now_s\":%.1f,\"evicted\":%" PRIu64
                ",\"without_id\":%" PRIu64 ",\"log_bytes\":%" PRIu64 ",\"log_errors\":%" PRIu64
                ",\"damaged\":%" PRIu64 "}",
                READ(s->ids), s->type->dedupe_ids_max, (double)s->type->dedupe_window_us / 1e6,
                (double)READ(s->window_us) / 1e6, READ(s->evicted), READ(s->without_id),
                READ(s->log_bytes), READ(s->log_errors), READ(s->damaged));
}

static void text_dedupe(const struct type_total *t, struct textbuf *b)
{
    const struct sink_dedupe_stats *s = t->dedupe;

    ASSERT(b != NULL);
    if (s == NULL)
        return;
    textbuf_add(b,
                "  dedupe by %s: %" PRIu64 " duplicates removed, ever; %" PRIu64 " of %" PRIu32
                " ids known, window %.0f s",
                s->type->dedupe_field, t->gcs.removed, READ(s->ids), s->type->dedupe_ids_max,
                (double)READ(s->window_us) / 1e6);
    if (READ(s->evicted) > 0)
        textbuf_add(b, " instead of %.0f s: ids_max is too small",
                    (double)s->type->dedupe_window_us / 1e6);
    textbuf_add(b, "\n");
}

static void types_json(struct daemon *d, const struct totals *t, struct textbuf *b)
{
    textbuf_add(b, "{\"types\":[");
    ASSERT(t->type != NULL || t->n_types == 0);
    for (uint32_t i = 0; i < t->n_types; i++) {
        const struct type_total *x = &t->type[i];
        char mark[TIME_TEXT_BYTES + 1];

        watermark_text(x->watermark_us, mark);
        textbuf_add(b, "%s{\"type\":", i > 0 ? "," : "");
        textbuf_json(b, span_of(x->name));
        textbuf_add(b,
                    ",\"configured\":%s,\"events\":%" PRIu64 ",\"dead_letters\":%" PRIu64
                    ",\"sampled_out\":%" PRIu64 ",\"late\":%" PRIu64 ",\"watermark\":%s%s%s",
                    x->configured ? "true" : "false", x->events, x->dead_letters, x->sampled_out,
                    x->late, mark[0] == '-' ? "" : "\"", mark[0] == '-' ? "null" : mark,
                    mark[0] == '-' ? "" : "\"");
        json_total(b, "gcs", &x->gcs);
        json_total(b, "bigquery", &x->bigquery);
        json_total(b, "dead", &x->dead);
        json_tuning(d, x->name, b);
        json_dedupe(x, b);
        textbuf_add(b, "}");
    }
    textbuf_add(b, "]}\n");
}

static void types_text(struct daemon *d, const struct totals *t, struct textbuf *b)
{
    textbuf_add(b, "%-28s %12s %10s %10s %10s %12s %12s %12s  %s\n", "TYPE", "EVENTS", "DEAD",
                "SAMPLED", "LATE", "GCS EVER", "BQ EVER", "BQ PENDING", "WATERMARK");
    ASSERT(t->type != NULL || t->n_types == 0);
    for (uint32_t i = 0; i < t->n_types; i++) {
        const struct type_total *x = &t->type[i];
        char mark[TIME_TEXT_BYTES + 1];
        size_t start = b->len;

        watermark_text(x->watermark_us, mark);
        textbuf_printable(b, x->name[0] != '\0' ? span_of(x->name) : span_of("(none)"));
        while (b->len < start + 28 && !b->failed)
            textbuf_bytes(b, " ", 1);
        textbuf_add(b,
                    " %12" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %12" PRIu64
                    " %12" PRIu64 " %12" PRIu64 "  %s",
                    x->events, x->dead_letters, x->sampled_out, x->late, x->gcs.delivered,
                    x->bigquery.delivered, sink_total_pending(&x->bigquery), mark);
        text_tuning(d, x->name, b);
        text_dedupe(x, b);
    }
    textbuf_add(
        b, "EVENTS, DEAD, SAMPLED (left out) and LATE since start; the rest by the ledger, ever\n");
}

void report_types(struct daemon *d, bool json, struct textbuf *body)
{
    struct totals t;

    dlog_ledger_sync(d->dlog);
    totals_collect(d, true, &t);
    ASSERT(body != NULL);
    if (json)
        types_json(d, &t, body);
    else
        types_text(d, &t, body);
    totals_fini(&t);
}

static void thread_json(const struct daemon *d, uint32_t i, const struct sink_report *r, int rc,
                        struct textbuf *b)
{
    const struct sink_stats *s = sink_stats(d->sink[i].sink);

    ASSERT(s != NULL);
    textbuf_add(b,
                "%s{\"thread\":%" PRIu32 ",\"answered\":%s,\"groups_open\":%" PRIu64
                ",\"plans_waiting\":%" PRIu64 ",\"plans_parked\":%" PRIu64
                ",\"loads_waiting\":%" PRIu64 ",\"loads_parked\":%" PRIu64
                ",\"inserts_waiting\":%" PRIu64 ",\"inserts_parked\":%" PRIu64
                ",\"blocks_memory\":%" PRIu64 ",\"blocks_disk\":%" PRIu64 ",\"lag_us\":%" PRIu64
                ",\"gcs_waiting\":",
                i > 0 ? "," : "", i, rc == 0 ? "true" : "false", READ(s->groups_open),
                READ(s->plans_waiting), READ(s->plans_parked), READ(s->loads_waiting),
                READ(s->loads_parked), READ(s->inserts_waiting), READ(s->inserts_parked),
                READ(s->blocks_memory), READ(s->blocks_disk), READ(s->lag_us));
    textbuf_json(b, span_of(r->gcs_waiting));
    textbuf_add(b, ",\"spooled\":[");
    for (uint32_t j = 0; j < r->n_shelves; j++) {
        const struct sink_shelf_report *h = &r->shelf[j];

        textbuf_add(b, "%s{\"type\":", j > 0 ? "," : "");
        textbuf_json(b, (struct span){h->stats->type, h->stats->type_len});
        textbuf_add(b,
                    ",\"way\":\"%s\",\"plans\":%" PRIu64 ",\"events\":%" PRIu64
                    ",\"bytes\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"sending\":%s,\"text\":",
                    h->stats->way, READ(h->stats->plans), READ(h->stats->events),
                    READ(h->stats->bytes), READ(h->stats->lost),
                    READ(h->stats->open) != 0 ? "true" : "false");
        textbuf_json(b, span_of(h->text));
        textbuf_add(b, "}");
    }
    textbuf_add(b, "],\"tables\":[");
    for (uint32_t j = 0; j < r->n_tables; j++) {
        const struct sink_table_report *t = &r->table[j];

        textbuf_add(b, "%s{\"table\":", j > 0 ? "," : "");
        textbuf_json(b, span_of(t->table));
        textbuf_add(
            b,
            ",\"debt_events\":%" PRIu64 ",\"debt_objects\":%" PRIu64 ",\"loaded_rows\":%" PRIu64
            ",\"refused_rows\":%" PRIu64 ",\"jobs\":%" PRIu32 ",\"method\":\"%s\",\"state\":",
            t->debt_events, t->debt_objects, t->loaded_rows, t->refused_rows, t->jobs, t->method);
        textbuf_json(b, span_of(t->state));
        if (t->version > 0)
            textbuf_add(b,
                        ",\"columns\":{\"version\":%" PRIu32 ",\"n\":%" PRIu32 ",\"added\":%" PRIu32
                        ",\"overflowed\":%" PRIu64 ",\"normalized\":%" PRIu64 "}",
                        t->version, t->columns, t->columns_added, t->overflowed, t->normalized);
        textbuf_add(b, ",\"text\":");
        textbuf_json(b, span_of(t->text));
        textbuf_add(b, "}");
    }
    textbuf_add(b, "]}");
}

static void thread_text(const struct daemon *d, uint32_t i, const struct sink_report *r, int rc,
                        struct textbuf *b)
{
    const struct sink_stats *s = sink_stats(d->sink[i].sink);

    ASSERT(s != NULL);
    textbuf_add(b,
                "sink thread %" PRIu32 ": %" PRIu64 " open groups, %" PRIu64
                " objects waiting, %" PRIu64 " parked; %" PRIu64 " tables with debt, %" PRIu64
                " loads parked; oldest unconfirmed %.1f s\n",
                i, READ(s->groups_open), READ(s->plans_waiting), READ(s->plans_parked),
                READ(s->loads_waiting), READ(s->loads_parked), (double)READ(s->lag_us) / 1e6);
    if (rc != 0)
        textbuf_add(b, "  busy: it does not say more now\n");
    if (r->gcs_waiting[0] != '\0') {
        textbuf_add(b, "  uploads wait: ");
        textbuf_printable(b, span_of(r->gcs_waiting));
        textbuf_add(b, "\n");
    }
    for (uint32_t j = 0; j < r->n_shelves; j++) {
        const struct sink_shelf_report *h = &r->shelf[j];

        textbuf_add(b, "  in the spool, %s: %" PRIu64 " events in %" PRIu64 " objects, %.1f MiB: ",
                    READ(h->stats->open) != 0 ? "being sent" : "waiting", READ(h->stats->events),
                    READ(h->stats->plans), (double)READ(h->stats->bytes) / (1 << 20));
        textbuf_printable(b, span_of(h->what));
        textbuf_add(b, ": ");
        textbuf_printable(b, span_of(h->text));
        textbuf_add(b, "\n");
    }
    if (r->n_tables > 0)
        textbuf_add(b, "  %-32s %-10s %-10s %12s %10s %12s %10s %6s  %s\n", "TABLE", "METHOD",
                    "STATE", "DEBT ROWS", "OBJECTS", "ROWS", "REFUSED", "CALLS", "WHY");
    for (uint32_t j = 0; j < r->n_tables; j++) {
        const struct sink_table_report *t = &r->table[j];

        textbuf_add(b,
                    "  %-32s %-10s %-10s %12" PRIu64 " %10" PRIu64 " %12" PRIu64 " %10" PRIu64
                    " %6" PRIu32 "  ",
                    t->table, t->method, t->state, t->debt_events, t->debt_objects, t->loaded_rows,
                    t->refused_rows, t->jobs);
        textbuf_printable(b, span_of(t->text));
        textbuf_add(b, "\n");
        if (t->version > 0)
            textbuf_add(b,
                        "    inferred: version %" PRIu32 ", %" PRIu32 " columns, %" PRIu32
                        " added, %" PRIu64 " values in penstock_overflow, %" PRIu64 " rewritten\n",
                        t->version, t->columns, t->columns_added, t->overflowed, t->normalized);
    }
}

void report_sinks(struct daemon *d, bool json, struct textbuf *body)
{
    struct tuning_pause *all;
    uint32_t paused = tuning_pauses(d->tuning, &all);

    ASSERT(d->n_sinks > 0);
    textbuf_add(body, json ? "{\"paused\":[" : "");
    for (uint32_t i = 0; i < paused; i++) {
        textbuf_add(body, json ? (i > 0 ? "," : "") : "paused: ");
        if (json)
            tuning_pause_json(&all[i], body);
        else
            tuning_pause_text(&all[i], body);
        textbuf_add(body, json ? "" : "\n");
    }
    free(all);
    textbuf_add(body, json ? "],\"threads\":[" : "");
    for (uint32_t i = 0; i < d->n_sinks; i++) {
        struct sink_report r;
        int rc = report_ask(d, i, &r);

        if (json)
            thread_json(d, i, &r, rc, body);
        else
            thread_text(d, i, &r, rc, body);
        report_free(&r);
    }
    textbuf_add(body, json ? "]}\n" : "");
}
