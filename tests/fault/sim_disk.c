/* See sim_disk.h. */
#include "tests/fault/sim_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"

#define SECTOR      512u
#define PAGE        4096u
#define SECTORS     (PAGE / SECTOR)
#define INODES_MAX  4096
#define NAMES_MAX   256
#define CHANGES_MAX 4096
#define FDS_MAX     1024
#define WAITING_MAX 64
#define NAME_BYTES  96
#define NEVER       UINT64_MAX

/* One page of a file. Without `old`, all of it is durable; `now` NULL is zeros. */
struct page {
    uint8_t *now, *old;
    uint8_t dirty; /* sectors that the next flush takes */
    uint8_t lost;  /* sectors that no flush takes any more, but are read back */
};

struct inode {
    struct page *page;
    uint32_t n_pages;
    uint64_t len, durable_len;
};

struct name {
    char path[NAME_BYTES];
    int32_t inode; /* -1: free; -2: a directory */
};

struct change {
    enum disk_op op; /* OPEN (created), RENAME, UNLINK, MKDIR */
    char from[NAME_BYTES], to[NAME_BYTES];
    int32_t inode;
};

struct open_file {
    int32_t inode; /* -1: closed */
    bool dsync, direct;
};

struct waiting {
    struct storage_write w;
    uint32_t crc32c; /* of the bytes when the write began */
};

struct disk {
    struct storage storage;
    uint64_t random;
    enum disk_mode mode;
    bool gone; /* the process is: nothing has an effect */
    struct inode inode[INODES_MAX];
    uint32_t n_inodes;
    struct name now[NAMES_MAX], durable[NAMES_MAX];
    struct change change[CHANGES_MAX];
    uint32_t n_changes;
    struct open_file file[FDS_MAX];
    struct waiting waiting[WAITING_MAX];
    uint32_t n_waiting;
    uint64_t count[DISK_OPS];
    struct {
        uint64_t from, to; /* counts; NEVER: none */
        int error;
    } fail[DISK_OPS];
    uint64_t flip_at;
    int32_t flipped;         /* whose bit was read wrongly; -1: none */
    uint64_t all, vanish_at; /* operations of any kind */
    uint64_t hits;
};

/* Pages go round: a schedule writes thousands of them. */
struct page_buffer {
    struct page_buffer *next;
};
static struct page_buffer *spare_pages;

const char *const disk_op_name[DISK_OPS] = {"open",     "pread",    "pwrite",     "sync",
                                            "sync_dir", "allocate", "rename",     "unlink",
                                            "mkdir",    "list",     "write_async"};
const char *const disk_outcome_name[DISK_OUTCOMES] = {"done", "nothing", "reached", "torn",
                                                      "short"};

uint64_t sim_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static uint32_t below(struct disk *d, uint32_t n)
{
    return (uint32_t)(sim_random(&d->random) % n);
}

/* ---- pages ---- */

static uint8_t *page_new(const uint8_t *from)
{
    struct page_buffer *b = spare_pages;

    if (b != NULL)
        spare_pages = b->next;
    else
        b = aligned_alloc(PAGE, PAGE);
    ASSERT(b != NULL);
    if (from != NULL)
        memcpy(b, from, PAGE);
    else
        memset(b, 0, PAGE);
    return (uint8_t *)b;
}

static void page_free(uint8_t *p)
{
    struct page_buffer *b = (struct page_buffer *)p;

    if (b == NULL)
        return;
    b->next = spare_pages;
    spare_pages = b;
}

static void page_settle(struct page *p)
{
    if (p->dirty != 0 || p->lost != 0)
        return;
    page_free(p->old);
    p->old = NULL;
}

static void page_write(struct page *p, uint32_t at, const uint8_t *data, uint32_t len)
{
    static const uint8_t zeros[PAGE];
    uint8_t mask = 0;

    if (len == PAGE && p->now == NULL && p->old == NULL && memcmp(data, zeros, PAGE) == 0)
        return; /* zeros over zeros: durable or not is the same */
    if (p->old == NULL)
        p->old = page_new(p->now);
    if (p->now == NULL)
        p->now = page_new(NULL);
    memcpy(p->now + at, data, len);
    for (uint32_t s = at / SECTOR; s <= (at + len - 1) / SECTOR; s++)
        mask |= (uint8_t)(1u << s);
    p->dirty |= mask;
    p->lost &= (uint8_t)~mask;
}

