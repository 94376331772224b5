/*
 * Records and the delivery state: every record survives encoding, no damaged one crashes decoding;
 * random operations give the same state live, from the log's tail, and from a snapshot. Seeds are
 * printed; PENSTOCK_SEED replays one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/base/log.h"
#include "tests/unit/tdlog_sim.h"

static void test_plan_round_trip(void **state)
{
    struct plan plan;
    struct record r = {.type = RECORD_PLAN, .plan = &plan};
    uint8_t *buf = malloc(RECORD_BYTES_MAX);
    struct record_view *v = malloc(sizeof(*v));

    (void)state;
    assert_non_null(buf);
    assert_non_null(v);
    for (uint32_t n = 0; n <= JOURNALS_MAX; n += 16) {
        size_t len;

        tdlog_plan(&plan, n + 1, "order.created", 0, 5, 9);
        plan.key.minute = -3;
        plan.n_ranges = n;
        plan.gzip = n % 32 == 16;
        for (uint32_t i = 0; i < n; i++)
            plan.range[i] =
                (struct plan_range){.journal = tdlog_journal(i), .from = i, .to = LSN_MAX - i};
        assert_true(record_encode(&r, 77, buf) <= record_encoded_max(&r));
        len = record_encode(&r, 77, buf);
        memset(&v->plan, 0, sizeof(v->plan));
        assert_int_equal(record_decode(buf, len, v), 0);
        assert_int_equal(v->time_us, 77);
        assert_memory_equal(&v->plan.key, &plan.key, sizeof(plan.key));
        assert_string_equal(v->plan.object, plan.object);
        assert_int_equal(v->plan.events, plan.events);
        assert_int_equal(v->plan.crc32c, plan.crc32c);
        assert_int_equal(v->plan.gzip, plan.gzip);
        assert_int_equal(v->plan.to_load, plan.to_load);
        assert_memory_equal(v->plan.range, plan.range, n * sizeof(plan.range[0]));
        for (size_t cut = 0; cut < len; cut++)
            assert_int_not_equal(record_decode(buf, cut, v), 0);
        buf[RECORD_VERSION_AT] = 1; /* read as before; but it never had a gzip plan */
        assert_int_equal(record_decode(buf, len, v), plan.gzip ? -EBADMSG : 0);
        buf[RECORD_VERSION_AT] = RECORD_VERSION + 1;
        assert_int_equal(record_decode(buf, len, v), -EBADMSG);
        buf[RECORD_VERSION_AT] = 0;
        assert_int_equal(record_decode(buf, len, v), -EBADMSG);
    }
    free(buf);
    free(v);
}

/* Lines that a plan leaves out are part of its record; a plan without lines is finished at once, but
 * what it covers is planned. */
static void test_removed(void **state)
{
    static const uint8_t skips[] = {1, 2, 3, 4};
    struct plan plan;
    struct record r = {.type = RECORD_PLAN, .plan = &plan};
    struct delivery_state *s = state_create();
    uint8_t *buf = malloc(RECORD_BYTES_MAX);
    struct record_view *v = malloc(sizeof(*v));
    const struct journal_uuid j = tdlog_journal(1);
    size_t len;

    (void)state;
    tdlog_plan(&plan, 1, "order", 0, 5, 9);
    plan.to_load = false;
    plan.removed = 7;
    plan.n_ranges = 2;
    plan.range[0] = (struct plan_range){.journal = tdlog_journal(0), .from = 5, .to = 9};
    plan.range[1] = (struct plan_range){
        .journal = j, .from = 1, .to = 8, .skips = skips, .skips_len = sizeof(skips)};
    len = record_encode(&r, 77, buf);
    assert_int_equal(record_decode(buf, len, v), 0);
    assert_int_equal(v->plan.removed, 7);
    assert_int_equal(v->plan.range[0].skips_len, 0);
    assert_int_equal(v->plan.range[1].skips_len, sizeof(skips));
    assert_memory_equal(v->plan.range[1].skips, skips, sizeof(skips));
    for (size_t cut = 0; cut < len; cut++)
        assert_int_not_equal(record_decode(buf, cut, v), 0);
    buf[RECORD_VERSION_AT] = 2; /* knew no such plan */
    assert_int_equal(record_decode(buf, len, v), -EBADMSG);
    plan.lines = plan.events = plan.bytes = 0;
    assert_int_equal(record_decode(buf, record_encode(&r, 77, buf), v), 0);
    assert_int_equal(state_apply(s, v), 0);
    assert_int_equal(state_planned_to(s, &plan.key, &j), 8);
    assert_int_equal(s->plans.count, 0);
    assert_int_equal(state_next_id(s), 2);
    plan.id = 2;
    plan.to_load = true;
    assert_int_equal(record_decode(buf, record_encode(&r, 77, buf), v), 0);
    assert_int_equal(state_apply(s, v), -EINVAL);
    state_destroy(s);
    free(buf);
    free(v);
}

