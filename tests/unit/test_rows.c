/*
 * Rows of inferred and growing columns, rule by rule: what each value shows, where it goes, how names
 * are made, what is refused. test_rows_random.c checks random events.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/event/rows.h"
#include "dataplane/event/rows_internal.h"

#define TAIL      "\"event_date\":\"2026-11-21\",\"penstock_id\":\"x\""
#define EVENT_MAX ((size_t)1 << 20)

static char line_buf[EVENT_MAX + 256];
static char *row_buf;

/* An assembled line of an event. */
static struct span line_of(const char *event, uint16_t *added)
{
    size_t n = strlen(event);
    const char *tail = strcmp(event, "{}") == 0 ? TAIL : "," TAIL;

    assert_true(n > 1 && n <= EVENT_MAX);
    memcpy(line_buf, event, n - 1);
    memcpy(line_buf + n - 1, tail, strlen(tail));
    memcpy(line_buf + n - 1 + strlen(tail), "}\n", 2);
    *added = (uint16_t)strlen(tail);
    return (struct span){line_buf, n + strlen(tail) + 1};
}

static struct rows *start(const char *base, const char *time_path, uint32_t columns_max)
{
    struct rows_start s = {.time_path = time_path, .columns_max = columns_max};
    struct schema *schema = NULL;
    struct rows *r = NULL;
    char error[256] = "";

    if (base != NULL && schema_compile(span_of(base), &schema, error, sizeof(error)) != 0)
        fail_msg("%s", error);
    s.base = schema;
    assert_int_equal(rows_start(&s, &r), 0);
    schema_destroy(schema);
    return r;
}

/* The row's text without the tail and the line end; the buffer is the test's. */
static enum rows_result encode(const struct rows *r, const char *event)
{
    uint16_t added;
    struct span line = line_of(event, &added);
    size_t len = 0, tail = strlen(TAIL "}\n");
    enum rows_result result;

    free(row_buf);
    row_buf = malloc(rows_encoded_max(line.len));
    assert_non_null(row_buf);
    result = rows_encode(r, line, added, row_buf, &len);
    assert_true(len <= rows_encoded_max(line.len) && len > tail);
    assert_memory_equal(row_buf + len - tail, TAIL "}\n", tail);
    len -= tail;
    len -= row_buf[len - 1] == ',' ? 1 : 0;
    row_buf[len] = '\0';
    return result;
}

/* Takes an event in: afterwards its row does not grow any more. */
static void grow(struct rows **r, const char *event)
{
    while (encode(*r, event) == ROWS_GROWS) {
        uint16_t added;
        struct span line = line_of(event, &added);
        struct rows *next = NULL, *again = NULL;

        assert_int_equal(rows_grow(*r, line, added, &next), 0);
        assert_int_not_equal(next->hash, (*r)->hash);
        assert_int_equal(rows_parse((struct span){next->text, next->text_len}, &again, NULL, 0), 0);
        assert_int_equal(again->hash, next->hash);
        rows_destroy(again);
        rows_destroy(*r);
        *r = next;
    }
}

static void fix(struct rows **r)
{
    struct rows *fixed = NULL;

    assert_int_equal(rows_fix(*r, &fixed), 0);
    assert_true(fixed->fixed_types && fixed->n_columns == (*r)->n_columns);
    rows_destroy(*r);
    *r = fixed;
}

static const struct schema_field *column(const struct rows *r, const char *path)
{
    const struct schema_field *f = &r->schema->root;

    while (f != NULL && *path != '\0') {
        size_t n = strcspn(path, ".");

        f = schema_field_find(f, (struct span){path, n});
        path += n + (path[n] == '.' ? 1 : 0);
    }
    return f;
}

/* The type and mode of a column: "INTEGER", "STRING*" when REPEATED, "-" when there is none. */
static const char *shape(const struct rows *r, const char *path)
{
    static char text[32];
    const struct schema_field *f = column(r, path);

    if (f == NULL)
        return "-";
    snprintf(text, sizeof(text), "%s%s", column_type_name(f->type),
             f->mode == COLUMN_REPEATED ? "*" : "");
    return text;
}

static void expect_row(const struct rows *r, const char *event, const char *row)
{
    (void)encode(r, event);
    assert_string_equal(row_buf, row);
}

