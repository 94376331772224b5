/*
 * The ledger: totals, objects and tables from durable records, each exactly once across crashes
 * between log and ledger; a ledger that cannot be written keeps its records in the log; one that
 * was removed or damaged is begun anew.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/base/log.h"
#include "tests/unit/tdlog_sim.h"

static int wake_fd;

static struct dlog *start(const char *dir, struct dlog_port **p)
{
    struct dlog *d = tdlog_open(dir, &storage_posix, 1);

    *p = dlog_port(d, wake_fd);
    assert_int_equal(dlog_start(d), 0);
    return d;
}

static void crash(struct dlog *d)
{
    dlog_kill(d);
    dlog_close(d);
}

static void put(struct dlog_port *p, struct record r)
{
    assert_true(tdlog_do(p, &r, 5000));
}

static uint64_t put_plan(struct dlog *d, struct dlog_port *p, const char *type,
                         enum plan_encoding encoding, bool to_load)
{
    struct plan plan;

    tdlog_plan(&plan, dlog_next_id(d), type, 0, 1, 2);
    plan.key.encoding = (uint8_t)encoding;
    plan.to_load = to_load;
    plan.gzip = plan.id % 2 == 0;
    put(p, (struct record){.type = RECORD_PLAN, .plan = &plan});
    return plan.id;
}

static void confirm(struct dlog_port *p, uint64_t id)
{
    put(p, (struct record){.type = RECORD_CONFIRM, .plan_id = id, .generation = 3});
}

static uint64_t put_load(struct dlog *d, struct dlog_port *p, uint64_t *ids, uint32_t n)
{
    struct load load = {
        .id = dlog_next_id(d), .table = "orders", .rows = 10 * n, .n_plans = n, .plan_id = ids};

    put(p, (struct record){.type = RECORD_LOAD, .load = &load});
    return load.id;
}

struct sums {
    struct ledger_total gcs;
    struct ledger_total bq;
    unsigned int objects;
    struct ledger_table table;
    char last_name[256];
};

static void see_total(void *ctx, const struct ledger_total *t)
{
    struct sums *s = ctx;
    struct ledger_total *to = strcmp(t->sink, "gcs") == 0 ? &s->gcs : &s->bq;

    to->planned += t->planned;
    to->delivered += t->delivered;
    to->parked += t->parked;
    to->objects += t->objects;
    to->refused += t->refused;
    to->inserts += t->inserts;
    if (t->newest_us > to->newest_us)
        to->newest_us = t->newest_us;
}

static bool see_object(void *ctx, const struct ledger_object *o)
{
    struct sums *s = ctx;

    assert_true(strcmp(s->last_name, o->name) < 0);
    snprintf(s->last_name, sizeof(s->last_name), "%s", o->name);
    assert_int_equal(o->crc32c, (uint32_t)hash_mix(o->plan_id));
    assert_int_equal(o->bytes, 1234);
    assert_int_equal(o->gzip, o->plan_id % 2 == 0);
    assert_int_equal(o->generation, 3);
    s->objects++;
    return true;
}

static void see_table(void *ctx, const struct ledger_table *t)
{
    struct sums *s = ctx;

    assert_string_equal(t->table, "orders");
    s->table.rows += t->rows;
    s->table.loads += t->loads;
}

static struct sums look(const char *dir)
{
    struct sums s = {0};
    struct ledger *l = NULL;
    char path[512];
    char error[512];

    snprintf(path, sizeof(path), "%s/ledger.db", dir);
    assert_int_equal(ledger_open(path, &l, error, sizeof(error)), 0);
    assert_int_equal(ledger_each_total(l, see_total, &s), 0);
    assert_int_equal(ledger_each_object(l, see_object, &s), 0);
    assert_int_equal(ledger_each_table(l, see_table, &s), 0);
    ledger_close(l);
    return s;
}

static void test_totals(void **state)
{
    char *dir = tdlog_mkdir();
    struct dlog_port *p;
    struct dlog *d = start(dir, &p);
    uint64_t ids[2];
    uint64_t wrapped;
    uint64_t load;
    struct sums s;

    (void)state;
    ids[0] = put_plan(d, p, "a", ENCODING_ARCHIVE, true);
    ids[1] = put_plan(d, p, "b", ENCODING_ARCHIVE, true);
    wrapped = put_plan(d, p, "a", ENCODING_WRAPPED, true);
    (void)put_plan(d, p, "c", ENCODING_ARCHIVE, false);
    put(p, (struct record){.type = RECORD_PARKED, .plan_id = ids[1], .text = "403"});
    confirm(p, ids[0]);
    dlog_ledger_sync(d);
    s = look(dir);
    assert_int_equal(s.gcs.planned, 30);
    assert_int_equal(s.gcs.delivered, 10);
    assert_int_equal(s.gcs.parked, 10);
    assert_int_equal(s.gcs.objects, 1);
    assert_true(s.gcs.newest_us > 0);
    assert_int_equal(s.bq.planned, 30);
    assert_int_equal(s.bq.delivered, 0);
    assert_int_equal(s.objects, 1);
    confirm(p, ids[1]);
    confirm(p, wrapped);
    load = put_load(d, p, ids, 2);
    put(p, (struct record){.type = RECORD_LOAD_PARKED, .load_id = load, .text = "schema"});
    dlog_ledger_sync(d);
    assert_int_equal(look(dir).bq.parked, 20);
    put(p, (struct record){.type = RECORD_LOAD_RESUMED, .load_id = load});
    put(p, (struct record){.type = RECORD_ATTEMPT, .load_id = load, .attempt = 1});
    put(p, (struct record){.type = RECORD_LOADED, .load_id = load, .rows = 20});
    load = put_load(d, p, &wrapped, 1);
    put(p, (struct record){.type = RECORD_LOADED, .load_id = load, .rows = 10});
    dlog_ledger_sync(d);
    assert_int_equal(look(dir).objects, 3);
    put(p, (struct record){.type = RECORD_STAGING_GONE, .plan_id = wrapped});
    dlog_stop(d);
    s = look(dir);
    assert_int_equal(s.objects, 2);
    assert_int_equal(s.bq.delivered, 30);
    assert_int_equal(s.bq.parked, 0);
    assert_int_equal(s.bq.objects, 3); /* by type: a twice, b once */
    assert_int_equal(s.table.rows, 30);
    assert_int_equal(s.table.loads, 2);
    dlog_close(d);
    tdlog_rmdir(dir);
}

