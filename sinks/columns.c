/* COLD, but for columns_take() and columns_row(). See columns.h. */
#include "sinks/columns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"
#include "sinks/delivery/rows_store.h"
#include "sinks/sink_internal.h"

#define LEARN_BYTES (1u << 20) /* of lines that wait for a table's first version */
#define RETRY_US    1000000    /* after a version could not be written */
#define NAMES_BYTES 400        /* of added columns in one line of the log */

/* In front of a line that waits in a group while its table is learning. */
struct waiting_line {
    uint32_t len;
    uint16_t added;
    uint16_t zero;
};

/* ---- the columns of tables ---- */

static struct columns **bucket_of(struct sink *s, const char *table)
{
    return &s->columns[crc32c(0, table, strlen(table)) % COLUMNS_BUCKETS];
}

static struct columns *columns_add(struct sink *s, const char *table)
{
    struct columns **bucket = bucket_of(s, table);
    struct columns *c;

    ASSERT(table_owned(s, table)); /* one thread writes its versions */
    for (c = *bucket; c != NULL; c = c->next) {
        if (strcmp(c->table, table) == 0)
            return c;
    }
    c = calloc(1, sizeof(*c) + strlen(table) + 1);
    if (c == NULL)
        return NULL;
    memcpy(c->table, table, strlen(table) + 1);
    c->sink = s;
    c->next = *bucket;
    *bucket = c;
    return c;
}

static void version_free(struct columns_version *v)
{
    rows_destroy(v->rows);
    free(v);
}

void columns_destroy(struct sink *s)
{
    for (uint32_t i = 0; i < COLUMNS_BUCKETS; i++) {
        while (s->columns[i] != NULL) {
            struct columns *c = s->columns[i];

            s->columns[i] = c->next;
            while (c->newest != NULL) {
                struct columns_version *v = c->newest;

                c->newest = v->older;
                version_free(v);
            }
            rows_destroy(c->learning);
            free(c);
        }
    }
}

struct columns_version *columns_find(struct columns *c, uint32_t hash)
{
    ASSERT(hash != 0);
    for (struct columns_version *v = c->newest; v != NULL; v = v->older) {
        if (v->rows->hash == hash)
            return v;
    }
    return NULL;
}

void columns_report(const struct columns *c, struct sink_table_report *out)
{
    if (c == NULL || c->newest == NULL)
        return;
    out->version = c->newest->number;
    out->columns = c->newest->rows->n_columns;
    out->columns_added = c->added;
    out->overflowed = c->counts.overflowed + c->counts.whole;
    out->normalized = c->counts.normalized;
    ASSERT(out->version > 0);
}

/* ---- versions on disk ---- */

static void file_of(const struct columns *c, const struct columns_version *v, struct rows_file *out)
{
    ASSERT(v->rows != NULL);
    *out = (struct rows_file){.number = v->number, .rows = v->rows};
    snprintf(out->table, sizeof(out->table), "%s", c->table);
}

/* Puts a version in its place, newest first. */
static int version_visit(void *ctx, struct rows_file *f)
{
    struct sink *s = ctx;
    struct columns_version *v, **at;
    struct columns *c;

    if (!table_owned(s, f->table)) {
        rows_destroy(f->rows);
        return 0;
    }
    c = columns_add(s, f->table);
    v = calloc(1, sizeof(*v));
    if (c == NULL || v == NULL) {
        rows_destroy(f->rows);
        free(v);
        return -ENOMEM;
    }
    *v = (struct columns_version){.rows = f->rows, .number = f->number};
    c->last_number = f->number > c->last_number ? f->number : c->last_number;
    for (at = &c->newest; *at != NULL && (*at)->number > v->number; at = &(*at)->older)
        ;
    v->older = *at;
    *at = v;
    return 0;
}

int columns_load(struct sink *s, char *error, size_t error_len)
{
    ASSERT(s->config.columns_dir != NULL);
    snprintf(error, error_len, "out of memory");
    return rows_store_each(s->config.columns_dir, version_visit, s, error, error_len);
}

/* Removes the versions that no plan and no operation needs; the newest stays. */
static void columns_sweep(struct columns *c)
{
    struct columns_version **at = &c->newest->older;

    while (*at != NULL) {
        struct columns_version *v = *at;
        struct rows_file f;

        ASSERT(v != c->newest);

        if (v->refs > 0) {
            at = &v->older;
            continue;
        }
        *at = v->older;
        file_of(c, v, &f);
        rows_store_remove(&storage_posix, c->sink->config.columns_dir, &f);
        version_free(v);
    }
}

