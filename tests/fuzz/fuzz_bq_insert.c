/*
 * Both directions of insertAll. Any bytes as an answer: nothing of it is used unless all of it is
 * well-formed, and then the texts are exactly those of the refused rows. Any valid object as a row:
 * the request is valid JSON, and its JSON column gives back the bytes that went in.
 */
#include <stdlib.h>
#include <string.h>

#include "sinks/bigquery/bq_insert.h"

#define ROWS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    uint32_t n;
    uint8_t refused[ROWS];
};

static void on_refused(void *ctx, uint32_t index, const char *text)
{
    struct seen *s = ctx;

    ASSERT(index < ROWS && s->refused[index] == 0 && strlen(text) < REASON_TEXT_BYTES);
    s->refused[index] = 1;
    s->n++;
}

static void fuzz_answer(const char *text, size_t len)
{
    static const char kind[] = "\"bigquery#tableDataInsertAllResponse\"";
    uint8_t verdict[ROWS];
    struct seen s = {0};
    uint32_t listed = 0;

    if (bq_insert_read((struct span){text, len}, ROWS, verdict, on_refused, &s) != NULL) {
        ASSERT(s.n == 0);
        return;
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        ASSERT(verdict[i] <= BQ_ROW_REFUSED && (verdict[i] == BQ_ROW_REFUSED) == s.refused[i]);
        listed += verdict[i] != BQ_ROW_IN;
    }
    ASSERT(len > sizeof(kind) - 1); /* however it is escaped */
    ASSERT(listed == 0 || len > sizeof(kind) + 20 * (size_t)listed);
}

/* The value of column "j" in the request, unescaped: what BigQuery will read. */
static void check_column(struct span body, struct json_value want)
{
    struct json_value v = json_value_at(body.ptr, body.len);
    struct json_walk w;
    char *text;
    size_t n;

    ASSERT(json_find(v, span_of("rows"), &v));
    json_walk_init(&w, v);
    ASSERT(json_walk_element(&w, &v) && json_find(v, span_of("json"), &v));
    ASSERT(json_find(v, span_of("j"), &v));
    if (want.type == JSON_NULL) {
        ASSERT(v.type == JSON_NULL);
        return;
    }
    ASSERT(v.type == JSON_STRING);
    text = malloc(v.len);
    ASSERT(text != NULL);
    n = json_unescape(json_string_body(v), text);
    ASSERT(n == want.len && memcmp(text, want.ptr, n) == 0);
    free(text);
}

static void fuzz_row(const struct schema *schema, const char *text, size_t len)
{
    struct json_value row, j;
    struct text body = {0};
    char *padded;
    size_t offset;

    if (json_validate(text, len, &offset) != JSON_ERROR_NONE)
        return;
    row = json_value_at(text, len);
    if (row.type != JSON_OBJECT)
        return;
    bq_insert_begin(&body);
    bq_insert_add(&body, true, span_of("id"), schema, row);
    bq_insert_end(&body);
    padded = calloc(1, body.len + JSON_PADDING_BYTES);
    ASSERT(padded != NULL);
    memcpy(padded, body.ptr, body.len);
    /* The row stands three levels deeper than it did. */
    if (json_validate(padded, body.len, &offset) == JSON_ERROR_NONE) {
        if (json_find(row, span_of("j"), &j))
            check_column((struct span){padded, body.len}, j);
    } else {
        ASSERT(json_validate(padded, body.len, &offset) == JSON_ERROR_DEPTH);
    }
    free(padded);
    text_fini(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char columns[] =
        "[{\"name\":\"j\",\"type\":\"JSON\"},{\"name\":\"n\",\"type\":\"NUMERIC\"},"
        "{\"name\":\"i\",\"type\":\"INTEGER\",\"mode\":\"REPEATED\"},"
        "{\"name\":\"r\",\"type\":\"RECORD\",\"mode\":\"REPEATED\",\"fields\":["
        "{\"name\":\"js\",\"type\":\"JSON\",\"mode\":\"REPEATED\"}]}]";
    static struct schema *schema;
    char error[256];
    char *text;

    if (schema == NULL)
        ASSERT(schema_compile(span_of(columns), &schema, error, sizeof(error)) == 0);
    if (size < 1)
        return 0;
    text = calloc(1, size + JSON_PADDING_BYTES);
    ASSERT(text != NULL);
    memcpy(text, data + 1, size - 1);
    if (data[0] & 1)
        fuzz_answer(text, size - 1);
    else
        fuzz_row(schema, text, size - 1);
    free(text);
    return 0;
}
