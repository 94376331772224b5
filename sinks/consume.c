/*
 * HOT. From journals to groups: each feed follows one journal in LSN order, from memory while its
 * lane has the next block and from disk when not, by the same code.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/crc32c.h"
#include "dataplane/event/assemble.h"
#include "sinks/sink_internal.h"

/* ---- types ---- */

static struct type_route *route_create(struct sink *s, struct span name)
{
    struct type_route *r = calloc(1, sizeof(*r));
    char table[TABLE_NAME_BYTES_MAX];

    if (r == NULL)
        return NULL;
    memcpy(r->name, name.ptr, name.len);
    r->name_len = (uint8_t)name.len;
    r->config = type_find(s->types, name);
    type_table(s->types, name, table, sizeof(table));
    r->owned = table_owned(s, table);
    r->paused = type_paused(s, name);
    return r;
}

struct type_route *route_get(struct sink *s, struct span name)
{
    struct type_route **bucket = &s->route[crc32c(0, name.ptr, name.len) % ROUTE_BUCKETS];
    struct type_route *r;

    ASSERT(name.len <= TYPE_NAME_BYTES_MAX);
    for (r = *bucket; r != NULL; r = r->next) {
        if (span_equal((struct span){r->name, r->name_len}, name))
            return r;
    }
    r = route_create(s, name);
    if (r != NULL) {
        r->next = *bucket;
        *bucket = r;
    }
    return r;
}

struct columns *route_columns(struct sink *s, struct type_route *route)
{
    char table[TABLE_NAME_BYTES_MAX];

    ASSERT(route->owned);
    if (route->columns == NULL) {
        type_table(s->types, (struct span){route->name, route->name_len}, table, sizeof(table));
        route->columns = columns_get(s, table, route->config);
    }
    return route->columns;
}

/* ---- what was planned before ---- */

/* Versions of a table's columns follow one another: see columns.h. So the furthest plan counts,
 * whichever version it names. */
static struct plan_key planned_key(const struct plan_key *key)
{
    struct plan_key k = *key;

    if (plan_has_rows(&k))
        k.schema_hash = 0;
    return k;
}

static struct planned_before **planned_bucket(struct sink *s, const struct plan_key *key,
                                              uint32_t journal)
{
    return &s->planned[crc32c(journal, key, sizeof(*key)) % PLANNED_BUCKETS];
}

static struct planned_before *planned_find(struct sink *s, const struct plan_key *key,
                                           uint32_t journal)
{
    struct planned_before *p = *planned_bucket(s, key, journal);

    while (p != NULL && (p->journal != journal || memcmp(&p->key, key, sizeof(*key)) != 0))
        p = p->next;
    return p;
}

int planned_remember(struct sink *s, const struct plan_key *key, uint32_t journal, lsn_t to)
{
    struct plan_key k = planned_key(key);
    struct planned_before **bucket = planned_bucket(s, &k, journal);
    struct planned_before *p = planned_find(s, &k, journal);

    ASSERT(journal < s->n_feeds && s->feed[journal].index == journal);

    if (p == NULL) {
        p = calloc(1, sizeof(*p));
        if (p == NULL)
            return -ENOMEM;
        *p = (struct planned_before){.next = *bucket, .key = k, .journal = journal};
        *bucket = p;
    }
    p->to = to > p->to ? to : p->to;
    if (to > s->feed[journal].planned_max)
        s->feed[journal].planned_max = to;
    return 0;
}

static bool planned_already(struct sink *s, const struct plan_key *key, const struct feed *f,
                            lsn_t lsn)
{
    struct planned_before *p;
    struct plan_key k;

    if (lsn >= f->planned_max)
        return false;
    k = planned_key(key);
    p = planned_find(s, &k, f->index);
    ASSERT_HOT(p == NULL || p->to <= f->planned_max);
    return p != NULL && lsn < p->to;
}

/* ---- lines ---- */

