/*
 * HOT. Plans: what is to be done for events of a known shape, as a list of steps in terms of token
 * numbers.
 *
 * Events of one shape have the same brackets, commas and kinds of values at the same tokens. When
 * all their keys are those of the event that the plan was made from, then the same columns get their
 * values in the same order, none twice, and the same REQUIRED ones are there. So a plan compares
 * each key with the name of its column, and reads values; nothing else of the grammar is left.
 * Whatever does not go by the plan (another key, a null in a REQUIRED column, a value that its
 * column does not take) ends it, and the event is walked, which says what is wrong.
 *
 * Plans are made of events without cuts only. They live in program_memory, in the slot that the shape
 * and the program give; parsers number shapes so that those in use do not meet there, unless they
 * belong to different programs. A program may check by another one's plan.
 */
#include "dataplane/event/program_steps_internal.h"

#define OP_BYTES_MAX \
    (DECIMAL_BINARY_BYTES + 16) /* that a step writes beside the text of its value */
#define NUMBERS_MIN 3

struct program_plan *plan_of(struct program_memory *m, const struct program *p,
                             const struct json_event *ev)
{
    uint64_t slot = ev->shape + ((uintptr_t)p >> 6) * 37;

    if (m == NULL || ev->shape == 0 || ev->token == NULL)
        return NULL;
    return &m->plan[slot % JSON_SHAPES_MAX];
}

/* ---- plans of other programs ---- */

/*
 * Types with thousands of schemas that hardly differ, such as one for each tenant, would need as many
 * plans, and none of them nor of their columns would be in the cache. But a plan only says what its
 * event has: so it is as good for every program that has the same columns for those members, whatever
 * others it has. This is for checks: rows have the numbers of columns in them.
 */
static struct plan_link *links_of(struct program_memory *m, const struct program *p,
                                  const struct json_event *ev)
{
    uint64_t hash = (((uintptr_t)p >> 4) + ev->shape * 0x51ED2701) * UINT64_C(0x9E3779B97F4A7C15);

    return m->link[hash >> 40 & (PLAN_LINKS / PLAN_LINK_WAYS - 1)];
}

static uint64_t link_to(const struct program_memory *m, const struct program_plan *plan)
{
    return plan->serial << 8 | (uint64_t)(plan - m->plan);
}

void program_expect(struct program_memory *m, const struct schema *s, const struct json_event *ev)
{
    ASSERT_HOT(s != NULL);
    __builtin_prefetch(links_of(m, s->program, ev));
}

struct program_plan *plan_adopted(struct program_memory *m, const struct run *r,
                                  const struct json_event *ev)
{
    const struct plan_link *link = links_of(m, r->program, ev);

    for (uint32_t i = 0; i < PLAN_LINK_WAYS; i++) {
        struct program_plan *plan = &m->plan[link[i].plan & UINT8_MAX];

        if (link[i].program == r->program && link[i].plan == link_to(m, plan) &&
            plan->shape == ev->shape && plan->line == r->line) {
            ASSERT_HOT(plan->n_ops > 0);
            return plan;
        }
    }
    return NULL;
}

static bool same_column(const struct program_column *a, const struct program_column *b)
{
    const struct schema_field *f = a->field, *g = b->field;

    return a->type == b->type && a->mode == b->mode && a->added == b->added &&
           a->limited == b->limited && f->max_length == g->max_length &&
           f->precision == g->precision && f->scale == g->scale && f->range == g->range;
}

/* Whether each member finds a column as in the plan's own program, and none is missing. */
static bool plan_suits(const struct program_plan *plan, const struct program *p)
{
    const struct program_column *record[SCHEMA_DEPTH_MAX + 1] = {&p->column[PROGRAM_ROOT]};
    uint32_t required[SCHEMA_DEPTH_MAX + 1] = {0}, depth = 0;

    for (const struct program_op *op = plan->op; op->kind != OP_END; op++) {
        const struct program_column *theirs = op_column(plan->program, op), *ours;

        if (op->kind == OP_CLOSE) {
            if (required[depth] != record[depth]->field->n_required)
                return false;
            depth--;
            continue;
        }
        ours = program_find(p, record[depth], (struct span){theirs->field->name, theirs->name_len});
        if (ours == NULL || !same_column(ours, theirs))
            return false;
        required[depth] += !op_is_bare(op) && ours->mode == COLUMN_REQUIRED;
        if ((op->kind & ~OP_BARE) == OP_OPEN) {
            ASSERT(depth < SCHEMA_DEPTH_MAX);
            record[++depth] = ours;
            required[depth] = 0;
        }
        op += (op->kind & ~OP_BARE) == OP_JSON; /* that has two */
    }
    ASSERT(depth == 0);
    return required[0] == record[0]->field->n_required;
}

