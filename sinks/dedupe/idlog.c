/* HOT, but for opening and changing segments. See idlog.h; reading back is in idlog_read.c. */
#include "sinks/dedupe/idlog.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"
#include "dataplane/base/stats.h"
#include "sinks/dedupe/idlog_internal.h"

#define NAME_TYPE_MAX 64 /* bytes of the type in its folder's name */

/* ---- buffers ---- */

void id_reach_raise(struct id_reach *to, const struct id_reach *by)
{
    to->ids_end = by->ids_end > to->ids_end ? by->ids_end : to->ids_end;
    for (uint32_t f = 0; f < ID_FEEDS_MAX; f++)
        to->block[f] = by->block[f] > to->block[f] ? by->block[f] : to->block[f];
    ASSERT(to->ids_end >= by->ids_end);
}

static int buffer_room(struct id_buffer *b, size_t bytes)
{
    size_t need = (b->len == 0 ? ID_FRAME_BYTES : b->len) + bytes + ID_FRAME_ALIGN;
    uint8_t *larger;

    ASSERT(b->len <= b->room && (b->len == 0 || b->len >= ID_FRAME_BYTES));
    if (need <= b->room)
        return 0;
    need = align_up(need, 65536);
    larger = realloc(b->data, need);
    if (larger == NULL)
        return -ENOMEM;
    b->data = larger;
    b->room = need;
    return 0;
}

static void put(struct id_buffer *b, const void *bytes, size_t n)
{
    ASSERT(b->len + n <= b->room);
    memcpy(b->data + b->len, bytes, n);
    b->len += n;
}

static void put32(struct id_buffer *b, uint32_t v)
{
    v = htole32(v);
    put(b, &v, sizeof(v));
}

static void put64(struct id_buffer *b, uint64_t v)
{
    v = htole64(v);
    put(b, &v, sizeof(v));
}

int id_log_room(struct id_log *l, uint32_t n_entries)
{
    ASSERT(n_entries <= ID_RUN_MAX);
    if (l->pending.len >= ID_PENDING_MAX)
        return -EAGAIN;
    return buffer_room(&l->pending, ID_BATCH_FIXED + (n_entries + 7) / 8 + (size_t)n_entries * 16);
}

void id_log_append(struct id_log *l, const struct id_decision *d, uint64_t ids_end, uint32_t feed)
{
    struct id_buffer *b = &l->pending;
    size_t bitmap = (d->n_entries + 7) / 8;

    ASSERT(feed < ID_FEEDS_MAX && d->n_ids <= d->n_entries);
    ASSERT(ids_end >= b->reach.ids_end); /* decided in the order of taking */
    if (b->len == 0)
        b->len = ID_FRAME_BYTES;
    put32(b, d->n_entries);
    put32(b, d->n_ids);
    put32(b, d->run);
    put32(b, 0);
    put(b, d->journal.byte, sizeof(d->journal.byte));
    put64(b, d->block);
    put64(b, (uint64_t)d->time_us);
    put64(b, 0);
    put(b, d->removed, bitmap);
    for (uint32_t i = 0; i < d->n_ids; i++) {
        put64(b, d->id[i].lo);
        put64(b, d->id[i].hi);
    }
    b->n_decisions++;
    b->reach.ids_end = ids_end;
    b->reach.block[feed] = d->block > b->reach.block[feed] ? d->block : b->reach.block[feed];
    l->appended++;
    ASSERT(l->durable < l->appended);
}

uint64_t id_log_appended(const struct id_log *l)
{
    return l->appended;
}

uint64_t id_log_durable(const struct id_log *l)
{
    ASSERT(l->durable <= l->appended);
    return l->durable;
}

const uint8_t *id_log_key(const struct id_log *l)
{
    return l->key;
}

const struct id_log_stats *id_log_stats(const struct id_log *l)
{
    return &l->stats;
}

/* ---- files ---- */

void id_log_path(const struct id_log *l, uint64_t number, const char *suffix, char *out)
{
    int n = snprintf(out, ID_LOG_PATH_BYTES, "%.4500s/%016" PRIx64 ".%s", l->dir, number, suffix);

    ASSERT(n > 0 && n < ID_LOG_PATH_BYTES);
}

static void count_bytes(struct id_log *l)
{
    stat_set(&l->stats.bytes, (uint64_t)(l->n_segments + l->n_spare) * l->segment_bytes);
}

