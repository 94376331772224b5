/*
 * Goal: a packed group is one gzip file of exactly its lines, made in slices and in the group's own
 * memory. Method: groups of several journals, sizes around chunk bounds, text that compresses well
 * and badly, against zlib's inflate; the pool is full but for PACK_CHUNKS. The seed is printed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "dataplane/base/crc32c.h"
#include "sinks/pack.h"
#include "tests/unit/tcore_storage.h"

#define JOURNALS 3
#define CHUNKS   200

static struct chunk_pool pool;
static uint64_t seed;

static int up(void **state)
{
    (void)state;
    seed = tcore_seed("pack", 11);
    return chunk_pool_create(&pool, (uint64_t)CHUNKS * CHUNK_BYTES);
}

static int down(void **state)
{
    (void)state;
    if (pool.n_free != pool.n_total)
        return -1;
    chunk_pool_destroy(&pool);
    return 0;
}

/* Lines until the group has so many bytes or the pool only PACK_CHUNKS left. journals: bit set. */
static struct group *make(uint64_t bytes, uint32_t journals, bool dull)
{
    struct plan_key key;
    struct group *g;
    char line[700];

    plan_key_init(&key, span_of("t"), PLAN_EVENTS);
    g = group_new(&key, JOURNALS);
    assert_non_null(g);
    while (g->bytes < bytes && pool.n_free > PACK_CHUNKS + 2) {
        uint32_t len = 1 + (uint32_t)(tcore_random(&seed) % sizeof(line)), j;
        struct line_place place;

        do {
            j = (uint32_t)(tcore_random(&seed) % JOURNALS);
        } while ((journals & 1u << j) == 0);
        len = bytes - g->bytes < len ? (uint32_t)(bytes - g->bytes) : len;
        for (uint32_t i = 0; i < len; i++)
            line[i] = dull ? 'x' : (char)(' ' + tcore_random(&seed) % 95);
        place = (struct line_place){.journal = j,
                                    .block = 4096,
                                    .offset = (uint32_t)g->chain[j].bytes,
                                    .len = len,
                                    .counts = true};
        group_append(&pool, g, &place, (struct span){line, len});
    }
    return g;
}

/* All of the group as one piece. */
static char *flat(const struct group *g, size_t *len)
{
    struct iovec *iov = calloc(g->n_chunks, sizeof(*iov));
    uint32_t n = group_iovec(g, iov);
    char *out = malloc((size_t)n * CHUNK_BYTES);

    *len = 0;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(out + *len, iov[i].iov_base, iov[i].iov_len);
        *len += iov[i].iov_len;
    }
    free(iov);
    return out;
}

static void inflate_compare(const char *packed, size_t len, const char *plain, size_t plain_len)
{
    char *out = malloc(plain_len + 1);
    z_stream z = {.next_in = (Bytef *)(uintptr_t)packed,
                  .avail_in = (uInt)len,
                  .next_out = (Bytef *)out,
                  .avail_out = (uInt)plain_len + 1};

    assert_int_equal(inflateInit2(&z, 16 + 15), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.avail_in, 0); /* one member, nothing behind it */
    assert_int_equal(z.total_out, plain_len);
    assert_memory_equal(out, plain, plain_len);
    inflateEnd(&z);
    free(out);
}

static int pack(struct packer *p, struct group *g, int level, struct pack_summary *sum)
{
    enum pack_result result;
    int steps = 0;

    assert_int_equal(packer_begin(p, g, level), 0);
    do {
        assert_true(packer_busy(p));
        result = packer_step(p, sum);
        assert_int_not_equal(result, PACK_WAIT);
        assert_true(++steps < 1000);
    } while (result != PACK_DONE);
    assert_false(packer_busy(p));
    return steps;
}

static void check(struct packer *p, uint64_t bytes, uint32_t journals, bool dull, int level)
{
    struct group *g = make(bytes, journals, dull);
    struct pack_summary sum;
    size_t plain_len, len;
    char *plain = flat(g, &plain_len), *packed;
    uint32_t crc = group_crc32c(g), before = g->n_chunks;
    int steps = pack(p, g, level, &sum);

    packed = flat(g, &len);
    assert_true(steps > (int)(plain_len / (PACK_STEP_BYTES + CHUNK_BYTES)));
    assert_int_equal(sum.plain_bytes, plain_len);
    assert_int_equal(sum.plain_crc32c, crc);
    assert_int_equal(sum.bytes, len);
    assert_int_equal(sum.crc32c, crc32c(0, packed, len));
    assert_true(g->n_chunks <= before + 1);
    assert_int_equal(g->n_chunks + pool.n_free, pool.n_total);
    inflate_compare(packed, len, plain, plain_len);
    free(plain);
    free(packed);
    group_free(&pool, g);
    assert_int_equal(pool.n_free, pool.n_total);
}

static void test_content(void **state)
{
    static const uint64_t sizes[] = {1,     700,    16367,  16368,     16369,
                                     32736, 131072, 131073, UINT64_MAX};
    struct packer *p;

    (void)state;
    assert_int_equal(packer_create(&pool, &p), 0);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        check(p, sizes[i], 7, false, 6);
        check(p, sizes[i], 2, false, 1);
        check(p, sizes[i], 5, true, 9);
    }
    packer_destroy(p);
}

/* Nothing is lost when the pool is empty for a while, or the packer goes away in the middle. */
static void test_short_and_gone(void **state)
{
    struct pack_summary sum;
    struct packer *p;
    struct group *g = make(600000, 7, false);
    size_t plain_len, len;
    char *plain = flat(g, &plain_len), *packed;
    uint32_t n = pool.n_free;
    enum pack_result result;

    (void)state;
    assert_int_equal(packer_create(&pool, &p), 0);
    assert_int_equal(packer_begin(p, g, 6), 0);
    pool.n_free = 0;
    assert_int_equal(packer_step(p, &sum), PACK_WAIT);
    assert_int_equal(packer_step(p, &sum), PACK_WAIT);
    pool.n_free = n;
    while ((result = packer_step(p, &sum)) != PACK_DONE)
        assert_int_equal(result, PACK_MORE);
    packed = flat(g, &len);
    inflate_compare(packed, len, plain, plain_len);
    free(plain);
    free(packed);
    group_free(&pool, g);
    g = make(600000, 7, false);
    assert_int_equal(packer_begin(p, g, 6), 0);
    assert_int_equal(packer_step(p, &sum), PACK_MORE);
    packer_destroy(p);
    group_free(&pool, g);
    packer_destroy(NULL);
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {FRESH(test_content), FRESH(test_short_and_gone)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
