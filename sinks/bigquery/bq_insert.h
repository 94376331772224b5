/*
 * tabledata.insertAll: requests made of rows, and answers taken apart. One call is one request: who
 * calls decides what is sent again and when, because that depends on the other rows of its plan and
 * on its table.
 *
 * An answer is 200 even when rows failed; so success is only what a well-formed answer does not list.
 */
#ifndef PENSTOCK_BQ_INSERT_H
#define PENSTOCK_BQ_INSERT_H

#include "dataplane/json/walk.h"
#include "sinks/bigquery/bigquery.h"
#include "sinks/engine/text.h"

#define BQ_INSERT_BYTES_MAX (10000000u - 65536u) /* BigQuery: 10 MB a request, headers included */
#define BQ_INSERT_ROWS_MAX  50000u               /* BigQuery: rows of a request */

/* What became of a row. */
enum bq_row_verdict {
    BQ_ROW_IN,      /* the table has it */
    BQ_ROW_AGAIN,   /* stopped by another row, or a passing failure: send it again, same insertId */
    BQ_ROW_REFUSED, /* for good */
};

enum bq_insert_outcome {
    BQ_INSERT_ANSWERED,  /* verdict[] says what became of each row */
    BQ_INSERT_TOO_LARGE, /* 413: fewer rows may pass */
    BQ_INSERT_INVALID,   /* 400 for the request as a whole: perhaps because of one of its rows */
    BQ_INSERT_LATER,     /* a passing failure, rows may be in: the same again, later */
    BQ_INSERT_LAG,       /* 404: the table is not there, or not yet for the streaming path */
    BQ_INSERT_ODD,       /* 200 with an answer that makes no sense: rows may be in */
    BQ_INSERT_PERMANENT, /* rights, names: somebody has to see to it */
};

/** What is known of a request when it has ended. */
struct bq_insert_result {
    enum bq_insert_outcome outcome;
    enum answer_class class; /* LATER: for retry_delay_us() */
    int64_t retry_after_s;   /* what the server asked for, or -1 */
    bool cut;         /* LATER: the connection was cut: perhaps because the request is large */
    const char *text; /* for people */
};

/** One request. Embedded; zero it before filling; everything pointed to is kept until done. */
struct bq_insert {
    const char *table;
    const struct text *body; /* bq_insert_begin() to bq_insert_end() */
    uint32_t n_rows;
    uint8_t *verdict; /* n_rows of enum bq_row_verdict, filled when ANSWERED */
    /* Before done, for each refused row: BigQuery's reason, location and message. */
    void (*refused)(struct bq_insert *i, uint32_t index, const char *text);
    void (*done)(struct bq_insert *i, const struct bq_insert_result *result);
    const char *waiting; /* for a token: why */
    void *_op;
};

/** Begins a request's body in an empty text. Thread: any. */
void bq_insert_begin(struct text *body);

/**
 * Appends a row: a line of the archive, or a wrapped one, in the form that insertAll takes. JSON
 * columns (nested ones too) become strings of JSON text, NUMERICs and long INTEGERs strings.
 * Thread: any.
 * @param first whether it is the first of the body.
 * @param id becomes the insertId; at most 128 plain characters.
 */
void bq_insert_add(struct text *body, bool first, struct span id, const struct schema *schema,
                   struct json_value row);

/** Ends a body. Thread: any. */
void bq_insert_end(struct text *body);

/** Bytes that a body is longer than its rows with their commas. Thread: any. */
size_t bq_insert_frame_bytes(void);

/**
 * Takes the answer to n_rows rows apart, strictly: an index out of range or twice, an entry without
 * a reason, another kind of answer: all of it is worthless then.
 * Thread: any.  Alloc: none, but for long texts.
 * @param verdict n_rows, filled on success.
 * @param refused may be NULL; called for each refused row, only when the whole answer is well-formed.
 * @return NULL, or what is wrong with the answer.
 */
const char *bq_insert_read(struct span answer, uint32_t n_rows, uint8_t *verdict,
                           void (*refused)(void *ctx, uint32_t index, const char *text), void *ctx);

/** Sends a request. Thread: the loop's. @return 0; -ENOMEM, and done never runs. */
int bq_insert_start(struct bq *b, struct bq_insert *i) WARN_UNUSED;

/** Ends a request without done. One that is not under way is fine. Thread: the loop's. */
void bq_insert_cancel(struct bq_insert *i);

#endif
