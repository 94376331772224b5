/*
 * The JSON scanner over a file of events: complete validation, and the members that a worker picks.
 *
 *     bench_json FILE PASSES
 *
 * Each pass goes once through the whole file, which is larger than the caches, so that nothing that learns
 * from a small buffer can gain by it. Between its passes, as the ceiling, the same file is only split into
 * lines.
 */
#include "dataplane/base/compiler.h"
#include "dataplane/json/json.h"
#include "perf/bench.h"

#define BURST 32

static size_t scan(const char *buf, size_t len, struct json_parser *parser)
{
    struct json_event events[BURST];
    struct json_stream s;
    size_t valid = 0;
    int n;

    json_stream_init(&s, parser, buf, len, JSON_FRAMING_LINES);
    while ((n = json_next(&s, events, BURST)) > 0)
        for (int i = 0; i < n; i++)
            valid += events[i].error == JSON_ERROR_NONE && events[i].field[0].type == JSON_STRING;
    return valid;
}

static size_t split(const char *buf, size_t len)
{
    const char *end = buf + len;
    size_t lines = 0;

    for (const char *p = buf; p < end; lines++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (p == NULL)
            break;
        p++;
    }
    return lines;
}

int main(int argc, char **argv)
{
    static const char *const picked[] = {"event_type", "order_date", "timestamp"};
    struct json_paths paths = {0};
    struct json_parser *parser[JSON_ISA_AVX512 + 1] = {NULL};
    size_t len, lines;
    char *buf;

    if (argc != 3) {
        fprintf(stderr, "usage: bench_json FILE PASSES\n");
        return 2;
    }
    buf = bench_read(argv[1], JSON_PADDING_BYTES, &len);
    for (size_t i = 0; i < ARRAY_LEN(picked); i++)
        if (json_paths_add(&paths, picked[i]) < 0)
            return 1;
    for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++)
        if (json_isa_usable(isa) && json_parser_create(&paths, isa, &parser[isa]) != 0)
            return 1;
    lines = split(buf, len);
    for (int pass = -1; pass < strtol(argv[2], NULL, 10); pass++) { /* pass -1 warms up */
        uint64_t start;

        for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++) {
            if (parser[isa] == NULL)
                continue;
            start = bench_now();
            if (scan(buf, len, parser[isa]) != lines) {
                fprintf(stderr, "bench_json: not every line is a valid event\n");
                return 1;
            }
            if (pass >= 0)
                bench_pass(json_isa_name(isa), len, start);
        }
        start = bench_now();
        if (split(buf, len) != lines)
            return 1;
        if (pass >= 0)
            bench_pass("memchr", len, start);
    }
    for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++)
        json_parser_destroy(parser[isa]);
    free(buf);
    return 0;
}
