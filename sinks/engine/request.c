/* COLD. Requests to Google APIs: credentials, headers, and the wait before another try. */
#include "sinks/engine/request.h"

#include <stdio.h>

#include "dataplane/base/clock.h"

#define PROJECT_BYTES 256
#define TYPE_BYTES    160

/* ---- the end of an outage ---- */

static void list_add(struct request *r)
{
    ASSERT(!r->_listed);
    r->_listed = true;
    r->_prev = NULL;
    r->_next = r->env->_waiting;
    if (r->_next != NULL)
        r->_next->_prev = r;
    r->env->_waiting = r;
}

static void list_remove(struct request *r)
{
    if (!r->_listed)
        return;
    ASSERT(r->_prev != NULL || r->env->_waiting == r);
    if (r->_prev != NULL)
        r->_prev->_next = r->_next;
    else
        r->env->_waiting = r->_next;
    if (r->_next != NULL)
        r->_next->_prev = r->_prev;
    r->_listed = false;
}

/* The service answers again: those who wait come soon, but not before they were asked to. */
static void wake_all(struct request_env *env)
{
    int64_t now_us = clock_monotonic_us();
    struct request *r;

    env->_prober = NULL;
    while ((r = env->_waiting) != NULL) {
        int64_t delay = retry_wake_us(&r->_retry);

        list_remove(r);
        ASSERT(r->_timer._heap_index != 0);
        if (r->_not_before_us - now_us > delay)
            delay = r->_not_before_us - now_us;
        loop_timer_set(env->loop, &r->_timer, delay);
    }
}

/* The one that probes goes away: another takes its place. */
static void prober_leave(struct request *r)
{
    struct request *next = r->env->_waiting;

    if (r->env->_prober != r)
        return;
    r->env->_prober = next;
    if (next == NULL)
        return;
    ASSERT(next != r && next->_timer._heap_index != 0);
    loop_timer_set(r->env->loop, &next->_timer, retry_probe_us(&next->_retry, NULL));
}

static void on_timer(struct loop_timer *t)
{
    struct request *r = container_of(t, struct request, _timer);

    ASSERT(r->resume != NULL);
    list_remove(r);
    if (r->waiting != NULL)
        *r->waiting = NULL;
    r->resume(r);
}

static void on_token(struct auth_waiter *w)
{
    struct request *r = container_of(w, struct request, _token);

    ASSERT(r->env->auth != NULL);
    if (r->waiting != NULL)
        *r->waiting = NULL;
    request_send(r);
}

void request_init(struct request *r, struct request_env *env)
{
    ASSERT(env->loop != NULL && env->http != NULL);
    ASSERT(r->answered != NULL && r->resume != NULL);
    r->env = env;
    r->_timer.fire = on_timer;
    r->_token.ready = on_token;
}

struct text *request_reset(struct request *r, const char *method)
{
    ASSERT(r->_call._handle == NULL);
    text_reset(&r->url);
    r->method = method;
    r->content_type = NULL;
    r->if_match = NULL;
    r->headers = NULL;
    r->body = NULL;
    r->body_parts = 0;
    r->body_bytes = 0;
    r->_body_failed = false;
    return &r->url;
}

void request_body(struct request *r, const struct text *json)
{
    ASSERT(json->len > 0 || text_failed(json));
    r->_text_body = (struct iovec){.iov_base = json->ptr, .iov_len = json->len};
    r->body = &r->_text_body;
    r->body_parts = 1;
    r->body_bytes = json->len;
    r->_body_failed = text_failed(json);
    r->content_type = "application/json; charset=UTF-8";
}

/* 401: a new token gets one chance at once; refused again, it is for a person to see to. */
static void on_answer(struct http_call *call, const struct http_answer *a)
{
    struct request *r = container_of(call, struct request, _call);
    enum answer_class c = answer_classify(a);

    ASSERT(r->answered != NULL);
    if (retry_circuit_heard(&r->env->_circuit, a))
        wake_all(r->env);
    if (c == ANSWER_AUTH && !r->_refreshed && r->env->auth != NULL) {
        r->_refreshed = true;
        auth_refused(r->env->auth, r->_generation);
        stat_add(r->env->retries, 1);
        request_send(r);
        return;
    }
    if (c == ANSWER_AUTH)
        c = ANSWER_PERMANENT;
    else
        r->_refreshed = false;
    r->answered(r, c, a);
}