/* What the column x becomes after up to three values of it, types not fixed. */
static void shapes(void **state)
{
    static const struct {
        const char *shape, *values[3];
    } cases[] = {
        {"STRING", {"\"a\""}},
        {"INTEGER", {"1", "-9223372036854775808", "9223372036854775807"}},
        {"FLOAT", {"1.5", "1e3", "-0.0"}},
        {"FLOAT", {"1", "2.5"}},
        {"FLOAT", {"2.5", "1"}},
        {"FLOAT", {"9007199254740992", "0.5"}},
        {"JSON", {"9007199254740993", "0.5"}},
        {"JSON", {"0.5", "9007199254740993"}},
        {"FLOAT", {"100000000000000000000"}},       /* past int64, but a double holds it */
        {"FLOAT", {"0.1000000000000000055511151"}}, /* what a double prints with 25 digits */
        {"FLOAT", {"1e308", "4.9e-324", "0e999"}},
        {"JSON", {"18446744073709551615"}},
        {"JSON", {"3.14159265358979323846"}},
        {"JSON", {"1e400"}},
        {"JSON", {"1", "1e-400"}},
        {"BOOLEAN", {"true", "false", "null"}},
        {"RECORD", {"{\"a\":1}", "{}", "{\"b\":null}"}},
        {"STRING*", {"[]", "[\"a\"]", "[]"}},
        {"FLOAT*", {"[1,2.5]", "[3]"}},
        {"RECORD*", {"[{}]", "[{\"a\":1},{\"b\":2}]"}},
        {"-", {"null", "{}", "[]"}},
        {"-", {"{\"a\":{\"b\":[]}}", "[{},{\"a\":null}]"}},
        {"JSON", {"[null]"}},
        {"JSON", {"[1,null]"}},
        {"JSON", {"[[1]]"}},
        {"JSON", {"[1,\"a\"]"}},
        {"JSON", {"[{\"a\":1},2]"}},
        {"JSON", {"[1]", "1"}},
        {"JSON", {"1", "[1]"}},
        {"JSON", {"1", "\"1\""}},
        {"JSON", {"true", "1"}},
        {"JSON", {"{\"a\":1}", "1"}},
        {"JSON", {"1", "{\"a\":1}"}},
        {"JSON", {"{\"a\":1}", "[{\"a\":1}]"}},
        {"JSON", {"[{\"a\":1}]", "{\"a\":1}"}},
        {"JSON", {"[1]", "[{\"a\":1}]"}},
        {"INTEGER", {"1", "{}", "[]"}}, /* these show nothing */
        {"INTEGER*", {"[1]", "{}", "[{}]"}},
        {"STRING", {"\"2026-11-21T00:00:00Z\""}}, /* not the time field */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rows *r = start(NULL, NULL, 2000);

        for (size_t k = 0; k < 3 && cases[i].values[k] != NULL; k++) {
            char event[256];

            snprintf(event, sizeof(event), "{\"x\":%s}", cases[i].values[k]);
            grow(&r, event);
        }
        if (strcmp(shape(r, "x"), cases[i].shape) != 0)
            fail_msg("case %zu (%s ...): %s, not %s", i, cases[i].values[0], shape(r, "x"),
                     cases[i].shape);
        rows_destroy(r);
    }
}

/* Columns that are there and fixed: x INTEGER, f FLOAT, s STRING, o RECORD{a,b}, l RECORD*{sku}, n
 * INTEGER*, j JSON, t TIMESTAMP. */
static struct rows *fixed_columns(void)
{
    struct rows *r = start(NULL, "t", 100);

    grow(&r, "{\"x\":1,\"f\":1.5,\"s\":\"a\",\"b\":true,\"o\":{\"a\":1,\"b\":\"c\"},"
             "\"l\":[{\"sku\":\"k\"}],\"n\":[1],\"j\":[null],\"t\":\"2026-11-21T00:00:00Z\"}");
    fix(&r);
    return r;
}

