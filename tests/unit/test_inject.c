/*
 * Goal: documents of an injection and the knowledge of how far it has come are durable together, at
 * every block: whoever stops anywhere finds in the marks exactly what is stored.
 *
 * Method: a real worker on a disk whose writes fail by a seed, batches of two sessions and live
 * requests beside them; then the journal is read block by block, and after each block every mark
 * must be equal to the documents seen up to there. Documents carry session and number.
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
#include <unistd.h>

#include "dataplane/inject.h"
#include "tests/unit/tcore_bed.h"

#define SESSIONS  2
#define DOCS_MAX  4000
#define DOC_BYTES 400

struct rig {
    struct tcore_bed bed;
    char *text; /* of all documents, with padding behind */
    size_t used;
    uint64_t random;
    uint64_t sent[SESSIONS], seen[SESSIONS]; /* documents */
    uint64_t dead, live;
    uint64_t block_lsn; /* of the block under way */
    struct block_mark mark;
    bool whole; /* no block may hold a part of a batch */
};

static void rig_init(struct rig *r, bool with_disk)
{
    memset(r, 0, sizeof(*r));
    tcore_bed_init(&r->bed, with_disk);
    r->text = calloc(DOCS_MAX + 1, DOC_BYTES);
    assert_non_null(r->text);
}

static void rig_fini(struct rig *r)
{
    tcore_bed_fini(&r->bed);
    free(r->text);
}

static struct span make_text(struct rig *r, const char *format, unsigned session, uint64_t number)
{
    char *at = r->text + r->used;
    int n = snprintf(at, DOC_BYTES, format, session, (unsigned long long)number);

    assert_true(n > 0 && n < DOC_BYTES && r->used < (size_t)DOCS_MAX * DOC_BYTES);
    r->used += (size_t)n;
    return (struct span){at, (size_t)n};
}

/* A batch of n documents of a session; every seventh is a dead letter. */
static struct injection *make_batch(struct rig *r, unsigned session, uint32_t n, bool whole)
{
    struct injection *i = calloc(1, sizeof(*i));
    struct inject_doc *doc = calloc(n, sizeof(*doc));

    assert_true(i != NULL && doc != NULL);
    r->used += JSON_PADDING_BYTES; /* the worker may be reading behind the last batch */
    for (uint32_t k = 0; k < n; k++) {
        uint64_t number = ++r->sent[session];
        const char *format = number % 7 == 0 ? "{\"s\":%u,\"n\":%llu"
                                             : "{\"event_type\":\"t\",\"s\":%u,\"n\":%llu,\"pad\":"
                                               "\"............................\"}";

        doc[k] = (struct inject_doc){
            .raw = make_text(r, format, session, number),
            .source = "file a.json",
            .line = number,
            .seq = whole ? r->sent[session] - k + n - 1 : number,
            .note = number * 3,
        };
    }
    memset(i->batch.session, (int)session + 1, sizeof(i->batch.session));
    i->batch.doc = doc;
    i->batch.n_docs = n;
    i->batch.whole = whole;
    sem_init(&i->done, 0, 0);
    return i;
}

static void submit(struct rig *r, struct injection *i)
{
    assert_int_equal(worker_inject(r->bed.worker, i), 0);
}

/* Waits for a batch and frees it. @return its status. */
static int finish(struct injection *i, uint32_t *taken, struct ingest_result *result)
{
    int status;

    while (sem_wait(&i->done) != 0)
        ;
    status = i->status;
    if (taken != NULL)
        *taken = i->batch.taken;
    if (result != NULL)
        *result = i->result;
    sem_destroy(&i->done);
    free((void *)(uintptr_t)i->batch.doc);
    free(i);
    return status;
}

/* After a block: its mark tells exactly what has been seen of its session. */
static void check_block(struct rig *r)
{
    unsigned session = r->mark.session[0];

    if (r->block_lsn == 0 || block_mark_empty(&r->mark))
        return;
    session -= 1;
    assert_in_range(session, 0, SESSIONS - 1);
    assert_int_equal(r->mark.seq, r->seen[session]);
    assert_int_equal(r->mark.note, r->seen[session] * 3);
}

