/*
 * Goal: every variant of the parser that this CPU has says the same about every document, above all when it
 * takes an event for one that it has learned. Method: the first byte of the input chooses framing and
 * padding, the rest are documents. They are read three times, which is enough to learn every shape, and
 * then again with small changes that follow from the input: a bracket turned, a colon for a comma, a quote
 * moved, a number that is a literal (tjson_mutate()), in one buffer and cut into several. What is read ends
 * exactly JSON_PADDING_BYTES after the text in an allocation of its own, so AddressSanitizer sees any read
 * beyond. jansson judges the text as it came. The mutator works on whole lines: it doubles and changes
 * them, so that learned shapes meet near misses in one buffer too. Canary: built with
 * -D'SHAPE_MATCHES(hash,kinds,keys)=((hash)&&(kinds))' it has to stop within seconds;
 * tests/unit/test_json_canary.c does the like for every precaution in each run of the tests.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tjson.h"

#define ROUNDS       12
#define CHUNK_BYTES  (32u << 10) /* of stage 1: the text lies over its end once */
#define CHANGED_MAX  (1u << 16)
#define LINE_CAP_MAX 8192

static const char *const paddings[] = {"\"}]0\x80\\u", "\n", " ", "\"", "\\", "}", "0", "\xFF"};

/* Reads text, behind so many spaces, from an allocation that ends with its padding. */
static void check(struct tjson *t, const char *text, size_t text_len, size_t spaces,
                  unsigned choice, enum json_framing framing, unsigned flags)
{
    const char *padding = paddings[choice % ARRAY_LEN(paddings)];
    const size_t len = spaces + text_len;
    char *buf = malloc(len + JSON_PADDING_BYTES);

    ASSERT(buf != NULL);
    memset(buf, ' ', spaces);
    if (text_len > 0)
        memcpy(buf + spaces, text, text_len);
    for (size_t i = 0; i < JSON_PADDING_BYTES; i++)
        buf[len + i] = padding[i % strlen(padding)];
    if (tjson_check(t, buf, len, framing, flags) < 0) {
        fprintf(stderr, "differ: %s\n%zu spaces\n%.*s\n", t->what, spaces,
                (int)(text_len < 4000 ? text_len : 4000), text);
        abort();
    }
    free(buf);
}

/* The same in buffers of their own, cut at lines' ends and anywhere. */
static void check_cut(struct tjson *t, struct tjson_rng *rng, const char *text, size_t len,
                      unsigned choice)
{
    struct json_buffer buffer[JSON_BUFFERS_MAX];
    const uint32_t n = tjson_cut(rng, text, len, paddings[choice % ARRAY_LEN(paddings)], buffer);

    if (tjson_check_buffers(t, buffer, n) < 0) {
        fprintf(stderr, "differ: %s\n%u buffers\n", t->what, n);
        for (uint32_t i = 0; i < n; i++)
            fprintf(stderr, "%u: %.*s\n", i, (int)buffer[i].len, buffer[i].ptr);
        abort();
    }
    tjson_cut_free(buffer, n);
}

static uint64_t hash_of(const char *text, size_t len)
{
    uint64_t h = len;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)text[i]) * UINT64_C(0x100000001B3);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char changed[CHANGED_MAX];
    const uint8_t choice = size > 0 ? data[0] : 0;
    const char *text = size > 0 ? (const char *)data + 1 : "";
    const size_t len = size > 0 ? size - 1 : 0;
    const enum json_framing framing = choice % 8 == 7 ? JSON_FRAMING_SINGLE : JSON_FRAMING_LINES;
    struct tjson_rng rng = {hash_of(text, len)};
    struct tjson t;

    if (len >= CHUNK_BYTES)
        return 0;
    tjson_init(&t, tjson_paths, tjson_n_paths);
    for (unsigned turn = 0; turn < 3; turn++)
        check(&t, text, len, 0, choice + turn, framing, turn == 0 ? TJSON_ORACLE : 0);
    check(&t, text, len, CHUNK_BYTES - tjson_below(&rng, (uint32_t)len + 2), choice, framing, 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t n = len;

        if (len > 0)
            memcpy(changed, text, len);
        for (unsigned k = round % 4; k < 4; k++)
            n = tjson_mutate(&rng, changed, n, CHANGED_MAX);
        check(&t, changed, n, tjson_below(&rng, 64), round, framing, 0);
        check_cut(&t, &rng, changed, n, round);
    }
    tjson_fini(&t);
    return 0;
}

/* ---- the mutator ---- */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Some line of text: where it begins, and how long it is with its end. */
static size_t pick_line(struct tjson_rng *r, const char *text, size_t len, size_t *line_len)
{
    size_t from = tjson_below(r, (uint32_t)len);
    size_t to = from;

    while (from > 0 && text[from - 1] != '\n')
        from--;
    while (to < len && text[to] != '\n')
        to++;
    *line_len = to - from + (to < len);
    return from;
}

/* A line comes twice, the second time changed perhaps. */
static size_t double_line(struct tjson_rng *r, char *text, size_t len, size_t cap)
{
    char line[LINE_CAP_MAX];
    size_t n;
    const size_t from = pick_line(r, text, len, &n);

    if (n + 64 > sizeof(line) || len + n + 64 > cap)
        return len;
    memcpy(line, text + from, n);
    if (n > 0 && line[n - 1] == '\n')
        n--;
    if (tjson_below(r, 3) > 0)
        n = tjson_mutate(r, line, n, n + 32);
    line[n++] = '\n';
    memmove(text + from + n, text + from, len - from);
    memcpy(text + from, line, n);
    return len + n;
}

static size_t new_event(struct tjson_rng *r, char *text, size_t len, size_t cap)
{
    if (len + 4200 > cap)
        return len;
    if (len > 0)
        text[len++] = '\n';
    return len + tjson_event(tjson_below(r, 4096), r, text + len, 4096);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct tjson_rng r = {seed};
    char *text = (char *)data + 1;
    size_t len = size - 1;
    const uint32_t op = tjson_below(&r, 8);

    if (size < 2 || op == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    if (op == 1)
        return 1 + new_event(&r, text, len, max_size - 1);
    if (op < 5)
        return 1 + double_line(&r, text, len, max_size - 1);
    return 1 + tjson_mutate(&r, text, len, max_size - 1);
}
