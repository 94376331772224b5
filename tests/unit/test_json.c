/*
 * Goal: the scanner takes exactly RFC 8259, reports the first error at its exact offset, frames
 * buffers and picks members. Method: tables in the manner of JSONTestSuite (y_ must pass, n_ must
 * fail). Every case runs at the end of a mapping whose next page may not be touched,
 * JSON_PADDING_BYTES before it, with several kinds of hostile padding, alone and between two good
 * NDJSON lines.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dataplane/json/json.h"

#define ROOM_BYTES 65536

struct test_case {
    const char *text;
    size_t len;
    enum json_error error;
    size_t offset;
};

#define Y(text)                                    \
    {                                              \
        text, sizeof(text) - 1, JSON_ERROR_NONE, 0 \
    }
#define N(text, error, offset)                             \
    {                                                      \
        text, sizeof(text) - 1, JSON_ERROR_##error, offset \
    }

static enum json_isa isa; /* of the run */
static char *guard;       /* the page that may not be touched; ROOM_BYTES before it may */

static int map_guard(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map =
        mmap(NULL, ROOM_BYTES + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    if (map == MAP_FAILED)
        return -1;
    guard = map + ROOM_BYTES;
    return mprotect(guard, page, PROT_NONE);
}

/* Puts text so that exactly the promised padding can be read behind it. */
static const char *place(const char *text, size_t len, const char *padding)
{
    char *at = guard - JSON_PADDING_BYTES - len;

    assert_true(len + JSON_PADDING_BYTES <= ROOM_BYTES);
    memcpy(at, text, len);
    for (size_t i = 0; i < JSON_PADDING_BYTES; i++)
        at[len + i] = padding[i % strlen(padding)];
    return at;
}

static const char *const paddings[] = {"\"}", "0",  "]]",   "\x80\xBF", "e1", "uD",
                                       " ",   "\n", "\\\"", "x",        ",1"};

static void show(const struct test_case *c, const char *what, size_t got)
{
    print_error("case %.*s (%zu bytes): %s %zu, wanted %d at %zu\n",
                (int)(c->len < 60 ? c->len : 60), c->text, c->len, what, got, (int)c->error,
                c->offset);
}

static void check_validate(const struct test_case *c)
{
    for (size_t i = 0; i < ARRAY_LEN(paddings); i++) {
        size_t offset = SIZE_MAX;
        const enum json_error error =
            json_validate(place(c->text, c->len, paddings[i]), c->len, &offset);

        if (error != c->error)
            show(c, "error", (size_t)error);
        assert_int_equal(error, c->error);
        if (error == JSON_ERROR_NONE)
            continue;
        if (offset != c->offset)
            show(c, "offset", offset);
        assert_int_equal(offset, c->offset);
    }
}

/* The case as the middle line of three: its neighbours are as they are without it. */
static void check_between_lines(const struct test_case *c)
{
    static const char first[] = "{\"k\":1}\n";
    static const char last[] = "\n{\"k\":2}";
    struct json_paths paths = {0};
    struct json_parser *parser;
    struct json_event ev[8];
    struct json_stream s;
    char text[4096];
    size_t len = 0;
    int n;

    if (memchr(c->text, '\n', c->len) != NULL || c->len > 2048)
        return;
    memcpy(text, first, sizeof(first) - 1);
    len += sizeof(first) - 1;
    memcpy(text + len, c->text, c->len);
    len += c->len;
    memcpy(text + len, last, sizeof(last) - 1);
    len += sizeof(last) - 1;
    assert_int_equal(json_paths_add(&paths, "k"), 0);
    assert_int_equal(json_parser_create(&paths, isa, &parser), 0);
    json_stream_init(&s, parser, place(text, len, "\"}"), len, JSON_FRAMING_LINES);
    n = json_next(&s, ev, ARRAY_LEN(ev));
    assert_int_equal(n, c->error == JSON_ERROR_EMPTY ? 2 : 3);
    assert_int_equal(ev[0].error, JSON_ERROR_NONE);
    assert_int_equal(ev[0].field[0].type, JSON_NUMBER);
    assert_int_equal(ev[n - 1].error, JSON_ERROR_NONE);
    assert_int_equal(ev[n - 1].field[0].offset, 5);
    assert_int_equal(ev[n - 1].len, 7);
    if (n == 3 && ev[1].error != c->error)
        show(c, "error in a line", ev[1].error);
    assert_true(n == 2 || ev[1].error == c->error);
    assert_int_equal(json_next(&s, ev, 1), 0);
    json_parser_destroy(parser);
}

static void run_table(const struct test_case *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_validate(&table[i]);
        check_between_lines(&table[i]);
    }
}

