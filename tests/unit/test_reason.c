/* Goal: names of reasons are unique, stable in form, and lead back. Method: over the whole list. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "dataplane/base/reason.h"

static void test_names(void **state)
{
    (void)state;
    for (int r = 1; r < REASON_END; r++) {
        const char *name = reason_name((enum reason)r);

        if (r == REASON_DEAD_END)
            continue;
        assert_true(name[0] != 0 &&
                    strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789") == strlen(name));
        assert_true(strlen(reason_text((enum reason)r)) > 3);
        assert_null(strpbrk(reason_text((enum reason)r), "\"\\\n")); /* goes into JSON as it is */
        assert_int_equal(reason_from_name(name), r);
        for (int other = 1; other < r; other++)
            assert_string_not_equal(name, reason_name((enum reason)other));
    }
    assert_int_equal(reason_from_name("none"), REASON_NONE);
    assert_int_equal(reason_from_name("no_such_reason"), REASON_NONE);
    assert_int_equal(reason_from_name(""), REASON_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
