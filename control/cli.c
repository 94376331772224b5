/* COLD. The CLI socket, see cli.h. */
#include "control/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/cli_ingest.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"

#define BACKLOG      128
#define HEAD_BYTES   64
#define IDLE_SECONDS 60
#define UNREAD_MAX   1024 /* reads of what follows a refused request */
#define REFUSE_MS    20   /* for the request of a connection that is one too many */

/* One connection. Written by the accepting thread, but for `done` and what its own thread uses. */
struct connection {
    struct cli *cli;
    pthread_t thread;
    int fd; /* -1: the slot is free */
    _Atomic bool done;
};

struct cli {
    struct daemon *daemon;
    pthread_t thread;
    int listen_fd, stop_fd;
    _Atomic uint32_t n_ingests;
    struct connection slot[CLI_CONNECTIONS_MAX];
};

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

static bool answer(int fd, int status, struct textbuf *body)
{
    char head[HEAD_BYTES];
    int n;
    bool ok;

    if (body->failed) {
        textbuf_fini(body);
        textbuf_add(body, "out of memory\n");
        status = PROTOCOL_ERROR;
    }
    n = snprintf(head, sizeof(head), "%s %d %zu\n", PROTOCOL_ANSWER_WORD, status, body->len);
    ASSERT(n > 0 && n < (int)sizeof(head));
    ok = send_all(fd, head, (size_t)n) && send_all(fd, textbuf_str(body), body->len);
    textbuf_fini(body);
    return ok;
}

/*
 * Ends a connection whose input was not read to its end: a close with bytes left would take the
 * answer away from the client. Waits for at most a second.
 */
static void end_unread(int fd)
{
    const struct timeval second = {.tv_sec = 1};
    char buf[PROTOCOL_LINE_BYTES];

    ASSERT(fd >= 0);
    shutdown(fd, SHUT_WR);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
    for (int i = 0; i < UNREAD_MAX && recv(fd, buf, sizeof(buf), 0) > 0; i++)
        ;
}

/* Whose process is at the other end; UINT32_MAX when the kernel does not say. */
static uint32_t peer_uid(int fd)
{
    struct ucred peer = {.uid = UINT32_MAX};
    socklen_t len = sizeof(peer);

    ASSERT(fd >= 0);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return UINT32_MAX;
    return peer.uid;
}

/* Runs one line. @return false when the connection should end. */
static bool serve_line(struct connection *c, const char *line, size_t len)
{
    struct cli_request request;
    struct textbuf body = {0};
    int status;

    ASSERT(len < PROTOCOL_LINE_BYTES);
    if (len > 0 && line[len - 1] == '\r')
        len--;
    status = cli_parse(line, len, &request, &body);
    request.uid = peer_uid(c->fd);
    request.fd = c->fd;
    if (status == PROTOCOL_OK)
        status = commands_run(c->cli->daemon, &request, &body);
    return answer(c->fd, status, &body);
}

/* The connection sends documents from now on: line is its first request, more follows it. */
static void serve_ingest(struct connection *c, const char *line, size_t len, const char *more,
                         size_t more_len)
{
    struct textbuf busy = {0};

    if (atomic_fetch_add(&c->cli->n_ingests, 1) < CLI_INGESTS_MAX) {
        ingest_serve(c->cli->daemon, c->fd, line, len, more, more_len);
    } else {
        textbuf_add(&busy, INGEST_ERROR_UNKNOWN "\nmore than %d files are sent at once\n",
                    CLI_INGESTS_MAX);
        answer(c->fd, PROTOCOL_ERROR, &busy);
    }
    ASSERT(atomic_load(&c->cli->n_ingests) > 0);
    atomic_fetch_sub(&c->cli->n_ingests, 1);
    end_unread(c->fd);
}

static void serve(struct connection *c)
{
    char buf[PROTOCOL_LINE_BYTES];
    size_t len = 0;

    for (;;) {
        char *end = memchr(buf, '\n', len);
        ssize_t n;

        ASSERT(len <= sizeof(buf));
        if (end != NULL) {
            size_t used = (size_t)(end - buf) + 1;
            uint64_t bytes;

            if (ingest_parse_line(buf, used - 1, &bytes) != INGEST_REQUEST_NONE) {
                serve_ingest(c, buf, used - 1, end + 1, len - used);
                return;
            }
            if (!serve_line(c, buf, used - 1))
                return;
            memmove(buf, buf + used, len - used);
            len -= used;
            continue;
        }
        if (len == sizeof(buf)) {
            struct textbuf body = {0};

            textbuf_add(&body, "the request is longer than %d bytes\n", PROTOCOL_LINE_BYTES);
            answer(c->fd, PROTOCOL_USAGE, &body);
            end_unread(c->fd);
            return;
        }
        n = recv(c->fd, buf + len, sizeof(buf) - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        len += (size_t)n;
    }
}

static void *connection_main(void *ctx)
{
    struct connection *c = ctx;

    ASSERT(c->fd >= 0);
    pthread_setname_np(pthread_self(), "cli");
    serve(c);
    shutdown(c->fd, SHUT_RDWR); /* the slot's owner closes it */
    atomic_store_explicit(&c->done, true, memory_order_release);
    return NULL;
}

/* Takes a slot back when its thread ends by a time of the wall clock; 0: waits as long as it takes.
 */
static bool reap_slot(struct connection *s, int64_t until_us)
{
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};

    ASSERT(s->fd >= 0);
    if (until_us == 0)
        pthread_join(s->thread, NULL);
    else if (pthread_timedjoin_np(s->thread, NULL, &until) != 0)
        return false;
    close(s->fd);
    s->fd = -1;
    return true;
}

