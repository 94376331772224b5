/*
 * Goal: what zlib and libzstd compress comes back whole whatever the sizes of steps; what is cut,
 * changed or followed by something else is told from it; no memory is taken after creation.
 *
 * Method: bodies compressed here, whole and as several members or frames, expanded with outputs of
 * every size; every proper prefix is refused; random byte changes never give the original with
 * something wrong in it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "dataplane/input/expand.h"
#include "tests/unit/tcore_storage.h"

#define PLAIN_BYTES 300000

struct bytes {
    char *p;
    size_t n;
};

static struct bytes gzip(const char *in, size_t n)
{
    struct bytes b = {.p = malloc(n + 1000)};
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)b.p;
    z.avail_out = (uInt)(n + 1000);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    b.n = n + 1000 - z.avail_out;
    deflateEnd(&z);
    return b;
}

static struct bytes zstd(const char *in, size_t n)
{
    struct bytes b = {.p = malloc(ZSTD_compressBound(n))};

    b.n = ZSTD_compress(b.p, ZSTD_compressBound(n), in, n, 3);
    assert_false(ZSTD_isError(b.n));
    return b;
}

static struct bytes pack(enum http_coding coding, const char *in, size_t n)
{
    return coding == HTTP_CODING_GZIP ? gzip(in, n) : zstd(in, n);
}

static struct bytes join(struct bytes a, struct bytes b)
{
    struct bytes c = {.p = malloc(a.n + b.n), .n = a.n + b.n};

    memcpy(c.p, a.p, a.n);
    memcpy(c.p + a.n, b.p, b.n);
    free(a.p);
    free(b.p);
    return c;
}

/* Lines that compress as events do, and stretches that do not. */
static char *plain_make(void)
{
    char *p = malloc(PLAIN_BYTES + 100);
    uint64_t random = 7;

    for (size_t at = 0; at < PLAIN_BYTES;) {
        uint64_t x = tcore_random(&random);

        if (x % 50 == 0)
            for (int i = 0; i < 400 && at < PLAIN_BYTES; i++)
                p[at++] = (char)tcore_random(&random);
        else
            at += (size_t)snprintf(p + at, 100, "{\"event_type\":\"click\",\"n\":%u}\n",
                                   (unsigned)(x % 1000));
    }
    return p;
}

/* Expands in steps of room bytes. @return whether it came to its end. */
static bool expand(struct expander *e, enum http_coding coding, struct bytes b, size_t room,
                   struct bytes *out)
{
    enum expand_result rc;

    out->p = malloc(PLAIN_BYTES * 3 + room);
    out->n = 0;
    expand_start(e, coding, b.p, b.n);
    do {
        size_t n = 0;

        rc = expand_step(e, out->p + out->n, room, &n);
        assert_true(n <= room);
        out->n += n;
        assert_true(out->n <= PLAIN_BYTES * 3);
    } while (rc == EXPAND_MORE);
    assert_true(rc == EXPAND_DONE || expand_error(e)[0] != 0);
    return rc == EXPAND_DONE;
}

static void check_equal(struct expander *e, enum http_coding coding, struct bytes b, size_t room,
                        const char *plain, size_t n)
{
    struct bytes out;

    assert_true(expand(e, coding, b, room, &out));
    assert_int_equal(out.n, n);
    assert_memory_equal(out.p, plain, n);
    free(out.p);
}

static void check_bad(struct expander *e, enum http_coding coding, struct bytes b)
{
    struct bytes out;

    assert_false(expand(e, coding, b, 4096, &out));
    free(out.p);
}

static const enum http_coding codings[] = {HTTP_CODING_GZIP, HTTP_CODING_ZSTD};

static void test_whole(void **state)
{
    static const size_t rooms[] = {1, 7, 4096, 65536, PLAIN_BYTES, 2 * PLAIN_BYTES};
    char *plain = plain_make();

    for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
        struct bytes b = pack(codings[i], plain, PLAIN_BYTES);

        for (size_t k = 0; k < ARRAY_LEN(rooms); k++)
            check_equal(*state, codings[i], b, rooms[k], plain, PLAIN_BYTES);
        free(b.p);
    }
    free(plain);
}

