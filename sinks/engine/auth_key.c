/*
 * COLD. Key files: a service account's, and what `gcloud auth application-default login` leaves.
 * Every message names the file and the field; no message, ever, holds a value of a secret field.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sinks/engine/answer.h"
#include "sinks/engine/auth_internal.h"

#define KEY_BITS_MIN    1024
#define PEM_BYTES       16384
#define UNIVERSE        "googleapis.com"
#define UNIVERSE_BYTES  128
#define TYPE_BYTES      64
#define LOOPBACK_SCHEME "http://"

/* A file while it is read. */
struct reader {
    const char *file;
    struct json_value root;
    char *error;
    size_t error_len;
    bool no_memory;
};

static bool complain(struct reader *r, const char *field, const char *format, ...) PRINTF(3, 4);

/* @return false, for the caller to return. */
static bool complain(struct reader *r, const char *field, const char *format, ...)
{
    int n =
        snprintf(r->error, r->error_len, "%s: %s%s", r->file, field, field[0] != '\0' ? ": " : "");
    va_list args;

    ASSERT(n >= 0);
    if ((size_t)n < r->error_len) {
        va_start(args, format);
        vsnprintf(r->error + n, r->error_len - (size_t)n, format, args);
        va_end(args);
    }
    return false;
}

/* Whether an unescaped value may stand in a header, a URL or a claim. */
static bool is_plain(const char *text, size_t len)
{
    ASSERT(text != NULL);
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    }
    return true;
}

/* Reads a string. plain: without spaces, line breaks and whatever is not ASCII. */
static bool read_field(struct reader *r, const char *field, bool required, bool plain, char *out,
                       size_t out_len)
{
    struct json_value v;
    struct span raw;
    size_t len;

    ASSERT(out_len > 0);
    out[0] = '\0';
    if (!answer_find(r->root, field, &v))
        return required ? complain(r, field, "missing") : true;
    if (v.type != JSON_STRING)
        return complain(r, field, "not a string");
    raw = json_string_body(v);
    if (raw.len >= out_len)
        return complain(r, field, "longer than %zu bytes", out_len - 1);
    len = json_unescape(raw, out);
    out[len] = '\0';
    if (required && len == 0)
        return complain(r, field, "empty");
    if (memchr(out, '\0', len) != NULL || (plain && !is_plain(out, len)))
        return complain(r, field, "holds a character that cannot stand there");
    return true;
}

static bool is_loopback(const char *url)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]"};
    const char *host = url + strlen(LOOPBACK_SCHEME);

    ASSERT(url != NULL);
    if (strncmp(url, LOOPBACK_SCHEME, strlen(LOOPBACK_SCHEME)) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        size_t n = strlen(hosts[i]);

        if (strncmp(host, hosts[i], n) == 0 && strchr(":/", host[n]) != NULL)
            return true;
    }
    return false;
}

/* The assertion goes there: it must not travel in the clear. */
static bool read_token_uri(struct reader *r, struct auth_key *k)
{
    ASSERT(k->token_uri[0] == '\0');
    if (!read_field(r, "token_uri", false, true, k->token_uri, sizeof(k->token_uri)))
        return false;
    if (k->token_uri[0] == '\0')
        snprintf(k->token_uri, sizeof(k->token_uri), "%s", AUTH_GOOGLE_TOKEN_URL);
    if ((strncmp(k->token_uri, "https://", 8) == 0 && k->token_uri[8] != '\0') ||
        is_loopback(k->token_uri))
        return true;
    return complain(r, "token_uri",
                    "found \"%.200s\"; allowed: https://..., or http:// on a loopback address",
                    k->token_uri);
}

