/*
 * Goal: datagrams that are taken together leave the lines, dead letters and counts that each alone would:
 * events of several lines, wrong and truncated ones, arrays, documents over several lines, empty and large
 * datagrams, types of all kinds, in any mixture. When room is short, or one of them is of a type of which
 * nothing is taken, each is on its own again; a drain drops them all.
 *
 * Method: tburst_take(), on lists made by hand and on random mixtures. PENSTOCK_SEED replays those.
 */
#include <netinet/in.h>

#include "tests/unit/tburst.h"
#include "tests/unit/tjson_proof.h"

static const char *const texts[] = {
    "{\"event_type\":\"order\",\"order_id\":\"1\",\"total\":1.5,\"items\":[{\"sku\":\"a\"}]}",
    "{\"event_type\":\"order\",\"order_id\":\"2\",\"more\":{\"x\":1}}\n",
    "{\"event_type\":\"strict\",\"order_id\":\"3\",\"more\":1}", /* dead: an unknown field */
    "{\"event_type\":\"timed\",\"at\":{\"when\":\"2026-11-21T00:00:00Z\"}}\r\n{\"event_type\":"
    "\"a\"}\r\n",
    "{\"event_type\":\"adding\",\"order_id\":\"4\",\"total\":\"no number\"}",
    "{\"event_type\":\"a\"}\n{\"event_type\":\"b\",\"timestamp\":1795000000}\n\n{\"event_type\":"
    "\"c\"}",
    "{\"event_type\":\"a\"}\n{bad\n{\"event_type\":\"b\"}\n[1]\n3\n\"x\"",
    "{\"event_type\":\"a\"",          /* cut off */
    "{\"event_type\":\"a\",\"b\":\"", /* in a string */
    "{bad}\n{\"event_type\":\"a\"}",
    "{\n\"event_type\":\n\"pretty\"}",
    "{\"event_type\":\"pretty\",\n\"a\":[1,\n2]}\n",
    "{\"event_type\":\"pretty\",\n\"a\":[1,\n2}\n{\"event_type\":\"a\"}", /* is none */
    "[{\"event_type\":\"a\"},\n{\"event_type\":\"b\"}]",
    "[{\"event_type\":\"a\"},",
    " {\"event_type\":\"blank\"}",
    "",
    "\n \r\n",
    "{",
    "{}",
    "{\"event_type\":7}",
    "{\"no_type\":1}",
    "{\"event_type\":\"a\",\"event_date\":\"mine\",\"penstock_id\":1}",
    "{\"event_type\":\"a\",\"x\":1e400}",
    "{\"event_type\":\"\xC3\xA9\",\"x\":\"\\u20ac\"}\n{\"event_type\":\"a\",\"x\":\"\xC3\"}",
};

static struct tburst both;
static struct sockaddr_storage from[JSON_BUFFERS_MAX];

static int start(void **state)
{
    (void)state;
    tburst_up(&both);
    for (uint16_t i = 0; i < JSON_BUFFERS_MAX; i++) { /* dead letters name it */
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(i)};

        memcpy(&from[i], &a, sizeof(a));
    }
    return 0;
}

static int stop(void **state)
{
    (void)state;
    tburst_down(&both);
    return 0;
}

/* A datagram in memory of its own. */
static struct datagram made(uint32_t i, const char *text, size_t len)
{
    char *copy = calloc(1, len + JSON_PADDING_BYTES);

    memcpy(copy, text, len);
    return (struct datagram){.buf = copy, .len = (uint32_t)len, .input = "dpdk", .from = &from[i]};
}

static int take(struct datagram *d, uint32_t n)
{
    const int lines = tburst_take(&both, d, n);

    assert_true(lines >= 0);
    for (uint32_t i = 0; i < n; i++)
        free((char *)(uintptr_t)d[i].buf);
    return lines;
}

/* Each between each. */
static void take_neighbours(void)
{
    struct datagram d[3];

    for (uint32_t a = 0; a < ARRAY_LEN(texts); a++) {
        for (uint32_t b = 0; b < ARRAY_LEN(texts); b++) {
            for (uint32_t i = 0; i < 3; i++)
                d[i] = made(i, texts[i == 1 ? b : a], strlen(texts[i == 1 ? b : a]));
            take(d, 3);
        }
    }
}

static void test_neighbours(void **state)
{
    (void)state;
    take_neighbours();
    assert_true(both.together.core->stats.events > 1000);
    assert_true(both.together.core->stats.dead_letters > 1000);
}

