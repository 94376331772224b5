/*
 * COLD. Taking over from the run before: floors and plans of the delivery state become feeds,
 * deliveries and loads. Unconfirmed plans run again, byte for byte the same; lines that are planned
 * are not grouped again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/log.h"
#include "sinks/shelf.h"

/* What the visitors carry. */
struct resume {
    struct sink *sink;
    int rc;
    uint32_t plans, loads;
    struct debt_list taken;  /* plans that a load has taken, until that load is visited */
    struct debt_list pieces; /* plans that are loaded in pieces: until the end */
    char *error;             /* says more than rc, unless "" */
    size_t error_len;
};

/*
 * Plans of rows need the version of the columns that they name; once they are stored, only what the
 * table should look like.
 */
static int version_check(struct resume *r, const char *table, const struct type_config *config,
                         uint32_t hash, const char *object)
{
    struct columns *c = columns_get(r->sink, table, config);

    if (c == NULL)
        return -ENOMEM;
    if (c->newest != NULL && (hash == 0 || columns_find(c, hash) != NULL))
        return 0;
    snprintf(
        r->error, r->error_len,
        "object %.300s is to be delivered to table %.300s by version %08x of its inferred "
        "columns, which is not in %.300s: restore that folder; or, if the table of the type was "
        "renamed, give it its old name until all is delivered",
        object, table, hash, r->sink->config.columns_dir);
    return -EUCLEAN;
}

static int plan_version_check(struct resume *r, const struct plan *plan, uint32_t hash)
{
    struct span type = {plan->key.type, plan->key.type_len};
    char table[TABLE_NAME_BYTES_MAX];

    if (!plan_has_rows(&plan->key))
        return 0;
    type_table(r->sink->types, type, table, sizeof(table));
    return version_check(r, table, type_find(r->sink->types, type), hash, plan->object);
}

static int feed_of(const struct sink *s, const struct journal_uuid *uuid)
{
    for (uint32_t i = 0; i < s->n_feeds; i++) {
        if (memcmp(journal_uuid(s->feed[i].journal), uuid, sizeof(*uuid)) == 0)
            return (int)i;
    }
    return -1;
}

static bool key_owned(struct sink *s, const struct plan_key *key, int *rc)
{
    const struct type_route *route = route_get(s, (struct span){key->type, key->type_len});

    if (route == NULL) {
        *rc = -ENOMEM;
        return false;
    }
    return route->owned;
}

static void planned_visit(void *ctx, const struct plan_key *key, const struct journal_uuid *journal,
                          lsn_t to)
{
    struct resume *r = ctx;
    int feed = feed_of(r->sink, journal);

    if (r->rc == 0 && feed >= 0 && key_owned(r->sink, key, &r->rc))
        r->rc = planned_remember(r->sink, key, (uint32_t)feed, to);
}

/* Debt of the table that the type has now; or, taken by a load, part of that load wherever it goes.
 */
static int confirmed_resume(struct resume *r, const struct plan *plan, uint64_t load_id)
{
    const struct type_route *route =
        route_get(r->sink, (struct span){plan->key.type, plan->key.type_len});
    struct table *t;
    struct debt *d;

    if (route == NULL)
        return -ENOMEM;
    if (load_id == 0) {
        int rc = route->owned ? plan_version_check(r, plan, 0) : 0;

        if (rc < 0)
            return rc;
        t = route->owned ? route_table(r->sink, route, (enum plan_encoding)plan->key.encoding)
                         : NULL;
        if (t != NULL)
            table_owe(t, plan);
        return route->owned && t == NULL ? -ENOMEM : 0;
    }
    d = debt_new(r->sink, plan);
    if (d == NULL)
        return -ENOMEM;
    d->load_id = load_id;
    d->owned = route->owned;
    debt_push(state_load_is_there(dlog_state(r->sink->dlog), load_id) ? &r->taken : &r->pieces, d);
    return 0;
}

/* Plans that were parked are tried again at once: the log hears of them with their next outcome. */
static int pending_resume(struct resume *r, const struct plan *plan, const char *text)
{
    struct sink *s = r->sink;
    int rc = plan_version_check(r, plan, plan->key.schema_hash);
    struct delivery *d = rc == 0 ? delivery_new(s, plan) : NULL;

    ASSERT(plan->lines > 0); /* or it was finished when it was durable */
    if (rc < 0)
        return rc;
    if (d == NULL)
        return -ENOMEM;
    snprintf(d->text, sizeof(d->text), "%s", text != NULL ? text : "");
    deliver_ready(d, NULL);
    return 0;
}

/* Its lines lie in the spool. */
static int spooled_resume(struct resume *r, const struct plan *plan, const char *text)
{
    int rc = plan_version_check(r, plan, plan->key.schema_hash);

    ASSERT(text != NULL);
    return rc < 0 ? rc : shelf_resume(r->sink, plan, text);
}

