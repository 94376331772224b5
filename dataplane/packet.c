/*
 * HOT. Packets from DPDK's ports, in bursts, polled once a turn. A datagram for us is parsed where the card
 * put it; what is not ours goes to the kernel by the exception port, and what the kernel sends there goes
 * out by the card. Every packet received is one of: a datagram, forwarded, dropped with its reason.
 *
 * When commit blocks are short for a moment, datagrams wait in their buffers, while the queues are read on:
 * ssh to this machine may come by the same card. Too many, or for too long: dropped and counted.
 */
#include <errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/mem.h"
#include "dataplane/worker_internal.h"

#define BURST        32
#define FRAMES_AHEAD 4           /* of the one that is looked at, on their way into the cache */
#define BURSTS_MAX   8           /* of one queue in one turn: then the journal is looked after */
#define FLAT_BYTES   (66u << 10) /* the largest IP packet in a frame, and the padding of JSON */
#define WAIT_US      1000000     /* for commit blocks, as HTTP requests do */
#define IDLE_SPINS   64          /* turns without a packet before the first sleep */
#define IDLE_STEP    8           /* sleeps before they get twice as long */
#define IDLE_DOUBLE  16          /* at most so often */

/* ---- set-up ---- */

uint64_t packets_memory_bytes(const struct worker_config *c)
{
    return c->nics == NULL || c->nics->n_queues == 0
               ? 0
               : FLAT_BYTES + (uint64_t)c->nics->waiting_max * sizeof(struct packet_waiting);
}

int packets_create(struct worker *w, char *error, size_t error_len)
{
    const struct nic_share *share = w->config.nics;
    struct packets *p = &w->packets;

    if (share == NULL || share->n_queues == 0)
        return 0;
    p->waiting = calloc(share->waiting_max, sizeof(*p->waiting));
    p->flat = mem_reserve(FLAT_BYTES);
    if (p->waiting == NULL || p->flat == NULL) {
        snprintf(error, error_len, "dpdk.waiting: out of memory");
        return -ENOMEM;
    }
    p->share = share;
    ASSERT(share->pool != NULL && share->waiting_max > 0);
    return 0;
}

void packets_destroy(struct worker *w)
{
    struct packets *p = &w->packets;

    for (; p->n_waiting > 0; p->n_waiting--) {
        rte_pktmbuf_free(p->waiting[p->first].mbuf);
        p->first = (p->first + 1) % p->share->waiting_max;
    }
    ASSERT(p->n_waiting == 0);
    free(p->waiting);
    mem_release(p->flat, FLAT_BYTES);
    p->waiting = NULL;
    p->flat = NULL;
}

/* ---- one frame ---- */

/* A frame's bytes in one piece, with the padding of JSON readable behind them; NULL: too many. */
static const uint8_t *frame_bytes(struct worker *w, const struct rte_mbuf *m)
{
    struct packets *p = &w->packets;
    uint32_t at = 0;

    if (likely(m->nb_segs == 1 && rte_pktmbuf_tailroom(m) >= JSON_PADDING_BYTES))
        return rte_pktmbuf_mtod(m, const uint8_t *);
    if (m->pkt_len > FLAT_BYTES - JSON_PADDING_BYTES)
        return NULL;
    for (const struct rte_mbuf *s = m; s != NULL; s = s->next) {
        memcpy(p->flat + at, rte_pktmbuf_mtod(s, const char *), s->data_len);
        at += s->data_len;
    }
    ASSERT(at == m->pkt_len);
    return (const uint8_t *)p->flat;
}

static void frame_drop(struct worker *w, enum reason reason)
{
    ASSERT_HOT(reason > REASON_DEAD_END && reason < REASON_END);
    stat_add(&w->stats.packet_dropped[reason], 1);
}

/* What the card has not found to be right is looked at here; it may also be wrong about a checksum that was
 * left out. */
