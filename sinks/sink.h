/*
 * A sink thread: consumes every journal in LSN order for the types it owns, groups, plans, sends
 * and confirms. Owns an io_uring loop with libcurl, a pool of group memory, and the operations
 * under way.
 */
#ifndef PENSTOCK_SINK_H
#define PENSTOCK_SINK_H

#include "dataplane/base/live.h"
#include "dataplane/event/type.h"
#include "dataplane/journal/journal.h"
#include "dataplane/lane.h"
#include "sinks/bigquery/bigquery.h"
#include "sinks/delivery/dlog.h"
#include "sinks/delivery/plan.h"
#include "sinks/gcs/gcs.h"

struct owner;
struct spool;

struct sink_config {
    uint32_t index;
    uint32_t n_threads; /* sink threads in all: types are shared out by hash of their table */
    uint64_t group_memory_bytes; /* bytes of open and unsent groups, per thread */
    uint64_t group_bytes_max;    /* a group of this size is planned */
    int64_t group_age_us_max;    /* a group this old is planned */
    uint32_t puts_max;           /* objects under way at once */
    bool gzip;                   /* new plans become gzip objects */
    int gzip_level;
    int64_t load_cadence_us;    /* least time between two load jobs of a table */
    uint64_t load_bytes_max;    /* of one load job */
    uint32_t split_jobs;        /* a table and day, for parts of refused loads; 0: none is cut */
    uint32_t insert_rows;       /* of one insertAll request */
    uint64_t insert_bytes;      /* of one insertAll request */
    int64_t insert_age_us_max;  /* rows for insertAll are planned after this */
    uint32_t inserts_max;       /* insertAll requests under way at once */
    uint32_t table_inserts_max; /* of these, for one table */
    int64_t insert_wait_us;     /* how long insertAll may not find a table */
    uint32_t
        backlog_share_ppm; /* of its time, for what is read back while events come in; 0: all */
    int64_t park_retry_us; /* a parked plan or table is tried again after this */
    uint64_t spool_bytes;  /* of lines of parked plans, in all; 0: none is spooled */
    bool discard;          /* events are thrown away */
    bool bigquery_enabled;
    const char *node;
    const char *columns_dir;       /* exists; versions of inferred columns live here */
    const char *dedupe_dir;        /* exists; ids that were taken live here */
    uint32_t columns_max;          /* of a table whose columns are inferred or added */
    const struct storage *storage; /* under dedupe_dir */
    struct auth_config auth;
    struct http_config http;
    struct gcs_config gcs;
    struct bq_config bq;
    struct spool *spool;      /* for lines of parked plans; NULL: they stay in the journals */
    struct owner *owner;      /* who may send; run by the first sink thread. NULL: all may */
    struct live_reader *live; /* settings that change while it runs; NULL: none do */
};

