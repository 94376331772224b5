/*
 * Goal: every variant of the JSON parser gives the verdict, the offset, the reason and the members that the
 * scalar one gives, and jansson gives the same verdict and members, above all where a variant has learned
 * what events look like and the next one is nearly the same; nothing is read outside the stated padding;
 * what is hostile neither grows nor breaks anything.
 *
 * Method: the parsers live through a whole test, so that what they learn from one event meets the next
 * one. Every prefix and every change of one byte of a set of events follows the event itself; documents
 * slide over every boundary of the scanning; random events are changed a little and put between whole ones.
 * A failure prints the document and, where it is random, the seed; PENSTOCK_SEED replays it.
 * PENSTOCK_LONG=1 takes the time to do all of it, not the part that fits into seconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef PENSTOCK_NO_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "tests/unit/tjson_proof.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW_BUILD 1
#else
#define SLOW_BUILD 0
#endif

#define KIB 1024u
#define MIB (1024u * KIB)

/* Where a variant may cut its work: blocks, and chunks of at most this size. */
#define CHUNK_BYTES_MAX (128 * KIB)

static const char *const hostile[] = {"\"}", "]]", "\\\"", "\x80\xBF", "0",
                                      " ",   "\n", ",1",   "\"\\"};

/* Between them everything that a document can hold; LEARNED of them have nothing that a parser would rather
 * not learn (exponents, escaped keys, a root that is no container). */
#define LEARNED 4
static const char *const events[] = {
    "{\"event_type\":\"a\",\"user\":{\"id\":-1.5},\"ts\":[true,null,false,{},\"\\u00e9\\n\"]}",
    "{\"a\":{\"b\":{\"c\":{\"d\":\"\\ud83d\\ude00\"}}},\"\xC3\xA9\":0,\"ts\":\"\xE2\x82\xAC\",\"\":"
    "[["
    "]]}",
    "{\"event_type\":\"order_completed\",\"ts\":\"2026-11-21T14:25:56.123Z\",\"user\":{\"id\":\"u-"
    "000123\",\"country\":\"DE\",\"address\":{\"street\":\"Stra\xC3\x9F"
    "e 7\",\"zip\":\"01067\"}},\"items\":[{\"sku\":\"A-1\",\"qty\":2,\"price\":19.99},{\"sku\":\"B-"
    "\\\"2\\\"\",\"qty\":1,\"price\":5}],\"total\":44.98,\"paid\":true,\"coupon\":null,\"note\":"
    "\"line\\nbreak \\\\ and \\u20ac \xF0\x9F\x98\x80\",\"meta\":{}}",
    "{ \"event_type\" : \"spaced\", \"user\" : { \"id\" : 7 , \"tags\" : [ \"a\" , \"b\" ] } , "
    "\"meta\" : [ { } , [ ] , -0 , 0.25 ] , \"ts\" : 1763735156 }",
    "[{\"a\":[1,2,3,[4,[5,[6,{\"b\":\"\\/\"}]]]]},\"x\",12345678901234567890,0.1e-10,false]",
    "{\"event_typ\\u0065\":1e5,\"\\u00e9\":-1.5E+3,\"ts\":\r[0e0]}",
    "\"a string alone, \\\"quoted\\\", with \xC3\xA9 and more than one vector of sixty-four "
    "bytes\"",
};

static struct tjson all; /* the parsers of the test that is running */
static struct tjson_guard guard;

static int start(void **state)
{
    (void)state;
    tjson_init(&all, tjson_paths, tjson_n_paths);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    tjson_fini(&all);
    return 0;
}

static int map(void **state)
{
    (void)state;
    tjson_guard_init(&guard, 20 * MIB);
    return 0;
}

static int unmap(void **state)
{
    (void)state;
    tjson_guard_fini(&guard);
    return 0;
}

static int agree(const char *buf, size_t len, enum json_framing framing, unsigned flags)
{
    return tjson_agree(&all, buf, len, framing, flags);
}

