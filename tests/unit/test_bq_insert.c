/*
 * Goal: rows reach insertAll in the one form that loses nothing, and no answer but a well-formed one
 * is taken as success. Method: bodies compared as text; answers of every reason, and hostile ones; a
 * scripted server for each way in which a request can fail.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "sinks/bigquery/bq_insert.h"
#include "tests/unit/tcloud_bed.h"
#include "tests/unit/tcloud_server.h"

#define KIND "\"kind\":\"bigquery#tableDataInsertAllResponse\""
#define ID   "0123456789abcdef0123456789abcdef-0000000000000abc"

static const char columns[] =
    "[{\"name\":\"s\",\"type\":\"STRING\"},{\"name\":\"j\",\"type\":\"JSON\"},"
    "{\"name\":\"js\",\"type\":\"JSON\",\"mode\":\"REPEATED\"},{\"name\":\"n\",\"type\":"
    "\"NUMERIC\"},"
    "{\"name\":\"b\",\"type\":\"BIGNUMERIC\",\"mode\":\"REPEATED\"},{\"name\":\"i\",\"type\":"
    "\"INTEGER\"},"
    "{\"name\":\"f\",\"type\":\"FLOAT\"},"
    "{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"j\",\"type\":\"JSON\"},"
    "{\"name\":\"s\",\"type\":\"STRING\"},{\"name\":\"q\",\"type\":\"RECORD\",\"mode\":"
    "\"REPEATED\","
    "\"fields\":[{\"name\":\"j\",\"type\":\"JSON\"}]}]}]";

static struct schema *schema_of(const char *text)
{
    struct schema *s = NULL;
    char error[256] = "";

    assert_int_equal(schema_compile(span_of(text), &s, error, sizeof(error)), 0);
    return s;
}

/* ---- rows ---- */

static void expect_row(const struct schema *s, const char *line, const char *want)
{
    struct text body = {0};
    size_t offset;

    bq_insert_begin(&body);
    bq_insert_add(&body, true, span_of(ID), s, json_value_at(line, strlen(line)));
    bq_insert_end(&body);
    assert_int_equal(json_validate(body.ptr, body.len, &offset), JSON_ERROR_NONE);
    assert_non_null(strstr(body.ptr, "\"skipInvalidRows\":true"));
    assert_non_null(strstr(body.ptr, "\"rows\":[{\"insertId\":\"" ID "\",\"json\":"));
    if (strstr(body.ptr, want) == NULL)
        fail_msg("%s not in %s", want, body.ptr);
    text_fini(&body);
}

static void test_rows(void **state)
{
    struct schema *s = schema_of(columns);

    (void)state;
    expect_row(s, "{\"s\":\"a\\u00e9\\n\",\"f\":1.50}\n",
               "\"json\":{\"s\":\"a\\u00e9\\n\",\"f\":1.50}}");
    expect_row(s, "{\"j\":{\"a\":[1,\"x\\\"y\"]},\"s\":\"t\"}",
               "{\"j\":\"{\\\"a\\\":[1,\\\"x\\\\\\\"y\\\"]}\",\"s\":\"t\"}");
    expect_row(s, "{\"j\":\"text\"}", "{\"j\":\"\\\"text\\\"\"}");
    expect_row(s, "{\"j\" : 17 , \"s\":null}", "{\"j\" : \"17\" , \"s\":null}");
    expect_row(s, "{\"j\":null,\"js\":null,\"r\":null}", "{\"j\":null,\"js\":null,\"r\":null}");
    expect_row(s, "{\"js\":[1,{\"a\":2},\"b\"]}",
               "{\"js\":[\"1\",\"{\\\"a\\\":2}\",\"\\\"b\\\"\"]}");
    expect_row(s, "{\"js\":[]}", "{\"js\":[]}");
    expect_row(s, "{\"n\":12.30,\"b\":[1e3,\"4\"]}", "{\"n\":\"12.30\",\"b\":[\"1e3\",\"4\"]}");
    expect_row(s, "{\"i\":9007199254740993,\"f\":9007199254740993}",
               "{\"i\":\"9007199254740993\",\"f\":9007199254740993}");
    expect_row(s, "{\"i\":123456789012345}", "{\"i\":123456789012345}");
    expect_row(s, "{\"r\":{\"j\":true,\"s\":\"x\",\"q\":[{\"j\":{}},{\"j\":null},{}]}}",
               "{\"r\":{\"j\":\"true\",\"s\":\"x\",\"q\":[{\"j\":\"{}\"},{\"j\":null},{}]}}");
    expect_row(s, "{\"penstock_overflow\":{\"x\":1}}", "{\"penstock_overflow\":\"{\\\"x\\\":1}\"}");
    expect_row(s, "{\"\\u006a\":1}", "{\"\\u006a\":\"1\"}");
    expect_row(s, "{\"J\":1,\"unknown\":{\"j\":1},\"r\":7,\"js\":8}",
               "{\"J\":1,\"unknown\":{\"j\":1},\"r\":7,\"js\":8}");
    schema_destroy(s);
    assert_int_equal(schema_for_json(&s), 0);
    expect_row(s, "{\"event\":{\"j\":1},\"event_date\":\"2026-11-21\"}",
               "{\"event\":\"{\\\"j\\\":1}\",\"event_date\":\"2026-11-21\"}");
    schema_destroy(s);
}

