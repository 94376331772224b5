/* HOT. See ingest.h. One pass over the documents of a body; the only copy is the one into the block. */
#include "dataplane/ingest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/crc32c.h"
#include "dataplane/base/digits.h"
#include "dataplane/base/mem.h"
#include "dataplane/event/dead.h"
#include "dataplane/event/program.h"
#include "dataplane/event/timeval.h"
#include "dataplane/input/lines.h"
#include "dataplane/json/walk.h"
#include "dataplane/peer.h"
#include "dataplane/refusal.h"
#include "dataplane/room.h"
#include "dataplane/sampling.h"
#include "dataplane/type_named.h"
#include "dataplane/base/stats.h"

#define BATCH        32
#define TIME_US_END  ((int64_t)INT32_MAX * 60000000)
#define SOURCE_BYTES 160
#define DOCUMENT_OVERHEAD_MAX                      \
    (EVENT_ADDED_BYTES_MAX + CHECK_SCRATCH_BYTES + \
     16 * CHECK_CUTS_MAX) /* beside its bytes, twice */
#define DEAD_DETAIL_BYTES ROOM_DETAIL_BYTES
#define UNKNOWN_SHOWN_MAX 64 /* bytes of an unknown field's name; each may be escaped */
static_assert(2 * UNKNOWN_SHOWN_MAX + sizeof(": no such column") <= CHECK_DETAIL_BYTES,
              "what room_bytes() counts for a detail");

struct ingest {
    struct ingest_config config;
    struct types *types;
    struct json_paths paths;
    struct json_parser *parser;    /* picks paths */
    struct program_memory *memory; /* of the parser's events */
    int type_path;
    uint32_t name_bytes;  /* room_name_bytes() of configured types, the most */
    int reserved_path[3]; /* fields that ours replace; -1 when there was no room for them */
    char uuid_hex[33];
    uint64_t seq;
    int64_t lateness_us;
    struct check_result check;
    struct json_event event[BATCH];
    struct type_slot *found[BATCH]; /* the types of those events; NULL: still to be found */
    /* Of the body under way. */
    const struct ingest_body *body;
    struct ingest_result *result;
    struct type_slot *body_type;
    uint32_t position;
    int64_t now_us;
    const struct inject_doc *doc; /* of an injection; NULL otherwise */
    bool replay;                  /* with doc: of a dead letter */
    char source[SOURCE_BYTES];    /* where a dead letter comes from */
};

static int add_time_path(void *ctx, const char *field)
{
    struct ingest *in = ctx;

    return json_paths_add(&in->paths, field);
}

/* The members to pick out of every event: type, each time field, and those that added fields
 * replace. */
static int paths_create(struct ingest *in, char *error, size_t error_len)
{
    static const char *const reserved[] = {COLUMN_EVENT_DATE, COLUMN_PROCESSED, COLUMN_ID};
    const struct type_set *set = in->config.types;
    int rc = json_paths_add(&in->paths, set->type_field);

    in->type_path = rc;
    for (size_t i = 0; rc >= 0 && i < ARRAY_LEN(reserved); i++)
        rc = in->reserved_path[i] = json_paths_add(&in->paths, reserved[i]);
    if (rc >= 0 && set->time_field != NULL)
        rc = json_paths_add(&in->paths, set->time_field);
    for (uint32_t i = 0; rc >= 0 && i < set->n_types; i++) {
        if (set->type[i].time_field != NULL)
            rc = json_paths_add(&in->paths, set->type[i].time_field);
    }
    if (rc < 0)
        snprintf(error, error_len,
                 "types: the type field and all different time fields together are %s",
                 rc == -ENOSPC ? "more than 13 paths" : "not all valid paths (a.b.c.d at most)");
    return rc < 0 ? rc : 0;
}

int ingest_create(const struct ingest_config *config, struct ingest **out, char *error,
                  size_t error_len)
{
    struct ingest *in = calloc(1, sizeof(*in));
    int rc = -ENOMEM;

    snprintf(error, error_len, "out of memory");
    if (in == NULL)
        return rc;
    in->config = *config;
    in->lateness_us = config->types->lateness_us;
    in->name_bytes = room_names_most(config->types);
    journal_uuid_hex(journal_uuid(config->journal), in->uuid_hex);
    rc = types_create(config->types, config->types_max, &in->types);
    if (rc == 0)
        rc = paths_create(in, error, error_len);
    if (rc < 0) {
        ingest_destroy(in);
        return rc;
    }
    types_set_time_path(
        in->types,
        config->types->time_field != NULL ? add_time_path(in, config->types->time_field) : -1,
        add_time_path, in);
    rc = json_parser_create(&in->paths, config->json_isa, &in->parser);
    if (rc == 0)
        rc = program_memory_create(json_parser_isa(in->parser), &in->memory);
    if (rc < 0) {
        snprintf(error, error_len, "out of memory for the JSON parser");
        ingest_destroy(in);
        return rc;
    }
    *out = in;
    return 0;
}

