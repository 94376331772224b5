/* Inside of a worker, shared by the files of this folder only. */
#ifndef PENSTOCK_WORKER_INTERNAL_H
#define PENSTOCK_WORKER_INTERNAL_H

#include <liburing.h>
#include <pthread.h>

#include "dataplane/base/stats.h"
#include "dataplane/door.h"
#include "dataplane/inject.h"
#include "dataplane/input/expand.h"
#include "dataplane/input/http_parser.h"
#include "dataplane/lane.h"
#include "dataplane/lease.h"
#include "dataplane/packet_internal.h"
#include "dataplane/peer.h"
#include "dataplane/receive.h"
#include "dataplane/tcp_internal.h"
#include "dataplane/udp_internal.h"
#include "dataplane/worker.h"

#define RECEIVE_BYTES     65536u              /* of one shared receive buffer */
#define WIDE_BYTES        (4 * RECEIVE_BYTES) /* of one for connections that send more */
#define WIDE_BUFFERS      16u
#define ANSWER_BYTES      1024u                        /* every answer but those that list errors */
#define LIST_BYTES        8192u                        /* an answer with INGEST_ERRORS_MAX errors */
#define LEASE_HEAD_BYTES  (8192u - JSON_PADDING_BYTES) /* of the smallest lease */
#define LISTS             256u                         /* of those, waiting at once */
#define ANSWER_DATE_BYTES 37

/* What a completion belongs to: the upper byte of user_data. The lower bits are an index (of a
 * listener, a connection, a stream) or, for the journal, the writer's own. */
enum worker_op {
    OP_TAKEN, /* out of turn */
    OP_ACCEPT,
    OP_RECEIVE,
    OP_SEND,
    OP_WAKE,
    OP_JOURNAL,
    OP_STREAM_RECEIVE,
    OP_STREAM_SEND,
    OP_DATAGRAM
};

/* Groups of provided buffers. */
enum { GROUP_HTTP, GROUP_TCP, GROUP_UDP, GROUP_WIDE };

/** What listens. */
enum listener_kind { LISTENER_HTTP, LISTENER_HTTPS, LISTENER_TCP, LISTENER_ACKED, LISTENERS };

/** A listening socket; fd is -1 when its input is off. */
struct listener {
    int fd;
    bool armed; /* a multishot accept is in the kernel */
};

#define OP_SHIFT 56

/*
 *   READING ── whole request ──> WAITING ── its last block is durable ──> SENDING ── sent ──> READING
 *      │  ├─ compressed ──> EXPANDING ──┤                                  │
 *      │  └─ no room yet ──> STALLED ── room ──┘                           │
 *      └── refused ──> SENDING, then LINGERING until the client is done ── CLOSED
 */
enum connection_state {
    CONNECTION_FREE,
    CONNECTION_READING,
    CONNECTION_EXPANDING, /* a whole request: its body is being decompressed, or waits for that */
    CONNECTION_STALLED,   /* a whole request waits for commit blocks or journal segments */
    CONNECTION_WAITING,
    CONNECTION_SENDING,
    CONNECTION_LINGERING, /* input is dropped, or closing would reset the answer away */
    CONNECTION_CLOSED
};

/** One client. */
struct connection {
    int fd;
    uint8_t state;                /* enum connection_state */
    bool receive_busy, send_busy; /* an operation is in the kernel: the slot cannot be freed */
    bool close_after;             /* the answer under way */
    bool linger;                  /* input may be left unread then */
    bool wide; /* its last request was larger than RECEIVE_BYTES: the next one probably is, too */
    bool receives_wide; /* the receive that is in the kernel */
    bool have_head;
    bool continue_sent;
    bool secure;     /* over TLS */
    bool greeted;    /* its handshake is done */
    bool flushing;   /* SENDING what OpenSSL has to say; READING goes on behind it */
    struct tls *tls; /* from the first byte on */
    struct lease lease;
    char *buf;     /* request bytes: the lease's, or for a moment a shared receive buffer */
    uint32_t len;  /* bytes in buf */
    uint32_t body; /* chunked: payload bytes squeezed so far */
    uint32_t raw;  /* chunked: offset of the first byte that is not squeezed */
    uint32_t held_body, held_used; /* of a whole request that waits */
    uint8_t expand_refused;        /* enum reason: what is wrong with its compressed body */
    struct lease expanded;         /* the body, decompressed */
    uint32_t expanded_len;
    struct http_request request;
    const struct token
        *token;         /* of the request; NULL: none is asked for, or it is not good any more */
    const char *origin; /* of the configuration: a page whose script may read the answer; or NULL */
    struct http_chunked chunked;
    int64_t deadline_us;
    int64_t began_us; /* monotonic: the request's first byte */
    uint64_t wait_seq;
    int64_t taken_us;        /* monotonic: when the whole request was here */
    struct connection *next; /* in the waiting, stalled or expanding queue, or in the free list */
    char *list;              /* a big answer buffer, or NULL */
    const char *out;         /* what is being sent */
    uint32_t out_len, out_sent;
    char source[PEER_TEXT_BYTES];
    char answer[ANSWER_BYTES];
};

