/*
 * COLD. One call's transfer: options, body from an iovec, bounded answer, and the limits of time.
 *
 * Limits run from the moment a connection is there (a call that waits for one of few connections is
 * not late): stall_timeout since the last byte either way, and timeout_ms for the whole. curl's own
 * stall detection averages over seconds, so the watchdog is ours. Before that, connect_timeout is
 * curl's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/http_internal.h"

#define ANSWER_FIRST  4096
#define ANSWER_KEEP   ((size_t)64 << 10) /* larger buffers do not stay in the pool */
#define SEND_BYTES    (256L << 10)       /* curl's upload buffer */
#define RECEIVE_BYTES (32L << 10)

static const char no_body[JSON_PADDING_BYTES];

/* ---- limits ---- */

static void on_watchdog(struct loop_timer *timer)
{
    struct http_transfer *t = container_of(timer, struct http_transfer, timer);
    int64_t now_us = clock_monotonic_us();
    int64_t stall_us = (int64_t)t->client->config.stall_timeout_ms * 1000;
    int64_t whole_us = (int64_t)t->call->timeout_ms * 1000;

    ASSERT(t->began_us > 0);
    if (now_us - t->moved_us >= stall_us)
        http_finish(t, CURLE_OPERATION_TIMEDOUT, "timed out: no byte for stall_timeout");
    else if (whole_us > 0 && now_us - t->began_us >= whole_us)
        http_finish(t, CURLE_OPERATION_TIMEDOUT,
                    "timed out: the call took longer than its size allows");
    else
        http_transfer_watchdog(t);
}

void http_transfer_watchdog(struct http_transfer *t)
{
    int64_t due_us = t->moved_us + (int64_t)t->client->config.stall_timeout_ms * 1000;
    int64_t delay_us;

    ASSERT(t->call != NULL);
    if (t->call->timeout_ms > 0) {
        int64_t end_us = t->began_us + (int64_t)t->call->timeout_ms * 1000;

        due_us = end_us < due_us ? end_us : due_us;
    }
    delay_us = due_us - clock_monotonic_us();
    loop_timer_set(t->client->loop, &t->timer, delay_us > 0 ? delay_us : 0);
}

/* The connection is there and the request goes out now. */
static int on_connected(void *ctx, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    struct http_transfer *t = ctx;

    ASSERT(t->call != NULL);
    (void)remote_ip, (void)local_ip, (void)remote_port, (void)local_port;
    t->moved_us = clock_monotonic_us();
    if (t->began_us == 0)
        t->began_us = t->moved_us;
    http_transfer_watchdog(t);
    return CURL_PREREQFUNC_OK;
}

/* ---- request body ---- */

static size_t on_read(char *buf, size_t size, size_t n, void *ctx)
{
    struct http_transfer *t = ctx;
    size_t room = size * n;
    size_t done = 0;

    ASSERT(t->call != NULL);
    while (done < room && t->part < t->call->body_parts) {
        const struct iovec *v = &t->call->body[t->part];
        size_t left = v->iov_len - t->part_offset;
        size_t take = left < room - done ? left : room - done;

        if (take > 0)
            memcpy(buf + done, (const char *)v->iov_base + t->part_offset, take);
        done += take;
        t->part_offset += take;
        if (t->part_offset == v->iov_len) {
            t->part++;
            t->part_offset = 0;
        }
    }
    t->moved_us = clock_monotonic_us();
    return done;
}

/* curl rewinds when a kept connection turns out to be dead. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct http_transfer *t = ctx;
    uint64_t left = (uint64_t)offset;

    ASSERT(t->call != NULL);
    if (origin != SEEK_SET || offset < 0 || left > t->call->body_bytes)
        return CURL_SEEKFUNC_FAIL;
    t->part = 0;
    while (t->part < t->call->body_parts && left >= t->call->body[t->part].iov_len)
        left -= t->call->body[t->part++].iov_len;
    t->part_offset = (size_t)left;
    return CURL_SEEKFUNC_OK;
}

/* ---- answer ---- */

