/*
 * Goal: a group gives back the lines that went in, journal by journal and in order, and all memory
 * returns to the pool. Method: lines of every awkward length against a copy; keys that differ in
 * one part; random use. The seed is printed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "sinks/group.h"
#include "tests/unit/tcore_storage.h"

#define POOL_BYTES (4u << 20)
#define JOURNALS   3
#define COPY_BYTES (2u << 20)

static struct chunk_pool pool;
static struct group_table table;

static int up(void **state)
{
    (void)state;
    return chunk_pool_create(&pool, POOL_BYTES) != 0 ||
           group_table_create(&table, &pool, JOURNALS) != 0;
}

static int down(void **state)
{
    (void)state;
    group_table_destroy(&table);
    if (pool.n_free != pool.n_total)
        return -1;
    chunk_pool_destroy(&pool);
    return 0;
}

/* What is left out is read back line by line, whatever the runs; nothing that a group does not account
 * for lies in front of its range. */
static void test_skips(void **state)
{
    struct plan_key key;
    uint64_t seed = tcore_seed("skips", 11);

    (void)state;
    for (int round = 0; round < 50; round++) {
        bool counts = round % 2 == 0, skip[3000];
        struct group *g;
        struct skip_reader r;
        uint32_t n = 0, kept = 0, from = UINT32_MAX, last = 0;

        plan_key_init(&key, span_of("skips"), PLAN_EVENTS);
        g = group_get(&table, &key, 1);
        while (n < 3000) {
            uint64_t run = tcore_random(&seed) % (round % 5 == 0 ? 400 : 3) + 1;
            bool out = tcore_random(&seed) % 2 == 0;

            for (; run > 0 && n < 3000; run--, n++) {
                struct line_place place = {
                    .journal = 1, .block = 4096, .offset = n + 128, .len = 1, .counts = true};

                skip[n] = out;
                if (!out) {
                    group_append(&pool, g, &place, span_of("\n"));
                    kept++;
                } else {
                    assert_true(group_skip_room(g, 1));
                    group_skip(g, &place, counts);
                }
                if ((!out || counts) && from == UINT32_MAX)
                    from = n;
                last = !out || counts ? n : last;
            }
        }
        group_skips_end(g);
        assert_int_equal(g->lines, kept);
        assert_int_equal(g->removed, counts ? 3000 - kept : 0);
        assert_int_equal(g->chain[1].from, 4096 + 128 + from);
        assert_int_equal(g->chain[1].to, 4096 + 128 + last + 1);
        assert_int_equal(g->skip_bytes, g->chain[1].skips.len);
        r = (struct skip_reader){.pairs = g->chain[1].skips.pairs,
                                 .end = g->chain[1].skips.pairs + g->chain[1].skips.len};
        for (uint32_t i = from; i <= last; i++)
            assert_int_equal(skip_next(&r), skip[i]);
        group_take(&table, g);
        group_free(&pool, g);
    }
}

static struct plan_key key_of(const char *type)
{
    struct plan_key key;

    plan_key_init(&key, span_of(type), PLAN_EVENTS);
    return key;
}

