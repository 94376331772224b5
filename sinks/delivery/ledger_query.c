/* COLD. The ledger's reading side, through handles of any thread. */
#include "sinks/delivery/ledger.h"

#include <stdio.h>
#include <string.h>

#include "sinks/delivery/ledger_internal.h"

/* Both sinks in one answer; a plan counts as parked for BigQuery when it or its load is. */
static_assert(PLAN_INSERT == 8 && ENCODING_INSERT == 3, "as in the statements");
static const char totals_sql[] =
    "SELECT type, kind, 'gcs' AS sink, sum(events),"
    " sum(CASE WHEN state IN ('stored', 'loaded', 'deleted') THEN events ELSE 0 END),"
    " sum(CASE WHEN state = 'parked' THEN events ELSE 0 END),"
    " sum(state IN ('stored', 'loaded', 'deleted')), max(confirmed_us), 0,"
    " sum(CASE WHEN flags & 8 THEN events ELSE 0 END)," /* PLAN_INSERT */
    " sum(removed)"
    " FROM objects WHERE encoding = 0 GROUP BY type, kind"
    " UNION ALL"
    " SELECT o.type, o.kind, 'bigquery', sum(o.events),"
    " sum(CASE WHEN o.state = 'inserted' THEN coalesce(i.rows, 0)"
    "  WHEN o.state IN ('loaded', 'deleted') THEN o.events - coalesce(j.rows, 0) ELSE 0 END),"
    " sum(CASE WHEN o.state = 'parked' OR (o.state = 'stored' AND (l.state = 'parked' OR EXISTS"
    "  (SELECT 1 FROM loads p WHERE p.piece_of = o.plan_id AND p.piece_of > 0 AND p.state = "
    "'parked'))) "
    "THEN o.events ELSE 0 END),"
    " count(DISTINCT CASE WHEN o.state IN ('loaded', 'deleted') THEN o.load_id END)"
    "  + sum(o.state = 'inserted'), max(o.loaded_us), coalesce(sum(i.refused), 0) + "
    "coalesce(sum(j.rows), 0),"
    " sum(CASE WHEN o.encoding = 3 THEN o.events ELSE 0 END), 0"
    " FROM objects o LEFT JOIN loads l ON l.load_id = o.load_id"
    " LEFT JOIN inserts i ON i.plan_id = o.plan_id"
    " LEFT JOIN (SELECT plan_id, sum(rows) AS rows FROM rejects GROUP BY plan_id) j"
    "  ON j.plan_id = o.plan_id"
    " WHERE o.to_load = 1 OR o.encoding = 3 GROUP BY o.type, o.kind"
    " ORDER BY 1, 2, 3 DESC";

static void read_total(sqlite3_stmt *st, struct ledger_total *t)
{
    const void *type = sqlite3_column_text(st, 0);
    int len = sqlite3_column_bytes(st, 0);

    *t = (struct ledger_total){0};
    if (len > TYPE_NAME_BYTES_MAX)
        len = TYPE_NAME_BYTES_MAX;
    if (len > 0)
        memcpy(t->type, type, (size_t)len);
    t->kind = (uint8_t)sqlite3_column_int(st, 1);
    t->sink = strcmp((const char *)sqlite3_column_text(st, 2), "gcs") == 0 ? "gcs" : "bigquery";
    t->planned = (uint64_t)sqlite3_column_int64(st, 3);
    t->delivered = (uint64_t)sqlite3_column_int64(st, 4);
    t->parked = (uint64_t)sqlite3_column_int64(st, 5);
    t->objects = (uint64_t)sqlite3_column_int64(st, 6);
    t->newest_us = sqlite3_column_int64(st, 7);
    t->refused = (uint64_t)sqlite3_column_int64(st, 8);
    t->inserts = (uint64_t)sqlite3_column_int64(st, 9);
    t->removed = (uint64_t)sqlite3_column_int64(st, 10);
}

int ledger_each_total(struct ledger *l, void (*visit)(void *ctx, const struct ledger_total *t),
                      void *ctx)
{
    sqlite3_stmt *st = NULL;
    int rc;

    ASSERT(l != NULL && visit != NULL);
    rc = sqlite3_prepare_v2(l->db, totals_sql, -1, &st, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        struct ledger_total t;

        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW)
            break;
        read_total(st, &t);
        visit(ctx, &t);
    }
    sqlite3_finalize(st);
    return ledger_errno(rc);
}

int ledger_each_object(struct ledger *l, bool (*visit)(void *ctx, const struct ledger_object *o),
                       void *ctx)
{
    /* Of an inserted plan: the object of its refused rows. A second one has another name: see
     * plan_dead_name(). */
    static const char sql[] =
        "SELECT plan_id, name, events, bytes, crc32c, flags, generation FROM objects"
        " WHERE state IN ('stored', 'loaded')"
        " UNION ALL"
        " SELECT o.plan_id, CASE WHEN i.objects > 1 THEN"
        "  substr(o.name, 1, length(o.name) - 5) || '_r' || i.objects || '.json' ELSE o.name END,"
        "  i.refused, i.dead_bytes, i.dead_crc32c, 0, 0"
        " FROM inserts i JOIN objects o ON o.plan_id = i.plan_id WHERE i.objects > 0"
        " UNION ALL SELECT load_id, name, rows, bytes, crc32c, 0, 0 FROM rejects ORDER BY 2";
    sqlite3_stmt *st = NULL;
    bool more = true;
    int rc;

    ASSERT(l != NULL && visit != NULL);
    rc = sqlite3_prepare_v2(l->db, sql, -1, &st, NULL);
    while (more && (rc == SQLITE_OK || rc == SQLITE_ROW)) {
        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW)
            break;
        more = visit(ctx, &(struct ledger_object){
                              .plan_id = (uint64_t)sqlite3_column_int64(st, 0),
                              .name = (const char *)sqlite3_column_text(st, 1),
                              .events = (uint64_t)sqlite3_column_int64(st, 2),
                              .bytes = (uint64_t)sqlite3_column_int64(st, 3),
                              .crc32c = (uint32_t)sqlite3_column_int64(st, 4),
                              .gzip = (sqlite3_column_int(st, 5) & LEDGER_FLAG_GZIP) != 0,
                              .generation = sqlite3_column_int64(st, 6),
                          });
    }
    sqlite3_finalize(st);
    return ledger_errno(rc);
}

int ledger_each_table(struct ledger *l, void (*visit)(void *ctx, const struct ledger_table *t),
                      void *ctx)
{
    static const char sql[] =
        "SELECT table_name, sum(loaded), sum(loads), sum(inserted), max(by_insert) FROM ("
        " SELECT table_name, rows_loaded AS loaded, state = 'loaded' AS loads, 0 AS inserted,"
        "  0 AS by_insert FROM loads"
        " UNION ALL SELECT table_name, 0, 0, rows, 1 FROM inserts)"
        " GROUP BY table_name ORDER BY table_name";
    sqlite3_stmt *st = NULL;
    int rc;

    ASSERT(l != NULL && visit != NULL);
    rc = sqlite3_prepare_v2(l->db, sql, -1, &st, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW)
            break;
        visit(ctx, &(struct ledger_table){
                       .table = (const char *)sqlite3_column_text(st, 0),
                       .rows = (uint64_t)sqlite3_column_int64(st, 1),
                       .loads = (uint64_t)sqlite3_column_int64(st, 2),
                       .inserted = (uint64_t)sqlite3_column_int64(st, 3),
                       .by_insert = sqlite3_column_int(st, 4) != 0,
                   });
    }
    sqlite3_finalize(st);
    return ledger_errno(rc);
}