/* Makes room for one more segment in use. */
static int segments_room(struct id_log *l)
{
    size_t room = l->segments_room > 0 ? 2 * l->segments_room : 16;
    struct id_segment *larger;

    if (l->n_segments < l->segments_room)
        return 0;
    larger = realloc(l->segment, room * sizeof(*larger));
    if (larger == NULL)
        return -ENOMEM;
    l->segment = larger;
    l->segments_room = room;
    return 0;
}

struct id_segment *id_log_add_segment(struct id_log *l, uint64_t number)
{
    ASSERT(l->n_segments <= l->segments_room);
    if (segments_room(l) != 0)
        return NULL;
    l->segment[l->n_segments] = (struct id_segment){.number = number};
    return &l->segment[l->n_segments++];
}

int id_log_add_spare(struct id_log *l, uint64_t number)
{
    ASSERT(l->n_spare <= l->spare_room && l->segment_bytes > 0);
    if (l->n_spare == l->spare_room) {
        size_t room = l->spare_room > 0 ? 2 * l->spare_room : 16;
        uint64_t *larger = realloc(l->spare, room * sizeof(*larger));

        if (larger == NULL)
            return -ENOMEM;
        l->spare = larger;
        l->spare_room = room;
    }
    l->spare[l->n_spare++] = number;
    return 0;
}

int id_log_make_spare(struct id_log *l)
{
    const struct storage *st = l->storage;
    char path[ID_LOG_PATH_BYTES];
    uint64_t number = l->next_number++;
    int fd, rc;

    ASSERT(l->segment_bytes >= ID_SEGMENT_MIN);

    id_log_path(l, number, "free", path);
    fd = st->ops->open(st->ctx, path, O_RDWR | O_CREAT | O_EXCL, 0640);
    if (fd < 0)
        return fd;
    rc = st->ops->allocate(st->ctx, fd, l->segment_bytes);
    if (rc == 0)
        rc = st->ops->sync(st->ctx, fd);
    st->ops->close(st->ctx, fd);
    if (rc == 0)
        rc = id_log_add_spare(l, number);
    if (rc != 0)
        (void)st->ops->unlink(st->ctx, path); /* of no use; a leftover is found at the next start */
    return rc;
}

/* A segment's header: which log, which segment, which key. */
static int write_header(const struct id_log *l, int fd, uint64_t number)
{
    uint8_t head[ID_HEADER_BYTES] = {0};
    uint64_t le = htole64(number);
    uint32_t crc, bytes = htole32(l->segment_bytes);
    size_t len = strlen(l->type);
    int rc;

    ASSERT(fd >= 0 && len > 0 && 48 + len <= sizeof(head));
    memcpy(head, "PSTKIDS1", 8);
    memcpy(head + 16, &le, 8);
    memcpy(head + 24, l->key, ID_KEY_BYTES);
    memcpy(head + 40, &bytes, 4);
    head[44] = (uint8_t)len;
    memcpy(head + 48, l->type, len);
    crc = htole32(crc32c(0, head + 12, sizeof(head) - 12));
    memcpy(head + 8, &crc, 4);
    rc = storage_write_all(l->storage, fd, head, sizeof(head), 0);
    return rc == 0 ? l->storage->ops->sync(l->storage->ctx, fd) : rc;
}

/* The newest free file becomes a segment in use, though perhaps not durably. @return its descriptor;
 * -errno. */
static int spare_take(struct id_log *l, uint64_t number)
{
    const struct storage *st = l->storage;
    char from[ID_LOG_PATH_BYTES], to[ID_LOG_PATH_BYTES];
    int fd, rc;

    ASSERT(l->n_spare > 0 && l->n_segments < l->segments_room);
    id_log_path(l, l->spare[l->n_spare - 1], "free", from);
    id_log_path(l, number, "ids", to);
    fd = st->ops->open(st->ctx, from, O_RDWR, 0);
    if (fd < 0)
        return fd;
    rc = write_header(l, fd, number);
    if (rc == 0)
        rc = st->ops->rename(st->ctx, from, to);
    if (rc == 0) {
        l->n_spare--; /* its name is another now, whatever becomes of it */
        ASSERT(id_log_add_segment(l, number) != NULL);
        return fd;
    }
    st->ops->close(st->ctx, fd);
    return rc;
}

