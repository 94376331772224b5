/*
 * The disk's own limit: a file that is written from front to back and round, by writes of one size,
 * O_DIRECT with RWF_DSYNC from one registered buffer each, as the journal's are. No line, no copy, no
 * checksum.
 *
 *     bench_disk FILE FILE_BYTES WRITE_BYTES DEPTH SECONDS [RATE]
 *
 * The file is made and written through first. One line: bytes, nanoseconds, writes, and of a write's
 * latency p50, p99, p99.9 and the largest, nanoseconds. The file is removed. With a RATE there are at
 * most so many writes a second, evenly spaced.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX  64
#define WRITES_MAX (4u << 20) /* whose latency is kept */
#define HUGE       (2u << 20)

struct disk {
    struct io_uring ring;
    int fd;
    char *buf[DEPTH_MAX];
    uint64_t started[DEPTH_MAX];
    uint64_t file_bytes, write_bytes, at, done;
    uint32_t *latency, n_latency;
    uint64_t interval_ns, due_ns; /* between two writes; 0: as fast as it goes */
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what, int error)
{
    fprintf(stderr, "bench_disk: %s: %s\n", what, strerror(error));
    exit(1);
}

/* Waits until the next write is due, which is never sooner than one that was late allows: no burst. */
static void pace(struct disk *d)
{
    struct timespec t = {.tv_sec = (time_t)(d->due_ns / 1000000000u),
                         .tv_nsec = (long)(d->due_ns % 1000000000u)};
    uint64_t now;

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
    now = now_ns();
    d->due_ns = (now - d->due_ns > d->interval_ns ? now : d->due_ns) + d->interval_ns;
}

static void submit(struct disk *d, unsigned slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&d->ring);

    if (d->at + d->write_bytes > d->file_bytes)
        d->at = 0;
    io_uring_prep_write_fixed(sqe, d->fd, d->buf[slot], (unsigned)d->write_bytes, d->at, (int)slot);
    sqe->rw_flags = RWF_DSYNC;
    sqe->user_data = slot;
    if (d->interval_ns > 0)
        pace(d);
    d->started[slot] = now_ns();
    d->at += d->write_bytes;
}

static unsigned take(struct disk *d)
{
    struct io_uring_cqe *cqe;
    unsigned slot;
    int rc = io_uring_wait_cqe(&d->ring, &cqe);

    if (rc < 0)
        die("waiting", -rc);
    if (cqe->res != (int)d->write_bytes)
        die("writing", cqe->res < 0 ? -cqe->res : ENOSPC);
    slot = (unsigned)cqe->user_data;
    io_uring_cqe_seen(&d->ring, cqe);
    if (d->n_latency < WRITES_MAX)
        d->latency[d->n_latency++] = (uint32_t)(now_ns() - d->started[slot]);
    d->done++;
    return slot;
}

static void file_make(struct disk *d, const char *path)
{
    d->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    if (d->fd < 0)
        die(path, errno);
    for (uint64_t at = 0; at < d->file_bytes; at += HUGE) {
        if (pwrite(d->fd, d->buf[0], HUGE, (off_t)at) != HUGE)
            die(path, errno);
    }
    if (fsync(d->fd) != 0)
        die(path, errno);
}

static void set_up(struct disk *d, unsigned depth)
{
    struct iovec iov[DEPTH_MAX];
    unsigned flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    uint64_t room = (d->write_bytes + HUGE - 1) / HUGE * HUGE;
    int rc = io_uring_queue_init(DEPTH_MAX, &d->ring, flags);

    if (rc < 0)
        rc = io_uring_queue_init(DEPTH_MAX, &d->ring, 0);
    for (unsigned i = 0; i < depth && rc >= 0; i++) {
        d->buf[i] = aligned_alloc(HUGE, room);
        if (d->buf[i] == NULL)
            die("memory", ENOMEM);
        madvise(d->buf[i], room, MADV_HUGEPAGE);
        for (uint64_t j = 0; j < room; j++)
            d->buf[i][j] = (char)(j * 7 + i);
        iov[i] = (struct iovec){.iov_base = d->buf[i], .iov_len = d->write_bytes};
    }
    if (rc >= 0)
        rc = io_uring_register_buffers(&d->ring, iov, depth);
    if (rc < 0)
        die("io_uring", -rc);
    d->latency = calloc(WRITES_MAX, sizeof(*d->latency));
    if (d->latency == NULL)
        die("memory", ENOMEM);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void show(struct disk *d, uint64_t ns)
{
    uint32_t n = d->n_latency;

    qsort(d->latency, n, sizeof(*d->latency), compare);
    printf("%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%u\t%u\t%u\t%u\n", d->done * d->write_bytes, ns,
           d->done, d->latency[n / 2], d->latency[(uint64_t)n * 99 / 100],
           d->latency[(uint64_t)n * 999 / 1000], d->latency[n - 1]);
}

int main(int argc, char **argv)
{
    static struct disk d;
    uint64_t start, end;
    unsigned depth;

    if (argc < 6 || argc > 7 || (depth = (unsigned)strtoul(argv[4], NULL, 10)) < 1 ||
        depth > DEPTH_MAX) {
        fprintf(stderr, "usage: bench_disk FILE FILE_BYTES WRITE_BYTES DEPTH SECONDS [RATE]\n");
        return 2;
    }
    d.file_bytes = strtoull(argv[2], NULL, 10) / HUGE * HUGE;
    d.write_bytes = strtoull(argv[3], NULL, 10);
    if (d.write_bytes == 0 || d.write_bytes % 4096 != 0 || d.write_bytes > d.file_bytes)
        die("sizes", EINVAL);
    if (argc == 7 && depth != 1)
        die("a RATE goes with DEPTH 1", EINVAL);
    set_up(&d, depth);
    file_make(&d, argv[1]);
    start = d.due_ns = now_ns();
    if (argc == 7 && strtod(argv[6], NULL) > 0)
        d.interval_ns = (uint64_t)(1e9 / strtod(argv[6], NULL));
    end = start + (uint64_t)(strtod(argv[5], NULL) * 1e9);
    for (unsigned i = 0; i < depth; i++)
        submit(&d, i);
    while (io_uring_submit(&d.ring) >= 0 && now_ns() < end)
        submit(&d, take(&d));
    for (unsigned i = 0; i < depth; i++)
        (void)take(&d);
    show(&d, now_ns() - start);
    unlink(argv[1]);
    return 0;
}
