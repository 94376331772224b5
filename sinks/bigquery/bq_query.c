/* COLD. Queries for verify, blocking: a table's rows counted, or some columns of them. Thread: control. */
#include <errno.h>
#include <stdio.h>

#include "sinks/bigquery/bq_internal.h"
#include "sinks/engine/answer.h"
#include "sinks/engine/blocking.h"

#define JOB_BYTES   1100
#define TOKEN_BYTES 2048
#define CELL_BYTES  512
#define POLLS_MAX   60 /* of up to ten seconds each, waited for at the server */
#define WAIT_MS     "10000"
#define PAGE_ROWS   "10000" /* of short values: far below the longest answer */

/* A query under way. */
struct query {
    const struct bq_query *what;
    char job[JOB_BYTES];
    char location[BQ_LOCATION_BYTES];
    char page[TOKEN_BYTES]; /* of the next page, or "" */
    bool complete;          /* the last answer held rows */
    bool stopped;           /* by the visitor */
};

/* Names go into SQL between backquotes. */
static bool name_plain(const char *name)
{
    ASSERT(name != NULL);
    return name[0] != '\0' && strpbrk(name, "`\\\r\n") == NULL;
}

static void query_json(struct text *t, const struct bq_config *config, const struct bq_query *what)
{
    struct text sql = {0};

    ASSERT(what->select != NULL && what->rest != NULL);
    text_adds(&sql, "SELECT ");
    text_adds(&sql, what->select);
    text_adds(&sql, " FROM `");
    text_adds(&sql, config->project);
    text_adds(&sql, ".");
    text_adds(&sql, config->dataset);
    text_adds(&sql, ".");
    text_adds(&sql, what->table);
    text_adds(&sql, "`");
    text_adds(&sql, what->rest);
    text_adds(t, "{\"useLegacySql\":false,\"timeoutMs\":" WAIT_MS ",\"maxResults\":" PAGE_ROWS ",");
    if (config->location != NULL && config->location[0] != '\0') {
        text_adds(t, "\"location\":");
        text_add_json(t, config->location);
        text_adds(t, ",");
    }
    text_adds(t, "\"query\":");
    text_add_json(t, sql.ptr != NULL ? sql.ptr : "");
    text_adds(t, "}");
    if (text_failed(&sql))
        t->_failed = true; /* half a query must not go out */
    text_fini(&sql);
}

/* {"f":[{"v":"42"},{"v":null}]} @return false when it is no such thing. */
static bool row_read(struct query *q, struct json_value row)
{
    char text[BQ_CELLS_MAX][CELL_BYTES];
    struct span cell[BQ_CELLS_MAX];
    struct json_value list, item, v;
    struct json_walk w;
    uint32_t n = 0;

    if (!answer_find(row, "f", &list) || list.type != JSON_ARRAY)
        return false;
    json_walk_init(&w, list);
    while (json_walk_element(&w, &item)) {
        if (n == BQ_CELLS_MAX)
            return false;
        text[n][0] = '\0';
        if (answer_find(item, "v", &v) && !answer_copy(v, text[n], CELL_BYTES))
            return false;
        cell[n] = span_of(text[n]);
        n++;
    }
    ASSERT(!q->stopped);
    if (n == 0)
        return false;
    q->stopped = !q->what->row(q->what->ctx, cell, n);
    return true;
}

/* {"jobComplete":true,"rows":[...]}; without rows: none. */
static bool rows_read(struct query *q, struct json_value root)
{
    struct json_value list, row;
    struct json_walk w;

    ASSERT(q->complete);
    if (!answer_find(root, "rows", &list))
        return true;
    if (list.type != JSON_ARRAY)
        return false;
    json_walk_init(&w, list);
    while (!q->stopped && json_walk_element(&w, &row)) {
        if (!row_read(q, row))
            return false;
    }
    return true;
}

static bool query_read(struct query *q, struct span body)
{
    struct json_value root, complete, token;

    ASSERT(!q->stopped);
    q->page[0] = '\0';
    if (!answer_object(body, &root) || !answer_find(root, "jobComplete", &complete))
        return false;
    (void)answer_string(root, "jobReference.location", q->location, sizeof(q->location));
    (void)answer_string(root, "jobReference.jobId", q->job, sizeof(q->job));
    q->complete = complete.type == JSON_TRUE;
    if (!q->complete)
        return q->job[0] != '\0';
    if (answer_find(root, "pageToken", &token) &&
        (!answer_copy(token, q->page, sizeof(q->page)) || q->job[0] == '\0'))
        return false;
    return rows_read(q, root);
}

