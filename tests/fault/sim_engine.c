/*
 * What the code under test finds in place of the product's: loops whose timers and reads follow the
 * simulated clock and disk, a ledger that only keeps its position, no network. And in place of the
 * system's: clocks and random identities.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "dataplane/base/log.h"
#include "dataplane/base/mem.h"
#include "sinks/delivery/ledger_internal.h"
#include "sinks/delivery/rows_store.h"
#include "sinks/engine/auth.h"
#include "sinks/engine/loop.h"
#include "sinks/owner/owner.h"
#include "tests/fault/sim.h"

#define LOOPS      4
#define TIMERS_MAX 16384
#define READS_MAX  64
#define WRITES_MAX 64
#define POOLS      48
#define ZEROED_MAX (256u << 10) /* more is group memory, which nobody expects to be zeros */

/* ---- the system ---- */

static uint64_t identities;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int64_t us = sim.now_us + (clock == CLOCK_REALTIME ? sim.wall_us : 0);

    t->tv_sec = us / 1000000;
    t->tv_nsec = us % 1000000 * 1000;
    return 0;
}

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
    uint8_t *out = buf;

    (void)flags;
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)sim_random(&identities);
    return (ssize_t)len;
}

const struct storage storage_posix = {.ops = NULL}; /* nothing here touches real files */

