/* COLD. Reading a journal back, segment by segment. */
#include "dataplane/journal/reader.h"

#include <errno.h>
#include <fcntl.h>

#include "dataplane/journal/journal_internal.h"

void reader_init(struct reader *r, const struct journal *j)
{
    ASSERT(j != NULL);
    *r = (struct reader){._journal = j, ._segment = 0, ._fd = -1};
}

void reader_fini(struct reader *r)
{
    const struct storage *s = r->_journal->storage;

    if (r->_segment != 0)
        s->ops->close(s->ctx, r->_fd);
    r->_segment = 0;
    r->_fd = -1;
}

int reader_open(struct reader *r, lsn_t lsn)
{
    const struct storage *s = r->_journal->storage;
    char path[JOURNAL_PATH_BYTES + 16];
    int fd;

    ASSERT(lsn_segment(lsn) != 0);
    if (r->_segment == lsn_segment(lsn))
        return r->_fd;
    segment_path(r->_journal, lsn_segment(lsn), path, sizeof(path));
    fd = s->ops->open(s->ctx, path, O_RDONLY | O_DIRECT, 0);
    if (fd < 0)
        return fd;
    reader_fini(r);
    r->_segment = lsn_segment(lsn);
    r->_fd = fd;
    return fd;
}

int reader_next_segment(struct reader *r, lsn_t lsn, lsn_t durable, lsn_t *next)
{
    for (uint32_t number = lsn_segment(lsn) + 1; number <= lsn_segment(durable); number++) {
        struct segment_header h;
        int rc = segment_read_header(r->_journal, number, &h);

        if (rc == 0 && h.prev_end == lsn) {
            *next = lsn_make(number, JOURNAL_HEADER_BYTES);
            return 0;
        }
        if (rc < 0 && rc != -EBADMSG && rc != -ENOENT)
            return rc;
    }
    return -ENOENT;
}
