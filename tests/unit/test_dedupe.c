/*
 * Goal: ids are known exactly within the window, and decisions that are durable are read back,
 * whatever a crash or a failing disk leaves of the files. Method: published vectors of SipHash; the
 * window against a list that is searched; a log that is cut at every sector, whose bytes are turned
 * over, and whose writes fail.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "sinks/dedupe/idlog_internal.h"
#include "sinks/dedupe/idwindow.h"
#include "tests/unit/tdlog_sim.h"

#define MINUTE INT64_C(60000000)

static void test_hash(void **state)
{
    /* As openssl mac -macopt size:16 SIPHASH gives them: lengths 0 and 19. */
    static const uint8_t empty[] = {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6,
                                    0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93};
    static const uint8_t text[] = {0xd0, 0xee, 0x5b, 0x1f, 0xd8, 0x47, 0xc6, 0x4e,
                                   0xf0, 0x48, 0x24, 0x76, 0xd1, 0x5f, 0x75, 0x61};
    uint8_t key[ID_KEY_BYTES];
    struct id_hash h;

    (void)state;
    for (uint8_t i = 0; i < ID_KEY_BYTES; i++)
        key[i] = i;
    h = id_hash(key, span_of(""));
    assert_memory_equal(&h, empty, sizeof(h));
    h = id_hash(key, span_of("0123456789abcdefXYZ"));
    assert_memory_equal(&h, text, sizeof(h));
}

/* ---- the window ---- */

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* Few different hashes with few different homes, so that probes run into each other and around the
 * end. */
static struct id_hash hash_of(uint64_t id)
{
    return (struct id_hash){.lo = (id % 3 == 0 ? UINT64_MAX : id % 5 << 61) - (id & 1), .hi = id};
}

struct listed {
    uint64_t id;
    int64_t time_us;
};

static bool list_has(const struct listed *l, size_t from, size_t to, uint64_t id, int64_t now_us)
{
    for (size_t i = from; i < to; i++) {
        if (l[i].id == id && llabs(now_us - l[i].time_us) < 10 * MINUTE)
            return true;
    }
    return false;
}

static void test_window(void **state)
{
    enum { IDS_MAX = 50, STEPS = 20000 };
    struct listed *list = calloc(STEPS, sizeof(*list));
    uint64_t x = 88172645463325252u, evicted = 0;
    size_t from = 0, to = 0;
    struct id_window w;
    int64_t now = 0;

    (void)state;
    assert_int_equal(id_window_create(&w, IDS_MAX, 10 * MINUTE), 0);
    for (int i = 0; i < STEPS; i++) {
        uint64_t id = next_random(&x) % (i % 4000 < 2000 ? 40 : 400) + 1;
        int64_t at = now - (int64_t)(next_random(&x) % 3) * MINUTE; /* another journal is behind */
        bool known = list_has(list, from, to, id, at);

        now += next_random(&x) % 100 == 0 ? 5 * MINUTE : 1000;
        assert_int_equal(id_window_has(&w, hash_of(id), at), known);
        if (known)
            continue;
        if (to - from == IDS_MAX) {
            evicted += now - list[from].time_us < 10 * MINUTE ? 1 : 0;
            from++;
        }
        list[to++] = (struct listed){.id = id, .time_us = at};
        id_window_add(&w, hash_of(id), at, now);
        assert_int_equal(w.evicted, evicted);
        if (i % 97 == 0) {
            id_window_expire(&w, now - 2 * MINUTE);
            while (from < to && now - 2 * MINUTE - list[from].time_us >= 10 * MINUTE)
                from++;
        }
        assert_int_equal(w.next - w.tail, to - from);
    }
    assert_true(evicted > 0);
    id_window_drop(&w, w.next, now);
    for (uint64_t i = 0; i <= (uint64_t)1 << w.bits; i++)
        assert_true(i == (uint64_t)1 << w.bits || w.slot[i] == 0);
    assert_int_equal(id_window_oldest(&w), INT64_MAX);
    id_window_destroy(&w);
    free(list);
}

/* ---- the log ---- */

struct rig {
    char *dir;
    struct loop *loop;
    struct id_log *log;
    uint64_t blocks[4096]; /* visited, in order */
    size_t n_blocks;
    uint64_t ids;
};

