/*
 * Inside of a sink thread, shared by sink.c, consume.c, dedupe.c, columns.c, deliver.c, pause.c, reload.c,
 * shelf.c, tables.c, part.c, rewrite.c, debt.c, letter.c, insert.c, insert_job.c and resume.c only.
 *
 *   journals ─ consume.c ─> groups ─ deliver.c ─> PLAN ─> put ─> CONFIRM
 *                                        ^          │               └─ tables.c ─> LOAD ─> ATTEMPT ─> LOADED
 *                                        │          └─ insert.c ─> insertAll ─> dead letters ─> INSERTED
 *   plans without their bytes ─ reload.c ┘   (after a restart, or parked for long)
 */
#ifndef PENSTOCK_SINK_INTERNAL_H
#define PENSTOCK_SINK_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>

#include "dataplane/base/stats.h"
#include "sinks/bigquery/bq_insert.h"
#include "sinks/columns.h"
#include "sinks/dedupe/idhash.h"
#include "sinks/delivery/spool.h"
#include "sinks/delivery/state.h"
#include "sinks/engine/loop.h"
#include "sinks/group.h"
#include "sinks/pack.h"
#include "sinks/scan.h"
#include "sinks/sink.h"

#define WRAP_BYTES 16u /* that event_wrap() may add to a line */
#define DELIVERIES_MAX \
    8192u /* plans that are not finished, but for debts: past it nothing is consumed */
#define HELD_MAX           16384u /* plans that a pause holds: past it nothing is consumed */
#define INSERTS_MAX        16384u /* plans for insertAll that are not finished: past it neither */
#define LETTERS_MAX        (64u << 20) /* bytes of dead letters that wait: past it no rows are sent */
#define CONSUME_BLOCKS     32          /* per turn, so that the network gets its share */
#define SKIPS_PLAN_BYTES   16384u      /* a group that says so much of lines left out is planned */
#define ENSURE_US          2000000 /* between two changes of a table: BigQuery allows 5 in 10 s */
#define STAGED_MINUTES     (512 * 1440) /* event time that one staging object spans at most: 512 days */
#define LOAD_PARTITION_MAX 4000u        /* BigQuery: partitions that one job may touch */
#define REFUSALS_MAX       40u /* halving 10,000 objects and then 10 million rows takes 37 */

struct sink;
struct table;
struct dedupe;

/* ---- journals ---- */

/** Reads that follow one journal from a cursor on, in memory and on disk alike. */
struct feed {
    struct sink *sink;
    uint32_t index;
    const struct journal *journal;
    struct lane *lane;  /* NULL: left over from an earlier run */
    lsn_t cursor;       /* everything in front of it is in groups or plans */
    lsn_t seen_durable; /* when it was last looked whether events come in */
    lsn_t planned_max;  /* look planned_to up only below it: it was set before this start */
    struct scan scan;   /* for blocks that the lane has not */
    /* The block under way, and how far: group memory may run out in the middle. */
    bool in_block;
    struct block *lent; /* the block's holder; NULL when it lies in buf */
    struct block_view view;
    uint32_t run, entry;
    int64_t block_us; /* when it was sealed; of the last one between blocks */
    /* What deduplication says of the run under way. */
    bool judged;
    uint32_t n_removed;
    uint8_t removed[BLOCK_ENTRIES_MAX / 8]; /* a bit for each line, when n_removed > 0 */
};

/* ---- plans ---- */

/*
 *   PLANNING ─ PLAN durable ─> READY ─> PUTTING ─> CONFIRMING ─ CONFIRM durable ─> debt or finished
 *   COLD ─ reload ─> READY       PUTTING ─ permanent ─> PARKED ─ timer ─> READY or COLD
 *   PLANNING, COLD, READY ─ paused ─> HELD ─ resumed ─> READY or COLD
 *   A gzip plan passes PACKING on its way to READY, unless it is compressed already.
 *   PARKED, HELD ─ a journal is in need ─> SPOOLING ─ SPOOLED durable ─> on its shelf: see shelf.c
 *
 * For insertAll (ENCODING_INSERT), a delivery that is READY waits in its table's list, with its
 * bytes or without them (then it passes COLD and RELOADING before it is sent):
 *
 *   READY ─> INSERTING ─ every row settled, some refused ─> REFUSING ─ object stored ─> CONFIRMING
 *     ^          ├─ rows are left, or a passing failure ─┐      └─ permanent ─> PARKED
 *     └──────────┴───────────────────────────────────────┘
 */
enum delivery_state_name {
    DELIVERY_PLANNING,
    DELIVERY_COLD,
    DELIVERY_RELOADING,
    DELIVERY_PACKING,
    DELIVERY_READY,
    DELIVERY_PUTTING,
    DELIVERY_CONFIRMING,
    DELIVERY_PARKED,
    DELIVERY_HELD,
    DELIVERY_INSERTING,
    DELIVERY_REFUSING,
    DELIVERY_SPOOLING,
};