static void see_line(void *ctx, const struct block_view *v, const struct block_run *run,
                     const struct block_entry *e)
{
    struct rig *r = ctx;
    const char *at;
    unsigned session;
    unsigned long long number;
    char line[1024];

    if (v->header->lsn != r->block_lsn) {
        check_block(r);
        r->block_lsn = v->header->lsn;
        r->mark = v->header->mark;
    }
    assert_true(e->len < sizeof(line));
    memcpy(line, v->buf + e->offset, e->len);
    line[e->len] = '\0';
    at = strstr(line, run->kind == BLOCK_DEAD ? "{\\\"s\\\":" : "\"s\":");
    if (at == NULL) {
        r->live++;
        return;
    }
    if (run->kind == BLOCK_DEAD) {
        char source[64];

        r->dead++;
        assert_int_equal(sscanf(at, "{\\\"s\\\":%u,\\\"n\\\":%llu", &session, &number), 2);
        snprintf(source, sizeof(source), "\"source\":\"file a.json:%llu\"", number);
        assert_non_null(strstr(line, source));
    } else {
        assert_int_equal(sscanf(at, "\"s\":%u,\"n\":%llu", &session, &number), 2);
    }
    assert_int_equal(number, r->seen[session] + 1); /* each once, in order */
    r->seen[session] = number;
    assert_int_equal(r->mark.session[0], session + 1);
}

static void read_back(struct rig *r)
{
    tcore_bed_stop(&r->bed);
    assert_true(tcore_bed_read(&r->bed, see_line, r) > 0);
    check_block(r);
    for (unsigned s = 0; s < SESSIONS; s++)
        assert_int_equal(r->seen[s], r->sent[s]);
}

static void marks_tell_what_is_stored(void **state)
{
    uint64_t seed = tcore_seed("inject", 7);
    struct rig r;
    int fd;

    (void)state;
    rig_init(&r, true);
    tcore_bed_start(&r.bed);
    fd = tcore_connect(&r.bed);
    for (int round = 0; round < 60; round++) {
        struct injection *i[4];
        uint32_t taken;

        if (round % 5 == 3)
            tcore_fail_async(r.bed.disk, 1 + (unsigned)(tcore_random(&seed) % 3), 1,
                             tcore_random(&seed) % 2 == 0 ? TCORE_FAILED : TCORE_REACHED);
        for (unsigned k = 0; k < ARRAY_LEN(i); k++) {
            i[k] = make_batch(&r, (unsigned)(tcore_random(&seed) % SESSIONS),
                              1 + (uint32_t)(tcore_random(&seed) % 30), false);
            submit(&r, i[k]);
        }
        tcore_post(fd, "/v1/events/t", "{\"live\":1}", 10);
        assert_true(tcore_answer(fd, NULL, 0, 10000) > 0);
        for (unsigned k = 0; k < ARRAY_LEN(i); k++) {
            assert_int_equal(finish(i[k], &taken, NULL), 0);
            assert_true(taken > 0);
        }
    }
    close(fd);
    read_back(&r);
    assert_true(r.dead > 100 && r.live > 0);
    rig_fini(&r);
}

/* Sampling leaves out what comes by itself, never what somebody injects: marks count on all of it. */
static void injections_are_not_sampled(void **state)
{
    struct live_settings *none = calloc(1, sizeof(*none));
    struct ingest_result result;
    struct injection *i;
    struct live *live;
    struct rig r;
    int fd;

    (void)state;
    rig_init(&r, false);
    assert_non_null(none);
    none->types_version = 1; /* sampling_ppm is 0: nothing is kept */
    none->worker.block_bytes = r.bed.config.block_bytes;
    none->worker.lane_blocks = r.bed.config.lane_blocks_max;
    none->worker.idle_ms = none->worker.request_ms = 60000;
    assert_int_equal(live_create(none, &live), 0);
    r.bed.config.live = live_join(live);
    tcore_bed_start(&r.bed);
    fd = tcore_connect(&r.bed);
    for (int round = 0; round < 5; round++) {
        tcore_post(fd, "/v1/events/t", "{\"live\":1}", 10);
        assert_true(tcore_answer(fd, NULL, 0, 10000) > 0);
        i = make_batch(&r, 0, 30, false);
        submit(&r, i);
        assert_int_equal(finish(i, NULL, &result), 0);
        assert_int_equal(result.accepted + result.dead_lettered, 30);
    }
    assert_int_equal(atomic_load(&worker_stats(r.bed.worker)->sampled_out), 5);
    close(fd);
    read_back(&r);
    assert_int_equal(r.live, 0);
    rig_fini(&r);
    live_destroy(live);
}

