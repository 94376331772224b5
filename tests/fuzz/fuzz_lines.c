/*
 * A TCP stream's bytes in pieces of any size: what comes out is the input, once, in whole lines, and
 * of lines that are too long the head (tlines.h). The first bytes choose sizes and pieces.
 */
#include "tests/unit/tlines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint32_t piece_next(void *ctx)
{
    uint32_t *x = ctx;

    *x = *x * 1664525 + 1013904223;
    return 1 + (*x >> 16) % (1u << ((*x >> 4) % 10));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint32_t random;
    struct tlines t = {.next = piece_next, .ctx = &random};

    if (len < 4)
        return 0;
    random = data[0] * 2654435761u;
    t.own_room = 1 + data[1];
    t.line_max = t.own_room + 4u * data[2];
    t.input = (const char *)data + 4;
    t.len = (uint32_t)(len - 4);
    tlines_run(&t);
    return 0;
}
