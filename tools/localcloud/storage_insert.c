// Role: objects.insert once the body is in: name, metadata, checksums, conditions; a file becomes
// an object by a link, inside the transaction that checks the conditions.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/checksum.h"
#include "tools/localcloud/fault.h"
#include "tools/localcloud/storage_internal.h"

enum { SUM_BLOCK = 256 << 10 };

const char *lc_check_sums(struct lc_req *r, const json_t *metadata, const struct lc_object *o)
{
    char crc[12];
    const char *md5 = o->md5;
    lc_crc32c_text(o->crc32c, crc);
    const char *want_crc = lc_json_str(metadata, "crc32c");
    const char *want_md5 = lc_json_str(metadata, "md5Hash");
    if (want_crc && strcmp(want_crc, crc) != 0)
        return "Provided CRC32C does not match the calculated CRC32C";
    if (want_md5 && strcmp(want_md5, md5) != 0)
        return "Provided MD5 hash does not match the calculated MD5 hash";
    const char *header = lc_req_header(r, "X-Goog-Hash");
    for (const char *s = header; s && *s;) {
        s += strspn(s, ", ");
        size_t n = strcspn(s, ", ");
        const char *have = lc_starts_with(s, "crc32c=") ? crc
                           : lc_starts_with(s, "md5=")  ? md5
                                                        : NULL;
        size_t skip = lc_starts_with(s, "md5=") ? 4 : 7;
        if (have && (n - skip != strlen(have) || memcmp(s + skip, have, n - skip) != 0))
            return "X-Goog-Hash does not match the calculated hash";
        s += n;
    }
    return NULL;
}

const char *lc_object_name(struct lc_req *r, const json_t *metadata)
{
    const char *query = lc_param(r, "name");
    const char *field = lc_json_str(metadata, "name");
    const char *bucket = lc_json_str(metadata, "bucket");
    const char *name = query ? query : field;
    const char *wrong = !name ? "Required parameter: name" : lc_object_name_error(name);
    if (query && field && strcmp(query, field) != 0)
        wrong = "the name in the query and the name in the metadata differ";
    if (bucket && strcmp(bucket, r->args[0]) != 0)
        wrong = "the bucket in the URL and the bucket in the metadata differ";
    struct lc_fault_action a;
    if (!wrong && lc_fault_match(r->app->faults, LC_FAULT_WRITE, "storage", r->method, name, &a)) {
        lc_fail(r, a.status, a.reason, "%s", a.message);
        return NULL;
    }
    if (!wrong)
        return name;
    lc_fail(r, 400, name ? "invalid" : "required", "%s", wrong);
    return NULL;
}

// Writable fields from the metadata; type: the media's, when the metadata has no contentType.
static const char *fill_meta(struct lc_req *r, const json_t *metadata, const char *type,
                             struct lc_object *o)
{
    o->meta = json_object();
    const char *wrong = metadata ? lc_object_merge_meta(o->meta, metadata) : NULL;
    const char *encoding = lc_param(r, "contentEncoding");
    if (!json_object_get(o->meta, "contentType"))
        json_object_set_new(o->meta, "contentType",
                            json_string(type ? type : "application/octet-stream"));
    if (encoding)
        json_object_set_new(o->meta, "contentEncoding", json_string(encoding));
    return wrong;
}

bool lc_file_sums(const char *path, uint32_t *crc, char **md5)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *block = lc_alloc(SUM_BLOCK);
    struct lc_md5 m;
    uint8_t digest[16];
    ssize_t n = fd < 0 ? -1 : 0;
    *crc = 0;
    lc_md5_init(&m);
    while (fd >= 0 && (n = read(fd, block, SUM_BLOCK)) > 0) {
        *crc = lc_crc32c(*crc, block, (size_t)n);
        lc_md5_add(&m, block, (size_t)n);
    }
    lc_md5_end(&m, digest);
    *md5 = lc_base64(digest, 16);
    if (fd >= 0)
        close(fd);
    free(block);
    return n == 0;
}

static int64_t next_generation(struct lc_storage *s)
{
    int64_t now = lc_now_us();
    s->last_generation = now > s->last_generation ? now : s->last_generation + 1;
    return s->last_generation;
}

static bool insert_row(struct lc_storage *s, const struct lc_object *o)
{
    char *meta = json_dumps(o->meta, JSON_COMPACT);
    bool ok =
        lc_db_run(s->db, "REPLACE INTO objects(" LC_OBJECT_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?)",
                  "ssiiiissii", o->bucket, o->name, o->generation, o->metageneration, o->size,
                  (int64_t)o->crc32c, o->md5, meta, o->created_us, o->updated_us);
    free(meta);
    return ok;
}

// Row and end of the session in one transaction. The caller holds the lock.
static bool store(struct lc_storage *s, const struct lc_object *o, const char *session_id,
                  const char *answer)
{
    bool ok =
        lc_db_exec(s->db, "BEGIN") && insert_row(s, o) &&
        (!session_id || lc_db_run(s->db, "UPDATE sessions SET state = 200, result = ? WHERE id = ?",
                                  "ss", answer, session_id)) &&
        lc_db_exec(s->db, "COMMIT");
    if (!ok && !sqlite3_get_autocommit(s->db))
        lc_db_exec(s->db, "ROLLBACK");
    return ok;
}

