/*
 * COLD. The delivery log's thread: takes what waits in the ports, writes it as one frame, applies
 * it, tells the ports, feeds the ledger; and again. No timer window: what arrives during a write
 * goes into the next one.
 *
 * A record is applied to the state, and its cookie returned, only after the write that holds it has
 * succeeded. When a write fails its records stay first in `pending`, so they go behind the snapshot
 * in the next file, in order and with the same sequence numbers.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "sinks/delivery/dlog_internal.h"

#define BURST        64
#define IDLE_WAIT_MS 200

static bool order_is(const struct dlog *d, enum dlog_order order)
{
    return atomic_load_explicit(&d->order, memory_order_acquire) == (int)order;
}

/* ---- taking ---- */

/* Moves submissions of all ports into pending, in turn, until a frame's worth waits. */
static void collect(struct dlog *d)
{
    void *got[BURST];
    bool more = true;

    while (more && d->pending.bytes < FRAME_PAYLOAD_MAX) {
        more = false;
        for (uint32_t i = 0; i < d->n_ports; i++) {
            unsigned int n = rte_ring_sc_dequeue_burst(d->port[i]->submit, got, BURST, NULL);

            for (unsigned int k = 0; k < n; k++)
                list_push(&d->pending, got[k]);
            more |= n > 0;
        }
    }
    ASSERT(d->pending.head != NULL || d->pending.count == 0);
}

/* rte_ring_empty(), but with an atomic read; pairs with the release in the port's enqueue. */
static bool rings_empty(const struct dlog *d)
{
    for (uint32_t i = 0; i < d->n_ports; i++) {
        const struct rte_ring *r = d->port[i]->submit;

        ASSERT(d->n_ports <= d->ports_max);
        if (__atomic_load_n(&r->prod.tail, __ATOMIC_ACQUIRE) != r->cons.tail)
            return false;
    }
    return true;
}

/* The smallest floor over the ports; a port that has set none counts as the recorded one. */
static lsn_t floor_min(const struct dlog *d, uint32_t journal, lsn_t recorded)
{
    lsn_t min = LSN_MAX;

    ASSERT(journal < JOURNALS_MAX);
    for (uint32_t i = 0; i < d->n_ports; i++) {
        lsn_t f = atomic_load_explicit(&d->port[i]->floor[journal], memory_order_acquire);

        if (f < recorded)
            f = recorded;
        if (f < min)
            min = f;
    }
    return d->n_ports == 0 ? recorded : min;
}

static void queue_floors(struct dlog *d, int64_t now_us)
{
    uint32_t n = atomic_load_explicit(&d->n_journals, memory_order_acquire);

    if (now_us < d->floors_at_us && order_is(d, ORDER_RUN))
        return;
    d->floors_at_us = now_us + DLOG_FLOOR_US;
    for (uint32_t i = 0; i < n; i++) {
        lsn_t recorded = state_floor(d->state, &d->journal[i].uuid);
        lsn_t min = floor_min(d, i, recorded);
        struct submission *s;

        if (min <= recorded || min <= d->floor_queued[i])
            continue;
        ASSERT(min != LSN_MAX);
        s = must_malloc(sizeof(*s) + RECORD_HEADER_BYTES + 24);
        *s = (struct submission){.port = NULL};
        s->len = (uint32_t)record_encode_floor(&d->journal[i].uuid, min, clock_wall_us(), s->bytes);
        list_push(&d->pending, s);
        d->floor_queued[i] = min;
    }
}

/* ---- writing ---- */

/* Fills d->buf from pending, without taking from it. */
static struct frame_header build_frame(struct dlog *d, uint64_t offset)
{
    struct frame_header h = {
        .file_seq = d->file_seq,
        .first_seq = d->last_seq + 1,
        .durable_offset = offset,
        .kind = FRAME_LOG,
    };

    for (struct submission *s = d->pending.head; s != NULL; s = s->next) {
        if (h.payload_len + s->len > FRAME_PAYLOAD_MAX)
            break;
        ASSERT(s->len >= RECORD_HEADER_BYTES && s->len <= FRAME_PAYLOAD_MAX);
        s->seq = d->last_seq + 1 + h.n_records;
        record_set_seq(s->bytes, s->seq);
        memcpy(d->buf + FRAME_HEADER_BYTES + h.payload_len, s->bytes, s->len);
        h.payload_len += s->len;
        h.n_records++;
    }
    ASSERT(h.n_records > 0);
    return h;
}

