/*
 * A worker: one pinned thread that owns an io_uring, SO_REUSEPORT sockets, its commit blocks,
 * the reference rings of its types, and its journal. It takes events in, makes them durable,
 * answers, and hands durable blocks to the lanes. It never blocks, locks, or allocates after start.
 */
#ifndef PENSTOCK_WORKER_H
#define PENSTOCK_WORKER_H

#include <netinet/in.h>

#include "dataplane/base/histogram.h"
#include "dataplane/base/live.h"
#include "dataplane/base/reason.h"
#include "dataplane/event/type.h"
#include "dataplane/journal/journal.h"
#include "dataplane/json/json.h"

#define SINK_THREADS_MAX 16

struct lane;
struct door_keys;

/** Pages whose scripts may send events. Texts are borrowed. */
struct worker_cors {
    uint32_t n_origins; /* 0: nothing is said or checked */
    const char *const *origin;
    bool any; /* "*" is among them */
    uint32_t max_age_s;
};
struct nic_share;

struct worker_config {
    uint32_t index;
    int core;                                            /* to pin to; -1: not pinned */
    struct sockaddr_storage http_address, https_address; /* AF_UNSPEC: off */
    const struct door_keys *keys;  /* at start; live settings may bring others */
    bool tokens;                   /* keys have some */
    uint32_t workers;              /* that share a token's limits */
    uint32_t handshake_timeout_ms; /* of TLS */
    struct sockaddr_storage tcp_address, tcp_acked_address; /* AF_UNSPEC: off */
    uint32_t connections_max;
    uint32_t body_bytes_max; /* of one request */
    uint32_t event_bytes_max;
    enum json_isa json_isa; /* usable */
    uint32_t header_bytes_max;
    uint32_t blocks;      /* commit blocks in memory */
    uint32_t block_bytes; /* sealed when full to this */
    uint32_t
        lane_blocks_max;   /* blocks lent to sink threads at once: the memory credit of the lanes */
    uint32_t leases_small; /* 64 KiB receive buffers */
    uint32_t leases_middle;              /* 256 KiB */
    uint32_t leases_medium;              /* 1 MiB */
    uint32_t leases_large;               /* body_bytes_max */
    uint32_t receive_buffers;            /* 64 KiB each, shared by all connections */
    uint32_t streams_max;                /* TCP connections of both kinds */
    uint32_t stream_buffers;             /* 64 KiB each, shared by all of them */
    uint32_t stream_idle_timeout_ms;     /* 0: none */
    uint32_t stream_line_timeout_ms;     /* of an unfinished line; 0: none */
    struct sockaddr_storage udp_address; /* AF_UNSPEC: off */
    uint32_t datagram_bytes_max;
    uint32_t datagram_buffers;    /* of datagram_bytes_max each */
    uint32_t udp_socket_bytes;    /* the socket's own buffer */
    bool udp_plain;               /* receive as on kernels before 6.0: tests */
    const struct nic_share *nics; /* DPDK's ports, by packet/nics.h; NULL: none */
    uint32_t packet_idle_us;      /* how long it sleeps at most between looks at them; 0: spins */
    uint32_t types_max;
    uint32_t idle_timeout_ms;    /* of a kept-alive connection */
    uint32_t request_timeout_ms; /* from its first byte to its last */
    struct worker_cors cors;
    bool populate;            /* its memory is taken before it serves: worker_populate() */
    bool spin;                /* an idle worker spins instead of sleeping */
    bool durability_memory;   /* benchmarks only: answer before the write */
    struct live_reader *live; /* settings that change while it runs; NULL: none do */
};

