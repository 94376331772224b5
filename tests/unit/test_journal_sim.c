/*
 * Goal: whatever the order of writes, failures, kills and power cuts, what was acknowledged is
 * recovered, in order and once; nothing superseded is read; the keeper heals by itself; what one
 * recovery has shown, the next one shows.
 *
 * Method: seeded schedules of a real journal, writer, keeper and reader over the simulated disk
 * (tcore_storage.h, queued writes), against a model that is a list of serial numbers. A schedule is
 * a function of its seed: replay one with PENSTOCK_SEED=n (PENSTOCK_SCHEDULES=m: m of them, from n
 * on). Canaries break a rule on purpose (acknowledge before completion; ignore where a segment
 * ends) and must be caught.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <rte_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "dataplane/event/assemble.h"
#include "dataplane/journal/journal_internal.h"
#include "dataplane/journal/writer.h"
#include "tests/unit/tcore_read.h"
#include "tests/unit/tcore_storage.h"

#define SEGMENT_BYTES 65536u
#define BLOCK_BYTES   12288u
#define BLOCKS        12u
#define STEPS         400
#define SERIALS_MAX   20000u
#define SCHEDULES     4000
#define TIME_US_MAX   30000000

enum canary { CANARY_NONE, CANARY_EARLY, CANARY_IGNORE_END };

/* One machine and the model of what it promised. */
struct sim {
    uint64_t seed, random;
    enum canary canary;
    char *dir, *journal_dir;
    struct tcore_storage *disk;
    struct journal_config config;
    struct journal *journal;
    struct writer *writer;
    struct rte_ring *returns;
    struct block block[BLOCKS];
    struct block *free_block[BLOCKS];
    uint32_t n_free;
    struct block_ring ring[3];
    char uuid_hex[33];
    uint64_t seq;
    /* The model: serials in the order of the journal, as far as it is known. */
    uint32_t next_serial; /* of the next event */
    uint32_t *known;      /* acknowledged, or seen by a recovery */
    uint32_t n_known;
    uint32_t n_read; /* known[0..n_read) has been read by the sink */
    struct tcore_reader sink;
    bool sink_open;
    lsn_t cursor; /* of the sink, over restarts */
    lsn_t freed;
    uint64_t faults, cuts, kills;
    char error[256];
};

static struct block_entry entries[BLOCKS][BLOCK_ENTRIES_MAX];

static uint32_t below(struct sim *s, uint32_t n)
{
    return (uint32_t)(tcore_random(&s->random) % n);
}

static void PRINTF(2, 3) wrong(struct sim *s, const char *format, ...)
{
    va_list ap;

    if (s->error[0] != 0)
        return;
    va_start(ap, format);
    vsnprintf(s->error, sizeof(s->error), format, ap);
    va_end(ap);
}

/* ---- acknowledging ---- */

static uint32_t line_serial(const char *line)
{
    uint32_t n = 0;

    if (sscanf(line, "{\"n\":%" SCNu32, &n) != 1)
        return 0;
    return n;
}

static void known_add(struct sim *s, uint32_t serial)
{
    if (s->n_known > 0 && s->known[s->n_known - 1] >= serial)
        wrong(s, "%u acknowledged after %u", serial, s->known[s->n_known - 1]);
    if (s->n_known == SERIALS_MAX)
        wrong(s, "too many events for the test");
    else
        s->known[s->n_known++] = serial;
}

static void block_known(struct sim *s, const struct block *b)
{
    for (uint32_t i = 0; i < b->n_entries; i++)
        known_add(s, line_serial(b->buf + b->_entries[i].offset));
}

static void on_durable(void *ctx, struct block *b)
{
    struct sim *s = ctx;

    if (s->canary != CANARY_EARLY)
        block_known(s, b);
    s->free_block[s->n_free++] = b;
}

/* ---- life of the machine ---- */

static void sim_up(struct sim *s)
{
    char error[400] = "";
    int rc = journal_open(s->journal_dir, "machine", &s->config, tcore_storage_ops(s->disk),
                          &s->journal, error, sizeof(error));

    if (rc < 0) {
        s->journal = NULL;
        wrong(s, "recovery fails: %s", error);
        return;
    }
    journal_uuid_hex(journal_uuid(s->journal), s->uuid_hex);
    rc = writer_create(s->journal, BLOCKS, BLOCK_BYTES, 0, on_durable, s, &s->writer);
    ASSERT(rc == 0);
    s->n_free = 0;
    for (uint32_t i = 0; i < BLOCKS; i++)
        s->free_block[s->n_free++] = &s->block[i];
}

