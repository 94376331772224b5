/*
 * The reading side of a journal, for a sink thread whose lane did not carry a block: where to read next, and what
 * was read. The reads themselves are the caller's (asynchronous).
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
 * Where reading goes on after the end of a segment: the first block of the segment whose header says that the
 * journal ended at lsn in front of it.
 * @param durable the search stays below it.
 * @return 0; -ENOENT when there is no such segment up to durable; -errno.
 */
int reader_next_segment(struct reader *r, lsn_t lsn, lsn_t durable, lsn_t *next) WARN_UNUSED;

#endif
