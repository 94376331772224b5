/*
 * COLD. BigQuery's row counts against the ledger. Loads go on meanwhile, so a count is right when
 * it lies between the ledger's sums before and after, or exceeds them by a load whose outcome is
 * not recorded yet.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include <sqlite3.h>

#include "control/verify_internal.h"

/* One table's sums. */
struct table_sum {
    char name[TABLE_NAME_BYTES_MAX];
    bool by_insert; /* insertAll brought rows: at least once */
};

struct table_list {
    struct table_sum *item;
    size_t n, room;
};

static void add_table(void *ctx, const struct ledger_table *t)
{
    struct table_list *l = ctx;
    size_t len = strnlen(t->table, TABLE_NAME_BYTES_MAX - 1);

    ASSERT(l->n <= l->room);
    if (l->n == l->room) {
        size_t room = l->room > 0 ? 2 * l->room : 64;
        struct table_sum *item = realloc(l->item, room * sizeof(*item));

        if (item == NULL)
            return;
        l->item = item;
        l->room = room;
    }
    memcpy(l->item[l->n].name, t->table, len);
    l->item[l->n].name[len] = '\0';
    l->item[l->n++].by_insert = t->by_insert;
}

static int read_tables(struct verify *v, struct table_list *out)
{
    char error[VERIFY_ERROR_BYTES] = "";
    struct ledger *l = NULL;
    int rc;

    ASSERT(out->n == 0);
    dlog_ledger_sync(v->d->dlog);
    rc = ledger_open(dlog_ledger_path(v->d->dlog), &l, error, sizeof(error));
    if (rc == 0)
        rc = ledger_each_table(l, add_table, out);
    ledger_close(l);
    if (rc != 0)
        verify_error(v, "the ledger cannot be read", error[0] != '\0' ? error : strerror(-rc));
    return rc;
}

/* A number of the ledger about one table; 0 when it cannot be read. */
static uint64_t ask_ledger(struct verify *v, const char *sql, const char *table)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    uint64_t rows = 0;

    ASSERT(table != NULL);
    if (sqlite3_open_v2(dlog_ledger_path(v->d->dlog), &db, SQLITE_OPEN_READONLY, NULL) ==
        SQLITE_OK) {
        sqlite3_busy_timeout(db, 5000);
        if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
            sqlite3_bind_text(st, 1, table, -1, SQLITE_STATIC) == SQLITE_OK &&
            sqlite3_step(st) == SQLITE_ROW)
            rows = (uint64_t)sqlite3_column_int64(st, 0);
        sqlite3_finalize(st);
    }
    sqlite3_close(db);
    return rows;
}

/* Rows that load jobs may have brought already without the log knowing. */
static const char open_rows_sql[] =
    "SELECT coalesce(sum(rows_expected), 0) FROM loads WHERE table_name = ?1"
    " AND state IN ('pending', 'parked') AND attempts > 0";
static const char loaded_rows_sql[] =
    "SELECT (SELECT coalesce(sum(rows_loaded), 0) FROM loads WHERE table_name = ?1)"
    " + (SELECT coalesce(sum(rows), 0) FROM inserts WHERE table_name = ?1)";

/* Rows of plans for insertAll that may be in the table already. The ledger knows their types; the
 * configuration, the types' tables. */