static void fixed_values(void **state)
{
    static const struct {
        const char *event, *row;
    } cases[] = {
        {"{}", "{"},
        {"{\"x\": 5 , \"s\":\"\\u00e9\\n\"}", "{\"x\":5,\"s\":\"\\u00e9\\n\""},
        {"{\"\\u0078\":5}", "{\"x\":5"},
        {"{\"x\":null,\"zz\":null}", "{"},
        {"{\"x\":9007199254740991}", "{\"x\":9007199254740991"},
        {"{\"x\":-9007199254740992}", "{\"x\":\"-9007199254740992\""},
        {"{\"n\":[1,9223372036854775807]}", "{\"n\":[1,\"9223372036854775807\"]"},
        {"{\"n\":[]}", "{\"n\":[]"},
        {"{\"x\":1.0}", "{\"penstock_overflow\":{\"x\":1.0}"},
        {"{\"x\":\"1\",\"s\":2}", "{\"penstock_overflow\":{\"x\":\"1\",\"s\":2}"},
        {"{\"x\":[1],\"s\":\"k\"}", "{\"s\":\"k\",\"penstock_overflow\":{\"x\":[1]}"},
        {"{\"f\":3,\"b\":\"true\"}", "{\"f\":3,\"penstock_overflow\":{\"b\":\"true\"}"},
        {"{\"f\":9007199254740993}", "{\"penstock_overflow\":{\"f\":9007199254740993}"},
        {"{\"f\":1e400}", "{\"penstock_overflow\":{\"f\":\"1e400\"}"},
        {"{\"n\":[1,2.5,null]}", "{\"penstock_overflow\":{\"n\":[1,2.5,null]}"},
        {"{\"o\":{\"a\":\"z\",\"b\":\"k\",\"q\":[]}}",
         "{\"o\":{\"b\":\"k\"},\"penstock_overflow\":{\"o.a\":\"z\",\"o.q\":[]}"},
        {"{\"o\":{}}", "{\"o\":{}"},
        {"{\"o\":7}", "{\"penstock_overflow\":{\"o\":7}"},
        {"{\"l\":[{\"sku\":\"1\"},{},{\"sku\":3}]}",
         "{\"l\":[{\"sku\":\"1\"},{},{}],\"penstock_overflow\":{\"l[2].sku\":3}"},
        {"{\"l\":[{\"sku\":\"1\"},null]}", "{\"penstock_overflow\":{\"l\":[{\"sku\":\"1\"},null]}"},
        {"{\"l\":{\"sku\":\"1\"}}", "{\"penstock_overflow\":{\"l\":{\"sku\":\"1\"}}"},
        {"{\"j\":{\"a\": [1, null]}}", "{\"j\":{\"a\": [1, null]}"},
        {"{\"j\":{\"a\":1,\"\\u0061\":2,\"b\":{\"a\":1},\"a\":3}}",
         "{\"j\":{\"a\":1,\"\\u0061#2\":2,\"b\":{\"a\":1},\"a#3\":3}"},
        {"{\"j\":[18446744073709551615,{\"v\":-1E+999}]}",
         "{\"j\":[\"18446744073709551615\",{\"v\":\"-1E+999\"}]"},
        {"{\"t\":\"2026-11-21T00:00:00+01:00\"}", "{\"t\":\"2026-11-21T00:00:00+01:00\""},
        {"{\"t\":\"2026-11-21T00:00:00.1234567Z\"}",
         "{\"penstock_overflow\":{\"t\":\"2026-11-21T00:00:00.1234567Z\"}"},
        {"{\"t\":1}", "{\"penstock_overflow\":{\"t\":1}"},
        /* repeated keys: the first has the column */
        {"{\"x\":1,\"x\":2,\"\\u0078\":3}",
         "{\"x\":1,\"penstock_overflow\":{\"x\":2,\"\\u0078#2\":3}"},
        {"{\"x\":null,\"x\":2}", "{\"penstock_overflow\":{\"x\":2}"},
        {"{\"o\":{\"a\":\"z\"},\"o.a\":[]}",
         "{\"o\":{},\"penstock_overflow\":{\"o.a\":\"z\",\"o.a#2\":[]}"},
        {"{\"o\":{\"a\":1},\"o\":{\"a\":1,\"a\":2}}",
         "{\"o\":{\"a\":1},\"penstock_overflow\":{\"o\":{\"a\":1,\"a#2\":2}}"},
    };
    struct rows *r = fixed_columns();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(encode(r, cases[i].event), ROWS_OK);
        if (strcmp(row_buf, cases[i].row) != 0)
            fail_msg("%s\n became %s\n    not %s", cases[i].event, row_buf, cases[i].row);
    }
    rows_destroy(r);
}

