/*
 * What the unit tests that prove the JSON parser share beside tjson.h: the seed, how much to do, and a
 * comparison that shows the document on which it fails. A header, because fuzz targets have no cmocka.
 */
#ifndef PENSTOCK_TEST_TJSON_PROOF_H
#define PENSTOCK_TEST_TJSON_PROOF_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/tjson.h"

/** The seed of the random tests of a program: PENSTOCK_SEED, or the time; printed once. */
static inline uint64_t tjson_seed(void)
{
    static uint64_t chosen;
    const char *fixed = getenv("PENSTOCK_SEED");

    if (chosen == 0) {
        chosen = fixed != NULL ? strtoull(fixed, NULL, 10) : (uint64_t)time(NULL);
        print_message("PENSTOCK_SEED=%" PRIu64 "\n", chosen);
    }
    return chosen;
}

/** Whether there is time to do all of it, not the part that fits into seconds. */
static inline bool tjson_whole(void)
{
    return getenv("PENSTOCK_LONG") != NULL;
}

/** The end of a failing document, as C would write it. */
static inline void tjson_show(const struct tjson *t, const char *buf, size_t len)
{
    const size_t from = len > 900 ? len - 900 : 0;

    print_error("%s\n%zu bytes%s: \"", t->what, len, from > 0 ? ", the end" : "");
    for (size_t i = from; i < len; i++) {
        const unsigned char c = (unsigned char)buf[i];

        print_error(c >= 0x20 && c < 0x7F && c != '"' && c != '\\' ? "%c" : "\\%03o", c);
    }
    print_error("\"\n");
}

/** tjson_check(), which has to find no difference. buf has its padding. @return the number of documents. */
static inline int tjson_agree(struct tjson *t, const char *buf, size_t len,
                              enum json_framing framing, unsigned flags)
{
    const int n = tjson_check(t, buf, len, framing, flags);

    if (n < 0)
        tjson_show(t, buf, len);
    assert_true(n >= 0);
    return n;
}

#endif