static void page_flush(struct page *p)
{
    for (uint32_t s = 0; s < SECTORS && p->dirty != 0; s++) {
        if ((p->dirty & (1u << s)) != 0)
            memcpy(p->old + s * SECTOR, p->now + s * SECTOR, SECTOR);
    }
    p->dirty = 0;
    page_settle(p);
}

/* What fsync(2) does to a page when it fails: the page counts as clean, its bytes are anywhere. */
static void page_flush_fails(struct disk *d, struct page *p)
{
    for (uint32_t s = 0; s < SECTORS; s++) {
        if ((p->dirty & (1u << s)) == 0)
            continue;
        if (below(d, 2) == 0)
            memcpy(p->old + s * SECTOR, p->now + s * SECTOR, SECTOR);
        else
            p->lost |= (uint8_t)(1u << s);
    }
    p->dirty = 0;
    page_settle(p);
}

static void page_cut(struct disk *d, struct page *p)
{
    if (p->old == NULL)
        return;
    for (uint32_t s = 0; s < SECTORS; s++) {
        bool lost = (p->lost & (1u << s)) != 0;
        bool dirty = (p->dirty & (1u << s)) != 0;

        if (lost || (dirty && below(d, 2) == 0))
            memcpy(p->now + s * SECTOR, p->old + s * SECTOR, SECTOR);
    }
    p->dirty = p->lost = 0;
    page_settle(p);
}

/* ---- files ---- */

static void inode_grow(struct inode *n, uint64_t len)
{
    uint32_t pages = (uint32_t)((len + PAGE - 1) / PAGE);

    if (pages > n->n_pages) {
        n->page = realloc(n->page, pages * sizeof(*n->page));
        ASSERT(n->page != NULL);
        memset(n->page + n->n_pages, 0, (pages - n->n_pages) * sizeof(*n->page));
        n->n_pages = pages;
    }
    n->len = len > n->len ? len : n->len;
}

static void inode_empty(struct inode *n)
{
    for (uint32_t i = 0; i < n->n_pages; i++) {
        page_free(n->page[i].now);
        page_free(n->page[i].old);
    }
    free(n->page);
    *n = (struct inode){0};
}

static void inode_write(struct inode *n, const uint8_t *data, uint64_t len, uint64_t offset)
{
    inode_grow(n, offset + len);
    while (len > 0) {
        uint32_t at = (uint32_t)(offset % PAGE);
        uint32_t part = PAGE - at < len ? PAGE - at : (uint32_t)len;

        page_write(&n->page[offset / PAGE], at, data, part);
        data += part;
        offset += part;
        len -= part;
    }
}

static void inode_flush(struct inode *n, uint64_t offset, uint64_t len)
{
    for (uint64_t i = offset / PAGE; i < (offset + len + PAGE - 1) / PAGE && i < n->n_pages; i++)
        page_flush(&n->page[i]);
    if (offset + len > n->durable_len)
        n->durable_len = n->len;
}

static void inode_flush_fails(struct disk *d, struct inode *n, uint64_t offset, uint64_t len)
{
    for (uint64_t i = offset / PAGE; i < (offset + len + PAGE - 1) / PAGE && i < n->n_pages; i++)
        page_flush_fails(d, &n->page[i]);
}

/* A write with its fate; durable: it is flushed as well. */
static void inode_write_as(struct disk *d, struct inode *n, const struct storage_write *w,
                           enum disk_outcome outcome, bool durable)
{
    const uint8_t *data = w->buf;
    uint64_t len = outcome == DISK_SHORT ? w->len / 2 / PAGE * PAGE : w->len;

    if (outcome == DISK_NOTHING || len == 0)
        return;
    if (outcome == DISK_TORN) {
        for (uint64_t at = 0; at + SECTOR <= len; at += SECTOR) {
            if (below(d, 2) == 0)
                inode_write(n, data + at, SECTOR, w->offset + at);
        }
        inode_flush_fails(d, n, w->offset, len);
        return;
    }
    inode_write(n, data, len, w->offset);
    if (outcome == DISK_REACHED)
        inode_flush_fails(d, n, w->offset, len);
    else if (durable)
        inode_flush(n, w->offset, len);
}

