/* COLD. See gen_report.h. */
#include "tools/gen/gen_report.h"

#include <inttypes.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_clock.h"

void gen_progress_start(struct gen_progress *p)
{
    *p = (struct gen_progress){._start_ns = gen_clock_ns()};
    p->_last_ns = p->_start_ns;
}

static uint64_t get(const struct gen_stats *stats, enum gen_counter counter)
{
    return gen_stats_get(stats, counter);
}

void gen_progress_print(struct gen_progress *p, const struct gen_stats *stats)
{
    int64_t now_ns = gen_clock_ns();
    uint64_t acked = get(stats, GEN_COUNT_acked);
    double since_last_s = (double)(now_ns - p->_last_ns) / 1e9;
    GEN_ASSERT(acked >= p->_last_acked);
    fprintf(stderr,
            "%5.0f s  sent %" PRIu64 "  acked %" PRIu64 "  rate %.0f/s  refused %" PRIu64
            "  unanswered %" PRIu64 "  connect errors %" PRIu64 "\n",
            (double)(now_ns - p->_start_ns) / 1e9, get(stats, GEN_COUNT_events), acked,
            (double)(acked - p->_last_acked) / since_last_s, get(stats, GEN_COUNT_refused),
            get(stats, GEN_COUNT_unanswered), get(stats, GEN_COUNT_connect_errors));
    p->_last_ns = now_ns;
    p->_last_acked = acked;
}

/* Rates are of what was acknowledged: what was refused is no throughput. */
static double per_second(const struct gen_result *result, enum gen_counter counter)
{
    return result->seconds > 0 ? (double)get(&result->stats, counter) / result->seconds : 0;
}

struct percentile {
    const char *name;
    double percent;
};

static const struct percentile percentiles[] = {
    {"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}};

enum { PERCENTILES = sizeof(percentiles) / sizeof(percentiles[0]) };

static double percentile_ms(const struct gen_hist *h, size_t i)
{
    return (double)gen_hist_percentile(h, percentiles[i].percent) / 1e6;
}

void gen_report_text(FILE *to, const struct gen_result *result)
{
    const struct gen_stats *s = &result->stats;
    fprintf(to,
            "events %" PRIu64 " in %" PRIu64 " requests, %" PRIu64 " bytes; malformed %" PRIu64
            ", late %" PRIu64 ", out of order %" PRIu64 ", duplicates %" PRIu64 "\n",
            get(s, GEN_COUNT_events), get(s, GEN_COUNT_requests), get(s, GEN_COUNT_bytes),
            get(s, GEN_COUNT_malformed), get(s, GEN_COUNT_late), get(s, GEN_COUNT_out_of_order),
            get(s, GEN_COUNT_duplicates));
    fprintf(to,
            "acked %" PRIu64 " (accepted %" PRIu64 ", dead-lettered %" PRIu64 "), refused %" PRIu64
            ", unanswered %" PRIu64 ", unsent %" PRIu64 "\n",
            get(s, GEN_COUNT_acked), get(s, GEN_COUNT_accepted), get(s, GEN_COUNT_dead_lettered),
            get(s, GEN_COUNT_refused), get(s, GEN_COUNT_unanswered), result->unsent);
    for (int status = 300; status < GEN_STATUS_MAX; status++) {
        if (s->events_by_status[status] > 0) {
            fprintf(to, "refused with %d: %" PRIu64 " events\n", status,
                    s->events_by_status[status]);
        }
    }
    fprintf(to,
            "retries %" PRIu64 ", timeouts %" PRIu64 ", connect errors %" PRIu64 "\n"
            "%.3f s, %.0f events/s, %.1f MB/s\n",
            get(s, GEN_COUNT_retries), get(s, GEN_COUNT_timeouts), get(s, GEN_COUNT_connect_errors),
            result->seconds, per_second(result, GEN_COUNT_acked),
            per_second(result, GEN_COUNT_acked_bytes) / 1e6);
    if (result->latency.count > 0) {
        fprintf(to, "latency ms:");
        for (size_t i = 0; i < PERCENTILES; i++) {
            fprintf(to, " %s %.3f", percentiles[i].name, percentile_ms(&result->latency, i));
        }
        fprintf(to, " max %.3f\n", (double)result->latency.max_ns / 1e6);
    }
}

/* A string in JSON. The text is ours or the C library's: what needs an escape is left out. */
static void put_json_string(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text >= ' ' && *text != '"' && *text != '\\') {
            fputc(*text, to);
        }
    }
    fputc('"', to);
}

static void put_json_statuses(FILE *to, const struct gen_stats *s)
{
    const char *comma = "";
    fprintf(to, ",\"refused_by_status\":{");
    for (int status = 100; status < GEN_STATUS_MAX; status++) {
        if (status / 100 != 2 && s->events_by_status[status] > 0) {
            fprintf(to, "%s\"%d\":%" PRIu64, comma, status, s->events_by_status[status]);
            comma = ",";
        }
    }
    fputc('}', to);
}

static void put_json_percentiles(FILE *to, const char *name, const struct gen_hist *h)
{
    fprintf(to, ",\"%s\":{", name);
    for (size_t i = 0; i < PERCENTILES; i++) {
        fprintf(to, "\"%s\":%.6f,", percentiles[i].name, percentile_ms(h, i));
    }
    fprintf(to, "\"max\":%.6f}", (double)h->max_ns / 1e6);
}

/* Only the JSON report has it: milliseconds up to which, and how many above the one before. */
static void put_json_histogram(FILE *to, const struct gen_hist *h)
{
    struct gen_hist_step step = {0};
    const char *comma = "";
    fprintf(to, ",\"latency_histogram_ms\":[");
    while (gen_hist_next(h, &step)) {
        fprintf(to, "%s[%.6f,%" PRIu64 "]", comma, (double)step.top_ns / 1e6, step.count);
        comma = ",";
    }
    fputc(']', to);
}

void gen_report_json(FILE *to, const struct gen_result *result)
{
    fputc('{', to);
    for (enum gen_counter i = 0; i < GEN_COUNTERS_COUNT; i++) {
        fprintf(to, "%s\"%s\":%" PRIu64, i == 0 ? "" : ",", gen_stats_name(i),
                get(&result->stats, i));
    }
    put_json_statuses(to, &result->stats);
    fprintf(to,
            ",\"unsent\":%" PRIu64
            ",\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"events_per_s\":%.1f,\"mb_per_s\":%.3f",
            result->unsent, result->seconds, result->cpu_seconds,
            per_second(result, GEN_COUNT_acked), per_second(result, GEN_COUNT_acked_bytes) / 1e6);
    put_json_percentiles(to, "latency_ms", &result->latency);
    put_json_percentiles(to, "lateness_ms", &result->lateness);
    put_json_histogram(to, &result->latency);
    fprintf(to, ",\"error\":");
    put_json_string(to, result->error);
    fprintf(to, "}\n");
}
