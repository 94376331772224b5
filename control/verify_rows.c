/*
 * COLD. Names rows that are missing or doubled, once their counts have said that there are some: day
 * by day, the ids in the table against those in the bucket's archive. Only days whose counts differ
 * are read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <sqlite3.h>

#include "control/dlq_internal.h"
#include "control/verify_internal.h"
#include "dataplane/event/assemble.h"
#include "dataplane/event/timeval.h"
#include "sinks/bigquery/bigquery.h"

#define DAYS_MAX  31       /* that are looked into, of a table */
#define IDS_MAX   5000000u /* of a day: 160 MB */
#define NAMED_MAX 100      /* rows of a table */
#define DAY_BYTES 11

/* A day as both sides count it. */
struct day {
    char date[DAY_BYTES]; /* 2026-11-21 */
    uint64_t ledger, found, distinct;
};

/* A penstock_id and how often the table has it. */
struct row_id {
    char text[EVENT_ID_BYTES];
    bool archived;
    uint32_t n;
};

/* One table under examination. */
struct rows_check {
    struct verify *v;
    const char *table;
    struct bq_config config;
    struct bq_label labels[BQ_LABELS_MAX];
    bool pending; /* some of its rows may still come */
    char (*type)[TYPE_NAME_BYTES_MAX + 1];
    size_t n_types;
    struct day *day;
    size_t n_days, days_room;
    /* Of the day under way. */
    struct row_id *id;
    size_t n_ids, ids_room;
    uint64_t archived;
    const char *object;
    uint64_t named, unnamed;
    bool failed;
};

static void name_row(struct rows_check *c, const char *kind, struct span id, uint64_t found,
                     const char *object)
{
    struct textbuf *b = &c->v->rows;

    ASSERT(kind != NULL);
    if (c->named == NAMED_MAX) {
        c->unnamed++;
        return;
    }
    c->named++;
    if (c->v->json) {
        textbuf_add(b, "%s{\"kind\":\"%s\",\"table\":", b->len > 0 ? "," : "", kind);
        textbuf_json(b, span_of(c->table));
        textbuf_add(b, ",\"penstock_id\":");
        textbuf_json(b, id);
        textbuf_add(b, ",\"found\":%" PRIu64 ",\"object\":", found);
        textbuf_json(b, span_of(object));
        textbuf_add(b, "}");
        return;
    }
    textbuf_add(b, "  %s %s %.*s", kind, c->table, (int)id.len, id.ptr);
    if (found > 1)
        textbuf_add(b, ", %" PRIu64 " times", found);
    textbuf_add(b, object[0] != '\0' ? ", in object %s\n" : "\n", object);
}

/* ---- days ---- */

static struct day *day_of(struct rows_check *c, const char *date)
{
    for (size_t i = 0; i < c->n_days; i++) {
        if (strcmp(c->day[i].date, date) == 0)
            return &c->day[i];
    }
    if (c->n_days == c->days_room) {
        size_t room = c->days_room > 0 ? 2 * c->days_room : 64;
        struct day *larger = realloc(c->day, room * sizeof(*larger));

        if (larger == NULL) {
            c->failed = true;
            return NULL;
        }
        c->day = larger;
        c->days_room = room;
    }
    c->day[c->n_days] = (struct day){0};
    snprintf(c->day[c->n_days].date, DAY_BYTES, "%.10s", date);
    return &c->day[c->n_days++];
}

static bool day_row(void *ctx, const struct span *cell, uint32_t n_cells)
{
    struct rows_check *c = ctx;
    int64_t n = 0, distinct = 0;
    struct day *day;

    if (n_cells != 3 || cell[0].len != DAY_BYTES - 1 || json_int64(cell[1], &n) != 0 ||
        json_int64(cell[2], &distinct) != 0)
        return true; /* rows without a day are none of ours */
    day = day_of(c, cell[0].ptr);
    if (day != NULL) {
        day->found = (uint64_t)n;
        day->distinct = (uint64_t)distinct;
    }
    return !c->failed;
}

