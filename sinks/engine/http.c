/*
 * COLD. libcurl's multi interface on a loop: curl says which sockets and which timeout to watch,
 * the loop tells curl what happened. Thread: the loop's.
 *
 *     http_call_start -> transfer in the multi handle -> message or watchdog -> done
 *                              `-> http_call_cancel: taken out, no done
 *
 * done runs outside of curl's callbacks, so it may start and cancel calls.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "sinks/engine/http_internal.h"

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static bool curl_ready;

static void curl_init(void)
{
    ASSERT(!curl_ready);
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static void active_remove(struct http_transfer *t)
{
    struct http_client *c = t->client;

    ASSERT(t->prev != NULL || c->active == t);
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        c->active = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    t->prev = NULL;
    t->next = NULL;
    loop_timer_cancel(c->loop, &t->timer);
    curl_multi_remove_handle(c->multi, t->easy);
}

void http_finish(struct http_transfer *t, CURLcode code, const char *why)
{
    struct http_call *call = t->call;
    struct http_answer answer;

    ASSERT(call != NULL && call->_handle == t);
    http_transfer_answer(t, code, why, &answer);
    active_remove(t);
    call->_handle = NULL;
    t->call = NULL;
    call->done(call, &answer); /* may free the call */
    http_transfer_release(t);
}

/* Ends what curl says is over. */
static void messages_take(struct http_client *c)
{
    struct CURLMsg *m;
    int left;

    ASSERT(c->multi != NULL);
    while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct http_transfer *t = NULL;
        CURLcode code = m->data.result;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        ASSERT(t != NULL);
        http_finish(t, code, NULL);
    }
}

/*
 * After an error of its own (out of memory) curl does not say which of the calls it will never get
 * back to: all of them end, and the retry policy takes it from there.
 */
static void active_fail(struct http_client *c, CURLMcode rc)
{
    struct http_transfer *t;

    ASSERT(rc != CURLM_OK);
    for (t = c->active; t != NULL; t = t->next)
        t->doomed = true;
    for (t = c->active; t != NULL;) {
        if (!t->doomed) { /* started by a done */
            t = t->next;
            continue;
        }
        http_finish(t, CURLE_OUT_OF_MEMORY, curl_multi_strerror(rc));
        t = c->active; /* done may have cancelled any of them */
    }
}

static void multi_act(struct http_client *c, curl_socket_t s, int what)
{
    int running;
    CURLMcode rc = curl_multi_socket_action(c->multi, s, what, &running);

    ASSERT(rc != CURLM_BAD_HANDLE && rc != CURLM_RECURSIVE_API_CALL);
    messages_take(c);
    if (rc != CURLM_OK && rc != CURLM_BAD_SOCKET)
        active_fail(c, rc);
}

static void on_timer(struct loop_timer *t)
{
    struct http_client *c = container_of(t, struct http_client, timer);

    ASSERT(!c->closing);
    multi_act(c, CURL_SOCKET_TIMEOUT, 0);
}

static void on_socket_ready(struct loop_watch *w, uint32_t events)
{
    struct http_socket *s = container_of(w, struct http_socket, watch);
    int what = 0;

    ASSERT(events != 0);
    if ((events & POLLIN) != 0)
        what |= CURL_CSELECT_IN;
    if ((events & POLLOUT) != 0)
        what |= CURL_CSELECT_OUT;
    if ((events & (POLLERR | POLLHUP | POLLNVAL)) != 0)
        what |= CURL_CSELECT_ERR;
    multi_act(s->client, w->fd, what); /* may free s */
}

static int multi_timeout(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http_client *c = ctx;

    ASSERT(multi == c->multi);
    if (c->closing)
        return 0;
    if (timeout_ms < 0)
        loop_timer_cancel(c->loop, &c->timer);
    else
        loop_timer_set(c->loop, &c->timer, (int64_t)timeout_ms * 1000);
    return 0;
}

static void socket_forget(struct http_socket *s)
{
    struct http_client *c = s->client;

    ASSERT(s->prev != NULL || c->sockets == s);
    (void)!loop_watch_set(c->loop, &s->watch, 0);
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        c->sockets = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    free(s);
}

static struct http_socket *socket_learn(struct http_client *c, curl_socket_t fd)
{
    struct http_socket *s = calloc(1, sizeof(*s));

