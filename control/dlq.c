/* COLD. The dead-letter commands' life and turn; see dlq.h. */
#include "control/dlq.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "control/dlq_internal.h"
#include "control/protocol.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"

#define TURN_POLL_US   INT64_C(200000)
#define OPEN_AGAIN_US  INT64_C(1000000) /* between two tries to open the database */
#define SETTLE_POLL_US 100000

struct dlq {
    _Atomic(struct dlq_db *) db; /* NULL: it cannot be used yet; stays once it is set */
    char path[PLACE_PATH_BYTES];
    pthread_mutex_t opening; /* guards the next two, and the change of db */
    int64_t opened_us;       /* the last try, CLOCK_MONOTONIC */
    char why[DLQ_ERROR_BYTES];
    pthread_mutex_t turn; /* of the commands that change something */
    struct daemon *daemon;
    pthread_t settler;
    bool settling; /* the thread was started */
};

/* Under `opening`, or alone. @return the database or NULL: then `why` says why. */
static struct dlq_db *open_db(struct dlq *q)
{
    struct dlq_db *db = NULL;

    ASSERT(atomic_load(&q->db) == NULL);
    q->opened_us = clock_monotonic_us();
    if (dlq_db_open(q->path, &db, q->why, sizeof(q->why)) == 0)
        atomic_store(&q->db, db);
    return db;
}

int dlq_open(const char *data_dir, struct dlq **out)
{
    struct dlq *q = calloc(1, sizeof(*q));

    ASSERT(out != NULL);
    if (q == NULL)
        return -ENOMEM;
    pthread_mutex_init(&q->turn, NULL);
    pthread_mutex_init(&q->opening, NULL);
    snprintf(q->path, sizeof(q->path), "%s/dlq.db", data_dir);
    if (open_db(q) == NULL)
        log_error(
            "dlq",
            "%s; `penstock dlq` does not work until it is repaired. It knows which dead letters "
            "were replayed: without it, a replay can double them",
            q->why);
    *out = q;
    return 0;
}

static bool turn_take(struct dlq *q, struct daemon *d);

/* Asks until it is known, or the daemon ends. */
static void *settler_main(void *ctx)
{
    struct dlq *q = ctx;
    struct dlq_db *db = atomic_load(&q->db);
    struct dlq_counts open;
    char error[DLQ_ERROR_BYTES], said[DLQ_ERROR_BYTES] = "";

    ASSERT(db != NULL);
    pthread_setname_np(pthread_self(), "dlq-settle");
    for (dlq_db_counts(db, &open); open.replaying > 0; dlq_db_counts(db, &open)) {
        const struct timespec pause = {.tv_nsec = SETTLE_POLL_US * 1000};
        int rc;

        if (!turn_take(q, q->daemon))
            break;
        rc = dlq_settle(q->daemon, db, error, sizeof(error));
        pthread_mutex_unlock(&q->turn);
        if (rc == 0)
            break;
        if (atomic_load(&q->daemon->state) != DAEMON_STARTING && strcmp(error, said) != 0) {
            log_warn("dlq", "what became of a replay that was cut off is not known yet: %s", error);
            snprintf(said, sizeof(said), "%s", error);
        }
        nanosleep(&pause, NULL);
    }
    return NULL;
}

void dlq_start(struct dlq *q, struct daemon *d)
{
    struct dlq_counts open = {0};

    ASSERT(!q->settling);
    q->daemon = d;
    dlq_counts(q, &open);
    if (open.replaying > 0)
        q->settling = pthread_create(&q->settler, NULL, settler_main, q) == 0;
}

void dlq_close(struct dlq *q)
{
    if (q == NULL)
        return;
    if (q->settling)
        pthread_join(q->settler, NULL);
    dlq_db_close(atomic_load(&q->db));
    pthread_mutex_destroy(&q->opening);
    pthread_mutex_destroy(&q->turn);
    free(q);
}

void dlq_counts(struct dlq *q, struct dlq_counts *out)
{
    struct dlq_db *db = atomic_load(&q->db);

    ASSERT(out != NULL);
    if (db != NULL)
        dlq_db_counts(db, out);
}

/* The disk was full or failed at the start: the reason may have passed. */
static void open_again(struct dlq *q)
{
    ASSERT(q->daemon != NULL);
    if (open_db(q) == NULL)
        return;
    log_info("dlq", "%s can be used now", q->path);
    dlq_start(q, q->daemon);
}

struct dlq_db *dlq_db_of(struct dlq *q, char *why, size_t why_len)
{
    struct dlq_db *db = atomic_load(&q->db);

    ASSERT(why != NULL && why_len > 0);
    if (db != NULL)
        return db;
    pthread_mutex_lock(&q->opening);
    if (atomic_load(&q->db) == NULL && clock_monotonic_us() - q->opened_us >= OPEN_AGAIN_US)
        open_again(q);
    snprintf(why, why_len, "%s", q->why);
    db = atomic_load(&q->db);
    pthread_mutex_unlock(&q->opening);
    return db;
}

/* Waits for the turn. @return false when the daemon stops meanwhile. */
static bool turn_take(struct dlq *q, struct daemon *d)
{
    while (atomic_load(&d->state) != DAEMON_STOPPING) {
        int64_t until = clock_wall_us() + TURN_POLL_US;
        struct timespec t = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
        int rc = pthread_mutex_timedlock(&q->turn, &t);

        ASSERT(rc == 0 || rc == ETIMEDOUT);
        if (rc == 0)
            return true;
    }
    return false;
}

static int run_changing(struct dlq_command *c)
{
    int status;

    ASSERT(c->options.verb == DLQ_REPLAY || c->options.verb == DLQ_DROP);
    if (!turn_take(c->q, c->d))
        return dlq_fail(c, "the daemon is stopping");
    status = c->options.verb == DLQ_DROP ? dlq_drop(c) : dlq_replay(c);
    pthread_mutex_unlock(&c->q->turn);
    return status;
}

static int run_command(struct dlq_command *c)
{
    char why[DLQ_ERROR_BYTES];

    ASSERT(c->options.verb <= DLQ_HELP);
    if (c->options.verb == DLQ_HELP) {
        dlq_help(c->options.json, c->body);
        return PROTOCOL_OK;
    }
    if (c->d->config->sinks_discard)
        return dlq_fail(c, "sinks.discard: dead letters are thrown away, too");
    c->db = dlq_db_of(c->q, why, sizeof(why));
    if (c->db == NULL)
        return dlq_fail(c, "%s", why);
    if (c->options.verb == DLQ_LIST)
        return dlq_list(c);
    return c->options.verb == DLQ_SHOW ? dlq_show(c) : run_changing(c);
}

int dlq_run(struct daemon *d, struct span words, bool json, uint32_t uid, int client_fd,
            struct textbuf *body)
{
    struct dlq_command *c = calloc(1, sizeof(*c));
    int status;

    ASSERT(d->dlq != NULL);
    if (c == NULL) {
        textbuf_add(body, "out of memory\n");
        return PROTOCOL_ERROR;
    }
    c->d = d;
    c->q = d->dlq;
    c->uid = uid;
    c->client_fd = client_fd;
    c->body = body;
    status = dlq_options_parse(words, clock_wall_us(), &c->options, body);
    c->options.json = c->options.json || json;
    if (status == PROTOCOL_OK)
        status = run_command(c);
    free(c);
    return status;
}
