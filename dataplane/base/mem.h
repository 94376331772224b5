/* Big, aligned memory, most of it taken once at start: huge pages when there are any, transparent ones
 * otherwise. */
#ifndef PENSTOCK_BASE_MEM_H
#define PENSTOCK_BASE_MEM_H

#include <stddef.h>

#include "dataplane/base/compiler.h"

/**
 * Maps len bytes (rounded up to 2 MiB), zeroed, aligned to 2 MiB; tries reserved huge pages first.
 * Thread: any but a worker that runs.  Owner: caller, until mem_release() with the same len.
 * @return NULL when the machine refuses.
 */
void *mem_reserve(size_t len) WARN_UNUSED;

/** Gives back what mem_reserve() returned. NULL is allowed. Thread: as above. */
void mem_release(void *ptr, size_t len);

#endif
