// Role: queries: jobs.query, query jobs, getQueryResults and the command line's --sql. A result is
// kept as DIR/results/SEQ, one row a line with TIMESTAMP in microseconds; a page token is a byte
// offset in it.
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq_internal.h"
#include "tools/localcloud/sql.h"

enum { PAGE_ROWS = 10000, WAIT_MS_DEFAULT = 10000, WAIT_STEP_MS = 10 };

/** What table names without project or dataset mean, and where tables are looked up. */
struct names {
    sqlite3 *catalog;
    sqlite3 *rows;
    struct lc_bq *b; // its catalog lock is taken when set
    const char *project;
    const char *dataset;
};

static bool table_from(const struct names *n, const struct lc_table *t, struct lc_sql_table *out)
{
    struct lc_buf b = {0};
    bool exists = lc_rows_exists(n->rows, t->id);
    lc_buf_str(&b, "(SELECT ");
    for (size_t i = 0; i < t->schema.count; i++) {
        const char *name = t->schema.fields[i].name;
        lc_buf_str(&b, i ? ", " : "");
        if (!exists || !lc_rows_has_column(n->rows, t->id, name))
            lc_buf_str(&b, "NULL AS ");
        lc_rows_quote(&b, name);
    }
    if (exists)
        lc_buf_fmt(&b, " FROM t%lld)", (long long)t->id);
    else
        lc_buf_str(&b, " WHERE 0)");
    out->from = lc_buf_take(&b);
    return true;
}

static bool resolve(void *cls, const char *project, const char *dataset, const char *name,
                    struct lc_sql_table *out, char err[LC_ERROR_BYTES])
{
    const struct names *n = cls;
    struct lc_bq plain = {.catalog = n->catalog};
    struct lc_bq *b = n->b ? n->b : &plain;
    struct lc_table t = {0};
    project = *project ? project : n->project;
    dataset = *dataset ? dataset : n->dataset;
    if (!*dataset) {
        snprintf(err, LC_ERROR_BYTES,
                 "Table \"%.200s\" must be qualified with a dataset (e.g. dataset.table).", name);
        return false;
    }
    if (n->b)
        pthread_mutex_lock(&n->b->lock);
    bool found = lc_catalog_table(b, project, dataset, name, &t);
    if (n->b)
        pthread_mutex_unlock(&n->b->lock);
    if (found && t.schema.count) {
        table_from(n, &t, out);
        out->schema = t.schema;
        t.schema = (struct lc_schema){0};
    } else if (found) {
        snprintf(err, LC_ERROR_BYTES, "Table %s:%s.%s does not have a schema.", project, dataset,
                 name);
    } else {
        snprintf(err, LC_ERROR_BYTES, "Not found: Table %.100s:%.150s.%.200s", project, dataset,
                 name);
    }
    bool ok = found && out->from;
    lc_table_fini(&t);
    return ok;
}

// Prepares a translated query. @return NULL with p set.
static sqlite3_stmt *prepare(struct names *n, const char *query, struct lc_sql *sql,
                             struct lc_problem *p)
{
    char err[LC_ERROR_BYTES] = "";
    sqlite3_stmt *st = NULL;
    lc_sql_register(n->rows);
    if (!lc_sql_translate(query, resolve, n, sql, err)) {
        bool missing = lc_starts_with(err, "Not found:");
        lc_problem_set(p, missing ? 404 : 400, missing ? "notFound" : "invalidQuery", "%s", err);
        snprintf(p->location, sizeof p->location, "query");
        return NULL;
    }
    if (sqlite3_prepare_v2(n->rows, sql->text, -1, &st, NULL) != SQLITE_OK) {
        lc_problem_set(p, 400, "invalidQuery", "%s", sqlite3_errmsg(n->rows));
        snprintf(p->location, sizeof p->location, "query");
        return NULL;
    }
    return st;
}

