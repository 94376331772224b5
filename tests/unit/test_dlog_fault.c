/*
 * The delivery log over a simulated disk: every n-th operation failing, the power cut at every
 * operation, torn tails and flipped bits. Goal: what was acknowledged is recovered, what is
 * recovered was submitted, damage in front of acknowledged records is refused. The seed of unsynced
 * blocks is the number of the run.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "tests/unit/tdlog_sim.h"

#define PLANS 12

struct rig {
    char *dir;
    struct tdlog_sim *sim;
    struct storage storage;
    struct dlog *d;
    struct dlog_port *p;
    int fd;
};

static void rig_init(struct rig *r)
{
    r->dir = tdlog_mkdir();
    r->sim = tdlog_sim_create();
    r->storage = tdlog_sim_storage(r->sim);
    r->d = NULL;
    r->fd = eventfd(0, EFD_CLOEXEC);
}

static void rig_fini(struct rig *r)
{
    if (r->d != NULL)
        dlog_kill(r->d);
    dlog_close(r->d);
    close(r->fd);
    tdlog_sim_destroy(r->sim);
    tdlog_rmdir(r->dir);
}

static void rig_start(struct rig *r)
{
    r->p = dlog_port(r->d, r->fd);
    assert_int_equal(dlog_start(r->d), 0);
}

static void rig_open(struct rig *r)
{
    r->d = tdlog_open(r->dir, &r->storage, 1);
    rig_start(r);
}

static void rig_crash(struct rig *r)
{
    dlog_kill(r->d);
    dlog_close(r->d);
    r->d = NULL;
}

/* The plan's length is larger than a block, so that frames span several. */
static void make_plan(struct plan *p, uint64_t id, uint32_t ranges)
{
    tdlog_plan(p, id, "order.created", 0, id * 100, id * 100 + 100);
    p->n_ranges = ranges;
    for (uint32_t i = 1; i < ranges; i++)
        p->range[i] = (struct plan_range){
            .journal = tdlog_journal(i), .from = id * 100, .to = id * 100 + 100};
}

static void count_mark(void *ctx, const struct block_mark *mark)
{
    uint64_t *seq = ctx;

    assert_int_equal(mark->session[15], 7);
    assert_int_equal(mark->note, 2 * mark->seq);
    assert_int_equal(*seq, 0); /* one session */
    *seq = mark->seq;
}

/* The newest mark that is known. */
static uint64_t recovered_mark(struct rig *r)
{
    uint64_t seq = 0;

    dlog_each_mark(r->d, count_mark, &seq);
    return seq;
}

/* Submits marks 1..PLANS, one by one. @return how many were acknowledged. */
static unsigned int run_marks(struct rig *r, int timeout_ms)
{
    unsigned int acked = 0;

    for (; acked < PLANS; acked++) {
        struct record rec = {.type = RECORD_MARK,
                             .mark = {.seq = acked + 1, .note = 2 * (acked + 1)}};

        memset(rec.mark.session, 7, sizeof(rec.mark.session));
        if (!tdlog_do(r->p, &rec, timeout_ms))
            break;
    }
    return acked;
}

/* Submits plans 1..PLANS, one by one. @return how many were acknowledged. */
static unsigned int run_plans(struct rig *r, int timeout_ms)
{
    unsigned int acked = 0;

    for (; acked < PLANS; acked++) {
        struct plan plan;
        struct record rec = {.type = RECORD_PLAN, .plan = &plan};

        make_plan(&plan, acked + 1, 60);
        if (!tdlog_do(r->p, &rec, timeout_ms))
            break;
    }
    return acked;
}

static void count_plan(void *ctx, const struct plan *plan, enum plan_status status,
                       uint64_t load_id, const char *text)
{
    unsigned int *n = ctx;
    struct plan want;

    (void)text;
    make_plan(&want, plan->id, 60);
    assert_memory_equal(plan->range, want.range, 60 * sizeof(want.range[0]));
    assert_string_equal(plan->object, want.object);
    assert_int_equal(status, PLAN_PENDING);
    assert_int_equal(load_id, 0);
    assert_int_equal(plan->id, ++*n); /* no gaps */
}

