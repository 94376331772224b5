/* The file of http.tokens. Thread: init and control. */
#ifndef PENSTOCK_CONTROL_DOOR_TOKENS_H
#define PENSTOCK_CONTROL_DOOR_TOKENS_H

#include "dataplane/input/tokens.h"

/** Reads it. Owner: caller, until tokens_destroy(). @return 0; -errno with one sentence. */
int door_tokens_load(const char *file, struct tokens **out, char *error,
                     size_t error_len) WARN_UNUSED;

/** Where the counters of each name are: names keep their places as long as the daemon runs. */
struct door_names;

/** No names yet. @return NULL without memory. */
struct door_names *door_names_create(void);

/** Frees it. NULL is allowed. */
void door_names_destroy(struct door_names *n);

/**
 * Gives every line of t the slot of its name, and checks that lines of one name have the same limits.
 * @return 0; -EINVAL or -ENOSPC with one sentence.
 */
int door_names_assign(struct door_names *n, struct tokens *t, char *error,
                      size_t error_len) WARN_UNUSED;

/** Names so far; slots are below it. */
uint32_t door_names_count(const struct door_names *n);

/** The name of a slot. */
const char *door_names_at(const struct door_names *n, uint32_t slot);

#endif
