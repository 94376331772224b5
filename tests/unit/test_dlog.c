/*
 * The delivery log over real files: what was acknowledged is there after a stop and after a crash;
 * order per port; free space and floors; ids; several snapshot switches. Crashes are dlog_kill():
 * the thread ends between two steps and nothing more is written.
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

static struct dlog_port *new_port(struct dlog *d)
{
    return dlog_port(d, eventfd(0, EFD_CLOEXEC));
}

static void put_plan(struct dlog_port *p, const struct plan *plan)
{
    struct record r = {.type = RECORD_PLAN, .plan = plan};

    assert_true(tdlog_do(p, &r, 5000));
}

static void put_id(struct dlog_port *p, enum record_type type, uint64_t plan_id, uint64_t load_id)
{
    struct record r = {
        .type = type, .plan_id = plan_id, .load_id = load_id, .generation = 5, .text = "because"};

    r.attempt = 1;
    r.rows = 10;
    assert_true(tdlog_do(p, &r, 5000));
}

struct seen {
    unsigned int plans[3];
    unsigned int loads[3];
    uint64_t last_id;
    char text[64];
};

static void see_plan(void *ctx, const struct plan *plan, enum plan_status status, uint64_t load_id,
                     const char *text)
{
    struct seen *s = ctx;

    (void)load_id;
    assert_true(plan->id > s->last_id);
    s->last_id = plan->id;
    s->plans[status]++;
    if (status == PLAN_PARKED)
        snprintf(s->text, sizeof(s->text), "%s", text);
}

static void see_load(void *ctx, const struct load *load, enum load_status status, const char *text)
{
    struct seen *s = ctx;

    (void)text;
    assert_true(load->n_plans > 0);
    s->loads[status]++;
}

static struct seen look(const struct delivery_state *st)
{
    struct seen s = {0};

    state_each_plan(st, see_plan, &s);
    state_each_load(st, see_load, &s);
    return s;
}

static void end(struct dlog *d, struct dlog_port *p, bool crash)
{
    int fd = p->event_fd;

    if (crash)
        dlog_kill(d);
    else
        dlog_stop(d);
    dlog_close(d);
    close(fd);
}

static void life_cycle(bool crash)
{
    char *dir = tdlog_mkdir();
    struct dlog *d = tdlog_open(dir, &storage_posix, 1);
    struct dlog_port *p = new_port(d);
    uint64_t ids[3];
    struct plan plan;
    struct load load = {.rows = 20, .n_plans = 2, .plan_id = ids};
    struct seen s;
    uint64_t last;

    assert_int_equal(dlog_start(d), 0);
    for (int i = 0; i < 3; i++) {
        ids[i] = dlog_next_id(d);
        tdlog_plan(&plan, ids[i], "order.created", 0, (lsn_t)i * 100, (lsn_t)i * 100 + 100);
        plan.to_load = true;
        plan.key.encoding = i == 0 ? ENCODING_WRAPPED : ENCODING_ARCHIVE;
        put_plan(p, &plan);
        if (i < 2)
            put_id(p, RECORD_CONFIRM, ids[i], 0);
    }
    put_id(p, RECORD_PARKED, ids[2], 0);
    load.id = dlog_next_id(d);
    snprintf(load.table, sizeof(load.table), "orders");
    assert_true(tdlog_do(p, &(struct record){.type = RECORD_LOAD, .load = &load}, 5000));
    put_id(p, RECORD_ATTEMPT, 0, load.id);
    last = load.id;
    end(d, p, crash);

    d = tdlog_open(dir, &storage_posix, 1);
    s = look(dlog_state(d));
    assert_int_equal(s.plans[PLAN_CONFIRMED], 2);
    assert_int_equal(s.plans[PLAN_PARKED], 1);
    assert_int_equal(s.loads[LOAD_PENDING], 1);
    assert_string_equal(s.text, "because");
    assert_true(dlog_next_id(d) > last);
    p = new_port(d);
    assert_int_equal(dlog_start(d), 0);
    put_id(p, RECORD_LOADED, 0, last);
    end(d, p, crash);

    d = tdlog_open(dir, &storage_posix, 1);
    s = look(dlog_state(d));
    assert_int_equal(s.plans[PLAN_CONFIRMED], 1); /* the staging object */
    assert_int_equal(s.loads[LOAD_DONE], 1);
    p = new_port(d);
    assert_int_equal(dlog_start(d), 0);
    put_id(p, RECORD_STAGING_GONE, ids[0], 0);
    put_id(p, RECORD_RESUMED, ids[2], 0);
    end(d, p, crash);

    d = tdlog_open(dir, &storage_posix, 1);
    s = look(dlog_state(d));
    assert_int_equal(s.plans[PLAN_PENDING], 1);
    assert_int_equal(s.plans[PLAN_CONFIRMED] + s.plans[PLAN_PARKED] + s.loads[LOAD_DONE], 0);
    dlog_close(d);
    tdlog_rmdir(dir);
}

