/* COLD. `penstock get`, `set`, `pause` and `resume`; see tuning.h for what they do. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/commands.h"
#include "control/nearest.h"
#include "control/totals.h"

#define SETTLE_US INT64_C(1000000)

static_assert(PROTOCOL_ARGS_MAX <= TUNING_CHANGES_MAX, "a request is one set of changes");

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

/* ---- pausing ---- */

/* Reads "gcs", "bigquery" or "type NAME". @return PROTOCOL_OK, or PROTOCOL_USAGE with a message. */
static int what_of(const struct cli_request *r, enum tuning_what *what, char *type,
                   struct textbuf *body)
{
    ASSERT(r->n_args >= 1);
    type[0] = '\0';
    if (strcmp(r->arg[0], "type") == 0 && r->n_args == 2) {
        *what = TUNING_TYPE;
        if (tuning_decode_type(r->arg[1], strlen(r->arg[1]), type))
            return PROTOCOL_OK;
        textbuf_add(body, "\"%s\" is no event type: percent-encoded, 1 to 128 bytes\n", r->arg[1]);
        return PROTOCOL_USAGE;
    }
    *what = strcmp(r->arg[0], "gcs") == 0 ? TUNING_GCS : TUNING_BIGQUERY;
    if (r->n_args == 1 && (*what == TUNING_GCS || strcmp(r->arg[0], "bigquery") == 0))
        return PROTOCOL_OK;
    textbuf_add(body, "found \"%s%s%s\"; allowed: gcs, bigquery, or type NAME\n", r->arg[0],
                r->n_args > 1 ? " " : "", r->n_args > 1 ? r->arg[1] : "");
    return PROTOCOL_USAGE;
}

static int refuse_type(struct known *k, const char *word, const char *type, struct textbuf *body)
{
    const char *near = type_nearest(k, type);

    ASSERT(type[0] != '\0');
    textbuf_add(body, "no event of type \"%s\" has come and types.list does not name it%s", word,
                near != NULL ? "; did you mean \"" : "");
    if (near != NULL)
        tuning_encode_type(near, body);
    textbuf_add(body, "%s\n", near != NULL ? "\"?" : "");
    return PROTOCOL_USAGE;
}

/* Copies a pause that holds. @return false when there is none like it any more. */
static bool find_pause(struct daemon *d, enum tuning_what what, const char *type,
                       struct tuning_pause *out)
{
    struct tuning_pause *all;
    uint32_t n = tuning_pauses(d->tuning, &all);
    bool found = false;

    ASSERT(out != NULL);
    for (uint32_t i = 0; i < n && !found; i++) {
        found = all[i].what == what && strcmp(all[i].type, type) == 0;
        if (found)
            *out = all[i];
    }
    free(all);
    return found;
}

static void answer_paused(struct daemon *d, const struct cli_request *r,
                          const struct tuning_pause *p, struct textbuf *body)
{
    uint32_t behind = daemon_settle(d, SETTLE_US);

    ASSERT(r->command == PROTOCOL_PAUSE);
    if (r->json) {
        textbuf_add(body, "{\"paused\":");
        tuning_pause_json(p, body);
        textbuf_add(body, ",\"threads_behind\":%" PRIu32 "}\n", behind);
        return;
    }
    textbuf_add(body, "paused: ");
    tuning_pause_text(p, body);
    textbuf_add(body,
                "\n%s; events are taken and wait in the journal, up to journal.limit. A "
                "restart keeps the pause.\n",
                p->what == TUNING_TYPE ? "What is being sent, or is in the bucket already, goes on"
                                       : "What is under way goes on to its end");
    if (behind > 0)
        textbuf_add(body, "%" PRIu32 " threads are busy and follow in a moment\n", behind);
}

