/*
 * COLD. The rows of one plan on their way through insertAll: which are sent, what the answers say of
 * each, and what becomes of those that BigQuery refuses.
 *
 * Rows are sent in order, again and again with the same insertIds, until each one is settled: in the
 * table, or refused. A request that fails as a whole is cut in half, down to the row at fault.
 * Refused rows are dead letters in one object, which is stored before INSERTED ends the plan. A
 * crash in between sends the whole plan again; if BigQuery then speaks otherwise, a second object
 * (name_r2) keeps those letters, and nothing of the first is lost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/event/assemble.h"
#include "sinks/shelf.h"

#define ODD_MAX         5  /* senseless answers in a row before somebody has to look */
#define OBJECTS_MAX     99 /* of one plan's dead letters */
#define BUFFER_SPARE    256u
#define NAME_SUFFIX_MAX 8u /* "_r99" */

/** A dead letter in the text of all of them. */
struct letter {
    uint64_t row;
    size_t at, len;
};

struct insert_job {
    struct delivery *d;
    struct bq_insert call;
    struct text body;
    uint64_t n_rows;
    uint64_t left;     /* rows that are not settled */
    uint32_t rows_max; /* of a request: insert.rows may change meanwhile */
    bool *settled;     /* by row */
    uint32_t limit;    /* rows of the next request */
    uint32_t n_sent;   /* rows of the request under way */
    uint64_t *sent;    /* by place in the request: the row */
    uint8_t *verdict;  /* by place in the request */
    char **why;        /* by place in the request: why it is refused, or NULL */
    bool placed;       /* the cursor is at row first of the plan's bytes */
    uint64_t first;
    struct group_cursor at;
    uint32_t odd; /* senseless answers in a row */
    uint64_t refused;
    struct text letters;
    struct letter *letter;
    uint64_t n_letters, letters_room;
    struct text dead; /* the object */
    struct iovec iov;
    struct gcs_put put;
    char name[OBJECT_NAME_BYTES_MAX + NAME_SUFFIX_MAX];
    struct plan_outcome outcome;
};

/* ---- life ---- */

static struct insert_job *job_new(struct delivery *d)
{
    struct insert_job *job = calloc(1, sizeof(*job));
    const uint32_t rows = d->sink->config.insert_rows;

    ASSERT(d->plan.lines > 0 && rows > 0);
    if (job == NULL)
        return NULL;
    job->d = d;
    job->n_rows = job->left = d->plan.lines;
    job->limit = job->rows_max = rows;
    job->settled = calloc(job->n_rows, sizeof(*job->settled));
    job->sent = calloc(rows, sizeof(*job->sent));
    job->verdict = calloc(rows, sizeof(*job->verdict));
    job->why = calloc(rows, sizeof(*job->why));
    if (job->settled == NULL || job->sent == NULL || job->verdict == NULL || job->why == NULL) {
        insert_job_free(job);
        return NULL;
    }
    return job;
}

static void whys_free(struct insert_job *job)
{
    ASSERT(job->n_sent <= job->rows_max);
    for (uint32_t i = 0; job->why != NULL && i < job->n_sent; i++) {
        free(job->why[i]);
        job->why[i] = NULL;
    }
}

void insert_job_free(struct insert_job *job)
{
    if (job == NULL)
        return;
    bq_insert_cancel(&job->call);
    ASSERT(job->put._op == NULL && job->d->sink->letter_bytes >= job->dead.len);
    job->d->sink->letter_bytes -= job->dead.len;
    whys_free(job);
    text_fini(&job->body);
    text_fini(&job->letters);
    text_fini(&job->dead);
    free(job->letter);
    free(job->settled);
    free(job->sent);
    free(job->verdict);
    free(job->why);
    free(job);
}

uint64_t insert_job_left(const struct delivery *d)
{
    ASSERT(d->job == NULL || d->job->left <= d->plan.lines);
    return d->job != NULL ? d->job->left : d->plan.lines;
}

