/*
 * Goal: credentials are found in Google's order, every bad file is named with its field, what is
 * signed verifies, tokens are renewed early, once, and never lost to a failing server.
 * Method: keys made here, a scripted token server, a clock of the test's own; signatures are
 * checked with OpenSSL's verification, base64url is decoded here.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/answer.h"
#include "sinks/engine/auth_internal.h"
#include "sinks/engine/blocking.h"
#include "sinks/engine/retry_internal.h"
#include "tests/unit/tcloud_bed.h"
#include "tests/unit/tcloud_server.h"

#define TOKEN(t, s) "{\"access_token\":\"" t "\",\"expires_in\":" #s ",\"token_type\":\"Bearer\"}"
#define GIVE(t, s)                            \
    {                                         \
        TCLOUD_ANSWER, 200, NULL, TOKEN(t, s) \
    }
#define FLAVORED(t, s)                                                 \
    {                                                                  \
        TCLOUD_ANSWER, 200, "Metadata-Flavor: Google\r\n", TOKEN(t, s) \
    }
#define REFUSE(status, text)              \
    {                                     \
        TCLOUD_ANSWER, status, NULL, text \
    }
#define GRANT         "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT Signature.\"}"
#define AFTER(header) ((header) + sizeof(AUTH_PREFIX) - 1)

static char folder[] = "/tmp/penstock-auth-XXXXXX";
static EVP_PKEY *key;
static char *key_json;  /* the PEM as the body of a JSON string */
static int64_t fake_us; /* 0: the real clock */
static const char *const variables[] = {"GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG",
                                        "GCE_METADATA_HOST", "GCE_METADATA_IP",
                                        "GOOGLE_CLOUD_QUOTA_PROJECT"};

static int64_t test_clock_us(void)
{
    return fake_us != 0 ? fake_us : clock_monotonic_us();
}

static const char *path_of(const char *name)
{
    static char path[2][256];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
    return path[turn];
}

static const char *write_file(const char *name, const char *text)
{
    const char *path = path_of(name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* A private key as a key file holds it. Owner: caller. */
static char *pem_json(EVP_PKEY *k, const char *password)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const EVP_CIPHER *cipher = password != NULL ? EVP_aes_128_cbc() : NULL;
    char *data, *out;
    long n;
    size_t len;

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, k, cipher, (char *)(uintptr_t)password,
                                                   password != NULL ? (int)strlen(password) : 0,
                                                   NULL, NULL),
                     1);
    n = BIO_get_mem_data(bio, &data);
    out = malloc((size_t)n * 6 + 1);
    assert_non_null(out);
    len = json_escape((struct span){.ptr = data, .len = (size_t)n}, out);
    out[len] = '\0';
    BIO_free(bio);
    return out;
}

/* A service account's file; members end with a comma. */
static const char *write_key(const char *name, const char *members)
{
    size_t size = strlen(key_json) + strlen(members) + 512;
    char *text = malloc(size);
    const char *path;

    assert_non_null(text);
    snprintf(text, size,
             "{\"type\":\"service_account\",%s\"client_email\":\"robot@p.iam.gserviceaccount.com\","
             "\"private_key_id\":\"kid1\",\"project_id\":\"key-project\",\"private_key\":\"%s\"}",
             members, key_json);
    path = write_file(name, text);
    free(text);
    return path;
}

static const char *write_key_for(const char *name, const char *url)
{
    char member[128];

    snprintf(member, sizeof(member), "\"token_uri\":\"%s/token\",", url);
    return write_key(name, member);
}

