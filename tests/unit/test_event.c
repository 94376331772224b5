/* Assembled lines, byte for byte: cuts wherever they stand, line breaks, wrapping, and the LSN
 * patched in place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/event/assemble.h"
#include "dataplane/event/timeval.h"

#define UUID     "00112233445566778899aabbccddeeff"
#define EVENT_US INT64_C(1795246934123456) /* 2026-11-21T07:42:14.123456Z */
#define TAIL                                                                                 \
    "\"event_date\":\"2026-11-21\",\"processed_timestamp\":\"2026-11-21T07:42:14.123457Z\"," \
    "\"penstock_id\":\"" UUID "-0123456789abcdef\"}\n"
#define OVERFLOWED "\"penstock_overflow\":"

static struct schema *schema;
static struct check_result result;
static char doc_buf[4096 + JSON_PADDING_BYTES];

static int setup(void **state)
{
    static const char text[] =
        "[{\"name\":\"a\",\"type\":\"INTEGER\"},{\"name\":\"b\",\"type\":\"STRING\"},"
        "{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"x\",\"type\":\"INTEGER\"}]},"
        "{\"name\":\"l\",\"type\":\"RECORD\",\"mode\":\"REPEATED\",\"fields\":[{\"name\":\"x\","
        "\"type\":\"INTEGER\"}]}]";

    (void)state;
    return schema_compile(span_of(text), &schema, NULL, 0);
}

static int teardown(void **state)
{
    (void)state;
    schema_destroy(schema);
    return 0;
}

static struct event_parts parts_of(const char *doc)
{
    size_t len = strlen(doc);

    assert_true(len < sizeof(doc_buf) - JSON_PADDING_BYTES);
    memcpy(doc_buf, doc, len + 1);
    return (struct event_parts){
        .doc = {doc_buf, len},
        .json_flags = strpbrk(doc, "\r\n") != NULL ? JSON_HAS_LINE_BREAK : 0,
        .event_us = EVENT_US,
        .processed_us = EVENT_US + 1,
        .journal_hex = UUID,
        .lsn = UINT64_C(0x0123456789abcdef),
    };
}

/* Checks, assembles into exactly event_assembled_max() bytes, validates. */
static size_t assemble(const char *doc, char *out, uint32_t *added)
{
    struct event_parts parts = parts_of(doc);
    char padded[4096 + JSON_PADDING_BYTES] = "";
    size_t max, len, offset;
    char *exact;

    check_event(schema, json_value_at(parts.doc.ptr, parts.doc.len), &result);
    assert_int_equal(result.reason, REASON_NONE);
    parts.cuts = result.cut;
    parts.n_cuts = result.n_cuts;
    max = event_assembled_max(&parts);
    exact = malloc(max);
    len = event_assemble(&parts, exact, added);
    assert_true(len <= max && len < sizeof(padded) - JSON_PADDING_BYTES);
    memcpy(out, exact, len);
    out[len] = '\0';
    free(exact);
    memcpy(padded, out, len);
    if (json_validate(padded, len, &offset) != JSON_ERROR_NONE)
        fail_msg("not valid at %zu: %s", offset, out);
    assert_null(memchr(out, '\n', len - 1));
    return len;
}