static void test_valid(void **state)
{
    static const struct test_case table[] = {
        Y("{}"),
        Y("[]"),
        Y("null"),
        Y("true"),
        Y("false"),
        Y("0"),
        Y("-0"),
        Y("\"\""),
        Y(" 1 "),
        Y("\t[ ]\r\n"),
        Y("[[]   ]"),
        Y("[\"\"]"),
        Y("[\"a\"]"),
        Y("[false]"),
        Y("[null, 1, \"1\", {}]"),
        Y("[null]"),
        Y("[1\n]"),
        Y(" [1]"),
        Y("[1,null,null,null,2]"),
        Y("[2] "),
        Y("[123e65]"),
        Y("[0e+1]"),
        Y("[0e1]"),
        Y("[ 4]"),
        Y("[-0.000000000000000000000000000000000000000000000000000001]"),
        Y("[20e1]"),
        Y("[-0]"),
        Y("[-123]"),
        Y("[-1]"),
        Y("[1E22]"),
        Y("[1E-2]"),
        Y("[1E+2]"),
        Y("[123e45]"),
        Y("[123.456e78]"),
        Y("[1e-2]"),
        Y("[1e+2]"),
        Y("[123]"),
        Y("[123.456789]"),
        Y("1e400"),
        Y("-1e-400"),
        Y("1e99999999999999999999999999"),
        Y("1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
          "90"),
        Y("{\"asd\":\"sdf\", \"dfg\":\"fgh\"}"),
        Y("{\"asd\":\"sdf\"}"),
        Y("{\"a\":\"b\",\"a\":\"c\"}"),
        Y("{\"a\":\"b\",\"a\":\"b\"}"),
        Y("{\"\":0}"),
        Y("{\"foo\\u0000bar\": 42}"),
        Y("{ \"min\": -1.0e+28, \"max\": 1.0e+28 }"),
        Y("{\"a\":[]}"),
        Y("{\n\"a\": \"b\"\n}"),
        Y("{\"title\":\"\\u041f\\u043e\\u043b\"}"),
        Y("[\"\\u0060\\u012a\\u12AB\"]"),
        Y("[\"\\uD801\\udc37\"]"),
        Y("[\"\\ud83d\\ude39\\ud83d\\udc8d\"]"),
        Y("[\"\\uDBFF\\uDFFF\"]"),
        Y("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"),
        Y("[\"\\\\u0000\"]"),
        Y("[\"\\\"\"]"),
        Y("[\"a/*b*/c\"]"),
        Y("[\"\\\\a\"]"),
        Y("[\"\\\\n\"]"),
        Y("[\"\\u0012\"]"),
        Y("[\"\\uFFFF\"]"),
        Y("[\"asd\"]"),
        Y("[ \"asd\"]"),
        Y("[\"new\\u00A0line\"]"),
        Y("[\"\xF4\x8F\xBF\xBF\"]"),
        Y("[\"\xEF\xBF\xBF\"]"),
        Y("[\"\\u0000\"]"),
        Y("[\"\\u002c\"]"),
        Y("[\"\xCF\x80\"]"),
        Y("[\"\xF0\x9B\xBF\xBF\"]"),
        Y("[\"\xE2\x82\xAC\xF0\x9D\x84\x9E\"]"),
        Y("[\"\xC2\x80\"]"),
        Y("[\"\xE0\xA0\x80\"]"),
        Y("[\"\xED\x9F\xBF\"]"),
        Y("[\"\xEE\x80\x80\"]"),
        Y("[\"\xF0\x90\x80\x80\"]"),
        Y("[\"\x7F\"]"),
        Y("[\"\\u0821\"]"),
        Y("[\"\\uD834\\uDd1e\"]"),
        Y("\" \""),
        Y("[\"\xE2\x80\xA8\xE2\x80\xA9\"]"),
        Y("42"),
        Y("-0.1"),
        Y("\"asd\""),
        Y("[\"a\"]\n"),
        Y("[true]"),
        Y(" [] "),
        Y("[1.0e10,1E-1,0.0]"),
        Y("\"exactly8\""),
        Y("\"1234567\""),
        Y("\"123456789012345\\n\""),
        Y("{\"a\":{\"b\":{\"c\":[1,{}]}}}"),
    };

    (void)state;
    assert_true(ARRAY_LEN(table) >= 90);
    run_table(table, ARRAY_LEN(table));
}

