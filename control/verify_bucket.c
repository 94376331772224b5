/*
 * COLD. The bucket against the ledger. Both are read whole; what looks wrong is read once more a
 * little later, so that objects confirmed or removed during the listing do not count.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <sqlite3.h>

#include "control/dlq.h"
#include "control/verify_internal.h"

static const char *const prefixes[] = {"output/", "dead_letter/", "staging/"};

/* One reading of both sides. */
struct reading {
    struct object_list ledger, bucket;
    struct object_list deleted; /* on purpose, by dlq drop: may be missing */
    struct object_list
        excused; /* names whose absence or presence proves nothing: see excused_sql */
    struct verify *v;
};

static bool add_ledger_object(void *ctx, const struct ledger_object *o)
{
    struct reading *r = ctx;
    struct seen_object s = {.plan_id = o->plan_id,
                            .bytes = o->bytes,
                            .events = o->events,
                            .crc32c = o->crc32c,
                            .gzip = o->gzip,
                            .generation = o->generation};

    ASSERT(o->name != NULL);
    objects_add(&r->ledger, &s, o->name);
    return !r->ledger.failed;
}

/*
 * Whether a listed object is this delivery log's: names end with _NODE_LOG_PLAN[_rN].json[.gz], LOG
 * being the first eight digits of the log's random id. NODE does not count: the node may have had
 * another name.
 */
static bool is_ours(const struct reading *r, const struct gcs_listed *o)
{
    char part[16];
    int n = snprintf(part, sizeof(part), "_%.8s_", dlog_id(r->v->d->dlog));
    const char *file = strrchr(o->name, '/'), *last, *first;

    ASSERT(n > 0 && n < (int)sizeof(part));
    last = file != NULL ? strrchr(file, '_') : NULL;
    if (last != NULL && last[1] == 'r') /* no hex digit: PLAN is the part before */
        last = memrchr(file, '_', (size_t)(last - file));
    if (o->plan_id == NULL || last == NULL || last + 1 - file < n)
        return false;
    first = last + 1 - n;
    return memcmp(first, part, (size_t)n) == 0;
}

static uint64_t number(const char *text)
{
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

static bool add_listed_object(void *ctx, const struct gcs_listed *o)
{
    struct reading *r = ctx;
    struct seen_object s = {.bytes = o->gzip ? o->plain_bytes : o->bytes,
                            .crc32c = o->gzip ? o->plain_crc32c : o->crc32c,
                            .gzip = o->gzip,
                            .generation = o->generation,
                            .stored = o->bytes};

    ASSERT(r->v != NULL);
    if (is_ours(r, o)) {
        s.plan_id = number(o->plan_id);
        s.events = number(o->events);
        objects_add(&r->bucket, &s, o->name);
    }
    return !r->bucket.failed && atomic_load(&r->v->d->state) != DAEMON_STOPPING;
}

/* Unconfirmed plans may have their object already; loaded staging objects may be gone before the
 * log says so. */
static const char excused_sql[] =
    "SELECT name FROM objects WHERE state IN ('planned', 'parked')"
    " OR (encoding IN (1, 2) AND state IN ('loaded', 'deleted'))"
    /* Dead letters of a plan that was sent again after a crash: all objects but the last. */
    " UNION ALL SELECT o.name FROM inserts i JOIN objects o ON o.plan_id = i.plan_id"
    "  WHERE i.objects > 1"
    " UNION ALL SELECT substr(o.name, 1, length(o.name) - 5) || '_r' || n.i || '.json'"
    "  FROM (WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 99)"
    "   SELECT i FROM n) n JOIN objects o ON o.encoding = 3"
    "  LEFT JOIN inserts i ON i.plan_id = o.plan_id"
    "  WHERE o.state IN ('planned', 'parked') AND n.i < 10 OR n.i < i.objects";

static void add_deleted(void *ctx, const char *name, uint64_t letters)
{
    struct reading *r = ctx;
    const struct seen_object s = {.events = letters};

    ASSERT(name != NULL);
    objects_add(&r->deleted, &s, name);
}

/* Objects of dead letters that `penstock dlq drop --delete-objects` deleted, or was about to. */
static int read_deleted(struct reading *r)
{
    char why[DLQ_ERROR_BYTES] = "";
    struct dlq_db *db = dlq_db_of(r->v->d->dlq, why, sizeof(why));
    int rc = db != NULL ? dlq_db_each_deleted(db, add_deleted, r) : 0;

    ASSERT(rc <= 0);
    if (db == NULL)
        verify_error(r->v, "which dead letters were deleted on purpose", why);
    else if (rc != 0)
        verify_error(r->v, "which dead letters were deleted on purpose", strerror(-rc));
    return rc;
}

static int read_excused(struct reading *r)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    const struct seen_object nothing = {0};
    int rc = sqlite3_open_v2(dlog_ledger_path(r->v->d->dlog), &db, SQLITE_OPEN_READONLY, NULL);

    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db, 5000);
        rc = sqlite3_prepare_v2(db, excused_sql, -1, &st, NULL);
    }
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc == SQLITE_ROW)
            objects_add(&r->excused, &nothing, (const char *)sqlite3_column_text(st, 0));
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    ASSERT(rc != SQLITE_OK);
    return rc == SQLITE_DONE ? 0 : -EIO;
}

