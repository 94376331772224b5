// Role: tokens. Assertions are verified as Google does: signature, times, audience, scope; errors
// carry Google's words. Tokens live in memory: a restart makes all of them invalid.
#include "tools/localcloud/token.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/http.h"
#include "tools/localcloud/route.h"

enum {
    TOKENS_MAX = 1024, // the oldest is forgotten
    TOKEN_BYTES = 48,
    LIFE_S_MAX = 3600,
    SKEW_S = 5, // of the sender's clock, ahead of ours
    SCOPE_STORAGE = 1,
    SCOPE_BIGQUERY = 2,
};

#define SCOPE_PREFIX "https://www.googleapis.com/auth/"
#define GRANT_JWT    "urn:ietf:params:oauth:grant-type:jwt-bearer"
#define FLAVOR       "Metadata-Flavor"

struct token {
    char text[TOKEN_BYTES];
    int64_t ends_us;
    int scopes;
};

struct lc_tokens {
    pthread_mutex_t lock;
    EVP_PKEY *keys[LC_TOKEN_KEYS_MAX];
    size_t key_count;
    char *refresh_token;
    int64_t seconds;
    bool require;
    struct token list[TOKENS_MAX];
    size_t next;
};

static EVP_PKEY *read_key(const char *path)
{
    FILE *f = fopen(path, "re");
    EVP_PKEY *key = f ? PEM_read_PUBKEY(f, NULL, NULL, NULL) : NULL;
    if (f)
        fclose(f);
    return key;
}

struct lc_tokens *lc_tokens_create(const struct lc_token_options *o, char *err, size_t err_size)
{
    struct lc_tokens *t = lc_alloc(sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    t->seconds = o->seconds;
    t->require = o->require;
    t->refresh_token = o->refresh_token ? lc_strdup(o->refresh_token) : NULL;
    for (size_t i = 0; i < o->key_count; i++) {
        t->keys[i] = read_key(o->keys[i]);
        if (!t->keys[i]) {
            snprintf(err, err_size, "--token-key %s: no public key in PEM form", o->keys[i]);
            lc_tokens_destroy(t);
            return NULL;
        }
        t->key_count++;
    }
    return t;
}

void lc_tokens_destroy(struct lc_tokens *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->key_count; i++)
        EVP_PKEY_free(t->keys[i]);
    pthread_mutex_destroy(&t->lock);
    free(t->refresh_token);
    free(t);
}

// ---- access tokens ----

static void issue(struct lc_req *r, int scopes)
{
    struct lc_tokens *t = r->app->tokens;
    char hex[33];
    pthread_mutex_lock(&t->lock);
    struct token *k = &t->list[t->next++ % TOKENS_MAX];
    snprintf(k->text, sizeof k->text, "ya29.%s", lc_random_hex(hex, 16));
    k->ends_us = lc_now_us() + t->seconds * 1000000;
    k->scopes = scopes;
    json_t *answer = json_pack("{s:s,s:I,s:s}", "access_token", k->text, "expires_in",
                               (json_int_t)t->seconds, "token_type", "Bearer");
    pthread_mutex_unlock(&t->lock);
    lc_reply_header(r, "Cache-Control", "no-store");
    lc_reply_json(r, 200, answer);
}

// @return scopes of a token that is good now, -1 when it is none.
static int scopes_of(struct lc_tokens *t, const char *text)
{
    int scopes = -1;
    int64_t now = lc_now_us();
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < TOKENS_MAX; i++)
        if (*t->list[i].text && now < t->list[i].ends_us && strcmp(t->list[i].text, text) == 0)
            scopes = t->list[i].scopes;
    pthread_mutex_unlock(&t->lock);
    return scopes;
}

void lc_token_check(struct lc_req *r)
{
    const char *service = lc_route_service(r);
    const char *header = lc_req_header(r, "Authorization");
    bool storage = strcmp(service, "storage") == 0;
    if (!r->app->tokens->require || (!storage && strcmp(service, "bigquery") != 0))
        return;
    bool session = strncmp(r->uri, "/upload/", strlen("/upload/")) == 0 && lc_param(r, "upload_id");
    if (!header && session) // a session's address is a secret of its own
        return;
    bool bearer = header && strncasecmp(header, "Bearer ", 7) == 0;
    int scopes = bearer ? scopes_of(r->app->tokens, header + 7) : -1;
    if (scopes < 0) {
        lc_reply_header(r, "WWW-Authenticate",
                        bearer ? "Bearer realm=\"https://accounts.google.com/\", "
                                 "error=\"invalid_token\""
                               : "Bearer realm=\"https://accounts.google.com/\"");
        lc_fail(r, 401, "authError",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, "
                "login cookie or other valid authentication credential.");
    } else if (!(scopes & (storage ? SCOPE_STORAGE : SCOPE_BIGQUERY))) {
        lc_fail(r, 403, "insufficientPermissions",
                "Request had insufficient authentication scopes.");
    }
}