/* A type of which nothing is taken now: its datagrams are dropped whole, those beside them are taken. */
static void test_refused(void **state)
{
    struct live_type type[] = {{.name = {"", 0}, .sampling_ppm = LIVE_SAMPLING_ALL},
                               {.name = span_of("a"), .sampling_ppm = LIVE_SAMPLING_ALL}};
    struct live_settings s = {.n_types = 2, .type = type, .n_refused = 1};
    const _Atomic uint64_t *dropped =
        &both.together.worker->stats.packet_dropped[REASON_TYPE_PARKED];
    const char *const refused[] = {texts[7], texts[5]};
    struct datagram d[3];

    (void)state;
    s.worker.sampling_ppm = LIVE_SAMPLING_ALL;
    s.worker.block_bytes = both.alone.core->block_bytes;
    for (uint32_t only = 0; only < 2; only++) {
        const uint64_t before = *dropped;

        type[only].refused = true;
        type[1 - only].refused = false;
        s.types_version++;
        ingest_follow(both.alone.core->ingest, &s);
        ingest_follow(both.together.core->ingest, &s);
        for (uint32_t i = 0; i < 3; i++) {
            const char *text = i == 1 ? refused[only] : texts[0];

            d[i] = made(i, text, strlen(text));
        }
        assert_int_equal(take(d, 3), 2);
        assert_int_equal(*dropped, before + 1);
        take_neighbours();
    }
}

/* Full bursts of good ones: their events and no more. */
static void test_good(void **state)
{
    struct datagram d[JSON_BUFFERS_MAX];

    (void)state;
    for (uint32_t n = 1; n <= JSON_BUFFERS_MAX; n++) {
        for (uint32_t i = 0; i < n; i++)
            d[i] = made(i, texts[i % 2], strlen(texts[i % 2]));
        assert_int_equal(take(d, n), n);
    }
    assert_int_equal(both.together.core->stats.dead_letters, 0);
}

static void test_random(void **state)
{
    const uint64_t seed = tjson_seed();
    static char buf[1 << 16];

    (void)state;
    for (unsigned round = 0; round < 3000; round++) {
        struct tjson_rng r = {seed + round};
        const uint32_t n = 1 + tjson_below(&r, 32);
        struct datagram d[32];

        for (uint32_t i = 0; i < n; i++) {
            const char *from_list = texts[tjson_below(&r, ARRAY_LEN(texts))];
            size_t len = strlen(from_list);

            if (tjson_below(&r, 40) == 0) { /* some too large to be read with others */
                len = tjson_changed_events(&r, tjson_below(&r, 8), buf, 1 << 15);
            } else {
                memcpy(buf, from_list, len);
                if (tjson_below(&r, 3) == 0)
                    len = tjson_mutate(&r, buf, len, sizeof(buf));
            }
            d[i] = made(i, buf, len);
        }
        take(d, n);
    }
}

/* Too little room for all of them: those that find some are taken, the others may be tried again. */
static void test_no_room(void **state)
{
    struct tcore_ingest *t = both.together.core;
    struct worker *w = both.together.worker;
    struct datagram d[8];
    uint64_t wait;

    (void)state;
    tcore_in = t;
    for (uint32_t i = 0; i < 8; i++) {
        struct datagram one = made(i, texts[0], strlen(texts[0]));

        d[i] = tburst_own(w, &one);
    }
    t->room = 8192;
    wait = datagrams_take(w, d, 8);
    assert_int_equal(wait, 0xff);
    assert_int_equal(t->stats.events, 0);
    t->room = UINT64_MAX / 2;
    t->n_free = 4; /* for one at a time, by the upper bounds; they are counted then */
    wait = datagrams_take(w, d, 8);
    assert_int_equal(wait, 0);
    assert_int_equal(t->stats.events, 8);
    t->failed = true;
    assert_int_equal(datagrams_take(w, d, 8), 0);
    assert_int_equal(w->stats.packet_dropped[REASON_DISK_ERROR], 8);
    t->failed = false;
    atomic_store(&w->draining, true);
    assert_int_equal(datagrams_take(w, d, 8), 0);
    assert_int_equal(w->stats.packet_dropped[REASON_DRAINING], 8);
    assert_int_equal(t->stats.events, 8);
    for (uint32_t i = 0; i < 8; i++)
        free((char *)(uintptr_t)d[i].buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_neighbours, start, stop),
        cmocka_unit_test_setup_teardown(test_refused, start, stop),
        cmocka_unit_test_setup_teardown(test_good, start, stop),
        cmocka_unit_test_setup_teardown(test_random, start, stop),
        cmocka_unit_test_setup_teardown(test_no_room, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
