/*
 * COLD, but for dlog_submit() and dlog_reap(), which run once a plan. The delivery log's life, and
 * its ports.
 *
 * Opening reads both files, brings the ledger up to what they say, and begins the other file with a
 * snapshot: so a torn tail is never written behind.
 */
#include "sinks/delivery/dlog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "dataplane/base/ring.h"
#include "sinks/delivery/dlog_internal.h"

/* ---- opening ---- */

static int set_paths(struct dlog *d, const struct dlog_config *c)
{
    ASSERT(c->dir != NULL && c->node != NULL);
    if (strlen(c->dir) >= sizeof(d->dir))
        return -ENAMETOOLONG;
    snprintf(d->dir, sizeof(d->dir), "%s", c->dir);
    snprintf(d->node, sizeof(d->node), "%s", c->node);
    snprintf(d->ledger_path, sizeof(d->ledger_path), "%s/ledger.db", c->dir);
    for (int i = 0; i < DLOG_FILES; i++)
        snprintf(d->path[i], sizeof(d->path[i]), "%s/dlog-%d", c->dir, i);
    return 0;
}

static int create(const struct dlog_config *c, const struct storage *storage, struct dlog **out)
{
    struct dlog *d = calloc(1, sizeof(*d));

    if (d == NULL)
        return -ENOMEM;
    *out = d; /* dlog_close() frees from here on */
    d->storage = *storage;
    d->file_bytes = align_up(c->file_bytes, STORAGE_ALIGN);
    d->ports_max = c->ports_max;
    d->ring_records = c->ring_records;
    d->adopt = c->adopt;
    d->active = d->newest = -1;
    d->renamed = true; /* whoever renamed a file before may have been killed before its flush */
    d->fd[0] = d->fd[1] = -1;
    d->writer_ended = true;
    list_init(&d->pending);
    list_init(&d->unshown);
    pthread_mutex_init(&d->journals_lock, NULL);
    pthread_mutex_init(&d->marks_lock, NULL);
    pthread_mutex_init(&d->ledger_lock, NULL);
    pthread_cond_init(&d->ledger_moved, NULL);
    d->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (d->wake_fd < 0)
        return -errno;
    d->buf = aligned_alloc(STORAGE_ALIGN, FRAME_BYTES_MAX);
    d->port = calloc(c->ports_max, sizeof(struct dlog_port *));
    return d->buf == NULL || d->port == NULL ? -ENOMEM : set_paths(d, c);
}

/* What recovery's hooks need. */
struct opening {
    struct dlog *d;
    struct recovered *recovered;
    char *error;
    size_t error_len;
};

static int on_snapshot(void *ctx, const struct delivery_state *s)
{
    struct opening *o = ctx;
    int rc;

    ASSERT(o->recovered->winner >= 0);
    o->d->id = o->recovered->log;
    rc = dlog_ledger_bind(o->d, o->error, o->error_len);
    return rc != 0 ? rc : dlog_ledger_catch_up(o->d, s);
}

static void on_record(void *ctx, const uint8_t *bytes, const struct record_view *r)
{
    struct opening *o = ctx;
    struct submission *s = must_malloc(sizeof(*s) + r->len);

    *s = (struct submission){.seq = r->seq, .len = r->len};
    memcpy(s->bytes, bytes, r->len);
    record_set_flags(s->bytes, 0);
    ASSERT(o->d->unshown.tail != NULL && r->seq > 0);
    list_push(&o->d->unshown, s);
}

/* Of the records read, those that the ledger shows already are not for it. */
static void drop_shown(struct dlog *d)
{
    struct submission_list all = d->unshown;
    struct submission *s;

    if (all.head == NULL)
        all.tail = &all.head;
    list_init(&d->unshown);
    while ((s = list_pop(&all)) != NULL) {
        if (s->seq > d->ledger_seq)
            dlog_ledger_queue(d, s);
        else
            free(s);
    }
    ASSERT(all.count == 0);
}

