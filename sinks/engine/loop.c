/*
 * COLD. The event loop of a sink thread on one io_uring. Role: waiting and dispatch; timers are in
 * loop_timer.c, watches in loop_watch.c. Thread: one; only the wake descriptor is touched by
 * others.
 *
 * The ring is created disabled and enabled on the thread that first runs it, because SINGLE_ISSUER
 * binds a ring to the thread that enables it. Until then entries are only prepared.
 */
#include "sinks/engine/loop.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/loop_internal.h"

#define BATCH           64
#define DESTROY_WAIT_US ((int64_t)10 * 1000000)
#define WAIT_US_MAX     ((int64_t)3600 * 1000000)

/* user_data: the kind in the low bits; above them the address of a read (8-aligned) or a slot. */
enum tag { TAG_READ, TAG_WATCH, TAG_WAKE, TAG_IGNORE };
#define TAG_MASK  UINT64_C(3)
#define TAG_SHIFT 2

static_assert(alignof(struct loop_read) > TAG_MASK, "the kind fits below a read's address");

uint64_t loop_watch_tag(uint32_t slot)
{
    ASSERT(slot >= 1);
    return (uint64_t)slot << TAG_SHIFT | TAG_WATCH;
}

uint64_t loop_ignore_tag(void)
{
    return TAG_IGNORE;
}

/* The newest mode that the kernel has. */
static int ring_create(struct io_uring *ring)
{
    static const unsigned modes[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_SINGLE_ISSUER,
        0,
    };
    int rc = -EINVAL;

    ASSERT(ring != NULL);
    for (size_t i = 0; i < ARRAY_LEN(modes) && rc == -EINVAL; i++) {
        struct io_uring_params p = {.flags = modes[i] | IORING_SETUP_R_DISABLED};

        rc = io_uring_queue_init_params(LOOP_SQ_ENTRIES, ring, &p);
    }
    return rc;
}

int loop_create(struct loop **out)
{
    struct loop *l = calloc(1, sizeof(*l));
    int rc;

    ASSERT(out != NULL);
    if (l == NULL)
        return -ENOMEM;
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) {
        rc = -errno;
        goto fail;
    }
    rc = ring_create(&l->ring);
    if (rc != 0)
        goto fail;
    *out = l;
    return 0;
fail:
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    free(l);
    return rc;
}

int loop_wake_fd(const struct loop *l)
{
    ASSERT(l != NULL);
    return l->wake_fd;
}

static bool on_own_thread(const struct loop *l)
{
    ASSERT(l != NULL);
    return l->enabled && pthread_equal(l->thread, pthread_self());
}

/* Everything prepared is the kernel's after a submission that took all. */
static void note_submitted(struct loop *l)
{
    ASSERT(l != NULL);
    if (io_uring_sq_ready(&l->ring) > 0)
        return;
    l->reads_flying += l->reads_queued;
    l->reads_queued = 0;
}

struct io_uring_sqe *loop_sqe(struct loop *l)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

    if (sqe != NULL || !l->enabled)
        return sqe;
    ASSERT(on_own_thread(l));
    if (io_uring_submit(&l->ring) < 0)
        return NULL;
    note_submitted(l);
    return io_uring_get_sqe(&l->ring);
}

static int read_prepare(struct loop *l, struct loop_read *r)
{
    struct io_uring_sqe *sqe = loop_sqe(l);

    ASSERT(r->_got < r->len);
    if (sqe == NULL)
        return -EBUSY;
    if (r->_writes) {
        io_uring_prep_write(sqe, r->fd, (char *)r->buf + r->_got, r->len - r->_got,
                            r->offset + r->_got);
        sqe->rw_flags = RWF_DSYNC;
    } else {
        io_uring_prep_read(sqe, r->fd, (char *)r->buf + r->_got, r->len - r->_got,
                           r->offset + r->_got);
    }
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)r | TAG_READ);
    l->reads_queued++;
    return 0;
}

int loop_read_start(struct loop *l, struct loop_read *r)
{
    ASSERT(r->done != NULL && r->buf != NULL);
    ASSERT(r->len > 0 && r->len <= INT32_MAX);
    r->_got = 0;
    r->_writes = false;
    return read_prepare(l, r);
}

int loop_write_start(struct loop *l, struct loop_read *r)
{
    ASSERT(r->done != NULL && r->buf != NULL);
    ASSERT(r->len > 0 && r->len <= INT32_MAX);
    r->_got = 0;
    r->_writes = true;
    return read_prepare(l, r);
}

/*
 * A short read goes on, until it is whole or at the end of the file. Behind an unaligned end,
 * direct I/O answers EINVAL, which is the end as well.
 */
static int read_complete(struct loop *l, struct loop_read *r, int result)
{
    int rc = result;

    ASSERT(result <= (int)(r->len - r->_got));
    if (result > 0) {
        r->_got += (uint32_t)result;
        if (r->_got < r->len && read_prepare(l, r) == 0)
            return 0;
        rc = (int)r->_got;
    } else if (result == -EINTR || result == -EAGAIN) {
        if (read_prepare(l, r) == 0)
            return 0;
    } else if (result == 0 || (result == -EINVAL && r->_got > 0)) {
        rc = (int)r->_got;
    }
    r->done(r, rc);
    return 1;
}

