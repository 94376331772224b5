/*
 * COLD. The running part of the daemon: signals, log lines of what changed, flush and drain.
 *
 * SIGTERM, SIGINT and SIGHUP are blocked in every thread and taken here, by the main thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <time.h>

#include "control/door.h"
#include "control/refuse.h"
#include "control/totals.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"

#define SECOND_US      INT64_C(1000000)
#define LOG_EVERY_US   (10 * SECOND_US)
#define SLICE_FIRST_US (SECOND_US / 5)
#define POLL_NS        2000000
#define TURN_WAIT_US   (2 * SECOND_US)
#define SETTLE_POLL_US 100

/* Waits for a signal. @return its number, or 0. */
static int next_signal(int64_t timeout_us)
{
    struct timespec t = {.tv_sec = timeout_us / SECOND_US,
                         .tv_nsec = timeout_us % SECOND_US * 1000};
    sigset_t set;
    int number;

    ASSERT(timeout_us >= 0);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    number = sigtimedwait(&set, NULL, &t);
    return number > 0 ? number : 0;
}

/* Waits for a stop signal; the others mean nothing while stopping. @return true when there was one. */
static bool stop_signal(int64_t timeout_us)
{
    int number = next_signal(timeout_us);

    ASSERT(number >= 0);
    return number == SIGTERM || number == SIGINT;
}

static uint64_t refused(const struct totals *t)
{
    uint64_t n = 0;

    for (int i = REASON_DEAD_END + 1; i < REASON_END; i++)
        n += t->reason[i];
    ASSERT(t != NULL);
    return n;
}

static uint64_t taken(const struct totals *t)
{
    ASSERT(t != NULL);
    return t->events + t->dead_letters + t->sampled_out;
}

/* One line about the last ten seconds, successes beside failures; silent when nothing happened. */
static void log_changes(struct daemon *d, struct totals *last)
{
    struct totals t;

    totals_collect(d, false, &t);
    if (t.requests != last->requests || t.durable != last->durable ||
        t.confirmed != last->confirmed || t.loaded != last->loaded || t.inserted != last->inserted)
        log_info("flow",
                 "received %" PRIu64 " (+%" PRIu64 "), durable %" PRIu64 ", stored %" PRIu64
                 " (+%" PRIu64 "), loaded %" PRIu64 " (+%" PRIu64 "), dead-lettered %" PRIu64
                 ", requests refused %" PRIu64 " (+%" PRIu64 "), journal %.1f MiB",
                 taken(&t), taken(&t) - taken(last), t.durable, t.confirmed,
                 t.confirmed - last->confirmed, t.loaded + t.inserted,
                 t.loaded + t.inserted - last->loaded - last->inserted, t.dead_letters + t.refused,
                 refused(&t), refused(&t) - refused(last), (double)t.journal_used / (1 << 20));
    if (t.discarded > last->discarded)
        log_warn("sinks", "%" PRIu64 " events THROWN AWAY (+%" PRIu64 "): sinks.discard",
                 t.discarded, t.discarded - last->discarded);
    if (t.plans_parked + t.loads_parked + t.inserts_parked >
        last->plans_parked + last->loads_parked + last->inserts_parked)
        log_warn("sinks",
                 "parked: %" PRIu64 " objects, %" PRIu64 " loads, %" PRIu64
                 " tables of insertAll; `penstock sinks` says why",
                 t.plans_parked, t.loads_parked, t.inserts_parked);
    if (t.journals_full > last->journals_full)
        log_warn("journal", "%" PRIu32 " journals are full: clients hear 429 until sinks catch up",
                 t.journals_full);
    if (t.journals_failing > last->journals_failing || t.journal_errors > last->journal_errors)
        log_error("journal",
                  "disk errors: %" PRIu64 " writes failed, %" PRIu32
                  " journals cannot prepare files",
                  t.journal_errors, t.journals_failing);
    ASSERT(t.type == NULL);
    *last = t;
}

/* SIGHUP: the same as `penstock reload`. */
static void reload(struct daemon *d)
{
    struct textbuf unused = {0};

    ASSERT(d->door != NULL);
    (void)door_reload(d->door, false, &unused); /* has logged what there is to say */
    textbuf_fini(&unused);
}

bool daemon_run(struct daemon *d)
{
    int64_t now = clock_monotonic_us(), next_log = now + LOG_EVERY_US, next_sample = now;
    struct totals last = {0};
    int number;

    ASSERT(d != NULL);
    for (;;) {
        now = clock_monotonic_us();
        if (now >= next_sample) {
            totals_sample(d);
            refuse_tick(d);
            next_sample = now + SECOND_US;
        }
        if (now >= next_log) {
            log_changes(d, &last);
            next_log += LOG_EVERY_US;
        }
        if (d->owner != NULL && owner_state(d->owner) == OWNER_LOST) {
            log_error("stop",
                      "stopping: what is here is delivered by nobody until somebody has looked");
            atomic_store(&d->state, DAEMON_STOPPING);
            return false;
        }
        tuning_tick(d->tuning);
        door_tick(d->door);
        number = next_signal(tuning_due_us(d->tuning, next_sample - now));
        if (number == SIGHUP)
            reload(d);
        else if (number != 0)
            break;
    }
    log_info(
        "stop",
        "signal: no more events; waiting for delivery for at most %.1f s (a second signal ends it)",
        (double)tuning_number(d->tuning, "shutdown.grace") / SECOND_US);
    return true;
}

static void sleep_us(int64_t us)
{
    struct timespec t = {.tv_sec = us / SECOND_US, .tv_nsec = us % SECOND_US * 1000};

    ASSERT(us >= 0);
    nanosleep(&t, NULL);
}

