/*
 * Goal: what is JSON is taken and what is not is refused, alike in every variant, wherever it stands.
 * Method: tables of texts in the manner of JSONTestSuite, each with the verdict that RFC 8259 gives (or,
 * where it leaves one open, json.h: numbers may have any size, half surrogates are refused). Each is read as
 * a document, as a line between events, and as a value in an event whose shape was learned with a plain value
 * in its place; jansson judges all of it as well. Then every byte is tried in every place.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/unit/tjson.h"

#define TEXT_BYTES_MAX 8192

struct text {
    const char *ptr;
    size_t len;
};

#define T(text)                \
    {                          \
        text, sizeof(text) - 1 \
    }

static struct tjson all;
static struct tjson_guard guard;

static int start(void **state)
{
    (void)state;
    tjson_guard_init(&guard, 65536);
    tjson_init(&all, tjson_paths, tjson_n_paths);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    tjson_fini(&all);
    tjson_guard_fini(&guard);
    return 0;
}

static void agree(const char *text, size_t len, enum json_framing framing)
{
    const char *buf = tjson_guard_end(&guard, text, len, "\"}]");

    if (tjson_check(&all, buf, len, framing, TJSON_ORACLE) < 0) {
        print_error("%s\n%.*s\n", all.what, (int)len, buf);
        fail();
    }
}

/* The verdict of every variant, which agree() has found to be the same, is that of the table. */
static void check_verdict(struct text c, bool valid)
{
    char buf[TEXT_BYTES_MAX];
    size_t offset = 0;
    enum json_error error;

    assert_true(c.len + JSON_PADDING_BYTES < sizeof(buf));
    memcpy(buf, c.ptr, c.len);
    memset(buf + c.len, '}', JSON_PADDING_BYTES);
    error = json_validate(buf, c.len, &offset);
    if ((error == JSON_ERROR_NONE) != valid)
        print_error("%s: %.*s\n", valid ? "refused" : "taken", (int)c.len, c.ptr);
    assert_int_equal(error == JSON_ERROR_NONE, valid);
    assert_true(error == JSON_ERROR_NONE || offset <= c.len);
}

/* The case in the middle of events that have been seen often enough to be known. */
static void check_in_events(struct text c)
{
    static const char *const frames[][2] = {
        {"{\"event_type\":\"x\",\"ts\":", ",\"user\":{\"id\":7},\"a\":[]}\n"},
        {"{\"a\":{\"b\":{\"c\":{\"d\":", "}}}}\n"},
        {"[0,[", "],{\"a\":1}]\n"},
        {"", "\n"},
        {"{\"event_type\":\"", "\",\"ts\":1}\n"},
    };
    char text[TEXT_BYTES_MAX];

    if (c.len > 1500)
        return;
    for (size_t f = 0; f < ARRAY_LEN(frames); f++) {
        const char *value[] = {"1", "\"s\"", "{}", "[1]"};
        size_t len = 0;

        for (unsigned line = 0; line < 6; line++) {
            const bool changed = line == 3 || line == 5;
            const char *plain = value[(line / 4 + f) % ARRAY_LEN(value)];
            const size_t n = changed ? c.len : f == 4 ? 1 : strlen(plain);

            memcpy(text + len, frames[f][0], strlen(frames[f][0]));
            len += strlen(frames[f][0]);
            memcpy(text + len, changed ? c.ptr : f == 4 ? "s" : plain, n);
            len += n;
            memcpy(text + len, frames[f][1], strlen(frames[f][1]));
            len += strlen(frames[f][1]);
        }
        agree(text, len, JSON_FRAMING_LINES);
    }
}

static void run_table(const struct text *table, size_t n, bool valid)
{
    for (size_t i = 0; i < n; i++) {
        check_verdict(table[i], valid);
        agree(table[i].ptr, table[i].len, JSON_FRAMING_SINGLE);
        agree(table[i].ptr, table[i].len, JSON_FRAMING_LINES);
        check_in_events(table[i]);
    }
}