static void plan_visit(void *ctx, const struct plan *plan, enum plan_status status,
                       uint64_t load_id, const char *text)
{
    struct resume *r = ctx;
    struct sink *s = r->sink;

    ASSERT(load_id == 0 || status == PLAN_CONFIRMED);
    if (r->rc < 0)
        return;
    if (status == PLAN_CONFIRMED) {
        r->rc = confirmed_resume(r, plan, load_id);
    } else if (key_owned(s, &plan->key, &r->rc)) {
        r->plans++;
        r->rc =
            status == PLAN_SPOOLED ? spooled_resume(r, plan, text) : pending_resume(r, plan, text);
    }
}

/* The plans of a load. A piece's plan is others' too. */
static void plans_take(struct resume *r, const struct load *load, struct debt_list *mine)
{
    if (!load->piece) {
        debt_move_load(&r->taken, mine, load->id);
        return;
    }
    for (struct debt *d = r->pieces.first; d != NULL; d = d->next) {
        if (d->plan_id == load->plan_id[0]) {
            debt_push(mine, debt_copy(d));
            d->in_pieces = true;
        }
    }
    ASSERT(mine->n <= 1);
}

/* Of a plan whose last piece is loaded, only the staging object is left. */
static void pieces_end(struct resume *r)
{
    struct debt *d;

    while ((d = debt_pop(&r->pieces)) != NULL) {
        if (r->rc == 0 && !d->in_pieces && d->owned && encoding_is_staged(d->encoding))
            staging_delete(r->sink, d);
        else
            free(d);
    }
}

static void load_visit(void *ctx, const struct load *load, enum load_status status,
                       const char *text)
{
    struct resume *r = ctx;
    struct debt_list mine = {0};
    struct table *t;
    struct debt *d;

    plans_take(r, load, &mine);
    ASSERT(mine.n <= load->n_plans);
    if (r->rc < 0 || mine.n == 0 || !table_owned(r->sink, load->table)) {
        debt_list_free(&mine); /* another thread takes them */
        return;
    }
    if (status == LOAD_DONE) { /* only its staging objects are left */
        while ((d = debt_pop(&mine)) != NULL)
            staging_delete(r->sink, d);
        return;
    }
    if (mine.first->encoding == ENCODING_ROWS)
        r->rc = version_check(r, load->table, mine.first->config, 0, mine.first->object);
    t = r->rc == 0 ? table_get(r->sink, load->table, (enum plan_encoding)mine.first->encoding,
                               mine.first->config)
                   : NULL;
    if (t == NULL) {
        r->rc = r->rc < 0 ? r->rc : -ENOMEM;
        debt_list_free(&mine);
        return;
    }
    r->loads++;
    r->rc = part_take_over(t, load, &mine, status == LOAD_PARKED, text);
    debt_list_free(&mine);
}

int feeds_resume(struct sink *s, char *error, size_t error_len)
{
    int rc = 0;

    ASSERT(s->n_feeds <= JOURNALS_MAX);
    for (uint32_t i = 0; rc == 0 && i < s->n_feeds; i++) {
        const struct journal *j = s->feed[i].journal;
        lsn_t floor = state_floor(dlog_state(s->dlog), journal_uuid(j));

        if (dlog_is_new(s->dlog) && journal_durable(j) != 0) {
            snprintf(
                error, error_len,
                "journal %s holds events, but the delivery log that says which of them are "
                "delivered is gone: delivering them again could double them. Restore the delivery "
                "log, or move the journals away",
                journal_dir(j));
            return -EUCLEAN;
        }
        rc = feed_init(s, i, j, floor, error, error_len);
    }
    return rc;
}

int sink_resume(struct sink *s, char *error, size_t error_len)
{
    const struct delivery_state *state = dlog_state(s->dlog);
    struct resume r = {.sink = s, .error = error, .error_len = error_len};

    ASSERT(s->n_feeds == 0 || s->feed[0].sink == s); /* feeds_resume() */
    error[0] = '\0';
    state_each_planned(state, planned_visit, &r);
    state_each_plan(state, plan_visit, &r);
    state_each_load(state, load_visit, &r);
    ASSERT(r.rc < 0 || r.taken.n == 0);
    debt_list_free(&r.taken);
    pieces_end(&r);
    if (r.rc < 0 && error[0] == '\0')
        snprintf(error, error_len, "out of memory while taking over the delivery state");
    else if (r.rc == 0 && r.plans + r.loads > 0)
        log_info("sink", "thread %u takes over %u plans and %u loads", s->config.index, r.plans,
                 r.loads);
    return r.rc;
}
