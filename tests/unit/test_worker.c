/*
 * Goal: no byte of an answer ever precedes the flush that covers it, whatever is in flight, in
 * whatever order writes end, and whichever of them fail.
 *
 * Method: a real worker in this process, real sockets, and a disk that holds each journal write
 * until the test lets it go (tcore_storage.h). While writes are held, every connection is watched;
 * when an answer comes, the event's own text must be in a segment file at that moment: a held write
 * is not in any file. The canary is worker_config.durability_memory, which answers before the
 * write: the same test must catch it. That a write ends only with its flush is the kernel's
 * RWF_DSYNC, seen on the submitted entry. Random rounds print their seed and replay from
 * PENSTOCK_SEED.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "tests/unit/tcore_bed.h"

#define CONNECTIONS 5
#define QUIET_MS    25
#define ANSWER_MS   10000
#define ROUNDS      60
#define TOKEN_BYTES 24
#define TOKENS_MAX  10000
#define BIG_BYTES   70000 /* more than a block */

/* One client: at most one request under way. */
struct client {
    int fd;
    bool waiting;
    uint64_t number;
    char token[TOKEN_BYTES + 1];
};

struct rig {
    struct tcore_bed bed;
    struct client client[CONNECTIONS];
    uint64_t n_tokens, n_answers, n_refused;
    bool refused[TOKENS_MAX];
    uint64_t random;
    unsigned violations; /* answers whose event is in no file */
};

/* ---- the oracle: is the text in a segment file? ---- */

static bool file_has(const char *path, const char *token)
{
    size_t len = TCORE_SEGMENT_BYTES;
    char *buf = malloc(len);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, buf, len);
    bool has = n > 0 && memmem(buf, (size_t)n, token, strlen(token)) != NULL;

    if (fd >= 0)
        close(fd);
    free(buf);
    return has;
}

static bool on_disk(const struct tcore_bed *b, const char *token)
{
    DIR *d = opendir(b->journal_dir);
    const struct dirent *e;
    bool has = false;

    assert_non_null(d);
    while (!has && (e = readdir(d)) != NULL) {
        char path[600];

        snprintf(path, sizeof(path), "%s/%s", b->journal_dir, e->d_name);
        has = strstr(e->d_name, ".seg") != NULL && file_has(path, token);
    }
    closedir(d);
    return has;
}

/* ---- rig ---- */

static void rig_up(struct rig *r, bool memory)
{
    *r = (struct rig){0};
    tcore_bed_init(&r->bed, true);
    r->bed.config.durability_memory = memory;
    tcore_bed_start(&r->bed);
    for (int i = 0; i < CONNECTIONS; i++)
        r->client[i].fd = tcore_connect(&r->bed);
}

static void rig_down(struct rig *r)
{
    tcore_release_all(r->bed.disk);
    for (int i = 0; i < CONNECTIONS; i++)
        close(r->client[i].fd);
    tcore_bed_fini(&r->bed);
}

/* Sends one event of about bytes with a text of its own. */
static void client_send(struct rig *r, int i, size_t bytes)
{
    struct client *c = &r->client[i];
    char *body = malloc(bytes + 200);
    int n;

    assert_false(c->waiting);
    snprintf(c->token, sizeof(c->token), "token-%016" PRIx64 "--", ++r->n_tokens);
    c->number = r->n_tokens;
    n = snprintf(body, 200, "{\"event_type\":\"click\",\"pad\":\"");
    memset(body + n, 'x', bytes);
    snprintf(body + n + bytes, 150, "\",\"token\":\"%s\"}", c->token);
    tcore_post(c->fd, "/v1/events", body, strlen(body));
    free(body);
    c->waiting = true;
}

static bool wait_held(struct rig *r, unsigned n, int timeout_ms)
{
    int64_t end_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;

    while (tcore_held(r->bed.disk) < n) {
        if (clock_monotonic_us() > end_us)
            return false;
        usleep(300);
    }
    return true;
}

/* Takes an answer and asks the oracle. A 503, while a failed write is being made good, promises
 * nothing. */
static void client_take(struct rig *r, int i)
{
    struct client *c = &r->client[i];
    bool there;
    int status;

    assert_true(tcore_readable(c->fd, ANSWER_MS));
    there = on_disk(&r->bed, c->token);
    status = tcore_answer(c->fd, NULL, 0, ANSWER_MS);
    c->waiting = false;
    if (status == 200) {
        r->n_answers++;
        r->violations += !there;
        return;
    }
    assert_int_equal(status, 503);
    assert_true(r->n_tokens < TOKENS_MAX);
    r->refused[c->number] = true;
    r->n_refused++;
}

