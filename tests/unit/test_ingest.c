/*
 * Goal: every document of a body becomes an event or a dead letter with the right reason, in the
 * right run, and a body is admitted whole or not at all. Method: a table of bodies; then single
 * cases for time, cuts, parts and the edges of admission, on blocks in memory (tcore_ingest.h).
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/tcore_ingest.h"

#define LINES_MAX 64

/* What was stored, in order of runs. */
static struct {
    char text[LINES_MAX][20000];
    char type[LINES_MAX][140];
    uint8_t kind[LINES_MAX], flags[LINES_MAX];
    int32_t minute[LINES_MAX];
    unsigned n;
    uint64_t all, parts;
} stored;

static struct tcore_ingest *t;

static void store(void *ctx, const struct block_view *v, const struct block_run *run,
                  const struct block_entry *e)
{
    unsigned i = stored.n;

    (void)ctx;
    stored.all++;
    stored.parts += (e->flags & BLOCK_ENTRY_PART) != 0;
    if (i == LINES_MAX || e->len >= sizeof(stored.text[0]))
        return;
    memcpy(stored.text[i], v->buf + e->offset, e->len);
    stored.text[i][e->len] = 0;
    snprintf(stored.type[i], sizeof(stored.type[i]), "%.*s", (int)run->name_len,
             v->buf + run->name_offset);
    stored.kind[i] = run->kind;
    stored.flags[i] = e->flags;
    stored.minute[i] = e->minute;
    stored.n++;
}

static int up(void **state)
{
    (void)state;
    t = calloc(1, sizeof(*t));
    t->blocks = 8;
    t->block_bytes = 32768;
    t->event_bytes_max = 16384;
    t->types_max = 12;
    tcore_ingest_up(t);
    return 0;
}

static int down(void **state)
{
    (void)state;
    tcore_ingest_down(t);
    free(t);
    return 0;
}

static const struct ingest_result *take(const char *body, const char *path)
{
    const struct ingest_result *r = tcore_ingest_body(t, body, strlen(body), path);

    memset(&stored, 0, sizeof(stored));
    tcore_ingest_lines(t, store, NULL);
    return r;
}

/* ---- the table ---- */

#define A200                                                                                       \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaaaaa"                                                                                     \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaaaaa"

