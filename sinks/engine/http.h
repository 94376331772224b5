/*
 * HTTP calls out: libcurl's multi interface on a loop. Connections are kept, HTTP/2 is used where
 * TLS offers it, and answers are bounded in memory.
 */
#ifndef PENSTOCK_ENGINE_HTTP_H
#define PENSTOCK_ENGINE_HTTP_H

#include <sys/uio.h>

#include "dataplane/base/span.h"
#include "sinks/engine/loop.h"

#define HTTP_ANSWER_BYTES_MAX ((size_t)4 << 20) /* longer answers fail the call */

struct http_client;

struct http_config {
    uint32_t connections_max; /* open at once, per host */
    uint32_t connect_timeout_ms;
    uint32_t stall_timeout_ms; /* no byte either way for this long fails the call */
    const char *user_agent;
    const char *ca_file; /* NULL: the system's */
};

/** What came back. Spans live until done returns; JSON_PADDING_BYTES behind the body are readable.
 */
struct http_answer {
    int status;        /* HTTP status; 0 when there was none */
    const char *error; /* NULL, or why there is no status: "connection refused" */
    struct span body;
    int64_t retry_after_s; /* Retry-After in seconds, or -1 */
    struct span location;  /* Location header */
    struct span range;     /* Range header (308) */
    struct span flavor;    /* Metadata-Flavor header */
};

/** One call, embedded in its owner, which keeps everything it points to until done. Zero it before
 * filling. */
struct http_call {
    const char *method; /* "GET", "POST", ... */
    const char *url;
    const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
    const struct iovec *body;   /* sent in order, never copied as a whole; may be NULL */
    uint32_t body_parts;
    uint64_t body_bytes;
    uint32_t timeout_ms;         /* from the connection on; 0: stall_timeout only */
    uint32_t connect_timeout_ms; /* 0: the client's */
    bool direct;                 /* through no proxy, whatever the environment says */
    void (*done)(struct http_call *c, const struct http_answer *a);
    void *_handle;
};

/** Creates a client on a loop. Thread: the loop's, or init before it runs. @return 0 or -errno. */
int http_client_create(struct loop *l, const struct http_config *config,
                       struct http_client **out) WARN_UNUSED;

/** Cancels every call (their done does not run) and frees the client; not from within a done. NULL
 * is allowed. */
void http_client_destroy(struct http_client *c);

/** Takes other timeouts and another number of connections: for calls that start from now on. */
void http_client_adjust(struct http_client *c, const struct http_config *config);

/** Starts a call. @return 0; or -errno, and done never runs. */
int http_call_start(struct http_client *c, struct http_call *call) WARN_UNUSED;

/** Ends a call without done. A call that is not under way is fine. */
void http_call_cancel(struct http_client *c, struct http_call *call);

#endif
