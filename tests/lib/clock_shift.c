/*
 * A wall clock that a test sets: LD_PRELOAD it. CLOCK_REALTIME is shifted by the seconds that stand in the
 * file CLOCK_SHIFT_FILE names, a native 64-bit number, looked at at every call; other clocks are as they are.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const _Atomic int64_t *shift;

__attribute__((constructor)) static void clock_shift_open(void)
{
    const char *path = getenv("CLOCK_SHIFT_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0)
        shift = mmap(NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);
    if (fd < 0 || shift == MAP_FAILED)
        abort();
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, out);

    if (rc == 0 && clock == CLOCK_REALTIME && shift != NULL)
        out->tv_sec += *shift;
    return rc;
}
