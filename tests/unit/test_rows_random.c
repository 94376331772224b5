/*
 * Goal: whatever the events, no value is lost, no row is refused, no version forgets a column.
 * Method: random events of few, clashing keys and of every kind of value grow versions, with and
 * without configured columns, until types are fixed and after. An independent judge compares each
 * row with its event (trows_check.h); rows of earlier versions must still load into later tables.
 * The seed is printed; PENSTOCK_SEED replays it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "trows_check.h"

#define EVENT_BYTES 60000
#define TAIL        "\"event_date\":\"2026-11-21\",\"penstock_id\":\"x\"}\n"
#define TABLES      250
#define EVENTS      60
#define KEPT        8

static uint64_t state;

static uint32_t pick(uint32_t n)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

static const char *const key_texts[] = {
    "a",    "b",           "c",    "a.b", "a b",  "a_b", "A",    "",  "\\u0061",
    "a#2",  "penstock_id", "t",    "id",  "rec",  "1st", "é",    "ß", "_PARTITION",
    "\\\"", "event_date",  "a[0]", "l",   "x\\n", "#2",  "a\\/b"};
static const char *const scalar_texts[] = {"1",
                                           "-7",
                                           "0",
                                           "9007199254740993",
                                           "-9223372036854775808",
                                           "18446744073709551615",
                                           "0.5",
                                           "1e3",
                                           "1e400",
                                           "0.1000000000000000055511151",
                                           "3.14159265358979323846",
                                           "-0",
                                           "true",
                                           "false",
                                           "null",
                                           "\"s\"",
                                           "\"\"",
                                           "\"\\u0000\\ud83d\\ude00\"",
                                           "\"12\"",
                                           "\"2026-11-21T07:42:14.123Z\"",
                                           "\"2026-11-21\"",
                                           "\"2026-11-21 07:42:14.1234567Z\""};

static char *event_end;

static void put(const char *text)
{
    size_t n = strlen(text);

    memcpy(event_end, text, n);
    event_end += n;
}

static void put_value(unsigned depth, size_t room)
{
    uint32_t kind = pick(depth > 0 && room > 200 ? 10 : 6), n = pick(5);

    if (kind < 6) {
        put(scalar_texts[pick(ARRAY_LEN(scalar_texts))]);
        return;
    }
    put(kind < 8 ? "{" : "[");
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            put(pick(9) == 0 ? " ,\t" : ",");
        if (kind < 8) {
            put("\"");
            put(key_texts[pick(ARRAY_LEN(key_texts))]);
            put("\":");
        }
        put_value(depth - 1, room / (n + 1));
    }
    put(kind < 8 ? "}" : "]");
}

static size_t make_event(char *buf)
{
    uint32_t n = pick(12);
    unsigned depth = pick(20) == 0 ? 18 : pick(5);

    event_end = buf;
    put("{");
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            put(",");
        put("\"");
        put(key_texts[pick(ARRAY_LEN(key_texts))]);
        put("\":");
        put_value(depth, 4000);
    }
    if (pick(40) == 0) { /* past ROWS_SUFFIX_MAX: the event's text is kept */
        for (uint32_t i = 0; i < 101; i++)
            put(i > 0 || n > 0 ? ",\"many\":{}" : "\"many\":{}");
        put(",\"last\":1");
    }
    put("}");
    assert_true(event_end - buf < EVENT_BYTES);
    return (size_t)(event_end - buf);
}

/* The two lengths of one event: the producer's object, the whole line. */
struct line {
    char *text;
    size_t event_len, len;
    uint16_t added;
};

static void make_line(struct line *l)
{
    size_t n = make_event(l->text);
    char *p = l->text + n - 1;

    l->event_len = n;
    if (n > 2)
        *p++ = ',';
    memcpy(p, TAIL, sizeof(TAIL)); /* its NUL stands for padding's first byte */
    l->len = (size_t)(p - l->text) + sizeof(TAIL) - 1;
    l->added = (uint16_t)(l->len - n - 1);
}

static void must(const char *wrong, const struct rows *r, const struct line *l, const char *row,
                 size_t len)
{
    if (wrong == NULL)
        return;
    printf("version: %sline: %.*srow: %.*s", r->text, (int)l->len, l->text, (int)len, row);
    fail_msg("%s", wrong);
}

/* Takes the line in; out gets its row. */
static size_t encode(struct rows **r, const struct line *l, char *out)
{
    struct span line = {l->text, l->len};
    char *event = malloc(l->event_len);
    size_t len = 0;

    memcpy(event, l->text, l->event_len - 1);
    event[l->event_len - 1] = '}';
    for (int turn = 0;; turn++) {
        struct rows_counts counts = {0};
        enum rows_result result = rows_encode_counted(*r, line, l->added, out, &len, &counts);
        struct rows *next = NULL;
        int rc = rows_grow(*r, line, l->added, &next);

        assert_true(len <= rows_encoded_max(l->len));
        must(counts.whole == 0 || memmem(event, l->event_len, "\"many\"", 6) != NULL
                 ? NULL
                 : "the text of an event is kept without need",
             *r, l, out, len);
        must(trows_check(*r, (struct span){event, l->event_len}, (struct span){out, len}), *r, l,
             out, len);
        must(rc == (result == ROWS_GROWS ? 0 : -EALREADY) ? NULL : "growing and encoding disagree",
             *r, l, out, len);
        if (rc != 0)
            break;
        must(trows_kept(*r, next), next, l, out, len);
        assert_true(turn < 3 && next->n_columns <= next->columns_max);
        rows_destroy(*r);
        *r = next;
    }
    free(event);
    return len;
}

