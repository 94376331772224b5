/*
 * Dead letters: golden lines, text and binary originals, and letters of many parts put together
 * again. Lines are read back with the JSON walker, which is tested by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/event/dead.h"

#define UUID           "00112233445566778899aabbccddeeff"
#define LINE_MAX_BYTES 65536
#define EVENT_US       INT64_C(1795246934123456)

static char line[LINE_MAX_BYTES + JSON_PADDING_BYTES];

static struct dead_letter letter(struct span raw)
{
    return (struct dead_letter){
        .reason = REASON_WRONG_TYPE,
        .detail = "items.price: expected FLOAT, found a string",
        .event_type = span_of("order"),
        .position = 17,
        .error_offset = 203,
        .source = "http 127.0.0.1:41712",
        .received_us = EVENT_US,
        .raw = raw,
        .journal_hex = UUID,
    };
}

/* Writes one line into memory of exactly line_max bytes and checks it. */
static size_t format(const struct dead_letter *d, uint32_t part, uint32_t parts, size_t line_max)
{
    char *exact = malloc(line_max);
    size_t len = dead_format(d, part, parts, UINT64_C(0x1122334455667788), line_max, exact), offset;

    assert_true(len <= line_max && line_max <= LINE_MAX_BYTES);
    memset(line, 0, sizeof(line));
    memcpy(line, exact, len);
    free(exact);
    if (json_validate(line, len, &offset) != JSON_ERROR_NONE)
        fail_msg("not valid at %zu: %s", offset, line);
    assert_int_equal(line[len - 1], '\n');
    assert_null(memchr(line, '\n', len - 1));
    return len;
}

static struct json_value member(size_t len, const char *key)
{
    struct json_value v = {0};

    (void)json_find(json_value_at(line, len), span_of(key), &v);
    return v;
}

static void golden(void **state)
{
    struct dead_letter d = letter(span_of("{\"a\": \"x\\n\"}\t\r\n\xc3\xa9"));
    size_t len;

    (void)state;
    assert_int_equal(dead_parts(&d, 4096), 1);
    len = format(&d, 0, 1, 4096);
    assert_string_equal(
        line,
        "{\"reason\":\"wrong_type\",\"detail\":\"items.price: expected FLOAT, found a string\","
        "\"event_type\":\"order\",\"position\":17,\"error_offset\":203,"
        "\"source\":\"http 127.0.0.1:41712\",\"received_at\":\"2026-11-21T07:42:14.123456Z\","
        "\"part\":1,\"parts\":1,\"raw\":\"{\\\"a\\\": \\\"x\\\\n\\\"}\\t\\r\\n\xc3\xa9\","
        "\"penstock_id\":\"" UUID "-1122334455667788\"}\n");
    event_patch_lsn(line, len, 1);
    assert_non_null(strstr(line, UUID "-0000000000000001\"}\n"));
    d.raw = (struct span){"", 0};
    d.position = UINT32_MAX;
    d.error_offset = 0;
    assert_int_equal(dead_parts(&d, 4096), 1);
    (void)format(&d, 0, 1, 4096);
    assert_non_null(strstr(line, "\"position\":4294967295,\"error_offset\":0,"));
    assert_non_null(strstr(line, ",\"raw\":\"\","));
}

