/*
 * HOT. Makes events: compact JSON, one event a line, with the fields and value ranges of the three
 * types order, inventory and user_activity. What event number seq contains follows from the seed
 * and seq alone, and from the reference time that its event time is counted back from.
 *
 * Ids: order_id "ord-{seed}-{seq}", inventory_id "inv-{seed}-{seq}", and for user_activity
 * metadata.session_id "ses-{seed}-{seq}".
 */
#ifndef GEN_EVENT_H
#define GEN_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/gen/gen_rich.h"
#include "tools/gen/gen_text.h"

enum gen_type { GEN_ORDER, GEN_INVENTORY, GEN_USER_ACTIVITY, GEN_TYPES };

/* X(enumerator, name in logs and reports): what is wrong with an event, if anything. */
#define GEN_KINDS(X)                              \
    X(GEN_GOOD, "good")                           \
    X(GEN_LATE, "late")                           \
    X(GEN_OUT_OF_ORDER, "out_of_order")           \
    X(GEN_DUPLICATE, "duplicate")                 \
    X(GEN_BROKEN_JSON, "malformed:broken_json")   \
    X(GEN_BAD_UTF8, "malformed:bad_utf8")         \
    X(GEN_MISSING_TYPE, "malformed:missing_type") \
    X(GEN_WRONG_TYPE, "malformed:wrong_type")     \
    X(GEN_MISSING_FIELD, "malformed:missing_field")

enum gen_kind {
#define X(enumerator, name) enumerator,
    GEN_KINDS(X)
#undef X
        GEN_KINDS_COUNT
};

#define GEN_KIND_MALFORMED_FIRST GEN_BROKEN_JSON

#define GEN_DUPLICATE_DISTANCE_MAX 1000 /* events between an event and its duplicate, at most */

enum {
    GEN_ID_BYTES_MAX = 48,      /* "ord-" and two 20-digit numbers with a dash */
    GEN_EVENT_BYTES_MAX = 1024, /* largest shop event, line break included; asserted per event */
    GEN_TYPE_NAMES_MAX = 100000,
};

/* What to make. Plain values: filled by the options, later by a scenario. */
struct gen_event_config {
    uint64_t seed;
    enum gen_family family; /* but for GEN_SHOP nothing else below counts than now_s */
    uint32_t type_weights[GEN_TYPES];
    double malformed_percent;
    double late_percent;
    double out_of_order_percent;
    double duplicates_percent;
    double hot_percent;       /* draws of customer, product and warehouse that are of the first */
    uint32_t hot_keys;        /* so many of each */
    double disorder_s;        /* how far back an event out of order lies at most */
    bool ordered;             /* times are the clock's, but for those out of order or late */
    bool sequence;            /* add "sequence": the event's number */
    uint32_t type_names;      /* each type under so many names; 1: its own */
    uint32_t malformed_kinds; /* bit 1 << kind; not empty when malformed_percent > 0 */
    int64_t now_s;            /* reference time; 0: the clock */
};

/* What event number seq is. */
struct gen_event_info {
    uint8_t type; /* enum gen_type */
    uint8_t kind; /* enum gen_kind */
};

/* One thread's event maker. Fields are private; the struct is here to live on a stack. */
struct gen_events {
    uint64_t _seed;
    enum gen_family _family;
    uint32_t _type_weights_sum;
    uint32_t _type_bounds[GEN_TYPES];
    uint32_t _malformed_bound; /* in parts of 2^32-1 */
    uint32_t _late_bound;
    uint32_t _out_of_order_bound;
    uint32_t _duplicate_bound;
    uint32_t _hot_bound;
    uint32_t _hot_keys;
    uint64_t _disorder_us;
    bool _ordered;
    bool _sequence;
    uint32_t _type_names;
    uint8_t _malformed_kinds[GEN_KINDS_COUNT];
    uint32_t _malformed_kinds_count;
    int64_t _fixed_now_us;
    int64_t _now_us;
    char _id_tail[24]; /* "-{seed}-" */
    uint32_t _id_tail_bytes;
    struct gen_day_cache _day;
};

/**
 * Prepares g for config. At least one weight is above 0; the percentages of malformed, late and
 * out of order are within 0..100 together. Thread: the owner of g.  Alloc: none.
 */
void gen_events_init(struct gen_events *g, const struct gen_event_config *config);

/**
 * Takes the current time as reference for the events that follow, unless the config fixes it. Call
 * it once a batch: reading the clock per event would cost a tenth of the whole. Thread: the owner
 * of g.  Alloc: none.
 */
void gen_events_refresh_now(struct gen_events *g);

/**
 * Room that an event of g needs, line break included.
 * Thread: any.  Alloc: none.
 */
size_t gen_events_bytes_max(const struct gen_events *g);

/**
 * Writes event number seq, without line break, to out, which has room for gen_events_bytes_max().
 * Thread: the owner of g.  Alloc: none.
 * @return bytes written; *info says what it is.
 */
size_t gen_events_write(struct gen_events *g, uint64_t seq, char *out, struct gen_event_info *info);

/**
 * Writes the good shop event number seq of one type; else like gen_events_write().
 * Thread: the owner of g.  Alloc: none.
 */
size_t gen_events_write_type(struct gen_events *g, uint64_t seq, enum gen_type type, char *out);

/**
 * The number of the event that event number seq says again, or seq itself when it is no duplicate.
 * Thread: any.  Alloc: none.
 */
uint64_t gen_events_origin(const struct gen_events *g, uint64_t seq);

/**
 * What event number seq is, without making it.
 * Thread: any.  Alloc: none.
 */
struct gen_event_info gen_events_info(const struct gen_events *g, uint64_t seq);

/**
 * Writes the id of event number seq to out, which has room for GEN_ID_BYTES_MAX; no end mark.
 * Thread: any.  Alloc: none.
 * @return the end of the id.
 */
char *gen_events_put_id(const struct gen_events *g, uint64_t seq, enum gen_type type, char *out);

/**
 * Name of a type as in event_type.
 * Thread: any.  Alloc: none.
 */
const char *gen_type_name(enum gen_type type);

/** Name of a kind as in the log. Thread: any. */
const char *gen_kind_name(enum gen_kind kind);

#endif
