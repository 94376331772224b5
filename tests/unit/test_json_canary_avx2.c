/*
 * Goal: the proofs of the AVX2 variant can fail. Method: see tjson_canary.h.
 */
#include "tests/unit/tjson_canary.h"

#include "dataplane/json/json_avx2.c"

CANARIES(AVX2)