static void test_load_round_trip(void **state)
{
    struct load load = {.id = 9, .table = "t", .rows = 4, .n_plans = PLAN_OBJECTS_PER_LOAD};
    struct record r = {.type = RECORD_LOAD, .load = &load};
    struct record_view *v = malloc(sizeof(*v));
    uint8_t *buf = malloc(RECORD_BYTES_MAX);
    size_t len;

    (void)state;
    load.plan_id = malloc(load.n_plans * sizeof(uint64_t));
    assert_true(load.plan_id != NULL && buf != NULL && v != NULL);
    memset(load.table, 'x', TABLE_NAME_BYTES_MAX - 1);
    for (uint32_t i = 0; i < load.n_plans; i++)
        load.plan_id[i] = hash_mix(i + 1);
    len = record_encode(&r, 0, buf);
    assert_int_equal(record_decode(buf, len, v), 0);
    assert_int_equal(v->load.n_plans, load.n_plans);
    for (uint32_t i = 0; i < load.n_plans; i++)
        assert_true(record_load_id(v, i) == load.plan_id[i]);
    assert_int_equal(strlen(v->load.table), TABLE_NAME_BYTES_MAX - 1);
    free(load.plan_id);
    free(buf);
    free(v);
}

/* A load of the state, or NULL. */
static const struct state_load *some_load(const struct delivery_state *s, uint64_t *seed)
{
    void **all = idmap_sorted(&s->loads);
    const struct state_load *l = all != NULL ? all[tdlog_random(seed) % s->loads.count] : NULL;

    free(all);
    return l;
}

/* A load that is cut, or whose only row is refused; mostly as it should be. */
static size_t random_cut(const struct state_load *l, uint64_t *seed, uint64_t next_id, uint8_t *buf)
{
    const struct load_reject reject = {.object = "dead", .bytes = 9, .crc32c = 8};
    struct load_split split = {.n_parts = 2};
    struct record r = {.type = RECORD_LOAD_SPLIT,
                       .load_id = l->load.id,
                       .plan_id = l->load.plan_id[0],
                       .text = "why",
                       .split = &split,
                       .reject = &reject};
    bool pieces = l->load.n_plans == 1, odd = tdlog_random(seed) % 8 == 0;
    uint32_t given = 0;

    if (l->load.rows == 1 || tdlog_random(seed) % 16 == 0) {
        r.type = RECORD_LOAD_REJECTED;
        return record_encode(&r, 1, buf);
    }
    split.n_parts += pieces && l->load.rows > 2 && tdlog_random(seed) % 2 ? 1 : 0;
    for (uint32_t i = 0; i < split.n_parts; i++) {
        struct load_part *p = &split.part[i];
        bool last = i + 1 == split.n_parts;

        p->id = next_id + i;
        p->piece = pieces;
        p->first = (l->load.piece ? l->load.first : 0) + i;
        p->rows = last ? l->load.rows - i : 1;
        p->n_plans = pieces ? 1 : last ? l->load.n_plans - given : 1;
        p->plan_id = &l->load.plan_id[pieces ? 0 : given];
        given += p->n_plans;
    }
    if (odd)
        split.part[tdlog_random(seed) % 2].rows += 1;
    if (odd && tdlog_random(seed) % 2)
        split.part[1].plan_id = split.part[0].plan_id;
    return record_encode(&r, 1, buf);
}

#define IDS 40

/* A random record about one of a few ids; many do not fit the state, and must then change nothing.
 */
