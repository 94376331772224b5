/* See ingest_identity.h. SHA-256 over the documents as they lie, without what is between them. */
#include "tools/penstock/ingest_identity.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/penstock/documents.h"

#define BASE_BYTES 32
#define GROW       64

static const char file_label[] = "penstock ingest file 1";
static const char name_label[] = "penstock ingest name 1";

static bool hash_document(EVP_MD_CTX *ctx, const struct document *doc)
{
    const uint64_t head[] = {doc->whole, doc->whole > doc->len ? doc->crc32c : 0};

    ASSERT(doc->len > 0);
    return EVP_DigestUpdate(ctx, head, sizeof(head)) == 1 &&
           EVP_DigestUpdate(ctx, doc->ptr, doc->len) == 1;
}

/* Adds a candidate: what has been hashed up to here. */
static int add_candidate(struct identity *i, EVP_MD_CTX *ctx, EVP_MD_CTX *scratch)
{
    if (i->n % GROW == 0) {
        void *larger = realloc(i->base, (size_t)(i->n + GROW) * BASE_BYTES);

        if (larger == NULL)
            return -ENOMEM;
        i->base = larger;
    }
    if (EVP_MD_CTX_copy_ex(scratch, ctx) != 1 ||
        EVP_DigestFinal_ex(scratch, i->base[i->n], NULL) != 1)
        return -ENOMEM;
    i->n++;
    return 0;
}

static int read_head(struct documents *d, struct identity *i, EVP_MD_CTX *ctx, EVP_MD_CTX *scratch,
                     char *error, size_t error_len)
{
    struct document doc;
    uint64_t bytes = 0;
    int rc;

    if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(ctx, file_label, sizeof(file_label)) != 1)
        return -ENOMEM;
    while ((rc = documents_next(d, &doc, error, error_len)) == 1) {
        bytes += doc.whole;
        i->in_array = doc.element > 0;
        if (!hash_document(ctx, &doc) || add_candidate(i, ctx, scratch) != 0)
            return -ENOMEM;
        if (bytes >= IDENTITY_BYTES)
            return 0;
    }
    /* Documents in front of a broken place have their session; the place is found again later. */
    return rc == -EBADMSG && i->n > 0 ? 0 : rc;
}

int identity_read(const char *path, struct identity *out, char *error, size_t error_len)
{
    struct documents_options options = {.bytes_max = IDENTITY_BYTES, .unfinished = true};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new(), *scratch = EVP_MD_CTX_new();
    struct documents *d = NULL;
    int rc;

    ASSERT(out != NULL);
    *out = (struct identity){0};
    rc = documents_open(path, &options, &d, error, error_len);
    if (rc == 0) {
        snprintf(error, error_len, "out of memory");
        rc = ctx == NULL || scratch == NULL ? -ENOMEM
                                            : read_head(d, out, ctx, scratch, error, error_len);
    }
    documents_close(d);
    EVP_MD_CTX_free(ctx);
    EVP_MD_CTX_free(scratch);
    if (rc != 0)
        identity_free(out);
    return rc;
}

int identity_of_name(const char *name, struct identity *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok;

    ASSERT(name != NULL);
    *out = (struct identity){.base = malloc(BASE_BYTES), .n = 1};
    ok = ctx != NULL && out->base != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
         EVP_DigestUpdate(ctx, name_label, sizeof(name_label)) == 1 &&
         EVP_DigestUpdate(ctx, name, strlen(name)) == 1 &&
         EVP_DigestFinal_ex(ctx, out->base[0], NULL) == 1;
    EVP_MD_CTX_free(ctx);
    if (!ok)
        identity_free(out);
    return ok ? 0 : -ENOMEM;
}

void identity_free(struct identity *i)
{
    free(i->base);
    *i = (struct identity){0};
}

void identity_session(const struct identity *i, uint32_t candidate, uint32_t generation,
                      uint8_t out[INGEST_SESSION_BYTES])
{
    uint8_t in[BASE_BYTES + 4], digest[BASE_BYTES];

    ASSERT(candidate < i->n);
    memcpy(in, i->base[candidate], BASE_BYTES);
    for (int k = 0; k < 4; k++)
        in[BASE_BYTES + k] = (uint8_t)(generation >> (8 * k));
    if (EVP_Digest(in, sizeof(in), digest, NULL, EVP_sha256(), NULL) != 1)
        abort(); /* no memory for a hash */
    memcpy(out, digest, INGEST_SESSION_BYTES);
}

static int compare_known(const void *a, const void *b)
{
    return memcmp(a, b, INGEST_SESSION_BYTES); /* the id comes first */
}

static bool is_known(const struct identity *i, uint32_t candidate, uint32_t generation,
                     const struct known_session *known, size_t n)
{
    struct known_session key = {.seq = 0};

    identity_session(i, candidate, generation, key.id);
    return n > 0 && bsearch(&key, known, n, sizeof(*known), compare_known) != NULL;
}

void identity_choose(const struct identity *i, const struct known_session *known, size_t n_known,
                     bool again, uint8_t out[INGEST_SESSION_BYTES])
{
    uint32_t candidate = i->n, generation = 0;

    ASSERT(i->n > 0);
    while (candidate > 0 && !is_known(i, candidate - 1, 0, known, n_known))
        candidate--;
    if (candidate == 0) { /* new */
        identity_session(i, i->n - 1, 0, out);
        return;
    }
    while (is_known(i, candidate - 1, generation + 1, known, n_known))
        generation++;
    identity_session(i, candidate - 1, generation + (again ? 1 : 0), out);
}

static bool parse_id(const char *text, uint8_t *out)
{
    for (size_t i = 0; i < INGEST_SESSION_BYTES; i++) {
        unsigned v;

        if (sscanf(text + 2 * i, "%2x", &v) != 1)
            return false;
        out[i] = (uint8_t)v;
    }
    return true;
}

int identity_parse_known(const char *text, struct known_session **out, size_t *n)
{
    size_t lines = 0;

    ASSERT(text != NULL);
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    *n = 0;
    *out = calloc(lines + 1, sizeof(**out));
    if (*out == NULL)
        return -ENOMEM;
    for (const char *p = text; *p != '\0'; p = strchr(p, '\n') + 1) {
        struct known_session *k = &(*out)[*n];

        if (*n == lines || strcspn(p, " \n") != 2 * INGEST_SESSION_BYTES || !parse_id(p, k->id) ||
            sscanf(p + 2 * INGEST_SESSION_BYTES, "%" SCNx64 " %" SCNx64, &k->seq, &k->note) != 2) {
            free(*out);
            *out = NULL;
            return -EBADMSG;
        }
        ++*n;
    }
    qsort(*out, *n, sizeof(**out), compare_known);
    return 0;
}
