/*
 * Bearer tokens for calls to Google: where they come from, how they are renewed, and who waits for
 * them.
 *
 *     sources   a token file that somebody else renews; a service account's key file; a user's
 *               refresh token; the metadata server; none (emulators)
 *     auth_take -> true: send with this header, or without one
 *          |         `- five minutes before expiry a new token is fetched beside
 *          `-> false: no token yet; auth_wait, and ready() runs when there is one
 *
 * One fetch at a time. While it fails, the old token is used as long as it is good, and then calls
 * wait: nothing is dropped. A token server that refuses (4xx) is asked again after
 * refused_retry_us, with the key file read anew; all else by the retry policy.
 *
 * Thread: auth_init() on any; then the thread of the loop it is bound to.
 */
#ifndef PENSTOCK_ENGINE_AUTH_H
#define PENSTOCK_ENGINE_AUTH_H

#include "sinks/engine/http.h"
#include "sinks/engine/retry.h"
#include "sinks/engine/text.h"

#define AUTH_HEADER_BYTES  4200
#define AUTH_ERROR_BYTES   4608 /* a path, a field and what is wrong with it */
#define AUTH_URL_BYTES     512
#define AUTH_PROJECT_BYTES 64

/** In the order in which the configuration names them. */
enum auth_source {
    AUTH_SOURCE_AUTO,     /* the search, unless every endpoint is plain http */
    AUTH_SOURCE_SEARCH,   /* Google's search order, for every endpoint */
    AUTH_SOURCE_METADATA, /* the metadata server, for every endpoint */
    AUTH_SOURCE_NONE,     /* no credentials are sent */
};

/** Texts are borrowed for the life of the auth. Zeroed: no files, the search. */
struct auth_config {
    enum auth_source source;
    const char *token_file;   /* or NULL */
    const char *key_file;     /* or NULL */
    const char *endpoints[2]; /* where calls go; NULL: not used */
    int64_t refused_retry_us; /* pause after a refusal; 0: a minute */
};

enum auth_kind { AUTH_NONE, AUTH_TOKEN_FILE, AUTH_KEY_FILE, AUTH_METADATA };

/** Somebody without a token, embedded in its owner; zero it before first use. */
struct auth_waiter {
    void (*ready)(struct auth_waiter *w);
    struct auth_waiter *_prev, *_next; /* NULL: does not wait */
};

struct auth_key;

/** A token source; one per sink thread. Stays where it was initialised. */
struct auth {
    struct auth_config _config;
    enum auth_kind _kind;
    bool _chosen; /* by configuration: plain http endpoints get tokens too */
    bool _found;  /* the metadata server has answered, or was named by configuration */
    struct auth_key *_key;
    char _url[AUTH_URL_BYTES]; /* of the token server */
    char _quota_project[AUTH_PROJECT_BYTES];

    char _header[AUTH_HEADER_BYTES]; /* "Authorization: Bearer ..." or "" */
    uint64_t _generation;            /* counts tokens */
    int64_t _expires_us, _refresh_us;
    int64_t _read_us; /* of the token file */

    struct loop *_loop; /* NULL: not bound */
    struct http_client *_http;
    struct http_call _call;
    struct loop_timer _timer; /* armed after a failure */
    struct retry_state _retry;
    struct text _body;
    struct iovec _body_part;
    int64_t _sent_us;
    bool _failing; /* the last fetch failed */
    bool _refused; /* and trying again does not help by itself */
    char _why[REASON_TEXT_BYTES];
    struct auth_waiter _waiters; /* a ring */
};

/**
 * Finds and reads credentials; no network. A file that is named but cannot be used is an error.
 * @return 0; -errno with error naming file and field (AUTH_ERROR_BYTES hold every one whole).
 */
int auth_init(struct auth *a, const struct auth_config *config, char *error,
              size_t error_len) WARN_UNUSED;

/** Wipes and frees. Not bound, and nobody waits. */
void auth_fini(struct auth *a);

/** Gives it the loop and client to fetch with. Sources that need none ignore it. */
void auth_bind(struct auth *a, struct loop *loop, struct http_client *http);

/** Cancels what is under way; before loop or client go. Not bound is fine. */
void auth_unbind(struct auth *a);

/** The auth for calls to an endpoint: NULL for plain http (an emulator), unless credentials are
 * configured. a may be NULL. */
struct auth *auth_for(struct auth *a, const char *endpoint);

/**
 * The header line for a call that starts now, or NULL without credentials; fetches what is due.
 * @param generation of this token, for auth_refused().
 * @return false when there is no token and the call has to wait; a fetch is under way or due.
 */
bool auth_take(struct auth *a, const char **header, uint64_t *generation) WARN_UNUSED;

/** Runs w->ready, once, as soon as there is a token. */
void auth_wait(struct auth *a, struct auth_waiter *w);

/** Ends waiting; a waiter that does not wait is fine. */
void auth_wait_cancel(struct auth_waiter *w);

/** After a 401: drops the token of this generation and fetches another. A newer one stays. */
void auth_refused(struct auth *a, uint64_t generation);

/** Why there is no token, for people; the text changes in place and lives as long as a. */
const char *auth_why(const struct auth *a);

/** Whether there is no token because credentials were refused or not found: a person has to act. */
bool auth_is_refused(const struct auth *a);

/** The project that pays (quota_project_id, GOOGLE_CLOUD_QUOTA_PROJECT), or NULL. */
const char *auth_quota_project(const struct auth *a);

/** The key file's project, or NULL. */
const char *auth_project(const struct auth *a);

/** Another pause after a refusal, from the next one on. Thread: the loop's. */
void auth_set_refused_retry(struct auth *a, int64_t retry_us);

#endif
