/*
 * Goal: the proofs of the scalar scanner, which is the reference of the others, can fail: jansson finds
 * what it does wrongly. Method: it is built into this program with a switch for each of its checks; with one
 * switched off, tjson_check() on changed events has to find a difference between it and jansson, and soon.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "dataplane/json/json_internal.h"
#include "dataplane/json/walk.h"
#include "tests/unit/tjson.h"

static enum canary {
    NONE,
    UTF8,   /* any bytes are UTF-8 */
    KEYS,   /* keys are equal when they are equally long */
    HEX,    /* what is no hex digit is 0 */
    DIGITS, /* an e is a digit */
    FIELDS, /* members far from the start are not picked */
} canary;

#define json_key_equal(raw, escaped, key) \
    (canary == KEYS ? (raw).len == (key).len : json_key_equal(raw, escaped, key))

#include "dataplane/json/json_nest.h"

#define utf8_length(p, end) (canary == UTF8 ? 1 : utf8_length(p, end))
#define hex_digit(c)        (canary == HEX && hex_digit(c) < 0 ? 0 : hex_digit(c))
#define is_digit(c)         (is_digit(c) || (canary == DIGITS && ((c) | 0x20) == 'e'))
#define nest_fields(s, found, start, past, type) \
    nest_fields(s, canary == FIELDS && (start) > (s)->doc + 40 ? 0 : found, start, past, type)

#include "dataplane/json/json_scalar.c"

#define ROUNDS     3000
#define TEXT_BYTES 65536

/* @return the round in which jansson did not agree, or ROUNDS. */
static unsigned rounds_until_found(void)
{
    static char text[TEXT_BYTES + JSON_PADDING_BYTES];
    struct tjson t;
    unsigned round = 0;
    int n;

    tjson_init(&t, tjson_paths, tjson_n_paths);
    n = t.n;
    t.n = 1; /* the scalar one alone */
    for (; round < ROUNDS; round++) {
        struct tjson_rng r = {round};
        const size_t len = tjson_changed_events(&r, tjson_below(&r, 64), text, TEXT_BYTES);

        memset(text + len, ' ', JSON_PADDING_BYTES);
        if (tjson_check(&t, text, len, JSON_FRAMING_LINES, TJSON_ORACLE) < 0)
            break;
    }
    if (round < ROUNDS)
        print_message("round %u: %s\n", round, t.what);
    t.n = n;
    tjson_fini(&t);
    return round;
}

static void expect_found(enum canary what)
{
    unsigned round;

    canary = what;
    round = rounds_until_found();
    canary = NONE;
    if (what == NONE)
        assert_int_equal(round, ROUNDS);
    else
        assert_true(round < ROUNDS);
}

#define CANARY(what)                      \
    static void test_##what(void **state) \
    {                                     \
        (void)state;                      \
        expect_found(what);               \
    }

CANARY(NONE)
CANARY(UTF8)
CANARY(KEYS)
CANARY(HEX)
CANARY(DIGITS)
CANARY(FIELDS)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_NONE), cmocka_unit_test(test_UTF8),   cmocka_unit_test(test_KEYS),
        cmocka_unit_test(test_HEX),  cmocka_unit_test(test_DIGITS), cmocka_unit_test(test_FIELDS),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