static uint64_t open_inserts(struct verify *v, const char *table)
{
    static const char sql[] =
        "SELECT type, sum(events) FROM objects"
        " WHERE encoding = 3 AND state IN ('planned', 'parked') GROUP BY type";
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    char name[TABLE_NAME_BYTES_MAX];
    uint64_t rows = 0;

    ASSERT(table != NULL);
    if (sqlite3_open_v2(dlog_ledger_path(v->d->dlog), &db, SQLITE_OPEN_READONLY, NULL) ==
        SQLITE_OK) {
        sqlite3_busy_timeout(db, 5000);
        (void)sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    }
    while (st != NULL && sqlite3_step(st) == SQLITE_ROW) {
        struct span type = {(const char *)sqlite3_column_text(st, 0),
                            (size_t)sqlite3_column_bytes(st, 0)};

        type_table(&v->d->config->types, type, name, sizeof(name));
        if (strcmp(name, table) == 0)
            rows += (uint64_t)sqlite3_column_int64(st, 1);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    return rows;
}

/* What one comparison of one table found. */
struct table_check {
    uint64_t before, after, found, open;
    uint64_t with_id, ids; /* rows with a penstock_id, and different ones */
    bool there;
};

static bool count_row(void *ctx, const struct span *cell, uint32_t n_cells)
{
    struct table_check *c = ctx;
    int64_t n[3] = {0};

    for (uint32_t i = 0; i < n_cells && i < ARRAY_LEN(n); i++) {
        if (json_int64(cell[i], &n[i]) != 0 || n[i] < 0)
            n[i] = 0;
    }
    ASSERT(c->there);
    c->found = (uint64_t)n[0];
    c->with_id = n[1] < n[0] ? (uint64_t)n[1] : c->found;
    c->ids = n[2] < n[1] ? (uint64_t)n[2] : c->with_id;
    return false;
}

/* A row that is removed and one that is doubled leave the count as it was: ids are counted too. */
static int count_rows(struct verify *v, const struct bq_config *config, const char *table,
                      struct table_check *out, char *error, size_t error_len)
{
    const struct bq_query q = {
        .select = "COUNT(*) AS n, COUNT(penstock_id) AS w, COUNT(DISTINCT penstock_id) AS d",
        .table = table,
        .rest = "",
        .row = count_row,
        .ctx = out};
    int rc = bq_query_run(config, v->auth, &q, error, error_len);

    if (rc != -EINVAL)
        return rc;
    /* A table without that column, which somebody else made. */
    return bq_count_rows(config, v->auth, table, &out->found, error, error_len);
}

static int check_once(struct verify *v, const char *table, struct table_check *out)
{
    struct bq_label labels[BQ_LABELS_MAX];
    char error[VERIFY_ERROR_BYTES] = "";
    struct bq_config config;
    int rc;

    config_fill_bq(v->d->config, labels, &config);
    *out = (struct table_check){.there = true};
    dlog_ledger_sync(v->d->dlog);
    out->before = ask_ledger(v, loaded_rows_sql, table);
    rc = count_rows(v, &config, table, out, error, sizeof(error));
    if (rc == -ENOENT) {
        out->there = false;
        out->found = 0;
        rc = 0;
    }
    dlog_ledger_sync(v->d->dlog);
    out->open = ask_ledger(v, open_rows_sql, table) + open_inserts(v, table);
    out->after = ask_ledger(v, loaded_rows_sql, table);
    ASSERT(rc <= 0);
    if (rc != 0)
        verify_error(v, table, error[0] != '\0' ? error : strerror(-rc));
    return rc;
}

/* Whether different rows are fewer than the ledger's, however many there are. */
static bool rows_missing(const struct table_check *c)
{
    ASSERT(c->ids <= c->with_id && c->with_id <= c->found);
    return c->found - c->with_id + c->ids < c->before;
}

static bool rows_right(const struct table_sum *table, const struct table_check *c)
{
    ASSERT(c->before <= c->after || c->found == 0 || c->there);
    return !rows_missing(c) && c->found <= c->after + c->open &&
           (c->ids == c->with_id || table->by_insert);
}

/* Rows that insertAll took twice: beyond BigQuery's own window it is at least once, and says so. */
static uint64_t doubled(const struct table_sum *table, const struct table_check *c)
{
    ASSERT(table != NULL);
    return table->by_insert && c->found > c->after + c->open ? c->found - c->after - c->open : 0;
}

static void note_table(struct verify *v, const struct table_sum *table, const struct table_check *c)
{
    uint64_t twice = doubled(table, c);

    ASSERT(table != NULL);
    if (v->json) {
        textbuf_add(&v->tables, "%s{\"table\":", v->tables.len > 0 ? "," : "");
        textbuf_json(&v->tables, span_of(table->name));
        textbuf_add(&v->tables,
                    ",\"ledger_rows\":%" PRIu64 ",\"rows\":%" PRIu64 ",\"insert_all\":%s"
                    ",\"doubled\":%" PRIu64 "}",
                    c->after, c->found, table->by_insert ? "true" : "false", twice);
        return;
    }
    textbuf_add(&v->tables, "  %-40s %14" PRIu64 " %14" PRIu64, table->name, c->after, c->found);
    if (twice > 0)
        textbuf_add(&v->tables,
                    "  %" PRIu64 " rows twice: insertAll is at least once, see "
                    "docs/operations.md",
                    twice);
    textbuf_add(&v->tables, "\n");
}

static void check_table(struct verify *v, const struct table_sum *sum)
{
    const char *table = sum->name;

    const struct timespec pause = {.tv_sec = VERIFY_AGAIN_US / 1000000,
                                   .tv_nsec = VERIFY_AGAIN_US % 1000000 * 1000};
    struct table_check c;

    if (check_once(v, table, &c) != 0)
        return;
    if (!rows_right(sum, &c)) {
        nanosleep(&pause, NULL);
        if (check_once(v, table, &c) != 0)
            return;
    }
    note_table(v, sum, &c);
    if (rows_right(sum, &c) && c.ids == c.with_id)
        return;
    verify_rows(v, table);
    if (rows_right(sum, &c) || (doubled(sum, &c) > 0 && !rows_missing(&c)))
        return;
    if (c.found == c.after) {
        verify_difference(v, DIFFERENCE_ROWS, table, c.after, c.ids,
                          "different rows: some are doubled, and as many are missing");
        return;
    }
    verify_difference(v, DIFFERENCE_ROWS, table, c.after, c.found,
                      !c.there ? "the table is gone: somebody removed it"
                      : c.found < c.after
                          ? "rows are missing: somebody removed them, or they expired"
                          : "more rows than this node loaded: another node or an earlier data "
                            "directory loads into this table too, or rows are doubled");
}

void verify_tables(struct verify *v)
{
    struct table_list list = {0};

    ASSERT(v->d->config->bigquery_enabled);
    if (read_tables(v, &list) == 0) {
        for (size_t i = 0; i < list.n; i++) {
            if (atomic_load(&v->d->state) == DAEMON_STOPPING) {
                verify_error(v, "tables", "the daemon is stopping");
                break;
            }
            check_table(v, &list.item[i]);
        }
    }
    free(list.item);
}
