/* See ingest_wire.h. */
#include "tools/penstock/ingest_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/protocol.h"

#define HEAD_BYTES   64
#define ANSWER_BYTES (64u << 20) /* more is no answer of ours */

void wire_init(struct wire *w, const char *path)
{
    ASSERT(path != NULL);
    *w = (struct wire){.path = path, .fd = -1};
}

void wire_close(struct wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

void wire_fini(struct wire *w)
{
    wire_close(w);
    free(w->body);
    w->body = NULL;
}

enum wire_result wire_connect(struct wire *w)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(w->path);

    wire_close(w);
    if (len >= sizeof(address.sun_path)) {
        snprintf(w->error, sizeof(w->error), "--socket: the path is longer than %zu bytes",
                 sizeof(address.sun_path) - 1);
        return WIRE_REFUSED;
    }
    memcpy(address.sun_path, w->path, len);
    w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->fd >= 0 && connect(w->fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return WIRE_OK;
    snprintf(w->error, sizeof(w->error),
             "no penstockd answers on %s: %s; is it running? --socket names another place", w->path,
             strerror(errno));
    wire_close(w);
    return WIRE_BROKEN;
}

static enum wire_result broken(struct wire *w)
{
    snprintf(w->error, sizeof(w->error), "the daemon ended the connection");
    wire_close(w);
    return WIRE_BROKEN;
}

enum wire_result wire_send(struct wire *w, const char *name, const char *body, size_t len)
{
    char head[HEAD_BYTES];
    int n = snprintf(head, sizeof(head), "%s %zu\n", name, len);
    struct iovec iov[2] = {{head, (size_t)n}, {(char *)(uintptr_t)body, len}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};

    ASSERT(n > 0 && n < HEAD_BYTES);
    if (w->fd < 0)
        return broken(w);
    while (iov[0].iov_len + iov[1].iov_len > 0) {
        ssize_t sent = sendmsg(w->fd, &m, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return broken(w);
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)sent < iov[i].iov_len ? (size_t)sent : iov[i].iov_len;

            iov[i].iov_base = (char *)iov[i].iov_base + part;
            iov[i].iov_len -= part;
            sent -= (ssize_t)part;
        }
    }
    return WIRE_OK;
}

static bool receive(struct wire *w, char *out, size_t len)
{
    while (len > 0) {
        ssize_t n = recv(w->fd, out, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        out += n;
        len -= (size_t)n;
    }
    return true;
}

/* The answer's first line, byte by byte: it is short. @return the status, or -1. */
static int receive_head(struct wire *w, size_t *bytes)
{
    char head[HEAD_BYTES];
    int len = 0, status, end = 0;

    for (;;) {
        if (len == HEAD_BYTES - 1 || !receive(w, head + len, 1))
            return -1;
        if (head[len] == '\n')
            break;
        len++;
    }
    head[len] = '\0';
    if (sscanf(head, PROTOCOL_ANSWER_WORD " %d %zu%n", &status, bytes, &end) != 2 || end != len ||
        status < PROTOCOL_OK || status > PROTOCOL_USAGE || *bytes > ANSWER_BYTES)
        return -1;
    return status;
}

static bool body_room(struct wire *w, size_t bytes)
{
    char *larger;

    if (bytes < w->body_cap)
        return true;
    larger = realloc(w->body, bytes + 1);
    if (larger == NULL)
        return false;
    w->body = larger;
    w->body_cap = bytes + 1;
    return true;
}

/* "WORD\nsentence\n" of an error; only a sentence when there are too many connections. */
static enum wire_result error_of(struct wire *w)
{
    static const char *const later[] = {INGEST_ERROR_BUSY, INGEST_ERROR_DRAINING,
                                        INGEST_ERROR_UNKNOWN};
    char *text = strchr(w->body, '\n');

    w->busy = false;
    wire_close(w);
    if (text == NULL || text[1] == '\0') {
        snprintf(w->error, sizeof(w->error), "%.*s", (int)strcspn(w->body, "\n"), w->body);
        return WIRE_LATER;
    }
    *text++ = '\0';
    snprintf(w->error, sizeof(w->error), "%.*s", (int)strcspn(text, "\n"), text);
    w->busy = strcmp(w->body, INGEST_ERROR_BUSY) == 0;
    for (size_t i = 0; i < ARRAY_LEN(later); i++) {
        if (strcmp(w->body, later[i]) == 0)
            return WIRE_LATER;
    }
    return WIRE_REFUSED;
}

enum wire_result wire_answer(struct wire *w)
{
    size_t bytes = 0;
    int status = w->fd < 0 ? -1 : receive_head(w, &bytes);

    ASSERT(w->path != NULL);
    if (status < 0 || !body_room(w, bytes) || !receive(w, w->body, bytes))
        return broken(w);
    w->body[bytes] = '\0';
    w->body_len = bytes;
    if (status == PROTOCOL_OK)
        return WIRE_OK;
    if (status == PROTOCOL_USAGE) { /* an older daemon */
        snprintf(w->error, sizeof(w->error), "the daemon does not know this request: %.200s",
                 w->body);
        wire_close(w);
        return WIRE_REFUSED;
    }
    return error_of(w);
}

bool wire_ready(const struct wire *w, int timeout_ms)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};

    return w->fd >= 0 && poll(&p, 1, timeout_ms) > 0;
}
