/*
 * COLD. `penstock dlq replay`: takes letters in again, each exactly once, oldest first.
 *
 *     collect ─ INTENT durable (dlq.db) ─> inject, all in one block with its mark ─ durable ─> DONE
 *
 * Whatever ends this in between, the mark tells whether the batch was stored: dlq_settle() asks for
 * it at the next start, or before the next command that changes something. Two replays never run at
 * once: they take turns, and the session has one holder.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/dlq_internal.h"
#include "control/inject.h"
#include "control/protocol.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "dataplane/base/reason.h"

#define BATCH        INGEST_ERRORS_MAX /* so that the answer tells what became of each */
#define SOURCE_BYTES (DLQ_ID_BYTES + sizeof("replay_of "))

static_assert(DLQ_SESSION_BYTES == INJECT_SESSION_BYTES, "a session");

/* A letter of the batch under way. */
struct item {
    char *raw;    /* heap */
    char *object; /* heap */
    char type[TYPE_NAME_BYTES_MAX];
    char source[SOURCE_BYTES]; /* "replay_of ID" */
};

struct replay {
    struct dlq_command *c;
    struct inject_session *session;
    uint64_t seq;
    bool apply;
    uint32_t n;
    struct item item[BATCH];
    struct dlq_entry entry[BATCH];
    struct inject_doc doc[BATCH];
    struct dlq_tally matched, again; /* what was found; what became a dead letter once more */
    uint64_t accepted, dead, ids_found, before, sampled_out, incomplete, too_large;
    int64_t stored_us;
    int rc;
    char error[DLQ_ERROR_BYTES];
};

/* ---- what a crash left open ---- */

/* Opens the session and settles what an earlier replay left. A session that was forgotten (16,384
 * others came after it, or the delivery log is another) is replaced. */
static int open_settled(struct daemon *d, struct dlq_db *db, struct inject_session **out,
                        uint64_t *last, char *error, size_t error_len)
{
    uint64_t stored, returned, unknown;
    int rc = -ERANGE;

    ASSERT(out != NULL);
    for (int tries = 0; tries < 2 && rc == -ERANGE; tries++) {
        rc = inject_open(d, dlq_db_session(db), out, last, error, error_len);
        if (rc != 0)
            return rc;
        rc = dlq_db_settle(db, *last, &stored, &returned);
        if (rc == 0 && stored + returned > 0)
            log_info("dlq",
                     "a replay that was cut off is settled: %" PRIu64
                     " dead letters were stored, %" PRIu64 " were not and are as before",
                     stored, returned);
        if (rc == 0)
            return 0;
        dlq_db_message(db, error, error_len);
        inject_close(*out);
        if (rc != -ERANGE || dlq_db_renew(db, &unknown) != 0)
            break;
        log_warn("dlq",
                 "%s: the session of earlier replays is forgotten, a new one begins. Of %" PRIu64
                 " letters nobody can know whether they were stored: `penstock dlq list --state "
                 "replaying`",
                 error, unknown);
    }
    return rc;
}

int dlq_settle(struct daemon *d, struct dlq_db *db, char *error, size_t error_len)
{
    struct inject_session *s;
    uint64_t last;
    int rc = open_settled(d, db, &s, &last, error, error_len);

    ASSERT(rc <= 0);
    if (rc == 0)
        inject_close(s);
    return rc;
}

/* ---- batches ---- */

static void batch_free(struct replay *r)
{
    ASSERT(r->n <= BATCH);
    for (uint32_t i = 0; i < r->n; i++) {
        free(r->item[i].raw);
        free(r->item[i].object);
    }
    r->n = 0;
}

static bool fail_db(struct replay *r, int rc)
{
    ASSERT(rc < 0);
    r->rc = rc;
    dlq_db_message(r->c->db, r->error, sizeof(r->error));
    return false;
}

/* The type in front of the source in a letter's own terms, for the tally of those that died again. */
static void tally_again(struct replay *r, uint32_t index, const char *reason)
{
    const struct inject_doc *doc = &r->doc[index];
    struct dlq_letter l = {.type = doc->type, .bytes = doc->raw.len};

    ASSERT(index < r->n);
    l.line.received_us = l.time_us = r->stored_us;
    dlq_tally_add(&r->again, &l, reason);
}

/* Notes what became of each. */
static bool batch_done(struct replay *r, const struct ingest_result *result)
{
    int rc;

    ASSERT(result->accepted + result->dead_lettered + result->sampled_out == r->n);
    for (uint32_t i = 0; i < r->n; i++)
        r->entry[i].outcome = "accepted";
    for (uint32_t i = 0; i < result->n_errors; i++) {
        uint32_t index = result->error[i].index;

        if (index >= r->n)
            continue;
        r->entry[index].outcome = reason_name(result->error[i].reason);
        tally_again(r, index, r->entry[index].outcome);
    }
    r->accepted += result->accepted;
    r->dead += result->dead_lettered;
    r->sampled_out += result->sampled_out;
    rc = dlq_db_done(r->c->db, r->seq, r->entry, r->n);
    return rc == 0 || fail_db(r, rc);
}

