/*
 * The daemon: everything that runs, its order of start and stop, and what the CLI and admin threads
 * see of it.
 *
 *     start: data_dir, lock → EAL → journals → delivery log, spool → sink threads, lanes → workers →
 * keeper → admin, CLI stop:  workers drained → groups flushed → idle or out of time → workers →
 * sink threads → delivery log
 *
 * Fields are written by init before any other thread exists, and are read by all; `state` and the
 * counters of the modules are atomic.
 */
#ifndef PENSTOCK_CONTROL_DAEMON_H
#define PENSTOCK_CONTROL_DAEMON_H

#include <pthread.h>
#include <stdatomic.h>

#include "control/config.h"
#include "control/config_fill.h"
#include "control/place.h"
#include "control/tuning.h"
#include "dataplane/worker.h"
#include "sinks/delivery/spool.h"
#include "sinks/owner/owner.h"
#include "sinks/sink.h"

enum daemon_state {
    DAEMON_STARTING,
    DAEMON_READY,
    DAEMON_DRAINING, /* by `penstock drain`: 503 to clients, the rest runs */
    DAEMON_STOPPING,
};

#define RATE_SAMPLES 11 /* one a second: rates over the last ten */

/** What rates are made of. */
struct rate_sample {
    int64_t at_us; /* monotonic; 0: not taken */
    uint64_t received, durable, bytes, confirmed, loaded;
};

/** One sink thread with what it needs. */
struct daemon_sink {
    struct sink *sink;
    struct sink_config config;
    struct bq_label labels[BQ_LABELS_MAX];
    pthread_mutex_t calling; /* one sink_call() at a time */
};

struct admin;
struct door;
struct cli;
struct inject;
struct dlq;

struct daemon {
    const struct config *config; /* as loaded; values of knobs that change live are in tuning */
    struct tuning *tuning;
    struct door *door; /* certificate */
    struct place_dir place;
    bool adopt;
    struct owner_file *owner_file; /* NULL: it could not be made */
    struct owner *owner;           /* NULL: by configuration, or without a file */
    lsn_t start_floor[JOURNALS_MAX];
    int64_t started_us; /* wall clock */
    uint32_t n_journals;
    struct journal *journal[JOURNALS_MAX];
    uint32_t journal_number[JOURNALS_MAX]; /* of its directory */
    uint32_t n_workers;
    struct worker_config worker_config[CONFIG_WORKERS_MAX];
    int worker_core[CONFIG_WORKERS_MAX];
    struct nics_config nics_config;
    struct nics *nics; /* NULL: no DPDK ports */
    struct worker *worker[CONFIG_WORKERS_MAX];
    int worker_journal[CONFIG_WORKERS_MAX]; /* index of its journal */
    struct gcs_ramp ramp;                   /* of the bucket, for all sink threads */
    uint32_t n_sinks;
    struct daemon_sink sink[SINK_THREADS_MAX];
    struct lane *lane[CONFIG_WORKERS_MAX][SINK_THREADS_MAX];
    struct dlog *dlog;
    struct spool *spool;
    struct dlq *dlq; /* dead letters' fates */
    struct admin *admin;
    struct cli *cli;
    struct inject *inject; /* sessions of injections */
    pthread_t keeper;
    _Atomic bool keeper_running;
    bool memory_fits; /* all of the sum may be taken at start */
    pthread_t memory; /* takes what workers do not */
    bool memory_running;
    _Atomic bool memory_stop;
    bool dlog_running;
    uint32_t workers_running;
    uint32_t sinks_running;
    _Atomic int state; /* enum daemon_state */

    pthread_mutex_t sampling; /* guards what follows */
    struct rate_sample sample[RATE_SAMPLES];
    uint32_t next_sample;
};

/**
 * Starts everything. Messages go to the log.
 * Thread: init (main).  Owner: caller, until daemon_stop(); config is borrowed.
 * @param adopt what was copied, restored or moved is accepted as the only one of its kind.
 * @return 0; -errno when something did not start: what had started is stopped again.
 */
int daemon_start(const struct config *config, bool adopt, struct daemon **out) WARN_UNUSED;

/**
 * Runs until SIGTERM or SIGINT; logs what changed. Thread: main.
 * @return false when it ends because another copy of the data directory is in use: then nothing may
 * be sent any more, daemon_quiesce() included.
 */
bool daemon_run(struct daemon *d) WARN_UNUSED;

/** Drains and waits for delivery up to shutdown.grace; a second signal ends the wait. Thread: main.
 */
void daemon_quiesce(struct daemon *d);

/**
 * Stops and frees everything. Thread: main, after daemon_run().
 * @return false when a command of the CLI is still at work: everything is stopped and durable, but
 * nothing is freed, and the process must end by _exit().
 */
bool daemon_stop(struct daemon *d) WARN_UNUSED;

/** Refuses new events from now on and waits until every admitted one is durable. @return 0;
 * -ETIMEDOUT. Thread: control. */
int daemon_drain(struct daemon *d, int64_t timeout_us) WARN_UNUSED;

/**
 * Plans everything that is durable now and waits until it is delivered.
 * Thread: control; several may wait at once.
 * @return 0; -ETIMEDOUT; -ECANCELED while stopping.
 */
int daemon_flush(struct daemon *d, int64_t timeout_us) WARN_UNUSED;

/**
 * Wakes every thread and waits until all use what was published last.
 * Thread: control.
 * @return threads that do not yet when the time is over.
 */
uint32_t daemon_settle(struct daemon *d, int64_t timeout_us);

/** sink_call() with the caller's turn kept. @return as sink_call(); -EBUSY when the turn does not
 * come in time. */
int daemon_sink_call(struct daemon *d, uint32_t index, enum sink_command command,
                     struct sink_report *report, int64_t timeout_us) WARN_UNUSED;

/** Creates what tells whether a copy of the data directory is in use. Thread: init, with journals and
 * delivery log open. */
int ownership_create(struct daemon *d) WARN_UNUSED;

/** Looks whether the data directory is where it was, on this machine. @return 0; -errno, logged.
 * Thread: init. */
int ownership_check(struct daemon *d) WARN_UNUSED;

/** Waits a moment for the bucket's word, so that a copy takes no events. @return 0; -EXDEV when this
 * is one. Thread: init, with sink threads running. */
int ownership_wait(struct daemon *d) WARN_UNUSED;

/** What the bucket says: "off", "asking", "held", "unknown" or "lost"; text (REASON_TEXT_BYTES): why,
 * or "". Thread: any. */
const char *ownership_state(const struct daemon *d, char *text);

/** Says in the bucket that nothing runs here any more. Thread: control, with sink threads running. */
void ownership_release(struct daemon *d);

/** Frees it. Thread: control, when sink threads have ended and before they are destroyed. */
void ownership_destroy(struct daemon *d);

/** Starts the keeper thread, which keeps journals supplied and recycles them. Thread: init. */
int keeper_start(struct daemon *d) WARN_UNUSED;

/** Ends it. One that does not run is fine. Thread: control. */
void keeper_stop(struct daemon *d);

/** Prints the sum of all memory that is taken at start, a line for each term. @return the sum.
 * Thread: init. */
uint64_t memory_plan(const struct daemon *d);

/** Whether there is so much; says so when there is not. Thread: init. */
bool memory_fits(const struct daemon *d, uint64_t sum);

/** Starts the thread that takes the pages that workers and sink threads do not need at once, if they
 * fit. Thread: init, when these have been created. */
int memory_start(struct daemon *d) WARN_UNUSED;

/** Ends it. One that does not run is fine. Thread: control, before these are destroyed. */
void memory_stop(struct daemon *d);

#endif
