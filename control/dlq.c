/* COLD. The dead-letter commands' life and turn; see dlq.h. */
#include "control/dlq.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "control/dlq_internal.h"
#include "control/protocol.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"

#define TURN_POLL_US   INT64_C(200000)
#define SETTLE_POLL_US 100000

struct dlq {
    struct dlq_db *db; /* NULL: it cannot be used */
    char why[DLQ_ERROR_BYTES];
    pthread_mutex_t turn; /* of the commands that change something */
    struct daemon *daemon;
    pthread_t settler;
    bool settling; /* the thread was started */
};

int dlq_open(const char *data_dir, struct dlq **out)
{
    struct dlq *q = calloc(1, sizeof(*q));
    char path[PLACE_PATH_BYTES];

    ASSERT(out != NULL);
    if (q == NULL)
        return -ENOMEM;
    pthread_mutex_init(&q->turn, NULL);
    snprintf(path, sizeof(path), "%s/dlq.db", data_dir);
    if (dlq_db_open(path, &q->db, q->why, sizeof(q->why)) != 0)
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
    struct dlq_counts open;
    char error[DLQ_ERROR_BYTES], said[DLQ_ERROR_BYTES] = "";

    ASSERT(q->db != NULL);
    pthread_setname_np(pthread_self(), "dlq-settle");
    for (dlq_db_counts(q->db, &open); open.replaying > 0; dlq_db_counts(q->db, &open)) {
        const struct timespec pause = {.tv_nsec = SETTLE_POLL_US * 1000};
        int rc;

        if (!turn_take(q, q->daemon))
            break;
        rc = dlq_settle(q->daemon, q->db, error, sizeof(error));
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
    struct dlq_counts open;

    ASSERT(!q->settling);
    q->daemon = d;
    if (q->db == NULL)
        return;
    dlq_db_counts(q->db, &open);
    if (open.replaying > 0)
        q->settling = pthread_create(&q->settler, NULL, settler_main, q) == 0;
}

void dlq_close(struct dlq *q)
{
    if (q == NULL)
        return;
    if (q->settling)
        pthread_join(q->settler, NULL);
    dlq_db_close(q->db);
    pthread_mutex_destroy(&q->turn);
    free(q);
}

struct dlq_db *dlq_db_of(struct dlq *q, const char **why)
{
    ASSERT(why != NULL);
    *why = q->why;
    return q->db;
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
    const char *why;

    ASSERT(c->options.verb <= DLQ_HELP);
    if (c->options.verb == DLQ_HELP) {
        dlq_help(c->options.json, c->body);
        return PROTOCOL_OK;
    }
    c->db = dlq_db_of(c->q, &why);
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
