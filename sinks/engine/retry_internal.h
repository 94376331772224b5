/* A handle for tests on the retry policy. */
#ifndef PENSTOCK_ENGINE_RETRY_INTERNAL_H
#define PENSTOCK_ENGINE_RETRY_INTERNAL_H

#include "sinks/engine/retry.h"

#define RETRY_BASE_US ((int64_t)1000000) /* ceiling of the first delay; doubles with each try */

/** The first ceiling; tests make it shorter before they start anything. Thread: init. */
extern int64_t retry_base_us;

#endif
