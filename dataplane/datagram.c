/*
 * HOT. From a datagram in memory to lines in commit blocks, whatever brought it here. Nobody hears
 * an answer: what HTTP would refuse is kept as a dead letter, or dropped and counted with its reason.
 */
#include <string.h>

#include "dataplane/worker_internal.h"

void datagram_drop(const struct datagram *d, enum reason reason)
{
    const char *p = d->buf, *end = d->buf + d->len;
    uint64_t lines = 0;

    ASSERT(reason > REASON_DEAD_END && reason < REASON_END);
    /* Lines that are not empty: what was lost, as well as can be said. */
    while (p < end && reason != REASON_EMPTY_BODY) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline != NULL ? newline : end;

        lines += stop > p ? 1 : 0;
        p = stop + 1;
    }
    stat_add(&d->dropped[reason], 1);
    stat_add(d->dropped_lines, lines);
}

/* A malformed array, of which nothing was taken: kept as it is. */
static COLD_PATH void keep_broken(struct worker *w, const struct ingest_body *body)
{
    ASSERT(w->result.refused == REASON_BAD_ARRAY);
    ingest_dead(w->ingest, body, REASON_BAD_JSON, "a malformed JSON array", &w->result);
}

bool datagram_take(struct worker *w, const struct datagram *d)
{
    struct ingest_body body = {
        .buf = d->buf, .len = d->len, .input = d->input, .peer = d->from, .now_us = w->wall_us};

    if (worker_draining(w)) {
        datagram_drop(d, REASON_DRAINING);
        return true;
    }
    ingest_body(w->ingest, &body, &w->result);
    if (unlikely(w->result.refused == REASON_BAD_ARRAY))
        keep_broken(w, &body);
    if (unlikely(w->result.refused == REASON_BLOCKS_BUSY))
        return false;
    if (unlikely(w->result.refused != REASON_NONE))
        datagram_drop(d, w->result.refused);
    ASSERT_HOT(w->result.refused != REASON_NONE || w->result.last_seq > 0 ||
               w->result.accepted == 0);
    return true;
}