static void sink_close(struct sim *s)
{
    if (!s->sink_open)
        return;
    s->cursor = s->sink.cursor;
    tcore_reader_fini(&s->sink);
    s->sink_open = false;
}

static void sim_down(struct sim *s)
{
    if (s->journal == NULL)
        return;
    sink_close(s);
    writer_destroy(s->writer);
    journal_close(s->journal);
    s->journal = NULL;
}

/* ---- reading ---- */

/* One line that the sink reads: it must be the next known one. */
static void sink_line(void *ctx, const struct block_view *v, const struct block_run *run,
                      const struct block_entry *e)
{
    struct sim *s = ctx;
    const char *line = v->buf + e->offset;
    uint32_t serial = line_serial(line);
    char id[64];

    (void)run;
    snprintf(id, sizeof(id), "%s-%016" PRIx64 "\"}\n", s->uuid_hex, v->header->lsn + e->offset);
    if (memcmp(line + e->len - strlen(id), id, strlen(id)) != 0)
        wrong(s, "event %u carries another place than its own", serial);
    if (s->n_read >= s->n_known || s->known[s->n_read] != serial)
        wrong(s, "the sink reads %u in place of %u", serial,
              s->n_read < s->n_known ? s->known[s->n_read] : 0);
    else
        s->n_read++;
}

static void sink_read(struct sim *s, uint32_t blocks)
{
    if (!s->sink_open) {
        tcore_reader_init(&s->sink, s->journal, tcore_storage_ops(s->disk), s->cursor,
                          2 * BLOCK_BYTES);
        s->sink.ignore_end = s->canary == CANARY_IGNORE_END;
        s->sink_open = true;
    }
    for (; blocks > 0 && s->error[0] == 0; blocks--) {
        int rc = tcore_read_block(&s->sink, sink_line, s);

        if (rc < 0)
            wrong(s, "the sink: %s", s->sink.error);
        if (rc <= 0)
            return;
    }
}

/* After a recovery: a line behind what the sink has read. Known ones come first, then perhaps
 * unanswered ones. */
struct recovery_check {
    struct sim *s;
    uint32_t at;
};

static void recovery_line(void *ctx, const struct block_view *v, const struct block_run *run,
                          const struct block_entry *e)
{
    struct recovery_check *c = ctx;
    uint32_t serial = line_serial(v->buf + e->offset);

    (void)run;
    if (c->at < c->s->n_known && c->s->known[c->at] != serial)
        wrong(c->s, "recovered %u in place of %u", serial, c->s->known[c->at]);
    else if (c->at >= c->s->n_known && serial < c->s->next_serial)
        known_add(c->s, serial); /* never answered, and there: once is right */
    c->at++;
}

static void recovery_check(struct sim *s)
{
    struct recovery_check check = {.s = s, .at = s->n_read};
    struct tcore_reader r;

    tcore_reader_init(&r, s->journal, tcore_storage_ops(s->disk), s->cursor, 2 * BLOCK_BYTES);
    if (tcore_read_all(&r, recovery_line, &check) < 0)
        wrong(s, "after recovery: %s", r.error);
    if (check.at < s->n_known)
        wrong(s, "acknowledged %u (%u in all), recovered %u", s->known[s->n_known - 1], s->n_known,
              check.at);
    if (s->error[0] == 0 && journal_events_total(s->journal) != s->n_known)
        wrong(s, "events_total is %" PRIu64 " and not %u", journal_events_total(s->journal),
              s->n_known);
    tcore_reader_fini(&r);
}

/* ---- steps ---- */

static void append(struct sim *s)
{
    struct block *b = writer_open_block(s->writer);
    char doc[600];
    int len = snprintf(doc, sizeof(doc), "{\"n\":%" PRIu32 ",\"x\":\"%0*d\"}", s->next_serial,
                       1 + (int)below(s, 400), 0);
    struct event_parts parts = {.doc = {doc, (size_t)len}, .journal_hex = s->uuid_hex};
    struct block_ring *ring = &s->ring[below(s, ARRAY_LEN(s->ring))];
    struct block_line line = {0};
    uint32_t added;

    if (writer_failed(s->writer))
        return;
    if (b != NULL && !block_fits(b, ring, (uint32_t)event_assembled_max(&parts))) {
        if (s->canary == CANARY_EARLY)
            block_known(s, b);
        writer_seal(s->writer);
        b = NULL;
    }
    if (b == NULL) {
        if (s->n_free == 0)
            return;
        b = s->free_block[--s->n_free];
        if (writer_open(s->writer, b, ++s->seq) != 0) {
            s->free_block[s->n_free++] = b;
            return;
        }
    }
    parts.lsn = block_tail_lsn(b);
    line.len = (uint32_t)event_assemble(&parts, block_tail(b), &added);
    line.added = (uint16_t)added;
    block_commit(b, ring, &line);
    s->next_serial++;
}

