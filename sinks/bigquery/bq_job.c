/* COLD. Reads job resources: state, outcome, and whether a job is the one that we mean. */
#include <stdio.h>
#include <stdlib.h>

#include "sinks/bigquery/bq_internal.h"
#include "sinks/engine/answer.h"

#define REASON_BYTES  64
#define MESSAGE_BYTES 400

static bool reason_transient(const char *reason)
{
    static const char *const list[] = {
        "backendError",     "internalError",     "jobBackendError",
        "jobInternalError", "rateLimitExceeded", "jobRateLimitExceeded",
        "quotaExceeded",    "tableUnavailable",  "timeout"};

    ASSERT(reason != NULL);
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        if (strcmp(reason, list[i]) == 0)
            return true;
    }
    return false;
}

#define MESSAGE_LONG_BYTES 2048

/* A URI of Cloud Storage in a message: up to white space, without the sentence's end. */
static bool uri_in(const char *text, char *out)
{
    const char *at = strstr(text, "gs://");
    size_t len = at != NULL ? strcspn(at, " \t\r\n\"'") : 0;

    ASSERT(out != NULL);
    while (len > 0 && strchr(".,;:)", at[len - 1]) != NULL)
        len--;
    if (len == 0 || len >= BQ_URI_BYTES_MAX)
        return false;
    memcpy(out, at, len);
    out[len] = '\0';
    return true;
}

/* Byte position in "... in row starting at position 123: ...", or -1. */
static int64_t position_in(const char *text)
{
    static const char before[] = "starting at position ";
    const char *at = strstr(text, before);
    size_t digits;
    int64_t n;

    if (at == NULL)
        return -1;
    at += sizeof(before) - 1;
    digits = strspn(at, "0123456789");
    ASSERT(at[digits] < '0' || at[digits] > '9');
    return digits > 0 && json_int64((struct span){at, digits}, &n) == 0 ? n : -1;
}

/* One error: the file that it names, and where in it, unless an earlier one has said so. */
static void refusal_read(struct json_value error, struct bq_refusal *out)
{
    char text[MESSAGE_LONG_BYTES] = "", uri[BQ_URI_BYTES_MAX] = "";
    struct json_value value;

    ASSERT(out->position >= -1);
    if (error.type != JSON_OBJECT)
        return;
    if (answer_find(error, "location", &value) && answer_copy(value, text, sizeof(text)))
        (void)uri_in(text, uri);
    text[0] = '\0';
    if (answer_find(error, "message", &value))
        (void)answer_copy(value, text, sizeof(text));
    if (uri[0] == '\0' && !uri_in(text, uri))
        return;
    if (out->uri[0] == '\0')
        memcpy(out->uri, uri, sizeof(uri));
    if (out->position < 0 && strcmp(out->uri, uri) == 0)
        out->position = position_in(text);
}

/* Only "invalid", and a missing file that is named, speak of what was to be loaded: everything else
 * is about the table, or about us. */
static void refusals_read(struct json_value status, struct json_value error, const char *reason,
                          struct bq_refusal *out)
{
    struct json_value list, item;
    struct json_walk w;

    ASSERT(reason != NULL);
    out->position = -1;
    refusal_read(error, out);
    if (answer_find(status, "errors", &list) && list.type == JSON_ARRAY) {
        json_walk_init(&w, list);
        while (json_walk_element(&w, &item))
            refusal_read(item, out);
    }
    out->missing = strcmp(reason, "notFound") == 0 && out->uri[0] != '\0';
    out->rows = out->missing || strcmp(reason, "invalid") == 0;
}

/* errorResult sums up; the first of errors[] often names file, row and column. */
static void error_read(struct json_value status, struct json_value error, struct job_facts *out)
{
    char reason[REASON_BYTES], message[MESSAGE_BYTES] = "", detail[MESSAGE_BYTES] = "";
    struct json_value list, first, text;
    struct json_walk w;

    ASSERT(out->has_error);
    (void)answer_string(error, "reason", reason, sizeof(reason));
    if (answer_find(error, "message", &text))
        (void)answer_copy(text, message, sizeof(message));
    if (answer_find(status, "errors", &list) && list.type == JSON_ARRAY) {
        json_walk_init(&w, list);
        /* The first that says more: some repeat errorResult in front. */
        while ((detail[0] == '\0' || strcmp(detail, message) == 0) &&
               json_walk_element(&w, &first)) {
            if (first.type == JSON_OBJECT && answer_find(first, "message", &text))
                (void)answer_copy(text, detail, sizeof(detail));
        }
    }
    refusals_read(status, error, reason, &out->refusal);
    out->error_transient = reason_transient(reason);
    if (detail[0] != '\0' && strcmp(detail, message) != 0)
        snprintf(out->text, sizeof(out->text), "%s: %.300s (%.130s)", reason, detail, message);
    else
        snprintf(out->text, sizeof(out->text), "%s: %s", reason, message);
}

bool bq_job_read(struct span body, struct job_facts *out)
{
    struct json_value root, status, error;
    char state[REASON_BYTES];

    ASSERT(out != NULL);
    *out = (struct job_facts){0};
    if (!answer_object(body, &root) || !answer_find(root, "status", &status) ||
        status.type != JSON_OBJECT || !answer_string(status, "state", state, sizeof(state)))
        return false;
    out->done = strcmp(state, "DONE") == 0;
    (void)answer_string(root, "jobReference.location", out->location, sizeof(out->location));
    out->has_rows = answer_int64(root, "statistics.load.outputRows", &out->rows) && out->rows >= 0;
    out->has_error = answer_find(status, "errorResult", &error) && error.type == JSON_OBJECT;
    if (out->has_error)
        error_read(status, error, out);
    return true;
}

/* BigQuery keeps the order of sourceUris. */
static bool uris_equal(struct json_value list, const struct bq_load *l)
{
    struct json_value uri;
    struct json_walk w;
    uint32_t n = 0;

    ASSERT(l->n_uris > 0);
    if (list.type != JSON_ARRAY)
        return false;
    json_walk_init(&w, list);
    for (; json_walk_element(&w, &uri); n++) {
        if (n == l->n_uris || !answer_value_equals(uri, l->uris[n]))
            return false;
    }
    return n == l->n_uris;
}

const char *bq_job_differs(struct span body, const struct bq_config *config,
                           const struct bq_load *l, const char *uris_label)
{
    struct json_value root, load, uris;

    ASSERT(uris_label != NULL);
    if (!answer_object(body, &root))
        return "it cannot be read";
    if (!answer_equals(root, "configuration.labels.penstock_uris", uris_label))
        return "its label is another";
    if (!answer_find(root, "configuration.load", &load))
        return "it is no load job";
    if (!answer_equals(load, "destinationTable.projectId", config->project) ||
        !answer_equals(load, "destinationTable.datasetId", config->dataset) ||
        !answer_equals(load, "destinationTable.tableId", l->table))
        return "its destination is another";
    if (answer_find(load, "sourceUris", &uris) && !uris_equal(uris, l))
        return "its URIs are others";
    return NULL;
}