struct insert_table;
struct insert_job;
struct spooled;
struct shelf;

/** A plan on its way. In exactly one list, by state. */
struct delivery {
    struct delivery *prev, *next;
    struct sink *sink;
    struct table *table;             /* of its type; NULL when it is not to be loaded */
    struct insert_table *inserts;    /* where its rows go by insertAll, or NULL */
    struct insert_job *job;          /* how far its rows are; NULL before the first request */
    struct columns *columns;         /* of rows that rows.h makes, or NULL */
    struct columns_version *version; /* with columns: held */
    const struct type_route *route;
    struct spooled *spooled;    /* its lines lie in the spool; NULL: in the journals */
    struct spool_job spool_job; /* SPOOLING */
    bool to_spool;              /* COLD, RELOADING or SPOOLING: on its way there */
    bool resuming;              /* PARKED: RESUMED is on its way into the log */
    int64_t spool_after_us;     /* monotonic: not tried to be spooled before */
    uint8_t state;              /* enum delivery_state_name */
    struct plan plan;
    struct group *content;           /* NULL: must be read again before sending */
    uint8_t *skips;                  /* what the plan's ranges point to, or NULL */
    struct skip_reader skip;         /* while it is read again: of the journal under way */
    struct delivery *next_undecided; /* in its type's queue: see dedupe.c */
    uint64_t decisions;              /* that must be durable before its PLAN */
    bool packed;                     /* content is compressed: */
    struct pack_summary pack;
    struct iovec *iov;
    struct gcs_put put;
    struct loop_timer retry;
    int64_t since_us; /* monotonic: planned, or taken over */
    char text[REASON_TEXT_BYTES];
};

/** A list of deliveries, oldest first. */
struct delivery_list {
    struct delivery head; /* only its links */
    uint32_t n;
};

/* ---- tables ---- */

/*
 * A confirmed object that is to be loaded, or whose staging object is to be deleted: what is left
 * of a plan, because with BigQuery away for a day there are hundreds of thousands.
 *
 *   owed ─ LOAD ─> loading ─ LOADED ─> gone, or staged ─ object deleted, STAGING_GONE durable ─>
 * gone
 */
struct debt {
    struct debt *next;
    uint64_t plan_id;
    uint64_t load_id;                 /* after a restart: the load that had taken it */
    const struct type_config *config; /* of its type, or NULL */
    uint64_t events, bytes;
    int64_t since_us; /* monotonic: stored, or taken over */
    int32_t minute;
    uint32_t crc32c;  /* of the plain lines */
    uint8_t encoding; /* enum plan_encoding */
    bool gzip;        /* never in one load job with plain ones */
    bool in_pieces;   /* after a restart: pieces of it are left to load */
    bool owned;       /* after a restart: its type is this thread's */
    char object[];    /* NUL-terminated */
};

/** A list of debts, oldest first. */
struct debt_list {
    struct debt *first, *last;
    uint32_t n;
};

/*
 * A load that waits for its turn: a part of one that BigQuery refused, one that was set aside, or one
 * that was under way before a restart.
 *
 *   refused ─ several objects ────────────────────────────> LOAD_SPLIT: the object at fault, and the rest
 *      ├─ one object ─ read it, find the row at fault ────> LOAD_SPLIT: the row, and what is around it
 *      ├─ one row, and the table takes others ─ dead letter stored ─> LOAD_REJECTED
 *      ├─ one row, and nothing shows that it does ────────> set aside as suspect, until something does
 *      └─ REFUSALS_MAX in a row, or no splitting ─────────> set aside, tried again after park_retry
 *
 * Pieces are written to staging/ when their turn comes, and deleted when their job is over.
 */
struct part {
    struct part *next;
    struct load load;
    struct debt_list loading;
    int64_t due_us; /* monotonic */
    bool parked;    /* in the log; text says why */
    bool
        suspect; /* its only row was refused, and nothing has shown since that the table takes rows */
    char text[REASON_TEXT_BYTES];
};

/** What a refused load becomes, on its way into the log. */
struct cut {
    struct load_split split;
    uint64_t *plan_id[LOAD_PARTS_MAX];
    struct debt_list debts[LOAD_PARTS_MAX];
};

/** Why the object of a load is read again. */
enum rewrite_mode {
    REWRITE_PIECE,  /* some of its lines become an object of their own */
    REWRITE_LOCATE, /* which row is at fault? And is it the object that was stored? */
    REWRITE_REJECT  /* its only row becomes a dead letter */
};