static void fixed_types_grow_by_columns_only(void **state)
{
    struct rows *r = fixed_columns(), *next = NULL;
    uint16_t added;
    struct span line = line_of("{\"x\":\"no\",\"n\":[\"a\"]}", &added);

    (void)state;
    assert_int_equal(rows_grow(r, line, added, &next), -EALREADY);
    assert_int_equal(encode(r, "{\"o\":{\"c\":1},\"l\":[{},{\"v\":[1,2.5]}],\"new\":[1,\"a\"]}"),
                     ROWS_GROWS);
    assert_string_equal(row_buf, "{\"o\":{},\"l\":[{},{}],\"penstock_overflow\":{\"o.c\":1,"
                                 "\"l[1].v\":[1,2.5],\"new\":[1,\"a\"]}");
    grow(&r, "{\"o\":{\"c\":1},\"l\":[{},{\"v\":[1,2.5]}],\"new\":[1,\"a\"]}");
    assert_string_equal(shape(r, "o.c"), "INTEGER");
    assert_string_equal(shape(r, "l.v"), "FLOAT*");
    assert_string_equal(shape(r, "new"), "JSON");
    assert_string_equal(shape(r, "x"), "INTEGER");
    assert_string_equal(row_buf, "{\"o\":{\"c\":1},\"l\":[{},{\"v\":[1,2.5]}],\"new\":[1,\"a\"]");
    rows_destroy(r);
}

static void time_field(void **state)
{
    struct rows *r = start(NULL, "meta.at", 100);

    (void)state;
    grow(&r, "{\"at\":\"2026-11-21T00:00:00Z\",\"meta\":{\"at\":\"2022-01-17T09:28:48+00:00\"}}");
    assert_string_equal(shape(r, "meta.at"), "TIMESTAMP");
    assert_string_equal(shape(r, "at"), "STRING");
    grow(&r, "{\"meta\":{\"at\":\"yesterday\"}}");
    assert_string_equal(shape(r, "meta.at"), "STRING");
    grow(&r, "{\"meta\":{\"at\":\"2026-11-21T00:00:00Z\"}}");
    assert_string_equal(shape(r, "meta.at"), "STRING");
    rows_destroy(r);
    r = start(NULL, "meta.at", 100);
    grow(&r, "{\"meta\":[{\"at\":\"2026-11-21T00:00:00Z\"}]}");
    assert_string_equal(shape(r, "meta.at"), "STRING"); /* paths do not lead into arrays */
    rows_destroy(r);
}

static void base_columns(void **state)
{
    static const char base[] =
        "[{\"name\":\"id\",\"type\":\"STRING\",\"mode\":\"REQUIRED\",\"maxLength\":\"9\"},"
        "{\"name\":\"n\",\"type\":\"INTEGER\",\"description\":\"say \\\"n\\\"\"},"
        "{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"d\",\"type\":\"DATE\"}]},"
        "{\"name\":\"p\",\"type\":\"RANGE\",\"rangeElementType\":{\"type\":\"DATE\"}},"
        "{\"name\":\"ps\",\"type\":\"RANGE\",\"rangeElementType\":{\"type\":\"DATE\"},\"mode\":"
        "\"REPEATED\"},{\"name\":\"v\",\"type\":\"INTERVAL\"},"
        "{\"name\":\"event_date\",\"type\":\"DATE\",\"mode\":\"REQUIRED\"}]";
    struct rows *r = start(base, NULL, 100);
    const struct schema_field *id;

    (void)state;
    expect_row(r, "{\"id\":\"a\",\"n\":\"12\",\"r\":{\"d\":\"2026-11-21\"}}",
               "{\"id\":\"a\",\"n\":\"12\",\"r\":{\"d\":\"2026-11-21\"}");
    assert_int_equal(encode(r, "{\"id\":\"a\",\"n\":\"x\"}"), ROWS_OK); /* never retyped */
    assert_string_equal(row_buf, "{\"id\":\"a\",\"penstock_overflow\":{\"n\":\"x\"}");
    expect_row(
        r,
        "{\"id\":\"a\",\"p\":{\"end\":\"2026-11-21\"},\"ps\":[{},{\"start\":null}],\"v\":\"1-2 3 "
        "4:5:6\"}",
        "{\"id\":\"a\",\"p\":{\"end\":\"2026-11-21\"},\"ps\":[{},{\"start\":null}],\"v\":\"1-2 3 "
        "4:5:6\"");
    assert_int_equal(encode(r, "{\"id\":\"a\",\"p\":{\"x\":1},\"v\":\"P1Y\"}"), ROWS_OK);
    assert_string_equal(row_buf,
                        "{\"id\":\"a\",\"penstock_overflow\":{\"p\":{\"x\":1},\"v\":\"P1Y\"}");
    grow(&r, "{\"id\":\"a\",\"ID\":1,\"r\":{\"e\":2},\"Event_Date\":\"x\"}");
    assert_string_equal(shape(r, "r.e"), "INTEGER");
    id = column(r, "id");
    assert_true(id->max_length == 9 && id->mode == COLUMN_REQUIRED);
    assert_non_null(strstr(r->schema->fields_json, "\"description\":\"say \\\"n\\\"\""));
    assert_int_equal(column(r, "event_date")->mode, COLUMN_REQUIRED);
    assert_non_null(strstr(row_buf, "\"ID_"));
    assert_non_null(strstr(row_buf, "\"Event_Date_"));
    fix(&r);
    grow(&r, "{\"id\":\"a\",\"more\":{\"x\":1}}");
    assert_string_equal(shape(r, "more.x"), "INTEGER");
    rows_destroy(r);
}

