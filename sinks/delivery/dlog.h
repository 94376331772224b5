/*
 * The delivery log: the durable record of plans and outcomes, with one writer thread.
 *
 * Sink threads submit records through their own port and hear when they are durable; nothing may be
 * sent to the cloud before its PLAN (or LOAD and ATTEMPT) is. The writer applies each durable
 * record to the delivery state, knows from it which journal space is free, writes a snapshot of it
 * into the next log file when the current one is full, and feeds the ledger.
 *
 *     PLAN ── sent ──> CONFIRM ───────────────────────────> (not to_load: finished)
 *                       └ to_load: debt of its table ── LOAD ── ATTEMPT n ──> LOADED (finished)
 *                                                         └── ATTEMPT_FAILED ── ATTEMPT n+1
 *     LOAD ── ATTEMPT ── refused ──> LOAD_SPLIT: its parts are loads of their own
 *                                └─> LOAD_REJECTED (one row, a dead letter: finished)
 *     PLAN (insertAll) ── sent, dead letters stored ──> INSERTED (finished)
 *     PLAN ──> PARKED ──> (RESUMED) ──> ...        LOAD ──> LOAD_PARKED ──> (LOAD_RESUMED) ──> ...
 *     PLAN ──> (PARKED) ──> SPOOLED ──> CONFIRM or INSERTED: its lines lie in a file meanwhile
 */
#ifndef PENSTOCK_DELIVERY_DLOG_H
#define PENSTOCK_DELIVERY_DLOG_H

#include "dataplane/base/storage.h"
#include "dataplane/block/block.h"
#include "sinks/delivery/plan.h"

enum record_type {
    RECORD_PLAN = 1,       /* plan */
    RECORD_CONFIRM,        /* plan_id, generation: the object is there, checksum compared */
    RECORD_PARKED,         /* plan_id, text: needs a human; stays pending */
    RECORD_RESUMED,        /* plan_id */
    RECORD_LOAD,           /* load: rows, table, plan ids */
    RECORD_ATTEMPT,        /* load_id, attempt: before jobs.insert */
    RECORD_ATTEMPT_FAILED, /* load_id, attempt, text: the job is known to be done without effect */
    RECORD_LOADED,         /* load_id, rows */
    RECORD_LOAD_PARKED,    /* load_id, text */
    RECORD_LOAD_RESUMED,   /* load_id */
    RECORD_STAGING_GONE,   /* plan_id: the staging object of a loaded plan is deleted */
    RECORD_FLOOR,    /* journal, lsn: every line below is planned; written by the log itself */
    RECORD_INSERTED, /* plan_id, outcome: each row of the plan is in its table, or a dead letter */
    RECORD_MARK, /* mark: a block that bore it has been read; kept when its segment is recycled */
    RECORD_LOAD_SPLIT,    /* load_id, text, split: refused; its parts take its place */
    RECORD_LOAD_REJECTED, /* load_id, plan_id, reject, text: its only row is a dead letter */
    RECORD_SPOOLED,       /* plan_id: its lines are durable in a file of their own; see spool.h */
};

/** A record to submit. Pointers are borrowed until dlog_submit() returns. */
struct record {
    enum record_type type;
    uint64_t plan_id;
    uint64_t load_id;
    uint32_t attempt;
    uint64_t rows;
    int64_t generation;
    const char *text;
    const struct plan *plan;
    const struct load *load;
    const struct plan_outcome *outcome;
    const struct load_split *split;
    const struct load_reject *reject;
    struct block_mark mark;
};

struct dlog_config {
    const char *dir;  /* exists; the log's files and ledger.db live here */
    const char *node; /* node id, for the log header */
    bool adopt;       /* a copy may have gone on from here: ids that it may have used are skipped */
    uint64_t file_bytes;   /* of each of the two log files, preallocated; 8 MiB at least */
    uint32_t ports_max;    /* sink threads */
    uint32_t ring_records; /* submissions in flight per port */
};

