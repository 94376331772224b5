/*
 * COLD. --check: compares what arrived with what was sent, by id. What was sent comes from
 * acknowledgement logs, or, for inputs without answers, from the options of the run; what arrived
 * from lines of files, folders or standard input, each with the id of its event somewhere in it:
 * objects, rows in JSON or CSV, dead letters.
 */
#ifndef GEN_CHECK_H
#define GEN_CHECK_H

#include "tools/gen/gen_options.h"

/**
 * Checks and prints what it found, to standard error, with o->json to standard output.
 * Thread: main.  Alloc: heap, all freed on return.
 * @return 0 all is as it should be; 1 it is not; 2 something could not be read (printed).
 */
__attribute__((warn_unused_result)) int gen_check(const struct gen_options *o);

#endif
