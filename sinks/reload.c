/*
 * COLD. Plans whose bytes are not in memory (made before a restart, or parked for long) are read
 * from the journals again: one pass over the union of their ranges feeds as many plans as half of
 * the free group memory holds. What comes out must have the planned number of lines, bytes and CRC,
 * or nothing is sent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "dataplane/event/assemble.h"
#include "sinks/sink_internal.h"

#define BLOCKS_PER_TURN 16

/* The range of a plan in one journal, or NULL. */
static const struct plan_range *range_in(const struct plan *p, const struct journal *j)
{
    for (uint32_t i = 0; i < p->n_ranges; i++) {
        if (memcmp(&p->range[i].journal, journal_uuid(j), sizeof(struct journal_uuid)) == 0)
            return &p->range[i];
    }
    return NULL;
}

/* Chunks that a plan's lines need, wherever they break. */
static uint64_t chunks_of(const struct sink *s, const struct plan *p)
{
    ASSERT(p->lines > 0 && p->n_ranges > 0);
    return p->bytes / (CHUNK_BYTES - 16) + 2 * (uint64_t)s->n_feeds + 4;
}

/* Whether the oldest cold plan fits into free memory. Otherwise consuming waits until it does. */
static bool oldest_fits(struct sink *s)
{
    struct delivery *d;
    uint64_t need;

    while ((d = delivery_first(&s->cold)) != NULL && delivery_paused(d))
        delivery_hold(d, &s->cold);
    s->reload_hungry = false;
    if (d == NULL)
        return false;
    need = chunks_of(s, &d->plan) + PACK_CHUNKS;
    if (need > s->pool.n_total) {
        deliver_park(d, &s->cold, "larger than group memory: raise group.memory", true);
        return false;
    }
    if (need <= s->pool.n_free)
        return true;
    s->reload_hungry = true;
    held_free_memory(s);
    inserts_free_memory(s, need);
    plan_due(s, true);
    return false;
}

/* Takes cold plans up, oldest first: one at least, and as many as half of the free memory holds. */
static void take_up(struct sink *s)
{
    uint64_t room = s->pool.n_free / 2;
    struct delivery *d;

    if (!oldest_fits(s))
        return;
    while ((d = delivery_first(&s->cold)) != NULL) {
        uint64_t need = chunks_of(s, &d->plan);

        if (delivery_paused(d)) {
            delivery_hold(d, &s->cold);
            continue;
        }
        if (need > room && s->reloading.n > 0)
            return;
        ASSERT(d->content == NULL && d->state == DELIVERY_COLD);
        d->content = group_new(&d->plan.key, s->n_feeds);
        if (d->content == NULL)
            return;
        room -= need < room ? need : room;
        s->reload_reserved += need;
        delivery_move(d, &s->cold, &s->reloading, DELIVERY_RELOADING);
    }
}

/* The union of what the plans under way need of one journal. */
static void feed_begin(struct sink *s)
{
    const struct journal *j = s->feed[s->reload_feed].journal;

    ASSERT(s->reload_feed < s->n_feeds);
    s->reload_cursor = LSN_MAX;
    s->reload_end = 0;
    for (struct delivery *d = s->reloading.head.next; d != &s->reloading.head; d = d->next) {
        const struct plan_range *r = range_in(&d->plan, j);

        d->skip = (struct skip_reader){0};
        if (r != NULL && r->skips_len > 0)
            d->skip = (struct skip_reader){.pairs = r->skips, .end = r->skips + r->skips_len};

        if (r != NULL && r->from < s->reload_cursor)
            s->reload_cursor = r->from;
        if (r != NULL && r->to > s->reload_end)
            s->reload_end = r->to;
    }
    /* A range starts at a line, somewhere in its block: reading starts with its segment. */
    if (s->reload_end > 0)
        s->reload_cursor = lsn_make(lsn_segment(s->reload_cursor), JOURNAL_HEADER_BYTES);
}