static struct rows *start_table(void)
{
    static const char base[] =
        "[{\"name\":\"id\",\"type\":\"STRING\"},{\"name\":\"a\",\"type\":\"FLOAT\"},"
        "{\"name\":\"l\",\"type\":\"INTEGER\",\"mode\":\"REPEATED\"},{\"name\":\"rec\",\"type\":"
        "\"RECORD\",\"fields\":[{\"name\":\"b\",\"type\":\"JSON\"}]}]";
    struct rows_start start = {.time_path = pick(2) ? "t" : "rec.t",
                               .columns_max = pick(3) == 0 ? 12 + pick(12) : 2000};
    struct schema *schema = NULL;
    struct rows *r = NULL;

    if (pick(3) == 0)
        assert_int_equal(schema_compile(span_of(base), &schema, NULL, 0), 0);
    start.base = schema;
    assert_int_equal(rows_start(&start, &r), 0);
    schema_destroy(schema);
    return r;
}

static void one_table(void)
{
    static char text[EVENT_BYTES + 512];
    struct line l = {.text = text};
    char *out = malloc(rows_encoded_max(sizeof(text))), *row[KEPT] = {NULL};
    struct rows *r = start_table(), *fixed = NULL;
    size_t row_len[KEPT] = {0};
    int fix_at = (int)pick(EVENTS);

    for (int i = 0; i < EVENTS; i++) {
        int slot = i % KEPT;

        if (i == fix_at) {
            assert_int_equal(rows_fix(r, &fixed), 0);
            rows_destroy(r);
            r = fixed;
        }
        make_line(&l);
        free(row[slot]);
        row_len[slot] = encode(&r, &l, out);
        row[slot] = malloc(row_len[slot]);
        memcpy(row[slot], out, row_len[slot]);
        for (int k = 0; k < KEPT && row[k] != NULL; k++)
            must(trows_loads(r->schema, (struct span){row[k], row_len[k]}), r, &l, row[k],
                 row_len[k]);
    }
    for (int k = 0; k < KEPT; k++)
        free(row[k]);
    rows_destroy(r);
    free(out);
}

static void random_events(void **unused)
{
    const char *seed = getenv("PENSTOCK_SEED");

    (void)unused;
    state = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    printf("seed %llu\n", (unsigned long long)state);
    for (int i = 0; i < TABLES; i++)
        one_table();
}

/* The judge must be able to fail. */
static void judge_sees_faults(void **unused)
{
    static const char event[] = "{\"id\":\"x\",\"n\":1,\"m\":[1,\"a\"],\"m\":{\"k\":1}}";
    static const char right[] =
        "{\"id\":\"x\",\"n\":1,\"penstock_overflow\":{\"m\":[1,\"a\"],\"m#2\":{\"k\":1}}}\n";
    static const char *const wrong[] = {
        "{\"id\":\"y\",\"n\":1,\"penstock_overflow\":{\"m\":[1,\"a\"],\"m#2\":{\"k\":1}}}\n",
        "{\"id\":\"x\",\"penstock_overflow\":{\"m\":[1,\"a\"],\"m#2\":{\"k\":1}}}\n",
        "{\"id\":\"x\",\"n\":1,\"penstock_overflow\":{\"m\":[1,\"a\"]}}\n",
        "{\"id\":\"x\",\"n\":1,\"penstock_overflow\":{\"m\":[1,\"a\"],\"m\":{\"k\":1}}}\n",
        "{\"id\":\"x\",\"n\":1,\"penstock_overflow\":{\"m\":[1,\"b\"],\"m#2\":{\"k\":1}}}\n",
        "{\"id\":\"x\",\"n\":1,\"penstock_overflow\":{\"m\":[1,\"a\"],\"m#2\":{\"k\":1},\"q\":1}}"
        "\n",
        "{\"id\":\"x\",\"n\":1,\"z\":1,\"penstock_overflow\":{\"m\":[1,\"a\"],\"m#2\":{\"k\":"
        "1}}}\n",
    };
    static const char text[] =
        "{\"format\":1,\"fixed_types\":true,\"columns_max\":10,\"fields\":[{\"name\":\"id\","
        "\"source\":\"id\",\"type\":\"STRING\"},{\"name\":\"n\",\"source\":\"n\",\"type\":"
        "\"INTEGER\"},{\"name\":\"z\",\"source\":\"z\",\"type\":\"INTEGER\"}]}\n";
    struct rows *r = NULL;

    (void)unused;
    assert_int_equal(rows_parse(span_of(text), &r, NULL, 0), 0);
    assert_null(trows_check(r, span_of(event), span_of(right)));
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        if (trows_check(r, span_of(event), span_of(wrong[i])) == NULL)
            fail_msg("passed: %s", wrong[i]);
    }
    rows_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(judge_sees_faults),
                                       cmocka_unit_test(random_events)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
