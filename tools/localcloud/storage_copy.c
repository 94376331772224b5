// Role: objects made of objects: compose, copyTo and rewriteTo. A copy shares its source's file by
// a link, since stored bytes never change; compose writes a new file outside the lock.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/storage_internal.h"

enum { SOURCES_MAX = 32, COPY_BLOCK = 256 << 10, MIB = 1 << 20 };

/** Sources of one compose. */
struct sources {
    int fds[SOURCES_MAX];
    size_t count;
    int64_t components;
    uint32_t crc;
    int64_t size;
};

static int64_t components_of(const struct lc_object *o)
{
    const json_t *n = json_object_get(o->meta, "componentCount");
    return n ? json_integer_value(n) : 1;
}

// Finds the object as source, at a generation when one is given (0: any). The caller holds the
// lock, and frees o. @return false after answering.
static bool find_source(struct lc_req *r, const char *bucket, const char *name, int64_t generation,
                        struct lc_object *o)
{
    struct lc_storage *s = r->app->storage;
    bool found = lc_object_find(s, bucket, name, o);
    if (found && (!generation || o->generation == generation))
        return true;
    if (found)
        lc_object_fini(o);
    lc_fail(r, 404, "notFound", "No such object: %s/%s", bucket, name);
    return false;
}

// Opens one source of a compose. The caller holds the lock. @return false after answering.
static bool open_source(struct lc_req *r, const json_t *item, struct sources *all)
{
    struct lc_object o = {0};
    const char *name = lc_json_str(item, "name");
    const json_t *conditions = json_object_get(item, "objectPreconditions");
    int64_t generation = 0, match = 0;
    if (!name || lc_json_i64(item, "generation", &generation) < 0 ||
        lc_json_i64(conditions, "ifGenerationMatch", &match) < 0) {
        lc_fail(r, 400, "invalid", "A source object needs a name; generations are numbers.");
        return false;
    }
    if (!find_source(r, r->args[0], name, generation, &o))
        return false;
    if (match && match != o.generation) {
        lc_fail(r, 412, "conditionNotMet",
                "At least one of the pre-conditions you specified did not hold: "
                "ifGenerationMatch of %s.",
                name);
    } else {
        char *path = lc_object_path(r->app->storage, o.generation);
        all->fds[all->count] = open(path, O_RDONLY | O_CLOEXEC);
        all->components += components_of(&o);
        free(path);
        if (all->fds[all->count] < 0)
            lc_fail(r, 500, "internalError", "the file of %s is missing", name);
        else
            all->count++;
    }
    lc_object_fini(&o);
    return r->status == 0;
}

static bool open_sources(struct lc_req *r, const json_t *list, struct sources *all)
{
    size_t count = json_array_size(list);
    if (count < 1 || count > SOURCES_MAX) {
        lc_fail(r, 400, "invalid",
                "The number of source components provided (%zu) must be 1 to %d.", count,
                SOURCES_MAX);
        return false;
    }
    bool ok = true;
    pthread_mutex_lock(&r->app->storage->lock);
    if (!lc_bucket_exists(r->app->storage, r->args[0])) {
        lc_fail(r, 404, "notFound", "The specified bucket does not exist.");
        ok = false;
    }
    for (size_t i = 0; ok && i < count; i++)
        ok = open_source(r, json_array_get(list, i), all);
    pthread_mutex_unlock(&r->app->storage->lock);
    return ok;
}

static bool append_file(int out, int in, struct sources *all, char *block)
{
    ssize_t n;
    while ((n = read(in, block, COPY_BLOCK)) > 0) {
        if (write(out, block, (size_t)n) != n)
            return false;
        all->crc = lc_crc32c(all->crc, block, (size_t)n);
        all->size += n;
    }
    return n == 0;
}

static bool join_sources(struct sources *all, const char *path)
{
    int out = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    char *block = lc_alloc(COPY_BLOCK);
    bool ok = out >= 0;
    for (size_t i = 0; ok && i < all->count; i++)
        ok = append_file(out, all->fds[i], all, block);
    free(block);
    if (out >= 0)
        close(out);
    return ok;
}

