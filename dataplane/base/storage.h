/*
 * Storage: every file operation of the journal and the delivery log goes through this table, so
 * that tests can see each write and flush, fail the n-th of them, tear sectors, or cut the power.
 *
 * storage_posix is the real one. Calls return 0 or a byte count, or -errno.
 * Thread: any, as long as one descriptor is used by one thread at a time.
 */
#ifndef PENSTOCK_BASE_STORAGE_H
#define PENSTOCK_BASE_STORAGE_H

#include <stdint.h>
#include <sys/types.h>

#include "dataplane/base/compiler.h"

#define STORAGE_ALIGN 4096 /* of buffers, lengths and offsets of direct I/O */

struct io_uring;

/** One asynchronous, durable write: complete only after a flush (RWF_DSYNC). */
struct storage_write {
    int fd;
    int buf_index; /* registered buffer that holds buf, or -1 */
    const void *buf;
    uint32_t len; /* bytes */
    uint64_t offset;
    uint64_t user_data; /* of the completion */
};

/** Takes one name of a directory. @return 0, or -errno to stop. */
typedef int (*storage_visitor)(void *arg, const char *name);

struct storage_ops {
    /** @return a descriptor. flags as open(2); O_DIRECT is dropped where the file system refuses
     * it. */
    int (*open)(void *ctx, const char *path, int flags, mode_t mode);
    int (*close)(void *ctx, int fd);
    ssize_t (*pread)(void *ctx, int fd, void *buf, size_t len, uint64_t offset);
    ssize_t (*pwrite)(void *ctx, int fd, const void *buf, size_t len, uint64_t offset);
    /** Flushes data and the metadata needed to read it: fdatasync(2). */
    int (*sync)(void *ctx, int fd);
    /** Makes creations, renames and removals in a directory durable. */
    int (*sync_dir)(void *ctx, const char *path);
    /** Reserves len bytes of real space. */
    int (*allocate)(void *ctx, int fd, uint64_t len);
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path);
    int (*mkdir)(void *ctx, const char *path, mode_t mode);
    /** Visits every name in a directory but "." and "..", in no order. @return 0; -errno, also of
     * visit. */
    int (*list)(void *ctx, const char *path, storage_visitor visit, void *arg);
    /**
     * Prepares a durable write on ring; its result comes as a completion with user_data.
     * @return -EBUSY when the submission queue is full.
     */
    int (*write_async)(void *ctx, struct io_uring *ring, const struct storage_write *w);
};

struct storage {
    const struct storage_ops *ops;
    void *ctx;
};

/** The operating system's files. */
extern const struct storage storage_posix;

/** pwrite() until all is written. @return 0 or -errno; -ENOSPC for a write that makes no progress.
 */
int storage_write_all(const struct storage *s, int fd, const void *buf, size_t len,
                      uint64_t offset) WARN_UNUSED;

#endif