static unsigned int recovered(struct rig *r)
{
    unsigned int n = 0;

    state_each_plan(dlog_state(r->d), count_plan, &n);
    return n;
}

static const char *const op_name[] = {"open",     "pread",    "pwrite", "sync",
                                      "sync_dir", "allocate", "rename"};

/* One failure, then a healthy disk: everything is acknowledged in the end, and is there after a
 * power cut. */
static void fail_nth(enum tdlog_op op, unsigned int n)
{
    char error[512];
    struct rig r;
    unsigned int acked = 0;

    rig_init(&r);
    tdlog_sim_fail(r.sim, op, n, 1);
    if (tdlog_try_open(r.dir, &r.storage, 1, &r.d, error, sizeof(error)) == 0) {
        rig_start(&r);
        acked = run_plans(&r, 5000);
        assert_int_equal(acked, PLANS);
        assert_int_equal(run_marks(&r, 5000), PLANS);
        rig_crash(&r);
    } else {
        assert_true(error[0] != '\0');
        r.d = NULL;
    }
    tdlog_sim_reboot(r.sim, n);
    rig_open(&r);
    dlog_stop(r.d);
    assert_int_equal(recovered(&r), acked);
    assert_int_equal(recovered_mark(&r), acked);
    rig_fini(&r);
}

static unsigned int healthy_count(enum tdlog_op op)
{
    struct rig r;
    unsigned int n;

    rig_init(&r);
    rig_open(&r);
    assert_int_equal(run_plans(&r, 5000), PLANS);
    n = tdlog_sim_count(r.sim, op);
    rig_fini(&r);
    return n;
}

static void test_fail_every_operation(void **state)
{
    (void)state;
    for (int op = 0; op < TDLOG_OPS; op++) {
        unsigned int n = healthy_count((enum tdlog_op)op);

        for (unsigned int i = 1; i <= n + 1; i++)
            fail_nth((enum tdlog_op)op, i);
        print_message("%s: %u places\n", op_name[op], n);
    }
}

/* The second and third lives fail as well: reads of recovery, switches at start. */
static void test_fail_reopen(void **state)
{
    (void)state;
    for (int op = 0; op < TDLOG_OPS; op++) {
        for (unsigned int i = 1; i <= 8; i++) {
            char error[512];
            struct rig r;

            rig_init(&r);
            rig_open(&r);
            assert_int_equal(run_plans(&r, 5000), PLANS);
            rig_crash(&r);
            tdlog_sim_fail(r.sim, (enum tdlog_op)op, i, 1);
            if (tdlog_try_open(r.dir, &r.storage, 1, &r.d, error, sizeof(error)) == 0) {
                assert_int_equal(recovered(&r), PLANS);
                rig_crash(&r);
            }
            tdlog_sim_reboot(r.sim, i);
            rig_open(&r);
            dlog_stop(r.d);
            assert_int_equal(recovered(&r), PLANS);
            rig_fini(&r);
        }
    }
}

/* The power goes at every operation that changes the disk, with three fates of what was not
 * flushed. */
static void test_power_cut(void **state)
{
    struct rig r;
    unsigned int n;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    assert_int_equal(run_plans(&r, 5000), PLANS);
    n = tdlog_sim_changes(r.sim);
    rig_fini(&r);
    for (unsigned int i = 1; i <= 3 * (n + 1); i++) {
        char error[512];
        unsigned int acked = 0, marks = 0;
        unsigned int found;

        rig_init(&r);
        tdlog_sim_cut_after(r.sim, (i - 1) / 3 + 1);
        if (tdlog_try_open(r.dir, &r.storage, 1, &r.d, error, sizeof(error)) == 0) {
            rig_start(&r);
            marks = i % 2 == 0 ? run_marks(&r, 60) : 0;
            if (i % 2 != 0 || marks == PLANS) /* else the answer to a mark is still to come */
                acked = run_plans(&r, 60);
            rig_crash(&r);
        }
        tdlog_sim_reboot(r.sim, i);
        rig_open(&r);
        dlog_stop(r.d);
        found = recovered(&r);
        assert_true(found >= acked && found <= acked + 1);
        assert_in_range(recovered_mark(&r), marks, marks + 1);
        rig_fini(&r);
    }
}

