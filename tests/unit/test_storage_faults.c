/*
 * What the simulation (tests/fault/sim.h) has found, one test each, over its disk: bytes that can be read
 * and are not durable, wrong bits at a start, kills while files are made, a disk that fails for
 * long. Each failed before it was repaired.
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
#include <string.h>

#include "dataplane/base/log.h"
#include "dataplane/event/assemble.h"
#include "dataplane/journal/journal_internal.h"
#include "dataplane/journal/reader.h"
#include "dataplane/journal/writer.h"
#include "tests/fault/sim_disk.h"
#include "tests/unit/tdlog_sim.h"

#define SEGMENT_BYTES 65536u
#define BLOCK_BYTES   8192u
#define SEEDS         40u
#define READS         16u /* more than a start makes */

/* ---- a journal ---- */

static struct disk *disk;
static struct journal *journal;
static struct writer *writer;
static struct block block;
static bool block_free;
static uint64_t acknowledged;
static char block_buf[BLOCK_BYTES] __attribute__((aligned(BLOCK_ALIGN)));
static struct block_entry block_entries[BLOCK_ENTRIES_MAX];
static struct block_ring ring = {.name = {.ptr = "order", .len = 5}};

static void on_durable(void *ctx, struct block *b)
{
    (void)ctx;
    acknowledged += b->events;
    block_free = true;
}

static int up(void)
{
    struct journal_config config = {
        .segment_bytes = SEGMENT_BYTES, .limit_bytes = 5 * SEGMENT_BYTES, .spares = 2};
    char error[400];
    int rc =
        journal_open("/j", "machine", &config, disk_storage(disk), &journal, error, sizeof(error));

    if (rc < 0) {
        journal = NULL;
        return rc;
    }
    assert_int_equal(writer_create(journal, 8, BLOCK_BYTES, 0, on_durable, NULL, &writer), 0);
    block_init(&block, block_buf, BLOCK_BYTES, BLOCK_BYTES / 2, block_entries, NULL);
    block_free = true;
    (void)journal_keep(journal, 0);
    return 0;
}

/* The process is gone, with the power or without. */
static void down(bool power)
{
    disk_kill(disk);
    if (journal != NULL) {
        writer_destroy(writer);
        journal_close(journal);
    }
    journal = NULL;
    disk_boot(disk, power);
}

static void begin(uint64_t seed)
{
    disk = disk_create();
    disk_seed(disk, seed);
    acknowledged = 0;
}

static void end(void)
{
    down(false);
    disk_destroy(disk);
}

static void append(void)
{
    char hex[33] = "";
    struct event_parts parts = {.doc = span_of("{\"n\":1}"), .journal_hex = hex};
    struct block_line line = {0};
    uint32_t added;

    assert_true(block_free);
    journal_uuid_hex(journal_uuid(journal), hex);
    assert_int_equal(writer_open(writer, &block, 1), 0);
    block_free = false;
    parts.lsn = block_tail_lsn(&block);
    line.len = (uint32_t)event_assemble(&parts, block_tail(&block), &added);
    line.added = (uint16_t)added;
    block_commit(&block, &ring, &line);
    writer_seal(writer);
}

static void finish(enum disk_outcome outcome)
{
    uint64_t user_data;
    int result;

    writer_pump(writer, NULL, false);
    if (disk_pending(disk) == 0)
        return;
    user_data = disk_finish(disk, 0, outcome, EIO, &result);
    writer_complete(writer, user_data, result);
}

static void store(void)
{
    append();
    for (int i = 0; i < 4; i++)
        finish(DISK_DONE);
    assert_true(block_free);
}

/* A write fails, its bytes can be read; a restart counts them; the power is cut. */
static void test_counted_is_durable(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t counted;

        begin(seed);
        assert_int_equal(up(), 0);
        store();
        append();
        finish(DISK_REACHED);
        down(false);
        assert_int_equal(up(), 0);
        counted = journal_events_total(journal);
        assert_int_equal(counted, acknowledged + 1);
        down(true);
        assert_int_equal(up(), 0);
        assert_int_equal(journal_events_total(journal), counted);
        end();
    }
}

