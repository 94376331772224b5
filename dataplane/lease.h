/*
 * Leases: contiguous receive buffers for requests that did not arrive in one piece. Four sizes,
 * fixed numbers of each, taken at start; a lease that is not to be had is an answer (503), never an
 * allocation.
 *
 * Thread: the worker's.
 */
#ifndef PENSTOCK_LEASE_H
#define PENSTOCK_LEASE_H

#include "dataplane/base/compiler.h"

#define LEASE_CLASSES 5

/** Numbers and sizes; sizes rise, and are multiples of 4 KiB. */
struct lease_config {
    uint32_t count[LEASE_CLASSES];
    uint32_t bytes[LEASE_CLASSES];
};

struct lease_pool;

/** One buffer; buf is NULL when none is held. */
struct lease {
    char *buf;
    uint32_t bytes; /* usable; JSON padding behind it is included in the pool's own sum */
    uint8_t class;
};

/** Fixed memory of a pool. Thread: init. */
uint64_t lease_memory_bytes(const struct lease_config *config);

/** Takes the memory. Thread: init. @return 0 or -ENOMEM. */
int lease_pool_create(const struct lease_config *config, struct lease_pool **out) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: control. */
void lease_pool_destroy(struct lease_pool *p);

/** mem_populate() for it, smallest leases first; the worker may use it meanwhile. Thread: any. */
int lease_pool_populate(struct lease_pool *p, const _Atomic bool *stop) WARN_UNUSED;

/** Takes the smallest free lease of at least bytes. Partner: lease_release(). @return false when
 * there is none. */
bool lease_acquire(struct lease_pool *p, uint64_t bytes, struct lease *out) WARN_UNUSED;

/** Gives a lease back; an empty one is fine. */
void lease_release(struct lease_pool *p, struct lease *l);

#endif
