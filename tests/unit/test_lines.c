/*
 * Goal: whole lines come out of a stream however it is cut into receives, in place where they can
 * be, and a line that is too long costs its own bytes only.
 *
 * Method: known cases, then random inputs in random pieces against the input itself (tlines.h);
 * seeds are printed and replay from PENSTOCK_SEED.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/tcore_read.h"
#include "tests/unit/tcore_storage.h"
#include "tests/unit/tlines.h"

static uint32_t piece_fixed(void *ctx)
{
    return *(uint32_t *)ctx;
}

static struct tlines run(const char *input, uint32_t piece, uint32_t own, uint32_t max)
{
    struct tlines t = {.input = input,
                       .len = (uint32_t)strlen(input),
                       .own_room = own,
                       .line_max = max,
                       .next = piece_fixed,
                       .ctx = &piece};

    tlines_run(&t);
    return t;
}

static void test_in_place(void **state)
{
    struct tlines t = run("a\nbb\n\nccc\n", 100, 4, 8);

    (void)state;
    assert_int_equal(t.n_taken, 1);
    assert_int_equal(t.n_copied + t.n_grown + t.n_heads, 0);
}

static void test_straddling(void **state)
{
    struct tlines t = run("aaa\nbbb\nccc\n", 5, 4, 8);

    (void)state;
    assert_int_equal(t.n_copied, 2); /* "bbb" and "ccc" were cut */
    assert_int_equal(t.n_grown, 0);
    t = run("aaaaaa\nbb", 5, 4, 8);
    assert_int_equal(t.n_grown, 1);
    assert_int_equal(t.n_copied, 2); /* the last line has no newline */
}

static void test_too_long(void **state)
{
    struct tlines t = run("12345678\n123456789\nab\n", 3, 4, 8);

    (void)state;
    assert_int_equal(t.n_heads, 1); /* eight bytes are fine, nine are not */
    t = run("123456789", 3, 4, 8);
    assert_int_equal(t.n_heads, 1);
}

/* What is given up in the middle, of the bytes that have come in two pieces. */
static void test_drop(void **state)
{
    static const struct {
        const char *first, *second;
        uint32_t lines; /* dropped */
        bool unfinished;
    } cases[] = {
        {"", "a\nbb\n", 2, false},     {"", "a\nbb\nc", 3, true},     {"a", "", 1, true},
        {"a", "a\n\nb\n", 3, false},   {"a", "a\nb", 2, true},        {"aaaa", "aaaaa", 1, true},
        {"aaaa", "aaaaa\nb", 2, true}, {"aaaa", "aaaaa\n", 1, false},
    };
    char own[8];
    struct lines_piece p;
    struct lines l;
    bool unfinished;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        lines_init(&l, own, sizeof(own), sizeof(own));
        lines_feed(&l, cases[i].first, (uint32_t)strlen(cases[i].first));
        assert_int_equal(lines_next(&l, &p), LINES_RECEIVE);
        lines_feed(&l, cases[i].second, (uint32_t)strlen(cases[i].second));
        (void)lines_next(&l, &p);
        assert_int_equal(lines_drop(&l, &unfinished), cases[i].lines);
        assert_int_equal(unfinished, cases[i].unfinished);
        assert_int_equal(lines_next(&l, &p), LINES_RECEIVE);
        assert_false(lines_partial(&l));
    }
}

static uint32_t piece_random(void *ctx)
{
    uint64_t x = tcore_random(ctx);

    return (uint32_t)(x % 8 == 0 ? 1 + x / 8 % 300 : 1 + x / 8 % 20);
}

/* Lengths around one vector, around the 16,320 bytes that the lanes count at once, and at any offset. */
static void test_breaks(void **state)
{
    static char buf[40000];
    static const size_t lens[] = {0, 1, 63, 64, 65, 127, 16319, 16320, 16321, 16384, 32640, 39000};
    uint64_t seed = 1;

    (void)state;
    for (unsigned every = 1; every < 700; every = every * 3 + 1) {
        for (size_t i = 0; i < sizeof(buf); i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            buf[i] = (seed >> 33) % every == 0 ? '\n' : (char)(seed >> 56);
        }
        for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
            size_t at = seed % 900, n = 0;

            for (size_t k = 0; k < lens[i]; k++)
                n += buf[at + k] == '\n' ? 1 : 0;
            assert_int_equal(lines_breaks(buf + at, lens[i]), n);
            seed = seed * 6364136223846793005u + 1442695040888963407u;
        }
    }
}

static void test_random(void **state)
{
    uint64_t random = tcore_seed("lines", 20261121), heads = 0, grown = 0;
    static char input[4096];

    (void)state;
    for (int round = 0; round < 3000; round++) {
        uint32_t rare = 1 + (uint32_t)(tcore_random(&random) % 60);
        struct tlines t = {.input = input, .next = piece_random, .ctx = &random};

        t.len = (uint32_t)(tcore_random(&random) % sizeof(input));
        t.own_room = 1 + (uint32_t)(tcore_random(&random) % 40);
        t.line_max = t.own_room + (uint32_t)(tcore_random(&random) % 200);
        for (uint32_t i = 0; i < t.len; i++)
            input[i] = tcore_random(&random) % rare == 0 ? '\n' : (char)('a' + i % 26);
        tlines_run(&t);
        heads += t.n_heads;
        grown += t.n_grown;
    }
    assert_true(heads > 100 && grown > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_place), cmocka_unit_test(test_straddling),
        cmocka_unit_test(test_too_long), cmocka_unit_test(test_drop),
        cmocka_unit_test(test_breaks),   cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
