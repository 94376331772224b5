/*
 * COLD. `penstock dlq drop`: marks letters as dealt with. Objects stay: they are evidence. Only
 * --delete-objects deletes those of which every line belongs to a letter that is replayed or
 * dropped; each deletion is noted durably before it is asked for, so that verify never takes it for
 * a loss.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/dlq_internal.h"
#include "control/protocol.h"

#define BATCH 500 /* letters in one transaction */

struct drop {
    struct dlq_command *c;
    struct dlq_scan *scan;
    struct dlq_tally tally;
    bool apply;
    struct dlq_entry entry[BATCH];
    uint32_t n;
    struct textbuf names; /* of the entries' objects */
    size_t name_at[BATCH];
    uint64_t dropped, deleted, kept, deleted_letters;
    uint64_t ids_found, handled_before;
    int rc;
    char error[DLQ_ERROR_BYTES];
};

static bool batch_end(struct drop *d)
{
    uint64_t n = 0;

    ASSERT(d->n <= BATCH);
    for (uint32_t i = 0; i < d->n; i++)
        d->entry[i].object = d->names.ptr + d->name_at[i];
    if (d->n > 0 && d->names.failed)
        d->rc = -ENOMEM;
    else if (d->n > 0)
        d->rc = dlq_db_drop(d->c->db, d->entry, d->n, d->c->uid, &n);
    if (d->rc == -ENOMEM)
        snprintf(d->error, sizeof(d->error), "out of memory");
    else if (d->rc != 0)
        dlq_db_message(d->c->db, d->error, sizeof(d->error));
    d->dropped += n;
    d->n = 0;
    textbuf_fini(&d->names);
    return d->rc == 0;
}

static bool visit_letter(void *ctx, const struct dlq_letter *l)
{
    struct drop *d = ctx;
    uint64_t limit = d->c->options.limit;

    ASSERT(d->n < BATCH);
    d->ids_found++;
    if ((d->c->options.filter.states & 1u << l->mark.state) == 0) {
        d->handled_before++;
        return true;
    }
    if (limit > 0 && d->tally.letters == limit)
        return false;
    dlq_tally_add(&d->tally, l, l->line.reason);
    if (!d->apply)
        return true;
    d->name_at[d->n] = d->names.len;
    textbuf_bytes(&d->names, l->object, strlen(l->object) + 1);
    d->entry[d->n++] = (struct dlq_entry){.id = l->line.id};
    return d->n < BATCH || batch_end(d);
}

/* ---- objects ---- */

static bool visit_nothing(void *ctx, const struct dlq_letter *l)
{
    ASSERT(ctx != NULL && l != NULL);
    return true;
}

static bool delete_object(struct drop *d, const struct dlq_scanned *o)
{
    const char *name = o->object->name;
    int rc = dlq_db_delete_begin(d->c->db, name, o->letters, d->c->uid);

    ASSERT(d->scan->reader != NULL);
    if (rc != 0) {
        d->rc = rc;
        dlq_db_message(d->c->db, d->error, sizeof(d->error));
        return false;
    }
    rc =
        gcs_reader_delete(d->scan->reader, name, o->object->generation, d->error, sizeof(d->error));
    if (rc == 0) {
        d->deleted++;
        d->deleted_letters += o->letters;
    } else {
        d->kept++;
        dlq_problem(d->scan, "%s", d->error);
    }
    /* After a lost answer it may be gone: then its note stays, and verify looks at the bucket. */
    if (rc == 0 || rc == -ESTALE)
        rc = dlq_db_delete_end(d->c->db, name, rc == 0);
    else
        rc = 0;
    if (rc != 0) {
        d->rc = rc;
        dlq_db_message(d->c->db, d->error, sizeof(d->error));
    }
    return d->rc == 0;
}

static bool visit_object(void *ctx, const struct dlq_scanned *o)
{
    struct drop *d = ctx;

    ASSERT(d->c->options.delete_objects);
    if (!o->handled) {
        d->kept++;
        return true;
    }
    if (d->apply)
        return delete_object(d, o);
    d->deleted++;
    d->deleted_letters += o->letters;
    return true;
}

/* The objects in the range of the filter that hold nothing new. */
static void delete_objects(struct drop *d)
{
    struct dlq_filter *f = malloc(sizeof(*f));
    struct dlq_scan s = {
        .d = d->c->d,
        .db = d->c->db,
        .filter = f,
        .client_fd = d->c->client_fd,
        .every = true,
        .letter = visit_nothing,
        .object = visit_object,
        .ctx = d,
    };

    d->rc = f == NULL ? -ENOMEM : 0;
    snprintf(d->error, sizeof(d->error), "out of memory");
    if (f == NULL)
        return;
    *f = d->c->options.filter;
    f->reason[0] = f->source[0] = '\0';
    f->states = (1u << DLQ_STATES) - 1;
    f->n_ids = 0;
    d->scan = &s;
    d->rc = dlq_scan(&s, d->error, sizeof(d->error));
    ASSERT(d->rc <= 0);
    d->scan = NULL;
    if (s.n_problems > 0)
        (void)dlq_problems_write(&s, false, &d->names);
    dlq_scan_fini(&s);
    free(f);
}

