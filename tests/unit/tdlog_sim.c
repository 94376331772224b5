/* See tdlog_sim.h. */
#include "tests/unit/tdlog_sim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/base/clock.h"

#define INODES_MAX 256
#define FDS_MAX    256
#define NAMES_MAX  16
#define BLOCK      4096

struct inode {
    uint8_t *now;     /* as written */
    uint8_t *durable; /* as after a power cut, at worst */
    uint8_t *dirty;   /* per block */
    size_t len;
    size_t durable_len;
};

struct name {
    char path[256];
    int inode; /* -1: unused */
};

struct tdlog_sim {
    pthread_mutex_t lock;
    struct inode inode[INODES_MAX];
    int n_inodes;
    struct name now[NAMES_MAX];
    struct name durable[NAMES_MAX];
    struct {
        int inode; /* -1: closed */
        bool dsync;
    } fd[FDS_MAX];
    unsigned int count[TDLOG_OPS];
    unsigned int changes;
    enum tdlog_op fail_op;
    unsigned int fail_at; /* absolute count; 0: never */
    unsigned int fail_times;
    unsigned int cut_at; /* absolute changes; 0: never */
    bool off;
    bool full;
    uint64_t random;
};

uint64_t tdlog_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ULL;
    return hash_mix(*state);
}

static bool fails(struct tdlog_sim *s, enum tdlog_op op)
{
    s->count[op]++;
    if (op != TDLOG_PREAD && op != TDLOG_OPEN) {
        s->changes++;
        if (s->cut_at != 0 && s->changes >= s->cut_at)
            s->off = true;
    }
    if (s->off)
        return true;
    return s->fail_at != 0 && op == s->fail_op && s->count[op] >= s->fail_at &&
           s->count[op] < s->fail_at + s->fail_times;
}

static struct name *find_name(struct name *table, const char *path)
{
    for (int i = 0; i < NAMES_MAX; i++) {
        if (table[i].inode >= 0 && strcmp(table[i].path, path) == 0)
            return &table[i];
    }
    return NULL;
}

static int add_name(struct name *table, const char *path, int inode)
{
    for (int i = 0; i < NAMES_MAX; i++) {
        if (table[i].inode < 0) {
            snprintf(table[i].path, sizeof(table[i].path), "%s", path);
            table[i].inode = inode;
            return 0;
        }
    }
    abort();
}

static void set_len(struct inode *n, size_t len)
{
    size_t cap = align_up(len, BLOCK);
    size_t old = align_up(n->len, BLOCK);

    if (cap > old) {
        n->now = realloc(n->now, cap);
        n->durable = realloc(n->durable, cap);
        n->dirty = realloc(n->dirty, cap / BLOCK);
        memset(n->now + old, 0, cap - old);
        memset(n->durable + old, 0, cap - old);
        memset(n->dirty + old / BLOCK, 0, (cap - old) / BLOCK);
    }
    n->len = len;
}

static int sim_open(void *ctx, const char *path, int flags, mode_t mode)
{
    struct tdlog_sim *s = ctx;
    struct name *name;
    int fd = -EIO;

    (void)mode;
    pthread_mutex_lock(&s->lock);
    name = find_name(s->now, path);
    if (fails(s, TDLOG_OPEN))
        goto out;
    fd = -ENOENT;
    if (name == NULL && (flags & O_CREAT) == 0)
        goto out;
    fd = -ENOSPC;
    if (name == NULL && s->full)
        goto out;
    if (name == NULL) {
        ASSERT(s->n_inodes < INODES_MAX);
        add_name(s->now, path, s->n_inodes++);
        name = find_name(s->now, path);
    }
    for (fd = 0; fd < FDS_MAX && s->fd[fd].inode >= 0; fd++)
        ;
    ASSERT(fd < FDS_MAX);
    s->fd[fd].inode = name->inode;
    s->fd[fd].dsync = (flags & O_DSYNC) != 0;
    if ((flags & O_TRUNC) != 0)
        s->inode[name->inode].len = 0;
out:
    pthread_mutex_unlock(&s->lock);
    return fd;
}

