/*
 * Goal: answers are classified by Google's published classes, delays grow and are capped.
 * Method: made-up answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "sinks/engine/answer.h"
#include "sinks/engine/retry_internal.h"
#include "sinks/engine/text.h"

static char padded[4096 + JSON_PADDING_BYTES];

static struct http_answer make(int status, const char *body)
{
    memset(padded, 0, sizeof(padded));
    snprintf(padded, 4096, "%s", body);
    return (struct http_answer){
        .status = status, .body = {.ptr = padded, .len = strlen(padded)}, .retry_after_s = -1};
}

static struct http_answer make_error(int status, const char *reason)
{
    char body[512];

    snprintf(body, sizeof(body),
             "{\"error\":{\"code\":%d,\"message\":\"because "
             "\\\"so\\\"\\n\",\"errors\":[{\"reason\":\"%s\"}],"
             "\"status\":\"SOME_STATUS\"}}",
             status, reason);
    return make(status, body);
}

static void expect(int status, const char *reason, enum answer_class c)
{
    struct http_answer a = make_error(status, reason);

    assert_int_equal(answer_classify(&a), c);
}

static void test_classes(void **state)
{
    static const int odd[] = {300, 302, 308, 402, 405, 410, 411, 413, 416, 422};
    struct http_answer none = {.error = "connection refused", .retry_after_s = -1};

    (void)state;
    assert_int_equal(answer_classify(&none), ANSWER_TRANSIENT);
    expect(200, "", ANSWER_OK);
    expect(204, "", ANSWER_OK);
    expect(401, "authError", ANSWER_AUTH);
    expect(404, "notFound", ANSWER_NOT_FOUND);
    expect(408, "", ANSWER_TRANSIENT);
    expect(409, "duplicate", ANSWER_CONFLICT);
    expect(412, "conditionNotMet", ANSWER_PRECONDITION);
    expect(429, "rateLimitExceeded", ANSWER_TRANSIENT);
    for (int status = 500; status < 600; status++)
        expect(status, "whatever", ANSWER_TRANSIENT);
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        expect(odd[i], "whatever", ANSWER_PERMANENT);
}

static void test_reasons(void **state)
{
    struct http_answer html = make(403, "<html>forbidden</html>");

    (void)state;
    assert_int_equal(answer_classify(&html), ANSWER_PERMANENT);
    expect(403, "rateLimitExceeded", ANSWER_TRANSIENT);
    expect(403, "quotaExceeded", ANSWER_QUOTA);
    expect(403, "accessDenied", ANSWER_PERMANENT);
    expect(403, "billingNotEnabled", ANSWER_PERMANENT);
    expect(400, "jobBackendError", ANSWER_TRANSIENT);
    expect(400, "jobInternalError", ANSWER_TRANSIENT);
    expect(400, "jobRateLimitExceeded", ANSWER_TRANSIENT);
    expect(400, "tableUnavailable", ANSWER_TRANSIENT);
    expect(400, "invalid", ANSWER_PERMANENT);
}

static void test_describe(void **state)
{
    struct http_answer a = make_error(503, "backendError");
    char text[REASON_TEXT_BYTES];

    (void)state;
    answer_describe(&a, text);
    assert_string_equal(text, "503 backendError: because \"so\" ");
    a = make(502, "<html>\nbad gateway</html>");
    answer_describe(&a, text);
    assert_string_equal(text, "502: <html> bad gateway</html>");
    a = make(500, "");
    answer_describe(&a, text);
    assert_string_equal(text, "500: ");
    a = make(404, "{\"error\":\"plain\"}");
    answer_describe(&a, text);
    assert_string_equal(text, "404: ");
    a = (struct http_answer){.error = "connection refused"};
    answer_describe(&a, text);
    assert_string_equal(text, "no answer: connection refused");
}

static void test_describe_long(void **state)
{
    char message[3000], body[3200], text[REASON_TEXT_BYTES];
    struct http_answer a;

    (void)state;
    memset(message, 'm', sizeof(message) - 1);
    message[sizeof(message) - 1] = '\0';
    snprintf(body, sizeof(body), "{\"error\":{\"message\":\"%s\",\"status\":\"BAD\"}}", message);
    a = make(400, body);
    answer_describe(&a, text);
    assert_true(strlen(text) < REASON_TEXT_BYTES);
    assert_memory_equal(text, "400 BAD: mmm", 12);
}

static void test_delays(void **state)
{
    struct http_answer a = make_error(503, "backendError");
    int64_t most = 0;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct retry_state r = {0};

        for (int i = 0; i < 20; i++) {
            int64_t ceiling = RETRY_BASE_US << (i < 6 ? i : 6);
            int64_t d = retry_delay_us(&r, ANSWER_TRANSIENT, &a);

            assert_true(d > 0 && d <= ceiling);
            most = d > most ? d : most;
        }
        assert_int_equal(r.tries, 20);
    }
    assert_true(most > RETRY_BASE_US << 5); /* the jitter is full */
}

