// Role: binds libmicrohttpd to the routes. Threads: one per connection, so a handler may sleep or
// run SQL. Paths and queries are taken from the raw request line (the library's own unescaping
// would turn the %2F of an object name into a slash).
#include "tools/localcloud/server.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/fault.h"
#include "tools/localcloud/http.h"
#include "tools/localcloud/route.h"
#include "tools/localcloud/stats.h"
#include "tools/localcloud/storage.h"
#include "tools/localcloud/token.h"

enum {
    BODY_BYTES_MAX = 32 << 20, // JSON bodies; a job of 10,000 long URIs is about 10 MB
    CONNECTION_MEMORY = 256 << 10,
    CONNECTIONS_MAX = 900,
    IDLE_SECONDS_MAX = 300,
};

struct lc_server {
    struct MHD_Daemon *daemon;
    int port;
};

const char *lc_req_header(const struct lc_req *r, const char *name)
{
    return MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name);
}

static void req_free(struct lc_req *r)
{
    lc_upload_free(r, r->upload);
    for (size_t i = 0; i < r->segment_count; i++)
        free(r->segments[i]);
    for (size_t i = 0; i < r->param_count; i++) {
        free(r->params[i].key);
        free(r->params[i].value);
    }
    for (size_t i = 0; i < r->header_count; i++) {
        free(r->headers[i].key);
        free(r->headers[i].value);
    }
    if (r->reply_fd >= 0)
        close(r->reply_fd);
    free(r->segments);
    free(r->params);
    free(r->method);
    free(r->uri);
    lc_buf_free(&r->body);
    lc_buf_free(&r->reply);
    free(r);
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *conn)
{
    struct lc_req *r = lc_alloc(sizeof *r);
    r->app = cls;
    r->conn = conn;
    r->reply_fd = -1;
    r->uri = lc_strdup(uri);
    lc_route_split(r);
    return r;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **state,
                         enum MHD_RequestTerminationCode code)
{
    (void)cls, (void)conn, (void)code;
    if (*state)
        req_free(*state);
    *state = NULL;
}

// Closing with unsent data discarded makes the kernel send a reset instead of a clean end.
static enum MHD_Result cut_connection(struct lc_req *r)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (info)
        setsockopt(info->connect_fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    lc_stats_count(r->app->stats, lc_route_service(r), r->method, 0, 0);
    return MHD_NO;
}

static void apply_faults(struct lc_req *r)
{
    struct lc_fault_action a = {0};
    if (strcmp(lc_route_service(r), "localcloud") == 0)
        return;
    if (!lc_fault_match_req(r, LC_FAULT_CALL, &a))
        return;
    lc_sleep_ms(a.delay_ms);
    r->cut = a.reset;
    r->lose = a.lose_answer;
    if (a.status)
        lc_fail(r, a.status, a.reason, "%s", a.message);
    if (a.status && a.retry_after_s > 0) {
        char seconds[24];
        snprintf(seconds, sizeof seconds, "%lld", (long long)a.retry_after_s);
        lc_reply_header(r, "Retry-After", seconds);
    }
}

static void begin(struct lc_req *r, const char *method)
{
    r->started = true;
    r->method = lc_strdup(method);
    lc_route_find(r);
    apply_faults(r);
    if (!r->cut && !r->status && r->route)
        lc_token_check(r);
    if (!r->cut && !r->status && r->route && r->route->upload)
        r->upload = lc_upload_begin(r);
}

static void feed(struct lc_req *r, const char *data, size_t n)
{
    if (r->upload) {
        lc_upload_feed(r->upload, data, n);
        return;
    }
    if (r->status || r->body_too_large)
        return;
    if (r->body.n + n > BODY_BYTES_MAX) {
        r->body_too_large = true;
        lc_buf_free(&r->body);
        return;
    }
    lc_buf_add(&r->body, data, n);
}

static enum MHD_Result send_reply(struct lc_req *r)
{
    struct MHD_Response *out;
    if (r->reply_fd >= 0) {
        out = MHD_create_response_from_fd_at_offset64(r->reply_fd_size, r->reply_fd,
                                                      r->reply_fd_offset);
        if (out)
            r->reply_fd = -1; // now the response's
    } else {
        out = MHD_create_response_from_buffer(r->reply.n, r->reply.p, MHD_RESPMEM_MUST_FREE);
        if (out)
            r->reply = (struct lc_buf){0};
    }
    if (!out)
        return MHD_NO;
    if (r->reply_type)
        MHD_add_response_header(out, "Content-Type", r->reply_type);
    MHD_add_response_header(out, "Server", "localcloud");
    for (size_t i = 0; i < r->header_count; i++)
        MHD_add_response_header(out, r->headers[i].key, r->headers[i].value);
    enum MHD_Result done = MHD_queue_response(r->conn, (unsigned)r->status, out);
    MHD_destroy_response(out);
    return done;
}