struct worker {
    struct worker_config config;  /* follows the live settings */
    const struct door_keys *keys; /* the same */
    uint64_t settings_version;    /* that it follows */
    const struct type_set *types;
    struct journal *journal;
    struct lane *lane[SINK_THREADS_MAX];
    uint32_t n_lanes;
    bool lanes_pushed; /* blocks that sink threads have not been told of */
    /* The ring and its descriptors. */
    struct io_uring ring;
    struct listener listener[LISTENERS];
    int wake_fd;
    uint64_t wake_value;
    /* Blocks. */
    char *block_memory;
    uint64_t block_memory_bytes;
    struct block *block;
    struct block_entry *entries;
    struct block **free_block;
    uint32_t n_free_blocks;
    uint32_t n_lent;
    struct rte_ring *returns;
    struct writer *writer;
    struct ingest *ingest;
    struct ingest_result result;
    uint64_t durable_seq;
    /* Injections. */
    struct rte_ring *injections;                                  /* control -> worker */
    struct injection *inject_first, *inject_last;                 /* not all in blocks yet */
    struct injection *inject_waiting_first, *inject_waiting_last; /* for their last block */
    bool inject_more; /* the turn ended before the queue did */
    /* Connections and receive memory. */
    struct connection *connection;
    struct connection *free_connection;
    uint32_t n_connections;
    struct connection *waiting_first, *waiting_last;
    struct connection *stalled_first, *stalled_last;
    struct connection *expanding_first, *expanding_last; /* the first one has the expander */
    struct expander *expander;
    struct lease_pool *leases;
    bool leases_short; /* somebody found none since the last tick */
    struct receive_pool receive, wide;
    struct auth *auth;      /* NULL: no tokens */
    uint64_t retry_after_s; /* of the refusal under way */
    char *plain;            /* what TLS decrypts outside of leases */
    char *list_memory;
    char **free_list;
    uint32_t n_free_lists;
    struct streams streams;
    struct udp udp;
    struct packets packets;
    /* Time. */
    int64_t now_us;               /* monotonic; of this turn of the loop */
    int64_t wall_us;              /* the same by the clock on the wall, for datagrams */
    int64_t date_s;               /* that date[] shows */
    char date[ANSWER_DATE_BYTES]; /* header line */
    int64_t next_tick_us;
    uint64_t *malloc_counter; /* jemalloc's thread.allocated; NULL without jemalloc */
    /* Shared with control. */
    pthread_t thread;
    bool thread_started;
    _Atomic int start_result; /* 1: not known yet; 0 or -errno */
    _Atomic bool stop;
    _Atomic bool draining;
    _Atomic bool drained;
    struct worker_stats stats;
};

static_assert(BLOCK_ALIGN % JSON_PADDING_BYTES == 0,
              "receive buffers are followed by readable memory");

/* ---- worker.c ---- */

/** A submission slot; the queue is flushed when it is full, so there always is one. Thread: worker.
 */
struct io_uring_sqe *worker_sqe(struct worker *w);

/** True once worker_drain() was called. Thread: worker. */
static inline bool worker_draining(const struct worker *w)
{
    return atomic_load_explicit(&w->draining, memory_order_relaxed);
}

/** Bytes of the references of all blocks. Thread: any. */
uint64_t worker_entries_bytes(const struct worker_config *config);

/* ---- populate.c ---- */