void plan_key_of(const struct block_run *run, const struct type_route *route,
                 const struct block_entry *e, enum plan_encoding encoding, struct plan_key *key)
{
    ASSERT_HOT(encoding < ENCODINGS && route->name_len == run->name_len);
    plan_key_init(key, (struct span){route->name, route->name_len}, (enum plan_kind)run->kind);
    /* A line of which a row is still to be made is not loaded as it is. */
    key->schema_hash = (e->flags & BLOCK_ENTRY_ROWS) != 0 ? 0 : run->schema_hash;
    key->encoding = (uint8_t)encoding;
    if (encoding_is_staged(key->encoding)) {
        /* Coarse, because its object only passes through; but one must not touch too many
         * partitions. */
        key->minute = e->minute - (e->minute % STAGED_MINUTES + STAGED_MINUTES) % STAGED_MINUTES;
        return;
    }
    if (encoding == ENCODING_INSERT) { /* a row's place is its columns' business */
        key->flags = (e->flags & BLOCK_ENTRY_ROWS) ? PLAN_ROWS : 0;
        return;
    }
    key->minute = e->minute;
    key->flags = (e->flags & BLOCK_ENTRY_LATE) ? PLAN_LATE : 0;
    if (run->flags & BLOCK_RUN_INSERT)
        key->flags |= PLAN_INSERT;
}

void line_place(const struct block_view *v, const struct block_entry *e, uint32_t journal,
                struct line_place *out)
{
    ASSERT_HOT(e->len > 0 && (uint64_t)e->offset + e->len <= v->header->entries_offset);
    *out = (struct line_place){
        .journal = journal,
        .block = v->header->lsn,
        .offset = e->offset,
        .len = e->len,
        .counts = (e->flags & BLOCK_ENTRY_PART) == 0,
    };
}

static void plan_if_full(struct sink *s, struct group *g)
{
    if (g == NULL)
        return;
    if (g->bytes >= s->config.group_bytes_max || g->skip_bytes >= SKIPS_PLAN_BYTES ||
        (g->key.encoding == ENCODING_INSERT &&
         (g->lines >= s->config.insert_rows || g->bytes >= s->config.insert_bytes) &&
         insert_group_due(s, g)))
        (void)plan_group(s, g); /* later, if not now */
}

bool wrap_room(struct sink *s, size_t bytes)
{
    char *larger;

    if (bytes <= s->wrap_bytes)
        return true;
    larger = realloc(s->wrap_buf, bytes);
    if (larger == NULL)
        return false;
    s->wrap_buf = larger;
    s->wrap_bytes = bytes;
    return true;
}

/* One line of the block under way, and the groups that take it. */
struct line {
    const struct block_run *run;
    const struct block_entry *e;
    struct span text;
    struct plan_key archive, staging;
    bool to_archive, to_staging; /* not planned already */
    struct span staged;          /* in s->wrap_buf */
};

enum plan_encoding line_encoding(const struct block_run *run, const struct block_entry *e)
{
    if (run->kind != BLOCK_EVENT)
        return ENCODING_ARCHIVE;
    if ((run->flags & BLOCK_RUN_INSERT) != 0)
        return ENCODING_INSERT;
    if ((e->flags & BLOCK_ENTRY_ROWS) != 0)
        return ENCODING_ROWS;
    return run->schema_hash == 0 ? ENCODING_WRAPPED : ENCODING_ARCHIVE;
}

/* The line as its staging group takes it. False when it must be tried again later. */
static bool line_stage(struct sink *s, struct type_route *route, const struct feed *f,
                       struct line *l)
{
    struct columns_line row = {.view = &f->view, .run = l->run, .entry = f->entry};
    struct columns *c;

    ASSERT_HOT(l->to_staging);
    if (l->staging.encoding == ENCODING_INSERT && (l->staging.flags & PLAN_ROWS) == 0) {
        l->staged = l->text;
        return true;
    }
    if (l->staging.encoding == ENCODING_WRAPPED) {
        if (!wrap_room(s, l->text.len + WRAP_BYTES))
            return false;
        l->staged.ptr = s->wrap_buf;
        l->staged.len = event_wrap(l->text.ptr, l->text.len, l->e->added, s->wrap_buf);
        return true;
    }
    c = route_columns(s, route);
    if (c == NULL || !columns_take(c, &row))
        return false;
    /* Rows for insertAll are made of the line when they are sent. */
    l->staged = l->staging.encoding == ENCODING_INSERT ? l->text : row.out;
    l->staging.schema_hash = row.schema_hash;
    return true;
}

/* Where a line goes, and as what. */
static bool line_prepare(struct sink *s, struct type_route *route, const struct feed *f,
                         struct line *l)
{
    lsn_t lsn = f->view.header->lsn + l->e->offset;
    enum plan_encoding staging =
        s->config.bigquery_enabled ? line_encoding(l->run, l->e) : ENCODING_ARCHIVE;