static const struct {
    const char *body, *path;
    uint32_t accepted, dead;
    const char *reason; /* of the refusal, or of the first dead letter; NULL: none */
    const char *type;   /* of the first line, or NULL */
} table[] = {
    {"{\"event_type\":\"click\"}", NULL, 1, 0, NULL, "click"},
    {"{\"event_type\":\"click\"}\r\n\n{\"event_type\":\"click\"}\n", NULL, 2, 0, NULL, "click"},
    {"[{\"event_type\":\"click\"},{\"event_type\":\"b\"}]", NULL, 2, 0, NULL, "click"},
    {"{\n\"event_type\":\n\"click\"}", NULL, 1, 0, NULL, "click"},
    {"[]", NULL, 0, 0, NULL, NULL},
    {"{}", "click", 1, 0, NULL, "click"},
    {"{\"event_type\":\"other\"}", "click", 1, 0, NULL, "click"},
    {"{\"event_type\":\"a\\u002eb\"}", NULL, 1, 0, NULL, "a.b"},
    {"{\"event_type\":\"\\\"\"}", NULL, 1, 0, NULL, "\""},
    {"{\"event_type\":\"a\",\"event_type\":\"b\"}", NULL, 1, 0, NULL, "b"},
    /* A type named by a backslash and a b is none that is named by a backspace. */
    {"{\"event_type\":\"\\\\b\"}", NULL, 1, 0, NULL, "\\b"},
    {"{\"event_type\":\"\\b\"}", NULL, 1, 0, NULL, "\b"},
    {"{\"event_type\":\"\\b\"}\n{\"event_type\":\"\\\\b\"}", NULL, 2, 0, NULL, "\b"},
    {"", NULL, 0, 0, "empty_body", NULL},
    {" \n\r\n", NULL, 0, 0, "empty_body", NULL},
    {"[{\"event_type\":\"a\"},", NULL, 0, 0, "bad_array", NULL},
    {"[1 2]", NULL, 0, 0, "bad_array", NULL},
    {"{\"event_type\":\"click\"}\n{bad}\n", NULL, 1, 1, "bad_json", "click"},
    {"{\"event_type\":\"click\",\"x\":\"\xff\"}", NULL, 0, 1, "bad_utf8", ""},
    {"{}{}", "click", 0, 1, "bad_json", "click"},
    {"[[1],null]", "click", 0, 2, "not_object", "click"},
    {"{\"x\":1}", NULL, 0, 1, "missing_type", ""},
    {"{\"event_type\":7}", NULL, 0, 1, "bad_type", ""},
    {"{\"event_type\":\"\"}", NULL, 0, 1, "bad_type", ""},
    {"{\"event_type\":\"" A200 "\"}", NULL, 0, 1, "bad_type", ""},
    {"{\"event_type\":\"order\"}", NULL, 0, 1, "missing_field", "order"},
    {"{\"event_type\":\"order\",\"order_id\":1}", NULL, 0, 1, "wrong_type", "order"},
    {"{\"event_type\":\"order\",\"order_id\":\"1\",\"items\":[null]}", NULL, 0, 1, "null_element",
     "order"},
    {"{\"event_type\":\"order\",\"order_id\":\"1\",\"order_id\":\"2\"}", NULL, 0, 1,
     "duplicate_key", "order"},
    {"{\"event_type\":\"strict\",\"order_id\":\"1\",\"z\":1}", NULL, 0, 1, "unknown_field",
     "strict"},
    {"{\"event_type\":\"order\",\"order_id\":\"1\",\"z\":1}", NULL, 1, 0, NULL, "order"},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct ingest_result *r = take(table[i].body, table[i].path);
        enum reason reason = r->refused != REASON_NONE ? r->refused
                             : r->n_errors > 0         ? r->error[0].reason
                                                       : REASON_NONE;
        const char *name = reason == REASON_NONE ? NULL : reason_name(reason);

        if (r->accepted != table[i].accepted || r->dead_lettered != table[i].dead ||
            (name == NULL) != (table[i].reason == NULL) ||
            (name != NULL && strcmp(name, table[i].reason) != 0))
            fail_msg("%s: %u accepted, %u dead, %s", table[i].body, r->accepted, r->dead_lettered,
                     name != NULL ? name : "no reason");
        if (table[i].type != NULL)
            assert_string_equal(stored.type[0], table[i].type);
        assert_int_equal(stored.n, table[i].accepted + table[i].dead);
        assert_int_equal(r->last_seq != 0, stored.n > 0);
    }
}

/* ---- single cases ---- */

static void test_line_is_kept(void **state)
{
    (void)state;
    (void)take(" {\"event_type\":\"click\", \"a\" : 1e5}  ", NULL);
    assert_non_null(
        strstr(stored.text[0], "{\"event_type\":\"click\", \"a\" : 1e5,\"event_date\":\""));
    (void)take("{\"event_type\":\"order\",\"order_id\":\"1\",\"z\":[1],\"penstock_id\":5}", NULL);
    assert_non_null(strstr(stored.text[0], "\"penstock_overflow\":{\"z\":[1]}"));
    assert_null(strstr(stored.text[0], "\"penstock_id\":5")); /* not ":5": times have it */
    (void)take("{\"event_type\":\"click\",\"event_date\":5,\"b\":6}",
               NULL); /* no schema: ours replaces theirs */
    assert_non_null(strstr(stored.text[0], "{\"event_type\":\"click\",\"b\":6,\"event_date\":\""));
    assert_int_equal(atomic_load(&t->stats.normalized), 2);
}