static json_t *fields_json(const struct lc_schema *s)
{
    json_t *fields = json_array();
    for (size_t i = 0; i < s->count; i++) {
        const struct lc_field *f = &s->fields[i];
        json_t *j = json_pack("{s:s,s:s,s:s}", "name", f->name, "type", lc_type_name(f->type),
                              "mode", lc_mode_name(f->mode));
        if (f->type == LC_RECORD)
            json_object_set_new(j, "fields", fields_json(&f->sub));
        json_array_append_new(fields, j);
    }
    return fields;
}

static bool write_rows(sqlite3_stmt *st, const struct lc_schema *schema, FILE *f, int64_t *rows)
{
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        json_t *row = lc_rows_render(st, schema);
        json_dumpf(row, f, JSON_COMPACT);
        fputc('\n', f);
        json_decref(row);
        ++*rows;
    }
    return rc == SQLITE_DONE && !ferror(f);
}

static char *result_path(const struct lc_bq *b, int64_t seq)
{
    return lc_format("%s/results/%lld", b->dir, (long long)seq);
}

static bool run(struct lc_bq *b, struct names *n, struct lc_job *job, const char *query,
                json_t *done, struct lc_problem *p)
{
    struct lc_sql sql = {0};
    int64_t rows = 0;
    sqlite3_stmt *st = prepare(n, query, &sql, p);
    char *path = result_path(b, job->seq);
    FILE *f = st ? fopen(path, "w") : NULL;
    bool ok = f && write_rows(st, &sql.schema, f, &rows);
    if (st && !f)
        lc_problem_set(p, 500, "internalError", "%s: %s", path, strerror(errno));
    else if (st && !ok)
        lc_problem_set(p, 400, "invalidQuery", "%s", sqlite3_errmsg(n->rows));
    if (f && fclose(f))
        ok = false;
    if (ok) {
        json_t *q = json_pack("{s:s,s:b,s:s,s:s,s:o}", "statementType", "SELECT", "cacheHit", 0,
                              "totalBytesProcessed", "0", "totalBytesBilled", "0", "schema",
                              json_pack("{s:o}", "fields", fields_json(&sql.schema)));
        json_object_set_new(done, "statistics", json_pack("{s:o}", "query", q));
        lc_json_set_i64(q, "totalRows", rows);
    }
    sqlite3_finalize(st);
    lc_sql_fini(&sql);
    free(path);
    return ok;
}

bool lc_query_run(struct lc_bq *b, struct lc_job *job, json_t *done, struct lc_problem *p)
{
    const json_t *config = json_object_get(json_object_get(job->body, "configuration"), "query");
    const json_t *def = json_object_get(config, "defaultDataset");
    const char *project = lc_json_str(def, "projectId"), *dataset = lc_json_str(def, "datasetId");
    struct names n = {.b = b,
                      .catalog = b->catalog,
                      .rows = lc_db_open_readonly(b->dir, "bigquery.db"),
                      .project = project ? project : job->project,
                      .dataset = dataset ? dataset : ""};
    bool ok = false;
    if (n.rows)
        ok = run(b, &n, job, lc_json_str(config, "query"), done, p);
    else
        lc_problem_set(p, 500, "internalError", "bigquery.db cannot be opened");
    sqlite3_close(n.rows);
    return ok;
}

// One page of result rows from byte offset from. @return the next offset, 0 at the end.
static int64_t read_page(const char *path, int64_t from, int64_t max, const struct lc_schema *s,
                         bool int64_form, json_t *rows)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    int64_t next = 0;
    if (!f)
        return 0;
    if (fseeko(f, from, SEEK_SET) == 0) {
        ssize_t n;
        while ((int64_t)json_array_size(rows) < max && (n = getline(&line, &cap, f)) > 0) {
            json_t *row = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
            if (!row)
                break;
            if (!int64_form)
                lc_rows_timestamps_to_seconds(row, s);
            json_array_append_new(rows, row);
        }
        int c = fgetc(f);
        next = c == EOF ? 0 : ftello(f) - 1;
    }
    free(line);
    fclose(f);
    return next;
}