static void visit(void *ctx, const struct id_decision *d, struct id_reach *reach)
{
    struct rig *r = ctx;

    assert_true(r->n_blocks < 4096);
    r->blocks[r->n_blocks++] = d->block;
    assert_int_equal(d->n_entries, d->block % 50 + 1);
    assert_int_equal(d->removed[0] & 1, d->block & 1);
    for (uint32_t i = 0; i < d->n_ids; i++)
        assert_int_equal(d->id[i].hi, d->block * 1000 + i);
    r->ids += d->n_ids;
    reach->ids_end = r->ids;
    reach->block[0] = d->block;
}

static int rig_open(struct rig *r)
{
    const struct id_log_config c = {.dir = r->dir,
                                    .type = "order/\xc3\xa4",
                                    .ids_max = 1000,
                                    .loop = r->loop,
                                    .storage = &storage_posix};
    char error[512] = "";

    r->n_blocks = 0;
    r->ids = 0;
    return id_log_open(&c, visit, r, &r->log, error, sizeof(error));
}

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->dir = tdlog_mkdir();
    assert_int_equal(loop_create(&r->loop), 0);
    assert_int_equal(rig_open(r), 0);
}

/* As a crash leaves it: a write that is under way is waited for. */
static void rig_close(struct rig *r)
{
    loop_destroy(r->loop);
    id_log_close(r->log);
    assert_int_equal(loop_create(&r->loop), 0);
}

static void rig_fini(struct rig *r)
{
    char command[512];

    loop_destroy(r->loop);
    id_log_close(r->log);
    snprintf(command, sizeof(command), "rm -rf '%s'/order*", r->dir);
    assert_int_equal(system(command), 0);
    tdlog_rmdir(r->dir);
}

static void append(struct rig *r, uint64_t block)
{
    uint8_t removed[8] = {(uint8_t)(block & 1)};
    struct id_hash id[64];
    struct id_decision d = {.block = block,
                            .n_entries = (uint32_t)(block % 50) + 1,
                            .removed = removed,
                            .n_ids = (uint32_t)(block % 50),
                            .id = id};

    for (uint32_t i = 0; i < d.n_ids; i++)
        id[i] = (struct id_hash){.lo = i, .hi = block * 1000 + i};
    r->ids += d.n_ids;
    assert_int_equal(id_log_room(r->log, d.n_entries), 0);
    id_log_append(r->log, &d, r->ids, 0);
}

/* Until everything is durable; @return turns of the loop that took. */
static int settle(struct rig *r)
{
    int turns = 0;

    while (id_log_durable(r->log) < id_log_appended(r->log)) {
        id_log_run(r->log, true, clock_monotonic_us());
        loop_run_once(r->loop, 10000);
        assert_true(++turns < 1000);
    }
    return turns;
}

static void assert_blocks(const struct rig *r, uint64_t n)
{
    assert_int_equal(r->n_blocks, n);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(r->blocks[i], i + 1);
}

static void test_log(void **state)
{
    struct rig r;
    uint8_t key[ID_KEY_BYTES];
    uint64_t n = 0;

    (void)state;
    rig_init(&r);
    assert_int_equal(r.n_blocks, 0);
    memcpy(key, id_log_key(r.log), sizeof(key));
    for (int start = 0; start < 5; start++) {
        for (int frame = 0; frame < 3; frame++) {
            for (int i = 0; i < 7; i++)
                append(&r, ++n);
            id_log_run(r.log, false, clock_monotonic_us());
            assert_true(id_log_durable(r.log) < id_log_appended(r.log)); /* little: not unasked */
            settle(&r);
        }
        append(&r, 4000); /* never written */
        rig_close(&r);
        assert_int_equal(rig_open(&r), 0);
        assert_blocks(&r, n);
        assert_memory_equal(key, id_log_key(r.log), sizeof(key));
        assert_int_equal(atomic_load(&id_log_stats(r.log)->damaged), 0);
    }
    rig_fini(&r);
}

/* The newest file in use. */
static void newest_file(const struct rig *r, char *out)
{
    uint64_t number = r->log->segment[r->log->n_segments - 1].number;

    id_log_path(r->log, number, "ids", out);
}

/* A torn end costs what it tore and no more; a hole in the middle is counted, what is behind it is
 * read. */
