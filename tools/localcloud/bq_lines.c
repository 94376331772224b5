// Role: see bq_lines.h. zlib passes plain files through, so there is one path for both.
#include "tools/localcloud/bq_lines.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "tools/localcloud/util.h"

enum {
    BLOCK = 1 << 20,
    ROW_BYTES_MAX = 100 << 20,
};

struct lc_lines {
    gzFile file;
    char *buf;
    size_t cap;
    size_t start; // first byte not handed out
    size_t end;
    int64_t offset; // of start in the text
    bool eof;
};

struct lc_lines *lc_lines_open(int fd)
{
    gzFile file = gzdopen(fd, "rb");
    if (!file) {
        close(fd);
        return NULL;
    }
    gzbuffer(file, BLOCK);
    struct lc_lines *l = lc_alloc(sizeof *l);
    l->file = file;
    l->cap = BLOCK;
    l->buf = lc_alloc(l->cap);
    return l;
}

bool lc_lines_gzip(struct lc_lines *l)
{
    return !gzdirect(l->file);
}

// Reads more bytes behind l->end. @return false with a reason.
static bool fill(struct lc_lines *l, const char **error)
{
    if (l->start) {
        memmove(l->buf, l->buf + l->start, l->end - l->start);
        l->end -= l->start;
        l->start = 0;
    }
    if (l->end == l->cap) {
        if (l->cap >= ROW_BYTES_MAX) {
            *error = "Row size is larger than: 104857600.";
            return false;
        }
        l->cap *= 2;
        l->buf = lc_realloc(l->buf, l->cap);
    }
    size_t room = l->cap - l->end < BLOCK ? l->cap - l->end : BLOCK;
    int n = gzread(l->file, l->buf + l->end, (unsigned)room);
    int code = Z_OK;
    gzerror(l->file, &code);
    if (n < 0 || (n == 0 && code != Z_OK && code != Z_STREAM_END)) {
        *error = "Failed to decompress the file: bad or truncated gzip.";
        return false;
    }
    l->end += (size_t)n;
    l->eof = n == 0;
    return true;
}

int lc_lines_next(struct lc_lines *l, const char **line, size_t *n, int64_t *offset,
                  const char **error)
{
    size_t scanned = 0;
    for (;;) {
        char *from = l->buf + l->start;
        char *stop = memchr(from + scanned, '\n', l->end - l->start - scanned);
        if (!stop && !l->eof) {
            scanned = l->end - l->start;
            if (!fill(l, error))
                return -1;
            continue;
        }
        if (!stop && l->start == l->end)
            return 0;
        *line = from;
        *n = stop ? (size_t)(stop - from) : l->end - l->start;
        *offset = l->offset;
        size_t used = *n + (stop != NULL);
        l->start += used;
        l->offset += (int64_t)used;
        return 1;
    }
}

void lc_lines_close(struct lc_lines *l)
{
    if (!l)
        return;
    gzclose(l->file);
    free(l->buf);
    free(l);
}
