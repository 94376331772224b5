/* COLD. Prometheus text: tables of counters by module, then what is summed; see metrics.h. */
#include "control/metrics.h"

#include "control/door.h"

#include <inttypes.h>
#include <stdlib.h>

#include "control/packets.h"
#include "control/process.h"
#include "control/totals.h"
#include "control/version.h"
#include "dataplane/base/clock.h"

#define READ(counter) atomic_load_explicit(&(counter), memory_order_relaxed)

/** One counter of a stats struct. */
struct series {
    const char *name, *type, *help;
    size_t offset;
};

#define COUNTER(s, field, name, help)                                         \
    {                                                                         \
        "penstock_" name "_total", "counter", help, offsetof(struct s, field) \
    }
#define GAUGE(s, field, name, help)                                \
    {                                                              \
        "penstock_" name, "gauge", help, offsetof(struct s, field) \
    }

static const struct series worker_series[] = {
    COUNTER(worker_stats, requests, "requests", "HTTP requests with events."),
    COUNTER(worker_stats, body_bytes, "body_bytes", "Bytes of request bodies."),
    COUNTER(worker_stats, expanded_requests, "compressed_requests",
            "HTTP requests with a compressed body."),
    COUNTER(worker_stats, expanded_bytes, "expanded_bytes", "Bytes of their bodies, decompressed."),
    COUNTER(worker_stats, events, "events", "Events accepted."),
    COUNTER(worker_stats, event_bytes, "event_bytes", "Bytes of accepted events as received."),
    COUNTER(worker_stats, dead_letters, "dead_letters", "Dead letters kept."),
    COUNTER(worker_stats, sampled_out, "sampled_out_events",
            "Events that were acknowledged and left out by sampling."),
    COUNTER(worker_stats, late, "late_events", "Events older than the allowed lateness."),
    COUNTER(worker_stats, bad_time, "bad_time_events",
            "Events without a usable time: the receive time stands in."),
    COUNTER(worker_stats, normalized, "normalized_events", "Events whose bytes were rewritten."),
    COUNTER(worker_stats, durable_events, "durable_events",
            "Events and dead letters that are durable."),
    COUNTER(worker_stats, blocks_written, "blocks_written", "Commit blocks written."),
    COUNTER(worker_stats, journal_bytes, "journal_bytes", "Bytes written to the journal."),
    COUNTER(worker_stats, journal_errors, "journal_write_errors",
            "Journal writes or flushes that failed."),
    COUNTER(worker_stats, injections, "injections",
            "Batches of documents from `penstock ingest` and replays."),
    COUNTER(worker_stats, injected, "injected_documents",
            "Documents of those batches: accepted or dead-lettered."),
    GAUGE(worker_stats, blocks_lent, "blocks_lent", "Commit blocks lent to sink threads."),
    GAUGE(worker_stats, blocks_free, "blocks_free", "Free commit blocks."),
    COUNTER(worker_stats, lane_skips, "lane_skips",
            "Durable blocks that sink threads must read from disk."),
    GAUGE(worker_stats, connections, "connections", "Open connections."),
    COUNTER(worker_stats, connections_total, "connections_opened", "Connections ever opened."),
    COUNTER(worker_stats, tls_handshakes, "tls_handshakes", "TLS handshakes done."),
    COUNTER(worker_stats, tls_resumed, "tls_resumed", "Of these, short ones by a ticket."),
    COUNTER(worker_stats, tls_bytes, "tls_bytes", "Bytes received over TLS."),
    GAUGE(worker_stats, tcp_connections, "tcp_connections", "Open TCP connections."),
    COUNTER(worker_stats, tcp_connections_total, "tcp_connections_opened",
            "TCP connections ever opened."),
    COUNTER(worker_stats, tcp_bytes, "tcp_bytes", "Bytes received over TCP."),
    COUNTER(worker_stats, tcp_lines, "tcp_lines",
            "Lines taken over TCP, dead letters and empty ones included."),
    COUNTER(worker_stats, tcp_straddled, "tcp_straddled",
            "Lines that came in two receives and were copied to be whole."),
    COUNTER(worker_stats, tcp_waits, "tcp_waits",
            "Times that a TCP connection stopped reading for want of room."),
    GAUGE(worker_stats, tcp_waiting, "tcp_waiting", "TCP connections that wait for room."),
    COUNTER(worker_stats, udp_datagrams, "udp_datagrams",
            "Datagrams received, dropped ones included."),
    COUNTER(worker_stats, udp_bytes, "udp_bytes", "Bytes of datagrams received."),
    GAUGE(worker_stats, udp_waiting, "udp_waiting", "Datagrams that wait for commit blocks."),
    COUNTER(worker_stats, udp_kernel_drops, "udp_kernel_drops",
            "Datagrams that found the socket's buffer full."),
    COUNTER(worker_stats, udp_dropped_lines, "udp_dropped_lines",
            "Lines of datagrams that were received and dropped."),
    COUNTER(worker_stats, packet_received, "packets_received", "Packets taken from DPDK's ports."),
    COUNTER(worker_stats, packet_datagrams, "packet_datagrams",
            "Of these, datagrams for us, dropped ones included."),
    COUNTER(worker_stats, packet_bytes, "packet_bytes", "Bytes of their payload."),
    COUNTER(worker_stats, packet_forwarded, "packets_forwarded",
            "Packets received and given to the kernel."),
    COUNTER(worker_stats, packet_returned, "packets_returned",
            "Packets of the kernel sent by DPDK's ports."),
    COUNTER(worker_stats, packet_send_full, "packets_send_full",
            "Packets of the kernel that a DPDK port had no room for."),
    COUNTER(worker_stats, packet_fragments, "packet_fragments",
            "Fragments received, forwarded or dropped."),
    COUNTER(worker_stats, packet_busy_us, "packets_busy_microseconds",
            "Time of turns in which DPDK's ports had brought something; a worker that spins is "
            "busy to the rest of the system all the time."),
    COUNTER(worker_stats, packet_copied, "packets_copied",
            "Packets that lay in pieces and were copied to be whole."),
    GAUGE(worker_stats, packet_waiting, "packets_waiting",
          "Datagrams of DPDK's ports that wait for commit blocks."),
    COUNTER(worker_stats, packet_dropped_lines, "packet_dropped_lines",
            "Lines of datagrams of DPDK's ports that were received and dropped."),
    COUNTER(worker_stats, answers_2xx, "answers_2xx", "Answers with status 2xx."),
    COUNTER(worker_stats, answers_4xx, "answers_4xx", "Answers with status 4xx."),
    COUNTER(worker_stats, answers_5xx, "answers_5xx", "Answers with status 5xx."),
    COUNTER(worker_stats, recv_no_buffer, "receive_no_buffer",
            "Receives that found no buffer and were tried again."),
    GAUGE(worker_stats, malloc_bytes, "worker_malloc_bytes",
          "Bytes that the worker thread ever allocated."),
};