/* The text in front of the page that may not be read. */
static int agree_guarded(const char *text, size_t len, enum json_framing framing, unsigned flags)
{
    static unsigned turn;

    return agree(tjson_guard_end(&guard, text, len, hostile[turn++ % ARRAY_LEN(hostile)]), len,
                 framing, flags);
}

/* A proof that nothing learned is ever taken wrongly proves nothing where nothing is learned. */
static void check_learned(void)
{
    for (int v = 0; v < all.n; v++) {
        struct json_parser_stats stats;

        json_parser_stats(all.parser[v], &stats);
        if (all.isa[v] != JSON_ISA_SCALAR) {
            assert_true(stats.shape_hits > stats.events / 8);
            assert_true(stats.shape_news > 0);
        }
    }
}

/* ---- every prefix, every change of one byte ---- */

static void test_prefixes(void **state)
{
    char buf[4096];

    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(events); e++) {
        const size_t len = strlen(events[e]);

        for (size_t cut = 0; cut <= len; cut++) {
            const size_t n = (size_t)snprintf(buf, sizeof(buf), "%s\n%.*s\n%s\n%.*s", events[e],
                                              (int)cut, events[e], events[e], (int)cut, events[e]);

            assert_true(n < sizeof(buf));
            agree_guarded(buf, n, JSON_FRAMING_LINES, TJSON_ORACLE);
            agree_guarded(events[e], cut, JSON_FRAMING_SINGLE, TJSON_ORACLE);
        }
    }
}

/* Every byte takes every value, each time near the event as it should be, which was learned; with blanks
 * between the two, so that what is suspicious about one of them does not spoil the other. */
static void test_single_bytes(void **state)
{
    const unsigned step = SLOW_BUILD && !tjson_whole() ? 17 : 1;
    char buf[4096];

    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(events); e++) {
        const size_t len = strlen(events[e]);
        const unsigned flags = len < 120 || tjson_whole() ? TJSON_ORACLE : 0;
        const size_t n =
            (size_t)snprintf(buf, sizeof(buf), "%s\n%200s\n%s\n", events[e], "", events[e]);

        for (unsigned turn = 0; turn < 3; turn++)
            agree_guarded(buf, n, JSON_FRAMING_LINES, TJSON_ORACLE);
        for (size_t at = 0; at < len; at++) {
            for (unsigned c = (unsigned)at % step; c < 256; c += step) {
                const char *guarded;

                buf[at] = (char)c;
                guarded = tjson_guard_end(&guard, buf, n, "\"}");
                agree(guarded, n, JSON_FRAMING_LINES, 0);
                if (flags != 0)
                    agree(guarded, len, JSON_FRAMING_LINES, flags);
            }
            buf[at] = events[e][at];
        }
        if (e + 1 == LEARNED)
            check_learned();
    }
}

/* A byte left out, a byte doubled, two neighbours swapped: everything behind it moves. */
static void test_single_moves(void **state)
{
    char buf[4096];

    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(events); e++) {
        const char *event = events[e];
        const int len = (int)strlen(event);

        for (int at = 0; at + 1 < len; at++) {
            const size_t n =
                (size_t)snprintf(buf, sizeof(buf), "%s\n%.*s%s\n%.*s%s\n%.*s%c%c%s", event, at,
                                 event, event + at + 1, at + 1, event, event + at, at, event,
                                 event[at + 1], event[at], event + at + 2);

            assert_true(n < sizeof(buf));
            agree_guarded(buf, n, JSON_FRAMING_LINES, TJSON_ORACLE);
        }
    }
}

/* ---- where the buffer lies, and where things lie in it ---- */

