/*
 * COLD. The answer to an insertAll request, taken apart strictly. It comes from outside: everything
 * may be missing, of another type, or contradict itself, and then none of it is used.
 */
#include <stdio.h>

#include "sinks/bigquery/bq_insert.h"
#include "sinks/engine/answer.h"

#define ANSWER_KIND "bigquery#tableDataInsertAllResponse"

/* Row reasons that pass: the same row may be taken later. */
static bool reason_passes(struct json_value reason)
{
    static const char *const passing[] = {
        "stopped",           "timeout",       "backendError",     "internalError",
        "rateLimitExceeded", "quotaExceeded", "tableUnavailable",
    };

    ASSERT(reason.type == JSON_STRING);
    for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
        if (answer_value_equals(reason, passing[i]))
            return true;
    }
    return false;
}

/* What one entry of insertErrors says. */
struct row_error {
    uint32_t index;
    uint8_t verdict;
    struct json_value error; /* that refuses it */
};

static const char *errors_read(struct json_value list, struct row_error *out)
{
    struct json_walk w;
    struct json_value error, reason;
    uint32_t n = 0;

    if (list.type != JSON_ARRAY)
        return "an entry of insertErrors without a list of errors";
    out->verdict = BQ_ROW_AGAIN;
    json_walk_init(&w, list);
    for (; json_walk_element(&w, &error); n++) {
        if (error.type != JSON_OBJECT || !answer_find(error, "reason", &reason) ||
            reason.type != JSON_STRING || reason.len <= 2)
            return "an error of a row without a reason";
        if (out->verdict == BQ_ROW_AGAIN && !reason_passes(reason)) {
            out->verdict = BQ_ROW_REFUSED;
            out->error = error;
        }
    }
    return n > 0 ? NULL : "an entry of insertErrors with no error";
}

static const char *entry_read(struct json_value entry, uint32_t n_rows, struct row_error *out)
{
    struct json_value list;
    int64_t index;

    ASSERT(out != NULL);
    *out = (struct row_error){0};
    if (entry.type != JSON_OBJECT || !answer_int64(entry, "index", &index))
        return "an entry of insertErrors without an index";
    if (index < 0 || index >= (int64_t)n_rows)
        return "an index that no row of the request has";
    out->index = (uint32_t)index;
    if (!answer_find(entry, "errors", &list))
        return "an entry of insertErrors without a list of errors";
    return errors_read(list, out);
}

/* "reason at location: message" */
static void error_text(struct json_value error, char *out)
{
    char reason[64], location[128], message[REASON_TEXT_BYTES - 256];
    struct json_value v;

    ASSERT(out != NULL);
    reason[0] = location[0] = message[0] = '\0';
    if (answer_find(error, "reason", &v))
        (void)answer_copy(v, reason, sizeof(reason));
    if (answer_find(error, "location", &v))
        (void)answer_copy(v, location, sizeof(location));
    if (answer_find(error, "message", &v))
        (void)answer_copy(v, message, sizeof(message));
    snprintf(out, REASON_TEXT_BYTES, "%s%s%s: %s", reason, location[0] != '\0' ? " at " : "",
             location, message);
}

/* The list of insertErrors; ABSENT when all rows are in. @return NULL, or what is wrong. */
static const char *list_find(struct span answer, struct json_value *out)
{
    struct json_value root;

    *out = (struct json_value){.type = JSON_ABSENT};
    if (!answer_object(answer, &root) || !answer_equals(root, "kind", ANSWER_KIND))
        return "the answer is no " ANSWER_KIND;
    if (json_find(root, span_of("insertErrors"), out) && out->type != JSON_ARRAY)
        return "insertErrors is no list";
    return NULL;
}

const char *bq_insert_read(struct span answer, uint32_t n_rows, uint8_t *verdict,
                           void (*refused)(void *ctx, uint32_t index, const char *text), void *ctx)
{
    struct json_value list, entry;
    struct row_error e;
    struct json_walk w;
    const char *wrong = list_find(answer, &list);
    char text[REASON_TEXT_BYTES];

    ASSERT(n_rows > 0 && verdict != NULL);
    memset(verdict, BQ_ROW_IN, n_rows);
    if (wrong != NULL || list.type == JSON_ABSENT)
        return wrong;
    json_walk_init(&w, list);
    while (wrong == NULL && json_walk_element(&w, &entry)) {
        wrong = entry_read(entry, n_rows, &e);
        if (wrong == NULL && verdict[e.index] != BQ_ROW_IN)
            wrong = "a row twice in insertErrors";
        if (wrong == NULL)
            verdict[e.index] = e.verdict;
    }
    if (wrong != NULL || refused == NULL)
        return wrong;
    json_walk_init(&w, list); /* the whole answer is good: its texts may be used */
    while (json_walk_element(&w, &entry)) {
        if (entry_read(entry, n_rows, &e) != NULL || e.verdict != BQ_ROW_REFUSED)
            continue;
        error_text(e.error, text);
        refused(ctx, e.index, text);
    }
    return NULL;
}