    ASSERT_HOT(f->in_block && lsn >= f->cursor); /* each line is passed once */
    l->text = (struct span){.ptr = f->view.buf + l->e->offset, .len = l->e->len};
    plan_key_of(l->run, route, l->e, ENCODING_ARCHIVE, &l->archive);
    l->to_archive = !planned_already(s, &l->archive, f, lsn);
    if (staging == ENCODING_ARCHIVE)
        return true;
    plan_key_of(l->run, route, l->e, staging, &l->staging);
    l->to_staging = !planned_already(s, &l->staging, f, lsn);
    return !l->to_staging || line_stage(s, route, f, l);
}

/* Copies a line into its group or groups. False, without a trace in them, when it must be tried again
 * later: mostly because group memory is short. */
static bool line_group(struct sink *s, struct type_route *route, const struct feed *f,
                       const struct block_run *run, const struct block_entry *e)
{
    struct group *archive = NULL, *staging = NULL;
    struct line_place place;
    struct line l; /* not zeroed: its keys are large, and this runs for every event */
    uint64_t need;

    l.run = run;
    l.e = e;
    l.to_staging = false;
    l.staged = (struct span){NULL, 0};
    need = PACK_CHUNKS + s->reload_reserved + chunks_for(e->len);
    if (s->pool.n_free < need || !line_prepare(s, route, f, &l))
        return false;
    if (s->pool.n_free < need + chunks_for(l.staged.len))
        return false;
    if (l.to_archive && (archive = group_get(&s->groups, &l.archive, s->now_us)) == NULL)
        return false;
    if (l.to_staging &&
        (staging = group_get(groups_of(s, &l.staging), &l.staging, s->now_us)) == NULL)
        return false;
    line_place(&f->view, e, f->index, &place);
    if (archive != NULL)
        group_append(&s->pool, archive, &place, l.text);
    if (staging != NULL)
        group_append(&s->pool, staging, &place, l.staged);
    ASSERT_HOT(s->pool.n_free >= PACK_CHUNKS + s->reload_reserved); /* others' are left */
    plan_if_full(s, archive);
    plan_if_full(s, staging);
    stat_add(&s->stats.events, (e->flags & BLOCK_ENTRY_PART) ? 0 : 1);
    return true;
}

bool line_is_planned(struct sink *s, const struct feed *f, const struct block_run *run,
                     const struct block_entry *e)
{
    lsn_t lsn = f->view.header->lsn + e->offset;
    const struct type_route *route;
    struct plan_key key;

    if (lsn >= f->planned_max)
        return false;
    route = route_get(s, block_run_name(&f->view, run));
    ASSERT(route != NULL); /* the run is being consumed */
    plan_key_of(run, route, e, ENCODING_ARCHIVE, &key);
    if (planned_already(s, &key, f, lsn))
        return true;
    plan_key_of(run, route, e, line_encoding(run, e), &key);
    return planned_already(s, &key, f, lsn);
}

/* The open group whose range a line of a staging key may come to lie in, or NULL. The version of rows
 * is the newest: groups of older ones take no more lines. */
static struct group *staging_group(struct sink *s, struct type_route *route, struct plan_key *key)
{
    ASSERT_HOT(key->encoding != ENCODING_ARCHIVE);
    if (plan_has_rows(key)) {
        const struct columns *c = route_columns(s, route);

        key->schema_hash = c == NULL || c->newest == NULL ? 0 : c->newest->rows->hash;
    }
    return group_find(groups_of(s, key), key);
}

/*
 * Leaves a duplicate out. The group of its archive key accounts for it, and its plan makes that
 * durable; a group of its staging key only needs to know when the line lies between its own. False,
 * without a trace in them, when it must be tried again later.
 */
