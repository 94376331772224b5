/* COLD. See inspect.h. The chain of headers is followed as in recovery, from the last segment down. */
#include "dataplane/journal/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/block/block.h"
#include "dataplane/journal/journal_internal.h"

#define BLOCK_BYTES_MAX (64u << 20) /* a longer one is none */

/* One inspection under way. */
struct inspection {
    struct journal j; /* only directory, identity and storage */
    bool whole;
    const struct inspect_hooks *hooks;
    struct inspected_journal *out;
    char *buf; /* one block */
    size_t room;
};

/* One segment under way. */
struct walk {
    uint32_t number;
    int fd;
    lsn_t limit;    /* where its follower says that it ends; LSN_MAX for the last one */
    lsn_t prev_end; /* of the block before */
    uint64_t events;
};

static void problem(struct inspection *i, uint32_t number, uint64_t offset, const char *what)
{
    char path[JOURNAL_PATH_BYTES + 16];

    segment_path(&i->j, number, path, sizeof(path));
    i->out->problems++;
    if (i->hooks->problem != NULL)
        i->hooks->problem(i->hooks->ctx, path, offset, what);
}

/* Reads len bytes or what there is. @return bytes, or -errno. */
static ssize_t read_at(struct inspection *i, int fd, size_t len, uint64_t offset)
{
    const struct storage *s = i->j.storage;
    size_t got = 0;
    ssize_t n = 1;

    if (len > i->room) {
        char *larger = aligned_alloc(STORAGE_ALIGN, align_up(len, STORAGE_ALIGN));

        if (larger == NULL)
            return -ENOMEM;
        free(i->buf);
        i->buf = larger;
        i->room = align_up(len, STORAGE_ALIGN);
    }
    for (; got < len && n > 0; got += n > 0 ? (size_t)n : 0)
        n = s->ops->pread(s->ctx, fd, i->buf + got, len - got, offset + got);
    ASSERT(got <= len && len <= i->room);
    return n < 0 ? n : (ssize_t)got;
}

/* The block at an LSN. @return its length; 0 when there is none, or it does not verify; -errno. */
static ssize_t block_at(struct inspection *i, const struct walk *w, lsn_t lsn,
                        struct block_header *h)
{
    ssize_t n = read_at(i, w->fd, BLOCK_ALIGN, lsn_offset(lsn));
    struct block_mark mark;
    struct block_view v;
    uint32_t len;

    ASSERT(lsn_segment(lsn) == w->number && lsn < w->limit);

    if (n < 0)
        return n;
    if (n < BLOCK_ALIGN || block_peek(i->buf, (size_t)n, &i->j.uuid, lsn, &len, &mark) != 0 ||
        len > BLOCK_BYTES_MAX)
        return 0;
    if (i->whole || w->limit == LSN_MAX) { /* where the last segment ends, only a CRC says */
        n = read_at(i, w->fd, len, lsn_offset(lsn));
        if (n < 0)
            return n;
        if (block_view(i->buf, (size_t)n, &i->j.uuid, lsn, &v) != 0)
            return 0;
    }
    memcpy(h, i->buf, sizeof(*h));
    return len;
}

/* What a block says of the one in front of it. */
static void block_check(struct inspection *i, struct walk *w, lsn_t lsn,
                        const struct block_header *h)
{
    ASSERT(h->lsn == lsn && h->len % BLOCK_ALIGN == 0); /* block_peek() says so */
    if (w->prev_end != 0 && h->prev_end != w->prev_end)
        problem(i, w->number, lsn_offset(lsn), "this block does not follow the one before it");
    if (h->events_before != w->events)
        problem(i, w->number, lsn_offset(lsn), "events are missing in front of this block");
    if (h->durable > lsn)
        problem(i, w->number, lsn_offset(lsn), "this block knows of a later durable end");
    w->events = h->events_before + h->events;
}

/* A valid block behind the last segment's end that knew of a durable end beyond it. */
static void tail_check(struct inspection *i, struct walk *w, lsn_t end)
{
    ASSERT(w->limit == LSN_MAX && lsn_segment(end) == w->number);
    for (lsn_t at = end + BLOCK_ALIGN;; at += BLOCK_ALIGN) {
        ssize_t n = read_at(i, w->fd, BLOCK_ALIGN, lsn_offset(at));
        struct block_header h;

        if (n < BLOCK_ALIGN)
            return;
        if (block_at(i, w, at, &h) > 0 && h.durable > end) {
            problem(i, w->number, lsn_offset(end),
                    "no valid block, and acknowledged blocks follow it");
            return;
        }
    }
}

