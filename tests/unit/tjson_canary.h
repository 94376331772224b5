/*
 * The proofs of the JSON parser can fail: a variant is built into a program with a switch for each of its
 * precautions; with one switched off, the very comparison that the proofs rest on (tjson_check() on changed
 * events, as lines and as an array) has to find a difference, and soon. With none switched off it must not.
 *
 * For vector variants: the program includes this, its variant's source, and runs CANARIES(isa).
 */
#ifndef PENSTOCK_TEST_TJSON_CANARY_H
#define PENSTOCK_TEST_TJSON_CANARY_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "dataplane/json/json_tape.h"
#include "tests/unit/tjson.h"

static enum canary {
    NONE,
    KINDS,      /* a learned shape is taken for any other of as many tokens */
    KEYS,       /* its keys are not compared */
    MARKS,      /* what is suspicious is not looked at again */
    RETURNS,    /* carriage returns between tokens are not noticed */
    PLAIN,      /* numbers and literals in doubt are not checked */
    ESCAPES,    /* nor are escapes */
    LINES,      /* line feeds in elements are not noticed */
    SEPARATORS, /* where an element ends is not compared with where it ends for the scalar scanner */
} canary;

#define SHAPE_MATCHES(same_kinds, same_keys) \
    ((canary == KINDS || (same_kinds)) && (canary == KEYS || (same_keys)))
#define LINE_FEEDS_SEEN(seen) (canary != LINES && (seen))
#define SAME_END(same)        (canary == SEPARATORS || (same))
#define tape_mark(t, off, what)                                                                 \
    ((canary == MARKS && (what) == MARK_RESCAN) || (canary == RETURNS && (what) == MARK_RETURN) \
         ? (void)0                                                                              \
         : tape_mark(t, off, what))
#define json_check_plain(v) (canary == PLAIN ? (void)0 : json_check_plain(v))
#define json_check_escapes(v, first, end) \
    (canary == ESCAPES ? (void)0 : json_check_escapes(v, first, end))

#define ROUNDS     20000
#define TEXT_BYTES 65536

/* The lines of text as an array. @return its length. */
static size_t as_array(char *text, size_t len)
{
    memmove(text + 1, text, len);
    text[0] = '[';
    for (size_t i = 1; i < len; i++) /* none of them lies in a string that is whole */
        text[i] = (char)(text[i] == '\n' ? ',' : text[i] == ' ' ? '\n' : text[i]);
    text[len] = ']';
    return len + 1;
}

/* Whether the variants agree about text as lines and as an array. */
static inline bool agree_whole(struct tjson *t, char *text, size_t len)
{
    if (tjson_check(t, text, len, JSON_FRAMING_LINES, 0) < 0)
        return false;
    len = as_array(text, len);
    return tjson_check(t, text, len, JSON_FRAMING_ARRAY, 0) >= 0;
}

/* The same of its lines in buffers of their own. */
static inline bool agree_cut(struct tjson *t, char *text, size_t len)
{
    struct json_buffer buffer[JSON_BUFFERS_MAX];
    struct tjson_rng r = {len};
    const uint32_t n = tjson_cut(&r, text, len, "\"}", buffer);
    const bool agree = tjson_check_buffers(t, buffer, n) >= 0;

    tjson_cut_free(buffer, n);
    return agree;
}

/* @return the round in which a difference was found, or ROUNDS. */
static inline unsigned rounds_until_found(bool (*agree)(struct tjson *t, char *text, size_t len))
{
    static char text[TEXT_BYTES + JSON_PADDING_BYTES];
    struct tjson t;
    unsigned round = 0;

    tjson_init(&t, tjson_paths, tjson_n_paths);
    for (; round < ROUNDS; round++) {
        struct tjson_rng r = {round};
        const size_t len = tjson_changed_events(&r, tjson_below(&r, 64), text, TEXT_BYTES - 2);

        memset(text + len, ' ', JSON_PADDING_BYTES);
        if (!agree(&t, text, len))
            break;
    }
    if (round < ROUNDS)
        print_message("round %u: %s\n", round, t.what);
    tjson_fini(&t);
    return round;
}

static void expect_found(enum json_isa isa, enum canary what)
{
    unsigned round, cut;

    if (!json_isa_usable(isa)) {
        print_message("this CPU has no %s\n", json_isa_name(isa));
        skip();
    }
    canary = what;
    round = rounds_until_found(agree_whole);
    cut = rounds_until_found(agree_cut);
    canary = NONE;
    if (what == NONE)
        assert_int_equal(round, ROUNDS);
    else
        assert_true(round < ROUNDS);
    if (what == NONE || what == LINES || what == SEPARATORS) /* those are about arrays */
        assert_int_equal(cut, ROUNDS);
    else
        assert_true(cut < ROUNDS);
}

/* Each test's state is what it switches off. */
#define CANARY(isa, what)                   \
    static void test_##what(void **state)   \
    {                                       \
        (void)state;                        \
        expect_found(JSON_ISA_##isa, what); \
    }

#define CANARIES(isa)                                                        \
    CANARY(isa, NONE)                                                        \
    CANARY(isa, KINDS)                                                       \
    CANARY(isa, KEYS)                                                        \
    CANARY(isa, MARKS)                                                       \
    CANARY(isa, RETURNS)                                                     \
    CANARY(isa, PLAIN)                                                       \
    CANARY(isa, ESCAPES)                                                     \
    CANARY(isa, LINES)                                                       \
    CANARY(isa, SEPARATORS)                                                  \
    int main(void)                                                           \
    {                                                                        \
        const struct CMUnitTest tests[] = {                                  \
            cmocka_unit_test(test_NONE),       cmocka_unit_test(test_KINDS), \
            cmocka_unit_test(test_KEYS),       cmocka_unit_test(test_MARKS), \
            cmocka_unit_test(test_RETURNS),    cmocka_unit_test(test_PLAIN), \
            cmocka_unit_test(test_ESCAPES),    cmocka_unit_test(test_LINES), \
            cmocka_unit_test(test_SEPARATORS),                               \
        };                                                                   \
                                                                             \
        return cmocka_run_group_tests(tests, NULL, NULL);                    \
    }

#endif
