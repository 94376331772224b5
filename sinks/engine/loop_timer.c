/*
 * COLD. The loop's timers: a binary heap by due time. A timer knows its place, so re-arming and
 * disarming cost O(log n).
 */
#include <stdlib.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/loop_internal.h"

#define HEAP_FIRST 256

void loop_timers_fini(struct loop *l)
{
    ASSERT(l != NULL);
    free(l->heap);
    l->heap = NULL;
    l->n_timers = 0;
}

static void heap_place(struct loop *l, uint32_t i, struct loop_timer *t)
{
    ASSERT(i >= 1 && i <= l->n_timers);
    l->heap[i] = t;
    t->_heap_index = i;
}

static void heap_up(struct loop *l, uint32_t i, struct loop_timer *t)
{
    ASSERT(i >= 1);
    while (i > 1 && l->heap[i / 2]->_due_us > t->_due_us) {
        heap_place(l, i, l->heap[i / 2]);
        i /= 2;
    }
    heap_place(l, i, t);
}

static void heap_down(struct loop *l, uint32_t i, struct loop_timer *t)
{
    ASSERT(i >= 1);
    for (;;) {
        uint32_t child = 2 * i;

        if (child > l->n_timers)
            break;
        if (child < l->n_timers && l->heap[child + 1]->_due_us < l->heap[child]->_due_us)
            child++;
        if (l->heap[child]->_due_us >= t->_due_us)
            break;
        heap_place(l, i, l->heap[child]);
        i = child;
    }
    heap_place(l, i, t);
}

/* Arming a timer has no way to fail: without these few bytes the thread could not go on anyhow. */
static void heap_grow(struct loop *l)
{
    uint32_t size = l->heap_size == 0 ? HEAP_FIRST : 2 * l->heap_size;
    struct loop_timer **heap = realloc(l->heap, sizeof(*heap) * size);

    ASSERT(heap != NULL);
    l->heap = heap;
    l->heap_size = size;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t delay_us)
{
    ASSERT(t->fire != NULL);
    ASSERT(delay_us >= 0);
    loop_timer_cancel(l, t);
    if (l->n_timers + 2 > l->heap_size)
        heap_grow(l);
    t->_due_us = clock_monotonic_us() + delay_us;
    l->n_timers++;
    heap_up(l, l->n_timers, t);
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
    uint32_t i = t->_heap_index;
    struct loop_timer *last;

    if (i == 0)
        return;
    ASSERT(i <= l->n_timers && l->heap[i] == t);
    t->_heap_index = 0;
    last = l->heap[l->n_timers--];
    if (last == t)
        return;
    if (i > 1 && l->heap[i / 2]->_due_us > last->_due_us)
        heap_up(l, i, last);
    else
        heap_down(l, i, last);
}

int64_t loop_timers_next(const struct loop *l)
{
    ASSERT(l != NULL);
    return l->n_timers == 0 ? INT64_MAX : l->heap[1]->_due_us;
}

int loop_timers_run(struct loop *l, int64_t now_us)
{
    int n = 0;

    ASSERT(now_us >= 0);
    while (l->n_timers > 0 && l->heap[1]->_due_us <= now_us) {
        struct loop_timer *t = l->heap[1];

        loop_timer_cancel(l, t);
        t->fire(t);
        n++;
    }
    return n;
}
