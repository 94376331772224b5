/*
 * Sending documents: batches ahead of their answers, and what was not answered again after a
 * connection broke. The daemon says how far the session is, so nothing is stored twice.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/penstock/ingest_internal.h"

#define RETRY_US      200000
#define BUSY_WAIT_S   5.0
#define WAIT_MS       200
#define STOP_WAIT_US  2000000
#define WAIT_SHOWN_US 2000000

int sender_init(struct ingest_sender *s, const struct ingest_options *o)
{
    *s = (struct ingest_sender){.options = o};
    wire_init(&s->wire, o->socket);
    for (size_t i = 0; i < ARRAY_LEN(s->batch); i++) {
        s->batch[i].line = calloc(INGEST_DOCS_MAX, sizeof(uint64_t));
        s->batch[i].cap = INGEST_BATCH_BYTES;
        s->batch[i].buf = malloc(s->batch[i].cap);
        if (s->batch[i].line == NULL || s->batch[i].buf == NULL) {
            sender_fini(s);
            return -ENOMEM;
        }
    }
    return 0;
}

void sender_fini(struct ingest_sender *s)
{
    wire_fini(&s->wire);
    for (size_t i = 0; i < ARRAY_LEN(s->batch); i++) {
        free(s->batch[i].line);
        free(s->batch[i].buf);
        s->batch[i] = (struct ingest_outgoing){0};
    }
}

static void pause_us(int64_t us)
{
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    ASSERT(us >= 0);
    nanosleep(&t, NULL); /* a signal ends it early */
}

/* ---- opening ---- */

static enum wire_result open_once(struct ingest_sender *s)
{
    char body[INGEST_OPEN_BYTES_MAX];
    enum wire_result rc = wire_connect(&s->wire);
    int n = snprintf(body, sizeof(body), "session=");

    for (size_t i = 0; i < sizeof(s->session); i++)
        n += snprintf(body + n, sizeof(body) - (size_t)n, "%02x", s->session[i]);
    n += snprintf(body + n, sizeof(body) - (size_t)n, "\nname=%s\n", s->shown);
    if (s->options->type != NULL)
        n += snprintf(body + n, sizeof(body) - (size_t)n, "type=%s\n", s->options->type);
    ASSERT(n < (int)sizeof(body));
    if (rc == WIRE_OK)
        rc = wire_send(&s->wire, INGEST_OPEN, body, (size_t)n);
    if (rc == WIRE_OK)
        rc = wire_answer(&s->wire);
    if (rc == WIRE_OK && sscanf(s->wire.body, "%" SCNu64 " %" SCNu64 " %" SCNu64, &s->last_seq,
                                &s->last_note, &s->event_max) != 3) {
        snprintf(s->wire.error, sizeof(s->wire.error), "the daemon's answer cannot be read");
        rc = WIRE_REFUSED;
    }
    return rc;
}

enum wire_result sender_open(struct ingest_sender *s, bool again)
{
    int64_t began = progress_now_us();

    for (;;) {
        enum wire_result rc = open_once(s);
        double waited = (double)(progress_now_us() - began) / 1e6, limit = s->options->wait_s;

        if (rc == WIRE_OK || rc == WIRE_REFUSED || (rc == WIRE_BROKEN && !again) || ingest_stop)
            return rc;
        if (rc == WIRE_LATER && s->wire.busy && limit > BUSY_WAIT_S)
            limit = BUSY_WAIT_S; /* whoever has it is no connection of ours that broke */
        if (waited >= limit)
            return rc;
        progress_show(s->progress, s->wire.error);
        pause_us(RETRY_US);
    }
}

enum wire_result sender_sessions(struct ingest_sender *s, bool again)
{
    int64_t began = progress_now_us();

    for (;;) {
        enum wire_result rc = wire_connect(&s->wire);

        if (rc == WIRE_BROKEN && !again)
            return rc;
        if (rc == WIRE_OK)
            rc = wire_send(&s->wire, INGEST_SESSIONS, "", 0);
        if (rc == WIRE_OK)
            rc = wire_answer(&s->wire);
        if (rc == WIRE_OK || rc == WIRE_REFUSED || ingest_stop ||
            (double)(progress_now_us() - began) / 1e6 >= s->options->wait_s)
            return rc;
        pause_us(RETRY_US);
    }
}