void columns_release(struct columns *c, struct columns_version *v)
{
    ASSERT(v->refs > 0 && c->newest != NULL);
    v->refs--;
    if (v->refs == 0 && v != c->newest)
        columns_sweep(c);
}

/* Makes rows the newest version, durably; takes them over. */
static bool version_add(struct columns *c, struct rows *rows)
{
    struct columns_version *v = calloc(1, sizeof(*v));
    char error[sizeof(c->text)] = "out of memory";
    struct rows_file f;
    int rc = -ENOMEM;

    ASSERT(rows->fixed_types);
    if (v != NULL) {
        *v = (struct columns_version){
            .older = c->newest,
            .rows = rows,
            .number = ++c->last_number,
        };
        file_of(c, v, &f);
        rc = rows_store_save(&storage_posix, c->sink->config.columns_dir, &f, error, sizeof(error));
    }
    if (rc == 0) {
        c->newest = v;
        c->text[0] = '\0';
        return true;
    }
    if (c->text[0] == '\0')
        log_error("sink", "table %s: its columns cannot be written: %s", c->table, error);
    snprintf(c->text, sizeof(c->text), "%s", error);
    c->retry_us = c->sink->now_us + RETRY_US;
    rows_destroy(rows);
    free(v);
    return false;
}

/* ---- what a line shows ---- */

static void count(struct columns *c, const struct rows_counts *more)
{
    struct sink_stats *stats = &c->sink->stats;

    c->counts.overflowed += more->overflowed;
    c->counts.normalized += more->normalized;
    c->counts.whole += more->whole;
    stat_add(&stats->rows_overflowed, more->overflowed + more->whole);
    stat_add(&stats->rows_normalized, more->normalized);
}

static bool encode_room(struct sink *s, size_t line_len)
{
    return wrap_room(s, rows_encoded_max(line_len));
}

static struct span line_of(const struct block_view *v, const struct block_entry *e)
{
    return (struct span){.ptr = v->buf + e->offset, .len = e->len};
}

/* Replaces *rows by a version that takes in what the line shows. False without memory. */
static bool learn(struct sink *s, struct rows **rows, struct span line, uint16_t added)
{
    struct rows *next = NULL;
    size_t len;
    int rc;

    if (!encode_room(s, line.len))
        return false;
    if (rows_encode(*rows, line, added, s->wrap_buf, &len) == ROWS_OK)
        return true;
    rc = rows_grow(*rows, line, added, &next);
    if (rc == 0) {
        rows_destroy(*rows);
        *rows = next;
    }
    return rc != -ENOMEM;
}

/* Appends the paths of columns that the new RECORD has and the old one has not. */
static void names_added(const struct schema_field *old, const struct schema_field *new, char *out)
{
    for (uint32_t i = 0; i < new->n_fields; i++) {
        const struct schema_field *f = &new->fields[i];
        const struct schema_field *had =
            schema_field_find(old, (struct span){f->name, f->name_len});
        size_t len = strlen(out);

        if (had != NULL && f->type == COLUMN_RECORD)
            names_added(had, f, out);
        if (had != NULL || len >= NAMES_BYTES)
            continue;
        snprintf(out + len, NAMES_BYTES + 8 - len, "%s%s", len > 0 ? ", " : "", f->path);
        if (strlen(out) >= NAMES_BYTES)
            snprintf(out + NAMES_BYTES, 8, "...");
    }
}

static void log_growth(const struct columns *c, const struct rows *old)
{
    char names[NAMES_BYTES + 8] = "";

    ASSERT(c->newest->rows->n_columns >= old->n_columns); /* versions only add */
    names_added(&old->schema->root, &c->newest->rows->schema->root, names);
    log_info("sink", "table %s, version %u of its columns: %u new ones: %s", c->table,
             c->newest->number, c->newest->rows->n_columns - old->n_columns, names);
}

/* ---- learning ---- */

static bool is_waiting(const struct group *g)
{
    return plan_has_rows(&g->key) && g->key.schema_hash == 0;
}

static bool group_is_of(const struct columns *c, const struct group *g)
{
    return plan_has_rows(&g->key) &&
           route_get(c->sink, (struct span){g->key.type, g->key.type_len})->columns == c;
}

