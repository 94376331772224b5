/*
 * Cloud Storage and BigQuery behind gcs.h and bigquery.h: objects by name with ifGenerationMatch=0,
 * load jobs by id, and what goes wrong between them and us. A request may arrive without its answer,
 * late (after the crash of who sent it), or never; a job may fail, or be refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "dataplane/base/crc32c.h"
#include "sinks/bigquery/bigquery.h"
#include "sinks/delivery/plan.h"
#include "sinks/engine/request.h"
#include "sinks/gcs/gcs.h"
#include "tests/fault/sim.h"

#define OBJECTS_MAX 8192u
#define JOBS_MAX    2048u
#define OPS_MAX     512u
#define BODY_BYTES  (4u << 20)

struct object {
    char name[160];
    char log_id[33];
    uint64_t plan_id;
    uint32_t crc32c; /* of the plain lines */
    uint64_t bytes;
    bool gone;
    uint32_t life;      /* of whoever sent it */
    uint32_t n_letters; /* of refused rows */
    uint32_t n_serials;
    uint32_t *serial, *at; /* by line: the event, and where it starts in the plain bytes */
    char *stored;
    size_t stored_len;
};

enum job_state { JOB_RUNS, JOB_DONE, JOB_FAILED, JOB_REFUSED };

struct job {
    char id[96];
    char table[64];
    enum job_state state;
    uint64_t rows;
    uint32_t n_objects;
    uint32_t *object;
    bool about_rows; /* JOB_REFUSED: */
    bool named;
    uint32_t bad_object, bad_line;
};

enum op_kind { OP_PUT, OP_DELETE, OP_ENSURE, OP_LOAD, OP_GET, OP_INSERT };

/* A request under way; who is NULL when its sender is gone: it arrives, and nobody hears of it. */
struct op {
    enum op_kind kind;
    void *client;
    struct gcs_put *put;
    struct gcs_delete *delete;
    struct gcs_get *get;
    struct bq_ensure *ensure;
    struct bq_load *load;
    struct request *insert;
    uint32_t life;
    struct gcs_put late; /* OP_PUT of one who is gone: its own copies */
    char *late_name, *late_body, late_log[33];
    struct iovec late_iov; /* also of OP_INSERT, whose late_name is its table */
};

static struct {
    struct object object[OBJECTS_MAX];
    uint32_t n_objects;
    struct job job[JOBS_MAX];
    uint32_t n_jobs;
    struct op op[OPS_MAX];
    uint32_t n_ops;
    int64_t generation;
    const char *denied; /* prefix of objects that are refused, or NULL */
    char *body, *plain; /* BODY_BYTES each */
} cloud;

static void op_free(struct op *o)
{
    free(o->late_name);
    free(o->late_body);
}

void cloud_reset(void)
{
    for (uint32_t i = 0; i < cloud.n_objects; i++)
        free(cloud.object[i].serial), free(cloud.object[i].at), free(cloud.object[i].stored);
    for (uint32_t i = 0; i < cloud.n_jobs; i++)
        free(cloud.job[i].object);
    for (uint32_t i = 0; i < cloud.n_ops; i++)
        op_free(&cloud.op[i]);
    stream_reset();
    cloud.n_objects = cloud.n_jobs = cloud.n_ops = 0;
    cloud.denied = NULL;
    if (cloud.body == NULL) {
        cloud.body = malloc(BODY_BYTES);
        cloud.plain = malloc(BODY_BYTES);
    }
    ASSERT(cloud.body != NULL && cloud.plain != NULL);
}

/* ---- objects ---- */

static struct object *object_find(const char *name)
{
    for (uint32_t i = cloud.n_objects; i-- > 0;) {
        if (strcmp(cloud.object[i].name, name) == 0)
            return &cloud.object[i];
    }
    return NULL;
}

static bool expand(struct span packed, size_t plain_len)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)packed.ptr,
                  .avail_in = (uInt)packed.len,
                  .next_out = (Bytef *)cloud.plain,
                  .avail_out = BODY_BYTES};
    int rc = inflateInit2(&z, 15 + 16);

    ASSERT(rc == Z_OK);
    rc = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return rc == Z_STREAM_END && z.total_out == plain_len;
}