/* Looks at every connection for ms; takes what comes. @return answers that came. */
static unsigned watch(struct rig *r, int ms)
{
    int64_t end_us = clock_monotonic_us() + (int64_t)ms * 1000;
    unsigned came = 0;

    do {
        for (int i = 0; i < CONNECTIONS; i++) {
            if (r->client[i].waiting && tcore_readable(r->client[i].fd, 0)) {
                client_take(r, i);
                came++;
            }
        }
        usleep(500);
    } while (clock_monotonic_us() < end_us);
    return came;
}

static unsigned waiting(const struct rig *r)
{
    unsigned n = 0;

    for (int i = 0; i < CONNECTIONS; i++)
        n += r->client[i].waiting;
    return n;
}

static void all_answered(struct rig *r)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        if (r->client[i].waiting)
            client_take(r, i);
    }
}

/* One event through, so that the first segment's header is behind us. */
static void warm_up(struct rig *r)
{
    client_send(r, 0, 10);
    all_answered(r);
}

/* ---- the rule ---- */

/* Holds every write, sends on all connections, watches, lets go. @return answers that came while
 * held. */
static unsigned held_round(struct rig *r)
{
    unsigned early;

    tcore_hold(r->bed.disk, true);
    for (int i = 0; i < CONNECTIONS; i++)
        client_send(r, i, 20);
    if (!r->bed.config.durability_memory)
        assert_true(wait_held(r, 1, ANSWER_MS));
    early = watch(r, QUIET_MS);
    tcore_release_all(r->bed.disk);
    all_answered(r);
    return early;
}

static void test_no_answer_while_held(void **state)
{
    struct rig r;

    (void)state;
    rig_up(&r, false);
    for (int i = 0; i < 20; i++) /* the first round also holds the segment's header */
        assert_int_equal(held_round(&r), 0);
    assert_int_equal(r.violations, 0);
    assert_int_equal(r.n_answers, 20 * CONNECTIONS);
    rig_down(&r);
}

static void test_canary_is_caught(void **state)
{
    unsigned early = 0;
    struct rig r;

    (void)state;
    rig_up(&r, true);
    for (int i = 0; i < 3; i++)
        early += held_round(&r);
    assert_true(early > 0);
    assert_true(r.violations > 0);
    rig_down(&r);
}

/* Sends two requests so that two writes are in flight: a small one, then one that fills a block. */
static void two_in_flight(struct rig *r)
{
    client_send(r, 0, 10);
    assert_true(wait_held(r, 1, ANSWER_MS));
    client_send(r, 1, BIG_BYTES);
    assert_true(wait_held(r, 2, ANSWER_MS));
}

static void test_completions_reversed(void **state)
{
    struct rig r;

    (void)state;
    rig_up(&r, false);
    warm_up(&r);
    for (int i = 0; i < 15; i++) {
        tcore_hold(r.bed.disk, true);
        two_in_flight(&r);
        tcore_release(r.bed.disk,
                      1); /* the second write ends: there is still a hole in front of it */
        assert_int_equal(watch(&r, QUIET_MS), 0);
        assert_int_equal(waiting(&r), 2);
        tcore_release_all(r.bed.disk);
        all_answered(&r);
    }
    assert_int_equal(r.violations, 0);
    rig_down(&r);
}

/* Only what the prefix covers is answered. */
static void test_completions_in_order(void **state)
{
    struct rig r;

    (void)state;
    rig_up(&r, false);
    warm_up(&r);
    tcore_hold(r.bed.disk, true);
    two_in_flight(&r);
    tcore_release(r.bed.disk, 0);
    assert_true(tcore_readable(r.client[0].fd, ANSWER_MS));
    client_take(&r, 0);
    assert_int_equal(watch(&r, QUIET_MS), 0);
    assert_true(r.client[1].waiting);
    rig_down(&r);
}

/* Lets held writes go one by one; nobody may be answered before the last one. */
static void release_step_by_step(struct rig *r, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        assert_true(wait_held(r, 1, ANSWER_MS));
        assert_int_equal(watch(r, QUIET_MS), 0);
        tcore_release(r->bed.disk, 0);
    }
}

static void failing_write(enum tcore_outcome outcome)
{
    struct rig r;

    rig_up(&r, false);
    warm_up(&r);
    tcore_hold(r.bed.disk, true);
    tcore_fail_async(r.bed.disk, 1, 1, outcome);
    two_in_flight(&r);
    tcore_release(r.bed.disk, 1); /* the second succeeds, the first fails: both move */
    assert_int_equal(watch(&r, QUIET_MS), 0);
    tcore_release(r.bed.disk, 0);
    release_step_by_step(&r, 2); /* the successor's header, and the first block in it */
    assert_true(wait_held(&r, 1, ANSWER_MS));
    assert_true(r.client[1].waiting);
    tcore_release_all(r.bed.disk);
    all_answered(&r);
    assert_int_equal(r.violations, 0);
    assert_true(tcore_wait(&worker_stats(r.bed.worker)->journal_errors, 1, 2000));
    rig_down(&r);
}

