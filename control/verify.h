/*
 * Compares what was acknowledged with what is there: journals, ledger, the bucket's listing and
 * BigQuery's row counts. What is pending is stated apart: it is no difference.
 *
 * Events may flow meanwhile: a suspicious object is looked for again in a second ledger reading and
 * a second listing before it counts, and a table's rows may lie between the ledger's counts before
 * and after.
 */
#ifndef PENSTOCK_CONTROL_VERIFY_H
#define PENSTOCK_CONTROL_VERIFY_H

#include "control/daemon.h"

/**
 * Runs the comparison on the calling thread; takes as long as the listings take.
 * Thread: control.
 * @return PROTOCOL_OK when clean; PROTOCOL_ERROR with differences, or when something could not be
 * asked.
 */
int verify_run(struct daemon *d, bool json, struct textbuf *body) WARN_UNUSED;

#endif