static void seal(struct sim *s)
{
    struct block *b = writer_open_block(s->writer);

    if (b == NULL || b->n_entries == 0 || writer_failed(s->writer))
        return;
    if (s->canary == CANARY_EARLY)
        block_known(s, b);
    writer_seal(s->writer);
}

static void pump(struct sim *s)
{
    const struct block *b = writer_open_block(s->writer);
    bool may_seal = b != NULL && b->n_entries > 0;

    writer_pump(s->writer, NULL, false);
    if (s->canary == CANARY_EARLY && may_seal && writer_open_block(s->writer) == NULL)
        block_known(s, b);
}

static void finish(struct sim *s)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR};
    enum tcore_outcome outcome = TCORE_DONE;
    unsigned pending = tcore_pending(s->disk);
    uint64_t user_data;
    int result;

    if (pending == 0)
        return;
    if (below(s, 12) == 0) {
        outcome = (enum tcore_outcome)(1 + below(s, 4));
        s->faults++;
    }
    user_data = tcore_finish(s->disk, below(s, pending), outcome,
                             errors[below(s, ARRAY_LEN(errors))], &result);
    writer_complete(s->writer, user_data, result);
}

static void keep(struct sim *s)
{
    static const enum tcore_op kinds[] = {TCORE_OPEN,     TCORE_PWRITE,   TCORE_SYNC,
                                          TCORE_SYNC_DIR, TCORE_ALLOCATE, TCORE_RENAME};

    if (s->sink_open && below(s, 3) == 0)
        s->freed = s->sink.cursor;
    if (below(s, 6) == 0) {
        tcore_fail(s->disk, kinds[below(s, ARRAY_LEN(kinds))], 1 + below(s, 3), 1 + below(s, 2),
                   ENOSPC);
        s->faults++;
    }
    (void)journal_keep(s->journal, s->freed);
    tcore_heal(s->disk);
}

static void crash(struct sim *s)
{
    bool power = below(s, 2) == 0;

    if (power)
        tcore_power_cut(s->disk, tcore_random(&s->random));
    else
        tcore_kill(s->disk, tcore_random(&s->random));
    s->cuts += power;
    s->kills += !power;
    sim_down(s);
    if (below(s, 4) == 0) { /* the first try of a recovery meets a disk that cannot be read */
        char error[400];
        struct journal *j;

        tcore_fail(s->disk, TCORE_PREAD, 1 + below(s, 4), 1, EIO);
        if (journal_open(s->journal_dir, "machine", &s->config, tcore_storage_ops(s->disk), &j,
                         error, sizeof(error)) == 0)
            journal_close(j);
        tcore_heal(s->disk);
    }
    sim_up(s);
    if (s->error[0] == 0)
        recovery_check(s);
}

static void step(struct sim *s)
{
    uint32_t die = below(s, 1000);

    if (die < 400)
        append(s);
    else if (die < 440)
        seal(s);
    else if (die < 640)
        pump(s);
    else if (die < 840)
        finish(s);
    else if (die < 920)
        keep(s);
    else if (die < 985)
        sink_read(s, 1 + below(s, 4));
    else
        crash(s);
}

/* At the end everything works again: all that is queued becomes durable, and the sink reads all of
 * it. */
static void settle(struct sim *s)
{
    tcore_heal(s->disk);
    for (int i = 0; i < 400 && s->error[0] == 0; i++) {
        uint64_t user_data;
        int result;

        (void)journal_keep(s->journal, s->freed);
        writer_pump(s->writer, NULL, false);
        if (tcore_pending(s->disk) == 0 && writer_queued(s->writer) == 0 &&
            !writer_failed(s->writer))
            break;
        while (tcore_pending(s->disk) > 0) {
            user_data = tcore_finish(s->disk, 0, TCORE_DONE, 0, &result);
            writer_complete(s->writer, user_data, result);
        }
        sink_read(s, 100);
        s->freed = s->sink_open ? s->sink.cursor : s->freed;
    }
    if (s->error[0] == 0 && (writer_queued(s->writer) > 0 || writer_failed(s->writer)))
        wrong(s, "a healthy disk, and blocks are still waiting (full %d, disk_error %d)",
              journal_full(s->journal), journal_disk_error(s->journal));
    sink_read(s, 10000);
    if (s->error[0] == 0 && s->n_read != s->n_known)
        wrong(s, "the sink has read %u of %u", s->n_read, s->n_known);
}

