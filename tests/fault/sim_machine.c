/*
 * The machine: workers that only append, the keeper, the delivery log and sink threads, each one
 * turn at a time, in the order that the steps of a schedule say. See sim.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "dataplane/base/ring.h"
#include "dataplane/event/assemble.h"
#include "dataplane/journal/journal_internal.h"
#include "dataplane/journal/writer.h"
#include "sinks/delivery/dlog_internal.h"
#include "sinks/sink.c" /* for turn() and flush() */
#include "tests/fault/sim.h"

#define SEGMENT_BYTES       65536u
#define BLOCK_BYTES         12288u
#define BLOCKS              12u
#define SINKS_MAX           2u
#define SHORT_STEPS         400u
#define LANE_BLOCKS         4u
#define START_TRIES         60u
#define SETTLE_ROUNDS       6000u
#define SPOOLED_ENCODING_AT (48 + RECORD_HEADER_BYTES + 17) /* in a file: docs/journal-format.md */
#define DAY_US              INT64_C(86400000000)

/* A journal and, in this life or not, the worker that writes it. */
struct sim_worker {
    uint32_t index;
    bool made; /* its directory is there */
    bool writes;
    struct journal *journal;
    struct writer *writer;
    struct rte_ring *returns;
    struct block block[BLOCKS];
    struct block *free_block[BLOCKS];
    uint32_t n_free, n_lent;
    struct block_ring ring[KINDS];
    char uuid_hex[33];
    uint64_t seq;
    struct lane *lane[SINKS_MAX];
    uint64_t limit_bytes;
};

static struct {
    struct sim_worker worker[JOURNALS];
    uint32_t n_sinks;
    struct sink *sink[SINKS_MAX];
    struct dlog *dlog;
    struct spool *spool;
    bool lanes, gzip, shaky;
    uint32_t step;
} machine;

static char block_memory[JOURNALS][BLOCKS][BLOCK_BYTES] __attribute__((aligned(BLOCK_ALIGN)));
static struct block_entry block_entries[JOURNALS][BLOCKS][BLOCK_ENTRIES_MAX];
static struct type_config listed[] = {
    [KIND_ORDER] = {.name = "order", .sampling_ppm = TYPE_SAMPLING_DEFAULT},
    [KIND_CLICK] = {.name = "click", .sampling_ppm = TYPE_SAMPLING_DEFAULT},
    [KIND_METER] = {.name = "meter",
                    .sampling_ppm = TYPE_SAMPLING_DEFAULT,
                    .method = TYPE_INSERT_ALL},
    [KIND_PULSE] = {.name = "pulse",
                    .sampling_ppm = TYPE_SAMPLING_DEFAULT,
                    .method = TYPE_INSERT_ALL},
};
static struct type_set types = {.type_field = "event_type",
                                .unlisted = UNLISTED_JSON,
                                .n_types = ARRAY_LEN(listed),
                                .type = listed};
static jmp_buf aborted;

struct sim sim;

/* ---- what everybody uses ---- */

uint32_t sim_below(uint32_t n)
{
    return (uint32_t)(sim_random(&sim.random) % n);
}

bool sim_once_in(uint32_t n)
{
    bool yes = sim_below(n) == 0; /* drawn always: a calm run takes the same way */

    return yes && !sim.calm && !sim.options.calm;
}

void sim_trace(const char *format, ...)
{
    va_list ap;

    if (!sim.options.trace)
        return;
    va_start(ap, format);
    printf("%4u %9.3f ", machine.step, (double)sim.now_us / 1e6);
    vprintf(format, ap);
    printf("\n");
    va_end(ap);
}

void sim_wrong(const char *format, ...)
{
    va_list ap;

    if (sim.error[0] != '\0')
        return;
    va_start(ap, format);
    vsnprintf(sim.error, sizeof(sim.error), format, ap);
    va_end(ap);
    sim_trace("WRONG: %s", sim.error);
}

void sim_abort(void)
{
    longjmp(aborted, 1);
}

/* ---- workers ---- */

static void blocks_take_back(struct sim_worker *w)
{
    void *item;

    while (rte_ring_sc_dequeue(w->returns, &item) == 0) {
        w->free_block[w->n_free++] = item;
        w->n_lent--;
    }
}

