/* What the files of tuning share. */
#ifndef PENSTOCK_CONTROL_TUNING_INTERNAL_H
#define PENSTOCK_CONTROL_TUNING_INTERNAL_H

#include <pthread.h>

#include "control/knobs.h"
#include "control/tuning.h"

/** What is known of a value beside itself. */
struct tuning_term {
    int64_t due_us;   /* monotonic: then it is given back; 0: it is not */
    int64_t until_us; /* the same by the wall clock, for people */
    bool stuck;       /* it could not be given back, and this was said */
};

/** The sampling of one type that was set live. */
struct tuning_type {
    char name[TYPE_NAME_BYTES_MAX + 1];
    int32_t lasting, now; /* parts per million; TYPE_SAMPLING_DEFAULT: as the file says */
    struct tuning_term term;
};

struct tuning {
    pthread_mutex_t lock;
    const struct config *start; /* as loaded */
    /* Copies that share its texts. Their origins say where a value is from: "live" for `set`. */
    struct config lasting; /* what holds when no time runs any more */
    struct config now;     /* what holds */
    struct tuning_term term[CONFIG_KNOBS_MAX];
    uint32_t n_types, types_room;
    struct tuning_type *type; /* by name */
    uint32_t n_pauses;
    struct tuning_pause *pause; /* room for TUNING_PAUSES_MAX */
    char *pause_path;
    uint32_t n_refused;
    struct tuning_refused *refused;
    uint64_t types_version;
    const struct door_keys *keys;
    struct live *live;
};

/** Where values that were set live are from. */
extern const char tuning_origin[];

/** The configured type's own sampling, or TYPE_SAMPLING_DEFAULT. */
int32_t tuning_type_start(const struct tuning *t, const char *type);

/** The live value of a type, or NULL. */
struct tuning_type *tuning_type_find(struct tuning *t, const char *type);

/** Publishes what holds now; types says whether anything of types has changed. Under the lock. */
void tuning_publish(struct tuning *t, bool types);

/** Ends pauses whose time is over. Under the lock. @return whether there were any. */
bool tuning_pauses_expire(struct tuning *t);

/** Reads what was paused before this start. Thread: init. @return 0; -errno with one sentence. */
int tuning_pauses_load(struct tuning *t, char *error, size_t error_len) WARN_UNUSED;

#endif
