/*
 * COLD. The keeper's work on one journal: spare segments ahead of the writer, recycling behind the
 * sinks.
 *
 * A fresh segment is written through once with zeros and flushed, because the first write to an
 * unwritten extent costs the synced writer twice; a recycled one is only renamed. Its old blocks
 * never pass: the CRC covers segment number and offset.
 */
#include <errno.h>
#include <fcntl.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "dataplane/base/mem.h"
#include "dataplane/journal/journal_internal.h"

/*
 * The writer's blocks wait in the disk's queue behind what the keeper writes. So while there are spares
 * it writes little at a time and then leaves the disk alone for as long as that took. And it writes from
 * huge pages, which are one piece to the disk: 1 MiB of small pages is 256, virtio's whole queue may
 * have room for no more, and everybody else would wait until it is done.
 */
#define ZERO_BYTES   (1u << 20)
#define GENTLE_BYTES (256u << 10)
#define PAUSE_US_MIN 50 /* less is not worth a sleep */
#define PAUSE_US_MAX 1000

static bool has_time(const struct journal *j)
{
    ASSERT(j->config.spares <= SPARES_MAX);
    return rte_ring_count(j->spares) * 2 >= j->config.spares;
}

static void give_way(int64_t us)
{
    const struct timespec pause = {.tv_nsec = (us < PAUSE_US_MAX ? us : PAUSE_US_MAX) * 1000};

    ASSERT(us >= 0);
    if (us >= PAUSE_US_MIN)
        nanosleep(&pause, NULL);
}

static int write_zeros(const struct journal *j, int fd)
{
    const struct storage *s = j->storage;
    void *zeros = mem_reserve(ZERO_BYTES);
    int rc = zeros == NULL ? -ENOMEM : 0;
    uint64_t at = 0;

    ASSERT(fd >= 0 && j->config.segment_bytes % STORAGE_ALIGN == 0);
    if (rc == 0)
        rc = s->ops->allocate(s->ctx, fd, j->config.segment_bytes);
    while (rc == 0 && at < j->config.segment_bytes) {
        bool gentle = has_time(j);
        uint64_t left = j->config.segment_bytes - at, len = gentle ? GENTLE_BYTES : ZERO_BYTES;
        int64_t start_us = clock_monotonic_us();

        len = left < len ? left : len;
        rc = storage_write_all(s, fd, zeros, len, at);
        at += len;
        if (gentle)
            give_way(clock_monotonic_us() - start_us);
    }
    mem_release(zeros, ZERO_BYTES);
    return rc < 0 ? rc : s->ops->sync(s->ctx, fd);
}

/* A new file under a temporary name, whole, then renamed: a half-made one is never taken for a
 * segment. */
