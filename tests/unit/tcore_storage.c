/* See tcore_storage.h. Files are real; per file the flushed content of each sector that is not
 * flushed is kept. */
#include "tests/unit/tcore_storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR      512u
#define FILES_MAX   256
#define FDS_MAX     4096
#define NAMES_MAX   256
#define PATH_BYTES  512
#define RECORDS     65536u
#define WAITING_MAX 256
#define NEVER       UINT64_MAX

/* A file, by its inode, whatever its name is now. */
struct file {
    ino_t inode;
    int fd; /* our own, for looking at it and for undoing */
    uint64_t n_sectors;
    char **flushed; /* per sector: its flushed bytes, or NULL when nothing is unflushed */
};

/* A change of a directory that is not durable yet. */
struct name_change {
    enum tcore_op op; /* OPEN (created), RENAME or MKDIR */
    char from[PATH_BYTES], to[PATH_BYTES];
};

/* An asynchronous write that has not ended. */
struct waiting {
    struct storage_write w;
    int gate; /* TCORE_RING: what it waits for */
};

struct tcore_storage {
    struct storage storage;
    enum tcore_mode mode;
    pthread_mutex_t lock;
    struct file file[FILES_MAX];
    unsigned n_files;
    struct file *of_fd[FDS_MAX];
    char name_of_fd[FDS_MAX][64];
    struct name_change name[NAMES_MAX];
    unsigned n_names;
    uint64_t count[TCORE_OPS];
    struct {
        uint64_t from, to; /* counts; NEVER: none */
        int error;
    } fail[TCORE_OPS];
    enum tcore_outcome async_outcome;
    uint64_t corrupt_at;
    size_t corrupt_byte; /* of what is read; 0: its middle */
    bool hold;
    struct waiting waiting[WAITING_MAX];
    unsigned n_waiting;
    int gates[1024]; /* all that were ever made, closed at the end: the kernel may still read them
                      */
    unsigned n_gates;
    uint64_t gate_value; /* of the reads of gates */
    int full_fd;         /* /dev/full */
    struct tcore_record *record;
    unsigned n_records;
};

