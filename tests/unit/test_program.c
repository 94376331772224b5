/*
 * Goal: programs encode events as the rows that their descriptor describes, byte for byte where bytes
 * are known, and find what check_event() finds. Method: golden bytes made by protobufjs; vectors of
 * every column type; each document by bytes and by tokens (of a tokenizer of our own), with and
 * without a plan that fits; every possible room. What rows mean is read back by
 * tests/integration/it_rows_proto.py and fuzz_program.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>

#include "dataplane/event/program.h"
#include "dataplane/event/timeval.h"

#define DOC_BYTES_MAX 65536
#define TOKENS_MAX    8192
#define ROW_BYTES_MAX 65536

static char doc_buf[DOC_BYTES_MAX + JSON_PADDING_BYTES];
static char row[ROW_BYTES_MAX], other[ROW_BYTES_MAX];
static size_t row_len;
static uint64_t shape;      /* of the last document: each has its own here */
static uint32_t times_seen; /* that checks by plans have read */
static bool same_shape;     /* as the one before: its plan is used */
static uint32_t tokens[TOKENS_MAX + 1];
static struct check_result result, expected;
static struct program_memory *memories[JSON_ISA_AVX512 + 1]; /* what this CPU runs */
static struct program_memory *memory;                        /* the fastest */

static struct schema *must_compile(const char *text)
{
    struct schema *s = NULL;
    char error[256] = "";

    if (schema_compile(span_of(text), &s, error, sizeof(error)) != 0)
        fail_msg("%s: %s", text, error);
    return s;
}

/* Where the tokens of a valid document are, as json.h defines them. */
static uint32_t tokenize(const char *doc, size_t len)
{
    uint32_t n = 0;

    for (size_t i = 0; i < len;) {
        if (strchr(" \t\r\n", doc[i]) != NULL) {
            i++;
            continue;
        }
        assert_true(n < TOKENS_MAX);
        tokens[n++] = (uint32_t)i + 1000; /* only differences count */
        if (doc[i] == '"') {
            for (i++; doc[i] != '"'; i++)
                i += doc[i] == '\\';
            i++;
        } else if (strchr("{}[]:,", doc[i]) != NULL) {
            i++;
        } else {
            while (i < len && strchr(" \t\r\n{}[]:,", doc[i]) == NULL)
                i++;
        }
    }
    tokens[n] = (uint32_t)len + 1000;
    return n;
}

static void same_result(const char *how)
{
    if (result.reason != expected.reason || result.error_offset != expected.error_offset ||
        strcmp(result.detail, expected.detail) != 0 || result.n_cuts != expected.n_cuts)
        fail_msg("%s: %s at %u (%s) instead of %s at %u (%s)\n%s", how, reason_name(result.reason),
                 result.error_offset, result.detail, reason_name(expected.reason),
                 expected.error_offset, expected.detail, doc_buf);
    for (uint32_t i = 0; i < result.n_cuts; i++)
        assert_true(result.cut[i].offset == expected.cut[i].offset &&
                    result.cut[i].len == expected.cut[i].len &&
                    span_equal(result.cut[i].name, expected.cut[i].name));
}

static const struct program_row event_row = {.event_us = 0, .processed_us = 1, .id = {"id", 2}};
static const struct program_row line_row = {.line = true};

/* The times that a check has read are what time_parse() reads there. @return how many. */
static uint32_t same_times(const struct json_event *ev)
{
    for (uint32_t i = 0; i < result.n_times; i++) {
        const char *text = ev->ptr + result.time[i].offset, *past = strchr(text, '"');
        int64_t us = 0, found = 0;

        assert_true(text[-1] == '"' && past != NULL);
        assert_int_equal(time_parse((struct span){text, (size_t)(past - text)}, &us), 0);
        assert_int_equal(us, result.time[i].us);
        assert_true(check_time_at(&result, result.time[i].offset, &found) && found == us);
        assert_false(check_time_at(&result, result.time[i].offset - 1, &found));
    }
    return result.n_times;
}

/* Encodes doc in every way; all must agree. The row and its length stay in row and row_len. */
static enum reason encode(const struct schema *s, const char *doc, const struct program_row *what)
{
    size_t len = strlen(doc), offset, got = 0;
    struct json_event ev = {.ptr = doc_buf, .len = (uint32_t)len, .flags = JSON_FAR_NUMBER};
    int rc;

