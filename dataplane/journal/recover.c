/*
 * COLD. Finding the durable end of a journal. Cost: one small read per segment and a scan of the
 * last one, whatever the backlog.
 *
 * The chain: the last segment with a valid header names where its predecessor ends, that one names
 * its own, and so on down to the first file that is still there. A segment whose header is valid
 * but that the chain passes over was superseded before anything in it counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "dataplane/block/block.h"
#include "dataplane/journal/journal_internal.h"

/* What the scan of the last segment carries along. */
struct tail_scan {
    const struct journal *j;
    uint32_t number;
    char *buf; /* the whole segment */
    size_t room;
    size_t len;
    lsn_t end;
    lsn_t known; /* in front of it everything was durable when the last block was sealed */
    uint64_t events;
};

static int tail_open(const struct tail_scan *t, int flags)
{
    char path[JOURNAL_PATH_BYTES + 16];

    ASSERT(t->number != 0);
    segment_path(t->j, t->number, path, sizeof(path));
    return t->j->storage->ops->open(t->j->storage->ctx, path, flags, 0);
}

/* Reads up to room bytes of the segment. */
static int tail_read(struct tail_scan *t)
{
    const struct storage *s = t->j->storage;
    int fd = tail_open(t, O_RDONLY);
    ssize_t n = 1;

    ASSERT(t->len == 0);
    if (fd < 0)
        return fd;
    for (; t->len < t->room && n > 0; t->len += n > 0 ? (size_t)n : 0)
        n = s->ops->pread(s->ctx, fd, t->buf + t->len, t->room - t->len, t->len);
    s->ops->close(s->ctx, fd);
    ASSERT(t->len <= t->room);
    return n < 0 ? (int)n : 0;
}

/* Blocks from the header on, as far as they verify. */
static void tail_walk(struct tail_scan *t)
{
    uint32_t offset = JOURNAL_HEADER_BYTES;
    struct block_view v;

    while (offset < t->len && block_view(t->buf + offset, t->len - offset, &t->j->uuid,
                                         lsn_make(t->number, offset), &v) == 0) {
        t->events = v.header->events_before + v.header->events;
        t->known = v.header->durable;
        offset += v.header->len;
    }
    ASSERT(offset % BLOCK_ALIGN == 0 && offset <= t->len); /* a block that verifies is whole */
    t->end = lsn_make(t->number, offset);
}

#define SECOND_LOOK_BYTES (16u << 20) /* more than any block */
#define SECOND_LOOKS      3

/*
 * Where the blocks seem to end is read once more, past the page cache: a bit that was read wrongly
 * must not cut off acknowledged blocks.
 * @return 0 when both reads are the same; 1 when the second one counts now; -errno.
 */
static int tail_look_again(struct tail_scan *t)
{
    const struct storage *s = t->j->storage;
    size_t from = lsn_offset(t->end);
    size_t len = t->len - from < SECOND_LOOK_BYTES ? t->len - from : SECOND_LOOK_BYTES;
    char *again = len > 0 ? aligned_alloc(STORAGE_ALIGN, align_up(len, STORAGE_ALIGN)) : NULL;
    ssize_t n = 1;
    int fd, rc;

    ASSERT(lsn_segment(t->end) == t->number && from <= t->len);

    if (again == NULL)
        return len > 0 ? -ENOMEM : 0;
    fd = tail_open(t, O_RDONLY | O_DIRECT);
    for (size_t at = 0; fd >= 0 && at < len && n > 0; at += n > 0 ? (size_t)n : 0)
        n = s->ops->pread(s->ctx, fd, again + at, align_up(len - at, STORAGE_ALIGN), from + at);
    if (fd >= 0)
        s->ops->close(s->ctx, fd);
    rc = fd < 0 ? fd : n < 0 ? (int)n : memcmp(again, t->buf + from, len) != 0;
    if (rc == 1)
        memcpy(t->buf + from, again, len);
    free(again);
    return rc;
}

/* Finds where the blocks end, as two reads agree. */
static int tail_find_end(struct tail_scan *t)
{
    int rc = 1;

    for (int i = 0; i < SECOND_LOOKS && rc == 1; i++) {
        tail_walk(t);
        rc = tail_look_again(t);
    }
    ASSERT(lsn_offset(t->end) >= JOURNAL_HEADER_BYTES);
    return rc == 1 ? -EIO : rc;
}