bool insert_job_has_letters(const struct delivery *d)
{
    return d->job != NULL && d->job->left == 0 && d->job->refused > 0;
}

void insert_job_forget_content(struct delivery *d)
{
    if (d->job != NULL)
        d->job->placed = false;
}

/* ---- lines ---- */

/* Makes room for a line and what is made of it, side by side. */
static char *row_room(struct sink *s, size_t len)
{
    size_t need = 2 * (len + BUFFER_SPARE);
    char *larger;

    if (need > s->row_bytes) {
        larger = realloc(s->row_buf, need);
        if (larger == NULL)
            return NULL;
        s->row_buf = larger;
        s->row_bytes = need;
    }
    return s->row_buf;
}

/* Takes the line at the cursor into the row buffer. @return an empty span without memory. */
static struct span line_take(struct delivery *d, struct group_cursor *c)
{
    size_t len = group_line_len(d->content, c);
    char *buf = row_room(d->sink, len);

    ASSERT(len > 0);
    if (buf == NULL)
        return (struct span){.ptr = NULL};
    group_line_take(d->content, c, len, buf);
    return (struct span){buf, len};
}

/* Where in the row buffer something can be made of a line. */
static char *beside(const struct sink *s, struct span line)
{
    ASSERT(line.ptr == s->row_buf && s->row_bytes >= 2 * (line.len + BUFFER_SPARE));
    return s->row_buf + line.len + BUFFER_SPARE;
}

/* Puts the cursor at the first row that is not settled. */
static void job_place(struct insert_job *job)
{
    const struct group *g = job->d->content;

    ASSERT(g != NULL && g->lines == job->n_rows);
    if (!job->placed) {
        job->at = (struct group_cursor){0};
        job->first = 0;
        job->placed = true;
    }
    for (; job->first < job->n_rows && job->settled[job->first]; job->first++)
        group_line_take(g, &job->at, group_line_len(g, &job->at), NULL);
}

/* ---- refused rows ---- */

static bool letter_room(struct insert_job *job)
{
    if (job->n_letters == job->letters_room) {
        uint64_t room = job->letters_room > 0 ? 2 * job->letters_room : 64;
        struct letter *larger = realloc(job->letter, room * sizeof(*larger));

        if (larger == NULL)
            return false;
        job->letter = larger;
        job->letters_room = room;
    }
    return true;
}

/* Whether the type's events may have had fields moved to penstock_overflow. */
static bool fields_move(const struct delivery *d)
{
    return d->plan.key.schema_hash != 0 && !plan_has_rows(&d->plan.key);
}

/* A row becomes a dead letter. */
static int letter_add(struct insert_job *job, uint64_t row, struct span line, const char *why)
{
    const struct delivery *d = job->d;
    const struct refused_row refused = {
        .type = {d->plan.key.type, d->plan.key.type_len},
        .line = line,
        .row = row,
        .form = fields_move(d) ? LETTER_MOVED : LETTER_PLAIN,
        .why = why,
    };
    size_t before = job->letters.len;
    int rc = letter_room(job) ? letter_append(&job->letters, &refused) : -ENOMEM;

    ASSERT(job->letters.len >= before);
    if (rc == 0)
        job->letter[job->n_letters++] =
            (struct letter){.row = row, .at = before, .len = job->letters.len - before};
    return rc;
}

static void row_settle(struct insert_job *job, uint64_t row, bool refused)
{
    ASSERT(row < job->n_rows);
    ASSERT(!job->settled[row] && job->left > 0);
    job->settled[row] = true;
    job->left--;
    job->refused += refused ? 1 : 0;
}

static int row_refuse(struct insert_job *job, uint64_t row, struct span line, const char *why)
{
    int rc = letter_add(job, row, line, why);

    if (rc == 0)
        row_settle(job, row, true); /* else it is tried again with the row */
    return rc;
}