int storage_write_all(const struct storage *s, int fd, const void *buf, size_t len, uint64_t offset)
{
    const char *p = buf;

    while (len > 0) {
        ssize_t n = s->ops->pwrite(s->ctx, fd, p, len, offset);

        if (n == -EINTR)
            continue;
        if (n < 0)
            return (int)n;
        if (n == 0)
            return -ENOSPC;
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

void assert_failed(const char *condition, const char *file, int line)
{
    sim_wrong("assertion failed: %s at %s:%d", condition, file, line);
    sim_abort();
}

void log_set_level(enum log_level level)
{
    (void)level;
}

void log_line(enum log_level level, const char *module, const char *format, ...)
{
    char text[1024];
    va_list ap;

    if (!sim.options.trace)
        return;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    sim_trace("  %s %s: %s", level == LOG_LEVEL_ERROR ? "ERROR" : "log", module, text);
}

/* Group memory: taken and given back at each life, so it is kept. */
static struct {
    void *memory;
    size_t len;
    bool used;
} pool[POOLS];

void *mem_reserve(size_t len)
{
    for (int i = 0; i < POOLS; i++) {
        if (pool[i].used || (pool[i].memory != NULL && pool[i].len != len))
            continue;
        if (pool[i].memory == NULL)
            pool[i].memory = aligned_alloc(4096, align_up(len, 4096));
        ASSERT(pool[i].memory != NULL);
        if (len <= ZEROED_MAX)
            memset(pool[i].memory, 0, len);
        pool[i].len = len;
        pool[i].used = true;
        return pool[i].memory;
    }
    return NULL;
}

int mem_populate(void *ptr, size_t len, const _Atomic bool *stop)
{
    (void)ptr; /* it does not matter here when memory comes */
    (void)len;
    (void)stop;
    return 0;
}

void mem_release(void *ptr, size_t len)
{
    (void)len;
    for (int i = 0; i < POOLS; i++) {
        if (ptr != NULL && pool[i].memory == ptr)
            pool[i].used = false;
    }
}

/* ---- loops ---- */

struct loop {
    struct loop_timer *timer[TIMERS_MAX];
    uint32_t n_timers;
    struct loop_read *read[READS_MAX];
    uint32_t n_reads;
    bool used;
};
static struct loop loops[LOOPS];

/* A durable write: under way on the disk, then until its loop hears of it. */
static struct {
    struct loop *loop; /* NULL: free */
    struct loop_read *write;
    bool ended;
    int result;
} writes[WRITES_MAX];

int loop_create(struct loop **out)
{
    for (int i = 0; i < LOOPS; i++) {
        if (!loops[i].used) {
            loops[i].used = true;
            loops[i].n_timers = loops[i].n_reads = 0;
            *out = &loops[i];
            return 0;
        }
    }
    return -ENOMEM;
}

void loop_destroy(struct loop *l)
{
    if (l != NULL)
        l->used = false;
}

int loop_wake_fd(const struct loop *l)
{
    ASSERT(l->used);
    return -1;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t delay_us)
{
    t->_due_us = sim.now_us + delay_us;
    if (t->_heap_index != 0)
        return;
    ASSERT(l->n_timers < TIMERS_MAX && t->fire != NULL);
    l->timer[l->n_timers++] = t;
    t->_heap_index = l->n_timers;
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
    struct loop_timer *last;

    if (t->_heap_index == 0)
        return;
    last = l->timer[--l->n_timers];
    l->timer[t->_heap_index - 1] = last;
    last->_heap_index = t->_heap_index;
    t->_heap_index = 0;
}

int loop_read_start(struct loop *l, struct loop_read *r)
{
    if (sim_once_in(50))
        return -EAGAIN;
    ASSERT(l->n_reads < READS_MAX);
    l->read[l->n_reads++] = r;
    return 0;
}

int loop_write_start(struct loop *l, struct loop_read *r)
{
    const struct storage *s = disk_storage(sim.disk);
    struct storage_write w = {
        .fd = r->fd, .buf_index = -1, .buf = r->buf, .len = r->len, .offset = r->offset};
    uint32_t i = 0;

    while (i < WRITES_MAX && writes[i].loop != NULL)
        i++;
    ASSERT(i < WRITES_MAX);
    w.user_data = ENGINE_WRITE | i;
    if (sim_once_in(50) || s->ops->write_async(s->ctx, NULL, &w) != 0)
        return -EAGAIN;
    writes[i].loop = l;
    writes[i].write = r;
    writes[i].ended = false;
    return 0;
}

bool engine_writing(void)
{
    bool any = false;

    for (uint32_t i = 0; i < WRITES_MAX; i++)
        any |= writes[i].loop != NULL && !writes[i].ended;
    return any;
}

void engine_write_ended(uint64_t user_data, int result)
{
    uint32_t i = (uint32_t)(user_data & ~ENGINE_WRITE);

    ASSERT(i < WRITES_MAX && writes[i].loop != NULL && !writes[i].ended);
    writes[i].ended = true;
    writes[i].result = result;
}

static int writes_run(const struct loop *l)
{
    int n = 0;

    for (uint32_t i = 0; i < WRITES_MAX; i++) {
        if (writes[i].loop != l || !writes[i].ended)
            continue;
        writes[i].loop = NULL;
        writes[i].write->done(writes[i].write, writes[i].result);
        n++;
    }
    return n;
}

static void read_end(struct loop *l, uint32_t i)
{
    const struct storage *s = disk_storage(sim.disk);
    struct loop_read *r = l->read[i];
    ssize_t n = s->ops->pread(s->ctx, r->fd, r->buf, r->len, r->offset);

    l->read[i] = l->read[--l->n_reads];
    r->done(r, (int)n);
}

int loop_run_once(struct loop *l, int64_t timeout_us)
{
    int n = writes_run(l);

    (void)timeout_us;
    for (uint32_t i = l->n_reads; i-- > 0;) {
        if (i < l->n_reads && (sim.calm || sim_below(4) != 0)) {
            read_end(l, i);
            n++;
        }
    }
    for (uint32_t i = 0; i < l->n_timers;) {
        struct loop_timer *t = l->timer[i];

        if (t->_due_us > sim.now_us) {
            i++;
            continue;
        }
        loop_timer_cancel(l, t);
        t->fire(t);
        n++;
        i = 0;
    }
    return n;
}

/* ---- no network ---- */

int http_client_create(struct loop *l, const struct http_config *config, struct http_client **out)
{
    static char client;

    (void)config;
    ASSERT(l != NULL);
    *out = (struct http_client *)&client;
    return 0;
}

void http_client_destroy(struct http_client *c)
{
    (void)c;
}

void http_client_adjust(struct http_client *c, const struct http_config *config)
{
    (void)c, (void)config;
}

int auth_init(struct auth *a, const struct auth_config *config, char *error, size_t error_len)
{
    (void)a, (void)config, (void)error, (void)error_len;
    return 0;
}

void auth_fini(struct auth *a)
{
    (void)a;
}

void auth_bind(struct auth *a, struct loop *loop, struct http_client *http)
{
    (void)a, (void)loop, (void)http;
}

void auth_unbind(struct auth *a)
{
    (void)a;
}

void auth_set_refused_retry(struct auth *a, int64_t retry_us)
{
    (void)a, (void)retry_us;
}

/* ---- no copies of the directory: config.owner is NULL ---- */

void owner_attach(struct owner *o, struct gcs *gcs)
{
    (void)gcs;
    ASSERT(o == NULL && !"unused");
}

void owner_run(struct owner *o, int64_t now_us)
{
    (void)now_us;
    ASSERT(o == NULL && !"unused");
}

bool owner_may_send(const struct owner *o)
{
    ASSERT(o == NULL && !"unused");
    return true;
}

void owner_text(struct owner *o, char *out)
{
    (void)out;
    ASSERT(o == NULL && !"unused");
}

/* ---- columns: no type here has inferred ones ---- */

int rows_store_save(const struct storage *storage, const char *dir, const struct rows_file *f,
                    char *error, size_t error_len)
{
    (void)storage, (void)dir, (void)f, (void)error, (void)error_len;
    return -EROFS;
}

int rows_store_each(const char *dir, int (*visit)(void *ctx, struct rows_file *f), void *ctx,
                    char *error, size_t error_len)
{
    (void)dir, (void)visit, (void)ctx, (void)error, (void)error_len;
    return 0;
}

void rows_store_remove(const struct storage *storage, const char *dir, const struct rows_file *f)
{
    (void)storage, (void)dir, (void)f;
}

/* ---- the ledger: durable at commit, as SQLite is with synchronous=FULL ---- */

static struct {
    bool bound;
    struct journal_uuid log;
    uint64_t seq;  /* committed */
    uint64_t last; /* applied in the transaction under way */
    bool in_transaction;
    uint64_t removed, removed_last; /* duplicates that plans leave out: committed, under way */
    bool lost;                      /* it was made anew: what it says of these is too little */
} kept;
static struct ledger the_ledger;

void engine_reset(uint64_t seed)
{
    identities = seed ^ 0x5bd1e9955bd1e995ULL;
    memset(&kept, 0, sizeof(kept));
    engine_crash();
}

void engine_lose_ledger(void)
{
    memset(&kept, 0, sizeof(kept));
    kept.lost = true;
}

bool engine_removed(uint64_t *out)
{
    *out = kept.removed;
    return !kept.lost;
}

void engine_crash(void)
{
    kept.in_transaction = false;
    memset(writes, 0, sizeof(writes));
    for (int i = 0; i < LOOPS; i++)
        loops[i].used = false;
    for (int i = 0; i < POOLS; i++)
        pool[i].used = false;
}

/* A ledger that is set aside: dlog_ledger.c moves the real file. */
int rename(const char *from, const char *to)
{
    ASSERT(strstr(from, "/ledger.db") != NULL && strstr(to, "/ledger.db.old-") != NULL);
    engine_lose_ledger();
    return 0;
}

int remove(const char *path)
{
    ASSERT(strstr(path, "/ledger.db-") != NULL);
    errno = ENOENT;
    return -1;
}

int ledger_open(const char *path, struct ledger **out, char *error, size_t error_len)
{
    (void)path, (void)error, (void)error_len;
    *out = &the_ledger;
    return 0;
}

void ledger_close(struct ledger *l)
{
    (void)l;
}

int ledger_position(struct ledger *l, struct journal_uuid *log, bool *bound, uint64_t *applied_seq)
{
    (void)l;
    *log = kept.log;
    *bound = kept.bound;
    *applied_seq = kept.seq;
    return 0;
}

int ledger_bind(struct ledger *l, const struct journal_uuid *log)
{
    (void)l;
    ASSERT(!kept.bound);
    kept.bound = true;
    kept.log = *log;
    return 0;
}

int ledger_begin(struct ledger *l)
{
    (void)l;
    ASSERT(!kept.in_transaction);
    if (sim_once_in(20))
        return -EIO;
    kept.in_transaction = true;
    kept.last = kept.seq;
    kept.removed_last = kept.removed;
    return 0;
}

int ledger_apply(struct ledger *l, const struct record_view *r)
{
    (void)l;
    if (r->seq <= kept.last)
        sim_wrong("the ledger is given record %llu after %llu", (unsigned long long)r->seq,
                  (unsigned long long)kept.last);
    kept.last = r->seq;
    if (r->type == RECORD_PLAN)
        kept.removed_last += r->plan.removed;
    if (r->type == RECORD_INSERTED && r->outcome.refused > cloud_letters(r->plan_id))
        sim_wrong("plan %llu is recorded with %llu refused rows, of which %u are dead letters",
                  (unsigned long long)r->plan_id, (unsigned long long)r->outcome.refused,
                  cloud_letters(r->plan_id));
    return 0;
}

int ledger_commit(struct ledger *l, uint64_t applied_seq)
{
    (void)l;
    kept.in_transaction = false;
    if (sim_once_in(20))
        return -EIO;
    kept.seq = applied_seq;
    kept.removed = kept.removed_last;
    return 0;
}

void ledger_rollback(struct ledger *l)
{
    (void)l;
    kept.in_transaction = false;
}

int ledger_rebuild(struct ledger *l, const struct delivery_state *s, uint64_t applied_seq)
{
    (void)l, (void)s;
    kept.seq = applied_seq;
    kept.lost = true;
    return 0;
}

const char *ledger_message(const struct ledger *l)
{
    (void)l;
    return "simulated";
}