void dlog_publish_free(struct dlog *d)
{
    uint32_t n = atomic_load_explicit(&d->n_journals, memory_order_acquire);

    ASSERT(n <= JOURNALS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct dlog_journal *j = &d->journal[i];
        lsn_t lsn = state_free_lsn(d->state, &j->uuid), floor = state_floor(d->state, &j->uuid);

        /* Never back: what was free may have been recycled. */
        ASSERT(lsn >= atomic_load_explicit(&j->free_lsn, memory_order_relaxed));
        ASSERT(floor >= atomic_load_explicit(&j->floor, memory_order_relaxed) && lsn <= floor);
        atomic_store_explicit(&j->free_lsn, lsn, memory_order_release);
        atomic_store_explicit(&j->floor, floor, memory_order_release);
    }
}

/* Marks are the one part of the state that other threads look at. */
static int apply_view(struct dlog *d)
{
    int rc;

    ASSERT(d->state != NULL);
    if (d->view.type != RECORD_MARK)
        return state_apply(d->state, &d->view);
    pthread_mutex_lock(&d->marks_lock);
    rc = state_apply(d->state, &d->view);
    pthread_mutex_unlock(&d->marks_lock);
    return rc;
}

static void apply_first(struct dlog *d, uint32_t n_records)
{
    struct submission *s = d->pending.head;

    ASSERT(n_records <= d->pending.count);
    for (uint32_t i = 0; i < n_records; i++, s = s->next) {
        int rc = record_decode(s->bytes, s->len, &d->view);

        ASSERT(rc == 0);
        ASSERT(s->seq == d->last_seq + 1 + i && d->view.seq == s->seq); /* as in the frame */
        if (apply_view(d) != 0)
            log_error("delivery", "the record %s with number %llu does not fit the state; ignored",
                      record_type_name(d->view.type), (unsigned long long)s->seq);
    }
    d->last_seq += n_records;
    atomic_store_explicit(&d->durable_seq, d->last_seq, memory_order_release);
    atomic_fetch_add_explicit(&d->stats.records, n_records, memory_order_relaxed);
    atomic_fetch_add_explicit(&d->stats.batches, 1, memory_order_relaxed);
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    ssize_t n = fd < 0 ? 0 : write(fd, &one, sizeof(one));

    (void)n; /* a full counter wakes as well */
}

/* The batch is durable: state first, then what follows from it, then whoever waits. */
static void complete(struct dlog *d, uint32_t n_records)
{
    apply_first(d, n_records);
    dlog_publish_free(d);
    for (uint32_t i = 0; i < n_records; i++) {
        struct submission *s = list_pop(&d->pending);

        ASSERT(s != NULL && s->seq <= d->last_seq);

        if (s->port != NULL) {
            int rc = rte_ring_sp_enqueue(s->port->done, s->cookie);

            ASSERT(rc == 0); /* in_flight bounds it */
            s->port->touched = true;
        }
        dlog_ledger_queue(d, s);
    }
    for (uint32_t i = 0; i < d->n_ports; i++) {
        if (d->port[i]->touched)
            signal_fd(d->port[i]->event_fd);
        d->port[i]->touched = false;
    }
}

static int fail(struct dlog *d, int rc)
{
    ASSERT(rc < 0);
    atomic_fetch_add_explicit(&d->stats.errors, 1, memory_order_relaxed);
    if (!d->error_logged)
        log_error(
            "delivery",
            "the delivery log cannot be written (%s); nothing new is sent until it can: see %s",
            strerror(-rc), d->dir);
    d->error_logged = true;
    return rc;
}

/* Writes the first frame's worth of pending. @return 0 or -errno; then nothing was taken. */
static int write_pending(struct dlog *d)
{
    struct frame_header h;
    int rc = 0;

    ASSERT(d->pending.head != NULL);
    h = build_frame(d, d->offset);
    if (d->active < 0 || d->offset + frame_span(h.payload_len) > d->bytes[d->active]) {
        rc = dlog_switch(d);
        if (rc != 0)
            return fail(d, rc);
        h = build_frame(d, d->offset);
    }
    if (d->offset + frame_span(h.payload_len) > d->bytes[d->active])
        return fail(d, -ENOSPC);
    ASSERT(h.first_seq == d->last_seq + 1 && d->active == d->newest);
    rc = dlog_write_frame(d, d->active, &d->offset, &h);
    if (rc != 0) {
        d->active = -1;
        return fail(d, rc);
    }
    if (d->error_logged)
        log_info("delivery", "the delivery log can be written again");
    d->error_logged = false;
    complete(d, h.n_records);
    return 0;
}

