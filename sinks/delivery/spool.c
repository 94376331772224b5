/*
 * COLD. See spool.h.
 *
 *     write: temporary name ─ reserve ─ write ─ flush ─ rename ─ flush the folder
 *
 * Whatever fails in between, the file is made anew from its first byte: a flush that has failed is
 * never believed later.
 */
#include "sinks/delivery/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dataplane/base/canary.h"
#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"
#include "dataplane/base/ring.h"
#include "dataplane/base/stats.h"
#include "sinks/delivery/bytes.h"
#include "sinks/delivery/dlog_internal.h"
#include "sinks/delivery/state_internal.h"

#define MAGIC         "PSTKSPL1"
#define HEAD_BYTES    48u /* in front of the PLAN record */
#define HEAD_CRC_FROM 12u /* what the checksum at 8 covers, to the record's end */
#define BUFFER_BYTES  (256u << 10)
#define LOG_DIGITS    8 /* of the log's id, in names */
#define NAME_BYTES    (LOG_DIGITS + 1 + 16)
#define SUFFIX        ".plan"
#define SUFFIX_TEMP   ".plan.tmp"
#define PATH_BYTES    4352
#define IDLE_WAIT_MS  200

static_assert(BUFFER_BYTES >= HEAD_BYTES + RECORD_HEADER_BYTES + RECORD_PLAN_BYTES_MAX + 1024,
              "the head of a file fits the buffer");

/* One that was there at the start. */
struct spool_found {
    uint64_t id;
    bool temporary; /* cut off while it was written */
    bool finished;  /* its plan is */
};

struct spool_port {
    struct spool *spool;
    struct rte_ring *jobs; /* port → thread */
    struct rte_ring *done; /* thread → port */
    int event_fd;
    uint32_t in_flight; /* the port's thread: submitted, not reaped */
};

struct spool {
    struct storage storage;
    char dir[PATH_BYTES - NAME_BYTES - sizeof(SUFFIX_TEMP) - 1];
    char log[LOG_DIGITS + 1];
    struct journal_uuid log_id;
    struct spool_found *found;
    size_t n_found;
    uint32_t foreign; /* files of other delivery logs: left alone */
    uint32_t n_ports, ports_max;
    struct spool_port **port;
    int wake_fd;
    _Atomic bool stop;
    _Atomic uint64_t room; /* bytes that may be written still */
    pthread_t thread;
    bool running;
    /* the thread's */
    uint32_t next_port;
    uint8_t *buf;             /* BUFFER_BYTES */
    struct record_view *view; /* scratch */
    bool failing;             /* since the last success: logged */
    struct spool_stats stats;
};

static void path_of(const struct spool *s, uint64_t id, const char *suffix, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s_%016" PRIx64 "%s", s->dir, s->log, id, suffix);

    ASSERT(n > 0 && n < PATH_BYTES);
}

/* ---- writing ---- */

/* A file under way: what does not fill the buffer yet. */
struct spool_file {
    struct spool *s;
    int fd;
    uint64_t offset; /* of the buffer's first byte */
    size_t fill;
};

static int buffer_write(struct spool_file *f)
{
    int rc = storage_write_all(&f->s->storage, f->fd, f->s->buf, f->fill, f->offset);

    ASSERT(f->fill <= BUFFER_BYTES);
    f->offset += f->fill;
    f->fill = 0;
    return rc;
}

static int file_append(struct spool_file *f, const uint8_t *bytes, size_t len)
{
    int rc = 0;

    while (len > 0 && rc == 0) {
        size_t n = BUFFER_BYTES - f->fill < len ? BUFFER_BYTES - f->fill : len;

        ASSERT(f->fill < BUFFER_BYTES);

        memcpy(f->s->buf + f->fill, bytes, n);
        f->fill += n;
        bytes += n;
        len -= n;
        if (f->fill == BUFFER_BYTES)
            rc = buffer_write(f);
    }
    return rc;
}

