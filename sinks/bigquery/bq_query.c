/* COLD. Counts rows by a query for verify, blocking. Thread: control. */
#include <errno.h>
#include <stdio.h>

#include "sinks/bigquery/bq_internal.h"
#include "sinks/engine/answer.h"
#include "sinks/engine/blocking.h"

#define JOB_BYTES 1100
#define POLLS_MAX 60 /* of up to ten seconds each, waited for at the server */
#define WAIT_MS   "10000"

/* A query under way. */
struct query {
    char job[JOB_BYTES];
    char location[BQ_LOCATION_BYTES];
    bool complete;
    uint64_t rows;
};

/* Names go into SQL between backquotes. */
static bool name_plain(const char *name)
{
    ASSERT(name != NULL);
    return name[0] != '\0' && strpbrk(name, "`\\\r\n") == NULL;
}

static void query_json(struct text *t, const struct bq_config *config, const char *table)
{
    struct text sql = {0};

    ASSERT(table != NULL);
    text_adds(&sql, "SELECT COUNT(*) AS n FROM `");
    text_adds(&sql, config->project);
    text_adds(&sql, ".");
    text_adds(&sql, config->dataset);
    text_adds(&sql, ".");
    text_adds(&sql, table);
    text_adds(&sql, "`");
    text_adds(t, "{\"useLegacySql\":false,\"timeoutMs\":" WAIT_MS ",");
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

/* {"jobComplete":true,"rows":[{"f":[{"v":"42"}]}]} */
static bool count_read(struct json_value root, uint64_t *rows)
{
    struct json_value list, cell;
    struct json_walk w;
    int64_t n;

    ASSERT(rows != NULL);
    if (!answer_find(root, "rows", &list) || list.type != JSON_ARRAY)
        return false;
    json_walk_init(&w, list);
    if (!json_walk_element(&w, &cell) || !answer_find(cell, "f", &list) || list.type != JSON_ARRAY)
        return false;
    json_walk_init(&w, list);
    if (!json_walk_element(&w, &cell) || !answer_int64(cell, "v", &n) || n < 0)
        return false;
    *rows = (uint64_t)n;
    return true;
}

static bool query_read(struct query *q, struct span body)
{
    struct json_value root, complete;

    ASSERT(!q->complete);
    if (!answer_object(body, &root) || !answer_find(root, "jobComplete", &complete))
        return false;
    (void)answer_string(root, "jobReference.location", q->location, sizeof(q->location));
    if (complete.type == JSON_TRUE) {
        q->complete = true;
        return count_read(root, &q->rows);
    }
    return answer_string(root, "jobReference.jobId", q->job, sizeof(q->job));
}

static void poll_url(struct text *url, const struct bq_config *config, const struct query *q)
{
    ASSERT(q->job[0] != '\0');
    bq_project_url(url, config);
    text_adds(url, "/queries/");
    text_add_url(url, q->job);
    text_adds(url, "?timeoutMs=" WAIT_MS);
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
        snprintf(error, error_len, "counting rows: %s", why);
        return c == ANSWER_NOT_FOUND ? -ENOENT : -EIO;
    }
    if (!query_read(q, a->body)) {
        snprintf(error, error_len, "counting rows: the answer is no query result");
        return -EBADMSG;
    }
    return 0;
}

static int query_run(struct blocking *b, const struct bq_config *config, const char *table,
                     struct query *q, char *error, size_t error_len)
{
    struct http_answer a;
    struct text json = {0};
    struct text *url = blocking_url(b, "POST");
    enum answer_class c;
    int rc;

    ASSERT(error_len > 0);
    bq_project_url(url, config);
    text_adds(url, "/queries");
    query_json(&json, config, table);
    c = blocking_call(b, &json, &a);
    text_fini(&json);
    rc = query_step(q, c, &a, error, error_len);
    for (int polls = 0; rc == 0 && !q->complete; polls++) {
        if (polls == POLLS_MAX) {
            snprintf(error, error_len, "counting rows: no result after ten minutes");
            return -ETIMEDOUT;
        }
        poll_url(blocking_url(b, "GET"), config, q);
        c = blocking_call(b, NULL, &a);
        rc = query_step(q, c, &a, error, error_len);
    }
    return rc;
}

int bq_count_rows(const struct bq_config *config, struct auth *auth, const char *table,
                  uint64_t *rows, char *error, size_t error_len)
{
    struct query q = {.complete = false};
    struct blocking *b;
    int rc;

    ASSERT(rows != NULL && error_len > 0);
    error[0] = '\0';
    if (!name_plain(config->project) || !name_plain(config->dataset) || !name_plain(table)) {
        snprintf(error, error_len, "counting rows: a name that cannot stand in SQL: %s", table);
        return -EINVAL;
    }
    rc = blocking_create(auth_for(auth, config->endpoint), config->user_project, &b);
    if (rc != 0) {
        snprintf(error, error_len, "counting rows: %s", strerror(-rc));
        return rc;
    }
    rc = query_run(b, config, table, &q, error, error_len);
    blocking_destroy(b);
    if (rc == 0)
        *rows = q.rows;
    return rc;
}
