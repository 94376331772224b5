/* What tests of the cloud clients stand on: a loop with an HTTP client, and the real local cloud as
 * a child. */
#ifndef PENSTOCK_TEST_TCLOUD_BED_H
#define PENSTOCK_TEST_TCLOUD_BED_H

#include "sinks/engine/auth.h"
#include "sinks/engine/http.h"
#include "sinks/engine/loop.h"

/** A loop and its client; delays between tries are milliseconds. */
struct tcloud_bed {
    struct loop *loop;
    struct http_client *http;
    struct auth auth; /* without credentials */
};

/** Sets it up; limits: connect 2 s, stall stall_ms. */
void tcloud_bed_init(struct tcloud_bed *b, uint32_t stall_ms);

/** Takes it down. */
void tcloud_bed_fini(struct tcloud_bed *b);

/** Runs the loop until *flag. @return false after ten seconds. */
bool tcloud_bed_run(struct tcloud_bed *b, const bool *flag);

struct tcloud_local;

/** Starts BUILD/bin/localcloud with an empty directory and bucket "bkt". @return NULL when it is
 * not built. */
struct tcloud_local *tcloud_local_start(void);

/** "http://127.0.0.1:PORT". */
const char *tcloud_local_url(const struct tcloud_local *c);

/** Adds a fault by its JSON. */
void tcloud_local_fault(struct tcloud_local *c, const char *json);

/** Ends the process and removes its directory. */
void tcloud_local_stop(struct tcloud_local *c);

#endif
