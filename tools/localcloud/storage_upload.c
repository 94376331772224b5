// Role: one-request uploads (media, multipart). Bytes stream to a temporary file while both
// checksums run; the file becomes an object by rename, inside the transaction that checks the
// conditions.
//
// multipart body:  --B CRLF headers CRLF CRLF json CRLF --B CRLF headers CRLF CRLF media CRLF --B--
//   HEAD: everything before the media is buffered and then cut apart
//   MEDIA: media bytes; the last bytes that could begin the delimiter are held back
//   END: after the final delimiter; only white space may follow
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/checksum.h"
#include "tools/localcloud/storage_internal.h"

enum { HEAD_BYTES_MAX = 1 << 20 };

enum upload_state { STATE_HEAD, STATE_MEDIA, STATE_END };

struct lc_upload {
    struct lc_storage *storage;
    enum upload_state state;
    char *delimiter; // CRLF--B; NULL for a plain media upload
    size_t delimiter_n;
    struct lc_buf
        held; // HEAD: all bytes so far; MEDIA: bytes held back; END: bytes after the delimiter
    json_t *metadata;  // first part
    char *media_type;  // Content-Type of the second part
    const char *error; // first error in the body, a literal
    char *temp_path;
    int fd;
    uint64_t size;
    uint64_t seen;
    uint32_t crc;
    struct lc_md5 md5;
};

static bool open_temp(struct lc_upload *u)
{
    pthread_mutex_lock(&u->storage->lock);
    uint64_t id = ++u->storage->temp_count;
    pthread_mutex_unlock(&u->storage->lock);
    u->temp_path = lc_format("%s/tmp/%llu", u->storage->dir, (unsigned long long)id);
    u->fd = open(u->temp_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    return u->fd >= 0;
}

// The boundary of a multipart/related header value. Owner: caller. @return NULL when there is none.
static char *find_boundary(const char *type)
{
    if (!type || strncasecmp(type, "multipart/related", 17) != 0)
        return NULL;
    const char *s = strcasestr(type, "boundary=");
    if (!s)
        return NULL;
    s += 9;
    size_t n = *s == '"' ? strcspn(++s, "\"") : strcspn(s, "; \t");
    return n && n <= 70 ? lc_strndup(s, n) : NULL;
}

// Why the upload cannot start, answered. @return false then.
static bool check_start(struct lc_req *r)
{
    const char *type = lc_param(r, "uploadType");
    if (!type || (strcmp(type, "media") != 0 && strcmp(type, "multipart") != 0)) {
        bool resumable = type && strcmp(type, "resumable") == 0;
        if (resumable)
            lc_fail(r, 501, "notImplemented", "localcloud does not serve resumable uploads yet");
        else
            lc_fail(r, 400, "invalid", "uploadType must be media, multipart or resumable");
        return false;
    }
    pthread_mutex_lock(&r->app->storage->lock);
    bool found = lc_bucket_exists(r->app->storage, r->args[0]);
    pthread_mutex_unlock(&r->app->storage->lock);
    if (!found)
        lc_fail(r, 404, "notFound", "The specified bucket does not exist.");
    else if (strcmp(type, "media") == 0 && !lc_param(r, "name"))
        lc_fail(r, 400, "required", "Required parameter: name");
    return r->status == 0;
}

struct lc_upload *lc_upload_begin(struct lc_req *r)
{
    if (!check_start(r))
        return NULL;
    struct lc_upload *u = lc_alloc(sizeof *u);
    u->storage = r->app->storage;
    u->fd = -1;
    lc_md5_init(&u->md5);
    u->state = STATE_MEDIA;
    if (strcmp(lc_param(r, "uploadType"), "multipart") == 0) {
        char *boundary = find_boundary(lc_req_header(r, "Content-Type"));
        u->state = STATE_HEAD;
        if (boundary) {
            u->delimiter = lc_format("\r\n--%s", boundary);
            u->delimiter_n = strlen(u->delimiter);
            lc_buf_str(&u->held, "\r\n"); // so that the first delimiter looks like the others
        } else {
            lc_fail(r, 400, "badRequest", "Content-Type must be multipart/related with a boundary");
        }
        free(boundary);
    }
    if (!r->status && !open_temp(u))
        lc_fail(r, 500, "internalError", "cannot write under the data directory: %s",
                strerror(errno));
    if (r->status) {
        lc_upload_free(u);
        return NULL;
    }
    return u;
}

static void write_media(struct lc_upload *u, const char *data, size_t n)
{
    u->crc = lc_crc32c(u->crc, data, n);
    lc_md5_add(&u->md5, data, n);
    u->size += n;
    while (n) {
        ssize_t done = write(u->fd, data, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            u->error = "the data directory cannot be written (disk full?)";
            return;
        }
        data += done;
        n -= (size_t)done;
    }
}

// Header value of a part's header block. Owner: caller. @return NULL when absent.
static char *part_header(const char *head, const char *end, const char *name)
{
    size_t name_n = strlen(name);
    for (const char *line = head; line < end;) {
        const char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!stop)
            stop = end;
        if ((size_t)(stop - line) > name_n && strncasecmp(line, name, name_n) == 0 &&
            line[name_n] == ':') {
            line += name_n + 1;
            while (line < stop && *line == ' ')
                line++;
            return lc_strndup(line, (size_t)(stop - line));
        }
        line = stop + 2;
    }
    return NULL;
}