static int sim_close(void *ctx, int fd)
{
    struct tdlog_sim *s = ctx;

    pthread_mutex_lock(&s->lock);
    s->fd[fd].inode = -1;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static ssize_t sim_pread(void *ctx, int fd, void *buf, size_t len, uint64_t offset)
{
    struct tdlog_sim *s = ctx;
    struct inode *n;
    ssize_t got = -EIO;

    pthread_mutex_lock(&s->lock);
    n = &s->inode[s->fd[fd].inode];
    if (!fails(s, TDLOG_PREAD)) {
        got = offset >= n->len ? 0 : (ssize_t)(n->len - offset < len ? n->len - offset : len);
        if (got > 0)
            memcpy(buf, n->now + offset, (size_t)got);
    }
    pthread_mutex_unlock(&s->lock);
    return got;
}

static void flush_block(struct inode *n, size_t block)
{
    memcpy(n->durable + block * BLOCK, n->now + block * BLOCK, BLOCK);
    n->dirty[block] = 0;
}

static ssize_t sim_pwrite(void *ctx, int fd, const void *buf, size_t len, uint64_t offset)
{
    struct tdlog_sim *s = ctx;
    struct inode *n;
    bool failed;
    ssize_t rc = (ssize_t)len;

    ASSERT(len % BLOCK == 0 && offset % BLOCK == 0 && (uintptr_t)buf % BLOCK == 0);
    pthread_mutex_lock(&s->lock);
    failed = fails(s, TDLOG_PWRITE);
    n = &s->inode[s->fd[fd].inode];
    if (s->full && offset + len > n->len) {
        pthread_mutex_unlock(&s->lock);
        return -ENOSPC;
    }
    if (offset + len > n->len)
        set_len(n, offset + len);
    for (size_t at = 0; at < len; at += BLOCK) {
        size_t take = BLOCK;

        if (failed) /* a block is there, torn, or not */
            take = (tdlog_random(&s->random) % 3) * BLOCK / 2;
        memcpy(n->now + offset + at, (const uint8_t *)buf + at, take);
        n->dirty[(offset + at) / BLOCK] = 1;
        if (s->fd[fd].dsync && !failed)
            flush_block(n, (offset + at) / BLOCK);
    }
    if (s->fd[fd].dsync && !failed && n->len > n->durable_len)
        n->durable_len = n->len;
    pthread_mutex_unlock(&s->lock);
    return failed ? -EIO : rc;
}

static int sim_sync(void *ctx, int fd)
{
    struct tdlog_sim *s = ctx;
    struct inode *n;
    int rc = -EIO;

    pthread_mutex_lock(&s->lock);
    n = &s->inode[s->fd[fd].inode];
    if (!fails(s, TDLOG_SYNC)) {
        for (size_t b = 0; b < align_up(n->len, BLOCK) / BLOCK; b++) {
            if (n->dirty[b])
                flush_block(n, b);
        }
        n->durable_len = n->len;
        rc = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int sim_sync_dir(void *ctx, const char *path)
{
    struct tdlog_sim *s = ctx;
    int rc = -EIO;

    (void)path;
    pthread_mutex_lock(&s->lock);
    if (!fails(s, TDLOG_SYNC_DIR)) {
        memcpy(s->durable, s->now, sizeof(s->now));
        rc = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int sim_allocate(void *ctx, int fd, uint64_t len)
{
    struct tdlog_sim *s = ctx;
    int rc = -EIO;

    pthread_mutex_lock(&s->lock);
    if (s->full && len > s->inode[s->fd[fd].inode].len) {
        rc = -ENOSPC;
    } else if (!fails(s, TDLOG_ALLOCATE)) {
        if (len > s->inode[s->fd[fd].inode].len)
            set_len(&s->inode[s->fd[fd].inode], len);
        rc = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int sim_rename(void *ctx, const char *from, const char *to)
{
    struct tdlog_sim *s = ctx;
    struct name *old;
    int rc = -EIO;

    pthread_mutex_lock(&s->lock);
    if (!fails(s, TDLOG_RENAME)) {
        old = find_name(s->now, to);
        if (old != NULL)
            old->inode = -1;
        snprintf(find_name(s->now, from)->path, sizeof(old->path), "%s", to);
        rc = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int sim_unlink(void *ctx, const char *path)
{
    struct tdlog_sim *s = ctx;
    struct name *n;

    pthread_mutex_lock(&s->lock);
    n = find_name(s->now, path);
    if (n != NULL)
        n->inode = -1;
    pthread_mutex_unlock(&s->lock);
    return n != NULL ? 0 : -ENOENT;
}

static int sim_mkdir(void *ctx, const char *path, mode_t mode)
{
    (void)ctx, (void)path, (void)mode;
    return -EEXIST;
}

static const struct storage_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .sync = sim_sync,
    .sync_dir = sim_sync_dir,
    .allocate = sim_allocate,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
};

struct tdlog_sim *tdlog_sim_create(void)
{
    struct tdlog_sim *s = calloc(1, sizeof(*s));

    ASSERT(s != NULL);
    pthread_mutex_init(&s->lock, NULL);
    for (int i = 0; i < NAMES_MAX; i++)
        s->now[i].inode = s->durable[i].inode = -1;
    for (int i = 0; i < FDS_MAX; i++)
        s->fd[i].inode = -1;
    s->random = 1;
    return s;
}

static void inode_free(struct inode *n)
{
    free(n->now);
    free(n->durable);
    free(n->dirty);
    *n = (struct inode){0};
}

void tdlog_sim_destroy(struct tdlog_sim *s)
{
    for (int i = 0; i < s->n_inodes; i++)
        inode_free(&s->inode[i]);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct storage tdlog_sim_storage(struct tdlog_sim *s)
{
    return (struct storage){.ops = &sim_ops, .ctx = s};
}

void tdlog_sim_fail(struct tdlog_sim *s, enum tdlog_op op, unsigned int n, unsigned int times)
{
    pthread_mutex_lock(&s->lock);
    s->fail_op = op;
    s->fail_at = n == 0 ? 0 : s->count[op] + n;
    s->fail_times = times;
    pthread_mutex_unlock(&s->lock);
}

void tdlog_sim_cut_after(struct tdlog_sim *s, unsigned int n)
{
    pthread_mutex_lock(&s->lock);
    s->cut_at = n == 0 ? 0 : s->changes + n;
    pthread_mutex_unlock(&s->lock);
}

void tdlog_sim_full(struct tdlog_sim *s, bool full)
{
    pthread_mutex_lock(&s->lock);
    s->full = full;
    pthread_mutex_unlock(&s->lock);
}

unsigned int tdlog_sim_count(struct tdlog_sim *s, enum tdlog_op op)
{
    unsigned int n;

    pthread_mutex_lock(&s->lock);
    n = s->count[op];
    pthread_mutex_unlock(&s->lock);
    return n;
}

unsigned int tdlog_sim_changes(struct tdlog_sim *s)
{
    unsigned int n;

    pthread_mutex_lock(&s->lock);
    n = s->changes;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static bool named(const struct tdlog_sim *s, int inode)
{
    for (int i = 0; i < NAMES_MAX; i++) {
        if (s->now[i].inode == inode)
            return true;
    }
    return false;
}

/* An unsynced block keeps its new bytes, its old ones, or half of each. */
static void lose(struct inode *n, uint64_t *seed)
{
    for (size_t b = 0; b < align_up(n->len, BLOCK) / BLOCK; b++) {
        size_t keep = !n->dirty[b] ? BLOCK : (tdlog_random(seed) % 3) * BLOCK / 2;

        memcpy(n->durable + b * BLOCK, n->now + b * BLOCK, keep);
        memcpy(n->now + b * BLOCK, n->durable + b * BLOCK, BLOCK);
        n->dirty[b] = 0;
    }
    n->durable_len = n->len;
}

void tdlog_sim_reboot(struct tdlog_sim *s, uint64_t seed)
{
    if (tdlog_random(&seed) % 2 == 0)
        memcpy(s->now, s->durable, sizeof(s->now));
    memcpy(s->durable, s->now, sizeof(s->now));
    for (int i = 0; i < s->n_inodes; i++) {
        if (named(s, i))
            lose(&s->inode[i], &seed);
        else
            inode_free(&s->inode[i]);
    }
    for (int i = 0; i < FDS_MAX; i++)
        s->fd[i].inode = -1;
    s->off = s->full = false;
    s->cut_at = s->fail_at = 0;
}

uint8_t *tdlog_sim_file(struct tdlog_sim *s, const char *path, size_t *len)
{
    struct name *n = find_name(s->now, path);

    if (n == NULL)
        return NULL;
    *len = s->inode[n->inode].len;
    return s->inode[n->inode].now;
}

struct journal_uuid tdlog_journal(unsigned int n)
{
    struct journal_uuid u;

    memset(u.byte, (int)(n + 1), sizeof(u.byte));
    return u;
}

void tdlog_plan(struct plan *p, uint64_t id, const char *type, unsigned int journal, lsn_t from,
                lsn_t to)
{
    memset(p, 0, sizeof(*p));
    p->id = id;
    p->key.minute = 29000000 + (int32_t)(id % 5);
    p->key.schema_hash = 7;
    p->key.type_len = (uint8_t)strlen(type);
    memcpy(p->key.type, type, strlen(type));
    p->events = 10;
    p->lines = 11;
    p->bytes = 1234;
    p->crc32c = (uint32_t)hash_mix(id);
    p->planned_us = 1700000000000000 + (int64_t)id;
    snprintf(p->object, sizeof(p->object), "output/%s/2026/01/01/00/00/n-%llu.json", type,
             (unsigned long long)id);
    p->n_ranges = 1;
    p->range[0] = (struct plan_range){.journal = tdlog_journal(journal), .from = from, .to = to};
}

char *tdlog_mkdir(void)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = malloc(256);

    ASSERT(dir != NULL);
    snprintf(dir, 256, "%s/tdlog-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(dir) == NULL)
        abort();
    return dir;
}

void tdlog_rmdir(char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[600];

    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (d != NULL)
        closedir(d);
    rmdir(dir);
    free(dir);
}

int tdlog_try_open(const char *dir, const struct storage *st, uint32_t ports, struct dlog **out,
                   char *error, size_t error_len)
{
    struct dlog_config c = {.dir = dir,
                            .node = "test-node",
                            .file_bytes = 8 << 20,
                            .ports_max = ports,
                            .ring_records = 1024};

    return dlog_open(&c, st, out, error, error_len);
}

struct dlog *tdlog_open(const char *dir, const struct storage *st, uint32_t ports)
{
    char error[512];
    struct dlog *d = NULL;

    if (tdlog_try_open(dir, st, ports, &d, error, sizeof(error)) != 0) {
        fprintf(stderr, "dlog_open: %s\n", error);
        abort();
    }
    return d;
}

bool tdlog_do(struct dlog_port *p, const struct record *r, int timeout_ms)
{
    int64_t until = clock_monotonic_us() + (int64_t)timeout_ms * 1000;
    void *cookie = NULL;

    while (dlog_submit(p, r, p) == -EAGAIN)
        ;
    do {
        struct pollfd f = {.fd = p->event_fd, .events = POLLIN};
        uint64_t count;

        if (dlog_reap(p, &cookie, 1) == 1)
            return cookie == p;
        if (poll(&f, 1, 20) > 0 && read(p->event_fd, &count, sizeof(count)) < 0)
            return false;
    } while (clock_monotonic_us() < until);
    return false;
}

struct state_bytes {
    uint8_t *bytes;
    size_t len;
};

static void collect_bytes(void *ctx, const uint8_t *record, size_t len)
{
    struct state_bytes *b = ctx;

    b->bytes = realloc(b->bytes, b->len + len);
    ASSERT(b->bytes != NULL);
    memcpy(b->bytes + b->len, record, len);
    b->len += len;
}

uint8_t *tdlog_state_bytes(const struct delivery_state *s, size_t *len)
{
    struct state_bytes b = {0};

    state_snapshot(s, 0, 0, collect_bytes, &b);
    *len = b.len;
    return b.bytes;
}
