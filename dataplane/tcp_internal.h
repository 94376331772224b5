/* TCP streams of a worker, for tcp.c and struct worker only. */
#ifndef PENSTOCK_TCP_INTERNAL_H
#define PENSTOCK_TCP_INTERNAL_H

#include "dataplane/input/lines.h"
#include "dataplane/lease.h"
#include "dataplane/peer.h"
#include "dataplane/receive.h"

#define STREAM_OWN_BYTES 4096 /* of each stream, for a line that straddles two receives */
#define STREAM_MARKS     8
#define STREAM_ACK_BYTES 24 /* a decimal number and a line break */

/*
 *   READING ── no room, or no memory for a long line ──> WAITING ── there is ──> READING
 *      └─ the client's end, a timeout, draining, a refused type ──> ENDING ── all acknowledged
 *                                                   ──> LINGERING ──> CLOSED
 *   A reset, in any state, closes.
 */
enum stream_state {
    STREAM_FREE,
    STREAM_READING,
    STREAM_WAITING,   /* holds what it has read; nothing is received */
    STREAM_ENDING,    /* reads no more; acknowledgements are still due */
    STREAM_LINGERING, /* input is counted and dropped, or closing would reset what was sent away */
    STREAM_CLOSED
};

/** Lines up to a count are durable when a block is. */
struct stream_mark {
    uint64_t seq, lines;
};

/** One TCP connection. */
struct stream {
    int fd;
    uint8_t state; /* enum stream_state */
    bool acked;
    bool receive_busy, send_busy; /* an operation is in the kernel: the slot cannot be freed */
    bool wants_buffer;            /* in the queue for a receive buffer */
    bool wants_lease;             /* what it is WAITING for; otherwise room in blocks or journal */
    bool type_refused; /* acked, and of its next line's type nothing is taken now: it ends */
    bool ended;        /* the client has sent its last byte */
    bool holds_buffer;
    bool counted;    /* the line under way is among the dropped ones already */
    uint8_t cut_for; /* enum reason: why the worker ended it; what comes after is dropped for it */
    uint32_t step;   /* bytes that are tried at once, a line at least: less behind a refused one */
    uint32_t buffer; /* the receive buffer that it holds */
    struct lines lines;
    struct lease lease; /* of a line longer than STREAM_OWN_BYTES */
    uint64_t n_lines;   /* taken, ever */
    uint32_t n_events;  /* of these, not empty: the position of dead letters */
    uint64_t last_seq;  /* of the last block that holds any of them */
    struct stream_mark mark[STREAM_MARKS];
    uint32_t n_marks;
    uint64_t confirmed, sent; /* lines: durable; told to the client */
    bool marked;              /* in the list of streams with marks */
    struct stream *next;      /* waiting, for a buffer, or free */
    struct stream *next_marked;
    int64_t idle_us;     /* last time that bytes came */
    int64_t line_us;     /* when the unfinished line began, or its clock was stopped last */
    int64_t deadline_us; /* while lingering, or of the last acknowledgement */
    int64_t hold_us;     /* not closed before */
    uint32_t out_len, out_sent;
    char out[STREAM_ACK_BYTES];
    char source[PEER_TEXT_BYTES];
};

/** All streams of a worker. */
struct streams {
    struct stream *stream;
    char *own; /* STREAM_OWN_BYTES each */
    uint64_t own_bytes;
    struct receive_pool receive;
    uint32_t line_max;
    struct stream *free;
    uint32_t n_open, n_waiting;
    struct stream *stalled, *stalled_last;   /* WAITING, in order */
    struct stream *unserved, *unserved_last; /* found no receive buffer */
    struct stream *marked;
    uint64_t confirmed_seq; /* of the last look at marked streams */
};

#endif