static void read_metadata_part(struct lc_upload *u, const char *head, const char *body,
                               const char *end)
{
    char *type = part_header(head, body, "Content-Type");
    json_error_t e;
    u->metadata = json_loadb(body, (size_t)(end - body), JSON_REJECT_DUPLICATES, &e);
    if (!type || strncasecmp(type, "application/json", 16) != 0)
        u->error = "the first part must have Content-Type: application/json";
    else if (!json_is_object(u->metadata))
        u->error = "the first part must be a JSON object";
    free(type);
}

// Cuts metadata and the media part's headers off the buffered head. @return false: more bytes
// needed.
static bool parse_head(struct lc_upload *u)
{
    const char *p = u->held.p, *end = p + u->held.n;
    const char *one = memmem(p, u->held.n, u->delimiter, u->delimiter_n);
    if (!one)
        return false;
    const char *head = one + u->delimiter_n;
    const char *body = memmem(head, (size_t)(end - head), "\r\n\r\n", 4);
    const char *two =
        body ? memmem(body + 2, (size_t)(end - body - 2), u->delimiter, u->delimiter_n) : NULL;
    const char *media_head = two ? two + u->delimiter_n : NULL;
    const char *media = two ? memmem(media_head, (size_t)(end - media_head), "\r\n\r\n", 4) : NULL;
    if (!media)
        return false;
    if (one != p)
        u->error = "the body does not begin with the boundary";
    else if (memcmp(head, "\r\n", 2) != 0 || memcmp(media_head, "\r\n", 2) != 0)
        u->error = "a boundary line has trailing characters";
    else
        read_metadata_part(u, head + 2, body + 4, two > body + 4 ? two : body + 4);
    u->media_type = part_header(media_head + 2, media, "Content-Type");
    u->state = STATE_MEDIA;
    struct lc_buf rest = {0};
    lc_buf_add(&rest, media + 4, (size_t)(end - media - 4));
    lc_buf_free(&u->held);
    u->held = rest;
    return true;
}

// Media bytes that surely are no part of the delimiter go to the file; the others stay in held.
static void scan_media(struct lc_upload *u)
{
    const char *found =
        u->held.n ? memmem(u->held.p, u->held.n, u->delimiter, u->delimiter_n) : NULL;
    size_t keep = u->held.n < u->delimiter_n ? u->held.n : u->delimiter_n - 1;
    size_t n = found ? (size_t)(found - u->held.p) : u->held.n - keep;
    write_media(u, u->held.p, n);
    size_t skip = found ? n + u->delimiter_n : n;
    u->held.n -= skip;
    if (u->held.n)
        memmove(u->held.p, u->held.p + skip, u->held.n);
    if (found)
        u->state = STATE_END;
}

void lc_upload_feed(struct lc_upload *u, const char *data, size_t n)
{
    u->seen += n;
    if (u->error)
        return;
    if (!u->delimiter) {
        write_media(u, data, n);
        return;
    }
    lc_buf_add(&u->held, data, n);
    if (u->state == STATE_HEAD && !parse_head(u)) {
        if (u->held.n > HEAD_BYTES_MAX)
            u->error = "the metadata part is too large or a boundary is missing";
        return;
    }
    if (u->state == STATE_MEDIA && !u->error)
        scan_media(u);
    if (u->state == STATE_END && u->held.n > 64)
        u->error = "exactly two parts are expected";
}

