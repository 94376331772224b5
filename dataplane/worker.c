/*
 * HOT. The worker's thread: one io_uring for accepting, receiving, answering and the journal;
 * commit blocks; lanes. See worker.h. After start nothing here allocates, locks or blocks.
 */
#include "dataplane/worker.h"

#include <errno.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_ring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/ring.h"
#include "dataplane/event/assemble.h"
#include "dataplane/worker_internal.h"

#ifndef PENSTOCK_NO_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#define RING_ENTRIES 4096
#define TURN_BATCH   256 /* completions handled before the journal is looked after */
#define TURN_US      250 /* or as many as this allows: about one flush */
#define CLOCK_EVERY  4   /* completions between two looks at the clock */
#define TICK_US      200000
#define RETRY_US     2000 /* while the journal or a request waits for room */

/* ---- blocks ---- */

static uint32_t capacity_of(const struct worker_config *c)
{
    return block_capacity(c->block_bytes, ingest_line_max(c->event_bytes_max));
}

uint64_t worker_entries_bytes(const struct worker_config *c)
{
    return (uint64_t)c->blocks * BLOCK_ENTRIES_MAX * sizeof(struct block_entry);
}

/*
 * Leases: of a head or a little more, one for each connection, so that clients that never finish
 * theirs take none of the others; small; of a usual batch of events; of the largest event by default
 * with a little room around it; and of the largest body.
 */
static struct lease_config leases_of(const struct worker_config *c)
{
    struct lease_config leases = {
        .count = {c->connections_max + (streams_memory_bytes(c) > 0 ? c->streams_max : 0),
                  c->leases_small, c->leases_middle, c->leases_medium, c->leases_large},
        .bytes = {LEASE_HEAD_BYTES, 64u << 10, 256u << 10, (1u << 20) + 4096,
                  c->body_bytes_max + c->header_bytes_max + 4096},
    };

    if (leases.bytes[4] < leases.bytes[3])
        leases.bytes[4] = leases.bytes[3];
    return leases;
}

uint64_t worker_memory_bytes(const struct worker_config *c)
{
    struct lease_config leases = leases_of(c);
    uint64_t sum = 0;

    sum += (uint64_t)c->blocks * capacity_of(c); /* commit blocks */
    sum += worker_entries_bytes(c);              /* their references */
    sum += lease_memory_bytes(&leases);          /* requests and lines in several pieces */
    sum += receive_pool_memory(c->receive_buffers, RECEIVE_BYTES);   /* requests in one piece */
    sum += receive_pool_memory(WIDE_BUFFERS, WIDE_BYTES);            /* larger ones */
    sum += (uint64_t)c->connections_max * sizeof(struct connection); /* connections */
    sum += (uint64_t)LISTS * LIST_BYTES;                             /* answers that list errors */
    sum += auth_memory_bytes(c);                                     /* tokens' counters */
    sum += secure_memory_bytes(c);                                   /* TLS */
    sum += expand_memory_bytes();                                    /* decompression */
    sum += streams_memory_bytes(c); /* TCP: receive buffers, connections */
    sum += udp_memory_bytes(c);     /* UDP: receive buffers */
    sum += packets_memory_bytes(c); /* DPDK: datagrams that wait, one in pieces */
    sum += ingest_memory_bytes(c->types_max, c->json_isa); /* types, reference rings, parser */
    return sum;
}

static int blocks_create(struct worker *w)
{
    const struct worker_config *c = &w->config;
    uint32_t capacity = capacity_of(c);

    w->block_memory_bytes = (uint64_t)c->blocks * capacity;
    w->block_memory = mem_reserve(w->block_memory_bytes);
    w->block = calloc(c->blocks, sizeof(*w->block));
    w->entries = mem_reserve(worker_entries_bytes(c));
    w->free_block = calloc(c->blocks, sizeof(*w->free_block));
    w->returns = ring_create("block_returns", c->blocks, RING_F_SC_DEQ);
    if (w->block_memory == NULL || w->block == NULL || w->entries == NULL ||
        w->free_block == NULL || w->returns == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < c->blocks; i++) {
        block_init(&w->block[i], w->block_memory + (uint64_t)i * capacity, capacity, c->block_bytes,
                   w->entries + (size_t)i * BLOCK_ENTRIES_MAX, w->returns);
        w->free_block[w->n_free_blocks++] = &w->block[i];
    }
    return 0;
}

