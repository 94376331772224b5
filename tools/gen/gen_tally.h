/*
 * COLD. What was sent and what arrived, event by event: filled from acknowledgement logs or from
 * the options of a run, then counted against the ids found in what arrived. Ids of several runs
 * are told apart by their seed.
 */
#ifndef GEN_TALLY_H
#define GEN_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/gen/gen_event.h"

enum { GEN_TALLY_RUNS_MAX = 64 };

/* An id as found in a text: "ord-1-17". */
struct gen_id {
    enum gen_type type;
    uint64_t seed;
    uint64_t seq;
};

/* What is known of the event with one id. Counts stop at their largest value. */
struct gen_tally_entry {
    uint8_t type;        /* enum gen_type */
    bool known;          /* it was sent */
    bool broken;         /* its dead letter may have lost its id: malformed:broken_json */
    uint8_t least, most; /* how often it must and may arrive: duplicates more than once */
    uint8_t arrived;
    uint8_t dead_least, dead_most;
    uint8_t dead;
};

/* The events of one seed. */
struct gen_tally_run {
    uint64_t seed;
    uint64_t entries_count;
    struct gen_tally_entry *entries; /* by sequence number */
};

struct gen_tally {
    struct gen_tally_run runs[GEN_TALLY_RUNS_MAX];
    uint32_t runs_count;
    uint64_t sent;            /* events, duplicates included */
    uint64_t unknown;         /* arrived, but nothing of that id was sent */
    uint64_t without_id;      /* arrived lines without an id */
    uint64_t dead_without_id; /* dead letters without an id */
};

/* What a tally adds up to. */
struct gen_verdict {
    uint64_t expected; /* arrivals that must be */
    uint64_t arrived;
    uint64_t missing;    /* arrivals that must be and are not */
    uint64_t surplus;    /* arrivals more than may be */
    uint64_t unanswered; /* arrived, without a promise that they would */
    uint64_t dead_expected, dead_arrived, dead_missing, dead_surplus;
    bool good;
};

/**
 * Reads an id at text, bytes long; *used is its length.
 * Thread: any.  Alloc: none.
 * @return false when there is none right there.
 */
bool gen_id_parse(const char *text, size_t bytes, struct gen_id *id, size_t *used);

/**
 * Notes a sent event. outcome is the answer's status, 0 for none, as in the acknowledgement log.
 * Thread: main.  Alloc: heap; exits with a message when there is no memory.
 * @return NULL, or what is wrong: too many seeds or too large a number.
 */
const char *gen_tally_sent(struct gen_tally *t, const struct gen_id *id, enum gen_kind kind,
                           int outcome);

/** Counts an arrival, among the dead letters or not. Thread: main. */
void gen_tally_arrived(struct gen_tally *t, const struct gen_id *id, bool dead);

/** Duplicates need to and may arrive only once. Thread: main, when all that was sent is noted. */
void gen_tally_dedupe(struct gen_tally *t);

/** Adds up. Thread: main. */
void gen_tally_judge(const struct gen_tally *t, struct gen_verdict *v);

/** Frees everything. Thread: main. */
void gen_tally_fini(struct gen_tally *t);

#endif
