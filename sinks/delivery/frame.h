/*
 * The delivery log's files on disk: one header block, then frames, each aligned to 4 KiB and
 * written once. README.md in this folder shows the layout byte by byte. Internal to
 * sinks/delivery/.
 *
 * Thread: any; no shared state.  Alloc: none.
 */
#ifndef PENSTOCK_DELIVERY_FRAME_H
#define PENSTOCK_DELIVERY_FRAME_H

#include "dataplane/base/lsn.h"
#include "dataplane/base/storage.h"

#define FILE_MAGIC        UINT64_C(0x474f4c444b545350) /* "PSTKDLOG" */
#define FILE_VERSION      1
#define FILE_HEADER_BYTES STORAGE_ALIGN
#define FILE_NODE_BYTES   256    /* longer node ids are cut */
#define FILE_FIRST        0x0001 /* no complete file existed when this one was begun */

#define FRAME_MAGIC        0x52464450u /* "PDFR" */
#define FRAME_VERSION      1
#define FRAME_HEADER_BYTES 64
#ifndef FRAME_BYTES_MAX /* the simulation's is small */
#define FRAME_BYTES_MAX (1u << 20)
#endif
#define FRAME_PAYLOAD_MAX (FRAME_BYTES_MAX - FRAME_HEADER_BYTES)
static_assert(FRAME_BYTES_MAX % STORAGE_ALIGN == 0, "direct I/O");

enum frame_kind {
    FRAME_LOG = 1,      /* records, each with its own sequence number, contiguous */
    FRAME_SNAPSHOT,     /* part of the state, or records that only the ledger needs */
    FRAME_END_SNAPSHOT, /* the snapshot is complete: from here on this file counts; no records */
};

struct file_header {
    struct journal_uuid log; /* identity of the log */
    uint64_t file_seq;       /* of this file; larger is newer */
    uint16_t flags;          /* FILE_FIRST */
    char node[FILE_NODE_BYTES + 1];
};

struct frame_header {
    uint32_t payload_len;
    uint32_t n_records;
    uint64_t file_seq;
    uint64_t first_seq;      /* FRAME_LOG: sequence number of the first record */
    uint64_t durable_offset; /* everything in this file below it was durable when this frame was
                                written */
    uint8_t kind;            /* enum frame_kind */
};

/** Fills a header block of FILE_HEADER_BYTES. */
void file_header_encode(const struct file_header *h, uint8_t *out);

/** Reads a header block. @return 0; -EBADMSG when it is none, or is damaged. */
int file_header_decode(const uint8_t *buf, size_t len, struct file_header *out) WARN_UNUSED;

/** Bytes on disk of a frame: header, payload, padding. */
static inline uint64_t frame_span(uint32_t payload_len)
{
    return align_up((uint64_t)FRAME_HEADER_BYTES + payload_len, STORAGE_ALIGN);
}

/**
 * Completes a frame in buf, whose payload stands at FRAME_HEADER_BYTES: header, checksum, zero
 * padding.
 * @return frame_span() of it.
 */
uint64_t frame_encode(const struct frame_header *h, const struct journal_uuid *log, uint64_t offset,
                      uint8_t *buf);

/**
 * Reads the frame at buf, which stands at offset in its file and has len bytes behind it.
 * @return 0; -EBADMSG when there is no whole frame of this log at this place.
 */
int frame_decode(const uint8_t *buf, size_t len, const struct journal_uuid *log, uint64_t offset,
                 struct frame_header *out) WARN_UNUSED;

#endif
