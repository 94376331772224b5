/* HOT. The steps of plans: see program_plan.c, which has the rest, and program_plan_avx2.c. */
#ifndef PENSTOCK_EVENT_PROGRAM_PLAN_INTERNAL_H
#define PENSTOCK_EVENT_PROGRAM_PLAN_INTERNAL_H

#include "dataplane/event/program_put_internal.h"
#include "dataplane/event/program_run_internal.h"
#include "dataplane/event/timeval_internal.h"

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

/** A value that its step does not read itself. @return false when the event is to be walked. */
bool plan_other_value(struct run *r, char **out, const struct program_op *op, struct json_value v,
                      bool emit);

/** A container in a JSON column. @return as above. */
bool plan_json_value(struct run *r, char **out, const struct program_op *op,
                     const struct program_column *col, const uint32_t *token, bool emit);

/* For CPUs with AVX2 and BMI. */
bool plan_check_avx2(const struct program_plan *plan, struct run *r, const uint32_t *token);
bool plan_encode_avx2(const struct program_plan *plan, struct run *r, const uint32_t *token);

/* The value at token i. */
ALWAYS_INLINE struct json_value value_at(const char *origin, const uint32_t *token, uint32_t i)
{
    const char *p = origin + token[i], *past = origin + token[i + 1];

    while (unlikely((uint8_t)past[-1] <= ' '))
        past--;
    return (struct json_value){.ptr = p, .len = (uint32_t)(past - p)};
}

ALWAYS_INLINE void put_text(char **out, struct program_tag tag, struct span raw)
{
    char *start;

    put_tag(out, tag);
    start = *out;
    put_varint(out, raw.len);
    if (unlikely(copy_text(*out, raw.ptr, raw.len)))
        *out = put_unescaped(start, raw);
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

/**
 * The steps of a plan, compiled by each file that includes this for its instructions.
 * @return whether the event goes by them.
 */
ALWAYS_INLINE bool plan_steps(const struct program_plan *plan, struct run *r, const uint32_t *token,
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
            if (!plan_other_value(r, &r->at.out, op, v, emit))
                return false;
            out = r->at.out;
        } else if (op->kind == OP_JSON) {
            r->at.out = out;
            if (!plan_json_value(r, &r->at.out, op, col, token, emit))
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

#endif