/*
 *   IDLE ─ due ─> RECORDING ─ LOAD durable ─> ENSURING ─> ATTEMPTING ─ ATTEMPT durable ─> LOADING
 *                                                ^                                           │
 *                   timer, the next attempt ─────┤<──── FAILING <─ ATTEMPT_FAILED ─ transient ┤
 *                   timer, LOAD_RESUMED ─────────┴──── PARKED <──────────────────── refused ──┤
 *   IDLE <─ LOADED durable ─ FINISHING <────────────────────────────────────────── all rows ──┘
 *
 * A refused load that can be cut leaves by READING (of its object) and CUTTING to IDLE; its parts come
 * back when tables_run() takes them, pieces by READING.
 */
enum table_state {
    TABLE_IDLE,
    TABLE_RECORDING,
    TABLE_ENSURING,
    TABLE_ATTEMPTING,
    TABLE_LOADING,
    TABLE_FAILING,
    TABLE_FINISHING,
    TABLE_PARKED,
    TABLE_READING,
    TABLE_CUTTING
};

/**
 * One BigQuery table and what is owed to it in one encoding: a table to which a schema was given
 * later has two of these, with their own loads, so that neither blocks the other.
 */
struct table {
    struct table *next;
    struct sink *sink;
    char name[TABLE_NAME_BYTES_MAX];
    uint8_t encoding;                 /* enum plan_encoding */
    const struct type_config *config; /* of the type that it was made for, or NULL */
    struct bq_table_spec spec;
    struct columns *columns; /* ENCODING_ROWS, else NULL */
    struct columns_version
        *ensures;           /* ENCODING_ROWS: what the table has, or is being made to have; held */
    int64_t next_ensure_us; /* monotonic: tables change only so often */
    uint8_t state;          /* enum table_state */
    bool ensured;
    bool flush; /* load as soon as there is debt */
    struct debt_list debts;
    uint64_t debt_events;
    int64_t next_load_us; /* monotonic: cadence */
    /* The load under way. */
    struct load load;
    bool recorded; /* LOAD is in the log */
    bool held;     /* the next attempt waits for the end of a pause */
    struct debt_list loading;
    struct bq_ensure ensure;
    struct bq_load job;
    char job_id[JOB_ID_BYTES_MAX];
    char **uris;
    struct retry_state backoff;
    struct loop_timer timer;
    /* What was refused. */
    struct part *parts;
    struct cut *cut;    /* CUTTING */
    uint8_t reading;    /* READING: enum rewrite_mode */
    bool suspect;       /* CUTTING: it is set aside as one */
    bool piece_stored;  /* the object of the piece under way is there */
    bool part_was_last; /* the latest job was of a part: what is new goes first now */
    uint32_t refusals;  /* jobs in a row that were refused for their rows */
    int64_t probe_us;   /* monotonic: with REFUSALS_MAX of them, the next job */
    double split_used;  /* jobs of parts, at split_used_us (monotonic): see part.c */
    int64_t split_used_us;
    char piece_name[OBJECT_NAME_BYTES_MAX];
    struct gcs_delete delete;
    void (*deleted)(struct table *t);
    struct load_reject reject;
    uint64_t refused_rows;
    uint64_t loaded_rows;
    uint32_t jobs;
    char text[REASON_TEXT_BYTES];
};

/*
 *   NEW ─ something to send ─> ENSURING ─> OPEN ─ refused for good, or not found for long ─> PARKED
 *    ^                            └─ permanent ─> PARKED                                        │
 *    └────────────────────────────────────────────────────────────────────────── park_retry ───┘
 *
 * OPEN after a passing failure: nothing is sent until a timer, then one request at a time until one
 * is answered. So a table in trouble costs the others nothing.
 */
enum insert_state { INSERT_NEW, INSERT_ENSURING, INSERT_OPEN, INSERT_PARKED };

/* What the rows of a table are made of. */
enum insert_form {
    INSERT_PLAIN,   /* lines as they are */
    INSERT_WRAPPED, /* events without a schema: {"event": ...} */
    INSERT_ROWS,    /* versions of inferred columns */
    INSERT_FORMS
};

/** One BigQuery table and what goes to it by insertAll, in one form of rows. */
struct insert_table {
    struct insert_table *next;
    struct insert_table *next_queued; /* tables that may send, in turn */
    bool queued;
    struct sink *sink;
    char name[TABLE_NAME_BYTES_MAX];
    uint8_t form;                     /* enum insert_form */
    const struct type_config *config; /* of the type that it was made for, or NULL */
    struct bq_table_spec spec;
    struct columns *columns; /* INSERT_ROWS, else NULL */
    struct columns_version
        *ensures;       /* INSERT_ROWS: what the table has, or is being made to have; held */
    int64_t ensured_us; /* monotonic: when it last was */
    uint8_t state;      /* enum insert_state */
    bool answered;      /* it took a request: a refused one is about its rows */
    bool waits;         /* for the timer, after a failure */
    bool probing;       /* one request at a time, until one is answered */
    int64_t lag_us;     /* monotonic: since when it is not found; 0 when it is */
    struct retry_state backoff;
    struct bq_ensure ensure;
    struct loop_timer timer;
    struct delivery_list waiting; /* oldest first */
    uint32_t sending;             /* requests under way */
    uint32_t reading;             /* plans that are read again to be sent */
    uint64_t waiting_rows;
    uint64_t rows, refused;
    uint32_t requests;
    char text[REASON_TEXT_BYTES]; /* why it waits or is parked */
};