uint64_t tcore_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint64_t tcore_seed(const char *test, uint64_t fallback)
{
    const char *text = getenv("PENSTOCK_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : fallback;

    printf("%s: PENSTOCK_SEED=%" PRIu64 "\n", test, seed);
    return seed;
}

/* ---- bookkeeping; under the lock ---- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static void note(struct tcore_storage *s, enum tcore_op op, const char *path, uint64_t offset,
                 uint64_t len, int64_t result)
{
    struct tcore_record *r = &s->record[s->n_records++ % RECORDS];

    *r = (struct tcore_record){.op = op, .offset = offset, .len = len, .result = result};
    snprintf(r->path, sizeof(r->path), "%s", path);
}

/* Counts an operation. @return 0, or the -errno that it is to fail with. */
static int counted(struct tcore_storage *s, enum tcore_op op)
{
    uint64_t n = ++s->count[op];

    return n >= s->fail[op].from && n < s->fail[op].to ? -s->fail[op].error : 0;
}

static struct file *file_of(struct tcore_storage *s, int fd)
{
    struct stat st;
    struct file *f;
    char self[64];

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return NULL;
    for (unsigned i = 0; i < s->n_files; i++) {
        if (s->file[i].inode == st.st_ino)
            return &s->file[i];
    }
    ASSERT(s->n_files < FILES_MAX);
    f = &s->file[s->n_files++];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    *f = (struct file){.inode = st.st_ino, .fd = open(self, O_RDWR | O_CLOEXEC)};
    ASSERT(f->fd >= 0);
    return f;
}

static void sectors_reserve(struct file *f, uint64_t n)
{
    if (n <= f->n_sectors)
        return;
    f->flushed = realloc(f->flushed, n * sizeof(char *));
    ASSERT(f->flushed != NULL);
    memset(f->flushed + f->n_sectors, 0, (n - f->n_sectors) * sizeof(char *));
    f->n_sectors = n;
}

/* Keeps the flushed bytes of the sectors that are about to change. */
static void sectors_dirty(struct file *f, uint64_t offset, uint64_t len)
{
    uint64_t end = (offset + len + SECTOR - 1) / SECTOR;

    sectors_reserve(f, end);
    for (uint64_t i = offset / SECTOR; i < end; i++) {
        if (f->flushed[i] != NULL)
            continue;
        f->flushed[i] = calloc(1, SECTOR);
        ASSERT(f->flushed[i] != NULL);
        if (pread(f->fd, f->flushed[i], SECTOR, (off_t)(i * SECTOR)) < 0)
            ASSERT(false);
    }
}

static void sectors_flush(struct file *f, uint64_t offset, uint64_t len)
{
    uint64_t end = (offset + len + SECTOR - 1) / SECTOR;

    for (uint64_t i = offset / SECTOR; i < end && i < f->n_sectors; i++) {
        free(f->flushed[i]);
        f->flushed[i] = NULL;
    }
}

static void name_add(struct tcore_storage *s, enum tcore_op op, const char *from, const char *to)
{
    struct name_change *n = &s->name[s->n_names++];

    ASSERT(s->n_names <= NAMES_MAX);
    n->op = op;
    snprintf(n->from, sizeof(n->from), "%s", from);
    snprintf(n->to, sizeof(n->to), "%s", to);
}

static bool inside(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && path[len] == '/' && strchr(path + len + 1, '/') == NULL;
}

/* ---- the operations ---- */

static struct tcore_storage *enter(void *ctx)
{
    struct tcore_storage *s = ctx;

    pthread_mutex_lock(&s->lock);
    return s;
}

static int64_t leave(struct tcore_storage *s, int64_t result)
{
    pthread_mutex_unlock(&s->lock);
    return result;
}

static int op_open(void *ctx, const char *path, int flags, mode_t mode)
{
    struct tcore_storage *s = enter(ctx);
    int rc = counted(s, TCORE_OPEN);
    bool there = access(path, F_OK) == 0;

    if (rc == 0)
        rc = storage_posix.ops->open(NULL, path, flags, mode);
    if (rc >= 0) {
        ASSERT(rc < FDS_MAX);
        s->of_fd[rc] = file_of(s, rc);
        snprintf(s->name_of_fd[rc], sizeof(s->name_of_fd[rc]), "%.63s", last_part(path));
        if (!there)
            name_add(s, TCORE_OPEN, "", path);
        if ((flags & O_TRUNC) != 0 && s->of_fd[rc] != NULL)
            sectors_flush(s->of_fd[rc], 0, NEVER / 2);
    }
    note(s, TCORE_OPEN, last_part(path), 0, 0, rc);
    return (int)leave(s, rc);
}

static int op_close(void *ctx, int fd)
{
    struct tcore_storage *s = enter(ctx);

    (void)counted(s, TCORE_CLOSE);
    note(s, TCORE_CLOSE, s->name_of_fd[fd], 0, 0, 0);
    s->of_fd[fd] = NULL;
    s->name_of_fd[fd][0] = 0;
    return (int)leave(s, storage_posix.ops->close(NULL, fd));
}

static ssize_t op_pread(void *ctx, int fd, void *buf, size_t len, uint64_t offset)
{
    struct tcore_storage *s = enter(ctx);
    ssize_t rc = counted(s, TCORE_PREAD);

    if (rc == 0)
        rc = storage_posix.ops->pread(NULL, fd, buf, len, offset);
    if (rc > 0 && s->count[TCORE_PREAD] == s->corrupt_at)
        ((char *)buf)[s->corrupt_byte != 0 && s->corrupt_byte < (size_t)rc ? s->corrupt_byte
                                                                           : (size_t)rc / 2] ^= 4;
    note(s, TCORE_PREAD, s->name_of_fd[fd], offset, len, rc);
    return leave(s, rc);
}

static ssize_t op_pwrite(void *ctx, int fd, const void *buf, size_t len, uint64_t offset)
{
    struct tcore_storage *s = enter(ctx);
    ssize_t rc = counted(s, TCORE_PWRITE);

    if (rc == 0) {
        if (s->of_fd[fd] != NULL)
            sectors_dirty(s->of_fd[fd], offset, len);
        rc = storage_posix.ops->pwrite(NULL, fd, buf, len, offset);
    }
    note(s, TCORE_PWRITE, s->name_of_fd[fd], offset, len, rc);
    return leave(s, rc);
}

/* A flush that does not reach the hardware: these tests cut no real power. */
static int op_sync(void *ctx, int fd)
{
    struct tcore_storage *s = enter(ctx);
    int rc = counted(s, TCORE_SYNC);

    if (rc == 0 && s->of_fd[fd] != NULL)
        sectors_flush(s->of_fd[fd], 0, NEVER / 2);
    note(s, TCORE_SYNC, s->name_of_fd[fd], 0, 0, rc);
    return (int)leave(s, rc);
}

static int op_sync_dir(void *ctx, const char *path)
{
    struct tcore_storage *s = enter(ctx);
    int rc = counted(s, TCORE_SYNC_DIR);
    unsigned kept = 0;

    for (unsigned i = 0; rc == 0 && i < s->n_names; i++) {
        if (!inside(s->name[i].to, path))
            s->name[kept++] = s->name[i];
    }
    s->n_names = rc == 0 ? kept : s->n_names;
    note(s, TCORE_SYNC_DIR, last_part(path), 0, 0, rc);
    return (int)leave(s, rc);
}

static int op_allocate(void *ctx, int fd, uint64_t len)
{
    struct tcore_storage *s = enter(ctx);
    int rc = counted(s, TCORE_ALLOCATE);

    if (rc == 0)
        rc = storage_posix.ops->allocate(NULL, fd, len);
    note(s, TCORE_ALLOCATE, s->name_of_fd[fd], 0, len, rc);
    return (int)leave(s, rc);
}

static int op_rename(void *ctx, const char *from, const char *to)
{
    struct tcore_storage *s = enter(ctx);
    int rc = counted(s, TCORE_RENAME);

    if (rc == 0)
        rc = storage_posix.ops->rename(NULL, from, to);
    if (rc == 0)
        name_add(s, TCORE_RENAME, from, to);
    note(s, TCORE_RENAME, last_part(to), 0, 0, rc);
    return (int)leave(s, rc);
}

static int op_unlink(void *ctx, const char *path)
{
    struct tcore_storage *s = enter(ctx);
    int rc = counted(s, TCORE_UNLINK);

    if (rc == 0)
        rc = storage_posix.ops->unlink(NULL, path);
    note(s, TCORE_UNLINK, last_part(path), 0, 0, rc);
    return (int)leave(s, rc);
}

static int op_mkdir(void *ctx, const char *path, mode_t mode)
{
    struct tcore_storage *s = enter(ctx);
    int rc = counted(s, TCORE_MKDIR);

    if (rc == 0)
        rc = storage_posix.ops->mkdir(NULL, path, mode);
    if (rc == 0)
        name_add(s, TCORE_MKDIR, "", path);
    note(s, TCORE_MKDIR, last_part(path), 0, 0, rc);
    return (int)leave(s, rc);
}

static int op_list(void *ctx, const char *path, storage_visitor visit, void *arg)
{
    (void)ctx;
    return storage_posix.ops->list(NULL, path, visit, arg);
}

/* ---- asynchronous writes ---- */

static enum tcore_outcome async_outcome(struct tcore_storage *s)
{
    return counted(s, TCORE_WRITE_ASYNC) == 0 ? TCORE_DONE : s->async_outcome;
}

static struct io_uring_sqe *write_prepare(struct io_uring *ring, const struct storage_write *w,
                                          int fd, uint32_t len)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    ASSERT(sqe != NULL);
    if (w->buf_index >= 0)
        io_uring_prep_write_fixed(sqe, fd, w->buf, len, w->offset, w->buf_index);
    else
        io_uring_prep_write(sqe, fd, w->buf, len, w->offset);
    sqe->rw_flags = RWF_DSYNC;
    sqe->user_data = w->user_data;
    return sqe;
}

