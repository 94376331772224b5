/* HOT, but for opening and changing segments. See idlog.h; reading back is in idlog_read.c. */
#include "sinks/dedupe/idlog.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

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
}

static int buffer_room(struct id_buffer *b, size_t bytes)
{
    size_t need = (b->len == 0 ? ID_FRAME_BYTES : b->len) + bytes + ID_FRAME_ALIGN;
    uint8_t *larger;

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
}

uint64_t id_log_appended(const struct id_log *l)
{
    return l->appended;
}

uint64_t id_log_durable(const struct id_log *l)
{
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

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 && fsync(fd) == 0 ? 0 : -errno;

    if (fd >= 0)
        close(fd);
    return rc;
}

static void count_bytes(struct id_log *l)
{
    stat_set(&l->stats.bytes, (uint64_t)(l->n_segments + l->n_spare) * l->segment_bytes);
}

struct id_segment *id_log_add_segment(struct id_log *l, uint64_t number)
{
    if (l->n_segments == l->segments_room) {
        size_t room = l->segments_room > 0 ? 2 * l->segments_room : 16;
        struct id_segment *larger = realloc(l->segment, room * sizeof(*larger));

        if (larger == NULL)
            return NULL;
        l->segment = larger;
        l->segments_room = room;
    }
    l->segment[l->n_segments] = (struct id_segment){.number = number};
    return &l->segment[l->n_segments++];
}

int id_log_add_spare(struct id_log *l, uint64_t number)
{
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
    char path[ID_LOG_PATH_BYTES];
    uint64_t number = l->next_number++;
    int fd, rc;

    id_log_path(l, number, "free", path);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return -errno;
    rc = -posix_fallocate(fd, 0, l->segment_bytes);
    if (rc == 0 && fsync(fd) != 0)
        rc = -errno;
    close(fd);
    if (rc == 0)
        rc = id_log_add_spare(l, number);
    if (rc != 0)
        (void)unlink(path); /* half a file is of no use; a leftover is found at the next start */
    return rc;
}

/* A segment's header: which log, which segment, which key. */
static int write_header(const struct id_log *l, int fd, uint64_t number)
{
    uint8_t head[ID_HEADER_BYTES] = {0};
    uint64_t le = htole64(number);
    uint32_t crc, bytes = htole32(l->segment_bytes);
    size_t len = strlen(l->type);

    memcpy(head, "PSTKIDS1", 8);
    memcpy(head + 16, &le, 8);
    memcpy(head + 24, l->key, ID_KEY_BYTES);
    memcpy(head + 40, &bytes, 4);
    head[44] = (uint8_t)len;
    memcpy(head + 48, l->type, len);
    crc = htole32(crc32c(0, head + 12, sizeof(head) - 12));
    memcpy(head + 8, &crc, 4);
    if (pwrite(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head))
        return errno != 0 ? -errno : -EIO;
    return fsync(fd) == 0 ? 0 : -errno;
}

