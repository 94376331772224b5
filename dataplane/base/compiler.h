/*
 * Compiler helpers and assertions. Leaf: includes nothing of ours.
 *
 * ASSERT is always on, release included, and is for our own mistakes only: bad JSON, network and
 * cloud answers are errors. ASSERT_HOT is for code that runs once an event or oftener; it is
 * compiled in when PENSTOCK_ASSERT_HOT is defined (sanitizer, fuzz and debug builds). Neither
 * becomes an optimizer hint.
 */
#ifndef PENSTOCK_BASE_COMPILER_H
#define PENSTOCK_BASE_COMPILER_H

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_LINE_BYTES 64

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define WARN_UNUSED  __attribute__((warn_unused_result))
#define COLD_PATH    __attribute__((cold, noinline))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#ifndef container_of /* DPDK has its own */
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#endif

/**
 * Prints the failed condition with its place and aborts.
 * Thread: any.
 */
_Noreturn void assert_failed(const char *condition, const char *file, int line) COLD_PATH;

#define ASSERT(c) ((c) ? (void)0 : assert_failed(#c, __FILE__, __LINE__))

#ifdef PENSTOCK_ASSERT_HOT
#define ASSERT_HOT(c) ASSERT(c)
#else
#define ASSERT_HOT(c) ((void)sizeof(c))
#endif

/** Rounds v up to a multiple of to, a power of two. */
static inline uint64_t align_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) & ~(to - 1);
}

#endif