/* ---- spooled plans ---- */

/* The ways that plans of a type go: what stops one of them need not stop the others. */
enum shelf_kind {
    SHELF_OUTPUT,
    SHELF_STAGING,
    SHELF_DEAD,
    SHELF_INSERT, /* one for each form of rows */
    SHELF_KINDS = SHELF_INSERT + INSERT_FORMS
};

/** What the thread knows of a type: cached, by name and kind. */
struct type_route {
    struct type_route *next;
    char name[TYPE_NAME_BYTES_MAX];
    uint8_t name_len;
    bool owned;
    bool paused;
    struct insert_table *inserts[INSERT_FORMS]; /* made when first needed */
    struct shelf *shelf[SHELF_KINDS];           /* the same */
    const struct type_config *config;
    struct columns *columns; /* of its table; NULL until a line needs them */
    struct dedupe *dedupe;   /* its duplicates are removed, or NULL */
};

/** How far a key had been planned before this start. */
struct planned_before {
    struct planned_before *next;
    struct plan_key key;
    uint32_t journal;
    lsn_t to;
};

#define ROUTE_BUCKETS   4096u
#define COLUMNS_BUCKETS 1024u
#define PLANNED_BUCKETS 4096u

/** A record on its way into the log: what to do when it is durable. */
struct pending_record {
    struct pending_record *next; /* not taken by the log yet */
    struct record record;
    void (*durable)(struct sink *s, void *ctx);
    void *ctx;
    char text[REASON_TEXT_BYTES];
};

struct sink {
    struct sink_config config;        /* follows the live settings */
    uint64_t settings_version;        /* that it follows */
    int64_t backlog_look_us, live_us; /* see backlog.c */
    int64_t backlog_spent_us, backlog_until_us;
    bool backlog_shares;
    bool may_send;                        /* no other copy of the data directory is in use */
    const struct live_settings *settings; /* of this turn; NULL before the first */
    uint64_t types_version;               /* that the routes follow */
    bool gcs_paused, bigquery_paused;
    const struct type_set *types;
    struct dlog *dlog;
    struct dlog_port *port;
    struct loop *loop;
    struct http_client *http;
    struct auth auth;
    bool auth_ready; /* initialised */
    struct gcs *gcs;
    struct bq *bq;
    /* Journals. */
    uint32_t n_feeds;
    struct feed *feed;
    uint32_t next_feed;
    /* Groups and plans. */
    struct chunk_pool pool;
    struct group_table groups;
    char *wrap_buf; /* one wrapped line */
    size_t wrap_bytes;
    struct delivery_list planning, cold, reloading, packing, ready, putting, confirming, parked,
        held;
    struct delivery_list spooling; /* to the spool */
    struct delivery_list fetching; /* kept what they know, and want their lines from it */
    bool held_in_memory;           /* some that are held have their bytes in memory */
    struct packer *packer;         /* works on the first of packing; NULL until it is needed */
    /* insertAll. */
    struct group_table insert_groups;
    struct delivery_list inserting, refusing;
    struct insert_table *insert_tables;
    struct insert_table *insert_first, *insert_last; /* that may send, in turn */
    uint32_t n_inserts;                              /* plans for insertAll that are not finished */
    uint64_t
        letter_bytes; /* of dead letters that wait for Cloud Storage, outside of group memory */
    char *row_buf;    /* two lines, while rows are made */
    size_t row_bytes;
    struct rewrite
        *rewrite;          /* reads refused objects again, one at a time; NULL until it is needed */
    struct staged *staged; /* loaded staging objects, being deleted */
    /* The spool. */
    struct spool_port *spool_port; /* NULL: without one */
    _Atomic(struct shelf *) shelves;
    struct fetch *fetches;
    struct removal *removals;
    uint32_t n_fetches, n_to_spool;
    uint32_t n_back;        /* plans that are read back, and not stored */
    bool spool_need;        /* the journals need what parked plans hold */
    bool spool_failing;     /* the last file could not be written */
    int64_t spool_again_us; /* monotonic: not tried before */
    int64_t shelf_look_us, failing_look_us;
    struct noted_mark *marks; /* of injections, not in the log yet */
    uint32_t marks_recording;
    struct pending_record *backlog_first,
        *backlog_last; /* records that the log's ring had no room for */
    uint32_t n_pending_records;
    /* Reading plans again. */
    uint32_t reload_feed;
    uint64_t reload_reserved; /* chunks that the plans being read again will still take */
    bool reload_hungry;       /* the next plan needs more than is free: consuming waits for it */
    lsn_t reload_cursor, reload_end;
    struct scan *reload_scan; /* by feed */
    /* Types and tables. */
    struct type_route *route[ROUTE_BUCKETS];
    struct planned_before *planned[PLANNED_BUCKETS];
    struct table *tables;
    struct columns *columns[COLUMNS_BUCKETS]; /* by table */
    struct dedupe *dedupes;                   /* of owned types, in the order of configuration */
    struct id_hash *dedupe_ids;               /* BLOCK_ENTRIES_MAX, while a run is judged */
    char *dedupe_text;                        /* one unescaped id */
    size_t dedupe_text_bytes;
    int64_t dedupe_next_us; /* monotonic: next look at what can be freed */
    /* Time. */
    int64_t now_us; /* monotonic, of this turn */
    int64_t next_tick_us;
    int64_t logged_us;
    /* Commands. */
    pthread_mutex_t call_lock; /* control threads among themselves */
    _Atomic int command;       /* enum sink_command + 1; 0: none */
    struct sink_report *report;
    int64_t call_deadline_us;
    int call_result;
    sem_t call_done;
    bool idle_planned; /* what was durable when asked is planned */
    lsn_t *idle_lsn;   /* by feed: durable when asked */
    uint64_t flush_id; /* plans below it load as soon as they are confirmed */
    /* Life. */
    pthread_t thread;
    bool thread_started;
    _Atomic int start_result;
    _Atomic bool stop;
    _Atomic bool ended; /* the thread takes no command any more */
    struct sink_stats stats;
    struct gcs_stats gcs_stats;
    struct bq_stats bq_stats;
};

