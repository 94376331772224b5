/* COLD. Reading a decision log back: what verifies is visited in order, the rest is left out. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/canary.h"
#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"
#include "dataplane/base/stats.h"
#include "sinks/dedupe/idlog_internal.h"

/* A frame that verifies. */
struct frame {
    const uint8_t *payload;
    size_t len;
    uint32_t n_decisions;
    uint64_t frame_no;
};

static uint32_t u32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static uint64_t u64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static bool frame_at(const uint8_t *data, size_t len, size_t at, uint64_t segment,
                     struct frame *out)
{
    const uint8_t *h = data + at;
    uint32_t payload;

    ASSERT(at % ID_FRAME_ALIGN == 0);
    if (len - at < ID_FRAME_BYTES || memcmp(h, "PIDF", 4) != 0)
        return false;
    payload = u32(h + 8);
    if (payload > len - at - ID_FRAME_BYTES || u64(h + 16) != segment || u64(h + 24) != at ||
        u32(h + 4) != crc32c(0, h + 8, ID_FRAME_BYTES - 8 + payload))
        return false;
    *out = (struct frame){.payload = h + ID_FRAME_BYTES,
                          .len = payload,
                          .n_decisions = u32(h + 12),
                          .frame_no = u64(h + 32)};
    return true;
}

/* One decision. @return its length, or 0 when it is none. */
static size_t decision_at(const uint8_t *p, size_t left, struct id_hash *ids, struct id_decision *d)
{
    size_t bitmap, bytes;

    if (left < ID_BATCH_FIXED)
        return 0;
    *d = (struct id_decision){
        .n_entries = u32(p),
        .n_ids = u32(p + 4),
        .run = u32(p + 8),
        .block = u64(p + 32),
        .time_us = (int64_t)u64(p + 40),
        .removed = p + ID_BATCH_FIXED,
        .id = ids,
    };
    memcpy(d->journal.byte, p + 16, sizeof(d->journal.byte));
    bitmap = ((size_t)d->n_entries + 7) / 8;
    bytes = ID_BATCH_FIXED + bitmap + (size_t)d->n_ids * 16;
    if (d->n_ids > d->n_entries || d->n_entries > ID_RUN_MAX || bytes > left)
        return 0;
    for (uint32_t i = 0; i < d->n_ids; i++) {
        const uint8_t *at = d->removed + bitmap + (size_t)i * 16;

        ids[i] = (struct id_hash){.lo = u64(at), .hi = u64(at + 8)};
    }
    return bytes;
}

/* What a reading carries along. */
struct reading {
    struct id_log *log;
    struct id_segment *segment;
    id_decision_visitor visit;
    void *ctx;
    struct id_hash *ids; /* of one decision */
    struct frame last;   /* that was visited; payload NULL: none */
    struct id_reach last_reach;
};

static void frame_visit(struct reading *r, const struct frame *f)
{
    struct id_reach reach = {0};
    size_t at = 0;

    if (f->frame_no < r->log->frame_no) {
        /* The latest one, written again after a failure: its first copy may be in memory only, so that
         * this one's segment is needed as long. */
        id_reach_raise(&r->segment->reach,
                       r->last.payload != NULL ? &r->last_reach : &r->log->writing.reach);
        return;
    }
    r->log->frame_no = f->frame_no + 1;
    for (uint32_t i = 0; i < f->n_decisions; i++) {
        struct id_decision d;
        size_t n = decision_at(f->payload + at, f->len - at, r->ids, &d);

        if (n == 0) { /* verified, and yet none: another version wrote it */
            stat_add(&r->log->stats.damaged, 1);
            break;
        }
        r->visit(r->ctx, &d, &reach);
        at += n;
        ASSERT(at <= f->len);
    }
    id_reach_raise(&r->segment->reach, &reach);
    r->last = *f;
    r->last_reach = reach;
}

static bool header_good(struct id_log *l, const uint8_t *data, size_t len, uint64_t number)
{
    if (len < ID_HEADER_BYTES || memcmp(data, "PSTKIDS1", 8) != 0 ||
        u32(data + 8) != crc32c(0, data + 12, ID_HEADER_BYTES - 12) || u64(data + 16) != number)
        return false;
    return data[44] == strlen(l->type) && memcmp(data + 48, l->type, data[44]) == 0;
}

/* Behind a frame that does not verify: the next one that does, or len. A torn end has none. */
static size_t next_frame(const uint8_t *data, size_t len, size_t at, uint64_t number)
{
    struct frame f;

    ASSERT(at % ID_FRAME_ALIGN == 0 && at >= ID_HEADER_BYTES);
    for (; at + ID_FRAME_BYTES <= len; at += ID_FRAME_ALIGN) {
        if (frame_at(data, len, at, number, &f))
            return at;
    }
    return len;
}