/* The next waiting line of a chain as a row, behind the chain's rows. */
static void row_write(struct columns *c, struct group *g, struct chain *from, struct chain *to,
                      char *buf)
{
    struct sink *s = c->sink;
    struct rows_counts counts = {0};
    struct waiting_line w;
    size_t len;
    bool room;

    group_read(&s->pool, g, from, (char *)&w, sizeof(w));
    ASSERT(w.zero == 0 && w.len <= LEARN_BYTES);
    group_read(&s->pool, g, from, buf, w.len);
    room = encode_room(s, w.len);
    ASSERT(room); /* learn() had it */
    (void)rows_encode_counted(c->newest->rows, (struct span){buf, w.len}, w.added, s->wrap_buf,
                              &len, &counts); /* complete, whatever it says */
    count(c, &counts);
    group_write(&s->pool, g, to, (struct span){s->wrap_buf, len});
}

/* Turns the waiting lines of a group into rows of the first version. */
static void group_to_rows(struct columns *c, struct group *g, char *buf)
{
    ASSERT(is_waiting(g) && g->key.encoding == ENCODING_ROWS);
    for (uint32_t j = 0; j < g->n_journals; j++) {
        struct chain *chain = &g->chain[j];
        struct chain waiting = *chain;

        chain->first = chain->last = NULL;
        chain->bytes = 0;
        while (waiting.bytes > 0)
            row_write(c, g, &waiting, chain, buf);
    }
}

/* The waiting groups of a table become groups of the first version. */
static void groups_begin(struct columns *c, struct group_table *t, char *buf)
{
    for (struct group *g = t->oldest; g != NULL; g = g->next) {
        if (!is_waiting(g) || !group_is_of(c, g))
            continue;
        if (g->key.encoding == ENCODING_ROWS) /* others hold lines as they are */
            group_to_rows(c, g, buf);
        group_rename(t, g, c->newest->rows->hash);
    }
}

/* Ends the learning of a table. */
static bool columns_begin(struct columns *c)
{
    struct sink *s = c->sink;
    struct rows *first = NULL;
    char *buf;

    ASSERT(c->newest == NULL && c->learning != NULL);
    if (s->now_us < c->retry_us)
        return false;
    buf = calloc(1, LEARN_BYTES + JSON_PADDING_BYTES);
    if (buf == NULL || rows_fix(c->learning, &first) != 0 || !version_add(c, first)) {
        free(buf);
        return false;
    }
    groups_begin(c, &s->groups, buf);
    groups_begin(c, &s->insert_groups, buf);
    free(buf);
    rows_destroy(c->learning);
    c->learning = NULL;
    c->learning_bytes = 0;
    log_info("sink", "table %s, version 1 of its columns: %u, by its first events", c->table,
             c->newest->rows->n_columns);
    return true;
}

bool columns_settle(struct sink *s, struct group *g)
{
    const struct type_route *route;

    if (!is_waiting(g))
        return true;
    route = route_get(s, (struct span){g->key.type, g->key.type_len});
    ASSERT(route != NULL && route->columns != NULL);
    return columns_begin(route->columns);
}

/* ---- growing ---- */

static void plan_version(struct columns *c, struct group_table *t, uint32_t hash)
{
    struct group *next;

    for (struct group *g = t->oldest; g != NULL; g = next) {
        bool planned = true;

        next = g->next;
        if (group_is_of(c, g) && g->key.schema_hash == hash)
            planned = plan_group(c->sink, g);
        ASSERT(planned);
    }
}

/* Plans the groups of the version before the newest: none of its lines may come later. */
static void plan_older(struct columns *c, uint32_t hash)
{
    plan_version(c, &c->sink->groups, hash);
    plan_version(c, &c->sink->insert_groups, hash);
}

/* The next version, with what this line and those behind it in the block's run show. */
static struct rows *grown(struct columns *c, const struct columns_line *line)
{
    const struct block_entry *entries = &line->view->entries[line->run->first];
    struct rows *rows = NULL;

    ASSERT(line->entry < line->run->n_entries);
    if (rows_grow(c->newest->rows, line_of(line->view, &entries[line->entry]),
                  entries[line->entry].added, &rows) != 0)
        return NULL;
    for (uint32_t i = line->entry + 1; i < line->run->n_entries; i++) {
        const struct block_entry *e = &entries[i];

        if ((e->flags & BLOCK_ENTRY_ROWS) != 0 &&
            !learn(c->sink, &rows, line_of(line->view, e), e->added))
            break;
    }
    return rows;
}

/* Makes the next version the newest; or, when that cannot be, lets the older one serve on for now.
 * Overwrites s->wrap_buf. */
