/* What the process takes from the machine. Thread: control. */
#ifndef PENSTOCK_CONTROL_PROCESS_H
#define PENSTOCK_CONTROL_PROCESS_H

#include "dataplane/base/compiler.h"

/** The allocator's numbers, in bytes; zeros without jemalloc. */
struct process_heap {
    uint64_t allocated, active, metadata, resident, mapped, retained;
};

/** Resident bytes; 0 when unknown. */
uint64_t process_rss(void);

/** What the machine and the control groups that the process is in still have for it, in bytes, with huge
 * pages that nobody uses; UINT64_MAX when unknown. */
uint64_t process_memory_left(void);

/** Seconds of CPU time, user and system. */
double process_cpu_seconds(void);

/** Open file descriptors; 0 when unknown. */
uint64_t process_open_files(void);

/** Reads the allocator's numbers. */
void process_heap(struct process_heap *out);

#endif