    assert_true(len < DOC_BYTES_MAX);
    memcpy(doc_buf, doc, len + 1);
    if (json_validate(doc_buf, len, &offset) != JSON_ERROR_NONE)
        fail_msg("not valid at %zu: %s", offset, doc);
    ev.type = json_value_at(doc_buf, len).type;
    rc = program_encode(s, NULL, &ev, what, row, sizeof(row), &row_len, &expected);
    assert_int_equal(rc, expected.reason == REASON_NONE ? 0 : -EINVAL);
    if (!what->line) {
        check_event(s, json_value_at(doc_buf, len), &result);
        same_result("check");
    }
    ev.n_tokens = tokenize(doc_buf, len);
    ev.token = tokens;
    shape += !same_shape;
    for (int round = 0; round < 12; round++) { /* without a plan; one is made; it is used, twice */
        struct program_memory *m = memories[round / 4];

        ev.shape = round % 4 == 0 ? 0 : shape;
        memset(other, 0x55, sizeof(other));
        rc = program_encode(s, m, &ev, what, other, sizeof(other), &got, &result);
        same_result("tokens");
        assert_int_equal(rc, expected.reason == REASON_NONE ? 0 : -EINVAL);
        assert_true(got == row_len && memcmp(row, other, got) == 0);
        if (!what->line) {
            program_check(s, m, &ev, false, &result);
            same_result("check by tokens");
            times_seen += same_times(&ev);
        }
    }
    return expected.reason;
}

static void hex(const char *bytes, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", (unsigned char)bytes[i]);
    out[2 * len] = '\0';
}

static void assert_hex(const char *bytes, size_t len, const char *want)
{
    char text[4096];

    assert_true(2 * len < sizeof(text));
    hex(bytes, len, text);
    assert_string_equal(text, want);
}

static void golden(void **state)
{
    struct schema *s = must_compile("[{\"name\":\"id\",\"type\":\"INTEGER\",\"mode\":\"REQUIRED\"},"
                                    "{\"name\":\"ts\",\"type\":\"TIMESTAMP\"},"
                                    "{\"name\":\"tags\",\"type\":\"STRING\",\"mode\":\"REPEATED\"},"
                                    "{\"name\":\"rec\",\"type\":\"RECORD\",\"fields\":["
                                    "{\"name\":\"a\",\"type\":\"STRING\"}]}]");
    char *descriptor, text[4096], *nested;
    size_t len;

    (void)state;
    assert_int_equal(program_descriptor(s, &descriptor, &len), 0);
    hex(descriptor, len, text);
    /* ours stand between the fields of the root and the nested types */
    assert_memory_equal(text,
                        "0a04726f6f74120a0a026964180120022803120a0a027473180220012803120c0a04746167"
                        "7318032003280912160a0372656318042001280b3209726f6f745f5f726563"
                        "12120a0a6576656e745f64617465180520012805",
                        136 + 40);
    nested = strstr(text, "1a160a09726f6f745f5f72656312090a0161180120012809");
    assert_non_null(nested);
    assert_string_equal(nested, "1a160a09726f6f745f5f72656312090a0161180120012809");
    free(descriptor);
    assert_int_equal(encode(s,
                            "{\"id\":7,\"ts\":\"2023-11-14T22:13:20Z\",\"tags\":[\"x\",\"yz\"],"
                            "\"rec\":{\"a\":\"q\"}}",
                            &line_row),
                     REASON_NONE);
    assert_hex(row, row_len, "0807108080f9c0c1c482031a01781a02797a22030a0171");
    assert_int_equal(encode(s, "{\"id\":0}", &event_row), REASON_NONE);
    assert_hex(row, row_len,
               "0800"
               "2800"
               "3001"
               "3a026964");
    schema_destroy(s);
}

/* The row of one column "c", behind its tag. */
static void one(const char *column, const char *value, const char *want)
{
    char text[512], doc[4096];
    struct schema *s;

    (void)snprintf(text, sizeof(text), "[{\"name\":\"c\",%s}]", column);
    s = must_compile(text);
    (void)snprintf(doc, sizeof(doc), "{\"c\":%s}", value);
    if (encode(s, doc, &line_row) != REASON_NONE)
        fail_msg("%s %s: %s", column, value, expected.detail);
    assert_hex(row, row_len, want);
    schema_destroy(s);
}

#define RANGE_OF(type) "\"type\":\"RANGE\",\"rangeElementType\":{\"type\":\"" type "\"}"

