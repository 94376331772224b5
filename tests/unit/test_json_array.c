/*
 * Goal: arrays and single documents are to every variant what they are to the scalar one and to jansson, with
 * any white space, at any length, right or wrong; and the vector variants do read them themselves. Method:
 * events are written as arrays and as one document, dense or indented in three ways, by a writer of our own.
 * Every prefix and change of one byte is read in front of a page that must not be touched and behind one;
 * arrays slide over the boundaries of scanning; 100,000 shapes follow one another; documents have up to 16
 * MiB. PENSTOCK_SEED replays the random part, PENSTOCK_LONG=1 takes every byte at every place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tjson_proof.h"

#define KIB 1024u
#define MIB (1024u * KIB)

#define CHUNK_BYTES (32 * KIB) /* of stage 1 */

static const char *const hostile[] = {"\"}", "]]", "\\\"", "\x80\xBF", "0",
                                      " ",   "\n", ",1",   "\"\\"};

static const char *const events[] = {
    "{\"event_type\":\"order\",\"user\":{\"id\":\"u-1\"},\"ts\":1,\"items\":[{\"sku\":\"A\"},{}]}",
    "{\"event_type\":\"caf\\u00e9\",\"user\":{\"id\":-7.5e3},\"a\":{\"b\":{\"c\":{\"d\":null}}}}",
    "{\"\xC3\xA9\":\"\xF0\x9F\x98\x80 "
    "\\\\\",\"meta\":[[],[[true]],\"],\"],\"ts\":\"\\ud83d\\ude00\"}",
    "[1,[2,{\"a\":3}]]",
    "12.5",
    "{}",
};

static struct tjson all;
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

/* ---- writing ---- */

static const struct style {
    const char *line, *indent; /* NULL: dense */
} styles[] = {{NULL, NULL}, {"\n", "  "}, {"\r\n", "\t"}, {"\n", ""}};

struct writer {
    const struct style *style;
    char *out;
    size_t n;
    unsigned depth;
};

#define FORMAT_BYTES 256

static size_t format(char *out, const char *text, ...) PRINTF(2, 3);

/* Appends FORMAT_BYTES at most. @return how many. */
static size_t format(char *out, const char *text, ...)
{
    va_list args;
    int n;

    va_start(args, text);
    n = vsnprintf(out, FORMAT_BYTES, text, args);
    va_end(args);
    assert_in_range(n, 0, FORMAT_BYTES - 1);
    return (size_t)n;
}

static void put(struct writer *w, const char *text, size_t len)
{
    memcpy(w->out + w->n, text, len);
    w->n += len;
}

static void put_line(struct writer *w)
{
    if (w->style->line == NULL)
        return;
    put(w, w->style->line, strlen(w->style->line));
    for (unsigned i = 0; i < w->depth; i++)
        put(w, w->style->indent, strlen(w->style->indent));
}

/* Writes valid dense JSON again, in the writer's style. */
static void put_json(struct writer *w, const char *text, size_t len)
{
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        const char c = text[i];
        const bool closes = !in_string && (c == '}' || c == ']');

        w->depth -= closes;
        if (closes && text[i - 1] != '{' && text[i - 1] != '[')
            put_line(w);
        put(w, &c, 1);
        if (in_string && c == '\\')
            put(w, &text[++i], 1);
        in_string ^= c == '"';
        if (in_string || c == '"')
            continue;
        w->depth += c == '{' || c == '[';
        if (c == ',' || ((c == '{' || c == '[') && text[i + 1] != '}' && text[i + 1] != ']'))
            put_line(w);
        if (c == ':' && w->style->line != NULL)
            put(w, " ", 1);
    }
}

/* Writes the events as an array, or as a document that has it as a member between two wanted ones. */
static size_t write_events(const struct style *style, bool document, char *out)
{
    static char dense[4096];
    struct writer w = {.style = style, .out = out};
    size_t n = 0;

    n += format(dense, "%s", document ? "{\"user\":{\"id\":1},\"a\":[" : "[");
    for (size_t e = 0; e < ARRAY_LEN(events); e++)
        n += format(dense + n, "%s%s", e > 0 ? "," : "", events[e]);
    n += format(dense + n, "%s", document ? "],\"ts\":2}" : "]");
    put_json(&w, dense, n);
    return w.n;
}

