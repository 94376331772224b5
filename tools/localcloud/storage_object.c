// Role: objects get (metadata and bytes), patch, delete.
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/storage_internal.h"

// The live object that r names, after generation= and preconditions. The caller holds the lock and
// calls lc_object_fini. @return false after answering.
static bool find(struct lc_req *r, struct lc_object *o, bool read)
{
    struct lc_storage *s = r->app->storage;
    struct lc_conditions c;
    const char *pinned = lc_param(r, "generation");
    int64_t generation = 0;
    if (!lc_conditions_read(r, &c, false))
        return false;
    if (pinned && !lc_parse_i64(pinned, &generation)) {
        lc_fail(r, 400, "invalid", "Invalid generation: %s", pinned);
        return false;
    }
    bool found = lc_object_find(s, r->args[0], r->args[1], o);
    if (!found || (pinned && o->generation != generation)) {
        bool bucket = found || lc_bucket_exists(s, r->args[0]);
        lc_fail(r, 404, "notFound",
                bucket ? "No such object: %s/%s" : "The specified bucket does not exist.",
                r->args[0], r->args[1]);
    } else if (lc_conditions_check(r, &c, o, read)) {
        return true;
    }
    if (found)
        lc_object_fini(o);
    return false;
}

// Reads "bytes=a-b", "bytes=a-" or "bytes=-n". @return 1 range, 0 no usable header (whole object),
// -1 unsatisfiable.
static int parse_range(const char *text, int64_t size, int64_t *first, int64_t *last)
{
    if (!text || !lc_starts_with(text, "bytes=") || strchr(text, ','))
        return 0;
    char *copy = lc_strdup(text + 6);
    char *dash = strchr(copy, '-');
    int result = 0;
    int64_t a = 0, b = size - 1;
    if (dash) {
        *dash = 0;
        bool has_a = *copy, has_b = dash[1];
        bool ok = (!has_a || lc_parse_i64(copy, &a)) && (!has_b || lc_parse_i64(dash + 1, &b)) &&
                  (has_a || has_b);
        if (ok && !has_a) { // the last b bytes
            a = b < size ? size - b : 0;
            b = size - 1;
        }
        b = b < size - 1 ? b : size - 1;
        result = !ok || (has_a && has_b && b < a && a < size) ? 0 : a > b || a < 0 ? -1 : 1;
    }
    free(copy);
    *first = a;
    *last = b;
    return result;
}

static void object_headers(struct lc_req *r, const struct lc_object *o)
{
    char text[80], crc[12];
    const char *encoding = lc_json_str(o->meta, "contentEncoding");
    char *hash =
        lc_format("crc32c=%s%s%s", lc_crc32c_text(o->crc32c, crc), *o->md5 ? ",md5=" : "", o->md5);
    lc_reply_header(r, "x-goog-hash", hash);
    free(hash);
    snprintf(text, sizeof text, "%lld", (long long)o->generation);
    lc_reply_header(r, "x-goog-generation", text);
    snprintf(text, sizeof text, "%lld", (long long)o->metageneration);
    lc_reply_header(r, "x-goog-metageneration", text);
    snprintf(text, sizeof text, "%lld", (long long)o->size);
    lc_reply_header(r, "x-goog-stored-content-length", text);
    lc_reply_header(r, "x-goog-stored-content-encoding", encoding ? encoding : "identity");
}

