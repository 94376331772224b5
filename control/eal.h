/* DPDK's environment layer: rings and pools, and the cards that the configuration names. */
#ifndef PENSTOCK_CONTROL_EAL_H
#define PENSTOCK_CONTROL_EAL_H

#include "control/config.h"

/**
 * Starts the EAL: quiet, no card but those of dpdk.ports, nothing shared, huge pages as configured.
 * The calling thread is the main lcore and keeps its set of cores; workers are threads of our own.
 * Thread: init.
 * @return 0; -errno with one sentence.
 */
int eal_start(const struct config *c, char *error, size_t error_len) WARN_UNUSED;

/** Ends it and removes its run-time folder. Thread: control, last. */
void eal_stop(void);

/** Whether huge pages are in use. Thread: any, after eal_start(). */
bool eal_huge(void);

/** The heap that was taken for it at start; 0 with huge pages. Thread: any, after eal_start(). */
uint64_t eal_heap_bytes(void);

#endif