/* Takes back what sink threads have released. */
static void blocks_take_back(struct worker *w)
{
    void *item;

    while (rte_ring_sc_dequeue(w->returns, &item) == 0) {
        ASSERT(w->n_lent > 0 && w->n_free_blocks < w->config.blocks);
        w->free_block[w->n_free_blocks++] = item;
        w->n_lent--;
    }
    ASSERT_HOT(w->n_free_blocks <= w->config.blocks);
}

static struct block *block_get(void *ctx)
{
    struct worker *w = ctx;

    if (w->n_free_blocks == 0)
        blocks_take_back(w);
    if (w->n_free_blocks == 0)
        return NULL;
    w->free_block[--w->n_free_blocks]->full_bytes = w->config.block_bytes;
    return w->free_block[w->n_free_blocks];
}

static uint32_t blocks_free(void *ctx)
{
    struct worker *w = ctx;

    blocks_take_back(w);
    return w->n_free_blocks;
}

/* A block is durable: answers may go out, and sink threads may have it while there is credit. */
static void block_durable(void *ctx, struct block *b)
{
    struct worker *w = ctx;
    uint32_t refused = 0;

    ASSERT(b->seq > w->durable_seq);
    ASSERT(b->lsn + b->len <= journal_durable(w->journal));
    w->durable_seq = b->seq;
    stat_add(&w->stats.durable_events, b->events);
    stat_add(&w->stats.blocks_written, 1);
    stat_add(&w->stats.journal_bytes, b->len);
    if (w->n_lanes == 0 || w->n_lent >= w->config.lane_blocks_max) {
        stat_add(&w->stats.lane_skips, 1);
        w->free_block[w->n_free_blocks++] = b;
        return;
    }
    w->n_lent++;
    w->lanes_pushed = true;
    block_hold(b, w->n_lanes);
    for (uint32_t i = 0; i < w->n_lanes; i++)
        refused += lane_push(w->lane[i], b) ? 0 : 1;
    for (; refused > 0; refused--) {
        stat_add(&w->stats.lane_skips, 1);
        block_release(b);
    }
}

/* ---- life ---- */

static int inputs_create(struct worker *w, char *error, size_t error_len)
{
    struct lease_config leases = leases_of(&w->config);
    int rc = lease_pool_create(&leases, &w->leases);

    if (rc < 0) {
        snprintf(error, error_len, "input.leases_*: out of memory");
        return rc;
    }
    rc = expander_create(&w->expander);
    if (rc < 0) {
        snprintf(error, error_len, "out of memory for decompression");
        return rc;
    }
    rc = secure_create(w);
    if (rc < 0) {
        snprintf(error, error_len, "https.listen: out of memory");
        return rc;
    }
    rc = auth_create(w);
    if (rc < 0) {
        snprintf(error, error_len, "http.tokens: out of memory");
        return rc;
    }
    if ((rc = connections_create(w, error, error_len)) < 0 ||
        (rc = streams_create(w, error, error_len)) < 0 ||
        (rc = udp_create(w, error, error_len)) < 0 ||
        (rc = packets_create(w, error, error_len)) < 0)
        return rc;
    return listeners_create(w, error, error_len);
}

static int parts_create(struct worker *w, char *error, size_t error_len)
{
    struct ingest_config ingest = {
        .types = w->types,
        .types_max = w->config.types_max,
        .event_bytes_max = w->config.event_bytes_max,
        .json_isa = w->config.json_isa,
        .journal = w->journal,
        .stats = &w->stats,
        .block_get = block_get,
        .blocks_free = blocks_free,
        .blocks_total = w->config.blocks,
        .block_bytes = w->config.block_bytes,
        .ctx = w,
    };
    int rc = blocks_create(w);

    if (rc == 0)
        rc = injections_create(w);
    if (rc == 0)
        rc = writer_create(w->journal, w->config.blocks, capacity_of(&w->config),
                           (uint64_t)OP_JOURNAL << OP_SHIFT, block_durable, w, &w->writer);
    if (rc < 0) {
        snprintf(error, error_len, "block.count: out of memory for %u commit blocks",
                 w->config.blocks);
        return rc;
    }
    ingest.writer = w->writer;
    rc = ingest_create(&ingest, &w->ingest, error, error_len);
    return rc < 0 ? rc : inputs_create(w, error, error_len);
}

