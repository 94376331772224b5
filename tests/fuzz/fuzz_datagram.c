/*
 * Arbitrary datagrams with little block memory: each is taken, with every document of it in a block
 * as an event or a dead letter, or nothing of it is and it is counted once, or may be tried again. A
 * malformed array is one dead letter of all its bytes. And several, cut apart at a byte that no text has,
 * leave the same when they are taken together as when each is taken alone.
 */
#include <netinet/in.h>

#include "tests/unit/tburst.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct seen {
    uint64_t events, dead;
};

static void line_count(void *ctx, const struct block_view *v, const struct block_run *run,
                       const struct block_entry *e)
{
    struct seen *s = ctx;

    if ((e->flags & BLOCK_ENTRY_PART) != 0)
        return;
    if (run->kind == BLOCK_EVENT) {
        s->events++;
        return;
    }
    s->dead++;
    ASSERT(memmem(v->buf + e->offset, e->len, "\"udp [::1]:9\"", 13) != NULL);
}

static uint64_t documents(const char *copy, size_t len)
{
    static struct json_event ev[16];
    enum json_framing framing = json_detect(copy, len);
    struct json_parser *parser;
    struct json_stream s;
    uint64_t n = 0;
    size_t at;
    int got;

    if (framing == JSON_FRAMING_ARRAY && json_validate(copy, len, &at) != JSON_ERROR_NONE)
        return 1;
    ASSERT(json_parser_create(NULL, JSON_ISA_SCALAR, &parser) == 0);
    json_stream_init(&s, parser, copy, len, framing);
    while ((got = json_next(&s, ev, 16)) > 0)
        n += (uint64_t)got;
    json_parser_destroy(parser);
    return n;
}

static uint64_t dropped(const struct worker *w)
{
    uint64_t n = 0;

    for (int i = 0; i < REASON_END; i++)
        n += atomic_load(&w->stats.udp_dropped[i]);
    return n;
}

#define APART 0x1e

static void take_both_ways(const uint8_t *data, size_t len, const struct sockaddr_storage *peer)
{
    static struct tburst both;
    struct datagram d[32];
    uint32_t n = 0;

    if (both.alone.core == NULL)
        tburst_up(&both);
    while (n < ARRAY_LEN(d)) {
        const uint8_t *end = memchr(data, APART, len);
        const size_t bytes = end == NULL ? len : (size_t)(end - data);
        char *copy = malloc(bytes + JSON_PADDING_BYTES);

        memset(copy + bytes, "\"}\xC3\\"[n % 4], JSON_PADDING_BYTES);
        memcpy(copy, data, bytes);
        d[n++] =
            (struct datagram){.buf = copy, .len = (uint32_t)bytes, .input = "dpdk", .from = peer};
        if (end == NULL)
            break;
        data = end + 1;
        len -= bytes + 1;
    }
    ASSERT(tburst_take(&both, d, n) >= 0);
    for (uint32_t i = 0; i < n; i++)
        free((char *)(uintptr_t)d[i].buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct tcore_ingest *t;
    static struct worker *w;
    struct sockaddr_in6 from = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    struct sockaddr_storage peer = {0};
    struct datagram d = {.len = (uint32_t)len, .input = "udp", .from = &peer};
    struct seen seen = {0};
    uint64_t before;
    char *copy;
    bool taken;

    if (len > 65507)
        return 0;
    if (t == NULL) {
        t = calloc(1, sizeof(*t));
        t->blocks = 4;
        t->block_bytes = 8192;
        t->event_bytes_max = 4096;
        t->types_max = 12;
        tcore_ingest_up(t);
        w = aligned_alloc(64, align_up(sizeof(*w), 64));
        memset(w, 0, sizeof(*w));
        w->ingest = t->ingest;
    }
    from.sin6_addr.s6_addr[15] = 1;
    memcpy(&peer, &from, sizeof(from));
    if (len > 0 && memchr(data, APART, len) != NULL)
        take_both_ways(data, len, &peer);
    tcore_in = t;
    d.dropped = w->stats.udp_dropped;
    d.dropped_lines = &w->stats.udp_dropped_lines;
    d.buf = copy = calloc(1, len + JSON_PADDING_BYTES);
    memcpy(copy, data, len);
    before = dropped(w);
    taken = datagram_take(w, &d);
    tcore_ingest_lines(t, line_count, &seen);
    ASSERT(t->n_free == t->blocks);
    if (!taken || dropped(w) > before) {
        ASSERT(seen.events + seen.dead == 0 && dropped(w) == before + (taken ? 1 : 0));
    } else {
        ASSERT(seen.events + seen.dead == documents(copy, len));
    }
    free(copy);
    return 0;
}
