// Role: resumable uploads: opening a session, chunks, status queries, cancelling. A chunk comes
// into a temporary file first and joins the session's file when it ended, so a broken connection or
// a slow twin of the same chunk cannot harm what is persisted.
//
//   OPEN --chunk, query--> OPEN --last byte, finish answers 200--> DONE (answers the same again)
//     |                      `--finish answers 4xx--> GONE (410)
//     `--DELETE--> CANCELLED (499)          a week after its start: 404
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

enum { CHUNK_UNIT = 256 << 10, COPY_BLOCK = 256 << 10, DONE = 200, GONE = 410, CANCELLED = 499 };

#define WEEK_US (7ll * 86400 * 1000000)

static char *session_path(const struct lc_storage *s, const char *id)
{
    return lc_format("%s/uploads/%s", s->dir, id);
}

// What the session must belong to: the bucket or project of the path. Owner: caller.
static char *owner_of(const struct lc_req *r)
{
    return lc_format("%s/%s", lc_route_service(r), r->args[0]);
}

// Owner: caller, session_fini. @return false when there is no such session.
static bool session_find(struct lc_req *r, const char *id, struct lc_session *out)
{
    struct lc_storage *s = r->app->storage;
    char *owner = owner_of(r);
    *out = (struct lc_session){0};
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *st = lc_db_query(s->db,
                                   "SELECT body, total, persisted, state, result FROM sessions "
                                   "WHERE id = ? AND owner = ? AND created_us > ?",
                                   "ssi", id, owner, (int64_t)(lc_now_us() - WEEK_US));
    bool found = sqlite3_step(st) == SQLITE_ROW;
    if (found) {
        snprintf(out->id, sizeof out->id, "%s", id);
        out->body = json_loads(lc_db_text(st, 0), 0, NULL);
        out->total = sqlite3_column_int64(st, 1);
        out->persisted = sqlite3_column_int64(st, 2);
        out->state = sqlite3_column_int(st, 3);
        out->result = lc_strdup(lc_db_text(st, 4));
    }
    sqlite3_finalize(st);
    pthread_mutex_unlock(&s->lock);
    free(owner);
    return found;
}

static void session_fini(struct lc_session *s)
{
    json_decref(s->body);
    free(s->result);
    *s = (struct lc_session){0};
}

static void save_progress(struct lc_storage *storage, const struct lc_session *s)
{
    pthread_mutex_lock(&storage->lock);
    lc_db_run(storage->db, "UPDATE sessions SET persisted = ?, total = ? WHERE id = ?", "iis",
              s->persisted, s->total, s->id);
    pthread_mutex_unlock(&storage->lock);
}

// Ends a session; its file goes.
static void save_end(struct lc_storage *storage, const char *id, int state, const char *result)
{
    char *path = session_path(storage, id);
    pthread_mutex_lock(&storage->lock);
    lc_db_run(storage->db, "UPDATE sessions SET state = ?, result = ? WHERE id = ?", "iss",
              (int64_t)state, result, id);
    pthread_mutex_unlock(&storage->lock);
    unlink(path);
    free(path);
}

void lc_session_sweep(struct lc_storage *s)
{
    char *dir = lc_format("%s/uploads", s->dir);
    lc_db_run(s->db, "DELETE FROM sessions WHERE created_us <= ?", "i",
              (int64_t)(lc_now_us() - WEEK_US));
    lc_sweep_directory(s, dir, "SELECT 1 FROM sessions WHERE id = ? AND state = 0");
    free(dir);
}

// Reads digits up to stop and steps behind it. @return false when there are none.
static bool take_number(const char **s, const char *stop, int64_t *out)
{
    size_t n = strspn(*s, "0123456789");
    char *text = lc_strndup(*s, n);
    bool ok = n && lc_parse_i64(text, out) && lc_starts_with(*s + n, stop);
    free(text);
    *s += ok ? n + strlen(stop) : 0;
    return ok;
}