static int call_start(struct request *r, const char *token)
{
    char project[PROJECT_BYTES], type[TYPE_BYTES];
    const char *headers[5 + REQUEST_HEADERS_MAX];
    const char *payer = r->env->user_project;
    size_t n = 0;

    ASSERT(r->method != NULL);
    if (token != NULL)
        headers[n++] = token;
    if (payer == NULL && r->env->auth != NULL)
        payer = auth_quota_project(r->env->auth);
    if (payer != NULL) {
        snprintf(project, sizeof(project), "x-goog-user-project: %s", payer);
        headers[n++] = project;
    }
    if (r->content_type != NULL) {
        snprintf(type, sizeof(type), "Content-Type: %s", r->content_type);
        headers[n++] = type;
    }
    if (r->if_match != NULL)
        headers[n++] = r->if_match;
    for (const char *const *h = r->headers; h != NULL && *h != NULL; h++) {
        ASSERT(n + 1 < ARRAY_LEN(headers));
        headers[n++] = *h;
    }
    headers[n] = NULL;
    r->_call = (struct http_call){
        .method = r->method,
        .url = r->url.ptr,
        .headers = headers, /* copied by the start */
        .body = r->body,
        .body_parts = r->body_parts,
        .body_bytes = r->body_bytes,
        .timeout_ms = r->timeout_ms,
        .done = on_answer,
    };
    return http_call_start(r->env->http, &r->_call);
}

void request_send(struct request *r)
{
    bool failed = text_failed(&r->url) || r->_body_failed;
    const char *token = NULL;

    ASSERT(r->_call._handle == NULL && r->_timer._heap_index == 0);
    ASSERT(!request_waits_for_token(r));
    if (!failed && r->env->auth != NULL && !auth_take(r->env->auth, &token, &r->_generation)) {
        auth_wait(r->env->auth, &r->_token);
        if (r->waiting != NULL)
            *r->waiting = auth_why(r->env->auth);
        return;
    }
    if (!failed) {
        stat_add(r->env->calls, 1);
        failed = call_start(r, token) != 0;
    }
    if (failed) {
        struct http_answer none = {.error = "out of memory", .retry_after_s = -1};

        r->answered(r, ANSWER_TRANSIENT, &none);
    }
}

static void wait_then_resume(struct request *r, int64_t delay_us)
{
    ASSERT(r->_timer._heap_index == 0);
    stat_add(r->env->retries, 1);
    if (r->waiting != NULL)
        *r->waiting = r->_why;
    loop_timer_set(r->env->loop, &r->_timer, delay_us);
}

/* Joins those who wait for the end of an outage; one of them probes. @return its delay. */
static int64_t outage_join(struct request *r, int64_t delay_us, const struct http_answer *a)
{
    struct request_env *env = r->env;

    ASSERT(retry_is_outage(a));
    r->_not_before_us = a->retry_after_s > 0 ? clock_monotonic_us() + delay_us : 0;
    list_add(r);
    if (!retry_circuit_open(&env->_circuit) || (env->_prober != NULL && env->_prober != r))
        return delay_us;
    env->_prober = r;
    return retry_probe_us(&r->_retry, a);
}

void request_later(struct request *r, enum answer_class c, const struct http_answer *a)
{
    int64_t delay_us = retry_delay_us(&r->_retry, c, a);

    ASSERT(a != NULL);
    answer_describe(a, r->_why);
    if (retry_is_outage(a))
        delay_us = outage_join(r, delay_us, a);
    wait_then_resume(r, delay_us);
}

void request_later_because(struct request *r, const char *why)
{
    ASSERT(why != NULL);
    snprintf(r->_why, sizeof(r->_why), "%s", why);
    wait_then_resume(r, retry_delay_us(&r->_retry, ANSWER_TRANSIENT, NULL));
}

void request_pause(struct request *r, int64_t delay_us, const char *why)
{
    ASSERT(r->_timer._heap_index == 0);
    if (why != NULL) {
        snprintf(r->_why, sizeof(r->_why), "%s", why);
        if (r->waiting != NULL)
            *r->waiting = r->_why;
    }
    loop_timer_set(r->env->loop, &r->_timer, delay_us);
}

void request_progress(struct request *r)
{
    ASSERT(r != NULL);
    r->_retry.tries = 0;
}

bool request_waits_for_token(const struct request *r)
{
    ASSERT(r != NULL);
    return r->_token._next != NULL;
}

void request_cancel(struct request *r)
{
    ASSERT(r->env != NULL);
    list_remove(r);
    prober_leave(r);
    http_call_cancel(r->env->http, &r->_call);
    loop_timer_cancel(r->env->loop, &r->_timer);
    auth_wait_cancel(&r->_token);
    if (r->waiting != NULL)
        *r->waiting = NULL;
}

void request_fini(struct request *r)
{
    request_cancel(r);
    text_fini(&r->url);
}