static bool sums_ok(const struct worker *w, const struct rte_mbuf *m, const uint8_t *frame,
                    const struct packet_view *v)
{
    uint64_t ip = m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
    uint64_t udp = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    bool ip_seen = ip == RTE_MBUF_F_RX_IP_CKSUM_GOOD || ip == RTE_MBUF_F_RX_IP_CKSUM_NONE;
    bool udp_seen = udp == RTE_MBUF_F_RX_L4_CKSUM_GOOD || udp == RTE_MBUF_F_RX_L4_CKSUM_NONE;

    if (w->packets.share->trust_checksums)
        return true;
    return (ip_seen || packet_ip_sum_ok(frame, v)) && (udp_seen || packet_udp_sum_ok(frame, v));
}

/* ---- datagrams, many at once ---- */

/* Datagrams in the order of their frames: they are parsed together. */
struct batch {
    uint32_t n;
    struct rte_mbuf *mbuf[BURST];
    struct datagram datagram[BURST];
    struct sockaddr_storage from[BURST];
};

static void batch_add(struct worker *w, struct batch *b, struct rte_mbuf *m, const uint8_t *frame,
                      const struct packet_view *v)
{
    struct sockaddr_storage *from = &b->from[b->n];

    ASSERT_HOT(b->n < BURST);
    packet_source(frame, v, from);
    b->mbuf[b->n] = m;
    b->datagram[b->n] = (struct datagram){
        .buf = (const char *)frame + v->payload,
        .len = v->payload_len,
        .input = "dpdk",
        .from = from,
        .dropped = w->stats.packet_dropped,
        .dropped_lines = &w->stats.packet_dropped_lines,
    };
    b->n++;
}

/* Whether no other frame may come behind this one: it lies where the next frame in pieces will. */
static bool batch_ends(const struct worker *w, const struct batch *b, const uint8_t *frame)
{
    return b->n == BURST || (const char *)frame == w->packets.flat;
}

static COLD_PATH bool wait_push(struct worker *w, struct rte_mbuf *m, const struct datagram *d)
{
    struct packets *p = &w->packets;
    uint32_t max = p->share->waiting_max;

    if (p->n_waiting == max) {
        datagram_drop(d, REASON_BLOCKS_BUSY);
        return false;
    }
    p->waiting[(p->first + p->n_waiting) % max] =
        (struct packet_waiting){.mbuf = m, .since_us = w->now_us};
    p->n_waiting++;
    ASSERT(p->n_waiting <= max);
    stat_set(&w->stats.packet_waiting, p->n_waiting);
    return true;
}

/* Takes the batch, or has it wait behind those that do. What need not be kept is added to done. */
static void batch_take(struct worker *w, struct batch *b, struct rte_mbuf **done, uint16_t *n_done)
{
    const uint64_t all = ~UINT64_C(0) >> (64 - BURST);
    uint64_t wait = all, bytes = 0;

    if (b->n == 0)
        return;
    for (uint32_t i = 0; i < b->n; i++)
        bytes += b->datagram[i].len;
    stat_add(&w->stats.packet_datagrams, b->n);
    stat_add(&w->stats.packet_bytes, bytes);
    if (likely(w->packets.n_waiting == 0))
        wait = datagrams_take(w, b->datagram, b->n);
    for (uint32_t i = 0; i < b->n; i++) {
        if (unlikely((wait >> i & 1) != 0) && wait_push(w, b->mbuf[i], &b->datagram[i]))
            continue;
        done[(*n_done)++] = b->mbuf[i];
    }
    b->n = 0;
}

/* ---- waiting ---- */

static struct packet_waiting *waiting_at(const struct packets *p, uint32_t i)
{
    ASSERT_HOT(i < p->n_waiting);
    return &p->waiting[(p->first + i) % p->share->waiting_max];
}

/* The first of those that wait, as a batch. */
static void waiting_batch(struct worker *w, struct batch *b)
{
    struct packets *p = &w->packets;

    b->n = 0;
    for (uint32_t i = 0; i < p->n_waiting; i++) {
        struct rte_mbuf *m = waiting_at(p, i)->mbuf;
        const uint8_t *frame = frame_bytes(w, m);
        struct packet_view v;
        enum packet_kind kind = packet_parse(frame, m->pkt_len, &p->share->udp, &v);

        ASSERT(kind == PACKET_DATAGRAM);
        batch_add(w, b, m, frame, &v);
        if (batch_ends(w, b, frame))
            break;
    }
}