int id_log_next_segment(struct id_log *l)
{
    char from[ID_LOG_PATH_BYTES], to[ID_LOG_PATH_BYTES];
    uint64_t number = l->next_number;
    int fd, rc = l->n_spare == 0 ? id_log_make_spare(l) : 0;

    ASSERT(l->fd < 0);
    if (rc != 0)
        return rc;
    id_log_path(l, l->spare[l->n_spare - 1], "free", from);
    number = l->next_number++;
    id_log_path(l, number, "ids", to);
    fd = open(from, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    rc = write_header(l, fd, number);
    if (rc == 0 && rename(from, to) != 0)
        rc = -errno;
    if (rc == 0)
        rc = sync_dir(l->dir);
    if (rc == 0 && id_log_add_segment(l, number) == NULL)
        rc = -ENOMEM;
    if (rc != 0) {
        close(fd);
        return rc;
    }
    l->n_spare--;
    l->fd = fd;
    l->offset = ID_HEADER_BYTES;
    count_bytes(l);
    return 0;
}

/* ---- writing ---- */

void id_frame_seal(uint8_t *data, size_t payload, uint32_t n_decisions, uint64_t segment,
                   uint64_t offset, uint64_t frame_no)
{
    uint32_t word[4] = {0, 0, htole32((uint32_t)payload), htole32(n_decisions)};
    uint64_t place[3] = {htole64(segment), htole64(offset), htole64(frame_no)};
    uint32_t crc;

    memset(data, 0, ID_FRAME_BYTES);
    memcpy(word, "PIDF", 4);
    memcpy(data, word, sizeof(word));
    memcpy(data + sizeof(word), place, sizeof(place));
    crc = htole32(crc32c(0, data + 8, ID_FRAME_BYTES - 8 + payload));
    memcpy(data + 4, &crc, sizeof(crc));
}

static void write_failed(struct id_log *l, int rc)
{
    stat_add(&l->stats.errors, 1);
    log_error("dedupe",
              "the ids of type %s cannot be written to %s (%s): its events wait; trying again",
              l->type, l->dir, strerror(-rc));
    if (l->fd >= 0)
        close(l->fd); /* nothing is ever written to that segment again */
    l->fd = -1;
    l->failed = true;
}

static void write_done(struct loop_read *w, int result)
{
    struct id_log *l = container_of(w, struct id_log, write);

    l->busy = false;
    if (result != (int)w->len) {
        write_failed(l, result < 0 ? result : -EIO);
        return;
    }
    l->failed = false;
    l->offset += w->len;
    l->frame_no++;
    l->durable += l->writing.n_decisions;
    id_reach_raise(&l->segment[l->n_segments - 1].reach, &l->writing.reach);
    l->writing.len = 0;
}

static int write_start(struct id_log *l)
{
    struct id_buffer *b = &l->writing;
    size_t whole = align_up(b->len, ID_FRAME_ALIGN);
    int rc = 0;

    ASSERT(b->len > ID_FRAME_BYTES && whole <= b->room);
    if (l->fd >= 0 && l->offset + whole > l->segment_bytes) {
        close(l->fd);
        l->fd = -1;
    }
    if (l->fd < 0)
        rc = id_log_next_segment(l);
    if (rc != 0)
        return rc;
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
    int rc;

    if (l->busy || now_us < l->retry_us)
        return;
    if (!l->failed) {
        struct id_buffer empty = l->writing;

        if (l->pending.len == 0 || (!wanted && l->pending.len < ID_PENDING_WRITE))
            return;
        l->writing = l->pending;
        l->pending = empty;
        l->pending.len = l->pending.n_decisions = 0;
        l->pending.reach = (struct id_reach){0};
    } else {
        l->retry_us = now_us + ID_RETRY_US;
    }
    rc = write_start(l);
    if (rc != 0)
        write_failed(l, rc);
    else
        l->busy = true;
}

/* ---- freeing ---- */

static bool segment_is_free(const struct id_segment *s, uint64_t tail, const lsn_t *floor,
                            uint32_t n_feeds)
{
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
    char from[ID_LOG_PATH_BYTES], to[ID_LOG_PATH_BYTES];

    id_log_path(l, s->number, "ids", from);
    if (enough)
        return unlink(from) == 0 ? 0 : -errno;
    id_log_path(l, s->number, "free", to);
    if (rename(from, to) != 0)
        return -errno;
    return id_log_add_spare(l, s->number);
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
    l->n_segments = kept;
    count_bytes(l);
}

uint64_t id_log_pressure(const struct id_log *l)
{
    if (l->n_segments < 2 || l->n_segments <= 4 * (size_t)l->reserve)
        return 0;
    return l->segment[0].reach.ids_end;
}

/* ---- life ---- */

static int compare_numbers(const void *a, const void *b)
{
    const struct id_segment *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

/* Notes one file of the folder. */
static int take_file(struct id_log *l, const char *name)
{
    char *end;
    uint64_t number = strtoull(name, &end, 16);

    if (end != name + 16)
        return 0;
    if (strcmp(end, ".ids") == 0) {
        if (id_log_add_segment(l, number) == NULL)
            return -ENOMEM;
    } else if (strcmp(end, ".free") == 0) {
        char path[ID_LOG_PATH_BYTES];
        struct stat st;
        int rc = 0;

        id_log_path(l, number, "free", path);
        if (stat(path, &st) == 0 && st.st_size == (off_t)l->segment_bytes)
            rc = id_log_add_spare(l, number);
        else
            rc = unlink(path) == 0 ? 0 : -errno; /* of another size, or half made */
        if (rc != 0)
            return rc;
    }
    if (number >= l->next_number)
        l->next_number = number + 1;
    return 0;
}

static int take_files(struct id_log *l)
{
    DIR *dir = opendir(l->dir);
    int rc = dir == NULL ? -errno : 0;

    for (struct dirent *e; rc == 0 && (e = readdir(dir)) != NULL;)
        rc = take_file(l, e->d_name);
    if (dir != NULL)
        closedir(dir);
    if (l->n_segments > 1)
        qsort(l->segment, l->n_segments, sizeof(*l->segment), compare_numbers);
    return rc;
}

/* TYPE-CRC in the configured folder; long names are cut. */
static int make_folder(struct id_log *l, const char *dir)
{
    char escaped[TYPE_ESCAPED_BYTES_MAX + 1];
    int n;

    name_escape(span_of(l->type), escaped);
    n = snprintf(l->dir, sizeof(l->dir), "%.4096s/%.*s-%08" PRIx32, dir, NAME_TYPE_MAX, escaped,
                 crc32c(0, l->type, strlen(l->type)));
    ASSERT(n > 0 && n < (int)sizeof(l->dir));
    if (mkdir(l->dir, 0750) == 0)
        return sync_dir(dir);
    return errno == EEXIST ? 0 : -errno;
}

static void size_segments(struct id_log *l, uint32_t ids_max)
{
    uint64_t bytes = (uint64_t)ids_max * 20;
    uint64_t each = align_up(bytes / 8, 1u << 20);

    each = each < ID_SEGMENT_MIN ? ID_SEGMENT_MIN : each;
    l->segment_bytes = (uint32_t)(each < ID_SEGMENT_MAX ? each : ID_SEGMENT_MAX);
    l->reserve = (uint32_t)(bytes / l->segment_bytes) + 3;
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
        rc = sync_dir(l->dir);
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
    if (l->fd >= 0)
        close(l->fd);
    free(l->segment);
    free(l->spare);
    free(l->pending.data);
    free(l->writing.data);
    free(l);
}