/* A read of the gate in front: what is linked behind it starts when the gate is written. */
static void gate_prepare(struct tcore_storage *s, struct io_uring *ring,
                         const struct storage_write *w)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    int gate = eventfd(0, EFD_CLOEXEC);

    ASSERT(sqe != NULL && gate >= 0 && s->n_gates < ARRAY_LEN(s->gates) &&
           s->n_waiting < WAITING_MAX);
    s->gates[s->n_gates++] = gate;
    s->waiting[s->n_waiting++] = (struct waiting){.w = *w, .gate = gate};
    io_uring_prep_read(sqe, gate, &s->gate_value, sizeof(s->gate_value), 0);
    sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = 0;
}

static void ring_prepare(struct tcore_storage *s, struct io_uring *ring,
                         const struct storage_write *w)
{
    enum tcore_outcome outcome = async_outcome(s);
    struct io_uring_sqe *sqe;

    if (s->hold)
        gate_prepare(s, ring, w);
    if (outcome == TCORE_REACHED) {
        sqe = write_prepare(ring, w, w->fd, w->len);
        sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    }
    if (outcome == TCORE_DONE || outcome == TCORE_SHORT)
        write_prepare(ring, w, w->fd, outcome == TCORE_SHORT ? w->len / 2 : w->len);
    else
        write_prepare(ring, w, s->full_fd, w->len);
}

