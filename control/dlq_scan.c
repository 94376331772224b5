/*
 * COLD. Walks over the dead letters in the bucket. Objects of one minute and type are a group:
 * within it lines come in the order of the journals, so the parts of a letter follow each other,
 * also from object to object.
 *
 * What is held: the names of a window of objects, one group's objects, one piece of one object, and
 * the letters of the group whose parts are not all there yet.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/dlq_internal.h"
#include "dataplane/base/log.h"
#include "dataplane/event/timeval.h"
#include "dataplane/json/json.h"
#include "sinks/engine/auth.h"

#define PENDING_MAX   256 /* letters with parts missing, at once; more than daemons have workers */
#define PROBLEM_BYTES 1024

/* Original bytes, growing. */
struct bytes {
    char *ptr;
    size_t len, room;
};

/* A letter of which parts are still to come. */
struct pending {
    struct dlq_line line; /* of part 1 */
    struct dlq_mark mark;
    size_t object; /* index in the group */
    uint32_t next; /* part */
    uint64_t total;
    struct bytes raw; /* only when wanted */
};

/* An object of the group. */
struct member {
    const struct dlq_object *object;
    struct dlq_object_fact fact;
    bool handled, whole; /* whole: read to its end */
};

struct walk {
    struct dlq_scan *s;
    struct gcs_reader *reader;
    struct dlq_objects objects;
    struct dlq_reading reading;
    struct bytes scratch;
    /* the group under way */
    char type[TYPE_NAME_BYTES_MAX];
    size_t type_len;
    struct member *member;
    size_t n_members, members_room;
    struct pending pending[PENDING_MAX];
    uint32_t n_pending;
    int rc; /* what ends the walk */
    char error[DLQ_ERROR_BYTES];
};

