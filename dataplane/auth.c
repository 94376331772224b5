/*
 * HOT. Who a request is from, by its bearer token; what that one may send, and how much. Each worker
 * gives its share of a token's limits, from state of its own.
 *
 * A limit is a time from which on the next request is taken. What is taken moves it on by what it
 * costs, so a body may be large; then the token waits until that is paid for. A pause saves up for
 * one second at most.
 */
/* OpenSSL calls it deprecated; its successor allocates for each digest, which no worker may. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <errno.h>
#include <openssl/sha.h>
#include <stdlib.h>

#include "dataplane/worker_internal.h"

#define SECOND_NS INT64_C(1000000000)
#define BURST_NS  SECOND_NS

/** Of one name; written by the worker. */
struct auth_slot {
    struct worker_token shown;
    int64_t events_ns, bytes_ns; /* monotonic: from then on it may send again */
};

struct auth {
    struct auth_slot slot[TOKENS_MAX];
};

uint64_t auth_memory_bytes(const struct worker_config *config)
{
    return config->tokens ? sizeof(struct auth) : 0;
}

int auth_create(struct worker *w)
{
    ASSERT(w->auth == NULL);
    if (!w->config.tokens)
        return 0;
    w->auth = calloc(1, sizeof(*w->auth));
    return w->auth != NULL ? 0 : -ENOMEM;
}

void auth_destroy(struct worker *w)
{
    free(w->auth);
    w->auth = NULL;
}

const struct worker_token *auth_slot(const struct auth *a, uint32_t slot)
{
    ASSERT(slot < TOKENS_MAX);
    return &a->slot[slot].shown;
}

static struct auth_slot *slot_of(struct worker *w, const struct connection *c)
{
    ASSERT_HOT(w->auth != NULL && c->token->slot < TOKENS_MAX);
    return &w->auth->slot[c->token->slot];
}

enum reason auth_check(struct worker *w, struct connection *c)
{
    struct span token = token_of_field(c->request.authorization);
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256_CTX context;

    ASSERT_HOT(w->auth != NULL && w->keys->tokens != NULL);
    c->token = NULL;
    if (token.len == 0)
        return REASON_UNAUTHORIZED;
    static_assert(sizeof(digest) == TOKEN_DIGEST_BYTES, "what tokens_find() takes");
    SHA256_Init(&context);
    SHA256_Update(&context, token.ptr, token.len);
    SHA256_Final(digest, &context);
    c->token = tokens_find(w->keys->tokens, digest);
    if (c->token == NULL)
        return REASON_BAD_TOKEN;
    stat_add(&slot_of(w, c)->shown.requests, 1);
    return REASON_NONE;
}

enum reason auth_type(struct worker *w, struct connection *c, struct span type)
{
    if (type.len == 0 || token_allows(c->token, type))
        return REASON_NONE;
    auth_type_refused(w, c);
    return REASON_TYPE_REFUSED;
}

void auth_type_refused(struct worker *w, struct connection *c)
{
    ASSERT(c->token != NULL);
    stat_add(&slot_of(w, c)->shown.refused_types, 1);
}

enum reason auth_rate(struct worker *w, struct connection *c)
{
    struct auth_slot *s = slot_of(w, c);
    int64_t now_ns = w->now_us * 1000, until_ns = 0;

    if (c->token->events_per_s > 0)
        until_ns = s->events_ns;
    if (c->token->bytes_per_s > 0 && s->bytes_ns > until_ns)
        until_ns = s->bytes_ns;
    if (likely(until_ns <= now_ns))
        return REASON_NONE;
    w->retry_after_s = (uint64_t)((until_ns - now_ns + SECOND_NS - 1) / SECOND_NS);
    stat_add(&s->shown.refused_rates, 1);
    return REASON_RATE_LIMITED;
}

/* What n cost, at a rate that all workers give together. */
static void charge(int64_t *ready_ns, int64_t now_ns, uint64_t n, uint64_t per_s, uint32_t workers)
{
    ASSERT_HOT(workers > 0);
    if (per_s == 0)
        return;
    if (*ready_ns < now_ns - BURST_NS)
        *ready_ns = now_ns - BURST_NS;
    *ready_ns += (int64_t)((double)n * workers / (double)per_s * (double)SECOND_NS);
}

void auth_charge(struct worker *w, struct connection *c, uint64_t events, uint64_t bytes)
{
    struct auth_slot *s = slot_of(w, c);
    int64_t now_ns = w->now_us * 1000;

    charge(&s->events_ns, now_ns, events, c->token->events_per_s, w->config.workers);
    charge(&s->bytes_ns, now_ns, bytes, c->token->bytes_per_s, w->config.workers);
    stat_add(&s->shown.events, events);
    stat_add(&s->shown.bytes, bytes);
}

void auth_follow(struct worker *w, const struct door_keys *keys)
{
    if (keys == w->keys)
        return;
    for (uint32_t i = 0; i < w->config.connections_max; i++) {
        struct connection *c = &w->connection[i];

        if (c->token != NULL) /* of a request under way: what it may is in the new file now */
            c->token = keys->tokens != NULL ? tokens_find(keys->tokens, c->token->digest) : NULL;
    }
    ASSERT((keys->tokens != NULL) == w->config.tokens);
    w->keys = keys;
}
