/*
 * HOT. Deduplication: which lines of a type are left out, because an event of the same id was taken
 * within the window before. Decided run by run as the feeds come to them, in front of grouping.
 *
 *     run ─ decided before a restart? ─ yes ─> as then
 *                   └─ no ─> window ─> decision, appended to the type's log (idlog.h)
 *     group closed ─> its PLAN waits until the decisions so far are durable ─> submitted
 *
 * Why exactly one of equal ids is delivered, whatever happens: a removed line was removed for one
 * that was taken earlier in the log. Once anything that follows from a decision is durable (a PLAN),
 * the decision and all before it are. After a restart a line that is read again meets its own
 * decision; one whose decision was lost was part of no plan, and is decided anew against every id
 * that is durable. So the line that was taken is in a plan, or is read and taken again; and what was
 * removed for it stays removed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/canary.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "dataplane/json/walk.h"
#include "sinks/dedupe/idlog.h"
#include "sinks/dedupe/idwindow.h"
#include "sinks/sink_internal.h"

#ifndef DEDUPE_SLACK_US          /* the simulation takes less */
#define DEDUPE_SLACK_US 60000000 /* a block may be sealed so long before it is durable */
#endif
#define DECIDED_BUCKETS 4096u
#define LOOK_US         1000000  /* between two looks at what can be freed */
#define LOG_US          60000000 /* between two lines of the log about a window that shrinks */

static_assert(ID_FEEDS_MAX == JOURNALS_MAX, "feeds are journals");

/* A decision that was made before this start, on a run that is read again. */
struct decided {
    struct decided *next;
    uint32_t feed, run;
    lsn_t block;
    uint32_t n_entries;
    uint8_t removed[];
};

/** One type that is deduplicated. */
struct dedupe {
    struct dedupe *next;
    struct sink *sink;
    const struct type_config *config;
    struct span key[JSON_PATH_KEYS_MAX]; /* the path of the id */
    uint32_t n_keys;
    struct json_parser *parser; /* picks it */
    struct id_window window;
    struct id_log *log;
    struct decided *decided[DECIDED_BUCKETS];
    struct delivery *first, *last; /* whose PLAN waits for decisions */
    uint64_t n_waiting;
    int64_t logged_us;
    uint64_t logged_evicted;
    struct sink_dedupe_stats stats;
};

/* ---- what was decided before ---- */

static struct decided **decided_bucket(struct dedupe *d, uint32_t feed, lsn_t block, uint32_t run)
{
    return &d->decided[(block / BLOCK_ALIGN * 31 + feed * 7 + run) % DECIDED_BUCKETS];
}

/* Takes the decision on this run into the feed. */
static bool decided_take(struct dedupe *d, struct feed *f, const struct block_run *run)
{
    lsn_t block = f->view.header->lsn;
    struct decided **at = decided_bucket(d, f->index, block, f->run), *found;

    while (*at != NULL &&
           ((*at)->feed != f->index || (*at)->block != block || (*at)->run != f->run))
        at = &(*at)->next;
    found = *at;
    if (found == NULL)
        return false;
    ASSERT(found->n_entries == run->n_entries); /* of the same bytes of the journal */
    memcpy(f->removed, found->removed, (run->n_entries + 7) / 8);
    for (uint32_t i = 0; i < (run->n_entries + 7) / 8; i++)
        f->n_removed += (uint32_t)__builtin_popcount(f->removed[i]);
    ASSERT(f->n_removed <= run->n_entries);
    *at = found->next;
    free(found);
    return true;
}

static int feed_of(const struct sink *s, const struct journal_uuid *uuid)
{
    for (uint32_t i = 0; i < s->n_feeds; i++) {
        if (memcmp(journal_uuid(s->feed[i].journal), uuid, sizeof(*uuid)) == 0)
            return (int)i;
    }
    return -1;
}

/* A decision of the log: its ids are in the window, and what it says is kept for when its run is read
 * again. */
