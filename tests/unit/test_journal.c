/*
 * Goal: opening a journal finds exactly what is durable, changes nothing when acknowledged data is
 * damaged, and refuses what is not its own; the keeper heals. Method: a small journal on queued
 * writes (tcore_storage.h) that is closed, damaged sector by sector, and opened again; schedules at
 * random are in test_journal_sim.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/base/log.h"
#include "dataplane/event/assemble.h"
#include "dataplane/journal/journal_internal.h"
#include "dataplane/journal/writer.h"
#include "tests/unit/tcore_read.h"
#include "tests/unit/tcore_storage.h"

#define SEGMENT  65536u
#define BLOCK    8192u
#define N_BLOCKS 8u
#define SECTOR   512u

static struct {
    char *dir;
    char path[300];
    struct tcore_storage *disk;
    struct journal_config config;
    struct journal *journal;
    struct writer *writer;
    struct block block[N_BLOCKS];
    struct block *free[N_BLOCKS];
    uint32_t n_free;
    struct block_ring ring;
    uint64_t seq;
    uint32_t next, durable; /* events: the next number, and how many are durable */
    char error[400];
} rig;

static struct block_entry entries[N_BLOCKS][BLOCK_ENTRIES_MAX];

static void on_durable(void *ctx, struct block *b)
{
    (void)ctx;
    rig.durable += b->events;
    rig.free[rig.n_free++] = b;
}

static int journal_up(const char *machine)
{
    int rc = journal_open(rig.path, machine, &rig.config, tcore_storage_ops(rig.disk), &rig.journal,
                          rig.error, sizeof(rig.error));

    rig.writer = NULL;
    if (rc < 0) {
        rig.journal = NULL;
        return rc;
    }
    rig.n_free = 0;
    for (uint32_t i = 0; i < N_BLOCKS; i++)
        rig.free[rig.n_free++] = &rig.block[i];
    assert_int_equal(writer_create(rig.journal, N_BLOCKS, BLOCK, 0, on_durable, NULL, &rig.writer),
                     0);
    return 0;
}

static void journal_down(void)
{
    writer_destroy(rig.writer);
    journal_close(rig.journal);
    rig.writer = NULL;
    rig.journal = NULL;
}

static int up(void **state)
{
    (void)state;
    memset(&rig, 0, sizeof(rig));
    rig.dir = tcore_mkdir(true);
    snprintf(rig.path, sizeof(rig.path), "%s/journal", rig.dir);
    rig.disk = tcore_storage_create(TCORE_QUEUE);
    rig.config =
        (struct journal_config){.segment_bytes = SEGMENT, .limit_bytes = 8 * SEGMENT, .spares = 2};
    rig.ring = (struct block_ring){.name = {"t", 1}};
    for (uint32_t i = 0; i < N_BLOCKS; i++)
        block_init(&rig.block[i], aligned_alloc(BLOCK_ALIGN, BLOCK), BLOCK, BLOCK / 2, entries[i],
                   NULL);
    if (journal_up("machine-a") != 0)
        return -1;
    return journal_keep(rig.journal, 0) == 2 ? 0 : -1;
}

static int down(void **state)
{
    (void)state;
    journal_down();
    for (uint32_t i = 0; i < N_BLOCKS; i++)
        free(rig.block[i].buf);
    tcore_storage_destroy(rig.disk);
    tcore_rmdir(rig.dir);
    return 0;
}

/* Queues one block of n events. @return whether there was a place for it. */
static bool block_put(uint32_t n)
{
    struct block *b = rig.free[rig.n_free - 1];

    if (writer_open(rig.writer, b, ++rig.seq) != 0)
        return false;
    rig.n_free--;
    for (uint32_t i = 0; i < n; i++) {
        char doc[40];
        int len = snprintf(doc, sizeof(doc), "{\"n\":%u}", rig.next++);
        struct event_parts parts = {.doc = {doc, (size_t)len},
                                    .journal_hex = "00000000000000000000000000000000",
                                    .lsn = block_tail_lsn(b)};
        struct block_line line = {0};
        uint32_t added;

        line.len = (uint32_t)event_assemble(&parts, block_tail(b), &added);
        block_commit(b, &rig.ring, &line);
    }
    writer_seal(rig.writer);
    return true;
}

static void finish(unsigned i, enum tcore_outcome outcome)
{
    int result;
    uint64_t data = tcore_finish(rig.disk, i, outcome, EIO, &result);

    writer_complete(rig.writer, data, result);
}