/* Every length, so every alignment of either end, with nothing readable around. */
static void test_alignments(void **state)
{
    char buf[1024];

    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(events); e++) {
        for (size_t spaces = 0; spaces < 2 * 64; spaces++) {
            const size_t len =
                (size_t)snprintf(buf, sizeof(buf), "%*s%s", (int)spaces, "", events[e]);
            const char *padding = hostile[spaces % ARRAY_LEN(hostile)];

            agree_guarded(buf, len, JSON_FRAMING_LINES, TJSON_ORACLE);
            agree(tjson_guard_start(&guard, buf, len, padding), len, JSON_FRAMING_LINES, 0);
            buf[len] = '\n';
            agree_guarded(buf, len + 1, JSON_FRAMING_LINES, 0);
            agree_guarded(buf, len - 1, JSON_FRAMING_LINES, 0);
            agree_guarded(buf + spaces, len - spaces, JSON_FRAMING_SINGLE, 0);
        }
    }
    for (size_t len = 0; len < 300; len++) { /* nothing but padding behind nothing */
        memset(buf, "\" \\{"[len % 4], len);
        agree_guarded(buf, len, JSON_FRAMING_LINES, TJSON_ORACLE);
    }
}

/* What the padding holds must not matter. */
static void test_paddings(void **state)
{
    char buf[JSON_PADDING_BYTES + 1];

    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(events); e++) {
        for (unsigned c = 1; c < 256; c++) {
            memset(buf, (int)c, JSON_PADDING_BYTES);
            buf[JSON_PADDING_BYTES] = '\0';
            for (size_t less = 0; less < 3; less++) {
                const size_t len = strlen(events[e]) - less;

                agree(tjson_guard_end(&guard, events[e], len, buf), len, JSON_FRAMING_LINES,
                      TJSON_ORACLE);
            }
        }
    }
}

/* What lies over an edge: each is put around every boundary, whole and with its last byte missing. */
static const char *const straddlers[] = {
    "{\"event_type\":\"\\\\\\\\\\\\\\\\\\\\\\\\\\\"\\\\\",\"ts\":1}",
    "{\"event_type\":\"\xF0\x9F\x98\x80\xE2\x82\xAC\xC3\xA9\",\"ts\":\"\\ud83d\\ude00\\u00e9\"}",
    "{\"ts\":-1234567890.0987654321e+10,\"a\":[true,false,null,0]}",
    "{\"ts\":-1234567890.0987654321e+,\"a\":[true,false,null,0]}",
    "{\"ts\":[tru,fals],\"a\":1}",
    "{\"ts\":[true false],\"a\":1}",
    "{\"event_type\":\"\xF0\x9F\x98\",\"ts\":1}",
    "{\"event_type\":\"\x01\",\"ts\":1}",
    "{\"user\" :\t{ \"id\"\r: 7 } , \"a\" : [ ] }",
    "{\"a\":{\"b\":{\"c\":{\"d\":[{},[],\"\"]}}}}\r\n\r\n   \r\n{\"a\":2}\r",
    "{\"a\":[{\"b\":1},{\"b\":2]},{\"b\":3}}",
    "\"\\\"\\\"\\\"\\\"\\\"\\\"",
    "[[[[[[[[[[[[]]]]]]]]]]]]",
};

/* Fills n bytes, the last of which ends the line: spaces, a long string, or one of backslashes. */
static void fill(char *buf, size_t n, unsigned how)
{
    if (n == 0)
        return;
    memset(buf, how == 0 ? ' ' : 'x', n);
    if (how > 0 && n > 3) {
        buf[0] = '"';
        buf[n - 2] = '"';
        if (how > 1)
            memset(buf + 1, '\\', (n - 3) & ~(size_t)1);
    }
    buf[n - 1] = '\n';
}

/* A document slides by one byte from in front of the boundary to behind it; once it is the last thing in
 * the buffer, once an event follows. */
static void slide(const char *text, size_t boundary, unsigned how, char *buf)
{
    static const char next[] = "\n{\"a\":1}\n";
    const size_t len = strlen(text);
    const size_t first = boundary > len + 2 ? boundary - len - 2 : 0;

    for (size_t before = first; before <= boundary + 1; before++) {
        fill(buf, before, how);
        memcpy(buf + before, text, len);
        memcpy(buf + before + len, next, sizeof(next) - 1);
        agree_guarded(buf, before + len, JSON_FRAMING_LINES, how == 0 ? TJSON_ORACLE : 0);
        agree_guarded(buf, before + len + sizeof(next) - 1, JSON_FRAMING_LINES, 0);
    }
}

