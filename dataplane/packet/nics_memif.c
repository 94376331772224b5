/* COLD. See nics_internal.h. A memif's server leaves its socket's file behind, and does not start where one
 * is: that of one that is gone has to go. */
#include "dataplane/packet/nics_internal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dataplane/base/log.h"

/* Whether it is a socket at which nobody listens. */
static bool is_deserted(const struct sockaddr_un *address)
{
    struct stat st;
    int fd, rc;

    if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    rc = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : -errno;
    close(fd);
    ASSERT(rc <= 0);
    return rc == -ECONNREFUSED;
}

/* The value of an argument of a device, "" without it. */
static void argument(const char *device, const char *name, char *out, size_t len)
{
    const char *at = strchr(device, ',');
    size_t n = strlen(name);

    ASSERT(len > 0);
    out[0] = '\0';
    for (; at != NULL; at = strchr(at, ',')) {
        at++;
        if (strncmp(at, name, n) == 0 && at[n] == '=')
            snprintf(out, len, "%.*s", (int)strcspn(at + n + 1, ","), at + n + 1);
    }
}

void nic_clear_socket(const char *device)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char role[16], abstract[8];

    ASSERT(device != NULL);
    argument(device, "role", role, sizeof(role));
    argument(device, "socket-abstract", abstract, sizeof(abstract));
    argument(device, "socket", address.sun_path, sizeof(address.sun_path));
    if (strncmp(device, "net_memif", 9) != 0 || strcmp(role, "server") != 0 ||
        strcmp(abstract, "no") != 0)
        return;
    if (strlen(address.sun_path) == sizeof(address.sun_path) - 1) /* perhaps cut: another file */
        return;
    if (!is_deserted(&address))
        return;
    if (unlink(address.sun_path) == 0)
        log_info("packets", "removed %s, at which nobody listened", address.sun_path);
}
