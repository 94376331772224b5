/* The answers of `penstock status`, `types` and `sinks`, as JSON or as text. Thread: control. */
#ifndef PENSTOCK_CONTROL_REPORT_H
#define PENSTOCK_CONTROL_REPORT_H

#include "control/daemon.h"

#define REPORT_TABLES_MAX  1024 /* per sink thread */
#define REPORT_SHELVES_MAX 256  /* the same */

/** Everything at a glance. */
void report_status(struct daemon *d, bool json, struct textbuf *body);

/** One line for each event type. */
void report_types(struct daemon *d, bool json, struct textbuf *body);

/** Sink threads and tables. */
void report_sinks(struct daemon *d, bool json, struct textbuf *body);

/**
 * Asks one sink thread.
 * Owner: caller, until report_free().
 * @return 0; -EBUSY or -ETIMEDOUT when it does not answer now; -ENOMEM.
 */
int report_ask(struct daemon *d, uint32_t index, struct sink_report *out) WARN_UNUSED;

/** Frees what it holds. */
void report_free(struct sink_report *r);

#endif
