/*
 * COLD. Finds marks in the blocks that the sink threads may not have read yet. Run once after a
 * start, when somebody first asks for a session: 4 KiB of each block that is not delivered.
 *
 * Segments may be recycled meanwhile. That happens only when what they held is in the delivery log,
 * so the walk goes on at the first one that is left.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/inject_internal.h"
#include "dataplane/journal/reader.h"

struct walk {
    struct journal *journal;
    struct dlog *dlog;
    struct reader reader;
    char *buf; /* one header, aligned */
    lsn_t cursor, durable;
};

/* The first block of the first segment that holds anything undelivered. */
static lsn_t first_block(const struct walk *w)
{
    lsn_t free = dlog_free_lsn(w->dlog, journal_uuid(w->journal));
    lsn_t start = journal_start(w->journal);
    uint32_t segment = lsn_segment(free > start ? free : start);

    ASSERT(w->journal != NULL);
    return segment == 0 ? 0 : lsn_make(segment, JOURNAL_HEADER_BYTES);
}

/* Moves the cursor to the next block. @return 1; 0 at the end; -errno. */
static int next_block(struct walk *w)
{
    while (lsn_segment(w->cursor) < lsn_segment(w->durable)) {
        lsn_t end, next;
        int rc = reader_segment_end(&w->reader, lsn_segment(w->cursor), w->durable, &end, &next);

        if (rc != 0)
            return rc;
        if (w->cursor < end)
            return 1;
        w->cursor = next;
    }
    ASSERT(w->cursor <= w->durable || lsn_segment(w->cursor) == lsn_segment(w->durable));
    return w->cursor < w->durable;
}

/* Reads the header at the cursor. @return 0; -errno. */
static int read_mark(struct walk *w, uint32_t *len, struct block_mark *mark)
{
    int fd = reader_open(&w->reader, w->cursor);
    ssize_t n;

    if (fd < 0)
        return fd;
    n = pread(fd, w->buf, BLOCK_ALIGN, lsn_offset(w->cursor));
    if (n < 0)
        return -errno;
    return block_peek(w->buf, (size_t)n, journal_uuid(w->journal), w->cursor, len, mark);
}

static int walk_journal(struct walk *w, inject_visitor visit, void *ctx)
{
    w->cursor = first_block(w);
    for (;;) {
        struct block_mark mark;
        uint32_t len;
        int rc = next_block(w);

        if (rc == 0)
            return 0;
        if (rc == 1)
            rc = read_mark(w, &len, &mark);
        if (rc != 0) {
            lsn_t first = first_block(w);

            if (first <= w->cursor)
                return rc;
            reader_fini(&w->reader); /* recycled meanwhile */
            reader_init(&w->reader, w->journal);
            w->cursor = first;
            continue;
        }
        if (!block_mark_empty(&mark))
            visit(ctx, &mark);
        w->cursor += len;
    }
}

int inject_scan(struct daemon *d, inject_visitor visit, void *ctx, char *error, size_t error_len)
{
    struct walk w = {.dlog = d->dlog, .buf = aligned_alloc(BLOCK_ALIGN, BLOCK_ALIGN)};
    int rc = w.buf == NULL ? -ENOMEM : 0;

    ASSERT(visit != NULL);
    for (uint32_t i = 0; i < d->n_journals && rc == 0; i++) {
        w.journal = d->journal[i];
        w.durable = journal_durable(w.journal);
        reader_init(&w.reader, w.journal);
        rc = walk_journal(&w, visit, ctx);
        reader_fini(&w.reader);
        if (rc != 0)
            snprintf(error, error_len, "%s cannot be read at %08x:%08x: %s", journal_dir(w.journal),
                     lsn_segment(w.cursor), lsn_offset(w.cursor), strerror(-rc));
    }
    free(w.buf);
    return rc;
}