static void test_frame(void **state)
{
    struct schema *s = schema_of(columns);
    struct text body = {0};
    size_t first;

    (void)state;
    bq_insert_begin(&body);
    bq_insert_add(&body, true, span_of("a"), s, json_value_at("{}", 2));
    first = body.len;
    bq_insert_add(&body, false, span_of("b"), s, json_value_at("{\"i\":1}", 7));
    text_cut(&body, first); /* as when a row does not fit any more */
    bq_insert_add(&body, false, span_of("c"), s, json_value_at("{\"i\":2}", 7));
    bq_insert_end(&body);
    assert_non_null(strstr(body.ptr, "\"rows\":[{\"insertId\":\"a\",\"json\":{}},"
                                     "{\"insertId\":\"c\",\"json\":{\"i\":2}}]}"));
    assert_int_equal(body.len,
                     bq_insert_frame_bytes() + strlen("{\"insertId\":\"a\",\"json\":{}},"
                                                      "{\"insertId\":\"c\",\"json\":{\"i\":2}}"));
    text_fini(&body);
    schema_destroy(s);
}

/* ---- answers ---- */

static char refusals[2048];

static void on_text(void *ctx, uint32_t index, const char *text)
{
    (void)ctx;
    snprintf(refusals + strlen(refusals), sizeof(refusals) - strlen(refusals), "%u=%s;", index,
             text);
}

static const char *answer(const char *body, uint8_t verdict[4])
{
    char *padded = calloc(1, strlen(body) + JSON_PADDING_BYTES);
    const char *wrong;

    assert_non_null(padded);
    memcpy(padded, body, strlen(body));
    refusals[0] = '\0';
    wrong = bq_insert_read((struct span){padded, strlen(body)}, 4, verdict, on_text, NULL);
    free(padded);
    return wrong;
}

static void expect_answer(const char *body, const char *want, const char *texts)
{
    static const char letter[] = {[BQ_ROW_IN] = 'i', [BQ_ROW_AGAIN] = 'a', [BQ_ROW_REFUSED] = 'r'};
    char got[5] = "";
    uint8_t verdict[4];

    assert_null(answer(body, verdict));
    for (int i = 0; i < 4; i++)
        got[i] = letter[verdict[i]];
    assert_string_equal(got, want);
    assert_string_equal(refusals, texts);
}

#define ERR(reason) \
    "{\"reason\":\"" reason "\",\"location\":\"\",\"debugInfo\":\"\",\"message\":\"\"}"
#define ROW(i, errors) "{\"index\":" i ",\"errors\":[" errors "]}"
#define LIST(rows)     "{" KIND ",\"insertErrors\":[" rows "]}"