static void wake_arm(struct loop *l)
{
    struct io_uring_sqe *sqe;

    ASSERT(l->enabled);
    if (l->wake_armed)
        return;
    sqe = loop_sqe(l);
    if (sqe == NULL)
        return; /* tried again in the next turn */
    io_uring_prep_poll_add(sqe, l->wake_fd, POLLIN);
    io_uring_sqe_set_data64(sqe, TAG_WAKE);
    l->wake_armed = true;
}

static void wake_complete(struct loop *l)
{
    uint64_t count;

    ASSERT(l->wake_armed);
    l->wake_armed = false;
    if (read(l->wake_fd, &count, sizeof(count)) < 0)
        return; /* nothing there: a spurious wake-up is harmless */
}

static int complete(struct loop *l, uint64_t data, int result)
{
    ASSERT(l->enabled);
    switch ((enum tag)(data & TAG_MASK)) {
    case TAG_READ:
        ASSERT(l->reads_flying > 0);
        l->reads_flying--;
        return read_complete(l, (struct loop_read *)(uintptr_t)(data & ~TAG_MASK), result);
    case TAG_WATCH:
        return loop_watch_complete(l, (uint32_t)(data >> TAG_SHIFT), result);
    case TAG_WAKE:
        wake_complete(l);
        return 0;
    case TAG_IGNORE:
        return 0;
    }
    return 0;
}

/* One turn's completions: those that are in now, not those that callbacks bring about. */
static int completions_run(struct loop *l)
{
    struct io_uring_cqe *cqes[BATCH];
    unsigned left = io_uring_cq_ready(&l->ring);
    int n = 0;

    ASSERT(l->enabled);
    while (left > 0) {
        unsigned got = io_uring_peek_batch_cqe(&l->ring, cqes, left < BATCH ? left : BATCH);
        uint64_t data[BATCH];
        int result[BATCH];

        if (got == 0)
            break;
        for (unsigned i = 0; i < got; i++) {
            data[i] = io_uring_cqe_get_data64(cqes[i]);
            result[i] = cqes[i]->res;
        }
        io_uring_cq_advance(&l->ring, got);
        for (unsigned i = 0; i < got; i++)
            n += complete(l, data[i], result[i]);
        left -= got;
    }
    return n;
}

/* liburing 2.3 declares io_uring_enable_rings() but does not export it. */
static void enable(struct loop *l)
{
    long rc =
        syscall(__NR_io_uring_register, l->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

    ASSERT(rc == 0);
    l->enabled = true;
    l->thread = pthread_self();
}

static void submit_and_wait(struct loop *l, int64_t wait_us)
{
    struct __kernel_timespec ts = {.tv_sec = wait_us / 1000000,
                                   .tv_nsec = wait_us % 1000000 * 1000};
    struct io_uring_cqe *cqe;

    ASSERT(wait_us >= 0);
    if (wait_us == 0 || io_uring_cq_ready(&l->ring) > 0)
        (void)io_uring_submit_and_get_events(&l->ring);
    else
        (void)io_uring_submit_and_wait_timeout(&l->ring, &cqe, 1, &ts, NULL);
    note_submitted(l); /* ETIME, EINTR and EAGAIN: what was not taken goes with the next turn */
}

int loop_run_once(struct loop *l, int64_t timeout_us)
{
    int64_t wait_us = timeout_us < WAIT_US_MAX ? timeout_us : WAIT_US_MAX;
    int64_t next_us;
    int n;

    ASSERT(timeout_us >= 0);
    if (!l->enabled)
        enable(l);
    ASSERT(on_own_thread(l));
    wake_arm(l);
    loop_watches_flush(l);
    next_us = loop_timers_next(l);
    if (next_us != INT64_MAX && wait_us > 0) {
        int64_t until_us = next_us - clock_monotonic_us();

        if (until_us < wait_us)
            wait_us = until_us > 0 ? until_us : 0;
    }
    submit_and_wait(l, wait_us);
    n = completions_run(l);
    return n + loop_timers_run(l, clock_monotonic_us());
}

/* Completions of reads, without callbacks: their buffers must not be written to after the loop is
 * gone. */
static void reads_drain(struct loop *l)
{
    int64_t end_us = clock_monotonic_us() + DESTROY_WAIT_US;
    struct io_uring_cqe *cqe;

    ASSERT(l->enabled || l->reads_flying == 0);
    while (l->reads_flying > 0 && clock_monotonic_us() < end_us) {
        if (on_own_thread(l))
            (void)io_uring_submit_and_get_events(&l->ring);
        while (io_uring_peek_cqe(&l->ring, &cqe) == 0 && cqe != NULL) {
            if ((io_uring_cqe_get_data64(cqe) & TAG_MASK) == TAG_READ)
                l->reads_flying--;
            io_uring_cqe_seen(&l->ring, cqe);
        }
        if (l->reads_flying > 0)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

void loop_destroy(struct loop *l)
{
    if (l == NULL)
        return;
    ASSERT(l->n_watches == 0);
    reads_drain(l);
    io_uring_queue_exit(&l->ring);
    close(l->wake_fd);
    loop_timers_fini(l);
    loop_watches_fini(l);
    free(l);
}