static bool is_piece(const char *name)
{
    return strncmp(name, "staging/pieces/", 15) == 0;
}

/* Where an event's line may be. */
static bool belongs(const char *name, enum event_kind kind)
{
    if (is_piece(name))
        return kind != KIND_DEAD;
    if (strncmp(name, "dead_letter/", 12) == 0)
        return kind == KIND_DEAD;
    if (strncmp(name, "staging/", 8) == 0)
        return kind == KIND_CLICK || kind == KIND_OTHER;
    return kind != KIND_DEAD;
}

static void object_line(struct object *o, struct span line, uint32_t at)
{
    bool letter = memmem(line.ptr, line.len, "\"refused_by_bigquery\"", 21) != NULL;
    uint32_t serial = letter ? model_letter(line, o->life) : model_line(line);

    if (letter && serial != 0) {
        o->n_letters++;
        return;
    }
    if (serial == 0) {
        sim_wrong("object %s holds a line that is none of ours: %.*s", o->name,
                  (int)(line.len < 60 ? line.len : 60), line.ptr);
        return;
    }
    if (!belongs(o->name, model_kind(serial)))
        sim_wrong("event %u is in %s", serial, o->name);
    o->serial = realloc(o->serial, (o->n_serials + 1) * sizeof(*o->serial));
    o->at = realloc(o->at, (o->n_serials + 1) * sizeof(*o->at));
    ASSERT(o->serial != NULL && o->at != NULL);
    o->at[o->n_serials] = at;
    o->serial[o->n_serials++] = serial;
    if (strncmp(o->name, "staging/", 8) != 0)
        model_archived(serial);
}

/* The body of a request as it is now: the sender streams it from its memory. */
static struct span body_of(const struct gcs_put *p)
{
    size_t len = 0;

    for (uint32_t i = 0; i < p->body_parts; i++) {
        ASSERT(len + p->body[i].iov_len <= BODY_BYTES);
        memcpy(cloud.body + len, p->body[i].iov_base, p->body[i].iov_len);
        len += p->body[i].iov_len;
    }
    return (struct span){cloud.body, len};
}

/* Of the lines, compressed or not. */
static uint64_t plain_bytes(const struct gcs_put *p)
{
    return p->gzip ? p->plain_bytes : p->bytes;
}

static uint32_t plain_crc32c(const struct gcs_put *p)
{
    return p->gzip ? p->plain_crc32c : p->crc32c;
}

static void object_create(const struct gcs_put *p, uint32_t life)
{
    struct object *o = &cloud.object[cloud.n_objects];
    struct span body = body_of(p);

    if (body.len != p->bytes || crc32c(0, body.ptr, body.len) != p->crc32c) {
        sim_wrong("the bytes of %s changed while they were sent", p->name);
        return;
    }
    o->stored = NULL;
    if (p->gzip) {
        if (!expand(body, plain_bytes(p))) {
            sim_wrong("%s is no gzip of %" PRIu64 " bytes", p->name, plain_bytes(p));
            return;
        }
        body = (struct span){cloud.plain, plain_bytes(p)};
    }
    if (crc32c(0, body.ptr, body.len) != plain_crc32c(p))
        sim_wrong("the plain bytes of %s are not the planned ones", p->name);
    ASSERT(cloud.n_objects < OBJECTS_MAX && strlen(p->name) < sizeof(o->name));
    *o = (struct object){.plan_id = p->plan_id,
                         .life = life,
                         .crc32c = plain_crc32c(p),
                         .bytes = plain_bytes(p),
                         .stored = malloc(p->bytes),
                         .stored_len = p->bytes};
    ASSERT(o->stored != NULL);
    memcpy(o->stored, cloud.body, p->bytes);
    snprintf(o->name, sizeof(o->name), "%s", p->name);
    snprintf(o->log_id, sizeof(o->log_id), "%s", p->log_id);
    cloud.n_objects++;
    sim.totals.objects++;
    sim.totals.pieces += is_piece(o->name) ? 1 : 0;
    while (body.len > 0) {
        const char *end = memchr(body.ptr, '\n', body.len);
        size_t len = end != NULL ? (size_t)(end - body.ptr) + 1 : body.len;

        object_line(o, (struct span){body.ptr, len}, (uint32_t)(plain_bytes(p) - body.len));
        body.ptr += len;
        body.len -= len;
    }
    sim_trace("  cloud: %s of %u events", o->name, o->n_serials);
}