/* ---- names ---- */

static struct name *name_find(struct name *table, const char *path)
{
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        if (table[i].inode != -1 && strcmp(table[i].path, path) == 0)
            return &table[i];
    }
    return NULL;
}

static void name_set(struct name *table, const char *path, int32_t inode)
{
    struct name *n = name_find(table, path);

    for (uint32_t i = 0; n == NULL && i < NAMES_MAX; i++)
        n = table[i].inode == -1 ? &table[i] : NULL;
    ASSERT(n != NULL && strlen(path) < NAME_BYTES);
    snprintf(n->path, sizeof(n->path), "%s", path);
    n->inode = inode;
}

static void name_drop(struct name *table, const char *path)
{
    struct name *n = name_find(table, path);

    if (n != NULL)
        n->inode = -1;
}

static void change_apply(struct name *table, const struct change *c)
{
    if (c->op == DISK_RENAME || c->op == DISK_UNLINK)
        name_drop(table, c->from);
    if (c->op != DISK_UNLINK)
        name_set(table, c->to, c->inode);
}

static void change_add(struct disk *d, enum disk_op op, const char *from, const char *to,
                       int32_t inode)
{
    struct change *c = &d->change[d->n_changes++];

    ASSERT(d->n_changes <= CHANGES_MAX);
    c->op = op;
    c->inode = inode;
    snprintf(c->from, sizeof(c->from), "%s", from);
    snprintf(c->to, sizeof(c->to), "%s", to);
    change_apply(d->now, c);
}

static bool lies_in(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && path[len] == '/' && strchr(path + len + 1, '/') == NULL;
}

/* ---- the operations ---- */

/* What the disk's state makes of an operation. */
static int mode_says(const struct disk *d, enum disk_op op)
{
    bool writes = op != DISK_OPEN && op != DISK_PREAD && op != DISK_LIST;

    if (d->gone || d->mode == DISK_DEAD)
        return -EIO;
    if (d->mode == DISK_READ_ONLY && writes)
        return op == DISK_SYNC ? -EIO : -EROFS;
    return 0;
}

/* Counts an operation. @return 0, or the -errno that it is to fail with. */
static int counted(struct disk *d, enum disk_op op)
{
    uint64_t n = ++d->count[op];
    int rc;

    if (++d->all == d->vanish_at)
        d->gone = true;
    rc = mode_says(d, op);
    if (rc == 0 && n >= d->fail[op].from && n < d->fail[op].to)
        rc = -d->fail[op].error;
    d->hits += rc != 0 ? 1 : 0;
    return rc;
}

static int full(struct disk *d)
{
    d->hits++;
    return -ENOSPC;
}

static int op_open(void *ctx, const char *path, int flags, mode_t mode)
{
    struct disk *d = ctx;
    struct name *n = name_find(d->now, path);
    int rc = counted(d, DISK_OPEN);
    int fd = 3;

    (void)mode;
    if (rc < 0)
        return rc;
    if (n == NULL && (flags & O_CREAT) == 0)
        return -ENOENT;
    if (n != NULL && (flags & O_EXCL) != 0)
        return -EEXIST;
    if (d->mode == DISK_READ_ONLY && (flags & O_ACCMODE) != O_RDONLY) {
        d->hits++;
        return -EROFS;
    }
    if (n == NULL && d->mode == DISK_FULL)
        return full(d);
    if (n == NULL) {
        ASSERT(d->n_inodes < INODES_MAX);
        change_add(d, DISK_OPEN, "", path, (int32_t)d->n_inodes++);
        n = name_find(d->now, path);
    }
    ASSERT(n->inode >= 0);
    if ((flags & O_TRUNC) != 0)
        inode_empty(&d->inode[n->inode]);
    while (fd < FDS_MAX && d->file[fd].inode != -1)
        fd++;
    ASSERT(fd < FDS_MAX); /* somebody does not close */
    d->file[fd] = (struct open_file){
        .inode = n->inode, .dsync = (flags & O_DSYNC) != 0, .direct = (flags & O_DIRECT) != 0};
    return fd;
}

static struct inode *inode_of(struct disk *d, int fd)
{
    ASSERT(fd >= 3 && fd < FDS_MAX && d->file[fd].inode >= 0);
    return &d->inode[d->file[fd].inode];
}

