/* What was promised, event by event, and the checks. See sim.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/sim.h"

#define BLOCKS_OPEN_MAX 64
#define BLOCK_EVENTS    400
#define IDS             24u /* that several events have */
#define JUMPS_MAX       512u

/* A block that was opened and is not acknowledged. */
struct model_block {
    const struct block *block;
    int64_t low_us, high_us; /* wall clock since it was opened: it was sealed in between */
    uint32_t serial[BLOCK_EVENTS];
    uint32_t n;
};

struct model_journal {
    uint32_t *known; /* serials in the order of the journal, as far as they are promised */
    uint32_t n_known, room;
    uint32_t n_freed; /* of known: checked to be in the cloud */
    struct model_block queued[BLOCKS_OPEN_MAX];
    uint32_t n_queued;
};

static struct {
    struct model_journal journal[JOURNALS];
    uint32_t next_serial;
    uint8_t kind[SERIALS_MAX];
    bool known[SERIALS_MAX];
    uint8_t archived[SERIALS_MAX], loaded[SERIALS_MAX], letters[SERIALS_MAX];
    uint32_t letter_life[SERIALS_MAX], told_life[SERIALS_MAX]; /* by insertAll: of the last one */
    /* Duplicates. */
    struct dedupe_rule rule[KINDS];
    uint32_t of_kind[KINDS];    /* events so far */
    uint32_t id[SERIALS_MAX];   /* 0: none */
    uint32_t same[SERIALS_MAX]; /* the one before with its kind and id, or 0 */
    uint32_t last[KINDS][IDS];  /* the last one with an id */
    bool replay[SERIALS_MAX];
    int64_t low_us[SERIALS_MAX], high_us[SERIALS_MAX]; /* when its block was sealed */
    struct {
        uint32_t before; /* the first serial after it */
        int64_t wall_us; /* before it */
    } jump[JUMPS_MAX];
    uint32_t n_jumps;
    bool forgets, damaged;
} model;

void model_reset(void)
{
    for (uint32_t i = 0; i < JOURNALS; i++) {
        model.journal[i].n_known = model.journal[i].n_freed = model.journal[i].n_queued = 0;
    }
    memset(model.known, 0, model.next_serial * sizeof(bool));
    memset(model.archived, 0, model.next_serial);
    memset(model.loaded, 0, model.next_serial);
    memset(model.letters, 0, model.next_serial);
    memset(model.letter_life, 0, model.next_serial * sizeof(uint32_t));
    memset(model.told_life, 0, model.next_serial * sizeof(uint32_t));
    memset(model.rule, 0, sizeof(model.rule));
    memset(model.of_kind, 0, sizeof(model.of_kind));
    memset(model.last, 0, sizeof(model.last));
    model.n_jumps = 0;
    model.forgets = model.damaged = false;
    model.next_serial = 1;
}

/* The text of an event is a function of its serial and id; its final brace is left off. */
static size_t event_text(uint32_t serial, char *out)
{
    static const char *const quoted[] = {"k%u", "\\u006b%u", "\\u006B%u"}; /* the same text */
    uint32_t width = serial * 2654435761u;
    char id[32] = "";

    if (model.id[serial] != 0) {
        size_t n = (size_t)snprintf(id, sizeof(id), ",\"id\":\"");

        n += (size_t)snprintf(id + n, sizeof(id) - n, quoted[serial % ARRAY_LEN(quoted)],
                              model.id[serial]);
        snprintf(id + n, sizeof(id) - n, "\"");
    }

    /* Mostly small, now and then large: segments fill at different places. */
    width = width % 16 == 0 ? 200 + (width >> 8) % 600 : 1 + (width >> 8) % 120;
    return (size_t)snprintf(out, EVENT_BYTES, "{\"n\":%" PRIu32 ",\"x\":\"%0*d\"%s", serial,
                            (int)width, 0, id);
}

static int64_t wall_now(void)
{
    return sim.now_us + sim.wall_us;
}

