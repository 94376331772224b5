/*
 * Big, aligned memory, most of it taken once at start: huge pages when there are any, transparent ones
 * otherwise. The kernel gives pages when they are touched first; mem_populate() has it do so at start.
 */
#ifndef PENSTOCK_BASE_MEM_H
#define PENSTOCK_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include "dataplane/base/compiler.h"

/**
 * Maps len bytes (rounded up to 2 MiB), zeroed, aligned to 2 MiB; tries reserved huge pages first.
 * Thread: any but a worker that runs.  Owner: caller, until mem_release() with the same len.
 * @return NULL when the machine refuses.
 */
void *mem_reserve(size_t len) WARN_UNUSED;

/**
 * Has the machine give the pages of these bytes now: whoever touches one first would else wait while
 * the kernel clears it, milliseconds for a large page. What is in them stays as it is, also while
 * others write it. NUMA: new pages come from where the calling thread runs.
 * Thread: any.  Alloc: none.
 * @param stop NULL: all at once. Else a page after the other, so that threads that map memory meanwhile
 * need not wait for all of it, and only until *stop.
 * @return 0; -errno when the machine has no more.
 */
int mem_populate(void *ptr, size_t len, const _Atomic bool *stop) WARN_UNUSED;

/** Gives back what mem_reserve() returned. NULL is allowed. Thread: as above. */
void mem_release(void *ptr, size_t len);

#endif
