/*
 * Goal: the writer keeps what writer_room() promises, for any number of blocks and for ever: a
 * block that was admitted finds its place. Method: the real writer over queued writes that the test
 * ends as it likes; the source is included, so that its indexes can be set just in front of where
 * they wrap. The schedules of test_journal_sim.c cover failures and crashes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "dataplane/journal/writer.c"
#include "tests/unit/tcore_storage.h"

#define SEGMENT  (256u << 10)
#define BLOCK    16384u
#define FULL     8192u
#define N_BLOCKS 200u
#define LINE     300u

static struct {
    char *dir;
    struct tcore_storage *disk;
    struct journal *journal;
    struct writer *w;
    struct block block[N_BLOCKS];
    struct block *free[N_BLOCKS];
    uint32_t n_free;
    uint64_t seq, durable_seq;
    struct block_ring ring;
} rig;

static struct block_entry
    *entries; /* never used by two blocks beyond what fits: each has its own part */

#define ENTRIES 64u

static void on_durable(void *ctx, struct block *b)
{
    (void)ctx;
    assert_true(b->seq == rig.durable_seq + 1); /* in order, none left out */
    rig.durable_seq = b->seq;
    rig.free[rig.n_free++] = b;
}

static void rig_up(uint32_t spares)
{
    struct journal_config config = {
        .segment_bytes = SEGMENT, .limit_bytes = 64 * SEGMENT, .spares = spares};
    char error[300] = "", path[300];

    memset(&rig, 0, sizeof(rig));
    rig.dir = tcore_mkdir(true);
    snprintf(path, sizeof(path), "%s/j", rig.dir);
    rig.disk = tcore_storage_create(TCORE_QUEUE);
    if (journal_open(path, "m", &config, tcore_storage_ops(rig.disk), &rig.journal, error,
                     sizeof(error)) != 0)
        fail_msg("%s", error);
    assert_int_equal(
        writer_create(rig.journal, N_BLOCKS, BLOCK, UINT64_C(5) << 56, on_durable, NULL, &rig.w),
        0);
    entries = calloc(N_BLOCKS * ENTRIES, sizeof(*entries));
    for (uint32_t i = 0; i < N_BLOCKS; i++) {
        block_init(&rig.block[i], aligned_alloc(BLOCK_ALIGN, BLOCK), BLOCK, FULL,
                   entries + i * ENTRIES, NULL);
        rig.free[rig.n_free++] = &rig.block[i];
    }
    rig.ring = (struct block_ring){.name = {"t", 1}};
    (void)journal_keep(rig.journal, 0);
}

static void rig_down(void)
{
    tcore_kill(rig.disk, 1);
    writer_destroy(rig.w);
    journal_close(rig.journal);
    for (uint32_t i = 0; i < N_BLOCKS; i++)
        free(rig.block[i].buf);
    free(entries);
    tcore_storage_destroy(rig.disk);
    tcore_rmdir(rig.dir);
}

/* One line as admission counts it. @return false when there is no place for it. */
static bool line_add(uint32_t len)
{
    struct block *b = writer_open_block(rig.w);
    struct block_line line = {.len = len};

    if (b != NULL && !block_fits(b, &rig.ring, len)) {
        writer_seal(rig.w);
        b = NULL;
    }
    if (b == NULL) {
        assert_true(rig.n_free > 0);
        b = rig.free[--rig.n_free];
        if (writer_open(rig.w, b, rig.seq + 1) != 0) {
            rig.free[rig.n_free++] = b;
            return false;
        }
        rig.seq++;
    }
    memset(block_tail(b), 'x', len);
    block_commit(b, &rig.ring, &line);
    if (block_is_full(b))
        writer_seal(rig.w);
    return true;
}

/* Ends all writes, from the newest to the oldest of those in flight. */
static void finish_all(void)
{
    int result;

    do {
        writer_pump(rig.w, NULL, false);
        while (tcore_pending(rig.disk) > 0) {
            uint64_t data =
                tcore_finish(rig.disk, tcore_pending(rig.disk) - 1, TCORE_DONE, 0, &result);

            writer_complete(rig.w, data, result);
        }
    } while (writer_queued(rig.w) > 0);
}

/* What room promises is kept, from any state: lines as long as there are bytes left in the promise.
 */
static void test_room_is_kept(void **state)
{
    uint64_t seed = tcore_seed("writer room", 11);

    (void)state;
    for (int round = 0; round < 60; round++) {
        rig_up(1 + (uint32_t)(tcore_random(&seed) % 3));
        for (uint64_t i = tcore_random(&seed) % 300; i > 0 && writer_room(rig.w) > 4 * BLOCK; i--)
            assert_true(line_add(LINE));
        for (;;) {
            uint64_t room = writer_room(rig.w), used = BLOCK_ALIGN;

            if (room < 2 * BLOCK || rig.n_free < 60)
                break;
            while (used + LINE + sizeof(struct block_entry) + BLOCK_ALIGN / 8 < room &&
                   rig.n_free > 2) {
                uint64_t before = rig.seq;

                assert_true(line_add(LINE));
                used += LINE + sizeof(struct block_entry) + (rig.seq - before) * BLOCK_ALIGN;
            }
        }
        rig_down();
    }
}