/* As the worker's: acknowledged, then lent to the sink threads while there is credit. */
static void block_durable(void *ctx, struct block *b)
{
    struct sim_worker *w = ctx;

    model_acknowledged(w->index, b);
    sim_trace("  w%u acknowledges block %" PRIu64 " at %" PRIx64, w->index, b->seq, b->lsn);
    if (!machine.lanes || w->n_lent >= LANE_BLOCKS) {
        w->free_block[w->n_free++] = b;
        return;
    }
    w->n_lent++;
    block_hold(b, machine.n_sinks);
    for (uint32_t i = 0; i < machine.n_sinks; i++) {
        if (!lane_push(w->lane[i], b))
            block_release(b);
    }
}

static enum line_form some_form(void)
{
    return sim_below(20) == 0 ? LINE_REPLAY : sim_below(8) == 0 ? LINE_PLAIN : LINE_ID;
}

static void append_one(struct sim_worker *w, enum event_kind kind, enum line_form form)
{
    struct block *b = writer_open_block(w->writer);
    struct block_ring *ring = &w->ring[kind];
    char doc[EVENT_BYTES + 1];
    struct event_parts parts = {.journal_hex = w->uuid_hex, .event_us = sim.now_us};
    struct block_line line = {.minute = 1000 + (int32_t)sim_below(2)};
    uint32_t added;

    if (b != NULL && (!block_fits(b, ring, EVENT_BYTES + EVENT_ADDED_BYTES_MAX) ||
                      block_is_full(b) || b->n_entries >= 300)) {
        writer_seal(w->writer);
        b = NULL;
    }
    if (b == NULL) {
        blocks_take_back(w);
        if (w->n_free == 0)
            return;
        b = w->free_block[--w->n_free];
        if (writer_open(w->writer, b, ++w->seq) != 0) {
            w->free_block[w->n_free++] = b;
            return;
        }
        model_open(w->index, b);
    }
    (void)model_event(w->index, b, kind, form, doc, &parts.doc.len);
    doc[parts.doc.len++] = '}';
    parts.doc.ptr = doc;
    parts.lsn = block_tail_lsn(b);
    line.len = (uint32_t)event_assemble(&parts, block_tail(b), &added);
    line.added = (uint16_t)added;
    line.flags = sim_below(20) == 0 ? BLOCK_ENTRY_LATE : 0;
    line.flags |= form == LINE_REPLAY ? BLOCK_ENTRY_REPLAY : 0;
    block_commit(b, ring, &line);
}

static struct sim_worker *some_writer(void)
{
    struct sim_worker *w = &machine.worker[sim_below(JOURNALS)];

    return w->writes ? w : &machine.worker[0];
}

static void step_append(void)
{
    struct sim_worker *w = some_writer();
    uint32_t n = 1 + sim_below(8), i = 0;

    for (; i < n && !writer_failed(w->writer); i++)
        append_one(w, (enum event_kind)sim_below(KINDS), some_form());
    sim_trace("w%u appends %u events", w->index, i);
}

static void step_seal(void)
{
    struct sim_worker *w = some_writer();
    const struct block *b = writer_open_block(w->writer);

    if (b != NULL && b->n_entries > 0 && !writer_failed(w->writer)) {
        writer_seal(w->writer);
        sim_trace("w%u seals", w->index);
    }
}

static void step_pump(void)
{
    struct sim_worker *w = some_writer();

    writer_pump(w->writer, NULL, false);
    sim_trace("w%u pumps: %u queued", w->index, writer_queued(w->writer));
}

static void finish_one(uint32_t i, enum disk_outcome outcome)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR};
    int error = errors[sim_below(ARRAY_LEN(errors))], result;
    uint64_t user_data = disk_finish(sim.disk, i, outcome, error, &result);

    if ((user_data & ENGINE_WRITE) != 0) {
        sim_trace("a write of a loop ends: %d (%s)", result, disk_outcome_name[outcome]);
        engine_write_ended(user_data, result);
        return;
    }
    sim_trace("w%" PRIu64 " write %" PRIu64 " ends: %d (%s)", user_data >> 16, user_data & 0xffff,
              result, disk_outcome_name[outcome]);
    writer_complete(machine.worker[user_data >> 16].writer, user_data, result);
}

static void step_finish(void)
{
    uint32_t pending = disk_pending(sim.disk);
    enum disk_outcome outcome = DISK_DONE;

    if (pending == 0)
        return;
    if (sim_once_in(15)) {
        outcome = (enum disk_outcome)(1 + sim_below(DISK_OUTCOMES - 1));
        sim.totals.faults++;
    }
    finish_one(sim_below(pending), outcome);
}

