// Role: job resources and the two job threads. A job's state moves PENDING -> RUNNING -> DONE in
// catalog.db. A load writes its rows and a "done" record in one transaction of bigquery.db, so
// after a kill the next start either finds the record (the job is over) or runs the job again from
// nothing.
#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq_internal.h"

enum { JOB_ID_BYTES_MAX = 1024, ERRORS_MAX = 5 };

static const char catalog_schema[] =
    "CREATE TABLE IF NOT EXISTS datasets(project TEXT NOT NULL, dataset TEXT NOT NULL, body TEXT "
    "NOT NULL,"
    " PRIMARY KEY(project, dataset)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS tables(id INTEGER PRIMARY KEY, project TEXT NOT NULL, dataset TEXT "
    "NOT NULL,"
    " name TEXT NOT NULL, body TEXT NOT NULL, version INTEGER NOT NULL, created_ms INTEGER NOT "
    "NULL,"
    " modified_ms INTEGER NOT NULL, UNIQUE(project, dataset, name));"
    "CREATE TABLE IF NOT EXISTS next_id(id INTEGER NOT NULL);"
    "INSERT INTO next_id SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM next_id);"
    "CREATE TABLE IF NOT EXISTS jobs(seq INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL,"
    " job_id TEXT NOT NULL, kind INTEGER NOT NULL, state TEXT NOT NULL, target TEXT NOT NULL, body "
    "TEXT NOT NULL,"
    " UNIQUE(project, job_id));"
    "CREATE INDEX IF NOT EXISTS jobs_pending ON jobs(kind, seq) WHERE state = 'PENDING';"
    "CREATE TABLE IF NOT EXISTS job_extra(seq INTEGER PRIMARY KEY, body TEXT NOT NULL);"
    "UPDATE jobs SET state = 'PENDING' WHERE state = 'RUNNING';"
    "DELETE FROM job_extra WHERE seq IN (SELECT seq FROM jobs WHERE state = 'DONE');";

static void *job_thread(void *arg);

struct thread_arg {
    struct lc_bq *b;
    enum lc_job_kind kind;
};

static void make_directory(const char *dir, const char *name)
{
    char *path = lc_format("%s/%s", dir, name);
    mkdir(path, 0777);
    free(path);
}

// Removes uploaded files whose job is over.
static void sweep_loads(struct lc_bq *b)
{
    char *dir = lc_format("%s/loads", b->dir);
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.' &&
            !lc_db_i64(b->catalog, 0,
                       "SELECT 1 FROM job_extra WHERE json_extract(body, '$.input') = ?", "s",
                       e->d_name))
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    free(dir);
}

struct lc_bq *lc_bq_open(const char *dir, struct lc_storage *storage,
                         const struct lc_bq_options *options, char *err, size_t err_size)
{
    struct lc_bq *b = lc_alloc(sizeof *b);
    make_directory(dir, "results");
    make_directory(dir, "loads");
    pthread_mutex_init(&b->lock, NULL);
    pthread_mutex_init(&b->write_lock, NULL);
    pthread_cond_init(&b->wake, NULL);
    b->dir = lc_strdup(dir);
    b->storage = storage;
    b->options = *options;
    sqlite3 *writer = lc_rows_open(dir, err, err_size);
    b->catalog = writer ? lc_db_open(dir, "catalog.db", catalog_schema, err, err_size) : NULL;
    b->rows = writer ? lc_db_open_readonly(dir, "bigquery.db") : NULL;
    b->stream = writer ? lc_rows_open(dir, err, err_size) : NULL;
    if (!b->catalog || !b->rows || !b->stream) {
        sqlite3_close(writer);
        lc_bq_close(b);
        return NULL;
    }
    lc_rows_sweep(b, writer);
    sweep_loads(b);
    sqlite3_close(writer);
    for (int kind = 0; kind < LC_JOB_KINDS; kind++) {
        struct thread_arg *arg = lc_alloc(sizeof *arg);
        *arg = (struct thread_arg){b, (enum lc_job_kind)kind};
        if (pthread_create(&b->threads[kind], NULL, job_thread, arg))
            abort();
        b->thread_count++;
    }
    return b;
}