uint64_t lc_upload_bytes(const struct lc_upload *u)
{
    return u->seen;
}

void lc_upload_free(struct lc_upload *u)
{
    if (!u)
        return;
    if (u->fd >= 0)
        close(u->fd);
    if (u->temp_path)
        unlink(u->temp_path);
    json_decref(u->metadata);
    lc_buf_free(&u->held);
    free(u->temp_path);
    free(u->media_type);
    free(u->delimiter);
    free(u);
}

static const char *check_end(struct lc_upload *u)
{
    if (u->error || !u->delimiter)
        return u->error;
    if (u->state != STATE_END || u->held.n < 2 || memcmp(u->held.p, "--", 2) != 0)
        return u->state == STATE_END ? "exactly two parts are expected"
                                     : "the multipart body has no final boundary";
    return NULL;
}

// Sum of crc32c, md5Hash in the metadata and the X-Goog-Hash header against what came in.
static const char *check_sums(struct lc_req *r, const json_t *metadata, const char *crc,
                              const char *md5)
{
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

// Name from query and metadata, which must agree. @return NULL after answering.
static const char *object_name(struct lc_req *r, const json_t *metadata)
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
    if (!wrong)
        return name;
    lc_fail(r, 400, name ? "invalid" : "required", "%s", wrong);
    return NULL;
}

static const char *fill_meta(struct lc_req *r, struct lc_upload *u, struct lc_object *o)
{
    o->meta = json_object();
    const char *wrong = u->metadata ? lc_object_merge_meta(o->meta, u->metadata) : NULL;
    const char *type = u->delimiter ? u->media_type : lc_req_header(r, "Content-Type");
    const char *encoding = lc_param(r, "contentEncoding");
    if (!json_object_get(o->meta, "contentType"))
        json_object_set_new(o->meta, "contentType",
                            json_string(type ? type : "application/octet-stream"));
    if (encoding)
        json_object_set_new(o->meta, "contentEncoding", json_string(encoding));
    return wrong;
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

// Makes the temporary file the live object when the conditions hold; the caller holds the lock.
static void commit(struct lc_req *r, struct lc_upload *u, struct lc_object *o,
                   const struct lc_conditions *c)
{
    struct lc_storage *s = u->storage;
    struct lc_object old = {0};
    bool replaces = lc_object_find(s, o->bucket, o->name, &old);
    if (!lc_bucket_exists(s, o->bucket)) {
        lc_fail(r, 404, "notFound", "The specified bucket does not exist.");
    } else if (lc_conditions_check(r, c, replaces ? &old : NULL, false)) {
        o->generation = next_generation(s);
        o->created_us = o->updated_us = lc_now_us();
        char *path = lc_object_path(s, o->generation);
        char *old_path = replaces ? lc_object_path(s, old.generation) : NULL;
        if (rename(u->temp_path, path) || !insert_row(s, o))
            lc_fail(r, 500, "internalError", "the object could not be stored: %s", strerror(errno));
        else
            lc_reply_json(r, 200, lc_object_json(o, lc_req_host(r)));
        if (old_path && r->status == 200)
            unlink(old_path);
        free(path);
        free(old_path);
    }
    lc_object_fini(&old);
}

void lc_object_insert(struct lc_req *r)
{
    struct lc_upload *u = r->upload;
    struct lc_conditions conditions;
    char crc[12];
    uint8_t digest[16];
    assert(u);
    const char *wrong = check_end(u);
    if (wrong) {
        lc_fail(r, 400, "badRequest", "%s", wrong);
        return;
    }
    const char *name = object_name(r, u->metadata);
    if (!name || !lc_conditions_read(r, &conditions))
        return;
    lc_md5_end(&u->md5, digest);
    struct lc_object o = {.bucket = lc_strdup(r->args[0]),
                          .name = lc_strdup(name),
                          .metageneration = 1,
                          .size = (int64_t)u->size,
                          .crc32c = u->crc,
                          .md5 = lc_base64(digest, 16)};
    wrong = fill_meta(r, u, &o);
    if (!wrong)
        wrong = check_sums(r, u->metadata, lc_crc32c_text(u->crc, crc), o.md5);
    if (wrong) {
        lc_fail(r, 400, "invalid", "%s", wrong);
    } else {
        pthread_mutex_lock(&u->storage->lock);
        commit(r, u, &o, &conditions);
        pthread_mutex_unlock(&u->storage->lock);
    }
    lc_object_fini(&o);
}
