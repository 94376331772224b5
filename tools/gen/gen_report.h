/* COLD. What a run tells its user: progress while it lasts, a summary at the end. */
#ifndef GEN_REPORT_H
#define GEN_REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "tools/gen/gen_run.h"

struct gen_progress {
    int64_t _start_ns;
    int64_t _last_ns;
    uint64_t _last_acked;
};

/**
 * Starts the clock of a progress report.
 * Thread: main.  Alloc: none.
 */
void gen_progress_start(struct gen_progress *p);

/**
 * Prints one line on standard error: events sent and acknowledged so far, events acknowledged a
 * second since the last line, events refused or unanswered. Thread: main.  Alloc: none.
 */
void gen_progress_print(struct gen_progress *p, const struct gen_stats *stats);

/**
 * Prints the summary for people.
 * Thread: main.  Alloc: none.
 */
void gen_report_text(FILE *to, const struct gen_result *result);

/**
 * Prints the summary as one line of JSON.
 * Thread: main.  Alloc: none.
 */
void gen_report_json(FILE *to, const struct gen_result *result);

#endif