/** Written by the sink thread only, readable by any (relaxed). */
struct sink_stats {
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t blocks_memory; /* consumed from lanes */
    _Atomic uint64_t blocks_disk;                             /* consumed from journals */
    _Atomic uint64_t events;           /* consumed: owned, not planned before */
    _Atomic uint64_t removed_events;   /* duplicates that were left out */
    _Atomic uint64_t discarded_events; /* thrown away; counted by the first thread for all */
    _Atomic uint64_t groups_open;      /* gauge */
    _Atomic uint64_t chunks_free;      /* gauge */
    _Atomic uint64_t chunks_total;     /* gauge */
    _Atomic uint64_t plans_waiting;    /* gauge: planned, not confirmed */
    _Atomic uint64_t plans_parked;     /* gauge */
    _Atomic uint64_t plans_held;       /* gauge: of plans_waiting, held by a pause */
    _Atomic uint64_t plans_spooled;    /* gauge: their lines lie in the spool */
    _Atomic uint64_t planned_events;
    _Atomic uint64_t confirmed_events; /* events and dead letters in confirmed archive objects */
    _Atomic uint64_t confirmed_dead;   /* of those, dead letters */
    _Atomic uint64_t loaded_events;
    _Atomic uint64_t inserted_events; /* rows that insertAll took */
    _Atomic uint64_t refused_events;  /* rows that BigQuery refused: dead letters */
    _Atomic uint64_t inserts_waiting; /* gauge: plans for insertAll that are not finished */
    _Atomic uint64_t inserts_parked;  /* gauge: tables whose inserts wait for somebody */
    _Atomic uint64_t columns_added;   /* to tables whose columns are inferred or added */
    _Atomic uint64_t rows_overflowed; /* values that no column of those tables took */
    _Atomic uint64_t rows_normalized; /* values and names of those that were rewritten */
    _Atomic uint64_t loads_waiting;   /* gauge: tables with debt */
    _Atomic uint64_t loads_parked;    /* gauge: tables that have one */
    _Atomic uint64_t loads_split;     /* refused loads that were cut */
    _Atomic uint64_t load_parts;      /* gauge: parts of them, and loads set aside, that wait */
    _Atomic uint64_t load_lag_us; /* gauge: since the oldest object that is not loaded was stored */
    _Atomic uint64_t loads_held;  /* gauge: of loads_waiting, held by a pause */
    _Atomic uint64_t lag_us; /* gauge: age of the oldest event that is not confirmed; 0 when none */
    _Atomic uint64_t gzip_plain_bytes; /* compressed so far... */
    _Atomic uint64_t gzip_bytes;       /* ...into these */
    _Atomic uint64_t backlog_pauses;   /* in which live events had the time */
    _Atomic uint64_t read_errors;      /* journal blocks that could not be read or did not verify */
};

/** Written by the sink thread only, readable by any (relaxed): one type that is deduplicated. */
struct sink_dedupe_stats {
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t removed; /* events, since start */
    _Atomic uint64_t without_id; /* events that have none and are never removed, since start */
    _Atomic uint64_t ids;        /* gauge: in the window */
    _Atomic uint64_t evicted;    /* ids that left within the window: ids_max was reached */
    _Atomic uint64_t window_us;  /* gauge: what the window really is, not more than configured */
    _Atomic uint64_t waiting;    /* gauge: plans that wait until decisions are durable */
    _Atomic uint64_t log_bytes;  /* gauge: on disk */
    _Atomic uint64_t log_errors; /* writes that failed */
    _Atomic uint64_t damaged;    /* parts of the log that did not verify at start */
    const struct type_config *type;
};

/** Written by the sink thread only, readable by any (relaxed): spooled plans of a type, one way. */
struct sink_spool_stats {
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t plans; /* gauge */
    _Atomic uint64_t bytes, events;                   /* gauges */
    _Atomic uint64_t lost;    /* gauge: of plans, with a file that is missing or damaged */
    _Atomic uint64_t open;    /* gauge: 1 when its plans are being sent */
    _Atomic uint64_t failing; /* gauge: 1 when more should be spooled, and cannot be written */
    const char *way;          /* "output", "staging", "dead_letter" or "insert_all" */
    uint8_t type_len;
    char type[TYPE_NAME_BYTES_MAX];
};

/** One table or problem, as `penstock sinks` shows it. */
struct sink_table_report {
    char table[TABLE_NAME_BYTES_MAX];
    uint64_t debt_events; /* stored in GCS, not yet loaded */
    uint64_t debt_objects;
    uint64_t loaded_rows;   /* since start: loaded or inserted */
    uint64_t refused_rows;  /* since start: dead letters */
    uint32_t jobs;          /* since start: load jobs or insertAll requests */
    const char *method;     /* "load" or "insert_all" */
    uint32_t version;       /* of inferred columns; 0: none */
    uint32_t columns;       /* in that version */
    uint32_t columns_added; /* since start */
    uint64_t overflowed;    /* values that no column took, since start */
    uint64_t normalized;    /* values and names that were rewritten, since start */
    char state[24];         /* "idle", "waiting", "creating", "loading", "inserting", "parked" */
    char text[REASON_TEXT_BYTES]; /* why it waits or is parked */
};

