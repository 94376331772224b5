/*
 * COLD. A connection that sends documents, see ingest_protocol.h. While the oldest batch becomes
 * durable the next ones are read and handed to the worker, so that client, daemon and disk work at
 * the same time. When the client goes away, what no worker has taken yet is dropped: it is not
 * answered, and comes again.
 */
#include "control/cli_ingest.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "control/protocol.h"
#include "dataplane/base/log.h"

#define LINE_BYTES      64
#define RECEIVE_BYTES   PROTOCOL_LINE_BYTES
#define IN_FLIGHT_BYTES (8u << 20) /* past it the oldest batch is waited for */
#define WAIT_MS_MAX     50

/* A batch that has been handed in and is not answered. */
struct pending {
    struct injection *injection; /* NULL: all of it is stored already */
    struct inject_doc *doc;
    char *body;
    uint32_t n_docs, skipped;
    size_t bytes;
};

struct serving {
    struct daemon *daemon;
    int fd;
    struct inject_session *session; /* NULL before ingest-open */
    struct ingest_open open;
    struct pending pending[INGEST_WINDOW]; /* oldest first */
    uint32_t n_pending;
    size_t bytes_in_flight;
    size_t at, len; /* of buf */
    char buf[RECEIVE_BYTES];
};

/* ---- bytes ---- */