static void test_content(void **state)
{
    struct plan_key key = key_of("order");
    struct group *g = group_get(&table, &key, 1);
    char *copy[JOURNALS], *line = malloc(3 * CHUNK_BYTES);
    size_t len[JOURNALS] = {0}, at = 0;
    uint64_t seed = tcore_seed("group", 9), lines = 0;
    struct iovec *iov;
    uint32_t n, crc = 0;

    (void)state;
    for (int j = 0; j < JOURNALS; j++)
        copy[j] = malloc(COPY_BYTES);
    for (int i = 0; i < 120; i++) {
        uint32_t j = (uint32_t)(tcore_random(&seed) % JOURNALS);
        uint32_t size =
            i < 20 ? CHUNK_BYTES - 26 + (uint32_t)i : (uint32_t)(tcore_random(&seed) % 9000) + 1;
        struct line_place place = {.journal = j,
                                   .block = lsn_make(1, 4096),
                                   .offset = (uint32_t)(len[j] + 128),
                                   .len = size,
                                   .counts = i % 2};

        memset(line, 'a' + i % 26, size);
        assert_true(pool.n_free >= chunks_for(size));
        n = pool.n_free;
        group_append(&pool, g, &place, (struct span){line, size});
        assert_true(n - pool.n_free <= chunks_for(size));
        memcpy(copy[j] + len[j], line, size);
        len[j] += size;
        lines++;
        assert_true(g->chain[j].to == place.block + place.offset + size);
    }
    assert_int_equal(g->lines, lines);
    assert_int_equal(g->events, 60);
    assert_int_equal(g->bytes, len[0] + len[1] + len[2]);
    iov = calloc(g->n_chunks, sizeof(*iov));
    n = group_iovec(g, iov);
    assert_int_equal(n, g->n_chunks);
    for (uint32_t i = 0, j = 0; i < n; i++) {
        while (at == len[j]) {
            j++;
            at = 0;
        }
        assert_memory_equal(iov[i].iov_base, copy[j] + at, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    for (int j = 0; j < JOURNALS; j++) {
        assert_true(g->chain[j].from == lsn_make(1, 4096) + 128 &&
                    g->chain[j].from_block == lsn_make(1, 4096));
        crc = crc32c(crc, copy[j], len[j]);
        free(copy[j]);
    }
    assert_int_equal(group_crc32c(g), crc);
    free(iov);
    free(line);
}

/* Every chunk of the pool is handed out once before any is again, and none when all are out. */
static void test_all_chunks(void **state)
{
    uint32_t n = pool.n_total;
    struct chunk **taken = calloc(n, sizeof(struct chunk *)), *again;

    (void)state;
    for (uint32_t i = 0; i < n; i++) {
        taken[i] = chunk_take(&pool);
        assert_non_null(taken[i]);
        memset(taken[i], (int)(i % 251), sizeof(struct chunk));
        if (i == n / 2) { /* one that comes back is the next one */
            chunk_give(&pool, taken[i]);
            again = chunk_take(&pool);
            assert_ptr_equal(again, taken[i]);
            memset(again, (int)(i % 251), sizeof(*again));
        }
    }
    assert_int_equal(pool.n_free, 0);
    assert_null(chunk_take(&pool));
    for (uint32_t i = 0; i < n; i++) {
        for (size_t at = 0; at < sizeof(struct chunk); at += 1024)
            assert_int_equal(((uint8_t *)taken[i])[at], i % 251);
    }
    for (uint32_t i = 0; i < n; i++)
        chunk_give(&pool, taken[i]);
    for (uint32_t i = 0; i < n; i++)
        assert_non_null(chunk_take(&pool));
    assert_null(chunk_take(&pool));
    for (uint32_t i = 0; i < n; i++)
        chunk_give(&pool, taken[i]);
    free(taken);
}

/* Lines come back one by one, wherever chunks break them. */
static void test_lines(void **state)
{
    struct plan_key key = key_of("lines");
    struct group *g = group_new(&key, JOURNALS);
    uint64_t seed = tcore_seed("lines", 4);
    char *line = malloc(3 * CHUNK_BYTES), *back = malloc(3 * CHUNK_BYTES);
    uint32_t size[200], place_of[200], n = 0;
    size_t offset[JOURNALS] = {0};
    struct group_cursor c = {0};

    (void)state;
    assert_true(g != NULL && line != NULL && back != NULL);
    assert_int_equal(group_line_len(g, &c), 0);
    c = (struct group_cursor){0};
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t j = i % 2 == 0 ? 0 : 2; /* the journal between has none */
        struct line_place place = {.journal = j, .block = lsn_make(1, 4096)};

        size[i] = i < 20 ? CHUNK_BYTES - 26 + i : (uint32_t)(tcore_random(&seed) % 3000) + 1;
        place.offset = (uint32_t)(offset[j] + 128);
        place.len = size[i];
        memset(line, 'a' + (int)(i % 26), size[i] - 1);
        line[size[i] - 1] = '\n';
        group_append(&pool, g, &place, (struct span){line, size[i]});
        offset[j] += size[i];
    }
    for (uint32_t i = 0; i < 200; i += 2)
        place_of[n++] = i;
    for (uint32_t i = 1; i < 200; i += 2)
        place_of[n++] = i;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = place_of[i];

        assert_int_equal(group_line_len(g, &c), size[k]);
        group_line_take(g, &c, size[k], i % 3 == 0 ? NULL : back);
        if (i % 3 != 0)
            assert_true(back[0] == (size[k] == 1 ? '\n' : 'a' + (int)(k % 26)) &&
                        back[size[k] - 1] == '\n');
    }
    assert_int_equal(group_line_len(g, &c), 0);
    group_free(&pool, g);
    free(line);
    free(back);
}

