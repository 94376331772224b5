/* COLD. See gen_memory.h. */
#include "tools/gen/gen_memory.h"

#include <stdio.h>
#include <stdlib.h>

static void *check(void *memory, size_t bytes)
{
    if (memory == NULL && bytes > 0) {
        fprintf(stderr,
                "penstock-gen: no memory for %zu bytes; lower --connections, --batch or "
                "--pregenerate\n",
                bytes);
        exit(1);
    }
    return memory;
}

void *gen_memory_zeroed(size_t count, size_t bytes)
{
    return check(calloc(count, bytes), count * bytes);
}

void *gen_memory_resize(void *old, size_t bytes)
{
    return check(realloc(old, bytes), bytes);
}
