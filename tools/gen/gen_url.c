/* COLD. See gen_url.h. */
#include "tools/gen/gen_url.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PATH "/v1/events"

/* Copies text[0..bytes) with an end mark. False when it does not fit, or holds a space or control.
 */
static bool copy_part(char *to, size_t to_bytes, const char *text, size_t bytes)
{
    if (bytes >= to_bytes) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f) {
            return false;
        }
    }
    memcpy(to, text, bytes);
    to[bytes] = '\0';
    return true;
}

static bool port_is_good(const char *port)
{
    char *end;
    long number = strtol(port, &end, 10);
    return port[0] >= '0' && port[0] <= '9' && *end == '\0' && number >= 1 && number <= 65535;
}

/* HOST, HOST:PORT or [IPV6]:PORT; port is the default, or "" when there is none. */
static const char *parse_authority(struct gen_url *url, const char *text, size_t bytes)
{
    bool bracketed = text[0] == '[';
    const char *host = bracketed ? text + 1 : text;
    const char *host_end = memchr(text, bracketed ? ']' : ':', bytes);
    if (host_end == NULL) {
        if (bracketed) {
            return "no ] after the IPv6 address";
        }
        host_end = text + bytes;
    }
    const char *rest = host_end + bracketed;
    const char *end = text + bytes;
    const char *port = url->scheme == GEN_HTTP ? "80" : "";
    size_t port_bytes = strlen(port);
    if (rest < end) {
        if (*rest != ':') {
            return "only :PORT or /path may follow the host";
        }
        port = rest + 1;
        port_bytes = (size_t)(end - port);
    }
    if (host_end == host ||
        !copy_part(url->host, sizeof(url->host), host, (size_t)(host_end - host))) {
        return "no usable host";
    }
    if (!copy_part(url->port, sizeof(url->port), port, port_bytes) || !port_is_good(url->port)) {
        return "the port is not a number from 1 to 65535";
    }
    snprintf(url->authority, sizeof(url->authority), bracketed ? "[%s]:%s" : "%s:%s", url->host,
             url->port);
    return NULL;
}

/* What is behind the scheme, or NULL. */
static const char *parse_scheme(struct gen_url *url, const char *text)
{
    static const struct {
        const char *text;
        enum gen_scheme scheme;
    } schemes[] = {{"http://", GEN_HTTP},
                   {"tcp://", GEN_TCP},
                   {"tcp+acked://", GEN_TCP_ACKED},
                   {"udp://", GEN_UDP}};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t bytes = strlen(schemes[i].text);
        if (strncmp(text, schemes[i].text, bytes) == 0) {
            url->scheme = schemes[i].scheme;
            return text + bytes;
        }
    }
    return NULL;
}

const char *gen_url_parse(struct gen_url *url, const char *text)
{
    if (strncmp(text, "https://", 8) == 0) {
        return "TLS is not spoken here; use the server's plain http listener";
    }
    const char *authority = parse_scheme(url, text);
    if (authority == NULL) {
        return "it does not start with http://, tcp://, tcp+acked:// or udp://";
    }
    size_t authority_bytes = strcspn(authority, "/?");
    const char *path = authority + authority_bytes;
    if (url->scheme != GEN_HTTP && *path != '\0') {
        return "only http has a path";
    }
    if (*path == '\0') {
        path = DEFAULT_PATH;
    }
    if (*path != '/' || !copy_part(url->path, sizeof(url->path), path, strlen(path))) {
        return "the path is too long, or has spaces in it";
    }
    return parse_authority(url, authority, authority_bytes);
}

const char *gen_url_resolve(const struct gen_url *url, struct gen_address *address)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = url->scheme == GEN_UDP ? SOCK_DGRAM : SOCK_STREAM};
    struct addrinfo *found;
    int rc = getaddrinfo(url->host, url->port, &hints, &found);
    if (rc != 0) {
        return gai_strerror(rc);
    }
    memcpy(&address->addr, found->ai_addr, found->ai_addrlen);
    address->addr_bytes = found->ai_addrlen;
    address->scheme = url->scheme;
    freeaddrinfo(found);
    return NULL;
}
