// Role: datasets and tables as stored; opening and closing of the BigQuery part.
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/bq_internal.h"

void lc_problem_set(struct lc_problem *p, int http, const char *reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p->message, sizeof p->message, fmt, ap);
    va_end(ap);
    size_t n = strlen(p->message);
    while (n && !lc_utf8_valid(p->message, n)) // a cut can split a character
        p->message[--n] = 0;
    p->http = http;
    snprintf(p->reason, sizeof p->reason, "%s", reason);
}

json_t *lc_catalog_dataset(struct lc_bq *b, const char *project, const char *dataset)
{
    sqlite3_stmt *st =
        lc_db_query(b->catalog, "SELECT body FROM datasets WHERE project = ? AND dataset = ?", "ss",
                    project, dataset);
    json_t *body = sqlite3_step(st) == SQLITE_ROW ? json_loads(lc_db_text(st, 0), 0, NULL) : NULL;
    sqlite3_finalize(st);
    return body;
}

static void read_table(sqlite3_stmt *st, struct lc_table *t)
{
    char err[LC_ERROR_BYTES];
    *t = (struct lc_table){
        .id = sqlite3_column_int64(st, 0),
        .project = lc_strdup(lc_db_text(st, 1)),
        .dataset = lc_strdup(lc_db_text(st, 2)),
        .name = lc_strdup(lc_db_text(st, 3)),
        .body = json_loads(lc_db_text(st, 4), 0, NULL),
        .version = sqlite3_column_int64(st, 5),
        .created_ms = sqlite3_column_int64(st, 6),
        .modified_ms = sqlite3_column_int64(st, 7),
    };
    assert(t->body);
    json_t *schema = json_object_get(t->body, "schema");
    if (schema)
        lc_schema_read(schema, &t->schema, err);
}

bool lc_catalog_table(struct lc_bq *b, const char *project, const char *dataset, const char *name,
                      struct lc_table *t)
{
    sqlite3_stmt *st =
        lc_db_query(b->catalog,
                    "SELECT id, project, dataset, name, body, version, created_ms, modified_ms "
                    "FROM tables WHERE project = ? AND dataset = ? AND name = ?",
                    "sss", project, dataset, name);
    bool found = sqlite3_step(st) == SQLITE_ROW;
    *t = (struct lc_table){0};
    if (found)
        read_table(st, t);
    sqlite3_finalize(st);
    int64_t expires = 0;
    if (found && lc_json_i64(t->body, "expirationTime", &expires) == 1 &&
        expires <= lc_now_us() / 1000) {
        lc_catalog_drop_table(b, t->id);
        lc_table_fini(t);
        found = false;
    }
    return found;
}

void lc_table_fini(struct lc_table *t)
{
    free(t->project);
    free(t->dataset);
    free(t->name);
    json_decref(t->body);
    lc_schema_fini(&t->schema);
    *t = (struct lc_table){0};
}

void lc_catalog_save_table(struct lc_bq *b, struct lc_table *t)
{
    char *text = json_dumps(t->body, JSON_COMPACT);
    t->version++;
    t->modified_ms = lc_now_us() / 1000;
    lc_db_run(b->catalog, "UPDATE tables SET body = ?, version = ?, modified_ms = ? WHERE id = ?",
              "siii", text, t->version, t->modified_ms, t->id);
    free(text);
}

int64_t lc_catalog_next_id(struct lc_bq *b)
{
    lc_db_run(b->catalog, "UPDATE next_id SET id = id + 1", "");
    return lc_db_i64(b->catalog, 0, "SELECT id FROM next_id", "");
}

int64_t lc_catalog_add_table(struct lc_bq *b, const char *project, const char *dataset,
                             const char *name, const json_t *body, int64_t id)
{
    char *text = json_dumps(body, JSON_COMPACT);
    int64_t now = lc_now_us() / 1000;
    if (!id)
        id = lc_catalog_next_id(b);
    lc_db_run(
        b->catalog,
        "INSERT INTO tables(id, project, dataset, name, body, version, created_ms, modified_ms) "
        "VALUES(?, ?, ?, ?, ?, 1, ?, ?)",
        "issssii", id, project, dataset, name, text, now, now);
    free(text);
    return id;
}

void lc_catalog_drop_table(struct lc_bq *b, int64_t id)
{
    lc_db_run(b->catalog, "DELETE FROM tables WHERE id = ?", "i", id);
}

void lc_catalog_counts(struct lc_bq *b, int64_t id, int64_t *rows, int64_t *bytes)
{
    sqlite3_stmt *st =
        lc_db_query(b->rows, "SELECT rows, bytes FROM counts WHERE table_id = ?", "i", id);
    bool found = sqlite3_step(st) == SQLITE_ROW;
    *rows = found ? sqlite3_column_int64(st, 0) : 0;
    *bytes = found ? sqlite3_column_int64(st, 1) : 0;
    sqlite3_finalize(st);
}

void lc_bq_stats(struct lc_bq *b, json_t *out)
{
    json_t *jobs = json_object();
    pthread_mutex_lock(&b->lock);
    json_int_t tables = lc_db_i64(b->catalog, 0, "SELECT count(*) FROM tables", "");
    json_int_t rows = lc_db_i64(b->rows, 0, "SELECT coalesce(sum(rows), 0) FROM counts", "");
    sqlite3_stmt *st = lc_db_query(
        b->catalog,
        "SELECT target, count(*) FROM jobs WHERE kind = 0 GROUP BY target ORDER BY target", "");
    while (sqlite3_step(st) == SQLITE_ROW)
        json_object_set_new(jobs, lc_db_text(st, 0), json_integer(sqlite3_column_int64(st, 1)));
    sqlite3_finalize(st);
    pthread_mutex_unlock(&b->lock);
    json_object_set_new(out, "tables", json_integer(tables));
    json_object_set_new(out, "rows", json_integer(rows));
    json_object_set_new(out, "load_jobs_by_table", jobs);
}