/* ---- schedules ---- */

static void sim_init(struct sim *s, uint64_t seed, enum canary canary)
{
    static const char *const names[] = {"order", "click", ""};
    char path[300];

    *s = (struct sim){.seed = seed, .random = seed, .canary = canary, .next_serial = 1};
    s->dir = tcore_mkdir(true);
    snprintf(path, sizeof(path), "%s/journal", s->dir);
    s->journal_dir = strdup(path);
    s->disk = tcore_storage_create(TCORE_QUEUE);
    s->config = (struct journal_config){.segment_bytes = SEGMENT_BYTES,
                                        .limit_bytes = (6 + below(s, 10)) * SEGMENT_BYTES,
                                        .spares = 1 + below(s, 4)};
    s->known = calloc(SERIALS_MAX, sizeof(*s->known));
    s->returns = aligned_alloc(64, align_up((uint64_t)rte_ring_get_memsize(32), 64));
    ASSERT(s->returns != NULL && rte_ring_init(s->returns, "returns", 32, RING_F_SC_DEQ) == 0);
    for (uint32_t i = 0; i < BLOCKS; i++)
        block_init(&s->block[i], aligned_alloc(BLOCK_ALIGN, BLOCK_BYTES), BLOCK_BYTES,
                   BLOCK_BYTES / 2, entries[i], s->returns);
    for (size_t i = 0; i < ARRAY_LEN(s->ring); i++)
        s->ring[i] = (struct block_ring){.name = span_of(names[i])};
    sim_up(s);
}

static void sim_fini(struct sim *s)
{
    sim_down(s);
    for (uint32_t i = 0; i < BLOCKS; i++)
        free(s->block[i].buf);
    tcore_storage_destroy(s->disk);
    tcore_rmdir(s->dir);
    free(s->journal_dir);
    free(s->known);
    free(s->returns);
}

/* Runs one schedule; true when all was well. totals may be NULL. */
static bool schedule(uint64_t seed, enum canary canary, struct sim *totals, bool print)
{
    static struct sim s;
    bool well;

    sim_init(&s, seed, canary);
    (void)journal_keep(s.journal, 0);
    for (int i = 0; i < STEPS && s.error[0] == 0; i++)
        step(&s);
    if (s.error[0] == 0)
        settle(&s);
    well = s.error[0] == 0;
    if (!well && print)
        printf("PENSTOCK_SEED=%" PRIu64 ": %s\n", seed, s.error);
    if (totals != NULL) {
        totals->n_known += s.n_known;
        totals->faults += s.faults;
        totals->cuts += s.cuts;
        totals->kills += s.kills;
    }
    sim_fini(&s);
    return well;
}

static void test_schedules(void **state)
{
    uint64_t seed = tcore_seed("journal schedules, the first", 1);
    int64_t end_us = clock_monotonic_us() + TIME_US_MAX;
    static struct sim totals;
    const char *count = getenv("PENSTOCK_SCHEDULES");
    int n = 0, bad = 0, most = getenv("PENSTOCK_SEED") != NULL ? 1 : SCHEDULES;

    (void)state;
    totals = (struct sim){0};
    if (count != NULL) {
        most = (int)strtol(count, NULL, 10);
        end_us = INT64_MAX;
    }
    for (; n < most && clock_monotonic_us() < end_us && bad < 5; n++)
        bad += !schedule(seed + (uint64_t)n, CANARY_NONE, &totals, true);
    printf("%d schedules: %u events, %" PRIu64 " faults, %" PRIu64 " power cuts, %" PRIu64
           " kills\n",
           n, totals.n_known, totals.faults, totals.cuts, totals.kills);
    assert_int_equal(bad, 0);
}

static int caught(enum canary canary, int tries)
{
    int n = 0;

    for (int i = 0; i < tries; i++)
        n += !schedule(1 + (uint64_t)i, canary, NULL, false);
    return n;
}

static void test_canaries(void **state)
{
    (void)state;
    assert_true(caught(CANARY_EARLY, 60) > 0);
    assert_true(caught(CANARY_IGNORE_END, 60) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_canaries),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    writer_retry_us = 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