void lc_object_commit(struct lc_req *r, const char *path, struct lc_object *o,
                      const struct lc_conditions *c, const char *session_id)
{
    struct lc_storage *s = r->app->storage;
    struct lc_object old = {0};
    bool replaces = lc_object_find(s, o->bucket, o->name, &old);
    if (!lc_bucket_exists(s, o->bucket)) {
        lc_fail(r, 404, "notFound", "The specified bucket does not exist.");
    } else if (lc_conditions_check(r, c, replaces ? &old : NULL, false)) {
        o->generation = next_generation(s);
        o->metageneration = 1;
        o->created_us = o->updated_us = lc_now_us();
        char *to = lc_object_path(s, o->generation);
        char *old_path = replaces ? lc_object_path(s, old.generation) : NULL;
        lc_reply_json(r, 200, lc_object_json(o, lc_req_host(r)));
        // A link, not a rename: a session's file must stay until its end is stored.
        if (link(path, to) || !store(s, o, session_id, r->reply.p))
            lc_fail(r, 500, "internalError", "the object could not be stored: %s", strerror(errno));
        else if (old_path)
            unlink(old_path);
        free(to);
        free(old_path);
    }
    lc_object_fini(&old);
}

// Ends a media or multipart upload.
static void insert_body(struct lc_req *r, struct lc_upload *u, const char *name,
                        const struct lc_conditions *c)
{
    uint8_t digest[16];
    lc_md5_end(&u->md5, digest);
    struct lc_object o = {.bucket = lc_strdup(r->args[0]),
                          .name = lc_strdup(name),
                          .size = (int64_t)u->size,
                          .crc32c = u->crc,
                          .md5 = lc_base64(digest, 16)};
    const char *type = u->delimiter ? u->media_type : lc_req_header(r, "Content-Type");
    const char *wrong = fill_meta(r, u->metadata, type, &o);
    if (!wrong)
        wrong = lc_check_sums(r, u->metadata, &o);
    if (wrong) {
        lc_fail(r, 400, "invalid", "%s", wrong);
    } else {
        pthread_mutex_lock(&u->storage->lock);
        lc_object_commit(r, u->temp_path, &o, c, NULL);
        pthread_mutex_unlock(&u->storage->lock);
    }
    lc_object_fini(&o);
}

// Ends a resumable session: the object from what the session keeps. r's query is the first
// request's again. The caller holds the session lock.
static void insert_session(struct lc_req *r, const struct lc_session *s, const char *path)
{
    struct lc_storage *storage = r->app->storage;
    const json_t *metadata = json_object_get(s->body, "metadata");
    const char *type = lc_json_str(s->body, "contentType");
    struct lc_conditions c;
    const char *name = lc_object_name(r, metadata);
    if (!name || !lc_conditions_read(r, &c, false))
        return;
    struct lc_object o = {
        .bucket = lc_strdup(r->args[0]), .name = lc_strdup(name), .size = s->persisted};
    const char *wrong = fill_meta(r, metadata, type, &o);
    if (!lc_file_sums(path, &o.crc32c, &o.md5))
        lc_fail(r, 500, "internalError", "the session's file cannot be read");
    if (!r->status && !wrong)
        wrong = lc_check_sums(r, metadata, &o);
    if (wrong) {
        lc_fail(r, 400, "invalid", "%s", wrong);
    } else if (!r->status) {
        pthread_mutex_lock(&storage->lock);
        lc_object_commit(r, path, &o, &c, s->id);
        pthread_mutex_unlock(&storage->lock);
    }
    lc_object_fini(&o);
}

// Opens a resumable session: what can be checked now is, and once more at its end.
static void start_session(struct lc_req *r)
{
    struct lc_storage *s = r->app->storage;
    struct lc_conditions c;
    struct lc_object old = {0};
    json_t *metadata = lc_body_json(r), *scratch = json_object();
    const char *name = metadata ? lc_object_name(r, metadata) : NULL;
    if (name && lc_conditions_read(r, &c, false)) {
        const char *wrong = lc_object_merge_meta(scratch, metadata);
        pthread_mutex_lock(&s->lock);
        bool found = lc_object_find(s, r->args[0], name, &old);
        if (!lc_bucket_exists(s, r->args[0]))
            lc_fail(r, 404, "notFound", "The specified bucket does not exist.");
        else if (wrong)
            lc_fail(r, 400, "invalid", "%s", wrong);
        else
            lc_conditions_check(r, &c, found ? &old : NULL, false);
        pthread_mutex_unlock(&s->lock);
        lc_object_fini(&old);
        if (!r->status)
            lc_session_start(r, metadata);
    }
    json_decref(scratch);
    json_decref(metadata);
}

void lc_object_insert(struct lc_req *r)
{
    struct lc_upload *u = r->upload;
    struct lc_conditions c;
    if (!u) {
        start_session(r);
        return;
    }
    const char *wrong = lc_upload_end(u);
    if (wrong) {
        lc_fail(r, 400, "badRequest", "%s", wrong);
    } else if (u->session_id) {
        lc_session_put(r, insert_session);
    } else {
        const char *name = lc_object_name(r, u->metadata);
        if (name && lc_conditions_read(r, &c, false))
            insert_body(r, u, name, &c);
    }
}
