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

#define TURN_POLL_US INT64_C(200000)

struct dlq {
    struct dlq_db *db; /* NULL: it cannot be used */
    char why[DLQ_ERROR_BYTES];
    pthread_mutex_t turn; /* of the commands that change something */
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

void dlq_close(struct dlq *q)
{
    if (q == NULL)
        return;
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
    status = c->options.verb == DLQ_DROP ? dlq_drop(c) : dlq_fail(c, "replay is not there yet");
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

int dlq_run(struct daemon *d, struct span words, bool json, uint32_t uid, struct textbuf *body)
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
    c->body = body;
    status = dlq_options_parse(words, clock_wall_us(), &c->options, body);
    c->options.json = c->options.json || json;
    if (status == PROTOCOL_OK)
        status = run_command(c);
    free(c);
    return status;
}