// "bytes A-B/T", "bytes A-B/*", "bytes A-*/T" (to the end of the body, as Google's clients send
// it), "bytes */T", "bytes */*". @return false when it is something else.
static bool parse_range(const char *s, struct lc_content_range *out)
{
    *out = (struct lc_content_range){.last = -1, .total = -1};
    if (!s)
        return true;
    out->given = true;
    if (!lc_starts_with(s, "bytes "))
        return false;
    s += 6;
    out->query = lc_starts_with(s, "*/");
    if (out->query)
        s += 2;
    else if (!take_number(&s, "-", &out->first))
        return false;
    if (!out->query && lc_starts_with(s, "*/"))
        s += 2;
    else if (!out->query && (!take_number(&s, "/", &out->last) || out->last < out->first))
        return false;
    return strcmp(s, "*") == 0 || (take_number(&s, "", &out->total) && *s == 0);
}

// Answers for a session that takes no more data. @return false when it is open.
static bool reply_over(struct lc_req *r, const struct lc_session *s)
{
    if (s->state == 0)
        return false;
    if (s->state == DONE)
        lc_reply_text(r, 200, "application/json; charset=UTF-8", s->result);
    else
        lc_fail(r, s->state,
                s->state == 404    ? "notFound"
                : s->state == GONE ? "gone"
                                   : "cancelled",
                "The upload session is over: start a new one.");
    return true;
}

void lc_session_begin(struct lc_req *r, struct lc_upload *u)
{
    const char *id = lc_param(r, "upload_id");
    struct lc_fault_action a = {0};
    struct lc_session s;
    u->persist_max = -1;
    if (!session_find(r, id, &s)) {
        lc_fail(r, 404, "notFound", "No such upload session, or it is older than a week.");
        return;
    }
    bool good = parse_range(lc_req_header(r, "Content-Range"), &u->range);
    if (!u->range.query && s.state == 0 && lc_fault_match_req(r, LC_FAULT_CHUNK, &a)) {
        u->persist_max = a.persist_bytes;
        if (a.drop_session) {
            s.state = a.drop_session;
            save_end(u->storage, id, s.state, NULL);
        }
    }
    if (!reply_over(r, &s) && !good)
        lc_fail(r, 400, "badRequest", "Failed to parse Content-Range header.");
    u->session_id = lc_strdup(id);
    session_fini(&s);
}

// Adds bytes [skip, skip + n) of the file at from to the end of what is persisted.
static bool append(struct lc_session *s, const char *from, const char *to, int64_t skip, int64_t n)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    char *block = lc_alloc(COPY_BLOCK);
    bool ok = in >= 0 && out >= 0;
    while (ok && n > 0) {
        ssize_t got = pread(in, block, n < COPY_BLOCK ? (size_t)n : COPY_BLOCK, skip);
        ok = got > 0 && pwrite(out, block, (size_t)got, s->persisted) == got;
        if (!ok)
            break;
        skip += got;
        n -= got;
        s->persisted += got;
    }
    free(block);
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return ok;
}

// Joins the first keep bytes of the chunk; what is persisted already is left out.
static bool join(struct lc_upload *u, struct lc_session *s, int64_t keep)
{
    char *path = session_path(u->storage, s->id);
    int64_t first = u->range.first, skip = s->persisted - first;
    bool ok = true;
    assert(skip >= 0);
    if (s->persisted == 0 && keep > 0 && keep == (int64_t)u->size) {
        ok = rename(u->temp_path, path) == 0;
        s->persisted = ok ? keep : 0;
    } else if (keep > skip || s->persisted == 0) {
        ok = append(s, u->temp_path, path, skip, keep > skip ? keep - skip : 0);
    }
    free(path);
    return ok;
}

/** What is to be done with a chunk. */
struct chunk_plan {
    int64_t total; // -1: not known yet
    int64_t keep;  // bytes of the chunk
    bool final;    // the last byte is there
};

