// Role: a load job from its configuration to the committed transaction. Rows, counts and a "done"
// record go in one transaction; the catalog (new table, new schema) follows in lc_load_finish,
// which may be repeated.
#include "tools/localcloud/bq_load.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/localcloud/storage.h"

enum { URIS_MAX = 10000 };

static bool add_objects(struct lc_load *l, const char *uri, const char *bucket, const char *prefix,
                        const char *suffix, struct lc_problem *p)
{
    json_t *found = lc_storage_match(l->b->storage, bucket, prefix, suffix);
    size_t i;
    json_t *item;
    if (!json_array_size(found)) {
        lc_problem_set(p, 404, "notFound", "Not found: %s %s", found ? "URI" : "Bucket of URI",
                       uri);
        snprintf(p->location, sizeof p->location, "%.1100s", uri);
        json_decref(found);
        return false;
    }
    json_array_foreach(found, i, item)
    {
        char *full = lc_format("gs://%s/%s", bucket, lc_json_str(item, "name"));
        json_object_set_new(item, "uri", json_string(full));
        json_object_set_new(item, "bucket", json_string(bucket));
        free(full);
    }
    json_array_extend(l->uris, found);
    json_decref(found);
    return true;
}

// Adds the objects that one source URI names.
static bool expand_uri(struct lc_load *l, const char *uri, struct lc_problem *p)
{
    const char *slash = uri && lc_starts_with(uri, "gs://") ? strchr(uri + 5, '/') : NULL;
    if (!slash || slash == uri + 5 || !slash[1]) {
        lc_problem_set(
            p, 400, "invalid",
            "Source URI must be a Google Cloud Storage location: gs://bucket/object, not %s",
            uri ? uri : "(none)");
        return false;
    }
    char *bucket = lc_strndup(uri + 5, (size_t)(slash - uri - 5)), *name = lc_strdup(slash + 1);
    char *star = strchr(name, '*');
    bool ok = !strchr(bucket, '*') && !(star && strchr(star + 1, '*'));
    if (!ok)
        lc_problem_set(p, 400, "invalid",
                       "Invalid source URI: only one * is allowed, after the bucket: %s", uri);
    if (star)
        *star = 0;
    ok = ok && add_objects(l, uri, bucket, name, star ? star + 1 : NULL, p);
    free(bucket);
    free(name);
    return ok;
}

// The file that came with the job.
static bool use_input(struct lc_load *l, const char *input, struct lc_problem *p)
{
    struct stat st;
    char *path = lc_format("%s/loads/%s", l->b->dir, input);
    bool ok = stat(path, &st) == 0;
    l->uris = json_array();
    if (ok)
        json_array_append_new(l->uris, json_pack("{s:s,s:s,s:I}", "uri", "uploaded file", "path",
                                                 path, "size", (json_int_t)st.st_size));
    else
        lc_problem_set(p, 500, "internalError", "the uploaded file is missing");
    free(path);
    return ok;
}

static bool expand_uris(struct lc_load *l, struct lc_problem *p)
{
    const json_t *list = json_object_get(l->config, "sourceUris");
    l->uris = json_array();
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!expand_uri(l, json_string_value(json_array_get(list, i)), p))
            return false;
    assert(json_array_size(list) <= URIS_MAX);
    return true;
}

// What next adds to or relaxes in old, at any depth.
static void schema_delta(const struct lc_schema *old, const struct lc_schema *next, bool *adds,
                         bool *relaxes)
{
    for (size_t i = 0; i < next->count; i++) {
        const struct lc_field *f = lc_schema_find(old, next->fields[i].name);
        if (!f) {
            *adds = true;
            continue;
        }
        if (f->mode == LC_REQUIRED && next->fields[i].mode == LC_NULLABLE)
            *relaxes = true;
        schema_delta(&f->sub, &next->fields[i].sub, adds, relaxes);
    }
}

static bool has_option(const struct lc_load *l, const char *name)
{
    const json_t *list = json_object_get(l->config, "schemaUpdateOptions");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && strcmp(s, name) == 0)
            return true;
    }
    return false;
}

// Schema given in the job against that of the existing table t.
static bool merge_schema(struct lc_load *l, const struct lc_table *t, json_t *given,
                         struct lc_problem *p)
{
    char err[LC_ERROR_BYTES];
    bool adds = false, relaxes = false;
    if (!lc_schema_read(given, &l->schema, err) ||
        (!l->truncate && t->schema.count && !lc_schema_check_change(&t->schema, &l->schema, err))) {
        lc_problem_set(p, 400, "invalid", "%s", err);
        return false;
    }
    schema_delta(&t->schema, &l->schema, &adds, &relaxes);
    if (!l->truncate && t->schema.count && adds && !has_option(l, "ALLOW_FIELD_ADDITION")) {
        lc_problem_set(p, 400, "invalid",
                       "Provided Schema does not match Table %s:%s.%s. Cannot add fields "
                       "(schemaUpdateOptions has "
                       "no ALLOW_FIELD_ADDITION)",
                       t->project, t->dataset, t->name);
        return false;
    }
    if (!l->truncate && relaxes && !has_option(l, "ALLOW_FIELD_RELAXATION")) {
        lc_problem_set(p, 400, "invalid",
                       "Provided Schema does not match Table %s:%s.%s. Cannot relax fields "
                       "(schemaUpdateOptions "
                       "has no ALLOW_FIELD_RELAXATION)",
                       t->project, t->dataset, t->name);
        return false;
    }
    if (adds || relaxes || l->truncate)
        l->new_schema = json_incref(given);
    return true;
}

