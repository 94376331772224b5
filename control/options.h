/* The command line of penstockd. */
#ifndef PENSTOCK_CONTROL_OPTIONS_H
#define PENSTOCK_CONTROL_OPTIONS_H

#include "control/textbuf.h"

#define OPTIONS_SETS_MAX 128

/* Exit statuses of penstockd. */
enum { EXIT_OK = 0, EXIT_RUNTIME = 1, EXIT_USAGE = 2 };

enum options_mode { OPTIONS_RUN, OPTIONS_CHECK, OPTIONS_VERSION, OPTIONS_HELP, OPTIONS_DOCS };

struct options {
    enum options_mode mode;
    const char *config;
    const char *sets[OPTIONS_SETS_MAX];
    uint32_t n_sets;
    bool adopt; /* a data directory that was moved, restored, or taken over */
};

/**
 * Reads the command line; texts are borrowed from argv.
 * Thread: init.
 * @return 0; -EINVAL with one sentence in error.
 */
int options_parse(int argc, char *const *argv, struct options *out,
                  struct textbuf *error) WARN_UNUSED;

/** The text of --help. */
const char *options_help(void);

#endif
