/*
 * HOT. What the threads of a run share: the options, the sequence numbers still to be given out,
 * the time the run ends. Read-only after the start but for the two atomics.
 */
#ifndef GEN_PLAN_H
#define GEN_PLAN_H

#include <stdatomic.h>
#include <stdint.h>

#include "tools/gen/gen_acklog.h"
#include "tools/gen/gen_options.h"
#include "tools/gen/gen_run.h"

enum { GEN_HEAD_BYTES_MAX = 12 * 1024 };

struct gen_plan {
    const struct gen_options *options;
    struct gen_address address;
    struct gen_framing framing;
    struct gen_request *pool; /* pregenerated bodies; NULL: none */
    struct gen_acklog *log;   /* NULL: none */
    _Atomic int *stop;        /* enum gen_stop */
    int64_t start_ns;
    int64_t measure_ns;  /* requests meant to go before this are in no latency: --warm-up */
    int64_t send_end_ns; /* nothing is sent after this; INT64_MAX: no limit */
    uint64_t seq_max;
    _Atomic uint64_t next_seq;
    char head[GEN_HEAD_BYTES_MAX];
};

/**
 * Fills p from o; opens nothing. The clock of the run starts now.
 * Thread: main.  Alloc: none.
 */
void gen_plan_init(struct gen_plan *p, const struct gen_options *o, _Atomic int *stop);

/**
 * Starts the clock of the run anew, after slow preparations.
 * Thread: main, before any worker.  Alloc: none.
 */
void gen_plan_start_clock(struct gen_plan *p);

/**
 * Takes the next run of sequence numbers, a batch or what is left.
 * Thread: any.  Alloc: none.
 * @return how many, from *first on; 0 when all are given out.
 */
uint32_t gen_plan_take(struct gen_plan *p, uint64_t *first);

/**
 * Events that were scheduled for the run and not given out.
 * Thread: main, after all workers.  Alloc: none.
 */
uint64_t gen_plan_left(const struct gen_plan *p);

#endif
