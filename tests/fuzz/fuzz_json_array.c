/*
 * Goal: arrays and documents over several lines are to every variant what they are to the scalar one, right
 * or wrong, and valid ones what jansson says. Method: the first byte chooses white space and what is made of
 * the lines of the rest: an array of them, a member of one document, or the text as it stands. It is read as
 * an array, as one document and as a whole to be validated, alone and now and then over the end of a chunk of
 * stage 1, then changed a little (tjson_mutate()) and read again by parsers that have learned its shapes.
 * What is read ends exactly JSON_PADDING_BYTES after the text in an allocation of its own. Canary:
 * tests/unit/tjson_canary.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tjson.h"

#define ROUNDS      6
#define RUNS        64          /* of one set of parsers */
#define CHUNK_BYTES (32u << 10) /* of stage 1: the text lies over its end now and then */
#define TEXT_MAX    (1u << 17)

static const char *const paddings[] = {"\"}]0\x80\\u", "]", " ", "\"", "\\", "}", ",", "\xFF"};
static const char *const gaps[] = {"", "\n", " \n\t", "\r\n    "};

static void check(struct tjson *t, const char *text, size_t text_len, size_t spaces,
                  unsigned choice, bool judge)
{
    const char *padding = paddings[choice % ARRAY_LEN(paddings)];
    const size_t len = spaces + text_len;
    char *buf = malloc(len + JSON_PADDING_BYTES);

    ASSERT(buf != NULL);
    memset(buf, ' ', spaces);
    memcpy(buf + spaces, text, text_len);
    for (size_t i = 0; i < JSON_PADDING_BYTES; i++)
        buf[len + i] = padding[i % strlen(padding)];
    for (int framing = JSON_FRAMING_ARRAY; framing <= JSON_FRAMING_SINGLE; framing++) {
        size_t at;
        const bool oracle = judge && (framing == JSON_FRAMING_SINGLE ||
                                      (json_detect(buf, len) == JSON_FRAMING_ARRAY &&
                                       json_validate(buf, len, &at) == JSON_ERROR_NONE));

        if (tjson_check(t, buf, len, (enum json_framing)framing, oracle ? TJSON_ORACLE : 0) < 0) {
            fprintf(stderr, "differ: %s\nframing %d, %zu spaces\n%.*s\n", t->what, framing, spaces,
                    (int)(text_len < 4000 ? text_len : 4000), text);
            abort();
        }
    }
    free(buf);
}

static size_t add(char *text, size_t len, const char *more)
{
    const size_t n = strlen(more);

    memcpy(text + len, more, n);
    return len + n;
}

/* Makes one array, or one document with an array in it: line feeds outside of strings become commas. */
static size_t make(const char *lines, size_t n, unsigned choice, char *text)
{
    const char *gap = gaps[choice % ARRAY_LEN(gaps)];
    const bool whole = choice / 8 % 4 == 0;
    const bool document = choice / 8 % 4 == 1;
    bool in_string = false;
    size_t len = add(text, 0, document ? "{\"user\":{\"id\":\"u\"},\"a\":[" : whole ? "" : "[");

    for (size_t i = 0; i < n; i++) {
        const bool separates = !in_string && !whole && lines[i] == '\n' && i + 1 < n;

        in_string ^= lines[i] == '"' && (i == 0 || lines[i - 1] != '\\');
        text[len++] = separates ? ',' : lines[i];
        if (!in_string && (separates || strchr("{,[", lines[i]) != NULL))
            len = add(text, len, gap);
    }
    return add(text, len, document ? "],\"ts\":1}" : whole ? "" : "]");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tjson t; /* knows the shapes of some inputs before */
    static char text[TEXT_MAX];
    static unsigned run;
    const uint8_t choice = size > 0 ? data[0] : 0;
    struct tjson_rng rng = {size};
    size_t len;

    if (size < 2 || size > 4096)
        return 0;
    for (size_t i = 0; i < size; i++)
        rng.state = (rng.state ^ data[i]) * UINT64_C(0x100000001B3);
    if (run++ % RUNS == 0) {
        tjson_fini(&t);
        tjson_init(&t, tjson_paths, tjson_n_paths);
    }
    len = make((const char *)data + 1, size - 1, choice, text);
    for (unsigned turn = 0; turn < 3; turn++)
        check(&t, text, len, 0, choice + turn, turn == 0);
    if (tjson_below(&rng, 8) == 0)
        check(&t, text, len, CHUNK_BYTES - tjson_below(&rng, (uint32_t)len + 2) % CHUNK_BYTES,
              choice, false);
    for (unsigned round = 0; round < ROUNDS; round++) {
        len = tjson_mutate(&rng, text, len, TEXT_MAX);
        check(&t, text, len, tjson_below(&rng, 64), round, false);
    }
    return 0;
}
