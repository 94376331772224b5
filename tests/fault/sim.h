/*
 * The simulation of a whole Penstock: the real journals, writers, keeper, delivery log and sink
 * threads, single-threaded, over a simulated disk (sim_disk.h), clock, ledger and cloud. What happens
 * is a function of the seed.
 *
 *     sim_main.c     schedules: seeds, shrinking of failed ones, the command line
 *     sim_machine.c  a machine that lives, crashes and recovers; the steps of a schedule
 *     sim_settings.c its settings, and what somebody changes of them
 *     sim_model.c    what was promised, and the checks
 *     sim_cloud.c    Cloud Storage and BigQuery: objects by name, load jobs by id
 *     sim_stream.c   BigQuery's insertAll
 *     sim_engine.c   loop, clock, ledger, log and the like, in place of the product's
 */
#ifndef PENSTOCK_TESTS_SIM_H
#define PENSTOCK_TESTS_SIM_H

#include "dataplane/block/block.h"
#include "tests/fault/sim_disk.h"

#define SERIALS_MAX  60000u
#define JOURNALS     3u
#define EVENT_BYTES  900u
#define ERROR_BYTES  512u
#define REMOVED_STEP UINT32_MAX
#define ENGINE_WRITE (UINT64_C(1) << 63) /* of user_data: a loop's write, not a worker's */

/* What an event is, and so where it must be in the end. */
enum event_kind {
    KIND_ORDER, /* a type with a schema: output/, and loaded from there */
    KIND_CLICK, /* without one: output/, and loaded from staging/ */
    KIND_METER, /* as KIND_ORDER, but by insertAll */
    KIND_PULSE, /* as KIND_CLICK, but by insertAll */
    KIND_OTHER, /* as KIND_CLICK, of a type that no configuration names */
    KIND_DEAD,  /* dead_letter/ only */
    KINDS
};

/* What a line is, beside its kind. */
enum line_form {
    LINE_PLAIN,  /* without an id */
    LINE_ID,     /* with one, which others may have as well */
    LINE_REPLAY, /* the same, and it is taken in again on purpose */
};

/* How duplicates of a kind are removed; window_us 0: not at all. */
struct dedupe_rule {
    int64_t window_us, slack_us;
    uint32_t ids_max;
};

/* How a schedule is set up. */
struct sim_options {
    uint64_t seed;
    uint32_t n_steps;
    const uint32_t *skip; /* n_steps of 0 or 1: steps that do not happen; NULL: all happen */
    bool trace;           /* print every event */
    /* One planned failure in a schedule without others; op DISK_OPS: none. */
    enum disk_op fail_op;
    uint64_t fail_n, fail_times;
    bool calm; /* no random faults, crashes and changed settings stay */
};

/* What it came to. */
struct sim_totals {
    uint64_t schedules, events, acknowledged, faults, power_cuts, kills, stops, refused_starts;
    uint64_t objects, jobs, loads_failed, recycled, pieces, letters, duplicates, inserts,
        rows_again, spooled;
    uint64_t ops[DISK_OPS];
};

/** The world under test; one at a time. */
struct sim {
    struct sim_options options;
    uint64_t random; /* of the step under way */
    int64_t now_us;  /* monotonic */
    int64_t wall_us; /* ahead of it by this */
    bool calm;       /* the end: everything works */
    uint32_t life;   /* counts processes */
    struct disk *disk;
    struct sim_totals totals;
    char error[ERROR_BYTES]; /* what went wrong first, or "" */
};
extern struct sim sim;

/** A number below n, from the step's random numbers. */
uint32_t sim_below(uint32_t n);

/** True once in n times, while things may go wrong. */
bool sim_once_in(uint32_t n);

/** Adds a line to the event log. */
void sim_trace(const char *format, ...) PRINTF(1, 2);

/** Something is wrong: the schedule has failed. The first one counts. */
void sim_wrong(const char *format, ...) PRINTF(1, 2);

/** An assertion of the code under test has failed; does not return. */
_Noreturn void sim_abort(void);

/** Runs one schedule. @return true when all was well; else sim.error says what was not. */
bool sim_run(const struct sim_options *options);

/* ---- sim_settings.c ---- */

struct live_sink;
struct live_reader;

/** A new schedule: nothing is paused. */
void settings_reset(void);

/** A process starts: what its sink threads are made with. Until settings_end(). */
const struct live_sink *settings_begin(bool gzip);

/** What a new sink thread follows. */
struct live_reader *settings_reader(void);

/** Somebody pauses something, ends a pause, or changes numbers. */
void settings_change(void);

/** Somebody ends all pauses. */
void settings_resume(void);