static bool send_all(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        ASSERT((size_t)n <= len);
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool answer(struct serving *s, int status, struct textbuf *body)
{
    char head[LINE_BYTES];
    int n;
    bool ok = !body->failed;

    n = snprintf(head, sizeof(head), "%s %d %zu\n", PROTOCOL_ANSWER_WORD, status, body->len);
    ASSERT(n > 0 && n < (int)sizeof(head));
    ok = ok && send_all(s->fd, head, (size_t)n) && send_all(s->fd, textbuf_str(body), body->len);
    textbuf_fini(body);
    return ok;
}

/* Answers with an error. @return false: the connection ends. */
static bool refuse(struct serving *s, int rc, const char *text)
{
    const char *word = rc == -EBUSY       ? INGEST_ERROR_BUSY
                       : rc == -EAGAIN    ? INGEST_ERROR_UNKNOWN
                       : rc == -ESHUTDOWN ? INGEST_ERROR_DRAINING
                                          : INGEST_ERROR_REFUSED;
    struct textbuf body = {0};

    ASSERT(text != NULL);
    textbuf_add(&body, "%s\n%s\n", word, text);
    (void)answer(s, PROTOCOL_ERROR, &body);
    return false;
}

/* More bytes into buf. @return false at the end. */
static bool receive(struct serving *s)
{
    ssize_t n;

    ASSERT(s->at == s->len);
    s->at = s->len = 0;
    while ((n = recv(s->fd, s->buf, sizeof(s->buf), 0)) < 0 && errno == EINTR)
        ;
    s->len = n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* One line without its end. @return its length; -1 at the end or when it is too long. */
static int read_line(struct serving *s, char *out)
{
    int len = 0;

    for (;;) {
        if (s->at == s->len && !receive(s))
            return -1;
        ASSERT(s->at < s->len);
        out[len] = s->buf[s->at++];
        if (out[len] == '\n')
            return len;
        if (++len == LINE_BYTES)
            return -1;
    }
}

static bool read_body(struct serving *s, char *out, size_t len)
{
    size_t n = s->len - s->at < len ? s->len - s->at : len;

    memcpy(out, s->buf + s->at, n);
    s->at += n;
    while (n < len) {
        ssize_t got = recv(s->fd, out + n, len - n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    return true;
}

/* ---- batches ---- */

static bool peer_gone(const struct serving *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void pending_drop(struct serving *s)
{
    struct pending *p = &s->pending[0];

    ASSERT(s->n_pending > 0);
    s->bytes_in_flight -= p->bytes;
    free(p->doc);
    free(p->body);
    s->n_pending--;
    memmove(p, p + 1, s->n_pending * sizeof(*p));
}

static void write_outcome(const struct pending *p, const struct ingest_result *r,
                          struct textbuf *body)
{
    ASSERT(r->n_errors <= r->dead_lettered);
    textbuf_add(body, "%" PRIu32 " %" PRIu32 " %" PRIu32 "\n", r->accepted, r->dead_lettered,
                p->skipped);
    for (uint32_t i = 0; i < r->n_errors; i++)
        textbuf_add(body, "%" PRIu32 " %s\n", r->error[i].index + p->skipped,
                    reason_name(r->error[i].reason));
}

/* Ends the oldest batch and answers it. @return false when the connection should end. */
static bool settle_oldest(struct serving *s, bool cancel)
{
    struct pending *p = &s->pending[0];
    struct ingest_result result = {.refused = REASON_NONE};
    struct textbuf body = {0};
    int rc = 0;

    if (p->injection != NULL)
        rc = inject_finish(s->session, p->injection, cancel, &result);
    if (rc != 0) {
        pending_drop(s);
        return refuse(s, rc == -ECANCELED ? -ESHUTDOWN : rc, "the daemon takes no more events");
    }
    write_outcome(p, &result, &body);
    pending_drop(s);
    return answer(s, PROTOCOL_OK, &body);
}

/* Waits until the oldest batch is done, or there is something to read if want_input. @return false
 * when the connection should end. */
static bool settle(struct serving *s, bool want_input)
{
    for (int wait_ms = 1;; wait_ms = wait_ms < WAIT_MS_MAX ? wait_ms + 1 : WAIT_MS_MAX) {
        struct pollfd in = {.fd = s->fd, .events = POLLIN};
        const struct pending *p = &s->pending[0];

        ASSERT(s->n_pending > 0);
        if (p->injection == NULL || inject_done(p->injection, 0))
            return settle_oldest(s, false);
        if (peer_gone(s))
            return false;
        if (!want_input)
            (void)inject_done(p->injection, (int64_t)wait_ms * 1000);
        else if (s->at < s->len || poll(&in, 1, wait_ms) > 0)
            return true;
    }
}

/* Hands the newest pending batch in. @return 0 or -errno with text. */
static int hand_in(struct serving *s, char *error, size_t error_len)
{
    struct pending *p = &s->pending[s->n_pending - 1];
    int rc;

    ASSERT(p->n_docs > 0);
    rc = inject_submit(s->session, p->doc, p->n_docs, &p->injection, error, error_len);
    if (rc == -EALREADY)
        p->skipped = p->n_docs;
    while (rc == 0 && p->skipped < p->n_docs && p->injection->batch.doc != p->doc + p->skipped)
        p->skipped++;
    return rc == -EALREADY ? 0 : rc;
}

/* Reads a batch and hands it in. @return false when the connection should end. */
static bool take_batch(struct serving *s, uint64_t bytes)
{
    uint64_t max = s->daemon->config->http_event_max + sizeof(struct ingest_doc_header);
    struct pending *p = &s->pending[s->n_pending];
    char error[256];
    int n, rc;

    ASSERT(s->n_pending < INGEST_WINDOW);
    if (bytes > max && bytes > INGEST_BATCH_BYTES)
        return refuse(s, -EINVAL, "the batch is too large");
    *p = (struct pending){.bytes = (size_t)bytes};
    p->body = malloc((size_t)bytes + JSON_PADDING_BYTES);
    p->doc = calloc(INGEST_DOCS_MAX, sizeof(*p->doc));
    s->n_pending++;
    s->bytes_in_flight += p->bytes;
    if (p->body == NULL || p->doc == NULL)
        return refuse(s, -ENOMEM, "out of memory");
    if (!read_body(s, p->body, (size_t)bytes))
        return false;
    memset(p->body + bytes, 0, JSON_PADDING_BYTES);
    n = ingest_parse_batch(p->body, (size_t)bytes, &s->open, p->doc, INGEST_DOCS_MAX);
    if (n < 0)
        return refuse(s, n, "the batch does not consist of documents");
    p->n_docs = (uint32_t)n;
    rc = hand_in(s, error, sizeof(error));
    if (rc == 0)
        return true;
    return refuse(s, rc, error);
}

/* ---- requests ---- */

static void list_session(void *ctx, const struct block_mark *m)
{
    for (size_t i = 0; i < sizeof(m->session); i++)
        textbuf_add(ctx, "%02x", m->session[i]);
    textbuf_add(ctx, " %" PRIx64 " %" PRIx64 "\n", m->seq, m->note);
}

static bool list_sessions(struct serving *s)
{
    struct textbuf body = {0};
    char error[256];
    int rc = inject_each(s->daemon, list_session, &body, error, sizeof(error));

    ASSERT(rc <= 0);
    if (rc == 0)
        return answer(s, PROTOCOL_OK, &body);
    textbuf_fini(&body);
    return refuse(s, rc, error);
}

static bool open_session(struct serving *s, uint64_t bytes)
{
    char text[INGEST_OPEN_BYTES_MAX], error[256];
    struct textbuf body = {0};
    uint64_t last;
    int rc;

    if (s->session != NULL || bytes > sizeof(text))
        return refuse(s, -EINVAL, "a session is open, or the request is too long");
    if (!read_body(s, text, (size_t)bytes))
        return false;
    rc = ingest_parse_open(text, (size_t)bytes, &s->open, &body);
    if (rc != 0) {
        snprintf(error, sizeof(error), "%.*s", (int)(body.len - 1), textbuf_str(&body));
        textbuf_fini(&body);
        return refuse(s, rc, error);
    }
    rc = inject_open(s->daemon, s->open.session, &s->session, &last, error, sizeof(error));
    if (rc != 0)
        return refuse(s, rc, error);
    textbuf_add(&body, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", last, inject_note(s->session),
                s->daemon->config->http_event_max);
    return answer(s, PROTOCOL_OK, &body);
}

static bool serve_request(struct serving *s, const char *line, size_t len)
{
    uint64_t bytes;

    ASSERT(s->n_pending < INGEST_WINDOW);
    switch (ingest_parse_line(line, len, &bytes)) {
    case INGEST_REQUEST_SESSIONS:
        return bytes == 0 && list_sessions(s);
    case INGEST_REQUEST_OPEN:
        return open_session(s, bytes);
    case INGEST_REQUEST_BATCH:
        if (s->session != NULL)
            return take_batch(s, bytes);
        return refuse(s, -EINVAL, "no session is open");
    case INGEST_REQUEST_NONE:
    default:
        return refuse(s, -EINVAL, "this connection takes ingest requests only");
    }
}

static void serve(struct serving *s, const char *line, size_t len)
{
    char next[LINE_BYTES];
    bool go_on = serve_request(s, line, len);

    while (go_on) {
        bool room = s->n_pending < INGEST_WINDOW && s->bytes_in_flight < IN_FLIGHT_BYTES;
        int n;

        if (s->n_pending > 0) {
            uint32_t before = s->n_pending;

            go_on = settle(s, room);
            if (!go_on || s->n_pending < before)
                continue; /* answered: look again */
        }
        n = read_line(s, next);
        go_on = n >= 0 && serve_request(s, next, (size_t)n);
    }
}

void ingest_serve(struct daemon *d, int fd, const char *line, size_t len, const char *more,
                  size_t more_len)
{
    struct serving *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return;
    ASSERT(more_len <= sizeof(s->buf));
    s->daemon = d;
    s->fd = fd;
    memcpy(s->buf, more, more_len);
    s->len = more_len;
    serve(s, line, len);
    while (s->n_pending > 0) { /* the client is gone, or was told to go */
        struct ingest_result unused;

        if (s->pending[0].injection != NULL)
            (void)inject_finish(s->session, s->pending[0].injection, true, &unused);
        pending_drop(s);
    }
    if (s->session != NULL)
        inject_close(s->session);
    free(s);
}
