/* COLD. Opening and closing a journal directory; what any thread may ask of it. */
#include "dataplane/journal/journal.h"

#include <errno.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dataplane/base/ring.h"
#include "dataplane/journal/journal_internal.h"

#define RING_ITEMS (2 * SPARES_MAX)

static int journal_allocate(struct journal *j)
{
    ASSERT(j->config.limit_bytes / j->config.segment_bytes <= UINT32_MAX - SPARES_MAX);
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

/*
 * The original may have gone on from here: places that it gave to other events must not be given again.
 * 65,536 segments are more than anybody notices late.
 */
static void numbers_skip(struct journal *j)
{
    uint16_t random = 0;

    ASSERT(j->next_segment > 0);
    (void)!getrandom(&random, sizeof(random), 0);
    j->next_segment += 65536u + random;
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
    if (config->adopt)
        numbers_skip(j);
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

        ASSERT(seg->fd >= 0 && seg->number != 0);

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

bool journal_half_full(const struct journal *j)
{
    ASSERT(j->config.limit_bytes > 0);
    return atomic_load_explicit(&j->stats.used_bytes, memory_order_relaxed) >
           j->config.limit_bytes / 2;
}

bool journal_disk_error(const struct journal *j)
{
    return atomic_load_explicit(&j->keep_error, memory_order_relaxed) ||
           atomic_load_explicit(&j->write_error, memory_order_relaxed) != 0;
}

struct journal_stats *journal_stats(struct journal *j)
{
    return &j->stats;
}
