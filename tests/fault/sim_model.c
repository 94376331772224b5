/* What was promised, event by event, and the checks. See sim.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/sim.h"

#define BLOCKS_OPEN_MAX 64
#define BLOCK_EVENTS    400

/* A block that was opened and is not acknowledged. */
struct model_block {
    const void *block;
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
    model.next_serial = 1;
}

/* The text of an event is a function of its serial; its final brace is left off. */
static size_t event_text(uint32_t serial, char *out)
{
    uint32_t width = serial * 2654435761u;

    /* Mostly small, now and then large: segments fill at different places. */
    width = width % 16 == 0 ? 200 + (width >> 8) % 600 : 1 + (width >> 8) % 120;
    return (size_t)snprintf(out, EVENT_BYTES, "{\"n\":%" PRIu32 ",\"x\":\"%0*d\"", serial,
                            (int)width, 0);
}

void model_open(uint32_t journal, const void *block)
{
    struct model_journal *j = &model.journal[journal];

    ASSERT(j->n_queued < BLOCKS_OPEN_MAX);
    j->queued[j->n_queued].block = block;
    j->queued[j->n_queued++].n = 0;
}

uint32_t model_event(uint32_t journal, const void *block, enum event_kind kind, char *text,
                     size_t *len)
{
    struct model_journal *j = &model.journal[journal];
    struct model_block *b = &j->queued[j->n_queued - 1];
    uint32_t serial = model.next_serial++;

    ASSERT(j->n_queued > 0 && b->block == block && b->n < BLOCK_EVENTS && serial < SERIALS_MAX);
    model.kind[serial] = (uint8_t)kind;
    b->serial[b->n++] = serial;
    *len = event_text(serial, text);
    sim.totals.events++;
    return serial;
}

static void block_known(struct model_journal *j)
{
    const struct model_block *b = &j->queued[0];

    for (uint32_t i = 0; i < b->n; i++) {
        if (j->n_known == j->room) {
            j->room = j->room > 0 ? 2 * j->room : 1024;
            j->known = realloc(j->known, j->room * sizeof(*j->known));
            ASSERT(j->known != NULL);
        }
        j->known[j->n_known++] = b->serial[i];
        model.known[b->serial[i]] = true;
    }
    j->n_queued--;
    memmove(&j->queued[0], &j->queued[1], j->n_queued * sizeof(j->queued[0]));
}

void model_acknowledged(uint32_t journal, const void *block)
{
    struct model_journal *j = &model.journal[journal];

    if (j->n_queued == 0 || j->queued[0].block != block) {
        sim_wrong("journal %u acknowledges a block out of order", journal);
        return;
    }
    sim.totals.acknowledged += j->queued[0].n;
    block_known(j);
}

void model_recovered(uint32_t journal, uint64_t events_total)
{
    struct model_journal *j = &model.journal[journal];

    if (events_total < j->n_known)
        sim_wrong("journal %u: %u events acknowledged, recovered %" PRIu64, journal, j->n_known,
                  events_total);
    while (events_total > j->n_known && j->n_queued > 0 &&
           j->queued[0].n <= events_total - j->n_known) /* there, and never answered */
        block_known(j);
    if (sim.error[0] == '\0' && events_total != j->n_known)
        sim_wrong("journal %u recovered %" PRIu64 " events, which is no whole number of blocks",
                  journal, events_total);
    j->n_queued = 0;
}

void model_freed(uint32_t journal, uint64_t events)
{
    struct model_journal *j = &model.journal[journal];

    for (; j->n_freed < events && j->n_freed < j->n_known; j->n_freed++) {
        uint32_t serial = j->known[j->n_freed];

        if (model.archived[serial] == 0) {
            sim_wrong("journal %u frees event %u, which is in no object", journal, serial);
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
}

void model_loaded(uint32_t serial)
{
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
        if (text[i] == '"')
            out[n++] = '\\';
        out[n++] = text[i];
    }
    memcpy(out + n, "}\"", 2);
    return n + 2;
}

uint32_t model_letter(struct span line)
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
    if (++model.letters[serial] > 1)
        sim_wrong("event %lu is two refused rows", serial);
    if (model.loaded[serial] > 0)
        sim_wrong("event %lu is a refused row and a row", serial);
    sim.totals.letters++;
    return (uint32_t)serial;
}

static bool is_there(uint32_t serial)
{
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

void model_check_end(void)
{
    for (uint32_t i = 1; i < model.next_serial; i++) {
        if (model.known[i] && !is_there(i)) {
            sim_wrong("event %u (kind %u) is in %u objects, %u rows and %u letters in the end", i,
                      model.kind[i], model.archived[i], model.loaded[i], model.letters[i]);
            return;
        }
        if (!model.known[i] && (model.archived[i] > 0 || model.loaded[i] > 0)) {
            sim_wrong("event %u was never stored, and is delivered", i);
            return;
        }
    }
}
