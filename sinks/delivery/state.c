/*
 * COLD. The delivery state: see state.h. Every record either fits and is applied, or changes
 * nothing; so a replay of the same records always ends in the same state.
 */
#include "sinks/delivery/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/delivery/state_internal.h"

/* ---- journals ---- */

static struct state_journal *journal_find(const struct delivery_state *s,
                                          const struct journal_uuid *u)
{
    for (uint32_t i = 0; i < s->n_journals; i++) {
        if (memcmp(&s->journal[i].uuid, u, sizeof(*u)) == 0)
            return &s->journal[i];
    }
    return NULL;
}

static struct state_journal *journal_get(struct delivery_state *s, const struct journal_uuid *u)
{
    struct state_journal *j = journal_find(s, u);

    if (j != NULL)
        return j;
    s->journal = realloc(s->journal, (s->n_journals + 1) * sizeof(*s->journal));
    ASSERT(s->journal != NULL);
    j = &s->journal[s->n_journals++];
    *j = (struct state_journal){.uuid = *u};
    return j;
}

static uint32_t journal_index(const struct delivery_state *s, const struct state_journal *j)
{
    ASSERT(j >= s->journal && j < s->journal + s->n_journals);
    return (uint32_t)(j - s->journal);
}

static void sift_down(struct state_journal *j, size_t i)
{
    ASSERT(i < j->heap_count);
    struct range_start moving = j->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= j->heap_count)
            break;
        if (child + 1 < j->heap_count && j->heap[child + 1].from < j->heap[child].from)
            child++;
        if (j->heap[child].from >= moving.from)
            break;
        j->heap[i] = j->heap[child];
        i = child;
    }
    j->heap[i] = moving;
}

/* Whether a plan's lines are needed in the journals. */
static bool holds_journal(uint8_t status)
{
    ASSERT(status <= PLAN_SPOOLED);
    return status == PLAN_PENDING || status == PLAN_PARKED;
}

static bool plan_holds(const struct delivery_state *s, uint64_t plan_id)
{
    const struct state_plan *p = idmap_get(&s->plans, plan_id);

    ASSERT(plan_id != 0);
    return p != NULL && holds_journal(p->status);
}

/* A plan that stays parked keeps the entries behind it from surfacing: drop the dead ones when they
 * are many. */
static void heap_compact(const struct delivery_state *s, struct state_journal *j)
{
    size_t n = 0;

    if (j->heap_count < 2 * j->holding + 1024)
        return;
    for (size_t i = 0; i < j->heap_count; i++) {
        if (plan_holds(s, j->heap[i].plan_id))
            j->heap[n++] = j->heap[i];
    }
    ASSERT(n >= j->holding);
    j->heap_count = n;
    for (size_t i = n / 2; i > 0; i--)
        sift_down(j, i - 1);
}