/* What ifGenerationMatch=0, and then looking at the object, come to. */
static enum gcs_result object_put(const struct gcs_put *p, uint32_t life)
{
    const struct object *o = object_find(p->name);

    if (o == NULL) {
        object_create(p, life);
        return GCS_DONE;
    }
    if (o->plan_id == p->plan_id && strcmp(o->log_id, p->log_id) == 0 &&
        o->crc32c == plain_crc32c(p) && o->bytes == plain_bytes(p))
        return GCS_DONE;
    if (o->n_letters > 0 && o->plan_id == p->plan_id && o->life != life)
        return GCS_CONFLICT; /* after a crash BigQuery may refuse other rows, or in other words */
    sim_wrong("%s is there already, and is another plan's or holds other bytes", p->name);
    return GCS_CONFLICT;
}

uint32_t cloud_letters(uint64_t plan_id)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < cloud.n_objects; i++)
        n += cloud.object[i].plan_id == plan_id ? cloud.object[i].n_letters : 0;
    return n;
}

static void object_delete(const char *name)
{
    struct object *o = object_find(name);

    if (o == NULL || o->gone)
        return;
    if (strncmp(name, "staging/", 8) != 0)
        sim_wrong("%s is deleted", name);
    for (uint32_t i = 0; i < o->n_serials && !is_piece(name); i++) {
        if (!model_settled(o->serial[i]))
            sim_wrong("%s is deleted before event %u is loaded", name, o->serial[i]);
    }
    o->gone = true;
}

/* ---- jobs ---- */

static struct job *job_find(const char *id)
{
    for (uint32_t i = cloud.n_jobs; i-- > 0;) {
        if (strcmp(cloud.job[i].id, id) == 0)
            return &cloud.job[i];
    }
    return NULL;
}

/* The object of a URI; UINT32_MAX when it is not there. */
static uint32_t object_of(const char *uri)
{
    const struct object *o = object_find(uri + strlen("gs://bucket/"));

    return o != NULL && !o->gone ? (uint32_t)(o - cloud.object) : UINT32_MAX;
}

/* jobs.insert. @return NULL for a conflict. */
static struct job *job_insert(const struct bq_load *l)
{
    struct job *j = job_find(l->job_id);
    bool same;

    if (j != NULL) {
        same = strcmp(j->table, l->table) == 0 && j->n_objects == l->n_uris;
        for (uint32_t i = 0; same && i < l->n_uris; i++)
            same =
                strcmp(l->uris[i] + strlen("gs://bucket/"), cloud.object[j->object[i]].name) == 0;
        if (!same)
            sim_wrong("job %s is inserted again with other objects", l->job_id);
        return same ? j : NULL;
    }
    ASSERT(cloud.n_jobs < JOBS_MAX && strlen(l->job_id) < sizeof(j->id));
    j = &cloud.job[cloud.n_jobs++];
    *j = (struct job){.n_objects = l->n_uris};
    snprintf(j->id, sizeof(j->id), "%s", l->job_id);
    snprintf(j->table, sizeof(j->table), "%s", l->table);
    j->object = calloc(l->n_uris, sizeof(*j->object));
    ASSERT(j->object != NULL);
    for (uint32_t i = 0; i < l->n_uris; i++) {
        j->object[i] = object_of(l->uris[i]);
        if (j->object[i] == UINT32_MAX) {
            sim_wrong("job %s is to load %s, which is not there", l->job_id, l->uris[i]);
            j->object[i] = 0;
        }
    }
    sim.totals.jobs++;
    return j;
}