/* Where a new link goes: what is free or has lost its plan, else one after the other. */
static struct plan_link *link_take(struct program_memory *m, struct plan_link *of)
{
    ASSERT(of != NULL);
    for (uint32_t i = 0; i < PLAN_LINK_WAYS; i++) {
        if (of[i].program == NULL || of[i].plan != link_to(m, &m->plan[of[i].plan & UINT8_MAX]))
            return &of[i];
    }
    return &of[m->links_pushed++ % PLAN_LINK_WAYS];
}

bool plan_adopt(struct program_memory *m, const struct run *r, const struct json_event *ev)
{
    const uint8_t *slot = m->of_shape[ev->shape % JSON_SHAPES_MAX];

    ASSERT(ev->shape != 0);
    for (uint32_t i = 0; i < PLANS_OF_A_SHAPE; i++) {
        const struct program_plan *plan = &m->plan[slot[i]];

        if (plan->shape != ev->shape || plan->line != r->line || plan->n_ops == 0 ||
            !plan_suits(plan, r->program))
            continue;
        *link_take(m, links_of(m, r->program, ev)) =
            (struct plan_link){.program = r->program, .plan = link_to(m, plan)};
        return true;
    }
    return false;
}

/* ---- running ---- */

static uint8_t type_of(char c)
{
    switch (c) {
    case '"':
        return JSON_STRING;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    default:
        return JSON_NUMBER;
    }
}

bool plan_other_value(struct run *r, char **out, const struct program_op *op, const uint32_t *token,
                      bool emit)
{
    const struct program_column *col = op_column(r->program, op);
    const char *p = r->origin + token[op->token], *past = r->origin + token[op->token + 1];
    struct json_value v = {.ptr = p, .type = JSON_OBJECT};
    struct cursor c = {.out = *out};
    bool fits;

    if ((op->kind & ~OP_BARE) == OP_JSON) {
        past = r->origin + token[op[1].token - 1] + 1;
    } else {
        if (*p == 'n')
            return !op_is_bare(op) && col->mode != COLUMN_REQUIRED;
        if (col->type == COLUMN_RECORD || (!op_is_bare(op) && col->mode == COLUMN_REPEATED))
            return false; /* where the plan's event had a null */
        while ((uint8_t)past[-1] <= ' ')
            past--;
        v.type = type_of(*p);
    }
    v.len = (uint32_t)(past - p);
    fits = run_scalar(r, &c, col, v, emit);
    *out = c.out;
    return fits;
}

bool plan_check_any(const struct program_plan *plan, struct run *r, const uint32_t *token)
{
    return plan_steps(plan, r, token, false);
}

bool plan_encode_any(const struct program_plan *plan, struct run *r, const uint32_t *token)
{
    return plan_steps(plan, r, token, true);
}

bool plan_run(const struct program_plan *plan, struct run *r, const struct json_event *ev,
              bool emit)
{
    static plan_steps_fn *const check[PLAN_VARIANTS] = {plan_check_any, plan_check_avx2,
                                                        plan_check_avx512};
    static plan_steps_fn *const encode[PLAN_VARIANTS] = {plan_encode_any, plan_encode_avx2,
                                                         plan_encode_avx512};

    ASSERT_HOT(plan->shape == ev->shape && plan->line == r->line);
    if (!emit)
        return check[plan->variant](plan, r, ev->token);
    if (r->out_end - r->at.out < (ptrdiff_t)(ev->len + (size_t)plan->n_ops * OP_BYTES_MAX))
        return false; /* near the end of the room every value asks for its own */
    return encode[plan->variant](plan, r, ev->token);
}

/* ---- learning ---- */

