/* HOT. Group commit; see writer.h for the rules. */
#include "dataplane/journal/writer.h"

#include <errno.h>
#include <rte_ring.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/canary.h"
#include "dataplane/base/clock.h"
#include "dataplane/journal/journal_internal.h"

#define SLOT_BITS   0xffffu
#define HEADERS_MAX 8    /* segment headers queued at once */
#define BLOCKS_MAX  4096 /* of one worker */

/* A first failure is answered at once, on another segment. When that one fails as well it is the disk:
 * each try costs it a segment's renaming and opening, and clients are refused meanwhile anyway. */
#define RETRY_DOUBLINGS 7

int64_t writer_retry_us = 8000;

/* A queued write: a block, or the header of a new segment. */
struct slot {
    struct block *block;     /* NULL: a segment header */
    char *header;            /* then its 4 KiB */
    struct segment *leaving; /* and the segment that it succeeds, or NULL */
    struct segment *segment;
    lsn_t end;       /* journal end behind it */
    uint32_t offset; /* in the segment */
    bool submitted, done;
};

struct writer {
    struct journal *journal;
    uint64_t user_data;
    uint32_t block_bytes_max;
    writer_durable durable;
    void *ctx;
    struct segment *segment; /* where the next block goes; NULL before the first */
    uint32_t offset;         /* in it; behind everything queued */
    lsn_t end;               /* journal end behind everything queued */
    lsn_t blocks_end;        /* the same, but headers of new segments do not count */
    lsn_t durable_end;
    lsn_t durable_blocks_end;
    uint64_t events; /* of the journal, queued ones included */
    uint64_t durable_events;
    struct block *open;
    int64_t age_us; /* that the open block may wait for more lines */
    int64_t
        opened_us; /* monotonic: when its first lines were seen and it had to wait; 0: not yet */
    struct slot *slot; /* ring of n_slots; [head, tail) are queued, in order */
    uint32_t n_slots;
    uint32_t head, tail;
    uint32_t in_flight;
    char *headers; /* HEADERS_MAX of 4 KiB, used in turn */
    uint32_t headers_used;
    uint32_t headers_next;
    /* After a failure. */
    bool says_error;   /* in the journal, for others */
    bool failed;       /* until everything that was not durable is queued again */
    bool collect;      /* the queue is still to be emptied into moving */
    uint32_t failures; /* since the last block that became durable */
    int64_t retry_us;  /* monotonic: no other segment is taken before */
    struct block *moving[BLOCKS_MAX];
    uint32_t n_moving, n_moved;
    struct writer_stats stats;
};

static void durable_advance(struct writer *w);

static struct slot *slot_at(const struct writer *w, uint32_t index)
{
    ASSERT_HOT(w->n_slots != 0 && (w->n_slots & (w->n_slots - 1)) == 0); /* indexes wrap */
    return &w->slot[index % w->n_slots];
}

int writer_create(struct journal *j, uint32_t queue_max, uint32_t block_bytes_max,
                  uint64_t user_data, writer_durable durable, void *ctx, struct writer **out)
{
    struct writer *w = calloc(1, sizeof(*w));

    ASSERT((user_data & SLOT_BITS) == 0 && queue_max <= BLOCKS_MAX);
    ASSERT(j->config.segment_bytes >= JOURNAL_HEADER_BYTES + block_bytes_max);
    if (w == NULL)
        return -ENOMEM;
    w->n_slots = 1;
    while (w->n_slots < queue_max + HEADERS_MAX) /* a power of two: indexes may wrap */
        w->n_slots *= 2;
    w->slot = calloc(w->n_slots, sizeof(*w->slot));
    w->headers = aligned_alloc(STORAGE_ALIGN, HEADERS_MAX * JOURNAL_HEADER_BYTES);
    if (w->slot == NULL || w->headers == NULL) {
        writer_destroy(w);
        return -ENOMEM;
    }
    /* Has their pages come now. */
    memset(w->headers, 0, (size_t)HEADERS_MAX * JOURNAL_HEADER_BYTES);
    w->journal = j;
    w->user_data = user_data;
    w->block_bytes_max = block_bytes_max;
    w->durable = durable;
    w->ctx = ctx;
    w->end = w->durable_end = w->blocks_end = w->durable_blocks_end = journal_durable(j);
    w->events = w->durable_events = journal_events_total(j);
    *out = w;
    return 0;
}

static void segment_retire(struct writer *w, struct segment *seg)
{
    int rc;

    ASSERT(seg->fd >= 0 && !seg->dead); /* left once */
    seg->dead = lsn_segment(w->durable_end) < seg->number;
    rc = rte_ring_sp_enqueue(w->journal->retired, seg);
    ASSERT(rc == 0); /* the keeper empties it; there are never more than SPARES_MAX */
}

