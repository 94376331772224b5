/*
 * rte_rings on plain memory: they work before, and without, DPDK's environment (unit tests, tools).
 */
#ifndef PENSTOCK_BASE_RING_H
#define PENSTOCK_BASE_RING_H

#include "dataplane/base/compiler.h"

struct rte_ring;

/**
 * Creates a ring for up to items pointers.
 * Thread: init.  Owner: caller, who gives it to free().
 * @param flags RING_F_SP_ENQ, RING_F_SC_DEQ.
 * @return NULL without memory.
 */
struct rte_ring *ring_create(const char *name, uint32_t items, unsigned flags) WARN_UNUSED;

#endif