static void test_boundaries(void **state)
{
    static const size_t sizes[] = {64, 256, 4 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, CHUNK_BYTES_MAX};
    char *buf = malloc(CHUNK_BYTES_MAX + 4096);

    (void)state;
    assert_non_null(buf);
    for (size_t b = 0; b < ARRAY_LEN(sizes); b++) {
        const unsigned hows = SLOW_BUILD && sizes[b] > 4 * KIB && !tjson_whole() ? 1 : 3;

        for (size_t i = 0; i < ARRAY_LEN(straddlers); i++) {
            for (unsigned how = 0; how < hows; how++)
                slide(straddlers[i], sizes[b], how, buf);
        }
    }
    free(buf);
}

/* The same in the middle of one document, whose beginning the variant has seen chunks ago. */
static void test_boundaries_within(void **state)
{
    static const size_t sizes[] = {64, 4 * KIB, 32 * KIB, CHUNK_BYTES_MAX};
    static const char *const parts[] = {"\\\\\\\\\\\\\\\\\\\"",
                                        "\xF0\x9F\x98\x80",
                                        "\\ud83d\\ude00",
                                        "\xE2\x82",
                                        "\\ud83d\\u0020",
                                        "\x1F",
                                        "\\u00e",
                                        "\",\"a\":[1,2"};
    char *buf = malloc(CHUNK_BYTES_MAX + 4096);

    (void)state;
    assert_non_null(buf);
    for (size_t b = 0; b < ARRAY_LEN(sizes); b++) {
        for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
            const size_t len = strlen(parts[i]);

            for (size_t before = sizes[b] - len - 2; before <= sizes[b] + 1; before++) {
                memset(buf, '.', before);
                memcpy(buf, "{\"a\":\"", 6);
                memcpy(buf + before, parts[i], len);
                memcpy(buf + before + len, "\"]}\"}\n{}\n", 9);
                agree_guarded(buf, before + len + 9, JSON_FRAMING_LINES, 0);
                agree_guarded(buf, before + len + 2, JSON_FRAMING_SINGLE, TJSON_ORACLE);
                agree_guarded(buf, before + len, JSON_FRAMING_SINGLE, 0);
            }
        }
    }
    free(buf);
}

static void test_line_ends(void **state)
{
    static const char *const ends[] = {"\n",     "\r\n", "\n\n\n", " \t\r\n   \n\r\n",
                                       "\r\r\n", "\n \n"};
    char buf[4096];

    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(ends); e++) {
        for (size_t last = 0; last < 2; last++) {
            size_t len = 0;
            int n;

            for (size_t i = 0; i < 6; i++)
                len +=
                    (size_t)snprintf(buf + len, sizeof(buf) - len, "%s%s%s", i == 3 ? ends[e] : "",
                                     events[i % 2], i < 5 || last == 1 ? ends[e] : "");
            n = agree_guarded(buf, len, JSON_FRAMING_LINES, TJSON_ORACLE);
            assert_int_equal(n, 6);
        }
    }
    for (size_t len = 0; len < 3 * 64; len++) { /* nothing but white space */
        for (size_t i = 0; i < len; i++)
            buf[i] = " \n\r\t\n"[(i * 7 + len) % 5];
        assert_int_equal(agree_guarded(buf, len, JSON_FRAMING_LINES, TJSON_ORACLE), 0);
        assert_int_equal(agree_guarded(buf, len, JSON_FRAMING_SINGLE, TJSON_ORACLE), 0);
    }
}

/* ---- sizes and hostile input ---- */