static void line_take(struct sink *s, struct delivery *d, const struct block_view *v,
                      const struct block_entry *e)
{
    struct span line = {.ptr = v->buf + e->offset, .len = e->len};
    uint32_t chunks = d->content->n_chunks;
    struct line_place place;

    if (d->plan.key.encoding == ENCODING_WRAPPED) {
        if (!wrap_room(s, e->len + WRAP_BYTES))
            return;
        line = (struct span){s->wrap_buf, event_wrap(line.ptr, line.len, e->added, s->wrap_buf)};
    } else if (d->plan.key.encoding == ENCODING_ROWS && !columns_row(s, d->version, v, e, &line)) {
        return;
    }
    if (d->content->bytes + line.len > d->plan.bytes)
        return; /* more than was planned: the check at the end says so */
    line_place(v, e, s->reload_feed, &place);
    group_append(&s->pool, d->content, &place, line); /* its chunks are reserved */
    ASSERT(s->reload_reserved >= d->content->n_chunks - chunks);
    s->reload_reserved -= d->content->n_chunks - chunks;
}

/* Whether a line has the key of a plan. The version of a row is no part of the line: what lies in
 * the range of a plan of rows is of its version. */
static bool line_is_of(const struct plan *p, const struct block_run *run,
                       const struct type_route *route, const struct block_entry *e)
{
    struct plan_key key;

    plan_key_of(run, route, e, (enum plan_encoding)p->key.encoding, &key);
    if (p->key.encoding != ENCODING_ARCHIVE && line_encoding(run, e) != p->key.encoding)
        return false; /* it came when the configuration was another one */
    if (plan_has_rows(&p->key))
        key.schema_hash = p->key.schema_hash;
    return memcmp(&key, &p->key, sizeof(key)) == 0;
}

/* Gives every line of a run to the plans that hold it. */
static void run_take(struct sink *s, const struct block_view *v, const struct block_run *run)
{
    const struct type_route *route = route_get(s, block_run_name(v, run));
    const struct journal *j = s->feed[s->reload_feed].journal;

    ASSERT(run->first + run->n_entries <= v->header->n_entries);
    if (route == NULL || !route->owned)
        return;
    for (struct delivery *d = s->reloading.head.next; d != &s->reloading.head; d = d->next) {
        const struct plan_range *range = range_in(&d->plan, j);

        if (range == NULL || d->plan.key.type_len != route->name_len ||
            memcmp(d->plan.key.type, route->name, route->name_len) != 0)
            continue;
        for (uint32_t i = 0; i < run->n_entries; i++) {
            const struct block_entry *e = &v->entries[run->first + i];
            lsn_t lsn = v->header->lsn + e->offset;

            if (lsn >= range->from && lsn < range->to && line_is_of(&d->plan, run, route, e) &&
                !skip_next(&d->skip))
                line_take(s, d, v, e);
        }
    }
}

static void reload_end(struct sink *s)
{
    struct delivery *d;

    while ((d = delivery_first(&s->reloading)) != NULL) {
        const struct group *g = d->content;

        ASSERT(d->state == DELIVERY_RELOADING && g->bytes <= d->plan.bytes);

        if (g->lines == d->plan.lines && g->bytes == d->plan.bytes &&
            group_crc32c(g) == d->plan.crc32c) {
            deliver_ready(d, &s->reloading);
            continue;
        }
        stat_add(&s->stats.read_errors, 1);
        deliver_park(d, &s->reloading,
                     "the journal does not give the planned bytes again: nothing is sent", true);
    }
    s->reload_feed = 0;
    s->reload_reserved = 0;
}

bool reload_run(struct sink *s)
{
    if (s->reloading.n == 0) {
        take_up(s);
        if (s->reloading.n == 0)
            return false;
        s->reload_feed = 0;
        feed_begin(s);
    }
    for (int n = 0; n < BLOCKS_PER_TURN; n++) {
        struct feed *f = &s->feed[s->reload_feed];
        struct block_view v;

        if (s->reload_cursor >= s->reload_end) {
            if (++s->reload_feed == s->n_feeds) {
                reload_end(s);
                return s->cold.n > 0;
            }
            feed_begin(s);
            continue;
        }
        if (!scan_next(&s->reload_scan[s->reload_feed], &s->reload_cursor,
                       journal_durable(f->journal), s->now_us, &v))
            return false;
        ASSERT(v.header->lsn >= s->reload_cursor && s->reloading.n > 0);
        for (uint32_t i = 0; i < v.header->n_runs; i++)
            run_take(s, &v, &v.runs[i]);
        s->reload_cursor = v.header->lsn + v.header->len;
    }
    return true;
}
