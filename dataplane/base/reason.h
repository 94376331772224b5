/*
 * Every reason for which an event is dead-lettered or a request is refused: one list for counters,
 * answers, dead letters, CLI, metrics and docs. Names are stable: scripts and dashboards use them.
 */
#ifndef PENSTOCK_BASE_REASON_H
#define PENSTOCK_BASE_REASON_H

/* X(symbol, name, text): the event is kept as a dead letter. */
#define REASON_DEAD_LIST(X)                                                                 \
    X(BAD_JSON, "bad_json", "not valid JSON (RFC 8259)")                                    \
    X(BAD_UTF8, "bad_utf8", "not valid UTF-8")                                              \
    X(TOO_DEEP, "too_deep", "nested deeper than the limit")                                 \
    X(NOT_OBJECT, "not_object", "valid JSON, but not an object")                            \
    X(OVERSIZE, "oversize", "larger than the largest event")                                \
    X(MISSING_TYPE, "missing_type", "no event type where the configuration looks for it")   \
    X(BAD_TYPE, "bad_type", "the event type is not a string of 1 to 128 bytes")             \
    X(TOO_MANY_TYPES, "too_many_types", "a new event type past types_max")                  \
    X(UNLISTED_TYPE, "unlisted_type", "an event type that the configuration does not list") \
    X(MISSING_FIELD, "missing_field", "a REQUIRED column has no value")                     \
    X(WRONG_TYPE, "wrong_type", "the JSON type does not fit the column")                    \
    X(BAD_VALUE, "bad_value", "the value is out of the column's range or form")             \
    X(DUPLICATE_KEY, "duplicate_key", "a column appears twice in one object")               \
    X(NULL_ELEMENT, "null_element", "a null in a REPEATED column")                          \
    X(UNKNOWN_FIELD, "unknown_field",                                                       \
      "a field that the schema does not name, and unknown_fields is dead_letter")           \
    X(REFUSED_BY_BIGQUERY, "refused_by_bigquery", "BigQuery's insertAll refused the row")   \
    X(TOO_MANY_UNKNOWN, "too_many_unknown", "more unknown fields than one event may move aside")

/* X(symbol, name, text): nothing of the request was stored, and the client was told so. */
#define REASON_REFUSED_LIST(X)                                                                  \
    X(BAD_REQUEST, "bad_request", "not a valid HTTP/1.1 request")                               \
    X(BAD_ARRAY, "bad_array", "the body is a malformed JSON array")                             \
    X(DATAGRAM_TOO_BIG, "datagram_too_big", "a datagram larger than udp.datagram_max")          \
    X(UNAUTHORIZED, "unauthorized", "a bearer token is needed: 401")                            \
    X(BAD_TOKEN, "bad_token", "this bearer token is not known: 401")                            \
    X(TYPE_REFUSED, "type_not_allowed", "this token may not send events of this type: 403")     \
    X(RATE_LIMITED, "rate_limited", "this token has sent more than it may: 429")                \
    X(ORIGIN_REFUSED, "origin_not_allowed", "a page of this origin may not send events")        \
    X(NOT_FOUND, "not_found", "no such path")                                                   \
    X(BAD_METHOD, "method_not_allowed", "this path takes another method")                       \
    X(BAD_LENGTH, "length_required", "neither Content-Length nor chunked")                      \
    X(BODY_TOO_BIG, "body_too_big", "larger than the largest body")                             \
    X(HEADER_TOO_BIG, "header_too_big", "request line and headers past the limit")              \
    X(BAD_MEDIA_TYPE, "unsupported_media_type",                                                 \
      "Content-Type: application/json or application/x-ndjson; plain, gzip or zstd")            \
    X(BAD_ENCODING, "bad_encoding", "the compressed body is corrupt or cut off")                \
    X(BAD_PATH_TYPE, "bad_path_type", "the event type in the path is not 1 to 128 bytes")       \
    X(EMPTY_BODY, "empty_body", "no event in the body")                                         \
    X(TOO_MANY_EVENTS, "too_many_events", "more events in a body than the block memory holds")  \
    X(JOURNAL_FULL, "journal_full", "the journal has no room: 429")                             \
    X(TYPE_PARKED, "type_parked", "what waits of this type has used up sinks.spool_bytes: 429") \
    X(BLOCKS_BUSY, "blocks_busy", "no free commit block: 503")                                  \
    X(NO_LEASE, "no_lease", "no receive buffer for a body of this size: 503")                   \
    X(CONNECTIONS, "connections", "more connections than configured: closed at once")           \
    X(TLS_HANDSHAKE, "tls_handshake", "the TLS handshake failed or took too long: closed")      \
    X(SLOW, "slow", "a slow body held a buffer that others needed: 408")                        \
    X(TIMEOUT, "timeout", "the request did not arrive in time")                                 \
    X(TRUNCATED, "truncated", "the connection ended inside a request")                          \
    X(DISK_ERROR, "disk_error", "the journal could not be written: 503")                        \
    X(DRAINING, "draining", "shutting down: 503")                                               \
    X(PACKET_TRUNCATED, "packet_truncated", "a packet that ends before its headers say")        \
    X(BAD_HEADER, "bad_header", "a packet whose headers contradict themselves")                 \
    X(BAD_CHECKSUM, "bad_checksum", "a packet with a wrong IP or UDP checksum")                 \
    X(FRAGMENT, "fragment", "a fragment of a packet, and no exception port to the kernel")      \
    X(NOT_OURS, "not_ours", "a packet for the kernel, and no exception port to it")             \
    X(EXCEPTION_FULL, "exception_full", "the exception port took no more packets")

enum reason {
    REASON_NONE = 0,
#define X(symbol, name, text) REASON_##symbol,
    REASON_DEAD_LIST(X)
#undef X
        REASON_DEAD_END,
#define X(symbol, name, text) REASON_##symbol,
    REASON_REFUSED_LIST(X)
#undef X
        REASON_END
};

/** The stable name, such as "bad_json"; "none" for REASON_NONE. Thread: any. */
const char *reason_name(enum reason r);

/** One sentence for people. Thread: any. */
const char *reason_text(enum reason r);

/** The reason of a stable name, or REASON_NONE. Thread: any. */
enum reason reason_from_name(const char *name);

#endif
