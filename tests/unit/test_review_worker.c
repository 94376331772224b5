/*
 * Goal: a request that finds no room waits up to a second and is then taken or refused, never both
 * and never twice; a refusal reaches a client that is still sending. Method: a real worker with few
 * commit blocks on a disk that holds its writes (tcore_bed.h), so that room comes when the test
 * wants it, or never.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "tests/unit/tcore_bed.h"

#define CONNECTIONS 12
#define BLOCKS      8      /* room for about half of the connections */
#define BODY_BYTES  60000u /* nearly a block */
#define ANSWER_MS   10000
#define QUIET_MS    300         /* well below the second */
#define UPLOAD      (24u << 20) /* more than socket buffers hold */

struct rig {
    struct tcore_bed bed;
    int fd[CONNECTIONS];
};

static void rig_up(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    tcore_bed_init(&r->bed, true);
    r->bed.config.blocks = BLOCKS;
    r->bed.config.lane_blocks_max = BLOCKS / 2;
    tcore_bed_start(&r->bed);
    for (int i = 0; i < CONNECTIONS; i++)
        r->fd[i] = tcore_connect(&r->bed);
}

static void rig_down(struct rig *r)
{
    tcore_release_all(r->bed.disk);
    for (int i = 0; i < CONNECTIONS; i++)
        close(r->fd[i]);
    tcore_bed_fini(&r->bed);
}

/* A burst of one event a connection. */
static void burst(struct rig *r)
{
    char *body = malloc(BODY_BYTES + 100);
    int n = snprintf(body, 100, "{\"event_type\":\"click\",\"pad\":\"");

    memset(body + n, 'x', BODY_BYTES);
    memcpy(body + n + BODY_BYTES, "\"}", 3);
    for (int i = 0; i < CONNECTIONS; i++)
        tcore_post(r->fd[i], "/v1/events", body, strlen(body));
    free(body);
}

static int answered(const struct rig *r)
{
    int n = 0;

    for (int i = 0; i < CONNECTIONS; i++)
        n += tcore_readable(r->fd[i], 0);
    return n;
}

static void line_count(void *ctx, const struct block_view *v, const struct block_run *run,
                       const struct block_entry *e)
{
    (void)v;
    (void)run;
    (void)e;
    ++*(uint64_t *)ctx;
}

/* What was counted, and what is in the journal. Stops the bed. */
static void counted(struct rig *r, uint64_t taken)
{
    const struct worker_stats *s = worker_stats(r->bed.worker);
    uint64_t lines = 0;

    assert_int_equal(atomic_load(&s->requests), CONNECTIONS);
    assert_int_equal(atomic_load(&s->events), taken);
    tcore_bed_stop(&r->bed);
    assert_true(tcore_bed_read(&r->bed, line_count, &lines) >= 0);
    assert_int_equal(lines, taken);
}

static void test_room_comes(void **state)
{
    struct rig r;

    (void)state;
    rig_up(&r);
    tcore_hold(r.bed.disk, true);
    burst(&r);
    usleep(QUIET_MS * 1000);
    assert_int_equal(answered(&r), 0);
    assert_true(atomic_load(&worker_stats(r.bed.worker)->requests) < CONNECTIONS); /* some wait */
    tcore_release_all(r.bed.disk);
    for (int i = 0; i < CONNECTIONS; i++)
        assert_int_equal(tcore_answer(r.fd[i], NULL, 0, ANSWER_MS), 200);
    counted(&r, CONNECTIONS);
    rig_down(&r);
}

static void test_room_never_comes(void **state)
{
    int64_t from_us;
    int refused = 0;
    struct rig r;

    (void)state;
    rig_up(&r);
    tcore_hold(r.bed.disk, true);
    from_us = clock_monotonic_us();
    burst(&r);
    while (answered(&r) == 0 && clock_monotonic_us() < from_us + ANSWER_MS * 1000)
        usleep(1000);
    assert_true(clock_monotonic_us() >= from_us + 900000);
    assert_true(clock_monotonic_us() < from_us + 4000000);
    usleep(QUIET_MS * 1000); /* they came together */
    for (int i = 0; i < CONNECTIONS; i++) {
        if (!tcore_readable(r.fd[i], 0))
            continue;
        assert_int_equal(tcore_answer(r.fd[i], NULL, 0, ANSWER_MS), 503);
        close(r.fd[i]);
        r.fd[i] = -1;
        refused++;
    }
    assert_in_range(refused, 1, CONNECTIONS - 1);
    tcore_release_all(r.bed.disk);
    for (int i = 0; i < CONNECTIONS; i++) {
        if (r.fd[i] >= 0)
            assert_int_equal(tcore_answer(r.fd[i], NULL, 0, ANSWER_MS), 200);
    }
    counted(&r, (uint64_t)(CONNECTIONS - refused));
    rig_down(&r);
}

/* Much more than the limit, all sent before anything is read. */
static void test_refusal_while_sending(void **state)
{
    static const char head[] =
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 25165824\r\n\r\n";
    char *body = calloc(1, UPLOAD);
    struct rig r;

    (void)state;
    rig_up(&r);
    for (int i = 0; i < 4; i++) {
        assert_true(tcore_send(r.fd[i], head, sizeof(head) - 1));
        assert_true(tcore_send(r.fd[i], body, UPLOAD));
        assert_int_equal(tcore_answer(r.fd[i], NULL, 0, ANSWER_MS), 413);
        assert_int_equal(tcore_answer(r.fd[i], NULL, 0, ANSWER_MS), 0); /* and it is closed */
    }
    free(body);
    rig_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_comes),
        cmocka_unit_test(test_room_never_comes),
        cmocka_unit_test(test_refusal_while_sending),
    };

    log_set_level((enum log_level)(LOG_LEVEL_ERROR + 1));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
