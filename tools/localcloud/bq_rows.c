// Role: the row tables of bigquery.db, and rows as the API answers them.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq_internal.h"

enum { PAGE_ROWS_MAX = 100000, PAGE_ROWS = 10000 };

static const char rows_schema[] = "CREATE TABLE IF NOT EXISTS counts(table_id INTEGER PRIMARY KEY, "
                                  "rows INTEGER NOT NULL, bytes INTEGER NOT NULL);"
                                  "CREATE TABLE IF NOT EXISTS done(project TEXT NOT NULL, job_id "
                                  "TEXT NOT NULL, body TEXT NOT NULL,"
                                  " PRIMARY KEY(project, job_id)) WITHOUT ROWID;"
                                  "CREATE TABLE IF NOT EXISTS insert_ids(table_id INTEGER NOT NULL,"
                                  " insert_id TEXT NOT NULL, at_ms INTEGER NOT NULL,"
                                  " PRIMARY KEY(table_id, insert_id)) WITHOUT ROWID;"
                                  "CREATE INDEX IF NOT EXISTS insert_ids_at ON insert_ids(at_ms);";

sqlite3 *lc_rows_open(const char *dir, char *err, size_t err_size)
{
    sqlite3 *db = lc_db_open(dir, "bigquery.db", rows_schema, err, err_size);
    if (db)
        lc_db_exec(db, "PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=4000");
    return db;
}

void lc_rows_quote(struct lc_buf *sql, const char *name)
{
    lc_buf_str(sql, "\"");
    for (const char *s = name; *s; s++) {
        if (*s == '"')
            lc_buf_str(sql, "\"");
        lc_buf_add(sql, s, 1);
    }
    lc_buf_str(sql, "\"");
}

sqlite3_stmt *lc_rows_insert(sqlite3 *db, int64_t id, const struct lc_schema *s)
{
    struct lc_buf sql = {0};
    lc_buf_fmt(&sql, "INSERT INTO t%lld(", (long long)id);
    for (size_t i = 0; i < s->count; i++) {
        lc_buf_str(&sql, i ? "," : "");
        lc_rows_quote(&sql, s->fields[i].name);
    }
    lc_buf_str(&sql, ") VALUES(");
    for (size_t i = 0; i < s->count; i++)
        lc_buf_str(&sql, i ? ",?" : "?");
    lc_buf_str(&sql, ")");
    sqlite3_stmt *st = lc_db_query(db, sql.p, "");
    lc_buf_free(&sql);
    return st;
}

bool lc_rows_count(sqlite3 *db, int64_t id, int64_t rows, int64_t bytes)
{
    return lc_db_run(db,
                     "INSERT INTO counts(table_id, rows, bytes) VALUES(?1, ?2, ?3) ON "
                     "CONFLICT(table_id) DO UPDATE SET rows = rows + ?2, bytes = bytes + ?3",
                     "iii", id, rows, bytes);
}

bool lc_rows_exists(sqlite3 *db, int64_t id)
{
    char *name = lc_format("t%lld", (long long)id);
    bool found = lc_db_i64(db, 0, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
                           "s", name);
    free(name);
    return found;
}

bool lc_rows_has_column(sqlite3 *db, int64_t id, const char *column)
{
    char *name = lc_format("t%lld", (long long)id);
    bool found =
        lc_db_i64(db, 0, "SELECT 1 FROM pragma_table_info(?) WHERE name = ? COLLATE NOCASE", "ss",
                  name, column);
    free(name);
    return found;
}

bool lc_rows_ensure(sqlite3 *db, int64_t id, const struct lc_schema *s)
{
    struct lc_buf sql = {0};
    bool ok = true;
    if (!lc_rows_exists(db, id)) {
        lc_buf_fmt(&sql, "CREATE TABLE t%lld(" LC_ROW_COLUMN " INTEGER PRIMARY KEY", (long long)id);
        for (size_t i = 0; i < s->count; i++) {
            lc_buf_str(&sql, ", ");
            lc_rows_quote(&sql, s->fields[i].name);
        }
        lc_buf_str(&sql, ")");
        ok = lc_db_exec(db, sql.p);
        lc_buf_free(&sql);
        return ok;
    }
    for (size_t i = 0; i < s->count && ok; i++) {
        if (lc_rows_has_column(db, id, s->fields[i].name))
            continue;
        lc_buf_fmt(&sql, "ALTER TABLE t%lld ADD COLUMN ", (long long)id);
        lc_rows_quote(&sql, s->fields[i].name);
        ok = lc_db_exec(db, sql.p);
        lc_buf_free(&sql);
    }
    return ok;
}