void model_open(uint32_t journal, const struct block *block)
{
    struct model_journal *j = &model.journal[journal];

    ASSERT(j->n_queued < BLOCKS_OPEN_MAX);
    j->queued[j->n_queued].block = block;
    j->queued[j->n_queued].low_us = j->queued[j->n_queued].high_us = wall_now();
    j->queued[j->n_queued++].n = 0;
}

/* An id that some other events have, or its own. */
static uint32_t id_choose(uint32_t serial, enum event_kind kind, enum line_form form)
{
    uint32_t id = sim_below(10) == 0 ? IDS + serial : 1 + sim_below(IDS - 1);

    model.same[serial] = 0;
    model.replay[serial] = form == LINE_REPLAY;
    if (form == LINE_PLAIN)
        return 0;
    if (id < IDS) {
        model.same[serial] = model.last[kind][id];
        model.last[kind][id] = serial;
    }
    return id;
}

uint32_t model_event(uint32_t journal, const struct block *block, enum event_kind kind,
                     enum line_form form, char *text, size_t *len)
{
    struct model_journal *j = &model.journal[journal];
    struct model_block *b = &j->queued[j->n_queued - 1];
    uint32_t serial = model.next_serial++;

    ASSERT(j->n_queued > 0 && b->block == block && b->n < BLOCK_EVENTS && serial < SERIALS_MAX);
    model.kind[serial] = (uint8_t)kind;
    model.id[serial] = id_choose(serial, kind, form);
    model.of_kind[kind]++;
    b->serial[b->n++] = serial;
    *len = event_text(serial, text);
    sim.totals.events++;
    return serial;
}

/* Everything that is open has lived through this time. */
static void clock_seen(int64_t wall_us)
{
    for (uint32_t i = 0; i < JOURNALS; i++) {
        for (uint32_t k = 0; k < model.journal[i].n_queued; k++) {
            struct model_block *b = &model.journal[i].queued[k];

            b->low_us = wall_us < b->low_us ? wall_us : b->low_us;
            b->high_us = wall_us > b->high_us ? wall_us : b->high_us;
        }
    }
}

/* sealed: the block's header says when it was sealed. */
static void block_known(struct model_journal *j, bool sealed)
{
    struct model_block *b = &j->queued[0];

    if (sealed) /* else what was found may be an earlier sealing of it */
        b->low_us = b->high_us = ((const struct block_header *)b->block->buf)->sealed_us;

    for (uint32_t i = 0; i < b->n; i++) {
        if (j->n_known == j->room) {
            j->room = j->room > 0 ? 2 * j->room : 1024;
            j->known = realloc(j->known, j->room * sizeof(*j->known));
            ASSERT(j->known != NULL);
        }
        j->known[j->n_known++] = b->serial[i];
        model.known[b->serial[i]] = true;
        model.low_us[b->serial[i]] = b->low_us;
        model.high_us[b->serial[i]] = b->high_us;
    }
    j->n_queued--;
    memmove(&j->queued[0], &j->queued[1], j->n_queued * sizeof(j->queued[0]));
}

void model_acknowledged(uint32_t journal, const struct block *block)
{
    struct model_journal *j = &model.journal[journal];

    if (j->n_queued == 0 || j->queued[0].block != block) {
        sim_wrong("journal %u acknowledges a block out of order", journal);
        return;
    }
    sim.totals.acknowledged += j->queued[0].n;
    block_known(j, true);
}

void model_recovered(uint32_t journal, uint64_t events_total)
{
    struct model_journal *j = &model.journal[journal];

    clock_seen(wall_now());
    if (events_total < j->n_known)
        sim_wrong("journal %u: %u events acknowledged, recovered %" PRIu64, journal, j->n_known,
                  events_total);
    while (events_total > j->n_known && j->n_queued > 0 &&
           j->queued[0].n <= events_total - j->n_known) /* there, and never answered */
        block_known(j, false);
    if (sim.error[0] == '\0' && events_total != j->n_known)
        sim_wrong("journal %u recovered %" PRIu64 " events, which is no whole number of blocks",
                  journal, events_total);
    j->n_queued = 0;
}

/* ---- duplicates ---- */