static bool plan_existing(struct lc_load *l, struct lc_table *t, json_t *given,
                          struct lc_problem *p)
{
    const char *write = lc_json_str(l->config, "writeDisposition");
    int64_t rows, bytes;
    lc_catalog_counts(l->b, t->id, &rows, &bytes);
    l->table_id = t->id;
    if (write && strcmp(write, "WRITE_EMPTY") == 0 && rows) {
        lc_problem_set(p, 409, "duplicate", "Already Exists: Table %s:%s.%s", t->project,
                       t->dataset, t->name);
        return false;
    }
    if (given)
        return merge_schema(l, t, given, p);
    if (!t->schema.count) {
        lc_problem_set(p, 400, "invalid", "No schema specified on job or table.");
        return false;
    }
    l->schema = t->schema;
    t->schema = (struct lc_schema){0};
    return true;
}

static bool plan_new(struct lc_load *l, const json_t *dataset, json_t *given, struct lc_problem *p)
{
    static const char *const keys[] = {"schema", "timePartitioning", "clustering"};
    const char *create = lc_json_str(l->config, "createDisposition");
    const json_t *target = json_object_get(l->config, "destinationTable");
    char err[LC_ERROR_BYTES];
    if (create && strcmp(create, "CREATE_NEVER") == 0) {
        lc_problem_set(p, 404, "notFound", "Not found: Table %s:%s.%s",
                       lc_json_str(target, "projectId"), lc_json_str(target, "datasetId"),
                       lc_json_str(target, "tableId"));
        return false;
    }
    if (!given) {
        lc_problem_set(p, 400, "invalid", "No schema specified on job or table.");
        return false;
    }
    l->create_body = json_object();
    for (size_t i = 0; i < LC_ARRAY_LEN(keys); i++)
        if (json_object_get(l->config, keys[i]))
            json_object_set_new(l->create_body, keys[i],
                                json_deep_copy(json_object_get(l->config, keys[i])));
    int64_t ms = 0;
    if (lc_json_i64(dataset, "defaultTableExpirationMs", &ms) == 1)
        lc_json_set_i64(l->create_body, "expirationTime", lc_now_us() / 1000 + ms);
    if (!lc_table_check_body(l->create_body, &l->schema, err)) {
        lc_problem_set(p, 400, "invalid", "%s", err);
        return false;
    }
    l->table_id = lc_catalog_next_id(l->b);
    return true;
}

static void plan_partition(struct lc_load *l, const json_t *body)
{
    const json_t *partitioning = json_object_get(body, "timePartitioning");
    const char *name = lc_json_str(partitioning, "field");
    l->partition = name ? lc_schema_find(&l->schema, name) : NULL;
    const char *type = lc_json_str(partitioning, "type");
    l->partition_type = !type                        ? "DAY"
                        : strcmp(type, "HOUR") == 0  ? "HOUR"
                        : strcmp(type, "MONTH") == 0 ? "MONTH"
                        : strcmp(type, "YEAR") == 0  ? "YEAR"
                                                     : "DAY";
}

// Decides table, schema and files. The caller holds the lock.
static bool plan(struct lc_load *l, struct lc_problem *p)
{
    const json_t *target = json_object_get(l->config, "destinationTable");
    const char *project = lc_json_str(target, "projectId"),
               *dataset_id = lc_json_str(target, "datasetId");
    const char *write = lc_json_str(l->config, "writeDisposition");
    json_t *given = json_object_get(l->config, "schema");
    struct lc_table t = {0};
    bool ok = false;
    l->truncate = write && lc_starts_with(write, "WRITE_TRUNCATE");
    lc_json_i64(l->config, "maxBadRecords", &l->bad_max);
    json_t *dataset = lc_catalog_dataset(l->b, project, dataset_id);
    if (!dataset)
        lc_problem_set(p, 404, "notFound", "Not found: Dataset %s:%s", project, dataset_id);
    else if (lc_catalog_table(l->b, project, dataset_id, lc_json_str(target, "tableId"), &t))
        ok = plan_existing(l, &t, given, p);
    else
        ok = plan_new(l, dataset, given, p);
    if (ok)
        plan_partition(l, t.body ? t.body : l->create_body);
    lc_table_fini(&t);
    json_decref(dataset);
    return ok;
}