static int op_write_async(void *ctx, struct io_uring *ring, const struct storage_write *w)
{
    struct tcore_storage *s = enter(ctx);
    int rc = 0;

    if (s->mode == TCORE_QUEUE) {
        ASSERT(s->n_waiting < WAITING_MAX);
        (void)counted(s, TCORE_WRITE_ASYNC);
        s->waiting[s->n_waiting++] = (struct waiting){.w = *w, .gate = -1};
    } else if (io_uring_sq_space_left(ring) < 3) {
        rc = -EBUSY;
    } else {
        ring_prepare(s, ring, w);
    }
    note(s, TCORE_WRITE_ASYNC, s->name_of_fd[w->fd], w->offset, w->len, rc);
    return (int)leave(s, rc);
}

static struct waiting waiting_take(struct tcore_storage *s, unsigned i)
{
    struct waiting w = s->waiting[i];

    ASSERT(i < s->n_waiting);
    s->n_waiting--;
    memmove(&s->waiting[i], &s->waiting[i + 1], (s->n_waiting - i) * sizeof(s->waiting[0]));
    return w;
}

void tcore_hold(struct tcore_storage *s, bool hold)
{
    enter(s)->hold = hold;
    leave(s, 0);
}

unsigned tcore_held(struct tcore_storage *s)
{
    unsigned n = enter(s)->n_waiting;

    leave(s, 0);
    return n;
}

void tcore_release(struct tcore_storage *s, unsigned i)
{
    uint64_t one = 1;

    enter(s);
    if (write(waiting_take(s, i).gate, &one, sizeof(one)) < 0)
        ASSERT(false);
    leave(s, 0);
}

void tcore_release_all(struct tcore_storage *s)
{
    tcore_hold(s, false);
    while (tcore_held(s) > 0)
        tcore_release(s, 0);
}

unsigned tcore_pending(struct tcore_storage *s)
{
    return tcore_held(s);
}