/* ---- keeper, log, sinks ---- */

struct looked {
    uint32_t serial;
    bool insert;
    bool found;
};

static void look_for(void *arg, const char *path, const uint8_t *data, size_t len)
{
    struct looked *l = arg;
    char start[32];

    if (strstr(path, ".tmp") != NULL || len <= SPOOLED_ENCODING_AT ||
        (data[SPOOLED_ENCODING_AT] == ENCODING_INSERT) != l->insert ||
        encoding_is_staged(data[SPOOLED_ENCODING_AT]))
        return;
    snprintf(start, sizeof(start), "{\"n\":%" PRIu32 ",", l->serial);
    l->found = l->found || memmem(data, len, start, strlen(start)) != NULL;
}

bool machine_spooled(uint32_t serial, bool insert)
{
    struct looked l = {.serial = serial, .insert = insert};

    disk_look(sim.disk, "/d/spool", look_for, &l);
    return l.found;
}

/* What has left a journal must be in the cloud. */
static void check_freed(const struct sim_worker *w)
{
    struct segment_header h;
    uint32_t first = atomic_load(&w->journal->first_segment);

    if (first > 1 && segment_read_header(w->journal, first, &h) == 0)
        model_freed(w->index, h.events_before);
}

static void keep_one(struct sim_worker *w)
{
    int n = journal_keep(w->journal, dlog_free_lsn(machine.dlog, journal_uuid(w->journal)));

    if (n > 0)
        sim_trace("keeper: j%u, %d segments", w->index, n);
    check_freed(w);
}

static void step_keep(void)
{
    struct sim_worker *w = &machine.worker[sim_below(JOURNALS)];

    if (w->journal != NULL)
        keep_one(w);
}

static void step_dlog(void)
{
    int rc = dlog_step(machine.dlog, sim.now_us);

    sim_trace("delivery log: %d, record %" PRIu64 " in file %d", rc, machine.dlog->last_seq,
              machine.dlog->active);
}

/* What the product says of ids that it does not know any more. */
static void ids_watch(const struct sink *s)
{
    const struct sink_dedupe_stats *st;

    for (uint32_t i = 0; (st = sink_dedupe_stats(s, i)) != NULL; i++) {
        if (atomic_load(&st->evicted) > 0)
            model_ids_lost(false);
    }
}

static void sink_turn(uint32_t i)
{
    turn(machine.sink[i]);
    ids_watch(machine.sink[i]);
}

static void step_sink(void)
{
    uint32_t i = sim_below(machine.n_sinks);

    sim_trace("sink %u", i);
    sink_turn(i);
}

static void step_spool(void)
{
    uint64_t written = atomic_load(&spool_stats(machine.spool)->written);

    if (!spool_step(machine.spool))
        return;
    sim.totals.spooled += atomic_load(&spool_stats(machine.spool)->written) - written;
    sim_trace("spool: %" PRIu64 " written, %" PRIu64 " read, %" PRIu64 " removed, %" PRIu64
              " failed",
              atomic_load(&spool_stats(machine.spool)->written),
              atomic_load(&spool_stats(machine.spool)->read),
              atomic_load(&spool_stats(machine.spool)->removed),
              atomic_load(&spool_stats(machine.spool)->errors));
}

static void step_flush(void)
{
    uint32_t i = sim_below(machine.n_sinks);

    sim_trace("sink %u is to flush", i);
    machine.sink[i]->now_us = sim.now_us;
    (void)flush(machine.sink[i]);
}

/* ---- life ---- */

static void worker_up(struct sim_worker *w)
{
    int rc;

    journal_uuid_hex(journal_uuid(w->journal), w->uuid_hex);
    rc = writer_create(w->journal, BLOCKS, BLOCK_BYTES, (uint64_t)w->index << 16, block_durable, w,
                       &w->writer);
    ASSERT(rc == 0);
    w->n_free = w->n_lent = 0;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        block_init(&w->block[i], block_memory[w->index][i], BLOCK_BYTES, BLOCK_BYTES / 2,
                   block_entries[w->index][i], w->returns);
        w->free_block[w->n_free++] = &w->block[i];
    }
    for (uint32_t i = 0; machine.lanes && i < machine.n_sinks; i++) {
        rc = lane_create(LANE_BLOCKS, -1, &w->lane[i]);
        ASSERT(rc == 0);
        sink_set_lane(machine.sink[i], w->index, w->lane[i]);
    }
}

