/* COLD. See frame.h. */
#include "sinks/delivery/frame.h"

#include <errno.h>

#include "dataplane/base/crc32c.h"
#include "sinks/delivery/bytes.h"

#define HEADER_CRC_AT 12
#define FRAME_CRC_AT  4
#define FRAME_CRC_END 8 /* the checksum covers the header from here on */

static_assert(FILE_NODE_BYTES + 64 < FILE_HEADER_BYTES, "the header fits its block");

static uint32_t header_crc(const uint8_t *block)
{
    uint32_t crc = crc32c(0, block, HEADER_CRC_AT);

    return crc32c(crc, block + HEADER_CRC_AT + 4, FILE_HEADER_BYTES - HEADER_CRC_AT - 4);
}

void file_header_encode(const struct file_header *h, uint8_t *out)
{
    struct byte_writer w = {.p = out, .left = FILE_HEADER_BYTES};
    size_t node_len = strnlen(h->node, FILE_NODE_BYTES);
    uint32_t crc;

    ASSERT(h->file_seq > 0);
    memset(out, 0, FILE_HEADER_BYTES);
    put_u64(&w, FILE_MAGIC);
    put_u32(&w, FILE_VERSION);
    put_u32(&w, 0);
    put_bytes(&w, h->log.byte, sizeof(h->log.byte));
    put_u64(&w, h->file_seq);
    put_u16(&w, h->flags);
    put_u16(&w, (uint16_t)node_len);
    put_bytes(&w, h->node, node_len);
    crc = htole32(header_crc(out));
    memcpy(out + HEADER_CRC_AT, &crc, sizeof(crc));
}

int file_header_decode(const uint8_t *buf, size_t len, struct file_header *out)
{
    struct byte_reader r = {.p = buf, .left = len};
    const uint8_t *at;
    uint32_t crc;
    uint16_t node_len;

    ASSERT(out != NULL);
    if (len < FILE_HEADER_BYTES || get_u64(&r) != FILE_MAGIC || get_u32(&r) != FILE_VERSION)
        return -EBADMSG;
    crc = get_u32(&r);
    if (crc != header_crc(buf))
        return -EBADMSG;
    at = get_bytes(&r, sizeof(out->log.byte));
    memcpy(out->log.byte, at, sizeof(out->log.byte));
    out->file_seq = get_u64(&r);
    out->flags = get_u16(&r);
    node_len = get_u16(&r);
    if (node_len > FILE_NODE_BYTES || out->file_seq == 0)
        return -EBADMSG;
    memcpy(out->node, get_bytes(&r, node_len), node_len);
    out->node[node_len] = '\0';
    return 0;
}

/* Over log identity, place, header from FRAME_CRC_END, payload: recycled bytes never pass. */
static uint32_t frame_crc(const uint8_t *buf, uint32_t payload_len, const struct journal_uuid *log,
                          uint64_t offset)
{
    uint64_t le = htole64(offset);
    uint32_t crc = crc32c(0, log->byte, sizeof(log->byte));

    ASSERT(payload_len <= FRAME_PAYLOAD_MAX);
    crc = crc32c(crc, &le, sizeof(le));
    return crc32c(crc, buf + FRAME_CRC_END, FRAME_HEADER_BYTES - FRAME_CRC_END + payload_len);
}

uint64_t frame_encode(const struct frame_header *h, const struct journal_uuid *log, uint64_t offset,
                      uint8_t *buf)
{
    struct byte_writer w = {.p = buf, .left = FRAME_HEADER_BYTES};
    uint64_t span = frame_span(h->payload_len);
    uint32_t crc;

    ASSERT(h->payload_len <= FRAME_PAYLOAD_MAX && offset % STORAGE_ALIGN == 0);
    ASSERT(h->durable_offset <= offset);
    memset(buf, 0, FRAME_HEADER_BYTES);
    put_u32(&w, FRAME_MAGIC);
    put_u32(&w, 0);
    put_u32(&w, h->payload_len);
    put_u32(&w, h->n_records);
    put_u64(&w, h->file_seq);
    put_u64(&w, h->first_seq);
    put_u64(&w, h->durable_offset);
    put_u8(&w, h->kind);
    put_u8(&w, FRAME_VERSION);
    crc = htole32(frame_crc(buf, h->payload_len, log, offset));
    memcpy(buf + FRAME_CRC_AT, &crc, sizeof(crc));
    memset(buf + FRAME_HEADER_BYTES + h->payload_len, 0,
           span - FRAME_HEADER_BYTES - h->payload_len);
    return span;
}

int frame_decode(const uint8_t *buf, size_t len, const struct journal_uuid *log, uint64_t offset,
                 struct frame_header *out)
{
    struct byte_reader r = {.p = buf, .left = len};
    uint32_t crc;
    uint8_t version;

    ASSERT(out != NULL && offset % STORAGE_ALIGN == 0);
    if (get_u32(&r) != FRAME_MAGIC)
        return -EBADMSG;
    crc = get_u32(&r);
    out->payload_len = get_u32(&r);
    out->n_records = get_u32(&r);
    out->file_seq = get_u64(&r);
    out->first_seq = get_u64(&r);
    out->durable_offset = get_u64(&r);
    out->kind = get_u8(&r);
    version = get_u8(&r);
    if (r.bad || out->payload_len > FRAME_PAYLOAD_MAX || frame_span(out->payload_len) > len)
        return -EBADMSG;
    if (crc != frame_crc(buf, out->payload_len, log, offset))
        return -EBADMSG;
    return version == FRAME_VERSION && out->durable_offset <= offset ? 0 : -EBADMSG;
}
