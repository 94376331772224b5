/*
 * The bytes of a file or of standard input, expanded: plain, gzip (any number of members) and zstd
 * (any number of frames), told apart by their first bytes.
 *
 * Thread: a source belongs to one thread.
 */
#ifndef PENSTOCK_TOOLS_SOURCE_H
#define PENSTOCK_TOOLS_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "dataplane/base/compiler.h"

struct source;

/** How the bytes are packed. */
enum source_form { SOURCE_PLAIN, SOURCE_GZIP, SOURCE_ZSTD };

/**
 * Whether what path names can be read only once: standard input ("-"), a pipe, a device. /dev/stdin
 * with a file behind it is a file.
 * Thread: any.
 */
bool source_is_stream(const char *path);

/**
 * Opens path, or standard input for "-", and looks at its first bytes.
 * Thread: any.  Alloc: yes.  Owner: caller, until source_close().
 * @return 0; -errno with one sentence, which does not name the path.
 */
int source_open(const char *path, struct source **out, char *error, size_t error_len) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: its owner. */
void source_close(struct source *s);

/**
 * Reads up to len expanded bytes; waits for at least one.
 * Thread: its owner.  Alloc: none.
 * @return their number; 0 at the end; -errno with one sentence: -EBADMSG when what is packed is
 * damaged, ends early, or is followed by something else.
 */
ssize_t source_read(struct source *s, char *buf, size_t len, char *error,
                    size_t error_len) WARN_UNUSED;

/** Whether the next read would have to wait for somebody to write (a pipe). Thread: its owner. */
bool source_waits(const struct source *s);

/** Packed bytes taken so far. Thread: its owner. */
uint64_t source_taken(const struct source *s);

/** The file's size when it was opened; 0 when there is none (a pipe). Thread: its owner. */
uint64_t source_size(const struct source *s);

/** How it is packed. Thread: its owner. */
enum source_form source_form(const struct source *s);

#endif