static int new_log(struct dlog *d, char *error, size_t error_len)
{
    ASSERT(d->newest < 0 && d->last_seq == 0);
    if (getrandom(d->id.byte, sizeof(d->id.byte), 0) != (ssize_t)sizeof(d->id.byte))
        return -EIO;
    d->is_new = true;
    return dlog_ledger_bind(d, error, error_len);
}

/* What decides how much of a file counts is read twice: a bit that was read wrongly must not cut off
 * records that were acknowledged. */
static int read_image(struct dlog *d, int slot, uint64_t len_max, struct log_image *out)
{
    int rc = dlog_file_read(d, slot, len_max, out);
    uint64_t last;

    ASSERT(slot >= 0 && slot < DLOG_FILES);
    if (rc == 0 && out->data != NULL)
        rc = dlog_file_compare(d, slot, out, 0);
    if (rc == 0 && out->data != NULL)
        rc = dlog_file_compare(d, slot, out, dlog_frames_end(out, &last));
    return rc;
}

/* Reads one file in place of what was read of it before. */
static int image_take(struct dlog *d, int slot, uint64_t len_max, struct log_image *out,
                      char *error, size_t error_len)
{
    int rc;

    ASSERT(len_max >= FILE_HEADER_BYTES);
    free(out->data);
    rc = read_image(d, slot, len_max, out);
    if (rc != 0)
        snprintf(error, error_len, "%s cannot be read: %s", d->path[slot], strerror(-rc));
    return rc;
}

/*
 * The newer file, and the older one only if the newer is not whole: half of the reading at each start,
 * and memory. Of the older one the header is enough then.
 */
static int read_images(struct dlog *d, struct log_image *image, char *error, size_t error_len)
{
    struct file_header h[DLOG_FILES] = {{.file_seq = 0}, {.file_seq = 0}};
    bool good[DLOG_FILES];
    struct file_scan s;
    int newer, rc = 0;

    for (int i = 0; rc == 0 && i < DLOG_FILES; i++) {
        rc = image_take(d, i, FILE_HEADER_BYTES, &image[i], error, error_len);
        good[i] = rc == 0 && image[i].data != NULL &&
                  file_header_decode(image[i].data, image[i].len, &h[i]) == 0;
    }
    if (rc != 0)
        return rc;
    newer = good[1] && (!good[0] || h[1].file_seq > h[0].file_seq);
    rc = image_take(d, newer, UINT64_MAX, &image[newer], error, error_len);
    if (rc != 0)
        return rc;
    dlog_scan_file(&image[newer], &s);
    if (!s.complete || s.damage != 0 || !good[1 - newer])
        rc = image_take(d, 1 - newer, UINT64_MAX, &image[1 - newer], error, error_len);
    for (int i = 0; rc == 0 && i < DLOG_FILES; i++)
        rc = dlog_file_measure(d, i, image[i].len);
    ASSERT(rc <= 0);
    return rc;
}

static void take_recovered(struct dlog *d, const struct recovered *r)
{
    ASSERT(r->state != NULL && r->winner < DLOG_FILES);
    d->state = r->state;
    d->newest = r->winner;
    d->file_seq = r->file_seq_max;
    d->last_seq = r->last_seq;
    atomic_store_explicit(&d->durable_seq, r->last_seq, memory_order_release);
    atomic_store_explicit(&d->next_id, state_next_id(r->state), memory_order_relaxed);
    if (r->winner >= 0)
        log_info("delivery",
                 "recovered the delivery log from dlog-%d: %llu records behind its snapshot%s",
                 r->winner, (unsigned long long)r->records,
                 r->cut ? "; a torn record at its end was cut" : "");
}

/*
 * The original may have gone on from here: its names must not be given again. 2^32 ids are more than it
 * has used meanwhile; random, because one state may be adopted twice.
 */
static void ids_skip(struct dlog *d)
{
    uint32_t random = 0;

    ASSERT(atomic_load(&d->next_id) > 0);
    (void)!getrandom(&random, sizeof(random), 0);
    atomic_fetch_add(&d->next_id, ((uint64_t)1 + random % (1u << 20)) << 32);
}