static void test_structure_errors(void **state)
{
    static const struct test_case table[] = {
        N("", EMPTY, 0),
        N(" ", EMPTY, 1),
        N("\r\t\n ", EMPTY, 4),
        N("[1 true]", SYNTAX, 3),
        N("[\"\": 1]", SYNTAX, 3),
        N("[\"\"],", TRAILING, 4),
        N("[,1]", SYNTAX, 1),
        N("[1,,2]", SYNTAX, 3),
        N("[\"x\",,]", SYNTAX, 5),
        N("[\"x\"]]", TRAILING, 5),
        N("[\"\",]", SYNTAX, 4),
        N("[\"x\"", TRUNCATED, 4),
        N("[x", LITERAL, 1),
        N("[3[4]]", SYNTAX, 2),
        N("[1:2]", SYNTAX, 2),
        N("[,]", SYNTAX, 1),
        N("[-", TRUNCATED, 2),
        N("[   , \"\"]", SYNTAX, 4),
        N("[\"a\",\n4\n,1,", TRUNCATED, 11),
        N("[1,]", SYNTAX, 3),
        N("[1,,]", SYNTAX, 3),
        N("[*]", SYNTAX, 1),
        N("[\"\"", TRUNCATED, 3),
        N("[1,", TRUNCATED, 3),
        N("[1,\n1\n,1", TRUNCATED, 8),
        N("[{}", TRUNCATED, 3),
        N("[", TRUNCATED, 1),
        N("{", TRUNCATED, 1),
        N("{\"x\", null}", SYNTAX, 4),
        N("{\"x\"::\"b\"}", SYNTAX, 5),
        N("{\"a\":\"a\" 123}", SYNTAX, 9),
        N("{key: 'value'}", SYNTAX, 1),
        N("{\"a\" b}", SYNTAX, 5),
        N("{:\"b\"}", SYNTAX, 1),
        N("{\"a\" \"b\"}", SYNTAX, 5),
        N("{\"a\":", TRUNCATED, 5),
        N("{\"a\"", TRUNCATED, 4),
        N("{1:1}", SYNTAX, 1),
        N("{null:null}", SYNTAX, 1),
        N("{\"id\":0,,,,,}", SYNTAX, 8),
        N("{'a':0}", SYNTAX, 1),
        N("{\"id\":0,}", SYNTAX, 8),
        N("{\"a\":\"b\"}/**/", TRAILING, 9),
        N("{\"a\":\"b\"}#", TRAILING, 9),
        N("{\"a\":\"b\",,\"c\":1}", SYNTAX, 9),
        N("{a: \"b\"}", SYNTAX, 1),
        N("{\"a\":\"a", TRUNCATED, 7),
        N("{\"a\":1}x", TRAILING, 7),
        N("{ \"foo\" : \"bar\", \"a\" }", SYNTAX, 21),
        N("{}}", TRAILING, 2),
        N("{]", SYNTAX, 1),
        N("[}", SYNTAX, 1),
        N("{\"a\":1]", SYNTAX, 6),
        N("[1}", SYNTAX, 2),
        N("{,", SYNTAX, 1),
        N("{[", SYNTAX, 1),
        N("{\"", TRUNCATED, 2),
        N("{\"a", TRUNCATED, 3),
        N("]", SYNTAX, 0),
        N("}", SYNTAX, 0),
        N("<.>", SYNTAX, 0),
        N("[1]x", TRAILING, 3),
        N("[1]]", TRAILING, 3),
        N("*", SYNTAX, 0),
        N("1]", TRAILING, 1),
        N("[][]", TRAILING, 2),
        N("{} {}", TRAILING, 3),
        N("\"a\" \"b\"", TRAILING, 4),
        N("1 2", TRAILING, 2),
        N("[1,\x0C]", SYNTAX, 3),
        N("[\x0B]", SYNTAX, 1),
        N("[\x00]", SYNTAX, 1),
        N("\x00", SYNTAX, 0),
        N("{}\x00", TRAILING, 2),
        N("\xEF\xBB\xBF{}", SYNTAX, 0),
        N("\xEF\xBB\xBF", SYNTAX, 0),
        N("[\xE2\x81\xA0]", SYNTAX, 1),
        N("[\xC2\xA0]", SYNTAX, 1),
        N("{\"a\":1}\xC2\xA0", TRAILING, 7),
        N("{\"a\":}", SYNTAX, 5),
        N("{\"a\",}", SYNTAX, 4),
        N("{\"a\":1 \"b\":2}", SYNTAX, 7),
        N("/*x*/1", SYNTAX, 0),
        N("[1]//x", TRAILING, 3),
        N("[\"a\" \"b\"]", SYNTAX, 5),
        N("{\"a\":[1,{\"b\":]}]}", SYNTAX, 13),
        N("{\"a\": ", TRUNCATED, 6),
        N("{\"a\":1, ", TRUNCATED, 8),
        N(" [1,2", TRUNCATED, 5),
    };

    (void)state;
    run_table(table, ARRAY_LEN(table));
}

static void test_number_and_literal_errors(void **state)
{
    static const struct test_case table[] = {
        N("[tru]", LITERAL, 4),      N("[fals]", LITERAL, 5),     N("[nul]", LITERAL, 4),
        N("tru", TRUNCATED, 3),      N("[nulx]", LITERAL, 4),     N("nulll", TRAILING, 4),
        N("[truex]", SYNTAX, 5),     N("True", LITERAL, 0),       N("[NaN]", LITERAL, 1),
        N("[None]", LITERAL, 1),     N("[Infinity]", LITERAL, 1), N("[nan]", LITERAL, 2),
        N("[-Infinity]", NUMBER, 2), N("[-NaN]", NUMBER, 2),      N("undefined", LITERAL, 0),
        N("f", TRUNCATED, 1),        N("[++1234]", NUMBER, 1),    N("[+1]", NUMBER, 1),
        N("[+Inf]", NUMBER, 1),      N("[-01]", NUMBER, 3),       N("[-1.0.]", SYNTAX, 5),
        N("[-2.]", NUMBER, 4),       N("[.-1]", NUMBER, 1),       N("[.2e-3]", NUMBER, 1),
        N("[0.1.2]", SYNTAX, 4),     N("[0.3e+]", NUMBER, 6),     N("[0.3e]", NUMBER, 5),
        N("[0.e1]", NUMBER, 3),      N("[0E+]", NUMBER, 4),       N("[0E]", NUMBER, 3),
        N("[1.0e+]", NUMBER, 6),     N("[1.0e-]", NUMBER, 6),     N("[1.0e]", NUMBER, 5),
        N("[1 000.0]", SYNTAX, 3),   N("[1eE2]", NUMBER, 3),      N("[2.e+3]", NUMBER, 3),
        N("[2.e3]", NUMBER, 3),      N("[9.e+]", NUMBER, 3),      N("[0x1]", SYNTAX, 2),
        N("[0x42]", SYNTAX, 2),      N("[1+2]", SYNTAX, 2),       N("[-foo]", NUMBER, 2),
        N("[- 1]", NUMBER, 2),       N("[-012]", NUMBER, 3),      N("[-.123]", NUMBER, 2),
        N("[-1x]", SYNTAX, 3),       N("[1ea]", NUMBER, 3),       N("[1.]", NUMBER, 3),
        N("[1a]", SYNTAX, 2),        N("[012]", NUMBER, 2),       N("[00]", NUMBER, 2),
        N("[--1]", NUMBER, 2),       N("[1e1.5]", SYNTAX, 4),     N("-", TRUNCATED, 1),
        N("1.", TRUNCATED, 2),       N("1e", TRUNCATED, 2),       N("1e+", TRUNCATED, 3),
        N("01", NUMBER, 1),          N("-1.5e", TRUNCATED, 5),    N("2@", TRAILING, 1),
        N("[123\xE5]", UTF8, 4),     N("[1e1\xE5]", UTF8, 4),     N("[0\xE5]", UTF8, 2),
        N("[-\xFF]", UTF8, 2),       N("[tr\xFF]", UTF8, 3),      N("[\xEF\xBC\x91]", SYNTAX, 1),
    };

    (void)state;
    run_table(table, ARRAY_LEN(table));
}