/* ---- sending ---- */

/* What a line is as a row of its table. @return an absent value without memory. */
static struct json_value row_of(struct delivery *d, struct span line, uint32_t added)
{
    struct sink *s = d->sink;
    char *wrapped = beside(s, line);
    size_t len;

    if (d->inserts->form == INSERT_PLAIN)
        return json_value_at(line.ptr, line.len);
    if (d->inserts->form == INSERT_WRAPPED)
        return json_value_at(wrapped, event_wrap(line.ptr, line.len, added, wrapped));
    if (!wrap_room(s, rows_encoded_max(line.len) + JSON_PADDING_BYTES))
        return (struct json_value){.type = JSON_ABSENT};
    (void)rows_encode(d->version->rows, line, (uint16_t)added, s->wrap_buf, &len);
    memset(s->wrap_buf + len, 0, JSON_PADDING_BYTES);
    return json_value_at(s->wrap_buf, len);
}

/* Appends a row to the body. @return 1; 0 when the line is none of ours; -ENOMEM. */
static int row_append(struct insert_job *job, struct span line)
{
    struct delivery *d = job->d;
    struct event_facts facts;
    struct json_value row;

    ASSERT(job->n_sent < job->rows_max); /* room in sent, verdict and why */
    if (!event_facts(line, &facts))
        return 0;
    row = row_of(d, line, facts.added);
    if (row.type == JSON_ABSENT)
        return -ENOMEM;
    bq_insert_add(&job->body, job->n_sent == 0, (struct span){facts.id, EVENT_ID_BYTES},
                  d->version != NULL ? d->version->rows->schema : d->inserts->spec.schema, row);
    return 1;
}

/* Takes a row into the request. @return 1; 0 when the request is full; -errno. */
static int row_send(struct insert_job *job, uint64_t row, struct span line)
{
    const struct sink_config *c = &job->d->sink->config;
    size_t before = job->body.len, size;
    char why[128];
    int rc = row_append(job, line);

    if (rc < 0)
        return rc;
    if (rc == 0) {
        rc = row_refuse(job, row, line, "the line in the journal is of another form");
        return rc == 0 ? 1 : rc;
    }
    if (text_failed(&job->body))
        return -ENOMEM;
    size = job->body.len + bq_insert_frame_bytes();
    if (size <= c->insert_bytes || (job->n_sent == 0 && size <= BQ_INSERT_BYTES_MAX)) {
        job->sent[job->n_sent++] = row;
        return 1;
    }
    text_cut(&job->body, before);
    if (job->n_sent > 0)
        return 0;
    snprintf(why, sizeof(why), "uploadTooLarge: %zu bytes as a row, insertAll takes 10 MB", size);
    if (row_refuse(job, row, line, why) < 0)
        return -ENOMEM;
    return 1;
}

/* Makes the next request of rows that are not settled, in order. */
static int request_fill(struct insert_job *job)
{
    struct delivery *d = job->d;
    struct group_cursor c;
    int rc = 1;

    job_place(job);
    c = job->at;
    job->n_sent = 0;
    text_reset(&job->body);
    bq_insert_begin(&job->body);
    for (uint64_t row = job->first; rc > 0 && row < job->n_rows && job->n_sent < job->limit;
         row++) {
        struct span line;

        if (job->settled[row]) {
            group_line_take(d->content, &c, group_line_len(d->content, &c), NULL);
            continue;
        }
        line = line_take(d, &c);
        rc = line.ptr != NULL ? row_send(job, row, line) : -ENOMEM;
    }
    ASSERT(job->n_sent <= job->limit && job->limit <= job->rows_max);
    if (rc >= 0 && job->n_sent > 0)
        bq_insert_end(&job->body);
    return rc < 0 || text_failed(&job->body) ? -ENOMEM : 0;
}

