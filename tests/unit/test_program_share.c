/*
 * Goal: a program that checks by another one's plan finds what it would find by itself. Method: many
 * schemas that differ in one thing each, events whose shapes are the same, in random order, all beside
 * check_event(); how many plans were made says that sharing happens, and that it does not where columns
 * differ.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/event/program.h"
#include "dataplane/event/program_internal.h"
#include "tests/unit/tcore_storage.h"

#define REPEATS 40 /* more than it takes until a plan is made in place of another */
#define TENANTS 3000

#define ITEMS(more)                                                                            \
    "{\"name\":\"items\",\"type\":\"RECORD\",\"mode\":\"REPEATED\",\"fields\":[{\"name\":"     \
    "\"sku\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},{\"name\":\"n\",\"type\":\"INTEGER\"}" \
    "," more "{\"name\":\"price\",\"type\":\"FLOAT\"}]}"
#define SCHEMA(first, id, total, items)                                                          \
    "[" first "{\"name\":\"id\",\"type\":\"STRING\"" id "}," items ",{\"name\":\"total\"," total \
    "},{\"name\":\"at\",\"type\":\"TIMESTAMP\"},{\"name\":\"raw\",\"type\":\"JSON\"},{\"name\":" \
    "\"a_name_that_is_longer_than_thirty_two_bytes\",\"type\":\"BOOLEAN\"}]"
#define FLOAT "\"type\":\"FLOAT\",\"mode\":\"REQUIRED\""

static const struct {
    const char *text;
    bool shares; /* the first one's plans */
} variants[] = {
    {SCHEMA("", "", FLOAT, ITEMS("")), true},
    {SCHEMA("{\"name\":\"of_b\",\"type\":\"STRING\"},", "", FLOAT, ITEMS("")), true},
    {SCHEMA("{\"name\":\"of_c\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"x\",\"type\":\"DATE\","
            "\"mode\":\"REQUIRED\"}]},",
            "", FLOAT, ITEMS("{\"name\":\"of_c\",\"type\":\"BYTES\"},")),
     true},
    {SCHEMA("{\"name\":\"d\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},", "", FLOAT, ITEMS("")),
     false},
    {SCHEMA("", "", FLOAT, ITEMS("{\"name\":\"e\",\"type\":\"INTEGER\",\"mode\":\"REQUIRED\"},")),
     false},
    {SCHEMA("", ",\"maxLength\":\"3\"", FLOAT, ITEMS("")), false},
    {SCHEMA("", ",\"maxLength\":\"4\"", FLOAT, ITEMS("")), false},
    {SCHEMA("", "", "\"type\":\"FLOAT\"", ITEMS("")), false}, /* not REQUIRED */
    {SCHEMA("", "", "\"type\":\"INTEGER\",\"mode\":\"REQUIRED\"", ITEMS("")), false},
    {SCHEMA("", "", "\"type\":\"NUMERIC\",\"precision\":\"4\",\"mode\":\"REQUIRED\"", ITEMS("")),
     false},
    {SCHEMA("", "", "\"type\":\"NUMERIC\",\"precision\":\"3\",\"mode\":\"REQUIRED\"", ITEMS("")),
     false},
    {SCHEMA("", ",\"mode\":\"REPEATED\"", FLOAT, ITEMS("")), false},
    {SCHEMA("", "", "\"type\":\"STRING\"", ITEMS("")), false},
    {"[{\"name\":\"id\",\"type\":\"STRING\"}]", false},
};

#define REST                                                                \
    ",\"at\":\"2026-01-02 03:04:05\",\"raw\":{\"deep\":[1,{\"er\":null}]}," \
    "\"a_name_that_is_longer_than_thirty_two_bytes\":true}\n"
#define E_ITEM "{\"sku\":\"s\",\"e\":1,\"price\":2.5}"
#define ITEM   "{\"sku\":\"s\",\"n\":1,\"price\":2.5}"

/* Of few shapes. */
static const char events[] =
    "{\"id\":\"abc\",\"items\":[" ITEM "," ITEM "],\"total\":1.5" REST
    "{\"id\":\"abcd\",\"items\":[" ITEM "," ITEM "],\"total\":1234" REST
    "{\"id\":\"abcde\",\"items\":[" ITEM "," ITEM "],\"total\":7" REST
    "{\"id\":\"abc\",\"items\":[" ITEM ",{\"sku\":\"s\",\"of_c\":1,\"price\":2.5}],\"total\":1" REST
    "{\"id\":\"abc\",\"items\":[" ITEM ",{\"sku\":\"s\",\"n\":1.5,\"price\":2}],\"total\":1" REST
    "{\"id\":\"abc\",\"items\":[" ITEM ",{\"no\":\"s\",\"n\":1,\"price\":2}],\"total\":1" REST
    "{\"of_b\":\"abc\",\"items\":[" ITEM "," ITEM "],\"total\":1.5" REST
    "{\"id\":\"abc\",\"items\":[" ITEM "," ITEM "],\"other\":1.5" REST
    "{\"id\":\"abc\",\"items\":[],\"total\":1}\n"
    "{\"id\":\"abc\",\"items\":[],\"none\":1}\n"
    "{\"id\":\"abc\",\"items\":null,\"total\":1}\n"
    "{\"id\":\"abc\",\"items\":null,\"total\":null}\n"
    "{\"d\":\"abc\",\"id\":\"abc\",\"items\":[],\"total\":1}\n"
    "{\"d\":\"abc\",\"items\":[],\"total\":1}\n"
    "{\"id\":\"abc\",\"items\":[" E_ITEM "," E_ITEM "],\"total\":1.5" REST;

