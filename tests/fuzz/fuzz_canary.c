/*
 * COLD. A planted fault: one byte is read past an allocation when the input spells the magic word.
 * The runner counts this target as failed when the fault is not found: then no other target could
 * find one.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/compiler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char magic[] = "BUG";
    char *copy = malloc(size);
    int rc = 0;

    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    if (size == sizeof(magic) - 1 && memcmp(copy, magic, size) == 0)
        rc = copy[size] == 0 ? 0 : -1;
    free(copy);
    return rc;
}