static void decision_visit(void *ctx, const struct id_decision *d, struct id_reach *reach)
{
    struct dedupe *self = ctx;
    int feed = feed_of(self->sink, &d->journal);
    size_t bitmap = (d->n_entries + 7) / 8;
    struct decided **bucket, *kept;

    for (uint32_t i = 0; i < d->n_ids;
         i++) /* ten million ids, one at a time, would wait for memory */
        id_window_prefetch(&self->window, d->id[i]);
    for (uint32_t i = 0; i < d->n_ids; i++)
        id_window_add(&self->window, d->id[i], d->time_us, d->time_us);
    reach->ids_end = self->window.next;
    if (feed < 0)
        return;
    if (d->block > reach->block[feed])
        reach->block[feed] = d->block;
    if (d->block < self->sink->feed[feed].cursor)
        return; /* planned */
    kept = calloc(1, sizeof(*kept) + bitmap);
    ASSERT(kept != NULL); /* some bytes a block, at start */
    bucket = decided_bucket(self, (uint32_t)feed, d->block, d->run);
    *kept = (struct decided){.next = *bucket,
                             .feed = (uint32_t)feed,
                             .run = d->run,
                             .block = d->block,
                             .n_entries = d->n_entries};
    memcpy(kept->removed, d->removed, bitmap);
    *bucket = kept;
}

/* ---- ids ---- */

/* The value at the path, by walking: for a line behind which there are too few bytes for the parser. */
static struct json_value walk_to_id(const struct dedupe *d, struct span line)
{
    struct json_value v = json_value_at(line.ptr, line.len);

    ASSERT_HOT(d->n_keys > 0 && d->n_keys <= JSON_PATH_KEYS_MAX);
    for (uint32_t i = 0; i < d->n_keys; i++) {
        struct json_value object = v;

        if (object.type != JSON_OBJECT || !json_find(object, d->key[i], &v))
            return (struct json_value){.type = JSON_ABSENT};
    }
    return v;
}

static struct json_value parse_to_id(struct dedupe *d, struct span line)
{
    struct json_event ev;
    struct json_stream s;

    json_stream_init(&s, d->parser, line.ptr, line.len, JSON_FRAMING_LINES);
    if (json_next(&s, &ev, 1) != 1 || ev.error != JSON_ERROR_NONE)
        return (struct json_value){.type = JSON_ABSENT};
    return (struct json_value){
        .ptr = ev.ptr + ev.field[0].offset, .len = ev.field[0].len, .type = ev.field[0].type};
}

/* The id of an event: the text of a string, unescaped, or of a number. @return false without memory;
 * *out is empty when it has none. */
static bool id_text(struct dedupe *d, struct span line, size_t readable, struct span *out)
{
    struct json_value v =
        line.len + JSON_PADDING_BYTES <= readable ? parse_to_id(d, line) : walk_to_id(d, line);
    struct sink *s = d->sink;

    ASSERT_HOT(line.len <= readable);
    *out = (struct span){NULL, 0};
    if (v.type == JSON_NUMBER)
        *out = (struct span){v.ptr, v.len};
    if (v.type != JSON_STRING)
        return true;
    *out = json_string_body(v);
    if (memchr(out->ptr, '\\', out->len) == NULL)
        return true;
    if (out->len > s->dedupe_text_bytes) {
        char *larger = realloc(s->dedupe_text, out->len);

        if (larger == NULL)
            return false;
        s->dedupe_text = larger;
        s->dedupe_text_bytes = out->len;
    }
    *out = (struct span){s->dedupe_text, json_unescape(*out, s->dedupe_text)};
    return true;
}

static inline bool has_id(struct id_hash h)
{
    return (h.lo | h.hi) != 0;
}

