/*
 * Goal: the proofs of the AVX-512 variant can fail. Method: see tjson_canary.h.
 */
#include "tests/unit/tjson_canary.h"

#include "dataplane/json/json_avx512.c"

CANARIES(AVX512)