static void lines(void **state)
{
    static const struct {
        const char *doc, *line;
    } cases[] = {
        {"{}", "{" TAIL},
        {"{ }", "{ " TAIL},
        {"{\"a\":1}", "{\"a\":1," TAIL},
        {"{\"r\":{}}", "{\"r\":{}," TAIL},
        {"{ \"a\" : 1 }", "{ \"a\" : 1 ," TAIL},
        {"{\n\"a\": 1,\r\n\"b\": \"\\n\"\n}", "{ \"a\": 1,  \"b\": \"\\n\" ," TAIL},
        /* only, first, middle, last */
        {"{\"z\":1}", "{" OVERFLOWED "{\"z\":1}," TAIL},
        {"{ \"z\" : 1 }", "{" OVERFLOWED "{\"z\":1}," TAIL},
        {"{\"z\":1,\"a\":2}", "{\"a\":2," OVERFLOWED "{\"z\":1}," TAIL},
        {"{\"a\":2,\"z\":1,\"b\":\"x\"}", "{\"a\":2,\"b\":\"x\"," OVERFLOWED "{\"z\":1}," TAIL},
        {"{\"a\":2,\"z\":1}", "{\"a\":2," OVERFLOWED "{\"z\":1}," TAIL},
        {"{\"a\":2 , \"z\" : 1 }", "{\"a\":2 ," OVERFLOWED "{\"z\":1}," TAIL},
        /* adjacent: first, middle, last, all */
        {"{\"y\":1,\"z\":2,\"a\":3}", "{\"a\":3," OVERFLOWED "{\"y\":1,\"z\":2}," TAIL},
        {"{\"a\":3,\"y\":1,\"z\":2,\"b\":\"\"}",
         "{\"a\":3,\"b\":\"\"," OVERFLOWED "{\"y\":1,\"z\":2}," TAIL},
        {"{\"a\":3,\"y\":1,\"z\":2}", "{\"a\":3," OVERFLOWED "{\"y\":1,\"z\":2}," TAIL},
        {"{\"x\":0,\"y\":1,\"z\":2}", "{" OVERFLOWED "{\"x\":0,\"y\":1,\"z\":2}," TAIL},
        {"{\"x\":0,\"a\":1,\"z\":2}", "{\"a\":1," OVERFLOWED "{\"x\":0,\"z\":2}," TAIL},
        /* nested: only, first, last, in arrays, and at the end of everything */
        {"{\"r\":{\"z\":1}}", "{\"r\":{}," OVERFLOWED "{\"r.z\":1}," TAIL},
        {"{\"r\":{\"z\":1,\"x\":2},\"a\":1}",
         "{\"r\":{\"x\":2},\"a\":1," OVERFLOWED "{\"r.z\":1}," TAIL},
        {"{\"r\":{\"x\":2,\"z\":1},\"q\":1}",
         "{\"r\":{\"x\":2}," OVERFLOWED "{\"r.z\":1,\"q\":1}," TAIL},
        {"{\"q\":0,\"l\":[{\"y\":1},{\"x\":2,\"y\":[3]},{}]}",
         "{\"l\":[{},{\"x\":2},{}]," OVERFLOWED "{\"q\":0,\"l[0].y\":1,\"l[1].y\":[3]}," TAIL},
        /* values over lines, escapes in names */
        {"{\"z\\\"\":{\n\"k\":\r\n1},\"a\":\n2}",
         "{\"a\": 2," OVERFLOWED "{\"z\\\"\":{ \"k\":  1}}," TAIL},
        /* ours: replaced; overflow moved */
        {"{\"event_date\":\"x\",\"a\":1,\"penstock_id\":2,\"processed_timestamp\":3}",
         "{\"a\":1," TAIL},
        {"{\"event_date\":\"x\"}", "{" TAIL},
        {"{\"a\":1,\"penstock_overflow\":{\"q\":1}}",
         "{\"a\":1," OVERFLOWED "{\"penstock_overflow\":{\"q\":1}}," TAIL},
        {"{\"A\":1,\"a\":2}", "{\"a\":2," OVERFLOWED "{\"A\":1}," TAIL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[4096];
        uint32_t added;
        size_t len = assemble(cases[i].doc, out, &added);

        assert_string_equal(out, cases[i].line);
        assert_int_equal(len, strlen(cases[i].line));
    }
}

static void added_bytes(void **state)
{
    char out[4096];
    uint32_t added;
    size_t len;

    (void)state;
    len = assemble("{}", out, &added);
    assert_int_equal(added, strlen(TAIL) - 2);
    assert_int_equal(len, added + 3u);
    len = assemble("{\"a\":1}", out, &added);
    assert_int_equal(added, strlen(TAIL) - 1);
    assert_memory_equal(out + len - 2 - added, ",\"event_date\"", 13);
    len = assemble("{\"a\":1,\"z\":1}", out, &added);
    assert_memory_equal(out + len - 2 - added, ",\"penstock_overflow\"", 20);
    assert_true(strlen(TAIL) + 1 <= EVENT_ADDED_BYTES_MAX);
}

/* What a dead letter of an accepted event holds: the event as it came, moved fields back in it. */
static void originals(void **state)
{
    static const struct {
        const char *doc, *original;
    } cases[] = {
        {"{}", "{}"},
        {"{\"a\":1}", "{\"a\":1}"},
        {"{ \"a\" : 1 }", "{ \"a\" : 1 }"},
        {"{\"z\":1}", "{\"z\":1}"},
        {"{\"z\":{\"q\":[1]},\"a\":1}", "{\"a\":1,\"z\":{\"q\":[1]}}"},
        {"{\"y\":1,\"a\":1,\"z\":\"}\"}", "{\"a\":1,\"y\":1,\"z\":\"}\"}"},
        {"{\"r\":{\"z\":1}}", "{\"r\":{},\"r.z\":1}"},
        {"{\"a\":1,\"penstock_overflow\":{\"q\":1}}", "{\"a\":1,\"penstock_overflow\":{\"q\":1}}"},
    };
    struct event_facts facts;
    char out[4096], back[4096];
    uint32_t added;
    size_t len;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        len = assemble(cases[i].doc, out, &added);
        assert_true(event_facts((struct span){out, len}, &facts));
        assert_memory_equal(facts.id, UUID "-0123456789abcdef", EVENT_ID_BYTES);
        assert_true(facts.lsn == UINT64_C(0x0123456789abcdef));
        assert_true(facts.processed_us == EVENT_US + 1);
        assert_true(facts.added <= added);
        len = event_original((struct span){out, len}, true, back);
        assert_int_equal(len, strlen(cases[i].original));
        assert_memory_equal(back, cases[i].original, len);
    }
    /* Without a schema nothing is moved: such a member is the producer's. */
    len = (size_t)snprintf(out, sizeof(out), "{\"penstock_overflow\":{\"q\":1}," TAIL);
    len = event_original((struct span){out, len}, false, back);
    assert_memory_equal(back, "{\"penstock_overflow\":{\"q\":1}}", len);
    assert_int_equal(len, strlen("{\"penstock_overflow\":{\"q\":1}}"));
    /* What is no line of ours stays as it is. */
    len = event_original(span_of("{\"a\":1}\n"), true, back);
    assert_memory_equal(back, "{\"a\":1}", len);
    assert_false(event_facts(span_of("{\"a\":1}\n"), &facts));
    len = (size_t)snprintf(out, sizeof(out), "{" TAIL);
    out[len - 20] = 'x'; /* in the LSN */
    assert_false(event_facts((struct span){out, len}, &facts));
}

