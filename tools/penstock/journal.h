/* `penstock journal inspect|verify DIR`: journals and delivery log read offline, without a daemon. */
#ifndef PENSTOCK_TOOLS_PENSTOCK_JOURNAL_H
#define PENSTOCK_TOOLS_PENSTOCK_JOURNAL_H

#include <stdbool.h>
#include <stdio.h>

/** Prints both commands. Thread: any. */
void journal_usage(FILE *to);

/** Runs the words behind `journal`. Thread: main. @return the exit status. */
int journal_main(bool json, int argc, char **argv);

#endif
