/*
 * COLD. Injection sessions, see inject.h. What is known of a session is in one table: found in
 * journals and delivery log at first use, kept up to date from then on.
 *
 * Threads: control threads, under one lock; a session's fields belong to its holder.
 */
#include "control/inject.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/inject_internal.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/crc32c.h"

#define BUCKETS      4096u
#define SESSIONS_MAX 32768u /* in the table; twice what the delivery log keeps */
#define RING_FULL_US 1000

/** What is known of a session. */
struct known {
    struct known *next; /* of the bucket */
    struct block_mark mark;
    bool held;
    uint64_t used; /* when it was opened or closed last */
};

struct inject {
    pthread_mutex_t lock;
    bool scanned;
    uint64_t uses;
    uint32_t n;
    struct known *bucket[BUCKETS];
};

struct inject_session {
    struct daemon *daemon;
    struct known *known;
    struct worker *worker;
    uint64_t last, note; /* durable */
    uint64_t submitted;  /* the newest seq handed in */
    uint32_t in_flight;
};

int inject_start(struct daemon *d)
{
    ASSERT(d->inject == NULL);
    d->inject = calloc(1, sizeof(*d->inject));
    if (d->inject == NULL)
        return -ENOMEM;
    pthread_mutex_init(&d->inject->lock, NULL);
    return 0;
}

void inject_stop(struct inject *i)
{
    if (i == NULL)
        return;
    for (uint32_t b = 0; b < BUCKETS; b++) {
        while (i->bucket[b] != NULL) {
            struct known *k = i->bucket[b];

            ASSERT(!k->held);
            i->bucket[b] = k->next;
            free(k);
        }
    }
    pthread_mutex_destroy(&i->lock);
    free(i);
}

/* ---- the table; all under the lock ---- */

static struct known **place_of(struct inject *i, const uint8_t *session)
{
    struct known **at = &i->bucket[crc32c(0, session, INJECT_SESSION_BYTES) % BUCKETS];

    while (*at != NULL && memcmp((*at)->mark.session, session, INJECT_SESSION_BYTES) != 0)
        at = &(*at)->next;
    return at;
}

/* Makes room for one more: the session whose last use is the oldest goes. The delivery log keeps
 * more recent ones by itself. */
static void forget_oldest(struct inject *i)
{
    struct known **oldest = NULL;

    ASSERT(i->n > 0);
    for (uint32_t b = 0; b < BUCKETS; b++) {
        for (struct known **at = &i->bucket[b]; *at != NULL; at = &(*at)->next) {
            if (!(*at)->held && (oldest == NULL || (*at)->used < (*oldest)->used))
                oldest = at;
        }
    }
    if (oldest != NULL) {
        struct known *k = *oldest;

        *oldest = k->next;
        free(k);
        i->n--;
    }
}

static struct known *know(struct inject *i, const uint8_t *session)
{
    struct known **at = place_of(i, session);

    if (*at != NULL)
        return *at;
    if (i->n >= SESSIONS_MAX) {
        forget_oldest(i);
        at = place_of(i, session);
    }
    *at = calloc(1, sizeof(**at));
    if (*at != NULL) {
        memcpy((*at)->mark.session, session, INJECT_SESSION_BYTES);
        i->n++;
    }
    return *at;
}

static void on_mark(void *ctx, const struct block_mark *mark)
{
    struct known *k = know(ctx, mark->session);

    ASSERT(k != NULL); /* a hundred bytes */
    k->used = ++((struct inject *)ctx)->uses;
    if (mark->seq >= k->mark.seq)
        k->mark = *mark;
}

/*
 * What is known from before the start. Journals first: a block that is recycled meanwhile has its
 * mark in the delivery log by then. Later marks come from sessions that were opened here.
 */
static int scan_once(struct daemon *d, char *error, size_t error_len)
{
    int rc;

    if (d->inject->scanned)
        return 0;
    rc = inject_scan(d, on_mark, d->inject, error, error_len);
    if (rc != 0)
        return -EAGAIN;
    dlog_each_mark(d->dlog, on_mark, d->inject);
    d->inject->scanned = true;
    return 0;
}

/* ---- sessions ---- */