/** Counters, written by the log's thread, readable by any (relaxed). */
struct dlog_stats {
    _Atomic uint64_t records;
    _Atomic uint64_t batches; /* durable writes */
    _Atomic uint64_t bytes;
    _Atomic uint64_t snapshots;
    _Atomic uint64_t errors; /* failed writes or flushes; each leads to a fresh file */
    _Atomic uint64_t ledger_errors;
    _Atomic uint64_t ledger_lag; /* records applied to the log, not yet to the ledger */
};

struct dlog;
struct dlog_port;
struct delivery_state;

/**
 * Opens or creates the log in config->dir and rebuilds the delivery state from snapshot and tail. A
 * torn tail is cut; damage in front of durable records is an error. Thread: init.  Owner: caller,
 * until dlog_close().
 * @param error on failure one sentence for people.
 * @return 0; -EUCLEAN for damage; -errno.
 */
int dlog_open(const struct dlog_config *config, const struct storage *storage, struct dlog **out,
              char *error, size_t error_len) WARN_UNUSED;

/** The recovered state, to start from. Thread: init, before dlog_start(). */
const struct delivery_state *dlog_state(const struct dlog *d);

/** The log's identity: 32 hex digits, NUL-terminated; part of object names and job ids. Thread:
 * any. */
const char *dlog_id(const struct dlog *d);

/** Whether dlog_open() found no log and began one: it knows of nothing delivered before. Thread: any. */
bool dlog_is_new(const struct dlog *d);

/** The ledger's database file. Thread: any. */
const char *dlog_ledger_path(const struct dlog *d);

/** Starts the writer thread. Thread: init. */
int dlog_start(struct dlog *d) WARN_UNUSED;

/** Writes what was submitted, brings the ledger up to date, ends the thread. Thread: control, when
 * all sink threads have ended. */
void dlog_stop(struct dlog *d);

/** Frees everything. NULL is allowed. Thread: init, control, after dlog_stop(). */
void dlog_close(struct dlog *d);

/** Counters. Thread: any. */
const struct dlog_stats *dlog_stats(const struct dlog *d);

/** Waits until the ledger shows every record that was durable at the call. Thread: control. */
void dlog_ledger_sync(struct dlog *d);

/**
 * Takes a port for one sink thread; its event_fd is written when completions wait.
 * Thread: init, before dlog_start().  Owner: the log.
 */
struct dlog_port *dlog_port(struct dlog *d, int event_fd);

/** The next id for a plan or a load: larger than any before, crashes included. Thread: any. */
uint64_t dlog_next_id(struct dlog *d);

/**
 * Hands a record to the writer; records of one port become durable in order.
 * Thread: the port's sink thread.
 * @param cookie comes back from dlog_reap() when the record is durable.
 * @return 0; -EAGAIN when the port's ring is full (the cookie never comes).
 */
int dlog_submit(struct dlog_port *p, const struct record *r, void *cookie) WARN_UNUSED;

/** Takes cookies of durable records. Thread: the port's sink thread. @return how many. */
int dlog_reap(struct dlog_port *p, void **cookies, int max) WARN_UNUSED;

/**
 * Tells that this port's sink thread has planned, with durable PLANs, all of its lines of a journal
 * below lsn. The smallest over all ports becomes a FLOOR record about once a second. Never goes
 * back. Thread: the port's sink thread.
 */
void dlog_set_floor(struct dlog_port *p, const struct journal_uuid *journal, lsn_t lsn);

/** Called for each mark. */
typedef void (*dlog_mark_visitor)(void *ctx, const struct block_mark *mark);

/**
 * Visits the newest durable mark of each injection session, in the order of their last use; 16,384
 * sessions are known. Marks of blocks that are not read yet are in the journals alone. visit must
 * not call the log. Thread: any.
 */
void dlog_each_mark(struct dlog *d, dlog_mark_visitor visit, void *ctx);

/**
 * The floor that is recorded: a restart reads the journal from there on, and nothing below it. 0
 * until the writer has said. Thread: any.
 */
lsn_t dlog_floor(struct dlog *d, const struct journal_uuid *journal);

/**
 * Everything below this LSN is confirmed in the cloud or not ours any more: its segments may be
 * recycled. Follows durable records only. Thread: any.
 */
lsn_t dlog_free_lsn(struct dlog *d, const struct journal_uuid *journal);

#endif
