/*
 * penstock-packets: sends events as UDP packets from a DPDK port, and counts them. For tests and
 * measurements of dpdk.ports: over memif from process to process, into a capture file (net_pcap0,tx_pcap=F),
 * or from any port that DPDK has.
 *
 * Packets are made once and sent again and again; with sequence numbers each is written anew. What the port
 * does not take is offered again, or with --drop counted as refused: sent + refused is what was offered.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>

#include "tools/packets/frames.h"
#include "tools/packets/options.h"

#define BURST       32
#define DESCRIPTORS 1024
#define FAST_RATE   100000 /* packets a second */
#define RUN_PACKETS 256
#define LINK_WAIT_S 30
#define HEAP_MIB    "512"

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static double seconds_now(void)
{
    return (double)rte_get_timer_cycles() / (double)rte_get_timer_hz();
}

/* ---- the port ---- */

static int eal_up(const struct options *o)
{
    static char word[][40] = {
        "penstock-packets",
        "--no-huge",
        "-m",
        HEAP_MIB,
        "--no-shconf",
        "--no-telemetry",
        "--no-pci",
        "--log-level=error",
        "--log-level=pmd.net.memif:critical", /* while it waits for the other side */
        "--file-prefix"};
    static char prefix[40];
    char *args[32];
    int n = 0;

    for (size_t i = 0; i < sizeof(word) / sizeof(word[0]); i++)
        args[n++] = word[i];
    snprintf(prefix, sizeof(prefix), "penstock-packets-%d", (int)getpid());
    args[n++] = prefix;
    for (uint32_t i = 0; i < o->n_eal; i++)
        args[n++] = (char *)(uintptr_t)o->eal[i];
    args[n] = NULL;
    return rte_eal_init(n, args);
}

static bool link_comes(uint16_t port, uint32_t ms)
{
    struct rte_eth_link link = {0};

    for (uint32_t i = 0; i < ms && !stopped; i++) {
        if (rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP)
            return true;
        rte_delay_us_sleep(1000);
    }
    return false;
}

/* Starts the port and waits for its link. The client of a memif cannot start before its server is there, and
 * is forgotten by one that is about to be: it tries again. */
static int port_start(uint16_t port)
{
    struct rte_eth_dev_info info;
    double end = seconds_now() + LINK_WAIT_S;
    int rc = rte_eth_dev_info_get(port, &info);
    bool again = rc == 0 && strcmp(info.driver_name, "net_memif") == 0;

    while (rc == 0 && !stopped && seconds_now() < end) {
        rc = rte_eth_dev_start(port);
        if (rc == 0 && link_comes(port, again ? 1000 : LINK_WAIT_S * 1000))
            return 0;
        if (rc == 0 && again)
            (void)rte_eth_dev_stop(port);
        else
            rte_delay_us_sleep(10000);
        rc = again ? 0 : rc;
    }
    return rc != 0 ? rc : -ETIMEDOUT;
}

static int port_up(const char *device, struct rte_mempool *pool, uint16_t *port)
{
    struct rte_eth_conf conf = {0};
    struct rte_dev_iterator it;
    uint16_t id, found = RTE_MAX_ETHPORTS;
    int rc = rte_dev_probe(device);

    if (rc != 0)
        return rc;
    RTE_ETH_FOREACH_MATCHING_DEV(id, device, &it)
    {
        found = id;
        rte_eth_iterator_cleanup(&it);
        break;
    }
    if (found == RTE_MAX_ETHPORTS)
        return -ENODEV;
    *port = found;
    rc = rte_eth_dev_configure(found, 1, 1, &conf);
    if (rc == 0)
        rc = rte_eth_tx_queue_setup(found, 0, DESCRIPTORS, (unsigned)SOCKET_ID_ANY, NULL);
    if (rc == 0)
        rc = rte_eth_rx_queue_setup(found, 0, DESCRIPTORS, (unsigned)SOCKET_ID_ANY, NULL, pool);
    return rc == 0 ? port_start(found) : rc;
}

/* ---- sending ---- */

struct run {
    const struct options *o;
    struct frames *f;
    uint16_t port;
    bool ended; /* no more events */
    double started, took;
    uint64_t first; /* packet since the port was opened */
    uint64_t next, sent, bytes, events, corrupt, refused, refused_events;
};

static void count(struct run *r, const struct frame *f, uint16_t n, uint16_t sent)
{
    for (uint16_t i = 0; i < sent; i++) {
        r->bytes += f[i].len;
        r->events += f[i].events;
        r->corrupt += f[i].corrupt;
    }
    for (uint16_t i = sent; i < n; i++)
        r->refused_events += f[i].events;
    r->sent += sent;
    r->refused += (uint64_t)(n - sent);
}

