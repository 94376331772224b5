/* COLD. The only file that is compiled with PENSTOCK_VERSION, so that a commit rebuilds no other.
 */
#include "control/version.h"

#ifndef PENSTOCK_VERSION
#define PENSTOCK_VERSION "unknown"
#endif

const char *penstock_version(void)
{
    return PENSTOCK_VERSION;
}
