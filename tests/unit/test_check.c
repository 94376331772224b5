/* Events against schemas: what each column type takes and refuses, every reason, and which members
 * are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/event/check.h"

#define DOC_BYTES_MAX 65536

static char doc_buf[DOC_BYTES_MAX + JSON_PADDING_BYTES];
static struct check_result result;

static struct schema *must_compile(const char *text)
{
    struct schema *s = NULL;
    char error[256] = "";

    if (schema_compile(span_of(text), &s, error, sizeof(error)) != 0)
        fail_msg("%s: %s", text, error);
    return s;
}

/* Checks a document that must be valid JSON. */
static enum reason check(const struct schema *s, const char *doc)
{
    size_t len = strlen(doc), offset;

    assert_true(len < DOC_BYTES_MAX);
    memcpy(doc_buf, doc, len + 1);
    if (json_validate(doc_buf, len, &offset) != JSON_ERROR_NONE)
        fail_msg("not valid at %zu: %s", offset, doc);
    check_event(s, json_value_at(doc_buf, len), &result);
    return result.reason;
}

struct value_case {
    const char *value;
    enum reason reason;
};

#define OK    REASON_NONE
#define VALUE REASON_BAD_VALUE
#define TYPE  REASON_WRONG_TYPE

static void check_values(const char *column, const struct value_case *cases, size_t n)
{
    char text[512], doc[4096];
    struct schema *s;

    (void)snprintf(text, sizeof(text), "[{\"name\":\"c\",%s}]", column);
    s = must_compile(text);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(doc, sizeof(doc), "{\"c\":%s}", cases[i].value);
        if (check(s, doc) != cases[i].reason)
            fail_msg("%s %s: %s (%s)", column, doc, reason_name(result.reason), result.detail);
        assert_true(result.reason == REASON_NONE || result.error_offset == 5);
    }
    schema_destroy(s);
}

#define CHECK_VALUES(column, ...)                                \
    do {                                                         \
        static const struct value_case cases_[] = {__VA_ARGS__}; \
        check_values(column, cases_, ARRAY_LEN(cases_));         \
    } while (0)

static void strings(void **state)
{
    (void)state;
    CHECK_VALUES("\"type\":\"STRING\"", {"\"\"", OK}, {"\"a\"", OK}, {"\"\\u0000\\n\"", OK},
                 {"null", OK}, {"1", TYPE}, {"true", TYPE}, {"[]", TYPE}, {"{}", TYPE},
                 {"[\"a\"]", TYPE});
    CHECK_VALUES("\"type\":\"STRING\",\"maxLength\":3", {"\"abc\"", OK}, {"\"abcd\"", VALUE},
                 {"\"\xc3\xa9\xc3\xa9\xc3\xa9\"", OK},
                 {"\"\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\"", OK},
                 {"\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"", VALUE}, {"\"\\u00e9\\u00e9\\u00e9\"", OK},
                 {"\"\\ud83d\\ude00\\ud83d\\ude00\\ud83d\\ude00\"", OK},
                 {"\"\\ud83d\\ude00\\ud83d\\ude00\\ud83d\\ude00x\"", VALUE}, {"\"\\n\\n\\n\"", OK},
                 {"\"\\n\\n\\n\\n\"", VALUE});
}

static void bytes(void **state)
{
    (void)state;
    CHECK_VALUES("\"type\":\"BYTES\"", {"\"\"", OK}, {"\"QUJD\"", OK}, {"\"QUI=\"", OK},
                 {"\"QQ==\"", OK}, {"\"+/+/\"", OK}, {"\"\\/\\/\\/\\/\"", OK}, {"\"Q\"", VALUE},
                 {"\"QQ\"", VALUE}, {"\"QQ=\"", VALUE}, {"\"QR==\"", VALUE}, {"\"QUJ=\"", VALUE},
                 {"\"Q===\"", VALUE}, {"\"====\"", VALUE}, {"\"QQ==QUJD\"", VALUE},
                 {"\"QQ= =\"", VALUE}, {"\"QU D\"", VALUE}, {"\"-_-_\"", VALUE},
                 {"\"QU\xc3\xa9\"", VALUE}, {"1", TYPE}, {"null", OK});
    CHECK_VALUES("\"type\":\"BYTES\",\"maxLength\":2", {"\"QUI=\"", OK}, {"\"QQ==\"", OK},
                 {"\"QUJD\"", VALUE});
}