static void on_refused(struct bq_insert *call, uint32_t index, const char *text)
{
    struct insert_job *job = container_of(call, struct insert_job, call);

    ASSERT(index < job->n_sent && job->why[index] == NULL);
    job->why[index] = strdup(text);
}

static void on_done(struct bq_insert *call, const struct bq_insert_result *r)
{
    struct insert_job *job = container_of(call, struct insert_job, call);

    ASSERT(job->d->state == DELIVERY_INSERTING && job->n_sent > 0);

    insert_table_answered(job->d, r); /* may free job */
}

int insert_job_send(struct delivery *d)
{
    struct insert_job *job = d->job;
    int rc;

    ASSERT(d->content != NULL && d->inserts != NULL);
    if (job == NULL) {
        job = d->job = job_new(d);
        if (job == NULL)
            return -ENOMEM;
    }
    rc = request_fill(job);
    if (rc < 0)
        return rc;
    if (job->n_sent == 0) {
        ASSERT(job->left == 0);
        return -EALREADY;
    }
    job->call = (struct bq_insert){
        .table = d->inserts->name,
        .body = &job->body,
        .n_rows = job->n_sent,
        .verdict = job->verdict,
        .refused = on_refused,
        .done = on_done,
    };
    return bq_insert_start(d->sink->bq, &job->call);
}

/* ---- answers ---- */

/* Turns the refused rows of a request into dead letters. A row for which there is no memory is not
 * settled, and sent again. */
static void refused_take(struct insert_job *job)
{
    struct group_cursor c;
    uint64_t row;
    uint32_t i = 0;

    job_place(job);
    c = job->at;
    for (row = job->first; i < job->n_sent; row++) {
        struct span line;

        ASSERT(row < job->n_rows && row <= job->sent[i]);

        if (row < job->sent[i] || job->verdict[i] != BQ_ROW_REFUSED) {
            group_line_take(job->d->content, &c, group_line_len(job->d->content, &c), NULL);
            i += row == job->sent[i] ? 1 : 0;
            continue;
        }
        line = line_take(job->d, &c);
        if (line.ptr != NULL)
            (void)row_refuse(job, row, line, job->why[i] != NULL ? job->why[i] : "refused");
        i++;
    }
}

/* Whether a row is refused for a column alone. Behind the reason and its place: values of the row may
 * be quoted further on. */
static bool misses_column(const char *why)
{
    const char *message = why != NULL ? strstr(why, ": ") : NULL;

    ASSERT(message == NULL || message >= why);
    return message != NULL && strncasecmp(message + 2, "no such field", 13) == 0;
}

/* New columns show up for insertAll only after minutes: a row that is refused for one is not lost
 * yet. */
static void lag_forgive(struct insert_job *job)
{
    if (!insert_columns_lag(job->d->inserts))
        return;
    for (uint32_t i = 0; i < job->n_sent; i++) {
        if (job->verdict[i] == BQ_ROW_REFUSED && misses_column(job->why[i]))
            job->verdict[i] = BQ_ROW_AGAIN;
    }
}

static void answer_take(struct insert_job *job)
{
    bool any_refused = false;

    ASSERT(job->n_sent > 0 && job->n_sent <= job->rows_max);
    lag_forgive(job);
    for (uint32_t i = 0; i < job->n_sent; i++)
        any_refused |= job->verdict[i] == BQ_ROW_REFUSED;
    if (any_refused)
        refused_take(
            job); /* first: its cursor counts from rows that were open when they were sent */
    for (uint32_t i = 0; i < job->n_sent; i++) {
        if (job->verdict[i] == BQ_ROW_IN)
            row_settle(job, job->sent[i], false);
    }
}

static void halve(struct insert_job *job)
{
    if (job->n_sent > 1)
        job->limit = job->n_sent / 2;
}

/* The only row of a request is refused with it. */
static void only_row_refuse(struct insert_job *job, const char *why)
{
    ASSERT(job->n_sent == 1);
    job->verdict[0] = BQ_ROW_REFUSED;
    job->why[0] = strdup(why);
    refused_take(job);
}