static void test_answers(void **state)
{
    (void)state;
    expect_answer("{" KIND "}", "iiii", "");
    expect_answer(LIST(""), "iiii", "");
    expect_answer(LIST(ROW("0", ERR("stopped")) "," ROW("1", ERR("timeout")) "," ROW(
                      "2", ERR("backendError")) "," ROW("3", ERR("internalError"))),
                  "aaaa", "");
    expect_answer(LIST(ROW("3", "{\"reason\":\"invalid\",\"location\":\"a.b\",\"debugInfo\":\"\","
                                "\"message\":\"no such field: a.b.\"}")),
                  "iiir", "3=invalid at a.b: no such field: a.b.;");
    expect_answer(LIST(ROW("2", ERR("invalid")) "," ROW("\"0\"", ERR("stopped"))), "airi",
                  "2=invalid: ;");
    /* A row with a passing and a lasting error is refused, for the lasting one. */
    expect_answer(LIST(ROW("1", ERR("stopped") "," ERR("never-heard-of"))), "irii",
                  "1=never-heard-of: ;");
}

static void test_hostile_answers(void **state)
{
    static const char *const bodies[] = {
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        "{" KIND,
        "{\"kind\":\"bigquery#table\"}",
        "{" KIND ",\"insertErrors\":{}}",
        "{" KIND ",\"insertErrors\":null}",
        "{" KIND ",\"insertErrors\":\"none\"}",
        LIST("7"),
        LIST("{}"),
        LIST("{\"index\":0}"),
        LIST("{\"errors\":[" ERR("invalid") "]}"),
        LIST(ROW("4", ERR("invalid"))),
        LIST(ROW("-1", ERR("invalid"))),
        LIST(ROW("0.5", ERR("invalid"))),
        LIST(ROW("99999999999999999999", ERR("invalid"))),
        LIST(ROW("4294967296", ERR("invalid"))),
        LIST(ROW("0", "")),
        LIST(ROW("0", "{}")),
        LIST(ROW("0", "\"invalid\"")),
        LIST(ROW("0", "{\"reason\":7}")),
        LIST(ROW("0", "{\"reason\":\"\"}")),
        LIST("{\"index\":0,\"errors\":{}}"),
        LIST(ROW("1", ERR("invalid")) "," ROW("1", ERR("stopped"))),
        LIST(ROW("0", ERR("invalid")) "," ROW("9", ERR("invalid"))),
    };
    uint8_t verdict[4];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        if (answer(bodies[i], verdict) == NULL)
            fail_msg("taken as an answer: %s", bodies[i]);
        assert_string_equal(refusals, ""); /* nothing of a bad answer is used */
    }
}

/* ---- requests ---- */

static struct {
    struct tcloud_bed bed;
    struct bq_config config;
    struct bq_stats stats;
    struct bq *client;
    bool over;
    struct bq_insert_result result;
    char text[REASON_TEXT_BYTES];
    uint8_t verdict[4];
} t;

static void on_refused(struct bq_insert *i, uint32_t index, const char *text)
{
    assert_non_null(i->_op);
    on_text(NULL, index, text);
}

static void on_done(struct bq_insert *i, const struct bq_insert_result *result)
{
    assert_null(i->_op);
    assert_false(t.over);
    t.over = true;
    t.result = *result;
    snprintf(t.text, sizeof(t.text), "%s", result->text);
}

static void begin(const char *endpoint)
{
    memset(&t, 0, sizeof(t));
    refusals[0] = '\0';
    t.config = (struct bq_config){.endpoint = endpoint, .project = "p1", .dataset = "ds"};
    tcloud_bed_init(&t.bed, 2000);
    assert_int_equal(bq_create(t.bed.loop, t.bed.http, &t.bed.auth, &t.config, &t.stats, &t.client),
                     0);
}

static void end(void)
{
    bq_destroy(t.client);
    tcloud_bed_fini(&t.bed);
}

