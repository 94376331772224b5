/* COLD. The rule that makes a column's name of a field's name. See rows_internal.h. */
#include <string.h>

#include "dataplane/event/rows_internal.h"
#include "dataplane/event/text_internal.h"

#define HASH_DIGITS 8
#define MARK_BYTES  (1 + HASH_DIGITS) /* "_1a2b3c4d" */

static bool is_allowed(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* FNV-1a over the name and the number of the attempt, folded to 32 bits: the same everywhere. */
static uint32_t source_hash(struct span source, uint32_t attempt)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < source.len; i++)
        h = (h ^ (unsigned char)source.ptr[i]) * UINT64_C(1099511628211);
    h = (h ^ attempt) * UINT64_C(1099511628211);
    return (uint32_t)(h ^ h >> 32);
}

/* Allowed characters stay, each other one (of one to four bytes) becomes '_'. */
static size_t plain_name(struct span source, char *out)
{
    size_t n = 0, i = 0;

    if (source.len == 0 || (source.ptr[0] >= '0' && source.ptr[0] <= '9'))
        out[n++] = '_';
    while (i < source.len && n < ROWS_NAME_BYTES_MAX) {
        size_t len = text_utf8_length(source.ptr + i, source.len - i);

        out[n++] = is_allowed(source.ptr[i]) ? source.ptr[i] : '_';
        i += len > 0 ? len : 1;
    }
    return n;
}

size_t rows_name_make(struct span source, rows_taken_fn *taken, const void *context, char *out)
{
    size_t plain = plain_name(source, out), n = plain;

    ASSERT(source.len <= ROWS_SOURCE_BYTES_MAX && plain > 0 && plain <= ROWS_NAME_BYTES_MAX);
    /* No reserved beginning is another one with a '_' in front. */
    if (schema_name_is_reserved((struct span){out, n})) {
        memmove(out + 1, out, n < ROWS_NAME_BYTES_MAX ? n : n - 1);
        out[0] = '_';
        plain = n = n < ROWS_NAME_BYTES_MAX ? n + 1 : n;
    }
    for (uint32_t attempt = 0; taken(context, (struct span){out, n}); attempt++) {
        n = plain < ROWS_NAME_BYTES_MAX - MARK_BYTES ? plain : ROWS_NAME_BYTES_MAX - MARK_BYTES;
        out[n++] = '_';
        text_hex(out + n, source_hash(source, attempt), HASH_DIGITS);
        n += HASH_DIGITS;
    }
    out[n] = '\0';
    ASSERT(n <= ROWS_NAME_BYTES_MAX);
    return n;
}