/* Head and plan, at the start of the buffer. @return their bytes. */
static size_t head_make(struct spool *s, const struct plan *plan)
{
    struct record r = {.type = RECORD_PLAN, .plan_id = plan->id, .plan = plan};
    struct byte_writer w = {.p = s->buf, .left = HEAD_BYTES};
    size_t len = record_encode(&r, plan->planned_us, s->buf + HEAD_BYTES);
    uint32_t crc;

    ASSERT(HEAD_BYTES + len <= BUFFER_BYTES);
    put_bytes(&w, MAGIC, 8);
    put_u32(&w, 0);
    put_u32(&w, (uint32_t)len);
    put_bytes(&w, s->log_id.byte, sizeof(s->log_id.byte));
    put_u64(&w, plan->id);
    put_u64(&w, plan->bytes);
    crc = htole32(crc32c(0, s->buf + HEAD_CRC_FROM, HEAD_BYTES - HEAD_CRC_FROM + len));
    memcpy(s->buf + 8, &crc, sizeof(crc));
    return HEAD_BYTES + len;
}

static uint32_t lines_crc(const struct spool_job *j, uint64_t *bytes)
{
    uint32_t crc = 0;

    *bytes = 0;
    for (uint32_t i = 0; i < j->n_iov; i++) {
        crc = crc32c(crc, j->iov[i].iov_base, j->iov[i].iov_len);
        *bytes += j->iov[i].iov_len;
    }
    return crc;
}

static int file_fill(struct spool *s, int fd, const struct spool_job *j)
{
    struct spool_file f = {.s = s, .fd = fd, .fill = head_make(s, j->plan)};
    int rc = s->storage.ops->allocate(s->storage.ctx, fd, f.fill + j->plan->bytes);
    const uint64_t whole = f.fill + j->plan->bytes;

    for (uint32_t i = 0; rc == 0 && i < j->n_iov; i++)
        rc = file_append(&f, j->iov[i].iov_base, j->iov[i].iov_len);
    if (rc == 0 && f.fill > 0)
        rc = buffer_write(&f);
    ASSERT(rc != 0 || (f.fill == 0 && f.offset == whole)); /* each line is there */
    if (rc == 0 && !CANARY(CANARY_SPOOL_SYNC))
        rc = s->storage.ops->sync(s->storage.ctx, fd);
    return rc;
}

static int job_write(struct spool *s, struct spool_job *j)
{
    const struct storage_ops *ops = s->storage.ops;
    char temp[PATH_BYTES], path[PATH_BYTES];
    uint64_t bytes, room = atomic_load_explicit(&s->room, memory_order_relaxed);
    int fd, rc;

    ASSERT(j->plan != NULL && j->plan->id == j->id);
    if (lines_crc(j, &bytes) != j->plan->crc32c || bytes != j->plan->bytes) {
        snprintf(j->text, sizeof(j->text), "the planned bytes changed in memory");
        return -EUCLEAN;
    }
    if (bytes > room) {
        snprintf(j->text, sizeof(j->text), "the disk has no room that the journals do not need");
        return -ENOSPC;
    }
    path_of(s, j->id, SUFFIX_TEMP, temp);
    path_of(s, j->id, SUFFIX, path);
    (void)ops->unlink(s->storage.ctx, temp); /* of a try that failed: never written to again */
    fd = ops->open(s->storage.ctx, temp, O_WRONLY | O_CREAT | O_EXCL, 0640);
    if (fd < 0)
        return fd;
    rc = file_fill(s, fd, j);
    ops->close(s->storage.ctx, fd);
    if (rc == 0)
        rc = ops->rename(s->storage.ctx, temp, path);
    if (rc == 0 && !CANARY(CANARY_SPOOL_SYNC)) {
        rc = ops->sync_dir(s->storage.ctx, s->dir);
        if (rc != 0) /* it never counted */
            (void)ops->unlink(s->storage.ctx, path);
    }
    if (rc != 0)
        (void)ops->unlink(s->storage.ctx, temp);
    else
        stat_add(&s->stats.written_bytes, bytes);
    if (rc == 0 && room != UINT64_MAX) /* what control has set meanwhile counts more */
        (void)atomic_compare_exchange_strong(&s->room, &room, room - bytes);
    return rc;
}

/* ---- reading ---- */

static int damaged(struct spool_job *j, const char *what)
{
    ASSERT(what != NULL);
    snprintf(j->text, sizeof(j->text), "%s", what);
    return -EUCLEAN;
}

