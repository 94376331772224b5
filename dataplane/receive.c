/* HOT. Provided buffers, see receive.h. */
#include "dataplane/receive.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/base/mem.h"

#define PADDING_BYTES 4096 /* behind the last buffer: JSON is read in whole vectors */

/* Buffers that a multiple of 4 KiB lay apart would contend for the same few sets of the cache, where
 * most of them hold only a small request at their beginning. */
#define STRIDE_MORE 1088

static uint32_t stride_of(uint32_t bytes)
{
    return bytes % 4096 == 0 ? bytes + STRIDE_MORE : bytes;
}

uint64_t receive_pool_memory(uint32_t buffers, uint32_t bytes)
{
    ASSERT(buffers == 0 || bytes > 0);
    return (uint64_t)buffers * stride_of(bytes);
}

int receive_pool_create(uint16_t group, uint32_t buffers, uint32_t bytes, uint32_t in_use,
                        struct receive_pool *out)
{
    uint32_t slots = 1;

    ASSERT(buffers <= UINT16_MAX && bytes % 64 == 0);
    *out = (struct receive_pool){.group = group,
                                 .buffers = buffers,
                                 .bytes = bytes,
                                 ._stride = stride_of(bytes),
                                 ._in_use = in_use > 0 && in_use < buffers ? in_use : buffers};
    if (buffers == 0)
        return 0;
    while (slots < buffers)
        slots *= 2;
    out->_slots = slots;
    out->_memory_bytes = receive_pool_memory(buffers, bytes) + PADDING_BYTES;
    out->_memory = mem_reserve(out->_memory_bytes);
    out->_ring = aligned_alloc(4096, align_up(slots * sizeof(struct io_uring_buf), 4096));
    out->_spare = calloc(buffers, sizeof(*out->_spare));
    return out->_memory == NULL || out->_ring == NULL || out->_spare == NULL ? -ENOMEM : 0;
}

void receive_pool_destroy(struct receive_pool *p)
{
    ASSERT(p->buffers > 0 || p->_memory == NULL);
    free(p->_ring);
    free(p->_spare);
    mem_release(p->_memory, p->_memory_bytes);
    p->_ring = NULL;
    p->_spare = NULL;
    p->_memory = NULL;
}

int receive_pool_populate(struct receive_pool *p)
{
    ASSERT(p->_memory != NULL || p->_memory_bytes == 0);
    return mem_populate(p->_memory, p->_memory_bytes, NULL);
}

static void give(struct receive_pool *p, uint32_t index)
{
    if (p->_n_given == p->_in_use) {
        p->_spare[p->_n_spare++] = (uint16_t)index;
        return;
    }
    io_uring_buf_ring_add(p->_ring, p->_memory + (size_t)index * p->_stride, p->bytes,
                          (unsigned short)index, io_uring_buf_ring_mask(p->_slots), 0);
    io_uring_buf_ring_advance(p->_ring, 1);
    p->_n_given++;
}

/* The worker holds all that were in use. */
static COLD_PATH void give_spare(struct receive_pool *p)
{
    ASSERT(p->_n_given == 0);
    while (p->_n_spare > 0 && p->_n_given < p->_in_use)
        give(p, p->_spare[--p->_n_spare]);
}

int receive_pool_register(struct receive_pool *p, struct io_uring *ring)
{
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)p->_ring,
        .ring_entries = p->_slots,
        .bgid = p->group,
    };
    int rc;

    ASSERT(p->n_held == 0);
    if (p->buffers == 0)
        return 0;
    rc = io_uring_register_buf_ring(ring, &reg, 0);
    if (rc < 0)
        return rc;
    io_uring_buf_ring_init(p->_ring);
    for (uint32_t i = 0; i < p->buffers; i++)
        give(p, i);
    return 0;
}

char *receive_pool_take(struct receive_pool *p, const struct io_uring_cqe *cqe, uint32_t *index)
{
    ASSERT_HOT((cqe->flags & IORING_CQE_F_BUFFER) != 0 && p->n_held < p->buffers);
    *index = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    ASSERT_HOT(p->_n_given > 0);
    p->n_held++;
    if (--p->_n_given == 0)
        give_spare(p);
    return p->_memory + (size_t)*index * p->_stride;
}

void receive_pool_return(struct receive_pool *p, uint32_t index)
{
    ASSERT_HOT(index < p->buffers && p->n_held > 0);
    p->n_held--;
    give(p, index);
}