static bool body_reserve(struct http_transfer *t, size_t len)
{
    size_t size = t->body_size == 0 ? ANSWER_FIRST : t->body_size;
    char *body;

    ASSERT(len <= HTTP_ANSWER_BYTES_MAX);
    while (size < len)
        size *= 2;
    if (size == t->body_size)
        return true;
    body = realloc(t->body, size + JSON_PADDING_BYTES);
    if (body == NULL)
        return false;
    t->body = body;
    t->body_size = size;
    return true;
}

static size_t on_write(char *data, size_t size, size_t n, void *ctx)
{
    struct http_transfer *t = ctx;
    size_t len = size * n;

    ASSERT(t->call != NULL);
    t->moved_us = clock_monotonic_us();
    if (len > HTTP_ANSWER_BYTES_MAX - t->body_len) {
        t->too_long = true;
        return 0;
    }
    if (len > 0 && !body_reserve(t, t->body_len + len)) {
        t->no_memory = true;
        return 0;
    }
    if (len > 0)
        memcpy(t->body + t->body_len, data, len);
    t->body_len += len;
    return len;
}

/* The value of a header line "Name: value\r\n" if it has this name. */
static bool header_is(const char *line, size_t len, const char *name, struct span *value)
{
    size_t n = strlen(name);

    ASSERT(n > 0);
    if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
        return false;
    line += n + 1;
    len -= n + 1;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' '))
        len--;
    *value = (struct span){.ptr = line, .len = len};
    return true;
}

static void header_keep(struct span value, char *out, size_t size)
{
    ASSERT(size > 0);
    if (value.len >= size)
        return;
    memcpy(out, value.ptr, value.len);
    out[value.len] = '\0';
}

static int64_t header_seconds(struct span value)
{
    int64_t s = 0;

    ASSERT(value.ptr != NULL);
    if (value.len == 0 || value.len > 9)
        return -1;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return -1; /* the date form: our own delay will do */
        s = 10 * s + (value.ptr[i] - '0');
    }
    return s;
}

static void answer_reset(struct http_transfer *t)
{
    ASSERT(t != NULL);
    t->body_len = 0;
    t->too_long = false;
    t->no_memory = false;
    t->retry_after_s = -1;
    t->location[0] = '\0';
    t->range[0] = '\0';
    t->flavor[0] = '\0';
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
    struct http_transfer *t = ctx;
    size_t len = size * n;
    struct span value;

    ASSERT(t->call != NULL);
    t->moved_us = clock_monotonic_us();
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
        answer_reset(t); /* a 1xx came before */
    else if (header_is(line, len, "retry-after", &value))
        t->retry_after_s = header_seconds(value);
    else if (header_is(line, len, "location", &value))
        header_keep(value, t->location, sizeof(t->location));
    else if (header_is(line, len, "range", &value))
        header_keep(value, t->range, sizeof(t->range));
    else if (header_is(line, len, "metadata-flavor", &value))
        header_keep(value, t->flavor, sizeof(t->flavor));
    return len;
}

void http_transfer_answer(struct http_transfer *t, CURLcode code, const char *why,
                          struct http_answer *out)
{
    long status = 0;

    ASSERT(out != NULL);
    *out = (struct http_answer){.body = {.ptr = no_body}, .retry_after_s = -1};
    if (code != CURLE_OK) {
        if (why != NULL)
            out->error = why;
        else if (t->too_long)
            out->error = "the answer is longer than 4 MiB";
        else if (t->no_memory)
            out->error = "out of memory";
        else
            out->error = t->error[0] != '\0' ? t->error : curl_easy_strerror(code);
        return;
    }
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    out->status = (int)status;
    if (status == 0)
        out->error = "no HTTP answer";
    if (t->body_len > 0) {
        memset(t->body + t->body_len, 0, JSON_PADDING_BYTES);
        out->body = (struct span){.ptr = t->body, .len = t->body_len};
    }
    out->retry_after_s = t->retry_after_s;
    out->location = span_of(t->location);
    out->range = span_of(t->range);
    out->flavor = span_of(t->flavor);
}

/* ---- set-up ---- */

