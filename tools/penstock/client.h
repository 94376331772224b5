/* The client's side of control/protocol.h: one connection, requests, heads of answers. */
#ifndef PENSTOCK_TOOLS_CLIENT_H
#define PENSTOCK_TOOLS_CLIENT_H

#include <stdbool.h>
#include <stdio.h>

#include "control/protocol.h"

/** Connects to the daemon's socket. @return a descriptor, or -1 with a message on stderr. */
int client_connect(const char *path);

/** Sends a request line, without its line end. @return false when the connection is gone. */
bool client_send(int fd, const char *line);

/** Reads "PENSTOCK STATUS BYTES\n". @return the status, or -1. */
int client_read_head(FILE *in, size_t *bytes);

#endif
