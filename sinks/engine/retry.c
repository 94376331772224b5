/*
 * COLD. The retry policy. Google's classes: 408, 429 and 5xx are transient; 403 means four
 * different things and 400 two, told apart only by the reason in the error body. Intermediaries
 * answer in HTML or with nothing, so a body is never required.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "sinks/engine/answer.h"
#include "sinks/engine/retry_internal.h"

#define DELAY_US_MIN ((int64_t)20000)
#define DELAY_CAP    64 /* times the base */
#define QUOTA_US     ((int64_t)600 * 1000000)
#define WAKE_US      ((int64_t)250000)
#define SERVER_S_MAX ((int64_t)3600) /* a longer Retry-After is not believed */
#define REASON_BYTES 64

int64_t retry_base_us = RETRY_BASE_US;

/* {"error":{"errors":[{"reason":...,"message":...}],"status":...,"message":...}} */
static void error_reason(struct json_value root, char *reason, size_t reason_len)
{
    struct json_value errors, first;
    struct json_walk w;

    ASSERT(reason_len > 0);
    reason[0] = '\0';
    if (answer_find(root, "error.errors", &errors) && errors.type == JSON_ARRAY) {
        json_walk_init(&w, errors);
        if (json_walk_element(&w, &first) && first.type == JSON_OBJECT &&
            answer_string(first, "reason", reason, reason_len))
            return;
    }
    (void)answer_string(root, "error.status", reason, reason_len);
}

static bool one_of(const char *reason, const char *const *list, size_t n)
{
    ASSERT(reason != NULL);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(reason, list[i]) == 0)
            return true;
    }
    return false;
}

static enum answer_class classify_by_reason(const struct http_answer *a)
{
    static const char *const transient_403[] = {"rateLimitExceeded", "userRateLimitExceeded",
                                                "jobRateLimitExceeded", "backendError"};
    static const char *const quota_403[] = {"quotaExceeded", "dailyLimitExceeded"};
    static const char *const transient_400[] = {
        "jobBackendError", "jobInternalError", "jobRateLimitExceeded", "tableUnavailable",
        "backendError",    "internalError",    "rateLimitExceeded"};
    char reason[REASON_BYTES];
    struct json_value root;

    ASSERT(a->status == 400 || a->status == 403);
    if (!answer_object(a->body, &root))
        return ANSWER_PERMANENT;
    error_reason(root, reason, sizeof(reason));
    if (a->status == 400)
        return one_of(reason, transient_400, ARRAY_LEN(transient_400)) ? ANSWER_TRANSIENT
                                                                       : ANSWER_PERMANENT;
    if (one_of(reason, quota_403, ARRAY_LEN(quota_403)))
        return ANSWER_QUOTA;
    return one_of(reason, transient_403, ARRAY_LEN(transient_403)) ? ANSWER_TRANSIENT
                                                                   : ANSWER_PERMANENT;
}

enum answer_class answer_classify(const struct http_answer *a)
{
    ASSERT(a != NULL);
    if (a->status >= 200 && a->status <= 299)
        return ANSWER_OK;
    if (a->status == 0 || a->status >= 500)
        return ANSWER_TRANSIENT;
    switch (a->status) {
    case 400:
    case 403:
        return classify_by_reason(a);
    case 401:
        return ANSWER_AUTH;
    case 404:
        return ANSWER_NOT_FOUND;
    case 408:
    case 429:
        return ANSWER_TRANSIENT;
    case 409:
        return ANSWER_CONFLICT;
    case 412:
        return ANSWER_PRECONDITION;
    default:
        return ANSWER_PERMANENT;
    }
}

/* Control characters would break a status line or a terminal. */
static void make_printable(char *s)
{
    ASSERT(s != NULL);
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < ' ' || *s == 127)
            *s = ' ';
    }
}

void answer_describe(const struct http_answer *a, char *out)
{
    char message[REASON_TEXT_BYTES - REASON_BYTES - 32];
    char reason[REASON_BYTES];
    struct json_value root, text;

    ASSERT(a != NULL && out != NULL);
    if (a->status == 0) {
        snprintf(out, REASON_TEXT_BYTES, "no answer: %.400s",
                 a->error != NULL ? a->error : "unknown");
    } else if (!answer_object(a->body, &root)) {
        snprintf(out, REASON_TEXT_BYTES, "%d: %.*s", a->status,
                 a->body.len < 200 ? (int)a->body.len : 200,
                 a->body.ptr != NULL ? a->body.ptr : "");
    } else {
        error_reason(root, reason, sizeof(reason));
        message[0] = '\0';
        if (answer_find(root, "error.message", &text))
            (void)answer_copy(text, message, sizeof(message));
        snprintf(out, REASON_TEXT_BYTES, "%d%s%s: %s", a->status, reason[0] != '\0' ? " " : "",
                 reason, message);
    }
    make_printable(out);
}

/* xorshift64*: jitter needs no more; seeded apart in every process. */
static uint64_t random_next(struct retry_state *r)
{
    uint64_t x = r->random;

    ASSERT(r != NULL);
    if (x == 0 && (getrandom(&x, sizeof(x), GRND_NONBLOCK) != (ssize_t)sizeof(x) || x == 0))
        x = (uint64_t)(uintptr_t)r | 1;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    r->random = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

bool retry_is_outage(const struct http_answer *a)
{
    ASSERT(a != NULL);
    return a->status == 0 || a->status == 408 || a->status >= 500;
}

bool retry_circuit_open(const struct retry_circuit *c)
{
    return c->failures >= RETRY_OUTAGE_ANSWERS;
}

bool retry_circuit_heard(struct retry_circuit *c, const struct http_answer *a)
{
    bool was_open = retry_circuit_open(c);

    ASSERT(a != NULL);
    if (retry_is_outage(a)) {
        c->failures += was_open ? 0 : 1;
        return false;
    }
    c->failures = 0;
    return was_open;
}

/* What the server asked for, if that is longer. */
static int64_t at_least_asked(int64_t delay, const struct http_answer *a)
{
    int64_t asked_s = a == NULL ? 0 : a->retry_after_s;

    ASSERT(delay >= 0);
    if (asked_s > SERVER_S_MAX)
        asked_s = SERVER_S_MAX;
    return asked_s * 1000000 > delay ? asked_s * 1000000 : delay;
}

int64_t retry_probe_us(struct retry_state *r, const struct http_answer *a)
{
    ASSERT(r != NULL);
    return at_least_asked(
        2 * retry_base_us + (int64_t)(random_next(r) % (uint64_t)(2 * retry_base_us)), a);
}

int64_t retry_wake_us(struct retry_state *r)
{
    ASSERT(r != NULL);
    return (int64_t)(random_next(r) % (uint64_t)WAKE_US);
}

int64_t retry_delay_us(struct retry_state *r, enum answer_class c, const struct http_answer *a)
{
    uint32_t shift = r->tries < 6 ? r->tries : 6;
    int64_t ceiling = retry_base_us << shift;
    int64_t delay;

    static_assert(DELAY_CAP == 1 << 6, "the shift stops at the cap");
    ASSERT(c != ANSWER_OK);
    delay = (int64_t)(random_next(r) % (uint64_t)ceiling);
    if (delay < DELAY_US_MIN)
        delay = retry_base_us < DELAY_US_MIN ? retry_base_us : DELAY_US_MIN;
    if (c == ANSWER_QUOTA)
        delay += QUOTA_US;
    r->tries++;
    return at_least_asked(delay, a);
}