static bool segment_visit(struct reading *r, const uint8_t *data, size_t len)
{
    uint64_t number = r->segment->number;
    size_t at = ID_HEADER_BYTES;

    if (!header_good(r->log, data, len, number))
        return false;
    memcpy(r->log->key, data + 24, ID_KEY_BYTES);
    while (at + ID_FRAME_BYTES <= len) {
        struct frame f;

        if (frame_at(data, len, at, number, &f)) {
            frame_visit(r, &f);
            at += align_up(ID_FRAME_BYTES + f.len, ID_FRAME_ALIGN);
            continue;
        }
        at = next_frame(data, len, at, number);
        if (at < len) {
            stat_add(&r->log->stats.damaged, 1);
            log_error("dedupe",
                      "%s, segment %016llx is damaged in front of offset %zu: some ids of type %s "
                      "are lost, duplicates of them can pass",
                      r->log->dir, (unsigned long long)number, at, r->log->type);
        }
    }
    return true;
}

int id_segment_read(struct id_log *l, struct id_segment *s, const uint8_t *data, size_t len,
                    id_decision_visitor visit, void *ctx)
{
    struct reading r = {.log = l, .segment = s, .visit = visit, .ctx = ctx};
    int rc;

    r.ids = malloc(ID_RUN_MAX * sizeof(*r.ids));
    ASSERT(r.ids != NULL); /* 256 KiB at start */
    rc = segment_visit(&r, data, len) ? 0 : -EBADMSG;
    free(r.ids);
    if (rc != 0 || r.last.payload == NULL)
        return rc;
    return id_log_found(l, (struct span){(const char *)r.last.payload, r.last.len},
                        r.last.n_decisions, &r.last_reach);
}

/* Reads a file to its end, into memory that is the caller's. */
static int read_all(const struct id_log *l, int fd, uint8_t **data, size_t *len)
{
    size_t room = 0;
    ssize_t n = 1;

    while (n > 0) {
        if (*len == room) {
            uint8_t *larger;

            room = room > 0 ? 2 * room : l->segment_bytes + 1;
            if (room > 2 * (size_t)ID_SEGMENT_MAX + 1)
                return -EBADMSG; /* none of ours is so long */
            larger = realloc(*data, room);
            if (larger == NULL)
                return -ENOMEM;
            *data = larger;
        }
        n = l->storage->ops->pread(l->storage->ctx, fd, *data + *len, room - *len, *len);
        *len += n > 0 ? (size_t)n : 0;
    }
    return (int)n;
}

/* *data is the caller's to free, whatever is returned. */
static int read_file(const struct id_log *l, const char *path, uint8_t **data, size_t *len)
{
    int fd = l->storage->ops->open(l->storage->ctx, path, O_RDONLY, 0);
    int rc;

    *data = NULL;
    *len = 0;
    if (fd < 0)
        return fd;
    rc = read_all(l, fd, data, len);
    l->storage->ops->close(l->storage->ctx, fd);
    return rc;
}

/* @return 0; 1 when the segment is of no use and was set aside; -errno. */
static int segment_load(struct id_log *l, struct id_segment *s, id_decision_visitor visit,
                        void *ctx)
{
    char path[ID_LOG_PATH_BYTES], aside[ID_LOG_PATH_BYTES];
    uint8_t *data;
    size_t len;
    int rc;

    id_log_path(l, s->number, "ids", path);
    rc = read_file(l, path, &data, &len);
    if (rc == 0)
        rc = id_segment_read(l, s, data, len, visit, ctx);
    free(data);
    if (rc != -EBADMSG)
        return rc;
    id_log_path(l, s->number, "bad", aside);
    stat_add(&l->stats.damaged, 1);
    log_error(
        "dedupe",
        "%s is damaged and set aside: its ids of type %s are lost, duplicates of them can pass",
        path, l->type);
    rc = l->storage->ops->rename(l->storage->ctx, path, aside);
    return rc == 0 ? 1 : rc;
}

int id_log_read(struct id_log *l, id_decision_visitor visit, void *ctx)
{
    size_t kept = 0;

    for (size_t i = 0; i < l->n_segments; i++) {
        int rc = segment_load(l, &l->segment[i], visit, ctx);

        ASSERT(kept <= i);

        if (rc < 0)
            return rc;
        if (rc == 0)
            l->segment[kept++] = l->segment[i];
    }
    l->n_segments = kept;
    ASSERT(l->fd < 0); /* nothing is written behind a torn end: a new segment begins */
    if (ID_HEADER_BYTES + align_up(l->writing.len, ID_FRAME_ALIGN) > l->segment_bytes) {
        stat_add(&l->stats.damaged, 1); /* another version wrote it */
        l->writing.len = 0;
    }
    if (l->writing.len == 0 || CANARY(CANARY_FOUND_DURABLE)) {
        l->writing.len = 0;
        return 0;
    }
    l->again = l->found = true;
    l->frame_no--;
    l->appended = l->writing.n_decisions;
    return 0;
}