/** mem_populate() for what every event passes through. Thread: worker, first of all. @return 0 or
 * -errno. */
int worker_populate_first(struct worker *w) WARN_UNUSED;

/* ---- listen.c ---- */

/** Opens a listening socket for each input that is on. Thread: init. @return 0; -errno with error. */
int listeners_create(struct worker *w, char *error, size_t error_len) WARN_UNUSED;

/** Closes them. Thread: control. */
void listeners_destroy(struct worker *w);

/** Arms accepting where it is not. Thread: worker. */
void listeners_accept(struct worker *w);

/** A completion of accept. Thread: worker. */
void on_accept(struct worker *w, enum listener_kind kind, const struct io_uring_cqe *cqe);

/* ---- connection.c ---- */

/** Takes connection memory. Thread: init. @return 0; -errno with error. */
int connections_create(struct worker *w, char *error, size_t error_len) WARN_UNUSED;

/** Frees what connections_create() took; every connection is closed. Thread: control. */
void connections_destroy(struct worker *w);

/** A client has connected, over TLS if secure. Owner: the connection takes fd. Thread: worker. */
void connection_open(struct worker *w, int fd, bool secure);

/** Completions of receive and send. Thread: worker. */
void on_receive(struct worker *w, struct connection *c,
                const struct io_uring_cqe *cqe);                  /* Thread: worker. */
void on_send(struct worker *w, struct connection *c, int result); /* Thread: worker. */

/** Answers everyone whose events are durable up to w->durable_seq. Thread: worker. */
void connections_durable(struct worker *w);

/** Times out slow and idle connections. Thread: worker. */
void connections_tick(struct worker *w);

/** True when no request is between its admission and its answer. Thread: worker. */
bool connections_quiet(const struct worker *w);

/** Gathers what is here in a lease of at least need bytes, and the rest behind it. Thread: worker.
 * @return false when there is none. */
bool connection_gather(struct worker *w, struct connection *c, uint64_t need);

/** Sends the answer. Thread: worker. */
void connection_send(struct worker *w, struct connection *c);

/** The request is taken and durable: its answer goes out. Thread: worker. */
void connection_acknowledge(struct worker *w, struct connection *c);

/** Its answer goes out when this block is durable. Thread: worker. */
void connection_wait(struct worker *w, struct connection *c, uint64_t seq);

/** Runs the connection on what it has, then asks the kernel for more if it still reads; over TLS
 * secure_run() does that. Thread: worker. */
void connection_run(struct worker *w, struct connection *c);

/** The first byte of a request starts its clock; before: bytes that were here already. Thread: worker. */
void connection_deadline(struct worker *w, struct connection *c, uint32_t before);

/** Receives more. Thread: worker. */
void connection_receive(struct worker *w, struct connection *c);

/** Sends bytes that are no answer, then goes on reading. Thread: worker. */
void connection_flush(struct worker *w, struct connection *c, struct span out);

/** Ends it as soon as the kernel has let go of it. Thread: worker. */
void connection_close(struct worker *w, struct connection *c);

/* ---- auth.c ---- */

/** Memory for tokens' counters; 0 without tokens. Thread: init. */
uint64_t auth_memory_bytes(const struct worker_config *config);

/** Takes it. Thread: init. @return 0 or -ENOMEM. */
int auth_create(struct worker *w) WARN_UNUSED;

/** Frees it. Thread: control. */
void auth_destroy(struct worker *w);

/** Counters of a name. Thread: any. */
const struct worker_token *auth_slot(const struct auth *a, uint32_t slot);

/** Finds the token of a request, which becomes c->token. Thread: worker. @return REASON_NONE, or why it
 * is refused. */
enum reason auth_check(struct worker *w, struct connection *c);

/** Whether the token may send this type (empty: not known yet). Thread: worker. @return as above. */
enum reason auth_type(struct worker *w, struct connection *c, struct span type);

/** Counts a body with an event of a type that the token may not send. Thread: worker. */
void auth_type_refused(struct worker *w, struct connection *c);

/** Whether it has not sent too much. Thread: worker. @return as above, with w->retry_after_s. */
enum reason auth_rate(struct worker *w, struct connection *c);

/** Counts what was taken. Thread: worker. */
void auth_charge(struct worker *w, struct connection *c, uint64_t events, uint64_t bytes);

