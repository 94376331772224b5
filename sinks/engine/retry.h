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

/** The delay before the next try. */
int64_t retry_delay_us(struct retry_state *r, enum answer_class c, const struct http_answer *a);

#endif