static void test_write_fails(void **state)
{
    (void)state;
    failing_write(TCORE_FAILED);
}

static void test_write_fails_yet_reaches_the_disk(void **state)
{
    (void)state;
    failing_write(TCORE_REACHED);
}

static void test_write_is_short(void **state)
{
    (void)state;
    failing_write(TCORE_SHORT);
}

/* ---- random rounds, and what is in the journal afterwards ---- */

struct tokens {
    uint8_t *seen; /* per token: how often */
    uint64_t n;
};

static void count_token(void *ctx, const struct block_view *v, const struct block_run *run,
                        const struct block_entry *e)
{
    struct tokens *t = ctx;
    const char *at = memmem(v->buf + e->offset, e->len, "\"token-", 7);
    uint64_t token;

    (void)run;
    assert_non_null(at);
    assert_int_equal(sscanf(at, "\"token-%" SCNx64, &token), 1);
    assert_true(token > 0 && token <= t->n);
    t->seen[token]++;
}

static void random_round(struct rig *r)
{
    int64_t end_us = clock_monotonic_us() + ANSWER_MS * 1000;

    tcore_hold(r->bed.disk, true);
    if (tcore_random(&r->random) % 3 == 0)
        tcore_fail_async(r->bed.disk, 1 + (unsigned)(tcore_random(&r->random) % 3),
                         1 + (unsigned)(tcore_random(&r->random) % 2),
                         tcore_random(&r->random) % 2 == 0 ? TCORE_FAILED : TCORE_REACHED);
    while (waiting(r) > 0 || tcore_random(&r->random) % 8 != 0) {
        int i = (int)(tcore_random(&r->random) % CONNECTIONS);
        unsigned held = tcore_held(r->bed.disk);

        if (clock_monotonic_us() > end_us)
            fail_msg("no answer: %u waiting, %u held", waiting(r), held);
        if (!r->client[i].waiting && tcore_random(&r->random) % 4 == 0)
            client_send(r, i, tcore_random(&r->random) % 3 == 0 ? BIG_BYTES : 50);
        else if (held > 0 && tcore_random(&r->random) % 2 == 0)
            tcore_release(r->bed.disk, (unsigned)(tcore_random(&r->random) % held));
        watch(r, 0);
    }
    tcore_heal(r->bed.disk);
}

/* What was answered 200 is in the journal, once; what was refused is not. */
static void test_random_rounds(void **state)
{
    struct tokens t = {0};
    static struct rig r;
    uint64_t answered = 0, refused = 0;
    uint64_t seed = tcore_seed("worker rounds", 20261121);

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        rig_up(&r, false);
        r.random = seed + (uint64_t)round;
        random_round(&r);
        tcore_release_all(r.bed.disk);
        all_answered(&r);
        assert_int_equal(r.violations, 0);
        assert_int_equal(r.n_answers + r.n_refused, r.n_tokens);
        answered += r.n_answers;
        refused += r.n_refused;
        tcore_bed_stop(&r.bed);
        t = (struct tokens){.seen = calloc(r.n_tokens + 1, 1), .n = r.n_tokens};
        assert_true(tcore_bed_read(&r.bed, count_token, &t) >= 0);
        for (uint64_t i = 1; i <= t.n; i++)
            assert_int_equal(t.seen[i], r.refused[i] ? 0 : 1);
        free(t.seen);
        rig_down(&r);
    }
    printf("%d rounds: %" PRIu64 " answered, %" PRIu64 " refused\n", ROUNDS, answered, refused);
}

/* What the real storage asks of the kernel: a write that ends with its flush. */
static void test_writes_are_flushed(void **state)
{
    struct io_uring ring;
    struct storage_write w = {.fd = 1, .buf_index = -1, .buf = &ring, .len = 4096, .user_data = 7};

    (void)state;
    assert_int_equal(io_uring_queue_init(4, &ring, 0), 0);
    for (w.buf_index = -1; w.buf_index < 1; w.buf_index++) {
        const struct io_uring_sqe *sqe = &ring.sq.sqes[w.buf_index + 1];

        assert_int_equal(storage_posix.ops->write_async(NULL, &ring, &w), 0);
        assert_int_equal(sqe->rw_flags & RWF_DSYNC, RWF_DSYNC);
        assert_int_equal(sqe->opcode, w.buf_index < 0 ? IORING_OP_WRITE : IORING_OP_WRITE_FIXED);
    }
    io_uring_queue_exit(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_are_flushed),
        cmocka_unit_test(test_no_answer_while_held),
        cmocka_unit_test(test_canary_is_caught),
        cmocka_unit_test(test_completions_in_order),
        cmocka_unit_test(test_completions_reversed),
        cmocka_unit_test(test_write_fails),
        cmocka_unit_test(test_write_fails_yet_reaches_the_disk),
        cmocka_unit_test(test_write_is_short),
        cmocka_unit_test(test_random_rounds),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