/** Spooled plans of one type that go one way, as `penstock sinks` shows them. */
struct sink_shelf_report {
    const struct sink_spool_stats *stats;
    char what[TYPE_NAME_BYTES_MAX + 24]; /* "type NAME (output)" */
    char text[REASON_TEXT_BYTES];        /* why they are there */
};

/** What a sink thread says of itself when asked. */
struct sink_report {
    uint32_t n_tables;
    uint32_t tables_max;
    struct sink_table_report *table; /* room for tables_max, given by the asker */
    uint32_t n_shelves;
    uint32_t shelves_max;
    struct sink_shelf_report *shelf;     /* room for shelves_max, given by the asker */
    char gcs_waiting[REASON_TEXT_BYTES]; /* why uploads wait, or "" */
};

enum sink_command {
    SINK_FLUSH,  /* plan every open group now, load every debt as soon as its objects are confirmed
                  */
    SINK_REPORT, /* fill a report */
    SINK_IDLE,   /* answer when nothing is pending at the time of asking: everything durable is
                    delivered */
};

struct sink;

/**
 * Creates a sink thread's state; journals may belong to workers or be left over from earlier runs.
 * Thread: init.  Owner: caller; config, types, journals and dlog are borrowed.
 */
int sink_create(const struct sink_config *config, const struct type_set *types,
                struct journal *const *journals, uint32_t n_journals, struct dlog *dlog,
                struct sink **out, char *error, size_t error_len) WARN_UNUSED;

/** The eventfd that wakes it: for its lanes. Thread: init. */
int sink_wake_fd(const struct sink *s);

/** Gives it the lane of the worker that writes a journal; left-over ones have none. Thread: init,
 * before start. */
void sink_set_lane(struct sink *s, uint32_t journal_index, struct lane *lane);

/** mem_populate() for its fixed memory, groups first; the thread may run meanwhile. Thread: init, or one
 * that ends before sink_destroy(). */
int sink_populate(struct sink *s, const _Atomic bool *stop) WARN_UNUSED;

/** Starts the thread. Thread: init. */
int sink_start(struct sink *s) WARN_UNUSED;

/**
 * Runs a command on the thread and waits for its answer.
 * Thread: control.
 * @param timeout_us for SINK_IDLE: how long to wait until idle.
 * @return 0; -ETIMEDOUT.
 */
int sink_call(struct sink *s, enum sink_command command, struct sink_report *report,
              int64_t timeout_us) WARN_UNUSED;

/** Wakes it, so that it looks at its settings now. Thread: any. */
void sink_nudge(const struct sink *s);

/** Ends the thread at once; what is pending continues at the next start. Thread: control. */
void sink_stop(struct sink *s);

/** Frees everything. NULL is allowed. Thread: control. */
void sink_destroy(struct sink *s);

/** Counters. Thread: any. */
const struct sink_stats *sink_stats(const struct sink *s);

/** Counters of the i-th type that it deduplicates. Thread: any. @return NULL past the last one. */
const struct sink_dedupe_stats *sink_dedupe_stats(const struct sink *s, uint32_t i);

/** Spooled plans: the type and way behind one of those that ever had some, or the first (NULL). Thread:
 * any. @return NULL behind the last one. */
const struct sink_spool_stats *sink_spool_next(const struct sink *s,
                                               const struct sink_spool_stats *after);

/** Counters of its Cloud Storage client. Thread: any. */
const struct gcs_stats *sink_gcs_stats(const struct sink *s);

/** Counters of its BigQuery client. Thread: any. */
const struct bq_stats *sink_bq_stats(const struct sink *s);

#endif
