/* COLD. Where a failed assertion ends the process: nothing that is not durable has been
 * acknowledged. */
#include "dataplane/base/compiler.h"

#include <stdio.h>
#include <stdlib.h>

void assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "penstock: assertion failed: %s at %s:%d\n", condition, file, line);
    abort();
}