static void test_string_errors(void **state)
{
    static const struct test_case table[] = {
        N("\"", TRUNCATED, 1),
        N("\"a", TRUNCATED, 2),
        N("\"12345678", TRUNCATED, 9),
        N("[\"a", TRUNCATED, 3),
        N("\"\\", TRUNCATED, 2),
        N("\"\\\"", TRUNCATED, 3),
        N("\"\\u", TRUNCATED, 3),
        N("\"\\u00", TRUNCATED, 5),
        N("[\"\\\\\\\"]", TRUNCATED, 7),
        N("[\"\\x00\"]", STRING, 3),
        N("[\"\\a\"]", STRING, 3),
        N("[\"\\ \"]", STRING, 3),
        N("[\"\\\x00\"]", STRING, 3),
        N("[\"\\U0041\"]", STRING, 3),
        N("[\"\\u00A\"]", STRING, 7),
        N("[\"\\uqqqq\"]", STRING, 4),
        N("[\"\\u 123\"]", STRING, 4),
        N("[\"\\u123G\"]", STRING, 7),
        N("[\"a\x00"
          "a\"]",
          STRING, 3),
        N("[\"\t\"]", STRING, 2),
        N("[\"\x1F\"]", STRING, 2),
        N("[\"12345678\x01\"]", STRING, 10),
        N("[\"new\nline\"]", STRING, 5),
        N("{\"\x01\":1}", STRING, 2),
        N("{\"\\q\":1}", STRING, 3),
        N("[\"\\\xE5\"]", UTF8, 3),
        N("[\"\\u\xE5\"]", UTF8, 4),
        N("[\\u0020\"a\"]", SYNTAX, 1),
        N("['a']", SYNTAX, 1),
        N("abc", LITERAL, 0),
        N("[\"\\\xF0\x9F\x8C\x80\"]", STRING, 3),
        N("[\"\\uD800\"]", SURROGATE, 2),
        N("[\"\\uDFAA\"]", SURROGATE, 2),
        N("[\"\\uD888\\u1234\"]", SURROGATE, 2),
        N("[\"\\uD800\\uD800\\n\"]", SURROGATE, 2),
        N("[\"\\uD800\\\"]", SURROGATE, 2),
        N("[\"\\uD800\\u\"]", SURROGATE, 2),
        N("[\"\\uD800\\u1\"]", SURROGATE, 2),
        N("[\"\\uD800\\uDC0x\"]", SURROGATE, 2),
        N("[\"a\\uDd1ea\"]", SURROGATE, 3),
        N("[\"\\uD800abc\"]", SURROGATE, 2),
        N("[\"\\uD83D\\uDE00\\uDE00\"]", SURROGATE, 14),
        N("[\"\\uD800\xFF\"]", SURROGATE, 2),
        N("\"\\uD800", TRUNCATED, 7),
        N("\"\\uD800\\", TRUNCATED, 8),
        N("\"\\uD800\\u", TRUNCATED, 9),
        N("\"\\uD800\\uDC0", TRUNCATED, 12),
        N("\"\\uD800\\uE", SURROGATE, 1),
    };

    (void)state;
    run_table(table, ARRAY_LEN(table));
}

static void test_utf8_errors(void **state)
{
    static const struct test_case table[] = {
        N("[\"\xFF\"]", UTF8, 2),
        N("[\"\x80\"]", UTF8, 2),
        N("[\"\xC0\xAF\"]", UTF8, 2),
        N("[\"\xC1\xBF\"]", UTF8, 2),
        N("[\"\xE0\x80\xAF\"]", UTF8, 2),
        N("[\"\xE0\x9F\xBF\"]", UTF8, 2),
        N("[\"\xED\xA0\x80\"]", UTF8, 2),
        N("[\"\xED\xBF\xBF\"]", UTF8, 2),
        N("[\"\xF0\x80\x80\xAF\"]", UTF8, 2),
        N("[\"\xF0\x8F\xBF\xBF\"]", UTF8, 2),
        N("[\"\xF4\x90\x80\x80\"]", UTF8, 2),
        N("[\"\xF5\x80\x80\x80\"]", UTF8, 2),
        N("[\"\xFC\x80\x80\x80\x80\x80\"]", UTF8, 2),
        N("[\"\xC3\"]", UTF8, 2),
        N("[\"\xE2\x82\"]", UTF8, 2),
        N("[\"\xF0\x9F\x98\"]", UTF8, 2),
        N("[\"\xC3\x28\"]", UTF8, 2),
        N("[\"\xE2\x28\xA1\"]", UTF8, 2),
        N("[\"\xE2\x82\x28\"]", UTF8, 2),
        N("[\"\xF0\x28\x8C\xBC\"]", UTF8, 2),
        N("[\"\xF0\x90\x28\xBC\"]", UTF8, 2),
        N("[\"\xF0\x28\x8C\x28\"]", UTF8, 2),
        N("[\"\xE2\x82\xAC\x80\"]", UTF8, 5),
        N("\"\xE2\x82", UTF8, 1),
        N("\"\xC3", UTF8, 1),
        N("\"\xF0\x9F\x98", UTF8, 1),
        N("\xFF", UTF8, 0),
        N("\xE5", UTF8, 0),
        N("{}\xFF", UTF8, 2),
        N("[\xFF]", UTF8, 1),
        N("{\"\xFF\":1}", UTF8, 2),
        N("{\"a\":1,\"b\":\"caf\xE9\"}", UTF8, 15),
        N("{\"a\":tru,\"b\":\"\xFF\"}", LITERAL, 8),
        N("{\"a\":\"\xFF\",\"b\":tru}", UTF8, 6),
        N("\xFF\xFE[\x00", UTF8, 0),
        N("[1,\x80", UTF8, 3),
    };

    (void)state;
    run_table(table, ARRAY_LEN(table));
}

