/*
 * TLS of one connection, by OpenSSL, between bytes that somebody else moves: what was received goes
 * in, plain bytes come out, and the other way round. The handshake happens on the way.
 *
 * Thread: the connection's worker. Alloc: OpenSSL allocates; so do output and input that is kept.
 */
#ifndef PENSTOCK_TLS_H
#define PENSTOCK_TLS_H

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

#define TLS_ERROR_BYTES 512

/** What a server shows and asks for. Texts are borrowed during the call; files are PEM. */
struct tls_config {
    const char *certificate, *key; /* files: the chain, the server's own first; its key */
    const char *ciphers;           /* of TLS 1.2, as OpenSSL lists them */
    const char *client_ca; /* file of authorities; NULL: no client is asked for a certificate */
    bool client_required;  /* one without a good certificate is refused */
    bool only_13;          /* TLS 1.3 and nothing older */
};

struct tls_context;

/**
 * Loads certificate, key and authorities.
 * Thread: init and control.
 * @param before whose session tickets go on being good; NULL: none.
 * @return 0; -errno with one sentence that names the knob.
 */
int tls_context_create(const struct tls_config *config, const struct tls_context *before,
                       struct tls_context **out, char *error, size_t error_len) WARN_UNUSED;

/** Frees it; connections that use it keep what they need. NULL is allowed. Thread: control. */
void tls_context_destroy(struct tls_context *c);

/** For people: subject and end of the certificate. Thread: control. */
const char *tls_context_text(const struct tls_context *c);

/** When the certificate ends: microseconds of the wall clock. Thread: control. */
int64_t tls_context_ends_us(const struct tls_context *c);

struct tls;

/** A connection that has just begun. Owner: caller, until tls_destroy(). @return 0 or -ENOMEM. */
int tls_create(const struct tls_context *context, struct tls **out) WARN_UNUSED;

/** Frees it. NULL is allowed. */
void tls_destroy(struct tls *t);

/** Bytes that were received. Owner: the caller's, until tls_keep() or all of them are read. */
void tls_input(struct tls *t, const char *bytes, size_t len);

/** Copies what is left of the input; without memory the connection is broken from then on. */
void tls_keep(struct tls *t);

enum tls_result {
    TLS_DATA, /* bytes were written */
    TLS_MORE, /* none are there: more input is needed */
    TLS_END,  /* the client has ended well */
    TLS_BAD,  /* it broke the protocol, or the handshake failed */
};

/** Plain bytes of the client: as many as there are, at most room (above 0). */
enum tls_result tls_read(struct tls *t, char *out, size_t room, size_t *n);

/** Plain bytes for the client become output. @return false when the connection is broken. */
bool tls_write(struct tls *t, const char *bytes, size_t len);

/** Says good-bye: more output. */
void tls_end(struct tls *t);

/** What is to be sent; it stays until tls_sent(). */
struct span tls_output(const struct tls *t);

/** All of it was sent. */
void tls_sent(struct tls *t);

/** Whether the handshake is done. */
bool tls_established(const struct tls *t);

/** Whether it was a short one, by a ticket. */
bool tls_resumed(const struct tls *t);

#endif