static const struct series sink_series[] = {
    COUNTER(sink_stats, blocks_memory, "sink_blocks_memory", "Blocks consumed from memory."),
    COUNTER(sink_stats, blocks_disk, "sink_blocks_disk", "Blocks consumed from disk."),
    COUNTER(sink_stats, events, "sink_events", "Events consumed."),
    COUNTER(sink_stats, removed_events, "sink_duplicates_removed",
            "Events that were left out because their id was known."),
    COUNTER(sink_stats, discarded_events, "sink_discarded", "Events thrown away: sinks.discard."),
    GAUGE(sink_stats, groups_open, "sink_groups_open", "Open groups."),
    GAUGE(sink_stats, chunks_free, "sink_chunks_free", "Free chunks of group memory."),
    GAUGE(sink_stats, chunks_total, "sink_chunks", "Chunks of group memory."),
    GAUGE(sink_stats, plans_waiting, "sink_plans_waiting", "Objects planned and not confirmed."),
    GAUGE(sink_stats, plans_parked, "sink_plans_parked",
          "Objects that wait for somebody to fix something."),
    GAUGE(sink_stats, plans_held, "sink_plans_held", "Objects that wait for the end of a pause."),
    GAUGE(sink_stats, plans_spooled, "sink_plans_spooled",
          "Objects whose lines lie in the spool, not in the journal."),
    GAUGE(sink_stats, loads_held, "sink_loads_held",
          "Tables whose loads wait for the end of a pause."),
    COUNTER(sink_stats, planned_events, "sink_planned_events", "Events planned."),
    COUNTER(sink_stats, confirmed_events, "sink_confirmed_events",
            "Events and dead letters in confirmed objects."),
    COUNTER(sink_stats, confirmed_dead, "sink_confirmed_dead_letters",
            "Dead letters in confirmed objects."),
    COUNTER(sink_stats, loaded_events, "sink_loaded_events", "Rows loaded into BigQuery."),
    COUNTER(sink_stats, inserted_events, "sink_inserted_events", "Rows that insertAll took."),
    COUNTER(sink_stats, refused_events, "sink_refused_events",
            "Rows that BigQuery refused: dead letters."),
    GAUGE(sink_stats, inserts_waiting, "sink_inserts_waiting",
          "Plans for insertAll that are not finished."),
    GAUGE(sink_stats, inserts_parked, "sink_inserts_parked",
          "Tables whose inserts wait for somebody to fix something."),
    GAUGE(sink_stats, loads_waiting, "sink_loads_waiting", "Tables with objects to load."),
    GAUGE(sink_stats, loads_parked, "sink_loads_parked",
          "Loads that wait for somebody to fix something."),
    COUNTER(sink_stats, loads_split, "sink_loads_split",
            "Loads that BigQuery refused and that were cut into parts."),
    GAUGE(sink_stats, load_parts, "sink_load_parts",
          "Parts of refused loads, and loads set aside, that wait for their job."),
    GAUGE(sink_stats, lag_us, "sink_lag_microseconds",
          "Age of the oldest event that is not confirmed."),
    COUNTER(sink_stats, columns_added, "sink_columns_added",
            "Columns added to tables whose columns are inferred."),
    COUNTER(sink_stats, rows_overflowed, "sink_rows_overflowed",
            "Values that no column of those tables took: they are in penstock_overflow."),
    COUNTER(sink_stats, rows_normalized, "sink_rows_normalized",
            "Numbers and repeated keys that were rewritten for those tables."),
    COUNTER(sink_stats, gzip_plain_bytes, "sink_gzip_plain_bytes", "Bytes of events compressed."),
    COUNTER(sink_stats, gzip_bytes, "sink_gzip_bytes", "Bytes that they became."),
    GAUGE(sink_stats, load_lag_us, "sink_load_lag_microseconds",
          "Since the oldest object that is not loaded was stored."),
    COUNTER(sink_stats, backlog_pauses, "sink_backlog_pauses",
            "Pauses in reading journals back, by sinks.backlog_share."),
    COUNTER(sink_stats, read_errors, "sink_read_errors", "Journal blocks that could not be read."),
};

