/* The parts of the HTTP client. Private to the engine. */
#ifndef PENSTOCK_ENGINE_HTTP_INTERNAL_H
#define PENSTOCK_ENGINE_HTTP_INTERNAL_H

#include <curl/curl.h>

#include "dataplane/json/json.h"
#include "sinks/engine/http.h"

#define HTTP_HEADER_BYTES_MAX 4096 /* of a header that is kept; longer ones count as absent */
#define HTTP_POOL_MAX         64   /* idle transfers kept */

/** One call's way through curl. Kept in a pool between calls with its easy handle and answer
 * buffer. */
struct http_transfer {
    struct http_client *client;
    struct http_call *call;            /* NULL: idle */
    struct http_transfer *prev, *next; /* among active ones; next alone among idle ones */
    CURL *easy;
    struct curl_slist *headers;
    struct loop_timer timer; /* stall and whole-call limits */
    int64_t began_us;        /* connection there; 0 before */
    int64_t moved_us;        /* last byte either way */
    bool doomed;             /* ends because curl ran out of memory */

    uint32_t part; /* the body's read cursor */
    size_t part_offset;

    char *body; /* body_size + JSON_PADDING_BYTES */
    size_t body_len;
    size_t body_size;
    bool too_long;
    bool no_memory;
    int64_t retry_after_s;
    char location[HTTP_HEADER_BYTES_MAX];
    char range[64];
    char flavor[64];
    char error[CURL_ERROR_SIZE];
};

/** A socket of curl's, watched. */
struct http_socket {
    struct loop_watch watch;
    struct http_client *client;
    struct http_socket *prev, *next;
};

struct http_client {
    struct loop *loop;
    struct http_config config;
    CURLM *multi;
    struct loop_timer timer; /* curl's one timeout */
    struct http_transfer *active;
    struct http_transfer *idle;
    uint32_t n_idle;
    struct http_socket *sockets;
    bool closing;
};

/** Takes a transfer from the pool or makes one. @return NULL without memory. */
struct http_transfer *http_transfer_acquire(struct http_client *c);

/** Gives a transfer that is not in the multi handle back to the pool. */
void http_transfer_release(struct http_transfer *t);

/** Frees a transfer for good. */
void http_transfer_destroy(struct http_transfer *t);

/** Sets the easy handle up for a call. @return 0 or -ENOMEM. */
int http_transfer_prepare(struct http_transfer *t, struct http_call *call) WARN_UNUSED;

/** Fills an answer after curl's verdict; why overrides curl's words. */
void http_transfer_answer(struct http_transfer *t, CURLcode code, const char *why,
                          struct http_answer *out);

/** Arms the timer for the next of the limits; bytes moved. */
void http_transfer_watchdog(struct http_transfer *t);

/** Ends a call that is in the multi handle: runs done. why: NULL, or our own reason. */
void http_finish(struct http_transfer *t, CURLcode code, const char *why);

#endif
