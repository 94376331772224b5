/*
 * Any bytes as a compressed body: the result does not depend on the sizes of steps, and what comes to
 * its end is what the library gives in one go. The first byte chooses coding and step.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "dataplane/input/expand.h"

#define PLAIN_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Expands up to PLAIN_MAX bytes. */
static enum expand_result run(struct expander *e, enum http_coding coding, const char *in,
                              size_t len, size_t room, char *out, size_t *n)
{
    enum expand_result rc = EXPAND_MORE;

    *n = 0;
    expand_start(e, coding, in, len);
    while (rc == EXPAND_MORE && *n < PLAIN_MAX) {
        size_t step = room < PLAIN_MAX - *n ? room : PLAIN_MAX - *n, got;

        rc = expand_step(e, out + *n, step, &got);
        ASSERT(got <= step);
        *n += got;
    }
    return rc;
}

/* The first member or frame, by the library alone: a prefix of what we made of the whole. */
static void compare_first(enum http_coding coding, const char *in, size_t len, const char *out,
                          size_t n)
{
    static char first[PLAIN_MAX];
    size_t got = 0;

    if (coding == HTTP_CODING_GZIP) {
        z_stream z = {.next_in = (Bytef *)(uintptr_t)in,
                      .avail_in = (uInt)len,
                      .next_out = (Bytef *)first,
                      .avail_out = PLAIN_MAX};

        ASSERT(inflateInit2(&z, 31) == Z_OK);
        ASSERT(inflate(&z, Z_FINISH) == Z_STREAM_END);
        got = PLAIN_MAX - z.avail_out;
        inflateEnd(&z);
    } else {
        got = ZSTD_decompress(first, PLAIN_MAX, in, len);
        ASSERT(!ZSTD_isError(got) && got == n);
    }
    ASSERT(got <= n && memcmp(first, out, got) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct expander *e;
    static char one[PLAIN_MAX], other[PLAIN_MAX];
    enum http_coding coding;
    enum expand_result a, b;
    size_t n, m;
    char *copy;

    if (len < 1)
        return 0;
    if (e == NULL)
        ASSERT(expander_create(&e) == 0);
    coding = (data[0] & 1) != 0 ? HTTP_CODING_ZSTD : HTTP_CODING_GZIP;
    copy = malloc(len); /* of this size: reading past it is seen */
    memcpy(copy, data + 1, len - 1);
    a = run(e, coding, copy, len - 1, PLAIN_MAX, one, &n);
    b = run(e, coding, copy, len - 1, 1 + (data[0] >> 1), other, &m);
    ASSERT(a == b);
    if (a == EXPAND_DONE) {
        ASSERT(n == m && memcmp(one, other, n) == 0);
        if (n < PLAIN_MAX)
            compare_first(coding, copy, len - 1, one, n);
    }
    free(copy);
    return 0;
}