/* The ids of a run's lines, in s->dedupe_ids. False without memory. */
static bool ids_hash(struct dedupe *d, const struct feed *f, const struct block_run *run)
{
    const uint8_t *key = id_log_key(d->log);

    ASSERT(run->n_entries <= BLOCK_ENTRIES_MAX); /* room for so many hashes */
    ASSERT(run->first + run->n_entries <= f->view.header->n_entries);
    for (uint32_t i = 0; i < run->n_entries; i++) {
        const struct block_entry *e = &f->view.entries[run->first + i];
        struct id_hash *h = &d->sink->dedupe_ids[i];
        struct span text;

        *h = (struct id_hash){0, 0};
        if ((e->flags & BLOCK_ENTRY_REPLAY) != 0)
            continue; /* somebody wants it once more: that is no duplicate */
        if (!id_text(d, (struct span){f->view.buf + e->offset, e->len},
                     f->view.header->len - e->offset, &text))
            return false;
        if (text.len == 0)
            continue;
        *h = id_hash(key, text);
        id_window_prefetch(&d->window, *h);
    }
    return true;
}

/* Decides on a run, by s->dedupe_ids; leaves there only those that are taken. @return how many. */
static uint32_t run_decide(struct dedupe *d, struct feed *f, const struct block_run *run)
{
    struct id_hash *id = d->sink->dedupe_ids;
    uint64_t without = 0;
    uint32_t taken = 0;

    memset(f->removed, 0, (run->n_entries + 7) / 8);
    for (uint32_t i = 0; i < run->n_entries; i++) {
        const struct block_entry *e = &f->view.entries[run->first + i];

        if (!has_id(id[i])) {
            without++;
            continue;
        }
        if (id_window_has(&d->window, id[i], f->block_us) && !line_is_planned(d->sink, f, run, e)) {
            f->removed[i / 8] |= (uint8_t)(1u << (i % 8));
            f->n_removed++;
            continue;
        }
        id_window_add(&d->window, id[i], f->block_us, f->block_us);
        id[taken++] = id[i];
    }
    ASSERT(taken + f->n_removed + without == run->n_entries);
    stat_add(&d->stats.without_id, without);
    stat_add(&d->stats.removed, f->n_removed);
    return taken;
}

bool dedupe_judge(struct dedupe *d, struct feed *f, const struct block_run *run)
{
    struct id_decision decision = {
        .journal = *journal_uuid(f->journal),
        .block = f->view.header->lsn,
        .run = f->run,
        .n_entries = run->n_entries,
        .time_us = f->block_us,
        .removed = f->removed,
        .id = d->sink->dedupe_ids,
    };

    ASSERT(f->entry == 0 && f->n_removed == 0 && run->n_entries <= BLOCK_ENTRIES_MAX);
    if (decided_take(d, f, run))
        return true;
    if (id_log_room(d->log, run->n_entries) < 0 || !ids_hash(d, f, run))
        return false;
    decision.n_ids = run_decide(d, f, run);
    id_log_append(d->log, &decision, d->window.next, f->index);
    return true;
}

/* ---- plans that wait ---- */

bool dedupe_hold(struct delivery *p)
{
    struct dedupe *d = p->route->dedupe;

    if (d == NULL || p->plan.key.kind != PLAN_EVENTS || CANARY(CANARY_DECISION_SYNC))
        return false;
    p->decisions = id_log_appended(d->log);
    ASSERT((d->first == NULL) == (d->n_waiting == 0));
    ASSERT(d->first == NULL || d->last->decisions <= p->decisions); /* they wait in order */
    if (id_log_durable(d->log) >= p->decisions && d->first == NULL)
        return false;
    p->next_undecided = NULL;
    if (d->first == NULL)
        d->first = p;
    else
        d->last->next_undecided = p;
    d->last = p;
    d->n_waiting++;
    return true;
}

/* In the order in which they were closed: of one key, the later plan is never durable alone. */
static void plans_release(struct dedupe *d)
{
    while (d->first != NULL && d->first->decisions <= id_log_durable(d->log)) {
        struct delivery *p = d->first;

        ASSERT(d->n_waiting > 0 && p->route->dedupe == d);

        d->first = p->next_undecided;
        d->n_waiting--;
        plan_submit(p);
    }
}

