/* What the files of the dead-letter commands share. */
#ifndef PENSTOCK_CONTROL_DLQ_INTERNAL_H
#define PENSTOCK_CONTROL_DLQ_INTERNAL_H

#include <zlib.h>

#include "control/daemon.h"
#include "control/dlq.h"
#include "sinks/gcs/gcs_reader.h"

#define DLQ_PROBLEMS_MAX 20          /* that an answer spells out; the others are counted */
#define DLQ_OBJECTS_KEPT 50000u      /* names that are held in memory at once */
#define DLQ_LINE_BYTES   (68u << 20) /* http.event_max ends at 64 MiB */

/* ---- dlq_objects.c: which objects ---- */

/** An object of dead letters. */
struct dlq_object {
    const char *name; /* in the list's memory, once it is complete */
    size_t name_at;
    int32_t minute;
    uint64_t plan;
    uint64_t bytes;
    int64_t generation;
    uint32_t crc32c;
};

/** Objects in the order of reading. Zero it, set the first part, then dlq_objects_next(). */
struct dlq_objects {
    const struct dlq_filter *filter;
    struct gcs_reader *reader;
    const char *log;          /* dlog_id(): whose objects; NULL: everybody's */
    const _Atomic int *state; /* the daemon's: stops with it */
    bool newest_first;
    /* one window */
    struct dlq_object *item;
    size_t n, room;
    struct textbuf names;
    /* between windows */
    bool begun, more, failed;
    int32_t bound;            /* minute of the window's end: the next one lies behind it */
    uint64_t others, strange; /* not ours; names that no object of dead letters has */
    char error[DLQ_ERROR_BYTES];
};

/** Lists the next window of objects, whole minutes, in order. @return 1; 0 when there are no more;
 * -errno with error. */
int dlq_objects_next(struct dlq_objects *o) WARN_UNUSED;

/** Frees it. */
void dlq_objects_fini(struct dlq_objects *o);

/** Takes an object's name apart. @return false when it is none of dead letters. */
bool dlq_object_parse(const char *name, struct dlq_object *out) WARN_UNUSED;

/** The event type in an object's name; out holds TYPE_NAME_BYTES_MAX. @return its length; 0 without
 * a type. */
size_t dlq_object_type(const char *name, char *out);

/* ---- dlq_read.c: an object's lines ---- */

/** The bytes of an object between reading and use; kept from object to object. Zero it first. */
struct dlq_reading {
    char *ptr;
    size_t len, room;
    size_t searched; /* no line break in front of it */
    uint64_t line;   /* number of the latest line, from 1 */
    uint32_t crc32c; /* of what came */
    bool begun;
    bool gzip;  /* the object is a gzip file: by its first bytes */
    bool ended; /* a gzip member has ended; another may follow */
    z_stream zip;
    bool stopped; /* by the visitor */
    bool failed;  /* the object is not what it should be: error says why */
    bool (*visit)(void *ctx, struct span line, uint64_t number);
    void *ctx;
    char error[DLQ_ERROR_BYTES];
};

/**
 * Reads an object line by line; JSON_PADDING_BYTES are readable behind each.
 * @return 0, also when visit stopped it by returning false; -errno with r->error.
 */
int dlq_read(struct dlq_reading *r, struct gcs_reader *reader, const struct dlq_object *o,
             bool (*visit)(void *ctx, struct span line, uint64_t number), void *ctx) WARN_UNUSED;

/** Frees it. */
void dlq_reading_fini(struct dlq_reading *r);

/* ---- dlq_scan.c: which letters ---- */

/** A letter, put together. Borrowed for the call. */
struct dlq_letter {
    struct dlq_line line; /* of its first part */
    struct span type;     /* exact bytes */
    const char *object;   /* name, of its first part */
    int32_t minute;       /* of its object */
    int64_t time_us;      /* when it became a dead letter: mostly, when it was received */
    bool complete;        /* all parts are there */
    uint32_t parts_found;
    uint64_t bytes; /* of the original, as far as it is there */
    struct dlq_mark mark;
    struct span raw; /* the original, when wanted; JSON_PADDING_BYTES readable behind it */
};

/** An object that was read to its end, with those of its minute and type. */
struct dlq_scanned {
    const struct dlq_object *object;
    uint64_t letters; /* that begin in it */
    bool handled;     /* every line belongs to a letter that is whole, and replayed or dropped */
};