static int setup(void **state)
{
    char home[64];

    (void)state;
    assert_non_null(mkdtemp(folder));
    key = EVP_RSA_gen(2048);
    assert_non_null(key);
    key_json = pem_json(key, NULL);
    auth_clock_us = test_clock_us;
    snprintf(home, sizeof(home), "%s/home", folder);
    setenv("HOME", home, 1);
    return 0;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    free(key_json);
    EVP_PKEY_free(key);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static int each_setup(void **state)
{
    (void)state;
    fake_us = 0;
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        unsetenv(variables[i]);
    return 0;
}

/* ---- key files ---- */

static void expect_bad(const char *text, const char *message)
{
    char error[AUTH_ERROR_BYTES], want[512];
    const char *path = write_file("bad.json", text);
    struct auth_key *k;

    snprintf(want, sizeof(want), "%s: %s", path, message);
    assert_int_equal(auth_key_load(path, &k, error, sizeof(error)), -EINVAL);
    assert_null(k);
    assert_string_equal(error, want);
}

static void bad_key_files(void **state)
{
    (void)state;
    expect_bad("", "empty; a key file in JSON is expected");
    expect_bad("{\"type\":", "not valid JSON at byte 8");
    expect_bad("[1]", "not a JSON object");
    expect_bad("{}", "type: missing");
    expect_bad("{\"type\":null}", "type: missing");
    expect_bad("{\"type\":7}", "type: not a string");
    expect_bad("{\"type\":\"\"}", "type: empty");
    expect_bad("{\"type\":\"external_account\"}",
               "type: found \"external_account\"; allowed: service_account or authorized_user");
    expect_bad("{\"type\":\"service_account\",\"universe_domain\":\"x.com\"}",
               "universe_domain: found \"x.com\"; allowed: googleapis.com");
    expect_bad("{\"type\":\"service_account\"}", "client_email: missing");
    expect_bad("{\"type\":\"service_account\",\"client_email\":\"nobody\"}",
               "client_email: found \"nobody\"; allowed: an account's address");
    expect_bad("{\"type\":\"service_account\",\"client_email\":\"a@b\\u0000c\"}",
               "client_email: holds a character that cannot stand there");
    expect_bad("{\"type\":\"service_account\",\"client_email\":\"a@b\\r\\nX: y\"}",
               "client_email: holds a character that cannot stand there");
    expect_bad("{\"type\":\"service_account\",\"client_email\":\"a@b\"}", "private_key: missing");
    expect_bad("{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key\":\"x\"}",
               "private_key: not a PEM RSA key");
    expect_bad("{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key\":[]}",
               "private_key: not a string");
    expect_bad("{\"type\":\"service_account\",\"token_uri\":\"http://oauth2.example.com/token\"}",
               "token_uri: found \"http://oauth2.example.com/token\"; allowed: https://..., or "
               "http:// on a loopback address");
    expect_bad("{\"type\":\"service_account\",\"token_uri\":\"http://127.0.0.1.evil.com/\"}",
               "token_uri: found \"http://127.0.0.1.evil.com/\"; allowed: https://..., or http:// "
               "on a loopback address");
    expect_bad("{\"type\":\"authorized_user\"}", "client_id: missing");
    expect_bad("{\"type\":\"authorized_user\",\"client_id\":\"c\"}", "client_secret: missing");
    expect_bad("{\"type\":\"authorized_user\",\"client_id\":\"c\",\"client_secret\":\"s\"}",
               "refresh_token: missing");
}

static void expect_bad_pem(EVP_PKEY *k, const char *password, const char *message)
{
    char *pem = pem_json(k, password), *text = malloc(strlen(pem) + 256);

    assert_non_null(text);
    snprintf(text, strlen(pem) + 256,
             "{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key\":\"%s\"}", pem);
    expect_bad(text, message);
    free(text);
    free(pem);
}

static void bad_private_keys(void **state)
{
    EVP_PKEY *elliptic = EVP_EC_gen("P-256"), *small = EVP_RSA_gen(768);

    (void)state;
    expect_bad_pem(elliptic, NULL, "private_key: not a PEM RSA key");
    expect_bad_pem(key, "secret", "private_key: not a PEM RSA key"); /* and nobody is asked */
    expect_bad_pem(small, NULL, "private_key: an RSA key of 768 bits; allowed: 1024 or more");
    EVP_PKEY_free(elliptic);
    EVP_PKEY_free(small);
}

static void long_key_files(void **state)
{
    static char text[AUTH_KEY_FILE_BYTES + 100];
    char error[AUTH_ERROR_BYTES], shortened[16], name[400];
    struct auth_key *k;

    (void)state;
    memset(text, ' ', sizeof(text) - 1);
    assert_int_equal(auth_key_load(write_file("long.json", text), &k, error, sizeof(error)),
                     -EINVAL);
    assert_non_null(strstr(error, "long.json: larger than 64 KiB"));
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    snprintf(text, sizeof(text), "{\"type\":\"service_account\",\"client_email\":\"%s@x\"}", name);
    expect_bad(text, "client_email: longer than 319 bytes");
    assert_int_equal(auth_key_load(path_of("none"), &k, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "/none: No such file or directory"));
    assert_int_equal(auth_key_load(folder, &k, error, sizeof(error)), -EISDIR);
    assert_int_equal(auth_key_load(path_of("none"), &k, shortened, sizeof(shortened)), -ENOENT);
    assert_int_equal(strlen(shortened), sizeof(shortened) - 1);
}

/* ---- assertions ---- */

/* Decodes base64url without padding. @return bytes. */
static size_t decode(const char *text, size_t len, uint8_t *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0, have = 0;
    size_t n = 0;

    assert_int_not_equal(len % 4, 1);
    for (size_t i = 0; i < len; i++) {
        const char *d = strchr(digits, text[i]);

        assert_non_null(d);
        bits = bits << 6 | (uint32_t)(d - digits);
        have += 6;
        if (have >= 8)
            out[n++] = (uint8_t)(bits >> (have -= 8));
    }
    return n;
}

static void base64url(void **state)
{
    static const uint8_t bytes[] = {0xff, 0xff, 0xfd, 0xfc};
    struct text t = {0};

    (void)state;
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        uint8_t back[8];

        text_reset(&t);
        auth_base64url(&t, bytes, n);
        assert_int_equal(t.len, (n * 8 + 5) / 6);
        if (n > 0) {
            assert_null(strpbrk(t.ptr, "+/="));
            assert_int_equal(decode(t.ptr, t.len, back), n);
            assert_memory_equal(back, bytes, n);
        }
    }
    text_fini(&t);
}

