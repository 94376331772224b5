/* `penstock get`, `set`, `pause`, `resume`, `schema`: what commands_run() does for them. Thread:
 * control. */
#ifndef PENSTOCK_CONTROL_COMMANDS_H
#define PENSTOCK_CONTROL_COMMANDS_H

#include "control/cli.h"

/** `get`. @return the exit status. */
int commands_get(struct daemon *d, const struct cli_request *r, struct textbuf *body) WARN_UNUSED;

/** `set`. @return the exit status. */
int commands_set(struct daemon *d, const struct cli_request *r, struct textbuf *body) WARN_UNUSED;

/** `pause`. @return the exit status. */
int commands_pause(struct daemon *d, const struct cli_request *r, struct textbuf *body) WARN_UNUSED;

/** `resume`. @return the exit status. */
int commands_resume(struct daemon *d, const struct cli_request *r,
                    struct textbuf *body) WARN_UNUSED;

/** `schema show`. @return the exit status. */
int commands_schema(struct daemon *d, const struct cli_request *r,
                    struct textbuf *body) WARN_UNUSED;

/**
 * Says what is paused, when something waits because of it.
 * @param json elements of an array, else lines.
 * @return whether there was anything to say.
 */
bool commands_paused(struct daemon *d, bool json, struct textbuf *out);

#endif