static void integers(void **state)
{
    (void)state;
    CHECK_VALUES("\"type\":\"INTEGER\"", {"0", OK}, {"-0", OK}, {"9223372036854775807", OK},
                 {"-9223372036854775808", OK}, {"9223372036854775808", VALUE},
                 {"-9223372036854775809", VALUE}, {"1.0", VALUE}, {"1e3", VALUE}, {"1.5", VALUE},
                 {"1e19", VALUE}, {"1e-1", VALUE}, {"\"42\"", OK}, {"\"-42\"", OK},
                 {"\"9223372036854775807\"", OK}, {"\"9223372036854775808\"", VALUE},
                 {"\"\"", VALUE}, {"\"-\"", VALUE}, {"\"1.0\"", VALUE}, {"\"1e3\"", VALUE},
                 {"\" 1\"", VALUE}, {"\"abc\"", VALUE}, {"\"\\u0031\"", OK}, {"true", TYPE},
                 {"{}", TYPE}, {"[1]", TYPE}, {"null", OK});
}

static void floats(void **state)
{
    (void)state;
    CHECK_VALUES("\"type\":\"FLOAT64\"", {"0", OK}, {"1.5", OK}, {"-1e308", OK}, {"1e309", VALUE},
                 {"-1E+400", VALUE}, {"1e-400", OK}, {"\"1.5\"", OK}, {"\"1e3\"", OK},
                 {"\"NaN\"", OK}, {"\"Infinity\"", OK}, {"\"-Infinity\"", OK}, {"\"inf\"", VALUE},
                 {"\"nan\"", VALUE}, {"\"\"", VALUE}, {"\"1e999\"", VALUE}, {"\"x\"", VALUE},
                 {"false", TYPE}, {"[]", TYPE}, {"null", OK});
}

static void numerics(void **state)
{
    (void)state;
    CHECK_VALUES("\"type\":\"NUMERIC\"", {"0", OK}, {"\"0.123\"", OK}, {"0.123", OK},
                 {"\"-0.000000001\"", OK}, {"\"0.0000000001\"", VALUE}, {"\"0.1000000000\"", VALUE},
                 {"\"99999999999999999999999999999.999999999\"", OK},
                 {"\"-99999999999999999999999999999.999999999\"", OK},
                 {"\"100000000000000000000000000000\"", VALUE}, {"1e28", OK}, {"1e29", VALUE},
                 {"1e-9", OK}, {"1e-10", VALUE}, {"10e-10", VALUE}, {"0e99", OK}, {"\"\"", VALUE},
                 {"\"NaN\"", VALUE}, {"\"1,5\"", VALUE}, {"\"+1\"", VALUE}, {"\"01\"", VALUE},
                 {"true", TYPE}, {"null", OK});
    CHECK_VALUES("\"type\":\"NUMERIC\",\"precision\":4,\"scale\":2", {"99.99", OK},
                 {"\"-99.99\"", OK}, {"100", VALUE}, {"1.001", VALUE}, {"1.500", OK}, {"0.01", OK},
                 {"0", OK}, {"9e1", OK}, {"9e2", VALUE});
    CHECK_VALUES("\"type\":\"NUMERIC\",\"precision\":3", {"999", OK}, {"1000", VALUE},
                 {"1.5", VALUE}, {"1.0", OK});
    CHECK_VALUES(
        "\"type\":\"BIGNUMERIC\"", {"\"0.00000000000000000000000000000000000001\"", OK},
        {"\"0.000000000000000000000000000000000000001\"", VALUE},
        {"\"578960446186580977117854925043439539266.34992332820282019728792003956564819967\"", OK},
        {"\"-578960446186580977117854925043439539266.34992332820282019728792003956564819967\"", OK},
        {"\"578960446186580977117854925043439539266.34992332820282019728792003956564819968\"",
         VALUE},
        {"\"578960446186580977117854925043439539267\"", VALUE},
        {"\"578960446186580977117854925043439539266\"", OK},
        {"\"999999999999999999999999999999999999999\"", VALUE}, {"1e38", OK}, {"1e39", VALUE},
        {"5.8e38", VALUE}, {"5.7e38", OK});
}

static void booleans(void **state)
{
    (void)state;
    CHECK_VALUES("\"type\":\"BOOL\"", {"true", OK}, {"false", OK}, {"\"true\"", OK},
                 {"\"false\"", OK}, {"\"TRUE\"", VALUE}, {"\"yes\"", VALUE}, {"\"\"", VALUE},
                 {"1", TYPE}, {"0", TYPE}, {"null", OK}, {"{}", TYPE});
}

