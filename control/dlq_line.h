/*
 * One line of a dead-letter object, as dataplane/event/dead.h writes it. Objects in a bucket may
 * have been edited by anybody, so every byte is checked; what is wrong is said.
 * Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_CONTROL_DLQ_LINE_H
#define PENSTOCK_CONTROL_DLQ_LINE_H

#include <stdint.h>

#include "dataplane/base/lsn.h"
#include "dataplane/base/span.h"
#include "dataplane/event/check.h"
#include "dataplane/event/names.h"

#define DLQ_ID_BYTES     49 /* 32 hex digits, '-', 16 hex digits: the line's penstock_id */
#define DLQ_REASON_BYTES 48
#define DLQ_SOURCE_BYTES 258 /* twice what dead.c shows: in the line, characters may be escaped */
#define DLQ_TYPE_BYTES   (2 * TYPE_NAME_BYTES_MAX + 2)
#define DLQ_DETAIL_BYTES (2 * CHECK_DETAIL_BYTES + 2)
#define DLQ_PARTS_MAX    1000000u

/** What names a dead letter for ever: the penstock_id of its first line. */
struct dlq_id {
    struct journal_uuid journal;
    lsn_t lsn;
};

/** A line, taken apart. Texts that do not fit are cut. */
struct dlq_line {
    struct dlq_id id;
    char reason[DLQ_REASON_BYTES];
    char detail[DLQ_DETAIL_BYTES];
    char event_type[DLQ_TYPE_BYTES]; /* as shown; the object's name has the exact bytes */
    char source[DLQ_SOURCE_BYTES];
    uint32_t position, error_offset;
    uint32_t part, parts; /* from 1 */
    int64_t received_us;
    struct span raw; /* body of the JSON string, into the line */
    bool base64;
};

/** Reads an id. @return false when text is none. */
bool dlq_id_parse(struct span text, struct dlq_id *out) WARN_UNUSED;

/** Writes DLQ_ID_BYTES and a NUL. */
void dlq_id_text(const struct dlq_id *id, char *out);

/** Whether both are the same. */
bool dlq_id_equal(const struct dlq_id *a, const struct dlq_id *b);

/**
 * Takes a line apart (no line end; JSON_PADDING_BYTES are readable behind it).
 * @return NULL; or what is wrong with it, in a few words.
 */
const char *dlq_line_parse(struct span line, struct dlq_line *out) WARN_UNUSED;

/**
 * Writes the original bytes of this part; out holds line->raw.len bytes.
 * @return how many.
 */
size_t dlq_line_raw(const struct dlq_line *line, char *out);

#endif