static void poll_url(struct text *url, const struct bq_config *config, const struct query *q)
{
    ASSERT(q->job[0] != '\0');
    bq_project_url(url, config);
    text_adds(url, "/queries/");
    text_add_url(url, q->job);
    text_adds(url, "?timeoutMs=" WAIT_MS "&maxResults=" PAGE_ROWS);
    if (q->page[0] != '\0') {
        text_adds(url, "&pageToken=");
        text_add_url(url, q->page);
    }
    if (q->location[0] != '\0') {
        text_adds(url, "&location=");
        text_add_url(url, q->location);
    }
}

/* Takes one answer of the query. */
static int query_step(struct query *q, enum answer_class c, const struct http_answer *a,
                      char *error, size_t error_len)
{
    char why[REASON_TEXT_BYTES];

    ASSERT(error_len > 0);
    if (c != ANSWER_OK) {
        answer_describe(a, why);
        snprintf(error, error_len, "asking for rows: %s", why);
        return c == ANSWER_NOT_FOUND ? -ENOENT : a->status == 400 ? -EINVAL : -EIO;
    }
    if (!query_read(q, a->body)) {
        snprintf(error, error_len, "asking for rows: the answer is no query result");
        return -EBADMSG;
    }
    return 0;
}

static int query_pages(struct blocking *b, const struct bq_config *config, struct query *q,
                       char *error, size_t error_len)
{
    struct http_answer a;
    struct text json = {0};
    struct text *url = blocking_url(b, "POST");
    enum answer_class c;
    int rc;

    ASSERT(error_len > 0);
    bq_project_url(url, config);
    text_adds(url, "/queries");
    query_json(&json, config, q->what);
    c = blocking_call(b, &json, &a);
    text_fini(&json);
    rc = query_step(q, c, &a, error, error_len);
    for (int polls = 0; rc == 0 && !q->stopped && (!q->complete || q->page[0] != '\0');) {
        if (!q->complete && polls++ == POLLS_MAX) {
            snprintf(error, error_len, "asking for rows: no result after ten minutes");
            return -ETIMEDOUT;
        }
        poll_url(blocking_url(b, "GET"), config, q);
        c = blocking_call(b, NULL, &a);
        rc = query_step(q, c, &a, error, error_len);
    }
    return rc;
}

int bq_query_run(const struct bq_config *config, struct auth *auth, const struct bq_query *query,
                 char *error, size_t error_len)
{
    struct query q = {.what = query};
    struct blocking *b;
    int rc;

    ASSERT(query->row != NULL && error_len > 0);
    error[0] = '\0';
    if (!name_plain(config->project) || !name_plain(config->dataset) || !name_plain(query->table)) {
        snprintf(error, error_len, "asking for rows: a name that cannot stand in SQL: %s",
                 query->table);
        return -EINVAL;
    }
    rc = blocking_create(auth_for(auth, config->endpoint), config->user_project, &b);
    if (rc != 0) {
        snprintf(error, error_len, "asking for rows: %s", strerror(-rc));
        return rc;
    }
    rc = query_pages(b, config, &q, error, error_len);
    blocking_destroy(b);
    return rc;
}

/* What a count is made of. */
struct count {
    uint64_t rows;
    bool read;
};

static bool count_row(void *ctx, const struct span *cell, uint32_t n_cells)
{
    struct count *c = ctx;
    int64_t n;

    ASSERT(n_cells > 0);
    c->read = json_int64(cell[0], &n) == 0 && n >= 0;
    c->rows = c->read ? (uint64_t)n : 0;
    return false;
}

int bq_count_rows(const struct bq_config *config, struct auth *auth, const char *table,
                  uint64_t *rows, char *error, size_t error_len)
{
    struct count c = {0};
    const struct bq_query query = {
        .select = "COUNT(*) AS n", .table = table, .rest = "", .row = count_row, .ctx = &c};
    int rc = bq_query_run(config, auth, &query, error, error_len);

    ASSERT(rows != NULL);
    if (rc == 0 && !c.read) {
        snprintf(error, error_len, "asking for rows: the answer is no query result");
        return -EBADMSG;
    }
    if (rc == 0)
        *rows = c.rows;
    return rc;
}