int ingest_populate(struct ingest *in)
{
    int rc = types_populate(in->types);

    ASSERT(in->memory != NULL);
    return rc < 0 ? rc : mem_populate(in->memory, program_memory_bytes(), NULL);
}

void ingest_follow(struct ingest *in, const struct live_settings *s)
{
    ASSERT(s->worker.block_bytes > 0);
    in->config.block_bytes = s->worker.block_bytes;
    in->lateness_us = s->worker.lateness_us;
    types_follow(in->types, s);
}

uint32_t ingest_line_max(uint32_t event_bytes_max)
{
    return (event_bytes_max > DEAD_LINE_MIN ? event_bytes_max : DEAD_LINE_MIN) +
           EVENT_ADDED_BYTES_MAX + CHECK_SCRATCH_BYTES;
}

void ingest_destroy(struct ingest *in)
{
    if (in == NULL)
        return;
    json_parser_destroy(in->parser);
    program_memory_destroy(in->memory);
    types_destroy(in->types);
    free(in);
}

const struct types *ingest_types(const struct ingest *in)
{
    return in->types;
}

uint64_t ingest_memory_bytes(uint32_t types_max, enum json_isa isa)
{
    return sizeof(struct ingest) + types_memory_bytes(types_max) + json_parser_memory_bytes(isa) +
           program_memory_bytes();
}

/* ---- lines into blocks ---- */

/* The open block with room for a line of this ring. Admission has made sure that there is one. */
static struct block *block_with_room(struct ingest *in, const struct block_ring *ring,
                                     size_t len_max)
{
    struct writer *w = in->config.writer;
    struct block *b = writer_open_block(w);
    int rc;

    ASSERT_HOT(len_max < UINT32_MAX);
    if (b != NULL && block_fits(b, ring, (uint32_t)len_max))
        return b;
    ASSERT(in->doc == NULL); /* an injection has made room for the whole document */
    if (b != NULL)
        writer_seal(w);
    b = in->config.block_get(in->config.ctx);
    ASSERT(b != NULL);
    rc = writer_open(w, b, ++in->seq);
    ASSERT(rc == 0);
    ASSERT(block_fits(b, ring, (uint32_t)len_max));
    return b;
}

static void line_commit(struct ingest *in, struct block *b, struct block_ring *ring,
                        const struct block_line *line)
{
    ASSERT_HOT(b == writer_open_block(in->config.writer) && b->seq == in->seq);
    block_commit(b, ring, line);
    in->result->last_seq = b->seq;
    if (block_is_full(b) && in->doc == NULL) /* an injection sets its mark first */
        writer_seal(in->config.writer);
}

/* ---- dead letters ---- */

static void error_note(struct ingest *in, enum reason reason)
{
    struct ingest_result *r = in->result;

    ASSERT(reason > REASON_NONE && reason < REASON_END);
    if (r->n_errors < INGEST_ERRORS_MAX)
        r->error[r->n_errors++] = (struct ingest_error){.index = in->position, .reason = reason};
    r->dead_lettered++;
    stat_add(&in->config.stats->dead_letters, 1);
    stat_add(&in->config.stats->reason[reason], 1);
}

/* ---- documents of an injection ---- */

/* "SOURCE:LINE" of the document under way. */
static const char *document_source(struct ingest *in)
{
    size_t len = strnlen(in->doc->source, sizeof(in->source) - 24);

    memcpy(in->source, in->doc->source, len);
    if (in->doc->line > 0) {
        in->source[len++] = ':';
        len += digits_put(in->source + len, in->doc->line);
    }
    ASSERT(len < sizeof(in->source));
    in->source[len] = '\0';
    return in->source;
}

/* Bytes that it takes at most, as an event or as the lines of a dead letter. */
static uint64_t document_bytes(uint64_t len, size_t line_max)
{
    return 2 * len + DOCUMENT_OVERHEAD_MAX +
           (uint64_t)dead_parts_max(len, line_max) * DEAD_FRAME_BYTES_MAX;
}

/*
 * A document is stored in one block. A dead letter that does not fit one (events as large as blocks,
 * most of it to be escaped) keeps its head; the detail tells its length, as for a document of which
 * only the head is here.
 */
static void document_cut(struct ingest *in, struct dead_letter *d, size_t line_max, char *detail)
{
    const struct block *b = writer_open_block(in->config.writer);
    uint64_t whole = in->doc->whole > d->raw.len ? in->doc->whole : d->raw.len;
    size_t len = 0;

    ASSERT(b != NULL);
    while (!block_has_room(b, document_bytes(d->raw.len, line_max),
                           dead_parts_max(d->raw.len, line_max), 1)) {
        ASSERT(d->raw.len > 0); /* an empty one fits */
        d->raw.len -= d->raw.len / 16 + 1;
    }
    if (d->raw.len == whole)
        return;
    memcpy(detail, "the first ", 10);
    len = 10 + digits_put(detail + 10, d->raw.len);
    memcpy(detail + len, " of ", 4);
    len += 4 + digits_put(detail + len + 4, whole);
    memcpy(detail + len, " bytes", sizeof(" bytes"));
    d->detail = detail;
}

