/*
 * Goal: a journal's floor never passes a block whose mark the delivery log does not have. Method:
 * the marks of a sink thread that exists only as its struct, over a real delivery log; blocks are
 * headers. Floors are looked at before, while and after marks are recorded.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sinks/sink_internal.h"
#include "tests/unit/tdlog_sim.h"

#define SESSIONS 3

struct rig {
    char *dir;
    struct tdlog_sim *sim;
    struct storage storage;
    struct dlog *log;
    struct sink *sink;
    struct feed feed[2];
    int fd;
    uint64_t seen[SESSIONS]; /* seq in the log */
};

static void rig_init(struct rig *r, uint32_t index)
{
    memset(r, 0, sizeof(*r));
    r->dir = tdlog_mkdir();
    r->sim = tdlog_sim_create();
    r->storage = tdlog_sim_storage(r->sim);
    r->fd = eventfd(0, EFD_CLOEXEC);
    r->log = tdlog_open(r->dir, &r->storage, 1);
    r->sink = calloc(1, sizeof(*r->sink));
    assert_non_null(r->sink);
    r->sink->config.index = index;
    r->sink->n_feeds = 2;
    r->sink->port = dlog_port(r->log, r->fd);
    for (uint32_t i = 0; i < 2; i++)
        r->feed[i] = (struct feed){.sink = r->sink, .index = i};
    assert_int_equal(dlog_start(r->log), 0);
}

static void rig_fini(struct rig *r)
{
    marks_free(r->sink);
    free(r->sink);
    dlog_stop(r->log);
    dlog_close(r->log);
    close(r->fd);
    tdlog_sim_destroy(r->sim);
    tdlog_rmdir(r->dir);
}

/* A feed has read a block at lsn that bears a mark; seq 0: none. */
static void read_block(struct rig *r, uint32_t feed, lsn_t lsn, int session, uint64_t seq)
{
    struct block_header h = {.lsn = lsn, .len = 4096, .mark = {.seq = seq}};

    if (seq > 0)
        memset(h.mark.session, session + 1, sizeof(h.mark.session));
    r->feed[feed].view.header = &h;
    mark_note(r->sink, &r->feed[feed]);
    r->feed[feed].view.header = NULL;
}

static void see_mark(void *ctx, const struct block_mark *mark)
{
    ((struct rig *)ctx)->seen[mark->session[0] - 1] = mark->seq;
}

static void wait_recorded(struct rig *r)
{
    for (int i = 0; r->sink->marks_recording > 0 && i < 10000; i++) {
        records_run(r->sink);
        usleep(1000);
    }
    assert_int_equal(r->sink->marks_recording, 0);
    dlog_each_mark(r->log, see_mark, r);
}

static void floors_wait_for_marks(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 0);
    read_block(&r, 0, 4096, 0, 0);
    assert_int_equal(marks_floor(r.sink, 0, 8192), 8192);
    read_block(&r, 0, 8192, 0, 1);
    read_block(&r, 0, 12288, 1, 7);
    read_block(&r, 0, 16384, 0, 5);
    read_block(&r, 1, 4096, 2, 3);
    assert_int_equal(marks_floor(r.sink, 0, 20480), 8192);
    assert_int_equal(marks_floor(r.sink, 0, 4096), 4096);
    assert_int_equal(marks_floor(r.sink, 1, 20480), 4096);
    marks_run(r.sink);
    assert_int_equal(r.sink->marks_recording, 3); /* one a session, however many blocks */
    read_block(&r, 0, 20480, 0, 9);
    assert_int_equal(marks_floor(r.sink, 0, 24576), 8192); /* recording is not recorded */
    marks_run(r.sink);                                     /* waits for those under way */
    wait_recorded(&r);
    assert_int_equal(r.seen[0], 5);
    assert_int_equal(r.seen[1], 7);
    assert_int_equal(r.seen[2], 3);
    assert_int_equal(marks_floor(r.sink, 0, 24576), 20480);
    assert_int_equal(marks_floor(r.sink, 1, 20480), 20480);
    marks_run(r.sink);
    wait_recorded(&r);
    assert_int_equal(r.seen[0], 9);
    assert_int_equal(marks_floor(r.sink, 0, 24576), 24576);
    rig_fini(&r);
}

/* Every sink thread reads every block; one of them is enough. */
static void other_threads_note_nothing(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 1);
    read_block(&r, 0, 4096, 0, 1);
    assert_int_equal(marks_floor(r.sink, 0, 8192), 8192);
    assert_null(r.sink->marks);
    rig_fini(&r);
}

/* While the log cannot be written, the floor stays. */
static void a_failing_log_keeps_the_floor(void **state)
{
    struct rig r;

    (void)state;
    rig_init(&r, 0);
    tdlog_sim_fail(r.sim, TDLOG_PWRITE, 1, 4);
    read_block(&r, 0, 4096, 1, 2);
    marks_run(r.sink);
    assert_int_equal(marks_floor(r.sink, 0, 8192), 4096);
    wait_recorded(&r);
    assert_int_equal(r.seen[1], 2);
    assert_int_equal(marks_floor(r.sink, 0, 8192), 8192);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floors_wait_for_marks),
        cmocka_unit_test(other_threads_note_nothing),
        cmocka_unit_test(a_failing_log_keeps_the_floor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
