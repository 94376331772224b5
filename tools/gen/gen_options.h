/*
 * COLD. What the program is told to do: plain structs, filled from the command line through one
 * table of knobs that --help is printed from as well. A named scenario is a preset of the same
 * structs.
 */
#ifndef GEN_OPTIONS_H
#define GEN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/gen/gen_event.h"
#include "tools/gen/gen_request.h"
#include "tools/gen/gen_url.h"

enum { GEN_HEADERS_MAX = 8, GEN_PATHS_MAX = 64 };

struct gen_options {
    struct gen_event_config events;
    enum gen_format format;

    /* How much and how fast. */
    uint64_t count;    /* events in all; UINT64_MAX: no limit */
    double duration_s; /* 0: no limit */
    double warm_up_s;  /* requests of this long are in no latency */
    double rate;       /* events a second, open loop; 0: closed loop at full speed */
    uint32_t batch;    /* events a request */

    /* Where to: a server unless out is given. */
    struct gen_url target;
    const char *out; /* NULL: target; "-": standard output */
    uint32_t connections;
    uint32_t threads;
    uint32_t pregenerate; /* request bodies built up front; 0: each is new */
    double timeout_s;
    bool retry;
    bool reconnect;
    const char *headers[GEN_HEADERS_MAX];
    uint32_t headers_count;

    /* A preset of the above, given first: what else the command line says changes it. */
    const char *scenario; /* name, or NULL */
    double speed;         /* how many times faster than a scenario says */
    bool scenarios;       /* list them and exit */

    /* Check what arrived instead of sending: gen_check.h. */
    bool check;
    const char *arrived[GEN_PATHS_MAX]; /* files or folders; "-": standard input */
    uint32_t arrived_count;
    const char *dead[GEN_PATHS_MAX];
    uint32_t dead_count;
    const char *acks[GEN_PATHS_MAX]; /* acknowledgement logs; none: all of the run is expected */
    uint32_t acks_count;
    bool deduped; /* duplicates arrive once */

    /* What to tell. */
    const char *log; /* NULL: none */
    bool progress;
    bool json;
    const char *sample; /* type to print one example of; NULL: run */

    bool _target_given;
    bool _count_given;
};

enum gen_options_result {
    GEN_OPTIONS_RUN,
    GEN_OPTIONS_DONE,  /* --help or --scenarios was printed */
    GEN_OPTIONS_USAGE, /* a message was printed; exit status 2 */
};

/**
 * Fills *o from defaults and the command line. Strings in *o point into argv.
 * Thread: init.  Alloc: none.
 */
enum gen_options_result gen_options_parse(struct gen_options *o, int argc, char **argv);

/**
 * Finds the event type called name.
 * Thread: any.  Alloc: none.
 * @return GEN_TYPES when there is none.
 */
enum gen_type gen_options_type(const char *name, size_t bytes);

#endif
