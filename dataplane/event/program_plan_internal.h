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
    OP_END,    /* of the plan */
};

/* Whether a step compares a key. */
enum program_op_key {
    OP_KEY_NONE,
    OP_KEY_SHORT, /* at once */
    OP_KEY_LONG,
};

/** A value that its step does not read itself. @return false when the event is to be walked. */
bool plan_other_value(struct run *r, char **out, const struct program_op *op, const uint32_t *token,
                      bool emit);

/* For CPUs with AVX2 and BMI. */
bool plan_check_avx2(const struct program_plan *plan, struct run *r, const uint32_t *token);
bool plan_encode_avx2(const struct program_plan *plan, struct run *r, const uint32_t *token);

/* The value at token i. */
/* The bytes of the value at token i. */
ALWAYS_INLINE struct span value_at(const char *origin, const uint32_t *token, uint32_t i)
{
    const char *p = origin + token[i], *past = origin + token[i + 1];

    while (unlikely((uint8_t)past[-1] <= ' '))
        past--;
    return (struct span){p, (size_t)(past - p)};
}

ALWAYS_INLINE bool key_fits(const char *p, const struct program_column *col,
                            enum program_op_key key)
{
    if (!key_starts(p, col->key, col->key_mask))
        return false;
    return likely(key == OP_KEY_SHORT) ||
           (memcmp(p, col->field->name, col->name_len) == 0 && p[col->name_len] == '"');
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

ALWAYS_INLINE void put_integer(char **out, struct program_tag tag, int64_t v)
{
    put_tag(out, tag);
    put_varint(out, (uint64_t)v);
}

ALWAYS_INLINE void put_real(char **out, struct program_tag tag, double v)
{
    put_tag(out, tag);
    memcpy(*out, &v, sizeof(v));
    *out += sizeof(v);
}

ALWAYS_INLINE bool is_time(struct span v, int64_t *us)
{
    unsigned form;

    return *v.ptr == '"' && time_parse_form((struct span){v.ptr + 1, v.len - 2}, us, &form) == 0 &&
           (form & ~(unsigned)(TIME_FORM_ZONE | TIME_FORM_NO_SECONDS)) == 0;
}

ALWAYS_INLINE bool starts_number(char c)
{
    return c == '-' || (uint8_t)(c - '0') < 10;
}

/**
 * The steps of a plan, compiled by each file that includes this for its instructions. A step that
 * reads its value itself goes on; one that does not ends in the call behind the switch.
 * @return whether the event goes by them.
 */
ALWAYS_INLINE bool plan_steps(const struct program_plan *plan, struct run *r, const uint32_t *token,
                              bool emit)
{
    const struct program_column *columns = r->program->column;
    const char *origin = r->origin;
    char *start[SCHEMA_DEPTH_MAX], *out = r->at.out;
    const bool far_numbers = r->far_numbers;
    unsigned depth = 0;

    for (const struct program_op *op = plan->op;; op++) {
        const struct program_column *col = &columns[op->column];
        struct span v;
        int64_t number;
        double real;

        if (op->key != OP_KEY_NONE &&
            unlikely(!key_fits(origin + token[op->token - 2] + 1, col, op->key)))
            return false;
        switch ((enum program_op_kind)op->kind) {
        case OP_STRING:
            v = value_at(origin, token, op->token);
            if (unlikely(*v.ptr != '"'))
                break;
            if (emit)
                put_text(&out, col->tag, (struct span){v.ptr + 1, v.len - 2});
            continue;
        case OP_INTEGER:
            v = value_at(origin, token, op->token);
            if (unlikely(!read_short_integer(v, &number)))
                break;
            if (emit)
                put_integer(&out, col->tag, number);
            continue;
        case OP_FLOAT:
            v = value_at(origin, token, op->token);
            if (!emit && !far_numbers && starts_number(*v.ptr))
                continue;
            if (unlikely(!read_short_decimal(v, &real)))
                break;
            if (emit)
                put_real(&out, col->tag, real);
            continue;
        case OP_TIMESTAMP:
            v = value_at(origin, token, op->token);
            if (unlikely(!is_time(v, &number)))
                break;
            if (emit)
                put_integer(&out, col->tag, number);
            continue;
        case OP_BOOLEAN:
            v = value_at(origin, token, op->token);
            if (unlikely(*v.ptr != 't' && *v.ptr != 'f'))
                break;
            if (emit)
                put_integer(&out, col->tag, *v.ptr == 't');
            continue;
        case OP_OPEN:
            ASSERT_HOT(depth < SCHEMA_DEPTH_MAX);
            if (emit) {
                put_tag(&out, col->tag);
                start[depth++] = ++out;
            }
            continue;
        case OP_CLOSE:
            ASSERT_HOT(!emit || depth > 0);
            if (emit)
                put_length(&out, start[--depth]);
            continue;
        case OP_ARRAY:
            continue;
        case OP_END:
            r->at.out = out;
            return true;
        case OP_SCALAR:
        case OP_JSON:
            break;
        default:
            __builtin_unreachable(); /* a bounds check less a step */
        }
        r->at.out = out; /* so that out itself stays in a register */
        if (!plan_other_value(r, &r->at.out, op, token, emit))
            return false;
        out = r->at.out;
    }
}

#endif