/* Sampling leaves good events out, by their bytes alone; dead letters and other types it spares. */
static void test_sampling(void **state)
{
    struct live_type tenth = {.name = span_of("click"), .sampling_ppm = LIVE_SAMPLING_ALL / 10};
    struct live_settings s = {.version = 1, .types_version = 1, .n_types = 1, .type = &tenth};
    char body[64];
    uint32_t kept = 0, again = 0;

    (void)state;
    s.worker.block_bytes = t->block_bytes;
    s.worker.sampling_ppm = LIVE_SAMPLING_ALL;
    ingest_follow(t->ingest, &s);
    for (int i = 0; i < 2000; i++) {
        snprintf(body, sizeof(body), "{\"event_type\":\"click\",\"n\":%d}", i);
        kept += take(body, NULL)->accepted;
        assert_int_equal(t->result.accepted + t->result.sampled_out, 1);
        again += take(body, NULL)->accepted;
    }
    assert_in_range(kept, 140, 260);
    assert_int_equal(again, kept);
    assert_int_equal(atomic_load(&t->stats.sampled_out), 4000 - 2 * kept);
    assert_int_equal(atomic_load(&t->stats.events), 2 * kept);
    for (int i = 0; i < 20; i++) {
        snprintf(body, sizeof(body), "{\"event_type\":\"click\",\"n\":%d", i);
        assert_int_equal(take(body, NULL)->dead_lettered, 1);
        snprintf(body, sizeof(body), "{\"event_type\":\"key\",\"n\":%d}", i);
        assert_int_equal(take(body, NULL)->accepted, 1);
    }
    tenth.sampling_ppm = 0;
    s.types_version++;
    ingest_follow(t->ingest, &s);
    assert_int_equal(take("{\"event_type\":\"click\"}", NULL)->sampled_out, 1);
    assert_int_equal(t->result.last_seq, 0); /* nothing to wait for */
}

static void test_times(void **state)
{
    char body[300];
    int64_t now = clock_wall_us() / 1000000;

    (void)state;
    snprintf(body, sizeof(body), "{\"event_type\":\"a\",\"timestamp\":%lld}", (long long)now - 30);
    (void)take(body, NULL);
    assert_int_equal(stored.flags[0], 0);
    assert_int_equal(stored.minute[0], (now - 30) / 60);
    snprintf(body, sizeof(body), "{\"event_type\":\"a\",\"timestamp\":%lld}", (long long)now - 620);
    (void)take(body, NULL); /* within the lateness of the type's watermark */
    assert_int_equal(stored.flags[0], 0);
    snprintf(body, sizeof(body), "{\"event_type\":\"a\",\"timestamp\":%lld}", (long long)now - 700);
    (void)take(body, NULL);
    assert_int_equal(stored.flags[0], BLOCK_ENTRY_LATE);
    assert_int_equal(stored.minute[0], (now - 700) / 60); /* keeps its own time */
    snprintf(body, sizeof(body), "{\"event_type\":\"b\",\"timestamp\":%lld}", (long long)now - 700);
    (void)take(body, NULL); /* another type has another watermark */
    assert_int_equal(stored.flags[0], 0);
    (void)take("{\"event_type\":\"c\",\"timestamp\":\"2999-01-01T00:00:00Z\"}", NULL);
    (void)take("{\"event_type\":\"c\"}", NULL);
    assert_int_equal(stored.flags[0],
                     BLOCK_ENTRY_BAD_TIME); /* and a future time has not made it late */
    snprintf(body, sizeof(body), "{\"event_type\":\"c\",\"timestamp\":%lld}", (long long)now);
    (void)take(body, NULL);
    assert_int_equal(stored.flags[0], 0);
    (void)take("{\"event_type\":\"timed\",\"at\":{\"when\":\"2026-01-02T03:04:05Z\"}}", NULL);
    assert_int_equal(stored.minute[0], 1767323045 / 60);
    (void)take("{\"event_type\":\"timed\",\"timestamp\":5,\"at\":\"x\"}", NULL);
    assert_int_equal(stored.flags[0], BLOCK_ENTRY_BAD_TIME);
    assert_int_equal(atomic_load(&t->stats.bad_time), 2);
    assert_int_equal(atomic_load(&t->stats.late), 1);
}

static void test_types_end(void **state)
{
    const struct ingest_result *r;
    char body[64];

    (void)state;
    for (int i = 0; i < 8; i++) { /* four are configured */
        snprintf(body, sizeof(body), "{\"event_type\":\"t%d\"}", i);
        assert_int_equal(take(body, NULL)->accepted, 1);
    }
    r = take("{\"event_type\":\"t99\"}", NULL);
    assert_int_equal(r->error[0].reason, REASON_TOO_MANY_TYPES);
    assert_string_equal(stored.type[0], "");
    assert_int_equal(take("{}", "t99")->refused, REASON_TOO_MANY_TYPES);
    assert_int_equal(take("{}", "t3")->accepted, 1);
}