void writer_destroy(struct writer *w)
{
    if (w == NULL)
        return;
    ASSERT(w->tail - w->head <= w->n_slots);
    for (uint32_t i = w->head; i != w->tail; i++) {
        if (slot_at(w, i)->leaving != NULL)
            segment_retire(w, slot_at(w, i)->leaving);
    }
    if (w->segment != NULL)
        segment_retire(w, w->segment);
    free(w->slot);
    free(w->headers);
    free(w);
}

/* Bytes left in the current segment. */
static uint64_t segment_left(const struct writer *w)
{
    ASSERT(w->segment == NULL || w->offset <= w->journal->config.segment_bytes);
    return w->segment == NULL ? 0 : w->journal->config.segment_bytes - w->offset;
}

uint64_t writer_room(const struct writer *w)
{
    uint64_t spare = w->journal->config.segment_bytes - JOURNAL_HEADER_BYTES - w->block_bytes_max;
    uint64_t here = segment_left(w);
    uint64_t taken = (w->open != NULL ? 2u : 1u) *
                     (uint64_t)w->block_bytes_max; /* the open block; waste at the end */
    uint32_t spares = rte_ring_count(w->journal->spares);

    ASSERT(w->headers_used <= HEADERS_MAX);

    here = here > taken ? here - taken : 0;
    if (spares > HEADERS_MAX - w->headers_used)
        spares =
            HEADERS_MAX - w->headers_used; /* no more can be taken before a header is durable */
    return here + spares * spare;
}

bool writer_failed(const struct writer *w)
{
    return w->failed;
}

uint32_t writer_queued(const struct writer *w)
{
    ASSERT_HOT(w->tail - w->head <= w->n_slots);
    return w->tail - w->head;
}

struct block *writer_open_block(const struct writer *w)
{
    return w->open;
}

static struct slot *slot_push(struct writer *w)
{
    ASSERT(w->tail - w->head < w->n_slots);
    return slot_at(w, w->tail++);
}

/* What the journal's disk says to a write: 0 when it takes it. */
static void error_publish(struct writer *w, int error)
{
    ASSERT(error >= 0);
    w->says_error = error != 0;
    atomic_store_explicit(&w->journal->write_error, error, memory_order_relaxed);
}

/* Leaves the current segment for a spare; its header is queued in front of what follows. */
static int segment_switch(struct writer *w)
{
    struct slot *s;
    void *item;

    if (w->headers_used == HEADERS_MAX || rte_ring_sc_dequeue(w->journal->spares, &item) != 0)
        return -ENOSPC;
    ASSERT(((struct segment *)item)->number > lsn_segment(w->end)); /* never used again */
    s = slot_push(w);
    *s = (struct slot){.segment = item, .leaving = w->segment};
    s->header = w->headers + (size_t)(w->headers_next++ % HEADERS_MAX) * JOURNAL_HEADER_BYTES;
    w->headers_used++;
    segment_fill_header(w->journal, s->segment->number, w->end, w->events, s->header);
    w->segment = item;
    w->offset = JOURNAL_HEADER_BYTES;
    w->end = lsn_make(s->segment->number, JOURNAL_HEADER_BYTES);
    s->end = w->end;
    return 0;
}

int writer_open(struct writer *w, struct block *b, uint64_t seq)
{
    ASSERT(w->open == NULL);
    if (w->failed)
        return -ENOSPC;
    ASSERT(w->n_moved == w->n_moving); /* none waits for a place in front of it */
    if (segment_left(w) < w->block_bytes_max && segment_switch(w) != 0)
        return -ENOSPC;
    block_open(b, seq, lsn_make(w->segment->number, w->offset));
    w->open = b;
    w->opened_us = 0;
    return 0;
}

/* Queues a sealed block at the end of the current segment. */
static void queue_block(struct writer *w, struct block *b, bool again)
{
    struct block_seal seal = {
        .uuid = &w->journal->uuid,
        .prev_end = w->blocks_end,
        .durable = w->durable_end,
        .events_before = w->events,
        .now_us = clock_wall_us(),
    };
    struct slot *s = slot_push(w);

    /* Its lines say where it lies: it goes there and nowhere else. */
    ASSERT(w->segment != NULL && b->lsn == lsn_make(w->segment->number, w->offset));
    ASSERT(w->durable_end <= w->end && w->durable_events <= w->events);

    if (again)
        block_reseal(b, &seal);
    else
        block_seal(b, &seal);
    ASSERT(b->len <= segment_left(w));
    *s = (struct slot){.block = b, .segment = w->segment, .offset = w->offset};
    w->offset += b->len;
    w->events += b->events;
    w->end = lsn_make(w->segment->number, w->offset);
    w->blocks_end = w->end;
    s->end = w->end;
}

