/* COLD. Writing to a file descriptor to the end. */
#ifndef GEN_OUTPUT_H
#define GEN_OUTPUT_H

#include <stddef.h>

/**
 * Writes all bytes, over short writes and interrupts.
 * Thread: any.  Alloc: none.
 * @return 0 or -errno.
 */
__attribute__((warn_unused_result)) int gen_output_all(int fd, const char *bytes, size_t count);

#endif
