/*
 * What deduplication costs an event, with so many ids in the window: finding the id in the line, its
 * hash, the look into the window, and taking the id. Runs of 100 lines, as the sink thread does it:
 * hashes first, so that the window's memory is on its way. And what a restart costs an id: reading the
 * decision log of as many, into an empty window.
 *
 *     bench_dedupe FILE PASSES IDS DIR
 *
 * FILE holds penstock-gen's events; the log is made in DIR and left there. Each pass takes a million
 * events; one line a pass and subject: SUBJECT EVENTS NANOSECONDS of CPU time (a restart: also of time).
 */
#include <time.h>

#include "dataplane/json/json.h"
#include "perf/bench.h"
#include "sinks/dedupe/idlog.h"
#include "sinks/dedupe/idwindow.h"

#define EVENTS 1000000u
#define RUN    100u

static uint64_t cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The hash of an id that no other event has. */
static struct id_hash next_id(uint64_t n)
{
    static const uint8_t key[ID_KEY_BYTES] = {1, 2, 3};
    char text[64];

    return id_hash(key, (struct span){text, (size_t)snprintf(text, sizeof(text), "ord-1-%016llx",
                                                             (unsigned long long)n)});
}

/* Finds the ids of a million lines, round the file; @return a sum, so that it is not left out. */
static uint64_t find_ids(struct json_parser *parser, const char *buf, size_t len)
{
    static const uint8_t key[ID_KEY_BYTES] = {1, 2, 3};
    const char *at = buf, *end = buf + len;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < EVENTS; i++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        struct json_stream s;
        struct json_event ev;

        json_stream_init(&s, parser, at, (size_t)(stop - at), JSON_FRAMING_LINES);
        if (json_next(&s, &ev, 1) == 1 && ev.field[0].type == JSON_STRING)
            sum += id_hash(key, (struct span){ev.ptr + ev.field[0].offset + 1, ev.field[0].len - 2})
                       .lo;
        at = stop + 1 < end ? stop + 1 : buf;
    }
    return sum;
}

/* Runs of ids, in a window that is full: each new one pushes one out. @return how many were known. */
static uint32_t take_ids(struct id_window *w, const struct id_hash *id, uint32_t n)
{
    uint32_t removed = 0;

    for (uint32_t i = 0; i < n; i += RUN) {
        for (uint32_t j = i; j < i + RUN; j++)
            id_window_prefetch(w, id[j]);
        for (uint32_t j = i; j < i + RUN; j++) {
            if (id_window_has(w, id[j], 1))
                removed++;
            else
                id_window_add(w, id[j], 1, 1);
        }
    }
    return removed;
}

/* ---- restart ---- */

static void die(const char *what)
{
    fprintf(stderr, "bench_dedupe: %s\n", what);
    exit(1);
}

/* What a sink thread does with a decision that it reads at start. */
static void decision_take(void *ctx, const struct id_decision *d, struct id_reach *reach)
{
    struct id_window *w = ctx;

    for (uint32_t i = 0; i < d->n_ids; i++)
        id_window_prefetch(w, d->id[i]);
    for (uint32_t i = 0; i < d->n_ids; i++)
        id_window_add(w, d->id[i], d->time_us, d->time_us);
    reach->ids_end = w->next;
    reach->block[0] = d->block;
}

static struct id_log *log_open(const char *dir, uint32_t ids, struct loop *loop,
                               struct id_window *w)
{
    const struct id_log_config config = {
        .dir = dir, .type = "order", .ids_max = ids, .loop = loop, .storage = &storage_posix};
    struct id_log *log;
    char error[512] = "";

    if (id_log_open(&config, decision_take, w, &log, error, sizeof(error)) != 0)
        die(error);
    return log;
}

