/*
 * The admin HTTP server: GET /metrics (Prometheus text), /healthz (200 while the process lives),
 * /readyz (200 when events are taken, else 503 with the reasons). Loopback unless configured
 * otherwise; no authentication.
 */
#ifndef PENSTOCK_CONTROL_ADMIN_H
#define PENSTOCK_CONTROL_ADMIN_H

#include "control/daemon.h"

/** Starts it. Thread: init. Owner: caller, until admin_stop(). @return 0; -errno with one sentence.
 */
int admin_start(struct daemon *d, struct admin **out, char *error, size_t error_len) WARN_UNUSED;

/** Ends and frees it. NULL is allowed. Thread: control. */
void admin_stop(struct admin *a);

/** Whether events are taken; else the reasons, one a line. Thread: control. */
bool admin_ready(struct daemon *d, struct textbuf *reasons);

#endif
