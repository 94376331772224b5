/*
 * COLD. Tokens in use: how long they are good, who waits for one, and what a refusal means. A fetch
 * that fails never takes away a token that is good.
 */
#include "sinks/engine/auth_internal.h"

#include <openssl/crypto.h>
#include <stdio.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"

#define REREAD_US ((int64_t)60 * 1000000)  /* of a token file */
#define EARLY_US  ((int64_t)300 * 1000000) /* a token is renewed so long before its end */
#define NOT_YET   "no access token yet: asked for"

int64_t (*auth_clock_us)(void) = clock_monotonic_us;

static bool is_fetched(const struct auth *a)
{
    ASSERT(a != NULL);
    return a->_kind == AUTH_KEY_FILE || a->_kind == AUTH_METADATA;
}

void auth_set_refused_retry(struct auth *a, int64_t retry_us)
{
    ASSERT(retry_us > 0);
    a->_config.refused_retry_us = retry_us;
}

int auth_init(struct auth *a, const struct auth_config *config, char *error, size_t error_len)
{
    int rc;

    ASSERT(a != NULL && error_len > 0);
    *a = (struct auth){._config = *config};
    a->_waiters._prev = a->_waiters._next = &a->_waiters;
    snprintf(a->_why, sizeof(a->_why), "%s", NOT_YET);
    error[0] = '\0';
    rc = auth_find(a, error, error_len);
    if (rc != 0)
        auth_fini(a);
    return rc;
}

void auth_fini(struct auth *a)
{
    ASSERT(a->_loop == NULL && a->_waiters._next == &a->_waiters);
    auth_key_destroy(a->_key);
    auth_text_wipe(&a->_body);
    OPENSSL_cleanse(a->_header, sizeof(a->_header));
    a->_key = NULL;
    a->_kind = AUTH_NONE;
}

void auth_bind(struct auth *a, struct loop *loop, struct http_client *http)
{
    ASSERT(loop != NULL && http != NULL);
    if (!is_fetched(a))
        return;
    ASSERT(a->_loop == NULL);
    a->_loop = loop;
    a->_http = http;
}

void auth_unbind(struct auth *a)
{
    if (a->_loop == NULL)
        return;
    ASSERT(a->_waiters._next == &a->_waiters);
    auth_fetch_cancel(a);
    a->_loop = NULL;
    a->_http = NULL;
}

/* ---- waiting ---- */

void auth_wait(struct auth *a, struct auth_waiter *w)
{
    ASSERT(w->ready != NULL && w->_next == NULL);
    ASSERT(is_fetched(a) && a->_loop != NULL);
    w->_next = &a->_waiters;
    w->_prev = a->_waiters._prev;
    w->_prev->_next = w;
    a->_waiters._prev = w;
}

void auth_wait_cancel(struct auth_waiter *w)
{
    if (w->_next == NULL)
        return;
    ASSERT(w->_prev->_next == w);
    w->_prev->_next = w->_next;
    w->_next->_prev = w->_prev;
    w->_prev = w->_next = NULL;
}

/* A ready() may end other waiters, so the first one is taken anew each time. */
static void waiters_run(struct auth *a)
{
    while (a->_waiters._next != &a->_waiters && auth_token_good(a)) {
        struct auth_waiter *w = a->_waiters._next;

        ASSERT(w->ready != NULL);
        auth_wait_cancel(w);
        w->ready(w);
    }
}

/* ---- tokens ---- */

bool auth_token_good(const struct auth *a)
{
    ASSERT(a != NULL);
    return a->_header[0] != '\0' && auth_clock_us() < a->_expires_us;
}

/* Short-lived tokens are renewed in the middle of their life: the metadata server gives its old one
 * until shortly before the end. */
void auth_token_take(struct auth *a, const char *header, int64_t sent_us, int64_t seconds)
{
    int64_t life_us = seconds * 1000000;

    ASSERT(seconds > 0 && strlen(header) < sizeof(a->_header));
    snprintf(a->_header, sizeof(a->_header), "%s", header);
    a->_generation++;
    a->_expires_us = sent_us + life_us;
    a->_refresh_us = a->_expires_us - (life_us / 2 < EARLY_US ? life_us / 2 : EARLY_US);
    if (a->_failing)
        log_info("auth", "an access token came from %s", a->_url);
    a->_failing = false;
    a->_refused = false;
    a->_found = true;
    a->_retry.tries = 0;
    snprintf(a->_why, sizeof(a->_why), "%s", NOT_YET);
    if (auth_token_good(a))
        waiters_run(a);
    if (a->_waiters._next != &a->_waiters) /* it ended on the way */
        auth_fetch(a);
}

static void file_renew(struct auth *a)
{
    int rc;

    ASSERT(a->_kind == AUTH_TOKEN_FILE);
    if (a->_read_us != 0 && clock_monotonic_us() - a->_read_us <= REREAD_US)
        return;
    rc = auth_file_read(a);
    if (rc != 0)
        log_warn("auth", "%s: %s; the token read before is used on", a->_config.token_file,
                 strerror(-rc));
}

bool auth_take(struct auth *a, const char **header, uint64_t *generation)
{
    ASSERT(header != NULL && generation != NULL);
    *header = NULL;
    *generation = a->_generation;
    if (a->_kind == AUTH_NONE)
        return true;
    if (a->_kind == AUTH_TOKEN_FILE) {
        file_renew(a);
    } else {
        bool good = auth_token_good(a);

        if (!good || auth_clock_us() >= a->_refresh_us)
            auth_fetch(a);
        if (!good)
            return false;
    }
    *header = a->_header;
    *generation = a->_generation;
    return true;
}

void auth_refused(struct auth *a, uint64_t generation)
{
    ASSERT(generation <= a->_generation);
    if (a->_kind == AUTH_NONE || generation != a->_generation)
        return;
    if (a->_kind == AUTH_TOKEN_FILE) {
        a->_read_us = 0;
        return;
    }
    OPENSSL_cleanse(a->_header, sizeof(a->_header));
    a->_expires_us = 0;
    auth_fetch(a);
}

/* ---- what others may know ---- */

const char *auth_why(const struct auth *a)
{
    ASSERT(a->_why[0] != '\0');
    return a->_why;
}

bool auth_is_refused(const struct auth *a)
{
    ASSERT(a != NULL);
    return is_fetched(a) && a->_refused && !auth_token_good(a);
}

const char *auth_quota_project(const struct auth *a)
{
    ASSERT(a != NULL);
    return a->_quota_project[0] != '\0' ? a->_quota_project : NULL;
}

const char *auth_project(const struct auth *a)
{
    ASSERT(a != NULL);
    return a->_key != NULL && a->_key->project[0] != '\0' ? a->_key->project : NULL;
}
