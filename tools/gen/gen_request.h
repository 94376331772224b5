/*
 * HOT. One HTTP request with a body of events, or a chunk of events for a file. The bytes of head
 * and body lie in one buffer, so that a request is one send(). What each event is stays beside the
 * bytes, for the acknowledgement log.
 */
#ifndef GEN_REQUEST_H
#define GEN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/gen/gen_event.h"

enum gen_format { GEN_NDJSON, GEN_ARRAY };

/* How bodies are framed and what goes before them. */
struct gen_framing {
    enum gen_format format;
    const char *head; /* request line and headers up to "Content-Length: "; "" for files */
};

struct gen_request {
    char *bytes; /* send from bytes + start, bytes_count of them */
    size_t start;
    size_t bytes_count;
    size_t body_bytes;
    uint64_t first_seq;
    uint32_t events;
    uint32_t malformed;
    uint32_t late;
    uint32_t out_of_order;
    uint32_t duplicates;
    struct gen_event_info *infos; /* per event; NULL when not wanted */
    size_t _bytes_max;
    uint32_t _infos_max;
};

/**
 * Starts an empty request. events_max bounds the events of gen_request_fill(); with_infos keeps
 * what each event is. Thread: any.  Alloc: heap; exits with a message when there is no memory.
 * Owner: release with gen_request_fini().
 */
void gen_request_init(struct gen_request *q, uint32_t events_max, bool with_infos);

/**
 * Frees what gen_request_init() and gen_request_fill() took.
 * Thread: the owner of q.  Alloc: none.
 */
void gen_request_fini(struct gen_request *q);

/**
 * Fills q with events first_seq..first_seq+events-1 under framing, replacing what it held.
 * Thread: the owner of q and g.  Alloc: grows the buffer of q while it is new.
 */
void gen_request_fill(struct gen_request *q, struct gen_events *g,
                      const struct gen_framing *framing, uint64_t first_seq, uint32_t events);

/**
 * Builds count requests of batch events each, one after another from sequence number 0, to be sent
 * again and again by benchmarks. Read-only afterwards, so all threads share them. Thread: init.
 * Alloc: heap. Owner: caller; release with gen_pool_destroy().
 */
struct gen_request *gen_pool_create(const struct gen_event_config *config,
                                    const struct gen_framing *framing, uint32_t count,
                                    uint32_t batch);

/**
 * Frees a pool of count requests; pool may be NULL.
 * Thread: init.  Alloc: none.
 */
void gen_pool_destroy(struct gen_request *pool, uint32_t count);

#endif
