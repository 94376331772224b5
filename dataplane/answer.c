/*
 * HOT. HTTP answers, written into the connection's own memory. A body is written first and its
 * head in front of it, so that nothing is formatted twice and no length is guessed.
 */
#include <stdio.h>

#include "dataplane/event/timeval.h"
#include "dataplane/worker_internal.h"

#define JSON_TYPE "Content-Type: application/json\r\n"
#define RETRY     "Retry-After: 1\r\n"
#define CHALLENGE "WWW-Authenticate: Bearer realm=\"penstock\""
#define DECIMAL   20 /* digits of a uint64_t */

/* What a refusal looks like on the wire. */
struct refusal {
    int status;
    const char *phrase;
    const char *header; /* whole lines, or "" */
};

/* Text under way; what does not fit is a mistake of ours. */
struct text {
    char *at, *end;
};

static void put_bytes(struct text *t, const char *bytes, size_t len)
{
    ASSERT(len <= (size_t)(t->end - t->at));
    memcpy(t->at, bytes, len);
    t->at += len;
}

static void put(struct text *t, const char *s)
{
    put_bytes(t, s, strlen(s));
}

static void put_number(struct text *t, uint64_t v)
{
    char digits[DECIMAL];
    size_t n = sizeof(digits);

    do {
        digits[--n] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    put_bytes(t, digits + n, sizeof(digits) - n);
}

static struct refusal refusal_of(enum reason reason)
{
    switch (reason) {
    case REASON_UNAUTHORIZED:
        return (struct refusal){401, "Unauthorized", CHALLENGE "\r\n"};
    case REASON_BAD_TOKEN:
        return (struct refusal){401, "Unauthorized", CHALLENGE ", error=\"invalid_token\"\r\n"};
    case REASON_RATE_LIMITED: /* its Retry-After is a number */
        return (struct refusal){429, "Too Many Requests", ""};
    case REASON_TYPE_REFUSED:
    case REASON_ORIGIN_REFUSED:
        return (struct refusal){403, "Forbidden", ""};
    case REASON_NOT_FOUND:
        return (struct refusal){404, "Not Found", ""};
    case REASON_BAD_METHOD:
        return (struct refusal){405, "Method Not Allowed", "Allow: OPTIONS, POST\r\n"};
    case REASON_TIMEOUT:
        return (struct refusal){408, "Request Timeout", ""};
    case REASON_BAD_LENGTH:
        return (struct refusal){411, "Length Required", ""};
    case REASON_BODY_TOO_BIG:
    case REASON_TOO_MANY_EVENTS:
        return (struct refusal){413, "Content Too Large", ""};
    case REASON_BAD_MEDIA_TYPE:
        return (struct refusal){415, "Unsupported Media Type",
                                "Accept: application/json, application/x-ndjson\r\n"
                                "Accept-Encoding: gzip, zstd\r\n"};
    case REASON_JOURNAL_FULL:
        return (struct refusal){429, "Too Many Requests", RETRY};
    case REASON_TYPE_PARKED: /* somebody has to help first */
        return (struct refusal){429, "Too Many Requests", "Retry-After: 30\r\n"};
    case REASON_HEADER_TOO_BIG:
        return (struct refusal){431, "Request Header Fields Too Large", ""};
    case REASON_BLOCKS_BUSY:
    case REASON_NO_LEASE:
    case REASON_DISK_ERROR:
    case REASON_DRAINING:
        return (struct refusal){503, "Service Unavailable", RETRY};
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

/* What lets the script of a page read the answer. */
static void put_cors(const struct worker *w, const struct connection *c, struct text *t)
{
    const struct worker_cors *cors = &w->config.cors;

    if (cors->n_origins == 0)
        return;
    if (c->origin != NULL) {
        put(t, "Access-Control-Allow-Origin: ");
        put(t, c->origin);
        put(t, "\r\nAccess-Control-Expose-Headers: Retry-After, WWW-Authenticate\r\n");
    }
    if (!cors->any)
        put(t, "Vary: Origin\r\n");
}

/* Status line and the fields that every answer has. */
static void put_start(const struct worker *w, const struct connection *c, int status,
                      const char *phrase, struct text *t)
{
    ASSERT_HOT(status >= 100 && status < 600);
    put_bytes(t, "HTTP/1.1 ", 9);
    put_number(t, (uint64_t)status);
    put_bytes(t, " ", 1);
    put(t, phrase);
    put_bytes(t, "\r\n", 2);
    put_bytes(t, w->date, sizeof(w->date));
    put_cors(w, c, t);
    if (c->close_after)
        put(t, "Connection: close\r\n");
    else if (c->request.minor == 0) /* kept because the client has asked for it */
        put(t, "Connection: keep-alive\r\n");
}

/* The answer is what lies in out; a client that asked for the head alone gets that. */
static void answer_is(struct connection *c, const char *out, struct text *t, struct span body)
{
    put_bytes(t, "Content-Length: ", 16);
    put_number(t, body.len);
    put_bytes(t, "\r\n\r\n", 4);
    if (c->request.method != HTTP_METHOD_HEAD)
        put_bytes(t, body.ptr, body.len);
    c->out = out;
    c->out_len = (uint32_t)(t->at - out);
    c->out_sent = 0;
}

void answer_refused(struct worker *w, struct connection *c, enum reason reason, const char *detail)
{
    struct refusal r = refusal_of(reason);
    struct text t = {c->answer, c->answer + sizeof(c->answer)};
    char body[ANSWER_BYTES / 2];
    int len;

    ASSERT(reason != REASON_NONE);
    len = snprintf(body, sizeof(body),
                   "{\"error\":{\"code\":%d,\"reason\":\"%s\",\"message\":\"%s%s%s\"}}\n", r.status,
                   reason_name(reason), reason_text(reason), detail[0] != 0 ? ": " : "", detail);
    ASSERT(len > 0 && (size_t)len < sizeof(body));
    put_start(w, c, r.status, r.phrase, &t);
    put(&t, r.header);
    if (reason == REASON_RATE_LIMITED) {
        put(&t, "Retry-After: ");
        put_number(&t, w->retry_after_s);
        put(&t, "\r\n");
    }
    put(&t, JSON_TYPE);
    answer_is(c, c->answer, &t, (struct span){body, (size_t)len});
    stat_add(&w->stats.reason[reason], 1);
    count_status(w, r.status);
}

void answer_health(struct worker *w, struct connection *c)
{
    struct text t = {c->answer, c->answer + sizeof(c->answer)};

    ASSERT(!worker_draining(w));
    put_start(w, c, 200, "OK", &t);
    put(&t, "Content-Type: text/plain\r\nCache-Control: no-store\r\n");
    answer_is(c, c->answer, &t, span_of("ok\n"));
    count_status(w, 200);
}

void answer_options(struct worker *w, struct connection *c)
{
    struct text t = {c->answer, c->answer + sizeof(c->answer)};

    put_start(w, c, 204, "No Content", &t);
    put(&t, "Allow: OPTIONS, POST\r\n");
    if (c->origin != NULL) { /* a browser asks before it sends; no field can do harm here */
        put(&t, "Access-Control-Allow-Methods: POST\r\n"
                "Access-Control-Allow-Headers: Authorization, *\r\n"
                "Access-Control-Max-Age: ");
        put_number(&t, w->config.cors.max_age_s);
        put(&t, "\r\n");
    }
    put(&t, "\r\n");
    c->out = c->answer;
    c->out_len = (uint32_t)(t.at - c->answer);
    c->out_sent = 0;
    count_status(w, 204);
}

/* `{"accepted":3,"dead_lettered":0,`, and what most clients never meet. */
static void put_counts(const struct ingest_result *r, struct text *t)
{
    put(t, "{\"accepted\":");
    put_number(t, r->accepted);
    put(t, ",\"dead_lettered\":");
    put_number(t, r->dead_lettered);
    if (r->sampled_out > 0) {
        put(t, ",\"sampled_out\":");
        put_number(t, r->sampled_out);
    }
}

/* The list of errors as JSON; INGEST_ERRORS_MAX of them fit. */
static void put_errors(const struct ingest_result *r, struct text *t)
{
    for (uint32_t i = 0; i < r->n_errors; i++) {
        put(t, i > 0 ? ",{\"index\":" : "{\"index\":");
        put_number(t, r->error[i].index);
        put(t, ",\"reason\":\"");
        put(t, reason_name(r->error[i].reason));
        put(t, "\"}");
    }
}

/* With errors: a big buffer if there is one, otherwise only their number. */
static COLD_PATH void answer_list(struct worker *w, struct connection *c,
                                  const struct ingest_result *r)
{
    char body[LIST_BYTES - ANSWER_BYTES / 2], *out = c->answer;
    struct text b = {body, body + sizeof(body)}, t = {c->answer, c->answer + sizeof(c->answer)};
    uint32_t listed = 0;

    put_counts(r, &b);
    put(&b, ",\"errors\":[");
    if (w->n_free_lists > 0) {
        out = c->list = w->free_list[--w->n_free_lists];
        t = (struct text){out, out + LIST_BYTES};
        put_errors(r, &b);
        listed = r->n_errors;
    }
    put(&b, "]");
    ASSERT(listed <= r->dead_lettered);
    if (listed < r->dead_lettered) {
        put(&b, ",\"errors_omitted\":");
        put_number(&b, r->dead_lettered - listed);
    }
    put(&b, "}\n");
    put_start(w, c, 200, "OK", &t);
    put(&t, JSON_TYPE);
    answer_is(c, out, &t, (struct span){body, (size_t)(b.at - body)});
}

void answer_accepted(struct worker *w, struct connection *c, const struct ingest_result *r)
{
    struct text t = {c->answer, c->answer + sizeof(c->answer)};
    char body[128];
    struct text b = {body, body + sizeof(body)};

    ASSERT(r->refused == REASON_NONE);
    count_status(w, 200);
    if (r->dead_lettered > 0) {
        answer_list(w, c, r);
        return;
    }
    put_counts(r, &b);
    put(&b, ",\"errors\":[]}\n");
    put_start(w, c, 200, "OK", &t);
    put_bytes(&t, JSON_TYPE, sizeof(JSON_TYPE) - 1);
    answer_is(c, c->answer, &t, (struct span){body, (size_t)(b.at - body)});
}

void answer_release(struct worker *w, struct connection *c)
{
    if (c->list == NULL)
        return;
    w->free_list[w->n_free_lists++] = c->list;
    c->list = NULL;
    ASSERT(w->n_free_lists <= LISTS);
}

void answer_date(struct worker *w, int64_t wall_us)
{
    static const char days[] = "ThuFriSatSunMonTueWed",
                      months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char line[] = "Date: DDD, DD MMM YYYY HH:MM:SS GMT\r\n", text[TIME_TEXT_BYTES];
    int64_t s = wall_us / 1000000;

    static_assert(sizeof(line) - 1 == ANSWER_DATE_BYTES, "date[] holds it");
    if (s == w->date_s)
        return;
    ASSERT(s > 0);
    w->date_s = s;
    time_format(wall_us, text); /* 2026-11-21T07:42:14 */
    memcpy(line + 6, days + 3 * (time_days(wall_us) % 7), 3);
    memcpy(line + 11, text + 8, 2);
    memcpy(line + 14, months + 3 * ((text[5] - '0') * 10 + text[6] - '0' - 1), 3);
    memcpy(line + 18, text, 4);
    memcpy(line + 23, text + 11, 8);
    memcpy(w->date, line, sizeof(w->date));
}
