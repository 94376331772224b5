/*
 * Reading a journal directory offline: which segments count, what they hold, and, when asked, whether
 * every block verifies. Changes nothing; what a running writer adds meanwhile may be seen in part.
 *
 * Thread: any, each with a call of its own.
 */
#ifndef PENSTOCK_JOURNAL_INSPECT_H
#define PENSTOCK_JOURNAL_INSPECT_H

#include "dataplane/base/lsn.h"
#include "dataplane/base/storage.h"

/** One segment file. */
struct inspected_segment {
    uint32_t number;
    bool counts;    /* its events do; otherwise it is a spare, delivered, or superseded */
    bool last;      /* the one that is written */
    lsn_t end;      /* where its blocks end */
    lsn_t prev_end; /* where the journal ends in front of it */
    uint64_t events_before;
    uint64_t blocks, events;
    int64_t first_us, last_us; /* when its first and last block were sealed; 0: none */
};

struct inspected_journal {
    struct journal_uuid uuid;
    char machine[65];
    lsn_t start;     /* everything in front of it is gone */
    lsn_t durable;   /* the end of the last valid block */
    uint64_t events; /* ever */
    uint64_t problems;
};

/** What is found; each may be NULL. */
struct inspect_hooks {
    /** A segment, by falling number. */
    void (*segment)(void *ctx, const struct inspected_segment *s);
    /** Damage: what is wrong at this offset of a file. */
    void (*problem)(void *ctx, const char *path, uint64_t offset, const char *what);
    void *ctx;
};

/**
 * Reads a journal.
 * @param whole every block is read and verified; otherwise only headers are.
 * @return 0, with problems counted in *out; -errno when it cannot be read at all: error says why.
 */
int journal_inspect(const char *dir, const struct storage *storage, bool whole,
                    const struct inspect_hooks *hooks, struct inspected_journal *out, char *error,
                    size_t error_len) WARN_UNUSED;

#endif