static void check_growth(const struct tjson_growth *g, size_t size, unsigned flags)
{
    const char *padding = hostile[size % ARRAY_LEN(hostile)];
    char *buf = guard.high - JSON_PADDING_BYTES - size;
    const size_t n = tjson_grow(g, buf, size);

    buf = tjson_guard_end(&guard, buf, n, padding);
    agree(buf, n, JSON_FRAMING_LINES, flags);
    if (size > MIB)
        return;
    agree(buf, n, JSON_FRAMING_SINGLE, flags);
    if (n > 1)
        agree(buf + 1, n - 1, JSON_FRAMING_LINES, 0);
}

/* 2 bytes to 16 MiB, and around what a variant may take for one size: powers of two. The largest are the turn
 * of a part of the kinds in each run. */
static void test_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < tjson_n_growths; i++) {
        for (size_t size = 2; size <= 300; size++)
            check_growth(&tjson_growths[i], size, TJSON_ORACLE);
        for (size_t size = 512; size <= 128 * KIB; size *= 2) {
            check_growth(&tjson_growths[i], size - 1, 0);
            check_growth(&tjson_growths[i], size, 0);
            check_growth(&tjson_growths[i], size + 1, 0);
        }
        check_growth(&tjson_growths[i],
                     tjson_whole() || i % 5 == tjson_seed() % 5 ? 16 * MIB : MIB + 1, 0);
    }
}

/* An array of events, which are read as elements, at sizes around the boundaries. */
static void test_arrays(void **state)
{
    static const char *const units[] = {",{\"a\":1}", " ,\n{\"user\":{\"id\":\"x,]\"},\"a\":[1,2]}",
                                        ",7", ",[]"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        for (size_t size = 64; size <= MIB; size = size * 3 / 2) {
            char *buf = guard.high - JSON_PADDING_BYTES - size;
            const struct tjson_growth g = {.head = "[null", .unit = units[i], .tail = " ]"};
            const size_t n = tjson_grow(&g, buf, size);
            const unsigned flags = size < 8 * KIB ? TJSON_ORACLE : 0;

            agree(tjson_guard_end(&guard, buf, n, "]"), n, JSON_FRAMING_ARRAY, flags);
        }
    }
}

/* ---- learned shapes ---- */

/* Keys that begin alike and go on differently, or end at once: a long one is learned, then a short one
 * stands where the rest of the long one could no longer be read. */
static void test_key_tails(void **state)
{
    static char buf[8192];
    char key[1024];

    (void)state;
    memset(key, 'x', sizeof(key));
    memcpy(key, "event_type", 10);
    for (int learned = 6; learned < 600; learned = learned < 40 ? learned + 1 : learned * 3 / 2) {
        for (int met = 6; met < 600; met = met < 40 ? met + 1 : met * 3 / 2) {
            int len = 0;

            for (int i = 0; i < 4; i++)
                len += snprintf(buf + len, sizeof(buf) - (size_t)len, "{\"%.*s\":%d}\n",
                                i < 3 ? learned : met, key, i);
            assert_true(len < (int)sizeof(buf));
            agree_guarded(buf, (size_t)len, JSON_FRAMING_LINES, TJSON_ORACLE);
            agree_guarded(buf, (size_t)len - 1, JSON_FRAMING_LINES, 0);
        }
    }
    check_learned();
}

/* A wanted key of more bytes than are compared at once, and keys that differ from it in one of them: either
 * is learned before the other one comes. */
static void test_long_keys(void **state)
{
    static const char wanted[] = "event_type_of_the_whole_event";
    static const char *const paths[] = {wanted};
    struct tjson t;

    (void)state;
    tjson_init(&t, paths, 1);
    for (size_t at = 0; at < 2 * (sizeof(wanted) - 1); at++) {
        char other[sizeof(wanted)], text[256];
        const char *learned = at % 2 == 0 ? wanted : other, *met = at % 2 == 0 ? other : wanted;
        int len;

        memcpy(other, wanted, sizeof(wanted));
        other[at / 2] ^= 1;
        len = snprintf(text, sizeof(text), "{\"%s\":1}\n{\"%s\":2}\n{\"%s\":3}\n{\"%s\":4}\n",
                       learned, learned, learned, met);
        assert_in_range(len, 1, sizeof(text) - 1);
        if (tjson_check(&t, tjson_guard_end(&guard, text, (size_t)len, "\""), (size_t)len,
                        JSON_FRAMING_LINES, TJSON_ORACLE) < 0)
            fail_msg("%s: %s", other, t.what);
    }
    tjson_fini(&t);
}