/* ---- what nobody needs any more ---- */

/* No event that is still to come was received before this. */
static int64_t low_time(const struct sink *s)
{
    int64_t low = clock_wall_us() - DEDUPE_SLACK_US;

    for (uint32_t i = 0; i < s->n_feeds; i++) {
        const struct feed *f = &s->feed[i];

        if (f->cursor < journal_durable(f->journal) && f->block_us < low)
            low = f->block_us;
    }
    return low;
}

static void log_shrunk(struct dedupe *d)
{
    ASSERT(d->window.evicted >= d->logged_evicted);
    if (d->window.evicted == d->logged_evicted || d->sink->now_us - d->logged_us < LOG_US)
        return;
    log_warn("dedupe",
             "type %s: %llu ids left within the window since start, because ids_max is %u: the "
             "window is %lld s now",
             d->config->name, (unsigned long long)d->window.evicted, d->config->dedupe_ids_max,
             (long long)(atomic_load(&d->stats.window_us) / 1000000));
    d->logged_evicted = d->window.evicted;
    d->logged_us = d->sink->now_us;
}

static void gauges_set(struct dedupe *d)
{
    const struct id_log_stats *log = id_log_stats(d->log);
    int64_t known = clock_wall_us() - d->window.evicted_us;

    ASSERT(d->window.next - d->window.tail <= d->window.ids_max);

    if (d->window.evicted == 0 || known > d->config->dedupe_window_us || known < 0)
        known = d->config->dedupe_window_us;
    stat_set(&d->stats.ids, d->window.next - d->window.tail);
    stat_set(&d->stats.evicted, d->window.evicted);
    stat_set(&d->stats.window_us, (uint64_t)known);
    stat_set(&d->stats.waiting, d->n_waiting);
    stat_set(&d->stats.log_bytes, atomic_load(&log->bytes));
    stat_set(&d->stats.log_errors, atomic_load(&log->errors));
    stat_set(&d->stats.damaged, atomic_load(&log->damaged));
}

static void look(struct dedupe *d, int64_t low_us, const lsn_t *floor)
{
    uint64_t pressure = id_log_pressure(d->log);

    id_window_expire(&d->window, low_us);
    if (pressure > d->window.tail)
        id_window_drop(&d->window, pressure, clock_wall_us());
    ASSERT(d->window.tail >= pressure);
    id_log_reclaim(d->log, d->window.tail, floor, d->sink->n_feeds);
    gauges_set(d);
    log_shrunk(d);
}

void dedupes_run(struct sink *s)
{
    bool looks = s->now_us >= s->dedupe_next_us;
    lsn_t floor[JOURNALS_MAX];
    int64_t low_us = 0;

    if (s->dedupes == NULL)
        return;
    ASSERT(s->n_feeds <= JOURNALS_MAX);
    if (looks) {
        s->dedupe_next_us = s->now_us + LOOK_US;
        low_us = low_time(s);
        for (uint32_t i = 0; i < s->n_feeds; i++)
            floor[i] = dlog_floor(s->dlog, journal_uuid(s->feed[i].journal));
    }
    for (struct dedupe *d = s->dedupes; d != NULL; d = d->next) {
        id_log_run(d->log, d->first != NULL, s->now_us);
        plans_release(d);
        if (looks)
            look(d, low_us, floor);
    }
}

/* ---- life ---- */

static void path_split(struct dedupe *d)
{
    const char *p = d->config->dedupe_field;

    for (; *p != '\0';
         p += d->key[d->n_keys].len + (p[d->key[d->n_keys].len] == '.'), d->n_keys++) {
        ASSERT(d->n_keys < JSON_PATH_KEYS_MAX); /* the configuration was checked */
        d->key[d->n_keys] = (struct span){.ptr = p, .len = strcspn(p, ".")};
    }
    ASSERT(d->n_keys > 0);
}