struct learner {
    struct program_plan *plan;
    const struct program *program;
    const char *origin;
    const uint32_t *token;
    uint32_t t; /* the next token */
    bool fails;
};

static char byte_at(const struct learner *l)
{
    return l->origin[l->token[l->t]];
}

static void add_op(struct learner *l, enum program_op_kind kind, const struct program_column *col,
                   uint32_t token)
{
    struct program_plan *plan = l->plan;

    if (plan->n_ops == PROGRAM_OPS_MAX || token > UINT16_MAX) { /* OP_END comes on top */
        l->fails = true;
        return;
    }
    plan->op[plan->n_ops++] = (struct program_op){
        .token = (uint16_t)token,
        .kind = (uint8_t)kind,
        .column = (uint32_t)((const char *)col - (const char *)l->program->column),
    };
}

/* With the comparison of the key when there is one. */
static void add_value(struct learner *l, enum program_op_kind kind,
                      const struct program_column *col, uint32_t token, bool key)
{
    if (key && col->name_len >= PROGRAM_KEY_BYTES) {
        add_op(l, OP_LONG_KEY, col, token);
        key = false;
    }
    ASSERT((kind & OP_BARE) == 0);
    add_op(l, key ? kind : kind | OP_BARE, col, token);
}

static enum program_op_kind kind_of(const struct program_column *col, bool string, bool key)
{
    if (key && col->mode == COLUMN_REPEATED)
        return OP_SCALAR; /* a null */
    switch ((enum column_type)col->type) {
    case COLUMN_STRING:
        return string && !col->limited ? OP_STRING : OP_SCALAR;
    case COLUMN_TIMESTAMP:
        return string ? OP_TIMESTAMP : OP_SCALAR;
    case COLUMN_INTEGER:
        return string ? OP_SCALAR : OP_INTEGER;
    case COLUMN_FLOAT:
        return string ? OP_SCALAR : OP_FLOAT;
    case COLUMN_BOOLEAN:
        return string ? OP_SCALAR : OP_BOOLEAN;
    default:
        return OP_SCALAR;
    }
}

static void learn_record(struct learner *l, const struct program_column *record);

/* Passes a container. */
static void pass_container(struct learner *l)
{
    unsigned depth = 0;

    do {
        depth += (byte_at(l) | 0x20) == '{';
        depth -= (byte_at(l) | 0x20) == '}';
        l->t++;
    } while (depth > 0);
}

/* A value or an element that is not an array of a REPEATED column. */
static void learn_value(struct learner *l, const struct program_column *col, bool key)
{
    uint32_t token = l->t;

    if (col->type == COLUMN_RECORD && byte_at(l) == '{') {
        add_value(l, OP_OPEN, col, token, key);
        learn_record(l, col);
        add_op(l, OP_CLOSE, col, token);
    } else if ((byte_at(l) | 0x20) == '{') {
        pass_container(l);
        add_value(l, OP_JSON, col, token, key);
        add_op(l, OP_JSON, col, l->t);
    } else {
        add_value(l, kind_of(col, byte_at(l) == '"', key), col, token, key);
        l->t++;
    }
}

static void learn_elements(struct learner *l, const struct program_column *col)
{
    add_op(l, col->name_len < PROGRAM_KEY_BYTES ? OP_KEY : OP_LONG_KEY, col, l->t);
    l->t++;
    while (byte_at(l) != ']' && !l->fails) {
        learn_value(l, col, false);
        l->t += byte_at(l) == ',';
    }
    l->t++;
}

/* Whether a column's values are written where they stand. */
static bool plannable(const struct learner *l, const struct program_column *col)
{
    return col->added == COLUMN_ADDED_NONE || (l->plan->line && col->added == COLUMN_ADDED_ALWAYS);
}

/* The members of the object at the next token. */
static void learn_record(struct learner *l, const struct program_column *record)
{
    ASSERT(byte_at(l) == '{');
    l->t++;
    while (byte_at(l) != '}' && !l->fails) {
        const char *key = l->origin + l->token[l->t] + 1;
        const char *past = l->origin + l->token[l->t + 1];
        const struct program_column *col;

        while (past[-1] != '"')
            past--;
        col = program_find(l->program, record, (struct span){key, (size_t)(past - 1 - key)});
        if (col == NULL || !plannable(l, col) ||
            memchr(key, '\\', (size_t)(past - 1 - key)) != NULL) {
            l->fails = true;
            return;
        }
        l->t += 2;
        if (col->mode == COLUMN_REPEATED && byte_at(l) == '[')
            learn_elements(l, col);
        else
            learn_value(l, col, true);
        l->t += byte_at(l) == ',';
    }
    l->t++;
}

