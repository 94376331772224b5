// Role: tabledata.insertAll. All rows of a request are checked and stored in one transaction;
// insertIds are kept in the same one for about a minute, so a repeated request adds nothing.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq_internal.h"
#include "tools/localcloud/bq_time.h"
#include "tools/localcloud/bq_value.h"
#include "tools/localcloud/fault.h"

enum {
    REQUEST_BYTES_MAX = 10 << 20,
    ROWS_MAX = 50000,
    INSERT_ID_BYTES_MAX = 128,
    TRACE_ID_BYTES_MAX = 36,
    DAYS_BACK_MAX = 3650,
    DAYS_AHEAD_MAX = 366,
};

/** One request while it is worked on. */
struct insert {
    struct lc_bq *b;
    struct lc_table table;
    json_t *rows;
    bool skip_invalid;
    bool faulty;
    struct lc_fault_action fault;
    sqlite3_stmt *row;
    sqlite3_stmt *id;
    struct lc_value_ctx ctx;
    json_t **errors; // by row; NULL: none
    size_t bad;
    int64_t stored;
    int64_t now_ms;
    int64_t today; // days since 1970
};

// Why a request is refused as a whole. @return NULL when it is not.
static const char *check_request(const json_t *body)
{
    static const char *const known[] = {"kind", "skipInvalidRows", "ignoreUnknownValues",
                                        "rows", "templateSuffix",  "traceId"};
    const json_t *rows = json_object_get(body, "rows"), *trace = json_object_get(body, "traceId");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)body, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < LC_ARRAY_LEN(known); i++)
            found = found || strcmp(key, known[i]) == 0;
        bool flag = strcmp(key, "skipInvalidRows") == 0 || strcmp(key, "ignoreUnknownValues") == 0;
        if (!found)
            return "Invalid JSON payload received. Unknown name of a member.";
        if (flag && !json_is_boolean(value))
            return "skipInvalidRows and ignoreUnknownValues are true or false.";
    }
    if (trace && (!json_is_string(trace) || json_string_length(trace) > TRACE_ID_BYTES_MAX))
        return "traceId has at most 36 characters.";
    if (!json_array_size(rows))
        return "No rows present in the request.";
    if (json_array_size(rows) > ROWS_MAX)
        return "too many rows present in the request, limit: 50000";
    return NULL;
}

// The body; integers beyond int64 make all numbers of it real. Owner: caller. @return NULL after
// answering.
static json_t *read_body(struct lc_req *r, bool *ints_as_reals)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_error_t e;
    *ints_as_reals = false;
    if (r->body_too_large || r->body.n > REQUEST_BYTES_MAX) {
        lc_fail(r, 413, "uploadTooLarge",
                "Request payload size exceeds the limit: 10485760 bytes.");
        return NULL;
    }
    json_t *body = json_loadb(r->body.n ? r->body.p : "", r->body.n, flags, &e);
    if (!body && json_error_code(&e) == json_error_numeric_overflow) {
        *ints_as_reals = true;
        body = json_loadb(r->body.p, r->body.n, flags | JSON_DECODE_INT_AS_REAL, &e);
    }
    const char *wrong = !body                   ? e.text
                        : !json_is_object(body) ? "the body is not a JSON object"
                                                : check_request(body);
    if (wrong)
        lc_fail(r, 400, body ? "invalid" : "parseError", "%s", wrong);
    else if (json_object_get(body, "templateSuffix"))
        lc_fail(r, 501, "notImplemented", "localcloud does not serve templateSuffix");
    if (!r->status)
        return body;
    json_decref(body);
    return NULL;
}

// The table, unless it is too new for the streaming path. @return false after answering.
static bool find_table(struct lc_req *r, struct lc_table *t)
{
    struct lc_bq *b = r->app->bq;
    if (strchr(r->args[2], '$')) {
        lc_fail(r, 501, "notImplemented", "localcloud does not stream into partition decorators");
        return false;
    }
    pthread_mutex_lock(&b->lock);
    bool found = lc_catalog_table(b, r->args[0], r->args[1], r->args[2], t);
    pthread_mutex_unlock(&b->lock);
    if (!found || lc_now_us() / 1000 - t->created_ms < b->options.table_delay_ms) {
        lc_fail(r, 404, "notFound", "Not found: Table %s:%s.%s", r->args[0], r->args[1],
                r->args[2]);
        return false;
    }
    if (!t->schema.count) {
        lc_fail(r, 400, "invalid", "The destination table has no schema.");
        return false;
    }
    return true;
}

