/* HOT. Lanes: rte_ring, single producer, single consumer. */
#include "dataplane/lane.h"

#include <errno.h>
#include <rte_ring.h>
#include <stdlib.h>
#include <unistd.h>

#include "dataplane/base/ring.h"

struct lane {
    struct rte_ring *ring;
    int wake_fd;
    bool pushed;        /* worker: since the last lane_wake() */
    struct block *head; /* sink thread: dequeued by lane_peek(), not yet taken */
};

int lane_create(uint32_t blocks_max, int wake_fd, struct lane **out)
{
    struct lane *l = calloc(1, sizeof(*l));

    ASSERT(blocks_max > 0);
    if (l == NULL)
        return -ENOMEM;
    l->ring = ring_create("lane", blocks_max, RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (l->ring == NULL) {
        lane_destroy(l);
        return -ENOMEM;
    }
    l->wake_fd = wake_fd;
    *out = l;
    return 0;
}

void lane_destroy(struct lane *l)
{
    if (l == NULL)
        return;
    free(l->ring);
    free(l);
}

bool lane_push(struct lane *l, struct block *b)
{
    ASSERT(b->len > 0);
    if (rte_ring_sp_enqueue(l->ring, b) != 0)
        return false;
    l->pushed = true;
    return true;
}

void lane_wake(struct lane *l)
{
    uint64_t one = 1;

    if (!l->pushed)
        return;
    l->pushed = false;
    if (write(l->wake_fd, &one, sizeof(one)) < 0)
        ASSERT(errno == EAGAIN); /* the counter is full: it is awake */
}

struct block *lane_peek(struct lane *l)
{
    void *b = NULL;

    if (l->head == NULL && rte_ring_sc_dequeue(l->ring, &b) == 0)
        l->head = b;
    return l->head;
}

void lane_pop(struct lane *l)
{
    ASSERT(l->head != NULL);
    l->head = NULL;
}
