// Role: buckets insert, get, list, delete.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/storage_internal.h"

static const char *bucket_name_error(const char *name)
{
    size_t n = strlen(name);
    if (n < 3 || n > (strchr(name, '.') ? 222 : 63))
        return "bucket names have 3 to 63 characters (222 with dots)";
    for (const char *s = name; *s; s++)
        if (!islower((unsigned char)*s) && !isdigit((unsigned char)*s) && !strchr("-_.", *s))
            return "bucket names have lower-case letters, digits, '-', '_' and '.'";
    if (!isalnum((unsigned char)name[0]) || !isalnum((unsigned char)name[n - 1]))
        return "bucket names begin and end with a letter or digit";
    if (lc_starts_with(name, "goog"))
        return "bucket names do not start with goog";
    return NULL;
}

static json_t *bucket_json(const char *name, const char *location, const char *host,
                           int64_t created_us)
{
    char when[40];
    lc_rfc3339(created_us, when);
    char *self = lc_format("http://%s/storage/v1/b/%s", host, name);
    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "kind", "storage#bucket",
                          "id", name, "name", name, "selfLink", self, "location", location,
                          "storageClass", "STANDARD", "metageneration", "1", "etag",
                          "CAE=", "timeCreated", when, "updated", when, "projectNumber", "0");
    free(self);

    return j;
}

// Inserts the row; the caller holds the lock.
static void insert_row(struct lc_storage *s, const char *project, const char *name,
                       const char *location)
{
    lc_db_run(s->db, "INSERT INTO buckets(name, project, body, created_us) VALUES(?, ?, ?, ?)",
              "sssi", name, project, location, lc_now_us());
}

const char *lc_storage_create_bucket(struct lc_storage *s, const char *project, const char *name)
{
    const char *wrong = bucket_name_error(name);
    if (wrong)
        return wrong;
    pthread_mutex_lock(&s->lock);
    if (!lc_bucket_exists(s, name))
        insert_row(s, project, name, "US");
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool reply_bucket(struct lc_req *r, const char *name)
{
    struct lc_storage *s = r->app->storage;
    sqlite3_stmt *st = lc_db_query(
        s->db, "SELECT name, project, body, created_us FROM buckets WHERE name = ?", "s", name);
    bool found = sqlite3_step(st) == SQLITE_ROW;
    if (found)
        lc_reply_json(r, 200,
                      bucket_json(lc_db_text(st, 0), lc_db_text(st, 2), lc_req_host(r),
                                  sqlite3_column_int64(st, 3)));
    else
        lc_fail(r, 404, "notFound", "The specified bucket does not exist.");
    sqlite3_finalize(st);
    return found;
}

void lc_bucket_insert(struct lc_req *r)
{
    const char *project = lc_param(r, "project");
    json_t *body = lc_body_json(r);
    if (!body)
        return;
    const char *name = lc_json_str(body, "name");
    const char *location = lc_json_str(body, "location");
    const char *wrong = !project || !*project ? "Required parameter: project"
                        : !name               ? "Required field: name"
                                              : bucket_name_error(name);
    struct lc_storage *s = r->app->storage;
    pthread_mutex_lock(&s->lock);
    if (wrong) {
        lc_fail(r, 400, project && *project ? "invalid" : "required", "%s", wrong);
    } else if (lc_bucket_exists(s, name)) {
        lc_fail(
            r, 409, "conflict",
            "Your previous request to create the named bucket succeeded and you already own it.");
    } else {
        insert_row(s, project, name, location ? location : "US");
        reply_bucket(r, name);
    }
    pthread_mutex_unlock(&s->lock);
    json_decref(body);
}

void lc_bucket_get(struct lc_req *r)
{
    pthread_mutex_lock(&r->app->storage->lock);
    reply_bucket(r, r->args[0]);
    pthread_mutex_unlock(&r->app->storage->lock);
}

void lc_bucket_list(struct lc_req *r)
{
    const char *project = lc_param(r, "project");
    if (!project) {
        lc_fail(r, 400, "required", "Required parameter: project");
        return;
    }
    struct lc_storage *s = r->app->storage;
    json_t *items = json_array();
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *st = lc_db_query(s->db,
                                   "SELECT name, project, body, created_us FROM buckets WHERE "
                                   "project IN (?, '') ORDER BY name",
                                   "s", project);
    while (sqlite3_step(st) == SQLITE_ROW)
        json_array_append_new(items, bucket_json(lc_db_text(st, 0), lc_db_text(st, 2),
                                                 lc_req_host(r), sqlite3_column_int64(st, 3)));
    sqlite3_finalize(st);
    pthread_mutex_unlock(&s->lock);
    lc_reply_json(r, 200, json_pack("{s:s,s:o}", "kind", "storage#buckets", "items", items));
}

void lc_bucket_delete(struct lc_req *r)
{
    struct lc_storage *s = r->app->storage;
    const char *name = r->args[0];
    pthread_mutex_lock(&s->lock);
    if (!lc_bucket_exists(s, name)) {
        lc_fail(r, 404, "notFound", "The specified bucket does not exist.");
    } else if (lc_db_i64(s->db, 0, "SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", "s", name)) {
        lc_fail(r, 409, "conflict", "The bucket you tried to delete is not empty.");
    } else {
        lc_db_run(s->db, "DELETE FROM buckets WHERE name = ?", "s", name);
        lc_reply_empty(r, 204);
    }
    pthread_mutex_unlock(&s->lock);
}
