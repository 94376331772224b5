/* COLD. See mem.h. */
#include "dataplane/base/mem.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#define HUGE_BYTES ((size_t)2 << 20)
#define PAGE_BYTES ((uintptr_t)4096) /* or a multiple of it */

/* A mapping with room to align; the slack in front and behind is unmapped again. */
static void *map_aligned(size_t len)
{
    size_t total = len + HUGE_BYTES;
    char *raw = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *base;

    if (raw == MAP_FAILED)
        return NULL;
    base = (char *)align_up((uintptr_t)raw, HUGE_BYTES);
    if (base > raw)
        munmap(raw, (size_t)(base - raw));
    munmap(base + len, (size_t)(raw + total - (base + len)));
    (void)madvise(base, len, MADV_HUGEPAGE); /* only a wish */
    return base;
}

void *mem_reserve(size_t len)
{
    void *p;

    ASSERT(len > 0);
    len = align_up(len, HUGE_BYTES);
    p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    return p != MAP_FAILED ? p : map_aligned(len);
}

/* For kernels before 5.14. Adding nothing keeps what others write at the same time. */
static void touch(char *ptr, size_t len)
{
    const char *end = ptr + len;

    while (ptr < end) {
        (void)__atomic_fetch_add(ptr, 0, __ATOMIC_RELAXED);
        ptr = (char *)align_up((uintptr_t)ptr + 1, PAGE_BYTES);
    }
}

static int populate(char *ptr, size_t len)
{
    uintptr_t from = (uintptr_t)ptr & ~(PAGE_BYTES - 1);
    uintptr_t to = align_up((uintptr_t)ptr + len, PAGE_BYTES);

    while (madvise((void *)from, to - from, MADV_POPULATE_WRITE) != 0) {
        if (errno == EINVAL) {
            touch(ptr, len);
            return 0;
        }
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
    }
    return 0;
}

int mem_populate(void *ptr, size_t len, const _Atomic bool *stop)
{
    char *at = ptr;
    size_t left = len;
    int rc = 0;

    ASSERT(ptr != NULL || len == 0);
    while (rc == 0 && left > 0 && (stop == NULL || !atomic_load(stop))) {
        size_t step = stop != NULL ? HUGE_BYTES - (uintptr_t)at % HUGE_BYTES : left;

        step = step < left ? step : left;
        rc = populate(at, step);
        at += step;
        left -= step;
    }
    return rc;
}

void mem_release(void *ptr, size_t len)
{
    if (ptr != NULL)
        munmap(ptr, align_up(len, HUGE_BYTES));
}