int id_log_next_segment(struct id_log *l)
{
    int fd, rc = l->n_spare == 0 ? id_log_make_spare(l) : 0;

    ASSERT(l->fd < 0);
    if (rc == 0)
        rc = segments_room(l);
    if (rc == 0) /* a file that is free only until the power fails must keep its old header */
        rc = l->storage->ops->sync_dir(l->storage->ctx, l->dir);
    if (rc != 0)
        return rc;
    fd = spare_take(l, l->next_number++);
    if (fd < 0)
        return fd;
    count_bytes(l);
    rc = l->storage->ops->sync_dir(l->storage->ctx, l->dir);
    if (rc != 0) {
        l->storage->ops->close(l->storage->ctx, fd);
        return rc; /* another one next time; this one is freed when its turn comes */
    }
    l->fd = fd;
    l->offset = ID_HEADER_BYTES;
    return 0;
}

/* ---- writing ---- */

void id_frame_seal(uint8_t *data, size_t payload, uint32_t n_decisions, uint64_t segment,
                   uint64_t offset, uint64_t frame_no)
{
    uint32_t word[4] = {0, 0, htole32((uint32_t)payload), htole32(n_decisions)};
    uint64_t place[3] = {htole64(segment), htole64(offset), htole64(frame_no)};
    uint32_t crc;

    ASSERT(payload > 0 && n_decisions > 0 && offset >= ID_HEADER_BYTES);

    memset(data, 0, ID_FRAME_BYTES);
    memcpy(word, "PIDF", 4);
    memcpy(data, word, sizeof(word));
    memcpy(data + sizeof(word), place, sizeof(place));
    crc = htole32(crc32c(0, data + 8, ID_FRAME_BYTES - 8 + payload));
    memcpy(data + 4, &crc, sizeof(crc));
}

static void file_close(struct id_log *l)
{
    if (l->fd >= 0)
        l->storage->ops->close(l->storage->ctx, l->fd);
    l->fd = -1;
}

static void write_failed(struct id_log *l, int rc)
{
    ASSERT(!l->busy && rc != 0 && l->writing.len > 0);
    stat_add(&l->stats.errors, 1);
    log_error("dedupe",
              "the ids of type %s cannot be written to %s (%s): its events wait; trying again",
              l->type, l->dir, strerror(-rc));
    file_close(l); /* nothing is ever written to that segment again */
    l->again = true;
}

static void write_done(struct loop_read *w, int result)
{
    struct id_log *l = container_of(w, struct id_log, write);

    ASSERT(l->busy && l->fd == w->fd && l->offset == w->offset);

    l->busy = false;
    if (result != (int)w->len) {
        write_failed(l, result < 0 ? result : -EIO);
        return;
    }
    l->again = l->found = false;
    l->retry_us = 0;
    l->offset += w->len;
    l->frame_no++;
    l->durable += l->writing.n_decisions;
    ASSERT(l->durable + l->pending.n_decisions == l->appended); /* each is in one place */
    id_reach_raise(&l->segment[l->n_segments - 1].reach, &l->writing.reach);
    l->writing.len = 0;
}

static int write_start(struct id_log *l)
{
    struct id_buffer *b = &l->writing;
    size_t whole = align_up(b->len, ID_FRAME_ALIGN);
    int rc = 0;

    ASSERT(b->len > ID_FRAME_BYTES && whole <= b->room);
    ASSERT(!l->busy && b->n_decisions > 0);
    if (l->fd >= 0 && l->offset + whole > l->segment_bytes)
        file_close(l);
    if (l->fd < 0)
        rc = id_log_next_segment(l);
    if (rc != 0)
        return rc;
    ASSERT(l->offset % ID_FRAME_ALIGN == 0 && l->offset + whole <= l->segment_bytes);
    memset(b->data + b->len, 0, whole - b->len);
    id_frame_seal(b->data, b->len - ID_FRAME_BYTES, b->n_decisions,
                  l->segment[l->n_segments - 1].number, l->offset, l->frame_no);
    l->write = (struct loop_read){
        .done = write_done,
        .fd = l->fd,
        .buf = b->data,
        .len = (uint32_t)whole,
        .offset = l->offset,
    };
    return loop_write_start(l->loop, &l->write);
}

