/*
 * CRC-32C over a file of events, as the journal and Cloud Storage use it, beside memcpy of the same bytes.
 *
 *     bench_crc FILE PASSES
 */
#include "dataplane/base/crc32c.h"
#include "perf/bench.h"

#define COPY_BYTES \
    (1u << 20) /* memcpy goes to one block's worth of memory, as the worker's one copy does */

int main(int argc, char **argv)
{
    static char block[COPY_BYTES];
    uint32_t first = 0;
    size_t len;
    char *buf;

    if (argc != 3) {
        fprintf(stderr, "usage: bench_crc FILE PASSES\n");
        return 2;
    }
    buf = bench_read(argv[1], 0, &len);
    for (long pass = -1; pass < strtol(argv[2], NULL, 10); pass++) { /* pass -1 warms up */
        uint64_t start = bench_now();
        uint32_t crc = crc32c(0, buf, len);

        if (pass >= 0)
            bench_pass("crc32c", len, start);
        first = pass < 0 ? crc : first;
        if (crc != first)
            return 1;
        start = bench_now();
        for (size_t at = 0; at < len; at += COPY_BYTES) {
            memcpy(block, buf + at, len - at < COPY_BYTES ? len - at : COPY_BYTES);
            __asm__ volatile("" ::"r"(block) : "memory");
        }
        if (pass >= 0)
            bench_pass("memcpy", len, start);
    }
    free(buf);
    return 0;
}
