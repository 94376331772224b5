/*
 * Any bytes as a key file, or as a token server's answer. A key that is accepted is whole and can
 * sign; a token that is accepted can stand in a header line. Seeds hold @KEY@ where a private key
 * made at start is put in.
 */
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/json/walk.h"
#include "sinks/engine/auth_internal.h"

#define MARK "@KEY@"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_key(const char *text, size_t len)
{
    char error[AUTH_ERROR_BYTES] = "";
    struct text form = {0};
    struct auth_key *k;
    int rc = auth_key_parse("key.json", text, len, &k, error, sizeof(error));

    if (rc != 0) {
        ASSERT(k == NULL);
        ASSERT(strncmp(error, "key.json: ", 10) == 0 && error[10] != '\0');
        return;
    }
    ASSERT(k->token_uri[0] == 'h' && strpbrk(k->token_uri, " \r\n") == NULL);
    ASSERT(strpbrk(k->quota_project, " \r\n") == NULL);
    ASSERT(k->type != AUTH_SERVICE_ACCOUNT || k->private_key != NULL);
    rc = auth_form(&form, k, 1700000000);
    ASSERT(rc == 0 || rc == -EIO);
    ASSERT(rc != 0 || strpbrk(form.ptr, " \r\n\"") == NULL);
    auth_text_wipe(&form);
    auth_key_destroy(k);
}

static void try_answer(const char *text, size_t len)
{
    char header[AUTH_HEADER_BYTES], why[REASON_TEXT_BYTES];
    struct http_answer a = {.status = 400, .body = {.ptr = text, .len = len}};
    int64_t seconds = 0;

    if (auth_answer_read(a.body, header, &seconds) == NULL) {
        ASSERT(seconds > 0 && strlen(header) > strlen(AUTH_PREFIX));
        ASSERT(strpbrk(header + strlen(AUTH_PREFIX), " \r\n\t") == NULL);
    } else {
        ASSERT(header[0] == '\0' || strncmp(header, AUTH_PREFIX, strlen(AUTH_PREFIX)) == 0);
    }
    auth_answer_describe(&a, why);
    ASSERT(memcmp(why, "400", 3) == 0 && strpbrk(why, "\r\n\x1b") == NULL);
}

/* A private key as the body of a JSON string. */
static const char *private_key(void)
{
    static char body[8192];
    BIO *bio;
    EVP_PKEY *key;
    char *pem;
    long n;

    if (body[0] != '\0')
        return body;
    bio = BIO_new(BIO_s_mem());
    key = EVP_RSA_gen(1024);
    ASSERT(bio != NULL && key != NULL);
    ASSERT(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
    n = BIO_get_mem_data(bio, &pem);
    ASSERT(n > 0 && (size_t)n * 6 < sizeof(body));
    body[json_escape((struct span){.ptr = pem, .len = (size_t)n}, body)] = '\0';
    EVP_PKEY_free(key);
    BIO_free(bio);
    return body;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *key = private_key();
    const uint8_t *mark = size > 0 ? memmem(data, size, MARK, strlen(MARK)) : NULL;
    size_t at = mark != NULL ? (size_t)(mark - data) : size;
    size_t skip = mark != NULL ? strlen(MARK) : 0, add = mark != NULL ? strlen(key) : 0;
    char *text;

    if (size > 20000)
        return 0;
    text = calloc(1, size + add + JSON_PADDING_BYTES);
    ASSERT(text != NULL);
    if (at > 0)
        memcpy(text, data, at);
    memcpy(text + at, key, add);
    if (size > at + skip)
        memcpy(text + at + add, data + at + skip, size - at - skip);
    try_key(text, size - skip + add);
    try_answer(text, size - skip + add);
    free(text);
    return 0;
}