static int op_close(void *ctx, int fd)
{
    struct disk *d = ctx;

    if (d->gone)
        return 0; /* closed by the end of the process */
    (void)inode_of(d, fd);
    d->file[fd].inode = -1;
    return 0;
}

/* @return bytes read. */
static uint64_t inode_read(const struct inode *n, uint8_t *out, uint64_t len, uint64_t offset)
{
    uint64_t got = offset >= n->len ? 0 : n->len - offset < len ? n->len - offset : len;

    for (uint64_t at = 0; at < got;) {
        const struct page *p = &n->page[(offset + at) / PAGE];
        uint32_t from = (uint32_t)((offset + at) % PAGE);
        uint64_t part = PAGE - from < got - at ? PAGE - from : got - at;

        if (p->now != NULL)
            memcpy(out + at, p->now + from, part);
        else
            memset(out + at, 0, part);
        at += part;
    }
    return got;
}

void disk_look(const struct disk *d, const char *dir, disk_visitor visit, void *arg)
{
    for (uint32_t i = 0; i < NAMES_MAX; i++) {
        const struct inode *n = &d->inode[d->now[i].inode >= 0 ? d->now[i].inode : 0];
        uint8_t *data;

        if (d->now[i].inode < 0 || !lies_in(d->now[i].path, dir))
            continue;
        data = malloc(n->len + 1);
        ASSERT(data != NULL);
        visit(arg, d->now[i].path, data, inode_read(n, data, n->len, 0));
        free(data);
    }
}

static ssize_t op_pread(void *ctx, int fd, void *buf, size_t len, uint64_t offset)
{
    struct disk *d = ctx;
    int rc = counted(d, DISK_PREAD);
    uint8_t *out = buf;
    uint64_t got;

    if (rc < 0)
        return rc;
    got = inode_read(inode_of(d, fd), out, len, offset);
    if (d->count[DISK_PREAD] == d->flip_at && got > 0) {
        out[below(d, (uint32_t)got)] ^= (uint8_t)(1u << below(d, 8));
        d->flipped = d->file[fd].inode;
        d->hits++;
    }
    return (ssize_t)got;
}

static ssize_t op_pwrite(void *ctx, int fd, const void *buf, size_t len, uint64_t offset)
{
    struct disk *d = ctx;
    int rc = counted(d, DISK_PWRITE);
    struct storage_write w = {.buf = buf, .len = (uint32_t)len, .offset = offset};
    enum disk_outcome outcome = DISK_DONE;
    struct inode *n;

    if (d->gone || rc == -EROFS || d->mode == DISK_DEAD)
        return rc;
    n = inode_of(d, fd);
    ASSERT(!d->file[fd].direct ||
           (len % PAGE == 0 && offset % PAGE == 0 && (uintptr_t)buf % PAGE == 0));
    if (d->mode == DISK_FULL && offset + len > n->len)
        return full(d);
    if (rc < 0)
        outcome = (enum disk_outcome)(1 + below(d, DISK_OUTCOMES - 1));
    inode_write_as(d, n, &w, outcome, d->file[fd].dsync);
    if (outcome == DISK_SHORT && len / 2 / PAGE > 0)
        return (ssize_t)(len / 2 / PAGE * PAGE);
    return rc < 0 ? rc : (ssize_t)len;
}

static int op_sync(void *ctx, int fd)
{
    struct disk *d = ctx;
    int rc = counted(d, DISK_SYNC);
    struct inode *n;

    if (d->gone || d->mode == DISK_DEAD || d->mode == DISK_READ_ONLY)
        return rc;
    n = inode_of(d, fd);
    if (rc < 0) {
        inode_flush_fails(d, n, 0, n->len);
        return rc;
    }
    inode_flush(n, 0, n->len);
    n->durable_len = n->len;
    return 0;
}

static int op_sync_dir(void *ctx, const char *path)
{
    struct disk *d = ctx;
    int rc = counted(d, DISK_SYNC_DIR);
    uint32_t kept = 0;

    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < d->n_changes; i++) {
        const struct change *c = &d->change[i];

        if (lies_in(c->op == DISK_UNLINK ? c->from : c->to, path))
            change_apply(d->durable, c);
        else
            d->change[kept++] = *c;
    }
    d->n_changes = kept;
    return 0;
}