/* A log of as many ids as the window holds, in runs as those of take_ids(). */
static void log_make(const char *dir, uint32_t ids)
{
    static const uint8_t removed[(RUN + 7) / 8];
    struct id_decision d = {.n_entries = RUN, .n_ids = RUN, .time_us = 1, .removed = removed};
    struct id_hash id[RUN];
    struct id_window none;
    struct id_log *log;
    struct loop *loop;

    if (loop_create(&loop) != 0 || id_window_create(&none, RUN, 1) != 0)
        die("out of memory");
    log = log_open(dir, ids, loop, &none);
    d.id = id;
    for (uint64_t n = 0; n + RUN <= ids;) {
        if (id_log_room(log, RUN) != 0) {
            id_log_run(log, true, 0);
            loop_run_once(loop, 10000);
            continue;
        }
        for (uint32_t i = 0; i < RUN; i++)
            id[i] = next_id(n++);
        d.block++;
        id_log_append(log, &d, n, 0);
        id_log_run(log, false, 0);
    }
    while (id_log_durable(log) < id_log_appended(log)) {
        id_log_run(log, true, 0);
        loop_run_once(loop, 10000);
    }
    loop_destroy(loop);
    id_log_close(log);
    id_window_destroy(&none);
}

static void restart(const char *dir, uint32_t ids, long passes)
{
    log_make(dir, ids);
    for (long pass = 0; pass < passes; pass++) {
        uint64_t start = bench_now(), cpu = cpu_now();
        struct id_window w;
        struct id_log *log;
        struct loop *loop;

        if (loop_create(&loop) != 0 || id_window_create(&w, ids, INT64_C(3600000000)) != 0)
            die("out of memory");
        log = log_open(dir, ids, loop, &w);
        if (w.next - w.tail != ids / RUN * RUN)
            die("ids are missing in the log");
        printf("%s\t%u\t%" PRIu64 "\n", "restart", ids, cpu_now() - cpu);
        printf("%s\t%u\t%" PRIu64 "\n", "restart, time", ids, bench_now() - start);
        loop_destroy(loop);
        id_log_close(log);
        id_window_destroy(&w);
    }
}

int main(int argc, char **argv)
{
    struct id_hash *id = malloc(EVENTS * sizeof(*id));
    uint64_t n = 0, sum = 0;
    uint32_t removed = 0, again;
    struct json_paths paths = {0};
    struct json_parser *parser;
    struct id_window w;
    uint32_t ids;
    size_t len;
    char *buf;

    if (argc != 5 || id == NULL) {
        fprintf(stderr, "usage: bench_dedupe FILE PASSES IDS DIR\n");
        return 2;
    }
    buf = bench_read(argv[1], 64, &len);
    ids = (uint32_t)strtoul(argv[3], NULL, 10);
    again = ids < EVENTS ? ids / RUN * RUN : EVENTS; /* of those that are still known */
    if (id_window_create(&w, ids, INT64_C(3600000000)) != 0) {
        fprintf(stderr, "bench_dedupe: no memory for %u ids\n", ids);
        return 1;
    }
    if (json_paths_add(&paths, "order_id") < 0 ||
        json_parser_create(&paths, json_isa_best(), &parser) != 0)
        return 1;
    while (n < ids)
        id_window_add(&w, next_id(n++), 1, 1);
    for (long pass = 0; pass < strtol(argv[2], NULL, 10); pass++) {
        uint64_t start = cpu_now();

        sum += find_ids(parser, buf, len);
        printf("%s\t%u\t%" PRIu64 "\n", "find and hash", EVENTS, cpu_now() - start);
        for (uint32_t i = 0; i < EVENTS; i++)
            id[i] = next_id(n++);
        start = cpu_now();
        removed = take_ids(&w, id, EVENTS);
        printf("%s\t%u\t%" PRIu64 "\n", "window, new ids", EVENTS, cpu_now() - start);
        start = cpu_now();
        removed += take_ids(&w, id + EVENTS - again, again) - again;
        printf("%s\t%u\t%" PRIu64 "\n", "window, duplicates", again, cpu_now() - start);
    }
    fprintf(stderr, "%llu\n", (unsigned long long)sum);
    json_parser_destroy(parser);
    id_window_destroy(&w);
    restart(argv[4], ids, strtol(argv[2], NULL, 10));
    free(buf);
    free(id);
    return removed == 0 ? 0 : 1;
}