static size_t random_record(const struct delivery_state *s, uint64_t *seed, uint8_t *buf)
{
    const struct state_load *cut = tdlog_random(seed) % 8 == 0 ? some_load(s, seed) : NULL;
    uint64_t next_id = state_next_id(s);
    static const char *const types[] = {"a", "b", "order.created", ""};
    enum record_type type =
        (enum record_type)(RECORD_PLAN + tdlog_random(seed) % (RECORD_MARK + 1));
    uint64_t base = next_id > IDS ? next_id - IDS : 1;
    uint64_t ids[3];
    struct plan plan;
    struct load load = {.id = base + tdlog_random(seed) % IDS,
                        .table = "t",
                        .rows = 3,
                        .n_plans = 1,
                        .plan_id = ids};
    const struct plan_outcome outcome = {.table = "t", .rows = 3, .refused = 1, .objects = 1};
    struct record r = {.type = type,
                       .plan = &plan,
                       .load = &load,
                       .text = "why",
                       .generation = 4,
                       .rows = 3,
                       .outcome = &outcome,
                       .mark = {.seq = tdlog_random(seed) % 100, .note = next_id}};
    struct journal_uuid u = tdlog_journal((unsigned int)(tdlog_random(seed) % 3));
    lsn_t from = next_id * 10;

    if (cut != NULL)
        return random_cut(cut, seed, next_id, buf);
    if (type > RECORD_MARK)
        r.type = RECORD_SPOOLED;
    memset(r.mark.session, 1 + (int)(tdlog_random(seed) % 5), sizeof(r.mark.session));
    if (tdlog_random(seed) % 3 == 0)
        r.type = RECORD_PLAN;
    if (type == RECORD_FLOOR && r.type != RECORD_PLAN)
        return record_encode_floor(&u, from > 300 ? from - 300 : 0, 1, buf);
    tdlog_plan(&plan, r.type == RECORD_PLAN ? next_id : 1, types[tdlog_random(seed) % 4], 0, from,
               from + 10);
    plan.range[0].journal = u;
    plan.key.encoding = (uint8_t)(tdlog_random(seed) % ENCODINGS);
    plan.to_load = tdlog_random(seed) % 2;
    plan.gzip = tdlog_random(seed) % 2;
    r.plan_id = base + tdlog_random(seed) % IDS;
    r.load_id = base + tdlog_random(seed) % IDS;
    r.attempt = (uint32_t)(tdlog_random(seed) % 4);
    load.n_plans = (uint32_t)(1 + tdlog_random(seed) % 3);
    for (int i = 0; i < 3; i++)
        ids[i] = base + tdlog_random(seed) % IDS;
    return record_encode(&r, 1, buf);
}

static void apply_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    static struct record_view v;

    assert_int_equal(record_decode(bytes, len, &v), 0);
    assert_int_equal(state_apply(ctx, &v), 0);
}

/* INSERTED ends an insertAll plan and frees its journal space; CONFIRM is not for such a plan. */
static void test_inserted(void **state)
{
    struct delivery_state *s = state_create();
    struct journal_uuid u = tdlog_journal(0);
    struct record_view *v = malloc(sizeof(*v));
    uint8_t *buf = malloc(RECORD_BYTES_MAX);
    struct plan_outcome outcome = {
        .rows = 7, .refused = 3, .objects = 2, .dead_bytes = 1234, .dead_crc32c = 77};
    struct plan plan;
    struct record r = {.type = RECORD_PLAN, .plan = &plan, .plan_id = 1, .outcome = &outcome};

    (void)state;
    assert_true(v != NULL && buf != NULL);
    tdlog_plan(&plan, 1, "t", 0, 10, 20);
    plan.key.encoding = ENCODING_INSERT;
    plan.to_load = true;
    assert_int_equal(record_decode(buf, record_encode(&r, 0, buf), v), 0);
    assert_int_equal(state_apply(s, v), -EINVAL); /* no object, so no load */
    plan.to_load = false;
    apply_bytes(s, buf, record_encode(&r, 0, buf));
    apply_bytes(s, buf, record_encode_floor(&u, 30, 0, buf));
    assert_true(state_free_lsn(s, &u) == 10);
    r.type = RECORD_CONFIRM;
    assert_int_equal(record_decode(buf, record_encode(&r, 0, buf), v), 0);
    assert_int_equal(state_apply(s, v), -EINVAL);
    r.type = RECORD_INSERTED;
    memset(outcome.table, 'x', TABLE_NAME_BYTES_MAX - 1);
    assert_int_equal(record_decode(buf, record_encode(&r, 0, buf), v), 0);
    assert_int_equal(v->plan_id, 1);
    assert_memory_equal(&v->outcome, &outcome, sizeof(outcome));
    assert_int_equal(state_apply(s, v), 0);
    assert_int_equal(state_apply(s, v), -EINVAL); /* once */
    assert_true(state_free_lsn(s, &u) == 30);
    state_destroy(s);
    free(v);
    free(buf);
}

