/*
 * Reading a delivery log offline: its two files, and what its records add up to. Changes nothing.
 *
 * Thread: any, each with a call of its own.
 */
#ifndef PENSTOCK_DELIVERY_DLOG_INSPECT_H
#define PENSTOCK_DELIVERY_DLOG_INSPECT_H

#include "dataplane/base/lsn.h"
#include "dataplane/base/storage.h"

#define INSPECTED_LOG_FILES 2

/** One of the two files. */
struct inspected_log_file {
    bool there, header; /* with a valid header */
    bool complete;      /* its snapshot is whole */
    uint64_t bytes;     /* of the file */
    uint64_t seq;       /* the larger one is newer */
    uint64_t end;       /* where its frames end */
};

struct inspected_log {
    struct journal_uuid id;
    struct inspected_log_file file[INSPECTED_LOG_FILES];
    int counts;                                /* which of them does; -1: none, the log is new */
    uint64_t last_seq;                         /* of the last record */
    uint64_t records;                          /* behind the snapshot */
    uint64_t pending, parked, spooled, stored; /* plans that are not finished */
    uint64_t loads, loads_parked;              /* that are not finished */
    uint64_t problems;
};

/** What is found; each may be NULL. */
struct log_inspect_hooks {
    /** Everything in front of lsn is planned; the journal needs what is behind free. */
    void (*journal)(void *ctx, const struct journal_uuid *journal, lsn_t floor, lsn_t free);
    /** Damage. */
    void (*problem)(void *ctx, const char *path, uint64_t offset, const char *what);
    void *ctx;
};

/**
 * Reads the log in dir.
 * @return 0, with problems counted in *out; -ENOENT when neither file is there; -errno when it cannot
 * be read: error says why.
 */
int dlog_inspect(const char *dir, const struct storage *storage,
                 const struct log_inspect_hooks *hooks, struct inspected_log *out, char *error,
                 size_t error_len) WARN_UNUSED;

#endif
