/*
 * The delivery state's inside: applying records and writing snapshots. Included only in
 * sinks/delivery/ and by the tests of it.
 *
 * Thread: the log's thread; init before it starts.
 */
#ifndef PENSTOCK_DELIVERY_STATE_INTERNAL_H
#define PENSTOCK_DELIVERY_STATE_INTERNAL_H

#include "sinks/delivery/idmap.h"
#include "sinks/delivery/marks.h"
#include "sinks/delivery/planned.h"
#include "sinks/delivery/record.h"
#include "sinks/delivery/state.h"

/* A plan that is not finished. The plan itself stays encoded, as its record brought it. */
struct state_plan {
    uint64_t id;
    uint64_t
        load_id; /* 0: no load has taken it; of a load that is gone: its lines were shared out */
    int64_t generation;
    char *text; /* why it is parked, or was when it was spooled; NULL otherwise */
    uint32_t body_len;
    uint32_t pieces;  /* loads of some of its lines that are not finished */
    uint8_t status;   /* enum plan_status */
    uint8_t encoding; /* enum plan_encoding */
    bool to_load;
    uint8_t body[];
};

/* A load that is not finished. */
struct state_load {
    struct load load;
    char *text;         /* why it is parked; NULL otherwise */
    uint32_t remaining; /* plans of it that are not finished */
    uint8_t status;     /* enum load_status */
};

/* One range of a plan that needs its journal, or did. */
struct range_start {
    lsn_t from;
    uint64_t plan_id;
};

/* What the state knows of one journal. Journals are never forgotten: 16 bytes and two numbers each
 * on disk. */
struct state_journal {
    struct journal_uuid uuid;
    lsn_t floor;
    struct range_start *
        heap; /* smallest from first; those of plans that need it no more leave when they surface */
    size_t heap_count;
    size_t heap_cap;
    size_t holding; /* entries of plans that need it */
};

struct delivery_state {
    struct idmap plans; /* struct state_plan */
    struct idmap loads; /* struct state_load */
    struct planned_map planned;
    struct marks marks; /* under dlog.marks_lock once the log's thread runs */
    struct state_journal *journal;
    uint32_t n_journals;
    struct record_counters counters; /* of the snapshot last applied; next_id is kept up to date */
};

/** Called for each record of a snapshot. */
typedef void (*snapshot_visitor)(void *ctx, const uint8_t *record, size_t len);

/** An empty state. Owner: caller, until state_destroy(). */
struct delivery_state *state_create(void) WARN_UNUSED;

/** Frees it. NULL is allowed. */
void state_destroy(struct delivery_state *s);

/**
 * Applies a record, live or of a snapshot (but not one that is ledger-only).
 * @return 0; -EINVAL when the record does not fit the state: nothing changed, now and at every
 * replay.
 */
int state_apply(struct delivery_state *s, const struct record_view *r) WARN_UNUSED;

/** Gives the state as records, COUNTERS (with last_seq and ledger_seq as given) first, always in
 * the same order. */
void state_snapshot(const struct delivery_state *s, uint64_t last_seq, uint64_t ledger_seq,
                    snapshot_visitor visit, void *ctx);

/** Everything below is confirmed, spooled, or planned by nobody: min(floor, `from` of other plans). 0
 * if unknown. */
lsn_t state_free_lsn(struct delivery_state *s, const struct journal_uuid *journal);

/** The first id never recorded. */
uint64_t state_next_id(const struct delivery_state *s);

/** Visits the generation of every plan that is not finished, for rebuilding a ledger. */
int64_t state_generation(const struct delivery_state *s, uint64_t plan_id);

#endif
