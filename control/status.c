/* COLD. `penstock status`: everything at a glance. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/admin.h"
#include "control/door.h"
#include "control/packets.h"
#include "control/process.h"
#include "control/report.h"
#include "control/totals.h"
#include "control/version.h"
#include "dataplane/base/clock.h"

/* What an answer is made of. */
struct status {
    struct daemon *d;
    struct totals t;
    struct rates rates;
    struct textbuf not_ready; /* reasons, one a line */
    struct textbuf parked;    /* JSON array elements, or lines */
    struct textbuf paused;    /* the same */
    struct process_heap heap;
    uint64_t rss;
};

static const char *state_name(const struct daemon *d)
{
    switch (atomic_load(&d->state)) {
    case DAEMON_STARTING:
        return "starting";
    case DAEMON_READY:
        return "ready";
    case DAEMON_DRAINING:
        return "drained";
    default:
        return "stopping";
    }
}

static void add_parked(struct textbuf *b, bool json, const char *what, const char *why)
{
    ASSERT(why != NULL);
    if (json) {
        textbuf_add(b, "%s{\"what\":", b->len > 0 ? "," : "");
        textbuf_json(b, span_of(what));
        textbuf_add(b, ",\"why\":");
        textbuf_json(b, span_of(why));
        textbuf_add(b, "}");
        return;
    }
    textbuf_add(b, "  ");
    textbuf_printable(b, span_of(what));
    textbuf_add(b, ": ");
    textbuf_printable(b, span_of(why));
    textbuf_add(b, "\n");
}

/* Parked tables and waiting uploads, as the sink threads explain them. */
static void collect_parked(struct status *s, bool json)
{
    for (uint32_t i = 0; i < s->d->n_sinks; i++) {
        struct sink_report r;

        if (report_ask(s->d, i, &r) == 0) {
            ASSERT(r.n_tables <= r.tables_max);
            if (r.gcs_waiting[0] != '\0')
                add_parked(&s->parked, json, "Cloud Storage", r.gcs_waiting);
            for (uint32_t j = 0; j < r.n_tables; j++) {
                if (r.table[j].text[0] != '\0')
                    add_parked(&s->parked, json, r.table[j].table, r.table[j].text);
            }
            for (uint32_t j = 0; j < r.n_shelves; j++)
                add_parked(&s->parked, json, r.shelf[j].what, r.shelf[j].text);
        }
        report_free(&r);
    }
}

/* What is paused, since when and until when. */
static void collect_paused(struct status *s, bool json)
{
    struct tuning_pause *all;
    uint32_t n = tuning_pauses(s->d->tuning, &all);

    ASSERT(s->paused.len == 0);
    for (uint32_t i = 0; i < n; i++) {
        textbuf_add(&s->paused, json ? (i > 0 ? "," : "") : "paused         ");
        if (json)
            tuning_pause_json(&all[i], &s->paused);
        else
            tuning_pause_text(&all[i], &s->paused);
        textbuf_add(&s->paused, json ? "" : "\n");
    }
    free(all);
}

static void json_reasons(const uint64_t *count, const char *name, int from, int to,
                         struct textbuf *b)
{
    const char *comma = "";

    ASSERT(from <= to);
    textbuf_add(b, ",\"%s\":{", name);
    for (int i = from; i < to; i++) {
        if (count[i] == 0)
            continue;
        textbuf_add(b, "%s\"%s\":%" PRIu64, comma, reason_name((enum reason)i), count[i]);
        comma = ",";
    }
    textbuf_add(b, "}");
}