/* An encrypted key must not ask at the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *ctx)
{
    (void)writing, (void)ctx;
    ASSERT(buf != NULL && size > 0);
    return -1;
}

static bool read_private_key(struct reader *r, struct auth_key *k)
{
    char *pem = malloc(PEM_BYTES);
    BIO *bio = NULL;
    bool ok;

    ASSERT(k->private_key == NULL);
    if (pem == NULL) {
        r->no_memory = true;
        return complain(r, "private_key", "out of memory");
    }
    ok = read_field(r, "private_key", true, false, pem, PEM_BYTES);
    if (ok) {
        bio = BIO_new_mem_buf(pem, -1);
        k->private_key =
            bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
        if (k->private_key == NULL || !EVP_PKEY_is_a(k->private_key, "RSA"))
            ok = complain(r, "private_key", "not a PEM RSA key");
        else if (EVP_PKEY_get_bits(k->private_key) < KEY_BITS_MIN)
            ok = complain(r, "private_key", "an RSA key of %d bits; allowed: %d or more",
                          EVP_PKEY_get_bits(k->private_key), KEY_BITS_MIN);
    }
    BIO_free(bio);
    OPENSSL_cleanse(pem, PEM_BYTES);
    free(pem);
    return ok;
}

static bool read_service_account(struct reader *r, struct auth_key *k)
{
    k->type = AUTH_SERVICE_ACCOUNT;
    if (!read_field(r, "client_email", true, true, k->client_email, sizeof(k->client_email)))
        return false;
    if (strchr(k->client_email, '@') == NULL)
        return complain(r, "client_email", "found \"%.200s\"; allowed: an account's address",
                        k->client_email);
    ASSERT(k->client_email[0] != '\0');
    return read_field(r, "private_key_id", false, true, k->private_key_id,
                      sizeof(k->private_key_id)) &&
           read_private_key(r, k);
}

static bool read_authorized_user(struct reader *r, struct auth_key *k)
{
    ASSERT(k->private_key == NULL);
    k->type = AUTH_AUTHORIZED_USER;
    return read_field(r, "client_id", true, true, k->client_id, sizeof(k->client_id)) &&
           read_field(r, "client_secret", true, true, k->client_secret, sizeof(k->client_secret)) &&
           read_field(r, "refresh_token", true, true, k->refresh_token, sizeof(k->refresh_token));
}

static bool read_key(struct reader *r, struct auth_key *k)
{
    char type[TYPE_BYTES], universe[UNIVERSE_BYTES];

    ASSERT(r->root.type == JSON_OBJECT);
    if (!read_field(r, "type", true, true, type, sizeof(type)) ||
        !read_field(r, "universe_domain", false, true, universe, sizeof(universe)))
        return false;
    if (universe[0] != '\0' && strcmp(universe, UNIVERSE) != 0)
        return complain(r, "universe_domain", "found \"%s\"; allowed: " UNIVERSE, universe);
    if (!read_field(r, "project_id", false, true, k->project, sizeof(k->project)) ||
        !read_field(r, "quota_project_id", false, true, k->quota_project,
                    sizeof(k->quota_project)) ||
        !read_token_uri(r, k))
        return false;
    if (strcmp(type, "service_account") == 0)
        return read_service_account(r, k);
    if (strcmp(type, "authorized_user") == 0)
        return read_authorized_user(r, k);
    return complain(r, "type", "found \"%s\"; allowed: service_account or authorized_user", type);
}

int auth_key_parse(const char *file, const char *text, size_t len, struct auth_key **out,
                   char *error, size_t error_len)
{
    struct reader r = {.file = file, .error = error, .error_len = error_len};
    struct auth_key *k = calloc(1, sizeof(*k));
    size_t offset = 0;
    bool ok;

    ASSERT(file != NULL && error_len > 0);
    *out = NULL;
    if (k == NULL) {
        snprintf(error, error_len, "%s: out of memory", file);
        return -ENOMEM;
    }
    snprintf(k->file, sizeof(k->file), "%s", file);
    if (len == 0)
        ok = complain(&r, "", "empty; a key file in JSON is expected");
    else if (json_validate(text, len, &offset) != JSON_ERROR_NONE)
        ok = complain(&r, "", "not valid JSON at byte %zu", offset);
    else if ((r.root = json_value_at(text, len)).type != JSON_OBJECT)
        ok = complain(&r, "", "not a JSON object");
    else
        ok = read_key(&r, k);
    if (!ok) {
        auth_key_destroy(k);
        return r.no_memory ? -ENOMEM : -EINVAL;
    }
    *out = k;
    return 0;
}

/* @return bytes read, AUTH_KEY_FILE_BYTES + 1 when there are more; -errno. */
static ssize_t file_read(const char *file, char *buf)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t len = 0, n;

    ASSERT(buf != NULL);
    if (fd < 0)
        return -errno;
    do {
        n = read(fd, buf + len, AUTH_KEY_FILE_BYTES + 1 - (size_t)len);
        len += n > 0 ? n : 0;
    } while (n > 0 && (size_t)len <= AUTH_KEY_FILE_BYTES);
    if (n < 0)
        len = -errno;
    close(fd);
    return len;
}

int auth_key_load(const char *file, struct auth_key **out, char *error, size_t error_len)
{
    size_t size = AUTH_KEY_FILE_BYTES + 1 + JSON_PADDING_BYTES;
    char *buf = calloc(1, size);
    ssize_t len;
    int rc;

    ASSERT(file != NULL && error_len > 0);
    *out = NULL;
    len = buf != NULL ? file_read(file, buf) : -ENOMEM;
    if (len < 0) {
        rc = (int)len;
        snprintf(error, error_len, "%s: %s", file, strerror(-rc));
    } else if ((size_t)len > AUTH_KEY_FILE_BYTES) {
        rc = -EINVAL;
        snprintf(error, error_len, "%s: larger than 64 KiB: not a key file", file);
    } else {
        rc = auth_key_parse(file, buf, (size_t)len, out, error, error_len);
    }
    if (buf != NULL)
        OPENSSL_cleanse(buf, size);
    free(buf);
    return rc;
}

void auth_key_destroy(struct auth_key *k)
{
    if (k == NULL)
        return;
    ASSERT(k->type == AUTH_SERVICE_ACCOUNT || k->private_key == NULL);
    EVP_PKEY_free(k->private_key);
    OPENSSL_cleanse(k, sizeof(*k));
    free(k);
}
