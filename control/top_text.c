/* COLD. The screen of `penstock top`: fixed lines about everything, then a line for each type. */
#include <inttypes.h>
#include <stdio.h>

#include "control/top.h"
#include "control/version.h"
#include "dataplane/base/clock.h"

#define BAR_CELLS    20
#define NUMBER_BYTES 16
#define WIDE_COLUMNS 110
#define ERRORS_SHOWN 2 /* the busiest reasons */

/* A screen: what is added goes into lines of at most so many columns, and so many lines. */
struct screen {
    struct textbuf *out;
    struct textbuf line;
    uint32_t rows, columns, used;
};

/* Ends the line: cut at the last column. UTF-8 is counted by characters. */
static void line_end(struct screen *s)
{
    const char *p = textbuf_str(&s->line);
    size_t len = 0;
    uint32_t column = 0;

    ASSERT(s->columns > 0);
    while (p[len] != '\0') {
        if (((unsigned char)p[len] & 0xC0) != 0x80 && column++ == s->columns)
            break;
        len++;
    }
    if (s->used < s->rows) {
        textbuf_bytes(s->out, p, len);
        textbuf_bytes(s->out, "\n", 1);
        s->used++;
    }
    textbuf_fini(&s->line);
}

/* "123", "12.3k", "4.56M": three digits, for narrow columns. */
static const char *short_number(double v, char *out)
{
    static const char unit[] = {' ', 'k', 'M', 'G', 'T', 'P'};
    size_t i = 0;

    ASSERT(v >= 0);
    while (v >= 999.5 && i + 1 < sizeof(unit)) {
        v /= 1000;
        i++;
    }
    if (i == 0)
        snprintf(out, NUMBER_BYTES, v > 0 && v < 9.95 ? "%.1f" : "%.0f", v);
    else
        snprintf(out, NUMBER_BYTES,
                 v < 9.995   ? "%.2f%c"
                 : v < 99.95 ? "%.1f%c"
                             : "%.0f%c",
                 v, unit[i]);
    return out;
}

static const char *short_bytes(double v, char *out)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;

    ASSERT(v >= 0);
    while (v >= 1023.5 && i + 1 < ARRAY_LEN(unit)) {
        v /= 1024;
        i++;
    }
    snprintf(out, NUMBER_BYTES, v < 9.95 && i > 0 ? "%.1f %s" : "%.0f %s", v, unit[i]);
    return out;
}

static const char *short_time(uint64_t us, char *out)
{
    double v = (double)us;

    ASSERT(out != NULL);
    if (us < 1000)
        snprintf(out, NUMBER_BYTES, "%" PRIu64 " us", us);
    else if (us < 1000000)
        snprintf(out, NUMBER_BYTES, v < 99500 ? "%.1f ms" : "%.0f ms", v / 1e3);
    else if (us < UINT64_C(600) * 1000000)
        snprintf(out, NUMBER_BYTES, "%.1f s", v / 1e6);
    else if (us < UINT64_C(7200) * 1000000)
        snprintf(out, NUMBER_BYTES, "%.0f min", v / 6e7);
    else
        snprintf(out, NUMBER_BYTES, "%.1f h", v / 3.6e9);
    return out;
}

static void bar(struct textbuf *b, double part)
{
    int full = (int)(part * BAR_CELLS + 0.5);

    ASSERT(part >= 0);
    full = full > BAR_CELLS ? BAR_CELLS : full;
    textbuf_add(b, "[%.*s%.*s]", full, "####################", BAR_CELLS - full,
                "....................");
}

static const char *state_name(const struct daemon *d)
{
    int state = atomic_load(&d->state);

    ASSERT(d != NULL);
    return state == DAEMON_READY ? "ready" : state == DAEMON_DRAINING ? "drained" : "stopping";
}

/* What comes in otherwise than over HTTP, where there is any. */
static void input_line(const struct top *t, struct screen *s)
{
    char a[NUMBER_BYTES], b[NUMBER_BYTES], c[NUMBER_BYTES];
    const struct totals *n = &t->now;

    ASSERT(t->seconds > 0);
    if (n->packet_received + n->nic_missed > 0) {
        textbuf_add(&s->line, "dpdk      %s packets/s, ",
                    short_number(top_rate(t, offsetof(struct totals, packet_received)), a));
        textbuf_add(&s->line, "%s missed/s",
                    short_number(top_rate(t, offsetof(struct totals, nic_missed)), b));
        line_end(s);
    }
    if (n->tcp_lines + n->udp_datagrams + n->injected == 0)
        return;
    textbuf_add(&s->line, "other     tcp %s lines/s  udp %s datagrams/s, ",
                short_number(top_rate(t, offsetof(struct totals, tcp_lines)), a),
                short_number(top_rate(t, offsetof(struct totals, udp_datagrams)), b));
    textbuf_add(&s->line, "%s lost/s in the kernel",
                short_number(top_rate(t, offsetof(struct totals, udp_kernel_drops)), c));
    textbuf_add(&s->line, "  injected %s/s",
                short_number(top_rate(t, offsetof(struct totals, injected)), a));
    line_end(s);
}