/* ---- waiting ---- */

static void sleep_us(int64_t us)
{
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    ASSERT(us >= 0);
    nanosleep(&t, NULL);
}

/* After a failure; short steps, so that an order is seen. A first failure is retried at once, in
 * another file. */
static void wait_retry(struct dlog *d, int rc, bool again)
{
    int64_t until = clock_monotonic_us() + (rc == -ENOSPC ? DLOG_RETRY_FULL_US : DLOG_RETRY_US);

    ASSERT(rc < 0);
    while (again && order_is(d, ORDER_RUN) && clock_monotonic_us() < until)
        sleep_us(20000);
    if (again && order_is(d, ORDER_STOP))
        sleep_us(DLOG_RETRY_US);
}

void dlog_wake(struct dlog *d)
{
    if (atomic_exchange_explicit(&d->sleeping, 0, memory_order_acq_rel) != 0)
        signal_fd(d->wake_fd);
}

static int wait_ms(const struct dlog *d)
{
    int64_t left =
        d->ledger_at_us == 0 ? IDLE_WAIT_MS : (d->ledger_at_us - clock_monotonic_us()) / 1000 + 1;

    if (left < 0)
        return 0;
    return left < IDLE_WAIT_MS ? (int)left : IDLE_WAIT_MS;
}

/* Whoever submits after the look at the rings finds `sleeping` set, and writes to the eventfd. */
static void wait_for_work(struct dlog *d)
{
    struct pollfd p = {.fd = d->wake_fd, .events = POLLIN};
    uint64_t count;

    atomic_exchange_explicit(&d->sleeping, 1, memory_order_acq_rel);
    if (rings_empty(d) && order_is(d, ORDER_RUN) &&
        atomic_load_explicit(&d->sync_wanted, memory_order_acquire) == 0 &&
        poll(&p, 1, wait_ms(d)) > 0) {
        ssize_t n = read(d->wake_fd, &count, sizeof(count));

        (void)n;
    }
    atomic_store_explicit(&d->sleeping, 0, memory_order_release);
}

/* @return whether dlog_stop() is to be obeyed now. */
static bool may_end(struct dlog *d, int64_t now_us)
{
    ASSERT((d->pending.head == NULL) == (d->pending.count == 0));
    if (!order_is(d, ORDER_STOP))
        return false;
    if (d->give_up_us == 0)
        d->give_up_us = now_us + DLOG_STOP_US;
    if (d->pending.head == NULL && rings_empty(d))
        return true;
    if (now_us < d->give_up_us || !d->error_logged)
        return false;
    log_error("delivery",
              "stopping with %zu records that could not be written; nothing was sent for them",
              d->pending.count);
    return true;
}

static void end_thread(struct dlog *d)
{
    ASSERT(!d->writer_ended);
    if (order_is(d, ORDER_STOP) && dlog_ledger_flush(d) != 0)
        log_warn("ledger", "lacks the last %zu records; they follow at the next start",
                 d->unshown.count);
    pthread_mutex_lock(&d->ledger_lock);
    d->writer_ended = true;
    pthread_cond_broadcast(&d->ledger_moved);
    pthread_mutex_unlock(&d->ledger_lock);
}

int dlog_step(struct dlog *d, int64_t now_us)
{
    int rc = 0;

    collect(d);
    queue_floors(d, now_us);
    if (d->pending.head != NULL)
        rc = write_pending(d);
    dlog_ledger_tick(d, now_us);
    if (rc == 0 && d->pending.head == NULL)
        dlog_publish_free(d); /* for journals that were registered since */
    return rc;
}

void *dlog_writer_main(void *arg)
{
    struct dlog *d = arg;
    bool failed_before = false;

    ASSERT(d->buf != NULL && d->state != NULL);
    while (!order_is(d, ORDER_KILL)) {
        int64_t now_us = clock_monotonic_us();
        int rc = dlog_step(d, now_us);

        if (rc != 0)
            wait_retry(d, rc, failed_before);
        failed_before = rc != 0;
        if (may_end(d, now_us))
            break;
        if (rc == 0 && d->pending.head == NULL)
            wait_for_work(d);
    }
    end_thread(d);
    return NULL;
}
