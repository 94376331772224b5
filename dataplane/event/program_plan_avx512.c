/*
 * HOT. The steps of plans for CPUs with AVX-512 as json_avx512.c has it: the numbers of an event are
 * read side by side, times in one go. See program_vector_internal.h.
 */
#include <immintrin.h>

/* GCC takes no macro here; tune: unaligned vectors are one load. */
#ifdef __clang__
#pragma clang attribute push(                                                                      \
    __attribute__((target(                                                                         \
        "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,avx2,bmi,bmi2,lzcnt"))), \
    apply_to = function)
#else
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,avx2,bmi,bmi2,lzcnt,tune=haswell")
#endif
#define PROGRAM_AVX2
#define PROGRAM_AVX512

#include "dataplane/event/program_steps_internal.h"

bool plan_check_avx512(const struct program_plan *plan, struct run *r, const uint32_t *token)
{
    return plan_steps(plan, r, token, false);
}

bool plan_encode_avx512(const struct program_plan *plan, struct run *r, const uint32_t *token)
{
    return plan_steps(plan, r, token, true);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
