/*
 * COLD. Reads the object of a refused load again: to find the row at fault, to make an object of some
 * of its lines, or to make its only row a dead letter. One object at a time in a sink thread, so what
 * it holds in memory is one object's lines at most, whatever the number of tables in trouble.
 *
 * An object is used only when its bytes are those that were stored: then what is made of it is a
 * function of the load, and the same again after a crash.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/event/assemble.h"
#include "dataplane/event/timeval.h"
#include "sinks/sink_internal.h"

#define GZIP_WINDOW   (15 + 16)
#define EXPAND_BYTES  65536u
#define PIECES_FOLDER "staging/pieces/"

struct rewrite {
    struct table *t; /* whose load is read; NULL: nothing is under way */
    struct gcs_get get;
    struct gcs_put put;
    bool gzip, ended; /* the stored object; its gzip file is complete */
    z_stream zip;
    uint64_t bytes, lines; /* plain, so far */
    uint32_t crc32c;
    uint64_t from;    /* byte at which the first line of the load starts */
    int64_t position; /* of the row at fault, from there on, or -1 */
    int64_t row;      /* at fault, or -1 */
    struct text out;  /* the lines of the load */
    struct text letter;
    struct iovec iov;
};

static void rewrite_reset(struct rewrite *w)
{
    if (w->gzip)
        (void)inflateEnd(&w->zip);
    text_fini(&w->out);
    text_fini(&w->letter);
    *w = (struct rewrite){0};
}

void rewrite_free(struct sink *s)
{
    if (s->rewrite == NULL)
        return;
    rewrite_reset(s->rewrite);
    free(s->rewrite);
    s->rewrite = NULL;
}

static struct table *rewrite_leave(struct rewrite *w)
{
    struct table *t = w->t;

    ASSERT(t != NULL && t->state == TABLE_READING);
    rewrite_reset(w);
    return t;
}

static void rewrite_failed(struct rewrite *w, const char *what, const char *name, const char *why)
{
    struct table *t = rewrite_leave(w);
    char text[REASON_TEXT_BYTES];

    snprintf(text, sizeof(text), "%.100s%s%s gs://%.63s/%.150s: %.140s", t->text,
             t->text[0] != '\0' ? "; " : "", what, t->sink->config.gcs.bucket, name, why);
    load_set_aside(t, text, false);
}

/* ---- reading ---- */

static uint64_t first_line(const struct load *l)
{
    ASSERT(l->id != 0);
    return l->piece ? l->first : 0;
}

/* The next plain bytes. @return false when they cannot be the object's, or without memory. */
static bool plain_take(struct rewrite *w, struct span s)
{
    const struct load *l = &w->t->load;

    ASSERT(w->t->loading.n == 1 && w->t->state == TABLE_READING);
    w->crc32c = crc32c(w->crc32c, s.ptr, s.len);
    while (s.len > 0) {
        const char *end = memchr(s.ptr, '\n', s.len);
        size_t len = end != NULL ? (size_t)(end - s.ptr) + 1 : s.len;

        if (w->lines < first_line(l)) {
            w->from = w->bytes + len;
        } else if (w->lines - first_line(l) < l->rows) {
            if (w->row < 0 && w->position >= 0 && w->position < (int64_t)(w->bytes + len - w->from))
                w->row = (int64_t)w->lines;
            if (w->t->reading != REWRITE_LOCATE)
                text_add(&w->out, (struct span){s.ptr, len});
        }
        w->bytes += len;
        w->lines += end != NULL ? 1 : 0;
        s.ptr += len;
        s.len -= len;
    }
    return w->bytes <= w->t->loading.first->bytes && !text_failed(&w->out);
}

static bool gzip_take(struct rewrite *w, struct span s)
{
    char out[EXPAND_BYTES];

    ASSERT(w->gzip && w->t->loading.first->gzip);
    w->zip.next_in = (Bytef *)(uintptr_t)s.ptr;
    w->zip.avail_in = (uInt)s.len;
    do {
        int rc = w->ended ? Z_DATA_ERROR : Z_OK;

        w->zip.next_out = (Bytef *)out;
        w->zip.avail_out = sizeof(out);
        if (rc == Z_OK)
            rc = inflate(&w->zip, Z_NO_FLUSH);
        w->ended |= rc == Z_STREAM_END;
        if ((rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) ||
            !plain_take(w, (struct span){out, sizeof(out) - w->zip.avail_out}))
            return false;
    } while (w->zip.avail_in > 0 || w->zip.avail_out == 0);
    return true;
}

static bool on_piece(struct gcs_get *get, struct span piece)
{
    struct rewrite *w = container_of(get, struct rewrite, get);

    ASSERT(w->t != NULL && piece.len > 0);
    return w->gzip ? gzip_take(w, piece) : plain_take(w, piece);
}

/* ---- what is made of it ---- */

static void piece_put_done(struct gcs_put *put, enum gcs_result result, int64_t generation,
                           const char *text)
{
    struct rewrite *w = container_of(put, struct rewrite, put);
    struct table *t;

    ASSERT(w->t->load.piece && w->t->reading == REWRITE_PIECE);

    (void)generation;
    if (result != GCS_DONE) {
        rewrite_failed(w, "cannot write", w->t->piece_name, text);
        return;
    }
    t = rewrite_leave(w);
    t->piece_stored = true;
    t->state = TABLE_RECORDING; /* a pause may hold it so: its object is not to be read again */
    load_begin(t);
}

static void letter_put_done(struct gcs_put *put, enum gcs_result result, int64_t generation,
                            const char *text)
{
    struct rewrite *w = container_of(put, struct rewrite, put);

    ASSERT(w->t->reading == REWRITE_REJECT);

    (void)generation;
    if (result != GCS_DONE)
        rewrite_failed(w, "cannot write", w->t->reject.object, text);
    else
        load_rejected(rewrite_leave(w));
}

