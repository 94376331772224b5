/*
 * HOT. What a run counts. Each worker is the only writer of its own counters; the main thread reads
 * them while they grow, for --progress.
 */
#ifndef GEN_STATS_H
#define GEN_STATS_H

#include <stdatomic.h>
#include <stdint.h>

/* X(name): also the names in the JSON report. Counted in events unless said otherwise. */
#define GEN_COUNTERS(X)                                                                \
    X(events)         /* given to the server */                                        \
    X(requests)       /* requests, each counted once however often it is retried */    \
    X(bytes)          /* bytes of request bodies, likewise */                          \
    X(malformed)      /* made malformed on purpose */                                  \
    X(late)           /* given an event time days in the past */                       \
    X(out_of_order)   /* given an event time before that of events already made */     \
    X(duplicates)     /* made again, with the same id */                               \
    X(acked)          /* in requests answered 2xx */                                   \
    X(acked_bytes)    /* bytes of their bodies */                                      \
    X(accepted)       /* sum of "accepted" in the answers */                           \
    X(dead_lettered)  /* sum of "dead_lettered" in the answers */                      \
    X(refused)        /* in requests whose last answer was not 2xx */                  \
    X(unanswered)     /* in requests that got no answer: reset, closed or timed out */ \
    X(retries)        /* requests sent again after 429 or 503 */                       \
    X(timeouts)       /* connections given up for lack of an answer in time */         \
    X(connect_errors) /* connection attempts that failed */

enum gen_counter {
#define X(name) GEN_COUNT_##name,
    GEN_COUNTERS(X)
#undef X
        GEN_COUNTERS_COUNT
};

enum { GEN_STATUS_MAX = 600 };

struct gen_stats {
    _Atomic uint64_t _counters[GEN_COUNTERS_COUNT];
    uint64_t events_by_status[GEN_STATUS_MAX]; /* last answers only; read after the run */
};

/**
 * Adds to a counter. Relaxed: counters are not used to order anything.
 * Thread: the owner of s.  Alloc: none.
 */
static inline void gen_stats_add(struct gen_stats *s, enum gen_counter counter, uint64_t by)
{
    uint64_t old = atomic_load_explicit(&s->_counters[counter], memory_order_relaxed);
    atomic_store_explicit(&s->_counters[counter], old + by, memory_order_relaxed);
}

/**
 * Reads a counter.
 * Thread: any.  Alloc: none.
 */
static inline uint64_t gen_stats_get(const struct gen_stats *s, enum gen_counter counter)
{
    return atomic_load_explicit(&s->_counters[counter], memory_order_relaxed);
}

/**
 * Name of a counter.
 * Thread: any.  Alloc: none.
 */
const char *gen_stats_name(enum gen_counter counter);

/**
 * Adds the counters of from to s.
 * Thread: main.  Alloc: none.
 */
void gen_stats_merge_counters(struct gen_stats *s, const struct gen_stats *from);

/** Adds the arrays by status; the owner of from has ended. Thread: main. */
void gen_stats_merge_statuses(struct gen_stats *s, const struct gen_stats *from);

#endif
