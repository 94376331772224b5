/*
 * HOT. Open-loop schedule: when each request is meant to be sent, whatever the server does. The
 * requests of all threads form one even sequence; thread i of n owns numbers i, i+n, i+2n, ...
 */
#ifndef GEN_PACE_H
#define GEN_PACE_H

#include <stdint.h>

struct gen_pace {
    int64_t _start_ns;
    double _interval_ns; /* between two requests of all threads together */
    uint64_t _next;
    uint64_t _stride;
};

/**
 * Sets up the schedule of thread index of threads: events_per_s in all, batch events a request, the
 * first request of thread 0 at start_ns. Thread: the owner of p.  Alloc: none.
 */
void gen_pace_init(struct gen_pace *p, int64_t start_ns, double events_per_s, uint32_t batch,
                   uint32_t index, uint32_t threads);

/**
 * Intended send time of this thread's next request.
 * Thread: the owner of p.  Alloc: none.
 */
int64_t gen_pace_due_ns(const struct gen_pace *p);

/**
 * Goes on to the request after that.
 * Thread: the owner of p.  Alloc: none.
 */
void gen_pace_advance(struct gen_pace *p);

#endif