/* A ledger ahead of the log means that the log lost its end. */
static int check_ahead(struct dlog *d, char *error, size_t error_len)
{
    ASSERT(d->state != NULL);
    if (d->ledger_seq <= d->last_seq)
        return 0;
    snprintf(error, error_len,
             "the ledger shows records up to %llu, the delivery log ends at %llu: its last records "
             "were damaged or "
             "its files were replaced by older ones",
             (unsigned long long)d->ledger_seq, (unsigned long long)d->last_seq);
    return -EUCLEAN;
}

static int recover(struct dlog *d, char *error, size_t error_len)
{
    struct log_image image[DLOG_FILES] = {{0}, {0}};
    struct recovered r;
    struct opening o = {.d = d, .recovered = &r, .error = error, .error_len = error_len};
    struct recover_hooks hooks = {.snapshot = on_snapshot, .record = on_record, .ctx = &o};
    int rc = read_images(d, image, error, error_len);

    if (rc == 0)
        rc = dlog_recover(image, &hooks, &r, error, error_len);
    if (rc == 0 && r.winner >= 0)
        d->secured = dlog_file_secure(d, r.winner, &image[r.winner]) == 0;
    for (int i = 0; i < DLOG_FILES; i++)
        free(image[i].data);
    if (rc != 0)
        return rc;
    ASSERT(r.state != NULL && r.last_seq >= r.records);
    take_recovered(d, &r);
    if (d->adopt && r.winner >= 0)
        ids_skip(d);
    if (r.winner < 0)
        rc = new_log(d, error, error_len);
    if (rc == 0)
        rc = check_ahead(d, error, error_len);
    drop_shown(d);
    return rc;
}

/* A new log must get both files now. An old one may start on a disk without room and try on, if what was
 * recovered is durable: before anybody acts on it. */
static int begin_files(struct dlog *d, char *error, size_t error_len)
{
    bool fresh = d->newest < 0;
    int rc = 0;

    ASSERT(d->active < 0 && d->pending.count == 0);
    for (int i = 0; i < DLOG_FILES && rc == 0 && fresh; i++)
        rc = d->bytes[i] >= d->file_bytes ? 0 : dlog_file_fresh(d, i, d->file_bytes);
    if (rc == 0)
        rc = dlog_switch(d);
    if (rc == 0)
        return 0;
    if (!fresh && !d->secured) {
        snprintf(error, error_len, "the delivery log in %s cannot be written: %s", d->dir,
                 strerror(-rc));
        return rc;
    }
    if (!fresh) {
        log_error("delivery", "the delivery log cannot be written yet (%s): see %s", strerror(-rc),
                  d->dir);
        d->error_logged = true;
        atomic_fetch_add_explicit(&d->stats.errors, 1, memory_order_relaxed);
        return 0;
    }
    snprintf(error, error_len,
             "the delivery log in %s (two files of %llu MiB) cannot be made: %s%s", d->dir,
             (unsigned long long)(d->file_bytes >> 20), strerror(-rc),
             rc == -ENOSPC ? "; make room, or set delivery_log.file or data_dir" : "");
    return rc;
}

static int check_config(const struct dlog_config *c, char *error, size_t error_len)
{
    if (c->file_bytes >= DLOG_FILE_BYTES_MIN && c->ports_max <= DLOG_PORTS_MAX &&
        c->ring_records > 0)
        return 0;
    snprintf(error, error_len,
             "the delivery log needs files of %llu MiB at least, at most %u ports, and rings",
             DLOG_FILE_BYTES_MIN >> 20, DLOG_PORTS_MAX);
    return -EINVAL;
}

