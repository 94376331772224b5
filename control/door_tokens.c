/* COLD. The file of http.tokens, and the places of its names' counters; see door_tokens.h. */
#include "control/door_tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define REASON_BYTES   320
#define FILE_BYTES_MAX ((size_t)64 << 20)

struct door_names {
    uint32_t n;
    char name[TOKENS_MAX][TOKEN_NAME_BYTES_MAX + 1];
};

/* Reads a whole file. @return its bytes; -errno. */
static ssize_t read_all(int fd, char **out)
{
    struct stat s;
    size_t len = 0, room;
    char *text;

    ASSERT(fd >= 0);
    if (fstat(fd, &s) != 0)
        return -errno;
    if (!S_ISREG(s.st_mode))
        return -EINVAL;
    if ((size_t)s.st_size > FILE_BYTES_MAX)
        return -EFBIG;
    room = (size_t)s.st_size + 1;
    text = malloc(room);
    if (text == NULL)
        return -ENOMEM;
    while (len < room) {
        ssize_t n = read(fd, text + len, room - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            free(text);
            return -errno;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *out = text;
    return (ssize_t)len;
}

int door_tokens_load(const char *file, struct tokens **out, char *error, size_t error_len)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC), rc;
    char *text = NULL, why[REASON_BYTES];
    ssize_t n = fd < 0 ? -errno : read_all(fd, &text);

    if (fd >= 0)
        close(fd);
    if (n < 0) {
        snprintf(error, error_len, "http.tokens: cannot read %s: %s", file, strerror((int)-n));
        return (int)n;
    }
    ASSERT(text != NULL);
    rc = tokens_parse(text, (size_t)n, out, why, sizeof(why));
    free(text);
    if (rc != 0)
        snprintf(error, error_len, "http.tokens: cannot use %s: %s", file, why);
    return rc;
}

struct door_names *door_names_create(void)
{
    return calloc(1, sizeof(struct door_names));
}

void door_names_destroy(struct door_names *n)
{
    free(n);
}

uint32_t door_names_count(const struct door_names *n)
{
    ASSERT(n->n <= TOKENS_MAX);
    return n->n;
}

const char *door_names_at(const struct door_names *n, uint32_t slot)
{
    ASSERT(slot < n->n);
    return n->name[slot];
}

/* By name; of equal ones the first in the file. */
static int compare(const void *a, const void *b)
{
    const struct token *x = *(const struct token *const *)a, *y = *(const struct token *const *)b;
    int c = strcmp(x->name, y->name);

    return c != 0 ? c : (x > y) - (x < y);
}

static bool same_limits(const struct token *a, const struct token *b)
{
    return a->events_per_s == b->events_per_s && a->bytes_per_s == b->bytes_per_s;
}

/* Index of names by name: slots, sorted. */
static int compare_names(const void *a, const void *b, void *names)
{
    const struct door_names *n = names;

    return strcmp(n->name[*(const uint32_t *)a], n->name[*(const uint32_t *)b]);
}

/* The slot of a name among `known` sorted ones, or UINT32_MAX. */
static uint32_t slot_find(const struct door_names *n, const uint32_t *sorted, uint32_t known,
                          const char *name)
{
    uint32_t low = 0, high = known;

    ASSERT(known <= n->n);
    while (low < high) {
        uint32_t at = low + (high - low) / 2;
        int c = strcmp(n->name[sorted[at]], name);

        if (c == 0)
            return sorted[at];
        if (c < 0)
            low = at + 1;
        else
            high = at;
    }
    return UINT32_MAX;
}

/* Gives slots to lines in the order of their names. */
static int assign(struct door_names *n, struct tokens *t, const struct token **line,
                  const uint32_t *sorted, uint32_t known, char *error, size_t error_len)
{
    uint32_t count = tokens_count(t), slot = UINT32_MAX;

    for (uint32_t i = 0; i < count; i++) {
        bool again = i > 0 && strcmp(line[i]->name, line[i - 1]->name) == 0;

        if (again && !same_limits(line[i], line[i - 1])) {
            snprintf(error, error_len,
                     "http.tokens: two lines of %s differ in events= or bytes=", line[i]->name);
            return -EINVAL;
        }
        if (!again)
            slot = slot_find(n, sorted, known, line[i]->name);
        if (slot == UINT32_MAX) {
            if (n->n == TOKENS_MAX) {
                snprintf(error, error_len,
                         "http.tokens: more than %d different names since start: restart penstockd",
                         TOKENS_MAX);
                return -ENOSPC;
            }
            slot = n->n++;
            memcpy(n->name[slot], line[i]->name, sizeof(n->name[slot]));
        }
        tokens_set_slot(t, (uint32_t)(line[i] - tokens_at(t, 0)), slot);
    }
    ASSERT(n->n <= TOKENS_MAX);
    return 0;
}

int door_names_assign(struct door_names *n, struct tokens *t, char *error, size_t error_len)
{
    uint32_t count = tokens_count(t), known = n->n;
    const struct token **line = malloc((count + 1) * sizeof(*line));
    uint32_t *sorted = malloc((known + 1) * sizeof(*sorted));
    int rc = -ENOMEM;

    ASSERT(error_len > 0);
    snprintf(error, error_len, "out of memory");
    if (line != NULL && sorted != NULL) {
        for (uint32_t i = 0; i < count; i++)
            line[i] = tokens_at(t, i);
        for (uint32_t i = 0; i < known; i++)
            sorted[i] = i;
        qsort(line, count, sizeof(*line), compare);
        qsort_r(sorted, known, sizeof(*sorted), compare_names, n);
        rc = assign(n, t, line, sorted, known, error, error_len);
    }
    free(line);
    free(sorted);
    return rc;
}