/** A walk over letters. Zero it, set the first part. */
struct dlq_scan {
    struct daemon *d;
    struct dlq_db *db;
    const struct dlq_filter *filter;
    bool newest_first, want_raw, others;
    int client_fd; /* the walk ends when it hangs up; -1: nobody waits */
    bool every;    /* read also objects that are known to hold nothing wanted */
    /** A letter that the filter lets through; false stops. */
    bool (*letter)(void *ctx, const struct dlq_letter *l);
    /** An object whose letters have all been visited; may be NULL. False stops. */
    bool (*object)(void *ctx, const struct dlq_scanned *o);
    void *ctx;
    struct gcs_reader *reader; /* for the visitors, during the walk */
    /* results */
    uint64_t objects_read, objects_skipped, objects_others, n_problems, incomplete;
    struct textbuf problems; /* one a line, DLQ_PROBLEMS_MAX at most */
    bool stopped;            /* by a visitor */
};

/**
 * Visits the letters of the bucket, minute by minute, in the order of receipt within an object.
 * Objects that cannot be read are problems, and the walk goes on.
 * @return 0; -errno with error when it could not go on.
 */
int dlq_scan(struct dlq_scan *s, char *error, size_t error_len) WARN_UNUSED;

/** As dlq_scan() for a filter by ids: tries the objects that are known to hold them first. */
int dlq_scan_ids(struct dlq_scan *s, char *error, size_t error_len) WARN_UNUSED;

/** Frees the results. */
void dlq_scan_fini(struct dlq_scan *s);

/** Notes that something could not be read. */
void dlq_problem(struct dlq_scan *s, const char *format, ...) PRINTF(2, 3);

/* ---- the commands: each answers into body and returns the exit status ---- */

/** One command under way. */
struct dlq_command {
    struct daemon *d;
    struct dlq *q;
    struct dlq_db *db;
    struct dlq_options options;
    uint32_t uid;
    int client_fd; /* who waits for the answer; -1: nobody */
    struct textbuf *body;
};

/** `dlq list`. Thread: control. */
int dlq_list(struct dlq_command *c) WARN_UNUSED;

/** `dlq show`. Thread: control. */
int dlq_show(struct dlq_command *c) WARN_UNUSED;

/** `dlq replay`. Thread: control, with its turn. */
int dlq_replay(struct dlq_command *c) WARN_UNUSED;

/** Settles what a replay that was cut off left open. @return 0; -errno with one sentence. Thread:
 * control, with its turn. */
int dlq_settle(struct daemon *d, struct dlq_db *db, char *error, size_t error_len) WARN_UNUSED;

/** `dlq drop`. Thread: control, with its turn. */
int dlq_drop(struct dlq_command *c) WARN_UNUSED;

/* ---- dlq_report.c: what their answers share ---- */

/** Letters counted by type and reason. */
struct dlq_tally {
    struct dlq_tally_row {
        char type[TYPE_NAME_BYTES_MAX];
        uint8_t type_len;
        char reason[DLQ_REASON_BYTES];
        uint64_t letters, bytes;
        int64_t oldest_us, newest_us;
    } * row;
    size_t n, room;
    uint64_t letters, bytes;
    bool failed; /* out of memory */
};

/** Counts one. */
void dlq_tally_add(struct dlq_tally *t, const struct dlq_letter *l, const char *reason);

/** Writes it, most letters first: lines, or "groups":[...]. */
void dlq_tally_write(struct dlq_tally *t, bool json, struct textbuf *body);

/** Frees it. */
void dlq_tally_fini(struct dlq_tally *t);

/** Writes what a walk could not read: lines, or ,"problems":[...]. @return whether there was any. */
bool dlq_problems_write(const struct dlq_scan *s, bool json, struct textbuf *body);

/** Writes how many letters are not in the bucket yet: a line, or ,"on_their_way":{...}. */
void dlq_pending_write(struct daemon *d, bool json, struct textbuf *body);

/** Writes an error answer. @return PROTOCOL_ERROR. */
int dlq_fail(struct dlq_command *c, const char *format, ...) PRINTF(2, 3);

/** An event type for people; "(none)" when it is empty. */
void dlq_type_text(struct span type, struct textbuf *body);

/** A time as RFC 3339; out holds TIME_TEXT_BYTES + 1. */
void dlq_time_text(int64_t us, char *out);

#endif
