/*
 * HOT. The steps of plans: see program_plan.c, which has the rest. Every file that includes this
 * compiles them for its instructions.
 */
#ifndef PENSTOCK_EVENT_PROGRAM_STEPS_INTERNAL_H
#define PENSTOCK_EVENT_PROGRAM_STEPS_INTERNAL_H

#include "dataplane/event/program_plan_internal.h"
#include "dataplane/event/program_put_internal.h"
#include "dataplane/event/timeval_internal.h"

#ifdef PROGRAM_AVX512
#include "dataplane/event/program_vector_internal.h"
#else
ALWAYS_INLINE bool read_time(struct span text, int64_t *us)
{
    unsigned form;

    return time_parse_form(text, us, &form) == 0 &&
           (form & ~(unsigned)(TIME_FORM_ZONE | TIME_FORM_NO_SECONDS)) == 0;
}

ALWAYS_INLINE char *put_escapes(char *out, struct span raw)
{
    return put_unescaped(out, raw);
}
#endif

/* The value at a token. */
ALWAYS_INLINE struct span value_at(const char *origin, const uint32_t *token)
{
    const char *p = origin + token[0], *past = origin + token[1];

    while (unlikely((uint8_t)past[-1] <= ' '))
        past--;
    return (struct span){p, (size_t)(past - p)};
}

/* A string of any length, its tag in front of out. */
static __attribute__((noinline)) char *put_long_text(char *out, struct span raw)
{
    char *start = out;

    put_varint(&out, raw.len);
    return copy_text(out, raw.ptr, raw.len) ? put_unescaped(start, raw) : out + raw.len;
}

/* The string at a token. */
ALWAYS_INLINE void put_text(char **out, const struct program_tag *tag, const char *origin,
                            const uint32_t *at)
{
    const uint32_t past = at[1];
    const char *text = origin + 1 + at[0];
    uint32_t len = past - 2 - at[0], found;

    if (unlikely((uint8_t)origin[past - 1] <= ' '))
        len = (uint32_t)value_at(origin, at).len - 2;
    put_tag(out, tag);
    if (unlikely(len > VECTOR_BYTES)) {
        *out = put_long_text(*out, (struct span){text, len});
        return;
    }
    **out = (char)len;
    found = copy_vector(*out + 1, text);
    if (unlikely(low_bits(found, len) != 0))
        *out = put_escapes(*out, (struct span){text, len});
    else
        *out += len + 1;
}

ALWAYS_INLINE bool starts_number(char c)
{
    return c == '-' || (uint8_t)(c - '0') < 10;
}

/* A check looks at few integers sooner one by one; of other numbers that are near there is nothing to read.
 * */
#define LONE_INTEGERS_MAX 4

/* What the steps of an event share. */
struct steps {
    const char *origin;
    bool far_numbers;
#ifdef PROGRAM_AVX512
    bool beside; /* numbers were read beside each other */
    struct plan_numbers numbers;
#endif
};

/* A number in its turn. @return false when it is to be read in another way. */
ALWAYS_INLINE bool lone_number(const struct steps *s, const uint32_t *at, bool integer, bool emit,
                               uint64_t *bits)
{
    const struct span v = value_at(s->origin, at);

    if (!integer && !emit && !s->far_numbers && starts_number(*v.ptr))
        return true;
    if (!integer) {
        double real;

        if (unlikely(!read_short_decimal(v, &real)))
            return false;
        memcpy(bits, &real, sizeof(*bits));
        return true;
    }
    return likely(read_short_integer(v, (int64_t *)bits));
}

/* A number that may have been read beside others. */
ALWAYS_INLINE bool number(const struct steps *s, const struct program_op *op, const uint32_t *at,
                          bool integer, bool emit, uint64_t *bits)
{
#ifdef PROGRAM_AVX512
    if (!emit && !s->beside)
        return lone_number(s, at, integer, emit, bits);
    *bits = s->numbers.value[op->number];
    if (likely((s->numbers.bad >> op->number & 1) == 0))
        return true;
    return !integer && !emit && !s->far_numbers && starts_number(s->origin[*at]);
#else
    ASSERT_HOT(op->number == 0);
    return lone_number(s, at, integer, emit, bits);
#endif
}

ALWAYS_INLINE void put_number_bits(char **out, const struct program_tag *tag, bool integer,
                                   uint64_t bits)
{
    put_tag(out, tag);
    if (integer) {
        put_varint(out, bits);
    } else {
        memcpy(*out, &bits, sizeof(bits));
        *out += sizeof(bits);
    }
}

/* Keeps a time that a check has read. */
ALWAYS_INLINE void note_time(struct run *r, const char *text, int64_t us)
{
    struct check_result *c = r->result;

    if (likely(c->n_times < CHECK_TIMES_MAX))
        c->time[c->n_times++] = (struct check_time){.offset = (uint32_t)(text - r->base), .us = us};
}

