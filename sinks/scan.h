/*
 * Reads the blocks of one journal from disk in order, asynchronously on the sink thread's loop, and
 * never past what counts: neither the durable end nor the end of a segment that was superseded.
 *
 * Thread: the sink thread.
 */
#ifndef PENSTOCK_SCAN_H
#define PENSTOCK_SCAN_H

#include "dataplane/journal/reader.h"
#include "sinks/engine/loop.h"

#ifndef SCAN_BYTES            /* the simulation's is small */
#define SCAN_BYTES (4u << 20) /* of one read; more when a block is larger */
#endif

/** Private but for embedding; must not move while a read is under way. */
struct scan {
    struct loop *_loop;
    const struct journal *_journal;
    _Atomic uint64_t *_errors;
    struct reader _reader;
    struct loop_read _read;
    bool _reading;
    int64_t _retry_us;
    char *_buf;
    uint32_t _buf_bytes; /* its size */
    lsn_t _buf_lsn;
    uint32_t _buf_len; /* 0: nothing read */
};

/** Sets a scan up; errors counts blocks that could not be read or did not verify. @return 0 or
 * -ENOMEM. */
int scan_init(struct scan *s, struct loop *l, const struct journal *j,
              _Atomic uint64_t *errors) WARN_UNUSED;

/** Frees it; nothing is being read (the loop has ended). One that is zero, never set up, is allowed. */
void scan_fini(struct scan *s);

/**
 * The block at *cursor, which may first move on to the next segment. Starts a read when the block
 * is not here yet: ask again after the loop has run. What cannot be read is tried again each
 * second, for ever.
 * @param durable the journal's durable end; *cursor is below it.
 * @return true with *out, valid until the next call.
 */
bool scan_next(struct scan *s, lsn_t *cursor, lsn_t durable, int64_t now_us,
               struct block_view *out) WARN_UNUSED;

#endif