/*
 * What is found and was never acknowledged as durable is written again, not only flushed: it may be
 * there because a write was under way, or because one failed. After a failed flush a later one says
 * that all is well while the bytes are nowhere but in a cache; and what recovery counts must not
 * vanish with the next power cut. The same bytes in the same place: a torn write changes nothing.
 */
static int tail_secure(struct tail_scan *t)
{
    const struct storage *s = t->j->storage;
    uint64_t from = 0, end = lsn_offset(t->end);
    int fd, rc;

    if (lsn_segment(t->known) == t->number && lsn_offset(t->known) > JOURNAL_HEADER_BYTES)
        from = lsn_offset(t->known);
    ASSERT(from % STORAGE_ALIGN == 0 && from <= end);
    fd = tail_open(t, O_WRONLY | O_DIRECT);
    if (fd < 0)
        return fd;
    rc = storage_write_all(s, fd, t->buf + from, end - from, from);
    if (rc == 0)
        rc = s->ops->sync(s->ctx, fd);
    s->ops->close(s->ctx, fd);
    return rc;
}

/* A valid block behind the tear that knew of a durable end beyond it: acknowledged data is gone. */
static bool tail_damaged(const struct tail_scan *t)
{
    ASSERT(lsn_segment(t->end) == t->number && lsn_offset(t->end) >= JOURNAL_HEADER_BYTES);
    for (uint32_t offset = lsn_offset(t->end); offset + BLOCK_ALIGN <= t->len;
         offset += BLOCK_ALIGN) {
        struct block_view v;

        if (block_len_hint(t->buf + offset, t->len - offset) == 0)
            continue;
        if (block_view(t->buf + offset, t->len - offset, &t->j->uuid, lsn_make(t->number, offset),
                       &v) == 0 &&
            v.header->durable > t->end)
            return true;
    }
    return false;
}

static int tail_recover(struct journal *j, uint32_t number, const struct segment_header *h,
                        char *error, size_t error_len)
{
    struct tail_scan t = {.j = j,
                          .number = number,
                          .events = h->events_before,
                          .room = align_up(h->bytes, STORAGE_ALIGN)};
    int rc;

    t.buf = aligned_alloc(STORAGE_ALIGN, t.room);
    if (t.buf == NULL)
        return -ENOMEM;
    rc = tail_read(&t);
    if (rc == 0 && t.len >= JOURNAL_HEADER_BYTES) {
        /* tail_secure() may write the header again: the one that verified, not this read of it. */
        memset(t.buf, 0, JOURNAL_HEADER_BYTES);
        memcpy(t.buf, h, sizeof(*h));
    }
    if (rc == 0 && t.len < JOURNAL_HEADER_BYTES)
        rc = -EIO; /* it was there when the header was read */
    if (rc == 0)
        rc = tail_find_end(&t);
    if (rc == 0 && tail_damaged(&t)) {
        snprintf(error, error_len,
                 "journal %s is damaged at segment %08x offset %u: acknowledged blocks follow it. "
                 "Nothing was "
                 "changed; restore the file, or move the journal away to start without its events",
                 j->dir, number, lsn_offset(t.end));
        rc = -EUCLEAN;
    } else {
        if (rc == 0)
            rc = tail_secure(&t);
        if (rc < 0)
            snprintf(error, error_len, "segment %08x of journal %s cannot be read and secured: %s",
                     number, j->dir, strerror(-rc));
    }
    ASSERT(rc < 0 || (lsn_segment(t.end) == number && t.events >= h->events_before));
    atomic_store(&j->durable, t.end);
    atomic_store(&j->events_total, t.events);
    free(t.buf);
    return rc;
}

/* Reads up to room bytes of a segment without a valid header and looks for acknowledged blocks. */
static int spare_look(const struct journal *j, uint32_t number, size_t room, bool *block,
                      bool *acknowledged)
{
    struct tail_scan t = {
        .j = j, .number = number, .room = room, .end = lsn_make(number, JOURNAL_HEADER_BYTES)};
    int rc;

    ASSERT(room % STORAGE_ALIGN == 0 && room > JOURNAL_HEADER_BYTES);

    t.buf = aligned_alloc(STORAGE_ALIGN, room);
    if (t.buf == NULL)
        return -ENOMEM;
    rc = tail_read(&t);
    *block = t.len > JOURNAL_HEADER_BYTES &&
             block_len_hint(t.buf + JOURNAL_HEADER_BYTES, t.len - JOURNAL_HEADER_BYTES) != 0;
    *acknowledged = *block && tail_damaged(&t);
    free(t.buf);
    return rc;
}