/* One of the less frequent steps, its key apart. @return false when the event is to be walked. */
ALWAYS_INLINE bool rare_step(struct run *r, const struct steps *s, const struct program_op *op,
                             const struct program_column *col, const uint32_t *at, bool emit,
                             char **out)
{
    const char *p = s->origin + *at;
    const bool integer = op->kind < OP_LONE_FLOAT;
    uint64_t bits;
    struct span v;

    switch (op->kind & ~OP_BARE) {
    case OP_TIMESTAMP:
        v = value_at(s->origin, at);
        if (unlikely(!read_time((struct span){v.ptr + 1, v.len - 2}, (int64_t *)&bits)))
            break;
        if (emit)
            put_number_bits(out, &col->tag, true, bits);
        else
            note_time(r, v.ptr + 1, (int64_t)bits);
        return true;
    case OP_BOOLEAN:
        if (unlikely(*p != 't' && *p != 'f'))
            break;
        if (emit)
            put_number_bits(out, &col->tag, true, *p == 't');
        return true;
    case OP_LONE_INTEGER:
    case OP_LONE_FLOAT:
        if (unlikely(!lone_number(s, at, integer, emit, &bits)))
            break;
        if (emit)
            put_number_bits(out, &col->tag, integer, bits);
        return true;
    default:
        break;
    }
    r->at.out = *out; /* so that out itself stays in a register */
    if (!plan_other_value(r, &r->at.out, op, at - op->token, emit))
        return false;
    *out = r->at.out;
    return true;
}

/* The rest of a key of which the first PROGRAM_KEY_BYTES have been compared. */
ALWAYS_INLINE bool long_key_differs(const char *key, size_t len, const struct program_column *col)
{
    return len < col->name_len + 2u || memcmp(key, col->field->name, col->name_len) != 0 ||
           key[col->name_len] != '"';
}

/* Whether all keys are those of the plan: in a row of their own, in which nothing is to be foreseen. */
ALWAYS_INLINE bool plan_keys(const struct program_plan *plan, const struct program *program,
                             const char *origin, const uint32_t *token)
{
    const struct program_op *op = plan->check, *const end = op + plan->n_keys;
    struct differences differences = {0};

    ASSERT_HOT(plan->n_keys <= plan->n_ops);
    for (; op < end; op++)
        key_compare(&differences, origin + token[op->token] + 1, op_column(program, op));
    return !any_differs(&differences);
}

/*
 * With emit, keys are compared on the way and judged at the end: until then a value may be taken for that
 * of another column, which does no harm. For strings the shape has proved that they are.
 */
ALWAYS_INLINE bool plan_steps(const struct program_plan *plan, struct run *r, const uint32_t *token,
                              bool emit)
{
    const struct program *program = r->program;
    const char *const origin = r->origin;
    char *start[SCHEMA_DEPTH_MAX], *out = r->at.out;
    struct steps s;
    struct differences differences = {0};
    bool differs = false;
    unsigned depth = 0;

    s.origin = origin;
    s.far_numbers = r->far_numbers;
#ifdef PROGRAM_AVX512
    s.beside = emit || r->far_numbers || __builtin_popcount(plan->integers) > LONE_INTEGERS_MAX;
    if (s.beside)
        numbers_read(plan, origin, token, &s.numbers);
#endif
    if (!emit && unlikely(!plan_keys(plan, program, origin, token)))
        return false;
    for (const struct program_op *op = emit ? plan->op : plan->check + plan->n_keys;; op++) {
        const struct program_column *col = op_column(program, op);
        const uint32_t *at = token + op->token;
        const unsigned kind = op->kind;
        uint64_t bits;

        if (emit && likely((kind & OP_BARE) == 0))
            key_compare(&differences, origin + at[-2] + 1, col);
        if (likely(kind <= (OP_STRING | OP_BARE))) {
            if (emit)
                put_text(&out, &col->tag, origin, at);
        } else if (kind <= (OP_FLOAT | OP_BARE)) {
            if (kind <= (OP_INTEGER | OP_BARE)) {
                if (unlikely(!number(&s, op, at, true, emit, &bits)))
                    goto rare;
                if (emit)
                    put_number_bits(&out, &col->tag, true, bits);
            } else {
                if (unlikely(!number(&s, op, at, false, emit, &bits)))
                    goto rare;
                if (emit)
                    put_number_bits(&out, &col->tag, false, bits);
            }
        } else if (kind <= (OP_OPEN | OP_BARE)) {
            ASSERT_HOT(depth < SCHEMA_DEPTH_MAX);
            if (emit) {
                put_tag(&out, &col->tag);
                start[depth++] = ++out;
            }
        } else if (kind == OP_CLOSE) {
            ASSERT_HOT(!emit || depth > 0);
            if (emit)
                put_length(&out, start[--depth]);
        } else if (kind == OP_END) {
            break;
        } else if (kind == OP_LONG_KEY) {
            differs |= long_key_differs(origin + at[-2] + 1, at[-1] - at[-2], col);
        } else if (kind != OP_KEY) {
        rare:
            if (unlikely(!rare_step(r, &s, op, col, at, emit, &out)))
                return false;
            op += (kind & ~(unsigned)OP_BARE) == OP_JSON;
        }
    }
    r->at.out = out;
    return !differs && !any_differs(&differences);
}

#endif