void id_log_run(struct id_log *l, bool wanted, int64_t now_us)
{
    bool enough = wanted || l->pending.len >= ID_PENDING_WRITE;
    int rc;

    ASSERT(!l->again || l->writing.len > 0); /* what is written again is still here */
    if (l->busy || now_us < l->retry_us)
        return;
    if (!l->again) {
        struct id_buffer empty = l->writing;

        if (l->pending.len == 0 || !enough)
            return;
        l->writing = l->pending;
        l->pending = empty;
        l->pending.len = l->pending.n_decisions = 0;
        l->pending.reach = (struct id_reach){0};
    } else if (l->found && !enough) {
        return; /* nobody needs it yet, and it costs a segment */
    } else {
        l->retry_us = now_us + ID_RETRY_US;
    }
    rc = write_start(l);
    if (rc != 0)
        write_failed(l, rc);
    else
        l->busy = true;
}

int id_log_found(struct id_log *l, struct span payload, uint32_t n_decisions,
                 const struct id_reach *reach)
{
    struct id_buffer *b = &l->writing;
    int rc;

    ASSERT(!l->busy);
    b->len = 0;
    rc = buffer_room(b, payload.len);
    if (rc != 0)
        return rc;
    b->len = ID_FRAME_BYTES;
    put(b, payload.ptr, payload.len);
    b->n_decisions = n_decisions;
    b->reach = *reach;
    return 0;
}

/* ---- freeing ---- */

static bool segment_is_free(const struct id_segment *s, uint64_t tail, const lsn_t *floor,
                            uint32_t n_feeds)
{
    ASSERT(n_feeds <= ID_FEEDS_MAX);
    if (s->reach.ids_end > tail)
        return false;
    for (uint32_t f = 0; f < n_feeds; f++) {
        if (s->reach.block[f] >= floor[f] && s->reach.block[f] != 0)
            return false;
    }
    return true;
}

/* The file waits to be used again, or goes when there are enough. */
static int segment_retire(struct id_log *l, const struct id_segment *s, bool enough)
{
    const struct storage *st = l->storage;
    char from[ID_LOG_PATH_BYTES], to[ID_LOG_PATH_BYTES];
    int rc;

    ASSERT(s->number < l->next_number);
    id_log_path(l, s->number, "ids", from);
    if (enough)
        return st->ops->unlink(st->ctx, from);
    id_log_path(l, s->number, "free", to);
    rc = st->ops->rename(st->ctx, from, to);
    return rc == 0 ? id_log_add_spare(l, s->number) : rc;
}

void id_log_reclaim(struct id_log *l, uint64_t tail, const lsn_t *floor, uint32_t n_feeds)
{
    size_t kept = 0;

    ASSERT(n_feeds <= ID_FEEDS_MAX);
    for (size_t i = 0; i < l->n_segments; i++) {
        const struct id_segment *s = &l->segment[i];
        size_t files = kept + (l->n_segments - i) + l->n_spare;

        if (i + 1 < l->n_segments && segment_is_free(s, tail, floor, n_feeds) &&
            segment_retire(l, s, files > l->reserve) == 0)
            continue;
        l->segment[kept++] = *s;
    }
    ASSERT(l->n_segments == 0 || kept > 0); /* the one that is written stays */
    l->n_segments = kept;
    count_bytes(l);
}

uint64_t id_log_pressure(const struct id_log *l)
{
    if (l->n_segments < 2 || l->n_segments <= 4 * (size_t)l->reserve)
        return 0;
    ASSERT(l->segment[0].number < l->segment[1].number); /* the oldest one */
    return l->segment[0].reach.ids_end;
}

/* ---- life ---- */