/* n openings, a scalar, and n closings. */
static size_t nested(char *out, size_t n, const char *open, const char *middle, char close)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        memcpy(out + len, open, strlen(open));
        len += strlen(open);
    }
    memcpy(out + len, middle, strlen(middle));
    len += strlen(middle);
    memset(out + len, close, n);
    return len + n;
}

static void test_depth(void **state)
{
    char text[8192];
    size_t offset;
    size_t len;

    (void)state;
    len = nested(text, JSON_DEPTH_MAX, "[", "", ']');
    assert_int_equal(json_validate(place(text, len, "]"), len, &offset), JSON_ERROR_NONE);
    len = nested(text, JSON_DEPTH_MAX, "{\"a\":", "1", '}');
    assert_int_equal(json_validate(place(text, len, "}"), len, &offset), JSON_ERROR_NONE);
    len = nested(text, JSON_DEPTH_MAX + 1, "[", "", ']');
    assert_int_equal(json_validate(place(text, len, "]"), len, &offset), JSON_ERROR_DEPTH);
    assert_int_equal(offset, JSON_DEPTH_MAX);
    len = nested(text, JSON_DEPTH_MAX + 1, "{\"a\":", "1", '}');
    assert_int_equal(json_validate(place(text, len, "}"), len, &offset), JSON_ERROR_DEPTH);
    assert_int_equal(offset, 5 * JSON_DEPTH_MAX);
    memset(text, '[', sizeof(text));
    assert_int_equal(json_validate(place(text, sizeof(text), "["), sizeof(text), &offset),
                     JSON_ERROR_DEPTH);
    len = nested(text, JSON_DEPTH_MAX, "[", "", ']');
    assert_int_equal(json_validate(place(text, len - 1, "]"), len - 1, &offset),
                     JSON_ERROR_TRUNCATED);
    assert_int_equal(offset, len - 1);
}

/* Every prefix of a document that has everything is TRUNCATED at its end, or bad UTF-8 where it is
 * cut. */
static void test_prefixes(void **state)
{
    static const char text[] = "{\"a\":[1,-2.5e+3,true,null,false,{}],\"\\u00e9\\n\":"
                               "\"\\ud83d\\ude00\",\"k\":\"\xE2\x82\xAC\"}";

    (void)state;
    for (size_t len = 1; len < sizeof(text) - 1; len++) {
        size_t offset;
        const enum json_error error = json_validate(place(text, len, "\"}]"), len, &offset);

        if (error == JSON_ERROR_UTF8) {
            assert_int_equal((uint8_t)text[offset], 0xE2);
            continue;
        }
        assert_int_equal(error, JSON_ERROR_TRUNCATED);
        assert_int_equal(offset, len);
    }
}

static void test_error_text(void **state)
{
    (void)state;
    for (int i = JSON_ERROR_NONE; i <= JSON_ERROR_TRAILING; i++)
        assert_true(strlen(json_error_text((enum json_error)i)) > 0);
    assert_string_equal(json_error_text(JSON_ERROR_NONE), "valid");
}

/* Framing. */

static int read_all(const char *text, size_t len, const struct json_paths *paths,
                    enum json_framing framing, struct json_event *out, int max, int batch)
{
    struct json_parser *parser;
    struct json_stream s;
    int n = 0;
    int got;

    assert_int_equal(json_parser_create(paths, isa, &parser), 0);
    json_stream_init(&s, parser, place(text, len, "\"}"), len, framing);
    while (n < max && (got = json_next(&s, out + n, batch < max - n ? batch : max - n)) > 0)
        n += got;
    json_parser_destroy(parser);
    return n;
}