// @return NULL, or why the chunk is refused.
static const char *plan_chunk(const struct lc_upload *u, const struct lc_session *s,
                              struct chunk_plan *p)
{
    const struct lc_content_range *c = &u->range;
    int64_t size = (int64_t)u->size, end = c->first + size;
    bool to_end = !c->given || c->last < 0;
    if (c->query && size)
        return "A status query has no body.";
    if (!c->query && !to_end && c->last + 1 != end)
        return "Content-Range and the length of the body differ.";
    int64_t total = c->total >= 0 || c->query ? c->total : to_end ? end : -1;
    if (s->total >= 0 && total >= 0 && total != s->total)
        return "The total size differs from the one given before.";
    p->total = total >= 0 ? total : s->total;
    if (p->total >= 0 && ((!c->query && end > p->total) || s->persisted > p->total))
        return "More bytes than the total size.";
    if (!c->query && c->first > s->persisted)
        return "The chunk begins after the bytes that are persisted.";
    p->final = c->query ? total >= 0 && s->persisted == total : end == p->total;
    p->keep = size;
    if (c->query)
        p->total = s->total;
    else if (!p->final && to_end)
        p->keep = end / CHUNK_UNIT * CHUNK_UNIT - c->first;
    else if (!p->final && (size == 0 || size % CHUNK_UNIT))
        return "A chunk that is not the last must be a multiple of 262144 bytes.";
    if (u->persist_max >= 0 && u->persist_max < p->keep) {
        p->keep = u->persist_max;
        p->final = false;
    }
    return NULL;
}

static void reply_incomplete(struct lc_req *r, const struct lc_session *s)
{
    const char *no_308 = lc_req_header(r, "X-GUploader-No-308");
    bool plain = no_308 && strcasecmp(no_308, "yes") == 0;
    lc_reply_empty(r, plain ? 200 : 308);
    if (plain)
        lc_reply_header(r, "X-Http-Status-Code-Override", "308");
    if (s->persisted > 0) {
        char *range = lc_format("bytes=0-%lld", (long long)s->persisted - 1);
        lc_reply_header(r, "Range", range);
        free(range);
    }
}

static void restore_query(struct lc_req *r, const json_t *query)
{
    size_t i;
    json_t *pair;
    for (i = 0; i < r->param_count; i++) {
        free(r->params[i].key);
        free(r->params[i].value);
    }
    r->param_count = json_array_size(query);
    r->params = lc_realloc(r->params, r->param_count * sizeof *r->params);
    json_array_foreach(query, i, pair) r->params[i] =
        (struct lc_param){lc_strdup(json_string_value(json_array_get(pair, 0))),
                          lc_strdup(json_string_value(json_array_get(pair, 1)))};
}

static void finish_session(struct lc_req *r, const struct lc_session *s, lc_session_finish finish)
{
    struct lc_storage *storage = r->app->storage;
    char *path = session_path(storage, s->id);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0 || ftruncate(fd, s->persisted)) // a killed process may have left more
        lc_fail(r, 500, "internalError", "the session's file cannot be written");
    if (fd >= 0)
        close(fd);
    restore_query(r, json_object_get(s->body, "query"));
    if (!r->status)
        finish(r, s, path);
    assert(r->status);
    if (r->status == 200)
        save_end(storage, s->id, DONE, r->reply.p);
    else if (r->status < 500)
        save_end(storage, s->id, GONE, NULL);
    free(path);
}

static void put_open(struct lc_req *r, struct lc_session *s, lc_session_finish finish)
{
    struct lc_upload *u = r->upload;
    struct chunk_plan p = {0};
    const char *wrong = plan_chunk(u, s, &p);
    if (wrong) {
        lc_fail(r, 400, "invalid", "Invalid request. %s", wrong);
        return;
    }
    if (!u->range.query && !join(u, s, p.keep)) {
        lc_fail(r, 500, "internalError", "the chunk could not be stored: %s", strerror(errno));
        return;
    }
    s->total = p.total;
    save_progress(u->storage, s);
    if (p.final)
        finish_session(r, s, finish);
    else
        reply_incomplete(r, s);
}

void lc_session_put(struct lc_req *r, lc_session_finish finish)
{
    struct lc_upload *u = r->upload;
    struct lc_session s;
    assert(u && u->session_id);
    pthread_mutex_lock(&u->storage->session_lock);
    if (!session_find(r, u->session_id, &s))
        lc_fail(r, 404, "notFound", "No such upload session.");
    else if (!reply_over(r, &s)) // a twin of this request may have ended it
        put_open(r, &s, finish);
    session_fini(&s);
    pthread_mutex_unlock(&u->storage->session_lock);
}