/*
 * A segment behind the chain without a valid header is a spare, or its header never reached the
 * disk. But if a block in it knew that an earlier one of it was durable, the header has rotted and
 * acknowledged events hang on it.
 */
static int spare_check(const struct journal *j, uint32_t number, char *error, size_t error_len)
{
    bool block, acknowledged = false;
    int rc = spare_look(j, number, JOURNAL_HEADER_BYTES + BLOCK_ALIGN, &block, &acknowledged);

    ASSERT(atomic_load(&j->durable) == 0); /* the last segment is still to be found */
    if (rc == 0 && block)
        rc = spare_look(j, number, j->config.segment_bytes, &block, &acknowledged);
    if (rc == 0 && acknowledged) {
        snprintf(
            error, error_len,
            "journal %s: the header of segment %08x is damaged, and acknowledged blocks follow it. "
            "Nothing "
            "was changed; restore the file, or move the journal away to start without its events",
            j->dir, number);
        return -EUCLEAN;
    }
    if (rc < 0)
        snprintf(error, error_len, "segment %08x of journal %s cannot be read: %s", number, j->dir,
                 strerror(-rc));
    return rc;
}

/* Walks the chain down from the last valid header; everything off the chain is free. */
static int chain_recover(struct journal *j, const struct segment_list *l, char *error,
                         size_t error_len)
{
    struct segment_header h;
    bool tail = true;
    uint32_t expect = 0; /* next on the chain; 0: the highest valid one */

    for (size_t i = l->n; i-- > 0;) {
        uint32_t number = l->number[i];
        int rc;

        ASSERT(i + 1 == l->n ||
               number < l->number[i + 1]); /* each once, or one on the chain is freed */

        if (expect != 0 && number != expect) {
            segment_free(j, number);
            continue;
        }
        rc = segment_read_header(j, number, &h);
        if (rc == -EBADMSG && expect == 0) {
            rc = spare_check(j, number, error, error_len);
            if (rc < 0)
                return rc;
            segment_free(j, number); /* a spare, never used */
            continue;
        }
        if (rc < 0) {
            snprintf(error, error_len, "segment %08x of journal %s cannot be read: %s", number,
                     j->dir, rc == -EBADMSG ? "its header is damaged" : strerror(-rc));
            return rc == -EBADMSG ? -EUCLEAN : rc;
        }
        if (tail) {
            rc = tail_recover(j, number, &h, error, error_len);
            if (rc < 0)
                return rc;
            tail = false;
        }
        atomic_store(&j->first_segment, number);
        j->start = h.prev_end;
        expect = lsn_segment(h.prev_end);
        if (expect == 0)
            expect = UINT32_MAX; /* the very first: whatever is left is free */
    }
    return 0;
}

int journal_recover(struct journal *j, char *error, size_t error_len)
{
    struct segment_list l = {0};
    int rc = segment_list(j, &l);

    if (rc < 0) {
        snprintf(error, error_len, "cannot list %s: %s", j->dir, strerror(-rc));
    } else {
        rc = chain_recover(j, &l, error, error_len);
        j->n_files = (uint32_t)l.n;
        j->next_segment = l.n > 0 ? l.number[l.n - 1] + 1 : 1;
        ASSERT(rc < 0 || lsn_segment(atomic_load(&j->durable)) < j->next_segment);
        ASSERT(rc < 0 || atomic_load(&j->first_segment) <= lsn_segment(atomic_load(&j->durable)));
    }
    if (rc == 0 && l.n > 0)
        log_info("journal", "%s: %zu segments, durable to %08x:%08x, %llu events ever", j->dir, l.n,
                 lsn_segment(atomic_load(&j->durable)), lsn_offset(atomic_load(&j->durable)),
                 (unsigned long long)atomic_load(&j->events_total));
    free(l.number);
    return rc;
}
