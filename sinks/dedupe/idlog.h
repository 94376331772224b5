/*
 * The decisions of deduplication, durable: for each run of lines of one type in one block, which of
 * them were removed as duplicates, and the ids that were taken. Appended in the order of deciding;
 * a plan is submitted only when every decision in front of it is durable here.
 *
 * A folder for each type holds segments of equal size: NUMBER.ids are in use, NUMBER.free wait to be
 * used. A segment becomes free when no id in it is in the window any more, and no line that it
 * decides on can be read again. README.md in this folder shows the bytes.
 *
 * Thread: the sink thread that owns the type; opening: init.
 */
#ifndef PENSTOCK_DEDUPE_IDLOG_H
#define PENSTOCK_DEDUPE_IDLOG_H

#include <stdatomic.h>

#include "dataplane/base/lsn.h"
#include "dataplane/base/storage.h"
#include "sinks/dedupe/idhash.h"
#include "sinks/engine/loop.h"

#define ID_LOG_PATH_BYTES 4608
#define ID_FEEDS_MAX      64 /* journals a process reads */

/** What was decided on the lines of one type in one block. */
struct id_decision {
    struct journal_uuid journal;
    lsn_t block;
    uint32_t run;           /* of the type, in the block */
    uint32_t n_entries;     /* lines in the run */
    int64_t time_us;        /* when the block was sealed */
    const uint8_t *removed; /* a bit for each line */
    uint32_t n_ids;         /* that were taken */
    const struct id_hash *id;
};

/** How far something reaches: of ids as positions in the window, of blocks by feed. */
struct id_reach {
    uint64_t ids_end;
    lsn_t block[ID_FEEDS_MAX]; /* the last one; 0: none */
};

/** Called for each decision that is found, in order; raises *reach by it. */
typedef void (*id_decision_visitor)(void *ctx, const struct id_decision *d, struct id_reach *reach);

struct id_log_config {
    const char *dir;  /* exists; a folder for the type is made in it */
    const char *type; /* raw name */
    uint32_t ids_max; /* disk space is reserved for so many ids */
    struct loop *loop;
    const struct storage *storage;
};

/** Counters, readable by any thread (relaxed). */
struct id_log_stats {
    _Atomic uint64_t bytes;   /* gauge: of all segments, free ones included */
    _Atomic uint64_t errors;  /* writes that failed */
    _Atomic uint64_t damaged; /* segments or frames that did not verify at start */
};

struct id_log;

/**
 * Opens or makes the log of a type and visits what is in it. A torn end is cut; what does not verify
 * in front of it is left out, counted and logged: duplicates of those ids can pass, nothing is lost.
 * Thread: init.  Owner: caller, until id_log_close().
 * @return 0; -errno with error.
 */
int id_log_open(const struct id_log_config *config, id_decision_visitor visit, void *ctx,
                struct id_log **out, char *error, size_t error_len) WARN_UNUSED;

/** Frees it; its loop has ended. NULL is allowed. Thread: init, control. */
void id_log_close(struct id_log *l);

/** The key of this log's ids. */
const uint8_t *id_log_key(const struct id_log *l);

/** Makes room for a decision on so many lines. @return 0; -EAGAIN when too much waits for the disk;
 * -ENOMEM. */
int id_log_room(struct id_log *l, uint32_t n_entries) WARN_UNUSED;

/** Appends a decision, in memory, for which room was made. It reaches to ids_end in the window. */
void id_log_append(struct id_log *l, const struct id_decision *d, uint64_t ids_end, uint32_t feed);

/** How many decisions were appended since start; those that were found last count as well. */
uint64_t id_log_appended(const struct id_log *l);

/** How many of them are durable. */
uint64_t id_log_durable(const struct id_log *l);

/** Starts to write what waits, if nothing is being written: all of it when wanted, or when much
 * waits. A write that failed is repeated in another segment once a second. */
void id_log_run(struct id_log *l, bool wanted, int64_t now_us);

/**
 * Frees segments: no id in front of position tail is in the window, and lines of feed f below
 * floor[f] are never read again.
 */
void id_log_reclaim(struct id_log *l, uint64_t tail, const lsn_t *floor, uint32_t n_feeds);

/** When the log has outgrown what it may take: the position to which ids must leave, so that its
 * oldest segment can go; otherwise 0. */
uint64_t id_log_pressure(const struct id_log *l);

/** Counters. Thread: any. */
const struct id_log_stats *id_log_stats(const struct id_log *l);

#endif