/* ---- reading ---- */

static int agree(const char *buf, size_t len, enum json_framing framing, unsigned flags)
{
    return tjson_agree(&all, buf, len, framing, flags);
}

/* In front of the page that may not be read, and now and then behind one. */
static int agree_guarded(const char *text, size_t len, enum json_framing framing, unsigned flags)
{
    static unsigned turn;
    const char *padding = hostile[turn++ % ARRAY_LEN(hostile)];

    if (turn % 4 == 0)
        agree(tjson_guard_start(&guard, text, len, padding), len, framing, flags);
    return agree(tjson_guard_end(&guard, text, len, padding), len, framing, flags);
}

/* ---- every prefix, every change of one byte ---- */

static void test_prefixes(void **state)
{
    char text[8192];

    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(styles); s++) {
        size_t len = write_events(&styles[s], false, text);

        assert_int_equal(agree_guarded(text, len, JSON_FRAMING_ARRAY, TJSON_ORACLE),
                         ARRAY_LEN(events));
        for (size_t cut = 0; cut < len; cut++) {
            agree_guarded(text, cut, JSON_FRAMING_ARRAY, 0);
            agree_guarded(text + cut, len - cut, JSON_FRAMING_ARRAY, 0);
        }
        len = write_events(&styles[s], true, text);
        for (size_t cut = 0; cut <= len; cut++)
            agree_guarded(text, cut, JSON_FRAMING_SINGLE, TJSON_ORACLE);
    }
}

/* What a byte becomes: all of them, or those that mean something. */
static size_t other_bytes(uint8_t *out)
{
    static const char some[] = "{}[]:,\"\\ \n\r\t0-.eE+tn/ub";
    size_t n = 0;

    for (unsigned c = 0; c < 256; c++) {
        if (tjson_whole() || c < 2 || c == 0x1F || c >= 0xFE || c == 0x7F || c == 0x80 ||
            c == 0xBF || c == 0xC3 || c == 0xED || c == 0xF4 ||
            (c >= 0x20 && strchr(some, (int)c) != NULL))
            out[n++] = (uint8_t)c;
    }
    return n;
}

static void change_bytes(char *text, size_t len, enum json_framing framing)
{
    uint8_t other[256];
    const size_t n = other_bytes(other);
    char *copy = malloc(len + 1);

    assert_non_null(copy);
    for (size_t at = 0; at < len; at++) {
        const char was = text[at];

        for (size_t i = 0; i < n; i++) {
            text[at] = (char)other[i];
            agree_guarded(text, len, framing, 0);
        }
        text[at] = was;
        memcpy(copy, text, at); /* one byte less, one more */
        memcpy(copy + at, text + at + 1, len - at - 1);
        agree_guarded(copy, len - 1, framing, 0);
        memcpy(copy + at, text + at, len - at);
        memmove(copy + at + 1, copy + at, len - at);
        agree_guarded(copy, len + 1, framing, 0);
    }
    free(copy);
}

static void test_single_bytes(void **state)
{
    char text[8192];

    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(styles); s++) {
        change_bytes(text, write_events(&styles[s], false, text), JSON_FRAMING_ARRAY);
        change_bytes(text, write_events(&styles[s], true, text), JSON_FRAMING_SINGLE);
    }
}

/* ---- boundaries, sizes, shapes ---- */

/* Random events as an array or as a member's value in one document, some of them changed a little. */
static size_t write_random(struct tjson_rng *r, const struct style *style, bool document, char *out,
                           size_t size)
{
    static char event[4096];
    struct writer w = {.style = style, .out = out};
    const char *head = document ? "{\"event_type\":\"x\",\"meta\":[" : "[";
    bool first = true;

    put(&w, head, strlen(head));
    while (w.n + 64 * KIB < size) {
        size_t n = tjson_event(tjson_below(r, 64), r, event, sizeof(event));

        if (!first)
            put(&w, ",", 1);
        first = false;
        put_line(&w);
        put_json(&w, event, n);
    }
    put(&w, document ? "],\"ts\":0}" : "]", document ? 9 : 1);
    return w.n;
}