static const struct series gcs_series[] = {
    COUNTER(gcs_stats, calls, "gcs_calls", "Calls to Cloud Storage."),
    COUNTER(gcs_stats, objects, "gcs_objects", "Objects created or recognised."),
    COUNTER(gcs_stats, bytes, "gcs_bytes", "Bytes of objects."),
    COUNTER(gcs_stats, retries, "gcs_retries", "Calls tried again."),
    COUNTER(gcs_stats, recognised, "gcs_recognised",
            "Objects found to be ours after a lost answer."),
    COUNTER(gcs_stats, conflicts, "gcs_conflicts", "Names taken by objects that are not ours."),
    COUNTER(gcs_stats, permanent, "gcs_permanent_errors", "Calls refused for good."),
    COUNTER(gcs_stats, ramp_waits, "gcs_ramp_waits",
            "Objects and deletions that waited for the bucket's ramp."),
    GAUGE(gcs_stats, ramp_per_s, "gcs_ramp_objects_per_second",
          "Objects a second that the bucket's ramp lets through, all threads together."),
    COUNTER(gcs_stats, sessions, "gcs_sessions", "Resumable uploads begun."),
    COUNTER(gcs_stats, resumed, "gcs_sessions_resumed",
            "Resumable uploads that went on after an interruption."),
    COUNTER(gcs_stats, sessions_lost, "gcs_sessions_lost",
            "Resumable uploads begun again from the first byte."),
};

static const struct series bq_series[] = {
    COUNTER(bq_stats, calls, "bigquery_calls", "Calls to BigQuery."),
    COUNTER(bq_stats, retries, "bigquery_retries", "Calls tried again."),
    COUNTER(bq_stats, tables_created, "bigquery_tables_created", "Tables created."),
    COUNTER(bq_stats, tables_patched, "bigquery_tables_patched", "Tables that got new columns."),
    COUNTER(bq_stats, jobs, "bigquery_jobs", "Load jobs."),
    COUNTER(bq_stats, jobs_failed, "bigquery_jobs_failed", "Load jobs that failed."),
    COUNTER(bq_stats, rows, "bigquery_rows", "Rows loaded."),
    COUNTER(bq_stats, insert_requests, "bigquery_insert_requests", "insertAll requests."),
    COUNTER(bq_stats, insert_rows, "bigquery_insert_rows", "Rows of insertAll requests."),
    COUNTER(bq_stats, insert_again, "bigquery_insert_rows_again",
            "Rows that insertAll stopped or failed for a moment."),
    COUNTER(bq_stats, insert_refused, "bigquery_insert_rows_refused",
            "Rows that insertAll refused for good."),
    COUNTER(bq_stats, insert_odd, "bigquery_insert_odd_answers",
            "Answers of insertAll that made no sense: their rows were sent again."),
};