int dlog_open(const struct dlog_config *config, const struct storage *storage, struct dlog **out,
              char *error, size_t error_len)
{
    struct dlog *d = NULL;
    int rc;

    ASSERT(config != NULL && storage != NULL && out != NULL && error_len > 0);
    error[0] = '\0';
    rc = check_config(config, error, error_len);
    if (rc == 0)
        rc = create(config, storage, &d);
    if (rc == 0)
        rc = dlog_ledger_open(d, error, error_len);
    if (rc == 0)
        rc = recover(d, error, error_len);
    if (rc == 0)
        rc = begin_files(d, error, error_len);
    if (rc != 0) {
        if (error[0] == '\0')
            snprintf(error, error_len, "the delivery log in %s cannot be opened: %s", config->dir,
                     strerror(-rc));
        dlog_close(d);
        return rc;
    }
    journal_uuid_hex(&d->id, d->id_hex);
    *out = d;
    return 0;
}

/* ---- life ---- */

const struct delivery_state *dlog_state(const struct dlog *d)
{
    ASSERT(d != NULL && !d->running);
    return d->state;
}

const char *dlog_id(const struct dlog *d)
{
    ASSERT(d->id_hex[0] != '\0');
    return d->id_hex;
}

bool dlog_is_new(const struct dlog *d)
{
    ASSERT(d != NULL);
    return d->is_new;
}

const char *dlog_ledger_path(const struct dlog *d)
{
    return d->ledger_path;
}

const struct dlog_stats *dlog_stats(const struct dlog *d)
{
    return &d->stats;
}

int dlog_start(struct dlog *d)
{
    int rc;

    ASSERT(d != NULL && !d->running);
    d->writer_ended = false;
    atomic_store_explicit(&d->started, true, memory_order_release);
    rc = -pthread_create(&d->thread, NULL, dlog_writer_main, d);
    if (rc == 0)
        pthread_setname_np(d->thread, "dlog");
    else
        d->writer_ended = true;
    d->running = rc == 0;
    return rc;
}

static void end_with(struct dlog *d, enum dlog_order order)
{
    ASSERT(d != NULL);
    if (!d->running)
        return;
    atomic_store_explicit(&d->order, (int)order, memory_order_release);
    dlog_wake(d);
    pthread_join(d->thread, NULL);
    d->running = false;
}

void dlog_stop(struct dlog *d)
{
    end_with(d, ORDER_STOP);
}

void dlog_kill(struct dlog *d)
{
    end_with(d, ORDER_KILL);
}

static void port_free(struct dlog_port *p)
{
    void *s;

    ASSERT(p->in_flight <= p->log->ring_records);
    while (p->submit != NULL && rte_ring_sc_dequeue(p->submit, &s) == 0)
        free(s);
    free(p->submit);
    free(p->done);
    free(p);
}

void dlog_close(struct dlog *d)
{
    if (d == NULL)
        return;
    ASSERT(!d->running);
    for (uint32_t i = 0; i < d->n_ports; i++)
        port_free(d->port[i]);
    for (int i = 0; i < DLOG_FILES; i++) {
        if (d->fd[i] >= 0)
            d->storage.ops->close(d->storage.ctx, d->fd[i]);
    }
    list_fini(&d->pending);
    list_fini(&d->unshown);
    ledger_close(d->ledger);
    state_destroy(d->state);
    if (d->wake_fd >= 0)
        close(d->wake_fd);
    pthread_cond_destroy(&d->ledger_moved);
    pthread_mutex_destroy(&d->ledger_lock);
    pthread_mutex_destroy(&d->journals_lock);
    pthread_mutex_destroy(&d->marks_lock);
    free(d->port);
    free(d->buf);
    free(d);
}

/* ---- ports ---- */

struct dlog_port *dlog_port(struct dlog *d, int event_fd)
{
    struct dlog_port *p;

    ASSERT(d != NULL && !d->running && d->n_ports < d->ports_max);
    p = aligned_alloc(CACHE_LINE_BYTES, align_up(sizeof(*p), CACHE_LINE_BYTES));
    ASSERT(p != NULL);
    memset(p, 0, sizeof(*p));
    p->log = d;
    p->event_fd = event_fd;
    p->submit = ring_create("dlog", d->ring_records, RING_F_SP_ENQ | RING_F_SC_DEQ);
    p->done = ring_create("dlog", d->ring_records, RING_F_SP_ENQ | RING_F_SC_DEQ);
    ASSERT(p->submit != NULL && p->done != NULL);
    d->port[d->n_ports++] = p;
    return p;
}