/* Applies a record. @return what that gave. */
static int apply_record(struct delivery_state *s, const struct record *r)
{
    static struct record_view v;
    uint8_t *buf = malloc(RECORD_BYTES_MAX);
    int rc;

    assert_non_null(buf);
    assert_true(record_encode(r, 0, buf) <= record_encoded_max(r));
    assert_int_equal(record_decode(buf, record_encode(r, 0, buf), &v), 0);
    rc = state_apply(s, &v);
    free(buf);
    return rc;
}

/* Plans 1 to n, stored; the last is of the encoding. */
static void add_stored(struct delivery_state *s, uint64_t n, uint8_t encoding)
{
    struct plan plan;
    struct record r = {.plan = &plan, .generation = 1};

    for (uint64_t id = 1; id <= n; id++) {
        tdlog_plan(&plan, id, "t", 0, 10 * id, 10 * id + 9);
        plan.key.encoding = id == n ? encoding : ENCODING_ARCHIVE;
        plan.to_load = true;
        r.type = RECORD_PLAN;
        assert_int_equal(apply_record(s, &r), 0);
        r.type = RECORD_CONFIRM;
        r.plan_id = id;
        assert_int_equal(apply_record(s, &r), 0);
    }
}

static struct load_part part_of(uint64_t id, uint64_t rows, uint64_t first, bool piece,
                                const uint64_t *plans, uint32_t n)
{
    return (struct load_part){
        .id = id, .rows = rows, .piece = piece, .first = first, .n_plans = n, .plan_id = plans};
}

/* A spooled plan frees its journal space, once; may be parked meanwhile; survives a snapshot; ends as any. */
static void test_spooled(void **state)
{
    struct delivery_state *s = state_create(), *again = state_create();
    struct journal_uuid u = tdlog_journal(0);
    uint8_t *buf = malloc(RECORD_BYTES_MAX);
    struct plan plan;
    struct record plan_record = {.type = RECORD_PLAN, .plan = &plan, .plan_id = 1};
    struct record spooled = {.type = RECORD_SPOOLED, .plan_id = 1};
    struct record parked = {.type = RECORD_PARKED, .plan_id = 1, .text = "no rights"};
    struct record confirm = {.type = RECORD_CONFIRM, .plan_id = 1};

    (void)state;
    assert_non_null(buf);
    assert_int_equal(apply_record(s, &spooled), -EINVAL);
    tdlog_plan(&plan, 1, "t", 0, 10, 20);
    assert_int_equal(apply_record(s, &plan_record), 0);
    apply_bytes(s, buf, record_encode_floor(&u, 30, 0, buf));
    assert_int_equal(apply_record(s, &parked), 0);
    assert_true(state_free_lsn(s, &u) == 10);
    assert_int_equal(apply_record(s, &spooled), 0);
    assert_int_equal(apply_record(s, &spooled), -EINVAL);
    assert_true(state_free_lsn(s, &u) == 30 && state_plan_waits(s, 1));
    assert_int_equal(apply_record(s, &parked), 0);
    spooled.type = RECORD_RESUMED;
    assert_int_equal(apply_record(s, &spooled), -EINVAL); /* it would hold the journal again */
    state_snapshot(s, 5, 5, apply_bytes, again);
    assert_true(state_free_lsn(again, &u) == 30 && state_plan_waits(again, 1));
    assert_int_equal(apply_record(again, &confirm), 0);
    assert_int_equal(apply_record(again, &confirm), -EINVAL);
    assert_true(state_free_lsn(again, &u) == 30 && !state_plan_waits(again, 1));
    state_destroy(again);
    state_destroy(s);
    free(buf);
}

/* A refused load: cut into objects, one of these into lines, one of these a dead letter. Each step
 * survives a snapshot; what does not add up changes nothing. */
