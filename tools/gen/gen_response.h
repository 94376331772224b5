/*
 * HOT. Reads one HTTP/1.1 response, in as many pieces as the network gives it in. Understands
 * Content-Length, chunked bodies, bodies that end with the connection, and interim 1xx answers.
 */
#ifndef GEN_RESPONSE_H
#define GEN_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GEN_RESPONSE_LINE_MAX = 1024, /* longest status, header or chunk-size line */
    GEN_RESPONSE_BODY_KEPT =
        4096, /* start of the body that is kept; the counters come first in it */
};

enum gen_response_state {
    GEN_RESPONSE_STATUS,
    GEN_RESPONSE_HEADER,
    GEN_RESPONSE_BODY,       /* _left bytes more */
    GEN_RESPONSE_BODY_CLOSE, /* until the connection ends */
    GEN_RESPONSE_CHUNK_SIZE,
    GEN_RESPONSE_CHUNK_DATA, /* _left bytes more */
    GEN_RESPONSE_CHUNK_END,
    GEN_RESPONSE_TRAILER,
    GEN_RESPONSE_DONE,
    GEN_RESPONSE_BAD, /* not HTTP/1.x, or a line or number out of range */
};

struct gen_response {
    enum gen_response_state state;
    int status;        /* 100..599 once the status line is read, else 0 */
    bool close;        /* the server closes the connection after this response */
    int retry_after_s; /* from Retry-After in seconds; -1: none, or a date */
    size_t body_kept_bytes;
    bool _chunked;
    bool _has_length;
    uint64_t _left;
    size_t _line_bytes;
    char _line[GEN_RESPONSE_LINE_MAX];
    char body[GEN_RESPONSE_BODY_KEPT];
};

/**
 * Makes r ready for the next response.
 * Thread: the owner of r.  Alloc: none.
 */
void gen_response_reset(struct gen_response *r);

/**
 * Takes received bytes. Stops at the end of the response: r->state is then DONE or BAD.
 * Thread: the owner of r.  Alloc: none.
 * @return bytes taken; less than count only when DONE or BAD.
 */
size_t gen_response_feed(struct gen_response *r, const char *bytes, size_t count);

/**
 * Says that the connection has ended.
 * Thread: the owner of r.  Alloc: none.
 * @return true when that completes the response.
 */
bool gen_response_end(struct gen_response *r);

/**
 * Reads member key of the JSON object at the start of the kept body, as an unsigned number.
 * Thread: any.  Alloc: none.
 * @return the number; 0 when there is none.
 */
uint64_t gen_response_number(const struct gen_response *r, const char *key);

#endif