uint64_t dlog_next_id(struct dlog *d)
{
    uint64_t id = atomic_fetch_add_explicit(&d->next_id, 1, memory_order_relaxed);

    ASSERT(id > 0 && id < UINT64_MAX);
    return id;
}

int dlog_submit(struct dlog_port *p, const struct record *r, void *cookie)
{
    struct submission *s;
    int rc;

    ASSERT(p != NULL && r != NULL);
    if (p->in_flight == p->log->ring_records)
        return -EAGAIN;
    s = malloc(sizeof(*s) + record_encoded_max(r));
    if (s == NULL)
        return -EAGAIN;
    *s = (struct submission){.port = p, .cookie = cookie};
    s->len = (uint32_t)record_encode(r, clock_wall_us(), s->bytes);
    rc = rte_ring_sp_enqueue(p->submit, s);
    ASSERT(rc == 0); /* in_flight bounds it */
    p->in_flight++;
    dlog_wake(p->log);
    return 0;
}

int dlog_reap(struct dlog_port *p, void **cookies, int max)
{
    unsigned int n;

    ASSERT(p != NULL && max >= 0);
    n = rte_ring_sc_dequeue_burst(p->done, cookies, (unsigned int)max, NULL);
    ASSERT(n <= p->in_flight);
    p->in_flight -= n;
    return (int)n;
}

/* ---- journals ---- */

static int journal_look(const struct dlog *d, const struct journal_uuid *u)
{
    uint32_t n = atomic_load_explicit(&d->n_journals, memory_order_acquire);

    ASSERT(n <= JOURNALS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        if (memcmp(&d->journal[i].uuid, u, sizeof(*u)) == 0)
            return (int)i;
    }
    return -1;
}

/* The slot of a journal, taken at its first use. @return -1 when all are taken. */
static int journal_register(struct dlog *d, const struct journal_uuid *u)
{
    int i = journal_look(d, u);
    uint32_t n;

    if (i >= 0)
        return i;
    pthread_mutex_lock(&d->journals_lock);
    i = journal_look(d, u);
    n = atomic_load_explicit(&d->n_journals, memory_order_relaxed);
    if (i < 0 && n < JOURNALS_MAX) {
        d->journal[n].uuid = *u;
        atomic_store_explicit(&d->n_journals, n + 1, memory_order_release);
        i = (int)n;
    }
    ASSERT(i < (int)JOURNALS_MAX);
    pthread_mutex_unlock(&d->journals_lock);
    return i;
}

void dlog_set_floor(struct dlog_port *p, const struct journal_uuid *journal, lsn_t lsn)
{
    int i = journal_register(p->log, journal);

    ASSERT(i >= 0); /* no process reads more than JOURNALS_MAX journals */
    if (lsn > atomic_load_explicit(&p->floor[i], memory_order_relaxed))
        atomic_store_explicit(&p->floor[i], lsn, memory_order_release);
}

void dlog_each_mark(struct dlog *d, dlog_mark_visitor visit, void *ctx)
{
    ASSERT(d->state != NULL);
    pthread_mutex_lock(&d->marks_lock);
    marks_each(&d->state->marks, visit, ctx);
    pthread_mutex_unlock(&d->marks_lock);
}

lsn_t dlog_floor(struct dlog *d, const struct journal_uuid *journal)
{
    int i;

    ASSERT(d != NULL && journal != NULL);
    i = journal_register(d, journal);
    return i < 0 ? 0 : atomic_load_explicit(&d->journal[i].floor, memory_order_acquire);
}

lsn_t dlog_free_lsn(struct dlog *d, const struct journal_uuid *journal)
{
    int i;

    ASSERT(d != NULL && journal != NULL);
    i = journal_register(d, journal);
    if (i < 0)
        return 0;
    if (!atomic_load_explicit(&d->started,
                              memory_order_acquire)) /* init: nobody else publishes yet */
        dlog_publish_free(d);
    return atomic_load_explicit(&d->journal[i].free_lsn, memory_order_acquire);
}
