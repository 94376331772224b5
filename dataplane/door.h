/*
 * What lets clients in: the certificate. It is loaded by control, which may replace it while everything
 * runs; workers see it through the live settings. Immutable once published.
 */
#ifndef PENSTOCK_DOOR_H
#define PENSTOCK_DOOR_H

#include "dataplane/tls.h"

/** One version of it. */
struct door_keys {
    struct tls_context *tls; /* NULL: no TLS */
};

#endif