/* Another configuration of a table that has learned: its columns first, what was learned is kept. */
static void rebase(struct rows **r, const char *base, uint32_t columns_max, int rc)
{
    struct rows_start s = {.columns_max = columns_max};
    struct schema *schema = NULL;
    struct rows *next = NULL, *again = NULL;
    char error[256] = "";

    if (base != NULL && schema_compile(span_of(base), &schema, error, sizeof(error)) != 0)
        fail_msg("%s", error);
    s.base = schema;
    assert_int_equal(rows_rebase(*r, &s, &next), rc);
    if (rc == 0) {
        assert_int_equal(next->fixed_types, (*r)->fixed_types);
        assert_int_equal(rows_rebase(next, &s, &again), -EALREADY);
        rows_destroy(*r);
        *r = next;
    }
    schema_destroy(schema);
}

static void other_configurations(void **state)
{
    static const char one[] =
        "[{\"name\":\"n\",\"type\":\"INTEGER\"},{\"name\":\"r\",\"type\":\"RECORD\","
        "\"fields\":[{\"name\":\"d\",\"type\":\"DATE\"}]}]";
    static const char two[] =
        "[{\"name\":\"price\",\"type\":\"NUMERIC\"},{\"name\":\"a_b\",\"type\":\"INTEGER\"},"
        "{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"E\",\"type\":\"INTEGER\"}]}]";
    struct rows *r = start(one, NULL, 100);

    (void)state;
    grow(&r, "{\"n\":1,\"r\":{\"e\":2,\"f-g\":\"x\"},\"a-b\":5}");
    fix(&r);
    rebase(&r, one, 100, -EALREADY);
    rebase(&r, one, 50, 0);
    assert_int_equal(r->columns_max, 50);
    rebase(&r, two, 50, 0);
    assert_string_equal(shape(r, "price"), "NUMERIC");
    assert_string_equal(shape(r, "n"), "INTEGER"); /* no longer configured, still a column */
    assert_string_equal(shape(r, "r.d"), "DATE");
    assert_string_equal(shape(r, "r.f_g"), "STRING");
    assert_string_equal(shape(r, "r.E"), "INTEGER");
    assert_string_equal(shape(r, "r.e"), "-"); /* the configured one has its name */
    expect_row(r, "{\"a_b\":1,\"n\":2,\"r\":{\"f-g\":\"y\",\"E\":3},\"price\":\"1.5\"}",
               "{\"a_b\":1,\"n\":2,\"r\":{\"f_g\":\"y\",\"E\":3},\"price\":\"1.5\"");
    rebase(&r, NULL, 50, -EALREADY); /* all inferred: nothing leaves */
    expect_row(r, "{\"n\":2,\"price\":\"x\"}", "{\"n\":2,\"penstock_overflow\":{\"price\":\"x\"}");
    grow(&r, "{\"later\":true}");
    rebase(&r, two, 50, -EALREADY);
    rows_destroy(r);
}

static bool none_taken(const void *context, struct span name)
{
    (void)context;
    (void)name;
    return false;
}

static bool first_taken(const void *context, struct span name)
{
    return span_equal(name, span_of(context));
}