static const struct series dlog_series[] = {
    COUNTER(dlog_stats, records, "delivery_log_records", "Records of the delivery log."),
    COUNTER(dlog_stats, batches, "delivery_log_batches", "Durable writes of the delivery log."),
    COUNTER(dlog_stats, bytes, "delivery_log_bytes", "Bytes of the delivery log."),
    COUNTER(dlog_stats, snapshots, "delivery_log_snapshots", "Snapshots of the delivery state."),
    COUNTER(dlog_stats, errors, "delivery_log_errors",
            "Failed writes or flushes of the delivery log."),
    COUNTER(dlog_stats, ledger_errors, "ledger_errors", "Failed transactions of the ledger."),
    GAUGE(dlog_stats, ledger_lag, "ledger_lag_records",
          "Records that the ledger does not show yet."),
};

static const struct series journal_series[] = {
    GAUGE(journal_stats, used_bytes, "journal_used_bytes",
          "Bytes of journal files that hold blocks."),
    GAUGE(journal_stats, total_bytes, "journal_file_bytes", "Bytes of all journal files."),
    COUNTER(journal_stats, segments_made, "journal_segments_made", "Journal files made."),
    COUNTER(journal_stats, segments_recycled, "journal_segments_recycled",
            "Journal files used again."),
    COUNTER(journal_stats, errors, "journal_prepare_errors",
            "Journal files that could not be prepared."),
};