uint32_t daemon_settle(struct daemon *d, int64_t timeout_us)
{
    int64_t end = clock_monotonic_us() + timeout_us;
    uint32_t behind;

    ASSERT(timeout_us >= 0);
    for (uint32_t i = 0; i < d->n_workers; i++)
        worker_nudge(d->worker[i]);
    for (uint32_t i = 0; i < d->n_sinks; i++)
        sink_nudge(d->sink[i].sink);
    while ((behind = tuning_behind(d->tuning)) > 0 && clock_monotonic_us() < end)
        sleep_us(SETTLE_POLL_US);
    return behind;
}

int daemon_drain(struct daemon *d, int64_t timeout_us)
{
    int64_t end = clock_monotonic_us() + timeout_us;
    int expected = DAEMON_READY;

    ASSERT(timeout_us >= 0);
    atomic_compare_exchange_strong(&d->state, &expected, DAEMON_DRAINING);
    for (uint32_t i = 0; i < d->n_workers; i++)
        worker_drain(d->worker[i]);
    for (uint32_t i = 0; i < d->n_workers; i++) {
        while (!worker_drained(d->worker[i])) {
            if (clock_monotonic_us() > end)
                return -ETIMEDOUT;
            sleep_us(POLL_NS / 1000);
        }
    }
    return 0;
}

/* Takes a sink thread's turn. @return 0 or -EBUSY. */
static int take_turn(struct daemon_sink *s, int64_t wait_us)
{
    struct timespec until;
    int64_t at;

    ASSERT(wait_us >= 0);
    at = clock_wall_us() + wait_us;
    until = (struct timespec){.tv_sec = at / SECOND_US, .tv_nsec = at % SECOND_US * 1000};
    return pthread_mutex_timedlock(&s->calling, &until) == 0 ? 0 : -EBUSY;
}

int daemon_sink_call(struct daemon *d, uint32_t index, enum sink_command command,
                     struct sink_report *report, int64_t timeout_us)
{
    struct daemon_sink *s = &d->sink[index];
    int rc;

    ASSERT(index < d->n_sinks);
    if (take_turn(s, timeout_us > TURN_WAIT_US ? timeout_us : TURN_WAIT_US) != 0)
        return -EBUSY;
    rc = sink_call(s->sink, command, report, timeout_us);
    pthread_mutex_unlock(&s->calling);
    return rc;
}

/* One slice of waiting on all sink threads. @return 0 when all were idle. */
static int flush_slice(struct daemon *d, int64_t slice_us)
{
    int64_t end = clock_monotonic_us() + slice_us;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < d->n_sinks; i++)
        rc = daemon_sink_call(d, i, SINK_FLUSH, NULL, slice_us);
    for (uint32_t i = 0; rc == 0 && i < d->n_sinks; i++) {
        int64_t left = end - clock_monotonic_us();

        rc = daemon_sink_call(d, i, SINK_IDLE, NULL, left > 0 ? left : 0);
    }
    ASSERT(rc <= 0);
    return rc;
}

/*
 * Waits in slices that double: while events flow, each slice starts a new "now", so slices must
 * become long enough; short ones let others have their turn and a stop be noticed.
 */
int daemon_flush(struct daemon *d, int64_t timeout_us)
{
    int64_t end = clock_monotonic_us() + timeout_us, slice = SLICE_FIRST_US;

    ASSERT(timeout_us >= 0);
    for (;;) {
        int64_t left = end - clock_monotonic_us();

        if (atomic_load(&d->state) == DAEMON_STOPPING)
            return -ECANCELED;
        if (flush_slice(d, left < slice ? (left > 0 ? left : 0) : slice) == 0)
            return 0;
        if (clock_monotonic_us() >= end)
            return -ETIMEDOUT;
        slice *= 2;
        sleep_us(POLL_NS / 1000);
    }
}

/* Says what is not delivered; the next start continues with it. */
static void log_pending(struct daemon *d)
{
    struct totals t;

    dlog_ledger_sync(d->dlog);
    totals_collect(d, true, &t);
    ASSERT(d->n_sinks > 0);
    log_info("stop",
             "durable %" PRIu64 " ever; pending: %" PRIu64 " for Cloud Storage, %" PRIu64
             " for BigQuery; parked: %" PRIu64 " objects, %" PRIu64 " loads%s",
             t.durable_ever, totals_pending_gcs(&t),
             d->config->bigquery_enabled ? totals_pending_bigquery(&t) : 0, t.plans_parked,
             t.loads_parked,
             totals_pending_gcs(&t) + totals_pending_bigquery(&t) > 0
                 ? "; the next start delivers them"
                 : "");
    totals_fini(&t);
}

/* Drains and waits for delivery; ends early on a second signal. */
void daemon_quiesce(struct daemon *d)
{
    int64_t end = clock_monotonic_us() + (int64_t)tuning_number(d->tuning, "shutdown.grace");
    bool hurry = false;

    ASSERT(atomic_load(&d->state) != DAEMON_STARTING);
    atomic_store(&d->state, DAEMON_STOPPING);
    while (daemon_drain(d, SLICE_FIRST_US) != 0 && !hurry) {
        hurry = stop_signal(0);
        if (clock_monotonic_us() >
            end) { /* a journal that cannot be written: nothing of it was acknowledged */
            log_warn("stop", "workers are not drained after shutdown.grace: stopping");
            break;
        }
    }
    while (!hurry && flush_slice(d, SLICE_FIRST_US) != 0 && clock_monotonic_us() < end)
        hurry = stop_signal(0);
    if (hurry)
        log_info("stop", "second signal: stopping now; everything acknowledged is durable");
    log_pending(d);
}
