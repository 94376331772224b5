/*
 * HOT. How much of the commit blocks documents take at most, whatever they hold: a body is taken whole or
 * not at all, so that must be certain before its first event.
 *
 * A line takes at most twice its document, ROOM_LINE_BYTES, and what its type's name adds:
 *   an event    its bytes; the added fields; names of moved nested fields, no longer than the event and
 *               CHECK_NAMES_SPARE together; the name in a run
 *   a letter    its bytes, each escaped by two or in base64; the frame with its detail, type and source;
 *               the name in a run
 * each with its entry. A letter that is longer than a line has more of them, each with a frame. A type that
 * an event names itself has its name in twice those bytes already; ROOM_NAME_BYTES more are there for it.
 */
#ifndef PENSTOCK_ROOM_H
#define PENSTOCK_ROOM_H

#include "dataplane/block/block.h"
#include "dataplane/event/check.h"
#include "dataplane/event/dead.h"
#include "dataplane/event/names.h"
#include "dataplane/event/type.h"
#include "dataplane/peer.h"

#define ROOM_LINE_BYTES 656
#define ROOM_WRAP_BYTES 32 /* "penstock_overflow":{} and a comma */

#define ROOM_NAME_BYTES   128
#define ROOM_DETAIL_BYTES 80 /* of letters of types that are not configured */

static_assert(EVENT_ADDED_BYTES_MAX + ROOM_WRAP_BYTES + CHECK_NAMES_SPARE + TYPE_NAME_BYTES_MAX +
                      sizeof(struct block_entry) + sizeof(struct block_open_run) <=
                  ROOM_LINE_BYTES,
              "an event's line");
static_assert(DEAD_FIXED_BYTES_MAX + CHECK_DETAIL_BYTES + PEER_TEXT_BYTES +
                      sizeof(struct block_entry) + sizeof(struct block_open_run) <=
                  ROOM_LINE_BYTES,
              "the first line of a letter, without its type's name");
static_assert(DEAD_FIXED_BYTES_MAX + ROOM_DETAIL_BYTES + PEER_TEXT_BYTES + ROOM_NAME_BYTES +
                      sizeof(struct block_entry) + sizeof(struct block_open_run) <=
                  ROOM_LINE_BYTES,
              "the same of a type that is not configured");

/** What a type's name that an event names itself may add to its letter beside twice the event. */
static inline uint32_t room_name_bytes(struct span name)
{
    uint32_t n = (uint32_t)name.len;

    ASSERT_HOT(name.len <= TYPE_NAME_BYTES_MAX);
    for (size_t i = 0; i < name.len; i++)
        n += name.ptr[i] == '"' || name.ptr[i] == '\\' || (unsigned char)name.ptr[i] < 0x20 ? 2 : 0;
    return n;
}

/** The most of that for the configured types. Thread: init. */
static inline uint32_t room_names_most(const struct type_set *set)
{
    uint32_t most = 0;

    ASSERT(set->type != NULL || set->n_types == 0);
    for (uint32_t i = 0; i < set->n_types; i++) {
        uint32_t n = room_name_bytes(span_of(set->type[i].name));

        most = n > most ? n : most;
    }
    return most;
}

/**
 * Bytes of blocks that n documents of len bytes in all take at most, entries and runs included.
 * @param name_bytes three times the name of the type that they all are of; where each names its own, the
 * largest room_name_bytes() of those that are configured.
 * @param line_max dead_line_max()
 */
static inline uint64_t room_bytes(uint64_t len, uint64_t n, size_t name_bytes, size_t line_max)
{
    uint64_t more = dead_parts_max(len, line_max) - 1;

    ASSERT_HOT(name_bytes <= (size_t)3 * TYPE_NAME_BYTES_MAX);
    return 2 * len + n * (ROOM_LINE_BYTES + name_bytes) + more * DEAD_FRAME_BYTES_MAX;
}

/** The longest document that room can be found for at all, when all of so many blocks are free. */
static inline uint32_t room_document_max(uint32_t blocks, uint32_t block_bytes,
                                         uint32_t event_bytes_max)
{
    uint64_t part = dead_line_max(event_bytes_max) - DEAD_HEAD_BYTES_MAX;
    uint64_t bytes = (uint64_t)(blocks - 2) * block_bytes -
                     room_bytes(0, 1, 3 * TYPE_NAME_BYTES_MAX, dead_line_max(event_bytes_max));

    ASSERT(blocks > 2 && block_bytes > 4 * ROOM_LINE_BYTES);
    bytes = bytes * part / (2 * part + 2 * DEAD_FRAME_BYTES_MAX);
    return bytes < UINT32_MAX / 2 ? (uint32_t)bytes : UINT32_MAX / 2;
}

#endif