static json_t *row_error(const char *reason, const char *location, const char *message)
{
    json_t *text = json_string(message); // NULL when a cut split a character
    return json_pack("{s:s,s:s,s:s,s:o}", "reason", reason, "location", location, "debugInfo", "",
                     "message", text ? text : json_string("invalid row"));
}

// @return NULL, or what is wrong with the row's envelope.
static const char *check_envelope(const json_t *row)
{
    const json_t *id = json_object_get(row, "insertId");
    const char *key;
    json_t *value;
    if (!json_is_object(row) || !json_is_object(json_object_get(row, "json")))
        return "A row needs a member json that is an object.";
    json_object_foreach((json_t *)row, key, value) if (strcmp(key, "insertId") != 0 &&
                                                       strcmp(key, "json") != 0) return "A row has "
                                                                                        "insertId "
                                                                                        "and json "
                                                                                        "only.";
    if (id && (!json_is_string(id) || json_string_length(id) > INSERT_ID_BYTES_MAX))
        return "insertId is a string of at most 128 characters.";
    return NULL;
}

static bool fault_hits(const struct insert *w, size_t index, const json_t *row)
{
    if (!w->faulty || index % (size_t)w->fault.row_every)
        return false;
    if (!*w->fault.row_contains)
        return true;
    char *text = json_dumps(row, JSON_COMPACT | JSON_ENCODE_ANY);
    bool hit = text && strstr(text, w->fault.row_contains);
    free(text);
    return hit;
}

// Streams take partitions from ten years back to a year ahead. Owner: caller. @return NULL when the
// row's is one.
static json_t *check_partition(const struct insert *w)
{
    if (!w->ctx.partition_param || w->ctx.partition_us == INT64_MIN)
        return NULL;
    int64_t day = lc_floor_div(w->ctx.partition_us, LC_US_PER_DAY);
    if (day >= w->today - DAYS_BACK_MAX && day <= w->today + DAYS_AHEAD_MAX)
        return NULL;
    struct lc_date d = lc_date_from_days(day);
    char *message =
        lc_format("The destination table's partition %s$%04d%02d%02d is outside the "
                  "allowed bounds. You can only stream to partitions within 3650 days "
                  "in the past and 366 days in the future relative to the current date.",
                  w->table.name, (int)d.year, (int)d.month, (int)d.day);
    json_t *error = row_error("invalid", "", message);
    free(message);
    return error;
}

// Checks a row and binds it. Owner: caller. @return NULL, or its error.
static json_t *check_row(struct insert *w, size_t index, const json_t *row)
{
    const char *wrong = check_envelope(row);
    if (wrong)
        return row_error("invalid", "", wrong);
    if (fault_hits(w, index, row))
        return row_error(w->fault.row_reason, "", w->fault.message);
    if (!lc_row_bind(&w->ctx, &w->table.schema, json_object_get(row, "json"), w->row))
        return row_error("invalid", w->ctx.where ? w->ctx.where : "", w->ctx.err);
    return check_partition(w);
}

// Notes the row's insertId. @return false when it was there: the row is a repetition.
static bool note_id(struct insert *w, const json_t *row)
{
    const json_t *id = json_object_get(row, "insertId");
    if (!id || !json_string_length(id))
        return true;
    sqlite3_bind_int64(w->id, 1, w->table.id);
    sqlite3_bind_text(w->id, 2, json_string_value(id), (int)json_string_length(id), SQLITE_STATIC);
    sqlite3_bind_int64(w->id, 3, w->now_ms);
    int rc = sqlite3_step(w->id);
    bool fresh = rc != SQLITE_DONE || sqlite3_changes(w->b->stream) > 0;
    sqlite3_reset(w->id);
    return fresh;
}

// @return false when the database failed.
static bool insert_row(struct insert *w, size_t index)
{
    const json_t *row = json_array_get(w->rows, index);
    uint64_t bytes_before = w->ctx.bytes;
    bool ok = true;
    w->errors[index] = check_row(w, index, row);
    w->bad += w->errors[index] != NULL;
    if (w->errors[index] || (w->bad && !w->skip_invalid) || !note_id(w, row)) {
        w->ctx.bytes = bytes_before;
    } else {
        ok = sqlite3_step(w->row) == SQLITE_DONE;
        w->stored += ok;
    }
    sqlite3_reset(w->row);
    return ok;
}