void writer_seal(struct writer *w)
{
    struct block *b = w->open;

    ASSERT(b != NULL && b->n_entries > 0);
    ASSERT(!w->failed); /* its place is not known before the others have theirs */
    w->open = NULL;
    queue_block(w, b, false);
}

/* Of CANARY_EARLY_ACK: written, not flushed, done. */
static int slot_write_unflushed(const struct writer *w, struct slot *s,
                                const struct storage_write *write)
{
    const struct storage *storage = w->journal->storage;

    ASSERT(!s->done);
    s->submitted = s->done = storage->ops->pwrite(storage->ctx, write->fd, write->buf, write->len,
                                                  write->offset) == (ssize_t)write->len;
    return s->done ? 0 : -EIO;
}

/* Of CANARY_FLUSH_RETRY: whether a second flush says that all is well. */
static bool slot_flush_again(const struct writer *w, const struct slot *s)
{
    const struct storage *storage = w->journal->storage;

    return storage->ops->sync(storage->ctx, s->segment->fd) == 0;
}

static int slot_submit(struct writer *w, struct io_uring *ring, uint32_t index)
{
    struct slot *s = slot_at(w, index);
    struct storage_write write = {
        .fd = s->segment->fd,
        .buf_index = s->block != NULL ? s->block->buf_index : -1,
        .buf = s->block != NULL ? s->block->buf : s->header,
        .len = s->block != NULL ? s->block->len : JOURNAL_HEADER_BYTES,
        .offset = s->offset,
        .user_data = w->user_data | (index % w->n_slots),
    };
    int rc;

    ASSERT(!s->submitted && !s->done);
    ASSERT(write.len % STORAGE_ALIGN == 0 && write.offset % STORAGE_ALIGN == 0);
    ASSERT(write.offset + write.len <= w->journal->config.segment_bytes);

    if (CANARY(CANARY_EARLY_ACK))
        return slot_write_unflushed(w, s, &write);
    rc = w->journal->storage->ops->write_async(w->journal->storage->ctx, ring, &write);
    if (rc == 0) {
        s->submitted = true;
        w->in_flight++;
    }
    return rc;
}

/*
 * Submits queued slots in order, at most WRITER_IN_FLIGHT_MAX at once. A header waits until
 * everything in front of it is durable: once on the disk it vouches for where its predecessor ends.
 * One write's latency a segment.
 * @return whether there was one.
 */
static bool submit_queued(struct writer *w, struct io_uring *ring)
{
    uint32_t before = w->in_flight;

    ASSERT(w->in_flight <= WRITER_IN_FLIGHT_MAX && w->in_flight <= w->tail - w->head);
    for (uint32_t i = w->head; i != w->tail && w->in_flight < WRITER_IN_FLIGHT_MAX; i++) {
        const struct slot *s = slot_at(w, i);

        if (s->submitted)
            continue;
        if ((s->block == NULL && i != w->head) || slot_submit(w, ring, i) != 0)
            break;
    }
    ASSERT(w->in_flight >= before);
    return w->in_flight > before;
}

static int64_t retry_delay_us(const struct writer *w)
{
    uint32_t doublings = w->failures - 2;

    ASSERT(w->failures > 0);
    if (w->failures == 1)
        return 0;
    return writer_retry_us << (doublings < RETRY_DOUBLINGS ? doublings : RETRY_DOUBLINGS);
}

/* Empties the queue after a failure: what is not durable will be moved, in order; its segments are
 * left. */
static void collect_blocks(struct writer *w)
{
    struct block *rest[BLOCKS_MAX];
    uint32_t n = 0;

    ASSERT(w->failed && w->in_flight == 0);
    ASSERT(w->head == w->tail || !slot_at(w, w->head)->done); /* else it would be durable */

    for (uint32_t i = w->head; i != w->tail; i++) {
        const struct slot *s = slot_at(w, i);

        if (s->block != NULL)
            rest[n++] = s->block;
        else if (s->leaving != NULL)
            segment_retire(w, s->leaving);
    }
    for (; w->n_moved < w->n_moving; w->n_moved++) /* an earlier move had not ended */
        rest[n++] = w->moving[w->n_moved];
    ASSERT(n <= BLOCKS_MAX);
    for (uint32_t i = 1; i < n; i++)
        ASSERT(rest[i - 1]->seq < rest[i]->seq); /* as they were taken */
    memcpy(w->moving, rest, n * sizeof(rest[0]));
    w->n_moving = n;
    w->n_moved = 0;
    if (w->segment != NULL)
        segment_retire(w, w->segment);
    atomic_fetch_add_explicit(&w->stats.superseded, 1, memory_order_relaxed);
    w->segment = NULL;
    w->head = w->tail;
    w->headers_used = 0;
    w->end = w->durable_end;
    w->blocks_end = w->durable_blocks_end;
    w->events = w->durable_events;
    w->collect = false;
    w->failures++;
    w->retry_us = clock_monotonic_us() + retry_delay_us(w);
}

