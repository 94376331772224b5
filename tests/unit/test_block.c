/*
 * Goal: a block comes back from the disk as it was sealed, or not at all. Method: round trips over
 * random lines and types against a list; every bit of a block flipped, every length cut, every
 * other place and journal; edges of capacity and of the entry limit. Random tests print their seed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/block/block.h"
#include "dataplane/event/assemble.h"
#include "tests/unit/tcore_storage.h"

#define CAPACITY (256u << 10)
#define FULL     (64u << 10)
#define RINGS    300

static const struct journal_uuid uuid = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static const lsn_t place = (lsn_t)7 << 32 | 8192;

static struct block_entry entries[BLOCK_ENTRIES_MAX];
static struct block_ring ring[RINGS];
static char names[RINGS][16];

struct rig {
    struct block b;
    struct rte_ring *returns;
    struct block_seal seal;
};

static int rig_up(void **state)
{
    static struct rig r;

    r.returns = aligned_alloc(64, align_up((uint64_t)rte_ring_get_memsize(8), 64));
    if (r.returns == NULL || rte_ring_init(r.returns, "returns", 8, RING_F_SC_DEQ) != 0)
        return -1;
    block_init(&r.b, aligned_alloc(BLOCK_ALIGN, CAPACITY), CAPACITY, FULL, entries, r.returns);
    memset(r.b.buf, 0xaa, CAPACITY); /* nothing may depend on zeros */
    r.seal = (struct block_seal){.uuid = &uuid,
                                 .prev_end = place - 4096,
                                 .durable = place - 8192,
                                 .events_before = 77,
                                 .now_us = 1};
    for (int i = 0; i < RINGS; i++) {
        snprintf(names[i], sizeof(names[i]), "type-%d", i);
        ring[i] = (struct block_ring){.name = span_of(names[i]), .schema_hash = (uint32_t)i * 3};
    }
    block_open(&r.b, 1, place);
    *state = &r;
    return 0;
}

static int rig_down(void **state)
{
    struct rig *r = *state;

    free(r->b.buf);
    free(r->returns);
    return 0;
}

/* Appends an assembled event with a number in it. */
static void add(struct block *b, struct block_ring *into, uint32_t number, uint8_t flags)
{
    char doc[64];
    int len = snprintf(doc, sizeof(doc), "{\"n\":%u}", number);
    struct event_parts parts = {.doc = {doc, (size_t)len},
                                .journal_hex = "0123456789abcdef0123456789abcdef",
                                .lsn = block_tail_lsn(b)};
    struct block_line line = {.minute = (int32_t)number, .flags = flags};
    uint32_t added;

    assert_true(block_fits(b, into, (uint32_t)event_assembled_max(&parts)));
    line.len = (uint32_t)event_assemble(&parts, block_tail(b), &added);
    line.added = (uint16_t)added;
    block_commit(b, into, &line);
}

static uint32_t number_of(const struct block_view *v, const struct block_entry *e)
{
    unsigned n = 0;

    assert_int_equal(sscanf(v->buf + e->offset, "{\"n\":%u", &n), 1);
    assert_int_equal(v->buf[e->offset + e->len - 1], '\n');
    return n;
}

/* The LSN that a line's penstock_id names. */
static lsn_t line_lsn(const struct block_view *v, const struct block_entry *e)
{
    unsigned long long l = 0;

    assert_int_equal(sscanf(v->buf + e->offset + e->len - 19, "%16llx\"}\n", &l), 1);
    return l;
}

static void test_round_trip(void **state)
{
    struct rig *r = *state;
    struct block_view v;

    for (uint32_t i = 0; i < 10; i++)
        add(&r->b, &ring[i % 3], i, i == 4 ? BLOCK_ENTRY_PART : i == 5 ? BLOCK_ENTRY_LATE : 0);
    block_seal(&r->b, &r->seal);
    assert_int_equal(r->b.len % BLOCK_ALIGN, 0);
    assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place, &v), 0);
    assert_int_equal(v.header->n_entries, 10);
    assert_int_equal(v.header->events, 9); /* a part is no event of its own */
    assert_int_equal(v.header->n_runs, 3);
    assert_true(v.header->prev_end == place - 4096 && v.header->durable == place - 8192);
    assert_int_equal(v.header->events_before, 77);
    for (uint32_t run = 0; run < 3; run++) {
        struct span name = block_run_name(&v, &v.runs[run]);

        assert_true(span_equal(name, ring[run].name));
        assert_int_equal(v.runs[run].schema_hash, run * 3);
        for (uint32_t i = 0; i < v.runs[run].n_entries; i++) {
            const struct block_entry *e = &v.entries[v.runs[run].first + i];

            assert_int_equal(number_of(&v, e), run + 3 * i); /* order is kept in a run */
            assert_int_equal(e->minute, run + 3 * i);
            assert_true(line_lsn(&v, e) == place + e->offset);
            assert_int_equal(e->_next, 0);
        }
    }
    for (uint32_t at = v.header->names_offset + 18; at < v.header->len; at++)
        assert_int_equal(v.buf[at], 0); /* what lies behind is no old memory */
}