/* The wanted members change places, repeat and hide behind escapes while the skeleton stays. */
static void test_moving_keys(void **state)
{
    static const char *const keys[] = {
        "event_type", "event_typ\\u0065", "ts",        "t\\u0073", "a",        "user",
        "event_typE", "event_type_",      "event_typ", "id",       "\xC3\xA9", ""};
    static const char *const values[] = {"1", "\"s\"", "null", "{\"id\":2}", "{\"b\":{}}"};
    struct tjson_rng r = {7};
    static char buf[16384];

    (void)state;
    for (unsigned round = 0; round < (SLOW_BUILD ? 500 : 5000); round++) {
        const char *frame[3];
        size_t len = 0;

        for (unsigned i = 0; i < 3; i++) /* three values of one kind each make the skeleton */
            frame[i] = values[tjson_below(&r, ARRAY_LEN(values))];
        for (unsigned line = 0; line < 12; line++) {
            const uint32_t moved = line < 4 ? 3 : tjson_below(&r, 4);

            len += (size_t)snprintf(buf + len, sizeof(buf) - len, "{");
            for (unsigned i = 0; i < 3; i++) {
                const char *key = keys[i == moved ? tjson_below(&r, ARRAY_LEN(keys))
                                                  : (round + i * 5) % ARRAY_LEN(keys)];

                len += (size_t)snprintf(buf + len, sizeof(buf) - len, "%s\"%s\":%s",
                                        i > 0 ? "," : "", key, frame[i]);
            }
            len += (size_t)snprintf(buf + len, sizeof(buf) - len, "}\n");
        }
        assert_true(len < sizeof(buf));
        agree_guarded(buf, len, JSON_FRAMING_LINES, TJSON_ORACLE);
    }
    check_learned();
}

static void test_changed_events(void **state)
{
    const unsigned rounds = tjson_whole() ? 2000000 : SLOW_BUILD ? 2000 : 20000;
    static char buf[64 * KIB];

    (void)state;
    for (unsigned i = 0; i < rounds; i++) {
        struct tjson_rng r = {tjson_seed() + i};
        const uint64_t shape = tjson_below(&r, 64); /* the same ones come back again and again */
        const size_t len = tjson_changed_events(&r, shape, buf, sizeof(buf));

        agree_guarded(buf, len, JSON_FRAMING_LINES, i % 8 == 0 ? TJSON_ORACLE : 0);
    }
    check_learned();
}

/* Streams of many chunks, whose lines of all kinds lie over the edges as it comes. */
static void test_long_streams(void **state)
{
    const unsigned rounds = tjson_whole() ? 20000 : SLOW_BUILD ? 20 : 80;
    const size_t cap = 300 * KIB;
    char *buf = malloc(cap);

    (void)state;
    assert_non_null(buf);
    for (unsigned i = 0; i < rounds; i++) {
        struct tjson_rng r = {tjson_seed() + i};
        const uint32_t shapes = 1 + tjson_below(&r, 40);
        size_t len = tjson_below(&r, 256);

        memset(buf, ' ', len);
        while (len + 8192 < cap) {
            if (tjson_below(&r, 20) == 0) {
                len += tjson_changed_events(&r, tjson_below(&r, shapes), buf + len, 8192);
                continue;
            }
            len += tjson_event(tjson_below(&r, shapes), &r, buf + len, 4096);
            buf[len++] = '\n';
        }
        agree_guarded(buf, len, JSON_FRAMING_LINES, i % 64 == 0 ? TJSON_ORACLE : 0);
    }
    check_learned();
    free(buf);
}

/* Numbers with exponents are told apart by their order, not their place, for as long as a chunk has nothing
 * suspicious: streams of many chunks, full of them, most without anything wrong. */
