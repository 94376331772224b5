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
#include "dataplane/json/json.h"
#include "dataplane/journal/writer.h"
#include "dataplane/types.h"

#define INGEST_ERRORS_MAX 100 /* dead letters of one body that the answer names */

struct ingest;

/** What one body is. */
struct ingest_body {
    const char *buf; /* JSON_PADDING_BYTES readable behind it */
    size_t len;
    struct span type;   /* from the path, unescaped; empty: from the event */
    const char *source; /* for dead letters: "http 127.0.0.1:41712" */
    bool lines; /* a piece of a stream of lines: nothing else is looked for, and it may be empty */
    uint32_t position; /* of its first event in the stream */
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
    uint32_t n_errors; /* of dead_lettered, in order */
    struct ingest_error {
        uint32_t index;
        enum reason reason;
    } error[INGEST_ERRORS_MAX];
};

/** How to get at blocks. */
struct ingest_config {
    const struct type_set *types;
    uint32_t types_max;
    uint32_t event_bytes_max;
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

/** Frees it. NULL is allowed. Thread: control. */
void ingest_destroy(struct ingest *in);

/** Follows settings that changed. Thread: worker. */
void ingest_follow(struct ingest *in, const struct live_settings *s);

/** The longest line that a worker writes: what blocks must hold. Thread: any. */
uint32_t ingest_line_max(uint32_t event_bytes_max);

/** Takes a whole body in, or nothing of it. out is large: keep one per worker. */
void ingest_body(struct ingest *in, const struct ingest_body *body, struct ingest_result *out);

/** Takes all of body as one dead letter, if there is room for it. */
void ingest_dead(struct ingest *in, const struct ingest_body *body, enum reason reason,
                 const char *detail, struct ingest_result *out);

/** The longest document that room can be found for at all, when all blocks are free. Thread: any. */
uint32_t ingest_document_max(uint32_t blocks, uint32_t block_bytes);

/** The worker's types. */
const struct types *ingest_types(const struct ingest *in);

/** Fixed memory. Thread: init. */
uint64_t ingest_memory_bytes(uint32_t types_max);

#endif
