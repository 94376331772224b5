/*
 * Whether datagrams that are taken together leave the same lines and counts as when each is taken alone:
 * for a unit test and a fuzz target. A header that includes datagram.c on an ingest in memory. Blocks are
 * plenty.
 */
#ifndef PENSTOCK_TESTS_TBURST_H
#define PENSTOCK_TESTS_TBURST_H

#include "tests/unit/tcore_ingest.h"

#include "dataplane/datagram.c"

#define TBURST_NOW_US INT64_C(1795000000000000)

/** What a way leaves behind. */
struct tburst_way {
    struct tcore_ingest *core;
    struct worker *worker;
    char **line;
    size_t n_lines;
};

/** Both ways. */
struct tburst {
    struct tburst_way alone, together;
};

static inline void tburst_way_up(struct tburst_way *way)
{
    struct tcore_ingest *t = calloc(1, sizeof(*t));

    t->blocks = 48;
    t->block_bytes = 1 << 20;
    t->event_bytes_max = 4096;
    t->types_max = 12;
    tcore_ingest_up(t);
    way->core = t;
    way->worker = aligned_alloc(64, align_up(sizeof(*way->worker), 64));
    memset(way->worker, 0, sizeof(*way->worker));
    way->worker->ingest = t->ingest;
    way->worker->wall_us = TBURST_NOW_US;
}

static inline void tburst_up(struct tburst *b)
{
    memset(b, 0, sizeof(*b));
    tburst_way_up(&b->alone);
    tburst_way_up(&b->together);
}

static inline void tburst_down(struct tburst *b)
{
    tcore_ingest_down(b->alone.core);
    tcore_ingest_down(b->together.core);
    free(b->alone.core);
    free(b->together.core);
    free(b->alone.worker);
    free(b->together.worker);
}

/* Keeps all of a line but its LSN, which is that of its place. */
static void tburst_line(void *ctx, const struct block_view *v, const struct block_run *run,
                        const struct block_entry *e)
{
    struct tburst_way *way = ctx;
    char *text = NULL, *lsn;
    int len =
        asprintf(&text, "%u %u %d %u %.*s: %.*s", run->kind, e->flags, e->minute, e->added,
                 (int)run->name_len, block_run_name(v, run).ptr, (int)e->len, v->buf + e->offset);

    ASSERT(len > 0);
    lsn = memmem(text, (size_t)len, "\"penstock_id\":\"abab", 19);
    for (; lsn != NULL;
         lsn = memmem(lsn + 1, (size_t)(text + len - lsn - 1), "\"penstock_id\":\"abab", 19))
        memset(lsn + 48, 'x', 16);
    way->line = realloc(way->line, (way->n_lines + 1) * sizeof(*way->line));
    way->line[way->n_lines++] = text;
}

static int tburst_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline void tburst_collect(struct tburst_way *way)
{
    way->line = NULL;
    way->n_lines = 0;
    tcore_in = way->core;
    tcore_ingest_lines(way->core, tburst_line, way);
    if (way->n_lines > 0)
        qsort(way->line, way->n_lines, sizeof(*way->line), tburst_order);
}

static inline void tburst_forget(struct tburst_way *way)
{
    for (size_t i = 0; i < way->n_lines; i++)
        free(way->line[i]);
    free(way->line);
}

/* The datagrams as those of this worker: its drops are counted there. */
static inline struct datagram tburst_own(struct worker *w, const struct datagram *d)
{
    struct datagram own = *d;

    own.dropped = w->stats.packet_dropped;
    own.dropped_lines = &w->stats.packet_dropped_lines;
    return own;
}

/** Takes n datagrams both ways. @return how many lines that made; -1 when they differ, with a message. */
static inline int tburst_take(struct tburst *b, const struct datagram *d, uint32_t n)
{
    struct datagram own[JSON_BUFFERS_MAX];
    int lines;
    bool same;

    tcore_in = b->alone.core;
    for (uint32_t i = 0; i < n; i++) {
        own[i] = tburst_own(b->alone.worker, &d[i]);
        ASSERT(datagram_take(b->alone.worker, &own[i]));
    }
    tcore_in = b->together.core;
    for (uint32_t i = 0; i < n; i++)
        own[i] = tburst_own(b->together.worker, &d[i]);
    ASSERT(datagrams_take(b->together.worker, own, n) == 0);
    tburst_collect(&b->alone);
    tburst_collect(&b->together);
    lines = (int)b->together.n_lines;
    same = b->alone.n_lines == b->together.n_lines;
    for (size_t i = 0; same && i < b->alone.n_lines; i++) {
        same = strcmp(b->alone.line[i], b->together.line[i]) == 0;
        if (!same)
            fprintf(stderr, "alone:    %stogether: %s", b->alone.line[i], b->together.line[i]);
    }
    same = same && memcmp(&b->alone.core->stats, &b->together.core->stats,
                          sizeof(b->alone.core->stats)) == 0;
    same = same && memcmp(&b->alone.worker->stats, &b->together.worker->stats,
                          sizeof(b->alone.worker->stats)) == 0;
    if (!same)
        fprintf(stderr, "%zu lines alone, %zu together\n", b->alone.n_lines, b->together.n_lines);
    tburst_forget(&b->alone);
    tburst_forget(&b->together);
    return same ? lines : -1;
}

#endif
