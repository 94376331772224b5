/* `penstock top`: asks the daemon for one screen after the other. */
#ifndef PENSTOCK_TOOLS_TOP_H
#define PENSTOCK_TOOLS_TOP_H

#include <stdbool.h>

/** What the command line says. */
struct top_request {
    const char *socket, *line; /* the request, without the size of the screen */
    bool once, json;
};

/** Runs until 'q', a signal, or the first answer with once. @return the exit status. */
int top_run(const struct top_request *r);

#endif
