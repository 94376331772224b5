/* COLD. The table of command line options, and the parsing of one option's value. */
#ifndef GEN_KNOBS_H
#define GEN_KNOBS_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/gen/gen_options.h"

enum gen_knob_form {
    GEN_KNOB_U32,
    GEN_KNOB_U64,
    GEN_KNOB_DOUBLE,
    GEN_KNOB_STRING,
    GEN_KNOB_FLAG,   /* no value: sets true */
    GEN_KNOB_SWITCH, /* 0 or 1 */
    GEN_KNOB_PARSED, /* by parse */
};

struct gen_knob {
    const char *name;     /* without dashes */
    const char *argument; /* as in --help; NULL for a flag */
    const char *help;
    enum gen_knob_form form;
    size_t offset; /* of the field in struct gen_options */
    double min;    /* accepted range of numbers */
    double max;
    /* Sets its fields from text; returns NULL, or what is accepted. */
    const char *(*parse)(struct gen_options *o, const char *text);
};

extern const struct gen_knob gen_knobs[];
extern const size_t gen_knobs_count;

/**
 * Sets the knob's field in *o from text (NULL for a flag). Prints a message when text is not
 * accepted. Thread: init.  Alloc: none.
 * @return true when accepted.
 */
bool gen_knob_set(const struct gen_knob *knob, struct gen_options *o, const char *text);

#endif