static int read_all(const struct spool *s, int fd, void *buf, size_t len, uint64_t offset)
{
    char *p = buf;

    while (len > 0) {
        ssize_t n = s->storage.ops->pread(s->storage.ctx, fd, p, len, offset);

        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EUCLEAN; /* shorter than it was */
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* The head and the plan behind it. @return where the lines begin, or -errno. */
static int64_t head_read(struct spool *s, int fd, struct spool_job *j)
{
    struct byte_reader r = {.p = s->buf, .left = HEAD_BYTES};
    int rc = read_all(s, fd, s->buf, HEAD_BYTES, 0);
    const uint8_t *magic = get_bytes(&r, 8);
    uint32_t crc = get_u32(&r), len = get_u32(&r);
    const uint8_t *log = get_bytes(&r, sizeof(s->log_id.byte));
    uint64_t id = get_u64(&r), bytes = get_u64(&r);

    if (rc != 0)
        return rc;
    if (memcmp(magic, MAGIC, 8) != 0 || len < RECORD_HEADER_BYTES ||
        len > BUFFER_BYTES - HEAD_BYTES)
        return damaged(j, "the file's head is damaged");
    rc = read_all(s, fd, s->buf + HEAD_BYTES, len, HEAD_BYTES);
    if (rc != 0)
        return rc;
    if (crc32c(0, s->buf + HEAD_CRC_FROM, HEAD_BYTES - HEAD_CRC_FROM + len) != crc ||
        record_decode(s->buf + HEAD_BYTES, len, s->view) != 0 || s->view->type != RECORD_PLAN)
        return damaged(j, "the file's head is damaged");
    if (memcmp(log, s->log_id.byte, sizeof(s->log_id.byte)) != 0 || id != j->id ||
        s->view->plan.id != id || s->view->plan.bytes != bytes)
        return damaged(j, "the file is another plan's");
    return HEAD_BYTES + (int64_t)len;
}

static int lines_read(const struct spool *s, int fd, struct spool_job *j, uint64_t offset)
{
    uint64_t bytes = 0;
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < j->n_iov; i++) {
        rc = read_all(s, fd, j->iov[i].iov_base, j->iov[i].iov_len, offset + bytes);
        bytes += j->iov[i].iov_len;
    }
    if (rc == 0 && (bytes != s->view->plan.bytes || lines_crc(j, &bytes) != s->view->plan.crc32c))
        return damaged(j, "its lines are not the planned ones");
    return rc;
}

static int job_read(struct spool *s, struct spool_job *j)
{
    char path[PATH_BYTES];
    int64_t at;
    int fd, rc;

    ASSERT(j->found != NULL);
    path_of(s, j->id, SUFFIX, path);
    fd = s->storage.ops->open(s->storage.ctx, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    at = head_read(s, fd, j);
    rc = at < 0 ? (int)at : lines_read(s, fd, j, (uint64_t)at);
    s->storage.ops->close(s->storage.ctx, fd);
    if (rc != 0)
        return rc;
    *j->found = s->view->plan;
    for (uint32_t i = 0; i < j->found->n_ranges; i++) {
        j->found->range[i].skips = NULL; /* it is not read from the journals any more */
        j->found->range[i].skips_len = 0;
    }
    return 0;
}

static int job_remove(const struct spool *s, const struct spool_job *j)
{
    char path[PATH_BYTES];
    int rc;

    ASSERT(j->id != 0);
    path_of(s, j->id, SUFFIX, path);
    rc = s->storage.ops->unlink(s->storage.ctx,
                                path); /* one that comes back goes at the next start */
    return rc == -ENOENT ? 0 : rc;
}

/* ---- the thread ---- */

static void job_count(struct spool *s, struct spool_job *j)
{
    _Atomic uint64_t *const done[] = {[SPOOL_WRITE] = &s->stats.written,
                                      [SPOOL_READ] = &s->stats.read,
                                      [SPOOL_REMOVE] = &s->stats.removed};

    if (j->result == 0) {
        stat_add(done[j->action], 1);
        s->failing = s->failing && j->action != SPOOL_WRITE;
        return;
    }
    stat_add(&s->stats.errors, 1);
    if (j->text[0] == '\0')
        snprintf(j->text, sizeof(j->text), "%s",
                 j->result == -ENOENT    ? "the file is missing"
                 : j->result == -EUCLEAN ? "the file is shorter than it was"
                                         : strerror(-j->result));
    if (j->action == SPOOL_READ && (j->result == -ENOENT || j->result == -EUCLEAN))
        stat_add(&s->stats.damaged, 1);
    if (j->action != SPOOL_WRITE || s->failing)
        return; /* the port's owner knows more, or it has been said */
    s->failing = true;
    log_error("spool",
              "%s/%s_%016" PRIx64 SUFFIX " cannot be written: %s; its lines stay in the journal",
              s->dir, s->log, j->id, j->text);
}

static void job_run(struct spool *s, struct spool_job *j)
{
    ASSERT(j->_port != NULL);
    j->text[0] = '\0';
    if (j->action == SPOOL_WRITE)
        j->result = job_write(s, j);
    else
        j->result = j->action == SPOOL_READ ? job_read(s, j) : job_remove(s, j);
    job_count(s, j);
}

bool spool_step(struct spool *s)
{
    for (uint32_t i = 0; i < s->n_ports; i++) {
        struct spool_port *p = s->port[s->next_port];
        uint64_t one = 1;
        void *j;

        s->next_port = (s->next_port + 1) % s->n_ports;
        if (rte_ring_sc_dequeue(p->jobs, &j) != 0)
            continue;
        job_run(s, j);
        if (rte_ring_sp_enqueue(p->done, j) != 0)
            ASSERT(!"in_flight bounds it");
        if (p->event_fd >= 0 && write(p->event_fd, &one, sizeof(one)) < 0)
            ASSERT(errno == EAGAIN);
        return true;
    }
    return false;
}

static void *thread_main(void *arg)
{
    struct spool *s = arg;

    while (!atomic_load_explicit(&s->stop, memory_order_acquire)) {
        struct pollfd p = {.fd = s->wake_fd, .events = POLLIN};
        uint64_t n;

        if (spool_step(s))
            continue;
        if (poll(&p, 1, IDLE_WAIT_MS) > 0 && read(s->wake_fd, &n, sizeof(n)) < 0)
            ASSERT(errno == EAGAIN);
    }
    return NULL;
}

static void wake(const struct spool *s)
{
    uint64_t one = 1;

    if (s->running && write(s->wake_fd, &one, sizeof(one)) < 0)
        ASSERT(errno == EAGAIN);
}

int spool_start(struct spool *s)
{
    int rc;

    ASSERT(!s->running);
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->wake_fd < 0)
        return -errno;
    s->running = true;
    rc = -pthread_create(&s->thread, NULL, thread_main, s);
    if (rc == 0)
        pthread_setname_np(s->thread, "spool");
    s->running = rc == 0;
    return rc;
}

void spool_stop(struct spool *s)
{
    if (s == NULL || !s->running)
        return;
    atomic_store_explicit(&s->stop, true, memory_order_release);
    wake(s);
    pthread_join(s->thread, NULL);
    s->running = false;
}

/* ---- ports ---- */

struct spool_port *spool_port(struct spool *s, int event_fd)
{
    struct spool_port *p = must_malloc(sizeof(*p));

    ASSERT(!s->running && s->n_ports < s->ports_max);
    *p = (struct spool_port){.spool = s, .event_fd = event_fd};
    p->jobs = ring_create("spool", SPOOL_JOBS_MAX, RING_F_SP_ENQ | RING_F_SC_DEQ);
    p->done = ring_create("spool", SPOOL_JOBS_MAX, RING_F_SP_ENQ | RING_F_SC_DEQ);
    ASSERT(p->jobs != NULL && p->done != NULL);
    s->port[s->n_ports++] = p;
    return p;
}

bool spool_ready(const struct spool_port *p)
{
    ASSERT(p->in_flight <= SPOOL_JOBS_MAX);
    return p->in_flight < SPOOL_JOBS_MAX;
}

void spool_submit(struct spool_port *p, struct spool_job *j)
{
    int rc;

    ASSERT(p->in_flight < SPOOL_JOBS_MAX && j->id != 0 && j->done != NULL);
    j->_port = p;
    rc = rte_ring_sp_enqueue(p->jobs, j);
    ASSERT(rc == 0); /* in_flight bounds it */
    p->in_flight++;
    wake(p->spool);
}

void spool_reap(struct spool_port *p)
{
    void *item;

    while (rte_ring_sc_dequeue(p->done, &item) == 0) {
        struct spool_job *j = item;

        ASSERT(p->in_flight > 0 && j->_port == p);
        p->in_flight--;
        j->done(j);
    }
}

void spool_set_room(struct spool *s, uint64_t bytes)
{
    ASSERT(s != NULL);
    atomic_store_explicit(&s->room, bytes, memory_order_relaxed);
}

/* ---- life ---- */

/* The id in a name of this log's; 0: it is none. */
static uint64_t name_id(const struct spool *s, const char *name)
{
    char *end = NULL;

    ASSERT(s->log[LOG_DIGITS] == '\0');
    if (strlen(name) < NAME_BYTES || strncmp(name, s->log, LOG_DIGITS) != 0 ||
        name[LOG_DIGITS] != '_' || strspn(name + LOG_DIGITS + 1, "0123456789abcdef") != 16)
        return 0;
    return strtoull(name + LOG_DIGITS + 1, &end, 16);
}

struct looking {
    struct spool *s;
    const struct delivery_state *state;
};

static int name_visit(void *arg, const char *name)
{
    struct looking *l = arg;
    struct spool *s = l->s;
    uint64_t id = name_id(s, name);
    const char *suffix = name + NAME_BYTES;
    bool temporary = id != 0 && strcmp(suffix, SUFFIX_TEMP) == 0;
    struct spool_found *larger;

    if (id == 0 || (!temporary && strcmp(suffix, SUFFIX) != 0)) {
        s->foreign++;
        return 0;
    }
    larger = realloc(s->found, (s->n_found + 1) * sizeof(*larger));
    if (larger == NULL)
        return -ENOMEM;
    s->found = larger;
    s->found[s->n_found++] = (struct spool_found){
        .id = id,
        .temporary = temporary,
        .finished = !state_plan_waits(l->state, id),
    };
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const struct spool_found *x = a, *y = b;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return (int)x->temporary - (int)y->temporary;
}

int spool_open(const struct spool_config *config, const struct storage *storage,
               const struct delivery_state *state, struct spool **out, char *error,
               size_t error_len)
{
    struct spool *s = must_malloc(sizeof(*s));
    struct looking look = {.s = s, .state = state};
    int rc;

    ASSERT(config->ports_max > 0 && state != NULL);
    *s = (struct spool){
        .storage = *storage, .ports_max = config->ports_max, .wake_fd = -1, .room = UINT64_MAX};
    snprintf(s->dir, sizeof(s->dir), "%s", config->dir);
    snprintf(s->log, sizeof(s->log), "%.*s", LOG_DIGITS, config->log_id);
    rc = journal_uuid_parse(config->log_id, &s->log_id);
    ASSERT(rc == 0 && strlen(config->dir) < sizeof(s->dir));
    s->port = must_malloc(config->ports_max * sizeof(struct spool_port *));
    s->buf = must_malloc(BUFFER_BYTES);
    s->view = must_malloc(sizeof(*s->view));
    rc = storage->ops->list(storage->ctx, s->dir, name_visit, &look);
    if (rc != 0) {
        snprintf(error, error_len, "%.400s cannot be read: %s", s->dir, strerror(-rc));
        spool_close(s);
        return rc;
    }
    if (s->n_found > 0)
        qsort(s->found, s->n_found, sizeof(*s->found), by_id);
    if (s->foreign > 0)
        log_warn("spool",
                 "%s holds %" PRIu32
                 " files that are not of this delivery log: they are left alone",
                 s->dir, s->foreign);
    *out = s;
    return 0;
}

bool spool_has(const struct spool *s, uint64_t id)
{
    struct spool_found key = {.id = id};

    ASSERT(id != 0);
    return s->n_found > 0 && bsearch(&key, s->found, s->n_found, sizeof(*s->found), by_id) != NULL;
}

void spool_clean(struct spool *s)
{
    ASSERT(!s->running);
    for (size_t i = 0; i < s->n_found; i++) {
        const struct spool_found *f = &s->found[i];
        char path[PATH_BYTES];

        path_of(s, f->id, f->temporary ? SUFFIX_TEMP : SUFFIX, path);
        if (f->temporary || f->finished)
            (void)s->storage.ops->unlink(s->storage.ctx, path); /* else at the next start */
    }
}

void spool_close(struct spool *s)
{
    if (s == NULL)
        return;
    ASSERT(!s->running);
    for (uint32_t i = 0; i < s->n_ports; i++) {
        free(s->port[i]->jobs);
        free(s->port[i]->done);
        free(s->port[i]);
    }
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    free(s->found);
    free(s->port);
    free(s->buf);
    free(s->view);
    free(s);
}

const struct spool_stats *spool_stats(const struct spool *s)
{
    return &s->stats;
}
