/*
 * COLD. Fuzzes the file of http.tokens.
 * Goal: no over-read, a reason for every refusal, and what is taken is found by its digest and only by
 * that. Method: the input is a file; of each token taken, its digest is looked up whole and changed, and its
 * globs are matched against other parts of the input.
 */
#include "dataplane/input/tokens.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[400] = "", *text = malloc(size + 1);
    struct tokens *t = NULL;

    ASSERT(text != NULL);
    memcpy(text + 1, data, size); /* nothing readable behind it */
    if (tokens_parse(text + 1, size, &t, error, sizeof(error)) != 0) {
        ASSERT(error[0] != '\0' && t == NULL);
        free(text);
        return 0;
    }
    for (uint32_t i = 0; i < tokens_count(t); i++) {
        const struct token *one = tokens_at(t, i);
        uint8_t digest[TOKEN_DIGEST_BYTES];

        ASSERT(token_name_valid(span_of(one->name)) && tokens_find(t, one->digest) == one);
        memcpy(digest, one->digest, sizeof(digest));
        digest[size % sizeof(digest)] ^= 0x10;
        ASSERT(tokens_find(t, digest) != one);
        (void)token_allows(one, (struct span){text + 1, size < 128 ? size : 128});
        for (uint32_t g = 0; g < one->n_globs; g++)
            ASSERT(one->glob[g].len > 0 &&
                   (memchr(one->glob[g].ptr, '?', one->glob[g].len) != NULL ||
                    token_allows(one, one->glob[g])));
    }
    (void)token_of_field((struct span){text + 1, size});
    tokens_destroy(t);
    free(text);
    return 0;
}