int worker_create(const struct worker_config *config, const struct type_set *types,
                  struct journal *journal, struct lane *const *lanes, uint32_t n_lanes,
                  struct worker **out, char *error, size_t error_len)
{
    struct worker *w = aligned_alloc(CACHE_LINE_BYTES, align_up(sizeof(*w), CACHE_LINE_BYTES));
    int rc;

    ASSERT(n_lanes <= SINK_THREADS_MAX && config->lane_blocks_max < config->blocks);
    snprintf(error, error_len, "out of memory");
    if (w == NULL)
        return -ENOMEM;
    memset(w, 0, sizeof(*w));
    w->config = *config;
    w->keys = config->keys;
    w->types = types;
    w->journal = journal;
    w->n_lanes = n_lanes;
    for (uint32_t i = 0; i < n_lanes; i++)
        w->lane[i] = lanes[i];
    for (uint32_t i = 0; i < LISTENERS; i++)
        w->listener[i].fd = -1;
    w->udp.fd = -1;
    w->wake_fd = eventfd(0, EFD_CLOEXEC);
    atomic_store(&w->start_result, 1);
    rc = w->wake_fd < 0 ? -errno : parts_create(w, error, error_len);
    if (rc < 0) {
        worker_destroy(w);
        return rc;
    }
    *out = w;
    return 0;
}

void worker_destroy(struct worker *w)
{
    if (w == NULL)
        return;
    ASSERT(!w->thread_started);
    listeners_destroy(w);
    connections_destroy(w);
    secure_destroy(w);
    auth_destroy(w);
    streams_destroy(w);
    udp_destroy(w);
    packets_destroy(w);
    lease_pool_destroy(w->leases);
    expander_destroy(w->expander);
    injections_destroy(w);
    ingest_destroy(w->ingest);
    writer_destroy(w->writer);
    if (w->wake_fd >= 0)
        close(w->wake_fd);
    mem_release(w->block_memory, w->block_memory_bytes);
    mem_release(w->entries, worker_entries_bytes(&w->config));
    free(w->block);
    free(w->free_block);
    free(w->returns);
    free(w);
}

/* ---- the thread ---- */

/* The best set-up that this kernel knows: 3.8 M events/s with both flags, 3.3 M with the second
 * set, 2.4 M bare. */
static int uring_create(struct io_uring *ring)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    int rc = -EINVAL;

    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        struct io_uring_params p = {.flags = flags[i] | IORING_SETUP_CQSIZE,
                                    .cq_entries = 4 * RING_ENTRIES};

        rc = io_uring_queue_init_params(RING_ENTRIES, ring, &p);
        if (rc != -EINVAL)
            break;
    }
    return rc;
}

/* Registered buffers spare the kernel the page look-ups; without the right to lock memory it works
 * too. */
static void blocks_register(struct worker *w)
{
    struct iovec *iov = calloc(w->config.blocks, sizeof(*iov));

    if (iov == NULL)
        return;
    for (uint32_t i = 0; i < w->config.blocks; i++)
        iov[i] = (struct iovec){.iov_base = w->block[i].buf, .iov_len = w->block[i].capacity};
    if (io_uring_register_buffers(&w->ring, iov, w->config.blocks) == 0) {
        for (uint32_t i = 0; i < w->config.blocks; i++)
            w->block[i].buf_index = (int)i;
    }
    free(iov);
}

static void malloc_counter_find(struct worker *w)
{
    uint64_t *counter = NULL;

#ifndef PENSTOCK_NO_JEMALLOC
    size_t len = sizeof(counter);

    if (mallctl("thread.allocatedp", &counter, &len, NULL, 0) != 0)
        counter = NULL;
#endif
    w->malloc_counter = counter;
}

struct io_uring_sqe *worker_sqe(struct worker *w)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

    if (sqe == NULL) {
        io_uring_submit(&w->ring);
        sqe = io_uring_get_sqe(&w->ring);
    }
    ASSERT(sqe != NULL);
    return sqe;
}

