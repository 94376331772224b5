/*
 * Schemas: canonical text, every refusal, look-up, files, and every failing allocation. Comparing
 * with existing tables is in test_schema_compare.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/event/schema.h"
#include "dataplane/event/schema_internal.h"

#define ADDED                                                                                      \
    ",{\"name\":\"event_date\",\"type\":\"DATE\",\"mode\":\"NULLABLE\",\"description\":\"UTC day " \
    "of the "                                                                                      \
    "event's time, set by "                                                                        \
    "Penstock\"},{\"name\":\"processed_timestamp\",\"type\":\"TIMESTAMP\",\"mode\":"               \
    "\"NULLABLE\",\"description\":\"When Penstock took the "                                       \
    "event\"},{\"name\":\"penstock_id\",\"type\":"                                                 \
    "\"STRING\",\"mode\":\"NULLABLE\",\"description\":\"Unique id of the event: Penstock's "       \
    "journal and "                                                                                 \
    "position\"}"
#define OVERFLOWED                                                                              \
    ",{\"name\":\"penstock_overflow\",\"type\":\"JSON\",\"mode\":\"NULLABLE\",\"description\":" \
    "\"Fields of "                                                                              \
    "the event that the schema does not name\"}"

static struct schema *must_compile(const char *text)
{
    struct schema *s = NULL;
    char error[256] = "";

    if (schema_compile(span_of(text), &s, error, sizeof(error)) != 0)
        fail_msg("%s: %s", text, error);
    return s;
}

static void canonical_text(void **state)
{
    static const struct {
        const char *text, *fields;
    } cases[] = {
        {"[{\"name\":\"a\",\"type\":\"STRING\"}]",
         "[{\"name\":\"a\",\"type\":\"STRING\",\"mode\":\"NULLABLE\"}"},
        {" { \"kind\" : 1, \"fields\" : [ { \"type\" : \"int64\" , \"name\" : \"a\", "
         "\"mode\":\"required\" } ] } ",
         "[{\"name\":\"a\",\"type\":\"INTEGER\",\"mode\":\"REQUIRED\"}"},
        {"[{\"name\":\"n\",\"type\":\"NUMERIC\",\"precision\":\"10\",\"scale\":2}]",
         "[{\"name\":\"n\",\"type\":\"NUMERIC\",\"mode\":\"NULLABLE\",\"precision\":\"10\","
         "\"scale\":\"2\"}"},
        {"[{\"maxLength\":12,\"description\":\"a \\\" "
         "b\",\"name\":\"s\",\"type\":\"STRING\",\"mode\":null}]",
         "[{\"name\":\"s\",\"type\":\"STRING\",\"mode\":\"NULLABLE\",\"maxLength\":\"12\","
         "\"description\":\"a \\\" "
         "b\"}"},
        {"[{\"name\":\"s\",\"type\":\"STRING\",\"policyTags\": { \"names\" : [ \"x y\" ] } ,"
         "\"defaultValueExpression\":\"'z'\",\"collation\":\"und:ci\",\"ignored\":1}]",
         "[{\"name\":\"s\",\"type\":\"STRING\",\"mode\":\"NULLABLE\",\"defaultValueExpression\":\"'"
         "z'\","
         "\"collation\":\"und:ci\",\"policyTags\":{\"names\":[\"x y\"]}}"},
        {"[{\"name\":\"r\",\"type\":\"STRUCT\",\"mode\":\"REPEATED\",\"description\":\"d\","
         "\"fields\":["
         "{\"name\":\"x\",\"type\":\"BOOL\"},{\"name\":\"y\",\"type\":\"FLOAT64\"}]}]",
         "[{\"name\":\"r\",\"type\":\"RECORD\",\"mode\":\"REPEATED\",\"description\":\"d\","
         "\"fields\":["
         "{\"name\":\"x\",\"type\":\"BOOLEAN\",\"mode\":\"NULLABLE\"},"
         "{\"name\":\"y\",\"type\":\"FLOAT\",\"mode\":\"NULLABLE\"}]}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct schema *s = must_compile(cases[i].text), *again;
        char expected[2048];

        (void)snprintf(expected, sizeof(expected), "%s" ADDED OVERFLOWED "]", cases[i].fields);
        assert_string_equal(s->fields_json, expected);
        assert_int_equal(s->hash, crc32c(0, expected, strlen(expected)));
        assert_int_equal(json_validate(s->fields_json, strlen(s->fields_json), &(size_t){0}),
                         JSON_ERROR_NONE);
        again = must_compile(s->fields_json); /* a fixed point */
        assert_string_equal(again->fields_json, s->fields_json);
        assert_int_equal(again->hash, s->hash);
        schema_destroy(again);
        schema_destroy(s);
    }
}

