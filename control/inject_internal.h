/* Inside of injections, shared by inject.c and inject_scan.c. */
#ifndef PENSTOCK_CONTROL_INJECT_INTERNAL_H
#define PENSTOCK_CONTROL_INJECT_INTERNAL_H

#include "control/inject.h"

/**
 * Visits the mark of every durable block that is not delivered yet: those that the delivery log may
 * not have. Reads block headers only. A mark that is not visited is in the delivery log by then.
 * Thread: control.
 * @return 0; -errno with one sentence.
 */
int inject_scan(struct daemon *d, inject_visitor visit, void *ctx, char *error,
                size_t error_len) WARN_UNUSED;

#endif