bool packets_unstall(struct worker *w)
{
    struct packets *p = &w->packets;
    struct batch b;

    while (p->n_waiting > 0) {
        uint32_t kept = 0;
        uint64_t wait;

        waiting_batch(w, &b);
        wait = datagrams_take(w, b.datagram, b.n);
        for (uint32_t i = b.n; i-- > 0;) { /* from behind: what is kept moves up */
            const struct packet_waiting at = *waiting_at(p, i);

            if ((wait >> i & 1) != 0 && w->now_us - at.since_us < WAIT_US) {
                *waiting_at(p, b.n - ++kept) = at;
                continue;
            }
            if ((wait >> i & 1) != 0)
                datagram_drop(&b.datagram[i], REASON_BLOCKS_BUSY);
            rte_pktmbuf_free(at.mbuf);
        }
        p->first = (p->first + b.n - kept) % p->share->waiting_max;
        p->n_waiting -= b.n - kept;
        stat_set(&w->stats.packet_waiting, p->n_waiting);
        if (kept > 0)
            return true;
    }
    return false;
}

bool packets_quiet(const struct worker *w)
{
    ASSERT(w != NULL);
    return w->packets.n_waiting == 0;
}

/* ---- bursts ---- */

/* Where a frame goes. */
enum way { WAY_DONE, WAY_OURS, WAY_KERNEL };

static COLD_PATH enum way not_ours(struct worker *w, enum reason reason, bool has_exception)
{
    if (reason == REASON_FRAGMENT)
        stat_add(&w->stats.packet_fragments, 1);
    if (has_exception)
        return WAY_KERNEL;
    frame_drop(w, reason);
    return WAY_DONE;
}

/* Looks at a frame's headers and checksums, of one for us *v is complete. */
static enum way frame_arrived(struct worker *w, const struct rte_mbuf *m, const uint8_t *frame,
                              bool has_exception, struct packet_view *v)
{
    if (unlikely(frame == NULL))
        return not_ours(w, REASON_NOT_OURS, has_exception);
    if (unlikely((const char *)frame == w->packets.flat))
        stat_add(&w->stats.packet_copied, 1);
    switch (packet_parse(frame, m->pkt_len, &w->packets.share->udp, v)) {
    case PACKET_DATAGRAM:
        if (likely(sums_ok(w, m, frame, v)))
            return WAY_OURS;
        frame_drop(w, REASON_BAD_CHECKSUM);
        return WAY_DONE;
    case PACKET_TRUNCATED:
        frame_drop(w, REASON_PACKET_TRUNCATED);
        return WAY_DONE;
    case PACKET_BAD_HEADER:
        frame_drop(w, REASON_BAD_HEADER);
        return WAY_DONE;
    case PACKET_FRAGMENT:
        return not_ours(w, REASON_FRAGMENT, has_exception);
    default:
        return not_ours(w, REASON_NOT_OURS, has_exception);
    }
}

/* Sends n packets, and frees what finds no room. @return how many were sent. */
static uint16_t send_or_free(uint16_t port, uint16_t queue, struct rte_mbuf **m, uint16_t n)
{
    uint16_t sent = rte_eth_tx_burst(port, queue, m, n);

    ASSERT_HOT(sent <= n);
    if (unlikely(sent < n))
        rte_pktmbuf_free_bulk(m + sent, (unsigned)(n - sent));
    return sent;
}

static void to_kernel(struct worker *w, const struct nic_queue *q, struct rte_mbuf **m, uint16_t n)
{
    uint16_t sent = send_or_free(q->exception, q->queue, m, n);

    ASSERT(q->has_exception);
    stat_add(&w->stats.packet_forwarded, sent);
    stat_add(&w->stats.packet_dropped[REASON_EXCEPTION_FULL], (uint64_t)(n - sent));
}

/* Brings a frame into the cache: most cards leave it in memory or in the last cache, and each line of it
 * would be waited for. Inlined, or gcc takes it for a function without an effect. */
