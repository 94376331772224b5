/*
 * COLD. The acknowledgement log: one line per event, written when its request is decided, in one
 * write() per request, so that it is complete up to that point even if the server or the generator
 * dies.
 *
 *   seq id type kind outcome
 *   17 ord-1-17 order good 200
 *   18 ses-1-18 user_activity malformed:bad_utf8 200
 *   19 inv-1-19 inventory late none
 *
 * outcome is the status code of the request's last answer, or none when it had no answer: then
 * nobody but the server knows whether it kept the event.
 */
#ifndef GEN_ACKLOG_H
#define GEN_ACKLOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "tools/gen/gen_event.h"
#include "tools/gen/gen_request.h"

struct gen_acklog {
    pthread_mutex_t _mutex; /* keeps the lines of two threads whole and apart */
    int _fd;
};

/* One thread's memory for lines. Zeroed is empty; free(text) at the end. */
struct gen_acklog_lines {
    char *text;
    size_t bytes_max;
};

/**
 * Opens path, replacing what was there.
 * Thread: init.  Alloc: none.
 * @return 0 or -errno.
 */
__attribute__((warn_unused_result)) int gen_acklog_open(struct gen_acklog *log, const char *path);

/**
 * Closes the file.
 * Thread: init.  Alloc: none.
 * @return 0 or -errno.
 */
__attribute__((warn_unused_result)) int gen_acklog_close(struct gen_acklog *log);

/**
 * Writes the lines of request q, which has infos, with ids by g. status 0 stands for no answer.
 * Thread: any; lines and g are the caller's own.  Alloc: grows lines.
 * @return 0 or -errno.
 */
__attribute__((warn_unused_result)) int gen_acklog_write(struct gen_acklog *log,
                                                         struct gen_acklog_lines *lines,
                                                         const struct gen_events *g,
                                                         const struct gen_request *q, int status);

#endif
