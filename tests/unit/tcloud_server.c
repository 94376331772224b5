/* COLD. The scripted server: a thread that accepts, one more for each connection. */
#include "tests/unit/tcloud_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/base/compiler.h"

#define CONNECTIONS_MAX 128
#define HEAD_MAX        8192

struct tcloud_server {
    const struct tcloud_step *steps;
    uint32_t n_steps;
    int listen_fd;
    char url[64];
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_t connection[CONNECTIONS_MAX];
    uint32_t n_connections;
    uint32_t n_seen;
    uint32_t n_cancels;
    struct tcloud_seen *seen;
    _Atomic bool stopping;
};

struct connection {
    struct tcloud_server *server;
    int fd;
    char buf[HEAD_MAX];
    size_t len; /* read ahead */
};

static bool readable(struct connection *c)
{
    while (!atomic_load(&c->server->stopping)) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};

        if (poll(&p, 1, 20) > 0)
            return true;
    }
    return false;
}

static ssize_t take(struct connection *c, char *out, size_t len)
{
    size_t n = c->len < len ? c->len : len;

    if (n > 0) {
        memcpy(out, c->buf, n);
        memmove(c->buf, c->buf + n, c->len - n);
        c->len -= n;
        return (ssize_t)n;
    }
    return readable(c) ? recv(c->fd, out, len, 0) : -1;
}

