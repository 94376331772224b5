/* COLD. The target address: http://HOST[:PORT][/path], or {tcp,tcp+acked,udp}://HOST:PORT. */
#ifndef GEN_URL_H
#define GEN_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/gen/gen_conn.h"

enum { GEN_URL_HOST_MAX = 256, GEN_URL_PORT_MAX = 8, GEN_URL_PATH_MAX = 1024 };

struct gen_url {
    enum gen_scheme scheme;
    char host[GEN_URL_HOST_MAX]; /* without the brackets of an IPv6 address */
    char port[GEN_URL_PORT_MAX];
    char path[GEN_URL_PATH_MAX]; /* of http, with query; /v1/events when the text has none */
    char authority[GEN_URL_HOST_MAX + GEN_URL_PORT_MAX + 4]; /* for the Host header */
};

/**
 * Splits text into *url.
 * Thread: any.  Alloc: none.
 * @return NULL, or what is wrong with text.
 */
const char *gen_url_parse(struct gen_url *url, const char *text);

/**
 * Looks the host up.
 * Thread: init.  Alloc: resolver.
 * @return NULL, or the resolver's message.
 */
const char *gen_url_resolve(const struct gen_url *url, struct gen_address *address);

#endif
