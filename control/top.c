/* COLD. `penstock top`: takes the two looks, and writes JSON; top_text.c writes the screen. */
#include "control/top.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "control/process.h"
#include "dataplane/base/clock.h"

#define SLICE_US INT64_C(100000) /* of waiting, so that a stop is noticed */

double top_rate(const struct top *t, size_t count)
{
    uint64_t now, before;

    ASSERT(count + sizeof(now) <= sizeof(t->now));
    memcpy(&now, (const char *)&t->now + count, sizeof(now));
    memcpy(&before, (const char *)&t->before + count, sizeof(before));
    return t->seconds > 0 && now > before ? (double)(now - before) / t->seconds : 0;
}

static void read_answers(const struct daemon *d, struct histogram_copy *out)
{
    ASSERT(out->n == 0);
    for (uint32_t i = 0; i < d->n_workers; i++)
        histogram_read(&worker_stats(d->worker[i])->answer_us, out);
}

static void wait_interval(struct daemon *d, int64_t interval_us)
{
    int64_t end = clock_monotonic_us() + interval_us, left;

    ASSERT(interval_us > 0);
    while ((left = end - clock_monotonic_us()) > 0 && atomic_load(&d->state) != DAEMON_STOPPING) {
        struct timespec t = {.tv_nsec = (left < SLICE_US ? left : SLICE_US) * 1000};

        nanosleep(&t, NULL);
    }
}

static double per_second(const struct top *t, uint64_t now, uint64_t before)
{
    ASSERT(now >= before);
    return t->seconds > 0 ? (double)(now - before) / t->seconds : 0;
}

static int compare_types(const void *a, const void *b)
{
    const struct top_type *x = a, *y = b;
    double mine = x->events + x->dead_letters + x->sampled_out;
    double other = y->events + y->dead_letters + y->sampled_out;

    if (mine != other)
        return mine < other ? 1 : -1;
    if (x->total->events != y->total->events)
        return x->total->events < y->total->events ? 1 : -1;
    return strcmp(x->total->name, y->total->name);
}

/* Both lists are by name; a type only comes. */
static void rate_types(struct top *t)
{
    uint32_t at = 0;

    t->type = calloc(t->now.n_types + 1, sizeof(*t->type));
    if (t->type == NULL)
        return;
    for (uint32_t i = 0; i < t->now.n_types; i++) {
        const struct type_total none = {0}, *now = &t->now.type[i], *then = &none;

        while (at < t->before.n_types && strcmp(t->before.type[at].name, now->name) < 0)
            at++;
        if (at < t->before.n_types && strcmp(t->before.type[at].name, now->name) == 0)
            then = &t->before.type[at];
        t->type[t->n_types++] = (struct top_type){
            .total = now,
            .events = per_second(t, now->events, then->events),
            .dead_letters = per_second(t, now->dead_letters, then->dead_letters),
            .sampled_out = per_second(t, now->sampled_out, then->sampled_out),
            .late = per_second(t, now->late, then->late),
        };
    }
    ASSERT(t->n_types == t->now.n_types);
    qsort(t->type, t->n_types, sizeof(*t->type), compare_types);
}

static void json_rates(const struct top *t, struct textbuf *b)
{
    static const struct {
        const char *name;
        size_t count;
    } list[] = {
        {"requests", offsetof(struct totals, requests)},
        {"tcp_lines", offsetof(struct totals, tcp_lines)},
        {"udp_datagrams", offsetof(struct totals, udp_datagrams)},
        {"udp_kernel_drops", offsetof(struct totals, udp_kernel_drops)},
        {"packets", offsetof(struct totals, packet_received)},
        {"packets_missed", offsetof(struct totals, nic_missed)},
        {"injected", offsetof(struct totals, injected)},
        {"events", offsetof(struct totals, events)},
        {"bytes", offsetof(struct totals, event_bytes)},
        {"dead_letters", offsetof(struct totals, dead_letters)},
        {"sampled_out", offsetof(struct totals, sampled_out)},
        {"durable", offsetof(struct totals, durable)},
        {"stored", offsetof(struct totals, confirmed)},
        {"loaded", offsetof(struct totals, loaded)},
        {"inserted", offsetof(struct totals, inserted)},
        {"refused_by_bigquery", offsetof(struct totals, refused)},
    };

    ASSERT(b != NULL);
    textbuf_add(b, "\"rates\":{");
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        textbuf_add(b, "%s\"%s\":%.1f", i > 0 ? "," : "", list[i].name, top_rate(t, list[i].count));
    textbuf_add(b,
                "},\"answers\":{\"n\":%" PRIu64 ",\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64
                ",\"p999_us\":%" PRIu64 "}",
                t->answers.n, histogram_quantile(&t->answers, 0.5),
                histogram_quantile(&t->answers, 0.99), histogram_quantile(&t->answers, 0.999));
}