static void say(struct connection *c, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = send(c->fd, text, len, MSG_NOSIGNAL);

        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

/* Reads up to the empty line. */
static bool read_head(struct connection *c, struct tcloud_seen *seen)
{
    char head[HEAD_MAX];
    size_t len = 0;
    char *end = NULL;

    while (end == NULL) {
        ssize_t n;

        if (len + 1 >= sizeof(head))
            return false;
        n = take(c, head + len, sizeof(head) - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        head[len] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    end += 4;
    ASSERT(c->len == 0);
    c->len = len - (size_t)(end - head);
    memcpy(c->buf, end, c->len);
    *end = '\0';
    if (sscanf(head, "%15s %1023s", seen->method, seen->path) != 2)
        return false;
    snprintf(seen->headers, sizeof(seen->headers), "%.4000s", head);
    return true;
}

static size_t content_length(const struct tcloud_seen *seen)
{
    const char *h = strcasestr(seen->headers, "\r\ncontent-length:");

    return h == NULL ? 0 : strtoul(h + 17, NULL, 10);
}

static bool read_body(struct connection *c, struct tcloud_seen *seen, size_t stop_after)
{
    size_t want = content_length(seen);
    char chunk[16384];

    if (want > stop_after)
        want = stop_after;
    while (seen->body_len < want) {
        size_t left = want - seen->body_len;
        ssize_t n = take(c, chunk, left < sizeof(chunk) ? left : sizeof(chunk));
        size_t at = seen->body_len;

        if (n <= 0)
            return false;
        if (at < TCLOUD_BODY_KEPT - 1) {
            size_t room = TCLOUD_BODY_KEPT - 1 - at;

            memcpy(seen->body + at, chunk, (size_t)n < room ? (size_t)n : room);
        }
        seen->body_len += (size_t)n;
    }
    return true;
}

static void answer(struct connection *c, const struct tcloud_step *s, size_t promised)
{
    const char *body = s->body != NULL ? s->body : "";
    char head[2048];
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n%s\r\n",
                     s->status, promised, s->headers != NULL ? s->headers : "");

    say(c, head, (size_t)n);
    say(c, body, strlen(body));
}

static void reset(struct connection *c)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};

    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static void endless(struct connection *c)
{
    static char zeros[65536];

    say(c, "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n", 45);
    for (int i = 0; i < 128; i++)
        say(c, zeros, sizeof(zeros));
}

/* @return whether the connection goes on. */
static bool act(struct connection *c, const struct tcloud_step *s)
{
    size_t len = s->body != NULL ? strlen(s->body) : 0;

    switch (s->act) {
    case TCLOUD_SLOW:
        usleep(150000);
        answer(c, s, len);
        return true;
    case TCLOUD_ANSWER:
        answer(c, s, len);
        return true;
    case TCLOUD_CLOSE:
        answer(c, s, len);
        return false;
    case TCLOUD_TRUNCATE:
        answer(c, s, 2 * len + 1);
        return false;
    case TCLOUD_STALL:
        while (!atomic_load(&c->server->stopping))
            usleep(5000);
        return false;
    case TCLOUD_ENDLESS:
        endless(c);
        return false;
    case TCLOUD_RESET:
        reset(c);
        return false;
    case TCLOUD_LOSE:
        return false;
    }
    return false;
}

static bool serve_one(struct connection *c)
{
    static const struct tcloud_step past = {
        .act = TCLOUD_ANSWER, .status = 500, .body = "past the script"};
    static const struct tcloud_step cancelled = {.act = TCLOUD_ANSWER, .status = 499};
    struct tcloud_server *s = c->server;
    struct tcloud_seen *seen = calloc(1, sizeof(*seen));
    const struct tcloud_step *step = &past;
    bool on = false;

    ASSERT(seen != NULL);
    if (!read_head(c, seen)) {
        on = false;
    } else if (strcmp(seen->method, "DELETE") == 0 && strstr(seen->path, "upload_id=") != NULL) {
        pthread_mutex_lock(&s->lock);
        s->n_cancels++;
        pthread_mutex_unlock(&s->lock);
        on = act(c, &cancelled);
    } else {
        pthread_mutex_lock(&s->lock);
        uint32_t i = s->n_seen;
        ASSERT(i < TCLOUD_REQUESTS_MAX);
        s->n_seen++;
        pthread_mutex_unlock(&s->lock);
        if (i < s->n_steps)
            step = &s->steps[i];
        on = read_body(c, seen, step->act == TCLOUD_RESET ? 1024 : SIZE_MAX);
        pthread_mutex_lock(&s->lock);
        s->seen[i] = *seen;
        pthread_mutex_unlock(&s->lock);
        on = act(c, step) && on;
    }
    free(seen);
    return on;
}

static void *serve(void *ctx)
{
    struct connection *c = ctx;

    while (serve_one(c))
        ;
    close(c->fd);
    free(c);
    return NULL;
}

static void *accept_all(void *ctx)
{
    struct tcloud_server *s = ctx;

    while (!atomic_load(&s->stopping)) {
        struct pollfd p = {.fd = s->listen_fd, .events = POLLIN};
        struct connection *c;

        if (poll(&p, 1, 20) <= 0)
            continue;
        c = calloc(1, sizeof(*c));
        ASSERT(c != NULL && s->n_connections < CONNECTIONS_MAX);
        c->server = s;
        c->fd = accept(s->listen_fd, NULL, NULL);
        pthread_mutex_lock(&s->lock);
        pthread_create(&s->connection[s->n_connections++], NULL, serve, c);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

struct tcloud_server *tcloud_server_start(const struct tcloud_step *steps, uint32_t n_steps)
{
    struct tcloud_server *s = calloc(1, sizeof(*s));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);

    ASSERT(s != NULL);
    s->steps = steps;
    s->n_steps = n_steps;
    s->seen = calloc(TCLOUD_REQUESTS_MAX, sizeof(*s->seen));
    ASSERT(s->seen != NULL);
    pthread_mutex_init(&s->lock, NULL);
    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(bind(s->listen_fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    ASSERT(listen(s->listen_fd, 64) == 0);
    getsockname(s->listen_fd, (struct sockaddr *)&a, &len);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", (unsigned)ntohs(a.sin_port));
    pthread_create(&s->thread, NULL, accept_all, s);
    return s;
}

const char *tcloud_server_url(const struct tcloud_server *s)
{
    return s->url;
}

uint32_t tcloud_server_count(struct tcloud_server *s)
{
    uint32_t n;

    pthread_mutex_lock(&s->lock);
    n = s->n_seen;
    pthread_mutex_unlock(&s->lock);
    return n;
}

uint32_t tcloud_server_connections(struct tcloud_server *s)
{
    uint32_t n;

    pthread_mutex_lock(&s->lock);
    n = s->n_connections;
    pthread_mutex_unlock(&s->lock);
    return n;
}

uint32_t tcloud_server_cancels(struct tcloud_server *s)
{
    uint32_t n;

    pthread_mutex_lock(&s->lock);
    n = s->n_cancels;
    pthread_mutex_unlock(&s->lock);
    return n;
}

const struct tcloud_seen *tcloud_server_seen(struct tcloud_server *s, uint32_t i)
{
    ASSERT(i < tcloud_server_count(s));
    return &s->seen[i];
}

void tcloud_server_stop(struct tcloud_server *s)
{
    atomic_store(&s->stopping, true);
    pthread_join(s->thread, NULL);
    for (uint32_t i = 0; i < s->n_connections; i++)
        pthread_join(s->connection[i], NULL);
    close(s->listen_fd);
    pthread_mutex_destroy(&s->lock);
    free(s->seen);
    free(s);
}