static int op_allocate(void *ctx, int fd, uint64_t len)
{
    struct disk *d = ctx;
    int rc = counted(d, DISK_ALLOCATE);

    if (rc < 0)
        return rc;
    if (d->mode == DISK_FULL && len > inode_of(d, fd)->len)
        return full(d);
    inode_grow(inode_of(d, fd), len);
    return 0;
}

static int op_rename(void *ctx, const char *from, const char *to)
{
    struct disk *d = ctx;
    int rc = counted(d, DISK_RENAME);
    struct name *n = name_find(d->now, from);

    if (rc < 0)
        return rc;
    if (n == NULL)
        return -ENOENT;
    change_add(d, DISK_RENAME, from, to, n->inode);
    return 0;
}

static int op_unlink(void *ctx, const char *path)
{
    struct disk *d = ctx;
    const struct name *n = name_find(d->now, path);
    int rc = counted(d, DISK_UNLINK);

    if (rc < 0)
        return rc;
    if (n == NULL)
        return -ENOENT;
    change_add(d, DISK_UNLINK, path, "", n->inode);
    return 0;
}

static int op_mkdir(void *ctx, const char *path, mode_t mode)
{
    struct disk *d = ctx;
    int rc = counted(d, DISK_MKDIR);

    (void)mode;
    if (name_find(d->now, path) != NULL)
        return -EEXIST;
    if (rc < 0)
        return rc;
    change_add(d, DISK_MKDIR, "", path, -2);
    return 0;
}

static int op_list(void *ctx, const char *dir, storage_visitor visit, void *arg)
{
    struct disk *d = ctx;
    int rc = counted(d, DISK_LIST);

    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < NAMES_MAX && rc == 0; i++) {
        if (d->now[i].inode != -1 && lies_in(d->now[i].path, dir))
            rc = visit(arg, d->now[i].path + strlen(dir) + 1);
    }
    return rc;
}