static void timestamps(void **state)
{
    (void)state;
    CHECK_VALUES("\"type\":\"TIMESTAMP\"", {"\"2026-11-21T07:42:14Z\"", OK},
                 {"\"2026-11-21 07:42\"", OK}, {"\"2026-11-21 07:42:14.123456 UTC\"", OK},
                 {"\"2026-11-21T07:42:14.123+05:30\"", OK}, {"\"2026-11-21T07:42:14\"", OK},
                 {"\"2026-11-21T07:42:14.1234567Z\"", VALUE}, {"\"2026-11-21\"", VALUE},
                 {"\"2026-11-21T07:42:14+0530\"", VALUE}, {"\"2026-11-21T07:42:14+05\"", VALUE},
                 {"\"2026-11-21t07:42:14Z\"", VALUE}, {"\"2026-02-29 00:00:00\"", VALUE},
                 {"\"2026-12-31T23:59:60Z\"", VALUE}, {"\"\"", VALUE}, {"\"yesterday\"", VALUE},
                 {"\"1795246934\"", VALUE}, {"1795246934", OK}, {"1795246934.123456", OK},
                 {"-1", OK}, {"1795246934123", VALUE}, {"true", TYPE}, {"null", OK},
                 {"\"2026-11-21T07\\u003a42:14Z\"", OK});
    CHECK_VALUES("\"type\":\"DATE\"", {"\"2026-11-21\"", OK}, {"\"0001-01-01\"", OK},
                 {"\"2026-1-1\"", VALUE}, {"\"2026-02-30\"", VALUE},
                 {"\"2026-11-21T00:00:00\"", VALUE}, {"\"\"", VALUE}, {"20261121", TYPE},
                 {"null", OK});
    CHECK_VALUES("\"type\":\"TIME\"", {"\"07:42:14\"", OK}, {"\"07:42:14.123456\"", OK},
                 {"\"07:42\"", VALUE}, {"\"7:42:14\"", VALUE}, {"\"24:00:00\"", VALUE},
                 {"\"07:42:60\"", VALUE}, {"\"07:42:14.1234567\"", VALUE}, {"\"07:42:14Z\"", VALUE},
                 {"\"\"", VALUE}, {"1", TYPE});
    CHECK_VALUES("\"type\":\"DATETIME\"", {"\"2026-11-21 07:42:14\"", OK},
                 {"\"2026-11-21T07:42:14.123456\"", OK}, {"\"2026-11-21T07:42:14Z\"", VALUE},
                 {"\"2026-11-21T07:42\"", VALUE}, {"\"2026-11-21\"", VALUE},
                 {"\"2026-11-21t07:42:14\"", VALUE}, {"\"2026-11-21 07:42:14.1234567\"", VALUE},
                 {"1", TYPE});
}

static void json_and_geography(void **state)
{
    (void)state;
    CHECK_VALUES("\"type\":\"JSON\"", {"1", OK}, {"\"a\"", OK}, {"true", OK},
                 {"[1,null,{\"a\":\"1e999 \\\" 1e999\"}]", OK}, {"{}", OK}, {"null", OK},
                 {"1e999", VALUE}, {"[{\"a\":[-1E999]}]", VALUE}, {"12345678901234567890123", OK});
    CHECK_VALUES(
        "\"type\":\"GEOGRAPHY\"", {"\"POINT(1 2)\"", OK}, {"\"point (-122.35 47.62)\"", OK},
        {"\"POINT(181 2)\"", VALUE}, {"\"POINT(1 91)\"", VALUE}, {"\"POINT(1)\"", VALUE},
        {"\"POINT(1 2, 3 4)\"", VALUE}, {"\"POINT(1 2\"", VALUE}, {"\"POINT EMPTY\"", OK},
        {"\"LINESTRING(1 1, 2 1, 3.1 2.88, 3 -3)\"", OK}, {"\"LINESTRING(1 1)\"", VALUE},
        {"\"POLYGON((0 0, 0 2, 2 2, 2 0, 0 0), (0.5 0.5, 0.5 1, 1 1, 0.5 0.5))\"", OK},
        {"\"POLYGON((0 0, 0 2, 2 2))\"", VALUE}, {"\"POLYGON((0 0, 0 2, 2 2, 2 0))\"", VALUE},
        {"\"MULTIPOINT(0 32, 123 9)\"", OK}, {"\"MULTIPOINT((0 32), (123 9))\"", OK},
        {"\"MULTIPOLYGON(((0 -1, 1 0, 1 1, 0 -1)), ((10 10, 11 10, 11 11, 10 10)))\"", OK},
        {"\"GEOMETRYCOLLECTION(MULTIPOINT(-1 2, 0 12), LINESTRING(-2 4, 0 6))\"", OK},
        {"\"GEOMETRYCOLLECTION EMPTY\"", OK}, {"\"GEOMETRYCOLLECTION(X)\"", VALUE},
        {"\"CIRCLE(1 2)\"", VALUE}, {"\"\"", VALUE}, {"\"POINT(1 2) x\"", VALUE},
        {"\"{\\\"type\\\":\\\"Point\\\",\\\"coordinates\\\":[1,2]}\"", OK}, {"\"a\\n\"", VALUE},
        {"\"{\"", VALUE}, {"1", TYPE}, {"{}", TYPE}, {"null", OK});
}