/* ---- answers ---- */

/* Moves the oldest batch behind the others: its memory is used again. */
static void drop_oldest(struct ingest_sender *s)
{
    struct ingest_outgoing first = s->batch[0];

    ASSERT(s->n_sent > 0);
    memmove(&s->batch[0], &s->batch[1], (ARRAY_LEN(s->batch) - 1) * sizeof(s->batch[0]));
    first.len = 0;
    first.n_docs = 0;
    s->batch[ARRAY_LEN(s->batch) - 1] = first;
    s->n_sent--;
}

static void list_dead(struct ingest_sender *s, const char *text)
{
    const struct ingest_outgoing *b = &s->batch[0];
    uint32_t index;
    char reason[64];

    while ((text = strchr(text, '\n')) != NULL && s->listed <= INGEST_LISTED_MAX) {
        text++;
        if (sscanf(text, "%" SCNu32 " %63[a-z_]", &index, reason) != 2 || index >= b->n_docs)
            return;
        if (s->listed++ == INGEST_LISTED_MAX || s->options->quiet)
            return;
        progress_clear(s->progress);
        fprintf(stderr, "penstock: %s:%" PRIu64 ": dead letter: %s%s\n", s->name, b->line[index],
                reason, s->listed == INGEST_LISTED_MAX ? "; further ones are only counted" : "");
    }
}

static enum wire_result take_answer(struct ingest_sender *s)
{
    enum wire_result rc = wire_answer(&s->wire);
    uint64_t accepted, dead, before;

    if (rc != WIRE_OK)
        return rc;
    if (sscanf(s->wire.body, "%" SCNu64 " %" SCNu64 " %" SCNu64, &accepted, &dead, &before) != 3 ||
        accepted + dead + before > s->batch[0].n_docs) {
        snprintf(s->wire.error, sizeof(s->wire.error), "the daemon's answer cannot be read");
        return WIRE_REFUSED;
    }
    s->counts->accepted += accepted;
    s->counts->dead += dead;
    s->counts->unknown += before;
    if (dead > 0)
        list_dead(s, s->wire.body);
    drop_oldest(s);
    return WIRE_OK;
}

/* ---- batches ---- */

static enum wire_result send_batch(struct ingest_sender *s, uint32_t i)
{
    const struct ingest_outgoing *b = &s->batch[i];

    ASSERT(b->n_docs > 0);
    return wire_send(&s->wire, INGEST_BATCH, b->buf, b->len);
}

/* The connection broke: opens the session again, and sends what it lacks. */
static enum wire_result recover(struct ingest_sender *s)
{
    enum wire_result rc = WIRE_BROKEN;

    while (rc == WIRE_BROKEN || rc == WIRE_LATER) {
        uint64_t last = s->last_seq;

        rc = sender_open(s, true);
        if (rc != WIRE_OK)
            return rc;
        if (s->last_seq < last) {
            snprintf(s->wire.error, sizeof(s->wire.error),
                     "the daemon has forgotten this session: is it another data_dir?");
            return WIRE_REFUSED;
        }
        while (s->n_sent > 0 && s->batch[0].last_seq <= s->last_seq) {
            s->counts->unknown += s->batch[0].n_docs;
            drop_oldest(s);
        }
        for (uint32_t i = 0; i < s->n_sent && rc == WIRE_OK; i++)
            rc = send_batch(s, i);
    }
    return rc;
}

static bool may_recover(enum wire_result rc)
{
    return (rc == WIRE_BROKEN || rc == WIRE_LATER) && !ingest_stop;
}

/* Waits for the oldest answer. After a signal only for a moment: the next run asks how far it came.
 */