static void names(void **state)
{
    static const struct {
        const char *source, *name;
    } cases[] = {
        {"a_B9", "a_B9"},
        {"order-id", "order_id"},
        {"9a", "_9a"},
        {"", "_"},
        {"\xC3\xA9t\xC3\xA9", "_t_"},
        {"\xF0\x9F\x98\x80", "_"},
        {"a b.c", "a_b_c"},
        {"_table_x", "__table_x"},
        {"_PARTITIONTIME", "__PARTITIONTIME"},
        {"-FILE_", "__FILE_"},
        {"__ROOT__", "___ROOT__"},
        {"_row_timestamp", "__row_timestamp"},
    };
    char name[ROWS_NAME_BYTES_MAX + 1], longest[1001], again[ROWS_NAME_BYTES_MAX + 1];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rows_name_make(span_of(cases[i].source), none_taken, NULL, name);
        assert_string_equal(name, cases[i].name);
    }
    memset(longest, 'x', 1000);
    longest[1000] = '\0';
    assert_int_equal(rows_name_make(span_of(longest), none_taken, NULL, name), 300);
    assert_int_equal(rows_name_make(span_of(longest), first_taken, name, again), 300);
    assert_true(again[291] == '_' && strspn(again, "x") == 291);
    rows_name_make(span_of("a-b"), first_taken, "a_b", name);
    assert_int_equal(strlen(name), 12);
    assert_int_equal(strspn(name + 4, "0123456789abcdef"), 8);
    rows_name_make(span_of("a-b"), first_taken, "a_b", again);
    assert_string_equal(name, again); /* the same everywhere, for ever */
    assert_string_equal(name, "a_b_15c1e01b");
}

/* No two source names share a column, and a mapping stays as it is. */
static void names_in_a_table(void **state)
{
    static const char event[] = "{\"a-b\":1,\"a_b\":2,\"A_B\":3,\"a b\":4,\"\":5,\"penstock_id\":6,"
                                "\"o\":{\"penstock_id\":7,\"a.b\":8,\"a b\":9}}";
    struct rows *r = start(NULL, NULL, 100);
    char first[1024];

    (void)state;
    grow(&r, event);
    assert_string_equal(shape(r, "o.penstock_id"), "INTEGER");
    assert_string_equal(shape(r, "a_b"), "INTEGER");
    assert_int_equal(r->n_columns, 4 + 7 + 3);
    snprintf(first, sizeof(first), "%s", row_buf);
    assert_null(strstr(first, "penstock_overflow"));
    assert_null(strstr(first, "\"penstock_id\":6"));
    grow(&r, "{\"a/b\":1}");
    expect_row(r, event, first);
    fix(&r);
    expect_row(r, event, first);
    assert_non_null(strstr(r->schema->fields_json, "\"description\":\"Source field: a-b\""));
    rows_destroy(r);
}

static void columns_max(void **state)
{
    struct rows *r = start(NULL, NULL, 7); /* three of the event's */

    (void)state;
    grow(&r, "{\"o\":{\"p\":{\"q\":{\"deep\":1}}},\"a\":1,\"b\":{\"c\":1,\"d\":2},\"e\":5}");
    assert_int_equal(r->n_columns, 7);
    assert_string_equal(row_buf, "{\"a\":1,\"b\":{\"c\":1},\"penstock_overflow\":{"
                                 "\"o\":{\"p\":{\"q\":{\"deep\":1}}},\"b.d\":2,\"e\":5}");
    assert_int_equal(encode(r, "{\"more\":1}"), ROWS_OK);
    grow(&r, "{\"b\":0,\"x\":1,\"y\":2}"); /* b needs no columns below it any more */
    assert_string_equal(row_buf, "{\"b\":0,\"x\":1,\"penstock_overflow\":{\"y\":2}");
    assert_int_equal(r->n_columns, 7);
    rows_destroy(r);
}

static void depth(void **state)
{
    struct rows *r = start(NULL, NULL, 100);
    char event[256] = "", path[64] = "", row[256];

    (void)state;
    for (int i = 0; i < 20; i++)
        strncat(event, "{\"a\":", sizeof(event) - strlen(event) - 1);
    strncat(event, "1", 2);
    for (int i = 0; i < 20; i++)
        strncat(event, "}", 2);
    grow(&r, event);
    for (int i = 0; i < 15; i++)
        strncat(path, i == 0 ? "a" : ".a", 3);
    assert_string_equal(shape(r, path), "JSON");
    assert_int_equal(r->n_columns, 4 + 15);
    snprintf(row, sizeof(row), "%.*s", (int)strlen(event) - 1, event);
    assert_string_equal(row_buf, row);
    rows_destroy(r);
}