void lc_session_abandon(struct lc_req *r, struct lc_upload *u)
{
    struct lc_session s;
    pthread_mutex_lock(&u->storage->session_lock);
    if (session_find(r, u->session_id, &s) && s.state == 0 && !u->error && !u->range.query &&
        u->range.first <= s.persisted) {
        int64_t end = u->range.first + (int64_t)u->size;
        int64_t keep = end / CHUNK_UNIT * CHUNK_UNIT - u->range.first;
        if (keep > s.persisted - u->range.first && join(u, &s, keep))
            save_progress(u->storage, &s);
    }
    session_fini(&s);
    pthread_mutex_unlock(&u->storage->session_lock);
}

void lc_session_cancel(struct lc_req *r)
{
    const char *id = lc_param(r, "upload_id");
    struct lc_session s = {0};
    pthread_mutex_lock(&r->app->storage->session_lock);
    if (!id || !session_find(r, id, &s)) {
        lc_fail(r, 404, "notFound", "No such upload session.");
    } else if (s.state == 0 || s.state == CANCELLED) {
        save_end(r->app->storage, id, CANCELLED, NULL);
        lc_reply_empty(r, CANCELLED);
    } else {
        reply_over(r, &s);
    }
    session_fini(&s);
    pthread_mutex_unlock(&r->app->storage->session_lock);
}

static void reply_location(struct lc_req *r, const char *id)
{
    bool object = strcmp(lc_route_service(r), "storage") == 0;
    const char *name = lc_param(r, "name");
    struct lc_buf url = {0};
    lc_buf_fmt(&url, "http://%s/upload/%s/", lc_req_host(r),
               object ? "storage/v1/b" : "bigquery/v2/projects");
    lc_percent_encode(&url, r->args[0]);
    lc_buf_fmt(&url, "/%s?uploadType=resumable", object ? "o" : "jobs");
    if (name) {
        lc_buf_str(&url, "&name=");
        lc_percent_encode(&url, name);
    }
    lc_buf_fmt(&url, "&upload_id=%s", id);
    lc_reply_empty(r, 200);
    lc_reply_header(r, "Location", url.p);
    lc_reply_header(r, "X-GUploader-UploadID", id);
    lc_buf_free(&url);
}

void lc_session_start(struct lc_req *r, json_t *metadata)
{
    struct lc_storage *s = r->app->storage;
    const char *type = lc_req_header(r, "Content-Type");
    const char *total_text = lc_req_header(r, "X-Upload-Content-Length");
    const char *media = lc_req_header(r, "X-Upload-Content-Type");
    int64_t total = -1;
    char id[33];
    if (r->body.n && (!type || strncasecmp(type, "application/json", 16) != 0)) {
        lc_fail(r, 400, "badContent", "Unsupported content with type: %s", type ? type : "(none)");
        return;
    }
    if (total_text && (!lc_parse_i64(total_text, &total) || total < 0)) {
        lc_fail(r, 400, "invalid", "Invalid X-Upload-Content-Length: %s", total_text);
        return;
    }
    json_t *query = json_array();
    for (size_t i = 0; i < r->param_count; i++)
        json_array_append_new(query, json_pack("[s,s]", r->params[i].key, r->params[i].value));
    json_t *body = json_pack("{s:O,s:o}", "metadata", metadata, "query", query);
    if (media)
        json_object_set_new(body, "contentType", json_string(media));
    char *text = json_dumps(body, JSON_COMPACT), *owner = owner_of(r);
    lc_random_hex(id, 16);
    pthread_mutex_lock(&s->lock);
    lc_db_run(s->db,
              "INSERT INTO sessions(id, owner, body, total, persisted, state, created_us) "
              "VALUES(?, ?, ?, ?, 0, 0, ?)",
              "sssii", id, owner, text, total, lc_now_us());
    pthread_mutex_unlock(&s->lock);
    free(owner);
    free(text);
    json_decref(body);
    reply_location(r, id);
}
