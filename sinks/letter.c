/* COLD. Rows that BigQuery refused, as dead letters: the event as it came, with BigQuery's word. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/assemble.h"
#include "dataplane/event/dead.h"
#include "sinks/sink_internal.h"

#define LETTER_LINE_MAX (4u << 20) /* longer dead letters go to several lines */
#define LETTER_HEAD_MAX 8192u      /* of a line, beside the event */

/* The event in a wrapped line: {"event":EVENT,added...}. */
static struct span wrapped_event(struct span line, uint32_t added)
{
    const size_t head = strlen("{\"" COLUMN_EVENT "\":");

    ASSERT(line.len > head + added + 2);
    return (struct span){line.ptr + head, line.len - head - added - 2};
}

/* raw holds line.len bytes. */
static struct span original(const struct refused_row *r, const struct event_facts *facts, char *raw)
{
    const size_t head = strlen("{\"" COLUMN_EVENT "\":");

    ASSERT(r->line.len > 0);
    if (r->form == LETTER_WRAPPED && r->line.len > head + facts->added + 2)
        return wrapped_event(r->line, facts->added);
    return (struct span){raw, event_original(r->line, r->form == LETTER_MOVED, raw)};
}

int letter_append(struct text *out, const struct refused_row *r)
{
    struct event_facts facts = {.id = "00000000000000000000000000000000-0000000000000000"};
    char source[EVENT_ID_BYTES + 16], *raw = malloc(r->line.len + 1), *line;
    struct dead_letter letter = {
        .reason = REASON_REFUSED_BY_BIGQUERY,
        .detail = r->why,
        .event_type = r->type,
        .position = (uint32_t)r->row,
        .source = source,
    };
    size_t room, before = out->len;

    if (raw == NULL)
        return -ENOMEM;
    (void)!event_facts(r->line, &facts);
    snprintf(source, sizeof(source), "journal %.*s", EVENT_ID_BYTES, facts.id);
    letter.received_us = facts.processed_us;
    letter.journal_hex = facts.id;
    letter.raw = original(r, &facts, raw);
    room = 2 * letter.raw.len + LETTER_HEAD_MAX;
    room = room < LETTER_LINE_MAX ? room : LETTER_LINE_MAX;
    line = malloc(room);
    for (uint32_t part = 0, parts = dead_parts(&letter, room); line != NULL && part < parts; part++)
        text_add(out,
                 (struct span){line, dead_format(&letter, part, parts, facts.lsn, room, line)});
    free(raw);
    free(line);
    if (line != NULL && !text_failed(out))
        return 0;
    text_cut(out, before);
    return -ENOMEM;
}