static int journal_up(struct sim_worker *w, char *error)
{
    char dir[16];
    struct journal_config config = {.segment_bytes = SEGMENT_BYTES,
                                    .limit_bytes = w->limit_bytes,
                                    .spares = w->writes ? 1 + sim_below(3) : 0};
    int rc;

    snprintf(dir, sizeof(dir), "/d/j%u", w->index);
    rc = journal_open(dir, "machine", &config, disk_storage(sim.disk), &w->journal, error,
                      ERROR_BYTES);
    if (rc < 0) {
        w->journal = NULL;
        return rc;
    }
    w->made = true;
    sim_trace("j%u: durable to %" PRIx64 ", %" PRIu64 " events", w->index,
              journal_durable(w->journal), journal_events_total(w->journal));
    model_recovered(w->index, journal_events_total(w->journal));
    return 0;
}

static int sinks_up(struct journal *const *journals, uint32_t n, char *error)
{
    const struct live_sink *l = settings_begin(machine.gzip);
    uint64_t chunks = sim_below(2) == 0 ? 96 : 30; /* the largest plan needs 20 */

    for (uint32_t i = 0; i < machine.n_sinks; i++) {
        struct sink_config c = {
            .index = i,
            .n_threads = machine.n_sinks,
            .live = settings_reader(),
            .group_memory_bytes = chunks * CHUNK_BYTES,
            .group_bytes_max = l->group_bytes_max,
            .group_age_us_max = l->group_age_us_max,
            .puts_max = l->puts_max,
            .gzip = l->gzip,
            .gzip_level = l->gzip_level,
            .load_cadence_us = l->load_cadence_us,
            .load_bytes_max = l->load_bytes_max,
            .split_jobs = l->split_jobs,
            .insert_rows = l->insert_rows,
            .insert_bytes = l->insert_bytes,
            .insert_age_us_max = l->insert_age_us_max,
            .inserts_max = l->inserts_max,
            .table_inserts_max = l->table_inserts_max,
            .insert_wait_us = l->insert_wait_us,
            .park_retry_us = l->park_retry_us,
            .spool = machine.spool,
            .spool_bytes = l->spool_bytes,
            .bigquery_enabled = true,
            .node = "node",
            .columns_dir = "/d/columns",
            .dedupe_dir = "/d/dedupe",
            .storage = disk_storage(sim.disk),
            .gcs = {.bucket = "bucket"},
        };
        int rc = sink_create(&c, &types, journals, n, machine.dlog, &machine.sink[i], error,
                             ERROR_BYTES);

        if (rc < 0) {
            machine.sink[i] = NULL;
            return rc;
        }
    }
    if (disk_flipped(sim.disk, "/d/dedupe/"))
        model_ids_lost(true);
    return 0;
}

static int spool_up(char *error)
{
    const struct spool_config config = {
        .dir = "/d/spool", .log_id = dlog_id(machine.dlog), .ports_max = SINKS_MAX};

    return spool_open(&config, disk_storage(sim.disk), dlog_state(machine.dlog), &machine.spool,
                      error, ERROR_BYTES);
}

/* A new process, in the order of the daemon. @return 0, or -errno with error. */
static int life_begin(char *error)
{
    struct dlog_config config = {.dir = "/d/delivery",
                                 .node = "node",
                                 .file_bytes = DLOG_FILE_BYTES_MIN,
                                 .ports_max = SINKS_MAX,
                                 .ring_records = 8u << sim_below(4)};
    struct journal *journals[JOURNALS];
    uint32_t n = 0, n_workers = 1 + sim_below(JOURNALS);
    int rc = 0;

    sim.life++;
    machine.n_sinks = 1 + sim_below(SINKS_MAX);
    machine.lanes = sim_below(2) == 0;
    for (uint32_t i = 0; i < JOURNALS && rc == 0; i++) {
        struct sim_worker *w = &machine.worker[i];

        w->writes = i < n_workers;
        if (w->writes || w->made)
            rc = journal_up(w, error);
        if (w->journal != NULL)
            journals[n++] = w->journal;
    }
    if (rc == 0)
        rc = dlog_open(&config, disk_storage(sim.disk), &machine.dlog, error, ERROR_BYTES);
    if (rc == 0)
        rc = spool_up(error);
    if (rc < 0)
        return rc;
    rc = sinks_up(journals, n, error);
    if (rc < 0)
        return rc;
    spool_clean(machine.spool);
    atomic_store(&machine.dlog->started, true);
    for (uint32_t i = 0; i < JOURNALS; i++) {
        if (machine.worker[i].writes)
            worker_up(&machine.worker[i]);
    }
    for (uint32_t i = 0; i < JOURNALS; i++) {
        if (machine.worker[i].writes)
            keep_one(&machine.worker[i]);
    }
    return 0;
}