#define EVENTS_MAX 32

static struct json_event event[EVENTS_MAX];
static int n_events;
static char *text;
static struct json_parser *parser;
static struct program_memory *memory;
static struct schema *schema[TENANTS];

static int up(void **state)
{
    struct json_stream stream;

    (void)state;
    text = calloc(1, sizeof(events) + JSON_PADDING_BYTES);
    memcpy(text, events, sizeof(events) - 1);
    if (json_parser_create(NULL, json_isa_best(), &parser) != 0 ||
        program_memory_create(json_isa_best(), &memory) != 0)
        return -1;
    for (int i = 0; i < 4; i++) { /* until their shapes are known */
        json_stream_init(&stream, parser, text, sizeof(events) - 1, JSON_FRAMING_LINES);
        n_events = json_next(&stream, event, EVENTS_MAX);
    }
    return event[0].shape != 0 ? 0 : -1;
}

static int down(void **state)
{
    (void)state;
    program_memory_destroy(memory);
    json_parser_destroy(parser);
    for (int i = 0; i < TENANTS; i++) {
        schema_destroy(schema[i]);
        schema[i] = NULL;
    }
    free(text);
    return 0;
}

static struct schema *compile(const char *of)
{
    struct schema *s = NULL;
    char error[256] = "";

    if (schema_compile(span_of(of), &s, error, sizeof(error)) != 0)
        fail_msg("%s: %s", of, error);
    return s;
}

static void check(const struct schema *s, const struct json_event *ev)
{
    static struct check_result found, want;

    program_check(s, memory, ev, false, &found);
    check_event(s, (struct json_value){.ptr = ev->ptr, .len = ev->len, .type = ev->type}, &want);
    if (found.reason != want.reason || found.error_offset != want.error_offset ||
        strcmp(found.detail, want.detail) != 0 || found.n_cuts != want.n_cuts)
        fail_msg("%s at %u (%s), %u cuts, instead of %s at %u (%s), %u cuts\n%s\n%.*s",
                 reason_name(found.reason), found.error_offset, found.detail, found.n_cuts,
                 reason_name(want.reason), want.error_offset, want.detail, want.n_cuts,
                 s->fields_json, (int)ev->len, ev->ptr);
    for (uint32_t i = 0; i < found.n_cuts; i++)
        assert_true(found.cut[i].offset == want.cut[i].offset &&
                    found.cut[i].len == want.cut[i].len);
}

static void test_who_shares(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
        uint64_t before = memory->plans;

        schema[i] = compile(variants[i].text);
        for (int repeat = 0; repeat < REPEATS; repeat++)
            check(schema[i], &event[0]);
        if (i == 0)
            assert_int_equal(memory->plans, 1);
        else if (variants[i].shares)
            assert_int_equal(memory->plans, before);
    }
    assert_true(memory->plans > 1);
}

/* An event with all that is REQUIRED finds a plan of events without it, and then comes one of those. */
static void test_required(void **state)
{
    static const struct {
        int variant, plan, fits;
    } cases[] = {{3, 8, 13}, {4, 0, 14}};

    (void)state;
    schema[0] = compile(variants[0].text);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(event[cases[i].plan].shape == event[cases[i].fits].shape);
        schema[i + 1] = compile(variants[cases[i].variant].text);
        check(schema[0], &event[cases[i].plan]);
        check(schema[i + 1], &event[cases[i].fits]);
        check(schema[i + 1], &event[cases[i].plan]);
    }
}

static void test_any_order(void **state)
{
    uint64_t seed = tcore_seed("shared plans", 11);

    (void)state;
    assert_int_equal(n_events, 15);
    for (size_t i = 0; i < ARRAY_LEN(variants); i++)
        schema[i] = compile(variants[i].text);
    for (int i = 0; i < 100000; i++) {
        size_t which = tcore_random(&seed) % ARRAY_LEN(variants);
        const struct json_event *ev = &event[tcore_random(&seed) % (unsigned)n_events];

        for (uint64_t more = tcore_random(&seed) % 20; more > 0; more--)
            check(schema[which], ev);
    }
}

/* More programs than there are slots for plans, each with a column of its own: one plan does for all. */
static void test_tenants(void **state)
{
    (void)state;
    for (int i = 0; i < TENANTS; i++) {
        char own[2000];

        snprintf(own, sizeof(own), "[{\"name\":\"of_%d\",\"type\":\"STRING\"},%s", i,
                 variants[0].text + 1);
        schema[i] = compile(own);
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < TENANTS; i++)
            check(schema[(i * 7919 + round) % TENANTS], &event[0]);
    }
    assert_int_equal(memory->plans, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_who_shares, up, down),
        cmocka_unit_test_setup_teardown(test_required, up, down),
        cmocka_unit_test_setup_teardown(test_any_order, up, down),
        cmocka_unit_test_setup_teardown(test_tenants, up, down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
