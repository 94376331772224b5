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
 * belong to different programs.
 */
#include "dataplane/event/program_put_internal.h"
#include "dataplane/event/program_run_internal.h"
#include "dataplane/event/timeval_internal.h"

#define OP_BYTES_MAX \
    (DECIMAL_BINARY_BYTES + 16) /* that a step writes beside the text of its value */

enum program_op_kind {
    OP_STRING,
    OP_INTEGER,
    OP_FLOAT,
    OP_TIMESTAMP,
    OP_BOOLEAN,
    OP_SCALAR, /* any other, and texts with a maxLength */
    OP_JSON,   /* a container in a JSON column */
    OP_ARRAY,  /* of a REPEATED column: nothing but its key */
    OP_OPEN,   /* a RECORD begins */
    OP_CLOSE,  /* and ends */
};

struct program_plan *plan_of(struct program_memory *m, const struct program *p,
                             const struct json_event *ev)
{
    uint64_t slot = ev->shape + ((uintptr_t)p >> 6) * 37;

    if (m == NULL || ev->shape == 0 || ev->token == NULL)
        return NULL;
    return &m->plan[slot % JSON_SHAPES_MAX];
}

/* ---- running ---- */

/* The value at token i. */
ALWAYS_INLINE struct json_value value_at(const char *origin, const uint32_t *token, uint32_t i)
{
    const char *p = origin + token[i], *past = origin + token[i + 1];

    while (unlikely((uint8_t)past[-1] <= ' '))
        past--;
    return (struct json_value){.ptr = p, .len = (uint32_t)(past - p)};
}

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

/* A value that its step does not read itself. */
static __attribute__((noinline)) bool other_value(struct run *r, char **out,
                                                  const struct program_op *op, struct json_value v,
                                                  bool emit)
{
    const struct program_column *col = &r->program->column[op->column];
    struct cursor c = {.out = *out};
    bool fits;

    if (*v.ptr == 'n')
        return op->key && col->mode != COLUMN_REQUIRED;
    if (col->type == COLUMN_RECORD || (op->key && col->mode == COLUMN_REPEATED))
        return false; /* where the plan's event had a null */
    v.type = type_of(*v.ptr);
    fits = run_scalar(r, &c, col, v, emit);
    *out = c.out;
    return fits;
}

/* A string with escapes. */
static COLD_PATH char *put_escaped(char *out, struct span raw)
{
    char *text = out + VARINT_BYTES_MAX;
    size_t len = json_unescape(raw, text);

    put_varint(&out, len);
    memmove(out, text, len);
    return out + len;
}

ALWAYS_INLINE void put_text(char **out, struct program_tag tag, struct span raw)
{
    char *start;

    put_tag(out, tag);
    start = *out;
    put_varint(out, raw.len);
    if (unlikely(copy_text(*out, raw.ptr, raw.len)))
        *out = put_escaped(start, raw);
    else
        *out += raw.len;
}

ALWAYS_INLINE bool key_fits(const char *p, const struct program_column *col)
{
    if (!key_starts(p, col->key, col->key_mask))
        return false;
    return likely(col->name_len < PROGRAM_KEY_BYTES) ||
           (memcmp(p, col->field->name, col->name_len) == 0 && p[col->name_len] == '"');
}

ALWAYS_INLINE void put_op_number(char **out, struct program_tag tag, int64_t v)
{
    put_tag(out, tag);
    put_varint(out, (uint64_t)v);
}

/* The steps that read a value. @return false when it is to be read in another way. */
ALWAYS_INLINE bool op_value(const struct program_op *op, const struct program_column *col,
                            struct json_value v, bool far_numbers, char **out, bool emit)
{
    const char first = *v.ptr;
    unsigned form;
    int64_t number;
    double real;

    switch ((enum program_op_kind)op->kind) {
    case OP_STRING:
        if (unlikely(first != '"'))
            return false;
        if (emit)
            put_text(out, col->tag, json_string_body(v));
        return true;
    case OP_INTEGER:
        if (unlikely(!read_short_integer(v, &number)))
            return false;
        if (emit)
            put_op_number(out, col->tag, number);
        return true;
    case OP_FLOAT:
        if (!emit && !far_numbers && (first == '-' || (uint8_t)(first - '0') < 10))
            return true;
        if (unlikely(!read_short_decimal(v, &real)))
            return false;
        if (emit) {
            put_tag(out, col->tag);
            memcpy(*out, &real, sizeof(real));
            *out += sizeof(real);
        }
        return true;
    case OP_TIMESTAMP:
        if (unlikely(first != '"' || time_parse_form(json_string_body(v), &number, &form) != 0 ||
                     (form & ~(unsigned)(TIME_FORM_ZONE | TIME_FORM_NO_SECONDS)) != 0))
            return false;
        if (emit)
            put_op_number(out, col->tag, number);
        return true;
    case OP_BOOLEAN:
        if (unlikely(first != 't' && first != 'f'))
            return false;
        if (emit)
            put_op_number(out, col->tag, first == 't');
        return true;
    default:
        return false;
    }
}