static int object_put(struct rewrite *w, const char *name, const struct text *body,
                      void (*done)(struct gcs_put *put, enum gcs_result result, int64_t generation,
                                   const char *text))
{
    struct sink *s = w->t->sink;

    ASSERT(body->len > 0);
    w->iov = (struct iovec){.iov_base = body->ptr, .iov_len = body->len};
    w->put = (struct gcs_put){
        .name = name,
        .content_type = "application/x-ndjson",
        .body = &w->iov,
        .body_parts = 1,
        .bytes = body->len,
        .crc32c = crc32c(0, body->ptr, body->len),
        .plain_bytes = body->len,
        .plain_crc32c = crc32c(0, body->ptr, body->len),
        .plan_id = w->t->load.id,
        .events = w->t->load.rows,
        .log_id = dlog_id(s->dlog),
        .done = done,
    };
    return gcs_put_start(s->gcs, &w->put);
}

/* The event type of an object: the folder behind "output/" or "staging/". */
static struct span type_of(const char *object, char *out)
{
    const char *type = strchr(object, '/'), *end = type != NULL ? strchr(type + 1, '/') : NULL;
    int n = end != NULL && end - type - 1 <= TYPE_ESCAPED_BYTES_MAX
                ? name_unescape((struct span){type + 1, (size_t)(end - type - 1)}, out)
                : -EINVAL;

    ASSERT(n >= 0); /* we named it */
    return (struct span){out, (size_t)n};
}

static int letter_put(struct rewrite *w)
{
    struct table *t = w->t;
    const struct debt *d = t->loading.first;
    char type[TYPE_ESCAPED_BYTES_MAX];
    struct refused_row row = {
        .type = type_of(d->object, type),
        .line = {w->out.ptr, w->out.len},
        .row = first_line(&t->load),
        .form = d->encoding == ENCODING_WRAPPED ? LETTER_WRAPPED : LETTER_MOVED,
        .why = t->text,
    };
    struct event_facts facts = {0};
    int rc = letter_append(&w->letter, &row);

    ASSERT(t->load.rows == 1 && t->reading == REWRITE_REJECT);
    if (rc < 0)
        return rc;
    (void)!event_facts(row.line, &facts);
    dead_object_name(t->sink, row.type, time_minute(facts.processed_us), t->load.id, "",
                     t->reject.object);
    t->reject.bytes = w->letter.len;
    t->reject.crc32c = crc32c(0, w->letter.ptr, w->letter.len);
    return object_put(w, t->reject.object, &w->letter, letter_put_done);
}

static void read_use(struct rewrite *w)
{
    struct table *t = w->t;
    int64_t row = w->row;
    int rc = 0;

    ASSERT(row < 0 || (uint64_t)row - first_line(&t->load) < t->load.rows);
    switch (t->reading) {
    case REWRITE_LOCATE:
        load_located(rewrite_leave(w), row);
        return;
    case REWRITE_PIECE:
        rc = object_put(w, t->piece_name, &w->out, piece_put_done);
        break;
    default:
        rc = letter_put(w);
        break;
    }
    if (rc < 0)
        rewrite_failed(w, "cannot write a part of", t->loading.first->object, strerror(-rc));
}

static void read_done(struct gcs_get *get, enum gcs_result result, const char *text)
{
    struct rewrite *w = container_of(get, struct rewrite, get);
    const struct debt *d = w->t->loading.first;
    bool changed = w->bytes > d->bytes;

    ASSERT(w->t->state == TABLE_READING && w->t->loading.n == 1);

    if (result == GCS_DONE)
        changed = w->bytes != d->bytes || w->crc32c != d->crc32c || (w->gzip && !w->ended) ||
                  w->lines < first_line(&w->t->load) + w->t->load.rows;
    if (changed)
        rewrite_failed(w, "not used:", d->object, "somebody has replaced it since it was stored");
    else if (result != GCS_DONE)
        rewrite_failed(w, "cannot read", d->object, text);
    else
        read_use(w);
}

/* ---- turns ---- */

void rewrite_start(struct table *t, enum rewrite_mode mode)
{
    ASSERT(t->loading.n == 1 && t->load.n_plans == 1);
    t->reading = (uint8_t)mode;
    t->state = TABLE_READING;
    rewrite_run(t->sink);
}

static struct table *next_table(const struct sink *s)
{
    for (struct table *t = s->tables; t != NULL; t = t->next) {
        if (t->state == TABLE_READING)
            return t;
    }
    return NULL;
}

void rewrite_run(struct sink *s)
{
    struct table *t = s->gcs_paused ? NULL : next_table(s);
    struct rewrite *w = s->rewrite;

    if (t == NULL || (w != NULL && w->t != NULL))
        return;
    if (w == NULL)
        w = s->rewrite = calloc(1, sizeof(*w));
    if (w == NULL)
        return; /* at the next tick */
    ASSERT(t->loading.n == 1);
    w->t = t;
    w->row = -1;
    w->position = t->reading == REWRITE_LOCATE ? t->job.refusal.position : -1;
    w->gzip = t->loading.first->gzip;
    if (w->gzip && inflateInit2(&w->zip, GZIP_WINDOW) != Z_OK) {
        w->gzip = false;
        rewrite_reset(w);
        return;
    }
    w->get =
        (struct gcs_get){.name = t->loading.first->object, .take = on_piece, .done = read_done};
    if (gcs_get_start(s->gcs, &w->get) < 0)
        rewrite_reset(w);
}
