/* `penstock token new|hash`: bearer tokens for http.tokens, without a daemon. */
#ifndef PENSTOCK_TOOLS_PENSTOCK_TOKEN_H
#define PENSTOCK_TOOLS_PENSTOCK_TOKEN_H

#include <stdbool.h>
#include <stdio.h>

/** Prints both commands. Thread: any. */
void token_usage(FILE *to);

/** Runs the words behind `token`. Thread: main. @return the exit status. */
int token_main(bool json, int argc, char **argv);

#endif
