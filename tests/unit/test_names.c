/* Type names in paths: golden values, what cannot be undone, and that no two names of a small
 * alphabet collide. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "dataplane/event/names.h"

static void golden_names(void **state)
{
    static const struct {
        const char *name, *escaped;
    } cases[] = {
        {"", ""},
        {"order", "order"},
        {"user_activity", "user_activity"},
        {"order.created", "order_x2Ecreated"},
        {"a/b", "a_x2Fb"},
        {"..", "_x2E_x2E"},
        {"_x", "_x5Fx"},
        {"a_xb", "a_x5Fxb"},
        {"_X", "_X"},
        {"_", "_"},
        {"__x", "__x5Fx"},
        {"_.", "__x2E"},
        {"a-b", "a-b"},
        {"A B", "A_x20B"},
        {"\xc3\xa9", "_xC3_xA9"},
        {"x_", "x_"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[TYPE_ESCAPED_BYTES_MAX + 1], back[TYPE_ESCAPED_BYTES_MAX];
        size_t n = name_escape(span_of(cases[i].name), out);
        int len;

        assert_string_equal(out, cases[i].escaped);
        assert_int_equal(n, strlen(cases[i].escaped));
        len = name_unescape((struct span){out, n}, back);
        assert_int_equal(len, strlen(cases[i].name));
        assert_memory_equal(back, cases[i].name, (size_t)len);
    }
}

static void every_byte_round_trips(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char name[TYPE_NAME_BYTES_MAX], out[TYPE_ESCAPED_BYTES_MAX + 1],
            back[TYPE_ESCAPED_BYTES_MAX];
        size_t n;

        memset(name, c, sizeof(name));
        n = name_escape((struct span){name, sizeof(name)}, out);
        assert_true(n <= TYPE_ESCAPED_BYTES_MAX && out[n] == '\0');
        assert_int_equal(name_unescape((struct span){out, n}, back), sizeof(name));
        assert_memory_equal(back, name, sizeof(name));
    }
}

static void text_that_is_not_escaped(void **state)
{
    static const char *const cases[] = {
        "a.b",  "a b",   "_x",   "_x2",  "_x2e", "_x2G", "_x41",
        "_x5F", "_x5Fy", "_x2D", "\xc3", "_x30", "a/",   "_x5F_x",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char back[64];

        if (name_unescape(span_of(cases[i]), back) != -EINVAL)
            fail_msg("%s was taken", cases[i]);
    }
}

/* All texts of up to 5 characters over the ones that matter: what unescapes, escapes to the same
 * again. */
static void escaping_is_the_only_inverse(void **state)
{
    static const char alphabet[] = "_x5F2E.a";
    size_t base = sizeof(alphabet) - 1;
    char text[6], raw[8], again[TYPE_ESCAPED_BYTES_MAX + 1];

    (void)state;
    for (size_t len = 0; len <= 5; len++) {
        size_t total = 1;

        for (size_t i = 0; i < len; i++)
            total *= base;
        for (size_t n = 0; n < total; n++) {
            size_t v = n;
            int back;

            for (size_t i = 0; i < len; i++, v /= base)
                text[i] = alphabet[v % base];
            back = name_unescape((struct span){text, len}, raw);
            if (back < 0)
                continue;
            assert_int_equal(name_escape((struct span){raw, (size_t)back}, again), len);
            assert_memory_equal(again, text, len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_names),
        cmocka_unit_test(every_byte_round_trips),
        cmocka_unit_test(text_that_is_not_escaped),
        cmocka_unit_test(escaping_is_the_only_inverse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