static void test_unlisted(void **state)
{
    const struct ingest_result *r;

    (void)state;
    t->types.unlisted = UNLISTED_DEAD_LETTER;
    r = take("{\"event_type\":\"nobody\"}\n{\"event_type\":\"timed\"}", NULL);
    assert_int_equal(r->accepted, 1);
    assert_int_equal(r->error[0].reason, REASON_UNLISTED_TYPE);
    assert_int_equal(take("{}", "nobody")->refused, REASON_UNLISTED_TYPE);
}

/* Types whose rows are made later: events stay as they came, and say so. */
static void test_rows(void **state)
{
    const struct ingest_result *r;

    (void)state;
    t->types.unlisted = UNLISTED_INFER;
    r = take("{\"event_type\":\"new\",\"x\":1e999,\"event_date\":1}", NULL);
    assert_int_equal(r->accepted, 1);
    assert_int_equal(stored.flags[0], BLOCK_ENTRY_ROWS | BLOCK_ENTRY_BAD_TIME);
    assert_int_equal(
        strncmp(stored.text[0], "{\"event_type\":\"new\",\"x\":1e999,\"event_date\":\"", 44), 0);
    assert_int_equal(take("{\"event_type\":\"timed\"}", NULL)->accepted, 1);
    assert_int_equal(stored.flags[0] & BLOCK_ENTRY_ROWS, 0); /* listed, without a schema */
    assert_int_equal(take("{\"x\":1e999}", "timed")->dead_lettered, 1);
    r = take("{\"order_id\":\"a\",\"y\":1}\n{\"order_id\":1,\"y\":1}", "adding");
    assert_int_equal(r->accepted, 1);
    assert_int_equal(r->error[0].reason, REASON_WRONG_TYPE);
    assert_int_equal(stored.flags[0] & BLOCK_ENTRY_ROWS, BLOCK_ENTRY_ROWS);
    assert_ptr_equal(strstr(stored.text[0], "{\"order_id\":\"a\",\"y\":1,\"event_date\""),
                     stored.text[0]);
    assert_int_equal(take("{\"order_id\":\"a\",\"y\":1}", "order")->accepted, 1);
    assert_non_null(strstr(stored.text[0], "\"penstock_overflow\":{\"y\":1}"));
    assert_int_equal(stored.flags[0] & BLOCK_ENTRY_ROWS, 0);
}

/* Larger than the largest event: parts that count once. */
static void test_oversize(void **state)
{
    const struct ingest_result *r;
    char *body = malloc(40001);

    (void)state;
    memset(body, '"', 40000);
    body[40000] = 0;
    r = take(body, NULL);
    assert_int_equal(r->refused, REASON_NONE);
    assert_int_equal(r->dead_lettered, 1);
    assert_int_equal(r->error[0].reason, REASON_OVERSIZE);
    assert_true(stored.all > 4 && stored.parts == stored.all - 1);
    assert_int_equal(atomic_load(&t->stats.dead_letters), 1);
    free(body);
}

static void test_error_list(void **state)
{
    const struct ingest_result *r;
    char body[2000] = "";

    (void)state;
    for (size_t i = 0; i < 150; i++)
        memcpy(body + 2 * i, i == 3 ? " \n" : "1\n", 3);
    r = take(body, "click");
    assert_int_equal(r->dead_lettered, 149);
    assert_int_equal(r->n_errors, INGEST_ERRORS_MAX);
    assert_int_equal(r->error[99].index, 99);
}

/* ---- admission ---- */

