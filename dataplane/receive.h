/*
 * Receive pools: buffers of one size that the kernel fills by itself (a provided buffer ring), each
 * kind of input with a pool of its own, so that one that stands still cannot starve another.
 *
 * A buffer is the kernel's until a completion names it, then the worker's until
 * receive_pool_return(). Thread: the worker's, but for creating and destroying.
 */
#ifndef PENSTOCK_RECEIVE_H
#define PENSTOCK_RECEIVE_H

#include <liburing.h>

#include "dataplane/base/compiler.h"

/** One pool. Fields with '_' are private. */
struct receive_pool {
    uint32_t buffers;
    uint32_t bytes;  /* of one buffer */
    uint16_t group;  /* buffer group of the ring */
    uint32_t n_held; /* taken from the kernel and not returned */
    char *_memory;
    uint64_t _memory_bytes;
    struct io_uring_buf_ring *_ring;
    uint32_t _slots;
    uint32_t _stride;  /* from one buffer to the next */
    uint32_t _in_use;  /* the ring has at most so many: what is filled anew is still in the cache */
    uint32_t _n_given; /* in the ring */
    uint32_t _n_spare; /* kept back, until the worker holds so many that the ring runs dry */
    uint16_t *_spare;
};

/** Fixed memory of a pool. Thread: init. */
uint64_t receive_pool_memory(uint32_t buffers, uint32_t bytes);

/**
 * Takes the memory; readable JSON padding lies behind the last buffer. None with 0 buffers.
 * Thread: init.
 * @param in_use so many buffers are with the kernel at once; the others come into use when the worker
 * holds those. Few large ones stay in the core's cache; 0: all.
 * @return 0 or -ENOMEM.
 */
int receive_pool_create(uint16_t group, uint32_t buffers, uint32_t bytes, uint32_t in_use,
                        struct receive_pool *out) WARN_UNUSED;

/** Frees it. A zeroed pool is allowed. Thread: control. */
void receive_pool_destroy(struct receive_pool *p);

/** mem_populate() for it. A zeroed pool is allowed. Thread: worker, before its first receive. */
int receive_pool_populate(struct receive_pool *p) WARN_UNUSED;

/** Hands all buffers to the ring. Thread: worker, before its first receive. @return 0 or -errno. */
int receive_pool_register(struct receive_pool *p, struct io_uring *ring) WARN_UNUSED;

/** The buffer of a completion, which has IORING_CQE_F_BUFFER; *index names it. Owner: the worker,
 * until receive_pool_return(). */
char *receive_pool_take(struct receive_pool *p, const struct io_uring_cqe *cqe, uint32_t *index);

/** Buffers that the kernel has, but for those of completions that have not been looked at. */
static inline uint32_t receive_pool_ready(const struct receive_pool *p)
{
    return p->_n_given;
}

/** Gives a buffer back to the kernel. */
void receive_pool_return(struct receive_pool *p, uint32_t index);

#endif
