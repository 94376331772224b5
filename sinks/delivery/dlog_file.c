/*
 * COLD. The delivery log's two files: reading, making, and switching to the other one with a
 * snapshot.
 *
 * A file begins to count when its END_SNAPSHOT frame is durable; until then the other one counts
 * and is not touched. A file on which a write or flush failed is made anew before it is used again,
 * so nothing that the failure may have dropped is ever believed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "sinks/delivery/dlog_internal.h"

#ifndef READ_CHUNK_BYTES /* the simulation's is small */
#define READ_CHUNK_BYTES (4u << 20)
#endif

static int slot_open(struct dlog *d, const char *path, int flags)
{
    ASSERT(path != NULL);
    if (d->buffered)
        flags &= ~O_DIRECT;
    return d->storage.ops->open(d->storage.ctx, path, flags, 0640);
}

static void slot_close(struct dlog *d, int slot)
{
    ASSERT(slot >= 0 && slot < DLOG_FILES);
    if (d->fd[slot] >= 0)
        d->storage.ops->close(d->storage.ctx, d->fd[slot]);
    d->fd[slot] = -1;
}

static int read_all(struct dlog *d, int fd, uint64_t len_max, struct log_image *out)
{
    while (out->len < len_max) {
        uint64_t left = len_max - out->len;
        size_t want = left < READ_CHUNK_BYTES ? (size_t)left : READ_CHUNK_BYTES;
        uint8_t *bigger = realloc(out->data, out->len + want);
        ssize_t n;

        if (bigger == NULL)
            return -ENOMEM;
        out->data = bigger;
        do {
            n = d->storage.ops->pread(d->storage.ctx, fd, out->data + out->len, want, out->len);
        } while (n == -EINTR);
        if (n <= 0)
            return (int)n;
        ASSERT((size_t)n <= want);
        out->len += (size_t)n;
    }
    return 0;
}

/* Whether the file has a byte in front of end. @return 1, 0, or -errno. */
static int reaches(struct dlog *d, int fd, uint64_t end)
{
    char byte;
    ssize_t n;

    ASSERT(end > 0);
    do {
        n = d->storage.ops->pread(d->storage.ctx, fd, &byte, 1, end - 1);
    } while (n == -EINTR);
    return (int)n;
}

int dlog_file_measure(struct dlog *d, int slot, uint64_t least)
{
    uint64_t low = least / STORAGE_ALIGN, high = low + 1; /* it has low blocks, and not high */
    int fd = d->storage.ops->open(d->storage.ctx, d->path[slot], O_RDONLY, 0);
    int rc = 1;

    d->bytes[slot] = 0;
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    while ((rc = reaches(d, fd, high * STORAGE_ALIGN)) > 0) {
        low = high;
        high *= 2;
    }
    while (rc >= 0 && high - low > 1) {
        uint64_t middle = low + (high - low) / 2;

        rc = reaches(d, fd, middle * STORAGE_ALIGN);
        if (rc > 0)
            low = middle;
        else
            high = middle;
    }
    d->storage.ops->close(d->storage.ctx, fd);
    ASSERT(low < high);
    d->bytes[slot] = low * STORAGE_ALIGN;
    return rc < 0 ? rc : 0;
}

int dlog_file_read(struct dlog *d, int slot, uint64_t len_max, struct log_image *out)
{
    int fd = d->storage.ops->open(d->storage.ctx, d->path[slot], O_RDONLY, 0);
    int rc;

    ASSERT(slot >= 0 && slot < DLOG_FILES && len_max > 0);
    *out = (struct log_image){0};
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    rc = read_all(d, fd, len_max, out);
    d->storage.ops->close(d->storage.ctx, fd);
    if (rc != 0) {
        free(out->data);
        *out = (struct log_image){0};
    }
    return rc;
}

int dlog_file_compare(struct dlog *d, int slot, const struct log_image *image, uint64_t from)
{
    const struct storage *s = &d->storage;
    uint64_t len = from < image->len ? image->len - from : 0, at = 0;
    ssize_t n = 1;
    int fd;

    ASSERT(from % STORAGE_ALIGN == 0);
    if (len > FRAME_BYTES_MAX)
        len = FRAME_BYTES_MAX;
    fd = s->ops->open(s->ctx, d->path[slot], O_RDONLY | O_DIRECT, 0);
    if (fd < 0)
        return fd;
    for (; at < len && n > 0; at += n > 0 ? (uint64_t)n : 0)
        n = s->ops->pread(s->ctx, fd, d->buf + at, align_up(len - at, STORAGE_ALIGN), from + at);
    s->ops->close(s->ctx, fd);
    if (n < 0)
        return (int)n;
    return at >= len && memcmp(d->buf, image->data + from, len) == 0 ? 0 : -EIO;
}

