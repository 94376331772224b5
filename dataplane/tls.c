/*
 * HOT. See tls.h. OpenSSL reads from the receive buffer itself, without a copy between: its BIO is
 * a pair of pointers. It writes into memory that grows to the longest answer, a few KiB.
 */
#include "dataplane/tls_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>

#define OUTPUT_BYTES_KEPT 4096 /* more is given back once it is sent */
#define OUTPUT_BYTES_MIN  1024

struct tls {
    SSL *ssl;
    const char *in; /* received and not read: the caller's, or kept */
    size_t in_len;
    char *kept;
    char *out;
    size_t out_len, out_room;
    bool broken;
};

/* ---- BIO ---- */

static int bio_read(BIO *bio, char *out, int room)
{
    struct tls *t = BIO_get_data(bio);
    size_t n = t->in_len < (size_t)room ? t->in_len : (size_t)room;

    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(out, t->in, n);
    t->in += n;
    t->in_len -= n;
    return (int)n;
}

static bool output_grow(struct tls *t, size_t more)
{
    size_t room = t->out_room > 0 ? t->out_room : OUTPUT_BYTES_MIN;
    char *out;

    while (room < t->out_len + more)
        room *= 2;
    out = realloc(t->out, room);
    if (out == NULL)
        return false;
    t->out = out;
    t->out_room = room;
    return true;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct tls *t = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (len <= 0 || (t->out_len + (size_t)len > t->out_room && !output_grow(t, (size_t)len)))
        return -1;
    memcpy(t->out + t->out_len, bytes, (size_t)len);
    t->out_len += (size_t)len;
    return len;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *bio_method; /* for ever: connections outlive the context they began with */
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void bio_create(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "penstock");

    if (m != NULL && BIO_meth_set_read(m, bio_read) && BIO_meth_set_write(m, bio_write) &&
        BIO_meth_set_ctrl(m, bio_control))
        bio_method = m;
    else
        BIO_meth_free(m);
}

bool tls_bio_ready(void)
{
    pthread_once(&bio_once, bio_create);
    return bio_method != NULL;
}

/* ---- life ---- */

int tls_create(const struct tls_context *context, struct tls **out)
{
    struct tls *t = calloc(1, sizeof(*t));
    BIO *bio = NULL;

    ASSERT(bio_method != NULL);
    if (t != NULL)
        t->ssl = SSL_new(context->ssl);
    if (t != NULL && t->ssl != NULL)
        bio = BIO_new(bio_method);
    if (bio == NULL) {
        ERR_clear_error();
        tls_destroy(t);
        return -ENOMEM;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio); /* takes it */
    SSL_set_accept_state(t->ssl);
    *out = t;
    return 0;
}

void tls_destroy(struct tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    free(t->kept);
    free(t->out);
    free(t);
}

void tls_input(struct tls *t, const char *bytes, size_t len)
{
    ASSERT(t->in_len == 0);
    free(t->kept);
    t->kept = NULL;
    t->in = bytes;
    t->in_len = len;
}

void tls_keep(struct tls *t)
{
    char *kept;

    if (t->in_len == 0 || t->kept != NULL) /* nothing, or kept already */
        return;
    kept = malloc(t->in_len);
    if (kept == NULL) {
        t->broken = true;
        t->in_len = 0;
        return;
    }
    memcpy(kept, t->in, t->in_len);
    t->kept = kept;
    t->in = kept;
}

/* ---- bytes ---- */

enum tls_result tls_read(struct tls *t, char *out, size_t room, size_t *n)
{
    ASSERT(room > 0);
    *n = 0;
    while (!t->broken && *n < room) {
        size_t got = 0;
        int rc, error;

        ERR_clear_error();
        rc = SSL_read_ex(t->ssl, out + *n, room - *n, &got);
        if (rc == 1) {
            *n += got;
            continue;
        }
        error = SSL_get_error(t->ssl, rc);
        if (error == SSL_ERROR_WANT_READ)
            return *n > 0 ? TLS_DATA : TLS_MORE;
        if (error == SSL_ERROR_ZERO_RETURN)
            return *n > 0 ? TLS_DATA : TLS_END;
        t->broken = true;
    }
    if (t->broken)
        ERR_clear_error();
    return *n > 0 ? TLS_DATA : TLS_BAD;
}

bool tls_write(struct tls *t, const char *bytes, size_t len)
{
    size_t written;

    ASSERT(len > 0 && SSL_is_init_finished(t->ssl));
    if (t->broken)
        return false;
    ERR_clear_error();
    if (SSL_write_ex(t->ssl, bytes, len, &written) == 1 && written == len)
        return true;
    ERR_clear_error();
    t->broken = true;
    return false;
}

void tls_end(struct tls *t)
{
    if (t->broken || !SSL_is_init_finished(t->ssl) ||
        (SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN) != 0)
        return;
    (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
    ASSERT(t->out != NULL || t->out_len == 0);
}

struct span tls_output(const struct tls *t)
{
    return (struct span){t->out, t->out_len};
}

void tls_sent(struct tls *t)
{
    ASSERT(t->out_len <= t->out_room);
    t->out_len = 0;
    if (t->out_room <= OUTPUT_BYTES_KEPT)
        return;
    free(t->out);
    t->out = NULL;
    t->out_room = 0;
}

bool tls_established(const struct tls *t)
{
    return SSL_is_init_finished(t->ssl) == 1;
}

bool tls_resumed(const struct tls *t)
{
    return SSL_session_reused(t->ssl) == 1;
}
