/*
 * The delivery state: what the records of the delivery log add up to. Applying the same records
 * gives the same state, at run time in the log's thread and at start from the files.
 *
 * Thread: the log's thread; init before it starts.
 */
#ifndef PENSTOCK_DELIVERY_STATE_H
#define PENSTOCK_DELIVERY_STATE_H

#include "sinks/delivery/dlog.h"

enum plan_status {
    PLAN_PENDING,
    PLAN_PARKED,
    PLAN_CONFIRMED, /* kept while a load or staging object needs it */
    PLAN_SPOOLED    /* unconfirmed, and its lines lie in a file: the journal need not keep them */
};
enum load_status {
    LOAD_PENDING,
    LOAD_PARKED,
    LOAD_DONE /* kept until its staging objects are gone */
};

/** Called for each plan that is not finished, in id order. load_id is 0 while no load has taken it.
 */
typedef void (*plan_visitor)(void *ctx, const struct plan *plan, enum plan_status status,
                             uint64_t load_id, const char *text);

/** Called for each load that is not finished, in id order. */
typedef void (*load_visitor)(void *ctx, const struct load *load, enum load_status status,
                             const char *text);

/** Visits unfinished plans. */
void state_each_plan(const struct delivery_state *s, plan_visitor visit, void *ctx);

/** Whether a plan is known and not confirmed. */
bool state_plan_waits(const struct delivery_state *s, uint64_t plan_id);

/** Visits unfinished loads. */
void state_each_load(const struct delivery_state *s, load_visitor visit, void *ctx);

/** Whether a load is not finished. */
bool state_load_is_there(const struct delivery_state *s, uint64_t load_id);

/** The recorded floor of a journal; 0 when there is none. */
lsn_t state_floor(const struct delivery_state *s, const struct journal_uuid *journal);

/**
 * How far a key is planned in a journal: lines of this key below it are in plans already. 0 when
 * unknown (then the floor alone counts). Kept for every key whose plans reach past the floor.
 */
lsn_t state_planned_to(const struct delivery_state *s, const struct plan_key *key,
                       const struct journal_uuid *journal);

/** Called for each key that is planned past the floor of a journal. */
typedef void (*planned_visitor)(void *ctx, const struct plan_key *key,
                                const struct journal_uuid *journal, lsn_t to);

/** Visits what state_planned_to() knows, in no particular order. */
void state_each_planned(const struct delivery_state *s, planned_visitor visit, void *ctx);

#endif
