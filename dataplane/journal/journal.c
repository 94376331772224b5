/* COLD. Opening and closing a journal directory; what any thread may ask of it. */
#include "dataplane/journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/crc32c.h"
#include "dataplane/base/ring.h"
#include "dataplane/journal/journal_internal.h"

#define META_BYTES 256
#define RING_ITEMS (2 * SPARES_MAX)

void segment_path(const struct journal *j, uint32_t number, char *out, size_t out_len)
{
    int n = snprintf(out, out_len, "%s/%08x.seg", j->dir, number);

    ASSERT(n > 0 && (size_t)n < out_len);
}

void segment_fill_header(const struct journal *j, uint32_t number, lsn_t prev_end,
                         uint64_t events_before, void *buf)
{
    struct segment_header h = {
        .magic = SEGMENT_MAGIC,
        .version = SEGMENT_VERSION,
        .segment = number,
        .prev_end = prev_end,
        .events_before = events_before,
        .created_us = clock_wall_us(),
        .bytes = j->config.segment_bytes,
    };

    memcpy(h.uuid, j->uuid.byte, sizeof(h.uuid));
    h.crc32c = crc32c(0, &h, sizeof(h));
    memset(buf, 0, JOURNAL_HEADER_BYTES);
    memcpy(buf, &h, sizeof(h));
}

static bool header_valid(const struct journal *j, uint32_t number, const struct segment_header *h)
{
    struct segment_header copy = *h;

    copy.crc32c = 0;
    return h->magic == SEGMENT_MAGIC && h->version == SEGMENT_VERSION && h->segment == number &&
           memcmp(h->uuid, j->uuid.byte, sizeof(h->uuid)) == 0 &&
           crc32c(0, &copy, sizeof(copy)) == h->crc32c;
}

static int header_read(const struct journal *j, uint32_t number, int flags,
                       struct segment_header *out)
{
    alignas(STORAGE_ALIGN) char buf[JOURNAL_HEADER_BYTES];
    const struct storage *s = j->storage;
    char path[JOURNAL_PATH_BYTES + 16];
    ssize_t n;
    int fd;

    segment_path(j, number, path, sizeof(path));
    fd = s->ops->open(s->ctx, path, O_RDONLY | flags, 0);
    if (fd < 0)
        return fd;
    n = s->ops->pread(s->ctx, fd, buf, sizeof(buf), 0);
    s->ops->close(s->ctx, fd);
    if (n < 0)
        return (int)n;
    memcpy(out, buf, sizeof(*out));
    return n == sizeof(buf) && header_valid(j, number, out) ? 0 : -EBADMSG;
}

/* Events hang on a header: one that seems to be none is read again, past the page cache. */
int segment_read_header(const struct journal *j, uint32_t number, struct segment_header *out)
{
    int rc = header_read(j, number, 0, out);

    ASSERT(number != 0);
    return rc == -EBADMSG ? header_read(j, number, O_DIRECT, out) : rc;
}

/* Of the identity alone: people may edit the machine. With another identity all events would seem to be
 * nobody's. */
static uint32_t meta_sum(const char *hex)
{
    ASSERT(strlen(hex) <= 32);
    return crc32c(0, hex, strlen(hex));
}

