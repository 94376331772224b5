/*
 * COLD. gen_run_file() of gen_run.h: events into a file or standard output, one thread. With
 * --format array the whole file is one array.
 */
#include "tools/gen/gen_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_clock.h"
#include "tools/gen/gen_memory.h"
#include "tools/gen/gen_output.h"
#include "tools/gen/gen_pace.h"
#include "tools/gen/gen_plan.h"
#include "tools/gen/gen_report.h"

/* A stop asked for is seen within this. */
#define SLEEP_NS_MAX (50 * GEN_NS_A_MS)

struct file_run {
    struct gen_plan plan;
    struct gen_events events;
    struct gen_request chunk;
    struct gen_pace pace;
    struct gen_progress progress;
    int64_t next_progress_ns;
    int fd;
};

static bool is_over(const struct file_run *f, int64_t now_ns)
{
    return now_ns >= f->plan.send_end_ns || atomic_load(f->plan.stop) != GEN_STOP_NOT;
}

static void sleep_until(int64_t at_ns)
{
    struct timespec at = {.tv_sec = at_ns / GEN_NS_A_SECOND, .tv_nsec = at_ns % GEN_NS_A_SECOND};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

/* Waits for the next chunk's time. False when the run is over first. */
static bool wait_for_turn(struct file_run *f)
{
    int64_t now_ns = gen_clock_ns();
    if (f->plan.options->rate > 0) {
        int64_t due_ns = gen_pace_due_ns(&f->pace);
        for (; now_ns < due_ns && !is_over(f, now_ns); now_ns = gen_clock_ns()) {
            sleep_until(due_ns < now_ns + SLEEP_NS_MAX ? due_ns : now_ns + SLEEP_NS_MAX);
        }
        gen_pace_advance(&f->pace);
    }
    return !is_over(f, now_ns);
}

static void count_chunk(struct gen_stats *s, const struct gen_request *q)
{
    gen_stats_add(s, GEN_COUNT_events, q->events);
    gen_stats_add(s, GEN_COUNT_requests, 1);
    gen_stats_add(s, GEN_COUNT_bytes, q->body_bytes);
    gen_stats_add(s, GEN_COUNT_malformed, q->malformed);
    gen_stats_add(s, GEN_COUNT_late, q->late);
    gen_stats_add(s, GEN_COUNT_out_of_order, q->out_of_order);
    gen_stats_add(s, GEN_COUNT_duplicates, q->duplicates);
    gen_stats_add(s, GEN_COUNT_acked, q->events);
    gen_stats_add(s, GEN_COUNT_acked_bytes, q->body_bytes);
}

/* A chunk of an array has its own brackets: the first becomes a comma, the last waits for the end.
 */
static int write_chunk(struct file_run *f, bool first)
{
    struct gen_request *q = &f->chunk;
    size_t bytes = q->bytes_count;
    if (f->plan.options->format == GEN_ARRAY) {
        q->bytes[q->start] = first ? '[' : ',';
        bytes--;
    }
    return gen_output_all(f->fd, q->bytes + q->start, bytes);
}

static void report_progress(struct file_run *f, const struct gen_stats *stats)
{
    int64_t now_ns = gen_clock_ns();
    if (f->plan.options->progress && now_ns >= f->next_progress_ns) {
        f->next_progress_ns += GEN_NS_A_SECOND;
        gen_progress_print(&f->progress, stats);
    }
}

static int write_all(struct file_run *f, struct gen_result *result)
{
    uint64_t first;
    uint32_t events;
    int rc = 0;
    bool any = false;
    while (rc == 0 && wait_for_turn(f) && (events = gen_plan_take(&f->plan, &first)) > 0) {
        gen_request_fill(&f->chunk, &f->events, &f->plan.framing, first, events);
        rc = write_chunk(f, !any);
        any = true;
        if (rc == 0) {
            count_chunk(&result->stats, &f->chunk);
        }
        report_progress(f, &result->stats);
    }
    if (rc == 0 && f->plan.options->format == GEN_ARRAY) {
        rc = gen_output_all(f->fd, any ? "]\n" : "[]\n", any ? 2 : 3);
    }
    return rc;
}

int gen_run_file(const struct gen_options *o, _Atomic int *stop, struct gen_result *result)
{
    bool to_stdout = strcmp(o->out, "-") == 0;
    struct file_run *f = gen_memory_zeroed(1, sizeof(*f));
    memset(result, 0, sizeof(*result));
    f->fd =
        to_stdout ? STDOUT_FILENO : open(o->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int rc = f->fd < 0 ? -errno : 0;
    if (rc == 0) {
        gen_events_init(&f->events, &o->events);
        gen_request_init(&f->chunk, o->batch, false);
        gen_plan_init(&f->plan, o, stop);
        f->plan.framing.head = ""; /* no HTTP around it */
        if (o->rate > 0) {
            gen_pace_init(&f->pace, f->plan.start_ns, o->rate, o->batch, 0, 1);
        }
        gen_progress_start(&f->progress);
        f->next_progress_ns = f->plan.start_ns + GEN_NS_A_SECOND;
        rc = write_all(f, result);
        result->seconds = (double)(gen_clock_ns() - f->plan.start_ns) / 1e9;
        result->unsent = gen_plan_left(&f->plan);
        gen_request_fini(&f->chunk);
    }
    if (f->fd >= 0 && !to_stdout && close(f->fd) != 0 && rc == 0) {
        rc = -errno;
    }
    free(f);
    if (rc != 0) {
        snprintf(result->error, sizeof(result->error), "--out %s: %s", o->out, strerror(-rc));
    }
    return rc == 0 ? 0 : -1;
}
