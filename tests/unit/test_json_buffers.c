/*
 * Goal: the lines of several buffers read as one stream are those of each buffer read alone, for every
 * variant: the same verdicts, offsets, members, tokens, whatever stands in the other buffers and behind
 * each of them; nothing is read in front of a buffer or outside its padding; one that is wrong costs the
 * others nothing.
 *
 * Method: tjson_check_buffers(). Buffers lie between pages that may not be touched, at their start and at
 * their end, in an order that is not that of their addresses; events are cut and changed at every byte, put
 * side by side with whole ones, and slid over every boundary; random lines are cut anywhere. PENSTOCK_SEED
 * replays those.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tjson_proof.h"

#define GUARDS 4
#define ROOM   (1u << 17)

static const char *const hostile[] = {"\"}", "\n{\"a\":1}\n", "\\\"", "\x80\xBF", "0", " ", ",1"};

static const char *const events[] = {
    "{\"event_type\":\"a\",\"user\":{\"id\":-1.5},\"ts\":[true,null,false,{},\"\\u00e9\\n\"],\"e\":"
    "1e9}",
    "{\"event_type\":\"order\",\"ts\":\"2026-11-21T14:25:56.123Z\",\"user\":{\"id\":\"u-000123\","
    "\"address\":{\"street\":\"Stra\xC3\x9F"
    "e 7\"}},\"items\":[{\"sku\":\"A-1\",\"qty\":2,\"price\":19.99}],\"note\":\"\\\\ "
    "\xF0\x9F\x98\x80\"}",
    "{ \"event_type\" :\t\"spaced\" , \"ts\" : 0.25e+3 }\r\n{\"event_type\":\"second\",\"ts\":12}",
};

static struct tjson all;
static struct tjson_guard guard[GUARDS];

static int start(void **state)
{
    (void)state;
    for (int i = 0; i < GUARDS; i++)
        tjson_guard_init(&guard[i], ROOM);
    tjson_init(&all, tjson_paths, tjson_n_paths);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (int i = 0; i < GUARDS; i++)
        tjson_guard_fini(&guard[i]);
    tjson_fini(&all);
    return 0;
}

static int agree(const struct json_buffer *buffer, uint32_t n)
{
    const int found = tjson_check_buffers(&all, buffer, n);

    if (found < 0) {
        for (uint32_t i = 0; i < n; i++)
            print_message("%u: %.*s\n", i, (int)buffer[i].len, buffer[i].ptr);
        fail_msg("%s", all.what);
    }
    return found;
}

/* Puts a text where nothing can be read behind its padding, or in front of it. */
static struct json_buffer guarded(unsigned i, const char *text, size_t len, bool at_end,
                                  const char *padding)
{
    return (struct json_buffer){.ptr = at_end ? tjson_guard_end(&guard[i], text, len, padding)
                                              : tjson_guard_start(&guard[i], text, len, padding),
                                .len = (uint32_t)len};
}

/* The text in doubt between whole events, at both ends of its memory. */
static void agree_between(const char *text, size_t len, unsigned e, const char *padding)
{
    const char *whole = events[e % ARRAY_LEN(events)];
    struct json_buffer b[3];

    for (int at_end = 0; at_end < 2; at_end++) {
        b[0] = guarded(2, whole, strlen(whole), at_end == 0, padding);
        b[1] = guarded(0, text, len, at_end != 0, padding);
        b[2] = guarded(1, whole, strlen(whole), at_end != 0, padding);
        agree(b, 3);
    }
}

/* Each event cut behind every byte, and each byte of it changed: also to what leads a sequence of UTF-8,
 * opens a string, escapes, or ends a line. */
static void test_cuts_and_changes(void **state)
{
    static const char changes[] = {'"', '\\', '\n',   '\r',   '{',    '}',
                                   '1', 'e',  '\x01', '\xC3', '\x80', ' '};
    char text[512];

    (void)state;
    for (unsigned e = 0; e < ARRAY_LEN(events); e++) {
        const size_t len = strlen(events[e]);

        for (size_t cut = 0; cut <= len; cut++)
            agree_between(events[e], cut, e, hostile[cut % ARRAY_LEN(hostile)]);
        memcpy(text, events[e], len);
        for (size_t at = 0; at < len; at++) {
            for (size_t c = 0; c < sizeof(changes); c++) {
                text[at] = changes[c];
                agree_between(text, len, e + (unsigned)c, hostile[c % ARRAY_LEN(hostile)]);
            }
            text[at] = events[e][at];
        }
    }
}

/* Every length up to some blocks, and every place in them. */
static void test_boundaries(void **state)
{
    char text[1024];

    (void)state;
    for (unsigned e = 0; e < ARRAY_LEN(events); e++) {
        for (int spaces = 0; spaces < 3 * 64; spaces++) {
            const char *padding = hostile[(unsigned)spaces % ARRAY_LEN(hostile)];
            const int len =
                snprintf(text, sizeof(text), "%*s%s%*s", spaces, "", events[e], spaces % 67, "");

            agree_between(text, (size_t)len, e, padding);
            text[len] = '\n';
            agree_between(text, (size_t)len + 1, e, padding);
        }
    }
    for (size_t len = 0; len < 200; len++) {
        memset(text, "\" \\{1"[len % 5], len);
        agree_between(text, len, (unsigned)len, "\"");
    }
}