static enum MHD_Result finish(struct lc_req *r)
{
    if (!r->status && !r->route)
        lc_fail(r, 404, "notFound", "Not Found: %s %s", r->method, r->uri);
    if (!r->status)
        r->route->handler(r);
    assert(r->status);
    if (r->lose)
        return cut_connection(r);
    lc_stats_count(r->app->stats, lc_route_service(r), r->method, r->status,
                   r->upload ? lc_upload_bytes(r->upload) : r->body.n);
    return send_reply(r);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_size, void **state)
{
    (void)cls, (void)conn, (void)url, (void)version;
    struct lc_req *r = *state;
    assert(r);
    if (!r->started) {
        begin(r, method);
        return r->cut ? cut_connection(r) : MHD_YES;
    }
    if (*data_size) {
        feed(r, data, *data_size);
        *data_size = 0;
        return MHD_YES;
    }
    return finish(r);
}

static enum MHD_Result on_accept(void *cls, const struct sockaddr *addr, socklen_t size)
{
    (void)addr, (void)size;
    const struct lc_app *app = cls;
    return lc_fault_refuses(app->faults) ? MHD_NO : MHD_YES;
}

static size_t keep_escapes(void *cls, struct MHD_Connection *conn, char *s)
{
    (void)cls, (void)conn;
    return strlen(s);
}

// Splits "ADDR:PORT" in place. @return false when there is no port.
static bool split_address(char *listen, char **host, char **port)
{
    char *colon = strrchr(listen, ':');
    if (!colon || !colon[1])
        return false;
    *colon = 0;
    *port = colon + 1;
    size_t n = strlen(listen);
    if (n >= 2 && listen[0] == '[' && listen[n - 1] == ']') {
        listen[n - 1] = 0;
        listen++;
    }
    *host = *listen ? listen : NULL;
    int64_t number;
    return lc_parse_i64(*port, &number) && number >= 0 && number <= 65535;
}

static int open_socket(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 511)) {
        int e = errno;
        close(fd);
        return -e;
    }
    return fd;
}

static int socket_port(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    char port[16] = "0";
    if (getsockname(fd, (struct sockaddr *)&a, &n) == 0)
        getnameinfo((struct sockaddr *)&a, n, NULL, 0, port, sizeof port, NI_NUMERICSERV);
    int64_t v = 0;
    return lc_parse_i64(port, &v) ? (int)v : 0;
}

static int listen_on(const char *text, char *err, size_t err_size)
{
    char *copy = lc_strdup(text), *host = NULL, *port = NULL;
    struct addrinfo *list = NULL, want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    int fd = -1;
    if (!split_address(copy, &host, &port)) {
        snprintf(err, err_size, "--listen %s: expected ADDR:PORT, for example 127.0.0.1:9050",
                 text);
    } else if (getaddrinfo(host, port, &want, &list)) {
        snprintf(err, err_size, "--listen %s: unknown address", text);
    } else {
        fd = open_socket(list);
        if (fd == -EADDRINUSE)
            snprintf(err, err_size,
                     "--listen %s: the port is in use; stop that program or choose another port",
                     text);
        else if (fd < 0)
            snprintf(err, err_size, "--listen %s: %s", text, strerror(-fd));
    }
    if (list)
        freeaddrinfo(list);
    free(copy);
    return fd;
}

struct lc_server *lc_server_start(struct lc_app *app, const char *listen, char *err,
                                  size_t err_size)
{
    int fd = listen_on(listen, err, err_size);
    if (fd < 0)
        return NULL;
    struct lc_server *s = lc_alloc(sizeof *s);
    s->port = socket_port(fd);
    s->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0,
        on_accept, app, on_request, app, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK,
        on_uri, app, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_escapes, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_SECONDS_MAX, MHD_OPTION_END);
    if (!s->daemon) {
        snprintf(err, err_size, "cannot start the HTTP server on %s", listen);
        close(fd);
        free(s);
        return NULL;
    }
    return s;
}

int lc_server_port(const struct lc_server *s)
{
    return s->port;
}

void lc_server_stop(struct lc_server *s)
{
    if (!s)
        return;
    MHD_stop_daemon(s->daemon);
    free(s);
}
