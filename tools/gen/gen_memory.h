/*
 * COLD. Heap memory for penstock-gen. A load client that cannot get its buffers has nothing to fall
 * back on, so running out ends the program with a message; callers need no failure path.
 */
#ifndef GEN_MEMORY_H
#define GEN_MEMORY_H

#include <stddef.h>

/**
 * Zeroed memory for count items of bytes each.
 * Thread: any.  Alloc: heap; exits with status 1 when there is none.
 * Owner: caller; free().
 */
__attribute__((warn_unused_result, malloc)) void *gen_memory_zeroed(size_t count, size_t bytes);

/**
 * Like realloc(), but never fails.
 * Thread: any.  Alloc: heap; exits with status 1 when there is none.
 * Owner: caller; free().
 */
__attribute__((warn_unused_result)) void *gen_memory_resize(void *old, size_t bytes);

#endif