/* What leads a sequence of UTF-8, or a string, right in front of a buffer is none of its bytes. */
static void test_in_front(void **state)
{
    static const char text[32 + JSON_PADDING_BYTES] =
        "\xC3\x9F\\\"{\"event_type\":\"\xC3\x9F\"}\x9F";
    const uint32_t len = (uint32_t)strlen(text) - 1; /* nor is what stands behind */
    struct json_buffer b[2];
    uint64_t rescans = 0;

    (void)state;
    for (uint32_t skip = 0; skip < 5; skip++) {
        struct json_parser_stats s;

        b[0] = (struct json_buffer){.ptr = text + skip, .len = len - skip};
        b[1] = (struct json_buffer){.ptr = text + 4, .len = len - 4};
        assert_int_equal(agree(b, 2), 2);
        json_parser_stats(all.parser[all.n - 1], &s);
        if (skip == 4 && all.n > 1) /* nor does it make anybody look again */
            assert_int_equal(s.rescans, rescans);
        rescans = s.rescans;
    }
}

/* As many as there may be, the largest, none at all in some: over several chunks. */
static void test_sizes(void **state)
{
    static char text[JSON_BUFFERS_MAX][JSON_BUFFER_BYTES_MAX + JSON_PADDING_BYTES];
    struct json_buffer b[JSON_BUFFERS_MAX];
    struct tjson_rng r = {tjson_seed()};

    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        const uint32_t n = 1 + tjson_below(&r, JSON_BUFFERS_MAX);

        for (uint32_t i = 0; i < n; i++) {
            const uint32_t cap = round % 4 == 0 ? JSON_BUFFER_BYTES_MAX : tjson_below(&r, 3000);
            uint32_t len = 0;

            while (len + 4097 < cap) {
                len += (uint32_t)tjson_event(tjson_below(&r, 8), &r, text[i] + len, 4096);
                text[i][len++] = '\n';
            }
            if (round % 4 == 0) /* to the last byte */
                memset(text[i] + len, i % 2 == 0 ? ' ' : '1', cap - len);
            b[i] = (struct json_buffer){text[i], round % 4 == 0 ? cap : len};
            if (len == 0 && i % 3 > 0)
                b[i].len = (uint32_t)tjson_event(i % 5, &r, text[i], 4096);
        }
        agree(b, n);
    }
}

/* Many tokens and nothing else. */
static void test_dense(void **state)
{
    static const char units[] = "[]{},:\"1-tf\n\\";
    static char text[3][JSON_BUFFER_BYTES_MAX + JSON_PADDING_BYTES];
    struct json_buffer b[3];

    (void)state;
    for (size_t u = 0; u + 1 < sizeof(units); u++) {
        for (uint32_t i = 0; i < 3; i++) {
            memset(text[i], units[u], sizeof(text[i]));
            b[i] = (struct json_buffer){text[i], i == 1 ? 65 : JSON_BUFFER_BYTES_MAX};
        }
        agree(b, 3);
    }
}

static void test_random(void **state)
{
    static char text[1 << 16];

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct tjson_rng r = {tjson_seed() + i};
        const size_t len = tjson_changed_events(&r, tjson_below(&r, 64), text, sizeof(text));
        struct json_buffer b[JSON_BUFFERS_MAX];
        const uint32_t n = tjson_cut(&r, text, len, hostile[i % ARRAY_LEN(hostile)], b);

        agree(b, n);
        tjson_cut_free(b, n);
    }
    for (int v = 1; v < all.n; v++) { /* nearly all by vectors, or this proves nothing */
        struct json_parser_stats s;

        json_parser_stats(all.parser[v], &s);
        assert_true(s.shape_hits > s.events / 8);
    }
}

/* Wrong events in one buffer leave those of the others to the vectors. */
static void test_neighbours(void **state)
{
    static const char wrong[] =
        "{\"event_type\":\"a\",\"ts\":01}\n{\"a\":\"\x01\"}\n{\"b\":\"\xC3\"}";
    struct json_buffer b[JSON_BUFFERS_MAX];

    (void)state;
    for (int v = 1; v < all.n; v++) {
        struct json_parser_stats before, after;
        struct json_event ev[JSON_BUFFERS_MAX];
        struct json_stream s;
        uint32_t events_n = 0;
        int n;

        for (uint32_t i = 0; i < JSON_BUFFERS_MAX; i++)
            b[i] = guarded(i % 2, i % 2 == 1 ? wrong : events[0],
                           strlen(i % 2 == 1 ? wrong : events[0]), true, " ");
        json_parser_stats(all.parser[v], &before);
        json_stream_init_buffers(&s, all.parser[v], b, JSON_BUFFERS_MAX);
        while ((n = json_next(&s, ev, JSON_BUFFERS_MAX)) > 0)
            events_n += (uint32_t)n;
        json_parser_stats(all.parser[v], &after);
        assert_int_equal(events_n, JSON_BUFFERS_MAX / 2 * 4);
        assert_int_equal(after.rescans - before.rescans, JSON_BUFFERS_MAX / 2 * 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define PROOF(name) cmocka_unit_test_setup_teardown(name, start, stop)
        PROOF(test_cuts_and_changes),
        PROOF(test_boundaries),
        PROOF(test_in_front),
        PROOF(test_sizes),
        PROOF(test_dense),
        PROOF(test_random),
        PROOF(test_neighbours),
#undef PROOF
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
