/* COLD. --sample: one example event, indented for reading. */
#ifndef GEN_SAMPLE_H
#define GEN_SAMPLE_H

#include "tools/gen/gen_event.h"

/**
 * Prints event number 0 of a type on standard output.
 * Thread: init.  Alloc: none.
 */
void gen_sample_print(const struct gen_event_config *config, enum gen_type type);

#endif