static const char *source_of(struct ingest *in)
{
    const struct ingest_body *body = in->body;

    if (in->doc != NULL)
        return document_source(in);
    if (body->source != NULL)
        return body->source;
    peer_text(body->input, body->peer, in->source);
    return in->source;
}

/* Where the letter of an event goes that names its type itself: what nobody has configured has bounds. */
static struct type_slot *letter_bound(struct ingest *in, struct type_slot *slot,
                                      const char **detail, char *cut)
{
    if (slot->config != NULL || in->doc != NULL || in->body_type != NULL)
        return slot;
    ASSERT_HOT(in->body != NULL);
    if (strlen(*detail) >= ROOM_DETAIL_BYTES) {
        memcpy(cut, *detail, ROOM_DETAIL_BYTES - 1);
        cut[ROOM_DETAIL_BYTES - 1] = '\0';
        *detail = cut;
    }
    return room_name_bytes(slot->dead.name) <= ROOM_NAME_BYTES ? slot : types_unknown(in->types);
}

static COLD_PATH void dead_letter(struct ingest *in, struct type_slot *slot, enum reason reason,
                                  const char *detail, uint32_t error_offset, struct span raw)
{
    size_t line_max = dead_line_max(in->config.event_bytes_max);
    char cut[DEAD_DETAIL_BYTES];
    struct dead_letter d = {
        .reason = reason,
        .detail = detail,
        .position = in->position,
        .error_offset = error_offset,
        .source = source_of(in),
        .received_us = in->now_us,
        .raw = raw,
        .journal_hex = in->uuid_hex,
    };
    uint32_t parts;

    slot = letter_bound(in, slot, &d.detail, cut);
    d.event_type = slot->dead.name;
    if (in->doc != NULL)
        document_cut(in, &d, line_max, cut);
    parts = dead_parts(&d, line_max);
    for (uint32_t part = 0; part < parts; part++) {
        struct block *b = block_with_room(in, &slot->dead, line_max);
        struct block_line line = {
            .minute = time_minute(in->now_us),
            .flags = part > 0 ? BLOCK_ENTRY_PART : 0,
        };

        line.len =
            (uint32_t)dead_format(&d, part, parts, block_tail_lsn(b), line_max, block_tail(b));
        ASSERT(line.len > 0 && line.len <= line_max);
        line_commit(in, b, &slot->dead, &line);
    }
    error_note(in, reason);
    stat_add(&slot->shown->dead_letters, 1);
}

static enum reason reason_of_json(enum json_error error)
{
    if (error == JSON_ERROR_UTF8)
        return REASON_BAD_UTF8;
    return error == JSON_ERROR_DEPTH ? REASON_TOO_DEEP : REASON_BAD_JSON;
}

/* ---- routing ---- */

/* The slot of an event whose type was not found among others. */
static struct type_slot *type_get(struct ingest *in, const struct json_event *ev,
                                  enum reason *reason)
{
    const struct json_field *f = &ev->field[in->type_path];
    char name[6 * TYPE_NAME_BYTES_MAX];
    struct span raw = type_named(ev, f, name);

    *reason = f->type == JSON_ABSENT ? REASON_MISSING_TYPE : REASON_BAD_TYPE;
    if (raw.len == 0)
        return NULL;
    *reason = REASON_TOO_MANY_TYPES;
    return types_get(in->types, raw);
}

/* The type's slot, or NULL with a reason. found: it, if it is known already. */
static struct type_slot *route(struct ingest *in, const struct json_event *ev,
                               struct type_slot *found, enum reason *reason)
{
    struct type_slot *slot = found;

    if (in->body_type != NULL)
        return in->body_type;
    if (slot == NULL)
        slot = type_get(in, ev, reason);
    if (slot != NULL && !slot->listed && in->config.types->unlisted == UNLISTED_DEAD_LETTER) {
        *reason = REASON_UNLISTED_TYPE;
        return NULL;
    }
    return slot;
}

/* The event's time; false when it has none that can be used: after the year 6052, minutes overflow. */
static bool event_time(const struct type_slot *slot, const struct json_event *ev,
                       const struct check_result *check, int64_t *us)
{
    const struct json_field *f;
    struct span text;

    if (slot->time_path < 0)
        return false;
    f = &ev->field[slot->time_path];
    if (likely(check_time_at(check, f->offset + 1, us)))
        return *us < TIME_US_END;
    text = (struct span){.ptr = ev->ptr + f->offset, .len = f->len};
    if (f->type == JSON_NUMBER) {
        if (time_parse_seconds(text, us) != 0)
            return false;
    } else if (f->type != JSON_STRING ||
               time_parse((struct span){.ptr = text.ptr + 1, .len = text.len - 2}, us) != 0) {
        return false;
    }
    return *us < TIME_US_END;
}