/* All documents under one seq lie in one block. */
static void a_whole_batch_is_in_one_block(void **state)
{
    struct ingest_result result;
    struct injection *i;
    struct rig r;
    uint32_t n;

    (void)state;
    rig_init(&r, false);
    tcore_bed_start(&r.bed);
    for (int round = 0; round < 12; round++) {
        struct injection *probe = make_batch(&r, 0, 200, true);

        n = worker_inject_fits(r.bed.worker, probe->batch.doc, 200);
        assert_in_range(n, 1, 199);
        r.sent[0] -= 200;
        free((void *)(uintptr_t)probe->batch.doc);
        free(probe);
        i = make_batch(&r, 0, n, true);
        for (uint32_t k = 0; k < n; k++) {
            struct inject_doc *doc = (struct inject_doc *)(uintptr_t)i->batch.doc;

            doc[k].seq = r.sent[0];
            doc[k].note = r.sent[0] * 3;
        }
        submit(&r, i);
        assert_int_equal(finish(i, NULL, &result), 0);
        assert_int_equal(result.accepted + result.dead_lettered, n);
    }
    read_back(&r);
    rig_fini(&r);
}

/* A letter that no block holds keeps its head, and says so; only the head of a document is oversize.
 */
static void what_no_block_holds_keeps_its_head(void **state)
{
    static char quotes[300000];
    struct inject_doc doc[] = {
        {.raw = {quotes, 200000}, .source = "file q", .line = 1, .seq = 1},
        {.raw = {quotes, 100}, .source = "file q", .line = 2, .whole = 5000000, .seq = 2},
        {.raw = {quotes, 0}, .source = "file q", .line = 3, .seq = 3},
        {.raw = {quotes, 5}, .type = {"order", 5}, .source = "file q", .line = 4, .seq = 4},
    };
    struct injection *i = calloc(1, sizeof(*i));
    struct ingest_result result;
    struct rig r;

    (void)state;
    memset(quotes, '"', sizeof(quotes));
    rig_init(&r, false);
    r.bed.config.event_bytes_max = 200000;
    tcore_bed_start(&r.bed);
    memset(i->batch.session, 9, sizeof(i->batch.session));
    i->batch.doc = calloc(ARRAY_LEN(doc), sizeof(doc[0]));
    memcpy((void *)(uintptr_t)i->batch.doc, doc, sizeof(doc));
    i->batch.n_docs = ARRAY_LEN(doc);
    sem_init(&i->done, 0, 0);
    submit(&r, i);
    assert_int_equal(finish(i, NULL, &result), 0);
    assert_int_equal(result.accepted, 0);
    assert_int_equal(result.dead_lettered, 4);
    assert_int_equal(result.error[0].reason, REASON_BAD_JSON);
    assert_int_equal(result.error[1].reason, REASON_OVERSIZE);
    assert_int_equal(result.error[2].reason, REASON_BAD_JSON);
    assert_int_equal(result.error[3].index, 3);
    rig_fini(&r);
}

/* A cancelled batch, and one that meets a draining worker, end with what is stored. */
static void cancel_and_drain_end_a_batch(void **state)
{
    struct injection *first, *second;
    struct rig r;
    uint32_t taken;

    (void)state;
    rig_init(&r, true);
    tcore_bed_start(&r.bed);
    first = make_batch(&r, 0, 10, false);
    submit(&r, first);
    assert_int_equal(finish(first, &taken, NULL), 0);
    second = make_batch(&r, 0, 5, false);
    atomic_store(&second->cancel, true);
    submit(&r, second);
    assert_int_equal(finish(second, &taken, NULL), -ECANCELED);
    assert_int_equal(taken, 0);
    r.sent[0] -= 5;
    worker_drain(r.bed.worker);
    second = make_batch(&r, 0, 5, false);
    submit(&r, second);
    assert_int_equal(finish(second, &taken, NULL), -ESHUTDOWN);
    assert_int_equal(taken, 0);
    r.sent[0] -= 5;
    read_back(&r);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_tell_what_is_stored),
        cmocka_unit_test(injections_are_not_sampled),
        cmocka_unit_test(a_whole_batch_is_in_one_block),
        cmocka_unit_test(what_no_block_holds_keeps_its_head),
        cmocka_unit_test(cancel_and_drain_end_a_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
