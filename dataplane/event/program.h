/*
 * A schema as a program: what is done with each column, in one flat array, worked out once when the
 * schema is compiled. It runs over valid events and
 *
 * - checks them, as strictly as a BigQuery load would (check.h has the rules and the result);
 * - encodes them as rows of the BigQuery Storage Write API: protobuf (proto2) messages that
 *   program_descriptor() describes. Absent and null columns are left out; a scalar that is there is
 *   written even when it is 0.
 *
 * Both are the same walk: what one accepts the other does.
 *
 * | column | protobuf | value |
 * |---|---|---|
 * | INTEGER | INT64 | |
 * | FLOAT | DOUBLE | |
 * | BOOLEAN | BOOL | |
 * | STRING, GEOGRAPHY | STRING | unescaped |
 * | JSON | STRING | the JSON text as it came |
 * | BYTES | BYTES | decoded |
 * | TIMESTAMP | INT64 | microseconds since 1970 |
 * | DATE | INT32 | days since 1970 |
 * | TIME, DATETIME | INT64 | packed: see time_pack_clock(), time_pack_civil() |
 * | NUMERIC, BIGNUMERIC | BYTES | times 10^9 or 10^38, two's complement, little-endian |
 * | INTERVAL | STRING | its text |
 * | RANGE | MESSAGE | start and end as their columns would be; absent: no bound |
 * | RECORD | MESSAGE | |
 *
 * Packed times and binary numerics rather than their texts: a third to a half of the bytes, one form
 * for every way of writing a value, and nothing for the service to parse again.
 *
 * Events are readable for JSON_PADDING_BYTES past their end when they bring tokens.
 */
#ifndef PENSTOCK_EVENT_PROGRAM_H
#define PENSTOCK_EVENT_PROGRAM_H

#include "dataplane/event/check.h"

#define PROGRAM_SLACK_BYTES 64 /* that an output has room for beside the row */

/** A compiled schema's program: schema->program. Immutable; any thread may run it. */
struct program;

/**
 * What a thread remembers of the events that it has seen: a plan for each of their shapes. It saves
 * time and never changes a result. It is for events of one parser, whose shapes are unique, and for
 * programs that live as long as it does.
 */
struct program_memory;

/** What of an event becomes the row. */
struct program_row {
    /* A line of the journal: the added columns are columns like all others. Otherwise an event as
     * it came: members of those names are dropped, as by check_event(), and ours are written. */
    bool line;
    int64_t event_us; /* of an event: gives COLUMN_EVENT_DATE */
    int64_t processed_us;
    struct span id;
};

/** Compiles the columns of a schema. Thread: init.  Owner: the schema. @return 0; -ENOMEM. */
int program_create(const struct schema_field *root, struct program **out) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: init, control. */
void program_destroy(struct program *p);

/** Takes a thread's memory, for any number of programs. isa: of the parser whose events it is for, so
 * that nothing faster is used than what was asked for. Thread: init. @return 0; -ENOMEM. */
int program_memory_create(enum json_isa isa, struct program_memory **out) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: init, control. */
void program_memory_destroy(struct program_memory *m);

/** What program_memory_create() takes. Thread: any. */
size_t program_memory_bytes(void);

/**
 * As check_event(), or as check_known() with keep_unknown, for an event as json_next() gave it: its
 * tokens and shape are made use of.
 * Thread: any.  Alloc: none.
 * @param m the thread's memory for events of one parser, or NULL.
 */
void program_check(const struct schema *s, struct program_memory *m, const struct json_event *ev,
                   bool keep_unknown, struct check_result *out);

/** Has what program_check() will look for first brought into the cache. Thread: any.  Alloc: none. */
void program_expect(struct program_memory *m, const struct schema *s, const struct json_event *ev);

/**
 * Encodes an event as one row. Fields that the schema does not name go into COLUMN_OVERFLOW as
 * event_assemble() writes them; in a line, beside those that are there.
 * Thread: any.  Alloc: none.
 * @param room bytes at out; the row uses them but for PROGRAM_SLACK_BYTES.
 * @param len receives the row's length.
 * @return 0; -EINVAL when check says what is wrong with the event; -ENOSPC when there is no room,
 * and nothing is said of the event.
 */
int program_encode(const struct schema *s, struct program_memory *m, const struct json_event *ev,
                   const struct program_row *row, char *out, size_t room, size_t *len,
                   struct check_result *check) WARN_UNUSED;

/**
 * The DescriptorProto of the rows: root message "root", a nested type for each RECORD directly
 * below it ("root__items"), column i of a message as field i + 1.
 * Thread: init, control, sink.  Owner: the caller frees *out.
 * @return 0; -ENOMEM.
 */
int program_descriptor(const struct schema *s, char **out, size_t *len) WARN_UNUSED;

#endif