static struct json_value json_part(const char *part, size_t len, char *room, size_t size)
{
    struct json_value v;

    memset(room, 0, size);
    len = decode(part, len, (uint8_t *)room);
    assert_true(answer_object((struct span){.ptr = room, .len = len}, &v));
    return v;
}

static void verify_signature(const char *jwt, size_t signed_len, const char *signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t raw[512];
    size_t len = decode(signature, strlen(signature), raw);

    assert_int_equal(len, 256);
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestVerify(ctx, raw, len, (const uint8_t *)jwt, signed_len), 1);
    EVP_MD_CTX_free(ctx);
}

static void jwt(void **state)
{
    char room[2048], text[512], error[AUTH_ERROR_BYTES];
    struct text t = {0};
    struct json_value v;
    struct auth_key *k;
    const char *claims, *signature;
    int64_t n;

    (void)state;
    assert_int_equal(auth_key_load(write_key("jwt.json", ""), &k, error, sizeof(error)), 0);
    assert_int_equal(auth_jwt(&t, k, 1700000000), 0);
    claims = strchr(t.ptr, '.') + 1;
    signature = strchr(claims, '.') + 1;
    v = json_part(t.ptr, (size_t)(claims - t.ptr) - 1, room, sizeof(room));
    assert_true(answer_equals(v, "alg", "RS256"));
    assert_true(answer_equals(v, "typ", "JWT"));
    assert_true(answer_equals(v, "kid", "kid1"));
    v = json_part(claims, (size_t)(signature - claims) - 1, room, sizeof(room));
    assert_true(answer_equals(v, "iss", "robot@p.iam.gserviceaccount.com"));
    assert_true(answer_equals(v, "aud", "https://oauth2.googleapis.com/token"));
    assert_true(answer_string(v, "scope", text, sizeof(text)));
    assert_string_equal(text, "https://www.googleapis.com/auth/devstorage.read_write "
                              "https://www.googleapis.com/auth/bigquery");
    assert_true(answer_int64(v, "iat", &n) && n == 1700000000 - 10);
    assert_true(answer_int64(v, "exp", &n) && n == 1700000000 - 10 + 3600);
    verify_signature(t.ptr, (size_t)(signature - t.ptr) - 1, signature);
    auth_key_destroy(k);
    text_fini(&t);
}

static void user_form(void **state)
{
    char error[AUTH_ERROR_BYTES];
    struct auth_key *k;
    struct text t = {0};

    (void)state;
    assert_int_equal(
        auth_key_load(write_file("user.json",
                                 "{\"type\":\"authorized_user\",\"client_id\":\"c/1\","
                                 "\"client_secret\":\"s&2\",\"refresh_token\":\"1//r\","
                                 "\"quota_project_id\":\"payer\"}"),
                      &k, error, sizeof(error)),
        0);
    assert_string_equal(k->token_uri, "https://oauth2.googleapis.com/token");
    assert_string_equal(k->quota_project, "payer");
    assert_int_equal(auth_form(&t, k, 0), 0);
    assert_string_equal(t.ptr, "grant_type=refresh_token&client_id=c%2F1&client_secret=s%262"
                               "&refresh_token=1%2F%2Fr");
    auth_key_destroy(k);
    auth_text_wipe(&t);
}

static struct span padded(const char *text)
{
    static char room[8192 + JSON_PADDING_BYTES];

    memset(room, 0, sizeof(room));
    snprintf(room, 8192, "%s", text);
    return (struct span){.ptr = room, .len = strlen(room)};
}

static void token_answers(void **state)
{
    static char text[6000], token[4500];
    char header[AUTH_HEADER_BYTES];
    int64_t s;

    (void)state;
    assert_null(auth_answer_read(padded(TOKEN("ya29.x", 3599)), header, &s));
    assert_string_equal(header, "Authorization: Bearer ya29.x");
    assert_int_equal(s, 3599);
    assert_null(
        auth_answer_read(padded("{\"access_token\":\"t\",\"expires_in\":\"60\"}"), header, &s));
    assert_int_equal(s, 60);
    assert_null(auth_answer_read(padded(TOKEN("t", 99999999)), header, &s));
    assert_int_equal(s, 7 * 86400);
    assert_string_equal(auth_answer_read(padded("<html>"), header, &s),
                        "the answer is no JSON object");
    assert_string_equal(auth_answer_read(padded("{\"expires_in\":1}"), header, &s),
                        "access_token is missing");
    assert_string_equal(auth_answer_read(padded(TOKEN("t", 0)), header, &s),
                        "expires_in is missing or not positive");
    assert_string_equal(auth_answer_read(padded("{\"access_token\":\"t\",\"expires_in\":9,"
                                                "\"token_type\":\"mac\"}"),
                                         header, &s),
                        "token_type is not Bearer");
    assert_non_null(auth_answer_read(padded(TOKEN("a\\r\\nX: y", 9)), header, &s));
    assert_string_equal(header, "");
    assert_non_null(auth_answer_read(padded(TOKEN("", 9)), header, &s));
    memset(token, 't', sizeof(token) - 1);
    snprintf(text, sizeof(text), "{\"access_token\":\"%s\",\"expires_in\":9}", token);
    assert_string_equal(auth_answer_read(padded(text), header, &s), "access_token is too long");
}