void model_dedupe(enum event_kind kind, const struct dedupe_rule *rule)
{
    ASSERT(kind < KINDS && rule->window_us > 0);
    model.rule[kind] = *rule;
}

void model_clock_jump(int64_t by_us)
{
    ASSERT(model.n_jumps < JUMPS_MAX);
    model.jump[model.n_jumps].before = model.next_serial;
    model.jump[model.n_jumps++].wall_us = wall_now();
    clock_seen(wall_now());
    sim.wall_us += by_us;
    clock_seen(wall_now());
}

void model_ids_lost(bool damaged)
{
    model.forgets = true;
    model.damaged |= damaged;
    sim_trace("  ids are lost%s", damaged ? ": a part of the log could not be read" : "");
}

/* The latest that the clock has shown since an event came. */
static int64_t wall_high(uint32_t serial)
{
    int64_t high = wall_now();

    for (uint32_t i = model.n_jumps; i-- > 0 && model.jump[i].before > serial;)
        high = model.jump[i].wall_us > high ? model.jump[i].wall_us : high;
    return high;
}

/* Whether an event is looked up among the ids that were taken. */
static bool has_id(uint32_t serial)
{
    return model.rule[model.kind[serial]].window_us > 0 && model.id[serial] != 0 &&
           !model.replay[serial];
}

/* How far apart two events are at least, and at most. */
static int64_t apart_min(uint32_t a, uint32_t b)
{
    if (model.low_us[a] > model.high_us[b])
        return model.low_us[a] - model.high_us[b];
    return model.low_us[b] > model.high_us[a] ? model.low_us[b] - model.high_us[a] : 0;
}

static int64_t apart_max(uint32_t a, uint32_t b)
{
    int64_t x = model.high_us[a] - model.low_us[b], y = model.high_us[b] - model.low_us[a];

    return x > y ? x : y;
}

/* Whether one of two equal ids may have left the window before the other was looked up. */
static bool may_be_forgotten(uint32_t a, uint32_t b)
{
    const struct dedupe_rule *r = &model.rule[model.kind[a]];
    uint32_t first = a < b ? a : b;
    int64_t low = model.low_us[a] < model.low_us[b] ? model.low_us[a] : model.low_us[b];

    return model.forgets || model.of_kind[model.kind[a]] >= r->ids_max ||
           wall_high(first) - r->slack_us - low >= r->window_us;
}

/* Another one of the same id that is in an object, or may come to be in one, within the window. When
 * decisions were forgotten, what an event was removed for may be decided anew and be removed for yet
 * another one: that one is two windows away at most. */
static uint32_t twin_find(uint32_t serial, bool in_object)
{
    uint32_t kind = model.kind[serial];
    int64_t within_us = model.rule[kind].window_us * (model.damaged ? 2 : 1);

    if (!has_id(serial) || model.id[serial] >= IDS)
        return 0;
    for (uint32_t t = model.last[kind][model.id[serial]]; t != 0; t = model.same[t]) {
        if (t != serial && model.known[t] && !model.replay[t] &&
            (model.archived[t] > 0 || !in_object) && apart_min(t, serial) < within_us)
            return t;
    }
    return 0;
}

/* An event has come through: no other one of its id has. */
static void check_unique(uint32_t serial)
{
    uint32_t kind = model.kind[serial];

    if (!has_id(serial) || model.id[serial] >= IDS)
        return;
    for (uint32_t t = model.last[kind][model.id[serial]]; t != 0; t = model.same[t]) {
        if (t != serial && model.archived[t] > 0 && !model.replay[t] &&
            apart_max(t, serial) < model.rule[kind].window_us && !may_be_forgotten(t, serial))
            sim_wrong("events %u and %u of id k%u are both in objects, %.3f s apart", t, serial,
                      model.id[serial], (double)apart_max(t, serial) / 1e6);
    }
}

/* Whether an event is nowhere because another one of its id is somewhere. */
static bool is_removed(uint32_t serial)
{
    return model.archived[serial] == 0 && model.loaded[serial] == 0 && model.letters[serial] == 0 &&
           twin_find(serial, true) != 0;
}