static void declared_columns_of_ours_stay_where_they_are(void **state)
{
    struct schema *s =
        must_compile("[{\"name\":\"event_date\",\"type\":\"DATE\",\"mode\":\"REQUIRED\"},"
                     "{\"name\":\"a\",\"type\":\"JSON\"}]");

    (void)state;
    assert_int_equal(s->root.n_fields, 5);
    assert_string_equal(s->root.fields[0].name, "event_date");
    assert_int_equal(s->root.fields[0].added, COLUMN_ADDED_ALWAYS);
    assert_int_equal(s->root.n_required, 0);
    assert_string_equal(s->root.fields[4].name, "penstock_overflow");
    assert_int_equal(s->root.fields[4].added, COLUMN_ADDED_OVERFLOW);
    schema_destroy(s);
}

static void tree(void **state)
{
    struct schema *s = must_compile(
        "[{\"name\":\"a\",\"type\":\"STRING\",\"mode\":\"REQUIRED\",\"maxLength\":3},"
        "{\"name\":\"items\",\"type\":\"RECORD\",\"mode\":\"REPEATED\",\"fields\":["
        "{\"name\":\"sku\",\"type\":\"BIGNUMERIC\",\"mode\":\"REQUIRED\",\"precision\":40,"
        "\"scale\":10},"
        "{\"name\":\"in\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"x\",\"type\":\"TIME\"}]}]}]");
    const struct schema_field *items = schema_find(s, span_of("items"));

    (void)state;
    assert_int_equal(s->root.n_fields, 6);
    assert_int_equal(s->root.n_required, 1);
    assert_int_equal(s->root.fields[0].max_length, 3);
    assert_non_null(items);
    assert_int_equal(items->mode, COLUMN_REPEATED);
    assert_int_equal(items->n_required, 1);
    assert_string_equal(items->fields[0].path, "items.sku");
    assert_int_equal(items->fields[0].precision, 40);
    assert_int_equal(items->fields[0].scale, 10);
    assert_string_equal(items->fields[1].fields[0].path, "items.in.x");
    assert_null(schema_find(s, span_of("Items")));
    assert_null(schema_find(s, span_of("sku")));
    assert_null(schema_find(s, span_of("")));
    schema_destroy(s);
    schema_destroy(NULL);
}

