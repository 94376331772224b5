/* COLD. See gen_run.h. */
#include "tools/gen/gen_run.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_clock.h"
#include "tools/gen/gen_memory.h"
#include "tools/gen/gen_plan.h"
#include "tools/gen/gen_report.h"
#include "tools/gen/gen_worker.h"

/* A worker with its thread. */
struct thread {
    pthread_t id;
    struct gen_worker *worker;
    sem_t *ended;
};

/* Everything a run holds, so that one function can give it all back. */
struct run {
    struct gen_plan plan;
    struct gen_acklog log;
    struct thread *threads;
    uint32_t threads_count; /* created */
    uint32_t started;
    sem_t ended; /* posted once per thread */
    bool log_open;
};

__attribute__((format(printf, 2, 3))) static int fail(struct gen_result *result, const char *format,
                                                      ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(result->error, sizeof(result->error), format, args);
    va_end(args);
    return -1;
}

/* A socket per connection and some more. Not fatal: opening sockets will tell. */
static void raise_file_limit(uint32_t connections)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)connections + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int prepare(struct run *run, const struct gen_options *o, struct gen_result *result)
{
    struct gen_plan *p = &run->plan;
    const char *wrong = gen_url_resolve(&o->target, &p->address);
    if (wrong != NULL) {
        return fail(result, "--target: cannot find host %s: %s", o->target.host, wrong);
    }
    raise_file_limit(o->connections);
    if (o->log != NULL) {
        int rc = gen_acklog_open(&run->log, o->log);
        if (rc != 0) {
            return fail(result, "--log %s: %s", o->log, strerror(-rc));
        }
        run->log_open = true;
        p->log = &run->log;
    }
    if (o->pregenerate > 0) {
        p->pool = gen_pool_create(&o->events, &p->framing, o->pregenerate, o->batch);
    }
    run->threads = gen_memory_zeroed(o->threads, sizeof(*run->threads));
    for (uint32_t i = 0; i < o->threads; i++) {
        run->threads[i].ended = &run->ended;
        run->threads[i].worker = gen_worker_create(p, i);
        if (run->threads[i].worker == NULL) {
            return fail(result, "no epoll or timer for thread %u: %s", i, strerror(errno));
        }
        run->threads_count++;
    }
    return 0;
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    gen_worker_run(t->worker);
    sem_post(t->ended);
    return NULL;
}

/* CPU time of this process, user and system. */
static double cpu_seconds(void)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    GEN_ASSERT(rc == 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int start(struct run *run, struct gen_result *result)
{
    gen_plan_start_clock(&run->plan);
    for (uint32_t i = 0; i < run->threads_count; i++) {
        int rc = pthread_create(&run->threads[i].id, NULL, thread_main, &run->threads[i]);
        if (rc != 0) {
            atomic_store(run->plan.stop, GEN_STOP_NOW);
            return fail(result, "cannot start thread %u: %s", i, strerror(rc));
        }
        run->started++;
    }
    return 0;
}

static void print_progress(const struct run *run, struct gen_progress *progress)
{
    static _Thread_local struct gen_stats sum; /* 5 KiB: not on the stack */
    memset(&sum, 0, sizeof(sum));
    for (uint32_t i = 0; i < run->started; i++) {
        gen_stats_merge_counters(&sum, gen_worker_stats(run->threads[i].worker));
    }
    gen_progress_print(progress, &sum);
}

/* Waits for all threads; meanwhile a line a second. */
static void wait_for_end(struct run *run)
{
    struct gen_progress progress;
    uint32_t ended = 0;
    int64_t next_ns = gen_clock_ns() + GEN_NS_A_SECOND;
    gen_progress_start(&progress);
    while (ended < run->started) {
        struct timespec until = {.tv_sec = next_ns / GEN_NS_A_SECOND,
                                 .tv_nsec = next_ns % GEN_NS_A_SECOND};
        if (sem_clockwait(&run->ended, CLOCK_MONOTONIC, &until) == 0) {
            ended++;
        } else if (errno == ETIMEDOUT) {
            next_ns += GEN_NS_A_SECOND;
            if (run->plan.options->progress) {
                print_progress(run, &progress);
            }
        }
    }
    for (uint32_t i = 0; i < run->started; i++) {
        pthread_join(run->threads[i].id, NULL);
    }
}

static int collect(struct run *run, struct gen_result *result)
{
    bool through = true;
    int64_t last_ns = 0;
    for (uint32_t i = 0; i < run->started; i++) {
        through &= gen_worker_collect(run->threads[i].worker, result, &last_ns);
    }
    if (last_ns == 0) {
        last_ns = gen_clock_ns();
    }
    result->seconds = (double)(last_ns - run->plan.start_ns) / 1e9;
    result->unsent = gen_plan_left(&run->plan);
    return through ? 0 : -1;
}

static int tear_down(struct run *run, struct gen_result *result)
{
    int rc = 0;
    for (uint32_t i = 0; i < run->threads_count; i++) {
        gen_worker_destroy(run->threads[i].worker);
    }
    free(run->threads);
    gen_pool_destroy(run->plan.pool, run->plan.options->pregenerate);
    if (run->log_open) {
        rc = gen_acklog_close(&run->log);
        if (rc != 0) {
            rc = fail(result, "--log %s: %s", run->plan.options->log, strerror(-rc));
        }
    }
    sem_destroy(&run->ended);
    return rc;
}

int gen_run(const struct gen_options *o, _Atomic int *stop, struct gen_result *result)
{
    struct run *run = gen_memory_zeroed(1, sizeof(*run));
    memset(result, 0, sizeof(*result));
    gen_plan_init(&run->plan, o, stop);
    sem_init(&run->ended, 0, 0);
    int rc = prepare(run, o, result);
    if (rc == 0) {
        double before = cpu_seconds();
        rc = start(run, result);
        wait_for_end(run);
        result->cpu_seconds = cpu_seconds() - before;
        int collected = collect(run, result);
        rc = rc == 0 ? collected : rc;
    }
    int closed = tear_down(run, result);
    free(run);
    return rc == 0 ? closed : rc;
}
