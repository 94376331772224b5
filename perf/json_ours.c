/*
 * What bench_json measures of ours: the parser's variants, rows by the schema's program on top of them, and
 * ceilings in plain C: splitting into lines, copying, reading.
 */
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/base/compiler.h"
#include "dataplane/event/program.h"
#include "dataplane/event/schema.h"
#include "dataplane/json/json.h"
#include "perf/json_peer.h"
#include "perf/json_row_put.h"

#define BURST      32
#define SCHEMA     "perf/schemas/commerce.json" /* from the top of the repository */
#define COPY_BYTES (1u << 20)

/* What each corpus picks: of the mixed one everything that any of its events has. */
static const char *const paths_of[JSON_CORPORA_COUNT][8] = {
#define X(symbol, name, type, outer, inner, time) \
    [JSON_CORPUS_##symbol] = {type, outer "." inner, time},
    JSON_CORPORA(X)
#undef X
        [JSON_CORPUS_MIXED] = {"event_type", "metadata.session_id", "order_date", "type",
                               "actor.login", "created_at", "event.dataset"},
};

struct ours {
    struct json_parser *parser;
    int n_paths;
    struct schema *schema; /* of rows */
    struct program_memory *memory;
    char *row;
};

/* picks: finds the members that the corpus names. Rows go without, as those of the peers. */
static void *ours_create(enum json_corpus corpus, enum json_isa isa, bool picks)
{
    struct json_paths paths = {0};
    struct ours *o = calloc(1, sizeof(*o));

    if (o == NULL || !json_isa_usable(isa))
        goto fail;
    while (picks && o->n_paths < 8 && paths_of[corpus][o->n_paths] != NULL)
        if (json_paths_add(&paths, paths_of[corpus][o->n_paths++]) < 0)
            goto fail;
    if (json_parser_create(&paths, isa, &o->parser) != 0)
        goto fail;
    return o;

fail:
    free(o);
    return NULL;
}

static void *avx512_create(enum json_corpus corpus, size_t buffer_max)
{
    (void)buffer_max;
    return ours_create(corpus, JSON_ISA_AVX512, true);
}

static void *avx2_create(enum json_corpus corpus, size_t buffer_max)
{
    (void)buffer_max;
    return ours_create(corpus, JSON_ISA_AVX2, true);
}

static void *scalar_create(enum json_corpus corpus, size_t buffer_max)
{
    (void)buffer_max;
    return ours_create(corpus, JSON_ISA_SCALAR, true);
}

static void ours_destroy(void *state)
{
    struct ours *o = state;

    json_parser_destroy(o->parser);
    program_memory_destroy(o->memory);
    schema_destroy(o->schema);
    free(o->row);
    free(o);
}

static void *rows_create(enum json_corpus corpus, enum json_isa isa)
{
    struct ours *o = corpus == JSON_CORPUS_COMMERCE ? ours_create(corpus, isa, false) : NULL;
    char error[256];

    if (o == NULL)
        return NULL;
    o->row = malloc(ROW_BYTES_MAX);
    if (schema_load(SCHEMA, &o->schema, error, sizeof(error)) != 0) {
        fprintf(stderr, "bench_json: %s: %s\n", SCHEMA, error);
        exit(1);
    }
    if (o->row == NULL || program_memory_create(isa, &o->memory) != 0) {
        ours_destroy(o);
        return NULL;
    }
    return o;
}

static void *avx512_rows_create(enum json_corpus corpus, size_t buffer_max)
{
    (void)buffer_max;
    return rows_create(corpus, JSON_ISA_AVX512);
}

static void *avx2_rows_create(enum json_corpus corpus, size_t buffer_max)
{
    (void)buffer_max;
    return rows_create(corpus, JSON_ISA_AVX2);
}

static void *scalar_rows_create(enum json_corpus corpus, size_t buffer_max)
{
    (void)buffer_max;
    return rows_create(corpus, JSON_ISA_SCALAR);
}

static bool ours_run(void *state, const char *buf, size_t len, struct json_found *found)
{
    struct ours *o = state;
    struct json_event events[BURST];
    struct json_stream s;
    int n;

    json_stream_init(&s, o->parser, buf, len, JSON_FRAMING_LINES);
    while ((n = json_next(&s, events, BURST)) > 0) {
        found->events += (uint64_t)n;
        for (int i = 0; i < n; i++) {
            if (unlikely(events[i].error != JSON_ERROR_NONE))
                return false;
            for (int f = 0; f < o->n_paths; f++)
                if (events[i].field[f].type == JSON_STRING)
                    found->bytes += events[i].field[f].len - 2; /* without quotes */
        }
    }
    return true;
}

/* The event is taken as a line, so that its row has its own members only, as those of the peers. */
static bool rows_run(void *state, const char *buf, size_t len, struct json_found *found)
{
    static const struct program_row as_line = {.line = true};
    struct ours *o = state;
    struct json_event events[BURST];
    struct check_result check;
    struct json_stream s;
    size_t row_len;
    int n;

    json_stream_init(&s, o->parser, buf, len, JSON_FRAMING_LINES);
    while ((n = json_next(&s, events, BURST)) > 0)
        for (int i = 0; i < n; i++) {
            if (unlikely(events[i].error != JSON_ERROR_NONE) ||
                program_encode(o->schema, o->memory, &events[i], &as_line, o->row, ROW_BYTES_MAX,
                               &row_len, &check) != 0)
                return false;
            row_found(found, (uint8_t *)o->row, (uint8_t *)o->row + row_len);
        }
    return true;
}

static void *plain_create(enum json_corpus corpus, size_t buffer_max)
{
    (void)corpus;
    (void)buffer_max;
    return malloc(COPY_BYTES);
}

static bool split_run(void *state, const char *buf, size_t len, struct json_found *found)
{
    const char *end = buf + len;

    (void)state;
    for (const char *p = buf; p < end; p = json_line_end(p, end) + 1)
        found->events++;
    return true;
}

static bool copy_run(void *state, const char *buf, size_t len, struct json_found *found)
{
    (void)found;
    for (size_t at = 0; at < len; at += COPY_BYTES) {
        memcpy(state, buf + at, len - at < COPY_BYTES ? len - at : COPY_BYTES);
        __asm__ volatile("" ::"r"(state) : "memory");
    }
    return true;
}

/* Every byte, as far as the compiler makes vectors of it. */
static bool read_run(void *state, const char *buf, size_t len, struct json_found *found)
{
    uint64_t sum = 0;

    (void)state;
    (void)found;
    for (size_t at = 0; at + 8 <= len; at += 8) {
        uint64_t word;

        memcpy(&word, buf + at, 8);
        sum += word;
    }
    __asm__ volatile("" ::"r"(sum));
    return true;
}

int json_ours(struct json_subject *out, int max)
{
    static const struct json_subject subjects[] = {
        {"penstock", "avx512", NULL, JSON_JOB_FIELDS, true, true, false, false, avx512_create,
         ours_run, ours_destroy},
        {"penstock", "avx2", NULL, JSON_JOB_FIELDS, true, true, false, false, avx2_create, ours_run,
         ours_destroy},
        {"penstock", "scalar", NULL, JSON_JOB_FIELDS, true, true, false, false, scalar_create,
         ours_run, ours_destroy},
        {"penstock rows", "avx512", NULL, JSON_JOB_ROWS, true, true, false, false,
         avx512_rows_create, rows_run, ours_destroy},
        {"penstock rows", "avx2", NULL, JSON_JOB_ROWS, true, true, false, false, avx2_rows_create,
         rows_run, ours_destroy},
        {"penstock rows", "scalar", NULL, JSON_JOB_ROWS, true, true, false, false,
         scalar_rows_create, rows_run, ours_destroy},
        {"memchr, lines only", "native", NULL, JSON_JOB_CEILING, false, false, false, false,
         plain_create, split_run, free},
        {"memcpy", "native", NULL, JSON_JOB_CEILING, false, false, false, false, plain_create,
         copy_run, free},
        {"read", "native", NULL, JSON_JOB_CEILING, false, false, false, false, plain_create,
         read_run, free},
    };
    int n = 0;

    while (n < (int)ARRAY_LEN(subjects) && n < max) {
        out[n] = subjects[n];
        n++;
    }
    return n;
}
