/*
 * Bytes of a disk into record decoding, the state and recovery: never a crash, and what is accepted
 * can be written as a snapshot and read back. The first byte chooses: a file as it is; a file whose
 * checksums are made right first, so that the fuzzer gets behind them; or bare records.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "sinks/delivery/dlog_recover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void use_state(struct delivery_state *s);

static void apply_one(void *ctx, const uint8_t *bytes, size_t len)
{
    static struct record_view v;

    ASSERT(record_decode(bytes, len, &v) == 0);
    if (state_apply(ctx, &v) != 0)
        ASSERT(v.type != RECORD_SNAP_COUNTERS);
}

static void use_state(struct delivery_state *s)
{
    struct delivery_state *again = state_create();

    for (uint32_t i = 0; i < s->n_journals; i++)
        ASSERT(state_free_lsn(s, &s->journal[i].uuid) <= s->journal[i].floor);
    state_snapshot(s, 0, 0, apply_one, again);
    state_destroy(again);
    state_destroy(s);
}

static void fuzz_records(const uint8_t *data, size_t len)
{
    static struct record_view v;
    struct delivery_state *s = state_create();

    while (len > 0 && record_decode(data, len, &v) == 0) {
        if ((v.flags & RECORD_FLAG_LEDGER_ONLY) == 0 && state_apply(s, &v) != 0)
            ASSERT(v.type != RECORD_FLOOR);
        data += v.len;
        len -= v.len;
    }
    use_state(s);
}

/* A header, then the input as payloads of frames of kinds that it names. */
static size_t make_file(const uint8_t *data, size_t len, uint8_t *file, size_t cap)
{
    struct file_header h = {.file_seq = 3, .node = "fuzz"};
    uint64_t at = FILE_HEADER_BYTES;

    file_header_encode(&h, file);
    while (len >= 4 && at + frame_span(4096) < cap) {
        struct frame_header f = {
            .n_records = data[1], .file_seq = 3, .durable_offset = at, .kind = data[0]};

        f.payload_len = (uint32_t)(data[2] | (data[3] & 0xf) << 8);
        data += 4;
        len -= 4;
        if (f.payload_len > len)
            f.payload_len = (uint32_t)len;
        memcpy(file + at + FRAME_HEADER_BYTES, data, f.payload_len);
        data += f.payload_len;
        len -= f.payload_len;
        at += frame_encode(&f, &h.log, at, file + at);
    }
    return at;
}

static void fuzz_recovery(uint8_t *a, size_t a_len, uint8_t *b, size_t b_len)
{
    struct log_image im[DLOG_FILES] = {{.data = a, .len = a_len}, {.data = b, .len = b_len}};
    struct recover_hooks none = {0};
    struct recovered out;
    char error[512];

    if (dlog_recover(im, &none, &out, error, sizeof(error)) == 0)
        use_state(out.state);
    else
        ASSERT(error[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t cap = 64 << 10;
    uint8_t *copy;

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    if (len < 1)
        return 0;
    copy = calloc(1, cap + len);
    ASSERT(copy != NULL);
    if (data[0] % 3 == 0) {
        fuzz_records(data + 1, len - 1);
    } else if (data[0] % 3 == 1) {
        size_t used = make_file(data + 1, len - 1, copy, cap);

        fuzz_recovery(copy, used, NULL, 0);
    } else {
        memcpy(copy, data + 1, len - 1);
        fuzz_recovery(copy, (len - 1) / 2, copy + (len - 1) / 2, len - 1 - (len - 1) / 2);
    }
    free(copy);
    return 0;
}