static void token_errors(void **state)
{
    char text[REASON_TEXT_BYTES], token[900], body[1000];
    struct http_answer a = {.status = 400, .retry_after_s = -1};

    (void)state;
    a.body = padded(GRANT);
    auth_answer_describe(&a, text);
    assert_string_equal(text, "400 invalid_grant: Invalid JWT Signature.");
    a.body = padded("{\"error\":\"invalid_client\"}");
    auth_answer_describe(&a, text);
    assert_string_equal(text, "400 invalid_client");
    a.body = padded("<html>assertion=secret</html>"); /* is not repeated */
    auth_answer_describe(&a, text);
    assert_string_equal(text, "400");
    a.body = padded("{\"error\":{\"message\":\"m\",\"status\":\"S\"}}");
    auth_answer_describe(&a, text);
    assert_string_equal(text, "400 S: m");
    memset(token, 'd', sizeof(token) - 1);
    token[sizeof(token) - 1] = '\0';
    token[5] = ' ';
    snprintf(body, sizeof(body), "{\"error\":\"e\\n\",\"error_description\":\"%s\"}", token);
    a.body = padded(body);
    auth_answer_describe(&a, text);
    assert_true(strlen(text) < REASON_TEXT_BYTES);
    assert_memory_equal(text, "400 e : ddddd ddd", 17);
}

/* ---- the search ---- */

static struct auth found;

static int find(const struct auth_config *c, char *error)
{
    return auth_init(&found, c, error, AUTH_ERROR_BYTES);
}

static void expect_kind(const struct auth_config *c, enum auth_kind kind)
{
    char error[AUTH_ERROR_BYTES];

    assert_int_equal(find(c, error), 0);
    assert_int_equal(found._kind, kind);
    auth_fini(&found);
}

static void search_order(void **state)
{
    struct auth_config c = {.endpoints = {"https://storage.googleapis.com", NULL}};
    char error[AUTH_ERROR_BYTES];

    (void)state;
    expect_kind(&c, AUTH_METADATA);
    assert_int_equal(find(&c, error), 0);
    assert_string_equal(found._url, "http://169.254.169.254/computeMetadata/v1/instance/"
                                    "service-accounts/default/token");
    auth_fini(&found);
    setenv("HOME", path_of("home"), 1);
    assert_int_equal(mkdir(path_of("home"), 0700), 0);
    assert_int_equal(mkdir(path_of("home/.config"), 0700), 0);
    assert_int_equal(mkdir(path_of("home/.config/gcloud"), 0700), 0);
    write_key("home/.config/gcloud/application_default_credentials.json", "");
    expect_kind(&c, AUTH_KEY_FILE);
    setenv("CLOUDSDK_CONFIG", path_of("sdk"), 1); /* then the home does not count */
    expect_kind(&c, AUTH_METADATA);
    assert_int_equal(mkdir(path_of("sdk"), 0700), 0);
    write_file("sdk/application_default_credentials.json", "{}");
    assert_int_equal(find(&c, error), -EINVAL);
    assert_non_null(strstr(error, "sdk/application_default_credentials.json: type: missing"));
    setenv("GOOGLE_APPLICATION_CREDENTIALS", path_of("nowhere.json"), 1);
    assert_int_equal(find(&c, error), -ENOENT); /* and the search does not go on */
    assert_memory_equal(error, "GOOGLE_APPLICATION_CREDENTIALS: /", 33);
    setenv("GOOGLE_APPLICATION_CREDENTIALS", write_key("adc.json", ""), 1);
    assert_int_equal(find(&c, error), 0);
    assert_string_equal(auth_project(&found), "key-project");
    assert_null(auth_quota_project(&found));
    auth_fini(&found);
    c.key_file = path_of("other.json");
    assert_int_equal(find(&c, error), -ENOENT);
    write_key("other.json", "\"quota_project_id\":\"payer\",");
    assert_int_equal(find(&c, error), 0);
    assert_string_equal(auth_quota_project(&found), "payer");
    auth_fini(&found);
    setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "other-payer", 1);
    assert_int_equal(find(&c, error), 0);
    assert_string_equal(auth_quota_project(&found), "other-payer");
    auth_fini(&found);
    setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "two words", 1);
    assert_int_equal(find(&c, error), -EINVAL);
    assert_non_null(strstr(error, "GOOGLE_CLOUD_QUOTA_PROJECT: found \"two words\""));
}