static void flush_all(void)
{
    do {
        writer_pump(rig.writer, NULL, false);
        while (tcore_pending(rig.disk) > 0)
            finish(0, TCORE_DONE);
    } while (writer_queued(rig.writer) > 0);
}

static void put_durable(uint32_t n)
{
    assert_true(block_put(n));
    flush_all();
}

struct numbers {
    uint32_t n, first, last;
};

static void number(void *ctx, const struct block_view *v, const struct block_run *run,
                   const struct block_entry *e)
{
    struct numbers *c = ctx;
    unsigned value = 0;

    (void)run;
    assert_int_equal(sscanf(v->buf + e->offset, "{\"n\":%u", &value), 1);
    assert_true(c->n == 0 || value > c->last); /* in order, nothing twice */
    if (c->n++ == 0)
        c->first = value;
    c->last = value;
}

/* Reads from a cursor to the durable end. */
static struct numbers read_from(lsn_t cursor)
{
    struct numbers c = {0};
    struct tcore_reader r;

    tcore_reader_init(&r, rig.journal, tcore_storage_ops(rig.disk), cursor, 2 * BLOCK);
    if (tcore_read_all(&r, number, &c) < 0)
        fail_msg("%s", r.error);
    tcore_reader_fini(&r);
    return c;
}

static void file_poke(const char *name, long at, const void *bytes, size_t len)
{
    char path[400];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", rig.path, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, bytes, len, at) == (ssize_t)len);
    close(fd);
}

static void file_peek(const char *name, long at, void *bytes, size_t len)
{
    char path[400];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", rig.path, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pread(fd, bytes, len, at) == (ssize_t)len);
    close(fd);
}

/* ---- tests ---- */

static void test_fresh_and_again(void **state)
{
    struct journal_uuid uuid = *journal_uuid(rig.journal);
    lsn_t end;

    (void)state;
    assert_true(journal_durable(rig.journal) == 0 && journal_start(rig.journal) == 0);
    put_durable(3);
    put_durable(4);
    end = journal_durable(rig.journal);
    assert_true(end == lsn_make(1, JOURNAL_HEADER_BYTES + 2 * 4096));
    assert_int_equal(read_from(0).n, 7);
    for (int i = 0; i < 3; i++) {
        journal_down();
        assert_int_equal(journal_up("machine-a"), 0);
        assert_memory_equal(journal_uuid(rig.journal), &uuid, sizeof(uuid));
        assert_true(journal_durable(rig.journal) == end);
        assert_int_equal(journal_events_total(rig.journal), 7);
        assert_int_equal(read_from(0).n, 7);
    }
    (void)journal_keep(rig.journal, 0);
    put_durable(1);
    assert_true(lsn_segment(journal_durable(rig.journal)) >
                2); /* never a number again that was a spare's */
    assert_int_equal(read_from(0).n, 8);
    assert_int_equal(journal_events_total(rig.journal), 8);
}

static void test_other_machine(void **state)
{
    (void)state;
    put_durable(1);
    journal_down();
    assert_int_equal(journal_up("machine-b"), -EXDEV);
    assert_non_null(strstr(rig.error, "another machine"));
    assert_int_equal(journal_up("machine-a"), 0);
    journal_down();
    file_poke("meta", 0, "garbage", 7);
    assert_int_equal(journal_up("machine-a"), -EUCLEAN);
}

/* Each sector of the last block in turn was never written: the block goes, what is in front of it
 * stays. */
static void test_torn_tail(void **state)
{
    char keep[SECTOR], torn[SECTOR];
    uint32_t from = JOURNAL_HEADER_BYTES + 4096;

    (void)state;
    memset(torn, 0, sizeof(torn));
    put_durable(5);
    put_durable(35); /* about two thirds of its two pages */
    for (uint32_t at = from; at < from + 8192; at += SECTOR) {
        journal_down();
        file_peek("00000001.seg", at, keep, SECTOR);
        file_poke("00000001.seg", at, torn, SECTOR);
        assert_int_equal(journal_up("machine-a"), 0);
        if (memcmp(keep, torn, SECTOR) == 0)
            assert_int_equal(journal_events_total(rig.journal), 40);
        else
            assert_int_equal(journal_events_total(rig.journal), 5);
        assert_int_equal(read_from(0).n, journal_events_total(rig.journal));
        file_poke("00000001.seg", at, keep, SECTOR);
    }
}

