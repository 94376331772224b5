/*
 * HOT. One thread of a run: an epoll loop over its share of the connections. Decides when to
 * connect, what to send next and what an answer, or none, means; counts and logs it.
 */
#ifndef GEN_WORKER_H
#define GEN_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/gen/gen_plan.h"
#include "tools/gen/gen_run.h"
#include "tools/gen/gen_stats.h"

struct gen_worker;

/**
 * Makes worker index of plan->options->threads; plan outlives it.
 * Thread: main.  Alloc: heap.
 * Owner: caller; gen_worker_destroy().
 * @return NULL when the system gives no epoll or timer.
 */
struct gen_worker *gen_worker_create(struct gen_plan *plan, uint32_t index);

/**
 * Runs until the plan is sent and answered, its time is over, it is stopped, or no connection is
 * left. Thread: worker.  Alloc: grows request buffers and log lines while they are new.
 */
void gen_worker_run(struct gen_worker *w);

/**
 * Counters, live.
 * Thread: any.  Alloc: none.
 */
const struct gen_stats *gen_worker_stats(const struct gen_worker *w);

/**
 * Adds counters, latencies and statuses to *result, and the first error if it has none yet; raises
 * *last_answer_ns to the time of this worker's last answer.
 * Thread: main, after gen_worker_run() has returned.  Alloc: none.
 * @return false when the worker ended before the plan was through.
 */
bool gen_worker_collect(const struct gen_worker *w, struct gen_result *result,
                        int64_t *last_answer_ns);

/**
 * Frees everything; w may be NULL.
 * Thread: main.  Alloc: none.
 */
void gen_worker_destroy(struct gen_worker *w);

#endif