void lc_bq_close(struct lc_bq *b)
{
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    b->stop = true;
    atomic_store(&b->cancel_seq, -1);
    pthread_cond_broadcast(&b->wake);
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i < b->thread_count; i++)
        pthread_join(b->threads[i], NULL);
    sqlite3_close(b->catalog);
    sqlite3_close(b->rows);
    sqlite3_close(b->stream);
    pthread_mutex_destroy(&b->write_lock);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->wake);
    free(b->dir);
    free(b);
}

void lc_job_fini(struct lc_job *job)
{
    free(job->project);
    free(job->job_id);
    json_decref(job->body);
    json_decref(job->extra);
    *job = (struct lc_job){0};
}

static bool valid_job_id(const char *s)
{
    for (const char *c = s; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '-')
            return false;
    return *s && strlen(s) <= JOB_ID_BYTES_MAX;
}

static void save_state(struct lc_bq *b, const struct lc_job *job, const char *state)
{
    char *text;
    json_object_set_new(json_object_get(job->body, "status"), "state", json_string(state));
    text = json_dumps(job->body, JSON_COMPACT | JSON_REAL_PRECISION(17));
    lc_db_run(b->catalog, "UPDATE jobs SET state = ?, body = ? WHERE seq = ?", "ssi", state, text,
              job->seq);
    free(text);
}

static void fill_resource(struct lc_req *r, const char *project, const char *job_id,
                          const char *location, enum lc_job_kind kind, json_t *body)
{
    char *id = lc_format("%s:%s.%s", project, location, job_id);
    char *self = lc_format("http://%s/bigquery/v2/projects/%s/jobs/%s?location=%s", lc_req_host(r),
                           project, job_id, location);
    json_object_set_new(body, "kind", json_string("bigquery#job"));
    json_object_set_new(body, "id", json_string(id));
    json_object_set_new(body, "selfLink", json_string(self));
    json_object_set_new(body, "etag", json_string("job"));
    json_object_set_new(body, "user_email", json_string("local@localcloud.invalid"));
    json_object_set_new(
        body, "jobReference",
        json_pack("{s:s,s:s,s:s}", "projectId", project, "jobId", job_id, "location", location));
    json_object_set_new(json_object_get(body, "configuration"), "jobType",
                        json_string(kind == LC_JOB_LOAD ? "LOAD" : "QUERY"));
    json_object_set_new(body, "status", json_pack("{s:s}", "state", "PENDING"));
    json_object_set_new(body, "statistics", json_object());
    lc_json_set_i64(json_object_get(body, "statistics"), "creationTime", lc_now_us() / 1000);
    free(id);
    free(self);
}

static char *target_of(const json_t *body, enum lc_job_kind kind)
{
    const json_t *t = json_object_get(
        json_object_get(json_object_get(body, "configuration"), "load"), "destinationTable");
    const char *p = lc_json_str(t, "projectId"), *d = lc_json_str(t, "datasetId"),
               *n = lc_json_str(t, "tableId");
    return kind == LC_JOB_LOAD ? lc_format("%s.%s.%s", p ? p : "", d ? d : "", n ? n : "")
                               : lc_strdup("");
}

static void save_extra(struct lc_bq *b, int64_t seq, const json_t *extra)
{
    char *text = json_dumps(extra, JSON_COMPACT);
    lc_db_run(b->catalog, "INSERT INTO job_extra(seq, body) VALUES(?, ?)", "is", seq, text);
    free(text);
}

