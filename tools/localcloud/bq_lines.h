// Lines of a plain or gzip object. Thread: one user at a time.
#ifndef LOCALCLOUD_BQ_LINES_H
#define LOCALCLOUD_BQ_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lc_lines;

/** Reads fd, which it owns from now on. @return NULL when out of memory. */
struct lc_lines *lc_lines_open(int fd);

/** @return true when the content is gzip. */
bool lc_lines_gzip(struct lc_lines *l);

/**
 * Next line without its line feed, valid until the next call. offset: its first byte in the
 * (unpacked) text.
 * @return 1 a line, 0 the end, -1 with a reason in *error.
 */
int lc_lines_next(struct lc_lines *l, const char **line, size_t *n, int64_t *offset,
                  const char **error);

/** Closes and frees l (NULL allowed). */
void lc_lines_close(struct lc_lines *l);

#endif