/** Goes over to keys that were published; those before are not used any more. Thread: worker. */
void auth_follow(struct worker *w, const struct door_keys *keys);

/* ---- secure.c ---- */

/** Memory for TLS beside OpenSSL's own; 0 when it is off. Thread: init. */
uint64_t secure_memory_bytes(const struct worker_config *config);

/** Takes it. Thread: init. @return 0 or -ENOMEM. */
int secure_create(struct worker *w) WARN_UNUSED;

/** Frees it. Thread: control. */
void secure_destroy(struct worker *w);

/** Bytes of a client have come. Owner: the caller's buffer is free afterwards. Thread: worker. */
void secure_receive(struct worker *w, struct connection *c, const char *bytes, uint32_t len);

/** Runs a connection that reads on all that OpenSSL has for it. Thread: worker. */
void secure_run(struct worker *w, struct connection *c);

/** The same behind an answer: what was received with the request before comes first. Thread: worker. */
void secure_continue(struct worker *w, struct connection *c);

/** Encrypts the answer. Thread: worker. @return false when the connection is broken. */
bool secure_seal(struct connection *c) WARN_UNUSED;

/** All was sent. Thread: worker. @return true when it was no answer: the connection has gone on. */
bool secure_sent(struct worker *w, struct connection *c);

/** Says a last word, if any, and good-bye, as far as the kernel takes it at once. Thread: worker. */
void secure_last(struct connection *c, const char *text, size_t len);

/* ---- request.c ---- */

/** One step with what is in the buffer: at most one request is taken. Thread: worker. */
void request_step(struct worker *w, struct connection *c);

/** Bytes that the rest of the request needs in one place. Thread: worker. */
uint64_t request_need(const struct worker *w, const struct connection *c);

/** Tells a client that waits for it to send its body, once. Thread: worker. */
void request_continue(struct connection *c);

/** Answers with a refusal and ends the connection: what is left of the request is not read.
 * Thread: worker. */
void request_refuse(struct worker *w, struct connection *c, enum reason reason, const char *detail);

/** Tries requests again that had to wait for room. Thread: worker. @return true while some still wait. */
bool connections_unstall(struct worker *w);

/** Decompresses a slice of the first body that waits for it. Thread: worker. @return true while there is
 * more to do. */
bool connections_expand(struct worker *w);

/* ---- compressed.c ---- */

/** Begins to decompress len bytes into c->expanded. Thread: worker. @return REASON_NONE, or
 * REASON_NO_LEASE. */
enum reason compressed_start(struct worker *w, struct connection *c, const char *in, uint32_t len);

/** Goes on for a slice. Thread: worker. @return true at its end, with the reason if it is a bad one. */
bool compressed_slice(struct worker *w, struct connection *c, enum reason *reason);

/* ---- tcp.c ---- */

/** Memory of the TCP inputs; 0 when they are off. Thread: init. */
uint64_t streams_memory_bytes(const struct worker_config *config);

/** Takes it. Thread: init. @return 0; -errno with error. */
int streams_create(struct worker *w, char *error, size_t error_len) WARN_UNUSED;

/** Frees it; every stream is closed. Thread: control. */
void streams_destroy(struct worker *w);

/** A client has connected. Owner: the stream takes fd. Thread: worker. */
void stream_open(struct worker *w, int fd, bool acked);

/** Completions of receive and send. Thread: worker. */
void on_stream_receive(struct worker *w, struct stream *s, const struct io_uring_cqe *cqe);
void on_stream_send(struct worker *w, struct stream *s, int result); /* Thread: worker. */

/** Tells acked streams what has become durable. Thread: worker. */
void streams_durable(struct worker *w);

/** Goes on with streams that had to wait for room or memory. Thread: worker. @return true while some
 * still wait. */
bool streams_unstall(struct worker *w);

/** Receives for those streams that had to wait for a buffer, as far as there are any. Thread: worker,
 * once a turn, behind all that gives buffers back. */
void streams_serve(struct worker *w);

/** Time-outs; ends streams when draining. Thread: worker. */
void streams_tick(struct worker *w);

/** True when nothing that was read lacks its place or its acknowledgement. Thread: worker. */
bool streams_quiet(const struct worker *w);

