/*
 * HOT. The steps of plans for CPUs with AVX2 and BMI: a key is one compare, a text one load and one
 * store, and shifts need no flags. The same source as for all others.
 */
#if defined(__x86_64__) && !defined(__clang__)
#pragma GCC target("avx2,bmi,bmi2,lzcnt,tune=haswell") /* tune: unaligned vectors are one load */
#endif

#include "dataplane/event/program_plan_internal.h"

bool plan_check_avx2(const struct program_plan *plan, struct run *r, const uint32_t *token)
{
    return plan_steps(plan, r, token, false);
}

bool plan_encode_avx2(const struct program_plan *plan, struct run *r, const uint32_t *token)
{
    return plan_steps(plan, r, token, true);
}