static void test_lines(void **state)
{
    static const char text[] =
        "\n  {\"a\":1}  \r\n\r\n \t \n{\"a\":\x01}\n[1]\n{\"a\":\r2}\n{\"a\": \"x\n \"y\" \n{}";
    static const struct {
        const char *text;
        uint8_t error;
        uint32_t offset;
        uint8_t type;
        uint8_t flags;
    } want[] = {
        {"{\"a\":1}", JSON_ERROR_NONE, 0, JSON_OBJECT, 0},
        {"{\"a\":\x01}", JSON_ERROR_SYNTAX, 5, JSON_ABSENT, 0},
        {"[1]", JSON_ERROR_NONE, 0, JSON_ARRAY, 0},
        {"{\"a\":\r2}", JSON_ERROR_NONE, 0, JSON_OBJECT, JSON_HAS_LINE_BREAK},
        {"{\"a\": \"x", JSON_ERROR_TRUNCATED, 8, JSON_ABSENT, 0},
        {"\"y\"", JSON_ERROR_NONE, 0, JSON_STRING, 0},
        {"{}", JSON_ERROR_NONE, 0, JSON_OBJECT, JSON_EMPTY_OBJECT},
    };
    struct json_event ev[16];

    (void)state;
    for (int batch = 1; batch < 9; batch++) {
        const int n = read_all(text, sizeof(text) - 1, NULL, JSON_FRAMING_LINES, ev, 16, batch);

        assert_int_equal(n, ARRAY_LEN(want));
        for (int i = 0; i < n; i++) {
            assert_int_equal(ev[i].len, strlen(want[i].text));
            assert_memory_equal(ev[i].ptr, want[i].text, ev[i].len);
            assert_int_equal(ev[i].error, want[i].error);
            assert_int_equal(ev[i].error_offset, want[i].offset);
            assert_int_equal(ev[i].type, want[i].type);
            assert_int_equal(ev[i].flags, want[i].flags);
        }
    }
    assert_int_equal(read_all("\n \r\n", 4, NULL, JSON_FRAMING_LINES, ev, 16, 4), 0);
    assert_int_equal(read_all("", 0, NULL, JSON_FRAMING_LINES, ev, 16, 4), 0);
}

static void test_array(void **state)
{
    static const char text[] = " [ {\"a\":1} ,\n{ },[2],\"x,]\", -1.5e3\n,null,{\"a\":\n[]}] \n";
    static const char *const want[] = {"{\"a\":1}", "{ }",  "[2]",         "\"x,]\"",
                                       "-1.5e3",    "null", "{\"a\":\n[]}"};
    struct json_paths paths = {0};
    struct json_event ev[16];

    (void)state;
    assert_int_equal(json_paths_add(&paths, "a"), 0);
    for (int batch = 1; batch < 9; batch++) {
        const int n = read_all(text, sizeof(text) - 1, &paths, JSON_FRAMING_ARRAY, ev, 16, batch);

        assert_int_equal(n, ARRAY_LEN(want));
        for (int i = 0; i < n; i++) {
            assert_int_equal(ev[i].error, JSON_ERROR_NONE);
            assert_int_equal(ev[i].len, strlen(want[i]));
            assert_memory_equal(ev[i].ptr, want[i], ev[i].len);
        }
        assert_int_equal(ev[0].flags, 0);
        assert_int_equal(ev[0].field[0].type, JSON_NUMBER);
        assert_int_equal(ev[1].flags, JSON_EMPTY_OBJECT);
        assert_int_equal(ev[1].field[0].type, JSON_ABSENT);
        assert_int_equal(ev[6].flags, JSON_HAS_LINE_BREAK);
        assert_int_equal(ev[6].field[0].offset, 6);
    }
    assert_int_equal(read_all("[]", 2, NULL, JSON_FRAMING_ARRAY, ev, 16, 4), 0);
    assert_int_equal(read_all(" [ \n] ", 6, NULL, JSON_FRAMING_ARRAY, ev, 16, 4), 0);
    assert_int_equal(read_all("  ", 2, NULL, JSON_FRAMING_ARRAY, ev, 16, 4), 0);
}

/* What json_validate() refuses is safe to read as an array all the same, and ends with an error. */
static void test_array_garbage(void **state)
{
    static const struct {
        const char *text;
        int n;
        uint8_t last_error;
    } table[] = {
        {"{\"a\":1}", 1, JSON_ERROR_SYNTAX}, {"[1 2]", 2, JSON_ERROR_SYNTAX},
        {"[1,]", 2, JSON_ERROR_SYNTAX},      {"[", 1, JSON_ERROR_TRUNCATED},
        {"[1,", 2, JSON_ERROR_TRUNCATED},    {"[1]]", 2, JSON_ERROR_TRAILING},
        {"[] x", 1, JSON_ERROR_TRAILING},    {"[,1]", 1, JSON_ERROR_SYNTAX},
        {"[1}", 2, JSON_ERROR_SYNTAX},       {"[[1]", 1, JSON_ERROR_NONE},
        {"[\"\xFF\"]", 1, JSON_ERROR_UTF8},  {"[1\xFF", 2, JSON_ERROR_UTF8},
        {"[tru]", 1, JSON_ERROR_LITERAL},
    };
    struct json_event ev[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const int n = read_all(table[i].text, strlen(table[i].text), NULL, JSON_FRAMING_ARRAY, ev,
                               16, 1 + (int)(i % 3));

        assert_int_equal(n, table[i].n);
        assert_int_equal(ev[n - 1].error, table[i].last_error);
    }
}

static void test_single(void **state)
{
    static const char text[] = "\r\n {\n \"a\" : [1,\n2],\n        \"b\":{}\n}\n\n";
    struct json_paths paths = {0};
    struct json_event ev[4];

    (void)state;
    assert_int_equal(json_paths_add(&paths, "b"), 0);
    assert_int_equal(read_all(text, sizeof(text) - 1, &paths, JSON_FRAMING_SINGLE, ev, 4, 4), 1);
    assert_int_equal(ev[0].error, JSON_ERROR_NONE);
    assert_int_equal(ev[0].flags, JSON_HAS_LINE_BREAK);
    assert_int_equal(ev[0].len, sizeof(text) - 1 - 5);
    assert_int_equal(ev[0].field[0].type, JSON_OBJECT);
    assert_int_equal(ev[0].field[0].len, 2);
    assert_int_equal(read_all("{}\n{}", 5, NULL, JSON_FRAMING_SINGLE, ev, 4, 4), 1);
    assert_int_equal(ev[0].error, JSON_ERROR_TRAILING);
    assert_int_equal(ev[0].error_offset, 3);
    assert_int_equal(ev[0].len, 5);
    assert_int_equal(read_all("\n", 1, NULL, JSON_FRAMING_SINGLE, ev, 4, 4), 0);
}