static void test_keys(void **state)
{
    struct plan_key key = key_of("order"), other;
    struct group *g = group_get(&table, &key, 1);

    (void)state;
    assert_ptr_equal(group_get(&table, &key, 2), g);
    assert_int_equal(g->opened_us, 1);
#define DIFFERS(change) \
    other = key;        \
    change;             \
    assert_ptr_not_equal(group_get(&table, &other, 1), g)
    DIFFERS(other.minute = 1);
    DIFFERS(other.schema_hash = 1);
    DIFFERS(other.kind = PLAN_DEAD);
    DIFFERS(other.encoding = ENCODING_WRAPPED);
    DIFFERS(other.flags = PLAN_LATE);
    other = key_of("orders");
    assert_ptr_not_equal(group_get(&table, &other, 1), g);
    other = key_of("");
    assert_ptr_not_equal(group_get(&table, &other, 1), g);
    assert_int_equal(table.n, 8);
}

/* Age order is the order of opening, whatever is taken out in between. */
static void test_age_and_random_use(void **state)
{
    uint64_t seed = tcore_seed("group table", 10);

    (void)state;
    for (int i = 0; i < 50000; i++) {
        struct plan_key key = key_of("t");
        struct group *g;
        struct line_place place = {.len = 1};

        key.minute = (int32_t)(tcore_random(&seed) % 300);
        g = group_get(&table, &key, i);
        assert_int_equal(g->key.minute, key.minute);
        if (pool.n_free >= chunks_for(1) && g->lines == 0)
            group_append(&pool, g, &place, (struct span){"x", 1});
        if (tcore_random(&seed) % 3 == 0) {
            group_take(&table, g);
            group_free(&pool, g);
        }
        g = table.oldest;
        if (g != NULL && g->next != NULL)
            assert_true(g->opened_us <= g->next->opened_us);
    }
    group_free(&pool, NULL);
}

/* Lines of a full pool become longer ones: in order, in their places, and all memory comes back. */
static void test_rewrite(void **state)
{
    struct plan_key key = key_of("order");
    struct group *g = group_get(&table, &key, 1);
    static char in[1000], out[1500], *copy;
    struct iovec *iov;
    struct chain whole;
    uint64_t lines = 0;
    size_t at = 0;

    (void)state;
    while (pool.n_free >= chunks_for(sizeof(in))) {
        struct line_place place = {
            .journal = 1, .block = lines * sizeof(in), .len = sizeof(in), .counts = true};

        memset(in, (int)('a' + lines++ % 26), sizeof(in));
        group_append(&pool, g, &place, (struct span){in, sizeof(in)});
    }
    whole = g->chain[1];
    g->chain[1].first = g->chain[1].last = NULL;
    g->chain[1].bytes = 0;
    for (struct chain from = whole; from.bytes > 0;) {
        group_read(&pool, g, &from, in, sizeof(in));
        memset(out, in[sizeof(in) - 1], sizeof(out));
        group_write(&pool, g, &g->chain[1], (struct span){out, sizeof(out)});
    }
    assert_true(g->n_chunks > pool.n_total); /* more was taken from the heap */
    assert_int_equal(g->bytes, lines * sizeof(out));
    assert_int_equal(g->lines, lines);
    assert_int_equal(g->chain[1].from, whole.from);
    assert_int_equal(g->chain[1].to, whole.to);
    copy = malloc(g->bytes);
    for (uint64_t i = 0; i < lines; i++)
        memset(copy + i * sizeof(out), (int)('a' + i % 26), sizeof(out));
    iov = calloc(g->n_chunks, sizeof(*iov));
    for (uint32_t i = 0, n = group_iovec(g, iov); i < n; at += iov[i++].iov_len)
        assert_memory_equal(iov[i].iov_base, copy + at, iov[i].iov_len);
    assert_int_equal(at, g->bytes);
    group_rename(&table, g, 5);
    key.schema_hash = 5;
    assert_ptr_equal(group_get(&table, &key, 2), g);
    key.schema_hash = 0;
    assert_ptr_not_equal(group_get(&table, &key, 2), g);
    free(copy);
    free(iov);
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(test_content), FRESH(test_all_chunks),         FRESH(test_skips),  FRESH(test_lines),
        FRESH(test_keys),    FRESH(test_age_and_random_use), FRESH(test_rewrite)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