static inline __attribute__((always_inline)) void frame_prefetch(const struct rte_mbuf *m)
{
    const char *at = rte_pktmbuf_mtod(m, const char *), *end = at + m->data_len;

    ASSERT_HOT(m->data_len <= m->buf_len);
    for (; at < end; at += CACHE_LINE_BYTES)
        rte_prefetch0(at);
}

static void burst_take(struct worker *w, const struct nic_queue *q, struct rte_mbuf **m, uint16_t n)
{
    struct rte_mbuf *done[BURST], *kernel[BURST];
    uint16_t n_done = 0, n_kernel = 0;
    struct batch b;

    stat_add(&w->stats.packet_received, n);
    b.n = 0;
    for (uint16_t i = 0; i < n && i < FRAMES_AHEAD; i++)
        frame_prefetch(m[i]);
    for (uint16_t i = 0; i < n; i++) {
        const uint8_t *frame = frame_bytes(w, m[i]);
        struct packet_view v;

        if (i + FRAMES_AHEAD < n)
            frame_prefetch(m[i + FRAMES_AHEAD]);
        switch (frame_arrived(w, m[i], frame, q->has_exception, &v)) {
        case WAY_DONE:
            done[n_done++] = m[i];
            break;
        case WAY_KERNEL:
            kernel[n_kernel++] = m[i];
            break;
        case WAY_OURS:
            batch_add(w, &b, m[i], frame, &v);
            if (unlikely(batch_ends(w, &b, frame)))
                batch_take(w, &b, done, &n_done);
            break;
        }
    }
    batch_take(w, &b, done, &n_done);
    ASSERT(n_done + n_kernel <= n);
    rte_pktmbuf_free_bulk(done, n_done);
    if (unlikely(n_kernel > 0))
        to_kernel(w, q, kernel, n_kernel);
}

/* What the kernel sends by the exception port leaves by the card. */
static uint32_t from_kernel(struct worker *w, const struct nic_queue *q)
{
    struct rte_mbuf *m[BURST];
    uint16_t n = rte_eth_rx_burst(q->exception, q->queue, m, BURST), sent;

    ASSERT_HOT(q->has_exception && n <= BURST);
    if (n == 0)
        return 0;
    sent = send_or_free(q->nic, q->queue, m, n);
    stat_add(&w->stats.packet_returned, sent);
    stat_add(&w->stats.packet_send_full, (uint64_t)(n - sent));
    return n;
}

void packets_poll(struct worker *w)
{
    const struct nic_share *share = w->packets.share;
    uint32_t seen = 0;

    if (share == NULL)
        return;
    ASSERT(share->n_queues <= NICS_MAX);
    if (w->packets.idle_turns == 0 && w->packets.turn_us > 0) /* it did not sleep after that turn */
        stat_add(&w->stats.packet_busy_us, (uint64_t)(w->now_us - w->packets.turn_us));
    w->packets.turn_us = w->now_us;
    nic_poll_begin(share);
    for (uint32_t i = 0; i < share->n_queues; i++) {
        const struct nic_queue *q = &share->queue[i];
        struct rte_mbuf *m[BURST];
        uint16_t n = BURST;

        for (int b = 0; b < BURSTS_MAX && n == BURST; b++) {
            n = rte_eth_rx_burst(q->nic, q->queue, m, BURST);
            if (n > 0)
                burst_take(w, q, m, n);
            seen += n;
        }
        if (q->has_exception)
            seen += from_kernel(w, q);
    }
    nic_poll_end(share);
    w->packets.idle_turns = seen > 0 ? 0 : w->packets.idle_turns + 1;
}

int64_t packets_sleep_us(const struct worker *w)
{
    const struct packets *p = &w->packets;
    uint32_t doubles;

    if (p->share == NULL)
        return INT64_MAX;
    if (p->idle_turns < IDLE_SPINS)
        return 0;
    doubles = (p->idle_turns - IDLE_SPINS) / IDLE_STEP;
    ASSERT_HOT(IDLE_DOUBLE < 31);
    doubles = doubles < IDLE_DOUBLE ? doubles : IDLE_DOUBLE;
    return UINT32_C(1) << doubles < w->config.packet_idle_us ? INT64_C(1) << doubles
                                                             : w->config.packet_idle_us;
}