static bool is_number(const struct program_op *op)
{
    return op->kind >= OP_INTEGER && op->kind <= (OP_FLOAT | OP_BARE);
}

/* The numbers that are read beside others, eight at a time; fewer than three are not worth it. */
static void learn_numbers(struct program_plan *plan)
{
    uint32_t n = 0, max = 0;

    for (uint32_t i = 0; i < plan->n_ops; i++)
        max += is_number(&plan->op[i]);
    max = max < NUMBERS_MIN ? 0 : PROGRAM_NUMBERS;
    plan->integers = 0;
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        struct program_op *op = &plan->op[i];

        if (!is_number(op))
            continue;
        if (n == max) {
            op->kind = (uint8_t)(op->kind - OP_INTEGER + OP_LONE_INTEGER);
            continue;
        }
        op->number = (uint8_t)n;
        plan->integers |= (uint32_t)((op->kind & ~OP_BARE) == OP_INTEGER) << n;
        plan->number[n++] = op->token;
    }
    for (; n % 8 != 0; n++)
        plan->number[n] = plan->number[n - 1];
    plan->n_numbers = (uint8_t)n;
}

/* Whether a check looks at the value: what the shape has proved it need not. */
static bool is_looked_at(const struct program_op *op)
{
    const unsigned kind = op->kind & ~(unsigned)OP_BARE;

    return kind != OP_STRING && kind != OP_OPEN && op->kind != OP_CLOSE && kind != OP_KEY;
}

/* The steps of a check, from those of all. */
static void learn_check(struct program_plan *plan)
{
    struct program_op *out = plan->check;

    for (uint32_t i = 0; i < plan->n_ops; i++) {
        const struct program_op *op = &plan->op[i];

        if (!op_is_bare(op)) {
            *out = *op;
            out->token = (uint16_t)(op->token - 2);
            out++;
        }
        i += (op->kind & ~OP_BARE) == OP_JSON; /* that has two */
    }
    plan->n_keys = (uint16_t)(out - plan->check);
    for (uint32_t i = 0; i < plan->n_ops; i++) {
        if (is_looked_at(&plan->op[i]))
            *out++ = plan->op[i];
    }
    *out = (struct program_op){.kind = OP_END};
    ASSERT(out < plan->check + ARRAY_LEN(plan->check) && plan->n_keys <= plan->n_ops);
}

enum plan_variant plan_variant_of(enum json_isa isa)
{
    if (isa == JSON_ISA_AVX512 && __builtin_cpu_supports("avx512dq"))
        return PLAN_AVX512;
    return isa == JSON_ISA_SCALAR ? PLAN_ANY : PLAN_AVX2;
}

void plan_learn(struct program_memory *m, struct program_plan *plan, const struct run *r,
                const struct json_event *ev)
{
    struct learner l = {
        .plan = plan, .program = r->program, .origin = r->origin, .token = ev->token};

    ASSERT(ev->token != NULL && ev->shape != 0);
    plan->shape = ev->shape;
    plan->serial = ++m->plans;
    m->of_shape[ev->shape % JSON_SHAPES_MAX][m->plans % PLANS_OF_A_SHAPE] =
        (uint8_t)(plan - m->plan);
    plan->program = r->program;
    plan->line = r->line;
    plan->variant = m->variant;
    plan->n_ops = 0;
    plan->misses = 0;
    learn_record(&l, &l.program->column[PROGRAM_ROOT]);
    ASSERT(l.fails || l.t == ev->n_tokens);
    if (l.fails)
        plan->n_ops = 0;
    plan->n_numbers = 0;
    if (m->variant == PLAN_AVX512)
        learn_numbers(plan);
    plan->op[plan->n_ops] = (struct program_op){.kind = OP_END};
    learn_check(plan);
}
