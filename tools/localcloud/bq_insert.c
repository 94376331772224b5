// Role: jobs.insert: what a request must have before it becomes a job. What depends on tables and
// objects is found when the job runs, and is the job's error then.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq_internal.h"
#include "tools/localcloud/fault.h"

enum { URIS_MAX = 10000 };

static bool one_of(const char *value, const char *const *list)
{
    if (!value)
        return true;
    for (; *list; list++)
        if (strcmp(value, *list) == 0)
            return true;
    return false;
}

// @return NULL, or what is wrong with the settings.
static const char *check_settings(const json_t *load)
{
    static const char *const create[] = {"CREATE_IF_NEEDED", "CREATE_NEVER", NULL};
    static const char *const write[] = {"WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_TRUNCATE_DATA",
                                        "WRITE_EMPTY", NULL};
    static const char *const options[] = {"ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION", NULL};
    const char *disposition = lc_json_str(load, "writeDisposition"),
               *format = lc_json_str(load, "sourceFormat");
    const json_t *updates = json_object_get(load, "schemaUpdateOptions");
    int64_t bad = 0;
    if (!format || strcmp(format, "NEWLINE_DELIMITED_JSON") != 0)
        return "localcloud loads sourceFormat NEWLINE_DELIMITED_JSON only (the default of BigQuery "
               "is CSV)";
    if (json_is_true(json_object_get(load, "autodetect")))
        return "localcloud does not detect schemas: give a schema, or load into a table that has "
               "one";
    if (!one_of(lc_json_str(load, "createDisposition"), create))
        return "Invalid createDisposition";
    if (!one_of(disposition, write))
        return "Invalid writeDisposition";
    if (lc_json_i64(load, "maxBadRecords", &bad) < 0 || bad < 0 || bad > INT32_MAX)
        return "Invalid maxBadRecords";
    for (size_t i = 0; i < json_array_size(updates); i++)
        if (!one_of(json_string_value(json_array_get(updates, i)), options))
            return "Invalid schemaUpdateOptions";
    bool may_update = !disposition || !strcmp(disposition, "WRITE_APPEND") ||
                      !strcmp(disposition, "WRITE_TRUNCATE_DATA");
    if (json_array_size(updates) && !may_update)
        return "Schema update options should only be specified with WRITE_APPEND disposition, or "
               "with WRITE_TRUNCATE disposition on a table partition.";
    return NULL;
}

static const char *check_uris(const json_t *load)
{
    const json_t *uris = json_object_get(load, "sourceUris");
    size_t count = json_array_size(uris);
    if (!count)
        return "Load configuration must specify at least one source URI";
    if (count > URIS_MAX)
        return "Too many source URIs: at most 10000 are allowed";
    for (size_t i = 0; i < count; i++) {
        const char *uri = json_string_value(json_array_get(uris, i));
        if (!uri || !lc_starts_with(uri, "gs://") || !strchr(uri + 5, '/'))
            return "Source URI must be a Google Cloud Storage location: gs://bucket/object";
    }
    return NULL;
}

// The dataset must exist, and its location must be the job's. Sets the location when the request
// has none.
static bool check_dataset(struct lc_req *r, json_t *body, const json_t *target)
{
    struct lc_bq *b = r->app->bq;
    const char *project = lc_json_str(target, "projectId"),
               *name = lc_json_str(target, "datasetId");
    pthread_mutex_lock(&b->lock);
    json_t *dataset = lc_catalog_dataset(b, project, name);
    pthread_mutex_unlock(&b->lock);
    if (!dataset) {
        lc_fail(r, 404, "notFound", "Not found: Dataset %s:%s", project, name);
        return false;
    }
    json_t *ref = json_object_get(body, "jobReference");
    const char *want = lc_json_str(ref, "location"), *have = lc_json_str(dataset, "location");
    bool ok = !want || strcasecmp(want, have) == 0;
    if (!ok)
        lc_fail(r, 404, "notFound", "Not found: Dataset %s:%s was not found in location %s",
                project, name, want);
    else if (!want) {
        if (!json_is_object(ref)) {
            json_object_set_new(body, "jobReference", json_object());
            ref = json_object_get(body, "jobReference");
        }
        json_object_set_new(ref, "location", json_string(have));
    }
    json_decref(dataset);
    return ok;
}

