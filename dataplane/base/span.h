/* A borrowed run of bytes: never owned, never NUL-terminated, valid as long as its lender says. */
#ifndef PENSTOCK_BASE_SPAN_H
#define PENSTOCK_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
    const char *ptr;
    size_t len;
};

/** The bytes of a C string, without its NUL. Thread: any. */
static inline struct span span_of(const char *s)
{
    return (struct span){.ptr = s, .len = strlen(s)};
}

/** Whether both hold the same bytes. Thread: any. */
static inline bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

#endif