static void emulators_get_none(void **state)
{
    struct auth_config c = {.endpoints = {"http://127.0.0.1:9050", "http://localhost:9050"}};
    char error[AUTH_ERROR_BYTES];

    (void)state;
    setenv("GOOGLE_APPLICATION_CREDENTIALS", path_of("nowhere.json"), 1);
    expect_kind(&c, AUTH_NONE); /* nothing is even looked for */
    c.source = AUTH_SOURCE_SEARCH;
    assert_int_equal(find(&c, error), -ENOENT);
    setenv("GOOGLE_APPLICATION_CREDENTIALS", write_key("adc.json", ""), 1);
    assert_int_equal(find(&c, error), 0);
    assert_ptr_equal(auth_for(&found, c.endpoints[0]), &found);
    auth_fini(&found);
    c.source = AUTH_SOURCE_AUTO;
    c.endpoints[1] = "https://bigquery.googleapis.com"; /* one of two: each by its own */
    assert_int_equal(find(&c, error), 0);
    assert_null(auth_for(&found, c.endpoints[0]));
    assert_ptr_equal(auth_for(&found, c.endpoints[1]), &found);
    auth_fini(&found);
    c.source = AUTH_SOURCE_NONE;
    expect_kind(&c, AUTH_NONE);
    c.source = AUTH_SOURCE_METADATA;
    expect_kind(&c, AUTH_METADATA);
    setenv("GCE_METADATA_HOST", "evil/path?", 1);
    assert_int_equal(find(&c, error), -EINVAL);
    assert_string_equal(error,
                        "GCE_METADATA_HOST: found \"evil/path?\"; allowed: a host, or host:port");
    assert_null(auth_for(NULL, "http://x"));
}

/* ---- token files ---- */

static const char *header_of(struct auth *a)
{
    const char *header;
    uint64_t generation;

    assert_true(auth_take(a, &header, &generation));
    return header;
}

static void token_files(void **state)
{
    struct auth_config c = {.token_file = path_of("token")};
    char error[AUTH_ERROR_BYTES], file[256];

    (void)state;
    snprintf(file, sizeof(file), "%s", c.token_file);
    c.token_file = file;
    assert_int_equal(find(&c, error), -ENOENT);
    assert_non_null(strstr(error, file));
    write_file("token", "");
    assert_int_equal(find(&c, error), -EINVAL);
    write_file("token", "two words\n");
    assert_int_equal(find(&c, error), -EINVAL);
    write_file("token", "evil\r\nX-Header: 1\n");
    assert_int_equal(find(&c, error), -EINVAL);
    write_file("token", "ya29.first \n");
    assert_int_equal(find(&c, error), 0);
    assert_string_equal(header_of(&found), "Authorization: Bearer ya29.first");
    write_file("token", "ya29.second\n");
    assert_string_equal(header_of(&found), "Authorization: Bearer ya29.first"); /* not so soon */
    auth_refused(&found, found._generation);
    assert_string_equal(header_of(&found), "Authorization: Bearer ya29.second");
    unlink(file);
    auth_refused(&found, found._generation);
    assert_string_equal(header_of(&found), "Authorization: Bearer ya29.second");
    auth_fini(&found);
}

/* ---- fetching ---- */

/* A bed, a scripted server that is token server and API in one, and an auth on them. */
struct play {
    struct tcloud_bed bed;
    struct tcloud_server *server;
    struct auth auth;
    char file[256];
};

static void play_begin(struct play *p, const struct tcloud_step *steps, uint32_t n)
{
    struct auth_config c = {.key_file = p->file, .refused_retry_us = 30000};
    char error[AUTH_ERROR_BYTES];

    tcloud_bed_init(&p->bed, 2000);
    p->server = tcloud_server_start(steps, n);
    snprintf(p->file, sizeof(p->file), "%s",
             write_key_for("play.json", tcloud_server_url(p->server)));
    assert_int_equal(auth_init(&p->auth, &c, error, sizeof(error)), 0);
    auth_bind(&p->auth, p->bed.loop, p->bed.http);
}

static void play_end(struct play *p)
{
    auth_unbind(&p->auth);
    auth_fini(&p->auth);
    tcloud_bed_fini(&p->bed);
    tcloud_server_stop(p->server);
}

/* Runs the loop until count requests were seen and, unless the server stalls, the fetch is over. */
static void play_run_to(struct play *p, uint32_t count, bool stalled)
{
    int64_t end_us = clock_monotonic_us() + 5000000;

    while (tcloud_server_count(p->server) < count && clock_monotonic_us() < end_us)
        (void)loop_run_once(p->bed.loop, 5000);
    assert_int_equal(tcloud_server_count(p->server), count);
    while (p->auth._call._handle != NULL && !stalled && clock_monotonic_us() < end_us)
        (void)loop_run_once(p->bed.loop, 5000);
}

static void play_run(struct play *p, uint32_t count)
{
    play_run_to(p, count, false);
}

struct counter {
    struct auth_waiter w;
    uint32_t runs;
};

