/*
 * HOT. The steps of plans for CPUs with AVX2 and BMI: a key is one compare, a text one load and one
 * store, and shifts need no flags. The same source as for all others.
 */
#include <immintrin.h>

/* GCC takes no macro here; tune: unaligned vectors are one load. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,lzcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,bmi,bmi2,lzcnt,tune=haswell")
#endif
#define PROGRAM_AVX2

#include "dataplane/event/program_steps_internal.h"

bool plan_check_avx2(const struct program_plan *plan, struct run *r, const uint32_t *token)
{
    return plan_steps(plan, r, token, false);
}

bool plan_encode_avx2(const struct program_plan *plan, struct run *r, const uint32_t *token)
{
    return plan_steps(plan, r, token, true);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