/* ---- consume.c: thread: the sink's ---- */

/** Consumes up to CONSUME_BLOCKS blocks into groups. @return true when there is more at once. */
bool consume(struct sink *s);

/** Sets a feed up at its floor. Thread: init. @return 0; -errno with error. */
int feed_init(struct sink *s, uint32_t index, const struct journal *j, lsn_t floor, char *error,
              size_t error_len) WARN_UNUSED;

/** Frees a feed; a block under way is released. */
void feed_fini(struct feed *f);

/** The key of the group that a line belongs to, in one encoding. */
void plan_key_of(const struct block_run *run, const struct type_route *route,
                 const struct block_entry *e, enum plan_encoding encoding, struct plan_key *key);

/** In what form a line is copied a second time, for BigQuery; ENCODING_ARCHIVE: not at all. Its block
 * says how it goes there, so it goes one way whatever the configuration says by now. */
enum plan_encoding line_encoding(const struct block_run *run, const struct block_entry *e);

/** Makes s->wrap_buf hold that many bytes. @return false without memory. */
bool wrap_room(struct sink *s, size_t bytes) WARN_UNUSED;

/** Whether a line was planned before this start, in any form. */
bool line_is_planned(struct sink *s, const struct feed *f, const struct block_run *run,
                     const struct block_entry *e);

/** Where a line of a block comes from. */
void line_place(const struct block_view *v, const struct block_entry *e, uint32_t journal,
                struct line_place *out);

/** The route of a type. @return NULL without memory. */
struct type_route *route_get(struct sink *s, struct span name);

/** The columns of a route's table. @return NULL without memory. */
struct columns *route_columns(struct sink *s, struct type_route *route);

/** Remembers how far a key was planned before this start. Thread: init. @return 0 or -ENOMEM. */
int planned_remember(struct sink *s, const struct plan_key *key, uint32_t journal,
                     lsn_t to) WARN_UNUSED;

/** The largest LSN below which all of this thread's lines of a journal are planned, durably. */
lsn_t feed_floor(const struct sink *s, const struct feed *f);

/* ---- marks.c: thread: the sink's ---- */

/** Notes the mark of the block that a feed has read, if it bears one and this is the first thread. */
void mark_note(struct sink *s, const struct feed *f);

/** Has noted marks recorded. */
void marks_run(struct sink *s);

/** A floor that does not pass a block whose mark is not recorded yet. */
lsn_t marks_floor(const struct sink *s, uint32_t feed, lsn_t floor);

/** Frees what is noted. */
void marks_free(struct sink *s);

/* ---- dedupe.c: thread: the sink's, but where said ---- */

/** Opens what is durable of this thread's types that are deduplicated, after the feeds are set up.
 * Thread: init. @return 0; -errno with error. */
int dedupes_create(struct sink *s, char *error, size_t error_len) WARN_UNUSED;

/** mem_populate() for their windows. Thread: as sink_populate(). */
int dedupes_populate(struct sink *s, const _Atomic bool *stop) WARN_UNUSED;

/** Frees it, after the loop. Thread: control. */
void dedupes_destroy(struct sink *s);

/**
 * Decides on the run that a feed has come to: f->removed and f->n_removed. What was decided before a
 * restart is decided the same way again.
 * @return false when it must be tried again later: the disk is behind, or memory is short.
 */
