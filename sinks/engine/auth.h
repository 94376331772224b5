/*
 * Bearer tokens for calls to Google. Sources so far: none (local cloud, emulators) and a token file
 * that somebody else renews. Key files and the metadata server slot in here.
 */
#ifndef PENSTOCK_ENGINE_AUTH_H
#define PENSTOCK_ENGINE_AUTH_H

#include <stddef.h>

#include "dataplane/base/compiler.h"

#define AUTH_HEADER_BYTES 4200

/** A token source; one per sink thread. */
struct auth {
    const char *token_file;         /* NULL: no credentials are sent */
    char header[AUTH_HEADER_BYTES]; /* "Authorization: Bearer ..." or "" */
    int64_t read_us;                /* monotonic time of the last read */
};

/** Sets the source up and reads the token once. @return 0; -errno with error naming the file. */
int auth_init(struct auth *a, const char *token_file, char *error, size_t error_len) WARN_UNUSED;

/** The header line for the next call, or NULL without credentials; reads the file again when a
 * minute old. */
const char *auth_header(struct auth *a);

/** After a 401: reads the token anew at the next call. */
void auth_refused(struct auth *a);

#endif