/** Written by the worker only, readable by any (relaxed). */
struct worker_stats {
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t requests;
    _Atomic uint64_t body_bytes;
    _Atomic uint64_t expanded_requests; /* with a compressed body */
    _Atomic uint64_t expanded_bytes;    /* what became of their bodies */
    _Atomic uint64_t events;            /* accepted into blocks */
    _Atomic uint64_t event_bytes;       /* as received */
    _Atomic uint64_t dead_letters;      /* into blocks */
    _Atomic uint64_t sampled_out;       /* acknowledged and not kept */
    _Atomic uint64_t late;
    _Atomic uint64_t bad_time;
    _Atomic uint64_t normalized;     /* rewritten: cuts, line breaks */
    _Atomic uint64_t durable_events; /* events and dead letters behind which the flush has been */
    _Atomic uint64_t blocks_written;
    _Atomic uint64_t journal_bytes;
    _Atomic uint64_t journal_errors; /* failed writes or flushes */
    _Atomic uint64_t injections;     /* batches of documents from control: backfill, replay */
    _Atomic uint64_t injected;       /* their documents; in events and dead_letters too */
    _Atomic uint64_t blocks_lent;    /* gauge */
    _Atomic uint64_t blocks_free;    /* gauge */
    _Atomic uint64_t lane_skips;     /* durable blocks that sinks must read from disk */
    _Atomic uint64_t connections;    /* gauge */
    _Atomic uint64_t connections_total;
    _Atomic uint64_t tls_handshakes;  /* done */
    _Atomic uint64_t tls_resumed;     /* of these, short ones */
    _Atomic uint64_t tls_bytes;       /* received */
    _Atomic uint64_t tcp_connections; /* gauge */
    _Atomic uint64_t tcp_connections_total;
    _Atomic uint64_t tcp_bytes;
    _Atomic uint64_t tcp_lines;     /* taken, dead letters and empty ones included */
    _Atomic uint64_t tcp_straddled; /* of these, copied to be whole */
    _Atomic uint64_t tcp_waits;     /* streams that stopped reading for want of room or memory */
    _Atomic uint64_t tcp_waiting;   /* gauge */
    _Atomic uint64_t
        tcp_dropped[REASON_END];    /* lines received and dropped; none of acked streams */
    _Atomic uint64_t udp_datagrams; /* received, dropped ones included */
    _Atomic uint64_t udp_bytes;
    _Atomic uint64_t udp_waiting;                /* gauge: for room in commit blocks */
    _Atomic uint64_t udp_kernel_drops;           /* datagrams that found the socket's buffer full */
    _Atomic uint64_t udp_dropped[REASON_END];    /* datagrams received and dropped */
    _Atomic uint64_t udp_dropped_lines;          /* of these, lines that are not empty */
    _Atomic uint64_t packet_received;            /* from DPDK's ports */
    _Atomic uint64_t packet_datagrams;           /* of these, for us; dropped ones included */
    _Atomic uint64_t packet_bytes;               /* their payload */
    _Atomic uint64_t packet_forwarded;           /* received, and given to the kernel */
    _Atomic uint64_t packet_returned;            /* from the kernel, and sent by the card */
    _Atomic uint64_t packet_send_full;           /* from the kernel, and the card took no more */
    _Atomic uint64_t packet_fragments;           /* forwarded or dropped */
    _Atomic uint64_t packet_copied;              /* into one piece */
    _Atomic uint64_t packet_busy_us;             /* of turns that began with packets */
    _Atomic uint64_t packet_waiting;             /* gauge: for room in commit blocks */
    _Atomic uint64_t packet_dropped[REASON_END]; /* packets received and dropped */
    _Atomic uint64_t packet_dropped_lines;       /* lines in datagrams of these */
    _Atomic uint64_t answers_2xx, answers_4xx, answers_5xx;
    _Atomic uint64_t recv_no_buffer; /* receive buffers ran out; re-armed */
    _Atomic uint64_t malloc_bytes;   /* jemalloc's thread.allocated, sampled by the worker itself */
    _Atomic uint64_t reason[REASON_END]; /* dead letters and refusals */
    struct histogram answer_us;          /* HTTP: from the whole request being here to its answer */
};

/** One type as a worker knows it; the array only grows. Written by the worker, readable by any. What an
 * event of it touches is in one cache line, if its name is short: names are compared 32 bytes at a time,
 * so those must not reach into the next line either. */
struct worker_type {
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t events;
    _Atomic int64_t watermark_us; /* largest event time seen, not beyond now */
    uint8_t name_len;
    char name[TYPE_NAME_BYTES_MAX];
    _Atomic uint64_t dead_letters;
    _Atomic uint64_t sampled_out;
    _Atomic uint64_t late;
    _Atomic uint64_t refused; /* requests and datagrams, because what waits of it has no room */
};
static_assert(offsetof(struct worker_type, name) + 32 <= CACHE_LINE_BYTES, "a line an event");

/** What became of the requests of one token's name, since start. Written by the worker. */
struct worker_token {
    _Atomic uint64_t requests, events, bytes; /* events and bytes: taken */
    _Atomic uint64_t refused_types, refused_rates;
};

struct worker;

/**
 * Takes all memory and sockets; starts nothing. Errors name key, value and fix.
 * Thread: init.  Owner: caller, until worker_destroy().
 */
int worker_create(const struct worker_config *config, const struct type_set *types,
                  struct journal *journal, struct lane *const *lanes, uint32_t n_lanes,
                  struct worker **out, char *error, size_t error_len) WARN_UNUSED;

/**
 * mem_populate() for its fixed memory that only some requests need: leases, decompression. The rest is
 * for worker_start(). The worker may run meanwhile.
 * Thread: init, or one that ends before worker_destroy().
 */
int worker_populate(struct worker *w, const _Atomic bool *stop) WARN_UNUSED;

/** Starts the thread, which sets itself up: with many workers, all of them at once. Thread: init. @return
 * 0 or -errno. */
int worker_launch(struct worker *w) WARN_UNUSED;

/** Waits until it serves. Thread: init, after worker_launch(). @return 0; -errno: it has ended. */
int worker_await(struct worker *w) WARN_UNUSED;

/** Both. Thread: init. */
int worker_start(struct worker *w) WARN_UNUSED;

/** From now on answers 503 to events; what was admitted is still made durable and answered. Thread:
 * control. */
void worker_drain(struct worker *w);

/** Wakes it when it sleeps, so that it looks at its settings now. Thread: any. */
void worker_nudge(struct worker *w);

/** True when drained: nothing admitted is without its answer. Thread: any. */
bool worker_drained(const struct worker *w);

/** Ends the thread; blocks in lanes stay valid until worker_destroy(). Thread: control. */
void worker_stop(struct worker *w);

/** Frees everything. NULL is allowed. Thread: control, when sink threads have ended. */
void worker_destroy(struct worker *w);

/** Counters. Thread: any. */
const struct worker_stats *worker_stats(const struct worker *w);

/** Counters of a token's slot; NULL without tokens. Thread: any. */
const struct worker_token *worker_token(const struct worker *w, uint32_t slot);

/** Types seen so far: *n of the returned array are valid. Thread: any (acquire). */
const struct worker_type *worker_types(const struct worker *w, uint32_t *n);

/** Bytes of dataplane memory that a worker with this configuration takes. Thread: init. */
uint64_t worker_memory_bytes(const struct worker_config *config);

#endif