static bool json_column(struct run *r, char **out, const struct program_op *op,
                        const struct program_column *col, const uint32_t *token, bool emit)
{
    struct json_value v = {.ptr = r->origin + token[op->token], .type = JSON_OBJECT};
    struct cursor c = {.out = *out};
    bool fits;

    v.len = (uint32_t)(r->origin + token[op->past - 1] + 1 - v.ptr);
    fits = run_scalar(r, &c, col, v, emit);
    *out = c.out;
    return fits;
}

ALWAYS_INLINE bool steps(const struct program_plan *plan, struct run *r, const uint32_t *token,
                         bool emit)
{
    const struct program_column *columns = r->program->column;
    const struct program_op *op = plan->op, *end = op + plan->n_ops;
    const char *origin = r->origin;
    char *start[SCHEMA_DEPTH_MAX], *out = r->at.out;
    const bool far_numbers = r->far_numbers;
    unsigned depth = 0;

    for (; op < end; op++) {
        const struct program_column *col = &columns[op->column];
        struct json_value v;

        if (op->key && unlikely(!key_fits(origin + token[op->token - 2] + 1, col)))
            return false;
        if (likely(op->kind <= OP_SCALAR)) {
            v = value_at(origin, token, op->token);
            if (likely(op_value(op, col, v, far_numbers, &out, emit)))
                continue;
            r->at.out = out; /* so that out itself stays in a register */
            if (!other_value(r, &r->at.out, op, v, emit))
                return false;
            out = r->at.out;
        } else if (op->kind == OP_JSON) {
            r->at.out = out;
            if (!json_column(r, &r->at.out, op, col, token, emit))
                return false;
            out = r->at.out;
        } else if (emit && op->kind == OP_OPEN) {
            ASSERT_HOT(depth < SCHEMA_DEPTH_MAX);
            put_tag(&out, col->tag);
            start[depth++] = ++out;
        } else if (emit && op->kind == OP_CLOSE) {
            ASSERT_HOT(depth > 0);
            put_length(&out, start[--depth]);
        }
    }
    r->at.out = out;
    return true;
}

static __attribute__((noinline)) bool steps_check(const struct program_plan *plan, struct run *r,
                                                  const uint32_t *token)
{
    return steps(plan, r, token, false);
}

static __attribute__((noinline)) bool steps_encode(const struct program_plan *plan, struct run *r,
                                                   const uint32_t *token)
{
    return steps(plan, r, token, true);
}

bool plan_run(const struct program_plan *plan, struct run *r, const struct json_event *ev,
              bool emit)
{
    ASSERT_HOT(plan->shape == ev->shape && plan->line == r->line);
    if (!emit)
        return steps_check(plan, r, ev->token);
    if (r->out_end - r->at.out < (ptrdiff_t)(ev->len + (size_t)plan->n_ops * OP_BYTES_MAX))
        return false; /* near the end of the room every value asks for its own */
    return steps_encode(plan, r, ev->token);
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
                   uint32_t token, bool key)
{
    struct program_plan *plan = l->plan;

    if (plan->n_ops == PROGRAM_OPS_MAX || l->t > UINT16_MAX) {
        l->fails = true;
        return;
    }
    plan->op[plan->n_ops++] = (struct program_op){
        .token = (uint16_t)token,
        .past = (uint16_t)l->t,
        .column = (uint16_t)(col - l->program->column),
        .kind = (uint8_t)kind,
        .key = key,
    };
}

static enum program_op_kind kind_of(const struct program_column *col, bool key)
{
    if (key && col->mode == COLUMN_REPEATED)
        return OP_SCALAR; /* a null */
    switch ((enum column_type)col->type) {
    case COLUMN_STRING:
        return col->limited ? OP_SCALAR : OP_STRING;
    case COLUMN_INTEGER:
        return OP_INTEGER;
    case COLUMN_FLOAT:
        return OP_FLOAT;
    case COLUMN_TIMESTAMP:
        return OP_TIMESTAMP;
    case COLUMN_BOOLEAN:
        return OP_BOOLEAN;
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
        add_op(l, OP_OPEN, col, token, key);
        learn_record(l, col);
        add_op(l, OP_CLOSE, col, token, false);
    } else if ((byte_at(l) | 0x20) == '{') {
        pass_container(l);
        add_op(l, OP_JSON, col, token, key);
    } else {
        l->t++;
        add_op(l, kind_of(col, key), col, token, key);
    }
}

static void learn_elements(struct learner *l, const struct program_column *col)
{
    add_op(l, OP_ARRAY, col, l->t, true);
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
        if (col == NULL || !plannable(l, col) || !key_fits(key, col)) { /* or a key with escapes */
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

void plan_learn(struct program_plan *plan, const struct run *r, const struct json_event *ev)
{
    struct learner l = {
        .plan = plan, .program = r->program, .origin = r->origin, .token = ev->token};

    ASSERT(ev->token != NULL && ev->shape != 0);
    plan->shape = ev->shape;
    plan->program = r->program;
    plan->line = r->line;
    plan->n_ops = 0;
    plan->misses = 0;
    learn_record(&l, &l.program->column[PROGRAM_ROOT]);
    ASSERT(l.fails || l.t == ev->n_tokens);
    if (l.fails)
        plan->n_ops = 0;
}