static void wake_arm(struct worker *w)
{
    struct io_uring_sqe *sqe = worker_sqe(w);

    ASSERT(w->wake_fd >= 0);
    io_uring_prep_read(sqe, w->wake_fd, &w->wake_value, sizeof(w->wake_value), 0);
    sqe->user_data = (uint64_t)OP_WAKE << OP_SHIFT;
}

static int thread_init(struct worker *w)
{
    cpu_set_t cpus;
    int rc;

    if (w->config.core >= 0) {
        CPU_ZERO(&cpus);
        CPU_SET((unsigned)w->config.core, &cpus);
        if (pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus) != 0)
            return -EINVAL;
    }
    rc = w->config.populate ? worker_populate_first(w) : 0;
    if (rc == 0)
        rc = uring_create(&w->ring);
    if (rc < 0)
        return rc;
    blocks_register(w);
    if ((rc = receive_pool_register(&w->receive, &w->ring)) < 0 ||
        (rc = receive_pool_register(&w->wide, &w->ring)) < 0 ||
        (rc = receive_pool_register(&w->streams.receive, &w->ring)) < 0 ||
        (rc = receive_pool_register(&w->udp.receive, &w->ring)) < 0) {
        io_uring_queue_exit(&w->ring);
        return rc;
    }
    if (w->packets.share != NULL && rte_thread_register() != 0) { /* for the pools' caches */
        io_uring_queue_exit(&w->ring);
        return -rte_errno;
    }
    malloc_counter_find(w);
    wake_arm(w);
    w->now_us = clock_monotonic_us();
    answer_date(w, clock_wall_us());
    return 0;
}

static void dispatch(struct worker *w, const struct io_uring_cqe *cqe)
{
    uint64_t index = cqe->user_data & ((UINT64_C(1) << OP_SHIFT) - 1);

    switch ((enum worker_op)(cqe->user_data >> OP_SHIFT)) {
    case OP_TAKEN:
        break;
    case OP_ACCEPT:
        on_accept(w, (enum listener_kind)index, cqe);
        break;
    case OP_RECEIVE:
        on_receive(w, &w->connection[index], cqe);
        break;
    case OP_SEND:
        on_send(w, &w->connection[index], cqe->res);
        break;
    case OP_STREAM_RECEIVE:
        on_stream_receive(w, &w->streams.stream[index], cqe);
        break;
    case OP_STREAM_SEND:
        on_stream_send(w, &w->streams.stream[index], cqe->res);
        break;
    case OP_DATAGRAM:
        on_datagram(w, (uint32_t)index, cqe);
        break;
    case OP_WAKE:
        wake_arm(w);
        break;
    case OP_JOURNAL:
        writer_complete(w->writer, cqe->user_data, cqe->res);
        break;
    }
}

/* Writes that have ended go before what came earlier: clients wait for them, and so does the disk. */
static void journal_first(struct worker *w, struct io_uring_cqe **cqe, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (cqe[i]->user_data >> OP_SHIFT != OP_JOURNAL)
            continue;
        dispatch(w, cqe[i]);
        cqe[i]->user_data = (uint64_t)OP_TAKEN << OP_SHIFT;
    }
}

/*
 * Handles what has completed, but not all of it at once when that takes long: requests that come in a
 * burst would else keep the disk idle, and those waiting that are durable by now, until the last of
 * them is parsed.
 */
static void completions_take(struct worker *w)
{
    struct io_uring_cqe *cqe[TURN_BATCH];
    unsigned n = io_uring_peek_batch_cqe(&w->ring, cqe, TURN_BATCH);
    int64_t end_us = w->now_us + TURN_US;
    unsigned done = 0;

    journal_first(w, cqe, n);
    while (done < n) {
        dispatch(w, cqe[done++]);
        if (done % CLOCK_EVERY == 0 && clock_monotonic_us() >= end_us)
            break;
    }
    io_uring_cq_advance(&w->ring, done);
    ASSERT_HOT(done <= n);
}

/* Whether all that was admitted is durable. */
static bool journal_quiet(const struct worker *w)
{
    const struct block *open = writer_open_block(w->writer);

    return writer_queued(w->writer) == 0 && (open == NULL || open->n_entries == 0);
}