static void heap_push(struct state_journal *j, lsn_t from, uint64_t plan_id)
{
    size_t i = j->heap_count;

    ASSERT(j->heap_count <= j->heap_cap && plan_id != 0);

    if (j->heap_count == j->heap_cap) {
        j->heap_cap = j->heap_cap == 0 ? 64 : 2 * j->heap_cap;
        j->heap = realloc(j->heap, j->heap_cap * sizeof(*j->heap));
        ASSERT(j->heap != NULL);
    }
    j->heap_count++;
    j->holding++;
    while (i > 0 && j->heap[(i - 1) / 2].from > from) {
        j->heap[i] = j->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    j->heap[i] = (struct range_start){.from = from, .plan_id = plan_id};
}

static void hold_ranges(struct delivery_state *s, const struct plan *p)
{
    ASSERT(p->lines > 0 &&
           p->n_ranges <= JOURNALS_MAX); /* without lines there is nothing to read again */
    for (uint32_t i = 0; i < p->n_ranges; i++)
        heap_push(journal_get(s, &p->range[i].journal), p->range[i].from, p->id);
}

/* Call after the status has changed. */
static void release_ranges(struct delivery_state *s, const struct state_plan *sp)
{
    struct plan p;

    ASSERT(!holds_journal(sp->status));
    record_decode_plan(sp->body, sp->body_len, &p);
    for (uint32_t i = 0; i < p.n_ranges; i++) {
        struct state_journal *j = journal_find(s, &p.range[i].journal);

        ASSERT(j != NULL && j->holding > 0);
        j->holding--;
    }
    for (uint32_t i = 0; i < p.n_ranges; i++)
        heap_compact(s, journal_find(s, &p.range[i].journal));
}

lsn_t state_free_lsn(struct delivery_state *s, const struct journal_uuid *journal)
{
    struct state_journal *j = journal_find(s, journal);

    if (j == NULL)
        return 0;
    while (j->heap_count > 0 && !plan_holds(s, j->heap[0].plan_id)) {
        j->heap[0] = j->heap[--j->heap_count];
        if (j->heap_count > 0)
            sift_down(j, 0);
    }
    ASSERT(j->heap_count >= j->holding);
    return j->heap_count > 0 && j->heap[0].from < j->floor ? j->heap[0].from : j->floor;
}

lsn_t state_floor(const struct delivery_state *s, const struct journal_uuid *journal)
{
    const struct state_journal *j;

    ASSERT(s != NULL && journal != NULL);
    j = journal_find(s, journal);
    return j == NULL ? 0 : j->floor;
}

lsn_t state_planned_to(const struct delivery_state *s, const struct plan_key *key,
                       const struct journal_uuid *journal)
{
    const struct state_journal *j;

    ASSERT(s != NULL && key != NULL && journal != NULL);
    j = journal_find(s, journal);
    return j == NULL ? 0 : planned_get(&s->planned, key, journal_index(s, j));
}

/* ---- plans ---- */

static char *text_copy(const struct record_view *r)
{
    char *t = must_malloc((size_t)r->text_len + 1);

    ASSERT(r->text_len == 0 || r->text != NULL);
    if (r->text_len > 0)
        memcpy(t, r->text, r->text_len);
    t[r->text_len] = '\0';
    return t;
}

static void set_text(char **slot, char *text)
{
    free(*slot);
    *slot = text;
}

static void seen_id(struct delivery_state *s, uint64_t id)
{
    if (id >= s->counters.next_id)
        s->counters.next_id = id + 1;
}

static struct state_plan *plan_add(struct delivery_state *s, const struct record_view *r)
{
    struct state_plan *p = must_malloc(sizeof(*p) + r->body_len);

    *p = (struct state_plan){
        .id = r->plan.id,
        .body_len = r->body_len,
        .status = PLAN_PENDING,
        .encoding = r->plan.key.encoding,
        .to_load = r->plan.to_load,
    };
    memcpy(p->body, r->body, r->body_len);
    ASSERT(r->plan.lines > 0); /* one without is finished at once */
    idmap_put(&s->plans, p->id, p);
    seen_id(s, p->id);
    return p;
}

static void plan_remove(struct delivery_state *s, struct state_plan *p)
{
    ASSERT(p->status == PLAN_CONFIRMED);
    idmap_remove(&s->plans, p->id);
    free(p->text);
    free(p);
}

static int apply_plan(struct delivery_state *s, const struct record_view *r)
{
    if (idmap_get(&s->plans, r->plan.id) != NULL ||
        (r->plan.to_load && r->plan.key.encoding == ENCODING_INSERT) ||
        (r->plan.lines == 0 && (r->plan.to_load || r->plan.key.encoding != ENCODING_ARCHIVE)))
        return -EINVAL;
    if (r->plan.lines > 0) {
        plan_add(s, r);
        hold_ranges(s, &r->plan);
    } else { /* all of it was removed: there is nothing to send */
        seen_id(s, r->plan.id);
    }
    for (uint32_t i = 0; i < r->plan.n_ranges; i++) {
        struct state_journal *j = journal_get(s, &r->plan.range[i].journal);

        if (r->plan.range[i].to > j->floor)
            planned_raise(&s->planned, &r->plan.key, journal_index(s, j), r->plan.range[i].to);
    }
    return 0;
}

/* Gives a plan a status in which it needs no journal any more. */
static void plan_release(struct delivery_state *s, struct state_plan *p, enum plan_status status)
{
    bool held = holds_journal(p->status);

    ASSERT(!holds_journal((uint8_t)status));
    p->status = (uint8_t)status;
    if (held)
        release_ranges(s, p);
}

static int apply_confirm(struct delivery_state *s, const struct record_view *r)
{
    struct state_plan *p = idmap_get(&s->plans, r->plan_id);

    if (p == NULL || p->status == PLAN_CONFIRMED || p->encoding == ENCODING_INSERT)
        return -EINVAL;
    ASSERT(p->load_id == 0 && p->pieces == 0); /* loads take only what is confirmed */
    p->generation = r->generation;
    plan_release(s, p, PLAN_CONFIRMED);
    set_text(&p->text, NULL);
    if (!p->to_load)
        plan_remove(s, p);
    return 0;
}

static int apply_inserted(struct delivery_state *s, const struct record_view *r)
{
    struct state_plan *p = idmap_get(&s->plans, r->plan_id);

    if (p == NULL || p->status == PLAN_CONFIRMED || p->encoding != ENCODING_INSERT)
        return -EINVAL;
    ASSERT(!p->to_load && p->load_id == 0); /* it has no object */
    plan_release(s, p, PLAN_CONFIRMED);
    plan_remove(s, p);
    return 0;
}

static int apply_parked(struct delivery_state *s, const struct record_view *r)
{
    struct state_plan *p = idmap_get(&s->plans, r->plan_id);

    if (p == NULL || p->status == PLAN_CONFIRMED)
        return -EINVAL;
    ASSERT(p->load_id == 0);
    p->status = p->status == PLAN_SPOOLED ? PLAN_SPOOLED : PLAN_PARKED;
    set_text(&p->text, text_copy(r));
    return 0;
}

static int apply_spooled(struct delivery_state *s, const struct record_view *r)
{
    struct state_plan *p = idmap_get(&s->plans, r->plan_id);

    if (p == NULL || !holds_journal(p->status))
        return -EINVAL;
    plan_release(s, p, PLAN_SPOOLED); /* why it is parked stays known */
    return 0;
}

static int apply_resumed(struct delivery_state *s, const struct record_view *r)
{
    struct state_plan *p = idmap_get(&s->plans, r->plan_id);

    if (p == NULL || p->status != PLAN_PARKED)
        return -EINVAL;
    ASSERT(p->text != NULL); /* why it was parked */
    p->status = PLAN_PENDING;
    set_text(&p->text, NULL);
    return 0;
}

/* ---- loads ---- */

static struct state_load *load_add(struct delivery_state *s, const struct record_view *r)
{
    struct state_load *l = must_malloc(sizeof(*l));

    ASSERT(r->load.n_plans > 0 && r->load.n_plans <= PLAN_OBJECTS_PER_LOAD);
    *l = (struct state_load){.load = r->load, .status = LOAD_PENDING};
    l->load.plan_id = must_malloc(r->load.n_plans * sizeof(uint64_t));
    for (uint32_t i = 0; i < r->load.n_plans; i++)
        l->load.plan_id[i] = record_load_id(r, i);
    idmap_put(&s->loads, l->load.id, l);
    seen_id(s, l->load.id);
    return l;
}

static void load_free(struct state_load *l)
{
    free(l->load.plan_id);
    free(l->text);
    free(l);
}

static void load_remove_if_finished(struct delivery_state *s, struct state_load *l)
{
    ASSERT(l->remaining <= l->load.n_plans);
    if (l->status != LOAD_DONE || l->remaining > 0)
        return;
    idmap_remove(&s->loads, l->load.id);
    load_free(l);
}

/* All or nothing: a load takes only plans that are in debt. */
static int apply_load(struct delivery_state *s, const struct record_view *r)
{
    struct state_load *l;
    uint32_t taken = 0;

    if (idmap_get(&s->loads, r->load.id) != NULL)
        return -EINVAL;
    for (; taken < r->load.n_plans; taken++) {
        struct state_plan *p = idmap_get(&s->plans, record_load_id(r, taken));

        if (p == NULL || p->status != PLAN_CONFIRMED || p->load_id != 0)
            break;
        p->load_id = r->load.id;
    }
    if (taken < r->load.n_plans) {
        for (uint32_t i = 0; i < taken; i++)
            ((struct state_plan *)idmap_get(&s->plans, record_load_id(r, i)))->load_id = 0;
        return -EINVAL;
    }
    l = load_add(s, r);
    l->remaining = taken;
    ASSERT(l->remaining == l->load.n_plans);
    return 0;
}

static int apply_attempt(struct delivery_state *s, const struct record_view *r)
{
    struct state_load *l = idmap_get(&s->loads, r->load_id);

    if (l == NULL || l->status == LOAD_DONE || r->attempt < l->load.attempt)
        return -EINVAL;
    l->load.attempt = r->attempt;
    l->load.attempt_done = r->type == RECORD_ATTEMPT_FAILED;
    return 0;
}

/* A piece is over. The plan whose last one it was is finished, but for its staging object. */
static void piece_remove(struct delivery_state *s, struct state_load *l)
{
    struct state_plan *p = idmap_get(&s->plans, l->load.plan_id[0]);

    ASSERT(l->load.piece && p != NULL && p->pieces > 0);
    p->pieces--;
    if (p->pieces == 0 && p->encoding == ENCODING_ARCHIVE)
        plan_remove(s, p);
    idmap_remove(&s->loads, l->load.id);
    load_free(l);
}

/* The rows of a load are settled. */
static void load_settle(struct delivery_state *s, struct state_load *l)
{
    ASSERT(l->status != LOAD_DONE);
    if (l->load.piece) {
        piece_remove(s, l);
        return;
    }
    l->status = LOAD_DONE;
    set_text(&l->text, NULL);
    for (uint32_t i = 0; i < l->load.n_plans; i++) {
        struct state_plan *p = idmap_get(&s->plans, l->load.plan_id[i]);

        ASSERT(l->remaining > 0);

        if (p == NULL) /* a damaged snapshot may name a plan twice */
            l->remaining--;
        else if (p->encoding == ENCODING_ARCHIVE) {
            plan_remove(s, p);
            l->remaining--;
        }
    }
    load_remove_if_finished(s, l);
}

/* Parts of one load: what one of them shows of their table holds for the others. */
static void root_prove(struct delivery_state *s, uint64_t root)
{
    ASSERT(root != 0);
    for (size_t i = 0; i < s->loads.slots; i++) {
        struct state_load *l = s->loads.slot[i].id != 0 ? s->loads.slot[i].value : NULL;

        if (l != NULL && l->load.root == root)
            l->load.proven = true;
    }
}

static int apply_loaded(struct delivery_state *s, const struct record_view *r)
{
    struct state_load *l = idmap_get(&s->loads, r->load_id);

    if (l == NULL || l->status == LOAD_DONE)
        return -EINVAL;
    if (l->load.root != 0)
        root_prove(s, l->load.root);
    load_settle(s, l);
    return 0;
}

static int apply_load_rejected(struct delivery_state *s, const struct record_view *r)
{
    struct state_load *l = idmap_get(&s->loads, r->load_id);

    if (l == NULL || l->status == LOAD_DONE || l->load.rows != 1 || l->load.n_plans != 1 ||
        l->load.plan_id[0] != r->plan_id)
        return -EINVAL;
    load_settle(s, l);
    return 0;
}

/* Whether ids and rows of the parts are right, and so are the lines of pieces. */
static bool parts_fit(const struct delivery_state *s, const struct state_load *l,
                      const struct record_view *r)
{
    const struct load_split *split = &r->split;
    uint64_t rows = 0;

    ASSERT(split->n_parts >= 2 && split->n_parts <= LOAD_PARTS_MAX); /* record_decode() says so */
    for (uint32_t i = 0; i < split->n_parts; i++) {
        const struct load_part *p = &split->part[i];

        for (uint32_t k = 0; k < i; k++) {
            if (split->part[k].id == p->id)
                return false;
        }
        if (idmap_get(&s->loads, p->id) != NULL || p->piece != split->part[0].piece ||
            p->rows > l->load.rows - rows)
            return false;
        if (p->piece && (l->load.n_plans != 1 || p->n_plans != 1 ||
                         record_part_id(r, i, 0) != l->load.plan_id[0] ||
                         p->first != (l->load.piece ? l->load.first : 0) + rows))
            return false;
        rows += p->rows;
    }
    return rows == l->load.rows && (split->part[0].piece || !l->load.piece);
}

/* Gives the plans of a load to its parts. @return false, with nothing changed, unless each has one. */
static bool parts_take_plans(struct delivery_state *s, const struct state_load *l,
                             const struct record_view *r)
{
    uint32_t taken = 0;

    ASSERT(!r->split.part[0].piece);
    for (uint32_t i = 0; i < r->split.n_parts; i++) {
        for (uint32_t k = 0; k < r->split.part[i].n_plans; k++) {
            struct state_plan *p = idmap_get(&s->plans, record_part_id(r, i, k));

            if (p == NULL || p->load_id != l->load.id)
                goto undo;
            p->load_id = r->split.part[i].id;
            taken++;
        }
    }
    ASSERT(taken > 0);
    if (taken == l->load.n_plans)
        return true;
undo:
    for (uint32_t i = 0; i < l->load.n_plans; i++) {
        struct state_plan *p = idmap_get(&s->plans, l->load.plan_id[i]);

        if (p != NULL)
            p->load_id = l->load.id;
    }
    return false;
}

static void part_add(struct delivery_state *s, const struct state_load *parent,
                     const struct record_view *r, uint32_t i)
{
    const struct load_part *p = &r->split.part[i];
    struct state_load *l = must_malloc(sizeof(*l));

    *l = (struct state_load){.load = parent->load, .status = LOAD_PENDING};
    ASSERT(l->text == NULL && p->rows > 0);
    l->load.id = p->id;
    l->load.rows = p->rows;
    l->load.attempt = 0;
    l->load.attempt_done = false;
    l->load.root = parent->load.root != 0 ? parent->load.root : parent->load.id;
    l->load.piece = p->piece;
    l->load.first = p->first;
    l->load.n_plans = p->n_plans;
    l->load.plan_id = must_malloc(p->n_plans * sizeof(uint64_t));
    for (uint32_t k = 0; k < p->n_plans; k++)
        l->load.plan_id[k] = record_part_id(r, i, k);
    l->remaining = p->piece ? 0 : p->n_plans;
    idmap_put(&s->loads, p->id, l);
    seen_id(s, p->id);
}

/* All or nothing: the parts are exactly what the load was. */
static int apply_load_split(struct delivery_state *s, const struct record_view *r)
{
    struct state_load *l = idmap_get(&s->loads, r->load_id);
    struct state_plan *p;

    if (l == NULL || l->status == LOAD_DONE || !parts_fit(s, l, r))
        return -EINVAL;
    if (r->split.part[0].piece) {
        p = idmap_get(&s->plans, l->load.plan_id[0]);
        if (p == NULL)
            return -EINVAL;
        p->pieces += r->split.n_parts - (l->load.piece ? 1 : 0);
    } else if (!parts_take_plans(s, l, r)) {
        return -EINVAL;
    }
    for (uint32_t i = 0; i < r->split.n_parts; i++)
        part_add(s, l, r, i);
    idmap_remove(&s->loads, l->load.id);
    load_free(l);
    return 0;
}

static int apply_load_parked(struct delivery_state *s, const struct record_view *r)
{
    struct state_load *l = idmap_get(&s->loads, r->load_id);

    if (l == NULL || l->status == LOAD_DONE)
        return -EINVAL;
    if (r->type == RECORD_LOAD_RESUMED && l->status != LOAD_PARKED)
        return -EINVAL;
    l->status = r->type == RECORD_LOAD_PARKED ? LOAD_PARKED : LOAD_PENDING;
    set_text(&l->text, r->type == RECORD_LOAD_PARKED ? text_copy(r) : NULL);
    return 0;
}

static int apply_staging_gone(struct delivery_state *s, const struct record_view *r)
{
    struct state_plan *p = idmap_get(&s->plans, r->plan_id);
    struct state_load *l = p == NULL ? NULL : idmap_get(&s->loads, p->load_id);

    if (p != NULL && l == NULL && p->load_id != 0 && p->pieces == 0) { /* loaded in pieces */
        plan_remove(s, p);
        return 0;
    }
    if (l == NULL || l->status != LOAD_DONE || l->remaining == 0)
        return -EINVAL;
    plan_remove(s, p);
    l->remaining--;
    load_remove_if_finished(s, l);
    return 0;
}

static int apply_floor(struct delivery_state *s, const struct record_view *r)
{
    struct state_journal *j = journal_get(s, &r->journal);

    if (r->lsn > j->floor) {
        j->floor = r->lsn;
        planned_drop(&s->planned, journal_index(s, j), j->floor);
    }
    return 0;
}

static int apply_mark(struct delivery_state *s, const struct record_view *r)
{
    marks_raise(&s->marks, &r->mark);
    return 0;
}

/* ---- snapshot records ---- */

static int apply_snap_plan(struct delivery_state *s, const struct record_view *r)
{
    struct state_plan *p;

    if (idmap_get(&s->plans, r->plan.id) != NULL || r->status > PLAN_SPOOLED)
        return -EINVAL;
    if (r->load_id != 0 && r->status != PLAN_CONFIRMED)
        return -EINVAL;
    if (r->plan.key.encoding == ENCODING_INSERT && (r->plan.to_load || r->status == PLAN_CONFIRMED))
        return -EINVAL; /* INSERTED ends such a plan */
    if (r->plan.lines == 0)
        return -EINVAL; /* finished at once */
    p = plan_add(s, r);
    p->status = r->status;
    p->load_id = r->load_id;
    p->generation = r->generation;
    if (p->status == PLAN_PARKED || (p->status == PLAN_SPOOLED && r->text_len > 0))
        p->text = text_copy(r);
    if (holds_journal(p->status))
        hold_ranges(s, &r->plan);
    return 0;
}

static int apply_snap_piece(struct delivery_state *s, const struct record_view *r)
{
    struct state_plan *p = idmap_get(&s->plans, record_load_id(r, 0));
    struct state_load *l;

    if (r->load.n_plans != 1 || r->status >= LOAD_DONE || p == NULL ||
        p->status != PLAN_CONFIRMED || p->load_id == 0 || idmap_get(&s->loads, p->load_id) != NULL)
        return -EINVAL;
    l = load_add(s, r);
    l->status = r->status;
    p->pieces++;
    if (l->status == LOAD_PARKED)
        l->text = text_copy(r);
    return 0;
}

/* Plans come before loads; those that point at this load are what remains of it. */
static int apply_snap_load(struct delivery_state *s, const struct record_view *r)
{
    struct state_load *l;
    uint32_t remaining = 0;

    if (idmap_get(&s->loads, r->load.id) != NULL || r->status > LOAD_DONE)
        return -EINVAL;
    if (r->load.piece)
        return apply_snap_piece(s, r);
    for (uint32_t i = 0; i < r->load.n_plans; i++) {
        struct state_plan *p = idmap_get(&s->plans, record_load_id(r, i));

        if (p != NULL && p->load_id == r->load.id && p->status == PLAN_CONFIRMED)
            remaining++;
        else if (r->status != LOAD_DONE)
            return -EINVAL;
    }
    ASSERT(remaining <= r->load.n_plans);
    l = load_add(s, r);
    l->status = r->status;
    l->remaining = remaining;
    if (l->status == LOAD_PARKED)
        l->text = text_copy(r);
    return 0;
}

static int apply_planned_to(struct delivery_state *s, const struct record_view *r)
{
    struct state_journal *j = journal_get(s, &r->journal);

    planned_raise(&s->planned, &r->key, journal_index(s, j), r->lsn);
    return 0;
}

static int apply_counters(struct delivery_state *s, const struct record_view *r)
{
    uint64_t next_id = s->counters.next_id;

    s->counters = r->counters;
    if (s->counters.next_id < next_id)
        s->counters.next_id = next_id;
    return 0;
}

int state_apply(struct delivery_state *s, const struct record_view *r)
{
    static int (*const apply[])(struct delivery_state *, const struct record_view *) = {
        [RECORD_PLAN] = apply_plan,
        [RECORD_CONFIRM] = apply_confirm,
        [RECORD_PARKED] = apply_parked,
        [RECORD_RESUMED] = apply_resumed,
        [RECORD_LOAD] = apply_load,
        [RECORD_ATTEMPT] = apply_attempt,
        [RECORD_ATTEMPT_FAILED] = apply_attempt,
        [RECORD_LOADED] = apply_loaded,
        [RECORD_LOAD_PARKED] = apply_load_parked,
        [RECORD_LOAD_RESUMED] = apply_load_parked,
        [RECORD_STAGING_GONE] = apply_staging_gone,
        [RECORD_FLOOR] = apply_floor,
        [RECORD_INSERTED] = apply_inserted,
        [RECORD_MARK] = apply_mark,
        [RECORD_LOAD_SPLIT] = apply_load_split,
        [RECORD_LOAD_REJECTED] = apply_load_rejected,
        [RECORD_SPOOLED] = apply_spooled,
        [RECORD_SNAP_COUNTERS] = apply_counters,
        [RECORD_SNAP_PLAN] = apply_snap_plan,
        [RECORD_SNAP_LOAD] = apply_snap_load,
        [RECORD_SNAP_PART] = apply_snap_load,
        [RECORD_SNAP_PLANNED_TO] = apply_planned_to,
    };

    ASSERT(r->type < ARRAY_LEN(apply) && apply[r->type] != NULL);
    ASSERT((r->flags & RECORD_FLAG_LEDGER_ONLY) == 0);
    return apply[r->type](s, r);
}

/* ---- visiting ---- */

void state_each_plan(const struct delivery_state *s, plan_visitor visit, void *ctx)
{
    void **all = idmap_sorted(&s->plans);
    struct plan plan;

    ASSERT(visit != NULL);
    for (size_t i = 0; i < s->plans.count; i++) {
        const struct state_plan *p = all[i];

        record_decode_plan(p->body, p->body_len, &plan);
        visit(ctx, &plan, (enum plan_status)p->status, p->load_id, p->text == NULL ? "" : p->text);
    }
    free(all);
}

void state_each_load(const struct delivery_state *s, load_visitor visit, void *ctx)
{
    void **all = idmap_sorted(&s->loads);

    ASSERT(visit != NULL);
    for (size_t i = 0; i < s->loads.count; i++) {
        const struct state_load *l = all[i];

        visit(ctx, &l->load, (enum load_status)l->status, l->text == NULL ? "" : l->text);
    }
    free(all);
}

bool state_plan_waits(const struct delivery_state *s, uint64_t plan_id)
{
    const struct state_plan *p;

    ASSERT(s != NULL && plan_id != 0);
    p = idmap_get(&s->plans, plan_id);
    return p != NULL && p->status != PLAN_CONFIRMED;
}

bool state_load_is_there(const struct delivery_state *s, uint64_t load_id)
{
    ASSERT(s != NULL && load_id != 0);
    return idmap_get(&s->loads, load_id) != NULL;
}

static void snapshot_plans(const struct delivery_state *s, uint8_t *buf, snapshot_visitor visit,
                           void *ctx)
{
    void **all = idmap_sorted(&s->plans);

    for (size_t i = 0; i < s->plans.count; i++) {
        const struct state_plan *p = all[i];

        ASSERT(p->status == PLAN_SPOOLED || (p->status == PLAN_PARKED) == (p->text != NULL));
        struct record_snap_plan r = {
            .body = p->body,
            .body_len = p->body_len,
            .status = p->status,
            .load_id = p->load_id,
            .generation = p->generation,
            .text = p->text,
            .text_len = p->text == NULL ? 0 : (uint32_t)strlen(p->text),
        };

        visit(ctx, buf, record_encode_snap_plan(&r, buf));
    }
    free(all);
}

static void snapshot_loads(const struct delivery_state *s, uint8_t *buf, snapshot_visitor visit,
                           void *ctx)
{
    void **all = idmap_sorted(&s->loads);

    for (size_t i = 0; i < s->loads.count; i++) {
        const struct state_load *l = all[i];
        struct span text = {.ptr = l->text, .len = l->text == NULL ? 0 : strlen(l->text)};

        ASSERT((l->status == LOAD_PARKED) == (l->text != NULL) && l->remaining <= l->load.n_plans);

        visit(ctx, buf, record_encode_snap_load(&l->load, l->status, text, buf));
    }
    free(all);
}

static void snapshot_planned(const struct delivery_state *s, uint8_t *buf, snapshot_visitor visit,
                             void *ctx)
{
    struct planned_entry **all = planned_sorted(&s->planned);

    for (size_t i = 0; i < s->planned.count; i++) {
        const struct planned_entry *e = all[i];

        ASSERT(e->journal < s->n_journals);

        visit(ctx, buf,
              record_encode_planned_to(&e->key, &s->journal[e->journal].uuid, e->to, buf));
    }
    free(all);
}

struct mark_writer {
    uint8_t *buf;
    snapshot_visitor visit;
    void *ctx;
};

static void snapshot_mark(void *ctx, const struct block_mark *mark)
{
    const struct mark_writer *w = ctx;

    w->visit(w->ctx, w->buf, record_encode_mark(mark, 0, w->buf));
}

void state_snapshot(const struct delivery_state *s, uint64_t last_seq, uint64_t ledger_seq,
                    snapshot_visitor visit, void *ctx)
{
    struct record_counters c = {
        .next_id = s->counters.next_id,
        .last_seq = last_seq,
        .ledger_seq = ledger_seq,
    };
    uint8_t *buf = must_malloc(RECORD_BYTES_MAX);
    struct mark_writer marks = {.buf = buf, .visit = visit, .ctx = ctx};

    ASSERT(ledger_seq <= last_seq);
    visit(ctx, buf, record_encode_counters(&c, buf));
    for (uint32_t i = 0; i < s->n_journals; i++)
        visit(ctx, buf, record_encode_floor(&s->journal[i].uuid, s->journal[i].floor, 0, buf));
    marks_each(&s->marks, snapshot_mark, &marks);
    snapshot_planned(s, buf, visit, ctx);
    snapshot_plans(s, buf, visit, ctx);
    snapshot_loads(s, buf, visit, ctx);
    free(buf);
}

uint64_t state_next_id(const struct delivery_state *s)
{
    ASSERT(s->counters.next_id > 0);
    return s->counters.next_id;
}

int64_t state_generation(const struct delivery_state *s, uint64_t plan_id)
{
    const struct state_plan *p = idmap_get(&s->plans, plan_id);

    ASSERT(p != NULL);
    return p->generation;
}

struct delivery_state *state_create(void)
{
    struct delivery_state *s = must_malloc(sizeof(*s));

    *s = (struct delivery_state){.counters = {.next_id = 1}};
    ASSERT(s->plans.count == 0);
    return s;
}

void state_destroy(struct delivery_state *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->plans.slots; i++) {
        struct state_plan *p = s->plans.slot[i].value;

        if (p != NULL)
            free(p->text);
        free(p);
    }
    for (size_t i = 0; i < s->loads.slots; i++) {
        if (s->loads.slot[i].id != 0)
            load_free(s->loads.slot[i].value);
    }
    for (uint32_t i = 0; i < s->n_journals; i++)
        free(s->journal[i].heap);
    idmap_fini(&s->plans);
    idmap_fini(&s->loads);
    planned_fini(&s->planned);
    marks_fini(&s->marks);
    free(s->journal);
    free(s);
}

void state_each_planned(const struct delivery_state *s, planned_visitor visit, void *ctx)
{
    ASSERT(visit != NULL);
    for (size_t i = 0; i < s->planned.slots; i++) {
        const struct planned_entry *e = s->planned.slot[i];

        if (e != NULL)
            visit(ctx, &e->key, &s->journal[e->journal].uuid, e->to);
    }
}