/* Sets late against the type's watermark, which follows event time but never runs ahead of the clock. */
static bool event_is_late(struct ingest *in, struct type_slot *slot, int64_t us)
{
    int64_t mark = atomic_load_explicit(&slot->shown->watermark_us, memory_order_relaxed);
    int64_t seen = us < in->now_us ? us : in->now_us;

    if (mark == 0 || seen > mark)
        atomic_store_explicit(&slot->shown->watermark_us, seen, memory_order_relaxed);
    return mark != 0 && us < mark - in->lateness_us;
}

/* What unknown_fields: dead_letter adds to the check of a type with a schema. */
static void refuse_unknown(struct check_result *check)
{
    int shown = (int)check->cut[0].name.len;

    ASSERT_HOT(check->reason == REASON_NONE);
    if (check->n_cuts == 0 || !check->cut[0].overflow)
        return;
    check->reason = REASON_UNKNOWN_FIELD;
    check->error_offset = check->cut[0].offset;
    snprintf(check->detail, sizeof(check->detail), "%.*s: no such column",
             shown < UNKNOWN_SHOWN_MAX ? shown : UNKNOWN_SHOWN_MAX, check->cut[0].name.ptr);
}

/* Without a schema only names and numbers can be wrong: of added fields, and of a JSON column. */
static void check_without_schema(struct ingest *in, const struct type_slot *slot,
                                 const struct json_event *ev, struct json_value doc)
{
    bool reserved = false;

    for (size_t i = 0; i < ARRAY_LEN(in->reserved_path); i++)
        reserved |= ev->field[in->reserved_path[i]].type != JSON_ABSENT;
    if (slot->rows && reserved)
        check_names_only(doc, &in->check);
    else if (!slot->rows && (reserved || (ev->flags & JSON_FAR_NUMBER) != 0))
        check_added_only(doc, &in->check);
}

/* Checks against the schema; without one only what an added field or a JSON column could clash
 * with. False: it has become a dead letter. */
static bool event_check(struct ingest *in, struct type_slot *slot, const struct json_event *ev)
{
    struct json_value doc = {.ptr = ev->ptr, .len = ev->len, .type = JSON_OBJECT};

    check_result_clear(&in->check);
    if (slot->schema == NULL) {
        check_without_schema(in, slot, ev, doc);
    } else {
        program_check(slot->schema, in->memory, ev, slot->rows, &in->check);
        if (!slot->rows && in->check.reason == REASON_NONE && slot->strict)
            refuse_unknown(&in->check);
    }
    if (in->check.reason == REASON_NONE)
        return true;
    dead_letter(in, slot, in->check.reason, in->check.detail, in->check.error_offset,
                (struct span){.ptr = ev->ptr, .len = ev->len});
    return false;
}

static void event_take(struct ingest *in, struct type_slot *slot, const struct json_event *ev)
{
    struct worker_stats *stats = in->config.stats;
    struct event_parts parts = {
        .doc = {.ptr = ev->ptr, .len = ev->len},
        .json_flags = ev->flags,
        .cuts = in->check.cut,
        .n_cuts = in->check.n_cuts,
        .event_us = in->now_us,
        .processed_us = in->now_us,
        .journal_hex = in->uuid_hex,
    };
    struct block_line line = {.flags = slot->rows ? BLOCK_ENTRY_ROWS : 0};
    uint32_t added;
    struct block *b;

    if (in->doc != NULL && in->replay)
        line.flags |= BLOCK_ENTRY_REPLAY;
    if (!event_time(slot, ev, &in->check, &parts.event_us)) {
        parts.event_us = in->now_us;
        if (slot->time_path >= 0) {
            line.flags |= BLOCK_ENTRY_BAD_TIME;
            stat_add(&stats->bad_time, 1);
        }
    } else if (event_is_late(in, slot, parts.event_us)) {
        line.flags |= BLOCK_ENTRY_LATE;
        stat_add(&stats->late, 1);
        stat_add(&slot->shown->late, 1);
    }
    if (parts.n_cuts > 0 || (ev->flags & JSON_HAS_LINE_BREAK) != 0)
        stat_add(&stats->normalized, 1);
    b = block_with_room(in, &slot->events, event_assembled_max(&parts));
    parts.lsn = block_tail_lsn(b);
    line.len = (uint32_t)event_assemble(&parts, block_tail(b), &added);
    line.minute = time_minute(parts.event_us);
    line.added = (uint16_t)(added <= UINT16_MAX ? added : 0);
    ASSERT_HOT(line.len <= event_assembled_max(&parts)); /* what room was made for */
    line_commit(in, b, &slot->events, &line);
    in->result->accepted++;
    stat_add(&stats->events, 1);
    stat_add(&stats->event_bytes, ev->len);
    stat_add(&slot->shown->events, 1);
}

static COLD_PATH void event_leave_out(struct ingest *in, struct type_slot *slot)
{
    ASSERT_HOT(slot->sampling_ppm < LIVE_SAMPLING_ALL);
    in->result->sampled_out++;
    stat_add(&in->config.stats->sampled_out, 1);
    stat_add(&slot->shown->sampled_out, 1);
}