static void record_free(void *cookie)
{
    struct pending_record *p = cookie;

    free((void *)(uintptr_t)p->record.text);
    free(p);
}

/* Records on their way belong to nobody when the process is gone. */
static void records_drop(struct dlog *d)
{
    void *item;

    for (uint32_t i = 0; i < d->n_ports; i++) {
        while (rte_ring_sc_dequeue(d->port[i]->submit, &item) == 0) {
            record_free(((struct submission *)item)->cookie);
            free(item);
        }
        while (rte_ring_sc_dequeue(d->port[i]->done, &item) == 0)
            record_free(item);
    }
    for (const struct submission *s = d->pending.head; s != NULL; s = s->next) {
        if (s->port != NULL)
            record_free(s->cookie);
    }
}

static void sink_drop(struct sink *s)
{
    if (s == NULL)
        return;
    while (s->backlog_first != NULL) {
        struct pending_record *p = s->backlog_first;

        s->backlog_first = p->next;
        record_free(p);
    }
    sink_destroy(s);
}

/* Frees what the process had. */
static void life_end(void)
{
    for (uint32_t i = 0; i < SINKS_MAX; i++) {
        sink_drop(machine.sink[i]);
        machine.sink[i] = NULL;
    }
    settings_end();
    spool_close(machine.spool);
    machine.spool = NULL;
    if (machine.dlog != NULL)
        records_drop(machine.dlog);
    dlog_close(machine.dlog);
    machine.dlog = NULL;
    for (uint32_t i = 0; i < JOURNALS; i++) {
        struct sim_worker *w = &machine.worker[i];

        for (uint32_t k = 0; k < SINKS_MAX; k++) {
            lane_destroy(w->lane[k]);
            w->lane[k] = NULL;
        }
        writer_destroy(w->writer);
        w->writer = NULL;
        journal_close(w->journal);
        w->journal = NULL;
        while (w->returns->cons.tail != w->returns->prod.tail) {
            void *item;

            (void)rte_ring_sc_dequeue(w->returns, &item);
        }
    }
    engine_crash();
}

/* A planned failure is of the n-th operation ever; a boot heals the disk. */
static void planned_failure(void)
{
    const struct sim_options *o = &sim.options;

    if (o->fail_op < DISK_OPS && disk_count(sim.disk, o->fail_op) < o->fail_n)
        disk_fail(sim.disk, o->fail_op, o->fail_n - disk_count(sim.disk, o->fail_op), o->fail_times,
                  EIO);
}

static void random_failure(void)
{
    static const int errors[] = {EIO, ENOSPC, EINTR, EIO};
    enum disk_op op = (enum disk_op)sim_below(DISK_OPS);
    uint32_t n = 1 + sim_below(6), times = 1 + sim_below(3);
    int error = errors[sim_below(ARRAY_LEN(errors))];

    if (op == DISK_LIST || op == DISK_OPEN || op == DISK_RENAME || op == DISK_SYNC_DIR)
        error = EIO;
    disk_fail(sim.disk, op, n, times, error);
    sim.totals.faults++;
    sim_trace("disk: %u times %s, from the %u-th on, with %d", times, disk_op_name[op], n, error);
}

/* The process will be gone in the middle of something. */
static void vanish_soon(uint32_t most)
{
    uint32_t n = 1 + sim_below(most);

    disk_vanish(sim.disk, n);
    sim_trace("the process ends at the %u-th operation of the disk", n);
}

