/*
 * How long the machine takes its cores away from whoever runs on them: one thread on each of two cores
 * looks at the clock all the time, and two looks that lie apart are a stall. Interrupts, threads of the
 * kernel, other programs and the host all are.
 *
 *     bench_stall CORE CORE SECONDS
 *
 * One line, nanoseconds: the longest stall, all stalls of both cores, and p99 and p99.9 of what clients of
 * an open loop would wait if nothing else took any time: with the cores half busy, what has gathered in a
 * stall of g needs another g, so that requests of 2 g wait between g and nothing. Stalls of the two cores
 * are added up, because a request needs both.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CORES      2
#define STALLS_MAX (1u << 20)
#define STALL_NS   20000 /* less is an interrupt, and part of any work */

struct watch {
    pthread_t thread;
    int core;
    uint64_t ns; /* to watch */
    uint32_t n;
    uint64_t stall[STALLS_MAX];
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *watch(void *arg)
{
    struct watch *w = arg;
    uint64_t last, end;
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET((unsigned)w->core, &cpus);
    if (pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus) != 0) {
        fprintf(stderr, "bench_stall: core %d: it is not there\n", w->core);
        exit(1);
    }
    last = now_ns();
    for (end = last + w->ns; last < end;) {
        uint64_t now = now_ns();

        if (now - last > STALL_NS && w->n < STALLS_MAX)
            w->stall[w->n++] = now - last;
        last = now;
    }
    return NULL;
}

/* Nanoseconds whose requests wait longer than that. */
static uint64_t requests_beyond(const struct watch *w, uint64_t wait)
{
    uint64_t sum = 0;

    for (int c = 0; c < CORES; c++) {
        for (uint32_t i = 0; i < w[c].n; i++)
            sum += w[c].stall[i] > wait ? 2 * (w[c].stall[i] - wait) : 0;
    }
    return sum;
}

/* The wait that only so many of all requests exceed. */
static uint64_t wait_of(const struct watch *w, uint64_t requests, uint64_t longest)
{
    uint64_t low = 0, high = longest;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (requests_beyond(w, middle) > requests)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int main(int argc, char **argv)
{
    static struct watch w[CORES];
    uint64_t ns, longest = 0;
    int rc = 0;

    if (argc != 4 || !(strtod(argv[3], NULL) > 0)) {
        fprintf(stderr, "usage: bench_stall CORE CORE SECONDS\n");
        return 2;
    }
    ns = (uint64_t)(strtod(argv[3], NULL) * 1e9);
    for (int c = 0; c < CORES && rc == 0; c++) {
        memset(w[c].stall, 0, sizeof(w[c].stall)); /* its pages come now */
        w[c].core = (int)strtol(argv[1 + c], NULL, 10);
        w[c].ns = ns;
        rc = pthread_create(&w[c].thread, NULL, watch, &w[c]);
    }
    if (rc != 0) {
        fprintf(stderr, "bench_stall: %s\n", strerror(rc));
        return 1;
    }
    for (int c = 0; c < CORES; c++)
        pthread_join(w[c].thread, NULL);
    for (int c = 0; c < CORES; c++) {
        for (uint32_t i = 0; i < w[c].n; i++)
            longest = w[c].stall[i] > longest ? w[c].stall[i] : longest;
    }
    printf("%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", longest,
           requests_beyond(w, 0) / 2, wait_of(w, ns / 100, longest),
           wait_of(w, ns / 1000, longest));
    return 0;
}