static void counter_ready(struct auth_waiter *w)
{
    struct counter *c = container_of(w, struct counter, w);

    c->runs++;
}

static void single_flight(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600)};
    struct play p = {0};
    struct counter c[5] = {0};
    const char *header;
    uint64_t generation;

    (void)state;
    play_begin(&p, steps, 1);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i].w.ready = counter_ready;
        assert_false(auth_take(&p.auth, &header, &generation));
        auth_wait(&p.auth, &c[i].w);
    }
    auth_wait_cancel(&c[2].w);
    auth_wait_cancel(&c[2].w); /* twice is fine */
    play_run(&p, 1);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        assert_int_equal(c[i].runs, i == 2 ? 0 : 1);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one");
    assert_string_equal(tcloud_server_seen(p.server, 0)->method, "POST");
    assert_string_equal(tcloud_server_seen(p.server, 0)->path, "/token");
    assert_non_null(strcasestr(tcloud_server_seen(p.server, 0)->headers,
                               "content-type: application/x-www-form-urlencoded\r\n"));
    assert_memory_equal(tcloud_server_seen(p.server, 0)->body,
                        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&"
                        "assertion=eyJ",
                        77);
    play_end(&p);
}

static void early_refresh(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600), GIVE("two", 100),
                                               GIVE("three", 100)};
    struct play p = {0};
    const char *header;
    uint64_t generation;

    (void)state;
    fake_us = 1000000;
    play_begin(&p, steps, 3);
    assert_false(auth_take(&p.auth, &header, &generation));
    play_run(&p, 1);
    fake_us += INT64_C(3299) * 1000000;
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one"); /* not yet due */
    assert_int_equal(p.auth._call._handle != NULL, 0);
    fake_us += 1000000; /* five minutes before the end */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one"); /* used on meanwhile */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one");
    play_run(&p, 2);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    fake_us += INT64_C(49) * 1000000; /* a short one is renewed in the middle of its life */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    assert_null(p.auth._call._handle);
    fake_us += 1000000;
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    play_run(&p, 3);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer three");
    play_end(&p);
}

static void old_token_while_failing(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600), REFUSE(503, "busy"),
                                               REFUSE(400, GRANT), GIVE("two", 3600)};
    struct play p = {0};
    const char *header;
    uint64_t generation;
    struct counter c = {.w.ready = counter_ready};

    (void)state;
    fake_us = 1000000;
    play_begin(&p, steps, 4);
    assert_false(auth_take(&p.auth, &header, &generation));
    play_run(&p, 1);
    fake_us += INT64_C(3400) * 1000000;
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one");
    play_run(&p, 2); /* 503 */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one");
    assert_non_null(strstr(auth_why(&p.auth), "/token: 503"));
    assert_false(auth_is_refused(&p.auth));
    fake_us += INT64_C(199) * 1000000;
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer one"); /* its last second */
    fake_us += 1000000;
    assert_false(auth_take(&p.auth, &header, &generation));
    auth_wait(&p.auth, &c.w);
    play_run(&p, 4); /* 400, a pause, and then it is accepted */
    assert_int_equal(c.runs, 1);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    assert_false(p.auth._failing);
    play_end(&p);
}

static void refused_key(void **state)
{
    static const struct tcloud_step steps[] = {REFUSE(400, GRANT), GIVE("one", 3600)};
    struct play p = {0};
    struct counter c = {.w.ready = counter_ready};
    const char *header;
    uint64_t generation;
    char want[256];

    (void)state;
    play_begin(&p, steps, 2);
    p.auth._config.refused_retry_us = 300000;
    assert_false(auth_take(&p.auth, &header, &generation));
    auth_wait(&p.auth, &c.w);
    play_run(&p, 1);
    snprintf(want, sizeof(want),
             "no access token: %s/token: 400 invalid_grant: Invalid JWT Signature.",
             tcloud_server_url(p.server));
    assert_string_equal(auth_why(&p.auth), want);
    assert_true(auth_is_refused(&p.auth));
    assert_int_equal(c.runs, 0);
    write_file("play.json", "{}"); /* a broken file does not take the key away */
    play_run(&p, 2);
    assert_int_equal(c.runs, 1);
    play_end(&p);
}

static void replaced_key(void **state)
{
    static const struct tcloud_step steps[] = {REFUSE(401, GRANT)};
    static const struct tcloud_step others[] = {GIVE("new", 3600)};
    struct tcloud_server *other = tcloud_server_start(others, 1);
    struct play p = {0};
    struct counter c = {.w.ready = counter_ready};
    const char *header;
    uint64_t generation;

    (void)state;
    play_begin(&p, steps, 1);
    p.auth._config.refused_retry_us = 100000;
    assert_false(auth_take(&p.auth, &header, &generation));
    auth_wait(&p.auth, &c.w);
    play_run(&p, 1);
    write_key_for("play.json", tcloud_server_url(other));
    for (int i = 0; i < 100 && c.runs == 0; i++)
        (void)loop_run_once(p.bed.loop, 20000);
    assert_int_equal(c.runs, 1);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer new");
    play_end(&p);
    tcloud_server_stop(other);
}

