/*
 * What DPDK's ports and their workers have counted, for status and metrics. Received by a port is one of:
 * taken as a datagram, waiting, forwarded to the kernel, or dropped with a reason; what the card missed
 * comes on top of it, and together they are what was sent.
 */
#ifndef PENSTOCK_CONTROL_PACKETS_H
#define PENSTOCK_CONTROL_PACKETS_H

#include "control/totals.h"

/** Adds to t what the ports have missed. Thread: control. */
void packets_total(struct daemon *d, struct totals *t);

/** Adds ,"dpdk":{...}; nothing without ports. Thread: control. */
void packets_json(struct daemon *d, const struct totals *t, struct textbuf *b);

/** Adds lines for people; nothing without ports. Thread: control. */
void packets_text(struct daemon *d, const struct totals *t, struct textbuf *b);

/** Adds a family for each counter of the ports; nothing without ports. Thread: control. */
void packets_metrics(struct daemon *d, struct textbuf *b);

#endif