/* The first row that is no good. */
static bool bad_row_find(struct job *j)
{
    for (uint32_t i = 0; i < j->n_objects; i++) {
        const struct object *o = &cloud.object[j->object[i]];

        for (uint32_t k = 0; k < o->n_serials; k++) {
            if (!model_is_good(o->serial[k])) {
                j->bad_object = j->object[i];
                j->bad_line = k;
                return true;
            }
        }
    }
    return false;
}

static void job_run(struct job *j)
{
    if (j->state != JOB_RUNS)
        return;
    if (sim_once_in(5)) {
        j->state = sim_below(2) == 0 ? JOB_FAILED : JOB_REFUSED;
        j->about_rows = sim_below(4) == 0; /* a table that is not itself for a while */
        sim.totals.loads_failed++;
        sim_trace("  cloud: job %s %s", j->id, j->state == JOB_FAILED ? "fails" : "is refused");
        return;
    }
    if (bad_row_find(j)) {
        j->state = JOB_REFUSED;
        j->about_rows = true;
        j->named = sim_below(3) != 0;
        sim.totals.loads_failed++;
        sim_trace("  cloud: job %s %s", j->id, j->state == JOB_FAILED ? "fails" : "is refused");
        return;
    }
    for (uint32_t i = 0; i < j->n_objects; i++) {
        struct object *o = &cloud.object[j->object[i]];

        if (o->gone)
            sim_wrong("job %s loads %s, which is deleted", j->id, o->name);
        j->rows += o->n_serials;
        for (uint32_t k = 0; k < o->n_serials; k++)
            model_loaded(o->serial[k]);
    }
    j->state = JOB_DONE;
    sim_trace("  cloud: job %s loads %" PRIu64 " rows", j->id, j->rows);
}

/* ---- requests ---- */

static int op_add(const struct op *o)
{
    if (sim_once_in(100))
        return -ENOMEM;
    ASSERT(cloud.n_ops < OPS_MAX);
    cloud.op[cloud.n_ops] = *o;
    cloud.op[cloud.n_ops++].life = sim.life;
    return 0;
}

static void op_end(uint32_t i)
{
    if (cloud.op[i].put != NULL)
        cloud.op[i].put->_op = NULL; /* whoever started it looks at that */
    op_free(&cloud.op[i]);
    cloud.n_ops--;
    memmove(&cloud.op[i], &cloud.op[i + 1], (cloud.n_ops - i) * sizeof(cloud.op[0]));
}

static void put_step(uint32_t i)
{
    struct op o = cloud.op[i];
    uint32_t fate = sim.calm ? 9 : sim_below(10);
    enum gcs_result result;

    if (o.client == NULL) { /* a late one */
        o.late.name = o.late_name;
        o.late.log_id = o.late_log;
        o.late.body = &o.late_iov;
        o.late.body_parts = 1;
        (void)object_put(&o.late, o.life);
        op_end(i);
        return;
    }
    if (cloud.denied != NULL && strncmp(o.put->name, cloud.denied, strlen(cloud.denied)) == 0)
        fate = 0;
    if (fate == 0) { /* refused for good, so it seems */
        op_end(i);
        o.put->done(o.put, GCS_PERMANENT, 0, "403 forbidden (simulated)");
        return;
    }
    result = object_put(o.put, o.life);
    if (fate < 3)
        return; /* the answer is lost; it is asked for again */
    op_end(i);
    o.put->done(o.put, result, ++cloud.generation, "");
}

static void delete_step(uint32_t i)
{
    struct op o = cloud.op[i];
    bool fails = sim_once_in(8);

    if (!fails)
        object_delete(o.delete->name);
    if (sim_once_in(5))
        return;
    op_end(i);
    o.delete->done(o.delete, fails ? GCS_PERMANENT : GCS_DONE, "simulated");
}

static void ensure_step(uint32_t i)
{
    struct op o = cloud.op[i];

    op_end(i);
    o.ensure->done(o.ensure, sim_once_in(10) ? BQ_PERMANENT : BQ_DONE, "simulated");
}