/* ---- the command ---- */

static void write_json(struct drop *d, const struct dlq_scan *s)
{
    struct textbuf *b = d->c->body;

    ASSERT(d->c->options.json);
    textbuf_add(b,
                "{\"done\":%s,\"matched\":%" PRIu64 ",\"dropped\":%" PRIu64
                ",\"handled_before\":%" PRIu64 ",\"objects_deleted\":%" PRIu64
                ",\"objects_kept\":%" PRIu64 ",",
                d->apply ? "true" : "false", d->tally.letters, d->dropped, d->handled_before,
                d->deleted, d->kept);
    dlq_tally_write(&d->tally, true, b);
    (void)dlq_problems_write(s, true, b);
    textbuf_add(b, "}\n");
}

static void write_text(struct drop *d, const struct dlq_scan *s)
{
    const struct dlq_options *o = &d->c->options;
    struct textbuf *b = d->c->body;

    ASSERT(!o->json);
    dlq_tally_write(&d->tally, false, b);
    if (d->handled_before > 0)
        textbuf_add(b, "%" PRIu64 " were replayed or dropped before\n", d->handled_before);
    if (d->apply)
        textbuf_add(b, "%" PRIu64 " dead letters dropped\n", d->dropped);
    else
        textbuf_add(b, "%" PRIu64 " dead letters would be dropped\n", d->tally.letters);
    if (o->delete_objects)
        textbuf_add(b,
                    "%" PRIu64 " objects %s; %" PRIu64 " kept, because not every letter in them "
                    "is replayed or dropped%s\n",
                    d->deleted, d->apply ? "deleted" : "could be deleted already", d->kept,
                    d->names.len > 0 ? ", or they could not be deleted" : "");
    textbuf_add(b, "%s", textbuf_str(&d->names));
    (void)dlq_problems_write(s, false, b);
    if (!d->apply && !o->dry_run)
        textbuf_add(b, "nothing was done: add --yes\n");
}

static int drop_run(struct drop *d, struct dlq_scan *s)
{
    struct dlq_command *c = d->c;
    const struct dlq_options *o = &c->options;
    int rc = o->filter.n_ids > 0 ? dlq_scan_ids(s, d->error, sizeof(d->error))
                                 : dlq_scan(s, d->error, sizeof(d->error));
    int status;

    ASSERT(rc <= 0);
    if (rc == 0 && d->rc == 0)
        (void)batch_end(d);
    if (rc == 0 && d->rc == 0 && o->delete_objects)
        delete_objects(d);
    if (rc != 0 || d->rc != 0)
        return dlq_fail(c, "%s; %" PRIu64 " dropped before that", d->error, d->dropped);
    if (o->filter.n_ids > d->ids_found)
        dlq_problem(s, "%" PRIu64 " of the ids are not in the bucket",
                    o->filter.n_ids - d->ids_found);
    status = s->n_problems > 0 || d->names.len > 0 || (!d->apply && !o->dry_run) ? PROTOCOL_ERROR
                                                                                 : PROTOCOL_OK;
    if (o->json)
        write_json(d, s);
    else
        write_text(d, s);
    return status;
}

int dlq_drop(struct dlq_command *c)
{
    struct drop *d = calloc(1, sizeof(*d));
    struct dlq_filter *f = malloc(sizeof(*f));
    const struct dlq_options *o = &c->options;
    int status;

    ASSERT(o->verb == DLQ_DROP);
    if (d == NULL || f == NULL) {
        status = dlq_fail(c, "out of memory");
    } else {
        struct dlq_scan s = {
            .d = c->d,
            .db = c->db,
            .filter = f,
            .others = o->others,
            .client_fd = c->client_fd,
            .letter = visit_letter,
            .ctx = d,
        };

        *f = o->filter;
        if (f->n_ids > 0) /* those that were handled before are told */
            f->states = (1u << DLQ_STATES) - 1;
        d->c = c;
        d->apply = !o->dry_run && (o->yes || f->n_ids > 0);
        status = drop_run(d, &s);
        dlq_scan_fini(&s);
        dlq_tally_fini(&d->tally);
        textbuf_fini(&d->names);
    }
    free(d);
    free(f);
    return status;
}
