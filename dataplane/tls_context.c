/* COLD. Certificate, key, authorities and rules of a TLS server, see tls.h. */
#include "dataplane/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TICKET_KEY_BYTES 80 /* name, HMAC key and AES key, as OpenSSL has them */
#define TICKETS          1  /* for each new session: most clients hold one connection */

static const unsigned char alpn_http11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

/* The last thing that OpenSSL has to say, for people. */
static int fail(const char *knob, const char *file, char *error, size_t error_len)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;

    ASSERT(knob != NULL);
    snprintf(error, error_len, "%s: cannot use %s: %s", knob, file,
             why != NULL ? why : "not what it should be");
    ERR_clear_error();
    return -EINVAL;
}

static int check_readable(const char *knob, const char *file, char *error, size_t error_len)
{
    int rc = access(file, R_OK) == 0 ? 0 : -errno;

    ASSERT(file[0] != '\0');
    if (rc != 0)
        snprintf(error, error_len, "%s: cannot read %s: %s", knob, file, strerror(-rc));
    return rc;
}

/* A key that needs a pass phrase would make a daemon wait for a terminal. */
static int no_pass_phrase(char *buf, int size, int writing, void *ctx)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)ctx;
    return -1;
}

/* RFC 7301: a client that names protocols and not ours is told so. */
static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *ctx)
{
    unsigned char *chosen;

    (void)ssl;
    (void)ctx;
    if (SSL_select_next_proto(&chosen, out_len, alpn_http11, sizeof(alpn_http11), in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int load_own(const struct tls_config *config, SSL_CTX *ssl, char *error, size_t error_len)
{
    int rc = check_readable("https.certificate", config->certificate, error, error_len);

    if (rc == 0)
        rc = check_readable("https.key", config->key, error, error_len);
    if (rc != 0)
        return rc;
    ASSERT(ssl != NULL);
    if (SSL_CTX_use_certificate_chain_file(ssl, config->certificate) != 1)
        return fail("https.certificate", config->certificate, error, error_len);
    if (SSL_CTX_use_PrivateKey_file(ssl, config->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ssl) != 1)
        return fail("https.key", config->key, error, error_len);
    return 0;
}

static int load_authorities(const struct tls_config *config, SSL_CTX *ssl, char *error,
                            size_t error_len)
{
    STACK_OF(X509_NAME) * names;
    int rc;

    ASSERT(ssl != NULL);
    if (config->client_ca == NULL)
        return 0;
    rc = check_readable("https.client_ca", config->client_ca, error, error_len);
    if (rc != 0)
        return rc;
    names = SSL_load_client_CA_file(config->client_ca);
    if (names == NULL || SSL_CTX_load_verify_file(ssl, config->client_ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail("https.client_ca", config->client_ca, error, error_len);
    }
    SSL_CTX_set_client_CA_list(ssl, names); /* takes them */
    SSL_CTX_set_verify(
        ssl, SSL_VERIFY_PEER | (config->client_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        NULL);
    return 0;
}

/* What may be spoken, and how. */
static int set_rules(const struct tls_config *config, SSL_CTX *ssl, char *error, size_t error_len)
{
    static const unsigned char id[] = "penstock";

    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);         /* an idle connection has no 32 KiB */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF); /* tickets only: no lock, no memory */
    SSL_CTX_set_num_tickets(ssl, TICKETS);
    SSL_CTX_set_session_id_context(ssl, id, sizeof(id) - 1);
    SSL_CTX_set_alpn_select_cb(ssl, select_protocol, NULL);
    SSL_CTX_set_default_passwd_cb(ssl, no_pass_phrase);
    if (SSL_CTX_set_min_proto_version(ssl, config->only_13 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1)
        return fail("https.min_version", "this version", error, error_len);
    if (SSL_CTX_set_cipher_list(ssl, config->ciphers) != 1)
        return fail("https.ciphers", config->ciphers, error, error_len);
    ASSERT(error_len > 0);
    return 0;
}

/*
 * Tickets that the context before has given stay good, so that a new certificate does not make
 * every client begin anew at once. Not where clients are asked for certificates: a ticket would
 * spare one the question that a new list of authorities answers differently.
 */
static void inherit_tickets(const struct tls_context *before, struct tls_context *c)
{
    unsigned char keys[TICKET_KEY_BYTES];

    if (before == NULL || before->asks_clients || c->asks_clients)
        return;
    ASSERT(SSL_CTX_get_tlsext_ticket_keys(before->ssl, NULL, 0) == TICKET_KEY_BYTES);
    if (SSL_CTX_get_tlsext_ticket_keys(before->ssl, keys, sizeof(keys)) == 1)
        (void)SSL_CTX_set_tlsext_ticket_keys(c->ssl, keys, sizeof(keys));
    OPENSSL_cleanse(keys, sizeof(keys));
}

static void describe(struct tls_context *c)
{
    const X509 *x = SSL_CTX_get0_certificate(c->ssl);
    char subject[160] = "";
    struct tm end = {0};

    ASSERT(x != NULL);
    X509_NAME_oneline(X509_get_subject_name(x), subject, sizeof(subject));
    if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &end) == 1)
        c->ends_us = (int64_t)timegm(&end) * 1000000;
    snprintf(c->text, sizeof(c->text), "%s, good until %04d-%02d-%02d %02d:%02d UTC",
             subject[0] != '\0' ? subject : "a certificate without a subject", 1900 + end.tm_year,
             1 + end.tm_mon, end.tm_mday, end.tm_hour, end.tm_min);
    ERR_clear_error();
}

int tls_context_create(const struct tls_config *config, const struct tls_context *before,
                       struct tls_context **out, char *error, size_t error_len)
{
    struct tls_context *c = calloc(1, sizeof(*c));
    int rc = -ENOMEM;

    ASSERT(config->certificate != NULL && config->key != NULL);
    snprintf(error, error_len, "out of memory");
    ERR_clear_error();
    if (c != NULL && tls_bio_ready() && (c->ssl = SSL_CTX_new(TLS_server_method())) != NULL)
        rc = set_rules(config, c->ssl, error, error_len);
    if (rc == 0)
        rc = load_own(config, c->ssl, error, error_len);
    if (rc == 0)
        rc = load_authorities(config, c->ssl, error, error_len);
    if (rc != 0) {
        tls_context_destroy(c);
        return rc;
    }
    c->asks_clients = config->client_ca != NULL;
    inherit_tickets(before, c);
    describe(c);
    *out = c;
    return 0;
}

void tls_context_destroy(struct tls_context *c)
{
    if (c == NULL)
        return;
    SSL_CTX_free(c->ssl);
    free(c);
}

const char *tls_context_text(const struct tls_context *c)
{
    ASSERT(c != NULL);
    return c->text;
}

int64_t tls_context_ends_us(const struct tls_context *c)
{
    ASSERT(c != NULL);
    return c->ends_us;
}