static void late_refusals(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600), GIVE("two", 3600)};
    struct play p = {0};
    const char *header;
    uint64_t first, second;

    (void)state;
    play_begin(&p, steps, 2);
    assert_false(auth_take(&p.auth, &header, &first));
    play_run(&p, 1);
    assert_true(auth_take(&p.auth, &header, &first));
    auth_refused(&p.auth, first);
    assert_false(auth_take(&p.auth, &header, &second)); /* dropped at once */
    play_run(&p, 2);
    assert_true(auth_take(&p.auth, &header, &second));
    auth_refused(&p.auth, first); /* of a call that was sent with the old one */
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer two");
    assert_null(p.auth._call._handle);
    play_end(&p);
}

static void metadata_server(void **state)
{
    static const struct tcloud_step steps[] = {
        GIVE("false", 3600),
        FLAVORED("true", 3600),
        {TCLOUD_ANSWER, 404, "Metadata-Flavor: Google\r\n", "<html>no service account</html>"}};
    struct auth_config c = {.source = AUTH_SOURCE_METADATA, .refused_retry_us = 20000};
    struct play p = {0};
    char error[AUTH_ERROR_BYTES];
    const char *header;
    uint64_t generation;

    (void)state;
    tcloud_bed_init(&p.bed, 2000);
    p.server = tcloud_server_start(steps, 3);
    setenv("GCE_METADATA_HOST", tcloud_server_url(p.server) + 7, 1);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* nobody listens there */
    assert_int_equal(auth_init(&p.auth, &c, error, sizeof(error)), 0);
    auth_bind(&p.auth, p.bed.loop, p.bed.http);
    assert_false(auth_take(&p.auth, &header, &generation));
    play_run(&p, 1);
    assert_non_null(strstr(auth_why(&p.auth), "that is no metadata server"));
    play_run(&p, 2);
    assert_string_equal(header_of(&p.auth), "Authorization: Bearer true");
    assert_string_equal(tcloud_server_seen(p.server, 0)->method, "GET");
    assert_string_equal(tcloud_server_seen(p.server, 0)->path,
                        "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 0)->headers, "metadata-flavor: google\r\n"));
    auth_refused(&p.auth, p.auth._generation);
    play_run(&p, 3);
    assert_non_null(strstr(auth_why(&p.auth), "/default/token: 404"));
    assert_true(auth_is_refused(&p.auth));
    unsetenv("http_proxy");
    play_end(&p);
}

static void no_credentials(void **state)
{
    struct auth_config c = {.endpoints = {"https://storage.googleapis.com", NULL}};
    char error[AUTH_ERROR_BYTES];
    struct play p = {0};
    const char *header;
    uint64_t generation;
    int64_t end_us = clock_monotonic_us() + 5000000;

    (void)state;
    setenv("GCE_METADATA_IP", "127.0.0.1:1", 1);
    setenv("CLOUDSDK_CONFIG", "/nowhere", 1);
    tcloud_bed_init(&p.bed, 2000);
    assert_int_equal(auth_init(&p.auth, &c, error, sizeof(error)), 0);
    auth_bind(&p.auth, p.bed.loop, p.bed.http);
    assert_false(auth_take(&p.auth, &header, &generation));
    while (!auth_is_refused(&p.auth) && clock_monotonic_us() < end_us)
        (void)loop_run_once(p.bed.loop, 5000);
    assert_non_null(strstr(auth_why(&p.auth), "no credentials: set credentials.file or "
                                              "GOOGLE_APPLICATION_CREDENTIALS"));
    assert_non_null(strstr(auth_why(&p.auth), "/nowhere/application_default_credentials.json"));
    auth_unbind(&p.auth);
    auth_fini(&p.auth);
    tcloud_bed_fini(&p.bed);
}

/* ---- requests ---- */

struct asking {
    struct request r;
    struct request_env env;
    _Atomic uint64_t calls, retries;
    const char *waiting;
    bool over;
    enum answer_class class;
};

static void asking_answered(struct request *r, enum answer_class c, const struct http_answer *a)
{
    struct asking *k = container_of(r, struct asking, r);

    (void)a;
    k->over = true;
    k->class = c;
}

static void asking_resume(struct request *r)
{
    request_send(r);
}

static void ask(struct asking *k, struct play *p, const char *payer)
{
    *k = (struct asking){.r = {.answered = asking_answered, .resume = asking_resume}};
    k->env = (struct request_env){.loop = p->bed.loop,
                                  .http = p->bed.http,
                                  .auth = &p->auth,
                                  .user_project = payer,
                                  .calls = &k->calls,
                                  .retries = &k->retries};
    k->r.waiting = &k->waiting;
    request_init(&k->r, &k->env);
    text_adds(request_reset(&k->r, "GET"), tcloud_server_url(p->server));
    text_adds(&k->r.url, "/thing");
    request_send(&k->r);
}

static void request_waits(void **state)
{
    static const struct tcloud_step steps[] = {REFUSE(400, GRANT),
                                               GIVE("one", 3600),
                                               {TCLOUD_ANSWER, 200, NULL, "{}"},
                                               {TCLOUD_ANSWER, 200, NULL, "{}"}};
    struct play p = {0};
    struct asking k;

    (void)state;
    play_begin(&p, steps, 4);
    snprintf(p.auth._quota_project, sizeof(p.auth._quota_project), "key-payer");
    ask(&k, &p, NULL);
    assert_true(request_waits_for_token(&k.r));
    assert_non_null(strstr(k.waiting, "no access token yet"));
    play_run(&p, 1);
    assert_non_null(strstr(k.waiting, "400 invalid_grant")); /* status tells, in place */
    assert_false(k.over);
    assert_true(tcloud_bed_run(&p.bed, &k.over));
    assert_int_equal(k.class, ANSWER_OK);
    assert_null(k.waiting);
    assert_int_equal(k.calls, 1);
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 2)->headers, "authorization: Bearer one\r\n"));
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 2)->headers, "x-goog-user-project: key-payer\r\n"));
    request_fini(&k.r);
    ask(&k, &p, "own-payer");
    assert_true(tcloud_bed_run(&p.bed, &k.over));
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 3)->headers, "x-goog-user-project: own-payer\r\n"));
    request_fini(&k.r);
    play_end(&p);
}