/* cloud.google.com/bigquery/docs/reference/standard-sql/data-types: "Interval type", "Range type". */
static void intervals_and_ranges(void **state)
{
    (void)state;
    CHECK_VALUES(
        "\"type\":\"INTERVAL\"", {"\"1-2 3 4:5:6.789\"", OK}, {"\"0-0 0 0:0:0\"", OK},
        {"\"-1-11 -3 -04:59:59.999999\"", OK}, {"\"+1-0 +1 +1:0:0\"", OK},
        {"\"10000-0 3660000 87840000:0:0\"", OK}, {"\"10000-0\\u0020-3660000 0:0:0\"", OK},
        {"\"10000-1 0 0:0:0\"", VALUE}, {"\"10001-0 0 0:0:0\"", VALUE},
        {"\"0-0 3660001 0:0:0\"", VALUE}, {"\"0-0 0 87840000:0:0.000001\"", VALUE},
        {"\"0-0 0 87840000:0:1\"", VALUE}, {"\"0-0 0 87840000:0:0.000000\"", OK},
        {"\"0-12 0 0:0:0\"", VALUE}, {"\"0-0 0 0:60:0\"", VALUE}, {"\"0-0 0 0:0:60\"", VALUE},
        {"\"0-0 0 0:0:0.\"", VALUE}, {"\"0-0 0 0:0:0.1234567\"", VALUE}, {"\"0-0 0 0:0\"", VALUE},
        {"\"0-0 0 0:0:0 \"", VALUE}, {"\" 0-0 0 0:0:0\"", VALUE}, {"\"--1-0 0 0:0:0\"", VALUE},
        {"\"0--1 0 0:0:0\"", VALUE}, {"\"0-0  0 0:0:0\"", VALUE},
        {"\"0-0 0 99999999999999999999:0:0\"", VALUE}, {"\"P1Y2M3DT4H5M6S\"", VALUE},
        {"\"\"", VALUE}, {"1", TYPE}, {"{}", TYPE}, {"null", OK});
#define RANGE_OF(type) "\"type\":\"RANGE\",\"rangeElementType\":{\"type\":\"" type "\"}"
    CHECK_VALUES(RANGE_OF("DATE"), {"{\"start\":\"2024-02-29\",\"end\":\"2024-03-01\"}", OK},
                 {"{\"end\":\"2024-03-01\"}", OK}, {"{\"start\":\"2024-03-01\",\"end\":null}", OK},
                 {"{}", OK}, {"{\"st\\u0061rt\":null}", OK}, {"null", OK},
                 {"{\"start\":\"2024-03-01\",\"end\":\"2024-03-01\"}", VALUE},
                 {"{\"start\":\"2024-03-02\",\"end\":\"2024-03-01\"}", VALUE},
                 {"{\"start\":\"2023-02-29\"}", VALUE}, {"{\"start\":19000}", VALUE},
                 {"{\"Start\":\"2024-03-02\"}", VALUE}, {"{\"start\":null,\"start\":null}", VALUE},
                 {"{\"start\":\"2024-03-02\",\"x\":1}", VALUE}, {"{\"start\":{}}", VALUE},
                 {"{\"start\":\"UNBOUNDED\"}", VALUE}, {"\"[2024-01-01, 2024-02-01)\"", TYPE},
                 {"[]", TYPE}, {"1", TYPE});
    CHECK_VALUES(
        RANGE_OF("DATETIME") ",\"mode\":\"REPEATED\"", {"[]", OK}, {"[{},{}]", OK},
        {"[{\"start\":\"2024-02-29 00:00:00\",\"end\":\"2024-02-29T00:00:00.000001\"}]", OK},
        {"{}", TYPE});
    CHECK_VALUES(
        RANGE_OF("TIMESTAMP") ",\"mode\":\"REQUIRED\"",
        {"{\"start\":\"2024-01-01T00:00:00+01:00\",\"end\":\"2023-12-31 23:00:01\"}", OK},
        {"{\"start\":\"2024-01-01T00:00:00+01:00\",\"end\":\"2023-12-31 23:00:00Z\"}", VALUE},
        {"{\"start\":1700000000}", VALUE}, {"null", REASON_MISSING_FIELD});
}