static void refused(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "not JSON"},
        {"[{]", "not JSON at byte 2"},
        {"[]", "at least one field"},
        {"3", "array of fields"},
        {"{}", "no \"fields\""},
        {"{\"fields\":{}}", "array of fields"},
        {"[1]", "schema: a field that is not an object"},
        {"[{\"type\":\"STRING\"}]", "schema: a field without a name"},
        {"[{\"name\":\"\",\"type\":\"STRING\"}]", "without a name"},
        {"[{\"name\":1,\"type\":\"STRING\"}]", "without a name"},
        {"[{\"name\":\"1a\",\"type\":\"STRING\"}]", "1a: a name has letters"},
        {"[{\"name\":\"a-b\",\"type\":\"STRING\"}]", "a-b: a name has letters"},
        {"[{\"name\":\"\xc3\xa9\",\"type\":\"STRING\"}]", "a name has letters"},
        {"[{\"name\":\"_table_x\",\"type\":\"STRING\"}]", "reserves"},
        {"[{\"name\":\"_PARTITIONTIME\",\"type\":\"STRING\"}]", "reserves"},
        {"[{\"name\":\"a\"}]", "a: no type"},
        {"[{\"name\":\"a\",\"type\":3}]", "a: no type"},
        {"[{\"name\":\"a\",\"type\":\"RANGE\"}]", "a: a RANGE needs a rangeElementType"},
        {"[{\"name\":\"a\",\"type\":\"RANGE\",\"rangeElementType\":{\"type\":\"TIME\"}}]",
         "a: a RANGE needs a rangeElementType"},
        {"[{\"name\":\"a\",\"type\":\"RANGE\",\"rangeElementType\":\"DATE\"}]",
         "a: a RANGE needs a rangeElementType"},
        {"[{\"name\":\"a\",\"type\":\"DATE\",\"rangeElementType\":{\"type\":\"DATE\"}}]",
         "a: only a RANGE has"},
        {"[{\"name\":\"price\",\"type\":\"FLOATY\"}]", "price: unknown type FLOATY"},
        {"[{\"name\":\"a\",\"type\":\"STRING\",\"mode\":\"OPTIONAL\"}]", "a: mode is"},
        {"[{\"name\":\"a\",\"type\":\"STRING\",\"mode\":1}]", "a: mode is"},
        {"[{\"name\":\"a\",\"type\":\"STRING\"},{\"name\":\"A\",\"type\":\"STRING\"}]",
         "two columns"},
        {"[{\"name\":\"r\",\"type\":\"RECORD\"}]", "r: a RECORD needs fields"},
        {"[{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[]}]", "r: a RECORD needs fields"},
        {"[{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":3}]", "r: fields is not an array"},
        {"[{\"name\":\"r\",\"type\":\"STRING\",\"fields\":[{\"name\":\"a\",\"type\":\"DATE\"}]}]",
         "only a RECORD"},
        {"[{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"a\",\"type\":\"X\"}]}]",
         "r.a: unknown type X"},
        {"[{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"b c\",\"type\":\"DATE\"}]}]",
         "r.b c: a name"},
        {"[{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"b\",\"type\":\"DATE\"},"
         "{\"name\":\"B\",\"type\":\"DATE\"}]}]",
         "r."},
        {"[{\"name\":\"a\",\"type\":\"INTEGER\",\"maxLength\":3}]", "a: only STRING and BYTES"},
        {"[{\"name\":\"a\",\"type\":\"STRING\",\"maxLength\":0}]", "a: maxLength is"},
        {"[{\"name\":\"a\",\"type\":\"STRING\",\"maxLength\":true}]", "a: maxLength is"},
        {"[{\"name\":\"a\",\"type\":\"STRING\",\"maxLength\":1.5}]", "a: maxLength is"},
        {"[{\"name\":\"a\",\"type\":\"FLOAT\",\"precision\":3}]", "a: only NUMERIC"},
        {"[{\"name\":\"a\",\"type\":\"NUMERIC\",\"scale\":3}]", "a: scale needs"},
        {"[{\"name\":\"a\",\"type\":\"NUMERIC\",\"precision\":38,\"scale\":10}]", "a: scale is"},
        {"[{\"name\":\"a\",\"type\":\"NUMERIC\",\"precision\":31,\"scale\":1}]", "a: precision is"},
        {"[{\"name\":\"a\",\"type\":\"NUMERIC\",\"precision\":0}]", "a: precision is"},
        {"[{\"name\":\"a\",\"type\":\"BIGNUMERIC\",\"precision\":3,\"scale\":4}]",
         "a: precision is"},
        {"[{\"name\":\"a\",\"type\":\"STRING\",\"description\":3}]", "a: description has"},
        {"[{\"name\":\"a\",\"type\":\"STRING\",\"policyTags\":[]}]", "a: policyTags has"},
        {"[{\"name\":\"Event_Date\",\"type\":\"DATE\"}]", "spelled event_date"},
        {"[{\"name\":\"event_date\",\"type\":\"STRING\"}]",
         "event_date: Penstock writes this column as DATE"},
        {"[{\"name\":\"penstock_id\",\"type\":\"STRING\",\"mode\":\"REPEATED\"}]", "NULLABLE"},
        {"[{\"name\":\"penstock_id\",\"type\":\"STRING\",\"maxLength\":10}]",
         "maxLength is too small"},
        {"[{\"name\":\"penstock_overflow\",\"type\":\"JSON\",\"mode\":\"REQUIRED\"}]", "NULLABLE"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct schema *s = NULL;
        char error[256] = "";

        assert_int_equal(schema_compile(span_of(cases[i].text), &s, error, sizeof(error)), -EINVAL);
        if (strstr(error, cases[i].error) == NULL)
            fail_msg("%s: \"%s\", expected \"%s\"", cases[i].text, error, cases[i].error);
        assert_null(s);
        assert_int_equal(schema_compile(span_of(cases[i].text), &s, NULL, 0), -EINVAL);
    }
}

