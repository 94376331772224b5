/* COLD. Reading what arrived: lines of files, folders and standard input, and the ids in them. */
#ifndef GEN_ARRIVED_H
#define GEN_ARRIVED_H

#include "tools/gen/gen_tally.h"

/**
 * Counts every event (dead: every dead letter) in the file path, in all files below the folder
 * path, or of standard input for "-". Blank lines do not count, nor does a first line without an
 * id: the heading of a CSV file.
 * Thread: main.  Alloc: heap, freed on return.
 * @return 0 or -errno; *wrong is then the file.
 */
__attribute__((warn_unused_result)) int gen_arrived_read(struct gen_tally *t, const char *path,
                                                         bool dead, char *wrong,
                                                         size_t wrong_bytes);

/** Counts one line. Thread: main. @return false when it holds no id. */
bool gen_arrived_line(struct gen_tally *t, const char *line, size_t bytes, bool dead);

#endif