static int dedupe_create(struct sink *s, const struct type_config *config, struct dedupe **out,
                         char *error, size_t error_len)
{
    struct type_route *route = route_get(s, span_of(config->name));
    struct dedupe *d = aligned_alloc(CACHE_LINE_BYTES, align_up(sizeof(*d), CACHE_LINE_BYTES));
    const struct id_log_config log = {.dir = s->config.dedupe_dir,
                                      .type = config->name,
                                      .ids_max = config->dedupe_ids_max,
                                      .loop = s->loop,
                                      .storage = s->config.storage};
    struct json_paths paths = {0};
    int rc;

    snprintf(error, error_len, "dedupe of type %s: out of memory", config->name);
    if (d == NULL || route == NULL) {
        free(d);
        return -ENOMEM;
    }
    ASSERT(route->dedupe == NULL && config->dedupe_window_us > 0);
    memset(d, 0, sizeof(*d));
    *out = d; /* freed with the others from here on */
    d->sink = s;
    d->config = d->stats.type = config;
    path_split(d);
    rc = json_paths_add(&paths, config->dedupe_field);
    if (rc >= 0)
        rc = json_parser_create(&paths, json_isa_best(), &d->parser);
    if (rc == 0)
        rc = id_window_create(&d->window, config->dedupe_ids_max, config->dedupe_window_us);
    if (rc == 0)
        rc = id_log_open(&log, decision_visit, d, &d->log, error, error_len);
    if (rc != 0)
        return rc;
    d->window.evicted = 0; /* of the run before */
    d->window.evicted_us = 0;
    route->dedupe = d;
    gauges_set(d);
    log_info("dedupe", "type %s: %llu ids known by %s", config->name,
             (unsigned long long)(d->window.next - d->window.tail), config->dedupe_field);
    return 0;
}

int dedupes_create(struct sink *s, char *error, size_t error_len)
{
    struct dedupe **at = &s->dedupes;
    char table[TABLE_NAME_BYTES_MAX];

    ASSERT(s->dedupes == NULL);
    for (uint32_t i = 0; i < s->types->n_types; i++) {
        const struct type_config *c = &s->types->type[i];
        int rc;

        if (c->dedupe_field == NULL)
            continue;
        type_table(s->types, span_of(c->name), table, sizeof(table));
        if (!table_owned(s, table))
            continue;
        if (s->dedupe_ids == NULL)
            s->dedupe_ids = calloc(BLOCK_ENTRIES_MAX, sizeof(*s->dedupe_ids));
        if (s->dedupe_ids == NULL)
            return -ENOMEM;
        rc = dedupe_create(s, c, at, error, error_len);
        if (rc != 0)
            return rc;
        at = &(*at)->next;
    }
    return 0;
}

int dedupes_populate(struct sink *s, const _Atomic bool *stop)
{
    int rc = 0;

    ASSERT(stop != NULL);
    for (struct dedupe *d = s->dedupes; rc == 0 && d != NULL; d = d->next)
        rc = id_window_populate(&d->window, stop);
    return rc;
}

void dedupes_destroy(struct sink *s)
{
    while (s->dedupes != NULL) {
        struct dedupe *d = s->dedupes;

        s->dedupes = d->next;
        for (uint32_t i = 0; i < DECIDED_BUCKETS; i++) {
            while (d->decided[i] != NULL) {
                struct decided *k = d->decided[i];

                d->decided[i] = k->next;
                free(k);
            }
        }
        json_parser_destroy(d->parser);
        id_window_destroy(&d->window);
        id_log_close(d->log);
        free(d);
    }
    free(s->dedupe_ids);
    free(s->dedupe_text);
}

const struct sink_dedupe_stats *sink_dedupe_stats(const struct sink *s, uint32_t i)
{
    const struct dedupe *d = s->dedupes;

    while (d != NULL && i-- > 0)
        d = d->next;
    return d != NULL ? &d->stats : NULL;
}