static void test_several(void **state)
{
    char *plain = plain_make();

    for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
        struct bytes b = pack(codings[i], plain, 1000);

        b = join(b, pack(codings[i], plain, 0));
        b = join(b, pack(codings[i], plain + 1000, PLAIN_BYTES - 1000));
        check_equal(*state, codings[i], b, 10000, plain, PLAIN_BYTES);
        check_equal(*state, codings[i], b, 1, plain, PLAIN_BYTES);
        free(b.p);
    }
    free(plain);
}

static void test_cut_and_followed(void **state)
{
    char *plain = plain_make();

    for (size_t i = 0; i < ARRAY_LEN(codings); i++) {
        struct bytes b = pack(codings[i], plain, 5000);
        static const char *const tails[] = {"x", "\x1f", "\x28\xb5", "{}\n{}\n{}\n{}\n",
                                            "\0\0\0\0"};

        for (size_t n = 0; n < b.n; n++) {
            struct bytes cut = {.p = malloc(n), .n = n}; /* of this size: reading past it is seen */

            memcpy(cut.p, b.p, n);
            check_bad(*state, codings[i], cut);
            free(cut.p);
        }
        for (size_t k = 0; k < ARRAY_LEN(tails); k++) {
            struct bytes tail = {.n = k == 4 ? 4 : strlen(tails[k])};
            struct bytes copy = {.p = malloc(b.n), .n = b.n};

            tail.p = malloc(tail.n);
            memcpy(tail.p, tails[k], tail.n);
            memcpy(copy.p, b.p, b.n);
            copy = join(copy, tail);
            check_bad(*state, codings[i], copy);
            free(copy.p);
        }
        free(b.p);
    }
    free(plain);
}

static void test_changed(void **state)
{
    uint64_t random = tcore_seed("changed", 20261121), bad = 0;
    char *plain = plain_make();

    for (int round = 0; round < 4000; round++) {
        enum http_coding coding = codings[round % 2];
        struct bytes b = pack(coding, plain, 2000), out;

        b.p[tcore_random(&random) % b.n] ^= (char)(1 << (tcore_random(&random) % 8));
        if (!expand(*state, coding, b, 1 + (size_t)(tcore_random(&random) % 5000), &out))
            bad++;
        free(out.p);
        free(b.p);
    }
    assert_true(bad > 2000); /* zstd without a checksum cannot see all */
    free(plain);
}

static void test_window(void **state)
{
    struct bytes b = {.p = malloc(1000)};
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_outBuffer out = {.dst = b.p, .size = 1000};
    ZSTD_inBuffer in = {.src = "abc", .size = 3};

    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 24)));
    assert_int_equal(ZSTD_compressStream2(c, &out, &in, ZSTD_e_flush), 0);
    assert_int_equal(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
    b.n = out.pos;
    check_bad(*state, HTTP_CODING_ZSTD, b);
    assert_non_null(strstr(expand_error(*state), "8 MiB"));
    ZSTD_freeCCtx(c);
    free(b.p);
}

/* A frame that announces 11,942 bytes and ends, by an empty last block, before the first. */
static void test_less_than_announced(void **state)
{
    static char frame[] = "\x28\xb5\x2f\xfd\x40\x3a\xa6\x2d\x01\x00\x00";
    const struct bytes b = {.p = frame, .n = sizeof(frame) - 1};
    static const size_t rooms[] = {1, 100, 11942, 65536};

    for (int i = 0; i < 4; i++) {
        struct bytes out;

        assert_false(expand(*state, HTTP_CODING_ZSTD, b, rooms[i], &out));
        free(out.p);
    }
}

static int up(void **state)
{
    struct expander *e;
    int rc = expander_create(&e);

    *state = e;
    return rc;
}

static int down(void **state)
{
    expander_destroy(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),   cmocka_unit_test(test_several),
        cmocka_unit_test(test_changed), cmocka_unit_test(test_cut_and_followed),
        cmocka_unit_test(test_window),  cmocka_unit_test(test_less_than_announced),
    };

    return cmocka_run_group_tests(tests, up, down);
}