/* A hole in front of a block that knew of the durable end beyond it is damage: refused, and nothing
 * changes. */
static void test_hole_is_damage(void **state)
{
    char before[SEGMENT], after[SEGMENT], zero[SECTOR];

    (void)state;
    memset(zero, 0, sizeof(zero));
    put_durable(1);
    put_durable(2);
    put_durable(3); /* knows that the second is durable */
    for (uint32_t at = JOURNAL_HEADER_BYTES; at < JOURNAL_HEADER_BYTES + 8192; at += 4096) {
        journal_down();
        file_peek("00000001.seg", 0, before, SEGMENT);
        file_poke("00000001.seg", at, zero, SECTOR);
        file_peek("00000001.seg", 0, after, SEGMENT);
        assert_int_equal(journal_up("machine-a"), -EUCLEAN);
        assert_non_null(strstr(rig.error, "damaged"));
        file_peek("00000001.seg", 0, after, SEGMENT);
        assert_memory_equal(after + at + SECTOR, before + at + SECTOR, SEGMENT - at - SECTOR);
        file_poke("00000001.seg", 0, before, SEGMENT);
        assert_int_equal(journal_up("machine-a"), 0);
        assert_int_equal(journal_events_total(rig.journal), 6);
    }
}

/* The header of the last segment has rotted. Its first block alone might never have been
 * acknowledged; a second one knew that the first was: refused, and nothing changes. */
static void test_rotted_header(void **state)
{
    char before[SEGMENT], after[SEGMENT], zero[SECTOR];
    uint32_t total = 0;

    (void)state;
    memset(zero, 0, sizeof(zero));
    while (lsn_segment(journal_durable(rig.journal)) < 2) {
        put_durable(1);
        total++;
    }
    (void)journal_keep(rig.journal, 0); /* a spare behind it: no header either, and no blocks */
    put_durable(1);
    put_durable(1);
    journal_down();
    file_peek("00000002.seg", 0, before, SEGMENT);
    file_poke("00000002.seg", 0, zero, SECTOR);
    assert_int_equal(journal_up("machine-a"), -EUCLEAN);
    assert_non_null(strstr(rig.error, "header of segment 00000002"));
    file_peek("00000002.seg", 0, after, SEGMENT);
    assert_memory_equal(after + SECTOR, before + SECTOR, SEGMENT - SECTOR);
    file_poke("00000002.seg", 0, before, SEGMENT);
    assert_int_equal(journal_up("machine-a"), 0);
    assert_int_equal(journal_events_total(rig.journal), total + 2);
    assert_int_equal(read_from(0).n, total + 2);
}

static void test_unreadable(void **state)
{
    (void)state;
    put_durable(1);
    journal_down();
    for (unsigned n = 1; n < 4; n++) {
        tcore_fail(rig.disk, TCORE_PREAD, n, 1, EIO);
        assert_int_equal(journal_up("machine-a"), -EIO);
        tcore_heal(rig.disk);
    }
    assert_int_equal(journal_up("machine-a"), 0);
    assert_int_equal(read_from(0).n, 1);
}

/* Fails the i-th of the pending writes with an outcome, brings all else to its end, reads. */
static void superseded(unsigned blocks, unsigned failing, enum tcore_outcome outcome)
{
    uint32_t total = 0;

    put_durable(2);
    for (unsigned i = 0; i < blocks; i++)
        assert_true(block_put(3));
    writer_pump(rig.writer, NULL, false);
    assert_true(tcore_pending(rig.disk) > failing);
    finish(failing, outcome);
    while (tcore_pending(rig.disk) > 0)
        finish(0, TCORE_DONE);
    assert_true(writer_failed(rig.writer));
    assert_int_equal(rig.durable, failing == 0 ? 2 : 5);
    total = 2 + 3 * blocks;
    for (int i = 0; i < 20 && (writer_failed(rig.writer) || writer_queued(rig.writer) > 0); i++) {
        (void)journal_keep(rig.journal, 0);
        flush_all();
    }
    assert_int_equal(rig.durable, total);
    assert_int_equal(read_from(0).n, total);
    journal_down();
    assert_int_equal(journal_up("machine-a"), 0);
    assert_int_equal(read_from(0).n, total);
    assert_int_equal(journal_events_total(rig.journal), total);
}