static int read_table_days(struct rows_check *c)
{
    const struct bq_query q = {.select =
                                   "event_date, COUNT(*) AS n, COUNT(DISTINCT penstock_id) AS d",
                               .table = c->table,
                               .rest = " GROUP BY event_date",
                               .row = day_row,
                               .ctx = c};
    char error[VERIFY_ERROR_BYTES] = "";
    int rc = bq_query_run(&c->config, c->v->auth, &q, error, sizeof(error));

    ASSERT(rc <= 0);
    if (rc != 0 && rc != -ENOENT)
        verify_error(c->v, c->table, error[0] != '\0' ? error : strerror(-rc));
    return rc == -ENOENT ? 0 : rc; /* a table that is gone: all days are missing */
}

/* The types of the table, and what the ledger says of their days. */
static const char days_sql[] =
    "SELECT type, (minute - ((minute % 1440 + 1440) % 1440)) / 1440, sum(events) FROM objects"
    " WHERE encoding = 0 AND kind = 0 GROUP BY 1, 2 ORDER BY 1";
/* Whether rows of a type are not in their table yet, or were refused: they are missing rightly. */
static const char pending_sql[] =
    "SELECT count(*) FROM objects o LEFT JOIN inserts i ON i.plan_id = o.plan_id WHERE type = ?1"
    " AND kind = 0 AND ((encoding < 3 AND state IN ('planned', 'parked'))"
    "  OR (encoding = 0 AND to_load = 1 AND state = 'stored')"
    "  OR (encoding IN (1, 2) AND state = 'stored')"
    "  OR (encoding = 3 AND (state <> 'inserted' OR i.refused > 0))"
    "  OR EXISTS (SELECT 1 FROM rejects j WHERE j.plan_id = o.plan_id))";

static bool type_is_pending(sqlite3 *db, struct span type)
{
    sqlite3_stmt *st = NULL;
    bool pending = true;

    ASSERT(type.len <= TYPE_NAME_BYTES_MAX);
    if (sqlite3_prepare_v2(db, pending_sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_bind_text(st, 1, type.ptr, (int)type.len, SQLITE_TRANSIENT) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        pending = sqlite3_column_int64(st, 0) > 0;
    sqlite3_finalize(st);
    return pending;
}

static void add_type(struct rows_check *c, sqlite3 *db, struct span type)
{
    char(*larger)[TYPE_NAME_BYTES_MAX + 1];

    if (c->n_types > 0 && span_equal(span_of(c->type[c->n_types - 1]), type))
        return;
    larger = realloc(c->type, (c->n_types + 1) * sizeof(*larger));
    if (larger == NULL) {
        c->failed = true;
        return;
    }
    c->type = larger;
    ASSERT(type.len <= TYPE_NAME_BYTES_MAX);
    memcpy(c->type[c->n_types], type.ptr, type.len);
    c->type[c->n_types++][type.len] = '\0';
    c->pending |= type_is_pending(db, type);
}

static void ledger_day(struct rows_check *c, sqlite3 *db, sqlite3_stmt *st)
{
    struct span type = {(const char *)sqlite3_column_text(st, 0),
                        (size_t)sqlite3_column_bytes(st, 0)};
    char table[TABLE_NAME_BYTES_MAX], text[TIME_TEXT_BYTES + 1] = "";
    struct day *day;

    if (type.len > TYPE_NAME_BYTES_MAX)
        return;
    type_table(&c->v->d->config->types, type, table, sizeof(table));
    if (strcmp(table, c->table) != 0)
        return;
    add_type(c, db, type);
    time_format(sqlite3_column_int64(st, 1) * INT64_C(86400000000), text);
    text[DAY_BYTES - 1] = '\0';
    day = day_of(c, text);
    if (day != NULL)
        day->ledger += (uint64_t)sqlite3_column_int64(st, 2);
}

static int read_ledger_days(struct rows_check *c)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_open_v2(dlog_ledger_path(c->v->d->dlog), &db, SQLITE_OPEN_READONLY, NULL);

    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db, 5000);
        rc = sqlite3_prepare_v2(db, days_sql, -1, &st, NULL);
    }
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(st);
        if (rc == SQLITE_ROW)
            ledger_day(c, db, st);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    ASSERT(rc != SQLITE_OK);
    if (rc != SQLITE_DONE)
        verify_error(c->v, "the ledger", "its days cannot be read");
    return rc == SQLITE_DONE ? 0 : -EIO;
}

