/* COLD. Certificates that change while everything runs, see door.h. */
#include "control/door.h"
#include "control/door_tokens.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"

#define FILES         4
#define READ(counter) atomic_load_explicit(&(counter), memory_order_relaxed)
#define EXPIRES_US    (INT64_C(14) * 86400 * 1000000) /* a warning before the certificate ends */
#define GENERATIONS   2 /* versions of settings that a worker must have seen: see keys_free() */

/* What tells one content of a file from the next. */
struct mark {
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec modified;
};

/* Keys that were in force. */
struct old_keys {
    struct old_keys *next;
    struct door_keys *keys;
    uint32_t generations; /* still to be seen by every worker */
};

struct door {
    pthread_mutex_t lock;
    const struct config *config;
    struct tuning *tuning;
    struct door_keys *keys;
    struct door_names *names; /* of tokens */
    struct old_keys *old;
    const char *file[FILES]; /* NULL: none */
    struct mark mark[FILES]; /* as they were loaded, or tried, last */
    struct mark seen[FILES]; /* as they were at the last look */
    int64_t next_look_us;
    bool warned; /* that the certificate ends */
    struct door_report report;
};

/* ---- loading ---- */

static void marks_read(const struct door *d, struct mark *out)
{
    memset(out, 0, FILES * sizeof(*out));
    ASSERT(FILES == ARRAY_LEN(d->file));
    for (int i = 0; i < FILES; i++) {
        struct stat s;

        if (d->file[i] == NULL || stat(d->file[i], &s) != 0)
            continue;
        out[i].device = s.st_dev;
        out[i].inode = s.st_ino;
        out[i].bytes = s.st_size;
        out[i].modified = s.st_mtim;
    }
}

static void keys_destroy(struct door_keys *k)
{
    if (k == NULL)
        return;
    tls_context_destroy(k->tls);
    tokens_destroy(k->tokens);
    free(k);
}

static int keys_load(const struct door *d, struct door_keys **out, char *error, size_t error_len)
{
    struct door_keys *k = calloc(1, sizeof(*k));
    struct tls_config tls;
    int rc = k == NULL ? -ENOMEM : 0;

    ASSERT(error_len > 0);
    snprintf(error, error_len, "out of memory");
    if (rc == 0 && d->config->https_listen[0] != '\0') {
        config_fill_tls(d->config, &tls);
        rc = tls_context_create(&tls, d->keys != NULL ? d->keys->tls : NULL, &k->tls, error,
                                error_len);
    }
    if (rc == 0 && d->config->http_tokens[0] != '\0') {
        rc = door_tokens_load(d->config->http_tokens, &k->tokens, error, error_len);
        if (rc == 0)
            rc = door_names_assign(d->names, k->tokens, error, error_len);
    }
    if (rc != 0) {
        keys_destroy(k);
        return rc;
    }
    *out = k;
    return 0;
}

static void log_keys(const struct door_keys *k)
{
    ASSERT(k != NULL);
    if (k->tls != NULL)
        log_info("door", "certificate: %s", tls_context_text(k->tls));
    if (k->tokens != NULL)
        log_info("door", "%" PRIu32 " tokens", tokens_count(k->tokens));
}

static const char *file_or_null(const char *name)
{
    ASSERT(name != NULL);
    return name[0] != '\0' ? name : NULL;
}

int door_create(const struct config *config, struct tuning *tuning, struct door **out, char *error,
                size_t error_len)
{
    struct door *d = calloc(1, sizeof(*d));
    int rc;

    ASSERT(tuning != NULL);
    snprintf(error, error_len, "out of memory");
    if (d == NULL)
        return -ENOMEM;
    pthread_mutex_init(&d->lock, NULL);
    d->config = config;
    d->tuning = tuning;
    if (config->https_listen[0] != '\0') {
        d->file[0] = file_or_null(config->https_certificate);
        d->file[1] = file_or_null(config->https_key);
        d->file[2] = file_or_null(config->https_client_ca);
    }
    d->file[3] = file_or_null(config->http_tokens);
    marks_read(d, d->mark);
    d->names = door_names_create();
    rc = d->names != NULL ? keys_load(d, &d->keys, error, error_len) : -ENOMEM;
    if (rc != 0) {
        door_destroy(d);
        return rc;
    }
    log_keys(d->keys);
    tuning_publish_keys(tuning, d->keys);
    *out = d;
    return 0;
}

