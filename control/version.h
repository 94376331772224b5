/* The version that `make` took from git. */
#ifndef PENSTOCK_CONTROL_VERSION_H
#define PENSTOCK_CONTROL_VERSION_H

/** Such as "v0.1-12-gabcdef0". Thread: any. */
const char *penstock_version(void);

#endif