static void json_sinks(const struct status *s, struct textbuf *b)
{
    const struct config *c = s->d->config;
    const struct totals *t = &s->t;

    ASSERT(t->ledger_read || t->gcs.planned == 0);
    textbuf_add(b,
                ",\"sinks\":{\"gcs\":{\"enabled\":%s,\"planned\":%" PRIu64 ",\"delivered\":%" PRIu64
                ",\"dead_letters_delivered\":%" PRIu64 ",\"duplicates_removed\":%" PRIu64
                ",\"parked\":%" PRIu64 ",\"pending\":%" PRIu64 "}",
                c->gcs_enabled ? "true" : "false", t->gcs.planned + t->gcs_dead.planned,
                t->gcs.delivered, t->gcs_dead.delivered, t->gcs.removed,
                t->gcs.parked + t->gcs_dead.parked, totals_pending_gcs(t));
    textbuf_add(b,
                ",\"bigquery\":{\"enabled\":%s,\"planned\":%" PRIu64 ",\"delivered\":%" PRIu64
                ",\"refused\":%" PRIu64 ",\"parked\":%" PRIu64 ",\"pending\":%" PRIu64
                "},\"discard\":{\"enabled\":%s,\"discarded\":%" PRIu64 "}}",
                c->bigquery_enabled ? "true" : "false", t->bigquery.planned, t->bigquery.delivered,
                t->bigquery.refused, t->bigquery.parked,
                c->bigquery_enabled ? totals_pending_bigquery(t) : 0,
                c->sinks_discard ? "true" : "false", t->discarded);
}

/* What lies in the spool, and the types of which nothing is taken for it. */
static void json_spool(const struct status *s, struct textbuf *b)
{
    const struct spool_total *t = &s->t.spool;
    struct tuning_refused *refused;
    uint32_t n = tuning_refusals(s->d->tuning, &refused);

    ASSERT(t->lost <= t->plans);
    textbuf_add(b,
                ",\"spool\":{\"plans\":%" PRIu64 ",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64
                ",\"limit_bytes\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"refused_types\":[",
                t->plans, t->events, t->bytes, tuning_number(s->d->tuning, "sinks.spool_bytes"),
                t->lost);
    for (uint32_t i = 0; i < n; i++) {
        textbuf_add(b, i > 0 ? "," : "");
        textbuf_json(b, (struct span){refused[i].name, refused[i].len});
    }
    textbuf_add(b, "]}");
    free(refused);
}

static void text_spool(const struct status *s, struct textbuf *b)
{
    const struct spool_total *t = &s->t.spool;
    struct tuning_refused *refused;
    uint32_t n = tuning_refusals(s->d->tuning, &refused);

    if (t->plans > 0)
        textbuf_add(
            b, "spool          %.1f of %.1f MiB: %" PRIu64 " events in %" PRIu64 " objects%s\n",
            (double)t->bytes / (1 << 20),
            (double)tuning_number(s->d->tuning, "sinks.spool_bytes") / (1 << 20), t->events,
            t->plans, t->lost > 0 ? ", FILES MISSING OR DAMAGED" : "");
    for (uint32_t i = 0; i < n; i++) {
        textbuf_add(b, "  refused      ");
        textbuf_printable(b, refused[i].len > 0 ? (struct span){refused[i].name, refused[i].len}
                                                : span_of("dead letters of no known type"));
        textbuf_add(b, "\n");
    }
    ASSERT(n == 0 || refused != NULL);
    free(refused);
}

static void json_inputs(const struct totals *t, struct textbuf *b)
{
    ASSERT(t != NULL);
    textbuf_add(b,
                ",\"tcp\":{\"connections\":%" PRIu64 ",\"lines\":%" PRIu64 ",\"waiting\":%" PRIu64,
                t->tcp_connections, t->tcp_lines, t->tcp_waiting);
    json_reasons(t->tcp_dropped, "dropped_lines", REASON_DEAD_END + 1, REASON_END, b);
    textbuf_add(b,
                "},\"udp\":{\"datagrams\":%" PRIu64 ",\"kernel_drops\":%" PRIu64
                ",\"dropped_lines\":%" PRIu64,
                t->udp_datagrams, t->udp_kernel_drops, t->udp_dropped_lines);
    json_reasons(t->udp_dropped, "dropped", REASON_DEAD_END + 1, REASON_END, b);
    textbuf_add(b, "}");
}

static void json_tokens(const struct daemon *d, struct textbuf *b)
{
    struct door_name *names;
    uint32_t n = door_names_report(d, &names);

    ASSERT(names != NULL || n == 0);
    textbuf_add(b, ",\"tokens\":{");
    for (uint32_t i = 0; i < n; i++)
        textbuf_add(b,
                    "%s\"%s\":{\"requests\":%" PRIu64 ",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64
                    ",\"refused_types\":%" PRIu64 ",\"rate_limited\":%" PRIu64 "}",
                    i > 0 ? "," : "", names[i].name, names[i].requests, names[i].events,
                    names[i].bytes, names[i].refused_types, names[i].refused_rates);
    textbuf_add(b, "}");
    free(names);
}

