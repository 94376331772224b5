/*
 * The text protocol between `penstock` and the daemon's unix socket.
 *
 *     request:  COMMAND [ARGUMENT...]\n        one line of at most PROTOCOL_LINE_BYTES, printable
 * ASCII;
 *                                              "--json" anywhere asks for JSON instead of text
 *     answer:   PENSTOCK STATUS BYTES\n BODY   STATUS is the exit status: 0 done, 1 error, 2 bad
 * request
 *
 * The words behind "dlq" are percent-encoded: any byte but '!' to '~', and '%' itself, as %HH.
 *
 * A connection carries any number of requests, one after the other. A request that cannot be read
 * (too long, a control character) is answered with status 2, and the connection is closed.
 *
 * The only header that tools/penstock includes.
 */
#ifndef PENSTOCK_CONTROL_PROTOCOL_H
#define PENSTOCK_CONTROL_PROTOCOL_H

#include "control/nearest.h"

#define PROTOCOL_LINE_BYTES  16384
#define PROTOCOL_ARGS_MAX    32
#define PROTOCOL_ANSWER_WORD "PENSTOCK"
#define PROTOCOL_SOCKET_NAME "penstock.sock"
#define PROTOCOL_SOCKET_PATH \
    "/var/lib/penstock/" PROTOCOL_SOCKET_NAME /* where the client looks by default */

enum { PROTOCOL_OK = 0, PROTOCOL_ERROR = 1, PROTOCOL_USAGE = 2 };

/* X(symbol, name, arguments, help) */
#define PROTOCOL_COMMAND_LIST(X)                                                                 \
    X(STATUS, "status", "",                                                                      \
      "what came in, what is durable, delivered, pending, refused; memory; problems")            \
    X(TYPES, "types", "",                                                                        \
      "event types: received, dead-lettered, late, planned, delivered, watermark")               \
    X(SINKS, "sinks", "", "sink threads and tables: debt, jobs, what is parked and why")         \
    X(FLUSH, "flush", "[--timeout DURATION]",                                                    \
      "plan everything now and wait until it is delivered (60s)")                                \
    X(DRAIN, "drain", "[--timeout DURATION]",                                                    \
      "take no more events, wait until all are delivered; stays so")                             \
    X(GET, "get", "[NAME|PREFIX]", "knobs: value, default, from where, changed how")             \
    X(SET, "set", "NAME VALUE | NAME=VALUE... [--for DURATION]",                                 \
      "change knobs while everything runs; --for gives them back")                               \
    X(TOP, "top", "[--once] [--interval DURATION]",                                              \
      "rates, latencies, lag, fill and types, live; q ends it")                                  \
    X(PAUSE, "pause", "gcs|bigquery|type NAME [--for DURATION]",                                 \
      "start no more uploads or loads, or hold one type; events go on being taken")              \
    X(RESUME, "resume", "gcs|bigquery|type NAME|all", "end a pause")                             \
    X(DLQ, "dlq", "list|show|replay|drop|help ...",                                              \
      "dead letters: see them, take them in again, drop them; `dlq help` says how")              \
    X(SCHEMA, "schema", "show TYPE", "the columns of a type's table, and what events call them") \
    X(RELOAD, "reload", "",                                                                      \
      "read certificates and tokens again; what cannot be used changes nothing")                 \
    X(VERIFY, "verify", "", "compare ledger, bucket and tables; exit status 1 when they differ") \
    X(HELP, "help", "", "this list")

enum protocol_command {
#define X(symbol, name, arguments, help) PROTOCOL_##symbol,
    PROTOCOL_COMMAND_LIST(X)
#undef X
        PROTOCOL_COMMANDS
};

/** The command of a name, or -1. Thread: any. */
static inline int protocol_command(const char *name)
{
    static const char *const names[] = {
#define X(symbol, n, arguments, help) n,
        PROTOCOL_COMMAND_LIST(X)
#undef X
    };

    for (int i = 0; i < PROTOCOL_COMMANDS; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

/** The known command nearest to a mistyped one, or NULL. Thread: any. */
static inline const char *protocol_nearest(const char *name)
{
    static const char *const names[] = {
#define X(symbol, n, arguments, help) n,
        PROTOCOL_COMMAND_LIST(X)
#undef X
    };
    const char *best = NULL;
    unsigned least = NEAREST_WORD_MAX;

    for (int i = 0; i < PROTOCOL_COMMANDS; i++) {
        unsigned d = nearest_distance(name, names[i]);

        if (d < least && nearest_is_close(name, d)) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

#endif