static int read_ledger(struct reading *r)
{
    char error[VERIFY_ERROR_BYTES] = "";
    struct ledger *l = NULL;
    int rc;

    ASSERT(r->v != NULL);
    dlog_ledger_sync(r->v->d->dlog);
    rc = ledger_open(dlog_ledger_path(r->v->d->dlog), &l, error, sizeof(error));
    if (rc == 0)
        rc = ledger_each_object(l, add_ledger_object, r);
    ledger_close(l);
    if (rc == 0)
        rc = read_excused(r);
    if (rc != 0)
        verify_error(r->v, "the ledger cannot be read", error[0] != '\0' ? error : strerror(-rc));
    return rc;
}

static int read_bucket(struct reading *r)
{
    struct gcs_config config;
    char error[VERIFY_ERROR_BYTES] = "";

    config_fill_gcs(r->v->d->config, &config);
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        int rc =
            gcs_list(&config, r->v->auth, prefixes[i], add_listed_object, r, error, sizeof(error));

        ASSERT(rc <= 0);
        if (rc != 0) {
            verify_error(r->v, "the bucket cannot be listed",
                         error[0] != '\0' ? error : strerror(-rc));
            return rc;
        }
    }
    return atomic_load(&r->v->d->state) == DAEMON_STOPPING ? -ECANCELED : 0;
}

static int read_sides(struct reading *r)
{
    int rc = read_ledger(r);

    if (rc == 0)
        rc = read_deleted(r);
    if (rc == 0)
        rc = read_bucket(r);
    if (rc == 0 &&
        (r->ledger.failed || r->bucket.failed || r->excused.failed || r->deleted.failed)) {
        verify_error(r->v, "the lists of objects", "out of memory");
        rc = -ENOMEM;
    }
    objects_finish(&r->ledger);
    objects_finish(&r->bucket);
    objects_finish(&r->excused);
    objects_finish(&r->deleted);
    ASSERT(rc <= 0);
    return rc;
}

static void fini_sides(struct reading *r)
{
    ASSERT(r != NULL);
    objects_fini(&r->ledger);
    objects_fini(&r->bucket);
    objects_fini(&r->excused);
    objects_fini(&r->deleted);
}

/* What a gzip object holds is not known before it is made, and metadata can be copied: its generation
 * stands for its bytes, which no generation ever changes. */
static bool other_bytes(const struct seen_object *a, const struct seen_object *b)
{
    ASSERT(a != b);
    return a->gzip && a->generation != 0 && b->generation != 0 && a->generation != b->generation;
}

static bool same(const struct seen_object *a, const struct seen_object *b)
{
    ASSERT(a != b);
    return a->plan_id == b->plan_id && a->bytes == b->bytes && a->crc32c == b->crc32c &&
           a->events == b->events && a->gzip == b->gzip && !other_bytes(a, b);
}

/* Whether the ledger's object is missing or different in the bucket. */
static bool looks_wrong(const struct reading *r, const struct seen_object *l)
{
    const struct seen_object *b = objects_find(&r->bucket, l->name);

    ASSERT(l->name != NULL);
    if (b != NULL)
        return !same(l, b);
    return objects_find(&r->excused, l->name) == NULL && objects_find(&r->deleted, l->name) == NULL;
}

static bool looks_unknown(const struct reading *r, const char *name)
{
    ASSERT(name != NULL);
    return objects_find(&r->ledger, name) == NULL && objects_find(&r->excused, name) == NULL;
}