/** The process is gone, if there was one; its pauses stay. */
void settings_end(void);

/* ---- sim_model.c ---- */

/** Forgets everything. */
void model_reset(void);

/** The next event of a journal's open block: its text without the final brace, and its kind. @return
 * serial. */
uint32_t model_event(uint32_t journal, const struct block *block, enum event_kind kind,
                     enum line_form form, char *text, size_t *len);

/** Duplicates of a kind are removed by this rule from now on. */
void model_dedupe(enum event_kind kind, const struct dedupe_rule *rule);

/** Somebody sets the wall clock. */
void model_clock_jump(int64_t by_us);

/** Ids left the window early, or a part of the log could not be read: duplicates may pass from now on,
 * which is counted and shown. damaged: and decisions may be forgotten. */
void model_ids_lost(bool damaged);

/** A block was opened in a journal: what is appended belongs to it. */
void model_open(uint32_t journal, const struct block *block);

/** A block was acknowledged. */
void model_acknowledged(uint32_t journal, const struct block *block);

/** A journal was recovered with so many events: checks, and what was found beyond counts as
 * promised. */
void model_recovered(uint32_t journal, uint64_t events_total);

/** The first n events of a journal may be gone from it: checks that the cloud has them, or the spool. */
void model_freed(uint32_t journal, uint64_t events);

/** Whether an event's line lies in a file of the spool: of a plan for insertAll, or of an archive. */
bool machine_spooled(uint32_t serial, bool insert);

/** A line that reached the cloud. @return its serial, or 0 when it is none of ours. */
uint32_t model_line(struct span line);

/** What the event is. */
enum event_kind model_kind(uint32_t serial);

/** An event is in an object that stays. */
void model_archived(uint32_t serial);

/** An event is a row. */
void model_loaded(uint32_t serial);

/** Whether an event goes by insertAll. */
bool kind_streams(enum event_kind kind);

/** insertAll has taken an event into a table, not knowing its insertId any more if it ever did. */
void model_streamed(uint32_t serial, const char *table);

/** A well-formed answer is about to say so. */
void model_row_told(uint32_t serial);

/** An event is sent by insertAll. */
void model_row_sent(uint32_t serial);

/** Whether BigQuery takes an event as a row, as long as nothing else is wrong. */
bool model_is_good(uint32_t serial);

/** An event is a dead letter because BigQuery refused it; line is that letter, which a process of this
 * life sent. @return its serial, or 0 when it is none of ours. */
uint32_t model_letter(struct span line, uint32_t life);

/** Whether an event is a row or such a dead letter. */
bool model_settled(uint32_t serial);

/** Events known to be stored that are not in the cloud yet. */
uint64_t model_missing(void);

/** The first of them, or 0. */
uint32_t model_first_missing(void);

/** What is known of an event, for messages. Overwritten by the next call. */
const char *model_about(uint32_t serial);

/** The end: everything that was promised is there once, and nothing else. */
void model_check_end(void);

/* ---- sim_cloud.c ---- */

/** An empty cloud. */
void cloud_reset(void);

/** Something happens to some request or job. */
void cloud_step(void);

/** Objects with this prefix are refused from now on; NULL: none are. */
void cloud_deny(const char *prefix);

/** Somebody takes rights away, or gives them back. */
void cloud_deny_some(void);

/** Requests under way. */
uint32_t cloud_pending(void);

/** The process is gone; its requests arrive, arrive late, or never. */
void cloud_crash(void);

/** Letters of refused rows in the objects of a plan. */
uint32_t cloud_letters(uint64_t plan_id);

struct request;

/** A request of insertAll is on its way. */
void cloud_insert(struct request *r);

/** It is given up, if it is on its way. */
void cloud_insert_cancel(const struct request *r);

/* ---- sim_stream.c ---- */

/** An empty streaming end. */
void stream_reset(void);

/** A request arrives and is answered, or fails; it is over. */
void stream_arrive(struct request *r);

/** One whose sender is gone. */
void stream_arrive_late(const char *body, size_t len, const char *table);

/* ---- sim_engine.c ---- */

/** An empty ledger, and a fresh source of identities. */
void engine_reset(uint64_t seed);

/** Whether a loop's write is under way. */
bool engine_writing(void);

/** A loop's write has ended on the disk. */
void engine_write_ended(uint64_t user_data, int result);

/** How many duplicates the ledger has been told of. @return false when it has been made anew. */
bool engine_removed(uint64_t *out);

/** Somebody has deleted the ledger. */
void engine_lose_ledger(void);

/** The process is gone. */
void engine_crash(void);

#endif
