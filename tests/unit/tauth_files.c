/* COLD. Files, keys and a clock for tests of credentials. */
#include "tests/unit/tauth_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "dataplane/base/clock.h"
#include "dataplane/json/walk.h"

static char folder[] = "/tmp/penstock-auth-XXXXXX";
EVP_PKEY *tauth_key;
int64_t tauth_now_us;
static char *key_json; /* the PEM as the body of a JSON string */
static const char *const variables[] = {"GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG",
                                        "GCE_METADATA_HOST", "GCE_METADATA_IP",
                                        "GOOGLE_CLOUD_QUOTA_PROJECT"};

static int64_t clock_now_us(void)
{
    return tauth_now_us != 0 ? tauth_now_us : clock_monotonic_us();
}

const char *path_of(const char *name)
{
    static char path[2][256];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
    return path[turn];
}

const char *write_file(const char *name, const char *text)
{
    const char *path = path_of(name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* A private key as a key file holds it. Owner: caller. */
char *pem_json(EVP_PKEY *k, const char *password)
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
const char *write_key(const char *name, const char *members)
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

int tauth_setup(void **state)
{
    char home[64];

    (void)state;
    assert_non_null(mkdtemp(folder));
    tauth_key = EVP_RSA_gen(2048);
    assert_non_null(tauth_key);
    key_json = pem_json(tauth_key, NULL);
    auth_clock_us = clock_now_us;
    snprintf(home, sizeof(home), "%s/home", folder);
    setenv("HOME", home, 1);
    return 0;
}

int tauth_teardown(void **state)
{
    char command[128];

    (void)state;
    free(key_json);
    EVP_PKEY_free(tauth_key);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

int tauth_each(void **state)
{
    (void)state;
    tauth_now_us = 0;
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        unsetenv(variables[i]);
    return 0;
}

const char *tauth_folder(void)
{
    return folder;
}

const char *header_of(struct auth *a)
{
    const char *header;
    uint64_t generation;

    assert_true(auth_take(a, &header, &generation));
    return header;
}