/* ---- the ids of a day ---- */

static bool id_row(void *ctx, const struct span *cell, uint32_t n_cells)
{
    struct rows_check *c = ctx;
    int64_t n = 0;

    if (n_cells != 2 || cell[0].len != EVENT_ID_BYTES || json_int64(cell[1], &n) != 0)
        return true; /* a row without our id: by somebody else */
    if (c->n_ids == c->ids_room) {
        size_t room = c->ids_room > 0 ? 2 * c->ids_room : 4096;
        struct row_id *larger = c->n_ids < IDS_MAX ? realloc(c->id, room * sizeof(*larger)) : NULL;

        c->failed = larger == NULL;
        if (c->failed)
            return false;
        c->id = larger;
        c->ids_room = room;
    }
    c->id[c->n_ids] = (struct row_id){.n = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX};
    memcpy(c->id[c->n_ids++].text, cell[0].ptr, EVENT_ID_BYTES);
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(((const struct row_id *)a)->text, ((const struct row_id *)b)->text,
                  EVENT_ID_BYTES);
}

static int read_ids(struct rows_check *c, const struct day *day)
{
    char rest[96], error[VERIFY_ERROR_BYTES] = "";
    const struct bq_query q = {.select = "penstock_id, COUNT(*) AS n",
                               .table = c->table,
                               .rest = rest,
                               .row = id_row,
                               .ctx = c};
    int rc;

    c->n_ids = 0;
    c->archived = 0;
    snprintf(rest, sizeof(rest), " WHERE event_date = '%s' GROUP BY penstock_id", day->date);
    rc = bq_query_run(&c->config, c->v->auth, &q, error, sizeof(error));
    if (rc == 0 && c->failed)
        snprintf(error, sizeof(error), "%s has too many rows to name those that differ", day->date);
    if ((rc != 0 && rc != -ENOENT) || c->failed)
        verify_error(c->v, c->table, error[0] != '\0' ? error : strerror(-rc));
    if (c->n_ids > 1)
        qsort(c->id, c->n_ids, sizeof(*c->id), compare_ids);
    ASSERT(c->n_ids <= c->ids_room);
    return c->failed ? -ENOMEM : rc == -ENOENT ? 0 : rc;
}

/* ---- what the archive has ---- */

static bool archive_line(void *ctx, struct span line, uint64_t number)
{
    struct rows_check *c = ctx;
    struct event_facts facts;
    struct row_id key, *found;

    ASSERT(number > 0);
    line.len++; /* its line break, or padding */
    if (!event_facts(line, &facts))
        return true; /* by somebody else, or of an event without added fields */
    memcpy(key.text, facts.id, EVENT_ID_BYTES);
    found = c->n_ids > 0 ? bsearch(&key, c->id, c->n_ids, sizeof(*c->id), compare_ids) : NULL;
    c->archived++;
    if (found != NULL)
        found->archived = true;
    else if (!c->pending)
        name_row(c, "missing_row", (struct span){facts.id, EVENT_ID_BYTES}, 0, c->object);
    return true;
}

/* The objects of one type and day: listed first, because a reader does one thing at a time. */
static bool archive_listed(void *ctx, const struct gcs_listed *o)
{
    struct object_list *l = ctx;
    const struct seen_object s = {
        .bytes = o->bytes, .crc32c = o->crc32c, .generation = o->generation};

    ASSERT(o->name != NULL);
    objects_add(l, &s, o->name);
    return !l->failed;
}