static void test_damage(void **state)
{
    char path[ID_LOG_PATH_BYTES];
    struct rig r;
    uint64_t at[12];
    int fd;

    (void)state;
    rig_init(&r);
    for (uint64_t i = 0; i < 10; i++) {
        append(&r, i + 1);
        settle(&r);
        at[i] = r.log->offset;
    }
    newest_file(&r, path);
    rig_close(&r);
    fd = open(path, O_RDWR | O_CLOEXEC);
    for (uint64_t i = 9; i > 0; i--) {
        for (uint64_t cut = at[i - 1]; cut < at[i]; cut += ID_FRAME_ALIGN) {
            uint8_t sector[ID_FRAME_ALIGN], zero[ID_FRAME_ALIGN] = {0};

            assert_int_equal(pread(fd, sector, sizeof(sector), (off_t)cut), sizeof(sector));
            assert_int_equal(pwrite(fd, zero, sizeof(zero), (off_t)cut), sizeof(zero));
            assert_int_equal(rig_open(&r), 0);
            assert_int_equal(r.n_blocks, i);
            assert_int_equal(atomic_load(&id_log_stats(r.log)->damaged), 0);
            id_log_close(r.log);
            if (cut + ID_FRAME_ALIGN < at[i] || i == 5)
                assert_int_equal(pwrite(fd, sector, sizeof(sector), (off_t)cut), sizeof(sector));
        }
        if (i == 5)
            break; /* that one stays whole */
    }
    assert_int_equal(pwrite(fd, "x", 1, (off_t)at[2] + 70), 1); /* the fourth */
    assert_int_equal(rig_open(&r), 0);
    assert_int_equal(r.n_blocks, 5);
    assert_int_equal(r.blocks[3], 5);
    assert_int_equal(atomic_load(&id_log_stats(r.log)->damaged), 1);
    id_log_close(r.log);
    assert_int_equal(pwrite(fd, "x", 1, 20), 1); /* the header: the segment is set aside */
    assert_int_equal(rig_open(&r), 0);
    assert_int_equal(r.n_blocks, 0);
    assert_int_equal(atomic_load(&id_log_stats(r.log)->damaged), 1);
    id_log_close(r.log);
    assert_int_equal(rig_open(&r), 0);
    assert_int_equal(atomic_load(&id_log_stats(r.log)->damaged), 0);
    close(fd);
    rig_fini(&r);
}

/* A write that fails is repeated in another segment; nothing is acknowledged before, nothing is
 * visited twice. */
static void test_failed_write(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r);
    for (uint64_t i = 1; i <= 6; i++) {
        append(&r, i);
        if (i % 2 == 0) { /* the descriptor of the segment cannot be written to any more */
            int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

            assert_true(dup2(fd, r.log->fd) >= 0);
            close(fd);
            id_log_run(r.log, true, clock_monotonic_us());
            while (r.log->busy)
                loop_run_once(r.loop, 10000);
            assert_true(id_log_durable(r.log) < id_log_appended(r.log));
            assert_int_equal(atomic_load(&id_log_stats(r.log)->errors), i / 2);
            r.log->retry_us = 0; /* a second later */
        }
        settle(&r);
    }
    /* The frame reached the disk although its write was said to have failed. */
    append(&r, 7);
    settle(&r);
    append(&r, 8);
    id_log_run(r.log, true, clock_monotonic_us());
    while (r.log->busy)
        loop_run_once(r.loop, 10000);
    r.log->writing.len = r.log->write.len; /* as if it were still to be confirmed */
    rig_close(&r);
    assert_int_equal(rig_open(&r), 0);
    assert_blocks(&r, 8);
    rig_fini(&r);
}

/* What is read back may be in memory only: it counts as durable when it is written again, which waits
 * until somebody needs it. */
static void test_found(void **state)
{
    size_t segments;
    struct rig r;

    (void)state;
    rig_init(&r);
    assert_int_equal(id_log_appended(r.log), 0);
    for (uint64_t i = 1; i <= 3; i++) {
        append(&r, i);
        if (i != 2)
            settle(&r); /* frames of 1, and of 2 and 3 */
    }
    rig_close(&r);
    assert_int_equal(rig_open(&r), 0);
    assert_blocks(&r, 3);
    assert_int_equal(id_log_appended(r.log), 2);
    assert_int_equal(id_log_durable(r.log), 0);
    segments = r.log->n_segments;
    id_log_run(r.log, false, clock_monotonic_us());
    assert_false(r.log->busy);
    append(&r, 4);
    settle(&r);
    assert_int_equal(id_log_durable(r.log), 3);
    assert_int_equal(r.log->n_segments, segments + 1);
    rig_close(&r);
    assert_int_equal(rig_open(&r), 0);
    assert_blocks(&r, 4);
    rig_fini(&r);
}

