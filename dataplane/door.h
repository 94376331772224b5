/*
 * What lets clients in: certificate and tokens. They are loaded by control, which may replace them
 * while everything runs; workers see them through the live settings. Immutable once published.
 */
#ifndef PENSTOCK_DOOR_H
#define PENSTOCK_DOOR_H

#include "dataplane/input/tokens.h"
#include "dataplane/tls.h"

/** One version of them. */
struct door_keys {
    struct tls_context *tls; /* NULL: no TLS */
    struct tokens *tokens;   /* NULL: whoever connects may send */
};

#endif
