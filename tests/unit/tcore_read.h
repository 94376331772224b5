/*
 * Reads a journal back the way a sink thread does (reader.h), but synchronously: block by block
 * from a cursor to the durable end, each line given to a callback. Reports what must not happen
 * instead of failing the test, so that canaries can be caught.
 */
#ifndef PENSTOCK_TESTS_TCORE_READ_H
#define PENSTOCK_TESTS_TCORE_READ_H

#include "dataplane/journal/reader.h"

/** Where a reading has got to. */
struct tcore_reader {
    struct reader reader;
    const struct journal *journal;
    const struct storage *storage;
    char *buf;
    uint32_t buf_bytes;
    lsn_t cursor;
    bool ignore_end; /* the canary: goes on behind a segment's end as long as blocks verify */
    char error[160]; /* of the last call that failed */
};

typedef void (*tcore_line)(void *ctx, const struct block_view *v, const struct block_run *run,
                           const struct block_entry *e);

/** Sets a reading up at cursor (0: the first block of all). buf_bytes: of the largest block. */
void tcore_reader_init(struct tcore_reader *r, const struct journal *j, const struct storage *s,
                       lsn_t cursor, uint32_t buf_bytes);
void tcore_reader_fini(struct tcore_reader *r);

/** Reads at most one block. @return 1; 0 at the durable end; -1 with error. */
int tcore_read_block(struct tcore_reader *r, tcore_line line, void *ctx);

/** Reads everything to the durable end. @return blocks; -1 with error. */
int tcore_read_all(struct tcore_reader *r, tcore_line line, void *ctx);

#endif
