/*
 * Looks into the bucket, blocking: lists objects and folders, reads an object piece by piece,
 * deletes one version of it. For the control threads' verify and dead letters; transient failures
 * are retried for about a minute.
 *
 * Thread: control; a reader belongs to one thread at a time, and so do its credentials.
 */
#ifndef PENSTOCK_GCS_READER_H
#define PENSTOCK_GCS_READER_H

#include "sinks/gcs/gcs.h"

struct gcs_reader;

/** What to list. Texts are borrowed for the call. */
struct gcs_listing {
    const char *prefix;
    const char *start; /* names from here on; NULL: from the first */
    const char *end;   /* names in front of it; NULL: to the last */
    /** An object; false stops. NULL: only folders are wanted. */
    bool (*object)(void *ctx, const struct gcs_listed *o);
    /** What stands between prefix and the next '/', as "PREFIXfolder/"; then objects below are not
     * visited. False stops. NULL: all objects below prefix. */
    bool (*folder)(void *ctx, const char *name);
    void *ctx;
};

/**
 * Creates a reader. config and auth are borrowed; auth is bound to it until gcs_reader_close().
 * Owner: caller.  @return 0 or -errno.
 */
int gcs_reader_open(const struct gcs_config *config, struct auth *auth,
                    struct gcs_reader **out) WARN_UNUSED;

/** Frees it. NULL is allowed. */
void gcs_reader_close(struct gcs_reader *r);

/** Lists in name order, page by page. @return 0, also when a visitor stopped it; -errno, with error
 * saying why. */
int gcs_reader_list(struct gcs_reader *r, const struct gcs_listing *what, char *error,
                    size_t error_len) WARN_UNUSED;

/**
 * Reads the listed version of an object as it is stored (gzip stays gzip), in order, in pieces of
 * at most GCS_PIECE_BYTES, which live for the call of take. take returns false to stop.
 * @return 0, also when take stopped it; -ENOENT when this version is gone; -errno, with error saying
 * why.
 */
int gcs_reader_get(struct gcs_reader *r, const struct gcs_listed *o,
                   bool (*take)(void *ctx, struct span piece), void *ctx, char *error,
                   size_t error_len) WARN_UNUSED;

#define GCS_PIECE_BYTES ((uint64_t)2 << 20)

/** Deletes this version of an object. Gone already is success. @return 0; -ESTALE when another
 * version has taken its place; -errno, with error saying why. */
int gcs_reader_delete(struct gcs_reader *r, const char *name, int64_t generation, char *error,
                      size_t error_len) WARN_UNUSED;

#endif