/* Offers n packets until they are taken, or once. A signal ends it too: then the rest is refused. */
static void offer(struct run *r, const struct frame *f, uint16_t n)
{
    struct rte_mbuf *m[BURST];
    uint16_t done = 0;

    for (uint16_t i = 0; i < n; i++)
        m[i] = f[i].mbuf;
    while (done < n && !stopped) {
        done = (uint16_t)(done + rte_eth_tx_burst(r->port, 0, m + done, (uint16_t)(n - done)));
        if (r->o->drop)
            break;
    }
    count(r, f, n, done);
    rte_pktmbuf_free_bulk(m + done, (unsigned)(n - done));
    r->next += n;
}

static bool is_over(const struct run *r)
{
    if (stopped || r->ended || (r->o->count > 0 && r->next - r->first >= r->o->count))
        return true;
    return r->o->seconds > 0 && (r->next / BURST) % 64 == 0 &&
           seconds_now() - r->started >= r->o->seconds;
}

/* High rates go in runs of packets, so that the other side finds as many as at full speed. */
static void pace(const struct run *r)
{
    if (r->o->rate >= FAST_RATE && r->next % RUN_PACKETS != 0)
        return;
    while (r->o->rate > 0 && !stopped &&
           (double)(r->next - r->first) > (seconds_now() - r->started) * r->o->rate)
        rte_delay_us_sleep(50);
}

/* Makes up to n packets. @return how many; -errno. */
static int make_burst(struct run *r, struct frame *f, uint16_t n)
{
    for (uint16_t i = 0; i < n; i++) {
        int rc;

        while ((rc = frames_next(r->f, r->next + i, &f[i])) == -EAGAIN && !stopped)
            rte_delay_us_sleep(10); /* the port still holds the others */
        if (rc < 0 && rc != -EAGAIN)
            return rc;
        r->ended = rc == 0;
        if (rc <= 0)
            return i;
    }
    return n;
}

static int send_all(struct run *r)
{
    struct frame f[BURST];

    r->started = seconds_now();
    r->first = r->next;
    while (!is_over(r)) {
        uint64_t left = r->o->count > 0 ? r->first + r->o->count - r->next : BURST;
        int n;

        pace(r);
        n = make_burst(r, f, (uint16_t)(left < BURST ? left : BURST));
        if (n < 0)
            return n;
        offer(r, f, (uint16_t)n);
    }
    r->took += seconds_now() - r->started;
    return 0;
}

/* As a sender does that is started again and again: the other side sees its port close and open. */
static int live(struct run *r)
{
    int rc = send_all(r);

    for (uint32_t i = 1; rc == 0 && i < r->o->lives && !stopped; i++) {
        rc = rte_eth_dev_stop(r->port);
        if (rc == 0)
            rc = port_start(r->port);
        if (rc == 0)
            rc = send_all(r);
    }
    return rc;
}

static int report(const struct run *r)
{
    printf("{\"sent\":%" PRIu64 ",\"events\":%" PRIu64 ",\"corrupt\":%" PRIu64
           ",\"refused\":%" PRIu64 ",\"refused_events\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"seconds\":%.3f,\"packets_per_s\":%.0f}\n",
           r->sent, r->events, r->corrupt, r->refused, r->refused_events, r->bytes, r->took,
           r->took > 0 ? (double)r->sent / r->took : 0.0);
    return fflush(stdout) == 0 ? 0 : 1;
}

static void linger(const struct options *o)
{
    for (uint32_t ms = 0; ms < o->linger_ms && !stopped; ms++)
        rte_delay_us_sleep(1000);
}

static int fail(const char *what, int rc)
{
    fprintf(stderr, "penstock-packets: %s: %s\n", what, strerror(rc < 0 ? -rc : rc));
    return 1;
}

int main(int argc, char **argv)
{
    struct sigaction act = {.sa_handler = on_signal};
    struct options o;
    struct run r = {.o = &o};
    int rc = options_parse(argc, argv, &o);

    if (rc != 0)
        return rc > 0 ? 2 : 0;
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    if (eal_up(&o) < 0)
        return fail("DPDK's EAL did not start", rte_errno);
    rc = frames_create(&o, &r.f);
    if (rc != 0)
        return fail(o.events != NULL ? o.events : "packets", rc);
    rc = port_up(o.device, frames_pool(r.f), &r.port);
    if (rc != 0)
        return fail(o.device, rc);
    rc = live(&r);
    if (report(&r) != 0)
        return fail("standard output", errno);
    if (rc != 0)
        return fail(o.events != NULL ? o.events : o.device, rc);
    linger(&o);
    rte_eth_dev_stop(r.port);
    rte_eth_dev_close(r.port);
    frames_destroy(r.f);
    rte_eal_cleanup();
    return rc;
}