static void binary_goes_to_base64(void **state)
{
    static const struct {
        const char *raw;
        size_t len;
        const char *base64;
    } cases[] = {
        {"\0", 1, "AA=="},
        {"\xff", 1, "/w=="},
        {"ab\x01", 3, "YWIB"},
        {"a\x1f", 2, "YR8="},
        {"\b", 1, "CA=="},
        {"\xc3", 1, "ww=="},
        {"\xc0\x80", 2, "wIA="},
        {"\xed\xa0\x80", 3, "7aCA"},
        {"\xf4\x90\x80\x80", 4, "9JCAgA=="},
        {"\xfb\xff\xbf", 3, "+/+/"},
        {"\xe0\x9f\xbf", 3, "4J+/"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dead_letter d = letter((struct span){cases[i].raw, cases[i].len});
        char expected[64];

        assert_int_equal(dead_parts(&d, 4096), 1);
        (void)format(&d, 0, 1, 4096);
        (void)snprintf(expected, sizeof(expected), ",\"raw_base64\":\"%s\",\"penstock_id\"",
                       cases[i].base64);
        if (strstr(line, expected) == NULL)
            fail_msg("%s: %s", expected, line);
    }
}

static void text_stays_text(void **state)
{
    static const char *const cases[] = {"\x7f",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xef\xbf\xbf",
                                        "\xf4\x8f\xbf\xbf",
                                        "\xf0\x90\x80\x80",
                                        "/"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dead_letter d = letter(span_of(cases[i]));
        struct json_value v = member(format(&d, 0, 1, 4096), "raw");

        assert_int_equal(v.len, strlen(cases[i]) + 2);
        assert_memory_equal(v.ptr + 1, cases[i], v.len - 2);
    }
}

static void hostile_labels(void **state)
{
    static char detail[500], source[500], type[500];
    struct dead_letter d = letter(span_of("x"));

    (void)state;
    memset(detail, '"', sizeof(detail) - 1);
    memset(source, '\\', sizeof(source) - 1);
    memset(type, 0xff, sizeof(type));
    d.detail = detail;
    d.source = source;
    d.event_type = (struct span){type, sizeof(type)};
    assert_int_equal(dead_parts(&d, 4096), 1);
    assert_int_equal(member(format(&d, 0, 1, 4096), "detail").len, 2 * 200 + 2);
    assert_int_equal(member(format(&d, 0, 1, 4096), "source").len, 2 * 128 + 2);
    assert_int_equal(member(format(&d, 0, 1, 4096), "event_type").len, 128 + 2);
    d.event_type = (struct span){"a\0b\xc3\xa9\n", 6};
    assert_memory_equal(member(format(&d, 0, 1, 4096), "event_type").ptr, "\"a?b\xc3\xa9\\n\"", 9);
    d.event_type = (struct span){NULL, 0};
    assert_memory_equal(member(format(&d, 0, 1, 4096), "event_type").ptr, "\"\"", 2);
    for (size_t i = 0; i + 1 < sizeof(type); i += 2)
        memcpy(type + i, "\xc3\xa9", 2);
    d.event_type = (struct span){type + 1, 300}; /* the cut falls between characters */
    assert_int_equal(member(format(&d, 0, 1, 4096), "event_type").len, 1 + 126 + 2);
}

static size_t decode_base64(struct span s, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;

    assert_int_equal(s.len % 4, 0);
    for (size_t i = 0; i < s.len; i += 4) {
        uint32_t v = 0;
        size_t bytes = s.ptr[i + 2] == '=' ? 1 : s.ptr[i + 3] == '=' ? 2 : 3;

        for (size_t k = 0; k < 4; k++)
            v = v << 6 |
                (s.ptr[i + k] == '=' ? 0u : (uint32_t)(strchr(digits, s.ptr[i + k]) - digits));
        for (size_t k = 0; k < bytes; k++)
            out[n++] = (char)(v >> (16 - 8 * k));
    }
    return n;
}

/* Formats every part and joins what they hold. */
static void reassemble(struct span raw, size_t line_max, uint32_t parts_min)
{
    struct dead_letter d = letter(raw);
    uint32_t parts = dead_parts(&d, line_max);
    char *joined = malloc(raw.len + 65536);
    size_t n = 0;

    assert_true(parts >= parts_min);
    for (uint32_t i = 0; i < parts; i++) {
        size_t len = format(&d, i, parts, line_max);
        struct json_value text = member(len, "raw");
        struct json_value binary = member(len, "raw_base64");
        int64_t number;

        assert_true((text.type == JSON_STRING) != (binary.type == JSON_STRING));
        n += text.type == JSON_STRING ? json_unescape(json_string_body(text), joined + n)
                                      : decode_base64(json_string_body(binary), joined + n);
        text = member(len, "part");
        assert_int_equal(json_int64((struct span){text.ptr, text.len}, &number), 0);
        assert_int_equal(number, i + 1);
        text = member(len, "parts");
        assert_int_equal(json_int64((struct span){text.ptr, text.len}, &number), 0);
        assert_int_equal(number, parts);
    }
    assert_int_equal(n, raw.len);
    assert_memory_equal(joined, raw.ptr, n);
    free(joined);
}

static void many_parts(void **state)
{
    static char raw[200000];

    (void)state;
    for (size_t i = 0; i < sizeof(raw); i++)
        raw[i] = (char)('a' + i % 26);
    reassemble((struct span){raw, sizeof(raw)}, 4096, 50);
    reassemble((struct span){raw, sizeof(raw)}, LINE_MAX_BYTES, 3);
    for (size_t i = 0; i < sizeof(raw); i++)
        raw[i] = "\"\\\n\t\r"[i % 5];
    reassemble((struct span){raw, sizeof(raw)}, 4096, 100);
    for (size_t i = 0; i + 4 <= sizeof(raw); i += 4)
        memcpy(raw + i, "\xf0\x9f\x98\x80", 4);
    reassemble((struct span){raw, sizeof(raw)}, 4096, 50);
    memcpy(raw, "abc", 3);
    reassemble((struct span){raw + 1, 99999 + 4}, 4097, 25);
    raw[sizeof(raw) - 1] = '\0';
    for (size_t len = sizeof(raw) - 3; len <= sizeof(raw); len++)
        reassemble((struct span){raw + sizeof(raw) - len, len}, 4096, 60);
    for (size_t i = 0; i < sizeof(raw); i++)
        raw[i] = (char)(i * 7);
    for (size_t len = 2000; len < 2020; len++)
        reassemble((struct span){raw, len}, 4096, 1);
}

/* Every length around where one line becomes two. */
static void the_edge_of_a_line(void **state)
{
    static char raw[5000];

    (void)state;
    memset(raw, 'x', sizeof(raw));
    for (size_t len = 3000; len < 3600; len++)
        reassemble((struct span){raw, len}, 4096, 1);
    memset(raw, '"', sizeof(raw));
    for (size_t len = 1400; len < 1800; len++)
        reassemble((struct span){raw, len}, 4096, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),          cmocka_unit_test(binary_goes_to_base64),
        cmocka_unit_test(text_stays_text), cmocka_unit_test(hostile_labels),
        cmocka_unit_test(many_parts),      cmocka_unit_test(the_edge_of_a_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