/* The same frame twice, in two segments, is visited once, and both segments are needed: the first may not
 * be durable. */
static void test_frame_twice(void **state)
{
    uint8_t *data = calloc(1, ID_SEGMENT_MIN);
    struct id_segment *s, again;
    char path[ID_LOG_PATH_BYTES];
    struct rig r;
    int fd;

    (void)state;
    rig_init(&r);
    append(&r, 1);
    settle(&r);
    append(&r, 2);
    settle(&r);
    newest_file(&r, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, data, ID_SEGMENT_MIN), ID_SEGMENT_MIN);
    close(fd);
    r.n_blocks = 0;
    r.log->frame_no = 0;
    s = &r.log->segment[0];
    assert_int_equal(id_segment_read(r.log, s, data, ID_SEGMENT_MIN, visit, &r), 0);
    again = (struct id_segment){.number = s->number};
    assert_int_equal(id_segment_read(r.log, &again, data, ID_SEGMENT_MIN, visit, &r), 0);
    assert_int_equal(r.n_blocks, 2);
    assert_int_equal(again.reach.block[0], 2);
    assert_int_equal(again.reach.ids_end, s->reach.ids_end);
    free(data);
    rig_fini(&r);
}

/* Segments go when neither ids nor floors need them, come back as free files, and are bounded. */
static void test_reclaim(void **state)
{
    struct rig r;
    lsn_t floor[1] = {0};
    uint64_t block = 0;
    size_t most;

    (void)state;
    rig_init(&r);
    while (r.log->n_segments <= 4 * r.log->reserve) {
        for (int i = 0; i < 900; i++)
            append(&r, block += 50); /* large ones, without ids: block % 50 is 0 */
        append(&r, block += 49);
        block = block / 50 * 50;
        settle(&r);
        r.log->offset += ID_SEGMENT_MIN / 4; /* so that segments are used up soon */
    }
    most = r.log->n_segments;
    assert_true(id_log_pressure(r.log) > 0);
    id_log_reclaim(r.log, id_log_pressure(r.log), floor, 1);
    assert_int_equal(r.log->n_segments, most); /* the floor is in front of them */
    floor[0] = LSN_MAX;
    id_log_reclaim(r.log, 0, floor, 1);
    assert_int_equal(r.log->n_segments, most); /* their ids are in the window */
    id_log_reclaim(r.log, id_log_pressure(r.log), floor, 1);
    assert_int_equal(r.log->n_segments, most - 1);
    assert_int_equal(id_log_pressure(r.log), 0);
    id_log_reclaim(r.log, r.ids, floor, 1);
    assert_int_equal(r.log->n_segments, 1); /* the one that is written to */
    assert_int_equal(r.log->n_segments + r.log->n_spare, r.log->reserve);
    append(&r, 51);
    settle(&r);
    rig_close(&r);
    assert_int_equal(rig_open(&r), 0); /* what free files hold is not read */
    assert_int_equal(r.blocks[r.n_blocks - 1], 51);
    assert_true(r.n_blocks < 4000);
    rig_fini(&r);
}

/* Too much waits for the disk: appending is refused until it has gone. */
static void test_full_buffer(void **state)
{
    struct rig r;
    uint64_t block = 49;

    (void)state;
    rig_init(&r);
    while (id_log_room(r.log, 50) == 0) {
        append(&r, block);
        block += 50;
    }
    assert_int_equal(id_log_room(r.log, 50), -EAGAIN);
    id_log_run(r.log, false, clock_monotonic_us());
    assert_int_equal(id_log_room(r.log, 50), 0);
    settle(&r);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash),         cmocka_unit_test(test_window),
        cmocka_unit_test(test_log),          cmocka_unit_test(test_damage),
        cmocka_unit_test(test_failed_write), cmocka_unit_test(test_frame_twice),
        cmocka_unit_test(test_reclaim),      cmocka_unit_test(test_full_buffer),
        cmocka_unit_test(test_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
