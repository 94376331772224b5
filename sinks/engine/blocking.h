/*
 * Calls that are waited for, for the control thread's verify: a loop and a client of their own, the
 * same headers, and retries of transient failures for a bounded time. Thread: control; one caller
 * at a time.
 */
#ifndef PENSTOCK_ENGINE_BLOCKING_H
#define PENSTOCK_ENGINE_BLOCKING_H

#include "sinks/engine/request.h"

#define BLOCKING_RETRY_US ((int64_t)60 * 1000000) /* transient failures are retried for so long */

struct blocking;

/** Creates it. auth (or NULL; bound to it until blocking_destroy()) and user_project (or NULL) are
 * borrowed. @return 0 or -errno. */
int blocking_create(struct auth *auth, const char *user_project, struct blocking **out) WARN_UNUSED;

/** Frees it. NULL is allowed. */
void blocking_destroy(struct blocking *b);

/** The URL to fill for the next call. */
struct text *blocking_url(struct blocking *b, const char *method);

/** Adds headers to the next call, as struct request says; they live until its answer. */
void blocking_headers(struct blocking *b, const char *const *headers);

/**
 * Makes the call; json may be NULL.
 * @param out what came back; its spans live until the next call.
 * @return its class, never AUTH; TRANSIENT when it stayed so for BLOCKING_RETRY_US; PERMANENT, with
 * status 0, as soon as the credentials are refused.
 */
enum answer_class blocking_call(struct blocking *b, const struct text *json,
                                struct http_answer *out);

#endif
