/* HOT. Reading blocks back: nothing in a block is believed before it is checked. */
#include <errno.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/block/block.h"

#define BLOCK_BYTES_MAX (1u << 30)

uint32_t block_len_hint(const char *buf, size_t len)
{
    const struct block_header *h = (const struct block_header *)buf;

    if (len < sizeof(*h) || h->magic != BLOCK_MAGIC || h->version != BLOCK_VERSION)
        return 0;
    if (h->len < BLOCK_ALIGN || h->len % BLOCK_ALIGN != 0 || h->len > BLOCK_BYTES_MAX)
        return 0;
    return h->len;
}

/* The CRC of the block as if its crc field were 0. */
static uint32_t block_crc(const char *buf, uint32_t len)
{
    struct block_header h;
    uint32_t crc;

    ASSERT(len >= sizeof(h));
    memcpy(&h, buf, sizeof(h));
    h.crc32c = 0;
    crc = crc32c(0, &h, sizeof(h));
    return crc32c(crc, buf + sizeof(h), len - sizeof(h));
}

static bool directory_inside(const struct block_header *h)
{
    uint64_t entries_end =
        (uint64_t)h->entries_offset + (uint64_t)h->n_entries * sizeof(struct block_entry);
    uint64_t runs_end = (uint64_t)h->runs_offset + (uint64_t)h->n_runs * sizeof(struct block_run);

    if (h->header_bytes != sizeof(*h) || h->entries_offset % 4 != 0 || h->runs_offset % 8 != 0)
        return false;
    return h->entries_offset >= sizeof(*h) && entries_end <= h->runs_offset &&
           runs_end <= h->names_offset && h->names_offset <= h->len;
}

static bool run_inside(const struct block_header *h, const struct block_run *r)
{
    if ((uint64_t)r->first + r->n_entries > h->n_entries || r->kind > BLOCK_DEAD)
        return false;
    return r->name_offset >= h->names_offset && (uint64_t)r->name_offset + r->name_len <= h->len;
}

static bool entry_inside(const struct block_header *h, const struct block_entry *e)
{
    if (e->offset < sizeof(*h) || e->len == 0 || e->added > e->len)
        return false;
    return (uint64_t)e->offset + e->len <= h->entries_offset;
}

static void view_set(const char *buf, struct block_view *out)
{
    const struct block_header *h = (const struct block_header *)buf;

    out->buf = buf;
    out->header = h;
    out->entries = (const struct block_entry *)(buf + h->entries_offset);
    out->runs = (const struct block_run *)(buf + h->runs_offset);
}

int block_view(const char *buf, size_t len, const struct journal_uuid *uuid, lsn_t lsn,
               struct block_view *out)
{
    const struct block_header *h = (const struct block_header *)buf;
    uint32_t need = block_len_hint(buf, len);

    ASSERT(((uintptr_t)buf & 7) == 0);
    if (need == 0 || h->lsn != lsn || memcmp(h->uuid, uuid->byte, sizeof(h->uuid)) != 0)
        return -EBADMSG;
    if (need > len)
        return -EAGAIN;
    if (block_crc(buf, need) != h->crc32c || !directory_inside(h))
        return -EBADMSG;
    view_set(buf, out);
    for (uint32_t i = 0; i < h->n_runs; i++) {
        if (!run_inside(h, &out->runs[i]))
            return -EBADMSG;
    }
    for (uint32_t i = 0; i < h->n_entries; i++) {
        if (!entry_inside(h, &out->entries[i]))
            return -EBADMSG;
    }
    return 0;
}

int block_peek(const char *buf, size_t len, const struct journal_uuid *uuid, lsn_t lsn,
               uint32_t *block_len, struct block_mark *mark)
{
    const struct block_header *h = (const struct block_header *)buf;

    ASSERT(((uintptr_t)buf & 7) == 0);
    *block_len = block_len_hint(buf, len);
    if (*block_len == 0 || h->lsn != lsn || memcmp(h->uuid, uuid->byte, sizeof(h->uuid)) != 0)
        return -EBADMSG;
    *mark = h->mark;
    return 0;
}

void block_view_own(const struct block *b, struct block_view *out)
{
    ASSERT(b->len > 0);
    view_set(b->buf, out);
}