static int open_locked(struct daemon *d, const uint8_t *session, struct known **out, char *error,
                       size_t error_len)
{
    struct known *k;
    int rc = scan_once(d, error, error_len);

    if (rc != 0)
        return rc;
    k = know(d->inject, session);
    snprintf(error, error_len, "out of memory");
    if (k == NULL)
        return -ENOMEM;
    snprintf(error, error_len, "the session is in use: somebody else is sending the same data");
    if (k->held)
        return -EBUSY;
    k->held = true;
    k->used = ++d->inject->uses;
    *out = k;
    return 0;
}

int inject_open(struct daemon *d, const uint8_t session[INJECT_SESSION_BYTES],
                struct inject_session **out, uint64_t *last_seq, char *error, size_t error_len)
{
    static const uint8_t none[INJECT_SESSION_BYTES];
    struct inject_session *s;
    int rc;

    ASSERT(d->inject != NULL);
    snprintf(error, error_len, "the session is all zeros");
    if (memcmp(session, none, sizeof(none)) == 0)
        return -EINVAL;
    snprintf(error, error_len, "the daemon is draining: it takes no more events");
    if (atomic_load(&d->state) != DAEMON_READY)
        return -ESHUTDOWN;
    snprintf(error, error_len, "out of memory");
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&d->inject->lock);
    rc = open_locked(d, session, &s->known, error, error_len);
    pthread_mutex_unlock(&d->inject->lock);
    if (rc != 0) {
        free(s);
        return rc;
    }
    s->daemon = d;
    s->worker = d->worker[crc32c(1, session, INJECT_SESSION_BYTES) % d->n_workers];
    s->last = s->submitted = s->known->mark.seq;
    s->note = s->known->mark.note;
    *last_seq = s->last;
    *out = s;
    return 0;
}

uint64_t inject_note(const struct inject_session *s)
{
    return s->note;
}

uint64_t inject_last(const struct inject_session *s)
{
    return s->last;
}

void inject_close(struct inject_session *s)
{
    struct inject *i = s->daemon->inject;

    ASSERT(s->in_flight == 0 && s->known->held);
    pthread_mutex_lock(&i->lock);
    s->known->held = false;
    s->known->mark.seq = s->last;
    s->known->mark.note = s->note;
    s->known->used = ++i->uses;
    pthread_mutex_unlock(&i->lock);
    free(s);
}

/* ---- batches ---- */

uint32_t inject_fits(const struct daemon *d, const struct inject_doc *doc, uint32_t n_docs)
{
    ASSERT(d->n_workers > 0);
    return worker_inject_fits(d->worker[0], doc, n_docs);
}

static int check_docs(const struct inject_session *s, const struct inject_doc *doc, uint32_t n_docs,
                      char *error, size_t error_len)
{
    uint64_t max = s->daemon->config->http_event_max;

    ASSERT(n_docs > 0);
    for (uint32_t i = 0; i < n_docs; i++) {
        ASSERT(doc[i].type.len <= TYPE_NAME_BYTES_MAX);
        if (doc[i].raw.len <= max)
            continue;
        snprintf(error, error_len,
                 "document %u has %zu bytes, http.event_max is %llu: larger events are not taken",
                 i, doc[i].raw.len, (unsigned long long)max);
        return -E2BIG;
    }
    return 0;
}

static int hand_over(struct inject_session *s, struct injection *i, char *error, size_t error_len)
{
    const struct timespec pause = {.tv_nsec = RING_FULL_US * 1000};

    while (worker_inject(s->worker, i) != 0) {
        if (atomic_load(&s->daemon->state) != DAEMON_READY) {
            snprintf(error, error_len, "the daemon is draining: it takes no more events");
            return -ESHUTDOWN;
        }
        nanosleep(&pause, NULL);
    }
    s->in_flight++;
    ASSERT(s->in_flight <= INJECT_IN_FLIGHT_MAX);
    return 0;
}

