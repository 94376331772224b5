/*
 * Which types are refused because what waits of them in the spool has used up its room; and what the
 * spool may take of the disk. Thread: main.
 */
#ifndef PENSTOCK_CONTROL_REFUSE_H
#define PENSTOCK_CONTROL_REFUSE_H

#include "control/daemon.h"

#define SPOOL_PLANS_MAX 131072 /* in all: each takes some memory, and a place in each snapshot */

/** What the spool holds. */
struct spool_total {
    uint64_t plans, bytes, events;
    uint64_t lost; /* of plans: their files are missing or damaged */
};

/** Looks at what the spool holds, and tells workers what to refuse. About once a second. */
void refuse_tick(struct daemon *d);

/** Sums up what the spool holds. Thread: any. */
struct spool_total refuse_total(const struct daemon *d);

#endif