static void test_cut(void **state)
{
    static const uint64_t plans[] = {1, 2, 3};
    struct delivery_state *s = state_create();
    uint64_t ids[] = {1, 2, 3};
    struct load load = {.id = 10, .table = "t", .rows = 9, .n_plans = 3, .plan_id = ids};
    struct load_split split = {.n_parts = 2};
    const struct load_reject reject = {.object = "dead_letter/x", .bytes = 5, .crc32c = 6};
    struct record r = {.type = RECORD_LOAD, .load = &load, .split = &split, .reject = &reject};

    (void)state;
    add_stored(s, 3, ENCODING_WRAPPED);
    assert_int_equal(apply_record(s, &r), 0);
    r = (struct record){.type = RECORD_LOAD_SPLIT,
                        .load_id = 10,
                        .text = "bad",
                        .split = &split,
                        .reject = &reject};
    split.part[0] = part_of(11, 6, 0, false, plans, 2);
    split.part[1] = part_of(12, 4, 0, false, plans + 2, 1);
    assert_int_equal(apply_record(s, &r), -EINVAL); /* rows */
    split.part[1] = part_of(12, 3, 0, false, plans + 1, 1);
    assert_int_equal(apply_record(s, &r), -EINVAL); /* a plan twice, one never */
    split.part[1] = part_of(11, 3, 0, false, plans + 2, 1);
    assert_int_equal(apply_record(s, &r), -EINVAL); /* an id twice */
    split.part[1] = part_of(12, 3, 0, false, plans + 2, 1);
    assert_int_equal(apply_record(s, &r), 0);
    assert_int_equal(apply_record(s, &r), -EINVAL); /* once */
    r.load_id = 12;
    split.part[0] = part_of(13, 2, 0, true, plans + 2, 1);
    split.part[1] = part_of(14, 1, 1, true, plans + 2, 1);
    assert_int_equal(apply_record(s, &r), -EINVAL); /* lines */
    split.part[1] = part_of(14, 1, 2, true, plans + 2, 1);
    assert_int_equal(apply_record(s, &r), 0);
    r = (struct record){.type = RECORD_LOADED, .load_id = 11, .rows = 6, .reject = &reject};
    assert_int_equal(apply_record(s, &r), 0);
    for (int i = 0; i < 2; i++) { /* as it is, and from a snapshot */
        struct delivery_state *again = state_create();
        const struct state_load *piece;

        state_snapshot(s, 0, 0, apply_bytes, again);
        state_destroy(s);
        s = again;
        piece = idmap_get(&s->loads, 14);
        assert_true(piece->load.piece && piece->load.first == 2 && piece->load.rows == 1);
        assert_true(piece->load.root == 10 && piece->load.proven);
    }
    r.type = RECORD_STAGING_GONE;
    r.plan_id = 3;
    assert_int_equal(apply_record(s, &r), -EINVAL); /* two pieces are left */
    r.type = RECORD_LOAD_REJECTED;
    r.load_id = 13;
    assert_int_equal(apply_record(s, &r), -EINVAL); /* two rows */
    r.load_id = 14;
    assert_int_equal(apply_record(s, &r), 0);
    r.type = RECORD_LOADED;
    r.load_id = 13;
    assert_int_equal(apply_record(s, &r), 0);
    assert_int_equal(s->loads.count, 0);
    assert_int_equal(s->plans.count, 1); /* its staging object is left */
    r.type = RECORD_STAGING_GONE;
    assert_int_equal(apply_record(s, &r), 0);
    assert_int_equal(s->plans.count, 0);
    state_destroy(s);
}

static void assert_same(const struct delivery_state *a, const struct delivery_state *b)
{
    size_t len_a;
    size_t len_b;
    uint8_t *x = tdlog_state_bytes(a, &len_a);
    uint8_t *y = tdlog_state_bytes(b, &len_b);

    assert_int_equal(len_a, len_b);
    assert_memory_equal(x, y, len_a);
    free(x);
    free(y);
}

