/*
 * Goal: a file that the spool says is written is there after any crash, gives exactly its lines and
 * plan, or says that it does not; and nothing that still counts is ever removed. Method: a simulated
 * disk whose every operation fails in turn, vanishes in turn, and whose power is cut; files whose
 * bytes are turned over one by one.
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
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/base/crc32c.h"
#include "sinks/delivery/spool.h"
#include "sinks/delivery/state_internal.h"
#include "tests/fault/sim_disk.h"
#include "tests/unit/tdlog_sim.h"

#define LOG_ID "00112233445566778899aabbccddeeff"
#define LINES  5000u

/* One plan and its lines in pieces. */
struct fixture {
    struct disk *disk;
    struct delivery_state *state;
    struct spool *spool;
    struct spool_port *port;
    struct spool_job job;
    struct plan plan, found;
    char lines[LINES], back[LINES];
    struct iovec iov[3], room[2];
    int done;
};

static void apply(struct delivery_state *s, const struct record *r)
{
    static uint8_t buf[RECORD_BYTES_MAX];
    static struct record_view v;

    assert_int_equal(record_decode(buf, record_encode(r, 0, buf), &v), 0);
    assert_int_equal(state_apply(s, &v), 0);
}

static int try_open(struct fixture *f)
{
    struct spool_config config = {.dir = "/spool", .log_id = LOG_ID, .ports_max = 1};
    char error[256];

    return spool_open(&config, disk_storage(f->disk), f->state, &f->spool, error, sizeof(error));
}

static void up(struct fixture *f)
{
    assert_int_equal(try_open(f), 0);
    f->port = spool_port(f->spool, -1);
}

static void setup(struct fixture *f)
{
    const struct storage *s;
    struct record r = {.type = RECORD_PLAN, .plan = &f->plan};

    memset(f, 0, sizeof(*f));
    f->disk = disk_create();
    disk_seed(f->disk, 7);
    s = disk_storage(f->disk);
    assert_int_equal(s->ops->mkdir(s->ctx, "/spool", 0700), 0);
    assert_int_equal(s->ops->sync_dir(s->ctx, ""), 0);
    f->state = state_create();
    for (uint32_t i = 0; i < LINES; i++)
        f->lines[i] = (char)(i % 50 == 49 ? '\n' : 'a' + i % 26);
    tdlog_plan(&f->plan, 77, "order", 1, 100, 200);
    f->plan.bytes = LINES;
    f->plan.lines = f->plan.events = LINES / 50;
    f->plan.crc32c = crc32c(0, f->lines, LINES);
    apply(f->state, &r);
    f->iov[0] = (struct iovec){f->lines, 1};
    f->iov[1] = (struct iovec){f->lines + 1, 2000};
    f->iov[2] = (struct iovec){f->lines + 2001, LINES - 2001};
    f->room[0] = (struct iovec){f->back, 3000};
    f->room[1] = (struct iovec){f->back + 3000, LINES - 3000};
    up(f);
}

static void teardown(struct fixture *f)
{
    spool_close(f->spool);
    state_destroy(f->state);
    disk_destroy(f->disk);
}

static void on_done(struct spool_job *j)
{
    container_of(j, struct fixture, job)->done++;
}

/* @return the job's result. */
static int run(struct fixture *f, enum spool_action action)
{
    f->job = (struct spool_job){.action = action, .id = f->plan.id, .done = on_done};
    if (action == SPOOL_WRITE) {
        f->job.plan = &f->plan;
        f->job.iov = f->iov;
        f->job.n_iov = 3;
    } else if (action == SPOOL_READ) {
        memset(f->back, 0, LINES);
        f->job.found = &f->found;
        f->job.iov = f->room;
        f->job.n_iov = 2;
    }
    f->done = 0;
    assert_true(spool_ready(f->port));
    spool_submit(f->port, &f->job);
    assert_true(spool_step(f->spool));
    assert_false(spool_step(f->spool));
    spool_reap(f->port);
    assert_int_equal(f->done, 1);
    return f->job.result;
}

static void check_read(struct fixture *f)
{
    assert_int_equal(run(f, SPOOL_READ), 0);
    assert_memory_equal(f->back, f->lines, LINES);
    assert_memory_equal(&f->found.key, &f->plan.key, sizeof(f->plan.key));
    assert_string_equal(f->found.object, f->plan.object);
    assert_true(f->found.id == 77 && f->found.crc32c == f->plan.crc32c);
    assert_int_equal(f->found.n_ranges, 1);
}

