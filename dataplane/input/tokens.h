/*
 * Bearer tokens: who may send which event types, and how much a second. The file holds a token's
 * SHA-256, never the token, one a line:
 *
 *     # name   sha256 of the token   what it may do
 *     shop-eu  5994471abb01...39c0   types=order,cart.* events=5000 bytes=2MiB
 *
 * types: globs ('*' any bytes, '?' one byte) separated by commas, other bytes than '!' to '~', and '%'
 * and ',' themselves, as %HH; without it every type. events and bytes: a second; without them no limit.
 * Two lines may share a name, and then its limits and counters, while a token is exchanged for another.
 *
 * Immutable once parsed: any thread may read it.
 */
#ifndef PENSTOCK_INPUT_TOKENS_H
#define PENSTOCK_INPUT_TOKENS_H

#include <stdint.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

#define TOKENS_MAX           10000
#define TOKEN_NAME_BYTES_MAX 63
#define TOKEN_DIGEST_BYTES   32
#define TOKEN_GLOBS_MAX      64
#define TOKEN_RATE_MAX       UINT64_C(1000000000000)

/** One line of the file. */
struct token {
    char name[TOKEN_NAME_BYTES_MAX + 1]; /* letters, digits, '.', '_' and '-' */
    uint8_t digest[TOKEN_DIGEST_BYTES];
    uint32_t slot;    /* of its name's counters; set by tokens_set_slot() */
    uint32_t n_globs; /* 0: every type */
    struct span *glob;
    uint64_t events_per_s, bytes_per_s; /* 0: no limit */
};

struct tokens;

/**
 * Reads a file's text.
 * Thread: control.  Owner: caller, until tokens_destroy().
 * @return 0; -EINVAL with one sentence that names the line; -ENOMEM.
 */
int tokens_parse(const char *text, size_t len, struct tokens **out, char *error,
                 size_t error_len) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: control. */
void tokens_destroy(struct tokens *t);

/** Number of lines. Thread: any. */
uint32_t tokens_count(const struct tokens *t);

/** Line i of them. Thread: any. */
const struct token *tokens_at(const struct tokens *t, uint32_t i);

/** Says where the counters of line i are. Thread: control, before it is published. */
void tokens_set_slot(struct tokens *t, uint32_t i, uint32_t slot);

/**
 * The token of a digest, or NULL. Its time tells nothing of the digests in the file: they are looked
 * up by a keyed hash, and compared without an early end.
 * Thread: any.  Alloc: none.
 */
const struct token *tokens_find(const struct tokens *t, const uint8_t *digest);

/** Whether a token may send events of a type. Thread: any. */
bool token_allows(const struct token *t, struct span type);

/** Checks a name. Thread: any. */
bool token_name_valid(struct span name);

/** The credentials of an Authorization field of the scheme Bearer; empty when it is none. Thread: any. */
struct span token_of_field(struct span authorization);

#endif