/* Creates DIR/meta by way of a temporary file, so that it is whole or not there. */
static int meta_create(struct journal *j, const char *machine_id, char *error, size_t error_len)
{
    const struct storage *s = j->storage;
    char path[JOURNAL_PATH_BYTES + 16], temporary[JOURNAL_PATH_BYTES + 16], text[META_BYTES],
        hex[33] = "";
    int fd, rc, n;

    if (getrandom(j->uuid.byte, sizeof(j->uuid.byte), 0) != (ssize_t)sizeof(j->uuid.byte))
        return -EIO;
    journal_uuid_hex(&j->uuid, hex);
    n = snprintf(text, sizeof(text),
                 "penstock-journal 1\nuuid %s\nmachine %.64s\ncheck %08" PRIx32 "\n", hex,
                 machine_id, meta_sum(hex));
    snprintf(path, sizeof(path), "%s/meta", j->dir);
    snprintf(temporary, sizeof(temporary), "%s/meta.new", j->dir);
    fd = s->ops->open(s->ctx, temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    rc = fd;
    if (fd >= 0) {
        rc = storage_write_all(s, fd, text, (size_t)n, 0);
        if (rc == 0)
            rc = s->ops->sync(s->ctx, fd);
        s->ops->close(s->ctx, fd);
    }
    if (rc == 0)
        rc = s->ops->rename(s->ctx, temporary, path);
    if (rc < 0)
        snprintf(error, error_len, "cannot create %s: %s", path, strerror(-rc));
    return rc < 0 ? rc : 0;
}

static int meta_check(struct journal *j, const char *text, const char *machine_id, char *error,
                      size_t error_len)
{
    char hex[33] = "", machine[65] = "";
    uint32_t sum = 0; /* journals made before there was one have none */
    int n = sscanf(text, "penstock-journal 1\nuuid %32s\nmachine %64s\ncheck %8" SCNx32, hex,
                   machine, &sum);

    if (n == 3 && sum != meta_sum(hex)) {
        snprintf(error, error_len, "%s/meta is damaged: its uuid does not match its check", j->dir);
        return -EUCLEAN;
    }
    if (n < 2 || journal_uuid_parse(hex, &j->uuid) != 0) {
        snprintf(error, error_len, "%s/meta is not a journal's: is this the right data_dir?",
                 j->dir);
        return -EUCLEAN;
    }
    if (strncmp(machine, machine_id, 64) != 0) {
        snprintf(
            error, error_len,
            "journal %s was written on another machine (%s, this is %s): a copied disk must not "
            "deliver "
            "the same events again. If the disk has really moved, set the machine line in %s/meta",
            j->dir, machine, machine_id, j->dir);
        return -EXDEV;
    }
    return 0;
}

static int meta_open(struct journal *j, const char *machine_id, char *error, size_t error_len)
{
    const struct storage *s = j->storage;
    char path[JOURNAL_PATH_BYTES + 16], text[META_BYTES + 1] = "";
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/meta", j->dir);
    fd = s->ops->open(s->ctx, path, O_RDONLY, 0);
    if (fd == -ENOENT)
        return meta_create(j, machine_id, error, error_len);
    if (fd < 0) {
        snprintf(error, error_len, "cannot open %s: %s", path, strerror(-fd));
        return fd;
    }
    n = s->ops->pread(s->ctx, fd, text, META_BYTES, 0);
    s->ops->close(s->ctx, fd);
    if (n < 0) {
        snprintf(error, error_len, "cannot read %s: %s", path, strerror((int)-n));
        return (int)n;
    }
    return meta_check(j, text, machine_id, error, error_len);
}

static int journal_allocate(struct journal *j)
{
    j->files_max = (uint32_t)(j->config.limit_bytes / j->config.segment_bytes);
    j->free_segment = calloc(j->files_max + SPARES_MAX, sizeof(*j->free_segment));
    j->spares = ring_create("spares", RING_ITEMS, RING_F_SP_ENQ | RING_F_SC_DEQ);
    j->retired = ring_create("retired", RING_ITEMS, RING_F_SP_ENQ | RING_F_SC_DEQ);
    return j->free_segment != NULL && j->spares != NULL && j->retired != NULL ? 0 : -ENOMEM;
}

/* Makes the directory's own name durable. */
static int parent_sync(const struct journal *j)
{
    char path[JOURNAL_PATH_BYTES];
    char *slash;

    snprintf(path, sizeof(path), "%s", j->dir);
    slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(path, sizeof(path), ".");
    else
        slash[slash == path] = '\0';
    return j->storage->ops->sync_dir(j->storage->ctx, path);
}

/* Makes the names in the directory durable, meta's first of all: without it all events are nobody's. */
static int names_sync(const struct journal *j, char *error, size_t error_len)
{
    int rc = j->storage->ops->sync_dir(j->storage->ctx, j->dir);

    ASSERT(error_len > 0);
    if (rc < 0)
        snprintf(error, error_len, "cannot flush %s: %s", j->dir, strerror(-rc));
    return rc;
}

int journal_open(const char *dir, const char *machine_id, const struct journal_config *config,
                 const struct storage *storage, struct journal **out, char *error, size_t error_len)
{
    struct journal *j = aligned_alloc(CACHE_LINE_BYTES, align_up(sizeof(*j), CACHE_LINE_BYTES));
    int rc = -ENOMEM;

    ASSERT(config->segment_bytes % STORAGE_ALIGN == 0 && config->spares <= SPARES_MAX);
    snprintf(error, error_len, "out of memory");
    if (j == NULL)
        return rc;
    memset(j, 0, sizeof(*j));
    snprintf(j->dir, sizeof(j->dir), "%s", dir);
    j->config = *config;
    j->storage = storage;
    rc = journal_allocate(j);
    if (rc < 0)
        goto fail;
    rc = storage->ops->mkdir(storage->ctx, dir, 0700);
    if (rc == 0 || rc == -EEXIST) /* whoever made it may have been killed before this flush */
        rc = parent_sync(j);
    if (rc < 0) {
        snprintf(error, error_len, "cannot create %s: %s", dir, strerror(-rc));
        goto fail;
    }
    rc = meta_open(j, machine_id, error, error_len);
    if (rc == 0)
        rc = names_sync(j, error, error_len);
    if (rc == 0)
        rc = journal_recover(j, error, error_len);
    if (rc < 0)
        goto fail;
    *out = j;
    return 0;
fail:
    journal_close(j);
    return rc;
}

static void ring_drop(const struct storage *s, struct rte_ring *r)
{
    void *item;

    while (r != NULL && rte_ring_sc_dequeue(r, &item) == 0) {
        struct segment *seg = item;

        s->ops->close(s->ctx, seg->fd);
        free(seg);
    }
    free(r);
}

void journal_close(struct journal *j)
{
    if (j == NULL)
        return;
    ring_drop(j->storage, j->spares);
    ring_drop(j->storage, j->retired);
    free(j->free_segment);
    free(j);
}

const struct journal_uuid *journal_uuid(const struct journal *j)
{
    return &j->uuid;
}

const char *journal_dir(const struct journal *j)
{
    return j->dir;
}

lsn_t journal_durable(const struct journal *j)
{
    return atomic_load_explicit(&j->durable,
                                memory_order_acquire); /* partner: writer's durable_advance() */
}

lsn_t journal_start(const struct journal *j)
{
    return j->start;
}

uint64_t journal_events_total(const struct journal *j)
{
    return atomic_load_explicit(&j->events_total, memory_order_relaxed);
}

bool journal_full(const struct journal *j)
{
    return atomic_load_explicit(&j->full, memory_order_relaxed);
}

bool journal_disk_error(const struct journal *j)
{
    return atomic_load_explicit(&j->disk_error, memory_order_relaxed);
}

struct journal_stats *journal_stats(struct journal *j)
{
    return &j->stats;
}
