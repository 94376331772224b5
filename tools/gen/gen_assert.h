/*
 * COLD. Assertions of penstock-gen: always on, release builds too. They are for mistakes of this
 * program only; a server's answer, a file or an option that is wrong is an error and is reported as
 * one.
 */
#ifndef GEN_ASSERT_H
#define GEN_ASSERT_H

#include <stdio.h>
#include <stdlib.h>

/**
 * Prints the broken condition with its place and aborts.
 * Thread: any.  Alloc: none.
 */
__attribute__((cold, noreturn, unused)) static inline void gen_assert_fail(const char *condition,
                                                                           const char *file,
                                                                           int line)
{
    fprintf(stderr, "penstock-gen: %s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}

#define GEN_ASSERT(condition)                                \
    do {                                                     \
        if (__builtin_expect(!(condition), 0)) {             \
            gen_assert_fail(#condition, __FILE__, __LINE__); \
        }                                                    \
    } while (0)

#endif