static bool await_answer(struct ingest_sender *s)
{
    int64_t began = progress_now_us();
    int64_t stopped = 0;

    while (s->wire.fd >= 0 && !wire_ready(&s->wire, WAIT_MS)) {
        int64_t now = progress_now_us();

        if (ingest_stop && stopped == 0)
            stopped = now;
        if (stopped != 0 && now - stopped > STOP_WAIT_US)
            return false;
        progress_show(s->progress,
                      now - began > WAIT_SHOWN_US ? "waiting for room in the journal" : NULL);
    }
    return true;
}

/* Takes an answer; opens the session again when the connection broke. */
static enum wire_result settle(struct ingest_sender *s)
{
    enum wire_result rc = await_answer(s) ? take_answer(s) : WIRE_BROKEN;

    return may_recover(rc) ? recover(s) : rc;
}

/* Holds the rate: the documents sent so far may not be ahead of the time. */
static void hold_rate(struct ingest_sender *s)
{
    int64_t now = progress_now_us(), due_us;

    if (s->options->rate == 0)
        return;
    if (s->rate_from_us == 0)
        s->rate_from_us = now;
    due_us =
        s->rate_from_us + (int64_t)((double)s->counts->documents / (double)s->options->rate * 1e6);
    while (now < due_us && !ingest_stop) {
        pause_us(due_us - now < RETRY_US ? due_us - now : RETRY_US);
        progress_show(s->progress, NULL);
        now = progress_now_us();
    }
}

/* Sends the batch that is being filled. */
static enum wire_result dispatch(struct ingest_sender *s)
{
    enum wire_result rc = WIRE_OK;

    ASSERT(s->batch[s->n_sent].n_docs > 0);
    hold_rate(s);
    rc = send_batch(s, s->n_sent++);
    if (may_recover(rc))
        rc = recover(s);
    while (rc == WIRE_OK && s->n_sent > 0 &&
           (s->n_sent == INGEST_WINDOW || wire_ready(&s->wire, 0)))
        rc = settle(s);
    progress_show(s->progress, NULL);
    return rc;
}

static bool batch_full(const struct ingest_sender *s, size_t bytes)
{
    const struct ingest_outgoing *b = &s->batch[s->n_sent];
    uint64_t docs_max = s->options->rate == 0       ? INGEST_DOCS_MAX
                        : s->options->rate / 20 < 1 ? 1
                                                    : s->options->rate / 20;

    return b->n_docs > 0 && (b->n_docs == INGEST_DOCS_MAX || b->n_docs >= docs_max ||
                             b->len + bytes > INGEST_BATCH_BYTES);
}

enum wire_result sender_add(struct ingest_sender *s, const struct document *doc, uint64_t note)
{
    struct ingest_doc_header h = {
        .seq = doc->end,
        .note = note,
        .line = doc->element > 0 ? doc->element : doc->line,
        .whole = doc->whole,
        .len = (uint32_t)doc->len,
    };
    size_t bytes = sizeof(h) + doc->len;
    enum wire_result rc = batch_full(s, bytes) ? dispatch(s) : WIRE_OK;
    struct ingest_outgoing *b = &s->batch[s->n_sent];

    ASSERT(doc->len <= s->event_max && s->n_sent < ARRAY_LEN(s->batch));
    if (rc != WIRE_OK)
        return rc;
    if (b->len + bytes > b->cap) {
        char *larger = realloc(b->buf, b->len + bytes);

        if (larger == NULL) {
            snprintf(s->wire.error, sizeof(s->wire.error), "out of memory");
            return WIRE_REFUSED;
        }
        b->buf = larger;
        b->cap = b->len + bytes;
    }
    memcpy(b->buf + b->len, &h, sizeof(h));
    memcpy(b->buf + b->len + sizeof(h), doc->ptr, doc->len);
    b->len += bytes;
    b->line[b->n_docs++] = h.line;
    b->last_seq = h.seq;
    s->counts->documents++;
    return WIRE_OK;
}

enum wire_result sender_flush(struct ingest_sender *s, bool wait)
{
    enum wire_result rc = WIRE_OK;

    if (s->batch[s->n_sent].n_docs > 0)
        rc = dispatch(s);
    while (rc == WIRE_OK && wait && s->n_sent > 0)
        rc = settle(s);
    return rc;
}