void lc_rows_sweep(struct lc_bq *b, sqlite3 *db)
{
    struct lc_buf sql = {0};
    if (lc_db_i64(db, 0, "SELECT 1 FROM done LIMIT 1",
                  "")) // its table may not be in the catalog yet
        return;
    sqlite3_stmt *st = lc_db_query(
        db,
        "SELECT substr(name, 2) FROM sqlite_master WHERE type = 'table' AND name GLOB 't[0-9]*'",
        "");
    pthread_mutex_lock(&b->lock);
    while (sqlite3_step(st) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(st, 0);
        if (!lc_db_i64(b->catalog, 0, "SELECT 1 FROM tables WHERE id = ?", "i", id))
            lc_buf_fmt(&sql, "DROP TABLE t%lld; DELETE FROM counts WHERE table_id = %lld;",
                       (long long)id, (long long)id);
    }
    pthread_mutex_unlock(&b->lock);
    sqlite3_finalize(st);
    if (sql.n)
        lc_db_exec(db, sql.p);
    lc_buf_free(&sql);
}

static json_t *render_json_value(const struct lc_field *f, const json_t *v, bool element);

static json_t *render_record(const struct lc_schema *s, const json_t *v)
{
    json_t *cells = json_array();
    for (size_t i = 0; i < s->count; i++) {
        const struct lc_field *f = &s->fields[i];
        json_array_append_new(
            cells,
            json_pack("{s:o}", "v", render_json_value(f, json_object_get(v, f->name), false)));
    }
    return json_pack("{s:o}", "f", cells);
}

static json_t *render_array(const struct lc_field *f, const json_t *v)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(v); i++)
        json_array_append_new(
            list, json_pack("{s:o}", "v", render_json_value(f, json_array_get(v, i), true)));
    return list;
}

// A value inside a RECORD or REPEATED column, as stored there.
static json_t *render_json_value(const struct lc_field *f, const json_t *v, bool element)
{
    char text[40];
    if (f->mode == LC_REPEATED && !element)
        return render_array(f, v);
    if (f->type == LC_JSON && v) {
        char *json = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
        json_t *out = json_string(json ? json : "null");
        free(json);
        return out;
    }
    if (!v || json_is_null(v))
        return json_null();
    if (f->type == LC_RECORD)
        return render_record(&f->sub, v);
    if (json_is_boolean(v))
        return json_string(json_is_true(v) ? "true" : "false");
    if (json_is_integer(v))
        return json_sprintf("%lld", (long long)json_integer_value(v));
    if (json_is_real(v))
        return json_string(lc_double_text(json_real_value(v), text));
    return json_incref((json_t *)v);
}

static json_t *render_nested(const struct lc_field *f, sqlite3_stmt *st, int column)
{
    json_t *v = sqlite3_column_type(st, column) == SQLITE_NULL
                    ? NULL
                    : json_loads(lc_db_text(st, column), JSON_DECODE_ANY, NULL);
    json_t *out = render_json_value(f, v, false);
    json_decref(v);
    return out;
}

static json_t *render_cell(const struct lc_field *f, sqlite3_stmt *st, int column)
{
    char text[40];
    if (f->mode == LC_REPEATED || f->type == LC_RECORD)
        return render_nested(f, st, column);
    int stored = sqlite3_column_type(st, column);
    if (stored == SQLITE_NULL)
        return json_null();
    if (f->type == LC_BOOLEAN)
        return json_string(sqlite3_column_int64(st, column) ? "true" : "false");
    if (f->type == LC_FLOAT && stored != SQLITE_TEXT)
        return json_string(lc_double_text(sqlite3_column_double(st, column), text));
    if (stored == SQLITE_FLOAT && f->type != LC_INTEGER && f->type != LC_TIMESTAMP) {
        lc_double_text(sqlite3_column_double(st, column), text);
        size_t n = strlen(text);
        if (n > 2 && strcmp(text + n - 2, ".0") == 0)
            text[n - 2] = 0;
        return json_string(text);
    }
    const char *value = lc_db_text(st, column);
    return json_stringn(value, (size_t)sqlite3_column_bytes(st, column));
}

json_t *lc_rows_render(sqlite3_stmt *st, const struct lc_schema *s)
{
    json_t *cells = json_array();
    for (size_t i = 0; i < s->count; i++) {
        json_t *v = render_cell(&s->fields[i], st, (int)i);
        json_array_append_new(cells, json_pack("{s:o}", "v", v ? v : json_null()));
    }
    return json_pack("{s:o}", "f", cells);
}

// Microseconds as seconds in scientific form, exact: 1700000000123456 is 1.700000000123456E9.
static json_t *seconds_text(const char *us_text)
{
    int64_t us;
    char digits[24];
    if (!lc_parse_i64(us_text, &us))
        return json_string(us_text);
    if (us == 0)
        return json_string("0.0");
    snprintf(digits, sizeof digits, "%llu",
             us < 0 ? 0ull - (unsigned long long)us : (unsigned long long)us);
    int exponent = (int)strlen(digits) - 7;
    size_t n = strlen(digits);
    while (n > 2 && digits[n - 1] == '0')
        digits[--n] = 0;
    return json_sprintf("%s%c.%sE%d", us < 0 ? "-" : "", digits[0], n > 1 ? digits + 1 : "0",
                        exponent);
}

