/*
 * Live tuning: the values that knobs have now, who set them and until when; what is paused. Checks
 * a change as a whole, with the knob table and the relations of the configuration, and publishes
 * the outcome to workers and sink threads (dataplane/base/live.h).
 *
 *     value in force = set for a time, else set live, else --set, file, default
 *
 * Values are forgotten at the next start: the file holds. Pauses are kept in data_dir/paused.
 *
 * Thread: control; a mutex inside keeps callers apart.
 */
#ifndef PENSTOCK_CONTROL_TUNING_H
#define PENSTOCK_CONTROL_TUNING_H

#include "control/config.h"
#include "dataplane/base/live.h"

#define TUNING_FOR_US_MIN INT64_C(1000000)
#define TUNING_FOR_US_MAX (INT64_C(365) * 86400 * 1000000)

#define TUNING_PAUSES_MAX  10000
#define TUNING_CHANGES_MAX 64 /* of one request */

struct tuning;

/** One change: a knob's name, or "types.NAME.sampling" with NAME percent-encoded, and its value. */
struct tuning_change {
    const char *name, *value;
};

/** A set of changes. */
struct tuning_request {
    const struct tuning_change *change;
    uint32_t n;
    int64_t for_us; /* 0: until the next start */
    /* Whether there is an event type of this name, and the nearest that there is, or NULL. */
    bool (*type_known)(void *ctx, const char *type);
    const char *(*type_nearest)(void *ctx, const char *type);
    /* Waits until every thread uses what was published. @return threads that do not yet. */
    uint32_t (*settle)(void *ctx);
    void *ctx;
    bool json; /* of the answer */
};

/** What is paused. */
enum tuning_what { TUNING_GCS, TUNING_BIGQUERY, TUNING_TYPE };

/** One pause. */
struct tuning_pause {
    enum tuning_what what;
    char type[TYPE_NAME_BYTES_MAX + 1]; /* of TUNING_TYPE */
    int64_t since_us, until_us;         /* wall clock; until_us 0: until `penstock resume` */
};

/**
 * Takes over a configuration and the pauses that were left.
 * Thread: init.  Owner: caller, until tuning_destroy(); config is borrowed.
 * @return 0; -errno with one sentence.
 */
int tuning_create(const struct config *config, struct tuning **out, char *error,
                  size_t error_len) WARN_UNUSED;

/** Frees it; no thread reads settings any more. NULL is allowed. Thread: control. */
void tuning_destroy(struct tuning *t);

/** What is published. Thread: init and control. */
struct live *tuning_live(struct tuning *t);

/**
 * Changes all or nothing.
 * @param out receives the answer, or one line per mistake.
 * @return 0; -EINVAL.
 */
int tuning_set(struct tuning *t, const struct tuning_request *r, struct textbuf *out) WARN_UNUSED;

/**
 * Writes knobs and per-type values whose names start with filter ("" for all).
 * @return 0; -ENOENT with one line in out when there is none.
 */
int tuning_get(struct tuning *t, const char *filter, bool json, struct textbuf *out) WARN_UNUSED;

/**
 * Pauses a sink or a type, durably; one that is paused gets the new time.
 * @return 0; -E2BIG past TUNING_PAUSES_MAX; -errno when it cannot be written down: then nothing has
 * changed.
 */
int tuning_pause(struct tuning *t, enum tuning_what what, const char *type,
                 int64_t for_us) WARN_UNUSED;

/** Ends a pause, durably. @return 0; -ENOENT when it is not paused; -errno as above. */
int tuning_resume(struct tuning *t, enum tuning_what what, const char *type) WARN_UNUSED;

/** A type of which nothing more is taken. */
struct tuning_refused {
    uint8_t len;
    char name[TYPE_NAME_BYTES_MAX];
};

/** Sets the types of which nothing is taken, in byte order; publishes if that is a change. Thread:
 * control. @return 0 or -ENOMEM. */
int tuning_refuse(struct tuning *t, const struct tuning_refused *types, uint32_t n) WARN_UNUSED;

/** The types of which nothing is taken now. Owner: caller frees *out. @return how many. */
uint32_t tuning_refusals(struct tuning *t, struct tuning_refused **out);

/** What is paused now. Owner: caller frees *out. @return how many. */
uint32_t tuning_pauses(struct tuning *t, struct tuning_pause **out);

/** What holds for one type now. @return whether it is paused: then *pause says how long. */
bool tuning_type_now(struct tuning *t, const char *type, uint32_t *sampling_ppm,
                     struct tuning_pause *pause);

/** Writes a pause for people: "type order, since 2026-11-21T10:00:00Z until 10:10:00Z". */
void tuning_pause_text(const struct tuning_pause *p, struct textbuf *out);

/** Writes a pause as a JSON object. */
void tuning_pause_json(const struct tuning_pause *p, struct textbuf *out);

/** Writes a time as "2026-11-21T10:00:00Z". */
void tuning_time(int64_t wall_us, struct textbuf *out);

/** A type's name from a percent-encoded word (out: TYPE_NAME_BYTES_MAX + 1). */
bool tuning_decode_type(const char *text, size_t len, char *out) WARN_UNUSED;

/** Writes a type's name as a word: what is not a letter, digit, '.', '_' or '-' is %XX. */
void tuning_encode_type(const char *type, struct textbuf *out);

/** Gives values back whose time is over, and resumes what was paused for a time. */
void tuning_tick(struct tuning *t);

/** When tuning_tick() has something to do: microseconds from now, at most max_us. */
int64_t tuning_due_us(struct tuning *t, int64_t max_us);

/** The value of a number knob now. */
uint64_t tuning_number(struct tuning *t, const char *knob);

/** Publishes what lets clients in, together with all values. Owner: caller; it stays valid until every
 * thread has seen two later versions. */
void tuning_publish_keys(struct tuning *t, const struct door_keys *keys);

/** Threads that do not use the latest values yet. */
uint32_t tuning_behind(struct tuning *t);

#endif
