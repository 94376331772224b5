/*
 * From a whole request body to lines in commit blocks: find the documents, route each by type,
 * check it against the type's schema, time it, and copy it once into the worker's open block. What
 * cannot be an event becomes a dead letter in the same block.
 *
 * Thread: the worker's. Alloc: none after ingest_create().
 */
#ifndef PENSTOCK_INGEST_H
#define PENSTOCK_INGEST_H

#include "dataplane/base/live.h"
#include <sys/socket.h>

#include "dataplane/input/tokens.h"
#include "dataplane/json/json.h"
#include "dataplane/journal/writer.h"
#include "dataplane/types.h"

#define INGEST_ERRORS_MAX 100 /* dead letters of one body that the answer names */

struct ingest;

/** What one body is. */
struct ingest_body {
    const char *buf; /* JSON_PADDING_BYTES readable behind it */
    size_t len;
    struct span type;          /* from the path, unescaped; empty: from the event */
    const struct token *token; /* whose types are all that may come; NULL: any */
    const char *source; /* for dead letters: "http 127.0.0.1:41712"; or NULL, and it is made of: */
    const char *input;
    const struct sockaddr_storage *peer;
    bool lines; /* a piece of a stream of lines: nothing else is looked for, and it may be empty */
    uint32_t n_lines;  /* with lines: how many, if the caller has counted them; 0: not yet */
    uint32_t position; /* of its first event in the stream */
    int64_t now_us;    /* wall clock, for many small bodies that come at once; 0: it is asked */
};

/** Small bodies that came at once, each of one or more lines. */
struct ingest_burst {
    const struct json_buffer *buffer;           /* n, 1 to JSON_BUFFERS_MAX; each ingest_joins() */
    const struct sockaddr_storage *const *peer; /* of each */
    const char *input;
    int64_t now_us; /* wall clock */
    uint32_t n;
};

/** What became of it. */
struct ingest_result {
    enum reason refused; /* REASON_NONE: admitted whole */
    size_t error_offset; /* of a refused array */
    uint32_t accepted;
    uint32_t dead_lettered;
    uint32_t sampled_out; /* good, and left out as the type's sampling wants */
    uint64_t
        last_seq; /* durable when the block of this sequence number is; 0: nothing was stored */
    struct span
        refused_type; /* with REASON_TYPE_PARKED; "": none that is known. Until the settings change */
    uint32_t n_errors; /* of dead_lettered, in order */
    struct ingest_error {
        uint32_t index;
        enum reason reason;
    } error[INGEST_ERRORS_MAX];
};

/** One document of an injection. Its bytes stay where they are until it has been taken. */
struct inject_doc {
    struct span raw;    /* JSON_PADDING_BYTES readable behind it */
    struct span type;   /* 1 to TYPE_NAME_BYTES_MAX bytes, or empty: from the event */
    const char *source; /* for dead letters: "file orders.ndjson" */
    uint64_t line;      /* shown behind the source, as ":17"; 0: not shown */
    uint64_t whole; /* more than raw.len: raw is the head of a document of so many bytes, which is
                       refused as oversize */
    uint64_t seq;   /* of the mark once it is stored; rises from document to document */
    uint64_t note;  /* of the mark */
};

/**
 * Documents that go in under marks: in each block that holds some of them, the mark tells how far
 * its session has come. So documents and the knowledge of them become durable together.
 */
struct ingest_batch {
    uint8_t session[16];
    const struct inject_doc *doc;
    uint32_t n_docs;
    uint32_t taken; /* so far, in order */
    bool whole;     /* all in one block or none: the documents share a seq; see ingest_fits() */
    bool replay;    /* of dead letters: never removed as duplicates */
};

/** How to get at blocks. */
struct ingest_config {
    const struct type_set *types;
    uint32_t types_max;
    uint32_t event_bytes_max;
    enum json_isa json_isa; /* usable */
    struct writer *writer;
    const struct journal *journal; /* that it writes */
    struct worker_stats *stats;
    struct block *(*block_get)(void *ctx); /* a free block, or NULL */
    uint32_t (*blocks_free)(void *ctx);
    uint32_t blocks_total;
    uint32_t block_bytes;
    void *ctx;
};

/** Creates it. Thread: init. @return 0; -ENOMEM; -ENOSPC or -EINVAL with error when the time fields
 * do not fit. */
int ingest_create(const struct ingest_config *config, struct ingest **out, char *error,
                  size_t error_len) WARN_UNUSED;

/** mem_populate() for it. Thread: worker, before its first event. */
int ingest_populate(struct ingest *in) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: control. */
void ingest_destroy(struct ingest *in);

/** Follows settings that changed. Thread: worker. */
void ingest_follow(struct ingest *in, const struct live_settings *s);

/** The longest line that a worker writes: what blocks must hold. Thread: any. */
uint32_t ingest_line_max(uint32_t event_bytes_max);

/** Takes a whole body in, or nothing of it. out is large: keep one per worker. */
void ingest_body(struct ingest *in, const struct ingest_body *body, struct ingest_result *out);

/** Whether a body may be one of a burst: it begins as lines do. Others are for ingest_body(). Thread: any. */
static inline bool ingest_joins(const char *buf, size_t len)
{
    return len >= 2 && len <= JSON_BUFFER_BYTES_MAX && buf[0] == '{' && buf[1] != '\n' &&
           buf[1] != '\r';
}

/**
 * Takes the bodies of a burst in as ingest_body() does each, but parsed together. out counts for all of them.
 * Thread: worker.
 * @return a bit for each that is left as it was, for ingest_body(): all when room is short, or one of
 * them holds an event of a type of which nothing is taken now.
 */
uint64_t ingest_burst(struct ingest *in, const struct ingest_burst *burst,
                      struct ingest_result *out) WARN_UNUSED;

/** Takes all of body as one dead letter, if there is room for it. */
void ingest_dead(struct ingest *in, const struct ingest_body *body, enum reason reason,
                 const char *detail, struct ingest_result *out);

/**
 * Takes documents of b from b->taken on, while there is room for them; live requests keep a quarter
 * of the blocks. out is added to: zero it before the first call.
 * @return REASON_NONE when all are taken; else why there is no room: call again later.
 */
enum reason ingest_documents(struct ingest *in, struct ingest_batch *b, struct ingest_result *out);

/**
 * How many of these documents certainly fit one empty block of a worker with these limits; at least
 * one. Thread: any.
 */
uint32_t ingest_fits(uint32_t event_bytes_max, uint32_t block_capacity,
                     const struct inject_doc *doc, uint32_t n_docs);

/** The worker's types. */
const struct types *ingest_types(const struct ingest *in);

/** Fixed memory. Thread: init. */
uint64_t ingest_memory_bytes(uint32_t types_max, enum json_isa isa);

#endif
