/*
 * What bench_json measures of ours: the parser's variants, and ceilings in plain C: splitting into lines,
 * copying, reading.
 */
#include <stdlib.h>

#include "dataplane/base/compiler.h"
#include "dataplane/json/json.h"
#include "perf/json_peer.h"

#define BURST      32
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
};

static void *ours_create(enum json_corpus corpus, enum json_isa isa)
{
    struct json_paths paths = {0};
    struct ours *o = calloc(1, sizeof(*o));

    if (o == NULL || !json_isa_usable(isa))
        goto fail;
    while (o->n_paths < 8 && paths_of[corpus][o->n_paths] != NULL)
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
    return ours_create(corpus, JSON_ISA_AVX512);
}

static void *avx2_create(enum json_corpus corpus, size_t buffer_max)
{
    (void)buffer_max;
    return ours_create(corpus, JSON_ISA_AVX2);
}

static void *scalar_create(enum json_corpus corpus, size_t buffer_max)
{
    (void)buffer_max;
    return ours_create(corpus, JSON_ISA_SCALAR);
}

static void ours_destroy(void *state)
{
    struct ours *o = state;

    json_parser_destroy(o->parser);
    free(o);
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
        {"penstock", "avx512", NULL, JSON_JOB_FIELDS, true, true, avx512_create, ours_run,
         ours_destroy},
        {"penstock", "avx2", NULL, JSON_JOB_FIELDS, true, true, avx2_create, ours_run,
         ours_destroy},
        {"penstock", "scalar", NULL, JSON_JOB_FIELDS, true, true, scalar_create, ours_run,
         ours_destroy},
        {"memchr, lines only", "native", NULL, JSON_JOB_CEILING, false, false, plain_create,
         split_run, free},
        {"memcpy", "native", NULL, JSON_JOB_CEILING, false, false, plain_create, copy_run, free},
        {"read", "native", NULL, JSON_JOB_CEILING, false, false, plain_create, read_run, free},
    };
    int n = 0;

    while (n < (int)ARRAY_LEN(subjects) && n < max) {
        out[n] = subjects[n];
        n++;
    }
    return n;
}