static int submit(struct inject_session *s, const struct inject_doc *doc, uint32_t n_docs,
                  bool whole, struct injection **out, char *error, size_t error_len)
{
    struct injection *i = calloc(1, sizeof(*i));
    int rc;

    snprintf(error, error_len, "out of memory");
    if (i == NULL)
        return -ENOMEM;
    memcpy(i->batch.session, s->known->mark.session, sizeof(i->batch.session));
    i->batch.doc = doc;
    i->batch.n_docs = n_docs;
    i->batch.whole = whole;
    i->batch.replay = whole; /* nothing but replays comes whole */
    sem_init(&i->done, 0, 0);
    rc = hand_over(s, i, error, error_len);
    if (rc != 0) {
        sem_destroy(&i->done);
        free(i);
        return rc;
    }
    s->submitted = doc[n_docs - 1].seq;
    *out = i;
    return 0;
}

int inject_submit(struct inject_session *s, const struct inject_doc *doc, uint32_t n_docs,
                  struct injection **out, char *error, size_t error_len)
{
    int rc = check_docs(s, doc, n_docs, error, error_len);

    if (rc != 0)
        return rc;
    while (n_docs > 0 && doc->seq <= s->submitted) {
        doc++;
        n_docs--;
    }
    snprintf(error, error_len, "stored before");
    return n_docs == 0 ? -EALREADY : submit(s, doc, n_docs, false, out, error, error_len);
}

bool inject_done(struct injection *i, int64_t timeout_us)
{
    int64_t at = clock_wall_us() + timeout_us;
    struct timespec until = {.tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000};
    int rc;

    ASSERT(timeout_us >= 0);
    while ((rc = sem_timedwait(&i->done, &until)) != 0 && errno == EINTR)
        ;
    if (rc == 0)
        sem_post(&i->done); /* for inject_finish() */
    return rc == 0;
}

int inject_finish(struct inject_session *s, struct injection *i, bool cancel,
                  struct ingest_result *result)
{
    int rc;

    ASSERT(s->in_flight > 0);
    if (cancel)
        atomic_store_explicit(&i->cancel, true, memory_order_relaxed);
    while (sem_wait(&i->done) != 0)
        ASSERT(errno == EINTR);
    s->in_flight--;
    rc = i->status;
    *result = i->result;
    if (rc != -EIO && i->batch.taken > 0) {
        ASSERT(i->batch.doc[i->batch.taken - 1].seq > s->last);
        s->last = i->batch.doc[i->batch.taken - 1].seq;
        s->note = i->batch.doc[i->batch.taken - 1].note;
    }
    if (rc != 0)
        s->submitted = s->last;
    sem_destroy(&i->done);
    free(i);
    return rc;
}

int inject_batch(struct inject_session *s, uint64_t seq, const struct inject_doc *doc,
                 uint32_t n_docs, struct ingest_result *result, char *error, size_t error_len)
{
    struct inject_doc *copy;
    struct injection *i;
    int rc = check_docs(s, doc, n_docs, error, error_len);

    ASSERT(s->in_flight == 0);
    if (rc != 0)
        return rc;
    snprintf(error, error_len, "stored before");
    if (seq <= s->last)
        return -EALREADY;
    snprintf(error, error_len, "%u documents are too many for one batch", n_docs);
    if (inject_fits(s->daemon, doc, n_docs) < n_docs)
        return -E2BIG;
    snprintf(error, error_len, "out of memory");
    copy = calloc(n_docs, sizeof(*copy));
    if (copy == NULL)
        return -ENOMEM;
    for (uint32_t k = 0; k < n_docs; k++) {
        copy[k] = doc[k];
        copy[k].seq = seq;
        copy[k].note = 0;
    }
    rc = submit(s, copy, n_docs, true, &i, error, error_len);
    if (rc == 0) {
        rc = inject_finish(s, i, false, result);
        snprintf(error, error_len, "the daemon is stopping");
    }
    free(copy);
    return rc;
}

/* ---- all of them ---- */

int inject_each(struct daemon *d, inject_visitor visit, void *ctx, char *error, size_t error_len)
{
    struct inject *i = d->inject;
    int rc;

    ASSERT(visit != NULL);
    pthread_mutex_lock(&i->lock);
    rc = scan_once(d, error, error_len);
    for (uint32_t b = 0; b < BUCKETS && rc == 0; b++) {
        for (const struct known *k = i->bucket[b]; k != NULL; k = k->next) {
            if (k->mark.seq > 0)
                visit(ctx, &k->mark);
        }
    }
    pthread_mutex_unlock(&i->lock);
    return rc;
}