static void json_fill(const struct top *t, struct textbuf *b)
{
    const struct totals *n = &t->now;

    ASSERT(n->chunks_free <= n->chunks_total);
    textbuf_add(b, ",\"lag_us\":{\"gcs\":%" PRIu64 ",\"bigquery\":%" PRIu64 "}", n->lag_us,
                n->load_lag_us);
    textbuf_add(b,
                ",\"journal\":{\"used_bytes\":%" PRIu64 ",\"limit_bytes\":%" PRIu64
                ",\"full\":%" PRIu32 ",\"disk_error\":%" PRIu32 "}",
                n->journal_used, t->d->config->journal_limit, n->journals_full,
                n->journals_failing);
    textbuf_add(b,
                ",\"memory\":{\"rss_bytes\":%" PRIu64 ",\"heap_allocated_bytes\":%" PRIu64
                ",\"group_used\":%.4f}",
                t->rss, t->heap,
                n->chunks_total > 0 ? 1 - (double)n->chunks_free / (double)n->chunks_total : 0);
    textbuf_add(b, ",\"connections\":%" PRIu64 ",\"tcp_connections\":%" PRIu64, n->connections,
                n->tcp_connections);
    textbuf_add(b,
                ",\"objects\":{\"waiting\":%" PRIu64 ",\"held\":%" PRIu64 ",\"parked\":%" PRIu64
                "},\"tables\":{\"waiting\":%" PRIu64 ",\"held\":%" PRIu64 ",\"parked\":%" PRIu64
                "}",
                n->plans_waiting, n->plans_held, n->plans_parked, n->loads_waiting, n->loads_held,
                n->loads_parked);
}

static void json_errors(const struct top *t, struct textbuf *b)
{
    const char *comma = "";

    ASSERT(b != NULL);
    textbuf_add(b, ",\"errors\":[");
    for (int i = REASON_NONE + 1; i < REASON_END; i++) {
        if (t->now.reason[i] == 0)
            continue;
        textbuf_add(b, "%s{\"reason\":\"%s\",\"rate\":%.1f,\"total\":%" PRIu64 "}", comma,
                    reason_name((enum reason)i),
                    per_second(t, t->now.reason[i], t->before.reason[i]), t->now.reason[i]);
        comma = ",";
    }
    textbuf_add(b, "],\"paused\":[");
    for (uint32_t i = 0; i < t->n_pauses; i++) {
        textbuf_add(b, i > 0 ? "," : "");
        tuning_pause_json(&t->pause[i], b);
    }
    textbuf_add(b, "]");
}

static void write_json(const struct top *t, struct textbuf *b)
{
    ASSERT(t->d != NULL);
    textbuf_add(b, "{\"time\":\"");
    tuning_time(clock_wall_us(), b);
    textbuf_add(b, "\",\"node\":\"%s\",\"uptime_s\":%.1f,\"interval_s\":%.3f,", t->d->config->node,
                (double)(clock_wall_us() - t->d->started_us) / 1e6, t->seconds);
    json_rates(t, b);
    json_fill(t, b);
    json_errors(t, b);
    textbuf_add(b, ",\"types\":[");
    for (uint32_t i = 0; i < t->n_types; i++) {
        const struct top_type *x = &t->type[i];

        textbuf_add(b, "%s{\"type\":", i > 0 ? "," : "");
        textbuf_json(b, span_of(x->total->name));
        textbuf_add(b,
                    ",\"events\":%.1f,\"dead_letters\":%.1f,\"sampled_out\":%.1f,\"late\":%.1f"
                    ",\"events_total\":%" PRIu64 "}",
                    x->events, x->dead_letters, x->sampled_out, x->late, x->total->events);
    }
    textbuf_add(b, "]}\n");
}

void top_run(struct daemon *d, const struct top_options *o, struct textbuf *out)
{
    struct histogram_copy before = {0};
    struct process_heap heap;
    struct top t = {.d = d};
    int64_t began;

    ASSERT(o->interval_us >= 0);
    totals_collect_live(d, &t.before);
    read_answers(d, &before);
    began = clock_monotonic_us();
    wait_interval(d, o->interval_us > 0 ? o->interval_us : TOP_INTERVAL_US);
    totals_collect_live(d, &t.now);
    read_answers(d, &t.answers);
    histogram_since(&t.answers, &before);
    t.seconds = (double)(clock_monotonic_us() - began) / 1e6;
    process_heap(&heap);
    t.heap = heap.allocated;
    t.rss = process_rss();
    t.n_pauses = tuning_pauses(d->tuning, &t.pause);
    rate_types(&t);
    if (o->json)
        write_json(&t, out);
    else
        top_text(&t, o->rows > 0 ? o->rows : TOP_ROWS, o->columns > 0 ? o->columns : TOP_COLUMNS,
                 out);
    free(t.type);
    free(t.pause);
    totals_fini(&t.before);
    totals_fini(&t.now);
}