static void test_life_cycle_stop(void **state)
{
    (void)state;
    life_cycle(false);
}

static void test_life_cycle_crash(void **state)
{
    (void)state;
    life_cycle(true);
}

static void wait_free(struct dlog *d, unsigned int journal, lsn_t want)
{
    struct journal_uuid u = tdlog_journal(journal);
    int64_t until = clock_monotonic_us() + 5000000;

    while (dlog_free_lsn(d, &u) != want && clock_monotonic_us() < until)
        usleep(1000);
    assert_int_equal(dlog_free_lsn(d, &u), want);
}

/* free = min(floor over ports, from of unconfirmed plans), parked ones included; planned_to past
 * the floor only. */
static void test_floors(void **state)
{
    char *dir = tdlog_mkdir();
    struct dlog *d = tdlog_open(dir, &storage_posix, 2);
    struct dlog_port *p = new_port(d);
    struct dlog_port *q = new_port(d);
    struct journal_uuid u = tdlog_journal(0);
    struct plan plan[3];
    int fd = q->event_fd;

    (void)state;
    assert_int_equal(dlog_free_lsn(d, &u), 0);
    assert_int_equal(dlog_start(d), 0);
    for (unsigned int i = 0; i < 3; i++) {
        tdlog_plan(&plan[i], dlog_next_id(d), i == 1 ? "b" : "a", 0, 100 * i, 100 * i + 100);
        plan[i].key.minute = 1;
        put_plan(p, &plan[i]);
    }
    put_id(p, RECORD_CONFIRM, plan[0].id, 0);
    dlog_set_floor(p, &u, 250);
    wait_free(d, 0, 0); /* q has none */
    dlog_set_floor(q, &u, 150);
    wait_free(d, 0, 100); /* plan 1 begins there */
    put_id(p, RECORD_PARKED, plan[1].id, 0);
    assert_int_equal(dlog_free_lsn(d, &u), 100);
    dlog_set_floor(q, &u, 120); /* never back */
    put_id(p, RECORD_CONFIRM, plan[1].id, 0);
    wait_free(d, 0, 150);
    close(fd);
    end(d, p, true);

    d = tdlog_open(dir, &storage_posix, 2);
    assert_int_equal(state_floor(dlog_state(d), &u), 150);
    assert_int_equal(dlog_free_lsn(d, &u), 150);
    assert_int_equal(state_planned_to(dlog_state(d), &plan[0].key, &u), 300);
    assert_int_equal(state_planned_to(dlog_state(d), &plan[1].key, &u), 200);
    p = new_port(d);
    assert_int_equal(dlog_start(d), 0);
    dlog_set_floor(p, &u, 200);
    wait_free(d, 0, 200);
    end(d, p, false);

    d = tdlog_open(dir, &storage_posix, 2);
    assert_int_equal(state_planned_to(dlog_state(d), &plan[0].key, &u), 300);
    assert_int_equal(state_planned_to(dlog_state(d), &plan[1].key, &u), 0);
    dlog_close(d);
    tdlog_rmdir(dir);
}

