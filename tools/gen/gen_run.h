/*
 * COLD. One load run against a server: threads, progress, result. Everything about the run comes in
 * through the options and leaves in the result, so a scenario or a service can start runs of its
 * own.
 */
#ifndef GEN_RUN_H
#define GEN_RUN_H

#include <stdatomic.h>

#include "tools/gen/gen_hist.h"
#include "tools/gen/gen_options.h"
#include "tools/gen/gen_stats.h"

enum { GEN_ERROR_BYTES_MAX = 512 };

/* How a run is asked to end early. */
enum gen_stop {
    GEN_STOP_NOT,
    GEN_STOP_SOON, /* send nothing new, wait for the answers outstanding */
    GEN_STOP_NOW,  /* count what is outstanding as unanswered */
};

struct gen_result {
    struct gen_stats stats;
    struct gen_hist latency;  /* of answered requests, from the intended send time */
    struct gen_hist lateness; /* of the same, from there until they were sent: our own part of it */
    double seconds;           /* from the first request to the last answer */
    double cpu_seconds;       /* of this process meanwhile: how busy the generator was */
    uint64_t unsent; /* events whose send time came but that were not sent: open loop, behind */
    char error[GEN_ERROR_BYTES_MAX]; /* the first thing that went wrong on a connection or file */
};

/**
 * Runs to the end that o sets, or until *stop is raised (from a signal handler or another thread).
 * Thread: main.  Alloc: heap, all freed on return.
 * @return 0, or -1 with the reason in result->error.
 */
__attribute__((warn_unused_result)) int gen_run(const struct gen_options *o, _Atomic int *stop,
                                                struct gen_result *result);

/**
 * Writes the events to the file o->out instead; result as for a server that takes everything.
 * Thread: main.  Alloc: heap, all freed on return.
 * @return 0, or -1 with the reason in result->error.
 */
__attribute__((warn_unused_result)) int gen_run_file(const struct gen_options *o, _Atomic int *stop,
                                                     struct gen_result *result);

#endif