int commands_pause(struct daemon *d, const struct cli_request *r, struct textbuf *body)
{
    char type[TYPE_NAME_BYTES_MAX + 1];
    struct known known = {.d = d};
    struct tuning_pause p = {0};
    enum tuning_what what;
    int rc, status = what_of(r, &what, type, body);

    ASSERT(r->command == PROTOCOL_PAUSE);
    if (status == PROTOCOL_OK && what == TUNING_TYPE && !type_known(&known, type))
        status = refuse_type(&known, r->arg[1], type, body);
    known_fini(&known);
    if (status != PROTOCOL_OK)
        return status;
    rc = tuning_pause(d->tuning, what, type, r->for_us);
    if (rc == 0 && find_pause(d, what, type, &p)) {
        answer_paused(d, r, &p, body);
        return PROTOCOL_OK;
    }
    textbuf_add(body, "not paused: %s\n",
                rc == -E2BIG ? "more types are paused than there is room for"
                : rc == 0    ? "it was resumed at once"
                             : strerror(-rc));
    return PROTOCOL_ERROR;
}

/* Ends one pause and says so. @return 0 or -errno. */
static int resume_one(struct daemon *d, const struct tuning_pause *p, const struct cli_request *r,
                      uint32_t number, struct textbuf *body)
{
    int rc = tuning_resume(d->tuning, p->what, p->type);

    if (rc != 0)
        return rc;
    ASSERT(body != NULL);
    if (r->json) {
        textbuf_add(body, "%s", number > 0 ? "," : "");
        tuning_pause_json(p, body);
    } else {
        textbuf_add(body, "resumed: ");
        tuning_pause_text(p, body);
        textbuf_add(body, "\n");
    }
    return 0;
}

static int resume_all(struct daemon *d, const struct cli_request *r, struct textbuf *body)
{
    struct tuning_pause *all;
    uint32_t n = tuning_pauses(d->tuning, &all);
    int rc = 0;

    ASSERT(r->command == PROTOCOL_RESUME);
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        rc = resume_one(d, &all[i], r, i, body);
        rc = rc == -ENOENT ? 0 : rc; /* its time is over */
    }
    if (n == 0 && !r->json)
        textbuf_add(body, "nothing is paused\n");
    free(all);
    return rc;
}

int commands_resume(struct daemon *d, const struct cli_request *r, struct textbuf *body)
{
    char type[TYPE_NAME_BYTES_MAX + 1];
    struct tuning_pause p = {0};
    struct textbuf list = {0};
    int rc, status;

    if (strcmp(r->arg[0], "all") == 0 && r->n_args == 1) {
        rc = resume_all(d, r, &list);
    } else {
        status = what_of(r, &p.what, type, body);
        if (status != PROTOCOL_OK)
            return status;
        rc = find_pause(d, p.what, type, &p) ? resume_one(d, &p, r, 0, &list) : -ENOENT;
    }
    ASSERT(rc <= 0);
    if (rc == 0 && !r->json)
        (void)daemon_settle(d, SETTLE_US);
    if (rc == 0 && r->json)
        textbuf_add(body, "{\"resumed\":[%s],\"threads_behind\":%" PRIu32 "}\n", textbuf_str(&list),
                    daemon_settle(d, SETTLE_US));
    else if (rc == 0)
        textbuf_add(body, "%s", textbuf_str(&list));
    else
        textbuf_add(body, "not resumed: %s\n", rc == -ENOENT ? "it is not paused" : strerror(-rc));
    textbuf_fini(&list);
    return rc == 0 ? PROTOCOL_OK : PROTOCOL_ERROR;
}

/* Plans and tables that only wait for the end of a pause. */
static uint64_t held(const struct daemon *d)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < d->n_sinks; i++) {
        const struct sink_stats *s = sink_stats(d->sink[i].sink);

        n += atomic_load_explicit(&s->plans_held, memory_order_relaxed) +
             atomic_load_explicit(&s->loads_held, memory_order_relaxed);
    }
    ASSERT(d->n_sinks > 0);
    return n;
}

bool commands_paused(struct daemon *d, bool json, struct textbuf *out)
{
    struct tuning_pause *all;
    uint32_t n = tuning_pauses(d->tuning, &all);

    ASSERT(out != NULL);
    if (held(d) == 0)
        n = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (json) {
            textbuf_add(out, "%s", i > 0 ? "," : "");
            tuning_pause_json(&all[i], out);
            continue;
        }
        textbuf_add(out, "  paused: ");
        tuning_pause_text(&all[i], out);
        textbuf_add(out, "\n");
    }
    free(all);
    return n > 0;
}