/* Writes stand still, the keeper does not: at most HEADERS_MAX segments can be taken, and room
 * knows it. */
static void test_room_without_headers(void **state)
{
    (void)state;
    rig_up(16);
    while (writer_room(rig.w) >= 2 * BLOCK && rig.n_free > 1) {
        assert_true(line_add(FULL)); /* a block each */
        (void)journal_keep(rig.journal, 0);
    }
    assert_true(rig.w->headers_used > 2);
    finish_all();
    assert_true(rig.durable_seq == rig.seq);
    rig_down();
}

static void test_header_limit(void **state)
{
    uint64_t room;

    (void)state;
    rig_up(16);
    rig.w->headers_used = HEADERS_MAX; /* as after eight segments that are not durable */
    room = writer_room(rig.w);
    assert_true(room == 0);
    rig.w->headers_used = HEADERS_MAX - 2;
    assert_true(writer_room(rig.w) > 0 && writer_room(rig.w) < 2 * SEGMENT);
    rig.w->headers_used = 0;
    rig_down();
}

/* Many blocks at once, over the wrap of the 32-bit indexes, completions out of order. */
static void test_many_blocks_over_the_wrap(void **state)
{
    (void)state;
    rig_up(16);
    rig.w->head = rig.w->tail = UINT32_MAX - 50;
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i + 1 < N_BLOCKS && writer_room(rig.w) >= 2 * BLOCK; i++)
            assert_true(line_add(FULL));
        assert_true(writer_queued(rig.w) > 60);
        finish_all();
        assert_true(rig.durable_seq == rig.seq);
        (void)journal_keep(rig.journal, journal_durable(rig.journal));
    }
    assert_true(rig.w->tail < 1000); /* it has wrapped */
    rig_down();
}

/* Ends the write that is in flight, and nothing else happens. */
static void finish_one(void)
{
    int result;
    uint64_t data = tcore_finish(rig.disk, 0, TCORE_DONE, 0, &result);

    writer_complete(rig.w, data, result);
}

/* An open block waits for input that is at hand, not for ever, and for nothing else. */
static void test_gathers_what_is_at_hand(void **state)
{
    (void)state;
    rig_up(4);
    assert_true(line_add(LINE));
    finish_all(); /* the segment's header and a block */
    assert_true(line_add(LINE));
    assert_false(writer_pump(rig.w, NULL, true));
    assert_int_equal(tcore_pending(rig.disk), 0);
    assert_int_equal(writer_due_us(rig.w), rig.w->opened_us + WRITER_GATHER_US);
    rig.w->opened_us -= WRITER_GATHER_US;        /* so long ago */
    assert_true(writer_pump(rig.w, NULL, true)); /* in the ring: to be submitted */
    assert_int_equal(tcore_pending(rig.disk), 1);
    assert_true(writer_due_us(rig.w) == INT64_MAX);
    assert_true(line_add(LINE)); /* waits for the one in flight, and for no time */
    assert_false(writer_pump(rig.w, NULL, true));
    assert_false(writer_pump(rig.w, NULL, false));
    assert_int_equal(tcore_pending(rig.disk), 1);
    assert_true(writer_due_us(rig.w) == INT64_MAX);
    finish_one();
    assert_false(writer_pump(rig.w, NULL, true));
    assert_int_equal(tcore_pending(rig.disk), 0);
    assert_true(writer_pump(rig.w, NULL, false)); /* nothing more came */
    assert_int_equal(tcore_pending(rig.disk), 1);
    finish_one();
    assert_true(rig.durable_seq == rig.seq);
    rig_down();
}

/* With an age it waits that long, whatever is at hand; a writer that failed is due at no time. */
static void test_age(void **state)
{
    (void)state;
    rig_up(4);
    assert_true(line_add(LINE));
    finish_all();
    writer_set_age(rig.w, 1000000);
    assert_true(line_add(LINE));
    writer_pump(rig.w, NULL, false);
    writer_pump(rig.w, NULL, true);
    assert_int_equal(tcore_pending(rig.disk), 0);
    assert_int_equal(writer_due_us(rig.w), rig.w->opened_us + 1000000);
    rig.w->failed = true; /* a worker that slept until then would spin */
    assert_true(writer_due_us(rig.w) == INT64_MAX);
    rig.w->failed = false;
    rig.w->opened_us -= 1000000;
    writer_pump(rig.w, NULL, false);
    assert_int_equal(tcore_pending(rig.disk), 1);
    finish_one();
    assert_true(rig.durable_seq == rig.seq);
    rig_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_is_kept),
        cmocka_unit_test(test_room_without_headers),
        cmocka_unit_test(test_header_limit),
        cmocka_unit_test(test_many_blocks_over_the_wrap),
        cmocka_unit_test(test_gathers_what_is_at_hand),
        cmocka_unit_test(test_age),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