/* Nothing of the batch is stored, or nobody knows yet: then the intents stay. */
static void batch_undo(struct replay *r, int rc)
{
    uint64_t stored, returned;

    ASSERT(rc < 0);
    r->rc = rc;
    if (rc != -EIO)
        (void)!dlq_db_settle(r->c->db, inject_last(r->session), &stored, &returned);
}

static bool batch_send(struct replay *r)
{
    struct ingest_result *result = malloc(sizeof(*result));
    int rc;

    ASSERT(r->apply && r->session != NULL);
    if (result == NULL) {
        snprintf(r->error, sizeof(r->error), "out of memory");
        r->rc = -ENOMEM;
        return false;
    }
    r->seq++;
    rc = dlq_db_intend(r->c->db, r->seq, r->entry, r->n, r->c->uid);
    if (rc != 0) {
        (void)fail_db(r, rc);
    } else {
        rc = inject_batch(r->session, r->seq, r->doc, r->n, result, r->error, sizeof(r->error));
        if (rc == 0)
            (void)batch_done(r, result);
        else
            batch_undo(r, rc);
    }
    free(result);
    return r->rc == 0;
}

static bool batch_end(struct replay *r)
{
    bool ok = r->n == 0 || r->rc != 0 || batch_send(r);

    ASSERT(r->n <= BATCH);
    batch_free(r);
    return ok && r->rc == 0;
}

/* Whether the batch with one more would not go into one block. */
static bool batch_is_full(const struct replay *r, const struct inject_doc *more)
{
    struct inject_doc doc[BATCH];

    if (r->n == BATCH)
        return true;
    memcpy(doc, r->doc, r->n * sizeof(*doc));
    doc[r->n] = *more;
    ASSERT(r->n < BATCH);
    return r->n > 0 && inject_fits(r->c->d, doc, r->n + 1) < r->n + 1;
}

static bool batch_holds(const struct replay *r, const struct dlq_id *id)
{
    ASSERT(id != NULL);
    for (uint32_t i = 0; i < r->n; i++) {
        if (dlq_id_equal(&r->entry[i].id, id))
            return true;
    }
    return false;
}

static bool batch_add(struct replay *r, const struct dlq_letter *l)
{
    const struct dlq_options *o = &r->c->options;
    struct span type =
        o->has_as_type ? (struct span){.ptr = o->as_type, .len = o->as_type_len} : l->type;
    struct inject_doc doc = {.raw = l->raw, .type = type};
    struct item *item;
    char id[DLQ_ID_BYTES + 1];

    if (batch_is_full(r, &doc) && !batch_end(r))
        return false;
    ASSERT(r->n < BATCH && type.len <= sizeof(item->type));
    item = &r->item[r->n];
    item->raw = malloc(l->raw.len + JSON_PADDING_BYTES);
    item->object = strdup(l->object);
    if (item->raw == NULL || item->object == NULL) {
        free(item->raw);
        free(item->object);
        r->rc = -ENOMEM;
        snprintf(r->error, sizeof(r->error), "out of memory");
        return false;
    }
    memcpy(item->raw, l->raw.ptr, l->raw.len);
    memset(item->raw + l->raw.len, 0, JSON_PADDING_BYTES);
    memcpy(item->type, type.ptr, type.len);
    dlq_id_text(&l->line.id, id);
    snprintf(item->source, sizeof(item->source), "replay_of %s", id);
    r->entry[r->n] = (struct dlq_entry){.id = l->line.id, .object = item->object};
    r->doc[r->n++] = (struct inject_doc){.raw = {.ptr = item->raw, .len = l->raw.len},
                                         .type = {.ptr = item->type, .len = type.len},
                                         .source = item->source};
    return true;
}

/* ---- letters ---- */

static bool visit_letter(void *ctx, const struct dlq_letter *l)
{
    struct replay *r = ctx;
    uint64_t limit = r->c->options.limit;

    ASSERT(r->rc == 0);
    r->ids_found++;
    if ((r->c->options.filter.states & 1u << l->mark.state) == 0) {
        r->before++;
        return true;
    }
    if (batch_holds(r, &l->line.id)) /* a copy of the object */
        return true;
    if (limit > 0 && r->matched.letters == limit)
        return false;
    if (!l->complete) {
        r->incomplete++;
        return true;
    }
    if (l->bytes > r->c->d->config->http_event_max) {
        r->too_large++;
        return true;
    }
    dlq_tally_add(&r->matched, l, l->line.reason);
    return !r->apply || batch_add(r, l);
}

/* ---- the command ---- */

static uint64_t replayed(const struct replay *r)
{
    ASSERT(r->apply || r->accepted == 0);
    return r->accepted + r->dead + r->sampled_out;
}

