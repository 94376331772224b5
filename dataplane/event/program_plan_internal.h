/* HOT. What plans are made of, and their steps by instruction set: see program_plan.c. */
#ifndef PENSTOCK_EVENT_PROGRAM_PLAN_INTERNAL_H
#define PENSTOCK_EVENT_PROGRAM_PLAN_INTERNAL_H

#include "dataplane/event/program_run_internal.h"

/*
 * A step with a key to compare has an even kind; one without, such as that of an element, is one more.
 * The frequent ones come first: the steps are told apart by a few compares, because a jump through a
 * table takes longer than most of them even when it is foreseen.
 */
enum program_op_kind {
    OP_STRING = 0,
    OP_INTEGER = 2,
    OP_FLOAT = 4,
    OP_OPEN = 6,  /* a RECORD begins */
    OP_CLOSE = 9, /* and ends */
    OP_KEY = 10,  /* nothing but its key: an array of a REPEATED column */
    OP_TIMESTAMP = 12,
    OP_BOOLEAN = 14,
    OP_LONE_INTEGER = 16, /* not read beside others */
    OP_LONE_FLOAT = 18,
    OP_SCALAR = 20, /* any other, and texts with a maxLength */
    OP_JSON = 22, /* a container in a JSON column; the step behind has the token behind the value */
    OP_LONG_KEY = 24, /* a key of PROGRAM_KEY_BYTES or more; a step without one follows */
    OP_END = 27,      /* of the plan */
};

#define OP_BARE 1 /* beside a kind: without a key */

static inline bool op_is_bare(const struct program_op *op)
{
    return (op->kind & OP_BARE) != 0;
}

static inline const struct program_column *op_column(const struct program *p,
                                                     const struct program_op *op)
{
    return (const struct program_column *)(const void *)((const char *)p->column + op->column);
}

/* How the steps are compiled. */
enum plan_variant { PLAN_ANY, PLAN_AVX2, PLAN_AVX512, PLAN_VARIANTS };

/** For the events of a parser's variant. */
enum plan_variant plan_variant_of(enum json_isa isa);

/** A value that its step does not read itself. @return false when the event is to be walked. */
bool plan_other_value(struct run *r, char **out, const struct program_op *op, const uint32_t *token,
                      bool emit);

/** The steps. token: the event's. @return whether it goes by them. */
typedef bool plan_steps_fn(const struct program_plan *plan, struct run *r, const uint32_t *token);

plan_steps_fn plan_check_any, plan_encode_any;
plan_steps_fn plan_check_avx2, plan_encode_avx2;     /* for CPUs with AVX2 and BMI */
plan_steps_fn plan_check_avx512, plan_encode_avx512; /* for those of JSON_ISA_AVX512 */

#endif