int dlog_file_secure(struct dlog *d, int slot, const struct log_image *image)
{
    uint64_t last, end = dlog_frames_end(image, &last);
    int fd = slot_open(d, d->path[slot], O_RDWR | O_DIRECT | O_DSYNC);
    int rc;

    ASSERT(end <= image->len && end - last <= FRAME_BYTES_MAX);
    if (fd < 0)
        return fd;
    memcpy(d->buf, image->data + last, end - last);
    rc = storage_write_all(&d->storage, fd, d->buf, end - last, last);
    d->storage.ops->close(d->storage.ctx, fd);
    return rc;
}

/* Writes it through once: later writes change no metadata, and cannot run out of space. */
static int fill_zeros(struct dlog *d, int fd, uint64_t bytes)
{
    int rc = d->storage.ops->allocate(d->storage.ctx, fd, bytes);

    ASSERT(bytes % STORAGE_ALIGN == 0);
    memset(d->buf, 0, FRAME_BYTES_MAX);
    for (uint64_t at = 0; rc == 0 && at < bytes; at += FRAME_BYTES_MAX) {
        uint64_t n = bytes - at < FRAME_BYTES_MAX ? bytes - at : FRAME_BYTES_MAX;

        rc = storage_write_all(&d->storage, fd, d->buf, n, at);
    }
    return rc != 0 ? rc : d->storage.ops->sync(d->storage.ctx, fd);
}

/* A file under a name that may vanish with the next power cut is of no use. */
static int names_settle(struct dlog *d)
{
    int rc = d->renamed ? d->storage.ops->sync_dir(d->storage.ctx, d->dir) : 0;

    ASSERT(d->dir[0] != '\0');
    if (rc == 0)
        d->renamed = false;
    return rc;
}

int dlog_file_fresh(struct dlog *d, int slot, uint64_t bytes)
{
    char path[PATH_MAX + 32];
    int fd;
    int rc;

    ASSERT(slot != d->active && slot != d->newest);
    snprintf(path, sizeof(path), "%s.new", d->path[slot]);
    fd = slot_open(d, path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT);
    if (fd < 0)
        return fd;
    rc = fill_zeros(d, fd, bytes);
    if (rc == -EINVAL)
        d->buffered = true; /* the next try goes without direct writes */
    d->storage.ops->close(d->storage.ctx, fd);
    slot_close(d, slot);
    if (rc == 0)
        rc = d->storage.ops->rename(d->storage.ctx, path, d->path[slot]);
    if (rc != 0) {
        d->storage.ops->unlink(d->storage.ctx, path);
        return rc;
    }
    d->bytes[slot] = bytes;
    d->suspect[slot] = false;
    d->renamed = true;
    return names_settle(d);
}

int dlog_write_frame(struct dlog *d, int slot, uint64_t *offset, const struct frame_header *h)
{
    uint64_t span = frame_encode(h, &d->id, *offset, d->buf);
    int rc;

    ASSERT(*offset + span <= d->bytes[slot]);
    rc = storage_write_all(&d->storage, d->fd[slot], d->buf, span, *offset);
    if (rc != 0) {
        d->suspect[slot] = true;
        if (rc == -EINVAL)
            d->buffered = true;
        return rc;
    }
    *offset += span;
    atomic_fetch_add_explicit(&d->stats.bytes, span, memory_order_relaxed);
    return 0;
}

/* ---- the snapshot ---- */

struct snapshot_writer {
    struct dlog *d;
    int slot;
    int rc;
    uint64_t offset;
    uint32_t used; /* payload bytes in d->buf */
    uint32_t records;
};

static void snapshot_flush(struct snapshot_writer *w, enum frame_kind kind)
{
    struct frame_header h = {
        .payload_len = w->used,
        .n_records = w->records,
        .file_seq = w->d->file_seq,
        .durable_offset = w->offset,
        .kind = (uint8_t)kind,
    };

    ASSERT(w->used <= FRAME_PAYLOAD_MAX && (w->used > 0) == (w->records > 0));
    if (w->rc == 0)
        w->rc = dlog_write_frame(w->d, w->slot, &w->offset, &h);
    w->used = 0;
    w->records = 0;
}

static uint8_t *snapshot_put(struct snapshot_writer *w, const uint8_t *record, size_t len)
{
    uint8_t *at;

    ASSERT(len <= RECORD_BYTES_MAX);
    if (w->used + len > FRAME_PAYLOAD_MAX)
        snapshot_flush(w, FRAME_SNAPSHOT);
    at = w->d->buf + FRAME_HEADER_BYTES + w->used;
    memcpy(at, record, len);
    w->used += (uint32_t)len;
    w->records++;
    return at;
}