/* What BigQuery says of the row at fault: nothing, the truth, or something else. */
static void job_refusal(const struct job *j, struct bq_refusal *out)
{
    const struct object *o = &cloud.object[j->bad_object];

    *out = (struct bq_refusal){.rows = j->about_rows, .position = -1};
    if (!j->named)
        return;
    snprintf(out->uri, sizeof(out->uri), "gs://bucket/%s", o->name);
    out->position = o->at[j->bad_line];
    if (j->bad_line % 8 == 3) /* the same again whenever it is asked */
        out->position += 700;
}

static void get_step(uint32_t i)
{
    struct op o = cloud.op[i];
    const struct object *from = object_find(o.get->name);
    size_t len = 0, n;

    if (from == NULL || from->gone || sim_once_in(10)) {
        op_end(i);
        o.get->done(o.get, GCS_PERMANENT, "cannot be read (simulated)");
        return;
    }
    for (; len < from->stored_len; len += n) {
        n = 1 + sim_below(5000);
        n = n < from->stored_len - len ? n : from->stored_len - len;
        if (!o.get->take(o.get, (struct span){from->stored + len, n})) {
            op_end(i);
            o.get->done(o.get, GCS_PERMANENT, "not taken (simulated)");
            return;
        }
    }
    op_end(i);
    o.get->done(o.get, GCS_DONE, "");
}

static void load_step(uint32_t i)
{
    static const enum bq_result result[] = {
        [JOB_DONE] = BQ_DONE, [JOB_FAILED] = BQ_JOB_FAILED, [JOB_REFUSED] = BQ_JOB_REFUSED};
    struct op o = cloud.op[i];
    struct job *j = job_insert(o.load);

    if (j == NULL) {
        op_end(i);
        o.load->done(o.load, BQ_CONFLICT, 0, "simulated conflict");
        return;
    }
    if (sim.calm || sim_below(2) == 0)
        job_run(j);
    if (j->state == JOB_RUNS || sim_once_in(4))
        return; /* polled again */
    op_end(i);
    if (j->state == JOB_REFUSED)
        job_refusal(j, &o.load->refusal);
    o.load->done(o.load, result[j->state], j->state == JOB_DONE ? j->rows : 0, "simulated");
}

static void insert_step(uint32_t i)
{
    struct op o = cloud.op[i];

    if (o.client == NULL) {
        stream_arrive_late(o.late_body, o.late_iov.iov_len, o.late_name);
        op_end(i);
        return;
    }
    op_end(i);
    stream_arrive(o.insert);
}

void cloud_deny(const char *prefix)
{
    cloud.denied = prefix;
    sim_trace("  cloud: %s may not be written", prefix != NULL ? prefix : "nothing");
}

void cloud_deny_some(void)
{
    static const char *const prefix[] = {"output/order/",
                                         "output/",
                                         "staging/click/",
                                         "output/click/",
                                         "dead_letter/",
                                         "staging/",
                                         NULL,
                                         NULL};

    cloud_deny(prefix[sim_below(ARRAY_LEN(prefix))]);
}

void cloud_step(void)
{
    uint32_t pick = cloud.n_ops > 0 ? sim_below(cloud.n_ops) : 0;

    if (cloud.n_jobs > 0 && sim_below(6) == 0)
        job_run(&cloud.job[cloud.n_jobs - 1 - sim_below(cloud.n_jobs < 4 ? cloud.n_jobs : 4)]);
    if (cloud.n_ops == 0)
        return;
    switch (cloud.op[pick].kind) {
    case OP_PUT:
        put_step(pick);
        break;
    case OP_DELETE:
        delete_step(pick);
        break;
    case OP_ENSURE:
        ensure_step(pick);
        break;
    case OP_GET:
        get_step(pick);
        break;
    case OP_INSERT:
        insert_step(pick);
        break;
    default:
        load_step(pick);
        break;
    }
}

uint32_t cloud_pending(void)
{
    return cloud.n_ops;
}