static void test_refused_whole(void **state)
{
    static const char body[] = "{\"event_type\":\"click\"}\n{\"event_type\":\"click\"}";

    (void)state;
    t->failed = true;
    assert_int_equal(take(body, NULL)->refused, REASON_DISK_ERROR);
    t->failed = false;
    t->room = 100;
    assert_int_equal(take(body, NULL)->refused, REASON_BLOCKS_BUSY);
    t->full = true;
    assert_int_equal(take(body, NULL)->refused, REASON_JOURNAL_FULL);
    t->full = false;
    t->disk_error = true;
    assert_int_equal(take(body, NULL)->refused, REASON_DISK_ERROR);
    t->room = UINT64_MAX / 2;
    t->n_free = 1;
    assert_int_equal(take(body, NULL)->refused, REASON_BLOCKS_BUSY);
    assert_int_equal(stored.all, 0);
    t->n_free = 8;
    assert_int_equal(take(body, NULL)->refused, REASON_NONE);
}

/* The hardest documents of each kind; "@" stands for many pairs of \", "$" for thousands, and "#" for as many
 * unknown members as one event may move aside, below a RECORD, with a name that the path makes twice as
 * long. */
static const char *const hard[] = {
    "{}\n",
    "\"\n",
    "{\"a\":1}\n",
    "\x01\x01\n",
    "{\"order_id\":\"\\u0000\"}\n",
    "{\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\":1,\"order_id\":\"\"}\n",
    "{\"order_id\":\"\",\"@\":1}\n",
    "{\"event_type\":\"strict\",\"order_id\":\"\",\"@\":1}\n",
    "{\"event_type\":\"@\"}\n{\n",
    "{\"event_type\":\"@\",\"timestamp\":\"@\"}\n\"@\"\n",
    "\"$\"\n",
    "{\"order_id\":\"\",\"address_that_the_customer_wants_it_at\":{#}}\n",
    "{\"event_type\":\"order\",\"order_id\":\"\",\"address_that_the_customer_wants_it_at\":{#}}\n",
};

/* Members with names that no schema has, as many as one event may move aside. */
static size_t members_write(char *out)
{
    size_t len = 0;

    for (unsigned i = 0; i < CHECK_CUTS_MAX; i++) {
        const char member[] = {'"', (char)('a' + i % 26), (char)('a' + i / 26), '"', ':', '1', ','};

        memcpy(out + len, member, sizeof(member));
        len += sizeof(member);
    }
    return len - 1; /* without the last comma */
}

/* Writes it with its marks replaced. @return its length. */
static size_t hard_write(const char *text, unsigned pairs, char *out)
{
    size_t len = 0;

    for (; *text != 0; text++) {
        unsigned n = *text == '@' ? pairs : *text == '$' ? 4500 : 0;

        for (unsigned i = 0; i < n; i++, len += 2)
            memcpy(out + len, "\\\"", 2);
        if (*text == '#')
            len += members_write(out + len);
        else if (n == 0)
            out[len++] = *text;
    }
    return len;
}

/* Takes n of the documents in: all of them, or nothing. */
static bool admits(const char *body, size_t one, uint32_t n, const char *path)
{
    const struct ingest_result *r = tcore_ingest_body(t, body, n * one, path);
    uint64_t lines = r->accepted + r->dead_lettered;

    memset(&stored, 0, sizeof(stored));
    tcore_ingest_lines(t, store, NULL);
    if (r->refused != REASON_NONE)
        assert_true(r->refused == REASON_TOO_MANY_EVENTS || r->refused == REASON_BLOCKS_BUSY);
    assert_int_equal(stored.all - stored.parts, r->refused == REASON_NONE ? lines : 0);
    return r->refused == REASON_NONE;
}

/* As many of a hard document as are admitted: that is where blocks are short. */
static void admission_holds(const char *document, unsigned pairs, const char *path)
{
    static char body[4 << 20];
    size_t one = hard_write(document, pairs, body), len = one;
    uint32_t low = 1, high = (uint32_t)(sizeof(body) / one);

    while (len + one <= sizeof(body)) {
        memcpy(body + len, body, one);
        len += one;
    }
    assert_true(admits(body, one, low, path));
    assert_false(admits(body, one, high, path));
    while (high - low > 1) {
        uint32_t n = low + (high - low) / 2;

        if (admits(body, one, n, path))
            low = n;
        else
            high = n;
    }
}

