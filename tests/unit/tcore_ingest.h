/*
 * An ingest on blocks in memory, without a disk and without a worker: blocks count as durable when
 * taken. For tests and the fuzz target. A header that includes ingest.c, with the writer and the
 * journal behind it replaced by the few functions that ingest calls.
 */
#ifndef PENSTOCK_TESTS_TCORE_INGEST_H
#define PENSTOCK_TESTS_TCORE_INGEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/assemble.h"
#include "dataplane/ingest.h"
#include "dataplane/journal/journal.h"

#define TCORE_BLOCKS_MAX 512

/** Sizes, set before tcore_ingest_up(). */
struct tcore_ingest {
    uint32_t blocks, block_bytes, event_bytes_max, types_max;
    const char *source; /* of bodies */
    struct type_set types;
    struct type_config type[4];
    struct schema *schema;
    struct ingest *ingest;
    struct ingest_result result;
    struct worker_stats stats;
    struct block block[TCORE_BLOCKS_MAX];
    struct block *free[TCORE_BLOCKS_MAX];
    uint32_t n_free;
    struct journal_uuid uuid;
    bool failed, full, disk_error;
    uint64_t room;
    /* The stand-in for the writer. */
    struct block *open;
    struct block *sealed[TCORE_BLOCKS_MAX];
    uint32_t n_sealed;
    lsn_t end;
};

static struct tcore_ingest *tcore_in; /* what the stand-in works on */

static struct block *tcore_writer_open_block(const struct writer *w)
{
    (void)w;
    return tcore_in->open;
}

static bool tcore_writer_failed(const struct writer *w)
{
    (void)w;
    return tcore_in->failed;
}

static uint64_t tcore_writer_room(const struct writer *w)
{
    (void)w;
    return tcore_in->room;
}

static int tcore_writer_open(struct writer *w, struct block *b, uint64_t seq)
{
    (void)w;
    block_open(b, seq, tcore_in->end);
    tcore_in->open = b;
    return 0;
}

static void tcore_writer_seal(struct writer *w)
{
    struct block *b = tcore_in->open;
    struct block_seal seal = {.uuid = &tcore_in->uuid};

    (void)w;
    block_seal(b, &seal);
    tcore_in->end += b->len;
    tcore_in->sealed[tcore_in->n_sealed++] = b;
    tcore_in->open = NULL;
}

static struct block *tcore_block_get(void *ctx)
{
    struct tcore_ingest *t = ctx;

    return t->n_free > 0 ? t->free[--t->n_free] : NULL;
}

static uint32_t tcore_blocks_free(void *ctx)
{
    return ((struct tcore_ingest *)ctx)->n_free;
}

static const struct journal_uuid *tcore_journal_uuid(const struct journal *j)
{
    (void)j;
    return &tcore_in->uuid;
}

static bool tcore_journal_full(const struct journal *j)
{
    (void)j;
    return tcore_in->full;
}

static bool tcore_journal_disk_error(const struct journal *j)
{
    (void)j;
    return tcore_in->disk_error;
}

#define writer_open_block  tcore_writer_open_block
#define writer_failed      tcore_writer_failed
#define writer_room        tcore_writer_room
#define writer_open        tcore_writer_open
#define writer_seal        tcore_writer_seal
#define journal_uuid(j)    tcore_journal_uuid(j)
#define journal_full       tcore_journal_full
#define journal_disk_error tcore_journal_disk_error
#include "dataplane/ingest.c"

/** Takes blocks and creates the ingest; types "order" (schema), "strict" (unknown fields are dead
 * letters), "timed" (a time field), "adding" (unknown fields become columns). */