static void refused_once(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600),
                                               {TCLOUD_ANSWER, 401, NULL, "{}"},
                                               GIVE("two", 3600),
                                               {TCLOUD_ANSWER, 200, NULL, "{}"}};
    struct play p = {0};
    struct asking k;

    (void)state;
    play_begin(&p, steps, 4);
    ask(&k, &p, NULL);
    assert_true(tcloud_bed_run(&p.bed, &k.over));
    assert_int_equal(k.class, ANSWER_OK);
    assert_int_equal(tcloud_server_count(p.server), 4);
    assert_non_null(
        strcasestr(tcloud_server_seen(p.server, 3)->headers, "authorization: Bearer two\r\n"));
    request_fini(&k.r);
    play_end(&p);
}

static void refused_twice(void **state)
{
    static const struct tcloud_step steps[] = {GIVE("one", 3600),
                                               {TCLOUD_ANSWER, 401, NULL, "{}"},
                                               GIVE("two", 3600),
                                               {TCLOUD_ANSWER, 401, NULL, "{}"}};
    struct play p = {0};
    struct asking k;

    (void)state;
    play_begin(&p, steps, 4);
    ask(&k, &p, NULL);
    assert_true(tcloud_bed_run(&p.bed, &k.over));
    assert_int_equal(k.class, ANSWER_PERMANENT);
    assert_int_equal(tcloud_server_count(p.server), 4);
    request_fini(&k.r);
    play_end(&p);
}

static void cancelled_while_waiting(void **state)
{
    static const struct tcloud_step steps[] = {{TCLOUD_STALL, 0, NULL, NULL}};
    struct play p = {0};
    struct asking k;

    (void)state;
    play_begin(&p, steps, 1);
    ask(&k, &p, NULL);
    play_run_to(&p, 1, true);
    assert_true(request_waits_for_token(&k.r));
    request_fini(&k.r);
    assert_null(k.waiting);
    assert_false(k.over);
    play_end(&p);
}

static void blocking_is_told(void **state)
{
    static const struct tcloud_step steps[] = {REFUSE(400, GRANT)};
    struct auth_config c = {0};
    struct tcloud_server *server = tcloud_server_start(steps, 1);
    char error[AUTH_ERROR_BYTES], text[REASON_TEXT_BYTES];
    struct http_answer a;
    struct blocking *b;

    (void)state;
    c.key_file = write_key_for("blocking.json", tcloud_server_url(server));
    assert_int_equal(auth_init(&found, &c, error, sizeof(error)), 0);
    assert_int_equal(blocking_create(&found, NULL, &b), 0);
    text_adds(blocking_url(b, "GET"), tcloud_server_url(server));
    assert_int_equal(blocking_call(b, NULL, &a), ANSWER_PERMANENT);
    answer_describe(&a, text);
    assert_non_null(strstr(text, "400 invalid_grant: Invalid JWT Signature."));
    blocking_destroy(b);
    auth_fini(&found);
    tcloud_server_stop(server);
}

#define T(name) cmocka_unit_test_setup(name, each_setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bad_key_files), T(bad_private_keys),   T(long_key_files),   T(base64url),
        T(jwt),           T(user_form),          T(token_answers),    T(token_errors),
        T(search_order),  T(emulators_get_none), T(token_files),      T(single_flight),
        T(early_refresh), T(refused_key),        T(replaced_key),     T(old_token_while_failing),
        T(late_refusals), T(metadata_server),    T(no_credentials),   T(request_waits),
        T(refused_once),  T(refused_twice),      T(blocking_is_told), T(cancelled_while_waiting),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