static void test_round_trip(void **state)
{
    struct fixture *f = malloc(sizeof(*f));

    (void)state;
    assert_non_null(f);
    setup(f);
    assert_int_equal(run(f, SPOOL_READ), -ENOENT);
    assert_string_equal(f->job.text, "the file is missing");
    assert_int_equal(run(f, SPOOL_WRITE), 0);
    check_read(f);
    assert_int_equal(run(f, SPOOL_WRITE), 0); /* again: it is replaced */
    check_read(f);
    assert_int_equal(run(f, SPOOL_REMOVE), 0);
    assert_int_equal(run(f, SPOOL_REMOVE), 0); /* gone is gone */
    assert_int_equal(run(f, SPOOL_READ), -ENOENT);
    f->lines[10] ^= 1; /* not what was planned: never written */
    assert_int_equal(run(f, SPOOL_WRITE), -EUCLEAN);
    assert_int_equal(run(f, SPOOL_READ), -ENOENT);
    assert_true(atomic_load(&spool_stats(f->spool)->written) == 2);
    assert_true(atomic_load(&spool_stats(f->spool)->damaged) == 3);
    teardown(f);
    free(f);
}

static void reboot(struct fixture *f, bool power)
{
    spool_close(f->spool);
    f->spool = NULL;
    disk_kill(f->disk);
    disk_boot(f->disk, power);
    up(f);
}

/* Each operation fails in turn, once or for good; a write that succeeds afterwards holds. */
static void test_every_failure(void **state)
{
    static const enum disk_op ops[] = {DISK_OPEN,   DISK_PWRITE,   DISK_SYNC,  DISK_SYNC_DIR,
                                       DISK_RENAME, DISK_ALLOCATE, DISK_UNLINK};
    struct fixture *f = malloc(sizeof(*f));

    (void)state;
    assert_non_null(f);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        for (uint64_t n = 1; n <= 3; n++) {
            int rc;

            setup(f);
            disk_fail(f->disk, ops[i], n, 1, n == 2 ? ENOSPC : EIO);
            rc = run(f, SPOOL_WRITE);
            if (rc == 0)
                rc = run(f, SPOOL_WRITE);
            assert_true(rc == 0 || f->job.text[0] != '\0');
            if (rc != 0) {
                if (ops[i] == DISK_SYNC_DIR)
                    assert_int_equal(run(f, SPOOL_READ),
                                     -ENOENT); /* it does not count: it is gone */
                assert_int_equal(run(f, SPOOL_WRITE), 0);
            }
            reboot(f, true);
            check_read(f);
            teardown(f);
        }
    }
    free(f);
}

/* The process ends, or the power goes, at each operation: what was said to be written is there, and
 * what was not gives its lines or an error. */
static void test_every_end(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    bool finished = false;

    (void)state;
    assert_non_null(f);
    for (uint64_t n = 1; !finished; n++) {
        for (uint64_t seed = 1; seed <= 12; seed++) {
            int rc;

            setup(f);
            disk_seed(f->disk, seed);
            disk_vanish(f->disk, n);
            rc = run(f, SPOOL_WRITE);
            finished = !disk_gone(f->disk);
            assert_true(rc == 0 || !finished);
            reboot(f, seed % 2 == 0);
            if (rc == 0 || run(f, SPOOL_READ) == 0)
                check_read(f);
            assert_int_equal(run(f, SPOOL_WRITE), 0); /* whatever lies there */
            check_read(f);
            teardown(f);
        }
    }
    free(f);
}

/* A bit turned over anywhere is seen, and so is a file cut short. */
static void test_damage(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    uint64_t reads;

    (void)state;
    assert_non_null(f);
    setup(f);
    assert_int_equal(run(f, SPOOL_WRITE), 0);
    reads = disk_count(f->disk, DISK_PREAD);
    check_read(f);
    reads = disk_count(f->disk, DISK_PREAD) - reads;
    assert_true(reads >= 4); /* head, plan, and the lines in two pieces */
    for (int i = 0; i < 400; i++) {
        disk_flip_read(f->disk, 1 + (uint64_t)i % reads);
        assert_int_equal(run(f, SPOOL_READ), -EUCLEAN);
        disk_heal(f->disk);
    }
    check_read(f);
    f->plan.id = 78; /* another plan's file under its name */
    assert_int_equal(disk_storage(f->disk)->ops->rename(disk_storage(f->disk)->ctx,
                                                        "/spool/00112233_000000000000004d.plan",
                                                        "/spool/00112233_000000000000004e.plan"),
                     0);
    assert_int_equal(run(f, SPOOL_READ), -EUCLEAN);
    teardown(f);
    free(f);
}