bool dedupe_judge(struct dedupe *d, struct feed *f, const struct block_run *run) WARN_UNUSED;

/** Keeps a new plan back until the decisions on its lines are durable. @return false when they are:
 * submit it. */
bool dedupe_hold(struct delivery *d);

/** Has decisions written, submits the plans that waited for them, and frees what nobody needs. */
void dedupes_run(struct sink *s);

/* ---- deliver.c: thread: the sink's ---- */

/** Records a plan, which is in the list planning. */
void plan_submit(struct delivery *d);

/** Sets a list up. */
void delivery_list_init(struct delivery_list *l);

/** Moves a delivery to the end of a list and gives it the state. */
void delivery_move(struct delivery *d, struct delivery_list *from, struct delivery_list *to,
                   uint8_t state);

/** A delivery is to be read again: from the spool or from the journals. */
void delivery_cold(struct delivery *d, struct delivery_list *from);

/** Moves a delivery to the front of its list. */
void delivery_to_front(struct delivery *d, struct delivery_list *l);

/** The first, or NULL. */
struct delivery *delivery_first(const struct delivery_list *l);

/** The table of open groups that a key belongs to. */
struct group_table *groups_of(struct sink *s, const struct plan_key *key);

/** Closes a group: it becomes a plan. @return false when that must be tried again later. */
bool plan_group(struct sink *s, struct group *g);

/** Plans what is due by size or age, or everything. @return false when something must be tried again
 * later. */
bool plan_due(struct sink *s, bool all);

/** Plans the larger groups, because group memory is short. */
void plan_for_memory(struct sink *s);

/** The name of an object of dead letters: of a type ("": unknown) and the minute of reception. out
 * holds OBJECT_NAME_BYTES_MAX. */
void dead_object_name(const struct sink *s, struct span type, int32_t minute, uint64_t id,
                      const char *suffix, char *out);

/** A delivery for a plan that was made before this start; in no list yet. @return NULL without
 * memory. */
struct delivery *delivery_new(struct sink *s, const struct plan *plan);

/**
 * Parks a plan that somebody must look at; it is tried again after park_retry. Its lines stay in
 * the journal; they leave memory when drop says so or memory is short.
 */
void deliver_park(struct delivery *d, struct delivery_list *from, const char *text, bool drop);

/** Compresses a slice of the first plan that waits for it. @return true when there is more at
 * once. */
bool pack_run(struct sink *s);

/** Starts uploads while there are free slots. */
void deliver_start(struct sink *s);

/** A delivery may go on: to be read again, compressed, or sent, or to wait for its table. */
void deliver_ready(struct delivery *d, struct delivery_list *from);

/** Gives the memory of a delivery's bytes back. */
void content_drop(struct delivery *d);

/** Frees a finished delivery, which is in list l, or in none (NULL). */
void delivery_finish(struct delivery *d, struct delivery_list *l);

/** Hands a record to the log; durable runs on this thread once it is. text is copied. */
void record_submit(struct sink *s, const struct record *r,
                   void (*durable)(struct sink *s, void *ctx), void *ctx);

/** Takes what became durable, and hands on what the log had no room for. */
void records_run(struct sink *s);

/* ---- pause.c: thread: the sink's ---- */

/** Whether its sink or its type is paused. */
bool delivery_paused(const struct delivery *d);

/** Moves a paused delivery to those that are held. */
void delivery_hold(struct delivery *d, struct delivery_list *from);

/** Takes the bytes of held plans out of memory: somebody needs it. */
void held_free_memory(struct sink *s);

/** Whether so many plans are held that nothing more is consumed. */
bool held_too_many(const struct sink *s);

/** Whether a pause keeps this table from its next load or attempt. */
bool load_paused(const struct table *t);

/** Whether this table has something to load that only waits for the end of a pause. */
bool load_waits(const struct table *t);

/** Whether events of this name are paused, by this turn's settings. */
bool type_paused(const struct sink *s, struct span name);

/** Follows this turn's settings: what is no longer paused goes on. */
void pauses_take(struct sink *s);

/* ---- reload.c: thread: the sink's ---- */

/** Goes on reading cold plans from the journals. @return true when there is more at once. */
bool reload_run(struct sink *s);

/* ---- tables.c: thread: the sink's ---- */

/** The table of this name and encoding, created if new as config says. @return NULL without memory.
 */
struct table *table_get(struct sink *s, const char *name, enum plan_encoding encoding,
                        const struct type_config *config);

/** The newest version of columns becomes what a table is to have; *ensures holds it. */
void table_spec_renew(struct bq_table_spec *spec, struct columns *c,
                      const struct type_config *config, struct columns_version **ensures);

/** The table that a route's plans of an encoding are loaded into. @return NULL without memory. */
struct table *route_table(struct sink *s, const struct type_route *route,
                          enum plan_encoding encoding);

