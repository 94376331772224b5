/*
 * block_view() on arbitrary bytes whose magic, length and CRC are made right first, so that the
 * fuzzer gets behind them: never a crash nor a read outside, and what is accepted lies inside of
 * the buffer. The buffer is exactly as long as the block says. With FUZZ_CANARY a name may reach
 * one byte past the end, which has to be found.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/block/block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct journal_uuid uuid = {{9}};

#ifdef FUZZ_CANARY
#define NAME_MORE 1
#else
#define NAME_MORE 0
#endif

static uint32_t touch(const char *p, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += (uint8_t)p[i];
    return sum;
}

/* Reads all that a view offers. */
static uint32_t use(const struct block_view *v)
{
    uint32_t sum = 0;

    for (uint32_t r = 0; r < v->header->n_runs; r++) {
        struct span name = block_run_name(v, &v->runs[r]);

        sum += touch(name.ptr, name.len + NAME_MORE);
        ASSERT(v->runs[r].n_entries <= v->header->n_entries);
        for (uint32_t i = 0; i < v->runs[r].n_entries && i < 64; i++) {
            const struct block_entry *e = &v->entries[v->runs[r].first + i];

            ASSERT(e->len > 0 && (uint64_t)e->offset + e->len <= v->header->len &&
                   e->added <= e->len);
            sum += touch(v->buf + e->offset, e->len);
        }
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t bytes = align_up(len < BLOCK_ALIGN ? BLOCK_ALIGN : len, BLOCK_ALIGN);
    char *buf = aligned_alloc(8, bytes);
    struct block_header *h = (struct block_header *)buf;
    lsn_t lsn = lsn_make(1, 4096);
    struct block_view v;
    static uint32_t sink;
    int rc;

    ASSERT(buf != NULL);
    memset(buf, 0, bytes);
    memcpy(buf, data, len);
    rc = block_view(buf, bytes, &uuid, lsn, &v); /* as it is */
    ASSERT(rc == 0 || rc == -EBADMSG || rc == -EAGAIN);
    h->magic = BLOCK_MAGIC;
    h->version = BLOCK_VERSION;
    h->header_bytes = sizeof(*h);
    h->len = (uint32_t)bytes;
    h->lsn = lsn;
    memcpy(h->uuid, uuid.byte, sizeof(h->uuid));
    h->crc32c = 0;
    h->crc32c = crc32c(0, buf, bytes);
    rc = block_view(buf, bytes, &uuid, lsn, &v);
    ASSERT(rc == 0 || rc == -EBADMSG);
    if (rc == 0)
        sink += use(&v);
    free(buf);
    return 0;
}
