/* What the files of verify share. */
#ifndef PENSTOCK_CONTROL_VERIFY_INTERNAL_H
#define PENSTOCK_CONTROL_VERIFY_INTERNAL_H

#include "control/totals.h"
#include "control/verify.h"
#include "sinks/delivery/ledger.h"

#define VERIFY_ERROR_BYTES 1024
#define VERIFY_AGAIN_US    1500000 /* before what looks wrong is looked at again */

/** An object as one side knows it. */
struct seen_object {
    const char *name; /* in the list's text memory */
    uint64_t plan_id, bytes, events;
    uint32_t crc32c;
    bool gzip;          /* bytes and crc32c are of the plain lines... */
    int64_t generation; /* ...and this says which bytes are stored; 0: not known */
    uint64_t stored;    /* bytes in the bucket */
    uint32_t name_at;   /* offset while the list grows */
};

/** The objects of one side, sorted by name once complete. */
struct object_list {
    struct seen_object *item;
    size_t n, room;
    struct textbuf names;
    bool failed; /* out of memory */
};

enum difference_kind {
    DIFFERENCE_MISSING_OBJECT,
    DIFFERENCE_UNKNOWN_OBJECT,
    DIFFERENCE_CHANGED_OBJECT,
    DIFFERENCE_ROWS,
    DIFFERENCE_PLANNED,
};

/** One verification under way. */
struct verify {
    struct daemon *d;
    struct auth *auth;
    struct textbuf differences; /* lines, or JSON elements */
    struct textbuf errors;
    struct textbuf tables; /* lines, or JSON elements */
    struct textbuf rows;   /* that are named: lines, or JSON elements */
    uint64_t n_differences, n_errors;
    uint64_t objects, bytes;           /* found in the bucket, ours */
    uint64_t deleted, deleted_letters; /* objects of dead letters, on purpose */
    uint64_t unconfirmed;              /* objects there whose plans are not confirmed yet */
    bool json;
};

/** Adds an object to a list. */
void objects_add(struct object_list *l, const struct seen_object *o, const char *name);

/** Sorts a list by name and sets the names. */
void objects_finish(struct object_list *l);

/** The object of a name, or NULL. */
const struct seen_object *objects_find(const struct object_list *l, const char *name);

/** Frees a list. */
void objects_fini(struct object_list *l);

/** Notes a difference: what is compared, what the ledger says, what was found, what it means. */
void verify_difference(struct verify *v, enum difference_kind kind, const char *name,
                       uint64_t ledger, uint64_t found, const char *meaning);

/** Notes that something could not be asked. */
void verify_error(struct verify *v, const char *what, const char *why);

/** Compares the ledger's objects with the bucket. */
void verify_bucket(struct verify *v);

/** Compares the ledger's row sums with the tables. */
void verify_tables(struct verify *v);

/** Names rows of a table that are missing, doubled, or in no object of the archive. */
void verify_rows(struct verify *v, const char *table);

#endif
