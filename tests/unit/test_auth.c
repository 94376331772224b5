/*
 * Goal: credentials are found in Google's order, every bad file is named with its field, what is
 * signed verifies, and answers of token servers are taken for what they are.
 * Method: keys made here; signatures are checked with OpenSSL's verification, base64url is decoded
 * here.
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
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include "sinks/engine/answer.h"
#include "tests/unit/tauth_files.h"

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
    expect_bad_pem(tauth_key, "secret", "private_key: not a PEM RSA key"); /* and nobody is asked */
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
    assert_int_equal(auth_key_load(tauth_folder(), &k, error, sizeof(error)), -EISDIR);
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
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, tauth_key), 1);
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

#define T(name) cmocka_unit_test_setup(name, tauth_each)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bad_key_files), T(bad_private_keys),   T(long_key_files), T(base64url),
        T(jwt),           T(user_form),          T(token_answers),  T(token_errors),
        T(search_order),  T(emulators_get_none), T(token_files),
    };

    return cmocka_run_group_tests(tests, tauth_setup, tauth_teardown);
}