static void describe(const struct lc_load *l, json_t *done)
{
    json_t *s = json_object();
    lc_json_set_i64(s, "inputFiles", (int64_t)json_array_size(l->uris));
    lc_json_set_i64(s, "inputFileBytes", l->input_bytes);
    lc_json_set_i64(s, "outputRows", l->rows);
    lc_json_set_i64(s, "outputBytes", l->output_bytes);
    lc_json_set_i64(s, "badRecords", l->bad);
    json_object_set_new(done, "statistics", json_pack("{s:o}", "load", s));
    json_object_set_new(done, "table_id", json_integer(l->table_id));
    if (l->create_body)
        json_object_set(done, "create", l->create_body);
    if (l->new_schema)
        json_object_set(done, "schema", l->new_schema);
}

static bool write_records(struct lc_load *l, const struct lc_job *job, const json_t *done)
{
    char *text = json_dumps(done, JSON_COMPACT);
    bool ok = lc_rows_count(l->db, l->table_id, l->rows, l->output_bytes) &&
              lc_db_run(l->db, "REPLACE INTO done(project, job_id, body) VALUES(?, ?, ?)", "sss",
                        job->project, job->job_id, text);
    free(text);
    return ok;
}

static bool clear_table(struct lc_load *l)
{
    char *sql = lc_format("DROP TABLE IF EXISTS t%lld; DELETE FROM counts WHERE table_id = %lld",
                          (long long)l->table_id, (long long)l->table_id);
    bool ok = lc_db_exec(l->db, sql);
    free(sql);
    return ok;
}

static bool transaction(struct lc_load *l, const struct lc_job *job, json_t *done,
                        struct lc_problem *p)
{
    bool ok = lc_db_exec(l->db, "BEGIN IMMEDIATE") && (!l->truncate || clear_table(l)) &&
              lc_rows_ensure(l->db, l->table_id, &l->schema);
    if (!ok)
        lc_problem_set(p, 500, "internalError", "the row table could not be prepared: %s",
                       sqlite3_errmsg(l->db));
    ok = ok && lc_load_rows(l, p);
    if (ok) {
        describe(l, done);
        ok = write_records(l, job, done) && lc_db_exec(l->db, "COMMIT");
        if (!ok)
            lc_problem_set(p, 500, "internalError", "the rows could not be committed: %s",
                           sqlite3_errmsg(l->db));
    }
    if (!ok && !sqlite3_get_autocommit(l->db))
        lc_db_exec(l->db, "ROLLBACK");
    return ok;
}

bool lc_load_run(struct lc_bq *b, sqlite3 *db, struct lc_job *job, json_t *done, json_t *warnings,
                 struct lc_problem *p)
{
    struct lc_load l = {.b = b, .db = db, .seq = job->seq, .warnings = warnings};
    l.config = json_object_get(json_object_get(job->body, "configuration"), "load");
    l.bad_row = lc_json_str(job->extra, "load_row");
    l.bad_uri = lc_json_str(job->extra, "load_uri");
    l.silent = json_is_true(json_object_get(job->extra, "load_silent"));
    pthread_mutex_lock(&b->lock);
    bool ok = plan(&l, p);
    pthread_mutex_unlock(&b->lock);
    const char *input = lc_json_str(job->extra, "input");
    ok = ok && (input ? use_input(&l, input, p) : expand_uris(&l, p));
    pthread_mutex_lock(&b->write_lock);
    ok = ok && transaction(&l, job, done, p);
    pthread_mutex_unlock(&b->write_lock);
    lc_schema_fini(&l.schema);
    json_decref(l.uris);
    json_decref(l.create_body);
    json_decref(l.new_schema);
    return ok;
}

void lc_load_finish(struct lc_bq *b, const struct lc_job *job, const json_t *done)
{
    const json_t *config = json_object_get(json_object_get(job->body, "configuration"), "load");
    const json_t *target = json_object_get(config, "destinationTable");
    const char *project = lc_json_str(target, "projectId"),
               *dataset = lc_json_str(target, "datasetId");
    const char *name = lc_json_str(target, "tableId");
    const json_t *create = json_object_get(done, "create");
    json_t *schema = json_object_get(done, "schema");
    int64_t id = json_integer_value(json_object_get(done, "table_id"));
    struct lc_table t = {0};
    pthread_mutex_lock(&b->lock);
    bool found = lc_catalog_table(b, project, dataset, name, &t);
    if (!found && create)
        lc_catalog_add_table(b, project, dataset, name, create, id);
    else if (found && create &&
             t.id != id) // made by tables.insert while the job ran: it has no rows yet
        lc_db_run(b->catalog, "UPDATE tables SET id = ? WHERE id = ?", "ii", id, t.id);
    else if (found && schema) {
        json_object_set(t.body, "schema", schema);
        lc_catalog_save_table(b, &t);
    } else if (found) {
        lc_db_run(b->catalog, "UPDATE tables SET modified_ms = ? WHERE id = ?", "ii",
                  lc_now_us() / 1000, id);
    }
    lc_table_fini(&t);
    pthread_mutex_unlock(&b->lock);
}