/* Where the frames of a file begin. @return the end of the last. */
static uint64_t frames(const uint8_t *file, size_t len, uint64_t *place, unsigned int max,
                       unsigned int *n)
{
    struct file_header h;
    struct frame_header f;
    uint64_t at = FILE_HEADER_BYTES;

    assert_int_equal(file_header_decode(file, len, &h), 0);
    for (*n = 0; *n < max && frame_decode(file + at, len - at, &h.log, at, &f) == 0;
         at += frame_span(f.payload_len))
        place[(*n)++] = at;
    return at;
}

static int recover_copy(const uint8_t *copy, size_t len, unsigned int *plans, char *error)
{
    struct log_image im[DLOG_FILES] = {{.data = (uint8_t *)(uintptr_t)copy, .len = len}, {0}};
    struct recover_hooks none = {0};
    struct recovered out;
    int rc = dlog_recover(im, &none, &out, error, 512);

    *plans = 0;
    if (rc == 0)
        state_each_plan(out.state, count_plan, plans);
    if (rc == 0)
        state_destroy(out.state);
    return rc;
}

static uint8_t *written_file(struct rig *r, size_t *len)
{
    char path[512];
    uint8_t *file;
    uint8_t *copy;

    rig_init(r);
    rig_open(r);
    assert_int_equal(run_plans(r, 5000), PLANS);
    snprintf(path, sizeof(path), "%s/dlog-0", r->dir);
    file = tdlog_sim_file(r->sim, path, len);
    assert_non_null(file);
    *len = 256 << 10; /* enough: the rest is zeros */
    copy = malloc(*len);
    assert_non_null(copy);
    memcpy(copy, file, *len);
    return copy;
}

/* The last frame, cut at every byte: always one record less, never more, never an error. */
static void test_torn_tail(void **state)
{
    uint64_t place[64];
    char error[512];
    struct rig r;
    size_t len;
    uint8_t *file = written_file(&r, &len);
    uint8_t *copy = malloc(len);
    unsigned int plans;
    unsigned int n;
    uint64_t used;

    (void)state;
    assert_non_null(copy);
    (void)frames(file, len, place, 64, &n);
    assert_int_equal(recover_copy(file, len, &plans, error), 0);
    assert_int_equal(plans, PLANS);
    used = FRAME_HEADER_BYTES + (uint64_t)file[place[n - 1] + 8] + 256u * file[place[n - 1] + 9];
    for (uint64_t keep = 0; keep < used; keep++) {
        uint64_t from = place[n - 1] + keep;

        memcpy(copy, file, len);
        memset(copy + from, 0xa5, len - from < 8192 ? len - from : 8192);
        assert_int_equal(recover_copy(copy, from + 4096 < len ? len : len, &plans, error), 0);
        assert_int_equal(plans, PLANS - 1);
    }
    free(copy);
    free(file);
    rig_fini(&r);
}