// Writes the destination of a compose whose sources are open.
static void compose(struct lc_req *r, struct sources *all, const json_t *destination,
                    const struct lc_conditions *c)
{
    struct lc_storage *s = r->app->storage;
    struct lc_object o = {.bucket = lc_strdup(r->args[0]),
                          .name = lc_strdup(r->args[1]),
                          .md5 = lc_strdup(""),
                          .meta = json_object()};
    char *path = lc_temp_path(s);
    const char *wrong = destination ? lc_object_merge_meta(o.meta, destination) : NULL;
    json_object_set_new(o.meta, "componentCount", json_integer(all->components));
    if (wrong) {
        lc_fail(r, 400, "invalid", "%s", wrong);
    } else if (!join_sources(all, path)) {
        lc_fail(r, 500, "internalError", "the object could not be written: %s", strerror(errno));
    } else {
        o.crc32c = all->crc;
        o.size = all->size;
        pthread_mutex_lock(&s->lock);
        lc_object_commit(r, path, &o, c, NULL);
        pthread_mutex_unlock(&s->lock);
    }
    unlink(path);
    free(path);
    lc_object_fini(&o);
}

void lc_object_compose(struct lc_req *r)
{
    struct sources all = {.count = 0};
    struct lc_conditions c;
    json_t *body = lc_body_json(r);
    if (!body)
        return;
    const char *wrong = lc_object_name_error(r->args[1]);
    if (wrong)
        lc_fail(r, 400, "invalid", "%s", wrong);
    else if (json_is_true(json_object_get(body, "deleteSourceObjects")))
        lc_fail(r, 501, "notImplemented", "localcloud does not serve deleteSourceObjects");
    else if (lc_conditions_read(r, &c, false) &&
             open_sources(r, json_object_get(body, "sourceObjects"), &all))
        compose(r, &all, json_object_get(body, "destination"), &c);
    for (size_t i = 0; i < all.count; i++)
        close(all.fds[i]);
    json_decref(body);
}

/** One copy: bytes a call may move, and how far an earlier call came. */
struct copy {
    struct lc_object from;
    json_t *metadata; // replaces the source's when it is not empty
    int64_t step;     // INT64_MAX: all at once
    int64_t done;
    bool rewrite;
};

// A token ties the next call to source, destination and progress. Owner: caller.
static char *make_token(struct lc_req *r, const struct copy *c)
{
    char *text = lc_format("%lld:%lld:%lld:%s/%s", (long long)c->from.generation,
                           (long long)c->done, (long long)c->step, r->args[2], r->args[3]);
    char *token = lc_base64(text, strlen(text));
    free(text);
    return token;
}

// Takes the progress out of rewriteToken. @return false after answering.
static bool read_token(struct lc_req *r, struct copy *c)
{
    const char *given = lc_param(r, "rewriteToken");
    uint8_t *raw = NULL;
    size_t n = 0;
    if (!given)
        return true;
    bool ok = lc_base64_decode(given, strlen(given), &raw, &n);
    char *text = ok ? lc_strndup((char *)raw, n) : lc_strdup("");
    const char *colon = strchr(text, ':');
    char *done = colon ? lc_strndup(colon + 1, strcspn(colon + 1, ":")) : lc_strdup("");
    ok = lc_parse_i64(done, &c->done) && c->done > 0 && c->done < c->from.size;
    char *again = make_token(r, c);
    ok = ok && strcmp(again, given) == 0;
    if (!ok)
        lc_fail(r, 400, "invalid",
                "The rewriteToken is not of this rewrite, or its source changed.");
    free(again);
    free(done);
    free(text);
    free(raw);
    return ok;
}

// Bytes a call: what the caller asks for; 1 MiB between locations, so that tests see more calls.
// The caller holds the lock. @return false after answering.
static bool read_step(struct lc_req *r, struct copy *c)
{
    const char *text = lc_param(r, "maxBytesRewrittenPerCall");
    const char *sql = "SELECT count(DISTINCT body) FROM buckets WHERE name IN (?, ?)";
    bool far = lc_db_i64(r->app->storage->db, 1, sql, "ss", r->args[0], r->args[2]) > 1;
    c->step = c->rewrite && far ? MIB : INT64_MAX;
    if (!text || !c->rewrite)
        return true;
    if (!lc_parse_i64(text, &c->step) || c->step < MIB || c->step % MIB) {
        lc_fail(r, 400, "invalid", "maxBytesRewrittenPerCall must be a multiple of 1048576.");
        return false;
    }
    return true;
}

