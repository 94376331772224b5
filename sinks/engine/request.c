/* COLD. Requests to Google APIs: credentials, headers, and the wait before another try. */
#include "sinks/engine/request.h"

#include <stdio.h>

#define PROJECT_BYTES 256
#define TYPE_BYTES    160

static void on_timer(struct loop_timer *t)
{
    struct request *r = container_of(t, struct request, _timer);

    ASSERT(r->resume != NULL);
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

void request_init(struct request *r, const struct request_env *env)
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

void request_later(struct request *r, enum answer_class c, const struct http_answer *a)
{
    ASSERT(a != NULL);
    answer_describe(a, r->_why);
    wait_then_resume(r, retry_delay_us(&r->_retry, c, a));
}

void request_later_because(struct request *r, const char *why)
{
    ASSERT(why != NULL);
    snprintf(r->_why, sizeof(r->_why), "%s", why);
    wait_then_resume(r, retry_delay_us(&r->_retry, ANSWER_TRANSIENT, NULL));
}

void request_pause(struct request *r, int64_t delay_us)
{
    ASSERT(r->_timer._heap_index == 0);
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
