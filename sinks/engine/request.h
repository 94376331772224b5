/*
 * One request to a Google API with what all of them share: credentials, quota project, the one
 * refresh after a 401, and waiting for a token or before another try. The owner decides what the
 * next try is.
 *
 *     request_send -> answered(class, answer) -> owner: done, or request_send, or request_later
 *          ^                                                                          |
 *          `---------------------------- resume() <---------------- delay ------------'
 *
 * Thread: the loop's.
 */
#ifndef PENSTOCK_ENGINE_REQUEST_H
#define PENSTOCK_ENGINE_REQUEST_H

#include <stdatomic.h>

#include "dataplane/base/stats.h"
#include "sinks/engine/auth.h"
#include "sinks/engine/retry.h"
#include "sinks/engine/text.h"

#define REQUEST_HEADERS_MAX 4

/** What requests of one client share. Everything is borrowed. */
struct request_env {
    struct loop *loop;
    struct http_client *http;
    struct auth *auth;
    const char *user_project; /* or NULL: the credentials' quota project, if any */
    _Atomic uint64_t *calls;
    _Atomic uint64_t *retries;
    struct retry_circuit _circuit;
    struct request *_waiting; /* after an outage's answer, latest first */
    struct request *_prober;  /* while there is an outage: waits or is under way */
};

/** A request and its retries, embedded in an operation. Zero it, then request_init(). */
struct request {
    struct request_env *env;
    /** Class AUTH never arrives here: it is retried once and then PERMANENT. The answer's spans end
     * with the call. */
    void (*answered)(struct request *r, enum answer_class c, const struct http_answer *a);
    void (*resume)(struct request *r);
    const char **waiting; /* set while waiting, NULL otherwise; may be NULL itself */

    const char *method;
    struct text url;
    const char *content_type;   /* or NULL */
    const char *if_match;       /* or NULL: "If-Match: ..." */
    const char *const *headers; /* more, "Name: value", NULL-terminated; or NULL. At most
                                   REQUEST_HEADERS_MAX */
    const struct iovec *body;
    uint32_t body_parts;
    uint64_t body_bytes;
    uint32_t timeout_ms;

    struct http_call _call;
    struct loop_timer _timer;
    struct retry_state _retry;
    struct auth_waiter _token;     /* while there is none */
    struct request *_prev, *_next; /* among those that wait for the end of an outage */
    bool _listed;
    int64_t _not_before_us; /* monotonic: the server asked for it */
    uint64_t _generation;   /* of the token that was sent */
    struct iovec _text_body;
    bool _body_failed; /* its text could not be made */
    bool _refreshed;   /* the token, since the last answer that was not 401 */
    char _why[REASON_TEXT_BYTES];
};

/** Binds a zeroed request. */
void request_init(struct request *r, struct request_env *env);

/** Empties method, URL and body for another call of the same operation, and gives the URL to fill.
 */
struct text *request_reset(struct request *r, const char *method);

/** Sets a JSON body; kept by the caller until the answer. */
void request_body(struct request *r, const struct text *json);

/** Sends what is set, as soon as there is a token. A failure to start arrives as an answer without
 * status. */
void request_send(struct request *r);

/** After an answer that may be better later: waits by the policy, then runs resume; sooner when
 * other requests of the same client find that an outage is over. */
void request_later(struct request *r, enum answer_class c, const struct http_answer *a);

/** As request_later(), for a reason of the owner's own. */
void request_later_because(struct request *r, const char *why);

/** Waits for a fixed time without counting as a retry, then runs resume. why: for status, or
 * NULL. */
void request_pause(struct request *r, int64_t delay_us, const char *why);

/** Starts the delays anew: the operation made progress. */
void request_progress(struct request *r);

/** Whether it waits for a token; auth_why() knows more. */
bool request_waits_for_token(const struct request *r);

/** Cancels call, timer and waiting; the request may be sent again. */
void request_cancel(struct request *r);

/** Cancels everything and frees the URL. */
void request_fini(struct request *r);

#endif