/* One document: an event, or a dead letter. found: its type, if it is known already. */
static void document_take(struct ingest *in, const struct json_event *ev, struct type_slot *found)
{
    struct span raw = {.ptr = ev->ptr, .len = ev->len};
    struct type_slot *unknown = in->body_type != NULL ? in->body_type : types_unknown(in->types);
    struct type_slot *slot;
    enum reason reason;

    if (unlikely(ev->len > in->config.event_bytes_max)) {
        dead_letter(in, unknown, REASON_OVERSIZE, "", 0, raw);
    } else if (unlikely(ev->error != JSON_ERROR_NONE)) {
        dead_letter(in, unknown, reason_of_json((enum json_error)ev->error),
                    json_error_text((enum json_error)ev->error), ev->error_offset, raw);
    } else if (unlikely(ev->type != JSON_OBJECT)) {
        dead_letter(in, unknown, REASON_NOT_OBJECT, "", 0, raw);
    } else if (unlikely((slot = route(in, ev, found, &reason)) == NULL)) {
        dead_letter(in, unknown, reason, "",
                    in->type_path >= 0 ? ev->field[in->type_path].offset : 0, raw);
    } else if (event_check(in, slot, ev)) {
        /* A backfill or a replay asks for each of its documents, and its marks count on them. */
        if (slot->sampling_ppm == LIVE_SAMPLING_ALL || in->doc != NULL ||
            (slot->sampling_ppm > 0 &&
             sampling_keeps(slot->sampling_ppm, (struct span){ev->ptr, ev->len})))
            event_take(in, slot, ev);
        else
            event_leave_out(in, slot);
    }
    in->position++;
}

/* ---- admission ---- */

static size_t count_elements(struct ingest *in, const char *buf, size_t len)
{
    struct json_stream s;
    size_t n = 0;
    int got;

    json_stream_init(&s, in->parser, buf, len, JSON_FRAMING_ARRAY);
    while ((got = json_next(&s, in->event, BATCH)) > 0)
        n += (size_t)got;
    return n;
}

/* Why the journal has no room for so many bytes now. */
static enum reason journal_takes(const struct ingest_config *c, uint64_t bytes)
{
    if (writer_failed(c->writer))
        return REASON_DISK_ERROR;
    if (bytes <= writer_room(c->writer))
        return REASON_NONE;
    if (journal_full(c->journal))
        return REASON_JOURNAL_FULL;
    return journal_disk_error(c->journal) ? REASON_DISK_ERROR : REASON_BLOCKS_BUSY;
}

/* Whether n documents of len bytes in all certainly fit into free blocks and journal. */
static enum reason room_for(struct ingest *in, size_t len, size_t n, struct span type)
{
    const struct ingest_config *c = &in->config;
    size_t line_max = dead_line_max(c->event_bytes_max);
    size_t name_bytes = type.len > 0 ? 3 * type.len : in->name_bytes;
    uint64_t bytes = room_bytes(len, n, name_bytes, line_max);
    uint64_t lines = n + dead_parts_max(len, line_max);
    uint64_t blocks = bytes / c->block_bytes + lines / BLOCK_ENTRIES_MAX + 2;
    enum reason reason;

    if (blocks > c->blocks_total)
        return REASON_TOO_MANY_EVENTS;
    reason = journal_takes(c, bytes + blocks * BLOCK_ALIGN);
    if (reason != REASON_NONE)
        return reason;
    return blocks > c->blocks_free(c->ctx) ? REASON_BLOCKS_BUSY : REASON_NONE;
}

static enum reason admit(struct ingest *in, const struct ingest_body *body,
                         enum json_framing framing)
{
    size_t n = body->n_lines; /* an upper bound of the documents */

    if (n == 0 && room_for(in, body->len, body->len / 2 + 1, body->type) == REASON_NONE)
        return REASON_NONE; /* whatever it holds */
    if (n == 0)
        n = framing == JSON_FRAMING_ARRAY ? count_elements(in, body->buf, body->len)
                                          : lines_breaks(body->buf, body->len) + 1;
    return room_for(in, body->len, n, body->type);
}

/* Finds the types that these events name, all at once. */
static void types_ahead(struct ingest *in, uint32_t n)
{
    struct span name[BATCH];

    static_assert(BATCH <= TYPES_AT_ONCE_MAX, "as many at once");
    ASSERT_HOT(n > 0 && n <= BATCH && in->body_type == NULL);
    for (uint32_t i = 0; i < n; i++) {
        const struct json_event *ev = &in->event[i];
        const struct json_field *f = &ev->field[in->type_path];

        name[i] = (struct span){.ptr = ev->ptr, .len = 0};
        if (ev->error == JSON_ERROR_NONE && ev->type == JSON_OBJECT && f->type == JSON_STRING &&
            f->len - 2 <= TYPE_NAME_BYTES_MAX &&
            memchr(ev->ptr + f->offset, '\\', f->len) == NULL) /* of others other bytes count */
            name[i] = (struct span){.ptr = ev->ptr + f->offset + 1, .len = f->len - 2};
    }
    types_find(in->types, name, n, in->found);
    for (uint32_t i = 0; i < n; i++) {
        if (in->found[i] != NULL && in->found[i]->schema != NULL)
            program_expect(in->memory, in->found[i]->schema, &in->event[i]);
    }
}

