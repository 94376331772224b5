/* COLD but for write_async. The operating system behind storage.h. */
#include "dataplane/base/storage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int posix_open(void *ctx, const char *path, int flags, mode_t mode)
{
    int fd;

    (void)ctx;
    fd = open(path, flags | O_CLOEXEC, mode);
    if (fd < 0 && errno == EINVAL && (flags & O_DIRECT) != 0) /* tmpfs and others */
        fd = open(path, (flags & ~O_DIRECT) | O_CLOEXEC, mode);
    return fd < 0 ? -errno : fd;
}

static int posix_close(void *ctx, int fd)
{
    (void)ctx;
    return close(fd) == 0 ? 0 : -errno;
}

static ssize_t posix_pread(void *ctx, int fd, void *buf, size_t len, uint64_t offset)
{
    ssize_t n = pread(fd, buf, len, (off_t)offset);

    (void)ctx;
    return n < 0 ? -errno : n;
}

static ssize_t posix_pwrite(void *ctx, int fd, const void *buf, size_t len, uint64_t offset)
{
    ssize_t n = pwrite(fd, buf, len, (off_t)offset);

    (void)ctx;
    return n < 0 ? -errno : n;
}

static int posix_sync(void *ctx, int fd)
{
    (void)ctx;
    return fdatasync(fd) == 0 ? 0 : -errno;
}

static int posix_sync_dir(void *ctx, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc;

    (void)ctx;
    if (fd < 0)
        return -errno;
    rc = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return rc;
}

static int posix_allocate(void *ctx, int fd, uint64_t len)
{
    (void)ctx;
    return -posix_fallocate(fd, 0, (off_t)len);
}

static int posix_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return rename(from, to) == 0 ? 0 : -errno;
}

static int posix_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return unlink(path) == 0 ? 0 : -errno;
}

static int posix_mkdir(void *ctx, const char *path, mode_t mode)
{
    (void)ctx;
    return mkdir(path, mode) == 0 ? 0 : -errno;
}

static int posix_list(void *ctx, const char *path, storage_visitor visit, void *arg)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    int rc = 0;

    (void)ctx;
    if (dir == NULL)
        return -errno;
    errno = 0;
    while (rc == 0 && (e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = visit(arg, e->d_name);
        errno = 0;
    }
    if (rc == 0)
        rc =
            -errno; /* of a readdir() that failed: a name that is missed may be the newest segment */
    closedir(dir);
    return rc;
}

static int posix_write_async(void *ctx, struct io_uring *ring, const struct storage_write *w)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    (void)ctx;
    if (sqe == NULL)
        return -EBUSY;
    if (w->buf_index >= 0)
        io_uring_prep_write_fixed(sqe, w->fd, w->buf, w->len, w->offset, w->buf_index);
    else
        io_uring_prep_write(sqe, w->fd, w->buf, w->len, w->offset);
    sqe->rw_flags = RWF_DSYNC;
    sqe->user_data = w->user_data;
    return 0;
}

static const struct storage_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .sync = posix_sync,
    .sync_dir = posix_sync_dir,
    .allocate = posix_allocate,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .list = posix_list,
    .write_async = posix_write_async,
};

const struct storage storage_posix = {.ops = &posix_ops, .ctx = NULL};

int storage_write_all(const struct storage *s, int fd, const void *buf, size_t len, uint64_t offset)
{
    const char *p = buf;

    ASSERT(s != NULL && (buf != NULL || len == 0));
    while (len > 0) {
        ssize_t n = s->ops->pwrite(s->ctx, fd, p, len, offset);

        if (n == -EINTR)
            continue;
        if (n < 0)
            return (int)n;
        if (n == 0)
            return -ENOSPC;
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}