/* depth levels of columns: RECORDs around one STRING. */
static char *nested(int depth)
{
    char *text = calloc(1, (size_t)depth * 80 + 100);
    char *p = text;

    for (int i = 1; i < depth; i++)
        p = stpcpy(p, "[{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":");
    p = stpcpy(p, "[{\"name\":\"s\",\"type\":\"STRING\"}]");
    for (int i = 1; i < depth; i++)
        p = stpcpy(p, "}]");
    return text;
}

static void depth_limit(void **state)
{
    struct schema *s = NULL;
    char error[256];
    char *text = nested(SCHEMA_DEPTH_MAX);

    (void)state;
    schema_destroy(must_compile(text));
    free(text);
    text = nested(SCHEMA_DEPTH_MAX + 1);
    assert_int_equal(schema_compile(span_of(text), &s, error, sizeof(error)), -EINVAL);
    assert_non_null(strstr(error, "deeper"));
    free(text);
}

/* n columns c0, c1, ... */
static char *wide(int n)
{
    size_t room = (size_t)n * 40 + 10;
    char *text = calloc(1, room);
    size_t len = 1;

    text[0] = '[';
    for (int i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, room - len, "%s{\"name\":\"c%d\",\"type\":\"DATE\"}",
                                i > 0 ? "," : "", i);
    text[len] = ']';
    return text;
}

static void width_limit(void **state)
{
    struct schema *s;
    char error[256];
    char *text = wide(SCHEMA_FIELDS_MAX - 4);

    (void)state;
    s = must_compile(text);
    assert_int_equal(s->root.n_fields, SCHEMA_FIELDS_MAX);
    for (uint32_t i = 0; i < s->root.n_fields; i++)
        assert_ptr_equal(schema_find(s, span_of(s->root.fields[i].name)), &s->root.fields[i]);
    assert_null(schema_find(s, span_of("c99999")));
    schema_destroy(s);
    free(text);
    for (int n = SCHEMA_FIELDS_MAX - 3; n <= SCHEMA_FIELDS_MAX + 1; n += 4) {
        text = wide(n);
        assert_int_equal(schema_compile(span_of(text), &s, error, sizeof(error)), -EINVAL);
        assert_non_null(strstr(error, "more than 10000 columns"));
        free(text);
    }
}

static void for_json(void **state)
{
    struct schema *s = NULL;

    (void)state;
    assert_int_equal(schema_for_json(&s), 0);
    assert_string_equal(s->fields_json,
                        "[{\"name\":\"event\",\"type\":\"JSON\",\"mode\":\"NULLABLE\","
                        "\"description\":\"The event as it came\"}" ADDED "]");
    assert_null(schema_find(s, span_of(COLUMN_OVERFLOW)));
    schema_destroy(s);
}

static void names_of_types(void **state)
{
    static const char *const aliases[][2] = {
        {"INT64", "INTEGER"}, {"FLOAT64", "FLOAT"},   {"BOOL", "BOOLEAN"},
        {"STRUCT", "RECORD"}, {"DECIMAL", "NUMERIC"},
    };

    (void)state;
    for (int i = COLUMN_STRING; i <= COLUMN_RECORD; i++)
        assert_int_equal(column_type_from_name(span_of(column_type_name((enum column_type)i))), i);
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        assert_string_equal(
            column_type_name((enum column_type)column_type_from_name(span_of(aliases[i][0]))),
            aliases[i][1]);
    assert_int_equal(column_type_from_name(span_of("")), -1);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
}

static void files(void **state)
{
    char path[] = "/tmp/test_schema_XXXXXX";
    struct schema *s = NULL;
    char error[512];
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    write_file(path, "[{\"name\":\"a\",\"type\":\"STRING\"}]\n");
    assert_int_equal(schema_load(path, &s, error, sizeof(error)), 0);
    assert_int_equal(s->root.n_fields, 5);
    schema_destroy(s);
    write_file(path, "[{\"name\":\"a\",\"type\":\"STRINGY\"}]\n");
    assert_int_equal(schema_load(path, &s, error, sizeof(error)), -EINVAL);
    assert_non_null(strstr(error, path));
    assert_non_null(strstr(error, "a: unknown type STRINGY"));
    unlink(path);
    assert_int_equal(schema_load(path, &s, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, path));
    assert_int_equal(schema_load("/tmp", &s, error, sizeof(error)), -EISDIR);
}

static void shipped_schemas(void **state)
{
    static const struct {
        const char *file;
        uint32_t n_fields, n_required;
    } cases[] = {
        {"config/schemas/order.json", 12, 7}, /* items is REPEATED, its fields are REQUIRED */
        {"config/schemas/inventory.json", 11, 7},
        {"config/schemas/user_activity.json", 11, 7},
    };

    (void)state;
    if (access("config/schemas", R_OK) != 0)
        skip(); /* runs at the top of the tree only */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct schema *s = NULL;
        char error[512];

        if (schema_load(cases[i].file, &s, error, sizeof(error)) != 0)
            fail_msg("%s", error);
        assert_int_equal(s->root.n_fields, cases[i].n_fields);
        assert_int_equal(s->root.n_required, cases[i].n_required);
        schema_destroy(s);
    }
}

