/* COLD. The admin HTTP server, by libmicrohttpd with one thread; see admin.h. */
#include "control/admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "control/metrics.h"
#include "control/values.h"
#include "dataplane/base/log.h"

#define BACKLOG           64
#define CONNECTIONS_MAX   64
#define IDLE_SECONDS      30
#define ADMIN_STACK_BYTES ((size_t)512 << 10)

struct admin {
    struct daemon *daemon;
    struct MHD_Daemon *server;
};

bool admin_ready(struct daemon *d, struct textbuf *reasons)
{
    int state = atomic_load(&d->state);

    if (state != DAEMON_READY)
        textbuf_add(reasons, "%s\n",
                    state == DAEMON_STARTING   ? "starting"
                    : state == DAEMON_DRAINING ? "drained by command"
                                               : "stopping");
    for (uint32_t i = 0; i < d->n_workers; i++) {
        const struct journal *j = d->journal[d->worker_journal[i]];

        if (journal_full(j))
            textbuf_add(reasons, "journal %02" PRIu32 " is full\n", i);
        if (journal_disk_error(j))
            textbuf_add(reasons, "journal %02" PRIu32 " has a disk error\n", i);
    }
    ASSERT(d->n_workers > 0);
    return reasons->len == 0;
}

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *type,
                             struct textbuf *body)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(
        body->len, (void *)(uintptr_t)textbuf_str(body), MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result = MHD_NO;

    ASSERT(status >= 200);
    if (r != NULL) {
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
            MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
        result = MHD_queue_response(c, status, r);
        MHD_destroy_response(r);
    }
    textbuf_fini(body);
    return result;
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_len, void **request)
{
    const struct admin *a = ctx;
    struct textbuf body = {0};
    static int seen;

    (void)version;
    (void)upload;
    ASSERT(a != NULL);
    if (*request == NULL) { /* headers only: answer when the body is done */
        *request = &seen;
        return MHD_YES;
    }
    if (*upload_len > 0) {
        *upload_len = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        textbuf_add(&body, "GET or HEAD only\n");
        return reply(c, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", &body);
    }
    if (strcmp(url, "/metrics") == 0) {
        metrics_write(a->daemon, &body);
        return reply(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &body);
    }
    if (strcmp(url, "/healthz") == 0) {
        textbuf_add(&body, "ok\n");
        return reply(c, MHD_HTTP_OK, "text/plain", &body);
    }
    if (strcmp(url, "/readyz") == 0) {
        bool ready = admin_ready(a->daemon, &body);

        if (ready)
            textbuf_add(&body, "ready\n");
        return reply(c, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain", &body);
    }
    textbuf_add(&body, "not found; there is /metrics, /healthz and /readyz\n");
    return reply(c, MHD_HTTP_NOT_FOUND, "text/plain", &body);
}

/* Our own listening socket: the library says nothing about why a port cannot be had. */
static int listen_on(const struct sockaddr_storage *address, const char *text, char *error,
                     size_t error_len)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1,
        rc = 0;

    ASSERT(text != NULL);
    if (fd < 0)
        rc = -errno;
    else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
             bind(fd, (const struct sockaddr *)address, value_address_len(address)) != 0 ||
             listen(fd, BACKLOG) != 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    snprintf(error, error_len, "admin.listen: cannot listen on %s: %s%s", text, strerror(-rc),
             rc == -EADDRINUSE ? "; stop what uses this port, or set admin.listen" : "");
    if (fd >= 0)
        close(fd);
    return rc;
}

static void ignore_log(void *ctx, const char *format, va_list args)
{
    (void)ctx;
    (void)format;
    (void)args;
}

int admin_start(struct daemon *d, struct admin **out, char *error, size_t error_len)
{
    struct admin *a = calloc(1, sizeof(*a));
    int fd;

    ASSERT(out != NULL);
    if (a == NULL)
        return -ENOMEM;
    fd = listen_on(&d->config->admin_address, d->config->admin_listen, error, error_len);
    if (fd < 0) {
        free(a);
        return fd;
    }
    a->daemon = d;
    a->server = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL, 0, NULL, NULL, handle, a,
        MHD_OPTION_EXTERNAL_LOGGER, ignore_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_SECONDS, MHD_OPTION_THREAD_STACK_SIZE, ADMIN_STACK_BYTES, MHD_OPTION_END);
    if (a->server == NULL) {
        snprintf(error, error_len, "admin.listen: the admin server did not start");
        close(fd);
        free(a);
        return -EIO;
    }
    *out = a;
    return 0;
}

void admin_stop(struct admin *a)
{
    if (a == NULL)
        return;
    ASSERT(a->server != NULL);
    MHD_stop_daemon(a->server);
    free(a);
}
