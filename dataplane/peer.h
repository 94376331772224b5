/* Sockets' other ends as text: the source of dead letters. */
#ifndef PENSTOCK_PEER_H
#define PENSTOCK_PEER_H

#include <sys/socket.h>

#include "dataplane/base/compiler.h"

#define PEER_TEXT_BYTES 64

/**
 * Writes "tcp 127.0.0.1:41712" or "udp [::1]:41712" into out, which holds PEER_TEXT_BYTES.
 * Thread: any.  Alloc: none.
 */
void peer_text(const char *input, const struct sockaddr_storage *peer, char *out);

/** The same for a connected socket; "?" stands for an address that cannot be had any more. Thread:
 * any. */
void peer_text_of(const char *input, int fd, char *out);

/** Length of an address by its family. Thread: any. */
socklen_t peer_len(const struct sockaddr_storage *address);

#endif