static void test_exponents(void **state)
{
    static const char *const values[] = {
        "1e5", "-0.0E-12", "7E+00", "2.5e3", "1",   "-12.25", "true",  "null", "\"1e5\"",
        "[]",  "[1e1,2]",  "{}",    "false", "0e0", "3",      "99.99", "0",    "\"\\n\"",
    };
    static const char *const wrong[] = {"1e",   "1e+", "1.e5", "01e5", "1e5.5",   "1e5e5", "-e5",
                                        "1e5-", "e5",  "1ee5", "1e 5", "1e5\x01", "1\x01", "+1e5"};
    const unsigned rounds = tjson_whole() ? 20000 : SLOW_BUILD ? 40 : 400;
    const size_t cap = 160 * KIB;
    char *buf = malloc(cap);

    (void)state;
    assert_non_null(buf);
    for (unsigned i = 0; i < rounds; i++) {
        struct tjson_rng r = {tjson_seed() + i};
        const uint32_t rare = i % 4 == 0 ? 200 : UINT32_MAX; /* one value of so many is wrong */
        size_t len = tjson_below(&r, 128);

        memset(buf, '\n', len);
        while (len + 1024 < cap) {
            len += (size_t)snprintf(buf + len, cap - len, "{\"ts\":%s", values[tjson_below(&r, 8)]);
            for (uint32_t left = tjson_below(&r, 20); left > 0; left--) {
                const char *value = tjson_below(&r, rare) == 0
                                        ? wrong[tjson_below(&r, ARRAY_LEN(wrong))]
                                        : values[tjson_below(&r, ARRAY_LEN(values))];

                len += (size_t)snprintf(buf + len, cap - len, ",\"k\":%s", value);
            }
            memcpy(buf + len, "}\n", 2);
            len += 2;
        }
        agree_guarded(buf, len, JSON_FRAMING_LINES, i % 64 == 0 ? TJSON_ORACLE : 0);
    }
    free(buf);
}

/* Lines of more tokens than a variant keeps, and what comes behind them: whole events, changed ones, and
 * things that are wrong in their first tokens. */
static void test_long_lines(void **state)
{
    static char buf[300 * KIB];
    struct tjson_rng r = {13};

    (void)state;
    for (unsigned i = 0; i < (SLOW_BUILD ? 30 : 150); i++) {
        const struct tjson_growth *g = &tjson_growths[tjson_below(&r, (uint32_t)tjson_n_growths)];
        const struct tjson_growth numbers = {
            .head = "[0", .unit = ",7", .tail = i % 2 == 0 ? "]" : "}"};
        size_t len = tjson_below(&r, 200);

        memset(buf, '\n', len);
        len += tjson_grow(&numbers, buf + len, 60 * KIB + tjson_below(&r, 40 * KIB));
        for (unsigned k = 0; k < 12; k++) {
            const char *text = straddlers[tjson_below(&r, ARRAY_LEN(straddlers))];

            len += (size_t)snprintf(buf + len, sizeof(buf) - len, "\n%s\n", text);
            len += (size_t)snprintf(buf + len, sizeof(buf) - len, "[%s%u]\n", k % 2 == 0 ? "0" : "",
                                    tjson_below(&r, 1000));
            len += tjson_changed_events(&r, tjson_below(&r, 64), buf + len, 8192);
        }
        if (i % 4 == 0)
            len += tjson_grow(g, buf + len, 70 * KIB);
        agree_guarded(buf, len, JSON_FRAMING_LINES, i % 16 == 0 ? TJSON_ORACLE : 0);
    }
}

