/* Our schema against tables that exist: what is equal, what a patch adds byte for byte, and what is
 * refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/event/schema.h"
#include "dataplane/event/schema_internal.h"

/* A column as a literal: its head without the closing brace's extras. */
#define COL(name, type)     "{\"name\":\"" name "\",\"type\":\"" type "\"}"
#define COLM(name, type, m) "{\"name\":\"" name "\",\"type\":\"" type "\",\"mode\":\"" m "\"}"
#define REC(name, m, fields) \
    "{\"name\":\"" name "\",\"type\":\"RECORD\",\"mode\":\"" m "\",\"fields\":[" fields "]}"
#define OURS                       \
    COL("event_date", "DATE")      \
    "," COL("processed_timestamp", \
            "TIMESTAMP") "," COL("penstock_id", "STRING") "," COL("penstock_overflow", "JSON")

/* Compares; error and patch as out parameters. */
#define RANGE_OF(type) \
    "{\"name\":\"p\",\"type\":\"RANGE\",\"rangeElementType\":{\"type\":\"" type "\"}}"

static int compare(const char *want_text, const char *have_text, char **patch, char *error,
                   size_t error_len)
{
    char have[4096 + JSON_PADDING_BYTES] = "";
    struct schema *want = NULL;
    size_t len = strlen(have_text);
    int rc;

    assert_true(len < 4096);
    memcpy(have, have_text, len);
    if (schema_compile(span_of(want_text), &want, error, error_len) != 0)
        fail_msg("%s", error);
    error[0] = '\0';
    rc = schema_compare(want, len > 0 ? json_value_at(have, len) : (struct json_value){0}, patch,
                        error, error_len);
    schema_destroy(want);
    return rc;
}