static bool body_type_set(struct ingest *in, const struct ingest_body *body,
                          struct ingest_result *out)
{
    in->body_type = NULL;
    if (body->type.len == 0)
        return true;
    in->body_type = types_get(in->types, body->type);
    if (in->body_type == NULL)
        out->refused = REASON_TOO_MANY_TYPES;
    else if (!in->body_type->listed && in->config.types->unlisted == UNLISTED_DEAD_LETTER)
        out->refused = REASON_UNLISTED_TYPE;
    return out->refused == REASON_NONE;
}

/*
 * Whether the token may send every event of the body. What names no type becomes a dead letter, as
 * ever. A body is parsed twice for that, but only where a token is for some types and the path names
 * none.
 */
static bool types_allowed(struct ingest *in, const struct ingest_body *body,
                          enum json_framing framing, struct ingest_result *out)
{
    char room[6 * TYPE_NAME_BYTES_MAX];
    struct json_stream s;
    uint32_t index = 0;
    int n;

    if (body->token == NULL || body->token->n_globs == 0 || body->type.len > 0)
        return true;
    json_stream_init(&s, in->parser, body->buf, body->len, framing);
    while ((n = json_next(&s, in->event, BATCH)) > 0) {
        for (int i = 0; i < n; i++, index++) {
            const struct json_event *ev = &in->event[i];
            struct span type = {0};

            if (ev->error == JSON_ERROR_NONE && ev->type == JSON_OBJECT)
                type = type_named(ev, &ev->field[in->type_path], room);
            if (type.len == 0 || token_allows(body->token, type))
                continue;
            ASSERT(out->n_errors < INGEST_ERRORS_MAX);
            out->error[out->n_errors++] =
                (struct ingest_error){.index = index, .reason = REASON_TYPE_REFUSED};
            out->refused = REASON_TYPE_REFUSED;
            return false;
        }
    }
    return true;
}

/* Refuses a body for a type of which nothing is taken now. Of a stream's lines the one will come alone. */
static COLD_PATH bool type_refuse(struct ingest *in, const struct ingest_body *body,
                                  const struct live_type *type, struct ingest_result *out)
{
    struct type_slot *slot =
        type->name.len > 0 ? types_get(in->types, type->name) : types_unknown(in->types);

    ASSERT(type->refused);
    if (slot != NULL && (!body->lines || body->n_lines == 1))
        stat_add(&slot->shown->refused, 1);
    out->refused = REASON_TYPE_PARKED;
    out->refused_type = type->name;
    return false;
}

/* The first type in the body of which nothing is taken now, or NULL. It is parsed for that. */
static const struct live_type *type_refused(struct ingest *in, const struct ingest_body *body,
                                            enum json_framing framing)
{
    const struct refusal_look look = {.settings = types_refusing(in->types),
                                      .parser = in->parser,
                                      .event = in->event,
                                      .n_events = BATCH,
                                      .type_path = in->type_path,
                                      .types = in->config.types,
                                      .event_bytes_max = in->config.event_bytes_max};

    if (likely(look.settings == NULL))
        return NULL;
    if (body->type.len > 0)
        return refusal_find(look.settings, body->type);
    return refusal_in_body(&look, (struct span){body->buf, body->len}, framing);
}

/* Whether nothing in the body is of such a type: a body is taken whole or not at all. */
static bool types_open(struct ingest *in, const struct ingest_body *body, enum json_framing framing,
                       struct ingest_result *out)
{
    const struct live_type *type = type_refused(in, body, framing);

    return type == NULL || type_refuse(in, body, type, out);
}

/* Without the list of errors, which is as long as n_errors says. */
static void result_clear(struct ingest_result *r)
{
    ASSERT_HOT(r != NULL);
    memset(r, 0, offsetof(struct ingest_result, error));
    r->refused = REASON_NONE;
}

/* Takes events of the body under way. */
static void events_take(struct ingest *in, uint32_t n)
{
    ASSERT_HOT(n <= BATCH);
    if (in->body_type == NULL)
        types_ahead(in, n);
    for (uint32_t i = 0; i < n; i++)
        document_take(in, &in->event[i], in->found[i]);
}

void ingest_body(struct ingest *in, const struct ingest_body *body, struct ingest_result *out)
{
    enum json_framing framing =
        body->lines ? JSON_FRAMING_LINES : json_parser_detect(in->parser, body->buf, body->len);
    struct json_stream s;
    int n;

    ASSERT_HOT(body->len < UINT32_MAX);
    result_clear(out);
    if (framing == JSON_FRAMING_ARRAY &&
        json_parser_validate(in->parser, body->buf, body->len, &out->error_offset) !=
            JSON_ERROR_NONE)
        out->refused = REASON_BAD_ARRAY;
    else
        out->refused = admit(in, body, framing);
    if (out->refused != REASON_NONE || !types_allowed(in, body, framing, out) ||
        !types_open(in, body, framing, out) || !body_type_set(in, body, out))
        return;
    in->body = body;
    in->result = out;
    in->position = body->position;
    in->now_us = body->now_us != 0 ? body->now_us : clock_wall_us();
    json_stream_init(&s, in->parser, body->buf, body->len, framing);
    while ((n = json_next(&s, in->event, BATCH)) > 0)
        events_take(in, (uint32_t)n);
    /* Each document is an event, a dead letter, or left out. */
    ASSERT_HOT(in->position - body->position ==
               out->accepted + out->dead_lettered + out->sampled_out);
    if (in->position == body->position && framing != JSON_FRAMING_ARRAY && !body->lines)
        out->refused = REASON_EMPTY_BODY;
}

