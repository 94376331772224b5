/*
 * Goal: a sink reads each durable block from the disk once and in order, over segments, superseded
 * ones included, whatever the size of blocks, and goes on by itself when bad bytes have become
 * good. Method: a real loop over a journal that the test writes; blocks of more than one read; a
 * block that is damaged and repaired.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "dataplane/journal/writer.h"
#include "sinks/scan.h"
#include "tests/unit/tcore_storage.h"

#define BLOCK   (6u << 20)
#define SEGMENT (24u << 20)
#define ENTRIES 64u
#define WAIT_US 5000000

static struct {
    char *dir;
    char path[300];
    struct tcore_storage *disk;
    struct journal *journal;
    struct writer *writer;
    struct block block;
    bool block_free;
    struct block_ring ring;
    uint64_t seq;
    struct loop *loop;
    struct scan scan;
    _Atomic uint64_t errors;
    lsn_t cursor;
} rig;

static void on_durable(void *ctx, struct block *b)
{
    (void)ctx;
    (void)b;
    rig.block_free = true;
}

static int up(void **state)
{
    struct journal_config config = {
        .segment_bytes = SEGMENT, .limit_bytes = 8 * SEGMENT, .spares = 1};
    char error[300];

    (void)state;
    memset(&rig, 0, sizeof(rig));
    rig.dir = tcore_mkdir(true);
    snprintf(rig.path, sizeof(rig.path), "%s/j", rig.dir);
    rig.disk = tcore_storage_create(TCORE_QUEUE);
    if (journal_open(rig.path, "m", &config, tcore_storage_ops(rig.disk), &rig.journal, error,
                     sizeof(error)) != 0 ||
        writer_create(rig.journal, 4, BLOCK, 0, on_durable, NULL, &rig.writer) != 0 ||
        loop_create(&rig.loop) != 0)
        return -1;
    block_init(&rig.block, aligned_alloc(BLOCK_ALIGN, BLOCK), BLOCK, BLOCK - 65536,
               calloc(BLOCK_ENTRIES_MAX, sizeof(struct block_entry)), NULL);
    rig.block_free = true;
    rig.ring = (struct block_ring){.name = {"t", 1}};
    (void)journal_keep(rig.journal, 0);
    return scan_init(&rig.scan, rig.loop, rig.journal, &rig.errors);
}

/* A scan that was never set up, as after a start that was refused: nothing to free. */
static void test_never_set_up(void **state)
{
    struct scan none = {0};

    (void)state;
    scan_fini(&none);
    assert_null(none._buf);
}

static int down(void **state)
{
    (void)state;
    loop_destroy(rig.loop);
    scan_fini(&rig.scan);
    writer_destroy(rig.writer);
    journal_close(rig.journal);
    free(rig.block.buf);
    free(rig.block._entries);
    tcore_storage_destroy(rig.disk);
    tcore_rmdir(rig.dir);
    return 0;
}

/* Writes one block of about bytes; its minute is its number. fails: its first write does. */
static void put(uint32_t bytes, bool fails)
{
    char id[] = "-0000000000000000\"}\n";
    struct block_line line = {.len = bytes, .minute = (int32_t)rig.seq};
    int result;

    assert_int_equal(writer_open(rig.writer, &rig.block, ++rig.seq), 0);
    memset(block_tail(&rig.block), 'x', bytes);
    memcpy(block_tail(&rig.block) + bytes - sizeof(id) + 1, id, sizeof(id) - 1);
    block_commit(&rig.block, &rig.ring, &line);
    writer_seal(rig.writer);
    rig.block_free = false;
    while (!rig.block_free) {
        writer_pump(rig.writer, NULL, false);
        while (tcore_pending(rig.disk) > 0) {
            /* the header in front of the first block succeeds */
            bool fail = fails && tcore_pending(rig.disk) == 1 && rig.seq > 1;
            uint64_t data =
                tcore_finish(rig.disk, 0, fail ? TCORE_REACHED : TCORE_DONE, EIO, &result);

            fails &= !fail;
            writer_complete(rig.writer, data, result);
        }
        (void)journal_keep(rig.journal, 0);
    }
}

/* The next block's number, or -1 when nothing comes within us. */
static int next(int64_t us)
{
    lsn_t durable = journal_durable(rig.journal);
    int64_t end_us = clock_monotonic_us() + us;
    struct block_view v;

    while (rig.cursor < durable && clock_monotonic_us() < end_us) {
        if (scan_next(&rig.scan, &rig.cursor, durable, clock_monotonic_us(), &v)) {
            assert_true(v.header->lsn == rig.cursor);
            rig.cursor += v.header->len;
            return v.entries[0].minute;
        }
        (void)loop_run_once(rig.loop, 10000);
    }
    return -1;
}

static void test_all_sizes_over_segments(void **state)
{
    static const uint32_t sizes[] = {
        100, 4000, BLOCK - 70000, 1u << 20, (4u << 20) - 4096, 100, 5u << 20, 200};

    (void)state;
    for (int i = 0; i < 16; i++)
        put(sizes[(size_t)i % ARRAY_LEN(sizes)], false);
    assert_true(lsn_segment(journal_durable(rig.journal)) > 1);
    for (int i = 0; i < 16; i++)
        assert_int_equal(next(WAIT_US), i);
    assert_int_equal(next(1000), -1);
    put(50, false);
    assert_int_equal(next(WAIT_US), 16);
    assert_int_equal(atomic_load(&rig.errors), 0);
}

/* The failed writes are on the disk, behind their segments' ends: they are not read there. */
static void test_superseded(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++)
        put(3000, i % 2 == 1);
    assert_true(lsn_segment(journal_durable(rig.journal)) > 2);
    for (int i = 0; i < 6; i++)
        assert_int_equal(next(WAIT_US), i);
    assert_int_equal(atomic_load(&rig.errors), 0);
}

static void test_damage_is_tried_again(void **state)
{
    char name[400];
    char bad = 1, good;
    int fd;

    (void)state;
    put(3000, false);
    put(3000, false);
    snprintf(name, sizeof(name), "%s/00000001.seg", rig.path);
    fd = open(name, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && pread(fd, &good, 1, 8192 + 300) == 1 &&
                pwrite(fd, &bad, 1, 8192 + 300) == 1);
    assert_int_equal(next(WAIT_US), 0);
    assert_int_equal(next(100000), -1);
    assert_true(atomic_load(&rig.errors) > 0);
    assert_int_equal(pwrite(fd, &good, 1, 8192 + 300), 1);
    assert_int_equal(next(WAIT_US), 1);
    close(fd);
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {FRESH(test_never_set_up),
                                       FRESH(test_all_sizes_over_segments), FRESH(test_superseded),
                                       FRESH(test_damage_is_tried_again)};

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