static void tick(struct worker *w)
{
    const struct writer_stats *ws = writer_stats(w->writer);

    w->next_tick_us = w->now_us + TICK_US;
    blocks_take_back(w);
    answer_date(w, clock_wall_us());
    connections_tick(w);
    streams_tick(w);
    udp_tick(w);
    listeners_accept(w);
    stat_set(&w->stats.blocks_free, w->n_free_blocks);
    stat_set(&w->stats.blocks_lent, w->n_lent);
    stat_set(&w->stats.journal_errors, atomic_load_explicit(&ws->errors, memory_order_relaxed));
    if (w->malloc_counter != NULL)
        stat_set(&w->stats.malloc_bytes, *w->malloc_counter);
    if (worker_draining(w))
        atomic_store_explicit(&w->drained,
                              connections_quiet(w) && streams_quiet(w) && udp_quiet(w) &&
                                  packets_quiet(w) && injections_quiet(w) && journal_quiet(w),
                              memory_order_release);
}

/* Takes over settings that were published since the last turn. */
static COLD_PATH void settings_take(struct worker *w, const struct live_settings *s)
{
    struct worker_config *c = &w->config;

    ASSERT(s->version > w->settings_version);
    w->settings_version = s->version;
    c->block_bytes = s->worker.block_bytes;
    c->lane_blocks_max = s->worker.lane_blocks;
    c->idle_timeout_ms = s->worker.idle_ms;
    c->request_timeout_ms = s->worker.request_ms;
    c->stream_idle_timeout_ms = s->worker.stream_idle_ms;
    c->stream_line_timeout_ms = s->worker.stream_line_ms;
    c->spin = s->worker.spin;
    if (s->worker.keys != NULL)
        auth_follow(w, s->worker.keys);
    c->packet_idle_us = s->worker.packet_idle_us;
    writer_set_age(w->writer, s->worker.block_age_us);
    ingest_follow(w->ingest, s);
}

static void settings_follow(struct worker *w)
{
    const struct live_settings *s;

    if (w->config.live == NULL)
        return;
    s = live_read(w->config.live);
    if (unlikely(s->version != w->settings_version))
        settings_take(w, s);
    if (unlikely(atomic_load_explicit(&w->draining, memory_order_relaxed)))
        writer_set_age(w->writer, 0); /* nothing more comes: nothing to wait for */
}

/* Sleeps until something completes, but not past the next tick. */
static void wait_for_work(struct worker *w)
{
    int64_t due_us = writer_due_us(w->writer);
    int64_t us = (due_us < w->next_tick_us ? due_us : w->next_tick_us) - w->now_us;
    int64_t look_us = packets_sleep_us(w);
    struct __kernel_timespec ts;
    struct io_uring_cqe *cqe;

    if ((writer_failed(w->writer) || w->stalled_first != NULL || w->streams.stalled != NULL ||
         w->inject_first != NULL || w->udp.n_waiting > 0 || w->packets.n_waiting > 0) &&
        us > RETRY_US)
        us = RETRY_US;
    if (us > look_us)
        us = look_us;
    /* With completions left to handle, waiting for one would not ask the kernel for those of writes. */
    if (w->config.spin || us <= 0 || w->expanding_first != NULL || w->inject_more ||
        io_uring_cq_ready(&w->ring) > 0) {
        io_uring_submit_and_get_events(&w->ring);
        return;
    }
    ts = (struct __kernel_timespec){.tv_sec = us / 1000000, .tv_nsec = (us % 1000000) * 1000};
    (void)io_uring_submit_and_wait_timeout(&w->ring, &cqe, 1, &ts, NULL);
}

/* Tells sink threads of new blocks, when the clients of these have their answers. */
static void lanes_wake(struct worker *w)
{
    if (!w->lanes_pushed)
        return;
    w->lanes_pushed = false;
    io_uring_submit(&w->ring);
    for (uint32_t i = 0; i < w->n_lanes; i++)
        lane_wake(w->lane[i]);
}