/* Writes the sectors of a waiting write that the mask (NEVER: all) names by the seed. */
static void waiting_write(struct tcore_storage *s, const struct waiting *w, uint64_t *seed,
                          bool all)
{
    struct file *f = s->of_fd[w->w.fd];
    const char *bytes = w->w.buf;

    ASSERT(f != NULL);
    sectors_dirty(f, w->w.offset, w->w.len);
    for (uint32_t at = 0; at < w->w.len; at += SECTOR) {
        if (all || (tcore_random(seed) & 1) != 0) {
            if (pwrite(f->fd, bytes + at, SECTOR, (off_t)(w->w.offset + at)) != SECTOR)
                ASSERT(false);
        }
    }
}

uint64_t tcore_finish(struct tcore_storage *s, unsigned i, enum tcore_outcome outcome, int error,
                      int *result)
{
    struct waiting w;
    uint64_t seed = (uint64_t)error * 1000003u + i;

    enter(s);
    w = waiting_take(s, i);
    *result = -error;
    if (outcome == TCORE_SHORT) {
        w.w.len /= 2;
        *result = (int)w.w.len;
    }
    if (outcome == TCORE_DONE)
        *result = (int)w.w.len;
    if (outcome != TCORE_FAILED)
        waiting_write(s, &w, &seed, outcome != TCORE_TORN);
    if (outcome == TCORE_DONE)
        sectors_flush(s->of_fd[w.w.fd], w.w.offset, w.w.len);
    leave(s, 0);
    return w.w.user_data;
}

/* ---- the end of a machine ---- */

void tcore_kill(struct tcore_storage *s, uint64_t seed)
{
    enter(s);
    while (s->n_waiting > 0) {
        struct waiting w = waiting_take(s, (unsigned)(tcore_random(&seed) % s->n_waiting));

        if ((tcore_random(&seed) & 1) != 0)
            waiting_write(s, &w, &seed, true);
    }
    leave(s, 0);
}

static void file_cut(struct file *f, uint64_t *seed)
{
    unsigned survival = (unsigned)(tcore_random(seed) % 4); /* 0: none, 3: all, otherwise some */

    for (uint64_t i = 0; i < f->n_sectors; i++) {
        bool survives = survival == 3 || (survival != 0 && (tcore_random(seed) & 1) != 0);

        if (f->flushed[i] == NULL)
            continue;
        if (!survives && pwrite(f->fd, f->flushed[i], SECTOR, (off_t)(i * SECTOR)) != SECTOR)
            ASSERT(false);
        free(f->flushed[i]);
        f->flushed[i] = NULL;
    }
}

static void name_undo(const struct name_change *n)
{
    if (n->op == TCORE_RENAME) {
        (void)!rename(n->to, n->from);
    } else if (n->op == TCORE_OPEN) {
        unlink(n->to);
    } else {
        tcore_clear_dir(n->to);
        rmdir(n->to);
    }
}

void tcore_power_cut(struct tcore_storage *s, uint64_t seed)
{
    unsigned kept;

    enter(s);
    while (s->n_waiting > 0) {
        struct waiting w = waiting_take(s, 0);

        if ((tcore_random(&seed) & 1) != 0 && s->of_fd[w.w.fd] != NULL)
            waiting_write(s, &w, &seed, false);
    }
    for (unsigned i = 0; i < s->n_files; i++)
        file_cut(&s->file[i], &seed);
    kept = (unsigned)(tcore_random(&seed) % (s->n_names + 1));
    while (s->n_names > kept)
        name_undo(&s->name[--s->n_names]);
    s->n_names = 0;
    leave(s, 0);
}

/* ---- control ---- */

void tcore_fail(struct tcore_storage *s, enum tcore_op op, unsigned n, unsigned times, int error)
{
    enter(s);
    s->fail[op].from = s->count[op] + n;
    s->fail[op].to = s->fail[op].from + times;
    s->fail[op].error = error;
    leave(s, 0);
}

