/* COLD. Calls that are waited for: requests on a loop that runs only during the call. */
#include "sinks/engine/blocking.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/base/clock.h"
#include "dataplane/json/json.h"

#define TURN_US ((int64_t)1000000)

struct blocking {
    struct loop *loop;
    struct http_client *http;
    struct request_env env;
    struct request request;
    _Atomic uint64_t calls, retries;
    int64_t end_us;
    bool over;
    enum answer_class class;
    struct http_answer answer;
    char error[REASON_TEXT_BYTES];
    struct text body; /* the answer's, kept past the call */
};

static void on_resume(struct request *r)
{
    ASSERT(r->method != NULL);
    request_send(r);
}

static void on_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    static const char padding[JSON_PADDING_BYTES];
    struct blocking *b = container_of(r, struct blocking, request);

    ASSERT(!b->over);
    if (c == ANSWER_TRANSIENT && clock_monotonic_us() < b->end_us) {
        request_later(r, c, a);
        return;
    }
    b->over = true;
    b->class = c;
    b->answer = (struct http_answer){.status = a->status, .retry_after_s = a->retry_after_s};
    if (a->error != NULL) {
        snprintf(b->error, sizeof(b->error), "%s", a->error);
        b->answer.error = b->error;
    }
    text_reset(&b->body);
    text_add(&b->body, a->body);
    text_add(&b->body, (struct span){.ptr = padding, .len = sizeof(padding)});
    if (text_failed(&b->body)) {
        b->class = ANSWER_TRANSIENT;
        b->answer = (struct http_answer){.error = "out of memory", .retry_after_s = -1};
        return;
    }
    b->answer.body = (struct span){.ptr = b->body.ptr, .len = a->body.len};
}

/* Nobody may wait for ever here: a refusal ends the call at once, everything else at its limit. */
static void token_check(struct blocking *b)
{
    struct auth *auth = b->env.auth;
    bool refused;

    ASSERT(b->request.env == &b->env);
    if (b->over || !request_waits_for_token(&b->request))
        return;
    refused = auth_is_refused(auth);
    if (!refused && clock_monotonic_us() < b->end_us)
        return;
    request_cancel(&b->request);
    b->over = true;
    b->class = refused ? ANSWER_PERMANENT : ANSWER_TRANSIENT;
    snprintf(b->error, sizeof(b->error), "%s", auth_why(auth));
    b->answer = (struct http_answer){.error = b->error, .retry_after_s = -1};
}

int blocking_create(struct auth *auth, const char *user_project, struct blocking **out)
{
    static const struct http_config config = {.connections_max = 1,
                                              .connect_timeout_ms = 10000,
                                              .stall_timeout_ms = 60000,
                                              .user_agent = "penstock"};
    struct blocking *b = calloc(1, sizeof(*b));
    int rc;

    ASSERT(out != NULL);
    if (b == NULL)
        return -ENOMEM;
    b->request.answered = on_answered;
    b->request.resume = on_resume;
    rc = loop_create(&b->loop);
    if (rc == 0)
        rc = http_client_create(b->loop, &config, &b->http);
    if (rc != 0) {
        blocking_destroy(b);
        return rc;
    }
    b->env = (struct request_env){.loop = b->loop,
                                  .http = b->http,
                                  .auth = auth,
                                  .user_project = user_project,
                                  .calls = &b->calls,
                                  .retries = &b->retries};
    request_init(&b->request, &b->env);
    if (auth != NULL)
        auth_bind(auth, b->loop, b->http);
    *out = b;
    return 0;
}

void blocking_destroy(struct blocking *b)
{
    if (b == NULL)
        return;
    ASSERT(b->http == NULL || b->loop != NULL);
    if (b->request.env != NULL) {
        request_fini(&b->request);
        if (b->env.auth != NULL)
            auth_unbind(b->env.auth);
    }
    http_client_destroy(b->http);
    loop_destroy(b->loop);
    text_fini(&b->body);
    free(b);
}

struct text *blocking_url(struct blocking *b, const char *method)
{
    ASSERT(b != NULL);
    return request_reset(&b->request, method);
}

void blocking_headers(struct blocking *b, const char *const *headers)
{
    ASSERT(b->request.method != NULL);
    b->request.headers = headers;
}

enum answer_class blocking_call(struct blocking *b, const struct text *json,
                                struct http_answer *out)
{
    ASSERT(b->request.method != NULL);
    if (json != NULL)
        request_body(&b->request, json);
    b->over = false;
    b->end_us = clock_monotonic_us() + BLOCKING_RETRY_US;
    request_progress(&b->request);
    request_send(&b->request);
    while (!b->over) {
        (void)loop_run_once(b->loop, TURN_US);
        token_check(b);
    }
    *out = b->answer;
    return b->class;
}
