/* HOT. HTTP answers, written into the connection's own memory. */
#include <stdio.h>

#include "dataplane/worker_internal.h"

/* What a refusal looks like on the wire. */
struct refusal {
    int status;
    const char *phrase;
    const char *header; /* whole line, or "" */
};

static struct refusal refusal_of(enum reason reason)
{
    static const char retry[] = "Retry-After: 1\r\n";

    switch (reason) {
    case REASON_NOT_FOUND:
        return (struct refusal){404, "Not Found", ""};
    case REASON_BAD_METHOD:
        return (struct refusal){405, "Method Not Allowed", "Allow: POST\r\n"};
    case REASON_TIMEOUT:
        return (struct refusal){408, "Request Timeout", ""};
    case REASON_BAD_LENGTH:
        return (struct refusal){411, "Length Required", ""};
    case REASON_BODY_TOO_BIG:
    case REASON_TOO_MANY_EVENTS:
        return (struct refusal){413, "Content Too Large", ""};
    case REASON_BAD_MEDIA_TYPE:
        return (struct refusal){415, "Unsupported Media Type", ""};
    case REASON_JOURNAL_FULL:
        return (struct refusal){429, "Too Many Requests", retry};
    case REASON_HEADER_TOO_BIG:
        return (struct refusal){431, "Request Header Fields Too Large", ""};
    case REASON_BLOCKS_BUSY:
    case REASON_NO_LEASE:
    case REASON_DISK_ERROR:
    case REASON_DRAINING:
        return (struct refusal){503, "Service Unavailable", retry};
    default:
        return (struct refusal){400, "Bad Request", ""};
    }
}

static void count_status(struct worker *w, int status)
{
    if (status < 400)
        stat_add(&w->stats.answers_2xx, 1);
    else
        stat_add(status < 500 ? &w->stats.answers_4xx : &w->stats.answers_5xx, 1);
}

static const char *connection_header(const struct connection *c)
{
    return c->close_after ? "Connection: close\r\n" : "";
}

void answer_refused(struct worker *w, struct connection *c, enum reason reason, const char *detail)
{
    struct refusal r = refusal_of(reason);
    char body[ANSWER_BYTES / 2];
    int body_len, n;

    ASSERT(reason != REASON_NONE);
    body_len = snprintf(
        body, sizeof(body), "{\"error\":{\"code\":%d,\"reason\":\"%s\",\"message\":\"%s%s%s\"}}\n",
        r.status, reason_name(reason), reason_text(reason), detail[0] != 0 ? ": " : "", detail);
    ASSERT(body_len > 0 && (size_t)body_len < sizeof(body));
    n = snprintf(
        c->answer, sizeof(c->answer),
        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s%s\r\n%s",
        r.status, r.phrase, body_len, r.header, connection_header(c), body);
    ASSERT(n > 0 && (size_t)n < sizeof(c->answer));
    c->out = c->answer;
    c->out_len = (uint32_t)n;
    c->out_sent = 0;
    stat_add(&w->stats.reason[reason], 1);
    count_status(w, r.status);
}

/* The list of errors as JSON, into a buffer that holds them all; returns its length. */
static size_t list_format(const struct ingest_result *r, char *out, size_t room)
{
    size_t len = 0;

    for (uint32_t i = 0; i < r->n_errors; i++) {
        int n = snprintf(out + len, room - len, "%s{\"index\":%u,\"reason\":\"%s\"}",
                         i > 0 ? "," : "", r->error[i].index, reason_name(r->error[i].reason));

        ASSERT(n > 0 && (size_t)n < room - len);
        len += (size_t)n;
    }
    return len;
}

/* `,"sampled_out":9`, or nothing: most clients never meet sampling. */
static void sampled_format(const struct ingest_result *r, char *out, size_t room)
{
    out[0] = '\0';
    if (r->sampled_out > 0) {
        int n = snprintf(out, room, ",\"sampled_out\":%u", r->sampled_out);

        ASSERT(n > 0 && (size_t)n < room);
    }
}

/* With errors: a big buffer if there is one, otherwise only their number. */
static COLD_PATH void answer_list(struct worker *w, struct connection *c,
                                  const struct ingest_result *r)
{
    char list[LIST_BYTES - 512] = "", omitted[48] = "", head[160], *out = c->answer, left_out[40];
    size_t room = sizeof(c->answer);
    uint32_t listed = 0;
    int n, body_len;

    if (w->n_free_lists > 0) {
        out = c->list = w->free_list[--w->n_free_lists];
        room = LIST_BYTES;
        list_format(r, list, sizeof(list));
        listed = r->n_errors;
    }
    if (listed < r->dead_lettered)
        snprintf(omitted, sizeof(omitted), ",\"errors_omitted\":%u", r->dead_lettered - listed);
    sampled_format(r, left_out, sizeof(left_out));
    n = snprintf(head, sizeof(head), "{\"accepted\":%u,\"dead_lettered\":%u%s,\"errors\":[",
                 r->accepted, r->dead_lettered, left_out);
    body_len = n + (int)strlen(list) + 1 + (int)strlen(omitted) + 2;
    n = snprintf(out, room,
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                 "%d\r\n%s\r\n%s%s]%s}\n",
                 body_len, connection_header(c), head, list, omitted);
    ASSERT(n > 0 && (size_t)n < room);
    c->out = out;
    c->out_len = (uint32_t)n;
}

void answer_accepted(struct worker *w, struct connection *c, const struct ingest_result *r)
{
    char body[128], left_out[40];
    int body_len, n;

    ASSERT(r->refused == REASON_NONE);
    c->out_sent = 0;
    count_status(w, 200);
    if (r->dead_lettered > 0) {
        answer_list(w, c, r);
        return;
    }
    sampled_format(r, left_out, sizeof(left_out));
    body_len =
        snprintf(body, sizeof(body), "{\"accepted\":%u,\"dead_lettered\":0%s,\"errors\":[]}\n",
                 r->accepted, left_out);
    n = snprintf(
        c->answer, sizeof(c->answer),
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
        body_len, connection_header(c), body);
    ASSERT(n > 0 && (size_t)n < sizeof(c->answer));
    c->out = c->answer;
    c->out_len = (uint32_t)n;
}

void answer_release(struct worker *w, struct connection *c)
{
    if (c->list == NULL)
        return;
    w->free_list[w->n_free_lists++] = c->list;
    c->list = NULL;
    ASSERT(w->n_free_lists <= LISTS);
}