/* 413 or 400 for a request as a whole: about its size, or about one of its rows, as long as the
 * table is known to take requests. */
static enum insert_next whole_refused(struct insert_job *job, const struct bq_insert_result *r,
                                      char *text)
{
    ASSERT(job->n_sent > 0);
    if (job->n_sent > 1) {
        halve(job);
        return INSERT_GOES_ON;
    }
    if (r->outcome == BQ_INSERT_TOO_LARGE || job->d->inserts->answered) {
        only_row_refuse(job, r->text);
        return INSERT_GOES_ON;
    }
    snprintf(text, REASON_TEXT_BYTES, "%s", r->text);
    return INSERT_STUCK;
}

static enum insert_next rows_answered(struct insert_job *job, char *text)
{
    uint64_t before = job->left;

    job->odd = 0;
    answer_take(job);
    if (job->left == before) {
        halve(job); /* rows may be stopped by one that is never named */
        snprintf(text, REASON_TEXT_BYTES, "BigQuery took none of %u rows, to be sent again",
                 job->n_sent);
        return INSERT_WAITS;
    }
    job->limit = job->limit < job->rows_max / 2 ? 2 * job->limit : job->rows_max;
    return INSERT_GOES_ON;
}

enum insert_next insert_job_settle(struct delivery *d, const struct bq_insert_result *r, char *text)
{
    struct insert_job *job = d->job;
    enum insert_next next = INSERT_WAITS;

    ASSERT(job != NULL && job->n_sent > 0);
    snprintf(text, REASON_TEXT_BYTES, "%s", r->text);
    switch (r->outcome) {
    case BQ_INSERT_ANSWERED:
        next = rows_answered(job, text);
        break;
    case BQ_INSERT_TOO_LARGE:
    case BQ_INSERT_INVALID:
        next = whole_refused(job, r, text);
        break;
    case BQ_INSERT_LATER:
        if (r->cut)
            halve(job);
        break;
    case BQ_INSERT_LAG:
        break;
    case BQ_INSERT_ODD:
        next = ++job->odd > ODD_MAX ? INSERT_STUCK : INSERT_WAITS;
        break;
    case BQ_INSERT_PERMANENT:
        next = INSERT_STUCK;
        break;
    }
    whys_free(job);
    job->n_sent = 0;
    return next;
}

/* ---- the end ---- */

static void inserted_durable(struct sink *s, void *ctx)
{
    struct delivery *d = ctx;

    /* Each row is in its table, or a dead letter. */
    ASSERT(d->job->outcome.rows + d->job->outcome.refused == d->plan.lines);
    stat_add(&s->stats.inserted_events, d->job->outcome.rows);
    stat_add(&s->stats.refused_events, d->job->outcome.refused);
    d->inserts->rows += d->job->outcome.rows;
    d->inserts->refused += d->job->outcome.refused;
    shelf_delivered(d);
    delivery_finish(d, &s->confirming);
}

static void record_outcome(struct delivery *d, struct delivery_list *from)
{
    struct insert_job *job = d->job;
    struct record r = {.type = RECORD_INSERTED, .plan_id = d->plan.id, .outcome = &job->outcome};

    ASSERT(job->left == 0 && (job->refused > 0) == (job->outcome.objects > 0));
    ASSERT(job->refused <= job->n_rows);
    snprintf(job->outcome.table, sizeof(job->outcome.table), "%s", d->inserts->name);
    job->outcome.rows = job->n_rows - job->refused;
    job->outcome.refused = job->refused;
    delivery_move(d, from, &d->sink->confirming, DELIVERY_CONFIRMING);
    record_submit(d->sink, &r, inserted_durable, d);
}