static int read_objects(struct rows_check *c, struct gcs_reader *reader,
                        const struct object_list *list, char *error, size_t error_len)
{
    struct dlq_reading reading = {0};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < list->n; i++) {
        const struct seen_object *o = &list->item[i];
        const struct dlq_object object = {
            .name = o->name, .bytes = o->bytes, .generation = o->generation, .crc32c = o->crc32c};

        c->object = o->name;
        rc = dlq_read(&reading, reader, &object, archive_line, c);
    }
    if (rc != 0)
        snprintf(error, error_len, "%.300s: %.600s", c->object, reading.error);
    ASSERT(rc <= 0);
    dlq_reading_fini(&reading);
    return rc;
}

static int read_archive(struct rows_check *c, const struct day *day)
{
    struct object_list list = {0};
    char escaped[TYPE_ESCAPED_BYTES_MAX + 1], prefix[TYPE_ESCAPED_BYTES_MAX + 32];
    char error[VERIFY_ERROR_BYTES] = "";
    struct gcs_reader *reader = NULL;
    struct gcs_config config;
    int rc;

    config_fill_gcs(c->v->d->config, &config);
    rc = gcs_reader_open(&config, c->v->auth, &reader);
    for (size_t i = 0; rc == 0 && i < c->n_types; i++) {
        const struct gcs_listing what = {.prefix = prefix, .object = archive_listed, .ctx = &list};

        name_escape(span_of(c->type[i]), escaped);
        snprintf(prefix, sizeof(prefix), "output/%s/%.4s/%.2s/%.2s/", escaped, day->date,
                 day->date + 5, day->date + 8);
        rc = gcs_reader_list(reader, &what, error, sizeof(error));
    }
    objects_finish(&list);
    if (rc == 0 && !list.failed)
        rc = read_objects(c, reader, &list, error, sizeof(error));
    gcs_reader_close(reader);
    objects_fini(&list);
    if (rc != 0)
        verify_error(c->v, "rows that differ cannot be named",
                     error[0] != '\0' ? error : strerror(-rc));
    ASSERT(rc <= 0);
    return rc;
}

static void examine_day(struct rows_check *c, const struct day *day)
{
    if (read_ids(c, day) != 0)
        return;
    for (size_t i = 0; i < c->n_ids; i++) {
        if (c->id[i].n > 1)
            name_row(c, "doubled_row", (struct span){c->id[i].text, EVENT_ID_BYTES}, c->id[i].n,
                     "");
    }
    if (read_archive(c, day) != 0)
        return;
    for (size_t i = 0; i < c->n_ids && c->archived == day->ledger; i++) {
        if (!c->id[i].archived)
            name_row(c, "unknown_row", (struct span){c->id[i].text, EVENT_ID_BYTES}, c->id[i].n,
                     "");
    }
    ASSERT(c->n_ids <= c->ids_room);
}

static void note_rest(struct rows_check *c)
{
    struct textbuf *b = &c->v->rows;

    ASSERT(c->v != NULL);
    if (c->v->json)
        return;
    if (c->unnamed > 0)
        textbuf_add(b, "  and %" PRIu64 " rows more of %s\n", c->unnamed, c->table);
    if (c->pending)
        textbuf_add(b,
                    "  %s: missing rows are named when nothing of it is pending, and none was "
                    "refused\n",
                    c->table);
}

void verify_rows(struct verify *v, const char *table)
{
    struct rows_check c = {.v = v, .table = table};
    size_t examined = 0;

    ASSERT(table != NULL);
    config_fill_bq(v->d->config, c.labels, &c.config);
    if (read_ledger_days(&c) == 0 && read_table_days(&c) == 0) {
        for (size_t i = 0; i < c.n_days && !c.failed; i++) {
            const struct day *day = &c.day[i];

            if (day->found == day->ledger && day->distinct == day->found)
                continue;
            if (examined++ == DAYS_MAX || atomic_load(&v->d->state) == DAEMON_STOPPING)
                break;
            examine_day(&c, day);
        }
    }
    note_rest(&c);
    free(c.type);
    free(c.day);
    free(c.id);
}
