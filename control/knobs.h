/*
 * The knob table: every key of the configuration with its kind, range, default and help. Parser,
 * --check, --set, docs/configuration.md and tests read this one table.
 */
#ifndef PENSTOCK_CONTROL_KNOBS_H
#define PENSTOCK_CONTROL_KNOBS_H

#include "control/config.h"

enum knob_kind {
    KNOB_TEXT,     /* const char * */
    KNOB_ADDRESS,  /* const char *: host:port */
    KNOB_SIZE,     /* uint64_t bytes */
    KNOB_DURATION, /* uint64_t microseconds */
    KNOB_COUNT,    /* uint64_t */
    KNOB_FRACTION, /* uint64_t parts per million */
    KNOB_BOOL,     /* bool */
    KNOB_CHOICE,   /* uint64_t: index among choices */
    KNOB_LIST,     /* struct config_list */
    KNOB_MAP,      /* struct config_map */
    KNOB_WORKERS,  /* workers and core: a count, or a list of cores */
    KNOB_TYPES,    /* types.list: maps of type_knobs */
};

/* KNOB_RUNTIME: `penstock set` changes it. Only numbers, choices and booleans are. */
enum knob_phase { KNOB_STARTUP, KNOB_RUNTIME };

/** One key. */
struct knob {
    const char *name; /* dotted */
    enum knob_kind kind;
    size_t offset;        /* in struct config */
    uint64_t min, max;    /* of numbers; of a text its length */
    const char *fallback; /* default as in a file; "" for none */
    const char *choices;  /* "disk|memory" */
    enum knob_phase phase;
    const char *help;
};

/** The table and its length. Thread: any. */
const struct knob *knobs_all(uint32_t *n);

/** Index of a key, or -1. Thread: any. */
int knob_index(const char *name);

/** The knob of a key that is known to exist. Thread: any. */
const struct knob *knob_get(const char *name);

/** Whether some key lies below this one: "http" for "http.listen". Thread: any. */
bool knob_is_section(const char *name);

/** The known key or section nearest to a mistyped one, or NULL. Thread: any. */
const char *knob_nearest(const char *name);

/** One key of an entry of types.list. */
struct type_knob {
    const char *name;
    const char *allowed;
    const char *help;
};

/** The keys of an entry of types.list and their number. Thread: any. */
const struct type_knob *knobs_of_type(uint32_t *n);

/** Writes what a knob allows: "a size from 1KiB to 64KiB, such as 16KiB". Thread: any. */
void knob_allowed(const struct knob *k, struct textbuf *out);

/** Writes a number as a knob's value: "64MiB", "10ms", "3", "0.25". Thread: any. */
void knob_format(enum knob_kind kind, uint64_t value, struct textbuf *out);

/** Writes the value that a configuration has, as --set would take it. Thread: any. */
void knob_value(const struct knob *k, const struct config *c, struct textbuf *out);

/** The value as a number: bytes, microseconds, parts per million, an index among choices, 0 or 1.
 * Only of knobs that may be changed at run time. Thread: any. */
uint64_t knob_number(const struct knob *k, const struct config *c);

/** Copies the value of a knob that may be changed at run time. Thread: any. */
void knob_copy(const struct knob *k, const struct config *from, struct config *to);

#endif