static void head_lines(const struct top *t, struct screen *s)
{
    char up[NUMBER_BYTES], a[NUMBER_BYTES], b[NUMBER_BYTES], c[NUMBER_BYTES];
    const struct totals *n = &t->now;

    textbuf_add(&s->line, "penstockd %s  node %s  %s for %s  ", penstock_version(),
                t->d->config->node, state_name(t->d),
                short_time((uint64_t)(clock_wall_us() - t->d->started_us), up));
    tuning_time(clock_wall_us(), &s->line);
    line_end(s);
    ASSERT(t->seconds > 0);
    textbuf_add(&s->line, "in        %9s events/s %10s/s %9s requests/s  connections %" PRIu64,
                short_number(top_rate(t, offsetof(struct totals, events)), a),
                short_bytes(top_rate(t, offsetof(struct totals, event_bytes)), b),
                short_number(top_rate(t, offsetof(struct totals, requests)), c),
                n->connections + n->tcp_connections);
    line_end(s);
    textbuf_add(&s->line, "out       %9s durable/s ",
                short_number(top_rate(t, offsetof(struct totals, durable)), a));
    textbuf_add(&s->line, "%9s stored/s %9s in BigQuery/s",
                short_number(top_rate(t, offsetof(struct totals, confirmed)), b),
                short_number(top_rate(t, offsetof(struct totals, loaded)) +
                                 top_rate(t, offsetof(struct totals, inserted)),
                             c));
    line_end(s);
    input_line(t, s);
    textbuf_add(&s->line, "answers   p50 %s  p99 %s",
                short_time(histogram_quantile(&t->answers, 0.5), a),
                short_time(histogram_quantile(&t->answers, 0.99), b));
    textbuf_add(&s->line, "  p99.9 %s  (%" PRIu64 " requests to durable)",
                short_time(histogram_quantile(&t->answers, 0.999), c), t->answers.n);
    line_end(s);
}

static void fill_lines(const struct top *t, struct screen *s)
{
    char a[NUMBER_BYTES], b[NUMBER_BYTES];
    const struct totals *n = &t->now;
    double limit = (double)t->d->config->journal_limit;

    textbuf_add(&s->line, "lag       Cloud Storage %s  BigQuery %s", short_time(n->lag_us, a),
                short_time(n->load_lag_us, b));
    line_end(s);
    textbuf_add(&s->line,
                "waiting   %" PRIu64 " objects, %" PRIu64 " tables; held %" PRIu64 ", %" PRIu64
                "; parked %" PRIu64 ", %" PRIu64,
                n->plans_waiting, n->loads_waiting, n->plans_held, n->loads_held, n->plans_parked,
                n->loads_parked);
    line_end(s);
    textbuf_add(&s->line, "journal   ");
    bar(&s->line, (double)n->journal_used / limit);
    textbuf_add(&s->line, " %s of %s%s%s", short_bytes((double)n->journal_used, a),
                short_bytes(limit, b), n->journals_full > 0 ? "  FULL: clients hear 429" : "",
                n->journals_failing > 0 ? "  DISK ERROR" : "");
    line_end(s);
    ASSERT(n->chunks_free <= n->chunks_total);
    textbuf_add(&s->line, "groups    ");
    bar(&s->line, n->chunks_total > 0 ? 1 - (double)n->chunks_free / (double)n->chunks_total : 0);
    textbuf_add(&s->line, " %" PRIu64 " open  memory %s resident, %s heap", n->groups_open,
                short_bytes((double)t->rss, a), short_bytes((double)t->heap, b));
    line_end(s);
}

/* The reason that grew most, of those that grew less than `below`. @return -1 when there is none. */
static int next_error(const struct top *t, uint64_t below, int after)
{
    uint64_t best = 0;
    int found = -1;

    for (int i = REASON_NONE + 1; i < REASON_END; i++) {
        uint64_t grown = t->now.reason[i] - t->before.reason[i];

        if (t->now.reason[i] == 0 || grown > below || (grown == below && i <= after))
            continue;
        if (found < 0 || grown > best) {
            best = grown;
            found = i;
        }
    }
    ASSERT(found < REASON_END);
    return found;
}

