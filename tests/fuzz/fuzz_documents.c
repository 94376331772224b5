/*
 * Any bytes as a file: plain, gzip, zstd, lines, arrays. Each document must be the bytes that lie
 * in front of its end, and the same file read again must give the same documents.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dataplane/base/crc32c.h"
#include "tools/penstock/documents.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads all of it. @return a checksum over what came out. */
static uint64_t read_all(const char *path, const uint8_t *data, bool plain, size_t bytes_max)
{
    struct documents_options options = {.bytes_max = bytes_max};
    struct documents *d;
    struct document doc;
    char error[256] = "";
    uint64_t sum = 0, end = 0, line = 0;
    int rc;

    if (documents_open(path, &options, &d, error, sizeof(error)) != 0)
        return 1;
    while ((rc = documents_next(d, &doc, error, sizeof(error))) == 1) {
        ASSERT(doc.len > 0 && doc.len <= bytes_max && doc.len <= doc.whole);
        ASSERT(doc.end >= end + doc.whole && doc.line >= line && doc.line > 0);
        end = doc.end;
        line = doc.line;
        sum = sum * 31 + crc32c((uint32_t)doc.element, doc.ptr, doc.len) + doc.whole;
        if (plain) {
            ASSERT(memcmp(doc.ptr, data + doc.end - doc.whole, doc.len) == 0);
            ASSERT(doc.crc32c == crc32c(0, data, doc.end));
        }
        if (end > (4u << 20)) /* a small file may expand to very much */
            break;
    }
    ASSERT(rc >= 0 || error[0] != '\0');
    documents_close(d);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", 0);
    bool plain =
        size < 4 || (memcmp(data, "\x1F\x8B", 2) != 0 && data[3] != 0xFD && data[3] != 0x18);
    char path[64];

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ASSERT(read_all(path, data, plain, 64) == read_all(path, data, plain, 64));
    (void)read_all(path, data, plain, 1u << 20);
    close(fd);
    return 0;
}