static void test_superseded(void **state)
{
    static const enum tcore_outcome outcomes[] = {TCORE_FAILED, TCORE_REACHED, TCORE_TORN,
                                                  TCORE_SHORT};

    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        for (unsigned failing = 0; failing < 2; failing++) {
            superseded(3, failing, outcomes[i]);
            (void)down(state);
            assert_int_equal(up(state), 0);
        }
    }
}

/* The successor's header fails too, several times, or says so and is on the disk all the same. */
static void test_failing_headers(void **state)
{
    static const enum tcore_outcome outcomes[] = {TCORE_FAILED, TCORE_REACHED, TCORE_TORN,
                                                  TCORE_SHORT};
    int n = 0;

    (void)state;
    put_durable(2);
    assert_true(block_put(3));
    writer_pump(rig.writer, NULL, false);
    finish(0, TCORE_FAILED);
    for (int i = 0; n < 4 && i < 50; i++) {
        (void)journal_keep(rig.journal, 0);
        writer_pump(rig.writer, NULL, false);
        if (tcore_pending(rig.disk) > 0)
            finish(0, outcomes[n++]); /* the header: always the oldest */
        while (tcore_pending(rig.disk) > 0)
            finish(0, TCORE_DONE);
    }
    assert_int_equal(n, 4);
    assert_int_equal(rig.durable, 2);
    for (int i = 0; i < 20 && rig.durable < 5; i++) {
        (void)journal_keep(rig.journal, 0);
        flush_all();
    }
    assert_int_equal(rig.durable, 5);
    assert_int_equal(read_from(0).n, 5);
    journal_down();
    assert_int_equal(journal_up("machine-a"), 0);
    assert_int_equal(read_from(0).n, 5);
}

/* A write that fails is seen by all until a block is durable, or nothing is left to write; the second
 * failure in a row is not answered at once. */
static void test_write_error(void **state)
{
    (void)state;
    put_durable(1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_false(journal_disk_error(rig.journal));
        writer_retry_us = i < 2 ? 0 : 3600 * INT64_C(1000000);
        assert_true(block_put(1));
        for (int failure = 0; failure < 2; failure++) {
            (void)journal_keep(rig.journal, 0);
            writer_pump(rig.writer, NULL, false); /* the second time another segment, at once */
            assert_true(tcore_pending(rig.disk) > 0);
            finish(0, TCORE_FAILED);
            while (tcore_pending(rig.disk) > 0)
                finish(0, TCORE_DONE);
            assert_true(journal_disk_error(rig.journal) && writer_failed(rig.writer));
        }
        (void)journal_keep(rig.journal, 0);
        writer_pump(rig.writer, NULL, false);
        assert_int_equal(tcore_pending(rig.disk) > 0, i < 2); /* not yet */
        while (tcore_pending(rig.disk) > 0)
            finish(0, TCORE_DONE);
        if (i < 2)
            flush_all();
    }
    assert_true(journal_disk_error(rig.journal));
    assert_int_equal(rig.durable, 3);
    writer_retry_us = 0;
}

/* The file of a freed segment comes back under another number: its old blocks are there, and never
 * pass. */
static void test_recycled_bytes(void **state)
{
    lsn_t cursor = 0;
    uint32_t total = 0;

    (void)state;
    for (int i = 0; i < 200; i++) {
        put_durable(10);
        total += 10;
        if (i % 7 == 0) {
            struct numbers c = read_from(cursor);

            assert_int_equal(c.last, total - 1);
            cursor = journal_durable(rig.journal);
        }
        (void)journal_keep(rig.journal, cursor);
    }
    assert_true(atomic_load(&journal_stats(rig.journal)->segments_recycled) > 5);
    journal_down();
    assert_int_equal(journal_up("machine-a"), 0);
    assert_int_equal(journal_events_total(rig.journal), total);
}

/* Names that are nearly a segment's are nobody's: another spelling of a number would be a second file of
 * it, one of which is free; the highest number has no successor. */
static void test_strange_names(void **state)
{
    static const char *const name[] = {"0x000001.seg", "       1.seg", "00000000.seg",
                                       "ffffffff.seg", "0000000A.seg", "00000001.seg.old"};
    uint32_t total = 0;

    (void)state;
    for (int round = 0; round < 3; round++) {
        put_durable(3);
        total += 3;
        journal_down();
        for (size_t i = 0; i < ARRAY_LEN(name); i++) {
            char path[PATH_MAX];
            FILE *f;

            snprintf(path, sizeof(path), "%s/%s", rig.path, name[i]);
            f = fopen(path, "w");
            assert_non_null(f);
            fclose(f);
        }
        assert_int_equal(journal_up("machine-a"), 0);
        assert_int_equal(read_from(0).n, total);
        assert_true(journal_keep(rig.journal, 0) >= 0);
    }
}