/* ---- what has arrived ---- */

void model_freed(uint32_t journal, uint64_t events)
{
    struct model_journal *j = &model.journal[journal];

    for (; j->n_freed < events && j->n_freed < j->n_known; j->n_freed++) {
        uint32_t serial = j->known[j->n_freed];

        if (model.archived[serial] == 0 && !machine_spooled(serial, false) &&
            twin_find(serial, false) == 0) {
            sim_wrong("journal %u frees event %u, which is in no object and not spooled", journal,
                      serial);
            return;
        }
        if (kind_streams(model_kind(serial)) && !model_settled(serial) &&
            !machine_spooled(serial, true) && twin_find(serial, false) == 0) {
            sim_wrong("journal %u frees event %u, which is no row and not spooled", journal,
                      serial);
            return;
        }
    }
}

uint32_t model_line(struct span line)
{
    const char *at = memmem(line.ptr, line.len, "{\"n\":", 5);
    char text[EVENT_BYTES];
    unsigned long serial;
    size_t len;

    if (at == NULL)
        return 0;
    serial = strtoul(at + 5, NULL, 10);
    if (serial == 0 || serial >= model.next_serial)
        return 0;
    len = event_text((uint32_t)serial, text);
    if (len > (size_t)(line.ptr + line.len - at) || memcmp(at, text, len) != 0)
        return 0;
    return (uint32_t)serial;
}

enum event_kind model_kind(uint32_t serial)
{
    ASSERT(serial > 0 && serial < model.next_serial);
    return (enum event_kind)model.kind[serial];
}

void model_archived(uint32_t serial)
{
    if (!model.known[serial])
        sim_wrong("event %u is in an object, but its block was never durable", serial);
    else if (++model.archived[serial] > 1)
        sim_wrong("event %u is in two objects", serial);
    else
        check_unique(serial);
}

bool kind_streams(enum event_kind kind)
{
    return kind == KIND_METER || kind == KIND_PULSE;
}

/* At least once by contract: again when BigQuery has forgotten its insertId. */
void model_streamed(uint32_t serial, const char *table)
{
    enum event_kind kind = model_kind(serial);

    if (!model.known[serial])
        sim_wrong("event %u is a row, but its block was never durable", serial);
    if (!kind_streams(kind) || strcmp(table, kind == KIND_METER ? "meter" : "pulse") != 0)
        sim_wrong("event %u is a row of table %s", serial, table);
    sim.totals.rows_again += model.loaded[serial] > 0 ? 1 : 0;
    if (model.loaded[serial] < UINT8_MAX)
        model.loaded[serial]++;
}

void model_row_told(uint32_t serial)
{
    ASSERT(serial > 0 && serial < model.next_serial);
    model.told_life[serial] = sim.life;
}

void model_row_sent(uint32_t serial)
{
    ASSERT(serial > 0 && serial < model.next_serial);
    if (model.told_life[serial] == sim.life)
        sim_wrong("event %u is sent again, although it is known to be taken", serial);
}

void model_loaded(uint32_t serial)
{
    if (kind_streams(model_kind(serial)))
        sim_wrong("event %u is in a load job, and goes by insertAll", serial);
    if (++model.loaded[serial] > 1)
        sim_wrong("event %u is two rows", serial);
    if (model.letters[serial] > 0)
        sim_wrong("event %u is a row and a refused one", serial);
}

bool model_is_good(uint32_t serial)
{
    return serial % 61 != 7;
}

bool model_settled(uint32_t serial)
{
    return model.loaded[serial] + model.letters[serial] > 0;
}

/* The event as a JSON string, final brace included. */
static size_t quoted_text(uint32_t serial, char *out)
{
    char text[EVENT_BYTES];
    size_t len = event_text(serial, text), n = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\')
            out[n++] = '\\';
        out[n++] = text[i];
    }
    memcpy(out + n, "}\"", 2);
    return n + 2;
}

