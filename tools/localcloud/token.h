// OAuth 2 as Google serves it: a token endpoint that verifies what is sent to it, the metadata
// server's token, and the check of bearer tokens. Thread: any; a lock inside.
#ifndef LOCALCLOUD_TOKEN_H
#define LOCALCLOUD_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lc_req;
struct lc_tokens;

enum { LC_TOKEN_KEYS_MAX = 16 };

struct lc_token_options {
    const char *keys[LC_TOKEN_KEYS_MAX]; // PEM files of public keys that may sign assertions
    size_t key_count;
    const char *refresh_token; // the one that is accepted, or NULL
    int64_t seconds;           // life of an access token
    bool require;              // API calls need a token
};

/** Reads the keys. Owner: caller, lc_tokens_destroy. @return NULL with a reason in err. */
struct lc_tokens *lc_tokens_create(const struct lc_token_options *o, char *err, size_t err_size);

/** Frees t. NULL is allowed. */
void lc_tokens_destroy(struct lc_tokens *t);

/** Answers 401 or 403 when tokens are required and r, a call to an API, has none that is good. */
void lc_token_check(struct lc_req *r);

/** POST /token: grants jwt-bearer and refresh_token. */
void lc_token_handler(struct lc_req *r);

/** GET /computeMetadata/v1/...: token, email and project-id. */
void lc_metadata_handler(struct lc_req *r);

#endif