static void json_owner(const struct daemon *d, struct textbuf *b)
{
    char text[REASON_TEXT_BYTES];
    const char *state = ownership_state(d, text);

    ASSERT(state != NULL);
    textbuf_add(b, ",\"owner\":{\"state\":\"%s\",\"text\":", state);
    textbuf_json(b, span_of(text));
    textbuf_add(b, "}");
}

static void text_owner(const struct daemon *d, struct textbuf *b)
{
    char text[REASON_TEXT_BYTES];
    const char *state = ownership_state(d, text);

    ASSERT(state != NULL);
    if (text[0] != '\0')
        textbuf_add(b, "owner          %s: %s\n", state, text);
}

static void status_json(const struct status *s, struct textbuf *b)
{
    const struct totals *t = &s->t;
    struct textbuf reasons = {0};

    ASSERT(s->d != NULL);
    textbuf_bytes(&reasons, textbuf_str(&s->not_ready),
                  s->not_ready.len > 0 ? s->not_ready.len - 1 : 0);
    textbuf_add(
        b, "{\"version\":\"%s\",\"node\":\"%s\",\"state\":\"%s\",\"uptime_s\":%.1f,\"not_ready\":",
        penstock_version(), s->d->config->node, state_name(s->d),
        (double)(clock_wall_us() - s->d->started_us) / 1e6);
    textbuf_json(b, (struct span){.ptr = textbuf_str(&reasons), .len = reasons.len});
    textbuf_fini(&reasons);
    textbuf_add(b,
                ",\"requests\":%" PRIu64 ",\"received\":%" PRIu64 ",\"durable\":%" PRIu64
                ",\"durable_ever\":%" PRIu64 ",\"dead_lettered\":%" PRIu64
                ",\"sampled_out\":%" PRIu64 ",\"late\":%" PRIu64 ",\"bad_time\":%" PRIu64
                ",\"normalized\":%" PRIu64 ",\"connections\":%" PRIu64,
                t->requests, t->events + t->dead_letters + t->sampled_out, t->durable,
                t->durable_ever, t->dead_letters, t->sampled_out, t->late, t->bad_time,
                t->normalized, t->connections);
    json_inputs(t, b);
    packets_json(s->d, t, b);
    textbuf_add(b, ",\"injected\":{\"documents\":%" PRIu64 ",\"batches\":%" PRIu64 "}", t->injected,
                t->injections);
    json_tokens(s->d, b);
    json_reasons(t->reason, "dead_letters", REASON_NONE + 1, REASON_DEAD_END, b);
    json_reasons(t->reason, "refused", REASON_DEAD_END + 1, REASON_END, b);
    json_sinks(s, b);
    textbuf_add(b,
                ",\"journal\":{\"used_bytes\":%" PRIu64 ",\"total_bytes\":%" PRIu64
                ",\"limit_bytes\":%" PRIu64 ",\"full\":%" PRIu32 ",\"disk_error\":%" PRIu32 "}",
                t->journal_used, t->journal_total, s->d->config->journal_limit, t->journals_full,
                t->journals_failing);
    json_spool(s, b);
    json_owner(s->d, b);
    textbuf_add(b,
                ",\"dlq\":{\"new\":%" PRIu64 ",\"replayed\":%" PRIu64 ",\"dropped\":%" PRIu64
                ",\"replaying\":%" PRIu64 ",\"objects_deleted\":%" PRIu64 "}",
                totals_dead_waiting(t), t->dlq.replayed, t->dlq.dropped, t->dlq.replaying,
                t->dlq.objects_deleted);
    textbuf_add(b, ",\"memory\":{\"rss_bytes\":%" PRIu64 ",\"heap_allocated_bytes\":%" PRIu64 "}",
                s->rss, s->heap.allocated);
    textbuf_add(b,
                ",\"rates\":{\"received\":%.1f,\"durable\":%.1f,\"bytes\":%.1f,\"stored\":%.1f,"
                "\"loaded\":%.1f}"
                ",\"paused\":[%s],\"held\":{\"objects\":%" PRIu64 ",\"tables\":%" PRIu64 "}"
                ",\"parked\":{\"objects\":%" PRIu64 ",\"loads\":%" PRIu64 ",\"inserts\":%" PRIu64
                ",\"problems\":[%s]}}\n",
                s->rates.received, s->rates.durable, s->rates.bytes, s->rates.confirmed,
                s->rates.loaded, textbuf_str(&s->paused), t->plans_held, t->loads_held,
                t->plans_parked, t->loads_parked, t->inserts_parked, textbuf_str(&s->parked));
}

