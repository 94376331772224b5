/* COLD. See mem.h. */
#include "dataplane/base/mem.h"

#include <stdint.h>
#include <sys/mman.h>

#define HUGE_BYTES ((size_t)2 << 20)

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

void mem_release(void *ptr, size_t len)
{
    if (ptr != NULL)
        munmap(ptr, align_up(len, HUGE_BYTES));
}
