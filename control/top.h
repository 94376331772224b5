/*
 * `penstock top`: what happens now. Looks twice, an interval apart, and shows the difference; the
 * client asks again and again. Thread: control.
 */
#ifndef PENSTOCK_CONTROL_TOP_H
#define PENSTOCK_CONTROL_TOP_H

#include "control/daemon.h"
#include "control/totals.h"

#define TOP_INTERVAL_US     INT64_C(1000000)
#define TOP_INTERVAL_US_MIN INT64_C(100000)
#define TOP_INTERVAL_US_MAX INT64_C(60000000)
#define TOP_ROWS            24
#define TOP_COLUMNS         80

/** What is to be shown. */
struct top_options {
    bool json;
    int64_t interval_us;    /* 0: TOP_INTERVAL_US */
    uint32_t rows, columns; /* of text; 0: TOP_ROWS, TOP_COLUMNS */
};

/** One type with its rates. */
struct top_type {
    const struct type_total *total;                 /* now */
    double events, dead_letters, sampled_out, late; /* a second */
};

/** Two looks and what is between them. */
struct top {
    struct daemon *d;
    struct totals before, now;
    struct histogram_copy answers; /* of the interval, microseconds */
    double seconds;
    uint64_t rss, heap;
    uint32_t n_types;
    struct top_type *type; /* busiest first */
    struct tuning_pause *pause;
    uint32_t n_pauses;
};

/** Shows one interval; takes as long. */
void top_run(struct daemon *d, const struct top_options *o, struct textbuf *out);

/** A counter's growth a second: count is an offset in struct totals. */
double top_rate(const struct top *t, size_t count);

/** Writes it for a screen of so many rows and columns. */
void top_text(const struct top *t, uint32_t rows, uint32_t columns, struct textbuf *out);

#endif
