/* HOT. See scan.h. */
#include "sinks/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "dataplane/base/stats.h"

#define RETRY_US 1000000

int scan_init(struct scan *s, struct loop *l, const struct journal *j, _Atomic uint64_t *errors)
{
    ASSERT(l != NULL && errors != NULL);
    *s = (struct scan){._loop = l, ._journal = j, ._errors = errors};
    reader_init(&s->_reader, j);
    s->_buf = aligned_alloc(STORAGE_ALIGN, SCAN_BYTES);
    s->_buf_bytes = SCAN_BYTES;
    return s->_buf == NULL ? -ENOMEM : 0;
}

void scan_fini(struct scan *s)
{
    if (s->_journal == NULL)
        return; /* another feed could not be set up: the start is refused */
    ASSERT(s->_buf_len <= s->_buf_bytes);
    reader_fini(&s->_reader);
    free(s->_buf);
    s->_buf = NULL;
}

static void scan_failed(struct scan *s, lsn_t at, int rc, const char *what)
{
    stat_add(s->_errors, 1);
    s->_retry_us = clock_monotonic_us() + RETRY_US;
    s->_buf_len = 0;
    log_error("sink", "%s at %08x:%08x: %s%s%s; trying again", journal_dir(s->_journal),
              lsn_segment(at), lsn_offset(at), what, rc < 0 ? ": " : "",
              rc < 0 ? strerror(-rc) : "");
}

static void read_done(struct loop_read *r, int result)
{
    struct scan *s = container_of(r, struct scan, _read);

    ASSERT(s->_reading && result <= (int)s->_buf_bytes);

    s->_reading = false;
    if (result > 0)
        s->_buf_len = (uint32_t)result;
    else
        scan_failed(s, s->_buf_lsn, result,
                    result < 0 ? "cannot be read" : "the segment file is too short");
}

/* Reads from cursor up to end, both in one segment. */
static void read_start(struct scan *s, lsn_t cursor, lsn_t end)
{
    uint64_t len = end - cursor;
    int rc = reader_open(&s->_reader, cursor);

    ASSERT(lsn_segment(cursor) == lsn_segment(end) && cursor < end);
    ASSERT(!s->_reading); /* nothing else writes into the buffer */
    if (rc >= 0) {
        s->_buf_lsn = cursor;
        s->_buf_len = 0;
        s->_read = (struct loop_read){
            .done = read_done,
            .fd = rc,
            .buf = s->_buf,
            .len = len < s->_buf_bytes ? (uint32_t)len : s->_buf_bytes,
            .offset = lsn_offset(cursor),
        };
        rc = loop_read_start(s->_loop, &s->_read);
    }
    if (rc < 0)
        scan_failed(s, cursor, rc, "cannot be read");
    else
        s->_reading = true;
}

/* Where the cursor's segment ends for readers; moves the cursor over segments that it has finished.
 */
static int segment_limit(struct scan *s, lsn_t *cursor, lsn_t durable, lsn_t *end)
{
    while (lsn_segment(*cursor) < lsn_segment(durable)) {
        lsn_t next;
        int rc = reader_segment_end(&s->_reader, lsn_segment(*cursor), durable, end, &next);

        if (rc < 0)
            return rc;
        if (*cursor < *end)
            return 0;
        if (*cursor > *end)
            return -EUCLEAN;
        *cursor = next;
    }
    *end = durable;
    return 0;
}

/* Makes room for the block that the buffer holds the beginning of, if it ends within the left
 * bytes. */
static bool grow(struct scan *s, uint64_t left)
{
    uint32_t need = block_len_hint(s->_buf, s->_buf_len);
    char *larger;

    ASSERT(!s->_reading && s->_buf_len <= s->_buf_bytes);
    if (need <= s->_buf_bytes || need > left)
        return false;
    larger = aligned_alloc(STORAGE_ALIGN, need);
    if (larger == NULL)
        return false; /* tried again with the next read */
    free(s->_buf);
    s->_buf = larger;
    s->_buf_bytes = need;
    s->_buf_len = 0;
    return true;
}

bool scan_next(struct scan *s, lsn_t *cursor, lsn_t durable, int64_t now_us, struct block_view *out)
{
    lsn_t end;
    int rc;

    ASSERT(*cursor < durable);
    if (s->_reading || now_us < s->_retry_us)
        return false;
    rc = segment_limit(s, cursor, durable, &end);
    if (rc < 0) {
        scan_failed(s, *cursor, rc, "no segment follows");
        return false;
    }
    if (*cursor == end)
        return false; /* only the header of a new segment is durable */
    rc = -EAGAIN;
    if (*cursor >= s->_buf_lsn && *cursor < s->_buf_lsn + s->_buf_len) {
        uint32_t at = (uint32_t)(*cursor - s->_buf_lsn);

        rc = block_view(s->_buf + at, s->_buf_len - at, journal_uuid(s->_journal), *cursor, out);
        ASSERT(rc != 0 || *cursor + out->header->len <= end);
        if (rc == 0)
            return true;
        if (at == 0 && (rc != -EAGAIN || !grow(s, end - *cursor)))
            rc = -EBADMSG; /* a read holds the largest block, or all that is durable */
    }
    if (rc == -EAGAIN)
        read_start(s, *cursor, end);
    else
        scan_failed(s, *cursor, 0, "no valid block where one is durable");
    return false;
}
