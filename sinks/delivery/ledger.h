/*
 * The ledger: what was planned, stored and loaded, per object and per type, minute and sink, in one
 * SQLite file that anyone may read with SQL. Written by the delivery log's thread from durable
 * records, exactly once each (the sequence number of the last applied record commits with them);
 * never needed for correctness of delivery.
 */
#ifndef PENSTOCK_DELIVERY_LEDGER_H
#define PENSTOCK_DELIVERY_LEDGER_H

#include "sinks/delivery/dlog.h"

struct ledger;

/** Opens or creates the database. Thread: init. @return 0 or -errno (error says why). */
int ledger_open(const char *path, struct ledger **out, char *error, size_t error_len) WARN_UNUSED;

/** Closes it. NULL is allowed. Thread: whoever opened it. */
void ledger_close(struct ledger *l);

/** Totals of one type and sink. */
struct ledger_total {
    char type[TYPE_NAME_BYTES_MAX + 1];
    uint8_t kind;       /* enum plan_kind */
    const char *sink;   /* "gcs" or "bigquery" */
    uint64_t planned;   /* events in plans for this sink */
    uint64_t delivered; /* events confirmed there */
    uint64_t parked;    /* events in parked plans or loads */
    uint64_t refused;   /* rows that BigQuery refused: dead letters */
    uint64_t inserts;   /* of planned: events that go to BigQuery by insertAll */
    uint64_t removed;   /* "gcs": duplicates that were left out; not in planned */
    uint64_t objects;   /* confirmed objects, or loads and inserted plans */
    int64_t newest_us;  /* latest confirmation, wall clock */
};

/** Visits totals, by type and sink. Thread: any, through its own handle. */
int ledger_each_total(struct ledger *l, void (*visit)(void *ctx, const struct ledger_total *t),
                      void *ctx) WARN_UNUSED;

/** One confirmed object that should be in the bucket. */
struct ledger_object {
    uint64_t plan_id;
    const char *name;
    uint64_t events;
    uint64_t bytes;  /* of the plain lines */
    uint32_t crc32c; /* likewise */
    bool gzip;
    int64_t generation; /* 0: not known */
};

/**
 * Visits the objects that should now be in the bucket (confirmed, and not deleted staging ones), by
 * name in byte order. The visitor returns false to stop. Thread: any, with a ledger of its own.
 */
int ledger_each_object(struct ledger *l, bool (*visit)(void *ctx, const struct ledger_object *o),
                       void *ctx) WARN_UNUSED;

/** One table's sum. */
struct ledger_table {
    const char *table;
    uint64_t rows; /* loaded, as BigQuery answered */
    uint64_t loads;
    uint64_t inserted; /* rows that insertAll took */
    bool by_insert;    /* a plan of it went by insertAll: duplicates are possible */
};

/** Visits tables that loads or inserts went to. Thread: any, with a ledger of its own. */
int ledger_each_table(struct ledger *l, void (*visit)(void *ctx, const struct ledger_table *t),
                      void *ctx) WARN_UNUSED;

#endif
