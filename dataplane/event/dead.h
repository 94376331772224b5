/*
 * Dead letters: what could not be accepted as an event, kept with everything needed to find, judge
 * and replay it, as one line of NDJSON:
 *
 *     {"reason":"wrong_type","detail":"items.price: ...","event_type":"order","position":17,
 *      "error_offset":203,"source":"http 127.0.0.1:41712",
 *      "received_at":"2026-11-21T07:42:14.123456Z","part":1,"parts":1,
 *      "raw":"{...}","penstock_id":"..."}\n
 *
 * raw holds the original bytes as a JSON string when they are UTF-8 without control characters
 * other than \t \n \r; otherwise raw_base64 holds them. Bytes too many for one line go to several,
 * part 1 to parts.
 * Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_EVENT_DEAD_H
#define PENSTOCK_EVENT_DEAD_H

#include "dataplane/base/reason.h"
#include "dataplane/event/assemble.h"

#define DEAD_LINE_MIN        4096u
#define DEAD_HEAD_BYTES_MAX  3328 /* that are kept free of raw in each line, whatever they hold */
#define DEAD_FRAME_BYTES_MAX 1536 /* that a line really takes beside its raw */
#define DEAD_FIXED_BYTES_MAX 320  /* of these, without detail, type and source */

/** What is known of a dead letter. */
struct dead_letter {
    enum reason reason;
    const char *detail;     /* NUL-terminated, may be empty */
    struct span event_type; /* empty when unknown; bytes as found, may be invalid UTF-8 */
    uint32_t position;      /* index in its request */
    uint32_t error_offset;  /* from the start of raw */
    const char *source;     /* NUL-terminated: "http 127.0.0.1:41712" */
    int64_t received_us;
    struct span raw;         /* the whole original */
    const char *journal_hex; /* 32 digits */
};

/** The longest line of a dead letter, where events are at most so large. */
static inline size_t dead_line_max(uint32_t event_bytes_max)
{
    return event_bytes_max > DEAD_LINE_MIN ? event_bytes_max : DEAD_LINE_MIN;
}

/** How many lines dead_parts() may ask for, of whatever len bytes. */
static inline uint32_t dead_parts_max(uint64_t len, size_t line_max)
{
    return (uint32_t)(2 * len / (line_max - DEAD_HEAD_BYTES_MAX)) + 1;
}

/** How many lines of at most line_max bytes raw needs. line_max is at least DEAD_LINE_MIN. */
uint32_t dead_parts(const struct dead_letter *d, size_t line_max);

/**
 * Writes line `part` (0-based) of `parts`, its final '\n' included; at most line_max bytes. As with
 * events, penstock_id is the line's last member, and event_patch_lsn() works on it.
 * @return the length.
 */
size_t dead_format(const struct dead_letter *d, uint32_t part, uint32_t parts, uint64_t lsn,
                   size_t line_max, char *out);

#endif