int64_t lc_job_create(struct lc_req *r, const char *project, json_t *body, enum lc_job_kind kind,
                      bool sync, const json_t *extra, struct lc_job *job)
{
    struct lc_bq *b = r->app->bq;
    const json_t *ref = json_object_get(body, "jobReference");
    const char *given = lc_json_str(ref, "jobId"), *in_project = lc_json_str(ref, "projectId");
    const char *location = lc_json_str(ref, "location");
    char made[48] = "job_";
    *job = (struct lc_job){0};
    if ((given && !valid_job_id(given)) || (in_project && strcmp(in_project, project))) {
        lc_fail(r, 400, "invalid", "Invalid job ID or project in jobReference: %s",
                given ? given : in_project);
        return 0;
    }
    lc_random_hex(made + 4, 16);
    char *job_id = lc_strdup(given ? given : made), *place = lc_strdup(location ? location : "US");
    char *target = target_of(body, kind);
    pthread_mutex_lock(&b->lock);
    if (lc_db_i64(b->catalog, 0, "SELECT 1 FROM jobs WHERE project = ? AND job_id = ?", "ss",
                  project, job_id)) {
        lc_fail(r, 409, "duplicate", "Already Exists: Job %s:%s.%s", project, place, job_id);
    } else {
        fill_resource(r, project, job_id, place, kind, body);
        char *text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(17));
        lc_db_run(
            b->catalog,
            "INSERT INTO jobs(project, job_id, kind, state, target, body) VALUES(?, ?, ?, ?, ?, ?)",
            "ssisss", project, job_id, (int64_t)kind, sync ? "RUNNING" : "PENDING", target, text);
        free(text);
        *job = (struct lc_job){sqlite3_last_insert_rowid(b->catalog), lc_strdup(project),
                               lc_strdup(job_id), json_incref(body), NULL};
        if (json_object_size(extra))
            save_extra(b, job->seq, extra);
        pthread_cond_broadcast(&b->wake);
    }
    pthread_mutex_unlock(&b->lock);
    free(target);
    free(place);
    free(job_id);
    return job->seq;
}

static json_t *problem_json(const struct lc_problem *p)
{
    json_t *j = json_pack("{s:s,s:s}", "reason", p->reason, "message", p->message);
    if (*p->location)
        json_object_set_new(j, "location", json_string(p->location));
    return j;
}

void lc_job_end(struct lc_bq *b, struct lc_job *job, const json_t *done, const json_t *warnings,
                const struct lc_problem *p)
{
    json_t *status = json_object_get(job->body, "status");
    json_t *statistics = json_object_get(job->body, "statistics");
    json_t *errors = json_array();
    if (p) {
        json_object_set_new(status, "errorResult", problem_json(p));
        json_array_append_new(errors, problem_json(p));
    }
    for (size_t i = 0; i < json_array_size(warnings) && json_array_size(errors) < ERRORS_MAX; i++)
        json_array_append(errors, json_array_get(warnings, i));
    if (json_array_size(errors))
        json_object_set(status, "errors", errors);
    json_decref(errors);
    if (done)
        json_object_update_recursive(statistics, json_object_get(done, "statistics"));
    lc_json_set_i64(statistics, "endTime", lc_now_us() / 1000);
    pthread_mutex_lock(&b->lock);
    save_state(b, job, "DONE");
    pthread_mutex_unlock(&b->lock);
}

// Oldest pending job of a kind. The caller holds the lock. @return false when there is none.
static bool take_pending(struct lc_bq *b, enum lc_job_kind kind, struct lc_job *job)
{
    sqlite3_stmt *st = lc_db_query(
        b->catalog,
        "SELECT seq, project, job_id, body, (SELECT body FROM job_extra WHERE seq = jobs.seq) "
        "FROM jobs WHERE kind = ? AND state = 'PENDING' "
        "ORDER BY seq LIMIT 1",
        "i", (int64_t)kind);
    bool found = sqlite3_step(st) == SQLITE_ROW;
    if (found)
        *job = (struct lc_job){sqlite3_column_int64(st, 0), lc_strdup(lc_db_text(st, 1)),
                               lc_strdup(lc_db_text(st, 2)), json_loads(lc_db_text(st, 3), 0, NULL),
                               json_loads(lc_db_text(st, 4), 0, NULL)};
    sqlite3_finalize(st);
    return found;
}

// Removes what only the run of the job needed.
static void drop_extra(struct lc_bq *b, const struct lc_job *job)
{
    const char *input = lc_json_str(job->extra, "input");
    if (!job->extra)
        return;
    pthread_mutex_lock(&b->lock);
    lc_db_run(b->catalog, "DELETE FROM job_extra WHERE seq = ?", "i", job->seq);
    pthread_mutex_unlock(&b->lock);
    if (input) {
        char *path = lc_format("%s/loads/%s", b->dir, input);
        unlink(path);
        free(path);
    }
}