static inline void tcore_ingest_up(struct tcore_ingest *t)
{
    static const char schema[] =
        "[{\"name\":\"order_id\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},"
        "{\"name\":\"total\",\"type\":\"FLOAT\"},"
        "{\"name\":\"items\",\"type\":\"RECORD\",\"mode\":\"REPEATED\",\"fields\":["
        "{\"name\":\"sku\",\"type\":\"STRING\"}]},"
        "{\"name\":\"address_that_the_customer_wants_it_at\",\"type\":\"RECORD\",\"fields\":["
        "{\"name\":\"city\",\"type\":\"STRING\"}]},"
        "{\"name\":\"event_type\",\"type\":\"STRING\"},{\"name\":\"timestamp\",\"type\":"
        "\"TIMESTAMP\"}]";
    struct ingest_config c = {0};
    char error[300] = "";
    uint32_t capacity =
        block_capacity(t->block_bytes, t->event_bytes_max + EVENT_ADDED_BYTES_MAX + 4096);

    tcore_in = t;
    if (t->source == NULL)
        t->source = "http 127.0.0.1:1";
    if (schema_compile(span_of(schema), &t->schema, error, sizeof(error)) != 0)
        abort();
    t->type[0] = (struct type_config){.name = "order", .schema = t->schema};
    t->type[1] =
        (struct type_config){.name = "strict", .schema = t->schema, .unknown = UNKNOWN_DEAD_LETTER};
    t->type[2] = (struct type_config){.name = "timed", .time_field = "at.when"};
    t->types.type_field = "event_type";
    t->types.time_field = "timestamp";
    t->types.lateness_us = 600 * INT64_C(1000000);
    t->type[3] =
        (struct type_config){.name = "adding", .schema = t->schema, .unknown = UNKNOWN_ADD_COLUMN};
    t->types.n_types = 4;
    t->types.type = t->type;
    for (uint32_t i = 0; i < t->blocks; i++) {
        block_init(&t->block[i], aligned_alloc(BLOCK_ALIGN, capacity), capacity, t->block_bytes,
                   calloc(BLOCK_ENTRIES_MAX, sizeof(struct block_entry)), NULL);
        t->free[t->n_free++] = &t->block[i];
    }
    memset(t->uuid.byte, 0xab, sizeof(t->uuid.byte));
    t->room = UINT64_MAX / 2;
    t->end = lsn_make(1, 4096);
    c = (struct ingest_config){
        .types = &t->types,
        .types_max = t->types_max,
        .event_bytes_max = t->event_bytes_max,
        .json_isa = json_isa_best(),
        .stats = &t->stats,
        .block_get = tcore_block_get,
        .blocks_free = tcore_blocks_free,
        .blocks_total = t->blocks,
        .block_bytes = t->block_bytes,
        .ctx = t,
    };
    if (ingest_create(&c, &t->ingest, error, sizeof(error)) != 0)
        abort();
}

static inline void tcore_ingest_down(struct tcore_ingest *t)
{
    ingest_destroy(t->ingest);
    schema_destroy(t->schema);
    for (uint32_t i = 0; i < t->blocks; i++) {
        free(t->block[i].buf);
        free(t->block[i]._entries);
    }
}

/** Takes a body in; path_type may be NULL. */
static inline const struct ingest_result *tcore_ingest_body(struct tcore_ingest *t,
                                                            const char *body, size_t len,
                                                            const char *path_type)
{
    char *copy = calloc(1, len + JSON_PADDING_BYTES);
    struct ingest_body b = {.buf = copy, .len = len, .source = t->source};

    if (path_type != NULL)
        b.type = span_of(path_type);
    memcpy(copy, body, len);
    ingest_body(t->ingest, &b, &t->result);
    free(copy);
    return &t->result;
}

/** Seals what is open and calls line for every line; then all blocks are free again. */
static inline void tcore_ingest_lines(struct tcore_ingest *t,
                                      void (*line)(void *ctx, const struct block_view *v,
                                                   const struct block_run *run,
                                                   const struct block_entry *e),
                                      void *ctx)
{
    if (t->open != NULL && t->open->n_entries > 0)
        tcore_writer_seal(NULL);
    for (uint32_t i = 0; i < t->n_sealed; i++) {
        struct block_view v;

        if (block_view(t->sealed[i]->buf, t->sealed[i]->len, &t->uuid, t->sealed[i]->lsn, &v) != 0)
            abort();
        for (uint32_t r = 0; r < v.header->n_runs; r++) {
            for (uint32_t k = 0; k < v.runs[r].n_entries; k++)
                line(ctx, &v, &v.runs[r], &v.entries[v.runs[r].first + k]);
        }
        t->free[t->n_free++] = t->sealed[i];
    }
    t->n_sealed = 0;
}

#endif
