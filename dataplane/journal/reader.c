/* COLD. Reading a journal back, segment by segment. */
#include "dataplane/journal/reader.h"

#include <errno.h>
#include <fcntl.h>

#include "dataplane/journal/journal_internal.h"

void reader_init(struct reader *r, const struct journal *j)
{
    ASSERT(j != NULL);
    *r = (struct reader){._journal = j, ._segment = 0, ._fd = -1, ._ended = UINT32_MAX};
}

void reader_fini(struct reader *r)
{
    const struct storage *s = r->_journal->storage;

    ASSERT((r->_segment != 0) == (r->_fd >= 0));
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

/*
 * Several headers may name the same predecessor: one whose write failed but reached the disk, and
 * the one that was written instead. The later one holds, and so does whichever a further segment
 * names as its own predecessor. A header that cannot be made out is skipped like one that was never
 * written; so what was found counts only if the next valid one names it, or if it is the journal's
 * last.
 */
static int segment_follow(const struct journal *j, uint32_t segment, lsn_t durable, lsn_t *end,
                          uint32_t *follower)
{
    uint32_t found = 0;
    bool named = false;

    ASSERT(segment < lsn_segment(durable));
    for (uint32_t number = segment + 1; number <= lsn_segment(durable) && !named; number++) {
        struct segment_header h;
        int rc = segment_read_header(j, number, &h);

        if (rc == -EBADMSG || rc == -ENOENT)
            continue;
        if (rc < 0)
            return rc;
        if (lsn_segment(h.prev_end) == segment) {
            found = number;
            *end = h.prev_end;
        } else {
            named = true;
            if (lsn_segment(h.prev_end) != found)
                return -EUCLEAN;
        }
    }
    *follower = found;
    if (found == 0)
        return -ENOENT;
    ASSERT(found > segment && lsn_segment(*end) == segment);
    return named || found == lsn_segment(durable) ? 0 : -EUCLEAN;
}

int reader_segment_end(struct reader *r, uint32_t segment, lsn_t durable, lsn_t *end, lsn_t *next)
{
    uint32_t follower;
    int rc;

    ASSERT(segment < lsn_segment(durable));
    if (r->_ended != segment) {
        rc = segment_follow(r->_journal, segment, durable, &r->_end, &follower);
        if (rc < 0)
            return rc;
        r->_ended = segment;
        r->_next = lsn_make(follower, JOURNAL_HEADER_BYTES);
    }
    ASSERT(lsn_segment(r->_end) == segment && r->_next > r->_end);
    *end = r->_end;
    *next = r->_next;
    return 0;
}
