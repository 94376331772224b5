/*
 * The delivery log's inside, shared by dlog.c (life, ports), dlog_file.c (files, snapshots),
 * dlog_writer.c (the thread) and dlog_ledger.c (feeding the ledger). Included only there and by
 * tests.
 *
 *     sink thread ── submit ring ──> writer: pending ── frame, pwrite ──> applied ──> unshown ──
 * commit ──> freed <──────── done ring (cookies) ────────────────────────┘
 */
#ifndef PENSTOCK_DELIVERY_DLOG_INTERNAL_H
#define PENSTOCK_DELIVERY_DLOG_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "sinks/delivery/dlog_recover.h"
#include "sinks/delivery/ledger_internal.h"

/* DPDK's C11 ring code on every machine: thread sanitizers understand it. */
#ifndef RTE_USE_C11_MEM_MODEL
#define RTE_USE_C11_MEM_MODEL
#endif
#include <rte_ring.h>

#ifndef DLOG_FILE_BYTES_MIN /* the simulation's files are small */
#define DLOG_FILE_BYTES_MIN (8ull << 20)
#define DLOG_ROOM_BYTES_MIN \
    (512ull << 10) /* a file without so much behind its snapshot is not worth a switch */
#endif
#define DLOG_PORTS_MAX 256
#define DLOG_RETRY_US  100000 /* after a failed write */
#define DLOG_RETRY_FULL_US \
    1000000                          /* after a snapshot that does not fit and a disk without room \
                                      */
#define DLOG_STOP_US         2000000 /* dlog_stop() gives up on a failing disk after this */
#define DLOG_FLOOR_US        200000
#define DLOG_LEDGER_US       200000
#define DLOG_LEDGER_RETRY_US 1000000
#define DLOG_LEDGER_RECORDS  5000
#define DLOG_SYNC_WAIT_S     10

static_assert(DLOG_FILE_BYTES_MIN % STORAGE_ALIGN == 0, "files are whole blocks");
static_assert(FRAME_PAYLOAD_MAX >= 2 * RECORD_BYTES_MAX,
              "any record fits a frame, with little waste");

/* A record on its way: allocated by dlog_submit(), freed by the writer once the ledger shows it. */
struct submission {
    struct submission *next;
    struct dlog_port *port; /* NULL: the log's own */
    void *cookie;
    uint64_t seq; /* once durable */
    uint32_t len;
    uint8_t bytes[];
};

struct submission_list {
    struct submission *head;
    struct submission **tail; /* of the list's last next pointer */
    size_t count;
    uint64_t bytes;
};

struct dlog_port {
    struct dlog *log;
    struct rte_ring *submit; /* port → writer: struct submission */
    struct rte_ring *done;   /* writer → port: cookies */
    int event_fd;

    /* writer: */
    bool touched; /* cookies were pushed in this batch */

    /* the port's sink thread: */
    alignas(CACHE_LINE_BYTES) uint32_t in_flight; /* submitted, not reaped: bounds both rings */
    _Atomic uint64_t floor[JOURNALS_MAX];         /* by registered journal; 0: none set */
};

/* A journal that someone asked about or set a floor for. Append-only. */
struct dlog_journal {
    struct journal_uuid uuid;
    _Atomic uint64_t free_lsn; /* writer */
    _Atomic uint64_t floor;    /* writer: as recorded */
};

enum dlog_order {
    ORDER_RUN,
    ORDER_STOP,
    ORDER_KILL /* test seam: ends the thread as a crash would */
};

struct dlog {
    /* set by dlog_open(), then constant */
    struct storage storage;
    struct journal_uuid id;
    char id_hex[33]; /* id as text */
    bool is_new;     /* there was no log in the directory */
    bool adopt;      /* ids that a copy may have used are skipped */
    uint64_t file_bytes;
    uint32_t ports_max;
    uint32_t ring_records;
    char dir[PATH_MAX];
    char path[DLOG_FILES][PATH_MAX + 16];
    char ledger_path[PATH_MAX + 16];
    char node[FILE_NODE_BYTES + 1];

    /* any thread */
    _Atomic uint64_t next_id;
    _Atomic int order;    /* enum dlog_order */
    _Atomic int sleeping; /* 1: the writer waits, or is about to */
    int wake_fd;
    pthread_mutex_t journals_lock; /* registering; readers only acquire n_journals */
    struct dlog_journal journal[JOURNALS_MAX];
    _Atomic uint32_t n_journals;
    _Atomic uint64_t durable_seq; /* writer */
    _Atomic int sync_wanted;
    _Atomic bool started;       /* from then on only the writer touches the state */
    pthread_mutex_t marks_lock; /* of the state's marks: the writer changes them, any may look */
    pthread_mutex_t ledger_lock;
    pthread_cond_t ledger_moved;
    uint64_t ledger_shown; /* under ledger_lock: every record up to here is in the ledger */
    bool writer_ended;     /* under ledger_lock */

    /* init, then the writer */
    struct dlog_stats stats;
    struct dlog_port **port;
    uint32_t n_ports;
    pthread_t thread;
    bool running;
    struct delivery_state *state;
    struct record_view view;        /* scratch */
    uint8_t *buf;                   /* one frame, aligned */
    uint64_t last_seq;              /* of the last durable record */
    struct submission_list pending; /* taken from the ports, not durable */
    struct submission_list unshown; /* durable, not in the ledger */
    lsn_t floor_queued[JOURNALS_MAX];
    int64_t floors_at_us; /* next look at the floors */
    int64_t give_up_us;   /* 0 until dlog_stop() is seen */

