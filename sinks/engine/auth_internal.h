/* The parts of the token source. Private to the engine. */
#ifndef PENSTOCK_ENGINE_AUTH_INTERNAL_H
#define PENSTOCK_ENGINE_AUTH_INTERNAL_H

#include <openssl/evp.h>

#include "sinks/engine/auth.h"

#define AUTH_SCOPES                                          \
    "https://www.googleapis.com/auth/devstorage.read_write " \
    "https://www.googleapis.com/auth/bigquery"
#define AUTH_GOOGLE_TOKEN_URL "https://oauth2.googleapis.com/token"
#define AUTH_PREFIX           "Authorization: Bearer "
#define AUTH_KEY_FILE_BYTES   ((size_t)64 << 10)

enum auth_key_type { AUTH_SERVICE_ACCOUNT, AUTH_AUTHORIZED_USER };

/** What a key file says. Wiped when freed. */
struct auth_key {
    enum auth_key_type type;
    char file[4096];
    char token_uri[AUTH_URL_BYTES];
    char project[AUTH_PROJECT_BYTES];       /* or "" */
    char quota_project[AUTH_PROJECT_BYTES]; /* or "" */
    /* service_account */
    char client_email[320];
    char private_key_id[128]; /* or "" */
    EVP_PKEY *private_key;
    /* authorized_user */
    char client_id[256];
    char client_secret[256];
    char refresh_token[1024];
};

/**
 * Reads a key file's text; JSON_PADDING_BYTES behind len are readable. file is its name for errors.
 * @return 0; -EINVAL with error "file: field: what is wrong"; -ENOMEM.
 */
int auth_key_parse(const char *file, const char *text, size_t len, struct auth_key **out,
                   char *error, size_t error_len) WARN_UNUSED;

/** Reads a key file. @return as auth_key_parse(), or -errno. */
int auth_key_load(const char *file, struct auth_key **out, char *error,
                  size_t error_len) WARN_UNUSED;

/** Wipes and frees. NULL is allowed. */
void auth_key_destroy(struct auth_key *k);

/** Appends base64url without padding. */
void auth_base64url(struct text *t, const void *bytes, size_t len);

/** Appends the signed assertion of a service account. @return 0; -EIO when signing fails; -ENOMEM.
 */
int auth_jwt(struct text *t, const struct auth_key *k, int64_t now_s) WARN_UNUSED;

/** Appends the body to post to the token server. @return as auth_jwt(). */
int auth_form(struct text *t, const struct auth_key *k, int64_t now_s) WARN_UNUSED;

/**
 * Reads a token server's answer to 200.
 * @param header receives the header line (AUTH_HEADER_BYTES).
 * @return NULL; or what is wrong with it.
 */
const char *auth_answer_read(struct span body, char *header, int64_t *seconds) WARN_UNUSED;

/** Writes "400 invalid_grant: description" into out (REASON_TEXT_BYTES). */
void auth_answer_describe(const struct http_answer *a, char *out);

/** Whether a token may stand in a header: 1 to about 4000 printable characters without space. */
bool auth_token_valid(struct span token) WARN_UNUSED;

/** Finds the source: fills kind, key, URL and projects. @return as auth_init(). */
int auth_find(struct auth *a, char *error, size_t error_len) WARN_UNUSED;

/** Reads the token file anew. @return 0 or -errno; the token stays. */
int auth_file_read(struct auth *a) WARN_UNUSED;

/** Starts a fetch, unless one is under way or a pause after a failure is. */
void auth_fetch(struct auth *a);

/** Ends fetch and pause. */
void auth_fetch_cancel(struct auth *a);

/** Takes a token that is good for seconds from sent_us on, and runs who waits. */
void auth_token_take(struct auth *a, const char *header, int64_t sent_us, int64_t seconds);

/** Whether there is a token that is good now. */
bool auth_token_good(const struct auth *a) WARN_UNUSED;

/** The file that gcloud writes, or "" without a home. out holds len bytes. */
void auth_wellknown_file(char *out, size_t len);

/** Frees text that held secrets. */
void auth_text_wipe(struct text *t);

/** The clock of expiry; tests put their own here before they start anything. */
extern int64_t (*auth_clock_us)(void);

#endif