static void values(void **state)
{
    (void)state;
    one("\"type\":\"INTEGER\"", "0", "0800");
    one("\"type\":\"INTEGER\"", "127", "087f");
    one("\"type\":\"INTEGER\"", "128", "088001");
    one("\"type\":\"INTEGER\"", "\"12345678\"", "08cec2f105");
    one("\"type\":\"INTEGER\"", "72057594037927935", "08ffffffffffffff7f");
    one("\"type\":\"INTEGER\"", "72057594037927936",
        "0880808080808080800"
        "1");
    one("\"type\":\"INTEGER\"", "9223372036854775807", "08ffffffffffffffff7f");
    one("\"type\":\"INTEGER\"", "\"-9223372036854775808\"", "0880808080808080808001");
    one("\"type\":\"INTEGER\"", "-1", "08ffffffffffffffffff01");
    one("\"type\":\"INTEGER\"", "null", "");
    one("\"type\":\"FLOAT\"", "0", "090000000000000000");
    one("\"type\":\"FLOAT\"", "-1.5", "09000000000000f8bf");
    one("\"type\":\"FLOAT\"", "39.99", "091f85eb51b8fe4340");
    one("\"type\":\"FLOAT\"", "\"-Infinity\"", "09000000000000f0ff");
    one("\"type\":\"BOOLEAN\"", "true", "0801");
    one("\"type\":\"BOOLEAN\"", "\"false\"", "0800");
    one("\"type\":\"STRING\"", "\"\"", "0a00");
    one("\"type\":\"STRING\"", "\"\\u00e9\\n\\ud83d\\ude00\"", "0a07c3a90af09f9880");
    one("\"type\":\"BYTES\"", "\"aGVsbG8\\u003d\"", "0a0568656c6c6f");
    one("\"type\":\"BYTES\"", "\"+\\/8=\"", "0a02fbff");
    one("\"type\":\"JSON\"", "{\"a\": [1, null]}", "0a107b2261223a205b312c206e756c6c5d7d");
    one("\"type\":\"JSON\"", "\"s\"", "0a03227322");
    one("\"type\":\"GEOGRAPHY\"", "\"POINT(1 2)\"", "0a0a504f494e542831203229");
    one("\"type\":\"INTERVAL\"", "\"1-2 -3 4:5:6.7\"", "0a0e312d32202d3320343a353a362e37");
    one(RANGE_OF("DATE"), "{\"start\":\"2024-02-29\",\"end\":\"2024-03-01\"}",
        "0a0808c69a0110c79a01");
    one(RANGE_OF("DATE"), "{\"end\": \"1969-12-31\"}", "0a0b10ffffffffffffffffff01");
    one(RANGE_OF("TIMESTAMP"), "{\"end\":null,\"start\":\"1970-01-01T00:00:00Z\"}", "0a020800");
    one(RANGE_OF("DATETIME") ",\"mode\":\"REPEATED\"",
        "[{}, {\"start\":\"2024-02-29T12:34:56.789012\"}]", "0a000a0a089494b0dcc8f582fd01");
    one("\"type\":\"DATE\"", "\"2024-02-29\"", "08c69a01"); /* 19782 */
    one("\"type\":\"DATE\"", "\"0001-01-01\"", "08c68dd4ffffffffffff01");
    one("\"type\":\"TIMESTAMP\"", "\"1969-12-31 23:59:59.999999\"", "08ffffffffffffffffff01");
    one("\"type\":\"TIMESTAMP\"", "1.5", "08e0c65b");
}

static void packed(void **state)
{
    static const struct {
        const char *column, *value;
        uint64_t want;
    } table[] = {
        {"\"type\":\"TIME\"", "\"12:34:56.789012\"", UINT64_C(53880818196)},
        {"\"type\":\"DATETIME\"", "\"2024-02-29T12:34:56.789012\"", UINT64_C(142439173919083028)},
        {"\"type\":\"TIMESTAMP\"", "\"1700-02-28T23:59:59.5-01:30\"",
         (uint64_t)INT64_C(-8515233000500000)},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char text[64] = "08";
        size_t n = 2;
        uint64_t v = table[i].want;

        for (; v >= 0x80; v >>= 7, n += 2)
            (void)snprintf(text + n, sizeof(text) - n, "%02x", (unsigned)(v & 0x7F) | 0x80);
        (void)snprintf(text + n, sizeof(text) - n, "%02x", (unsigned)v);
        one(table[i].column, table[i].value, text);
    }
}

static void numerics(void **state)
{
    (void)state;
    one("\"type\":\"NUMERIC\"", "\"1\"", "0a0400ca9a3b");
    one("\"type\":\"NUMERIC\"", "-1", "0a04003665c4");
    one("\"type\":\"NUMERIC\"", "3.14", "0a05009928bb00");
    one("\"type\":\"NUMERIC\"", "\"-123456.789\"", "0a06c050f279b78f");
    one("\"type\":\"NUMERIC\"", "0", "0a0100");
    one("\"type\":\"NUMERIC\"", "-0.000", "0a0100");
    one("\"type\":\"NUMERIC\"", "1.28e-7", "0a028000");
    one("\"type\":\"NUMERIC\"", "-1.28e-7", "0a0180");
    one("\"type\":\"NUMERIC\"", "99999999999999999999999999999.999999999",
        "0a10ffffffff3f228a097ac4865aa84c3b4b");
    one("\"type\":\"NUMERIC\"", "-99999999999999999999999999999.999999999",
        "0a1001000000c0dd75f6853b79a557b3c4b4");
    one("\"type\":\"BIGNUMERIC\"", "\"1\"", "0a100000000040228a097ac4865aa84c3b4b");
    one("\"type\":\"BIGNUMERIC\"",
        "578960446186580977117854925043439539266.34992332820282019728792003956564819967",
        "0a20ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    one("\"type\":\"BIGNUMERIC\"",
        "-578960446186580977117854925043439539266.34992332820282019728792003956564819967",
        "0a200100000000000000000000000000000000000000000000000000000000000080");
}