static void records_and_arrays(void **state)
{
    (void)state;
    CHECK_VALUES("\"type\":\"RECORD\",\"fields\":[{\"name\":\"x\",\"type\":\"DATE\"}]", {"{}", OK},
                 {"{\"x\":null}", OK}, {"null", OK}, {"[]", TYPE}, {"\"{}\"", TYPE}, {"1", TYPE});
    CHECK_VALUES(
        "\"type\":\"RECORD\",\"fields\":[{\"name\":\"x\",\"type\":\"DATE\",\"mode\":\"REQUIRED\"}]",
        {"{}", REASON_MISSING_FIELD}, {"null", OK}, {"{\"x\":\"2026-11-21\"}", OK});
    CHECK_VALUES("\"type\":\"INTEGER\",\"mode\":\"REPEATED\"", {"[]", OK}, {"[1,2]", OK},
                 {"null", OK}, {"1", TYPE}, {"{}", TYPE}, {"\"\"", TYPE});
    CHECK_VALUES("\"type\":\"STRING\",\"mode\":\"REQUIRED\"", {"\"\"", OK},
                 {"null", REASON_MISSING_FIELD});
    CHECK_VALUES("\"type\":\"JSON\",\"mode\":\"REQUIRED\"", {"{}", OK},
                 {"null", REASON_MISSING_FIELD});
}

#define ORDER                                                                                    \
    "[{\"name\":\"id\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},{\"name\":\"n\",\"type\":"     \
    "\"INTEGER\"},"                                                                              \
    "{\"name\":\"items\",\"type\":\"RECORD\",\"mode\":\"REPEATED\",\"fields\":["                 \
    "{\"name\":\"sku\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},{\"name\":\"price\",\"type\":" \
    "\"FLOAT\"},"                                                                                \
    "{\"name\":\"tag\",\"type\":\"STRING\",\"mode\":\"REPEATED\"}]},"                            \
    "{\"name\":\"meta\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"in\",\"type\":\"RECORD\","   \
    "\"fields\":["                                                                               \
    "{\"name\":\"x\",\"type\":\"INTEGER\"}]}]}]"

static void reasons(void **state)
{
    static const struct {
        const char *doc;
        enum reason reason;
        uint32_t offset;
        const char *detail;
    } cases[] = {
        {"[]", REASON_NOT_OBJECT, 0, "found an array"},
        {"3", REASON_NOT_OBJECT, 0, "found a number"},
        {"{}", REASON_MISSING_FIELD, 0, "id: REQUIRED, but not there"},
        {"{\"n\":1}", REASON_MISSING_FIELD, 0, "id: REQUIRED, but not there"},
        {"{\"ID\":\"a\"}", REASON_MISSING_FIELD, 0, "id: REQUIRED, but not there"},
        {"{\"id\":null}", REASON_MISSING_FIELD, 6, "id: REQUIRED, but null"},
        {"{\"id\":\"a\",\"items\":[{\"sku\":\"s\"},{\"price\":1}]}", REASON_MISSING_FIELD, 31,
         "items.sku: REQUIRED, but not there"},
        {"{\"id\":1}", REASON_WRONG_TYPE, 6, "id: expected STRING, found a number"},
        {"{\"id\":\"a\",\"items\":{}}", REASON_WRONG_TYPE, 18,
         "items: expected an array of RECORD, found an object"},
        {"{\"id\":\"a\",\"items\":[1]}", REASON_WRONG_TYPE, 19,
         "items: expected RECORD, found a number"},
        {"{\"id\":\"a\",\"items\":[{\"sku\":\"s\",\"price\":true}]}", REASON_WRONG_TYPE, 38,
         "items.price: expected FLOAT, found true"},
        {"{\"id\":\"a\",\"items\":[{\"sku\":\"s\",\"tag\":[[\"a\"]]}]}", REASON_WRONG_TYPE, 37,
         "items.tag: expected STRING, found an array"},
        {"{\"id\":\"a\",\"n\":1.5}", REASON_BAD_VALUE, 14, "n: INTEGER, not a whole number"},
        {"{\"id\":\"a\",\"meta\":{\"in\":{\"x\":\"y\"}}}", REASON_BAD_VALUE, 28,
         "meta.in.x: INTEGER, not a whole number"},
        {"{\"id\":\"a\",\"id\":\"b\"}", REASON_DUPLICATE_KEY, 10,
         "id: appears twice in one object"},
        {"{\"id\":\"a\",\"\\u0069d\":\"b\"}", REASON_DUPLICATE_KEY, 10,
         "id: appears twice in one object"},
        {"{\"id\":\"a\",\"n\":null,\"n\":1}", REASON_DUPLICATE_KEY, 19,
         "n: appears twice in one object"},
        {"{\"id\":\"a\",\"zz\":1,\"zz\":2}", REASON_DUPLICATE_KEY, 17,
         "an unknown field appears twice"},
        {"{\"id\":\"a\",\"zz\":1,\"\\u007az\":2}", REASON_DUPLICATE_KEY, 17,
         "an unknown field appears twice"},
        {"{\"id\":\"a\",\"meta\":{\"q\":1},\"meta.q\":2}", REASON_DUPLICATE_KEY, 25,
         "an unknown field appears twice"},
        {"{\"id\":\"a\",\"items\":[{\"sku\":\"s\"},null]}", REASON_NULL_ELEMENT, 31,
         "items: a null among the elements"},
        {"{\"id\":\"a\",\"items\":[{\"sku\":\"s\",\"tag\":[\"t\",null]}]}", REASON_NULL_ELEMENT, 41,
         "items.tag: a null among the elements"},
        {"{\"id\":\"a\",\"big\":1e999}", REASON_BAD_VALUE, 16,
         "penstock_overflow: a number past the largest double"},
    };
    struct schema *s = must_compile(ORDER);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (check(s, cases[i].doc) != cases[i].reason)
            fail_msg("%s: %s", cases[i].doc, reason_name(result.reason));
        assert_string_equal(result.detail, cases[i].detail);
        if (result.error_offset != cases[i].offset)
            fail_msg("%s: offset %u", cases[i].doc, result.error_offset);
        assert_int_equal(result.n_cuts, 0);
    }
    schema_destroy(s);
}