/* A process that does not start although nothing was made to fail is wrong. */
static void life_begin_again(void)
{
    for (uint32_t i = 0; i < START_TRIES && sim.error[0] == '\0'; i++) {
        uint64_t hits = disk_hits(sim.disk);
        char error[ERROR_BYTES] = "";
        int rc;

        planned_failure();
        if (i < 3 && sim_once_in(4))
            random_failure();
        if (i < 3 && sim_once_in(8)) {
            disk_flip_read(sim.disk, 1 + sim_below(12));
            sim_trace("disk: a read will return a wrong bit");
        }
        if (i < 3 && sim_once_in(6))
            vanish_soon(120);
        rc = life_begin(error);
        if (rc == 0 && !disk_gone(sim.disk))
            return;
        sim_trace("start refused: %d %s", rc, error);
        sim.totals.refused_starts++;
        if (disk_hits(sim.disk) == hits)
            sim_wrong("refuses to start: %s (%d)", error, rc);
        cloud_crash();
        disk_kill(sim.disk);
        life_end();
        disk_boot(sim.disk, sim_once_in(2));
        sim.now_us += 1000000;
    }
    if (sim.error[0] == '\0')
        sim_wrong("does not start");
}

/* What `systemctl stop` does: what was taken becomes durable, if that is possible. */
static void stop_orderly(void)
{
    for (uint32_t i = 0; i < JOURNALS; i++) {
        if (machine.worker[i].writes && machine.worker[i].writer != NULL)
            writer_pump(machine.worker[i].writer, NULL, false);
    }
    while (disk_pending(sim.disk) > 0)
        finish_one(0, DISK_DONE);
    for (int i = 0; i < 20; i++)
        (void)dlog_step(machine.dlog, sim.now_us);
}

static void step_crash(void)
{
    uint32_t fate = sim_below(5);
    bool power = fate < 2;

    if (!disk_gone(sim.disk) && sim_below(2) == 0 && !sim.options.calm) {
        vanish_soon(40);
        return;
    }
    if (fate == 4 && !disk_gone(sim.disk)) {
        sim_trace("---- stop");
        sim.totals.stops++;
        stop_orderly();
    } else {
        sim_trace("---- %s", power ? "power cut" : "kill");
        sim.totals.power_cuts += power ? 1 : 0;
        sim.totals.kills += power ? 0 : 1;
    }
    cloud_crash();
    disk_kill(sim.disk);
    life_end();
    disk_boot(sim.disk, power);
    if (sim_once_in(40)) {
        sim_trace("the ledger is lost");
        engine_lose_ledger();
    }
    sim.now_us += 1000000 + sim_below(3000000);
    life_begin_again();
}

/* Less often in long schedules, in which something is to build up. */
static void step_end(void)
{
    if (sim.options.n_steps <= SHORT_STEPS || sim_below(3) == 0)
        step_crash();
}

static void step_disk(void)
{
    static const char *const name[] = {"well", "full", "read-only", "dead"};
    enum disk_mode mode = (enum disk_mode)sim_below(4);

    if (sim.options.calm)
        return;
    if (sim_below(3) != 0) {
        random_failure();
        return;
    }
    if (sim_below(3) == 0) {
        sim_trace("disk: a read will return a wrong bit");
        disk_flip_read(sim.disk, 1 + sim_below(6));
        return;
    }
    sim_trace("disk: %s", name[mode]);
    disk_set_mode(sim.disk, mode);
}

static void step_time(void)
{
    if (sim_below(4) == 0) { /* NTP, or somebody */
        model_clock_jump((int64_t)sim_below(200) * DAY_US / 100 - DAY_US);
        sim_trace("the wall clock jumps");
    } else {
        sim.now_us += 1000000 + sim_below(10000000);
        sim_trace("time passes");
    }
}

/* ---- schedules ---- */

static const struct {
    uint32_t weight;
    void (*run)(void);
} steps[] = {
    {260, step_append}, {20, step_seal},       {140, step_pump},      {170, step_finish},
    {60, step_keep},    {150, step_sink},      {90, step_dlog},       {120, cloud_step},
    {22, step_time},    {4, step_flush},       {10, step_disk},       {12, step_end},
    {160, step_spool},  {25, cloud_deny_some}, {14, settings_change},
};