/* Each read of a start in turn returns a wrong bit. */
static void test_wrong_bit_at_start(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= READS; n++) {
        begin(n);
        assert_int_equal(up(), 0);
        for (int i = 0; i < 3; i++)
            store();
        down(false);
        disk_flip_read(disk, n);
        if (up() == 0)
            assert_int_equal(journal_events_total(journal), acknowledged);
        down(true);
        assert_int_equal(up(), 0);
        assert_int_equal(journal_events_total(journal), acknowledged);
        end();
    }
}

/* Killed at each operation of its making: what is stored in it later has a name for ever. */
static void test_killed_while_made(void **state)
{
    bool whole = false;

    (void)state;
    for (uint64_t n = 1; !whole; n++) {
        begin(n);
        disk_vanish(disk, n);
        whole = up() == 0 && !disk_gone(disk);
        down(false);
        assert_int_equal(up(), 0);
        store();
        down(true);
        assert_int_equal(up(), 0);
        assert_int_equal(journal_events_total(journal), acknowledged);
        end();
    }
}

/* No write works for long; then all do. */
static void test_failing_for_long(void **state)
{
    (void)state;
    begin(1);
    assert_int_equal(up(), 0);
    append();
    for (int i = 0; i < 40; i++) {
        finish(i % 2 == 0 ? DISK_REACHED : DISK_NOTHING);
        (void)journal_keep(journal, 0);
    }
    assert_false(block_free);
    for (int i = 0; i < 10; i++) {
        finish(DISK_DONE);
        (void)journal_keep(journal, 0);
    }
    assert_int_equal(acknowledged, 1);
    end();
}

/* The header that a segment's follower was given up for is there, the follower's own is damaged. */
static void test_no_wrong_follower(void **state)
{
    static const char zeros[4096] __attribute__((aligned(4096)));
    const struct storage *s;
    struct reader r;
    lsn_t from, to;
    int fd;

    (void)state;
    begin(1);
    s = disk_storage(disk);
    assert_int_equal(up(), 0);
    append();
    finish(DISK_REACHED); /* the header of segment 1 */
    for (int i = 0; i < 4; i++)
        finish(DISK_DONE);
    assert_int_equal(lsn_segment(journal_durable(journal)), 2);
    reader_init(&r, journal);
    assert_int_equal(reader_segment_end(&r, 0, journal_durable(journal), &from, &to), 0);
    assert_int_equal(lsn_segment(to), 2);
    fd = s->ops->open(s->ctx, "/j/00000002.seg", O_WRONLY, 0);
    assert_int_equal(s->ops->pwrite(s->ctx, fd, zeros, sizeof(zeros), 0), sizeof(zeros));
    reader_init(&r, journal);
    assert_int_equal(reader_segment_end(&r, 0, journal_durable(journal), &from, &to), -EUCLEAN);
    end();
}

/* Identity is the one thing without which everything else is worthless. */
static void test_damaged_meta(void **state)
{
    const struct storage *s;
    char c;
    int fd;

    (void)state;
    begin(1);
    s = disk_storage(disk);
    assert_int_equal(up(), 0);
    store();
    down(false);
    fd = s->ops->open(s->ctx, "/j/meta", O_RDWR, 0);
    assert_int_equal(s->ops->pread(s->ctx, fd, &c, 1, 30), 1);
    c = c == '0' ? '1' : '0';
    assert_int_equal(s->ops->pwrite(s->ctx, fd, &c, 1, 30), 1);
    assert_int_equal(up(), -EUCLEAN);
    down(false);
    assert_int_equal(s->ops->unlink(s->ctx, "/j/meta"), 0);
    assert_int_equal(up(), -EUCLEAN); /* nor is a new identity given to what is there */
    end();
}

/* ---- a delivery log ---- */

struct log_rig {
    char *dir;
    struct dlog *d;
    struct dlog_port *port;
    uint64_t acknowledged;
};

static int log_up(struct log_rig *r)
{
    char error[512];
    int rc = tdlog_try_open(r->dir, disk_storage(disk), 1, &r->d, error, sizeof(error));

    if (rc < 0)
        r->d = NULL;
    else
        r->port = dlog_port(r->d, -1);
    return rc;
}

