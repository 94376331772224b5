/* HOT. Provided buffers, see receive.h. */
#include "dataplane/receive.h"

#include <errno.h>
#include <stdlib.h>

#include "dataplane/base/mem.h"

#define PADDING_BYTES 4096 /* behind the last buffer: JSON is read in whole vectors */

uint64_t receive_pool_memory(uint32_t buffers, uint32_t bytes)
{
    ASSERT(buffers == 0 || bytes > 0);
    return (uint64_t)buffers * bytes;
}

int receive_pool_create(uint16_t group, uint32_t buffers, uint32_t bytes, struct receive_pool *out)
{
    uint32_t slots = 1;

    ASSERT(buffers <= UINT16_MAX && bytes % 64 == 0);
    *out = (struct receive_pool){.group = group, .buffers = buffers, .bytes = bytes};
    if (buffers == 0)
        return 0;
    while (slots < buffers)
        slots *= 2;
    out->_slots = slots;
    out->_memory_bytes = receive_pool_memory(buffers, bytes) + PADDING_BYTES;
    out->_memory = mem_reserve(out->_memory_bytes);
    out->_ring = aligned_alloc(4096, align_up(slots * sizeof(struct io_uring_buf), 4096));
    return out->_memory == NULL || out->_ring == NULL ? -ENOMEM : 0;
}

void receive_pool_destroy(struct receive_pool *p)
{
    ASSERT(p->buffers > 0 || p->_memory == NULL);
    free(p->_ring);
    mem_release(p->_memory, p->_memory_bytes);
    p->_ring = NULL;
    p->_memory = NULL;
}

static void give(struct receive_pool *p, uint32_t index)
{
    io_uring_buf_ring_add(p->_ring, p->_memory + (size_t)index * p->bytes, p->bytes,
                          (unsigned short)index, io_uring_buf_ring_mask(p->_slots), 0);
    io_uring_buf_ring_advance(p->_ring, 1);
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
    p->n_held++;
    return p->_memory + (size_t)*index * p->bytes;
}

void receive_pool_return(struct receive_pool *p, uint32_t index)
{
    ASSERT_HOT(index < p->buffers && p->n_held > 0);
    p->n_held--;
    give(p, index);
}