/** What a table should look like: of its type's schema, or of one JSON column when wrapped. */
void table_spec_fill(struct bq_table_spec *spec, const char *name, const struct type_set *set,
                     const struct type_config *config, bool wrapped);

/** Which thread owns a table: all of its loads, and all types that go to it. */
bool table_owned(const struct sink *s, const char *name);

/** A confirmed plan becomes debt of its table. */
void table_owe(struct table *t, const struct plan *plan);

/** Starts the loads that are due. */
void tables_run(struct sink *s);

/** Prepares and starts the next attempt of the load under way, which is recorded. */
void load_begin(struct table *t);

/** Its job is known to be over without effect: says so in the log. parks: and somebody must look. */
void attempt_failed(struct table *t, const char *text, bool parks);

/** Its rows are settled, durably: nothing of it is left but staging objects. */
void load_over(struct table *t);

/** Frees what is known of the load under way; the table is idle. Its plans were moved before. */
void load_forget(struct table *t);

/* ---- part.c: thread: the sink's ---- */

/** The load under way was refused: cuts it, makes its only row a dead letter, or sets it aside. */
void load_refused(struct table *t, const char *text);

/** The row at fault of the load under way, or -1 when that is not known. */
void load_located(struct table *t, int64_t row);

/** The load under way cannot go on: it waits in t->parts for park_retry. */
void load_set_aside(struct table *t, const char *text, bool suspect);

/** Its only row is a dead letter, stored as t->reject says. */
void load_rejected(struct table *t);

/** The table has taken rows: suspects are tried again, and are dead letters if they are refused now. */
void parts_prove(struct table *t);

/** Starts the next part that may go on. @return false when none may. */
bool part_next(struct table *t);

/** Whether the table is to have no new job now, because it has refused REFUSALS_MAX in a row. */
bool table_distrusted(const struct table *t);

/** Takes over a load from before a restart; load is copied. Thread: init. @return 0 or -ENOMEM. */
int part_take_over(struct table *t, const struct load *load, struct debt_list *plans, bool parked,
                   const char *text) WARN_UNUSED;

/** Whether a plan older than id is in a part that goes on by itself. */
bool parts_have_before(const struct table *t, uint64_t id);

/** Whether another part has lines of a plan. */
bool parts_have_plan(const struct table *t, uint64_t plan_id);

/** Of what waits: events, objects, how many are parked, and why the first of these is ("" if none). */
struct parts_report {
    uint64_t events, objects;
    uint32_t n, parked;
    bool unpaid;      /* jobs of the day are used up */
    int64_t since_us; /* monotonic: of the oldest object */
    const char *text;
};

/** Sums up what waits. */
struct parts_report parts_report(const struct table *t);

/** Deletes the object of the piece under way, if it is one, and goes on with then. */
void piece_delete(struct table *t, void (*then)(struct table *t));

/** Frees all parts. */
void parts_free(struct table *t);

/* ---- rewrite.c: thread: the sink's ---- */

/** The object of the load under way is to be read again: see enum rewrite_mode. Goes on with
 * load_begin(), load_located(), load_rejected() or load_set_aside(). */
void rewrite_start(struct table *t, enum rewrite_mode mode);

/** Takes the next table that waits to be read. */
void rewrite_run(struct sink *s);

/** Frees it, after the clients. */
void rewrite_free(struct sink *s);

/* ---- letter.c ---- */

/** What a refused row's line is. */
enum letter_form {
    LETTER_PLAIN,   /* the event with its added fields */
    LETTER_MOVED,   /* the same, and fields may have been moved to penstock_overflow */
    LETTER_WRAPPED, /* {"event": ...} with added fields */
};

/** A row that BigQuery refused. */
struct refused_row {
    struct span type;
    struct span line;
    uint64_t row; /* in its object or plan */
    enum letter_form form;
    const char *why;
};

/** Appends it as a dead letter of one or more lines. Thread: any. Alloc: heap. @return 0 or -ENOMEM. */
int letter_append(struct text *out, const struct refused_row *r) WARN_UNUSED;

/** Frees every table. */
void tables_destroy(struct sink *s);

/* ---- insert.c: thread: the sink's ---- */

/** A delivery is not read again any more, whatever comes next. */
void insert_read_over(struct delivery *d);

/** The table that a plan's rows go to by insertAll. @return NULL without memory. */
struct insert_table *insert_table_of(struct sink *s, const struct plan_key *key);

/** Whether an open group for insertAll is to be planned now: by rows and bytes, and when it is old.
 * A table that falls behind gets fewer, larger plans. */
bool insert_group_due(struct sink *s, const struct group *g);

/** Whether columns that the table has, or just got, may not be known to insertAll yet. */
bool insert_columns_lag(const struct insert_table *t);

/** Whether nothing is sent to it before a timer, a person, or the end of a pause. */
bool insert_is_stopped(const struct insert_table *t);

