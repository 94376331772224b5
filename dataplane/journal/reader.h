/*
 * The reading side of a journal, for a sink thread whose lane did not carry a block: where to read
 * next, and what was read. The reads themselves are the caller's (asynchronous).
 *
 * Thread: a reader belongs to one sink thread.
 */
#ifndef PENSTOCK_JOURNAL_READER_H
#define PENSTOCK_JOURNAL_READER_H

#include "dataplane/block/block.h"
#include "dataplane/journal/journal.h"

/** Reads one journal from a cursor on. Private but for embedding. */
struct reader {
    const struct journal *_journal;
    uint32_t _segment; /* number of the open file; 0: none */
    int _fd;
    uint32_t _ended; /* segment that _end and _next are of; UINT32_MAX: none */
    lsn_t _end, _next;
};

/** Sets a reader up. */
void reader_init(struct reader *r, const struct journal *j);

/** Closes its file. */
void reader_fini(struct reader *r);

/**
 * Opens the segment that holds lsn.
 * @return its descriptor, kept by the reader until another segment is asked for; -errno.
 */
int reader_open(struct reader *r, lsn_t lsn) WARN_UNUSED;

/**
 * Where the journal leaves a segment that is not its last: blocks behind *end were never
 * acknowledged and have moved on. Segment 0 stands in front of the first one.
 * @param durable the journal's durable end, in a later segment.
 * @param next the first block of the segment that follows.
 * @return 0; -ENOENT when no segment follows up to durable; -errno.
 */
int reader_segment_end(struct reader *r, uint32_t segment, lsn_t durable, lsn_t *end,
                       lsn_t *next) WARN_UNUSED;

#endif
