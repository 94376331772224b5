// Role: datasets insert, get, list, patch, delete.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq_internal.h"

static bool valid_id(const char *s)
{
    for (const char *c = s; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_')
            return false;
    return *s && strlen(s) <= 1024;
}

static json_t *dataset_json(json_t *body, const char *project, const char *dataset,
                            const char *host)
{
    char *id = lc_format("%s:%s", project, dataset);
    char *self = lc_format("http://%s/bigquery/v2/projects/%s/datasets/%s", host, project, dataset);
    json_object_set_new(body, "kind", json_string("bigquery#dataset"));
    json_object_set_new(body, "id", json_string(id));
    json_object_set_new(body, "selfLink", json_string(self));
    free(id);
    free(self);
    return body;
}

static const char *check_body(const json_t *body, const char *project, char err[LC_ERROR_BYTES])
{
    const json_t *ref = json_object_get(body, "datasetReference");
    const char *id = lc_json_str(ref, "datasetId");
    const char *in_project = lc_json_str(ref, "projectId");
    int64_t ms = 3600000;
    if (!id)
        return "Required parameter is missing: datasetReference.datasetId";
    if (!valid_id(id))
        return "Invalid dataset ID. Dataset IDs have letters, numbers and underscores, up to 1024 "
               "characters.";
    if (in_project && strcmp(in_project, project) != 0)
        return "The project in the URL and in datasetReference differ.";
    if (lc_json_i64(body, "defaultTableExpirationMs", &ms) < 0 || ms < 3600000)
        return "defaultTableExpirationMs must be at least 3600000.";
    ms = 1;
    if (lc_json_i64(body, "defaultPartitionExpirationMs", &ms) < 0 || ms < 1)
        return "defaultPartitionExpirationMs must be positive.";
    return lc_labels_check(json_object_get(body, "labels"), err) ? NULL : err;
}

static void save(struct lc_bq *b, const char *project, const char *dataset, json_t *body)
{
    lc_json_set_i64(body, "lastModifiedTime", lc_now_us() / 1000);
    char *etag = lc_format("d%llx", (unsigned long long)lc_now_us());
    json_object_set_new(body, "etag", json_string(etag));
    free(etag);
    char *text = json_dumps(body, JSON_COMPACT);
    lc_db_run(b->catalog, "REPLACE INTO datasets(project, dataset, body) VALUES(?, ?, ?)", "sss",
              project, dataset, text);
    free(text);
}

void lc_dataset_insert(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    char err[LC_ERROR_BYTES];
    json_t *body = lc_body_json(r);
    if (!body)
        return;
    const char *project = r->args[0];
    const char *wrong = check_body(body, project, err);
    if (wrong) {
        lc_fail(r, 400, "invalid", "%s", wrong);
        json_decref(body);
        return;
    }
    json_object_set_new(json_object_get(body, "datasetReference"), "projectId",
                        json_string(project));
    const char *dataset = lc_json_str(json_object_get(body, "datasetReference"), "datasetId");
    if (!lc_json_str(body, "location"))
        json_object_set_new(body, "location", json_string("US"));
    pthread_mutex_lock(&b->lock);
    json_t *old = lc_catalog_dataset(b, project, dataset);
    if (old) {
        lc_fail(r, 409, "duplicate", "Already Exists: Dataset %s:%s", project, dataset);
    } else {
        lc_json_set_i64(body, "creationTime", lc_now_us() / 1000);
        save(b, project, dataset, body);
        lc_reply_json(r, 200, dataset_json(json_deep_copy(body), project, dataset, lc_req_host(r)));
    }
    pthread_mutex_unlock(&b->lock);
    json_decref(old);
    json_decref(body);
}

void lc_dataset_get(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    pthread_mutex_lock(&b->lock);
    json_t *body = lc_catalog_dataset(b, r->args[0], r->args[1]);
    pthread_mutex_unlock(&b->lock);
    if (body)
        lc_reply_json(r, 200, dataset_json(body, r->args[0], r->args[1], lc_req_host(r)));
    else
        lc_fail(r, 404, "notFound", "Not found: Dataset %s:%s", r->args[0], r->args[1]);
}

static void patch_found(struct lc_req *r, json_t *body, json_t *change)
{
    static const char *const writable[] = {
        "description", "friendlyName", "defaultTableExpirationMs", "defaultPartitionExpirationMs",
        "labels",      "access"};
    char err[LC_ERROR_BYTES];
    for (size_t i = 0; i < LC_ARRAY_LEN(writable); i++) {
        json_t *v = json_object_get(change, writable[i]);
        if (json_is_null(v))
            json_object_del(body, writable[i]);
        else if (v)
            json_object_set(body, writable[i], v);
    }
    const char *location = lc_json_str(change, "location");
    const char *wrong = check_body(body, r->args[0], err);
    if (location && strcasecmp(location, lc_json_str(body, "location")) != 0)
        wrong = "The location of a dataset cannot be changed.";
    if (wrong) {
        lc_fail(r, 400, "invalid", "%s", wrong);
        return;
    }
    save(r->app->bq, r->args[0], r->args[1], body);
    lc_reply_json(r, 200,
                  dataset_json(json_deep_copy(body), r->args[0], r->args[1], lc_req_host(r)));
}

void lc_dataset_patch(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    json_t *change = lc_body_json(r);
    if (!change)
        return;
    pthread_mutex_lock(&b->lock);
    json_t *body = lc_catalog_dataset(b, r->args[0], r->args[1]);
    if (body)
        patch_found(r, body, change);
    else
        lc_fail(r, 404, "notFound", "Not found: Dataset %s:%s", r->args[0], r->args[1]);
    pthread_mutex_unlock(&b->lock);
    json_decref(body);
    json_decref(change);
}

void lc_dataset_list(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    json_t *list = json_array();
    pthread_mutex_lock(&b->lock);
    sqlite3_stmt *st = lc_db_query(
        b->catalog, "SELECT dataset, body FROM datasets WHERE project = ? ORDER BY dataset", "s",
        r->args[0]);
    while (sqlite3_step(st) == SQLITE_ROW) {
        json_t *body = json_loads(lc_db_text(st, 1), 0, NULL);
        json_t *item = json_pack("{s:s,s:O,s:O}", "kind", "bigquery#dataset", "datasetReference",
                                 json_object_get(body, "datasetReference"), "location",
                                 json_object_get(body, "location"));
        char *id = lc_format("%s:%s", r->args[0], lc_db_text(st, 0));
        json_object_set_new(item, "id", json_string(id));
        if (json_object_get(body, "labels"))
            json_object_set(item, "labels", json_object_get(body, "labels"));
        json_array_append_new(list, item);
        free(id);
        json_decref(body);
    }
    sqlite3_finalize(st);
    pthread_mutex_unlock(&b->lock);
    json_t *out = json_pack("{s:s,s:s}", "kind", "bigquery#datasetList", "etag", "list");
    if (json_array_size(list))
        json_object_set(out, "datasets", list);
    json_decref(list);
    lc_reply_json(r, 200, out);
}

void lc_dataset_delete(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    const char *project = r->args[0], *dataset = r->args[1],
               *contents = lc_param(r, "deleteContents");
    pthread_mutex_lock(&b->lock);
    json_t *body = lc_catalog_dataset(b, project, dataset);
    bool used =
        lc_db_i64(b->catalog, 0, "SELECT 1 FROM tables WHERE project = ? AND dataset = ? LIMIT 1",
                  "ss", project, dataset);
    if (!body) {
        lc_fail(r, 404, "notFound", "Not found: Dataset %s:%s", project, dataset);
    } else if (used && !(contents && strcmp(contents, "true") == 0)) {
        lc_fail(r, 400, "resourceInUse", "Dataset %s:%s is still in use", project, dataset);
    } else {
        lc_db_run(b->catalog, "DELETE FROM tables WHERE project = ? AND dataset = ?", "ss", project,
                  dataset);
        lc_db_run(b->catalog, "DELETE FROM datasets WHERE project = ? AND dataset = ?", "ss",
                  project, dataset);
        lc_reply_empty(r, 204);
    }
    pthread_mutex_unlock(&b->lock);
    json_decref(body);
}