static bool any_suspicious(const struct reading *r)
{
    ASSERT(r->v != NULL);
    for (size_t i = 0; i < r->ledger.n; i++) {
        if (looks_wrong(r, &r->ledger.item[i]))
            return true;
    }
    for (size_t i = 0; i < r->bucket.n; i++) {
        if (looks_unknown(r, r->bucket.item[i].name))
            return true;
    }
    return false;
}

static void report_ledger_object(const struct reading *r, const struct seen_object *l)
{
    const struct seen_object *b = objects_find(&r->bucket, l->name);
    struct verify *v = r->v;

    ASSERT(l->name != NULL);
    if (b == NULL)
        verify_difference(
            v, DIFFERENCE_MISSING_OBJECT, l->name, l->events, 0,
            "confirmed, but not in the bucket: these events were there and somebody removed them");
    else if (b->gzip != l->gzip)
        verify_difference(v, DIFFERENCE_CHANGED_OBJECT, l->name, l->gzip, b->gzip,
                          "gzip (1) or plain (0): somebody replaced the object or its metadata");
    else if (other_bytes(l, b))
        verify_difference(v, DIFFERENCE_CHANGED_OBJECT, l->name, (uint64_t)l->generation,
                          (uint64_t)b->generation, "generation: somebody replaced the object");
    else if (b->bytes != l->bytes)
        verify_difference(v, DIFFERENCE_CHANGED_OBJECT, l->name, l->bytes, b->bytes,
                          "size in bytes: somebody replaced the object");
    else if (b->crc32c != l->crc32c)
        verify_difference(v, DIFFERENCE_CHANGED_OBJECT, l->name, l->crc32c, b->crc32c,
                          "crc32c: somebody replaced the object");
    else if (b->plan_id != l->plan_id)
        verify_difference(v, DIFFERENCE_CHANGED_OBJECT, l->name, l->plan_id, b->plan_id,
                          "plan in the metadata: the object is another plan's");
    else
        verify_difference(v, DIFFERENCE_CHANGED_OBJECT, l->name, l->events, b->events,
                          "events in the metadata: somebody changed it");
}

/* Reports what looks wrong in the second reading and did in the first. */
static void report_both(const struct reading *first, const struct reading *again)
{
    ASSERT(first != again);
    for (size_t i = 0; i < again->ledger.n; i++) {
        const struct seen_object *l = &again->ledger.item[i];
        const struct seen_object *before = objects_find(&first->ledger, l->name);

        if (before != NULL && looks_wrong(again, l) && looks_wrong(first, before))
            report_ledger_object(again, l);
    }
    for (size_t i = 0; i < again->bucket.n; i++) {
        const struct seen_object *b = &again->bucket.item[i];

        if (looks_unknown(again, b->name) && objects_find(&first->bucket, b->name) != NULL &&
            looks_unknown(first, b->name))
            verify_difference(
                again->v, DIFFERENCE_UNKNOWN_OBJECT, b->name, 0, b->events,
                "in the bucket, but the ledger does not know it: an earlier data directory of this "
                "node wrote it, or it was copied here");
    }
}

static void count_found(const struct reading *r)
{
    ASSERT(r->v != NULL);
    for (size_t i = 0; i < r->bucket.n; i++) {
        r->v->objects++;
        r->v->bytes += r->bucket.item[i].stored;
        if (objects_find(&r->ledger, r->bucket.item[i].name) == NULL)
            r->v->unconfirmed++;
    }
    for (size_t i = 0; i < r->deleted.n; i++) {
        if (objects_find(&r->bucket, r->deleted.item[i].name) != NULL)
            continue;
        r->v->deleted++;
        r->v->deleted_letters += r->deleted.item[i].events;
    }
}

void verify_bucket(struct verify *v)
{
    struct reading first = {.v = v}, again = {.v = v};
    const struct timespec pause = {.tv_sec = VERIFY_AGAIN_US / 1000000,
                                   .tv_nsec = VERIFY_AGAIN_US % 1000000 * 1000};

    ASSERT(v->d->config->gcs_enabled);
    if (read_sides(&first) == 0) {
        count_found(&first);
        if (any_suspicious(&first)) {
            nanosleep(&pause, NULL);
            if (read_sides(&again) == 0)
                report_both(&first, &again);
        }
    }
    fini_sides(&first);
    fini_sides(&again);
}