static void text_reasons(const uint64_t *count, const char *title, int from, int to,
                         struct textbuf *b)
{
    ASSERT(from <= to);
    for (int i = from; i < to; i++) {
        if (count[i] > 0)
            textbuf_add(b, "  %-12s %12" PRIu64 "  %-24s %s\n", title, count[i],
                        reason_name((enum reason)i), reason_text((enum reason)i));
    }
}

static void text_sinks(const struct status *s, struct textbuf *b)
{
    const struct totals *t = &s->t;

    ASSERT(s->d != NULL);
    textbuf_add(b, "%-14s %14s %14s %14s %14s\n", "sinks, ever", "planned", "delivered", "pending",
                "parked");
    if (s->d->config->gcs_enabled)
        textbuf_add(b,
                    "  %-12s %14" PRIu64 " %14" PRIu64 " %14" PRIu64 " %14" PRIu64 "   (%" PRIu64
                    " dead letters)\n",
                    "gcs", t->gcs.planned + t->gcs_dead.planned,
                    t->gcs.delivered + t->gcs_dead.delivered, totals_pending_gcs(t),
                    t->gcs.parked + t->gcs_dead.parked, t->gcs_dead.delivered);
    if (s->d->config->bigquery_enabled)
        textbuf_add(b,
                    "  %-12s %14" PRIu64 " %14" PRIu64 " %14" PRIu64 " %14" PRIu64 "   (%" PRIu64
                    " rows refused: dead letters)\n",
                    "bigquery", t->bigquery.planned, t->bigquery.delivered,
                    totals_pending_bigquery(t), t->bigquery.parked, t->bigquery.refused);
    if (s->d->config->sinks_discard)
        textbuf_add(b, "  %-12s THROWN AWAY since start: %" PRIu64 " (sinks.discard)\n", "discard",
                    t->discarded);
}

/* The inputs beside HTTP, when they are on. */
static void text_inputs(const struct status *s, struct textbuf *b)
{
    const struct config *c = s->d->config;
    const struct totals *t = &s->t;

    ASSERT(c != NULL);
    if (c->tcp_listen[0] != '\0' || c->tcp_acked_listen[0] != '\0')
        textbuf_add(b,
                    "  by TCP       %12" PRIu64 "  lines on %" PRIu64 " connections now, %" PRIu64
                    " waiting for room\n",
                    t->tcp_lines, t->tcp_connections, t->tcp_waiting);
    text_reasons(t->tcp_dropped, "TCP dropped", REASON_DEAD_END + 1, REASON_END, b);
    if (t->injections > 0)
        textbuf_add(b, "  injected     %12" PRIu64 "  documents in %" PRIu64 " batches\n",
                    t->injected, t->injections);
    if (c->udp_listen[0] == '\0')
        return;
    textbuf_add(b,
                "  by UDP       %12" PRIu64 "  datagrams; the kernel dropped %" PRIu64
                " more; %" PRIu64 " lines in those dropped here\n",
                t->udp_datagrams, t->udp_kernel_drops, t->udp_dropped_lines);
    text_reasons(t->udp_dropped, "UDP dropped", REASON_DEAD_END + 1, REASON_END, b);
}

/* The tokens that are used; the metrics have all. */
static void text_tokens(const struct daemon *d, struct textbuf *b)
{
    struct door_name *names;
    uint32_t n = door_names_report(d, &names);

    ASSERT(names != NULL || n == 0);
    for (uint32_t i = 0; i < n; i++) {
        const struct door_name *t = &names[i];

        if (t->requests > 0)
            textbuf_add(b,
                        "  token        %12" PRIu64 "  events by %s in %" PRIu64
                        " requests; refused: %" PRIu64 " for types, %" PRIu64 " for rates\n",
                        t->events, t->name, t->requests, t->refused_types, t->refused_rates);
    }
    free(names);
}