void tcore_fail_async(struct tcore_storage *s, unsigned n, unsigned times,
                      enum tcore_outcome outcome)
{
    tcore_fail(s, TCORE_WRITE_ASYNC, n, times, ENOSPC);
    enter(s)->async_outcome = outcome;
    leave(s, 0);
}

void tcore_heal(struct tcore_storage *s)
{
    enter(s);
    for (int op = 0; op < TCORE_OPS; op++)
        s->fail[op].from = s->fail[op].to = NEVER;
    s->corrupt_at = NEVER;
    leave(s, 0);
}

void tcore_corrupt_read(struct tcore_storage *s, unsigned n)
{
    enter(s);
    s->corrupt_at = s->count[TCORE_PREAD] + n;
    s->corrupt_byte = 0;
    leave(s, 0);
}

void tcore_corrupt_read_byte(struct tcore_storage *s, unsigned n, size_t byte)
{
    tcore_corrupt_read(s, n);
    enter(s);
    s->corrupt_byte = byte;
    leave(s, 0);
}

unsigned tcore_count(struct tcore_storage *s, enum tcore_op op)
{
    unsigned n = (unsigned)enter(s)->count[op];

    leave(s, 0);
    return n;
}

unsigned tcore_records(struct tcore_storage *s)
{
    unsigned n = enter(s)->n_records;

    leave(s, 0);
    return n;
}

struct tcore_record tcore_record_at(struct tcore_storage *s, unsigned i)
{
    struct tcore_record r = enter(s)->record[i % RECORDS];

    leave(s, 0);
    return r;
}

static const struct storage_ops ops = {
    .open = op_open,
    .close = op_close,
    .pread = op_pread,
    .pwrite = op_pwrite,
    .sync = op_sync,
    .sync_dir = op_sync_dir,
    .allocate = op_allocate,
    .rename = op_rename,
    .unlink = op_unlink,
    .mkdir = op_mkdir,
    .list = op_list,
    .write_async = op_write_async,
};

struct tcore_storage *tcore_storage_create(enum tcore_mode mode)
{
    struct tcore_storage *s = calloc(1, sizeof(*s));

    ASSERT(s != NULL);
    s->storage = (struct storage){.ops = &ops, .ctx = s};
    s->mode = mode;
    s->record = calloc(RECORDS, sizeof(*s->record));
    s->full_fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ASSERT(s->record != NULL && s->full_fd >= 0);
    pthread_mutex_init(&s->lock, NULL);
    tcore_heal(s);
    return s;
}

void tcore_storage_destroy(struct tcore_storage *s)
{
    for (unsigned i = 0; i < s->n_files; i++) {
        sectors_flush(&s->file[i], 0, NEVER / 2);
        free(s->file[i].flushed);
        close(s->file[i].fd);
    }
    for (unsigned i = 0; i < s->n_gates; i++)
        close(s->gates[i]);
    close(s->full_fd);
    pthread_mutex_destroy(&s->lock);
    free(s->record);
    free(s);
}

const struct storage *tcore_storage_ops(const struct tcore_storage *s)
{
    return &s->storage;
}

/* ---- directories ---- */

char *tcore_mkdir(bool memory)
{
    const char *base = getenv("TMPDIR");
    char path[PATH_BYTES];

    if (memory && access("/dev/shm", W_OK) == 0)
        base = "/dev/shm";
    snprintf(path, sizeof(path), "%s/penstock-test-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(path) == NULL)
        ASSERT(false);
    return strdup(path);
}

void tcore_clear_dir(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        char path[PATH_BYTES + 300];

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (unlink(path) != 0) {
            tcore_clear_dir(path);
            rmdir(path);
        }
    }
    if (d != NULL)
        closedir(d);
}

void tcore_rmdir(char *dir)
{
    tcore_clear_dir(dir);
    rmdir(dir);
    free(dir);
}