static void step(void)
{
    uint32_t die, sum = 0, i = 0;

    sim.now_us += sim_below(30000);
    if (sim_below(60) == 0)
        disk_set_mode(sim.disk, DISK_WELL);
    for (size_t k = 0; k < ARRAY_LEN(steps); k++)
        sum += steps[k].weight;
    die = sim_below(sum);
    while (i + 1 < ARRAY_LEN(steps) && die >= steps[i].weight)
        die -= steps[i++].weight;
    if (machine.shaky && sim_below(engine_writing() ? 5 : 50) == 0)
        step_crash();
    else
        steps[i].run();
    if (disk_gone(sim.disk) && sim.error[0] == '\0')
        step_crash();
}

/* One turn of everybody, when everything works. @return whether everything is delivered and freed. */
static bool settle_round(void)
{
    bool idle = true;

    for (uint32_t i = 0; i < JOURNALS; i++) {
        struct sim_worker *w = &machine.worker[i];

        if (w->journal == NULL)
            continue;
        keep_one(w);
        if (!w->writes)
            continue;
        writer_pump(w->writer, NULL, false);
        while (disk_pending(sim.disk) > 0)
            finish_one(0, DISK_DONE);
        idle =
            idle && writer_queued(w->writer) == 0 && !writer_failed(w->writer) &&
            (writer_open_block(w->writer) == NULL || writer_open_block(w->writer)->n_entries == 0);
    }
    for (uint32_t i = 0; i < machine.n_sinks; i++)
        sink_turn(i);
    while (spool_step(machine.spool))
        ;
    (void)dlog_step(machine.dlog, sim.now_us);
    for (uint32_t n = cloud_pending(); n > 0; n--)
        cloud_step();
    return idle && cloud_pending() == 0;
}

/* Whether every segment but the last is free again. */
static bool all_freed(void)
{
    for (uint32_t i = 0; i < JOURNALS; i++) {
        const struct journal *j = machine.worker[i].journal;

        if (j != NULL && journal_durable(j) != 0 &&
            atomic_load(&j->first_segment) < lsn_segment(journal_durable(j)))
            return false;
    }
    return true;
}

/* Rows that every table takes: without any, what it refuses is no dead letter. */
static bool append_good(void)
{
    for (uint32_t i = 0; i < JOURNALS; i++) {
        struct sim_worker *w = &machine.worker[i];

        if (!w->writes || writer_failed(w->writer))
            continue;
        for (int k = 0; k < 2 * KINDS; k++) /* of two in a row, one at least is good */
            append_one(w, (enum event_kind)(k / 2), LINE_PLAIN);
        if (writer_open_block(w->writer) != NULL)
            writer_seal(w->writer);
        return writer_queued(w->writer) > 0;
    }
    return false;
}

static void settle(void)
{
    bool done = false, freed = false, good = false;

    sim.calm = true;
    cloud_deny(NULL);
    settings_resume();
    disk_heal(sim.disk);
    for (uint32_t i = 0; i < SETTLE_ROUNDS && sim.error[0] == '\0' && !(done && freed); i++) {
        bool idle = settle_round();

        if (i % 250 == 50 || (i > 50 && !good))
            good = append_good();
        sim.now_us += i < 100 ? 60000 : 300000;
        done = idle && good && i % 8 == 7 && model_missing() == 0;
        freed = done && all_freed();
    }
    if (sim.error[0] == '\0' && !done)
        sim_wrong("everything works again, and %" PRIu64 " events are not delivered, such as %s",
                  model_missing(), model_about(model_first_missing()));
    else if (sim.error[0] == '\0' && !freed)
        sim_wrong("everything is delivered, and journal space is not freed");
    if (sim.error[0] == '\0')
        model_check_end();
}