static void accepted(void **state)
{
    static const char *const cases[] = {
        "{\"id\":\"a\"}",
        "{\"n\":1,\"id\":\"a\"}",
        ("{\"meta\":{\"in\":{\"x\":1}},\"items\":[{\"tag\":[\"a\",\"b\"],\"price\":\"NaN\",\"sku\":"
         "\"s\"},{\"sku\":\"\"}],\"id\":\"a\"}"),
        "{ \"\\u0069\\u0064\" : \"a\" , \"meta\" : null , \"items\" : null }",
        "{\"items\":[],\"n\":null,\"id\":\"\"}",
    };
    struct schema *s = must_compile(ORDER);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (check(s, cases[i]) != REASON_NONE || result.n_cuts != 0)
            fail_msg("%s: %s", cases[i], result.detail);
        assert_string_equal(result.detail, "");
    }
    schema_destroy(s);
}

static void expect_cut(uint32_t i, const char *member, const char *name, bool overflow)
{
    const struct event_cut *cut = &result.cut[i];

    assert_true(i < result.n_cuts);
    assert_int_equal(cut->len, strlen(member));
    assert_memory_equal(doc_buf + cut->offset, member, cut->len);
    assert_int_equal(cut->overflow, overflow);
    assert_true(cut->value_offset > cut->offset && cut->value_offset < cut->offset + cut->len);
    if (overflow) {
        assert_int_equal(cut->name.len, strlen(name));
        assert_memory_equal(cut->name.ptr, name, cut->name.len);
    }
}

static void cuts(void **state)
{
    struct schema *s = must_compile(ORDER);

    (void)state;
    assert_int_equal(check(s, "{\"a\\u0062\" : [1, "
                              "2],\"id\":\"a\",\"items\":[{\"sku\":\"s\"},{\"q\":{\"id\":1},"
                              "\"sku\":\"s\",\"Price\":2}],"
                              "\"meta\":{\"in\":{\"X\":3}},\"event_date\":1,\"processed_"
                              "timestamp\":{},\"penstock_id\":null,"
                              "\"penstock_overflow\":{\"a\":1},\"ID\":5}"),
                     REASON_NONE);
    assert_int_equal(result.n_cuts, 9);
    expect_cut(0, "\"a\\u0062\" : [1, 2]", "a\\u0062", true);
    expect_cut(1, "\"q\":{\"id\":1}", "items[1].q", true);
    expect_cut(2, "\"Price\":2", "items[1].Price", true);
    expect_cut(3, "\"X\":3", "meta.in.X", true);
    expect_cut(4, "\"event_date\":1", NULL, false);
    expect_cut(5, "\"processed_timestamp\":{}", NULL, false);
    expect_cut(6, "\"penstock_id\":null", NULL, false);
    expect_cut(7, "\"penstock_overflow\":{\"a\":1}", "penstock_overflow", true);
    expect_cut(8, "\"ID\":5", "ID", true);
    /* ours below the top level are the producer's */
    assert_int_equal(check(s, "{\"id\":\"a\",\"meta\":{\"event_date\":1}}"), REASON_NONE);
    expect_cut(0, "\"event_date\":1", "meta.event_date", true);
    /* of ours, two are no more than one */
    assert_int_equal(check(s, "{\"id\":\"a\",\"event_date\":1,\"event_date\":2}"), REASON_NONE);
    assert_int_equal(result.n_cuts, 2);
    schema_destroy(s);
}