/* ---- bursts ---- */

/* Whether all documents of a burst certainly find room; they are counted only when room is short. */
static bool burst_fits(struct ingest *in, const struct ingest_burst *burst)
{
    size_t len = 0, n = 0;

    for (uint32_t i = 0; i < burst->n; i++)
        len += burst->buffer[i].len;
    if (likely(room_for(in, len, len / 2 + burst->n, (struct span){0}) == REASON_NONE))
        return true;
    /* One line each is the least. */
    if (room_for(in, len, burst->n, (struct span){0}) != REASON_NONE)
        return false;
    for (uint32_t i = 0; i < burst->n; i++)
        n += lines_breaks(burst->buffer[i].ptr, burst->buffer[i].len) + 1;
    return room_for(in, len, n, (struct span){0}) == REASON_NONE;
}

/* Whether nothing in any of them is of a type of which nothing is taken now. */
static bool burst_open(struct ingest *in, const struct ingest_burst *burst)
{
    if (likely(types_refusing(in->types) == NULL))
        return true;
    for (uint32_t i = 0; i < burst->n; i++) {
        const struct ingest_body body = {.buf = burst->buffer[i].ptr, .len = burst->buffer[i].len};

        if (type_refused(in, &body, JSON_FRAMING_LINES) != NULL)
            return false;
    }
    return true;
}

/* The same as events_take() for those of a burst: *at is the body that the event before was of. A body whose
 * first line is no event may be a single document over several lines: then it is left. */
static uint64_t burst_events_take(struct ingest *in, const struct ingest_burst *burst,
                                  struct ingest_body *body, uint32_t *at, uint64_t left, uint32_t n)
{
    types_ahead(in, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct json_event *ev = &in->event[i];

        if (ev->buffer != *at) {
            const struct json_buffer *b = &burst->buffer[ev->buffer];

            *at = ev->buffer;
            body->peer = burst->peer[ev->buffer];
            in->position = 0;
            if (unlikely(ev->error != JSON_ERROR_NONE) &&
                json_detect(b->ptr, b->len) == JSON_FRAMING_SINGLE)
                left |= UINT64_C(1) << ev->buffer;
        }
        if (likely((left >> ev->buffer & 1) == 0))
            document_take(in, ev, in->found[i]);
    }
    return left;
}

uint64_t ingest_burst(struct ingest *in, const struct ingest_burst *burst,
                      struct ingest_result *out)
{
    struct ingest_body body = {.input = burst->input};
    uint32_t at = UINT32_MAX;
    uint64_t left = 0;
    struct json_stream s;
    int n;

    ASSERT_HOT(burst->n > 0 && burst->n <= JSON_BUFFERS_MAX);
    result_clear(out);
    if (!burst_fits(in, burst) || !burst_open(in, burst))
        return ~UINT64_C(0) >> (64 - burst->n);
    in->body = &body;
    in->result = out;
    in->body_type = NULL;
    in->now_us = burst->now_us;
    json_stream_init_buffers(&s, in->parser, burst->buffer, burst->n);
    while ((n = json_next(&s, in->event, BATCH)) > 0)
        left = burst_events_take(in, burst, &body, &at, left, (uint32_t)n);
    in->body = NULL;
    return left;
}

void ingest_dead(struct ingest *in, const struct ingest_body *body, enum reason reason,
                 const char *detail, struct ingest_result *out)
{
    const struct live_type *type;

    ASSERT(reason > REASON_NONE && reason < REASON_DEAD_END && body->type.len == 0);
    *out = (struct ingest_result){.refused = room_for(in, body->len, 1, body->type)};
    if (out->refused == REASON_NONE && types_refusing(in->types) != NULL &&
        (type = refusal_find(types_refusing(in->types), body->type)) != NULL)
        (void)type_refuse(in, body, type, out);
    if (out->refused != REASON_NONE)
        return;
    in->body = body;
    in->result = out;
    in->body_type = NULL;
    in->position = body->position;
    in->now_us = body->now_us != 0 ? body->now_us : clock_wall_us();
    dead_letter(in, types_unknown(in->types), reason, detail, 0,
                (struct span){.ptr = body->buf, .len = body->len});
}

/* ---- injections ---- */

