/*
 * HTTP/1.1 requests, parsed in place in a receive buffer: request line, headers, and chunked
 * bodies. No allocation, no copies but the chunk framing that is squeezed out of a body where it
 * lies. Follows RFC 9112; what could be read two ways by two servers (request smuggling) is
 * refused. Thread: any; a parser belongs to one connection.
 */
#ifndef PENSTOCK_INPUT_HTTP_PARSER_H
#define PENSTOCK_INPUT_HTTP_PARSER_H

#include <stdint.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

enum http_method {
    HTTP_METHOD_OTHER,
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
};

enum http_media { HTTP_MEDIA_NONE, HTTP_MEDIA_JSON, HTTP_MEDIA_NDJSON, HTTP_MEDIA_OTHER };
enum http_coding { HTTP_CODING_IDENTITY, HTTP_CODING_GZIP, HTTP_CODING_ZSTD, HTTP_CODING_OTHER };

/** The head of a request. Spans point into the buffer that was parsed. */
struct http_request {
    enum http_method method;
    enum http_media
        media; /* Content-Type: application/json, application/x-ndjson (and its aliases) */
    enum http_coding coding; /* Content-Encoding */
    uint8_t minor;           /* HTTP/1.minor */
    bool keep_alive;
    bool chunked;
    bool expect_continue;
    bool has_length;
    uint64_t content_length;
    uint32_t head_len; /* bytes of request line and headers, the empty line included */
    struct span path;  /* percent-encoded, as sent, without the query */
    struct span query; /* without '?'; empty when absent */
    struct span authorization;
    struct span origin; /* of the page whose script asks; empty when absent */
};

/**
 * Parses the head that starts at buf.
 * @return 0 when whole; -EAGAIN when more bytes are needed; -EMSGSIZE when len has reached head_max
 * without an end; -EINVAL for a malformed or ambiguous head; -EPROTONOSUPPORT for another HTTP
 * version; -ENOSYS for a transfer coding that is not taken.
 */
int http_parse_head(const char *buf, size_t len, size_t head_max,
                    struct http_request *out) WARN_UNUSED;

/** State of a chunked body that is being squeezed in place. Zero it before the first byte. */
struct http_chunked {
    uint64_t left;     /* bytes of the current chunk still to come */
    uint8_t state;     /* private */
    uint32_t line_len; /* private: length of the current framing or trailer line, for its limit */
};

/**
 * Takes the next len raw bytes of a chunked body at raw and moves their payload to dst (dst <= raw,
 * both in one buffer, may overlap).
 * @param consumed raw bytes used; fewer than len only when the body ended (the rest is the next
 * request).
 * @param payload bytes written to dst.
 * @return 1 when the body ended; 0 when more is needed; -EINVAL for bad framing.
 */
int http_chunked_squeeze(struct http_chunked *c, char *dst, const char *raw, size_t len,
                         size_t *consumed, size_t *payload) WARN_UNUSED;

/**
 * Percent-decodes a path segment into out, which holds segment.len bytes.
 * @return the length; -EINVAL for a bad escape, a NUL or a control character.
 */
int http_decode_segment(struct span segment, char *out) WARN_UNUSED;

#endif