static void head(struct textbuf *b, const char *name, const char *type, const char *help)
{
    ASSERT(help[0] != '\0');
    textbuf_add(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Reads a counter at an offset of a stats struct. */
static uint64_t counter_at(const void *stats, size_t offset)
{
    ASSERT(stats != NULL);
    return READ(*(const _Atomic uint64_t *)((const char *)stats + offset));
}

/* One family for each counter of a table, one line for each of n owners of stats. */
static void write_table(struct textbuf *b, const struct series *s, size_t n_series,
                        const char *label, const void *const *stats, uint32_t n)
{
    for (size_t i = 0; i < n_series; i++) {
        head(b, s[i].name, s[i].type, s[i].help);
        for (uint32_t j = 0; j < n; j++)
            textbuf_add(b, "%s{%s=\"%" PRIu32 "\"} %" PRIu64 "\n", s[i].name, label, j,
                        counter_at(stats[j], s[i].offset));
    }
    ASSERT(n_series > 0);
}

static void write_modules(struct daemon *d, struct textbuf *b)
{
    const void *stats[JOURNALS_MAX > CONFIG_WORKERS_MAX ? JOURNALS_MAX : CONFIG_WORKERS_MAX];
    const struct dlog_stats *dlog = dlog_stats(d->dlog);

    ASSERT(d->n_sinks <= ARRAY_LEN(stats));
    for (uint32_t i = 0; i < d->n_workers; i++)
        stats[i] = worker_stats(d->worker[i]);
    write_table(b, worker_series, ARRAY_LEN(worker_series), "worker", stats, d->n_workers);
    for (uint32_t i = 0; i < d->n_sinks; i++)
        stats[i] = sink_stats(d->sink[i].sink);
    write_table(b, sink_series, ARRAY_LEN(sink_series), "thread", stats, d->n_sinks);
    for (uint32_t i = 0; i < d->n_sinks; i++)
        stats[i] = sink_gcs_stats(d->sink[i].sink);
    write_table(b, gcs_series, ARRAY_LEN(gcs_series), "thread", stats, d->n_sinks);
    for (uint32_t i = 0; i < d->n_sinks; i++)
        stats[i] = sink_bq_stats(d->sink[i].sink);
    write_table(b, bq_series, ARRAY_LEN(bq_series), "thread", stats, d->n_sinks);
    for (uint32_t i = 0; i < d->n_journals; i++)
        stats[i] = journal_stats(d->journal[i]);
    write_table(b, journal_series, ARRAY_LEN(journal_series), "journal", stats, d->n_journals);
    for (size_t i = 0; i < ARRAY_LEN(dlog_series); i++) {
        head(b, dlog_series[i].name, dlog_series[i].type, dlog_series[i].help);
        textbuf_add(b, "%s %" PRIu64 "\n", dlog_series[i].name,
                    counter_at(dlog, dlog_series[i].offset));
    }
}

/* A family of counters by reason, at an offset of worker_stats. */
struct reason_series {
    const char *name, *help;
    size_t offset;
    int from, to;
};

static void write_reasons(struct daemon *d, struct textbuf *b, const struct reason_series *r)
{
    head(b, r->name, "counter", r->help);
    ASSERT(r->from <= r->to);
    for (uint32_t w = 0; w < d->n_workers; w++) {
        for (int i = r->from; i < r->to; i++)
            textbuf_add(
                b, "%s{worker=\"%" PRIu32 "\",reason=\"%s\"} %" PRIu64 "\n", r->name, w,
                reason_name((enum reason)i),
                counter_at(worker_stats(d->worker[w]), r->offset + (size_t)i * sizeof(uint64_t)));
    }
}

/* The time from a whole HTTP request to its answer, over all workers; bounds are powers of two. */
static void write_latency(struct daemon *d, struct textbuf *b)
{
    static const char name[] = "penstock_http_answer_seconds";
    struct histogram_copy all = {0};

    for (uint32_t w = 0; w < d->n_workers; w++)
        histogram_read(&worker_stats(d->worker[w])->answer_us, &all);
    head(b, name, "histogram", "From a whole request to its answer, which is durable by then.");
    for (uint64_t us = 64; us <= UINT64_C(1) << 24; us *= 2)
        textbuf_add(b, "%s_bucket{le=\"%.6f\"} %" PRIu64 "\n", name, (double)us / 1e6,
                    histogram_below(&all, us));
    textbuf_add(b, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n", name,
                all.n, name, (double)all.sum / 1e6, name, all.n);
    ASSERT(d->n_workers > 0);
}

/* What came with each token's name. */
static void write_tokens(struct daemon *d, struct textbuf *b)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } list[] = {
        {"penstock_token_requests_total", "Requests with this token.",
         offsetof(struct door_name, requests)},
        {"penstock_token_events_total", "Events and dead letters taken with this token.",
         offsetof(struct door_name, events)},
        {"penstock_token_bytes_total", "Bytes of the bodies taken with this token.",
         offsetof(struct door_name, bytes)},
        {"penstock_token_refused_types_total", "Requests refused for an event's type.",
         offsetof(struct door_name, refused_types)},
        {"penstock_token_rate_limited_total", "Requests refused because it has sent too much.",
         offsetof(struct door_name, refused_rates)},
    };
    struct door_name *names;
    uint32_t n = door_names_report(d, &names);

    ASSERT(names != NULL || n == 0);
    for (size_t i = 0; n > 0 && i < ARRAY_LEN(list); i++) {
        head(b, list[i].name, "counter", list[i].help);
        for (uint32_t j = 0; j < n; j++) {
            uint64_t v;

            memcpy(&v, (const char *)&names[j] + list[i].offset, sizeof(v));
            textbuf_add(b, "%s{token=\"%s\"} %" PRIu64 "\n", list[i].name, names[j].name, v);
        }
    }
    free(names);
}

/* What lets clients in. */
static void write_door(struct daemon *d, struct textbuf *b)
{
    struct door_report r;

    ASSERT(d->door != NULL);
    door_report(d->door, &r);
    head(b, "penstock_reloads_total", "counter", "Times that certificate files were read again.");
    textbuf_add(b, "penstock_reloads_total{result=\"ok\"} %" PRIu64 "\n", r.reloads);
    textbuf_add(b, "penstock_reloads_total{result=\"failed\"} %" PRIu64 "\n", r.failures);
    head(b, "penstock_reload_failing", "gauge",
         "1: the files as they are cannot be used, older ones are in force.");
    textbuf_add(b, "penstock_reload_failing %d\n", r.failing ? 1 : 0);
    if (r.ends_us == 0)
        return;
    head(b, "penstock_certificate_end_seconds", "gauge", "When the certificate ends, Unix time.");
    textbuf_add(b, "penstock_certificate_end_seconds %" PRId64 "\n", r.ends_us / 1000000);
}

