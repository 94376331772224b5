/*
 * The one retry policy, by Google's published classes: what an answer means and when to try again.
 * Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_ENGINE_RETRY_H
#define PENSTOCK_ENGINE_RETRY_H

#include "sinks/engine/http.h"

#define REASON_TEXT_BYTES 512

enum answer_class {
    ANSWER_OK,        /* 2xx */
    ANSWER_TRANSIENT, /* 408, 429, 5xx, no answer, 403 rateLimitExceeded, 400 of the transient job
                         reasons */
    ANSWER_QUOTA,     /* 403 quotaExceeded: ten minutes at least */
    ANSWER_AUTH,      /* 401: refresh the token once, then as PERMANENT */
    ANSWER_NOT_FOUND, /* 404 */
    ANSWER_CONFLICT,  /* 409 */
    ANSWER_PRECONDITION, /* 412 */
    ANSWER_PERMANENT,    /* the rest */
};

/** Delays: exponential with full jitter, capped; Retry-After wins when longer. Zero it to start
 * anew. */
struct retry_state {
    uint32_t tries;
    uint64_t random;
};

/** Classifies an answer; 403 and 400 by the reason in Google's error body, never by status alone.
 */
enum answer_class answer_classify(const struct http_answer *a);

/** Writes "503 backendError: message" for people into out (REASON_TEXT_BYTES). */
void answer_describe(const struct http_answer *a, char *out);

/** Whether an answer is what an outage looks like: none, 408, 5xx. A limit that was reached is
 * not. */
bool retry_is_outage(const struct http_answer *a);

/**
 * What the requests of one client have heard of its service: a circuit breaker. After an outage of
 * minutes each of them would wait up to 64 s before it notices that all is well.
 *
 *     CLOSED --RETRY_OUTAGE_ANSWERS of an outage in a row--> OPEN: one request probes at short
 *        ^                                                    |   intervals, the rest keep
 *        `--any other answer: those who wait are woken--------'   their own delays
 *
 * While other calls go through nothing is woken, so one call that never works keeps its delays.
 * Zero it.
 */
struct retry_circuit {
    uint32_t failures; /* in a row */
};

#define RETRY_OUTAGE_ANSWERS 3

/** Takes an answer in. @return true when the outage is over: wake those who wait. */
bool retry_circuit_heard(struct retry_circuit *c, const struct http_answer *a);

/** Whether there is an outage. */
bool retry_circuit_open(const struct retry_circuit *c);

/** The delay before the next try of the one that probes: two to four seconds, or what Retry-After
 * says. */
int64_t retry_probe_us(struct retry_state *r, const struct http_answer *a);

/** A moment for one that is woken, so that not all come at once. */
int64_t retry_wake_us(struct retry_state *r);

/** The delay before the next try. */
int64_t retry_delay_us(struct retry_state *r, enum answer_class c, const struct http_answer *a);

#endif
