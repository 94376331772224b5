/* What tls.c and tls_context.c share. */
#ifndef PENSTOCK_TLS_INTERNAL_H
#define PENSTOCK_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "dataplane/tls.h"

#define TLS_TEXT_BYTES 256

/** Shared by all workers; immutable. */
struct tls_context {
    SSL_CTX *ssl;
    bool asks_clients;
    int64_t ends_us;
    char text[TLS_TEXT_BYTES];
};

/** Prepares how OpenSSL gets at connections' bytes, once. Thread: any. @return false without memory. */
bool tls_bio_ready(void);

#endif