uint32_t ingest_fits(uint32_t event_bytes_max, uint32_t block_capacity,
                     const struct inject_doc *doc, uint32_t n_docs)
{
    size_t line_max = dead_line_max(event_bytes_max);
    uint64_t bytes = 0, lines = 0;
    struct block empty = {.capacity = block_capacity};
    uint32_t n;

    ASSERT(n_docs > 0);
    block_open(&empty, 0, 0);
    for (n = 0; n < n_docs; n++) {
        bytes += document_bytes(doc[n].raw.len, line_max);
        lines += dead_parts_max(doc[n].raw.len, line_max);
        if (lines > BLOCK_ENTRIES_MAX || !block_has_room(&empty, bytes, (uint32_t)lines, n + 1))
            break;
    }
    return n > 0 ? n : 1;
}

/* Whether a block can be opened for an injection. */
static enum reason block_available(struct ingest *in)
{
    const struct ingest_config *c = &in->config;
    enum reason reason = journal_takes(c, 1);

    if (reason != REASON_NONE)
        return reason;
    return c->blocks_free(c->ctx) <= c->blocks_total / 4 ? REASON_BLOCKS_BUSY : REASON_NONE;
}

/* Opens a block with room for the next document, or for the whole batch, if the open one has none. */
static enum reason batch_open(struct ingest *in, const struct ingest_batch *b,
                              const struct block_mark *mark)
{
    uint32_t n = b->whole ? b->n_docs - b->taken : 1, lines = 0;
    size_t line_max = dead_line_max(in->config.event_bytes_max);
    uint64_t bytes = 0;
    struct block *open = writer_open_block(in->config.writer);
    enum reason reason;
    int rc;

    for (uint32_t i = b->taken; i < b->taken + n; i++) {
        bytes += document_bytes(b->doc[i].raw.len, line_max);
        lines += dead_parts_max(b->doc[i].raw.len, line_max);
    }
    if (writer_failed(in->config.writer))
        return REASON_DISK_ERROR;
    if (open != NULL && block_takes_mark(open, mark) &&
        (open->n_entries == 0 || block_has_room(open, bytes, lines, n)))
        return REASON_NONE;
    reason = block_available(in);
    if (reason != REASON_NONE)
        return reason;
    if (open != NULL)
        writer_seal(in->config.writer);
    open = in->config.block_get(in->config.ctx);
    ASSERT(open != NULL);
    rc = writer_open(in->config.writer, open, ++in->seq);
    ASSERT(rc == 0);
    return REASON_NONE;
}

/* Where the document's type comes from. @return false when it has become a dead letter. */
static bool document_type(struct ingest *in, const struct inject_doc *doc)
{
    struct ingest_result unused = {.refused = REASON_NONE};
    struct ingest_body body = {.type = doc->type};

    ASSERT_HOT(doc->type.len <= TYPE_NAME_BYTES_MAX);
    if (body_type_set(in, &body, &unused))
        return true;
    in->body_type = NULL;
    dead_letter(in, types_unknown(in->types), unused.refused, "", 0, doc->raw);
    return false;
}

/* One document of an injection: an event or a dead letter, in the open block. */
static void inject_take(struct ingest *in, const struct inject_doc *doc)
{
    struct json_event *ev = &in->event[0];
    struct json_stream s;

    ASSERT(in->doc == NULL && writer_open_block(in->config.writer) != NULL);
    in->doc = doc;
    if (!document_type(in, doc)) {
        in->position++;
    } else if (unlikely(doc->whole > doc->raw.len)) {
        dead_letter(in, in->body_type != NULL ? in->body_type : types_unknown(in->types),
                    REASON_OVERSIZE, "", 0, doc->raw);
        in->position++;
    } else {
        json_stream_init(&s, in->parser, doc->raw.ptr, doc->raw.len, JSON_FRAMING_SINGLE);
        if (json_next(&s, ev, 1) == 0)
            *ev = (struct json_event){
                .ptr = doc->raw.ptr, .len = (uint32_t)doc->raw.len, .error = JSON_ERROR_EMPTY};
        document_take(in, ev, NULL);
    }
    in->doc = NULL;
}

enum reason ingest_documents(struct ingest *in, struct ingest_batch *b, struct ingest_result *out)
{
    struct block_mark mark = {0};

    ASSERT(b->taken < b->n_docs && in->doc == NULL);
    memcpy(mark.session, b->session, sizeof(mark.session));
    in->body = NULL;
    in->replay = b->replay;
    in->result = out;
    in->position = b->taken;
    in->now_us = clock_wall_us();
    while (b->taken < b->n_docs) {
        const struct inject_doc *doc = &b->doc[b->taken];
        bool begin = b->taken == 0 || !b->whole;
        enum reason reason = begin ? batch_open(in, b, &mark) : REASON_NONE;
        struct block *open;

        if (reason != REASON_NONE)
            return reason;
        inject_take(in, doc);
        b->taken++;
        mark.seq = doc->seq;
        mark.note = doc->note;
        open = writer_open_block(in->config.writer);
        if (open->n_entries > 0)
            block_set_mark(open, &mark);
        if (block_is_full(open) && (!b->whole || b->taken == b->n_docs))
            writer_seal(in->config.writer);
    }
    return REASON_NONE;
}
