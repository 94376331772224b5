/*
 * Goal: the proofs of the JSON parser can fail. Method: the AVX-512 variant is built into this program with
 * a switch for each of its precautions; with one switched off, the very comparison that the proofs rest on
 * (tjson_check() on changed events) has to find a difference, and soon. With none switched off it must
 * not.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/unit/tjson.h"

static enum canary {
    NONE,
    KINDS,   /* a learned shape is taken for any other of as many tokens */
    KEYS,    /* its keys are not compared */
    MARKS,   /* what is suspicious is not looked at again */
    RETURNS, /* carriage returns between tokens are not noticed */
    PLAIN,   /* numbers and literals in doubt are not checked */
    ESCAPES, /* nor are escapes */
} canary;

#include "dataplane/json/json_tape.h"

#define SHAPE_MATCHES(same_kinds, same_keys) \
    ((canary == KINDS || (same_kinds)) && (canary == KEYS || (same_keys)))
#define tape_mark(t, off, what)                                                                 \
    ((canary == MARKS && (what) == MARK_RESCAN) || (canary == RETURNS && (what) == MARK_RETURN) \
         ? (void)0                                                                              \
         : tape_mark(t, off, what))
#define json_check_plain(v)   (canary == PLAIN ? (void)0 : json_check_plain(v))
#define json_check_escapes(v) (canary == ESCAPES ? (void)0 : json_check_escapes(v))

#include "dataplane/json/json_avx512.c"

#define ROUNDS 20000

/* @return the round in which a difference was found, or ROUNDS. */
static unsigned rounds_until_found(void)
{
    static char text[65536 + JSON_PADDING_BYTES];
    struct tjson t;
    unsigned round = 0;

    tjson_init(&t, tjson_paths, tjson_n_paths);
    for (; round < ROUNDS; round++) {
        struct tjson_rng r = {round};
        const size_t len = tjson_changed_events(&r, tjson_below(&r, 64), text, 65536);

        memset(text + len, ' ', JSON_PADDING_BYTES);
        if (tjson_check(&t, text, len, JSON_FRAMING_LINES, 0) < 0)
            break;
    }
    if (round < ROUNDS)
        print_message("round %u: %s\n", round, t.what);
    tjson_fini(&t);
    return round;
}

static void expect_found(enum canary what)
{
    unsigned round;

    if (!json_isa_usable(JSON_ISA_AVX512)) {
        print_message("this CPU has no AVX-512\n");
        skip();
    }
    canary = what;
    round = rounds_until_found();
    canary = NONE;
    if (what == NONE)
        assert_int_equal(round, ROUNDS);
    else
        assert_true(round < ROUNDS);
}

static void test_whole(void **state)
{
    (void)state;
    expect_found(NONE);
}

static void test_kinds(void **state)
{
    (void)state;
    expect_found(KINDS);
}

static void test_keys(void **state)
{
    (void)state;
    expect_found(KEYS);
}

static void test_marks(void **state)
{
    (void)state;
    expect_found(MARKS);
}

static void test_returns(void **state)
{
    (void)state;
    expect_found(RETURNS);
}

static void test_plain(void **state)
{
    (void)state;
    expect_found(PLAIN);
}

static void test_escapes(void **state)
{
    (void)state;
    expect_found(ESCAPES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),   cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_keys),    cmocka_unit_test(test_marks),
        cmocka_unit_test(test_returns), cmocka_unit_test(test_plain),
        cmocka_unit_test(test_escapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