static void test_random_types(void **state)
{
    struct rig *r = *state;
    uint64_t seed = tcore_seed("block types", 3);

    for (uint64_t seq = 2; seq < 60; seq++) {
        uint32_t want[RINGS] = {0}, n = (uint32_t)(tcore_random(&seed) % 200) + 1, seen = 0;
        struct block_view v;

        block_open(&r->b, seq, place);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t type = (uint32_t)(tcore_random(&seed) % RINGS);

            add(&r->b, &ring[type], type, 0);
            want[type]++;
        }
        block_seal(&r->b, &r->seal);
        assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place, &v), 0);
        for (uint32_t run = 0; run < v.header->n_runs; run++) {
            uint32_t type = number_of(&v, &v.entries[v.runs[run].first]);

            assert_true(span_equal(block_run_name(&v, &v.runs[run]), ring[type].name));
            assert_int_equal(v.runs[run].n_entries, want[type]);
            seen += v.runs[run].n_entries;
        }
        assert_int_equal(seen, n);
    }
}

/* A ring remembers its run of one block only, also when another has the same number. */
static void test_rings_of_earlier_blocks(void **state)
{
    struct rig *r = *state;

    for (uint32_t n = 1; n <= RINGS; n += 13) {
        struct block_view v;

        block_open(&r->b, n % 2, place);
        for (uint32_t i = n; i-- > 0;) /* the other way round than before */
            add(&r->b, &ring[n % 2 == 0 ? i : n - 1 - i], i, 0);
        block_seal(&r->b, &r->seal);
        assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place, &v), 0);
        assert_int_equal(v.header->n_runs, n);
        for (uint32_t run = 0; run < n; run++) {
            uint32_t of = n % 2 == 0 ? n - 1 - run : run;

            assert_int_equal(v.runs[run].n_entries, 1);
            assert_true(span_equal(block_run_name(&v, &v.runs[run]), ring[of].name));
            assert_int_equal(v.runs[run].schema_hash, of * 3);
        }
    }
}

static void test_entry_limit(void **state)
{
    struct rig *r = *state;
    struct block_line line = {.len = 1};
    char *big = aligned_alloc(BLOCK_ALIGN, 1u << 20);
    struct block_view v;

    free(r->b.buf);
    block_init(&r->b, big, 1u << 20, FULL, entries, r->returns);
    block_open(&r->b, 2, place);
    for (uint32_t i = 0; i < BLOCK_ENTRIES_MAX; i++) {
        assert_true(block_fits(&r->b, &ring[0], 1));
        *block_tail(&r->b) = '\n';
        block_commit(&r->b, &ring[0], &line);
    }
    assert_false(block_fits(&r->b, &ring[0], 1));
    assert_true(block_is_full(&r->b));
    block_seal(&r->b, &r->seal);
    assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place, &v), 0);
    assert_int_equal(v.header->n_entries, BLOCK_ENTRIES_MAX);
}

/* The largest line that block_fits() allows seals inside of the capacity, and one byte more is
 * refused. */
static void test_capacity_edge(void **state)
{
    struct rig *r = *state;

    for (uint32_t rest = 0; rest < 40; rest++) {
        uint32_t len = CAPACITY;
        struct block_line line;
        struct block_view v;

        block_open(&r->b, rest + 2, place);
        for (uint32_t i = 0; i < rest; i++)
            add(&r->b, &ring[i], i, 0);
        while (!block_fits(&r->b, &ring[RINGS - 1], len))
            len--;
        assert_true(len > CAPACITY - 128 - 40 * 300);
        assert_false(block_fits(&r->b, &ring[RINGS - 1], len + 1));
        memset(block_tail(&r->b), 'x', len);
        line = (struct block_line){.len = len};
        block_commit(&r->b, &ring[RINGS - 1], &line);
        block_seal(&r->b, &r->seal);
        assert_true(r->b.len <= CAPACITY);
        assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place, &v), 0);
    }
}

