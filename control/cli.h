/*
 * The CLI socket: answers `penstock`'s requests (protocol.h), each connection on a thread of its
 * own, so that a long verify or flush holds nobody up.
 */
#ifndef PENSTOCK_CONTROL_CLI_H
#define PENSTOCK_CONTROL_CLI_H

#include "control/daemon.h"
#include "control/protocol.h"

#define CLI_CONNECTIONS_MAX 64
#define CLI_INGESTS_MAX     16 /* of them: each takes some 10 MiB */
#define CLI_STOP_US         INT64_C(2000000)

/** One request, taken apart. Not to be copied: arguments lie inside. */
struct cli_request {
    enum protocol_command command;
    bool json;
    int64_t timeout_us;     /* --timeout; 0: not given */
    int64_t for_us;         /* --for; 0: not given */
    int64_t interval_us;    /* --interval; 0: not given */
    uint32_t rows, columns; /* --rows, --columns; 0: not given */
    struct span words;      /* dlq: what stands behind it, into the line */
    int fd;                 /* where the answer goes */
    uint32_t uid;           /* whose process asks */
    uint32_t n_args;
    const char *arg[PROTOCOL_ARGS_MAX]; /* behind the command, in _text */
    char _text[PROTOCOL_LINE_BYTES];
};

/** Starts it. Thread: init. Owner: caller, until cli_stop(). @return 0; -errno with one sentence.
 */
int cli_start(struct daemon *d, struct cli **out, char *error, size_t error_len) WARN_UNUSED;

/**
 * Ends every connection and frees. NULL is allowed. Thread: control.
 * @return false when a command does not end within CLI_STOP_US (verify may wait for the cloud):
 * then its thread still uses the daemon, nothing may be freed, and the process must end by _exit().
 */
bool cli_stop(struct cli *c);

/**
 * Takes one request line apart (no line end; len bytes of anything).
 * Thread: any.
 * @return PROTOCOL_OK, or PROTOCOL_USAGE with a message in error.
 */
int cli_parse(const char *line, size_t len, struct cli_request *out,
              struct textbuf *error) WARN_UNUSED;

/** Runs a request. @return the exit status; body receives the answer. Thread: control. */
int commands_run(struct daemon *d, const struct cli_request *r, struct textbuf *body) WARN_UNUSED;

#endif
