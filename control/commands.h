/* `penstock get` and `set`: what commands_run() does for them. Thread: control. */
#ifndef PENSTOCK_CONTROL_COMMANDS_H
#define PENSTOCK_CONTROL_COMMANDS_H

#include "control/cli.h"

/** `get`. @return the exit status. */
int commands_get(struct daemon *d, const struct cli_request *r, struct textbuf *body) WARN_UNUSED;

/** `set`. @return the exit status. */
int commands_set(struct daemon *d, const struct cli_request *r, struct textbuf *body) WARN_UNUSED;

#endif