static int letter_compare(const void *a, const void *b)
{
    const struct letter *x = a, *y = b;

    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

/* All letters in the order of their rows: the same again after a crash, if BigQuery says the same. */
static int dead_make(struct insert_job *job)
{
    if (job->dead.len > 0)
        return 0;
    ASSERT(job->n_letters == job->refused); /* one for each row */
    qsort(job->letter, job->n_letters, sizeof(*job->letter), letter_compare);
    text_reset(&job->dead);
    for (uint64_t i = 0; i < job->n_letters; i++)
        text_add(&job->dead,
                 (struct span){job->letters.ptr + job->letter[i].at, job->letter[i].len});
    if (text_failed(&job->dead)) {
        text_fini(&job->dead);
        return -ENOMEM;
    }
    text_fini(&job->letters);
    job->d->sink->letter_bytes += job->dead.len;
    job->iov = (struct iovec){.iov_base = job->dead.ptr, .iov_len = job->dead.len};
    job->outcome.dead_bytes = job->dead.len;
    job->outcome.dead_crc32c = crc32c(0, job->dead.ptr, job->dead.len);
    return 0;
}

static int dead_put(struct delivery *d);

static void dead_put_done(struct gcs_put *p, enum gcs_result result, int64_t generation,
                          const char *text)
{
    struct insert_job *job = container_of(p, struct insert_job, put);
    struct delivery *d = job->d;
    int rc = 0;

    ASSERT(d->state == DELIVERY_REFUSING && job->left == 0);
    (void)generation;
    if (result == GCS_DONE) {
        record_outcome(d, &d->sink->refusing);
        return;
    }
    if (result == GCS_CONFLICT && job->outcome.objects < OBJECTS_MAX) {
        job->outcome.objects++; /* an earlier run stored other letters under the name before */
        rc = dead_put(d);
        text = rc < 0 ? strerror(-rc) : text;
    }
    if (result != GCS_CONFLICT || rc < 0 || job->put._op == NULL)
        deliver_park(d, &d->sink->refusing, text, true);
}

static int dead_put(struct delivery *d)
{
    struct insert_job *job = d->job;

    ASSERT(job->dead.len > 0 && job->refused > 0);
    plan_dead_name(&d->plan, job->outcome.objects, job->name);
    job->put = (struct gcs_put){
        .name = job->name,
        .content_type = "application/x-ndjson",
        .body = &job->iov,
        .body_parts = 1,
        .bytes = job->dead.len,
        .crc32c = job->outcome.dead_crc32c,
        .plan_id = d->plan.id,
        .events = job->refused,
        .log_id = dlog_id(d->sink->dlog),
        .done = dead_put_done,
    };
    return gcs_put_start(d->sink->gcs, &job->put);
}

void plan_dead_name(const struct plan *p, uint32_t objects, char *out)
{
    const size_t stem = strlen(p->object) - strlen(".json");

    ASSERT(objects >= 1 && objects <= OBJECTS_MAX && p->key.encoding == ENCODING_INSERT);
    if (objects == 1)
        snprintf(out, sizeof(((struct insert_job *)NULL)->name), "%s", p->object);
    else
        snprintf(out, sizeof(((struct insert_job *)NULL)->name), "%.*s_r%u.json", (int)stem,
                 p->object, objects);
}

void insert_job_finish(struct delivery *d, struct delivery_list *from)
{
    struct insert_job *job = d->job;
    int rc;

    ASSERT(job != NULL && job->left == 0);
    content_drop(d);
    text_fini(&job->body);
    if (job->refused == 0) {
        record_outcome(d, from);
        return;
    }
    if (job->outcome.objects == 0)
        job->outcome.objects = 1;
    rc = dead_make(job);
    if (rc == 0 && delivery_paused(d)) {
        delivery_hold(d, from);
        return;
    }
    delivery_move(d, from, &d->sink->refusing, DELIVERY_REFUSING);
    if (rc == 0)
        rc = dead_put(d);
    if (rc < 0)
        deliver_park(d, &d->sink->refusing, strerror(-rc), true);
}
