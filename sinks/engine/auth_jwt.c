/*
 * COLD. What is posted to a token server, and what it answers. RFC 7523 with RS256; base64url has
 * no padding (RFC 7515, section 2).
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "sinks/engine/answer.h"
#include "sinks/engine/auth_internal.h"

#define BACKDATED_S     10 /* for a host whose clock is ahead of Google's */
#define LIFETIME_S      3600
#define TOKEN_BYTES_MAX (AUTH_HEADER_BYTES - sizeof(AUTH_PREFIX))
#define SECONDS_MAX     ((int64_t)7 * 86400)
#define FORM_BYTES      8192 /* most that a body needs: no copies are left by growing */
#define CODE_BYTES      64
#define TEXT_BYTES      300

void auth_base64url(struct text *t, const void *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *p = bytes;

    ASSERT(p != NULL || len == 0);
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t bits = (uint32_t)p[i] << 16;
        char out[4];

        bits |= n > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        bits |= n > 2 ? p[i + 2] : 0u;
        for (uint32_t d = 0; d < 4; d++)
            out[d] = digits[bits >> (18 - 6 * d) & 63];
        text_add(t, (struct span){.ptr = out, .len = n + 1});
    }
}

void auth_text_wipe(struct text *t)
{
    ASSERT(t != NULL);
    if (t->ptr != NULL)
        OPENSSL_cleanse(t->ptr, t->len);
    text_fini(t);
}

/* Appends header and claims, encoded. */
static void add_claims(struct text *t, const struct auth_key *k, int64_t now_s)
{
    struct text json = {0};
    int64_t iat = now_s - BACKDATED_S;

    ASSERT(k->type == AUTH_SERVICE_ACCOUNT);
    text_adds(&json, "{\"alg\":\"RS256\",\"typ\":\"JWT\"");
    if (k->private_key_id[0] != '\0') {
        text_adds(&json, ",\"kid\":");
        text_add_json(&json, k->private_key_id);
    }
    text_adds(&json, "}");
    auth_base64url(t, json.ptr, json.len);
    text_adds(t, ".");
    t->_failed = t->_failed || text_failed(&json);
    text_reset(&json);
    text_adds(&json, "{\"iss\":");
    text_add_json(&json, k->client_email);
    text_adds(&json, ",\"scope\":\"" AUTH_SCOPES "\",\"aud\":");
    text_add_json(&json, k->token_uri);
    text_addf(&json, ",\"iat\":%lld,\"exp\":%lld}", (long long)iat, (long long)(iat + LIFETIME_S));
    auth_base64url(t, json.ptr, json.len);
    t->_failed = t->_failed || text_failed(&json);
    text_fini(&json);
}

/* Signs text from `from` on and appends the signature. */
static int add_signature(struct text *t, size_t from, EVP_PKEY *key)
{
    size_t len = (size_t)EVP_PKEY_get_size(key);
    uint8_t *signature = malloc(len);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int rc = -ENOMEM;

    ASSERT(from <= t->len);
    if (signature != NULL && ctx != NULL) {
        rc = -EIO;
        if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
            EVP_DigestSign(ctx, signature, &len, (const uint8_t *)t->ptr + from, t->len - from) ==
                1) {
            text_adds(t, ".");
            auth_base64url(t, signature, len);
            rc = 0;
        }
    }
    EVP_MD_CTX_free(ctx);
    free(signature);
    return rc;
}

int auth_jwt(struct text *t, const struct auth_key *k, int64_t now_s)
{
    size_t from = t->len;
    int rc;

    ASSERT(k->private_key != NULL);
    add_claims(t, k, now_s);
    if (text_failed(t))
        return -ENOMEM;
    rc = add_signature(t, from, k->private_key);
    return rc == 0 && text_failed(t) ? -ENOMEM : rc;
}

