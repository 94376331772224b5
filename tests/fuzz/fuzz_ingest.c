/*
 * Arbitrary bodies through ingest with little block memory: never a crash; admitted whole or not at
 * all; accepted and dead-lettered are all documents; every stored line is valid JSON and ends with
 * its penstock_id. The first byte chooses policies and whether the path names the type. With
 * FUZZ_CANARY a dead letter counts twice, which has to be found.
 */
#include "tests/unit/tcore_ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct seen {
    uint64_t events, dead, parts;
};

static void line_check(void *ctx, const struct block_view *v, const struct block_run *run,
                       const struct block_entry *e)
{
    static char copy[(64u << 10) + JSON_PADDING_BYTES];
    struct seen *s = ctx;
    const char *line = v->buf + e->offset;
    char id[80] = "";
    size_t at, id_len;

    ASSERT(e->len < sizeof(copy) - JSON_PADDING_BYTES && line[e->len - 1] == '\n');
    memcpy(copy, line, e->len);
    ASSERT(memchr(copy, '\n', e->len - 1) == NULL);
    ASSERT(json_validate(copy, e->len, &at) == JSON_ERROR_NONE);
    id_len = (size_t)snprintf(id, sizeof(id), "abababababababababababababababab-%016llx\"}\n",
                              (unsigned long long)(v->header->lsn + e->offset));
    ASSERT(e->len > id_len && memcmp(line + e->len - id_len, id, id_len) == 0);
    if ((e->flags & BLOCK_ENTRY_PART) != 0)
        s->parts++;
    else if (run->kind == BLOCK_EVENT)
        s->events++;
    else
        s->dead++;
}

static size_t documents(const char *body, size_t len)
{
    static struct json_event ev[16];
    char *copy = calloc(1, len + JSON_PADDING_BYTES);
    struct json_parser *parser;
    struct json_stream s;
    size_t n = 0;
    int got;

    ASSERT(json_parser_create(NULL, JSON_ISA_SCALAR, &parser) == 0);
    memcpy(copy, body, len);
    json_stream_init(&s, parser, copy, len, json_detect(copy, len));
    while ((got = json_next(&s, ev, 16)) > 0)
        n += (size_t)got;
    json_parser_destroy(parser);
    free(copy);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct tcore_ingest *t;
    static const char *const paths[] = {NULL, "order", "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"",
                                        "strict"};
    const struct ingest_result *r;
    struct seen seen = {0};

    if (len < 1)
        return 0;
    if (t == NULL) {
        t = calloc(1, sizeof(*t));
        t->blocks = 4;
        t->block_bytes = 8192;
        t->event_bytes_max = 4096;
        t->types_max = 12;
        tcore_ingest_up(t);
    }
    t->types.unlisted = (data[0] & 4) != 0 ? UNLISTED_DEAD_LETTER : UNLISTED_JSON;
    r = tcore_ingest_body(t, (const char *)data + 1, len - 1, paths[data[0] & 3]);
    tcore_ingest_lines(t, line_check, &seen);
    ASSERT(t->n_free == t->blocks);
    if (r->refused != REASON_NONE) {
        ASSERT(seen.events + seen.dead + seen.parts == 0);
        return 0;
    }
    ASSERT(r->accepted == seen.events);
#ifdef FUZZ_CANARY
    seen.dead *= 2;
#endif
    ASSERT(r->dead_lettered == seen.dead);
    ASSERT(r->accepted + r->dead_lettered == documents((const char *)data + 1, len - 1));
    return 0;
}