static void wrapped(void **state)
{
    static const struct {
        const char *doc, *line;
    } cases[] = {
        {"{}", "{\"event\":{}," TAIL},
        {"{\"a\":1}", "{\"event\":{\"a\":1}," TAIL},
        {"{ \"a\" : {} }", "{\"event\":{ \"a\" : {} }," TAIL},
        {"{ }", "{\"event\":{ }," TAIL},
        {"{\"event_date\":1,\"event\":2}", "{\"event\":{\"event\":2}," TAIL},
        {"{\"penstock_id\":1}", "{\"event\":{}," TAIL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct event_parts parts = parts_of(cases[i].doc);
        char line[512], *out;
        uint32_t added;
        size_t len, wrapped_len;

        check_added_only(json_value_at(parts.doc.ptr, parts.doc.len), &result);
        assert_int_equal(result.reason, REASON_NONE);
        parts.cuts = result.cut;
        parts.n_cuts = result.n_cuts;
        len = event_assemble(&parts, line, &added);
        out = malloc(len + 16);
        wrapped_len = event_wrap(line, len, added, out);
        assert_int_equal(wrapped_len, strlen(cases[i].line));
        assert_memory_equal(out, cases[i].line, wrapped_len);
        free(out);
    }
}

static void lsn_is_patched_in_place(void **state)
{
    static const uint64_t lsns[] = {0, 1, UINT64_MAX, UINT64_C(0xfedcba9876543210)};
    char out[4096], wrapped_out[4096], expected[32];
    uint32_t added;
    size_t len = assemble("{\"a\":1}", out, &added);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lsns); i++) {
        event_patch_lsn(out, len, lsns[i]);
        (void)snprintf(expected, sizeof(expected), "%016llx", (unsigned long long)lsns[i]);
        assert_memory_equal(out + len - 19, expected, 16);
        assert_memory_equal(out + len - 20 - 32, UUID, 32);
        assert_int_equal(event_wrap(out, len, added, wrapped_out), len + 10);
        assert_memory_equal(wrapped_out + len + 10 - 19, expected, 16);
    }
    assert_memory_equal(out, "{\"a\":1,", 7);
}

static void dates_of_other_days(void **state)
{
    struct event_parts parts = parts_of("{}");
    char out[512];
    uint32_t added;

    (void)state;
    parts.event_us = -1;
    parts.processed_us = TIME_US_MAX;
    (void)event_assemble(&parts, out, &added);
    assert_memory_equal(
        out,
        "{\"event_date\":\"1969-12-31\",\"processed_timestamp\":\"9999-12-31T23:59:59.999999Z\"",
        78);
}

/* Days of the same and of other places among those that are remembered, in turns. */
static void dates_in_turns(void **state)
{
    static const int32_t days[] = {20778, 20779, 20778 + 32, 20778, 0, -32, -1, 20779, 20778 - 320};
    struct event_parts parts = parts_of("{}");
    char out[512], expected[DATE_TEXT_BYTES];
    uint32_t added;

    (void)state;
    for (size_t i = 0; i < 10 * ARRAY_LEN(days); i++) {
        int32_t day = days[i * 7 % ARRAY_LEN(days)];

        parts.event_us = day * INT64_C(86400000000) + 1;
        date_format(day, expected);
        (void)event_assemble(&parts, out, &added);
        assert_memory_equal(out, "{\"event_date\":\"", 15);
        assert_memory_equal(out + 15, expected, sizeof(expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(added_bytes),
        cmocka_unit_test(originals),
        cmocka_unit_test(wrapped),
        cmocka_unit_test(lsn_is_patched_in_place),
        cmocka_unit_test(dates_of_other_days),
        cmocka_unit_test(dates_in_turns),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