static void reply_progress(struct lc_req *r, struct copy *c)
{
    json_t *out = json_pack("{s:s,s:b}", "kind", "storage#rewriteResponse", "done", 0);
    char *token = make_token(r, c);
    lc_json_set_i64(out, "totalBytesRewritten", c->done);
    lc_json_set_i64(out, "objectSize", c->from.size);
    json_object_set_new(out, "rewriteToken", json_string(token));
    free(token);
    lc_reply_json(r, 200, out);
}

// Makes the destination. The caller holds the lock.
static void copy_bytes(struct lc_req *r, struct copy *c, const struct lc_conditions *conditions)
{
    struct lc_object o = {.bucket = lc_strdup(r->args[2]),
                          .name = lc_strdup(r->args[3]),
                          .size = c->from.size,
                          .crc32c = c->from.crc32c,
                          .md5 = lc_strdup(c->from.md5)};
    bool replace = json_object_size(c->metadata) > 0;
    o.meta = replace ? json_object() : json_incref(c->from.meta);
    const char *wrong = replace ? lc_object_merge_meta(o.meta, c->metadata) : NULL;
    if (replace && components_of(&c->from) > 1)
        json_object_set_new(o.meta, "componentCount", json_integer(components_of(&c->from)));
    char *path = lc_object_path(r->app->storage, c->from.generation);
    if (wrong)
        lc_fail(r, 400, "invalid", "%s", wrong);
    else
        lc_object_commit(r, path, &o, conditions, NULL);
    if (c->rewrite && r->status == 200) {
        json_t *out = json_pack("{s:s,s:b,s:o}", "kind", "storage#rewriteResponse", "done", 1,
                                "resource", lc_object_json(&o, lc_req_host(r)));
        lc_json_set_i64(out, "totalBytesRewritten", o.size);
        lc_json_set_i64(out, "objectSize", o.size);
        lc_reply_json(r, 200, out);
    }
    free(path);
    lc_object_fini(&o);
}

// The caller holds the lock.
static void copy_locked(struct lc_req *r, struct copy *c)
{
    struct lc_storage *s = r->app->storage;
    struct lc_conditions source, destination;
    struct lc_object old = {0};
    const char *pinned = lc_param(r, "sourceGeneration"), *wrong = lc_object_name_error(r->args[3]);
    int64_t generation = 0;
    if (wrong || (pinned && !lc_parse_i64(pinned, &generation))) {
        lc_fail(r, 400, "invalid", "%s", wrong ? wrong : "Invalid sourceGeneration");
        return;
    }
    if (!lc_conditions_read(r, &source, true) || !lc_conditions_read(r, &destination, false) ||
        !find_source(r, r->args[0], r->args[1], generation, &c->from))
        return;
    if (!lc_conditions_check(r, &source, &c->from, false) || !read_step(r, c) || !read_token(r, c))
        return;
    bool found = lc_object_find(s, r->args[2], r->args[3], &old);
    bool met = lc_conditions_check(r, &destination, found ? &old : NULL, false);
    lc_object_fini(&old);
    if (!met)
        return;
    if (c->from.size - c->done > c->step) {
        c->done += c->step;
        reply_progress(r, c);
    } else {
        copy_bytes(r, c, &destination);
    }
}

static void copy(struct lc_req *r, bool rewrite)
{
    struct copy c = {.rewrite = rewrite};
    c.metadata = lc_body_json(r);
    if (!c.metadata)
        return;
    pthread_mutex_lock(&r->app->storage->lock);
    copy_locked(r, &c);
    pthread_mutex_unlock(&r->app->storage->lock);
    lc_object_fini(&c.from);
    json_decref(c.metadata);
}

void lc_object_rewrite(struct lc_req *r)
{
    copy(r, true);
}

void lc_object_copy(struct lc_req *r)
{
    copy(r, false);
}