    ASSERT(fd >= 0);
    if (s == NULL)
        return NULL;
    s->client = c;
    s->watch.ready = on_socket_ready;
    s->watch.fd = fd;
    s->next = c->sockets;
    if (s->next != NULL)
        s->next->prev = s;
    c->sockets = s;
    curl_multi_assign(c->multi, fd, s);
    return s;
}

/*
 * Without memory the socket stays unwatched and the watchdog or the connect timeout ends its call:
 * an error given to curl here would end the multi handle for good.
 */
static int multi_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    struct http_client *c = ctx;
    struct http_socket *s = socket_ctx;
    uint32_t events = 0;

    ASSERT(easy != NULL);
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) {
            curl_multi_assign(c->multi, fd, NULL);
            socket_forget(s);
        }
        return 0;
    }
    if (s == NULL)
        s = socket_learn(c, fd);
    if (s == NULL)
        return 0;
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        events |= POLLIN;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        events |= POLLOUT;
    (void)!loop_watch_set(c->loop, &s->watch, events);
    return 0;
}

static bool multi_configure(struct http_client *c)
{
    long connections = (long)c->config.connections_max;

    ASSERT(connections > 0);
    return curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, multi_socket) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, multi_timeout) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, connections) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 2 * connections + 4) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX) == CURLM_OK;
}

void http_client_adjust(struct http_client *c, const struct http_config *config)
{
    ASSERT(config->connections_max > 0);
    ASSERT(config->stall_timeout_ms > 0 && config->connect_timeout_ms > 0);
    c->config.connect_timeout_ms = config->connect_timeout_ms;
    c->config.stall_timeout_ms = config->stall_timeout_ms;
    if (c->config.connections_max == config->connections_max)
        return;
    c->config.connections_max = config->connections_max;
    (void)multi_configure(c); /* the numbers are plain stores: they cannot fail half-way */
}

int http_client_create(struct loop *l, const struct http_config *config, struct http_client **out)
{
    struct http_client *c;

    ASSERT(config->connections_max > 0);
    ASSERT(config->stall_timeout_ms > 0 && config->connect_timeout_ms > 0);
    pthread_once(&curl_once, curl_init);
    if (!curl_ready)
        return -ENOMEM;
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return -ENOMEM;
    c->loop = l;
    c->config = *config;
    c->timer.fire = on_timer;
    c->multi = curl_multi_init();
    if (c->multi == NULL || !multi_configure(c)) {
        http_client_destroy(c);
        return -ENOMEM;
    }
    *out = c;
    return 0;
}

void http_client_destroy(struct http_client *c)
{
    if (c == NULL)
        return;
    ASSERT(!c->closing);
    while (c->active != NULL)
        http_call_cancel(c, c->active->call);
    c->closing = true;
    loop_timer_cancel(c->loop, &c->timer);
    while (c->idle != NULL) {
        struct http_transfer *t = c->idle;

        c->idle = t->next;
        http_transfer_destroy(t);
    }
    if (c->multi != NULL)
        curl_multi_cleanup(
            c->multi); /* closes kept connections: their sockets are forgotten on the way */
    while (c->sockets != NULL)
        socket_forget(c->sockets);
    free(c);
}

int http_call_start(struct http_client *c, struct http_call *call)
{
    struct http_transfer *t;
    int rc;

    ASSERT(call->done != NULL && call->url != NULL);
    ASSERT(call->_handle == NULL);
    t = http_transfer_acquire(c);
    if (t == NULL)
        return -ENOMEM;
    rc = http_transfer_prepare(t, call);
    if (rc == 0 && curl_multi_add_handle(c->multi, t->easy) != CURLM_OK)
        rc = -ENOMEM;
    if (rc != 0) {
        t->call = NULL;
        http_transfer_release(t);
        return rc;
    }
    call->_handle = t;
    t->next = c->active;
    if (t->next != NULL)
        t->next->prev = t;
    c->active = t;
    return 0;
}

void http_call_cancel(struct http_client *c, struct http_call *call)
{
    struct http_transfer *t = call->_handle;

    if (t == NULL)
        return;
    ASSERT(t->client == c && t->call == call);
    active_remove(t);
    call->_handle = NULL;
    t->call = NULL;
    http_transfer_release(t);
}