static bool prepare(struct insert *w)
{
    sqlite3 *db = w->b->stream;
    if (!lc_db_exec(db, "BEGIN IMMEDIATE") || !lc_rows_ensure(db, w->table.id, &w->table.schema) ||
        !lc_db_run(db, "DELETE FROM insert_ids WHERE at_ms <= ?", "i",
                   w->now_ms - w->b->options.dedupe_ms))
        return false;
    w->row = lc_rows_insert(db, w->table.id, &w->table.schema);
    w->id = lc_db_query(
        db, "INSERT OR IGNORE INTO insert_ids(table_id, insert_id, at_ms) VALUES(?, ?, ?)", "");
    return true;
}

// Stores the rows, or nothing. The caller holds the write lock. @return false when the database
// failed.
static bool store(struct insert *w)
{
    sqlite3 *db = w->b->stream;
    bool ok = prepare(w);
    for (size_t i = 0; ok && i < json_array_size(w->rows); i++)
        ok = insert_row(w, i);
    sqlite3_finalize(w->row);
    sqlite3_finalize(w->id);
    bool keep = ok && (!w->bad || w->skip_invalid);
    if (keep)
        ok = lc_rows_count(db, w->table.id, w->stored, (int64_t)w->ctx.bytes) &&
             lc_db_exec(db, "COMMIT");
    if (!sqlite3_get_autocommit(db))
        lc_db_exec(db, "ROLLBACK");
    return ok;
}

static void reply(struct lc_req *r, struct insert *w)
{
    json_t *out = json_pack("{s:s}", "kind", "bigquery#tableDataInsertAllResponse");
    json_t *list = json_array();
    for (size_t i = 0; w->bad && i < json_array_size(w->rows); i++) {
        json_t *error = w->errors[i]      ? json_incref(w->errors[i])
                        : w->skip_invalid ? NULL
                                          : row_error("stopped", "", "");
        if (error)
            json_array_append_new(
                list, json_pack("{s:I,s:[o]}", "index", (json_int_t)i, "errors", error));
    }
    if (json_array_size(list))
        json_object_set(out, "insertErrors", list);
    json_decref(list);
    lc_reply_json(r, 200, out);
}

static void plan(struct lc_req *r, struct insert *w, const json_t *body)
{
    const json_t *partitioning = json_object_get(w->table.body, "timePartitioning");
    const char *name = lc_json_str(partitioning, "field");
    const struct lc_field *f = name ? lc_schema_find(&w->table.schema, name) : NULL;
    w->rows = json_object_get(body, "rows");
    w->skip_invalid = json_is_true(json_object_get(body, "skipInvalidRows"));
    w->ctx.ignore_unknown = json_is_true(json_object_get(body, "ignoreUnknownValues"));
    w->ctx.streaming = true;
    w->ctx.partition_param = f ? (size_t)(f - w->table.schema.fields) + 1 : 0;
    w->now_ms = lc_now_us() / 1000;
    w->today = lc_floor_div(lc_now_us(), LC_US_PER_DAY);
    w->errors = lc_alloc(json_array_size(w->rows) * sizeof *w->errors);
    w->faulty = lc_fault_match_req(r, LC_FAULT_ROWS, &w->fault);
    assert(json_array_size(w->rows) <= ROWS_MAX);
}

void lc_insert_all(struct lc_req *r)
{
    struct insert w = {.b = r->app->bq};
    bool ints_as_reals = false;
    json_t *body = read_body(r, &ints_as_reals);
    if (body && find_table(r, &w.table)) {
        w.ctx.ints_as_reals = ints_as_reals;
        plan(r, &w, body);
        pthread_mutex_lock(&w.b->write_lock);
        bool ok = store(&w);
        pthread_mutex_unlock(&w.b->write_lock);
        if (ok)
            reply(r, &w);
        else
            lc_fail(r, 500, "backendError", "the rows could not be stored: %s",
                    sqlite3_errmsg(w.b->stream));
    }
    for (size_t i = 0; w.errors && i < json_array_size(w.rows); i++)
        json_decref(w.errors[i]);
    free(w.errors);
    lc_value_ctx_fini(&w.ctx);
    lc_table_fini(&w.table);
    json_decref(body);
}