static void snapshot_visit(void *ctx, const uint8_t *record, size_t len)
{
    ASSERT(len >= RECORD_HEADER_BYTES);
    snapshot_put(ctx, record, len);
}

static void count_visit(void *ctx, const uint8_t *record, size_t len)
{
    (void)record;
    *(uint64_t *)ctx += len;
}

/* Bytes of a file that hold the snapshot and what the ledger has not shown; never too few. */
static uint64_t snapshot_need(const struct dlog *d)
{
    uint64_t bytes = d->unshown.bytes;
    uint64_t frames;

    state_snapshot(d->state, d->last_seq, d->ledger_seq, count_visit, &bytes);
    frames = bytes / (FRAME_PAYLOAD_MAX - RECORD_BYTES_MAX) + 2;
    ASSERT(bytes >= d->unshown.bytes);
    return FILE_HEADER_BYTES + bytes + frames * (FRAME_HEADER_BYTES + STORAGE_ALIGN);
}

/* A file big enough that at least half of it is room; if the disk has none for that, any that has
 * some room. */
static int make_room(struct dlog *d, int slot)
{
    uint64_t need = snapshot_need(d);
    uint64_t want = d->bytes[slot] > d->file_bytes ? d->bytes[slot] : d->file_bytes;
    int rc = 0;

    ASSERT(slot != d->newest && d->active < 0); /* what counts is not touched */
    while (want < 2 * need)
        want *= 2;
    if (want > d->bytes[slot] || d->suspect[slot])
        rc = dlog_file_fresh(d, slot, want);
    /* Rewriting the old one from its header on is safe as well: nothing written before is believed.
     */
    if (rc != 0 && d->bytes[slot] < need + DLOG_ROOM_BYTES_MIN)
        return rc;
    return names_settle(d);
}

static int write_header(struct dlog *d, int slot)
{
    struct file_header h = {
        .log = d->id,
        .file_seq = d->file_seq,
        .flags = (uint16_t)(d->newest < 0 ? FILE_FIRST : 0),
    };
    int rc;

    ASSERT(sizeof(h.node) == sizeof(d->node));
    memcpy(h.node, d->node, sizeof(h.node));
    file_header_encode(&h, d->buf);
    rc = storage_write_all(&d->storage, d->fd[slot], d->buf, FILE_HEADER_BYTES, 0);
    if (rc == -EINVAL)
        d->buffered = true;
    return rc;
}

static int write_snapshot(struct dlog *d, int slot)
{
    struct snapshot_writer w = {.d = d, .slot = slot, .offset = FILE_HEADER_BYTES};

    ASSERT(slot != d->newest && d->active < 0);
    state_snapshot(d->state, d->last_seq, d->ledger_seq, snapshot_visit, &w);
    for (const struct submission *s = d->unshown.head; s != NULL; s = s->next)
        record_set_flags(snapshot_put(&w, s->bytes, s->len), RECORD_FLAG_LEDGER_ONLY);
    if (w.records > 0)
        snapshot_flush(&w, FRAME_SNAPSHOT);
    snapshot_flush(&w, FRAME_END_SNAPSHOT);
    if (w.rc == 0)
        w.rc = d->storage.ops->sync(d->storage.ctx, d->fd[slot]);
    ASSERT(w.offset % STORAGE_ALIGN == 0 && w.offset <= d->bytes[slot]);
    d->offset = w.offset;
    return w.rc;
}

int dlog_switch(struct dlog *d)
{
    int slot = d->newest < 0 ? 0 : 1 - d->newest;
    int rc;

    d->active = -1;
    if (d->secured)
        dlog_ledger_flush(d); /* less to carry; on failure all of it is carried */
    rc = make_room(d, slot);
    if (rc != 0)
        return rc;
    slot_close(d, slot);
    d->fd[slot] = slot_open(d, d->path[slot], O_RDWR | O_DIRECT | O_DSYNC);
    if (d->fd[slot] < 0)
        return d->fd[slot];
    d->file_seq++;
    rc = write_header(d, slot);
    if (rc == 0)
        rc = write_snapshot(d, slot);
    if (rc != 0) {
        d->suspect[slot] = true;
        slot_close(d, slot);
        return rc;
    }
    ASSERT(slot != d->newest && d->offset > FILE_HEADER_BYTES);
    d->active = slot;
    d->newest = slot;
    d->secured = true;
    slot_close(d, 1 - slot);
    atomic_fetch_add_explicit(&d->stats.snapshots, 1, memory_order_relaxed);
    return 0;
}