/* Queues collected blocks on fresh segments, as far as there are any; then the open block gets its
 * new place. */
static void move_blocks(struct writer *w)
{
    ASSERT(!w->collect && w->n_moved <= w->n_moving);
    while (w->n_moved < w->n_moving) {
        struct block *b = w->moving[w->n_moved];

        if (segment_left(w) < w->block_bytes_max && segment_switch(w) != 0)
            return; /* the keeper is at it; asked again at the next pump */
        w->n_moved++;
        block_move(b, lsn_make(w->segment->number, w->offset));
        queue_block(w, b, true);
    }
    if (w->open != NULL) {
        if (segment_left(w) < w->block_bytes_max && segment_switch(w) != 0)
            return;
        block_move(w->open, lsn_make(w->segment->number, w->offset));
    }
    w->failed = false;
}

void writer_set_age(struct writer *w, int64_t age_us)
{
    ASSERT(age_us >= 0);
    w->age_us = age_us;
}

int64_t writer_due_us(const struct writer *w)
{
    if (w->open == NULL || w->opened_us == 0 || w->failed || w->head != w->tail)
        return INT64_MAX;
    ASSERT(w->opened_us > 0 && w->age_us >= 0);
    return w->opened_us + (w->age_us != 0 ? w->age_us : WRITER_GATHER_US);
}

/* Whether the open block has waited long enough for more lines. */
static bool open_is_due(struct writer *w, bool more)
{
    int64_t now;

    ASSERT(w->open != NULL && w->head == w->tail);
    if (w->age_us == 0 && !more)
        return true;
    now = clock_monotonic_us();
    if (w->opened_us == 0)
        w->opened_us = now;
    return now >= writer_due_us(w);
}

bool writer_pump(struct writer *w, struct io_uring *ring, bool more)
{
    bool written;

    ASSERT(!w->collect || w->failed);
    if (w->collect) {
        if (w->in_flight > 0)
            return false;
        collect_blocks(w);
    }
    if (w->failed && clock_monotonic_us() >= w->retry_us)
        move_blocks(w);
    if (unlikely(w->says_error) && !w->failed && w->head == w->tail)
        error_publish(w, 0); /* whatever failed, nothing is left of it */
    if (!w->failed && w->in_flight == 0 && w->head == w->tail && w->open != NULL &&
        w->open->n_entries > 0 && open_is_due(w, more))
        writer_seal(w);
    written = submit_queued(w, ring);
    if (CANARY(CANARY_EARLY_ACK))
        durable_advance(w);
    return written;
}

/* Moves the durable end over every finished slot at the head of the queue. */
static void durable_advance(struct writer *w)
{
    while (w->head != w->tail && slot_at(w, w->head)->done) {
        struct slot s = *slot_at(w, w->head);

        /* Forward only, and nobody else moves it. */
        ASSERT(s.submitted && s.end > w->durable_end && s.end <= w->end);
        ASSERT(w->durable_end == journal_durable(w->journal));

        w->head++;
        w->durable_end = s.end;
        if (s.block != NULL) {
            w->failures = 0;
            if (unlikely(w->says_error) && !w->failed)
                error_publish(w, 0);
            w->durable_events += s.block->events;
            w->durable_blocks_end = s.end;
        } else {
            w->headers_used--;
            if (s.leaving != NULL)
                segment_retire(
                    w, s.leaving); /* every write to it is done: they are in front of this one */
        }
        atomic_store_explicit(&w->journal->events_total, w->durable_events, memory_order_relaxed);
        atomic_store_explicit(&w->journal->durable, s.end,
                              memory_order_release); /* partner: journal_durable() */
        if (s.block != NULL)
            w->durable(w->ctx, s.block);
    }
}

void writer_complete(struct writer *w, uint64_t user_data, int result)
{
    struct slot *s = slot_at(w, (uint32_t)(user_data & SLOT_BITS));
    uint32_t len = s->block != NULL ? s->block->len : JOURNAL_HEADER_BYTES;

    ASSERT((user_data & ~(uint64_t)SLOT_BITS) == w->user_data);

    ASSERT(s->submitted && !s->done && w->in_flight > 0);
    w->in_flight--;
    if (result != (int)len && !(CANARY(CANARY_FLUSH_RETRY) && slot_flush_again(w, s))) {
        atomic_fetch_add_explicit(&w->stats.errors, 1, memory_order_relaxed);
        w->failed = true;
        w->collect = true;
        error_publish(w, result < 0 ? -result : EIO);
        return;
    }
    s->done = true;
    atomic_fetch_add_explicit(&w->stats.blocks, s->block != NULL, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->stats.bytes, len, memory_order_relaxed);
    durable_advance(w);
}

const struct writer_stats *writer_stats(const struct writer *w)
{
    return &w->stats;
}