#define PORTS   4
#define RECORDS 20000

struct feeder {
    struct dlog *d;
    struct dlog_port *p;
    unsigned int number;
    pthread_t thread;
};

/* Plans, each confirmed right behind; cookies must come back in order. */
static void *feed(void *arg)
{
    struct feeder *f = arg;
    uintptr_t next_sent = 1;
    uintptr_t next_done = 1;
    uint64_t id = 0;
    struct plan plan;

    while (next_done <= RECORDS) {
        void *done[64];
        int n = dlog_reap(f->p, done, 64);

        for (int i = 0; i < n; i++)
            ASSERT((uintptr_t)done[i] == next_done++);
        while (next_sent <= RECORDS) {
            struct record r = {.type = next_sent % 2 == 1 ? RECORD_PLAN : RECORD_CONFIRM,
                               .plan = &plan};

            if (next_sent % 2 == 1 && id == 0) {
                id = dlog_next_id(f->d);
                tdlog_plan(&plan, id, "a.type.with.a.rather.long.name", f->number, next_sent,
                           next_sent + 1);
            }
            r.plan_id = id;
            if (dlog_submit(f->p, &r, (void *)next_sent) != 0)
                break;
            if (next_sent % 2 == 0)
                id = 0;
            next_sent++;
        }
        if (n == 0)
            usleep(100);
    }
    return NULL;
}

static void test_concurrent_order(void **state)
{
    char *dir = tdlog_mkdir();
    struct dlog *d = tdlog_open(dir, &storage_posix, PORTS);
    struct feeder f[PORTS];
    struct seen s;

    (void)state;
    for (unsigned int i = 0; i < PORTS; i++)
        f[i] = (struct feeder){.d = d, .p = new_port(d), .number = i};
    assert_int_equal(dlog_start(d), 0);
    for (int i = 0; i < PORTS; i++)
        assert_int_equal(pthread_create(&f[i].thread, NULL, feed, &f[i]), 0);
    for (int i = 0; i < PORTS; i++)
        pthread_join(f[i].thread, NULL);
    dlog_ledger_sync(d);
    dlog_stop(d);
    assert_int_equal(atomic_load(&dlog_stats(d)->records), PORTS * RECORDS);
    assert_true(atomic_load(&dlog_stats(d)->snapshots) >= 2);
    assert_int_equal(atomic_load(&dlog_stats(d)->errors), 0);
    for (int i = 0; i < PORTS; i++)
        close(f[i].p->event_fd);
    dlog_close(d);
    d = tdlog_open(dir, &storage_posix, 1);
    s = look(dlog_state(d));
    assert_int_equal(s.plans[PLAN_PENDING] + s.plans[PLAN_CONFIRMED] + s.plans[PLAN_PARKED], 0);
    assert_true(dlog_next_id(d) > PORTS * RECORDS / 2);
    dlog_close(d);
    tdlog_rmdir(dir);
}

static void test_full_ring(void **state)
{
    char *dir = tdlog_mkdir();
    struct dlog *d = tdlog_open(dir, &storage_posix, 1);
    struct dlog_port *p = new_port(d);
    struct plan plan;
    struct record r = {.type = RECORD_PLAN, .plan = &plan};
    int taken = 0;

    (void)state;
    tdlog_plan(&plan, dlog_next_id(d), "t", 0, 0, 1);
    while (dlog_submit(p, &r, NULL) == 0)
        taken++;
    assert_int_equal(taken, 1024);
    end(d, p, false);
    tdlog_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_cycle_stop), cmocka_unit_test(test_life_cycle_crash),
        cmocka_unit_test(test_floors),          cmocka_unit_test(test_concurrent_order),
        cmocka_unit_test(test_full_ring),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