static bool url_is_loopback(const char *url)
{
    static const char *const hosts[] = {"127.", "localhost:", "localhost/", "[::1]"};
    const char *host = strstr(url, "://");

    ASSERT(url != NULL);
    if (host == NULL)
        return false;
    host += 3;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        if (strncasecmp(host, hosts[i], strlen(hosts[i])) == 0)
            return true;
    }
    return strcasecmp(host, "localhost") == 0;
}

static bool headers_build(struct http_transfer *t, const struct http_call *call)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    const char *const *h = call->headers;

    ASSERT(t->headers == NULL);
    for (; list != NULL && h != NULL && *h != NULL; h++) {
        struct curl_slist *longer = curl_slist_append(list, *h);

        if (longer == NULL)
            curl_slist_free_all(list);
        list = longer;
    }
    t->headers = list;
    return list != NULL;
}

static void set_method(CURL *e, const struct http_call *call)
{
    ASSERT(call->method != NULL);
    if (call->body_parts > 0 || strcmp(call->method, "POST") == 0 ||
        strcmp(call->method, "PUT") == 0) {
        curl_easy_setopt(e, CURLOPT_POST, 1L);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_bytes);
    }
    if (strcmp(call->method, "GET") != 0 && strcmp(call->method, "POST") != 0)
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, call->method);
}

static void set_callbacks(struct http_transfer *t)
{
    CURL *e = t->easy;

    ASSERT(e != NULL);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(e, CURLOPT_READDATA, t);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
}

static void set_network(CURL *e, const struct http_config *config, const struct http_call *call)
{
    uint32_t connect_ms =
        call->connect_timeout_ms > 0 ? call->connect_timeout_ms : config->connect_timeout_ms;

    ASSERT(e != NULL);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BYTES);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
    if (call->direct || url_is_loopback(call->url))
        curl_easy_setopt(e, CURLOPT_PROXY, ""); /* whatever the environment says */
}

int http_transfer_prepare(struct http_transfer *t, struct http_call *call)
{
    const struct http_config *config = &t->client->config;
    CURL *e = t->easy;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < call->body_parts; i++)
        bytes += call->body[i].iov_len;
    ASSERT(bytes == call->body_bytes);
    t->call = call;
    t->began_us = 0;
    t->doomed = false;
    t->part = 0;
    t->part_offset = 0;
    t->error[0] = '\0';
    answer_reset(t);
    if (!headers_build(t, call))
        return -ENOMEM;
    set_callbacks(t);
    set_network(e, config, call);
    set_method(e, call);
    if (curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers) != CURLE_OK ||
        curl_easy_setopt(e, CURLOPT_URL, call->url) != CURLE_OK)
        return -ENOMEM;
    if (config->user_agent != NULL &&
        curl_easy_setopt(e, CURLOPT_USERAGENT, config->user_agent) != CURLE_OK)
        return -ENOMEM;
    if (config->ca_file != NULL && curl_easy_setopt(e, CURLOPT_CAINFO, config->ca_file) != CURLE_OK)
        return -ENOMEM;
    return 0;
}

/* ---- pool ---- */

struct http_transfer *http_transfer_acquire(struct http_client *c)
{
    struct http_transfer *t = c->idle;

    ASSERT(!c->closing);
    if (t != NULL) {
        c->idle = t->next;
        c->n_idle--;
        t->next = NULL;
        return t;
    }
    t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->client = c;
    t->timer.fire = on_watchdog;
    t->easy = curl_easy_init();
    if (t->easy == NULL) {
        free(t);
        return NULL;
    }
    return t;
}

void http_transfer_release(struct http_transfer *t)
{
    struct http_client *c = t->client;

    ASSERT(t->call == NULL && t->prev == NULL && t->next == NULL);
    curl_easy_reset(t->easy); /* keeps nothing of the call; connections live in the multi handle */
    curl_slist_free_all(t->headers);
    t->headers = NULL;
    if (t->body_size > ANSWER_KEEP) {
        free(t->body);
        t->body = NULL;
        t->body_size = 0;
    }
    if (c->n_idle == HTTP_POOL_MAX) {
        http_transfer_destroy(t);
        return;
    }
    t->next = c->idle;
    c->idle = t;
    c->n_idle++;
}

void http_transfer_destroy(struct http_transfer *t)
{
    ASSERT(t->call == NULL);
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    free(t->body);
    free(t);
}