static void test_detect(void **state)
{
    static const struct {
        const char *text;
        enum json_framing framing;
    } table[] = {
        {"", JSON_FRAMING_LINES},
        {" \n", JSON_FRAMING_LINES},
        {"[]", JSON_FRAMING_ARRAY},
        {"\r\n\t [1", JSON_FRAMING_ARRAY},
        {"{}", JSON_FRAMING_LINES},
        {"{\"a\":1}\n{\"a\":2}", JSON_FRAMING_LINES},
        {"{\n\"a\":1}", JSON_FRAMING_SINGLE},
        {"{\"a\":{}\n}", JSON_FRAMING_SINGLE},
        {"{\"a\":[{}\r\n ,{}]}", JSON_FRAMING_SINGLE},
        {"{\"a\":[{} \n{}]}", JSON_FRAMING_LINES},
        {"{\"a\":{}\n \n", JSON_FRAMING_LINES},
        {"{\"a\":\"}\n{\"}", JSON_FRAMING_LINES},
        {"\n\n{\"a\":\r\n1}\n", JSON_FRAMING_SINGLE},
        {"{\n\"a\":1}\n{\n\"a\":1}", JSON_FRAMING_LINES},
        {"{\n\"a\":1", JSON_FRAMING_LINES},
        {"{\"a\n\":1}", JSON_FRAMING_LINES},
        {"{x\n}", JSON_FRAMING_LINES},
        {"1\n[2]", JSON_FRAMING_LINES},
        {"\xEF\xBB\xBF[]", JSON_FRAMING_LINES},
        {"{\n{\"a\":1}", JSON_FRAMING_LINES},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const size_t len = strlen(table[i].text);

        assert_int_equal(json_detect(place(table[i].text, len, "}"), len), table[i].framing);
    }
}

/* Picking. */

static void test_paths_add(void **state)
{
    struct json_paths paths = {0};
    char long_key[300];
    char names[JSON_PATHS_MAX + 1][16];

    (void)state;
    memset(long_key, 'k', sizeof(long_key));
    long_key[256] = '\0';
    assert_int_equal(json_paths_add(&paths, ""), -EINVAL);
    assert_int_equal(json_paths_add(&paths, "."), -EINVAL);
    assert_int_equal(json_paths_add(&paths, "a."), -EINVAL);
    assert_int_equal(json_paths_add(&paths, ".a"), -EINVAL);
    assert_int_equal(json_paths_add(&paths, "a..b"), -EINVAL);
    assert_int_equal(json_paths_add(&paths, "a.b.c.d.e"), -EINVAL);
    assert_int_equal(json_paths_add(&paths, long_key), -EINVAL);
    long_key[255] = '\0';
    assert_int_equal(json_paths_add(&paths, long_key), 0);
    assert_int_equal(json_paths_add(&paths, "a.b.c.d"), 1);
    assert_int_equal(json_paths_add(&paths, "a.b.c"), 2);
    assert_int_equal(json_paths_add(&paths, "a.b.c.d"), 1);
    assert_int_equal(paths.n, 3);
    for (int i = 3; i < JSON_PATHS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "n%d", i);
        assert_int_equal(json_paths_add(&paths, names[i]), i);
    }
    assert_int_equal(json_paths_add(&paths, "more"), -ENOSPC);
    assert_int_equal(json_paths_add(&paths, "n7"), 7);
}

struct pick_case {
    const char *text;
    const char *path;
    const char *value; /* NULL: absent */
    uint8_t type;
};