/* Live state against one that is rebuilt from its snapshot now and then and goes on from there. */
static void random_run(uint64_t seed)
{
    struct delivery_state *live = state_create();
    struct delivery_state *other = state_create();
    struct record_view *v = malloc(sizeof(*v));
    uint8_t *buf = malloc(RECORD_BYTES_MAX);

    assert_true(v != NULL && buf != NULL);
    for (int i = 0; i < 3000; i++) {
        size_t len = random_record(live, &seed, buf);
        int rc;

        assert_int_equal(record_decode(buf, len, v), 0);
        rc = state_apply(live, v);
        assert_int_equal(state_apply(other, v), rc);
        for (unsigned int j = 0; j < 3; j++) {
            struct journal_uuid u = tdlog_journal(j);

            assert_true(state_free_lsn(live, &u) == state_free_lsn(other, &u));
            assert_true(state_free_lsn(live, &u) <= state_floor(live, &u));
        }
        if (i % 100 == 99) {
            struct delivery_state *again = state_create();

            state_snapshot(other, 0, 0, apply_bytes, again);
            assert_same(live, again);
            state_destroy(other);
            other = again;
        }
    }
    assert_same(live, other);
    state_destroy(live);
    state_destroy(other);
    free(v);
    free(buf);
}

static void test_random_operations(void **state)
{
    const char *given = getenv("PENSTOCK_SEED");

    (void)state;
    for (uint64_t i = 1; i <= 15; i++) {
        uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : i;

        print_message("seed %llu\n", (unsigned long long)seed);
        random_run(seed);
        if (given != NULL)
            break;
    }
}

/* A plan that stays parked holds free space; thousands that come and go behind it do not pile up.
 */
static void test_parked_plan_holds(void **state)
{
    struct delivery_state *s = state_create();
    struct journal_uuid u = tdlog_journal(0);
    struct record_view *v = malloc(sizeof(*v));
    uint8_t *buf = malloc(RECORD_BYTES_MAX);
    struct plan plan;

    (void)state;
    assert_true(v != NULL && buf != NULL);
    for (uint64_t id = 1; id <= 20000; id++) {
        struct record r = {.type = RECORD_PLAN, .plan = &plan, .plan_id = id, .text = "x"};

        tdlog_plan(&plan, id, "t", 0, id * 10, id * 10 + 10);
        apply_bytes(s, buf, record_encode(&r, 0, buf));
        r.type = id == 1 ? RECORD_PARKED : RECORD_CONFIRM;
        apply_bytes(s, buf, record_encode(&r, 0, buf));
        apply_bytes(s, buf, record_encode_floor(&u, id * 10 + 10, 0, buf));
        assert_true(state_free_lsn(s, &u) == 10);
    }
    assert_true(s->journal[0].heap_count < 2000);
    assert_int_equal(s->planned.count, 0);
    state_destroy(s);
    free(v);
    free(buf);
}

/* The newest seq of each session is kept; past MARKS_MAX the one used longest ago goes. */
static void count_mark(void *ctx, const struct block_mark *mark)
{
    uint64_t *next = ctx; /* two numbers: the session expected, and how many came */

    assert_memory_equal(mark->session, next, sizeof(*next));
    assert_int_equal(mark->seq, next[0] == 5 ? 7 : 1);
    next[0] = next[0] == MARKS_MAX ? 5 : next[0] == 5 ? MARKS_MAX + 1 : next[0] + 1;
    next[1]++;
}

static void test_marks_are_bounded(void **state)
{
    struct delivery_state *s = state_create();
    struct record_view v = {.type = RECORD_MARK};
    uint64_t next[2] = {11, 0};

    (void)state;
    for (uint64_t i = 1; i < MARKS_MAX + 10; i++) {
        memcpy(v.mark.session, &i, sizeof(i));
        v.mark.seq = 1;
        assert_int_equal(state_apply(s, &v), 0);
        if (i == MARKS_MAX ||
            i == MARKS_MAX - 1) { /* use the fifth again; older seqs do not count */
            uint64_t five = 5;

            memcpy(v.mark.session, &five, sizeof(five));
            v.mark.seq = i == MARKS_MAX ? 3 : 7;
            assert_int_equal(state_apply(s, &v), 0);
        }
    }
    marks_each(&s->marks, count_mark, next);
    assert_int_equal(next[1], MARKS_MAX);
    state_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_round_trip),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_load_round_trip),
        cmocka_unit_test(test_inserted),
        cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_parked_plan_holds),
        cmocka_unit_test(test_marks_are_bounded),
        cmocka_unit_test(test_spooled),
        cmocka_unit_test(test_cut),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
