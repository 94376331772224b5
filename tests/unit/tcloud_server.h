/*
 * A tiny HTTP/1.1 server for tests that answers by a script: request n gets answer n. It misbehaves
 * on demand in ways that real clouds and the networks before them do. Thread: its own; the
 * recording is read after the fact.
 */
#ifndef PENSTOCK_TEST_TCLOUD_SERVER_H
#define PENSTOCK_TEST_TCLOUD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TCLOUD_REQUESTS_MAX 64
#define TCLOUD_BODY_KEPT    ((size_t)64 << 10)

enum tcloud_act {
    TCLOUD_ANSWER,   /* status, headers, body */
    TCLOUD_LOSE,     /* reads the request, closes without an answer */
    TCLOUD_RESET,    /* resets the connection after 1 KiB of the body */
    TCLOUD_TRUNCATE, /* promises twice the body's length, then closes */
    TCLOUD_STALL,    /* reads the request and keeps silent until the server stops */
    TCLOUD_SLOW,     /* answers after 150 ms */
    TCLOUD_CLOSE,    /* answers, then closes without saying so beforehand */
    TCLOUD_ENDLESS,  /* a body of 8 MiB */
};

/** One answer. body NULL: empty. */
struct tcloud_step {
    enum tcloud_act act;
    int status;
    const char *headers; /* extra lines, each with CR LF; or NULL */
    const char *body;
};

/** What came in. */
struct tcloud_seen {
    char method[16];
    char path[1024];
    char headers[4096]; /* raw */
    char body[TCLOUD_BODY_KEPT];
    size_t body_len; /* whole length, also of what is not kept */
};

struct tcloud_server;

/** Starts a server that follows the script; past its end it answers 500. steps are borrowed. */
struct tcloud_server *tcloud_server_start(const struct tcloud_step *steps, uint32_t n_steps);

/** "http://127.0.0.1:PORT". */
const char *tcloud_server_url(const struct tcloud_server *s);

/** Requests seen so far. */
uint32_t tcloud_server_count(struct tcloud_server *s);

/** Connections accepted so far. */
uint32_t tcloud_server_connections(struct tcloud_server *s);

/** Cancelled upload sessions (DELETE with an upload_id): answered 499 beside the script, because
 * they come when they come. */
uint32_t tcloud_server_cancels(struct tcloud_server *s);

/** Request i; i is below the count. */
const struct tcloud_seen *tcloud_server_seen(struct tcloud_server *s, uint32_t i);

/** Ends everything. */
void tcloud_server_stop(struct tcloud_server *s);

#endif
