/*
 * HOT. One nonblocking connection, one request outstanding at most. Transport only: when to connect,
 * what to send and what an answer means is the worker's business.
 *
 * Beside HTTP: TCP and UDP, where a request counts as answered when the kernel has all of it, with
 * status 0, since nobody says what became of it; and acknowledged TCP, where the server says how many
 * lines of the connection are durable: status 200 once that covers the request.
 *
 *   CLOSED -open-> CONNECTING -> IDLE -send-> BUSY -> IDLE (answered)
 *      ^---------------- broken, or gen_conn_close() ----'
 */
#ifndef GEN_CONN_H
#define GEN_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "tools/gen/gen_response.h"

enum gen_scheme { GEN_HTTP, GEN_TCP, GEN_TCP_ACKED, GEN_UDP };

enum gen_conn_state { GEN_CONN_CLOSED, GEN_CONN_CONNECTING, GEN_CONN_IDLE, GEN_CONN_BUSY };

enum gen_conn_event {
    GEN_CONN_NOTHING,   /* go on waiting */
    GEN_CONN_CONNECTED, /* IDLE now */
    GEN_CONN_ANSWERED,  /* response holds the answer; IDLE now, or CLOSED if the connection ended */
    GEN_CONN_ENDED,     /* the server closed while nothing was outstanding; CLOSED now */
    GEN_CONN_BROKEN,    /* failed while connecting or with a request outstanding; CLOSED now */
};

struct gen_conn {
    enum gen_conn_state state;
    int error; /* errno of the last BROKEN; EPROTO: what came was not HTTP; 0: closed by the server
                */
    struct gen_response response;
    enum gen_scheme _scheme;
    uint64_t _lines;     /* of acknowledged TCP: sent on this connection */
    uint64_t _confirmed; /* by the server */
    uint64_t _number;    /* that is being read */
    int _fd;
    const char *_out; /* unsent rest of the request; borrowed until answered or closed */
    size_t _out_bytes;
};

/* Where to connect. */
struct gen_address {
    enum gen_scheme scheme;
    struct sockaddr_storage addr;
    socklen_t addr_bytes;
};

/* Memory to receive into, shared by the connections of one thread. */
struct gen_conn_scratch {
    char bytes[64 * 1024];
};

/**
 * Makes c CLOSED.
 * Thread: the owner of c.  Alloc: none.
 */
void gen_conn_init(struct gen_conn *c);

/**
 * Starts connecting and registers with epoll_fd, edge-triggered, with data.ptr = tag. c is CLOSED.
 * Thread: the owner of c.  Alloc: none.
 * @return CONNECTED, NOTHING (an event will tell) or BROKEN.
 */
enum gen_conn_event gen_conn_open(struct gen_conn *c, const struct gen_address *address,
                                  int epoll_fd, void *tag);

/**
 * Starts sending a request. c is IDLE. bytes stay the caller's and unchanged until ANSWERED, BROKEN
 * or gen_conn_close(). lines: how many they are. Thread: the owner of c.  Alloc: none.
 * @return NOTHING or BROKEN; ANSWERED where there are no answers and the kernel has taken it all.
 */
enum gen_conn_event gen_conn_send(struct gen_conn *c, const char *bytes, size_t count,
                                  uint32_t lines);

/**
 * Handles what epoll reported for c. Safe to call with events of an earlier connection.
 * Thread: the owner of c.  Alloc: none.
 */
enum gen_conn_event gen_conn_on_events(struct gen_conn *c, uint32_t events,
                                       struct gen_conn_scratch *scratch);

/**
 * Closes, whatever the state. Closing a socket also takes it out of epoll.
 * Thread: the owner of c.  Alloc: none.
 */
void gen_conn_close(struct gen_conn *c);

#endif
