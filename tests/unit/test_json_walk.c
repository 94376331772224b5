/*
 * Goal: walks give every member and element with its exact raw bytes, in order; escapes are decoded
 * and encoded. Method: tables. Every document ends right before a page that may not be touched:
 * walks need no padding.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dataplane/json/walk.h"

#define ROOM_BYTES 65536

static char *guard;

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

static const char *place(const char *text, size_t len)
{
    assert_true(len <= ROOM_BYTES);
    return memcpy(guard - len, text, len);
}

static struct json_value value_of(const char *text)
{
    return json_value_at(place(text, strlen(text)), strlen(text));
}

static void assert_value(struct json_value v, const char *text, uint8_t type)
{
    assert_int_equal(v.type, type);
    assert_int_equal(v.len, strlen(text));
    assert_memory_equal(v.ptr, text, v.len);
}

static void test_value_at(void **state)
{
    static const struct {
        const char *text;
        const char *value;
        uint8_t type;
    } table[] = {
        {"1", "1", JSON_NUMBER},
        {" -1.5e3 ", "-1.5e3", JSON_NUMBER},
        {"1,2", "1", JSON_NUMBER},
        {"1]", "1", JSON_NUMBER},
        {"\n\"a\"", "\"a\"", JSON_STRING},
        {"\"a\\\"b\\\\\",1", "\"a\\\"b\\\\\"", JSON_STRING},
        {"\"12345678\\\"12345678\" ", "\"12345678\\\"12345678\"", JSON_STRING},
        {"\"\"", "\"\"", JSON_STRING},
        {"null}", "null", JSON_NULL},
        {"true,", "true", JSON_TRUE},
        {"false", "false", JSON_FALSE},
        {"{}", "{}", JSON_OBJECT},
        {"{\"a\":\"}\"},{}", "{\"a\":\"}\"}", JSON_OBJECT},
        {"[[],\"]\",{\"[\":[1]}] ]", "[[],\"]\",{\"[\":[1]}]", JSON_ARRAY},
        {"", "", JSON_ABSENT},
        {"  ", "", JSON_ABSENT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        assert_value(value_of(table[i].text), table[i].value, table[i].type);
}

static void test_members(void **state)
{
    struct json_value doc =
        value_of("{ \"a\" : 1 ,\"b\\n\":[1, 2],\"\":{\"x\":\"y\"},\"n\":null, \"s\":\"q\\\"\" }");
    struct json_walk w;
    struct json_member m;

    (void)state;
    json_walk_init(&w, doc);
    assert_true(json_walk_member(&w, &m));
    assert_true(span_equal(m.key, span_of("a")));
    assert_false(m.key_escaped);
    assert_value(m.value, "1", JSON_NUMBER);
    assert_true(json_walk_member(&w, &m));
    assert_true(span_equal(m.key, span_of("b\\n")));
    assert_true(m.key_escaped);
    assert_value(m.value, "[1, 2]", JSON_ARRAY);
    assert_true(json_walk_member(&w, &m));
    assert_int_equal(m.key.len, 0);
    assert_false(m.key_escaped);
    assert_value(m.value, "{\"x\":\"y\"}", JSON_OBJECT);
    assert_true(json_walk_member(&w, &m));
    assert_value(m.value, "null", JSON_NULL);
    assert_true(json_walk_member(&w, &m));
    assert_value(m.value, "\"q\\\"\"", JSON_STRING);
    assert_true(span_equal(json_string_body(m.value), span_of("q\\\"")));
    assert_false(json_walk_member(&w, &m));
    assert_false(json_walk_member(&w, &m));
}

static void test_elements(void **state)
{
    static const char *const empty[] = {"[]", "[ \n ]"};
    struct json_walk w;
    struct json_value v;

    (void)state;
    json_walk_init(&w, value_of("[1,\"a,b\" , [] ,{\"a\":[1]},true\n]"));
    assert_true(json_walk_element(&w, &v));
    assert_value(v, "1", JSON_NUMBER);
    assert_true(json_walk_element(&w, &v));
    assert_value(v, "\"a,b\"", JSON_STRING);
    assert_true(json_walk_element(&w, &v));
    assert_value(v, "[]", JSON_ARRAY);
    assert_true(json_walk_element(&w, &v));
    assert_value(v, "{\"a\":[1]}", JSON_OBJECT);
    assert_true(json_walk_element(&w, &v));
    assert_value(v, "true", JSON_TRUE);
    assert_false(json_walk_element(&w, &v));
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        json_walk_init(&w, value_of(empty[i]));
        assert_false(json_walk_element(&w, &v));
    }
    json_walk_init(&w, value_of("{}"));
    assert_false(json_walk_member(&w, &(struct json_member){0}));
}

static void test_find(void **state)
{
    struct json_value doc = value_of("{\"a\":1,\"b\":{\"c\":2},\"\\u0061\":3,\"c\":\"x\"}");
    struct json_value v = {0};

    (void)state;
    assert_true(json_find(doc, span_of("a"), &v));
    assert_value(v, "3", JSON_NUMBER);
    assert_true(json_find(doc, span_of("c"), &v));
    assert_value(v, "\"x\"", JSON_STRING);
    assert_false(json_find(doc, span_of("d"), &v));
    assert_false(json_find(doc, span_of(""), &v));
    assert_value(v, "\"x\"", JSON_STRING);
}

struct text_pair {
    const char *raw;
    const char *text;
    size_t text_len;
};

#define PAIR(raw, text)             \
    {                               \
        raw, text, sizeof(text) - 1 \
    }

static void test_unescape(void **state)
{
    static const struct text_pair table[] = {
        PAIR("", ""),
        PAIR("plain", "plain"),
        PAIR("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"),
        PAIR("a\\u0000b", "a\0b"),
        PAIR("\\u0041\\u00e9\\u20AC", "A\xC3\xA9\xE2\x82\xAC"),
        PAIR("\\uD83D\\uDE00x", "\xF0\x9F\x98\x80x"),
        PAIR("\\uDBFF\\uDFFF", "\xF4\x8F\xBF\xBF"),
        PAIR("\\u07ff\\u0800\\uffff", "\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF"),
        PAIR("\\\\u0041", "\\u0041"),
        PAIR("caf\xC3\xA9\\n", "caf\xC3\xA9\n"),
        /* never in a valid document, but safe */
        PAIR("\\uD800", "\xEF\xBF\xBD"),
        PAIR("\\uD800\\u0041", "\xEF\xBF\xBD"
                               "A"),
        PAIR("\\", "\\"),
        PAIR("\\u12", "\\u12"),
        PAIR("\\x", "\\x"),
    };
    char out[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const size_t len = strlen(table[i].raw);
        const struct span raw = {.ptr = place(table[i].raw, len), .len = len};
        struct span text = {.ptr = table[i].text, .len = table[i].text_len};
        const bool escaped = memchr(table[i].raw, '\\', len) != NULL;

        assert_int_equal(json_unescape(raw, out), text.len);
        assert_memory_equal(out, text.ptr, text.len);
        assert_true(json_key_equal(raw, escaped, text));
        if (text.len > 0) {
            text.len--;
            assert_false(json_key_equal(raw, escaped, text));
            memcpy(out, text.ptr, text.len);
            out[text.len] = '~';
            assert_false(json_key_equal(raw, escaped, (struct span){out, text.len + 1}));
        }
    }
}

