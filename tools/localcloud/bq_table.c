// Role: tables insert, get, list, patch, update, delete.
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq_internal.h"

static const char *const writable[] = {"description", "friendlyName",          "labels",
                                       "schema",      "expirationTime",        "timePartitioning",
                                       "clustering",  "requirePartitionFilter"};

static bool valid_id(const char *s)
{
    size_t n = strlen(s);
    for (const char *c = s; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_- ", *c) && !(*c & 0x80))
            return false;
    return n && n <= 1024;
}

static void set_computed(struct lc_bq *b, const struct lc_table *t, json_t *j)
{
    int64_t rows, bytes;
    char etag[32];
    json_t *dataset = lc_catalog_dataset(b, t->project, t->dataset);
    const char *location = lc_json_str(dataset, "location");
    lc_catalog_counts(b, t->id, &rows, &bytes);
    snprintf(etag, sizeof etag, "t%lldv%lld", (long long)t->id, (long long)t->version);
    json_object_set_new(j, "etag", json_string(etag));
    json_object_set_new(j, "type", json_string("TABLE"));
    json_object_set_new(j, "location", json_string(location ? location : "US"));
    lc_json_set_i64(j, "numRows", rows);
    lc_json_set_i64(j, "numBytes", bytes);
    lc_json_set_i64(j, "numLongTermBytes", 0);
    lc_json_set_i64(j, "creationTime", t->created_ms);
    lc_json_set_i64(j, "lastModifiedTime", t->modified_ms);
    json_decref(dataset);
}

json_t *lc_table_json(struct lc_bq *b, const struct lc_table *t, const char *host)
{
    json_t *j = json_deep_copy(t->body);
    char *id = lc_format("%s:%s.%s", t->project, t->dataset, t->name);
    char *self = lc_format("http://%s/bigquery/v2/projects/%s/datasets/%s/tables/%s", host,
                           t->project, t->dataset, t->name);
    json_object_set_new(j, "kind", json_string("bigquery#table"));
    json_object_set_new(j, "id", json_string(id));
    json_object_set_new(j, "selfLink", json_string(self));
    json_object_set_new(j, "tableReference",
                        json_pack("{s:s,s:s,s:s}", "projectId", t->project, "datasetId", t->dataset,
                                  "tableId", t->name));
    set_computed(b, t, j);
    free(id);
    free(self);
    return j;
}

bool lc_table_check_body(json_t *body, struct lc_schema *schema, char err[LC_ERROR_BYTES])
{
    int64_t expires = INT64_MAX;
    json_t *j = json_object_get(body, "schema");
    *schema = (struct lc_schema){0};
    if (j && !json_is_object(j)) {
        snprintf(err, LC_ERROR_BYTES, "schema must be an object with fields.");
        return false;
    }
    if (lc_json_i64(body, "expirationTime", &expires) < 0 ||
        (expires < lc_now_us() / 1000 && expires != 0)) {
        snprintf(err, LC_ERROR_BYTES,
                 "Invalid expirationTime: it must be in the future, in milliseconds.");
        return false;
    }
    if (json_array_size(json_object_get(j, "fields")) && !lc_schema_read(j, schema, err))
        return false;
    if (lc_schema_check_table(body, schema, err))
        return true;
    lc_schema_fini(schema);
    return false;
}

// Writable members of given, and the dataset's default expiration. Owner: caller.
static json_t *new_body(const json_t *given, const json_t *dataset)
{
    json_t *body = json_object();
    for (size_t i = 0; i < LC_ARRAY_LEN(writable); i++) {
        json_t *v = json_object_get(given, writable[i]);
        if (v && !json_is_null(v))
            json_object_set_new(body, writable[i], json_deep_copy(v));
    }
    int64_t ms = 0;
    bool given_expiry = json_object_get(body, "expirationTime");
    if (!given_expiry && lc_json_i64(dataset, "defaultTableExpirationMs", &ms) == 1)
        lc_json_set_i64(body, "expirationTime", lc_now_us() / 1000 + ms);
    return body;
}

static void insert_checked(struct lc_req *r, const char *name, json_t *body)
{
    struct lc_bq *b = r->app->bq;
    struct lc_table t;
    struct lc_schema schema;
    char err[LC_ERROR_BYTES];
    if (lc_catalog_table(b, r->args[0], r->args[1], name, &t)) {
        lc_fail(r, 409, "duplicate", "Already Exists: Table %s:%s.%s", r->args[0], r->args[1],
                name);
    } else if (!lc_table_check_body(body, &schema, err)) {
        lc_fail(r, 400, "invalid", "%s", err);
    } else {
        lc_schema_fini(&schema);
        lc_catalog_add_table(b, r->args[0], r->args[1], name, body, 0);
        if (lc_catalog_table(b, r->args[0], r->args[1], name, &t))
            lc_reply_json(r, 200, lc_table_json(b, &t, lc_req_host(r)));
        else
            lc_fail(r, 500, "internalError", "the table could not be stored");
    }
    lc_table_fini(&t);
}

void lc_table_insert(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    json_t *given = lc_body_json(r);
    if (!given)
        return;
    json_t *ref = json_object_get(given, "tableReference");
    const char *name = lc_json_str(ref, "tableId");
    const char *dataset_id = lc_json_str(ref, "datasetId"),
               *project_id = lc_json_str(ref, "projectId");
    pthread_mutex_lock(&b->lock);
    json_t *dataset = lc_catalog_dataset(b, r->args[0], r->args[1]);
    if (!dataset) {
        lc_fail(r, 404, "notFound", "Not found: Dataset %s:%s", r->args[0], r->args[1]);
    } else if (!name || !valid_id(name)) {
        lc_fail(r, 400, "invalid", "Invalid table ID \"%s\" in tableReference.", name ? name : "");
    } else if ((dataset_id && strcmp(dataset_id, r->args[1])) ||
               (project_id && strcmp(project_id, r->args[0]))) {
        lc_fail(r, 400, "invalid", "tableReference and the URL name different datasets.");
    } else {
        json_t *body = new_body(given, dataset);
        insert_checked(r, name, body);
        json_decref(body);
    }
    pthread_mutex_unlock(&b->lock);
    json_decref(dataset);
    json_decref(given);
}

// The table that r names. The caller holds the lock and calls lc_table_fini. @return false after
// 404.
static bool find(struct lc_req *r, struct lc_table *t)
{
    if (lc_catalog_table(r->app->bq, r->args[0], r->args[1], r->args[2], t))
        return true;
    lc_fail(r, 404, "notFound", "Not found: Table %s:%s.%s", r->args[0], r->args[1], r->args[2]);
    return false;
}

void lc_table_get(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    struct lc_table t = {0};
    pthread_mutex_lock(&b->lock);
    if (find(r, &t))
        lc_reply_json(r, 200, lc_table_json(b, &t, lc_req_host(r)));
    lc_table_fini(&t);
    pthread_mutex_unlock(&b->lock);
}

static bool etag_matches(struct lc_req *r, const struct lc_table *t)
{
    const char *want = lc_req_header(r, "If-Match");
    char etag[32];
    snprintf(etag, sizeof etag, "t%lldv%lld", (long long)t->id, (long long)t->version);
    if (!want || strcmp(want, "*") == 0 || strcmp(want, etag) == 0)
        return true;
    lc_fail(r, 412, "conditionNotMet", "Precondition Failed");
    return false;
}

static void merge_labels(json_t *body, json_t *change)
{
    json_t *labels = json_object_get(body, "labels");
    const char *key;
    json_t *value;
    if (!json_is_object(labels)) {
        json_object_set_new(body, "labels", json_object());
        labels = json_object_get(body, "labels");
    }
    json_object_foreach(change, key, value)
    {
        if (json_is_null(value))
            json_object_del(labels, key);
        else
            json_object_set(labels, key, value);
    }
}

// The body after the change. Owner: caller. replace: update semantics (what is not given goes
// away).
static json_t *changed_body(const struct lc_table *t, json_t *change, bool replace)
{
    json_t *body = replace ? json_object() : json_deep_copy(t->body);
    for (size_t i = 0; i < LC_ARRAY_LEN(writable); i++) {
        const char *key = writable[i];
        json_t *v = json_object_get(change, key);
        if (!v)
            continue;
        if (!replace && strcmp(key, "labels") == 0 && json_is_object(v))
            merge_labels(body, v);
        else if (json_is_null(v))
            json_object_del(body, key);
        else
            json_object_set_new(body, key, json_deep_copy(v));
    }
    return body;
}

static const char *check_fixed(const struct lc_table *t, const json_t *body)
{
    const json_t *old = json_object_get(t->body, "timePartitioning");
    const json_t *next = json_object_get(body, "timePartitioning");
    const char *keys[] = {"type", "field"};
    if (!old != !next)
        return "Cannot convert between partitioned and non-partitioned tables.";
    for (size_t i = 0; old && i < LC_ARRAY_LEN(keys); i++)
        if (!json_equal(json_object_get(old, keys[i]), json_object_get(next, keys[i])) &&
            json_object_get(old, keys[i]) != json_object_get(next, keys[i]))
            return "Cannot change the partitioning type or field of a table.";
    return NULL;
}

static void change_found(struct lc_req *r, struct lc_table *t, json_t *change, bool replace)
{
    struct lc_schema next = {0};
    char err[LC_ERROR_BYTES] = "";
    json_t *body = changed_body(t, change, replace);
    const char *wrong = check_fixed(t, body);
    if (!wrong && !lc_table_check_body(body, &next, err))
        wrong = err;
    if (!wrong && t->schema.count && !lc_schema_check_change(&t->schema, &next, err))
        wrong = err;
    if (wrong) {
        lc_fail(r, 400, "invalid", "%s", wrong);
    } else {
        json_decref(t->body);
        t->body = json_incref(body);
        lc_catalog_save_table(r->app->bq, t);
        lc_reply_json(r, 200, lc_table_json(r->app->bq, t, lc_req_host(r)));
    }
    lc_schema_fini(&next);
    json_decref(body);
}

static void change(struct lc_req *r, bool replace)
{
    struct lc_bq *b = r->app->bq;
    struct lc_table t = {0};
    json_t *body = lc_body_json(r);
    if (!body)
        return;
    pthread_mutex_lock(&b->lock);
    if (find(r, &t) && etag_matches(r, &t))
        change_found(r, &t, body, replace);
    lc_table_fini(&t);
    pthread_mutex_unlock(&b->lock);
    json_decref(body);
}

void lc_table_patch(struct lc_req *r)
{
    change(r, false);
}

void lc_table_update(struct lc_req *r)
{
    change(r, true);
}

void lc_table_delete(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    struct lc_table t = {0};
    pthread_mutex_lock(&b->lock);
    if (find(r, &t)) {
        lc_catalog_drop_table(b, t.id);
        lc_reply_empty(r, 204);
    }
    lc_table_fini(&t);
    pthread_mutex_unlock(&b->lock);
}

static json_t *list_item(sqlite3_stmt *st, const char *project, const char *dataset)
{
    const char *name = lc_db_text(st, 0);
    json_t *body = json_loads(lc_db_text(st, 1), 0, NULL);
    char *id = lc_format("%s:%s.%s", project, dataset, name);
    json_t *item = json_pack("{s:s,s:s,s:s,s:{s:s,s:s,s:s}}", "kind", "bigquery#table", "id", id,
                             "type", "TABLE", "tableReference", "projectId", project, "datasetId",
                             dataset, "tableId", name);
    const char *keys[] = {"timePartitioning", "clustering", "labels", "expirationTime"};
    for (size_t i = 0; i < LC_ARRAY_LEN(keys); i++)
        if (json_object_get(body, keys[i]))
            json_object_set(item, keys[i], json_object_get(body, keys[i]));
    lc_json_set_i64(item, "creationTime", sqlite3_column_int64(st, 2));
    free(id);
    json_decref(body);
    return item;
}

void lc_table_list(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    const char *project = r->args[0], *dataset = r->args[1];
    const char *max_text = lc_param(r, "maxResults"), *token = lc_param(r, "pageToken");
    int64_t max = 1000;
    if (max_text && (!lc_parse_i64(max_text, &max) || max < 1)) {
        lc_fail(r, 400, "invalid", "Invalid maxResults: %s", max_text);
        return;
    }
    pthread_mutex_lock(&b->lock);
    json_t *found = lc_catalog_dataset(b, project, dataset);
    if (!found) {
        lc_fail(r, 404, "notFound", "Not found: Dataset %s:%s", project, dataset);
    } else {
        json_t *list = json_array();
        json_t *out = json_pack("{s:s,s:s}", "kind", "bigquery#tableList", "etag", "list");
        sqlite3_stmt *st = lc_db_query(
            b->catalog,
            "SELECT name, body, created_ms FROM tables WHERE project = ? AND dataset = ? "
            "AND name > ? ORDER BY name",
            "sss", project, dataset, token ? token : "");
        while (sqlite3_step(st) == SQLITE_ROW && (int64_t)json_array_size(list) < max)
            json_array_append_new(list, list_item(st, project, dataset));
        json_t *last = json_array_get(list, json_array_size(list) - 1);
        if (sqlite3_stmt_busy(st) && last)
            json_object_set(out, "nextPageToken",
                            json_object_get(json_object_get(last, "tableReference"), "tableId"));
        sqlite3_finalize(st);
        json_object_set_new(
            out, "totalItems",
            json_integer(lc_db_i64(b->catalog, 0,
                                   "SELECT count(*) FROM tables WHERE project = ? AND dataset = ?",
                                   "ss", project, dataset)));
        if (json_array_size(list))
            json_object_set(out, "tables", list);
        json_decref(list);
        lc_reply_json(r, 200, out);
    }
    pthread_mutex_unlock(&b->lock);
    json_decref(found);
}