/* Lengths of messages around the steps of their varints, nested, and at every room. */
static void lengths(void **state)
{
    struct schema *s = must_compile(
        "[{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"q\",\"type\":\"RECORD\","
        "\"fields\":[{\"name\":\"s\",\"type\":\"STRING\"}]}]}]");
    static const size_t sizes[] = {0,     1,     121,   122,   123,   124,   125,
                                   126,   127,   128,   16373, 16374, 16375, 16376,
                                   16377, 16378, 16379, 16380, 16383, 16384, 40000};
    static char doc[DOC_BYTES_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t n = (size_t)snprintf(doc, sizeof(doc), "{\"r\":{\"q\":{\"s\":\"");
        const char *p = row;
        size_t left;

        memset(doc + n, 'x', sizes[i]);
        memcpy(doc + n + sizes[i], "\"}}}", sizeof("\"}}}"));
        assert_int_equal(encode(s, doc, &line_row), REASON_NONE);
        left = row_len;
        for (int level = 0; level < 3; level++) {
            size_t len = 0;
            unsigned shift = 0;

            assert_int_equal(*p++, 0x0a);
            do {
                len |= (size_t)(*p & 0x7F) << shift;
                shift += 7;
            } while ((*p++ & 0x80) != 0);
            assert_true(len == 0 || shift == 7 ||
                        len >> (shift - 7) != 0); /* no longer than needed */
            left = row_len - (size_t)(p - row);
            assert_int_equal(len, left);
        }
        assert_int_equal(left, sizes[i]);
    }
    schema_destroy(s);
}

static void room(void **state)
{
    static const char doc[] =
        "{\"i\":-1,\"f\":[1,2,3],\"s\":\"abc\\n\",\"r\":[{\"s\":\"0123456789\"},{\"s\":\"\"},{}],"
        "\"y\":\"AAECAwQFBgcICQoLDA0ODxAREhM=\",\"n\":1234.5,\"j\":[1,2,{\"a\":null}],\"u\":{\"v\":"
        "0}}";
    struct schema *s = must_compile(
        "[{\"name\":\"i\",\"type\":\"INTEGER\"},{\"name\":\"f\",\"type\":\"FLOAT\",\"mode\":"
        "\"REPEATED\"},{\"name\":\"s\",\"type\":\"STRING\"},{\"name\":\"r\",\"type\":\"RECORD\","
        "\"mode\":\"REPEATED\",\"fields\":[{\"name\":\"s\",\"type\":\"STRING\"}]},{\"name\":\"y\","
        "\"type\":\"BYTES\"},{\"name\":\"n\",\"type\":\"NUMERIC\"},{\"name\":\"j\",\"type\":"
        "\"JSON\"}]");
    struct json_event ev = {.ptr = doc, .len = sizeof(doc) - 1, .type = JSON_OBJECT};
    size_t want, got, first = 0;

    (void)state;
    assert_int_equal(encode(s, doc, &event_row), REASON_NONE);
    want = row_len;
    for (size_t n = 0; n < want + PROGRAM_SLACK_BYTES + 200; n++) {
        char *exact = malloc(n == 0 ? 1 : n); /* for the sanitizer */
        int rc = program_encode(s, NULL, &ev, &event_row, exact, n, &got, &result);

        assert_true(rc == 0 || rc == -ENOSPC);
        assert_true(rc == 0 || (first == 0 && result.reason == REASON_NONE));
        if (rc == 0) {
            first = first == 0 ? n : first;
            assert_true(got == want && memcmp(exact, row, want) == 0);
        }
        free(exact);
    }
    assert_true(first > 0 && first <= want + 2 * PROGRAM_SLACK_BYTES);
    schema_destroy(s);
}

static bool contains(const char *text)
{
    return memmem(row, row_len, text, strlen(text)) != NULL;
}