/* By insertAll a plan that a crash interrupts is sent again, and BigQuery may speak otherwise then. */
static void letter_check(uint32_t serial, uint32_t life)
{
    bool streams = kind_streams(model_kind(serial));

    if (model.letters[serial] > 1 && !(streams && model.letter_life[serial] != life))
        sim_wrong("event %u is two refused rows", serial);
    if (model.loaded[serial] > 0)
        sim_wrong("event %u is a refused row and a row", serial);
    model.letter_life[serial] = life;
}

uint32_t model_letter(struct span line, uint32_t life)
{
    static const char start[] = "\"raw\":\"{\\\"n\\\":";
    const char *at = memmem(line.ptr, line.len, start, sizeof(start) - 1);
    char text[2 * EVENT_BYTES];
    unsigned long serial;
    size_t len;

    if (at == NULL)
        return 0;
    serial = strtoul(at + sizeof(start) - 1, NULL, 10);
    if (serial == 0 || serial >= model.next_serial)
        return 0;
    len = quoted_text((uint32_t)serial, text);
    at += strlen("\"raw\":\"");
    if (len > (size_t)(line.ptr + line.len - at) || memcmp(at, text, len) != 0)
        return 0;
    if (model.letters[serial] < UINT8_MAX)
        model.letters[serial]++;
    letter_check((uint32_t)serial, life);
    sim.totals.letters++;
    return (uint32_t)serial;
}

static bool is_there(uint32_t serial)
{
    if (is_removed(serial) || (model.damaged && twin_find(serial, true) != 0))
        return true;
    if (kind_streams(model_kind(serial)))
        return model.archived[serial] == 1 && model_settled(serial);
    return model.archived[serial] == 1 && model.loaded[serial] + model.letters[serial] ==
                                              (model.kind[serial] == KIND_DEAD ? 0 : 1);
}

uint64_t model_missing(void)
{
    uint64_t n = 0;

    for (uint32_t i = 1; i < model.next_serial; i++)
        n += model.known[i] && !is_there(i) ? 1 : 0;
    return n;
}

uint32_t model_first_missing(void)
{
    uint32_t i = 1;

    while (i < model.next_serial && (!model.known[i] || is_there(i)))
        i++;
    return i < model.next_serial ? i : 0;
}

/* Everything of its kind and id, for the event log. */
static void twins_trace(uint32_t serial)
{
    uint32_t kind = model.kind[serial];
    uint32_t t = model.id[serial] < IDS ? model.last[kind][model.id[serial]] : 0;

    for (; t != 0; t = model.same[t])
        sim_trace("  k%u: event %u%s%s, sealed %.3f to %.3f, in %u objects", model.id[t], t,
                  model.known[t] ? "" : ", never durable", model.replay[t] ? ", replay" : "",
                  (double)model.low_us[t] / 1e6, (double)model.high_us[t] / 1e6, model.archived[t]);
}

const char *model_about(uint32_t serial)
{
    static char text[160];

    twins_trace(serial);
    snprintf(text, sizeof(text), "event %u (kind %u, id k%u%s) in %u objects, %u rows, %u letters",
             serial, model.kind[serial], model.id[serial], model.replay[serial] ? ", replay" : "",
             model.archived[serial], model.loaded[serial], model.letters[serial]);
    return text;
}

/* What was removed is what the ledger accounts for. */
static void check_removed(void)
{
    uint64_t n = 0, told;

    for (uint32_t i = 1; i < model.next_serial; i++)
        n += model.known[i] && is_removed(i) ? 1 : 0;
    sim.totals.duplicates += n;
    if (engine_removed(&told) && told != n && !model.damaged)
        sim_wrong("%" PRIu64 " duplicates were removed, the ledger says %" PRIu64, n, told);
}

void model_check_end(void)
{
    check_removed();
    for (uint32_t i = 1; i < model.next_serial; i++) {
        if (model.known[i] && !is_there(i)) {
            sim_wrong("in the end: %s", model_about(i));
            return;
        }
        if (!model.known[i] && (model.archived[i] > 0 || model.loaded[i] > 0)) {
            sim_wrong("event %u was never stored, and is delivered", i);
            return;
        }
    }
}