void dlq_problem(struct dlq_scan *s, const char *format, ...)
{
    char text[PROBLEM_BYTES];
    va_list args;

    ASSERT(format != NULL);
    if (s->n_problems++ >= DLQ_PROBLEMS_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    textbuf_add(&s->problems, "%s\n", text);
}

void dlq_scan_fini(struct dlq_scan *s)
{
    ASSERT(s != NULL);
    textbuf_fini(&s->problems);
}

/* ---- original bytes ---- */

static bool bytes_append(struct bytes *b, const struct dlq_line *line)
{
    size_t want = b->len + line->raw.len + JSON_PADDING_BYTES;

    ASSERT(b->len <= b->room);
    if (want > b->room) {
        char *larger = realloc(b->ptr, 2 * want);

        if (larger == NULL)
            return false;
        memset(larger + b->room, 0, 2 * want - b->room);
        b->ptr = larger;
        b->room = 2 * want;
    }
    b->len += dlq_line_raw(line, b->ptr + b->len);
    return true;
}

static void bytes_free(struct bytes *b)
{
    ASSERT(b != NULL);
    free(b->ptr);
    *b = (struct bytes){0};
}

/* ---- letters ---- */

/*
 * When a letter became one. The objects of rows that BigQuery refused have the minute of the
 * refusal, long after the receipt perhaps: types and times in names are what limits listings, so a
 * letter's time is in its object's minute.
 */
static int64_t time_of(const struct walk *w, const struct dlq_line *line)
{
    int32_t minute = w->member[w->n_members - 1].object->minute; /* the same in all of the group */

    ASSERT(w->n_members > 0);
    return time_minute(line->received_us) == minute ? line->received_us
                                                    : minute * INT64_C(60000000);
}

static bool wanted(const struct walk *w, const struct dlq_line *line, const struct dlq_mark *mark)
{
    const struct dlq_filter *f = w->s->filter;
    bool named = f->n_ids == 0;
    int64_t time_us = time_of(w, line);

    ASSERT(mark->state < DLQ_STATES);
    if ((f->states & 1u << mark->state) == 0 || time_us < f->since_us || time_us >= f->until_us)
        return false;
    if (f->reason[0] != '\0' && strcmp(f->reason, line->reason) != 0)
        return false;
    if (f->source[0] != '\0' && strstr(line->source, f->source) == NULL)
        return false;
    for (uint32_t i = 0; !named && i < f->n_ids; i++)
        named = dlq_id_equal(&f->id[i], &line->id);
    return named;
}

static void deliver(struct walk *w, const struct dlq_line *line, const struct dlq_mark *mark,
                    size_t object, uint32_t parts_found, uint64_t total, struct span raw)
{
    const struct member *m = &w->member[object];
    struct dlq_letter l = {
        .line = *line,
        .type = {.ptr = w->type, .len = w->type_len},
        .object = m->object->name,
        .minute = m->object->minute,
        .time_us = time_of(w, line),
        .complete = parts_found == line->parts,
        .parts_found = parts_found,
        .bytes = total,
        .mark = *mark,
        .raw = raw,
    };

    ASSERT(parts_found <= line->parts);
    w->s->incomplete += l.complete ? 0 : 1;
    if (!w->s->stopped && !w->s->letter(w->s->ctx, &l))
        w->s->stopped = true;
}

static void out_of_memory(struct walk *w)
{
    ASSERT(w->rc <= 0);
    w->rc = -ENOMEM;
    snprintf(w->error, sizeof(w->error), "out of memory for a letter");
}

/* A letter is complete, or the rest of it is not there. */
static void pending_end(struct walk *w, uint32_t index)
{
    struct pending *p = &w->pending[index];
    struct span raw = {.ptr = p->raw.ptr, .len = p->raw.len};

    ASSERT(index < w->n_pending);
    if (p->next <= p->line.parts) {
        w->member[p->object].fact.odd = true;
        w->member[p->object].handled = false; /* the rest may still come */
    }
    if (wanted(w, &p->line, &p->mark))
        deliver(w, &p->line, &p->mark, p->object, p->next - 1, p->total, raw);
    bytes_free(&p->raw);
    w->n_pending--;
    memmove(p, p + 1, (w->n_pending - index) * sizeof(*p));
}

static bool same_letter(const struct pending *p, const struct dlq_line *line)
{
    ASSERT(p->next > 1);
    return memcmp(&p->line.id.journal, &line->id.journal, sizeof(line->id.journal)) == 0 &&
           p->next == line->part && p->line.parts == line->parts &&
           p->line.received_us == line->received_us && p->line.position == line->position &&
           strcmp(p->line.source, line->source) == 0 && strcmp(p->line.reason, line->reason) == 0;
}

/* Takes one part's bytes; only their number when nobody wants them. */
static bool take_bytes(struct walk *w, struct pending *p, const struct dlq_line *line)
{
    struct bytes *b = w->s->want_raw ? &p->raw : &w->scratch;
    size_t before;

    ASSERT(p->next == line->part);
    w->scratch.len = 0;
    before = b->len;
    if (!bytes_append(b, line)) {
        out_of_memory(w);
        return false;
    }
    p->total += b->len - before;
    p->next++;
    return true;
}

static void first_part(struct walk *w, size_t object, const struct dlq_line *line,
                       const struct dlq_mark *mark)
{
    struct pending *p;

    if (w->n_pending == PENDING_MAX) /* only an edited object gets here */
        pending_end(w, 0);
    ASSERT(w->n_pending < PENDING_MAX);
    p = &w->pending[w->n_pending++];
    *p = (struct pending){.line = *line, .mark = *mark, .object = object, .next = 1};
    p->line.raw = (struct span){0};
    (void)take_bytes(w, p, line);
}

static void further_part(struct walk *w, size_t object, const struct dlq_line *line)
{
    struct member *m = &w->member[object];

    ASSERT(line->part > 1);
    for (uint32_t i = 0; i < w->n_pending; i++) {
        struct pending *p = &w->pending[i];

        if (!same_letter(p, line))
            continue;
        if (p->object != object)
            m->fact.odd = w->member[p->object].fact.odd = true;
        m->handled = m->handled && p->mark.state >= DLQ_REPLAYED;
        if (take_bytes(w, p, line) && p->next > line->parts)
            pending_end(w, i);
        return;
    }
    m->fact.odd = true; /* its first part is not here, or not yet */
    m->handled = false;
    w->s->incomplete++;
}

static void whole_letter(struct walk *w, size_t object, const struct dlq_line *line,
                         const struct dlq_mark *mark)
{
    ASSERT(line->parts == 1);
    if (!wanted(w, line, mark))
        return;
    w->scratch.len = 0;
    if (!bytes_append(&w->scratch, line)) {
        out_of_memory(w);
        return;
    }
    deliver(w, line, mark, object, 1, w->scratch.len,
            (struct span){.ptr = w->scratch.ptr, .len = w->scratch.len});
}

/* ---- lines ---- */

static void note_range(struct dlq_object_fact *f, const struct dlq_id *id)
{
    ASSERT(f->n_ranges <= DLQ_RANGES_MAX);
    for (uint32_t i = 0; i < f->n_ranges; i++) {
        struct dlq_object_range *r = &f->range[i];

        if (memcmp(&r->journal, &id->journal, sizeof(r->journal)) != 0)
            continue;
        r->least = id->lsn < r->least ? id->lsn : r->least;
        r->most = id->lsn > r->most ? id->lsn : r->most;
        return;
    }
    if (f->n_ranges < DLQ_RANGES_MAX)
        f->range[f->n_ranges++] =
            (struct dlq_object_range){.journal = id->journal, .least = id->lsn, .most = id->lsn};
    else
        f->odd = true;
}

static bool visit_line(void *ctx, struct span text, uint64_t number)
{
    struct walk *w = ctx;
    size_t object = w->n_members - 1;
    struct member *m = &w->member[object];
    struct dlq_line line;
    struct dlq_mark mark;
    const char *why = dlq_line_parse(text, &line);

    ASSERT(w->n_members > 0);
    if (why != NULL) {
        dlq_problem(w->s, "%s: line %" PRIu64 ": not a dead letter: %s", m->object->name, number,
                    why);
        m->fact.odd = true;
        m->handled = false;
        return true;
    }
    note_range(&m->fact, &line.id);
    if (line.part > 1) {
        further_part(w, object, &line);
    } else {
        w->rc = dlq_db_mark(w->s->db, &line.id, &mark);
        if (w->rc != 0) {
            dlq_db_message(w->s->db, w->error, sizeof(w->error));
            return false;
        }
        m->fact.letters++;
        m->handled = m->handled && mark.state >= DLQ_REPLAYED;
        if (line.parts == 1)
            whole_letter(w, object, &line, &mark);
        else
            first_part(w, object, &line, &mark);
    }
    return w->rc == 0 && !w->s->stopped && atomic_load(&w->s->d->state) != DAEMON_STOPPING;
}

/* ---- groups ---- */

static bool member_add(struct walk *w, const struct dlq_object *o)
{
    ASSERT(w->n_members <= w->members_room);
    if (w->n_members == w->members_room) {
        size_t room = w->members_room > 0 ? 2 * w->members_room : 16;
        struct member *larger = realloc(w->member, room * sizeof(*larger));

        if (larger == NULL) {
            out_of_memory(w);
            return false;
        }
        w->member = larger;
        w->members_room = room;
    }
    w->member[w->n_members++] = (struct member){
        .object = o,
        .fact = {.name = o->name, .generation = o->generation},
        .handled = true,
    };
    return true;
}

/* Whether whoever asked has hung up: Ctrl-C ends a long command. */
static bool client_gone(const struct dlq_scan *s)
{
    struct pollfd p = {.fd = s->client_fd};

    ASSERT(s->d != NULL);
    return s->client_fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0;
}

static void object_read(struct walk *w, const struct dlq_object *o)
{
    struct dlq_scan *s = w->s;
    int rc;

    ASSERT(!s->stopped && w->rc == 0);
    if (client_gone(s)) {
        w->rc = -ECANCELED;
        snprintf(w->error, sizeof(w->error), "nobody waits for the answer any more");
        return;
    }
    if (!s->every && dlq_db_object_skip(s->db, o->name, o->generation, s->filter)) {
        s->objects_skipped++;
        return;
    }
    if (!member_add(w, o))
        return;
    rc = dlq_read(&w->reading, w->reader, o, visit_line, w);
    if (rc == 0 && !w->reading.stopped) {
        s->objects_read++;
        w->member[w->n_members - 1].whole = true;
    } else if (rc != 0) {
        dlq_problem(s, "%s: %s", o->name, w->reading.error);
        w->member[w->n_members - 1].fact.odd = true;
        w->member[w->n_members - 1].handled = false;
    }
    if (atomic_load(&s->d->state) == DAEMON_STOPPING && w->rc == 0) {
        w->rc = -ECANCELED;
        snprintf(w->error, sizeof(w->error), "the daemon is stopping");
    }
}

/* What the objects hold is noted; a failure only costs time later. */
static void facts_keep(struct walk *w)
{
    ASSERT(w->rc == 0);
    for (size_t i = 0; i < w->n_members; i++) {
        const struct member *m = &w->member[i];

        if (m->whole && dlq_db_objects_put(w->s->db, &m->fact, 1) != 0) {
            log_debug("dlq", "what %s holds could not be noted", m->object->name);
            return;
        }
    }
}

static void group_end(struct walk *w)
{
    struct dlq_scan *s = w->s;

    while (w->n_pending > 0 && w->rc == 0 && !s->stopped)
        pending_end(w, 0);
    for (size_t i = 0; s->object != NULL && i < w->n_members && w->rc == 0 && !s->stopped; i++) {
        const struct member *m = &w->member[i];
        const struct dlq_scanned o = {
            .object = m->object, .letters = m->fact.letters, .handled = m->handled && m->whole};

        ASSERT(m->object != NULL);
        s->stopped = !s->object(s->ctx, &o);
    }
    if (w->rc == 0 && !s->stopped)
        facts_keep(w);
    while (w->n_pending > 0)
        bytes_free(&w->pending[--w->n_pending].raw);
    w->n_members = 0;
}

/* Whether two objects are of one minute and type. */
static bool same_group(const struct dlq_object *a, const struct dlq_object *b)
{
    size_t n = (size_t)(strrchr(a->name, '/') - a->name);

    ASSERT(a != b);
    return a->minute == b->minute && strncmp(a->name, b->name, n + 1) == 0;
}

/* Reads one window of objects, group by group. */
static void window_read(struct walk *w)
{
    const struct dlq_objects *o = &w->objects;

    ASSERT(o->n > 0);
    for (size_t i = 0; i < o->n && w->rc == 0 && !w->s->stopped; i++) {
        if (i == 0 || !same_group(&o->item[i - 1], &o->item[i])) {
            group_end(w);
            w->type_len = dlq_object_type(o->item[i].name, w->type);
        }
        if (w->rc == 0 && !w->s->stopped)
            object_read(w, &o->item[i]);
    }
    group_end(w);
}

static int walk_run(struct walk *w)
{
    int got = 0;

    w->objects.reader = w->reader;
    while (w->rc == 0 && !w->s->stopped && (got = dlq_objects_next(&w->objects)) > 0)
        window_read(w);
    if (got < 0) {
        w->rc = got;
        snprintf(w->error, sizeof(w->error), "%s", w->objects.error);
    }
    ASSERT(w->rc <= 0);
    w->s->objects_others = w->objects.others;
    if (w->objects.strange > 0)
        dlq_problem(w->s,
                    "%" PRIu64 " objects under dead_letter/ have names that no dead letters "
                    "have; they were not read",
                    w->objects.strange);
    return w->rc;
}

int dlq_scan(struct dlq_scan *s, char *error, size_t error_len)
{
    struct walk *w = calloc(1, sizeof(*w));
    struct auth_config credentials;
    struct gcs_config gcs;
    struct auth auth;
    int rc = -ENOMEM;

    ASSERT(s->letter != NULL && s->filter != NULL);
    snprintf(error, error_len, "out of memory");
    if (w == NULL)
        return rc;
    w->s = s;
    w->objects = (struct dlq_objects){.filter = s->filter,
                                      .log = s->others ? NULL : dlog_id(s->d->dlog),
                                      .state = &s->d->state,
                                      .newest_first = s->newest_first};
    config_fill_auth(s->d->config, &credentials);
    config_fill_gcs(s->d->config, &gcs);
    rc = auth_init(&auth, &credentials, error, error_len);
    if (rc == 0) {
        rc = gcs_reader_open(&gcs, &auth, &w->reader);
        if (rc == 0) {
            s->reader = w->reader;
            rc = walk_run(w);
            snprintf(error, error_len, "%s", w->error);
            s->reader = NULL;
        }
        gcs_reader_close(w->reader);
        auth_fini(&auth);
    }
    dlq_objects_fini(&w->objects);
    dlq_reading_fini(&w->reading);
    free(w->member);
    bytes_free(&w->scratch);
    free(w);
    return rc;
}

/* ---- by ids ---- */

/* What stands between a walk by ids and its visitor. */
struct by_ids {
    const struct dlq_filter *asked;
    bool found[DLQ_IDS_MAX];
    uint32_t n_found;
    bool refused; /* the visitor stopped */
    bool (*letter)(void *ctx, const struct dlq_letter *l);
    void *ctx;
    struct textbuf names; /* objects that are known to hold one */
};

/* Each id once, although objects may have been copied. */
static bool visit_by_id(void *ctx, const struct dlq_letter *l)
{
    struct by_ids *b = ctx;

    ASSERT(b->n_found < b->asked->n_ids);
    for (uint32_t i = 0; i < b->asked->n_ids; i++) {
        if (b->found[i] || !dlq_id_equal(&b->asked->id[i], &l->line.id))
            continue;
        b->found[i] = true;
        b->n_found++;
        b->refused = !b->letter(b->ctx, l);
        break;
    }
    return !b->refused && b->n_found < b->asked->n_ids;
}

static void visit_name(void *ctx, const char *name)
{
    struct by_ids *b = ctx;

    ASSERT(name != NULL);
    textbuf_bytes(&b->names, name, strlen(name) + 1);
}

/* The ids that are still to be found. */
static void ids_left(const struct by_ids *b, struct dlq_filter *out)
{
    *out = *b->asked;
    out->n_ids = 0;
    for (uint32_t i = 0; i < b->asked->n_ids; i++) {
        if (!b->found[i])
            out->id[out->n_ids++] = b->asked->id[i];
    }
    ASSERT(out->n_ids == b->asked->n_ids - b->n_found);
}

/* Walks over the group of an object that is known to hold one. */
static int scan_known(struct dlq_scan *s, struct by_ids *b, struct dlq_filter *f, const char *name,
                      char *error, size_t error_len)
{
    struct dlq_object o;

    ASSERT(s->filter == f);
    if (!dlq_object_parse(name, &o))
        return 0;
    ids_left(b, f);
    f->has_minute = f->has_type = true;
    f->minute = o.minute;
    f->type_len = (uint8_t)dlq_object_type(name, f->type);
    s->stopped = false;
    return dlq_scan(s, error, error_len);
}

int dlq_scan_ids(struct dlq_scan *s, char *error, size_t error_len)
{
    struct by_ids *b = calloc(1, sizeof(*b));
    struct dlq_filter *f = calloc(1, sizeof(*f));
    int rc = b != NULL && f != NULL ? 0 : -ENOMEM;

    ASSERT(s->filter->n_ids > 0);
    error[0] = '\0';
    if (rc == 0) {
        *b = (struct by_ids){.asked = s->filter, .letter = s->letter, .ctx = s->ctx};
        s->filter = f;
        s->letter = visit_by_id;
        s->ctx = b;
    }
    for (uint32_t i = 0; rc == 0 && i < b->asked->n_ids && !b->refused; i++) {
        if (b->found[i])
            continue;
        textbuf_fini(&b->names);
        rc = dlq_db_find(s->db, &b->asked->id[i], visit_name, b);
        for (size_t at = 0; rc == 0 && at < b->names.len && !b->found[i] && !b->refused;
             at += strlen(b->names.ptr + at) + 1)
            rc = scan_known(s, b, f, b->names.ptr + at, error, error_len);
    }
    if (rc == 0 && !b->refused && b->n_found < b->asked->n_ids) {
        ids_left(b, f);
        s->stopped = false;
        rc = dlq_scan(s, error, error_len);
    }
    if (b != NULL && b->asked != NULL) {
        s->filter = b->asked;
        s->letter = b->letter;
        s->ctx = b->ctx;
        s->stopped = b->refused;
        textbuf_fini(&b->names);
    }
    free(b);
    free(f);
    return rc;
}
