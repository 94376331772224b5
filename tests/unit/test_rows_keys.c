/*
 * Keys that hash alike must cost no more than others, and the table of keys must be empty behind each
 * line. Includes the encoder, to know its hash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/event/rows_encode.c"

#define COLLIDING 300

/* {"j":{...}} whose keys all start at one slot; j has no column, so it is the first JSON object. */
static char *colliding_event(void)
{
    char *event = malloc(64 + COLLIDING * 32), *p = event;
    uint32_t found = 0, wanted = 0;

    p += snprintf(p, 64, "{\"j\":{");
    for (unsigned i = 0; found < COLLIDING; i++) {
        char key[16];
        int n = snprintf(key, sizeof(key), "%u", i);
        uint32_t slot = key_hash(1, (struct span){key, (size_t)n}) & (SLOTS - 1);

        if (found == 0)
            wanted = slot;
        if (slot == wanted)
            p += snprintf(p, 32, "%s\"%s\":0", found++ > 0 ? "," : "", key);
    }
    snprintf(p, 8, "}}");
    return event;
}

static void colliding_keys(void **state)
{
    struct rows_start start = {.columns_max = 5};
    char *event = colliding_event(), *row = malloc(rows_encoded_max(strlen(event)));
    struct rows_counts counts = {0};
    struct rows *r = NULL;
    size_t len;

    (void)state;
    assert_int_equal(rows_start(&start, &r), 0);
    (void)rows_encode_counted(r, (struct span){event, strlen(event)}, 0, row, &len, &counts);
    assert_true(counts.whole == 1 && keys.n == 0);
    for (size_t i = 0; i < SLOTS; i++)
        assert_int_equal(keys.slot[i], 0);
    free(event);
    event = strdup("{\"j\":{\"a\":{\"b\":[{\"c\":1,\"c\":2}]},\"d\":1},\"k\":2}");
    (void)rows_encode_counted(r, (struct span){event, strlen(event)}, 0, row, &len, &counts);
    assert_true(counts.whole == 1 && counts.normalized == 1 && keys.n == 0);
    for (size_t i = 0; i < SLOTS; i++)
        assert_int_equal(keys.slot[i], 0);
    free(event);
    free(row);
    rows_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(colliding_keys)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
