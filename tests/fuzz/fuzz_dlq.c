/*
 * Any bytes as a line of a dead-letter object, and as the words behind `dlq`. A line is a letter or
 * has a reason not to be one; the bytes of a letter, written again as a letter, are the same bytes.
 */
#include <stdlib.h>

#include "control/dlq_options.h"
#include "control/protocol.h"
#include "dataplane/event/dead.h"
#include "dataplane/json/json.h"

#define NOW_US INT64_C(1764000000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const char *raw, size_t len)
{
    struct dead_letter d = {.reason = REASON_BAD_JSON,
                            .detail = "",
                            .source = "fuzz",
                            .received_us = NOW_US,
                            .raw = {.ptr = raw, .len = len},
                            .journal_hex = "00112233445566778899aabbccddeeff"};
    uint32_t parts = len > 0 ? dead_parts(&d, 4096) : 0;
    char *text = calloc(1, 4096 + JSON_PADDING_BYTES), *back = malloc(8192);
    size_t at = 0;

    for (uint32_t i = 0; i < parts; i++) {
        size_t n = dead_format(&d, i, parts, 1, 4096, text);
        struct dlq_line line;

        ASSERT(dlq_line_parse((struct span){.ptr = text, .len = n - 1}, &line) == NULL);
        n = dlq_line_raw(&line, back);
        ASSERT(at + n <= len && memcmp(back, raw + at, n) == 0);
        at += n;
    }
    ASSERT(at == len);
    free(text);
    free(back);
}

static void fuzz_line(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + JSON_PADDING_BYTES), *raw;
    struct dlq_line line;
    const char *why;

    memcpy(text, data, size);
    why = dlq_line_parse((struct span){.ptr = text, .len = size}, &line);
    if (why == NULL) {
        raw = malloc(line.raw.len + 1);
        write_again(raw, dlq_line_raw(&line, raw));
        free(raw);
        ASSERT(line.part >= 1 && line.part <= line.parts && line.reason[0] != '\0');
    } else {
        ASSERT(why[0] != '\0');
    }
    free(text);
}

static void fuzz_words(const uint8_t *data, size_t size)
{
    struct dlq_options *o = malloc(sizeof(*o));
    struct textbuf error = {0};
    int status =
        dlq_options_parse((struct span){.ptr = (const char *)data, .len = size}, NOW_US, o, &error);

    ASSERT((error.len > 0) == (status == PROTOCOL_USAGE));
    if (status == PROTOCOL_OK)
        ASSERT(o->filter.n_ids <= DLQ_IDS_MAX && o->filter.since_us < o->filter.until_us);
    textbuf_fini(&error);
    free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    fuzz_line(data, size);
    fuzz_words(data, size);
    return 0;
}