/** How many of its plans may be under way at once. */
uint32_t insert_limit(const struct insert_table *t);

/** What the rows of a plan are made of. */
enum insert_form insert_form_of(const struct plan_key *key);

/** Whether a new plan of the table has to wait. */
bool insert_is_behind(const struct insert_table *t);

/** Takes bytes of plans out of memory that wait for tables that cannot send, until so many chunks are
 * free: somebody needs them. */
void inserts_free_memory(struct sink *s, uint64_t chunks);

/** A plan waits for its table. The list gives it up. */
void insert_wait(struct delivery *d, struct delivery_list *from, bool first);

/** Sends while there are free slots, one request for each table in turn. */
void inserts_run(struct sink *s);

/** Whether a plan older than id waits in a table that is not parked. */
bool inserts_have_before(const struct sink *s, uint64_t id);

/** Monotonic time of the oldest plan that waits, or now_us. */
int64_t inserts_oldest(const struct sink *s, int64_t now_us);

/** Adds the tables that took rows, or wait for something, to a report. */
void inserts_report(const struct sink *s, struct sink_report *out);

/** Tables whose plans a pause of bigquery holds. */
uint64_t inserts_held(const struct sink *s);

/** Sets the gauges. */
void inserts_gauges(struct sink *s);

/** A request of d, which is in the list inserting, has ended: moves table and plan on. */
void insert_table_answered(struct delivery *d, const struct bq_insert_result *r);

/** Frees every table. */
void inserts_destroy(struct sink *s);

/* ---- insert_job.c: thread: the sink's ---- */

/** Sends the next rows of a plan, whose bytes are there. @return 0; -EALREADY when no row is left to
 * send; -errno. */
int insert_job_send(struct delivery *d) WARN_UNUSED;

/** How a plan goes on after a request. */
enum insert_next {
    INSERT_GOES_ON, /* with what is left, at once */
    INSERT_WAITS,   /* with its table */
    INSERT_STUCK,   /* somebody must look */
};

/** Takes what a request said of its rows; why it waits or is stuck goes to text (REASON_TEXT_BYTES). */
enum insert_next insert_job_settle(struct delivery *d, const struct bq_insert_result *r,
                                   char *text) WARN_UNUSED;

/** The name of the n-th object of a plan's refused rows; out holds OBJECT_NAME_BYTES_MAX + 8. */
void plan_dead_name(const struct plan *p, uint32_t objects, char *out);

/** Every row is settled: stores the refused ones as dead letters, then records the outcome. */
void insert_job_finish(struct delivery *d, struct delivery_list *from);

/** Rows that are not settled. */
uint64_t insert_job_left(const struct delivery *d);

/** Whether all that is left to do is to store its refused rows as dead letters. */
bool insert_job_has_letters(const struct delivery *d);

/** The bytes of its plan have left memory. */
void insert_job_forget_content(struct delivery *d);

/** Cancels and frees it. NULL is allowed. */
void insert_job_free(struct insert_job *job);

/* ---- debt.c: thread: the sink's ---- */

/** What is left of a plan. @return NULL without memory. */
struct debt *debt_new(const struct sink *s, const struct plan *plan) WARN_UNUSED;

/** Appends to a list. */
void debt_push(struct debt_list *l, struct debt *d);

/** Takes the first, or NULL. */
struct debt *debt_pop(struct debt_list *l);

/** Another one of the same plan. */
struct debt *debt_copy(const struct debt *d);

/** Takes the debts that a load had taken before a restart, in order. */
void debt_move_load(struct debt_list *from, struct debt_list *to, uint64_t load_id);

/** Whether a plan older than id is in the list. */
bool debt_has_before(const struct debt_list *l, uint64_t id);

/** Frees all. */
void debt_list_free(struct debt_list *l);

/** Deletes the staging object of a loaded plan, says so in the log, and frees d. */
void staging_delete(struct sink *s, struct debt *d);

/** Whether a staging object of a plan older than id is still there. */
bool staging_has_before(const struct sink *s, uint64_t id);

/** Frees what staging_delete() still holds. */
void staging_free(struct sink *s);

/* ---- resume.c: thread: init ---- */

/** Sets the feeds up where their journals are planned to. @return 0; -errno with error. */
int feeds_resume(struct sink *s, char *error, size_t error_len) WARN_UNUSED;

/** Whether a block may be read back from disk now, by sinks.backlog_share. */
bool backlog_may_read(struct sink *s);

/** Accounts for the time that a block from disk took. */
void backlog_took(struct sink *s, int64_t us);

/** How long to sleep when there is nothing to do but, perhaps, to go on with the backlog. */
int64_t backlog_sleep_us(const struct sink *s, int64_t most_us);

/** Takes over this thread's share of the delivery state, after feeds_resume(). @return 0; -errno with
 * error. */
int sink_resume(struct sink *s, char *error, size_t error_len) WARN_UNUSED;

#endif