    /* files; the writer after init */
    int fd[DLOG_FILES];
    uint64_t bytes[DLOG_FILES];
    bool suspect[DLOG_FILES]; /* a write or flush failed: made anew before it is used again */
    bool
        secured; /* what was recovered is durable: the ledger may show it, and delivery act on it */
    bool renamed;      /* names of files are not durable yet, or not known to be */
    bool buffered;     /* direct writes are refused: use the page cache */
    int active;        /* file being written, or -1 */
    int newest;        /* newest complete file, or -1 for a new log */
    uint64_t file_seq; /* largest used */
    uint64_t offset;   /* of the next frame in the active file */
    bool error_logged; /* since the last success */

    /* ledger; the writer after init */
    struct ledger *ledger;
    uint64_t ledger_seq;  /* as committed */
    int64_t ledger_at_us; /* next commit is due; 0: nothing waits */
    bool ledger_warned;
};

/* ---- lists ---- */

static inline void list_init(struct submission_list *l)
{
    *l = (struct submission_list){.tail = &l->head};
}

static inline void list_push(struct submission_list *l, struct submission *s)
{
    s->next = NULL;
    *l->tail = s;
    l->tail = &s->next;
    l->count++;
    l->bytes += s->len;
}

/** @return the first, or NULL. */
static inline struct submission *list_pop(struct submission_list *l)
{
    struct submission *s = l->head;

    if (s == NULL)
        return NULL;
    l->head = s->next;
    if (l->head == NULL)
        l->tail = &l->head;
    l->count--;
    l->bytes -= s->len;
    return s;
}

/** Frees all of it. */
void list_fini(struct submission_list *l);

/* ---- dlog_file.c ---- */

/** Reads the first len_max bytes of a file.
 * @return 0 with data NULL when there is none; -errno. Owner: caller frees
 * out->data. */
int dlog_file_read(struct dlog *d, int slot, uint64_t len_max, struct log_image *out) WARN_UNUSED;

/** Finds how long a file is, in whole blocks, from a length that it has at least: d->bytes[slot]. */
int dlog_file_measure(struct dlog *d, int slot, uint64_t least) WARN_UNUSED;

/**
 * Reads a piece of a file again, past the page cache, and compares it with what was read before.
 * from is a multiple of STORAGE_ALIGN; at most FRAME_BYTES_MAX are looked at.
 * @return 0 when both are the same; -EIO when not; -errno.
 */
int dlog_file_compare(struct dlog *d, int slot, const struct log_image *image,
                      uint64_t from) WARN_UNUSED;

/**
 * Writes the last frame of a file again, as it was read: that it was found does not say that it is
 * durable. The same bytes in the same place: a torn write changes nothing.
 * @return 0 or -errno.
 */
int dlog_file_secure(struct dlog *d, int slot, const struct log_image *image) WARN_UNUSED;

/** Makes a file anew: reserved, written through with zeros, renamed into place. @return 0 or
 * -errno. */
int dlog_file_fresh(struct dlog *d, int slot, uint64_t bytes) WARN_UNUSED;

/**
 * Begins the file that does not count with a snapshot of the state, and makes it the active one.
 * @return 0; -ENOSPC when the snapshot does not fit and the disk has no room; -errno. Then no file
 * is active.
 */
int dlog_switch(struct dlog *d) WARN_UNUSED;

/** Writes one frame, whose payload stands in d->buf, to the active file. @return 0 or -errno. */
int dlog_write_frame(struct dlog *d, int slot, uint64_t *offset,
                     const struct frame_header *h) WARN_UNUSED;

/* ---- dlog_ledger.c ---- */

/** Opens the ledger; sets aside one that is damaged. */
int dlog_ledger_open(struct dlog *d, char *error, size_t error_len) WARN_UNUSED;

/** Makes the opened ledger follow this log; sets aside one that followed another. Sets ledger_seq.
 */
int dlog_ledger_bind(struct dlog *d, char *error, size_t error_len) WARN_UNUSED;

/** Recovery's hook: the snapshot's state is there. Rebuilds a ledger that is behind it. */
int dlog_ledger_catch_up(struct dlog *d, const struct delivery_state *s) WARN_UNUSED;

/** Commits everything unshown. On failure it stays queued and is counted. @return 0 or -errno. */
int dlog_ledger_flush(struct dlog *d);

/** Queues a durable record for the ledger. */
void dlog_ledger_queue(struct dlog *d, struct submission *s);

/** Commits when it is time. */
void dlog_ledger_tick(struct dlog *d, int64_t now_us);

/* ---- dlog_writer.c ---- */

/**
 * One turn of the thread: takes what waits in the ports, writes a frame of it, completes it, feeds the
 * ledger. Never waits.
 * @return 0; -errno when the write failed: nothing was lost, and it is tried again at the next turn.
 */
int dlog_step(struct dlog *d, int64_t now_us);

/** The thread. */
void *dlog_writer_main(void *arg);

/** Recomputes what dlog_free_lsn() answers. */
void dlog_publish_free(struct dlog *d);

/** Wakes the writer if it sleeps. Thread: any. */
void dlog_wake(struct dlog *d);

/** Test seam: ends the thread at once, as a crash would; dlog_close() may follow. */
void dlog_kill(struct dlog *d);

#endif
