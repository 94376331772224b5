/* COLD. Bearer tokens from a file that somebody else renews. A failed reading keeps the token that
 * is there. */
#include "sinks/engine/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"

#define REREAD_US ((int64_t)60 * 1000000)
#define PREFIX    "Authorization: Bearer "
#define TOKEN_MAX (AUTH_HEADER_BYTES - sizeof(PREFIX) - 1)

/* The file's bytes without the white space around them. @return their number or -errno. */
static ssize_t token_read(const char *file, char *token, size_t size)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    ASSERT(size > 0);
    if (fd < 0)
        return -errno;
    n = read(fd, token, size);
    if (n < 0)
        n = -errno;
    close(fd);
    while (n > 0 && (token[n - 1] == '\n' || token[n - 1] == '\r' || token[n - 1] == ' '))
        n--;
    return n;
}

/* What may stand in a header: anything else could add headers of its own. */
static bool token_valid(const char *token, size_t len)
{
    ASSERT(token != NULL);
    if (len == 0 || len > TOKEN_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (token[i] <= ' ' || token[i] > '~')
            return false;
    }
    return true;
}

static int header_renew(struct auth *a)
{
    char token[AUTH_HEADER_BYTES];
    ssize_t n;

    ASSERT(a->token_file != NULL);
    a->read_us = clock_monotonic_us();
    n = token_read(a->token_file, token, sizeof(token));
    if (n < 0)
        return (int)n;
    if (!token_valid(token, (size_t)n))
        return -EINVAL;
    snprintf(a->header, sizeof(a->header), PREFIX "%.*s", (int)n, token);
    return 0;
}

int auth_init(struct auth *a, const char *token_file, char *error, size_t error_len)
{
    int rc;

    ASSERT(a != NULL && error_len > 0);
    *a = (struct auth){.token_file = token_file};
    error[0] = '\0';
    if (token_file == NULL)
        return 0;
    rc = header_renew(a);
    if (rc == -EINVAL)
        snprintf(error, error_len,
                 "%s: no token: one line of 1 to %zu printable characters is expected", token_file,
                 TOKEN_MAX);
    else if (rc != 0)
        snprintf(error, error_len, "%s: %s", token_file, strerror(-rc));
    return rc;
}

const char *auth_header(struct auth *a)
{
    ASSERT(a != NULL);
    if (a->token_file == NULL)
        return NULL;
    if (a->read_us == 0 || clock_monotonic_us() - a->read_us > REREAD_US) {
        int rc = header_renew(a);

        if (rc != 0)
            log_warn("auth", "%s: %s; the token read before is used on", a->token_file,
                     strerror(-rc));
    }
    return a->header;
}

void auth_refused(struct auth *a)
{
    ASSERT(a != NULL);
    a->read_us = 0;
}