/* A label's value: backslash, quote and line break are escaped; what is not UTF-8 becomes '?'. */
static void label_value(struct textbuf *b, const char *text)
{
    struct textbuf clean = {0};

    ASSERT(text != NULL);
    textbuf_printable(&clean, span_of(text));
    for (size_t i = 0; i < clean.len; i++) {
        if (clean.ptr[i] == '"' || clean.ptr[i] == '\\')
            textbuf_bytes(b, "\\", 1);
        textbuf_bytes(b, &clean.ptr[i], 1);
    }
    textbuf_fini(&clean);
}

/* What of a type a family shows. */
struct type_series {
    const char *name, *help;
    size_t offset; /* in struct type_total */
    const char *sink;
    const char *type;
};

#define TYPE_AT(field) offsetof(struct type_total, field)

static void write_type_lines(struct textbuf *b, const struct totals *t, const struct type_series *s)
{
    uint32_t extra = 0;

    ASSERT(s->name != NULL);
    for (uint32_t i = 0; i < t->n_types; i++) {
        const struct type_total *x = &t->type[i];
        uint64_t v;

        if (!x->configured && extra++ >= METRICS_TYPES_EXTRA)
            continue;
        memcpy(&v, (const char *)x + s->offset, sizeof(v));
        textbuf_add(b, "%s{type=\"", s->name);
        label_value(b, x->name);
        textbuf_add(b, "\"%s%s%s} %" PRIu64 "\n", s->sink != NULL ? ",sink=\"" : "",
                    s->sink != NULL ? s->sink : "", s->sink != NULL ? "\"" : "", v);
    }
}

static void write_types(struct textbuf *b, const struct totals *t)
{
    static const struct type_series list[] = {
        {"penstock_type_events_total", "Events of a type since start.", TYPE_AT(events), NULL,
         "counter"},
        {"penstock_type_dead_letters_total", "Dead letters of a type since start.",
         TYPE_AT(dead_letters), NULL, "counter"},
        {"penstock_type_sampled_out_events_total",
         "Events of a type left out by sampling, since start.", TYPE_AT(sampled_out), NULL,
         "counter"},
        {"penstock_type_late_events_total", "Late events of a type since start.", TYPE_AT(late),
         NULL, "counter"},
        {"penstock_type_parked_refusals_total",
         "Requests, datagrams and lines by TCP refused since start, because what waits of the type "
         "has no room.",
         TYPE_AT(refused), NULL, "counter"},
        {"penstock_type_spooled_bytes", "Bytes of a type in the spool.", TYPE_AT(spooled_bytes),
         NULL, "gauge"},
        {"penstock_type_planned_events_total", "Events planned for a sink, ever, by the ledger.",
         TYPE_AT(gcs.planned), "gcs", "counter"},
        {"penstock_type_planned_events_total", NULL, TYPE_AT(bigquery.planned), "bigquery",
         "counter"},
        {"penstock_type_delivered_events_total", "Events delivered to a sink, ever, by the ledger.",
         TYPE_AT(gcs.delivered), "gcs", "counter"},
        {"penstock_type_delivered_events_total", NULL, TYPE_AT(bigquery.delivered), "bigquery",
         "counter"},
        {"penstock_type_refused_events_total", "Rows that BigQuery refused, ever, by the ledger.",
         TYPE_AT(bigquery.refused), "bigquery", "counter"},
        {"penstock_type_duplicates_removed_total",
         "Events left out because their id was known, ever, by the ledger.", TYPE_AT(gcs.removed),
         NULL, "counter"},
        {"penstock_type_parked_events", "Events parked, by the ledger.", TYPE_AT(gcs.parked), "gcs",
         "gauge"},
        {"penstock_type_parked_events", NULL, TYPE_AT(bigquery.parked), "bigquery", "gauge"},
        {"penstock_type_delivered_dead_letters_total", "Dead letters stored, ever, by the ledger.",
         TYPE_AT(dead.delivered), "gcs", "counter"},
    };

    ASSERT(t != NULL);
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        if (list[i].help != NULL)
            head(b, list[i].name, list[i].type, list[i].help);
        write_type_lines(b, t, &list[i]);
    }
}

