/*
 * Sums over workers, sink threads and the ledger: what status, types, metrics and verify speak of.
 * Thread: control; reads counters that other threads write (relaxed).
 */
#ifndef PENSTOCK_CONTROL_TOTALS_H
#define PENSTOCK_CONTROL_TOTALS_H

#include "control/daemon.h"
#include "control/refuse.h"
#include "control/dlq.h"

/** What a sink is owed and has, ever, by the ledger. */
struct sink_total {
    uint64_t planned, delivered, parked;
    uint64_t removed; /* duplicates that were left out; not in planned */
    uint64_t inserts; /* of planned: events that go to BigQuery by insertAll */
    uint64_t refused; /* by BigQuery: dead letters; planned = delivered + refused + pending */
};

/** Planned, and neither delivered nor refused. */
static inline uint64_t sink_total_pending(const struct sink_total *t)
{
    uint64_t done = t->delivered + t->refused;

    return t->planned > done ? t->planned - done : 0;
}

/** One type. */
struct type_total {
    char name[TYPE_NAME_BYTES_MAX + 1];
    uint64_t events, dead_letters, late, sampled_out; /* since start */
    uint64_t refused;       /* the same: requests and datagrams, for want of room in the spool */
    uint64_t spooled_bytes; /* now */
    int64_t watermark_us;
    struct sink_total gcs, bigquery, dead;  /* ever */
    const struct sink_dedupe_stats *dedupe; /* NULL when its duplicates are not removed */
    bool configured;
};

/** All sums. */
struct totals {
    /* since start, by the workers */
    uint64_t requests, body_bytes, events, event_bytes, dead_letters, late, bad_time, normalized;
    uint64_t sampled_out;
    uint64_t durable, journal_bytes, journal_errors, connections, lane_skips;
    uint64_t tcp_connections, tcp_lines, tcp_waiting, tcp_dropped[REASON_END];
    uint64_t injections, injected; /* batches and documents of backfill and replay */
    uint64_t udp_datagrams, udp_kernel_drops, udp_dropped_lines, udp_dropped[REASON_END];
    uint64_t packet_received, packet_datagrams, packet_forwarded, packet_returned, packet_send_full;
    uint64_t packet_fragments, packet_copied, packet_busy_us, packet_waiting, packet_dropped_lines;
    uint64_t packet_dropped[REASON_END];
    uint64_t nic_missed; /* by the cards of DPDK's ports, or for want of a buffer */
    uint64_t reason[REASON_END];
    /* since start, by the sink threads */
    uint64_t confirmed, loaded, inserted, refused;
    uint64_t discarded; /* sinks.discard */
    bool discard;       /* nothing else becomes of what is durable */
    uint64_t plans_waiting, plans_parked, loads_waiting, loads_parked, groups_open, lag_us;
    uint64_t plans_held, loads_held; /* by a pause */
    struct spool_total spool;
    uint64_t inserts_waiting, inserts_parked;
    uint64_t load_lag_us, chunks_free, chunks_total;
    /* now, by the journals */
    uint64_t durable_ever, journal_used, journal_total;
    uint32_t journals_full, journals_failing;
    /* ever, by the ledger; dead letters are in gcs_dead, not in gcs */
    struct sink_total gcs, bigquery, gcs_dead;
    struct dlq_counts dlq; /* what became of dead letters, ever */
    bool ledger_read;
    uint32_t n_types;
    struct type_total *type; /* by name */
};

/**
 * Collects all sums.
 * Owner: caller, until totals_fini().
 * @param with_types types and the ledger too (reads the ledger's file).
 */
void totals_collect(struct daemon *d, bool with_types, struct totals *out);

/** The same with the types as workers know them, but without the ledger: quick enough for a look a
 * second. */
void totals_collect_live(struct daemon *d, struct totals *out);

/** Frees the types. */
void totals_fini(struct totals *t);

/** Acknowledged and not yet stored in the bucket; 0 when all is thrown away. */
uint64_t totals_pending_gcs(const struct totals *t);

/** Of these, or stored already, and not yet loaded into BigQuery; 0 when all is thrown away. */
uint64_t totals_pending_bigquery(const struct totals *t);

/** Dead letters in the bucket, ever, that are neither replayed nor dropped. */
uint64_t totals_dead_waiting(const struct totals *t);

/** Takes a sample for rates. Thread: main, about once a second. */
void totals_sample(struct daemon *d);

/** Rates per second over the last ten seconds. */
struct rates {
    double received, durable, bytes, confirmed, loaded;
};

/** The rates now. */
void totals_rates(struct daemon *d, struct rates *out);

#endif
