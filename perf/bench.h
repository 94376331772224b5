/*
 * What the small benchmarks share: a file in memory, and a clock. They print one line a pass, `SUBJECT BYTES
 * NANOSECONDS`; perf/bench.py makes medians and JSON of them.
 */
#ifndef PENSTOCK_PERF_BENCH_H
#define PENSTOCK_PERF_BENCH_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/** Nanoseconds, monotonic. */
static inline uint64_t bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/** One pass is over: tells how many bytes the subject went through since start. */
static inline void bench_pass(const char *subject, size_t bytes, uint64_t start)
{
    printf("%s %zu %" PRIu64 "\n", subject, bytes, bench_now() - start);
}

/** Reads a whole file, with padding zero bytes behind it. Ends the program when it cannot. */
static inline char *bench_read(const char *path, size_t padding, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *buf = NULL;

    if (f == NULL || fseek(f, 0, SEEK_END) != 0)
        goto fail;
    *len = (size_t)ftell(f);
    rewind(f);
    buf = aligned_alloc(4096, (*len + padding + 4095) / 4096 * 4096);
    if (buf == NULL || fread(buf, 1, *len, f) != *len)
        goto fail;
    memset(buf + *len, 0, padding);
    fclose(f);
    return buf;

fail:
    perror(path);
    exit(1);
}

#endif