static void test_escape(void **state)
{
    static const struct text_pair table[] = {
        PAIR("", ""),
        PAIR("plain / text", "plain / text"),
        PAIR("\\\"\\\\\\b\\f\\n\\r\\t", "\"\\\b\f\n\r\t"),
        PAIR("\\u0000\\u001f\x7F", "\0\x1F\x7F"),
        PAIR("caf\xC3\xA9", "caf\xC3\xA9"),
    };
    char out[64];
    char text[256];
    char escaped[6 * sizeof(text)];
    char back[sizeof(escaped)];
    size_t n;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        n = json_escape((struct span){table[i].text, table[i].text_len}, out);
        assert_int_equal(n, strlen(table[i].raw));
        assert_memory_equal(out, table[i].raw, n);
    }
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)i;
    n = json_escape((struct span){text, sizeof(text)}, escaped);
    n = json_unescape((struct span){escaped, n}, back);
    assert_int_equal(n, sizeof(text));
    assert_memory_equal(back, text, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value_at), cmocka_unit_test(test_members),
        cmocka_unit_test(test_elements), cmocka_unit_test(test_find),
        cmocka_unit_test(test_unescape), cmocka_unit_test(test_escape),
    };

    return cmocka_run_group_tests(tests, map_guard, NULL);
}