/* Arrays around the end of a chunk, each a byte further; then with changes. */
static void test_boundaries(void **state)
{
    const size_t room = 200 * KIB;
    char *text = malloc(room);
    struct tjson_rng r = {tjson_seed()};

    (void)state;
    assert_non_null(text);
    for (size_t turn = 0; turn < 160; turn++) {
        const bool document = turn % 2 == 0;
        const enum json_framing framing = document ? JSON_FRAMING_SINGLE : JSON_FRAMING_ARRAY;
        size_t len;

        memset(text, ' ', turn);
        len = turn + write_random(&r, &styles[turn % ARRAY_LEN(styles)], document, text + turn,
                                  64 * KIB + CHUNK_BYTES + tjson_below(&r, 40 * KIB));
        agree_guarded(text, len, framing, 0);
        for (unsigned change = 0; change < 4; change++)
            len = tjson_mutate(&r, text, len, room);
        agree_guarded(text, len, framing, 0);
    }
    free(text);
}

/* Small arrays, most of them wrong, with each byte of theirs at the end of a chunk. */
static void test_boundaries_within(void **state)
{
    static const char *const texts[] = {
        "[[ ], ],,)]",   "[1,2]",
        "[ ]",           "[{}, ]",
        "[,{}]",         "[{} {}]",
        "[{}],[{}]",     "[{}]]",
        "[{}}",          "[[{}]",
        "[{},\n{}\n]\n", "[\"a\"\n,",
        "[{}\n]x",       "[true,false]",
        "[[1],\r\n[2]]", "{\"a\":[{}\n],\n\"ts\":1}",
        "{\"a\":1,}",    "{\"user\"\n:\n{\"id\":7\n}\n}",
    };
    char *text = malloc(3 * CHUNK_BYTES);

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const size_t n = strlen(texts[i]);

        for (size_t at = CHUNK_BYTES - n - 2; at <= CHUNK_BYTES + 1; at++) {
            memset(text, ' ', at);
            memcpy(text + at, texts[i], n);
            agree_guarded(text, at + n, JSON_FRAMING_ARRAY, 0);
            memset(text, '\n', at);
            text[0] = '[';
            agree_guarded(text, at + n, JSON_FRAMING_ARRAY, 0);
            agree_guarded(text, at + n, JSON_FRAMING_SINGLE, TJSON_ORACLE);
        }
    }
    free(text);
}

/* Every hostile kind of text as both, from 2 bytes on. The largest are the turn of some in each run. */
static void test_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < tjson_n_growths; i++) {
        const bool large = tjson_whole() || i % 5 == tjson_seed() % 5;

        for (size_t size = 2; size <= (large ? 16 * MIB : 128 * KIB);
             size = size < 80 ? size + 1 : 2 * size - size / 3) {
            char *at = guard.high - JSON_PADDING_BYTES - size;
            const size_t n = tjson_grow(&tjson_growths[i], at, size);
            char *buf = tjson_guard_end(&guard, at, n, hostile[size % ARRAY_LEN(hostile)]);

            agree(buf, n, JSON_FRAMING_SINGLE, 0);
            agree(buf, n, JSON_FRAMING_ARRAY, 0);
        }
    }
}

/* One document of 16 MiB and one array, of each style. */
static void test_large(void **state)
{
    struct tjson_rng r = {tjson_seed()};
    char *text = malloc(18 * MIB);

    (void)state;
    assert_non_null(text);
    for (size_t s = 0; s < ARRAY_LEN(styles); s++) {
        agree_guarded(text, write_random(&r, &styles[s], true, text, 16 * MIB), JSON_FRAMING_SINGLE,
                      0);
        agree_guarded(text, write_random(&r, &styles[s], false, text, 16 * MIB), JSON_FRAMING_ARRAY,
                      0);
    }
    free(text);
}

/* Wanted members in front of, between and behind others that are too many to be kept as tokens, with escaped
 * and repeated keys and white space around what ends a value. */
