/*
 * A segment of the dedupe log, as it may be read back at start: never a crash, and what is visited is what
 * another, slower reading of the same frames gives, in order. The first byte chooses: frames whose checksums
 * are right, so that the fuzzer gets to the decisions in them, or the same with bytes changed afterwards.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"
#include "sinks/dedupe/idlog_internal.h"

#define SEGMENT_NO  7u
#define BYTES_MAX   (256u << 10)
#define CHANGED_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was visited, or is expected: a sum that hangs on order and on every bit. */
struct seen {
    uint64_t n, sum;
};

static void add(struct seen *s, const void *bytes, size_t len)
{
    s->sum = (s->sum << 7 | s->sum >> 57) + crc32c((uint32_t)s->sum, bytes, len);
}

static void visit(void *ctx, const struct id_decision *d, struct id_reach *reach)
{
    struct seen *s = ctx;

    s->n++;
    reach->ids_end += d->n_ids;
    ASSERT(d->n_ids <= d->n_entries && d->n_entries <= ID_RUN_MAX);
    add(s, d->journal.byte, sizeof(d->journal.byte));
    add(s, &d->block, sizeof(d->block));
    add(s, &d->time_us, sizeof(d->time_us));
    add(s, d->removed, ((size_t)d->n_entries + 7) / 8);
    for (uint32_t i = 0; i < d->n_ids; i++)
        add(s, &d->id[i], sizeof(d->id[i]));
}

/* The same of one payload, by offsets as README.md in sinks/dedupe names them. */
static void expect_payload(struct seen *s, const uint8_t *p, size_t len, uint32_t n)
{
    size_t at = 0;

    while (n-- > 0 && at + 56 <= len) {
        uint32_t lines, ids;
        size_t bitmap, all;

        memcpy(&lines, p + at, 4);
        memcpy(&ids, p + at + 4, 4);
        bitmap = ((size_t)lines + 7) / 8;
        all = 56 + bitmap + 16 * (size_t)ids;
        if (ids > lines || lines > ID_RUN_MAX || at + all > len)
            return;
        s->n++;
        add(s, p + at + 16, 16);
        add(s, p + at + 32, 8);
        add(s, p + at + 40, 8);
        add(s, p + at + 56, bitmap);
        for (uint32_t i = 0; i < ids; i++)
            add(s, p + at + 56 + bitmap + 16 * (size_t)i, 16);
        at += all;
    }
}

static void header_make(const struct id_log *l, uint8_t *out)
{
    uint64_t number = htole64(SEGMENT_NO);
    uint32_t crc;

    memset(out, 0, ID_HEADER_BYTES);
    memcpy(out, "PSTKIDS1", 8);
    memcpy(out + 16, &number, 8);
    out[44] = (uint8_t)strlen(l->type);
    memcpy(out + 48, l->type, strlen(l->type));
    crc = htole32(crc32c(0, out + 12, ID_HEADER_BYTES - 12));
    memcpy(out + 8, &crc, 4);
}

/* Frames [decisions - 1, low and high byte of the length - 1, payload]... of the input.
 * @return where they end. */
static size_t frames_make(uint8_t *out, const uint8_t *data, size_t size, struct seen *expected)
{
    size_t at = ID_HEADER_BYTES;

    for (uint64_t no = 0; size > 3; no++) {
        size_t len = 1 + (data[1] | (size_t)data[2] << 8);
        uint32_t n = 1u + data[0]; /* nobody writes a frame of none */

        len = len < size - 3 ? len : size - 3;
        if (at + ID_FRAME_BYTES + len + ID_FRAME_ALIGN > BYTES_MAX)
            break;
        memcpy(out + at + ID_FRAME_BYTES, data + 3, len);
        id_frame_seal(out + at, len, n, SEGMENT_NO, at, no);
        expect_payload(expected, data + 3, len, n);
        at += align_up(ID_FRAME_BYTES + len, ID_FRAME_ALIGN);
        data += 3 + len;
        size -= 3 + len;
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct id_log l = {.type = "order", .dir = "fuzz"};
    struct id_segment s = {.number = SEGMENT_NO};
    struct seen expected = {0}, seen = {0};
    size_t changed, len;
    uint8_t *segment;

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1)); /* damage is what this is about */
    if (size < 1)
        return 0;
    changed = data[0] % (CHANGED_MAX + 1);
    if (size < 1 + 3 * changed)
        return 0;
    segment = calloc(1, BYTES_MAX);
    ASSERT(segment != NULL);
    header_make(&l, segment);
    len = frames_make(segment, data + 1 + 3 * changed, size - 1 - 3 * changed, &expected);
    for (size_t i = 0; i < changed; i++)
        segment[(data[1 + 3 * i] | (size_t)data[2 + 3 * i] << 8) % len] ^= data[3 + 3 * i];
    segment = realloc(segment, len); /* what is read behind its end is found */
    ASSERT(segment != NULL);
    if (id_segment_read(&l, &s, segment, len, visit, &seen) == 0 && changed == 0)
        ASSERT(seen.n == expected.n && seen.sum == expected.sum);
    ASSERT(changed > 0 || seen.n == expected.n);
    free(segment);
    free(l.writing.data);
    return 0;
}