static bool check_load(struct lc_req *r, json_t *body, const json_t *load, bool upload)
{
    json_t *target = json_object_get(load, "destinationTable");
    const char *wrong = upload ? NULL : check_uris(load);
    if (upload && json_object_get(load, "sourceUris"))
        wrong = "A job that brings its file has no source URIs";
    struct lc_schema schema = {0};
    char err[LC_ERROR_BYTES];
    if (!json_object_get(target, "projectId") && json_is_object(target))
        json_object_set_new(target, "projectId", json_string(r->args[0]));
    if (!wrong && (!lc_json_str(target, "datasetId") || !lc_json_str(target, "tableId") ||
                   !lc_json_str(target, "projectId")))
        wrong = "Required parameter is missing: destinationTable";
    if (!wrong && strchr(lc_json_str(target, "tableId"), '$'))
        wrong = "localcloud does not load into partition decorators";
    if (!wrong)
        wrong = check_settings(load);
    if (!wrong && json_object_get(load, "schema") &&
        !lc_schema_read(json_object_get(load, "schema"), &schema, err))
        wrong = err;
    lc_schema_fini(&schema);
    if (wrong) {
        lc_fail(r, 400, "invalid", "%s", wrong);
        return false;
    }
    return check_dataset(r, body, target);
}

static bool check_query(struct lc_req *r, const json_t *query)
{
    if (!lc_json_str(query, "query"))
        lc_fail(r, 400, "required", "Required parameter is missing: query");
    else if (!json_is_false(json_object_get(query, "useLegacySql")))
        lc_fail(r, 400, "invalidQuery",
                "localcloud speaks GoogleSQL only: send \"useLegacySql\": false (BigQuery's "
                "default is legacy SQL)");
    else if (json_object_get(query, "destinationTable"))
        lc_fail(r, 400, "invalid", "localcloud does not write query results into tables");
    return r->status == 0;
}

bool lc_job_check(struct lc_req *r, json_t *body, bool upload)
{
    json_t *configuration = json_object_get(body, "configuration");
    json_t *load = json_object_get(configuration, "load"),
           *query = json_object_get(configuration, "query");
    if (json_is_object(load) && !query)
        return check_load(r, body, load, upload);
    if (json_is_object(query) && !load && !upload)
        return check_query(r, query);
    lc_fail(r, 400, "invalid",
            "configuration must have one of load and query (localcloud serves no other jobs)");
    return false;
}

// Faults that a test set for the next load jobs.
static void add_faults(struct lc_req *r, json_t *extra)
{
    struct lc_fault_action a = {0};
    if (!lc_fault_match_req(r, LC_FAULT_LOAD, &a))
        return;
    if (*a.job_reason)
        json_object_set_new(extra, "job_reason", json_string(a.job_reason));
    if (*a.job_reason)
        json_object_set_new(extra, "job_message", json_string(a.message));
    json_object_set_new(extra, "job_rows", json_integer(a.job_rows));
    if (*a.load_row)
        json_object_set_new(extra, "load_row", json_string(a.load_row));
    if (*a.load_uri)
        json_object_set_new(extra, "load_uri", json_string(a.load_uri));
    json_object_set_new(extra, "load_silent", json_boolean(a.load_silent));
}

void lc_job_submit(struct lc_req *r, json_t *body, const char *input)
{
    struct lc_job job = {0};
    json_t *extra = json_object();
    if (lc_job_check(r, body, input != NULL)) {
        bool load = json_object_get(json_object_get(body, "configuration"), "load");
        if (input)
            json_object_set_new(extra, "input", json_string(input));
        if (load)
            add_faults(r, extra);
        if (lc_job_create(r, r->args[0], body, load ? LC_JOB_LOAD : LC_JOB_QUERY, false, extra,
                          &job))
            lc_reply_json(r, 200, json_incref(body));
    }
    lc_job_fini(&job);
    json_decref(extra);
}

void lc_job_insert(struct lc_req *r)
{
    json_t *body = lc_body_json(r);
    if (body)
        lc_job_submit(r, body, NULL);
    json_decref(body);
}