static void test_pick(void **state)
{
    static const struct pick_case table[] = {
        {"{\"a\":1}", "a", "1", JSON_NUMBER},
        {"{\"a\" : \"x\" }", "a", "\"x\"", JSON_STRING},
        {"{\"b\":1}", "a", NULL, JSON_ABSENT},
        {"{\"a\":null}", "a", "null", JSON_NULL},
        {"{\"a\":true}", "a", "true", JSON_TRUE},
        {"{\"a\":false}", "a", "false", JSON_FALSE},
        {"{\"a\":[1,{\"a\":2}]}", "a", "[1,{\"a\":2}]", JSON_ARRAY},
        {"{\"a\":{\"a\":2}}", "a", "{\"a\":2}", JSON_OBJECT},
        {"{\"a\":{\"b\":2}}", "a.b", "2", JSON_NUMBER},
        {"{\"b\":3,\"c\":{\"b\":1},\"a\":{\"a\":{\"b\":9},\"b\":2}}", "a.b", "2", JSON_NUMBER},
        {"{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":1}}}}}", "a.b.c.d", "{\"e\":1}", JSON_OBJECT},
        {"{\"a\":[{\"b\":1}]}", "a.b", NULL, JSON_ABSENT},
        {"[{\"a\":1}]", "a", NULL, JSON_ABSENT},
        {"\"a\"", "a", NULL, JSON_ABSENT},
        {"{\"a\":1,\"a\":\"2\"}", "a", "\"2\"", JSON_STRING},
        {"{\"a\":{\"b\":1},\"a\":{\"c\":1}}", "a.b", NULL, JSON_ABSENT},
        {"{\"a\":{\"b\":1},\"a\":2}", "a.b", NULL, JSON_ABSENT},
        {"{\"a\":2,\"a\":{\"b\":1}}", "a.b", "1", JSON_NUMBER},
        {"{\"a\":{\"b\":1,\"b\":[]}}", "a.b", "[]", JSON_ARRAY},
        {"{\"a\":[2],\"a\":{}}", "a", "{}", JSON_OBJECT},
        {"{\"\\u0061\":1}", "a", "1", JSON_NUMBER},
        {"{\"\\u0061\":{\"\\u00e9\":1}}", "a.\xC3\xA9", "1", JSON_NUMBER},
        {"{\"\xC3\xA9\":1}", "\xC3\xA9", "1", JSON_NUMBER},
        {"{\"x\\ud83d\\ude00\":1}", "x\xF0\x9F\x98\x80", "1", JSON_NUMBER},
        {"{\"a\\\"\":1}", "a\"", "1", JSON_NUMBER},
        {"{\"a\\\\\":1,\"\\n\":{\"a\":2}}", "a", NULL, JSON_ABSENT},
        {"{\"a\\u0000\":1}", "a", NULL, JSON_ABSENT},
        {"{\"a.b\":1}", "a.b", NULL, JSON_ABSENT},
        {"{\"\\n\":1,\"a\":{\"x\":\"\\n\",\"b\":3}}", "a.b", "3", JSON_NUMBER},
        {"{\"abcdefghijklmnopq\":1,\"a\":5}", "a", "5", JSON_NUMBER},
        {"{\"a\":5,\"abcdefghijklmnopq\":1}", "abcdefghijklmnopq", "1", JSON_NUMBER},
        {"{\"x\":[[{\"a\":1}],{\"a\":2}],\"y\":{\"a\":3}}", "a", NULL, JSON_ABSENT},
        {"{\"a\":{\"x\":{\"b\":1}},\"b\":2}", "a.b", NULL, JSON_ABSENT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct json_paths paths = {0};
        struct json_event ev;

        assert_int_equal(json_paths_add(&paths, "unrelated.key"), 0);
        assert_int_equal(json_paths_add(&paths, table[i].path), 1);
        memset(&ev, 0xAA, sizeof(ev));
        assert_int_equal(
            read_all(table[i].text, strlen(table[i].text), &paths, JSON_FRAMING_LINES, &ev, 1, 1),
            1);
        assert_int_equal(ev.error, JSON_ERROR_NONE);
        assert_int_equal(ev.field[0].type, JSON_ABSENT);
        if (ev.field[1].type != table[i].type)
            print_error("case %s path %s\n", table[i].text, table[i].path);
        assert_int_equal(ev.field[1].type, table[i].type);
        if (table[i].value == NULL)
            continue;
        assert_int_equal(ev.field[1].len, strlen(table[i].value));
        assert_memory_equal(ev.ptr + ev.field[1].offset, table[i].value, ev.field[1].len);
    }
}

/* All paths at once, prefixes of each other; an invalid document has no fields, its neighbour has
 * them all. */
static void test_pick_many(void **state)
{
    static const char text[] = "{\"a\":{\"b\":{\"c\":{\"d\":7}}},\"z\":tru}\n"
                               "  {\"a\":{\"b\":{\"c\":{\"d\":7}}},\"z\":0}\n";
    static const char *const names[] = {"a", "a.b", "a.b.c", "a.b.c.d", "z"};
    static const uint32_t offsets[] = {5, 10, 15, 20, 29};
    static const uint32_t lens[] = {19, 13, 7, 1, 1};
    struct json_paths paths = {0};
    struct json_event ev[2];

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(json_paths_add(&paths, names[i]), i);
    assert_int_equal(read_all(text, sizeof(text) - 1, &paths, JSON_FRAMING_LINES, ev, 2, 2), 2);
    assert_int_equal(ev[0].error, JSON_ERROR_LITERAL);
    assert_int_equal(ev[1].error, JSON_ERROR_NONE);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ev[0].field[i].type, JSON_ABSENT);
        assert_int_equal(ev[0].field[i].len, 0);
        assert_int_equal(ev[1].field[i].len, lens[i]);
        assert_int_equal(ev[1].field[i].offset, offsets[i]);
    }
}

static void test_isa_names(void **state)
{
    enum json_isa got = JSON_ISA_SCALAR;
    struct json_parser_stats stats;
    struct json_parser *parser;

    (void)state;
    assert_int_equal(json_isa_parse(json_isa_name(isa), &got), 0);
    assert_int_equal(got, isa);
    assert_int_equal(json_isa_parse("auto", &got), 0);
    assert_int_equal(got, json_isa_best());
    assert_int_equal(json_isa_parse("sse9", &got), -EINVAL);
    assert_true(json_isa_usable(JSON_ISA_SCALAR));
    assert_int_equal(json_parser_create(NULL, isa, &parser), 0);
    assert_int_equal(json_parser_isa(parser), isa);
    assert_true(json_parser_memory_bytes(isa) > 0);
    json_parser_stats(parser, &stats);
    assert_int_equal(stats.events, 0);
    json_parser_destroy(parser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_structure_errors),
        cmocka_unit_test(test_number_and_literal_errors),
        cmocka_unit_test(test_string_errors),
        cmocka_unit_test(test_utf8_errors),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_error_text),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_array_garbage),
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_detect),
        cmocka_unit_test(test_paths_add),
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_pick_many),
        cmocka_unit_test(test_isa_names),
    };

    int failed = 0;

    for (isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++) {
        if (json_isa_usable(isa))
            failed += cmocka_run_group_tests_name(json_isa_name(isa), tests, map_guard, NULL);
    }
    return failed;
}
