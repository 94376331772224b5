/*
 * Settings that change while everything runs: one published pointer to an immutable struct.
 *
 *     control ─ live_publish(new) ─> current ─ live_read() once a turn ─> worker, sink thread
 *                                                    └─ says which version it has seen ─> control
 *
 * A thread keeps what live_read() gave it until it reads again; by then it uses nothing older. So
 * control frees a version once every thread has seen a later one. Readers neither lock nor allocate
 * nor wait; there is one publisher at a time.
 */
#ifndef PENSTOCK_BASE_LIVE_H
#define PENSTOCK_BASE_LIVE_H

#include <stdatomic.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

#define LIVE_READERS_MAX  96      /* workers and sink threads */
#define LIVE_SAMPLING_ALL 1000000 /* parts per million: every event is kept */

/** What differs for one event type. */
struct live_type {
    struct span name;      /* in the memory of its settings */
    uint32_t sampling_ppm; /* of its events are kept */
    bool paused;           /* its plans wait */
    bool refused;          /* what waits of it has used up its room: no more is taken */
};

struct door_keys;

/** What workers read. */
struct live_worker {
    uint32_t block_bytes; /* a block is sealed when full to this */
    uint32_t lane_blocks; /* lent to sink threads at once, at most */
    int64_t block_age_us; /* a block that is not full waits this long for more; 0: not at all */
    uint32_t idle_ms;     /* of a kept-alive connection */
    uint32_t request_ms;  /* from its first byte to its last */
    uint32_t stream_idle_ms, stream_line_ms; /* of TCP connections; 0: no limit */
    int64_t lateness_us;                     /* older than the type's newest by more is late */
    uint32_t sampling_ppm;                   /* of types that have none of their own */
    bool spin;                               /* an idle worker spins */
    const struct door_keys *keys;            /* dataplane/door.h; freed two versions later */
    uint32_t packet_idle_us; /* between looks at DPDK's ports, at most; 0: it spins */
};

/** What sink threads read. */
struct live_sink {
    uint64_t group_bytes_max;
    int64_t group_age_us_max;
    uint32_t puts_max; /* uploads under way at once */
    bool gzip;         /* new plans become gzip objects */
    int gzip_level;
    int64_t load_cadence_us;
    uint32_t split_jobs;
    uint64_t load_bytes_max;
    int64_t park_retry_us;
    uint64_t spool_bytes;       /* 0: nothing is spooled */
    uint32_t backlog_share_ppm; /* of a thread's time, while events come in */
    uint32_t insert_rows;       /* of one insertAll request */
    uint64_t insert_bytes;
    int64_t insert_age_us_max;
    uint32_t inserts_max, table_inserts_max; /* requests under way at once; for one table */
    int64_t insert_wait_us;
    uint32_t connect_timeout_ms, stall_timeout_ms;
    uint64_t resumable_bytes; /* larger objects go up in sessions */
    bool gcs_paused;          /* no upload is started */
    bool bigquery_paused;     /* no load is started */
};

/** One version of all of them. Immutable once published. */
struct live_settings {
    uint64_t version;       /* set by live_publish() */
    uint64_t types_version; /* of what `type` says: workers look at their types when it changes */
    struct live_worker worker;
    struct live_sink sink;
    uint32_t n_types;
    uint32_t n_refused;           /* of type; an empty name: dead letters of no known type */
    const struct live_type *type; /* by name, in byte order; in the same allocation */
};

/** One reading thread. Its fields are its own. */
struct live_reader {
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t _seen;
    const struct live *_live;
};

/** The published pointer; retired versions are the publisher's. */
struct live {
    _Atomic(const struct live_settings *) _current;
    uint32_t _n_readers;
    struct live_retired *_retired;
    struct live_reader _reader[LIVE_READERS_MAX];
};

/**
 * Publishes the first version.
 * Thread: init.  Owner: takes first, which is one malloc(); caller owns *out until live_destroy().
 * @return 0; -ENOMEM, and first stays the caller's.
 */
int live_create(struct live_settings *first, struct live **out) WARN_UNUSED;

/** Frees every version. NULL is allowed. Thread: control, when no reader runs. */
void live_destroy(struct live *l);

/** A reader for one thread that has not started. Thread: init. @return NULL past LIVE_READERS_MAX. */
struct live_reader *live_join(struct live *l);

/** The thread of this reader will not read again. Thread: the reader's, or control when it ended. */
void live_leave(struct live_reader *r);

/**
 * Makes a version the current one, and frees those that no reader can still use.
 * Thread: control, one at a time.  Owner: takes next, which is one malloc().
 */
void live_publish(struct live *l, struct live_settings *next);

/** The current version. Thread: control, the publisher's. */
const struct live_settings *live_current(const struct live *l);

/** Readers that have not seen the current version yet. Thread: control. */
uint32_t live_behind(const struct live *l);

/** Versions that are kept for readers, the current one included. Thread: the publisher's. */
uint32_t live_kept(const struct live *l);

/** What differs for a type, or NULL. Thread: any that may use s. */
const struct live_type *live_type_find(const struct live_settings *s, struct span name);

/**
 * The current version, valid until this reader reads again or leaves.
 * Thread: the reader's.  Alloc: none.
 */
static inline const struct live_settings *live_read(struct live_reader *r)
{
    /* partner: live_publish() */
    const struct live_settings *s = atomic_load_explicit(&r->_live->_current, memory_order_acquire);

    /* Everything that was done with older versions comes before it. Partner: live_publish(). */
    atomic_store_explicit(&r->_seen, s->version, memory_order_release);
    return s;
}

#endif