static void test_admission_holds(void **state)
{
    static const struct {
        uint32_t blocks, block_bytes, event_bytes_max;
    } sizes[] = {{8, 32768, 16384}, {64, 65536, 4096}};
    char quotes[TYPE_NAME_BYTES_MAX + 1];

    (void)state;
    memset(quotes, '"', TYPE_NAME_BYTES_MAX);
    quotes[TYPE_NAME_BYTES_MAX] = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        const char *paths[] = {"order", "strict", quotes, NULL};

        down(state);
        t = calloc(1, sizeof(*t));
        t->blocks = sizes[i].blocks;
        t->block_bytes = sizes[i].block_bytes;
        t->event_bytes_max = sizes[i].event_bytes_max;
        t->types_max = 12;
        t->source = "http [2001:db8:1111:2222:3333:4444:5555:6666]:65535";
        tcore_ingest_up(t);
        for (size_t k = 0; k < ARRAY_LEN(paths) * ARRAY_LEN(hard); k++) {
            const char *document = hard[k / ARRAY_LEN(paths)];

            admission_holds(document, 60, paths[k % ARRAY_LEN(paths)]);
            if (strchr(document, '@') != NULL)
                admission_holds(document, 98, paths[k % ARRAY_LEN(paths)]);
        }
    }
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, up, down)

/* Types of which nothing is taken now: whatever would be stored of them refuses the whole body, however
 * it is named; what only mentions a name does not. */
static void test_refused_types(void **state)
{
    struct live_type type[] = {{.name = {"", 0}, .sampling_ppm = LIVE_SAMPLING_ALL},
                               {.name = span_of("a/b"), .sampling_ppm = LIVE_SAMPLING_ALL},
                               {.name = span_of("click"), .sampling_ppm = LIVE_SAMPLING_ALL},
                               {.name = span_of("say \"hi\""), .sampling_ppm = LIVE_SAMPLING_ALL}};
    struct live_settings s = {.version = 1, .types_version = 1, .n_types = 4, .type = type};
    static const struct {
        const char *body, *path;
        int refused; /* which type; -1: none */
    } cases[] = {
        {"{\"event_type\":\"click\",\"a\":1}", NULL, 2},
        {"{\"event_type\":\"other\"}\n{\"event_type\":\"click\"}\n", NULL, 2},
        {"[{\"event_type\":\"other\"},{\"event_type\":\"cl\\u0069ck\"}]", NULL, 2},
        {"{\"event_type\":\"a\\/b\"}", NULL, 1},
        {"{\"event_type\":\"a/b\"}", NULL, 1},
        {"{\"event_type\":\"say \\\"hi\\\"\"}", NULL, 3},
        {"{\"event_type\":\"click\"", NULL, 0}, /* no JSON: of no known type */
        {"{\"x\":1}", NULL, 0},
        {"5", NULL, 0},
        {"{\"event_type\":\"other\",\"text\":\"click\"}", NULL, -1},
        {"{\"event_type\":\"clicks\"}", NULL, -1},
        {"{\"event_type\":\"other\"}", "click", 2},
        {"{\"event_type\":\"click\"}", "other", -1},
    };

    (void)state;
    s.worker.sampling_ppm = LIVE_SAMPLING_ALL;
    s.worker.block_bytes = t->block_bytes;
    for (unsigned only = 0; only < 4; only++) {
        for (unsigned i = 0; i < 4; i++)
            type[i].refused = i == only;
        s.n_refused = 1;
        s.types_version++;
        ingest_follow(t->ingest, &s);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            const struct ingest_result *r = take(cases[i].body, cases[i].path);
            bool refused = cases[i].refused == (int)only;

            assert_int_equal(r->refused, refused ? REASON_TYPE_PARKED : REASON_NONE);
            assert_int_equal(r->accepted + r->dead_lettered > 0, !refused);
            if (refused)
                assert_true(span_equal(r->refused_type, type[only].name));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(test_table),           FRESH(test_line_is_kept), FRESH(test_times),
        FRESH(test_types_end),       FRESH(test_unlisted),     FRESH(test_rows),
        FRESH(test_oversize),        FRESH(test_error_list),   FRESH(test_refused_whole),
        FRESH(test_admission_holds), FRESH(test_sampling),     FRESH(test_refused_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
