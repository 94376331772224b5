/*
 * COLD. Fetches tokens. Thread: the loop's.
 *
 *     auth_fetch --> POST to the token server, or GET from the metadata server
 *        ^             |--200 and a token ---------> auth_token_take: the waiting run
 *        |             |--other 4xx -----> pause: refused_retry_us, and the key file is read anew
 *        |             `--none, 408, 429, 5xx, nonsense -> pause: the retry policy's
 *        `---------------------- timer <------------------------'
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "sinks/engine/auth_internal.h"

#define FETCH_TIMEOUT_MS   30000
#define METADATA_WHOLE_MS  10000
#define METADATA_DETECT_MS 3000 /* somewhere else than at Google nothing answers there */
#define REFUSED_RETRY_US   ((int64_t)60 * 1000000)
#define FLAVOR             "Google"
#define WELLKNOWN_SHOWN    200

static void on_timer(struct loop_timer *t)
{
    struct auth *a = container_of(t, struct auth, _timer);

    ASSERT(a->_loop != NULL);
    auth_fetch(a);
}

/* Says so once; the same failure again is only debug. */
static void failure_log(const struct auth *a, bool news)
{
    long long left_s = (long long)((a->_expires_us - auth_clock_us()) / 1000000);

    ASSERT(a->_failing);
    if (!news)
        log_debug("auth", "%s", a->_why);
    else if (auth_token_good(a))
        log_warn("auth", "%s; the token that is there is good for %lld s more", a->_why, left_s);
    else
        log_warn("auth", "%s; calls wait", a->_why);
}

static void fetch_failed(struct auth *a, bool refused, const char *what,
                         const struct http_answer *answer)
{
    char before[REASON_TEXT_BYTES];
    int64_t delay_us = a->_config.refused_retry_us;

    ASSERT(what != NULL);
    memcpy(before, a->_why, sizeof(before));
    snprintf(a->_why, sizeof(a->_why), "%s", what);
    a->_refused = refused;
    a->_failing = true;
    failure_log(a, strcmp(before, a->_why) != 0);
    if (delay_us == 0)
        delay_us = REFUSED_RETRY_US;
    if (!refused)
        delay_us = retry_delay_us(&a->_retry, ANSWER_TRANSIENT, answer);
    loop_timer_set(a->_loop, &a->_timer, delay_us);
}

/* The end of the search: nothing was found, and no metadata server is there. */
static void nothing_found(struct auth *a, const struct http_answer *answer)
{
    char file[4096], what[REASON_TEXT_BYTES];

    ASSERT(a->_kind == AUTH_METADATA && !a->_found);
    auth_wellknown_file(file, sizeof(file));
    snprintf(what, sizeof(what),
             "no credentials: set credentials.file or GOOGLE_APPLICATION_CREDENTIALS, or run "
             "gcloud auth application-default login; %.*s is not there, and no metadata server "
             "answers (%.100s)",
             WELLKNOWN_SHOWN, file[0] != '\0' ? file : "a home directory",
             answer->error != NULL ? answer->error : "wrong answer");
    fetch_failed(a, true, what, answer);
}

static bool flavor_right(const struct auth *a, const struct http_answer *answer)
{
    ASSERT(answer->status != 0);
    return a->_kind != AUTH_METADATA || span_equal(answer->flavor, span_of(FLAVOR));
}

static bool is_transient(int status)
{
    ASSERT(status != 200);
    return status < 400 || status == 408 || status == 429 || status >= 500;
}

static void answer_take(struct auth *a, const struct http_answer *answer)
{
    char header[AUTH_HEADER_BYTES], what[REASON_TEXT_BYTES], text[REASON_TEXT_BYTES];
    const char *wrong = NULL;
    int64_t seconds;

    ASSERT(a->_call._handle == NULL);
    if (answer->status != 0 && !flavor_right(a, answer))
        wrong = "the answer has no Metadata-Flavor: Google: that is no metadata server";
    else if (answer->status == 200)
        wrong = auth_answer_read(answer->body, header, &seconds);
    if (wrong == NULL && answer->status == 200) {
        auth_token_take(a, header, a->_sent_us, seconds);
        OPENSSL_cleanse(header, sizeof(header));
        return;
    }
    if (!a->_found && (answer->status == 0 || !flavor_right(a, answer))) {
        nothing_found(a, answer);
        return;
    }
    if (wrong == NULL)
        auth_answer_describe(answer, text);
    snprintf(what, sizeof(what), "no access token: %.200s: %.280s", a->_url,
             wrong != NULL ? wrong : text);
    fetch_failed(a, wrong == NULL && !is_transient(answer->status), what, answer);
}

static void on_done(struct http_call *call, const struct http_answer *answer)
{
    struct auth *a = container_of(call, struct auth, _call);

    ASSERT(a->_loop != NULL);
    auth_text_wipe(&a->_body);
    answer_take(a, answer);
}

/* A key that was refused may have been replaced. A file that is bad now is not: the old key stays.
 */
static void key_reload(struct auth *a)
{
    char error[AUTH_ERROR_BYTES];
    struct auth_key *k;

    ASSERT(a->_key != NULL);
    if (auth_key_load(a->_key->file, &k, error, sizeof(error)) != 0) {
        log_warn("auth", "%.900s", error);
        return;
    }
    auth_key_destroy(a->_key);
    a->_key = k;
    snprintf(a->_url, sizeof(a->_url), "%s", k->token_uri);
}

static int fetch_start(struct auth *a)
{
    static const char *const form[] = {"Content-Type: application/x-www-form-urlencoded",
                                       "Accept: application/json", NULL};
    static const char *const metadata[] = {"Metadata-Flavor: " FLAVOR, NULL};
    bool post = a->_kind == AUTH_KEY_FILE;
    struct iovec *body = &a->_body_part;
    int rc = post ? auth_form(&a->_body, a->_key, clock_wall_us() / 1000000) : 0;

    ASSERT(a->_call._handle == NULL && a->_url[0] != '\0');
    if (rc != 0)
        return rc;
    *body = (struct iovec){.iov_base = a->_body.ptr, .iov_len = a->_body.len};
    a->_sent_us = auth_clock_us();
    a->_call = (struct http_call){
        .method = post ? "POST" : "GET",
        .url = a->_url,
        .headers = post ? form : metadata,
        .body = post ? body : NULL,
        .body_parts = post ? 1 : 0,
        .body_bytes = a->_body.len,
        .timeout_ms = post ? FETCH_TIMEOUT_MS : METADATA_WHOLE_MS,
        .connect_timeout_ms = post ? 0 : METADATA_DETECT_MS,
        .direct = !post,
        .done = on_done,
    };
    return http_call_start(a->_http, &a->_call);
}

void auth_fetch(struct auth *a)
{
    int rc;

    ASSERT(a->_kind == AUTH_KEY_FILE || a->_kind == AUTH_METADATA);
    ASSERT(a->_loop != NULL); /* bound */
    if (a->_call._handle != NULL || a->_timer._heap_index != 0)
        return;
    a->_timer.fire = on_timer;
    if (a->_refused && a->_key != NULL)
        key_reload(a);
    rc = fetch_start(a);
    if (rc != 0) {
        auth_text_wipe(&a->_body);
        fetch_failed(a, false,
                     rc == -EIO ? "no access token: private_key: cannot sign"
                                : "no access token: out of memory",
                     NULL);
    }
}

void auth_fetch_cancel(struct auth *a)
{
    ASSERT(a->_loop != NULL);
    http_call_cancel(a->_http, &a->_call);
    loop_timer_cancel(a->_loop, &a->_timer);
    auth_text_wipe(&a->_body);
}