/* Past the limits the event's text is kept, and nothing else. */
static void whole_events(void **state)
{
    struct rows *r = start(NULL, NULL, 5);
    struct rows_counts counts = {0};
    char *event = malloc(EVENT_MAX), *p = event;
    size_t len = 0;
    uint16_t added;
    struct span line;

    (void)state;
    p += snprintf(p, 64, "{\"s\":\"a\\\"b\",\t\"k\":[");
    for (int i = 0; i < 9000; i++)
        p += snprintf(p, 32, "%s{\"q\":1}", i > 0 ? "," : "");
    p += snprintf(p, 8, "],\"j\":{");
    for (int i = 0; i < ROWS_KEYS_MAX + 1; i++)
        p += snprintf(p, 32, "%s\"%d\":0", i > 0 ? "," : "", i);
    snprintf(p, 8, "}}");
    line = line_of(event, &added);
    row_buf = realloc(row_buf, rows_encoded_max(line.len));
    (void)rows_encode_counted(r, line, added, row_buf, &len, &counts);
    assert_true(counts.whole == 1 && counts.overflowed == 1 && counts.normalized == 0);
    assert_memory_equal(row_buf, "{\"penstock_overflow\":{\"\":\"{\\\"s\\\":\\\"a\\\\\\\"b\\\",\\t",
                        40);
    assert_memory_equal(row_buf + len - strlen(TAIL) - 2, TAIL "}\n", strlen(TAIL) + 2);
    /* the next line finds the scratch clean */
    expect_row(r, "{\"j\":{\"a\":1,\"b\":2}}", "{\"penstock_overflow\":{\"j\":{\"a\":1,\"b\":2}}");
    p = event + snprintf(event, 2, "{");
    for (int i = 0; i <= ROWS_SUFFIX_MAX; i++)
        p += snprintf(p, 32, "%s\"k\":{}", i > 0 ? "," : "");
    snprintf(p, 4, "}");
    (void)encode(r, event);
    assert_non_null(strstr(row_buf, "{\"\":\"{\\\"k\\\":{}"));
    free(event);
    rows_destroy(r);
}

/* Configured columns stay beside the text: they may be REQUIRED. */
static void whole_events_with_base(void **state)
{
    static const char base[] =
        "[{\"name\":\"id\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},"
        "{\"name\":\"j\",\"type\":\"JSON\"},"
        "{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"d\",\"type\":\"DATE\","
        "\"mode\":\"REQUIRED\"}]}]";
    static const char expected[] =
        "{\"id\":\"a\",\"r\":{\"d\":\"2026-11-21\"},\"j\":\"{\\\"k\\\":0,";
    static const char text[] = "\"penstock_overflow\":{\"\":\"{\\\"u\\\":{},\\\"id\\\":\\\"a\\\",";
    struct rows *r = start(base, NULL, 100);
    char *event = malloc(EVENT_MAX), *p = event;

    (void)state;
    grow(&r, "{\"n\":1,\"r\":{\"e\":1}}");
    p += snprintf(p, 128,
                  "{\"u\":{},\"id\":\"a\",\"n\":1,\"r\":{\"e\":2,\"f\":{},\"d\":"
                  "\"2026-11-21\"},\"j\":{");
    for (int i = 0; i <= ROWS_SUFFIX_MAX; i++)
        p += snprintf(p, 32, "%s\"k\":0", i > 0 ? "," : "");
    snprintf(p, 64, "},\"v\":1}");
    assert_int_equal(encode(r, event), ROWS_GROWS); /* v, behind what could not be kept */
    assert_memory_equal(row_buf, expected, strlen(expected));
    assert_non_null(strstr(row_buf, text));
    grow(&r, event);
    assert_string_equal(shape(r, "v"), "INTEGER");
    assert_memory_equal(row_buf, expected, strlen(expected));
    free(event);
    rows_destroy(r);
}

