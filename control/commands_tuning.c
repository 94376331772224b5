/* COLD. `penstock get` and `set`; see tuning.h for what they do. */
#include <stdio.h>

#include "control/commands.h"
#include "control/nearest.h"
#include "control/totals.h"

#define SETTLE_US INT64_C(1000000)

/* What the callbacks of a request know: types are collected when the first is asked for. */
struct known {
    struct daemon *d;
    bool collected;
    struct totals t;
};

static void collect(struct known *k)
{
    ASSERT(k->d != NULL);
    if (!k->collected)
        totals_collect(k->d, true, &k->t);
    k->collected = true;
}

static void known_fini(struct known *k)
{
    if (k->collected)
        totals_fini(&k->t);
    ASSERT(k->t.type == NULL);
}

static bool type_known(void *ctx, const char *type)
{
    struct known *k = ctx;

    if (type_find(&k->d->config->types, span_of(type)) != NULL)
        return true;
    collect(k);
    ASSERT(type[0] != '\0');
    for (uint32_t i = 0; i < k->t.n_types; i++) {
        if (strcmp(k->t.type[i].name, type) == 0)
            return true;
    }
    return false;
}

static const char *type_nearest(void *ctx, const char *type)
{
    struct known *k = ctx;
    const char *best = NULL;
    unsigned least = NEAREST_WORD_MAX;

    collect(k);
    for (uint32_t i = 0; i < k->t.n_types; i++) {
        unsigned far = nearest_distance(type, k->t.type[i].name);

        if (k->t.type[i].name[0] != '\0' && far < least && nearest_is_close(type, far)) {
            least = far;
            best = k->t.type[i].name;
        }
    }
    ASSERT(best == NULL || least < NEAREST_WORD_MAX);
    return best;
}

static uint32_t settle(void *ctx)
{
    struct known *k = ctx;

    ASSERT(k->d != NULL);
    return daemon_settle(k->d, SETTLE_US);
}

int commands_get(struct daemon *d, const struct cli_request *r, struct textbuf *body)
{
    ASSERT(r->command == PROTOCOL_GET);
    return tuning_get(d->tuning, r->n_args > 0 ? r->arg[0] : "", r->json, body) == 0
               ? PROTOCOL_OK
               : PROTOCOL_USAGE;
}

/* "NAME VALUE", or any number of "NAME=VALUE". @return how many; 0: neither, with a message. */
static uint32_t changes_of(const struct cli_request *r, char *text, struct tuning_change *out,
                           struct textbuf *body)
{
    if (r->n_args == 2 && strchr(r->arg[0], '=') == NULL) {
        out[0] = (struct tuning_change){r->arg[0], r->arg[1]};
        return 1;
    }
    ASSERT(r->n_args <= PROTOCOL_ARGS_MAX);
    for (uint32_t i = 0; i < r->n_args; i++) {
        char *equal;

        memcpy(text, r->arg[i], strlen(r->arg[i]) + 1);
        equal = strchr(text, '=');
        if (equal == NULL || equal == text) {
            textbuf_add(body, "set: found \"%s\"; allowed: set NAME VALUE, or set NAME=VALUE...\n",
                        r->arg[i]);
            return 0;
        }
        *equal = '\0';
        out[i] = (struct tuning_change){text, equal + 1};
        text = equal + 1 + strlen(equal + 1) + 1;
    }
    return r->n_args;
}

int commands_set(struct daemon *d, const struct cli_request *r, struct textbuf *body)
{
    struct tuning_change change[PROTOCOL_ARGS_MAX];
    char text[PROTOCOL_LINE_BYTES];
    struct known known = {.d = d};
    struct tuning_request request = {
        .change = change,
        .n = changes_of(r, text, change, body),
        .for_us = r->for_us,
        .type_known = type_known,
        .type_nearest = type_nearest,
        .settle = settle,
        .ctx = &known,
        .json = r->json,
    };
    int rc;

    ASSERT(r->command == PROTOCOL_SET);
    if (request.n == 0)
        return PROTOCOL_USAGE;
    rc = tuning_set(d->tuning, &request, body);
    known_fini(&known);
    return rc == 0 ? PROTOCOL_OK : PROTOCOL_USAGE;
}