static void ours_stay_ours_when_declared(void **state)
{
    struct schema *s =
        must_compile("[{\"name\":\"event_date\",\"type\":\"DATE\",\"mode\":\"REQUIRED\"},"
                     "{\"name\":\"penstock_overflow\",\"type\":\"JSON\"}]");

    (void)state;
    assert_int_equal(check(s, "{}"), REASON_NONE);
    assert_int_equal(check(s, "{\"event_date\":\"2026-11-21\",\"penstock_overflow\":{}}"),
                     REASON_NONE);
    expect_cut(0, "\"event_date\":\"2026-11-21\"", NULL, false);
    expect_cut(1, "\"penstock_overflow\":{}", "penstock_overflow", true);
    schema_destroy(s);
}

/* A document of n unknown fields with names of name_bytes, nested in `meta` or not. */
static const char *unknown_fields(int n, bool nested, int name_bytes)
{
    static char doc[DOC_BYTES_MAX];
    size_t len = (size_t)snprintf(doc, sizeof(doc), "{\"id\":\"a\"%s",
                                  nested ? ",\"meta\":{\"in\":null" : "");

    for (int i = 0; i < n; i++)
        len += (size_t)snprintf(doc + len, sizeof(doc) - len, ",\"%0*d\":%d", name_bytes, i, i);
    (void)snprintf(doc + len, sizeof(doc) - len, nested ? "}}" : "}");
    return doc;
}

static void too_many_unknown(void **state)
{
    struct schema *s = must_compile(ORDER);

    (void)state;
    assert_int_equal(check(s, unknown_fields(CHECK_CUTS_MAX, false, 100)), REASON_NONE);
    assert_int_equal(result.n_cuts, CHECK_CUTS_MAX);
    assert_int_equal(check(s, unknown_fields(CHECK_CUTS_MAX + 1, false, 3)),
                     REASON_TOO_MANY_UNKNOWN);
    assert_int_equal(check(s, unknown_fields(CHECK_CUTS_MAX, true, 59)),
                     REASON_NONE); /* "meta." and 59: 4096 */
    assert_int_equal(result.scratch_used, CHECK_SCRATCH_BYTES);
    assert_int_equal(check(s, unknown_fields(CHECK_CUTS_MAX, true, 60)), REASON_TOO_MANY_UNKNOWN);
    schema_destroy(s);
}

/* Wide and deep: bitmaps past one word, out of order, and the deepest schema. */
static void wide_and_deep(void **state)
{
    static char text[400000], doc[DOC_BYTES_MAX];
    size_t len, n = 0;
    struct schema *s;

    (void)state;
    len = (size_t)snprintf(text, sizeof(text), "[");
    n = (size_t)snprintf(doc, sizeof(doc), "{");
    for (int i = 0; i < 1000; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "%s{\"name\":\"c%d\",\"type\":\"INTEGER\",\"mode\":\"REQUIRED\"}",
                                i > 0 ? "," : "", i);
    (void)snprintf(text + len, sizeof(text) - len, "]");
    s = must_compile(text);
    for (int i = 999; i >= 0; i--)
        n += (size_t)snprintf(doc + n, sizeof(doc) - n, "%s\"c%d\":%d", i < 999 ? "," : "", i, i);
    (void)snprintf(doc + n, sizeof(doc) - n, "}");
    assert_int_equal(check(s, doc), REASON_NONE);
    (void)snprintf(doc + n, sizeof(doc) - n, ",\"c999\":1}");
    assert_int_equal(check(s, doc), REASON_DUPLICATE_KEY);
    doc[n - 7] = '\0'; /* cuts off "c0" */
    (void)snprintf(doc + strlen(doc), 3, "}");
    assert_int_equal(check(s, doc), REASON_MISSING_FIELD);
    assert_string_equal(result.detail, "c0: REQUIRED, but not there");
    schema_destroy(s);

    len = n = 0;
    for (int i = 1; i < SCHEMA_DEPTH_MAX; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "[{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":");
        n += (size_t)snprintf(doc + n, sizeof(doc) - n, "{\"r\":");
    }
    len +=
        (size_t)snprintf(text + len, sizeof(text) - len, "[{\"name\":\"x\",\"type\":\"INTEGER\"}]");
    n += (size_t)snprintf(doc + n, sizeof(doc) - n, "{\"x\":1,\"y\":2}");
    for (int i = 1; i < SCHEMA_DEPTH_MAX; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "}]");
        n += (size_t)snprintf(doc + n, sizeof(doc) - n, "}");
    }
    s = must_compile(text);
    assert_int_equal(check(s, doc), REASON_NONE);
    expect_cut(0, "\"y\":2", "r.r.r.r.r.r.r.r.r.r.r.r.r.r.y", true);
    schema_destroy(s);
}