static void test_every_bit(void **state)
{
    struct rig *r = *state;
    struct block_view v;

    add(&r->b, &ring[0], 1, 0);
    add(&r->b, &ring[1], 2, 0);
    block_seal(&r->b, &r->seal);
    for (uint32_t bit = 0; bit < 8 * r->b.len; bit++) {
        int rc;

        r->b.buf[bit / 8] ^= (char)(1 << bit % 8);
        rc = block_view(r->b.buf, r->b.len, &uuid, place, &v);
        assert_true(rc == -EBADMSG || rc == -EAGAIN); /* a length that has grown asks for more */
        r->b.buf[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place, &v), 0);
}

static void test_cut_short(void **state)
{
    struct rig *r = *state;
    struct block_view v;

    for (uint32_t i = 0; i < 100; i++)
        add(&r->b, &ring[i], i, 0);
    block_seal(&r->b, &r->seal);
    for (uint32_t len = 0; len < r->b.len; len++) {
        char *copy = aligned_alloc(8, align_up(len + 1, 8));
        int rc;

        memcpy(copy, r->b.buf, len);
        rc = block_view(copy, len, &uuid, place, &v);
        assert_int_equal(rc, len < sizeof(struct block_header) ? -EBADMSG : -EAGAIN);
        assert_int_equal(block_len_hint(copy, len),
                         len < sizeof(struct block_header) ? 0 : r->b.len);
        free(copy);
    }
}

static void test_torn_sectors(void **state)
{
    struct rig *r = *state;
    struct block_view v;

    for (uint32_t i = 0; i < 100; i++)
        add(&r->b, &ring[i], i, 0);
    block_seal(&r->b, &r->seal);
    for (uint32_t at = 0; at < r->b.len; at += 512) {
        char keep[512];

        memcpy(keep, r->b.buf + at, 512);
        memset(r->b.buf + at, 0x55, 512);
        assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place, &v), -EBADMSG);
        memcpy(r->b.buf + at, keep, 512);
    }
}

static void test_elsewhere(void **state)
{
    struct rig *r = *state;
    struct journal_uuid other = uuid;
    struct block_view v;

    add(&r->b, &ring[0], 1, 0);
    block_seal(&r->b, &r->seal);
    assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place + 4096, &v), -EBADMSG);
    assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place + ((lsn_t)1 << 32), &v), -EBADMSG);
    other.byte[15] ^= 1;
    assert_int_equal(block_view(r->b.buf, r->b.len, &other, place, &v), -EBADMSG);
}

/* A moved block is a block of the new place only; its lines name it, its content is the same. */
static void test_move(void **state)
{
    struct rig *r = *state;
    lsn_t to = (lsn_t)9 << 32 | 4096;
    struct block_view v;

    for (uint32_t i = 0; i < 20; i++)
        add(&r->b, &ring[i % 4], i, 0);
    block_move(&r->b, to); /* while open */
    add(&r->b, &ring[2], 20, 0);
    block_seal(&r->b, &r->seal);
    assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, to, &v), 0);
    block_move(&r->b, place); /* when sealed */
    r->seal.events_before = 5;
    block_reseal(&r->b, &r->seal);
    assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, to, &v), -EBADMSG);
    assert_int_equal(block_view(r->b.buf, r->b.len, &uuid, place, &v), 0);
    assert_int_equal(v.header->events_before, 5);
    for (uint32_t i = 0; i < v.header->n_entries; i++)
        assert_true(line_lsn(&v, &v.entries[i]) == place + v.entries[i].offset);
}

static void test_references(void **state)
{
    struct rig *r = *state;
    void *back = NULL;

    block_hold(&r->b, 3);
    block_release(&r->b);
    block_release(&r->b);
    assert_int_equal(rte_ring_count(r->returns), 0);
    block_release(&r->b);
    assert_int_equal(rte_ring_sc_dequeue(r->returns, &back), 0);
    assert_ptr_equal(back, &r->b);
}

#define RIGGED(f) cmocka_unit_test_setup_teardown(f, rig_up, rig_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_round_trip),
        RIGGED(test_random_types),
        RIGGED(test_entry_limit),
        RIGGED(test_capacity_edge),
        RIGGED(test_every_bit),
        RIGGED(test_cut_short),
        RIGGED(test_torn_sectors),
        RIGGED(test_elsewhere),
        RIGGED(test_move),
        RIGGED(test_references),
        RIGGED(test_rings_of_earlier_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
