/* COLD. Addresses as text, see peer.h. */
#include "dataplane/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

socklen_t peer_len(const struct sockaddr_storage *address)
{
    ASSERT(address->ss_family == AF_INET || address->ss_family == AF_INET6);
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

void peer_text(const char *input, const struct sockaddr_storage *peer, char *out)
{
    char host[INET6_ADDRSTRLEN] = "?";
    int n;

    if (peer->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)peer;

        inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof(host));
        n = snprintf(out, PEER_TEXT_BYTES, "%s [%s]:%u", input, host, ntohs(a->sin6_port));
    } else {
        const struct sockaddr_in *a = (const struct sockaddr_in *)peer;

        inet_ntop(AF_INET, &a->sin_addr, host, sizeof(host));
        n = snprintf(out, PEER_TEXT_BYTES, "%s %s:%u", input, host, ntohs(a->sin_port));
    }
    ASSERT(n > 0 && n < PEER_TEXT_BYTES);
}

void peer_text_of(const char *input, int fd, char *out)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    int n;

    if (getpeername(fd, (struct sockaddr *)&address, &len) == 0) {
        peer_text(input, &address, out);
        return;
    }
    n = snprintf(out, PEER_TEXT_BYTES, "%s ?", input);
    ASSERT(n > 0 && n < PEER_TEXT_BYTES);
}