static int compare_numbers(const void *a, const void *b)
{
    const struct id_segment *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

/* Whether a file is as long as a segment. */
static int is_whole(const struct id_log *l, const char *path, bool *whole)
{
    const struct storage *st = l->storage;
    int fd = st->ops->open(st->ctx, path, O_RDONLY, 0);
    ssize_t last, behind;
    uint8_t byte;

    if (fd < 0)
        return fd;
    last = st->ops->pread(st->ctx, fd, &byte, 1, l->segment_bytes - 1);
    behind = st->ops->pread(st->ctx, fd, &byte, 1, l->segment_bytes);
    st->ops->close(st->ctx, fd);
    *whole = last == 1 && behind == 0;
    return last < 0 ? (int)last : behind < 0 ? (int)behind : 0;
}

static int take_free(struct id_log *l, uint64_t number)
{
    char path[ID_LOG_PATH_BYTES];
    bool whole;
    int rc;

    id_log_path(l, number, "free", path);
    rc = is_whole(l, path, &whole);
    if (rc != 0)
        return rc;
    if (whole)
        return id_log_add_spare(l, number);
    return l->storage->ops->unlink(l->storage->ctx, path); /* of another size, or half made */
}

/* Notes one file of the folder. */
static int take_file(void *ctx, const char *name)
{
    struct id_log *l = ctx;
    char *end;
    uint64_t number = strtoull(name, &end, 16);
    int rc = 0;

    if (end != name + 16)
        return 0;
    if (strcmp(end, ".ids") == 0)
        rc = id_log_add_segment(l, number) != NULL ? 0 : -ENOMEM;
    else if (strcmp(end, ".free") == 0)
        rc = take_free(l, number);
    if (number >= l->next_number)
        l->next_number = number + 1;
    return rc;
}

static int take_files(struct id_log *l)
{
    int rc = l->storage->ops->list(l->storage->ctx, l->dir, take_file, l);

    if (l->n_segments > 1)
        qsort(l->segment, l->n_segments, sizeof(*l->segment), compare_numbers);
    return rc;
}

/* TYPE-CRC in the configured folder; long names are cut. */
static int make_folder(struct id_log *l, const char *dir)
{
    char escaped[TYPE_ESCAPED_BYTES_MAX + 1];
    int n, rc;

    name_escape(span_of(l->type), escaped);
    n = snprintf(l->dir, sizeof(l->dir), "%.4096s/%.*s-%08" PRIx32, dir, NAME_TYPE_MAX, escaped,
                 crc32c(0, l->type, strlen(l->type)));
    ASSERT(n > 0 && n < (int)sizeof(l->dir));
    rc = l->storage->ops->mkdir(l->storage->ctx, l->dir, 0750);
    if (rc < 0 && rc != -EEXIST)
        return rc;
    return l->storage->ops->sync_dir(l->storage->ctx, dir); /* a crash may have been in between */
}

static void size_segments(struct id_log *l, uint32_t ids_max)
{
    uint64_t bytes = (uint64_t)ids_max * 20;
    uint64_t each = align_up(bytes / 8, ID_SEGMENT_MIN / 2);

    each = each < ID_SEGMENT_MIN ? ID_SEGMENT_MIN : each;
    l->segment_bytes = (uint32_t)(each < ID_SEGMENT_MAX ? each : ID_SEGMENT_MAX);
    l->reserve = (uint32_t)(bytes / l->segment_bytes) + 3;
    ASSERT(l->segment_bytes >= ID_SEGMENT_MIN && l->segment_bytes % ID_FRAME_ALIGN == 0);
}

static int log_start(struct id_log *l, const struct id_log_config *c, id_decision_visitor visit,
                     void *ctx)
{
    int rc = make_folder(l, c->dir);

    if (rc == 0)
        rc = take_files(l);
    if (rc == 0 && getrandom(l->key, sizeof(l->key), 0) != (ssize_t)sizeof(l->key))
        rc = -EIO;
    if (rc == 0)
        rc = id_log_read(l, visit, ctx);
    while (rc == 0 && l->n_segments + l->n_spare < l->reserve)
        rc = id_log_make_spare(l);
    if (rc == 0)
        rc = l->storage->ops->sync_dir(l->storage->ctx, l->dir);
    count_bytes(l);
    return rc;
}

int id_log_open(const struct id_log_config *config, id_decision_visitor visit, void *ctx,
                struct id_log **out, char *error, size_t error_len)
{
    struct id_log *l = calloc(1, sizeof(*l));
    int rc;

    ASSERT(strlen(config->type) <= TYPE_NAME_BYTES_MAX);
    if (l == NULL)
        return -ENOMEM;
    l->fd = -1;
    l->loop = config->loop;
    l->storage = config->storage;
    snprintf(l->type, sizeof(l->type), "%s", config->type);
    size_segments(l, config->ids_max);
    rc = log_start(l, config, visit, ctx);
    if (rc != 0) {
        snprintf(error, error_len, "dedupe of type %s: %s: %s%s", l->type, l->dir, strerror(-rc),
                 rc == -ENOSPC ? ": space for dedupe.ids_max is reserved at start" : "");
        id_log_close(l);
        return rc;
    }
    *out = l;
    return 0;
}

void id_log_close(struct id_log *l)
{
    if (l == NULL)
        return;
    file_close(l);
    free(l->segment);
    free(l->spare);
    free(l->pending.data);
    free(l->writing.data);
    free(l);
}
