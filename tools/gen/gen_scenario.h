/*
 * COLD. Named scenarios: the ten loads that the event generator service of the pipeline which
 * Penstock replaces was asked for, by the same names, so that scripts and demonstrations go on.
 */
#ifndef GEN_SCENARIO_H
#define GEN_SCENARIO_H

#include <stdio.h>

#include "tools/gen/gen_options.h"

/**
 * Sets rate, duration, count and types of *o, o->speed times as fast as the scenario says.
 * Thread: init.  Alloc: none.
 * @return false when there is no scenario of that name.
 */
bool gen_scenario_apply(const char *name, struct gen_options *o);

/** Prints a table of all scenarios. Thread: any. */
void gen_scenario_list(FILE *to);

#endif