// Unpacks the gzip file fd into an unnamed file. @return its descriptor, or -1 when it is no valid
// gzip.
static int gunzip_to_temp(struct lc_storage *s, int fd, int64_t *size)
{
    int out = open(s->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    int in = dup(fd);
    gzFile gz = in >= 0 ? gzdopen(in, "rb") : NULL;
    char *block = lc_alloc(65536);
    int n = -1;
    *size = 0;
    while (gz && out >= 0 && (n = gzread(gz, block, 65536)) > 0) {
        if (write(out, block, (unsigned)n) != n) {
            n = -1;
            break;
        }
        *size += n;
    }
    if (gz)
        gzclose(gz);
    else if (in >= 0)
        close(in);
    free(block);
    if (n < 0 && out >= 0) {
        close(out);
        out = -1;
    }
    return out;
}

// Stored gzip is unpacked for a client that does not accept it, as Cloud Storage does.
static bool wants_unpacked(struct lc_req *r, const struct lc_object *o)
{
    const char *encoding = lc_json_str(o->meta, "contentEncoding");
    const char *cache = lc_json_str(o->meta, "cacheControl");
    const char *accept = lc_req_header(r, "Accept-Encoding");
    return encoding && strcmp(encoding, "gzip") == 0 && !(accept && strstr(accept, "gzip")) &&
           !(cache && strstr(cache, "no-transform"));
}

static void reply_bytes(struct lc_req *r, const struct lc_object *o, int fd)
{
    int64_t first = 0, last = o->size - 1, size = o->size;
    bool unpack = wants_unpacked(r, o);
    int plain = unpack ? gunzip_to_temp(r->app->storage, fd, &size) : -1;
    const char *type = lc_json_str(o->meta, "contentType");
    int range = 0;
    if (plain >= 0) {
        close(fd);
        fd = plain;
        last = size - 1;
    } else {
        range = parse_range(lc_req_header(r, "Range"), size, &first, &last);
        if (lc_json_str(o->meta, "contentEncoding"))
            lc_reply_header(r, "Content-Encoding", lc_json_str(o->meta, "contentEncoding"));
    }
    if (range < 0) {
        close(fd);
        lc_fail(r, 416, "requestedRangeNotSatisfiable", "The requested range cannot be satisfied.");
        return;
    }
    object_headers(r, o);
    lc_reply_empty(r, range ? 206 : 200);
    if (range) {
        char *text =
            lc_format("bytes %lld-%lld/%lld", (long long)first, (long long)last, (long long)size);
        lc_reply_header(r, "Content-Range", text);
        free(text);
    }
    lc_reply_header(r, "Content-Type", type ? type : "application/octet-stream");
    r->reply_fd = fd;
    r->reply_fd_offset = range ? (uint64_t)first : 0;
    r->reply_fd_size = range ? (uint64_t)(last - first + 1) : (uint64_t)size;
}

static void get(struct lc_req *r, bool media)
{
    struct lc_storage *s = r->app->storage;
    struct lc_object o = {0};
    int fd = -1;
    pthread_mutex_lock(&s->lock);
    bool found = find(r, &o, true);
    if (found && media) {
        char *path = lc_object_path(s, o.generation);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        free(path);
    }
    pthread_mutex_unlock(&s->lock);
    if (!found)
        return;
    if (!media)
        lc_reply_json(r, 200, lc_object_json(&o, lc_req_host(r)));
    else if (fd < 0)
        lc_fail(r, 500, "internalError", "the object's file is missing from the data directory");
    else
        reply_bytes(r, &o, fd);
    lc_object_fini(&o);
}

void lc_object_get(struct lc_req *r)
{
    const char *alt = lc_param(r, "alt");
    get(r, alt && strcmp(alt, "media") == 0);
}

void lc_object_download(struct lc_req *r)
{
    get(r, true);
}

static void patch_row(struct lc_req *r, struct lc_object *o)
{
    o->metageneration++;
    o->updated_us = lc_now_us();
    char *meta = json_dumps(o->meta, JSON_COMPACT);
    bool ok = lc_db_run(
        r->app->storage->db,
        "UPDATE objects SET meta = ?, metageneration = ?, updated_us = ? WHERE generation = ?",
        "siii", meta, o->metageneration, o->updated_us, o->generation);
    free(meta);
    if (ok)
        lc_reply_json(r, 200, lc_object_json(o, lc_req_host(r)));
    else
        lc_fail(r, 500, "internalError", "the change could not be stored");
}

void lc_object_patch(struct lc_req *r)
{
    struct lc_object o = {0};
    json_t *change = lc_body_json(r);
    if (!change)
        return;
    pthread_mutex_lock(&r->app->storage->lock);
    if (find(r, &o, false)) {
        const char *wrong = lc_object_merge_meta(o.meta, change);
        if (wrong)
            lc_fail(r, 400, "invalid", "%s", wrong);
        else
            patch_row(r, &o);
        lc_object_fini(&o);
    }
    pthread_mutex_unlock(&r->app->storage->lock);
    json_decref(change);
}

void lc_object_delete(struct lc_req *r)
{
    struct lc_storage *s = r->app->storage;
    struct lc_object o = {0};
    pthread_mutex_lock(&s->lock);
    if (find(r, &o, false)) {
        char *path = lc_object_path(s, o.generation);
        lc_db_run(s->db, "DELETE FROM objects WHERE generation = ?", "i", o.generation);
        unlink(path);
        free(path);
        lc_reply_empty(r, 204);
        lc_object_fini(&o);
    }
    pthread_mutex_unlock(&s->lock);
}