static void segment_walk(struct inspection *i, struct walk *w, struct inspected_segment *out)
{
    lsn_t at = lsn_make(w->number, JOURNAL_HEADER_BYTES);
    struct block_header h;
    ssize_t n = 1;

    while (at < w->limit && (n = block_at(i, w, at, &h)) > 0) {
        block_check(i, w, at, &h);
        out->first_us = out->blocks == 0 ? h.sealed_us : out->first_us;
        out->last_us = h.sealed_us;
        out->blocks++;
        out->events += h.events;
        at += (uint64_t)n;
        w->prev_end = at;
    }
    out->end = at;
    if (n < 0)
        problem(i, w->number, lsn_offset(at), strerror((int)-n));
    else if (w->limit == LSN_MAX)
        tail_check(i, w, at);
    else if (at < w->limit)
        problem(i, w->number, lsn_offset(at), "no valid block where one is durable");
    else if (at > w->limit)
        problem(i, w->number, lsn_offset(at), "this block reaches over the segment's end");
}

static void segment_inspect(struct inspection *i, uint32_t number, const struct segment_header *h,
                            lsn_t limit)
{
    struct inspected_segment out = {.number = number,
                                    .counts = true,
                                    .last = limit == LSN_MAX,
                                    .prev_end = h->prev_end,
                                    .events_before = h->events_before};
    struct walk w = {.number = number, .limit = limit, .events = h->events_before};
    const struct storage *s = i->j.storage;
    char path[JOURNAL_PATH_BYTES + 16];

    ASSERT(limit == LSN_MAX || lsn_segment(limit) == number);
    segment_path(&i->j, number, path, sizeof(path));
    w.fd = s->ops->open(s->ctx, path, O_RDONLY, 0);
    if (w.fd < 0) {
        problem(i, number, 0, strerror(-w.fd));
        return;
    }
    segment_walk(i, &w, &out);
    s->ops->close(s->ctx, w.fd);
    if (out.last) {
        i->out->durable = out.end;
        i->out->events = w.events;
    }
    i->out->start = h->prev_end;
    if (i->hooks->segment != NULL)
        i->hooks->segment(i->hooks->ctx, &out);
}

static void segment_off_chain(struct inspection *i, uint32_t number)
{
    struct inspected_segment out = {.number = number};

    if (i->hooks->segment != NULL)
        i->hooks->segment(i->hooks->ctx, &out);
}

static void chain_inspect(struct inspection *i, const struct segment_list *l)
{
    lsn_t limit = LSN_MAX; /* of the next on the chain */

    ASSERT(i->out->durable == 0);
    for (size_t k = l->n; k-- > 0;) {
        uint32_t number = l->number[k];
        struct segment_header h;
        int rc;

        if (limit != LSN_MAX && number != lsn_segment(limit)) {
            segment_off_chain(i, number);
            continue;
        }
        rc = segment_read_header(&i->j, number, &h);
        if (rc == -EBADMSG && limit == LSN_MAX) {
            segment_off_chain(i, number);
            continue;
        }
        if (rc < 0) {
            problem(i, number, 0, rc == -EBADMSG ? "the header is damaged" : strerror(-rc));
            return;
        }
        segment_inspect(i, number, &h, limit);
        limit = h.prev_end; /* 0: this was the very first */
    }
}

int journal_inspect(const char *dir, const struct storage *storage, bool whole,
                    const struct inspect_hooks *hooks, struct inspected_journal *out, char *error,
                    size_t error_len)
{
    struct inspection *i = aligned_alloc(CACHE_LINE_BYTES, align_up(sizeof(*i), CACHE_LINE_BYTES));
    struct segment_list l = {0};
    int rc;

    ASSERT(hooks != NULL && error_len > 0);
    snprintf(error, error_len, "out of memory");
    if (i == NULL)
        return -ENOMEM;
    memset(i, 0, sizeof(*i));
    *out = (struct inspected_journal){0};
    i->whole = whole;
    i->hooks = hooks;
    i->out = out;
    i->j.storage = storage;
    snprintf(i->j.dir, sizeof(i->j.dir), "%s", dir);
    rc = meta_read(&i->j, out->machine, error, error_len);
    if (rc == 0) {
        out->uuid = i->j.uuid;
        rc = segment_list(&i->j, &l);
        if (rc < 0)
            snprintf(error, error_len, "cannot list %s: %s", dir, strerror(-rc));
    }
    if (rc == 0)
        chain_inspect(i, &l);
    free(l.number);
    free(i->buf);
    free(i);
    return rc;
}