static int op_write_async(void *ctx, struct io_uring *ring, const struct storage_write *w)
{
    struct disk *d = ctx;

    (void)ring;
    if (d->gone)
        return -EBUSY;
    (void)inode_of(d, w->fd);
    ASSERT(d->n_waiting < WAITING_MAX);
    ASSERT(w->len % SECTOR == 0 && w->offset % SECTOR == 0);
    ASSERT(!d->file[w->fd].direct ||
           (w->len % PAGE == 0 && w->offset % PAGE == 0 && (uintptr_t)w->buf % PAGE == 0));
    d->waiting[d->n_waiting++] = (struct waiting){.w = *w, .crc32c = crc32c(0, w->buf, w->len)};
    return 0;
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

/* ---- for the simulation ---- */

struct disk *disk_create(void)
{
    struct disk *d = calloc(1, sizeof(*d));

    ASSERT(d != NULL);
    d->storage = (struct storage){.ops = &ops, .ctx = d};
    for (uint32_t i = 0; i < NAMES_MAX; i++)
        d->now[i].inode = d->durable[i].inode = -1;
    for (uint32_t i = 0; i < FDS_MAX; i++)
        d->file[i].inode = -1;
    d->flipped = -1;
    disk_heal(d);
    return d;
}

void disk_destroy(struct disk *d)
{
    for (uint32_t i = 0; i < d->n_inodes; i++)
        inode_empty(&d->inode[i]);
    free(d);
}

const struct storage *disk_storage(const struct disk *d)
{
    return &d->storage;
}

void disk_seed(struct disk *d, uint64_t seed)
{
    d->random = seed;
}

void disk_fail(struct disk *d, enum disk_op op, uint64_t n, uint64_t times, int error)
{
    ASSERT(n > 0);
    d->fail[op].from = d->count[op] + n;
    d->fail[op].to = d->fail[op].from + times;
    d->fail[op].error = error;
}

void disk_flip_read(struct disk *d, uint64_t n)
{
    d->flip_at = d->count[DISK_PREAD] + n;
}

bool disk_flipped(struct disk *d, const char *dir)
{
    bool hit = false;

    for (uint32_t i = 0; i < NAMES_MAX && d->flipped >= 0; i++)
        hit |= d->now[i].inode == d->flipped && strncmp(d->now[i].path, dir, strlen(dir)) == 0;
    d->flipped = -1;
    return hit;
}

void disk_set_mode(struct disk *d, enum disk_mode mode)
{
    d->mode = mode;
}

void disk_heal(struct disk *d)
{
    d->mode = DISK_WELL;
    d->flip_at = d->vanish_at = NEVER;
    for (int op = 0; op < DISK_OPS; op++)
        d->fail[op].from = d->fail[op].to = NEVER;
}

uint64_t disk_count(const struct disk *d, enum disk_op op)
{
    return d->count[op];
}

uint64_t disk_hits(const struct disk *d)
{
    return d->hits;
}

uint32_t disk_pending(const struct disk *d)
{
    return d->n_waiting;
}

static struct waiting take(struct disk *d, uint32_t i)
{
    struct waiting w = d->waiting[i];

    ASSERT(i < d->n_waiting);
    d->n_waiting--;
    memmove(&d->waiting[i], &d->waiting[i + 1], (d->n_waiting - i) * sizeof(w));
    return w;
}

uint64_t disk_finish(struct disk *d, uint32_t i, enum disk_outcome outcome, int error, int *result)
{
    struct waiting w = take(d, i);
    int rc = counted(d, DISK_WRITE_ASYNC);

    ASSERT(crc32c(0, w.w.buf, w.w.len) == w.crc32c); /* nobody touches a block under way */
    if (rc < 0) {
        bool works = !d->gone && (d->mode == DISK_WELL || d->mode == DISK_FULL);

        outcome = works ? (enum disk_outcome)(1 + below(d, DISK_OUTCOMES - 2)) : DISK_NOTHING;
        error = -rc;
    }
    inode_write_as(d, inode_of(d, w.w.fd), &w.w, outcome, true);
    *result = -error;
    if (outcome == DISK_DONE)
        *result = (int)w.w.len;
    else if (outcome == DISK_SHORT)
        *result = (int)(w.w.len / 2 / PAGE * PAGE);
    return w.w.user_data;
}

void disk_kill(struct disk *d)
{
    while (d->n_waiting > 0) {
        struct waiting w = take(d, below(d, d->n_waiting));
        struct inode *n = inode_of(d, w.w.fd);
        uint32_t fate = below(d, 4);

        if (fate == 0) /* in the drive's cache at most */
            inode_write(n, w.w.buf, w.w.len, w.w.offset);
        else if (fate == 1)
            inode_write_as(d, n, &w.w, DISK_DONE, true);
        for (uint64_t at = 0; fate == 2 && at < w.w.len; at += SECTOR) {
            if (below(d, 2) == 0)
                inode_write(n, (const uint8_t *)w.w.buf + at, SECTOR, w.w.offset + at);
        }
    }
    for (uint32_t i = 0; i < FDS_MAX; i++)
        d->file[i].inode = -1;
    d->gone = true;
}

void disk_vanish(struct disk *d, uint64_t n)
{
    ASSERT(n > 0);
    d->vanish_at = d->all + n;
}

bool disk_gone(const struct disk *d)
{
    return d->gone;
}

/* Each change that no sync_dir() has followed happened, or did not; those of one file in their
 * order, because no file system forgets a renaming and keeps a later one of the same file. */
static void names_cut(struct disk *d)
{
    static bool stopped[INODES_MAX];

    memset(stopped, 0, sizeof(stopped));
    for (uint32_t i = 0; i < d->n_changes; i++) {
        const struct change *c = &d->change[i];

        if (c->inode >= 0 && stopped[c->inode])
            continue;
        if (below(d, 2) == 0)
            change_apply(d->durable, c);
        else if (c->inode >= 0)
            stopped[c->inode] = true;
    }
    d->n_changes = 0;
    memcpy(d->now, d->durable, sizeof(d->now));
}

void disk_boot(struct disk *d, bool power_cut)
{
    ASSERT(d->n_waiting == 0);
    if (power_cut) {
        names_cut(d);
        for (uint32_t i = 0; i < d->n_inodes; i++) {
            struct inode *n = &d->inode[i];

            for (uint32_t p = 0; p < n->n_pages; p++)
                page_cut(d, &n->page[p]);
            if (n->durable_len < n->len && below(d, 2) == 0)
                n->len = n->durable_len;
            n->durable_len = n->len;
        }
    }
    disk_heal(d);
    d->gone = false;
}
