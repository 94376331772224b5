/* COLD. Segment files: their names, and their headers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/crc32c.h"
#include "dataplane/journal/journal_internal.h"

void segment_path(const struct journal *j, uint32_t number, char *out, size_t out_len)
{
    int n = snprintf(out, out_len, "%s/%08x.seg", j->dir, number);

    ASSERT(n > 0 && (size_t)n < out_len);
}

void segment_fill_header(const struct journal *j, uint32_t number, lsn_t prev_end,
                         uint64_t events_before, void *buf)
{
    struct segment_header h = {
        .magic = SEGMENT_MAGIC,
        .version = SEGMENT_VERSION,
        .segment = number,
        .prev_end = prev_end,
        .events_before = events_before,
        .created_us = clock_wall_us(),
        .bytes = j->config.segment_bytes,
    };

    /* A header vouches for where its predecessor ends: in front of it, behind a whole block. */
    ASSERT(number > lsn_segment(prev_end) && lsn_offset(prev_end) % STORAGE_ALIGN == 0);

    memcpy(h.uuid, j->uuid.byte, sizeof(h.uuid));
    h.crc32c = crc32c(0, &h, sizeof(h));
    memset(buf, 0, JOURNAL_HEADER_BYTES);
    memcpy(buf, &h, sizeof(h));
}

static bool header_valid(const struct journal *j, uint32_t number, const struct segment_header *h)
{
    struct segment_header copy = *h;

    copy.crc32c = 0;
    return h->magic == SEGMENT_MAGIC && h->version == SEGMENT_VERSION && h->segment == number &&
           memcmp(h->uuid, j->uuid.byte, sizeof(h->uuid)) == 0 &&
           crc32c(0, &copy, sizeof(copy)) == h->crc32c;
}

static int header_read(const struct journal *j, uint32_t number, int flags,
                       struct segment_header *out)
{
    alignas(STORAGE_ALIGN) char buf[JOURNAL_HEADER_BYTES];
    const struct storage *s = j->storage;
    char path[JOURNAL_PATH_BYTES + 16];
    ssize_t n;
    int fd;

    segment_path(j, number, path, sizeof(path));
    fd = s->ops->open(s->ctx, path, O_RDONLY | flags, 0);
    if (fd < 0)
        return fd;
    n = s->ops->pread(s->ctx, fd, buf, sizeof(buf), 0);
    s->ops->close(s->ctx, fd);
    if (n < 0)
        return (int)n;
    memcpy(out, buf, sizeof(*out));
    return n == sizeof(buf) && header_valid(j, number, out) ? 0 : -EBADMSG;
}

/* Events hang on a header: one that seems to be none is read again, past the page cache. */
int segment_read_header(const struct journal *j, uint32_t number, struct segment_header *out)
{
    int rc = header_read(j, number, 0, out);

    ASSERT(number != 0);
    return rc == -EBADMSG ? header_read(j, number, O_DIRECT, out) : rc;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static int list_add(struct segment_list *l, uint32_t number)
{
    ASSERT(l->n <= l->room && number != 0);
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 64;
        uint32_t *p = realloc(l->number, room * sizeof(*p));

        if (p == NULL)
            return -ENOMEM;
        l->number = p;
        l->room = room;
    }
    l->number[l->n++] = number;
    return 0;
}

/* Takes a name of the directory if it is one that segment_path() makes, to the letter: another spelling
 * of a number ("0000000A.seg") would be a second file of it, and one of the two would be free. */
static int list_visit(void *arg, const char *name)
{
    unsigned number;
    char same[16];

    if (sscanf(name, "%8x.seg", &number) != 1 || number == 0 || number == UINT32_MAX)
        return 0;
    snprintf(same, sizeof(same), "%08x.seg", number);
    return strcmp(name, same) == 0 ? list_add(arg, number) : 0;
}

int segment_list(const struct journal *j, struct segment_list *l)
{
    int rc = j->storage->ops->list(j->storage->ctx, j->dir, list_visit, l);

    ASSERT(l->n <= l->room);
    if (l->n > 1)
        qsort(l->number, l->n, sizeof(*l->number), compare_numbers);
    return rc;
}