/* A stream that is dropped in the middle leaves nothing to the next one of the same parser. */
static void test_dropped_streams(void **state)
{
    static char buf[96 * KIB];
    struct tjson_rng r = {11};

    (void)state;
    for (unsigned i = 0; i < (SLOW_BUILD ? 100 : 2000); i++) {
        const size_t fill = tjson_below(&r, 64 * KIB);
        size_t len;

        memset(buf, "\"\\ {"[i % 4], fill);
        len = fill + tjson_changed_events(&r, tjson_below(&r, 64), buf + fill, 32 * KIB);
        memset(buf + len, 0xE2, JSON_PADDING_BYTES);
        for (int v = 0; v < all.n; v++) {
            struct json_event ev[8];
            struct json_stream s;

            json_stream_init(&s, all.parser[v], buf, len - tjson_below(&r, 40), JSON_FRAMING_LINES);
            for (uint32_t n = tjson_below(&r, 4); n > 0; n--) {
                if (json_next(&s, ev, 1 + (int)tjson_below(&r, 8)) == 0)
                    break;
            }
        }
        agree_guarded(buf + fill, len - fill, JSON_FRAMING_LINES, 0);
    }
    check_learned();
}

/* Bytes that this thread has ever allocated; 0 where jemalloc is not there to tell. */
static uint64_t allocated(void)
{
#ifdef PENSTOCK_NO_JEMALLOC
    return 0;
#else
    uint64_t bytes = 0;
    size_t len = sizeof(bytes);

    assert_int_equal(mallctl("thread.allocated", &bytes, &len, NULL, 0), 0);
    return bytes;
#endif
}

/* An event whose skeleton no other number has: a bracket pair or a number for each bit. */
static size_t numbered_shape(unsigned number, char *out)
{
    static const char head[] = "{\"event_type\":\"x\",\"a\":[0";
    static const char tail[] = "],\"ts\":\"2026-11-21\"}\n";
    size_t len = sizeof(head) - 1;

    memcpy(out, head, len);
    for (unsigned bit = 0; bit < 17; bit++) {
        const char *part = (number >> bit & 1) != 0 ? ",[]" : ",0";

        memcpy(out + len, part, strlen(part));
        len += strlen(part);
    }
    memcpy(out + len, tail, sizeof(tail) - 1);
    return len + sizeof(tail) - 1;
}

/* 100,000 shapes, each three times in a row: nothing is allocated, and what is learned stays bounded. */
static void test_many_shapes(void **state)
{
    const unsigned shapes = 100000;
    static char buf[64 * KIB];
    uint64_t before = 0;

    (void)state;
    for (unsigned i = 0; i < shapes; i += 100) {
        size_t len = 0;

        for (unsigned k = i; k < i + 100; k++) {
            for (unsigned turn = 0; turn < 3; turn++)
                len += numbered_shape(k, buf + len);
        }
        assert_int_equal(agree_guarded(buf, len, JSON_FRAMING_LINES, 0), 300);
        if (i == 0)
            before = allocated();
    }
    assert_int_equal(allocated(), before);
    for (int v = 0; v < all.n; v++) {
        struct json_parser_stats stats;

        json_parser_stats(all.parser[v], &stats);
        assert_int_equal(stats.events, 3 * shapes);
        assert_true(stats.shape_hits + stats.shape_news <= stats.events);
        assert_true(stats.shape_news <= shapes);
    }
    agree_guarded(events[2], strlen(events[2]), JSON_FRAMING_LINES, TJSON_ORACLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define PROOF(name) cmocka_unit_test_setup_teardown(name, start, stop)
        PROOF(test_prefixes),
        PROOF(test_single_bytes),
        PROOF(test_single_moves),
        PROOF(test_alignments),
        PROOF(test_paddings),
        PROOF(test_boundaries),
        PROOF(test_boundaries_within),
        PROOF(test_line_ends),
        PROOF(test_sizes),
        PROOF(test_arrays),
        PROOF(test_changed_events),
        PROOF(test_long_streams),
        PROOF(test_exponents),
        PROOF(test_dropped_streams),
        PROOF(test_long_lines),
        PROOF(test_many_shapes),
        PROOF(test_key_tails),
        PROOF(test_long_keys),
        PROOF(test_moving_keys),
#undef PROOF
    };

    return cmocka_run_group_tests(tests, map, unmap);
}