/* Cuts that were made under another rule come back in the same object. */
static void earlier_overflow(void **state)
{
    static const char line[] =
        "{\"x\":1,\"y\":[],\"penstock_overflow\":{\"y\":2,\"z\":[3]}," TAIL "}\n";
    uint16_t added = (uint16_t)(strlen(line) - strlen("{\"x\":1,\"y\":[]") - 2);
    struct rows *r = start(NULL, NULL, 100), *next = NULL;
    struct span span = {line, strlen(line)};
    char row[4096 * 2];
    size_t len = 0;

    (void)state;
    assert_true(rows_encoded_max(span.len) <= sizeof(row));
    assert_int_equal(rows_grow(r, span, added, &next), 0);
    assert_int_equal(next->n_columns, 5);
    assert_int_equal(rows_encode(next, span, added, row, &len), ROWS_OK);
    row[len] = '\0';
    assert_string_equal(row, "{\"x\":1,\"penstock_overflow\":{\"y\":[],\"y#2\":2,\"z\":[3]}," TAIL
                             "}\n");
    rows_destroy(next);
    rows_destroy(r);
}

static void refused_texts(void **state)
{
    static const char *const texts[] = {
        "",
        "{}",
        "{}\n",
        "[]\n",
        "{\"format\":2,\"fixed_types\":true,\"columns_max\":10,\"fields\":[]}\n",
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":0,\"fields\":[]}\n",
        "{\"format\":1,\"fixed_types\":1,\"columns_max\":10,\"fields\":[]}\n",
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":10,\"fields\":{}}\n",
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":10,\"time_path\":1,\"fields\":[]}\n",
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":10,\"time_path\":\"a..b\",\"fields\":[]"
        "}\n",
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":10,\"fields\":[]",
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":10,\"fields\":[{\"name\":\"a\","
        "\"type\":\"STRING\"}]}\n",
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":10,\"fields\":[{\"name\":\"a\","
        "\"type\":\"DATE\",\"source\":\"a\"}]}\n",
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":10,\"fields\":[{\"name\":\"a\","
        "\"type\":\"STRING\",\"mode\":\"REQUIRED\",\"source\":\"a\"}]}\n",
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":10,\"fields\":[{\"name\":\"a\","
        "\"type\":\"STRING\",\"source\":\"k\"},{\"name\":\"b\",\"type\":\"STRING\",\"source\":"
        "\"\\u006b\"}]}\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct rows *r = NULL;
        char error[256] = "";

        if (rows_parse(span_of(texts[i]), &r, error, sizeof(error)) != -EINVAL)
            fail_msg("taken: %s", texts[i]);
        assert_true(error[0] != '\0' && r == NULL);
    }
}

static int allocations_left;

static void *failing_realloc(void *p, size_t len)
{
    return allocations_left-- > 0 ? realloc(p, len) : NULL;
}

/* Each allocation of start, growth and fixing fails once; nothing leaks (asan). */
static void failing_memory(void **state)
{
    static const char event[] = "{\"a\":{\"b\":[1,2],\"c-d\":\"x\"},\"e\":[{\"f\":1}]}";
    uint16_t added;
    struct span line = line_of(event, &added);
    struct rows_start s = {.time_path = "t", .columns_max = 100};
    int rc = -ENOMEM;

    (void)state;
    for (int n = 0; rc != 0; n++) {
        struct rows *first = NULL, *next = NULL, *fixed = NULL;

        assert_true(n < 1000);
        allocations_left = n;
        schema_realloc = failing_realloc;
        rc = rows_start(&s, &first);
        if (rc == 0)
            rc = rows_grow(first, line, added, &next);
        if (rc == 0)
            rc = rows_fix(next, &fixed);
        schema_realloc = realloc;
        assert_true(rc == 0 || rc == -ENOMEM);
        rows_destroy(first);
        rows_destroy(next);
        rows_destroy(fixed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(fixed_values),
        cmocka_unit_test(fixed_types_grow_by_columns_only),
        cmocka_unit_test(time_field),
        cmocka_unit_test(base_columns),
        cmocka_unit_test(other_configurations),
        cmocka_unit_test(names),
        cmocka_unit_test(names_in_a_table),
        cmocka_unit_test(columns_max),
        cmocka_unit_test(depth),
        cmocka_unit_test(whole_events),
        cmocka_unit_test(whole_events_with_base),
        cmocka_unit_test(earlier_overflow),
        cmocka_unit_test(refused_texts),
        cmocka_unit_test(failing_memory),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    free(row_buf);
    return failed;
}
