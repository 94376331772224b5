/*
 * What bench_json measures: subjects. Ours are linked to it; each peer is a shared object with an array of
 * them, so that all run in one process over the same bytes, in turns. C and C++.
 */
#ifndef PENSTOCK_JSON_PEER_H
#define PENSTOCK_JSON_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * X(symbol, name, type, nested in, nested, time): the three members that everyone extracts from the events of
 * a corpus. Events of the mixed one are those of three others; each is recognized by its type.
 */
#define JSON_CORPORA(X)                                                           \
    X(COMMERCE, "commerce", "event_type", "metadata", "session_id", "order_date") \
    X(GITHUB, "github", "type", "actor", "login", "created_at")                   \
    X(KIBANA, "kibana", "type", "event", "dataset", "order_date")                 \
    X(SHAPES, "shapes", "event_type", "ref", "id", "at")                          \
    X(CLOUDTRAIL, "cloudtrail", "eventType", "userIdentity", "accountId", "eventTime")

enum json_corpus {
#define X(symbol, name, type, outer, inner, time) JSON_CORPUS_##symbol,
    JSON_CORPORA(X)
#undef X
        JSON_CORPUS_MIXED,
    JSON_CORPORA_COUNT
};

#define JSON_MIXED_ORDER "order" /* "type" of Kibana's orders: GitHub's events have other ones */

/* Bytes behind a buffer that may be read. */
#define JSON_BUFFER_PADDING 256

enum json_job {
    JSON_JOB_FIELDS,  /* three members of each event */
    JSON_JOB_ROWS,    /* each event as a row of perf/schemas/commerce.json, in protobuf */
    JSON_JOB_CEILING, /* less than that: what bounds the others */
};

/* What a subject found. Equal for all subjects of a job. */
struct json_found {
    uint64_t events;
    uint64_t bytes; /* of the extracted values, without quotes; or of the rows */
    uint64_t
        sum; /* of all bytes of all rows, when asked for: the order of fields does not matter */
    bool want_sum;
};

struct json_subject {
    const char *name;
    const char *isa;      /* avx512, avx2, scalar, native: what the compiler makes of this CPU */
    const char *compiler; /* NULL: that of the benchmark */
    enum json_job job;
    bool validates; /* everything, in every event */
    bool learns;    /* from the events it sees: made anew for each pass */
    bool own_bytes; /* what it finds differs in bytes: only its events are compared */
    bool slow;      /* passes go over the first 4 MB only: all would take minutes */
    /* NULL when it cannot do this corpus. Buffers of run() are at most so long. */
    void *(*create)(enum json_corpus corpus, size_t buffer_max);
    /* Adds to *found. False: it does not take some event. */
    bool (*run)(void *state, const char *buf, size_t len, struct json_found *found);
    void (*destroy)(void *state);
};

/* In each shared object; ends with a name that is NULL. */
extern const struct json_subject json_subjects[];
typedef const struct json_subject *json_subjects_table;

/** Ours, in the benchmark itself. @return how many of them are in out, which has room for max. */
int json_ours(struct json_subject *out, int max);

/** The end of the line at p: its '\n', or end. */
static inline const char *json_line_end(const char *p, const char *end)
{
    const char *found = (const char *)memchr(p, '\n', (size_t)(end - p));

    return found != NULL ? found : end;
}

#ifdef __cplusplus
}
#endif

#endif