void door_destroy(struct door *d)
{
    if (d == NULL)
        return;
    while (d->old != NULL) {
        struct old_keys *o = d->old;

        d->old = o->next;
        keys_destroy(o->keys);
        free(o);
    }
    keys_destroy(d->keys);
    door_names_destroy(d->names);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

const struct door_keys *door_keys(struct door *d)
{
    ASSERT(d->keys != NULL);
    return d->keys;
}

/* ---- changing ---- */

/* Puts new keys in force; the old ones wait until no worker uses them. */
static void keys_change(struct door *d, struct door_keys *k)
{
    struct old_keys *o = malloc(sizeof(*o));

    ASSERT(o != NULL); /* a few bytes; without them old keys could never be freed */
    *o = (struct old_keys){.next = d->old, .keys = d->keys, .generations = GENERATIONS};
    d->old = o;
    d->keys = k;
    d->report.reloads++;
    d->report.failing = false;
    d->warned = false;
    tuning_publish_keys(d->tuning, k);
}

/*
 * A worker says that it has seen a version before it takes over what is in it. So when all have
 * seen the version with new keys, one more is published; when all have seen that one, they have
 * done with the old keys.
 */
static void keys_free(struct door *d)
{
    struct old_keys **at = &d->old;

    if (d->old == NULL || tuning_behind(d->tuning) > 0)
        return;
    while (*at != NULL) {
        struct old_keys *o = *at;

        ASSERT(o->generations > 0);
        if (--o->generations > 0) {
            at = &o->next;
            continue;
        }
        *at = o->next;
        keys_destroy(o->keys);
        free(o);
    }
    if (d->old != NULL)
        tuning_publish_keys(d->tuning, d->keys);
}

/* Loads all files again. @return 0; -errno with one sentence, and nothing has changed. */
static int load_again(struct door *d, char *error, size_t error_len)
{
    struct door_keys *k;
    int rc;

    marks_read(d, d->mark); /* before: what changes meanwhile is seen by the next look */
    rc = keys_load(d, &k, error, error_len);
    if (rc != 0) {
        d->report.failures++;
        d->report.failing = true;
        log_error("door", "%s; what was loaded before stays in force", error);
        return rc;
    }
    keys_change(d, k);
    log_keys(k);
    return 0;
}

static void describe(const struct door *d, bool json, struct textbuf *out)
{
    const struct tls_context *tls = d->keys->tls;

    ASSERT(out != NULL);
    if (json) {
        textbuf_add(out, "{\"certificate\":");
        if (tls != NULL)
            textbuf_json(out, span_of(tls_context_text(tls)));
        else
            textbuf_add(out, "null");
        if (d->keys->tokens != NULL)
            textbuf_add(out, ",\"tokens\":%" PRIu32 "}\n", tokens_count(d->keys->tokens));
        else
            textbuf_add(out, ",\"tokens\":null}\n");
        return;
    }
    if (d->keys->tokens != NULL)
        textbuf_add(out, "tokens: %" PRIu32 "\n", tokens_count(d->keys->tokens));
    textbuf_add(out, "certificate: %s\n", tls != NULL ? tls_context_text(tls) : "none: TLS is off");
}

int door_reload(struct door *d, bool json, struct textbuf *out)
{
    char error[TLS_ERROR_BYTES];
    int rc;

    ASSERT(out != NULL);
    pthread_mutex_lock(&d->lock);
    rc = load_again(d, error, sizeof(error));
    if (rc == 0) {
        describe(d, json, out);
    } else if (json) {
        textbuf_add(out, "{\"error\":");
        textbuf_json(out, span_of(error));
        textbuf_add(out, "}\n");
    } else {
        textbuf_add(out, "%s\nwhat was loaded before stays in force\n", error);
    }
    pthread_mutex_unlock(&d->lock);
    return rc == 0 ? 0 : -EINVAL;
}

static void warn_end(struct door *d)
{
    int64_t left_us;

    if (d->keys->tls == NULL || d->warned)
        return;
    left_us = tls_context_ends_us(d->keys->tls) - clock_wall_us();
    ASSERT(!d->warned);
    if (left_us > EXPIRES_US)
        return;
    d->warned = true;
    log_warn("door", "https.certificate %s: %s", left_us > 0 ? "ends soon" : "has ended",
             tls_context_text(d->keys->tls));
}

void door_tick(struct door *d)
{
    int64_t now_us = clock_monotonic_us();
    struct mark mark[FILES];
    char error[TLS_ERROR_BYTES];

    ASSERT(d != NULL);
    pthread_mutex_lock(&d->lock);
    keys_free(d);
    if (now_us >= d->next_look_us) {
        d->next_look_us = now_us + DOOR_LOOK_US;
        marks_read(d, mark);
        /* Looks twice: a file that is being written has not its last size yet. */
        if (memcmp(mark, d->mark, sizeof(mark)) != 0 && memcmp(mark, d->seen, sizeof(mark)) == 0)
            (void)load_again(d, error, sizeof(error));
        memcpy(d->seen, mark, sizeof(mark));
        warn_end(d);
    }
    pthread_mutex_unlock(&d->lock);
}

/* Sums a name's counters over all workers. */
static void add_counters(const struct daemon *d, uint32_t slot, struct door_name *out)
{
    for (uint32_t i = 0; i < d->n_workers; i++) {
        const struct worker_token *t = worker_token(d->worker[i], slot);

        ASSERT(t != NULL);
        out->requests += READ(t->requests);
        out->events += READ(t->events);
        out->bytes += READ(t->bytes);
        out->refused_types += READ(t->refused_types);
        out->refused_rates += READ(t->refused_rates);
    }
}

uint32_t door_names_report(const struct daemon *daemon, struct door_name **out)
{
    struct door *d = daemon->door;
    uint32_t n;

    ASSERT(d != NULL);
    pthread_mutex_lock(&d->lock);
    n = door_names_count(d->names);
    *out = calloc(n + 1, sizeof(**out));
    n = *out != NULL ? n : 0;
    for (uint32_t i = 0; i < n; i++) {
        snprintf((*out)[i].name, sizeof((*out)[i].name), "%s", door_names_at(d->names, i));
        add_counters(daemon, i, &(*out)[i]);
    }
    pthread_mutex_unlock(&d->lock);
    return n;
}

void door_report(struct door *d, struct door_report *out)
{
    ASSERT(out != NULL);
    pthread_mutex_lock(&d->lock);
    *out = d->report;
    out->ends_us = d->keys->tls != NULL ? tls_context_ends_us(d->keys->tls) : 0;
    pthread_mutex_unlock(&d->lock);
}
