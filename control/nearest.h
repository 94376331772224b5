/*
 * The known word nearest to a mistyped one, by edit distance. Header only: the CLI client uses it
 * too, and links nothing of the daemon's. Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_CONTROL_NEAREST_H
#define PENSTOCK_CONTROL_NEAREST_H

#include <stddef.h>
#include <string.h>

#define NEAREST_WORD_MAX 80 /* longer words are not compared */

/** Insertions, deletions, changes and swaps of neighbours from a to b; NEAREST_WORD_MAX when one is
 * too long. */
static inline unsigned nearest_distance(const char *a, const char *b)
{
    unsigned row[3][NEAREST_WORD_MAX + 1];
    size_t n = strlen(a), m = strlen(b);

    if (n >= NEAREST_WORD_MAX || m >= NEAREST_WORD_MAX)
        return NEAREST_WORD_MAX;
    for (size_t j = 0; j <= m; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);

            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

/** Whether a distance is small enough to suggest the word: a third of its length, at least 2. */
static inline int nearest_is_close(const char *word, unsigned distance)
{
    size_t limit = strlen(word) / 3;

    return distance <= (limit < 2 ? 2 : limit);
}

#endif
