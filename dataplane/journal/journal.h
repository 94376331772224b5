/*
 * A journal: one directory with a random UUID, and segments of commit blocks.
 *
 *     DIR/meta                 uuid and machine id
 *     DIR/00000001.seg ...     [4 KiB segment header][block][block]...
 *
 * Roles, each with its own thread: one worker writes (writer.h); sink threads read (reader.h); the
 * keeper prepares spare segments ahead of the writer, written through once, and recycles those
 * below the free LSN.
 *
 * Only the contiguous durable prefix counts: durable() never passes a block whose write and flush
 * have not succeeded. A segment header names where its predecessor ends; what lies behind that is
 * superseded.
 */
#ifndef PENSTOCK_JOURNAL_H
#define PENSTOCK_JOURNAL_H

#include "dataplane/base/lsn.h"
#include "dataplane/base/storage.h"

#define JOURNAL_HEADER_BYTES 4096 /* of a segment; the first block follows */

struct journal_config {
    uint32_t segment_bytes; /* a multiple of 4 KiB, at least 4 blocks */
    uint64_t limit_bytes;   /* all segments of one journal, spares included */
    uint32_t spares;        /* segments kept ready ahead of the writer */
    bool adopt;             /* another machine's journal is taken over */
};

/** Counters of one journal; each written by one thread, readable by any (relaxed). */
struct journal_stats {
    _Atomic uint64_t used_bytes;        /* keeper: segments that hold blocks */
    _Atomic uint64_t total_bytes;       /* keeper: all files */
    _Atomic uint64_t segments_made;     /* keeper */
    _Atomic uint64_t segments_recycled; /* keeper */
    _Atomic uint64_t errors;            /* keeper: failed preparations; the writer counts its own */
};

struct journal;

/**
 * Opens a journal directory or creates it, and finds the durable end: the last segment's tail is
 * scanned, a torn tail cut. Damage below the durable end is an error: nothing is changed, somebody
 * must look. Thread: init.  Owner: caller, until journal_close().
 * @param machine_id of this machine; a directory of another one is refused (a cloned disk must not
 * reuse names), unless config->adopt.
 * @return 0; -EUCLEAN for damage; -EXDEV for another machine's; -errno. error: one sentence.
 */
int journal_open(const char *dir, const char *machine_id, const struct journal_config *config,
                 const struct storage *storage, struct journal **out, char *error,
                 size_t error_len) WARN_UNUSED;

/** Closes files and frees. NULL is allowed. Thread: init, control. */
void journal_close(struct journal *j);

/** Identity. Thread: any. */
const struct journal_uuid *journal_uuid(const struct journal *j);

/** Directory. Thread: any. */
const char *journal_dir(const struct journal *j);

/** End of the contiguous durable prefix. Thread: any (acquire). */
lsn_t journal_durable(const struct journal *j);

/** Everything in front of this LSN had been freed when the journal was opened; 0 for a new one.
 * Thread: any. */
lsn_t journal_start(const struct journal *j);

/** Events ever acknowledged in this journal, up to the durable end. Thread: any. */
uint64_t journal_events_total(const struct journal *j);

/** True while no spare can be prepared because limit_bytes is reached. Thread: any. */
bool journal_full(const struct journal *j);

/** Whether more than half of limit_bytes holds blocks. Thread: any. */
bool journal_half_full(const struct journal *j);

/** True while the disk stands in the way: a write has failed and none has become durable since, or no
 * spare can be prepared. Thread: any. */
bool journal_disk_error(const struct journal *j);

/** Counters. Thread: any. */
struct journal_stats *journal_stats(struct journal *j);

/**
 * Keeps spares ready and recycles segments below free_lsn. May take long (writes whole segments).
 * Thread: keeper (one for all journals).
 * @return segments prepared or recycled.
 */
int journal_keep(struct journal *j, lsn_t free_lsn);

#endif
