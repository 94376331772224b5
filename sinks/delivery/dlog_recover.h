/*
 * Reading a delivery log back: which of the two files counts, where its durable end is, and what
 * its records add up to. Works on bytes in memory, so that tests and fuzzing need no files.
 * Internal to sinks/delivery/.
 *
 * Thread: init.
 */
#ifndef PENSTOCK_DELIVERY_DLOG_RECOVER_H
#define PENSTOCK_DELIVERY_DLOG_RECOVER_H

#include "sinks/delivery/frame.h"
#include "sinks/delivery/state_internal.h"

#define DLOG_FILES 2

/** One file as it was found. */
struct log_image {
    uint8_t *data; /* NULL when there is no file */
    size_t len;
};

/** One file's frames, walked without applying. */
struct file_scan {
    bool has_header;
    bool complete;   /* END_SNAPSHOT was found */
    uint64_t end;    /* behind the last good frame */
    uint64_t last;   /* where that begins; end when there is none */
    uint64_t damage; /* place of a frame that says that `end` was durable; 0: none */
    struct file_header header;
};

/** Walks over a file's frames. */
void dlog_scan_file(const struct log_image *im, struct file_scan *s);

/** What recovery tells on its way; both may be NULL. */
struct recover_hooks {
    /** The snapshot is applied. @return 0, or -errno to stop. */
    int (*snapshot)(void *ctx, const struct delivery_state *s);
    /** A record that the ledger may not have yet, in order of sequence numbers. */
    void (*record)(void *ctx, const uint8_t *bytes, const struct record_view *r);
    void *ctx;
};

struct recovered {
    struct delivery_state *state; /* Owner: the caller of dlog_recover() */
    struct journal_uuid log;      /* valid when winner >= 0 */
    int winner;                   /* the file that counts; -1: a new log */
    uint64_t file_seq_max;        /* largest file sequence number seen */
    uint64_t last_seq;            /* of the last record */
    uint64_t records;             /* applied from the tail */
    uint64_t ignored;             /* did not fit the state */
    bool cut;                     /* a torn tail was cut */
};

/** Where the frames of a file seem to end, and the last one begins; 0 for a file without a good header.
 */
uint64_t dlog_frames_end(const struct log_image *image, uint64_t *last);

/**
 * Recovers from the two files.
 * @param error on failure one sentence for people.
 * @return 0, then out->state is the caller's; -EUCLEAN for damage; -errno of a hook. On failure
 * nothing is kept.
 */
int dlog_recover(const struct log_image image[DLOG_FILES], const struct recover_hooks *hooks,
                 struct recovered *out, char *error, size_t error_len) WARN_UNUSED;

#endif