/* Takes back slots whose connections have ended. */
static void reap_ended(struct cli *c)
{
    for (int i = 0; i < CLI_CONNECTIONS_MAX; i++) {
        struct connection *s = &c->slot[i];

        ASSERT(s->fd < 0 || s->cli == c);
        if (s->fd >= 0 && atomic_load_explicit(&s->done, memory_order_acquire))
            reap_slot(s, 0);
    }
}

/* Ends all connections. @return false when one is still at work after CLI_STOP_US. */
static bool reap_all(struct cli *c)
{
    int64_t until = clock_wall_us() + CLI_STOP_US;
    bool all = true;

    ASSERT(c != NULL);
    for (int i = 0; i < CLI_CONNECTIONS_MAX; i++) {
        if (c->slot[i].fd >= 0)
            shutdown(c->slot[i].fd, SHUT_RDWR);
    }
    for (int i = 0; i < CLI_CONNECTIONS_MAX; i++) {
        if (c->slot[i].fd >= 0)
            all = reap_slot(&c->slot[i], until) && all;
    }
    return all;
}

/* As end_unread(), on the thread that others wait for: takes what is there within a moment. */
static void end_refused(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char buf[PROTOCOL_LINE_BYTES];

    ASSERT(fd >= 0);
    shutdown(fd, SHUT_WR);
    if (poll(&p, 1, REFUSE_MS) > 0)
        (void)recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    close(fd);
}

static void start_connection(struct cli *c, int fd)
{
    const struct timeval idle = {.tv_sec = IDLE_SECONDS};
    struct textbuf busy = {0};

    ASSERT(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof(idle));
    for (int i = 0; i < CLI_CONNECTIONS_MAX; i++) {
        struct connection *s = &c->slot[i];

        if (s->fd >= 0)
            continue;
        s->cli = c;
        s->fd = fd;
        atomic_store(&s->done, false);
        if (pthread_create(&s->thread, NULL, connection_main, s) == 0)
            return;
        s->fd = -1;
        break;
    }
    textbuf_add(&busy, "more than %d commands at once\n", CLI_CONNECTIONS_MAX);
    answer(fd, PROTOCOL_ERROR, &busy);
    end_refused(fd);
}

static void *accept_main(void *ctx)
{
    struct cli *c = ctx;
    struct pollfd p[] = {{.fd = c->listen_fd, .events = POLLIN},
                         {.fd = c->stop_fd, .events = POLLIN}};

    ASSERT(c->listen_fd >= 0);
    pthread_setname_np(pthread_self(), "cli-accept");
    for (;;) {
        int fd;

        if (poll(p, ARRAY_LEN(p), 1000) < 0 && errno != EINTR)
            return NULL;
        if (p[1].revents != 0)
            return NULL;
        reap_ended(c);
        if ((p[0].revents & POLLIN) == 0)
            continue;
        fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            start_connection(c, fd);
    }
}

/* A socket file that nobody listens on is left over from a killed daemon. */
static int remove_stale(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = 0;

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0)
        rc = -EADDRINUSE;
    else if (errno == ECONNREFUSED && unlink(a->sun_path) != 0)
        rc = -errno;
    close(fd);
    ASSERT(rc <= 0);
    return rc;
}

static int listen_unix(const char *path, char *error, size_t error_len)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int rc, fd = -1;

    ASSERT(strlen(path) < sizeof(a.sun_path));
    memcpy(a.sun_path, path, strlen(path));
    rc = remove_stale(&a);
    if (rc == 0) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) != 0 ||
            listen(fd, BACKLOG) != 0)
            rc = -errno;
    }
    if (rc == 0)
        return fd;
    snprintf(error, error_len, "control.socket: cannot listen on %s: %s%s", path, strerror(-rc),
             rc == -EADDRINUSE ? "; another daemon uses it"
                               : "; set control.socket to a place that can be written");
    if (fd >= 0)
        close(fd);
    return rc;
}

int cli_start(struct daemon *d, struct cli **out, char *error, size_t error_len)
{
    struct cli *c = calloc(1, sizeof(*c));
    int rc;

    ASSERT(out != NULL);
    if (c == NULL)
        return -ENOMEM;
    c->daemon = d;
    for (int i = 0; i < CLI_CONNECTIONS_MAX; i++)
        c->slot[i].fd = -1;
    c->listen_fd = listen_unix(d->config->control_socket, error, error_len);
    if (c->listen_fd < 0) {
        rc = c->listen_fd;
        free(c);
        return rc;
    }
    c->stop_fd = eventfd(0, EFD_CLOEXEC);
    rc = c->stop_fd < 0 ? errno : pthread_create(&c->thread, NULL, accept_main, c);
    if (rc != 0) {
        close(c->listen_fd);
        if (c->stop_fd >= 0)
            close(c->stop_fd);
        free(c);
        return -rc;
    }
    *out = c;
    return 0;
}

bool cli_stop(struct cli *c)
{
    const uint64_t one = 1;
    bool all;

    if (c == NULL)
        return true;
    ASSERT(atomic_load(&c->daemon->state) == DAEMON_STOPPING);
    if (write(c->stop_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
        log_warn("cli", "stop: %s", strerror(errno));
    pthread_join(c->thread, NULL);
    all = reap_all(c);
    unlink(c->daemon->config->control_socket);
    close(c->listen_fd);
    close(c->stop_fd);
    if (all)
        free(c);
    return all;
}
