/* COLD. See gen_output.h. */
#include "tools/gen/gen_output.h"

#include <errno.h>
#include <unistd.h>

int gen_output_all(int fd, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = write(fd, bytes, count);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return -errno;
        }
        bytes += written;
        count -= (size_t)written;
    }
    return 0;
}