// ---- the token endpoint ----

static void refuse(struct lc_req *r, int status, const char *error, const char *description)
{
    lc_reply_json(r, status,
                  json_pack("{s:s,s:s}", "error", error, "error_description", description));
}

// Value of a form field. Owner: caller. @return NULL when it is missing or malformed.
static char *form_field(const struct lc_req *r, const char *name)
{
    const char *s = r->body.n ? r->body.p : "";
    size_t name_n = strlen(name);
    while (*s) {
        size_t n = strcspn(s, "&");
        if (n > name_n && s[name_n] == '=' && memcmp(s, name, name_n) == 0)
            return lc_percent_decode(s + name_n + 1, n - name_n - 1, true);
        s += n + (s[n] == '&');
    }
    return NULL;
}

// RFC 7515: URL-safe and without padding, nothing else.
static bool decode_part(const char *s, size_t n, uint8_t **out, size_t *out_n)
{
    for (size_t i = 0; i < n; i++)
        if (strchr("+/=", s[i]))
            return false;
    return n > 0 && lc_base64_decode(s, n, out, out_n);
}

static json_t *decode_json(const char *s, size_t n)
{
    uint8_t *raw;
    size_t raw_n;
    if (!decode_part(s, n, &raw, &raw_n))
        return NULL;
    json_t *j = json_loadb((char *)raw, raw_n, JSON_REJECT_DUPLICATES, NULL);
    free(raw);
    if (json_is_object(j))
        return j;
    json_decref(j);
    return NULL;
}

static bool signed_by(EVP_PKEY *key, const char *text, size_t n, const uint8_t *sig, size_t sig_n)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestVerifyInit(c, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(c, sig, sig_n, (const uint8_t *)text, n) == 1;
    EVP_MD_CTX_free(c);
    return ok;
}

static bool signature_good(struct lc_tokens *t, const char *jwt, size_t n, const char *part)
{
    uint8_t *sig;
    size_t sig_n;
    bool ok = false;
    if (!decode_part(part, strlen(part), &sig, &sig_n))
        return false;
    for (size_t i = 0; i < t->key_count && !ok; i++)
        ok = signed_by(t->keys[i], jwt, n, sig, sig_n);
    free(sig);
    return ok;
}

// @return the services that a scope list opens, -1 when it holds something that is no scope.
static int read_scopes(const char *list)
{
    static const struct {
        const char *name;
        int scopes;
    } known[] = {{"cloud-platform", SCOPE_STORAGE | SCOPE_BIGQUERY},
                 {"devstorage.read_write", SCOPE_STORAGE},
                 {"devstorage.full_control", SCOPE_STORAGE},
                 {"bigquery", SCOPE_BIGQUERY}};
    int scopes = 0;
    for (const char *s = list; *s;) {
        size_t n = strcspn(s, " "), prefix = strlen(SCOPE_PREFIX);
        if (n <= prefix || memcmp(s, SCOPE_PREFIX, prefix) != 0)
            return -1;
        for (size_t i = 0; i < LC_ARRAY_LEN(known); i++)
            if (strlen(known[i].name) == n - prefix &&
                memcmp(s + prefix, known[i].name, n - prefix) == 0)
                scopes |= known[i].scopes;
        s += n + (s[n] == ' ');
    }
    return *list ? scopes : -1;
}

static bool times_good(const json_t *claims)
{
    const json_t *iat = json_object_get(claims, "iat"), *exp = json_object_get(claims, "exp");
    int64_t now = lc_now_us() / 1000000;
    if (!json_is_integer(iat) || !json_is_integer(exp))
        return false;
    int64_t from = json_integer_value(iat), to = json_integer_value(exp);
    return from <= now + SKEW_S && to > now && to > from && to - from <= LIFE_S_MAX;
}

static bool audience_good(const struct lc_req *r, const char *aud)
{
    char *want = lc_format("http://%s/token", lc_req_host(r));
    bool ok = aud && strcmp(aud, want) == 0;
    free(want);
    return ok;
}

