/* Prometheus text: every counter of every module, with HELP and TYPE. */
#ifndef PENSTOCK_CONTROL_METRICS_H
#define PENSTOCK_CONTROL_METRICS_H

#include "control/daemon.h"

#define METRICS_TYPES_EXTRA \
    200 /* types beside the configured ones that get series of their own \
         */

/** Writes all metrics. Thread: control. */
void metrics_write(struct daemon *d, struct textbuf *out);

#endif
