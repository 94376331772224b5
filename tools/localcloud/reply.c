// Role: answers. Google's JSON error body, JSON and text replies, and reading JSON request bodies.
#include "tools/localcloud/http.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *lc_param(const struct lc_req *r, const char *key)
{
    for (size_t i = 0; i < r->param_count; i++)
        if (strcmp(r->params[i].key, key) == 0)
            return r->params[i].value;
    return NULL;
}

const char *lc_req_host(const struct lc_req *r)
{
    const char *host = lc_req_header(r, "Host");
    return host ? host : "localhost";
}

void lc_reply_json(struct lc_req *r, int status, json_t *body)
{
    assert(body);
    char *text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(body);
    lc_reply_text(r, status, "application/json; charset=UTF-8", text ? text : "{}");
    free(text);
}

void lc_reply_text(struct lc_req *r, int status, const char *type, const char *text)
{
    r->status = status;
    r->reply_type = type;
    r->reply.n = 0;
    lc_buf_str(&r->reply, text);
}

void lc_reply_empty(struct lc_req *r, int status)
{
    r->status = status;
    r->reply_type = NULL;
    r->reply.n = 0;
}

void lc_reply_header(struct lc_req *r, const char *name, const char *value)
{
    assert(r->header_count < LC_HEADERS_MAX);
    r->headers[r->header_count++] = (struct lc_param){lc_strdup(name), lc_strdup(value)};
}

static const char *status_name(int status)
{
    switch (status) {
    case 400:
        return "INVALID_ARGUMENT";
    case 401:
        return "UNAUTHENTICATED";
    case 403:
        return "PERMISSION_DENIED";
    case 404:
        return "NOT_FOUND";
    case 409:
        return "ALREADY_EXISTS";
    case 412:
        return "FAILED_PRECONDITION";
    case 429:
        return "RESOURCE_EXHAUSTED";
    case 501:
        return "UNIMPLEMENTED";
    case 503:
        return "UNAVAILABLE";
    default:
        return status >= 500 ? "INTERNAL" : "FAILED_PRECONDITION";
    }
}

json_t *lc_error_json(int status, const char *reason, const char *message)
{
    return json_pack("{s:{s:i,s:s,s:[{s:s,s:s,s:s}],s:s}}", "error", "code", status, "message",
                     message, "errors", "domain", "global", "reason", reason, "message", message,
                     "status", status_name(status));
}

void lc_fail(struct lc_req *r, int status, const char *reason, const char *fmt, ...)
{
    char message[2000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    size_t n = strlen(message);
    while (n &&
           !lc_utf8_valid(message, n)) // names in messages come from clients; a cut can split one
        message[--n] = 0;
    lc_reply_json(r, status, lc_error_json(status, reason, message));
}

json_t *lc_body_json(struct lc_req *r)
{
    if (r->body_too_large) {
        lc_fail(r, 413, "uploadTooLarge", "The request body is larger than this server takes.");
        return NULL;
    }
    if (r->body.n == 0)
        return json_object();
    json_error_t e;
    json_t *j = json_loadb(r->body.p, r->body.n, JSON_REJECT_DUPLICATES, &e);
    if (!j || !json_is_object(j)) {
        json_decref(j);
        lc_fail(r, 400, "parseError", "Parse Error: %s",
                j ? "the body is not a JSON object" : e.text);
        return NULL;
    }
    return j;
}

const char *lc_json_str(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

int lc_json_i64(const json_t *o, const char *key, int64_t *out)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v))
        return 0;
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return 1;
    }
    return json_is_string(v) && lc_parse_i64(json_string_value(v), out) ? 1 : -1;
}

void lc_json_set_i64(json_t *o, const char *key, int64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)v);
    json_object_set_new(o, key, json_string(text));
}