static const struct text valid[] = {
    /* scalars at the root, white space around */
    T("7"),
    T("-7"),
    T("0"),
    T("-0"),
    T("1.0"),
    T("-1.25"),
    T("0.5"),
    T("10e2"),
    T("10E2"),
    T("1e+2"),
    T("1e-2"),
    T("1E+002"),
    T("0e0"),
    T("0.0e-0"),
    T("-0.0"),
    T("1e00000"),
    T("123456789012345678901234567890"),
    T("0.000000000000000000000000000000001"),
    T("9223372036854775807"),
    T("-9223372036854775808"),
    T("18446744073709551616"),
    T("4.9406564584124654e-324"),
    T("1.7976931348623157e308"),
    T("1e309"),
    T("-1e99999"),
    T("1e-99999"),
    T("true"),
    T("false"),
    T("null"),
    T("\"\""),
    T("\"x\""),
    T("\" \""),
    T(" 1"),
    T("1 "),
    T("\t1\t"),
    T("\r\n1\r\n"),
    T("\n\n\n1"),
    T("1\n\n\n"),
    T("   true   "),
    T("\r\"x\"\r"),
    /* strings */
    T("\"\\\"\""),
    T("\"\\\\\""),
    T("\"\\/\""),
    T("\"\\b\\f\\n\\r\\t\""),
    T("\"/\""),
    T("\"\\\\\\\\\\\\\\\"\""),
    T("\"\\u0000\""),
    T("\"\\u001f\""),
    T("\"\\u0022\""),
    T("\"\\u005C\""),
    T("\"\\uABCD\""),
    T("\"\\uabcd\""),
    T("\"\\uAbCd\""),
    T("\"\\uD7FF\""),
    T("\"\\uE000\""),
    T("\"\\uFFFE\""),
    T("\"\\uFFFF\""),
    T("\"\\ud800\\udc00\""),
    T("\"\\uDBFF\\uDFFF\""),
    T("\"\\ud83d\\ude00\\ud83d\\ude01\""),
    T("\"x\\ud83d\\ude00x\""),
    T("\"\x7F\""),
    T("\"\xC2\x80\""),
    T("\"\xDF\xBF\""),
    T("\"\xE0\xA0\x80\""),
    T("\"\xED\x9F\xBF\""),
    T("\"\xEE\x80\x80\""),
    T("\"\xEF\xBF\xBE\""),
    T("\"\xEF\xBB\xBF\""),
    T("\"\xF0\x90\x80\x80\""),
    T("\"\xF1\x80\x80\x80\""),
    T("\"\xF3\xBF\xBF\xBF\""),
    T("\"\xF4\x8F\xBF\xBF\""),
    T("\"a\xC3\xA9z\""),
    T("\"\xE2\x82\xAC\xE2\x82\xAC\""),
    T("\"\xE2\x80\xA8\xE2\x80\xA9\""),
    T("\"{\\\"a\\\":1}\""),
    T("\"[]{},:\""),
    T("\"// no\""),
    T("\"true\""),
    T("\"'\""),
    T("\"12345678\""),
    T("\"123456789012345\""),
    T("\"0123456789012345678901234567890123456789012345678901234567890123\""),
    T("\"\\n123456789012345678901234567890123456789012345678901234567890\""),
    /* arrays */
    T("[]"),
    T("[ ]"),
    T("[\n]"),
    T("[\t\r\n ]"),
    T("[1]"),
    T("[ 1 ]"),
    T("[1,2]"),
    T("[1 ,2]"),
    T("[1, 2]"),
    T("[1\n,\n2]"),
    T("[[]]"),
    T("[[],[]]"),
    T("[[[]]]"),
    T("[{}]"),
    T("[{},{}]"),
    T("[[{}],[[{}]]]"),
    T("[null]"),
    T("[true,false,null]"),
    T("[\"\"]"),
    T("[\"\",\"\"]"),
    T("[\"a\",1,null,{},[]]"),
    T("[-1]"),
    T("[-0,-0.0]"),
    T("[1e1,1E1]"),
    T("[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"),
    T("[\"]\"]"),
    T("[\"[\"]"),
    T("[\",\"]"),
    T("[\"\\\"\",\"\\\\\"]"),
    T("[[1],[2],[3]]"),
    T("[true]"),
    T("[false]"),
    T(" [ ] "),
    T("[1.5,2.5e3]"),
    T("[\"\\u005d\"]"),
    T("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
    /* objects */
    T("{}"),
    T("{ }"),
    T("{\n}"),
    T("{\"\":\"\"}"),
    T("{\"a\":1}"),
    T("{\"a\" :1}"),
    T("{\"a\": 1}"),
    T("{ \"a\":1}"),
    T("{\"a\":1 }"),
    T("{\"a\"\n:\n1}"),
    T("{\"a\":1,\"b\":2}"),
    T("{\"a\":1 , \"b\":2}"),
    T("{\"a\":{}}"),
    T("{\"a\":[]}"),
    T("{\"a\":{\"a\":{\"a\":{}}}}"),
    T("{\"a\":1,\"a\":2}"),
    T("{\"a\":1,\"a\":1,\"a\":{}}"),
    T("{\"\":0,\"\":0}"),
    T("{\"a\":null}"),
    T("{\"a\":true,\"b\":false}"),
    T("{\"a\\u0000b\":1}"),
    T("{\"\\\"\":1}"),
    T("{\"\\\\\":1}"),
    T("{\":\":\":\"}"),
    T("{\",\":\",\"}"),
    T("{\"{\":\"}\"}"),
    T("{\"\\ud83d\\ude00\":1}"),
    T("{\"\xF0\x9F\x98\x80\":1}"),
    T("{\"\xC3\xA9\":{\"\xC3\xA8\":1}}"),
    T("{\"a\":[{\"b\":[{\"c\":[]}]}]}"),
    T("{\"a\":-1,\"b\":0.1,\"c\":1e5}"),
    T("{\"a\":\"\\n\"}"),
    T("{\"true\":true}"),
    T("{\"1\":1}"),
    T(" {} "),
    T("\n{\"a\":\r\n1\t}\n"),
    T("{\"a\":[1,2,{\"b\":[3]}],\"c\":4}"),
    T("{\"event_type\":1,\"event_type\":2,\"ts\":{},\"ts\":[]}"),
    T("{\"user\":{\"id\":1},\"user\":{\"x\":1}}"),
    T("{\"a\":{\"b\":{\"c\":{\"d\":1}}}}"),
};

static void test_valid(void **state)
{
    (void)state;
    assert_true(ARRAY_LEN(valid) >= 150);
    run_table(valid, ARRAY_LEN(valid), true);
}

static const struct text invalid_structure[] = {
    /* nothing, or the wrong thing, at the root */
    T(""),
    T(" "),
    T("\n"),
    T(","),
    T(":"),
    T("]"),
    T("}"),
    T("[}"),
    T("{]"),
    T("}{"),
    T("]["),
    T("a"),
    T("'a'"),
    T("`"),
    T("<a/>"),
    T("#"),
    T("//"),
    T("/**/"),
    T("{}//"),
    T("[]/**/"),
    T("\\"),
    T("\\u0020"),
    T("\x00"),
    T("[]\x00"),
    T("\xEF\xBB\xBF"),
    T("\xEF\xBB\xBF[]"),
    T("\xFE\xFF\x00["),
    T("[\x00]"),
    T("\x0C"),
    T("\x0B"),
    T("\x0C[]"),
    T("[]\x0C"),
    T("\xC2\xA0"),
    T("\xC2\xA0[]"),
    T("\xE2\x80\xA8{}"),
    T("\xE3\x80\x80"
      "1"),
    /* too much */
    T("1 1"),
    T("1,1"),
    T("1,"),
    T(",1"),
    T("true false"),
    T("nullnull"),
    T("\"\"\"\""),
    T("\"a\"b"),
    T("[][]"),
    T("[],"),
    T("[],[]"),
    T("{}{}"),
    T("{},{}"),
    T("{}1"),
    T("1{}"),
    T("[]]"),
    T("{}}"),
    T("[]}"),
    T("{}]"),
    T("[1]2"),
    T("null,"),
    T("\"a\":1"),
    T("1:2"),
    /* too little */
    T("["),
    T("[["),
    T("[1"),
    T("[1,"),
    T("[\"a\""),
    T("[\"a"),
    T("[[]"),
    T("[{}"),
    T("[{"),
    T("{"),
    T("{{"),
    T("{\""),
    T("{\"a"),
    T("{\"a\""),
    T("{\"a\":"),
    T("{\"a\":1"),
    T("{\"a\":1,"),
    T("{\"a\":1,\""),
    T("{\"a\":{}"),
    T("{\"a\":["),
    T("{\"a\":[]"),
    T("{\"a\":\""),
    T("\""),
    T("\"\\\""),
    T("\"a\\"),
    T("\"\\u"),
    T("\"\\u0"),
    T("\"\\u00"),
    T("\"\\u000"),
    T("\"\\u0000"),
    T("t"),
    T("tru"),
    T("f"),
    T("fals"),
    T("n"),
    T("nul"),
    T("-"),
    T("1."),
    T("1e"),
    T("1e+"),
    T("1e-"),
    T("-1.e"),
    /* arrays */
    T("[,]"),
    T("[,1]"),
    T("[1,]"),
    T("[1,,2]"),
    T("[1,2,]"),
    T("[,,]"),
    T("[1 2]"),
    T("[\"a\" \"b\"]"),
    T("[\"a\"1]"),
    T("[1\"a\"]"),
    T("[[][]]"),
    T("[{}{}]"),
    T("[[]{}]"),
    T("[1:2]"),
    T("[\"a\":1]"),
    T("[:]"),
    T("[1,:]"),
    T("[}]"),
    T("[1}"),
    T("[[1}]"),
    T("[{]"),
    T("[{]}"),
    T("[1]]"),
    T("[true false]"),
    T("[nulltrue]"),
    T("[(1)]"),
    T("[1;2]"),
    T("[a]"),
    T("[a,1]"),
    T("[1,a]"),
    T("['a']"),
    T("[\"a',\"b\"]"),
    T("[1,\n,2]"),
    T("[ , ]"),
    T("[1 , , 2]"),
    T("[\\]"),
    T("[\\n]"),
    T("[*]"),
    T("[$]"),
    T("[\x1F]"),
    /* objects */
    T("{,}"),
    T("{:}"),
    T("{:1}"),
    T("{1}"),
    T("{1:1}"),
    T("{a:1}"),
    T("{'a':1}"),
    T("{\"a\"}"),
    T("{\"a\",}"),
    T("{\"a\",\"b\"}"),
    T("{\"a\":}"),
    T("{\"a\":,}"),
    T("{\"a\"::1}"),
    T("{\"a\":1:2}"),
    T("{\"a\":1,}"),
    T("{\"a\":1,,\"b\":2}"),
    T("{,\"a\":1}"),
    T("{\"a\":1 \"b\":2}"),
    T("{\"a\":1;\"b\":2}"),
    T("{\"a\" 1}"),
    T("{\"a\"=1}"),
    T("{\"a\"=>1}"),
    T("{null:1}"),
    T("{true:1}"),
    T("{[]:1}"),
    T("{{}:1}"),
    T("{\"a\":b}"),
    T("{\"a\":1]"),
    T("{\"a\":[1}"),
    T("{\"a\":{]}"),
    T("{\"a\":[}]"),
    T("{[\"a\":1]}"),
    T("{\"a\":\"b\":\"c\"}"),
    T("{\"a\",1}"),
    T("{\"a\":1,2}"),
    T("{\"a\":1,\"b\"}"),
    T("{\"a\":1,\"b\",\"c\":2}"),
    T("{\"a\":1,b:2}"),
    T("{\"a\":1,:2}"),
    T("{\"a\":1,\"b\" 2}"),
    T("{\"a\":1/*x*/}"),
    T("{\"a\":1}#"),
    T("{\"a\":(1)}"),
    T("{\"a\":undefined}"),
    T("{\"a\":\x0B"
      "1}"),
    T("{\"a\x00\":1}"),
    T("{\\\"a\\\":1}"),
    T("{\"a\":\\\"b\\\"}"),
};

static void test_invalid_structure(void **state)
{
    (void)state;
    assert_true(ARRAY_LEN(invalid_structure) >= 180);
    run_table(invalid_structure, ARRAY_LEN(invalid_structure), false);
}

static const struct text invalid_scalars[] = {
    /* numbers */
    T("00"),
    T("01"),
    T("-00"),
    T("-01"),
    T("0123"),
    T("1.2.3"),
    T("1..2"),
    T("1.e5"),
    T(".1"),
    T("-.1"),
    T("+1"),
    T("+0"),
    T("++1"),
    T("--1"),
    T("-+1"),
    T("+-1"),
    T("- 1"),
    T("1 e5"),
    T("1e 5"),
    T("1e5.5"),
    T("1e5e5"),
    T("1ee5"),
    T("1e++5"),
    T("1e--5"),
    T("1e+-5"),
    T("e5"),
    T("-e5"),
    T("0x10"),
    T("0b1"),
    T("0o7"),
    T("1_000"),
    T("1,000.0"),
    T("1'000"),
    T("1f"),
    T("1L"),
    T("1n"),
    T("0.1f"),
    T("NaN"),
    T("nan"),
    T("-NaN"),
    T("Infinity"),
    T("-Infinity"),
    T("inf"),
    T("1#INF"),
    T("1%"),
    T("$1"),
    T("\xEF\xBC\x91"),
    T("1\xC2\xB2"),
    T("-a"),
    T("1a"),
    T("1-"),
    T("1+"),
    T("1-1"),
    T("1+1"),
    T("0.-1"),
    T("0e"),
    T("0E+"),
    T("0.e"),
    T("-0."),
    T("1\x00"),
    T("1\x80"),
    T("[1.]"),
    T("[-]"),
    T("[01,1]"),
    T("{\"a\":-}"),
    T("{\"a\":01}"),
    T("[1.5.]"),
    T("[2.e3]"),
    T("[0x1]"),
    T("[1 000]"),
    T("[0e+]"),
    T("[.5]"),
    T("[5.]"),
    /* literals */
    T("True"),
    T("TRUE"),
    T("tRue"),
    T("truE"),
    T("ture"),
    T("truee"),
    T("true1"),
    T("true\""),
    T("False"),
    T("falsE"),
    T("flase"),
    T("falsee"),
    T("Null"),
    T("NULL"),
    T("nil"),
    T("none"),
    T("None"),
    T("nulL"),
    T("nulll"),
    T("undefined"),
    T("yes"),
    T("on"),
    T("t rue"),
    T("tru e"),
    T("[tru]"),
    T("[truefalse]"),
    T("[nul,1]"),
    T("{\"a\":nul}"),
    T("{\"a\":falsey}"),
    T("[true\x00]"),
    T("[trux]"),
    T("[fal\xC3\xA9]"),
    T("n\xC3\xBCll"),
    /* strings */
    T("\"\x00\""),
    T("\"\x01\""),
    T("\"\t\""),
    T("\"\n\""),
    T("\"\r\""),
    T("\"\x1F\""),
    T("\"a\nb\""),
    T("\"\\\n\""),
    T("\"\\ \""),
    T("\"\\0\""),
    T("\"\\1\""),
    T("\"\\a\""),
    T("\"\\v\""),
    T("\"\\x41\""),
    T("\"\\e\""),
    T("\"\\'\""),
    T("\"\\N\""),
    T("\"\\U0041\""),
    T("\"\\u\""),
    T("\"\\u1\""),
    T("\"\\u12\""),
    T("\"\\u123\""),
    T("\"\\u123g\""),
    T("\"\\ug123\""),
    T("\"\\u+123\""),
    T("\"\\u 123\""),
    T("\"\\u{41}\""),
    T("\"\\u-123\""),
    T("\"\\ud800\""),
    T("\"\\uDBFF\""),
    T("\"\\udc00\""),
    T("\"\\uDFFF\""),
    T("\"\\ud800x\""),
    T("\"\\ud800\\n\""),
    T("\"\\ud800\\\\udc00\""),
    T("\"\\ud800\\u0041\""),
    T("\"\\ud800\\ud800\""),
    T("\"\\udc00\\ud800\""),
    T("\"\\udc00\\udc00\""),
    T("\"\\udc00\\udc01\""),
    T("\"\\udfff\\udfff\""),
    T("\"\\udbff\\udbff\""),
    T("\"\\ud800\\udc0\""),
    T("\"\\ud800\\udc0g\""),
    T("\"\\ud800\\uE000\""),
    T("\"\\ud83d\\ude00\\ude00\""),
    T("\"\\ud83d\\ud83d\\ude00\""),
    T("\"\\\xC3\xA9\""),
    T("\"\\\xE2\x82\xAC\""),
    T("\"\\\x80\""),
    T("\"\\\x00\""),
    /* UTF-8: table 3-7 of the Unicode standard, and what lies beside it */
    T("\"\x80\""),
    T("\"\xBF\""),
    T("\"\xC0\x80\""),
    T("\"\xC1\xBF\""),
    T("\"\xC2\""),
    T("\"\xC2\x7F\""),
    T("\"\xC2\xC0\""),
    T("\"\xDF\""),
    T("\"\xE0\x80\x80\""),
    T("\"\xE0\x9F\xBF\""),
    T("\"\xE0\xA0\""),
    T("\"\xE0\xA0\x7F\""),
    T("\"\xE1\x7F\x80\""),
    T("\"\xE1\x80\xC0\""),
    T("\"\xED\xA0\x80\""),
    T("\"\xED\xAF\xBF\""),
    T("\"\xED\xB0\x80\""),
    T("\"\xED\xBF\xBF\""),
    T("\"\xEF\xBF\""),
    T("\"\xEF\xBF\xC0\""),
    T("\"\xF0\x80\x80\x80\""),
    T("\"\xF0\x8F\xBF\xBF\""),
    T("\"\xF0\x90\x80\""),
    T("\"\xF0\x90\x80\x7F\""),
    T("\"\xF1\x80\x7F\x80\""),
    T("\"\xF3\xC0\x80\x80\""),
    T("\"\xF4\x90\x80\x80\""),
    T("\"\xF4\xBF\xBF\xBF\""),
    T("\"\xF5\x80\x80\x80\""),
    T("\"\xF8\x88\x80\x80\x80\""),
    T("\"\xFC\x84\x80\x80\x80\x80\""),
    T("\"\xFE\""),
    T("\"\xFF\""),
    T("\"\xFF\xFF\""),
    T("\"\xC3\xA9\xA9\""),
    T("\"\xE2\x82\xAC\x80\""),
    T("\"\xE9\""),
    T("\"caf\xE9\""),
    T("\"\xC3\"\"\""),
    T("\"\xE2\x82\""),
    T("\"\xF0\x9F\x98\""),
    T("\"\xC3\\u00a9\""),
    T("{\"\xC3\":1}"),
    T("{\"\xED\xA0\x80\":1}"),
    T("[\xC3\xA9]"),
    T("\xC3\xA9"),
    T("\xFF"),
    T("[1,\xFF]"),
    T("[1\xFF]"),
    T("{\"a\":\xFF}"),
    T("{\xFF\"a\":1}"),
    T("[\"a\"\xFF]"),
};

static void test_invalid_scalars(void **state)
{
    (void)state;
    assert_true(ARRAY_LEN(invalid_scalars) >= 170);
    run_table(invalid_scalars, ARRAY_LEN(invalid_scalars), false);
}

/* Every byte, and every pair of bytes, in places of each kind; jansson knows what is right. */
static void test_every_byte(void **state)
{
    static const char *const places[][2] = {
        {"", ""},
        {"[", "]"},
        {"[\"", "\"]"},
        {"[\"\\", "\"]"},
        {"[\"\\", "\x82\xAC\"]"},
        {"[\"\\\\", "\"]"},
        {"[\"\\u00", "0\"]"},
        {"[\"\\ud83d", "ude00\"]"},
        {"[1", "]"},
        {"[1.", "5]"},
        {"[-", "1]"},
        {"[tru", "]"},
        {"[\"a\"", "\"b\"]"},
        {"[\"\xC3", "\"]"},
        {"[\"\xE2\x82", "\"]"},
        {"[\"\xE0", "\x80\"]"},
        {"[\"\xED", "\x80\"]"},
        {"[\"\xF0", "\x80\x80\"]"},
        {"[\"\xF4", "\x80\x80\"]"},
        {"{\"a\"", "1}"},
        {"{\"a\":1", "}"},
        {"{", "\"a\":1}"},
        {"[]", ""},
    };
    char text[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        const size_t head = strlen(places[i][0]);
        const size_t tail = strlen(places[i][1]);

        for (unsigned pair = 0; pair < 256 * 257; pair++) {
            const bool one = pair >= 256 * 256;

            memcpy(text, places[i][0], head);
            text[head] = (char)pair;
            text[head + 1] = (char)(pair >> 8);
            memcpy(text + head + 2 - one, places[i][1], tail);
            agree(text, head + 2 - one + tail, JSON_FRAMING_LINES);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_invalid_structure),
        cmocka_unit_test(test_invalid_scalars),
        cmocka_unit_test(test_every_byte),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
