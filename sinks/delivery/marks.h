/*
 * How far each injection session has come, for the delivery state: the newest seq of the MARKS_MAX
 * sessions that were used last. Past that the one whose last use is the oldest is forgotten.
 * Internal to sinks/delivery/. Thread: as the state that holds it.
 */
#ifndef PENSTOCK_DELIVERY_MARKS_H
#define PENSTOCK_DELIVERY_MARKS_H

#include "sinks/delivery/dlog.h"

#define MARKS_MAX 16384u

/** One session, in the order of use. */
struct mark_entry {
    struct block_mark mark;
    uint32_t newer, older; /* in the order of use; MARK_NONE: none */
    uint32_t next;         /* of the same bucket */
};

/** All of them. Zero is empty. */
struct marks {
    struct mark_entry *entry; /* of cap */
    uint32_t *bucket;         /* of MARKS_MAX; index + 1 of the first; 0: empty */
    uint32_t n, cap;
    uint32_t newest, oldest;
};

/** Sets a session's mark, if it is not behind what is known, and makes the session the newest.
 * Alloc: yes. */
void marks_raise(struct marks *m, const struct block_mark *mark);

/** Visits all, oldest use first: raising them in this order gives the same state. */
void marks_each(const struct marks *m, dlog_mark_visitor visit, void *ctx);

/** Frees it. */
void marks_fini(struct marks *m);

#endif
