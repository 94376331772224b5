/* Inside of a journal, shared by journal.c, keeper.c, writer.c and reader.c only. */
#ifndef PENSTOCK_JOURNAL_INTERNAL_H
#define PENSTOCK_JOURNAL_INTERNAL_H

#include <stdatomic.h>

#include "dataplane/journal/journal.h"

#define JOURNAL_PATH_BYTES 1024
#define SEGMENT_MAGIC      0x31535350u /* "PSS1" */
#define SEGMENT_VERSION    1
#define SPARES_MAX         16

struct rte_ring;

/** On disk, at the start of a segment; the rest of the 4 KiB is zero. */
struct segment_header {
    uint32_t magic;
    uint16_t version;
    uint16_t reserved;
    uint32_t crc32c;  /* of the header with this field 0 */
    uint32_t segment; /* sequence number */
    uint8_t uuid[16];
    uint64_t
        prev_end; /* LSN where the journal ends in front of this segment; behind it is superseded */
    uint64_t events_before; /* events of the journal in front of this segment */
    int64_t created_us;
    uint32_t bytes; /* of the segment when it was made */
    uint32_t reserved2;
};
static_assert(sizeof(struct segment_header) == 64, "on-disk layout");

/** A segment on its way from the keeper to the writer and back. Heap; the keeper allocates and
 * frees. */
struct segment {
    int fd;
    uint32_t number;
    bool dead; /* given up before its header was durable: nothing in it counts, ever */
};

struct journal {
    char dir[JOURNAL_PATH_BYTES];
    struct journal_uuid uuid;
    struct journal_config config;
    const struct storage *storage;
    struct rte_ring *spares;  /* keeper -> writer: struct segment, written through, in order */
    struct rte_ring *retired; /* writer -> keeper: left segments */
    /* Written by the writer (at open: by init). */
    alignas(CACHE_LINE_BYTES) _Atomic lsn_t durable;
    _Atomic uint64_t events_total;
    _Atomic int write_error; /* errno of the latest write, while it stands in the way; 0: none */
    /* Written by the keeper (at open: by init). */
    alignas(CACHE_LINE_BYTES) _Atomic uint32_t first_segment; /* with blocks */
    uint32_t next_segment;                                    /* number for the next file */
    lsn_t start; /* everything in front of it was freed before this process started */
    uint32_t n_files;
    uint32_t n_free; /* files that may be recycled: numbers in free_segment */
    uint32_t *free_segment;
    uint32_t files_max;
    _Atomic bool full;
    _Atomic bool keep_error; /* no segment can be prepared */
    bool said_error;         /* in the log, of write_error */
    struct journal_stats stats;
};

/** How long a writer waits after its second failure in a row; then twice as long, up to a second. Tests
 * set it. */
extern int64_t writer_retry_us;

/** Path of a segment file. */
void segment_path(const struct journal *j, uint32_t number, char *out, size_t out_len);

/**
 * Reads and verifies a segment's header.
 * @return 0; -EBADMSG when it is not (yet) a header of this journal and segment; -errno.
 */
int segment_read_header(const struct journal *j, uint32_t number,
                        struct segment_header *out) WARN_UNUSED;

/** Fills a 4 KiB buffer with a segment's header. */
void segment_fill_header(const struct journal *j, uint32_t number, lsn_t prev_end,
                         uint64_t events_before, void *buf);

/** Numbers of segment files. */
struct segment_list {
    uint32_t *number; /* heap */
    size_t n, room;
};

/** All segment files of the directory, in order. @return 0 or -errno; l->number is the caller's to free.
 */
int segment_list(const struct journal *j, struct segment_list *l) WARN_UNUSED;

#define META_MACHINE_BYTES 65

/** Reads DIR/meta: sets the identity, and machine (META_MACHINE_BYTES). @return 0; -EUCLEAN; -errno.
 * error: one sentence. */
int meta_read(struct journal *j, char *machine, char *error, size_t error_len) WARN_UNUSED;

/** The same, for a journal that is to be used by this machine: a new one gets an identity. @return also
 * -EXDEV. */
int meta_open(struct journal *j, const char *machine_id, char *error, size_t error_len) WARN_UNUSED;

/** Puts a file on the list of those that may be recycled, if it is not on it. Thread: keeper, init. */
void segment_free(struct journal *j, uint32_t number);

/**
 * Finds the durable end: the chain of headers, then the blocks of the last segment.
 * Sets durable, events_total, first_segment, next_segment and the free list.
 * @return 0; -EUCLEAN for damage; -errno. error: one sentence.
 */
int journal_recover(struct journal *j, char *error, size_t error_len) WARN_UNUSED;

#endif