static int allocations_left;

static void *failing_realloc(void *ptr, size_t len)
{
    return allocations_left-- > 0 ? realloc(ptr, len) : NULL;
}

static void every_allocation_may_fail(void **state)
{
    static const char text[] =
        "[{\"name\":\"a\",\"type\":\"STRING\",\"description\":\"x\"},{\"name\":\"r\",\"type\":"
        "\"RECORD\","
        "\"fields\":[{\"name\":\"b\",\"type\":\"DATE\"},{\"name\":\"c\",\"type\":\"DATE\"}]},"
        "{\"name\":\"d\",\"type\":\"DATE\"},{\"name\":\"e\",\"type\":\"DATE\"},{\"name\":\"f\","
        "\"type\":\"DATE\"}]";
    struct schema *s = NULL;
    int rc = -ENOMEM, n = 0;

    (void)state;
    schema_realloc = failing_realloc;
    for (; rc != 0 && n < 1000; n++) {
        char error[128] = "";

        allocations_left = n;
        rc = schema_compile(span_of(text), &s, error, sizeof(error));
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            assert_string_equal(error, "out of memory");
        }
    }
    schema_realloc = realloc;
    assert_int_equal(rc, 0);
    assert_true(n > 25);
    schema_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_text),
        cmocka_unit_test(declared_columns_of_ours_stay_where_they_are),
        cmocka_unit_test(tree),
        cmocka_unit_test(refused),
        cmocka_unit_test(depth_limit),
        cmocka_unit_test(width_limit),
        cmocka_unit_test(for_json),
        cmocka_unit_test(names_of_types),
        cmocka_unit_test(files),
        cmocka_unit_test(shipped_schemas),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
