/*
 * Goal: a writer that uses segments up as fast as the keeper makes them never has more retired ones
 * than their ring holds, and one journal does not keep the keeper from the others. Method: the
 * schedule that is worst, without threads: whenever the keeper begins a new file, the writer first
 * uses up every spare there is.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "dataplane/journal/journal_internal.h"
#include "dataplane/journal/writer.h"
#include "tests/unit/tcore_read.h"
#include "tests/unit/tcore_storage.h"

#define SEGMENT  16384u /* a header and one or two blocks */
#define BLOCK    8192u
#define N_BLOCKS 4u
#define FILES    200u
#define LINE     3000u

static struct {
    char *dir;
    struct tcore_storage *disk;
    struct storage_ops ops;
    struct storage storage;
    struct journal *journal;
    struct writer *writer;
    struct block block[N_BLOCKS];
    struct block *free[N_BLOCKS];
    uint32_t n_free;
    struct block_ring ring;
    uint64_t seq, events;
    bool greedy; /* the writer uses up spares while the keeper works */
} rig;

static struct block_entry entries[N_BLOCKS][BLOCK_ENTRIES_MAX];

static void on_durable(void *ctx, struct block *b)
{
    (void)ctx;
    rig.free[rig.n_free++] = b;
}

/* One event, durable. */
static void put_durable(void)
{
    struct block *b = rig.free[--rig.n_free];
    struct block_line line = {.len = LINE};

    assert_int_equal(writer_open(rig.writer, b, ++rig.seq), 0);
    memset(block_tail(b), 'x', LINE);
    block_commit(b, &rig.ring, &line);
    writer_seal(rig.writer);
    rig.events++;
    do {
        writer_pump(rig.writer, NULL, false);
        while (tcore_pending(rig.disk) > 0) {
            int result;
            uint64_t data = tcore_finish(rig.disk, 0, TCORE_DONE, 0, &result);

            writer_complete(rig.writer, data, result);
        }
    } while (writer_queued(rig.writer) > 0);
}

static void use_up_spares(void)
{
    while (rte_ring_count(rig.journal->spares) > 0)
        put_durable();
}

/* The keeper's first step of a new segment. */
static int open_greedily(void *ctx, const char *path, int flags, mode_t mode)
{
    size_t len = strlen(path);

    if (rig.greedy && len > 4 && strcmp(path + len - 4, "/new") == 0)
        use_up_spares();
    return tcore_storage_ops(rig.disk)->ops->open(ctx, path, flags, mode);
}

static int up(void **state)
{
    struct journal_config config = {
        .segment_bytes = SEGMENT, .limit_bytes = FILES * SEGMENT, .spares = SPARES_MAX};
    char path[300], error[300] = "";

    (void)state;
    memset(&rig, 0, sizeof(rig));
    rig.dir = tcore_mkdir(true);
    snprintf(path, sizeof(path), "%s/journal", rig.dir);
    rig.disk = tcore_storage_create(TCORE_QUEUE);
    rig.ops = *tcore_storage_ops(rig.disk)->ops;
    rig.ops.open = open_greedily;
    rig.storage = (struct storage){.ops = &rig.ops, .ctx = tcore_storage_ops(rig.disk)->ctx};
    if (journal_open(path, "m", &config, &rig.storage, &rig.journal, error, sizeof(error)) != 0)
        fail_msg("%s", error);
    if (writer_create(rig.journal, N_BLOCKS, BLOCK, 0, on_durable, NULL, &rig.writer) != 0)
        return -1;
    rig.ring = (struct block_ring){.name = {"t", 1}};
    for (uint32_t i = 0; i < N_BLOCKS; i++) {
        block_init(&rig.block[i], aligned_alloc(BLOCK_ALIGN, BLOCK), BLOCK, BLOCK / 2, entries[i],
                   NULL);
        rig.free[rig.n_free++] = &rig.block[i];
    }
    return 0;
}

static int down(void **state)
{
    (void)state;
    writer_destroy(rig.writer);
    journal_close(rig.journal);
    for (uint32_t i = 0; i < N_BLOCKS; i++)
        free(rig.block[i].buf);
    tcore_storage_destroy(rig.disk);
    tcore_rmdir(rig.dir);
    return 0;
}

static void count(void *ctx, const struct block_view *v, const struct block_run *run,
                  const struct block_entry *e)
{
    (void)v;
    (void)run;
    (void)e;
    ++*(uint64_t *)ctx;
}

static uint64_t events_read(void)
{
    struct tcore_reader r;
    uint64_t n = 0;

    tcore_reader_init(&r, rig.journal, &rig.storage, journal_start(rig.journal), 2 * BLOCK);
    if (tcore_read_all(&r, count, &n) < 0)
        fail_msg("%s", r.error);
    tcore_reader_fini(&r);
    return n;
}

/* Until the limit: then the writer has been through every file. */
static void test_writer_keeps_up(void **state)
{
    int rounds = 0;

    (void)state;
    rig.greedy = true;
    while (!journal_full(rig.journal)) {
        int changed = journal_keep(rig.journal, 0);

        assert_in_range(changed, 0, SPARES_MAX); /* then the other journals have their turn */
        assert_true(rte_ring_count(rig.journal->retired) <= 1);
        assert_true(++rounds < 1000);
    }
    use_up_spares();
    assert_true(rig.events > FILES);
    assert_int_equal(events_read(), rig.events);
}

/* The same with files that come back. */
static void test_recycled(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        (void)journal_keep(rig.journal, journal_durable(rig.journal));
        rig.greedy = true;
        (void)journal_keep(rig.journal, journal_durable(rig.journal));
        rig.greedy = false;
        use_up_spares();
        assert_false(journal_disk_error(rig.journal));
    }
    assert_true(atomic_load(&journal_stats(rig.journal)->segments_recycled) > 100);
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {FRESH(test_writer_keeps_up), FRESH(test_recycled)};

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