/* Room at once, so that growing leaves no copies of secrets behind. */
static void reserve(struct text *t)
{
    static const char zeros[FORM_BYTES];

    ASSERT(t->len == 0);
    text_add(t, (struct span){.ptr = zeros, .len = sizeof(zeros)});
    if (!text_failed(t))
        text_reset(t);
}

static void add_parameter(struct text *t, const char *name, const char *value)
{
    ASSERT(name[0] == '&');
    text_adds(t, name);
    text_add_url(t, value);
}

int auth_form(struct text *t, const struct auth_key *k, int64_t now_s)
{
    ASSERT(k != NULL);
    reserve(t);
    if (k->type == AUTH_SERVICE_ACCOUNT) {
        text_adds(t, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
        return text_failed(t) ? -ENOMEM : auth_jwt(t, k, now_s); /* base64url needs no escapes */
    }
    text_adds(t, "grant_type=refresh_token");
    add_parameter(t, "&client_id=", k->client_id);
    add_parameter(t, "&client_secret=", k->client_secret);
    add_parameter(t, "&refresh_token=", k->refresh_token);
    return text_failed(t) ? -ENOMEM : 0;
}

/* ---- answers ---- */

bool auth_token_valid(struct span token)
{
    ASSERT(token.ptr != NULL || token.len == 0);
    if (token.len == 0 || token.len > TOKEN_BYTES_MAX)
        return false;
    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] <= ' ' || token.ptr[i] > '~')
            return false;
    }
    return true;
}

const char *auth_answer_read(struct span body, char *header, int64_t *seconds)
{
    char type[CODE_BYTES];
    struct json_value root, token;
    struct span raw;
    size_t len;

    ASSERT(header != NULL && seconds != NULL);
    header[0] = '\0';
    if (!answer_object(body, &root))
        return "the answer is no JSON object";
    if (answer_string(root, "token_type", type, sizeof(type)) && strcasecmp(type, "Bearer") != 0)
        return "token_type is not Bearer";
    if (!answer_int64(root, "expires_in", seconds) || *seconds <= 0)
        return "expires_in is missing or not positive";
    if (*seconds > SECONDS_MAX)
        *seconds = SECONDS_MAX;
    if (!answer_find(root, "access_token", &token) || token.type != JSON_STRING)
        return "access_token is missing";
    raw = json_string_body(token);
    if (raw.len > TOKEN_BYTES_MAX)
        return "access_token is too long";
    memcpy(header, AUTH_PREFIX, sizeof(AUTH_PREFIX));
    len = json_unescape(raw, header + sizeof(AUTH_PREFIX) - 1);
    header[sizeof(AUTH_PREFIX) - 1 + len] = '\0';
    if (!auth_token_valid((struct span){.ptr = header + sizeof(AUTH_PREFIX) - 1, .len = len})) {
        header[0] = '\0';
        return "access_token holds a character that cannot stand in a header";
    }
    return NULL;
}

/* RFC 6749, section 5.2. A body of another kind is not repeated: nobody knows what it holds. */
void auth_answer_describe(const struct http_answer *a, char *out)
{
    char code[CODE_BYTES], text[TEXT_BYTES] = "";
    struct json_value root, v;

    ASSERT(a != NULL && out != NULL);
    if (a->status == 0 || !answer_object(a->body, &root)) {
        if (a->status == 0)
            answer_describe(a, out);
        else
            snprintf(out, REASON_TEXT_BYTES, "%d", a->status);
        return;
    }
    if (!answer_string(root, "error", code, sizeof(code))) {
        answer_describe(a, out);
        return;
    }
    if (answer_find(root, "error_description", &v))
        (void)answer_copy(v, text, sizeof(text));
    snprintf(out, REASON_TEXT_BYTES, "%d %s%s%s", a->status, code, text[0] != '\0' ? ": " : "",
             text);
    for (char *s = out; *s != '\0'; s++) {
        if ((unsigned char)*s < ' ' || *s == 127)
            *s = ' ';
    }
}