static bool see_refused(void *ctx, const struct ledger_object *o)
{
    char *names = ctx;

    assert_int_equal(o->crc32c, 99);
    assert_int_equal(o->bytes, 4321);
    snprintf(names + strlen(names), 512, "%s ", o->name);
    return true;
}

static void see_inserted(void *ctx, const struct ledger_table *t)
{
    *(struct ledger_table *)ctx = *t;
    assert_string_equal(t->table, "orders");
}

/* An inserted plan: its rows and refused rows count for BigQuery, and its dead letters are objects. */
static void test_inserted(void **state)
{
    char *dir = tdlog_mkdir();
    struct dlog_port *p;
    struct dlog *d = start(dir, &p);
    struct plan_outcome outcome = {.table = "orders",
                                   .rows = 8,
                                   .refused = 2,
                                   .objects = 1,
                                   .dead_bytes = 4321,
                                   .dead_crc32c = 99};
    char names[1024] = "", error[512], path[512];
    struct ledger_table table = {0};
    struct ledger *l = NULL;
    struct sums s = {0};
    uint64_t ids[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        ids[i] = put_plan(d, p, "a", ENCODING_INSERT, false);
    put(p, (struct record){.type = RECORD_INSERTED, .plan_id = ids[0], .outcome = &outcome});
    outcome.objects = 3;
    put(p, (struct record){.type = RECORD_INSERTED, .plan_id = ids[1], .outcome = &outcome});
    dlog_stop(d);
    snprintf(path, sizeof(path), "%s/ledger.db", dir);
    assert_int_equal(ledger_open(path, &l, error, sizeof(error)), 0);
    assert_int_equal(ledger_each_total(l, see_total, &s), 0);
    assert_int_equal(ledger_each_object(l, see_refused, names), 0);
    assert_int_equal(ledger_each_table(l, see_inserted, &table), 0);
    ledger_close(l);
    assert_int_equal(s.gcs.planned, 0);
    assert_int_equal(s.bq.planned, 30);
    assert_int_equal(s.bq.delivered, 16);
    assert_int_equal(s.bq.refused, 4);
    assert_int_equal(s.bq.inserts, 30);
    assert_int_equal(s.gcs.inserts, 0);
    assert_int_equal(table.inserted, 16);
    assert_true(table.by_insert && table.rows == 0);
    assert_non_null(strstr(names, "_r3.json"));
    dlog_close(d);
    tdlog_rmdir(dir);
}

/* A ledger of the version before: kept, and brought up to date when it is opened. */
static void test_older_version(void **state)
{
    char *dir = tdlog_mkdir(), sql[256], error[512];
    struct dlog_port *p;
    struct dlog *d = start(dir, &p);
    const struct plan_outcome outcome = {.table = "orders", .rows = 10};
    struct ledger *l = NULL;
    char path[512];
    uint64_t id;

    (void)state;
    confirm(p, put_plan(d, p, "a", ENCODING_ARCHIVE, false));
    dlog_stop(d);
    dlog_close(d);
    snprintf(path, sizeof(path), "%s/ledger.db", dir);
    assert_int_equal(ledger_open(path, &l, error, sizeof(error)), 0);
    snprintf(sql, sizeof(sql),
             "DROP VIEW minutes; DROP TABLE inserts; ALTER TABLE objects DROP COLUMN removed;"
             "CREATE VIEW minutes AS SELECT type FROM objects; PRAGMA user_version = 1");
    assert_int_equal(sqlite3_exec(l->db, sql, NULL, NULL, NULL), SQLITE_OK);
    ledger_close(l);
    d = start(dir, &p);
    id = put_plan(d, p, "a", ENCODING_INSERT, false);
    put(p, (struct record){.type = RECORD_INSERTED, .plan_id = id, .outcome = &outcome});
    dlog_stop(d);
    assert_int_equal(look(dir).gcs.delivered, 10);
    assert_int_equal(look(dir).bq.delivered, 10);
    assert_int_equal(ledger_open(path, &l, error, sizeof(error)), 0);
    assert_int_equal(
        sqlite3_exec(l->db, "SELECT minute, sink, delivered FROM minutes", NULL, NULL, NULL),
        SQLITE_OK);
    ledger_close(l);
    dlog_close(d);
    tdlog_rmdir(dir);
}

/* Crashes at once, so that the ledger is behind the log: caught up at the next start, and once. */
static void test_exactly_once(void **state)
{
    char *dir = tdlog_mkdir();
    struct dlog_port *p;
    unsigned int plans = 0;

    (void)state;
    for (int life = 0; life < 12; life++) {
        struct dlog *d = start(dir, &p);

        for (int i = 0; i < 7; i++, plans++)
            confirm(p, put_plan(d, p, "a", ENCODING_ARCHIVE, false));
        if (life % 3 == 2)
            dlog_ledger_sync(d);
        crash(d);
    }
    crash(start(dir, &p));
    assert_int_equal(look(dir).gcs.planned, 10 * plans);
    assert_int_equal(look(dir).gcs.delivered, 10 * plans);
    assert_int_equal(look(dir).objects, plans);
    tdlog_rmdir(dir);
}

static struct dlog *start_locked(const char *dir, sqlite3 *db, struct dlog_port **p)
{
    struct dlog *d = start(dir, p);

    sqlite3_busy_timeout(d->ledger->db, 1);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return d;
}

/* Another writer holds the database: delivery goes on over several switches, nothing is lost for
 * the ledger. */
static void test_cannot_be_written(void **state)
{
    char *dir = tdlog_mkdir();
    char path[512];
    struct dlog_port *p;
    struct dlog *d = start(dir, &p);
    sqlite3 *db;

    (void)state;
    dlog_stop(d);
    dlog_close(d);
    snprintf(path, sizeof(path), "%s/ledger.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    d = start_locked(dir, db, &p);
    for (int i = 0; i < 500; i++)
        confirm(
            p, put_plan(d, p, "a.rather.long.type.name.to.fill.the.file", ENCODING_ARCHIVE, false));
    d->offset = d->bytes[d->active]; /* as if full: the writer is idle */
    confirm(p, put_plan(d, p, "b", ENCODING_ARCHIVE, false));
    assert_true(atomic_load(&dlog_stats(d)->snapshots) >= 2);
    assert_true(atomic_load(&dlog_stats(d)->ledger_errors) > 0);
    assert_int_equal(atomic_load(&dlog_stats(d)->ledger_lag), 1002);
    crash(d);
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(look(dir).gcs.planned, 0);
    crash(start(dir, &p));
    assert_int_equal(look(dir).gcs.planned, 5010);
    assert_int_equal(look(dir).gcs.delivered, 5010);
    tdlog_rmdir(dir);
}

static void lose_ledger(bool damage)
{
    char *dir = tdlog_mkdir();
    char path[512];
    struct dlog_port *p;
    struct dlog *d = start(dir, &p);
    uint64_t debt;

    confirm(p, put_plan(d, p, "done", ENCODING_ARCHIVE, false));
    debt = put_plan(d, p, "debt", ENCODING_ARCHIVE, true);
    confirm(p, debt);
    (void)put_plan(d, p, "pending", ENCODING_ARCHIVE, false);
    dlog_stop(d);
    dlog_close(d);
    crash(start(dir, &p)); /* the snapshot has it all now */
    snprintf(path, sizeof(path), "%s/ledger.db", dir);
    if (damage) {
        FILE *f = fopen(path, "r+");

        assert_non_null(f);
        for (int i = 0; i < 4096; i++)
            fputc('x', f);
        fclose(f);
    } else {
        assert_int_equal(unlink(path), 0);
    }
    d = start(dir, &p);
    put_load(d, p, &debt, 1);
    dlog_stop(d);
    dlog_close(d);
    assert_int_equal(look(dir).gcs.planned, 20);
    assert_int_equal(look(dir).gcs.delivered, 10);
    assert_int_equal(look(dir).objects, 1);
    tdlog_rmdir(dir);
}

static void test_removed(void **state)
{
    (void)state;
    lose_ledger(false);
}

static void test_damaged(void **state)
{
    (void)state;
    lose_ledger(true);
}

/* The log's files are gone: plan ids begin anew, so the old ledger may not be mixed with the new
 * one. */
static void test_other_log(void **state)
{
    char *dir = tdlog_mkdir();
    char path[512];
    struct dlog_port *p;
    struct dlog *d = start(dir, &p);

    (void)state;
    confirm(p, put_plan(d, p, "a", ENCODING_ARCHIVE, false));
    dlog_stop(d);
    dlog_close(d);
    for (int i = 0; i < DLOG_FILES; i++) {
        snprintf(path, sizeof(path), "%s/dlog-%d", dir, i);
        assert_int_equal(unlink(path), 0);
    }
    d = start(dir, &p);
    (void)put_plan(d, p, "b", ENCODING_ARCHIVE, false);
    dlog_stop(d);
    dlog_close(d);
    assert_int_equal(look(dir).gcs.planned, 10);
    assert_int_equal(look(dir).gcs.delivered, 0);
    tdlog_rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_totals),
        cmocka_unit_test(test_inserted),
        cmocka_unit_test(test_older_version),
        cmocka_unit_test(test_exactly_once),
        cmocka_unit_test(test_cannot_be_written),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_other_log),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