static void test_large_members(void **state)
{
    static const char *const members[] = {
        "\"user\":{\"id\":\"last\"}",
        "\"user\":{\"x\":{\"id\":0},\"i\\u0064\" : 5 ,\"y\":[{\"id\":6}]}",
        "\"user\" : 1",
        "\"event_typ\\u0065\"\n:\ttrue\r\n",
        "\"event_type\":\"a\\\"b\"",
        "\"a\":{\"b\":{\"c\":{\"d\":{\"a\":[1]} } , \"e\":1}}}",
        "\"a\":{\"b\":{\"c\":{\"d\":false}},\"b\":1}",
        "\"\\u00e9\":-0.5e1 ",
        "\"meta\":[ {\"user\":{\"id\":7}} ]",
        "\"ts\":null",
    };
    struct tjson_rng r = {tjson_seed()};
    char *text = malloc(2 * MIB);

    (void)state;
    assert_non_null(text);
    for (unsigned turn = 0; turn < 40; turn++) {
        size_t n = format(text, "{\"k\":0");

        for (unsigned m = 0; m < 12; m++) {
            const uint32_t pad = tjson_below(&r, 3) == 0 ? tjson_below(&r, 20000) : 20;

            n += format(text + n, ",%s,\"p\":[[", members[tjson_below(&r, 10)]);
            for (uint32_t i = 0; i < pad; i++)
                n += format(text + n, i % 7 == 0 ? "{\"id\":1}, " : "9,");
            n += format(text + n, "0]]");
        }
        n += format(text + n, ",\"q\":[");
        while (n < 200 * KIB)
            n += format(text + n, "1,\n");
        n += format(text + n, "1]}");
        agree_guarded(text, n, JSON_FRAMING_SINGLE, TJSON_ORACLE);
        n = tjson_mutate(&r, text, n, 2 * MIB);
        agree_guarded(text, n, JSON_FRAMING_SINGLE, 0);
    }
    free(text);
}

/* 100,000 shapes, in arrays of a thousand. */
static void test_many_shapes(void **state)
{
    char *text = malloc(MIB);

    (void)state;
    assert_non_null(text);
    for (unsigned from = 0; from < 100000; from += 1000) {
        size_t n = 1;

        text[0] = '[';
        for (unsigned number = from; number < from + 1000; number++) {
            n += format(text + n, "%s{\"ts\":0,\"a\":[0", number > from ? ",\n" : "");
            for (unsigned bit = 0; bit < 17; bit++)
                n += format(text + n, (number >> bit & 1) != 0 ? ",[]" : ",0");
            n += format(text + n, "]}");
        }
        text[n++] = ']';
        assert_int_equal(agree_guarded(text, n, JSON_FRAMING_ARRAY, 0), 1000);
    }
    free(text);
}

/* The proofs above would hold as well if the scalar scanner read everything. */
static void test_vectors_read(void **state)
{
    const struct style *indented = &styles[1];
    struct tjson_rng r = {tjson_seed()};
    char *text = malloc(4 * MIB);

    (void)state;
    assert_non_null(text);
    for (unsigned turn = 0; turn < 4; turn++) { /* the last two: many tokens, and many members */
        const bool document = turn > 0;
        const size_t sizes[] = {MIB, 66 * KIB, MIB, 150 * KIB};
        const size_t n = write_random(&r, indented, document, text, sizes[turn]);
        const int got = agree_guarded(text, n, document ? JSON_FRAMING_SINGLE : JSON_FRAMING_ARRAY,
                                      TJSON_ORACLE);

        assert_true(document ? got == 1 : got > 1000);
    }
    for (int v = 0; v < all.n; v++) {
        struct json_parser_stats stats;

        json_parser_stats(all.parser[v], &stats);
        assert_int_equal(stats.rescans, 0);
        if (all.isa[v] != JSON_ISA_SCALAR)
            assert_true(stats.shape_hits > stats.events / 4);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define PROOF(name) cmocka_unit_test_setup_teardown(name, start, stop)
        PROOF(test_prefixes),          PROOF(test_single_bytes), PROOF(test_boundaries),
        PROOF(test_boundaries_within), PROOF(test_sizes),        PROOF(test_large),
        PROOF(test_large_members),     PROOF(test_many_shapes),  PROOF(test_vectors_read),
#undef PROOF
    };

    return cmocka_run_group_tests(tests, map, unmap);
}