// A load unless a test wants it to fail.
static bool try_load(struct lc_bq *b, sqlite3 *db, struct lc_job *job, json_t *done,
                     json_t *warnings, struct lc_problem *p)
{
    const char *reason = lc_json_str(job->extra, "job_reason");
    if (reason)
        lc_problem_set(p, 400, reason, "%s", lc_json_str(job->extra, "job_message"));
    return !reason && lc_load_run(b, db, job, done, warnings, p);
}

// Fault: an outputRows that is wrong by some rows.
static void bend_rows(const struct lc_job *job, const json_t *done)
{
    int64_t rows = 0, more = json_integer_value(json_object_get(job->extra, "job_rows"));
    json_t *load = json_object_get(json_object_get(done, "statistics"), "load");
    if (more && lc_json_i64(load, "outputRows", &rows) == 1)
        lc_json_set_i64(load, "outputRows", rows + more);
}

static void run_load(struct lc_bq *b, sqlite3 *db, struct lc_job *job)
{
    struct lc_problem p = {0};
    json_t *warnings = json_array(), *done = NULL;
    sqlite3_stmt *st = lc_db_query(db, "SELECT body FROM done WHERE project = ? AND job_id = ?",
                                   "ss", job->project, job->job_id);
    if (sqlite3_step(st) == SQLITE_ROW)
        done = json_loads(lc_db_text(st, 0), 0, NULL);
    sqlite3_finalize(st);
    bool ok = true;
    if (!done) {
        done = json_object();
        ok = try_load(b, db, job, done, warnings, &p);
    }
    bool interrupted = !ok && atomic_load(&b->cancel_seq) == -1;
    if (ok)
        lc_load_finish(b, job, done);
    bend_rows(job, done);
    if (!interrupted)
        lc_job_end(b, job, done, warnings, ok ? NULL : &p);
    if (!interrupted)
        drop_extra(b, job);
    if (ok)
        lc_db_run(db, "DELETE FROM done WHERE project = ? AND job_id = ?", "ss", job->project,
                  job->job_id);
    json_decref(done);
    json_decref(warnings);
}

static void run_job(struct lc_bq *b, enum lc_job_kind kind, sqlite3 *db, struct lc_job *job)
{
    lc_sleep_ms(b->options.job_delay_ms);
    pthread_mutex_lock(&b->lock);
    bool pending = lc_db_i64(
        b->catalog, 0, "SELECT 1 FROM jobs WHERE seq = ? AND state = 'PENDING'", "i", job->seq);
    if (pending) {
        lc_json_set_i64(json_object_get(job->body, "statistics"), "startTime", lc_now_us() / 1000);
        save_state(b, job, "RUNNING");
    }
    pthread_mutex_unlock(&b->lock);
    if (!pending) // cancelled meanwhile
        return;
    lc_sleep_ms(b->options.job_delay_ms);
    if (kind == LC_JOB_LOAD) {
        run_load(b, db, job);
        return;
    }
    struct lc_problem p = {0};
    json_t *done = json_object();
    bool ok = lc_query_run(b, job, done, &p);
    lc_job_end(b, job, done, NULL, ok ? NULL : &p);
    json_decref(done);
}

static void *job_thread(void *arg)
{
    struct thread_arg a = *(struct thread_arg *)arg;
    struct lc_bq *b = a.b;
    char err[LC_ERROR_BYTES];
    free(arg);
    sqlite3 *db = a.kind == LC_JOB_LOAD ? lc_rows_open(b->dir, err, sizeof err) : NULL;
    for (;;) {
        struct lc_job job = {0};
        pthread_mutex_lock(&b->lock);
        while (!b->stop && !take_pending(b, a.kind, &job))
            pthread_cond_wait(&b->wake, &b->lock);
        bool stop = b->stop;
        pthread_mutex_unlock(&b->lock);
        if (!stop) {
            if (db)
                lc_rows_sweep(b, db);
            run_job(b, a.kind, db, &job);
        }
        lc_job_fini(&job);
        if (stop)
            break;
    }
    sqlite3_close(db);
    return NULL;
}