static int segment_make(struct journal *j, uint32_t number)
{
    const struct storage *s = j->storage;
    char path[JOURNAL_PATH_BYTES + 16], temporary[JOURNAL_PATH_BYTES + 16];
    int fd, rc;

    ASSERT(number > lsn_segment(journal_durable(j))); /* ahead of all that counts */
    segment_path(j, number, path, sizeof(path));
    snprintf(temporary, sizeof(temporary), "%s/new", j->dir);
    fd = s->ops->open(s->ctx, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    if (fd < 0)
        return fd;
    rc = write_zeros(j, fd);
    s->ops->close(s->ctx, fd);
    if (rc == 0)
        rc = s->ops->rename(s->ctx, temporary, path);
    if (rc < 0)
        s->ops->unlink(s->ctx, temporary);
    return rc;
}

static int segment_recycle(struct journal *j, uint32_t from, uint32_t number)
{
    const struct storage *s = j->storage;
    char old[JOURNAL_PATH_BYTES + 16], path[JOURNAL_PATH_BYTES + 16];

    ASSERT(from < number && number > lsn_segment(journal_durable(j)));
    segment_path(j, from, old, sizeof(old));
    segment_path(j, number, path, sizeof(path));
    return s->ops->rename(s->ctx, old, path);
}

/* Opens the file for the writer and puts it into the ring. */
static int segment_hand_over(struct journal *j, uint32_t number)
{
    const struct storage *s = j->storage;
    char path[JOURNAL_PATH_BYTES + 16];
    struct segment *seg;
    int fd;

    ASSERT(number + 1 == j->next_segment);
    segment_path(j, number, path, sizeof(path));
    fd = s->ops->open(s->ctx, path, O_WRONLY | O_DIRECT, 0);
    if (fd < 0)
        return fd;
    seg = malloc(sizeof(*seg));
    if (seg == NULL) {
        s->ops->close(s->ctx, fd);
        return -ENOMEM;
    }
    *seg = (struct segment){.fd = fd, .number = number};
    if (rte_ring_sp_enqueue(j->spares, seg) != 0)
        ASSERT(false); /* the ring holds SPARES_MAX and the caller counts */
    return 0;
}

/* One more spare: recycled if something is free, made if the limit allows it. */
static int spare_add(struct journal *j)
{
    uint32_t number = j->next_segment;
    bool recycled = j->n_free > 0;
    int rc;

    ASSERT(j->n_free <= j->files_max + SPARES_MAX);
    if (!recycled && j->n_files >= j->files_max)
        return -EDQUOT;
    rc = recycled ? segment_recycle(j, j->free_segment[j->n_free - 1], number)
                  : segment_make(j, number);
    if (recycled && rc == -ENOENT) { /* its header could not be looked at, and it is not there */
        j->n_free--;
        return 0;
    }
    if (rc == 0) {
        j->next_segment++;
        j->n_free -= recycled ? 1 : 0;
        j->n_files += recycled ? 0 : 1;
        rc = j->storage->ops->sync_dir(j->storage->ctx, j->dir);
    }
    if (rc == 0)
        rc = segment_hand_over(j, number);
    if (rc == 0)
        atomic_fetch_add_explicit(recycled ? &j->stats.segments_recycled : &j->stats.segments_made,
                                  1, memory_order_relaxed);
    else if (j->next_segment != number)
        segment_free(j, number); /* the file is there: the next try takes it */
    return rc;
}

void segment_free(struct journal *j, uint32_t number)
{
    ASSERT(number != 0);
    for (uint32_t i = 0; i < j->n_free; i++) {
        if (j->free_segment[i] == number)
            return;
    }
    if (j->n_free < j->files_max + SPARES_MAX)
        j->free_segment[j->n_free++] = number;
}

/* Segments wholly below free_lsn leave the chain, lowest first; the one that holds the durable end
 * stays. */
static uint32_t free_below(struct journal *j, lsn_t free_lsn)
{
    lsn_t durable = journal_durable(j);
    uint32_t limit = lsn_segment(free_lsn < durable ? free_lsn : durable);
    uint32_t first = atomic_load_explicit(&j->first_segment, memory_order_relaxed);
    uint32_t freed = 0;

    if (first == 0) { /* nothing had been written when the journal was opened */
        if (lsn_segment(durable) == 0)
            return 0;
        first = 1;
    }
    for (; first < limit; first++) {
        struct segment_header h;

        if (segment_read_header(j, first, &h) != -ENOENT) {
            segment_free(j, first);
            freed++;
        }
    }
    ASSERT(first <= lsn_segment(durable)); /* the segment that holds the durable end stays */
    atomic_store_explicit(&j->first_segment, first, memory_order_release);
    return freed;
}

static void close_retired(struct journal *j)
{
    void *item;

    while (rte_ring_sc_dequeue(j->retired, &item) == 0) {
        struct segment *seg = item;

        ASSERT(seg->fd >= 0 && seg->number < j->next_segment);

        j->storage->ops->close(j->storage->ctx, seg->fd);
        /* A disk that fails for long must not use up the limit with segments that hold nothing. Its
         * new name makes a header void that was reported as failed and is there. */
        if (seg->dead)
            segment_free(j, seg->number);
        free(seg);
    }
}

/* Says a change of state once, not at every try. */
static void note_outcome(struct journal *j, int rc)
{
    bool full = rc == -EDQUOT;
    bool error = rc < 0 && !full;
    bool before = atomic_load_explicit(&j->keep_error, memory_order_relaxed);

    if (error) {
        atomic_fetch_add_explicit(&j->stats.errors, 1, memory_order_relaxed);
        if (!before)
            log_error(
                "journal",
                "%s: cannot prepare a segment: %s; events are refused when the spares are used up",
                j->dir, strerror(-rc));
    } else if (rc >= 0 && before) {
        log_info("journal", "%s: segments can be prepared again", j->dir);
    }
    if (full && !journal_full(j))
        log_warn("journal",
                 "%s: limit of %llu bytes reached: events are refused until sinks catch up", j->dir,
                 (unsigned long long)j->config.limit_bytes);
    else if (!full && journal_full(j))
        log_info("journal", "%s: has room again", j->dir);
    atomic_store_explicit(&j->keep_error, error, memory_order_relaxed);
    atomic_store_explicit(&j->full, full, memory_order_relaxed);
}

/* The same for what the writer meets, which has no log. */
static void note_writes(struct journal *j)
{
    int error = atomic_load_explicit(&j->write_error, memory_order_relaxed);

    ASSERT(error >= 0);
    if (error != 0 && !j->said_error)
        log_error("journal", "%s: cannot be written: %s; events are refused until it can", j->dir,
                  strerror(error));
    else if (error == 0 && j->said_error)
        log_info("journal", "%s: can be written again", j->dir);
    j->said_error = error != 0;
}

int journal_keep(struct journal *j, lsn_t free_lsn)
{
    int changed = (int)free_below(j, free_lsn);
    int rc = 0;
    uint32_t idle;

    ASSERT(rte_ring_count(j->spares) <= SPARES_MAX);
    close_retired(j);
    for (uint32_t n = 0; n < j->config.spares && rc == 0; n++) { /* then the other journals */
        if (rte_ring_count(j->spares) >= j->config.spares)
            break;
        rc = spare_add(j);
        changed += rc == 0;
        close_retired(j);
    }
    note_outcome(j, rc);
    note_writes(j);
    idle = rte_ring_count(j->spares) + j->n_free;
    atomic_store_explicit(&j->stats.total_bytes, (uint64_t)j->n_files * j->config.segment_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&j->stats.used_bytes,
                          (uint64_t)(j->n_files - (idle < j->n_files ? idle : j->n_files)) *
                              j->config.segment_bytes,
                          memory_order_relaxed);
    return changed;
}
