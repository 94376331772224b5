/*
 * Goal: names lead to their own slots, for 10,000 types and names of any bytes, and what readers
 * see only grows. Method: all names added and looked up again; the table filled to its end; a
 * reader thread beside the writer (for TSan).
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/types.h"

#define TYPES 10000

static const struct type_config configured[] = {{.name = "order", .time_field = "a.b"},
                                                {.name = "click"}};
static const struct type_set set = {.type_field = "event_type", .n_types = 2, .type = configured};

static struct span name_of(int i, char *out, size_t len)
{
    return (struct span){out, (size_t)snprintf(out, len, "type.%d", i)};
}

static int path_of(void *ctx, const char *field)
{
    *(const char **)ctx = field;
    return 5;
}

static void test_many(void **state)
{
    static struct type_slot *slot[TYPES];
    const struct worker_type *shown;
    struct types *t;
    char text[160];
    uint32_t n;

    (void)state;
    assert_int_equal(types_create(&set, TYPES + 2, &t), 0);
    for (int i = 0; i < TYPES; i++) {
        slot[i] = types_get(t, name_of(i, text, sizeof(text)));
        assert_non_null(slot[i]);
        assert_null(slot[i]->config);
    }
    memset(text, 0, sizeof(text));
    assert_null(types_get(t, (struct span){"one more", 8}));
    for (int i = TYPES - 1; i >= 0; i--) {
        struct span name = name_of(i, text, sizeof(text));

        assert_ptr_equal(types_get(t, name), slot[i]);
        assert_true(span_equal(slot[i]->events.name, name)); /* of its own bytes, not of text */
        assert_true(span_equal(slot[i]->dead.name, name));
        assert_int_equal(slot[i]->events.kind, BLOCK_EVENT);
        assert_int_equal(slot[i]->dead.kind, BLOCK_DEAD);
    }
    assert_null(types_get(t, (struct span){"one more", 8}));
    shown = types_shown(t, &n);
    assert_int_equal(n, TYPES + 2);
    assert_memory_equal(shown[2].name, "type.0", 6);
    assert_true(types_memory_bytes(TYPES) > TYPES * sizeof(struct type_slot));
    types_destroy(t);
    types_destroy(NULL);
}

/* Looking for many at once finds what looking for each does, and adds nothing. */
static void test_find(void **state)
{
    char text[TYPES_AT_ONCE_MAX][160];
    struct span name[TYPES_AT_ONCE_MAX];
    struct type_slot *found[TYPES_AT_ONCE_MAX];
    struct types *t;
    uint32_t n;

    (void)state;
    assert_int_equal(types_create(&set, TYPES + 2, &t), 0);
    for (int i = 0; i < TYPES; i += 2)
        assert_non_null(types_get(t, name_of(i, text[0], sizeof(text[0]))));
    for (int first = 0; first < TYPES; first += TYPES_AT_ONCE_MAX - 1) {
        for (int i = 0; i < TYPES_AT_ONCE_MAX; i++)
            name[i] = name_of(first + i, text[i], sizeof(text[i]));
        name[first % TYPES_AT_ONCE_MAX].len = 0;
        types_find(t, name, TYPES_AT_ONCE_MAX, found);
        for (int i = 0; i < TYPES_AT_ONCE_MAX; i++) {
            if (name[i].len == 0 || (first + i) % 2 == 1 || first + i >= TYPES)
                assert_null(found[i]);
            else
                assert_ptr_equal(found[i], types_get(t, name[i]));
        }
    }
    (void)types_shown(t, &n);
    assert_int_equal(n, TYPES / 2 + 2);
    types_find(t, name, 0, found);
    types_destroy(t);
}

static void test_configured_and_odd_names(void **state)
{
    char longest[TYPE_NAME_BYTES_MAX];
    const char *asked = NULL;
    struct types *t;

    (void)state;
    assert_int_equal(types_create(&set, 1, &t), 0); /* configured ones always have room */
    types_set_time_path(t, 3, path_of, &asked);
    assert_string_equal(asked, "a.b");
    assert_int_equal(types_get(t, span_of("order"))->time_path, 5);
    assert_int_equal(types_get(t, span_of("click"))->time_path, 3);
    assert_ptr_equal(types_get(t, span_of("order"))->config, &configured[0]);
    assert_null(types_get(t, span_of("third")));
    types_destroy(t);
    assert_int_equal(types_create(&set, 10, &t), 0);
    memset(longest, 0xff, sizeof(longest));
    assert_non_null(types_get(t, (struct span){longest, sizeof(longest)}));
    assert_non_null(types_get(t, (struct span){"a\0b", 3}));
    assert_ptr_not_equal(types_get(t, (struct span){"a\0b", 3}),
                         types_get(t, (struct span){"a\0c", 3}));
    assert_ptr_not_equal(types_get(t, span_of("a")), types_get(t, span_of("a ")));
    assert_int_equal(types_unknown(t)->dead.name.len, 0);
    assert_int_equal(types_unknown(t)->dead.kind, BLOCK_DEAD);
    types_destroy(t);
}

static _Atomic bool done;

static void *read_shown(void *arg)
{
    uint32_t before = 0, n = 0;
    bool wrong = false;

    while (!atomic_load(&done)) {
        const struct worker_type *shown = types_shown(arg, &n);

        wrong |= n < before || (n > 0 && shown[n - 1].name_len == 0);
        before = n;
    }
    return wrong ? arg : NULL;
}

static void test_reader(void **state)
{
    pthread_t thread;
    struct types *t;
    char text[160];
    void *wrong;

    (void)state;
    assert_int_equal(types_create(&set, TYPES + 2, &t), 0);
    assert_int_equal(pthread_create(&thread, NULL, read_shown, t), 0);
    for (int i = 0; i < TYPES; i++)
        assert_non_null(types_get(t, name_of(i, text, sizeof(text))));
    atomic_store(&done, true);
    pthread_join(thread, &wrong);
    assert_null(wrong);
    types_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_configured_and_odd_names),
        cmocka_unit_test(test_reader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