/* ---- inject.c ---- */

/** Takes the ring. Thread: init. @return 0 or -ENOMEM. */
int injections_create(struct worker *w) WARN_UNUSED;

/** Frees it; injections_end() has run, or nothing ever ran. Thread: control. */
void injections_destroy(struct worker *w);

/** Takes what has been submitted into blocks, as far as there is room. Thread: worker. */
void injections_run(struct worker *w);

/** Ends those whose documents are durable up to w->durable_seq. Thread: worker. */
void injections_durable(struct worker *w);

/** True when none is under way. Thread: worker. */
bool injections_quiet(const struct worker *w);

/** Ends all that are left, when the worker's loop has ended. Thread: worker. */
void injections_end(struct worker *w);

/* ---- datagram.c ---- */

/** Takes a datagram's events in, or drops and counts it. Thread: worker. @return false when commit blocks
 * are short: it may be tried again, or dropped. */
bool datagram_take(struct worker *w, const struct datagram *d);

/**
 * As datagram_take() for n datagrams of one input, JSON_BUFFERS_MAX at most: those that are lines are parsed
 * together. Thread: worker.
 * @return a bit for each that may be tried again, or dropped.
 */
uint64_t datagrams_take(struct worker *w, const struct datagram *d, uint32_t n) WARN_UNUSED;

/** Counts a datagram that is lost. Thread: worker. */
void datagram_drop(const struct datagram *d, enum reason reason);

/* ---- udp.c ---- */

/** Memory of the UDP input; 0 when it is off. Thread: init. */
uint64_t udp_memory_bytes(const struct worker_config *config);

/** Takes it, and opens the socket. Thread: init. @return 0; -errno with error. */
int udp_create(struct worker *w, char *error, size_t error_len) WARN_UNUSED;

/** Frees it. Thread: control. */
void udp_destroy(struct worker *w);

/** Receives, if there are buffers. Thread: worker, once a turn. */
void udp_arm(struct worker *w);

/** A completion of a receive. Thread: worker. */
void on_datagram(struct worker *w, uint32_t slot, const struct io_uring_cqe *cqe);

/** Tries datagrams again that wait for commit blocks. Thread: worker. @return true while some wait. */
bool udp_unstall(struct worker *w);

/** Reads the kernel's count of drops. Thread: worker. */
void udp_tick(struct worker *w);

/** True when no datagram waits. Thread: worker. */
bool udp_quiet(const struct worker *w);

/* ---- packet.c ---- */

/** Memory for DPDK's packets beside their buffers; 0 when there are no ports. Thread: init. */
uint64_t packets_memory_bytes(const struct worker_config *config);

/** Takes it. Thread: init. @return 0; -errno with error. */
int packets_create(struct worker *w, char *error, size_t error_len) WARN_UNUSED;

/** Frees it; the ports are stopped, or nothing polls them. Thread: control. */
void packets_destroy(struct worker *w);

/** Takes what the ports have received, and passes on what the kernel sends. Thread: worker, once a turn. */
void packets_poll(struct worker *w);

/** Tries datagrams again that wait for commit blocks. Thread: worker. @return true while some wait. */
bool packets_unstall(struct worker *w);

/** How long the worker may sleep until it must look again. Thread: worker. */
int64_t packets_sleep_us(const struct worker *w);

/** True when no datagram waits. Thread: worker. */
bool packets_quiet(const struct worker *w);

/* ---- answer.c ---- */

/** Writes the answer to an admitted body. Thread: worker. */
void answer_accepted(struct worker *w, struct connection *c, const struct ingest_result *r);

/** Writes a refusal with its status and counts it. Thread: worker. */
void answer_refused(struct worker *w, struct connection *c, enum reason reason, const char *detail);

/** Writes 200 for load balancers. Thread: worker. */
void answer_health(struct worker *w, struct connection *c);

/** Writes what OPTIONS asks for: methods, and what a page's script may send. Thread: worker. */
void answer_options(struct worker *w, struct connection *c);

/** Keeps the Date field up to date. Thread: worker. */
void answer_date(struct worker *w, int64_t wall_us);

/** Gives a big answer buffer back. Thread: worker. */
void answer_release(struct worker *w, struct connection *c);

#endif