// Job resource of r's path. The caller holds the lock. Owner: caller. @return NULL after 404.
static json_t *find_job(struct lc_req *r)
{
    sqlite3_stmt *st =
        lc_db_query(r->app->bq->catalog, "SELECT body FROM jobs WHERE project = ? AND job_id = ?",
                    "ss", r->args[0], r->args[1]);
    json_t *body = sqlite3_step(st) == SQLITE_ROW ? json_loads(lc_db_text(st, 0), 0, NULL) : NULL;
    sqlite3_finalize(st);
    const char *want = lc_param(r, "location");
    const char *have = lc_json_str(json_object_get(body, "jobReference"), "location");
    bool multi_region = have && (strcasecmp(have, "US") == 0 || strcasecmp(have, "EU") == 0);
    if (body && (want ? strcasecmp(want, have) == 0 : multi_region))
        return body;
    json_decref(body);
    lc_fail(r, 404, "notFound", "Not found: Job %s:%s", r->args[0], r->args[1]);
    return NULL;
}

void lc_job_get(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    pthread_mutex_lock(&b->lock);
    json_t *body = find_job(r);
    pthread_mutex_unlock(&b->lock);
    if (body)
        lc_reply_json(r, 200, body);
}

void lc_job_list(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    const char *max_text = lc_param(r, "maxResults"), *filter = lc_param(r, "stateFilter"),
               *token = lc_param(r, "pageToken");
    int64_t max = 50, before = INT64_MAX;
    if ((max_text && (!lc_parse_i64(max_text, &max) || max < 1)) ||
        (token && *token && !lc_parse_i64(token, &before))) {
        lc_fail(r, 400, "invalid", "Invalid maxResults or pageToken");
        return;
    }
    json_t *list = json_array(),
           *out = json_pack("{s:s,s:s}", "kind", "bigquery#jobList", "etag", "list");
    pthread_mutex_lock(&b->lock);
    sqlite3_stmt *st = lc_db_query(
        b->catalog,
        "SELECT seq, body FROM jobs WHERE project = ? AND seq < ? AND (? IS NULL OR state = "
        "upper(?3)) ORDER BY seq DESC",
        "sis", r->args[0], before, filter);
    int64_t last = 0;
    while (sqlite3_step(st) == SQLITE_ROW) {
        if ((int64_t)json_array_size(list) == max) {
            lc_json_set_i64(out, "nextPageToken", last);
            break;
        }
        json_t *job = json_loads(lc_db_text(st, 1), 0, NULL);
        json_object_set(job, "state", json_object_get(json_object_get(job, "status"), "state"));
        json_array_append_new(list, job);
        last = sqlite3_column_int64(st, 0);
    }
    sqlite3_finalize(st);
    pthread_mutex_unlock(&b->lock);
    json_object_set_new(out, "jobs", list);
    lc_reply_json(r, 200, out);
}

void lc_job_cancel(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    pthread_mutex_lock(&b->lock);
    json_t *body = find_job(r);
    struct lc_job job = {.body = body};
    if (body) {
        job.seq = lc_db_i64(b->catalog, 0, "SELECT seq FROM jobs WHERE project = ? AND job_id = ?",
                            "ss", r->args[0], r->args[1]);
        const char *state = lc_json_str(json_object_get(body, "status"), "state");
        if (strcmp(state, "PENDING") == 0) {
            json_t *why = json_pack("{s:s,s:s}", "reason", "stopped", "message",
                                    "Job execution was cancelled: User requested cancellation");
            json_object_set_new(json_object_get(body, "status"), "errors", json_pack("[O]", why));
            json_object_set_new(json_object_get(body, "status"), "errorResult", why);
            save_state(b, &job, "DONE");
        } else if (strcmp(state, "RUNNING") == 0) {
            atomic_store(&b->cancel_seq, job.seq);
        }
        lc_reply_json(r, 200,
                      json_pack("{s:s,s:O}", "kind", "bigquery#jobCancelResponse", "job", body));
    }
    pthread_mutex_unlock(&b->lock);
    json_decref(body);
}