static void machine_reset(void)
{
    const struct storage *s;

    machine.gzip = sim_below(8) == 0;
    machine.shaky = sim_below(4) == 0; /* what one crash left, the next one takes */
    for (uint32_t i = 0; i < JOURNALS; i++) {
        struct sim_worker *w = &machine.worker[i];

        w->index = i;
        w->made = w->writes = false;
        w->seq = 0;
        w->limit_bytes = (6 + sim_below(10)) * SEGMENT_BYTES;
        if (w->returns == NULL)
            w->returns = ring_create("returns", 2 * BLOCKS, RING_F_SC_DEQ);
        ASSERT(w->returns != NULL);
        w->ring[KIND_ORDER] = (struct block_ring){.name = span_of("order"),
                                                  .schema_hash = listed[KIND_ORDER].schema->hash};
        w->ring[KIND_CLICK] = (struct block_ring){.name = span_of("click")};
        w->ring[KIND_METER] = (struct block_ring){.name = span_of("meter"),
                                                  .schema_hash = listed[KIND_METER].schema->hash,
                                                  .flags = BLOCK_RUN_INSERT};
        w->ring[KIND_PULSE] =
            (struct block_ring){.name = span_of("pulse"), .flags = BLOCK_RUN_INSERT};
        w->ring[KIND_OTHER] = (struct block_ring){.name = span_of("other")};
        w->ring[KIND_DEAD] = (struct block_ring){.name = span_of(""), .kind = BLOCK_DEAD};
    }
    sim.disk = disk_create();
    disk_seed(sim.disk, sim_random(&sim.random));
    s = disk_storage(sim.disk);
    if (s->ops->mkdir(s->ctx, "/d", 0700) != 0 || s->ops->mkdir(s->ctx, "/d/delivery", 0700) != 0 ||
        s->ops->mkdir(s->ctx, "/d/dedupe", 0700) != 0 ||
        s->ops->mkdir(s->ctx, "/d/spool", 0700) != 0 || s->ops->sync_dir(s->ctx, "") != 0 ||
        s->ops->sync_dir(s->ctx, "/d") != 0)
        ASSERT(false);
}

/* In half of the schedules duplicates are removed; in few of these not all ids fit. */
static void dedupe_choose(void)
{
    bool on = sim_below(2) == 0;

    for (uint32_t i = 0; i < ARRAY_LEN(listed); i++) {
        const struct dedupe_rule rule = {.window_us = INT64_C(3000000) << sim_below(4),
                                         .slack_us = DEDUPE_SLACK_US,
                                         .ids_max = sim_below(6) == 0 ? 60 : 4000};

        listed[i].dedupe_field = on ? "id" : NULL;
        listed[i].dedupe_window_us = rule.window_us;
        listed[i].dedupe_ids_max = rule.ids_max;
        if (on)
            model_dedupe((enum event_kind)i, &rule);
    }
}

static void types_make(void)
{
    static struct schema *order, *json;
    char error[256];

    if (order != NULL)
        return;
    if (schema_compile(span_of("[{\"name\":\"n\",\"type\":\"INTEGER\"},"
                               "{\"name\":\"x\",\"type\":\"STRING\"},"
                               "{\"name\":\"id\",\"type\":\"STRING\"}]"),
                       &order, error, sizeof(error)) != 0 ||
        schema_for_json(&json) != 0)
        abort();
    listed[KIND_ORDER].schema = listed[KIND_METER].schema = order;
    types.json_schema = json;
}

/* The random numbers of a step are a function of seed and step: so steps can be left out. */
static void step_seed(uint32_t i)
{
    sim.random = sim.options.seed * 0x9e3779b97f4a7c15ULL + i * 0xd1342543de82ef95ULL;
    (void)sim_random(&sim.random);
    machine.step = i;
}

static void run(void)
{
    sim.now_us = 1000000000;
    sim.life = 0;
    sim.wall_us = INT64_C(1763700000000000);
    step_seed(UINT32_MAX - 1);
    types_make();
    model_reset();
    cloud_reset();
    engine_reset(sim.options.seed);
    settings_reset();
    machine_reset();
    dedupe_choose();
    life_begin_again();
    for (uint32_t i = 0; i < sim.options.n_steps && sim.error[0] == '\0'; i++) {
        if (sim.options.skip != NULL && sim.options.skip[i] != 0)
            continue;
        step_seed(i);
        step();
    }
    step_seed(sim.options.n_steps);
    if (sim.error[0] == '\0')
        settle();
    for (int op = 0; op < DISK_OPS; op++)
        sim.totals.ops[op] = disk_count(sim.disk, (enum disk_op)op);
    cloud_crash();
    disk_kill(sim.disk);
    life_end();
    disk_destroy(sim.disk);
}

bool sim_run(const struct sim_options *options)
{
    sim.options = *options;
    sim.error[0] = '\0';
    sim.calm = false;
    if (setjmp(aborted) == 0) {
        run();
    } else { /* what it had stays behind */
        engine_crash();
        memset(machine.sink, 0, sizeof(machine.sink));
        machine.dlog = NULL;
        machine.spool = NULL;
        for (uint32_t i = 0; i < JOURNALS; i++)
            machine.worker[i] = (struct sim_worker){0};
    }
    sim.totals.schedules++;
    return sim.error[0] == '\0';
}