static void equal(void **state)
{
    static const char *const cases[][2] = {
        {"[" COL("a", "STRING") "]", "[" COL("a", "STRING") "," OURS "]"},
        {"[" COL("a", "INT64") "]", "[" OURS "," COL("A", "INTEGER") "]"},
        {"[" COLM("a", "STRING", "REQUIRED") "]", "[" COLM("a", "STRING", "REQUIRED") "," OURS "]"},
        {"[" COLM("a", "STRING", "REQUIRED") "]", "[" COL("a", "STRING") "," OURS "]"},
        {"[" COL("a", "STRING") "]", "[" COL("a", "STRING") "," COL("extra", "RANGE") "," OURS "]"},
        {"[" COL("a", "STRING") "]",
         "[" COL("a", "STRING") "," COLM("event_date", "DATE", "REQUIRED") "," COL(
             "processed_timestamp", "TIMESTAMP") "," COL("penstock_id",
                                                         "STRING") "," COL("penstock_overflow",
                                                                           "JSON") "]"},
        {"[" REC("r", "REPEATED", COL("x", "BOOL")) "]",
         "[" OURS
         ",{\"fields\":[" COL("X", "BOOLEAN") "," COL("y", "DATE") "],\"type\":\"STRUCT\",\"mode\":"
                                                                   "\"REPEATED\",\"name\":\"R\"}]"},
        {"[" RANGE_OF("date") "]", "[" RANGE_OF("DATE") "," OURS "]"},
        {"[{\"name\":\"s\",\"type\":\"STRING\",\"maxLength\":5}]",
         "[{\"name\":\"s\",\"type\":\"STRING\",\"maxLength\":\"5\"}," OURS "]"},
        {"[{\"name\":\"n\",\"type\":\"NUMERIC\",\"precision\":5,\"scale\":2}]",
         "[{\"name\":\"n\",\"type\":\"NUMERIC\",\"precision\":\"6\",\"scale\":\"2\"}," OURS "]"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char error[256];
        char *patch = (char *)1;

        if (compare(cases[i][0], cases[i][1], &patch, error, sizeof(error)) != 0 || patch != NULL)
            fail_msg("case %zu: %s %s", i, error, patch != NULL ? patch : "");
    }
}

#define D_DATE                                                                                    \
    "{\"name\":\"event_date\",\"type\":\"DATE\",\"mode\":\"NULLABLE\",\"description\":\"UTC day " \
    "of the event's time, set by Penstock\"}"
#define D_TIME                                                                        \
    "{\"name\":\"processed_timestamp\",\"type\":\"TIMESTAMP\",\"mode\":\"NULLABLE\"," \
    "\"description\":\"When Penstock took the event\"}"
#define D_ID                                                                               \
    "{\"name\":\"penstock_id\",\"type\":\"STRING\",\"mode\":\"NULLABLE\",\"description\":" \
    "\"Unique id of the event: Penstock's journal and position\"}"
#define D_MORE                                                                                 \
    "{\"name\":\"penstock_overflow\",\"type\":\"JSON\",\"mode\":\"NULLABLE\",\"description\":" \
    "\"Fields of the event that the schema does not name\"}"
#define D_ALL D_DATE "," D_TIME "," D_ID "," D_MORE

static void patched(void **state)
{
    static const char *const cases[][3] = {
        /* all of ours missing */
        {"[" COL("a", "STRING") "]", "[" COL("a", "STRING") "]",
         "[" COL("a", "STRING") "," D_ALL "]"},
        /* a REQUIRED column can only be added as NULLABLE, and without its default */
        {"[" COL("a", "STRING") ",{\"name\":\"b\",\"type\":\"INT64\",\"mode\":\"REQUIRED\","
                                "\"defaultValueExpression\":\"1\"}]",
         "[ " COL("a", "STRING") " ,\n" OURS " ]",
         "[ " COL("a", "STRING") " ,\n" OURS
                                 " ,{\"name\":\"b\",\"type\":\"INTEGER\",\"mode\":\"NULLABLE\"}]"},
        {"[" COL("a", "STRING") "," RANGE_OF("DATE") "]", "[" COL("a", "STRING") "," OURS "]",
         "[" COL("a", "STRING") "," OURS
                                ",{\"name\":\"p\",\"type\":\"RANGE\",\"mode\":\"NULLABLE\","
                                "\"rangeElementType\":{\"type\":\"DATE\"}}]"},
        /* a whole RECORD */
        {"[" COL("a", "STRING") "," REC("r", "REPEATED",
                                        COLM("x", "DATE", "REQUIRED") "," COL("y", "TIME")) "]",
         "[" COL("a", "STRING") "," OURS "]",
         "[" COL("a", "STRING") "," OURS ","
                                "{\"name\":\"r\",\"type\":\"RECORD\",\"mode\":\"REPEATED\","
                                "\"fields\":[" COLM("x", "DATE", "NULLABLE") "," COLM(
                                    "y", "TIME", "NULLABLE") "]}]"},
        /* inside two RECORDs, in the table's order, and one at the top */
        {"[" REC("r", "NULLABLE", COL("x", "DATE") "," COL("x2", "DATE")) "," REC(
             "q", "NULLABLE",
             COL("y", "DATE") "," REC("z", "REPEATED",
                                      COL("z1", "TIME") "," COL("z2", "TIME"))) "," COL("top",
                                                                                        "DATE") "]",
         "[" REC("q", "NULLABLE", REC("z", "REPEATED", COL("z1", "TIME"))) "," OURS "," REC(
             "r", "NULLABLE", COL("x", "DATE")) "]",
         "[" REC(
             "q", "NULLABLE",
             REC("z", "REPEATED", COL("z1", "TIME") "," COLM("z2", "TIME", "NULLABLE")) "," COLM(
                 "y", "DATE", "NULLABLE")) "," OURS
                                           "," REC("r", "NULLABLE",
                                                   COL("x", "DATE") "," COLM(
                                                       "x2", "DATE",
                                                       "NULLABLE")) "," COLM("top", "DATE",
                                                                             "NULLABLE") "]"},
        /* only inside */
        {"[" REC("r", "NULLABLE", COL("x", "DATE") "," COL("y", "DATE")) "]",
         "[" REC("r", "NULLABLE", COL("x", "DATE")) "," OURS "]",
         "[" REC("r", "NULLABLE", COL("x", "DATE") "," COLM("y", "DATE", "NULLABLE")) "," OURS "]"},
        /* a table without columns */
        {"[" COL("a", "STRING") "]", "[]", "[" COLM("a", "STRING", "NULLABLE") "," D_ALL "]"},
        {"[" COL("a", "STRING") "]", "", "[" COLM("a", "STRING", "NULLABLE") "," D_ALL "]"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char error[256];
        char *patch = NULL, *again = NULL;

        if (compare(cases[i][0], cases[i][1], &patch, error, sizeof(error)) != 0)
            fail_msg("case %zu: %s", i, error);
        assert_non_null(patch);
        assert_string_equal(patch, cases[i][2]);
        assert_int_equal(compare(cases[i][0], patch, &again, error, sizeof(error)),
                         0); /* then it fits */
        assert_null(again);
        free(patch);
    }
}

static void refused(void **state)
{
    static const char *const cases[][3] = {
        {"[" RANGE_OF("DATE") "]", "[" RANGE_OF("DATETIME") "," OURS "]",
         "p: the table has a RANGE of other elements, ours are DATE"},
        {"[" RANGE_OF("DATE") "]", "[" COL("p", "RANGE") "," OURS "]",
         "p: the table has a RANGE of other elements"},
        {"[" COL("a", "STRING") "]", "[" COL("a", "INTEGER") "," OURS "]",
         "a: the table's type is INTEGER, ours is STRING"},
        {"[" COL("a", "DATE") "]", "[" COL("a", "RANGE") "," OURS "]",
         "a: the table's type is RANGE, ours is DATE"},
        {"[" COL("a", "DATE") "]", "[{\"name\":\"a\"}," OURS "]", "a: the table's type is "},
        {"[" COLM("a", "DATE", "REPEATED") "]", "[" COL("a", "DATE") "," OURS "]",
         "a: the table's mode is NULLABLE, ours is REPEATED"},
        {"[" COL("a", "DATE") "]", "[" COLM("a", "DATE", "REPEATED") "," OURS "]",
         "a: the table's mode is REPEATED"},
        {"[" COLM("a", "DATE", "REQUIRED") "]", "[" COLM("a", "DATE", "REPEATED") "," OURS "]",
         "a: the table's mode"},
        {"[" COL("a", "DATE") "]", "[" COLM("a", "DATE", "REQUIRED") "," OURS "]",
         "a: the table's mode is REQUIRED, ours is NULLABLE"},
        {"[" COL("a", "DATE") "]",
         "[" COL("a", "DATE") "," COLM("b", "DATE", "REQUIRED") "," OURS "]",
         "b: REQUIRED in the table, missing from our schema"},
        {"[" REC("r", "NULLABLE", COL("x", "DATE")) "]",
         "[" REC("r", "NULLABLE", COLM("w", "DATE", "REQUIRED") "," COL("x", "DATE")) "," OURS "]",
         "r.w: REQUIRED in the table"},
        {"[" REC("r", "NULLABLE", COL("x", "DATE")) "]",
         "[" REC("r", "NULLABLE", COL("x", "TIME")) "," OURS "]",
         "r.x: the table's type is TIME, ours is DATE"},
        {"[" REC("r", "NULLABLE", COL("x", "DATE")) "]", "[" COL("r", "RECORD") "," OURS "]",
         "r: the table's RECORD"},
        {"[" COL("s", "STRING") "]",
         "[{\"name\":\"s\",\"type\":\"STRING\",\"maxLength\":\"5\"}," OURS "]",
         "s: the table's maxLength is 5"},
        {"[{\"name\":\"s\",\"type\":\"STRING\",\"maxLength\":6}]",
         "[{\"name\":\"s\",\"type\":\"STRING\",\"maxLength\":\"5\"}," OURS "]",
         "s: the table's maxLength is 5"},
        {"[" COL("n", "NUMERIC") "]",
         "[{\"name\":\"n\",\"type\":\"NUMERIC\",\"precision\":\"5\"}," OURS "]", "n: "},
        {"[{\"name\":\"n\",\"type\":\"NUMERIC\",\"precision\":5,\"scale\":2}]",
         "[{\"name\":\"n\",\"type\":\"NUMERIC\",\"precision\":\"5\",\"scale\":\"1\"}," OURS "]",
         "n: "},
        {"[" COL("a", "DATE") "]",
         "[" COL("a", "DATE") "," COLM("penstock_overflow", "JSON", "REQUIRED") "]",
         "penstock_overflow: the table's mode"},
        {"[" COL("a", "DATE") "]", "[" COL("a", "DATE") "," COL("event_date", "TIMESTAMP") "]",
         "event_date: the table"},
        {"[" COL("a", "DATE") "]", "{}", "not an array"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char error[256];
        char *patch = NULL;
        int rc = compare(cases[i][0], cases[i][1], &patch, error, sizeof(error));

        if (rc != -EEXIST || patch != NULL || strstr(error, cases[i][2]) == NULL)
            fail_msg("case %zu: %d \"%s\", expected \"%s\"", i, rc, error, cases[i][2]);
    }
}

static int allocations_left;

static void *failing_realloc(void *ptr, size_t len)
{
    return allocations_left-- > 0 ? realloc(ptr, len) : NULL;
}

static void every_allocation_may_fail(void **state)
{
    static const char want_text[] =
        "[" REC("r", "NULLABLE", COL("x", "DATE") "," COL("y", "DATE")) "]";
    static const char have[2048 + JSON_PADDING_BYTES] =
        "[" REC("r", "NULLABLE", COL("x", "DATE")) "]";
    struct schema *want = NULL;
    char *patch = NULL;
    int rc = -ENOMEM, n = 0;

    (void)state;
    assert_int_equal(schema_compile(span_of(want_text), &want, NULL, 0), 0);
    schema_realloc = failing_realloc;
    for (; rc != 0 && n < 100; n++) {
        allocations_left = n;
        rc = schema_compare(want, json_value_at(have, strlen(have)), &patch, NULL, 0);
        assert_true(rc == 0 || (rc == -ENOMEM && patch == NULL));
    }
    schema_realloc = realloc;
    assert_int_equal(rc, 0);
    assert_true(n > 5);
    free(patch);
    schema_destroy(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal),
        cmocka_unit_test(patched),
        cmocka_unit_test(refused),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
