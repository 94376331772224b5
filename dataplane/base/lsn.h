/*
 * LSN: a place in one journal. The upper 32 bits are the segment's sequence number, the lower 32
 * the byte offset in it. An event's LSN is its block's LSN plus the event's offset in the block;
 * unique within its journal for ever, because segment numbers are never used again.
 */
#ifndef PENSTOCK_BASE_LSN_H
#define PENSTOCK_BASE_LSN_H

#include <stdint.h>

typedef uint64_t lsn_t;

#define LSN_MAX UINT64_MAX

/** Journal identity: random, never reused. */
struct journal_uuid {
    uint8_t byte[16];
};

/** Joins segment and offset. */
static inline lsn_t lsn_make(uint32_t segment, uint32_t offset)
{
    return (lsn_t)segment << 32 | offset;
}

/** Segment sequence number. */
static inline uint32_t lsn_segment(lsn_t l)
{
    return (uint32_t)(l >> 32);
}

/** Byte offset in the segment. */
static inline uint32_t lsn_offset(lsn_t l)
{
    return (uint32_t)l;
}

/** Writes 32 lower-case hex digits, no NUL. Thread: any. */
void journal_uuid_hex(const struct journal_uuid *u, char *out);

/** Reads 32 hex digits. Thread: any. @return 0 or -EINVAL. */
int journal_uuid_parse(const char *hex, struct journal_uuid *out);

#endif
