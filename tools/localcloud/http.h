// One HTTP request as the handlers see it, and the ways to answer it. Handlers know nothing of the
// HTTP library; server.c alone does. Thread: the connection's thread owns its request.
#ifndef LOCALCLOUD_HTTP_H
#define LOCALCLOUD_HTTP_H

#include <jansson.h>

#include "tools/localcloud/util.h"

enum {
    LC_ARGS_MAX = 8,
    LC_HEADERS_MAX = 12,
};

struct lc_app;
struct lc_req;
struct lc_upload;

/** What a route does once the whole body is in. */
typedef void (*lc_handler)(struct lc_req *r);

struct lc_param {
    char *key;
    char *value;
};

struct lc_route {
    const char *method;
    const char *pattern; // path segments; "*" captures one
    lc_handler handler;
    bool upload; // the body streams into storage instead of memory
};

struct lc_req {
    struct lc_app *app;
    void *conn; // the HTTP library's connection, for server.c only
    char *method;
    char *uri; // as received, still percent-encoded
    char **segments;
    size_t segment_count;
    struct lc_param *params;
    size_t param_count;
    bool malformed; // the URI has a broken percent escape
    const struct lc_route *route;
    const char *args[LC_ARGS_MAX]; // captured segments, decoded
    struct lc_buf body;
    bool body_too_large;
    struct lc_upload *upload;

    bool started;
    bool cut;   // answer with nothing: reset the connection
    bool lose;  // do the work, then cut
    int status; // 0 until answered
    struct lc_buf reply;
    const char *reply_type;
    int reply_fd; // >= 0: the body is reply_fd_size bytes at reply_fd_offset
    uint64_t reply_fd_offset;
    uint64_t reply_fd_size;
    struct lc_param headers[LC_HEADERS_MAX];
    size_t header_count;
};

/** Value of a query parameter, NULL when it is not given. */
const char *lc_param(const struct lc_req *r, const char *key);

/** Request header, NULL when absent. (server.c) */
const char *lc_req_header(const struct lc_req *r, const char *name);

/** Address this server was reached at, e.g. "127.0.0.1:9050". */
const char *lc_req_host(const struct lc_req *r);

/** Answers with JSON and takes the reference. */
void lc_reply_json(struct lc_req *r, int status, json_t *body);

/** Answers with text of the given type (copied). */
void lc_reply_text(struct lc_req *r, int status, const char *type, const char *text);

/** Answers 204 or 304: no body. */
void lc_reply_empty(struct lc_req *r, int status);

/** Adds a response header; both strings are copied. */
void lc_reply_header(struct lc_req *r, const char *name, const char *value);

/** Answers with Google's error body. Replaces an answer that was set before. */
void lc_fail(struct lc_req *r, int status, const char *reason, const char *fmt, ...)
    LC_PRINTF(4, 5);

/** Google's error body. Owner: caller. */
json_t *lc_error_json(int status, const char *reason, const char *message);

/**
 * The request body as a JSON object; an empty body is an empty object.
 * Owner: caller. @return NULL after answering 400 (413 when it was too large).
 */
json_t *lc_body_json(struct lc_req *r);

/** String member of o, NULL when missing or not a string. */
const char *lc_json_str(const json_t *o, const char *key);

/**
 * Reads an int64 member given as a number or a decimal string.
 * @return 1 when read, 0 when absent or null, -1 when it is neither.
 */
int lc_json_i64(const json_t *o, const char *key, int64_t *out);

/** Sets o[key] to the decimal string of v, Google's form of an int64. */
void lc_json_set_i64(json_t *o, const char *key, int64_t v);

#endif