static void claims_check(struct lc_req *r, const json_t *claims)
{
    const char *iss = lc_json_str(claims, "iss"), *scope = lc_json_str(claims, "scope");
    int scopes = scope ? read_scopes(scope) : -1;
    if (!iss || !strchr(iss, '@'))
        refuse(r, 400, "invalid_grant", "Invalid grant: account not found");
    else if (!times_good(claims))
        refuse(r, 400, "invalid_grant",
               "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
               "timeframe. Check your iat and exp values in the JWT claim.");
    else if (!audience_good(r, lc_json_str(claims, "aud")))
        refuse(r, 400, "invalid_grant", "Invalid JWT: Failed audience check.");
    else if (scopes < 0)
        refuse(r, 400, "invalid_scope", "Invalid OAuth scope or ID token audience provided.");
    else
        issue(r, scopes);
}

static void grant_jwt(struct lc_req *r, const char *jwt)
{
    const char *claims_part = strchr(jwt, '.');
    const char *sig_part = claims_part ? strchr(claims_part + 1, '.') : NULL;
    json_t *header = NULL, *claims = NULL;
    if (sig_part) {
        header = decode_json(jwt, (size_t)(claims_part - jwt));
        claims = decode_json(claims_part + 1, (size_t)(sig_part - claims_part) - 1);
    }
    const char *alg = lc_json_str(header, "alg"), *typ = lc_json_str(header, "typ");
    if (!header || !claims)
        refuse(r, 400, "invalid_grant", "Bad Request");
    else if (!alg || strcmp(alg, "RS256") != 0 || !typ || strcmp(typ, "JWT") != 0)
        refuse(r, 400, "invalid_grant", "Invalid JWT: alg must be RS256 and typ JWT.");
    else if (!signature_good(r->app->tokens, jwt, (size_t)(sig_part - jwt), sig_part + 1))
        refuse(r, 400, "invalid_grant", "Invalid JWT Signature.");
    else
        claims_check(r, claims);
    json_decref(header);
    json_decref(claims);
}

static void grant_refresh(struct lc_req *r)
{
    struct lc_tokens *t = r->app->tokens;
    char *id = form_field(r, "client_id"), *secret = form_field(r, "client_secret");
    char *token = form_field(r, "refresh_token");
    if (!id || !*id || !secret || !*secret)
        refuse(r, 401, "invalid_client", "The OAuth client was not found.");
    else if (!token || !t->refresh_token || strcmp(token, t->refresh_token) != 0)
        refuse(r, 400, "invalid_grant", "Token has been expired or revoked.");
    else
        issue(r, SCOPE_STORAGE | SCOPE_BIGQUERY);
    free(id);
    free(secret);
    free(token);
}

void lc_token_handler(struct lc_req *r)
{
    const char *type = lc_req_header(r, "Content-Type");
    char *grant = form_field(r, "grant_type"), *jwt = form_field(r, "assertion");
    if (!type || strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0)
        refuse(r, 400, "invalid_request", "The body is no application/x-www-form-urlencoded.");
    else if (!grant)
        refuse(r, 400, "invalid_request", "Required parameter is missing: grant_type");
    else if (strcmp(grant, "refresh_token") == 0)
        grant_refresh(r);
    else if (strcmp(grant, GRANT_JWT) != 0)
        refuse(r, 400, "unsupported_grant_type", "Invalid grant_type");
    else if (!jwt)
        refuse(r, 400, "invalid_request", "Required parameter is missing: assertion");
    else
        grant_jwt(r, jwt);
    free(grant);
    free(jwt);
}

// ---- the metadata server ----

void lc_metadata_handler(struct lc_req *r)
{
    const char *flavor = lc_req_header(r, FLAVOR);
    const char *what = r->segments[r->segment_count - 1];
    lc_reply_header(r, FLAVOR, "Google");
    if (!flavor || strcmp(flavor, "Google") != 0)
        lc_reply_text(r, 403, "text/html", "Missing Metadata-Flavor:Google header.\n");
    else if (lc_req_header(r, "X-Forwarded-For"))
        lc_reply_text(r, 403, "text/html", "Proxied requests are refused.\n");
    else if (strcmp(what, "token") == 0)
        issue(r, SCOPE_STORAGE | SCOPE_BIGQUERY);
    else if (strcmp(what, "email") == 0)
        lc_reply_text(r, 200, "application/text", "default@localcloud.iam.gserviceaccount.com");
    else
        lc_reply_text(r, 200, "application/text", "localcloud");
}