static bool line_remove(struct sink *s, struct type_route *route, const struct feed *f,
                        const struct block_run *run, const struct block_entry *e)
{
    lsn_t lsn = f->view.header->lsn + e->offset;
    enum plan_encoding form = s->config.bigquery_enabled ? line_encoding(run, e) : ENCODING_ARCHIVE;
    struct group *archive = NULL, *staging = NULL;
    struct line_place place;
    struct plan_key key;

    ASSERT_HOT(run->kind == BLOCK_EVENT);
    if (form != ENCODING_ARCHIVE) {
        plan_key_of(run, route, e, form, &key);
        if (!planned_already(s, &key, f, lsn))
            staging = staging_group(s, route, &key);
    }
    plan_key_of(run, route, e, ENCODING_ARCHIVE, &key);
    if (!planned_already(s, &key, f, lsn) &&
        (archive = group_get(&s->groups, &key, s->now_us)) == NULL)
        return false;
    if ((archive != NULL && !group_skip_room(archive, f->index)) ||
        (staging != NULL && !group_skip_room(staging, f->index)))
        return false;
    line_place(&f->view, e, f->index, &place);
    if (staging != NULL) {
        group_skip(staging, &place, false);
        plan_if_full(s, staging);
    }
    if (archive != NULL) {
        group_skip(archive, &place, true);
        stat_add(&s->stats.removed_events, 1);
        plan_if_full(s, archive);
    }
    return true;
}

static inline bool is_removed(const struct feed *f)
{
    return f->n_removed > 0 && (f->removed[f->entry / 8] >> (f->entry % 8) & 1) != 0;
}

/* Goes on with a run. @return false when it must be tried again later. */
static bool run_consume(struct sink *s, struct type_route *route, struct feed *f,
                        const struct block_run *run)
{
    ASSERT_HOT(run->first + run->n_entries <= f->view.header->n_entries);
    ASSERT_HOT(f->entry <= run->n_entries && (!f->judged || f->n_removed <= run->n_entries));
    if (!f->judged) {
        f->n_removed = 0;
        if (route->dedupe != NULL && run->kind == BLOCK_EVENT &&
            !dedupe_judge(route->dedupe, f, run))
            return false;
        f->judged = true;
    }
    for (; f->entry < run->n_entries; f->entry++) {
        const struct block_entry *e = &f->view.entries[run->first + f->entry];

        if (unlikely(is_removed(f)) ? !line_remove(s, route, f, run, e)
                                    : !line_group(s, route, f, run, e))
            return false;
    }
    return true;
}

/* Goes on with the block under way. @return false when group memory has run out. */
static bool block_consume(struct sink *s, struct feed *f)
{
    const struct block_header *h = f->view.header;

    ASSERT(f->in_block && f->run <= h->n_runs);
    if (s->config.discard) {
        stat_add(&s->stats.discarded_events, s->config.index == 0 ? h->events : 0);
        f->run = h->n_runs;
    }
    for (; f->run < h->n_runs; f->run++, f->entry = 0, f->judged = false) {
        const struct block_run *run = &f->view.runs[f->run];
        struct type_route *route = route_get(s, block_run_name(&f->view, run));

        if (route == NULL)
            return false;
        if (route->owned && !run_consume(s, route, f, run))
            return false;
    }
    return true;
}

static void block_begin(struct feed *f, struct block *lent)
{
    const struct block_header *h = f->view.header;

    /* Nothing is taken that a power cut could take away, and nothing twice. */
    ASSERT(!f->in_block && f->lent == NULL && h->lsn >= f->cursor);
    ASSERT(h->lsn + h->len <= journal_durable(f->journal));
    f->in_block = true;
    f->lent = lent;
    f->run = f->entry = 0;
    f->judged = false;
    f->block_us = f->view.header->sealed_us;
}

static void block_end(struct feed *f)
{
    ASSERT(f->in_block && f->run == f->view.header->n_runs); /* nothing is passed over */
    mark_note(f->sink, f);
    f->cursor = f->view.header->lsn + f->view.header->len;
    f->in_block = false;
    if (f->lent != NULL) {
        stat_add(&f->sink->stats.blocks_memory, 1);
        lane_pop(f->lane);
        block_release(f->lent); /* partner: the worker's block_hold() */
        f->lent = NULL;
    } else {
        stat_add(&f->sink->stats.blocks_disk, 1);
    }
}

/* ---- where the next block comes from ---- */

/* The next block if its lane has it; what was read from disk meanwhile is dropped. */
static bool from_lane(struct feed *f)
{
    struct block *b;

    if (f->lane == NULL)
        return false;
    while ((b = lane_peek(f->lane)) != NULL && b->lsn < f->cursor) {
        ASSERT(b->lsn + b->len <= f->cursor); /* it was read from disk, whole */
        lane_pop(f->lane);
        block_release(b);
    }
    if (b == NULL)
        return false;
    block_view_own(b, &f->view);
    if (b->lsn != f->cursor && f->view.header->prev_end != f->cursor)
        return false; /* a gap: the journal has it */
    block_begin(f, b);
    return true;
}

