/*
 * HOT. Connections over TLS: what was received is decrypted into the connection's lease, or into one
 * buffer that all of them share and that is used like a shared receive buffer, and answers are
 * encrypted when they are sent.
 *
 * Either the kernel has something of such a connection to do, or OpenSSL is at work: never both.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "dataplane/json/json.h"
#include "dataplane/worker_internal.h"

uint64_t secure_memory_bytes(const struct worker_config *config)
{
    return config->https_address.ss_family != AF_UNSPEC ? WIDE_BYTES + JSON_PADDING_BYTES : 0;
}

int secure_create(struct worker *w)
{
    uint64_t bytes = secure_memory_bytes(&w->config);

    ASSERT(w->plain == NULL);
    if (bytes == 0)
        return 0;
    w->plain = calloc(1, bytes);
    return w->plain != NULL ? 0 : -ENOMEM;
}

void secure_destroy(struct worker *w)
{
    free(w->plain);
    w->plain = NULL;
}

/* The handshake is done: from now on it is a connection like others. */
static void greeted(struct worker *w, struct connection *c)
{
    c->greeted = true;
    c->deadline_us = w->now_us + (int64_t)w->config.idle_timeout_ms * 1000;
    stat_add(&w->stats.tls_handshakes, 1);
    if (tls_resumed(c->tls))
        stat_add(&w->stats.tls_resumed, 1);
}

/* Tries to send what is there, without waiting: the connection ends. */
static void output_try(struct connection *c)
{
    struct span out = tls_output(c->tls);

    ASSERT(!c->send_busy);
    if (out.len > 0)
        (void)send(c->fd, out.ptr, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    tls_sent(c->tls);
}

void secure_last(struct connection *c, const char *text, size_t len)
{
    if (c->tls == NULL || c->send_busy)
        return;
    if (len == 0 || (tls_established(c->tls) && tls_write(c->tls, text, len)))
        tls_end(c->tls);
    output_try(c);
}

static void ended(struct worker *w, struct connection *c, enum tls_result how)
{
    ASSERT(how == TLS_END || how == TLS_BAD);
    if (!c->greeted)
        stat_add(&w->stats.reason[REASON_TLS_HANDSHAKE], 1);
    else if (c->len > 0 || how == TLS_BAD)
        stat_add(&w->stats.reason[REASON_TRUNCATED], 1);
    connection_close(w, c);
}

void secure_run(struct worker *w, struct connection *c)
{
    enum tls_result rc = TLS_DATA;

    while (rc == TLS_DATA && c->state == CONNECTION_READING) {
        bool leased = c->lease.buf != NULL;
        uint32_t before = c->len;
        size_t n;

        ASSERT(leased ? c->len < c->lease.bytes : c->len == 0);
        c->buf = leased ? c->lease.buf : w->plain;
        rc = tls_read(c->tls, c->buf + c->len, leased ? c->lease.bytes - c->len : WIDE_BYTES, &n);
        if (!c->greeted && tls_established(c->tls))
            greeted(w, c);
        if (rc != TLS_DATA)
            break;
        c->len += (uint32_t)n;
        connection_deadline(w, c, before);
        connection_run(w, c);
    }
    if (c->state != CONNECTION_READING)
        return;
    if (rc != TLS_MORE)
        ended(w, c, rc);
    else if (tls_output(c->tls).len > 0)
        connection_flush(w, c, tls_output(c->tls));
    else
        connection_receive(w, c);
}

void secure_receive(struct worker *w, struct connection *c, const char *bytes, uint32_t len)
{
    if (c->tls == NULL && tls_create(w->keys->tls, &c->tls) != 0) {
        connection_close(w, c);
        return;
    }
    stat_add(&w->stats.tls_bytes, len);
    tls_input(c->tls, bytes, len);
    secure_run(w, c);
    if (c->tls != NULL) /* it has not ended */
        tls_keep(c->tls);
}

void secure_continue(struct worker *w, struct connection *c)
{
    ASSERT(c->secure && c->state == CONNECTION_READING);
    if (c->len > 0)
        connection_run(w, c);
    if (c->state == CONNECTION_READING)
        secure_run(w, c);
}

bool secure_sent(struct worker *w, struct connection *c)
{
    tls_sent(c->tls);
    if (!c->flushing)
        return false;
    ASSERT(c->state == CONNECTION_SENDING);
    c->flushing = false;
    c->state = CONNECTION_READING;
    secure_run(w, c);
    return true;
}

bool secure_seal(struct connection *c)
{
    struct span out;

    ASSERT(c->tls != NULL && c->out_sent == 0);
    if (!tls_write(c->tls, c->out, c->out_len))
        return false;
    if (c->close_after)
        tls_end(c->tls);
    out = tls_output(c->tls);
    c->out = out.ptr;
    c->out_len = (uint32_t)out.len;
    return true;
}