static void overflow(void **state)
{
    struct schema *s = must_compile(
        "[{\"name\":\"a\",\"type\":\"INTEGER\"},{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":["
        "{\"name\":\"b\",\"type\":\"INTEGER\"}]}]");

    (void)state;
    assert_int_equal(
        encode(s, "{\"x\":[1],\"a\":1,\"r\":{\"y\":\"z\",\"b\":2},\"penstock_id\":5}", &event_row),
        REASON_NONE);
    assert_true(contains("{\"x\":[1],\"r.y\":\"z\"}"));
    assert_int_equal(
        encode(s, "{\"a\":1,\"penstock_overflow\":{\"x\":1},\"penstock_id\":\"i\"}", &line_row),
        REASON_NONE);
    assert_hex(row, row_len,
               "0801"
               "2a0169"
               "32077b2278223a317d");
    assert_int_equal(encode(s, "{\"new\":2,\"penstock_overflow\":{\"x\":1}}", &line_row),
                     REASON_NONE);
    assert_true(contains("{\"x\":1,\"new\":2}"));
    assert_int_equal(encode(s, "{\"new\":2,\"penstock_overflow\":{ }}", &line_row), REASON_NONE);
    assert_true(contains("{\"new\":2}"));
    assert_int_equal(encode(s, "{\"new\":2,\"penstock_overflow\":{\"new\":1}}", &line_row),
                     REASON_DUPLICATE_KEY);
    assert_int_equal(encode(s, "{\"a\":1,\"penstock_overflow\":null}", &line_row), REASON_NONE);
    assert_hex(row, row_len, "0801");
    schema_destroy(s);
}

/* Keys in any order, with escapes, with white space; names longer than what is compared at once. */
static void keys(void **state)
{
    struct schema *s = must_compile(
        "[{\"name\":\"a\",\"type\":\"INTEGER\"},{\"name\":\"ab\",\"type\":\"INTEGER\"},"
        "{\"name\":\"a_name_of_thirty_one_characters\",\"type\":\"INTEGER\"},"
        "{\"name\":\"a_name_of_thirty_two_characters_\",\"type\":\"INTEGER\"},"
        "{\"name\":\"a_name_of_thirty_two_characters_and_more_1\",\"type\":\"INTEGER\"},"
        "{\"name\":\"a_name_of_thirty_two_characters_and_more_2\",\"type\":\"INTEGER\"}]");

    (void)state;
    assert_int_equal(
        encode(s,
               " {\"a_name_of_thirty_two_characters_and_more_2\":6 , \"ab\" : 2,\n\"\\u0061\":1,"
               "\"a_name_of_thirty_two_characters_\":4,\"a_name_of_thirty_one_characters\":3,"
               "\"a_name_of_thirty_two_characters_and_more_1\"\t:\r5} " +
                   1,
               &line_row),
        REASON_NONE);
    assert_hex(row, row_len, "300610020801200418032805");
    assert_int_equal(encode(s, "{\"a_name_of_thirty_two_characters_and_more\":1}", &line_row),
                     REASON_NONE);
    assert_true(contains("and_more\":1}"));
    assert_int_equal(encode(s, "{\"a\":1,\"\\u0061\":2}", &line_row), REASON_DUPLICATE_KEY);
    schema_destroy(s);
}

#define HAS(bytes) memmem(descriptor, len, bytes, sizeof(bytes) - 1)

/* Runs a second document by the plan that was made from the first, and compares with a walk. */
static void by_plan(const struct schema *s, const char *first, const char *second, bool line)
{
    const struct program_row what = {.line = line, .id = {"id", 2}};
    struct json_event ev = {.ptr = doc_buf, .type = JSON_OBJECT, .shape = ++shape};
    size_t want = 0, got = 0;
    int rc;

    ev.len = (uint32_t)strlen(first);
    memcpy(doc_buf, first, ev.len + 1);
    ev.n_tokens = tokenize(doc_buf, ev.len);
    ev.token = tokens;
    rc = program_encode(s, memory, &ev, &what, row, sizeof(row), &want, &result);
    if (rc != 0)
        fail_msg("%s: %s", first, result.detail);
    ev.len = (uint32_t)strlen(second);
    memcpy(doc_buf, second, ev.len + 1);
    assert_int_equal(tokenize(doc_buf, ev.len), ev.n_tokens); /* or they had not the same shape */
    ev.flags = strstr(second, "1e") != NULL ? JSON_FAR_NUMBER : 0;
    rc = program_encode(s, NULL, &ev, &what, row, sizeof(row), &want, &expected);
    assert_int_equal(program_encode(s, memory, &ev, &what, other, sizeof(other), &got, &result),
                     rc);
    same_result("plan");
    assert_true(want == got && memcmp(row, other, got) == 0);
    if (line)
        return;
    program_check(s, memory, &ev, false, &result);
    same_result("check by plan");
    times_seen += same_times(&ev);
}

/* Events of one shape whose keys or values are not those of the event that the plan came from. */
static void plans(void **state)
{
    struct schema *s = must_compile(
        "[{\"name\":\"i\",\"type\":\"INTEGER\",\"mode\":\"REQUIRED\"},{\"name\":\"f\",\"type\":"
        "\"FLOAT\"},{\"name\":\"o\",\"type\":\"BOOLEAN\"},{\"name\":\"s\",\"type\":\"STRING\"},"
        "{\"name\":\"m\",\"type\":\"STRING\",\"maxLength\":2},{\"name\":\"l\",\"type\":\"INTEGER\","
        "\"mode\":\"REPEATED\"},{\"name\":\"r\",\"type\":\"RECORD\",\"mode\":\"REPEATED\","
        "\"fields\":"
        "[{\"name\":\"t\",\"type\":\"TIMESTAMP\"}]},{\"name\":\"j\",\"type\":\"JSON\"},{\"name\":"
        "\"q\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"n\",\"type\":\"NUMERIC\"}]}]");
    static const char *const pairs[][2] = {
        {"{\"i\":1}", "{\"i\":2}"},
        {"{\"i\":1}", "{\"i\":null}"},
        {"{\"i\":1}", "{\"i\":1.5}"},
        {"{\"i\":1}", "{\"i\":true}"},
        {"{\"i\":1}", "{\"f\":1}"},
        {"{\"i\":1}", "{\"x\":1}"},
        {"{\"i\":1}", "{\"\\u0069\":1}"},
        {"{\"i\":1,\"f\":1}", "{\"i\":1,\"i\":2}"},
        {"{\"i\":1,\"f\":1}", "{\"i\":1,\"f\":null}"},
        {"{\"i\":1,\"f\":null}", "{\"i\":1,\"f\":1e400}"},
        {"{\"i\":1,\"f\":0.5}", "{\"i\":1,\"f\":1234567890.123456789}"},
        {"{\"i\":1,\"o\":true}", "{\"i\":1,\"o\":false}"},
        {"{\"i\":1,\"o\":true}", "{\"i\":1,\"o\":0}"},
        {"{\"i\":1,\"s\":\"a\"}", "{ \"i\" : 1 ,\n\"s\" : \"b\\n\" }"},
        {"{\"i\":1,\"s\":\"a\"}", "{\"i\":1,\"m\":\"abc\"}"},
        {"{\"i\":1,\"m\":\"ab\"}", "{\"i\":1,\"m\":\"abc\"}"},
        {"{\"i\":1,\"l\":null}", "{\"i\":1,\"l\":2}"},
        {"{\"i\":1,\"l\":[1,2]}", "{\"i\":1,\"l\":[3,-4]}"},
        {"{\"i\":1,\"l\":[1,2]}", "{\"i\":1,\"l\":[3,null]}"},
        {"{\"i\":1,\"l\":[]}", "{\"i\":1,\"r\":[]}"},
        {"{\"i\":1,\"l\":[]}", "{\"i\":1,\"s\":[]}"},
        {"{\"i\":1,\"r\":[{\"t\":1},{}]}", "{\"i\":1,\"r\":[{\"t\":2},{}]}"},
        {"{\"i\":1,\"r\":[{\"t\":1}]}", "{\"i\":1,\"j\":[{\"t\":1}]}"},
        {"{\"i\":1,\"j\":[{\"t\":1}]}", "{\"i\":1,\"j\":[{\"x\":null}]}"},
        {"{\"i\":1,\"j\":[{\"t\":1}]}", "{\"i\":1,\"j\":[{\"x\":1e999}]}"},
        {"{\"i\":1,\"j\":[{\"t\":1}]}", "{\"i\":1,\"r\":[{\"t\":1}]}"},
        {"{\"i\":1,\"q\":null}", "{\"i\":1,\"q\":true}"},
        {"{\"i\":1,\"q\":{\"n\":null}}", "{\"i\":1,\"q\":{\"n\":1.5}}"},
        {"{\"i\":1,\"q\":{\"n\":1}}", "{\"i\":1,\"j\":{\"n\":1}}"},
        {"{\"q\":{\"n\":1},\"i\":1}", "{\"q\":{\"z\":1},\"i\":1}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        by_plan(s, pairs[i][0], pairs[i][1], false);
        by_plan(s, pairs[i][0], pairs[i][1], true);
    }
    by_plan(s, "{\"i\":1,\"event_date\":\"2026-11-21\"}", "{\"i\":1,\"event_date\":\"x\"}", false);
    by_plan(s, "{\"i\":1,\"event_date\":\"2026-11-21\"}", "{\"i\":2,\"event_date\":\"2026-11-22\"}",
            true);
    by_plan(s, "{\"i\":1,\"penstock_overflow\":{\"a\":1}}",
            "{\"i\":2,\"penstock_overflow\":{\"b\":1}}", true);
    schema_destroy(s);
}

/*
 * Not a test: the program with which it_rows_proto.py makes rows. Prints the descriptor, then a line
 * for each event of a file: the row as the worker's parser and a plan give it, or "refused" and why.
 */
/* ---- many values of one shape, by one plan ---- */

#define MANY_NUMBERS 41 /* more than are read side by side, and no multiple of eight */
#define MANY_TIMES   3

static uint64_t random_state = 88172645463325252u;

static unsigned random_below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

PRINTF(2, 3) static char *put_format(char *p, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(p, 256, format, args);
    va_end(args);
    return p + n;
}

static char *put_digits(char *p, unsigned n, bool first_zero)
{
    for (unsigned i = 0; i < n; i++)
        *p++ = (char)('0' + (i == 0 && !first_zero ? 1 + random_below(9) : random_below(10)));
    return p;
}

/* Mostly plain numbers of all lengths; some that are read in another way, some that no column takes. */
static char *put_random_number(char *p, bool integer)
{
    static const char *const odd[] = {
        "null", "1e3", "-2.5E-3",           "true", "1.0", "9223372036854775807", "-0", "-0.0",
        "0.5",  "0",   "12345678901234567", "1e400"};
    const char *text = odd[random_below(ARRAY_LEN(odd))];
    unsigned whole = 1 + random_below(integer ? 16 : 10);

    if (random_below(integer ? 150 : 60) == 0)
        return stpcpy(p, text);
    if (random_below(4) == 0)
        *p++ = '-';
    if (random_below(8) == 0)
        *p++ = '0';
    else
        p = put_digits(p, whole, false);
    if (!integer && random_below(4) != 0) {
        *p++ = '.';
        p = put_digits(p, 1 + random_below(16), true);
    }
    return random_below(40) == 0 ? stpcpy(p, " ") : p;
}

static char *put_random_time(char *p)
{
    static const char *const zones[] = {"Z",      "+02:00", "-13:59", "",       " UTC",  "+14:00",
                                        "+15:00", "z",      "+0200",  "-00:00", "+2:00", "Z "};
    static const char *const days[] = {"2024-02-29", "2023-02-29", "1969-12-31", "0001-01-01",
                                       "9999-12-31", "2025-06-15", "2025-6-15",  "2025-13-01"};
    unsigned digits = random_below(3) * 3;

    if (random_below(10) == 0)
        digits = random_below(10);
    p = put_format(p, "\"%s%c%02u:%02u:%02u", days[random_below(3) == 0 ? random_below(8) : 5],
                   random_below(12) == 0 ? ' ' : 'T', random_below(random_below(20) == 0 ? 30 : 24),
                   random_below(random_below(20) == 0 ? 70 : 60),
                   random_below(random_below(20) == 0 ? 70 : 60));
    if (digits > 0)
        p = put_digits(stpcpy(p, "."), digits, true);
    p = stpcpy(p, zones[random_below(random_below(10) == 0 ? 12 : 3)]);
    if (random_below(60) == 0)
        p[-1 - (int)random_below(12)] = "x:9 -.+T"[random_below(8)];
    return stpcpy(p, random_below(40) == 0 ? "\" " : "\"");
}

static char *put_random_text(char *p)
{
    static const char *const parts[] = {"\\\"", "\\\\",           "\\n",      "\\/", "\\u00e9",
                                        "\\b",  "\\ud83d\\ude00", "\xc3\xa9", "u",   "\\t\\f\\r"};
    unsigned n = random_below(random_below(5) == 0 ? 90 : 34);

    *p++ = '"';
    for (unsigned i = 0; i < n; i++)
        p = random_below(12) == 0 ? stpcpy(p, parts[random_below(ARRAY_LEN(parts))])
                                  : stpcpy(p, (char[]){(char)('a' + random_below(26)), '\0'});
    return stpcpy(p, "\"");
}

static void many(void **state)
{
    static char text[8192], doc[16384];
    unsigned taken = 0;
    struct schema *s;
    char *p = stpcpy(text, "[");

    (void)state;
    for (int i = 0; i < MANY_NUMBERS; i++)
        p = put_format(p, "{\"name\":\"n%d\",\"type\":\"%s\"},", i,
                       i % 3 == 0 ? "INTEGER" : "FLOAT");
    for (int i = 0; i < MANY_TIMES; i++)
        p = put_format(
            p, "{\"name\":\"t%d\",\"type\":\"TIMESTAMP\"},{\"name\":\"s%d\",\"type\":\"STRING\"},",
            i, i);
    stpcpy(p - 1, "]");
    s = must_compile(text);
    for (int n = 0; n < 3000; n++) {
        p = stpcpy(doc, "{");
        for (int i = 0; i < MANY_NUMBERS; i++)
            p = stpcpy(put_random_number(put_format(p, "\"n%d\":", i), i % 3 == 0), ",");
        for (int i = 0; i < MANY_TIMES; i++) {
            p = random_below(40) == 0 ? put_random_text(put_format(p, "\"t%d\":", i))
                                      : put_random_time(put_format(p, "\"t%d\":", i));
            p = stpcpy(put_random_text(put_format(p, ",\"s%d\":", i)), ",");
        }
        stpcpy(p - 1, "}");
        same_shape = n % 500 != 0;
        taken += encode(s, doc, n % 2 == 0 ? &event_row : &line_row) == REASON_NONE;
    }
    same_shape = false;
    assert_in_range(taken, 500, 2900); /* or it is no test of both */
    assert_true(times_seen > 1000);
    schema_destroy(s);
}

static void dump_event(const struct schema *s, const struct json_event *ev, bool line)
{
    static const char id[] = "0123456789abcdef0123456789abcdef-0000000000000001";
    const struct program_row what = {.line = line,
                                     .event_us = INT64_C(1750000000123456),
                                     .processed_us = INT64_C(-1),
                                     .id = {id, sizeof(id) - 1}};
    size_t len;

    if (ev->error != JSON_ERROR_NONE) {
        printf("refused bad_json\n");
        return;
    }
    if (program_encode(s, memory, ev, &what, row, sizeof(row), &len, &result) != 0) {
        printf("refused %s %s\n", reason_name(result.reason), result.detail);
        return;
    }
    for (size_t i = 0; i < len; i++)
        printf("%02x", (unsigned char)row[i]);
    printf("\n");
}

static int dump(const char *schema, const char *file, bool line)
{
    static struct json_event events[32];
    struct json_parser *parser;
    struct json_stream stream;
    char error[256], *buf = calloc(1, (size_t)64 << 20), *descriptor;
    FILE *f = fopen(file, "r");
    struct schema *s;
    size_t len;
    int n;

    if (f == NULL || schema_load(schema, &s, error, sizeof(error)) != 0 ||
        program_memory_create(json_isa_best(), &memory) != 0 ||
        json_parser_create(NULL, json_isa_best(), &parser) != 0 ||
        program_descriptor(s, &descriptor, &len) != 0)
        return 1;
    for (size_t i = 0; i < len; i++)
        printf("%02x", (unsigned char)descriptor[i]);
    printf("\n");
    len = fread(buf, 1, ((size_t)64 << 20) - JSON_PADDING_BYTES, f);
    json_stream_init(&stream, parser, buf, len, JSON_FRAMING_LINES);
    while ((n = json_next(&stream, events, 32)) > 0) {
        for (int i = 0; i < n; i++)
            dump_event(s, &events[i], line);
    }
    free(descriptor);
    free(buf);
    json_parser_destroy(parser);
    program_memory_destroy(memory);
    schema_destroy(s);
    return fclose(f);
}

/* Type names that would clash, and names that are no identifiers. */
static void descriptor_names(void **state)
{
    struct schema *s = must_compile(
        "[{\"name\":\"a\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"b\",\"type\":\"RECORD\","
        "\"fields\":[{\"name\":\"x\",\"type\":\"BOOLEAN\"}]}]},{\"name\":\"a__b\",\"type\":"
        "\"RECORD\",\"fields\":[{\"name\":\"x\",\"type\":\"BOOLEAN\"}]},{\"name\":\"caf_\","
        "\"type\":\"STRING\",\"mode\":\"REQUIRED\"}]");
    char *descriptor;
    size_t len;

    (void)state;
    s->root.fields[2].name[3] = '-'; /* no schema text gives such a name so far */
    assert_int_equal(program_descriptor(s, &descriptor, &len), 0);
    assert_non_null(HAS("\x0a\x0aroot__a__b\x12"));
    assert_non_null(HAS("\x0a\x0droot__a__b__2\x12"));
    assert_non_null(HAS("\x0a\x05"
                        "col_3\x18\x03\x20\x02\x28\x09\x42\x0a\xaa\x9b\xbc\xc7\x0d\x04"
                        "caf-"));
    free(descriptor);
    schema_destroy(s);
}

static int create(void **state)
{
    (void)state;
    for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++)
        if (json_isa_usable(isa) && program_memory_create(isa, &memories[isa]) != 0)
            return -1;
    memory = memories[json_isa_best()];
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++)
        program_memory_destroy(memories[isa]);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),           cmocka_unit_test(values),  cmocka_unit_test(packed),
        cmocka_unit_test(numerics),         cmocka_unit_test(lengths), cmocka_unit_test(room),
        cmocka_unit_test(overflow),         cmocka_unit_test(keys),    cmocka_unit_test(plans),
        cmocka_unit_test(descriptor_names), cmocka_unit_test(many),
    };

    if (argc == 4) /* --rows or --lines, a schema, events */
        return dump(argv[2], argv[3], strcmp(argv[1], "--lines") == 0);
    return cmocka_run_group_tests(tests, create, destroy);
}
