/*
 * Any bytes as requests of `penstock ingest`: a line, the body of an ingest-open, a batch. What is
 * taken must lie inside of the bytes, with rising seq.
 */
#include <stdlib.h>
#include <string.h>

#include "control/cli_ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_batch(const char *body, size_t len, const struct ingest_open *open)
{
    static struct inject_doc doc[64];
    int n = ingest_parse_batch(body, len, open, doc, ARRAY_LEN(doc));
    uint64_t seq = 0;

    ASSERT(n < 0 || (n > 0 && n <= (int)ARRAY_LEN(doc)));
    for (int i = 0; i < n; i++) {
        ASSERT(doc[i].raw.ptr >= body && doc[i].raw.ptr + doc[i].raw.len <= body + len);
        ASSERT(doc[i].seq > seq && doc[i].whole >= doc[i].raw.len);
        seq = doc[i].seq;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct textbuf error = {0};
    struct ingest_open open;
    uint64_t bytes;
    char *copy = malloc(size + 1); /* its end is guarded */

    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    if (ingest_parse_line(copy, size, &bytes) != INGEST_REQUEST_NONE)
        ASSERT(size > 12);
    if (ingest_parse_open(copy, size, &open, &error) == 0)
        ASSERT(error.len == 0 && open.type_len <= sizeof(open.type) &&
               strlen(open.source) < sizeof(open.source));
    else
        ASSERT(error.len > 0);
    textbuf_fini(&error);
    check_batch(copy, size, &open);
    free(copy);
    return 0;
}