// Answers with the state of a query job, and a page of rows when it is over.
static void reply_results(struct lc_req *r, const json_t *job, int64_t seq, const json_t *options,
                          const char *kind)
{
    struct lc_bq *b = r->app->bq;
    const json_t *query = json_object_get(json_object_get(job, "statistics"), "query");
    const json_t *error = json_object_get(json_object_get(job, "status"), "errorResult");
    const char *token = lc_param(r, "pageToken"), *max_text = lc_param(r, "maxResults");
    int64_t max = PAGE_ROWS, from = 0;
    bool bad = (max_text && !lc_parse_i64(max_text, &max)) ||
               lc_json_i64(options, "maxResults", &max) < 0 || max < 0 ||
               (token && *token && !lc_parse_i64(token, &from)) || from < 0;
    if (bad || error) {
        const char *reason = error ? lc_json_str(error, "reason") : "invalid";
        lc_fail(r, strcmp(reason, "notFound") == 0 ? 404 : 400, reason, "%s",
                error ? lc_json_str(error, "message") : "Invalid maxResults or pageToken");
        return;
    }
    json_t *out = json_pack("{s:s,s:O,s:b}", "kind", kind, "jobReference",
                            json_object_get(job, "jobReference"), "jobComplete", query != NULL);
    struct lc_schema schema = {0};
    char err[LC_ERROR_BYTES];
    json_t *copy = json_deep_copy(json_object_get(query, "schema"));
    if (copy && lc_schema_read(copy, &schema, err)) {
        json_t *rows = json_array();
        char *path = result_path(b, seq);
        int64_t next =
            read_page(path, from, max, &schema, lc_wants_int64_timestamps(r, options), rows);
        json_object_set(out, "schema", json_object_get(query, "schema"));
        json_object_set(out, "totalRows", json_object_get(query, "totalRows"));
        json_object_set_new(out, "totalBytesProcessed", json_string("0"));
        json_object_set_new(out, "cacheHit", json_false());
        if (next)
            lc_json_set_i64(out, "pageToken", next);
        if (json_array_size(rows))
            json_object_set(out, "rows", rows);
        json_decref(rows);
        free(path);
    }
    json_decref(copy);
    lc_schema_fini(&schema);
    lc_reply_json(r, 200, out);
}

// The job resource of a jobs.query request. Owner: caller. @return NULL after answering.
static json_t *job_of_request(struct lc_req *r, const json_t *body)
{
    const char *location = lc_json_str(body, "location");
    if (!lc_json_str(body, "query")) {
        lc_fail(r, 400, "required", "Required parameter is missing: query");
        return NULL;
    }
    if (!json_is_false(json_object_get(body, "useLegacySql"))) {
        lc_fail(r, 400, "invalidQuery",
                "localcloud speaks GoogleSQL only: send \"useLegacySql\": false (BigQuery's "
                "default is legacy SQL)");
        return NULL;
    }
    if (json_array_size(json_object_get(body, "queryParameters"))) {
        lc_fail(r, 400, "invalidQuery", "localcloud does not support query parameters");
        return NULL;
    }
    json_t *query =
        json_pack("{s:O,s:b}", "query", json_object_get(body, "query"), "useLegacySql", 0);
    if (json_object_get(body, "defaultDataset"))
        json_object_set(query, "defaultDataset", json_object_get(body, "defaultDataset"));
    json_t *job = json_pack("{s:{s:o}}", "configuration", "query", query);
    if (location)
        json_object_set_new(job, "jobReference", json_pack("{s:s}", "location", location));
    return job;
}

