// The HTTP/1.1 front of localcloud: one thread per connection, requests handed to routes.
#ifndef LOCALCLOUD_SERVER_H
#define LOCALCLOUD_SERVER_H

#include <stddef.h>

struct lc_app;
struct lc_server;

/**
 * Starts to listen. Thread: init.
 * listen: "ADDR:PORT", "[V6]:PORT" or ":PORT"; port 0 takes a free one.
 * Owner: caller, lc_server_stop. @return NULL with a reason in err.
 */
struct lc_server *lc_server_start(struct lc_app *app, const char *listen, char *err,
                                  size_t err_size);

/** Port that is listened on. */
int lc_server_port(const struct lc_server *s);

/** Closes all connections, waits for their threads, frees s. */
void lc_server_stop(struct lc_server *s);

#endif
