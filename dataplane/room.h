/*
 * HOT. How much of the commit blocks documents take at most, whatever they hold: a body is taken whole or
 * not at all, so that must be certain before its first event.
 *
 * A line takes at most twice its document and ROOM_LINE_BYTES, and what the name of its type adds:
 *   an event    its bytes; the added fields; names of moved nested fields, no longer than the event and
 *               CHECK_NAMES_SPARE together
 *   a letter    its bytes, each escaped by two or in base64; the frame with its detail, type and source
 * each with its entry and, if it is the first of its type, a run with the type's name. A letter that is
 * longer than a line has more of them, each with a frame.
 */
#ifndef PENSTOCK_ROOM_H
#define PENSTOCK_ROOM_H

#include "dataplane/block/block.h"
#include "dataplane/event/check.h"
#include "dataplane/event/dead.h"
#include "dataplane/event/names.h"
#include "dataplane/peer.h"

#define ROOM_LINE_BYTES 656
#define ROOM_WRAP_BYTES 32 /* "penstock_overflow":{} and a comma */

static_assert(EVENT_ADDED_BYTES_MAX + ROOM_WRAP_BYTES + CHECK_NAMES_SPARE +
                      sizeof(struct block_entry) + sizeof(struct block_open_run) <=
                  ROOM_LINE_BYTES,
              "an event's line");
static_assert(DEAD_FIXED_BYTES_MAX + CHECK_DETAIL_BYTES + PEER_TEXT_BYTES +
                      sizeof(struct block_entry) + sizeof(struct block_open_run) <=
                  ROOM_LINE_BYTES,
              "a letter's first line");

/**
 * Bytes of blocks that n documents of len bytes in all take at most, entries and runs included.
 * @param type_len of the type that they all are of; 0: each names its own, in its bytes.
 * @param line_max dead_line_max()
 */
static inline uint64_t room_bytes(uint64_t len, uint64_t n, size_t type_len, size_t line_max)
{
    uint64_t names = 2 * n * type_len, more = dead_parts_max(len, line_max) - 1;

    ASSERT_HOT(type_len <= TYPE_NAME_BYTES_MAX);
    if (type_len == 0) /* escaped in a letter, and in a run: a part of the document's own bytes */
        names = len < n * TYPE_NAME_BYTES_MAX ? 3 * len : 3 * n * TYPE_NAME_BYTES_MAX;
    return 2 * len + n * ROOM_LINE_BYTES + names + more * DEAD_FRAME_BYTES_MAX;
}

/** The longest document that room can be found for at all, when all of so many blocks are free. */
static inline uint32_t room_document_max(uint32_t blocks, uint32_t block_bytes,
                                         uint32_t event_bytes_max)
{
    uint64_t part = dead_line_max(event_bytes_max) - DEAD_HEAD_BYTES_MAX;
    uint64_t bytes = (uint64_t)(blocks - 2) * block_bytes -
                     room_bytes(0, 1, TYPE_NAME_BYTES_MAX, dead_line_max(event_bytes_max)) -
                     3 * TYPE_NAME_BYTES_MAX;

    ASSERT(blocks > 2 && block_bytes > 4 * ROOM_LINE_BYTES);
    bytes = bytes * part / (2 * part + 2 * DEAD_FRAME_BYTES_MAX);
    return bytes < UINT32_MAX / 2 ? (uint32_t)bytes : UINT32_MAX / 2;
}

#endif