static void test_delay_by_server(void **state)
{
    struct http_answer a = make_error(429, "rateLimitExceeded");
    struct retry_state r = {0};

    (void)state;
    assert_true(retry_delay_us(&r, ANSWER_QUOTA, &a) >= (int64_t)600 * 1000000);
    a.retry_after_s = 100;
    assert_int_equal(retry_delay_us(&r, ANSWER_TRANSIENT, &a), 100 * 1000000);
    a.retry_after_s = 1000000; /* not believed */
    assert_int_equal(retry_delay_us(&r, ANSWER_TRANSIENT, &a), (int64_t)3600 * 1000000);
    a.retry_after_s = 0;
    assert_true(retry_delay_us(&r, ANSWER_TRANSIENT, &a) > 0);
}

static void test_answer_values(void **state)
{
    struct http_answer a =
        make(200, "{\"a\":{\"b\":\"x\\u00e9\",\"n\":\"17\",\"m\":18,\"z\":null},\"f\":1.5}");
    struct json_value root;
    char text[8];
    int64_t n;

    (void)state;
    assert_true(answer_object(a.body, &root));
    assert_true(answer_string(root, "a.b", text, sizeof(text)));
    assert_string_equal(text, "x\xc3\xa9");
    assert_true(answer_equals(root, "a.b", "x\xc3\xa9"));
    assert_false(answer_equals(root, "a.b", "x"));
    assert_true(answer_int64(root, "a.n", &n) && n == 17);
    assert_true(answer_int64(root, "a.m", &n) && n == 18);
    assert_false(answer_int64(root, "f", &n));
    assert_false(answer_int64(root, "a", &n));
    assert_false(answer_find(root, "a.z", &root));
    assert_false(answer_string(root, "a.b.c", text, sizeof(text)));
    assert_false(answer_string(root, "a.b", text, 3)); /* does not fit */
    assert_string_equal(text, "");
    a = make(200, "[1]");
    assert_false(answer_object(a.body, &root));
    a = make(200, "");
    assert_false(answer_object(a.body, &root));
}

static void test_text(void **state)
{
    struct text t = {0};

    (void)state;
    text_adds(&t, "/o/");
    text_add_url(&t, "a/b c%\xc3\xa4~._-");
    assert_string_equal(t.ptr, "/o/a%2Fb%20c%25%C3%A4~._-");
    text_reset(&t);
    text_add_json(&t, "q\"\\\n\x01 \xc3\xa4");
    assert_string_equal(t.ptr, "\"q\\\"\\\\\\n\\u0001 \xc3\xa4\"");
    for (int i = 0; i < 10000; i++)
        text_addf(&t, "%d,", i);
    assert_false(text_failed(&t));
    assert_int_equal(strlen(t.ptr), t.len);
    text_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),       cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_describe),      cmocka_unit_test(test_describe_long),
        cmocka_unit_test(test_delays),        cmocka_unit_test(test_delay_by_server),
        cmocka_unit_test(test_answer_values), cmocka_unit_test(test_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