static void fix_value(json_t *holder, const struct lc_field *f, bool element)
{
    json_t *v = json_object_get(holder, "v");
    if (!v || json_is_null(v))
        return;
    if (f->mode == LC_REPEATED && !element) {
        for (size_t i = 0; i < json_array_size(v); i++)
            fix_value(json_array_get(v, i), f, true);
    } else if (f->type == LC_RECORD) {
        lc_rows_timestamps_to_seconds(v, &f->sub);
    } else if (f->type == LC_TIMESTAMP) {
        json_object_set_new(holder, "v", seconds_text(json_string_value(v)));
    }
}

void lc_rows_timestamps_to_seconds(json_t *row, const struct lc_schema *s)
{
    json_t *cells = json_object_get(row, "f");
    for (size_t i = 0; i < s->count; i++)
        fix_value(json_array_get(cells, i), &s->fields[i], false);
}

bool lc_wants_int64_timestamps(const struct lc_req *r, const json_t *body)
{
    const char *text = lc_param(r, "formatOptions.useInt64Timestamp");
    return (text && strcmp(text, "true") == 0) ||
           json_is_true(
               json_object_get(json_object_get(body, "formatOptions"), "useInt64Timestamp"));
}

// Statement for a page of a table's rows after row `from`. @return NULL when it has no rows yet.
static sqlite3_stmt *page_query(sqlite3 *db, const struct lc_table *t, int64_t from, int64_t skip)
{
    struct lc_buf sql = {0};
    sqlite3_stmt *st = NULL;
    if (!lc_rows_exists(db, t->id))
        return NULL;
    lc_buf_str(&sql, "SELECT ");
    for (size_t i = 0; i < t->schema.count; i++) {
        if (lc_rows_has_column(db, t->id, t->schema.fields[i].name))
            lc_rows_quote(&sql, t->schema.fields[i].name);
        else
            lc_buf_str(&sql, "NULL");
        lc_buf_str(&sql, ", ");
    }
    lc_buf_fmt(&sql,
               LC_ROW_COLUMN " FROM t%lld WHERE " LC_ROW_COLUMN " > %lld ORDER BY " LC_ROW_COLUMN
                             " LIMIT -1 OFFSET %lld",
               (long long)t->id, (long long)from, (long long)skip);
    st = lc_db_query(db, sql.p, "");
    lc_buf_free(&sql);
    return st;
}

static void list_rows(struct lc_req *r, const struct lc_table *t, int64_t max, int64_t from,
                      int64_t skip)
{
    sqlite3 *db = lc_db_open_readonly(r->app->data_dir, "bigquery.db");
    sqlite3_stmt *st = db ? page_query(db, t, from, skip) : NULL;
    json_t *rows = json_array();
    json_t *out = json_pack("{s:s,s:s}", "kind", "bigquery#tableDataList", "etag", "data");
    bool int64_form = lc_wants_int64_timestamps(r, NULL);
    int64_t last = from;
    int64_t total =
        db ? lc_db_i64(db, 0, "SELECT rows FROM counts WHERE table_id = ?", "i", t->id) : 0;
    while (st && sqlite3_step(st) == SQLITE_ROW) {
        if ((int64_t)json_array_size(rows) == max) {
            char *token = lc_format("%lld", (long long)last);
            json_object_set_new(out, "pageToken", json_string(token));
            free(token);
            break;
        }
        json_t *row = lc_rows_render(st, &t->schema);
        if (!int64_form)
            lc_rows_timestamps_to_seconds(row, &t->schema);
        json_array_append_new(rows, row);
        last = sqlite3_column_int64(st, (int)t->schema.count);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    lc_json_set_i64(out, "totalRows", total);
    if (json_array_size(rows))
        json_object_set(out, "rows", rows);
    json_decref(rows);
    lc_reply_json(r, 200, out);
}

void lc_tabledata_list(struct lc_req *r)
{
    struct lc_bq *b = r->app->bq;
    struct lc_table t = {0};
    const char *max_text = lc_param(r, "maxResults"), *token = lc_param(r, "pageToken");
    const char *start = lc_param(r, "startIndex");
    int64_t max = PAGE_ROWS, from = 0, skip = 0;
    bool ok = (!max_text || lc_parse_i64(max_text, &max)) &&
              (!token || !*token || lc_parse_i64(token, &from)) &&
              (!start || lc_parse_i64(start, &skip));
    if (!ok || max < 0 || max > PAGE_ROWS_MAX || from < 0 || skip < 0) {
        lc_fail(r, 400, "invalid", "Invalid maxResults, startIndex or pageToken");
        return;
    }
    pthread_mutex_lock(&b->lock);
    bool found = lc_catalog_table(b, r->args[0], r->args[1], r->args[2], &t);
    pthread_mutex_unlock(&b->lock);
    if (found)
        list_rows(r, &t, max, from, skip);
    else
        lc_fail(r, 404, "notFound", "Not found: Table %s:%s.%s", r->args[0], r->args[1],
                r->args[2]);
    lc_table_fini(&t);
}