static void log_down(struct log_rig *r, bool power)
{
    disk_kill(disk);
    dlog_close(r->d);
    r->d = NULL;
    disk_boot(disk, power);
}

static void log_begin(struct log_rig *r, uint64_t seed)
{
    begin(seed);
    *r = (struct log_rig){.dir = tdlog_mkdir()};
}

static void log_end(struct log_rig *r)
{
    log_down(r, false);
    disk_destroy(disk);
    tdlog_rmdir(r->dir);
}

static void log_mark(struct log_rig *r, uint64_t seq)
{
    struct record rec = {.type = RECORD_MARK, .mark = {.seq = seq, .note = 2 * seq}};
    void *cookie;

    memset(rec.mark.session, 7, sizeof(rec.mark.session));
    assert_int_equal(dlog_submit(r->port, &rec, r), 0);
    (void)dlog_step(r->d, 0);
    while (dlog_reap(r->port, &cookie, 1) > 0)
        r->acknowledged++;
}

static void newest_mark(void *ctx, const struct block_mark *mark)
{
    *(uint64_t *)ctx = mark->seq;
}

static uint64_t log_newest(struct log_rig *r)
{
    uint64_t seq = 0;

    dlog_each_mark(r->d, newest_mark, &seq);
    return seq;
}

/* Files are made anew after failures, and their names cannot be flushed. */
static void test_log_names(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS / 2; seed++) {
        struct log_rig r;

        log_begin(&r, seed);
        assert_int_equal(log_up(&r), 0);
        for (uint64_t i = 1; i <= 12; i++) {
            if (i == 3)
                disk_fail(disk, DISK_PWRITE, 1, 2, EIO);
            if (i == 3 || i == 8)
                disk_fail(disk, DISK_SYNC_DIR, 1 + seed % 2, 1 + seed % 3, EIO);
            log_mark(&r, i);
        }
        assert_true(r.acknowledged > 2);
        log_down(&r, true);
        assert_int_equal(log_up(&r), 0);
        assert_true(log_newest(&r) >= r.acknowledged);
        log_end(&r);
    }
}

/* A record's write fails, its bytes can be read; a start counts it, or is refused; the power is cut. */
static void test_log_counted_is_durable(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t counted = 0;
        struct log_rig r;

        log_begin(&r, seed);
        assert_int_equal(log_up(&r), 0);
        log_mark(&r, 1);
        disk_fail(disk, DISK_PWRITE, 1, 9, EIO);
        log_mark(&r, 2);
        log_down(&r, false);
        disk_fail(disk, DISK_PWRITE, 1 + seed % 3, 9, EIO);
        if (log_up(&r) == 0)
            counted = log_newest(&r);
        log_down(&r, true);
        assert_int_equal(log_up(&r), 0); /* the ledger is not ahead of it */
        assert_true(log_newest(&r) >= r.acknowledged && log_newest(&r) >= counted);
        log_end(&r);
    }
}

/* Each read of a start in turn returns a wrong bit. */
static void test_log_wrong_bit(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= READS; n++) {
        struct log_rig r;
        log_begin(&r, n);
        assert_int_equal(log_up(&r), 0);
        for (uint64_t i = 1; i <= 3; i++)
            log_mark(&r, i);
        log_down(&r, false);
        disk_flip_read(disk, n);
        if (log_up(&r) == 0)
            assert_int_equal(log_newest(&r), 3);
        log_down(&r, true);
        assert_int_equal(log_up(&r), 0);
        assert_int_equal(log_newest(&r), 3);
        log_end(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counted_is_durable), cmocka_unit_test(test_wrong_bit_at_start),
        cmocka_unit_test(test_killed_while_made),  cmocka_unit_test(test_failing_for_long),
        cmocka_unit_test(test_no_wrong_follower),  cmocka_unit_test(test_damaged_meta),
        cmocka_unit_test(test_log_names),          cmocka_unit_test(test_log_counted_is_durable),
        cmocka_unit_test(test_log_wrong_bit),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    writer_retry_us = 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