static void columns_grow(struct columns *c, const struct columns_line *line)
{
    const struct columns_version *old = c->newest;
    struct rows *rows = grown(c, line);

    ASSERT(old != NULL && c->sink->now_us >= c->retry_us);
    if (rows == NULL || columns_find(c, rows->hash) != NULL) {
        rows_destroy(rows);
        c->retry_us = c->sink->now_us + RETRY_US;
        return;
    }
    if (!version_add(c, rows))
        return;
    c->added += rows->n_columns - old->rows->n_columns;
    stat_add(&c->sink->stats.columns_added, rows->n_columns - old->rows->n_columns);
    log_growth(c, old->rows);
    plan_older(c, old->rows->hash);
    columns_sweep(c);
}

/* ---- lines ---- */

bool columns_row(struct sink *s, const struct columns_version *v, const struct block_view *view,
                 const struct block_entry *e, struct span *row)
{
    size_t len;

    ASSERT(v != NULL && v->refs > 0); /* its plan holds it */
    if (!encode_room(s, e->len))
        return false;
    (void)rows_encode(v->rows, line_of(view, e), e->added, s->wrap_buf, &len);
    *row = (struct span){s->wrap_buf, len};
    return true;
}

/* A row of the newest version, or of the one that this line makes. */
static bool take_row(struct columns *c, struct columns_line *line)
{
    const struct block_entry *e = &line->view->entries[line->run->first + line->entry];
    struct rows_counts counts = {0};
    struct sink *s = c->sink;
    size_t len;

    ASSERT_HOT(c->newest != NULL && line->entry < line->run->n_entries);
    if (!encode_room(s, e->len))
        return false;
    if (rows_encode_counted(c->newest->rows, line_of(line->view, e), e->added, s->wrap_buf, &len,
                            &counts) == ROWS_GROWS &&
        s->now_us >= c->retry_us) {
        columns_grow(c, line);
        counts = (struct rows_counts){0}; /* other lines have been in the buffer meanwhile */
        (void)rows_encode_counted(c->newest->rows, line_of(line->view, e), e->added, s->wrap_buf,
                                  &len, &counts);
    }
    count(c, &counts);
    line->out = (struct span){s->wrap_buf, len};
    line->schema_hash = c->newest->rows->hash;
    return true;
}

/* The line itself, to become a row later. */
static bool take_waiting(struct columns *c, struct columns_line *line)
{
    const struct block_entry *e = &line->view->entries[line->run->first + line->entry];
    struct waiting_line w = {.len = e->len, .added = e->added};

    ASSERT(c->newest == NULL && e->len <= LEARN_BYTES);
    if (!wrap_room(c->sink, sizeof(w) + e->len))
        return false;
    memcpy(c->sink->wrap_buf, &w, sizeof(w));
    memcpy(c->sink->wrap_buf + sizeof(w), line->view->buf + e->offset, e->len);
    line->out = (struct span){c->sink->wrap_buf, sizeof(w) + e->len};
    line->schema_hash = 0;
    c->learning_bytes += e->len;
    return true;
}

bool columns_take(struct columns *c, struct columns_line *line)
{
    const struct block_entry *e = &line->view->entries[line->run->first + line->entry];

    if (c->newest != NULL)
        return take_row(c, line);
    if (!learn(c->sink, &c->learning, line_of(line->view, e), e->added))
        return false;
    if (c->learning_bytes + e->len <= LEARN_BYTES)
        return take_waiting(c, line);
    return columns_begin(c) && take_row(c, line);
}

/* The newest version as the configuration has it now. Where that cannot be made or written, the older
 * one serves on, until the next start. */
static void columns_rebase(struct columns *c, const struct rows_start *start)
{
    const struct columns_version *old = c->newest;
    struct rows *rows = NULL;
    int rc = rows_rebase(old->rows, start, &rows);

    if (rc == -EALREADY)
        return;
    if (rc == 0 && columns_find(c, rows->hash) == NULL && version_add(c, rows)) {
        log_growth(c, old->rows);
        plan_older(c, old->rows->hash);
        return;
    }
    if (rc != 0 && rc != -ENOMEM)
        log_error("sink", "table %s: its schema and the columns that it has are too many together",
                  c->table);
}

struct columns *columns_get(struct sink *s, const char *table, const struct type_config *config)
{
    const char *time_path =
        config != NULL && config->time_field != NULL ? config->time_field : s->types->time_field;
    const struct rows_start start = {
        .base = config != NULL ? config->schema : NULL,
        .time_path = time_path,
        .columns_max = s->config.columns_max,
    };
    struct columns *c = columns_add(s, table);

    if (c == NULL || c->configured)
        return c;
    c->configured = true;
    if (c->newest == NULL)
        return rows_start(&start, &c->learning) == 0 ? c : NULL;
    if (type_has_rows(s->types, config))
        columns_rebase(c, &start);
    return c;
}
