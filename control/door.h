/*
 * What lets clients in, as files: the certificate with its key and authorities, and tokens. Loads
 * them at start, and again when they change or when asked; what cannot be used leaves what there was
 * in force, and is said.
 *
 *     files ── load ──> struct door_keys ── tuning_publish_keys() ──> workers
 *
 * Thread: control; a mutex inside keeps callers apart.
 */
#ifndef PENSTOCK_CONTROL_DOOR_H
#define PENSTOCK_CONTROL_DOOR_H

#include "control/daemon.h"
#include "dataplane/door.h"

#define DOOR_LOOK_US INT64_C(1000000) /* between two looks at the files */

/** What the metrics show. */
struct door_report {
    uint64_t reloads, failures; /* since start */
    bool failing;               /* the files as they are now cannot be used */
    int64_t ends_us;            /* of the certificate; 0: none */
};

struct door;

/** Loads everything. Thread: init. Owner: caller, until door_destroy(). @return 0; -errno with one
 * sentence. */
int door_create(const struct config *config, struct tuning *tuning, struct door **out, char *error,
                size_t error_len) WARN_UNUSED;

/** Frees it; no worker runs any more. NULL is allowed. */
void door_destroy(struct door *d);

/** What workers start with. */
const struct door_keys *door_keys(struct door *d);

/** Loads everything again. @return 0, with what holds now; -EINVAL, with what is wrong: nothing has
 * changed. */
int door_reload(struct door *d, bool json, struct textbuf *out);

/** Looks whether files have changed, now and then; frees what no worker uses any more. */
void door_tick(struct door *d);

/** One name of tokens. */
struct door_name {
    char name[TOKEN_NAME_BYTES_MAX + 1];
    uint64_t requests, events, bytes, refused_types,
        refused_rates; /* since start, of all workers */
};

/** Names of tokens with their counters. Owner: caller frees *out. @return how many. */
uint32_t door_names_report(const struct daemon *daemon, struct door_name **out);

/** What became of it so far. */
void door_report(struct door *d, struct door_report *out);

#endif