/* What is known of the ids of types whose duplicates are removed. */
static void write_dedupes(struct textbuf *b, const struct totals *t)
{
    static const struct series list[] = {
        GAUGE(sink_dedupe_stats, ids, "dedupe_ids", "Ids in the window."),
        GAUGE(sink_dedupe_stats, window_us, "dedupe_window_microseconds",
              "The window as it is: shorter than configured when ids_max is reached."),
        COUNTER(sink_dedupe_stats, evicted, "dedupe_ids_evicted",
                "Ids that left within the window, because ids_max was reached."),
        COUNTER(sink_dedupe_stats, without_id, "dedupe_events_without_id",
                "Events without an id, which are never removed."),
        GAUGE(sink_dedupe_stats, waiting, "dedupe_plans_waiting",
              "Plans that wait until their ids are durable."),
        GAUGE(sink_dedupe_stats, log_bytes, "dedupe_log_bytes", "Bytes of ids on disk."),
        COUNTER(sink_dedupe_stats, log_errors, "dedupe_log_errors", "Writes of ids that failed."),
        GAUGE(sink_dedupe_stats, damaged, "dedupe_log_damaged",
              "Parts of the ids on disk that did not verify at start."),
    };

    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        head(b, list[i].name, list[i].type, list[i].help);
        for (uint32_t j = 0; j < t->n_types; j++) {
            if (t->type[j].dedupe == NULL)
                continue;
            textbuf_add(b, "%s{type=\"", list[i].name);
            label_value(b, t->type[j].name);
            textbuf_add(b, "\"} %" PRIu64 "\n", counter_at(t->type[j].dedupe, list[i].offset));
        }
    }
    ASSERT(b != NULL);
}

static void one(struct textbuf *b, const char *name, const char *type, const char *help, double v)
{
    ASSERT(name != NULL);
    head(b, name, type, help);
    textbuf_add(b, "%s %.17g\n", name, v);
}

static void write_process(struct textbuf *b)
{
    struct process_heap h;

    process_heap(&h);
    ASSERT(b != NULL);
    one(b, "process_resident_memory_bytes", "gauge", "Resident memory.", (double)process_rss());
    one(b, "process_cpu_seconds_total", "counter", "CPU time, user and system.",
        process_cpu_seconds());
    one(b, "process_open_fds", "gauge", "Open file descriptors.", (double)process_open_files());
    one(b, "penstock_heap_allocated_bytes", "gauge", "jemalloc: allocated by the process.",
        (double)h.allocated);
    one(b, "penstock_heap_active_bytes", "gauge", "jemalloc: in active pages.", (double)h.active);
    one(b, "penstock_heap_metadata_bytes", "gauge", "jemalloc: metadata.", (double)h.metadata);
    one(b, "penstock_heap_resident_bytes", "gauge", "jemalloc: resident.", (double)h.resident);
    one(b, "penstock_heap_mapped_bytes", "gauge", "jemalloc: mapped.", (double)h.mapped);
    one(b, "penstock_heap_retained_bytes", "gauge", "jemalloc: retained.", (double)h.retained);
}

/* 1 for each sink, and for each type that is paused. */
static void write_paused(struct daemon *d, struct textbuf *b)
{
    struct tuning_pause *all;
    uint32_t n = tuning_pauses(d->tuning, &all);
    bool gcs = false, bigquery = false;

    head(b, "penstock_paused", "gauge", "1 while paused by command.");
    for (uint32_t i = 0; i < n; i++) {
        gcs |= all[i].what == TUNING_GCS;
        bigquery |= all[i].what == TUNING_BIGQUERY;
        if (all[i].what != TUNING_TYPE)
            continue;
        textbuf_add(b, "penstock_paused{what=\"type\",type=\"");
        label_value(b, all[i].type);
        textbuf_add(b, "\"} 1\n");
    }
    textbuf_add(b, "penstock_paused{what=\"gcs\"} %d\npenstock_paused{what=\"bigquery\"} %d\n", gcs,
                bigquery);
    ASSERT(n <= TUNING_PAUSES_MAX);
    free(all);
}

static void write_spool(struct daemon *d, struct textbuf *b, const struct totals *t)
{
    const struct spool_stats *s = spool_stats(d->spool);
    struct tuning_refused *refused;
    uint32_t n = tuning_refusals(d->tuning, &refused);

    ASSERT(t->spool.lost <= t->spool.plans);
    free(refused);
    one(b, "penstock_spool_bytes", "gauge", "Bytes of events in the spool.",
        (double)t->spool.bytes);
    one(b, "penstock_spool_limit_bytes", "gauge", "sinks.spool_bytes.",
        (double)tuning_number(d->tuning, "sinks.spool_bytes"));
    one(b, "penstock_spool_events", "gauge", "Events in the spool.", (double)t->spool.events);
    one(b, "penstock_spool_files_lost", "gauge", "Files of the spool that are missing or damaged.",
        (double)t->spool.lost);
    one(b, "penstock_spool_refused_types", "gauge",
        "Types that are refused because what waits of them has no room.", n);
    one(b, "penstock_spool_written_bytes_total", "counter", "Bytes written to the spool.",
        (double)READ(s->written_bytes));
    one(b, "penstock_spool_errors_total", "counter",
        "Files of the spool that could not be written, read or removed.", (double)READ(s->errors));
}

