/*
 * Goal: whatever a text is made of, reading it costs steps linear in its size, in every variant and framing;
 * so nobody makes a worker busy for long with little. Method: dataplane/json is built into this program with
 * a call at each branch (-fsanitize-coverage=trace-pc), which are counted, and the C library's functions that
 * read or write memory count by their length (-Wl,--wrap). A text of four times the size may take five
 * times the steps, and so many a byte. No clock is asked.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/json/walk.h"
#include "tests/unit/tjson.h"

#define SMALL     (128u << 10)
#define LARGE     (512u << 10)
#define LIBRARY   32 /* bytes that the C library handles in a step */
#define PER_BYTE  60 /* more than any kind of text takes: about 30 */
#define BATCH_MAX 64

static uint64_t steps;

void __sanitizer_cov_trace_pc(void);
void *__real_memchr(const void *s, int c, size_t n);
void *__real_memcpy(void *to, const void *from, size_t n);
void *__real_memmove(void *to, const void *from, size_t n);
void *__real_memset(void *s, int c, size_t n);
void *__wrap_memchr(const void *s, int c, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n);
void *__wrap_memmove(void *to, const void *from, size_t n);
void *__wrap_memset(void *s, int c, size_t n);

void __sanitizer_cov_trace_pc(void)
{
    steps++;
}

void *__wrap_memchr(const void *s, int c, size_t n)
{
    void *found = __real_memchr(s, c, n);

    steps += (found == NULL ? n : (size_t)((char *)found - (const char *)s)) / LIBRARY;
    return found;
}

void *__wrap_memcpy(void *to, const void *from, size_t n)
{
    steps += n / LIBRARY;
    return __real_memcpy(to, from, n);
}

void *__wrap_memmove(void *to, const void *from, size_t n)
{
    steps += n / LIBRARY;
    return __real_memmove(to, from, n);
}

void *__wrap_memset(void *s, int c, size_t n)
{
    steps += n / LIBRARY;
    return __real_memset(s, c, n);
}

/* Texts that are worst for arrays, beyond tjson_growths. */
static const struct tjson_growth array_growths[] = {
    {"elements of one byte", "[1", ",1", "]"},
    {"elements in doubt", "[1", ",{\"a\":\"\\ud800\"}", "]"},
    {"elements that are not UTF-8", "[1", ",\"\xFF\"", "]"},
    {"elements that are no values", "[1", ",R", "]"},
    {"commas alone", "[1", ",", "]"},
    {"elements and line feeds", "[1", ",\n\n{\n\"a\"\n:\n1\n}", "]"},
    {"elements and carriage returns", "[1", ",\r\n{\r\n\"a\"\r\n:\r\n1}", "]"},
    {"tabs", "[1", ",\t{\t\"a\"\t:\t1\t}", "]"},
    {"many keys in one", "{\"user\":{\"id\":1}", ",\"a\":{\"b\":{\"c\":{\"d\":1}}}", "}"},
    {"escaped keys in one", "{\"user\":{\"id\":1}", ",\"\\u0061\":{\"\\u0062\":{\"c\":1}}", "}"},
    {"an open string", "[{\"a\":\"", "x", ""},
    {"an open array in one", "[{\"a\":[1", ",1", ""},
    {"long elements", "[1", ",[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]", "]"},
};

static struct json_paths paths;

static uint64_t steps_of(const struct tjson_growth *g, char *buf, size_t size, enum json_isa isa,
                         enum json_framing framing)
{
    const size_t n = tjson_grow(g, buf, size);
    struct json_parser *parser;
    struct json_stream s;
    struct json_event ev[BATCH_MAX];
    uint64_t before;
    size_t at;

    __real_memset(buf + n, ' ', JSON_PADDING_BYTES);
    assert_int_equal(json_parser_create(&paths, isa, &parser), 0);
    before = steps;
    if (framing != JSON_FRAMING_LINES)
        json_parser_validate(parser, buf, n, &at);
    json_stream_init(&s, parser, buf, n, framing);
    while (json_next(&s, ev, BATCH_MAX) > 0) {
    }
    before = steps - before;
    json_parser_destroy(parser);
    return before;
}

static void check_growth(const struct tjson_growth *g, char *buf)
{
    static const char *const framings[] = {"lines", "array", "document"};

    for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++) {
        for (unsigned f = JSON_FRAMING_LINES; f <= JSON_FRAMING_SINGLE; f++) {
            uint64_t small, large;

            if (!json_isa_usable(isa))
                continue;
            small = steps_of(g, buf, SMALL, isa, (enum json_framing)f);
            large = steps_of(g, buf, LARGE, isa, (enum json_framing)f);
            if (getenv("PENSTOCK_STEPS") != NULL)
                print_message("%s, %s, as %s: %" PRIu64 ", %" PRIu64 "\n", g->name,
                              json_isa_name(isa), framings[f], small, large);
            if (large > 5 * small + 1000 || large > PER_BYTE * (uint64_t)LARGE)
                fail_msg("%s, %s, as %s: %" PRIu64 " steps, then %" PRIu64, g->name,
                         json_isa_name(isa), framings[f], small, large);
        }
    }
}

static void test_reading(void **state)
{
    char *buf = malloc(LARGE + JSON_PADDING_BYTES);

    (void)state;
    assert_non_null(buf);
    for (int i = 0; i < tjson_n_paths; i++)
        assert_int_equal(json_paths_add(&paths, tjson_paths[i]), i);
    for (size_t i = 0; i < tjson_n_growths; i++)
        check_growth(&tjson_growths[i], buf);
    for (size_t i = 0; i < ARRAY_LEN(array_growths); i++)
        check_growth(&array_growths[i], buf);
    free(buf);
}

/* What is counted is what was done: a text that takes steps, and one of four times the size takes more. */
static void test_counting(void **state)
{
    const struct tjson_growth *g = &array_growths[0];
    char *buf = malloc(LARGE + JSON_PADDING_BYTES);

    (void)state;
    assert_non_null(buf);
    for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++) {
        if (!json_isa_usable(isa))
            continue;
        assert_true(steps_of(g, buf, SMALL, isa, JSON_FRAMING_ARRAY) > SMALL / 4);
        assert_true(steps_of(g, buf, LARGE, isa, JSON_FRAMING_ARRAY) >
                    3 * steps_of(g, buf, SMALL, isa, JSON_FRAMING_ARRAY));
    }
    free(buf);
}

/* Steps to read a number of n digits in all ways. */
static uint64_t number_steps(char *buf, size_t n, size_t point)
{
    const uint64_t before = steps;
    const struct span text = {.ptr = buf, .len = n};
    double d;
    int64_t i;
    uint64_t u;

    __real_memset(buf, '7', n);
    if (point < n)
        buf[point] = '.';
    assert_true(json_double(text, &d) <= 0);
    assert_true(json_int64(text, &i) < 0);
    assert_true(json_uint64(text, &u) < 0);
    return steps - before;
}

static void test_numbers(void **state)
{
    static char buf[LARGE];
    static const size_t points[] = {SIZE_MAX, 1, 17, 300};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        const uint64_t small = number_steps(buf, SMALL, points[i]);
        const uint64_t large = number_steps(buf, LARGE, points[i]);

        assert_true(large <= 5 * small + 1000);
        assert_true(large <= PER_BYTE * (uint64_t)LARGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_counting),
        cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