static bool feed_step(struct sink *s, struct feed *f)
{
    int64_t began = 0;
    lsn_t durable;
    bool whole;

    if (!f->in_block) {
        durable = journal_durable(f->journal);
        if (f->cursor == durable)
            return false;
        ASSERT(f->cursor < durable);
        if (!from_lane(f)) {
            if (!backlog_may_read(s) ||
                !scan_next(&f->scan, &f->cursor, durable, s->now_us, &f->view))
                return false;
            block_begin(f, NULL);
        }
    }
    if (f->lent == NULL)
        began = clock_monotonic_us();
    whole = block_consume(s, f);
    if (f->lent == NULL)
        backlog_took(s, clock_monotonic_us() - began);
    if (!whole) {
        plan_for_memory(s);
        return false; /* goes on when chunks come back */
    }
    block_end(f);
    return true;
}

bool consume(struct sink *s)
{
    uint32_t idle = 0;

    if (s->reload_hungry || held_too_many(s) || s->n_inserts > INSERTS_MAX ||
        s->planning.n + s->cold.n + s->packing.n + s->ready.n + s->parked.n + s->confirming.n >
            DELIVERIES_MAX)
        return false;
    for (int n = 0; n < CONSUME_BLOCKS && idle < s->n_feeds;) {
        struct feed *f = &s->feed[s->next_feed];

        ASSERT(s->next_feed < s->n_feeds && f->index == s->next_feed);

        s->next_feed = (s->next_feed + 1) % s->n_feeds;
        if (feed_step(s, f)) {
            idle = 0;
            n++;
        } else {
            idle++;
        }
    }
    return idle < s->n_feeds;
}

int feed_init(struct sink *s, uint32_t index, const struct journal *j, lsn_t floor, char *error,
              size_t error_len)
{
    struct feed *f = &s->feed[index];

    ASSERT(index < s->n_feeds);
    f->sink = s;
    f->index = index;
    f->journal = j;
    f->cursor = floor;
    if (floor < journal_start(j) || floor > journal_durable(j)) {
        snprintf(error, error_len,
                 "journal %s and the delivery log do not belong together: delivered up to "
                 "%08x:%08x, but the journal "
                 "has %08x:%08x to %08x:%08x. Was one of them restored from a backup, or deleted?",
                 journal_dir(j), lsn_segment(floor), lsn_offset(floor),
                 lsn_segment(journal_start(j)), lsn_offset(journal_start(j)),
                 lsn_segment(journal_durable(j)), lsn_offset(journal_durable(j)));
        return -EUCLEAN;
    }
    return scan_init(&f->scan, s->loop, j, &s->stats.read_errors);
}

void feed_fini(struct feed *f)
{
    struct block *b;

    ASSERT(f->lent == NULL || lane_peek(f->lane) == f->lent); /* the loop releases it */
    while (f->lane != NULL && (b = lane_peek(f->lane)) != NULL) {
        lane_pop(f->lane);
        block_release(b);
    }
    if (f->journal != NULL)
        scan_fini(&f->scan);
}

static lsn_t groups_floor(const struct group_table *t, uint32_t journal, lsn_t floor)
{
    for (const struct group *g = t->oldest; g != NULL; g = g->next) {
        ASSERT_HOT(g->chain[journal].from_block <= g->chain[journal].from);
        if (chain_used(&g->chain[journal]) && g->chain[journal].from_block < floor)
            floor = g->chain[journal].from_block;
    }
    return floor;
}

lsn_t feed_floor(const struct sink *s, const struct feed *f)
{
    lsn_t floor = marks_floor(s, f->index, f->cursor);

    floor = groups_floor(&s->groups, f->index, floor);
    floor = groups_floor(&s->insert_groups, f->index, floor);
    for (const struct delivery *d = s->planning.head.next; d != &s->planning.head; d = d->next) {
        if (chain_used(&d->content->chain[f->index]) &&
            d->content->chain[f->index].from_block < floor)
            floor = d->content->chain[f->index].from_block;
    }
    ASSERT(floor <= f->cursor);
    return floor;
}