/* Any bit in front of the last frame: refused. In the last frame: that frame is cut. */
static void test_bit_flips(void **state)
{
    uint64_t place[64];
    char error[512];
    struct rig r;
    size_t len;
    uint8_t *file = written_file(&r, &len);
    unsigned int plans;
    unsigned int n;
    uint64_t seed = 42;

    (void)state;
    (void)frames(file, len, place, 64, &n);
    assert_int_equal(n, PLANS + 2); /* snapshot, its end, and one a plan */
    for (unsigned int i = 0; i < 4000; i++) {
        unsigned int f = (unsigned int)(tdlog_random(&seed) % n);
        uint32_t payload = (uint32_t)(file[place[f] + 8] | file[place[f] + 9] << 8);
        uint64_t bit = tdlog_random(&seed) % (8 * (FRAME_HEADER_BYTES + payload));

        file[place[f] + bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (f == n - 1) {
            assert_int_equal(recover_copy(file, len, &plans, error), 0);
            assert_int_equal(plans, PLANS - 1);
        } else {
            assert_int_equal(recover_copy(file, len, &plans, error), -EUCLEAN);
            assert_non_null(strstr(error, "damaged"));
        }
        file[place[f] + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    file[20] ^= 1; /* the header: records are there, but nothing says whose */
    assert_int_equal(recover_copy(file, len, &plans, error), -EUCLEAN);
    free(file);
    rig_fini(&r);
}

/* A damaged file stops the start with its name in the sentence. */
static void test_refuses_to_open(void **state)
{
    char path[512];
    char error[512];
    struct rig r;
    struct dlog *d = NULL;
    size_t len;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    run_plans(&r, 5000);
    rig_crash(&r);
    snprintf(path, sizeof(path), "%s/dlog-0", r.dir);
    tdlog_sim_file(r.sim, path, &len)[3 * 4096 + 100] ^= 4;
    assert_int_equal(tdlog_try_open(r.dir, &r.storage, 1, &d, error, sizeof(error)), -EUCLEAN);
    assert_non_null(strstr(error, "dlog-0"));
    rig_fini(&r);
}

/* Writing fails for a while: records wait, none is lost; stop gives up in bounded time. */
static void test_failing_disk(void **state)
{
    struct rig r;
    struct plan plan;
    struct record rec = {.type = RECORD_PLAN, .plan = &plan};
    int64_t begun;
    void *cookie;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    tdlog_sim_fail(r.sim, TDLOG_PWRITE, 1, 12);
    assert_int_equal(run_plans(&r, 10000), PLANS);
    assert_true(atomic_load(&dlog_stats(r.d)->errors) >= 2);
    tdlog_sim_fail(r.sim, TDLOG_PWRITE, 1, 1000000);
    make_plan(&plan, PLANS + 1, 60);
    assert_false(tdlog_do(r.p, &rec, 300));
    begun = clock_monotonic_us();
    dlog_stop(r.d);
    assert_true(clock_monotonic_us() - begun < 4000000);
    assert_int_equal(dlog_reap(r.p, &cookie, 1), 0);
    dlog_close(r.d);
    r.d = NULL;
    tdlog_sim_reboot(r.sim, 7);
    rig_open(&r);
    dlog_stop(r.d);
    assert_true(recovered(&r) >= PLANS);
    rig_fini(&r);
}

/* A snapshot larger than half a file: the file grows; on a full disk it goes on in the old one
 * while it can. */
static void test_growth(void **state)
{
    struct rig r;
    struct plan plan;
    struct record rec = {.type = RECORD_PLAN, .plan = &plan};
    unsigned int n = 0;

    (void)state;
    rig_init(&r);
    rig_open(&r);
    while (n < 20000 && atomic_load(&dlog_stats(r.d)->errors) == 0) {
        void *done[64];

        make_plan(&plan, n + 1, 60);
        if (dlog_submit(r.p, &rec, NULL) == 0)
            n++;
        else if (dlog_reap(r.p, done, 64) == 0)
            usleep(1000);
        if (n == 3000)
            tdlog_sim_full(r.sim, true);
    }
    tdlog_sim_full(r.sim, false);
    dlog_stop(r.d);
    assert_true(atomic_load(&dlog_stats(r.d)->errors) > 0);
    dlog_close(r.d);
    rig_open(&r);
    dlog_stop(r.d);
    assert_int_equal(recovered(&r), n);
    assert_true(r.d->bytes[r.d->active] > 8 << 20);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torn_tail),       cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_refuses_to_open), cmocka_unit_test(test_fail_every_operation),
        cmocka_unit_test(test_fail_reopen),     cmocka_unit_test(test_power_cut),
        cmocka_unit_test(test_failing_disk),    cmocka_unit_test(test_growth),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