static void test_limit(void **state)
{
    uint32_t n = 0;

    (void)state;
    for (; block_put(10); n++) {
        flush_all();
        (void)journal_keep(rig.journal, 0);
    }
    assert_true(journal_full(rig.journal) && !journal_disk_error(rig.journal));
    assert_true(n >= 8 * (SEGMENT - JOURNAL_HEADER_BYTES - BLOCK) / BLOCK);
    assert_int_equal(journal_stats(rig.journal)->total_bytes, 8 * SEGMENT);
    assert_int_equal(read_from(0).n, 10 * n);
    assert_true(journal_keep(rig.journal, journal_durable(rig.journal)) > 0);
    assert_false(journal_full(rig.journal));
    put_durable(1);
}

static void keeper_fails(enum tcore_op op, int error)
{
    (void)journal_keep(rig.journal, 0);
    put_durable(1); /* takes a spare */
    for (int i = 0; i < 30; i++) {
        tcore_fail(rig.disk, op, 1, 100, error);
        (void)journal_keep(rig.journal, 0);
    }
    assert_true(journal_disk_error(rig.journal));
    assert_false(journal_full(rig.journal));
    tcore_heal(rig.disk);
    (void)journal_keep(rig.journal, 0);
    assert_false(journal_disk_error(rig.journal));
    assert_false(journal_full(rig.journal));
    for (int i = 0; i < 12; i++) {
        (void)journal_keep(rig.journal, 0);
        put_durable(1);
    }
    assert_int_equal(read_from(0).n, 13);
}

static void test_keeper_heals(void **state)
{
    static const struct {
        enum tcore_op op;
        int error;
    } failures[] = {{TCORE_ALLOCATE, ENOSPC}, {TCORE_RENAME, EIO}, {TCORE_OPEN, EMFILE},
                    {TCORE_PWRITE, EIO},      {TCORE_SYNC, EIO},   {TCORE_SYNC_DIR, EIO}};

    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        keeper_fails(failures[i].op, failures[i].error);
        (void)down(state);
        assert_int_equal(up(state), 0);
    }
}

/* A read that flips a bit is no valid block, and the next read is. */
static void test_wrong_bytes_on_read(void **state)
{
    struct tcore_reader r;
    struct numbers c = {0};

    (void)state;
    put_durable(20);
    tcore_reader_init(&r, rig.journal, tcore_storage_ops(rig.disk),
                      lsn_make(1, JOURNAL_HEADER_BYTES), BLOCK);
    tcore_corrupt_read(rig.disk, 1);
    r.buf_bytes = 4096;
    assert_int_equal(tcore_read_block(&r, number, &c), -1);
    tcore_heal(rig.disk);
    assert_int_equal(tcore_read_block(&r, number, &c), 1);
    tcore_reader_fini(&r);
}

/* Whichever read of a recovery flips a bit, it changes nothing on the disk: the next start finds all. */
static void test_wrong_bytes_at_start(void **state)
{
    (void)state;
    put_durable(20); /* what its block did not know as durable is written again at a start */
    for (unsigned n = 1; n < 20; n++) {
        journal_down();
        tcore_corrupt_read_byte(rig.disk, n, 40); /* in a header, or in the first of a segment */
        if (journal_up("machine-a") == 0)
            journal_down();
        tcore_heal(rig.disk);
        assert_int_equal(journal_up("machine-a"), 0);
        assert_int_equal(journal_events_total(rig.journal), 20);
        assert_int_equal(read_from(0).n, 20);
    }
}

#define FRESH(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(test_fresh_and_again),
        FRESH(test_other_machine),
        FRESH(test_torn_tail),
        FRESH(test_hole_is_damage),
        FRESH(test_unreadable),
        FRESH(test_superseded),
        FRESH(test_failing_headers),
        FRESH(test_recycled_bytes),
        FRESH(test_strange_names),
        FRESH(test_limit),
        FRESH(test_write_error),
        FRESH(test_keeper_heals),
        FRESH(test_wrong_bytes_on_read),
        FRESH(test_rotted_header),
        FRESH(test_wrong_bytes_at_start),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    writer_retry_us = 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