void lc_query(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    struct lc_job job = {0};
    struct lc_problem p = {0};
    json_t *body = lc_body_json(r);
    json_t *resource = body ? job_of_request(r, body) : NULL;
    if (resource && lc_job_create(r, r->args[0], resource, LC_JOB_QUERY, true, NULL, &job)) {
        json_t *done = json_object();
        bool ok = lc_query_run(b, &job, done, &p);
        lc_job_end(b, &job, done, NULL, ok ? NULL : &p);
        reply_results(r, job.body, job.seq, body, "bigquery#queryResponse");
        json_decref(done);
    }
    lc_job_fini(&job);
    json_decref(resource);
    json_decref(body);
}

// Job and sequence number. Owner: caller. @return NULL when there is no such query job.
static json_t *find_query(struct lc_req *r, int64_t *seq, bool *over)
{
    struct lc_bq *b = r->app->bq;
    pthread_mutex_lock(&b->lock);
    sqlite3_stmt *st = lc_db_query(
        b->catalog,
        "SELECT seq, body, state FROM jobs WHERE project = ? AND job_id = ? AND kind = 1", "ss",
        r->args[0], r->args[1]);
    json_t *job = NULL;
    if (sqlite3_step(st) == SQLITE_ROW) {
        *seq = sqlite3_column_int64(st, 0);
        job = json_loads(lc_db_text(st, 1), 0, NULL);
        *over = strcmp(lc_db_text(st, 2), "DONE") == 0;
    }
    sqlite3_finalize(st);
    pthread_mutex_unlock(&b->lock);
    return job;
}

void lc_query_results(struct lc_req *r)
{
    const char *wait_text = lc_param(r, "timeoutMs");
    int64_t wait_ms = WAIT_MS_DEFAULT, seq = 0;
    bool over = false;
    if (wait_text && (!lc_parse_i64(wait_text, &wait_ms) || wait_ms < 0)) {
        lc_fail(r, 400, "invalid", "Invalid timeoutMs");
        return;
    }
    json_t *job = find_query(r, &seq, &over);
    for (; job && !over && wait_ms > 0; wait_ms -= WAIT_STEP_MS) {
        lc_sleep_ms(WAIT_STEP_MS);
        json_decref(job);
        job = find_query(r, &seq, &over);
    }
    if (job)
        reply_results(r, job, seq, NULL, "bigquery#getQueryResultsResponse");
    else
        lc_fail(r, 404, "notFound", "Not found: Query job %s:%s", r->args[0], r->args[1]);
    json_decref(job);
}

static int print_problem(const struct lc_problem *p)
{
    fprintf(stderr, "localcloud: %s\n", p->message);
    return 1;
}

int lc_bq_print_query(const char *dir, const char *project, const char *sql_text, int as_json)
{
    struct lc_problem p = {0};
    struct lc_sql sql = {0};
    struct names n = {.project = project, .dataset = ""};
    n.catalog = lc_db_open_readonly(dir, "catalog.db");
    n.rows = lc_db_open_readonly(dir, "bigquery.db");
    int code = 1;
    char *only = NULL;
    if (!n.catalog || !n.rows) {
        fprintf(stderr, "localcloud: %s holds no data of localcloud (catalog.db, bigquery.db)\n",
                dir);
    } else {
        if (!*project) { // with one project only, its name may be left out
            sqlite3_stmt *st = lc_db_query(
                n.catalog, "SELECT min(project) FROM datasets HAVING count(DISTINCT project) = 1",
                "");
            only = lc_strdup(sqlite3_step(st) == SQLITE_ROW ? lc_db_text(st, 0) : "");
            n.project = only;
            sqlite3_finalize(st);
        }
        sqlite3_stmt *st = prepare(&n, sql_text, &sql, &p);
        code = st ? lc_print_rows(n.rows, st, &sql.schema, as_json) : print_problem(&p);
        sqlite3_finalize(st);
    }
    lc_sql_fini(&sql);
    sqlite3_close(n.catalog);
    sqlite3_close(n.rows);
    free(only);
    return code;
}
