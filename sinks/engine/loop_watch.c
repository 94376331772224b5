/*
 * COLD. The loop's watched descriptors, each a one-shot poll that is armed again after its
 * callback.
 *
 *               watch_set(events)        completion, ready()
 *     free ------------------> dirty --> armed --> dirty (still wanted) --> armed ...
 *       ^                                  | watch_set(0)
 *       `-------- completion <--- removing <'
 *
 * Changes are collected and handed to the ring once per turn. A changed mask updates the poll in
 * place; when the poll fired meanwhile, the update finds nothing and the completion arms the new
 * mask. The ring holds a reference to the file of an armed poll: that is why a stopped watch asks
 * for removal.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "sinks/engine/loop_internal.h"

#define SLOTS_FIRST 64

void loop_watches_fini(struct loop *l)
{
    ASSERT(l->n_watches == 0);
    free(l->slot);
    free(l->dirty);
    l->slot = NULL;
    l->dirty = NULL;
}

/* Room for one more slot; slot 0 is never used. */
static int slots_grow(struct loop *l)
{
    uint32_t size = l->slots_size == 0 ? SLOTS_FIRST : 2 * l->slots_size;
    struct watch_slot *slot = realloc(l->slot, sizeof(*slot) * (size + 1));
    uint32_t *dirty;

    ASSERT(size > l->n_slots);
    if (slot == NULL)
        return -ENOMEM;
    l->slot = slot;
    dirty = realloc(l->dirty, sizeof(*dirty) * size);
    if (dirty == NULL)
        return -ENOMEM;
    l->dirty = dirty;
    l->slots_size = size;
    return 0;
}

static int slot_acquire(struct loop *l, uint32_t *out)
{
    uint32_t i = l->free_slot;

    ASSERT(l->n_slots <= l->slots_size);
    if (i != 0) {
        l->free_slot = l->slot[i].next_free;
    } else {
        if (l->n_slots == l->slots_size && slots_grow(l) != 0)
            return -ENOMEM;
        i = ++l->n_slots;
    }
    l->slot[i] = (struct watch_slot){.fd = -1};
    *out = i;
    return 0;
}

static void slot_release(struct loop *l, uint32_t i)
{
    struct watch_slot *s = &l->slot[i];

    ASSERT(s->watch == NULL && s->armed == 0);
    ASSERT(!s->dirty);
    s->next_free = l->free_slot;
    l->free_slot = i;
}

static void slot_mark(struct loop *l, uint32_t i)
{
    ASSERT(i >= 1 && i <= l->n_slots);
    if (l->slot[i].dirty)
        return;
    ASSERT(l->n_dirty < l->slots_size);
    l->slot[i].dirty = true;
    l->dirty[l->n_dirty++] = i;
}

static void watch_stop(struct loop *l, struct loop_watch *w)
{
    struct watch_slot *s;

    ASSERT(w->_slot <= l->n_slots);
    if (w->_slot == 0)
        return;
    s = &l->slot[w->_slot];
    ASSERT(s->watch == w);
    s->watch = NULL;
    s->events = 0;
    slot_mark(l, w->_slot);
    w->_slot = 0;
    w->_events = 0;
    l->n_watches--;
}

int loop_watch_set(struct loop *l, struct loop_watch *w, uint32_t events)
{
    struct watch_slot *s;
    uint32_t i = w->_slot;

    ASSERT(w->ready != NULL);
    if (events == 0) {
        watch_stop(l, w);
        return 0;
    }
    if (i == 0) {
        if (slot_acquire(l, &i) != 0)
            return -ENOMEM;
        l->slot[i].watch = w;
        l->slot[i].fd = w->fd;
        w->_slot = i;
        l->n_watches++;
    }
    s = &l->slot[i];
    ASSERT(s->watch == w && s->fd == w->fd);
    s->events = events;
    w->_events = events;
    slot_mark(l, i);
    return 0;
}

/* Brings one slot in line with the ring. @return false when the ring takes no more now. */
static bool slot_flush(struct loop *l, uint32_t i)
{
    struct watch_slot *s = &l->slot[i];
    struct io_uring_sqe *sqe;

    ASSERT(s->dirty);
    if (s->armed == s->events || s->removing)
        return true;
    sqe = loop_sqe(l);
    if (sqe == NULL)
        return false;
    if (s->armed == 0) {
        io_uring_prep_poll_add(sqe, s->fd, s->events);
        io_uring_sqe_set_data64(sqe, loop_watch_tag(i));
        s->armed = s->events;
    } else if (s->events == 0) {
        io_uring_prep_poll_remove(sqe, loop_watch_tag(i));
        io_uring_sqe_set_data64(sqe, loop_ignore_tag());
        s->removing = true;
    } else {
        io_uring_prep_poll_update(sqe, loop_watch_tag(i), 0, s->events, IORING_POLL_UPDATE_EVENTS);
        io_uring_sqe_set_data64(sqe, loop_ignore_tag());
        s->armed = s->events;
    }
    return true;
}

void loop_watches_flush(struct loop *l)
{
    uint32_t done = 0;

    ASSERT(l->enabled);
    while (done < l->n_dirty && slot_flush(l, l->dirty[done])) {
        uint32_t i = l->dirty[done++];

        l->slot[i].dirty = false;
        if (l->slot[i].watch == NULL && l->slot[i].armed == 0)
            slot_release(l, i);
    }
    for (uint32_t i = done; i < l->n_dirty; i++)
        l->dirty[i - done] = l->dirty[i];
    l->n_dirty -= done;
}

int loop_watch_complete(struct loop *l, uint32_t i, int result)
{
    struct watch_slot *s = &l->slot[i];
    struct loop_watch *w = s->watch;
    uint32_t got = result < 0 ? (uint32_t)POLLERR : (uint32_t)result;

    ASSERT(i >= 1 && i <= l->n_slots);
    ASSERT(s->armed != 0);
    s->armed = 0;
    s->removing = false;
    slot_mark(l, i); /* armed again or released by the next flush */
    got &= s->events | POLLERR | POLLHUP | POLLNVAL;
    if (w == NULL || got == 0 || result == -ECANCELED)
        return 0;
    w->ready(w, got); /* may free w and move the slots */
    return 1;
}