static void status_text(const struct status *s, struct textbuf *b)
{
    const struct totals *t = &s->t;

    ASSERT(s->d != NULL);
    textbuf_add(b, "penstockd %s, node %s, %s for %.0f s\n", penstock_version(), s->d->config->node,
                state_name(s->d), (double)(clock_wall_us() - s->d->started_us) / 1e6);
    if (s->not_ready.len > 0)
        textbuf_add(b, "not ready:\n%s", textbuf_str(&s->not_ready));
    textbuf_add(b,
                "since start\n  received     %12" PRIu64 "  in %" PRIu64 " requests on %" PRIu64
                " connections now\n"
                "  durable      %12" PRIu64 "  (%" PRIu64 " ever)\n  dead-lettered%12" PRIu64 "\n",
                t->events + t->dead_letters + t->sampled_out, t->requests, t->connections,
                t->durable, t->durable_ever, t->dead_letters);
    if (t->sampled_out > 0)
        textbuf_add(b, "  sampled out  %12" PRIu64 "\n", t->sampled_out);
    textbuf_add(b, "  late         %12" PRIu64 "\n  bad time     %12" PRIu64 "\n", t->late,
                t->bad_time);
    text_inputs(s, b);
    text_tokens(s->d, b);
    packets_text(s->d, t, b);
    text_reasons(t->reason, "dead letter", REASON_NONE + 1, REASON_DEAD_END, b);
    text_reasons(t->reason, "refused", REASON_DEAD_END + 1, REASON_END, b);
    text_sinks(s, b);
    if (t->gcs.removed > 0)
        textbuf_add(b, "duplicates     %" PRIu64 " events removed, ever, by their ids\n",
                    t->gcs.removed);
    if (t->gcs_dead.delivered + t->bigquery.refused > 0)
        textbuf_add(b,
                    "dead letters   %" PRIu64 " not dealt with, %" PRIu64 " replayed, %" PRIu64
                    " dropped; `penstock dlq list` shows them\n",
                    totals_dead_waiting(t), t->dlq.replayed, t->dlq.dropped);
    textbuf_add(
        b, "journal        %.1f of %.1f MiB used%s%s\n", (double)t->journal_used / (1 << 20),
        (double)s->d->config->journal_limit / (1 << 20), t->journals_full > 0 ? ", FULL" : "",
        t->journals_failing > 0 ? ", DISK ERROR" : "");
    text_spool(s, b);
    text_owner(s->d, b);
    textbuf_add(b, "memory         %.1f MiB resident, %.1f MiB on the heap\n",
                (double)s->rss / (1 << 20), (double)s->heap.allocated / (1 << 20));
    textbuf_add(
        b, "rates          %.0f events/s in (%.1f MB/s), %.0f durable, %.0f stored, %.0f loaded\n",
        s->rates.received, s->rates.bytes / 1e6, s->rates.durable, s->rates.confirmed,
        s->rates.loaded);
    textbuf_add(b, "%s", textbuf_str(&s->paused));
    if (s->paused.len > 0)
        textbuf_add(b, "  held         %" PRIu64 " objects, %" PRIu64 " tables\n", t->plans_held,
                    t->loads_held);
    textbuf_add(b, "parked         %" PRIu64 " objects, %" PRIu64 " loads", t->plans_parked,
                t->loads_parked);
    if (t->inserts_parked > 0)
        textbuf_add(b, ", %" PRIu64 " tables of insertAll", t->inserts_parked);
    textbuf_add(b, "\n%s", textbuf_str(&s->parked));
}

void report_status(struct daemon *d, bool json, struct textbuf *body)
{
    struct status s = {.d = d};

    ASSERT(body != NULL);
    totals_collect(d, true, &s.t);
    totals_rates(d, &s.rates);
    admin_ready(d, &s.not_ready);
    collect_parked(&s, json);
    collect_paused(&s, json);
    process_heap(&s.heap);
    s.rss = process_rss();
    if (json)
        status_json(&s, body);
    else
        status_text(&s, body);
    totals_fini(&s.t);
    textbuf_fini(&s.not_ready);
    textbuf_fini(&s.parked);
    textbuf_fini(&s.paused);
}