/* Whether the next turn has something to do for certain, as far as can be seen without asking. */
static bool more_at_hand(const struct worker *w)
{
    return io_uring_cq_ready(&w->ring) > 0 || w->inject_more ||
           (w->packets.share != NULL && w->packets.idle_turns == 0) ||
           (IO_URING_READ_ONCE(*w->ring.sq.kflags) & IORING_SQ_TASKRUN) != 0;
}

/*
 * Writes what is due. The disk has it before the answers that are ready now are sent: the kernel would
 * else keep it back until the last of them is on its way, a millisecond where there are 256.
 */
static void journal_write(struct worker *w)
{
    if (writer_pump(w->writer, &w->ring, more_at_hand(w)))
        io_uring_submit(&w->ring);
}

static void turn(struct worker *w)
{
    settings_follow(w);
    completions_take(w);
    (void)connections_expand(w);
    (void)connections_unstall(w);
    (void)streams_unstall(w);
    streams_serve(w);
    (void)udp_unstall(w);
    (void)packets_unstall(w);
    udp_arm(w);
    packets_poll(w);
    injections_run(w);
    journal_write(w);
    connections_durable(w);
    streams_durable(w);
    injections_durable(w);
    lanes_wake(w);
    if (w->now_us >= w->next_tick_us)
        tick(w);
    wait_for_work(w);
    w->now_us = clock_monotonic_us();
    w->wall_us = clock_wall_us();
}

/* What was admitted gets its flush. */
static void flush_rest(struct worker *w)
{
    const struct block *open = writer_open_block(w->writer);

    if (open != NULL && open->n_entries > 0 && !writer_failed(w->writer))
        writer_seal(w->writer);
    while (writer_queued(w->writer) > 0 && !writer_failed(w->writer))
        turn(w);
    ASSERT(writer_queued(w->writer) == 0 || writer_failed(w->writer));
}

static void *thread_main(void *arg)
{
    struct worker *w = arg;
    int rc = thread_init(w);
    char name[16];

    snprintf(name, sizeof(name), "worker-%u", w->config.index & 0xffff);
    pthread_setname_np(pthread_self(), name);
    atomic_store(&w->start_result, rc);
    if (rc < 0)
        return NULL; /* the process ends */
    while (!atomic_load_explicit(&w->stop, memory_order_relaxed))
        turn(w);
    flush_rest(w);
    injections_end(w);
    io_uring_queue_exit(&w->ring);
    if (w->packets.share != NULL)
        rte_thread_unregister();
    if (w->config.live != NULL)
        live_leave(w->config.live);
    return NULL;
}

int worker_launch(struct worker *w)
{
    int rc = pthread_create(&w->thread, NULL, thread_main, w);

    ASSERT(!w->thread_started);
    w->thread_started = rc == 0;
    return -rc;
}

int worker_await(struct worker *w)
{
    int rc;

    ASSERT(w->thread_started);
    while ((rc = atomic_load(&w->start_result)) == 1)
        usleep(100);
    if (rc < 0) {
        pthread_join(w->thread, NULL);
        w->thread_started = false;
    }
    return rc;
}

int worker_start(struct worker *w)
{
    int rc = worker_launch(w);

    ASSERT(rc <= 0);
    return rc < 0 ? rc : worker_await(w);
}

void worker_nudge(struct worker *w)
{
    uint64_t one = 1;

    if (write(w->wake_fd, &one, sizeof(one)) < 0)
        ASSERT(errno == EAGAIN);
}

void worker_drain(struct worker *w)
{
    atomic_store(&w->draining, true);
    worker_nudge(w);
}

bool worker_drained(const struct worker *w)
{
    return atomic_load_explicit(&w->drained, memory_order_acquire);
}

void worker_stop(struct worker *w)
{
    if (!w->thread_started)
        return;
    atomic_store(&w->stop, true);
    worker_nudge(w);
    pthread_join(w->thread, NULL);
    w->thread_started = false;
}

const struct worker_stats *worker_stats(const struct worker *w)
{
    return &w->stats;
}

const struct worker_token *worker_token(const struct worker *w, uint32_t slot)
{
    return w->auth != NULL ? auth_slot(w->auth, slot) : NULL;
}

const struct worker_type *worker_types(const struct worker *w, uint32_t *n)
{
    return types_shown(ingest_types(w->ingest), n);
}
