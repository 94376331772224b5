/*
 * The client's side of control/ingest_protocol.h: one connection to the daemon, requests with a
 * body, answers in order.
 *
 * Thread: a wire belongs to one thread.
 */
#ifndef PENSTOCK_TOOLS_INGEST_WIRE_H
#define PENSTOCK_TOOLS_INGEST_WIRE_H

#include "control/ingest_protocol.h"
#include "dataplane/base/compiler.h"

/** What an answer says. */
enum wire_result {
    WIRE_OK,
    WIRE_BROKEN,  /* no connection, or it broke: whether the request was done is not known */
    WIRE_LATER,   /* busy, draining, not known yet: not done, but may be tried again */
    WIRE_REFUSED, /* not done, and trying again does not help */
};

/** A connection. error tells why the last call failed. */
struct wire {
    const char *path;
    int fd;     /* -1: not connected */
    char *body; /* of the last answer, NUL-terminated */
    size_t body_len, body_cap;
    char error[512];
    bool busy; /* the session is in use */
};

/** Sets it up, not connected. Owner: path is borrowed. */
void wire_init(struct wire *w, const char *path);

/** Closes it and frees. */
void wire_fini(struct wire *w);

/** Connects; closes what was open. @return WIRE_OK or WIRE_BROKEN. */
enum wire_result wire_connect(struct wire *w);

/** Closes the connection. */
void wire_close(struct wire *w);

/** Sends a request. @return WIRE_OK or WIRE_BROKEN. */
enum wire_result wire_send(struct wire *w, const char *name, const char *body, size_t len);

/** Waits for the next answer; its body stands in w->body. */
enum wire_result wire_answer(struct wire *w);

/** Whether an answer can be read, or the connection has ended, within timeout_ms. */
bool wire_ready(const struct wire *w, int timeout_ms);

#endif