static void error_lines(const struct top *t, struct screen *s)
{
    uint64_t below = UINT64_MAX;
    int reason = -1;

    for (int i = 0; i < ERRORS_SHOWN; i++) {
        char a[NUMBER_BYTES], b[NUMBER_BYTES];
        uint64_t grown;

        reason = next_error(t, below, reason);
        if (reason < 0)
            break;
        grown = t->now.reason[reason] - t->before.reason[reason];
        below = grown;
        textbuf_add(&s->line, "%-9s %9s/s %9s since start  %s (%s)", i == 0 ? "errors" : "",
                    short_number((double)grown / t->seconds, a),
                    short_number((double)t->now.reason[reason], b),
                    reason_name((enum reason)reason),
                    reason < REASON_DEAD_END ? "dead letter" : "refused");
        line_end(s);
    }
    ASSERT(t->seconds > 0);
    for (uint32_t i = 0; i < t->n_pauses && i < 3; i++) {
        textbuf_add(&s->line, "%-9s ", i == 0 ? "PAUSED" : "");
        if (i == 2 && t->n_pauses > 3)
            textbuf_add(&s->line, "and %" PRIu32 " more", t->n_pauses - 2);
        else
            tuning_pause_text(&t->pause[i], &s->line);
        line_end(s);
    }
}

/* A type's name in so many columns. */
static void name_cell(struct textbuf *b, const char *name, uint32_t width)
{
    struct textbuf clean = {0};
    size_t at = 0;
    uint32_t column = 0;

    textbuf_printable(&clean, name[0] != '\0' ? span_of(name) : span_of("(none)"));
    for (const char *p = textbuf_str(&clean); p[at] != '\0'; at++) {
        if (((unsigned char)p[at] & 0xC0) != 0x80 && column++ == width)
            break;
    }
    ASSERT(at <= clean.len);
    textbuf_bytes(b, textbuf_str(&clean), at);
    for (; column < width; column++)
        textbuf_bytes(b, " ", 1);
    textbuf_fini(&clean);
}

static void type_line(const struct top *t, const struct top_type *x, struct screen *s)
{
    char a[NUMBER_BYTES], b[NUMBER_BYTES], c[NUMBER_BYTES], e[NUMBER_BYTES], f[NUMBER_BYTES];
    bool wide = s->columns >= WIDE_COLUMNS;
    const struct type_total *now = x->total;
    struct tuning_pause pause;
    uint32_t ppm;

    name_cell(&s->line, now->name, wide ? 40 : 26);
    textbuf_add(&s->line, " %9s %9s %9s %9s %9s", short_number(x->events, a),
                short_number(x->dead_letters, b), short_number(x->sampled_out, c),
                short_number(x->late, e), short_number((double)now->events, f));
    if (wide) {
        int64_t age = clock_wall_us() - now->watermark_us;

        textbuf_add(&s->line, " %10s",
                    now->watermark_us > 0 ? short_time(age > 0 ? (uint64_t)age : 0, a) : "-");
    }
    if (tuning_type_now(t->d->tuning, now->name, &ppm, &pause))
        textbuf_add(&s->line, wide ? " PAUSED" : " P");
    else if (ppm < LIVE_SAMPLING_ALL)
        textbuf_add(&s->line, wide ? " sampled" : " *");
    ASSERT(s->columns > 0);
    line_end(s);
}

void top_text(const struct top *t, uint32_t rows, uint32_t columns, struct textbuf *out)
{
    struct screen s = {.out = out, .rows = rows, .columns = columns};
    bool wide = columns >= WIDE_COLUMNS;

    head_lines(t, &s);
    fill_lines(t, &s);
    error_lines(t, &s);
    line_end(&s);
    textbuf_add(&s.line, wide ? "%-40s %9s %9s %9s %9s %9s %10s" : "%-26s %9s %9s %9s %9s %9s",
                "TYPE", "EVENTS/S", "DEAD/S", "SAMPLED/S", "LATE/S", "EVENTS", "NEWEST");
    line_end(&s);
    ASSERT(t->type != NULL || t->n_types == 0);
    for (uint32_t i = 0; i < t->n_types && s.used < rows; i++)
        type_line(t, &t->type[i], &s);
}