static void send_rows(struct bq_insert *i, struct text *body)
{
    struct schema *s = schema_of(columns);
    char id[8];

    bq_insert_begin(body);
    for (uint32_t row = 0; row < 4; row++) {
        snprintf(id, sizeof(id), "id%u", row);
        bq_insert_add(body, row == 0, span_of(id), s, json_value_at("{\"i\":1}", 7));
    }
    bq_insert_end(body);
    schema_destroy(s);
    *i = (struct bq_insert){.table = "t/1",
                            .body = body,
                            .n_rows = 4,
                            .verdict = t.verdict,
                            .refused = on_refused,
                            .done = on_done};
    assert_int_equal(bq_insert_start(t.client, i), 0);
}

static void expect_outcome(const struct tcloud_step *step, enum bq_insert_outcome want)
{
    struct tcloud_server *server = tcloud_server_start(step, 1);
    struct text body = {0};
    struct bq_insert i;

    begin(tcloud_server_url(server));
    send_rows(&i, &body);
    tcloud_bed_run(&t.bed, &t.over);
    assert_int_equal(t.result.outcome, want);
    end();
    tcloud_server_stop(server);
    text_fini(&body);
}

#define STEP(code, b)                                   \
    &(struct tcloud_step)                               \
    {                                                   \
        .act = TCLOUD_ANSWER, .status = code, .body = b \
    }
#define ERROR(reason) \
    "{\"error\":{\"code\":1,\"message\":\"told so\",\"errors\":[{\"reason\":\"" reason "\"}]}}"

static void test_outcomes(void **state)
{
    (void)state;
    expect_outcome(STEP(200, LIST(ROW("2", ERR("invalid")) "," ROW("0", ERR("stopped")))),
                   BQ_INSERT_ANSWERED);
    assert_string_equal(refusals, "2=invalid: ;");
    assert_int_equal(t.verdict[2], BQ_ROW_REFUSED);
    assert_int_equal(t.stats.insert_refused, 1);
    assert_int_equal(t.stats.insert_again, 1);
    expect_outcome(STEP(200, "{}"), BQ_INSERT_ODD);
    assert_int_equal(t.stats.insert_odd, 1);
    expect_outcome(STEP(413, "<html>too large"), BQ_INSERT_TOO_LARGE);
    expect_outcome(STEP(400, ERROR("invalid")), BQ_INSERT_INVALID);
    assert_non_null(strstr(t.text, "invalid: told so"));
    expect_outcome(STEP(400, "<html>a proxy"), BQ_INSERT_PERMANENT);
    expect_outcome(STEP(400, ERROR("tableUnavailable")), BQ_INSERT_LATER);
    expect_outcome(STEP(403, ERROR("accessDenied")), BQ_INSERT_PERMANENT);
    expect_outcome(STEP(403, ERROR("rateLimitExceeded")), BQ_INSERT_LATER);
    assert_int_equal(t.result.class, ANSWER_TRANSIENT);
    expect_outcome(STEP(403, ERROR("quotaExceeded")), BQ_INSERT_LATER);
    assert_int_equal(t.result.class, ANSWER_QUOTA);
    expect_outcome(STEP(404, ERROR("notFound")), BQ_INSERT_LAG);
    expect_outcome(STEP(429, ""), BQ_INSERT_LATER);
    expect_outcome(STEP(503, "<html>"), BQ_INSERT_LATER);
    expect_outcome(&(struct tcloud_step){.act = TCLOUD_LOSE}, BQ_INSERT_LATER);
    assert_false(t.result.cut); /* a small request */
}

/* Taken down while under way: done does not run, nothing is left. */
static void test_cancel(void **state)
{
    struct tcloud_step step = {.act = TCLOUD_ANSWER, .status = 200, .body = "{" KIND "}"};
    struct tcloud_server *server = tcloud_server_start(&step, 1);
    struct text body = {0};
    struct bq_insert i;

    (void)state;
    begin(tcloud_server_url(server));
    send_rows(&i, &body);
    bq_insert_cancel(&i);
    bq_insert_cancel(&i);
    text_reset(&body);
    send_rows(&i, &body);
    end();
    assert_false(t.over);
    tcloud_server_stop(server);
    text_fini(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),     cmocka_unit_test(test_frame),
        cmocka_unit_test(test_answers),  cmocka_unit_test(test_hostile_answers),
        cmocka_unit_test(test_outcomes), cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