/* The request goes on without its sender. */
static void put_detach(struct op *o)
{
    struct span body = body_of(o->put);

    o->late = *o->put;
    o->late_name = strdup(o->put->name);
    o->late_body = malloc(body.len);
    snprintf(o->late_log, sizeof(o->late_log), "%s", o->put->log_id);
    ASSERT(o->late_name != NULL && o->late_body != NULL);
    memcpy(o->late_body, body.ptr, body.len);
    o->late_iov = (struct iovec){o->late_body, body.len};
    o->client = NULL;
    o->put->_op = NULL;
    o->put = NULL;
}

static void insert_detach(struct op *o)
{
    const struct request *r = o->insert;

    o->late_name = strndup(r->url.ptr, r->url.len - strlen("/insertAll"));
    o->late_body = malloc(r->body_bytes);
    ASSERT(o->late_name != NULL && o->late_body != NULL && r->body_parts == 1);
    memcpy(o->late_body, r->body[0].iov_base, r->body_bytes);
    o->late_iov = (struct iovec){o->late_body, r->body_bytes};
    o->client = NULL;
    o->insert = NULL;
}

void cloud_crash(void)
{
    for (uint32_t i = cloud.n_ops; i-- > 0;) {
        struct op *o = &cloud.op[i];
        uint32_t fate = sim_below(3);

        if (o->client == NULL)
            continue;
        if (fate == 0 && o->kind == OP_PUT) {
            (void)object_put(o->put, o->life);
        } else if (fate == 1 && o->kind == OP_PUT) {
            put_detach(o);
            continue;
        } else if (fate < 2 && o->kind == OP_INSERT) { /* now, or late */
            insert_detach(o);
            if (fate == 1)
                continue;
            stream_arrive_late(o->late_body, o->late_iov.iov_len, o->late_name);
        } else if (fate == 0 && o->kind == OP_LOAD) {
            (void)job_insert(o->load);
        } else if (fate == 0 && o->kind == OP_DELETE) {
            object_delete(o->delete->name);
        }
        op_end(i);
    }
}

/* ---- gcs.h ---- */

struct gcs {
    char unused;
};
static struct gcs the_gcs;

int gcs_create(struct loop *l, struct http_client *http, struct auth *auth,
               const struct gcs_config *config, struct gcs_stats *stats, struct gcs **out)
{
    (void)l, (void)http, (void)auth, (void)config, (void)stats;
    *out = &the_gcs;
    return 0;
}

void gcs_destroy(struct gcs *g)
{
    (void)g;
}

int gcs_put_start(struct gcs *g, struct gcs_put *p)
{
    struct op o = {.kind = OP_PUT, .client = g, .put = p};

    int rc;

    sim_trace("  put %s (plan %" PRIu64 ", %" PRIu64 " events)", p->name, p->plan_id, p->events);
    rc = op_add(&o);
    p->_op = rc == 0 ? g : NULL;
    return rc;
}

int gcs_delete_start(struct gcs *g, struct gcs_delete *d)
{
    struct op o = {.kind = OP_DELETE, .client = g, .delete = d};

    sim_trace("  delete %s", d->name);
    return op_add(&o);
}

int gcs_get_start(struct gcs *g, struct gcs_get *get)
{
    struct op o = {.kind = OP_GET, .client = g, .get = get};

    sim_trace("  get %s", get->name);
    return op_add(&o);
}

/* ---- bigquery.h ---- */

int bq_ensure_start(struct bq *b, struct bq_ensure *e)
{
    struct op o = {.kind = OP_ENSURE, .client = b, .ensure = e};

    return op_add(&o);
}

int bq_load_start(struct bq *b, struct bq_load *l)
{
    struct op o = {.kind = OP_LOAD, .client = b, .load = l};

    sim_trace("  load %s: %u objects", l->job_id, l->n_uris);
    return op_add(&o);
}

void cloud_insert(struct request *r)
{
    struct op o = {.kind = OP_INSERT, .client = r, .insert = r, .life = sim.life};

    ASSERT(cloud.n_ops < OPS_MAX);
    cloud.op[cloud.n_ops++] = o;
}

void cloud_insert_cancel(const struct request *r)
{
    for (uint32_t i = cloud.n_ops; i-- > 0;) {
        if (cloud.op[i].kind == OP_INSERT && cloud.op[i].insert == r && r != NULL)
            op_end(i);
    }
}
