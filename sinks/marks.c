/*
 * HOT. Marks of injected batches on their way from blocks to the delivery log. Every journal is
 * read by every sink thread; the first one records the marks. Until a mark is durable there, the
 * floor stays in front of the block that bore it, so its segment is kept.
 *
 *     block read ──> noted ── RECORD_MARK submitted ──> recording ── durable ──> gone
 *
 * While a session's mark is being recorded, later ones of it are merged: one record a write of the
 * log and session, however many blocks.
 */
#include <stdlib.h>
#include <string.h>

#include "sinks/sink_internal.h"

/** The newest mark of a session that the log does not have yet. */
struct noted_mark {
    struct noted_mark *next;
    struct sink *sink;
    struct block_mark mark;
    bool recording; /* submitted; `mark` does not change any more */
    uint32_t feed;
    lsn_t block; /* the oldest one whose mark this includes */
};

static struct noted_mark *find_noted(const struct sink *s, uint32_t feed,
                                     const struct block_mark *mark)
{
    for (struct noted_mark *n = s->marks; n != NULL; n = n->next) {
        if (!n->recording && n->feed == feed &&
            memcmp(n->mark.session, mark->session, sizeof(mark->session)) == 0)
            return n;
    }
    return NULL;
}

void mark_note(struct sink *s, const struct feed *f)
{
    const struct block_header *h = f->view.header;
    struct noted_mark *n;

    if (s->config.index != 0 || block_mark_empty(&h->mark))
        return;
    n = find_noted(s, f->index, &h->mark);
    if (n == NULL) {
        n = calloc(1, sizeof(*n));
        ASSERT(n != NULL); /* a hundred bytes, as for a record */
        *n = (struct noted_mark){.next = s->marks, .sink = s, .feed = f->index, .block = h->lsn};
        s->marks = n;
    }
    ASSERT(n->block <= h->lsn && !n->recording);
    n->mark = h->mark;
}

/* The log has it. */
static void mark_durable(struct sink *s, void *ctx)
{
    struct noted_mark *n = ctx, **at = &s->marks;

    ASSERT(s->marks_recording > 0 && n->recording);
    while (*at != n) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = n->next;
    free(n);
    s->marks_recording--;
}

void marks_run(struct sink *s)
{
    if (s->marks_recording > 0)
        return;
    for (struct noted_mark *n = s->marks; n != NULL; n = n->next) {
        struct record r = {.type = RECORD_MARK, .mark = n->mark};

        ASSERT(!n->recording);
        n->recording = true;
        s->marks_recording++;
        record_submit(s, &r, mark_durable, n);
    }
}

lsn_t marks_floor(const struct sink *s, uint32_t feed, lsn_t floor)
{
    ASSERT(feed < s->n_feeds);
    for (const struct noted_mark *n = s->marks; n != NULL; n = n->next) {
        if (n->feed == feed && n->block < floor)
            floor = n->block;
    }
    return floor;
}

void marks_free(struct sink *s)
{
    while (s->marks != NULL) {
        struct noted_mark *n = s->marks;

        s->marks = n->next;
        free(n);
    }
}