static void write_sums(struct daemon *d, struct textbuf *b, const struct totals *t)
{
    ASSERT(d->config != NULL);
    one(b, "penstock_acknowledged_events", "gauge",
        "Events and dead letters ever acknowledged in these journals.", (double)t->durable_ever);
    head(b, "penstock_pending_events", "gauge", "Acknowledged and not yet delivered.");
    textbuf_add(b, "penstock_pending_events{sink=\"gcs\"} %" PRIu64 "\n", totals_pending_gcs(t));
    textbuf_add(b, "penstock_pending_events{sink=\"bigquery\"} %" PRIu64 "\n",
                d->config->bigquery_enabled ? totals_pending_bigquery(t) : 0);
    write_paused(d, b);
    head(b, "penstock_dead_letters", "gauge",
         "Dead letters in the bucket, ever, by what became of them.");
    textbuf_add(b,
                "penstock_dead_letters{state=\"new\"} %" PRIu64
                "\npenstock_dead_letters{state=\"replayed\"} %" PRIu64
                "\npenstock_dead_letters{state=\"dropped\"} %" PRIu64 "\n",
                totals_dead_waiting(t), t->dlq.replayed, t->dlq.dropped);
    one(b, "penstock_journal_limit_bytes", "gauge", "journal.limit.",
        (double)d->config->journal_limit);
    one(b, "penstock_journals_full", "gauge", "Journals that are full.", t->journals_full);
    one(b, "penstock_owner_held", "gauge",
        "1 while the bucket says that this data directory may deliver, and no copy of it.",
        d->owner != NULL && owner_state(d->owner) == OWNER_HELD ? 1 : 0);
    write_spool(d, b, t);
    one(b, "penstock_journals_failing", "gauge", "Journals with disk errors.", t->journals_failing);
    one(b, "penstock_ready", "gauge", "1 while events are taken.",
        atomic_load(&d->state) == DAEMON_READY);
    one(b, "penstock_uptime_seconds", "gauge", "Since start.",
        (double)(clock_wall_us() - d->started_us) / 1e6);
    head(b, "penstock_build_info", "gauge", "The version.");
    textbuf_add(b, "penstock_build_info{version=\"%s\"} 1\n", penstock_version());
}

void metrics_write(struct daemon *d, struct textbuf *out)
{
    static const struct reason_series by_reason[] = {
        {"penstock_dead_letters_by_reason_total", "Dead letters by reason.",
         offsetof(struct worker_stats, reason), REASON_NONE + 1, REASON_DEAD_END},
        {"penstock_refused_requests_total",
         "Requests refused, and lines and connections cut, by reason.",
         offsetof(struct worker_stats, reason), REASON_DEAD_END + 1, REASON_END},
        {"penstock_tcp_dropped_lines_total",
         "Lines by TCP without acknowledgements that were received and dropped, by reason.",
         offsetof(struct worker_stats, tcp_dropped), REASON_DEAD_END + 1, REASON_END},
        {"penstock_udp_dropped_datagrams_total", "Datagrams received and dropped, by reason.",
         offsetof(struct worker_stats, udp_dropped), REASON_DEAD_END + 1, REASON_END},
        {"penstock_packets_dropped_total",
         "Packets of DPDK's ports received and dropped, by reason.",
         offsetof(struct worker_stats, packet_dropped), REASON_DEAD_END + 1, REASON_END},
    };
    struct totals t;

    ASSERT(d->dlog != NULL);
    totals_collect(d, true, &t);
    write_sums(d, out, &t);
    write_modules(d, out);
    for (size_t i = 0; i < ARRAY_LEN(by_reason); i++)
        write_reasons(d, out, &by_reason[i]);
    packets_metrics(d, out);
    write_latency(d, out);
    write_door(d, out);
    write_tokens(d, out);
    write_types(out, &t);
    write_dedupes(out, &t);
    write_process(out);
    totals_fini(&t);
}
