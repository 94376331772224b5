/*
 * The one copy: an accepted event, with its added fields, as one line of NDJSON.
 *
 *     {...the producer's bytes...
 *      ,"event_date":"2026-11-21","processed_timestamp":"...Z","penstock_id":"..."}\n
 *
 * Bytes are kept but for: the added fields before the last '}'; line breaks outside strings become
 * spaces; cuts (check.h) leave, and those marked overflow return inside "penstock_overflow":{...},
 * the first added field.
 * Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_EVENT_ASSEMBLE_H
#define PENSTOCK_EVENT_ASSEMBLE_H

#include "dataplane/event/check.h"

/* penstock_id: 32 hex digits of the journal's UUID, '-', 16 hex digits of the LSN. It ends the
 * line, so that the LSN can be replaced in place when a failed segment is superseded: see
 * event_patch_lsn(). */
#define EVENT_ID_BYTES 49

/* What assembling adds to a document without cuts: the worst case. */
#define EVENT_ADDED_BYTES_MAX 160

/** What goes into one line. */
struct event_parts {
    struct span doc;    /* a valid JSON object, white space trimmed */
    uint8_t json_flags; /* of json_event: JSON_HAS_LINE_BREAK, JSON_EMPTY_OBJECT */
    const struct event_cut *cuts;
    uint32_t n_cuts;
    int64_t event_us; /* gives event_date */
    int64_t processed_us;
    const char *journal_hex; /* 32 digits */
    uint64_t lsn;
};

/** An upper bound for event_assemble()'s output. */
size_t event_assembled_max(const struct event_parts *parts);

/**
 * Writes the line, final '\n' included.
 * @param added receives the bytes from the first added byte (its comma, if any) to before the last
 * '}'.
 * @return the length of the line.
 */
size_t event_assemble(const struct event_parts *parts, char *out, uint32_t *added);

/** Replaces the LSN in an assembled line. The line must come from event_assemble(). */
void event_patch_lsn(char *line, size_t len, uint64_t lsn);

/** What an assembled line says of itself. */
struct event_facts {
    uint32_t added; /* bytes of the fixed added fields and their comma, before the last '}';
                              "penstock_overflow" stands in front of them and does not count */
    const char *id; /* EVENT_ID_BYTES of penstock_id, in the line */
    uint64_t lsn;   /* the same, its second half */
    int64_t processed_us;
};

/** Reads the end of an assembled line. Thread: any. @return false when it is none. */
bool event_facts(struct span line, struct event_facts *out) WARN_UNUSED;

/**
 * The event that an assembled line was made of, without a line break: the added fields leave, and
 * what was moved into "penstock_overflow" comes back, as members at its end under the names that it
 * has there. out holds line.len bytes.
 * @param moved whether the type's schema may have moved fields: otherwise a member of that name is
 * the producer's own.
 * @return the length.
 */
size_t event_original(struct span line, bool moved, char *out);

/**
 * Rewrites an assembled line for a table without a schema: {"event":{...original...},added...}\n.
 * out holds len + 16 bytes.
 * @return the length of the line.
 */
size_t event_wrap(const char *line, size_t len, uint32_t added, char *out);

#endif