static void touch(const struct fixture *f, const char *path)
{
    const struct storage *s = disk_storage(f->disk);
    int fd = s->ops->open(s->ctx, path, O_RDWR | O_CREAT, 0600);

    assert_true(fd >= 0);
    s->ops->close(s->ctx, fd);
}

static bool is_there(const struct fixture *f, const char *path)
{
    const struct storage *s = disk_storage(f->disk);
    int fd = s->ops->open(s->ctx, path, O_RDONLY, 0);

    if (fd >= 0)
        s->ops->close(s->ctx, fd);
    return fd >= 0;
}

/* At a start only files of finished plans and unfinished files go: never another log's, never one of a
 * plan that is not confirmed, and nothing before the start is sure. */
static void test_clean(void **state)
{
    static const char other[] = "/spool/ffffffff_000000000000004d.plan", odd[] = "/spool/notes.txt",
                      finished[] = "/spool/00112233_0000000000000005.plan",
                      temporary[] = "/spool/00112233_000000000000004d.plan.tmp",
                      waits[] = "/spool/00112233_000000000000004d.plan";
    struct fixture *f = malloc(sizeof(*f));

    (void)state;
    assert_non_null(f);
    setup(f);
    assert_int_equal(run(f, SPOOL_WRITE), 0);
    touch(f, other);
    touch(f, odd);
    touch(f, finished);
    touch(f, temporary);
    reboot(f, false);
    assert_true(spool_has(f->spool, 77));
    assert_false(spool_has(f->spool, 6));
    assert_true(is_there(f, finished) && is_there(f, temporary));
    spool_clean(f->spool);
    assert_true(is_there(f, other) && is_there(f, odd) && is_there(f, waits));
    assert_false(is_there(f, finished) || is_there(f, temporary));
    spool_close(f->spool);
    f->spool = NULL;
    disk_fail(f->disk, DISK_LIST, 1, 1, EIO);
    assert_int_equal(try_open(f), -EIO);
    teardown(f);
    free(f);
}

static void on_many(struct spool_job *j)
{
    assert_int_equal(j->result, 0);
    j->result = 2;
}

/* With its thread: many jobs, all done, and the port's owner is woken. */
static void test_thread(void **state)
{
    char *dir = tdlog_mkdir(), path[128];
    struct fixture *f = malloc(sizeof(*f));
    struct spool_config config = {.dir = dir, .log_id = LOG_ID, .ports_max = 1};
    struct spool_job *jobs = calloc(SPOOL_JOBS_MAX, sizeof(*jobs));
    int fd = eventfd(0, 0);
    char error[256];

    (void)state;
    assert_true(f != NULL && jobs != NULL && fd >= 0);
    setup(f);
    spool_close(f->spool);
    assert_int_equal(spool_open(&config, &storage_posix, f->state, &f->spool, error, sizeof(error)),
                     0);
    f->port = spool_port(f->spool, fd);
    assert_int_equal(spool_start(f->spool), 0);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < SPOOL_JOBS_MAX; i++) {
            jobs[i] = (struct spool_job){.action = round == 0 ? SPOOL_WRITE : SPOOL_REMOVE,
                                         .id = 77,
                                         .plan = &f->plan,
                                         .iov = f->iov,
                                         .n_iov = 3,
                                         .result = 1,
                                         .done = on_many};
            assert_true(spool_ready(f->port));
            spool_submit(f->port, &jobs[i]);
        }
        assert_false(spool_ready(f->port));
        while (!spool_ready(f->port) || jobs[SPOOL_JOBS_MAX - 1].result == 1) {
            uint64_t n;

            assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
            spool_reap(f->port);
        }
        for (uint32_t i = 0; i < SPOOL_JOBS_MAX; i++)
            assert_int_equal(jobs[i].result, 2);
    }
    spool_stop(f->spool);
    snprintf(path, sizeof(path), "%.40s/00112233_000000000000004d.plan", dir);
    assert_int_equal(access(path, F_OK), -1);
    teardown(f);
    tdlog_rmdir(dir);
    close(fd);
    free(jobs);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_every_failure),
        cmocka_unit_test(test_every_end),  cmocka_unit_test(test_damage),
        cmocka_unit_test(test_clean),      cmocka_unit_test(test_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
