/* COLD. See ring.h. */
#include "dataplane/base/ring.h"

#include <rte_ring.h>
#include <stdlib.h>

struct rte_ring *ring_create(const char *name, uint32_t items, unsigned flags)
{
    uint32_t slots = rte_align32pow2(items + 1); /* one slot stays empty */
    ssize_t bytes = rte_ring_get_memsize(slots);
    struct rte_ring *r;

    ASSERT(items > 0);
    if (bytes < 0)
        return NULL;
    r = aligned_alloc(CACHE_LINE_BYTES, align_up((uint64_t)bytes, CACHE_LINE_BYTES));
    if (r != NULL && rte_ring_init(r, name, items, flags | RING_F_EXACT_SZ) != 0) {
        free(r);
        return NULL;
    }
    return r;
}
