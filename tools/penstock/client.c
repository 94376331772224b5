/* The connection to penstockd; see client.h. */
#include "tools/penstock/client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD_BYTES 64

int client_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    int fd;

    if (len >= sizeof(address.sun_path)) {
        fprintf(stderr, "penstock: --socket: the path is longer than %zu bytes\n",
                sizeof(address.sun_path) - 1);
        return -1;
    }
    memcpy(address.sun_path, path, len);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    fprintf(
        stderr,
        "penstock: no penstockd answers on %s: %s; is it running? --socket names another place\n",
        path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

bool client_send(int fd, const char *line)
{
    char buf[PROTOCOL_LINE_BYTES + 1];
    size_t sent = 0, len = strlen(line);

    if (len >= PROTOCOL_LINE_BYTES)
        return false;
    memcpy(buf, line, len);
    buf[len++] = '\n';
    while (sent < len) {
        ssize_t n = send(fd, buf + sent, len - sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

int client_read_head(FILE *in, size_t *bytes)
{
    char head[HEAD_BYTES];
    int status, end = 0;

    if (fgets(head, sizeof(head), in) == NULL)
        return -1;
    if (sscanf(head, PROTOCOL_ANSWER_WORD " %d %zu%n", &status, bytes, &end) != 2 ||
        head[end] != '\n' || status < PROTOCOL_OK || status > PROTOCOL_USAGE)
        return -1;
    return status;
}
