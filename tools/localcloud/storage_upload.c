// Role: bodies of uploads (media, multipart, one chunk of a resumable one). Bytes stream to a
// temporary file while both checksums run; what becomes of the file is for storage_insert.c,
// storage_session.c and bq_upload.c.
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
#include "tools/localcloud/fault.h"
#include "tools/localcloud/route.h"
#include "tools/localcloud/storage_internal.h"

enum { HEAD_BYTES_MAX = 1 << 20 };

char *lc_temp_path(struct lc_storage *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t id = ++s->temp_count;
    pthread_mutex_unlock(&s->lock);
    return lc_format("%s/tmp/%llu", s->dir, (unsigned long long)id);
}

static bool open_temp(struct lc_upload *u)
{
    u->temp_path = lc_temp_path(u->storage);
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
static bool check_start(struct lc_req *r, const char *type)
{
    bool object = strcmp(lc_route_service(r), "storage") == 0;
    if (!type || (strcmp(type, "media") != 0 && strcmp(type, "multipart") != 0)) {
        lc_fail(r, 400, "invalid", "uploadType must be media, multipart or resumable");
        return false;
    }
    if (!object) {
        if (strcmp(type, "media") == 0)
            lc_fail(r, 400, "invalid", "a job is uploaded with uploadType multipart or resumable");
        return r->status == 0;
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

static struct lc_upload *new_upload(struct lc_req *r)
{
    struct lc_upload *u = lc_alloc(sizeof *u);
    u->storage = r->app->storage;
    u->fd = -1;
    lc_md5_init(&u->md5);
    u->state = LC_UPLOAD_MEDIA;
    return u;
}

static void expect_multipart(struct lc_req *r, struct lc_upload *u)
{
    char *boundary = find_boundary(lc_req_header(r, "Content-Type"));
    u->state = LC_UPLOAD_HEAD;
    if (boundary) {
        u->delimiter = lc_format("\r\n--%s", boundary);
        u->delimiter_n = strlen(u->delimiter);
        lc_buf_str(&u->held, "\r\n"); // so that the first delimiter looks like the others
    } else {
        lc_fail(r, 400, "badRequest", "Content-Type must be multipart/related with a boundary");
    }
    free(boundary);
}

struct lc_upload *lc_upload_begin(struct lc_req *r)
{
    const char *type = lc_param(r, "uploadType");
    bool chunk = lc_param(r, "upload_id") != NULL;
    bool resumable = type && strcmp(type, "resumable") == 0;
    if (resumable && !chunk && strcmp(r->method, "POST") == 0)
        return NULL; // opens a session: the body is metadata, taken into memory
    if (!chunk && strcmp(r->method, "PUT") == 0)
        lc_fail(r, 400, "invalid", "PUT needs the upload_id of a resumable session");
    if (r->status || (!chunk && !check_start(r, type)))
        return NULL;
    struct lc_upload *u = new_upload(r);
    if (chunk)
        lc_session_begin(r, u);
    else if (strcmp(type, "multipart") == 0)
        expect_multipart(r, u);
    if (!r->status && !open_temp(u))
        lc_fail(r, 500, "internalError", "cannot write under the data directory: %s",
                strerror(errno));
    if (r->status) {
        u->ended = true;
        lc_upload_free(r, u);
        return NULL;
    }
    struct lc_fault_action unused;
    u->corrupt = !(chunk && u->range.query) && lc_fault_match_req(r, LC_FAULT_BODY, &unused);
    return u;
}

static void write_media(struct lc_upload *u, const char *data, size_t n)
{
    if (u->corrupt && n) {
        char changed = (char)(*data ^ 1);
        u->corrupt = false;
        write_media(u, &changed, 1);
        data++;
        n--;
    }
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
    u->state = LC_UPLOAD_MEDIA;
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
        u->state = LC_UPLOAD_END;
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
    if (u->state == LC_UPLOAD_HEAD && !parse_head(u)) {
        if (u->held.n > HEAD_BYTES_MAX)
            u->error = "the metadata part is too large or a boundary is missing";
        return;
    }
    if (u->state == LC_UPLOAD_MEDIA && !u->error)
        scan_media(u);
    if (u->state == LC_UPLOAD_END && u->held.n > 64)
        u->error = "exactly two parts are expected";
}

uint64_t lc_upload_bytes(const struct lc_upload *u)
{
    return u->seen;
}

void lc_upload_free(struct lc_req *r, struct lc_upload *u)
{
    if (!u)
        return;
    if (u->fd >= 0)
        close(u->fd);
    if (u->session_id && !u->ended)
        lc_session_abandon(r, u);
    if (u->temp_path)
        unlink(u->temp_path);
    json_decref(u->metadata);
    lc_buf_free(&u->held);
    free(u->temp_path);
    free(u->media_type);
    free(u->delimiter);
    free(u->session_id);
    free(u);
}

const char *lc_upload_end(struct lc_upload *u)
{
    u->ended = true;
    if (u->error || !u->delimiter)
        return u->error;
    if (u->state != LC_UPLOAD_END || u->held.n < 2 || memcmp(u->held.p, "--", 2) != 0)
        return u->state == LC_UPLOAD_END ? "exactly two parts are expected"
                                         : "the multipart body has no final boundary";
    return NULL;
}

const char *lc_upload_take(struct lc_upload *u, const char *path, json_t **metadata)
{
    const char *wrong = lc_upload_end(u);
    *metadata = u->metadata;
    if (!wrong && link(u->temp_path, path))
        wrong = "the data directory cannot be written";
    return wrong;
}

bool lc_upload_is_chunk(const struct lc_upload *u)
{
    return u->session_id != NULL;
}
