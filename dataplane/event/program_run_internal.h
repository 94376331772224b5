/* HOT. A run of a program over one event: its state, and what check.c does for it off the straight way. */
#ifndef PENSTOCK_EVENT_PROGRAM_RUN_INTERNAL_H
#define PENSTOCK_EVENT_PROGRAM_RUN_INTERNAL_H

#include "dataplane/event/program_internal.h"

#define SEEN_WORDS (SCHEMA_FIELDS_MAX / 64 + SCHEMA_DEPTH_MAX + 1)
#define NO_INDEX   UINT32_MAX

/* Where the walk is, in registers while one RECORD is walked. */
struct cursor {
    const char *p;     /* by bytes */
    const uint32_t *t; /* by tokens */
    char *out;
};

/* A RECORD that is open: for the names of cuts. */
struct frame {
    const struct schema_field *field;
    uint32_t index; /* of a REPEATED one, else NO_INDEX */
};

struct run {
    const struct program *program;
    const char *origin; /* tokens count from here */
    const char *end;    /* of the document */
    const char *out_end;
    struct cursor at; /* between RECORDs */
    uint32_t n_frames, seen_used;
    bool line;         /* added columns are columns */
    bool keep_unknown; /* no cuts but of our own columns' names */
    bool far_numbers;  /* a number may be past the largest double */
    bool no_room;
    const char *base; /* offsets count from here */
    struct check_result *result;
    struct json_value overflow; /* of a line; ABSENT: none */
    struct frame frame[SCHEMA_DEPTH_MAX];
    uint64_t seen[SEEN_WORDS]; /* cleared as RECORDs open */
};

/* Each of these says what is wrong and where. @return false, for the caller to return. */
bool run_fail(struct run *r, enum reason reason, const char *at, const char *path,
              const char *text) COLD_PATH;
bool run_fail_type(struct run *r, const struct schema_field *f, bool repeated,
                   struct json_value v) COLD_PATH;
bool run_fail_value(struct run *r, const struct schema_field *f, struct json_value v,
                    const char *why) COLD_PATH;
bool run_fail_missing(struct run *r, const struct program_column *record, const uint64_t *seen,
                      const char *object) COLD_PATH;

/** A member that no column takes: lists it as a cut, unless unknown ones are kept. f: a column of
 * ours of that name, or NULL. @return false when it cannot be. */
bool run_unknown(struct run *r, const struct schema_field *f, const struct json_member *m);

/** Any scalar, in any form: checks it and, with emit, writes it at c->out. @return false with the
 * finding in r->result, or without room. */
bool run_scalar(struct run *r, struct cursor *c, const struct program_column *col,
                struct json_value v, bool emit);

/** Writes a string with escapes, its length in front. raw is readable, and out writable, for
 * JSON_PADDING_BYTES past its end. @return past it. */
char *put_unescaped(char *out, struct span raw);

/** Where a program's own plan for an event's shape is or belongs; NULL when it cannot have one. */
struct program_plan *plan_of(struct program_memory *m, const struct program *p,
                             const struct json_event *ev);

/** Another program's plan that plan_adopt() has found for this run and event; NULL: none. */
struct program_plan *plan_adopted(struct program_memory *m, const struct run *r,
                                  const struct json_event *ev);

/** Looks for another program's plan that says of events of this shape what this run's program would.
 * The event has been walked without any finding. @return whether there is one from now on. */
bool plan_adopt(struct program_memory *m, const struct run *r,
                const struct json_event *ev) COLD_PATH;

/**
 * Does what the plan says.
 * @return whether the event fits; if not, nothing is known of it: walk it.
 */
bool plan_run(const struct program_plan *plan, struct run *r, const struct json_event *ev,
              bool emit);

/** Makes the plan for an event that has been walked without any finding. */
void plan_learn(struct program_memory *m, struct program_plan *plan, const struct run *r,
                const struct json_event *ev) COLD_PATH;

/** The column of a raw key in a RECORD, or NULL. */
const struct program_column *program_find(const struct program *p,
                                          const struct program_column *record, struct span raw);

/** Begins a result without a finding. */
void check_result_reset(struct check_result *out);

/** The finding about a document that is no object. */
void check_not_object(uint8_t type, struct check_result *out);

/** Whether out lists a member to be moved under this name. */
bool check_name_taken(const struct check_result *out, struct span name);

#endif