static void write_json(struct replay *r, const struct dlq_scan *s)
{
    struct textbuf *b = r->c->body;

    ASSERT(r->c->options.json);
    textbuf_add(b,
                "{\"done\":%s,\"matched\":%" PRIu64 ",\"replayed\":%" PRIu64
                ",\"accepted\":%" PRIu64 ",\"dead_lettered\":%" PRIu64 ",\"sampled_out\":%" PRIu64
                ",\"handled_before\":%" PRIu64 ",\"incomplete\":%" PRIu64 ",\"too_large\":%" PRIu64
                ",\"matched_by_kind\":{",
                r->apply ? "true" : "false", r->matched.letters, replayed(r), r->accepted, r->dead,
                r->sampled_out, r->before, r->incomplete, r->too_large);
    dlq_tally_write(&r->matched, true, b);
    textbuf_add(b, "},\"dead_lettered_by_kind\":{");
    dlq_tally_write(&r->again, true, b);
    textbuf_add(b, "}");
    (void)dlq_problems_write(s, true, b);
    textbuf_add(b, "}\n");
}

static void write_text(struct replay *r, const struct dlq_scan *s)
{
    struct textbuf *b = r->c->body;

    ASSERT(!r->c->options.json);
    dlq_tally_write(&r->matched, false, b);
    if (r->before > 0)
        textbuf_add(b, "%" PRIu64 " were replayed or dropped before: not taken again\n", r->before);
    if (r->incomplete > 0)
        textbuf_add(b, "%" PRIu64 " lack parts: not replayed; `penstock flush`, or drop them\n",
                    r->incomplete);
    if (r->too_large > 0)
        textbuf_add(b,
                    "%" PRIu64
                    " are larger than http.event_max: not replayed; raise it and restart, "
                    "or drop them\n",
                    r->too_large);
    if (r->apply)
        textbuf_add(b,
                    "%" PRIu64 " dead letters replayed: %" PRIu64 " accepted, %" PRIu64
                    " dead-lettered again\n",
                    replayed(r), r->accepted, r->dead);
    else
        textbuf_add(b, "%" PRIu64 " dead letters would be replayed\n", r->matched.letters);
    if (r->sampled_out > 0)
        textbuf_add(b, "%" PRIu64 " of them left out, as their types' sampling wants\n",
                    r->sampled_out);
    if (r->dead > 0)
        textbuf_add(b, "dead-lettered again, with \"replay_of ID\" as their source:\n");
    dlq_tally_write(&r->again, false, b);
    (void)dlq_problems_write(s, false, b);
    if (!r->apply && !r->c->options.dry_run)
        textbuf_add(b, "nothing was done: add --yes\n");
}

static int replay_run(struct replay *r, struct dlq_scan *s)
{
    const struct dlq_options *o = &r->c->options;
    int rc = 0;

    ASSERT(r->rc == 0);
    if (r->apply)
        r->rc = open_settled(r->c->d, r->c->db, &r->session, &r->seq, r->error, sizeof(r->error));
    if (r->rc != 0) {
        r->session = NULL;
    } else {
        rc = o->filter.n_ids > 0 ? dlq_scan_ids(s, r->error, sizeof(r->error))
                                 : dlq_scan(s, r->error, sizeof(r->error));
        /* What was collected is whole, even when the walk could not go on. */
        if (!batch_end(r))
            rc = r->rc;
    }
    batch_free(r);
    if (r->session != NULL)
        inject_close(r->session);
    if (rc != 0 || r->rc != 0)
        return dlq_fail(r->c,
                        "%s; %" PRIu64 " were replayed before that (%" PRIu64 " accepted, %" PRIu64
                        " dead-lettered again). The same command goes on from there",
                        r->error, replayed(r), r->accepted, r->dead);
    if (o->filter.n_ids > r->ids_found)
        dlq_problem(s, "%" PRIu64 " of the ids are not in the bucket",
                    o->filter.n_ids - r->ids_found);
    if (o->json)
        write_json(r, s);
    else
        write_text(r, s);
    return s->n_problems + r->incomplete + r->too_large > 0 || (!r->apply && !o->dry_run)
               ? PROTOCOL_ERROR
               : PROTOCOL_OK;
}

int dlq_replay(struct dlq_command *c)
{
    struct replay *r = calloc(1, sizeof(*r));
    struct dlq_filter *f = malloc(sizeof(*f));
    const struct dlq_options *o = &c->options;
    int status;

    ASSERT(o->verb == DLQ_REPLAY);
    if (r == NULL || f == NULL) {
        status = dlq_fail(c, "out of memory");
    } else {
        struct dlq_scan s = {
            .d = c->d,
            .db = c->db,
            .filter = f,
            .want_raw = true,
            .others = o->others,
            .client_fd = c->client_fd,
            .letter = visit_letter,
            .ctx = r,
        };

        *f = o->filter;
        r->stored_us = clock_wall_us();
        if (f->until_us > r->stored_us) /* not those that become dead letters again meanwhile */
            f->until_us = r->stored_us;
        if (f->n_ids > 0) /* those that were handled before are told */
            f->states = (1u << DLQ_STATES) - 1;
        r->c = c;
        r->apply = !o->dry_run && (o->yes || f->n_ids > 0);
        status = replay_run(r, &s);
        dlq_scan_fini(&s);
        dlq_tally_fini(&r->matched);
        dlq_tally_fini(&r->again);
    }
    free(r);
    free(f);
    return status;
}
