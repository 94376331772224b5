/* See tcore_read.h. */
#include "tests/unit/tcore_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tcore_reader_init(struct tcore_reader *r, const struct journal *j, const struct storage *s,
                       lsn_t cursor, uint32_t buf_bytes)
{
    *r =
        (struct tcore_reader){.journal = j, .storage = s, .cursor = cursor, .buf_bytes = buf_bytes};
    reader_init(&r->reader, j);
    r->buf = aligned_alloc(STORAGE_ALIGN, buf_bytes);
    ASSERT(r->buf != NULL);
}

void tcore_reader_fini(struct tcore_reader *r)
{
    reader_fini(&r->reader);
    free(r->buf);
}

static int report(struct tcore_reader *r, int rc, const char *what)
{
    snprintf(r->error, sizeof(r->error), "%s at %08x:%08x: %s", what, lsn_segment(r->cursor),
             lsn_offset(r->cursor), strerror(-rc));
    return -1;
}

/* Moves the cursor over finished segments; *end: where its segment ends for readers. */
static int limit(struct tcore_reader *r, lsn_t durable, lsn_t *end)
{
    while (lsn_segment(r->cursor) < lsn_segment(durable)) {
        lsn_t next;
        int rc = reader_segment_end(&r->reader, lsn_segment(r->cursor), durable, end, &next);

        if (rc < 0)
            return report(r, rc, "no segment follows");
        if (r->cursor < *end)
            return 0;
        if (r->cursor > *end && !r->ignore_end)
            return report(r, -EUCLEAN, "past the segment's end");
        r->cursor = next;
    }
    *end = durable;
    return 0;
}

static int view_at_cursor(struct tcore_reader *r, struct block_view *v)
{
    int fd = reader_open(&r->reader, r->cursor);
    ssize_t n;

    if (fd < 0)
        return fd;
    n = r->storage->ops->pread(r->storage->ctx, fd, r->buf, r->buf_bytes, lsn_offset(r->cursor));
    return n < 0 ? (int)n : block_view(r->buf, (size_t)n, journal_uuid(r->journal), r->cursor, v);
}

struct placed {
    const struct block_entry *entry;
    const struct block_run *run;
};

static int compare_placed(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;

    return x->entry->offset < y->entry->offset ? -1 : x->entry->offset > y->entry->offset;
}

/* Gives the lines in the order of arrival, whatever runs they are in. */
static void lines(const struct block_view *v, tcore_line line, void *ctx)
{
    struct placed *all = calloc(v->header->n_entries + 1, sizeof(*all));
    uint32_t n = 0;

    ASSERT(all != NULL);
    for (uint32_t r = 0; r < v->header->n_runs; r++) {
        for (uint32_t i = 0; i < v->runs[r].n_entries; i++)
            all[n++] = (struct placed){&v->entries[v->runs[r].first + i], &v->runs[r]};
    }
    ASSERT(n == v->header->n_entries);
    qsort(all, n, sizeof(*all), compare_placed);
    for (uint32_t i = 0; i < n; i++)
        line(ctx, v, all[i].run, all[i].entry);
    free(all);
}

int tcore_read_block(struct tcore_reader *r, tcore_line line, void *ctx)
{
    lsn_t durable = journal_durable(r->journal), end;
    struct block_view v;
    int rc;

    if (r->cursor >= durable)
        return 0;
    if (r->ignore_end && lsn_segment(r->cursor) != 0 && view_at_cursor(r, &v) == 0) {
        lines(&v, line, ctx);
        r->cursor += v.header->len;
        return 1;
    }
    if (limit(r, durable, &end) < 0)
        return -1;
    if (r->cursor == end)
        return 0;
    rc = view_at_cursor(r, &v);
    if (rc < 0)
        return report(r, rc, "no valid block where one is durable");
    if (r->cursor + v.header->len > end)
        return report(r, -EUCLEAN, "a block reaches past the end");
    lines(&v, line, ctx);
    r->cursor += v.header->len;
    return 1;
}

int tcore_read_all(struct tcore_reader *r, tcore_line line, void *ctx)
{
    int rc, n = 0;

    while ((rc = tcore_read_block(r, line, ctx)) > 0)
        n++;
    return rc < 0 ? -1 : n;
}