static enum reason check_added(const char *doc)
{
    size_t len = strlen(doc);

    memcpy(doc_buf, doc, len + 1);
    check_added_only(json_value_at(doc_buf, len), &result);
    return result.reason;
}

static void added_only(void **state)
{
    (void)state;
    assert_int_equal(
        check_added(
            "{\"event\":1,\"event_date\":2,\"x\":{\"penstock_id\":1},\"penst\\u006fck_id\":3,"
            "\"penstock_overflow\":4,\"processed_timestamp\":5,\"Event_Date\":6}"),
        REASON_NONE);
    assert_int_equal(result.n_cuts, 3);
    expect_cut(0, "\"event_date\":2", NULL, false);
    expect_cut(1, "\"penst\\u006fck_id\":3", NULL, false);
    expect_cut(2, "\"processed_timestamp\":5", NULL, false);
    assert_int_equal(check_added("{}"), REASON_NONE);
    assert_int_equal(result.n_cuts, 0);
    assert_int_equal(check_added("[1]"), REASON_NOT_OBJECT);
    assert_int_equal(check_added("{\"a\":1e999}"), REASON_BAD_VALUE);
}

/* A table that takes new columns: what the schema names is checked, the rest stays. */
static void known_only(void **state)
{
    static const char doc[] = "{\"id\":\"a\",\"ab\":1e999,\"x\":1,\"x\":2,\"event_date\":1,"
                              "\"penstock_overflow\":2,\"items\":[{\"sku\":\"s\",\"q\":3}]}";
    struct schema *s = must_compile(ORDER);
    size_t len = sizeof(doc) - 1;
    const char *many;

    (void)state;
    memcpy(doc_buf, doc, len + 1);
    check_known(s, json_value_at(doc_buf, len), &result);
    assert_int_equal(result.reason, REASON_NONE);
    assert_int_equal(result.n_cuts, 1);
    expect_cut(0, "\"event_date\":1", NULL, false);
    memcpy(doc_buf, "{\"id\":1}", 9);
    check_known(s, json_value_at(doc_buf, 8), &result);
    assert_int_equal(result.reason, REASON_WRONG_TYPE);
    memcpy(doc_buf, doc, len + 1);
    assert_int_equal(check(s, doc), REASON_BAD_VALUE); /* the usual check minds */
    many = unknown_fields(4 * CHECK_CUTS_MAX, true, 60);
    memcpy(doc_buf, many, strlen(many) + 1);
    check_known(s, json_value_at(doc_buf, strlen(many)), &result);
    assert_int_not_equal(result.reason, REASON_TOO_MANY_UNKNOWN);
    schema_destroy(s);
}

static void names_only(void **state)
{
    static const char doc[] = "{\"event\":1e999,\"event_date\":2,\"penstock_overflow\":4}";

    (void)state;
    memcpy(doc_buf, doc, sizeof(doc));
    check_names_only(json_value_at(doc_buf, sizeof(doc) - 1), &result);
    assert_int_equal(result.reason, REASON_NONE);
    assert_int_equal(result.n_cuts, 1);
    expect_cut(0, "\"event_date\":2", NULL, false);
}

static void escaped_keys_past_every_name(void **state)
{
    static char doc[8192];
    struct schema *s = must_compile(ORDER);
    size_t n = (size_t)snprintf(doc, sizeof(doc), "{\"id\":\"a\",\"");

    (void)state;
    for (int i = 0; i < 600; i++)
        n += (size_t)snprintf(doc + n, sizeof(doc) - n, "\\u0061");
    (void)snprintf(doc + n, sizeof(doc) - n, "\":1}");
    assert_int_equal(check(s, doc), REASON_NONE);
    assert_int_equal(result.n_cuts, 1);
    assert_int_equal(result.cut[0].name.len, 3600);
    schema_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),
        cmocka_unit_test(bytes),
        cmocka_unit_test(integers),
        cmocka_unit_test(floats),
        cmocka_unit_test(numerics),
        cmocka_unit_test(booleans),
        cmocka_unit_test(timestamps),
        cmocka_unit_test(json_and_geography),
        cmocka_unit_test(intervals_and_ranges),
        cmocka_unit_test(records_and_arrays),
        cmocka_unit_test(reasons),
        cmocka_unit_test(accepted),
        cmocka_unit_test(cuts),
        cmocka_unit_test(ours_stay_ours_when_declared),
        cmocka_unit_test(too_many_unknown),
        cmocka_unit_test(wide_and_deep),
        cmocka_unit_test(added_only),
        cmocka_unit_test(known_only),
        cmocka_unit_test(names_only),
        cmocka_unit_test(escaped_keys_past_every_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
