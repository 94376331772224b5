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

/* Takes a run of datagrams that join, together. @return a bit for each that is to be taken alone. */
static uint64_t run_take(struct worker *w, const struct datagram *d, uint32_t n)
{
    struct json_buffer buffer[JSON_BUFFERS_MAX];
    const struct sockaddr_storage *peer[JSON_BUFFERS_MAX];
    struct ingest_burst burst = {
        .buffer = buffer, .peer = peer, .input = d->input, .now_us = w->wall_us, .n = n};

    ASSERT_HOT(n > 0 && n <= JSON_BUFFERS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        buffer[i] = (struct json_buffer){.ptr = d[i].buf, .len = d[i].len};
        peer[i] = d[i].from;
    }
    return ingest_burst(w->ingest, &burst, &w->result);
}

uint64_t datagrams_take(struct worker *w, const struct datagram *d, uint32_t n)
{
    ASSERT_HOT(n > 0 && n <= JSON_BUFFERS_MAX);
    for (uint32_t i = 0; i < n;) {
        uint32_t run = 0;
        uint64_t alone = 1;

        while (i + run < n && ingest_joins(d[i + run].buf, d[i + run].len))
            run++;
        if (run > 1 && !worker_draining(w))
            alone = run_take(w, d + i, run);
        else
            run = 1;
        for (; unlikely(alone != 0); alone &= alone - 1) {
            if (datagram_take(w, &d[i + (uint32_t)__builtin_ctzll(alone)]))
                continue;
            /* One that finds no room speaks for all behind it. */
            return (alone << i | ~UINT64_C(0) << (i + run - 1) << 1) & ~UINT64_C(0) >> (64 - n);
        }
        i += run;
    }
    return 0;
}
